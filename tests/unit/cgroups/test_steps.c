/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The steps on this machine's own hierarchies, in cgroups of this test; and on plain directories
 * what needs no cgroup.
 */
#include "minimal.h"

#include <limits.h>
#include <signal.h>
#include <time.h>

#include "cgroups/internal.h"

enum { SLOT, SLOTS };

static int values[SLOTS];
static struct slots slots = { values, SLOTS };

static int run(struct step st, struct err *e)
{
    memset(e, 0, sizeof *e);
    return cgroup_step(&st, &slots, e);
}

static struct step make_step(const char *path, bool leaf)
{
    return (struct step){ .op = OP_CGROUP_MAKE, .cgroup_make = { .path = path, .leaf = leaf } };
}

static struct step remove_step(const char *path, bool leaf)
{
    return (struct step){ .op = OP_CGROUP_REMOVE, .cgroup_remove = { .path = path, .leaf = leaf } };
}

/* ---- hierarchies of this machine ------------------------------------------------------------- */

static struct cgroup_facts here(void)
{
    static int tests;
    struct spec *s = minimal_spec(unit_arena(), arena_format(unit_arena(),
                                                             "{'linux': {'cgroupsPath': "
                                                             "'/teca-unit-%d-%d'}}",
                                                             getpid(), tests++));
    struct cgroup_facts f;
    struct err e = { 0 };
    char *mountinfo, *status;

    if (file_read(unit_arena(), AT_FDCWD, "/proc/self/mountinfo", 1 << 24, &mountinfo, NULL, &e) <
            0 ||
        file_read(unit_arena(), AT_FDCWD, "/proc/self/status", 1 << 20, &status, NULL, &e) < 0 ||
        cgroup_gather(s,
                      &(struct cgroup_query){ .id = "x", .mountinfo = mountinfo, .status = status },
                      unit_arena(), &f, &e) < 0)
        fail_msg("%s", e.text);
    return f;
}

/* Calls fn with a fresh cgroup in each hierarchy of this machine in turn. */
static void in_each_hierarchy(void (*fn)(const struct cgroup_hierarchy *h))
{
    struct cgroup_facts f = here();
    size_t usable = 0;

    for (size_t i = 0; i < f.n; i++) {
        struct step make = make_step(f.v[i].path, true);
        struct err e;

        make.cgroup_make.cpus = f.v[i].cpus;
        make.cgroup_make.mems = f.v[i].mems;
        if (access(f.v[i].mountpoint, W_OK) < 0 || run(make, &e) < 0)
            continue;
        usable++;
        fn(&f.v[i]);
        if (run(remove_step(f.v[i].path, true), &e) < 0)
            fail_msg("%s", e.text);
        assert_true(access(f.v[i].path, F_OK) < 0);
    }
    if (usable == 0)
        unit_skip("needs root and a writable cgroup hierarchy");
}

static const char *below(const struct cgroup_hierarchy *h, const char *name)
{
    return arena_format(unit_arena(), "%s/%s", h->path, name);
}

/* A child that waits to be killed, in a cgroup. */
static pid_t start_sleeper(const char *cgroup)
{
    const char *procs = arena_format(unit_arena(), "%s/cgroup.procs", cgroup);
    int ready[2];
    char byte = 0;
    pid_t pid;

    assert_int_equal(pipe(ready), 0);
    pid = fork();
    if (pid == 0) {
        if (file_write_once(AT_FDCWD, procs, "0", 1) == 0)
            byte = 1;
        if (write(ready[1], &byte, 1) == 1)
            pause();
        _exit(0);
    }
    assert_int_equal(read(ready[0], &byte, 1), 1);
    close(ready[0]);
    close(ready[1]);
    assert_int_equal(byte, 1);
    return pid;
}

static void assert_killed(pid_t pid)
{
    int status;

    assert_int_equal(waitpid(pid, &status, 0), pid);
    assert_true(WIFSIGNALED(status) && WTERMSIG(status) == SIGKILL);
}

/* A grandchild would need values in each cpuset on the way. */
static bool can_nest(const struct cgroup_hierarchy *h)
{
    return !h->cpuset;
}

static void check_join(const struct cgroup_hierarchy *h)
{
    struct step join = { .op = OP_CGROUP_JOIN, .cgroup_join = { .path = h->path } };
    int status;
    pid_t pid;

    if (h->v2) /* entered by the clone */
        return;
    pid = fork();
    if (pid == 0) {
        struct err e;
        int dir, n;

        if (run(join, &e) < 0)
            _exit(1);
        dir = open(h->path, O_RDONLY | O_DIRECTORY);
        n = cgroup_each_process(dir, NULL, NULL);
        _exit(n == 1 ? 0 : 2);
    }
    assert_int_equal(waitpid(pid, &status, 0), pid);
    unit_row(h->path, WIFEXITED(status) && WEXITSTATUS(status) == 0);
}

static void a_process_moves_itself_into_every_v1_cgroup(void **state)
{
    (void)state;
    in_each_hierarchy(check_join);
}

static void check_leftovers(const struct cgroup_hierarchy *h)
{
    static const char *const nested[] = { "a", "a/b", "a/b/c", "x" };
    pid_t pids[3];
    struct err e;

    if (!can_nest(h))
        return;
    for (size_t i = 0; i < COUNT_OF(nested); i++)
        assert_int_equal(mkdir(below(h, nested[i]), 0755), 0);
    pids[0] = start_sleeper(below(h, "a/b"));
    pids[1] = start_sleeper(below(h, "a/b/c"));
    pids[2] = start_sleeper(below(h, "x"));
    if (run(remove_step(h->path, true), &e) < 0)
        fail_msg("%s", e.text);
    for (int i = 0; i < 3; i++)
        assert_killed(pids[i]);
    assert_true(access(h->path, F_OK) < 0);
}

static void what_the_container_left_is_killed_and_removed(void **state)
{
    (void)state;
    in_each_hierarchy(check_leftovers);
}

static void check_kill(const struct cgroup_hierarchy *h)
{
    pid_t one, two;
    struct err e = { 0 };

    if (!can_nest(h))
        return;
    assert_int_equal(mkdir(below(h, "sub"), 0755), 0);
    one = start_sleeper(h->path);
    two = start_sleeper(below(h, "sub"));
    if (cgroup_kill(h->path, h->v2, &e) < 0)
        fail_msg("%s", e.text);
    assert_killed(one);
    assert_killed(two);
}

static void kill_reaches_the_whole_tree(void **state)
{
    struct err e = { 0 };

    (void)state;
    in_each_hierarchy(check_kill);
    assert_int_equal(cgroup_kill("/sys/fs/cgroup/no/such", true, &e), 0);
    assert_int_equal(cgroup_kill("/sys/fs/cgroup/no/such", false, &e), 0);
}

static void check_frozen_kill(const struct cgroup_hierarchy *h)
{
    pid_t pid;
    struct err e;

    if (!str_eq(h->controllers, "freezer"))
        return;
    pid = start_sleeper(h->path);
    assert_int_equal(file_write_once(AT_FDCWD, below(h, "freezer.state"), "FROZEN", 6), 0);
    assert_int_equal(run(remove_step(h->path, true), &e), 0);
    assert_killed(pid);
}

static void a_frozen_process_is_thawed_to_die(void **state)
{
    (void)state;
    in_each_hierarchy(check_frozen_kill);
}

static void check_thaw(const struct cgroup_hierarchy *h)
{
    struct step thaw = { .op = OP_CGROUP_THAW, .cgroup_thaw = { .path = h->path, .init = SLOT } };
    pid_t pid;
    struct err e;

    values[SLOT] = 1;
    assert_int_equal(run(thaw, &e), 0); /* also where there is nothing to thaw */
    if (!str_eq(h->controllers, "freezer"))
        return;
    assert_int_equal(mkdir(below(h, "a"), 0755), 0);
    assert_int_equal(mkdir(below(h, "a/b"), 0755), 0);
    pid = start_sleeper(below(h, "a/b"));
    assert_int_equal(file_write_once(AT_FDCWD, below(h, "freezer.state"), "FROZEN", 6), 0);
    assert_int_equal(file_write_once(AT_FDCWD, below(h, "a/b/freezer.state"), "FROZEN", 6), 0);
    assert_int_equal(kill(pid, SIGKILL), 0);
    values[SLOT] = -1; /* init is dead, so is what it was the init of */
    assert_int_equal(run(thaw, &e), 0);
    usleep(20000);
    assert_int_equal(waitpid(pid, NULL, WNOHANG), 0);
    values[SLOT] = 1;
    assert_int_equal(run(thaw, &e), 0);
    assert_killed(pid);
}

static void what_is_frozen_further_down_is_thawed(void **state)
{
    struct step thaw = { .op = OP_CGROUP_THAW,
                         .cgroup_thaw = { .path = "/sys/fs/cgroup/no/such", .init = SLOT } };
    struct err e;

    (void)state;
    in_each_hierarchy(check_thaw);
    values[SLOT] = 1;
    assert_int_equal(run(thaw, &e), 0);
    values[SLOT] = -1;
}

static void check_unused(const struct cgroup_hierarchy *h)
{
    struct step again = make_step(h->path, true), parent = make_step(h->path, false);
    pid_t pid;
    struct err e;

    assert_int_equal(run(again, &e), 0); /* an empty one will do */
    pid = start_sleeper(h->path);
    assert_int_equal(run(again, &e), -EBUSY);
    assert_non_null(strstr(e.text, "container's cgroup is not empty: 1 process(es) found"));
    assert_int_equal(run(parent, &e), 0);
    /* What is no leaf is left to whoever uses it. */
    assert_int_equal(run(remove_step(h->path, false), &e), 0);
    assert_int_equal(kill(pid, 0), 0);
    assert_int_equal(kill(pid, SIGKILL), 0);
    assert_killed(pid);
    if (str_eq(h->controllers, "freezer")) {
        assert_int_equal(file_write_once(AT_FDCWD, below(h, "freezer.state"), "FROZEN", 6), 0);
        assert_int_equal(run(again, &e), -EBUSY);
        assert_non_null(strstr(e.text, "container's cgroup unexpectedly frozen"));
    }
}

static void a_cgroup_in_use_is_not_taken(void **state)
{
    (void)state;
    in_each_hierarchy(check_unused);
}

static void check_populated_below(const struct cgroup_hierarchy *h)
{
    pid_t pid;
    struct err e;

    if (!h->v2)
        return;
    assert_int_equal(mkdir(below(h, "sub"), 0755), 0);
    pid = start_sleeper(below(h, "sub"));
    assert_int_equal(run(make_step(h->path, true), &e), -EBUSY);
    assert_non_null(strstr(e.text, "not empty: processes found below"));
    assert_int_equal(kill(pid, SIGKILL), 0);
    assert_killed(pid);
}

static void processes_further_down_count_in_v2(void **state)
{
    (void)state;
    in_each_hierarchy(check_populated_below);
}

static void check_depth(const struct cgroup_hierarchy *h)
{
    enum { DEPTH = 300 };
    int at;

    if (!str_starts(h->controllers, "name=")) /* one that costs no memory */
        return;
    at = open(h->path, O_RDONLY | O_DIRECTORY);
    for (int i = 0; i < DEPTH; i++) {
        int next;

        assert_int_equal(mkdirat(at, "deeper", 0755), 0);
        next = openat(at, "deeper", O_RDONLY | O_DIRECTORY);
        close(at);
        at = next;
    }
    close(at);
}

static void a_bottomless_tree_is_removed_too(void **state)
{
    (void)state;
    in_each_hierarchy(check_depth); /* which removes it */
}

/* ---- plain directories ----------------------------------------------------------------------- */

static void absent_is_removed(void **state)
{
    struct err e;

    (void)state;
    assert_int_equal(run(remove_step("/sys/fs/cgroup/no/such", true), &e), 0);
    assert_int_equal(run(remove_step("/sys/fs/cgroup/no/such", false), &e), 0);
}

static void what_cannot_be_made_is_named(void **state)
{
    struct step open_step = { .op = OP_CGROUP_OPEN,
                              .cgroup_open = { .path = "/no/such", .out = SLOT } };
    struct step join = { .op = OP_CGROUP_JOIN, .cgroup_join = { .path = "/no/such" } };
    char dir[UNIT_PATH_SIZE];
    struct err e;

    (void)state;
    assert_int_equal(run(make_step("/no/such/cgroup", true), &e), -ENOENT);
    assert_string_equal(e.text, "cannot make the cgroup '/no/such/cgroup': No such file or "
                                "directory");
    assert_int_equal(run(open_step, &e), -ENOENT);
    assert_int_equal(run(join, &e), -ENOENT);
    assert_string_equal(e.text, "cannot open '/no/such/tasks': No such file or directory");
    assert_int_equal(run((struct step){ .op = OP_SETSID }, &e), -ENOSYS);
    unit_dir(dir);
    open_step.cgroup_open.path = dir;
    assert_int_equal(run(open_step, &e), 0);
    assert_true(fcntl(values[SLOT], F_GETFD) & FD_CLOEXEC);
    close(values[SLOT]);
    /* No cgroup.procs: not a cgroup, so it is no container's. */
    assert_int_equal(run(make_step(dir, true), &e), -ENOENT);
    unit_remove(dir);
}

static void write_value(const char *dir, const char *name, const char *text)
{
    int fd = open(arena_format(unit_arena(), "%s/%s", dir, name), O_WRONLY | O_CREAT | O_TRUNC,
                  0644);

    assert_true(fd >= 0);
    assert_int_equal(write(fd, text, strlen(text)), strlen(text));
    close(fd);
}

static bool holds(const char *dir, const char *name, const char *text)
{
    char *now;

    return file_read(unit_arena(), AT_FDCWD, arena_format(unit_arena(), "%s/%s", dir, name), 99,
                     &now, NULL, NULL) >= 0 &&
           str_eq(now, text);
}

static void an_existing_cpuset_gets_only_what_it_lacks(void **state)
{
    char dir[UNIT_PATH_SIZE];
    struct step steps[] = { make_step(dir, false),
                            { .op = OP_CGROUP_FILL, .cgroup_fill = { .path = dir } } };
    struct err e;

    (void)state;
    unit_dir(dir);
    steps[0].cgroup_make.cpus = steps[1].cgroup_fill.cpus = "0-1";
    steps[0].cgroup_make.mems = steps[1].cgroup_fill.mems = "0";
    assert_int_equal(run(steps[1], &e), -ENOENT);
    assert_non_null(strstr(e.text, "cannot read 'cpuset.cpus' of the cgroup '"));
    for (size_t i = 0; i < COUNT_OF(steps); i++) {
        write_value(dir, "cpuset.cpus", "\n");
        write_value(dir, "cpuset.mems", "3\n");
        unit_row(plan_op_name(steps[i].op), run(steps[i], &e) == 0);
        unit_row(plan_op_name(steps[i].op), holds(dir, "cpuset.cpus", "0-1"));
        unit_row(plan_op_name(steps[i].op), holds(dir, "cpuset.mems", "3\n"));
        write_value(dir, "cpuset.cpus", "2\n");
        write_value(dir, "cpuset.mems", "\n");
        unit_row(plan_op_name(steps[i].op), run(steps[i], &e) == 0);
        unit_row(plan_op_name(steps[i].op), holds(dir, "cpuset.cpus", "2\n"));
        unit_row(plan_op_name(steps[i].op), holds(dir, "cpuset.mems", "0"));
    }
    steps[1].cgroup_fill.cpus = NULL; /* it had CPUs, says the plan */
    write_value(dir, "cpuset.cpus", "\n");
    assert_int_equal(run(steps[1], &e), 0);
    assert_true(holds(dir, "cpuset.cpus", "\n"));
    steps[1].cgroup_fill.path = "/no/such";
    assert_int_equal(run(steps[1], &e), -ENOENT);
    unit_remove(dir);
}

/* A directory without cpuset.cpus stands for a cpuset that refuses what is written to it. */
static void a_cpuset_that_cannot_be_filled_is_not_left_behind(void **state)
{
    char dir[UNIT_PATH_SIZE];
    struct step make;
    struct err e;

    (void)state;
    unit_dir(dir);
    make = make_step(arena_format(unit_arena(), "%s/new", dir), true);
    make.cgroup_make.cpus = make.cgroup_make.mems = "0";
    assert_int_equal(run(make, &e), -ENOENT);
    assert_non_null(strstr(e.text, "/new/cpuset.cpus'"));
    assert_true(access(make.cgroup_make.path, F_OK) < 0);
    unit_remove(dir);
}

static int release(void **state)
{
    (void)state;
    arena_release(unit_arena());
    return 0;
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(a_process_moves_itself_into_every_v1_cgroup),
        cmocka_unit_test(what_the_container_left_is_killed_and_removed),
        cmocka_unit_test(kill_reaches_the_whole_tree),
        cmocka_unit_test(a_frozen_process_is_thawed_to_die),
        cmocka_unit_test(what_is_frozen_further_down_is_thawed),
        cmocka_unit_test(a_cgroup_in_use_is_not_taken),
        cmocka_unit_test(processes_further_down_count_in_v2),
        cmocka_unit_test(a_bottomless_tree_is_removed_too),
        cmocka_unit_test(absent_is_removed),
        cmocka_unit_test(what_cannot_be_made_is_named),
        cmocka_unit_test(an_existing_cpuset_gets_only_what_it_lacks),
        cmocka_unit_test(a_cpuset_that_cannot_be_filled_is_not_left_behind),
    };

    return cmocka_run_group_tests(tests, NULL, release);
}
