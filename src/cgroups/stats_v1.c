/* SPDX-License-Identifier: Apache-2.0 */
/* Linux, Documentation/admin-guide/cgroup-v1: which controllers a directory has, its files tell. */
#include <string.h>

#include "cgroups/internal.h"

enum { NS_PER_TICK = 1000000000 / 100 /* USER_HZ, fixed by the ABI */ };

static struct cgroup_numbers numbers(const char *text, struct arena *a)
{
    size_t cap = 16, n = 0;
    uint64_t *v = arena_array(a, cap, sizeof *v), value;

    while (text && stats_take_number(&text, &value)) {
        if (n == cap)
            v = arena_grow(a, v, n, &cap, sizeof *v);
        v[n++] = value;
        text += strspn(text, " \n");
    }
    return (struct cgroup_numbers){ v, n };
}

/* "cpu user system\n0 12 34\n1 ...": nanoseconds of each processor. */
static void read_usage_all(const char *text, struct arena *a, struct cgroup_stats *s)
{
    struct cgroup_numbers all = numbers(text ? text + strcspn(text, "0123456789") : NULL, a);
    uint64_t *user = arena_array(a, all.n / 3 + 1, sizeof *user);
    uint64_t *kernel = arena_array(a, all.n / 3 + 1, sizeof *kernel);

    for (size_t i = 0; i < all.n / 3; i++) {
        user[i] = all.v[3 * i + 1];
        kernel[i] = all.v[3 * i + 2];
    }
    s->cpu.percpu_user = (struct cgroup_numbers){ user, all.n / 3 };
    s->cpu.percpu_kernel = (struct cgroup_numbers){ kernel, all.n / 3 };
}

static void read_cpu(const char *dir, struct arena *a, struct cgroup_stats *s)
{
    const char *stat = stats_text(dir, "cpu.stat", a);

    if (stat) {
        s->cpu.has_throttling = true;
        s->cpu.periods = stats_keyed(stat, "nr_periods");
        s->cpu.throttled_periods = stats_keyed(stat, "nr_throttled");
        s->cpu.throttled_time = stats_keyed(stat, "throttled_time");
    }
    if (!stats_number(dir, "cpuacct.usage", a, &s->cpu.total))
        return;
    s->cpu.has_usage = true;
    stat = stats_text(dir, "cpuacct.stat", a);
    s->cpu.user = stats_keyed(stat, "user") * NS_PER_TICK;
    s->cpu.kernel = stats_keyed(stat, "system") * NS_PER_TICK;
    s->cpu.percpu = numbers(stats_text(dir, "cpuacct.usage_percpu", a), a);
    read_usage_all(stats_text(dir, "cpuacct.usage_all", a), a, s);
}

static void read_cpuset(const char *dir, struct arena *a, struct cgroup_stats *s)
{
    const struct {
        const char *name;
        uint64_t *out;
    } files[] = {
        { "cpuset.cpu_exclusive", &s->cpuset.cpu_exclusive },
        { "cpuset.mem_hardwall", &s->cpuset.mem_hardwall },
        { "cpuset.mem_exclusive", &s->cpuset.mem_exclusive },
        { "cpuset.memory_migrate", &s->cpuset.memory_migrate },
        { "cpuset.memory_spread_page", &s->cpuset.memory_spread_page },
        { "cpuset.memory_spread_slab", &s->cpuset.memory_spread_slab },
        { "cpuset.memory_pressure", &s->cpuset.memory_pressure },
        { "cpuset.sched_load_balance", &s->cpuset.sched_load_balance },
    };
    const char *cpus = stats_text(dir, "cpuset.cpus", a), *level;

    if (!cpus)
        return;
    s->cpuset.cpus = stats_ranges(cpus, a);
    s->cpuset.mems = stats_ranges(stats_text(dir, "cpuset.mems", a), a);
    for (size_t i = 0; i < COUNT_OF(files); i++)
        stats_number(dir, files[i].name, a, files[i].out);
    level = stats_text(dir, "cpuset.sched_relax_domain_level", a);
    if (level)
        str_to_i64(arena_strndup(a, level, strcspn(level, "\n")),
                   &s->cpuset.sched_relax_domain_level);
}

static void read_memory_use(const char *dir, const char *prefix, struct arena *a,
                            struct cgroup_memory_use *out)
{
    stats_number(dir, arena_format(a, "%s.usage_in_bytes", prefix), a, &out->usage);
    stats_number(dir, arena_format(a, "%s.max_usage_in_bytes", prefix), a, &out->max);
    stats_number(dir, arena_format(a, "%s.limit_in_bytes", prefix), a, &out->limit);
    stats_number(dir, arena_format(a, "%s.failcnt", prefix), a, &out->failcnt);
}

static void read_memory(const char *dir, struct arena *a, struct cgroup_stats *s)
{
    const char *stat = stats_text(dir, "memory.stat", a);

    if (!stat)
        return;
    s->memory.there = true;
    s->memory.cache = stats_keyed(stat, "cache");
    stats_memory_raw(s, stat, a);
    read_memory_use(dir, "memory", a, &s->memory.usage);
    read_memory_use(dir, "memory.memsw", a, &s->memory.swap);
    read_memory_use(dir, "memory.kmem", a, &s->memory.kernel);
    read_memory_use(dir, "memory.kmem.tcp", a, &s->memory.kernel_tcp);
}

/* "8:0 Read 4096", or "8:0 12" without a name; the sum over all devices has no device. */
static struct cgroup_io io_of(const char *text, struct arena *a)
{
    struct cgroup_io io = { 0 };
    size_t cap = 0;

    for (const char *line = text ? text : ""; *line;) {
        const char *end = line + strcspn(line, "\n");
        struct cgroup_io_entry one = { .op = "" };

        if (stats_take_number(&line, &one.major) && *line++ == ':' &&
            stats_take_number(&line, &one.minor) && *line++ == ' ') {
            size_t word = strspn(line, "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz");

            if (word > 0) {
                one.op = arena_strndup(a, line, word);
                line += word + (line[word] == ' ');
            }
            if (stats_take_number(&line, &one.value))
                stats_add_io(&io, &cap, &one, a);
        }
        line = end + (*end == '\n');
    }
    return io;
}

/* By whom the bytes are counted depends on the I/O scheduler: BFQ for itself, else the throttler. */
static void read_io(const char *dir, struct arena *a, struct cgroup_stats *s)
{
    static const struct {
        enum cgroup_io_kind kind;
        const char *name;
    } files[] = {
        { IO_BYTES, "io_service_bytes_recursive" },
        { IO_SERVICED, "io_serviced_recursive" },
        { IO_QUEUED, "io_queued_recursive" },
        { IO_SERVICE_TIME, "io_service_time_recursive" },
        { IO_WAIT_TIME, "io_wait_time_recursive" },
        { IO_MERGED, "io_merged_recursive" },
        { IO_TIME, "time_recursive" },
        { IO_SECTORS, "sectors_recursive" },
    };
    static const char *const counters[] = { "blkio.bfq", "blkio", "blkio.throttle" };

    for (size_t who = 0; who < COUNT_OF(counters); who++) {
        for (size_t i = 0; i < COUNT_OF(files); i++)
            s->io.kinds[files[i].kind] = io_of(
                stats_text(dir, arena_format(a, "%s.%s", counters[who], files[i].name), a), a);
        if (s->io.kinds[IO_BYTES].n > 0)
            return;
    }
}

static void read_hugetlb(const char *dir, struct arena *a, struct cgroup_stats *s)
{
    stats_hugetlb(dir, ".usage_in_bytes", s, a);
    for (size_t i = 0; i < s->n_hugetlb; i++) {
        struct cgroup_hugetlb *h = &s->hugetlb[i];

        stats_number(dir, arena_format(a, "hugetlb.%s.usage_in_bytes", h->size), a, &h->usage);
        stats_number(dir, arena_format(a, "hugetlb.%s.max_usage_in_bytes", h->size), a, &h->max);
        stats_number(dir, arena_format(a, "hugetlb.%s.failcnt", h->size), a, &h->failcnt);
    }
}

void stats_read_v1(const char *dir, struct arena *a, struct cgroup_stats *s)
{
    uint64_t limit = UINT64_MAX;
    const char *text;

    read_cpu(dir, a, s);
    read_cpuset(dir, a, s);
    read_memory(dir, a, s);
    if (stats_number(dir, "pids.current", a, &s->pids.current) &&
        stats_number(dir, "pids.max", a, &limit))
        s->pids.limit = limit == UINT64_MAX ? 0 : limit;
    if (s->io.kinds[IO_BYTES].n == 0)
        read_io(dir, a, s);
    if (s->n_hugetlb == 0)
        read_hugetlb(dir, a, s);
    text = stats_text(dir, "rdma.current", a);
    if (text) {
        stats_rdma(text, a, &s->rdma_current, &s->n_rdma_current);
        stats_rdma(stats_text(dir, "rdma.max", a), a, &s->rdma_limit, &s->n_rdma_limit);
    }
}
