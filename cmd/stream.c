/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Standard output of a verb that goes on until a signal ends it. Who reads it may stop reading, and
 * the signals are blocked (container_end_signals): a write(2) that waits would wait for ever.
 */
#include <errno.h>
#include <fcntl.h>
#include <poll.h>
#include <sys/stat.h>
#include <sys/sysmacros.h>
#include <unistd.h>

#include "cmd.h"

enum {
    /* A pipe that poll(2) calls writable takes this much without waiting: pipe(7), PIPE_BUF. */
    CHUNK = 4096,
    GRACE_MS = 200,        /* for the rest of a line that a reader has begun to read */
    PTY_FIRST_MAJOR = 136, /* Unix98 slaves: admin-guide/devices.txt */
    PTY_LAST_MAJOR = 143,
};

/*
 * A description of its own that does not wait, -1: none can be had. O_NONBLOCK on the caller's would be
 * the shell's and everybody's. A terminal that poll(2) calls writable may have room for one byte.
 */
static int open_own(void)
{
    struct stat st;
    bool pty;

    if (fstat(STDOUT_FILENO, &st) < 0)
        return -1;
    pty = S_ISCHR(st.st_mode) && major(st.st_rdev) >= PTY_FIRST_MAJOR &&
          major(st.st_rdev) <= PTY_LAST_MAJOR;
    if (!pty && !S_ISFIFO(st.st_mode))
        return -1;
    return openat(AT_FDCWD, "/proc/self/fd/1", O_WRONLY | O_NONBLOCK | O_NOCTTY | O_CLOEXEC);
}

/* 1: there is room; 0: a signal came and there is none, or nothing has been written yet. */
static int wait_for_room(int out, int signals, bool begun, struct err *e)
{
    struct pollfd fds[] = { { out, POLLOUT, 0 }, { signals, POLLIN, 0 } };
    int r;

    do
        r = poll(fds, COUNT_OF(fds), -1);
    while (r < 0 && errno == EINTR);
    if (r > 0 && fds[1].revents && begun && !fds[0].revents)
        r = poll(fds, 1, GRACE_MS);
    if (r < 0)
        return err_set(e, errno, "cannot wait for standard output");
    return fds[0].revents && (begun || !fds[1].revents);
}

int cmd_stream(int signals, const char *text, size_t len, struct err *e)
{
    AUTO_FD int own = open_own();
    int out = own < 0 ? STDOUT_FILENO : own;
    size_t done = 0;

    while (done < len) {
        int r = wait_for_room(out, signals, done > 0, e);
        ssize_t n;

        if (r <= 0)
            return r < 0 ? r : 1;
        n = write(out, text + done, len - done < CHUNK ? len - done : CHUNK);
        if (n < 0 && errno != EINTR && errno != EAGAIN)
            return err_set(e, errno, "cannot write to standard output");
        done += n > 0 ? (size_t)n : 0;
    }
    return 0;
}

int cmd_stream_json(int signals, struct json_out *j, struct err *e)
{
    AUTO_STRBUF struct strbuf out = { 0 };
    size_t len;
    const char *text = json_out_text(j, &len);

    strbuf_add(&out, text, len);
    strbuf_str(&out, "\n");
    return cmd_stream(signals, out.ptr, out.len, e);
}
