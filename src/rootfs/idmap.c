/* SPDX-License-Identifier: Apache-2.0 */
/*
 * idmapped mounts: runtime-spec config.md "idmap", "ridmap", uidMappings and gidMappings of a mount;
 * mount_setattr(2) "ID-mapped mounts".
 *
 * The kernel takes the ids from a user namespace, and maps a mount only while nobody has seen it: the
 * detached tree of a bind source. Both are the runtime's, for it wants CAP_SYS_ADMIN over the file
 * system and over the namespace, which init in a user namespace does not have.
 *
 *   the ids are                     | namespace                              | when
 *   the mount's own                 | of a process that does nothing else    | before the clone
 *   those of a namespace by path    | that one                               | before the clone
 *   the container's, by either way  | init's                                 | when its maps are written
 */
#include <errno.h>
#include <linux/magic.h>
#include <sched.h>
#include <signal.h>
#include <string.h>
#include <sys/stat.h>
#include <sys/vfs.h>
#include <sys/wait.h>
#include <unistd.h>

#include "rootfs/internal.h"

/* ---- compile ------------------------------------------------------------------------------- */

static bool same_maps(const struct spec_id_maps *one, const struct spec_id_maps *other)
{
    for (size_t i = 0; i < one->n && one->n == other->n; i++)
        if (one->v[i].container_id != other->v[i].container_id ||
            one->v[i].host_id != other->v[i].host_id || one->v[i].size != other->v[i].size)
            return false;
    return one->n == other->n;
}

static bool has_new_user_ns(const struct spec *s)
{
    const struct spec_namespace *user = spec_namespace_of(s, SPEC_NS_USER);

    return user && !user->path;
}

/* Are the ids those of the user namespace that init's clone makes? */
static bool takes_inits(const struct spec *s, const struct spec_mount *m)
{
    return has_new_user_ns(s) &&
           (!m->uid_mappings.n || (same_maps(&m->uid_mappings, &s->linux.uid_mappings) &&
                                   same_maps(&m->gid_mappings, &s->linux.gid_mappings)));
}

/* Mounts with equal ids share a namespace. uid_map NULL: init's. -1: none is in the plan yet. */
static int known_namespace(const struct plan *p, const char *uid_map, const char *gid_map)
{
    for (int i = plan_find(p, OP_IDMAP_NS, 0); i >= 0; i = plan_find(p, OP_IDMAP_NS, (size_t)i + 1))
        if (str_eq(p->steps[i].idmap_ns.uid_map, uid_map) &&
            str_eq(p->steps[i].idmap_ns.gid_map, gid_map))
            return p->steps[i].idmap_ns.out;
    return SLOT_NONE;
}

static int add_namespace(struct plan *p, const struct spec_mount *m, int pid_slot,
                         const char *pointer)
{
    const char *uid_map = NULL, *gid_map = NULL;
    struct op_idmap_ns *op;
    int slot;

    if (pid_slot == SLOT_NONE) {
        uid_map = spec_id_map_text(p->arena, &m->uid_mappings);
        gid_map = spec_id_map_text(p->arena, &m->gid_mappings);
    }
    slot = known_namespace(p, uid_map, gid_map);
    if (slot != SLOT_NONE)
        return slot;
    slot = plan_slot(p);
    op = &plan_add(p, OP_IDMAP_NS, LANE_RUNTIME, pointer)->idmap_ns;
    op->uid_map = uid_map;
    op->gid_map = gid_map;
    op->pid = pid_slot;
    op->out = slot;
    return slot;
}

/* Of the step that opens a user namespace given by path; namespaces/ adds it. */
static int joined_namespace(const struct plan *p)
{
    for (int i = plan_find(p, OP_NS_OPEN, 0); i >= 0; i = plan_find(p, OP_NS_OPEN, (size_t)i + 1))
        if (p->steps[i].ns_open.type == CLONE_NEWUSER)
            return p->steps[i].ns_open.out;
    return SLOT_NONE;
}

static const struct op_root_open *source_of(const struct plan *p, const char *pointer)
{
    int i = plan_find(p, OP_ROOT_OPEN, 0);

    while (i >= 0 && !str_eq(p->steps[i].pointer, pointer))
        i = plan_find(p, OP_ROOT_OPEN, (size_t)i + 1);
    return i >= 0 ? &p->steps[i].root_open : NULL;
}

static int add_idmap(struct plan *p, const struct spec_mount *m, int pid_slot, const char *pointer,
                     struct err *e)
{
    struct mount_options o;
    int in = m->uid_mappings.n || pid_slot != SLOT_NONE ? add_namespace(p, m, pid_slot, pointer)
                                                        : joined_namespace(p);
    const struct op_root_open *source = source_of(p, pointer);
    struct op_root_open opened;
    struct op_mount_idmap *op;
    int r = options_parse(m, &o, e);

    if (r < 0)
        return r;
    if (in == SLOT_NONE)
        return err_at(e, pointer, 0,
                      "idmap needs mappings: the mount has none, and the user namespace of the "
                      "container is the runtime's own");
    if (!source) {
        r = err_at(e, pointer, EPERM, "an ordinary user cannot map the ids of a mount");
        err_hint(e, "mount_setattr(2) wants CAP_SYS_ADMIN over the file system of '%s'", m->source);
        return r;
    }
    opened = *source;
    op = &plan_add(p, OP_MOUNT_IDMAP, LANE_RUNTIME, pointer)->mount_idmap;
    op->path = opened.path;
    op->tree = opened.out;
    op->in = in;
    op->recursive = o.rec_idmap;
    return 0;
}

int rootfs_compile_idmaps(struct plan *p, const struct spec *s, const struct rootfs_facts *f,
                          int pid_slot, struct err *e)
{
    for (size_t i = 0; i < s->n_mounts; i++) {
        const struct spec_mount *m = &s->mounts[i];
        int r;

        if (!rootfs_is_idmapped(m) || (i < f->n_sources && f->sources[i] == SOURCE_LINK) ||
            takes_inits(s, m) != (pid_slot != SLOT_NONE))
            continue;
        r = add_idmap(p, m, pid_slot, plan_pointer(p, "/mounts/%zu", i), e);
        if (r < 0)
            return r;
    }
    return 0;
}

int rootfs_compile_idmapped_source(struct plan *p, const struct spec *s, size_t mount,
                                   const char *path, int *out, struct err *e)
{
    struct spec_mount m = s->mounts[mount];
    const char *pointer = plan_pointer(p, "/mounts/%zu", mount);
    struct mount_options o;
    struct step *st;
    int r = options_parse(&m, &o, e);

    if (r < 0)
        return r;
    if (!m.uid_mappings.n && has_new_user_ns(s)) {
        m.uid_mappings = s->linux.uid_mappings;
        m.gid_mappings = s->linux.gid_mappings;
    }
    st = plan_add(p, OP_ROOT_OPEN, LANE_RUNTIME, pointer);
    st->root_open.path = path;
    st->root_open.recursive = (o.flags & MS_REC) != 0;
    st->root_open.propagation = MS_PRIVATE | MS_REC; /* else it is a peer of the host's */
    *out = st->root_open.out = plan_slot(p);
    return add_idmap(p, &m, SLOT_NONE, pointer, e);
}

/* ---- steps --------------------------------------------------------------------------------- */

/*
 * It has nothing to do but to be there: the read ends when the runtime closes the pipe, or dies. What
 * else it shares with the runtime are copies of its fds.
 */
static _Noreturn void wait_for_end(int ends[2])
{
    char byte;

    close(ends[1]);
    while (read(ends[0], &byte, 1) < 0 && errno == EINTR)
        continue;
    _exit(0);
}

static int write_map(pid_t pid, const char *name, const char *text, struct err *e)
{
    char path[64];
    int r;

    base_format(path, sizeof path, "/proc/%d/%s", pid, name);
    r = file_write_once(AT_FDCWD, path, text, strlen(text));
    return r < 0 ? err_set(e, -r, "cannot write the %s for the ids of a mount", name) : 0;
}

static int open_user_ns(pid_t pid, struct err *e)
{
    char path[64];
    int fd;

    base_format(path, sizeof path, "/proc/%d/ns/user", pid);
    fd = openat(AT_FDCWD, path, O_RDONLY | O_CLOEXEC);
    return fd < 0 ? err_set(e, errno, "cannot open the user namespace for the ids of a mount") : fd;
}

static pid_t make_holder(int ends[2], struct err *e)
{
    struct clone_args args = { .flags = CLONE_NEWUSER, .exit_signal = SIGCHLD };
    pid_t pid = sys_clone3(&args, sizeof args);

    if (pid == 0)
        wait_for_end(ends);
    if (pid < 0) {
        pid = err_set(e, errno, "cannot make a user namespace for the ids of a mount: clone3");
        if (pid == -ENOSPC)
            err_hint(e, "a limit in /proc/sys/user is reached");
    }
    return pid;
}

/* The namespace outlives the process by the fd. */
static int make_user_ns(const struct op_idmap_ns *op, struct err *e)
{
    int ends[2], r;
    pid_t pid;

    if (pipe2(ends, O_CLOEXEC) < 0)
        return err_set(e, errno, "cannot make a pipe");
    pid = make_holder(ends, e);
    close(ends[0]);
    r = pid < 0 ? (int)pid : write_map(pid, "gid_map", op->gid_map, e);
    if (r == 0)
        r = write_map(pid, "uid_map", op->uid_map, e);
    if (r == 0)
        r = open_user_ns(pid, e);
    close(ends[1]);
    while (pid > 0 && waitpid(pid, NULL, 0) < 0 && errno == EINTR)
        continue;
    return r;
}

int step_idmap_ns(const struct op_idmap_ns *op, struct slots *slots, struct err *e)
{
    int r = op->pid == SLOT_NONE ? make_user_ns(op, e) : open_user_ns(slots->value[op->pid], e);

    if (r < 0)
        return r;
    slots->value[op->out] = r;
    return 0;
}

/* Of what people bind and the kernel cannot map, or could not in 5.14. */
static const char *file_system_name(int fd, char buf[32])
{
    static const struct {
        unsigned long magic;
        const char *name;
    } names[] = {
        { PROC_SUPER_MAGIC, "proc" },
        { SYSFS_MAGIC, "sysfs" },
        { TMPFS_MAGIC, "tmpfs" },
        { RAMFS_MAGIC, "ramfs" },
        { OVERLAYFS_SUPER_MAGIC, "overlay" },
        { CGROUP_SUPER_MAGIC, "cgroup" },
        { NFS_SUPER_MAGIC, "nfs" },
        { CGROUP2_SUPER_MAGIC, "cgroup2" },
        { V9FS_MAGIC, "9p" },
        { DEVPTS_SUPER_MAGIC, "devpts" },
        { FUSE_SUPER_MAGIC, "fuse" },
        { EXT4_SUPER_MAGIC, "ext4" },
        { XFS_SUPER_MAGIC, "xfs" },
        { BTRFS_SUPER_MAGIC, "btrfs" },
        { MSDOS_SUPER_MAGIC, "vfat" },
        { SQUASHFS_MAGIC, "squashfs" },
    };
    struct statfs fs;

    if (fstatfs(fd, &fs) < 0)
        return "unknown";
    for (size_t i = 0; i < COUNT_OF(names); i++)
        if ((unsigned long)fs.f_type == names[i].magic)
            return names[i].name;
    base_format(buf, 32, "0x%lx", (unsigned long)fs.f_type);
    return buf;
}

int step_mount_idmap(const struct op_mount_idmap *op, struct slots *slots, struct err *e)
{
    int tree = slots->value[op->tree], r;
    struct mount_attr attr = { .attr_set = MOUNT_ATTR_IDMAP,
                               .userns_fd = (uint64_t)slots->value[op->in] };
    char name[32];

    if (sys_mount_setattr(tree, "", AT_EMPTY_PATH | (op->recursive ? AT_RECURSIVE : 0), &attr) == 0)
        return 0;
    r = err_set(e, errno, "cannot map the ids of '%s'", op->path);
    if (r == -EINVAL)
        err_hint(e, "this kernel cannot do it for the file system %s%s",
                 file_system_name(tree, name),
                 op->recursive ? ", or for one that is mounted below it" : "");
    else if (r == -EPERM)
        err_hint(e, "is that a mount with mapped ids already, or of a file system that belongs to "
                    "another user namespace?");
    return r;
}
