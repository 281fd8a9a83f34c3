/* SPDX-License-Identifier: Apache-2.0 */
/* Signals to everything in a cgroup and below it. Plain code for kill and delete. */
#include <errno.h>
#include <fcntl.h>
#include <signal.h>
#include <time.h>
#include <unistd.h>

#include "cgroups/internal.h"

enum { TIMEOUT_MS = 10000, PAUSE_NS = 500000 };

struct round {
    int signal;
    int count;
};

static int64_t now_ms(void)
{
    struct timespec t;

    clock_gettime(CLOCK_MONOTONIC, &t);
    return (int64_t)t.tv_sec * 1000 + t.tv_nsec / 1000000;
}

static void signal_process(pid_t pid, void *arg)
{
    const struct round *round = arg;

    if (pid > 0) /* 0: of a pid namespace that this one cannot see */
        kill(pid, round->signal);
}

static int visit(int dir, void *arg)
{
    struct round *round = arg;
    int n = cgroup_each_process(dir, signal_process, round);

    /* A threaded cgroup lists its processes at the root of its domain only. */
    if (n < 0)
        return n == -EOPNOTSUPP ? 0 : n;
    round->count += n;
    return 0;
}

static int thaw_one(int dir, void *arg)
{
    int r = file_write_once(dir, "freezer.state", "THAWED", 6);

    (void)arg;
    return r == -ENOENT ? 0 : r; /* another hierarchy */
}

int cgroup_thaw(const char *path)
{
    return cgroup_walk(path, thaw_one, NULL);
}

/* Everybody stands still while the list is read: who would fork meanwhile cannot escape it. */
static int one_round(const char *path, struct round *round)
{
    bool froze = cgroup_has_freezer(path) && !cgroup_is_frozen(path) &&
                 cgroup_freeze(path, true, NULL) == 0;
    int r;

    round->count = 0;
    r = cgroup_walk(path, visit, round);
    if (froze)
        cgroup_freeze(path, false, NULL);
    return r;
}

static int kill_v1(const char *path)
{
    const struct timespec pause = { 0, PAUSE_NS };
    struct round round = { .signal = SIGKILL, .count = 1 };
    int64_t deadline = now_ms() + TIMEOUT_MS;
    int r = 0;

    while (r == 0 && round.count > 0) {
        r = one_round(path, &round);
        if (r == 0 && round.count > 0) {
            r = cgroup_thaw(path); /* a frozen task dies when it is thawed */
            nanosleep(&pause, NULL);
        }
        if (now_ms() > deadline)
            return -EBUSY;
    }
    return r;
}

int cgroup_kill(const char *path, bool v2, struct err *e)
{
    AUTO_FD int dir = openat(AT_FDCWD, path, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
    int r = dir < 0 ? -errno : v2 ? file_write_once(dir, "cgroup.kill", "1", 1) : kill_v1(path);

    if (r == -ENOENT || r == -ENODEV || r >= 0)
        return 0;
    return err_set(e, -r, "cannot kill the processes in the cgroup '%s'", path);
}

int cgroup_signal(const char *path, int signal, struct err *e)
{
    struct round round = { .signal = signal };
    int r = one_round(path, &round);

    return r < 0 ? err_set(e, -r, "cannot signal the processes in the cgroup '%s'", path) : 0;
}
