/* SPDX-License-Identifier: Apache-2.0 */
#include "unit.h"

static void a_sentence_ends_with_the_reason(void **state)
{
    struct err e = { 0 };

    (void)state;
    assert_int_equal(err_set(&e, EPERM, "cannot mount '%s'", "proc"), -EPERM);
    assert_int_equal(e.code, EPERM);
    assert_string_equal(e.text, "cannot mount 'proc': Operation not permitted");
    assert_string_equal(e.pointer, "");
}

static void without_an_errno_it_is_an_invalid_argument(void **state)
{
    struct err e = { 0 };

    (void)state;
    assert_int_equal(err_set(&e, 0, "is no number"), -EINVAL);
    assert_int_equal(e.code, EINVAL);
    assert_string_equal(e.text, "is no number");
}

static void a_negative_errno_is_the_same_error(void **state)
{
    struct err e = { 0 };

    (void)state;
    assert_int_equal(err_set(&e, -ENOENT, "x"), -ENOENT);
    assert_string_equal(e.text, "x: No such file or directory");
    assert_int_equal(err_set(NULL, -ENOENT, "x"), -ENOENT);
}

static void an_unknown_errno_is_written_as_a_number(void **state)
{
    struct err e = { 0 };

    (void)state;
    assert_int_equal(err_set(&e, 4000, "x"), -4000);
    assert_string_equal(e.text, "x: errno 4000");
}

static void nobody_needs_to_listen(void **state)
{
    (void)state;
    assert_int_equal(err_set(NULL, 0, "x"), -EINVAL);
    assert_int_equal(err_at(NULL, "/a", ENODEV, "x"), -ENODEV);
    err_hint(NULL, "x");
    err_prefix(NULL, "x");
}

static void the_innermost_pointer_stays(void **state)
{
    struct err e = { 0 };
    char buf[128];

    (void)state;
    err_at(&e, "/mounts/3/options/0", 0, "inner");
    err_at(&e, "/mounts", 0, "outer: %s", e.text);
    assert_string_equal(e.pointer, "/mounts/3/options/0");
    assert_string_equal(e.text, "outer: inner");
    err_set(&e, 0, "last");
    assert_string_equal(err_sentence(&e, buf, sizeof(buf)), "/mounts/3/options/0: last");
}

static void a_sentence_without_a_pointer_is_only_the_text(void **state)
{
    struct err e = { .text = "text" };
    char buf[128];

    (void)state;
    assert_string_equal(err_sentence(&e, buf, sizeof(buf)), "text");
    assert_string_equal(err_sentence(&e, buf, 3), "te");
}

static void hints_follow_and_prefixes_precede(void **state)
{
    struct err e = { 0 };

    (void)state;
    err_set(&e, EACCES, "cannot open '%s'", "/x");
    err_hint(&e, "is it %d?", 3);
    err_prefix(&e, "hook");
    assert_string_equal(e.text, "hook: cannot open '/x': Permission denied (is it 3?)");
    assert_int_equal(e.code, EACCES);
}

static void a_long_sentence_is_cut_and_nothing_else(void **state)
{
    struct {
        struct err e;
        char guard[16];
    } t = { .guard = "untouched" };
    char longer[2 * ERR_TEXT_SIZE];

    (void)state;
    memset(longer, 'a', sizeof(longer) - 1);
    longer[sizeof(longer) - 1] = '\0';
    assert_int_equal(err_at(&t.e, longer, ENOENT, "%s", longer), -ENOENT);
    err_hint(&t.e, "%s", longer);
    err_prefix(&t.e, longer);
    assert_int_equal(strlen(t.e.text), ERR_TEXT_SIZE - 1);
    assert_int_equal(strlen(t.e.pointer), ERR_POINTER_SIZE - 1);
    assert_string_equal(t.guard, "untouched");
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(a_sentence_ends_with_the_reason),
        cmocka_unit_test(without_an_errno_it_is_an_invalid_argument),
        cmocka_unit_test(a_negative_errno_is_the_same_error),
        cmocka_unit_test(an_unknown_errno_is_written_as_a_number),
        cmocka_unit_test(nobody_needs_to_listen),
        cmocka_unit_test(the_innermost_pointer_stays),
        cmocka_unit_test(a_sentence_without_a_pointer_is_only_the_text),
        cmocka_unit_test(hints_follow_and_prefixes_precede),
        cmocka_unit_test(a_long_sentence_is_cut_and_nothing_else),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
