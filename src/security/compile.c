/* SPDX-License-Identifier: Apache-2.0 */
/* The first things init does, and what the runtime does for init from outside. */
#include <errno.h>
#include <linux/capability.h>

#include "security/internal.h"

enum { FIRST_FOREIGN_FD = 3 };

/* The CLONE that makes init: the last one. */
static int pid_slot_of_init(const struct plan *p)
{
    int slot = SLOT_NONE;

    for (int i = plan_find(p, OP_CLONE, 0); i >= 0; i = plan_find(p, OP_CLONE, (size_t)i + 1))
        slot = p->steps[i].clone.out_pid;
    return slot;
}

/*
 * An ordinary user's runtime cannot write an undumpable process's oom_score_adj (it is root's), so
 * init does it itself while it is still dumpable. Everybody else's runtime does it from outside,
 * where CAP_SYS_RESOURCE counts: inside a user namespace nobody has it.
 */
static bool init_sets_oom(const struct spec *s, const struct sec_facts *f)
{
    const struct spec_namespace *user = spec_namespace_of(s, SPEC_NS_USER);

    return user && !user->path && !cap_has(f->cap_effective, CAP_DAC_OVERRIDE);
}

static void add_oom(struct plan *p, const struct spec *s, enum plan_lane lane, int pid_slot)
{
    struct step *st = plan_add(p, OP_OOM_SCORE_ADJ, lane, "/process/oomScoreAdj");

    st->oom_score_adj.value = s->process.oom_score_adj.v;
    st->oom_score_adj.pid = pid_slot;
}

/* The last step that writes an id map, -1: none. */
static int last_map_step(const struct plan *p)
{
    int maps = plan_find(p, OP_NS_ID_MAPS, 0), gid = plan_find(p, OP_NS_MAP_TOOL, 0);
    int uid = gid < 0 ? -1 : plan_find(p, OP_NS_MAP_TOOL, (size_t)gid + 1);

    return maps >= 0 ? maps : uid >= 0 ? uid : gid;
}

int sec_compile_first(struct plan *p, const struct spec *s, const struct sec_facts *f,
                      struct err *e)
{
    struct step *st;

    (void)e;
    if (s->process.oom_score_adj.set && init_sets_oom(s, f))
        add_oom(p, s, LANE_INIT, SLOT_NONE);
    plan_add(p, OP_UNDUMPABLE, LANE_INIT, "")->after = last_map_step(p);
    st = plan_add(p, OP_CLOSE_FDS, LANE_INIT, "");
    st->close_fds.first = FIRST_FOREIGN_FD;
    plan_add(p, OP_SETSID, LANE_INIT, "");
    st = plan_add(p, OP_SIGNALS, LANE_INIT, "");
    st->signals.ignored = f->sig_ignored;
    st->signals.mask = true; /* the runtime itself blocks signals before the clone */
    return 0;
}

/*
 * Raising a hard limit needs CAP_SYS_RESOURCE in the initial user namespace, prlimit(2). So when
 * init lives in a user namespace the runtime raises it; init sets the rest, for that may be lower
 * than what its work needs.
 */
static void compile_raises(struct plan *p, const struct spec *s, const struct sec_facts *f)
{
    for (size_t i = 0; i < s->process.n_rlimits; i++) {
        const struct spec_rlimit *want = &s->process.rlimits[i];
        int resource = spec_rlimit_number(want->type);
        const struct sec_limit *has;
        struct step *st;

        if (resource < 0 || resource >= SEC_N_LIMITS)
            continue;
        has = &f->limits[resource];
        if (!has->known || want->hard <= has->hard)
            continue;
        st = plan_add(p, OP_RLIMIT, LANE_RUNTIME, plan_pointer(p, "/process/rlimits/%zu", i));
        st->rlimit.resource = resource;
        st->rlimit.soft = has->soft;
        st->rlimit.hard = want->hard;
        st->rlimit.pid = pid_slot_of_init(p);
    }
}

int sec_compile_limits(struct plan *p, const struct spec *s, const struct sec_facts *f,
                       struct err *e)
{
    (void)e;
    if (s->process.oom_score_adj.set && !init_sets_oom(s, f))
        add_oom(p, s, LANE_RUNTIME, pid_slot_of_init(p));
    if (spec_has_namespace(s, SPEC_NS_USER))
        compile_raises(p, s, f);
    return 0;
}

int sec_compile_seccomp(struct plan *p, const struct spec *s, const struct sec_facts *f, int *slot,
                        struct err *e)
{
    const struct spec_seccomp *profile = &s->linux.seccomp;
    struct step *st;

    *slot = SLOT_NONE;
    if (!profile->set)
        return 0;
    /* pidfd_getfd(2) of an undumpable process. */
    if (seccomp_notifies(profile) && !cap_has(f->cap_effective, CAP_SYS_PTRACE))
        return err_at(e, "/linux/seccomp/listenerPath", EPERM,
                      "taking the listener out of the container's process needs CAP_SYS_PTRACE");
    st = plan_add(p, OP_SECCOMP_COMPILE, LANE_RUNTIME, "/linux/seccomp");
    st->seccomp_compile.default_action = profile->default_action;
    st->seccomp_compile.rules = profile->n_syscalls;
    st->seccomp_compile.profile = profile;
    st->seccomp_compile.cache = f->seccomp_cache;
    *slot = st->seccomp_compile.out = plan_slot(p);
    return 0;
}
