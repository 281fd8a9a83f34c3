/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Guests at virtio devices: a payload that carries out a script of accesses, on rings that the test
 * has laid into its memory before.
 */
#include "payload.h"
#include "ring.h"

#include <arpa/inet.h>
#include <pthread.h>
#include <sys/mman.h>
#include <sys/socket.h>

#ifdef __x86_64__

/*
 * rsi: the script, entries of {what, address, value}: 1 2 4 8 write that width, 0x14 reads, 0x24 waits until 16 bits are
 * that value, 0 ends.
 */
PAYLOAD(follow_script, 64,
        "1: mov (%rsi), %rax\n mov 8(%rsi), %rdi\n mov 16(%rsi), %rcx\n"
        "cmp $1, %rax\n jne 2f\n mov %cl, (%rdi)\n jmp 9f\n"
        "2: cmp $2, %rax\n jne 2f\n mov %cx, (%rdi)\n jmp 9f\n"
        "2: cmp $4, %rax\n jne 2f\n mov %ecx, (%rdi)\n jmp 9f\n"
        "2: cmp $8, %rax\n jne 2f\n mov %rcx, (%rdi)\n jmp 9f\n"
        "2: cmp $0x24, %rax\n jne 2f\n 3: pause\n cmp %cx, (%rdi)\n jne 3b\n jmp 9f\n"
        "2: cmp $0x14, %rax\n jne 8f\n mov (%rdi), %ecx\n mov %rcx, 16(%rsi)\n"
        "9: add $24, %rsi\n jmp 1b\n"
        "8: " END_BY_RESET);

struct access_op {
    uint64_t what, address, value;
};
enum { SCRIPT_MAX = 2000 };
static struct access_op script[SCRIPT_MAX];
static unsigned script_len, script_slot;

static void add_op(uint64_t what, uint64_t address, uint64_t value)
{
    assert_true(script_len + 1 < SCRIPT_MAX); /* the last one ends it */
    script[script_len++] = (struct access_op){ what, address, value };
}

static uint64_t slot_address(uint64_t offset)
{
    return VMM_VIRTIO_FIRST + script_slot * VMM_VIRTIO_STRIDE + offset;
}

static void tap(uint64_t offset, uint32_t value)
{
    add_op(4, slot_address(offset), value);
}

static char said[64];
static size_t said_len;

static size_t hear(void *ctx, const void *data, size_t len)
{
    (void)ctx;
    assert_true(len <= sizeof(said) - said_len);
    memcpy(said + said_len, data, len);
    said_len += len;
    return len;
}

static const struct vmm_port ports[] = { { .console = true, .output = hear } };
static struct vmm_config all = {
    .ram_bytes = GUEST_RAM, .cpus = 1, .rng = true, .ports = ports, .n_ports = COUNT_OF(ports)
};

static struct vmm_memory image; /* of [FAKE_GPA, + FAKE_SIZE) of the guest */

static int set_up(void **state)
{
    (void)state;
    image = fake_memory();
    memset(script, 0, sizeof(script));
    memset(said, 0, sizeof(said));
    script_len = 0;
    said_len = 0;
    reg_tap = tap;
    all.n_disks = all.n_nets = 0;
    all.share = NULL;
    all.image.fd = -1;
    return 0;
}

static int tear_down(void **state)
{
    (void)state;
    vmm_memory_release(&image);
    return 0;
}

static void script_drive(unsigned slot, unsigned n_queues, uint64_t features)
{
    struct virtio v = { .n_queues = n_queues };

    script_slot = slot;
    reg_drive(&v, features);
}

/* Runs the script; the values that it read are in script[] then, and the rings in image. */
static struct guest follow(void)
{
    struct guest g = guest_load(&all, 64, follow_script, follow_script_end);
    size_t bytes = (script_len + 1) * sizeof(script[0]);

    assert_int_equal(vmm_write(g.m, RESULT_GPA, script, bytes), 0);
    assert_int_equal(vmm_write(g.m, FAKE_GPA, image.regions[0].host, FAKE_SIZE), 0);
    guest_run(&g, VMM_END_RESET);
    assert_int_equal(vmm_read(g.m, RESULT_GPA, script, bytes), 0);
    assert_int_equal(vmm_read(g.m, FAKE_GPA, image.regions[0].host, FAKE_SIZE), 0);
    return g;
}

static uint64_t last_read(void)
{
    return script[script_len - 1].value;
}

static void a_guest_draws_randomness(void **state)
{
    uint8_t bytes[32], zero[32] = { 0 };
    struct guest g;

    (void)state;
    script_drive(VMM_SLOT_RNG, 1, 0);
    ring_describe(&image, 0, 0, (struct vring_desc){ FAKE_BUFFERS, 32, VRING_DESC_F_WRITE, 0 });
    ring_offer(&image, 0, 0);
    tap(VIRTIO_MMIO_QUEUE_NOTIFY, 0);
    add_op(0x14, slot_address(VIRTIO_MMIO_INTERRUPT_STATUS), 0);
    g = follow();
    assert_int_equal(last_read(), 1);
    assert_int_equal(ring_used(&image, 0)->idx, 1);
    assert_int_equal(ring_used(&image, 0)->ring[0].len, 32);
    assert_int_equal(vmm_memory_read(&image, FAKE_BUFFERS, bytes, sizeof(bytes)), 0);
    assert_memory_not_equal(bytes, zero, sizeof(bytes));
    assert_int_equal(vmm_stats_count(g.m, "unknown-mmio"), 0);
    vmm_free(g.m);
}

static void a_guest_speaks_through_a_console_port(void **state)
{
    struct guest g;

    (void)state;
    script_drive(VMM_SLOT_CONSOLE, 4, UINT64_C(1) << VIRTIO_CONSOLE_F_MULTIPORT);
    vmm_memory_write(&image, FAKE_BUFFERS, "hello, port", 11);
    ring_describe(&image, 1, 0, (struct vring_desc){ FAKE_BUFFERS, 11, 0, 0 });
    ring_offer(&image, 1, 0);
    tap(VIRTIO_MMIO_QUEUE_NOTIFY, 1);
    g = follow();
    assert_string_equal(said, "hello, port");
    assert_int_equal(ring_used(&image, 1)->idx, 1);
    assert_int_equal(vmm_port_input(g.m, 0, "x", 1), 0); /* the guest has not opened it */
    assert_int_equal(vmm_port_input(g.m, 1, "x", 1), -ENODEV);
    vmm_port_resume(g.m, 0);
    vmm_port_resume(g.m, 7);
    vmm_free(g.m);
}

static void a_guest_that_lies_breaks_only_its_device(void **state)
{
    struct guest g;

    (void)state;
    script_drive(VMM_SLOT_RNG, 1, 0);
    ring_describe(&image, 0, 0, (struct vring_desc){ GUEST_RAM - 8, 16, VRING_DESC_F_WRITE, 0 });
    ring_offer(&image, 0, 0);
    for (int i = 0; i < 500; i++)
        tap(VIRTIO_MMIO_QUEUE_NOTIFY, 0);
    for (uint64_t i = 0; i < 32; i++) /* odd widths and places, on the way */
        add_op(1u << i % 4, slot_address(0x30 + 5 * i), UINT64_MAX);
    add_op(0x14, slot_address(VIRTIO_MMIO_STATUS), 0);
    g = follow();
    assert_int_equal(last_read(), 0x0f | VIRTIO_STATUS_BROKEN);
    assert_int_equal(ring_used(&image, 0)->idx, 0);
    vmm_free(g.m);
}

/* ---- the balloon ------------------------------------------------------------------------------------------ */

#define FREE_GPA UINT64_C(0x160000) /* behind the rings and buffers */
enum { FREE_SIZE = 0x20000, REPORTS = 2, BALLOON_QUEUES = 5 };

static struct guest follow_with_balloon(void)
{
    struct guest g;

    all.balloon = true;
    g = follow();
    all.balloon = false;
    return g;
}

static uint64_t word_of(struct guest *g, uint64_t gpa)
{
    uint64_t word;

    assert_int_equal(vmm_read(g->m, gpa, &word, sizeof(word)), 0);
    return word;
}

static void a_guest_gives_memory_back(void **state)
{
    uint32_t pfns[] = { 0x170, 0x171, 0x173 };
    struct guest g;

    (void)state;
    script_drive(VMM_SLOT_BALLOON, BALLOON_QUEUES, UINT64_C(1) << VIRTIO_BALLOON_F_REPORTING);
    for (uint64_t gpa = FREE_GPA; gpa < FREE_GPA + FREE_SIZE; gpa += 0x1000)
        add_op(8, gpa, gpa);
    ring_describe(&image, REPORTS, 0,
                  (struct vring_desc){ FREE_GPA + 0x800, 0x3000, VRING_DESC_F_WRITE, 0 });
    ring_offer(&image, REPORTS, 0);
    vmm_memory_write(&image, FAKE_BUFFERS, pfns, sizeof(pfns));
    ring_describe(&image, 0, 0, (struct vring_desc){ FAKE_BUFFERS, sizeof(pfns), 0, 0 });
    ring_offer(&image, 0, 0);
    tap(VIRTIO_MMIO_QUEUE_NOTIFY, REPORTS);
    tap(VIRTIO_MMIO_QUEUE_NOTIFY, 0);
    add_op(0x14, slot_address(VIRTIO_MMIO_STATUS), 0);
    g = follow_with_balloon();
    assert_int_equal(last_read(), 0x0f);
    assert_int_equal(ring_used(&image, REPORTS)->idx, 1);
    assert_int_equal(ring_used(&image, 0)->idx, 1);
    /* Of the report the two pages that lie in it wholly, of the inflation all three. */
    assert_int_equal(word_of(&g, FREE_GPA), FREE_GPA);
    assert_int_equal(word_of(&g, FREE_GPA + 0x1000), 0);
    assert_int_equal(word_of(&g, FREE_GPA + 0x2000), 0);
    assert_int_equal(word_of(&g, FREE_GPA + 0x3000), FREE_GPA + 0x3000);
    assert_int_equal(word_of(&g, 0x171000), 0);
    assert_int_equal(word_of(&g, 0x172000), 0x172000);
    assert_int_equal(word_of(&g, 0x173000), 0);
    assert_int_equal(vmm_balloon_returned(g.m), 5 * 0x1000);
    vmm_free(g.m);
}

/* Numbers of pages that are none, its own rings among what it gives back, a storm of it. */
static void a_guest_that_lies_to_its_balloon_breaks_only_that(void **state)
{
    uint32_t pfns[] = { 0x100, UINT32_MAX };
    struct guest g;

    (void)state;
    script_drive(VMM_SLOT_BALLOON, BALLOON_QUEUES, UINT64_C(1) << VIRTIO_BALLOON_F_REPORTING);
    vmm_memory_write(&image, FAKE_BUFFERS, pfns, sizeof(pfns));
    ring_describe(&image, 0, 0, (struct vring_desc){ FAKE_BUFFERS, sizeof(pfns), 0, 0 });
    ring_offer(&image, 0, 0);
    tap(VIRTIO_MMIO_QUEUE_NOTIFY, 0);
    for (int i = 0; i < 500; i++)
        tap(VIRTIO_MMIO_QUEUE_NOTIFY, REPORTS);
    add_op(0x14, slot_address(VIRTIO_MMIO_STATUS), 0);
    g = follow_with_balloon();
    assert_int_equal(last_read(), 0x0f | VIRTIO_STATUS_BROKEN);
    assert_int_equal(vmm_balloon_returned(g.m), 0x1000); /* the ring: 0x100 was a page */
    vmm_free(g.m);
}

/* ---- an image ----------------------------------------------------------------------------------------------- */

#define IMAGE_GPA (UINT64_C(4) << 30)
#define FIRST_PDPT UINT64_C(0xa000) /* of the tables that a 64-bit start makes (arch/x86.c) */
#define MORE_PD UINT64_C(0x3f000)
enum { IMAGE_SIZE = 0x3000 };

/* The fifth GiB too, by a huge page to begin with: the first four are all that is mapped at the start. */
static struct guest load_with_image(int fd)
{
    size_t bytes = (script_len + 1) * sizeof(script[0]);
    const uint64_t pdpt = MORE_PD | 3, pd = IMAGE_GPA | 0x83;
    struct guest g;

    all.image = (struct vmm_image){ fd, IMAGE_SIZE };
    g = guest_load(&all, 64, follow_script, follow_script_end);
    all.image = (struct vmm_image){ .fd = -1 };
    assert_int_equal(vmm_write(g.m, FIRST_PDPT + 4 * sizeof(pdpt), &pdpt, sizeof(pdpt)), 0);
    assert_int_equal(vmm_write(g.m, MORE_PD, &pd, sizeof(pd)), 0);
    assert_int_equal(vmm_write(g.m, RESULT_GPA, script, bytes), 0);
    assert_int_equal(vmm_write(g.m, FAKE_GPA, image.regions[0].host, FAKE_SIZE), 0);
    return g;
}

static struct guest follow_with_image(int fd)
{
    size_t bytes = (script_len + 1) * sizeof(script[0]);
    struct guest g = load_with_image(fd);

    guest_run(&g, VMM_END_RESET);
    assert_int_equal(vmm_read(g.m, RESULT_GPA, script, bytes), 0);
    assert_int_equal(vmm_read(g.m, FAKE_GPA, image.regions[0].host, FAKE_SIZE), 0);
    return g;
}

/* What it writes is lost, by its own access or through a device that is told to. */
static void a_guest_reads_an_image_and_cannot_write_to_it(void **state)
{
    int fd = memfd_create("image", MFD_CLOEXEC);
    struct guest g;
    char found[8];

    (void)state;
    assert_int_equal(ftruncate(fd, IMAGE_SIZE), 0);
    assert_int_equal(pwrite(fd, "contents", 8, 0x2000), 8);
    add_op(8, IMAGE_GPA + 0x2000, 0);
    add_op(0x14, IMAGE_GPA + 0x2000, 0);
    script_drive(VMM_SLOT_PMEM, 1, 0);
    ring_describe(&image, 0, 0, (struct vring_desc){ FAKE_BUFFERS, 4, VRING_DESC_F_NEXT, 1 });
    ring_describe(&image, 0, 1, (struct vring_desc){ IMAGE_GPA, 4, VRING_DESC_F_WRITE, 0 });
    ring_offer(&image, 0, 0);
    tap(VIRTIO_MMIO_QUEUE_NOTIFY, 0);
    add_op(0x14, slot_address(VIRTIO_MMIO_STATUS), 0);
    g = follow_with_image(fd);
    assert_int_equal(script[1].value, 0x746e6f63); /* "cont" */
    assert_int_equal(last_read(), 0x0f | VIRTIO_STATUS_BROKEN);
    assert_int_equal(pread(fd, found, sizeof(found), 0x2000), 8);
    assert_memory_equal(found, "contents", 8);
    assert_int_equal(pread(fd, found, sizeof(found), 0), 8);
    assert_memory_equal(found, "\0\0\0\0\0\0\0\0", 8);
    assert_true(vmm_stats_count(g.m, "unknown-mmio") >= 1);
    vmm_free(g.m);
    close(fd);
}

static void a_guest_whose_image_was_cut_ends_with_a_sentence(void **state)
{
    int fd = memfd_create("image", MFD_CLOEXEC);
    struct guest g;

    (void)state;
    assert_int_equal(ftruncate(fd, IMAGE_SIZE), 0);
    add_op(0x14, IMAGE_GPA + 0x2000, 0);
    g = load_with_image(fd);
    assert_int_equal(ftruncate(fd, 0x1000), 0);
    guest_run(&g, VMM_END_FAULT);
    assert_string_equal(g.outcome.text, VMM_LOST_FILE);
    vmm_free(g.m);
    close(fd);
}

/* ---- the disk --------------------------------------------------------------------------------------------- */

enum { DISK_SIZE = 8192, HEADER = sizeof(struct virtio_blk_outhdr) };

/* A disk full of one byte, and its driver's set-up. */
static int script_disk(int byte)
{
    char bytes[DISK_SIZE];
    int fd = memfd_create("disk", MFD_CLOEXEC);

    memset(bytes, byte, sizeof(bytes));
    assert_int_equal(write(fd, bytes, sizeof(bytes)), DISK_SIZE);
    all.disks[0] = (struct vmm_disk){ .fd = fd };
    all.n_disks = 1;
    script_drive(VMM_SLOT_DISK, 1, UINT64_C(1) << VIRTIO_BLK_F_FLUSH);
    return fd;
}

/* Descriptors 3n to 3n + 2 of queue 0; the header and the status lie behind each other. */
static void offer_disk(unsigned n, uint32_t type, uint64_t data, uint32_t len)
{
    struct virtio_blk_outhdr head = { .type = type, .sector = n };
    uint64_t at = FAKE_BUFFERS + UINT64_C(64) * n;
    uint16_t first = (uint16_t)(3 * n), to_data = type == VIRTIO_BLK_T_IN ? VRING_DESC_F_WRITE : 0;

    vmm_memory_write(&image, at, &head, HEADER);
    vmm_memory_write(&image, at + HEADER, "\xee", 1);
    ring_describe(&image, 0, first,
                  (struct vring_desc){ at, HEADER, VRING_DESC_F_NEXT, first + 1 });
    ring_describe(&image, 0, first + 1u,
                  (struct vring_desc){ data, len, VRING_DESC_F_NEXT | to_data, first + 2 });
    ring_describe(&image, 0, first + 2u,
                  (struct vring_desc){ at + HEADER, 1, VRING_DESC_F_WRITE, 0 });
    ring_offer(&image, 0, first);
}

static void a_guest_reads_and_writes_its_disk(void **state)
{
    uint8_t got[513];
    struct guest g;
    int fd;

    (void)state;
    fd = script_disk('d');
    offer_disk(0, VIRTIO_BLK_T_IN, FAKE_BUFFERS + 0x1000, 512);
    vmm_memory_write(&image, FAKE_BUFFERS + 0x2000, "written", 7);
    offer_disk(1, VIRTIO_BLK_T_OUT, FAKE_BUFFERS + 0x2000, 512);
    tap(VIRTIO_MMIO_QUEUE_NOTIFY, 0);
    add_op(0x14, slot_address(VIRTIO_MMIO_INTERRUPT_STATUS), 0);
    g = follow();
    assert_int_equal(last_read(), 1);
    assert_int_equal(ring_used(&image, 0)->idx, 2);
    assert_int_equal(vmm_memory_read(&image, FAKE_BUFFERS + 0x1000, got, sizeof(got)), 0);
    assert_int_equal(got[0], 'd');
    assert_int_equal(got[511], 'd');
    assert_int_equal(got[512], 0);
    assert_int_equal(pread(fd, got, 9, 511), 9);
    assert_memory_equal(got, "dwritten\0", 9);
    vmm_free(g.m);
    close(fd);
}

/* What it reads is its own ring: descriptors, indexes and all are 0xff when the next request is looked for. */
static void a_guest_whose_disk_overwrites_its_ring_breaks_only_its_device(void **state)
{
    struct guest g;
    int fd;

    (void)state;
    fd = script_disk(0xff);
    offer_disk(0, VIRTIO_BLK_T_IN, FAKE_RINGS, 2048);
    offer_disk(1, VIRTIO_BLK_T_IN, FAKE_RINGS, 2048);
    for (int i = 0; i < 200; i++)
        tap(VIRTIO_MMIO_QUEUE_NOTIFY, 0);
    add_op(0x14, slot_address(VIRTIO_MMIO_STATUS), 0);
    g = follow();
    assert_int_equal(last_read(), 0x0f | VIRTIO_STATUS_BROKEN);
    assert_int_equal(lseek(fd, 0, SEEK_END), DISK_SIZE);
    vmm_free(g.m);
    close(fd);
}

/* ---- frames --------------------------------------------------------------------------------------------- */

enum { RX, TX, FRAME = 64 };

/* Two interfaces, of which the second is used: not the one in the slot that a single one has. */
static int script_net(void)
{
    int fds[2];

    assert_int_equal(socketpair(AF_UNIX, SOCK_STREAM, 0, fds), 0);
    for (unsigned i = 0; i < 2; i++)
        all.nets[i] = (struct vmm_net){ VMM_NET_STREAM, fds[1], { 2, 0, 0, 0, 0, 7 }, 1500 };
    all.nets[0].fd = dup(fds[1]);
    all.n_nets = 2;
    script_drive(vmm_slot_of_net(1), 2, UINT64_C(1) << VIRTIO_NET_F_MRG_RXBUF);
    return fds[0];
}

static void close_net(int host)
{
    close(host);
    close(all.nets[0].fd);
    close(all.nets[1].fd);
}

static void add_wait(unsigned queue, uint16_t used)
{
    add_op(0x24, FAKE_RINGS + queue * RING_STRIDE + RING_USED + 2, used);
}

/* Sends back what comes, with another first byte. */
static void *echo(void *arg)
{
    uint8_t frame[4 + FRAME];

    while (recv(*(int *)arg, frame, sizeof(frame), MSG_WAITALL) == sizeof(frame)) {
        frame[4] = 'e';
        assert_int_equal(send(*(int *)arg, frame, sizeof(frame), MSG_NOSIGNAL), sizeof(frame));
    }
    return NULL;
}

static void a_guest_sends_frames_and_waits_for_answers(void **state)
{
    int host = script_net();
    uint8_t got[NET_HEADER + FRAME];
    pthread_t thread;
    struct guest g;

    (void)state;
    for (uint16_t i = 0; i < 3; i++) {
        vmm_memory_write(&image, FAKE_BUFFERS + 0x100u * i + NET_HEADER, "gggggggg", 8);
        ring_describe(&image, TX, i,
                      (struct vring_desc){ FAKE_BUFFERS + 0x100u * i, NET_HEADER + FRAME, 0, 0 });
        ring_describe(&image, RX, i,
                      (struct vring_desc){ FAKE_BUFFERS + 0x1000 + 0x100u * i, 0x100,
                                           VRING_DESC_F_WRITE, 0 });
        ring_offer(&image, TX, i);
        ring_offer(&image, RX, i);
    }
    tap(VIRTIO_MMIO_QUEUE_NOTIFY, RX);
    tap(VIRTIO_MMIO_QUEUE_NOTIFY, TX);
    add_wait(RX, 3); /* nothing but the I/O thread makes it so */
    add_op(0x14, slot_address(VIRTIO_MMIO_INTERRUPT_STATUS), 0);
    assert_int_equal(pthread_create(&thread, NULL, echo, &host), 0);
    g = follow();
    assert_int_equal(last_read(), 1);
    assert_int_equal(ring_used(&image, TX)->idx, 3);
    assert_int_equal(ring_used(&image, RX)->ring[2].len, NET_HEADER + FRAME);
    assert_int_equal(vmm_memory_read(&image, FAKE_BUFFERS + 0x1200, got, sizeof(got)), 0);
    assert_memory_equal(got + NET_HEADER, "eggggggg", 8);
    vmm_free(g.m);
    shutdown(host, SHUT_RDWR);
    pthread_join(thread, NULL);
    close_net(host);
}

/* Rings with loops, lengths past memory, notifies without end, while the host sends and sends. */
static void a_guest_that_lies_to_its_network_breaks_only_that(void **state)
{
    static const uint8_t frames[1 << 16];
    int host = script_net();
    struct guest g;

    (void)state;
    assert_true(send(host, frames, sizeof(frames), MSG_DONTWAIT) > 0);
    ring_describe(&image, TX, 0, (struct vring_desc){ FAKE_BUFFERS, 64, VRING_DESC_F_NEXT, 0 });
    ring_describe(&image, RX, 0,
                  (struct vring_desc){ GUEST_RAM - 8, UINT32_MAX, VRING_DESC_F_WRITE, 0 });
    ring_offer(&image, TX, 0);
    ring_offer(&image, RX, 0);
    for (int i = 0; i < 500; i++)
        tap(VIRTIO_MMIO_QUEUE_NOTIFY, i % 3);
    add_op(0x14, slot_address(VIRTIO_MMIO_STATUS), 0);
    g = follow();
    assert_int_equal(last_read(), 0x0f | VIRTIO_STATUS_BROKEN);
    assert_int_equal(ring_used(&image, RX)->idx, 0);
    assert_int_equal(ring_used(&image, TX)->idx, 0);
    vmm_free(g.m);
    close_net(host);
}

/* ---- a share, whose server is a thread of its own ------------------------------------------------------- */

static int requests[2]; /* a pipe */

static bool pass_on(void *ctx, const struct vmm_share_request *r)
{
    (void)ctx;
    return write(requests[1], r, sizeof(*r)) == sizeof(*r);
}

/* Each byte one more, as many as were asked for. */
static void *serve(void *arg)
{
    const struct guest *g = arg;
    struct vmm_share_request r;

    while (read(requests[0], &r, sizeof(r)) == sizeof(r)) {
        uint8_t *slot = all.share->slots + (size_t)r.slot * VMM_SHARE_SLOT;
        uint32_t len = r.len < r.reply_len ? r.len : r.reply_len;

        for (uint32_t i = 0; i < len; i++)
            slot[vmm_share_reply_at(r.len) + i] = slot[i] + 1;
        assert_true(vmm_share_done(g->m, &(struct vmm_share_reply){ r.slot, len }));
    }
    return NULL;
}

static void a_guest_is_answered_by_a_server_beside_the_machine(void **state)
{
    static uint8_t slots[2 * VMM_SHARE_SLOT];
    static const struct vmm_share share = {
        .tag = "t", .slots = slots, .n_slots = 2, .submit = pass_on
    };
    size_t bytes;
    pthread_t server;
    struct guest g;
    char got[5];

    (void)state;
    all.share = &share;
    assert_int_equal(pipe(requests), 0);
    script_drive(VMM_SLOT_SHARE, 2, 0);
    for (uint16_t i = 0; i < 4; i++) { /* twice as many as there are slots */
        uint64_t at = FAKE_BUFFERS + UINT64_C(64) * i;

        vmm_memory_write(&image, at, "HAL", 4);
        ring_describe(&image, 1, 2u * i,
                      (struct vring_desc){ at, 4, VRING_DESC_F_NEXT, (uint16_t)(2 * i + 1) });
        ring_describe(&image, 1, 2u * i + 1,
                      (struct vring_desc){ at + 32, 4, VRING_DESC_F_WRITE, 0 });
        ring_offer(&image, 1, (uint16_t)(2 * i));
    }
    tap(VIRTIO_MMIO_QUEUE_NOTIFY, 1);
    add_wait(1, 4);
    add_op(0x14, slot_address(VIRTIO_MMIO_INTERRUPT_STATUS), 0);
    g = guest_load(&all, 64, follow_script, follow_script_end);
    bytes = (script_len + 1) * sizeof(script[0]);
    assert_int_equal(vmm_write(g.m, RESULT_GPA, script, bytes), 0);
    assert_int_equal(vmm_write(g.m, FAKE_GPA, image.regions[0].host, FAKE_SIZE), 0);
    assert_int_equal(pthread_create(&server, NULL, serve, &g), 0);
    guest_run(&g, VMM_END_RESET);
    close(requests[1]);
    pthread_join(server, NULL);
    close(requests[0]);
    for (unsigned i = 0; i < 4; i++) {
        assert_int_equal(vmm_read(g.m, FAKE_BUFFERS + UINT64_C(64) * i + 32, got, 5), 0);
        assert_memory_equal(got, "IBM\1\0", 5);
    }
    assert_int_equal(vmm_read(g.m, RESULT_GPA, script, bytes), 0);
    assert_int_equal(last_read(), 1);
    assert_false(vmm_share_done(g.m, &(struct vmm_share_reply){ 0, 0 }));
    vmm_free(g.m);
}

int main(void)
{
#define TEST(NAME) cmocka_unit_test_setup_teardown(NAME, set_up, tear_down)
    const struct CMUnitTest tests[] = {
        TEST(a_guest_is_answered_by_a_server_beside_the_machine),
        TEST(a_guest_sends_frames_and_waits_for_answers),
        TEST(a_guest_that_lies_to_its_network_breaks_only_that),
        TEST(a_guest_draws_randomness),
        TEST(a_guest_speaks_through_a_console_port),
        TEST(a_guest_that_lies_breaks_only_its_device),
        TEST(a_guest_gives_memory_back),
        TEST(a_guest_that_lies_to_its_balloon_breaks_only_that),
        TEST(a_guest_whose_image_was_cut_ends_with_a_sentence),
        TEST(a_guest_reads_an_image_and_cannot_write_to_it),
        TEST(a_guest_reads_and_writes_its_disk),
        TEST(a_guest_whose_disk_overwrites_its_ring_breaks_only_its_device),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}

#endif
