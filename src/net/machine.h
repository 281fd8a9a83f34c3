/* SPDX-License-Identifier: Apache-2.0 */
#ifndef TECA_NET_MACHINE_H
#define TECA_NET_MACHINE_H
/*
 * The network of a container in a machine. On the host a network namespace has interfaces with addresses and routes,
 * which an engine has made; each gets a tap device beside it, and what comes in on the one goes out on the
 * other, before the host's own network layer sees it. The guest's interface has the same name, MAC, MTU, addresses
 * and routes: they travel as text, which the agent carries out.
 *
 * Order: net_machine_gather, net_machine_compile, the steps by net_machine_step; net_machine_text for the guest,
 * there net_machine_configure.
 */
#include "base/base.h"
#include "plan/plan.h"

enum { NET_INTERFACES_MAX = 4, NET_NAME_SIZE = 16, NET_MAC_SIZE = 6, NET_IP_SIZE = 16 };

struct net_address {
    uint8_t family, prefix, scope;
    uint32_t flags; /* IFA_F_, those that the kernel takes back */
    bool has_peer, has_broadcast;
    uint8_t local[NET_IP_SIZE], peer[NET_IP_SIZE], broadcast[NET_IP_SIZE];
};
struct net_route { /* of the main table; what belongs to an address the kernel makes itself */
    uint8_t family, prefix, scope, protocol;
    uint32_t metric, flags; /* RTNH_F_ONLINK or 0 */
    bool has_gateway, has_source;
    uint8_t to[NET_IP_SIZE], gateway[NET_IP_SIZE], source[NET_IP_SIZE];
};
struct net_neighbour { /* permanent */
    uint8_t family;
    uint8_t address[NET_IP_SIZE], mac[NET_MAC_SIZE];
};
struct net_interface {
    char name[NET_NAME_SIZE];
    int index; /* on the host */
    uint32_t mtu;
    uint8_t mac[NET_MAC_SIZE];
    bool no_ipv6; /* net.ipv6.conf.NAME.disable_ipv6 */
    struct net_address *addresses;
    struct net_route *routes;
    struct net_neighbour *neighbours;
    size_t n_addresses, n_routes, n_neighbours;
    size_t cap_addresses, cap_routes, cap_neighbours;
};
struct net_machine {
    const char *path; /* of the namespace; NULL: it has none, or a new one that nobody fills */
    uint64_t inode;   /* of the namespace, which a path may name another one of later */
    struct net_interface *interfaces;
    size_t n;
    bool no_ipv6; /* of its loopback */
};

/*
 * Reads what that namespace has, entering it for a moment. Refuses the host's own, and what cannot be had in a
 * machine, in a sentence without a pointer.
 */
int net_machine_gather(const char *path, struct arena *a, struct net_machine *out, struct err *e);
/* What the agent gets: a JSON text. */
const char *net_machine_text(const struct net_machine *m, struct arena *a);
/* The way back. The text is not trusted to be whole. */
int net_machine_read(const char *text, size_t len, struct arena *a, struct net_machine *out,
                     struct err *e);

/*
 * Runtime lane, before the clone: a tap device a interface, in the namespace of the slot netns. first_tap: the slot of the
 * first one's fd, the others follow.
 */
void net_machine_compile(struct plan *p, const struct net_machine *m, const char *pointer,
                         int netns, int *first_tap);
int net_machine_step(const struct step *st, struct slots *slots, struct err *e);
/*
 * All of that at once, in the network namespace of the caller, which is the machine's own: gathers, and makes the taps,
 * whose fds are the caller's.
 */
int net_machine_take(struct arena *a, struct net_machine *out, int taps[NET_INTERFACES_MAX],
                     struct err *e);

/*
 * In the guest: makes the network namespace that is then at `path`, moves the machine's interfaces there and sets them
 * up. lo is up there too.
 */
int net_machine_configure(const struct net_machine *m, const char *path, struct err *e);

#endif
