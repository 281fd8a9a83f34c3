/* SPDX-License-Identifier: Apache-2.0 */
/* The block device from the driver's side: good requests in odd pieces, and bad ones. */
#include "ring.h"

#include <sys/mman.h>

enum { SECTORS = 8, SIZE = SECTORS * 512, BROKEN = VIRTIO_STATUS_BROKEN, LIVE = 0x0f };
enum { HEADER = 16, POISON = 0xee };
/* Where the parts of a request lie in the guest's memory. */
#define HEADER_GPA FAKE_BUFFERS
#define DATA_GPA (FAKE_BUFFERS + 0x1000)
#define STATUS_GPA (FAKE_BUFFERS + 0x3000)
#define BIG_GPA (UINT64_C(1) << 32)
#define FLUSH (UINT64_C(1) << VIRTIO_BLK_F_FLUSH)
#define INDIRECT (UINT64_C(1) << VIRTIO_RING_F_INDIRECT_DESC)

static struct vmm_memory memory;
static struct blk blk;
static unsigned edges;
static int file;

static void count_edge(void *ctx, unsigned gsi)
{
    (void)ctx;
    assert_int_equal(gsi, 21);
    edges++;
}

static void new_blk(bool read_only, uint64_t features)
{
    struct vmm_disk disk = { file, read_only };
    struct virtio_place place = { &memory, { .raise = count_edge }, 21 };
    struct err e = { 0 };

    memset(vmm_memory_at(&memory, FAKE_RINGS, 0x10000), 0, 0x10000);
    edges = 0;
    if (blk_init(&blk, &disk, 0, &place, &e) < 0)
        fail_msg("%s", e.text);
    reg_drive(&blk.virtio, features);
}

static int set_up(void **state)
{
    char sector[512];

    (void)state;
    memory = fake_memory();
    file = memfd_create("disk", MFD_CLOEXEC);
    for (int i = 0; i < SECTORS; i++) {
        memset(sector, 'a' + i, sizeof(sector));
        assert_int_equal(pwrite(file, sector, sizeof(sector), i * 512), 512);
    }
    new_blk(false, FLUSH);
    return 0;
}

static int tear_down(void **state)
{
    (void)state;
    close(file);
    vmm_memory_release(&memory);
    return 0;
}

static void set_header(uint32_t type, uint64_t sector)
{
    struct virtio_blk_outhdr head = { .type = type, .sector = sector };

    vmm_memory_write(&memory, HEADER_GPA, &head, sizeof(head));
    vmm_memory_write(&memory, STATUS_GPA, "\xee", 1);
}

static uint8_t status(void)
{
    return *(uint8_t *)vmm_memory_at(&memory, STATUS_GPA, 1);
}

static const uint8_t *data(void)
{
    return vmm_memory_at(&memory, DATA_GPA, 0x2000);
}

/* Header, data, status: one descriptor each; data of length 0: none. Returns the used length. */
static uint32_t request(uint32_t type, uint64_t sector, uint32_t len)
{
    uint16_t to_data = type == VIRTIO_BLK_T_OUT ? 0 : VRING_DESC_F_WRITE;
    uint16_t used = ring_used(&memory, 0)->idx;

    set_header(type, sector);
    ring_describe(&memory, 0, 0,
                  (struct vring_desc){ HEADER_GPA, HEADER, VRING_DESC_F_NEXT, len ? 1 : 2 });
    ring_describe(&memory, 0, 1,
                  (struct vring_desc){ DATA_GPA, len, VRING_DESC_F_NEXT | to_data, 2 });
    ring_describe(&memory, 0, 2, (struct vring_desc){ STATUS_GPA, 1, VRING_DESC_F_WRITE, 0 });
    ring_offer(&memory, 0, 0);
    reg_write(&blk.virtio, VIRTIO_MMIO_QUEUE_NOTIFY, 0);
    assert_int_equal(ring_used(&memory, 0)->idx, used + 1);
    assert_int_equal(reg_read(&blk.virtio, VIRTIO_MMIO_STATUS), LIVE);
    return ring_used(&memory, 0)->ring[used % RING_SIZE].len;
}

/* ---- good requests ---------------------------------------------------------------------------------- */

static void a_driver_reads_the_size_and_the_features(void **state)
{
    struct virtio *v = &blk.virtio;

    (void)state;
    assert_int_equal(reg_read(v, VIRTIO_MMIO_DEVICE_ID), 2);
    assert_int_equal(reg_read(v, VIRTIO_MMIO_CONFIG), SECTORS);
    assert_int_equal(reg_read(v, VIRTIO_MMIO_CONFIG + 8), 65536);
    assert_int_equal(reg_read(v, VIRTIO_MMIO_CONFIG + 12), VIRTQ_SEGMENTS_MAX - 2);
    assert_int_equal(reg_read(v, VIRTIO_MMIO_CONFIG + 20), 512);
    reg_write(v, VIRTIO_MMIO_DEVICE_FEATURES_SEL, 0);
    assert_int_equal(reg_read(v, VIRTIO_MMIO_DEVICE_FEATURES) & 0xffffff,
                     1 << VIRTIO_BLK_F_SIZE_MAX | 1 << VIRTIO_BLK_F_SEG_MAX |
                         1 << VIRTIO_BLK_F_BLK_SIZE | 1 << VIRTIO_BLK_F_FLUSH);
    new_blk(true, FLUSH);
    assert_true(reg_read(v, VIRTIO_MMIO_DEVICE_FEATURES) & 1 << VIRTIO_BLK_F_RO);
}

static void sectors_are_read_and_written(void **state)
{
    char got[1025] = "";

    (void)state;
    assert_int_equal(request(VIRTIO_BLK_T_IN, 2, 1024), 1025);
    assert_int_equal(status(), VIRTIO_BLK_S_OK);
    assert_int_equal(edges, 1);
    assert_int_equal(data()[0], 'c');
    assert_int_equal(data()[511], 'c');
    assert_int_equal(data()[1023], 'd');
    memset(vmm_memory_at(&memory, DATA_GPA, 1024), 'X', 1024);
    assert_int_equal(request(VIRTIO_BLK_T_OUT, SECTORS - 2, 1024), 1);
    assert_int_equal(status(), VIRTIO_BLK_S_OK);
    assert_int_equal(pread(file, got, 1025, SIZE - 1025), 1025);
    assert_int_equal(got[0], 'f');
    assert_int_equal(got[1], 'X');
    assert_int_equal(got[1024], 'X');
    assert_int_equal(lseek(file, 0, SEEK_END), SIZE);
}

static void a_flush_and_the_name_are_answered(void **state)
{
    (void)state;
    assert_int_equal(request(VIRTIO_BLK_T_FLUSH, 0, 0), 1);
    assert_int_equal(status(), VIRTIO_BLK_S_OK);
    assert_int_equal(request(VIRTIO_BLK_T_GET_ID, 0, 20), 21);
    assert_int_equal(status(), VIRTIO_BLK_S_OK);
    assert_string_equal((const char *)data(), "teca-disk0");
    new_blk(false, 0); /* a driver that knows no flush: each write is one */
    assert_int_equal(request(VIRTIO_BLK_T_OUT, 0, 512), 1);
    assert_int_equal(status(), VIRTIO_BLK_S_OK);
}

/* In an indirect table: the header in two pieces, the data in two, the status behind the latter. */
static void a_request_may_be_in_pieces(void **state)
{
    struct vring_desc table[] = {
        { HEADER_GPA, 5, VRING_DESC_F_NEXT, 1 },
        { HEADER_GPA + 5, HEADER - 5, VRING_DESC_F_NEXT, 2 },
        { DATA_GPA, 100, VRING_DESC_F_NEXT | VRING_DESC_F_WRITE, 3 },
        { DATA_GPA + 0x1000, 413, VRING_DESC_F_WRITE, 0 },
    };

    (void)state;
    new_blk(false, FLUSH | INDIRECT);
    set_header(VIRTIO_BLK_T_IN, 1);
    vmm_memory_write(&memory, FAKE_BUFFERS + 0x4000, table, sizeof(table));
    ring_describe(
        &memory, 0, 0,
        (struct vring_desc){ FAKE_BUFFERS + 0x4000, sizeof(table), VRING_DESC_F_INDIRECT, 0 });
    ring_offer(&memory, 0, 0);
    reg_write(&blk.virtio, VIRTIO_MMIO_QUEUE_NOTIFY, 0);
    assert_int_equal(ring_used(&memory, 0)->ring[0].len, 513);
    assert_int_equal(data()[99], 'b');
    assert_int_equal(data()[100], 0);
    assert_int_equal(data()[0x1000 + 411], 'b');
    assert_int_equal(data()[0x1000 + 412], VIRTIO_BLK_S_OK);
}

static void data_of_a_write_begin_behind_the_header(void **state)
{
    char got[3];

    (void)state;
    set_header(VIRTIO_BLK_T_OUT, 0);
    memset(vmm_memory_at(&memory, HEADER_GPA + HEADER, 512), 'Y', 512);
    ring_describe(&memory, 0, 0,
                  (struct vring_desc){ HEADER_GPA, HEADER + 512, VRING_DESC_F_NEXT, 1 });
    ring_describe(&memory, 0, 1, (struct vring_desc){ STATUS_GPA, 1, VRING_DESC_F_WRITE, 0 });
    ring_offer(&memory, 0, 0);
    reg_write(&blk.virtio, VIRTIO_MMIO_QUEUE_NOTIFY, 0);
    assert_int_equal(status(), VIRTIO_BLK_S_OK);
    assert_int_equal(pread(file, got, 2, 511), 2);
    assert_memory_equal(got, "Yb", 2);
}

/* ---- bad ones ----------------------------------------------------------------------------------------- */

static void requests_that_cannot_be_are_answered_with_an_error(void **state)
{
    static const struct {
        const char *name;
        uint32_t type, len;
        uint64_t sector;
        uint8_t expected;
    } rows[] = {
        { "behind the end", VIRTIO_BLK_T_IN, 512, SECTORS, VIRTIO_BLK_S_IOERR },
        { "across the end", VIRTIO_BLK_T_IN, 1024, SECTORS - 1, VIRTIO_BLK_S_IOERR },
        { "written across the end", VIRTIO_BLK_T_OUT, 1024, SECTORS - 1, VIRTIO_BLK_S_IOERR },
        { "a sector that wraps", VIRTIO_BLK_T_IN, 1024, UINT64_MAX, VIRTIO_BLK_S_IOERR },
        { "bytes that wrap", VIRTIO_BLK_T_OUT, 512, UINT64_MAX / 512 + 1, VIRTIO_BLK_S_IOERR },
        { "half a sector", VIRTIO_BLK_T_IN, 256, 0, VIRTIO_BLK_S_IOERR },
        { "half a sector written", VIRTIO_BLK_T_OUT, 256, 0, VIRTIO_BLK_S_IOERR },
        { "an unknown type", 99, 512, 0, VIRTIO_BLK_S_UNSUPP },
        { "the name into no room", VIRTIO_BLK_T_GET_ID, 0, 0, VIRTIO_BLK_S_IOERR },
    };
    char now[SIZE], then[SIZE];

    (void)state;
    assert_int_equal(pread(file, then, SIZE, 0), SIZE);
    for (size_t i = 0; i < COUNT_OF(rows); i++) {
        memset(vmm_memory_at(&memory, DATA_GPA, 1024), POISON, 1024);
        request(rows[i].type, rows[i].sector, rows[i].len);
        unit_row(rows[i].name, status() == rows[i].expected);
        unit_row(rows[i].name, data()[0] == POISON && data()[1023] == POISON);
    }
    assert_int_equal(pread(file, now, SIZE, 0), SIZE);
    assert_memory_equal(now, then, SIZE);
    assert_int_equal(lseek(file, 0, SEEK_END), SIZE);
}

static void a_disk_that_may_only_be_read_is_not_written(void **state)
{
    char got;

    (void)state;
    new_blk(true, FLUSH);
    request(VIRTIO_BLK_T_OUT, 0, 512);
    assert_int_equal(status(), VIRTIO_BLK_S_IOERR);
    assert_int_equal(pread(file, &got, 1, 0), 1);
    assert_int_equal(got, 'a');
    request(VIRTIO_BLK_T_FLUSH, 0, 0);
    assert_int_equal(status(), VIRTIO_BLK_S_OK);
}

static void a_file_that_became_shorter_gives_errors(void **state)
{
    (void)state;
    assert_int_equal(ftruncate(file, 512), 0);
    request(VIRTIO_BLK_T_IN, 0, 1024);
    assert_int_equal(status(), VIRTIO_BLK_S_IOERR);
    request(VIRTIO_BLK_T_IN, 0, 512);
    assert_int_equal(status(), VIRTIO_BLK_S_OK);
}

/* As much as the config says, and a sector more: in one piece, for a driver need not know SIZE_MAX. */
static void what_is_asked_for_at_once_has_a_bound(void **state)
{
    enum { BYTES_MAX = (VIRTQ_SEGMENTS_MAX - 2) * 65536 };
    static const struct {
        uint32_t bytes;
        uint8_t expected;
    } rows[] = { { BYTES_MAX, VIRTIO_BLK_S_OK }, { BYTES_MAX + 512, VIRTIO_BLK_S_IOERR } };

    (void)state;
    assert_int_equal(ftruncate(file, BYTES_MAX + 4096), 0);
    assert_int_equal(vmm_memory_add(&memory, BIG_GPA, BYTES_MAX + 4096, NULL), 0);
    for (unsigned i = 0; i < COUNT_OF(rows); i++) {
        new_blk(false, FLUSH);
        set_header(VIRTIO_BLK_T_IN, 0);
        ring_describe(&memory, 0, 0,
                      (struct vring_desc){ HEADER_GPA, HEADER, VRING_DESC_F_NEXT, 1 });
        ring_describe(&memory, 0, 1,
                      (struct vring_desc){ BIG_GPA, rows[i].bytes,
                                           VRING_DESC_F_NEXT | VRING_DESC_F_WRITE, 2 });
        ring_describe(&memory, 0, 2, (struct vring_desc){ STATUS_GPA, 1, VRING_DESC_F_WRITE, 0 });
        ring_offer(&memory, 0, 0);
        reg_write(&blk.virtio, VIRTIO_MMIO_QUEUE_NOTIFY, 0);
        assert_int_equal(status(), rows[i].expected);
        assert_int_equal(reg_read(&blk.virtio, VIRTIO_MMIO_STATUS), LIVE);
    }
}

static void check_broken(struct vring_desc first, struct vring_desc second)
{
    new_blk(false, FLUSH);
    set_header(VIRTIO_BLK_T_IN, 0);
    ring_describe(&memory, 0, 0, first);
    ring_describe(&memory, 0, 1, second);
    ring_offer(&memory, 0, 0);
    reg_write(&blk.virtio, VIRTIO_MMIO_QUEUE_NOTIFY, 0);
    assert_int_equal(reg_read(&blk.virtio, VIRTIO_MMIO_STATUS), LIVE | BROKEN);
    assert_int_equal(ring_used(&memory, 0)->idx, 0);
}

static void a_request_without_header_or_status_breaks_the_device(void **state)
{
    struct vring_desc header = { HEADER_GPA, HEADER, VRING_DESC_F_NEXT, 1 };
    struct vring_desc cut = { HEADER_GPA, HEADER - 1, VRING_DESC_F_NEXT, 1 };
    struct vring_desc answer = { STATUS_GPA, 1, VRING_DESC_F_WRITE, 0 };
    struct vring_desc more = { DATA_GPA, 512, 0, 0 };

    (void)state;
    check_broken(cut, answer);
    check_broken(header, more);
    header.flags = 0;
    check_broken(header, answer);
    answer.flags = VRING_DESC_F_WRITE;
    check_broken(answer, answer);
}

static void a_disk_has_a_size(void **state)
{
    struct virtio_place place = { .mem = &memory };
    struct vmm_disk small = { memfd_create("small", MFD_CLOEXEC), false };
    struct vmm_disk pipe_disk = { .read_only = true };
    struct err e = { 0 };
    int fds[2];

    (void)state;
    assert_int_equal(ftruncate(small.fd, 511), 0);
    assert_int_equal(blk_init(&blk, &small, 1, &place, &e), -EINVAL);
    assert_string_equal(e.text, "disk 1 is smaller than a sector");
    assert_int_equal(ftruncate(small.fd, 1023), 0);
    assert_int_equal(blk_init(&blk, &small, 1, &place, &e), 0);
    assert_int_equal(blk.config.capacity, 1);
    assert_int_equal(pipe(fds), 0);
    pipe_disk.fd = fds[0];
    assert_int_equal(blk_init(&blk, &pipe_disk, 0, &place, &e), -ESPIPE);
    close(fds[0]);
    close(fds[1]);
    close(small.fd);
}

int main(void)
{
#define TEST(NAME) cmocka_unit_test_setup_teardown(NAME, set_up, tear_down)
    const struct CMUnitTest tests[] = {
        TEST(a_driver_reads_the_size_and_the_features),
        TEST(sectors_are_read_and_written),
        TEST(a_flush_and_the_name_are_answered),
        TEST(a_request_may_be_in_pieces),
        TEST(data_of_a_write_begin_behind_the_header),
        TEST(requests_that_cannot_be_are_answered_with_an_error),
        TEST(a_disk_that_may_only_be_read_is_not_written),
        TEST(a_file_that_became_shorter_gives_errors),
        TEST(what_is_asked_for_at_once_has_a_bound),
        TEST(a_request_without_header_or_status_breaks_the_device),
        TEST(a_disk_has_a_size),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
