/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Linux, Documentation/admin-guide/cgroup-v2.rst. On a hybrid host a v1 hierarchy may have counted
 * the same already; the v2 cgroup there has files of its controllers only, and cpu.stat always.
 */
#include <string.h>

#include "cgroups/internal.h"

enum { NS_PER_US = 1000 };

/* "some avg10=0.12 avg60=0.00 avg300=0.00 total=1234": psi.rst. */
static void take_line(const char *line, struct arena *a, struct cgroup_pressure_line *out)
{
    const char *const names[] = { " avg10=", " avg60=", " avg300=" };
    const char **const values[] = { &out->avg10, &out->avg60, &out->avg300 };
    const char *total = strstr(line, " total=");

    for (size_t i = 0; i < COUNT_OF(names); i++) {
        const char *at = strstr(line, names[i]);
        size_t len = at ? strspn(at + strlen(names[i]), "0123456789.") : 0;

        if (!at || len == 0)
            return;
        *values[i] = arena_strndup(a, at + strlen(names[i]), len);
    }
    total = total ? total + strlen(" total=") : "";
    stats_take_number(&total, &out->total);
}

static void read_pressure(const char *dir, const char *name, struct arena *a,
                          struct cgroup_pressure *out)
{
    const char *text = stats_text(dir, name, a);

    for (const char *line = text ? text : ""; *line;) {
        size_t len = strcspn(line, "\n");

        if (str_starts(line, "some"))
            take_line(arena_strndup(a, line, len), a, &out->some);
        else if (str_starts(line, "full"))
            take_line(arena_strndup(a, line, len), a, &out->full);
        line += len + (line[len] == '\n');
    }
}

static void read_cpu(const char *dir, struct arena *a, struct cgroup_stats *s)
{
    const char *stat = stats_text(dir, "cpu.stat", a);

    if (stat && !s->cpu.has_usage) {
        s->cpu.has_usage = true;
        s->cpu.total = stats_keyed(stat, "usage_usec") * NS_PER_US;
        s->cpu.user = stats_keyed(stat, "user_usec") * NS_PER_US;
        s->cpu.kernel = stats_keyed(stat, "system_usec") * NS_PER_US;
    }
    if (stat && !s->cpu.has_throttling) {
        s->cpu.has_throttling = true;
        s->cpu.periods = stats_keyed(stat, "nr_periods");
        s->cpu.throttled_periods = stats_keyed(stat, "nr_throttled");
        s->cpu.throttled_time = stats_keyed(stat, "throttled_usec") * NS_PER_US;
    }
    read_pressure(dir, "cpu.pressure", a, &s->cpu.pressure);
}

/* v1 counts memory and swap together, and so does this document: engine-contract 1.4.3. */
static void read_swap(const char *dir, struct arena *a, struct cgroup_stats *s)
{
    struct cgroup_memory_use *swap = &s->memory.swap;
    const struct cgroup_memory_use *memory = &s->memory.usage;

    if (!stats_number(dir, "memory.swap.current", a, &swap->usage))
        return;
    swap->limit = UINT64_MAX;
    stats_number(dir, "memory.swap.max", a, &swap->limit);
    stats_number(dir, "memory.swap.peak", a, &swap->max); /* Linux 6.5 */
    swap->failcnt = stats_keyed(stats_text(dir, "memory.swap.events", a), "max");
    swap->usage += memory->usage;
    if (swap->max)
        swap->max += memory->max;
    if (__builtin_add_overflow(swap->limit, memory->limit, &swap->limit))
        swap->limit = UINT64_MAX;
}

static void read_memory(const char *dir, struct arena *a, struct cgroup_stats *s)
{
    const char *stat;

    read_pressure(dir, "memory.pressure", a, &s->memory.pressure);
    if (s->memory.there || !stats_number(dir, "memory.current", a, &s->memory.usage.usage))
        return;
    s->memory.there = true;
    stat = stats_text(dir, "memory.stat", a);
    stats_memory_raw(s, stat, a);
    s->memory.cache = stats_keyed(stat, "file");
    s->memory.usage.limit = UINT64_MAX;
    stats_number(dir, "memory.max", a, &s->memory.usage.limit);
    stats_number(dir, "memory.peak", a, &s->memory.usage.max); /* Linux 5.19 */
    s->memory.usage.failcnt = stats_keyed(stats_text(dir, "memory.events", a), "max");
    s->memory.kernel.usage = stats_keyed(stat, "kernel"); /* Linux 5.18 */
    s->memory.kernel.limit = s->memory.kernel_tcp.limit = UINT64_MAX;
    read_swap(dir, a, s);
}

/* "8:0 rbytes=1 wbytes=2 rios=3 wios=4 dbytes=5 dios=6" */
static void read_io(const char *text, struct arena *a, struct cgroup_stats *s)
{
    static const struct {
        const char *key, *op;
        enum cgroup_io_kind kind;
    } keys[] = {
        { " rbytes=", "Read", IO_BYTES },    { " wbytes=", "Write", IO_BYTES },
        { " dbytes=", "Discard", IO_BYTES }, { " rios=", "Read", IO_SERVICED },
        { " wios=", "Write", IO_SERVICED },  { " dios=", "Discard", IO_SERVICED },
    };
    size_t cap[IO_KINDS] = { 0 };

    for (const char *line = text ? text : ""; *line;) {
        size_t len = strcspn(line, "\n");
        const char *at = line, *copy = arena_strndup(a, line, len);
        struct cgroup_io_entry one = { 0 };
        bool device = stats_take_number(&at, &one.major) && *at++ == ':' &&
                      stats_take_number(&at, &one.minor);

        for (size_t i = 0; device && i < COUNT_OF(keys); i++) {
            const char *value = strstr(copy, keys[i].key);

            one.op = keys[i].op;
            if (value && (value += strlen(keys[i].key), stats_take_number(&value, &one.value)))
                stats_add_io(&s->io.kinds[keys[i].kind], &cap[keys[i].kind], &one, a);
        }
        line += len + (line[len] == '\n');
    }
}

static void read_hugetlb(const char *dir, struct arena *a, struct cgroup_stats *s)
{
    stats_hugetlb(dir, ".current", s, a);
    for (size_t i = 0; i < s->n_hugetlb; i++) {
        struct cgroup_hugetlb *h = &s->hugetlb[i];

        stats_number(dir, arena_format(a, "hugetlb.%s.current", h->size), a, &h->usage);
        h->failcnt = stats_keyed(stats_text(dir, arena_format(a, "hugetlb.%s.events", h->size), a),
                                 "max");
    }
}

void stats_read_v2(const char *dir, struct arena *a, struct cgroup_stats *s)
{
    uint64_t limit = UINT64_MAX;
    const char *text;

    read_cpu(dir, a, s);
    read_memory(dir, a, s);
    if (s->cpuset.cpus.n == 0) {
        s->cpuset.cpus = stats_ranges(stats_text(dir, "cpuset.cpus.effective", a), a);
        s->cpuset.mems = stats_ranges(stats_text(dir, "cpuset.mems.effective", a), a);
    }
    if (s->pids.current == 0 && stats_number(dir, "pids.current", a, &s->pids.current) &&
        stats_number(dir, "pids.max", a, &limit))
        s->pids.limit = limit == UINT64_MAX ? 0 : limit;
    if (s->io.kinds[IO_BYTES].n == 0)
        read_io(stats_text(dir, "io.stat", a), a, s);
    read_pressure(dir, "io.pressure", a, &s->io.pressure);
    if (s->n_hugetlb == 0)
        read_hugetlb(dir, a, s);
    text = s->n_rdma_current ? NULL : stats_text(dir, "rdma.current", a);
    if (text) {
        stats_rdma(text, a, &s->rdma_current, &s->n_rdma_current);
        stats_rdma(stats_text(dir, "rdma.max", a), a, &s->rdma_limit, &s->n_rdma_limit);
    }
}
