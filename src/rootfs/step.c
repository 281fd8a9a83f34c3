/* SPDX-License-Identifier: Apache-2.0 */
/* Executes the steps of this room. Everything here is child-safe. */
#include <errno.h>
#include <limits.h>
#include <string.h>
#include <unistd.h>

#include "rootfs/internal.h"

int step_root_open(const struct op_root_open *op, struct slots *slots, struct err *e)
{
    unsigned flags = OPEN_TREE_CLONE | OPEN_TREE_CLOEXEC | (op->recursive ? AT_RECURSIVE : 0);
    struct mount_attr attr = { .propagation = op->propagation & ~(uint64_t)MS_REC };
    char path[PATH_MAX];
    AUTO_FD int fd = -1;

    /* A slash at the end makes the kernel insist on a directory. */
    if (base_format(path, sizeof path, "%s%s", op->path, op->directory ? "/" : "") >= sizeof path)
        return err_set(e, ENAMETOOLONG, "cannot open '%s'", op->path);
    fd = sys_open_tree(AT_FDCWD, path, flags);
    if (fd < 0)
        return err_set(e, errno, "cannot open '%s' as a mount", op->path);
    if (op->propagation && sys_mount_setattr(fd, "", AT_EMPTY_PATH | AT_RECURSIVE, &attr) < 0)
        return err_set(e, errno, "cannot set the propagation of '%s'", op->path);
    slots->value[op->out] = take_fd(&fd);
    return 0;
}

static int step_root_propagation(const struct op_root_propagation *op, struct err *e)
{
    if (mount(NULL, op->path, NULL, op->flags, NULL) < 0)
        return err_set(e, errno, "cannot cut the propagation of mounts at '%s'", op->path);
    return 0;
}

/*
 * A mount onto itself: pivot_root(2) wants a mount, and init's own namespace shall own it. The
 * directory is held, so that one swapped in meanwhile is not the root; ".." of it, as of the root of
 * a walk, is what lies on it.
 */
static int bind_root(const char *path, int *out, struct err *e)
{
    AUTO_FD int below = openat(AT_FDCWD, path, O_PATH | O_DIRECTORY | O_CLOEXEC);
    char held[FD_PATH_SIZE];
    int fd;

    if (below < 0)
        return err_set(e, errno, "cannot open the root filesystem '%s'", path);
    fd_path(held, below, NULL);
    if (mount(held, held, NULL, MS_BIND | MS_REC, NULL) < 0)
        return err_set(e, errno, "cannot bind the root filesystem '%s'", path);
    fd = root_open(below, "..", O_PATH | O_DIRECTORY, 0);
    if (fd < 0)
        return err_set(e, -fd, "cannot open the root filesystem '%s'", path);
    *out = fd;
    return 0;
}

static int attach(int tree, const char *at)
{
    return sys_move_mount(tree, "", AT_FDCWD, at, MOVE_MOUNT_F_EMPTY_PATH);
}

/*
 * Over "/" it hides nothing from this process: its own root still is the mount below, so host paths
 * go on working until the pivot.
 */
int step_root_attach(const struct op_root_attach *op, struct slots *slots, struct err *e)
{
    if (op->path)
        return bind_root(op->path, &slots->value[op->root], e);
    if (attach(slots->value[op->root], op->at) == 0)
        return 0;
    /* Root of a user namespace may not search every directory of the host; "/" is always there. */
    if (errno == EACCES && attach(slots->value[op->root], "/") == 0)
        return 0;
    return err_set(e, errno, "cannot attach the root filesystem");
}

static int step_directory(const struct op_directory *op, struct slots *slots, struct err *e)
{
    int fd = root_mkdirs(slots->value[op->root], op->path, 0755);

    if (fd < 0)
        return err_set(e, -fd, "cannot make the directory '%s' in the root filesystem", op->path);
    slots->value[op->out] = fd;
    return 0;
}

static int step_root_readonly(const struct op_root_readonly *op, struct slots *slots, struct err *e)
{
    struct mount_attr attr = { .attr_set = MOUNT_ATTR_RDONLY };

    if (sys_mount_setattr(slots->value[op->root], "", AT_EMPTY_PATH, &attr) < 0)
        return err_set(e, errno, "cannot make the root filesystem read-only");
    return 0;
}

/*
 * Mounts of the old root that are peers of the host's would be unmounted there too; as slaves they
 * go alone. The fd is needed because after the pivot nothing but ".." of "/" leads to that mount.
 */
static int make_slave(int old_root, struct err *e)
{
    struct mount_attr attr = { .propagation = MS_SLAVE };

    if (sys_mount_setattr(old_root, "", AT_EMPTY_PATH | AT_RECURSIVE, &attr) < 0)
        return err_set(e, errno, "cannot cut the propagation of the host's mounts");
    return 0;
}

/*
 * Is anything mounted on the root directory? ".." of it stays there and then steps onto such a
 * mount, which RESOLVE_NO_XDEV forbids.
 */
static int is_covered(struct err *e)
{
    struct open_how how = { .flags = O_PATH | O_CLOEXEC, .resolve = RESOLVE_NO_XDEV };
    int fd = sys_openat2(AT_FDCWD, "..", &how); /* exec closes it */

    if (fd >= 0)
        return 0;
    return errno == EXDEV ? 1 : err_set(e, errno, "cannot look at the root filesystem");
}

/*
 * The old root lies on top of the new one. What was mounted over "/" before the pivot, by the host
 * or by an entry of "mounts", still lies on the old root and is what umount2 meets first; stopping
 * there would leave the whole host to the container.
 */
static int detach_old_root(bool covered, struct err *e)
{
    int r = 1;

    while (r == 1) {
        if (umount2(".", MNT_DETACH) < 0)
            return err_set(e, errno, "cannot detach the old root filesystem");
        r = covered ? is_covered(e) : 0;
    }
    return r;
}

int step_pivot(const struct op_pivot *op, struct slots *slots, struct err *e)
{
    AUTO_FD int old_root = -1;
    int r;

    if (op->old_shared) {
        old_root = openat(AT_FDCWD, "/", O_PATH | O_DIRECTORY | O_CLOEXEC);
        if (old_root < 0)
            return err_set(e, errno, "cannot open '/'");
    }
    if (fchdir(slots->value[op->root]) < 0)
        return err_set(e, errno, "cannot enter the root filesystem");
    /* pivot_root(2) "NOTES": with both the same the old root ends up on top of the new one. */
    if (sys_pivot_root(".", ".") < 0) {
        r = err_set(e, errno, "cannot pivot_root into the root filesystem");
        if (r == -EINVAL)
            err_hint(
                e,
                "the caller's '/' may be an initramfs or a chroot, or its parent a shared mount");
        return r;
    }
    r = op->old_shared ? make_slave(old_root, e) : 0;
    if (r == 0)
        r = detach_old_root(op->covered, e);
    if (r < 0)
        return r;
    if (op->propagation && mount(NULL, "/", NULL, op->propagation, NULL) < 0)
        return err_set(e, errno, "cannot set the propagation of the root filesystem");
    return 0;
}

/*
 * The host's mounts stay in the namespace, hidden below the new root. A procfs or sysfs among them
 * that nothing covers would allow a user namespace inside the container to mount another one
 * (mount_too_revealing() in fs/namespace.c), without the masks.
 *
 * An unmount would reach the host where the mount above is a peer of the host's (shared), and is
 * refused where a user namespace has locked it (EINVAL): such a one is covered. A path that is gone
 * with another mount, or was never in a namespace that was joined, needs neither.
 */
static int hide_kernel_mount(const char *path, bool shared, struct err *e)
{
    if (!shared && umount2(path, MNT_DETACH) == 0)
        return 0;
    if (!shared && errno != EINVAL && errno != EPERM && errno != ENOENT)
        return err_set(e, errno, "cannot detach the host's '%s'", path);
    if (shared && mount(NULL, path, NULL, MS_PRIVATE, NULL) < 0 && errno != EINVAL &&
        errno != ENOENT)
        return err_set(e, errno, "cannot cut the propagation of mounts at '%s'", path);
    if (mount("tmpfs", path, "tmpfs", MS_RDONLY, "nr_blocks=1,nr_inodes=1") < 0 && errno != ENOENT)
        return err_set(e, errno, "cannot cover the host's '%s'", path);
    return 0;
}

/*
 * As switch_root(8) does it. The new root then lies over "/", so ".." beyond it leads back to it,
 * and chroot(2) makes it this process's; until then "/" is the host's.
 */
static int step_move_root(const struct op_move_root *op, struct slots *slots, struct err *e)
{
    int r = 0;

    if (fchdir(slots->value[op->root]) < 0)
        return err_set(e, errno, "cannot enter the root filesystem");
    /* A mount on a peer of the host's "/" would lie there too. What was bound stays a peer. */
    if (op->old_shared && mount(NULL, "/", NULL, MS_PRIVATE, NULL) < 0)
        return err_set(e, errno, "cannot cut the propagation of mounts at '/'");
    if (op->move && mount(".", "/", NULL, MS_MOVE, NULL) < 0)
        return err_set(e, errno, "cannot move the root filesystem to '/'");
    for (const char *const *path = op->hide; r == 0 && *path; path++)
        r = hide_kernel_mount(*path, op->old_shared, e);
    if (r < 0)
        return r;
    if (chroot(".") < 0)
        return err_set(e, errno, "cannot change the root directory");
    if (op->propagation && mount(NULL, "/", NULL, op->propagation, NULL) < 0)
        return err_set(e, errno, "cannot set the propagation of the root filesystem");
    return 0;
}

/*
 * The image's author controls every symlink of the path, and fds of the host are still open here:
 * root_open refuses magic links, so the result lies below "/" whatever the path says. The working
 * directory is "/" since the pivot, or since the mount namespace was joined (setns(2)).
 */
static int step_chdir(const char *path, bool make, struct err *e)
{
    AUTO_FD int fd = root_open(AT_FDCWD, path, O_PATH | O_DIRECTORY, 0);

    if (fd == -ENOENT && make)
        fd = root_mkdirs(AT_FDCWD, path, 0755);
    if (fd < 0 || fchdir(fd) < 0)
        return err_set(e, fd < 0 ? -fd : errno, "chdir to cwd (\"%s\") set in config.json failed",
                       path);
    return 0;
}

int rootfs_step(const struct step *st, struct slots *slots, struct err *e)
{
    switch ((int)st->op) { /* as int: the other operations are other rooms' */
    case OP_ROOT_OPEN:
        return step_root_open(&st->root_open, slots, e);
    case OP_IDMAP_NS:
        return step_idmap_ns(&st->idmap_ns, slots, e);
    case OP_MOUNT_IDMAP:
        return step_mount_idmap(&st->mount_idmap, slots, e);
    case OP_ROOT_PROPAGATION:
        return step_root_propagation(&st->root_propagation, e);
    case OP_ROOT_ATTACH:
        return step_root_attach(&st->root_attach, slots, e);
    case OP_MOUNT:
        return step_mount(&st->mount, slots, e);
    case OP_MOUNT_ATTR:
        return step_mount_attr(&st->mount_attr, slots, e);
    case OP_DIRECTORY:
        return step_directory(&st->directory, slots, e);
    case OP_DEVICE:
        return step_device(&st->device, slots, e);
    case OP_SYMLINK:
        return step_symlink(&st->symlink, slots, e);
    case OP_MASK:
        return step_mask(&st->mask, slots, e);
    case OP_READONLY:
        return step_readonly(&st->readonly, slots, e);
    case OP_ROOT_READONLY:
        return step_root_readonly(&st->root_readonly, slots, e);
    case OP_PIVOT:
        return step_pivot(&st->pivot, slots, e);
    case OP_MOVE_ROOT:
        return step_move_root(&st->move_root, slots, e);
    case OP_CHDIR:
        return step_chdir(st->chdir.path, true, e);
    case OP_CWD:
        return step_chdir(st->cwd.path, false, e);
    default:
        return err_set(e, ENOSYS, "'%s' is no step of rootfs", plan_op_name(st->op));
    }
}
