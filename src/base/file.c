/* SPDX-License-Identifier: Apache-2.0 */
#include "base/base.h"
#include "base/internal.h"

#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <stdio.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

enum { READ_BYTES = 4096, TEMPORARY_TRIES = 128 };

/*
 * Reads into the free end of the arena, so that a file of unknown length costs one copy only when
 * it outgrows the chunk, and an ordinary one costs none and no allocation. first: until a read gives
 * less than it was asked for.
 */
static int read_all(struct arena *a, int fd, size_t max, bool first, char **out, size_t *out_len)
{
    size_t len = 0, room;
    char *data = arena_tail(a, READ_BYTES, &room);

    for (;;) {
        size_t want = room - 1 - len; /* room for the NUL */
        ssize_t n;

        if (want == 0) {
            char *larger = arena_tail(a, room * 2, &room);

            data = memcpy(larger, data, len);
            continue;
        }
        n = read(fd, data + len, want);
        if (n < 0 && errno == EINTR)
            continue;
        if (n < 0)
            return -errno;
        if (n == 0)
            break;
        len += (size_t)n;
        if (len > max)
            return -EFBIG;
        if (first && (size_t)n < want)
            break;
    }
    data[len] = '\0';
    arena_take(a, len + 1);
    *out = data;
    if (out_len != NULL)
        *out_len = len;
    return 0;
}

int file_read(struct arena *a, int dir_fd, const char *path, size_t max, char **out,
              size_t *out_len, struct err *e)
{
    int fd = file_read_open(a, dir_fd, path, max, out, out_len, e);

    if (fd >= 0)
        close(fd);
    return fd < 0 ? fd : 0;
}

static int read_from(struct arena *a, int fd, const char *path, size_t max, bool first, char **out,
                     size_t *out_len, struct err *e)
{
    int rc = read_all(a, fd, max, first, out, out_len);

    if (rc == -EFBIG)
        return err_set(e, EFBIG, "'%s' is larger than %zu bytes", path, max);
    return rc < 0 ? err_set(e, -rc, "cannot read '%s'", path) : 0;
}

static int open_and_read(struct arena *a, int dir_fd, const char *path, int flags, size_t max,
                         bool first, char **out, size_t *out_len, struct err *e)
{
    AUTO_FD int fd = openat(dir_fd, path, O_RDONLY | O_CLOEXEC | flags);
    int r;

    if (fd < 0)
        return err_set(e, errno, "cannot open '%s'", path);
    r = read_from(a, fd, path, max, first, out, out_len, e);
    return r < 0 ? r : take_fd(&fd);
}

int file_read_open(struct arena *a, int dir_fd, const char *path, size_t max, char **out,
                   size_t *out_len, struct err *e)
{
    return open_and_read(a, dir_fd, path, 0, max, false, out, out_len, e);
}

int file_read_first(struct arena *a, int dir_fd, const char *path, int flags, size_t max,
                    char **out, size_t *out_len, struct err *e)
{
    return open_and_read(a, dir_fd, path, flags, max, true, out, out_len, e);
}

int file_read_rest(struct arena *a, int fd, const char *path, size_t max, char **text, size_t *len,
                   struct err *e)
{
    char *rest, *all;
    size_t n;
    int r = read_from(a, fd, path, max, false, &rest, &n, e);

    if (r < 0 || n == 0)
        return r;
    if (n > max - *len)
        return err_set(e, EFBIG, "'%s' is larger than %zu bytes", path, max);
    all = arena_alloc(a, *len + n + 1);
    memcpy(all, *text, *len);
    memcpy(all + *len, rest, n + 1);
    *text = all;
    *len += n;
    return 1;
}

int file_write_once(int dir_fd, const char *path, const char *data, size_t len)
{
    AUTO_FD int fd = openat(dir_fd, path, O_WRONLY | O_CLOEXEC);
    ssize_t n;

    if (fd < 0)
        return -errno;
    do {
        n = write(fd, data, len);
    } while (n < 0 && errno == EINTR);
    if (n < 0)
        return -errno;
    return (size_t)n == len ? 0 : -EIO;
}

/*
 * O_EXCL makes the name unique: the pid keeps two writers apart in the ordinary case, the counter
 * where pid namespaces or a leftover of a killed process make pids meet.
 */
static int open_temporary(const char *path, mode_t mode, char temporary[PATH_MAX])
{
    for (unsigned i = 0; i < TEMPORARY_TRIES; i++) {
        size_t len = base_format(temporary, PATH_MAX, "%s.%d.%u.tmp", path, getpid(), i);
        int fd;

        if (len >= PATH_MAX)
            return -ENAMETOOLONG;
        fd = openat(AT_FDCWD, temporary, O_WRONLY | O_CREAT | O_EXCL | O_NOFOLLOW | O_CLOEXEC,
                    mode);
        if (fd >= 0)
            return fd;
        if (errno != EEXIST)
            return -errno;
    }
    return -EEXIST;
}

/* rename(2) would put a file in the place of the host's /dev/null, if that is what was meant. */
static bool is_no_file(const char *path)
{
    struct stat st;

    return lstat(path, &st) == 0 && !S_ISREG(st.st_mode) && !S_ISLNK(st.st_mode) &&
           !S_ISDIR(st.st_mode); /* rename(2) refuses a directory */
}

int file_replace(const char *path, const char *data, size_t len, mode_t mode, struct err *e)
{
    char temporary[PATH_MAX];
    AUTO_FD int fd = -1;
    int rc;

    if (is_no_file(path))
        return err_set(e, EINVAL, "cannot replace '%s', which is no regular file", path);
    fd = open_temporary(path, mode, temporary);
    if (fd < 0)
        return err_set(e, -fd, "cannot create a file beside '%s'", path);
    rc = fd_write_all(fd, data, len);
    if (rc == 0 && rename(temporary, path) < 0)
        rc = -errno;
    if (rc < 0) {
        unlink(temporary);
        return err_set(e, -rc, "cannot write '%s'", path);
    }
    return 0;
}
