/* SPDX-License-Identifier: Apache-2.0 */
/* The facts as JSON, for `teca explain --facts` and the state file. */
#include <errno.h>

#include "cgroups/internal.h"

static void write_controllers(const struct cgroup_hierarchy *h, struct json_out *j)
{
    json_add_string(j, "available", h->available);
    json_open_array(j, "subtreeControl");
    for (size_t i = 0; i < h->n_subtree; i++)
        json_add_string(j, NULL, h->subtree[i]);
    json_close_array(j);
}

void cgroup_facts_write(const struct cgroup_facts *f, struct json_out *j, const char *key)
{
    json_open_object(j, key);
    json_add_string(j, "mountRoot", f->mount_root);
    json_add_bool(j, "unified", f->unified);
    json_add_bool(j, "disabled", f->disabled);
    json_add_bool(j, "unprivileged", f->unprivileged);
    if (f->delegate)
        json_add_strings(j, "delegate", f->delegate);
    json_add_string(j, "resctrl", f->resctrl);
    if (f->unit.name) {
        json_open_object(j, "unit");
        json_add_string(j, "name", f->unit.name);
        json_add_string(j, "slice", f->unit.slice);
        json_add_string(j, "helper", f->unit.helper);
        json_add_bool(j, "user", f->unit.user);
        json_add_bool(j, "scope", f->unit.scope);
        json_close_object(j);
    }
    json_open_array(j, "hierarchies");
    for (size_t i = 0; i < f->n; i++) {
        const struct cgroup_hierarchy *h = &f->v[i];

        json_open_object(j, NULL);
        json_add_bool(j, "v2", h->v2);
        json_add_string(j, "controllers", h->controllers);
        json_add_string(j, "mountpoint", h->mountpoint);
        json_add_string(j, "root", h->root);
        json_add_string(j, "path", h->path);
        json_add_u64(j, "existing", h->existing);
        json_add_bool(j, "cpuset", h->cpuset);
        json_add_string(j, "cpus", h->cpus);
        json_add_u64(j, "cpusDepth", h->cpus_depth);
        json_add_string(j, "mems", h->mems);
        json_add_u64(j, "memsDepth", h->mems_depth);
        if (h->available)
            write_controllers(h, j);
        json_close_object(j);
    }
    json_close_array(j);
    json_close_object(j);
}

static int wrong(const char *name, struct err *e)
{
    return err_set(e, 0, "the facts lack a valid cgroups value '%s'", name);
}

/* null and absent are NULL where that is allowed. */
static int read_string(const struct json *v, const char *name, bool required, const char **out,
                       struct err *e)
{
    const struct json *m = json_get(v, name);

    if (m && m->type == JSON_STRING) {
        *out = m->text;
        return 0;
    }
    return required || (m && m->type != JSON_NULL) ? wrong(name, e) : 0;
}

static int read_bool(const struct json *v, const char *name, bool *out, struct err *e)
{
    const struct json *m = json_get(v, name);

    if (!m || m->type != JSON_BOOL)
        return wrong(name, e);
    *out = m->boolean;
    return 0;
}

/* An array of strings, NULL-ended; absent: *out stays. */
static int read_strings(const struct json *v, const char *name, struct arena *a,
                        const char *const **out, size_t *out_n, struct err *e)
{
    const struct json *m = json_get(v, name);
    const char **list;
    size_t n = 0;

    if (!m || m->type == JSON_NULL)
        return 0;
    if (m->type != JSON_ARRAY)
        return wrong(name, e);
    list = arena_array(a, m->count + 1, sizeof *list);
    for (const struct json *item = m->child; item; item = item->next) {
        if (item->type != JSON_STRING)
            return wrong(name, e);
        list[n++] = item->text;
    }
    *out = list;
    *out_n = n;
    return 0;
}

/* A number of components of the path; more than it has means all of them. */
static int read_count(const struct json *v, const char *name, unsigned *out, struct err *e)
{
    const struct json *m = json_get(v, name);
    uint64_t n;

    if (!m || json_u64(m, &n) < 0 || n > UINT32_MAX)
        return wrong(name, e);
    *out = (unsigned)n;
    return 0;
}

static int read_hierarchy(const struct json *v, struct arena *a, struct cgroup_hierarchy *h,
                          struct err *e)
{
    int r = read_bool(v, "v2", &h->v2, e);

    if (r == 0)
        r = read_string(v, "controllers", true, &h->controllers, e);
    if (r == 0)
        r = read_string(v, "mountpoint", true, &h->mountpoint, e);
    if (r == 0)
        r = read_string(v, "root", true, &h->root, e);
    if (r == 0)
        r = read_string(v, "path", true, &h->path, e);
    if (r == 0)
        r = read_bool(v, "cpuset", &h->cpuset, e);
    if (r == 0)
        r = read_string(v, "cpus", h->cpuset, &h->cpus, e);
    if (r == 0)
        r = read_string(v, "mems", h->cpuset, &h->mems, e);
    if (r == 0)
        r = read_count(v, "existing", &h->existing, e);
    if (r == 0)
        r = read_count(v, "cpusDepth", &h->cpus_depth, e);
    if (r == 0)
        r = read_count(v, "memsDepth", &h->mems_depth, e);
    if (r == 0)
        r = read_string(v, "available", false, &h->available, e);
    if (r == 0)
        r = read_strings(v, "subtreeControl", a, &h->subtree, &h->n_subtree, e);
    if (r < 0)
        return r;
    /* compile walks from the one to the other. */
    if (!str_starts(h->path, h->mountpoint))
        return wrong("path", e);
    return 0;
}

static int read_unit(const struct json *v, struct cgroup_unit *u, struct err *e)
{
    int r = read_string(v, "name", true, &u->name, e);

    if (r == 0)
        r = read_string(v, "slice", true, &u->slice, e);
    if (r == 0)
        r = read_string(v, "helper", true, &u->helper, e);
    if (r == 0)
        r = read_bool(v, "user", &u->user, e);
    return r < 0 ? r : read_bool(v, "scope", &u->scope, e);
}

int cgroup_facts_read(const struct json *v, struct arena *a, struct cgroup_facts *f, struct err *e)
{
    const struct json *list = v ? json_get(v, "hierarchies") : NULL, *item;
    struct cgroup_facts facts = { 0 };
    size_t n;
    int r;

    if (!list || list->type != JSON_ARRAY || list->count > CGROUP_MAX_HIERARCHIES)
        return wrong("hierarchies", e);
    r = read_bool(v, "unified", &facts.unified, e);
    if (r == 0)
        r = read_string(v, "mountRoot", false, &facts.mount_root, e);
    if (r == 0)
        r = read_string(v, "resctrl", false, &facts.resctrl, e);
    if (r == 0 && json_get(v, "disabled"))
        r = read_bool(v, "disabled", &facts.disabled, e);
    if (r == 0 && json_get(v, "unprivileged"))
        r = read_bool(v, "unprivileged", &facts.unprivileged, e);
    if (r == 0)
        r = read_strings(v, "delegate", a, &facts.delegate, &n, e);
    if (r == 0 && json_get(v, "unit"))
        r = read_unit(json_get(v, "unit"), &facts.unit, e);
    facts.v = arena_array(a, list->count, sizeof *facts.v);
    for (item = list->child; item && r == 0; item = item->next)
        r = read_hierarchy(item, a, &facts.v[facts.n++], e);
    if (r == 0)
        *f = facts;
    return r;
}
