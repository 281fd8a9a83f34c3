/* SPDX-License-Identifier: Apache-2.0 */
/* process.execCPUAffinity: a list of CPUs as the mask that sched_setaffinity(2) takes. */
#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include "security/internal.h"

enum { MAX_CPUS = 8192 }; /* the largest NR_CPUS that a kernel is configured with */

/* The list has passed spec's rule: numbers and ranges, commas, spaces. */
static int fill(const char *cpus, unsigned char *mask)
{
    while (*cpus) {
        unsigned long low, high;
        char *end;

        cpus += strspn(cpus, " ,");
        if (*cpus == '\0')
            break;
        low = high = strtoul(cpus, &end, 10);
        end += strspn(end, " ");
        if (*end == '-')
            high = strtoul(end + 1, &end, 10);
        if (end == cpus || low > high || high >= MAX_CPUS)
            return -EINVAL;
        for (; low <= high; low++)
            mask[low / 8] |= (unsigned char)(1u << low % 8);
        cpus = end;
    }
    return 0;
}

int sec_compile_cpu_affinity(struct plan *p, enum plan_lane lane, const char *cpus,
                             const char *pointer, struct err *e)
{
    unsigned char *mask;
    struct step *st;

    if (!cpus)
        return 0;
    mask = arena_alloc(p->arena, MAX_CPUS / 8);
    if (fill(cpus, mask) < 0)
        return err_at(e, pointer, 0, "'%s' is no list of CPUs below %d", cpus, MAX_CPUS);
    st = plan_add(p, OP_CPU_AFFINITY, lane, pointer);
    st->cpu_affinity.cpus = cpus;
    st->cpu_affinity.mask = mask;
    st->cpu_affinity.mask_size = MAX_CPUS / 8;
    return 0;
}
