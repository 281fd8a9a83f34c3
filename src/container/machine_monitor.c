/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The monitor of a machine: between the guest's agent on one side and, on the other, who has started the
 * container (the lanes' socket, the FIFOs of `start`), its three standard fds, and whoever sends signals to
 * the pid that stands for it. Nothing that the guest says is believed but for this one container.
 */
#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <poll.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/ioctl.h>
#include <sys/mman.h>
#include <sys/prctl.h>
#include <sys/random.h>
#include <sys/resource.h>
#include <sys/signalfd.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <termios.h>
#include <time.h>
#include <unistd.h>

#include "container/machine.h"

enum {
    BOOT_SECONDS = 180, /* an emulated processor on a busy host */
    TAIL_SIZE = 8192,   /* of what the machine's console said: a panic with its trace */
    SEED_SIZE = 64,
    CHUNK = 4096,     /* PIPE_BUF: what a pipe that poll(2) calls writable takes at once */
    SERVER_MS = 5000, /* from the machine's end to the file server's */
    BROKEN = 255,     /* exit status of a machine that ended before its container */
};

enum phase { BOOTING, CREATING, CREATED, STARTING, RUNNING, ENDED };

static struct monitor {
    struct mux *mux;
    enum phase phase;
    int port, console, signals;
    pid_t qemu, server, network; /* network: passt, or 0 */
    bool qemu_ended, server_ended, input_ended, output_closed[2], close_told[2], terminal, no_pivot,
        last_words;
    const char *config;
    size_t config_len, config_sent;
    unsigned status;                /* of EXIT */
    char failure[MUX_TEXT_MAX + 1]; /* of FAILED, or "" */
    char tail[TAIL_SIZE];
    size_t tail_len;
} monitor;

/* ---- what the guest says --------------------------------------------------------------------- */

static int say(struct monitor *m, struct mux_message message, struct err *e)
{
    return mux_send(m->mux, &message) < 0 ? err_set(e, 0, "the machine does not listen") : 0;
}

/* HELLO: the time, bytes for its random numbers, and the container that is wanted. */
static int greet(struct monitor *m, uint64_t version, struct err *e)
{
    char seed[SEED_SIZE];
    struct timespec now;
    struct mux_message setup = { .verb = MUX_SETUP, .text = seed, .text_len = sizeof seed };
    struct mux_message create = { .verb = MUX_CREATE,
                                  .value = m->config_len,
                                  .extra = (m->terminal ? MUX_TERMINAL : 0U) |
                                           (m->no_pivot ? MUX_NO_PIVOT : 0U) };
    int r;

    if (version != MUX_VERSION)
        return err_set(e, 0, "the machine's agent speaks version %lu of the protocol, not %d",
                       version, MUX_VERSION);
    clock_gettime(CLOCK_REALTIME, &now);
    setup.value = (uint64_t)now.tv_sec * 1000000000 + (uint64_t)now.tv_nsec;
    if (getrandom(seed, sizeof seed, 0) != sizeof seed)
        return err_set(e, errno, "cannot get random bytes for the machine");
    m->phase = CREATING;
    r = say(m, setup, e);
    return r < 0 ? r : say(m, create, e);
}

/* May the guest say this now? A verb that does not fit is a breach. */
static bool fits(enum phase phase, enum mux_verb verb)
{
    switch ((int)verb) {
    case MUX_HELLO:
        return phase == BOOTING;
    case MUX_CREATED:
        return phase == CREATING;
    case MUX_STARTED:
        return phase == STARTING;
    case MUX_FAILED:
        return phase == CREATING || phase == STARTING;
    case MUX_EXIT:
        return phase == CREATED || phase == RUNNING;
    default:
        return false;
    }
}

static int hear(void *arg, const struct mux_message *message, struct err *e)
{
    struct monitor *m = arg;

    if (message->process != 0)
        return clients_hear(m->mux, message, e);
    if (!fits(m->phase, message->verb))
        return err_set(e, EPROTO, "%s comes when it must not", mux_verb_name(message->verb));
    switch ((int)message->verb) { /* as int: fits() lets no other pass */
    case MUX_HELLO:
        return greet(m, message->value, e);
    case MUX_CREATED:
        m->phase = CREATED;
        return 0;
    case MUX_STARTED:
        m->phase = RUNNING;
        return 0;
    case MUX_FAILED:
        base_format(m->failure, sizeof m->failure, "%.*s", (int)message->text_len, message->text);
        text_clean(m->failure, strlen(m->failure), "");
        m->status = BROKEN;
        m->phase = ENDED;
        return 0;
    default:
        m->status = (unsigned)message->value;
        m->phase = ENDED;
        return 0;
    }
}

/* ---- bytes ----------------------------------------------------------------------------------- */

static int read_port(struct monitor *m, struct err *e)
{
    static char data[65536];
    ssize_t n = recv(m->port, data, sizeof data, MSG_DONTWAIT);

    if (n < 0 && fd_is_later())
        return 0;
    if (n <= 0) {
        m->qemu_ended = true;
        return 0;
    }
    return mux_input(m->mux, data, (size_t)n, e);
}

static void write_port(struct monitor *m)
{
    const uint8_t *data;

    for (size_t len; (len = mux_output(m->mux, &data)) > 0;) {
        ssize_t n = send(m->port, data, len, MSG_DONTWAIT | MSG_NOSIGNAL);

        if (n < 0) /* that it has gone the read tells */
            return;
        mux_output_done(m->mux, (size_t)n);
    }
}

/* The end of it, for the sentence about a machine that dies. */
static void read_console(struct monitor *m)
{
    char data[1024];
    ssize_t n = recv(m->console, data, sizeof data, MSG_DONTWAIT);

    if (n == 0)
        fd_cleanup(&m->console);
    if (n <= 0)
        return;
    if (m->tail_len + (size_t)n > TAIL_SIZE) {
        size_t drop = m->tail_len + (size_t)n - TAIL_SIZE;

        m->tail_len -= drop;
        memmove(m->tail, m->tail + drop, m->tail_len);
    }
    memcpy(m->tail + m->tail_len, data, (size_t)n);
    m->tail_len += (size_t)n;
}

static void send_config(struct monitor *m)
{
    const unsigned stream = mux_stream_of(0, MUX_CONFIG);

    while (m->phase == CREATING && m->config_sent < m->config_len) {
        size_t n = mux_send_data(m->mux, stream, m->config + m->config_sent,
                                 m->config_len - m->config_sent);

        if (n == 0)
            return;
        m->config_sent += n;
    }
}

static void end_input(struct monitor *m)
{
    m->input_ended = true;
    mux_send_end(m->mux, mux_stream_of(0, MUX_STDIN));
}

static void read_input(struct monitor *m)
{
    const unsigned stream = mux_stream_of(0, MUX_STDIN);
    char data[CHUNK];
    size_t room = mux_room(m->mux, stream);
    ssize_t n;

    if (room == 0)
        return;
    n = read(STDIN_FILENO, data, room < sizeof data ? room : sizeof data);
    if (n > 0)
        mux_send_data(m->mux, stream, data, (size_t)n);
    else if (n == 0 || !fd_is_later())
        end_input(m);
}

/* Nobody reads: what comes is dropped, and whoever writes is told so. */
static void close_output(struct monitor *m, unsigned which)
{
    struct mux_message close = { .verb = MUX_CLOSE, .value = MUX_STDOUT + which };

    if (!m->close_told[which] && mux_is_ready(m->mux) && mux_send(m->mux, &close) == 0)
        m->close_told[which] = true;
}

static void write_output(struct monitor *m, int fd, unsigned stream)
{
    const uint8_t *data;
    size_t len = mux_peek(m->mux, stream, &data);
    bool *closed = &m->output_closed[fd - 1];
    ssize_t n;

    if (len == 0)
        return;
    n = *closed ? (ssize_t)len : write(fd, data, len < CHUNK ? len : CHUNK);
    if (n < 0 && !fd_is_later())
        *closed = true;
    if (n > 0)
        mux_take(m->mux, stream, (size_t)n);
    if (*closed && m->phase < ENDED)
        close_output(m, (unsigned)fd - 1);
}

/* ---- signals --------------------------------------------------------------------------------- */

static int resize(struct monitor *m, struct err *e)
{
    struct winsize size;

    if (!m->terminal || m->phase < CREATED || ioctl(STDIN_FILENO, TIOCGWINSZ, &size) < 0)
        return 0;
    return say(
        m, (struct mux_message){ .verb = MUX_RESIZE, .value = size.ws_row, .extra = size.ws_col },
        e);
}

/*
 * It ends by itself when the machine has ended; else the guest would wait for its files for ever. Which of the two was
 * first its status tells, for a machine that ends closes the connection before it can be waited for.
 */
static void lose_server(struct monitor *m, int status)
{
    m->server = 0;
    m->server_ended = !WIFEXITED(status) || WEXITSTATUS(status) != 0;
    if (m->qemu > 0)
        kill(m->qemu, SIGKILL);
}

/*
 * passt, whose users know it so: the container goes on, and what it sends is lost. It ends by itself when the machine has closed
 * its end, which is no news.
 */
static void lose_network(struct monitor *m)
{
    struct pollfd port = { m->port, POLLRDHUP, 0 };

    m->network = 0;
    if (m->phase < ENDED && poll(&port, 1, 0) == 0)
        machine_tell_people(
            STDERR_FILENO, "passt, the machine's network, has ended: the container goes on without",
            0);
}

static void reap(struct monitor *m)
{
    int status;
    pid_t pid;

    /* What it said last may still be in the port: the end of that counts. */
    while ((pid = waitpid(-1, &status, WNOHANG)) > 0) {
        if (pid == m->qemu)
            m->qemu = 0;
        if (pid == m->server)
            lose_server(m, status);
        if (pid == m->network)
            lose_network(m);
    }
}

enum machine_word machine_word_of(const struct signalfd_siginfo *info, bool terminal)
{
    bool sent = info->ssi_code <= 0; /* SI_USER, SI_QUEUE, SI_TKILL */

    if (info->ssi_signo == SIGWINCH && terminal)
        return MACHINE_SIZE;
    if (info->ssi_signo == SIGHUP && !sent && terminal) /* who holds the master has gone */
        return MACHINE_HANGUP;
    return sent ? MACHINE_FORWARD : MACHINE_NOTHING;
}

static int take_signal(struct monitor *m, const struct signalfd_siginfo *info, struct err *e)
{
    unsigned number = info->ssi_signo;

    if (number == SIGCHLD && info->ssi_code > 0)
        reap(m);
    switch (machine_word_of(info, m->terminal)) {
    case MACHINE_SIZE:
        return resize(m, e);
    case MACHINE_HANGUP:
        end_input(m);
        return 0;
    case MACHINE_FORWARD:
        break;
    case MACHINE_NOTHING:
        return 0;
    }
    if (m->phase < CREATED || m->phase == ENDED)
        return 0;
    if (number == SIGCONT && info->ssi_code == SI_QUEUE && info->ssi_int == SIGSTOP)
        number = SIGSTOP; /* machine_signal */
    return say(m, (struct mux_message){ .verb = MUX_SIGNAL, .value = number }, e);
}

static int read_signals(struct monitor *m, struct err *e)
{
    struct signalfd_siginfo info;
    int r = 0;

    while (r == 0 && read(m->signals, &info, sizeof info) == sizeof info) {
        /* The container is over, and nobody takes its last words: enough. */
        m->last_words |= m->phase == ENDED && execute_is_fatal_signal((int)info.ssi_signo);
        r = take_signal(m, &info, e);
    }
    return r;
}

/* ---- the loop -------------------------------------------------------------------------------- */

static short wants_output(const struct monitor *m, enum mux_channel channel)
{
    const uint8_t *data;

    return mux_peek(m->mux, mux_stream_of(0, channel), &data) > 0 ? POLLOUT : 0;
}

/* One wait, and what there is to do then. also: one more fd to wait for, or -1. 1: it has something to say. */
static int turn(struct monitor *m, int also, int timeout_ms, struct err *e)
{
    const uint8_t *data;
    short port = (short)(POLLIN | (mux_output(m->mux, &data) > 0 ? POLLOUT : 0));
    short out = wants_output(m, MUX_STDOUT), err = wants_output(m, MUX_STDERR);
    bool input = m->phase >= CREATED && m->phase != ENDED && !m->input_ended &&
                 mux_room(m->mux, mux_stream_of(0, MUX_STDIN)) > 0;
    enum { OWN = 7 };
    struct pollfd fds[OWN + CLIENTS_FDS] = {
        { m->qemu_ended ? -1 : m->port, port, 0 },
        { m->console, POLLIN, 0 },
        { m->signals, POLLIN, 0 },
        { input ? STDIN_FILENO : -1, POLLIN, 0 },
        { out ? STDOUT_FILENO : -1, POLLOUT, 0 },
        { err ? STDERR_FILENO : -1, POLLOUT, 0 },
        { also, POLLIN, 0 },
    };
    int r = 0;

    clients_poll(m->mux, m->phase >= CREATED && m->phase != ENDED, fds + OWN);
    if (poll(fds, COUNT_OF(fds), timeout_ms) < 0 && errno != EINTR)
        return err_set(e, errno, "cannot wait for the machine");
    if (fds[1].revents)
        read_console(m);
    if (fds[0].revents & ~POLLOUT)
        r = read_port(m, e);
    if (r == 0 && fds[2].revents)
        r = read_signals(m, e);
    if (fds[3].revents)
        read_input(m);
    if (fds[4].revents)
        write_output(m, STDOUT_FILENO, mux_stream_of(0, MUX_STDOUT));
    if (fds[5].revents)
        write_output(m, STDERR_FILENO, mux_stream_of(0, MUX_STDERR));
    if (r == 0 && m->phase != ENDED)
        clients_turn(m->mux, fds + OWN);
    send_config(m);
    write_port(m);
    return r < 0 ? r : (fds[6].revents & POLLIN) != 0;
}

static int machine_ended(struct monitor *m, struct err *e)
{
    struct machine_words words;

    while (m->console >= 0) {
        size_t before = m->tail_len;

        read_console(m);
        if (m->tail_len == before)
            break;
    }
    machine_last_words(m->tail, m->tail_len, &words);
    err_set(e, 0, "%s ended before its container",
            m->server_ended ? "the server of the machine's files" : "the machine");
    if (words.len > 0)
        err_hint(e, "its console: %s", words.text);
    return -ECHILD;
}

/* ---- boot ------------------------------------------------------------------------------------ */

static int pair(int *mine, int *theirs, struct err *e)
{
    int fds[2];

    if (socketpair(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0, fds) < 0)
        return err_set(e, errno, "cannot make a socket pair for the machine");
    *mine = fds[0];
    *theirs = fds[1];
    return 0;
}

static int slot_value(const struct execution *x, int slot)
{
    return slot == SLOT_NONE ? -1 : x->slots.value[slot];
}

static void close_slot(struct execution *x, int slot)
{
    if (slot != SLOT_NONE)
        fd_cleanup(&x->slots.value[slot]);
}

static int spawn_machine(struct monitor *m, const struct op_machine_boot *op, struct execution *x,
                         struct err *e)
{
    struct machine_wires w = { .files = slot_value(x, op->files),
                               .memory = slot_value(x, op->memory) };
    AUTO_FD int port = -1;
    AUTO_FD int console = -1;
    const int *opened = x->slots.value + op->opened;
    int r = pair(&m->port, &port, e);

    if (r == 0)
        r = pair(&m->console, &console, e);
    if (r < 0)
        return r;
    w.kernel = opened[MACHINE_KERNEL];
    w.initramfs = opened[MACHINE_INITRAMFS];
    w.image = opened[MACHINE_IMAGE];
    w.system = opened[MACHINE_SYSTEM];
    w.port = port;
    w.console = console;
    for (int i = 0; op->macs[i]; i++)
        w.nets[i] = x->slots.value[op->taps + i];
    m->server = slot_value(x, op->server);
    m->network = op->network == SLOT_NONE ? 0 : x->slots.value[op->network];
    m->qemu = op->program ? machine_qemu_spawn(op, &w, x->plan->arena, e)
                          : machine_vmm_spawn(op, &w, e);
    close_slot(x, op->files);
    close_slot(x, op->memory);
    for (int i = 0; i < MACHINE_FILES; i++) /* a file that is removed later goes with its machine */
        close_slot(x, op->opened + i);
    for (int i = 0; op->macs[i]; i++)
        close_slot(x, op->taps + i);
    return m->qemu < 0 ? (int)m->qemu : 0;
}

static int64_t seconds_now(void)
{
    return container_clock_ns() / 1000000000;
}

static int boot(struct monitor *m, int runtime, struct err *e)
{
    int64_t until = seconds_now() + BOOT_SECONDS;

    while (m->phase < CREATED) {
        int r = turn(m, runtime, 1000, e);

        if (r < 0)
            return r;
        /* Who has started it says nothing before it is up, but may be killed meanwhile. */
        if (fd_is_hung_up(runtime))
            return err_set(e, EPIPE, "the runtime has gone");
        if (m->qemu_ended && m->phase < CREATED)
            return machine_ended(m, e);
        if (seconds_now() > until)
            return err_set(e, ETIMEDOUT, "the machine did not come up within %d s", BOOT_SECONDS);
    }
    return m->phase == ENDED ? err_set(e, 0, "%s", m->failure) : 0;
}

/* SIGCHLD is blocked, and comes once for many. False: there are some still. */
static bool await_children(int timeout_ms)
{
    const int64_t until = container_clock_ns() + (int64_t)timeout_ms * 1000000;
    sigset_t set;
    pid_t pid;

    sigemptyset(&set);
    sigaddset(&set, SIGCHLD);
    for (;;) {
        struct timespec left = { 0 };
        int64_t ns;

        while ((pid = waitpid(-1, NULL, WNOHANG)) > 0)
            ;
        if (pid < 0)
            return true;
        ns = until - container_clock_ns();
        if (ns <= 0)
            return false;
        left.tv_sec = ns / 1000000000;
        left.tv_nsec = ns % 1000000000;
        sigtimedwait(&set, NULL, &left);
    }
}

static void end_machine(struct monitor *m)
{
    if (m->qemu > 0) {
        kill(m->qemu, SIGKILL);
        waitpid(m->qemu, NULL, 0);
    }
    if (m->network > 0) /* it may be stopped */
        kill(m->network, SIGKILL);
    fd_cleanup(&m->port);
    /* The file server ends when its connection does; but not one that is stopped, nor with a disk that does not answer. */
    if (!await_children(SERVER_MS) && m->server > 0) {
        kill(m->server, SIGKILL);
        await_children(SERVER_MS);
    }
}

/*
 * A write(2) to a terminal that poll(2) calls writable waits until all of it has room, and so does one to a pipe that
 * somebody else has filled meanwhile: as long as nobody reads there, no signal and no verb would be heard. The flag belongs to
 * the open file, and that is the caller's too: hence one more, by proc(5) /proc/PID/fd. Of a terminal's master that
 * would be another terminal.
 */
void machine_own_stdio(void)
{
    for (int fd = STDIN_FILENO; fd <= STDERR_FILENO; fd++) {
        int flags = fcntl(fd, F_GETFL), number;
        AUTO_FD int own = -1;
        char path[32];
        struct stat st;

        if (flags < 0 || fstat(fd, &st) < 0 || ioctl(fd, TIOCGPTN, &number) == 0 ||
            !(S_ISFIFO(st.st_mode) || isatty(fd)))
            continue;
        base_format(path, sizeof path, "/proc/self/fd/%d", fd);
        own = openat(AT_FDCWD, path, (flags & O_ACCMODE) | O_NONBLOCK | O_NOCTTY | O_CLOEXEC);
        if (own >= 0)
            dup2(own, fd);
    }
}

int machine_take_terminal(struct err *e)
{
    struct termios raw;

    if (tcgetattr(STDIN_FILENO, &raw) < 0)
        return err_set(e, errno, "cannot read the modes of the terminal");
    cfmakeraw(&raw);
    return tcsetattr(STDIN_FILENO, TCSANOW, &raw) < 0
               ? err_set(e, errno, "cannot set the modes of the terminal")
               : 0;
}

static int step_boot(struct execution *x, const struct op_machine_boot *op, struct err *e)
{
    struct monitor *m = &monitor;
    int r = op->terminal ? machine_take_terminal(e) : 0;

    *m = (struct monitor){ .port = -1, .console = -1 };
    /* Not static: every start of this program would have these 16 MiB, though untouched. */
    m->mux = mmap(NULL, sizeof *m->mux, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
    if (m->mux == MAP_FAILED)
        return err_set(e, errno, "cannot have memory for the machine's monitor");
    mux_init(m->mux, MUX_HOST, hear, m);
    machine_own_stdio();
    m->terminal = op->terminal;
    m->no_pivot = op->no_pivot;
    m->config = op->config;
    m->config_len = strlen(op->config);
    m->signals = signalfd(-1, &x->signals, SFD_CLOEXEC | SFD_NONBLOCK);
    if (r == 0 && m->signals < 0)
        r = err_set(e, errno, "cannot wait for signals");
    if (r == 0)
        r = spawn_machine(m, op, x, e);
    if (r == 0)
        r = boot(m, x->sock, e);
    if (r < 0) {
        close_slot(x, op->files); /* where the machine has not got it */
        close_slot(x, op->memory);
        end_machine(m);
    }
    return r;
}

/* ---- serve ----------------------------------------------------------------------------------- */

/* One word to who started it, and then the end of the line: what execute.c and verbs.c listen for. */
static void answer(struct execution *x, enum record_kind kind, const char *text)
{
    struct record rec = { .kind = kind };

    for (int i = 0; i < (int)x->plan->n; i++)
        if (x->plan->steps[i].op == OP_MACHINE_SERVE)
            rec.step = i;
    if (text)
        base_format(rec.text, sizeof rec.text, "%s", text);
    fd_write_all(x->sock, &rec, sizeof rec);
    if (x->fifos.start >= 0)
        close(x->fifos.start); /* first: without a reader of it the container counts as running */
    close(x->sock);
    x->fifos.start = x->fifos.result = x->sock = -1;
}

static int wait_for_start(struct monitor *m, struct execution *x, struct err *e)
{
    char byte;
    int r = 0;

    if (x->fifos.start < 0) /* `run` */
        return 0;
    close(x->sock);
    x->sock = x->fifos.result;
    fcntl(x->fifos.start, F_SETFL, O_RDWR | O_NONBLOCK); /* nobody else has it open by now */
    while (r == 0 && m->phase == CREATED && !m->qemu_ended) {
        r = turn(m, x->fifos.start, -1, e);
        if (r > 0 && read(x->fifos.start, &byte, 1) != 1)
            /* EAGAIN: a `start` that has given up has taken it back. */
            r = errno == EAGAIN ? 0 : err_set(e, errno, "cannot hear from `start`");
    }
    return r < 0 ? r : 0;
}

static int start(struct monitor *m, struct execution *x, struct err *e)
{
    int r = wait_for_start(m, x, e);

    if (r == 0 && m->qemu_ended)
        return machine_ended(m, e);
    if (r == 0)
        r = resize(m, e);
    if (r < 0 || m->phase != CREATED)
        return r;
    m->phase = STARTING;
    r = say(m, (struct mux_message){ .verb = MUX_START }, e);
    write_port(m);
    while (r == 0 && m->phase == STARTING)
        r = m->qemu_ended ? machine_ended(m, e) : turn(m, -1, -1, e);
    if (r == 0 && m->failure[0])
        r = err_set(e, 0, "%s", m->failure);
    if (r == 0)
        answer(x, RECORD_EXEC_NEXT, NULL);
    return r;
}

/* What the process wrote last reaches its reader, unless a signal says that nobody waits for it. */
static void drain(struct monitor *m)
{
    struct err ignored;

    while (!m->last_words && (wants_output(m, MUX_STDOUT) || wants_output(m, MUX_STDERR)))
        if (turn(m, -1, -1, &ignored) < 0)
            return;
}

static int serve(struct monitor *m, struct execution *x, struct err *e)
{
    int r = start(m, x, e);

    while (r == 0 && m->phase != ENDED)
        r = m->qemu_ended ? machine_ended(m, e) : turn(m, -1, -1, e);
    if (r == 0) {
        clients_flush(m->mux);
        drain(m);
    }
    return r;
}

/* Signals that end nobody: what the guest says of its end may be any number. */
static bool is_stop(int number)
{
    return number == SIGSTOP || number == SIGTSTP || number == SIGTTIN || number == SIGTTOU;
}

/* A signal's core would be this process's. */
_Noreturn void machine_end_as(unsigned status)
{
    struct rlimit no_core = { 0, 0 };
    int number = (int)status - MUX_BY_SIGNAL;
    sigset_t set;

    if (number <= 0)
        _exit((int)status);
    if (is_stop(number)) /* who does that to itself is there for ever */
        _exit(128 + number);
    setrlimit(RLIMIT_CORE, &no_core);
    prctl(PR_SET_DUMPABLE, 0);
    signal(number, SIG_DFL);
    sigemptyset(&set);
    sigaddset(&set, number);
    kill(getpid(), number);
    sigprocmask(SIG_UNBLOCK, &set, NULL);
    _exit(128 + number); /* of a signal that ends nobody */
}

/* Nobody may be there to read it, and it holds up no end. A pipe of the caller's that could not be opened again may wait. */
void machine_tell_people(int fd, const char *sentence, int patience_ms)
{
    struct pollfd room = { fd, POLLOUT, 0 };
    char line[ERR_TEXT_SIZE + 16];
    size_t len = base_format(line, sizeof line, "teca: %s\n", sentence);

    if (len >= sizeof line)
        len = sizeof line - 1;
    if (poll(&room, 1, patience_ms) == 1 && send(fd, line, len, MSG_DONTWAIT | MSG_NOSIGNAL) < 0 &&
        errno == ENOTSOCK)
        (void)!write(fd, line, len);
}

static int step_serve(struct execution *x, const struct op_machine_serve *op, struct err *e)
{
    struct monitor *m = &monitor;
    bool run, heard;
    int r;

    prctl(PR_SET_DUMPABLE, 0);
    clients_open(x->slots.value[op->control], x->slots.value[op->dir]);
    r = serve(m, x, e);
    end_machine(m);
    if (r == 0)
        machine_end_as(m->status);
    run = x->sock >= 0 && x->fifos.start < 0;
    heard = run || (x->sock >= 0 && m->phase != CREATED);
    if (x->sock >= 0)
        answer(x, RECORD_ERROR, e->text);
    if (heard) /* `run` reads the reason only of what ends as a start that has failed does */
        _exit(run || m->failure[0] ? 1 : BROKEN);
    /* Nobody has asked to start it, or it runs: the container's own stderr is the one place that is left for it. */
    machine_tell_people(STDERR_FILENO, e->text, MACHINE_LAST_MS);
    _exit(BROKEN);
}

int machine_step(struct execution *x, const struct step *st, struct err *e)
{
    if (st->op == OP_MACHINE_TAKE_NETWORK)
        return machine_take_network_step(x, &st->machine_take_network, e);
    if (st->op == OP_MACHINE_BOOT) {
        struct op_machine_boot op = st->machine_boot;

        if (!op.macs)
            op.macs = x->macs;
        return step_boot(x, &op, e);
    }
    if (st->op == OP_MACHINE_SERVE)
        return step_serve(x, &st->machine_serve, e);
    if (st->op == OP_MACHINE_EXEC)
        return machine_exec_step(x, &st->machine_exec, e);
    return machine_share_step(st, &x->slots, e);
}
