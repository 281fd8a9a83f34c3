/* SPDX-License-Identifier: Apache-2.0 */
/* process.scheduler, process.ioPriority and the CPU affinity: when the process may run. */
#include <errno.h>
#include <linux/ioprio.h>
#include <linux/sched.h>
#include <linux/sched/types.h>
#include <string.h>
#include <sys/syscall.h>
#include <unistd.h>

#include "security/internal.h"

/* linux/ioprio.h has them as macros of an enum since Linux 5.15. */
enum { CLASS_SHIFT = 13, WHO_PROCESS_GROUP = 2 };

/* linux/sched.h says SCHED_NORMAL where the specification and POSIX say SCHED_OTHER. */
enum { POLICY_ISO = 4 /* reserved, never implemented */ };

static const struct {
    const char *name;
    uint32_t number;
} policies[] = {
    { "SCHED_OTHER", SCHED_NORMAL },
    { "SCHED_FIFO", SCHED_FIFO },
    { "SCHED_RR", SCHED_RR },
    { "SCHED_BATCH", SCHED_BATCH },
    { "SCHED_ISO", POLICY_ISO },
    { "SCHED_IDLE", SCHED_IDLE },
    { "SCHED_DEADLINE", SCHED_DEADLINE },
};

static const struct {
    const char *name;
    uint64_t bit;
} scheduler_flags[] = {
    { "SCHED_FLAG_RESET_ON_FORK", SCHED_FLAG_RESET_ON_FORK },
    { "SCHED_FLAG_RECLAIM", SCHED_FLAG_RECLAIM },
    { "SCHED_FLAG_DL_OVERRUN", SCHED_FLAG_DL_OVERRUN },
    { "SCHED_FLAG_KEEP_POLICY", SCHED_FLAG_KEEP_POLICY },
    { "SCHED_FLAG_KEEP_PARAMS", SCHED_FLAG_KEEP_PARAMS },
    { "SCHED_FLAG_UTIL_CLAMP_MIN", SCHED_FLAG_UTIL_CLAMP_MIN },
    { "SCHED_FLAG_UTIL_CLAMP_MAX", SCHED_FLAG_UTIL_CLAMP_MAX },
};

static const struct {
    const char *name;
    uint32_t number;
} io_classes[] = {
    { "IOPRIO_CLASS_RT", 1 },
    { "IOPRIO_CLASS_BE", 2 },
    { "IOPRIO_CLASS_IDLE", 3 },
};

/* ---- compile ------------------------------------------------------------------------------- */

/*
 * What needs CAP_SYS_NICE of the initial user namespace is done by the runtime where init has none
 * of it; then it stands behind everything that init has done so far: a process that is real-time
 * already may not enter a v1 cpu cgroup, sched(7).
 */
static struct step *add_for_init(struct plan *p, enum plan_op op, const char *pointer,
                                 const struct sec_place *place, int *pid)
{
    int after = plan_last(p, LANE_INIT);
    struct step *st = plan_add(p, op, place->user_ns ? LANE_RUNTIME : LANE_INIT, pointer);

    if (place->user_ns) {
        st->after = after;
        *pid = place->pid_slot;
    } else {
        *pid = SLOT_NONE;
    }
    return st;
}

void sec_compile_scheduler(struct plan *p, const struct spec *s, const struct sec_place *place)
{
    const struct spec_scheduler *want = &s->process.scheduler;
    struct op_scheduler *op;
    int pid;

    if (!want->set)
        return;
    op = &add_for_init(p, OP_SCHEDULER, "/process/scheduler", place, &pid)->scheduler;
    op->pid = pid;
    op->policy = want->policy;
    op->nice = want->nice;
    op->priority = want->priority;
    op->runtime = want->runtime;
    op->deadline = want->deadline;
    op->period = want->period;
    for (size_t i = 0; i < want->flags.n; i++)
        for (size_t k = 0; k < COUNT_OF(scheduler_flags); k++)
            if (str_eq(want->flags.v[i], scheduler_flags[k].name))
                op->flags |= scheduler_flags[k].bit;
}

void sec_compile_io_priority(struct plan *p, const struct spec *s, const struct sec_place *place)
{
    const struct spec_io_priority *want = &s->process.io_priority;
    struct op_io_priority *op;
    int pid;

    if (!want->set)
        return;
    op = &add_for_init(p, OP_IO_PRIORITY, "/process/ioPriority", place, &pid)->io_priority;
    op->pid = pid;
    op->io_class = want->class_;
    op->priority = want->priority;
}

/* "0", "0-7": as far as this says, nobody took a CPU away. */
static bool begins_at_zero_without_a_gap(const char *list)
{
    return list[0] == '0' && !strchr(list, ',') && (list[1] == '\0' || list[1] == '-');
}

bool sec_affinity_is_narrow(const struct sec_facts *f, const char *cpuset)
{
    if (!f->cpus)
        return false;
    return cpuset ? !str_eq(f->cpus, cpuset) : !begins_at_zero_without_a_gap(f->cpus);
}

int sec_compile_attributes(struct plan *p, const struct spec *s, const struct sec_facts *f,
                           const struct sec_place *place, struct err *e)
{
    /* SCHED_DEADLINE wants every CPU: first. Each process sets its own; none needs a capability. */
    if (sec_affinity_is_narrow(f, place->cpuset))
        plan_add(p, OP_AFFINITY, LANE_INIT, "");
    sec_compile_personality(p, s);
    sec_compile_io_priority(p, s, place);
    sec_compile_scheduler(p, s, place);
    return sec_compile_memory_policy(p, s, e);
}

/* ---- execute ------------------------------------------------------------------------------- */

static int policy_number(const char *name, uint32_t *out)
{
    for (size_t i = 0; i < COUNT_OF(policies); i++) {
        if (str_eq(name, policies[i].name)) {
            *out = policies[i].number;
            return 0;
        }
    }
    return -EINVAL;
}

/* Why: the man page lists several reasons for each number. sched_setattr(2), sched(7). */
static void explain_scheduler(struct err *e, int error, const struct op_scheduler *op)
{
    bool deadline = str_eq(op->policy, "SCHED_DEADLINE");
    bool realtime = str_eq(op->policy, "SCHED_FIFO") || str_eq(op->policy, "SCHED_RR");

    if (error == EPERM && realtime)
        err_hint(e, "it needs CAP_SYS_NICE or RLIMIT_RTPRIO, and a v1 cpu cgroup needs real-time "
                    "runtime: linux.resources.cpu.realtimeRuntime");
    else if (error == EPERM && deadline)
        err_hint(e, "it needs CAP_SYS_NICE, and every CPU of the cpuset's scheduling domain");
    else if (error == EPERM)
        err_hint(e, "it needs CAP_SYS_NICE or RLIMIT_NICE");
    else if (error == EBUSY && deadline)
        err_hint(e, "the CPUs have no bandwidth left for this runtime and period");
    else if (error == EOPNOTSUPP)
        err_hint(e, "this kernel clamps no utilisation (CONFIG_UCLAMP_TASK)");
    else if (error == EINVAL && str_eq(op->policy, "SCHED_ISO"))
        err_hint(e, "no version of Linux has SCHED_ISO");
    else if (error == EINVAL && deadline)
        err_hint(e, "the least runtime is 1024 ns, the period has to lie within "
                    "/proc/sys/kernel/sched_deadline_period_{min,max}_us");
}

int step_scheduler(const struct step *st, struct slots *slots, struct err *e)
{
    const struct op_scheduler *op = &st->scheduler;
    struct sched_attr attr = {
        .size = sizeof attr,
        .sched_flags = op->flags,
        .sched_nice = (int32_t)op->nice,
        .sched_priority = (uint32_t)op->priority,
        .sched_runtime = op->runtime,
        .sched_deadline = op->deadline,
        .sched_period = op->period,
    };
    pid_t pid = op->pid >= 0 ? slots->value[op->pid] : 0;
    int error = EINVAL;

    if (policy_number(op->policy, &attr.sched_policy) == 0) {
        if (sys_note("sched_setattr(2) of Linux 3.14", syscall(SYS_sched_setattr, pid, &attr, 0)) ==
            0)
            return 0;
        error = errno;
    }
    err_set(e, error, "cannot set the scheduling policy %s", op->policy);
    explain_scheduler(e, error, op);
    return -error;
}

int step_io_priority(const struct step *st, struct slots *slots, struct err *e)
{
    const struct op_io_priority *op = &st->io_priority;
    pid_t pid = op->pid >= 0 ? slots->value[op->pid] : 0;
    uint32_t value = 0;
    int error;

    for (size_t i = 0; i < COUNT_OF(io_classes); i++)
        if (str_eq(op->io_class, io_classes[i].name))
            value = io_classes[i].number << CLASS_SHIFT | (uint32_t)op->priority;
    /* init leads its process group: it has a session of its own. */
    if (sys_note("ioprio_set(2) of Linux 2.6",
                 syscall(SYS_ioprio_set, WHO_PROCESS_GROUP, pid, value)) == 0)
        return 0;
    error = errno;
    err_set(e, error, "cannot set the I/O priority %s %lld", op->io_class, (long long)op->priority);
    if (error == EPERM)
        err_hint(e, "IOPRIO_CLASS_RT needs CAP_SYS_NICE or CAP_SYS_ADMIN");
    return -error;
}

/* Every bit: the kernel leaves those of the cgroup's cpuset, sched_setaffinity(2). */
int step_affinity(const struct step *st, struct slots *slots, struct err *e)
{
    unsigned long all[8192 / (8 * sizeof(unsigned long))]; /* the most that Linux is built for */

    (void)st;
    (void)slots;
    memset(all, 0xff, sizeof all);
    if (syscall(SYS_sched_setaffinity, 0, sizeof all, all) < 0)
        return err_set(e, errno, "cannot have all CPUs of the cgroup");
    return 0;
}
