/* SPDX-License-Identifier: Apache-2.0 */
/* The balloon from the driver's side: what goes back to the host, and what is no memory at all. */
#include "ring.h"

#include <sys/mman.h>

enum { INFLATE = 0, DEFLATE = 1, REPORTS = 2, REPORTS_OF_THE_SPEC = 4, PAGE = 4096 };
enum { BROKEN = VIRTIO_STATUS_BROKEN, LIVE = 0x0f };
#define FIRST_PFN ((uint32_t)(FAKE_BUFFERS / PAGE))
#define LAST_PFN ((uint32_t)((FAKE_GPA + FAKE_SIZE) / PAGE - 1))

static struct vmm_memory memory;
static struct balloon balloon;

static void no_edge(void *ctx, unsigned gsi)
{
    (void)ctx;
    assert_int_equal(gsi, 23);
}

static int set_up(void **state)
{
    struct virtio_place place = { &memory, { .raise = no_edge }, 23 };

    (void)state;
    memory = fake_memory();
    memset(memory.regions[0].host + (FAKE_BUFFERS - FAKE_GPA), 0x77, FAKE_SIZE / 2);
    balloon_init(&balloon, &place);
    reg_drive(&balloon.virtio, balloon.virtio.ops->features);
    return 0;
}

static int tear_down(void **state)
{
    (void)state;
    vmm_memory_release(&memory);
    return 0;
}

static void request(unsigned queue, struct vring_desc d)
{
    ring_describe(&memory, queue, 0, d);
    ring_offer(&memory, queue, 0);
    reg_write(&balloon.virtio, VIRTIO_MMIO_QUEUE_NOTIFY, queue);
}

static void inflate(const uint32_t *pfns, unsigned n)
{
    assert_int_equal(vmm_memory_write(&memory, FAKE_BUFFERS, pfns, n * sizeof(*pfns)), 0);
    request(INFLATE, (struct vring_desc){ FAKE_BUFFERS, n * (uint32_t)sizeof(*pfns), 0, 0 });
}

static bool has(uint64_t gpa)
{
    return *(const uint8_t *)vmm_memory_at(&memory, gpa, 1) == 0x77;
}

static void it_wants_no_pages(void **state)
{
    (void)state;
    for (unsigned at = 0; at < sizeof(struct virtio_balloon_config); at += 4)
        assert_int_equal(reg_read(&balloon.virtio, VIRTIO_MMIO_CONFIG + at), 0);
}

static void reports_go_back_by_whole_pages(void **state)
{
    static const unsigned queues[] = { REPORTS, REPORTS_OF_THE_SPEC };

    (void)state;
    for (unsigned i = 0; i < COUNT_OF(queues); i++) {
        uint64_t at = FAKE_BUFFERS + i * UINT64_C(8) * PAGE;

        request(queues[i], (struct vring_desc){ at + 1, 3 * PAGE, VRING_DESC_F_WRITE, 0 });
        assert_int_equal(reg_read(&balloon.virtio, VIRTIO_MMIO_STATUS), LIVE);
        assert_true(has(at));
        assert_false(has(at + PAGE));
        assert_false(has(at + 2 * PAGE));
        assert_true(has(at + UINT64_C(3) * PAGE));
        assert_int_equal(balloon.returned, (i + 1) * 2 * PAGE);
        assert_int_equal(ring_used(&memory, queues[i])->idx, 1);
    }
    request(REPORTS,
            (struct vring_desc){ FAKE_BUFFERS + 5 * PAGE + 1, PAGE, VRING_DESC_F_WRITE, 0 });
    assert_true(has(FAKE_BUFFERS + 5 * PAGE));
    assert_true(has(FAKE_BUFFERS + 6 * PAGE));
    assert_int_equal(balloon.returned, 4 * PAGE);
}

static void pages_of_an_inflation_go_back(void **state)
{
    const uint32_t pfns[] = { FIRST_PFN + 4, FIRST_PFN + 5, FIRST_PFN + 2, LAST_PFN };

    (void)state;
    inflate(pfns, COUNT_OF(pfns));
    assert_int_equal(reg_read(&balloon.virtio, VIRTIO_MMIO_STATUS), LIVE);
    assert_int_equal(balloon.returned, 4 * PAGE);
    for (uint32_t pfn = FIRST_PFN; pfn <= LAST_PFN; pfn++) {
        bool given = pfn == pfns[0] || pfn == pfns[1] || pfn == pfns[2] || pfn == pfns[3];

        if (pfn > FIRST_PFN) /* where the numbers lie themselves */
            assert_int_equal(has((uint64_t)pfn * PAGE), !given);
    }
    request(DEFLATE, (struct vring_desc){ FAKE_BUFFERS, sizeof(pfns), 0, 0 });
    assert_int_equal(ring_used(&memory, DEFLATE)->idx, 1);
    assert_int_equal(balloon.returned, 4 * PAGE);
}

static void numbers_of_no_page_break_it(void **state)
{
    const uint32_t lies[] = { 0, (uint32_t)(FAKE_GPA / PAGE) - 1, LAST_PFN + 1, UINT32_MAX };

    for (unsigned i = 0; i < COUNT_OF(lies); i++) {
        const uint32_t run[] = { LAST_PFN, LAST_PFN + 1 };

        tear_down(state);
        set_up(state);
        if (i == 2)
            inflate(run, 2); /* a run that leaves memory */
        else
            inflate(&lies[i], 1);
        assert_int_equal(reg_read(&balloon.virtio, VIRTIO_MMIO_STATUS), LIVE | BROKEN);
        assert_int_equal(balloon.returned, 0);
        assert_true(has((uint64_t)LAST_PFN * PAGE));
    }
}

static void requests_of_wrong_size_break_it(void **state)
{
    static const uint32_t sizes[] = { 3, 5, 1025 * 4 };

    for (unsigned i = 0; i < COUNT_OF(sizes); i++) {
        tear_down(state);
        set_up(state);
        request(INFLATE, (struct vring_desc){ FAKE_BUFFERS, sizes[i], 0, 0 });
        assert_int_equal(reg_read(&balloon.virtio, VIRTIO_MMIO_STATUS), LIVE | BROKEN);
    }
}

static void a_ring_that_is_given_back_itself_does_no_harm(void **state)
{
    (void)state;
    request(REPORTS, (struct vring_desc){ FAKE_GPA, FAKE_SIZE, VRING_DESC_F_WRITE, 0 });
    assert_int_equal(balloon.returned, FAKE_SIZE);
    assert_false(has(FAKE_BUFFERS));
    /* The ring is zeroes now: its index went back, which is a lie. */
    reg_write(&balloon.virtio, VIRTIO_MMIO_QUEUE_NOTIFY, REPORTS);
    assert_int_equal(reg_read(&balloon.virtio, VIRTIO_MMIO_STATUS), LIVE | BROKEN);
}

int main(void)
{
#define TEST(NAME) cmocka_unit_test_setup_teardown(NAME, set_up, tear_down)
    const struct CMUnitTest tests[] = {
        TEST(it_wants_no_pages),
        TEST(reports_go_back_by_whole_pages),
        TEST(pages_of_an_inflation_go_back),
        TEST(numbers_of_no_page_break_it),
        TEST(requests_of_wrong_size_break_it),
        TEST(a_ring_that_is_given_back_itself_does_no_harm),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
