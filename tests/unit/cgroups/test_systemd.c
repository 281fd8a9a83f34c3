/* SPDX-License-Identifier: Apache-2.0 */
/* Which unit a cgroupsPath names, what systemd is told of it, and the steps. Pure. */
#include "../unit.h"

#include "cgroups/internal.h"

static void slices_expand_to_the_slices_that_they_lie_in(void **state)
{
    struct arena *a = unit_arena();

    (void)state;
    assert_string_equal(systemd_slice_path("system.slice", a), "/system.slice");
    assert_string_equal(systemd_slice_path("a-b-c.slice", a), "/a.slice/a-b.slice/a-b-c.slice");
    assert_string_equal(systemd_slice_path("-.slice", a), "");
    for (const char *const *bad =
             (const char *const[]){ "a", "a.scope", ".slice", "-a.slice", "a-.slice", "a--b.slice",
                                    "a/b.slice", "a b.slice", NULL };
         *bad; bad++)
        unit_row(*bad, !systemd_slice_path(*bad, a));
}

static void a_cgroups_path_names_slice_prefix_and_name(void **state)
{
    static const struct {
        const char *given;
        bool user;
        const char *name, *slice, *path;
    } rows[] = {
        { NULL, false, "teca-ID.scope", "system.slice", "/system.slice/teca-ID.scope" },
        { "", true, "teca-ID.scope", "user.slice",
          "/user.slice/user-1000.slice/user@1000.service/user.slice/teca-ID.scope" },
        { "kubepods-burstable-podX.slice:cri-containerd:ID", false, "cri-containerd-ID.scope",
          "kubepods-burstable-podX.slice",
          "/kubepods.slice/kubepods-burstable.slice/kubepods-burstable-podX.slice/"
          "cri-containerd-ID.scope" },
        { "system.slice:docker:ID", false, "docker-ID.scope", "system.slice",
          "/system.slice/docker-ID.scope" },
        { ":crio:ID", false, "crio-ID.scope", "system.slice", "/system.slice/crio-ID.scope" },
        { "-:p:n", false, "p-n.scope", "-.slice", "/p-n.scope" },
        { "a.slice::n", false, "n.scope", "a.slice", "/a.slice/n.scope" },
        { "a.slice:p:a-b.slice", false, "a-b.slice", "a.slice", "/a.slice/a-b.slice" },
    };

    (void)state;
    for (size_t i = 0; i < COUNT_OF(rows); i++) {
        struct cgroup_unit u = { .user = rows[i].user, .uid = 1000 };
        const char *name = rows[i].given ? rows[i].given : "none", *path = NULL;

        unit_row(name, systemd_unit_of(rows[i].given, "ID", unit_arena(), &u, &path, NULL) == 0);
        unit_row(name, str_eq(u.name, rows[i].name) && str_eq(u.slice, rows[i].slice));
        unit_row(name, str_eq(path, rows[i].path));
        unit_row(name, u.scope == !strstr(rows[i].name, ".slice"));
    }
}

static void other_forms_are_refused_with_the_text_that_engines_know(void **state)
{
    static const char *const rows[] = { "/a/b",      "a",          "a.slice:b",   "a:b:c:d",
                                        "a:b:c",     "a.slice:b:", "a.slice:/:c", "a.slice:p:n m",
                                        "a..slice:b" };

    (void)state;
    for (size_t i = 0; i < COUNT_OF(rows); i++) {
        struct cgroup_unit u = { 0 };
        struct err e = { 0 };
        const char *path;

        unit_row(rows[i], systemd_unit_of(rows[i], "ID", unit_arena(), &u, &path, &e) < 0);
        unit_row(rows[i], strstr(e.text, "expected cgroupsPath to be of format "
                                         "\"slice:prefix:name\" for systemd cgroups, got \""));
        unit_row(rows[i], str_eq(e.pointer, "/linux/cgroupsPath"));
    }
}

/* All of them in one text, each behind a space. */
static const char *limits_of(const struct spec_resources *r, bool v2, const char **late)
{
    const char *const *list;
    const char *text = "";

    systemd_add_limits(r, v2, unit_arena(), &list, late);
    for (; *list; list++)
        text = arena_format(unit_arena(), "%s %s", text, *list);
    return text;
}

static void files_of_v2_become_properties_too(void **state)
{
    struct spec_pair files[] = {
        { .key = "memory.max", .value = "max" },      { .key = "memory.high", .value = "5000" },
        { .key = "cpu.max", .value = "25001 50000" }, { .key = "cpuset.cpus", .value = "1" },
        { .key = "pids.max", .value = "3" },          { .key = "memory.swap.max", .value = "1M" },
        { .key = "cpu.max.burst", .value = "7" },
    };
    struct spec_resources r = { .memory.limit = { true, 1000 },
                                .pids.limit = { true, 100 },
                                .unified = { files, COUNT_OF(files) } };
    const char *late;

    (void)state;
    assert_string_equal(
        limits_of(&r, true, &late),
        " MemoryMax=t:1000 MemoryMax=t:18446744073709551615 MemoryHigh=t:5000"
        " CPUQuotaPeriodUSec=t:50000 CPUQuotaPerSecUSec=t:510000 AllowedCPUs=ay:02");
    assert_string_equal(late, "TasksMax=t:3");
}

static void an_update_takes_back_what_is_no_longer_asked_for(void **state)
{
    struct spec_throttle disk = { 8, 16, 1000 };
    struct cgroup_unit u = { .name = "a.scope", .user = true };
    struct spec_resources none = { 0 }, now = { .memory.limit = { true, 2000 } };
    struct spec_resources before = { .memory = { .limit = { true, 1000 },
                                                 .reservation = { true, 500 } },
                                     .cpu.cpus = "0",
                                     .pids.limit = { true, 2 },
                                     .block_io.read_bps = { &disk, 1 } };
    const char *const *argv = systemd_set_arguments(&u, &now, &before, true, unit_arena());
    static const char *const expected[] = { "teca-systemd",
                                            "--user",
                                            "set",
                                            "a.scope",
                                            "MemoryMax=t:2000",
                                            "MemoryLow=t:0",
                                            "AllowedCPUs=ay:",
                                            "IOReadBandwidthMax=a(st):",
                                            "TasksMax=t:18446744073709551615" };

    (void)state;
    for (size_t i = 0; i < COUNT_OF(expected); i++)
        assert_string_equal(argv[i], expected[i]);
    assert_null(argv[COUNT_OF(expected)]);
    assert_null(systemd_set_arguments(&u, &none, &none, true, unit_arena()));
}

static void limits_become_properties_by_the_version_of_cgroups(void **state)
{
    struct spec_throttle disk = { 8, 16, 1000 };
    struct spec_resources r = {
        .memory = { .limit = { true, 1000 }, .reservation = { true, 500 }, .swap = { true, 1500 } },
        .cpu = { .shares = { true, 2048 },
                 .quota = { true, 25001 },
                 .period = { true, 100000 },
                 .cpus = "0,9",
                 .mems = "0" },
        .pids = { .limit = { true, 100 } },
        .block_io = { .weight = { true, 1000 }, .read_bps = { &disk, 1 } },
    };
    const char *late;

    (void)state;
    assert_string_equal(limits_of(&r, true, &late),
                        " MemoryMax=t:1000 MemoryLow=t:500 MemorySwapMax=t:500 CPUWeight=t:174"
                        " CPUQuotaPeriodUSec=t:100000 CPUQuotaPerSecUSec=t:260000"
                        " AllowedCPUs=ay:0102 AllowedMemoryNodes=ay:01 IOWeight=t:10000"
                        " IOReadBandwidthMax=a(st):/dev/block/8:16\t1000 TasksMax=t:100");
    assert_null(late);
    assert_string_equal(limits_of(&r, false, &late),
                        " MemoryLimit=t:1000 CPUShares=t:2048 CPUQuotaPeriodUSec=t:100000"
                        " CPUQuotaPerSecUSec=t:260000 BlockIOWeight=t:1000"
                        " BlockIOReadBandwidth=a(st):/dev/block/8:16\t1000 TasksMax=t:100");
}

static void no_limit_is_infinity_and_nothing_is_nothing(void **state)
{
    struct spec_resources r = { .memory = { .limit = { true, -1 } },
                                .cpu = { .quota = { true, -1 }, .idle = { true, 1 } },
                                .pids = { .limit = { true, -1 } } };
    const char *late;

    (void)state;
    assert_string_equal(limits_of(&r, true, &late),
                        " MemoryMax=t:18446744073709551615 MemorySwapMax=t:18446744073709551615"
                        " CPUWeight=t:0 CPUQuotaPerSecUSec=t:18446744073709551615"
                        " TasksMax=t:18446744073709551615");
    r = (struct spec_resources){ .memory = { .limit = { true, 0 } } };
    assert_string_equal(limits_of(&r, true, &late), "");
}

static void a_limit_that_the_helper_would_meet_itself_comes_last(void **state)
{
    struct spec_resources r = { .pids = { .limit = { true, 1 } } };
    const char *late;

    (void)state;
    assert_string_equal(limits_of(&r, true, &late), "");
    assert_string_equal(late, "TasksMax=t:1");
    r.pids.limit.v = 0; /* systemd knows no 0 */
    limits_of(&r, true, &late);
    assert_string_equal(late, "TasksMax=t:1");
}

static struct cgroup_facts facts_of_unit(void)
{
    static struct cgroup_hierarchy v2 = { .v2 = true,
                                          .mountpoint = "/sys/fs/cgroup",
                                          .path = "/sys/fs/cgroup/system.slice/x.scope" };

    return (struct cgroup_facts){
        .v = &v2,
        .n = 1,
        .unified = true,
        .unit = { .name = "x.scope", .slice = "system.slice", .helper = "/h", .scope = true }
    };
}

static const char *argv_text(const struct plan *p)
{
    const char *text = "";

    for (const char *const *arg = p->steps[0].unit_start.argv; *arg; arg++)
        text = arena_format(unit_arena(), "%s%s\n", text, *arg);
    return text;
}

static void annotations_come_behind_tecas_own_properties(void **state)
{
    struct spec_pair notes[] = { { "org.systemd.property.TimeoutStopSec", "uint64 7" },
                                 { "org.systemd.property.Delegate", "false" },
                                 { "org.systemd.property.DefaultDependencies", "true" },
                                 { "other", "x" } };
    struct spec s = { .annotations = { notes, 4 } };
    struct cgroup_facts f = facts_of_unit();
    struct plan p;
    const char *text;

    (void)state;
    plan_init(&p, unit_arena(), "test");
    assert_int_equal(systemd_compile_start(&p, &s, &f, "ID", NULL), 0);
    text = argv_text(&p);
    assert_true(str_starts(text, "teca-systemd\nstart\nx.scope\nDescription=s:teca container ID\n"
                                 "Slice=s:system.slice\nDelegate=b:true\n"));
    assert_non_null(strstr(text, "TimeoutStopUSec=t:7000000\nDelegate=g:false\n"));
    assert_null(strstr(text, "other"));
    for (const char *const *bad = (const char *const[]){ "org.systemd.property.",
                                                         "org.systemd."
                                                         "property.A-b",
                                                         "org.systemd.property.xSec", NULL };
         *bad; bad++) {
        struct err e = { 0 };

        notes[0] = (struct spec_pair){ *bad, "soon" };
        plan_init(&p, unit_arena(), "test");
        unit_row(*bad, systemd_compile_start(&p, &s, &f, "ID", &e) < 0 && e.text[0]);
    }
}

static void a_subgroup_is_one_name_below_the_unit(void **state)
{
    static const char *const refused[] = { "/", "a/b", ".", "..", "../c" };
    struct spec_pair note = { "run.oci.systemd.subgroup", "payload" };
    struct spec s = { .annotations = { &note, 1 } };
    struct cgroup_facts f = facts_of_unit();
    const char *path = "/u.scope";
    struct err e = { 0 };
    struct plan p;

    (void)state;
    assert_int_equal(systemd_add_subgroup(&s, unit_arena(), &path, &e), 0);
    assert_string_equal(path, "/u.scope/payload");
    for (size_t i = 0; i < 3; i++) { /* only on v2, and only a scope begins with a process */
        f.unit.scope = i != 1;
        f.unified = i != 2;
        plan_init(&p, unit_arena(), "test");
        assert_int_equal(systemd_compile_start(&p, &s, &f, "ID", NULL), 0);
        assert_int_equal(strstr(argv_text(&p), "\nin:") != NULL, i == 0);
    }
    note.value = "";
    path = "/u.scope";
    assert_int_equal(systemd_add_subgroup(&s, unit_arena(), &path, &e), 0);
    assert_string_equal(path, "/u.scope");
    for (size_t i = 0; i < COUNT_OF(refused); i++) {
        note.value = refused[i];
        unit_row(refused[i], systemd_add_subgroup(&s, unit_arena(), &path, &e) < 0 &&
                                 strstr(e.text, "run.oci.systemd.subgroup"));
        assert_string_equal(path, "/u.scope");
    }
}

static void the_unit_stands_before_its_cgroup_is_opened_and_is_left_when_init_is_in_it(void **state)
{
    struct spec s = { 0 };
    struct cgroup_facts f = facts_of_unit();
    struct plan p;
    int slot;

    (void)state;
    plan_init(&p, unit_arena(), "test");
    assert_int_equal(systemd_compile_start(&p, &s, &f, "ID", NULL), 0);
    assert_int_equal(cgroup_compile_make(&p, &s, &f, &slot, NULL), 0);
    systemd_compile_release(&p);
    assert_int_equal(p.n, 4);
    assert_int_equal(p.steps[0].op, OP_UNIT_START);
    assert_true(p.steps[1].op == OP_CGROUP_MAKE && p.steps[1].cgroup_make.unit);
    assert_int_equal(p.steps[2].op, OP_CGROUP_OPEN);
    assert_true(p.steps[3].op == OP_UNIT_RELEASE &&
                p.steps[3].unit_release.hold == p.steps[0].unit_start.out_hold);
    plan_init(&p, unit_arena(), "test"); /* cgroups that are not systemd's */
    f.unit = (struct cgroup_unit){ 0 };
    assert_int_equal(systemd_compile_start(&p, &s, &f, "ID", NULL), 0);
    systemd_compile_release(&p);
    systemd_compile_stop(&p, &f.unit);
    assert_int_equal(p.n, 0);
}

/* ---- the helper, played by a script -------------------------------------------------------------- */

static int play(const char *script, struct err *e)
{
    char dir[UNIT_PATH_SIZE];
    const char *path = arena_format(unit_arena(), "%s/helper", unit_dir(dir));
    const char *const argv[] = { "teca-systemd", "start", "x.scope", NULL };
    int values[3] = { -1, -1, -1 }, r;
    struct slots slots = { values, 3 };
    struct step start = { .op = OP_UNIT_START,
                          .unit_start = { .helper = path,
                                          .unit = "x.scope",
                                          .argv = argv,
                                          .out_hold = 0,
                                          .out_answer = 1,
                                          .out_pid = 2 } };
    struct step release = { .op = OP_UNIT_RELEASE,
                            .unit_release = {
                                .unit = "x.scope", .hold = 0, .answer = 1, .pid = 2 } };

    *e = (struct err){ 0 };
    script = arena_format(unit_arena(), "#!/bin/sh\n%s\n", script);
    assert_int_equal(file_replace(path, script, strlen(script), 0755, NULL), 0);
    r = unit_step(&start, &slots, e);
    if (r == 0)
        r = unit_step(&release, &slots, e);
    assert_int_equal(waitpid(-1, NULL, WNOHANG), -1); /* no child is left */
    unit_remove(dir);
    return r;
}

static void the_helper_answers_stays_and_leaves(void **state)
{
    struct err e;

    (void)state;
    assert_int_equal(play("echo ok; head -c 1 >/dev/null", &e), 0);
    assert_int_equal(play("echo systemd does not start $2: no", &e), -EINVAL);
    assert_string_equal(e.text, "systemd does not start x.scope: no");
    assert_int_equal(play("exit 0", &e), -EINVAL);
    assert_non_null(strstr(e.text, "ended without an answer for x.scope"));
    assert_int_equal(play("echo ok; head -c 1 >/dev/null; echo systemd does not change it", &e),
                     -EINVAL);
    assert_string_equal(e.text, "systemd does not change it");
}

static void a_helper_that_is_not_there_is_named(void **state)
{
    struct step stop = { .op = OP_UNIT_STOP,
                         .unit_stop = { .helper = "/no/helper", .unit = "x.scope" } };
    struct err e = { 0 };

    (void)state;
#ifdef __aarch64__
    unit_skip("qemu-user 7.2 tells no failed execve(2) of a child");
#endif
    assert_int_equal(unit_step(&stop, NULL, &e), -ENOENT);
    assert_non_null(strstr(e.text, "cannot run the helper '/no/helper', which speaks to systemd"));
}

static int gone(void **state)
{
    (void)state;
    arena_release(unit_arena());
    return 0;
}
#define CASE(f) cmocka_unit_test_teardown(f, gone)

int main(void)
{
    const struct CMUnitTest tests[] = {
        CASE(slices_expand_to_the_slices_that_they_lie_in),
        CASE(a_cgroups_path_names_slice_prefix_and_name),
        CASE(other_forms_are_refused_with_the_text_that_engines_know),
        CASE(limits_become_properties_by_the_version_of_cgroups),
        CASE(files_of_v2_become_properties_too),
        CASE(an_update_takes_back_what_is_no_longer_asked_for),
        CASE(no_limit_is_infinity_and_nothing_is_nothing),
        CASE(a_limit_that_the_helper_would_meet_itself_comes_last),
        CASE(annotations_come_behind_tecas_own_properties),
        CASE(a_subgroup_is_one_name_below_the_unit),
        CASE(the_unit_stands_before_its_cgroup_is_opened_and_is_left_when_init_is_in_it),
        CASE(the_helper_answers_stays_and_leaves),
        CASE(a_helper_that_is_not_there_is_named),
    };

    return cmocka_run_group_tests_name("systemd", tests, NULL, NULL);
}
