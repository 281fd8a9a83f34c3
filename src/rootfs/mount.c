/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Executes one mount. The target is opened first and mounted on by its fd, so nothing that happens
 * to the path in between moves the mount elsewhere (CVE-2019-19921, CVE-2021-30465). Child-safe.
 */
#include <errno.h>
#include <limits.h>
#include <string.h>
#include <sys/stat.h>
#include <sys/xattr.h>
#include <unistd.h>

#include "rootfs/internal.h"

enum { MAX_SYMLINKS = 40 }; /* as the kernel's MAXSYMLINKS, path_resolution(7) */

/* Where the mount goes: an fd of ours, or a name on a file system that the plan made. */
struct place {
    int fd; /* owned, -1 with a name */
    int dir_fd;
    const char *below;
    char path[FD_PATH_SIZE]; /* for mount(2) */
};

static void place_cleanup(struct place *p)
{
    fd_cleanup(&p->fd);
}

/*
 * No symlink at all on the way: for proc and sysfs, whose place decides what masks and read-only
 * paths protect (CVE-2019-19921).
 */
static int open_strict(int root_fd, const char *target)
{
    struct open_how how = { .flags = O_PATH | O_DIRECTORY | O_CLOEXEC,
                            .resolve = RESOLVE_IN_ROOT | RESOLVE_NO_MAGICLINKS |
                                       RESOLVE_NO_SYMLINKS };
    int fd = sys_openat2(root_fd, target, &how);

    return fd < 0 ? -errno : fd;
}

/* "/a/link" and what that symlink says become the path to look at. 0 or -errno. */
static int follow(char path[PATH_MAX], size_t parent, const char *text, size_t len)
{
    char next[PATH_MAX];

    if (base_format(next, sizeof next, "%.*s/%.*s", text[0] == '/' ? 0 : (int)parent, path,
                    (int)len, text) >= sizeof next)
        return -ENAMETOOLONG;
    while (len > 1 && next[strlen(next) - 1] == '/')
        next[strlen(next) - 1] = '\0';
    memcpy(path, next, strlen(next) + 1);
    return 0;
}

/*
 * An empty file. A symlink of the image that leads nowhere, as many have at /etc/resolv.conf, gets its
 * target made: its text takes the place of its name, and root_mkdirs() walks that inside the root
 * again. O_EXCL: what somebody else puts there meanwhile is opened by O_PATH only.
 */
static int make_file(int root_fd, const char *target)
{
    char path[PATH_MAX], text[PATH_MAX];

    if (base_format(path, sizeof path, "%s", target) >= sizeof path)
        return -ENAMETOOLONG;
    for (int i = 0; i < MAX_SYMLINKS; i++) {
        size_t parent = (size_t)(strrchr(path, '/') - path);
        AUTO_FD int dir = -1;
        ssize_t len;
        int fd, r;

        path[parent] = '\0';
        dir = root_mkdirs(root_fd, parent ? path : "/", 0755);
        path[parent] = '/';
        if (dir < 0)
            return dir;
        fd = openat(dir, path + parent + 1, O_RDONLY | O_CREAT | O_EXCL | O_CLOEXEC, 0644);
        if (fd >= 0 || errno != EEXIST)
            return fd >= 0 ? fd : -errno;
        len = readlinkat(dir, path + parent + 1, text, sizeof text - 1);
        if (len < 0)
            return root_open(root_fd, path, O_PATH, 0);
        r = follow(path, parent, text, (size_t)len);
        if (r < 0)
            return r;
    }
    return -ELOOP;
}

static int open_target(const struct op_mount *op, int root_fd)
{
    int fd = op->strict ? open_strict(root_fd, op->target)
                        : root_open(root_fd, op->target, O_PATH, 0);

    if (fd != -ENOENT || !op->make)
        return fd;
    if (op->file)
        return make_file(root_fd, op->target);
    fd = root_mkdirs(root_fd, op->target, 0755);
    if (fd >= 0 && op->strict) {
        close(fd);
        fd = open_strict(root_fd, op->target);
    }
    return fd;
}

/* The image has no say in this directory, so an existing entry is one of the plan's own. */
static int make_below(const struct op_mount *op, int dir_fd)
{
    int r = op->file ? mknodat(dir_fd, op->below, S_IFREG | 0644, 0)
                     : mkdirat(dir_fd, op->below, 0755);

    return r < 0 && errno != EEXIST ? -errno : 0;
}

static int find_place(const struct op_mount *op, const struct slots *slots, struct place *p,
                      struct err *e)
{
    int r = 0;

    p->dir_fd = slots->value[op->root];
    p->below = op->below;
    if (op->below && op->make)
        r = make_below(op, p->dir_fd);
    else if (!op->below)
        r = p->fd = open_target(op, p->dir_fd);
    if (r == -ELOOP && op->strict)
        return err_set(e, ELOOP, "'%s' must be mounted on an ordinary directory, '%s' is a symlink",
                       op->type, op->target);
    if (r < 0)
        return err_set(e, -r, "cannot %s the mount target '%s' in the root filesystem",
                       op->make ? "make or open" : "open", op->target);
    fd_path(p->path, op->below ? p->dir_fd : p->fd, op->below);
    return 0;
}

/*
 * The mount that now lies on the place. From the fd below it: ".." of a directory that is the root
 * of the walk stays there, and then the kernel steps onto what is mounted on it. So no path of the
 * image is walked a second time.
 */
static int open_mounted(const struct place *p)
{
    int fd;

    if (!p->below)
        return root_open(p->fd, "..", O_PATH, 0);
    fd = openat(p->dir_fd, p->below, O_PATH | O_NOFOLLOW | O_CLOEXEC);
    return fd < 0 ? -errno : fd;
}

static int set_attr(int fd, unsigned flags, uint64_t set, uint64_t clear, uint64_t propagation)
{
    struct mount_attr attr = { .attr_set = set,
                               .attr_clr = clear,
                               .propagation = propagation & ~(uint64_t)MS_REC };

    if (!set && !clear && !propagation)
        return 0;
    return sys_mount_setattr(fd, "", AT_EMPTY_PATH | flags, &attr) < 0 ? -errno : 0;
}

/* Attributes and propagation of a mount by its fd: of itself, then of the whole tree. */
static int set_attrs(const struct op_mount *op, int fd, struct err *e)
{
    bool all = (op->propagation & MS_REC) != 0;
    int r = set_attr(fd, 0, op->set, op->clear, all ? 0 : op->propagation);

    if (r == 0)
        r = set_attr(fd, AT_RECURSIVE, op->rec_set, op->rec_clear, all ? op->propagation : 0);
    if (r == 0)
        return 0;
    r = err_set(e, -r, "cannot set the attributes of the mount at '%s'", op->target);
    if (r == -EPERM)
        err_hint(e, "in a user namespace flags of the host's mount cannot be taken away");
    return r;
}

static int attach(const struct op_mount *op, const struct place *p, int tree, struct err *e)
{
    int r = p->below ? sys_move_mount(tree, "", p->dir_fd, p->below, MOVE_MOUNT_F_EMPTY_PATH)
                     : sys_move_mount(tree, "", p->fd, "",
                                      MOVE_MOUNT_F_EMPTY_PATH | MOVE_MOUNT_T_EMPTY_PATH);

    if (r == 0)
        return 0;
    r = err_set(e, errno, "cannot bind '%s' at '%s'", op->source, op->target);
    if (r == -EINVAL) /* move_mount(2) says it where mount(2) says ENOTDIR */
        err_hint(e, "is one of them a directory and the other not?");
    return r;
}

/*
 * A bind as a detached tree: attributes are set on the very mount, before anybody can see it. Takes
 * the tree.
 */
static int mount_tree(const struct op_mount *op, const struct place *p, int tree_taken,
                      struct slots *slots, struct err *e)
{
    AUTO_FD int tree = tree_taken;
    int r = set_attrs(op, tree, e);

    if (r == 0)
        r = attach(op, p, tree, e);
    if (r == 0 && op->out != SLOT_NONE)
        slots->value[op->out] = take_fd(&tree);
    return r;
}

static int clone_source(const char *source, bool recursive, struct err *e)
{
    int fd = sys_open_tree(AT_FDCWD, source,
                           OPEN_TREE_CLONE | OPEN_TREE_CLOEXEC | (recursive ? AT_RECURSIVE : 0));

    if (fd < 0)
        return err_set(e, errno, "cannot open the bind source '%s'", source);
    return fd;
}

static int mount_failed(const struct op_mount *op, int errnum, struct err *e)
{
    int r;

    if (op->flags & MS_REMOUNT)
        return err_set(e, errnum, "cannot remount '%s'", op->target);
    if (op->flags & MS_BIND) {
        r = err_set(e, errnum, "cannot bind '%s' at '%s'", op->source, op->target);
        if (errnum == ENOTDIR)
            err_hint(e, "one of them is a directory, the other is not");
        return r;
    }
    r = err_set(e, errnum, "cannot mount '%s' at '%s'", op->type, op->target);
    if (errnum == ENODEV)
        err_hint(e, "the kernel does not have this file system");
    else if (errnum == EPERM && op->strict)
        err_hint(e,
                 "a user namespace gets a new %s only where the caller's is not covered in part, "
                 "user_namespaces(7)",
                 op->type);
    else if (errnum == EINVAL && op->data)
        err_hint(e, "does '%s' know the options '%s'%s?", op->type, op->data,
                 strstr(op->data, "id=") ? ", and does the user namespace map the ids" : "");
    return r;
}

/*
 * In a user namespace the kernel gives out a new sysfs, proc, mqueue or cgroup2 only to the owner
 * of the matching namespace, and only where the host's own is not partly covered
 * (user_namespaces(7), mount_too_revealing() in fs/namespace.c). The host's serves then.
 */
static int bind_instead(const struct op_mount *op, const struct place *p, struct slots *slots,
                        struct err *e)
{
    struct op_mount bind = *op;
    struct err why = { 0 };
    int tree = clone_source(op->or_bind, true, &why);
    int r;

    if (tree < 0) {
        r = mount_failed(op, EPERM, e);
        err_hint(e, "and the host's cannot stand in: %s", why.text);
        return r;
    }
    bind.source = op->or_bind;
    bind.rec_set |= options_attr_of(op->flags);
    return mount_tree(&bind, p, tree, slots, e);
}

/* mqueue takes no context= but labels its root like any file, mq_overview(7). */
static int set_label(const struct op_mount *op, int fd, struct err *e)
{
    char path[FD_PATH_SIZE];

    if (setxattr(fd_path(path, fd, NULL), "security.selinux", op->label, strlen(op->label) + 1, 0) <
        0)
        return err_set(e, errno, "cannot label the mount at '%s' as '%s'", op->target, op->label);
    return 0;
}

/* What mount(2) cannot say itself: needs the new mount's fd. */
static int finish_mount(const struct op_mount *op, const struct place *p, struct slots *slots,
                        struct err *e)
{
    AUTO_FD int fd = -1;
    int r;

    if (op->out == SLOT_NONE && !op->copy_up && !op->rec_set && !op->rec_clear &&
        !op->propagation && !op->label)
        return 0;
    fd = open_mounted(p);
    if (fd < 0)
        return err_set(e, -fd, "cannot open the mount at '%s'", op->target);
    if (op->copy_up) {
        r = copy_up(p->fd, fd);
        if (r < 0) {
            err_set(e, -r, "cannot copy the contents of '%s' into its tmpfs", op->target);
            if (r == -ELOOP)
                err_hint(e, "its directories are nested too deeply");
            return r;
        }
    }
    r = op->label ? set_label(op, fd, e) : 0;
    if (r == 0)
        r = set_attrs(op, fd, e);
    if (r == 0 && op->out != SLOT_NONE)
        slots->value[op->out] = take_fd(&fd);
    return r;
}

/*
 * mount(2) of a new instance. A tmpfs that is not told its mode gets the one of the directory that
 * it covers (the kernel's own default is 1777, also over a directory that was closed to others).
 */
static int mount_new(const struct op_mount *op, const struct place *p)
{
    char data[MOUNT_DATA_SIZE];
    const char *rest = op->data ? op->data : "";
    struct stat st;

    if (!op->keep_mode)
        return mount(op->source, p->path, op->type, op->flags, op->data) < 0 ? -errno : 0;
    if (fstat(p->fd, &st) < 0)
        return -errno;
    if (base_format(data, sizeof data, "mode=%o%s%s", st.st_mode & 07777, *rest ? "," : "", rest) >=
        sizeof data)
        return -E2BIG;
    return mount(op->source, p->path, op->type, op->flags, data) < 0 ? -errno : 0;
}

static int mount_at(const struct op_mount *op, const struct place *p, struct slots *slots,
                    struct err *e)
{
    bool bind = (op->flags & MS_BIND) && !(op->flags & MS_REMOUNT);
    int tree, r;

    if (op->tree != SLOT_NONE) {
        tree = slots->value[op->tree];
        slots->value[op->tree] = -1;
        return mount_tree(op, p, tree, slots, e);
    }
    if (bind && (op->set || op->clear || op->rec_set || op->rec_clear || op->propagation ||
                 op->out != SLOT_NONE)) {
        tree = clone_source(op->source, (op->flags & MS_REC) != 0, e);
        return tree < 0 ? tree : mount_tree(op, p, tree, slots, e);
    }
    r = mount_new(op, p);
    if (r == -EPERM && op->or_bind)
        return bind_instead(op, p, slots, e);
    if (r < 0)
        return mount_failed(op, -r, e);
    return finish_mount(op, p, slots, e);
}

int step_mount(const struct op_mount *op, struct slots *slots, struct err *e)
{
    __attribute__((cleanup(place_cleanup))) struct place p = { .fd = -1 };
    int r = find_place(op, slots, &p, e);

    if (r == 0)
        r = mount_at(op, &p, slots, e);
    /* exec closes it; a call for it is worth it only in a plan with many mounts (RLIMIT_NOFILE). */
    if (!op->close_target)
        take_fd(&p.fd);
    return r;
}

int step_mount_attr(const struct op_mount_attr *op, struct slots *slots, struct err *e)
{
    struct mount_attr attr = { .attr_set = op->set,
                               .attr_clr = op->clear,
                               .propagation = op->propagation };
    unsigned flags = (op->below ? 0 : AT_EMPTY_PATH) | (op->recursive ? AT_RECURSIVE : 0);

    if (sys_mount_setattr(slots->value[op->root], op->below ? op->below : "", flags, &attr) < 0)
        return err_set(e, errno, "cannot set the attributes of the mount at '%s'", op->path);
    return 0;
}
