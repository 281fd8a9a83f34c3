/* SPDX-License-Identifier: Apache-2.0 */
/*
 * restore: a container out of a checkpoint's files. What the kernel shall know of it, cgroups and
 * limits, is made as for a start; the lane init is CRIU, which enters the cgroups and a mount
 * namespace of its own, and makes the processes. They become the runtime's children
 * ("sibling"), so all that follows is as after a start.
 */
#include <errno.h>
#include <sched.h>
#include <signal.h>
#include <string.h>
#include <sys/mount.h>
#include <sys/prctl.h>
#include <unistd.h>

#include "container/criu.h"
#include "container/machine.h"

enum { CGROUPS_IGNORE = 0 };

struct restore {
    struct container_bundle bundle;
    struct container_facts facts;
    const char *program, *pid_file, *state_dir;
    struct criu_places places;
    struct criu_request request;
    struct criu_notes notes;
    struct criu_slots criu;
    struct terminal_slots terminal;
    int pid, pidfd; /* slots of the restored init */
    bool private_pid_ns;
    struct plan plan;
    struct execution x;
};

/* ---- the request --------------------------------------------------------------------------- */

/* Of a bind of config.json; NULL: it has none there. */
static const char *configured_source(const struct restore *s, const char *at, struct arena *a)
{
    const struct spec *spec = s->bundle.spec;
    const char *found = NULL;

    for (size_t i = 0; i < spec->n_mounts; i++) {
        const struct spec_mount *m = &spec->mounts[i];

        if (s->facts.rootfs.sources[i] == SOURCE_NONE || !m->source ||
            !str_eq(path_clean(a, m->destination), at))
            continue;
        found = m->source[0] == '/' ? m->source
                                    : arena_format(a, "%s/%s", s->bundle.dir, m->source);
    }
    return found;
}

/* A bind of a hierarchy shows the container's own cgroup, whose name may be another now. */
static const char *cgroup_source(const struct restore *s, const char *noted)
{
    for (size_t i = 0; i < s->facts.cgroup.n; i++) {
        const struct cgroup_hierarchy *h = &s->facts.cgroup.v[i];
        size_t len = strlen(h->mountpoint);

        if (strncmp(noted, h->mountpoint, len) == 0 && noted[len] == '/')
            return h->path;
    }
    return noted;
}

/* Every mount that the checkpoint has noted, from where config.json has it now. */
static void add_mounts(struct restore *s, struct arena *a)
{
    struct criu_request *q = &s->request;
    const struct spec *spec = s->bundle.spec;

    q->mounts = arena_array(a, s->notes.n_mounts + spec->n_mounts, sizeof *q->mounts);
    for (size_t i = 0; i < s->notes.n_mounts; i++) {
        const char *at = s->notes.mounts[i].key, *source = configured_source(s, at, a);

        q->mounts[q->n_mounts++] = (struct criu_pair){
            at, source ? source : cgroup_source(s, s->notes.mounts[i].value)
        };
    }
    if (s->notes.n_mounts > 0)
        return;
    /* A checkpoint of another runtime: it took the binds of config.json for external. */
    for (size_t i = 0; i < spec->n_mounts; i++) {
        const char *at = path_clean(a, spec->mounts[i].destination);
        const char *source = configured_source(s, at, a);

        if (source)
            q->mounts[q->n_mounts++] = (struct criu_pair){ at, source };
    }
}

static void add_cgroup_root(struct restore *s, const struct cgroup_hierarchy *h, struct arena *a)
{
    struct criu_request *q = &s->request;
    const char *above = str_eq(h->root, "/") ? "" : h->root;
    const char *path = arena_format(a, "%s%s", above, h->path + strlen(h->mountpoint));

    for (const char *at = h->controllers; at;) {
        size_t len = strcspn(at, ",");

        /* No controller: of every hierarchy that is not named, which is v2. */
        q->cgroup_roots[q->n_cgroup_roots++] = (struct criu_pair){
            h->v2 ? NULL : arena_strndup(a, at, len), path
        };
        at = at[len] ? at + len + 1 : NULL;
    }
}

static void add_cgroups(struct restore *s, struct arena *a)
{
    enum { CONTROLLERS_MAX = 64 };
    struct criu_request *q = &s->request;

    if (s->facts.cgroup.n == 0) {
        q->cgroups_mode = CGROUPS_IGNORE;
        return;
    }
    q->cgroup_roots = arena_array(a, CONTROLLERS_MAX, sizeof *q->cgroup_roots);
    for (size_t i = 0; i < s->facts.cgroup.n; i++)
        if (q->n_cgroup_roots < CONTROLLERS_MAX / 2)
            add_cgroup_root(s, &s->facts.cgroup.v[i], a);
}

/*
 * Namespaces by path. Of the network and of pids the dump has left out; CRIU is given an fd. ipc, uts
 * and time it joins by the path itself.
 */
static int add_namespaces(struct restore *s, struct arena *a, struct err *e)
{
    const struct spec *spec = s->bundle.spec;
    struct criu_request *q = &s->request;

    q->namespaces = arena_array(a, spec->linux.n_namespaces, sizeof *q->namespaces);
    for (size_t i = 0; i < spec->linux.n_namespaces; i++) {
        const struct spec_namespace *ns = &spec->linux.namespaces[i];

        if (!ns->path || s->facts.ns.own & spec_ns_flag(ns->type))
            continue;
        if (ns->type == SPEC_NS_IPC || ns->type == SPEC_NS_UTS || ns->type == SPEC_NS_TIME)
            q->namespaces[q->n_namespaces++] = (struct criu_pair){ spec_ns_name(ns->type),
                                                                   ns->path };
        else if (ns->type != SPEC_NS_NETWORK && ns->type != SPEC_NS_PID)
            return err_at(e, arena_format(a, "/linux/namespaces/%zu/path", i), 0,
                          "CRIU cannot restore into a %s namespace that exists",
                          spec_ns_name(ns->type));
    }
    return 0;
}

static int request_of(const struct container_criu_options *c, struct arena *a, struct restore *s,
                      struct err *e)
{
    struct criu_request *q = &s->request;
    int r = criu_request_of(c, a, q, e);

    if (r < 0)
        return r;
    q->type = CRIU_RESTORE;
    if (s->notes.network_of_hooks)
        q->empty_ns = CLONE_NEWNET;
    q->log_file = "restore.log";
    q->sibling = true;
    q->root = s->facts.rootfs.root;
    q->lsm_profile = c->lsm_profile;
    q->lsm_mount_context = c->lsm_mount_context;
    q->config_file = criu_config(&s->bundle.spec->annotations);
    q->fds = arena_array(a, CRIU_STDIO + 2, sizeof *q->fds);
    for (int fd = 0; fd < CRIU_STDIO; fd++)
        if (s->notes.fds[fd])
            q->fds[q->n_fds++] = (struct criu_fd){ s->notes.fds[fd], fd, SLOT_NONE };
    add_mounts(s, a);
    add_cgroups(s, a);
    return add_namespaces(s, a, e);
}

/* ---- compile ------------------------------------------------------------------------------- */

/* An fd of the namespace for CRIU, under the name that the dump gave it. */
static int compile_namespace(struct restore *s, enum spec_ns type, const char *key)
{
    const struct spec_namespace *ns = spec_namespace_of(s->bundle.spec, type);
    struct criu_request *q = &s->request;
    struct op_ns_open *op;

    if (!ns || !ns->path || s->facts.ns.own & spec_ns_flag(type))
        return SLOT_NONE;
    op = &plan_add(&s->plan, OP_NS_OPEN, LANE_RUNTIME, "/linux/namespaces")->ns_open;
    op->path = ns->path;
    op->type = spec_ns_flag(type);
    op->out = plan_slot(&s->plan);
    q->fds[q->n_fds++] = (struct criu_fd){ key, -1, op->out };
    return op->out;
}

/* Does it lie on a file system that CRIU restores with all that is in it? */
static bool lies_on_another(const struct restore *s, const char *at, struct arena *a)
{
    const struct spec *spec = s->bundle.spec;

    for (size_t i = 0; i < spec->n_mounts; i++) {
        const char *above = path_clean(a, spec->mounts[i].destination);
        size_t len = strlen(above);

        if (strncmp(at, above, len) == 0 && at[len] == '/')
            return true;
    }
    return false;
}

static void compile_targets(struct restore *s, int root_slot, struct arena *a)
{
    const struct spec *spec = s->bundle.spec;

    for (size_t i = 0; i < spec->n_mounts; i++) {
        const char *at = path_clean(a, spec->mounts[i].destination);
        struct step *st;

        if (lies_on_another(s, at, a))
            continue;
        st = plan_add(&s->plan, OP_CRIU_TARGET, LANE_INIT, arena_format(a, "/mounts/%zu", i));
        st->criu_target.path = at;
        st->criu_target.file = s->facts.rootfs.sources[i] == SOURCE_FILE;
        st->criu_target.root = root_slot;
    }
}

/*
 * What CRIU sees: the host's mounts, in a namespace that ends with it, so that nothing of its work
 * reaches the host, and as slaves, for CRIU copies that of the source to a bind that was one; and the
 * root filesystem as a mount, which it makes the container's "/".
 */
static void compile_root(struct restore *s, struct arena *a)
{
    struct plan *p = &s->plan;
    int slot = plan_slot(p);
    struct step *st = plan_add(p, OP_ROOT_PROPAGATION, LANE_INIT, "");

    st->root_propagation.path = "/";
    st->root_propagation.flags = MS_SLAVE | MS_REC;
    st = plan_add(p, OP_ROOT_OPEN, LANE_INIT, "/root/path");
    st->root_open.path = s->facts.rootfs.root;
    st->root_open.directory = true;
    st->root_open.propagation = MS_PRIVATE;
    st->root_open.out = slot;
    st = plan_add(p, OP_ROOT_ATTACH, LANE_INIT, "/root/path");
    st->root_attach.at = s->facts.rootfs.root;
    st->root_attach.root = slot;
    compile_targets(s, slot, a);
}

static struct step *compile_wait(struct restore *s, const char *until)
{
    struct step *st = criu_compile_wait(&s->plan, until, &s->places, &s->criu);

    st->criu_wait.pid = s->pid;
    st->criu_wait.pidfd = s->pidfd;
    return st;
}

static void compile_hooks(struct restore *s, const char *id, enum hook_kind kind)
{
    const struct spec *spec = s->bundle.spec;
    const struct hook_subject subject = { .hooks = &spec->hooks,
                                          .oci_version = spec->oci_version,
                                          .id = id,
                                          .bundle = s->bundle.dir,
                                          .annotations = spec->annotations };

    hooks_compile(&s->plan, &subject, kind, s->pid);
}

/* The processes stand still until CRIU is answered: now they get what a start gives before exec. */
static int compile_before_they_run(struct restore *s, const char *id, int filter, int cgroup,
                                   struct err *e)
{
    const struct spec *spec = s->bundle.spec;
    struct plan *p = &s->plan;
    struct step *st;
    int r;

    cgroup_compile_attach(p, LANE_RUNTIME, filter, cgroup);
    r = cgroup_compile_late(p, spec, &s->facts.cgroup, filter, e);
    if (r < 0)
        return r;
    rdt_compile_join(p, spec, &s->facts.cgroup, id, s->pid);
    systemd_compile_release(p);
    if (spec->process.terminal && s->terminal.console_socket != SLOT_NONE) {
        st = plan_add(p, OP_SOCKET_SEND, LANE_RUNTIME, "/process/terminal");
        st->socket_send.socket = s->terminal.console_socket;
        st->socket_send.fd = s->terminal.master;
    } else if (spec->process.terminal) {
        st = plan_add(p, OP_TERMINAL_RELAY, LANE_RUNTIME, "/process/terminal");
        st->terminal_relay.master = s->terminal.master;
    }
    if (s->pid_file) {
        st = plan_add(p, OP_PID_FILE, LANE_RUNTIME, "");
        st->pid_file.path = s->pid_file;
        st->pid_file.pid = s->pid;
    }
    st = plan_add(p, OP_STATE_INIT, LANE_RUNTIME, "");
    st->state_init.dir = s->state_dir;
    st->state_init.pid = s->pid;
    return 0;
}

static int compile_cgroups(struct restore *s, const char *id, int *dir, int *filter, struct err *e)
{
    const struct spec *spec = s->bundle.spec;
    const struct cgroup_facts *f = &s->facts.cgroup;
    struct plan *p = &s->plan;
    int r = systemd_compile_start(p, spec, f, id, e);

    if (r == 0)
        r = cgroup_compile_make(p, spec, f, dir, e);
    if (r == 0)
        r = cgroup_compile_limits(p, spec, f, e);
    if (r == 0)
        cgroup_compile_owner(p, spec, f);
    if (r == 0)
        r = cgroup_compile_filter(p, spec, f, filter, e);
    if (r == 0)
        r = cgroup_compile_make_v1(p, f, e);
    return r < 0 ? r : rdt_compile_make(p, spec, f, id, e);
}

static int compile(const struct container_options *o, struct restore *s, struct arena *a,
                   struct err *e)
{
    const struct compile_in in = { .console_socket = o->console_socket, .detach = o->detach };
    int cgroup = SLOT_NONE, filter = SLOT_NONE, keep[2], r;
    struct plan *p = &s->plan;
    struct step *st;

    plan_init(p, a, "restore");
    st = plan_add(p, OP_STATE_CREATE, LANE_RUNTIME, "");
    st->state_create.dir = s->state_dir;
    terminal_compile_connect(p, &in, &s->terminal);
    keep[0] = compile_namespace(s, SPEC_NS_NETWORK, "extRootNetNS");
    keep[1] = compile_namespace(s, SPEC_NS_PID, "extRootPidNS");
    r = compile_cgroups(s, o->id, &cgroup, &filter, e);
    if (r < 0)
        return r;
    criu_compile_open(p, &s->places, false, &s->criu);
    criu_compile_clone(p, CLONE_NEWNS, cgroup, &s->places, &s->criu);
    s->pid = plan_slot(p);
    s->pidfd = plan_slot(p);
    s->terminal.master = plan_slot(p);
    r = cgroup_compile_join(p, &s->facts.cgroup, LANE_INIT, e);
    compile_root(s, a);
    criu_compile_exec(p, s->program, &s->criu, keep);
    criu_compile_request(p, &s->request, &s->criu);
    compile_wait(s, "setup-namespaces");
    if (s->notes.network_of_hooks)
        net_compile_loopback_of(p, s->pid);
    compile_hooks(s, o->id, HOOK_PRESTART);
    compile_hooks(s, o->id, HOOK_CREATE_RUNTIME);
    compile_wait(s, "post-restore")->criu_wait.master = s->terminal.master;
    if (r == 0)
        r = compile_before_they_run(s, o->id, filter, cgroup, e);
    compile_wait(s, "done");
    return r < 0 ? r : plan_finish(p, e);
}

/* ---- one restore --------------------------------------------------------------------------- */

static int gather(const struct container_options *o, const struct container_criu_options *c,
                  struct arena *a, struct restore *s, struct err *e)
{
    const struct compile_in in = { .console_socket = o->console_socket, .detach = o->detach };
    const struct spec_namespace *pid_ns;
    enum isolation mode;
    int r = container_load(o, a, &s->bundle, NULL, e);

    if (r == 0)
        r = machine_choose(o, s->bundle.spec, &mode, e);
    if (r == 0 && mode != ISOLATION_CONTAINER)
        r = machine_refuse_criu("restored", e);
    if (r == 0)
        s->bundle.spec->vm.set = false; /* a container was asked for */

    if (r == 0)
        r = container_refuse_unsupported(s->bundle.spec, a, e);
    if (r == 0)
        r = terminal_check(s->bundle.spec, &in, e);
    if (r == 0)
        r = facts_gather(&s->bundle, o, a, &s->facts, e);
    if (r == 0)
        r = criu_notes_read(s->places.images, a, &s->notes, e);
    if (r < 0)
        return r;
    pid_ns = spec_namespace_of(s->bundle.spec, SPEC_NS_PID);
    s->private_pid_ns = pid_ns && !pid_ns->path;
    return request_of(c, a, s, e);
}

static void render_record(const struct container_options *o, struct restore *s, struct arena *a)
{
    struct state_record rec = { .id = o->id,
                                .bundle = s->bundle.dir,
                                .rootfs = s->facts.rootfs.root,
                                .created = state_now(a),
                                .private_pid_ns = s->private_pid_ns,
                                .cgroup_manager = container_cgroup_manager(o),
                                .runtime = { gettid(), 0, state_boot_ticks() },
                                .config_len = s->bundle.text_len };

    made_of_plan(&s->plan, (int)s->plan.n, a, &rec.made);
    s->x.record_text = state_render(&rec, a);
    s->x.record_len = strlen(s->x.record_text);
    s->x.config_text = s->bundle.text;
    s->x.config_len = s->bundle.text_len;
}

/* Reads only. */
static int plan_of(const struct container_options *o, const struct container_criu_options *c,
                   struct arena *a, struct restore *s, struct err *e)
{
    const char *root;
    int r = container_check_id(o->id, e);

    if (r == 0)
        r = container_root(o, a, &root, e);
    if (r == 0)
        r = criu_find(o, a, &s->program, e);
    /* Relative paths are the caller's; the bundle is entered afterwards. */
    if (r == 0)
        r = criu_places(c, "restore.log", a, &s->places, e);
    if (r == 0)
        r = container_pid_file(o, a, &s->pid_file, e);
    if (r < 0)
        return r;
    s->state_dir = state_dir_path(a, root, o->id);
    r = gather(o, c, a, s, e);
    return r < 0 ? r : compile(o, s, a, e);
}

int container_plan_restore(const struct container_options *o,
                           const struct container_criu_options *c, struct arena *a,
                           struct plan *out, struct err *e)
{
    static struct restore s;
    int r = plan_of(o, c, a, &s, e);

    if (r == 0)
        *out = s.plan;
    return r;
}

static int prepare(const struct container_options *o, const struct container_criu_options *c,
                   struct arena *a, struct restore *s, struct err *e)
{
    static int slot_values[PLAN_MAX_SLOTS];
    int r = plan_of(o, c, a, s, e);

    if (r < 0)
        return r;
    execution_init(&s->x, &s->plan, slot_values);
    render_record(o, s, a);
    return lifecycle_block_signals(&s->x, s->facts.sec.sig_ignored, e);
}

static struct hook_subject subject_of(const struct container_options *o, const struct restore *s)
{
    const struct spec *spec = s->bundle.spec;

    return (struct hook_subject){ .hooks = &spec->hooks,
                                  .oci_version = spec->oci_version,
                                  .id = o->id,
                                  .bundle = s->bundle.dir,
                                  .annotations = spec->annotations };
}

static int undo(const struct container_options *o, struct restore *s, int error, struct arena *a,
                struct err *e)
{
    struct hook_subject subject = subject_of(o, s);

    lifecycle_undo(&s->x, s->pidfd, &subject, a, e);
    return error;
}

/* In the foreground the container goes away with its init, as with `run`. */
static int supervise(const struct container_options *o, struct restore *s, struct arena *a,
                     int *status, struct err *e)
{
    struct hook_subject subject = subject_of(o, s);
    struct plan p;
    struct made made;
    int r;

    /* The wait for CRIU's end may have taken the SIGCHLD of init's off the queue. */
    kill(getpid(), SIGCHLD);
    r = lifecycle_supervise(&s->x, s->pid, s->pidfd, status, e);
    if (r < 0)
        return undo(o, s, r, a, e);
    if (o->keep)
        return 0;
    made_of_plan(&s->plan, (int)s->plan.n, a, &made);
    plan_init(&p, a, "delete");
    p.slots = s->plan.slots;
    container_compile_delete(&made, SLOT_NONE, &p);
    hooks_compile(&p, &subject, HOOK_POSTSTOP, SLOT_NONE);
    return execute_all(&p, &s->x.slots, e);
}

int container_restore(const struct container_options *o, const struct container_criu_options *c,
                      struct arena *a, int *status, struct err *e)
{
    static struct restore s;
    int r = prepare(o, c, a, &s, e);

    if (r == 0 && !o->detach && !o->no_subreaper && !s.private_pid_ns &&
        prctl(PR_SET_CHILD_SUBREAPER, 1) < 0)
        r = err_set(e, errno, "cannot become the reaper of the container's orphans");
    if (r < 0)
        return r;
    r = execute_start(&s.x, e);
    criu_end(&s.x, &s.criu);
    if (r < 0)
        return undo(o, &s, r, a, e);
    return o->detach ? 0 : supervise(o, &s, a, status, e);
}
