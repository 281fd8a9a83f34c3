/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The program criu as a lane: it is executed as `criu swrk FD`, gets one request over that socket
 * (SOCK_SEQPACKET: a message is a packet), tells what it is about to do, and says at last how it went.
 *
 *   runtime ── request ─▶ criu       ◀── "setup-namespaces" (pid) ── ok ─▶ ... ◀── done ──
 *
 * fds of the request (images, logs, status) are numbers of the socket's maker, and CRIU opens them by
 * /proc/PID/fd. It makes mounts in the directory for logs, so that must be one of its own mount
 * namespace: the process that becomes CRIU makes the socket, and is the runtime's equal in numbers.
 */
#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <poll.h>
#include <sched.h>
#include <signal.h>
#include <stdlib.h>
#include <string.h>
#include <sys/signalfd.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <unistd.h>

#include "container/criu.h"

/* Where `criu check` writes; that goes away again. */
static const char check_dir[] = "/tmp/teca-criu-";

enum {
    LOG_TAIL_BYTES = 64 << 10,
    ANSWER_MAX_BYTES = 16 << 10,
    LOG_LEVEL = 4, /* debug: what an engine's user is asked for in a report */
};

/* ---- what is asked for --------------------------------------------------------------------- */

int criu_find(const struct container_options *o, struct arena *a, const char **out, struct err *e)
{
    const char *found = o->criu && o->criu[0] == '/' ? o->criu : program_find(a, "criu");
    int r;

    if (geteuid() != 0)
        return err_set(e, 0, "checkpoint and restore need root: CRIU dumps nothing for user %u",
                       geteuid());
    if (found && faccessat(AT_FDCWD, found, X_OK, AT_EACCESS) == 0) {
        *out = found;
        return 0;
    }
    r = err_set(e, 0, "checkpoint and restore need CRIU, and there is no program '%s'",
                o->criu && o->criu[0] == '/' ? o->criu : "criu");
    err_hint(e, "Debian has it in the package criu");
    return r;
}

static int absolute(const char *path, struct arena *a, const char **out, struct err *e)
{
    char cwd[PATH_MAX];

    *out = path;
    if (path[0] == '/')
        return 0;
    if (!getcwd(cwd, sizeof cwd))
        return err_set(e, errno, "cannot find the current directory");
    *out = arena_format(a, "%s/%s", cwd, path);
    return 0;
}

int criu_places(const struct container_criu_options *c, const char *log, struct arena *a,
                struct criu_places *out, struct err *e)
{
    int r = absolute(c->images ? c->images : "checkpoint", a, &out->images, e);

    out->work = out->images;
    if (r == 0 && c->work)
        r = absolute(c->work, a, &out->work, e);
    out->log = arena_format(a, "%s/%s", out->work, log);
    return r;
}

/* A name's number in CRIU's enumeration; -1: unknown. */
static int number_of(const char *name, const char *const *names, size_t n)
{
    for (size_t i = 0; i < n; i++)
        if (str_eq(name, names[i]))
            return (int)i;
    return -1;
}

static int page_server_of(const char *text, struct arena *a, struct criu_request *out,
                          struct err *e)
{
    const char *colon = strrchr(text, ':');
    uint64_t port;

    if (!colon || colon == text || str_to_u64(colon + 1, &port) < 0 || port == 0 || port > 65535)
        return err_set(e, 0, "--page-server must be ADDRESS:PORT, not '%s'", text);
    out->page_server = arena_strndup(a, text, (size_t)(colon - text));
    out->page_server_port = (unsigned)port;
    return 0;
}

static int status_fd_of(const char *text, struct criu_request *out, struct err *e)
{
    uint64_t fd;

    if (str_to_u64(text, &fd) < 0 || fd > INT_MAX || fcntl((int)fd, F_GETFD) < 0)
        return err_set(e, 0, "--status-fd '%s' is no open file descriptor", text);
    out->has_status_fd = true;
    out->status_fd = (unsigned)fd;
    return 0;
}

int criu_request_of(const struct container_criu_options *c, struct arena *a,
                    struct criu_request *out, struct err *e)
{
    static const char *const modes[] = { "ignore", "none", "props", "soft", "full", "strict" };
    static const char *const locks[] = { "", "iptables", "nftables", "skip" };
    int mode = c->cgroups_mode ? number_of(c->cgroups_mode, modes, COUNT_OF(modes)) : -1, r = 0;

    *out = (struct criu_request){ .log_level = LOG_LEVEL,
                                  .notify = true,
                                  .ext_unix_sk = c->ext_unix_sk,
                                  .tcp_established = c->tcp_established,
                                  .tcp_close = c->tcp_close,
                                  .tcp_skip_in_flight = c->tcp_skip_in_flight,
                                  .shell_job = c->shell_job,
                                  .file_locks = c->file_locks,
                                  .link_remap = c->link_remap,
                                  .auto_dedup = c->auto_dedup,
                                  .lazy_pages = c->lazy_pages,
                                  .orphan_pts_master = true,
                                  .external_masters = true,
                                  .has_cgroups_mode = true,
                                  .cgroups_mode = mode >= 0 ? (unsigned)mode : 3 /* soft */ };
    if (c->network_lock)
        out->network_lock = (unsigned)number_of(c->network_lock, locks, COUNT_OF(locks));
    for (size_t i = 0; i < c->empty_ns.n; i++) {
        if (!str_eq(c->empty_ns.v[i], "network"))
            return err_set(e, 0, "--empty-ns can only be network, not '%s'", c->empty_ns.v[i]);
        out->empty_ns = CLONE_NEWNET;
    }
    if (c->page_server)
        r = page_server_of(c->page_server, a, out, e);
    if (r == 0 && c->status_fd)
        r = status_fd_of(c->status_fd, out, e);
    return r;
}

/* Where engines' users keep options for CRIU (engine-contract 1.3.14). */
const char *criu_config(const struct spec_pairs *annotations)
{
    static const char *const usual[] = { "/etc/criu/crun.conf", "/etc/criu/runc.conf" };

    for (size_t i = 0; i < annotations->n; i++)
        if (str_eq(annotations->v[i].key, spec_annotation_name(SPEC_ANNOTATION_CRIU_CONFIG)))
            return annotations->v[i].value[0] ? annotations->v[i].value : NULL;
    for (size_t i = 0; i < COUNT_OF(usual); i++)
        if (faccessat(AT_FDCWD, usual[i], R_OK, AT_EACCESS) == 0)
            return usual[i];
    return NULL;
}

/* ---- compile ------------------------------------------------------------------------------- */

void criu_compile_open(struct plan *p, const struct criu_places *places, bool make,
                       struct criu_slots *s)
{
    struct op_criu_open *op = &plan_add(p, OP_CRIU_OPEN, LANE_RUNTIME, "")->criu_open;

    op->images = places->images;
    op->work = places->work;
    op->make = make;
    op->out_images = s->images = plan_slot(p);
    op->out_work = s->work = plan_slot(p);
}

void criu_compile_clone(struct plan *p, uint64_t flags, int cgroup_slot,
                        const struct criu_places *places, struct criu_slots *s)
{
    struct op_clone *op = &plan_add(p, OP_CLONE, LANE_RUNTIME, "")->clone;
    struct op_criu_socket *made;

    op->flags = flags;
    op->cgroup = cgroup_slot;
    op->out_pid = s->pid = plan_slot(p);
    op->out_pidfd = s->pidfd = plan_slot(p);
    made = &plan_add(p, OP_CRIU_SOCKET, LANE_INIT, "")->criu_socket;
    made->images = places->images;
    made->work = places->work;
    made->images_fd = s->images;
    made->work_fd = s->work;
    made->out_socket = s->socket = plan_slot(p);
    made->out_theirs = s->theirs = plan_slot(p);
    s->made = plan_last(p, LANE_INIT);
}

void criu_compile_exec(struct plan *p, const char *program, const struct criu_slots *s,
                       const int keep[2])
{
    struct step *st;

    /* The runtime blocks all signals, and CRIU shall not; what is ignored counts for what it makes. */
    st = plan_add(p, OP_SIGNALS, LANE_INIT, "");
    st->signals.ignored = 0;
    st->signals.mask = true;
    st = plan_add(p, OP_CRIU_EXEC, LANE_INIT, "");
    st->criu_exec.program = program;
    st->criu_exec.socket = s->theirs;
    st->criu_exec.network = keep[0];
    st->criu_exec.pid_ns = keep[1];
}

void criu_compile_request(struct plan *p, const struct criu_request *q, const struct criu_slots *s)
{
    struct step *st = plan_add(p, OP_CRIU_REQUEST, LANE_RUNTIME, "");
    struct op_criu_request *op = &st->criu_request;

    op->verb = q->type == CRIU_RESTORE    ? "restore"
               : q->type == CRIU_PRE_DUMP ? "pre-dump"
               : q->type == CRIU_DUMP     ? "dump"
                                          : "check";
    op->asks = criu_describe(q, p->arena);
    op->socket = s->socket;
    op->images = s->images;
    op->work = s->work;
    op->request = q;
    st->after = s->made;
}

struct step *criu_compile_wait(struct plan *p, const char *until, const struct criu_places *places,
                               const struct criu_slots *s)
{
    struct step *st = plan_add(p, OP_CRIU_WAIT, LANE_RUNTIME, "");

    st->criu_wait.until = until;
    st->criu_wait.log = places->log;
    st->criu_wait.socket = s->socket;
    return st;
}

/* ---- steps --------------------------------------------------------------------------------- */

static int open_dir(const char *path, bool make, int *out, struct err *e)
{
    if (make && mkdir(path, 0700) < 0 && errno != EEXIST)
        return err_set(e, errno, "cannot make the directory '%s' for CRIU", path);
    *out = openat(AT_FDCWD, path, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
    return *out < 0 ? err_set(e, errno, "cannot open the directory '%s' for CRIU", path) : 0;
}

static int step_open(const struct op_criu_open *op, struct slots *slots, struct err *e)
{
    int r = open_dir(op->images, op->make, &slots->value[op->out_images], e);

    return r < 0 ? r : open_dir(op->work, true, &slots->value[op->out_work], e);
}

/* The same directory under the same number, and open for CRIU. */
static int open_again(const char *path, int fd, struct err *e)
{
    AUTO_FD int own = openat(AT_FDCWD, path, O_RDONLY | O_DIRECTORY | O_CLOEXEC);

    if (own < 0 || dup2(own, fd) < 0)
        return err_set(e, errno, "cannot open the directory '%s' for CRIU", path);
    return 0;
}

/* Child-safe. */
static int step_socket(const struct op_criu_socket *op, struct slots *slots, struct err *e)
{
    int ends[2], r = open_again(op->images, slots->value[op->images_fd], e);

    if (r == 0)
        r = open_again(op->work, slots->value[op->work_fd], e);
    if (r < 0)
        return r;
    if (socketpair(AF_UNIX, SOCK_SEQPACKET | SOCK_CLOEXEC, 0, ends) < 0)
        return err_set(e, errno, "cannot make the socket pair between the runtime and CRIU");
    slots->value[op->out_socket] = ends[0];
    slots->value[op->out_theirs] = ends[1];
    return 0;
}

/*
 * The image may have no place for a mount yet: it need not be the one in which the container ran. A
 * read-only image must have them all, and CRIU tells which is missing. Child-safe.
 */
static int step_target(const struct op_criu_target *op, const struct slots *slots)
{
    const char *name = strrchr(op->path, '/');
    char parent[PATH_MAX];
    AUTO_FD int dir = -1;

    base_format(parent, sizeof parent, "%.*s/", (int)(name - op->path), op->path);
    dir = root_mkdirs(slots->value[op->root], op->file ? parent : op->path, 0755);
    if (dir >= 0 && op->file)
        mknodat(dir, name + 1, S_IFREG | 0644, 0);
    return 0;
}

static int inherit(int fd)
{
    return fd < 0 || fcntl(fd, F_SETFD, 0) == 0 ? 0 : -errno;
}

/* CRIU executes tar, ip and iptables by name. */
static char *const *environment_of_criu(void)
{
    static char path[] = "PATH=/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin";
    static char *const env[] = { path, NULL };

    return env;
}

int criu_exec(const struct op_criu_exec *op, const struct slots *slots, struct err *e)
{
    char number[16], verb[] = "swrk", name[] = "criu";
    char *const argv[] = { name, verb, number, NULL };
    int keep[] = { op->socket, op->network, op->pid_ns };

    for (size_t i = 0; i < COUNT_OF(keep); i++)
        if (keep[i] >= 0 && inherit(slots->value[keep[i]]) < 0)
            return err_set(e, errno, "cannot leave CRIU a file descriptor");
    base_format(number, sizeof number, "%d", slots->value[op->socket]);
    execve(op->program, argv, environment_of_criu());
    return err_set(e, errno, "cannot execute '%s'", op->program);
}

static int send_message(int socket, const struct strbuf *message, struct err *e)
{
    if (send(socket, message->ptr, message->len, MSG_NOSIGNAL) < 0)
        return err_set(e, errno, "cannot reach CRIU");
    return 0;
}

static int step_request(const struct op_criu_request *op, const struct slots *slots, struct err *e)
{
    AUTO_STRBUF struct strbuf message = { 0 };
    int images = op->images >= 0 ? slots->value[op->images] : -1;
    int work = op->work >= 0 ? slots->value[op->work] : -1;

    criu_encode(op->request, images, work, slots, &message);
    return send_message(slots->value[op->socket], &message, e);
}

/* ---- what CRIU tells ----------------------------------------------------------------------- */

/*
 * The newest lines of the log that are errors, without "(00.123456) Error (criu/file.c:12): "; that
 * it has FAILED is the last one always, and says nothing. Without any the last line: CRIU has died.
 */
static const char *errors_of(const char *log)
{
    static char text[LOG_TAIL_BYTES], out[ERR_TEXT_SIZE / 2];
    char *lines[3] = { NULL, NULL, NULL }, *last = NULL;
    AUTO_FD int fd = openat(AT_FDCWD, log, O_RDONLY | O_CLOEXEC);
    off_t size = fd < 0 ? 0 : lseek(fd, 0, SEEK_END);
    ssize_t n = fd < 0 ? 0
                       : pread(fd, text, sizeof text - 1,
                               size >= LOG_TAIL_BYTES ? size - LOG_TAIL_BYTES + 1 : 0);
    size_t len = 0;

    text[n > 0 ? n : 0] = '\0';
    for (char *at = strtok(text, "\n"); at; at = strtok(NULL, "\n")) {
        char *error = strstr(at, "Error ("), *said = error ? strstr(error, "): ") : NULL;

        last = at;
        if (!said || strstr(said, "FAILED."))
            continue;
        memmove(lines, lines + 1, sizeof lines - sizeof *lines);
        lines[COUNT_OF(lines) - 1] = said + 3;
    }
    base_format(out, sizeof out, "%s%s", last ? "it died after saying " : "", last ? last : "");
    for (size_t i = 0; i < COUNT_OF(lines); i++)
        if (lines[i] && len < sizeof out)
            len += base_format(out + len, sizeof out - len, "%s%s", len ? "; " : "", lines[i]);
    return out;
}

static int criu_failed(const char *log, const char *first, struct err *e)
{
    const char *errors = errors_of(log);

    err_set(e, 0, "CRIU failed: %s",
            errors[0]  ? errors
            : first[0] ? first
                       : "it ended without a word");
    if (!str_starts(log, check_dir))
        err_hint(e, "its log is %s", log);
    return -ECHILD;
}

/* Reads one packet, with an fd beside it or -1; 0: CRIU's end is closed. */
static ssize_t receive(int socket, void *data, size_t size, int *fd)
{
    union {
        char space[CMSG_SPACE(sizeof(int))];
        struct cmsghdr align;
    } control;
    struct iovec part = { data, size };
    struct msghdr msg = {
        .msg_iov = &part, .msg_iovlen = 1, .msg_control = &control, .msg_controllen = sizeof control
    };
    ssize_t n = recvmsg(socket, &msg, MSG_CMSG_CLOEXEC);
    const struct cmsghdr *c = n > 0 ? CMSG_FIRSTHDR(&msg) : NULL;

    *fd = -1;
    if (c && c->cmsg_level == SOL_SOCKET && c->cmsg_type == SCM_RIGHTS &&
        c->cmsg_len == CMSG_LEN(sizeof *fd))
        memcpy(fd, CMSG_DATA(c), sizeof *fd);
    return n;
}

/* Until CRIU has said something, or a signal asks teca to end. */
static int wait_for_word(struct execution *x, int socket, struct err *e)
{
    struct signalfd_siginfo info;
    struct pollfd fds[2] = { { socket, POLLIN, 0 }, { execute_signal_fd(x), POLLIN, 0 } };

    if (fds[1].fd < 0)
        return err_set(e, errno, "cannot wait for signals");
    while (poll(fds, 2, -1) >= 0 || errno == EINTR) {
        if (fds[0].revents)
            return 0;
        if (fds[1].revents && read(fds[1].fd, &info, sizeof info) == sizeof info)
            return execute_interrupted(x, (int)info.ssi_signo, e);
    }
    return err_set(e, errno, "cannot wait for CRIU");
}

/* What a notification or the last word brings along. */
static int take(const struct op_criu_wait *op, const struct criu_answer *answer, int fd,
                struct slots *slots, struct err *e)
{
    if (fd >= 0 && op->master >= 0 && str_eq(answer->script, "orphan-pts-master"))
        slots->value[op->master] = fd;
    else if (fd >= 0)
        close(fd);
    if (op->pid < 0 || answer->pid <= 0 || slots->value[op->pid] > 0)
        return 0;
    slots->value[op->pid] = (int)answer->pid;
    slots->value[op->pidfd] = sys_pidfd_open((pid_t)answer->pid, 0);
    return slots->value[op->pidfd] < 0
               ? err_set(e, errno, "cannot have the process %d that CRIU has made",
                         (int)answer->pid)
               : 0;
}

/* One word of CRIU's. 1: it is what was waited for, and not answered yet. */
static int hear(struct execution *x, const struct op_criu_wait *op, struct err *e)
{
    static unsigned char data[ANSWER_MAX_BYTES];
    int socket = x->slots.value[op->socket], fd, r = wait_for_word(x, socket, e);
    struct criu_answer answer = { 0 };
    ssize_t n;

    if (r < 0)
        return r;
    n = receive(socket, data, sizeof data, &fd);
    if (n <= 0 || criu_decode(data, (size_t)n, &answer) < 0)
        return criu_failed(op->log, "", e);
    if (!answer.success)
        return criu_failed(op->log, answer.error, e);
    r = take(op, &answer, fd, &x->slots, e);
    if (r < 0)
        return r;
    if (answer.type != CRIU_NOTIFY)
        return str_eq(op->until, "done") ? 1 : criu_failed(op->log, answer.error, e);
    return str_eq(op->until, answer.script);
}

static int answer_notification(int socket, struct err *e)
{
    AUTO_STRBUF struct strbuf message = { 0 };

    criu_encode_answer(&message);
    return send_message(socket, &message, e);
}

/*
 * CRIU stands still while it waits for an answer: the notification that was waited for is answered
 * by the next wait, after the steps between.
 */
static int step_wait(struct execution *x, const struct op_criu_wait *op, struct err *e)
{
    int socket = x->slots.value[op->socket], r = 0;

    if (x->criu_waits)
        r = answer_notification(socket, e);
    x->criu_waits = false;
    while (r == 0) {
        r = hear(x, op, e);
        if (r == 0)
            r = answer_notification(socket, e);
    }
    x->criu_waits = r > 0;
    /* It has been executed, so the end of the lanes' socket means nothing to hooks any more. */
    if (r > 0)
        r = execute_outcome(x, NULL, e);
    return r < 0 ? r : 0;
}

int criu_step(struct execution *x, const struct step *st, struct err *e)
{
    switch ((int)st->op) { /* as int: the other operations are not ours */
    case OP_CRIU_OPEN:
        return step_open(&st->criu_open, &x->slots, e);
    case OP_CRIU_SOCKET:
        return step_socket(&st->criu_socket, &x->slots, e);
    case OP_CRIU_TARGET:
        return step_target(&st->criu_target, &x->slots);
    case OP_CRIU_NOTES:
        return criu_notes_write(st->criu_notes.notes, st->criu_notes.images, x->plan->arena, e);
    case OP_CRIU_REQUEST:
        return step_request(&st->criu_request, &x->slots, e);
    case OP_CRIU_WAIT:
        return step_wait(x, &st->criu_wait, e);
    default:
        return err_set(e, ENOSYS, "'%s' is no step of CRIU", plan_op_name(st->op));
    }
}

/* ---- does it work here? -------------------------------------------------------------------- */

/* `criu check` by request: what it says is in a log of its own that goes away again. */
int container_criu_works(const struct container_options *o, struct arena *a, struct err *e)
{
    static int slot_values[8];
    char *dir = arena_format(a, "%sXXXXXX", check_dir);
    const int keep[2] = { SLOT_NONE, SLOT_NONE };
    struct criu_request *q = arena_alloc(a, sizeof *q);
    struct criu_places places;
    struct criu_slots s;
    struct execution x;
    struct plan p;
    const char *program;
    int r = criu_find(o, a, &program, e);

    if (r < 0)
        return r;
    if (!mkdtemp(dir))
        return err_set(e, errno, "cannot make a directory for CRIU's log");
    places = (struct criu_places){ dir, dir, arena_format(a, "%s/check.log", dir) };
    *q = (struct criu_request){ .type = CRIU_CHECK, .log_file = "check.log", .log_level = 2 };
    plan_init(&p, a, "criu check");
    criu_compile_open(&p, &places, false, &s);
    criu_compile_clone(&p, 0, SLOT_NONE, &places, &s);
    criu_compile_exec(&p, program, &s, keep);
    criu_compile_request(&p, q, &s);
    criu_compile_wait(&p, "done", &places, &s);
    r = plan_finish(&p, e);
    execution_init(&x, &p, slot_values);
    if (r == 0)
        r = lifecycle_block_signals(&x, 0, e);
    if (r == 0)
        r = execute_start(&x, e);
    criu_end(&x, &s);
    unlink(places.log);
    rmdir(dir);
    return r;
}

/* CRIU is not let alone with what is half done. */
void criu_end(struct execution *x, const struct criu_slots *s)
{
    int pidfd = x->slots.value[s->pidfd];

    fd_cleanup(&x->slots.value[s->socket]);
    if (pidfd < 0)
        return;
    if (x->interrupted)
        sys_pidfd_send_signal(pidfd, SIGKILL);
    waitid(P_PIDFD, (id_t)pidfd, NULL, WEXITED);
}
