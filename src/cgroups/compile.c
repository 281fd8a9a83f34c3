/* SPDX-License-Identifier: Apache-2.0 */
/* Facts become steps. Pure. */
#include <errno.h>
#include <string.h>

#include "cgroups/internal.h"

static const char *const pointer = "/linux/cgroupsPath";

/* The end of the n-th component of the container's path, NULL when it has fewer. */
static const char *component_end(const struct cgroup_hierarchy *h, unsigned n)
{
    const char *at = h->path + strlen(h->mountpoint);

    for (unsigned i = 0; i < n; i++) {
        if (*at == '\0')
            return NULL;
        at += 1 + strcspn(at + 1, "/");
    }
    return at;
}

static const char *path_until(struct arena *a, const struct cgroup_hierarchy *h, const char *end)
{
    return *end ? arena_strndup(a, h->path, (size_t)(end - h->path)) : h->path;
}

/* Every cpuset on the way that is there and empty, from the top. */
static void add_fills(struct plan *p, const struct cgroup_hierarchy *h)
{
    unsigned n = h->cpus_depth < h->mems_depth ? h->cpus_depth : h->mems_depth;
    const char *end;

    for (n++; n <= h->existing && (end = component_end(h, n)) != NULL; n++) {
        struct op_cgroup_fill *op =
            &plan_add(p, OP_CGROUP_FILL, LANE_RUNTIME, pointer)->cgroup_fill;

        op->path = path_until(p->arena, h, end);
        op->cpus = n > h->cpus_depth ? h->cpus : NULL;
        op->mems = n > h->mems_depth ? h->mems : NULL;
    }
}

/* systemd has made it in its own hierarchies and in those of the controllers that it uses. */
static void add_make_in_unit(struct plan *p, const struct cgroup_hierarchy *h)
{
    struct op_cgroup_make *op = &plan_add(p, OP_CGROUP_MAKE, LANE_RUNTIME, pointer)->cgroup_make;

    op->path = h->path;
    op->leaf = op->nested = op->unit = true;
    op->cpus = h->cpuset ? h->cpus : NULL;
    op->mems = h->cpuset ? h->mems : NULL;
}

/* Every directory on the way to the container's cgroup that is not there yet, from the top. */
static void add_makes(struct plan *p, const struct cgroup_hierarchy *h)
{
    const char *end;

    if (h->cpuset)
        add_fills(p, h);
    for (unsigned n = h->existing + 1; (end = component_end(h, n)) != NULL; n++) {
        struct op_cgroup_make *op =
            &plan_add(p, OP_CGROUP_MAKE, LANE_RUNTIME, pointer)->cgroup_make;

        op->path = path_until(p->arena, h, end);
        op->leaf = *end == '\0';
        op->nested = n > 1;
        op->cpus = h->cpuset ? h->cpus : NULL;
        op->mems = h->cpuset ? h->mems : NULL;
    }
}

int cgroup_compile_make(struct plan *p, const struct spec *s, const struct cgroup_facts *f,
                        int *out_slot, struct err *e)
{
    int slot = SLOT_NONE;

    (void)s;
    (void)e;
    for (size_t i = 0; i < f->n; i++) {
        struct op_cgroup_open *op;

        if (!f->v[i].v2)
            continue;
        if (f->unit.name)
            add_make_in_unit(p, &f->v[i]);
        else
            add_makes(p, &f->v[i]);
        op = &plan_add(p, OP_CGROUP_OPEN, LANE_RUNTIME, pointer)->cgroup_open;
        op->path = f->v[i].path;
        op->out = slot = plan_slot(p);
    }
    *out_slot = slot;
    return 0;
}

int cgroup_compile_make_v1(struct plan *p, const struct cgroup_facts *f, struct err *e)
{
    (void)e;
    for (size_t i = 0; i < f->n; i++)
        if (!f->v[i].v2 && f->unit.name)
            add_make_in_unit(p, &f->v[i]);
        else if (!f->v[i].v2)
            add_makes(p, &f->v[i]);
    return 0;
}

int cgroup_compile_join(struct plan *p, const struct cgroup_facts *f, enum plan_lane lane,
                        struct err *e)
{
    int after = -1;

    (void)e;
    for (size_t i = 0; i < p->n; i++)
        if (p->steps[i].op == OP_CGROUP_MAKE)
            after = (int)i;
    for (size_t i = 0; i < f->n; i++) {
        struct step *st;

        if (f->v[i].v2) /* the clone enters that one */
            continue;
        st = plan_add(p, OP_CGROUP_JOIN, lane, pointer);
        st->after = after;
        after = -1; /* the rest of the lane follows */
        st->cgroup_join.path = f->v[i].path;
    }
    return 0;
}

int cgroup_compile_remove(struct plan *p, const struct cgroup_facts *f, struct err *e)
{
    (void)e;
    for (size_t i = f->n; i-- > 0;) {
        const struct cgroup_hierarchy *h = &f->v[i];
        unsigned depth = h->existing;

        while (component_end(h, depth + 1))
            depth++;
        for (; depth > h->existing; depth--) {
            const char *end = component_end(h, depth);
            struct op_cgroup_remove *op =
                &plan_add(p, OP_CGROUP_REMOVE, LANE_RUNTIME, pointer)->cgroup_remove;

            op->path = path_until(p->arena, h, end);
            op->leaf = *end == '\0';
            op->nested = op->leaf && depth > 1;
        }
    }
    return 0;
}
