/* SPDX-License-Identifier: Apache-2.0 */
/*
 * One executor for all lanes. Each process walks the plan, does the steps of its own lane, waits
 * where plan_finish found a wait, and hands over where another lane waits for it.
 *
 *   runtime ── socketpair ── init (or stage, which clones init and ends)
 *
 * Messages are whole `struct record`s on a stream socket, with read(2) and write(2) only, for init
 * may be under the user's seccomp filter by then; an fd that goes along (travelling_slot) does so
 * before that. Init's end closes at exec (CLOEXEC): "exec next"
 * followed by that end and by no error is success; any other end is a failure.
 *
 * Between clone and exec a child makes system calls and nothing else: no malloc, no stdio.
 */
#include <errno.h>
#include <fcntl.h>
#include <poll.h>
#include <signal.h>
#include <string.h>
#include <sys/signalfd.h>
#include <sys/socket.h>
#include <sys/syscall.h>
#include <sys/wait.h>
#include <unistd.h>

#include "container/criu.h"
#include "container/machine.h"
#include "net/machine.h"

/* ---- which room executes which operation --------------------------------------------------- */

typedef int room_step(const struct step *st, struct slots *slots, struct err *e);
static room_step *const rooms[OP_COUNT] = {
    [OP_NS_OPEN] = ns_step,
    [OP_NS_JOIN] = ns_step,
    [OP_NS_ENTER] = ns_step,
    [OP_NS_UNSHARE] = ns_step,
    [OP_NS_ID_MAPS] = ns_step,
    [OP_NS_MAP_TOOL] = ns_step,
    [OP_NS_BECOME_ROOT] = ns_step,
    [OP_NS_TIME_OFFSETS] = ns_step,
    [OP_NS_HOSTNAME] = ns_step,
    [OP_NS_DOMAINNAME] = ns_step,
    [OP_NS_SYSCTL] = ns_step,
    [OP_CGROUP_MAKE] = cgroup_step,
    [OP_UNIT_START] = unit_step,
    [OP_UNIT_RELEASE] = unit_step,
    [OP_UNIT_STOP] = unit_step,
    [OP_CGROUP_FILL] = cgroup_step,
    [OP_CGROUP_OPEN] = cgroup_step,
    [OP_CGROUP_JOIN] = cgroup_step,
    [OP_CGROUP_ENABLE] = cgroup_step,
    [OP_CGROUP_SET] = cgroup_step,
    [OP_CGROUP_OWN] = cgroup_step,
    [OP_DEVICE_FILTER] = device_step,
    [OP_DEVICE_ATTACH] = device_step,
    [OP_DEVICE_RULES] = device_step,
    [OP_CGROUP_THAW] = cgroup_step,
    [OP_CGROUP_REMOVE] = cgroup_step,
    [OP_RDT_GROUP] = rdt_step,
    [OP_RDT_SCHEMATA] = rdt_step,
    [OP_RDT_JOIN] = rdt_step,
    [OP_RDT_REMOVE] = rdt_step,
    [OP_ROOT_OPEN] = rootfs_step,
    [OP_IDMAP_NS] = rootfs_step,
    [OP_MOUNT_IDMAP] = rootfs_step,
    [OP_ROOT_PROPAGATION] = rootfs_step,
    [OP_ROOT_ATTACH] = rootfs_step,
    [OP_MOUNT] = rootfs_step,
    [OP_MOUNT_ATTR] = rootfs_step,
    [OP_DIRECTORY] = rootfs_step,
    [OP_DEVICE] = rootfs_step,
    [OP_SYMLINK] = rootfs_step,
    [OP_MASK] = rootfs_step,
    [OP_READONLY] = rootfs_step,
    [OP_ROOT_READONLY] = rootfs_step,
    [OP_PIVOT] = rootfs_step,
    [OP_CHDIR] = rootfs_step,
    [OP_MOVE_ROOT] = rootfs_step,
    [OP_SOCKET_CONNECT] = terminal_step,
    [OP_SOCKET_SEND] = terminal_step,
    [OP_CLOSE] = terminal_step,
    [OP_TERMINAL_OPEN] = terminal_step,
    [OP_TERMINAL_CONSOLE] = terminal_step,
    [OP_TERMINAL_ATTACH] = terminal_step,
    [OP_STDIO_OWNER] = terminal_step,
    [OP_CWD] = rootfs_step,
    [OP_LOOPBACK_UP] = net_step,
    [OP_NET_DEVICE_MOVE] = net_device_step,
    [OP_NET_DEVICE_BACK] = net_device_step,
    [OP_NET_TAP] = net_machine_step,
    [OP_NET_REDIRECT] = net_machine_step,
    [OP_NET_UNREDIRECT] = net_machine_step,
    [OP_UNDUMPABLE] = sec_step,
    [OP_SETSID] = sec_step,
    [OP_RLIMIT] = sec_step,
    [OP_OOM_SCORE_ADJ] = sec_step,
    [OP_UMASK] = sec_step,
    [OP_BOUNDING_DROP] = sec_step,
    [OP_GROUPS] = sec_step,
    [OP_IDS] = sec_step,
    [OP_CAPABILITIES] = sec_step,
    [OP_AMBIENT] = sec_step,
    [OP_NO_NEW_PRIVS] = sec_step,
    [OP_SECCOMP_COMPILE] = sec_step,
    [OP_SECCOMP_LOAD] = sec_step,
    [OP_CPU_AFFINITY] = sec_step,
    [OP_SCHEDULER] = sec_step,
    [OP_IO_PRIORITY] = sec_step,
    [OP_AFFINITY] = sec_step,
    [OP_MEMORY_POLICY] = sec_step,
    [OP_PERSONALITY] = sec_step,
    [OP_KEYRING] = sec_step,
    [OP_EXEC_LABEL] = sec_step,
    [OP_LANDLOCK_RULESET] = sec_step,
    [OP_LANDLOCK_PATH] = sec_step,
    [OP_LANDLOCK_PORT] = sec_step,
    [OP_LANDLOCK_RESTRICT] = sec_step,
    [OP_CLOSE_FDS] = sec_step,
    [OP_SIGNALS] = sec_step,
};

/* How a child ends that has not executed the program. */
enum { CHILD_FAILED = 1 };

/* ---- messages ------------------------------------------------------------------------------ */

static int send_record(int fd, enum record_kind kind, int step, int code, const char *text)
{
    struct record rec = { .kind = kind, .step = step, .code = code };

    if (text)
        base_format(rec.text, sizeof rec.text, "%s", text);
    return fd_write_all(fd, &rec, sizeof rec);
}

pid_t execute_pid_of(int pidfd)
{
    char path[64], text[512], *at;
    ssize_t n;
    uint64_t pid;
    AUTO_FD int fd = -1;

    base_format(path, sizeof path, "/proc/self/fdinfo/%d", pidfd);
    fd = openat(AT_FDCWD, path, O_RDONLY | O_CLOEXEC);
    n = fd < 0 ? 0 : read(fd, text, sizeof text - 1);
    text[n > 0 ? n : 0] = 0;
    at = strstr(text, "Pid:\t");
    if (!at)
        return 0;
    at += 5;
    at[strcspn(at, "\n")] = 0;
    return str_to_u64(at, &pid) < 0 ? 0 : (pid_t)pid;
}

/*
 * A slot that a child fills and the runtime uses: its fd travels with that step's DONE, which is
 * then said whether or not anybody waits for this very step. -1: nothing travels.
 */
static int travelling_slot(const struct step *st)
{
    if (st->op == OP_CLONE && st->lane == LANE_STAGE)
        return st->clone.out_pidfd;
    if (st->op == OP_CRIU_SOCKET)
        return st->criu_socket.out_socket;
    return st->op == OP_TERMINAL_OPEN ? st->terminal_open.out_master : SLOT_NONE;
}

/* The runtime has its own copy then; one that stayed here would keep the other side waiting. */
static int send_slot(struct execution *x, int step, int slot, struct err *e)
{
    struct record rec = { .kind = RECORD_DONE, .step = step };
    int r = fd_send(x->sock, &rec, sizeof rec, x->slots.value[slot]);

    fd_cleanup(&x->slots.value[slot]);
    return r < 0 ? err_set(e, -r, "cannot hand a file descriptor to the runtime") : 0;
}

/*
 * A child is through with a step that fills such a slot. A read ends with the message that has an
 * fd (unix(7)), so between two reads of the runtime there is one at most.
 */
static int take_slot(struct execution *x, const struct step *st, struct err *e)
{
    int slot = travelling_slot(st);

    if (slot == SLOT_NONE)
        return 0;
    if (x->inbox_fd < 0)
        return err_set(e, EBADMSG, "the container's init process sent no file descriptor");
    x->slots.value[slot] = take_fd(&x->inbox_fd);
    if (st->op != OP_CLONE)
        return 0;
    /* The stage has cloned init, and ends now. */
    x->slots.value[st->clone.out_pid] = execute_pid_of(x->slots.value[slot]);
    waitpid(x->stage_pid, NULL, 0);
    x->stage_pid = 0;
    return 0;
}

static void keep_fd(struct execution *x, struct msghdr *msg)
{
    const struct cmsghdr *c = CMSG_FIRSTHDR(msg);

    if (c && c->cmsg_level == SOL_SOCKET && c->cmsg_type == SCM_RIGHTS &&
        c->cmsg_len == CMSG_LEN(sizeof x->inbox_fd))
        memcpy(&x->inbox_fd, CMSG_DATA(c), sizeof x->inbox_fd);
}

/* Reads once. 1: something came. 0: nothing, or (x->peer_closed) nothing will any more. */
static int fill_inbox(struct execution *x, int flags, struct err *e)
{
    union {
        char space[CMSG_SPACE(sizeof(int))];
        struct cmsghdr align;
    } control;
    struct iovec part = { (char *)x->inbox + x->inbox_bytes, sizeof x->inbox - x->inbox_bytes };
    struct msghdr msg = {
        .msg_iov = &part, .msg_iovlen = 1, .msg_control = &control, .msg_controllen = sizeof control
    };
    ssize_t n;

    n = recvmsg(x->sock, &msg, MSG_CMSG_CLOEXEC | flags);
    if (n < 0 && errno != EINTR && errno != EAGAIN && errno != ECONNRESET)
        return err_set(e, errno, "cannot hear from the container's init process");
    x->peer_closed = n == 0 || (n < 0 && errno == ECONNRESET);
    if (n <= 0)
        return 0;
    x->inbox_bytes += (size_t)n;
    keep_fd(x, &msg);
    return 1;
}

/* Takes note of every whole record in the inbox. */
static int read_inbox(struct execution *x, struct err *e)
{
    size_t whole = x->inbox_bytes / sizeof(struct record);
    int r = 0;

    for (size_t i = 0; i < whole && r == 0; i++) {
        const struct record *rec = &x->inbox[i];
        const struct step *st;

        if (rec->step < 0 || rec->step >= (int)x->plan->n)
            return err_set(e, EBADMSG, "the container's init process sent nonsense");
        st = &x->plan->steps[rec->step];
        if (rec->kind == RECORD_DONE) {
            x->peer_done[st->lane] = rec->step;
            if (st->op == OP_SECCOMP_LOAD && st->seccomp_load.listener >= 0)
                x->slots.value[st->seccomp_load.listener] = rec->code;
            r = take_slot(x, st, e);
        } else if (rec->kind == RECORD_EXEC_NEXT) {
            x->exec_next = true;
        } else {
            err_at(e, st->pointer, 0, "%s", rec->text);
            r = rec->code > 0 ? -rec->code : -EINVAL;
        }
    }
    x->inbox_bytes -= whole * sizeof(struct record);
    memmove(x->inbox, &x->inbox[whole], x->inbox_bytes);
    return r;
}

bool execute_is_fatal_signal(int signal)
{
    return signal == SIGINT || signal == SIGTERM || signal == SIGHUP || signal == SIGQUIT;
}

/*
 * The end of the stage is not the end of the socket: an init that it has cloned holds that too, and
 * would wait for ever. What the stage said last counts more.
 */
static bool stage_has_died(const struct execution *x)
{
    struct pollfd word = { x->sock, POLLIN, 0 };
    siginfo_t info = { 0 };

    return x->stage_pid > 0 &&
           waitid(P_PID, (id_t)x->stage_pid, &info, WEXITED | WNOHANG | WNOWAIT) == 0 &&
           info.si_pid != 0 && poll(&word, 1, 0) == 0;
}

sigset_t execute_fatal_signals(void)
{
    sigset_t set;

    sigemptyset(&set);
    for (int signal = 1; signal < 32; signal++)
        if (execute_is_fatal_signal(signal))
            sigaddset(&set, signal);
    return set;
}

int execute_signal_fd(struct execution *x)
{
    sigset_t fatal = execute_fatal_signals();

    if (x->signal_fd < 0)
        x->signal_fd = signalfd(-1, &fatal, SFD_CLOEXEC);
    return x->signal_fd;
}

/*
 * Waits for word from the other lanes, or for a signal that ends the start. While there is a stage,
 * its end is looked for ten times a second: no fd tells of it.
 */
static int wait_for_peer(struct execution *x, struct err *e)
{
    struct signalfd_siginfo info;
    struct pollfd fds[2] = { { x->sock, POLLIN, 0 }, { execute_signal_fd(x), POLLIN, 0 } };

    if (fds[1].fd < 0)
        return err_set(e, errno, "cannot wait for signals: signalfd");
    while (poll(fds, 2, x->stage_pid > 0 ? 100 : -1) >= 0 || errno == EINTR) {
        if (fds[0].revents)
            return 0;
        if (fds[1].revents && read(x->signal_fd, &info, sizeof info) == sizeof info)
            return execute_interrupted(x, (int)info.ssi_signo, e);
        if (stage_has_died(x)) {
            err_set(e, 0, "the process that enters the namespaces for init was killed");
            return -ECHILD;
        }
    }
    return err_set(e, errno, "cannot wait for the container's init process");
}

int execute_interrupted(struct execution *x, int signal, struct err *e)
{
    x->interrupted = signal;
    err_set(e, 0, "interrupted by signal %d: everything is undone", signal);
    return -EINTR;
}

/* Init is gone and did not say why. */
static int init_vanished(const struct execution *x, const siginfo_t *end, struct err *e)
{
    if (end && end->si_code != CLD_EXITED)
        err_set(e, 0, "the container's init process was killed by signal %d before it started",
                end->si_status);
    else
        err_set(e, 0, "the container's init process ended before it started");
    if (plan_find(x->plan, OP_SECCOMP_LOAD, 0) >= 0)
        err_hint(e, "the seccomp filter has to allow read, write, execve and exit_group");
    return -ECHILD;
}

/* ---- steps of this room -------------------------------------------------------------------- */

static _Noreturn void run_child(struct execution *x, enum plan_lane lane);

static bool has_stage(const struct plan *p)
{
    return plan_last(p, LANE_STAGE) >= 0;
}

/* The runtime's clone: of init, or of the stage. */
static int step_clone(struct execution *x, const struct step *st, struct err *e)
{
    int ends[2];
    pid_t pid;

    if (socketpair(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0, ends) < 0)
        return err_set(e, errno, "cannot make the socket pair between runtime and init");
    x->ticks_first = state_boot_ticks();
    pid = ns_clone(&st->clone, &x->slots, e);
    if (pid == 0) {
        close(ends[0]);
        x->sock = ends[1];
        run_child(x, has_stage(x->plan) ? LANE_STAGE : LANE_INIT);
    }
    close(ends[1]);
    x->sock = ends[0];
    if (pid > 0 && has_stage(x->plan))
        x->stage_pid = pid;
    return pid < 0 ? (int)pid : 0;
}

/* The stage's clone: init becomes the runtime's child (CLONE_PARENT), its pidfd goes there. */
static int stage_clone(struct execution *x, const struct step *st, struct err *e)
{
    pid_t pid = ns_clone(&st->clone, &x->slots, e);

    if (pid == 0)
        run_child(x, LANE_INIT);
    return pid < 0 ? (int)pid : 0;
}

/* init stands still until `start` writes one byte; from then on `start` is the listener. */
static int step_start_wait(struct execution *x, const struct step *st, struct err *e)
{
    char byte;
    ssize_t n;

    (void)st;
    do
        n = read(x->fifos.start, &byte, 1);
    while (n < 0 && errno == EINTR);
    if (n != 1)
        return err_set(e, n < 0 ? errno : EPIPE, "cannot wait for `start`");
    x->sock = x->fifos.result;
    return 0;
}

static int step_init_kill(struct execution *x, const struct step *st, struct err *e)
{
    int pidfd = x->slots.value[st->init_kill.pidfd];

    if (pidfd < 0)
        return 0;
    if (sys_pidfd_send_signal(pidfd, SIGKILL) < 0 && errno != ESRCH)
        return err_set(e, errno, "cannot kill the container's init process");
    if (waitid(P_PIDFD, (id_t)pidfd, NULL, WEXITED) == 0)
        return 0;
    /* Not our child: its parent reaps it, we only wait for the end. */
    if (tracer_wait_for_end(pidfd, pidfd, 10000))
        return 0;
    err_set(e, ETIMEDOUT, "container init still running after SIGKILL");
    tracer_hint(pidfd, e);
    return -ETIMEDOUT;
}

static int step_state_init(struct execution *x, const struct step *st, struct err *e)
{
    struct state_process init = { .pid = x->slots.value[st->state_init.pid],
                                  .ticks_first = x->ticks_first,
                                  .ticks_last = state_boot_ticks() };

    return state_publish_init(st->state_init.dir, &init, e);
}

static int step_pid_file(struct execution *x, const struct step *st, struct err *e)
{
    char text[24];
    size_t len = base_format(text, sizeof text, "%d", x->slots.value[st->pid_file.pid]);

    return file_replace(st->pid_file.path, text, len, 0644, e);
}

/* The process's end of the socket closes when it executes the program, and when it ends. */
static int step_executed(struct execution *x, const struct step *st, struct err *e)
{
    int r;

    (void)st;
    while ((r = execute_outcome(x, NULL, e)) == 0) {
        r = wait_for_peer(x, e);
        if (r < 0)
            return r;
    }
    return r < 0 ? r : 0;
}

static int step_state_create(struct execution *x, const struct step *st, struct err *e)
{
    return state_create(st->state_create.dir, x->record_text, x->record_len, x->config_text,
                        x->config_len, st->state_create.start_fifos ? &x->fifos : NULL, e);
}

static int step_any_clone(struct execution *x, const struct step *st, struct err *e)
{
    return x->lane == LANE_STAGE ? stage_clone(x, st, e) : step_clone(x, st, e);
}

static int step_state_remove(struct execution *x, const struct step *st, struct err *e)
{
    (void)x;
    return state_remove(st->state_remove.dir, e);
}

static int step_exec_lookup(struct execution *x, const struct step *st, struct err *e)
{
    (void)x;
    return process_lookup(&st->exec_lookup, e);
}

static int step_hook(struct execution *x, const struct step *st, struct err *e)
{
    return hook_step(x, &st->hook, e);
}

static int step_hook_open(struct execution *x, const struct step *st, struct err *e)
{
    return hook_open_step(&st->hook_open, &x->slots, e);
}

static int step_hook_output(struct execution *x, const struct step *st, struct err *e)
{
    return hook_output_step(&st->hook_output, &x->slots, e);
}

static int step_home(struct execution *x, const struct step *st, struct err *e)
{
    (void)x;
    (void)e;
    return home_step(&st->home);
}

static int step_seccomp_notify(struct execution *x, const struct step *st, struct err *e)
{
    return container_notify(&st->seccomp_notify, &x->slots, e);
}

static int step_terminal_relay(struct execution *x, const struct step *st, struct err *e)
{
    int r = relay_open(&x->relay, x->slots.value[st->terminal_relay.master], e);

    x->relay.machine = plan_find(x->plan, OP_MACHINE_BOOT, 0) >= 0 ||
                       plan_find(x->plan, OP_MACHINE_EXEC, 0) >= 0;
    return r;
}

static int step_readiness_directory(struct execution *x, const struct step *st, struct err *e)
{
    (void)x;
    return readiness_directory(&st->readiness_directory, e);
}

static int step_readiness_listen(struct execution *x, const struct step *st, struct err *e)
{
    return readiness_listen(&st->readiness_listen, &x->slots, e);
}

static int step_readiness_forward(struct execution *x, const struct step *st, struct err *e)
{
    return readiness_forward(x, &st->readiness_forward, e);
}

/* A wait was all there is to it, or run_child does it. */
static int step_nothing(struct execution *x, const struct step *st, struct err *e)
{
    (void)x;
    (void)st;
    (void)e;
    return 0;
}

static int (*const own[OP_COUNT])(struct execution *, const struct step *, struct err *) = {
    [OP_STATE_CREATE] = step_state_create,
    [OP_STATE_INIT] = step_state_init,
    [OP_STATE_REMOVE] = step_state_remove,
    [OP_CLONE] = step_any_clone,
    [OP_BARRIER] = step_nothing,
    [OP_PID_FILE] = step_pid_file,
    [OP_HOME] = step_home,
    [OP_EXEC_LOOKUP] = step_exec_lookup,
    [OP_EXEC] = step_nothing,
    [OP_EXECUTED] = step_executed,
    [OP_START_WAIT] = step_start_wait,
    [OP_INIT_KILL] = step_init_kill,
    [OP_HOOK_OPEN] = step_hook_open,
    [OP_HOOK] = step_hook,
    [OP_HOOK_OUTPUT] = step_hook_output,
    [OP_SECCOMP_NOTIFY] = step_seccomp_notify,
    [OP_TERMINAL_RELAY] = step_terminal_relay,
    [OP_READINESS_DIRECTORY] = step_readiness_directory,
    [OP_READINESS_LISTEN] = step_readiness_listen,
    [OP_READINESS_FORWARD] = step_readiness_forward,
    [OP_CRIU_OPEN] = criu_step,
    [OP_CRIU_SOCKET] = criu_step,
    [OP_CRIU_TARGET] = criu_step,
    [OP_CRIU_EXEC] = step_nothing,
    [OP_CRIU_NOTES] = criu_step,
    [OP_CRIU_REQUEST] = criu_step,
    [OP_CRIU_WAIT] = criu_step,
    [OP_MACHINE_CONTROL] = machine_step,
    [OP_MACHINE_SHARE] = machine_step,
    [OP_MACHINE_BIND] = machine_step,
    [OP_MACHINE_PASST] = machine_step,
    [OP_MACHINE_NETWORK] = machine_step,
    [OP_MACHINE_NAMESPACE] = step_nothing,
    [OP_MACHINE_TAKE_NETWORK] = machine_step,
    [OP_MACHINE_FILES] = machine_step,
    [OP_MACHINE_BOOT] = machine_step,
    [OP_MACHINE_SERVE] = machine_step,
    [OP_MACHINE_EXEC] = machine_step,
};

bool execute_knows(enum plan_op op)
{
    return rooms[op] || own[op];
}

static int run_step(struct execution *x, int index, struct err *e)
{
    const struct step *st = &x->plan->steps[index];

    return rooms[st->op] ? rooms[st->op](st, &x->slots, e) : own[st->op](x, st, e);
}

/* ---- the lanes ----------------------------------------------------------------------------- */

/*
 * A filter of the configuration may refuse exit_group(2) as well, and _exit() asks for ever: SIGILL
 * ends the process without a call.
 */
static _Noreturn void end_child(int status)
{
    syscall(SYS_exit_group, status);
    __builtin_trap();
}

/* A child: the runtime's word, or its end. Without the runtime there is nothing to go on for. */
static void wait_in_child(struct execution *x, int step)
{
    struct record rec;
    size_t have = 0;

    while (x->peer_done[LANE_RUNTIME] < step) {
        ssize_t n = read(x->sock, (char *)&rec + have, sizeof rec - have);

        if (n == 0 || (n < 0 && errno != EINTR))
            end_child(CHILD_FAILED);
        have += n > 0 ? (size_t)n : 0;
        if (have < sizeof rec)
            continue;
        x->peer_done[LANE_RUNTIME] = rec.step;
        have = 0;
    }
}

/* What the runtime must know of a step that is done: the number of init's notify fd. */
static int done_code(const struct execution *x, const struct step *st)
{
    bool listener = st->op == OP_SECCOMP_LOAD && st->seccomp_load.listener >= 0;

    return listener ? x->slots.value[st->seccomp_load.listener] : 0;
}

static _Noreturn void run_child(struct execution *x, enum plan_lane lane)
{
    struct err e = { 0 };

    x->lane = lane;
    for (int i = 0; i < (int)x->plan->n; i++) {
        const struct step *st = &x->plan->steps[i];
        int slot = travelling_slot(st), r;

        if (st->lane != lane)
            continue;
        if (st->waits)
            wait_in_child(x, st->after);
        if (st->op == OP_EXEC || st->op == OP_CRIU_EXEC) {
            if (send_record(x->sock, RECORD_EXEC_NEXT, i, 0, NULL) < 0)
                end_child(CHILD_FAILED); /* nobody would know that it succeeded */
            r = st->op == OP_EXEC ? process_exec(&st->exec, &e)
                                  : criu_exec(&st->criu_exec, &x->slots, &e);
        } else {
            r = run_step(x, i, &e);
        }
        if (r == 0 && slot != SLOT_NONE)
            r = send_slot(x, i, slot, &e);
        if (r < 0) {
            send_record(x->sock, RECORD_ERROR, i, -r, e.text);
            end_child(CHILD_FAILED);
        }
        if (st->hand_over && slot == SLOT_NONE &&
            send_record(x->sock, RECORD_DONE, i, done_code(x, st), NULL) < 0)
            end_child(CHILD_FAILED); /* another lane would wait for ever */
    }
    end_child(0);
}

/* init says "done" of what it is asked for; of its exec the end of the socket tells. */
static bool peer_has_come_to(const struct execution *x, int step)
{
    if (x->plan->steps[step].op == OP_EXEC || x->plan->steps[step].op == OP_MACHINE_SERVE)
        return x->exec_next && x->peer_closed;
    return x->peer_done[x->plan->steps[step].lane] >= step;
}

static int wait_in_runtime(struct execution *x, int step, struct err *e)
{
    while (!peer_has_come_to(x, step)) {
        int r = x->peer_closed ? init_vanished(x, NULL, e) : wait_for_peer(x, e);

        if (r == 0)
            r = fill_inbox(x, 0, e);
        if (r >= 0)
            r = read_inbox(x, e);
        if (r < 0)
            return r;
    }
    return 0;
}

int execute_outcome(struct execution *x, const siginfo_t *end, struct err *e)
{
    int r;

    /* init itself ends with CHILD_FAILED only: a program has said anything else, and need not be asked
     * about. */
    if (end && end->si_code == CLD_EXITED && end->si_status != CHILD_FAILED)
        return 1;
    /* When init's end is closed, everything it had to say is in the queue, and a read that leaves
     * room has all of it; so an init that has ended needs one read. */
    do {
        size_t room = sizeof x->inbox - x->inbox_bytes, before = x->inbox_bytes;

        r = fill_inbox(x, MSG_DONTWAIT, e);
        x->peer_closed |= end && r >= 0 && x->inbox_bytes - before < room;
        if (r >= 0 && read_inbox(x, e) < 0)
            return -ECHILD;
    } while (r > 0 && !x->peer_closed);
    if (r < 0)
        return r;
    if (!x->peer_closed)
        return 0;
    return x->exec_next ? 1 : init_vanished(x, end, e);
}

int execute_until_exec(struct execution *x, struct err *e)
{
    int r = execute_outcome(x, NULL, e);

    while (r == 0) {
        r = wait_for_peer(x, e);
        if (r == 0)
            r = execute_outcome(x, NULL, e);
    }
    return r < 0 ? r : 0;
}

void execution_init(struct execution *x, const struct plan *p, int *slot_values)
{
    *x = (struct execution){
        .plan = p,
        .slots = { slot_values, p->slots },
        .sock = -1,
        .signal_fd = -1,
        .inbox_fd = -1,
        .last_step = -1,
        .peer_done = { -1, -1, -1 },
        .fifos = { -1, -1 },
    };
    for (int i = 0; i < p->slots; i++)
        slot_values[i] = -1;
}

/* A step on an init that has ended fails for that; why init ended is what is told. */
static int reason_of_init(struct execution *x, int r, struct err *e)
{
    while (x->sock >= 0 && fill_inbox(x, MSG_DONTWAIT, NULL) > 0) {
        struct err word = { 0 };
        int ended = read_inbox(x, &word);

        if (ended < 0) {
            *e = word;
            return ended;
        }
    }
    return r;
}

/*
 * The stage was killed between the clone of init and the word of it. That init finds its socket
 * closed at its next wait, and ends. The second is for a caller that had other children before its
 * exec of teca.
 */
static void await_unknown_init(struct execution *x)
{
    const struct timespec pause = { 0, 1000000 };
    siginfo_t info = { 0 };

    close(x->sock);
    x->sock = -1;
    for (int i = 0; i < 1000 && waitid(P_ALL, 0, &info, WEXITED | WNOHANG | __WALL) == 0; i++) {
        if (info.si_pid == 0)
            nanosleep(&pause, NULL);
        info.si_pid = 0;
    }
}

void execute_end_stage(struct execution *x)
{
    if (x->stage_pid <= 0)
        return;
    /* It waits for nothing else than this socket, so it either clones init and says so, or ends. A
     * kill could come between the two. */
    shutdown(x->sock, SHUT_WR);
    waitpid(x->stage_pid, NULL, 0);
    while (x->stage_pid > 0 && fill_inbox(x, MSG_DONTWAIT, NULL) > 0)
        x->inbox_bytes = 0;
    if (x->stage_pid > 0)
        await_unknown_init(x);
    x->stage_pid = 0;
}

int execute_start(struct execution *x, struct err *e)
{
    const struct plan *p = x->plan;

    for (int i = 0; i < (int)p->n; i++) {
        const struct step *st = &p->steps[i];
        int r = 0;

        if (st->lane != LANE_RUNTIME)
            continue;
        if (st->waits)
            r = wait_in_runtime(x, st->after, e);
        if (r == 0)
            r = run_step(x, i, e);
        if (r < 0) {
            if (!e->pointer[0])
                base_format(e->pointer, sizeof e->pointer, "%s", st->pointer);
            return reason_of_init(x, r, e);
        }
        x->last_step = i;
        if (st->hand_over && x->sock >= 0)
            r = send_record(x->sock, RECORD_DONE, i, 0, NULL);
        /* EPIPE: init has ended; the next wait or the outcome tells how. */
        if (r < 0 && r != -EPIPE)
            return err_set(e, -r, "cannot tell the container's init process to go on");
    }
    return 0;
}

int execute_all(const struct plan *p, struct slots *slots, struct err *e)
{
    struct execution x = { .plan = p, .slots = *slots, .sock = -1, .signal_fd = -1 };
    int first = 0;

    for (int i = 0; i < (int)p->n; i++) {
        struct err one = { 0 };
        int r = first < 0 && p->steps[i].op == OP_STATE_REMOVE ? 0 : run_step(&x, i, &one);

        if (r < 0 && (p->steps[i].op == OP_HOOK || p->steps[i].op == OP_HOOK_OUTPUT))
            log_debug("warning: %s: %s", p->steps[i].pointer, one.text);
        else if (r < 0 && first == 0) {
            first = r;
            if (e)
                *e = one;
        }
    }
    return first;
}
