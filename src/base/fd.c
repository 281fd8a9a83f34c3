/* SPDX-License-Identifier: Apache-2.0 */
/* Scope cleanup of leaf resources, and the two things everybody does with an fd. */
#include "base/base.h"

#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <poll.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

void fd_cleanup(int *fd)
{
    int saved = errno;

    if (*fd >= 0)
        close(*fd);
    *fd = -1;
    errno = saved;
}

void ptr_cleanup(void *ptr)
{
    free(*(void **)ptr);
}

/* A pipe that the caller, or whoever shares it, has made non-blocking is full: poll(2). */
static bool wait_for_room(int fd)
{
    struct pollfd room = { fd, POLLOUT, 0 };

    return poll(&room, 1, -1) > 0 || errno == EINTR;
}

int fd_write_all(int fd, const void *data, size_t len)
{
    const char *at = data;

    while (len > 0) {
        ssize_t n = write(fd, at, len);

        if (n < 0 && (errno == EINTR || (errno == EAGAIN && wait_for_room(fd))))
            continue;
        if (n < 0)
            return -errno;
        at += n;
        len -= (size_t)n;
    }
    return 0;
}

bool fd_is_hung_up(int sock)
{
    char byte;

    return recv(sock, &byte, 1, MSG_PEEK | MSG_DONTWAIT) == 0;
}

int fd_send(int sock, const void *data, size_t len, int fd)
{
    union {
        char space[CMSG_SPACE(sizeof(int))];
        struct cmsghdr align;
    } control = { .space = { 0 } };
    struct iovec part = { (void *)data, len };
    struct msghdr msg = {
        .msg_iov = &part, .msg_iovlen = 1, .msg_control = &control, .msg_controllen = sizeof control
    };
    struct cmsghdr *c = CMSG_FIRSTHDR(&msg);
    ssize_t n;

    c->cmsg_len = CMSG_LEN(sizeof(int));
    c->cmsg_level = SOL_SOCKET;
    c->cmsg_type = SCM_RIGHTS;
    memcpy(CMSG_DATA(c), &fd, sizeof fd);
    do
        n = sendmsg(sock, &msg, MSG_NOSIGNAL);
    while (n < 0 && errno == EINTR);
    if (n < 0)
        return -errno;
    return (size_t)n == len ? 0 : -EIO;
}

/*
 * A name never exceeds NAME_MAX (the kernel refused to make it), which fits. One that is longer
 * anyway must not be cut into another file's name: the empty path is ENOENT in every system call.
 */
const char *fd_path(char buf[FD_PATH_SIZE], int fd, const char *name)
{
    const char *fds = host_path("/proc/self/fd");
    size_t len;

    _Static_assert(FD_PATH_SIZE > sizeof("/proc/self/fd/") + 10 + 1 + NAME_MAX, "a name fits");
    if (name == NULL)
        len = base_format(buf, FD_PATH_SIZE, "%s/%d", fds, fd);
    else
        len = base_format(buf, FD_PATH_SIZE, "%s/%d/%s", fds, fd, name);
    if (len >= FD_PATH_SIZE)
        buf[0] = '\0';
    return buf;
}

int fd_fill_standard(struct err *e)
{
    struct pollfd fds[3] = { { .fd = 0 }, { .fd = 1 }, { .fd = 2 } };

    if (poll(fds, COUNT_OF(fds), 0) <= 0)
        return 0;
    for (size_t i = 0; i < COUNT_OF(fds); i++) {
        /* ascending, so open gives this number, the lowest free one */
        if ((fds[i].revents & POLLNVAL) && openat(AT_FDCWD, "/dev/null", O_RDWR | O_NOCTTY) < 0)
            return err_set(e, errno, "cannot open /dev/null for file descriptor %zu", i);
    }
    return 0;
}
