/* SPDX-License-Identifier: Apache-2.0 */
/* Which cgroups are made, joined and removed, in which lane and order. */
#include "minimal.h"

#include "cgroups/internal.h"

static struct cgroup_hierarchy hierarchies[] = {
    { .controllers = "memory",
      .mountpoint = "/cg/memory",
      .root = "/",
      .path = "/cg/memory/a/b/c",
      .existing = 1 },
    { .v2 = true,
      .controllers = "",
      .mountpoint = "/cg/unified",
      .root = "/",
      .path = "/cg/unified/a/b/c" },
    { .controllers = "cpuset",
      .mountpoint = "/cg/cpuset",
      .root = "/",
      .path = "/cg/cpuset/a/b/c",
      .existing = 2,
      .cpuset = true,
      .cpus = "0-1",
      .mems = "0",
      .cpus_depth = 2,
      .mems_depth = 2 },
};
static const struct cgroup_facts facts = { .v = hierarchies,
                                           .n = COUNT_OF(hierarchies),
                                           .mount_root = "/cg" };

static struct plan plan;

static int set_up(void **state)
{
    (void)state;
    plan_init(&plan, unit_arena(), "run");
    return 0;
}

static int tear_down(void **state)
{
    (void)state;
    arena_release(unit_arena());
    return 0;
}

static void assert_made(size_t step, const char *path, bool leaf)
{
    assert_int_equal(plan.steps[step].op, OP_CGROUP_MAKE);
    assert_int_equal(plan.steps[step].lane, LANE_RUNTIME);
    assert_string_equal(plan.steps[step].cgroup_make.path, path);
    assert_int_equal(plan.steps[step].cgroup_make.leaf, leaf);
}

static void the_v2_cgroup_is_made_with_its_parents_and_opened(void **state)
{
    struct err e = { 0 };
    int slot = SLOT_NONE;

    (void)state;
    assert_int_equal(cgroup_compile_make(&plan, NULL, &facts, &slot, &e), 0);
    assert_int_equal(plan.n, 4);
    assert_made(0, "/cg/unified/a", false);
    assert_made(1, "/cg/unified/a/b", false);
    assert_made(2, "/cg/unified/a/b/c", true);
    assert_int_equal(plan.steps[3].op, OP_CGROUP_OPEN);
    assert_string_equal(plan.steps[3].cgroup_open.path, "/cg/unified/a/b/c");
    assert_int_equal(plan.steps[3].cgroup_open.out, slot);
    assert_true(slot >= 0);
}

static void without_a_v2_hierarchy_there_is_nothing_to_clone_into(void **state)
{
    struct cgroup_facts v1 = facts;
    struct err e = { 0 };
    int slot = 7;

    (void)state;
    v1.n = 1;
    assert_int_equal(cgroup_compile_make(&plan, NULL, &v1, &slot, &e), 0);
    assert_int_equal(slot, SLOT_NONE);
    assert_int_equal(plan.n, 0);
}

static void only_what_is_missing_is_made_and_a_cpuset_is_filled(void **state)
{
    struct err e = { 0 };

    (void)state;
    assert_int_equal(cgroup_compile_make_v1(&plan, &facts, &e), 0);
    assert_int_equal(plan.n, 3);
    assert_made(0, "/cg/memory/a/b", false);
    assert_made(1, "/cg/memory/a/b/c", true);
    assert_made(2, "/cg/cpuset/a/b/c", true);
    assert_null(plan.steps[1].cgroup_make.cpus);
    assert_string_equal(plan.steps[2].cgroup_make.cpus, "0-1");
    assert_string_equal(plan.steps[2].cgroup_make.mems, "0");
}

static void empty_cpusets_on_the_way_are_filled_from_the_top_and_not_removed(void **state)
{
    struct cgroup_hierarchy cpuset = hierarchies[2];
    struct cgroup_facts f = { .v = &cpuset, .n = 1, .mount_root = "/cg" };
    struct err e = { 0 };

    (void)state;
    cpuset.cpus_depth = 1; /* only the second component lacks CPUs */
    cpuset.mems_depth = 0;
    assert_int_equal(cgroup_compile_make_v1(&plan, &f, &e), 0);
    assert_int_equal(plan.n, 3);
    assert_int_equal(plan.steps[0].op, OP_CGROUP_FILL);
    assert_int_equal(plan.steps[0].lane, LANE_RUNTIME);
    assert_string_equal(plan.steps[0].cgroup_fill.path, "/cg/cpuset/a");
    assert_null(plan.steps[0].cgroup_fill.cpus);
    assert_string_equal(plan.steps[0].cgroup_fill.mems, "0");
    assert_int_equal(plan.steps[1].op, OP_CGROUP_FILL);
    assert_string_equal(plan.steps[1].cgroup_fill.path, "/cg/cpuset/a/b");
    assert_string_equal(plan.steps[1].cgroup_fill.cpus, "0-1");
    assert_string_equal(plan.steps[1].cgroup_fill.mems, "0");
    assert_made(2, "/cg/cpuset/a/b/c", true);
    assert_int_equal(cgroup_compile_remove(&plan, &f, &e), 0);
    assert_int_equal(plan.n, 4); /* the leaf alone */
}

static void init_joins_v1_itself_and_waits_once(void **state)
{
    struct err e = { 0 };
    int slot;

    (void)state;
    cgroup_compile_make(&plan, NULL, &facts, &slot, &e);
    plan_add(&plan, OP_CLONE, LANE_RUNTIME, "");
    cgroup_compile_make_v1(&plan, &facts, &e);
    assert_int_equal(cgroup_compile_join(&plan, &facts, LANE_INIT, &e), 0);
    assert_int_equal(plan.n, 4 + 1 + 3 + 2);
    assert_int_equal(plan.steps[8].op, OP_CGROUP_JOIN);
    assert_int_equal(plan.steps[8].lane, LANE_INIT);
    assert_string_equal(plan.steps[8].cgroup_join.path, "/cg/memory/a/b/c");
    assert_string_equal(plan.steps[9].cgroup_join.path, "/cg/cpuset/a/b/c");
    assert_int_equal(plan_finish(&plan, &e), 0);
    assert_int_equal(plan_waits(&plan), 1);
    for (size_t make = 5; make < 8; make++)
        assert_true(plan_happens_before(&plan, make, 8));
}

static void what_is_made_is_removed_the_other_way_round(void **state)
{
    static const struct {
        const char *path;
        bool leaf;
    } rows[] = {
        { "/cg/cpuset/a/b/c", true }, { "/cg/unified/a/b/c", true }, { "/cg/unified/a/b", false },
        { "/cg/unified/a", false },   { "/cg/memory/a/b/c", true },  { "/cg/memory/a/b", false },
    };
    struct err e = { 0 };

    (void)state;
    assert_int_equal(cgroup_compile_remove(&plan, &facts, &e), 0);
    assert_int_equal(plan.n, COUNT_OF(rows));
    for (size_t i = 0; i < COUNT_OF(rows); i++) {
        assert_int_equal(plan.steps[i].op, OP_CGROUP_REMOVE);
        assert_int_equal(plan.steps[i].lane, LANE_RUNTIME);
        unit_row(rows[i].path, str_eq(plan.steps[i].cgroup_remove.path, rows[i].path));
        unit_row(rows[i].path, plan.steps[i].cgroup_remove.leaf == rows[i].leaf);
    }
}

int main(void)
{
#define PLAN_TEST(name) cmocka_unit_test_setup_teardown(name, set_up, tear_down)
    const struct CMUnitTest tests[] = {
        PLAN_TEST(the_v2_cgroup_is_made_with_its_parents_and_opened),
        PLAN_TEST(without_a_v2_hierarchy_there_is_nothing_to_clone_into),
        PLAN_TEST(only_what_is_missing_is_made_and_a_cpuset_is_filled),
        PLAN_TEST(empty_cpusets_on_the_way_are_filled_from_the_top_and_not_removed),
        PLAN_TEST(init_joins_v1_itself_and_waits_once),
        PLAN_TEST(what_is_made_is_removed_the_other_way_round),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
