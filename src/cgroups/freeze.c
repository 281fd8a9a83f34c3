/* SPDX-License-Identifier: Apache-2.0 */
/* Freezing a container, and who is in it. What lies below its cgroup is named by the container. */
#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <linux/magic.h>
#include <poll.h>
#include <stdlib.h>
#include <string.h>
#include <sys/vfs.h>
#include <time.h>
#include <unistd.h>

#include "cgroups/internal.h"

enum {
    TIMEOUT_MS = 10000,
    PAUSE_NS = 1000000,
    TRIES_BEFORE_THAW = 50, /* v1: see freeze_v1 */
    TEXT_SIZE = 256,
};

bool cgroup_is_v2(const char *path)
{
    struct statfs fs;

    return statfs(path, &fs) == 0 && fs.f_type == CGROUP2_SUPER_MAGIC;
}

static int read_text(const char *dir, const char *name, char text[TEXT_SIZE])
{
    char path[4096];
    AUTO_FD int fd = -1;
    ssize_t n;

    if (base_format(path, sizeof path, "%s/%s", dir, name) >= sizeof path)
        return -ENAMETOOLONG;
    fd = openat(AT_FDCWD, path, O_RDONLY | O_CLOEXEC);
    n = fd < 0 ? -1 : read(fd, text, TEXT_SIZE - 1);
    if (n < 0)
        return -errno;
    text[n] = '\0';
    return 0;
}

static int write_text(const char *dir, const char *name, const char *text)
{
    AUTO_FD int fd = openat(AT_FDCWD, dir, O_PATH | O_DIRECTORY | O_CLOEXEC);

    return fd < 0 ? -errno : file_write_once(fd, name, text, strlen(text));
}

bool cgroup_has_freezer(const char *path)
{
    char text[TEXT_SIZE];

    return read_text(path, "freezer.state", text) == 0 ||
           read_text(path, "cgroup.freeze", text) == 0;
}

bool cgroup_is_frozen(const char *path)
{
    char text[TEXT_SIZE];

    /* Not freezer.state, which also says what a parent does: "FREEZING" counts as paused. */
    if (read_text(path, "freezer.self_freezing", text) == 0 ||
        read_text(path, "cgroup.freeze", text) == 0)
        return text[0] == '1';
    return false;
}

static int64_t now_ms(void)
{
    struct timespec t;

    clock_gettime(CLOCK_MONOTONIC, &t);
    return (int64_t)t.tv_sec * 1000 + t.tv_nsec / 1000000;
}

/*
 * Linux, Documentation/admin-guide/cgroup-v1/freezer-subsystem.rst: a read brings the state up to
 * date. A task that forks meanwhile, or that waits for a frozen one in the kernel, can keep the
 * state at FREEZING; to thaw for a moment lets it come out.
 */
static int freeze_v1(const char *path)
{
    const struct timespec pause = { 0, PAUSE_NS };
    int64_t deadline = now_ms() + TIMEOUT_MS;
    char text[TEXT_SIZE];
    int r = 0;

    for (unsigned tries = 0; r == 0 && now_ms() < deadline; tries++) {
        if (tries % TRIES_BEFORE_THAW == TRIES_BEFORE_THAW - 1)
            r = write_text(path, "freezer.state", "THAWED");
        if (r == 0)
            r = write_text(path, "freezer.state", "FROZEN");
        if (r == 0)
            r = read_text(path, "freezer.state", text);
        if (r == 0 && str_starts(text, "FROZEN"))
            return 0;
        nanosleep(&pause, NULL);
    }
    return r < 0 ? r : -ETIMEDOUT;
}

/* cgroups(7): cgroup.events wakes poll(2) with POLLPRI when it changes. */
static int freeze_v2(const char *path, bool freeze)
{
    const char *wanted = freeze ? "frozen 1" : "frozen 0";
    int64_t deadline = now_ms() + TIMEOUT_MS;
    char name[4096], text[TEXT_SIZE];
    AUTO_FD int events = -1;
    int r = 0;

    base_format(name, sizeof name, "%s/cgroup.events", path);
    events = openat(AT_FDCWD, name, O_RDONLY | O_CLOEXEC);
    if (events < 0)
        return -errno;
    r = write_text(path, "cgroup.freeze", freeze ? "1" : "0");
    while (r == 0 && now_ms() < deadline) {
        struct pollfd change = { events, POLLPRI, 0 };
        ssize_t n = pread(events, text, sizeof text - 1, 0);

        if (n < 0)
            return -errno;
        text[n] = '\0';
        if (strstr(text, wanted))
            return 0;
        poll(&change, 1, 100);
    }
    return r < 0 ? r : -ETIMEDOUT;
}

int cgroup_freeze(const char *path, bool freeze, struct err *e)
{
    bool v2 = cgroup_is_v2(path);
    int r;

    if (v2)
        r = freeze_v2(path, freeze);
    else
        r = freeze ? freeze_v1(path) : write_text(path, "freezer.state", "THAWED");
    if (r >= 0)
        return 0;
    if (freeze)
        write_text(path, v2 ? "cgroup.freeze" : "freezer.state", v2 ? "0" : "THAWED");
    return err_set(e, -r, "cannot %s the cgroup '%s'", freeze ? "freeze" : "thaw", path);
}

/* ---- who is in it ---------------------------------------------------------------------------- */

struct walk {
    struct arena *arena;
    const char **dirs; /* those still to be visited are the last ones: no recursion */
    size_t n_dirs, cap_dirs;
    pid_t *pids;
    size_t n_pids, cap_pids;
};

static void add_dir(struct walk *w, const char *path)
{
    if (w->n_dirs == w->cap_dirs)
        w->dirs = arena_grow(w->arena, w->dirs, w->n_dirs, &w->cap_dirs, sizeof *w->dirs);
    w->dirs[w->n_dirs++] = path;
}

static void add_pid(pid_t pid, void *arg)
{
    struct walk *w = arg;

    if (pid <= 0) /* of a pid namespace that this one cannot see */
        return;
    if (w->n_pids == w->cap_pids)
        w->pids = arena_grow(w->arena, w->pids, w->n_pids, &w->cap_pids, sizeof *w->pids);
    w->pids[w->n_pids++] = pid;
}

static bool is_gone(int error)
{
    return error == ENOENT || error == ENODEV;
}

/* The processes of one directory, and the directories below it onto the list. */
static int visit(struct walk *w, const char *path)
{
    int fd = openat(AT_FDCWD, path, O_RDONLY | O_DIRECTORY | O_CLOEXEC), r;
    const struct dirent *entry;
    DIR *dir;

    if (fd < 0)
        return is_gone(errno) ? 0 : -errno;
    r = cgroup_each_process(fd, add_pid, w);
    /* A threaded cgroup lists its processes at the root of its domain only: EOPNOTSUPP here. */
    if (r < 0 && r != -EOPNOTSUPP && !is_gone(-r)) {
        close(fd);
        return r;
    }
    dir = fdopendir(fd);
    if (!dir) {
        close(fd);
        return -ENOMEM;
    }
    while ((entry = readdir(dir)))
        if (entry->d_type == DT_DIR && !str_eq(entry->d_name, ".") && !str_eq(entry->d_name, ".."))
            add_dir(w, arena_format(w->arena, "%s/%s", path, entry->d_name));
    closedir(dir);
    return 0;
}

static void walk_init(struct walk *w, const char *path, struct arena *a)
{
    enum { FIRST = 16 };

    *w = (struct walk){ .arena = a, .cap_dirs = FIRST, .cap_pids = FIRST };
    w->dirs = arena_array(a, FIRST, sizeof *w->dirs);
    w->pids = arena_array(a, FIRST, sizeof *w->pids);
    add_dir(w, path);
}

static int by_number(const void *a, const void *b)
{
    pid_t x = *(const pid_t *)a, y = *(const pid_t *)b;

    return (x > y) - (x < y);
}

static int visit_pids(int dir, void *arg)
{
    int r = cgroup_each_process(dir, add_pid, arg);

    /* A threaded cgroup lists its processes at the root of its domain only: EOPNOTSUPP here. */
    return r > 0 || r == -EOPNOTSUPP ? 0 : r;
}

int cgroup_pids(const char *path, struct arena *a, pid_t **pids, size_t *n, struct err *e)
{
    struct walk w;
    size_t kept = 0;
    int r;

    walk_init(&w, path, a);
    r = cgroup_walk(path, visit_pids, &w);
    if (r < 0)
        return err_set(e, -r, "cannot list the processes of the cgroup '%.200s'", path);
    qsort(w.pids, w.n_pids, sizeof *w.pids, by_number);
    for (size_t i = 0; i < w.n_pids; i++) /* one that moved while it was looked for */
        if (kept == 0 || w.pids[kept - 1] != w.pids[i])
            w.pids[kept++] = w.pids[i];
    *pids = w.pids;
    *n = kept;
    return 0;
}

int cgroup_to_enter(const char *path, pid_t pid, struct arena *a, const char **out, struct err *e)
{
    char text[TEXT_SIZE];
    struct walk w;
    int r = read_text(path, "cgroup.subtree_control", text);

    *out = path;
    if (r < 0)
        return err_set(e, -r, "cannot look at the cgroup '%s'", path);
    if (text[0] == '\0' || text[0] == '\n')
        return 0;
    walk_init(&w, path, a);
    while (w.n_dirs > 0) {
        const char *dir = w.dirs[--w.n_dirs];

        w.n_pids = 0;
        r = visit(&w, dir);
        for (size_t i = 0; r == 0 && i < w.n_pids; i++) {
            if (w.pids[i] == pid) {
                *out = dir;
                return 0;
            }
        }
    }
    return err_set(e, ENOENT, "the container's process is not below its cgroup '%s'", path);
}
