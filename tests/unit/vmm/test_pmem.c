/* SPDX-License-Identifier: Apache-2.0 */
/* An image that guests read: its place, its flushes, and that no device can be made to write to it. */
#include "ring.h"

#include <sys/mman.h>

enum { BROKEN = VIRTIO_STATUS_BROKEN, LIVE = 0x0f, FILE_SIZE = 0x3456, REQUEST = 4, RESPONSE = 4 };
#define IMAGE_GPA (UINT64_C(4) << 30)
#define IMAGE_SIZE (UINT64_C(2) << 20)
#define ANSWER_GPA (FAKE_BUFFERS + 0x100)

static struct vmm_memory memory;
static struct pmem pmem;
static int file;

static void no_edge(void *ctx, unsigned gsi)
{
    (void)ctx;
    assert_int_equal(gsi, 20);
}

static int set_up(void **state)
{
    struct virtio_place place = { &memory, { .raise = no_edge }, 20 };
    struct vmm_memory_file image = { memfd_create("image", MFD_CLOEXEC), FILE_SIZE };
    char bytes[FILE_SIZE];

    (void)state;
    memset(bytes, 'i', sizeof(bytes));
    assert_int_equal(write(image.fd, bytes, sizeof(bytes)), FILE_SIZE);
    file = image.fd;
    memory = fake_memory();
    assert_int_equal(vmm_memory_add_file(&memory, IMAGE_GPA, IMAGE_SIZE, &image, NULL), 0);
    pmem_init(&pmem, IMAGE_GPA, IMAGE_SIZE, &place);
    reg_drive(&pmem.virtio, 0);
    return 0;
}

static int tear_down(void **state)
{
    (void)state;
    close(file);
    vmm_memory_release(&memory);
    return 0;
}

/* A request of `len` bytes at gpa, with room for an answer. */
static void request(uint64_t gpa, uint32_t len, uint64_t answer_gpa, uint32_t room)
{
    ring_describe(&memory, 0, 0, (struct vring_desc){ gpa, len, VRING_DESC_F_NEXT, 1 });
    ring_describe(&memory, 0, 1, (struct vring_desc){ answer_gpa, room, VRING_DESC_F_WRITE, 0 });
    ring_offer(&memory, 0, 0);
    reg_write(&pmem.virtio, VIRTIO_MMIO_QUEUE_NOTIFY, 0);
}

static uint32_t ask(uint32_t type)
{
    uint32_t answer = 77;

    assert_int_equal(vmm_memory_write(&memory, FAKE_BUFFERS, &type, sizeof(type)), 0);
    request(FAKE_BUFFERS, REQUEST, ANSWER_GPA, RESPONSE);
    assert_int_equal(reg_read(&pmem.virtio, VIRTIO_MMIO_STATUS), LIVE);
    assert_int_equal(vmm_memory_read(&memory, ANSWER_GPA, &answer, sizeof(answer)), 0);
    return answer;
}

static void it_tells_where_the_image_lies(void **state)
{
    (void)state;
    assert_int_equal(reg_read(&pmem.virtio, VIRTIO_MMIO_CONFIG), (uint32_t)IMAGE_GPA);
    assert_int_equal(reg_read(&pmem.virtio, VIRTIO_MMIO_CONFIG + 4), IMAGE_GPA >> 32);
    assert_int_equal(reg_read(&pmem.virtio, VIRTIO_MMIO_CONFIG + 8), IMAGE_SIZE);
}

static void a_flush_is_done_and_all_else_is_an_error(void **state)
{
    (void)state;
    assert_int_equal(ask(VIRTIO_PMEM_REQ_TYPE_FLUSH), 0);
    assert_int_equal(ask(1), 1);
    assert_int_equal(ask(UINT32_MAX), 1);
    assert_int_equal(ring_used(&memory, 0)->idx, 3);
}

static void requests_that_lie_break_it(void **state)
{
    static const struct {
        uint64_t gpa;
        uint32_t len;
        uint64_t answer;
        uint32_t room;
    } rows[] = {
        { FAKE_BUFFERS, 3, ANSWER_GPA, RESPONSE },
        { FAKE_BUFFERS, REQUEST, ANSWER_GPA, 3 },
        { FAKE_BUFFERS, REQUEST, IMAGE_GPA, RESPONSE }, /* the answer into what nobody writes to */
        { FAKE_BUFFERS, REQUEST, IMAGE_GPA + IMAGE_SIZE - 2, RESPONSE },
        { IMAGE_GPA + IMAGE_SIZE - 2, REQUEST, ANSWER_GPA, RESPONSE },
    };

    for (unsigned i = 0; i < COUNT_OF(rows); i++) {
        tear_down(state);
        set_up(state);
        request(rows[i].gpa, rows[i].len, rows[i].answer, rows[i].room);
        assert_int_equal(reg_read(&pmem.virtio, VIRTIO_MMIO_STATUS), LIVE | BROKEN);
        assert_int_equal(ring_used(&memory, 0)->idx, 0);
    }
}

/* What a guest has mapped it may also hand to a device that only reads it. */
static void a_device_may_read_the_image(void **state)
{
    (void)state;
    request(IMAGE_GPA + FILE_SIZE - 2, REQUEST, ANSWER_GPA, RESPONSE);
    assert_int_equal(reg_read(&pmem.virtio, VIRTIO_MMIO_STATUS), LIVE);
    assert_int_equal(*(uint32_t *)vmm_memory_at(&memory, ANSWER_GPA, 4), 1); /* "ii" is no type */
}

static void a_ring_does_not_lie_in_the_image(void **state)
{
    (void)state;
    reg_write(&pmem.virtio, VIRTIO_MMIO_STATUS, 0);
    reg_write(&pmem.virtio, VIRTIO_MMIO_STATUS, 3);
    reg_features(&pmem.virtio, UINT64_C(1) << VIRTIO_F_VERSION_1);
    reg_write(&pmem.virtio, VIRTIO_MMIO_STATUS, 0x0b);
    reg_write(&pmem.virtio, VIRTIO_MMIO_QUEUE_SEL, 0);
    reg_write(&pmem.virtio, VIRTIO_MMIO_QUEUE_NUM, RING_SIZE);
    reg_write(&pmem.virtio, VIRTIO_MMIO_QUEUE_DESC_HIGH, IMAGE_GPA >> 32);
    reg_write(&pmem.virtio, VIRTIO_MMIO_QUEUE_AVAIL_HIGH, IMAGE_GPA >> 32);
    reg_write(&pmem.virtio, VIRTIO_MMIO_QUEUE_USED_HIGH, IMAGE_GPA >> 32);
    reg_write(&pmem.virtio, VIRTIO_MMIO_QUEUE_READY, 1);
    assert_true(reg_read(&pmem.virtio, VIRTIO_MMIO_STATUS) & BROKEN);
}

int main(void)
{
#define TEST(NAME) cmocka_unit_test_setup_teardown(NAME, set_up, tear_down)
    const struct CMUnitTest tests[] = {
        TEST(it_tells_where_the_image_lies),    TEST(a_flush_is_done_and_all_else_is_an_error),
        TEST(requests_that_lie_break_it),       TEST(a_device_may_read_the_image),
        TEST(a_ring_does_not_lie_in_the_image),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
