/* SPDX-License-Identifier: Apache-2.0 */
/*
 * An update is all or nothing: on a plain directory with files of a cgroup's names, where any one of
 * them refuses what is written to it.
 */
#include "minimal.h"

#include <signal.h>
#include <sys/resource.h>

#include "cgroups/internal.h"

static char top[UNIT_PATH_SIZE];

/* What there was, and what the update below wants. */
static const struct file {
    const char *name, *before, *after;
} files[] = {
    { "memory.max", "90000\n", "50000" },  { "memory.swap.max", "8000\n", "3000" },
    { "memory.low", "40000\n", "20000" },  { "cpu.max", "30000 50000\n", "10000 20000" },
    { "cpuset.cpus", "0-3\n", "1" },       { "cpu.weight", "100\n", "59" },
    { "pids.max", "77\n", "33" },          { "io.weight", "default 500\n", "default 100" },
    { "hugetlb.2MB.max", "900\n", "400" },
};

static const char asked[] = "{'linux': {'resources': {"
                            "'memory': {'limit': 50000, 'swap': 53000, 'reservation': 20000},"
                            "'cpu': {'quota': 10000, 'period': 20000, 'shares': 512, 'cpus': '1'},"
                            "'pids': {'limit': 33}, 'unified': {'io.weight': 'default 100',"
                            "'hugetlb.2MB.max': '400'}}}}";

static const char *path_of(const char *name)
{
    return arena_format(unit_arena(), "%s/c/%s", top, name);
}

static const char *text_of(const char *name)
{
    char *text;

    assert_int_equal(file_read(unit_arena(), AT_FDCWD, path_of(name), 100, &text, NULL, NULL), 0);
    return text;
}

/* A cgroup with these files; `refuses` leads to something that fails in its own way. */
static void make_cgroup(const char *refuses, const char *target)
{
    assert_int_equal(mkdir(arena_format(unit_arena(), "%s/c", top), 0755), 0);
    for (size_t i = 0; i < COUNT_OF(files); i++)
        if (refuses && str_eq(files[i].name, refuses))
            assert_int_equal(symlink(target, path_of(refuses)), 0);
        else
            assert_int_equal(file_replace(path_of(files[i].name), files[i].before,
                                          strlen(files[i].before), 0644, NULL),
                             0);
}

static int update(struct cgroup_undo **undo, struct err *e)
{
    static const char *const on[] = { "cpuset cpu io memory hugetlb pids", NULL };
    struct cgroup_hierarchy h = { .v2 = true,
                                  .controllers = "",
                                  .mountpoint = top,
                                  .root = "/",
                                  .path = arena_format(unit_arena(), "%s/c", top),
                                  .available = on[0],
                                  .subtree = on,
                                  .n_subtree = 1 };
    const struct cgroup_facts f = { .v = &h, .n = 1, .mount_root = top, .unified = true };
    const struct spec_resources *r = &minimal_spec(unit_arena(), asked)->linux.resources;
    const struct spec_resources nothing = { 0 };
    const struct cgroup_update u = { .asked = r, .earlier = &nothing, .merged = r };

    return cgroup_update(&f, &u, unit_arena(), undo, e);
}

/*
 * The first line begins so: what is shorter than before leaves a rest in a plain file. Those that
 * refuse are left out.
 */
static void assert_files(bool changed, const char *but)
{
    for (size_t i = 0; i < COUNT_OF(files); i++) {
        const char *wanted = changed ? files[i].after : files[i].before;

        bool faulty = readlinkat(AT_FDCWD, path_of(files[i].name), (char[1]){ 0 }, 1) >= 0;

        if (!faulty && !(but && str_eq(files[i].name, but)))
            unit_row(files[i].name, str_starts(text_of(files[i].name), wanted));
    }
}

static void every_file_is_written_and_can_be_taken_back(void **state)
{
    struct cgroup_undo *undo;
    struct err e = { 0 };

    (void)state;
    make_cgroup(NULL, NULL);
    assert_int_equal(update(&undo, &e), 0);
    assert_files(true, NULL);
    cgroup_update_undo(undo, &e);
    assert_files(false, NULL);
    assert_string_equal(e.text, "");
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

/* ENOSPC ends it at once; EINVAL is tried again for as long as another file takes its value. */
static void whichever_is_refused_the_others_have_what_they_had(void **state)
{
    static const struct {
        const char *target;
        int error;
    } faults[] = { { "/dev/full", ENOSPC }, { "/proc/self/mem", EIO } };

    for (size_t n = 0; n < COUNT_OF(faults) * COUNT_OF(files); n++) {
        const char *name = files[n / COUNT_OF(faults)].name;
        struct cgroup_undo *undo = NULL;
        struct err e = { 0 };

        make_cgroup(name, faults[n % COUNT_OF(faults)].target);
        assert_int_equal(update(&undo, &e), -faults[n % COUNT_OF(faults)].error);
        unit_row(name, strstr(e.text, "cannot write '") && strstr(e.text, path_of(name)));
        unit_row(name, str_starts(e.pointer, "/linux/resources/"));
        assert_null(undo);
        assert_files(false, NULL);
        gone(state);
        fresh(state);
    }
}

static void a_value_that_stays_refused_is_told_when_all_others_were_tried(void **state)
{
    struct cgroup_undo *undo;
    struct err e = { 0 };

    (void)state;
    make_cgroup("cpu.max", "/proc/self/coredump_filter"); /* it takes no second number */
    assert_int_equal(update(&undo, &e), -EINVAL);
    assert_string_equal(e.pointer, "/linux/resources/cpu/quota");
    assert_non_null(strstr(e.text, "cannot write '10000 20000'"));
    assert_files(false, NULL);
}

static void a_file_that_is_not_there_is_told_before_anything_is_written(void **state)
{
    struct cgroup_undo *undo;
    struct err e = { 0 };

    (void)state;
    make_cgroup("memory.low", "/nowhere/at/all");
    assert_int_equal(update(&undo, &e), -ENOENT);
    assert_non_null(strstr(e.text, "memory.low"));
    assert_files(false, NULL);
}

/* The way back is refused too: here, for want of room for the longer text that was there. */
static void what_cannot_be_taken_back_is_counted(void **state)
{
    struct rlimit before, four = { 0 };
    struct cgroup_undo *undo;
    struct err e = { 0 };

    (void)state;
    make_cgroup("pids.max", "/dev/full");
    assert_int_equal(file_replace(path_of("memory.max"), "9223372036854771712\n", 20, 0644, NULL),
                     0);
    assert_int_equal(getrlimit(RLIMIT_FSIZE, &before), 0);
    four = (struct rlimit){ .rlim_cur = strlen("30000 50000"), .rlim_max = before.rlim_max };
    signal(SIGXFSZ, SIG_IGN);
    assert_int_equal(setrlimit(RLIMIT_FSIZE, &four), 0);
    assert_int_equal(update(&undo, &e), -ENOSPC);
    assert_int_equal(setrlimit(RLIMIT_FSIZE, &before), 0);
    signal(SIGXFSZ, SIG_DFL);
    assert_non_null(strstr(e.text, "1 of the limits could not be taken back"));
    assert_files(false, "memory.max");
}

#define CASE(f) cmocka_unit_test_setup_teardown(f, fresh, gone)

int main(void)
{
    const struct CMUnitTest tests[] = {
        CASE(every_file_is_written_and_can_be_taken_back),
        CASE(whichever_is_refused_the_others_have_what_they_had),
        CASE(a_value_that_stays_refused_is_told_when_all_others_were_tried),
        CASE(a_file_that_is_not_there_is_told_before_anything_is_written),
        CASE(what_cannot_be_taken_back_is_counted),
    };

    return cmocka_run_group_tests_name("update", tests, NULL, NULL);
}
