/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The network device (virtio 1.2 §5.1) of one queue pair, over a tap device or a stream of frames. The I/O thread carries
 * them both ways, as many in one go as others can wait for; a cpu only says what it shall look for. Nothing is queued
 * here but one frame each way: without a buffer of the guest's, frames wait on the host until that drops them.
 *
 * On a tap the header before a frame is the host kernel's own (struct virtio_net_hdr_v1), so checksums and
 * segmentation are offered; the kernel checks what the guest writes there (Linux, virtio_net_hdr_to_skb()). On a stream
 * there is no header, and nothing is offered.
 */
#include "vmm/interp/virtio.h"

#include <arpa/inet.h>
#include <errno.h>
#include <fcntl.h>
#include <linux/if.h>
#include <linux/if_tun.h>
#include <linux/virtio_ids.h>
#include <string.h>
#include <sys/epoll.h>
#include <sys/ioctl.h>
#include <sys/socket.h>
#include <unistd.h>

enum { RX, TX };
enum { BUDGET = 128 }; /* frames in one go, with the devices locked */

#define BIT(NAME) (UINT64_C(1) << VIRTIO_NET_F_##NAME)
#define FEATURES (BIT(MAC) | BIT(STATUS) | BIT(MTU) | BIT(MRG_RXBUF))
#define TX_OFFLOADS (BIT(CSUM) | BIT(HOST_TSO4) | BIT(HOST_TSO6))
#define RX_OFFLOADS (BIT(GUEST_CSUM) | BIT(GUEST_TSO4) | BIT(GUEST_TSO6))

static bool has(const struct net *n, uint64_t feature)
{
    return n->virtio.driver_features & feature;
}

/* ---- the host's side ---------------------------------------------------------------------------------- */

/* What a tap may leave for the guest to do: tun(4), Documentation/networking/tuntap.rst. */
static void set_offloads(const struct net *n, uint64_t features)
{
    unsigned flags = (features & BIT(GUEST_CSUM) ? TUN_F_CSUM : 0) |
                     (features & BIT(GUEST_TSO4) ? TUN_F_TSO4 : 0) |
                     (features & BIT(GUEST_TSO6) ? TUN_F_TSO6 : 0);

    /* Refused, the host does it all itself. */
    if (n->host.kind == VMM_NET_TAP && ioctl(n->host.fd, TUNSETOFFLOAD, flags) < 0)
        log_debug("TUNSETOFFLOAD: errno %d", errno);
}

/* The I/O thread waits for what can be done something about only. */
static void update_watch(struct net *n)
{
    bool in = n->active && !n->starved, out = n->busy || n->retry || n->out_len > 0;

    io_want(n->io, &n->watch, (in ? EPOLLIN : 0) | (out ? EPOLLOUT : 0));
}

/* The other end has gone, or speaks nonsense: for the guest a cable that was pulled. */
static void lose_link(struct net *n)
{
    io_remove(n->io, &n->watch);
    n->config.status = 0;
    n->in_head = n->in_len = n->out_len = 0;
    virtio_config_changed(&n->virtio);
}

static bool has_link(const struct net *n)
{
    return n->config.status & VIRTIO_NET_S_LINK_UP;
}

/* ---- to the host -------------------------------------------------------------------------------------- */

/* Of the header what was negotiated. false: it asks for what was not. */
static bool take_header(const struct net *n, const struct virtq_chain *c,
                        struct virtio_net_hdr_v1 *out)
{
    struct virtio_net_hdr_v1 h;

    virtq_copy_out(c, 0, &h, sizeof(h));
    *out = (struct virtio_net_hdr_v1){ 0 };
    if (h.flags & VIRTIO_NET_HDR_F_NEEDS_CSUM) {
        if (!has(n, BIT(CSUM)))
            return false;
        *out = (struct virtio_net_hdr_v1){ .flags = VIRTIO_NET_HDR_F_NEEDS_CSUM,
                                           .csum_start = h.csum_start,
                                           .csum_offset = h.csum_offset };
    }
    if (h.gso_type == VIRTIO_NET_HDR_GSO_NONE)
        return true;
    out->gso_type = h.gso_type;
    out->gso_size = h.gso_size;
    out->hdr_len = h.hdr_len;
    return (h.gso_type == VIRTIO_NET_HDR_GSO_TCPV4 && has(n, BIT(HOST_TSO4))) ||
           (h.gso_type == VIRTIO_NET_HDR_GSO_TCPV6 && has(n, BIT(HOST_TSO6)));
}

/* One write(2) is one frame. What the kernel does not like of it is dropped, as on any wire. */
static bool send_tap(const struct net *n, const struct virtq_chain *c, size_t len)
{
    struct iovec iov[1 + VIRTQ_SEGMENTS_MAX];
    struct virtio_net_hdr_v1 head;
    unsigned count;

    if (!take_header(n, c, &head))
        return false;
    iov[0] = (struct iovec){ &head, sizeof(head) };
    count = 1 + virtq_vectors(c, false, NET_HEADER, len, iov + 1);
    return writev(n->host.fd, iov, (int)count) >= 0;
}

/* What is left of the frame in out. */
static void flush(struct net *n)
{
    while (n->out_len > 0) {
        ssize_t done = send(n->host.fd, n->out + n->out_sent, n->out_len - n->out_sent,
                            MSG_NOSIGNAL | MSG_DONTWAIT);

        if (done < 0 && errno == EINTR)
            continue;
        if (done < 0 && errno != EAGAIN)
            lose_link(n);
        if (done < 0)
            return;
        n->out_sent += (size_t)done;
        if (n->out_sent == n->out_len)
            n->out_len = 0;
    }
}

static bool send_stream(struct net *n, const struct virtq_chain *c, size_t len)
{
    uint32_t length = htonl((uint32_t)len);

    memcpy(n->out, &length, NET_LENGTH);
    virtq_copy_out(c, NET_HEADER, n->out + NET_LENGTH, len);
    n->out_sent = 0;
    n->out_len = NET_LENGTH + len;
    flush(n);
    return true;
}

static int send_frame(struct net *n, const struct virtq_chain *c)
{
    size_t len = c->out_len - (size_t)NET_HEADER;
    bool sent = false;

    if (c->out_len < NET_HEADER) /* §5.1.6.2: always there */
        return -EINVAL;
    if (has_link(n) && len >= NET_FRAME_MIN && len <= NET_FRAME_MAX)
        sent = n->host.kind == VMM_NET_TAP ? send_tap(n, c, len) : send_stream(n, c, len);
    n->dropped[TX] += !sent;
    return 0;
}

/* A guest with two cpus can offer requests faster than they are carried out: the lock is for others too. */
static int transmit(struct net *n)
{
    struct virtq *q = &n->virtio.queues[TX];
    struct virtq_chain c;
    int r = 0, left = BUDGET;

    do {
        while (left > 0 && n->out_len == 0 && (r = virtq_pop(q, n->virtio.mem, &c)) > 0) {
            if (send_frame(n, &c) < 0)
                return -EINVAL;
            virtq_push(q, c.head, 0);
            left--;
        }
    } while (left > 0 && n->out_len == 0 && r == 0 && virtq_rearm(q));
    n->busy = left == 0;
    virtio_signal(&n->virtio, TX);
    return r < 0 ? r : 0;
}

/* ---- to the guest ------------------------------------------------------------------------------------- */

struct frame {
    struct virtio_net_hdr_v1 head;
    const uint8_t *data;
    size_t len, whole; /* whole: with what stood before it in net.in */
};

static bool next_of_tap(const struct net *n, struct frame *f)
{
    if (n->in_len == 0)
        return false;
    memcpy(&f->head, n->in, NET_HEADER);
    f->data = n->in + NET_HEADER;
    f->len = n->in_len - NET_HEADER;
    f->whole = n->in_len;
    return true;
}

static bool next_of_stream(struct net *n, struct frame *f)
{
    size_t have = n->in_len - n->in_head;
    uint32_t length;

    if (have < NET_LENGTH)
        return false;
    memcpy(&length, n->in + n->in_head, NET_LENGTH);
    f->head = (struct virtio_net_hdr_v1){ 0 };
    f->data = n->in + n->in_head + NET_LENGTH;
    f->len = ntohl(length);
    f->whole = NET_LENGTH + f->len;
    if (f->len < NET_FRAME_MIN || f->len > NET_FRAME_MAX) {
        lose_link(n);
        return false;
    }
    return have >= f->whole;
}

/* Reads what there is to n->in. false: nothing came. */
static bool read_host(struct net *n)
{
    ssize_t got;

    memmove(n->in, n->in + n->in_head, n->in_len - n->in_head);
    n->in_len -= n->in_head;
    n->in_head = 0;
    got = read(n->host.fd, n->in + n->in_len, sizeof(n->in) - n->in_len);
    if (got > 0) {
        n->in_len += (size_t)got;
        /* No frame: the next one. */
        if (n->host.kind == VMM_NET_TAP && got < NET_HEADER + NET_FRAME_MIN)
            n->in_len = 0;
        return true;
    }
    if (got == 0 || !fd_is_later())
        lose_link(n);
    return false;
}

/* Frames that were on their way before a reset may want what the driver of now does not know. */
static bool is_for_driver(const struct net *n, const struct virtio_net_hdr_v1 *h)
{
    return (!(h->flags & VIRTIO_NET_HDR_F_NEEDS_CSUM) || has(n, BIT(GUEST_CSUM))) &&
           (h->gso_type == VIRTIO_NET_HDR_GSO_NONE || has(n, BIT(GUEST_TSO4) | BIT(GUEST_TSO6)));
}

struct placed { /* a frame in buffers of the guest's, of which it has not heard yet */
    struct virtq_chain first;
    unsigned n;
    struct {
        uint16_t head;
        uint32_t len;
    } used[VIRTQ_SIZE_MAX];
};

/* 1: there; 0: not enough buffers now; -EINVAL: a lie; -EMSGSIZE: there can never be enough of them. */
static int place(struct net *n, const struct frame *f, struct placed *p)
{
    struct virtq *q = &n->virtio.queues[RX];
    struct virtq_chain more;
    unsigned limit = has(n, BIT(MRG_RXBUF)) ? q->size : 1;
    size_t done = 0;

    for (p->n = 0; done < f->len;) {
        struct virtq_chain *c = p->n == 0 ? &p->first : &more;
        size_t from = p->n == 0 ? NET_HEADER : 0, part;
        int r = p->n == limit ? -EMSGSIZE : virtq_pop(q, n->virtio.mem, c);

        if (r == 0 && virtq_rearm(q))
            continue;
        if (r <= 0)
            return r;
        p->used[p->n++].head = c->head;
        if (c->in_len <= from)
            return -EINVAL;
        part = virtq_copy_in(c, from, f->data + done, f->len - done);
        p->used[p->n - 1].len = (uint32_t)(from + part);
        done += part;
    }
    return 1;
}

/* §5.1.6.3.1: all of a frame's buffers become used at once, for its header says how many there are. */
static int deliver(struct net *n, const struct frame *f)
{
    struct virtq *q = &n->virtio.queues[RX];
    struct virtio_net_hdr_v1 head = f->head;
    struct placed p;
    int r = place(n, f, &p);

    if (r <= 0) {
        virtq_unpop(q, p.n);
        n->dropped[RX] += r == -EMSGSIZE;
        return r == -EMSGSIZE ? 1 : r;
    }
    head.num_buffers = (uint16_t)p.n;
    virtq_copy_in(&p.first, 0, &head, sizeof(head));
    for (unsigned i = 0; i < p.n; i++)
        virtq_push(q, p.used[i].head, p.used[i].len);
    return 1;
}

static bool next_frame(struct net *n, struct frame *f)
{
    return n->host.kind == VMM_NET_TAP ? next_of_tap(n, f) : next_of_stream(n, f);
}

static int receive(struct net *n)
{
    struct frame f;
    int r = 1;

    n->starved = n->retry = false;
    for (int left = BUDGET; left > 0 && r > 0 && has_link(n); left--) {
        if (!next_frame(n, &f)) {
            if (!has_link(n) || !read_host(n))
                break;
            continue;
        }
        if (is_for_driver(n, &f.head))
            r = deliver(n, &f);
        else
            n->dropped[RX]++;
        if (r > 0)
            n->in_head += f.whole;
        if (n->in_head == n->in_len)
            n->in_head = n->in_len = 0;
    }
    n->starved = r == 0;
    virtio_signal(&n->virtio, RX);
    return r < 0 ? r : 0;
}

/* ---- calls -------------------------------------------------------------------------------------------- */

/* A device that is broken waits for its driver's reset only. */
static int settle(struct net *n, int r)
{
    if (r < 0)
        n->active = n->busy = n->retry = false;
    update_watch(n);
    return r;
}

/* Nobody watches a cable that was pulled. Rounds: a ring is at most two of them. */
static int drop_all(struct net *n)
{
    int r = 0;

    for (int round = 0; r == 0 && (n->busy || round == 0) && round < 4; round++)
        r = transmit(n);
    n->busy = false;
    return r;
}

static int net_notify(void *device, unsigned queue)
{
    struct net *n = device;

    n->active = true;
    if (!has_link(n))
        return settle(n, queue == TX ? drop_all(n) : 0);
    if (queue == TX)
        n->busy = true;
    else
        n->retry =
            true; /* a frame may be here already, of which the host's fd says nothing any more */
    n->starved = n->starved && !n->retry;
    return settle(n, 0);
}

static void net_ready(void *ctx, uint32_t events)
{
    struct net *n = ctx;
    int r = 0;

    if (events & EPOLLOUT)
        flush(n);
    if (virtio_is_live(&n->virtio) && n->active) {
        if (!n->negotiated)
            set_offloads(n, n->virtio.driver_features);
        n->negotiated = true;
        if (events & EPOLLOUT)
            r = transmit(n);
        if (r == 0 && (n->retry || events & EPOLLIN))
            r = receive(n);
    } else {
        /* It broke on another way than a request's: what nobody serves is not waited for. */
        n->active = n->busy = n->retry = false;
    }
    if (events & (EPOLLERR | EPOLLHUP) && !(events & EPOLLIN) && has_link(n))
        lose_link(n);
    if (settle(n, r) < 0)
        virtio_break(&n->virtio);
}

/* A stream's frames keep their place in it; a tap's has a header for the driver that has gone. */
static void net_reset(void *device)
{
    struct net *n = device;

    n->active = n->negotiated = n->starved = n->busy = n->retry = false;
    if (n->host.kind == VMM_NET_TAP)
        n->in_head = n->in_len = 0;
    update_watch(n);
}

static const struct virtio_ops ops[] = {
    [VMM_NET_TAP] = { .name = "virtio-net",
                      .id = VIRTIO_ID_NET,
                      .features = FEATURES | TX_OFFLOADS | RX_OFFLOADS,
                      .notify = net_notify,
                      .reset = net_reset },
    [VMM_NET_STREAM] = { .name = "virtio-net",
                         .id = VIRTIO_ID_NET,
                         .features = FEATURES,
                         .notify = net_notify,
                         .reset = net_reset },
};

int net_open(const struct vmm_net *host, unsigned index, struct err *e)
{
    struct ifreq request = { 0 };
    int header = NET_HEADER, flags = fcntl(host->fd, F_GETFL);

    if (flags < 0 || fcntl(host->fd, F_SETFL, flags | O_NONBLOCK) < 0)
        return err_set(e, errno, "cannot use the fd of network interface %u", index);
    if (host->kind != VMM_NET_TAP)
        return 0;
    if (ioctl(host->fd, TUNGETIFF, &request) < 0)
        return err_set(e, errno, "network interface %u is no tap device", index);
    if ((request.ifr_flags & (IFF_TAP | IFF_VNET_HDR | IFF_NO_PI)) !=
        (IFF_TAP | IFF_VNET_HDR | IFF_NO_PI))
        return err_set(e, 0, "the tap device of network interface %u has no virtio header", index);
    return ioctl(host->fd, TUNSETVNETHDRSZ, &header) < 0
               ? err_set(e, errno, "cannot set the header of network interface %u", index)
               : 0;
}

int net_init(struct net *n, const struct vmm_net *host, struct vmm_io *io,
             const struct virtio_place *place, struct err *e)
{
    n->virtio = (struct virtio){ .ops = &ops[host->kind],
                                 .device = n,
                                 .mem = place->mem,
                                 .line = place->line,
                                 .gsi = place->gsi,
                                 .n_queues = 2,
                                 .config = &n->config,
                                 .config_len = sizeof(n->config) };
    n->config = (struct virtio_net_config){ .status = VIRTIO_NET_S_LINK_UP, .mtu = host->mtu };
    memcpy(n->config.mac, host->mac, sizeof(host->mac));
    n->host = *host;
    n->io = io;
    n->watch = (struct vmm_watch){ .fd = host->fd, .ready = net_ready, .ctx = n };
    n->active = n->negotiated = n->starved = n->busy = n->retry = false;
    n->in_head = n->in_len = n->out_len = n->out_sent = 0;
    n->dropped[RX] = n->dropped[TX] = 0;
    return io_add(io, &n->watch, e);
}
