/* SPDX-License-Identifier: Apache-2.0 */
/* A verb on its way to the monitor of a machine, and what comes back. */
#include <errno.h>
#include <fcntl.h>
#include <linux/sockios.h>
#include <string.h>
#include <sys/ioctl.h>
#include <sys/mman.h>
#include <sys/socket.h>
#include <sys/un.h>
#include <unistd.h>

#include "container/machine.h"

enum {
    ANSWER_MS =
        120000, /* of a verb that only looks or writes; by an emulated processor on a busy host */
    /* The monitor waits for nobody, but its cgroup's quota may leave it a millisecond of each second. */
    TAKEN_MS = 30000,
    STOPPED_MS = 1000, /* no stop of a moment, as of who copies its memory */
    LOOK_MS = 50,
    PIECE = 16384,
};

static int64_t now_ms(void)
{
    return container_clock_ns() / 1000000;
}

/* ---- is anybody there? ----------------------------------------------------------------------- */

void machine_patience_begin(struct machine_patience *p, const char *dir, int taken_ms)
{
    *p = (struct machine_patience){ .dir = dir,
                                    .began_ms = now_ms(),
                                    .taken_ms = taken_ms > 0 ? taken_ms : TAKEN_MS };
}

int machine_check_stopped(const char *dir, struct err *e)
{
    pid_t stopped = state_stopped_init(dir);

    if (stopped == 0)
        return 0;
    err_set(e, ETIMEDOUT, "the machine's monitor, process %d, is stopped", stopped);
    err_hint(e, "SIGCONT lets it go on; `kill` with KILL and `delete --force` end it");
    return -ETIMEDOUT;
}

/* For all of a second, or of the time that there is. */
static int check_still_stopped(struct machine_patience *p, struct err *e)
{
    int64_t now = now_ms();

    if (state_stopped_init(p->dir) == 0)
        p->stopped_ms = 0;
    else if (p->stopped_ms == 0)
        p->stopped_ms = now;
    return p->stopped_ms == 0 ||
                   (now - p->stopped_ms < STOPPED_MS && now - p->began_ms < p->taken_ms)
               ? 0
               : machine_check_stopped(p->dir, e);
}

static int lose_patience(struct machine_patience *p, struct err *e)
{
    int r = check_still_stopped(p, e);

    if (r < 0 || now_ms() - p->began_ms < p->taken_ms)
        return r;
    err_set(e, ETIMEDOUT, "the machine's monitor hears nobody");
    err_hint(e, "`kill` with KILL and `delete --force` end it");
    return -ETIMEDOUT;
}

/* unix(7) tells of no moment at which the other side has read; what it has not read counts as unsent (SIOCOUTQ). */
int machine_look(struct machine_patience *p, int control, struct err *e)
{
    int unread = 0;

    if (p->is_taken)
        return 0;
    p->is_taken = ioctl(control, SIOCOUTQ, &unread) < 0 || unread == 0;
    return p->is_taken ? 0 : lose_patience(p, e);
}

/* A hook in the guest may take as long as it likes: behind the byte only a monitor that is stopped is too much. */
int machine_look_start(struct machine_patience *p, int start, struct err *e)
{
    int unread = 0;

    p->is_taken |= ioctl(start, FIONREAD, &unread) < 0 || unread == 0;
    return p->is_taken ? check_still_stopped(p, e) : lose_patience(p, e);
}

static int has_ended(struct err *e)
{
    err_set(e, 0, "container not running: its machine has ended");
    return -ECONNRESET;
}

/* A monitor that ends, or a `delete` beside this verb, leaves a socket that nobody listens at, or none. */
static int unreachable(const struct machine_patience *p, struct err *e)
{
    return errno == ECONNREFUSED || errno == ENOENT
               ? has_ended(e)
               : err_set(e, errno, "cannot reach the machine's monitor in '%s'", p->dir);
}

/* A monitor that is stopped takes as many connections as its listener has room for; behind these connect(2) would wait for ever. */
static int reach(struct machine_patience *p, struct err *e)
{
    AUTO_FD int place = openat(AT_FDCWD, p->dir, O_PATH | O_DIRECTORY | O_CLOEXEC);
    AUTO_FD int fd = socket(AF_UNIX, SOCK_SEQPACKET | SOCK_NONBLOCK | SOCK_CLOEXEC, 0);
    const struct sockaddr_un at = machine_socket_name(place, "control");

    while (place < 0 || fd < 0 || connect(fd, (const struct sockaddr *)&at, sizeof at) < 0) {
        int r = place >= 0 && fd >= 0 && errno == EAGAIN ? lose_patience(p, e) : unreachable(p, e);

        if (r < 0)
            return r;
        poll(NULL, 0, LOOK_MS);
    }
    return take_fd(&fd);
}

/* mux.h: the number of words, the words, the file. */
static int write_document(const struct machine_request *q, uint64_t *out_len, struct err *e)
{
    AUTO_STRBUF struct strbuf text = { 0 };
    AUTO_FD int fd = memfd_create("request", MFD_CLOEXEC);
    size_t n = 0;
    int r;

    while (q->args[n])
        n++;
    strbuf_format(&text, "%zu", n);
    strbuf_add(&text, "", 1);
    for (size_t i = 0; i < n; i++)
        strbuf_add(&text, q->args[i], strlen(q->args[i]) + 1);
    if (q->input)
        strbuf_add(&text, q->input, q->input_len);
    r = fd < 0 ? -errno : fd_write_all(fd, text.ptr, text.len);
    if (r < 0)
        return err_set(e, -r, "cannot write down what the machine is asked for");
    *out_len = text.len;
    return take_fd(&fd);
}

/* SCM_RIGHTS of unix(7). */
static int send_fds(int to, const void *data, size_t len, const int fds[CONTROL_FDS])
{
    union {
        char space[CMSG_SPACE(CONTROL_FDS * sizeof(int))];
        struct cmsghdr align;
    } control = { 0 };
    struct iovec part = { (void *)data, len };
    struct msghdr msg = {
        .msg_iov = &part, .msg_iovlen = 1, .msg_control = &control, .msg_controllen = sizeof control
    };
    struct cmsghdr *c = CMSG_FIRSTHDR(&msg);

    c->cmsg_level = SOL_SOCKET;
    c->cmsg_type = SCM_RIGHTS;
    c->cmsg_len = CMSG_LEN(CONTROL_FDS * sizeof(int));
    memcpy(CMSG_DATA(c), fds, CONTROL_FDS * sizeof(int));
    return sendmsg(to, &msg, MSG_NOSIGNAL) < 0 ? -errno : 0;
}

int machine_request(const char *dir, const struct machine_request *q, int pipes[3], struct err *e)
{
    struct control_request request = { .version = CONTROL_VERSION,
                                       .kind = q->kind,
                                       .terminal = q->terminal };
    struct machine_patience patience;
    AUTO_FD int null = openat(AT_FDCWD, "/dev/null", O_RDWR | O_CLOEXEC);
    AUTO_FD int document = write_document(q, &request.len, e);
    AUTO_FD int control = -1;
    int fds[CONTROL_FDS] = { document, null, null, null }, r = 0;

    if (document < 0)
        return document;
    machine_patience_begin(&patience, dir, q->taken_ms);
    control = reach(&patience, e);
    if (control < 0)
        return control;
    for (int i = 0; i < 3 && r == 0; i++) {
        int ends[2];

        if (pipes[i] < 0)
            continue;
        r = pipe2(ends, O_CLOEXEC) < 0 ? -errno : 0;
        pipes[i] = r < 0 ? -1 : ends[i == 0];
        fds[1 + i] = r < 0 ? null : ends[i != 0];
    }
    if (r == 0)
        r = send_fds(control, &request, sizeof request, fds);
    for (int i = 0; i < 3; i++)
        if (fds[1 + i] != null)
            close(fds[1 + i]);
    if (r == 0 || r == -EPIPE) /* it has refused already, and said why */
        return take_fd(&control);
    for (int i = 0; i < 3; i++)
        fd_cleanup(&pipes[i]);
    return err_set(e, -r, "cannot ask the machine's monitor");
}

int machine_hear(int control, int timeout_ms, struct control_word *out, struct err *e)
{
    struct pollfd fd = { control, POLLIN, 0 };
    ssize_t n;
    int r;

    do
        r = poll(&fd, 1, timeout_ms);
    while (r < 0 && errno == EINTR);
    if (r == 0)
        return err_set(e, ETIMEDOUT, "the machine does not answer");
    n = recv(control, out, sizeof *out, MSG_DONTWAIT);
    if (n < 0 && (errno == EAGAIN || errno == EINTR))
        return 0;
    if (n == sizeof *out) {
        out->text[sizeof out->text - 1] = 0;
        return 1;
    }
    return has_ended(e);
}

void machine_say(int control, enum control_verb verb, uint32_t value, uint32_t extra)
{
    const struct control_word word = { .verb = verb, .value = value, .extra = extra };

    (void)send(control, &word, sizeof word, MSG_NOSIGNAL | MSG_DONTWAIT);
}

/* ---- one that only answers ------------------------------------------------------------------- */

struct question {
    int control, out;
    bool ended; /* the verb has; what it wrote is taken all the same */
    int64_t until_ms;
    struct machine_patience patience;
};

static int take_output(struct question *q, const struct machine_sink *sink, struct err *e)
{
    char data[PIECE];
    ssize_t n = read(q->out, data, sizeof data);

    if (n < 0 && errno == EINTR)
        return 0;
    if (n > 0)
        return sink->take(sink->arg, data, (size_t)n, e);
    close(q->out);
    q->out = -1;
    return 0;
}

static int take_answer(struct question *q, struct err *e)
{
    struct control_word word;
    int r = machine_hear(q->control, -1, &word, e);

    if (r <= 0)
        return r;
    if (word.verb == CONTROL_FAILED)
        return machine_said(word.text, e);
    if (word.verb == CONTROL_EXIT && word.value > MUX_BY_SIGNAL)
        return err_set(e, 0, "the runtime in the machine was ended by signal %u",
                       word.value - MUX_BY_SIGNAL);
    if (word.verb == CONTROL_EXIT &&
        word.value != 0) /* our agent says why; any guest may say this */
        return err_set(e, 0, "the runtime in the machine ended with status %u", word.value);
    q->ended |= word.verb == CONTROL_EXIT;
    return 0;
}

static int turn(struct question *q, const struct machine_sink *sink, struct err *e)
{
    struct pollfd fds[] = { { q->out, POLLIN, 0 },
                            { q->ended ? -1 : q->control, POLLIN, 0 },
                            { sink->stream ? sink->signals : -1, POLLIN, 0 } };
    int64_t left = q->until_ms - now_ms();
    int wait = sink->stream ? -1 : left < 0 ? 0 : (int)left;
    int n = poll(fds, COUNT_OF(fds), q->patience.is_taken ? wait : LOOK_MS), r = 0;

    if (n < 0 && errno != EINTR)
        return err_set(e, errno, "cannot wait for the machine");
    if (n <= 0 && !q->patience.is_taken)
        return machine_look(&q->patience, q->control, e);
    /* Also while something comes: a hostile guest has no end of it. */
    if (n >= 0 && !sink->stream && left <= 0)
        return err_set(e, ETIMEDOUT, "the machine does not answer");
    if (n < 0)
        return 0;
    if (fds[2].revents)
        return 1;
    if (fds[0].revents)
        r = take_output(q, sink, e);
    if (r == 0 && fds[1].revents)
        r = take_answer(q, e);
    return r;
}

int machine_ask(const char *dir, const struct machine_request *request,
                const struct machine_sink *sink, struct err *e)
{
    int pipes[3] = { -1, sink->take ? 0 : -1, -1 }, r = 0;
    struct question q = { .control = machine_request(dir, request, pipes, e),
                          .until_ms = now_ms() +
                                      (request->answer_ms ? request->answer_ms : ANSWER_MS) };

    q.out = q.control < 0 ? -1 : pipes[1];
    machine_patience_begin(&q.patience, dir, request->taken_ms);
    if (q.control < 0)
        r = q.control;
    while (r == 0 && (!q.ended || q.out >= 0))
        r = turn(&q, sink, e);
    fd_cleanup(&q.control);
    fd_cleanup(&q.out);
    return r < 0 ? r : 0;
}
