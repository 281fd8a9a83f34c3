/* SPDX-License-Identifier: Apache-2.0 */
/*
 * update: new limits for a container that exists. What is given is laid over what holds, which is the
 * config's linux.resources or, after an earlier update, ROOT/ID/resources. Plain code: its undo is
 * what the files said (cgroups/update.c).
 */
#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <string.h>
#include <unistd.h>

#include "container/machine.h"

enum { MOUNTINFO_MAX_BYTES = 64 << 20, RESOURCES_MAX_BYTES = 16 << 20 };

/* ---- one JSON document over another ---------------------------------------------------------- */

/* What names an entry of an array of resources; NULL-ended. An array that has none is replaced. */
static const char *const *entry_names(const char *key)
{
    static const char *const device[] = { "major", "minor", NULL };
    static const char *const page[] = { "pageSize", NULL }, *const interface[] = { "name", NULL };

    if (str_starts(key, "throttle") || str_eq(key, "weightDevice"))
        return device;
    if (str_eq(key, "hugepageLimits"))
        return page;
    return str_eq(key, "priorities") ? interface : NULL;
}

static bool same_entry(const struct json *a, const struct json *b, const char *const *names)
{
    for (; *names; names++) {
        const struct json *x = json_get(a, *names), *y = json_get(b, *names);

        if (!x || !y || !x->text || !y->text || !str_eq(x->text, y->text))
            return false;
    }
    return true;
}

static const struct json *find_entry(const struct json *list, const struct json *entry,
                                     const char *const *names)
{
    for (const struct json *c = list->child; c; c = c->next)
        if (same_entry(c, entry, names))
            return c;
    return NULL;
}

static bool is_given(const struct json *v)
{
    return v && v->type != JSON_NULL;
}

static bool are_both(const struct json *a, const struct json *b, enum json_type type)
{
    return a && b && a->type == type && b->type == type;
}

static void merge_arrays(struct json_out *j, const char *key, const struct json *old,
                         const struct json *new, const char *const *names)
{
    json_open_array(j, key);
    for (const struct json *c = old->child; c; c = c->next) {
        const struct json *change = find_entry(new, c, names);

        json_add_value(j, NULL, change ? change : c);
    }
    for (const struct json *c = new->child; c; c = c->next)
        if (!find_entry(old, c, names))
            json_add_value(j, NULL, c);
    json_close_array(j);
}

/* The depth is json_parse's: JSON_MAX_DEPTH. */
static void merge(struct json_out *j, const char *key, const struct json *old,
                  const struct json *new)
{
    const char *const *names = key ? entry_names(key) : NULL;

    if (!old || !is_given(old) || !is_given(new)) {
        json_add_value(j, key, is_given(new) ? new : old);
    } else if (names && are_both(old, new, JSON_ARRAY)) {
        merge_arrays(j, key, old, new, names);
    } else if (are_both(old, new, JSON_OBJECT)) {
        json_open_object(j, key);
        for (const struct json *c = old->child; c; c = c->next)
            merge(j, c->key, c, json_get(new, c->key));
        for (const struct json *c = new->child; c; c = c->next)
            if (!json_get(old, c->key))
                merge(j, c->key, NULL, c);
        json_close_object(j);
    } else {
        json_add_value(j, key, new);
    }
}

static const char *rendered(struct arena *a, const struct json *v)
{
    struct json_out *j = json_out_in(a, false);

    if (!is_given(v))
        return "";
    json_add_value(j, NULL, v);
    return arena_strdup(a, json_out_text(j, NULL));
}

/* ---- the three documents --------------------------------------------------------------------- */

static int parse(struct arena *a, const char *text, const char *what, struct json **out,
                 struct err *e)
{
    int r = json_parse(a, text, strlen(text), what, out, e);

    if (r == 0 && (*out)->type != JSON_OBJECT)
        return err_set(e, 0, "%s must be an object", what);
    return r;
}

/* What holds until now. */
static int load_earlier(const char *dir, const struct state_record *rec, struct arena *a,
                        struct json **out, struct err *e)
{
    const char *path = arena_format(a, "%s/resources", dir);
    struct json *config;
    char *text;
    int r = file_read(a, AT_FDCWD, path, RESOURCES_MAX_BYTES, &text, NULL, e);

    if (r == 0)
        return parse(a, text, path, out, e);
    if (r != -ENOENT)
        return r;
    r = json_parse(a, rec->config, rec->config_len, "config.json", &config, e);
    if (r < 0)
        return r;
    *out = (struct json *)json_get(json_get(config, "linux"), "resources");
    return is_given(*out) ? 0 : parse(a, "{}", "resources", out, e);
}

/* engine-contract 1.3.12: memory without a limit, and nothing said of swap, is swap without one. */
static const char *with_swap(const char *asked, const struct json *doc, struct arena *a)
{
    const struct json *memory = json_get(doc, "memory");
    const struct json *limit = json_get(memory, "limit");
    struct json_out *j;
    int64_t value;

    if (!is_given(limit) || is_given(json_get(memory, "swap")) || json_i64(limit, &value) < 0 ||
        value != -1)
        return asked;
    j = json_out_in(a, false);
    json_open_object(j, NULL);
    json_open_object(j, "memory");
    json_add_i64(j, "swap", -1);
    for (const struct json *c = memory->child; c; c = c->next)
        if (!str_eq(c->key, "swap"))
            json_add_value(j, c->key, c);
    json_close_object(j);
    for (const struct json *c = doc->child; c; c = c->next)
        if (!str_eq(c->key, "memory"))
            json_add_value(j, c->key, c);
    json_close_object(j);
    return arena_strdup(a, json_out_text(j, NULL));
}

struct change {
    struct spec_resources asked, earlier, merged;
    const char *text; /* of merged */
    bool devices;
};

static int read_change(const char *asked_text, const char *dir, const struct state_record *rec,
                       struct arena *a, struct change *c, struct err *e)
{
    struct json *asked, *earlier;
    const char *text;
    struct json_out *j;
    int r = parse(a, asked_text, "the resources", &asked, e);

    if (r == 0)
        r = load_earlier(dir, rec, a, &earlier, e);
    if (r < 0)
        return r;
    asked_text = with_swap(asked_text, asked, a);
    r = parse(a, asked_text, "the resources", &asked, e);
    /* An engine sends the rules it began with: others may have changed the filter since. */
    c->devices = is_given(json_get(asked, "devices")) &&
                 !str_eq(rendered(a, json_get(asked, "devices")),
                         rendered(a, json_get(earlier, "devices")));
    j = json_out_in(a, false);
    merge(j, NULL, earlier, asked);
    c->text = arena_strdup(a, json_out_text(j, NULL));
    text = rendered(a, earlier);
    if (r == 0)
        r = spec_parse_resources(a, asked_text, strlen(asked_text), &c->asked, e);
    if (r == 0)
        r = spec_parse_resources(a, text, strlen(text), &c->earlier, e);
    return r < 0 ? r : spec_parse_resources(a, c->text, strlen(c->text), &c->merged, e);
}

/* ---- the change ------------------------------------------------------------------------------ */

static int gather(const struct state_record *rec, struct arena *a, struct cgroup_facts *f,
                  struct err *e)
{
    const char **paths = arena_array(a, rec->made.n_cgroups, sizeof *paths);
    char *mountinfo;
    size_t n = 0;
    int r = file_read(a, AT_FDCWD, "/proc/self/mountinfo", MOUNTINFO_MAX_BYTES, &mountinfo, NULL,
                      e);

    for (size_t i = 0; i < rec->made.n_cgroups; i++)
        if (rec->made.cgroups[i].leaf)
            paths[n++] = rec->made.cgroups[i].path;
    if (r == 0)
        r = cgroup_gather_existing(mountinfo, paths, n, a, f, e);
    f->disabled = str_eq(rec->cgroup_manager, "disabled");
    f->unit = rec->made.unit;
    return r;
}

/* The schemata of the container's class of service: rdt_step's write, with a plan around it. */
static int update_schemata(const struct container_update_options *o, const struct state_record *rec,
                           struct arena *a, struct err *e)
{
    const char *const lines[] = { o->l3_schema, o->mem_bw_schema };
    int r = 0;

    for (size_t i = 0; i < COUNT_OF(lines) && r == 0; i++) {
        struct step st = { .op = OP_RDT_SCHEMATA };

        if (!lines[i])
            continue;
        if (rec->made.n_rdt == 0)
            return err_at(e, "/linux/intelRdt", 0,
                          "the container has no class of service of its own");
        st.rdt_schemata.path = rec->made.rdt[0].path;
        st.rdt_schemata.text = arena_format(a, "%s\n", lines[i]);
        r = rdt_step(&st, NULL, e);
    }
    return r;
}

/* Under a fixed name, for the lock keeps others out: what a killed update leaves, delete knows. */
static int keep(const char *dir, const char *text, struct arena *a, struct err *e)
{
    const char *path = arena_format(a, "%s/resources", dir);
    const char *new = arena_format(a, "%s.new", path);
    AUTO_FD int fd = openat(AT_FDCWD, new, O_WRONLY | O_CREAT | O_TRUNC | O_NOFOLLOW | O_CLOEXEC,
                            0600);
    int r = fd < 0 ? -errno : fd_write_all(fd, text, strlen(text));

    if (r == 0 && rename(new, path) < 0)
        r = -errno;
    if (r == 0)
        return 0;
    unlink(new);
    return err_set(e, -r, "cannot write '%s'", path);
}

/* What is changed here, and in the guest; NULL: nothing. */
struct parts {
    const char *here, *there;
};

/* Of a container in a machine: the limits hold in there, and here is what the machine takes of the host. */
static int split(const char *asked, const struct state_record *rec, struct arena *a,
                 struct parts *out, struct err *e)
{
    struct spec_resources resources;
    struct json *doc;
    int r = 0;

    *out = (struct parts){ .here = asked };
    if (!rec->isolation)
        return 0;
    r = parse(a, asked, "the resources", &doc, e);
    if (r == 0)
        r = spec_parse_resources(a, asked, strlen(asked), &resources, e);
    if (r == 0)
        r = machine_check_update(rec, &resources, a, e);
    if (r < 0)
        return r;
    out->here = machine_host_resources(doc, a);
    out->there = machine_guest_resources(doc, a);
    if (str_eq(out->here, "{}"))
        out->here = NULL;
    if (str_eq(out->there, "{}"))
        out->there = NULL;
    return 0;
}

static int apply_here(const struct container_update_options *o, const struct parts *parts,
                      const char *dir, const struct state_record *rec, struct arena *a,
                      struct err *e)
{
    struct change *c = arena_alloc(a, sizeof *c);
    struct cgroup_update update = { &c->asked, &c->earlier, &c->merged, false };
    struct cgroup_undo *undo;
    struct cgroup_facts f;
    int r = read_change(parts->here, dir, rec, a, c, e);

    update.devices = c->devices;
    if (r == 0)
        r = gather(rec, a, &f, e);
    if (r == 0)
        r = cgroup_update(&f, &update, a, &undo, e);
    if (r < 0)
        return r;
    r = update_schemata(o, rec, a, e);
    if (r == 0 && parts->there)
        r = machine_update(dir, parts->there, e);
    if (r == 0)
        r = keep(dir, c->text, a, e);
    if (r < 0)
        cgroup_update_undo(undo, e);
    else
        cgroup_update_end(undo);
    return r;
}

static int apply(const struct container_update_options *o, const char *dir,
                 const struct state_record *rec, struct arena *a, struct err *e)
{
    struct parts parts;
    int r = split(o->resources, rec, a, &parts, e);

    if (r == 0 && parts.here)
        return apply_here(o, &parts, dir, rec, a, e);
    if (r == 0)
        r = update_schemata(o, rec, a, e);
    return r == 0 && parts.there ? machine_update(dir, parts.there, e) : r;
}

int container_update(const char *root, const char *id, const struct container_update_options *o,
                     struct arena *a, struct err *e)
{
    struct state_record rec;
    const char *dir;
    pid_t pid;
    AUTO_FD int lock = -1;
    int r = container_find_locked(root, id, a, &dir, &rec, &lock, e);

    if (r == 0)
        r = container_status(dir, &rec, &pid, NULL, e);
    if (r < 0)
        return r;
    if (r != STATUS_RUNNING && r != STATUS_CREATED && r != STATUS_PAUSED)
        return err_set(e, 0, "container not running");
    return apply(o, dir, &rec, a, e);
}
