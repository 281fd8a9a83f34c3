/* SPDX-License-Identifier: Apache-2.0 */
/*
 * A cgroup and everything below it. The container chooses names, number and depth, so a walk goes by
 * fd from directory to directory: no recursion, no path that could become too long.
 */
#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <string.h>
#include <sys/syscall.h>
#include <unistd.h>

#include "cgroups/internal.h"

enum { DENTS_SIZE = 4096, FIRST = 16 };

struct level {
    const char **names; /* of the cgroups below */
    size_t n, next;
};
struct walk {
    struct arena arena;
    struct level *levels; /* from the top to where it is */
    size_t depth, cap;
    int dir; /* where it is, owned */
};

static bool is_gone(int error)
{
    return error == ENOENT || error == ENODEV;
}

static int list(struct walk *w, struct level *out)
{
    char buf[DENTS_SIZE] __attribute__((aligned(8)));
    size_t cap = FIRST;
    long n;

    *out = (struct level){ .names = arena_array(&w->arena, cap, sizeof *out->names) };
    while ((n = syscall(SYS_getdents64, w->dir, buf, sizeof buf)) > 0) {
        for (long at = 0; at < n;) {
            const struct dent *d = (const struct dent *)(buf + at);

            at += d->reclen;
            if (d->type != DT_DIR || str_eq(d->name, ".") || str_eq(d->name, ".."))
                continue;
            if (out->n == cap)
                out->names = arena_grow(&w->arena, out->names, out->n, &cap, sizeof *out->names);
            out->names[out->n++] = arena_strdup(&w->arena, d->name);
        }
    }
    return n < 0 && !is_gone(errno) ? -errno : 0;
}

static int enter(struct walk *w, int fd, int (*visit)(int dir, void *arg), void *arg)
{
    int r;

    fd_cleanup(&w->dir);
    w->dir = fd;
    if (w->depth == w->cap)
        w->levels = arena_grow(&w->arena, w->levels, w->depth, &w->cap, sizeof *w->levels);
    r = visit(fd, arg);
    if (r == 0 || is_gone(-r))
        r = list(w, &w->levels[w->depth++]);
    return r;
}

/* One step down, or up where nothing is left to see. 1: everything was seen. */
static int go_on(struct walk *w, int (*visit)(int dir, void *arg), void *arg)
{
    struct level *here = &w->levels[w->depth - 1];
    int fd;

    if (here->next < here->n) {
        fd = openat(w->dir, here->names[here->next++],
                    O_RDONLY | O_DIRECTORY | O_NOFOLLOW | O_CLOEXEC);
        return fd < 0 ? 0 : enter(w, fd, visit, arg); /* removed meanwhile */
    }
    if (--w->depth == 0)
        return 1;
    fd = openat(w->dir, "..", O_RDONLY | O_DIRECTORY | O_CLOEXEC);
    if (fd < 0)
        return -errno;
    fd_cleanup(&w->dir);
    w->dir = fd;
    return 0;
}

int cgroup_walk(const char *path, int (*visit)(int dir, void *arg), void *arg)
{
    struct walk w = { .cap = FIRST, .dir = -1 };
    int fd = openat(AT_FDCWD, path, O_RDONLY | O_DIRECTORY | O_CLOEXEC), r;

    if (fd < 0)
        return is_gone(errno) ? 0 : -errno;
    arena_init(&w.arena, NULL, 0);
    w.levels = arena_array(&w.arena, w.cap, sizeof *w.levels);
    r = enter(&w, fd, visit, arg);
    while (r == 0)
        r = go_on(&w, visit, arg);
    fd_cleanup(&w.dir);
    arena_release(&w.arena);
    return r < 0 ? r : 0;
}
