/* SPDX-License-Identifier: Apache-2.0 */
/*
 * linux.readonlyPaths, linux.maskedPaths, root.readonly. Pure.
 *
 * Read-only paths on a file system that the plan made: a bind inherits the flags of the mount it is
 * taken from (mount(2) "Creating a bind mount"), so that mount is made read-only, each path is
 * bound onto itself, and the mount is made writable again. One call for each path instead of three.
 */
#include <string.h>

#include "rootfs/internal.h"

/* Two calls to switch the mount, or one: worth it from two paths on. */
enum { MIN_GROUP = 2 };

/*
 * What the kernel has as a directory. Only a guess at what to try first, for a mount that fails
 * waits for an RCU grace period when it is undone; a wrong guess is put right by the step.
 */
static const char *const known_directories[] = {
    "/proc/acpi",    "/proc/asound",    "/proc/scsi",     "/proc/bus",
    "/sys/firmware", "/sys/fs/selinux", "/sys/dev/block", "/sys/devices/virtual/powercap",
};

static bool is_known_directory(const char *path)
{
    size_t len = strlen(path), tail = strlen("/thermal_throttle");

    for (size_t i = 0; i < COUNT_OF(known_directories); i++)
        if (str_eq(path, known_directories[i]))
            return true;
    /* One for each CPU: /sys/devices/system/cpu/cpu0/thermal_throttle. */
    return len > tail && str_eq(path + len - tail, "/thermal_throttle");
}

struct path { /* one entry of readonlyPaths */
    const char *path, *pointer;
    int slot;          /* of the file system that the plan made below it, or SLOT_NONE */
    const char *below; /* name there */
    bool done;
};

static void add_readonly(struct plan *p, int root_slot, struct path *path, bool inherits)
{
    struct op_readonly *op = &plan_add(p, OP_READONLY, LANE_INIT, path->pointer)->readonly;

    op->path = path->path;
    op->root = path->below ? path->slot : root_slot;
    op->below = path->below;
    op->inherits = inherits;
    path->done = true;
}

/* The step that fills a slot. */
static int mount_of(const struct plan *p, int slot)
{
    int i = plan_find(p, OP_MOUNT, 0);

    while (p->steps[i].mount.out != slot)
        i = plan_find(p, OP_MOUNT, (size_t)i + 1);
    return i;
}

/*
 * A new proc can be read-only from the beginning: nobody makes a file there, and each mount of it is
 * a file system of its own (Linux 5.8), so that the remount concerns no other. But a config that
 * mounts on a name of it which is not there shall be told so, and not of a read-only file system.
 */
static bool can_begin_readonly(const struct plan *p, int mount)
{
    const struct op_mount *op = &p->steps[mount].mount;
    size_t len = strlen(op->target);

    for (size_t i = (size_t)mount + 1; i < p->n; i++)
        if (p->steps[i].op == OP_MOUNT && str_starts(p->steps[i].mount.target, op->target) &&
            p->steps[i].mount.target[len] == '/')
            return false;
    return str_eq(op->type, "proc");
}

/* An entry of "mounts" with "remount" may be about any mount: what flags that has, is unknown. */
static bool has_remount(const struct plan *p)
{
    for (int i = plan_find(p, OP_MOUNT, 0); i >= 0; i = plan_find(p, OP_MOUNT, (size_t)i + 1))
        if (p->steps[i].mount.flags & MS_REMOUNT)
            return true;
    return false;
}

/*
 * mount(2) of it with MS_RDONLY has made both read-only: the mount and the file system. A remount
 * has no use for type and source.
 */
static void remount_writable(struct plan *p, int mount)
{
    struct op_mount begun = p->steps[mount].mount;
    struct op_mount *op = &plan_add(p, OP_MOUNT, LANE_INIT, "/linux/readonlyPaths")->mount;

    op->target = begun.target;
    op->flags = (begun.flags & ~(uint64_t)MS_RDONLY) | MS_REMOUNT;
    op->root = begun.out;
    op->below = ".";
}

static void switch_readonly(struct plan *p, int mount, bool on)
{
    const char *target = p->steps[mount].mount.target;
    int slot = p->steps[mount].mount.out;
    struct op_mount_attr *op =
        &plan_add(p, OP_MOUNT_ATTR, LANE_INIT, "/linux/readonlyPaths")->mount_attr;

    op->path = target;
    op->root = slot;
    *(on ? &op->set : &op->clear) = MOUNT_ATTR_RDONLY;
}

/* All paths on the same file system as paths[first], if that makes it cheaper. */
static void add_group(struct plan *p, int root_slot, struct path *paths, size_t n, size_t first)
{
    size_t members = 0;
    int mount;
    bool is_readonly, begins;

    for (size_t i = first; i < n; i++)
        members += paths[i].slot == paths[first].slot;
    mount = mount_of(p, paths[first].slot);
    is_readonly = (p->steps[mount].mount.flags & MS_RDONLY) != 0;
    if (!is_readonly && members < MIN_GROUP) {
        add_readonly(p, root_slot, &paths[first], false);
        return;
    }
    begins = !is_readonly && can_begin_readonly(p, mount);
    if (begins)
        p->steps[mount].mount.flags |= MS_RDONLY;
    else if (!is_readonly)
        switch_readonly(p, mount, true);
    for (size_t i = first; i < n; i++)
        if (paths[i].slot == paths[first].slot)
            add_readonly(p, root_slot, &paths[i], true);
    if (begins)
        remount_writable(p, mount);
    else if (!is_readonly)
        switch_readonly(p, mount, false);
}

/* The index of the entry that means the root, n: there is none. That is as root.readonly. */
static size_t readonly_root(const struct spec *s, struct arena *a)
{
    size_t i = 0;

    while (i < s->linux.readonly_paths.n &&
           !str_eq(path_clean(a, s->linux.readonly_paths.v[i]), "/"))
        i++;
    return i;
}

static void add_readonly_paths(struct plan *p, const struct spec *s, const struct cover *c,
                               int root_slot)
{
    size_t n = s->linux.readonly_paths.n;
    struct path *paths = arena_array(p->arena, n, sizeof *paths);
    bool alone = has_remount(p);

    for (size_t i = 0; i < n; i++) {
        paths[i].pointer = plan_pointer(p, "/linux/readonlyPaths/%zu", i);
        paths[i].path = path_clean(p->arena, s->linux.readonly_paths.v[i]);
        paths[i].slot = SLOT_NONE;
        paths[i].done = str_eq(paths[i].path, "/");
        if (!cover_fresh_child(c, p, paths[i].path, &paths[i].slot, &paths[i].below))
            paths[i].below = NULL;
    }
    for (size_t i = 0; i < n; i++) {
        if (paths[i].done)
            continue;
        if (paths[i].below && !alone)
            add_group(p, root_slot, paths, n, i);
        else
            add_readonly(p, root_slot, &paths[i], false);
    }
}

/* Slot of the directory in which the plan has made the container's own null device. */
static int null_slot(const struct plan *p, const struct cover *c)
{
    int dev = cover_at(c, "/dev"), device = plan_find(p, OP_DEVICE, 0);

    if (cover_at(c, "/dev/null") >= 0) /* the config mounts something of its own there */
        return SLOT_NONE;
    /* In a directory of the image the node could be anything by now (CVE-2025-31133). */
    for (; dev >= 0 && device >= 0; device = plan_find(p, OP_DEVICE, (size_t)device + 1)) {
        const struct op_device *op = &p->steps[device].device;

        if (str_eq(op->path, "/dev/null") && op->replace)
            return op->dir == p->steps[dev].mount.out ? op->dir : SLOT_NONE;
    }
    return SLOT_NONE;
}

/*
 * Names that every engine masks and that no supported kernel (5.14) has in its /proc any more:
 * timer_stats went in Linux 4.11, sched_debug to debugfs in 5.13.
 */
static bool is_gone(const struct cover *c, const char *path)
{
    static const char *const names[] = { "timer_stats", "sched_debug" };
    int step = cover_find(c, path);
    const struct op_mount *op = step >= 0 ? &c->plan->steps[step].mount : NULL;
    size_t len = op ? strlen(op->target) : 0;

    if (!op || !str_eq(op->type, "proc") || path[len] != '/')
        return false;
    for (size_t i = 0; i < COUNT_OF(names); i++)
        if (str_eq(path + len + 1, names[i]))
            return true;
    return false;
}

static void add_masks(struct plan *p, const struct spec *s, const struct cover *c, int root_slot)
{
    int null = null_slot(p, c);

    for (size_t i = 0; i < s->linux.masked_paths.n; i++) {
        const char *path = path_clean(p->arena, s->linux.masked_paths.v[i]);
        const char *below;
        struct op_mask *op;
        int slot;

        if (is_gone(c, path))
            continue;
        if (!cover_fresh_child(c, p, path, &slot, &below)) {
            slot = root_slot;
            below = NULL;
        }
        op = &plan_add(p, OP_MASK, LANE_INIT, plan_pointer(p, "/linux/maskedPaths/%zu", i))->mask;
        op->path = path;
        op->root = slot;
        op->below = below;
        op->null = null;
        op->directory = is_known_directory(path);
    }
}

static void add_readonly_root(struct plan *p, const struct spec *s, const char *pointer,
                              int root_slot)
{
    const char *cwd = s->process.cwd ? path_clean(p->arena, s->process.cwd) : "/";

    if (!str_eq(cwd, "/")) { /* the last chance to make it */
        struct step *st = plan_add(p, OP_DIRECTORY, LANE_INIT, "/process/cwd");

        st->directory.path = cwd;
        st->directory.root = root_slot;
        st->directory.out = plan_slot(p);
    }
    plan_add(p, OP_ROOT_READONLY, LANE_INIT, pointer)->root_readonly.root = root_slot;
}

int rootfs_compile_paths(struct plan *p, const struct spec *s, const struct rootfs_facts *f,
                         int root_slot, struct err *e)
{
    struct cover c;

    cover_init(&c, p, s, 0);
    add_readonly_paths(p, s, &c, root_slot);
    add_masks(p, s, &c, root_slot);
    return mounts_add_deferred(p, s, f, root_slot, e);
}

void rootfs_compile_readonly(struct plan *p, const struct spec *s, int root_slot)
{
    size_t entry = readonly_root(s, p->arena);

    if (s->root.readonly)
        add_readonly_root(p, s, "/root/readonly", root_slot);
    else if (entry < s->linux.readonly_paths.n)
        add_readonly_root(p, s, plan_pointer(p, "/linux/readonlyPaths/%zu", entry), root_slot);
}
