/* SPDX-License-Identifier: Apache-2.0 */
#include "unit.h"

static char heard[2048];

static void listen(const char *line)
{
    base_format(heard, sizeof(heard), "%s", line);
}

static void nothing_happens_without_a_sink(void **state)
{
    (void)state;
    log_sink = NULL;
    log_debug("%s", "unheard");
    assert_string_equal(heard, "");
}

static void a_sink_gets_one_finished_line(void **state)
{
    (void)state;
    log_sink = listen;
    log_debug("mount %s: %d", "proc", -1);
    log_sink = NULL;
    assert_string_equal(heard, "mount proc: -1");
}

static void a_long_line_is_cut(void **state)
{
    char longer[sizeof(heard)];

    (void)state;
    memset(longer, 'l', sizeof(longer) - 1);
    longer[sizeof(longer) - 1] = '\0';
    log_sink = listen;
    log_debug("%s", longer);
    log_sink = NULL;
    assert_int_equal(strlen(heard), 1023);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(nothing_happens_without_a_sink),
        cmocka_unit_test(a_sink_gets_one_finished_line),
        cmocka_unit_test(a_long_line_is_cut),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
