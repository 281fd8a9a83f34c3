/* SPDX-License-Identifier: Apache-2.0 */
/*
 * NOTIFY_SOCKET, sd_notify(3): the service manager that started teca is told when the container is
 * ready (engine-contract 1.14).
 *
 *   payload ──▶ /run/notify/notify.sock ──▶ teca ──▶ $NOTIFY_SOCKET
 *               ROOT/ID/notify, read-only            READY=1, STATUS=; MAINPID=; BARRIER=1
 *
 * The payload is hostile: what it sends is read up to a size, and of it only READY=1 and the STATUS
 * beside it go on. Who the main process is, which fds the manager keeps and what its watchdog does is
 * for the host to say. Fds that come along are never received, so the kernel closes them (unix(7)).
 */
#include <errno.h>
#include <fcntl.h>
#include <poll.h>
#include <signal.h>
#include <stddef.h>
#include <string.h>
#include <sys/signalfd.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/un.h>
#include <time.h>
#include <unistd.h>

#include "container/internal.h"

#define INSIDE "/run/notify"
#define SOCKET_NAME "notify.sock"

enum {
    TEXT_SIZE = 4096,    /* what systemd takes of a datagram (PIPE_BUF); longer ones are dropped */
    FREE_DATAGRAMS = 64, /* then each one that says nothing of interest costs its sender 1 ms */
    TURN_DATAGRAMS = 16, /* at once: a queue, net.unix.max_dgram_qlen is 10 (unix(7)) */
    PATIENCE_SECONDS = 10, /* for a manager whose queue is full */
    BARRIER_MS = 30000,
};

/* ---- compile ------------------------------------------------------------------------------- */

int readiness_check(const char *host, struct err *e)
{
    size_t size = sizeof((struct sockaddr_un *)0)->sun_path;
    int r;

    if (host[0] == '/' || (host[0] == '@' && host[1] && strlen(host) <= size))
        return 0;
    r = err_set(e, 0, "NOTIFY_SOCKET is '%s', neither an absolute path nor @ and a name", host);
    err_hint(e, "without it in the environment nobody is told");
    return r;
}

static const char *directory_of(struct arena *a, const char *state_dir)
{
    return arena_format(a, "%s/notify", state_dir);
}

/* Of an ordinary bind; behind all others, so that one on /run does not hide it. */
static void add_mount(struct spec *s, struct container_facts *f, const char *source,
                      struct arena *a)
{
    static const char *const options[] = { "bind", "ro", "nosuid", "nodev", "noexec", NULL };
    struct spec_mount *mounts = arena_array(a, s->n_mounts + 1, sizeof *mounts);
    enum rootfs_source *sources = arena_array(a, s->n_mounts + 1, sizeof *sources);

    for (size_t i = 0; i < s->n_mounts; i++)
        mounts[i] = s->mounts[i];
    for (size_t i = 0; i < s->n_mounts && i < f->rootfs.n_sources; i++)
        sources[i] = f->rootfs.sources[i];
    mounts[s->n_mounts] = (struct spec_mount){ .destination = INSIDE,
                                               .type = "bind",
                                               .source = source,
                                               .options = { options, COUNT_OF(options) - 1,
                                                            true } };
    sources[s->n_mounts] = SOURCE_DIR;
    s->mounts = mounts;
    f->rootfs.sources = sources;
    f->rootfs.n_sources = ++s->n_mounts;
}

/* In place of one that the configuration has: getenv(3) finds the first. */
static void add_variable(struct strs *env, struct arena *a)
{
    const char **list = arena_array(a, env->n + 2, sizeof *list);
    size_t n = 0;

    for (size_t i = 0; i < env->n; i++)
        if (!str_starts(env->v[i], "NOTIFY_SOCKET="))
            list[n++] = env->v[i];
    list[n++] = "NOTIFY_SOCKET=" INSIDE "/" SOCKET_NAME;
    *env = (struct strs){ list, n, true };
}

void readiness_extend(const struct compile_in *in, struct arena *a, struct compile_in *out)
{
    struct spec *s = arena_alloc(a, sizeof *s);
    struct container_facts *f = arena_alloc(a, sizeof *f);

    *s = *in->spec;
    *f = *in->facts;
    add_mount(s, f, directory_of(a, in->state_dir), a);
    add_variable(&s->process.env, a);
    *out = *in;
    out->spec = s;
    out->facts = f;
}

void readiness_forget_pointers(const struct compile_in *in, struct plan *p)
{
    const char *own = plan_pointer(p, "/mounts/%zu", in->spec->n_mounts - 1);

    for (size_t i = 0; i < p->n; i++)
        if (str_eq(p->steps[i].pointer, own))
            p->steps[i].pointer = "";
}

void readiness_compile_open(struct plan *p, const struct compile_in *in)
{
    struct step *st = plan_add(p, OP_READINESS_DIRECTORY, LANE_RUNTIME, "");

    st->readiness_directory.path = directory_of(p->arena, in->state_dir);
    if (in->create)
        return;
    st = plan_add(p, OP_READINESS_LISTEN, LANE_RUNTIME, "");
    st->readiness_listen.dir = directory_of(p->arena, in->state_dir);
    st->readiness_listen.host = in->notify_socket;
    st->readiness_listen.out = plan_slot(p);
    st->readiness_listen.out_host = plan_slot(p);
}

void readiness_compile_forward(struct plan *p, const struct op_readiness_listen *from, int pid_slot,
                               int pidfd_slot, bool beside)
{
    struct step *st = plan_add(p, OP_READINESS_FORWARD, LANE_RUNTIME, "");

    st->readiness_forward.socket = from->out;
    st->readiness_forward.host = from->out_host;
    st->readiness_forward.pid = pid_slot;
    st->readiness_forward.pidfd = pidfd_slot;
    st->readiness_forward.beside = beside;
}

/* ---- the two sockets ----------------------------------------------------------------------- */

int readiness_directory(const struct op_readiness_directory *op, struct err *e)
{
    return mkdir(op->path, 0755) < 0 ? err_set(e, errno, "cannot make the directory '%s'", op->path)
                                     : 0;
}

static int listen_in(const char *dir, struct err *e)
{
    struct sockaddr_un address = { .sun_family = AF_UNIX };
    char path[FD_PATH_SIZE];
    /* Through an fd: ROOT/ID may be longer than an address. */
    AUTO_FD int at = openat(AT_FDCWD, dir, O_PATH | O_DIRECTORY | O_NOFOLLOW | O_CLOEXEC);
    AUTO_FD int sock = socket(AF_UNIX, SOCK_DGRAM | SOCK_NONBLOCK | SOCK_CLOEXEC, 0);
    int r = at < 0 || sock < 0 ? -errno : 0;

    base_format(address.sun_path, sizeof address.sun_path, "%s", fd_path(path, at, SOCKET_NAME));
    /* A `start` that failed has left its own. */
    if (r == 0 && unlinkat(at, SOCKET_NAME, 0) < 0 && errno != ENOENT)
        r = -errno;
    if (r == 0 && bind(sock, (const struct sockaddr *)&address, sizeof address) < 0)
        r = -errno;
    /* Any user of the container may say it. */
    if (r == 0 && fchmodat(at, SOCKET_NAME, 0777, 0) < 0)
        r = -errno;
    return r < 0 ? err_set(e, -r, "cannot listen at '%s/" SOCKET_NAME "'", dir) : take_fd(&sock);
}

/* unix(7): an abstract address is as long as its name; a path may be too long for one. */
static int address_of(const char *host, struct sockaddr_un *out, socklen_t *len, int *held)
{
    char path[FD_PATH_SIZE];
    size_t n = strlen(host);

    *len = sizeof *out;
    if (host[0] == '@') {
        *len = (socklen_t)(offsetof(struct sockaddr_un, sun_path) + n);
        memcpy(out->sun_path + 1, host + 1, n - 1);
        return 0;
    }
    if (n >= sizeof out->sun_path) {
        *held = openat(AT_FDCWD, host, O_PATH | O_CLOEXEC);
        host = fd_path(path, *held, NULL);
    }
    base_format(out->sun_path, sizeof out->sun_path, "%s", host);
    return n >= sizeof out->sun_path && *held < 0 ? -errno : 0;
}

static int connect_to(const char *host, struct err *e)
{
    struct timeval patience = { .tv_sec = PATIENCE_SECONDS };
    struct sockaddr_un address = { .sun_family = AF_UNIX };
    socklen_t len;
    AUTO_FD int sock = socket(AF_UNIX, SOCK_DGRAM | SOCK_CLOEXEC, 0);
    AUTO_FD int held = -1;
    int r = sock < 0 ? -errno : address_of(host, &address, &len, &held);

    if (r == 0 && (setsockopt(sock, SOL_SOCKET, SO_SNDTIMEO, &patience, sizeof patience) < 0 ||
                   connect(sock, (const struct sockaddr *)&address, len) < 0))
        r = -errno;
    if (r == 0)
        return take_fd(&sock);
    err_set(e, -r, "cannot reach the service manager at NOTIFY_SOCKET '%s'", host);
    err_hint(e, "without it in the environment nobody is told");
    return r;
}

int readiness_listen(const struct op_readiness_listen *op, struct slots *slots, struct err *e)
{
    AUTO_FD int host = connect_to(op->host, e);
    int sock = host < 0 ? host : listen_in(op->dir, e);

    if (sock < 0)
        return sock;
    slots->value[op->out] = sock;
    slots->value[op->out_host] = take_fd(&host);
    return 0;
}

/* ---- what the payload says ------------------------------------------------------------------ */

/* Text for a person, of a hostile writer, that will be shown in a terminal: no control character. */
static bool is_plain(const char *text, size_t len)
{
    for (size_t i = 0; i < len; i++)
        if ((unsigned char)text[i] < 0x20 || text[i] == 0x7f ||
            (text[i] == '\xc2' && i + 1 < len && (unsigned char)text[i + 1] < 0xa0)) /* C1 */
            return false;
    return utf8_valid_len(text, len) == len;
}

size_t readiness_filter(const char *text, size_t len, char out[READINESS_WORDS_SIZE])
{
    const char *status = NULL;
    size_t status_len = 0;
    bool ready = false;

    for (const char *at = text, *end = text + len; at < end;) {
        const char *newline = memchr(at, '\n', (size_t)(end - at));
        size_t n = (size_t)((newline ? newline : end) - at);

        ready |= n == strlen("READY=1") && memcmp(at, "READY=1", n) == 0;
        if (n > strlen("STATUS=") && n <= READINESS_STATUS_MAX &&
            memcmp(at, "STATUS=", strlen("STATUS=")) == 0 && is_plain(at, n)) {
            status = at;
            status_len = n;
        }
        at += n + 1;
    }
    if (!ready)
        return 0;
    return base_format(out, READINESS_WORDS_SIZE, "READY=1%s%.*s", status ? "\n" : "",
                       (int)status_len, status ? status : "");
}

/* One datagram. Length of what goes on, 0: nothing of it does; -EAGAIN: there was none. */
static ssize_t hear(int sock, char words[READINESS_WORDS_SIZE])
{
    char text[TEXT_SIZE];
    struct iovec part = { text, sizeof text };
    struct msghdr msg = { .msg_iov = &part, .msg_iovlen = 1 };
    ssize_t n = recvmsg(sock, &msg, MSG_DONTWAIT);

    if (n < 0)
        return errno == EINTR ? -EAGAIN : -errno;
    return msg.msg_flags & MSG_TRUNC ? 0 : (ssize_t)readiness_filter(text, (size_t)n, words);
}

/* Its sender waits while its queue is full, so it does not cost the host's processor time. */
static void slow_down(struct readiness *w)
{
    const struct timespec pause = { 0, 1000000 };

    if (w->useless >= FREE_DATAGRAMS)
        nanosleep(&pause, NULL);
    else
        w->useless++;
}

/* ---- what the manager is told ---------------------------------------------------------------- */

static int say(int host, const char *text, struct err *e)
{
    ssize_t n;

    do
        n = send(host, text, strlen(text), MSG_NOSIGNAL);
    while (n < 0 && errno == EINTR);
    return n < 0 ? err_set(e, errno, "cannot tell the service manager that the container is ready")
                 : 0;
}

/*
 * The manager closes the fd when it has done what it was told before: who ends earlier may be
 * unknown to it by then, sd_notify(3). One that never does is not waited for any longer.
 */
static int wait_at_barrier(struct execution *x, int host, struct err *e)
{
    struct signalfd_siginfo info;
    int ends[2], r;
    AUTO_FD int mine = -1;
    struct pollfd fds[] = { { -1, 0, 0 }, { execute_signal_fd(x), POLLIN, 0 } };

    if (pipe2(ends, O_CLOEXEC) < 0)
        return err_set(e, errno, "cannot make a pipe for the service manager");
    mine = ends[0];
    fds[0].fd = mine;
    r = fd_send(host, "BARRIER=1", strlen("BARRIER=1"), ends[1]);
    close(ends[1]);
    if (r < 0)
        return err_set(e, -r, "cannot tell the service manager that the container is ready");
    while ((r = poll(fds, COUNT_OF(fds), BARRIER_MS)) < 0 && errno == EINTR)
        ;
    if (r > 0 && !fds[0].revents && read(x->signal_fd, &info, sizeof info) == sizeof info)
        return execute_interrupted(x, (int)info.ssi_signo, e);
    if (r == 0)
        log_debug("warning: the service manager did not close the fd of BARRIER=1 in %d s",
                  BARRIER_MS / 1000);
    return 0;
}

static int announce(const struct readiness *w, const char *words, struct err *e)
{
    char text[32];
    int r = say(w->host, words, e);

    base_format(text, sizeof text, "MAINPID=%d", w->main_pid);
    return r < 0 ? r : say(w->host, text, e);
}

/* ---- waiting for it --------------------------------------------------------------------------- */

static void end_watch(struct readiness *w)
{
    close(w->socket);
    close(w->host);
    w->open = false;
}

/* teca ends when this is over: `start`, `run --detach`. The end of init ends it too. */
static int await_word(struct execution *x, int pidfd, struct err *e)
{
    struct readiness *w = &x->readiness;
    struct pollfd fds[] = { { w->socket, POLLIN, 0 },
                            { pidfd, POLLIN, 0 },
                            { execute_signal_fd(x), POLLIN, 0 } };
    struct signalfd_siginfo info;
    char words[READINESS_WORDS_SIZE];

    for (int last = TURN_DATAGRAMS; last > 0;) {
        ssize_t n = 0;

        if (poll(fds, COUNT_OF(fds), -1) < 0 && errno != EINTR)
            return err_set(e, errno, "cannot wait until the container is ready");
        if (fds[2].revents > 0 && read(x->signal_fd, &info, sizeof info) == sizeof info)
            return execute_interrupted(x, (int)info.ssi_signo, e);
        if (fds[0].revents)
            n = hear(w->socket, words);
        if (n > 0) {
            int r = announce(w, words, e);

            return r < 0 ? r : wait_at_barrier(x, w->host, e);
        }
        /* What it said before its end still counts. */
        if (fds[1].revents)
            last = n < 0 || !fds[0].revents ? 0 : last - 1;
        if (n == 0 && fds[0].revents)
            slow_down(w);
    }
    return 0;
}

void readiness_turn(struct execution *x)
{
    struct readiness *w = &x->readiness;
    char words[READINESS_WORDS_SIZE];
    struct err e = { 0 };
    ssize_t n = 0;

    for (int i = 0; w->open && n == 0 && i < TURN_DATAGRAMS; i++) {
        n = hear(w->socket, words);
        if (n == 0)
            slow_down(w);
    }
    if (n > 0) {
        if (announce(w, words, &e) < 0)
            log_debug("warning: %s", e.text);
        end_watch(w);
    } else if (w->open && n == 0) {
        kill(getpid(), SIGIO); /* there may be more, and another signal comes with a new one only */
    }
}

bool readiness_is_word(const struct execution *x, int signal)
{
    return x->readiness.watched && signal == SIGIO;
}

/*
 * `run` in the foreground has signals to pass on and a terminal to carry: a datagram comes as one
 * more signal, SIGIO (fcntl(2)). It is blocked, so one that is early waits for the supervision. The
 * manager's main process is teca itself, whose child the container is.
 */
static int watch(struct execution *x, struct err *e)
{
    struct readiness *w = &x->readiness;

    w->watched = true;
    w->main_pid = getpid();
    if (fcntl(w->socket, F_SETOWN, getpid()) < 0 ||
        fcntl(w->socket, F_SETFL, O_NONBLOCK | O_ASYNC) < 0)
        return err_set(e, errno, "cannot be told when the container is ready");
    readiness_turn(x); /* what came before */
    return 0;
}

int readiness_forward(struct execution *x, const struct op_readiness_forward *op, struct err *e)
{
    struct readiness *w = &x->readiness;
    int r;

    *w = (struct readiness){ .open = true,
                             .socket = x->slots.value[op->socket],
                             .host = x->slots.value[op->host],
                             .main_pid = x->slots.value[op->pid] };
    if (op->beside)
        return watch(x, e);
    r = await_word(x, x->slots.value[op->pidfd], e);
    end_watch(w);
    return r;
}
