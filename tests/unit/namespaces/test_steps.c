/* SPDX-License-Identifier: Apache-2.0 */
/* The steps of namespaces/ on this kernel, inside user namespaces, so that no root is needed. */
#include "unit.h"

#include <signal.h>
#include <time.h>

#include "namespaces/internal.h"

enum { PID, PIDFD, FD, N_SLOTS };
static int values[N_SLOTS];
static struct slots slots = { values, N_SLOTS };

static void need_clone3(void)
{
    if (!unit_has_clone3())
        unit_skip("no clone3 here (qemu-user)");
}

static int read_text(const char *path, char *buf, size_t size)
{
    AUTO_FD int fd = open(path, O_RDONLY | O_CLOEXEC);
    ssize_t n = fd < 0 ? -1 : read(fd, buf, size - 1);

    buf[n > 0 ? n : 0] = '\0';
    return n > 0 ? 0 : -1;
}

/* In a child: a failed check ends it and is printed. */
#define CHILD_CHECK(condition)                                                        \
    do {                                                                              \
        if (!(condition)) {                                                           \
            dprintf(2, "child: %s: %s: %s\n", #condition, strerror(errno), err.text); \
            _exit(1);                                                                 \
        }                                                                             \
    } while (0)

static void assert_ends_well(pid_t pid)
{
    int status;

    assert_int_equal(waitpid(pid, &status, 0), pid);
    assert_true(WIFEXITED(status));
    assert_int_equal(WEXITSTATUS(status), 0);
}

/* ---- the tools ----------------------------------------------------------------------------- */

static int run_tool(const char *tool, struct err *e)
{
    static const char *const args[] = { "0", "1000", "1", NULL };
    const struct step st = {
        .op = OP_NS_MAP_TOOL,
        .ns_map_tool = { .tool = tool, .args = args, .ranges = "/etc/subuid", .pid = PID }
    };

    values[PID] = 123;
    return ns_step(&st, &slots, e);
}

static void a_tool_that_succeeds_says_nothing(void **state)
{
    struct err e = { 0 };

    (void)state;
    assert_int_equal(run_tool("/bin/true", &e), 0);
    assert_string_equal(e.text, "");
}

/* env(1) is given the pid as a program and says that there is none. */
static void what_a_tool_says_is_in_the_sentence(void **state)
{
    static const struct {
        const char *tool, *part;
    } rows[] = {
        { "/usr/bin/env", "env refuses the map: " },
        { "/usr/bin/env", "123" },
        { "/bin/false", "false refuses the map: exit status 1" },
        { "/no/such/tool", "tool refuses the map: No such file or directory" },
        { "/bin/false", "/etc/subuid must grant user " },
    };

    (void)state;
    for (size_t i = 0; i < COUNT_OF(rows); i++) {
        struct err e = { 0 };

        unit_row(rows[i].tool, run_tool(rows[i].tool, &e) == -EPERM);
        unit_row(rows[i].part, strstr(e.text, rows[i].part));
    }
}

static void a_tool_is_found_by_absolute_paths_only(void **state)
{
    const char *before = getenv("PATH");

    (void)state;
    setenv("PATH", "relative:.::/no/such/place", 1);
    assert_string_equal(ns_find_map_tool(unit_arena(), "env"), "/usr/bin/env");
    assert_null(ns_find_map_tool(unit_arena(), "no-such-tool"));
    setenv("PATH", "/no/such/place:/proc/self/root/bin", 1);
    assert_string_equal(ns_find_map_tool(unit_arena(), "sh"), "/proc/self/root/bin/sh");
    unsetenv("PATH");
    assert_string_equal(ns_find_map_tool(unit_arena(), "env"), "/usr/bin/env");
    setenv("PATH", before ? before : "/bin", 1);
}

/* ---- the clone ----------------------------------------------------------------------------- */

static _Noreturn void inside(int go)
{
    struct step root = { .op = OP_NS_BECOME_ROOT, .ns_become_root = { .drop_groups = true } };
    struct step host = { .op = OP_NS_HOSTNAME, .ns_hostname = { .name = "glass" } };
    struct step domain = { .op = OP_NS_DOMAINNAME, .ns_domainname = { .name = "case" } };
    struct step ctl = { .op = OP_NS_SYSCTL,
                        .ns_sysctl = { .path = "net/ipv4/ip_default_ttl", .value = "77" } };
    struct err err = { 0 };
    char text[128], name[65];

    CHILD_CHECK(read(go, text, 1) == 1);
    CHILD_CHECK(ns_step(&root, &slots, &err) == 0);
    CHILD_CHECK(getuid() == 0 && getgid() == 0);
    CHILD_CHECK(ns_step(&host, &slots, &err) == 0);
    CHILD_CHECK(gethostname(name, sizeof name) == 0 && str_eq(name, "glass"));
    CHILD_CHECK(ns_step(&domain, &slots, &err) == 0);
    CHILD_CHECK(getdomainname(name, sizeof name) == 0 && str_eq(name, "case"));
    CHILD_CHECK(ns_step(&ctl, &slots, &err) == 0);
    CHILD_CHECK(read_text("/proc/sys/net/ipv4/ip_default_ttl", text, sizeof text) == 0);
    CHILD_CHECK(strtol(text, NULL, 10) == 77);
    ctl.ns_sysctl.path = "net/ipv4/no_such_thing";
    CHILD_CHECK(ns_step(&ctl, &slots, &err) == -ENOENT);
    CHILD_CHECK(getpid() == 1);
    _exit(0);
}

static void a_process_in_new_namespaces_is_root_there(void **state)
{
    struct op_clone op = {
        .flags = CLONE_NEWUSER | CLONE_NEWUTS | CLONE_NEWNET | CLONE_NEWPID | CLONE_NEWTIME,
        .cgroup = SLOT_NONE,
        .out_pid = PID,
        .out_pidfd = PIDFD,
    };
    char uid_map[32], gid_map[32], before[64], after[64], name[65], same[65];
    struct step maps = { .op = OP_NS_ID_MAPS,
                         .ns_id_maps = { .pid = PID,
                                         .uid_map = uid_map,
                                         .gid_map = gid_map,
                                         .deny_setgroups = geteuid() != 0 } };
    struct err e = { 0 };
    int go[2];
    pid_t pid;

    (void)state;
    need_clone3();
    assert_int_equal(pipe(go), 0);
    base_format(uid_map, sizeof uid_map, "0 %u 1\n", geteuid());
    base_format(gid_map, sizeof gid_map, "0 %u 1\n", getegid());
    gethostname(name, sizeof name);
    assert_int_equal(read_text("/proc/sys/net/ipv4/ip_default_ttl", before, sizeof before), 0);
    pid = ns_clone(&op, &slots, &e);
    if (pid == 0)
        inside(go[0]);
    if (pid < 0)
        fail_msg("%s", e.text);
    assert_int_equal(values[PID], pid);
    assert_true(values[PIDFD] >= 0);
    if (ns_step(&maps, &slots, &e) < 0)
        fail_msg("%s", e.text);
    assert_int_equal(write(go[1], "x", 1), 1);
    assert_ends_well(pid);
    /* The host's are what they were. */
    gethostname(same, sizeof same);
    assert_string_equal(name, same);
    assert_int_equal(read_text("/proc/sys/net/ipv4/ip_default_ttl", after, sizeof after), 0);
    assert_string_equal(before, after);
    /* The process is gone: its maps cannot be written. */
    assert_int_equal(ns_step(&maps, &slots, &e), -ENOENT);
    close(values[PIDFD]);
    close(go[0]);
    close(go[1]);
}

static void a_failed_clone_names_the_namespaces(void **state)
{
    /* CLONE_INTO_CGROUP of something that is no cgroup. */
    struct op_clone op = { .flags = CLONE_NEWUSER | CLONE_NEWUTS,
                           .cgroup = FD,
                           .out_pid = SLOT_NONE,
                           .out_pidfd = SLOT_NONE };
    struct err e = { 0 };

    (void)state;
    need_clone3();
    values[FD] = open("/", O_PATH | O_DIRECTORY | O_CLOEXEC);
    assert_int_equal(ns_clone(&op, &slots, &e), -EBADF);
    assert_string_equal(e.text,
                        "cannot make the namespaces uts,user: clone3 into the cgroup: Bad file "
                        "descriptor");
    close(values[FD]);
}

/* ---- the stage ----------------------------------------------------------------------------- */

static _Noreturn void stage(time_t now)
{
    struct op_clone op = { .flags = CLONE_NEWPID,
                           .cgroup = SLOT_NONE,
                           .out_pid = PID,
                           .out_pidfd = PIDFD,
                           .sibling = true };
    struct step split = { .op = OP_NS_UNSHARE,
                          .ns_unshare = { .flags = CLONE_NEWUSER | CLONE_NEWTIME } };
    struct step offsets = { .op = OP_NS_TIME_OFFSETS,
                            .ns_time_offsets = { .offsets = "monotonic 500000 0\n" } };
    struct err err = { 0 };
    struct timespec there;
    pid_t pid;

    CHILD_CHECK(ns_step(&split, &slots, &err) == 0);
    CHILD_CHECK(ns_step(&offsets, &slots, &err) == 0);
    pid = ns_clone(&op, &slots, &err);
    if (pid == 0) {
        CHILD_CHECK(clock_gettime(CLOCK_MONOTONIC, &there) == 0);
        CHILD_CHECK(there.tv_sec >= now + 500000);
        _exit(42);
    }
    CHILD_CHECK(pid > 0);
    /* From now on the offsets stand. */
    CHILD_CHECK(ns_step(&offsets, &slots, &err) < 0);
    _exit(0);
}

static void a_stage_sets_the_clock_of_its_sibling(void **state)
{
    struct timespec now;
    int status, seen = 0;

    (void)state;
    need_clone3();
    clock_gettime(CLOCK_MONOTONIC, &now);
    if (fork() == 0)
        stage(now.tv_sec);
    /* Both are this process's children: the sibling too. */
    for (int i = 0; i < 2; i++) {
        assert_true(wait(&status) > 0);
        assert_true(WIFEXITED(status));
        seen += WEXITSTATUS(status);
    }
    assert_int_equal(seen, 42);
}

/* ---- joins --------------------------------------------------------------------------------- */

static void the_type_of_a_namespace_is_verified(void **state)
{
    static const struct {
        const char *path;
        uint64_t type;
        const char *error; /* NULL: it opens */
    } rows[] = {
        { "/proc/self/ns/net", CLONE_NEWNET, NULL },
        { "/proc/self/ns/time", CLONE_NEWTIME, NULL },
        { "/proc/self/ns/net", CLONE_NEWUTS,
          "'/proc/self/ns/net' is a network namespace, not a uts one" },
        { "/proc/self/ns/ipc", CLONE_NEWPID,
          "'/proc/self/ns/ipc' is an ipc namespace, not a pid one" },
        { "/proc/self/ns/user", CLONE_NEWIPC,
          "'/proc/self/ns/user' is a user namespace, not an ipc one" },
        { "/proc/self/status", CLONE_NEWUTS, "'/proc/self/status' is no namespace" },
        { "/nowhere", CLONE_NEWUTS, "cannot open the uts namespace '/nowhere': No such file" },
    };

    (void)state;
    need_clone3();
    for (size_t i = 0; i < COUNT_OF(rows); i++) {
        struct step st = { .op = OP_NS_OPEN,
                           .ns_open = { .path = rows[i].path, .type = rows[i].type, .out = FD } };
        struct err e = { 0 };
        int r;

        values[FD] = -1;
        r = ns_step(&st, &slots, &e);
        unit_row(rows[i].path, (r == 0) == !rows[i].error);
        unit_row(rows[i].path, (values[FD] >= 0) == !rows[i].error);
        if (rows[i].error && strncmp(e.text, rows[i].error, strlen(rows[i].error)) != 0)
            fail_msg("'%s' instead of '%s'", e.text, rows[i].error);
        if (values[FD] >= 0)
            assert_int_equal(fcntl(values[FD], F_GETFD), FD_CLOEXEC);
        fd_cleanup(&values[FD]);
    }
}

static void a_namespace_is_joined_through_its_slot(void **state)
{
    struct step split = { .op = OP_NS_UNSHARE,
                          .ns_unshare = { .flags = CLONE_NEWUSER | CLONE_NEWNET } };
    struct step again = { .op = OP_NS_UNSHARE, .ns_unshare = { .flags = CLONE_NEWNET } };
    struct step open_first = { .op = OP_NS_OPEN,
                               .ns_open = {
                                   .path = "/proc/self/ns/net", .type = CLONE_NEWNET, .out = FD } };
    struct step join = { .op = OP_NS_JOIN, .ns_join = { .type = CLONE_NEWNET, .in = FD } };
    struct err err = { 0 };
    struct stat first, second, back;
    pid_t pid;

    (void)state;
    need_clone3();
    pid = fork();
    if (pid == 0) {
        CHILD_CHECK(ns_step(&split, &slots, &err) == 0);
        CHILD_CHECK(ns_step(&open_first, &slots, &err) == 0);
        CHILD_CHECK(stat("/proc/self/ns/net", &first) == 0);
        CHILD_CHECK(ns_step(&again, &slots, &err) == 0);
        CHILD_CHECK(stat("/proc/self/ns/net", &second) == 0);
        CHILD_CHECK(first.st_ino != second.st_ino);
        CHILD_CHECK(ns_step(&join, &slots, &err) == 0);
        CHILD_CHECK(stat("/proc/self/ns/net", &back) == 0);
        CHILD_CHECK(first.st_ino == back.st_ino);
        join.ns_join.type = CLONE_NEWUTS;
        CHILD_CHECK(ns_step(&join, &slots, &err) == -EINVAL);
        CHILD_CHECK(str_starts(err.text, "cannot join the uts namespace"));
        _exit(0);
    }
    assert_ends_well(pid);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(a_tool_that_succeeds_says_nothing),
        cmocka_unit_test(what_a_tool_says_is_in_the_sentence),
        cmocka_unit_test(a_tool_is_found_by_absolute_paths_only),
        cmocka_unit_test(a_process_in_new_namespaces_is_root_there),
        cmocka_unit_test(a_failed_clone_names_the_namespaces),
        cmocka_unit_test(a_stage_sets_the_clock_of_its_sibling),
        cmocka_unit_test(the_type_of_a_namespace_is_verified),
        cmocka_unit_test(a_namespace_is_joined_through_its_slot),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
