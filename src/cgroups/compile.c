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

/* ---- limits --------------------------------------------------------------------------------- */

const char *cgroup_to_enable(const struct cgroup_hierarchy *h, size_t depth,
                             const struct cgroup_writes *w, struct arena *a)
{
    struct cgroup_hierarchy on = { .v2 = true,
                                   .available = depth < h->n_subtree ? h->subtree[depth] : NULL };
    const char *text = "";

    for (size_t i = 0; i < w->n_controllers; i++)
        if (!cgroup_has_controller(&on, w->controllers[i]))
            text = arena_format(a, "%s%s+%s", text, text[0] ? " " : "", w->controllers[i]);
    return text;
}

/* cgroups(7): a cgroup has the controllers that its parent's subtree_control gives on. */
static void add_enables(struct plan *p, const struct cgroup_hierarchy *h,
                        const struct cgroup_writes *w)
{
    const char *end, *next = component_end(h, 1);

    for (unsigned depth = 0; next; depth++) {
        const char *missing = cgroup_to_enable(h, depth, w, p->arena);

        end = component_end(h, depth);
        next = component_end(h, depth + 2);
        if (missing[0]) {
            struct op_cgroup_enable *op =
                &plan_add(p, OP_CGROUP_ENABLE, LANE_RUNTIME, "/linux/resources")->cgroup_enable;

            op->path = path_until(p->arena, h, end);
            op->controllers = missing;
        }
    }
}

static void add_sets(struct plan *p, const struct cgroup_writes *w, bool v2, bool late)
{
    for (size_t i = 0; i < w->n; i++) {
        const struct cgroup_write *from = &w->v[i];
        struct op_cgroup_set *op;

        if (from->v2 != v2 || from->late != late)
            continue;
        op = &plan_add(p, OP_CGROUP_SET, LANE_RUNTIME, from->pointer)->cgroup_set;
        op->path = from->dir;
        op->file = from->file;
        op->value = from->value;
        op->or_file = from->or_file;
        op->or_value = from->or_value;
        op->optional = from->optional;
    }
}

static int writes_of(struct plan *p, const struct spec *s, const struct cgroup_facts *f,
                     struct cgroup_writes *w, struct err *e)
{
    return cgroup_compile_writes(&s->linux.resources, &s->linux.resources, f, p->arena, w, e);
}

int cgroup_compile_limits(struct plan *p, const struct spec *s, const struct cgroup_facts *f,
                          struct err *e)
{
    struct cgroup_writes w;
    int r = writes_of(p, s, f, &w, e);

    if (r < 0)
        return r;
    for (size_t i = 0; i < f->n && w.n_controllers > 0; i++)
        if (f->v[i].v2)
            add_enables(p, &f->v[i], &w);
    add_sets(p, &w, true, false);
    return 0;
}

static const struct cgroup_hierarchy *v1_devices(const struct cgroup_facts *f)
{
    const struct cgroup_hierarchy *h = cgroup_of_controller(f, "devices");

    return h && !h->v2 ? h : NULL;
}

/* A container without cgroups opens what it likes. */
static int no_place_for_rules(const struct device_rules *rules, const struct cgroup_facts *f,
                              struct err *e)
{
    if (!rules->asked || f->disabled)
        return 0;
    return err_at(
        e, "/linux/resources/devices", 0,
        "device rules cannot be kept: this host has neither a cgroup v2 hierarchy nor the "
        "v1 hierarchy 'devices'");
}

static int check_v1_rules(const struct device_rules *rules, struct err *e)
{
    if (!rules->v1_conflict)
        return 0;
    return err_at(e, rules->v1_conflict, 0,
                  "the hierarchy 'devices' of cgroup v1 cannot take a part of another rule back");
}

/*
 * None for who is not root of the host: the kernel would take neither a filter nor v1 rules from
 * them, and what their container can open is what they can open.
 */
int cgroup_compile_filter(struct plan *p, const struct spec *s, const struct cgroup_facts *f,
                          int *out_slot, struct err *e)
{
    const struct spec_resources *asked = &s->linux.resources;
    const char *field = asked->n_devices ? "/linux/resources/devices" : "";
    bool v2 = false;
    struct op_device_filter *op;
    const struct bpf_insn *program;
    struct device_rules rules;
    size_t n;
    int r = device_rules_of(asked->devices, asked->n_devices, p->arena, &rules, e);

    *out_slot = SLOT_NONE;
    for (size_t i = 0; i < f->n; i++)
        v2 |= f->v[i].v2;
    if (r < 0 || f->unprivileged || !device_rules_forbid(&rules))
        return r;
    if (!v2)
        return v1_devices(f) ? check_v1_rules(&rules, e) : no_place_for_rules(&rules, f, e);
    program = device_program(&rules, p->arena, &n, e);
    if (!program)
        return -E2BIG;
    op = &plan_add(p, OP_DEVICE_FILTER, LANE_RUNTIME, field)->device_filter;
    op->rules = device_rules_texts(&rules, false, p->arena);
    op->presets = device_rules_texts(&rules, true, p->arena);
    op->program = program;
    op->program_size = n * sizeof *program;
    op->or_rules = v1_devices(f) && !rules.v1_conflict;
    op->out = *out_slot = plan_slot(p);
    return 0;
}

void cgroup_compile_attach(struct plan *p, enum plan_lane lane, int filter_slot, int cgroup_slot)
{
    struct op_device_attach *op;
    int filter = plan_find(p, OP_DEVICE_FILTER, 0);

    if (filter_slot == SLOT_NONE)
        return;
    op = &plan_add(p, OP_DEVICE_ATTACH, lane, p->steps[filter].pointer)->device_attach;
    op->filter = filter_slot;
    op->cgroup = cgroup_slot;
}

/* Without a v2 hierarchy, or beside one as the way out of a kernel that refuses the filter. */
static int add_v1_rules(struct plan *p, const struct spec *s, const struct cgroup_facts *f,
                        int filter_slot, struct err *e)
{
    const struct cgroup_hierarchy *h = v1_devices(f);
    const struct spec_resources *asked = &s->linux.resources;
    struct op_device_rules *op;
    struct device_rules rules;
    int r;

    if (!h)
        return 0;
    r = device_rules_of(asked->devices, asked->n_devices, p->arena, &rules, e);
    if (r < 0 || f->unprivileged || !device_rules_forbid(&rules) || rules.v1_conflict)
        return r;
    op = &plan_add(p, OP_DEVICE_RULES, LANE_RUNTIME,
                   asked->n_devices ? "/linux/resources/devices" : "")
              ->device_rules;
    op->path = h->path;
    op->rules = device_rules_texts(&rules, false, p->arena);
    op->presets = device_rules_texts(&rules, true, p->arena);
    op->unless = filter_slot;
    return 0;
}

int cgroup_compile_late(struct plan *p, const struct spec *s, const struct cgroup_facts *f,
                        int filter_slot, struct err *e)
{
    struct cgroup_writes w;
    int r = writes_of(p, s, f, &w, e);

    if (r == 0)
        r = add_v1_rules(p, s, f, filter_slot, e);
    if (r < 0)
        return r;
    add_sets(p, &w, false, false);
    add_sets(p, &w, true, true);
    return 0;
}

/* The uid on the host of process.user; -1: it cannot be told. */
static int64_t host_uid(const struct spec *s)
{
    const struct spec_namespace *ns = spec_namespace_of(s, SPEC_NS_USER);
    const struct spec_id_maps *maps = &s->linux.uid_mappings;
    uint32_t uid = s->process.user.uid;

    if (!ns)
        return uid;
    for (size_t i = 0; i < maps->n; i++)
        if (uid >= maps->v[i].container_id && uid - maps->v[i].container_id < maps->v[i].size)
            return (int64_t)maps->v[i].host_id + (uid - maps->v[i].container_id);
    return -1;
}

void cgroup_compile_owner(struct plan *p, const struct spec *s, const struct cgroup_facts *f)
{
    int64_t uid = host_uid(s);
    struct op_cgroup_own *op;

    if (!f->delegate || f->n == 0 || uid <= 0)
        return;
    op = &plan_add(p, OP_CGROUP_OWN, LANE_RUNTIME, pointer)->cgroup_own;
    op->path = f->v[0].path;
    op->uid = uid;
    op->files = f->delegate;
}

/* ---- v1, joins, removal --------------------------------------------------------------------- */

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
        if (p->steps[i].op == OP_CGROUP_MAKE || p->steps[i].op == OP_CGROUP_SET ||
            p->steps[i].op == OP_DEVICE_RULES)
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
