/* SPDX-License-Identifier: Apache-2.0 */
#include "unit.h"

/* Every conversion that base_format knows must agree with the C library's. */
#define agrees(...)                                                 \
    do {                                                            \
        char ours[128], theirs[128];                                \
        size_t len = base_format(ours, sizeof(ours), __VA_ARGS__);  \
        int wanted = snprintf(theirs, sizeof(theirs), __VA_ARGS__); \
                                                                    \
        assert_string_equal(ours, theirs);                          \
        assert_int_equal(len, wanted);                              \
    } while (0)

static void numbers_are_written_as_printf_writes_them(void **state)
{
    (void)state;
    agrees("%d %i %u", -1, 0, 4294967295u);
    agrees("%d", INT32_MIN);
    agrees("%ld %lld %lu %llu", INT64_MIN, -9223372036854775807LL, UINT64_MAX,
           18446744073709551615ull);
    agrees("%zu %zd", SIZE_MAX, (ssize_t)-5);
    agrees("%x %o %lx %llo", 0xdeadbeefu, 0755u, 0xfeedfaceul, 01777777777777777777777ull);
    agrees("%x %o %u", 0u, 0u, 0u);
}

static void widths_pad_with_spaces_or_zeros(void **state)
{
    (void)state;
    agrees("[%5d] [%05d] [%-5d]", 42, 42, 42);
    agrees("[%5d] [%05d] [%-5d]", -42, -42, -42);
    agrees("[%08x] [%04o] [%2u]", 0xabcu, 0644u, 12345u);
    agrees("[%6s] [%-6s] [%2s]", "abc", "abc", "abc");
    agrees("[%*d]", 6, 7);
    agrees("[%3c]", 'x');
}

static void strings_may_be_cut_by_a_precision(void **state)
{
    char unterminated[3] = { 'a', 'b', 'c' };

    (void)state;
    agrees("%.*s|%.2s|%.9s|%.0s", 3, "abcdef", "xyz", "short", "gone");
    agrees("%.*s", 3, unterminated);
    agrees("%c%%%s", 'p', "");
}

static void a_null_string_is_named(void **state)
{
    char buf[32];
    const char *volatile nothing = NULL;

    (void)state;
    base_format(buf, sizeof(buf), "<%s>", nothing);
    assert_string_equal(buf, "<(null)>");
}

static void a_small_buffer_is_always_terminated(void **state)
{
    (void)state;
    for (size_t size = 1; size < 12; size++) {
        char buf[12], whole[] = "hello 12345";

        memset(buf, 'Z', sizeof(buf));
        assert_int_equal(base_format(buf, size, "%s %d", "hello", 12345), 11);
        assert_memory_equal(buf, whole, size - 1);
        assert_int_equal(buf[size - 1], '\0');
        for (size_t i = size; i < sizeof(buf); i++)
            assert_int_equal(buf[i], 'Z');
    }
}

static void no_buffer_at_all_still_tells_the_length(void **state)
{
    (void)state;
    assert_int_equal(base_format(NULL, 0, "%d-%s", 7, "seven"), 7);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(numbers_are_written_as_printf_writes_them),
        cmocka_unit_test(widths_pad_with_spaces_or_zeros),
        cmocka_unit_test(strings_may_be_cut_by_a_precision),
        cmocka_unit_test(a_null_string_is_named),
        cmocka_unit_test(a_small_buffer_is_always_terminated),
        cmocka_unit_test(no_buffer_at_all_still_tells_the_length),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
