/* SPDX-License-Identifier: Apache-2.0 */
/* Executes device nodes, symlinks, masks and read-only paths. Child-safe. */
#include <errno.h>
#include <linux/stat.h>
#include <limits.h>
#include <string.h>
#include <sys/stat.h>
#include <sys/sysmacros.h>
#include <unistd.h>

#include "rootfs/internal.h"

static const char *last_name(const char *path)
{
    return strrchr(path, '/') + 1;
}

static bool is_device(const struct op_device *op, const struct stat *st)
{
    return (st->st_mode & S_IFMT) == (op->mode & S_IFMT) &&
           ((op->mode & S_IFMT) == S_IFIFO || st->st_rdev == op->dev);
}

static bool same_device(const struct op_device *op, int dir)
{
    struct stat st;

    return fstatat(dir, last_name(op->path), &st, AT_SYMLINK_NOFOLLOW) == 0 && is_device(op, &st);
}

static int make_node(const struct op_device *op, int dir)
{
    return mknodat(dir, last_name(op->path), op->mode, op->dev) < 0 ? -errno : 0;
}

/*
 * In a directory that others may write to (a volume) the node that was made can be another file by
 * now: what is held is looked at, and gets its owner by the fd.
 */
static int settle_node(const struct op_device *op, int dir, struct err *e)
{
    struct stat st;
    AUTO_FD int fd = -1;

    if (!op->verify && !op->uid && !op->gid)
        return 0;
    fd = openat(dir, last_name(op->path), O_PATH | O_NOFOLLOW | O_CLOEXEC);
    if (fd < 0 || fstat(fd, &st) < 0)
        return err_set(e, errno, "cannot open the device '%s'", op->path);
    if (!is_device(op, &st))
        return err_set(e, EEXIST, "cannot make the device '%s': somebody replaced it", op->path);
    if ((op->uid || op->gid) && fchownat(fd, "", (uid_t)op->uid, (gid_t)op->gid, AT_EMPTY_PATH) < 0)
        return err_set(e, errno, "cannot give the device '%s' to %lld:%lld", op->path,
                       (long long)op->uid, (long long)op->gid);
    return 0;
}

static int another_file(const struct op_device *op, struct err *e)
{
    return err_set(e, EEXIST, "cannot make the device '%s': another file is there", op->path);
}

/*
 * The image may bring anything under the name (runtime-spec config-linux.md "Devices": an existing
 * file that does not match is an error). A default device takes its place; EBUSY tells that the
 * config itself mounted something there, which then stays.
 */
static int existing_node(const struct op_device *op, int dir, struct err *e)
{
    int r;

    if (same_device(op, dir))
        return 0;
    if (!op->replace)
        return another_file(op, e);
    if (unlinkat(dir, last_name(op->path), 0) < 0)
        return errno == EBUSY ? 0 : err_set(e, errno, "cannot replace '%s' by a device", op->path);
    r = make_node(op, dir);
    return r < 0 ? err_set(e, -r, "cannot make the device '%s'", op->path)
                 : settle_node(op, dir, e);
}

/*
 * The place for a bind, held: an empty file, which an earlier start may have left in the image, or
 * that very device. Anything else is the image's: a symlink would carry the device elsewhere.
 * -EBUSY: the config mounted something there.
 */
static int open_bind_place(const struct op_device *op, int dir, struct stat *st, struct err *e)
{
    int fd;

    if (mknodat(dir, last_name(op->path), S_IFREG | 0666, 0) < 0 && errno != EEXIST)
        return err_set(e, errno, "cannot make the mount target '%s' in the root filesystem",
                       op->path);
    fd = openat(dir, last_name(op->path), O_PATH | O_NOFOLLOW | O_CLOEXEC);
    if (fd >= 0 && fstat(fd, st) == 0)
        return fd;
    fd_cleanup(&fd);
    return err_set(e, errno, "cannot open '%s' in the root filesystem", op->path);
}

static int replaced_bind_place(const struct op_device *op, int dir, struct stat *st, struct err *e)
{
    int fd = open_bind_place(op, dir, st, e);

    if (fd < 0 || S_ISREG(st->st_mode) || is_device(op, st))
        return fd;
    close(fd);
    if (!op->replace)
        return another_file(op, e);
    if (unlinkat(dir, last_name(op->path), 0) < 0)
        return errno == EBUSY ? -EBUSY
                              : err_set(e, errno, "cannot replace '%s' by a device", op->path);
    fd = open_bind_place(op, dir, st, e);
    if (fd < 0 || S_ISREG(st->st_mode))
        return fd;
    close(fd);
    return another_file(op, e);
}

/* The host's node of the same path, held, and it must be the device that the config names. */
static int open_host_node(const struct op_device *op, struct err *e)
{
    AUTO_FD int tree = sys_open_tree(AT_FDCWD, op->path, OPEN_TREE_CLONE | OPEN_TREE_CLOEXEC);
    struct stat st;

    if (tree < 0 || fstat(tree, &st) < 0)
        return err_set(e, errno, "cannot bind the host's device '%s'", op->path);
    if (!is_device(op, &st))
        return err_set(e, 0,
                       "cannot bind the host's device '%s': it is not the one with the numbers "
                       "%u:%u, and no other can be made here",
                       op->path, major(op->dev), minor(op->dev));
    return take_fd(&tree);
}

/*
 * A user namespace cannot make device nodes (mknod(2) wants CAP_MKNOD in the initial one), so the
 * host's node of the same path is bound, by fds on both sides.
 */
static int bind_node(const struct op_device *op, int dir, struct err *e)
{
    AUTO_FD int tree = open_host_node(op, e);
    AUTO_FD int fd = -1;
    struct stat st;

    if (tree < 0)
        return tree;
    fd = replaced_bind_place(op, dir, &st, e);
    if (fd < 0)
        return fd == -EBUSY ? 0 : fd;
    if (sys_move_mount(tree, "", fd, "", MOVE_MOUNT_F_EMPTY_PATH | MOVE_MOUNT_T_EMPTY_PATH) < 0)
        return err_set(e, errno, "cannot bind the host's device '%s'", op->path);
    return 0;
}

int step_device(const struct op_device *op, struct slots *slots, struct err *e)
{
    int dir = slots->value[op->dir];
    int r;

    if (op->only)
        return same_device(op, dir) ? 0
                                    : err_set(e, 0,
                                              "'%s' is not that device, and none is made in a /dev "
                                              "that is bound from the host",
                                              op->path);
    if (op->bind)
        return bind_node(op, dir, e);
    r = make_node(op, dir);
    if (r == -EPERM) /* a container around teca that has taken CAP_MKNOD away */
        return bind_node(op, dir, e);
    if (r == -EEXIST)
        return existing_node(op, dir, e);
    if (r < 0)
        return err_set(e, -r, "cannot make the device '%s'", op->path);
    return settle_node(op, dir, e);
}

static bool same_symlink(const struct op_symlink *op, int dir)
{
    char text[PATH_MAX];
    ssize_t len = readlinkat(dir, last_name(op->path), text, sizeof text);

    return len >= 0 && (size_t)len == strlen(op->target) &&
           memcmp(text, op->target, (size_t)len) == 0;
}

int step_symlink(const struct op_symlink *op, struct slots *slots, struct err *e)
{
    int dir = slots->value[op->dir];

    /* Whatever the image or the config put first where the standard ones go, stays: as every runtime
     * does. */
    if (symlinkat(op->target, dir, last_name(op->path)) == 0)
        return 0;
    if (errno != EEXIST)
        return err_set(e, errno, "cannot make the symlink '%s'", op->path);
    if (!op->exact || same_symlink(op, dir))
        return 0;
    return err_set(e, EEXIST, "cannot copy the symlink to '%s': another file is there", op->path);
}

/* ---- paths to be hidden or kept from writing ------------------------------------------------ */

/*
 * A symlink of the image may lead to "/". What is mounted there lies beside the root that the program
 * gets, and would protect nothing. Elsewhere the same directory may be bound: STATX_MNT_ID, Linux 5.8.
 */
static int is_root(int root_fd, int fd)
{
    struct stat root, there;
    struct statx root_mount, its_mount;

    if (fstat(root_fd, &root) < 0 || fstat(fd, &there) < 0)
        return -errno;
    if (root.st_ino != there.st_ino || root.st_dev != there.st_dev)
        return 0;
    if (sys_statx(root_fd, STATX_MNT_ID, &root_mount) < 0 ||
        sys_statx(fd, STATX_MNT_ID, &its_mount) < 0)
        return -errno;
    return root_mount.stx_mnt_id == its_mount.stx_mnt_id;
}

static int leads_to_root(const char *path, struct err *e)
{
    return err_set(e, 0, "'%s' leads to the root filesystem itself: nothing would be protected",
                   path);
}

/*
 * Makes `path` name the place for mount(2). *fd is owned by the caller, -1 with `below`. Returns
 * -ENOENT when there is nothing to protect, -EXDEV when it is the root.
 */
static int find_path(int root_fd, const char *path, const char *below, char buf[FD_PATH_SIZE],
                     int *fd)
{
    int r;

    if (below) {
        fd_path(buf, root_fd, below);
        return 0;
    }
    *fd = root_open(root_fd, path, O_PATH, 0);
    if (*fd < 0)
        return *fd == -ENOTDIR ? -ENOENT : *fd;
    r = is_root(root_fd, *fd);
    if (r != 0)
        return r < 0 ? r : -EXDEV;
    fd_path(buf, *fd, NULL);
    return 0;
}

static int mask_directory(const struct op_mask *op, const char *at)
{
    return mount("tmpfs", at, "tmpfs", MS_RDONLY | MS_NOSUID | MS_NODEV | MS_NOEXEC,
                 op->data ? op->data : MASK_DATA) < 0
               ? -errno
               : 0;
}

static int mask_file(const char *at, int null_dir)
{
    char null[FD_PATH_SIZE];

    return mount(fd_path(null, null_dir, "null"), at, NULL, MS_BIND, NULL) < 0 ? -errno : 0;
}

/*
 * The host's null as a read-only mount: chmod(2) of the masked file must not reach the host's. A bind
 * of anything else would show that instead of hiding (CVE-2025-31133).
 */
static int mask_by_host_null(const char *at)
{
    struct mount_attr attr = { .attr_set = MOUNT_ATTR_RDONLY };
    struct stat st;
    AUTO_FD int tree = sys_open_tree(AT_FDCWD, "/dev/null", OPEN_TREE_CLONE | OPEN_TREE_CLOEXEC);

    if (tree < 0) /* ENOENT would say that there is nothing to mask */
        return errno == ENOENT ? -ENODEV : -errno;
    if (fstat(tree, &st) < 0 || !S_ISCHR(st.st_mode) || st.st_rdev != makedev(1, 3))
        return -ENODEV;
    if (sys_mount_setattr(tree, "", AT_EMPTY_PATH, &attr) < 0 ||
        sys_move_mount(tree, "", AT_FDCWD, at, MOVE_MOUNT_F_EMPTY_PATH | MOVE_MOUNT_T_SYMLINKS) < 0)
        return -errno;
    return 0;
}

/* Without a null device of the container's own. */
static int mask_by_kind(const struct op_mask *op, const char *at)
{
    struct stat st;

    if (stat(at, &st) < 0)
        return -errno;
    return S_ISDIR(st.st_mode) ? mask_directory(op, at) : mask_by_host_null(at);
}

int step_mask(const struct op_mask *op, struct slots *slots, struct err *e)
{
    char at[FD_PATH_SIZE];
    AUTO_FD int fd = -1;
    int r = find_path(slots->value[op->root], op->path, op->below, at, &fd);

    if (r == 0 && op->null == SLOT_NONE) {
        r = mask_by_kind(op, at);
    } else if (r == 0) {
        int null_dir = slots->value[op->null];

        r = op->directory ? mask_directory(op, at) : mask_file(at, null_dir);
        if (r ==
            -ENOTDIR) /* the other kind then; a failed mount is dear, so compile guesses well */
            r = op->directory ? mask_file(at, null_dir) : mask_directory(op, at);
    }
    if (r == -ENOENT || r == 0)
        return 0;
    if (r == -EXDEV)
        return leads_to_root(op->path, e);
    r = err_set(e, -r, "cannot mask '%s'", op->path);
    if (r == -ENODEV)
        err_hint(e, "the host's /dev/null is not the null device");
    return r;
}

int step_readonly(const struct op_readonly *op, struct slots *slots, struct err *e)
{
    struct mount_attr attr = { .attr_set = MOUNT_ATTR_RDONLY };
    char at[FD_PATH_SIZE];
    AUTO_FD int fd = -1;
    AUTO_FD int tree = -1;
    int r = find_path(slots->value[op->root], op->path, op->below, at, &fd);

    if (r == -ENOENT)
        return 0;
    if (r == -EXDEV)
        return leads_to_root(op->path, e);
    /* Recursive: mounts of the config further down stay visible, as they are. */
    if (r == 0 && op->inherits) {
        if (mount(at, at, NULL, MS_BIND | MS_REC, NULL) < 0 && errno != ENOENT)
            return err_set(e, errno, "cannot make '%s' read-only", op->path);
        return 0;
    }
    if (r == 0) {
        tree = sys_open_tree(AT_FDCWD, at, OPEN_TREE_CLONE | OPEN_TREE_CLOEXEC | AT_RECURSIVE);
        if (tree < 0 && errno == ENOENT)
            return 0;
        if (tree < 0 || sys_mount_setattr(tree, "", AT_EMPTY_PATH, &attr) < 0 ||
            sys_move_mount(tree, "", AT_FDCWD, at,
                           MOVE_MOUNT_F_EMPTY_PATH | MOVE_MOUNT_T_SYMLINKS) < 0)
            r = -errno;
    }
    if (r < 0)
        return err_set(e, -r, "cannot make '%s' read-only", op->path);
    return 0;
}
