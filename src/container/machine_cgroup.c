/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The resources of a machine, on the host's side. linux.resources limits the container, and the guest's teca keeps
 * all of it but what names processors, nodes and disks of the host. The cgroup at linux.cgroupsPath holds the machine itself:
 * the monitor, the emulator and the file server. It gets what the container may use and what these need
 * besides, so that it is the guest's limit that is met first.
 */
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "container/machine.h"
#include "mux/mux.h"

enum {
    /* MiB beyond the guest's memory. QEMU without KVM: 30 of its own with the kernel's file, and what it translates (MACHINE_TB_MIB). */
    EMULATED_MIB = 96 + MACHINE_TB_MIB,
    /* 16 of what the protocol's streams may hold, 8 for the processes, and the file server's fds that no guest is too small for. */
    VM_MIB = 80,
    /*
     * Threads and processes of the host: QEMU's and virtiofsd's, what a hook starts, and two for each process of `exec`. A
     * processor is a thread.
     */
    OWN_TASKS = 128 + 2 * MUX_PROCESSES,
};

/* "0-3,7" is 5; the list was checked when it was read. */
static uint64_t count_cpus(const char *list)
{
    uint64_t n = 0;

    for (const char *at = list; at && *at;) {
        char *end;
        unsigned long first = strtoul(at, &end, 10), last = first;

        if (*end == '-')
            last = strtoul(end + 1, &end, 10);
        if (end == at || last < first)
            break;
        n += last - first + 1;
        at = *end == ',' ? end + 1 : end;
    }
    return n;
}

/* As many as the quota can keep busy, and no more than the container may use of the host's. */
int64_t machine_cpus(const struct spec *s, unsigned host)
{
    enum { PERIOD_US = 100000 }; /* the kernel's, where none is told */
    const struct opt_u32 *own = &s->vm.hw_config.vcpus;
    const struct spec_cpu *cpu = &s->linux.resources.cpu;
    uint64_t period = cpu->period.set && cpu->period.v > 0 ? cpu->period.v : PERIOD_US;
    uint64_t listed = count_cpus(cpu->cpus), n = 1;

    if (s->vm.set && own->set)
        return own->v;
    if (cpu->quota.set && cpu->quota.v > 0)
        n = ((uint64_t)cpu->quota.v + period - 1) / period;
    else if (listed > 0)
        n = listed;
    if (listed > 0 && n > listed)
        n = listed;
    if (host > 0 && n > host)
        n = host;
    return n > MACHINE_CPUS_MAX ? MACHINE_CPUS_MAX : (int64_t)n;
}

static struct spec_device_rule every_device = { .allow = true, .access = "rwm" };

/*
 * What a guest knows of its files, the server has to remember until it forgets, and it is nobody's duty to forget: Linux does when its own
 * memory is short. So that memory is the bound. A file that Linux knows costs it 1 KiB at least (fuse_inode 832, dentry 192,
 * forget link 32 in Debian's 6.1), and us about 200 bytes: with 256 KiB for each MiB of the guest's no honest one comes to the
 * end, and who lies gets ENFILE. An open file costs the host's kernel up to 2.25 KiB (file, inode, name) that it cannot take back;
 * there are 32 for each MiB, and a number that suits the smallest. Fds in all are these, those of nodes, and as many of nodes
 * that were unlinked, which cannot be closed.
 */
enum {
    NODE_KIB = 256,
    HANDLES = 32,
    HANDLES_LEAST = 4096,
    FD_BYTES = 2304,
    /* virtiofsd has an fd for each file that the guest knows, so that a guest that knows many has an error, and is not killed. */
    FOREIGN_FDS = 128,
    FOREIGN_FDS_LEAST = 16384,
    TABLES_KIB = 4, /* page tables, the host's and the guest's, if no page is large */
};

struct machine_files_bounds machine_files_bounds(uint64_t memory_mib, bool ours)
{
    enum { SPARE = 64, MOST_FDS = 1 << 20 };
    struct machine_files_bounds b = { .node_bytes = (memory_mib * NODE_KIB) << 10 };
    uint64_t handles = HANDLES_LEAST + memory_mib * HANDLES;
    uint64_t fds = ours ? handles + UINT64_C(2) * MACHINE_NODE_FDS + SPARE
                        : FOREIGN_FDS_LEAST + memory_mib * FOREIGN_FDS;

    b.handles = handles < MOST_FDS ? (unsigned)handles : MOST_FDS;
    b.fds = fds < MOST_FDS ? (unsigned)fds : MOST_FDS;
    return b;
}

uint64_t machine_files_mib(uint64_t memory_mib)
{
    return (memory_mib * (NODE_KIB + TABLES_KIB) + (memory_mib * HANDLES * FD_BYTES >> 10)) >> 10;
}

void machine_set_files(unsigned fds)
{
    struct rlimit files;

    if (getrlimit(RLIMIT_NOFILE, &files) < 0)
        return;
    files.rlim_cur = files.rlim_max < fds ? files.rlim_max : fds;
    setrlimit(RLIMIT_NOFILE, &files);
}

/* Bytes of the host's limit; 0: none was asked for, and the machine's size is limit enough. */
static int64_t memory_limit(const struct spec *s, enum isolation mode)
{
    const struct opt_i64 *limit = &s->linux.resources.memory.limit;
    uint64_t own = mode == ISOLATION_VM ? VM_MIB : EMULATED_MIB, mib = machine_memory(s);

    if (!limit->set || limit->v <= 0)
        return 0;
    return (int64_t)((mib + machine_files_mib(mib) + own) << 20);
}

static void set_memory(const struct spec *s, enum isolation mode, struct spec_memory *out)
{
    const struct spec_memory *m = &s->linux.resources.memory;
    int64_t limit = memory_limit(s, mode);

    *out = (struct spec_memory){ .set = limit > 0, .limit = { limit > 0, limit } };
    /* The same swap beyond the limit as the container has. */
    if (limit > 0 && m->swap.set)
        out->swap = (struct opt_i64){ true, m->swap.v > m->limit.v
                                                ? limit + (m->swap.v - m->limit.v)
                                                : (m->swap.v < 0 ? -1 : limit) };
}

/*
 * For the first steps of the plan, and for those behind the boot: what of the document the cgroup's steps are
 * made from. Device rules are about the container's files, which are the guest's.
 */
struct machine_host *machine_host_of(const struct spec *s, enum isolation mode, struct arena *a)
{
    struct machine_host *out = arena_alloc(a, sizeof *out);
    const struct spec_resources *r = &s->linux.resources;
    struct spec_resources *first = &out->first.linux.resources;
    struct spec_resources *later = &out->later.linux.resources;

    out->first = out->later = *s;
    *first = *later = (struct spec_resources){ .set = true };
    set_memory(s, mode, &first->memory);
    first->devices = later->devices = &every_device;
    first->n_devices = later->n_devices = 1;
    first->block_io = r->block_io;
    first->cpu = (struct spec_cpu){ .set = r->cpu.cpus || r->cpu.mems,
                                    .cpus = r->cpu.cpus,
                                    .mems = r->cpu.mems };
    later->cpu = r->cpu;
    later->cpu.cpus = later->cpu.mems = NULL;
    later->cpu.realtime_runtime.set = later->cpu.realtime_period.set = false;
    out->both = out->first; /* which controllers are needed at all */
    out->both.linux.resources.cpu = r->cpu;
    out->both.linux.resources.pids.set = true;
    return out;
}

/* Is there something that counts tasks? A container asks for it by a limit, a machine takes it where it is. */
static bool counts_tasks(const struct cgroup_facts *f)
{
    for (size_t i = 0; i < f->n; i++) {
        const char *have = f->v[i].v2 ? f->v[i].available : f->v[i].controllers;

        for (const char *at = have; at && *at; at += strspn(at, ", \n")) {
            size_t len = strcspn(at, ", \n");

            if (len == 4 && memcmp(at, "pids", 4) == 0)
                return true;
            at += len;
        }
    }
    return false;
}

int machine_cgroup_gather(const struct container_options *o, const struct spec *s,
                          enum isolation mode, struct arena *a, struct machine_facts *f,
                          struct err *e)
{
    long cpus = sysconf(_SC_NPROCESSORS_ONLN);
    struct rlimit files;
    struct spec_resources *r;
    int result;

    f->fds = getrlimit(RLIMIT_NOFILE, &files) < 0 ? 0 : files.rlim_max;
    f->host_cpus = cpus > 0 ? (unsigned)cpus : 1;
    f->host = machine_host_of(s, mode, a);
    r = &f->host->first.linux.resources;
    result = facts_gather_cgroups(&f->host->both, o, a, &f->cgroup, e);
    if (result == 0 && counts_tasks(&f->cgroup)) {
        r->pids.set = true;
        r->pids.limit = (struct opt_i64){ true, OWN_TASKS + machine_cpus(s, f->host_cpus) };
    }
    return result;
}

/* ---- the plan -------------------------------------------------------------------------------- */

int machine_cgroup_make(const struct compile_in *in, const struct machine_facts *f, struct plan *p,
                        int *out_slot, struct err *e)
{
    const struct spec *s = &f->host->first;
    int r = systemd_compile_start(p, s, &f->cgroup, in->id, e);

    if (r == 0)
        r = cgroup_compile_make(p, s, &f->cgroup, out_slot, e);
    return r == 0 ? cgroup_compile_limits(p, s, &f->cgroup, e) : r;
}

int machine_cgroup_join(const struct machine_facts *f, struct plan *p, struct err *e)
{
    int r = cgroup_compile_make_v1(p, &f->cgroup, e);

    if (r == 0)
        r = cgroup_compile_late(p, &f->host->first, &f->cgroup, SLOT_NONE, e);
    if (r == 0)
        r = cgroup_compile_join(p, &f->cgroup, LANE_INIT, e);
    if (r == 0)
        systemd_compile_release(p);
    return r;
}

/* Once the machine is up: a quota would slow down its boot, which is not the container's work. */
int machine_cgroup_cap(const struct machine_facts *f, struct plan *p, struct err *e)
{
    const struct spec *s = &f->host->later;
    int r = s->linux.resources.cpu.set ? cgroup_compile_limits(p, s, &f->cgroup, e) : 0;

    return r == 0 && s->linux.resources.cpu.set
               ? cgroup_compile_late(p, s, &f->cgroup, SLOT_NONE, e)
               : r;
}
