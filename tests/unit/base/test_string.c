/* SPDX-License-Identifier: Apache-2.0 */
#include "unit.h"

static void a_buffer_grows_with_what_is_added(void **state)
{
    AUTO_STRBUF struct strbuf b = { 0 };

    (void)state;
    strbuf_add(&b, "", 0);
    assert_string_equal(b.ptr, "");
    for (int i = 0; i < 1000; i++)
        strbuf_format(&b, "%d,", i);
    assert_int_equal(b.len, 10 * 2 + 90 * 3 + 900 * 4);
    assert_int_equal(strlen(b.ptr), b.len);
    assert_string_equal(b.ptr + b.len - 8, "998,999,");
    strbuf_release(&b);
    assert_null(b.ptr);
    strbuf_str(&b, "again");
    assert_string_equal(b.ptr, "again");
}

static void a_buffer_keeps_bytes_that_are_no_text(void **state)
{
    AUTO_STRBUF struct strbuf b = { 0 };

    (void)state;
    strbuf_add(&b, "a\0b", 3);
    assert_int_equal(b.len, 3);
    assert_memory_equal(b.ptr, "a\0b", 4);
}

static void null_equals_only_null(void **state)
{
    (void)state;
    assert_true(str_eq(NULL, NULL));
    assert_false(str_eq(NULL, ""));
    assert_false(str_eq("", NULL));
    assert_true(str_eq("a", "a"));
    assert_false(str_eq("a", "ab"));
}

static void a_prefix_may_be_the_whole_string(void **state)
{
    (void)state;
    assert_true(str_starts("abc", ""));
    assert_true(str_starts("abc", "abc"));
    assert_false(str_starts("ab", "abc"));
    assert_false(str_starts(NULL, ""));
}

static void unsigned_numbers_are_exact_or_refused(void **state)
{
    static const struct {
        const char *text;
        int rc;
        uint64_t value;
    } rows[] = {
        { "0", 0, 0 },
        { "007", 0, 7 },
        { "18446744073709551615", 0, UINT64_MAX },
        { "18446744073709551616", -ERANGE, 0 },
        { "99999999999999999999999999", -ERANGE, 0 },
        { "99999999999999999999999999x", -EINVAL, 0 },
        { "", -EINVAL, 0 },
        { "-1", -EINVAL, 0 },
        { "+1", -EINVAL, 0 },
        { " 1", -EINVAL, 0 },
        { "1 ", -EINVAL, 0 },
        { "0x10", -EINVAL, 0 },
        { "1.0", -EINVAL, 0 },
        { NULL, -EINVAL, 0 },
    };

    (void)state;
    for (size_t i = 0; i < COUNT_OF(rows); i++) {
        uint64_t value = 77;

        unit_row(rows[i].text, str_to_u64(rows[i].text, &value) == rows[i].rc);
        unit_row(rows[i].text, value == (rows[i].rc == 0 ? rows[i].value : 77));
    }
}

static void signed_numbers_are_exact_or_refused(void **state)
{
    static const struct {
        const char *text;
        int rc;
        int64_t value;
    } rows[] = {
        { "-0", 0, 0 },
        { "-9223372036854775808", 0, INT64_MIN },
        { "9223372036854775807", 0, INT64_MAX },
        { "9223372036854775808", -ERANGE, 0 },
        { "-9223372036854775809", -ERANGE, 0 },
        { "-", -EINVAL, 0 },
        { "--1", -EINVAL, 0 },
        { "", -EINVAL, 0 },
        { NULL, -EINVAL, 0 },
    };

    (void)state;
    for (size_t i = 0; i < COUNT_OF(rows); i++) {
        int64_t value = 77;

        unit_row(rows[i].text, str_to_i64(rows[i].text, &value) == rows[i].rc);
        unit_row(rows[i].text, value == (rows[i].rc == 0 ? rows[i].value : 77));
    }
}

static void paths_are_cleaned_as_go_cleans_them(void **state)
{
    static const char *const rows[][2] = {
        { "", "." },
        { ".", "." },
        { "./", "." },
        { "/", "/" },
        { "//", "/" },
        { "/..", "/" },
        { "/../..//a", "/a" },
        { "/a/./b/../c", "/a/c" },
        { "/a/b/../../..", "/" },
        { "a/..", "." },
        { "a/../b", "b" },
        { "a/b/../..", "." },
        { "..", ".." },
        { "../..", "../.." },
        { "a/../..", ".." },
        { "../a/../../b", "../../b" },
        { "../../a/..", "../.." },
        { "a//b///c/", "a/b/c" },
        { "...", "..." },
        { "/...", "/..." },
        { "/a/..b/c..", "/a/..b/c.." },
        { "..a/..", "." },
        { "/.a/..", "/" },
    };
    struct arena *a = unit_arena();

    (void)state;
    for (size_t i = 0; i < COUNT_OF(rows); i++) {
        const char *cleaned = path_clean(a, rows[i][0]);

        if (!str_eq(cleaned, rows[i][1]))
            fail_msg("'%s' became '%s', not '%s'", rows[i][0], cleaned, rows[i][1]);
    }
    arena_release(a);
}

static void foreign_text_is_no_command_to_a_terminal(void **state)
{
    static const struct {
        const char *text;
        size_t len;
        const char *but, *cleaned;
    } rows[] = {
        { "", 0, "", "" },
        { "a\033[31mb\nc\td\177", 12, "\n\t", "a?[31mb\nc\td?" },
        { "a\0b\n", 4, "", "a?b?" },
        { "\xc2\x9b\xc2\xa0\xc3\xa4\xe2\x82\xac", 9, "", "??\xc2\xa0\xc3\xa4\xe2\x82\xac" },
        { "a\x9b\xff"
          "b\xc3",
          5, "", "a??b?" },
        { "\xc0\x9b\xed\xa0\x80", 5, "", "?????" }, /* overlong; a surrogate */
    };

    (void)state;
    for (size_t i = 0; i < COUNT_OF(rows); i++) {
        char text[32] = { 0 };

        memcpy(text, rows[i].text, rows[i].len);
        text_clean(text, rows[i].len, rows[i].but);
        assert_string_equal(text, rows[i].cleaned);
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(a_buffer_grows_with_what_is_added),
        cmocka_unit_test(a_buffer_keeps_bytes_that_are_no_text),
        cmocka_unit_test(null_equals_only_null),
        cmocka_unit_test(a_prefix_may_be_the_whole_string),
        cmocka_unit_test(unsigned_numbers_are_exact_or_refused),
        cmocka_unit_test(signed_numbers_are_exact_or_refused),
        cmocka_unit_test(paths_are_cleaned_as_go_cleans_them),
        cmocka_unit_test(foreign_text_is_no_command_to_a_terminal),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
