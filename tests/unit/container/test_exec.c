/* SPDX-License-Identifier: Apache-2.0 */
/* The plan of `exec`: its ordering laws; and which process it runs. Pure. */
#include "../unit.h"

#include <sched.h>

#include "container/internal.h"

#define SECCOMP                                                                   \
    "\"seccomp\":{\"defaultAction\":\"SCMP_ACT_ALLOW\",\"syscalls\":[{\"names\":" \
    "[\"reboot\"],\"action\":\"SCMP_ACT_ERRNO\"}]}"

static const char *config_of(const char *process, const char *linux_)
{
    return arena_format(unit_arena(),
                        "{\"ociVersion\":\"1.3.0\",\"root\":{\"path\":\"r\"},\"process\":{"
                        "\"cwd\":\"/\",\"args\":[\"/init\"],\"user\":{\"uid\":5,\"gid\":6,"
                        "\"umask\":7},\"env\":[\"A=1\"]%s%s},\"linux\":{\"namespaces\":[{"
                        "\"type\":\"mount\"}]%s%s}}",
                        process[0] ? "," : "", process, linux_[0] ? "," : "", linux_);
}

/* What exec_process makes of a container's config and a command line. */
static int process_of(const char *config, const struct container_exec_options *o, struct spec **s,
                      struct err *e)
{
    struct state_record rec = { .config = config, .config_len = strlen(config) };

    memset(e, 0, sizeof *e);
    return exec_process(o, &rec, unit_arena(), s, e);
}

static struct container_exec_options words(const char *const *v, size_t n)
{
    return (struct container_exec_options){ .args = { (const char **)v, n } };
}
#define WORDS(...)                              \
    words((const char *const[]){ __VA_ARGS__ }, \
          sizeof((const char *const[]){ __VA_ARGS__ }) / sizeof(char *))

static struct plan compile_as(const struct exec_in *asked, const char *process, const char *linux_,
                              uint64_t joined, struct err *e)
{
    static const char *const v1[] = { "/sys/fs/cgroup/memory/x", "/sys/fs/cgroup/pids/x", NULL };
    struct exec_facts *f = arena_alloc(unit_arena(), sizeof *f);
    struct container_exec_options o = WORDS("/bin/true");
    struct exec_in in = *asked;
    struct exec_out out;
    struct spec *s = NULL;
    struct plan p;

    f->sec = (struct sec_facts){ .cap_effective = (1ULL << 41) - 1,
                                 .cap_permitted = (1ULL << 41) - 1,
                                 .cap_bounding = (1ULL << 41) - 1,
                                 .umask = 022,
                                 .last_cap = 40 };
    f->joined = joined | CLONE_NEWNS;
    f->sec.apparmor = f->sec.selinux = true;
    f->v2 = "/sys/fs/cgroup/unified/x";
    f->v1 = v1;
    if (process_of(config_of(process, linux_), &o, &s, e) < 0)
        fail_msg("%s: %s", e->pointer, e->text);
    /* As a process file may say it; the command line has --tty. */
    s->process.terminal = strstr(process, "\"terminal\":true") != NULL;
    in.facts = f;
    in.spec = s;
    plan_init(&p, unit_arena(), "exec");
    if (container_compile_exec(&in, &p, &out, e) < 0)
        p.n = 0;
    return p;
}

static struct plan compile(const char *process, const char *linux_, uint64_t joined)
{
    const struct exec_in in = { .pid_file = "/pid" };
    struct err e;
    struct plan p = compile_as(&in, process, linux_, joined, &e);

    if (p.n == 0)
        fail_msg("%s: %s", e.pointer, e.text);
    return p;
}

static int find(const struct plan *p, enum plan_op op)
{
    int i = plan_find(p, op, 0);

    if (i < 0)
        fail_msg("no step %s", plan_op_name(op));
    return i;
}

static void assert_order(const struct plan *p, enum plan_op first, enum plan_op second)
{
    if (!plan_happens_before(p, (size_t)find(p, first), (size_t)find(p, second)))
        fail_msg("%s does not happen before %s", plan_op_name(first), plan_op_name(second));
}

static void with_a_pid_namespace_a_stage_joins_and_clones_the_callers_child(void **state)
{
    struct plan p = compile("", "", CLONE_NEWPID);
    int second = plan_find(&p, OP_CLONE, (size_t)find(&p, OP_CLONE) + 1);

    (void)state;
    assert_int_equal(p.steps[find(&p, OP_NS_ENTER)].lane, LANE_STAGE);
    assert_int_equal(p.steps[second].lane, LANE_STAGE);
    assert_true(p.steps[second].clone.sibling);
    assert_true(find(&p, OP_NS_ENTER) < second);
    assert_true(p.steps[find(&p, OP_CLONE)].clone.cgroup >= 0);
}

static void without_one_the_process_joins_itself(void **state)
{
    struct plan p = compile("", "", 0);

    (void)state;
    assert_int_equal(plan_last(&p, LANE_STAGE), -1);
    assert_int_equal(p.steps[find(&p, OP_NS_ENTER)].lane, LANE_INIT);
    assert_int_equal(p.steps[find(&p, OP_NS_ENTER)].ns_enter.flags, CLONE_NEWNS);
}

static void nothing_is_joined_by_a_dumpable_process_or_before_the_cgroups(void **state)
{
    static const uint64_t joined[] = { 0, CLONE_NEWPID, CLONE_NEWUSER,
                                       CLONE_NEWPID | CLONE_NEWUSER };

    (void)state;
    for (size_t i = 0; i < COUNT_OF(joined); i++) {
        struct plan p = compile("", "", joined[i]);
        int enter = find(&p, OP_NS_ENTER), last = -1;

        for (int k = plan_find(&p, OP_CGROUP_JOIN, 0); k >= 0;
             k = plan_find(&p, OP_CGROUP_JOIN, (size_t)k + 1))
            last = k;
        assert_int_equal(last - find(&p, OP_CGROUP_JOIN), 1); /* both */
        assert_true(last < enter && p.steps[last].lane == p.steps[enter].lane);
        assert_order(&p, OP_UNDUMPABLE, OP_CGROUP_JOIN);
        assert_order(&p, OP_UNDUMPABLE, OP_NS_ENTER);
        assert_order(&p, OP_NS_ENTER, OP_EXEC);
        assert_order(&p, OP_CLOSE_FDS, OP_EXEC);
        assert_order(&p, OP_CGROUP_OPEN, OP_CLONE);
    }
}

/* CVE-2025-52881: behind the join /proc is whatever the container has made of it. */
static void labels_are_written_to_the_hosts_proc(void **state)
{
    static const uint64_t joined[] = { 0, CLONE_NEWPID, CLONE_NEWPID | CLONE_NEWUSER };

    (void)state;
    for (size_t i = 0; i < COUNT_OF(joined); i++) {
        struct plan p = compile("\"apparmorProfile\":\"a\",\"selinuxLabel\":\"b\"", "", joined[i]);
        int labels = 0;

        for (int at = plan_find(&p, OP_EXEC_LABEL, 0); at >= 0;
             at = plan_find(&p, OP_EXEC_LABEL, (size_t)at + 1)) {
            assert_int_equal(p.steps[at].lane, p.steps[find(&p, OP_NS_ENTER)].lane);
            assert_true(at < find(&p, OP_NS_ENTER));
            labels++;
        }
        assert_int_equal(labels, 3);
    }
}

static void in_a_user_namespace_it_becomes_root_first_and_has_no_group_of_the_host(void **state)
{
    struct plan p = compile("", "", CLONE_NEWUSER | CLONE_NEWPID);

    (void)state;
    assert_order(&p, OP_GROUPS, OP_NS_ENTER);
    assert_int_equal(p.steps[find(&p, OP_GROUPS)].groups.list_size, 0);
    assert_order(&p, OP_NS_ENTER, OP_NS_BECOME_ROOT);
    assert_order(&p, OP_NS_BECOME_ROOT, OP_IDS);
    assert_order(&p, OP_NS_BECOME_ROOT, OP_KEYRING);
    assert_order(&p, OP_KEYRING, OP_EXEC);
    p = compile("", "", CLONE_NEWPID);
    assert_int_equal(plan_find(&p, OP_NS_BECOME_ROOT, 0), -1);
}

static void the_filter_comes_last_with_no_new_privileges_and_before_the_ids_without(void **state)
{
    struct plan p = compile("\"noNewPrivileges\":true", SECCOMP, CLONE_NEWPID);

    (void)state;
    assert_int_equal(find(&p, OP_SECCOMP_LOAD), find(&p, OP_EXEC) - 1);
    assert_true(p.steps[find(&p, OP_SECCOMP_LOAD)].waits); /* nothing is waited for under it */
    assert_false(p.steps[find(&p, OP_EXEC)].waits);
    assert_order(&p, OP_SECCOMP_COMPILE, OP_CLONE);
    p = compile("", SECCOMP, CLONE_NEWPID);
    assert_order(&p, OP_SECCOMP_LOAD, OP_IDS);
    assert_order(&p, OP_NS_ENTER, OP_SECCOMP_LOAD);
}

static void the_pid_file_is_written_when_the_program_has_been_executed(void **state)
{
    struct plan p = compile("", "", CLONE_NEWPID);

    (void)state;
    assert_int_equal(find(&p, OP_PID_FILE), (int)p.n - 1);
    assert_order(&p, OP_EXECUTED, OP_PID_FILE);
    assert_true(find(&p, OP_EXEC) < find(&p, OP_EXECUTED));
}

static void the_working_directory_is_entered_in_the_container_and_never_made(void **state)
{
    struct plan p = compile("\"rlimits\":[{\"type\":\"RLIMIT_CORE\",\"soft\":1,\"hard\":1}]", "",
                            0);

    (void)state;
    assert_int_equal(plan_find(&p, OP_CWD, 0), -1); /* "/" is where setns(2) leads */
    assert_int_equal(plan_find(&p, OP_CHDIR, 0), -1);
    assert_order(&p, OP_NS_ENTER, OP_RLIMIT);
}

#define TERMINAL "\"terminal\":true"

static void a_terminal_is_opened_inside_and_taken_before_the_filter(void **state)
{
    static const uint64_t joined[] = { 0, CLONE_NEWPID, CLONE_NEWUSER | CLONE_NEWPID };

    (void)state;
    for (size_t i = 0; i < COUNT_OF(joined); i++) {
        struct plan p = compile(TERMINAL, SECCOMP, joined[i]);

        assert_order(&p, OP_NS_ENTER, OP_TERMINAL_OPEN);
        assert_order(&p, OP_SETSID, OP_TERMINAL_ATTACH);
        assert_order(&p, OP_TERMINAL_ATTACH, OP_SECCOMP_LOAD);
        assert_order(&p, OP_TERMINAL_OPEN, OP_TERMINAL_RELAY);
        assert_order(&p, OP_TERMINAL_RELAY, OP_EXEC);
        assert_int_equal(p.steps[find(&p, OP_TERMINAL_OPEN)].terminal_open.root, SLOT_NONE);
        assert_int_equal(plan_find(&p, OP_TERMINAL_CONSOLE, 0), -1); /* that is init's */
        assert_int_equal(plan_find(&p, OP_STDIO_OWNER, 0), -1);
    }
    find(&(struct plan[]){ compile("", "", 0) }[0], OP_STDIO_OWNER);
}

static void the_master_and_the_pidfd_have_gone_before_the_program_runs(void **state)
{
    const struct exec_in in = { .console_socket = "/c", .pidfd_socket = "/p", .detach = true };
    struct err e;
    struct plan p = compile_as(&in, TERMINAL, "", CLONE_NEWPID, &e);
    int send = find(&p, OP_SOCKET_SEND), second = plan_find(&p, OP_SOCKET_SEND, (size_t)send + 1);

    (void)state;
    assert_string_equal(p.steps[send].socket_send.text, "setns");
    assert_null(p.steps[second].socket_send.text); /* the terminal's name */
    assert_true(plan_happens_before(&p, (size_t)send, (size_t)find(&p, OP_EXEC)));
    assert_true(plan_happens_before(&p, (size_t)second, (size_t)find(&p, OP_EXEC)));
    assert_order(&p, OP_SOCKET_CONNECT, OP_CLONE);
    assert_int_equal(plan_find(&p, OP_TERMINAL_RELAY, 0), -1);
}

static void a_console_socket_goes_with_detach_and_a_terminal(void **state)
{
    const struct {
        const char *name, *process;
        struct exec_in in;
        bool fine;
    } rows[] = {
        { "relay", TERMINAL, { .detach = false }, true },
        { "socket", TERMINAL, { .detach = true, .console_socket = "/c" }, true },
        { "no socket", TERMINAL, { .detach = true }, false },
        { "no terminal", "", { .detach = true, .console_socket = "/c" }, false },
        { "not detached", TERMINAL, { .console_socket = "/c" }, false },
    };

    (void)state;
    for (size_t i = 0; i < COUNT_OF(rows); i++) {
        struct err e;
        struct plan p = compile_as(&rows[i].in, rows[i].process, "", 0, &e);

        unit_row(rows[i].name, (p.n > 0) == rows[i].fine);
        unit_row(rows[i].name, rows[i].fine || strncmp(e.text, "cannot ", 7) == 0);
    }
}

static void preserved_fds_are_not_closed(void **state)
{
    const struct exec_in in = { .preserve_fds = 4 };
    struct err e;
    struct plan p = compile_as(&in, "", "", 0, &e);

    (void)state;
    assert_int_equal(p.steps[find(&p, OP_CLOSE_FDS)].close_fds.first, 7);
}

static void a_listener_gets_the_process_of_a_container_that_runs(void **state)
{
    static const char notify[] =
        "\"seccomp\":{\"defaultAction\":\"SCMP_ACT_ALLOW\",\"listenerPath\":\"/l\","
        "\"syscalls\":[{\"names\":[\"reboot\"],\"action\":\"SCMP_ACT_NOTIFY\"}]}";
    const struct exec_in in = { .id = "c", .bundle = "/b", .status = "running" };
    struct err e;

    (void)state;
    for (int no_new = 0; no_new <= 1; no_new++) {
        struct plan p = compile_as(&in, no_new ? "\"noNewPrivileges\":true" : TERMINAL, notify,
                                   CLONE_NEWPID, &e);
        const struct op_seccomp_notify *op = &p.steps[find(&p, OP_SECCOMP_NOTIFY)].seccomp_notify;

        assert_order(&p, OP_SECCOMP_LOAD, OP_SECCOMP_NOTIFY);
        assert_order(&p, OP_SECCOMP_NOTIFY, OP_EXEC);
        assert_string_equal(op->status, "running");
        assert_string_equal(op->id, "c");
        assert_int_not_equal(op->init, op->pid);
    }
}

/* ---- which process ------------------------------------------------------------------------- */

static struct spec *accepted(const char *config, const struct container_exec_options *o)
{
    struct spec *s = NULL;
    struct err e;

    if (process_of(config, o, &s, &e) < 0)
        fail_msg("%s: %s", e.pointer, e.text);
    return s;
}

static struct str_list list_of(const char *word)
{
    const char **v = arena_array(unit_arena(), 1, sizeof *v);

    v[0] = word;
    return (struct str_list){ v, 1 };
}

static void words_are_added_to_what_the_container_has(void **state)
{
    const char *config = config_of("\"capabilities\":{\"bounding\":[\"CAP_KILL\"],\"permitted\":[],"
                                   "\"effective\":[],\"inheritable\":[]}",
                                   "");
    struct container_exec_options o = WORDS("a", "b");
    struct spec_process *p;

    (void)state;
    o.env = list_of("B=2");
    o.caps = list_of("CAP_CHOWN");
    o.gids = list_of("9");
    o.user = "1:2";
    p = &accepted(config, &o)->process;
    assert_int_equal(p->args.n, 2);
    assert_null(p->args.v[2]);
    assert_string_equal(p->env.v[0], "A=1");
    assert_string_equal(p->env.v[1], "B=2");
    assert_null(p->env.v[2]);
    assert_int_equal(p->capabilities.bounding.n, 2);
    assert_int_equal(p->capabilities.ambient.n, 1); /* there is an inheritable set */
    assert_int_equal(p->capabilities.inheritable.n, 0);
    assert_true(p->user.uid == 1 && p->user.gid == 2 && p->user.umask.v == 7);
    assert_int_equal(p->user.additional_gids.v[0], 9);
}

static void faults_of_words_name_them(void **state)
{
    const struct {
        const char *name, *user, *cap, *env, *gid, *cwd, *text;
    } rows[] = {
        { .name = "user name", .user = "root", .text = "--user" },
        { .name = "empty gid", .user = "0:", .text = "--user" },
        { .name = "no id", .user = "4294967295", .text = "--user" },
        { .name = "capability", .cap = "cap_kill", .text = "unknown capability \"cap_kill\"" },
        { .name = "env", .env = "=x", .text = "--env" },
        { .name = "group", .gid = "-1", .text = "--additional-gids" },
        { .name = "cwd", .cwd = "tmp", .text = "Cwd must be an absolute path" },
    };

    (void)state;
    for (size_t i = 0; i < COUNT_OF(rows); i++) {
        struct container_exec_options o = WORDS("a");
        struct spec *s;
        struct err e;

        o.user = rows[i].user;
        o.cwd = rows[i].cwd;
        if (rows[i].cap)
            o.caps = list_of(rows[i].cap);
        if (rows[i].env)
            o.env = list_of(rows[i].env);
        if (rows[i].gid)
            o.gids = list_of(rows[i].gid);
        unit_row(rows[i].name, process_of(config_of("", ""), &o, &s, &e) < 0);
        unit_row(rows[i].name, strstr(e.text, rows[i].text) != NULL);
    }
}

static void a_file_is_the_whole_process_but_for_what_the_container_lends_it(void **state)
{
    static const char text[] = "{\"cwd\":\"/tmp\",\"args\":[\"x\"],\"noNewPrivileges\":false}";
    const char *config = config_of("\"noNewPrivileges\":true,\"oomScoreAdj\":5,\"rlimits\":[{"
                                   "\"type\":\"RLIMIT_CORE\",\"soft\":1,\"hard\":1}],"
                                   "\"capabilities\":{\"bounding\":[\"CAP_KILL\"]}",
                                   "");
    char dir[UNIT_PATH_SIZE], path[UNIT_PATH_SIZE + 8];
    struct container_exec_options o = { .process = path };
    const struct spec_process *p;

    (void)state;
    snprintf(path, sizeof path, "%s/p", unit_dir(dir));
    assert_int_equal(file_replace(path, text, sizeof text - 1, 0600, NULL), 0);
    p = &accepted(config, &o)->process;
    unit_remove(dir);
    assert_string_equal(p->cwd, "/tmp");
    assert_true(p->user.uid == 0 && p->env.n == 0 && !p->no_new_privileges);
    assert_true(p->n_rlimits == 1 && p->oom_score_adj.v == 5 && p->user.umask.v == 7);
    assert_int_equal(p->capabilities.bounding.n, 1);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(with_a_pid_namespace_a_stage_joins_and_clones_the_callers_child),
        cmocka_unit_test(without_one_the_process_joins_itself),
        cmocka_unit_test(nothing_is_joined_by_a_dumpable_process_or_before_the_cgroups),
        cmocka_unit_test(labels_are_written_to_the_hosts_proc),
        cmocka_unit_test(in_a_user_namespace_it_becomes_root_first_and_has_no_group_of_the_host),
        cmocka_unit_test(the_filter_comes_last_with_no_new_privileges_and_before_the_ids_without),
        cmocka_unit_test(the_pid_file_is_written_when_the_program_has_been_executed),
        cmocka_unit_test(the_working_directory_is_entered_in_the_container_and_never_made),
        cmocka_unit_test(a_terminal_is_opened_inside_and_taken_before_the_filter),
        cmocka_unit_test(the_master_and_the_pidfd_have_gone_before_the_program_runs),
        cmocka_unit_test(a_console_socket_goes_with_detach_and_a_terminal),
        cmocka_unit_test(preserved_fds_are_not_closed),
        cmocka_unit_test(a_listener_gets_the_process_of_a_container_that_runs),
        cmocka_unit_test(words_are_added_to_what_the_container_has),
        cmocka_unit_test(faults_of_words_name_them),
        cmocka_unit_test(a_file_is_the_whole_process_but_for_what_the_container_lends_it),
    };
    int failed = cmocka_run_group_tests_name("exec", tests, NULL, NULL);

    arena_release(unit_arena());
    return failed;
}
