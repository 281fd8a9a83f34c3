/* SPDX-License-Identifier: Apache-2.0 */
/* What the interfaces of a network namespace are, and what a machine can have of it. Reads only. */
#include <errno.h>
#include <fcntl.h>
#include <linux/if.h>
#include <linux/if_addr.h>
#include <linux/if_arp.h>
#include <linux/if_link.h>
#include <linux/neighbour.h>
#include <linux/nsfs.h>
#include <sched.h>
#include <string.h>
#include <sys/ioctl.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <unistd.h>

#include "net/internal.h"
#include "net/machine.h"

enum { ITEMS_MAX = 4096 }; /* addresses and routes together: more is no container's */

/* The flags of an address that the kernel takes back. */
#define KEPT_FLAGS (IFA_F_NOPREFIXROUTE | IFA_F_MCAUTOJOIN | IFA_F_HOMEADDRESS)

struct reading {
    struct arena *arena;
    struct net_machine *out;
    struct err *e;
    int error; /* the first fault, whose sentence is in e */
    size_t items;
};

static void fault(struct reading *r, const char *fmt, const char *name)
{
    if (r->error == 0)
        r->error = err_set(r->e, 0, fmt, name); /* NOLINT(clang-diagnostic-format-nonliteral) */
}

static struct net_interface *find(const struct reading *r, int index)
{
    for (size_t i = 0; i < r->out->n; i++)
        if (r->out->interfaces[i].index == index)
            return &r->out->interfaces[i];
    return NULL;
}

static bool is_one_too_many(struct reading *r, const char *name)
{
    if (++r->items > ITEMS_MAX)
        fault(r, "the interface '%s' has too many addresses and routes", name);
    return r->error < 0;
}

/* ---- links --------------------------------------------------------------------------------- */

struct link_attributes {
    const char *name;
    const uint8_t *mac;
    uint32_t mtu;
    bool has_master, has_ipv6;
};

/* IFLA_INET6_CONF is an array by DEVCONF_ of <linux/ipv6.h>, which the C libraries' own headers contradict. */
enum { DEVCONF_DISABLE_IPV6 = 26 };

static int note_ipv6_attribute(const struct nlattr *attr, void *data)
{
    struct link_attributes *l = data;
    int32_t disabled;

    if (mnl_attr_get_type(attr) != IFLA_INET6_CONF ||
        mnl_attr_get_payload_len(attr) < (DEVCONF_DISABLE_IPV6 + 1) * sizeof disabled)
        return MNL_CB_OK;
    memcpy(&disabled, (int32_t *)mnl_attr_get_payload(attr) + DEVCONF_DISABLE_IPV6,
           sizeof disabled);
    l->has_ipv6 = !disabled;
    return MNL_CB_STOP;
}

/* Of an interface without IPv6 the kernel does not speak at all here. */
static int note_family(const struct nlattr *attr, void *data)
{
    return mnl_attr_get_type(attr) == AF_INET6
               ? mnl_attr_parse_nested(attr, note_ipv6_attribute, data)
               : MNL_CB_OK;
}

static int note_link_attribute(const struct nlattr *attr, void *data)
{
    struct link_attributes *l = data;

    switch (mnl_attr_get_type(attr)) {
    case IFLA_IFNAME:
        l->name = mnl_attr_get_str(attr);
        break;
    case IFLA_ADDRESS:
        if (mnl_attr_get_payload_len(attr) == NET_MAC_SIZE)
            l->mac = mnl_attr_get_payload(attr);
        break;
    case IFLA_MTU:
        l->mtu = mnl_attr_get_u32(attr);
        break;
    case IFLA_MASTER:
        l->has_master = true;
        break;
    case IFLA_AF_SPEC:
        mnl_attr_parse_nested(attr, note_family, l);
        break;
    default:
        break;
    }
    return MNL_CB_OK;
}

/* One that is down carries nothing: the kernel's own tunnels are in every namespace, and down. */
static void note_link(const struct nlmsghdr *header, void *ctx)
{
    const struct ifinfomsg *link = mnl_nlmsg_get_payload(header);
    struct link_attributes l = { 0 };
    struct reading *r = ctx;
    struct net_interface *i;

    if (!(link->ifi_flags & (IFF_UP | IFF_LOOPBACK)) || r->error < 0)
        return;
    mnl_attr_parse(header, sizeof *link, note_link_attribute, &l);
    if (link->ifi_flags & IFF_LOOPBACK) {
        r->out->no_ipv6 = !l.has_ipv6;
        return;
    }
    if (!l.name || strlen(l.name) >= NET_NAME_SIZE)
        return;
    if (link->ifi_type != ARPHRD_ETHER || !l.mac)
        fault(r, "the interface '%s' is no Ethernet device", l.name);
    if (l.has_master)
        fault(r, "the interface '%s' is part of another one (a bridge or a bond)", l.name);
    if (r->out->n == NET_INTERFACES_MAX)
        fault(r, "there are more interfaces than four: '%s' is one too many", l.name);
    if (r->error < 0 || !l.mac)
        return;
    i = &r->out->interfaces[r->out->n++];
    *i = (struct net_interface){ .index = link->ifi_index, .mtu = l.mtu, .no_ipv6 = !l.has_ipv6 };
    base_format(i->name, sizeof i->name, "%s", l.name);
    memcpy(i->mac, l.mac, NET_MAC_SIZE);
}

/* The guest finds its interfaces by these (ipvlan gives all of them the parent's). */
static void check_macs(struct reading *r)
{
    for (size_t i = 0; i < r->out->n; i++)
        for (size_t j = 0; j < i; j++)
            if (memcmp(r->out->interfaces[i].mac, r->out->interfaces[j].mac, NET_MAC_SIZE) == 0)
                fault(r, "the interface '%s' has the MAC address of another one",
                      r->out->interfaces[i].name);
}

/* ---- addresses, routes, neighbours --------------------------------------------------------- */

static bool note_ip(const struct nlattr *attr, uint8_t family, uint8_t out[NET_IP_SIZE])
{
    if (mnl_attr_get_payload_len(attr) != net_ip_size(family))
        return false;
    memcpy(out, mnl_attr_get_payload(attr), net_ip_size(family));
    return true;
}

static int note_address_attribute(const struct nlattr *attr, void *data)
{
    struct net_address *a = data;

    switch (mnl_attr_get_type(attr)) {
    case IFA_LOCAL:
        a->has_peer = note_ip(attr, a->family, a->local);
        break;
    case IFA_ADDRESS:
        note_ip(attr, a->family, a->peer);
        break;
    case IFA_BROADCAST:
        a->has_broadcast = note_ip(attr, a->family, a->broadcast);
        break;
    case IFA_FLAGS:
        a->flags = mnl_attr_get_u32(attr);
        break;
    default:
        break;
    }
    return MNL_CB_OK;
}

/* Those of a link the guest's kernel makes itself, of the same MAC. */
static void note_address(const struct nlmsghdr *header, void *ctx)
{
    const struct ifaddrmsg *msg = mnl_nlmsg_get_payload(header);
    struct reading *r = ctx;
    struct net_interface *i = find(r, (int)msg->ifa_index);
    struct net_address a = { .family = msg->ifa_family,
                             .prefix = msg->ifa_prefixlen,
                             .scope = msg->ifa_scope,
                             .flags = msg->ifa_flags };

    if (!i || (a.family != AF_INET && a.family != AF_INET6) ||
        (a.family == AF_INET6 && a.scope == RT_SCOPE_LINK) || is_one_too_many(r, i->name))
        return;
    mnl_attr_parse(header, sizeof *msg, note_address_attribute, &a);
    if (!a.has_peer) /* only IFA_ADDRESS: of IPv6, without a peer */
        memcpy(a.local, a.peer, NET_IP_SIZE);
    a.has_peer = memcmp(a.local, a.peer, NET_IP_SIZE) != 0;
    a.flags &= KEPT_FLAGS;
    if (i->n_addresses == i->cap_addresses)
        i->addresses = arena_grow(r->arena, i->addresses, i->n_addresses, &i->cap_addresses,
                                  sizeof *i->addresses);
    i->addresses[i->n_addresses++] = a;
}

struct route_attributes {
    struct net_route route;
    int index;
    uint32_t table;
    bool several;
};

static int note_route_attribute(const struct nlattr *attr, void *data)
{
    struct route_attributes *r = data;
    uint8_t family = r->route.family;

    switch (mnl_attr_get_type(attr)) {
    case RTA_DST:
        note_ip(attr, family, r->route.to);
        break;
    case RTA_GATEWAY:
        r->route.has_gateway = note_ip(attr, family, r->route.gateway);
        break;
    case RTA_PREFSRC:
        r->route.has_source = note_ip(attr, family, r->route.source);
        break;
    case RTA_PRIORITY:
        r->route.metric = mnl_attr_get_u32(attr);
        break;
    case RTA_OIF:
        r->index = (int)mnl_attr_get_u32(attr);
        break;
    case RTA_TABLE:
        r->table = mnl_attr_get_u32(attr);
        break;
    case RTA_MULTIPATH:
    case RTA_VIA:
        r->several = true;
        break;
    default:
        break;
    }
    return MNL_CB_OK;
}

static void note_route(const struct nlmsghdr *header, void *ctx)
{
    const struct rtmsg *msg = mnl_nlmsg_get_payload(header);
    struct reading *r = ctx;
    struct net_interface *i;
    struct route_attributes at = { .route = { .family = msg->rtm_family,
                                              .prefix = msg->rtm_dst_len,
                                              .scope = msg->rtm_scope,
                                              .protocol = msg->rtm_protocol,
                                              .flags = msg->rtm_flags & RTNH_F_ONLINK },
                                   .table = msg->rtm_table };

    if ((msg->rtm_family != AF_INET && msg->rtm_family != AF_INET6) ||
        msg->rtm_type != RTN_UNICAST || msg->rtm_protocol == RTPROT_KERNEL ||
        msg->rtm_flags & RTM_F_CLONED || r->error < 0)
        return;
    mnl_attr_parse(header, sizeof *msg, note_route_attribute, &at);
    if (at.table != RT_TABLE_MAIN)
        return;
    if (at.several)
        fault(r, "a route of '%s' goes several ways, or by a gateway of another family",
              r->out->path);
    i = find(r, at.index);
    if (!i || is_one_too_many(r, i->name))
        return;
    if (i->n_routes == i->cap_routes)
        i->routes = arena_grow(r->arena, i->routes, i->n_routes, &i->cap_routes, sizeof *i->routes);
    i->routes[i->n_routes++] = at.route;
}

static int note_neighbour_attribute(const struct nlattr *attr, void *data)
{
    struct net_neighbour *n = data;

    if (mnl_attr_get_type(attr) == NDA_DST && !note_ip(attr, n->family, n->address))
        n->family = AF_UNSPEC;
    if (mnl_attr_get_type(attr) == NDA_LLADDR) {
        if (mnl_attr_get_payload_len(attr) == NET_MAC_SIZE)
            memcpy(n->mac, mnl_attr_get_payload(attr), NET_MAC_SIZE);
        else
            n->family = AF_UNSPEC;
    }
    return MNL_CB_OK;
}

static void note_neighbour(const struct nlmsghdr *header, void *ctx)
{
    const struct ndmsg *msg = mnl_nlmsg_get_payload(header);
    struct net_neighbour n = { .family = msg->ndm_family };
    struct reading *r = ctx;
    struct net_interface *i = find(r, msg->ndm_ifindex);

    if (!i || !(msg->ndm_state & NUD_PERMANENT) || is_one_too_many(r, i->name))
        return;
    if (n.family == AF_INET || n.family == AF_INET6)
        mnl_attr_parse(header, sizeof *msg, note_neighbour_attribute, &n);
    if (n.family != AF_INET && n.family != AF_INET6)
        return;
    if (i->n_neighbours == i->cap_neighbours)
        i->neighbours = arena_grow(r->arena, i->neighbours, i->n_neighbours, &i->cap_neighbours,
                                   sizeof *i->neighbours);
    i->neighbours[i->n_neighbours++] = n;
}

/* ---- the namespace ------------------------------------------------------------------------- */

/* The header of every dump begins with the family, which is AF_UNSPEC, 0. */
static int dump(int sock, uint16_t type, size_t size, rtnl_each *each, struct reading *r)
{
    char buf[RTNL_SIZE];
    struct nlmsghdr *header = rtnl_begin(buf, type, NLM_F_DUMP);
    int result;

    mnl_nlmsg_put_extra_header(header, size);
    result = rtnl_request(sock, header, each, r);
    if (result < 0 && r->error == 0)
        r->error = err_set(r->e, -result, "cannot read the interfaces of '%s'", r->out->path);
    return r->error;
}

static int read_all(int sock, struct reading *r)
{
    int result = dump(sock, RTM_GETLINK, sizeof(struct ifinfomsg), note_link, r);

    if (result == 0)
        check_macs(r);
    if (r->error == 0)
        dump(sock, RTM_GETADDR, sizeof(struct ifaddrmsg), note_address, r);
    if (r->error == 0)
        dump(sock, RTM_GETROUTE, sizeof(struct rtmsg), note_route, r);
    if (r->error == 0)
        dump(sock, RTM_GETNEIGH, sizeof(struct ndmsg), note_neighbour, r);
    return r->error;
}

static bool is_same(int fd, const char *path)
{
    struct stat a, b;

    return fstat(fd, &a) == 0 && stat(path, &b) == 0 && a.st_dev == b.st_dev &&
           a.st_ino == b.st_ino;
}

/* A tap beside an interface takes all that this receives: of the host itself that would be its end. */
static int open_namespace(const char *path, uint64_t *inode, struct err *e)
{
    AUTO_FD int fd = openat(AT_FDCWD, path, O_RDONLY | O_CLOEXEC | O_NONBLOCK | O_NOCTTY);
    struct stat st;

    if (fd < 0)
        return err_set(e, errno, "cannot open the network namespace '%s'", path);
    if (ioctl(fd, NS_GET_NSTYPE) != CLONE_NEWNET)
        return err_set(e, 0, "'%s' is no network namespace", path);
    if (is_same(fd, OWN_NETWORK) || is_same(fd, "/proc/1/ns/net"))
        return err_set(e, 0, "'%s' is the host's own: a machine cannot take its interfaces", path);
    if (fstat(fd, &st) < 0)
        return err_set(e, errno, "cannot look at '%s'", path);
    *inode = st.st_ino;
    return take_fd(&fd);
}

int net_machine_gather_own(struct arena *a, struct net_machine *out, struct err *e)
{
    struct reading r = { .arena = a, .out = out, .e = e };
    AUTO_FD int sock = rtnl_open();

    *out = (struct net_machine){ .path = OWN_NETWORK };
    out->interfaces = arena_array(a, NET_INTERFACES_MAX, sizeof *out->interfaces);
    return sock < 0 ? err_set(e, -sock, "cannot open a rtnetlink socket") : read_all(sock, &r);
}

int net_machine_gather(const char *path, struct arena *a, struct net_machine *out, struct err *e)
{
    struct reading r = { .arena = a, .out = out, .e = e };
    AUTO_FD int netns = -1;
    AUTO_FD int own = openat(AT_FDCWD, OWN_NETWORK, O_RDONLY | O_CLOEXEC);
    AUTO_FD int sock = -1;

    *out = (struct net_machine){ .path = path };
    out->interfaces = arena_array(a, NET_INTERFACES_MAX, sizeof *out->interfaces);
    netns = open_namespace(path, &out->inode, e);
    if (netns < 0)
        return netns;
    sock = own < 0 ? -errno : rtnl_open_in(netns, own);
    if (sock < 0)
        return err_set(e, -sock, "cannot enter the network namespace '%s'", path);
    return read_all(sock, &r);
}
