/* SPDX-License-Identifier: Apache-2.0 */
/* PID 1 of a machine: one loop around the port, the container's process and its bytes. */
#include <errno.h>
#include <poll.h>
#include <signal.h>
#include <string.h>
#include <sys/signalfd.h>
#include <sys/wait.h>
#include <unistd.h>

#include "guest/internal.h"

enum { CHUNK = 32768 }; /* the console driver takes no more in one write(2) */

struct agent {
    struct mux mux;
    struct process process;
    int port, signals;
};

bool guest_is_agent(const char *argv0)
{
    const char *name = argv0 ? strrchr(argv0, '/') : NULL;

    return str_eq(name ? name + 1 : argv0, BOOT_AGENT);
}

static int hear(void *arg, const struct mux_message *m, struct err *e)
{
    struct agent *a = arg;

    if (m->process != 0)
        return err_set(e, EPROTO, "%s of process %u, which there is not", mux_verb_name(m->verb),
                       m->process);
    switch (m->verb) {
    case MUX_SETUP:
        return system_set_up(m->value, m->text, m->text_len, e);
    case MUX_CREATE:
        return process_create(&a->process, m->value, m->extra & MUX_TERMINAL, e);
    case MUX_START:
        return process_start(&a->process, e);
    case MUX_SIGNAL:
        process_signal(&a->process, (int)m->value);
        return 0;
    case MUX_RESIZE:
        process_resize(&a->process, (unsigned)m->value, m->extra);
        return 0;
    case MUX_SHUTDOWN:
        system_power_off();
    case MUX_HELLO:
    case MUX_CREATED:
    case MUX_STARTED:
    case MUX_FAILED:
    case MUX_EXIT:
    case MUX_VERB_COUNT:
        break;
    }
    return err_set(e, EPROTO, "%s from the monitor", mux_verb_name(m->verb));
}

/* ---- the loop -------------------------------------------------------------------------------- */

static int reap(struct agent *a, struct err *e)
{
    struct signalfd_siginfo info;
    int status, r = 0;
    pid_t pid;

    while (read(a->signals, &info, sizeof info) > 0)
        ;
    while (r == 0 && (pid = waitpid(-1, &status, WNOHANG)) > 0)
        r = process_reaped(&a->process, &a->mux, pid, status, e);
    return r;
}

static int read_port(struct agent *a, struct err *e)
{
    static char data[CHUNK];
    ssize_t n = read(a->port, data, sizeof data);

    if (n < 0 && (errno == EAGAIN || errno == EINTR))
        return 0;
    if (n <= 0)
        return err_set(e, n < 0 ? errno : EPIPE, "the monitor has gone");
    return mux_input(&a->mux, data, (size_t)n, e);
}

static int write_port(struct agent *a, struct err *e)
{
    const uint8_t *data;

    for (size_t len; (len = mux_output(&a->mux, &data)) > 0;) {
        ssize_t n = write(a->port, data, len < CHUNK ? len : CHUNK);

        if (n < 0 && (errno == EAGAIN || errno == EINTR))
            return 0;
        if (n < 0)
            return err_set(e, errno, "cannot write to the monitor");
        mux_output_done(&a->mux, (size_t)n);
    }
    return 0;
}

/* An fd is asked of only while there is something to do with it: else the loop would not wait. */
static int wait_for_work(struct agent *a, struct err *e)
{
    const struct process *p = &a->process;
    const uint8_t *data;
    bool alive = p->state >= PROCESS_CREATED && p->state != PROCESS_GONE;
    short port = (short)(POLLIN | (mux_output(&a->mux, &data) > 0 ? POLLOUT : 0));
    bool input = alive && mux_peek(&a->mux, mux_stream_of(0, MUX_STDIN), &data) > 0;
    struct pollfd fds[] = {
        { a->port, port, 0 },
        { a->signals, POLLIN, 0 },
        { input ? p->in : -1, POLLOUT, 0 },
        { alive && mux_room(&a->mux, mux_stream_of(0, MUX_STDOUT)) > 0 ? p->out : -1, POLLIN, 0 },
        { alive && mux_room(&a->mux, mux_stream_of(0, MUX_STDERR)) > 0 ? p->err : -1, POLLIN, 0 },
    };

    if (poll(fds, COUNT_OF(fds), -1) < 0 && errno != EINTR)
        return err_set(e, errno, "cannot wait");
    /* A terminal that no process has open says so at once, every time. */
    if (p->terminal && fds[3].revents == POLLHUP)
        poll(fds, 2, 20);
    return 0;
}

static int serve(struct agent *a, struct err *e)
{
    int r = 0;

    while (r == 0) {
        r = wait_for_work(a, e);
        if (r == 0)
            r = read_port(a, e);
        if (r == 0)
            r = reap(a, e);
        if (r == 0)
            r = process_pump(&a->process, &a->mux, e);
        if (r == 0)
            r = process_finish(&a->process, &a->mux, e);
        if (r == 0)
            r = write_port(a, e);
    }
    return r;
}

static int begin(struct agent *a, struct err *e)
{
    struct mux_message hello = { .verb = MUX_HELLO, .value = MUX_VERSION };
    sigset_t set;
    int r = system_make(e);

    if (r == 0)
        r = system_mount_share(e);
    if (r == 0)
        r = system_make_network(e);
    if (r < 0)
        return r;
    sigemptyset(&set);
    sigaddset(&set, SIGCHLD);
    sigprocmask(SIG_BLOCK, &set, NULL);
    signal(SIGPIPE, SIG_IGN);
    a->signals = signalfd(-1, &set, SFD_CLOEXEC | SFD_NONBLOCK);
    if (a->signals < 0)
        return err_set(e, errno, "cannot wait for children");
    a->port = system_open_port(e);
    return a->port < 0 ? a->port : mux_send(&a->mux, &hello);
}

int guest_agent(struct err *e)
{
    static struct agent a;
    int r;

    if (getpid() != 1)
        return err_set(e, EPERM, "%s is what a machine starts as its first process", BOOT_AGENT);
    mux_init(&a.mux, MUX_GUEST, hear, &a);
    process_init(&a.process);
    r = begin(&a, e);
    if (r == 0)
        serve(&a, e);
    system_say(e->text);
    system_power_off();
}
