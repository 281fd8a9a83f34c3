/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Devices under a hostile driver: the input is a script of register accesses, changes of memory,
 * traffic from the host's side. Whatever it does, no access leaves guest memory (guard pages), and a
 * broken device touches its rings no more.
 */
#include "vmm/interp/virtio.h"

#include <arpa/inet.h>
#include <linux/virtio_config.h>
#include <linux/virtio_mmio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/epoll.h>
#include <sys/mman.h>
#include <sys/socket.h>
#include <unistd.h>

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

#define GPA UINT64_C(0x10000)
#define IMAGE_GPA (UINT64_C(1) << 30)
#define IMAGE_SIZE (UINT64_C(2) << 20)
enum { DISK = 0x2000 };
enum { BYTES = 0x10000, STRIDE = 0x1000, AVAIL = 0x400, USED = 0x800, RING = 8 };

static struct vmm_memory memory;
static struct rng rng;
static struct console console;
static struct blk blk;
static struct net net;
static struct balloon balloon;
static struct pmem pmem;
static int image = -1;
static struct vmm_io io = { .epoll = -1, .wake = -1 };
static pthread_mutex_t devices = PTHREAD_MUTEX_INITIALIZER;
static int wire = -1; /* the host's end of net's */
static int disk = -1;
static struct fs fs;
static size_t output_limit;

static void require(bool condition)
{
    if (!condition)
        abort();
}

static void ignore_edge(void *ctx, unsigned gsi)
{
    (void)ctx;
    require(gsi >= 1 && gsi <= 6);
}

static size_t take(void *ctx, const void *data, size_t len)
{
    size_t taken = len < output_limit ? len : output_limit;
    volatile uint8_t sum = 0;

    (void)ctx;
    for (size_t i = 0; i < taken; i++)
        sum = (uint8_t)(sum + ((const uint8_t *)data)[i]);
    output_limit -= taken;
    return taken;
}

static const struct vmm_port ports[] = {
    { .console = true, .output = take },
    { .name = "ctl", .output = take },
};

enum { SLOTS = 3 };
static bool outstanding[SLOTS];
static uint32_t reply_room[SLOTS];

/* What the device says of a slot holds until its answer, also over a reset. */
static bool submit(void *ctx, const struct vmm_share_request *r)
{
    (void)ctx;
    require(r->slot < SLOTS && !outstanding[r->slot] && r->len > 0);
    require(vmm_share_reply_at(r->len) + r->reply_len <= VMM_SHARE_SLOT);
    outstanding[r->slot] = true;
    reply_room[r->slot] = r->reply_len;
    return true;
}

static struct vmm_share share = { .tag = "fuzz", .n_slots = SLOTS, .submit = submit };

struct op { /* 8 bytes of the input */
    uint8_t kind, queue;
    uint16_t offset;
    uint32_t value;
};

static void write_register(struct virtio *v, uint64_t offset, uint32_t value)
{
    virtio_device.write(v, offset, &value, sizeof(value));
}

/* A good driver's set-up, so that what comes after it is seen by a device at work. */
static void drive(struct virtio *v, uint32_t features)
{
    write_register(v, VIRTIO_MMIO_STATUS, 0);
    write_register(v, VIRTIO_MMIO_STATUS, 3);
    write_register(v, VIRTIO_MMIO_DRIVER_FEATURES_SEL, 0);
    write_register(v, VIRTIO_MMIO_DRIVER_FEATURES,
                   features & (0x30000000 | (uint32_t)v->ops->features));
    write_register(v, VIRTIO_MMIO_DRIVER_FEATURES_SEL, 1);
    write_register(v, VIRTIO_MMIO_DRIVER_FEATURES, 1);
    write_register(v, VIRTIO_MMIO_STATUS, 0x0b);
    for (uint32_t i = 0; i < v->n_queues; i++) {
        uint32_t ring = (uint32_t)GPA + i * STRIDE;

        write_register(v, VIRTIO_MMIO_QUEUE_SEL, i);
        write_register(v, VIRTIO_MMIO_QUEUE_NUM, RING);
        write_register(v, VIRTIO_MMIO_QUEUE_DESC_LOW, ring);
        write_register(v, VIRTIO_MMIO_QUEUE_AVAIL_LOW, ring + AVAIL);
        write_register(v, VIRTIO_MMIO_QUEUE_USED_LOW, ring + USED);
        write_register(v, VIRTIO_MMIO_QUEUE_READY, 1);
    }
    write_register(v, VIRTIO_MMIO_STATUS, 0x0f);
}

/* One more request: a descriptor of the script's making. */
static void offer(struct virtio *v, const struct op *op)
{
    uint8_t *ring = memory.regions[0].host + (op->queue % v->n_queues) * STRIDE;
    struct vring_avail *avail = (struct vring_avail *)(void *)(ring + AVAIL);
    uint16_t head = op->offset % RING;
    struct vring_desc d = { .addr = (op->offset & 0x4000 ? IMAGE_GPA : GPA) + (op->value & 0x1ffff),
                            .len = op->value >> 17 & 0x3ff,
                            .flags = (uint16_t)(op->value >> 27 & 7),
                            .next = (uint16_t)(op->offset >> 3 & 15) };

    memcpy(ring + head * sizeof(d), &d, sizeof(d));
    avail->ring[avail->idx % RING] = head;
    avail->idx++;
    write_register(v, VIRTIO_MMIO_QUEUE_NOTIFY, op->queue % v->n_queues);
}

/* A request as block drivers make them: header, data, status; each value is the script's. */
static void offer_block(const struct op *op)
{
    uint8_t *ring = memory.regions[0].host;
    struct virtio_blk_outhdr head = { .type = op->offset % 9, .sector = op->value & 0x1f };
    struct vring_avail *avail = (struct vring_avail *)(void *)(ring + AVAIL);
    struct vring_desc d[] = {
        { GPA + 0x8000, sizeof(head), VRING_DESC_F_NEXT, 1 },
        { GPA + 0x9000, op->value >> 8 & 0x1fff,
          VRING_DESC_F_NEXT | (op->queue & 1 ? VRING_DESC_F_WRITE : 0), 2 },
        { GPA + 0xc000, 1 + (op->value >> 24), VRING_DESC_F_WRITE, 0 },
    };

    memcpy(ring + 0x8000, &head, sizeof(head));
    memcpy(ring, d, sizeof(d));
    avail->ring[avail->idx % RING] = 0;
    avail->idx++;
    write_register(&blk.virtio, VIRTIO_MMIO_QUEUE_NOTIFY, 0);
}

/* A server, which may lie. */
static void answer_share(const struct op *op)
{
    struct vmm_share_reply r = { .slot = op->queue % (SLOTS + 1), .len = op->value & 0x1fff };
    bool was = r.slot < SLOTS && outstanding[r.slot] && r.len <= reply_room[r.slot];

    if (was)
        outstanding[r.slot] = false;
    require(fs_done(&fs, &r) == was);
}

/* An inflation by pages of this memory, some of them none. */
static void offer_pages(const struct op *op)
{
    uint8_t *ring = memory.regions[0].host;
    struct vring_avail *avail = (struct vring_avail *)(void *)(ring + AVAIL);
    struct vring_desc d = { GPA + 0x8000, op->offset % 0x1100, 0, 0 };

    for (uint32_t i = 0; i < 16; i++) {
        uint32_t pfn = (op->value + (op->queue & 1 ? i : 0)) % 0x24;

        memcpy(ring + 0x8000 + 4 * i, &pfn, sizeof(pfn));
    }
    memcpy(ring, &d, sizeof(d));
    avail->ring[avail->idx % RING] = 0;
    avail->idx++;
    write_register(&balloon.virtio, VIRTIO_MMIO_QUEUE_NOTIFY, 0);
}

/* A frame from the host's side, or, now and then, bytes that are none; then what the I/O thread does. */
static void traffic(const struct op *op)
{
    static uint8_t frame[4096];
    struct epoll_event event;
    size_t len = op->offset % sizeof(frame);
    uint32_t length = htonl((uint32_t)(op->queue == 0xff ? op->value : len));

    if (net.host.kind == VMM_NET_STREAM)
        (void)!send(wire, &length, sizeof(length), MSG_DONTWAIT | MSG_NOSIGNAL);
    memcpy(frame, &op->value, sizeof(op->value)); /* of a tap it is the header's begin */
    (void)!send(wire, frame, len, MSG_DONTWAIT | MSG_NOSIGNAL);
    for (int i = 0; i < 64 && epoll_wait(io.epoll, &event, 1, 0) == 1; i++) {
        const struct vmm_watch *w = event.data.ptr;

        w->ready(w->ctx, event.events);
        require(net.in_head <= net.in_len && net.in_len <= sizeof(net.in));
        require(net.out_len == 0 || net.out_sent < net.out_len);
        require(net.out_len <= sizeof(net.out));
        (void)!recv(wire, frame, op->queue % 2 ? sizeof(frame) : 1, MSG_DONTWAIT);
    }
}

static void step(struct virtio *v, const struct op *op)
{
    static const uint8_t input[2048];
    uint8_t wide[8];
    unsigned len = 1 + op->queue % 8;

    memset(wide, (int)op->value, sizeof(wide));
    switch (op->kind % 8) {
    case 0:
        write_register(v, op->offset % 0x200 & ~3u, op->value);
        return;
    case 1:
        virtio_device.write(v, op->offset % 0xff8, wide, len);
        return;
    case 2:
        virtio_device.read(v, op->offset % 0xff8, wide, len);
        return;
    case 3:
        memcpy(memory.regions[0].host + op->offset % (BYTES - 4), &op->value, 4);
        return;
    case 4:
        if (v == &blk.virtio) {
            offer_block(op);
            return;
        }
        if (v == &fs.virtio) {
            answer_share(op);
            return;
        }
        if (v == &net.virtio) {
            traffic(op);
            return;
        }
        if (v == &balloon.virtio) {
            offer_pages(op);
            return;
        }
        require(console_input(&console, op->queue % 2, input, op->offset % sizeof(input)) <=
                op->offset % sizeof(input));
        return;
    case 5:
        output_limit = op->value;
        console_resume(&console, op->queue % 2);
        return;
    case 6:
        drive(v, op->value);
        return;
    default:
        offer(v, op);
        return;
    }
}

static void check_broken(struct virtio *v, const struct op *op)
{
    bool was_broken = v->status & VIRTIO_STATUS_BROKEN;
    uint16_t used[VIRTIO_QUEUES_MAX];

    for (unsigned i = 0; i < v->n_queues; i++)
        used[i] = v->queues[i].next_used;
    step(v, op);
    for (unsigned i = 0; was_broken && v->status & VIRTIO_STATUS_BROKEN && i < v->n_queues; i++)
        require(v->queues[i].next_used == used[i]);
}

static void start_disk(void)
{
    struct virtio_place place = { &memory, { .raise = ignore_edge }, 3 };

    if (disk < 0)
        disk = memfd_create("disk", 0);
    require(ftruncate(disk, DISK) == 0);
    require(blk_init(&blk, &(struct vmm_disk){ .fd = disk }, 0, &place, NULL) == 0);
}

/* Of both kinds in turn; datagrams are to a device what frames of a tap are. */
static void start_net(bool stream)
{
    struct virtio_place place = { &memory, { .raise = ignore_edge }, 4 };
    int fds[2];

    io_release(&io);
    io_init(&io, &devices);
    require(socketpair(AF_UNIX, (stream ? SOCK_STREAM : SOCK_SEQPACKET) | SOCK_NONBLOCK, 0, fds) ==
            0);
    if (wire >= 0) {
        close(wire);
        close(net.host.fd);
    }
    wire = fds[0];
    require(net_init(&net,
                     &(struct vmm_net){
                         .kind = stream ? VMM_NET_STREAM : VMM_NET_TAP, .fd = fds[1], .mtu = 1500 },
                     &io, &place, NULL) == 0);
}

static struct virtio *chosen(uint8_t kind)
{
    static struct virtio *const of[] = { &console.virtio, &blk.virtio, &rng.virtio, &net.virtio };

    if ((kind & 0x30) == 0x30)
        return kind & 0x08 ? &fs.virtio : &pmem.virtio;
    return kind & 0x20 ? &balloon.virtio : of[kind >> 6];
}

static void add_image(void)
{
    image = memfd_create("image", 0);
    require(ftruncate(image, DISK) == 0);
    require(vmm_memory_add_file(&memory, IMAGE_GPA, IMAGE_SIZE,
                                &(struct vmm_memory_file){ image, DISK }, NULL) == 0);
}

static void start(void)
{
    struct vmm_config c = { .ports = ports, .n_ports = COUNT_OF(ports) };
    struct vmm_line line = { .raise = ignore_edge };
    struct virtio_place place = { &memory, line, 4 };

    if (memory.n == 0) {
        require(vmm_memory_add(&memory, GPA, BYTES, NULL) == 0);
        add_image();
    }
    memset(memory.regions[0].host, 0, BYTES);
    rng_init(&rng, &memory, line, 1);
    pmem_init(&pmem, IMAGE_GPA, IMAGE_SIZE, &(struct virtio_place){ &memory, line, 6 });
    balloon_init(&balloon, &(struct virtio_place){ &memory, line, 5 });
    console_init(&console, &c, &memory, line, 2);
    output_limit = 1000;
    start_disk();
    if (!share.slots)
        share.slots = calloc(SLOTS, VMM_SHARE_SLOT);
    require(share.slots);
    memset(outstanding, 0, sizeof(outstanding));
    fs_init(&fs, &share, &place);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    start();
    start_net(size % 2);
    for (; size >= sizeof(struct op); data += sizeof(struct op), size -= sizeof(struct op)) {
        struct op op;

        memcpy(&op, data, sizeof(op));
        check_broken(chosen(op.kind), &op);
    }
    require(lseek(disk, 0, SEEK_END) == DISK); /* nothing was written behind its end */
    return 0;
}
