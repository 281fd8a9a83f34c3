/* SPDX-License-Identifier: Apache-2.0 */
/* The loopback device of a new network namespace is down at first; one SIOCSIFFLAGS raises it. */
#include <errno.h>
#include <linux/if.h>
#include <linux/sockios.h>
#include <sys/ioctl.h>
#include <sys/socket.h>

#include "net/net.h"

int net_compile_loopback(struct plan *p, const struct spec *s, struct err *e)
{
    const struct spec_namespace *ns = spec_namespace_of(s, SPEC_NS_NETWORK);

    (void)e;
    if (ns && !ns->path)
        plan_add(p, OP_LOOPBACK_UP, LANE_INIT, "/linux/namespaces")->loopback_up.name = "lo";
    return 0;
}

/*
 * netdevice(7). Not rtnetlink, whose answer would be one call more. Any socket knows this request:
 * what its own family has no word for goes to the device layer (Linux sock_do_ioctl()).
 */
int net_step(const struct step *st, struct slots *slots, struct err *e)
{
    struct ifreq request = { .ifr_flags = IFF_UP };
    /* Left open: exec closes it, and a close would be one more call. */
    int fd = socket(AF_UNIX, SOCK_DGRAM | SOCK_CLOEXEC, 0);

    (void)slots;
    base_format(request.ifr_name, sizeof request.ifr_name, "%s", st->loopback_up.name);
    if (fd < 0 || ioctl(fd, SIOCSIFFLAGS, &request) < 0)
        return err_set(e, errno, "cannot bring the loopback device up");
    return 0;
}
