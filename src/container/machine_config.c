/* SPDX-License-Identifier: Apache-2.0 */
/*
 * config.json as the guest's teca reads it: the same document, with the host's paths in place of which the
 * share stands, and without what is the host's business (hooks but startContainer, vm, annotations that name
 * files of the host, the place of the cgroup). Pure.
 */
#include <string.h>

#include "container/machine.h"
#include "mux/mux.h"
#include "rootfs/rootfs.h"

enum {
    MIB = 1 << 20,
    DEFAULT_MIB = 512,
    OWN_MIB =
        96, /* what the guest's kernel and agent need besides: study 5, measured 42 MiB + agent */
    LEAST_MIB = 192,
};

static bool has_option(const struct spec_mount *m, const char *name)
{
    for (size_t i = 0; i < m->options.n; i++)
        if (str_eq(m->options.v[i], name))
            return true;
    return false;
}

/* The last word counts. "ro" is about this mount, "rro" about those below it too: config.md "mounts". */
static void read_only_of(const struct spec_mount *m, struct machine_bind *out)
{
    for (size_t i = 0; i < m->options.n; i++) {
        const char *o = m->options.v[i];

        if (str_eq(o, "ro") || str_eq(o, "rw"))
            out->read_only = o[1] == 'o';
        if (str_eq(o, "rro") || str_eq(o, "rrw"))
            out->read_only = out->all_read_only = o[2] == 'o';
    }
}

/* A remount has no source: it changes what is mounted already. */
static bool is_bind(const struct spec_mount *m)
{
    return !has_option(m, "remount") &&
           (str_eq(m->type, "bind") || has_option(m, "bind") || has_option(m, "rbind"));
}

const char *machine_absolute(const char *bundle, const char *path, struct arena *a)
{
    return path[0] == '/' ? path : path_clean(a, arena_format(a, "%s/%s", bundle, path));
}

const char *machine_root(const struct container_bundle *b, struct arena *a)
{
    return machine_absolute(b->dir, b->spec->root.path ? b->spec->root.path : "", a);
}

void machine_binds_of(const struct spec *s, const char *bundle, bool root, struct arena *a,
                      struct machine_binds *out)
{
    out->v = arena_array(a, s->n_mounts + 1, sizeof *out->v);
    out->n = 0;
    if (root)
        out->v[out->n++] = (struct machine_bind){ .name = "root",
                                                  .source = machine_absolute(bundle, s->root.path,
                                                                             a),
                                                  .pointer = "/root/path",
                                                  .recursive = true };
    for (size_t i = 0; i < s->n_mounts; i++) {
        const struct spec_mount *m = &s->mounts[i];

        if (!is_bind(m))
            continue;
        out->v[out->n++] = (struct machine_bind){
            .name = arena_format(a, "%zu", i),
            .source = machine_absolute(bundle, m->source, a),
            .pointer = arena_format(a, "/mounts/%zu/source", i),
            .recursive = has_option(m, "rbind"),
            .copy_link = has_option(m, "copy-symlink"),
            .idmapped = rootfs_is_idmapped(m),
            .mount = i,
        };
        read_only_of(m, &out->v[out->n - 1]);
    }
}

/* ---- the document ---------------------------------------------------------------------------- */

static const struct machine_bind *find_bind(const struct machine_binds *binds, const char *name)
{
    for (size_t i = 0; i < binds->n; i++)
        if (str_eq(binds->v[i].name, name))
            return &binds->v[i];
    return NULL;
}

static void write_root(struct json_out *j, const struct json *root,
                       const struct machine_binds *binds)
{
    json_open_object(j, "root");
    for (const struct json *v = root->child; v; v = v->next)
        if (!str_eq(v->key, "path"))
            json_add_value(j, v->key, v);
    json_add_string(j, "path", find_bind(binds, "root") ? MUX_SHARE "/root" : MUX_ROOT);
    json_close_object(j);
}

static void write_members(struct json_out *j, const struct json *object,
                          const char *const *left_out)
{
    for (const struct json *v = object->child; v; v = v->next) {
        bool out = false;

        for (const char *const *name = left_out; *name; name++)
            out |= str_eq(v->key, *name);
        if (!out)
            json_add_value(j, v->key, v);
    }
}

/* Its ids are mapped on the host: the guest's kernel sees what that says. */
static void write_options_of_bind(struct json_out *j, const struct json *options)
{
    json_open_array(j, "options");
    for (const struct json *v = options->child; v; v = v->next)
        if (v->type != JSON_STRING || !(str_eq(v->text, "idmap") || str_eq(v->text, "ridmap")))
            json_add_value(j, NULL, v);
    json_close_array(j);
}

static void write_bind(struct json_out *j, const struct json *mount, const char *source)
{
    static const char *const hosts[] = { "source", "uidMappings", "gidMappings", "options", NULL };
    const struct json *options = json_get(mount, "options");

    json_open_object(j, NULL);
    write_members(j, mount, hosts);
    if (options && options->type == JSON_ARRAY)
        write_options_of_bind(j, options);
    json_add_string(j, "source", source);
    json_close_object(j);
}

static void write_mounts(struct json_out *j, const struct json *mounts,
                         const struct machine_binds *binds, struct arena *a)
{
    json_open_array(j, "mounts");
    for (const struct json *m = mounts->child; m; m = m->next) {
        const char *name = arena_format(a, "%u", m->index);

        if (find_bind(binds, name))
            write_bind(j, m, arena_format(a, "%s/%s", MUX_SHARE, name));
        else
            json_add_value(j, NULL, m);
    }
    json_close_array(j);
}

static void write_without(struct json_out *j, const struct json *object,
                          const char *const *left_out)
{
    json_open_object(j, object->key);
    write_members(j, object, left_out);
    json_close_object(j);
}

/* ---- process: what the caller's would have had ------------------------------------------------ */

static bool has_limit(const struct spec_process *p, int number)
{
    for (size_t i = 0; i < p->n_rlimits; i++)
        if (spec_rlimit_number(p->rlimits[i].type) == number)
            return true;
    return false;
}

/* fs.nr_open of a kernel that has just booted: setrlimit(2) takes no more, of root either. */
static uint64_t bounded(int number, rlim_t value)
{
    enum { NR_OPEN = 1 << 20 };

    return number == RLIMIT_NOFILE && value > NR_OPEN ? NR_OPEN : value;
}

static void write_limits(struct json_out *j, const struct spec_process *p, const struct json *own,
                         const struct machine_caller *caller)
{
    json_open_array(j, "rlimits");
    for (const struct json *v = own ? own->child : NULL; v; v = v->next)
        json_add_value(j, NULL, v);
    for (int i = 0; i < RLIM_NLIMITS; i++) {
        if (!spec_rlimit_name(i) || has_limit(p, i))
            continue;
        json_open_object(j, NULL);
        json_add_string(j, "type", spec_rlimit_name(i));
        json_add_u64(j, "soft", bounded(i, caller->limits[i].rlim_cur));
        json_add_u64(j, "hard", bounded(i, caller->limits[i].rlim_max));
        json_close_object(j);
    }
    json_close_array(j);
}

static void write_process(struct json_out *j, const struct json *process, const struct spec *s,
                          const struct machine_caller *caller)
{
    json_open_object(j, "process");
    for (const struct json *v = process->child; v; v = v->next)
        if (!caller->known || !str_eq(v->key, "rlimits"))
            json_add_value(j, v->key, v);
    if (caller->known) {
        write_limits(j, &s->process, json_get(process, "rlimits"), caller);
        if (!s->process.oom_score_adj.set)
            json_add_i64(j, "oomScoreAdj", caller->oom_score_adj);
    }
    json_close_object(j);
}

/* ---- linux: what has numbers of the host ------------------------------------------------------ */

static void write_resources(struct json_out *j, const char *key, const struct json *resources)
{
    static const char *const disks[] = { "blockIO", "cpu", NULL };
    static const char *const processors[] = { "cpus", "mems", NULL };
    const struct json *cpu = json_get(resources, "cpu");

    json_open_object(j, key);
    write_members(j, resources, disks);
    if (cpu && cpu->type == JSON_OBJECT)
        write_without(j, cpu, processors);
    json_close_object(j);
}

const char *machine_guest_resources(const struct json *resources, struct arena *a)
{
    struct json_out *j = json_out_in(a, false);

    write_resources(j, NULL, resources);
    return json_out_text(j, NULL);
}

/* What names disks and processors, and how much of these it may have. */
const char *machine_host_resources(const struct json *resources, struct arena *a)
{
    static const char *const guests[] = { "realtimePeriod", "realtimeRuntime", NULL };
    const struct json *disks = json_get(resources, "blockIO"), *cpu = json_get(resources, "cpu");
    struct json_out *j = json_out_in(a, false);

    json_open_object(j, NULL);
    if (disks)
        json_add_value(j, "blockIO", disks);
    if (cpu && cpu->type == JSON_OBJECT)
        write_without(j, cpu, guests);
    json_close_object(j);
    return json_out_text(j, NULL);
}

/*
 * The network namespace is the one that the agent has made, if it has; the others are new. A path that machine_check has
 * let through is the host's.
 */
static void write_namespaces(struct json_out *j, const struct json *list, bool network)
{
    static const char *const path[] = { "path", NULL };

    json_open_array(j, "namespaces");
    for (const struct json *v = list->child; v; v = v->next) {
        const struct json *type = json_get(v, "type");

        if (v->type != JSON_OBJECT) {
            json_add_value(j, NULL, v);
            continue;
        }
        json_open_object(j, NULL);
        write_members(j, v, path);
        if (network && type && type->type == JSON_STRING && str_eq(type->text, "network"))
            json_add_string(j, "path", MUX_NETNS);
        json_close_object(j);
    }
    json_close_array(j);
}

static void write_linux(struct json_out *j, const struct json *object, bool network)
{
    static const char *const apart[] = { "cgroupsPath", "resources", "namespaces", NULL };
    const struct json *resources = json_get(object, "resources");
    const struct json *namespaces = json_get(object, "namespaces");

    json_open_object(j, "linux");
    write_members(j, object, apart);
    if (resources && resources->type == JSON_OBJECT)
        write_resources(j, "resources", resources);
    if (namespaces && namespaces->type == JSON_ARRAY)
        write_namespaces(j, namespaces, network);
    json_close_object(j);
}

/* What a process of that uts namespace would see, where the document gives no other name. */
static void write_name(struct json_out *j, const char *key, const char *own, const char *joined)
{
    if ((!own || !own[0]) && joined[0])
        json_add_string(j, key, joined);
    else if (own)
        json_add_string(j, key, own);
}

const char *machine_config(const struct spec *s, const struct machine_binds *binds,
                           const struct machine_caller *caller, bool network, struct arena *a)
{
    static const char *const host_hooks[] = { "prestart",  "createRuntime", "createContainer",
                                              "poststart", "poststop",      NULL };
    const char *const host_notes[] = { spec_annotation_name(SPEC_ANNOTATION_ISOLATION),
                                       spec_annotation_name(SPEC_ANNOTATION_ISOLATION_FALLBACK),
                                       spec_annotation_name(SPEC_ANNOTATION_NETWORK),
                                       spec_annotation_name(SPEC_ANNOTATION_ROOTFS),
                                       spec_annotation_name(SPEC_ANNOTATION_HOOKS_STDOUT),
                                       spec_annotation_name(SPEC_ANNOTATION_HOOKS_STDERR),
                                       NULL };
    struct json_out *j = json_out_in(a, false);

    json_open_object(j, NULL);
    for (const struct json *v = s->document->child; v; v = v->next) {
        if (str_eq(v->key, "root") && v->type == JSON_OBJECT)
            write_root(j, v, binds);
        else if (str_eq(v->key, "mounts") && v->type == JSON_ARRAY)
            write_mounts(j, v, binds, a);
        else if (str_eq(v->key, "hooks") && v->type == JSON_OBJECT)
            write_without(j, v, host_hooks);
        else if (str_eq(v->key, "linux") && v->type == JSON_OBJECT)
            write_linux(j, v, network);
        else if (str_eq(v->key, "process") && v->type == JSON_OBJECT)
            write_process(j, v, s, caller);
        else if (str_eq(v->key, "annotations") && v->type == JSON_OBJECT)
            write_without(j, v, host_notes);
        else if (!str_eq(v->key, "vm") && !str_eq(v->key, "hostname") &&
                 !str_eq(v->key, "domainname"))
            json_add_value(j, v->key, v);
    }
    write_name(j, "hostname", s->hostname, caller->names.host);
    write_name(j, "domainname", s->domainname, caller->names.domain);
    json_close_object(j);
    return json_out_text(j, NULL);
}

/* ---- the machine ----------------------------------------------------------------------------- */

/* The limit holds inside; around it is what the guest needs for itself, and 2 % for its page tables. */
uint64_t machine_memory(const struct spec *s)
{
    const struct opt_u64 *own = &s->vm.hw_config.memory;
    const struct opt_i64 *limit = &s->linux.resources.memory.limit;
    uint64_t mib;

    if (s->vm.set && own->set)
        return own->v / MIB;
    if (!limit->set || limit->v <= 0)
        return DEFAULT_MIB;
    mib = (uint64_t)limit->v / MIB + (uint64_t)limit->v / MIB / 50 + 1 + OWN_MIB;
    return mib < LEAST_MIB ? LEAST_MIB : mib;
}

/*
 * vm-design.md 1.5. tsc_early_khz and lpj: without KVM's clock the kernel would calibrate against the PIT, which
 * fails on a busy host. cryptomgr.notests: a third of the boot.
 */
static const char *emulated_command_line(const struct machine_facts *f, struct arena *a)
{
    enum { HZ = 250 }; /* of Debian's kernels */

    return arena_format(
        a,
        "quiet loglevel=3 console=ttyS0 8250.nr_uarts=1 panic=-1 reboot=t cryptomgr.notests "
        "tsc=reliable no_timer_check tsc_early_khz=%lu lpj=%lu rcupdate.rcu_expedited=1 "
        "random.trust_cpu=on audit=0 rdinit=/%s",
        f->tsc_khz, f->tsc_khz * 1000 / HZ, BOOT_AGENT);
}

/* What virtiofsd(1) may open, but the few that it has for itself. Ours has no fd for what it can open again. */
static const char *files_word(const struct spec *s, const struct machine_facts *f, bool share,
                              struct arena *a)
{
    enum { OWN_FDS = 128, LEAST = 256 };
    uint64_t fds = machine_files_bounds(machine_memory(s), false).fds;

    if (f->fds < fds)
        fds = f->fds;
    return f->mode == ISOLATION_EMULATED && share && fds > LEAST
               ? arena_format(a, " %s=%lu", MUX_FILES, fds - OWN_FDS)
               : "";
}

const char *machine_command_line(const struct spec *s, const struct machine_facts *f, bool share,
                                 struct arena *a)
{
    const char *text = f->mode == ISOLATION_EMULATED
                           ? emulated_command_line(f, a)
                           : "quiet loglevel=3 " VMM_LINUX_ARGUMENTS
                             " rcupdate.rcu_expedited=1 audit=0 rdinit=/" BOOT_AGENT;

    text = arena_format(a, "%s%s%s", text, machine_image_words(f, share, a),
                        files_word(s, f, share, a));
    for (size_t i = 0; s->vm.set && i < s->vm.kernel.parameters.n; i++)
        text = arena_format(a, "%s %s", text, s->vm.kernel.parameters.v[i]);
    return text;
}
