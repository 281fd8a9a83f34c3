/* SPDX-License-Identifier: Apache-2.0 */
/* The numbers as go-runc, and what is built on it, wants to read them: engine-contract 1.4.3. */
#include <string.h>

#include "cgroups/internal.h"

static void write_numbers(struct json_out *j, const char *key, const struct cgroup_numbers *n)
{
    if (n->n == 0)
        return;
    json_open_array(j, key);
    for (size_t i = 0; i < n->n; i++)
        json_add_u64(j, NULL, n->v[i]);
    json_close_array(j);
}

/* The kernel's own decimal text, "0.12", without a detour through binary. */
static void write_decimal(struct json_out *j, const char *key, const char *text)
{
    struct json number = { .type = JSON_NUMBER, .text = text, .len = strlen(text) };

    json_add_value(j, key, &number);
}

static void write_line(struct json_out *j, const char *key, const struct cgroup_pressure_line *l)
{
    if (!l->avg10 || !l->avg60 || !l->avg300)
        return;
    json_open_object(j, key);
    write_decimal(j, "avg10", l->avg10);
    write_decimal(j, "avg60", l->avg60);
    write_decimal(j, "avg300", l->avg300);
    json_add_u64(j, "total", l->total);
    json_close_object(j);
}

static void write_pressure(struct json_out *j, const struct cgroup_pressure *p)
{
    if (!p->some.avg10 && !p->full.avg10)
        return;
    json_open_object(j, "psi");
    write_line(j, "some", &p->some);
    write_line(j, "full", &p->full);
    json_close_object(j);
}

static void write_cpu(struct json_out *j, const struct cgroup_stats *s)
{
    json_open_object(j, "cpu");
    json_open_object(j, "usage");
    json_add_u64(j, "total", s->cpu.total);
    write_numbers(j, "percpu", &s->cpu.percpu);
    write_numbers(j, "percpu_kernel", &s->cpu.percpu_kernel);
    write_numbers(j, "percpu_user", &s->cpu.percpu_user);
    json_add_u64(j, "kernel", s->cpu.kernel);
    json_add_u64(j, "user", s->cpu.user);
    json_close_object(j);
    json_open_object(j, "throttling");
    json_add_u64(j, "periods", s->cpu.periods);
    json_add_u64(j, "throttledPeriods", s->cpu.throttled_periods);
    json_add_u64(j, "throttledTime", s->cpu.throttled_time);
    json_close_object(j);
    write_pressure(j, &s->cpu.pressure);
    json_close_object(j);
}

static void write_cpuset(struct json_out *j, const struct cgroup_stats *s)
{
    json_open_object(j, "cpuset");
    write_numbers(j, "cpus", &s->cpuset.cpus);
    json_add_u64(j, "cpu_exclusive", s->cpuset.cpu_exclusive);
    write_numbers(j, "mems", &s->cpuset.mems);
    json_add_u64(j, "mem_hardwall", s->cpuset.mem_hardwall);
    json_add_u64(j, "mem_exclusive", s->cpuset.mem_exclusive);
    json_add_u64(j, "memory_migrate", s->cpuset.memory_migrate);
    json_add_u64(j, "memory_spread_page", s->cpuset.memory_spread_page);
    json_add_u64(j, "memory_spread_slab", s->cpuset.memory_spread_slab);
    json_add_u64(j, "memory_pressure", s->cpuset.memory_pressure);
    json_add_u64(j, "sched_load_balance", s->cpuset.sched_load_balance);
    json_add_i64(j, "sched_relax_domain_level", s->cpuset.sched_relax_domain_level);
    json_close_object(j);
}

static void write_use(struct json_out *j, const char *key, const struct cgroup_memory_use *u)
{
    json_open_object(j, key);
    json_add_u64(j, "limit", u->limit);
    json_add_u64(j, "usage", u->usage);
    json_add_u64(j, "max", u->max);
    json_add_u64(j, "failcnt", u->failcnt);
    json_close_object(j);
}

static void write_memory(struct json_out *j, const struct cgroup_stats *s)
{
    json_open_object(j, "memory");
    json_add_u64(j, "cache", s->memory.cache);
    write_use(j, "usage", &s->memory.usage);
    write_use(j, "swap", &s->memory.swap);
    write_use(j, "kernel", &s->memory.kernel);
    write_use(j, "kernelTCP", &s->memory.kernel_tcp);
    json_open_object(j, "raw");
    for (size_t i = 0; i < s->memory.n_raw; i++)
        json_add_u64(j, s->memory.raw[i].name, s->memory.raw[i].value);
    json_close_object(j);
    write_pressure(j, &s->memory.pressure);
    json_close_object(j);
}

static void write_io(struct json_out *j, const struct cgroup_stats *s)
{
    static const char *const names[IO_KINDS] = {
        [IO_BYTES] = "ioServiceBytesRecursive", [IO_SERVICED] = "ioServicedRecursive",
        [IO_QUEUED] = "ioQueueRecursive",       [IO_SERVICE_TIME] = "ioServiceTimeRecursive",
        [IO_WAIT_TIME] = "ioWaitTimeRecursive", [IO_MERGED] = "ioMergedRecursive",
        [IO_TIME] = "ioTimeRecursive",          [IO_SECTORS] = "sectorsRecursive",
    };

    json_open_object(j, "blkio");
    for (size_t kind = 0; kind < IO_KINDS; kind++) {
        const struct cgroup_io *io = &s->io.kinds[kind];

        if (io->n == 0)
            continue;
        json_open_array(j, names[kind]);
        for (size_t i = 0; i < io->n; i++) {
            json_open_object(j, NULL);
            json_add_u64(j, "major", io->v[i].major);
            json_add_u64(j, "minor", io->v[i].minor);
            if (io->v[i].op[0])
                json_add_string(j, "op", io->v[i].op);
            json_add_u64(j, "value", io->v[i].value);
            json_close_object(j);
        }
        json_close_array(j);
    }
    write_pressure(j, &s->io.pressure);
    json_close_object(j);
}

static void write_rdma(struct json_out *j, const char *key, const struct cgroup_rdma *v, size_t n)
{
    json_open_array(j, key);
    for (size_t i = 0; i < n; i++) {
        json_open_object(j, NULL);
        json_add_string(j, "device", v[i].device);
        json_add_u64(j, "hcaHandles", v[i].handles);
        json_add_u64(j, "hcaObjects", v[i].objects);
        json_close_object(j);
    }
    json_close_array(j);
}

void cgroup_stats_write(const struct cgroup_stats *s, struct json_out *j)
{
    write_cpu(j, s);
    write_cpuset(j, s);
    write_memory(j, s);
    json_open_object(j, "pids");
    json_add_u64(j, "current", s->pids.current);
    json_add_u64(j, "limit", s->pids.limit);
    json_close_object(j);
    write_io(j, s);
    json_open_object(j, "hugetlb");
    for (size_t i = 0; i < s->n_hugetlb; i++) {
        json_open_object(j, s->hugetlb[i].size);
        json_add_u64(j, "usage", s->hugetlb[i].usage);
        json_add_u64(j, "max", s->hugetlb[i].max);
        json_add_u64(j, "failcnt", s->hugetlb[i].failcnt);
        json_close_object(j);
    }
    json_close_object(j);
    if (s->n_rdma_current ||
        s->n_rdma_limit) { /* beyond the contract, where there is such a device */
        json_open_object(j, "rdma");
        write_rdma(j, "current", s->rdma_current, s->n_rdma_current);
        write_rdma(j, "limit", s->rdma_limit, s->n_rdma_limit);
        json_close_object(j);
    }
}
