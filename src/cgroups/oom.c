/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Who was killed for want of memory. v2 counts it in memory.events, whose change inotify(7) tells. v1
 * rings an eventfd (Documentation/admin-guide/cgroup-v1/memory.rst "OOM Control") before it kills; a
 * kernel without cgroup.event_control still counts in memory.oom_control, which is asked then.
 */
#include <errno.h>
#include <fcntl.h>
#include <string.h>
#include <sys/eventfd.h>
#include <sys/inotify.h>
#include <unistd.h>

#include "cgroups/internal.h"

enum { TEXT_SIZE = 1024 };

static uint64_t counted(const struct cgroup_oom *o)
{
    char text[TEXT_SIZE];
    ssize_t n = o->count < 0 ? -1 : pread(o->count, text, sizeof text - 1, 0);

    if (n <= 0) /* the cgroup is gone: ENODEV */
        return o->seen;
    text[n] = '\0';
    return stats_keyed(text, "oom_kill");
}

static int open_in(const char *dir, const char *name, int flags)
{
    AUTO_FD int d = openat(AT_FDCWD, dir, O_PATH | O_DIRECTORY | O_CLOEXEC);

    return d < 0 ? -1 : openat(d, name, flags | O_CLOEXEC);
}

static int watch_v2(struct cgroup_oom *o)
{
    AUTO_FD int fd = inotify_init1(IN_CLOEXEC | IN_NONBLOCK);
    char path[4096];

    if (fd < 0 || base_format(path, sizeof path, "%s/memory.events", o->path) >= sizeof path)
        return -1;
    return inotify_add_watch(fd, path, IN_MODIFY) < 0 ? -1 : take_fd(&fd);
}

/* "EVENTFD CONTROL" to cgroup.event_control. */
static int watch_v1(const struct cgroup_oom *o)
{
    AUTO_FD int fd = eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK);
    AUTO_FD int control = open_in(o->path, "cgroup.event_control", O_WRONLY);
    char text[64];
    size_t len = base_format(text, sizeof text, "%d %d", fd, o->count);

    if (fd < 0 || control < 0 || write(control, text, len) != (ssize_t)len)
        return -1;
    return take_fd(&fd);
}

void cgroup_oom_open(const char *const *paths, size_t n, struct cgroup_oom *out)
{
    struct cgroup_oom o = { .wake = -1, .count = -1 };

    for (size_t i = 0; i < n && o.count < 0; i++) {
        o.path = paths[i];
        o.count = open_in(paths[i], "memory.oom_control", O_RDONLY);
        if (o.count < 0) {
            o.count = open_in(paths[i], "memory.events", O_RDONLY);
            o.v2 = o.count >= 0;
        }
    }
    if (o.count >= 0) {
        o.wake = o.v2 ? watch_v2(&o) : watch_v1(&o);
        o.seen = counted(&o);
    }
    *out = o;
}

/* v1 rings once more when the cgroup is removed. */
static uint64_t rung(const struct cgroup_oom *o)
{
    uint64_t n = 0;

    if (read(o->wake, &n, sizeof n) != sizeof n)
        return 0;
    return n - (faccessat(AT_FDCWD, o->path, F_OK, 0) < 0);
}

uint64_t cgroup_oom_take(struct cgroup_oom *o)
{
    char changes[4096];
    uint64_t before = o->seen;

    if (o->wake >= 0 && !o->v2)
        return rung(o);
    while (o->wake >= 0 && read(o->wake, changes, sizeof changes) > 0)
        ;
    o->seen = counted(o);
    return o->seen - before;
}

void cgroup_oom_close(struct cgroup_oom *o)
{
    fd_cleanup(&o->wake);
    fd_cleanup(&o->count);
}
