/* SPDX-License-Identifier: Apache-2.0 */
/* Requests of rtnetlink(7), one at a time. */
#include <errno.h>
#include <linux/if.h>
#include <sched.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

#include "net/internal.h"

enum { ANSWER_SIZE = 32768 }; /* what rtnetlink puts into one datagram of a dump */

int rtnl_open(void)
{
    int fd = socket(AF_NETLINK, SOCK_RAW | SOCK_CLOEXEC, NETLINK_ROUTE);

    return fd < 0 ? -errno : fd;
}

int rtnl_open_in(int netns, int own)
{
    int fd, r;

    if (setns(netns, CLONE_NEWNET) < 0)
        return -errno;
    fd = rtnl_open();
    r = setns(own, CLONE_NEWNET);
    if (r < 0) /* it was left a moment ago, by the one who may enter the other */
        _exit(1);
    return fd;
}

struct nlmsghdr *rtnl_begin(char buf[RTNL_SIZE], uint16_t type, uint16_t flags)
{
    struct nlmsghdr *header = mnl_nlmsg_put_header(memset(buf, 0, RTNL_SIZE));

    header->nlmsg_type = type;
    header->nlmsg_flags = NLM_F_REQUEST | flags;
    header->nlmsg_seq = 1;
    return header;
}

struct nlmsghdr *rtnl_begin_link(char buf[RTNL_SIZE], uint16_t type, uint16_t flags, int index)
{
    struct nlmsghdr *header = rtnl_begin(buf, type, flags);
    struct ifinfomsg *link = mnl_nlmsg_put_extra_header(header, sizeof *link);

    link->ifi_family = AF_UNSPEC;
    link->ifi_index = index;
    return header;
}

struct nlmsghdr *rtnl_begin_raise(char buf[RTNL_SIZE], int index)
{
    struct nlmsghdr *header = rtnl_begin_link(buf, RTM_NEWLINK, NLM_F_ACK, index);
    struct ifinfomsg *link = mnl_nlmsg_get_payload(header);

    link->ifi_flags = link->ifi_change = IFF_UP;
    return header;
}

int rtnl_request(int sock, const struct nlmsghdr *message, rtnl_each *each, void *ctx)
{
    static char answer[ANSWER_SIZE] __attribute__((aligned(8)));
    struct sockaddr_nl kernel = { .nl_family = AF_NETLINK };

    if (sendto(sock, message, message->nlmsg_len, 0, (struct sockaddr *)&kernel, sizeof kernel) < 0)
        return -errno;
    for (;;) {
        ssize_t n = recv(sock, answer, sizeof answer, 0);
        int left = (int)n;

        if (n < 0)
            return -errno;
        for (const struct nlmsghdr *h = (const void *)answer; mnl_nlmsg_ok(h, left);
             h = mnl_nlmsg_next(h, &left)) {
            if (h->nlmsg_type == NLMSG_ERROR)
                return ((const struct nlmsgerr *)mnl_nlmsg_get_payload(h))->error;
            if (h->nlmsg_type == NLMSG_DONE)
                return 0;
            if (each)
                each(h, ctx);
            if (each && !(h->nlmsg_flags & NLM_F_MULTI) && !(message->nlmsg_flags & NLM_F_ACK))
                return 0;
        }
    }
}
