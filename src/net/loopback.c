/* SPDX-License-Identifier: Apache-2.0 */
/* The loopback device of a new network namespace is down at first; one SIOCSIFFLAGS raises it. */
#include <errno.h>
#include <fcntl.h>
#include <linux/if.h>
#include <linux/sockios.h>
#include <sched.h>
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

void net_compile_loopback_of(struct plan *p, int pid_slot)
{
    struct op_loopback_up *op =
        &plan_add(p, OP_LOOPBACK_UP, LANE_RUNTIME, "/linux/namespaces")->loopback_up;

    op->name = "lo";
    op->pid = pid_slot;
}

/* A socket belongs to the network namespace in which it was made. */
static int socket_of(pid_t pid, struct err *e)
{
    char path[64];
    AUTO_FD int own = openat(AT_FDCWD, "/proc/self/ns/net", O_RDONLY | O_CLOEXEC);
    AUTO_FD int theirs = -1;
    AUTO_FD int fd = -1;

    base_format(path, sizeof path, "/proc/%d/ns/net", pid);
    theirs = openat(AT_FDCWD, path, O_RDONLY | O_CLOEXEC);
    if (own < 0 || theirs < 0 || setns(theirs, CLONE_NEWNET) < 0)
        return err_set(e, errno, "cannot enter the network namespace of process %d", pid);
    fd = socket(AF_UNIX, SOCK_DGRAM | SOCK_CLOEXEC, 0);
    if (setns(own, CLONE_NEWNET) < 0)
        return err_set(e, errno, "cannot come back from the network namespace of process %d", pid);
    return fd < 0 ? err_set(e, errno, "cannot make a socket") : take_fd(&fd);
}

static int raise_in(const struct op_loopback_up *op, const struct slots *slots, struct err *e)
{
    struct ifreq request = { .ifr_flags = IFF_UP };
    AUTO_FD int fd = socket_of(slots->value[op->pid], e);

    base_format(request.ifr_name, sizeof request.ifr_name, "%s", op->name);
    if (fd >= 0 && ioctl(fd, SIOCSIFFLAGS, &request) < 0)
        return err_set(e, errno, "cannot bring the loopback device up");
    return fd < 0 ? fd : 0;
}

/*
 * netdevice(7). Not rtnetlink, whose answer would be one call more. Any socket knows this request:
 * what its own family has no word for goes to the device layer (Linux sock_do_ioctl()).
 */
int net_step(const struct step *st, struct slots *slots, struct err *e)
{
    struct ifreq request = { .ifr_flags = IFF_UP };
    int fd;

    if (st->loopback_up.pid >= 0)
        return raise_in(&st->loopback_up, slots, e);
    /* Left open: exec closes it, and a close would be one more call. */
    fd = socket(AF_UNIX, SOCK_DGRAM | SOCK_CLOEXEC, 0);
    base_format(request.ifr_name, sizeof request.ifr_name, "%s", st->loopback_up.name);
    if (fd < 0 || ioctl(fd, SIOCSIFFLAGS, &request) < 0)
        return err_set(e, errno, "cannot bring the loopback device up");
    return 0;
}
