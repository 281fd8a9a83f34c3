/* SPDX-License-Identifier: Apache-2.0 */
/*
 * System calls by number: glibc names some of these, later than the versions teca builds with or
 * with other semantics. All belong to Linux 5.14, the oldest kernel that is supported.
 */
#include "base/base.h"
#include "base/internal.h"

#include <errno.h>
#include <fcntl.h>
#include <linux/seccomp.h>
#include <sys/prctl.h>
#include <sys/syscall.h>
#include <unistd.h>

/* The last call that was answered as an older kernel or a filter around teca does it. */
static struct {
    const char *name;
    int error;
} refused;

long sys_note(const char *name, long result)
{
    if (result < 0 && (errno == ENOSYS || errno == EPERM || errno == EINVAL)) {
        refused.name = name;
        refused.error = errno;
    }
    return result;
}

/*
 * ENOSYS says it. EPERM is what profiles of containers have long answered for calls that they do not
 * know (and some EINVAL); the kernel says them for other reasons too, so only under a filter.
 */
const char *sys_refused(int error)
{
    int saved = errno;
    bool filtered;

    if (!refused.name || refused.error != error)
        return NULL;
    filtered = error == ENOSYS || prctl(PR_GET_SECCOMP, 0, 0, 0, 0) == SECCOMP_MODE_FILTER;
    errno = saved;
    return filtered ? refused.name : NULL;
}

int sys_openat2(int dir_fd, const char *path, const struct open_how *how)
{
    return (int)sys_note("openat2(2) of Linux 5.6",
                         syscall(SYS_openat2, dir_fd, path, how, sizeof(*how)));
}

/*
 * Like fork(2) when flags hold no CLONE_VM: the child goes on here with a copy of the stack.
 * What the raw call leaves out, against glibc's fork: handlers of pthread_atfork; taking and
 * renewing the locks of stdio, malloc and the resolver; the thread id that glibc caches in its
 * thread descriptor (pthread mutexes and pthread_kill would use the parent's); the robust-futex
 * list. teca has one thread and its child makes only system calls, so none of it is missed.
 */
pid_t sys_clone3(const struct clone_args *args, size_t size)
{
    return (pid_t)sys_note("clone3(2) of Linux 5.3", syscall(SYS_clone3, args, size));
}

int sys_pidfd_open(pid_t pid, unsigned flags)
{
    return (int)sys_note("pidfd_open(2) of Linux 5.3", syscall(SYS_pidfd_open, pid, flags));
}

int sys_pidfd_send_signal(int pidfd, int sig)
{
    return (int)sys_note("pidfd_send_signal(2) of Linux 5.1",
                         syscall(SYS_pidfd_send_signal, pidfd, sig, NULL, 0));
}

int sys_close_range(unsigned first, unsigned last, unsigned flags)
{
    return (int)sys_note("close_range(2) of Linux 5.9",
                         syscall(SYS_close_range, first, last, flags));
}

int sys_mount_setattr(int dir_fd, const char *path, unsigned flags, const struct mount_attr *attr)
{
    return (int)sys_note("mount_setattr(2) of Linux 5.12",
                         syscall(SYS_mount_setattr, dir_fd, path, flags, attr, sizeof(*attr)));
}

int sys_open_tree(int dir_fd, const char *path, unsigned flags)
{
    return (int)sys_note("open_tree(2) of Linux 5.2", syscall(SYS_open_tree, dir_fd, path, flags));
}

int sys_move_mount(int from_fd, const char *from, int to_fd, const char *to, unsigned flags)
{
    return (int)sys_note("move_mount(2) of Linux 5.2",
                         syscall(SYS_move_mount, from_fd, from, to_fd, to, flags));
}

int sys_fsopen(const char *type, unsigned flags)
{
    return (int)sys_note("fsopen(2) of Linux 5.2", syscall(SYS_fsopen, type, flags));
}

int sys_fsconfig(int fd, unsigned cmd, const char *key, const void *value, int aux)
{
    return (int)sys_note("fsconfig(2) of Linux 5.2",
                         syscall(SYS_fsconfig, fd, cmd, key, value, aux));
}

int sys_fsmount(int fd, unsigned flags, unsigned attr)
{
    return (int)sys_note("fsmount(2) of Linux 5.2", syscall(SYS_fsmount, fd, flags, attr));
}

int sys_statx(int fd, unsigned mask, struct statx *out)
{
    return (int)sys_note("statx(2) of Linux 4.11",
                         syscall(SYS_statx, fd, "", AT_EMPTY_PATH, mask, out));
}

int sys_pivot_root(const char *new_root, const char *put_old)
{
    return (int)sys_note("pivot_root(2) of Linux 2.4", syscall(SYS_pivot_root, new_root, put_old));
}

int sys_execveat(int dir_fd, const char *path, char *const argv[], char *const envp[], int flags)
{
    return (int)sys_note("execveat(2) of Linux 3.19",
                         syscall(SYS_execveat, dir_fd, path, argv, envp, flags));
}
