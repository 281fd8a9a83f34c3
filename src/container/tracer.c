/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Who keeps a killed init from ending. A dump that serves its pages (CRIU --lazy-pages) stops every
 * process by ptrace(2) until they are fetched; what is killed then stays a zombie until its tracer
 * waits for it, which CRIU does not, and the init of a pid namespace ends after all others only.
 */
#include <errno.h>
#include <fcntl.h>
#include <poll.h>
#include <signal.h>
#include <string.h>
#include <unistd.h>

#include "container/internal.h"

/* A killed init ends in far less; what looks for tracers is one more than a delete needs. */
enum { PATIENCE_MS = 200, COMM_SIZE = 16 };

static size_t read_text(const char *path, char *out, size_t size)
{
    AUTO_FD int fd = openat(AT_FDCWD, path, O_RDONLY | O_CLOEXEC);
    ssize_t n = fd < 0 ? 0 : read(fd, out, size - 1);

    out[n > 0 ? n : 0] = '\0';
    return strlen(out);
}

/* proc_pid_status(5); 0: nobody. */
static pid_t tracer_of(pid_t pid)
{
    static const char key[] = "TracerPid:\t";
    char path[64], text[4096], *at;
    uint64_t tracer;

    base_format(path, sizeof path, "/proc/%d/status", pid);
    read_text(path, text, sizeof text);
    at = strstr(text, key);
    if (!at)
        return 0;
    at += sizeof key - 1;
    at[strcspn(at, "\n")] = '\0';
    return str_to_u64(at, &tracer) < 0 ? 0 : (pid_t)tracer;
}

static void name_of(pid_t pid, char out[COMM_SIZE + 1])
{
    char path[64];

    base_format(path, sizeof path, "/proc/%d/comm", pid);
    read_text(path, out, COMM_SIZE + 1);
    out[strcspn(out, "\n")] = '\0';
}

/* Asked again when it is held: a pid may be another process's by now. */
static void end_dump(pid_t init)
{
    pid_t tracer = tracer_of(init);
    AUTO_FD int pidfd = tracer > 0 ? sys_pidfd_open(tracer, 0) : -1;
    char name[COMM_SIZE + 1];

    if (pidfd < 0 || tracer_of(init) != tracer)
        return;
    name_of(tracer, name);
    if (str_eq(name, "criu"))
        sys_pidfd_send_signal(pidfd, SIGKILL);
}

bool tracer_wait_for_end(int pidfd, int init, int timeout_ms)
{
    struct pollfd end = { pidfd, POLLIN, 0 };

    if (poll(&end, 1, PATIENCE_MS) != 0)
        return true;
    if (init >= 0)
        end_dump(execute_pid_of(init));
    return poll(&end, 1, timeout_ms - PATIENCE_MS) != 0;
}

void tracer_hint(int pidfd, struct err *e)
{
    pid_t tracer = tracer_of(execute_pid_of(pidfd));
    char name[COMM_SIZE + 1];

    if (tracer <= 0)
        return;
    name_of(tracer, name);
    err_hint(e, "process %d (%s) traces it", tracer, name);
}
