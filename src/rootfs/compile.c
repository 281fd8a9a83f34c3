/* SPDX-License-Identifier: Apache-2.0 */
/* Spec and facts become steps: the root filesystem, "mounts", the pivot. Pure. */
#include <errno.h>
#include <limits.h>
#include <string.h>

#include "rootfs/internal.h"

/* Targets whose fd stays open until exec; beyond that each is closed (RLIMIT_NOFILE). */
enum { MAX_OPEN_TARGETS = 8 };

const char *clean_in_root(struct arena *a, const char *path)
{
    return path_clean(a, path[0] == '/' ? path : arena_format(a, "/%s", path));
}

bool mount_ns_is_new(const struct spec *s)
{
    const struct spec_namespace *ns = spec_namespace_of(s, SPEC_NS_MOUNT);

    return ns && !ns->path;
}

static const char *path_parent(struct arena *a, const char *path)
{
    size_t len = (size_t)(strrchr(path, '/') - path);

    return len ? arena_strndup(a, path, len) : "/";
}

static bool shares_root(const struct spec *s)
{
    return (options_propagation(s->linux.rootfs_propagation) & MS_SHARED) != 0;
}

/*
 * init could not reach the source (a directory closed to the container's root) or would look for it
 * in another namespace's mounts, so the runtime opens it.
 */
static bool sources_are_opened(const struct spec *s, const struct rootfs_facts *f)
{
    return f->opens_inside || (f->privileged && (f->user_ns || !mount_ns_is_new(s)));
}

static enum rootfs_source source_kind(const struct rootfs_facts *f, size_t mount)
{
    return mount < f->n_sources ? f->sources[mount] : SOURCE_NONE;
}

bool source_is_opened(const struct spec *s, const struct rootfs_facts *f, size_t mount)
{
    if (source_kind(f, mount) == SOURCE_LINK) /* it is copied */
        return false;
    return sources_are_opened(s, f) || (f->privileged && rootfs_is_idmapped(&s->mounts[mount]));
}

static bool is_plain_bind(const struct mount_options *o)
{
    return o->bind && !(o->flags & MS_REMOUNT);
}

static const char *bind_source(struct arena *a, const struct spec_mount *m,
                               const struct rootfs_facts *f)
{
    return m->source[0] == '/' ? m->source : arena_format(a, "%s/%s", f->bundle, m->source);
}

/* Options, and the rules of rootfs_check_mount; pointer "/mounts/N" in e. */
static int parse_mount(const struct spec_mount *m, const char *pointer, struct mount_options *o,
                       struct err *e)
{
    struct err inner = { 0 };
    int r = rootfs_check_mount(m, &inner);

    if (r < 0)
        return err_at(e, pointer, 0, "%s", inner.text);
    return options_parse(m, o, e);
}

/* ---- runtime lane -------------------------------------------------------------------------- */

static int open_sources(struct plan *p, const struct spec *s, const struct rootfs_facts *f,
                        enum plan_lane lane, struct err *e)
{
    for (size_t i = 0; i < s->n_mounts; i++) {
        const char *pointer;
        struct mount_options o;
        struct step *st;
        int r;

        if (!source_is_opened(s, f, i))
            continue;
        pointer = plan_pointer(p, "/mounts/%zu", i);
        r = parse_mount(&s->mounts[i], pointer, &o, e);
        if (r < 0)
            return r;
        if (!is_plain_bind(&o))
            continue;
        st = plan_add(p, OP_ROOT_OPEN, lane, pointer);
        st->root_open.path = bind_source(p->arena, &s->mounts[i], f);
        st->root_open.recursive = (o.flags & MS_REC) != 0;
        /* A clone of a shared mount is a peer of the host's: what the container mounts below it
         * would appear on the host. */
        st->root_open.propagation = f->host_shared ? MS_SLAVE | MS_REC : 0;
        st->root_open.out = plan_slot(p);
    }
    return 0;
}

static void open_root(struct plan *p, const struct spec *s, const struct rootfs_facts *f,
                      enum plan_lane lane, int slot)
{
    bool slave = (options_propagation(s->linux.rootfs_propagation) & MS_SLAVE) != 0;
    struct step *st = plan_add(p, OP_ROOT_OPEN, lane, "/root/path");

    st->root_open.path = f->root;
    st->root_open.recursive = true;
    st->root_open.directory = true;
    /* A private mount has no master any more, so slave it must be from the beginning. */
    if (f->host_shared)
        st->root_open.propagation = (slave ? MS_SLAVE : MS_PRIVATE) | MS_REC;
    st->root_open.out = slot;
}

int rootfs_compile_open(struct plan *p, const struct spec *s, const struct rootfs_facts *f,
                        int *root_slot, struct err *e)
{
    if (!spec_has_namespace(s, SPEC_NS_MOUNT))
        return err_at(e, "/linux/namespaces", 0,
                      "a container without a mount namespace of its own is not supported yet; add "
                      "{\"type\": \"mount\"}");
    *root_slot = plan_slot(p);
    if (!f->privileged)
        return 0;
    open_root(p, s, f, LANE_RUNTIME, *root_slot);
    return open_sources(p, s, f, LANE_RUNTIME, e);
}

int rootfs_compile_open_inside(struct plan *p, const struct spec *s, const struct rootfs_facts *f,
                               int root_slot, struct err *e)
{
    if (!f->opens_inside)
        return 0;
    open_root(p, s, f, LANE_INIT, root_slot);
    return open_sources(p, s, f, LANE_INIT, e);
}

/* ---- init lane: the root ------------------------------------------------------------------- */

/*
 * Nothing that init mounts may reach the host, but what the host mounts may reach binds that ask
 * for it: slave. A new user namespace makes that so by itself (mount_namespaces(7)). For a root
 * that shall be shared, binds have to stay peers of the host's mounts, and so does "/" for the sake
 * of what is bound from there. pivot_root(2) then wants the root on a private mount: "/proc" is one
 * that nobody binds from, and "driver" a directory that every procfs has.
 */
static void add_root(struct plan *p, const struct spec *s, const struct rootfs_facts *f,
                     int root_slot)
{
    uint64_t wanted = options_propagation(s->linux.rootfs_propagation);
    bool cut = !mount_ns_is_new(s) || (f->host_shared && !f->user_ns);
    bool shared = (wanted & MS_SHARED) && f->privileged && cut;
    /* A hook that enters this mount namespace looks for the root where the bundle has it, and over
     * "/" it would hide the host from everyone who enters, setns(2). */
    bool visible = (s->hooks.prestart.n || s->hooks.create_runtime.n ||
                    s->hooks.create_container.n) &&
                   mount_ns_is_new(s);
    struct step *st;

    if (cut) {
        st = plan_add(p, OP_ROOT_PROPAGATION, LANE_INIT, wanted ? "/linux/rootfsPropagation" : "");
        st->root_propagation.path = shared ? "/proc" : "/";
        st->root_propagation.flags = shared                ? MS_PRIVATE
                                     : wanted & MS_PRIVATE ? MS_PRIVATE | MS_REC
                                                           : MS_SLAVE | MS_REC;
    }
    st = plan_add(p, OP_ROOT_ATTACH, LANE_INIT, "/root/path");
    st->root_attach.root = root_slot;
    if (f->privileged || f->opens_inside)
        st->root_attach.at = shared ? "/proc/driver" : visible ? f->root : "/";
    else
        st->root_attach.path = f->root;
}

/* ---- init lane: mounts --------------------------------------------------------------------- */

struct step *mounts_add(struct mounts *m, const char *pointer, const char *target)
{
    struct step *st = plan_add(m->plan, OP_MOUNT, LANE_INIT, pointer);
    size_t index = m->plan->n - 1;
    int slot;
    const char *name;

    st->mount.target = target;
    st->mount.make = true;
    if (str_eq(target, "/")) {
        st->mount.root = m->root_slot;
        st->mount.out = m->root_slot; /* the new mount is the root from here on */
    } else if (cover_fresh_child(&m->cover, m->plan, target, &slot, &name)) {
        st = &m->plan->steps[index];
        st->mount.root = slot;
        st->mount.below = name;
    } else {
        st->mount.root = m->root_slot;
        st->mount.close_target = m->opened++ >= MAX_OPEN_TARGETS;
    }
    return st;
}

void mounts_added(struct mounts *m)
{
    cover_add(&m->cover, (int)m->plan->n - 1);
}

static const char *or_null(struct arena *a, const char *text)
{
    return text[0] ? arena_strdup(a, text) : NULL;
}

/* A mount namespace that is joined may hold anything. */
static bool binds_are_peers(const struct spec *s, const struct rootfs_facts *f)
{
    return shares_root(s) && !f->user_ns && (f->host_shared || !mount_ns_is_new(s));
}

bool mounts_are_peers(const struct mounts *m)
{
    return binds_are_peers(m->spec, m->facts);
}

/*
 * "private" and "slave" change nothing where nothing is shared: a new instance is as private as
 * the mount it lies on, and a bind is more than that only when its source is shared. But a bind
 * that is a peer of the host's mount without having been asked to would show the host what is
 * mounted below it.
 */
static uint64_t needed_propagation(const struct mounts *m, const char *target, bool bind,
                                   uint64_t wanted)
{
    int cover = cover_find(&m->cover, target);
    bool on_shared = cover >= 0 && m->plan->steps[cover].mount.propagation & MS_SHARED;

    if (!wanted)
        return bind && mounts_are_peers(m) ? MS_PRIVATE | MS_REC : 0;
    if (!(wanted & (MS_PRIVATE | MS_SLAVE)) || on_shared || !mount_ns_is_new(m->spec))
        return wanted;
    return bind && m->facts->host_shared ? wanted : 0;
}

static void set_options(struct mounts *m, struct op_mount *op, const struct mount_options *o)
{
    op->flags = o->flags;
    op->data = or_null(m->plan->arena, o->data);
    op->rec_set = o->rec_set;
    op->rec_clear = o->rec_clear;
    op->propagation = needed_propagation(m, op->target, is_plain_bind(o), o->propagation);
}

/* What the i-th entry's source says, a symlink. */
static const char *link_of(const struct rootfs_facts *f, size_t i)
{
    size_t before = 0;

    for (size_t k = 0; k < i; k++)
        before += f->sources[k] == SOURCE_LINK;
    return f->links[before];
}

/*
 * "copy-symlink": the container gets the symlink itself. Its text may be that of a volume's owner, so
 * nothing is ever mounted by a name that leads over it (cover_fresh_child).
 */
static void add_copied_link(struct mounts *m, size_t i, const char *pointer, const char *target)
{
    const char *dir = path_parent(m->plan->arena, target);
    struct step *st = plan_add(m->plan, OP_DIRECTORY, LANE_INIT, pointer);
    int slot = plan_slot(m->plan);

    st->directory.path = dir;
    st->directory.root = m->root_slot;
    st->directory.out = slot;
    st = plan_add(m->plan, OP_SYMLINK, LANE_INIT, pointer);
    st->symlink.target = link_of(m->facts, i);
    st->symlink.path = target;
    st->symlink.dir = slot;
    st->symlink.exact = true;
    m->cover.links = true;
}

static int add_bind(struct mounts *m, size_t i, const char *pointer, const char *target,
                    const struct mount_options *o, struct err *e)
{
    const struct spec_mount *sm = &m->spec->mounts[i];
    const char *source = bind_source(m->plan->arena, sm, m->facts);
    enum rootfs_source kind = source_kind(m->facts, i);
    struct op_mount *op;

    if (kind == SOURCE_MISSING)
        return err_at(e, plan_pointer(m->plan, "%s/source", pointer), ENOENT,
                      "cannot find the bind source '%s'", source);
    if (kind == SOURCE_LINK && str_eq(target, "/"))
        return err_at(e, pointer, 0, "a symlink cannot be copied to '/'");
    if (kind == SOURCE_LINK) {
        add_copied_link(m, i, pointer, target);
        return 0;
    }
    op = &mounts_add(m, pointer, target)->mount;
    set_options(m, op, o);
    /* Of the per-mount flags only those that are named change; others stay the source's. */
    op->flags = o->flags & (MS_BIND | MS_REC);
    op->set = o->set;
    op->clear = o->clear;
    op->source = source;
    op->file = kind == SOURCE_FILE;
    if (source_is_opened(m->spec, m->facts, i)) {
        m->next_tree = plan_find(m->plan, OP_ROOT_OPEN, (size_t)m->next_tree + 1);
        op->tree = m->plan->steps[m->next_tree].root_open.out;
    }
    mounts_added(m);
    return 0;
}

/*
 * In a user namespace a new instance belongs to the owner of another namespace. The container owns
 * that when it is new; one that is joined may have the same owner (another container's), so it is
 * tried; the host's is out of reach. Sets the host path that stands in when the kernel refuses;
 * returns whether a new instance is worth a try.
 */
static bool may_mount_new(const struct mounts *m, const char *type, const char **instead)
{
    static const struct {
        const char *type, *host;
        enum spec_ns ns;
    } rules[] = {
        { "sysfs", "/sys", SPEC_NS_NETWORK },
        { "proc", "/proc", SPEC_NS_PID },
        { "mqueue", "/dev/mqueue", SPEC_NS_IPC },
    };

    *instead = NULL;
    if (!m->facts->no_host_rights)
        return true;
    for (size_t i = 0; i < COUNT_OF(rules); i++) {
        const struct spec_namespace *ns = spec_namespace_of(m->spec, rules[i].ns);

        if (!str_eq(type, rules[i].type))
            continue;
        /* The host's processes and queues are no stand-in for the container's own; sysfs is refused
         * also where the host's is partly covered. */
        if (!ns || ns->path || rules[i].ns == SPEC_NS_NETWORK)
            *instead = rules[i].host;
        return ns != NULL;
    }
    return true;
}

static void add_host_bind(struct mounts *m, const char *pointer, const char *target,
                          const char *host, const struct mount_options *o)
{
    struct op_mount *op = &mounts_add(m, pointer, target)->mount;

    op->flags = MS_BIND | MS_REC;
    op->source = host;
    op->rec_set = options_attr_of(o->flags) | o->rec_set;
    op->rec_clear = o->rec_clear;
    op->propagation = needed_propagation(m, target, true, o->propagation);
    mounts_added(m);
}

static void add_new_instance(struct mounts *m, size_t i, const char *pointer, const char *target,
                             const char *or_bind, const struct mount_options *o)
{
    const struct spec_mount *sm = &m->spec->mounts[i];
    struct op_mount *op = &mounts_add(m, pointer, target)->mount;
    bool mode_given = strstr(o->data, "mode=") != NULL;

    set_options(m, op, o);
    op->type = sm->type;
    op->source = sm->source ? sm->source : sm->type;
    op->strict = !op->below && (str_eq(sm->type, "proc") || str_eq(sm->type, "sysfs"));
    op->copy_up = o->copy_up && !op->below; /* below a fresh file system there is nothing to copy */
    op->or_bind = or_bind;
    if (str_eq(sm->type, "tmpfs") && !mode_given) {
        if (op->below) /* made by the plan with this mode */
            op->data = arena_format(m->plan->arena, "mode=755%s%s", op->data ? "," : "",
                                    op->data ? op->data : "");
        else
            op->keep_mode = true;
    }
    mounts_added(m);
}

static void add_remount(struct mounts *m, size_t i, const char *pointer, const char *target,
                        const struct mount_options *o)
{
    struct op_mount *op = &mounts_add(m, pointer, target)->mount;

    set_options(m, op, o);
    op->type = m->spec->mounts[i].type;
    op->source = m->spec->mounts[i].source;
    op->make = false;
    op->out = SLOT_NONE;
}

static int add_mount(struct mounts *m, size_t i, struct err *e)
{
    const struct spec_mount *sm = &m->spec->mounts[i];
    const char *pointer = plan_pointer(m->plan, "/mounts/%zu", i);
    const char *target, *instead;
    struct mount_options o;
    int r = parse_mount(sm, pointer, &o, e);

    if (r < 0)
        return r;
    target = clean_in_root(m->plan->arena, sm->destination);
    if (strlen(target) >= PATH_MAX)
        return err_at(e, plan_pointer(m->plan, "%s/destination", pointer), ENAMETOOLONG,
                      "a path of the kernel has at most %d bytes", PATH_MAX - 1);
    if (is_plain_bind(&o))
        return add_bind(m, i, pointer, target, &o, e);
    if (o.flags & MS_REMOUNT)
        add_remount(m, i, pointer, target, &o);
    else if (str_eq(sm->type, "cgroup"))
        return mounts_add_cgroup(m, pointer, target, &o, e);
    else if (may_mount_new(m, sm->type, &instead))
        add_new_instance(m, i, pointer, target, instead, &o);
    else
        add_host_bind(m, pointer, target, instead, &o);
    return 0;
}

/* Is one the other, or a directory above it? */
static bool are_related(struct arena *a, const char *x, const char *y)
{
    const char *one = clean_in_root(a, x), *other = clean_in_root(a, y);
    size_t len = strlen(one) < strlen(other) ? strlen(one) : strlen(other);
    const char *longer = strlen(one) < strlen(other) ? other : one;

    if (len == 1) /* "/" is above everything */
        return true;
    return strncmp(one, other, len) == 0 && (longer[len] == '/' || longer[len] == '\0');
}

static bool any_related(struct arena *a, const struct strs *paths, const char *destination)
{
    for (size_t i = 0; i < paths->n; i++)
        if (are_related(a, paths->v[i], destination))
            return true;
    return false;
}

/*
 * The runtime lane makes the v1 cgroups while init mounts, so what needs them comes last, unless
 * something later in the config lies on, above or below it.
 */
static bool is_deferred(struct arena *a, const struct spec *s, size_t i)
{
    const char *destination = s->mounts[i].destination;

    if (!str_eq(s->mounts[i].type, "cgroup"))
        return false;
    for (size_t j = i + 1; j < s->n_mounts; j++)
        if (are_related(a, s->mounts[j].destination, destination))
            return false;
    return !any_related(a, &s->linux.readonly_paths, destination) &&
           !any_related(a, &s->linux.masked_paths, destination);
}

/* MOUNT steps to come: a cgroup entry is one for each hierarchy and one for what they lie on. */
static size_t count_mounts(const struct spec *s, const struct rootfs_facts *f)
{
    size_t n = s->n_mounts;

    for (size_t i = 0; i < s->n_mounts; i++)
        if (str_eq(s->mounts[i].type, "cgroup"))
            n += f->n_cgroups;
    return n;
}

int rootfs_compile_mounts(struct plan *p, const struct spec *s, const struct rootfs_facts *f,
                          int root_slot, struct err *e)
{
    struct mounts m = { .plan = p, .spec = s, .facts = f, .root_slot = root_slot };

    plan_add(p, OP_UMASK, LANE_INIT, "")->umask.mask = 0;
    add_root(p, s, f, root_slot);
    cover_init(&m.cover, p, s, count_mounts(s, f));
    m.next_tree = plan_find(p, OP_ROOT_OPEN, 0);
    for (size_t i = 0; i < s->n_mounts; i++) {
        int r = is_deferred(p->arena, s, i) ? 0 : add_mount(&m, i, e);

        if (r < 0)
            return r;
    }
    return 0;
}

int mounts_add_deferred(struct plan *p, const struct spec *s, const struct rootfs_facts *f,
                        int root_slot, struct err *e)
{
    struct mounts m = {
        .plan = p, .spec = s, .facts = f, .root_slot = root_slot, .opened = MAX_OPEN_TARGETS
    };

    cover_init(&m.cover, p, s, count_mounts(s, f));
    for (size_t i = 0; i < s->n_mounts; i++) {
        int r = is_deferred(p->arena, s, i) ? add_mount(&m, i, e) : 0;

        if (r < 0)
            return r;
    }
    return 0;
}

/* ---- init lane: pivot and working directory ------------------------------------------------- */

static bool mounts_on_root(const struct plan *p)
{
    for (int i = plan_find(p, OP_MOUNT, 0); i >= 0; i = plan_find(p, OP_MOUNT, (size_t)i + 1))
        if (str_eq(p->steps[i].mount.target, "/"))
            return true;
    return false;
}

/*
 * May more than the new root lie on the old one? What the host had on "/", it had before the clone;
 * later nothing comes into a namespace of our own unless something is shared.
 */
static bool may_be_covered(const struct plan *p, const struct spec *s, const struct rootfs_facts *f)
{
    return f->root_covered || f->host_shared || !f->privileged || !mount_ns_is_new(s) ||
           mounts_on_root(p);
}

int rootfs_compile_pivot(struct plan *p, const struct spec *s, const struct rootfs_facts *f,
                         int root_slot, struct err *e)
{
    uint64_t wanted = options_propagation(s->linux.rootfs_propagation);
    struct step *st = plan_add(p, OP_PIVOT, LANE_INIT, "/root/path");

    (void)e;
    st->pivot.root = root_slot;
    /* Private or slave it has been opened as; bound by init it is a slave of the host's. */
    if (!(wanted & (MS_PRIVATE | MS_SLAVE)) ||
        (wanted & MS_PRIVATE && !f->privileged && f->host_shared))
        st->pivot.propagation = wanted;
    st->pivot.old_shared = binds_are_peers(s, f);
    st->pivot.covered = may_be_covered(p, s, f);
    return 0;
}

int rootfs_compile_move_root(struct plan *p, const struct spec *s, const struct rootfs_facts *f,
                             int root_slot, struct err *e)
{
    uint64_t wanted = options_propagation(s->linux.rootfs_propagation);
    int attach = plan_find(p, OP_ROOT_ATTACH, 0);
    struct step *st = plan_add(p, OP_MOVE_ROOT, LANE_INIT, "/root/path");

    (void)e;
    st->move_root.root = root_slot;
    st->move_root.propagation = wanted & MS_PRIVATE ? 0 : wanted;
    st->move_root.old_shared = binds_are_peers(s, f);
    st->move_root.move = !str_eq(p->steps[attach].root_attach.at, "/");
    st->move_root.hide = f->kernel_mounts;
    return 0;
}

int rootfs_compile_chdir(struct plan *p, const struct spec *s, struct err *e)
{
    const char *cwd = s->process.cwd ? path_clean(p->arena, s->process.cwd) : "/";

    (void)e;
    if (!str_eq(cwd, "/"))
        plan_add(p, OP_CHDIR, LANE_INIT, "/process/cwd")->chdir.path = cwd;
    return 0;
}

void rootfs_compile_cwd(struct plan *p, const struct spec *s)
{
    const char *cwd = path_clean(p->arena, s->process.cwd);

    if (!str_eq(cwd, "/"))
        plan_add(p, OP_CWD, LANE_INIT, "/process/cwd")->cwd.path = cwd;
}
