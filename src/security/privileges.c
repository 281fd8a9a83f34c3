/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The order in which init gives its privileges away. Each call is left out when the kernel already
 * has what it would set; `struct privileges` follows what the kernel has after each step.
 *
 *   [landlock]     the ruleset, while init may open every path of the container
 *   rlimits        while CAP_SYS_RESOURCE is there; last of all that lowers what init may open
 *   umask
 *   bounding set   needs CAP_SETPCAP
 *   groups         needs CAP_SETGID
 *   [landlock]     enforced: like seccomp, and immediately before it
 *   [seccomp]      without no_new_privs it needs CAP_SYS_ADMIN, seccomp(2); the profile must allow
 *                  what follows, as with every other runtime
 *   ids            from 0 to another uid clears the capabilities unless PR_SET_KEEPCAPS
 *   capabilities   down to what the config wants
 *   ambient        needs permitted and inheritable, capabilities(7)
 *   no_new_privs
 */
#include <errno.h>
#include <limits.h>
#include <stdlib.h>
#include <string.h>

#include "security/internal.h"

/* ---- capability sets ----------------------------------------------------------------------- */

/* The names that this kernel knows; others are warnings of `teca check`. */
static uint64_t set_of(const struct strs *names, const struct sec_facts *f)
{
    uint64_t set = 0;

    for (size_t i = 0; i < names->n; i++) {
        int number = spec_capability_number(names->v[i]);

        if (number < 0 || number > f->last_cap)
            log_debug("capability %s is unknown here: left out", names->v[i]);
        else
            set |= UINT64_C(1) << number;
    }
    return set;
}

/* What a process has of privileges, as the kernel counts. */
struct privileges {
    struct sec_caps caps;
    uint32_t uid, gid;
};

/* user_namespaces(7): the first process has every capability, none inheritable, and is 0:0. */
static struct privileges at_the_beginning(const struct sec_facts *f, bool user_ns)
{
    uint64_t all = cap_mask(f->last_cap);

    if (user_ns)
        return (
            struct privileges){ .caps = { .bounding = all, .effective = all, .permitted = all } };
    return (struct privileges){
        .caps = { .bounding = f->cap_bounding,
                  .effective = f->cap_effective,
                  .inheritable = f->cap_inheritable,
                  .permitted = f->cap_permitted,
                  .ambient = f->cap_ambient },
        .uid = f->euid,
        .gid = f->egid,
    };
}

static uint64_t grant(const char *name, uint64_t wanted, uint64_t available)
{
    for (int i = 0; i < 64; i++)
        if (cap_has(wanted & ~available, i))
            log_debug("%s cannot be granted in the %s set: left out", spec_capability_name(i),
                      name);
    return wanted & available;
}

int sec_caps_of(const struct spec_process *pr, const struct sec_facts *f, bool user_ns,
                struct sec_caps *out, struct err *e)
{
    const struct spec_capabilities *c = &pr->capabilities;
    struct sec_caps has = at_the_beginning(f, user_ns).caps, caps;

    (void)e;
    caps.bounding = grant("bounding", set_of(&c->bounding, f), has.bounding);
    caps.permitted = grant("permitted", set_of(&c->permitted, f), has.permitted);
    caps.effective = grant("effective", set_of(&c->effective, f), caps.permitted);
    /* capset(2): not beyond permitted, nor beyond the bounding set, but what is there may stay. */
    caps.inheritable = grant("inheritable", set_of(&c->inheritable, f),
                             has.inheritable | (has.permitted & caps.bounding));
    caps.ambient = grant("ambient", set_of(&c->ambient, f), caps.permitted & caps.inheritable);
    *out = caps;
    return 0;
}

/* ---- rlimits ------------------------------------------------------------------------------- */

/* The runtime's step that raised this limit from outside, -1: none. */
static int raised_by_runtime(const struct plan *p, int resource)
{
    for (int i = plan_find(p, OP_RLIMIT, 0); i >= 0; i = plan_find(p, OP_RLIMIT, (size_t)i + 1))
        if (p->steps[i].lane == LANE_RUNTIME && p->steps[i].rlimit.resource == resource)
            return i;
    return -1;
}

static int compile_rlimits(struct plan *p, const struct spec_process *pr, struct err *e)
{
    for (size_t i = 0; i < pr->n_rlimits; i++) {
        const char *pointer = plan_pointer(p, "/process/rlimits/%zu", i);
        int resource = spec_rlimit_number(pr->rlimits[i].type);
        struct step *st;

        if (resource < 0)
            return err_at(e, pointer, 0, "'%s' is no limit of Linux", pr->rlimits[i].type);
        st = plan_add(p, OP_RLIMIT, LANE_INIT, pointer);
        st->rlimit.resource = resource;
        st->rlimit.soft = pr->rlimits[i].soft;
        st->rlimit.hard = pr->rlimits[i].hard;
        st->after = raised_by_runtime(p, resource);
    }
    return 0;
}

/* ---- umask --------------------------------------------------------------------------------- */

/*
 * Absent: the caller's (config.md "user"). init's own work may have changed it meanwhile: the
 * newest step says what it is.
 */
static void compile_umask(struct plan *p, const struct spec_user *user, const struct sec_facts *f)
{
    uint32_t now = f->umask, want = user->umask.set ? user->umask.v : f->umask;

    for (int i = plan_find(p, OP_UMASK, 0); i >= 0; i = plan_find(p, OP_UMASK, (size_t)i + 1))
        now = p->steps[i].umask.mask;
    if (now != want)
        plan_add(p, OP_UMASK, LANE_INIT, "/process/user/umask")->umask.mask = want;
}

/* ---- groups -------------------------------------------------------------------------------- */

static int compare_groups(const void *a, const void *b)
{
    uint32_t x = *(const uint32_t *)a, y = *(const uint32_t *)b;

    return (x > y) - (x < y);
}

/* The kernel keeps the list sorted, with what is in it twice. */
static bool same_groups(struct plan *p, const struct spec_u32s *wanted, const uint32_t *groups,
                        size_t n)
{
    size_t size = n * sizeof *groups;
    uint32_t *a, *b;

    if (wanted->n != n)
        return false;
    if (n == 0)
        return true;
    a = memcpy(arena_alloc(p->arena, size), wanted->v, size);
    b = memcpy(arena_alloc(p->arena, size), groups, size);
    qsort(a, n, sizeof *a, compare_groups);
    qsort(b, n, sizeof *b, compare_groups);
    return memcmp(a, b, size) == 0;
}

static int compile_groups(struct plan *p, const struct spec *s, const struct sec_facts *f,
                          bool user_ns, struct err *e)
{
    const char *pointer = "/process/user/additionalGids";
    const struct spec_u32s *wanted = &s->process.user.additional_gids;
    int maps = plan_find(p, OP_NS_ID_MAPS, 0);
    bool denied = f->setgroups_denied || (maps >= 0 && p->steps[maps].ns_id_maps.deny_setgroups);
    struct step *st;

    if (spec_keeps_groups(s))
        return 0;
    if (wanted->n > NGROUPS_MAX)
        return err_at(e, pointer, 0, "%zu groups are more than the kernel takes (%d)", wanted->n,
                      NGROUPS_MAX);
    /* Becoming root of a user namespace has left none. */
    if (user_ns ? wanted->n == 0 : same_groups(p, wanted, f->groups, f->n_groups))
        return 0;
    if (denied && wanted->n)
        return err_at(e, pointer, 0,
                      "the user namespace of an ordinary user cannot have additional groups "
                      "(setgroups is denied there)");
    if (denied) /* what the runtime has stays */
        return 0;
    st = plan_add(p, OP_GROUPS, LANE_INIT, pointer);
    st->groups.list = wanted->v;
    st->groups.list_size = wanted->n * sizeof *wanted->v;
    return 0;
}

/* ---- ids and capabilities ------------------------------------------------------------------ */

static void compile_ids(struct plan *p, const struct spec_user *user, const struct sec_caps *want,
                        struct privileges *now)
{
    bool uid_changes = user->uid != now->uid, gid_changes = user->gid != now->gid;
    bool leaves_root = uid_changes && now->uid == 0;
    struct step *st;

    if (!uid_changes && !gid_changes)
        return;
    st = plan_add(p, OP_IDS, LANE_INIT, "/process/user");
    st->ids.uid = uid_changes ? (int64_t)user->uid : -1;
    st->ids.gid = gid_changes ? (int64_t)user->gid : -1;
    st->ids.keep_caps = leaves_root && want->permitted;
    /* capabilities(7) "Effect of user ID changes on capabilities". */
    if (leaves_root) {
        now->caps.effective = 0;
        if (!st->ids.keep_caps)
            now->caps.permitted = now->caps.ambient = 0;
    } else if (uid_changes && user->uid == 0) {
        now->caps.effective = now->caps.permitted;
    }
    now->uid = user->uid;
    now->gid = user->gid;
}

static void compile_caps(struct plan *p, const struct sec_caps *want, struct privileges *now)
{
    struct sec_caps *has = &now->caps;
    struct step *st;

    if (has->effective != want->effective || has->permitted != want->permitted ||
        has->inheritable != want->inheritable) {
        st = plan_add(p, OP_CAPABILITIES, LANE_INIT, "/process/capabilities");
        st->capabilities.effective = want->effective;
        st->capabilities.permitted = want->permitted;
        st->capabilities.inheritable = want->inheritable;
        has->ambient &= want->permitted & want->inheritable; /* the kernel's doing */
    }
    if (has->ambient != want->ambient) {
        bool clear = has->ambient & ~want->ambient;

        st = plan_add(p, OP_AMBIENT, LANE_INIT, "/process/capabilities/ambient");
        st->ambient.clear = clear;
        st->ambient.raise = clear ? want->ambient : want->ambient & ~has->ambient;
    }
}

static void add_load(struct plan *p, const struct spec *s, int slot)
{
    struct step *st = plan_add(p, OP_SECCOMP_LOAD, LANE_INIT, "/linux/seccomp");

    st->seccomp_load.in = slot;
    st->seccomp_load.flags = seccomp_load_flags(&s->linux.seccomp);
    if (sec_seccomp_notifies(s))
        st->seccomp_load.listener = plan_slot(p);
}

int sec_compile_privileges(struct plan *p, const struct spec *s, const struct sec_facts *f,
                           bool user_ns, int seccomp_slot, struct err *e)
{
    const struct spec_process *pr = &s->process;
    struct privileges now = at_the_beginning(f, user_ns);
    struct sec_caps want;
    uint64_t drop;
    int r = sec_caps_of(pr, f, user_ns, &want, e);

    if (r == 0)
        r = landlock_compile(p, s, f, e);
    if (r == 0)
        r = compile_rlimits(p, pr, e);
    if (r < 0)
        return r;
    compile_umask(p, &pr->user, f);
    drop = now.caps.bounding & ~want.bounding;
    if (drop)
        plan_add(p, OP_BOUNDING_DROP, LANE_INIT, "/process/capabilities/bounding")
            ->bounding_drop.drop = drop;
    r = compile_groups(p, s, f, user_ns, e);
    if (r < 0)
        return r;
    if (!pr->no_new_privileges)
        landlock_compile_restrict(p);
    if (seccomp_slot != SLOT_NONE && !pr->no_new_privileges)
        add_load(p, s, seccomp_slot);
    compile_ids(p, &pr->user, &want, &now);
    compile_caps(p, &want, &now);
    if (pr->no_new_privileges && !f->no_new_privs)
        plan_add(p, OP_NO_NEW_PRIVS, LANE_INIT, "/process/noNewPrivileges");
    return 0;
}

int sec_compile_seccomp_last(struct plan *p, const struct spec *s, int seccomp_slot, struct err *e)
{
    (void)e;
    if (s->process.no_new_privileges)
        landlock_compile_restrict(p);
    if (seccomp_slot != SLOT_NONE && s->process.no_new_privileges)
        add_load(p, s, seccomp_slot);
    return 0;
}
