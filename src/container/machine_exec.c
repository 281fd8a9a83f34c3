/* SPDX-License-Identifier: Apache-2.0 */
/*
 * `exec` in a machine. The guest's teca does it; on the host a process stands for the one that it makes, as the
 * monitor stands for the container's own: its pid is what the pid file says, its fds are the process's, what is
 * sent to it is sent to that, and it ends as that ends. When it is killed, the process is.
 */
#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <signal.h>
#include <string.h>
#include <sys/ioctl.h>
#include <sys/prctl.h>
#include <sys/socket.h>
#include <unistd.h>

#include "container/machine.h"

enum {
    START_MS = 120000, /* by an emulated processor on a busy host */
    CHUNK = PIPE_BUF,  /* what a pipe that poll(2) calls writable takes at once */
};

/* ---- the plan -------------------------------------------------------------------------------- */

static void add(const char **v, size_t *n, const char *flag, const char *value)
{
    if (!value)
        return;
    v[(*n)++] = flag;
    v[(*n)++] = value;
}

static void add_list(const char **v, size_t *n, const char *flag, const struct str_list *values)
{
    for (size_t i = 0; i < values->n; i++)
        add(v, n, flag, values->v[i]);
}

/* The command line of the guest's teca: what this one was told, but for what is of the host. */
static const char *const *guest_args(const struct exec_machine_in *in, struct arena *a)
{
    enum { FIXED = 32 };
    const struct container_exec_options *x = in->options;
    const char **v = arena_array(
        a, FIXED + 2 * (x->env.n + x->gids.n + x->caps.n + x->cgroups.n) + x->args.n, sizeof *v);
    size_t n = 0;

    v[n++] = "exec";
    v[n++] = "--detach";
    add(v, &n, "--pid-file", MUX_PID_FILE);
    if (in->spec->process.terminal)
        add(v, &n, "--console-socket", MUX_CONSOLE);
    if (x->ignore_paused)
        v[n++] = "--ignore-paused";
    add_list(v, &n, "--cgroup", &x->cgroups);
    if (x->process) {
        add(v, &n, "--process", MUX_INPUT);
    } else {
        if (x->tty)
            v[n++] = "--tty";
        if (x->no_new_privs)
            v[n++] = "--no-new-privs";
        add(v, &n, "--cwd", x->cwd);
        add(v, &n, "--user", x->user);
        add(v, &n, "--process-label", x->process_label);
        add(v, &n, "--apparmor", x->apparmor);
        add_list(v, &n, "--env", &x->env);
        add_list(v, &n, "--additional-gids", &x->gids);
        add_list(v, &n, "--cap", &x->caps);
    }
    v[n++] = MUX_CONTAINER;
    for (size_t i = 0; !x->process && i < x->args.n; i++) {
        if (i == 0)
            v[n++] = "--";
        v[n++] = x->args.v[i];
    }
    v[n] = NULL;
    return v;
}

int machine_compile_exec(const struct exec_machine_in *in, struct plan *p, struct exec_out *out,
                         struct err *e)
{
    const struct compile_in fds = { .console_socket = in->console_socket,
                                    .pidfd_socket = in->pidfd_socket,
                                    .detach = in->detach };
    int r = terminal_check(in->spec, &fds, e), cgroup_slot;
    struct terminal_slots t;
    struct step *st;

    if (r < 0)
        return r;
    exec_compile_slots(p, out);
    terminal_compile_connect(p, &fds, &t);
    cgroup_slot = exec_compile_cgroup(p, in->facts);
    st = plan_add(p, OP_CLONE, LANE_RUNTIME, "");
    st->clone.cgroup = cgroup_slot;
    st->clone.out_pid = out->pid_slot;
    st->clone.out_pidfd = out->pidfd_slot;
    plan_add(p, OP_SETSID, LANE_INIT, "");
    exec_compile_joins(p, in->facts, LANE_INIT);
    terminal_compile_inherited(p, &t);
    terminal_compile_open(p, in->spec, SLOT_NONE, &t);
    if (t.terminal != SLOT_NONE)
        terminal_compile_stdio(p, in->spec, &t);
    terminal_compile_pidfd(p, &t, out->pidfd_slot, "setns");
    terminal_compile_hand_on(p, &t);
    st = plan_add(p, OP_MACHINE_EXEC, LANE_INIT, "/process/args");
    st->machine_exec.dir = in->dir;
    st->machine_exec.args = guest_args(in, p->arena);
    st->machine_exec.input = in->options->process_text;
    st->machine_exec.terminal = in->spec->process.terminal;
    st->machine_exec.patient = in->options->ignore_paused;
    st->after = plan_last(p, LANE_RUNTIME);
    return exec_compile_end(p, in->pid_file, out, e);
}

/* ---- bytes ----------------------------------------------------------------------------------- */

/* One way: -1 in `from`: nothing more comes; in `to`: nobody reads. */
struct flow {
    int from, to;
    size_t begin, end;
    char data[CHUNK];
};

static struct relay_of_exec {
    int control, signals;
    bool terminal, ended;
    unsigned status;
    struct flow flows[3]; /* by the number of the fd */
} relay;

static bool is_empty(const struct flow *f)
{
    return f->begin == f->end;
}

/* Ends of pipes are closed, so that the other side learns of it; 0, 1 and 2 stay. */
static void close_end(int *fd)
{
    if (*fd > STDERR_FILENO)
        close(*fd);
    *fd = -1;
}

static void read_flow(struct flow *f)
{
    ssize_t n = read(f->from, f->data, sizeof f->data);

    if (n < 0 && fd_is_later())
        return;
    f->begin = 0;
    f->end = n > 0 ? (size_t)n : 0;
    if (n <= 0)
        close_end(&f->from);
}

static void write_flow(struct flow *f)
{
    ssize_t n = write(f->to, f->data + f->begin, f->end - f->begin);

    if (n > 0)
        f->begin += (size_t)n;
    else if (!fd_is_later()) {
        close_end(&f->to);
        close_end(&f->from);
        f->begin = f->end;
    }
}

static void settle_flow(struct flow *f)
{
    if (is_empty(f) && f->from < 0)
        close_end(&f->to);
}

static bool is_done(const struct flow *f)
{
    return f->from < 0 && is_empty(f);
}

/* ---- words and signals ----------------------------------------------------------------------- */

static void tell_size(const struct relay_of_exec *r)
{
    struct winsize size;

    if (r->terminal && ioctl(STDIN_FILENO, TIOCGWINSZ, &size) == 0)
        machine_say(r->control, CONTROL_RESIZE, size.ws_row, size.ws_col);
}

/* True: nobody waits for the last words of a process that has ended. */
static bool take_signals(struct relay_of_exec *r)
{
    struct signalfd_siginfo info;
    bool enough = false;

    while (read(r->signals, &info, sizeof info) == sizeof info) {
        switch (machine_word_of(&info, r->terminal)) {
        case MACHINE_SIZE:
            tell_size(r);
            break;
        case MACHINE_HANGUP:
            close_end(&r->flows[0].from);
            break;
        case MACHINE_FORWARD:
            machine_say(r->control, CONTROL_SIGNAL, info.ssi_signo, 0);
            enough |= r->ended && execute_is_fatal_signal((int)info.ssi_signo);
            break;
        case MACHINE_NOTHING:
            break;
        }
    }
    return enough;
}

/* The machine has ended, and so has every process in it, as when an init ends. */
static void take_word(struct relay_of_exec *r)
{
    struct control_word word;
    struct err ignored;
    int heard = machine_hear(r->control, -1, &word, &ignored);

    if (heard == 0 || (heard > 0 && word.verb != CONTROL_EXIT && word.verb != CONTROL_FAILED))
        return;
    r->ended = true;
    r->status = heard > 0 && word.verb == CONTROL_EXIT ? word.value : MUX_BY_SIGNAL + SIGKILL;
}

/* One wait, and what there is to do then. False: enough. */
static bool turn(struct relay_of_exec *r)
{
    enum { OWN = 2 };
    struct pollfd fds[OWN + 6] = { { r->ended ? -1 : r->control, POLLIN, 0 },
                                   { r->signals, POLLIN, 0 } };

    for (int i = 0; i < 3; i++) {
        const struct flow *f = &r->flows[i];

        fds[OWN + 2 * i] = (struct pollfd){ is_empty(f) ? f->from : -1, POLLIN, 0 };
        fds[OWN + 2 * i + 1] = (struct pollfd){ is_empty(f) ? -1 : f->to, POLLOUT, 0 };
    }
    if (poll(fds, COUNT_OF(fds), -1) < 0)
        return errno == EINTR;
    for (int i = 0; i < 3; i++) {
        struct flow *f = &r->flows[i];

        if (fds[OWN + 2 * i + 1].revents)
            write_flow(f);
        if (fds[OWN + 2 * i].revents && is_empty(f) && f->from >= 0)
            read_flow(f);
        settle_flow(f);
    }
    if (fds[0].revents)
        take_word(r);
    return !fds[1].revents || !take_signals(r);
}

/* ---- the step -------------------------------------------------------------------------------- */

/*
 * Who has started it says nothing before the program runs, but may be killed meanwhile. In a container that is paused the program
 * runs when that is resumed, as on a host.
 */
static int await_start(const struct relay_of_exec *r, const struct op_machine_exec *op, int runtime,
                       struct err *e)
{
    enum { LOOK_MS = 200, MS = 1000000 };
    const int64_t until = container_clock_ns() + (int64_t)START_MS * MS;
    struct machine_patience patience;
    struct control_word word;

    machine_patience_begin(&patience, op->dir, 0);
    while (op->patient || container_clock_ns() < until) {
        struct pollfd fds[] = { { r->control, POLLIN, 0 }, { runtime, POLLIN, 0 } };
        int heard;

        if (poll(fds, COUNT_OF(fds), LOOK_MS) == 0) {
            heard = machine_look(&patience, r->control, e);
            if (heard < 0)
                return heard;
            continue;
        }
        if (fds[1].revents && fd_is_hung_up(runtime))
            return err_set(e, EPIPE, "the runtime has gone");
        heard = fds[0].revents ? machine_hear(r->control, 0, &word, e) : 0;
        if (heard < 0)
            return heard;
        if (heard > 0 && word.verb == CONTROL_FAILED)
            return err_set(e, 0, "%s", word.text);
        if (heard > 0)
            return 0;
    }
    return err_set(e, ETIMEDOUT, "the machine does not answer");
}

static void answer(struct execution *x)
{
    struct record rec = { .kind = RECORD_EXEC_NEXT, .step = plan_last(x->plan, LANE_INIT) };

    fd_write_all(x->sock, &rec, sizeof rec);
    close(x->sock);
    x->sock = -1;
}

/* Of pipes that the process has left to others there may be more: a child goes on with them, for that is its end. */
static _Noreturn void end(const struct relay_of_exec *r)
{
    bool more = false;

    for (int i = 1; i < 3; i++)
        more |= !is_done(&r->flows[i]);
    if (!more || fork() != 0)
        machine_end_as(r->status);
    while (!is_done(&relay.flows[1]) || !is_done(&relay.flows[2]))
        if (!turn(&relay))
            break;
    _exit(0);
}

/* What lies in the pipes when the monitor tells the end is the process's own. */
static size_t owed(const struct flow *f)
{
    int n = 0;

    if (f->from < 0 || ioctl(f->from, FIONREAD, &n) < 0)
        n = 0;
    return (size_t)n + (f->end - f->begin);
}

static _Noreturn void serve(struct relay_of_exec *r)
{
    bool enough = false;

    while (!r->ended && !enough)
        enough = !turn(r);
    close_end(&r->flows[0].from);
    while (!enough && (owed(&r->flows[1]) > 0 || owed(&r->flows[2]) > 0))
        enough = !turn(r);
    if (enough)
        machine_end_as(r->status);
    /* Where nobody else has them, their ends were there before the word. */
    for (int i = 1; i < 3; i++) {
        struct pollfd fd = { r->flows[i].from, POLLIN, 0 };

        if (fd.fd >= 0 && poll(&fd, 1, 0) == 1 && fd.revents == POLLHUP)
            close_end(&r->flows[i].from);
    }
    end(r);
}

int machine_exec_step(struct execution *x, const struct op_machine_exec *op, struct err *e)
{
    const struct machine_request q = { .kind = CONTROL_EXEC,
                                       .args = op->args,
                                       .input = op->input,
                                       .input_len = op->input ? strlen(op->input) : 0,
                                       .terminal = op->terminal };
    int pipes[3] = { 0, 0, op->terminal ? -1 : 0 };
    struct relay_of_exec *r = &relay;
    int ready = op->terminal ? machine_take_terminal(e) : 0;

    machine_close_inherited();
    *r = (struct relay_of_exec){ .terminal = op->terminal };
    r->signals = signalfd(-1, &x->signals, SFD_CLOEXEC | SFD_NONBLOCK);
    if (ready == 0 && r->signals < 0)
        ready = err_set(e, errno, "cannot wait for signals");
    if (ready == 0)
        ready = r->control = machine_request(op->dir, &q, pipes, e);
    if (ready >= 0)
        ready = await_start(r, op, x->sock, e);
    if (ready < 0)
        return ready;
    prctl(PR_SET_DUMPABLE, 0);
    fcntl(pipes[0], F_SETFL, O_NONBLOCK);
    machine_own_stdio();
    r->flows[0] = (struct flow){ .from = STDIN_FILENO, .to = pipes[0] };
    r->flows[1] = (struct flow){ .from = pipes[1], .to = STDOUT_FILENO };
    r->flows[2] = (struct flow){ .from = pipes[2], .to = STDERR_FILENO };
    tell_size(r);
    answer(x);
    serve(r);
}
