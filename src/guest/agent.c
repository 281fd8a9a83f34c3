/* SPDX-License-Identifier: Apache-2.0 */
/* PID 1 of a machine: one loop around the port, the container's processes and their bytes. */
#include <errno.h>
#include <poll.h>
#include <signal.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/signalfd.h>
#include <sys/wait.h>
#include <unistd.h>

#include "guest/internal.h"

enum { CHUNK = 32768 }; /* the console driver takes no more in one write(2) */

struct agent {
    struct mux mux;
    struct forget forget;
    struct process processes[MUX_PROCESSES];
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

    if (m->verb == MUX_SETUP)
        return system_set_up(m->value, m->text, m->text_len, e);
    if (m->verb == MUX_SHUTDOWN)
        system_power_off();
    return process_hear(&a->processes[m->process], &a->mux, m, e);
}

/* ---- the loop -------------------------------------------------------------------------------- */

static int reap_one(struct agent *a, pid_t pid, int status, struct err *e)
{
    int r = 0;

    for (size_t i = 0; i < MUX_PROCESSES && r == 0; i++)
        if (a->processes[i].state != PROCESS_NONE)
            r = process_reaped(&a->processes[i], &a->mux, pid, status, e);
    return r < 0 ? r : 0;
}

static int reap(struct agent *a, struct err *e)
{
    struct signalfd_siginfo info;
    int status, r = 0;
    pid_t pid;

    while (read(a->signals, &info, sizeof info) > 0)
        ;
    while (r == 0 && (pid = waitpid(-1, &status, WNOHANG)) > 0)
        r = reap_one(a, pid, status, e);
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
static size_t add_process(const struct agent *a, const struct process *p, struct pollfd *fds)
{
    const uint8_t *data;
    const struct {
        int fd;
        bool wanted;
        short events;
    } each[] = {
        { p->in, mux_peek(&a->mux, mux_stream_of(p->number, MUX_STDIN), &data) > 0, POLLOUT },
        { p->out, mux_room(&a->mux, mux_stream_of(p->number, MUX_STDOUT)) > 0, POLLIN },
        { p->err, mux_room(&a->mux, mux_stream_of(p->number, MUX_STDERR)) > 0, POLLIN },
    };
    size_t n = 0;

    if (p->state < PROCESS_CREATED)
        return 0;
    for (size_t i = 0; i < COUNT_OF(each); i++)
        if (each[i].fd >= 0 && each[i].wanted)
            fds[n++] = (struct pollfd){ each[i].fd, each[i].events, 0 };
    return n;
}

static int wait_for_work(struct agent *a, struct err *e)
{
    enum { OWN = 2, HUNG_UP_MS = 20 };
    static struct pollfd fds[OWN + 3 * MUX_PROCESSES];
    const uint8_t *data;
    size_t n = OWN;

    fds[0] = (struct pollfd){ a->port, POLLIN, 0 };
    fds[1] = (struct pollfd){ a->signals, POLLIN, 0 };
    if (mux_output(&a->mux, &data) > 0)
        fds[0].events |= POLLOUT;
    for (size_t i = 0; i < MUX_PROCESSES; i++)
        n += add_process(a, &a->processes[i], fds + n);
    if (poll(fds, n, a->forget.most ? FORGET_MS : -1) < 0 && errno != EINTR)
        return err_set(e, errno, "cannot wait");
    /* A terminal that no process has open says so at once, every time. */
    for (size_t i = OWN; i < n; i++)
        if (fds[i].revents == POLLHUP && fds[i].events == POLLIN && isatty(fds[i].fd)) {
            poll(fds, OWN, HUNG_UP_MS);
            break;
        }
    return 0;
}

static int work(struct agent *a, struct err *e)
{
    int r = 0;

    for (size_t i = 0; i < MUX_PROCESSES && r == 0; i++)
        if (a->processes[i].state != PROCESS_NONE)
            r = process_pump(&a->processes[i], &a->mux, e);
    /* The container's own last: when it has ended, the monitor asks for nothing more. */
    for (size_t i = MUX_PROCESSES; i-- > 0 && r == 0;)
        r = process_finish(&a->processes[i], &a->mux, e);
    return r;
}

static int serve(struct agent *a, struct err *e)
{
    int r = 0;

    while (r == 0) {
        r = wait_for_work(a, e);
        if (r == 0 && a->forget.most)
            forget_some(&a->forget);
        if (r == 0)
            r = read_port(a, e);
        if (r == 0)
            r = reap(a, e);
        if (r == 0)
            r = work(a, e);
        if (r == 0)
            r = write_port(a, e);
    }
    return r;
}

static int begin(struct agent *a, struct err *e)
{
    struct mux_message hello = { .verb = MUX_HELLO, .value = MUX_VERSION };
    const char *image = getenv(MUX_IMAGE);
    const struct image_places places = { "/run/teca-image", "/run/teca-layer", MUX_ROOT };
    bool share = !getenv(MUX_NO_SHARE);
    sigset_t set;
    int r = system_make(e);

    if (r == 0)
        r = forget_init(&a->forget, getenv(MUX_FILES), e);
    if (r == 0 && image)
        r = guest_mount_image(image, &places, e);
    if (r == 0 && share)
        r = system_mount_share(e);
    if (r == 0 && share)
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
    struct agent *a;
    int r;

    if (getpid() != 1)
        return err_set(e, EPERM, "%s is what a machine starts as its first process", BOOT_AGENT);
    /* Not static: every start of this program would have these 16 MiB, though untouched. */
    a = mmap(NULL, sizeof *a, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
    if (a == MAP_FAILED)
        return err_set(e, errno, "cannot have memory");
    mux_init(&a->mux, MUX_GUEST, hear, a);
    for (unsigned i = 0; i < MUX_PROCESSES; i++)
        process_init(&a->processes[i], i);
    r = begin(a, e);
    if (r == 0)
        serve(a, e);
    system_say(e->text);
    system_power_off();
}
