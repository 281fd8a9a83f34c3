/* SPDX-License-Identifier: Apache-2.0 */
/* The file system device between a driver and a server, both good and bad. */
#include "ring.h"

enum { SLOTS = 2, BROKEN = VIRTIO_STATUS_BROKEN, LIVE = 0x0f, REQUESTS = 1, HIPRIO = 0 };
enum { OUT_LEN = 100, IN_LEN = 200 };
#define OUT_GPA FAKE_BUFFERS
#define IN_GPA (FAKE_BUFFERS + 0x4000)

static struct vmm_memory memory;
static struct fs fs;
static unsigned edges;
static uint8_t *slots;
static struct vmm_share_request got[16];
static unsigned n_got;
static bool server_has_gone;

static void count_edge(void *ctx, unsigned gsi)
{
    (void)ctx;
    assert_int_equal(gsi, 19);
    edges++;
}

static bool take(void *ctx, const struct vmm_share_request *r)
{
    (void)ctx;
    assert_true(n_got < COUNT_OF(got));
    got[n_got++] = *r;
    return !server_has_gone;
}

static struct vmm_share share = { .tag = "teca", .n_slots = SLOTS, .submit = take };

static int set_up(void **state)
{
    struct virtio_place place;

    (void)state;
    memory = fake_memory();
    slots = calloc(SLOTS, VMM_SHARE_SLOT);
    assert_non_null(slots);
    share.slots = slots;
    place = (struct virtio_place){ &memory, { .raise = count_edge }, 19 };
    edges = n_got = 0;
    server_has_gone = false;
    memset(&fs, 0xa5, sizeof(fs));
    fs_init(&fs, &share, &place);
    reg_drive(&fs.virtio, 0);
    return 0;
}

static int tear_down(void **state)
{
    (void)state;
    free(slots);
    vmm_memory_release(&memory);
    return 0;
}

/* Request number i of a queue: descriptors 2i and 2i + 1, bytes of its own; in_len 0: nothing to be written. */
static void offer(unsigned queue, unsigned i, uint32_t out_len, uint32_t in_len)
{
    uint16_t first = (uint16_t)(2 * i);
    uint64_t out = OUT_GPA + UINT64_C(0x400) * i;
    uint8_t *bytes = vmm_memory_at(&memory, out, OUT_LEN);

    memset(bytes, 'a' + (int)i, OUT_LEN);
    ring_describe(&memory, queue, first,
                  (struct vring_desc){ out, out_len, in_len ? VRING_DESC_F_NEXT : 0, first + 1 });
    ring_describe(
        &memory, queue, first + 1u,
        (struct vring_desc){ IN_GPA + UINT64_C(0x400) * i, in_len, VRING_DESC_F_WRITE, 0 });
    ring_offer(&memory, queue, first);
}

static void notify(unsigned queue)
{
    reg_write(&fs.virtio, VIRTIO_MMIO_QUEUE_NOTIFY, queue);
}

static bool answer(uint32_t slot, uint32_t len)
{
    for (unsigned i = 0; slot < SLOTS && i < n_got; i++)
        if (got[i].slot == slot)
            memset(slots + slot * VMM_SHARE_SLOT + vmm_share_reply_at(got[i].len), 'A' + (int)slot,
                   len < IN_LEN ? len : IN_LEN);
    return fs_done(&fs, &(struct vmm_share_reply){ slot, len });
}

static const char *reply(unsigned i)
{
    return vmm_memory_at(&memory, IN_GPA + UINT64_C(0x400) * i, IN_LEN);
}

static uint32_t status(void)
{
    return reg_read(&fs.virtio, VIRTIO_MMIO_STATUS);
}

/* ---- good ------------------------------------------------------------------------------------------- */

static void a_driver_reads_the_tag_and_the_number_of_queues(void **state)
{
    (void)state;
    assert_int_equal(reg_read(&fs.virtio, VIRTIO_MMIO_DEVICE_ID), 26);
    assert_int_equal(reg_read(&fs.virtio, VIRTIO_MMIO_CONFIG),
                     'a' << 24 | 'c' << 16 | 'e' << 8 | 't');
    assert_int_equal(reg_read(&fs.virtio, VIRTIO_MMIO_CONFIG + 4), 0);
    assert_int_equal(reg_read(&fs.virtio, VIRTIO_MMIO_CONFIG + 36), 1);
    assert_int_equal(reg_read(&fs.virtio, VIRTIO_MMIO_CONFIG + 40), 0);
}

static void a_request_goes_through_a_slot_and_its_answer_comes_back(void **state)
{
    (void)state;
    offer(REQUESTS, 0, OUT_LEN, IN_LEN);
    notify(REQUESTS);
    assert_int_equal(n_got, 1);
    assert_int_equal(got[0].slot, 0);
    assert_int_equal(got[0].len, OUT_LEN);
    assert_int_equal(got[0].reply_len, IN_LEN);
    assert_int_equal(slots[0], 'a');
    assert_int_equal(slots[OUT_LEN - 1], 'a');
    assert_int_equal(slots[OUT_LEN], 0);
    assert_int_equal(ring_used(&memory, REQUESTS)->idx, 0);
    assert_int_equal(edges, 0);
    assert_true(answer(0, 50));
    assert_int_equal(ring_used(&memory, REQUESTS)->idx, 1);
    assert_int_equal(ring_used(&memory, REQUESTS)->ring[0].len, 50);
    assert_int_equal(edges, 1);
    assert_int_equal(reply(0)[49], 'A');
    assert_int_equal(reply(0)[50], 0);
}

static void what_wants_no_answer_is_given_back_all_the_same(void **state)
{
    (void)state;
    offer(HIPRIO, 0, OUT_LEN, 0);
    notify(HIPRIO);
    assert_int_equal(n_got, 1);
    assert_int_equal(got[0].reply_len, 0);
    assert_true(answer(0, 0));
    assert_int_equal(ring_used(&memory, HIPRIO)->idx, 1);
    assert_int_equal(ring_used(&memory, HIPRIO)->ring[0].len, 0);
}

static void requests_wait_in_their_queues_for_a_slot(void **state)
{
    (void)state;
    for (unsigned i = 0; i < 4; i++)
        offer(REQUESTS, i, OUT_LEN, IN_LEN);
    notify(REQUESTS);
    offer(HIPRIO, 0, OUT_LEN, 0);
    notify(HIPRIO);
    assert_int_equal(n_got, SLOTS);
    assert_true(answer(1, 10)); /* in any order */
    assert_int_equal(n_got, 3);
    assert_int_equal(got[2].slot, 1);
    assert_int_equal(got[2].reply_len, 0); /* hiprio goes first */
    assert_int_equal(reply(1)[0], 'B');
    assert_true(answer(1, 0));
    assert_true(answer(0, 10));
    assert_int_equal(n_got, 5);
    assert_true(answer(0, 10));
    assert_true(answer(1, 10));
    assert_int_equal(ring_used(&memory, REQUESTS)->idx, 4);
    assert_int_equal(ring_used(&memory, HIPRIO)->idx, 1);
    assert_int_equal(status(), LIVE);
}

/* ---- bad drivers ------------------------------------------------------------------------------------ */

static void a_request_without_bytes_or_with_too_many_breaks_the_device(void **state)
{
    static const uint32_t lens[] = { 0, 0x10000 }; /* 32 of those: 2 MiB */

    (void)state;
    for (size_t i = 0; i < COUNT_OF(lens); i++) {
        reg_drive(&fs.virtio, UINT64_C(1) << VIRTIO_RING_F_INDIRECT_DESC);
        memset(ring_at(&memory, REQUESTS, 0), 0, RING_STRIDE);
        reg_drive(&fs.virtio, UINT64_C(1) << VIRTIO_RING_F_INDIRECT_DESC);
        if (lens[i] == 0) {
            ring_describe(&memory, REQUESTS, 0,
                          (struct vring_desc){ IN_GPA, IN_LEN, VRING_DESC_F_WRITE, 0 });
        } else {
            struct vring_desc table[32];

            for (uint16_t d = 0; d < 32; d++)
                table[d] = (struct vring_desc){ FAKE_GPA, lens[i], d < 31 ? VRING_DESC_F_NEXT : 0,
                                                d + 1u };
            vmm_memory_write(&memory, OUT_GPA, table, sizeof(table));
            ring_describe(&memory, REQUESTS, 0,
                          (struct vring_desc){ OUT_GPA, sizeof(table), VRING_DESC_F_INDIRECT, 0 });
        }
        ring_offer(&memory, REQUESTS, 0);
        notify(REQUESTS);
        assert_int_equal(status(), LIVE | BROKEN);
        assert_int_equal(n_got, 0);
    }
}

static void room_for_a_reply_is_cut_to_what_a_slot_has(void **state)
{
    struct vring_desc table[33];

    (void)state;
    reg_drive(&fs.virtio, UINT64_C(1) << VIRTIO_RING_F_INDIRECT_DESC);
    for (uint16_t d = 0; d < 33; d++)
        table[d] = (struct vring_desc){ FAKE_GPA, d ? 0x10000u : 64u,
                                        (d < 32 ? VRING_DESC_F_NEXT : 0) |
                                            (d ? VRING_DESC_F_WRITE : 0),
                                        d + 1u };
    vmm_memory_write(&memory, OUT_GPA, table, sizeof(table));
    ring_describe(&memory, REQUESTS, 0,
                  (struct vring_desc){ OUT_GPA, sizeof(table), VRING_DESC_F_INDIRECT, 0 });
    ring_offer(&memory, REQUESTS, 0);
    notify(REQUESTS);
    assert_int_equal(n_got, 1);
    assert_int_equal(got[0].reply_len, VMM_SHARE_SLOT - 64);
}

static void what_a_reset_leaves_behind_keeps_its_slot_until_its_answer(void **state)
{
    (void)state;
    offer(REQUESTS, 0, OUT_LEN, IN_LEN);
    notify(REQUESTS);
    memset(ring_at(&memory, REQUESTS, 0), 0, RING_STRIDE);
    reg_drive(&fs.virtio, 0);
    offer(REQUESTS, 0, OUT_LEN, IN_LEN);
    offer(REQUESTS, 1, OUT_LEN, IN_LEN);
    notify(REQUESTS);
    assert_int_equal(n_got, 2);
    assert_int_equal(got[1].slot, 1);
    assert_true(answer(0, 50)); /* of before: nobody hears of it, and its slot is used again */
    assert_int_equal(ring_used(&memory, REQUESTS)->idx, 0);
    assert_int_equal(edges, 0);
    assert_int_equal(n_got, 3);
    assert_int_equal(got[2].slot, 0);
    assert_true(answer(1, 50));
    assert_int_equal(ring_used(&memory, REQUESTS)->idx, 1);
}

static void a_queue_that_was_taken_away_is_not_written(void **state)
{
    (void)state;
    offer(REQUESTS, 0, OUT_LEN, IN_LEN);
    notify(REQUESTS);
    reg_write(&fs.virtio, VIRTIO_MMIO_QUEUE_SEL, REQUESTS);
    reg_write(&fs.virtio, VIRTIO_MMIO_QUEUE_READY, 0);
    assert_true(answer(0, 50));
    assert_int_equal(ring_used(&memory, REQUESTS)->idx, 0);
    assert_int_equal(reply(0)[0], 0);
}

/* ---- bad servers ------------------------------------------------------------------------------------ */

static void an_answer_to_nothing_or_that_is_too_long_is_a_lie(void **state)
{
    (void)state;
    assert_false(answer(0, 0));
    offer(REQUESTS, 0, OUT_LEN, IN_LEN);
    notify(REQUESTS);
    assert_false(answer(1, 0));
    assert_false(answer(SLOTS, 0));
    assert_false(answer(UINT32_MAX, 0));
    assert_false(answer(0, IN_LEN + 1));
    assert_int_equal(ring_used(&memory, REQUESTS)->idx, 0);
    assert_true(answer(0, IN_LEN));
    assert_false(answer(0, IN_LEN));
}

static void a_server_that_has_gone_breaks_the_device(void **state)
{
    (void)state;
    server_has_gone = true;
    offer(REQUESTS, 0, OUT_LEN, IN_LEN);
    notify(REQUESTS);
    assert_int_equal(status(), LIVE | BROKEN);
    notify(REQUESTS);
    assert_int_equal(n_got, 1);
}

int main(void)
{
#define TEST(NAME) cmocka_unit_test_setup_teardown(NAME, set_up, tear_down)
    const struct CMUnitTest tests[] = {
        TEST(a_driver_reads_the_tag_and_the_number_of_queues),
        TEST(a_request_goes_through_a_slot_and_its_answer_comes_back),
        TEST(what_wants_no_answer_is_given_back_all_the_same),
        TEST(requests_wait_in_their_queues_for_a_slot),
        TEST(a_request_without_bytes_or_with_too_many_breaks_the_device),
        TEST(room_for_a_reply_is_cut_to_what_a_slot_has),
        TEST(what_a_reset_leaves_behind_keeps_its_slot_until_its_answer),
        TEST(a_queue_that_was_taken_away_is_not_written),
        TEST(an_answer_to_nothing_or_that_is_too_long_is_a_lie),
        TEST(a_server_that_has_gone_breaks_the_device),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
