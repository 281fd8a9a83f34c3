/* SPDX-License-Identifier: Apache-2.0 */
/*
 * A mount of type "cgroup": the container's own part of each hierarchy.
 *
 *   host            | cgroup namespace | what is mounted
 *   cgroup2 only    | new              | cgroup2: its root is the container's cgroup
 *   cgroup2 only    | the host's       | bind of the container's cgroup directory
 *   v1 or hybrid    | any              | one bind per hierarchy, on a bind of the host's tmpfs
 *                                        (whose directories and symlinks are what is needed) or,
 *                                        in a user namespace, on a tmpfs of its own
 *   no own cgroup   | any              | the host's tree, read-only (rootless)
 *
 * With a new cgroup namespace a bind of the own directory looks like its root just the same
 * (cgroup_namespaces(7)), so v1 needs no mount of another kind.
 */
#include <errno.h>
#include <limits.h>
#include <string.h>

#include "rootfs/internal.h"

/* Where the mounts of the hierarchies go. */
struct cgroup_top {
    const char *target, *pointer;
    int root;          /* fd */
    const char *below; /* NULL: the fd is the top itself */
    bool own;          /* a tmpfs of the plan's: directories have to be made */
};

/* "memory" of "/sys/fs/cgroup/memory", NULL when it lies elsewhere. */
static const char *name_below(const char *root, const char *mountpoint)
{
    size_t len = root ? strlen(root) : 0;

    if (len == 0 || !str_starts(mountpoint, root) || mountpoint[len] != '/' ||
        mountpoint[len + 1] == '\0' || strchr(mountpoint + len + 1, '/'))
        return NULL;
    return mountpoint + len + 1;
}

/*
 * A MOUNT step for the whole. Below a sysfs that the plan has made "fs/cgroup" is the kernel's own
 * directory, so it needs no openat2 of its own.
 */
static struct op_mount *add_top(struct mounts *m, const char *pointer, const char *target)
{
    int cover = cover_find(&m->cover, target);
    const struct op_mount *on = cover >= 0 ? &m->plan->steps[cover].mount : NULL;
    bool on_sysfs = on && !m->cover.seen && str_eq(on->type, "sysfs") && !on->or_bind &&
                    str_eq(target + strlen(on->target), "/fs/cgroup");
    unsigned opened = m->opened;
    struct op_mount *op = &mounts_add(m, pointer, target)->mount;

    if (on_sysfs) {
        m->opened = opened;
        op->close_target = false;
        op->root = cover_slot(m->plan, cover);
        op->below = "fs/cgroup";
        op->make = false;
    }
    return op;
}

/*
 * The cgroup directories are made by the runtime lane, maybe beside this one. What is done to them
 * then is waited for as well: init's joins want it soon, and one wait is cheaper than two.
 */
static int last_make(const struct plan *p)
{
    int last = -1;

    for (size_t i = 0; i < p->n; i++)
        if (p->steps[i].op == OP_CGROUP_MAKE || p->steps[i].op == OP_CGROUP_SET ||
            p->steps[i].op == OP_DEVICE_RULES)
            last = (int)i;
    return last;
}

/* Controllers that share a hierarchy, "cpu,cpuacct", are reached by each of their names. */
static void add_aliases(struct plan *p, const struct cgroup_top *top, const char *name)
{
    for (const char *at = name; strchr(name, ',') && *at; at += strspn(at, ",")) {
        size_t len = strcspn(at, ",");
        struct step *st = plan_add(p, OP_SYMLINK, LANE_INIT, top->pointer);

        st->symlink.target = name;
        st->symlink.path = arena_format(p->arena, "%s/%s", top->target,
                                        arena_strndup(p->arena, at, len));
        st->symlink.dir = top->root;
        at += len;
    }
}

static void add_hierarchies(struct mounts *m, const struct cgroup_top *top)
{
    const struct rootfs_facts *f = m->facts;
    struct plan *p = m->plan;
    int after = last_make(p);

    for (size_t i = 0; i < f->n_cgroups; i++) {
        const char *name = name_below(f->cgroup_root, f->cgroups[i].mountpoint);
        struct step *st;

        if (!name)
            continue;
        st = plan_add(p, OP_MOUNT, LANE_INIT, top->pointer);
        st->after = after;
        after = -1; /* one wait is enough */
        st->mount.source = f->cgroups[i].path;
        st->mount.target = arena_format(p->arena, "%s/%s", top->target, name);
        st->mount.flags = MS_BIND;
        st->mount.root = top->root;
        st->mount.below = top->below ? arena_format(p->arena, "%s/%s", top->below, name) : name;
        st->mount.make = top->own;
        mounts_added(m);
        if (top->own)
            add_aliases(p, top, name);
    }
}

static void add_attr(struct mounts *m, const struct cgroup_top *top, uint64_t set,
                     uint64_t propagation, bool recursive)
{
    struct op_mount_attr *op;

    if (!set && !propagation)
        return;
    op = &plan_add(m->plan, OP_MOUNT_ATTR, LANE_INIT, top->pointer)->mount_attr;
    op->path = top->target;
    op->set = set;
    op->propagation = propagation & ~(uint64_t)MS_REC;
    op->recursive = recursive;
    op->root = top->root;
    op->below = top->below;
}

static int compile_v1(struct mounts *m, const char *pointer, const char *target,
                      const struct mount_options *o, struct err *e)
{
    uint64_t attr = options_attr_of(o->flags);
    uint64_t propagation = o->propagation;
    struct cgroup_top top = { .target = target,
                              .pointer = pointer,
                              .own = m->facts->no_host_rights };
    struct op_mount *op;

    if (o->data[0])
        return err_at(e, plan_pointer(m->plan, "%s/options", pointer), 0,
                      "'%s' is no option of a cgroup mount on this host: its hierarchies are bound",
                      o->data);
    if (!propagation && m->facts->host_shared)
        propagation = MS_PRIVATE; /* what the host mounts there is not for the container */
    else if (propagation & (MS_PRIVATE | MS_SLAVE) && !m->facts->host_shared)
        propagation = 0; /* nothing is shared */
    op = add_top(m, pointer, target);
    if (top.own) {
        /* The host's tmpfs cannot be bound without what is mounted on it (mount_namespaces(7)). */
        op->type = op->source = "tmpfs";
        op->flags = MS_NOSUID | MS_NODEV | MS_NOEXEC;
        op->data = "mode=755";
    } else {
        op->source = m->facts->cgroup_root;
        op->flags = MS_BIND;
        /* Before anything is mounted on it: the hierarchies must not appear on the host. */
        op->propagation = mounts_are_peers(m) ? MS_PRIVATE : 0;
    }
    if (top.own || !op->below)
        top.root = op->out = plan_slot(m->plan);
    else
        top.root = op->root, top.below = op->below;
    mounts_added(m);
    add_hierarchies(m, &top);
    /* The host's own tmpfs is not for the container to write to, whatever the options say. */
    if (!top.own && !(attr & MOUNT_ATTR_RDONLY))
        add_attr(m, &top, MOUNT_ATTR_RDONLY, 0, false);
    add_attr(m, &top, attr, propagation, true);
    return 0;
}

static void compile_v2(struct mounts *m, const char *pointer, const char *target,
                       const struct mount_options *o)
{
    const struct rootfs_facts *f = m->facts;
    int after = last_make(m->plan);
    struct op_mount *op = add_top(m, pointer, target);

    if (f->new_cgroup_ns) {
        op->type = "cgroup2";
        op->source = "cgroup";
        op->flags = o->flags;
        op->data = o->data[0] ? arena_strdup(m->plan->arena, o->data) : NULL;
        op->or_bind = f->no_host_rights ? f->cgroup_root : NULL;
    } else {
        op->source = f->cgroups[0].path;
        op->flags = MS_BIND;
        op->set = options_attr_of(o->flags);
        op->propagation = o->propagation ? o->propagation : mounts_are_peers(m) ? MS_PRIVATE : 0;
        m->plan->steps[m->plan->n - 1].after = after;
    }
    mounts_added(m);
}

/* Rootless without a cgroup of its own: what the host shows, and nothing of it writable. */
static void compile_host_tree(struct mounts *m, const char *pointer, const char *target,
                              const struct mount_options *o)
{
    struct op_mount *op = add_top(m, pointer, target);

    op->source = m->facts->cgroup_root;
    op->flags = MS_BIND | MS_REC;
    op->rec_set = options_attr_of(o->flags) | MOUNT_ATTR_RDONLY;
    op->propagation = o->propagation        ? o->propagation
                      : mounts_are_peers(m) ? MS_PRIVATE | MS_REC
                                            : 0;
    mounts_added(m);
}

int mounts_add_cgroup(struct mounts *m, const char *pointer, const char *target,
                      const struct mount_options *o, struct err *e)
{
    const struct rootfs_facts *f = m->facts;

    if (!f->cgroup_root)
        return err_at(e, pointer, ENODEV, "no cgroup hierarchy is mounted on the host");
    if (f->cgroup_unified && (f->new_cgroup_ns || f->n_cgroups > 0))
        compile_v2(m, pointer, target, o);
    else if (f->n_cgroups == 0)
        compile_host_tree(m, pointer, target, o);
    else
        return compile_v1(m, pointer, target, o, e);
    return 0;
}
