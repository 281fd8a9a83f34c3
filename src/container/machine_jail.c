/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The jail of the processes that a guest's words reach: namespaces of their own, a root without a host, no
 * rights but those that the work wants, and at last a list of system calls. What they work with is opened before.
 */
#include <errno.h>
#include <fcntl.h>
#include <grp.h>
#include <linux/audit.h>
#include <linux/capability.h>
#include <linux/filter.h>
#include <linux/if_tun.h>
#include <linux/kvm.h>
#include <linux/seccomp.h>
#include <linux/securebits.h>
#include <sched.h>
#include <signal.h>
#include <stddef.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/mount.h>
#include <sys/prctl.h>
#include <sys/resource.h>
#include <sys/syscall.h>
#include <unistd.h>

#include "container/machine_jail.h"

enum { NOBODY = 65534, MACHINE_FILES = 128 };

/* ---- a process of its own -------------------------------------------------------------------- */

/*
 * The first process of a pid namespace. Not unshare(2) and fork(3): the way back is setns(2), which root of a user namespace
 * may not go. So the C library does not know the child's number, by which it would tell a lock's owner: the monitor has
 * one thread, and threads that the child makes get theirs.
 */
pid_t jail_fork(struct err *e)
{
    pid_t pid = (pid_t)syscall(SYS_clone, CLONE_NEWPID | SIGCHLD, NULL, NULL, NULL, NULL);

    if (pid < 0)
        err_set(e, errno, "cannot make a process in a pid namespace for the machine: clone");
    return pid;
}

int jail_keep_fds(int *const fds[], int n, struct err *e)
{
    int null = openat(AT_FDCWD, "/dev/null", O_RDWR | O_CLOEXEC);

    if (null < 0) /* else the guest's program would have the container's own */
        return err_set(e, errno, "cannot open /dev/null");
    for (int i = 0; i < 3; i++)
        dup2(null, i);
    for (int i = 0; i < n; i++) {
        *fds[i] = fcntl(*fds[i], F_DUPFD_CLOEXEC, JAIL_FIRST_FD + n); /* out of the way */
        if (*fds[i] < 0)
            return err_set(e, errno, "cannot keep a file descriptor");
    }
    for (int i = 0; i < n; i++)
        *fds[i] = dup3(*fds[i], JAIL_FIRST_FD + i, O_CLOEXEC);
    if (sys_close_range((unsigned)(JAIL_FIRST_FD + n), ~0U, 0) < 0)
        return err_set(e, errno, "cannot close file descriptors: close_range");
    return 0;
}

/* ---- namespaces and the root ----------------------------------------------------------------- */

int jail_unshare(struct err *e)
{
    if (unshare(CLONE_NEWNS | CLONE_NEWNET | CLONE_NEWIPC | CLONE_NEWUTS) < 0)
        return err_set(e, errno, "cannot make namespaces for the machine");
    return mount(NULL, "/", NULL, MS_REC | MS_PRIVATE, NULL) < 0
               ? err_set(e, errno, "cannot make a mount namespace for the machine")
               : 0;
}

int jail_mount_empty(const char *at, struct err *e)
{
    return mount("tmpfs", at, "tmpfs", MS_RDONLY | MS_NOSUID | MS_NODEV | MS_NOEXEC,
                 "size=4k,nr_inodes=2,mode=555") < 0
               ? err_set(e, errno, "cannot mount an empty root for the machine")
               : 0;
}

/* pivot_root(2), "." twice: the old root lies on the new one, and goes. */
int jail_change_root(const char *to, struct err *e)
{
    if (chdir(to) < 0 || sys_pivot_root(".", ".") < 0 || umount2(".", MNT_DETACH) < 0 ||
        chdir("/") < 0)
        return err_set(e, errno, "cannot make '%s' the root of the machine's process", to);
    return 0;
}

/* ---- rights ---------------------------------------------------------------------------------- */

static int set_capabilities(uint64_t keep)
{
    struct __user_cap_header_struct head = { .version = _LINUX_CAPABILITY_VERSION_3 };
    struct __user_cap_data_struct data[_LINUX_CAPABILITY_U32S_3] = {
        { .effective = (uint32_t)keep, .permitted = (uint32_t)keep },
        { .effective = (uint32_t)(keep >> 32), .permitted = (uint32_t)(keep >> 32) },
    };

    return (int)syscall(SYS_capset, &head, data);
}

/* Last, for a change of the uid takes it away (prctl(2)). Who is orphaned before hears the end of his socket. */
static int die_with_monitor(struct err *e)
{
    if (prctl(PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0) < 0 || prctl(PR_SET_PDEATHSIG, SIGKILL) < 0 ||
        prctl(PR_SET_DUMPABLE, 0) < 0)
        return err_set(e, errno, "cannot give up privileges: prctl");
    return 0;
}

/*
 * A user namespace may have nobody, but the one who made it (EINVAL), and then its groups are for good (user_namespaces(7)): he
 * keeps them, and has no capability, which no_new_privs makes last beyond an exec.
 */
int jail_become_nobody(struct err *e)
{
    struct rlimit files = { MACHINE_FILES, MACHINE_FILES }, none = { 0, 0 };
    bool no_groups = setgroups(0, NULL) == 0, nobody = setresgid(NOBODY, NOBODY, NOBODY) == 0;
    bool alone = !nobody && errno == EINVAL;

    setrlimit(RLIMIT_NOFILE, &files);
    setrlimit(RLIMIT_CORE, &none);
    if (nobody && no_groups)
        nobody = setresuid(NOBODY, NOBODY, NOBODY) == 0;
    if (!(alone || (nobody && no_groups)) || set_capabilities(0) < 0)
        return err_set(e, errno, "cannot become the user %d", NOBODY);
    return die_with_monitor(e);
}

/*
 * What a server needs that makes files for whoever is in the machine: no more than Docker gives to root of a container.
 * SETFCAP: `setcap` in the machine is an xattr here. Not SYS_ADMIN: trusted.* is not served. That a change of the
 * file-system uid costs no capability is the server's way (share/identity.c).
 */
#define CAP(name) (UINT64_C(1) << (name))
#define SERVER_CAPS                                                               \
    (CAP(CAP_CHOWN) | CAP(CAP_DAC_OVERRIDE) | CAP(CAP_FOWNER) | CAP(CAP_FSETID) | \
     CAP(CAP_SETGID) | CAP(CAP_SETUID) | CAP(CAP_MKNOD) | CAP(CAP_SETFCAP))

int jail_become_server(struct err *e)
{
    const unsigned long bits = SECBIT_NOROOT | SECBIT_NOROOT_LOCKED | SECBIT_NO_SETUID_FIXUP |
                               SECBIT_NO_SETUID_FIXUP_LOCKED;

    if (prctl(PR_SET_SECUREBITS, bits, 0, 0, 0) < 0 || set_capabilities(SERVER_CAPS) < 0)
        return err_set(e, errno, "cannot give up capabilities");
    return die_with_monitor(e);
}

/*
 * It is root by what it executes, so it is the bounding set that says what it has. Two it gives up itself: SYS_CHROOT, and
 * SETPCAP, without which libcap-ng complains by a call that virtiofsd's filter kills it for.
 */
int jail_become_foreign_server(struct err *e)
{
    const uint64_t keep = SERVER_CAPS | CAP(CAP_SYS_CHROOT) | CAP(CAP_SETPCAP);

    /* EINVAL: behind the last that this kernel knows, capabilities(7). */
    for (unsigned i = 0; i < 64; i++)
        if (!(keep & CAP(i)) && prctl(PR_CAPBSET_DROP, i, 0, 0, 0) < 0 && errno != EINVAL)
            return err_set(e, errno, "cannot give up capabilities");
    if (set_capabilities(keep) < 0)
        return err_set(e, errno, "cannot give up capabilities");
    return die_with_monitor(e);
}

int jail_execute(const char *program, char *const argv[], int n, struct err *e)
{
    char *const env[] = { "PATH=/usr/sbin:/usr/bin:/sbin:/bin", NULL };
    sigset_t none;

    sigemptyset(&none);
    sigprocmask(SIG_SETMASK, &none, NULL);
    for (int fd = JAIL_FIRST_FD; fd < JAIL_FIRST_FD + n; fd++)
        if (fcntl(fd, F_SETFD, 0) < 0)
            return err_set(e, errno, "cannot keep a file descriptor");
    execve(program, argv, env);
    err_set(e, errno, "cannot execute '%s'", program);
    if (e->code == ENOENT) /* it is there: what is not is its interpreter */
        err_hint(e, "no script, nor what is linked by another system's rules, runs in its root");
    return -e->code;
}

/* ---- system calls ---------------------------------------------------------------------------- */

#ifdef __NR_poll
#define CALL_POLL __NR_poll
#define CALL_EPOLL_WAIT __NR_epoll_wait
#else
#define CALL_POLL __NR_ppoll
#define CALL_EPOLL_WAIT __NR_epoll_pwait
#endif

/* A thread around KVM_RUN, with what its devices do for the guest. At most 20 (test_machine_process.c). */
#define CPU_CALLS                                                                            \
    __NR_write, __NR_sendto, __NR_epoll_ctl, __NR_futex, __NR_getrandom, __NR_clock_gettime, \
        __NR_preadv, __NR_madvise, __NR_rt_sigreturn, __NR_rt_sigprocmask, __NR_exit,        \
        __NR_exit_group, __NR_tkill, __NR_tgkill, __NR_gettid, __NR_getpid

static const int cpu_calls[] = { CPU_CALLS };
/* The devices' own thread: the frames of the network, between the guest's memory and fds that are there. */
#define IO_CALLS                                                                           \
    CALL_EPOLL_WAIT, __NR_epoll_pwait, __NR_epoll_ctl, __NR_read, __NR_write, __NR_writev, \
        __NR_sendto, __NR_futex, __NR_rt_sigreturn, __NR_rt_sigprocmask, __NR_exit,        \
        __NR_exit_group, __NR_tkill, __NR_tgkill, __NR_gettid, __NR_getpid, __NR_munmap,   \
        __NR_madvise

static const int io_calls[] = { IO_CALLS };
/*
 * Makes the cpus' threads, which inherit this list and add theirs, and waits for them; and the devices' own
 * thread, which waits for the network.
 */
#define RUNNER_CALLS                                                                               \
    CPU_CALLS, CALL_EPOLL_WAIT, __NR_epoll_pwait, __NR_read, __NR_writev, __NR_clone, __NR_clone3, \
        __NR_munmap, __NR_set_robust_list, __NR_rseq, __NR_rt_sigaction, __NR_prctl, __NR_close

static const int runner_calls[] = { RUNNER_CALLS };
/* Carries bytes between the machine and its monitor. */
#define RELAY_CALLS                                                                               \
    CALL_POLL, __NR_ppoll, __NR_read, __NR_write, __NR_recvfrom, __NR_sendto, __NR_futex,         \
        __NR_brk, __NR_mremap, __NR_munmap, __NR_madvise, __NR_exit, __NR_exit_group, __NR_tkill, \
        __NR_tgkill, __NR_getrandom, __NR_restart_syscall, __NR_clock_gettime, __NR_rseq,         \
        __NR_set_robust_list, __NR_rt_sigreturn, __NR_rt_sigprocmask

static const int relay_calls[] = { RELAY_CALLS };
/* The file server: what share/ does with files, and nothing that could reach another process or a network. */
#define SERVER_CALLS                                                                               \
    __NR_read, __NR_write, __NR_openat, __NR_close, __NR_fcntl, __NR_statx, __NR_fstatfs,          \
        __NR_getdents64, __NR_readlinkat, __NR_mknodat, __NR_mkdirat, __NR_symlinkat, __NR_linkat, \
        __NR_unlinkat, __NR_renameat2, __NR_fchmodat, __NR_fchownat, __NR_utimensat,               \
        __NR_truncate, __NR_ftruncate, __NR_fallocate, __NR_fsync, __NR_fdatasync, __NR_syncfs,    \
        __NR_lseek, __NR_preadv, __NR_pwritev, __NR_pwritev2, __NR_copy_file_range, __NR_getxattr, \
        __NR_setxattr, __NR_listxattr, __NR_removexattr, __NR_umask, __NR_setfsuid, __NR_setfsgid, \
        __NR_capset, __NR_futex, __NR_brk, __NR_mremap, __NR_munmap, __NR_madvise,                 \
        __NR_clock_gettime, __NR_rt_sigprocmask, __NR_rt_sigreturn, __NR_restart_syscall,          \
        __NR_exit, __NR_exit_group

static const int server_calls[] = { SERVER_CALLS };

static const struct list {
    const int *calls;
    unsigned n;
    bool kvm;    /* and the two ioctls of KVM, and the one of a tap */
    bool memory; /* and mmap(2) and mprotect(2), of what cannot be executed */
} lists[] = {
    [JAIL_CPU] = { cpu_calls, COUNT_OF(cpu_calls), true, false },
    [JAIL_IO] = { io_calls, COUNT_OF(io_calls), true, false },
    [JAIL_RUNNER] = { runner_calls, COUNT_OF(runner_calls), true, true },
    [JAIL_RELAY] = { relay_calls, COUNT_OF(relay_calls), true, true },
    [JAIL_SERVER] = { server_calls, COUNT_OF(server_calls), false, true },
};

#if defined(__x86_64__)
#define THIS_ARCH AUDIT_ARCH_X86_64
#else
#define THIS_ARCH AUDIT_ARCH_AARCH64
#endif

enum { PROGRAM_MAX = 192 };

struct program {
    struct sock_filter v[PROGRAM_MAX];
    unsigned n;
};

static void add(struct program *p, struct sock_filter instruction)
{
    if (p->n < PROGRAM_MAX)
        p->v[p->n] = instruction;
    p->n++;
}

static void add_load(struct program *p, size_t offset)
{
    add(p, (struct sock_filter)BPF_STMT(BPF_LD | BPF_W | BPF_ABS, (uint32_t)offset));
}

/* If what was loaded is this, the verdict. */
static void add_verdict(struct program *p, uint32_t value, uint32_t verdict)
{
    add(p, (struct sock_filter)BPF_JUMP(BPF_JMP | BPF_JEQ | BPF_K, value, 0, 1));
    add(p, (struct sock_filter)BPF_STMT(BPF_RET | BPF_K, verdict));
}

/* The low half of an argument: both machines are little-endian. */
static void add_load_argument(struct program *p, unsigned argument)
{
    add_load(p, offsetof(struct seccomp_data, args) + argument * sizeof(uint64_t));
}

/* This call unless its third argument has PROT_EXEC. */
static void add_executable(struct program *p, uint32_t call)
{
    add(p, (struct sock_filter)BPF_JUMP(BPF_JMP | BPF_JEQ | BPF_K, call, 0, 4));
    add_load_argument(p, 2);
    add(p, (struct sock_filter)BPF_JUMP(BPF_JMP | BPF_JSET | BPF_K, PROT_EXEC, 0, 1));
    add(p, (struct sock_filter)BPF_STMT(BPF_RET | BPF_K, SECCOMP_RET_KILL_PROCESS));
    add(p, (struct sock_filter)BPF_STMT(BPF_RET | BPF_K, SECCOMP_RET_ALLOW));
}

static void add_kvm(struct program *p)
{
    add(p, (struct sock_filter)BPF_JUMP(BPF_JMP | BPF_JEQ | BPF_K, __NR_ioctl, 1, 0));
    add(p, (struct sock_filter)BPF_STMT(BPF_RET | BPF_K, SECCOMP_RET_KILL_PROCESS));
    add_load_argument(p, 1);
    add_verdict(p, KVM_RUN, SECCOMP_RET_ALLOW);
    add_verdict(p, KVM_SIGNAL_MSI, SECCOMP_RET_ALLOW);
    add_verdict(p, TUNSETOFFLOAD, SECCOMP_RET_ALLOW);
}

/*
 * What is on no list ends the process. A call of the x32 ABI has another number, and so is on none. Allowed
 * calls that look at no argument cost nothing: the kernel keeps a map of them (seccomp(2), Linux 5.11).
 */
static void build(struct program *p, const struct list *l)
{
    add_load(p, offsetof(struct seccomp_data, arch));
    add(p, (struct sock_filter)BPF_JUMP(BPF_JMP | BPF_JEQ | BPF_K, THIS_ARCH, 1, 0));
    add(p, (struct sock_filter)BPF_STMT(BPF_RET | BPF_K, SECCOMP_RET_KILL_PROCESS));
    add_load(p, offsetof(struct seccomp_data, nr));
    for (unsigned i = 0; i < l->n; i++)
        add_verdict(p, (uint32_t)l->calls[i], SECCOMP_RET_ALLOW);
    if (l->memory) {
        add_executable(p, __NR_mmap);
        add_executable(p, __NR_mprotect);
    }
    if (l->kvm)
        add_kvm(p);
    add(p, (struct sock_filter)BPF_STMT(BPF_RET | BPF_K, SECCOMP_RET_KILL_PROCESS));
}

int jail_filter(enum jail_list which)
{
    struct program p = { .n = 0 };
    struct sock_fprog f = { .filter = p.v };

    build(&p, &lists[which]);
    if (p.n > PROGRAM_MAX) {
        errno = E2BIG;
        return -1;
    }
    f.len = (unsigned short)p.n;
    return prctl(PR_SET_SECCOMP, SECCOMP_MODE_FILTER, &f);
}
