/* SPDX-License-Identifier: Apache-2.0 */
#ifndef TECA_NET_INTERNAL_H
#define TECA_NET_INTERNAL_H
/* rtnl.c: rtnetlink(7) by libmnl, for the files of this folder. */
#include <libmnl/libmnl.h>
#include <linux/rtnetlink.h>
#include <sys/socket.h>

#include "net/net.h"

enum { RTNL_SIZE = 512 }; /* of a request */

/* Bytes of an address: AF_INET or AF_INET6. */
static inline size_t net_ip_size(uint8_t family)
{
    return family == AF_INET ? 4 : 16;
}

/* A rtnetlink socket, or -errno. A socket keeps the namespace in which it was made. */
int rtnl_open(void);
/* In the namespace netns; the caller is in `own` before and after. */
int rtnl_open_in(int netns, int own);
struct nlmsghdr *rtnl_begin(char buf[RTNL_SIZE], uint16_t type, uint16_t flags);
/* RTM_..LINK of the device with that index. */
struct nlmsghdr *rtnl_begin_link(char buf[RTNL_SIZE], uint16_t type, uint16_t flags, int index);
/* That brings it up. */
struct nlmsghdr *rtnl_begin_raise(char buf[RTNL_SIZE], int index);

typedef void rtnl_each(const struct nlmsghdr *header, void *ctx);
/* Sends, and reads up to the end of the answer; each (may be NULL) for what is no acknowledgement. 0 or -errno. */
int rtnl_request(int sock, const struct nlmsghdr *message, rtnl_each *each, void *ctx);

/* machine_gather.c: of the caller's own namespace. */
#define OWN_NETWORK "/proc/self/ns/net"
struct net_machine;
int net_machine_gather_own(struct arena *a, struct net_machine *out, struct err *e);

#endif
