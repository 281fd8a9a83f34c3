/* SPDX-License-Identifier: Apache-2.0 */
/*
 * `run` in the foreground with a terminal: the caller's terminal goes into raw mode, so that every
 * key is the container's, and bytes are carried between it and the container's terminal. fds 0 and
 * 1 may be shared with a shell, so they never become non-blocking: what is written at once is what
 * a pipe takes that poll(2) calls writable.
 */
#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <poll.h>
#include <signal.h>
#include <string.h>
#include <sys/ioctl.h>
#include <sys/signalfd.h>
#include <unistd.h>

#include "container/internal.h"

enum {
    CHUNK = 4096,             /* PIPE_BUF */
    DRAIN_MAX = 1 << 20,      /* after init's end; orphans of it may write for ever */
    HUNG_UP_MILLISECONDS = 50 /* until a terminal that nobody has open is looked at again */
};
_Static_assert((int)CHUNK <= (int)PIPE_BUF,
               "a write to a pipe that poll calls writable is not held up");

/* What was read on the one side and not yet written to the other. */
struct flow {
    char data[CHUNK];
    size_t from, to;
};
static struct flow inward, outward;

/* ---- the caller's terminal ------------------------------------------------------------------ */

/* Any of the three may be redirected, and all of them. -1: there is none. */
static int find_terminal(struct relay *r)
{
    static const int order[] = { STDERR_FILENO, STDOUT_FILENO, STDIN_FILENO };
    int fd;

    for (size_t i = 0; i < COUNT_OF(order); i++)
        if (tcgetattr(order[i], &r->saved) == 0)
            return order[i];
    fd = openat(AT_FDCWD, "/dev/tty", O_RDWR | O_CLOEXEC | O_NOCTTY);
    if (fd >= 0 && tcgetattr(fd, &r->saved) < 0)
        fd_cleanup(&fd);
    return fd;
}

/*
 * In the background this stops the process until the shell brings it to the foreground, as every
 * program that changes the terminal does: SIGTTOU is unblocked for that long. Whoever cannot be
 * stopped (EIO: an orphaned process group) has no business with the modes.
 */
static void make_raw(struct relay *r)
{
    struct termios raw = r->saved;
    sigset_t set;

    cfmakeraw(&raw);
    sigemptyset(&set);
    sigaddset(&set, SIGTTOU);
    sigprocmask(SIG_UNBLOCK, &set, NULL);
    r->raw = tcsetattr(r->tty, TCSANOW, &raw) == 0;
    sigprocmask(SIG_BLOCK, &set, NULL);
}

void relay_resize(const struct relay *r)
{
    struct winsize size;

    if (r->tty >= 0 && ioctl(r->tty, TIOCGWINSZ, &size) == 0 && size.ws_row && size.ws_col)
        ioctl(r->master, TIOCSWINSZ, &size); /* equal ones send no SIGWINCH */
}

int relay_open(struct relay *r, int master, struct err *e)
{
    int flags = fcntl(master, F_GETFL);

    if (flags < 0 || fcntl(master, F_SETFL, flags | O_NONBLOCK) < 0)
        return err_set(e, errno, "cannot make the terminal non-blocking");
    *r = (struct relay){ .on = true, .master = master, .in = STDIN_FILENO, .out = STDOUT_FILENO };
    r->tty = find_terminal(r);
    relay_resize(r);
    if (r->tty >= 0)
        make_raw(r);
    return 0;
}

void relay_continue(struct relay *r)
{
    if (r->raw)
        make_raw(r);
    relay_resize(r);
}

void relay_close(struct relay *r)
{
    if (r->on && r->raw)
        tcsetattr(r->tty, TCSANOW, &r->saved); /* SIGTTOU is blocked: it does not stop us */
    r->raw = r->on = false;
}

/* ---- carrying bytes ------------------------------------------------------------------------- */

static bool is_empty(const struct flow *f)
{
    return f->from == f->to;
}

/* Bytes read; 0: the end; -1: nothing now. */
static ssize_t take(struct flow *f, int fd)
{
    ssize_t n = read(fd, f->data, sizeof f->data);

    if (n < 0)
        return errno == EAGAIN || errno == EINTR ? -1 : 0;
    f->from = 0;
    f->to = (size_t)n;
    return n;
}

/* False: nobody will ever take it. */
static bool give(struct flow *f, int fd)
{
    ssize_t n = write(fd, f->data + f->from, f->to - f->from);

    if (n < 0)
        return errno == EAGAIN || errno == EINTR;
    f->from += (size_t)n;
    return true;
}

/*
 * The caller's input is at its end. A terminal has no end; but a program that reads lines takes the
 * character VEOF for it: once after a whole line, twice within one (termios(3) ICANON). Whether it reads lines
 * the terminal of a machine does not tell, which is raw on this side: there it gets the character in any case.
 */
static void pass_end(struct relay *r)
{
    struct termios modes;
    size_t n = r->in_line ? 2 : 1;

    r->in = -1;
    if (tcgetattr(r->master, &modes) < 0 || !(r->machine || (modes.c_lflag & ICANON)))
        return;
    memset(inward.data, modes.c_cc[VEOF], n);
    inward.from = 0;
    inward.to = n;
}

static void read_input(struct relay *r)
{
    ssize_t n = take(&inward, r->in);

    if (n == 0)
        pass_end(r);
    else if (n > 0)
        r->in_line = inward.data[n - 1] != '\n';
}

static void write_output(struct relay *r)
{
    if (r->out >= 0 && !give(&outward, r->out))
        r->out = -1;
    if (r->out < 0) /* nobody looks: the container need not stand still for that */
        outward.from = outward.to;
}

static void carry(struct relay *r, const struct pollfd fds[4])
{
    /* Hung up: no process has the terminal open, but one may open it again. */
    r->hung_up = (fds[2].revents & POLLHUP) != 0;
    if (fds[2].revents && !is_empty(&inward))
        give(&inward, r->master);
    if (fds[0].revents && is_empty(&inward))
        read_input(r);
    if (fds[2].revents & (POLLIN | POLLHUP) && is_empty(&outward) && take(&outward, r->master) > 0)
        r->hung_up = false;
    if (!is_empty(&outward) && (r->out < 0 || fds[1].revents))
        write_output(r);
}

int relay_turn(struct relay *r, int signal_fd, struct err *e)
{
    struct signalfd_siginfo info;
    short master = (short)((is_empty(&inward) ? 0 : POLLOUT) | (is_empty(&outward) ? POLLIN : 0));
    struct pollfd fds[4] = { { is_empty(&inward) ? r->in : -1, POLLIN, 0 },
                             { is_empty(&outward) ? -1 : r->out, POLLOUT, 0 },
                             { r->hung_up || !master ? -1 : r->master, master, 0 },
                             { signal_fd, POLLIN, 0 } };
    int n = poll(fds, COUNT_OF(fds), r->hung_up ? HUNG_UP_MILLISECONDS : -1);

    if (n < 0 && errno != EINTR)
        return err_set(e, errno, "cannot wait for the terminal");
    if (n < 0)
        return 0;
    carry(r, fds);
    if (fds[3].revents && read(signal_fd, &info, sizeof info) == sizeof info)
        return (int)info.ssi_signo;
    return 0;
}

/* False: a signal came that ends the wait for whoever reads the output. */
static bool drain_chunk(struct relay *r, int signal_fd)
{
    struct signalfd_siginfo info;

    while (!is_empty(&outward)) {
        struct pollfd fds[2] = { { r->out, POLLOUT, 0 }, { signal_fd, POLLIN, 0 } };

        if (r->out >= 0)
            poll(fds, COUNT_OF(fds), -1);
        if (fds[1].revents && read(signal_fd, &info, sizeof info) == sizeof info &&
            execute_is_fatal_signal((int)info.ssi_signo))
            return false;
        if (r->out < 0 || fds[0].revents)
            write_output(r);
    }
    return true;
}

/* Init has ended: what it wrote last is still in the kernel. */
void relay_drain(struct relay *r, int signal_fd)
{
    size_t total = 0;

    while (total < DRAIN_MAX && drain_chunk(r, signal_fd) && take(&outward, r->master) > 0)
        total += outward.to;
}
