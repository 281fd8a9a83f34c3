/* SPDX-License-Identifier: Apache-2.0 */
/* linux.memoryPolicy, set_mempolicy(2), and linux.personality, personality(2). */
#include <errno.h>
#include <linux/mempolicy.h>
#include <stdlib.h>
#include <string.h>
#include <sys/personality.h>
#include <sys/syscall.h>
#include <unistd.h>

#include "security/internal.h"

/* CONFIG_NODES_SHIFT is 10 at most. */
enum { MAX_NODES = 1024, NODE_BYTES = MAX_NODES / 8, LONG_BITS = 8 * sizeof(unsigned long) };

/* Newer than the oldest headers teca is built with: PREFERRED_MANY 5.15, WEIGHTED_INTERLEAVE 6.9. */
static const struct {
    const char *name;
    uint32_t number;
} modes[] = {
    { "MPOL_DEFAULT", 0 },
    { "MPOL_PREFERRED", 1 },
    { "MPOL_BIND", 2 },
    { "MPOL_INTERLEAVE", 3 },
    { "MPOL_LOCAL", 4 },
    { "MPOL_PREFERRED_MANY", 5 },
    { "MPOL_WEIGHTED_INTERLEAVE", 6 },
};

static const struct {
    const char *name;
    uint32_t bit;
} mode_flags[] = {
    { "MPOL_F_STATIC_NODES", 1U << 15 },
    { "MPOL_F_RELATIVE_NODES", 1U << 14 },
    { "MPOL_F_NUMA_BALANCING", 1U << 13 },
};

const char *sec_memory_policy_mode(size_t i)
{
    return i < COUNT_OF(modes) ? modes[i].name : NULL;
}

const char *sec_memory_policy_flag(size_t i)
{
    return i < COUNT_OF(mode_flags) ? mode_flags[i].name : NULL;
}

/* One number of a list; *at moves behind it. */
static bool read_node(const char **at, unsigned *out)
{
    unsigned n = 0;
    const char *c = *at;

    for (; *c >= '0' && *c <= '9'; c++) {
        n = n * 10 + (unsigned)(*c - '0');
        if (n >= MAX_NODES)
            return false;
    }
    if (c == *at)
        return false;
    *at = c;
    *out = n;
    return true;
}

bool sec_parse_nodes(const char *list, unsigned long *mask)
{
    for (;;) {
        unsigned first, last;

        if (!read_node(&list, &first))
            return false;
        last = first;
        if (*list == '-') {
            list++;
            if (!read_node(&list, &last) || last < first)
                return false;
        }
        for (unsigned n = first; n <= last; n++)
            mask[n / LONG_BITS] |= 1UL << n % LONG_BITS;
        if (*list == '\0')
            return true;
        if (*list++ != ',')
            return false;
    }
}

int sec_compile_memory_policy(struct plan *p, const struct spec *s, struct err *e)
{
    static const char pointer[] = "/linux/memoryPolicy";
    const struct strs *flags = &s->linux.memory_policy.flags;
    const char *nodes = s->linux.memory_policy.nodes;
    unsigned long *mask = NULL;
    struct op_memory_policy *op;

    if (!s->linux.memory_policy.set)
        return 0;
    if (nodes && nodes[0]) {
        mask = arena_alloc(p->arena, NODE_BYTES);
        if (!sec_parse_nodes(nodes, mask))
            return err_at(e, "/linux/memoryPolicy/nodes", 0,
                          "'%s' is no list of nodes like 0-3,7 (the highest possible is %d)", nodes,
                          MAX_NODES - 1);
    }
    op = &plan_add(p, OP_MEMORY_POLICY, LANE_INIT, pointer)->memory_policy;
    op->mode = s->linux.memory_policy.mode;
    op->flags = flags->n ? flags->v : NULL;
    op->nodes = mask ? nodes : NULL;
    op->mask = mask;
    op->mask_size = mask ? NODE_BYTES : 0;
    return 0;
}

/* Between clone and exec: no table of the compile phase is changed, the names are looked up. */
int step_memory_policy(const struct step *st, struct slots *slots, struct err *e)
{
    const struct op_memory_policy *op = &st->memory_policy;
    uint32_t mode = 0;
    int error;

    (void)slots;
    for (size_t i = 0; i < COUNT_OF(modes); i++)
        if (str_eq(op->mode, modes[i].name))
            mode = modes[i].number;
    for (const char *const *flag = op->flags; flag && *flag; flag++)
        for (size_t i = 0; i < COUNT_OF(mode_flags); i++)
            if (str_eq(*flag, mode_flags[i].name))
                mode |= mode_flags[i].bit;
    /* The kernel takes one bit less than it is told. */
    if (sys_note("set_mempolicy(2) of Linux 2.6",
                 syscall(SYS_set_mempolicy, mode, op->mask, op->mask ? MAX_NODES + 1 : 0)) == 0)
        return 0;
    error = errno;
    err_set(e, error, "cannot set the memory policy %s%s%s", op->mode, op->nodes ? " nodes " : "",
            op->nodes ? op->nodes : "");
    if (error == EINVAL)
        err_hint(e, "a node is not there or not in the cgroup's cpuset, or this kernel does not "
                    "know the mode or the combination of flags");
    else if (error == ENOSYS)
        err_hint(e, "this kernel is built without CONFIG_NUMA");
    return -error;
}

/* ---- personality --------------------------------------------------------------------------- */

void sec_compile_personality(struct plan *p, const struct spec *s)
{
    if (s->linux.personality.set)
        plan_add(p, OP_PERSONALITY, LANE_INIT, "/linux/personality")->personality.domain =
            s->linux.personality.domain;
}

/* Of the whole word: flags that the caller has, like ADDR_NO_RANDOMIZE, are not the container's. */
int step_personality(const struct step *st, struct slots *slots, struct err *e)
{
    unsigned long domain = str_eq(st->personality.domain, "LINUX32") ? PER_LINUX32 : PER_LINUX;
    int error;

    (void)slots;
    if (personality(domain) >= 0)
        return 0;
    error = errno;
    err_set(e, error, "cannot have the execution domain %s", st->personality.domain);
    if (error == EINVAL)
        err_hint(e, "this machine runs no 32-bit programs");
    return -error;
}
