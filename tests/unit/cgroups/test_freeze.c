/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Freezing and listing: on plain directories with files of the same names, so that every answer of
 * the kernel can be pretended; that the kernel does it is the system suite's matter.
 */
#include "../unit.h"

#include "cgroups/internal.h"

static char top[UNIT_PATH_SIZE];

static const char *in_top(const char *name)
{
    return arena_format(unit_arena(), "%s%s%s", top, name[0] ? "/" : "", name);
}

static void put(const char *dir, const char *file, const char *text)
{
    const char *path = arena_format(unit_arena(), "%s/%s", in_top(dir), file);

    mkdir(in_top(dir), 0755);
    assert_int_equal(file_replace(path, text, strlen(text), 0644, NULL), 0);
}

static const char *get(const char *file)
{
    char *text;

    assert_int_equal(file_read(unit_arena(), AT_FDCWD, in_top(file), 100, &text, NULL, NULL), 0);
    return text;
}

static void pids_are_those_of_the_whole_tree_sorted_and_once(void **state)
{
    pid_t *pids;
    size_t n;

    (void)state;
    put("", "cgroup.procs", "30\n7\n0\n"); /* 0: of another pid namespace */
    put("b", "cgroup.procs", "12\n7\n");
    put("b/c", "cgroup.procs", "1\n");
    put("d", "other", "99\n"); /* it went away meanwhile */
    assert_int_equal(cgroup_pids(top, unit_arena(), &pids, &n, NULL), 0);
    assert_int_equal(n, 4);
    assert_true(pids[0] == 1 && pids[1] == 7 && pids[2] == 12 && pids[3] == 30);
}

static void a_tree_deeper_than_its_walkers_stack_is_walked(void **state)
{
    const char *name = "x";
    pid_t *pids;
    size_t n;

    (void)state;
    for (int i = 0; i < 400; i++, name = arena_format(unit_arena(), "%s/x", name))
        put(name, "cgroup.procs", arena_format(unit_arena(), "%d\n", i + 1));
    assert_int_equal(cgroup_pids(top, unit_arena(), &pids, &n, NULL), 0);
    assert_int_equal(n, 400);
    assert_int_equal(pids[399], 400);
}

/* The container chooses the names too: together they are longer than a path may be (PATH_MAX). */
static void a_tree_whose_paths_are_too_long_is_walked(void **state)
{
    char name[251] = { 0 };
    int dir = open(top, O_PATH | O_DIRECTORY | O_CLOEXEC);
    pid_t *pids;
    size_t n;

    (void)state;
    memset(name, 'n', sizeof name - 1);
    for (int i = 0; i < 40; i++) {
        int below;

        assert_int_equal(mkdirat(dir, name, 0755), 0);
        below = openat(dir, name, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
        close(dir);
        dir = below;
    }
    close(openat(dir, "cgroup.procs", O_WRONLY | O_CREAT | O_CLOEXEC, 0644));
    assert_int_equal(file_write_once(dir, "cgroup.procs", "77\n", 3), 0);
    close(dir);
    assert_int_equal(cgroup_pids(top, unit_arena(), &pids, &n, NULL), 0);
    assert_true(n == 1 && pids[0] == 77);
}

static void a_cgroup_that_is_gone_is_empty_and_not_frozen(void **state)
{
    const char *gone = in_top("gone");
    pid_t *pids;
    size_t n = 1;

    (void)state;
    assert_int_equal(cgroup_pids(gone, unit_arena(), &pids, &n, NULL), 0);
    assert_int_equal(n, 0);
    assert_false(cgroup_is_frozen(gone));
    assert_false(cgroup_has_freezer(gone));
}

static void frozen_is_what_the_cgroup_itself_was_told(void **state)
{
    (void)state;
    put("", "cgroup.freeze", "1\n");
    assert_true(cgroup_has_freezer(top) && cgroup_is_frozen(top));
    put("", "cgroup.freeze", "0\n");
    assert_true(cgroup_has_freezer(top) && !cgroup_is_frozen(top));
    put("v1", "freezer.state", "FROZEN\n"); /* by its parent */
    put("v1", "freezer.self_freezing", "0\n");
    assert_true(cgroup_has_freezer(in_top("v1")) && !cgroup_is_frozen(in_top("v1")));
    put("v1", "freezer.self_freezing", "1\n");
    assert_true(cgroup_is_frozen(in_top("v1")));
}

static void v1_is_frozen_and_thawed_by_its_state(void **state)
{
    struct err e = { 0 };

    (void)state;
    put("", "freezer.state", "THAWED\n");
    assert_int_equal(cgroup_freeze(top, true, &e), 0);
    assert_string_equal(get("freezer.state"), "FROZEN\n");
    assert_int_equal(cgroup_freeze(top, false, &e), 0);
    assert_string_equal(get("freezer.state"), "THAWED\n");
    assert_int_equal(cgroup_freeze(in_top("gone"), true, &e), -ENOENT);
    assert_true(strstr(e.text, "cannot freeze the cgroup"));
}

static void init_is_followed_only_where_the_cgroup_takes_no_process(void **state)
{
    const char *out;
    struct err e = { 0 };

    (void)state;
    put("", "cgroup.subtree_control", "\n");
    put("", "cgroup.procs", "");
    put("a", "cgroup.procs", "5\n");
    put("a/b", "cgroup.procs", "6\n");
    assert_int_equal(cgroup_to_enter(top, 6, unit_arena(), &out, &e), 0);
    assert_string_equal(out, top);
    put("", "cgroup.subtree_control", "memory pids\n");
    assert_int_equal(cgroup_to_enter(top, 6, unit_arena(), &out, &e), 0);
    assert_string_equal(out, in_top("a/b"));
    assert_int_equal(cgroup_to_enter(top, 7, unit_arena(), &out, &e), -ENOENT);
    assert_int_equal(cgroup_to_enter(in_top("gone"), 6, unit_arena(), &out, &e), -ENOENT);
}

static int fresh(void **state)
{
    (void)state;
    unit_dir(top);
    return 0;
}

static int gone(void **state)
{
    (void)state;
    unit_remove(top);
    arena_release(unit_arena());
    return 0;
}
#define CASE(f) cmocka_unit_test_setup_teardown(f, fresh, gone)

int main(void)
{
    const struct CMUnitTest tests[] = {
        CASE(pids_are_those_of_the_whole_tree_sorted_and_once),
        CASE(a_tree_deeper_than_its_walkers_stack_is_walked),
        CASE(a_tree_whose_paths_are_too_long_is_walked),
        CASE(a_cgroup_that_is_gone_is_empty_and_not_frozen),
        CASE(frozen_is_what_the_cgroup_itself_was_told),
        CASE(v1_is_frozen_and_thawed_by_its_state),
        CASE(init_is_followed_only_where_the_cgroup_takes_no_process),
    };

    return cmocka_run_group_tests_name("freeze", tests, NULL, NULL);
}
