/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Device nodes and symlinks below /dev: runtime-spec config-linux.md "Default Devices" and
 * "Devices", runtime-linux.md "Dev symbolic links". Pure.
 */
#include <string.h>
#include <sys/stat.h>
#include <sys/sysmacros.h>

#include "rootfs/internal.h"

static const struct {
    const char *path;
    unsigned major, minor;
} default_devices[] = {
    { "/dev/null", 1, 3 },   { "/dev/zero", 1, 5 },    { "/dev/full", 1, 7 },
    { "/dev/random", 1, 8 }, { "/dev/urandom", 1, 9 }, { "/dev/tty", 5, 0 },
};

static const struct {
    const char *path, *target;
    bool needs_proc;
} symlinks[] = {
    { "/dev/ptmx", "pts/ptmx", false },         { "/dev/fd", "/proc/self/fd", true },
    { "/dev/stdin", "/proc/self/fd/0", true },  { "/dev/stdout", "/proc/self/fd/1", true },
    { "/dev/stderr", "/proc/self/fd/2", true },
};

struct devices {
    struct plan *plan;
    const struct rootfs_facts *facts;
    struct cover cover;
    int root_slot;
    const char *last_dir; /* of a directory that a step opened */
    int last_slot;
};

/* Slot of the directory that a device lies in: the plan's own tmpfs, or one opened in the image. */
static int directory_of(struct devices *d, const char *path, const char *pointer)
{
    const char *name, *dir;
    struct step *st;
    int slot;

    if (cover_fresh_child(&d->cover, d->plan, path, &slot, &name))
        return slot;
    dir = arena_strndup(d->plan->arena, path, (size_t)(strrchr(path, '/') - path));
    if (dir[0] == '\0')
        dir = "/";
    if (str_eq(dir, d->last_dir))
        return d->last_slot;
    st = plan_add(d->plan, OP_DIRECTORY, LANE_INIT, pointer);
    st->directory.path = dir;
    st->directory.root = d->root_slot;
    st->directory.out = plan_slot(d->plan);
    d->last_dir = dir;
    d->last_slot = st->directory.out;
    return d->last_slot;
}

/* On a file system of the plan's own, where nobody else can be. */
static bool is_own_child(struct devices *d, const char *path)
{
    const char *name;
    int slot;

    return cover_fresh_child(&d->cover, d->plan, path, &slot, &name);
}

static struct op_device *add_device(struct devices *d, const char *path, const char *pointer)
{
    bool own = is_own_child(d, path);
    int dir = directory_of(d, path, pointer);
    struct op_device *op = &plan_add(d->plan, OP_DEVICE, LANE_INIT, pointer)->device;

    op->path = path;
    op->dir = dir;
    op->bind = d->facts->no_host_rights;
    op->verify = !own;
    return op;
}

static int type_bits(enum spec_device_type type)
{
    switch (type) {
    case SPEC_DEVICE_BLOCK:
        return S_IFBLK;
    case SPEC_DEVICE_FIFO:
        return S_IFIFO;
    case SPEC_DEVICE_CHAR:
    case SPEC_DEVICE_UNBUFFERED:
    case SPEC_DEVICE_ALL:
        break;
    }
    return S_IFCHR;
}

static int add_spec_device(struct devices *d, const struct spec_device *sd, const char *pointer,
                           bool only, struct err *e)
{
    const char *path = clean_in_root(d->plan->arena, sd->path);
    struct op_device *op;

    if (str_eq(path, "/"))
        return err_at(e, pointer, 0, "'%s' is no path for a device", sd->path);
    if (str_eq(path, "/dev/ptmx")) /* belongs to the container's own devpts */
        return 0;
    op = add_device(d, path, pointer);
    op->mode = (uint32_t)type_bits(sd->type) | (sd->file_mode.set ? sd->file_mode.v & 07777 : 0666);
    op->dev = sd->type == SPEC_DEVICE_FIFO ? 0 : makedev((unsigned)sd->major, (unsigned)sd->minor);
    op->uid = sd->uid.set ? sd->uid.v : 0;
    op->gid = sd->gid.set ? sd->gid.v : 0;
    /* A FIFO needs no privilege, and the host has none to bind. */
    op->bind = d->facts->no_host_rights && sd->type != SPEC_DEVICE_FIFO;
    op->only = only;
    return 0;
}

static bool is_in_spec(struct devices *d, const struct spec *s, const char *path)
{
    for (size_t i = 0; i < s->linux.n_devices; i++)
        if (str_eq(clean_in_root(d->plan->arena, s->linux.devices[i].path), path))
            return true;
    return false;
}

/*
 * The host's /dev as a whole brings its own nodes, and making ours would write to the host. Devices
 * of the config must be among them then.
 */
static bool dev_is_bound(struct plan *p, const struct spec *s)
{
    for (size_t i = 0; i < s->n_mounts; i++) {
        const struct spec_mount *m = &s->mounts[i];
        struct mount_options o;

        if (str_eq(clean_in_root(p->arena, m->destination), "/dev") &&
            options_parse(m, &o, NULL) == 0 && o.bind)
            return true;
    }
    return false;
}

static void add_symlinks(struct devices *d)
{
    int proc = cover_at(&d->cover, "/proc");

    for (size_t i = 0; i < COUNT_OF(symlinks); i++) {
        struct op_symlink *op;
        int dir;

        if (symlinks[i].needs_proc && proc < 0)
            continue;
        dir = directory_of(d, symlinks[i].path, "");
        op = &plan_add(d->plan, OP_SYMLINK, LANE_INIT, "")->symlink;
        op->target = symlinks[i].target;
        op->path = symlinks[i].path;
        op->dir = dir;
    }
}

static int add_spec_devices(struct devices *d, const struct spec *s, bool dev_bound, struct err *e)
{
    for (size_t i = 0; i < s->linux.n_devices; i++) {
        const char *path = clean_in_root(d->plan->arena, s->linux.devices[i].path);
        int r = add_spec_device(d, &s->linux.devices[i],
                                plan_pointer(d->plan, "/linux/devices/%zu", i),
                                dev_bound && str_starts(path, "/dev/"), e);

        if (r < 0)
            return r;
    }
    return 0;
}

int rootfs_compile_devices(struct plan *p, const struct spec *s, const struct rootfs_facts *f,
                           int root_slot, struct err *e)
{
    struct devices d = { .plan = p, .facts = f, .root_slot = root_slot, .last_slot = SLOT_NONE };
    int r;

    cover_init(&d.cover, p, s, 0);
    if (dev_is_bound(p, s))
        return add_spec_devices(&d, s, true, e);
    for (size_t i = 0; i < COUNT_OF(default_devices); i++) {
        struct op_device *op;

        if (is_in_spec(&d, s, default_devices[i].path))
            continue;
        op = add_device(&d, default_devices[i].path, "");
        op->mode = S_IFCHR | 0666;
        op->dev = makedev(default_devices[i].major, default_devices[i].minor);
        op->replace = true;
    }
    r = add_spec_devices(&d, s, false, e);
    if (r < 0)
        return r;
    add_symlinks(&d);
    return 0;
}
