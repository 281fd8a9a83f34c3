/* SPDX-License-Identifier: Apache-2.0 */
/*
 * linux.netDevices: a device of the host moves into the container's network namespace, keeping its
 * permanent global addresses, and is up there (runtime-spec config-linux.md "Network Devices").
 * Moving closes a device and takes its addresses, so they are read before and given back behind.
 *
 * The runtime does it all: it opens one rtnetlink socket in its own namespace and, entering it for
 * that moment, one in the container's. Nothing of it needs a capability of init's.
 */
#include <errno.h>
#include <fcntl.h>
#include <libmnl/libmnl.h>
#include <linux/if.h>
#include <linux/if_addr.h>
#include <linux/rtnetlink.h>
#include <sched.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

#include "net/internal.h"

enum {
    MAX_ADDRESSES = 128,
    ADDRESS_SIZE = 16,
};

/* What the kernel takes back of an address's flags; the others are its own notes. */
#define KEPT_FLAGS                                                                  \
    (IFA_F_NODAD | IFA_F_HOMEADDRESS | IFA_F_MANAGETEMPADDR | IFA_F_NOPREFIXROUTE | \
     IFA_F_MCAUTOJOIN)

struct address {
    uint8_t family, prefix, len;
    uint32_t flags, priority;
    bool has_local, has_peer, has_broadcast;
    uint8_t local[ADDRESS_SIZE], peer[ADDRESS_SIZE], broadcast[ADDRESS_SIZE];
};

struct device {
    int index;
    bool up;
    size_t n;
    struct address addresses[MAX_ADDRESSES];
    bool too_many;
};

/* ---- compile ------------------------------------------------------------------------------- */

/* RFC 6901: "~" of a name is escaped; "/" is in none. */
static const char *pointer_of(struct plan *p, const char *name)
{
    char escaped[2 * IFNAMSIZ] = "", *at = escaped;

    for (; *name && at < escaped + sizeof escaped - 2; name++) {
        *at++ = *name;
        if (*name == '~')
            *at++ = '0';
    }
    return plan_pointer(p, "/linux/netDevices/%s", escaped);
}

int net_compile_devices(struct plan *p, const struct spec *s, bool own_namespace, int pid_slot,
                        struct err *e)
{
    int after = plan_last(p, LANE_INIT), netns;

    if (s->linux.n_net_devices == 0)
        return 0;
    if (own_namespace)
        return err_at(e, "/linux/netDevices", 0,
                      "the network namespace given by path is the runtime's own: there is no other "
                      "to move a device to");
    netns = plan_slot(p);
    for (size_t i = 0; i < s->linux.n_net_devices; i++) {
        const struct spec_net_device *want = &s->linux.net_devices[i];
        struct step *st = plan_add(p, OP_NET_DEVICE_MOVE, LANE_RUNTIME,
                                   pointer_of(p, want->host_name));
        struct op_net_device_move *op = &st->net_device_move;

        st->after = i == 0 ? after : -1;
        op->host_name = want->host_name;
        op->name = want->name ? want->name : want->host_name;
        op->pid = pid_slot;
        op->netns = netns;
        op->index = plan_slot(p);
        op->was_up = plan_slot(p);
    }
    return 0;
}

/* ---- what a device has --------------------------------------------------------------------- */

static void note_link(const struct nlmsghdr *header, void *ctx)
{
    struct device *device = ctx;
    const struct ifinfomsg *link = mnl_nlmsg_get_payload(header);

    device->index = link->ifi_index;
    device->up = link->ifi_flags & IFF_UP;
}

static bool note_bytes(const struct nlattr *attr, uint8_t out[ADDRESS_SIZE], uint8_t *len)
{
    size_t size = mnl_attr_get_payload_len(attr);

    if (size > ADDRESS_SIZE)
        return false;
    memcpy(out, mnl_attr_get_payload(attr), size);
    *len = (uint8_t)size;
    return true;
}

static int note_address_attribute(const struct nlattr *attr, void *data)
{
    struct address *a = data;

    switch (mnl_attr_get_type(attr)) {
    case IFA_LOCAL:
        a->has_local = note_bytes(attr, a->local, &a->len);
        break;
    case IFA_ADDRESS:
        a->has_peer = note_bytes(attr, a->peer, &a->len);
        break;
    case IFA_BROADCAST:
        a->has_broadcast = note_bytes(attr, a->broadcast, &a->len);
        break;
    case IFA_FLAGS:
        a->flags = mnl_attr_get_u32(attr);
        break;
    case IFA_RT_PRIORITY:
        a->priority = mnl_attr_get_u32(attr);
        break;
    default:
        break;
    }
    return MNL_CB_OK;
}

static void note_address(const struct nlmsghdr *header, void *ctx)
{
    struct device *device = ctx;
    const struct ifaddrmsg *msg = mnl_nlmsg_get_payload(header);
    struct address a = { .family = msg->ifa_family,
                         .prefix = msg->ifa_prefixlen,
                         .flags = msg->ifa_flags };

    if ((int)msg->ifa_index != device->index || msg->ifa_scope != RT_SCOPE_UNIVERSE)
        return;
    mnl_attr_parse(header, sizeof *msg, note_address_attribute, &a);
    if (!(a.flags & IFA_F_PERMANENT))
        return;
    device->too_many |= device->n == MAX_ADDRESSES;
    if (device->n < MAX_ADDRESSES)
        device->addresses[device->n++] = a;
}

/* By name, or by index when that is not 0. */
static int read_link(int sock, const char *name, int index, struct device *device)
{
    char buf[RTNL_SIZE];
    struct nlmsghdr *header = rtnl_begin_link(buf, RTM_GETLINK, 0, index);

    if (index == 0)
        mnl_attr_put_strz(header, IFLA_IFNAME, name);
    return rtnl_request(sock, header, note_link, device);
}

static int read_device(int sock, const char *name, int index, struct device *device)
{
    char buf[RTNL_SIZE];
    struct nlmsghdr *header;
    struct ifaddrmsg *msg;
    int r;

    *device = (struct device){ 0 };
    r = read_link(sock, name, index, device);
    if (r < 0)
        return r;
    header = rtnl_begin(buf, RTM_GETADDR, NLM_F_DUMP);
    msg = mnl_nlmsg_put_extra_header(header, sizeof *msg);
    msg->ifa_family = AF_UNSPEC;
    r = rtnl_request(sock, header, note_address, device);
    return r == 0 && device->too_many ? -E2BIG : r;
}

/* ---- what is done to it -------------------------------------------------------------------- */

static int move_link(int sock, int index, int netns, const char *name)
{
    char buf[RTNL_SIZE];
    struct nlmsghdr *header = rtnl_begin_link(buf, RTM_NEWLINK, NLM_F_ACK, index);

    mnl_attr_put_u32(header, IFLA_NET_NS_FD, (uint32_t)netns);
    mnl_attr_put_strz(header, IFLA_IFNAME, name);
    return rtnl_request(sock, header, NULL, NULL);
}

static int rename_link(int sock, int index, const char *name)
{
    char buf[RTNL_SIZE];
    struct nlmsghdr *header = rtnl_begin_link(buf, RTM_NEWLINK, NLM_F_ACK, index);

    mnl_attr_put_strz(header, IFLA_IFNAME, name);
    return rtnl_request(sock, header, NULL, NULL);
}

static int raise_link(int sock, int index)
{
    char buf[RTNL_SIZE];
    struct nlmsghdr *header = rtnl_begin_raise(buf, index);

    return rtnl_request(sock, header, NULL, NULL);
}

static int add_address(int sock, int index, const struct address *a)
{
    char buf[RTNL_SIZE];
    struct nlmsghdr *header = rtnl_begin(buf, RTM_NEWADDR,
                                         NLM_F_ACK | NLM_F_CREATE | NLM_F_REPLACE);
    struct ifaddrmsg *msg = mnl_nlmsg_put_extra_header(header, sizeof *msg);

    msg->ifa_family = a->family;
    msg->ifa_prefixlen = a->prefix;
    msg->ifa_scope = RT_SCOPE_UNIVERSE;
    msg->ifa_index = (uint32_t)index;
    if (a->has_local)
        mnl_attr_put(header, IFA_LOCAL, a->len, a->local);
    if (a->has_peer)
        mnl_attr_put(header, IFA_ADDRESS, a->len, a->peer);
    if (a->has_broadcast)
        mnl_attr_put(header, IFA_BROADCAST, a->len, a->broadcast);
    if (a->priority)
        mnl_attr_put_u32(header, IFA_RT_PRIORITY, a->priority);
    mnl_attr_put_u32(header, IFA_FLAGS, a->flags & KEPT_FLAGS);
    return rtnl_request(sock, header, NULL, NULL);
}

/* Where it has arrived: its addresses, and up. */
static int settle(int sock, int index, const struct device *had, bool up)
{
    int r = 0;

    for (size_t i = 0; i < had->n && r == 0; i++)
        r = add_address(sock, index, &had->addresses[i]);
    return r == 0 && up ? raise_link(sock, index) : r;
}

/* ---- steps --------------------------------------------------------------------------------- */

struct ways { /* between the runtime's namespace and the container's */
    int own, netns, own_sock, sock;
};

static void ways_close(struct ways *w)
{
    fd_cleanup(&w->own);
    fd_cleanup(&w->own_sock);
    fd_cleanup(&w->sock);
}
#define AUTO_WAYS __attribute__((cleanup(ways_close)))

static int ways_open(struct ways *w, int netns, struct err *e)
{
    *w = (struct ways){ -1, netns, -1, -1 };
    w->own = openat(AT_FDCWD, "/proc/self/ns/net", O_RDONLY | O_CLOEXEC);
    if (w->own < 0)
        return err_set(e, errno, "cannot open the runtime's network namespace");
    w->own_sock = rtnl_open();
    if (w->own_sock < 0)
        return err_set(e, -w->own_sock, "cannot open a rtnetlink socket");
    w->sock = rtnl_open_in(netns, w->own);
    if (w->sock < 0)
        return err_set(e, -w->sock, "cannot enter the container's network namespace");
    return 0;
}

static int open_netns(const struct op_net_device_move *op, struct slots *slots, struct err *e)
{
    char path[64];
    int fd;

    if (slots->value[op->netns] >= 0)
        return 0;
    base_format(path, sizeof path, "/proc/%d/ns/net", slots->value[op->pid]);
    fd = openat(AT_FDCWD, path, O_RDONLY | O_CLOEXEC);
    if (fd < 0)
        return err_set(e, errno, "cannot open the container's network namespace");
    slots->value[op->netns] = fd;
    return 0;
}

static int move_error(struct err *e, int error, const struct op_net_device_move *op)
{
    err_set(e, error, "cannot move the network device '%s' into the container as '%s'",
            op->host_name, op->name);
    if (error == EEXIST)
        err_hint(e, "the container's network namespace has a device of that name");
    else if (error == EPERM)
        err_hint(e, "it needs CAP_NET_ADMIN in both network namespaces");
    else if (error == EINVAL)
        err_hint(e, "the kernel binds this kind of device to its namespace, or '%s' is no name",
                 op->name);
    return -error;
}

/*
 * Under a name of passage that nobody else has: the kernel renames a device only when it has moved
 * it, so a name that is taken would leave it there; and which name it makes of a pattern like
 * "eth%d" nobody would tell.
 */
static int arrive(const struct ways *w, const char *name, const struct device *host,
                  struct device *there)
{
    char passage[IFNAMSIZ];
    int r;

    base_format(passage, sizeof passage, "teca-%u", (unsigned)getpid());
    r = move_link(w->own_sock, host->index, w->netns, passage);
    if (r == 0)
        r = read_link(w->sock, passage, 0, there);
    return r < 0 ? r : rename_link(w->sock, there->index, name);
}

static int step_move(const struct op_net_device_move *op, struct slots *slots, struct err *e)
{
    static struct device host, there;
    AUTO_WAYS struct ways w = { -1, -1, -1, -1 };
    int r = open_netns(op, slots, e);

    if (r == 0)
        r = ways_open(&w, slots->value[op->netns], e);
    if (r < 0)
        return r;
    r = read_device(w.own_sock, op->host_name, 0, &host);
    if (r == -ENODEV)
        return err_set(e, ENODEV, "the host has no network device '%s'", op->host_name);
    if (r < 0)
        return err_set(e, -r, "cannot read the addresses of the network device '%s'",
                       op->host_name);
    there = (struct device){ 0 };
    r = arrive(&w, op->name, &host, &there);
    if (r == 0)
        r = settle(w.sock, there.index, &host, true);
    if (r < 0) {
        /* A step that fails leaves nothing. */
        if (there.index && move_link(w.sock, there.index, w.own, op->host_name) == 0 &&
            read_link(w.own_sock, op->host_name, 0, &there) == 0)
            settle(w.own_sock, there.index, &host, host.up);
        return move_error(e, -r, op);
    }
    slots->value[op->index] = there.index;
    slots->value[op->was_up] = host.up;
    return 0;
}

/* The container may have removed or renamed it: it is known by its index. */
static int step_back(const struct op_net_device_back *op, struct slots *slots, struct err *e)
{
    static struct device there, host;
    AUTO_WAYS struct ways w = { -1, -1, -1, -1 };
    int r;

    if (slots->value[op->index] < 0)
        return 0;
    r = ways_open(&w, slots->value[op->netns], e);
    if (r < 0)
        return r;
    r = read_device(w.sock, NULL, slots->value[op->index], &there);
    if (r == -ENODEV)
        return 0;
    if (r == 0)
        r = move_link(w.sock, there.index, w.own, op->host_name);
    if (r == 0)
        r = read_link(w.own_sock, op->host_name, 0, &host);
    if (r == 0)
        r = settle(w.own_sock, host.index, &there, slots->value[op->was_up] == 1);
    return r < 0 ? err_set(e, -r, "cannot move the network device '%s' back", op->host_name) : 0;
}

int net_device_step(const struct step *st, struct slots *slots, struct err *e)
{
    return st->op == OP_NET_DEVICE_MOVE ? step_move(&st->net_device_move, slots, e)
                                        : step_back(&st->net_device_back, slots, e);
}
