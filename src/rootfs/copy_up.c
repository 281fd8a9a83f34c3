/* SPDX-License-Identifier: Apache-2.0 */
/*
 * "tmpcopyup": what the image has in a directory is copied into the tmpfs that covers it. The image
 * is hostile: names are single components, opened without following them, and depth is bounded.
 * Child-safe.
 */
#include <dirent.h>
#include <errno.h>
#include <string.h>
#include <sys/sendfile.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <sys/xattr.h>
#include <unistd.h>

#include "rootfs/internal.h"

enum {
    MAX_DEPTH = 128, /* each level holds two fds and its buffer on the stack */
    DENTS_SIZE = 2048,
    XATTR_LIST_SIZE = 1024,
    XATTR_VALUE_SIZE = 4096,
};

/* A tmpfs that keeps no extended attributes of this kind loses them, as cp -a does. */
static void copy_xattrs(int from, int to)
{
    char list[XATTR_LIST_SIZE], value[XATTR_VALUE_SIZE];
    ssize_t len = flistxattr(from, list, sizeof list);

    for (ssize_t at = 0; at < len; at += (ssize_t)strlen(list + at) + 1) {
        ssize_t size = fgetxattr(from, list + at, value, sizeof value);

        if (size >= 0)
            (void)fsetxattr(to, list + at, value, (size_t)size, 0);
    }
}

/* Owner first: a change of it takes set-id bits and capabilities away. */
static int copy_attributes(int from, int to, const struct stat *st)
{
    struct timespec times[2] = { st->st_atim, st->st_mtim };

    if (fchown(to, st->st_uid, st->st_gid) < 0 || fchmod(to, st->st_mode & 07777) < 0)
        return -errno;
    copy_xattrs(from, to);
    return futimens(to, times) < 0 ? -errno : 0;
}

/* The bytes from *at to `end`; fewer when the file is shorter by now. */
static int copy_part(int from, int to, off_t *at, off_t end)
{
    ssize_t n = 1;

    if (lseek(to, *at, SEEK_SET) < 0)
        return -errno;
    while (n > 0 && *at < end) {
        n = sendfile(to, from, at, (size_t)(end - *at));
        if (n < 0 && errno != EINTR)
            return -errno;
        n = n < 0 ? 1 : n;
    }
    return 0;
}

/*
 * Holes stay holes: the image says how long a file is, and a tmpfs is memory. No more than was seen to
 * be there: somebody may make it longer meanwhile, for ever.
 */
static int copy_data(int from, int to, off_t size)
{
    off_t at = 0;
    int r = 0;

    while (r == 0 && at < size) {
        off_t data = lseek(from, at, SEEK_DATA), hole;

        if (data < 0 && errno == ENXIO) /* a hole up to the end */
            break;
        if (data < 0)
            return -errno;
        hole = lseek(from, data, SEEK_HOLE);
        if (hole < 0)
            return -errno;
        at = data;
        r = data < size ? copy_part(from, to, &at, hole < size ? hole : size) : 0;
        at = hole;
    }
    return r == 0 && ftruncate(to, size) < 0 ? -errno : r;
}

static int copy_file(int from_dir, int to_dir, const char *name, const struct stat *st)
{
    AUTO_FD int from = openat(from_dir, name, O_RDONLY | O_NOFOLLOW | O_NONBLOCK | O_CLOEXEC);
    AUTO_FD int to = -1;
    int r;

    if (from < 0)
        return -errno;
    to = openat(to_dir, name, O_WRONLY | O_CREAT | O_EXCL | O_NOFOLLOW | O_CLOEXEC, 0600);
    if (to < 0)
        return -errno;
    r = copy_data(from, to, st->st_size);
    return r < 0 ? r : copy_attributes(from, to, st);
}

static int copy_symlink(int from_dir, int to_dir, const char *name)
{
    char target[4096];
    ssize_t len = readlinkat(from_dir, name, target, sizeof target - 1);

    if (len < 0)
        return -errno;
    target[len] = '\0';
    return symlinkat(target, to_dir, name) < 0 ? -errno : 0;
}

static int copy_directory(int from, int to, int depth);

static int copy_subdirectory(int from_dir, int to_dir, const char *name, const struct stat *st,
                             int depth)
{
    AUTO_FD int from = openat(from_dir, name, O_RDONLY | O_DIRECTORY | O_NOFOLLOW | O_CLOEXEC);
    AUTO_FD int to = -1;
    int r;

    if (from < 0)
        return -errno;
    if (mkdirat(to_dir, name, 0700) < 0)
        return -errno;
    to = openat(to_dir, name, O_RDONLY | O_DIRECTORY | O_NOFOLLOW | O_CLOEXEC);
    if (to < 0)
        return -errno;
    r = copy_directory(from, to, depth + 1);
    return r < 0 ? r : copy_attributes(from, to, st);
}

static int copy_entry(int from, int to, const char *name, int depth)
{
    struct stat st;
    int r = 0;

    if (fstatat(from, name, &st, AT_SYMLINK_NOFOLLOW) < 0)
        return -errno;
    if (S_ISDIR(st.st_mode))
        return copy_subdirectory(from, to, name, &st, depth);
    if (S_ISREG(st.st_mode))
        return copy_file(from, to, name, &st);
    if (S_ISLNK(st.st_mode))
        r = copy_symlink(from, to, name);
    else if (mknodat(to, name, st.st_mode, st.st_rdev) < 0)
        r = -errno;
    if (r == 0 && fchownat(to, name, st.st_uid, st.st_gid, AT_SYMLINK_NOFOLLOW) < 0)
        r = -errno;
    return r;
}

static int copy_directory(int from, int to, int depth)
{
    char buf[DENTS_SIZE] __attribute__((aligned(8)));
    long n;

    if (depth > MAX_DEPTH)
        return -ELOOP;
    while ((n = syscall(SYS_getdents64, from, buf, sizeof buf)) > 0) {
        for (long at = 0; at < n;) {
            const struct dent *d = (const struct dent *)(buf + at);
            int r = 0;

            if (!str_eq(d->name, ".") && !str_eq(d->name, ".."))
                r = copy_entry(from, to, d->name, depth);
            if (r < 0)
                return r;
            at += d->reclen;
        }
    }
    return n < 0 ? -errno : 0;
}

int copy_up(int from_fd, int to_fd)
{
    AUTO_FD int from = openat(from_fd, ".", O_RDONLY | O_DIRECTORY | O_CLOEXEC);
    AUTO_FD int to = openat(to_fd, ".", O_RDONLY | O_DIRECTORY | O_CLOEXEC);

    if (from < 0 || to < 0)
        return -errno;
    return copy_directory(from, to, 0);
}
