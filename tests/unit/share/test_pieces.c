/* SPDX-License-Identifier: Apache-2.0 */
/* Nothing is read or written that is not there, wherever the pieces end. */
#include "client.h"
#include "share/internal.h"

static struct iovec three[4];
static char text[] = "abcdefgh";

static struct pieces in_three(void)
{
    struct pieces p;

    three[0] = (struct iovec){ text, 3 };
    three[1] = (struct iovec){ text + 3, 0 };
    three[2] = (struct iovec){ text + 3, 1 };
    three[3] = (struct iovec){ text + 4, 4 };
    assert_true(pieces_init(&p, three, 4));
    assert_int_equal(p.left, 8);
    return p;
}

static void bytes_come_in_order_and_no_more_than_there_are(void **state)
{
    struct pieces p = in_three();
    char got[9] = "";

    (void)state;
    assert_true(pieces_take(&p, got, 2));
    assert_true(pieces_take(&p, got + 2, 4));
    assert_false(pieces_take(&p, got + 6, 3));
    assert_true(pieces_take(&p, got + 6, 2));
    assert_string_equal(got, "abcdefgh");
    assert_false(pieces_take(&p, got, 1));
    assert_true(pieces_take(&p, got, 0));
}

static void what_is_put_does_not_pass_the_end(void **state)
{
    struct pieces p = in_three();

    (void)state;
    assert_false(pieces_put(&p, "123456789", 9));
    assert_true(pieces_put(&p, "12345", 5));
    assert_false(pieces_put(&p, "6789", 4));
    assert_string_equal(text, "12345fgh");
    strcpy(text, "abcdefgh");
}

static void a_limit_only_shortens(void **state)
{
    struct pieces p = in_three();
    char got[8];

    (void)state;
    assert_false(pieces_limit(&p, 9));
    assert_true(pieces_limit(&p, 5));
    assert_false(pieces_take(&p, got, 6));
    assert_true(pieces_take(&p, got, 5));
}

static void a_slice_is_what_lies_there(void **state)
{
    struct iovec out[SHARE_SEGMENTS_MAX];
    struct pieces p = in_three();
    char got[8];

    (void)state;
    assert_true(pieces_take(&p, got, 1));
    assert_int_equal(pieces_slice(&p, 4, out), 3);
    assert_ptr_equal(out[0].iov_base, text + 1);
    assert_int_equal(out[0].iov_len, 2);
    assert_int_equal(out[1].iov_len, 1);
    assert_int_equal(out[2].iov_len, 1);
    assert_int_equal(p.left, 7);
    assert_int_equal(pieces_slice(&p, 0, out), 0);
}

static void a_string_ends_where_it_says(void **state)
{
    char with_nul[] = "ab\0cd", got[6];
    struct iovec v = { with_nul, 5 };
    struct pieces p;

    (void)state;
    assert_true(pieces_init(&p, &v, 1));
    assert_int_equal(pieces_take_string(&p, got, 6), 0);
    assert_string_equal(got, "ab");
    assert_int_equal(p.left, 2);
    assert_int_equal(pieces_take_string(&p, got, 6), -EINVAL);
    assert_int_equal(pieces_take_string(&p, got, 2), -ENAMETOOLONG);
}

static void too_many_pieces_and_lengths_that_wrap_are_refused(void **state)
{
    static struct iovec many[SHARE_SEGMENTS_MAX + 1];
    struct iovec wrapping[] = { { text, SIZE_MAX }, { text, 2 } };
    struct pieces p;

    (void)state;
    assert_true(pieces_init(&p, many, SHARE_SEGMENTS_MAX));
    assert_false(pieces_init(&p, many, SHARE_SEGMENTS_MAX + 1));
    assert_false(pieces_init(&p, wrapping, 2));
}

static void a_number_never_comes_again(void **state)
{
    struct slots t = { .max = 100 };
    uint64_t first, second, id;

    (void)state;
    assert_int_equal(slots_add(&t, text, &first), 0);
    assert_ptr_equal(slots_find(&t, first), text);
    slots_remove(&t, first);
    slots_remove(&t, first);
    assert_int_equal(slots_add(&t, text, &second), 0);
    assert_int_not_equal(first, second);
    assert_null(slots_find(&t, first));
    assert_null(slots_find(&t, 0));
    assert_null(slots_find(&t, UINT64_MAX));
    for (unsigned i = 1; i < 100; i++)
        assert_int_equal(slots_add(&t, text, &id), 0);
    assert_int_equal(slots_add(&t, text, &id), -ENFILE);
    slots_release(&t);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(bytes_come_in_order_and_no_more_than_there_are),
        cmocka_unit_test(what_is_put_does_not_pass_the_end),
        cmocka_unit_test(a_limit_only_shortens),
        cmocka_unit_test(a_slice_is_what_lies_there),
        cmocka_unit_test(a_string_ends_where_it_says),
        cmocka_unit_test(too_many_pieces_and_lengths_that_wrap_are_refused),
        cmocka_unit_test(a_number_never_comes_again),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
