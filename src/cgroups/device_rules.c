/* SPDX-License-Identifier: Apache-2.0 */
/*
 * linux.resources.devices: a list of rules in order becomes texts for v1's devices.allow and
 * devices.deny, or a small eBPF program for v2. Pure.
 *
 * A request names a device and one or more of mknod, read and write. The newest rule that speaks of
 * an access decides about it, and a request needs every one of its accesses. A rule of type "a" is
 * about everything, so what stands before it counts no more (cgroup v1 devices.rst).
 */
#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include "cgroups/internal.h"

enum { RULES_MAX = 4096, EVERY = -1 };

/*
 * What every container may use, behind the config's rules (engine-contract 5.3): nodes of any device
 * may be made, which opens none; then null, zero, full, random, urandom, tty, ptmx, the
 * terminals of a devpts, and tun, which runc keeps for the programs that count on it.
 */
static const struct device_rule presets[] = {
    { true, true, 'c', EVERY, EVERY, DEVICE_MKNOD },
    { true, true, 'b', EVERY, EVERY, DEVICE_MKNOD },
    { true, true, 'c', 1, 3, DEVICE_ANY },
    { true, true, 'c', 1, 5, DEVICE_ANY },
    { true, true, 'c', 1, 7, DEVICE_ANY },
    { true, true, 'c', 1, 8, DEVICE_ANY },
    { true, true, 'c', 1, 9, DEVICE_ANY },
    { true, true, 'c', 5, 0, DEVICE_ANY },
    { true, true, 'c', 5, 2, DEVICE_ANY },
    { true, true, 'c', 136, EVERY, DEVICE_ANY },
    { true, true, 'c', 10, 200, DEVICE_ANY },
};

/* ---- the list ------------------------------------------------------------------------------- */

static unsigned access_bits(const char *text)
{
    unsigned bits = 0;

    for (; text && *text; text++)
        bits |= *text == 'm' ? DEVICE_MKNOD : *text == 'r' ? DEVICE_READ : DEVICE_WRITE;
    return bits;
}

static bool is_about_all(const struct spec_device_rule *r)
{
    return !r->type || r->type[0] == 'a';
}

static bool overlap(int64_t a, int64_t b)
{
    return a == EVERY || b == EVERY || a == b;
}

/*
 * v1 keeps a default and exceptions from it. A rule that goes back to the default takes away the
 * exception of the very same numbers, and nothing of one that is wider or narrower.
 */
static bool is_lost_on_v1(const struct device_rules *list, const struct device_rule *r)
{
    if (r->allow != list->allow)
        return false;
    for (size_t i = 0; i < list->n; i++) {
        const struct device_rule *other = &list->v[i];
        bool same = other->major == r->major && other->minor == r->minor;

        if (other->allow != r->allow && other->type == r->type && (other->access & r->access) &&
            overlap(other->major, r->major) && overlap(other->minor, r->minor) && !same)
            return true;
    }
    return false;
}

static int add_rule(const struct spec_device_rule *from, size_t i, struct arena *a,
                    struct device_rules *out, struct err *e)
{
    struct device_rule r = { .allow = from->allow,
                             .major = from->major.set ? from->major.v : EVERY,
                             .minor = from->minor.set ? from->minor.v : EVERY,
                             .access = access_bits(from->access) };

    if (is_about_all(from)) {
        out->allow = from->allow;
        out->n = 0;
        out->v1_conflict = NULL;
        return 0;
    }
    if (r.access == 0)
        return err_at(e, arena_format(a, "/linux/resources/devices/%zu/access", i), 0,
                      "device access at %zu field cannot be empty", i);
    r.type = from->type[0];
    if (is_lost_on_v1(out, &r) && !out->v1_conflict)
        out->v1_conflict = arena_format(a, "/linux/resources/devices/%zu", i);
    out->v[out->n++] = r;
    return 0;
}

int device_rules_of(const struct spec_device_rule *v, size_t n, struct arena *a,
                    struct device_rules *out, struct err *e)
{
    int r = 0;

    *out = (struct device_rules){ .asked = n > 0 };
    if (n > RULES_MAX)
        return err_at(e, "/linux/resources/devices", E2BIG, "more than %d device rules", RULES_MAX);
    out->v = arena_array(a, n + COUNT_OF(presets), sizeof *out->v);
    for (size_t i = 0; i < n && r == 0; i++)
        r = add_rule(&v[i], i, a, out, e);
    memcpy(&out->v[out->n], presets, sizeof presets);
    out->n += COUNT_OF(presets);
    return r;
}

bool device_rules_forbid(const struct device_rules *r)
{
    if (!r->allow)
        return true;
    for (size_t i = 0; i < r->n; i++)
        if (!r->v[i].allow)
            return true;
    return false;
}

/* ---- as texts ------------------------------------------------------------------------------- */

static const char *number_text(struct arena *a, int64_t v)
{
    return v == EVERY ? "*" : arena_format(a, "%lu", (unsigned long)v);
}

static const char *rule_text(const struct device_rule *r, struct arena *a)
{
    return arena_format(a, "%s %c %s:%s %s%s%s", r->allow ? "allow" : "deny", r->type,
                        number_text(a, r->major), number_text(a, r->minor),
                        r->access & DEVICE_READ ? "r" : "", r->access & DEVICE_WRITE ? "w" : "",
                        r->access & DEVICE_MKNOD ? "m" : "");
}

const char *const *device_rules_texts(const struct device_rules *r, bool preset, struct arena *a)
{
    const char **list = arena_array(a, r->n + 2, sizeof *list);
    size_t n = 0;

    if (!preset)
        list[n++] = r->allow ? "allow a" : "deny a";
    for (size_t i = 0; i < r->n; i++)
        if (r->v[i].preset == preset)
            list[n++] = rule_text(&r->v[i], a);
    return list;
}

/* ---- as a program --------------------------------------------------------------------------- */

/*
 * struct bpf_cgroup_dev_ctx (linux/bpf.h): u32 access_type, its low half the type and its high half
 * the access; u32 major; u32 minor. The program returns 1: allowed, 0: EPERM.
 *
 *   r2 type   r3 the accesses that no rule has allowed yet   r4 major   r5 minor
 *
 * Newest rule first. Rules that stand together and say the same may be asked in any order, so they
 * are sorted, and the type and the major number are compared once for all that share it.
 */
enum { R0, R1, R2, R3, R4, R5, TYPE = R2, ACCESS = R3, MAJOR = R4, MINOR = R5 };
enum { TO_ALLOW = 1, TO_DENY = 2 }; /* in `imm` of BPF_EXIT while jumps are not resolved yet */

struct assembler {
    struct bpf_insn *v;
    size_t n;
    uint8_t *target; /* of each jump: TO_ALLOW, TO_DENY, 0: resolved */
};

static void emit(struct assembler *as, uint8_t code, unsigned dst, int16_t off, uint32_t imm)
{
    as->v[as->n] = (struct bpf_insn){ .code = code, .off = off, .imm = (int32_t)imm };
    as->v[as->n++].dst_reg = dst & 0xFu;
}

static void load(struct assembler *as, unsigned dst, size_t offset)
{
    emit(as, BPF_LDX | BPF_MEM | BPF_W, dst, (int16_t)offset, 0);
    as->v[as->n - 1].src_reg = R1;
}

/* A jump whose end is not known yet: its index. */
static size_t jump(struct assembler *as, uint8_t op, unsigned dst, uint32_t imm)
{
    emit(as, BPF_JMP32 | BPF_K | op, dst, 0, imm);
    return as->n - 1;
}

static void land(struct assembler *as, size_t from)
{
    as->v[from].off = (int16_t)(as->n - from - 1);
}

static void verdict(struct assembler *as, size_t from, bool allow)
{
    as->target[from] = allow ? TO_ALLOW : TO_DENY;
}

/* The rule's numbers fit: what does it say? */
static void emit_access(struct assembler *as, const struct device_rule *r)
{
    if (r->access == DEVICE_ANY) { /* r3 is never 0 here */
        verdict(as, jump(as, BPF_JSET, ACCESS, DEVICE_ANY), r->allow);
    } else if (r->allow) {
        emit(as, BPF_ALU | BPF_K | BPF_AND, ACCESS, 0, DEVICE_ANY & ~r->access);
        verdict(as, jump(as, BPF_JEQ, ACCESS, 0), true);
    } else {
        verdict(as, jump(as, BPF_JSET, ACCESS, r->access), false);
    }
}

static void emit_rule(struct assembler *as, const struct device_rule *r)
{
    size_t other;

    if (r->minor == EVERY) {
        emit_access(as, r);
    } else if (r->access == DEVICE_ANY) {
        verdict(as, jump(as, BPF_JEQ, MINOR, (uint32_t)r->minor), r->allow);
    } else {
        other = jump(as, BPF_JNE, MINOR, (uint32_t)r->minor);
        emit_access(as, r);
        land(as, other);
    }
}

static size_t same_major(const struct device_rule *v, size_t n)
{
    size_t i = 0;

    while (i < n && v[i].major == v[0].major)
        i++;
    return i;
}

static size_t same_type(const struct device_rule *v, size_t n)
{
    size_t i = 0;

    while (i < n && v[i].type == v[0].type && v[i].allow == v[0].allow)
        i++;
    return i;
}

static void emit_type(struct assembler *as, const struct device_rule *v, size_t n)
{
    uint32_t type = v[0].type == 'b' ? BPF_DEVCG_DEV_BLOCK : BPF_DEVCG_DEV_CHAR;
    size_t other = jump(as, BPF_JNE, TYPE, type);

    for (size_t i = 0, count; i < n; i += count) {
        size_t away = 0;

        count = same_major(v + i, n - i);
        if (v[i].major != EVERY)
            away = jump(as, BPF_JNE, MAJOR, (uint32_t)v[i].major);
        for (size_t k = i; k < i + count; k++)
            emit_rule(as, &v[k]);
        if (v[i].major != EVERY)
            land(as, away);
    }
    land(as, other);
}

static int by_number(const void *left, const void *right)
{
    const struct device_rule *a = left, *b = right;

    if (a->type != b->type)
        return a->type < b->type ? -1 : 1;
    if (a->major != b->major)
        return a->major < b->major ? -1 : 1;
    return (a->minor > b->minor) - (a->minor < b->minor);
}

/* Newest first, each run of rules that say the same sorted. */
static struct device_rule *sorted(const struct device_rules *r, struct arena *a)
{
    struct device_rule *v = arena_array(a, r->n, sizeof *v);

    for (size_t i = 0; i < r->n; i++)
        v[i] = r->v[r->n - 1 - i];
    for (size_t i = 0, end; i < r->n; i = end) {
        for (end = i; end < r->n && v[end].allow == v[i].allow; end++)
            ;
        qsort(&v[i], end - i, sizeof *v, by_number);
    }
    return v;
}

static void emit_exit(struct assembler *as, bool allow)
{
    emit(as, BPF_ALU64 | BPF_K | BPF_MOV, R0, 0, allow);
    emit(as, BPF_JMP | BPF_EXIT, 0, 0, 0);
}

/* What no rule decided; then the two ends that the jumps go to. */
static int emit_ends(struct assembler *as, bool allow, struct err *e)
{
    size_t ends[3] = { 0 };

    emit_exit(as, allow);
    ends[allow ? TO_ALLOW : TO_DENY] = as->n - 2;
    ends[allow ? TO_DENY : TO_ALLOW] = as->n;
    emit_exit(as, !allow);
    for (size_t i = 0; i < as->n; i++) {
        size_t distance = as->target[i] ? ends[as->target[i]] - i - 1 : 0;

        if (distance > INT16_MAX)
            return err_at(e, "/linux/resources/devices", E2BIG, "too many device rules");
        if (as->target[i])
            as->v[i].off = (int16_t)distance;
    }
    return 0;
}

const struct bpf_insn *device_program(const struct device_rules *r, struct arena *a, size_t *out_n,
                                      struct err *e)
{
    enum { FRAME = 16, A_RULE = 6 };
    size_t cap = FRAME + A_RULE * r->n;
    struct assembler as = { .v = arena_array(a, cap, sizeof *as.v),
                            .target = arena_array(a, cap, 1) };
    const struct device_rule *v = sorted(r, a);

    load(&as, TYPE, offsetof(struct bpf_cgroup_dev_ctx, access_type));
    emit(&as, BPF_ALU64 | BPF_X | BPF_MOV, ACCESS, 0, 0);
    as.v[as.n - 1].src_reg = TYPE;
    emit(&as, BPF_ALU | BPF_K | BPF_AND, TYPE, 0, 0xFFFF);
    emit(&as, BPF_ALU | BPF_K | BPF_RSH, ACCESS, 0, 16);
    load(&as, MAJOR, offsetof(struct bpf_cgroup_dev_ctx, major));
    load(&as, MINOR, offsetof(struct bpf_cgroup_dev_ctx, minor));
    for (size_t i = 0, count; i < r->n; i += count) {
        count = same_type(v + i, r->n - i);
        emit_type(&as, v + i, count);
    }
    if (emit_ends(&as, r->allow, e) < 0)
        return NULL;
    *out_n = as.n;
    return as.v;
}
