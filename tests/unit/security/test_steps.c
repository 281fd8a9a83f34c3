/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The steps of security/ on this kernel. Each runs in a child, most in a user namespace of its own,
 * so that no root is needed.
 */
#include "unit.h"

#include <linux/capability.h>
#include <grp.h>
#include <sched.h>
#include <signal.h>
#include <sys/prctl.h>
#include <sys/resource.h>
#include <sys/syscall.h>

#include "security/internal.h"

#define BIT(cap) (UINT64_C(1) << (cap))
#define CHECK(condition)                                                       \
    do {                                                                       \
        if (!(condition)) {                                                    \
            dprintf(2, "%s: %s: %s\n", __func__, #condition, strerror(errno)); \
            return 1;                                                          \
        }                                                                      \
    } while (0)

static int do_step(struct step st)
{
    struct err e = { 0 };
    int r = sec_step(&st, &(struct slots){ 0 }, &e);

    if (r < 0)
        dprintf(2, "step: %s\n", e.text);
    return r;
}

/* What the test's process has, by the code that the runtime asks with. */
static struct sec_facts facts(void)
{
    static struct sec_facts f;
    static struct arena a;
    struct spec *s;
    char *status;

    arena_init(&a, NULL, 0);
    s = arena_alloc(&a, sizeof *s);
    if (file_read(&a, AT_FDCWD, "/proc/self/status", 1 << 20, &status, NULL, NULL) < 0 ||
        sec_gather(s, status, &a, &f, NULL) < 0)
        _exit(98);
    return f;
}

static void write_file(const char *path, const char *text)
{
    if (file_write_once(AT_FDCWD, path, text, strlen(text)) < 0)
        _exit(97);
}

/* Root of a user namespace in which only the own ids exist. */
static void enter_user_namespace(void)
{
    char map[64];
    uid_t uid = geteuid();
    gid_t gid = getegid();

    if (unshare(CLONE_NEWUSER) < 0)
        _exit(96);
    write_file("/proc/self/setgroups", "deny");
    base_format(map, sizeof map, "0 %u 1", gid);
    write_file("/proc/self/gid_map", map);
    base_format(map, sizeof map, "0 %u 1", uid);
    write_file("/proc/self/uid_map", map);
}

static void in_child(int (*body)(void), bool user_ns)
{
    int status;
    pid_t pid;

    if (user_ns && !unit_has_clone3())
        unit_skip("user namespaces cannot be made here (qemu-user)");
    pid = fork();
    if (pid == 0) {
        if (user_ns)
            enter_user_namespace();
        _exit(body());
    }
    assert_int_equal(waitpid(pid, &status, 0), pid);
    assert_true(WIFEXITED(status));
    assert_int_equal(WEXITSTATUS(status), 0);
}

static int capabilities_body(void)
{
    uint64_t mine = BIT(CAP_KILL) | BIT(CAP_CHECKPOINT_RESTORE), all = facts().cap_bounding;

    CHECK(do_step((struct step){ .op = OP_BOUNDING_DROP,
                                 .bounding_drop = { .drop = all & ~mine } }) == 0);
    CHECK(facts().cap_bounding == (all & mine));
    CHECK(do_step((struct step){ .op = OP_CAPABILITIES,
                                 .capabilities = { .effective = BIT(CAP_CHECKPOINT_RESTORE),
                                                   .permitted = mine,
                                                   .inheritable = mine } }) == 0);
    CHECK(facts().cap_effective == BIT(CAP_CHECKPOINT_RESTORE));
    CHECK(facts().cap_permitted == mine);
    CHECK(facts().cap_inheritable == mine);
    CHECK(do_step((struct step){ .op = OP_AMBIENT, .ambient = { .raise = mine } }) == 0);
    CHECK(facts().cap_ambient == mine);
    CHECK(do_step((struct step){ .op = OP_AMBIENT,
                                 .ambient = { .raise = BIT(CAP_KILL), .clear = true } }) == 0);
    CHECK(facts().cap_ambient == BIT(CAP_KILL));
    /* CAP_SETPCAP is gone. */
    CHECK(do_step((struct step){ .op = OP_BOUNDING_DROP,
                                 .bounding_drop = { .drop = BIT(CAP_KILL) } }) == -EPERM);
    return 0;
}

static void the_five_sets_are_set(void **state)
{
    (void)state;
    in_child(capabilities_body, true);
}

static int signals_body(void)
{
    unsigned long all = ~0ul;
    struct sigaction act;

    signal(SIGPIPE, SIG_IGN);
    signal(SIGRTMAX, SIG_IGN);
    /* glibc's own two as well: only the raw call can block them. */
    CHECK(syscall(SYS_rt_sigprocmask, SIG_SETMASK, &all, NULL, 8) == 0);
    CHECK(cap_has(facts().sig_ignored, SIGPIPE - 1) && cap_has(facts().sig_ignored, SIGRTMAX - 1));
    CHECK(do_step((struct step){ .op = OP_SIGNALS,
                                 .signals = { .ignored = facts().sig_ignored, .mask = true } }) ==
          0);
    CHECK(facts().sig_ignored == 0);
    CHECK(facts().sig_blocked == 0);
    CHECK(sigaction(SIGPIPE, NULL, &act) == 0 && act.sa_handler == SIG_DFL);
    return 0;
}

static void signals_are_as_a_program_expects_them(void **state)
{
    (void)state;
    if (!unit_has_clone3())
        unit_skip("/proc/self/status is the emulator's here (qemu-user)");
    in_child(signals_body, false);
}

static int process_body(void)
{
    int fd = open("/", O_PATH);
    struct rlimit now;

    CHECK(fd > 2);
    CHECK(do_step((struct step){ .op = OP_CLOSE_FDS, .close_fds = { .first = 3 } }) == 0);
    CHECK(fcntl(fd, F_GETFD) == FD_CLOEXEC);
    CHECK(fcntl(2, F_GETFD) == 0);
    CHECK(do_step((struct step){ .op = OP_SETSID }) == 0);
    CHECK(getsid(0) == getpid());
    CHECK(do_step((struct step){ .op = OP_SETSID }) == -EPERM);
    CHECK(do_step((struct step){ .op = OP_UNDUMPABLE }) == 0);
    CHECK(prctl(PR_GET_DUMPABLE) == 0);
    CHECK(do_step((struct step){ .op = OP_UMASK, .umask = { .mask = 0123 } }) == 0);
    CHECK(umask(0) == 0123);
    CHECK(do_step((struct step){
              .op = OP_RLIMIT,
              .rlimit = { .resource = RLIMIT_CORE, .soft = 0, .hard = 4096, .pid = SLOT_NONE } }) ==
          0);
    CHECK(getrlimit(RLIMIT_CORE, &now) == 0 && now.rlim_cur == 0 && now.rlim_max == 4096);
    CHECK(do_step((struct step){ .op = OP_NO_NEW_PRIVS }) == 0);
    CHECK(facts().no_new_privs);
    return 0;
}

static void the_process_is_prepared(void **state)
{
    (void)state;
    if (!unit_has_clone3())
        unit_skip("close_range and /proc/self/status are the emulator's here (qemu-user)");
    in_child(process_body, false);
}

/* In a user namespace even root cannot raise. */
static int raise_body(void)
{
    struct step st = { .op = OP_RLIMIT,
                       .rlimit = {
                           .resource = RLIMIT_CORE, .soft = 5, .hard = 5, .pid = SLOT_NONE } };
    struct err e = { 0 };

    CHECK(sec_step(&st, NULL, &e) == 0);
    st.rlimit.hard = 6;
    CHECK(sec_step(&st, NULL, &e) == -EPERM);
    CHECK(str_eq(e.text, "cannot set RLIMIT_CORE to soft 5, hard 6: Operation not permitted (the "
                         "hard limit is 5, raising it needs CAP_SYS_RESOURCE)"));
    return 0;
}

static void a_hard_limit_that_cannot_be_raised_is_named(void **state)
{
    (void)state;
    in_child(raise_body, true);
}

static int oom_body(void)
{
    struct step st = { .op = OP_OOM_SCORE_ADJ, .oom_score_adj = { .value = 900, .pid = 0 } };
    int values[1] = { getpid() };
    struct slots slots = { values, 1 };
    struct err e = { 0 };
    char text[16] = "";
    AUTO_FD int fd = -1;

    CHECK(sec_step(&st, &slots, &e) == 0);
    st.oom_score_adj.pid = SLOT_NONE;
    st.oom_score_adj.value = 901;
    CHECK(sec_step(&st, &slots, &e) == 0);
    fd = open("/proc/self/oom_score_adj", O_RDONLY | O_CLOEXEC);
    CHECK(read(fd, text, sizeof text - 1) > 0);
    CHECK(strtol(text, NULL, 10) == 901);
    st.oom_score_adj.value = -2000;
    CHECK(sec_step(&st, &slots, &e) == -EINVAL);
    return 0;
}

static void the_oom_score_is_written(void **state)
{
    (void)state;
    if (!unit_has_openat2())
        unit_skip("openat2(2) is missing here (qemu-user 7.2)");
    in_child(oom_body, false);
}

static int ids_body(void)
{
    struct step st = { .op = OP_IDS, .ids = { .uid = 4711, .gid = -1 } };
    struct err e = { 0 };

    CHECK(sec_step(&st, NULL, &e) == -EINVAL);
    CHECK(str_eq(e.text, "cannot become uid 4711: Invalid argument (it is not mapped in the user "
                         "namespace)"));
    st.ids = (struct op_ids){ .uid = 0, .gid = 0, .keep_caps = true };
    CHECK(sec_step(&st, NULL, &e) == 0);
    CHECK(prctl(PR_GET_KEEPCAPS) == 1);
    CHECK(sec_step(&(struct step){ .op = OP_GROUPS }, NULL, &e) == -EPERM);
    return 0;
}

static void ids_outside_the_maps_are_named(void **state)
{
    (void)state;
    in_child(ids_body, true);
}

/* What it is for: capabilities that outlive the uid 0. Only root can try. */
static int leave_root_body(void)
{
    static const gid_t groups[] = { 77, 55 };
    gid_t seen[4];

    CHECK(do_step((struct step){ .op = OP_GROUPS,
                                 .groups = { .list = groups, .list_size = sizeof groups } }) == 0);
    CHECK(getgroups(4, seen) == 2 && seen[0] == 55 && seen[1] == 77);
    CHECK(do_step((struct step){ .op = OP_IDS,
                                 .ids = { .uid = 5, .gid = 6, .keep_caps = true } }) == 0);
    CHECK(getuid() == 5 && geteuid() == 5 && getgid() == 6 && getegid() == 6);
    CHECK(facts().cap_effective == 0);
    CHECK(facts().cap_permitted != 0);
    CHECK(facts().n_groups == 2 && facts().groups[0] == 55);
    CHECK(do_step((struct step){
              .op = OP_CAPABILITIES,
              .capabilities = { .effective = BIT(CAP_KILL), .permitted = BIT(CAP_KILL) } }) == 0);
    CHECK(facts().cap_effective == BIT(CAP_KILL));
    return 0;
}

static void capabilities_outlive_the_uid_0(void **state)
{
    (void)state;
    if (geteuid() != 0 || !unit_has_clone3())
        unit_skip("needs root");
    in_child(leave_root_body, false);
}

static void gather_reads_what_the_kernel_says(void **state)
{
    struct sec_facts f = facts();
    mode_t mask = umask(0);

    (void)state;
    umask(mask);
    assert_int_equal(f.euid, geteuid());
    assert_int_equal(f.egid, getegid());
    assert_int_equal(f.umask, mask);
    assert_int_equal(f.n_groups, getgroups(0, NULL));
    assert_true(f.last_cap >= CAP_CHECKPOINT_RESTORE);
    for (int i = 0; i <= f.last_cap; i++)
        assert_int_equal(cap_has(f.cap_bounding, i), prctl(PR_CAPBSET_READ, i) == 1);
}

/* 3000 groups make a status file of more than 20000 bytes. Only root can have them. */
static int many_groups_body(void)
{
    static gid_t groups[3000];
    struct sec_facts f;

    for (unsigned i = 0; i < COUNT_OF(groups); i++)
        groups[i] = 1000000 + i;
    CHECK(setgroups(COUNT_OF(groups), groups) == 0);
    f = facts();
    CHECK(f.n_groups == COUNT_OF(groups));
    CHECK(memcmp(f.groups, groups, sizeof groups) == 0);
    CHECK(f.cap_bounding != 0);
    return 0;
}

static void gather_reads_very_many_groups(void **state)
{
    (void)state;
    if (geteuid() != 0 || !unit_has_clone3())
        unit_skip("needs root");
    in_child(many_groups_body, false);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(the_five_sets_are_set),
        cmocka_unit_test(signals_are_as_a_program_expects_them),
        cmocka_unit_test(the_process_is_prepared),
        cmocka_unit_test(a_hard_limit_that_cannot_be_raised_is_named),
        cmocka_unit_test(the_oom_score_is_written),
        cmocka_unit_test(ids_outside_the_maps_are_named),
        cmocka_unit_test(capabilities_outlive_the_uid_0),
        cmocka_unit_test(gather_reads_what_the_kernel_says),
        cmocka_unit_test(gather_reads_very_many_groups),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
