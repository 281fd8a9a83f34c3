/* SPDX-License-Identifier: Apache-2.0 */
/*
 * OCI hooks, runtime-spec config.md "POSIX-platform Hooks": which become steps when, and how one is
 * run.
 *
 *   kind              who runs it   when                                               state
 *   prestart          runtime       the file system stands, before the pivot           creating
 *   createRuntime     runtime       after those                                        creating
 *   createContainer   init          after those; the path is the runtime's             creating
 *   startContainer    init          after the start wait, before the last filter       created
 *   poststart         runtime       the program has been executed: by `run` or `start` running
 *   poststop          runtime       everything is removed: by `run` or `delete`        stopped
 *
 * A hook is a process of its own, in a process group of its own: standard input is the state, in
 * memory (nobody has to write beside reading); standard output and error are one pipe whose tail
 * becomes part of the message when the hook fails. Nothing else is inherited. init runs hooks too,
 * so hook_step makes system calls and nothing else.
 */
#include <errno.h>
#include <fcntl.h>
#include <poll.h>
#include <sched.h>
#include <signal.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/prctl.h>
#include <sys/signalfd.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

#include <linux/close_range.h>

#include "container/internal.h"

/* ---- which hooks there are ------------------------------------------------------------------ */

static const struct {
    const char *name, *status;
    enum plan_lane lane;
    size_t offset; /* of the list in struct spec_hooks */
} kinds[] = {
    [HOOK_PRESTART] = { "prestart", "creating", LANE_RUNTIME,
                        offsetof(struct spec_hooks, prestart) },
    [HOOK_CREATE_RUNTIME] = { "createRuntime", "creating", LANE_RUNTIME,
                              offsetof(struct spec_hooks, create_runtime) },
    [HOOK_CREATE_CONTAINER] = { "createContainer", "creating", LANE_INIT,
                                offsetof(struct spec_hooks, create_container) },
    [HOOK_START_CONTAINER] = { "startContainer", "created", LANE_INIT,
                               offsetof(struct spec_hooks, start_container) },
    [HOOK_POSTSTART] = { "poststart", "running", LANE_RUNTIME,
                         offsetof(struct spec_hooks, poststart) },
    [HOOK_POSTSTOP] = { "poststop", "stopped", LANE_RUNTIME,
                        offsetof(struct spec_hooks, poststop) },
};

const char *hooks_name(size_t i)
{
    return i < COUNT_OF(kinds) ? kinds[i].name : NULL;
}

const struct spec_hook_list *hooks_of(const struct spec_hooks *h, enum hook_kind kind)
{
    return (const struct spec_hook_list *)((const char *)h + kinds[kind].offset);
}

bool hooks_at_create(const struct spec_hooks *h)
{
    return h->prestart.n > 0 || h->create_runtime.n > 0 || h->create_container.n > 0;
}

/* The pid is known only when the hook runs. */
static const char *render_state(struct arena *a, const struct hook_subject *s, const char *status)
{
    const struct container_state state = { .id = s->id,
                                           .oci_version = s->oci_version,
                                           .bundle = s->bundle,
                                           .status = status,
                                           .pid = -1,
                                           .annotations = s->annotations };
    struct json_out *j = json_out_in(a, false);

    container_state_write(&state, j, NULL);
    return arena_strdup(a, json_out_text(j, NULL));
}

static const char *hook_pointer(struct plan *p, enum hook_kind kind, size_t i)
{
    return plan_pointer(p, "/hooks/%s/%zu", kinds[kind].name, i);
}

/*
 * crun's annotations; SLOT_NONE: not asked for. Opened once by the runtime, so that the path is the
 * host's for every hook; a relative one starts at the bundle.
 */
static int output_slot(struct plan *p, const struct hook_subject *s, enum spec_annotation key)
{
    const struct spec with = { .annotations = s->annotations };
    const char *path = spec_annotation(&with, key);
    struct step *st;

    if (path && path[0] != '/')
        path = arena_format(p->arena, "%s/%s", s->bundle, path);
    for (int i = plan_find(p, OP_HOOK_OUTPUT, 0); path && i >= 0;
         i = plan_find(p, OP_HOOK_OUTPUT, (size_t)i + 1))
        if (str_eq(p->steps[i].hook_output.path, path))
            return p->steps[i].hook_output.out;
    if (!path)
        return SLOT_NONE;
    st = plan_add(p, OP_HOOK_OUTPUT, LANE_RUNTIME,
                  plan_pointer(p, "/annotations/%s", spec_annotation_name(key)));
    st->hook_output.path = path;
    st->hook_output.out = plan_slot(p);
    return st->hook_output.out;
}

void hooks_compile_open(struct plan *p, const struct hook_subject *s)
{
    const struct spec_hooks *h = s->hooks;

    if (hooks_at_create(h) || h->start_container.n > 0 || h->poststart.n > 0) {
        output_slot(p, s, SPEC_ANNOTATION_HOOKS_STDOUT);
        output_slot(p, s, SPEC_ANNOTATION_HOOKS_STDERR);
    }
    for (size_t i = 0; i < h->create_container.n; i++) {
        struct step *st = plan_add(p, OP_HOOK_OPEN, LANE_RUNTIME,
                                   hook_pointer(p, HOOK_CREATE_CONTAINER, i));

        st->hook_open.path = h->create_container.v[i].path;
        st->hook_open.out = plan_slot(p);
    }
}

void hooks_compile(struct plan *p, const struct hook_subject *s, enum hook_kind kind, int pid_slot)
{
    static const char *const nothing[] = { NULL };
    const struct spec_hook_list *list = hooks_of(s->hooks, kind);
    int opened = kind == HOOK_CREATE_CONTAINER ? plan_find(p, OP_HOOK_OPEN, 0) : -1;
    int standard_output, standard_error;
    const char *state;

    if (list->n == 0)
        return;
    standard_output = output_slot(p, s, SPEC_ANNOTATION_HOOKS_STDOUT);
    standard_error = output_slot(p, s, SPEC_ANNOTATION_HOOKS_STDERR);
    state = render_state(p->arena, s, kinds[kind].status);
    for (size_t i = 0; i < list->n; i++) {
        const struct spec_hook *h = &list->v[i];
        const char **name = arena_array(p->arena, 2, sizeof *name);
        struct step *st = plan_add(p, OP_HOOK, kinds[kind].lane, hook_pointer(p, kind, i));

        name[0] = h->path;
        st->hook.kind = kinds[kind].name;
        st->hook.index = (int64_t)i;
        st->hook.path = h->path;
        st->hook.argv = h->args.n > 0 ? h->args.v : name;
        st->hook.envp = h->env.n > 0 ? h->env.v : nothing;
        /* As runc has it: nothing of the caller's environment, but the process's own inside. */
        if (kind == HOOK_START_CONTAINER && !h->env.set && s->process_env && s->process_env->n)
            st->hook.envp = s->process_env->v;
        st->hook.timeout = h->timeout.set ? h->timeout.v : 0;
        st->hook.state = state;
        st->hook.standard_output = standard_output;
        st->hook.standard_error = standard_error;
        st->hook.pid = kinds[kind].lane == LANE_RUNTIME ? pid_slot : SLOT_NONE;
        if (opened >= 0) {
            st->hook.binary = p->steps[opened].hook_open.out;
            opened = plan_find(p, OP_HOOK_OPEN, (size_t)opened + 1);
        }
    }
}

bool hooks_have_begun(const struct plan *p, int last_step)
{
    int first = plan_find(p, OP_HOOK, 0), serve = plan_find(p, OP_MACHINE_SERVE, 0), before;

    if (first < 0 && serve >= 0 && p->steps[serve].machine_serve.hooks)
        first = serve;
    before = first;
    /* A runtime's hook has a barrier of its own before it; init waits before its first one. */
    while (--before >= 0 && p->steps[before].lane != LANE_RUNTIME)
        ;
    return first >= 0 && last_step >= before;
}

/* ---- one hook ------------------------------------------------------------------------------- */

enum {
    OUTPUT_TAIL = 4096,    /* bytes kept of what the hook says */
    SAID_SIZE = 300,       /* of these in the message */
    DRAIN_READS = 64,      /* what it started in the background may go on writing for ever */
    MAX_WAIT_MS = 3600000, /* poll(2) counts in int */
};

struct hook_child {
    pid_t pid;
    int pidfd;
    int output; /* pipe of its stdout and stderr */
    int report; /* pipe: errno of the exec that failed */
    char tail[OUTPUT_TAIL + 1];
    size_t len;
};

int hook_open_step(const struct op_hook_open *op, struct slots *slots, struct err *e)
{
    int fd = openat(AT_FDCWD, op->path, O_PATH | O_CLOEXEC);

    if (fd < 0)
        return err_set(e, errno, "cannot open the hook '%s'", op->path);
    slots->value[op->out] = fd;
    return 0;
}

int hook_output_step(const struct op_hook_output *op, struct slots *slots, struct err *e)
{
    /* A FIFO that nobody reads is refused (ENXIO), not waited for; a hook's own writes may wait. */
    AUTO_FD int fd = openat(AT_FDCWD, op->path,
                            O_WRONLY | O_APPEND | O_CREAT | O_CLOEXEC | O_NOCTTY | O_NONBLOCK,
                            0600);

    if (fd < 0 || fcntl(fd, F_SETFL, O_APPEND) < 0)
        return err_set(e, errno, "cannot open '%s' for the output of hooks", op->path);
    slots->value[op->out] = take_fd(&fd);
    return 0;
}

/* The state with the pid in it: stdin of the hook. */
static int make_input(const struct execution *x, const struct op_hook *op, struct err *e)
{
    char pid[32] = "";
    size_t len = strlen(op->state), pid_len = 0;
    AUTO_FD int fd = (int)sys_note("memfd_create(2) of Linux 3.17",
                                   memfd_create("hook-state", MFD_CLOEXEC));

    /* runtime-spec runtime.md: the pid as the hook's own namespaces count; none when stopped. */
    if (x->lane == LANE_INIT)
        pid_len = base_format(pid, sizeof pid, ",\"pid\":%d", getpid());
    else if (op->pid >= 0)
        pid_len = base_format(pid, sizeof pid, ",\"pid\":%d", x->slots.value[op->pid]);
    if (fd < 0 || fd_write_all(fd, op->state, len - 1) < 0 || fd_write_all(fd, pid, pid_len) < 0 ||
        fd_write_all(fd, "}", 1) < 0 || lseek(fd, 0, SEEK_SET) < 0)
        return err_set(e, errno, "cannot write the state for the hook");
    return take_fd(&fd);
}

static bool is_same_file(const char *path, int fd)
{
    struct stat a, b;

    return stat(path, &a) == 0 && fstat(fd, &b) == 0 && a.st_dev == b.st_dev &&
           a.st_ino == b.st_ino;
}

/*
 * The path is the runtime's. In init it still leads to the same file, unless init has joined a
 * mount namespace or may not search a directory; then the fd serves. By path where possible, for a
 * script started by fd sees "/dev/fd/N" as its name and has that fd open. Returns errno.
 */
static int exec_hook(const struct op_hook *op, int binary)
{
    char *const *argv = (char *const *)op->argv, *const *envp = (char *const *)op->envp;

    if (binary < 0 || is_same_file(op->path, binary))
        execve(op->path, argv, envp);
    if (binary < 0)
        return errno;
    sys_execveat(binary, "", argv, envp, AT_EMPTY_PATH);
    /* execveat(2) BUGS: an interpreter cannot open what the exec has closed. */
    if (errno == ENOENT && fcntl(binary, F_SETFD, 0) == 0)
        sys_execveat(binary, "", argv, envp, AT_EMPTY_PATH);
    return errno;
}

static int fd_of(const struct slots *slots, int slot, int otherwise)
{
    return slot >= 0 && slots->value[slot] >= 0 ? slots->value[slot] : otherwise;
}

static _Noreturn void be_hook(const struct op_hook *op, const struct slots *slots, int in, int out,
                              int report)
{
    static const unsigned long zero[8]; /* SIG_DFL, no flags, empty mask: see security/step.c */
    int error;

    for (int signal = 1; signal <= 64; signal++)
        syscall(SYS_rt_sigaction, signal, zero, NULL, (size_t)8);
    syscall(SYS_rt_sigprocmask, SIG_SETMASK, zero, NULL, (size_t)8);
    setpgid(0, 0);
    prctl(PR_SET_PDEATHSIG, SIGKILL, 0, 0, 0);
    if (dup2(in, STDIN_FILENO) < 0 ||
        dup2(fd_of(slots, op->standard_output, out), STDOUT_FILENO) < 0 ||
        dup2(fd_of(slots, op->standard_error, out), STDERR_FILENO) < 0 ||
        sys_close_range(3, ~0u, CLOSE_RANGE_CLOEXEC) < 0)
        error = errno;
    else
        error = exec_hook(op, fd_of(slots, op->binary, -1));
    fd_write_all(report, &error, sizeof error);
    _exit(127);
}

static int spawn(const struct execution *x, const struct op_hook *op, struct hook_child *c,
                 struct err *e)
{
    int output[2], report[2];
    AUTO_FD int in = make_input(x, op, e);
    AUTO_FD int out = -1;
    AUTO_FD int report_in = -1;

    if (in < 0)
        return in;
    if (pipe2(output, O_CLOEXEC) < 0)
        return err_set(e, errno, "cannot make a pipe for the hook");
    c->output = output[0];
    out = output[1];
    if (pipe2(report, O_CLOEXEC) < 0)
        return err_set(e, errno, "cannot make a pipe for the hook");
    c->report = report[0];
    report_in = report[1];
    /* Whoever ignores SIGCHLD is not told how its children end; in init nobody does any more. */
    if (x->lane == LANE_RUNTIME)
        signal(SIGCHLD, SIG_DFL);
    /* clone(2), not clone3: that is what container profiles allow, and without noNewPrivileges the
     * filter is loaded by now. The pidfd goes where the third argument points. */
    c->pid = (pid_t)syscall(SYS_clone, CLONE_PIDFD | SIGCHLD, 0, &c->pidfd, 0, 0);
    if (c->pid == 0)
        be_hook(op, &x->slots, in, out, report_in);
    if (c->pid < 0)
        return err_set(e, errno, "cannot make the hook's process");
    setpgid(c->pid, c->pid); /* both do it, so that it is done for both */
    return 0;
}

/* One read; false when there is nothing more to come. Keeps the end of it all. */
static bool read_output(struct hook_child *c)
{
    char part[1024];
    ssize_t n = read(c->output, part, sizeof part);
    size_t len = n > 0 ? (size_t)n : 0, excess;

    if (n <= 0)
        return n < 0 && errno == EINTR;
    excess = c->len + len > OUTPUT_TAIL ? c->len + len - OUTPUT_TAIL : 0;
    memmove(c->tail, c->tail + excess, c->len - excess);
    memcpy(c->tail + c->len - excess, part, len);
    c->len += len - excess;
    return true;
}

static int64_t now_ms(void)
{
    struct timespec now;

    clock_gettime(CLOCK_MONOTONIC, &now);
    return (int64_t)now.tv_sec * 1000 + now.tv_nsec / 1000000;
}

static int ms_until(int64_t deadline)
{
    int64_t left = deadline - now_ms();

    return left < 0 ? 0 : left > MAX_WAIT_MS ? MAX_WAIT_MS : (int)left;
}

/*
 * Until the hook has ended: 0. Negative: it has to be ended, by its timeout, by a signal that ends
 * the start, or because the process at the other end of the socket is gone.
 */
static int await(struct execution *x, const struct op_hook *op, struct hook_child *c, struct err *e)
{
    bool limited = op->timeout > 0;
    int64_t seconds = op->timeout < INT32_MAX ? op->timeout : INT32_MAX;
    int64_t deadline = limited ? now_ms() + seconds * 1000 : 0;
    bool is_runtime = x->lane == LANE_RUNTIME;
    struct pollfd fds[] = { { c->pidfd, POLLIN, 0 },
                            { c->output, POLLIN, 0 },
                            { is_runtime ? execute_signal_fd(x) : -1, POLLIN, 0 },
                            { x->peer_closed ? -1 : x->sock, 0, 0 } };

    while (poll(fds, COUNT_OF(fds), limited ? ms_until(deadline) : MAX_WAIT_MS) >= 0 ||
           errno == EINTR) {
        struct signalfd_siginfo info;

        if (fds[0].revents)
            return 0;
        if (fds[1].revents && !read_output(c))
            fds[1].fd = -1;
        if (fds[2].revents && read(fds[2].fd, &info, sizeof info) == sizeof info)
            return execute_interrupted(x, (int)info.ssi_signo, e);
        if (fds[3].revents & (POLLHUP | POLLERR))
            return err_set(e, ESRCH, "error running %s hook #%d: the %s is gone", op->kind,
                           (int)op->index, is_runtime ? "container's init process" : "runtime");
        if (limited && ms_until(deadline) == 0)
            return err_set(e, ETIMEDOUT,
                           "error running %s hook #%d: hook ran past specified timeout of %lld s",
                           op->kind, (int)op->index, (long long)op->timeout);
    }
    return err_set(e, errno, "cannot wait for the hook '%s'", op->path);
}

/* The end of what it said, on one line. */
static const char *said(const struct hook_child *c, char buf[SAID_SIZE])
{
    size_t end = c->len, start;

    while (end > 0 && (c->tail[end - 1] == '\n' || c->tail[end - 1] == ' '))
        end--;
    start = end >= SAID_SIZE ? end - (SAID_SIZE - 1) : 0;
    memcpy(buf, c->tail + start, end - start);
    buf[end - start] = 0;
    for (char *at = buf; *at; at++)
        if (*at == '\n')
            *at = ' ';
    return buf;
}

/* All of what is kept goes to the log; a child must not write there. */
static void log_output(const struct execution *x, const struct op_hook *op, struct hook_child *c)
{
    char *line = c->tail;

    if (x->lane != LANE_RUNTIME || !log_sink)
        return;
    c->tail[c->len] = 0;
    while (*line) {
        size_t len = strcspn(line, "\n");

        log_debug("%s hook #%d: %.*s", op->kind, (int)op->index, (int)len, line);
        line += len + (line[len] == '\n');
    }
}

static int hook_failed(const struct op_hook *op, const siginfo_t *end, struct hook_child *c,
                       struct err *e)
{
    char text[SAID_SIZE];
    int error = 0;

    if (read(c->report, &error, sizeof error) == sizeof error)
        return err_set(e, error, "error running %s hook #%d: cannot execute '%s'", op->kind,
                       (int)op->index, op->path);
    err_set(e, 0, "error running %s hook #%d: %s %d%s%s", op->kind, (int)op->index,
            end->si_code == CLD_EXITED ? "exit status" : "killed by signal", end->si_status,
            c->len > 0 ? ", output: " : "", said(c, text));
    return -EINVAL;
}

static void end_child(struct hook_child *c, int r, siginfo_t *end)
{
    struct pollfd more = { c->output, POLLIN, 0 };

    if (r < 0) {
        kill(-c->pid, SIGKILL);
        sys_pidfd_send_signal(c->pidfd, SIGKILL); /* should it have left its group */
    }
    while (waitid(P_PIDFD, (id_t)c->pidfd, end, WEXITED) < 0 && errno == EINTR)
        ;
    for (int i = 0; i < DRAIN_READS && poll(&more, 1, 0) > 0 && read_output(c); i++)
        ;
}

int hook_step(struct execution *x, const struct op_hook *op, struct err *e)
{
    struct hook_child c = { .pidfd = -1, .output = -1, .report = -1 };
    siginfo_t end = { .si_code = CLD_EXITED };
    int r = spawn(x, op, &c, e);

    if (r == 0) {
        char text[SAID_SIZE];

        r = await(x, op, &c, e);
        end_child(&c, r, &end);
        if (r == 0 && (end.si_code != CLD_EXITED || end.si_status != 0))
            r = hook_failed(op, &end, &c, e);
        else if (r == -ETIMEDOUT && c.len > 0)
            err_hint(e, "output: %s", said(&c, text));
        if (r < 0)
            log_output(x, op, &c);
    }
    fd_cleanup(&c.pidfd);
    fd_cleanup(&c.output);
    fd_cleanup(&c.report);
    return r;
}

/* ---- start and delete: from the private copy of the config ---------------------------------- */

static const struct spec_hooks *hooks_of_record(const struct state_record *r, struct arena *a)
{
    static const struct spec_hooks none;
    struct spec *s;
    struct err e = { 0 };

    if (!r->has_hooks)
        return &none;
    if (spec_parse(a, r->config, r->config_len, &s, NULL, &e) < 0) {
        log_debug("the hooks of '%s' are lost: %s", r->id, e.text);
        return &none;
    }
    return &s->hooks;
}

struct hook_subject hooks_subject_of_record(const struct state_record *r, struct arena *a)
{
    return (struct hook_subject){ .hooks = hooks_of_record(r, a),
                                  .oci_version = r->oci_version,
                                  .id = r->id,
                                  .bundle = r->bundle,
                                  .annotations = r->annotations };
}
