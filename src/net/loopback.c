/* SPDX-License-Identifier: Apache-2.0 */
/* The loopback device of a new network namespace is down at first; one RTM_NEWLINK raises it. */
#include <errno.h>
#include <libmnl/libmnl.h>
#include <linux/if.h>
#include <linux/rtnetlink.h>
#include <sys/socket.h>
#include <unistd.h>

#include "net/net.h"

/* "lo" is the first device of every network namespace (Linux LOOPBACK_IFINDEX). */
enum { LOOPBACK_INDEX = 1, MESSAGE_SIZE = 64, SEQUENCE = 1 };

int net_compile_loopback(struct plan *p, const struct spec *s, struct err *e)
{
    const struct spec_namespace *ns = spec_namespace_of(s, SPEC_NS_NETWORK);
    struct nlmsghdr *header;
    struct ifinfomsg *link;
    struct step *st;

    (void)e;
    if (!ns || ns->path)
        return 0;
    header = mnl_nlmsg_put_header(arena_alloc(p->arena, MESSAGE_SIZE));
    header->nlmsg_type = RTM_NEWLINK;
    header->nlmsg_flags = NLM_F_REQUEST | NLM_F_ACK;
    header->nlmsg_seq = SEQUENCE;
    link = mnl_nlmsg_put_extra_header(header, sizeof *link);
    link->ifi_family = AF_UNSPEC;
    link->ifi_index = LOOPBACK_INDEX;
    link->ifi_flags = IFF_UP;
    link->ifi_change = IFF_UP;
    st = plan_add(p, OP_LOOPBACK_UP, LANE_INIT, "/linux/namespaces");
    st->loopback_up.message = header;
    st->loopback_up.message_size = header->nlmsg_len;
    return 0;
}

/* Sends one request and reads the kernel's answer to it. 0 or -errno. Child-safe. */
static int request(const void *message, size_t size)
{
    struct sockaddr_nl kernel = { .nl_family = AF_NETLINK };
    union {
        struct nlmsghdr header;
        char space[512];
    } answer;
    const struct nlmsgerr *result;
    ssize_t n;
    /*
     * Not bound: the kernel gives the socket an address at the first send. Left open: exec closes
     * it, and a close would be one more call.
     */
    int fd = socket(AF_NETLINK, SOCK_RAW | SOCK_CLOEXEC, NETLINK_ROUTE);

    if (fd < 0)
        return -errno;
    if (sendto(fd, message, size, 0, (struct sockaddr *)&kernel, sizeof kernel) < 0)
        return -errno;
    n = recv(fd, &answer, sizeof answer, 0);
    if (n < 0)
        return -errno;
    if (!mnl_nlmsg_ok(&answer.header, (int)n) || answer.header.nlmsg_type != NLMSG_ERROR ||
        mnl_nlmsg_get_payload_len(&answer.header) < sizeof result->error)
        return -EBADMSG;
    result = mnl_nlmsg_get_payload(&answer.header);
    return result->error;
}

int net_step(const struct step *st, struct slots *slots, struct err *e)
{
    int r = request(st->loopback_up.message, st->loopback_up.message_size);

    (void)slots;
    return r < 0 ? err_set(e, -r, "cannot bring the loopback device up") : 0;
}
