/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Which process enters which namespace, and when.
 *
 *   nothing by path, no offsets     runtime clones init with all flags
 *   net, ipc, uts ... by path       init joins them itself, the mount namespace last
 *   user or pid by path             a stage joins and then clones init: a pid namespace is entered
 *                                   by children only, and what is new must belong to the user
 *                                   namespace that was joined
 *   any by path, and a new user ns  a stage: joining needs the caps that init would have lost
 *   time offsets                    a stage: they can be written only while the time namespace
 *                                   has no process, time_namespaces(7)
 */
#include <errno.h>

#include "namespaces/internal.h"

int ns_index_of(const struct spec *s, uint64_t flag)
{
    for (size_t i = 0; i < s->linux.n_namespaces; i++)
        if (spec_ns_flag(s->linux.namespaces[i].type) == flag)
            return (int)i;
    return -1;
}

const char *ns_flag_name(uint64_t flag)
{
    for (int type = 0; type < SPEC_NS_COUNT; type++)
        if (spec_ns_flag((enum spec_ns)type) == flag)
            return spec_ns_name((enum spec_ns)type);
    return "unknown";
}

uint64_t ns_new_flags(const struct spec *s)
{
    uint64_t flags = 0;

    for (size_t i = 0; i < s->linux.n_namespaces; i++)
        if (!s->linux.namespaces[i].path)
            flags |= spec_ns_flag(s->linux.namespaces[i].type);
    return flags;
}

/* The own user namespace cannot be entered (setns(2) EINVAL) and need not be. */
uint64_t ns_joined_flags(const struct spec *s, const struct ns_facts *f)
{
    uint64_t flags = 0;

    for (size_t i = 0; i < s->linux.n_namespaces; i++)
        if (s->linux.namespaces[i].path)
            flags |= spec_ns_flag(s->linux.namespaces[i].type);
    return flags & ~(f->own & CLONE_NEWUSER);
}

bool ns_enters_user(const struct spec *s, const struct ns_facts *f)
{
    return (ns_new_flags(s) | ns_joined_flags(s, f)) & CLONE_NEWUSER;
}

static const char *path_pointer(struct plan *p, int index)
{
    return plan_pointer(p, "/linux/namespaces/%d/path", index);
}

/* Whoever lives in a user namespace may mount only in what belongs to that (mount_namespaces(7)). */
static int check_mounts(struct plan *p, const struct spec *s, const struct ns_facts *f,
                        struct err *e)
{
    const char *pointer = path_pointer(p, ns_index_of(s, CLONE_NEWNS));

    if (!(ns_joined_flags(s, f) & CLONE_NEWNS))
        return 0;
    if (ns_new_flags(s) & CLONE_NEWUSER)
        return err_at(e, pointer, 0,
                      "a mount namespace that is there already cannot be joined together with a "
                      "new user namespace: the container could mount nothing in it");
    if (f->foreign_mounts)
        return err_at(e, pointer, 0,
                      "the mount namespace does not belong to the user namespace that is joined "
                      "too: the container could mount nothing in it");
    return 0;
}

int ns_compile_open(struct plan *p, const struct spec *s, const struct ns_facts *f, struct err *e)
{
    uint64_t joined = ns_joined_flags(s, f);
    int r = ns_check_own(p, s, f, e);

    if (r == 0)
        r = check_mounts(p, s, f, e);
    if (r < 0)
        return r;
    for (size_t i = 0; i < s->linux.n_namespaces; i++) {
        const struct spec_namespace *ns = &s->linux.namespaces[i];
        struct step *st;

        if (!(joined & spec_ns_flag(ns->type)))
            continue;
        st = plan_add(p, OP_NS_OPEN, LANE_RUNTIME, path_pointer(p, (int)i));
        st->ns_open.path = ns->path;
        st->ns_open.type = spec_ns_flag(ns->type);
        st->ns_open.out = plan_slot(p);
    }
    return 0;
}

/* ---- joins --------------------------------------------------------------------------------- */

static int open_slot(const struct plan *p, uint64_t flag)
{
    for (int i = plan_find(p, OP_NS_OPEN, 0); i >= 0; i = plan_find(p, OP_NS_OPEN, (size_t)i + 1))
        if (p->steps[i].ns_open.type == flag)
            return p->steps[i].ns_open.out;
    return SLOT_NONE;
}

static void add_join(struct plan *p, const struct spec *s, enum plan_lane lane, uint64_t flag)
{
    struct step *st = plan_add(p, OP_NS_JOIN, lane, path_pointer(p, ns_index_of(s, flag)));

    st->ns_join.type = flag;
    st->ns_join.in = open_slot(p, flag);
}

/* Joins of `flags` in the order of the spec. */
static void add_joins(struct plan *p, const struct spec *s, enum plan_lane lane, uint64_t flags)
{
    for (size_t i = 0; i < s->linux.n_namespaces; i++) {
        uint64_t flag = spec_ns_flag(s->linux.namespaces[i].type);

        if (flags & flag)
            add_join(p, s, lane, flag);
    }
}

/*
 * Joining a cgroup namespace stays with init where it can: from inside it, CLONE_INTO_CGROUP of a
 * cgroup that lies outside is refused (ENOENT under nsdelegate). With a user namespace it cannot:
 * init has lost the right to join what belongs to the host.
 */
static uint64_t left_to_init(uint64_t joined, bool stage, bool user)
{
    if (!stage)
        return joined;
    return user ? 0 : joined & CLONE_NEWCGROUP;
}

/* ---- the clone ----------------------------------------------------------------------------- */

static bool has_offsets(const struct spec *s)
{
    return s->linux.time_offsets.monotonic.set || s->linux.time_offsets.boottime.set;
}

/* The text of /proc/self/timens_offsets, time_namespaces(7). */
static const char *offsets_text(struct plan *p, const struct spec *s)
{
    const char *monotonic = "", *boottime = "";

    if (s->linux.time_offsets.monotonic.set)
        monotonic = arena_format(p->arena, "monotonic %lld %u\n",
                                 (long long)s->linux.time_offsets.monotonic.secs,
                                 s->linux.time_offsets.monotonic.nanosecs);
    if (s->linux.time_offsets.boottime.set)
        boottime = arena_format(p->arena, "boottime %lld %u\n",
                                (long long)s->linux.time_offsets.boottime.secs,
                                s->linux.time_offsets.boottime.nanosecs);
    return arena_format(p->arena, "%s%s", monotonic, boottime);
}

static void add_offsets(struct plan *p, const struct spec *s, uint64_t unshare_flags)
{
    struct step *st = plan_add(p, OP_NS_UNSHARE, LANE_STAGE, "/linux/timeOffsets");

    st->ns_unshare.flags = unshare_flags;
    st = plan_add(p, OP_NS_TIME_OFFSETS, LANE_STAGE, "/linux/timeOffsets");
    st->ns_time_offsets.offsets = offsets_text(p, s);
}

static void add_clone(struct plan *p, enum plan_lane lane, uint64_t flags, int cgroup_slot,
                      const struct ns_clone_out *out)
{
    struct step *st = plan_add(p, OP_CLONE, lane, "/linux/namespaces");

    st->clone.flags = flags;
    st->clone.cgroup = cgroup_slot;
    st->clone.out_pid = out->pid_slot;
    st->clone.out_pidfd = out->pidfd_slot;
    st->clone.sibling = lane == LANE_STAGE;
}

void ns_compile_stage(struct plan *p)
{
    struct step *st = plan_add(p, OP_CLONE, LANE_RUNTIME, "/linux/namespaces");

    st->clone.out_pid = plan_slot(p);
}

/*
 * Who has CAP_SYS_ADMIN in its own user namespace may join everything first and the user namespace
 * last; joining that first would lose the rights over what belongs to the host. An ordinary user
 * gains the rights only by joining the user namespace, so it comes first. setns(2).
 */
static void compile_stage(struct plan *p, const struct spec *s, const struct ns_facts *f,
                          uint64_t fresh, uint64_t joined, int cgroup_slot,
                          struct ns_clone_out *out)
{
    uint64_t user = joined & CLONE_NEWUSER, mount = joined & CLONE_NEWNS, early = 0;
    uint64_t others = joined & ~(user | mount | left_to_init(joined, true, ns_enters_user(s, f)));
    struct step *st;
    int cloned;

    if (plan_find(p, OP_CLONE, 0) < 0)
        ns_compile_stage(p);
    if (joined)
        plan_add(p, OP_UNDUMPABLE, LANE_STAGE, "");
    if (user && f->can_setgid) {
        /* The user namespace may deny setgroups: what root has must be gone before. */
        st = plan_add(p, OP_GROUPS, LANE_STAGE, "/process/user/additionalGids");
        st->groups.list_size = 0;
    }
    if (!f->can_sys_admin)
        add_joins(p, s, LANE_STAGE, user);
    add_joins(p, s, LANE_STAGE, others);
    if (has_offsets(s)) {
        /* Without rights on the host the time namespace must belong to the new user namespace. */
        early = CLONE_NEWTIME | (f->can_sys_admin ? 0 : fresh & CLONE_NEWUSER);
        add_offsets(p, s, early);
    }
    add_joins(p, s, LANE_STAGE, mount); /* from here on /proc is the other namespace's */
    if (f->can_sys_admin)
        add_joins(p, s, LANE_STAGE, user);
    out->flags = fresh & ~early;
    add_clone(p, LANE_STAGE, out->flags, cgroup_slot, out);
    cloned = plan_last(p, LANE_STAGE);
    st = plan_add(p, OP_BARRIER, LANE_RUNTIME, "");
    st->barrier.what = "the stage has cloned init";
    st->after = cloned;
}

bool ns_needs_stage(const struct spec *s, const struct ns_facts *f)
{
    uint64_t joined = ns_joined_flags(s, f);

    return (joined & (CLONE_NEWUSER | CLONE_NEWPID)) ||
           (joined && (ns_new_flags(s) & CLONE_NEWUSER)) || has_offsets(s);
}

int ns_compile_clone(struct plan *p, const struct spec *s, const struct ns_facts *f,
                     int cgroup_slot, bool late_cgroup_ns, struct ns_clone_out *out, struct err *e)
{
    uint64_t fresh = ns_new_flags(s), joined = ns_joined_flags(s, f);
    struct ns_clone_out c;

    (void)e;
    if (late_cgroup_ns)
        fresh &= ~(uint64_t)CLONE_NEWCGROUP;
    c = (struct ns_clone_out){ .pid_slot = plan_slot(p),
                               .pidfd_slot = plan_slot(p),
                               .flags = fresh };
    c.stage = ns_needs_stage(s, f);
    if (c.stage)
        compile_stage(p, s, f, fresh, joined, cgroup_slot, &c);
    else
        add_clone(p, LANE_RUNTIME, fresh, cgroup_slot, &c);
    *out = c;
    return 0;
}

int ns_compile_enter(struct plan *p, const struct spec *s, const struct ns_facts *f,
                     const struct ns_clone_out *c, struct err *e)
{
    uint64_t joined = ns_joined_flags(s, f);
    bool new_user = ns_new_flags(s) & CLONE_NEWUSER;
    uint64_t mine = left_to_init(joined, c->stage, ns_enters_user(s, f));
    struct step *st;

    (void)e;
    add_joins(p, s, LANE_INIT, mine & ~(uint64_t)CLONE_NEWNS);
    add_joins(p, s, LANE_INIT, mine & CLONE_NEWNS);
    if (!ns_enters_user(s, f))
        return 0;
    st = plan_add(p, OP_NS_BECOME_ROOT, LANE_INIT,
                  new_user ? "/linux/uidMappings" : path_pointer(p, ns_index_of(s, CLONE_NEWUSER)));
    st->ns_become_root.drop_groups = !spec_keeps_groups(s) &&
                                     (new_user ? !ns_denies_setgroups(s, f) : !f->can_setgid);
    st->after = ns_last_map_step(p);
    return 0;
}

int ns_compile_cgroup(struct plan *p, const struct spec *s, struct err *e)
{
    int index = ns_index_of(s, CLONE_NEWCGROUP);
    struct step *st;

    (void)e;
    if (!(ns_new_flags(s) & CLONE_NEWCGROUP))
        return 0;
    st = plan_add(p, OP_NS_UNSHARE, LANE_INIT, plan_pointer(p, "/linux/namespaces/%d", index));
    st->ns_unshare.flags = CLONE_NEWCGROUP;
    return 0;
}
