/* SPDX-License-Identifier: Apache-2.0 */
/* Lists of CPUs as masks, and what the kernel makes of them. */
#include "../unit.h"

#include <sched.h>

#include "security/security.h"

static struct plan compile(const char *list, int *r, struct err *e)
{
    struct plan p;

    memset(e, 0, sizeof *e);
    plan_init(&p, unit_arena(), "exec");
    *r = sec_compile_cpu_affinity(&p, LANE_INIT, list, "/at", e);
    return p;
}

static void a_list_is_a_mask(void **state)
{
    const struct {
        const char *list;
        unsigned char first, second, last; /* CPUs 0-7, 8-15, 8184-8191 */
    } rows[] = {
        { "0", 0x01, 0, 0 },
        { "0-3,7", 0x8f, 0, 0 },
        { "1, 9", 0x02, 0x02, 0 },
        { "6 - 9", 0xc0, 0x03, 0 },
        { "8191", 0, 0, 0x80 },
        { "3,3-3,3", 0x08, 0, 0 },
        { "15,0,2-1000", 0xfd, 0xff, 0 },
    };

    (void)state;
    for (size_t i = 0; i < COUNT_OF(rows); i++) {
        struct err e;
        int r;
        struct plan p = compile(rows[i].list, &r, &e);
        const unsigned char *mask;

        unit_row(rows[i].list, r == 0 && p.n == 1);
        mask = p.steps[0].cpu_affinity.mask;
        unit_row(rows[i].list, p.steps[0].cpu_affinity.mask_size == 1024);
        unit_row(rows[i].list, mask[0] == rows[i].first && mask[1] == rows[i].second &&
                                   mask[1023] == rows[i].last);
    }
}

static void no_list_is_no_step_and_a_bad_one_an_error(void **state)
{
    static const char *const bad[] = { "8192", "0-99999999999999999999", "4-2" };
    struct err e;
    int r;

    (void)state;
    assert_int_equal(compile(NULL, &r, &e).n, 0);
    assert_int_equal(r, 0);
    for (size_t i = 0; i < COUNT_OF(bad); i++) {
        compile(bad[i], &r, &e);
        unit_row(bad[i], r < 0 && str_eq(e.pointer, "/at"));
    }
}

static void the_step_moves_the_process_or_names_the_list(void **state)
{
    cpu_set_t before, now;
    char list[16];
    int first = 0, r;
    struct err e;
    struct plan p;

    (void)state;
    assert_int_equal(sched_getaffinity(0, sizeof before, &before), 0);
    while (!CPU_ISSET((size_t)first, &before))
        first++;
    snprintf(list, sizeof list, "%d", first);
    p = compile(list, &r, &e);
    assert_int_equal(sec_step(&p.steps[0], NULL, &e), 0);
    assert_int_equal(sched_getaffinity(0, sizeof now, &now), 0);
    assert_int_equal(CPU_COUNT(&now), 1);
    assert_true(CPU_ISSET((size_t)first, &now));
    assert_int_equal(sched_setaffinity(0, sizeof before, &before), 0);
    p = compile("8000", &r, &e);
    assert_int_equal(sec_step(&p.steps[0], NULL, &e), -EINVAL);
    assert_non_null(strstr(e.text, "'8000'"));
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(a_list_is_a_mask),
        cmocka_unit_test(no_list_is_no_step_and_a_bad_one_an_error),
        cmocka_unit_test(the_step_moves_the_process_or_names_the_list),
    };
    int failed = cmocka_run_group_tests_name("exec affinity", tests, NULL, NULL);

    arena_release(unit_arena());
    return failed;
}
