/* SPDX-License-Identifier: Apache-2.0 */
/* The kernel calls of security/, one function a step. All but seccomp_compile are child-safe. */
#include <errno.h>
#include <fcntl.h>
#include <grp.h>
#include <linux/capability.h>
#include <linux/close_range.h>
#include <linux/filter.h>
#include <linux/seccomp.h>
#include <signal.h>
#include <string.h>
#include <sys/prctl.h>
#include <sys/resource.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <unistd.h>

#include "security/internal.h"

static int step_undumpable(const struct step *st, struct slots *slots, struct err *e)
{
    (void)st;
    (void)slots;
    if (prctl(PR_SET_DUMPABLE, 0, 0, 0, 0) < 0)
        return err_set(e, errno, "cannot make the process undumpable");
    return 0;
}

static int step_setsid(const struct step *st, struct slots *slots, struct err *e)
{
    (void)st;
    (void)slots;
    return setsid() < 0 ? err_set(e, errno, "cannot make a session") : 0;
}

static int step_rlimit(const struct step *st, struct slots *slots, struct err *e)
{
    const struct op_rlimit *op = &st->rlimit;
    struct rlimit want = { op->soft, op->hard }, now;
    pid_t pid = op->pid >= 0 ? slots->value[op->pid] : 0;
    __typeof__(RLIMIT_NOFILE) resource = SEC_RESOURCE(op->resource);
    int error;

    if (prlimit(pid, resource, &want, NULL) == 0)
        return 0;
    error = errno;
    err_set(e, error, "cannot set %s to soft %llu, hard %llu", plan_rlimit_name(op->resource),
            (unsigned long long)op->soft, (unsigned long long)op->hard);
    if (error == EPERM && prlimit(pid, resource, NULL, &now) == 0 && op->hard > now.rlim_max)
        err_hint(e, "the hard limit is %llu, raising it needs CAP_SYS_RESOURCE",
                 (unsigned long long)now.rlim_max);
    return -error;
}

static int step_oom_score_adj(const struct step *st, struct slots *slots, struct err *e)
{
    const struct op_oom_score_adj *op = &st->oom_score_adj;
    char path[64], text[24];
    size_t len = base_format(text, sizeof text, "%lld", (long long)op->value);
    int r;

    /* Of another process: the runtime, with the host's /proc. Its own: `exec` may be inside. */
    base_format(path, sizeof path, "/proc/%d/oom_score_adj",
                op->pid >= 0 ? slots->value[op->pid] : 0);
    r = op->pid >= 0 ? file_write_once(AT_FDCWD, path, text, len)
                     : proc_write("self/oom_score_adj", text, len);
    if (r == 0)
        return 0;
    err_set(e, -r, "cannot set oom_score_adj to %s", text);
    if (r == -EACCES)
        err_hint(e, "lowering it needs CAP_SYS_RESOURCE");
    return r;
}

static int step_umask(const struct step *st, struct slots *slots, struct err *e)
{
    (void)slots;
    (void)e;
    umask(st->umask.mask);
    return 0;
}

static int step_bounding_drop(const struct step *st, struct slots *slots, struct err *e)
{
    (void)slots;
    for (int i = 0; i < 64; i++) {
        int r;

        if (!cap_has(st->bounding_drop.drop, i) || prctl(PR_CAPBSET_DROP, i, 0, 0, 0) == 0)
            continue;
        r = err_set(e, errno, "cannot drop capability %d from the bounding set", i);
        err_hint(e, "it needs CAP_SETPCAP");
        return r;
    }
    return 0;
}

static int step_groups(const struct step *st, struct slots *slots, struct err *e)
{
    size_t n = st->groups.list_size / sizeof(gid_t);

    (void)slots;
    if (setgroups(n, st->groups.list) < 0)
        return err_set(e, errno, "cannot set %zu supplementary groups", n);
    return 0;
}

static int id_error(struct err *e, int error, const char *what, int64_t id)
{
    err_set(e, error, "cannot become %s %lld", what, (long long)id);
    if (error == EINVAL)
        err_hint(e, "it is not mapped in the user namespace");
    return -error;
}

static int step_ids(const struct step *st, struct slots *slots, struct err *e)
{
    const struct op_ids *op = &st->ids;
    gid_t gid = (gid_t)op->gid;
    uid_t uid = (uid_t)op->uid;

    (void)slots;
    if (op->keep_caps && prctl(PR_SET_KEEPCAPS, 1, 0, 0, 0) < 0)
        return err_set(e, errno, "cannot keep capabilities across the change of ids");
    if (op->gid >= 0 && setresgid(gid, gid, gid) < 0)
        return id_error(e, errno, "gid", op->gid);
    if (op->uid >= 0 && setresuid(uid, uid, uid) < 0)
        return id_error(e, errno, "uid", op->uid);
    return 0;
}

static int step_capabilities(const struct step *st, struct slots *slots, struct err *e)
{
    const struct op_capabilities *op = &st->capabilities;
    struct __user_cap_header_struct header = { .version = _LINUX_CAPABILITY_VERSION_3 };
    struct __user_cap_data_struct data[_LINUX_CAPABILITY_U32S_3];

    (void)slots;
    for (unsigned i = 0; i < COUNT_OF(data); i++) {
        data[i].effective = (uint32_t)(op->effective >> 32 * i);
        data[i].permitted = (uint32_t)(op->permitted >> 32 * i);
        data[i].inheritable = (uint32_t)(op->inheritable >> 32 * i);
    }
    if (syscall(SYS_capset, &header, data) < 0)
        return err_set(e, errno, "cannot set the capabilities");
    return 0;
}

static int step_ambient(const struct step *st, struct slots *slots, struct err *e)
{
    (void)slots;
    if (st->ambient.clear && prctl(PR_CAP_AMBIENT, PR_CAP_AMBIENT_CLEAR_ALL, 0, 0, 0) < 0)
        return err_set(e, errno, "cannot clear the ambient capabilities");
    for (int i = 0; i < 64; i++)
        if (cap_has(st->ambient.raise, i) &&
            prctl(PR_CAP_AMBIENT, PR_CAP_AMBIENT_RAISE, i, 0, 0) < 0)
            return err_set(e, errno, "cannot make capability %d ambient", i);
    return 0;
}

static int step_no_new_privs(const struct step *st, struct slots *slots, struct err *e)
{
    (void)st;
    (void)slots;
    if (prctl(PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0) < 0)
        return err_set(e, errno, "cannot set no_new_privs");
    return 0;
}

static int step_seccomp_compile(const struct step *st, struct slots *slots, struct err *e)
{
    int n = seccomp_program(st->seccomp_compile.profile, st->seccomp_compile.cache, e);

    if (n > 0)
        slots->value[st->seccomp_compile.out] = n;
    return n < 0 ? n : 0;
}

/*
 * The program lies in memory that came with the clone. The load is the only call here: what comes
 * after is under the filter already.
 */
static int step_seccomp_load(const struct step *st, struct slots *slots, struct err *e)
{
    struct sock_fprog program = { (unsigned short)slots->value[st->seccomp_load.in],
                                  (struct sock_filter *)seccomp_program_code() };
    long r = sys_note("seccomp(2) of Linux 3.17", syscall(SYS_seccomp, SECCOMP_SET_MODE_FILTER,
                                                          st->seccomp_load.flags, &program));

    if (r >= 0) {
        if (st->seccomp_load.listener >= 0)
            slots->value[st->seccomp_load.listener] = (int)r;
        return 0;
    }
    r = err_set(e, errno, "cannot load the seccomp filter of %u instructions", program.len);
    if (r == -EACCES)
        err_hint(e, "without noNewPrivileges it needs CAP_SYS_ADMIN");
    if (r == -EINVAL && st->seccomp_load.flags & SECCOMP_FILTER_FLAG_WAIT_KILLABLE_RECV)
        err_hint(e, "SECCOMP_FILTER_FLAG_WAIT_KILLABLE_RECV needs Linux 5.19");
    if (r == -EBUSY)
        err_hint(e, "teca itself runs under a filter with a listener, and the kernel has one only");
    return (int)r;
}

static int step_close_fds(const struct step *st, struct slots *slots, struct err *e)
{
    (void)slots;
    if (sys_close_range((unsigned)st->close_fds.first, ~0u, CLOSE_RANGE_CLOEXEC) < 0)
        return err_set(e, errno, "cannot close file descriptors from %d on",
                       (int)st->close_fds.first);
    return 0;
}

/*
 * glibc's sigaction and sigprocmask leave the two signals alone that it uses itself (32, 33); a
 * caller may have ignored or blocked them nonetheless, so the calls are made without it. Zero is
 * SIG_DFL with no flags and an empty mask in every layout of the kernel's struct sigaction.
 */
static int step_signals(const struct step *st, struct slots *slots, struct err *e)
{
    static const unsigned long zero[8];
    const size_t mask_size = 8;

    (void)slots;
    for (int signal = 1; signal <= 64; signal++)
        if (cap_has(st->signals.ignored, signal - 1) &&
            syscall(SYS_rt_sigaction, signal, zero, NULL, mask_size) < 0)
            return err_set(e, errno, "cannot reset signal %d", signal);
    if (st->signals.mask && syscall(SYS_rt_sigprocmask, SIG_SETMASK, zero, NULL, mask_size) < 0)
        return err_set(e, errno, "cannot unblock all signals");
    return 0;
}

static int step_cpu_affinity(const struct step *st, struct slots *slots, struct err *e)
{
    const struct op_cpu_affinity *op = &st->cpu_affinity;

    (void)slots;
    if (syscall(SYS_sched_setaffinity, 0, op->mask_size, op->mask) < 0)
        return err_set(e, errno, "cannot run on the CPUs '%s' only", op->cpus);
    return 0;
}

typedef int step_fn(const struct step *st, struct slots *slots, struct err *e);
static step_fn *const steps[OP_COUNT] = {
    [OP_UNDUMPABLE] = step_undumpable,
    [OP_SETSID] = step_setsid,
    [OP_RLIMIT] = step_rlimit,
    [OP_OOM_SCORE_ADJ] = step_oom_score_adj,
    [OP_UMASK] = step_umask,
    [OP_BOUNDING_DROP] = step_bounding_drop,
    [OP_GROUPS] = step_groups,
    [OP_IDS] = step_ids,
    [OP_CAPABILITIES] = step_capabilities,
    [OP_AMBIENT] = step_ambient,
    [OP_NO_NEW_PRIVS] = step_no_new_privs,
    [OP_SECCOMP_COMPILE] = step_seccomp_compile,
    [OP_SECCOMP_LOAD] = step_seccomp_load,
    [OP_CPU_AFFINITY] = step_cpu_affinity,
    [OP_SCHEDULER] = step_scheduler,
    [OP_IO_PRIORITY] = step_io_priority,
    [OP_AFFINITY] = step_affinity,
    [OP_MEMORY_POLICY] = step_memory_policy,
    [OP_PERSONALITY] = step_personality,
    [OP_KEYRING] = step_keyring,
    [OP_EXEC_LABEL] = step_exec_label,
    [OP_LANDLOCK_RULESET] = landlock_step_ruleset,
    [OP_LANDLOCK_PATH] = landlock_step_path,
    [OP_LANDLOCK_PORT] = landlock_step_port,
    [OP_LANDLOCK_RESTRICT] = landlock_step_restrict,
    [OP_CLOSE_FDS] = step_close_fds,
    [OP_SIGNALS] = step_signals,
};

int sec_step(const struct step *st, struct slots *slots, struct err *e)
{
    return steps[st->op](st, slots, e);
}
