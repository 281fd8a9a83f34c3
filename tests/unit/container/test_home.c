/* SPDX-License-Identifier: Apache-2.0 */
/* HOME: when it is added, and what is taken from a line of passwd(5). */
#include "minimal.h"

#include "container/internal.h"

static struct plan plan;

static const char *const *environment(const char *process)
{
    struct spec *s = minimal_spec(unit_arena(),
                                  arena_format(unit_arena(), "{'process': {%s}}", process));

    plan_init(&plan, unit_arena(), "run");
    return home_compile(&plan, &s->process);
}

static void a_home_that_is_configured_stays(void **state)
{
    const char *const *env = environment("'env': ['HOME=/x', 'A=1'], 'user': {'uid': 7, 'gid': 7}");

    (void)state;
    assert_string_equal(env[0], "HOME=/x");
    assert_string_equal(env[1], "A=1");
    assert_null(env[2]);
    assert_int_equal(plan.n, 0);
}

static void root_lives_in_root_without_a_step(void **state)
{
    const char *const *env = environment("'env': ['A=1']");

    (void)state;
    assert_string_equal(env[0], "A=1");
    assert_string_equal(env[1], "HOME=/root");
    assert_null(env[2]);
    assert_int_equal(plan.n, 0);
}

static void an_empty_home_is_none_and_is_replaced(void **state)
{
    const char *const *env = environment("'env': ['HOME=/first', 'HOME=', 'A=1']");

    (void)state;
    assert_string_equal(env[0], "A=1");
    assert_string_equal(env[1], "HOME=/root");
    assert_null(env[2]);
}

static void another_user_is_looked_up(void **state)
{
    const char *const *env = environment("'user': {'uid': 1000, 'gid': 7}");

    (void)state;
    assert_string_equal(env[0], "HOME=/");
    assert_ptr_equal(env[0], home_found());
    assert_int_equal(plan.n, 1);
    assert_int_equal(plan.steps[0].op, OP_HOME);
    assert_int_equal(plan.steps[0].home.uid, 1000);
}

static void a_line_is_taken_when_it_is_the_users(void **state)
{
    static const struct {
        const char *line;
        bool mine;
        const char *home;
    } rows[] = {
        { "u:x:1000:1000:Some One,,,:/home/u:/bin/sh", true, "HOME=/home/u" },
        { "u:x:1000:1000::/home/u", true, "HOME=/home/u" },
        { "u:x:100:1000::/home/u:/bin/sh", false, "HOME=/" },
        { "u:x:10000:1000::/home/u:/bin/sh", false, "HOME=/" },
        { "u:x:+1000:1000::/home/u:/bin/sh", false, "HOME=/" },
        { "u:x:1000:1000::relative:/bin/sh", true, "HOME=/" },
        { "u:x:1000:1000:::/bin/sh", true, "HOME=/" },
        { "u:x:1000", false, "HOME=/" },
        { "", false, "HOME=/" },
        { "#u:x:99999999999999999999:1::/home/u:", false, "HOME=/" },
    };

    (void)state;
    for (size_t i = 0; i < COUNT_OF(rows); i++) {
        environment("'user': {'uid': 1000, 'gid': 7}");
        unit_row(rows[i].line,
                 home_take_line(arena_strdup(unit_arena(), rows[i].line), 1000) == rows[i].mine);
        unit_row(rows[i].line, str_eq(home_found(), rows[i].home));
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(a_home_that_is_configured_stays),
        cmocka_unit_test(root_lives_in_root_without_a_step),
        cmocka_unit_test(an_empty_home_is_none_and_is_replaced),
        cmocka_unit_test(another_user_is_looked_up),
        cmocka_unit_test(a_line_is_taken_when_it_is_the_users),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
