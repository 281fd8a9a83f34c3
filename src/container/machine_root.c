/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The root of a program that is not ours and that a guest's words reach: itself, what the dynamic linker loads for it and
 * the data that it was installed with, all of it read-only, and what is given it to work with. Nobody else sees this root.
 */
#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <signal.h>
#include <string.h>
#include <sys/mount.h>
#include <sys/stat.h>
#include <unistd.h>

#include "container/machine_jail.h"

enum { FIXED = MOUNT_ATTR_RDONLY | MOUNT_ATTR_NOSUID | MOUNT_ATTR_NODEV };

/* Where a system has libraries; a link among them is one there too, and what is missing is not missed. */
static const char *const libraries[] = { "/usr/lib",         "/usr/lib32", "/usr/lib64",
                                         "/usr/libx32",      "/lib",       "/lib64",
                                         "/etc/ld.so.cache", NULL };
/* Beside a program that is installed below a prefix of its own: PREFIX/bin/NAME. */
static const char *const beside[] = { "lib", "lib64", NULL };

int jail_open_tree(const char *path, bool with_mounts_below, struct err *e)
{
    int fd = sys_open_tree(AT_FDCWD, path,
                           OPEN_TREE_CLONE | OPEN_TREE_CLOEXEC |
                               (with_mounts_below ? AT_RECURSIVE : 0U));

    return fd < 0 ? err_set(e, errno, "cannot open '%s' for the machine", path) : fd;
}

/* The directories above it, and it: a directory or an empty file. Below a tmpfs of this process's own. */
static int make_place(int root, const char *path, bool directory)
{
    char part[PATH_MAX];
    AUTO_FD int fd = -1;

    for (size_t i = 1; i < sizeof part && path[i]; i++) {
        if (path[i] != '/')
            continue;
        base_format(part, sizeof part, "%.*s", (int)i - 1, path + 1);
        if (part[0] && mkdirat(root, part, 0755) < 0 && errno != EEXIST)
            return -1;
    }
    if (directory)
        return mkdirat(root, path + 1, 0755) < 0 && errno != EEXIST ? -1 : 0;
    fd = openat(root, path + 1, O_WRONLY | O_CREAT | O_EXCL | O_NOFOLLOW | O_CLOEXEC, 0444);
    return fd < 0 ? -1 : 0;
}

int jail_attach(int root, int tree, const char *path, struct err *e)
{
    struct stat st;

    if (fstat(tree, &st) < 0 || make_place(root, path, S_ISDIR(st.st_mode)) < 0 ||
        sys_move_mount(tree, "", root, path + 1, MOVE_MOUNT_F_EMPTY_PATH) < 0)
        return err_set(e, errno, "cannot have '%s' in the root of the machine's process", path);
    return 0;
}

/* If it is not there by its directory. */
static int show(int root, const char *path, bool executable, struct err *e)
{
    struct mount_attr fixed = { .attr_set = FIXED | (executable ? 0 : MOUNT_ATTR_NOEXEC) };
    struct stat there;
    AUTO_FD int tree = -1;

    if (fstatat(root, path + 1, &there, AT_SYMLINK_NOFOLLOW) == 0)
        return 0;
    tree = jail_open_tree(path, false, e);
    if (tree < 0)
        return tree;
    if (sys_mount_setattr(tree, "", AT_EMPTY_PATH, &fixed) < 0)
        return err_set(e, errno, "cannot make '%s' read-only for the machine", path);
    return jail_attach(root, tree, path, e);
}

/* As it is on the host. */
static int show_same(int root, const char *path, bool executable, struct err *e)
{
    char target[PATH_MAX];
    struct stat st;
    ssize_t n;

    if (lstat(path, &st) < 0)
        return 0;
    if (!S_ISLNK(st.st_mode))
        return show(root, path, executable, e);
    n = readlink(path, target, sizeof target - 1);
    if (n < 0 || make_place(root, path, true) < 0 || unlinkat(root, path + 1, AT_REMOVEDIR) < 0)
        return err_set(e, errno, "cannot have '%s' in the root of the machine's process", path);
    target[n] = 0;
    return symlinkat(target, root, path + 1) < 0
               ? err_set(e, errno, "cannot have '%s' in the root of the machine's process", path)
               : 0;
}

/* "/opt/qemu" of "/opt/qemu/bin/NAME"; "" of what is elsewhere, or of the system's own. */
static void prefix_of(const char *program, char prefix[PATH_MAX])
{
    const char *name = strrchr(program, '/');
    size_t len = name ? (size_t)(name - program) : 0;

    base_format(prefix, PATH_MAX, "%.*s", (int)len, program);
    if (len < 4 || !str_eq(prefix + len - 4, "/bin") || str_starts(program, "/usr/bin/"))
        prefix[0] = 0;
    else
        prefix[len - 4] = 0;
}

static int show_beside(int root, const char *prefix, const char *const *names, bool executable,
                       struct err *e)
{
    char path[PATH_MAX];
    int r = 0;

    for (size_t i = 0; r == 0 && names[i]; i++) {
        base_format(path, sizeof path, "%s/%s", prefix, names[i]);
        r = show_same(root, path, executable, e);
    }
    return r;
}

int jail_mount_root(const char *at, const char *program, const char *const *data, struct err *e)
{
    char prefix[PATH_MAX];
    AUTO_FD int root = -1;
    int r = 0;

    umask(022); /* not the caller's: another user goes through these directories */
    if (mount("tmpfs", at, "tmpfs", MS_NOSUID | MS_NODEV | MS_NOEXEC,
              "size=256k,nr_inodes=64,mode=755") < 0)
        return err_set(e, errno, "cannot mount a root for the machine's process");
    root = openat(AT_FDCWD, at, O_PATH | O_DIRECTORY | O_CLOEXEC);
    if (root < 0)
        return err_set(e, errno, "cannot open '%s'", at);
    for (size_t i = 0; r == 0 && libraries[i]; i++)
        r = show_same(root, libraries[i], true, e);
    r = r < 0 ? r : show_beside(root, "/usr", data, false, e);
    prefix_of(program, prefix);
    if (r == 0 && prefix[0]) {
        r = show_beside(root, prefix, beside, true, e);
        r = r < 0 ? r : show_beside(root, prefix, data, false, e);
    }
    r = r < 0 ? r : show(root, program, true, e);
    return r < 0 ? r : take_fd(&root);
}

int jail_mount_processes(int root, const char *name, struct err *e)
{
    char path[FD_PATH_SIZE];

    if (mkdirat(root, name, 0755) < 0 ||
        mount("proc", fd_path(path, root, name), "proc",
              MS_NOSUID | MS_NODEV | MS_NOEXEC | MS_RDONLY, "subset=pid") < 0)
        return err_set(e, errno, "cannot mount a procfs for the machine's process");
    return 0;
}

int jail_seal_root(int root, struct err *e)
{
    struct mount_attr fixed = { .attr_set = MOUNT_ATTR_RDONLY };

    return sys_mount_setattr(root, "", AT_EMPTY_PATH, &fixed) < 0
               ? err_set(e, errno, "cannot make the root of the machine's process read-only")
               : 0;
}
