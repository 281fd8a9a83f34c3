/* SPDX-License-Identifier: Apache-2.0 */
/*
 * System calls by number: glibc names some of these, later than the versions teca builds with or
 * with other semantics. All belong to Linux 5.14, the oldest kernel that is supported.
 */
#include "base/base.h"

#include <sys/syscall.h>
#include <unistd.h>

int sys_openat2(int dir_fd, const char *path, const struct open_how *how)
{
    return (int)syscall(SYS_openat2, dir_fd, path, how, sizeof(*how));
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
    return (pid_t)syscall(SYS_clone3, args, size);
}

int sys_pidfd_open(pid_t pid, unsigned flags)
{
    return (int)syscall(SYS_pidfd_open, pid, flags);
}

int sys_pidfd_send_signal(int pidfd, int sig)
{
    return (int)syscall(SYS_pidfd_send_signal, pidfd, sig, NULL, 0);
}

int sys_close_range(unsigned first, unsigned last, unsigned flags)
{
    return (int)syscall(SYS_close_range, first, last, flags);
}

int sys_mount_setattr(int dir_fd, const char *path, unsigned flags, const struct mount_attr *attr)
{
    return (int)syscall(SYS_mount_setattr, dir_fd, path, flags, attr, sizeof(*attr));
}

int sys_open_tree(int dir_fd, const char *path, unsigned flags)
{
    return (int)syscall(SYS_open_tree, dir_fd, path, flags);
}

int sys_move_mount(int from_fd, const char *from, int to_fd, const char *to, unsigned flags)
{
    return (int)syscall(SYS_move_mount, from_fd, from, to_fd, to, flags);
}

int sys_fsopen(const char *type, unsigned flags)
{
    return (int)syscall(SYS_fsopen, type, flags);
}

int sys_fsconfig(int fd, unsigned cmd, const char *key, const void *value, int aux)
{
    return (int)syscall(SYS_fsconfig, fd, cmd, key, value, aux);
}

int sys_fsmount(int fd, unsigned flags, unsigned attr)
{
    return (int)syscall(SYS_fsmount, fd, flags, attr);
}

int sys_pivot_root(const char *new_root, const char *put_old)
{
    return (int)syscall(SYS_pivot_root, new_root, put_old);
}

int sys_execveat(int dir_fd, const char *path, char *const argv[], char *const envp[], int flags)
{
    return (int)syscall(SYS_execveat, dir_fd, path, argv, envp, flags);
}
