/* SPDX-License-Identifier: Apache-2.0 */
/*
 * A tap device beside an interface, and the redirects between both (tc(8): the ingress qdisc, a classifier that
 * takes all, the action mirred). The tap goes with its last fd; the qdisc of the interface has to be removed.
 */
#include <errno.h>
#include <fcntl.h>
#include <linux/if.h>
#include <linux/if_ether.h>
#include <linux/if_tun.h>
#include <linux/pkt_cls.h>
#include <linux/pkt_sched.h>
#include <linux/tc_act/tc_mirred.h>
#include <sched.h>
#include <string.h>
#include <sys/ioctl.h>
#include <sys/stat.h>
#include <unistd.h>

#include "net/internal.h"
#include "net/machine.h"

#define TAP_PATTERN "teca%d" /* the kernel finds the number */
/* The priority of the filter says whose the qdisc is: "teca" in the letters that hexadecimal has. */
enum { OWN_PRIORITY = 0x7eca };
static const uint32_t ingress = TC_H_MAKE(TC_H_INGRESS, 0);

/* ---- compile ------------------------------------------------------------------------------- */

void net_machine_compile(struct plan *p, const struct net_machine *m, const char *pointer,
                         int netns, int *first_tap)
{
    int taps[NET_INTERFACES_MAX];

    for (size_t i = 0; i < m->n; i++)
        taps[i] = plan_slot(p);
    *first_tap = m->n > 0 ? taps[0] : SLOT_NONE;
    for (size_t i = 0; i < m->n; i++) {
        struct step *st = plan_add(p, OP_NET_TAP, LANE_RUNTIME, pointer);

        st->net_tap.interface = m->interfaces[i].name;
        st->net_tap.mtu = m->interfaces[i].mtu;
        st->net_tap.netns = netns;
        st->net_tap.out = taps[i];
        st = plan_add(p, OP_NET_REDIRECT, LANE_RUNTIME, pointer);
        st->net_redirect.interface = m->interfaces[i].name;
        st->net_redirect.index = m->interfaces[i].index;
        st->net_redirect.path = m->path;
        st->net_redirect.inode = m->inode;
        st->net_redirect.netns = netns;
        st->net_redirect.tap = taps[i];
    }
}

/* ---- the namespace ------------------------------------------------------------------------- */

/* What is opened in it stays of it: a rtnetlink socket, and a file of tun. */
struct inside {
    int sock, tun;
};

static void inside_close(struct inside *in)
{
    fd_cleanup(&in->sock);
    fd_cleanup(&in->tun);
}
#define AUTO_INSIDE __attribute__((cleanup(inside_close)))

static int open_inside(int netns, bool with_tun, struct inside *out, struct err *e)
{
    AUTO_FD int own = openat(AT_FDCWD, "/proc/self/ns/net", O_RDONLY | O_CLOEXEC);
    int error = 0;

    *out = (struct inside){ -1, -1 };
    if (own < 0 || setns(netns, CLONE_NEWNET) < 0)
        return err_set(e, errno, "cannot enter the network namespace");
    out->sock = rtnl_open();
    if (with_tun)
        out->tun = openat(AT_FDCWD, "/dev/net/tun", O_RDWR | O_CLOEXEC);
    if (with_tun && out->tun < 0)
        error = errno;
    if (setns(own, CLONE_NEWNET) <
        0) /* it was left a moment ago, by the one who may enter the other */
        _exit(1);
    if (out->sock < 0)
        return err_set(e, -out->sock, "cannot open a rtnetlink socket");
    if (error) {
        err_set(e, error, "cannot open '/dev/net/tun'");
        err_hint(e, "a machine's network needs the kernel's tun (modprobe tun)");
        return -error;
    }
    return 0;
}

/* ---- the tap ------------------------------------------------------------------------------- */

static int find_index(int sock, const char *name)
{
    struct ifreq request = { 0 };

    base_format(request.ifr_name, sizeof request.ifr_name, "%s", name);
    return ioctl(sock, SIOCGIFINDEX, &request) < 0 ? -errno : request.ifr_ifindex;
}

/* IPv6 would speak on it, and the guest hear it. A kernel without IPv6 does not know the request. */
static void silence(int sock, int index)
{
    char buf[RTNL_SIZE];
    struct nlmsghdr *header = rtnl_begin_link(buf, RTM_NEWLINK, NLM_F_ACK, index);
    struct nlattr *families = mnl_attr_nest_start(header, IFLA_AF_SPEC);
    struct nlattr *family = mnl_attr_nest_start(header, AF_INET6);

    mnl_attr_put_u8(header, IFLA_INET6_ADDR_GEN_MODE, IN6_ADDR_GEN_MODE_NONE);
    mnl_attr_nest_end(header, family);
    mnl_attr_nest_end(header, families);
    rtnl_request(sock, header, NULL, NULL);
}

static int raise_tap(int sock, int index, uint64_t mtu)
{
    char buf[RTNL_SIZE];
    struct nlmsghdr *header = rtnl_begin_raise(buf, index);

    mnl_attr_put_u32(header, IFLA_MTU, (uint32_t)mtu);
    return rtnl_request(sock, header, NULL, NULL);
}

static int step_tap(const struct op_net_tap *op, struct slots *slots, struct err *e)
{
    struct ifreq request = { .ifr_flags = IFF_TAP | IFF_NO_PI | IFF_VNET_HDR,
                             .ifr_name = TAP_PATTERN };
    AUTO_INSIDE struct inside in = { -1, -1 };
    int index, r = open_inside(slots->value[op->netns], true, &in, e);

    if (r < 0)
        return r;
    if (ioctl(in.tun, TUNSETIFF, &request) < 0)
        return err_set(e, errno, "cannot make a tap device for '%s'", op->interface);
    index = find_index(in.sock, request.ifr_name);
    if (index < 0)
        return err_set(e, -index, "cannot find the tap device of '%s'", op->interface);
    silence(in.sock, index);
    r = raise_tap(in.sock, index, op->mtu);
    if (r < 0)
        return err_set(e, -r, "cannot set up the tap device of '%s'", op->interface);
    slots->value[op->out] = take_fd(&in.tun);
    return 0;
}

/* ---- the redirects ------------------------------------------------------------------------- */

static struct nlmsghdr *begin_tc(char buf[RTNL_SIZE], uint16_t type, uint16_t flags, int index,
                                 uint32_t parent)
{
    struct nlmsghdr *header = rtnl_begin(buf, type, flags);
    struct tcmsg *tc = mnl_nlmsg_put_extra_header(header, sizeof *tc);

    tc->tcm_ifindex = index;
    tc->tcm_parent = parent;
    return header;
}

/* The qdisc itself hangs below TC_H_INGRESS and is called `ingress`; filters hang below it. */
static int add_qdisc(int sock, int index)
{
    char buf[RTNL_SIZE];
    struct nlmsghdr *header = begin_tc(buf, RTM_NEWQDISC, NLM_F_ACK | NLM_F_CREATE | NLM_F_EXCL,
                                       index, TC_H_INGRESS);

    ((struct tcmsg *)mnl_nlmsg_get_payload(header))->tcm_handle = ingress;
    mnl_attr_put_strz(header, TCA_KIND, "ingress");
    return rtnl_request(sock, header, NULL, NULL);
}

static int delete_qdisc(int sock, int index)
{
    char buf[RTNL_SIZE];
    struct nlmsghdr *header = begin_tc(buf, RTM_DELQDISC, NLM_F_ACK, index, TC_H_INGRESS);

    ((struct tcmsg *)mnl_nlmsg_get_payload(header))->tcm_handle = ingress;
    return rtnl_request(sock, header, NULL, NULL);
}

static void put_redirect(struct nlmsghdr *header, uint16_t actions, int to)
{
    const struct tc_mirred redirect = { .action = TC_ACT_STOLEN,
                                        .eaction = TCA_EGRESS_REDIR,
                                        .ifindex = (uint32_t)to };
    struct nlattr *list = mnl_attr_nest_start(header, actions);
    struct nlattr *first = mnl_attr_nest_start(header, 1);
    struct nlattr *options;

    mnl_attr_put_strz(header, TCA_ACT_KIND, "mirred");
    options = mnl_attr_nest_start(header, TCA_ACT_OPTIONS);
    mnl_attr_put(header, TCA_MIRRED_PARMS, sizeof redirect, &redirect);
    mnl_attr_nest_end(header, options);
    mnl_attr_nest_end(header, first);
    mnl_attr_nest_end(header, list);
}

static int add_filter(int sock, const char *kind, int from, int to)
{
    const struct tc_u32_sel all = { .flags = TC_U32_TERMINAL }; /* no key: all there is */
    bool is_u32 = str_eq(kind, "u32");
    char buf[RTNL_SIZE];
    struct nlmsghdr *header = begin_tc(buf, RTM_NEWTFILTER, NLM_F_ACK | NLM_F_CREATE | NLM_F_EXCL,
                                       from, ingress);
    struct nlattr *options;

    ((struct tcmsg *)mnl_nlmsg_get_payload(header))->tcm_info = TC_H_MAKE(
        (uint32_t)OWN_PRIORITY << 16, __builtin_bswap16(ETH_P_ALL));
    mnl_attr_put_strz(header, TCA_KIND, kind);
    options = mnl_attr_nest_start(header, TCA_OPTIONS);
    if (is_u32)
        mnl_attr_put(header, TCA_U32_SEL, sizeof all, &all);
    put_redirect(header, is_u32 ? TCA_U32_ACT : TCA_MATCHALL_ACT, to);
    mnl_attr_nest_end(header, options);
    return rtnl_request(sock, header, NULL, NULL);
}

/* Kernels have one of the two classifiers at least, when they have any. */
static int redirect(int sock, int from, int to)
{
    int r = add_filter(sock, "u32", from, to);

    return r == -ENOENT ? add_filter(sock, "matchall", from, to) : r;
}

static int redirect_error(struct err *e, int r, const struct op_net_redirect *op, bool own_qdisc)
{
    err_set(e, -r, "cannot redirect what comes in on '%s' to a machine", op->interface);
    if (!own_qdisc && r == -EEXIST)
        err_hint(e, "it has an ingress qdisc already, another machine's perhaps (tc qdisc show)");
    else if (r == -ENOENT)
        err_hint(e, "the kernel needs sch_ingress, cls_u32 or cls_matchall, and act_mirred");
    return r;
}

/* A step that fails leaves nothing; the tap's own qdisc goes with the tap. */
static int step_redirect(const struct op_net_redirect *op, struct slots *slots, struct err *e)
{
    AUTO_INSIDE struct inside in = { -1, -1 };
    struct ifreq tap = { 0 };
    int index, r = open_inside(slots->value[op->netns], false, &in, e);

    if (r < 0)
        return r;
    if (ioctl(slots->value[op->tap], TUNGETIFF, &tap) < 0)
        return err_set(e, errno, "cannot find the tap device of '%s'", op->interface);
    index = find_index(in.sock, tap.ifr_name);
    if (index < 0)
        return err_set(e, -index, "cannot find the tap device of '%s'", op->interface);
    r = add_qdisc(in.sock, (int)op->index);
    if (r < 0)
        return redirect_error(e, r, op, false);
    r = redirect(in.sock, (int)op->index, index);
    if (r == 0)
        r = add_qdisc(in.sock, index);
    if (r == 0)
        r = redirect(in.sock, index, (int)op->index);
    if (r < 0)
        delete_qdisc(in.sock, (int)op->index);
    return r < 0 ? redirect_error(e, r, op, true) : 0;
}

/* ---- both, of one's own namespace ---------------------------------------------------------- */

static int take(const struct net_interface *i, struct slots *slots, int netns, int tap,
                struct err *e)
{
    const struct op_net_tap t = { .interface = i->name, .mtu = i->mtu, .netns = netns, .out = tap };
    const struct op_net_redirect redirect = {
        .interface = i->name, .index = i->index, .netns = netns, .tap = tap
    };
    int r = step_tap(&t, slots, e);

    return r < 0 ? r : step_redirect(&redirect, slots, e);
}

int net_machine_take(struct arena *a, struct net_machine *out, int taps[NET_INTERFACES_MAX],
                     struct err *e)
{
    enum { NETNS = NET_INTERFACES_MAX };
    AUTO_FD int own = openat(AT_FDCWD, OWN_NETWORK, O_RDONLY | O_CLOEXEC);
    int values[NETNS + 1] = { -1, -1, -1, -1, own };
    struct slots slots = { .value = values };
    int r = own < 0 ? err_set(e, errno, "cannot open '%s'", OWN_NETWORK)
                    : net_machine_gather_own(a, out, e);

    for (size_t i = 0; i < out->n && r == 0; i++)
        r = take(&out->interfaces[i], &slots, NETNS, (int)i, e);
    for (int i = 0; i < NET_INTERFACES_MAX; i++) {
        if (r < 0)
            fd_cleanup(&values[i]);
        taps[i] = values[i];
    }
    return r;
}

/* ---- the way back -------------------------------------------------------------------------- */

struct filters {
    int index;
    unsigned own, others;
};

static void count_filter(const struct nlmsghdr *header, void *ctx)
{
    const struct tcmsg *tc = mnl_nlmsg_get_payload(header);
    struct filters *f = ctx;

    if (header->nlmsg_type != RTM_NEWTFILTER || tc->tcm_ifindex != f->index)
        return;
    if (TC_H_MAJ(tc->tcm_info) >> 16 == OWN_PRIORITY)
        f->own++;
    else
        f->others++;
}

static int delete_filter(int sock, int index)
{
    char buf[RTNL_SIZE];
    struct nlmsghdr *header = begin_tc(buf, RTM_DELTFILTER, NLM_F_ACK, index, ingress);

    ((struct tcmsg *)mnl_nlmsg_get_payload(header))->tcm_info = TC_H_MAKE(
        (uint32_t)OWN_PRIORITY << 16, __builtin_bswap16(ETH_P_ALL));
    return rtnl_request(sock, header, NULL, NULL);
}

/* The namespace may have gone, or the path be another's by now: then there is nothing to undo. */
static int open_same(const struct op_net_unredirect *op)
{
    AUTO_FD int fd = openat(AT_FDCWD, op->path, O_RDONLY | O_CLOEXEC | O_NONBLOCK | O_NOCTTY);
    struct stat st;

    return fd >= 0 && fstat(fd, &st) == 0 && st.st_ino == op->inode ? take_fd(&fd) : -1;
}

/* Only what bears our mark: a start that was refused for another's qdisc leaves that alone. */
static int step_unredirect(const struct op_net_unredirect *op, struct err *e)
{
    AUTO_FD int netns = open_same(op);
    AUTO_INSIDE struct inside in = { -1, -1 };
    struct filters f = { .index = (int)op->index };
    char buf[RTNL_SIZE];
    int r;

    if (netns < 0)
        return 0;
    r = open_inside(netns, false, &in, e);
    if (r < 0)
        return r;
    rtnl_request(in.sock, begin_tc(buf, RTM_GETTFILTER, NLM_F_DUMP, f.index, ingress), count_filter,
                 &f);
    if (f.own == 0)
        return 0;
    r = f.others > 0 ? delete_filter(in.sock, f.index) : delete_qdisc(in.sock, f.index);
    if (r == 0 || r == -ENODEV || r == -ENOENT || r == -EINVAL)
        return 0;
    return err_set(e, -r, "cannot end the redirect of interface %ld in '%s'", (long)op->index,
                   op->path);
}

int net_machine_step(const struct step *st, struct slots *slots, struct err *e)
{
    if (st->op == OP_NET_TAP)
        return step_tap(&st->net_tap, slots, e);
    if (st->op == OP_NET_REDIRECT)
        return step_redirect(&st->net_redirect, slots, e);
    return step_unredirect(&st->net_unredirect, e);
}
