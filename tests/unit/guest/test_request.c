/* SPDX-License-Identifier: Apache-2.0 */
/* What RUN asks for, as the agent reads it. */
#include <string.h>

#include "guest/internal.h"
#include "unit.h"

static const char *const first[] = { "teca", "--log", NULL };

#define TEXT(S) (char[]){ S }, sizeof(S) - 1

static void words_and_what_follows_them_are_told_apart(void **state)
{
    char **argv;
    const char *input;
    size_t len;
    struct err e = { 0 };

    (void)state;
    assert_int_equal(request_parse(first, TEXT("3\0exec\0\0--\0{\"a\":\0}"), unit_arena(), &argv,
                                   &input, &len, &e),
                     0);
    assert_string_equal(argv[0], "teca");
    assert_string_equal(argv[2], "exec");
    assert_string_equal(argv[3], "");
    assert_string_equal(argv[4], "--");
    assert_null(argv[5]);
    assert_int_equal(len, 7);
    assert_memory_equal(input, "{\"a\":\0}", 7);
    assert_int_equal(request_parse(first, TEXT("0\0"), unit_arena(), &argv, &input, &len, &e), 0);
    assert_null(argv[2]);
    assert_int_equal(len, 0);
    arena_release(unit_arena());
}

static void a_torn_request_is_refused(void **state)
{
    static const struct {
        const char *text;
        size_t len;
    } rows[] = { { "", 0 },          { "3", 1 },
                 { "3\0a\0b\0", 6 }, { "2\0a\0b", 5 },
                 { "x\0a\0", 4 },    { "-1\0", 3 },
                 { "\0", 1 },        { "18446744073709551615\0a\0", 23 } };

    (void)state;
    for (size_t i = 0; i < COUNT_OF(rows); i++) {
        char text[32], **argv;
        const char *input;
        size_t len;
        struct err e = { 0 };

        memcpy(text, rows[i].text, rows[i].len);
        unit_row(rows[i].text, request_parse(first, text, rows[i].len, unit_arena(), &argv, &input,
                                             &len, &e) < 0);
    }
    arena_release(unit_arena());
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(words_and_what_follows_them_are_told_apart),
        cmocka_unit_test(a_torn_request_is_refused),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
