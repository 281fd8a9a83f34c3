/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Paths inside a root filesystem whose every byte the image's author controls, and which a process
 * in another container may change while we look.
 */
#include "base/base.h"

#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

enum {
    MAX_SYMLINKS = 40, /* as the kernel's MAXSYMLINKS, path_resolution(7) */
    MAX_RETRIES = 64,  /* against a host or container that keeps on renaming */
    OPEN_DIR = O_PATH | O_DIRECTORY | O_NOFOLLOW | O_CLOEXEC,
};

static int open_resolved(int root_fd, const char *path, uint64_t flags, mode_t mode,
                         uint64_t resolve)
{
    struct open_how how = { .flags = flags | O_CLOEXEC, .mode = mode, .resolve = resolve };
    int fd;

    /* EAGAIN: a rename or mount anywhere on the host raced with a ".."; see openat2(2). */
    for (int i = 0; i < MAX_RETRIES; i++) {
        fd = sys_openat2(root_fd, path, &how);
        if (fd >= 0)
            return fd;
        if (errno != EAGAIN && errno != EINTR)
            break;
    }
    return -errno;
}

int root_open(int root_fd, const char *path, int flags, mode_t mode)
{
    bool creates = (flags & O_CREAT) != 0 || (flags & O_TMPFILE) == O_TMPFILE;

    /* Unlike open(2), openat2(2) refuses a mode that it would not use. */
    return open_resolved(root_fd, path, (uint64_t)(unsigned)flags, creates ? mode : 0,
                         RESOLVE_IN_ROOT | RESOLVE_NO_MAGICLINKS);
}

/*
 * mkdir -p. `done` names the directory `dir` from the root and holds no symlink; `todo` is what is
 * still to be walked. A symlink is read and its text put in front of `todo`, so its target is
 * walked by the same rules and a dangling one gets its target made. Each step down is one openat
 * of a single name with O_NOFOLLOW, so whatever somebody swaps in is either a directory that lies
 * inside the root or is looked at again as a symlink. ".." is taken from `done` and
 * opened from the root by openat2, never from the directory itself, which may have been moved.
 */
struct walk {
    int root_fd;
    int dir;    /* owned, -1: the root itself */
    bool fresh; /* dir was made by us, so it holds nothing yet */
    unsigned symlinks, retries;
    char done[PATH_MAX],
        todo[PATH_MAX + 2]; /* a symlink's text may be PATH_MAX - 1 long, then "/" */
};

static void walk_cleanup(struct walk *w)
{
    fd_cleanup(&w->dir);
}

static int at(const struct walk *w)
{
    return w->dir >= 0 ? w->dir : w->root_fd;
}

static void enter(struct walk *w, int dir)
{
    fd_cleanup(&w->dir);
    w->dir = dir;
}

/* Cuts the first name off todo; false when nothing is left. */
static bool next_name(struct walk *w, char name[NAME_MAX + 2])
{
    size_t start = strspn(w->todo, "/");
    size_t len = strcspn(w->todo + start, "/");
    size_t kept = len <= NAME_MAX ? len : NAME_MAX + 1; /* too long: left to the kernel to refuse */

    memcpy(name, w->todo + start, kept);
    name[kept] = '\0';
    memmove(w->todo, w->todo + start + len, strlen(w->todo + start + len) + 1);
    return len > 0;
}

static int go_up(struct walk *w)
{
    char *slash = strrchr(w->done, '/');
    int dir = -1;

    w->fresh = false;
    if (slash == NULL) { /* the root's parent is the root */
        w->done[0] = '\0';
        enter(w, -1);
        return 0;
    }
    *slash = '\0';
    dir = open_resolved(w->root_fd, w->done, O_PATH | O_DIRECTORY, 0,
                        RESOLVE_IN_ROOT | RESOLVE_NO_SYMLINKS);
    if (dir < 0)
        return dir;
    enter(w, dir);
    return 0;
}

static int follow_symlink(struct walk *w, const char *name)
{
    char target[PATH_MAX];
    size_t rest = strlen(w->todo);
    ssize_t len = readlinkat(at(w), name, target, sizeof(target));

    if (len < 0 && errno == EINVAL)
        return -ENOTDIR; /* neither a directory nor a symlink */
    if (len < 0)
        return -errno;
    if (++w->symlinks > MAX_SYMLINKS)
        return -ELOOP;
    if ((size_t)len + 1 + rest >= sizeof(w->todo))
        return -ENAMETOOLONG;
    memmove(w->todo + len + 1, w->todo, rest + 1);
    memcpy(w->todo, target, (size_t)len);
    w->todo[len] = '/';
    w->fresh = false;
    if (target[0] == '/') {
        w->done[0] = '\0';
        enter(w, -1);
    }
    return 0;
}

static int go_down(struct walk *w, const char *name, int dir)
{
    size_t len = strlen(w->done);
    size_t more = base_format(w->done + len, sizeof(w->done) - len, "%s%s", len > 0 ? "/" : "",
                              name);

    enter(w, dir);
    return len + more < sizeof(w->done) ? 0 : -ENAMETOOLONG;
}

static int walk_name(struct walk *w, const char *name, mode_t mode)
{
    /* The whole path did not exist: most likely the last name is what is missing. */
    bool make = w->fresh || w->todo[strspn(w->todo, "/")] == '\0';

    for (;;) {
        int dir;

        if (make) {
            int rc = mkdirat(at(w), name, mode);

            if (rc < 0 && errno != EEXIST)
                return -errno;
            w->fresh = rc == 0;
        }
        dir = openat(at(w), name, OPEN_DIR);
        if (dir >= 0)
            return go_down(w, name, dir);
        if (errno == ENOTDIR || errno == ELOOP) {
            int rc = follow_symlink(w, name);

            if (rc != -ENOENT)
                return rc;
            errno = ENOENT;
        }
        if (errno != ENOENT || ++w->retries > MAX_RETRIES)
            return -errno;
        make = true; /* missing, or taken away since: once more */
    }
}

int root_mkdirs(int root_fd, const char *path, mode_t mode)
{
    __attribute__((cleanup(walk_cleanup))) struct walk w;
    char name[NAME_MAX + 2];
    size_t len = strlen(path);
    int rc = root_open(root_fd, path, O_PATH | O_DIRECTORY, 0);

    w.dir = -1;
    if (rc != -ENOENT)
        return rc;
    if (len >= sizeof(w.todo))
        return -ENAMETOOLONG;
    w.root_fd = root_fd;
    w.fresh = false;
    w.symlinks = w.retries = 0;
    w.done[0] = '\0';
    memcpy(w.todo, path, len + 1);
    while (next_name(&w, name)) {
        rc = 0;
        if (str_eq(name, ".."))
            rc = go_up(&w);
        else if (!str_eq(name, "."))
            rc = walk_name(&w, name, mode);
        if (rc < 0)
            return rc;
    }
    if (w.dir < 0)
        return open_resolved(root_fd, "/", O_PATH | O_DIRECTORY, 0, RESOLVE_IN_ROOT);
    return take_fd(&w.dir);
}
