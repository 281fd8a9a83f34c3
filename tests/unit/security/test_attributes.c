/* SPDX-License-Identifier: Apache-2.0 */
/* Scheduler, I/O priority, affinity, memory policy, personality, labels: plan, facts, refusals. */
#include "minimal.h"

#include <sys/syscall.h>

#include "security/internal.h"

enum { PID = 3 };

static struct plan plan;
static struct err err;

static const struct sec_facts all_cpus = { .cpus = "0-1" };

static int tear_down(void **state)
{
    (void)state;
    err = (struct err){ 0 };
    arena_release(unit_arena());
    return 0;
}

static int compile(const char *patch, const struct sec_facts *f, bool user_ns, const char *cpuset)
{
    const struct sec_place place = { .user_ns = user_ns, .pid_slot = PID, .cpuset = cpuset };

    plan_init(&plan, unit_arena(), "run");
    plan_add(&plan, OP_CLONE, LANE_RUNTIME, "");
    plan_add(&plan, OP_SETSID, LANE_INIT, "");
    return sec_compile_attributes(&plan, minimal_spec(unit_arena(), patch), f, &place, &err);
}

#define ALL                                                                       \
    "{'process': {'scheduler': {'policy': 'SCHED_RR', 'priority': 4, 'nice': -3," \
    " 'flags': ['SCHED_FLAG_RESET_ON_FORK', 'SCHED_FLAG_UTIL_CLAMP_MAX']},"       \
    " 'ioPriority': {'class': 'IOPRIO_CLASS_RT', 'priority': 2}},"                \
    " 'linux': {'memoryPolicy': {'mode': 'MPOL_BIND', 'nodes': '0,65-66'},"       \
    " 'personality': {'domain': 'LINUX32'}}}"

static void what_is_not_asked_for_is_not_planned(void **state)
{
    (void)state;
    assert_int_equal(compile(NULL, &all_cpus, false, "0-1"), 0);
    assert_int_equal(plan.n, 2);
}

static void init_does_it_all_itself_with_the_hosts_capabilities(void **state)
{
    (void)state;
    assert_int_equal(compile(ALL, &all_cpus, false, "0-1"), 0);
    assert_int_equal(plan.n, 6);
    for (size_t i = 2; i < plan.n; i++) {
        assert_int_equal(plan.steps[i].lane, LANE_INIT);
        assert_int_equal(plan.steps[i].after, -1);
    }
    assert_int_equal(plan.steps[plan_find(&plan, OP_SCHEDULER, 0)].scheduler.pid, SLOT_NONE);
}

static void the_runtime_does_what_a_user_namespace_cannot_behind_inits_joins(void **state)
{
    static const enum plan_op outside[] = { OP_SCHEDULER, OP_IO_PRIORITY };
    static const enum plan_op inside[] = { OP_MEMORY_POLICY, OP_PERSONALITY };

    (void)state;
    assert_int_equal(compile(ALL, &all_cpus, true, "0-1"), 0);
    for (size_t i = 0; i < COUNT_OF(outside); i++) {
        const struct step *st = &plan.steps[plan_find(&plan, outside[i], 0)];

        assert_int_equal(st->lane, LANE_RUNTIME);
        assert_true(st->after >= 1);
        assert_int_equal(plan.steps[st->after].lane, LANE_INIT);
    }
    assert_int_equal(plan.steps[plan_find(&plan, OP_SCHEDULER, 0)].scheduler.pid, PID);
    assert_int_equal(plan.steps[plan_find(&plan, OP_IO_PRIORITY, 0)].io_priority.pid, PID);
    for (size_t i = 0; i < COUNT_OF(inside); i++)
        assert_int_equal(plan.steps[plan_find(&plan, inside[i], 0)].lane, LANE_INIT);
}

static void the_scheduler_keeps_every_number(void **state)
{
    const struct op_scheduler *op;

    (void)state;
    assert_int_equal(compile(ALL, &all_cpus, false, NULL), 0);
    op = &plan.steps[plan_find(&plan, OP_SCHEDULER, 0)].scheduler;
    assert_string_equal(op->policy, "SCHED_RR");
    assert_int_equal(op->priority, 4);
    assert_int_equal(op->nice, -3);
    assert_int_equal(op->flags, SCHED_FLAG_RESET_ON_FORK | SCHED_FLAG_UTIL_CLAMP_MAX);
    assert_int_equal(compile("{'process': {'scheduler': {'policy': 'SCHED_DEADLINE', 'runtime': 1,"
                             " 'deadline': 2, 'period': 18446744073709551615}}}",
                             &all_cpus, false, NULL),
                     0);
    op = &plan.steps[plan_find(&plan, OP_SCHEDULER, 0)].scheduler;
    assert_int_equal(op->runtime, 1);
    assert_int_equal(op->deadline, 2);
    assert_true(op->period == UINT64_MAX);
}

static void the_affinity_is_reset_only_when_the_caller_kept_cpus_back(void **state)
{
    static const struct {
        const char *own, *cpuset;
        bool reset;
    } rows[] = {
        { "0-7", "0-7", false }, { "0-3", "0-7", true }, { "2", "0-7", true },
        { "2-3", "2-3", false }, { "0-7", NULL, false }, { "0", NULL, false },
        { "3", NULL, true },     { "1-7", NULL, true },  { "0,2-7", NULL, true },
        { NULL, "0-7", false },
    };

    (void)state;
    for (size_t i = 0; i < COUNT_OF(rows); i++) {
        struct sec_facts f = { .cpus = rows[i].own };

        assert_int_equal(compile(NULL, &f, false, rows[i].cpuset), 0);
        unit_row(rows[i].own ? rows[i].own : "unknown", (plan.n == 3) == rows[i].reset);
    }
}

static void deadline_comes_behind_the_affinity(void **state)
{
    struct sec_facts pinned = { .cpus = "1" };

    (void)state;
    assert_int_equal(compile(ALL, &pinned, false, "0-1"), 0);
    assert_true(plan_find(&plan, OP_AFFINITY, 0) < plan_find(&plan, OP_SCHEDULER, 0));
}

static void nodes_become_bits(void **state)
{
    static const struct {
        const char *list;
        unsigned long first, second;
    } good[] = {
        { "0", 1, 0 },
        { "0-3", 15, 0 },
        { "63-64", 1UL << 63, 1 },
        { "1,3,66", 10, 4 },
    };
    static const char *const bad[] = { "",     "a",      "1-",          "-1",  "3-1", "1,",
                                       "1024", "0-1024", "99999999999", "1 2", "1;2" };

    (void)state;
    for (size_t i = 0; i < COUNT_OF(good); i++) {
        unsigned long mask[16] = { 0 };

        unit_row(good[i].list, sec_parse_nodes(good[i].list, mask));
        unit_row(good[i].list, mask[0] == good[i].first && mask[1] == good[i].second);
    }
    for (size_t i = 0; i < COUNT_OF(bad); i++) {
        unsigned long mask[16] = { 0 };

        unit_row(bad[i], !sec_parse_nodes(bad[i], mask));
    }
}

static void nodes_that_are_no_list_are_refused(void **state)
{
    (void)state;
    assert_true(compile("{'linux': {'memoryPolicy': {'mode': 'MPOL_BIND', 'nodes': '0-2048'}}}",
                        &all_cpus, false, NULL) < 0);
    assert_string_equal(err.pointer, "/linux/memoryPolicy/nodes");
}

/* ---- labels -------------------------------------------------------------------------------- */

static int labels(const char *patch, bool apparmor, bool selinux)
{
    struct sec_facts f = { .apparmor = apparmor, .selinux = selinux };

    err = (struct err){ 0 };
    plan_init(&plan, unit_arena(), "run");
    return sec_compile_labels(&plan, minimal_spec(unit_arena(), patch), &f, LANE_INIT, &err);
}

static void labels_are_refused_where_their_module_is_absent(void **state)
{
    static const struct {
        const char *pointer, *patch, *module;
    } rows[] = {
        { "/process/apparmorProfile", "{'process': {'apparmorProfile': 'p'}}", "AppArmor" },
        { "/process/selinuxLabel", "{'process': {'selinuxLabel': 'l'}}", "SELinux" },
        { "/linux/mountLabel", "{'linux': {'mountLabel': 'm'}}", "SELinux" },
    };

    (void)state;
    for (size_t i = 0; i < COUNT_OF(rows); i++) {
        bool apparmor = str_eq(rows[i].module, "AppArmor");

        unit_row(rows[i].pointer, labels(rows[i].patch, !apparmor, apparmor) < 0);
        unit_row(rows[i].pointer, str_eq(err.pointer, rows[i].pointer));
        unit_row(rows[i].pointer, str_starts(err.text, rows[i].module));
        unit_row(rows[i].pointer, labels(rows[i].patch, apparmor, !apparmor) == 0);
    }
}

static void labels_go_to_the_files_of_their_modules(void **state)
{
    (void)state;
    assert_int_equal(
        labels("{'process': {'apparmorProfile': 'docker-default', 'selinuxLabel': 'u:r:t:s0'}}",
               true, true),
        0);
    assert_int_equal(plan.n, 3);
    assert_string_equal(plan.steps[0].exec_label.file, "exec");
    assert_string_equal(plan.steps[0].exec_label.label, "u:r:t:s0");
    assert_string_equal(plan.steps[1].exec_label.file, "keycreate");
    assert_string_equal(plan.steps[1].exec_label.label, "u:r:t:s0");
    assert_string_equal(plan.steps[2].exec_label.file, "apparmor/exec");
    assert_string_equal(plan.steps[2].exec_label.label, "exec docker-default");
}

static void without_labels_nothing_is_planned(void **state)
{
    (void)state;
    assert_int_equal(labels(NULL, false, false), 0);
    assert_int_equal(plan.n, 0);
}

/* ---- facts and steps ----------------------------------------------------------------------- */

static void the_facts_are_read_as_they_were_written(void **state)
{
    struct sec_facts f = { .cpus = "0,2-3", .apparmor = true, .selinux = true, .last_cap = 40 };
    struct json_out *j = json_out_new(false);
    struct sec_facts again;
    struct json *doc;
    const char *text;
    size_t len;

    (void)state;
    json_open_object(j, NULL);
    sec_facts_write(&f, j, "security");
    json_close_object(j);
    text = json_out_text(j, &len);
    assert_int_equal(json_parse(unit_arena(), text, len, "facts", &doc, &err), 0);
    assert_int_equal(sec_facts_read(json_get(doc, "security"), unit_arena(), &again, &err), 0);
    assert_string_equal(again.cpus, "0,2-3");
    assert_true(again.apparmor && again.selinux);
    json_out_free(j);
}

static void the_own_cpus_are_a_fact(void **state)
{
    struct sec_facts f = { 0 };
    char *status;

    (void)state;
    assert_int_equal(
        file_read(unit_arena(), AT_FDCWD, "/proc/self/status", 1 << 20, &status, NULL, &err), 0);
    assert_int_equal(sec_gather(minimal_spec(unit_arena(), NULL), status, unit_arena(), &f, &err),
                     0);
    assert_non_null(f.cpus);
    assert_true(f.cpus[0] >= '0' && f.cpus[0] <= '9');
    assert_null(strchr(f.cpus, '\n'));
}

static int in_child(const struct step *st, int (*look)(void))
{
    int status;
    pid_t pid = fork();

    if (pid == 0) {
        struct err e = { 0 };

        if (sec_step(st, NULL, &e) < 0) {
            dprintf(2, "%s\n", e.text);
            _exit(99);
        }
        _exit(look());
    }
    assert_int_equal(waitpid(pid, &status, 0), pid);
    return WIFEXITED(status) ? WEXITSTATUS(status) : -1;
}

static int policy_of(void)
{
    return (int)syscall(SYS_sched_getscheduler, 0);
}

static int io_priority_of(void)
{
    return (int)(syscall(SYS_ioprio_get, 1, 0) >> 13);
}

static void scheduler_and_io_priority_reach_the_kernel(void **state)
{
    struct step scheduler = {
        .op = OP_SCHEDULER, .scheduler = { .policy = "SCHED_BATCH", .nice = 1, .pid = SLOT_NONE }
    };
    struct step io = { .op = OP_IO_PRIORITY,
                       .io_priority = { .io_class = "IOPRIO_CLASS_IDLE", .pid = SLOT_NONE } };

    (void)state;
    if (!unit_has_clone3())
        unit_skip("qemu-user 7.2 passes no sched_setattr(2) on");
    assert_int_equal(in_child(&scheduler, policy_of), SCHED_BATCH);
    assert_int_equal(in_child(&io, io_priority_of), 3);
}

static void a_label_that_no_module_takes_is_told_with_the_file(void **state)
{
    struct step st = { .op = OP_EXEC_LABEL,
                       .exec_label = { .file = "nonsense/exec", .label = "exec x" } };

    (void)state;
    assert_true(sec_step(&st, NULL, &err) < 0);
    assert_non_null(strstr(err.text, "/proc/thread-self/attr/nonsense/exec"));
}

int main(void)
{
#define A_TEST(name) cmocka_unit_test_teardown(name, tear_down)
    const struct CMUnitTest tests[] = {
        A_TEST(what_is_not_asked_for_is_not_planned),
        A_TEST(init_does_it_all_itself_with_the_hosts_capabilities),
        A_TEST(the_runtime_does_what_a_user_namespace_cannot_behind_inits_joins),
        A_TEST(the_scheduler_keeps_every_number),
        A_TEST(the_affinity_is_reset_only_when_the_caller_kept_cpus_back),
        A_TEST(deadline_comes_behind_the_affinity),
        A_TEST(nodes_become_bits),
        A_TEST(nodes_that_are_no_list_are_refused),
        A_TEST(labels_are_refused_where_their_module_is_absent),
        A_TEST(labels_go_to_the_files_of_their_modules),
        A_TEST(without_labels_nothing_is_planned),
        A_TEST(the_facts_are_read_as_they_were_written),
        A_TEST(the_own_cpus_are_a_fact),
        A_TEST(scheduler_and_io_priority_reach_the_kernel),
        A_TEST(a_label_that_no_module_takes_is_told_with_the_file),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
