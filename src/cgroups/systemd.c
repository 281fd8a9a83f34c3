/* SPDX-License-Identifier: Apache-2.0 */
/*
 * systemd as the manager of cgroups: which unit the container becomes, and what systemd must know of
 * its limits, so that it keeps them when it reloads. Pure. The rest of the limits, and the exact values,
 * are written to the files as ever. The unit begins with a process of the helper teca-systemd in it,
 * which leaves when init has come: so the clone can enter the cgroup here too.
 */
#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include "cgroups/internal.h"

enum {
    NAME_MAX_LENGTH = 255, /* unit names: systemd.unit(5) */
    US_PER_SECOND = 1000000,
    QUOTA_STEP_US = 10000, /* systemd rounds up to whole percents: engine-contract 5.1 */
    DEFAULT_PERIOD_US = 100000,
    TASKS_AT_START = 4, /* the helper, a stage, init, and one to spare */
};

/* ---- names ----------------------------------------------------------------------------------- */

static bool is_unit_name(const char *name)
{
    static const char allowed[] = "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789"
                                  ":-_.\\@";

    return name[0] && name[0] != '.' && strlen(name) <= NAME_MAX_LENGTH &&
           name[strspn(name, allowed)] == '\0';
}

static bool ends_in(const char *text, const char *end)
{
    size_t len = strlen(text), n = strlen(end);

    return len > n && str_eq(text + len - n, end);
}

/* "a-b.slice" lies in "a.slice": "/a.slice/a-b.slice". "-.slice" is the root. NULL: no valid slice. */
const char *systemd_slice_path(const char *slice, struct arena *a)
{
    size_t len = strlen(slice) - strlen(".slice");
    const char *path = "";

    if (str_eq(slice, "-.slice"))
        return "";
    if (!ends_in(slice, ".slice") || !is_unit_name(slice) || slice[0] == '-' ||
        slice[len - 1] == '-' || strstr(slice, "--"))
        return NULL;
    for (size_t i = 0; i <= len; i++)
        if (slice[i] == '-' || i == len)
            path = arena_format(a, "%s/%.*s.slice", path, (int)i, slice);
    return path;
}

static int wrong_format(const char *path, struct err *e)
{
    return err_at(e, "/linux/cgroupsPath", 0,
                  "expected cgroupsPath to be of format \"slice:prefix:name\" for systemd cgroups, "
                  "got \"%.200s\" instead",
                  path);
}

/* Engine-contract 5.1, "systemd driver". */
int systemd_unit_of(const char *cgroups_path, const char *id, struct arena *a,
                    struct cgroup_unit *u, const char **path, struct err *e)
{
    const char *given = cgroups_path && cgroups_path[0] ? cgroups_path
                                                        : arena_format(a, ":teca:%s", id);
    const char *first = strchr(given, ':'), *second = first ? strchr(first + 1, ':') : NULL;
    const char *name, *prefix, *slice, *above;

    if (!second || !second[1] || strchr(second + 1, ':') || strchr(given, '/'))
        return wrong_format(given, e);
    slice = arena_strndup(a, given, (size_t)(first - given));
    prefix = arena_strndup(a, first + 1, (size_t)(second - first - 1));
    name = second + 1;
    if (!slice[0])
        slice = u->user ? "user.slice" : "system.slice";
    else if (str_eq(slice, "-"))
        slice = "-.slice";
    u->slice = slice;
    if (!ends_in(name, ".slice"))
        name = prefix[0] ? arena_format(a, "%s-%s.scope", prefix, name)
                         : arena_format(a, "%s.scope", name);
    u->name = name;
    u->scope = !ends_in(name, ".slice");
    above = u->scope ? systemd_slice_path(slice, a) : systemd_slice_path(name, a);
    if (!is_unit_name(name) || !above)
        return wrong_format(given, e);
    *path = u->scope ? arena_format(a, "%s/%s", above, name) : above;
    if (u->user) /* the user's manager lives in a cgroup of its own: user@.service(5) */
        *path = arena_format(a, "/user.slice/user-%u.slice/user@%u.service%s", u->uid, u->uid,
                             *path);
    return 0;
}

int systemd_add_subgroup(const struct spec *s, struct arena *a, const char **path, struct err *e)
{
    const char *name = spec_annotation(s, SPEC_ANNOTATION_SYSTEMD_SUBGROUP);

    if (!name || !name[0])
        return 0;
    if (strchr(name, '/') || str_eq(name, ".") || str_eq(name, "..") ||
        strlen(name) > NAME_MAX_LENGTH)
        return err_set(e, 0, "the annotation %s must be one name of a cgroup, not '%.100s'",
                       spec_annotation_name(SPEC_ANNOTATION_SYSTEMD_SUBGROUP), name);
    *path = arena_format(a, "%s/%s", *path, name);
    return 0;
}

/* ---- properties ------------------------------------------------------------------------------- */

struct properties {
    struct arena *arena;
    const char **v;
    size_t n, cap;
    bool v2;
};

static void add(struct properties *p, const char *text)
{
    if (p->n + 1 >= p->cap) /* NULL-ended */
        p->v = arena_grow(p->arena, p->v, p->n, &p->cap, sizeof *p->v);
    p->v[p->n++] = text;
}

static void add_u64(struct properties *p, const char *name, uint64_t value)
{
    add(p, arena_format(p->arena, "%s=t:%lu", name, value));
}

/* -1 is no limit, 0 is nothing that was asked for. */
static void add_bytes(struct properties *p, const char *name, const struct opt_i64 *v)
{
    if (v->set && v->v != 0)
        add_u64(p, name, v->v < 0 ? UINT64_MAX : (uint64_t)v->v);
}

static void add_memory(struct properties *p, const struct spec_memory *m)
{
    add_bytes(p, p->v2 ? "MemoryMax" : "MemoryLimit", &m->limit);
    if (!p->v2)
        return;
    add_bytes(p, "MemoryLow", &m->reservation);
    if (m->limit.set && m->limit.v < 0 && !m->swap.set)
        add_u64(p, "MemorySwapMax", UINT64_MAX);
    else if (m->swap.set && m->swap.v < 0)
        add_u64(p, "MemorySwapMax", UINT64_MAX);
    else if (m->swap.set && m->swap.v > 0 && m->limit.set && m->limit.v > 0 &&
             m->swap.v >= m->limit.v) /* v2 counts swap alone */
        add_u64(p, "MemorySwapMax", (uint64_t)(m->swap.v - m->limit.v));
}

/* "0-2,7" as systemd's bit mask, lowest byte first, in hexadecimal. */
static const char *mask_of(const char *list, struct arena *a)
{
    struct cgroup_numbers numbers = stats_ranges(list, a);
    unsigned char bytes[1024] = { 0 };
    const char *text = "";
    size_t size = 0;

    for (size_t i = 0; i < numbers.n; i++) {
        if (numbers.v[i] / 8 >= sizeof bytes)
            continue;
        bytes[numbers.v[i] / 8] |= (unsigned char)(1U << numbers.v[i] % 8);
        size = numbers.v[i] / 8 + 1 > size ? numbers.v[i] / 8 + 1 : size;
    }
    for (size_t i = 0; i < size; i++)
        text = arena_format(a, "%s%02x", text, bytes[i]);
    return text;
}

static void add_quota(struct properties *p, const struct spec_cpu *cpu)
{
    uint64_t period = cpu->period.set && cpu->period.v ? cpu->period.v : DEFAULT_PERIOD_US;
    uint64_t quota = cpu->quota.v < 0 ? 0 : (uint64_t)cpu->quota.v, per_second;

    if (cpu->period.set && cpu->period.v)
        add_u64(p, "CPUQuotaPeriodUSec", cpu->period.v);
    if (!cpu->quota.set || cpu->quota.v == 0)
        return;
    if (cpu->quota.v < 0 || __builtin_mul_overflow(quota, US_PER_SECOND, &per_second)) {
        add_u64(p, "CPUQuotaPerSecUSec", UINT64_MAX);
        return;
    }
    per_second /= period;
    add_u64(p, "CPUQuotaPerSecUSec",
            (per_second + QUOTA_STEP_US - 1) / QUOTA_STEP_US * QUOTA_STEP_US);
}

static void add_cpu(struct properties *p, const struct spec_cpu *cpu)
{
    if (!p->v2 && cpu->shares.set && cpu->shares.v)
        add_u64(p, "CPUShares", cpu->shares.v);
    else if (cpu->idle.set && cpu->idle.v == 1)
        add_u64(p, "CPUWeight", 0); /* systemd 252 */
    else if (cpu->shares.set && cpu->shares.v)
        add_u64(p, "CPUWeight", cgroup_cpu_weight(cpu->shares.v));
    add_quota(p, cpu);
    if (p->v2 && cpu->cpus && cpu->cpus[0])
        add(p, arena_format(p->arena, "AllowedCPUs=ay:%s", mask_of(cpu->cpus, p->arena)));
    if (p->v2 && cpu->mems && cpu->mems[0])
        add(p, arena_format(p->arena, "AllowedMemoryNodes=ay:%s", mask_of(cpu->mems, p->arena)));
}

static void add_throttles(struct properties *p, const char *name, const struct spec_throttles *t)
{
    const char *text = "";

    for (size_t i = 0; i < t->n; i++)
        text = arena_format(p->arena, "%s%s/dev/block/%ld:%ld\t%lu", text, i ? "\n" : "",
                            t->v[i].major, t->v[i].minor, t->v[i].rate);
    if (t->n)
        add(p, arena_format(p->arena, "%s=a(st):%s", name, text));
}

/* systemd takes no limit per second of operations or bytes on v1 but by these names. */
static void add_io(struct properties *p, const struct spec_block_io *io)
{
    if (io->weight.set && io->weight.v && p->v2)
        add_u64(p, "IOWeight", 1 + (uint64_t)(io->weight.v - 10) * 9999 / 990);
    else if (io->weight.set && io->weight.v)
        add_u64(p, "BlockIOWeight", io->weight.v);
    add_throttles(p, p->v2 ? "IOReadBandwidthMax" : "BlockIOReadBandwidth", &io->read_bps);
    add_throttles(p, p->v2 ? "IOWriteBandwidthMax" : "BlockIOWriteBandwidth", &io->write_bps);
    if (!p->v2)
        return;
    add_throttles(p, "IOReadIOPSMax", &io->read_iops);
    add_throttles(p, "IOWriteIOPSMax", &io->write_iops);
}

/* Returns what must wait until the helper has left: a limit that it would meet itself. */
static const char *add_pids(struct properties *p, const struct opt_i64 *tasks)
{
    int64_t limit = tasks->v;

    if (!tasks->set)
        return NULL;
    if (limit >= TASKS_AT_START || limit < 0) {
        add_u64(p, "TasksMax", limit < 0 ? UINT64_MAX : (uint64_t)limit);
        return NULL;
    }
    return arena_format(p->arena, "TasksMax=t:%ld", limit > 0 ? limit : 1); /* systemd knows no 0 */
}

/* "max" or a plain number. The kernel takes suffixes too: those are known to the file alone. */
static bool read_limit(const char *text, uint64_t *out)
{
    *out = UINT64_MAX;
    return str_eq(text, "max") || str_to_u64(text, out) == 0;
}

/* cpu.max: "QUOTA PERIOD", "max PERIOD", or the quota alone (cgroup-v2.rst). */
static void add_cpu_max(struct properties *p, const char *text)
{
    const char *blank = strchr(text, ' ');
    struct spec_cpu cpu = { .quota = { .set = true, .v = -1 } };
    uint64_t quota;

    if (!read_limit(arena_strndup(p->arena, text, strcspn(text, " ")), &quota))
        return;
    if (blank && str_to_u64(blank + 1, &cpu.period.v) == 0)
        cpu.period.set = true;
    if (quota < INT64_MAX)
        cpu.quota.v = (int64_t)quota;
    add_quota(p, &cpu);
}

/* Behind the others: what `unified` names counts. pids.max is an item of its own: add_pids. */
static void add_unified(struct properties *p, const struct spec_pairs *files)
{
    static const char *const plain[][2] = {
        { "memory.min", "MemoryMin" },   { "memory.low", "MemoryLow" },
        { "memory.high", "MemoryHigh" }, { "memory.max", "MemoryMax" },
        { "cpu.weight", "CPUWeight" },   { "memory.swap.max", "MemorySwapMax" },
    };

    for (size_t i = 0; i < files->n; i++) {
        const char *name = files->v[i].key, *value = files->v[i].value;
        uint64_t number;

        for (size_t k = 0; k < COUNT_OF(plain); k++)
            if (str_eq(name, plain[k][0]) && read_limit(value, &number))
                add_u64(p, plain[k][1], number);
        if (str_eq(name, "cpu.max"))
            add_cpu_max(p, value);
        else if (str_eq(name, "cpuset.cpus") && value[0])
            add(p, arena_format(p->arena, "AllowedCPUs=ay:%s", mask_of(value, p->arena)));
        else if (str_eq(name, "cpuset.mems") && value[0])
            add(p, arena_format(p->arena, "AllowedMemoryNodes=ay:%s", mask_of(value, p->arena)));
    }
}

/* pids.max of `unified` goes before pids.limit. */
static struct opt_i64 tasks_of(const struct spec_resources *r)
{
    struct opt_i64 limit = r->pids.limit;
    uint64_t number;

    for (size_t i = 0; i < r->unified.n; i++)
        if (str_eq(r->unified.v[i].key, "pids.max") && read_limit(r->unified.v[i].value, &number))
            limit = (struct opt_i64){ .set = true, .v = number > INT64_MAX ? -1 : (int64_t)number };
    return limit;
}

void systemd_add_limits(const struct spec_resources *r, bool v2, struct arena *a,
                        const char *const **out, const char **late)
{
    struct properties p = { .arena = a, .cap = 16, .v2 = v2 };
    struct opt_i64 tasks = tasks_of(r);

    p.v = arena_array(a, p.cap, sizeof *p.v);
    add_memory(&p, &r->memory);
    add_cpu(&p, &r->cpu);
    add_io(&p, &r->block_io);
    if (v2)
        add_unified(&p, &r->unified);
    *late = add_pids(&p, &tasks);
    *out = p.v;
}

/* ---- update ------------------------------------------------------------------------------------- */

static bool same_name(const char *a, const char *b)
{
    size_t n = strcspn(a, "=");

    return strncmp(a, b, n + 1) == 0;
}

static bool has(const char *const *list, const char *property)
{
    for (; *list; list++)
        if (same_name(*list, property))
            return true;
    return false;
}

/* What a unit has for which nobody said anything: systemd.resource-control(5). */
static const char *unset(const char *property, struct arena *a)
{
    size_t name = strcspn(property, ":") + 1;
    bool list = property[strcspn(property, "=") + 1] == 'a';
    bool floor = str_starts(property, "MemoryLow=") || str_starts(property, "MemoryMin=");

    return arena_format(a, "%.*s%s", (int)name, property,
                        list    ? ""
                        : floor ? "0"
                                : "18446744073709551615");
}

static void add_set(struct properties *p, const struct spec_resources *r, bool v2)
{
    const char *const *limits, *late;

    systemd_add_limits(r, v2, p->arena, &limits, &late);
    for (; *limits; limits++)
        add(p, *limits);
    if (late)
        add(p, late);
}

const char *const *systemd_set_arguments(const struct cgroup_unit *u,
                                         const struct spec_resources *now,
                                         const struct spec_resources *before, bool v2,
                                         struct arena *a)
{
    struct properties p = { .arena = a, .cap = 16, .v2 = v2 }, old = p;
    size_t n;

    p.v = arena_array(a, p.cap, sizeof *p.v);
    old.v = arena_array(a, old.cap, sizeof *old.v);
    add(&p, "teca-systemd");
    if (u->user)
        add(&p, "--user");
    add(&p, "set");
    add(&p, u->name);
    n = p.n;
    add_set(&p, now, v2);
    add_set(&old, before, v2);
    for (size_t i = 0; i < old.n; i++)
        if (!has(p.v + n, old.v[i]))
            add(&p, unset(old.v[i], a));
    return p.n > n ? p.v : NULL;
}

/* ---- annotations -------------------------------------------------------------------------------- */

static bool is_letter(char c)
{
    return (c >= 'a' && c <= 'z') || (c >= 'A' && c <= 'Z');
}

/* "TimeoutStopSec" in seconds is "TimeoutStopUSec" in microseconds on the bus. */
static int add_seconds(struct properties *p, const char *name, size_t len, const char *value,
                       struct err *e)
{
    const char *at = value, *number = strchr(value, ' ');
    uint64_t seconds;

    at = number ? number + 1 : value; /* "uint64 5" */
    if (str_to_u64(at, &seconds) < 0 || seconds > UINT64_MAX / US_PER_SECOND)
        return err_set(e, 0,
                       "the annotation org.systemd.property.%s must be a number of seconds, not "
                       "'%.100s'",
                       name, value);
    add_u64(p, arena_format(p->arena, "%.*sUSec", (int)(len - 3), name), seconds * US_PER_SECOND);
    return 0;
}

/* Behind teca's own, so that they count: engine-contract 3.1. */
static int add_annotations(struct properties *p, const struct spec_pairs *notes, struct err *e)
{
    const char *prefix = spec_annotation_name(SPEC_ANNOTATION_SYSTEMD_PROPERTY);

    for (size_t i = 0; i < notes->n; i++) {
        const char *name = notes->v[i].key, *value = notes->v[i].value;
        size_t len;
        int r = 0;

        if (!str_starts(name, prefix))
            continue;
        name += strlen(prefix);
        for (len = 0; is_letter(name[len]); len++)
            ;
        if (len == 0 || name[len])
            return err_set(e, 0, "the annotation %s%.100s names no systemd property", prefix, name);
        if (len > 3 && str_eq(name + len - 3, "Sec") && name[len - 4] >= 'a' &&
            name[len - 4] <= 'z')
            r = add_seconds(p, name, len, value, e);
        else
            add(p, arena_format(p->arena, "%s=g:%s", name, value));
        if (r < 0)
            return r;
    }
    return 0;
}

/* ---- steps -------------------------------------------------------------------------------------- */

static void add_unit_properties(struct properties *p, const struct cgroup_unit *u, const char *id)
{
    add(p, arena_format(p->arena, "Description=s:teca container %s", id));
    if (u->scope) {
        add(p, arena_format(p->arena, "Slice=s:%s", u->slice));
        add(p, "Delegate=b:true");
        /* One whose process was killed for want of memory would stay as "failed". */
        add(p, "CollectMode=s:inactive-or-failed");
    } else if (!str_eq(u->slice, u->name)) {
        add(p, arena_format(p->arena, "Wants=as:%s", u->slice));
    }
    add(p, "DefaultDependencies=b:false");
    add(p, "MemoryAccounting=b:true");
    add(p, "CPUAccounting=b:true");
    add(p, p->v2 ? "IOAccounting=b:true" : "BlockIOAccounting=b:true");
    add(p, "TasksAccounting=b:true");
}

/* v2: no process may be in the unit itself then, cgroups(7) "no internal processes". */
static void add_subgroup(struct properties *p, const struct spec *s, const struct cgroup_facts *f)
{
    const char *name = spec_annotation(s, SPEC_ANNOTATION_SYSTEMD_SUBGROUP);

    if (f->unit.scope && f->unified && name && name[0])
        add(p, arena_format(p->arena, "in:%s", f->v[0].path));
}

int systemd_compile_start(struct plan *p, const struct spec *s, const struct cgroup_facts *f,
                          const char *id, struct err *e)
{
    struct properties list = { .arena = p->arena, .cap = 32, .v2 = f->unified };
    const char *const *limits, *late;
    struct op_unit_start *op;
    int r;

    if (!f->unit.name)
        return 0;
    list.v = arena_array(p->arena, list.cap, sizeof *list.v);
    add(&list, "teca-systemd");
    if (f->unit.user)
        add(&list, "--user");
    add(&list, "start");
    add(&list, f->unit.name);
    add_subgroup(&list, s, f);
    add_unit_properties(&list, &f->unit, id);
    systemd_add_limits(&s->linux.resources, f->unified, p->arena, &limits, &late);
    for (; *limits; limits++)
        add(&list, *limits);
    r = add_annotations(&list, &s->annotations, e);
    if (r < 0)
        return r;
    if (late) {
        add(&list, "then");
        add(&list, late);
    }
    op = &plan_add(p, OP_UNIT_START, LANE_RUNTIME, "/linux/cgroupsPath")->unit_start;
    op->helper = f->unit.helper;
    op->unit = f->unit.name;
    op->user = f->unit.user;
    op->argv = list.v;
    op->out_hold = plan_slot(p);
    op->out_answer = plan_slot(p);
    op->out_pid = plan_slot(p);
    return 0;
}

void systemd_compile_release(struct plan *p)
{
    int start = plan_find(p, OP_UNIT_START, 0), join = -1;
    struct step *st;

    if (start < 0)
        return;
    for (int i = plan_find(p, OP_CGROUP_JOIN, 0); i >= 0;
         i = plan_find(p, OP_CGROUP_JOIN, (size_t)i + 1))
        join = i;
    st = plan_add(p, OP_UNIT_RELEASE, LANE_RUNTIME, "/linux/cgroupsPath");
    st->after = join;
    st->unit_release.unit = p->steps[start].unit_start.unit;
    st->unit_release.hold = p->steps[start].unit_start.out_hold;
    st->unit_release.answer = p->steps[start].unit_start.out_answer;
    st->unit_release.pid = p->steps[start].unit_start.out_pid;
}

void systemd_compile_stop(struct plan *p, const struct cgroup_unit *u)
{
    struct op_unit_stop *op;

    if (!u->name)
        return;
    op = &plan_add(p, OP_UNIT_STOP, LANE_RUNTIME, "/linux/cgroupsPath")->unit_stop;
    op->helper = u->helper;
    op->unit = u->name;
    op->user = u->user;
}
