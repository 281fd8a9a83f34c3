/* SPDX-License-Identifier: Apache-2.0 */
/* The queue walker on rings that are right, and on rings that lie. */
#include "ring.h"

#define NEXT VRING_DESC_F_NEXT
#define WRITE VRING_DESC_F_WRITE
#define INDIRECT VRING_DESC_F_INDIRECT

static struct virtq new_queue(const struct vmm_memory *m)
{
    struct virtq q = { .size = RING_SIZE,
                       .indirect = true,
                       .desc_gpa = FAKE_RINGS,
                       .driver_gpa = FAKE_RINGS + RING_AVAIL,
                       .device_gpa = FAKE_RINGS + RING_USED };

    assert_int_equal(virtq_enable(&q, m), 0);
    return q;
}

static void a_chain_is_read_in_order(void **state)
{
    struct vmm_memory m = fake_memory();
    struct virtq q = new_queue(&m);
    struct virtq_chain c;
    char text[8] = "";

    (void)state;
    assert_int_equal(virtq_pop(&q, &m, &c), 0);
    ring_describe(&m, 0, 5, (struct vring_desc){ FAKE_BUFFERS, 3, NEXT, 2 });
    ring_describe(&m, 0, 2, (struct vring_desc){ FAKE_BUFFERS + 16, 2, NEXT, 7 });
    ring_describe(&m, 0, 7, (struct vring_desc){ FAKE_BUFFERS + 32, 4, WRITE, 0 });
    vmm_memory_write(&m, FAKE_BUFFERS, "abc", 3);
    vmm_memory_write(&m, FAKE_BUFFERS + 16, "de", 2);
    ring_offer(&m, 0, 5);
    assert_int_equal(virtq_pop(&q, &m, &c), 1);
    assert_int_equal(c.head, 5);
    assert_int_equal(c.n_out, 2);
    assert_int_equal(c.n_in, 1);
    assert_int_equal(virtq_copy_out(&c, 0, text, 8), 5);
    assert_memory_equal(text, "abcde", 5);
    assert_int_equal(virtq_copy_out(&c, 2, text, 2), 2);
    assert_memory_equal(text, "cd", 2);
    assert_int_equal(virtq_copy_out(&c, 5, text, 1), 0);
    assert_int_equal(virtq_copy_in(&c, 1, "wxyz", 4), 3);
    assert_int_equal(vmm_memory_read(&m, FAKE_BUFFERS + 32, text, 5), 0);
    assert_memory_equal(text, "\0wxy\0", 5);
    virtq_push(&q, c.head, 4);
    assert_int_equal(ring_used(&m, 0)->idx, 1);
    assert_int_equal(ring_used(&m, 0)->ring[0].id, 5);
    assert_int_equal(ring_used(&m, 0)->ring[0].len, 4);
    assert_int_equal(virtq_pop(&q, &m, &c), 0);
    vmm_memory_release(&m);
}

static void indexes_go_round(void **state)
{
    struct vmm_memory m = fake_memory();
    struct virtq q = new_queue(&m);
    struct virtq_chain c;

    (void)state;
    for (unsigned i = 0; i < 70000; i++) {
        uint16_t head = i % RING_SIZE;

        ring_describe(&m, 0, head, (struct vring_desc){ FAKE_BUFFERS + head, 1, 0, 0 });
        ring_offer(&m, 0, head);
        assert_int_equal(virtq_pop(&q, &m, &c), 1);
        assert_int_equal(c.head, head);
        virtq_push(&q, c.head, 0);
    }
    assert_int_equal(ring_used(&m, 0)->idx, (uint16_t)70000);
    vmm_memory_release(&m);
}

static void an_indirect_table_may_end_a_chain(void **state)
{
    struct vmm_memory m = fake_memory();
    struct virtq q = new_queue(&m);
    struct vring_desc table[2] = { { FAKE_BUFFERS, 5, NEXT, 1 },
                                   { FAKE_BUFFERS + 8, 6, WRITE, 0 } };
    struct virtq_chain c;

    (void)state;
    /* At an odd address: tables need no alignment. */
    vmm_memory_write(&m, FAKE_BUFFERS + 0x101, table, sizeof(table));
    ring_describe(&m, 0, 0, (struct vring_desc){ FAKE_BUFFERS + 64, 7, NEXT, 1 });
    ring_describe(&m, 0, 1,
                  (struct vring_desc){ FAKE_BUFFERS + 0x101, sizeof(table), INDIRECT, 0 });
    ring_offer(&m, 0, 0);
    assert_int_equal(virtq_pop(&q, &m, &c), 1);
    assert_int_equal(c.out_len, 12);
    assert_int_equal(c.in_len, 6);
    vmm_memory_release(&m);
}

#define END (FAKE_GPA + FAKE_SIZE)
#define TABLE (FAKE_BUFFERS + 0x1000)

static void rings_that_lie_are_refused(void **state)
{
    static const struct {
        const char *row;
        struct vring_desc d[3], table[2];
        uint16_t head;
    } rows[] = {
        { "head past the table", { { FAKE_BUFFERS, 1, 0, 0 } }, { { 0 } }, RING_SIZE },
        { "highest head", { { FAKE_BUFFERS, 1, 0, 0 } }, { { 0 } }, 0xffff },
        { "loop of one", { { FAKE_BUFFERS, 1, NEXT, 0 } }, { { 0 } }, 0 },
        { "loop of two",
          { { FAKE_BUFFERS, 1, NEXT, 1 }, { FAKE_BUFFERS, 1, NEXT, 0 } },
          { { 0 } },
          0 },
        { "next past the table", { { FAKE_BUFFERS, 1, NEXT, RING_SIZE } }, { { 0 } }, 0 },
        { "length past memory", { { END - 4, 5, 0, 0 } }, { { 0 } }, 0 },
        { "longest length", { { FAKE_BUFFERS, UINT32_MAX, 0, 0 } }, { { 0 } }, 0 },
        { "address that wraps", { { UINT64_MAX - 3, 8, 0, 0 } }, { { 0 } }, 0 },
        { "no memory there", { { 0, 8, 0, 0 } }, { { 0 } }, 0 },
        { "empty buffer", { { FAKE_BUFFERS, 0, 0, 0 } }, { { 0 } }, 0 },
        { "to read after to write",
          { { FAKE_BUFFERS, 1, WRITE | NEXT, 1 }, { FAKE_BUFFERS, 1, 0, 0 } },
          { { 0 } },
          0 },
        { "indirect in indirect",
          { { TABLE, 32, INDIRECT, 0 } },
          { { TABLE, 32, INDIRECT, 0 } },
          0 },
        { "indirect and next",
          { { TABLE, 32, INDIRECT | NEXT, 1 } },
          { { FAKE_BUFFERS, 1, 0, 0 } },
          0 },
        { "crooked table", { { TABLE, 17, INDIRECT, 0 } }, { { FAKE_BUFFERS, 1, 0, 0 } }, 0 },
        { "empty table", { { TABLE, 0, INDIRECT, 0 } }, { { FAKE_BUFFERS, 1, 0, 0 } }, 0 },
        { "table past memory", { { END - 16, 32, INDIRECT, 0 } }, { { 0 } }, 0 },
        { "huge table", { { FAKE_GPA, 257 * 16, INDIRECT, 0 } }, { { 0 } }, 0 },
        { "loop in a table", { { TABLE, 32, INDIRECT, 0 } }, { { FAKE_BUFFERS, 1, NEXT, 0 } }, 0 },
        { "next past a table",
          { { TABLE, 16, INDIRECT, 0 } },
          { { FAKE_BUFFERS, 1, NEXT, 1 } },
          0 },
    };

    (void)state;
    for (size_t i = 0; i < COUNT_OF(rows); i++) {
        struct vmm_memory m = fake_memory();
        struct virtq q = new_queue(&m);
        struct virtq_chain c;

        for (unsigned d = 0; d < 3; d++)
            ring_describe(&m, 0, d, rows[i].d[d]);
        vmm_memory_write(&m, TABLE, rows[i].table, sizeof(rows[i].table));
        ring_offer(&m, 0, rows[i].head);
        if (virtq_pop(&q, &m, &c) != -EINVAL)
            fail_msg("%s", rows[i].row);
        vmm_memory_release(&m);
    }
}

static void an_index_neither_jumps_nor_goes_back(void **state)
{
    struct vmm_memory m = fake_memory();
    struct virtq q = new_queue(&m);
    struct vring_avail *a = ring_at(&m, 0, RING_AVAIL);
    struct virtq_chain c;

    (void)state;
    ring_describe(&m, 0, 0, (struct vring_desc){ FAKE_BUFFERS, 1, 0, 0 });
    a->idx = RING_SIZE + 1;
    assert_int_equal(virtq_pop(&q, &m, &c), -EINVAL);
    a->idx = RING_SIZE;
    assert_int_equal(virtq_pop(&q, &m, &c), 1);
    a->idx = 0; /* behind what was taken */
    assert_int_equal(virtq_pop(&q, &m, &c), -EINVAL);
    a->idx = 2;
    assert_true(virtq_rearm(&q));
    a->idx = 1; /* "there is one" was taken back */
    assert_int_equal(virtq_pop(&q, &m, &c), -EINVAL);
    vmm_memory_release(&m);
}

static void an_indirect_table_wants_to_be_negotiated(void **state)
{
    struct vmm_memory m = fake_memory();
    struct virtq q = new_queue(&m);
    struct virtq_chain c;

    (void)state;
    q.indirect = false;
    ring_describe(&m, 0, 0, (struct vring_desc){ FAKE_GPA, 16, INDIRECT, 0 });
    ring_offer(&m, 0, 0);
    assert_int_equal(virtq_pop(&q, &m, &c), -EINVAL);
    vmm_memory_release(&m);
}

static void areas_that_do_not_lie_in_memory_are_refused(void **state)
{
    static const struct {
        const char *row;
        uint16_t size;
        uint64_t desc, driver, device;
    } rows[] = {
        { "no size", 0, FAKE_GPA, FAKE_GPA, FAKE_GPA },
        { "not a power of two", 6, FAKE_GPA, FAKE_GPA, FAKE_GPA },
        { "too large", 512, FAKE_GPA, FAKE_GPA, FAKE_GPA },
        { "crooked descriptors", 8, FAKE_GPA + 8, FAKE_GPA, FAKE_GPA },
        { "crooked avail", 8, FAKE_GPA, FAKE_GPA + 1, FAKE_GPA },
        { "crooked used", 8, FAKE_GPA, FAKE_GPA, FAKE_GPA + 2 },
        { "descriptors past memory", 8, END - 112, FAKE_GPA, FAKE_GPA },
        { "avail past memory", 8, FAKE_GPA, END - 20, FAKE_GPA },
        { "used past memory", 8, FAKE_GPA, FAKE_GPA, END - 68 },
        { "nowhere", 8, 0, 0, 0 },
        { "wrapping", 8, UINT64_MAX - 15, FAKE_GPA, FAKE_GPA },
    };
    struct vmm_memory m = fake_memory();

    (void)state;
    for (size_t i = 0; i < COUNT_OF(rows); i++) {
        struct virtq q = { .size = rows[i].size,
                           .desc_gpa = rows[i].desc,
                           .driver_gpa = rows[i].driver,
                           .device_gpa = rows[i].device };

        if (virtq_enable(&q, &m) != -EINVAL || q.ready)
            fail_msg("%s", rows[i].row);
    }
    vmm_memory_release(&m);
}

/* §2.7.7: by the flag, and by the index when that is negotiated. */
static void a_driver_hears_what_it_wants_to_hear(void **state)
{
    struct vmm_memory m = fake_memory();
    struct virtq q = new_queue(&m);
    struct vring_avail *a = ring_at(&m, 0, RING_AVAIL);

    (void)state;
    assert_false(virtq_wants_interrupt(&q));
    virtq_push(&q, 0, 0);
    assert_true(virtq_wants_interrupt(&q));
    assert_false(virtq_wants_interrupt(&q));
    a->flags = VRING_AVAIL_F_NO_INTERRUPT;
    virtq_push(&q, 0, 0);
    assert_false(virtq_wants_interrupt(&q));
    q.event_idx = true;
    a->ring[RING_SIZE] = 3; /* used_event: when the fourth is used */
    virtq_push(&q, 0, 0);
    assert_false(virtq_wants_interrupt(&q));
    virtq_push(&q, 0, 0);
    assert_true(virtq_wants_interrupt(&q));
    a->idx = 0;
    assert_false(virtq_rearm(&q));
    a->idx = 1;
    assert_true(virtq_rearm(&q));
    vmm_memory_release(&m);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(a_chain_is_read_in_order),
        cmocka_unit_test(indexes_go_round),
        cmocka_unit_test(an_indirect_table_may_end_a_chain),
        cmocka_unit_test(rings_that_lie_are_refused),
        cmocka_unit_test(an_index_neither_jumps_nor_goes_back),
        cmocka_unit_test(an_indirect_table_wants_to_be_negotiated),
        cmocka_unit_test(areas_that_do_not_lie_in_memory_are_refused),
        cmocka_unit_test(a_driver_hears_what_it_wants_to_hear),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
