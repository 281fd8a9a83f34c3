/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The way to files of the host and of procfs for a process that may have entered somebody else's
 * mount namespace, where /proc and /sys are whatever that container wants (CVE-2025-52881).
 */
#include "base/base.h"

#include <errno.h>
#include <fcntl.h>
#include <linux/magic.h>
#include <sys/stat.h>
#include <sys/vfs.h>
#include <unistd.h>

enum { PROC_ROOT_INODE = 1 }; /* PROC_ROOT_INO of Linux include/linux/proc_ns.h */

/* The working directory is the host's root: of this process and of those it clones. */
static bool from_cwd;

int host_root_open(void)
{
    int fd = openat(AT_FDCWD, "/", O_PATH | O_DIRECTORY | O_CLOEXEC);

    return fd < 0 ? -errno : fd;
}

int host_root_enter(int fd)
{
    if (fchdir(fd) < 0)
        return -errno;
    from_cwd = true;
    return 0;
}

const char *host_path(const char *path)
{
    if (!from_cwd || path[0] != '/')
        return path;
    return path[1] ? path + 1 : ".";
}

int proc_open(const char *path, int flags)
{
    struct open_how how = { .flags = (uint64_t)(unsigned)flags | O_CLOEXEC,
                            .resolve = RESOLVE_BENEATH | RESOLVE_NO_MAGICLINKS | RESOLVE_NO_XDEV };
    AUTO_FD int proc = openat(AT_FDCWD, host_path("/proc"), O_PATH | O_DIRECTORY | O_CLOEXEC);
    struct statfs fs;
    struct stat st;
    int fd;

    if (proc < 0 || fstatfs(proc, &fs) < 0 || fstat(proc, &st) < 0)
        return -errno;
    if (fs.f_type != PROC_SUPER_MAGIC || st.st_ino != PROC_ROOT_INODE)
        return -EXDEV;
    fd = sys_openat2(proc, path, &how);
    return fd < 0 ? -errno : fd;
}

int proc_write(const char *path, const char *text, size_t len)
{
    AUTO_FD int fd = proc_open(path, O_WRONLY);
    ssize_t n;

    if (fd < 0)
        return fd;
    do {
        n = write(fd, text, len);
    } while (n < 0 && errno == EINTR);
    if (n < 0)
        return -errno;
    return (size_t)n == len ? 0 : -EIO;
}
