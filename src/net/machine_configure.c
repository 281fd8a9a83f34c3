/* SPDX-License-Identifier: Apache-2.0 */
/*
 * In the guest: the container's network namespace, and its interfaces as the host's side tells. The guest's kernel has
 * named them as it found them; they are known by their MAC.
 */
#include <errno.h>
#include <fcntl.h>
#include <linux/if.h>
#include <linux/if_addr.h>
#include <linux/neighbour.h>
#include <sched.h>
#include <string.h>
#include <sys/ioctl.h>
#include <sys/mount.h>
#include <sys/socket.h>
#include <unistd.h>

#include "net/internal.h"
#include "net/machine.h"

/* ---- the namespace ------------------------------------------------------------------------- */

static int raise_loopback(int sock)
{
    struct ifreq request = { .ifr_name = "lo", .ifr_flags = IFF_UP };

    return ioctl(sock, SIOCSIFFLAGS, &request);
}

/* A file of it at path, as ip-netns(8) does; sock: of the new one. The caller stays where it was. */
static int make_namespace(const char *path, int *netns, int *sock, struct err *e)
{
    AUTO_FD int own = openat(AT_FDCWD, "/proc/self/ns/net", O_RDONLY | O_CLOEXEC);
    AUTO_FD int file = openat(AT_FDCWD, path, O_RDONLY | O_CREAT | O_EXCL | O_CLOEXEC, 0600);

    if (own < 0 || file < 0 || unshare(CLONE_NEWNET) < 0)
        return err_set(e, errno, "cannot make the container's network namespace");
    *netns = openat(AT_FDCWD, "/proc/self/ns/net", O_RDONLY | O_CLOEXEC);
    *sock = rtnl_open();
    if (*netns < 0 || *sock < 0 || mount("/proc/self/ns/net", path, NULL, MS_BIND, NULL) < 0 ||
        raise_loopback(*sock) < 0)
        return err_set(e, errno, "cannot set up the container's network namespace");
    if (setns(own, CLONE_NEWNET) < 0)
        return err_set(e, errno, "cannot leave the container's network namespace");
    return 0;
}

/*
 * docker has none unless told: an address by which a router could announce itself would be one more way in. /proc/sys/net is
 * that of the process's network namespace.
 */
static int disable_ipv6(int netns, const char *name, struct err *e)
{
    char path[64];
    AUTO_FD int own = openat(AT_FDCWD, "/proc/self/ns/net", O_RDONLY | O_CLOEXEC);
    AUTO_FD int fd = -1;
    int error = 0;

    base_format(path, sizeof path, "/proc/sys/net/ipv6/conf/%s/disable_ipv6", name);
    if (own < 0 || setns(netns, CLONE_NEWNET) < 0)
        return err_set(e, errno, "cannot enter the container's network namespace");
    fd = openat(AT_FDCWD, path, O_WRONLY | O_CLOEXEC);
    if ((fd < 0 && errno != ENOENT) || (fd >= 0 && fd_write_all(fd, "1", 1) < 0))
        error = errno;
    if (setns(own, CLONE_NEWNET) < 0)
        return err_set(e, errno, "cannot leave the container's network namespace");
    return error ? err_set(e, error, "cannot disable IPv6 on '%s'", name) : 0;
}

/* ---- links --------------------------------------------------------------------------------- */

struct search {
    const uint8_t *mac;
    int index;
};

static int compare_mac(const struct nlattr *attr, void *data)
{
    const struct search *s = data;

    if (mnl_attr_get_type(attr) == IFLA_ADDRESS && mnl_attr_get_payload_len(attr) == NET_MAC_SIZE &&
        memcmp(mnl_attr_get_payload(attr), s->mac, NET_MAC_SIZE) == 0)
        return MNL_CB_STOP;
    return MNL_CB_OK;
}

static void note_found(const struct nlmsghdr *header, void *ctx)
{
    const struct ifinfomsg *link = mnl_nlmsg_get_payload(header);
    struct search *s = ctx;

    if (mnl_attr_parse(header, sizeof *link, compare_mac, s) == MNL_CB_STOP)
        s->index = link->ifi_index;
}

static int find_link(int sock, const uint8_t *mac)
{
    struct search s = { .mac = mac };
    char buf[RTNL_SIZE];
    struct nlmsghdr *header = rtnl_begin_link(buf, RTM_GETLINK, NLM_F_DUMP, 0);
    int r = rtnl_request(sock, header, note_found, &s);

    return r < 0 ? r : s.index == 0 ? -ENODEV : s.index;
}

static int move_link(int sock, int index, int netns, const char *name)
{
    char buf[RTNL_SIZE];
    struct nlmsghdr *header = rtnl_begin_link(buf, RTM_NEWLINK, NLM_F_ACK, index);

    mnl_attr_put_u32(header, IFLA_NET_NS_FD, (uint32_t)netns);
    mnl_attr_put_strz(header, IFLA_IFNAME, name);
    return rtnl_request(sock, header, NULL, NULL);
}

static int raise_link(int sock, int index, uint32_t mtu)
{
    char buf[RTNL_SIZE];
    struct nlmsghdr *header = rtnl_begin_raise(buf, index);

    mnl_attr_put_u32(header, IFLA_MTU, mtu);
    return rtnl_request(sock, header, NULL, NULL);
}

/* ---- addresses, routes, neighbours --------------------------------------------------------- */

/* NODAD: the host's side has found it to be free. */
static int add_address(int sock, int index, const struct net_address *a)
{
    char buf[RTNL_SIZE];
    struct nlmsghdr *header = rtnl_begin(buf, RTM_NEWADDR,
                                         NLM_F_ACK | NLM_F_CREATE | NLM_F_REPLACE);
    struct ifaddrmsg *msg = mnl_nlmsg_put_extra_header(header, sizeof *msg);
    size_t size = net_ip_size(a->family);

    msg->ifa_family = a->family;
    msg->ifa_prefixlen = a->prefix;
    msg->ifa_scope = a->scope;
    msg->ifa_index = (uint32_t)index;
    mnl_attr_put(header, IFA_LOCAL, size, a->local);
    mnl_attr_put(header, IFA_ADDRESS, size, a->has_peer ? a->peer : a->local);
    if (a->has_broadcast)
        mnl_attr_put(header, IFA_BROADCAST, size, a->broadcast);
    mnl_attr_put_u32(header, IFA_FLAGS,
                     a->flags | (a->family == AF_INET6 ? (uint32_t)IFA_F_NODAD : 0));
    return rtnl_request(sock, header, NULL, NULL);
}

static int add_route(int sock, int index, const struct net_route *r)
{
    char buf[RTNL_SIZE];
    struct nlmsghdr *header = rtnl_begin(buf, RTM_NEWROUTE,
                                         NLM_F_ACK | NLM_F_CREATE | NLM_F_APPEND);
    struct rtmsg *msg = mnl_nlmsg_put_extra_header(header, sizeof *msg);
    size_t size = net_ip_size(r->family);

    msg->rtm_family = r->family;
    msg->rtm_dst_len = r->prefix;
    msg->rtm_table = RT_TABLE_MAIN;
    msg->rtm_protocol = r->protocol;
    msg->rtm_scope = r->scope;
    msg->rtm_type = RTN_UNICAST;
    msg->rtm_flags = r->flags;
    if (r->prefix > 0)
        mnl_attr_put(header, RTA_DST, size, r->to);
    if (r->has_gateway)
        mnl_attr_put(header, RTA_GATEWAY, size, r->gateway);
    if (r->has_source)
        mnl_attr_put(header, RTA_PREFSRC, size, r->source);
    if (r->metric)
        mnl_attr_put_u32(header, RTA_PRIORITY, r->metric);
    mnl_attr_put_u32(header, RTA_OIF, (uint32_t)index);
    return rtnl_request(sock, header, NULL, NULL);
}

static int add_neighbour(int sock, int index, const struct net_neighbour *n)
{
    char buf[RTNL_SIZE];
    struct nlmsghdr *header = rtnl_begin(buf, RTM_NEWNEIGH,
                                         NLM_F_ACK | NLM_F_CREATE | NLM_F_REPLACE);
    struct ndmsg *msg = mnl_nlmsg_put_extra_header(header, sizeof *msg);

    msg->ndm_family = n->family;
    msg->ndm_ifindex = index;
    msg->ndm_state = NUD_PERMANENT;
    mnl_attr_put(header, NDA_DST, net_ip_size(n->family), n->address);
    mnl_attr_put(header, NDA_LLADDR, NET_MAC_SIZE, n->mac);
    return rtnl_request(sock, header, NULL, NULL);
}

/* Those that lead to a gateway want the way to that first. */
static int add_routes(int sock, int index, const struct net_interface *i, bool by_gateway)
{
    int r = 0;

    for (size_t n = 0; n < i->n_routes && r == 0; n++)
        if (i->routes[n].has_gateway == by_gateway)
            r = add_route(sock, index, &i->routes[n]);
    return r;
}

/* ---- all of it ----------------------------------------------------------------------------- */

static int set_up(int sock, int index, const struct net_interface *i, struct err *e)
{
    int r = raise_link(sock, index, i->mtu);

    if (r < 0)
        return err_set(e, -r, "cannot bring the interface '%s' up", i->name);
    for (size_t n = 0; n < i->n_addresses && r == 0; n++)
        r = add_address(sock, index, &i->addresses[n]);
    if (r < 0)
        return err_set(e, -r, "cannot give the interface '%s' its addresses", i->name);
    for (size_t n = 0; n < i->n_neighbours && r == 0; n++)
        r = add_neighbour(sock, index, &i->neighbours[n]);
    if (r == 0)
        r = add_routes(sock, index, i, false);
    if (r == 0)
        r = add_routes(sock, index, i, true);
    return r < 0 ? err_set(e, -r, "cannot give the interface '%s' its routes", i->name) : 0;
}

int net_machine_configure(const struct net_machine *m, const char *path, struct err *e)
{
    AUTO_FD int netns = -1;
    AUTO_FD int sock = -1;
    AUTO_FD int here = rtnl_open();
    int r = here < 0 ? err_set(e, -here, "cannot open a rtnetlink socket")
                     : make_namespace(path, &netns, &sock, e);

    if (r == 0 && m->no_ipv6)
        r = disable_ipv6(netns, "lo", e);
    for (size_t n = 0; n < m->n && r == 0; n++) {
        const struct net_interface *i = &m->interfaces[n];
        int index = find_link(here, i->mac);

        r = index < 0 ? index : move_link(here, index, netns, i->name);
        if (r < 0)
            return err_set(e, -r, "cannot take the machine's interface for '%s'", i->name);
        r = i->no_ipv6 ? disable_ipv6(netns, i->name, e) : 0;
        if (r < 0)
            return r;
        index = find_link(sock, i->mac);
        r = index < 0 ? err_set(e, -index, "cannot find the interface '%s'", i->name)
                      : set_up(sock, index, i, e);
    }
    return r;
}
