/* SPDX-License-Identifier: Apache-2.0 */
/*
 * linux.resources as a list of writes: file, value, and the field that asked for it. Pure. The
 * start makes steps of it (compile.c), `update` carries it out (update.c). Devices are not written
 * but ruled: device_rules.c.
 *
 * A controller is taken where it is: in a v1 hierarchy that has it, else in the v2 tree. What
 * cannot be had at all is an error: a limit is never dropped.
 */
#include <errno.h>
#include <math.h>
#include <string.h>

#include "cgroups/internal.h"

#define AT "/linux/resources"

/* One property that is one file. NULL: that version of cgroups has nothing like it. */
struct knob {
    const char *pointer, *controller, *v1, *v2;
};

struct compiler {
    struct arena *a;
    const struct cgroup_facts *f;
    const struct spec_resources *r, *asked;
    struct cgroup_writes *out;
    struct err *e;
};

/* ---- where a controller is ------------------------------------------------------------------ */

static bool has_word(const char *list, const char separators[], const char *word)
{
    size_t len = strlen(word);

    for (const char *at = list; at && *at; at += strspn(at, separators)) {
        size_t n = strcspn(at, separators);

        if (n == len && strncmp(at, word, n) == 0)
            return true;
        at += n;
    }
    return false;
}

bool cgroup_has_controller(const struct cgroup_hierarchy *h, const char *name)
{
    return has_word(h->v2 ? h->available : h->controllers, ", \n", name);
}

const struct cgroup_hierarchy *cgroup_of_controller(const struct cgroup_facts *f, const char *name)
{
    const struct cgroup_hierarchy *found = NULL;

    for (size_t i = 0; i < f->n; i++)
        if (cgroup_has_controller(&f->v[i], name) && (!found || found->v2))
            found = &f->v[i];
    return found;
}

static const struct cgroup_hierarchy *v2_of(const struct cgroup_facts *f)
{
    for (size_t i = 0; i < f->n; i++)
        if (f->v[i].v2)
            return &f->v[i];
    return NULL;
}

static void hint_missing(const struct compiler *c)
{
    if (c->f->disabled)
        err_hint(c->e, "the container has no cgroup: --cgroup-manager disabled");
    else if (c->f->unprivileged)
        err_hint(c->e, "rootless needs no limits + no cgrouppath when no permission is granted for "
                       "cgroups");
}

static int missing(const struct compiler *c, const char *pointer, const char *file,
                   const char *controller)
{
    int r = err_at(c->e, pointer, 0,
                   "cannot set '%s': no cgroup hierarchy that the container can have has the "
                   "controller '%s'",
                   file, controller);

    hint_missing(c);
    return r;
}

static void need_controller(struct compiler *c, const char *name)
{
    struct cgroup_writes *out = c->out;

    for (size_t i = 0; i < out->n_controllers; i++)
        if (str_eq(out->controllers[i], name))
            return;
    if (out->n_controllers < COUNT_OF(out->controllers))
        out->controllers[out->n_controllers++] = name;
}

/* ---- one write ------------------------------------------------------------------------------ */

static struct cgroup_write *add(struct compiler *c, const struct cgroup_hierarchy *h,
                                const char *pointer, const char *file, const char *value)
{
    struct cgroup_writes *out = c->out;
    struct cgroup_write *w;

    if (out->n == out->cap || !out->v) {
        if (!out->v)
            out->v = arena_array(c->a, out->cap = 16, sizeof *out->v);
        else
            out->v = arena_grow(c->a, out->v, out->n, &out->cap, sizeof *out->v);
    }
    w = &out->v[out->n++];
    *w = (struct cgroup_write){
        .dir = h->path, .v2 = h->v2, .pointer = pointer, .file = file, .value = value
    };
    return w;
}

/* Finds the hierarchy of a knob and the file there. */
static int place(struct compiler *c, const struct knob *k, const struct cgroup_hierarchy **h,
                 const char **file)
{
    *h = cgroup_of_controller(c->f, k->controller);
    if (!*h && !k->v2 && v2_of(c->f) && v2_of(c->f)->available)
        return err_at(c->e, k->pointer, 0,
                      "cannot set '%s': this host has the controller '%s' in no v1 hierarchy, and "
                      "cgroup v2 has nothing like it",
                      k->v1, k->controller);
    if (!*h)
        return missing(c, k->pointer, c->f->unified && k->v2 ? k->v2 : k->v1, k->controller);
    *file = (*h)->v2 ? k->v2 : k->v1;
    if (!*file)
        return err_at(c->e, k->pointer, 0, "cgroup v%d has nothing like '%s'", (*h)->v2 ? 2 : 1,
                      (*h)->v2 ? k->v1 : k->v2);
    if ((*h)->v2)
        need_controller(c, k->controller);
    return 0;
}

static int set_text(struct compiler *c, const struct knob *k, const char *value)
{
    const struct cgroup_hierarchy *h;
    const char *file;
    int r = place(c, k, &h, &file);

    if (r == 0)
        add(c, h, k->pointer, file, value);
    return r;
}

static const char *number(struct compiler *c, int64_t v)
{
    return arena_format(c->a, "%ld", (long)v);
}

static const char *unsigned_number(struct compiler *c, uint64_t v)
{
    return arena_format(c->a, "%lu", (unsigned long)v);
}

/* Bytes, of which -1 are no limit. 0 is how engines write "not set". */
static int set_bytes(struct compiler *c, const struct knob *k, const struct opt_i64 *asked)
{
    const struct cgroup_hierarchy *h;
    const char *file;
    int r;

    if (!asked->set || asked->v == 0)
        return 0;
    r = place(c, k, &h, &file);
    if (r == 0)
        add(c, h, k->pointer, file, asked->v < 0 && h->v2 ? "max" : number(c, asked->v));
    return r;
}

/* ---- memory --------------------------------------------------------------------------------- */

static const struct knob memory_limit = { AT "/memory/limit", "memory", "memory.limit_in_bytes",
                                          "memory.max" };
static const struct knob memory_swap = { AT "/memory/swap", "memory", "memory.memsw.limit_in_bytes",
                                         "memory.swap.max" };

static int check_swap(struct compiler *c, int64_t limit, int64_t swap)
{
    if (swap > 0 && limit == 0)
        return err_at(c->e, memory_swap.pointer, 0,
                      "unable to set swap limit without memory limit");
    if (swap > 0 && limit > 0 && swap < limit)
        return err_at(c->e, memory_swap.pointer, 0,
                      "memory+swap limit %ld should be larger than or equal to memory limit %ld",
                      (long)swap, (long)limit);
    return 0;
}

/* config-linux.md "Memory": swap is the limit of memory and swap together; v2 counts swap alone. */
static const char *swap_of_v2(struct compiler *c, int64_t limit, int64_t swap)
{
    if (swap < 0)
        return "max";
    return number(c, limit < 0 ? swap : swap - limit);
}

/*
 * A kernel booted with swapaccount=0 or built without swap has no file for it: fine while nobody
 * wants less than what there is.
 */
static int set_swap(struct compiler *c, int64_t limit, int64_t swap)
{
    const struct cgroup_hierarchy *h;
    struct cgroup_write *w;
    const char *file, *value;
    int r = place(c, &memory_swap, &h, &file);

    if (r < 0)
        return r;
    value = h->v2 ? swap_of_v2(c, limit, swap) : number(c, swap);
    w = add(c, h, memory_swap.pointer, file, value);
    w->optional = swap < 0 || (h->v2 && str_eq(value, "0"));
    return 0;
}

/* v2 wants the swap first, lest memory that is over the limit is swapped out; v1 limit <= memsw. */
static int compile_limit(struct compiler *c)
{
    const struct spec_memory *asked = &c->asked->memory, *m = &c->r->memory;
    int64_t limit = m->limit.set ? m->limit.v : 0, swap = m->swap.set ? m->swap.v : 0;
    const struct cgroup_hierarchy *h;
    const char *file;
    bool v2;
    int r;

    if (!asked->limit.set && !asked->swap.set)
        return 0;
    if (asked->limit.set && limit < 0 && !asked->swap.set)
        swap = -1;
    r = check_swap(c, limit, swap);
    if (r < 0 || (limit == 0 && swap == 0))
        return r;
    r = place(c, &memory_limit, &h, &file);
    v2 = r == 0 && h->v2;
    if (r == 0 && v2 && swap != 0)
        r = set_swap(c, limit, swap);
    if (r == 0 && asked->limit.set)
        r = set_bytes(c, &memory_limit, &m->limit);
    if (r == 0 && !v2 && swap != 0 && (asked->swap.set || swap < 0))
        r = set_swap(c, limit, swap);
    return r;
}

/* v1 alone knows these; on v2 what says nothing new is no error. */
static int compile_memory_v1(struct compiler *c)
{
    static const struct knob kernel = { AT "/memory/kernel", "memory", "memory.kmem.limit_in_bytes",
                                        NULL };
    static const struct knob tcp = { AT "/memory/kernelTCP", "memory",
                                     "memory.kmem.tcp.limit_in_bytes", NULL };
    static const struct knob swappiness = { AT "/memory/swappiness", "memory", "memory.swappiness",
                                            NULL };
    static const struct knob oom = { AT "/memory/disableOOMKiller", "memory", "memory.oom_control",
                                     NULL };
    static const struct knob hierarchy = { AT "/memory/useHierarchy", "memory",
                                           "memory.use_hierarchy", NULL };
    const struct spec_memory *m = &c->asked->memory;
    const struct cgroup_hierarchy *h = cgroup_of_controller(c->f, "memory");
    bool v2 = h && h->v2;
    int r = m->kernel.v < 0 && v2 ? 0 : set_bytes(c, &kernel, &m->kernel);

    if (r == 0 && !(m->kernel_tcp.v < 0 && v2))
        r = set_bytes(c, &tcp, &m->kernel_tcp);
    if (r == 0 && m->swappiness.set)
        r = set_text(c, &swappiness, unsigned_number(c, m->swappiness.v));
    if (r == 0 && m->disable_oom_killer.set && (m->disable_oom_killer.v || c->r != c->asked) &&
        !(v2 && !m->disable_oom_killer.v))
        r = set_text(c, &oom, m->disable_oom_killer.v ? "1" : "0");
    if (r == 0 && m->use_hierarchy.set && !(v2 && m->use_hierarchy.v))
        r = set_text(c, &hierarchy, m->use_hierarchy.v ? "1" : "0");
    return r;
}

static int compile_memory(struct compiler *c)
{
    static const struct knob reservation = { AT "/memory/reservation", "memory",
                                             "memory.soft_limit_in_bytes", "memory.low" };
    int r = compile_limit(c);

    if (r == 0)
        r = set_bytes(c, &reservation, &c->asked->memory.reservation);
    return r < 0 ? r : compile_memory_v1(c);
}

/* ---- cpu ------------------------------------------------------------------------------------ */

enum { SHARES_MIN = 2, SHARES_MAX = 262144, WEIGHT_MAX = 10000, DEFAULT_PERIOD_US = 100000 };

/*
 * 2 shares become 1, 1024 (the default) become 100 (the default of v2), 262144 become 10000, and a
 * smooth curve lies between them. runc 1.3.2 and crun 1.23 compute it so; the line before them
 * made 39 of 1024.
 */
uint64_t cgroup_cpu_weight(uint64_t shares)
{
    double l;

    if (shares <= SHARES_MIN)
        return 1;
    if (shares >= SHARES_MAX)
        return WEIGHT_MAX;
    l = log2((double)shares);
    return (uint64_t)ceil(pow(10, l * (l + 125) / 612.0 - 7.0 / 34.0));
}

static int compile_shares(struct compiler *c)
{
    static const struct knob k = { AT "/cpu/shares", "cpu", "cpu.shares", "cpu.weight" };
    const struct spec_cpu *cpu = &c->r->cpu;
    const struct cgroup_hierarchy *h;
    const char *file;
    uint64_t shares = cpu->shares.v;
    int r;

    /* An idle cgroup has the least weight there is and takes no other. */
    if (!c->asked->cpu.shares.set || shares == 0 || (cpu->idle.set && cpu->idle.v == 1))
        return 0;
    r = place(c, &k, &h, &file);
    if (r < 0)
        return r;
    if (!h->v2 && (shares < SHARES_MIN || shares > SHARES_MAX)) /* it would be changed silently */
        return err_at(c->e, k.pointer, 0, "the %s allowed cpu-shares is %d",
                      shares < SHARES_MIN ? "minimum" : "maximum",
                      shares < SHARES_MIN ? SHARES_MIN : SHARES_MAX);
    add(c, h, k.pointer, file, unsigned_number(c, h->v2 ? cgroup_cpu_weight(shares) : shares));
    return 0;
}

/* One file on v2, so what is not asked for comes from what was asked for before. */
static int compile_quota(struct compiler *c)
{
    static const struct knob quota = { AT "/cpu/quota", "cpu", "cpu.cfs_quota_us", "cpu.max" };
    static const struct knob period = { AT "/cpu/period", "cpu", "cpu.cfs_period_us", "cpu.max" };
    const struct spec_cpu *asked = &c->asked->cpu, *cpu = &c->r->cpu;
    bool has_quota = asked->quota.set && asked->quota.v != 0;
    bool has_period = asked->period.set && asked->period.v != 0;
    uint64_t us = cpu->period.set && cpu->period.v ? cpu->period.v : DEFAULT_PERIOD_US;
    const struct cgroup_hierarchy *h;
    const char *file;
    int r;

    if (!has_quota && !has_period)
        return 0;
    r = place(c, has_quota ? &quota : &period, &h, &file);
    if (r < 0)
        return r;
    if (h->v2) {
        bool limited = cpu->quota.set && cpu->quota.v > 0;

        add(c, h, has_quota ? quota.pointer : period.pointer, file,
            limited ? arena_format(c->a, "%ld %lu", (long)cpu->quota.v, (unsigned long)us)
                    : arena_format(c->a, "max %lu", (unsigned long)us));
        return 0;
    }
    if (has_period)
        add(c, h, period.pointer, period.v1, unsigned_number(c, asked->period.v));
    if (has_quota)
        add(c, h, quota.pointer, quota.v1, number(c, asked->quota.v < 0 ? -1 : asked->quota.v));
    return 0;
}

static int compile_realtime(struct compiler *c)
{
    static const struct knob period = { AT "/cpu/realtimePeriod", "cpu", "cpu.rt_period_us", NULL };
    static const struct knob runtime = { AT "/cpu/realtimeRuntime", "cpu", "cpu.rt_runtime_us",
                                         NULL };
    const struct spec_cpu *cpu = &c->asked->cpu;
    int r = 0;

    if (cpu->realtime_period.set && cpu->realtime_period.v)
        r = set_text(c, &period, unsigned_number(c, cpu->realtime_period.v));
    if (r == 0 && cpu->realtime_runtime.set && cpu->realtime_runtime.v)
        r = set_text(c, &runtime, number(c, cpu->realtime_runtime.v));
    return r;
}

static int compile_cpu(struct compiler *c)
{
    static const struct knob idle = { AT "/cpu/idle", "cpu", "cpu.idle", "cpu.idle" };
    static const struct knob burst = { AT "/cpu/burst", "cpu", "cpu.cfs_burst_us",
                                       "cpu.max.burst" };
    static const struct knob cpus = { AT "/cpu/cpus", "cpuset", "cpuset.cpus", "cpuset.cpus" };
    static const struct knob mems = { AT "/cpu/mems", "cpuset", "cpuset.mems", "cpuset.mems" };
    const struct spec_cpu *cpu = &c->asked->cpu;
    int r = 0;

    if (cpu->idle.set && (cpu->idle.v || c->r != c->asked)) /* 0 is what a new cgroup has */
        r = set_text(c, &idle, number(c, cpu->idle.v));
    if (r == 0)
        r = compile_shares(c);
    if (r == 0)
        r = compile_quota(c);
    if (r == 0 && cpu->burst.set)
        r = set_text(c, &burst, unsigned_number(c, cpu->burst.v));
    if (r == 0)
        r = compile_realtime(c);
    if (r == 0 && cpu->cpus)
        r = set_text(c, &cpus, cpu->cpus);
    if (r == 0 && cpu->mems)
        r = set_text(c, &mems, cpu->mems);
    return r;
}

/* ---- pids ----------------------------------------------------------------------------------- */

/*
 * 0 is a limit: init may not fork. On v2 the clone of init itself would be refused by it, so it is
 * written when init is there, which is early enough: the program starts later.
 */
static int compile_pids(struct compiler *c)
{
    static const struct knob k = { AT "/pids/limit", "pids", "pids.max", "pids.max" };
    const struct opt_i64 *limit = &c->asked->pids.limit;
    int r;

    if (!limit->set)
        return 0;
    r = set_text(c, &k, limit->v < 0 ? "max" : number(c, limit->v));
    if (r == 0)
        c->out->v[c->out->n - 1].late = c->out->v[c->out->n - 1].v2;
    return r;
}

/* ---- block I/O ------------------------------------------------------------------------------ */

/* 10..1000 of blkio to 1..10000 of io.weight. */
static unsigned io_weight(unsigned weight)
{
    return 1 + (weight - 10) * 9999 / 990;
}

static const char *io_controller(const struct compiler *c)
{
    return cgroup_of_controller(c->f, "blkio") ? "blkio" : "io";
}

/*
 * A scheduler gives weights: BFQ has files of its own, and before Linux 5.0 CFQ had blkio.weight;
 * io.weight belongs to the io.cost model. device: "8:0 ", or "".
 */
static int set_weight(struct compiler *c, const char *pointer, unsigned weight, const char *device)
{
    const struct knob k = { pointer, io_controller(c),
                            device[0] ? "blkio.weight_device" : "blkio.weight", "io.bfq.weight" };
    const struct cgroup_hierarchy *h;
    struct cgroup_write *w;
    const char *file;
    int r;

    if (weight == 0)
        return 0;
    r = place(c, &k, &h, &file);
    if (r < 0)
        return r;
    w = add(c, h, pointer, file, arena_format(c->a, "%s%u", device, weight));
    if (h->v2) {
        w->or_file = "io.weight";
        w->or_value = arena_format(c->a, "%s%u", device, io_weight(weight));
    } else {
        w->or_file = device[0] ? "blkio.bfq.weight_device" : "blkio.bfq.weight";
        w->or_value = w->value;
    }
    if (device[0]) {
        w->key = arena_strndup(c->a, device, strlen(device) - 1);
        w->none = arena_format(c->a, h->v2 ? "%sdefault" : "%s0", device);
    }
    return 0;
}

/* Only CFQ had leaves. */
static int set_leaf_weight(struct compiler *c, const char *pointer, unsigned weight,
                           const char *device)
{
    const struct knob k = { pointer, io_controller(c),
                            device[0] ? "blkio.leaf_weight_device" : "blkio.leaf_weight", NULL };

    return weight == 0 ? 0 : set_text(c, &k, arena_format(c->a, "%s%u", device, weight));
}

static int compile_weight_devices(struct compiler *c)
{
    const struct spec_block_io *io = &c->asked->block_io;
    int r = 0;

    for (size_t i = 0; i < io->n_weight_device && r == 0; i++) {
        const struct spec_weight_device *d = &io->weight_device[i];
        const char *at = arena_format(c->a, AT "/blockIO/weightDevice/%zu", i);
        const char *device = arena_format(c->a, "%lu:%lu ", (unsigned long)d->major,
                                          (unsigned long)d->minor);

        if (d->weight.set)
            r = set_weight(c, arena_format(c->a, "%s/weight", at), d->weight.v, device);
        if (r == 0 && d->leaf_weight.set)
            r = set_leaf_weight(c, arena_format(c->a, "%s/leafWeight", at), d->leaf_weight.v,
                                device);
    }
    return r;
}

struct throttle_kind {
    const char *property, *v1, *v2; /* v2: the word in io.max */
    const struct spec_throttles *list;
};

/* io.max keeps the words that a line does not name; a rate of 0 is none, which v1 says by 0. */
static int compile_throttle(struct compiler *c, const struct throttle_kind *kind)
{
    int r = 0;

    for (size_t i = 0; i < kind->list->n && r == 0; i++) {
        const struct spec_throttle *t = &kind->list->v[i];
        const struct knob k = { arena_format(c->a, AT "/blockIO/%s/%zu", kind->property, i),
                                io_controller(c), kind->v1, "io.max" };
        const char *device = arena_format(c->a, "%lu:%lu", (unsigned long)t->major,
                                          (unsigned long)t->minor);
        const struct cgroup_hierarchy *h;
        struct cgroup_write *w;
        const char *file, *rate = unsigned_number(c, t->rate);

        r = place(c, &k, &h, &file);
        if (r < 0)
            return r;
        w = add(c, h, k.pointer, file,
                h->v2 ? arena_format(c->a, "%s %s=%s", device, kind->v2, t->rate ? rate : "max")
                      : arena_format(c->a, "%s %s", device, rate));
        w->key = device;
        w->none = h->v2 ? arena_format(c->a, "%s %s=max", device, kind->v2)
                        : arena_format(c->a, "%s 0", device);
    }
    return r;
}

static int compile_block_io(struct compiler *c)
{
    const struct spec_block_io *io = &c->asked->block_io;
    const struct throttle_kind kinds[] = {
        { "throttleReadBpsDevice", "blkio.throttle.read_bps_device", "rbps", &io->read_bps },
        { "throttleWriteBpsDevice", "blkio.throttle.write_bps_device", "wbps", &io->write_bps },
        { "throttleReadIOPSDevice", "blkio.throttle.read_iops_device", "riops", &io->read_iops },
        { "throttleWriteIOPSDevice", "blkio.throttle.write_iops_device", "wiops", &io->write_iops },
    };
    int r = 0;

    if (io->weight.set)
        r = set_weight(c, AT "/blockIO/weight", io->weight.v, "");
    if (r == 0 && io->leaf_weight.set)
        r = set_leaf_weight(c, AT "/blockIO/leafWeight", io->leaf_weight.v, "");
    if (r == 0)
        r = compile_weight_devices(c);
    for (size_t i = 0; i < COUNT_OF(kinds) && r == 0; i++)
        r = compile_throttle(c, &kinds[i]);
    return r;
}

/* ---- huge pages, network, RDMA -------------------------------------------------------------- */

/*
 * Reservations are counted since Linux 5.7, beside the pages that are there: without that limit a
 * program that reserves too much gets SIGBUS at a page fault in place of ENOMEM by mmap(2).
 */
static int compile_huge_pages(struct compiler *c)
{
    int r = 0;

    for (size_t i = 0; i < c->asked->n_hugepage_limits && r == 0; i++) {
        const struct spec_hugepage *page = &c->asked->hugepage_limits[i];
        const char *at = arena_format(c->a, AT "/hugepageLimits/%zu/limit", i);
        const char *size = page->page_size, *value = unsigned_number(c, page->limit);
        const struct knob rsvd = { at, "hugetlb",
                                   arena_format(c->a, "hugetlb.%s.rsvd.limit_in_bytes", size),
                                   arena_format(c->a, "hugetlb.%s.rsvd.max", size) };
        const struct knob k = { at, "hugetlb",
                                arena_format(c->a, "hugetlb.%s.limit_in_bytes", size),
                                arena_format(c->a, "hugetlb.%s.max", size) };

        r = set_text(c, &k, value);
        if (r == 0)
            r = set_text(c, &rsvd, value);
        if (r == 0)
            c->out->v[c->out->n - 1].optional = true;
    }
    return r;
}

static int compile_network(struct compiler *c)
{
    static const struct knob class = { AT "/network/classID", "net_cls", "net_cls.classid", NULL };
    int r = 0;

    if (c->asked->network.class_id.set)
        r = set_text(c, &class, unsigned_number(c, c->asked->network.class_id.v));
    for (size_t i = 0; i < c->asked->network.n_priorities && r == 0; i++) {
        const struct spec_if_priority *p = &c->asked->network.priorities[i];
        const struct knob k = { arena_format(c->a, AT "/network/priorities/%zu", i), "net_prio",
                                "net_prio.ifpriomap", NULL };

        r = set_text(c, &k, arena_format(c->a, "%s %u", p->name, p->priority));
        if (r == 0) {
            c->out->v[c->out->n - 1].key = p->name;
            c->out->v[c->out->n - 1].none = arena_format(c->a, "%s 0", p->name);
        }
    }
    return r;
}

static int compile_rdma(struct compiler *c)
{
    int r = 0;

    for (size_t i = 0; i < c->asked->n_rdma && r == 0; i++) {
        const struct spec_rdma *d = &c->asked->rdma[i];
        const struct knob k = { arena_format(c->a, AT "/rdma/%s", d->device), "rdma", "rdma.max",
                                "rdma.max" };
        const char *handles = "", *objects = "";

        if (d->hca_handles.set)
            handles = arena_format(c->a, " hca_handle=%u", d->hca_handles.v);
        if (d->hca_objects.set)
            objects = arena_format(c->a, " hca_object=%u", d->hca_objects.v);
        r = set_text(c, &k, arena_format(c->a, "%s%s%s", d->device, handles, objects));
        if (r == 0) {
            c->out->v[c->out->n - 1].key = d->device;
            c->out->v[c->out->n - 1].none = arena_format(c->a, "%s hca_handle=max hca_object=max",
                                                         d->device);
        }
    }
    return r;
}

/* ---- unified -------------------------------------------------------------------------------- */

/* The controller that has to be there for a file; NULL: none, the file is of every cgroup. */
static const char *controller_of_file(struct compiler *c, const struct cgroup_hierarchy *h,
                                      const char *file)
{
    static const char known[] = "cpu cpuset io memory pids hugetlb rdma misc perf_event dmem";
    const char *dot = strchr(file, '.');
    const char *name = dot ? arena_strndup(c->a, file, (size_t)(dot - file)) : "";

    if (dot && str_eq(dot, ".pressure"))
        return NULL;
    return has_word(h->available, " \n", name) || has_word(known, " ", name) ? name : NULL;
}

static void add_lines(struct compiler *c, const struct cgroup_hierarchy *h, const char *pointer,
                      const struct spec_pair *pair)
{
    const char *line = pair->value;

    do {
        size_t len = strcspn(line, "\n");
        struct cgroup_write *w = add(c, h, pointer, pair->key, arena_strndup(c->a, line, len));
        size_t word = strcspn(w->value, " ");

        if (memchr(w->value, ':', word))
            w->key = arena_strndup(c->a, w->value, word);
        line += len + (line[len] == '\n');
    } while (*line);
}

static int compile_unified(struct compiler *c)
{
    const struct cgroup_hierarchy *h = v2_of(c->f);

    for (size_t i = 0; i < c->asked->unified.n; i++) {
        const struct spec_pair *pair = &c->asked->unified.v[i];
        const char *pointer = arena_format(c->a, AT "/unified/%s", pair->key), *controller;

        if (!h) {
            err_at(c->e, pointer, 0, "cannot set '%s': the container has no v2 cgroup", pair->key);
            hint_missing(c);
            return -EINVAL;
        }
        controller = controller_of_file(c, h, pair->key);
        if (controller && !cgroup_has_controller(h, controller))
            return err_at(c->e, pointer, 0,
                          "cannot set '%s': the cgroup v2 hierarchy at '%s' does not have the "
                          "controller '%s'",
                          pair->key, h->mountpoint, controller);
        if (controller)
            need_controller(c, controller);
        add_lines(c, h, pointer, pair);
    }
    return 0;
}

int cgroup_compile_writes(const struct spec_resources *r, const struct spec_resources *asked,
                          const struct cgroup_facts *f, struct arena *a, struct cgroup_writes *out,
                          struct err *e)
{
    static int (*const groups[])(struct compiler * c) = {
        compile_memory,     compile_cpu,     compile_pids, compile_block_io,
        compile_huge_pages, compile_network, compile_rdma, compile_unified,
    };
    struct compiler c = { a, f, r, asked, out, e };
    int result = 0;

    *out = (struct cgroup_writes){ 0 };
    for (size_t i = 0; i < COUNT_OF(groups) && result == 0; i++)
        result = groups[i](&c);
    return result;
}

bool cgroup_resources_asked(const struct spec_resources *r)
{
    return r->memory.set || r->cpu.set || r->pids.set || r->block_io.set || r->n_hugepage_limits ||
           r->network.set || r->n_rdma || r->unified.n;
}
