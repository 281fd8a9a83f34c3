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

static size_t count_strings(const char *const *list)
{
    size_t n = 0;

    while (list && list[n])
        n++;
    return n;
}

static void read_hierarchy(struct json_reader *in, struct arena *a, struct cgroup_hierarchy *h)
{
    *h = (struct cgroup_hierarchy){
        .v2 = json_read_bool(in, "v2"),
        .controllers = json_read_string(in, "controllers"),
        .mountpoint = json_read_string(in, "mountpoint"),
        .root = json_read_string(in, "root"),
        .path = json_read_string(in, "path"),
        .cpuset = json_read_bool(in, "cpuset"),
        .cpus = json_read_string_or_null(in, "cpus"),
        .mems = json_read_string_or_null(in, "mems"),
        /* Numbers of components of the path; more than it has means all of them. */
        .existing = (unsigned)json_read_u64(in, "existing", UINT32_MAX),
        .cpus_depth = (unsigned)json_read_u64(in, "cpusDepth", UINT32_MAX),
        .mems_depth = (unsigned)json_read_u64(in, "memsDepth", UINT32_MAX),
        .available = json_read_string_or_null(in, "available"),
        .subtree = json_read_strings(in, "subtreeControl", "", a),
    };
    h->n_subtree = count_strings(h->subtree);
    if (h->cpuset && (!h->cpus || !h->mems))
        json_read_fault(in, h->cpus ? "mems" : "cpus", "the values of a cpuset");
    /* compile walks from the one to the other. */
    if (in->r == 0 && !str_starts(h->path, h->mountpoint))
        json_read_fault(in, "path", "a path below the mount point");
}

static int read_unit(const struct json *v, struct cgroup_unit *u, struct err *e)
{
    struct json_reader in = { .object = v, .what = "the facts", .e = e };

    *u = (struct cgroup_unit){ .name = json_read_string(&in, "name"),
                               .slice = json_read_string(&in, "slice"),
                               .helper = json_read_string(&in, "helper"),
                               .user = json_read_bool(&in, "user"),
                               .scope = json_read_bool(&in, "scope") };
    return in.r;
}

int cgroup_facts_read(const struct json *v, struct arena *a, struct cgroup_facts *f, struct err *e)
{
    struct json_reader in = { .object = v, .what = "the facts", .e = e };
    const struct json *list = json_read_array(&in, "hierarchies");
    struct cgroup_facts facts = {
        .unified = json_read_bool(&in, "unified"),
        .mount_root = json_read_string_or_null(&in, "mountRoot"),
        .resctrl = json_read_string_or_null(&in, "resctrl"),
        .disabled = json_read_bool_or_false(&in, "disabled"),
        .unprivileged = json_read_bool_or_false(&in, "unprivileged"),
        .delegate = json_read_strings(&in, "delegate", "", a),
    };

    if (list && list->count > CGROUP_MAX_HIERARCHIES)
        json_read_fault(&in, "hierarchies", "no more hierarchies than there are");
    if (in.r == 0 && json_get(v, "unit"))
        in.r = read_unit(json_get(v, "unit"), &facts.unit, e);
    facts.v = arena_array(a, list ? list->count : 0, sizeof *facts.v);
    for (const struct json *item = list ? list->child : NULL; item && in.r == 0;
         item = item->next) {
        struct json_reader one = { .object = item, .what = in.what, .e = e };

        read_hierarchy(&one, a, &facts.v[facts.n++]);
        in.r = one.r;
    }
    if (in.r == 0)
        *f = facts;
    return in.r;
}
