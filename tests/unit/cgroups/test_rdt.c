/* SPDX-License-Identifier: Apache-2.0 */
/* linux.intelRdt: the plan for each rule of config-linux.md, and its steps on a made-up resctrl. */
#include "minimal.h"

#include "cgroups/internal.h"

enum { PID_SLOT = 0, N_SLOTS = 32 };

static struct plan plan;
static char root[UNIT_PATH_SIZE];
static int values[N_SLOTS];
static struct slots slots = { values, N_SLOTS };
static struct err err;

static int set_up(void **state)
{
    (void)state;
    err = (struct err){ 0 };
    for (int i = 0; i < N_SLOTS; i++)
        values[i] = -1;
    values[PID_SLOT] = 4711;
    unit_dir(root);
    return 0;
}

static int tear_down(void **state)
{
    (void)state;
    unit_remove(root);
    arena_release(unit_arena());
    return 0;
}

static const char *in_root(const char *name)
{
    return arena_format(unit_arena(), "%s/%s", root, name);
}

/* The kernel fills a directory of resctrl with files; here the test does. */
static void add_files(const char *dir, const char *schemata)
{
    const char *name = arena_format(unit_arena(), "%s/schemata", dir);

    assert_int_equal(file_replace(name, schemata, strlen(schemata), 0644, NULL), 0);
    name = arena_format(unit_arena(), "%s/tasks", dir);
    assert_int_equal(file_replace(name, "", 0, 0644, NULL), 0);
}

static void add_class(const char *name, const char *schemata)
{
    assert_int_equal(mkdir(in_root(name), 0755), 0);
    add_files(in_root(name), schemata);
}

static const char *text_of(const char *path)
{
    char *text = NULL;
    size_t len;

    assert_int_equal(file_read(unit_arena(), AT_FDCWD, in_root(path), 4096, &text, &len, NULL), 0);
    return text;
}

static int compile(const char *rdt, const char *where)
{
    struct spec *s = minimal_spec(unit_arena(),
                                  arena_format(unit_arena(), "{'linux': {'intelRdt': %s}}", rdt));
    struct cgroup_facts facts = { .resctrl = where };
    int r;

    plan_init(&plan, unit_arena(), "run");
    assert_int_equal(plan_slot(&plan), PID_SLOT);
    r = rdt_compile_make(&plan, s, &facts, "ctr", &err);
    if (r == 0)
        rdt_compile_join(&plan, s, &facts, "ctr", PID_SLOT);
    return r;
}

/* Every step; what a group that is made would get from the kernel comes from the test. */
static int execute(void)
{
    for (size_t i = 0; i < plan.n; i++) {
        const struct step *st = &plan.steps[i];
        int r = rdt_step(st, &slots, &err);

        if (r < 0)
            return r;
        if (st->op == OP_RDT_GROUP && values[st->rdt_group.made] == 1)
            add_files(st->rdt_group.path, "");
    }
    return 0;
}

static int start(const char *rdt)
{
    assert_int_equal(compile(rdt, root), 0);
    return execute();
}

static void without_resctrl_it_is_refused(void **state)
{
    (void)state;
    assert_true(compile("{}", NULL) < 0);
    assert_string_equal(err.pointer, "/linux/intelRdt");
    assert_non_null(strstr(err.text, "no resctrl file system is mounted"));
}

static void without_intel_rdt_nothing_is_planned(void **state)
{
    struct cgroup_facts facts = { .resctrl = NULL };

    (void)state;
    plan_init(&plan, unit_arena(), "run");
    assert_int_equal(rdt_compile_make(&plan, minimal_spec(unit_arena(), NULL), &facts, "c", &err),
                     0);
    rdt_compile_join(&plan, minimal_spec(unit_arena(), NULL), &facts, "c", PID_SLOT);
    assert_int_equal(plan.n, 0);
}

static void without_a_class_the_containers_own_is_made_and_joined(void **state)
{
    (void)state;
    assert_int_equal(start("{'l3CacheSchema': 'L3:0=f', 'memBwSchema': 'MB:0=20'}"), 0);
    assert_string_equal(text_of("ctr/tasks"), "4711");
    assert_string_equal(text_of("ctr/schemata"), "L3:0=f\nMB:0=20\n");
    assert_true(plan.steps[0].rdt_group.own);
}

static void without_a_schema_none_is_written(void **state)
{
    (void)state;
    assert_int_equal(start("{}"), 0);
    assert_string_equal(text_of("ctr/tasks"), "4711");
    assert_int_equal(plan_find(&plan, OP_RDT_SCHEMATA, 0), -1);
}

static void schemata_are_written_last(void **state)
{
    int first, second;

    (void)state;
    assert_int_equal(compile("{'schemata': ['L2:0=3', 'MB:0=70'], 'memBwSchema': 'MB:0=20'}", root),
                     0);
    first = plan_find(&plan, OP_RDT_SCHEMATA, 0);
    second = plan_find(&plan, OP_RDT_SCHEMATA, (size_t)first + 1);
    assert_string_equal(plan.steps[first].rdt_schemata.text, "MB:0=20\n");
    assert_string_equal(plan.steps[second].rdt_schemata.text, "L2:0=3\nMB:0=70\n");
}

static void bandwidth_in_the_l3_schema_gives_way_to_mem_bw_schema(void **state)
{
    (void)state;
    assert_int_equal(compile("{'l3CacheSchema': 'MB:0=10', 'memBwSchema': 'MB:0=20'}", root), 0);
    assert_string_equal(plan.steps[1].rdt_schemata.text, "MB:0=20\n");
}

static void the_containers_own_class_must_be_new(void **state)
{
    (void)state;
    add_class("ctr", "");
    assert_int_equal(start("{}"), -EEXIST);
    assert_non_null(strstr(err.text, "/ctr'"));
}

static void a_class_without_a_schema_must_be_there(void **state)
{
    (void)state;
    assert_int_equal(start("{'closID': 'gold'}"), -ENOENT);
    assert_non_null(strstr(err.text, "/gold"));
    add_class("gold", "L3:0=f\n");
    assert_int_equal(start("{'closID': 'gold'}"), 0);
    assert_string_equal(text_of("gold/tasks"), "4711");
    assert_string_equal(text_of("gold/schemata"), "L3:0=f\n");
}

static void a_class_with_a_schema_is_made_when_it_is_missing(void **state)
{
    (void)state;
    assert_int_equal(start("{'closID': 'gold', 'schemata': ['L3:0=7']}"), 0);
    assert_string_equal(text_of("gold/schemata"), "L3:0=7\n");
    assert_false(plan.steps[0].rdt_group.own);
}

static void the_default_class_is_only_joined(void **state)
{
    (void)state;
    add_files(root, "");
    assert_int_equal(start("{'closID': '/'}"), 0);
    assert_string_equal(text_of("tasks"), "4711");
    assert_int_equal(plan.n, 1);
}

static void a_class_that_differs_is_refused(void **state)
{
    (void)state;
    add_class("gold", "    L3:0=7f;1=0f\n    MB:0= 20;1=100\n");
    assert_int_equal(start("{'closID': 'gold', 'l3CacheSchema': 'L3:1=f;0=07F'}"), 0);
    unit_remove(in_root("gold"));
    add_class("gold", "L3:0=7f;1=0f\n");
    assert_int_equal(start("{'closID': 'gold', 'l3CacheSchema': 'L3:0=3'}"), -EINVAL);
    assert_non_null(strstr(err.text, "schemata differ"));
}

static void schemas_are_compared_by_what_they_mean(void **state)
{
    static const struct {
        const char *wanted, *file;
        bool same;
    } rows[] = {
        { "L3:0=f\n", "L3:0=f\n", true },
        { "L3:0=f\n", "    L3:0=00f;1=3\nMB:0=10\n", true },
        { "L3:0=F", "L3:0=f\n", true },
        { "L3:0=f;1=3\n", "L3:0=f\n", false },
        { "L3:0=f\nMB:0=10\n", "L3:0=f\n", false },
        { "L3:0=f\n", "L3CODE:0=f\n", false },
        { "L3:0=f\n", "", false },
        { "L3:0=f0\n", "L3:0=f\n", false },
        { "L3:00=f\n", "L3:0=f\n", true },
        { "L3", "L3:0=f\n", false },
        { "L3:0", "L3:0=f\n", false },
    };

    (void)state;
    for (size_t i = 0; i < COUNT_OF(rows); i++)
        unit_row(rows[i].wanted, rdt_schema_matches(rows[i].wanted, rows[i].file) == rows[i].same);
}

static void a_monitoring_group_is_made_below_the_class_and_removed(void **state)
{
    struct step remove = { .op = OP_RDT_REMOVE, .rdt_remove = { .made = SLOT_NONE } };
    char empty[UNIT_PATH_SIZE];

    (void)state;
    add_class("gold", "");
    assert_int_equal(mkdir(in_root("gold/mon_groups"), 0755), 0);
    assert_int_equal(start("{'closID': 'gold', 'enableMonitoring': true}"), 0);
    assert_string_equal(text_of("gold/tasks"), "4711");
    assert_string_equal(text_of("gold/mon_groups/ctr/tasks"), "4711");
    assert_true(plan.steps[1].rdt_group.own);
    remove.rdt_remove.path = unit_dir(
        empty); /* rmdir(2) takes resctrl's files along, tmpfs's not */
    assert_int_equal(rdt_step(&remove, &slots, &err), 0);
    assert_int_equal(access(empty, F_OK), -1);
    assert_int_equal(rdt_step(&remove, &slots, &err), 0);
}

static void what_another_process_made_is_not_removed_by_undo(void **state)
{
    struct step remove = { .op = OP_RDT_REMOVE };

    (void)state;
    assert_int_equal(mkdir(in_root("gold"), 0755), 0);
    remove.rdt_remove = (struct op_rdt_remove){ .path = in_root("gold"), .made = 5 };
    assert_int_equal(rdt_step(&remove, &slots, &err), 0);
    assert_int_equal(access(in_root("gold"), F_OK), 0);
    values[5] = 1;
    assert_int_equal(rdt_step(&remove, &slots, &err), 0);
    assert_int_equal(access(in_root("gold"), F_OK), -1);
}

static void the_kernels_reason_is_told(void **state)
{
    (void)state;
    assert_int_equal(mkdir(in_root("info"), 0755), 0);
    assert_int_equal(
        file_replace(in_root("info/last_cmd_status"), "Mask out of range\n", 18, 0644, NULL), 0);
    assert_int_equal(mkdir(in_root("gold"), 0755), 0); /* no file schemata in it */
    assert_int_equal(start("{'closID': 'gold', 'schemata': ['L3:0=fffff']}"), -ENOENT);
    assert_non_null(strstr(err.text, "cannot write 'L3:0=fffff'"));
    assert_non_null(strstr(err.text, "(Mask out of range)"));
}

static void the_mount_is_found_wherever_it_is(void **state)
{
    static const char text[] =
        "22 28 0:20 / /sys rw,nosuid shared:7 - sysfs sysfs rw\n"
        "90 22 0:50 / /sys/fs/resctrl rw,relatime shared:9 - resctrl resctrl "
        "rw\n91 22 0:51 / /mnt rw - tmpfs tmpfs rw\n";

    (void)state;
    assert_string_equal(rdt_find_mount(text, unit_arena()), "/sys/fs/resctrl");
    assert_null(rdt_find_mount("22 28 0:20 / /sys rw - sysfs sysfs rw\n", unit_arena()));
}

int main(void)
{
#define RDT_TEST(name) cmocka_unit_test_setup_teardown(name, set_up, tear_down)
    const struct CMUnitTest tests[] = {
        RDT_TEST(without_resctrl_it_is_refused),
        RDT_TEST(without_intel_rdt_nothing_is_planned),
        RDT_TEST(without_a_class_the_containers_own_is_made_and_joined),
        RDT_TEST(without_a_schema_none_is_written),
        RDT_TEST(schemata_are_written_last),
        RDT_TEST(bandwidth_in_the_l3_schema_gives_way_to_mem_bw_schema),
        RDT_TEST(the_containers_own_class_must_be_new),
        RDT_TEST(a_class_without_a_schema_must_be_there),
        RDT_TEST(a_class_with_a_schema_is_made_when_it_is_missing),
        RDT_TEST(the_default_class_is_only_joined),
        RDT_TEST(a_class_that_differs_is_refused),
        RDT_TEST(schemas_are_compared_by_what_they_mean),
        RDT_TEST(a_monitoring_group_is_made_below_the_class_and_removed),
        RDT_TEST(what_another_process_made_is_not_removed_by_undo),
        RDT_TEST(the_kernels_reason_is_told),
        RDT_TEST(the_mount_is_found_wherever_it_is),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
