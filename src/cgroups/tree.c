/* SPDX-License-Identifier: Apache-2.0 */
/*
 * A cgroup and what a container made below it. The container chooses names and depth, so nothing
 * here recurses or trusts a path longer than one name. Child-safe.
 */
#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <signal.h>
#include <string.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <time.h>
#include <unistd.h>

#include "cgroups/internal.h"

enum {
    REMOVE_TIMEOUT_MS = 10000, /* dying processes leave their cgroup within milliseconds */
    FIRST_PAUSE_US = 500,
    LAST_PAUSE_US = 50000,
    DENTS_SIZE = 2048,
    MAX_NAME = 256,
};

int cgroup_each_process(int dir_fd, void (*fn)(pid_t pid, void *arg), void *arg)
{
    AUTO_FD int fd = openat(dir_fd, "cgroup.procs", O_RDONLY | O_CLOEXEC);
    char text[1024];
    pid_t pid = 0;
    int count = 0;
    ssize_t n;

    if (fd < 0)
        return -errno;
    while ((n = read(fd, text, sizeof text)) > 0) {
        for (ssize_t i = 0; i < n; i++) {
            if (text[i] >= '0' && text[i] <= '9') {
                pid = pid * 10 + (text[i] - '0');
            } else {
                if (fn)
                    fn(pid, arg);
                pid = 0;
                count++;
            }
        }
    }
    return n < 0 ? -errno : count;
}

static void kill_process(pid_t pid, void *arg)
{
    (void)arg;
    if (pid > 0) /* 0: of a pid namespace that this one cannot see */
        kill(pid, SIGKILL);
}

int cgroup_kill_here(int dir_fd)
{
    /* v2: the kernel kills the whole subtree at once, and what forks meanwhile. */
    int r = file_write_once(dir_fd, "cgroup.kill", "1", 1);

    if (r != -ENOENT)
        return r;
    /* v1 has no such file. A frozen task dies when it is thawed. */
    (void)file_write_once(dir_fd, "freezer.state", "THAWED", 6);
    r = cgroup_each_process(dir_fd, kill_process, NULL);
    return r < 0 ? r : 0;
}

/* ---- walking without recursion --------------------------------------------------------------- */

static int64_t now_ms(void)
{
    struct timespec t;

    clock_gettime(CLOCK_MONOTONIC, &t);
    return (int64_t)t.tv_sec * 1000 + t.tv_nsec / 1000000;
}

static void pause_us(long us)
{
    struct timespec t = { 0, us * 1000 };

    nanosleep(&t, NULL);
}

struct removal {
    int dir;          /* where the walk is, owned */
    unsigned depth;   /* below the leaf */
    unsigned removed; /* children so far: progress */
    bool kill;
};

static void removal_cleanup(struct removal *w)
{
    fd_cleanup(&w->dir);
}

static int enter(struct removal *w, const char *name)
{
    int fd = openat(w->dir, name, O_RDONLY | O_DIRECTORY | O_NOFOLLOW | O_CLOEXEC);

    if (fd < 0)
        return -errno;
    fd_cleanup(&w->dir);
    w->dir = fd;
    return 0;
}

static void kill_child(int dir, const char *name)
{
    AUTO_FD int fd = openat(dir, name, O_PATH | O_DIRECTORY | O_NOFOLLOW | O_CLOEXEC);

    if (fd >= 0)
        (void)cgroup_kill_here(fd);
}

/* 1: the child is busy; 0: it is gone, or is no cgroup. */
static int remove_child(struct removal *w, const struct dent *d, char busy[MAX_NAME])
{
    if (d->type != DT_DIR || str_eq(d->name, ".") || str_eq(d->name, ".."))
        return 0;
    if (unlinkat(w->dir, d->name, AT_REMOVEDIR) == 0) {
        w->removed++;
        return 0;
    }
    if (errno == ENOENT)
        return 0;
    if (errno != EBUSY || strlen(d->name) >= MAX_NAME)
        return -errno;
    if (w->kill)
        kill_child(w->dir, d->name);
    memcpy(busy, d->name, strlen(d->name) + 1);
    return 1;
}

/* Removes the children that can be removed. 1: not all of them, `busy` is one; 0: none is left. */
static int remove_children(struct removal *w, char busy[MAX_NAME])
{
    char buf[DENTS_SIZE] __attribute__((aligned(8)));
    int found = 0;
    long n;

    if (lseek(w->dir, 0, SEEK_SET) < 0)
        return -errno;
    while ((n = syscall(SYS_getdents64, w->dir, buf, sizeof buf)) > 0) {
        for (long at = 0; at < n;) {
            const struct dent *d = (const struct dent *)(buf + at);
            int r = remove_child(w, d, busy);

            if (r < 0)
                return r;
            found |= r;
            at += d->reclen;
        }
    }
    return n < 0 ? -errno : found;
}

/* One way down to a cgroup without children, and up again removing what has become removable. */
static int remove_below(struct removal *w)
{
    char busy[MAX_NAME];
    int r;

    while ((r = remove_children(w, busy)) == 1) {
        r = enter(w, busy);
        if (r < 0 && r != -ENOENT)
            return r;
        w->depth += r == 0;
    }
    while (r == 0 && w->depth > 0) {
        r = enter(w, "..");
        w->depth--;
        if (r == 0)
            r = remove_children(w, busy);
    }
    return r < 0 && r != -ENODEV && r != -ENOENT ? r : 0;
}

static int try_remove(const char *path, struct removal *w)
{
    int r;

    if (rmdir(path) == 0 || errno == ENOENT)
        return 0;
    if (errno != EBUSY)
        return -errno;
    fd_cleanup(&w->dir);
    w->dir = openat(AT_FDCWD, path, O_RDONLY | O_DIRECTORY | O_NOFOLLOW | O_CLOEXEC);
    if (w->dir < 0)
        return errno == ENOENT ? 0 : -errno;
    if (w->kill)
        (void)cgroup_kill_here(w->dir); /* what did not die is told by EBUSY */
    w->depth = 0;
    r = remove_below(w);
    if (r < 0)
        return r;
    return rmdir(path) == 0 || errno == ENOENT ? 0 : -errno;
}

int cgroup_remove_tree(const char *path, bool kill)
{
    __attribute__((cleanup(removal_cleanup))) struct removal w = { .dir = -1, .kill = kill };
    int64_t deadline = 0;
    long pause = FIRST_PAUSE_US;
    int r;

    for (;;) {
        unsigned removed = w.removed;

        r = try_remove(path, &w);
        if (r != -EBUSY)
            return r;
        if (deadline == 0 || w.removed > removed)
            deadline = now_ms() + REMOVE_TIMEOUT_MS;
        else if (now_ms() > deadline)
            return r;
        pause_us(pause);
        pause = pause * 2 > LAST_PAUSE_US ? LAST_PAUSE_US : pause * 2;
    }
}
