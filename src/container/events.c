/* SPDX-License-Identifier: Apache-2.0 */
/*
 * `events`: numbers at every interval and each out-of-memory kill, until the container has ended
 * (engine-contract 1.3.10). One poll(2) waits for everything.
 */
#include <errno.h>
#include <poll.h>
#include <signal.h>
#include <sys/signalfd.h>
#include <unistd.h>

#include "container/machine.h"

enum {
    ASK_MS = 100, /* how often what nobody tells is asked: see cgroup_oom.wake */
    NS_PER_MS = 1000000,
};

struct watch {
    const struct state_record *rec;
    const struct container_event_sink *sink;
    struct cgroup_oom oom;
    int pidfd, signals;
    pid_t pid;
    int64_t next_ns;
};

static int tell_stats(const struct watch *w, struct err *e)
{
    struct container_event event = { .id = w->rec->id, .signals = w->signals };
    struct container_stats stats;
    struct arena a;
    int r;

    arena_init(&a, NULL, 0); /* of its own: the stream may last for months */
    container_stats_read(w->rec, w->pid, &a, &stats);
    event.stats = &stats;
    event.arena = &a;
    r = w->sink->event(w->sink->arg, &event, e);
    arena_release(&a);
    return r;
}

static int tell_oom(struct watch *w, struct err *e)
{
    struct container_event event = { .id = w->rec->id, .signals = w->signals };
    int r = 0;

    for (uint64_t n = cgroup_oom_take(&w->oom); n > 0 && r == 0; n--)
        r = w->sink->event(w->sink->arg, &event, e);
    return r;
}

/* Without a pid namespace of its own other processes may go on after init. */
static bool is_empty(const struct state_record *rec)
{
    size_t n_paths, n = 0;
    struct arena a;
    const char *const *paths;
    pid_t *pids;

    arena_init(&a, NULL, 0);
    paths = container_cgroups(rec, &a, &n_paths);
    if (n_paths > 0 && cgroup_pids(paths[0], &a, &pids, &n, NULL) < 0)
        n = 0;
    arena_release(&a);
    return n == 0;
}

static int until_next(const struct watch *w)
{
    int64_t ms = (w->next_ns - container_clock_ns()) / NS_PER_MS + 1;

    if ((w->pidfd < 0 || (w->oom.count >= 0 && w->oom.wake < 0)) && ms > ASK_MS)
        ms = ASK_MS;
    return ms < 0 ? 0 : ms > INT32_MAX ? INT32_MAX : (int)ms;
}

/* 1: the container, or the caller, has had enough. */
static int turn(struct watch *w, int64_t interval_ns, struct err *e)
{
    struct pollfd fds[] = { { w->signals, POLLIN, 0 },
                            { w->pidfd, POLLIN, 0 },
                            { w->oom.wake, POLLIN, 0 } };
    int r;

    if (poll(fds, COUNT_OF(fds), until_next(w)) < 0 && errno != EINTR)
        return err_set(e, errno, "cannot wait for events of the container");
    if (fds[1].revents)
        fd_cleanup(&w->pidfd);
    r = tell_oom(w, e);
    if (r != 0)
        return r;
    if (fds[0].revents || (w->pidfd < 0 && is_empty(w->rec)))
        return 1;
    if (container_clock_ns() < w->next_ns)
        return 0;
    w->next_ns += interval_ns;
    if (w->next_ns < container_clock_ns()) /* asleep or stopped: not all of them at once */
        w->next_ns = container_clock_ns() + interval_ns;
    return tell_stats(w, e);
}

/* The caller's signals end the stream, not the process: what was written is whole. */
int container_end_signals(struct err *e)
{
    sigset_t set;
    int fd;

    sigemptyset(&set);
    sigaddset(&set, SIGINT);
    sigaddset(&set, SIGTERM);
    sigaddset(&set, SIGHUP);
    fd = sigprocmask(SIG_BLOCK, &set, NULL) < 0 ? -1 : signalfd(-1, &set, SFD_CLOEXEC);
    return fd < 0 ? err_set(e, errno, "cannot wait for signals") : fd;
}

static int stream(struct watch *w, int64_t interval_ns, struct arena *a, struct err *e)
{
    size_t n;
    const char *const *paths = container_cgroups(w->rec, a, &n);
    int r = 0;

    cgroup_oom_open(paths, n, &w->oom);
    w->next_ns = container_clock_ns() + interval_ns;
    while (r == 0)
        r = turn(w, interval_ns, e);
    cgroup_oom_close(&w->oom);
    return r < 0 ? r : 0;
}

/* The guest counts the container, the host the machine. */
struct of_machine {
    const struct state_record *rec;
    pid_t monitor;
    const struct container_event_sink *sink;
};

static int add_machine(void *arg, const struct container_event *event, struct err *e)
{
    const struct of_machine *m = arg;
    struct container_event with = *event;
    struct machine_memory memory;
    struct arena a = { 0 };
    int r = event->data ? machine_memory_read(m->rec, m->monitor, &a, &memory, e) : 0;

    with.machine = event->data ? &memory : NULL;
    if (r == 0)
        r = m->sink->event(m->sink->arg, &with, e);
    arena_release(&a);
    return r;
}

static int events_of_machine(const struct watch *w, const char *dir, int64_t interval_ns,
                             struct arena *a, struct err *e)
{
    struct of_machine m = { w->rec, w->pid, w->sink };
    const struct container_event_sink sink = { add_machine, &m };

    return machine_events(dir, w->rec->id, interval_ns, &sink, w->signals, a, e);
}

int container_events(const char *root, const char *id, int64_t interval_ns,
                     const struct container_event_sink *sink, struct arena *a, struct err *e)
{
    struct state_record rec;
    struct watch w = { .rec = &rec, .sink = sink, .pidfd = -1, .signals = -1 };
    const char *dir;
    int r = container_find(root, id, a, &dir, &rec, e);

    if (r == 0)
        r = state_status(dir, &rec, &w.pid, &w.pidfd, e);
    if (r >= 0 && w.pid == 0)
        r = container_not_running(id, e);
    if (r >= 0 && interval_ns > 0)
        r = w.signals = container_end_signals(e);
    if (r >= 0 && rec.isolation)
        r = events_of_machine(&w, dir, interval_ns, a, e);
    else if (r >= 0)
        r = interval_ns > 0 ? stream(&w, interval_ns, a, e) : tell_stats(&w, e);
    fd_cleanup(&w.signals);
    fd_cleanup(&w.pidfd);
    return r;
}
