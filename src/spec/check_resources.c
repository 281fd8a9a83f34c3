/* SPDX-License-Identifier: Apache-2.0 */
/* config-linux.md "Control groups": what is wrong whatever hierarchies the host has. */
#include "spec/internal.h"

#include <string.h>

static void check_device_rules(struct spec_checker *c)
{
    const struct spec_resources *r = &c->s->linux.resources;

    for (size_t i = 0; i < r->n_devices; i++) {
        const struct spec_device_rule *rule = &r->devices[i];

        if (rule->type && (strlen(rule->type) != 1 || !strchr("abc", rule->type[0]))) {
            spec_bad(c, spec_at(c, "/linux/resources/devices/%zu/type", i), "must be a, b or c");
        }
        if (rule->access && rule->access[strspn(rule->access, "rwm")]) {
            spec_bad(c, spec_at(c, "/linux/resources/devices/%zu/access", i),
                     "must be made of r, w and m");
        }
    }
}

/* "burst" must not be above a positive quota. */
static void check_cpu(struct spec_checker *c)
{
    const struct spec_cpu *cpu = &c->s->linux.resources.cpu;

    if (cpu->burst.set && cpu->quota.set && cpu->quota.v > 0 &&
        cpu->burst.v > (uint64_t)cpu->quota.v)
        spec_bad(c, "/linux/resources/cpu/burst", "must not be above the quota");
}

/* blkio takes 10 to 1000; 0 is how some engines write "unset". */
static void check_weight(struct spec_checker *c, const struct opt_u16 *weight, const char *pointer)
{
    if (weight->set && weight->v && weight->v < 10)
        spec_bad(c, pointer, "%u is out of range, must be 10 to 1000", (unsigned)weight->v);
}

static void check_block_io(struct spec_checker *c)
{
    const struct spec_block_io *io = &c->s->linux.resources.block_io;

    check_weight(c, &io->weight, "/linux/resources/blockIO/weight");
    check_weight(c, &io->leaf_weight, "/linux/resources/blockIO/leafWeight");
    for (size_t i = 0; i < io->n_weight_device; i++) {
        const struct spec_weight_device *d = &io->weight_device[i];
        const char *pointer = spec_at(c, "/linux/resources/blockIO/weightDevice/%zu", i);

        if (!d->weight.set && !d->leaf_weight.set)
            spec_bad(c, pointer, "needs a weight or a leafWeight");
        check_weight(c, &d->weight, spec_at(c, "%s/weight", pointer));
        check_weight(c, &d->leaf_weight, spec_at(c, "%s/leafWeight", pointer));
    }
}

static void check_rdma(struct spec_checker *c)
{
    const struct spec_resources *r = &c->s->linux.resources;

    for (size_t i = 0; i < r->n_rdma; i++) {
        if (!r->rdma[i].hca_handles.set && !r->rdma[i].hca_objects.set) {
            spec_bad(c, spec_at_key(c, "/linux/resources/rdma", r->rdma[i].device),
                     "needs hcaHandles or hcaObjects");
        }
    }
}

/* The key is a file of the cgroup's own directory. */
static void check_unified(struct spec_checker *c)
{
    const struct spec_pairs *unified = &c->s->linux.resources.unified;

    for (size_t i = 0; i < unified->n; i++) {
        const char *key = unified->v[i].key;

        if (strchr(key, '/') || !strcmp(key, ".") || !strcmp(key, "..")) {
            spec_bad(c, spec_at_key(c, "/linux/resources/unified", key),
                     "the key must be a file name without slashes");
        }
    }
}

void spec_check_resources(struct spec_checker *c)
{
    check_device_rules(c);
    check_cpu(c);
    check_block_io(c);
    check_rdma(c);
    check_unified(c);
}
