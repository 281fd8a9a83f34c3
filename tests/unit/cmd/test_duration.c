/* SPDX-License-Identifier: Apache-2.0 */
#include "../unit.h"

#include "../../../cmd/cmd.h"

static void gos_durations_are_understood(void **state)
{
    static const struct {
        const char *text;
        int64_t ns;
    } rows[] = {
        { "5s", 5000000000 },     { "500ms", 500000000 },
        { "1m30s", 90000000000 }, { "1.5h", 5400000000000 },
        { ".5s", 500000000 },     { "1us", 1000 },
        { "2µs", 2000 },          { "7ns", 7 },
        { "+1m", 60000000000 },   { "1h0.5s", 3600500000000 },
        { "0s1ns", 1 },           { "1.123456789s", 1123456000 },
    };

    (void)state;
    for (size_t i = 0; i < COUNT_OF(rows); i++) {
        int64_t ns = 0;

        unit_row(rows[i].text, cmd_duration(rows[i].text, &ns, NULL) == 0 && ns == rows[i].ns);
    }
}

static void what_is_none_is_refused(void **state)
{
    static const struct {
        const char *text, *sentence;
    } rows[] = {
        { "5", "invalid duration" },         { "s", "invalid duration" },
        { ".s", "invalid duration" },        { "5x", "invalid duration" },
        { "1s ", "invalid duration" },       { "9999999999999h", "invalid duration" },
        { "--5s", "invalid duration" },      { "-", "invalid duration" },
        { "1m1", "invalid duration" },       { "99999999999999999999s", "invalid duration" },
        { "0", "must be greater than 0" },   { "0s", "must be greater than 0" },
        { "-5s", "must be greater than 0" },
    };

    (void)state;
    for (size_t i = 0; i < COUNT_OF(rows); i++) {
        struct err e = { 0 };
        int64_t ns = 77;

        unit_row(rows[i].text, cmd_duration(rows[i].text, &ns, &e) < 0 && ns == 77 &&
                                   strstr(e.text, rows[i].sentence));
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(gos_durations_are_understood),
        cmocka_unit_test(what_is_none_is_refused),
    };

    return cmocka_run_group_tests_name("duration", tests, NULL, NULL);
}
