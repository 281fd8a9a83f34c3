/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Golden plans: a config and the facts of some machine make exactly this plan, on every machine.
 * tests/data/plans/NAME/ holds config.json, facts.json (as `teca explain --write-facts` prints
 * them) and plan.txt. After an intended change: TECA_UPDATE_GOLDEN=1 make unit-container, and read
 * the diff.
 */
#include <stdarg.h>
#include <stddef.h>
#include <setjmp.h>
#include <stdint.h>
#include <cmocka.h>

#include <fcntl.h>
#include <stdlib.h>
#include <string.h>

#include "container/internal.h"

static const struct golden {
    const char *name;
    bool create;
} rows[] = {
    { "default-hybrid", false }, { "default-v2", false },      { "create-hybrid", true },
    { "user-namespace", false }, { "joined-pid-net", false },  { "time-offsets", false },
    { "engine-like", true },     { "rootless-ranges", false }, { "idmapped", false },
    { "limits-v2", false },      { "limits-hybrid", true },
};

static char *read_text(struct arena *a, const char *name, const char *file, size_t *len)
{
    char *text;
    struct err e = { 0 };

    if (file_read(a, AT_FDCWD, arena_format(a, "tests/data/plans/%s/%s", name, file), 1 << 20,
                  &text, len, &e) < 0)
        fail_msg("%s", e.text);
    return text;
}

static void the_plan_is_the_golden_one(void **state)
{
    const struct golden *g = *state;
    struct arena a = { 0 };
    struct container_options o = { .root = "/run/teca", .id = "ID" };
    struct container_bundle b = { .dir = "/bundle", .config_path = "config.json" };
    struct plan p;
    struct err e = { 0 };
    AUTO_STRBUF struct strbuf text = { 0 };
    size_t facts_len, want_len;
    const char *facts, *path = arena_format(&a, "tests/data/plans/%s/plan.txt", g->name);

    b.text = read_text(&a, g->name, "config.json", &b.text_len);
    facts = read_text(&a, g->name, "facts.json", &facts_len);
    if (spec_parse(&a, b.text, b.text_len, &b.spec, NULL, &e) < 0 ||
        container_plan(&o, &b, g->create, facts, facts_len, &a, &p, &e) < 0)
        fail_msg("%s: %s: %s", g->name, e.pointer, e.text);
    plan_explain_text(&p, &text);
    if (getenv("TECA_UPDATE_GOLDEN"))
        assert_int_equal(file_replace(path, text.ptr, text.len, 0644, &e), 0);
    assert_string_equal(text.ptr, read_text(&a, g->name, "plan.txt", &want_len));
    arena_release(&a);
}

int main(void)
{
    struct CMUnitTest tests[COUNT_OF(rows)];

    for (size_t i = 0; i < COUNT_OF(rows); i++)
        tests[i] = (struct CMUnitTest){ .name = rows[i].name,
                                        .test_func = the_plan_is_the_golden_one,
                                        .initial_state = (void *)&rows[i] };
    return cmocka_run_group_tests_name("golden plans", tests, NULL, NULL);
}
