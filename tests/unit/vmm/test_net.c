/* SPDX-License-Identifier: Apache-2.0 */
/* The network device between a driver, good and bad, and a stream or a tap device. */
#include "ring.h"

#include <arpa/inet.h>
#include <fcntl.h>
#include <linux/if.h>
#include <linux/if_packet.h>
#include <linux/if_tun.h>
#include <net/ethernet.h>
#include <sched.h>
#include <sys/epoll.h>
#include <sys/ioctl.h>
#include <sys/socket.h>

enum { RX, TX, BROKEN = VIRTIO_STATUS_BROKEN, LIVE = 0x0f, FRAME = 64, HEAD = NET_HEADER };
#define BIT(NAME) (UINT64_C(1) << VIRTIO_NET_F_##NAME)
#define MERGE BIT(MRG_RXBUF)
#define EVENT_IDX (UINT64_C(1) << VIRTIO_RING_F_EVENT_IDX)

static struct vmm_memory memory;
static struct vmm_io io;
static pthread_mutex_t devices = PTHREAD_MUTEX_INITIALIZER;
static struct net net;
static unsigned edges;
static int host = -1; /* the other end of a stream */

static void count_edge(void *ctx, unsigned gsi)
{
    (void)ctx;
    assert_int_equal(gsi, 18);
    edges++;
}

static void new_net(enum vmm_net_kind kind, int fd)
{
    struct vmm_net of = { kind, fd, { 2, 0, 0, 0, 0, 7 }, 1400 };
    struct virtio_place place = { &memory, { .raise = count_edge }, 18 };
    struct err e = { 0 };

    if (net_open(&of, 0, &e) < 0 || net_init(&net, &of, &io, &place, &e) < 0)
        fail_msg("%s", e.text);
}

static void new_stream(void)
{
    int fds[2];

    assert_int_equal(socketpair(AF_UNIX, SOCK_STREAM | SOCK_NONBLOCK, 0, fds), 0);
    host = fds[0];
    new_net(VMM_NET_STREAM, fds[1]);
}

static int set_up(void **state)
{
    (void)state;
    memory = fake_memory();
    io_init(&io, &devices);
    edges = 0;
    return 0;
}

static int tear_down(void **state)
{
    (void)state;
    io_release(&io);
    close(net.host.fd);
    fd_cleanup(&host);
    vmm_memory_release(&memory);
    return 0;
}

/* One turn of what the I/O thread does: false: there was nothing to do. */
static bool turn(void)
{
    struct epoll_event event;
    const struct vmm_watch *w;

    if (epoll_wait(io.epoll, &event, 1, 0) != 1)
        return false;
    w = event.data.ptr;
    w->ready(w->ctx, event.events);
    return true;
}

static void turns(void)
{
    for (int i = 0; turn(); i++)
        assert_true(i < 10000);
}

/* ---- the driver ----------------------------------------------------------------------------------------- */

static uint8_t *buffer(unsigned index)
{
    return vmm_memory_at(&memory, FAKE_BUFFERS + 0x1000 * index, 0x1000);
}

static void offer(unsigned queue, uint16_t index, uint32_t len)
{
    ring_describe(
        &memory, queue, index,
        (struct vring_desc){ FAKE_BUFFERS + UINT64_C(0x1000) * index + (queue == TX ? 0x800 : 0),
                             len, queue == RX ? VRING_DESC_F_WRITE : 0, 0 });
    ring_offer(&memory, queue, index);
}

/* ... and what the I/O thread does then. */
static void notify(unsigned queue)
{
    reg_write(&net.virtio, VIRTIO_MMIO_QUEUE_NOTIFY, queue);
    turns();
}

static unsigned used(unsigned queue)
{
    return ring_used(&memory, queue)->idx;
}

/* A frame that says where it comes from, after a header; returns the whole. */
static uint32_t write_frame(unsigned index, struct virtio_net_hdr_v1 head, uint8_t mark)
{
    uint8_t *at = buffer(index) + 0x800;

    memcpy(at, &head, sizeof(head));
    memset(at + HEAD, mark, FRAME);
    return HEAD + FRAME;
}

static void host_sends(const void *frame, size_t len)
{
    uint32_t length = htonl((uint32_t)len);

    assert_int_equal(write(host, &length, 4), 4);
    assert_int_equal(write(host, frame, len), (ssize_t)len);
}

static void host_sends_marked(uint8_t mark, size_t len)
{
    static uint8_t frame[65536];

    memset(frame, mark, len);
    host_sends(frame, len);
}

/* The length of the next frame, -1: there is none. */
static ssize_t host_hears(uint8_t *out, size_t size)
{
    uint32_t length;

    if (read(host, &length, 4) != 4)
        return -1;
    length = ntohl(length);
    assert_true(length <= size);
    assert_int_equal(read(host, out, length), length);
    return length;
}

/* ---- set-up --------------------------------------------------------------------------------------------- */

static void a_driver_reads_address_status_and_mtu(void **state)
{
    struct virtio *v = &net.virtio;
    struct virtio_net_config c;

    (void)state;
    new_stream();
    assert_int_equal(reg_read(v, VIRTIO_MMIO_DEVICE_ID), 1);
    reg_write(v, VIRTIO_MMIO_DEVICE_FEATURES_SEL, 0);
    assert_int_equal(reg_read(v, VIRTIO_MMIO_DEVICE_FEATURES) & 0xffffff,
                     BIT(MAC) | BIT(STATUS) | BIT(MTU) | MERGE);
    virtio_device.read(v, VIRTIO_MMIO_CONFIG, &c, 8);
    virtio_device.read(v, VIRTIO_MMIO_CONFIG + 8, (char *)&c + 8, 4);
    assert_memory_equal(c.mac, "\2\0\0\0\0\7", 6);
    assert_int_equal(c.status, VIRTIO_NET_S_LINK_UP);
    assert_int_equal(c.mtu, 1400);
    assert_int_equal(reg_read(v, VIRTIO_MMIO_CONFIG_GENERATION), 0);
}

static void an_fd_that_is_no_tap_is_refused(void **state)
{
    struct vmm_net of = { VMM_NET_TAP, -1, { 0 }, 1500 };
    struct err e = { 0 };

    (void)state;
    new_stream();
    of.fd = host;
    assert_true(net_open(&of, 3, &e) < 0);
    assert_non_null(strstr(e.text, "network interface 3 is no tap device"));
    of.fd = -1;
    assert_int_equal(net_open(&of, 0, &e), -EBADF);
}

/* ---- frames over a stream --------------------------------------------------------------------------------- */

static void frames_go_both_ways(void **state)
{
    uint8_t frame[FRAME], want[FRAME];

    (void)state;
    new_stream();
    reg_drive(&net.virtio, MERGE);
    offer(RX, 0, 2048);
    notify(RX);
    host_sends_marked('h', FRAME);
    turns();
    assert_int_equal(used(RX), 1);
    assert_int_equal(ring_used(&memory, RX)->ring[0].len, HEAD + FRAME);
    assert_int_equal(((struct virtio_net_hdr_v1 *)(void *)buffer(0))->num_buffers, 1);
    assert_int_equal(buffer(0)[HEAD], 'h');
    assert_int_equal(buffer(0)[HEAD + FRAME - 1], 'h');
    assert_int_equal(buffer(0)[HEAD + FRAME], 0);
    assert_int_equal(edges, 1);
    offer(TX, 1, write_frame(1, (struct virtio_net_hdr_v1){ 0 }, 'g'));
    notify(TX);
    assert_int_equal(used(TX), 1);
    assert_int_equal(host_hears(frame, sizeof(frame)), FRAME);
    memset(want, 'g', FRAME);
    assert_memory_equal(frame, want, FRAME);
    assert_int_equal(reg_read(&net.virtio, VIRTIO_MMIO_STATUS), LIVE);
}

static void frames_wait_on_the_host_for_a_buffer(void **state)
{
    (void)state;
    new_stream();
    reg_drive(&net.virtio, MERGE | EVENT_IDX);
    for (uint8_t i = 0; i < 100; i++)
        host_sends_marked(i, FRAME);
    assert_false(turn()); /* nobody reads before the driver has said anything */
    notify(RX);
    assert_false(turn()); /* ... nor without a buffer: no thread turns round and round */
    assert_true(net.starved);
    for (uint16_t i = 0; i < 100; i++) {
        offer(RX, i % RING_SIZE, 2048);
        notify(RX);
        turns();
        assert_int_equal(used(RX), i + 1);
        assert_int_equal(buffer(i % RING_SIZE)[HEAD], i);
    }
    assert_int_equal(net.dropped[RX], 0);
}

static void a_frame_may_fill_several_buffers(void **state)
{
    static uint8_t frame[1000];

    (void)state;
    new_stream();
    reg_drive(&net.virtio, MERGE);
    for (size_t i = 0; i < sizeof(frame); i++)
        frame[i] = (uint8_t)(i / 4);
    for (uint16_t i = 0; i < 3; i++)
        offer(RX, i, 300);
    notify(RX);
    host_sends(frame, sizeof(frame));
    turns();
    assert_int_equal(used(RX), 0); /* 900 - 12 bytes of room */
    offer(RX, 3, 300);
    notify(RX);
    assert_int_equal(used(RX), 4);
    assert_int_equal(((struct virtio_net_hdr_v1 *)(void *)buffer(0))->num_buffers, 4);
    assert_memory_equal(buffer(0) + HEAD, frame, 288);
    assert_memory_equal(buffer(1), frame + 288, 300);
    assert_memory_equal(buffer(3), frame + 888, 112);
    assert_int_equal(ring_used(&memory, RX)->ring[3].len, 112);
}

static void what_can_never_fit_is_dropped(void **state)
{
    (void)state;
    new_stream();
    reg_drive(&net.virtio, 0); /* a driver that merges no buffers */
    offer(RX, 0, HEAD + FRAME);
    notify(RX);
    host_sends_marked('x', FRAME + 1);
    host_sends_marked('y', FRAME);
    turns();
    assert_int_equal(net.dropped[RX], 1);
    assert_int_equal(used(RX), 1);
    assert_int_equal(buffer(0)[HEAD], 'y');
    reg_drive(&net.virtio, MERGE);
    memset(vmm_memory_at(&memory, FAKE_RINGS, 0x2000), 0, 0x2000);
    for (uint16_t i = 0; i < RING_SIZE; i++)
        offer(RX, i, 20);
    notify(RX);
    host_sends_marked('z', 20 * RING_SIZE); /* and a header */
    turns();
    assert_int_equal(net.dropped[RX], 2);
    assert_int_equal(used(RX), 0);
    host_sends_marked('q', 20);
    turns();
    assert_int_equal(used(RX), 2);
}

/* Of its first frame the socket takes a part, and nothing of the others. */
static void a_stream_that_is_full_holds_the_guest_up_and_loses_nothing(void **state)
{
    enum { LONG = 40000, FRAMES = 3 };
    static uint8_t heard[FRAMES * (NET_LENGTH + LONG)];
    uint32_t length = htonl(LONG);
    size_t got = 0;
    int small = 1;

    (void)state;
    new_stream();
    assert_int_equal(setsockopt(net.host.fd, SOL_SOCKET, SO_SNDBUF, &small, sizeof(small)), 0);
    reg_drive(&net.virtio, 0);
    memset(buffer(0), 'l', 0x1000);
    for (uint16_t i = 0; i < FRAMES; i++) {
        ring_describe(&memory, TX, i, (struct vring_desc){ FAKE_BUFFERS, HEAD + LONG, 0, 0 });
        ring_offer(&memory, TX, i);
    }
    notify(TX);
    assert_int_equal(used(TX), 1);
    assert_true(net.out_sent > 0 && net.out_sent < net.out_len);
    assert_false(turn());
    while (got < sizeof(heard)) {
        ssize_t n = read(host, heard + got, sizeof(heard) - got);

        got += n > 0 ? (size_t)n : 0;
        turns();
        assert_true(n > 0 || used(TX) < FRAMES || net.out_len > 0);
    }
    assert_int_equal(used(TX), FRAMES);
    for (unsigned i = 0; i < FRAMES; i++) {
        const uint8_t *frame = heard + (size_t)i * (NET_LENGTH + LONG);

        assert_memory_equal(frame, &length, NET_LENGTH);
        assert_int_equal(frame[NET_LENGTH], 'l');
    }
    assert_int_equal(net.dropped[TX], 0);
}

static void the_other_ends_end_is_the_loss_of_the_link(void **state)
{
    (void)state;
    new_stream();
    reg_drive(&net.virtio, 0);
    notify(RX);
    fd_cleanup(&host);
    turns();
    assert_int_equal(reg_read(&net.virtio, VIRTIO_MMIO_CONFIG + 4) >> 16, 0);
    assert_int_equal(reg_read(&net.virtio, VIRTIO_MMIO_CONFIG_GENERATION), 1);
    assert_int_equal(reg_read(&net.virtio, VIRTIO_MMIO_INTERRUPT_STATUS), 2);
    offer(TX, 1, write_frame(1, (struct virtio_net_hdr_v1){ 0 }, 'g'));
    notify(TX);
    assert_int_equal(used(TX), 1);
    assert_int_equal(net.dropped[TX], 1);
    assert_int_equal(reg_read(&net.virtio, VIRTIO_MMIO_STATUS), LIVE);
}

static void a_length_that_is_none_is_too(void **state)
{
    static const uint32_t lengths[] = { 0, NET_FRAME_MIN - 1, NET_FRAME_MAX + 1, UINT32_MAX };

    (void)state;
    for (size_t i = 0; i < COUNT_OF(lengths); i++) {
        uint32_t length = htonl(lengths[i]);

        new_stream();
        reg_drive(&net.virtio, 0);
        offer(RX, 0, 2048);
        notify(RX);
        assert_int_equal(write(host, &length, 4), 4);
        assert_int_equal(write(host, "twenty bytes of it...", 20), 20);
        turns();
        assert_int_equal(net.config.status, 0);
        assert_int_equal(used(RX), 0);
        memset(vmm_memory_at(&memory, FAKE_RINGS, 0x2000), 0, 0x2000);
        close(net.host.fd);
        fd_cleanup(&host);
    }
    new_stream();
}

static void a_reset_in_the_middle_of_a_frame_keeps_the_frames_apart(void **state)
{
    uint32_t length = htonl(FRAME);
    uint8_t frame[FRAME];

    (void)state;
    new_stream();
    reg_drive(&net.virtio, MERGE);
    offer(RX, 0, 2048);
    notify(RX);
    memset(frame, 'a', sizeof(frame));
    assert_int_equal(write(host, &length, 4), 4);
    assert_int_equal(write(host, frame, 20), 20);
    turns();
    memset(vmm_memory_at(&memory, FAKE_RINGS, 0x2000), 0, 0x2000);
    reg_drive(&net.virtio, MERGE);
    assert_int_equal(write(host, frame, FRAME - 20), FRAME - 20);
    host_sends_marked('b', FRAME);
    offer(RX, 0, 2048);
    offer(RX, 1, 2048);
    notify(RX);
    turns();
    assert_int_equal(used(RX), 2);
    assert_int_equal(buffer(0)[HEAD], 'a');
    assert_int_equal(buffer(1)[HEAD], 'b');
}

/* ---- lies ----------------------------------------------------------------------------------------------- */

static void check_broken(void)
{
    assert_int_equal(reg_read(&net.virtio, VIRTIO_MMIO_STATUS), LIVE | BROKEN);
    for (unsigned i = 0; i < 500; i++)
        notify(i % 2);
    assert_false(turn());
    reg_drive(&net.virtio, 0);
    assert_int_equal(reg_read(&net.virtio, VIRTIO_MMIO_STATUS), LIVE);
    memset(vmm_memory_at(&memory, FAKE_RINGS, 0x2000), 0, 0x2000);
}

static void requests_that_lie_break_the_device_until_a_reset(void **state)
{
    struct vring_avail *avail;

    (void)state;
    new_stream();
    reg_drive(&net.virtio, 0);
    offer(TX, 0, HEAD - 1); /* no whole header */
    notify(TX);
    check_broken();
    ring_describe(&memory, TX, 0, (struct vring_desc){ FAKE_BUFFERS, 64, VRING_DESC_F_NEXT, 0 });
    ring_offer(&memory, TX, 0); /* a loop */
    notify(TX);
    check_broken();
    ring_describe(&memory, TX, 0, (struct vring_desc){ FAKE_GPA + FAKE_SIZE - 8, 64, 0, 0 });
    ring_offer(&memory, TX, 0); /* beyond memory */
    notify(TX);
    check_broken();
    host_sends_marked('h', FRAME);
    offer(RX, 0, HEAD); /* room for nothing: found by the I/O thread, had the frame come later */
    notify(RX);
    check_broken();
    notify(RX);
    avail = ring_at(&memory, RX, RING_AVAIL);
    avail->idx = 1000;
    host_sends_marked('h', FRAME);
    notify(RX);
    check_broken();
    assert_int_equal(used(RX), 0);
}

/* A queue that lies nowhere, while the I/O thread has been asked to look at both. */
static void a_device_that_broke_meanwhile_keeps_nobody_busy(void **state)
{
    (void)state;
    new_stream();
    reg_drive(&net.virtio, 0);
    reg_write(&net.virtio, VIRTIO_MMIO_QUEUE_NOTIFY, TX);
    reg_write(&net.virtio, VIRTIO_MMIO_QUEUE_SEL, RX);
    reg_write(&net.virtio, VIRTIO_MMIO_QUEUE_READY, 0);
    reg_write(&net.virtio, VIRTIO_MMIO_QUEUE_DESC_LOW, 1);
    reg_write(&net.virtio, VIRTIO_MMIO_QUEUE_READY, 1);
    host_sends_marked('h', FRAME);
    turns();
    check_broken();
    notify(RX);
    assert_true(net.active);
}

static void frames_of_no_length_are_dropped(void **state)
{
    (void)state;
    new_stream();
    reg_drive(&net.virtio, 0);
    offer(TX, 0, HEAD);
    offer(TX, 1, HEAD + NET_FRAME_MIN - 1);
    offer(TX, 2, 0x1e000); /* longer than any frame; not longer than memory */
    ring_describe(&memory, TX, 2, (struct vring_desc){ FAKE_GPA, 0x1e000, 0, 0 });
    notify(TX);
    assert_int_equal(used(TX), 3);
    assert_int_equal(net.dropped[TX], 3);
    assert_int_equal(reg_read(&net.virtio, VIRTIO_MMIO_STATUS), LIVE);
}

/* As another cpu would: each frame that the device looks at is followed by one more. */
static void the_cpu_that_sends_does_not_serve_for_ever(void **state)
{
    static uint8_t frame[FRAME];
    struct vring_avail *avail;
    unsigned heard = 0;

    (void)state;
    new_stream();
    assert_int_equal(
        setsockopt(net.host.fd, SOL_SOCKET, SO_SNDBUFFORCE, &(int){ 1 << 20 }, sizeof(int)), 0);
    reg_drive(&net.virtio, 0);
    offer(TX, 0, write_frame(0, (struct virtio_net_hdr_v1){ 0 }, 's'));
    avail = ring_at(&memory, TX, RING_AVAIL);
    /* A ring of 8 whose index is 8 ahead, over and over: the most that is allowed. */
    for (unsigned i = 0; i < RING_SIZE; i++)
        avail->ring[i] = 0;
    for (unsigned i = 0; i < 100; i++) {
        avail->idx = (uint16_t)(used(TX) + RING_SIZE);
        notify(TX);
        turns();
        while (host_hears(frame, sizeof(frame)) == FRAME)
            heard++;
    }
    assert_int_equal(heard, 100 * RING_SIZE);
    assert_int_equal(used(TX), heard);
}

/* ---- a tap ------------------------------------------------------------------------------------------------ */

static int tap_index;

static int new_tap(void)
{
    struct ifreq request = { .ifr_flags = IFF_TAP | IFF_NO_PI | IFF_VNET_HDR };
    AUTO_FD int control = -1;
    int fd;

    if (unshare(CLONE_NEWNET) < 0 && (unshare(CLONE_NEWUSER | CLONE_NEWNET) < 0))
        unit_skip("no network namespace can be made here");
    fd = open("/dev/net/tun", O_RDWR | O_CLOEXEC);
    if (fd < 0)
        unit_skip("there is no /dev/net/tun that can be opened here");
    control = socket(AF_UNIX, SOCK_DGRAM, 0);
    assert_int_equal(ioctl(fd, TUNSETIFF, &request), 0);
    assert_int_equal(ioctl(control, SIOCGIFINDEX, &request), 0);
    tap_index = request.ifr_ifindex;
    /* What the kernel sends by itself, a few milliseconds from now, could hold up what a test sends. */
    (void)file_write_once(AT_FDCWD, "/proc/sys/net/ipv6/conf/default/disable_ipv6", "1", 1);
    request.ifr_flags = IFF_UP;
    assert_int_equal(ioctl(control, SIOCSIFFLAGS, &request), 0);
    return fd;
}

static int open_packets(void)
{
    struct sockaddr_ll at = { .sll_family = AF_PACKET,
                              .sll_protocol = htons(ETH_P_ALL),
                              .sll_ifindex = tap_index };
    int fd = socket(AF_PACKET, SOCK_RAW | SOCK_NONBLOCK, htons(ETH_P_ALL));

    assert_int_equal(bind(fd, (struct sockaddr *)&at, sizeof(at)), 0);
    return fd;
}

/* What the host itself says on the way (IPv6's neighbour discovery) is not 'x'. */
static ssize_t hear_marked(int fd, uint8_t *out, size_t size)
{
    ssize_t n;

    while ((n = recv(fd, out, size, 0)) > 0) {
        if (out[0] == 2 && out[12] == 0x88)
            return n;
    }
    return n;
}

static unsigned marked_in_ring(uint8_t *out)
{
    unsigned n = 0;

    for (unsigned i = 0; i < used(RX); i++) {
        const uint8_t *at = buffer(ring_used(&memory, RX)->ring[i % RING_SIZE].id) + HEAD;

        if (at[12] == 0x88) {
            memcpy(out, at, FRAME);
            n++;
        }
    }
    return n;
}

static void frames_go_through_a_tap(void **state)
{
    uint8_t frame[FRAME] = { 2, 0, 0, 0, 0, 7, 2, 0, 0, 0, 0, 8, 0x88, 0xb5, 'm' }, got[2048];
    AUTO_FD int packets = -1;

    (void)state;
    new_net(VMM_NET_TAP, new_tap());
    packets = open_packets();
    reg_drive(&net.virtio, MERGE | BIT(CSUM) | BIT(GUEST_CSUM) | BIT(GUEST_TSO4));
    for (uint16_t i = 0; i < RING_SIZE; i++)
        offer(RX, i, 2048);
    notify(RX);
    assert_int_equal(send(packets, frame, FRAME, 0), FRAME);
    turns();
    assert_int_equal(marked_in_ring(got), 1);
    assert_memory_equal(got, frame, FRAME);
    frame[14] = 'g';
    write_frame(1, (struct virtio_net_hdr_v1){ 0 }, 0);
    memcpy(buffer(1) + 0x800 + HEAD, frame, FRAME);
    offer(TX, 1, HEAD + FRAME);
    notify(TX);
    assert_int_equal(hear_marked(packets, got, sizeof(got)), FRAME);
    assert_memory_equal(got, frame, FRAME);
    assert_int_equal(net.dropped[TX], 0);
}

static void what_was_not_negotiated_is_not_sent(void **state)
{
    static const struct {
        const char *name;
        uint64_t features;
        struct virtio_net_hdr_v1 head;
        bool sent;
    } rows[] = {
        { "a checksum", 0, { .flags = VIRTIO_NET_HDR_F_NEEDS_CSUM, .csum_start = 34 }, false },
        { "a checksum that may be",
          BIT(CSUM),
          { .flags = VIRTIO_NET_HDR_F_NEEDS_CSUM, .csum_start = 34, .csum_offset = 6 },
          true },
        { "a checksum behind the end",
          BIT(CSUM),
          { .flags = VIRTIO_NET_HDR_F_NEEDS_CSUM, .csum_start = 65000, .csum_offset = 6 },
          false },
        { "segments", BIT(CSUM), { .gso_type = VIRTIO_NET_HDR_GSO_TCPV4, .gso_size = 9 }, false },
        { "segments of the other kind",
          BIT(CSUM) | BIT(HOST_TSO4),
          { .gso_type = VIRTIO_NET_HDR_GSO_TCPV6, .gso_size = 9 },
          false },
        { "segments of no kind",
          BIT(CSUM) | BIT(HOST_TSO4),
          { .gso_type = 0x7f, .gso_size = 9 },
          false },
        { "other flags", 0, { .flags = 0x80, .num_buffers = 77 }, true },
    };

    (void)state;
    new_net(VMM_NET_TAP, new_tap());
    for (size_t i = 0; i < COUNT_OF(rows); i++) {
        uint64_t before = net.dropped[TX];

        memset(vmm_memory_at(&memory, FAKE_RINGS, 0x2000), 0, 0x2000);
        reg_drive(&net.virtio, rows[i].features);
        offer(TX, 0, write_frame(0, rows[i].head, 0));
        notify(TX);
        unit_row(rows[i].name, used(TX) == 1);
        unit_row(rows[i].name, net.dropped[TX] - before == !rows[i].sent);
    }
}

int main(void)
{
#define TEST(NAME) cmocka_unit_test_setup_teardown(NAME, set_up, tear_down)
    const struct CMUnitTest tests[] = {
        TEST(a_driver_reads_address_status_and_mtu),
        TEST(an_fd_that_is_no_tap_is_refused),
        TEST(frames_go_both_ways),
        TEST(frames_wait_on_the_host_for_a_buffer),
        TEST(a_frame_may_fill_several_buffers),
        TEST(what_can_never_fit_is_dropped),
        TEST(a_stream_that_is_full_holds_the_guest_up_and_loses_nothing),
        TEST(the_other_ends_end_is_the_loss_of_the_link),
        TEST(a_length_that_is_none_is_too),
        TEST(a_reset_in_the_middle_of_a_frame_keeps_the_frames_apart),
        TEST(requests_that_lie_break_the_device_until_a_reset),
        TEST(a_device_that_broke_meanwhile_keeps_nobody_busy),
        TEST(frames_of_no_length_are_dropped),
        TEST(the_cpu_that_sends_does_not_serve_for_ever),
        TEST(frames_go_through_a_tap),
        TEST(what_was_not_negotiated_is_not_sent),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
