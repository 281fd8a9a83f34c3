/* SPDX-License-Identifier: Apache-2.0 */
/* A verb on its way to the monitor of a machine, and what comes back. */
#include <errno.h>
#include <fcntl.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/socket.h>
#include <sys/un.h>
#include <unistd.h>

#include "container/machine.h"

enum {
    ANSWER_MS =
        120000, /* of a verb that only looks or writes; by an emulated processor on a busy host */
    PIECE = 16384,
};

/* By the directory's fd, for a path of any length (unix(7) sun_path). */
static int reach(const char *dir, struct err *e)
{
    struct sockaddr_un at = { .sun_family = AF_UNIX };
    AUTO_FD int place = openat(AT_FDCWD, dir, O_PATH | O_DIRECTORY | O_CLOEXEC);
    AUTO_FD int fd = socket(AF_UNIX, SOCK_SEQPACKET | SOCK_CLOEXEC, 0);

    base_format(at.sun_path, sizeof at.sun_path, "/proc/self/fd/%d/control", place);
    if (place < 0 || fd < 0 || connect(fd, (const struct sockaddr *)&at, sizeof at) < 0)
        return err_set(e, errno, "cannot reach the machine's monitor in '%s'", dir);
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
    AUTO_FD int null = openat(AT_FDCWD, "/dev/null", O_RDWR | O_CLOEXEC);
    AUTO_FD int document = write_document(q, &request.len, e);
    AUTO_FD int control = document < 0 ? -1 : reach(dir, e);
    int fds[CONTROL_FDS] = { document, null, null, null }, r = 0;

    if (control < 0)
        return document < 0 ? document : control;
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
    /* EPIPE: it has refused already, and said why. */
    return r < 0 && r != -EPIPE ? err_set(e, -r, "cannot ask the machine's monitor")
                                : take_fd(&control);
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
    err_set(e, 0, "the machine has ended");
    return -ECONNRESET;
}

void machine_say(int control, enum control_verb verb, uint32_t value, uint32_t extra)
{
    const struct control_word word = { .verb = verb, .value = value, .extra = extra };

    (void)send(control, &word, sizeof word, MSG_NOSIGNAL);
}

/* ---- one that only answers ------------------------------------------------------------------- */

struct question {
    int control, out;
    bool ended; /* the verb has; what it wrote is taken all the same */
    int64_t until_ms;
};

static int64_t now_ms(void)
{
    return container_clock_ns() / 1000000;
}

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
    if (word.verb == CONTROL_EXIT && word.value != 0)
        return err_set(e, 0, "the runtime in the machine was ended by signal %u",
                       word.value - MUX_BY_SIGNAL);
    q->ended |= word.verb == CONTROL_EXIT;
    return 0;
}

static int turn(struct question *q, const struct machine_sink *sink, struct err *e)
{
    struct pollfd fds[] = { { q->out, POLLIN, 0 },
                            { q->ended ? -1 : q->control, POLLIN, 0 },
                            { sink->stream ? sink->signals : -1, POLLIN, 0 } };
    int64_t left = q->until_ms - now_ms();
    int n = poll(fds, COUNT_OF(fds), sink->stream ? -1 : left < 0 ? 0 : (int)left), r = 0;

    if (n < 0 && errno != EINTR)
        return err_set(e, errno, "cannot wait for the machine");
    if (n == 0 && !sink->stream)
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
                          .until_ms = now_ms() + ANSWER_MS };

    q.out = pipes[1];
    if (q.control < 0)
        r = q.control;
    while (r == 0 && (!q.ended || q.out >= 0))
        r = turn(&q, sink, e);
    fd_cleanup(&q.control);
    fd_cleanup(&q.out);
    return r < 0 ? r : 0;
}
