/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The story of a start, told once: which concern adds its steps when. Pure: spec and facts in, plan
 * out. The ordering laws of ARCHITECTURE.md are decided here and tested in
 * tests/unit/container/test_laws.c.
 */
#include <errno.h>

#include "container/internal.h"

static void add_edge(struct plan *p, int step, int after)
{
    if (step >= 0 && after >= 0)
        p->steps[step].after = after;
}

/* First step of `lane` at or after index `from`, -1: none. */
static int first_in_lane(const struct plan *p, enum plan_lane lane, size_t from)
{
    for (size_t i = from; i < p->n; i++)
        if (p->steps[i].lane == lane)
            return (int)i;
    return -1;
}

static int last_of(const struct plan *p, enum plan_op op)
{
    int last = -1;

    for (int i = plan_find(p, op, 0); i >= 0; i = plan_find(p, op, (size_t)i + 1))
        last = i;
    return last;
}

struct cgroup_slots {
    int dir, filter; /* of the v2 cgroup: where the clone goes, and which devices it may use */
};

/* The v2 cgroup with its limits. An init in a user namespace may not attach the filter itself. */
static int compile_cgroup(const struct compile_in *in, struct plan *p, struct cgroup_slots *c,
                          struct err *e)
{
    const struct spec *s = in->spec;
    const struct cgroup_facts *f = &in->facts->cgroup;
    int r = cgroup_compile_make(p, s, f, &c->dir, e);

    if (r == 0)
        r = cgroup_compile_limits(p, s, f, e);
    if (r == 0)
        cgroup_compile_owner(p, s, f);
    if (r == 0)
        r = cgroup_compile_filter(p, s, f, &c->filter, e);
    if (r == 0 && ns_enters_user(s, &in->facts->ns))
        cgroup_compile_attach(p, LANE_RUNTIME, c->filter, c->dir);
    return r;
}

/*
 * When init joins the v1 cgroups, which takes the host's paths. Late, when the runtime has long made
 * them, is cheapest. Early: before init is another user, before it enters a mount namespace by path,
 * and before a cgroup namespace is unshared, whose root is where init then is. In the stage, where
 * that enters the mount namespace for init.
 */
struct cgroup_order {
    enum { JOIN_LATE, JOIN_EARLY, JOIN_IN_STAGE } join;
    bool late_namespace; /* init unshares the cgroup namespace after its join */
};

static struct cgroup_order cgroup_order_of(const struct compile_in *in)
{
    const struct spec *s = in->spec;
    const struct spec_namespace *cgroup = spec_namespace_of(s, SPEC_NS_CGROUP);
    const struct spec_namespace *mount = spec_namespace_of(s, SPEC_NS_MOUNT);
    bool joins_mount = mount && mount->path;
    /* clone3 makes the cgroup namespace only where the clone itself enters every cgroup (v2 alone);
     * elsewhere init must be in its v1 cgroups first. */
    struct cgroup_order order = { .late_namespace = cgroup && !cgroup->path &&
                                                    !in->facts->cgroup.unified };

    if (joins_mount && ns_needs_stage(s, &in->facts->ns))
        order.join = JOIN_IN_STAGE;
    else if (joins_mount || order.late_namespace || ns_enters_user(s, &in->facts->ns))
        order.join = JOIN_EARLY;
    return order;
}

/* Everything that must stand before init is cloned. */
static int compile_before_clone(const struct compile_in *in, struct plan *p, int *root_slot,
                                int *seccomp_slot, struct cgroup_slots *cgroup,
                                struct terminal_slots *t, struct err *e)
{
    const struct spec *s = in->spec;
    const struct container_facts *f = in->facts;
    const struct hook_subject hooks = { .hooks = &s->hooks,
                                        .bundle = in->bundle,
                                        .annotations = s->annotations };
    struct step *state = plan_add(p, OP_STATE_CREATE, LANE_RUNTIME, "");
    int r;

    state->state_create.dir = in->state_dir;
    state->state_create.start_fifos = in->create;
    if (in->notify_socket)
        readiness_compile_open(p, in);
    hooks_compile_open(p, &hooks);
    terminal_compile_connect(p, in, t);
    r = rootfs_compile_open(p, s, &f->rootfs, root_slot, e);
    if (r == 0)
        r = ns_compile_open(p, s, &f->ns, e);
    if (r == 0)
        r = rootfs_compile_idmaps(p, s, &f->rootfs, SLOT_NONE, e);
    if (r == 0)
        r = sec_compile_seccomp(p, s, &f->sec, seccomp_slot, e);
    if (r == 0)
        r = systemd_compile_start(p, s, &f->cgroup, in->id, e);
    if (r == 0)
        r = compile_cgroup(in, p, cgroup, e);
    if (r == 0)
        r = rdt_compile_make(p, s, &f->cgroup, in->id, e);
    return r;
}

void compile_publish(const struct compile_in *in, struct plan *p, const struct ns_clone_out *c,
                     const struct terminal_slots *t)
{
    struct step *st;

    terminal_compile_pidfd(p, t, c->pidfd_slot, "standard");
    if (in->pid_file) {
        st = plan_add(p, OP_PID_FILE, LANE_RUNTIME, "");
        st->pid_file.path = in->pid_file;
        st->pid_file.pid = c->pid_slot;
    }
    st = plan_add(p, OP_STATE_INIT, LANE_RUNTIME, "");
    st->state_init.dir = in->state_dir;
    st->state_init.pid = c->pid_slot;
}

void compile_hook_steps(const struct compile_in *in, struct plan *p, enum hook_kind kind,
                        int pid_slot)
{
    struct hook_subject subject = { .hooks = &in->spec->hooks,
                                    .process_env = &in->spec->process.env,
                                    .oci_version = in->spec->oci_version,
                                    .id = in->id,
                                    .bundle = in->bundle,
                                    .annotations = in->spec->annotations };

    hooks_compile(p, &subject, kind, pid_slot);
}

void compile_barrier(struct plan *p, const char *what, int after)
{
    struct step *st = plan_add(p, OP_BARRIER, LANE_RUNTIME, "");

    st->barrier.what = what;
    st->after = after;
}

int compile_runtime_hooks(const struct compile_in *in, struct plan *p, const char *what,
                          int pid_slot)
{
    compile_barrier(p, what, plan_last(p, LANE_INIT));
    compile_hook_steps(in, p, HOOK_PRESTART, pid_slot);
    compile_hook_steps(in, p, HOOK_CREATE_RUNTIME, pid_slot);
    return plan_last(p, LANE_RUNTIME);
}

void compile_container_hooks(const struct compile_in *in, struct plan *p, uint32_t umask,
                             int pid_slot)
{
    if (in->spec->hooks.create_container.n == 0)
        return;
    /* init makes nodes with a umask of 0; what a hook makes is its own business. */
    plan_add(p, OP_UMASK, LANE_INIT, "")->umask.mask = umask;
    compile_hook_steps(in, p, HOOK_CREATE_CONTAINER, pid_slot);
    plan_add(p, OP_UMASK, LANE_INIT, "")->umask.mask = 0;
}

/* The mounts are there, the root can still be written to and the pivot is to come. */
static int compile_create_hooks(const struct compile_in *in, struct plan *p, int pid_slot)
{
    int over;

    if (!hooks_at_create(&in->spec->hooks))
        return -1;
    over = compile_runtime_hooks(in, p, "the container's file system stands", pid_slot);
    compile_container_hooks(in, p, in->facts->sec.umask, pid_slot);
    return over;
}

/* The clone; a stage that joins the cgroups does so first of all, when they have been made. */
static int compile_clone(const struct compile_in *in, struct plan *p, int cgroup_slot,
                         const struct cgroup_order *order, struct ns_clone_out *c, struct err *e)
{
    int r = 0;

    if (order->join == JOIN_IN_STAGE) {
        r = cgroup_compile_make_v1(p, &in->facts->cgroup, e);
        ns_compile_stage(p);
        if (r == 0)
            r = cgroup_compile_join(p, &in->facts->cgroup, LANE_STAGE, e);
    }
    if (r == 0)
        r = ns_compile_clone(p, in->spec, &in->facts->ns, cgroup_slot, order->late_namespace, c, e);
    return r;
}

/*
 * The runtime lane beside init: maps first, for init waits for them; what takes long comes last, so
 * that init's wait for the cgroups is its only other one.
 */
static int compile_beside(const struct compile_in *in, struct plan *p, const struct ns_clone_out *c,
                          const struct cgroup_slots *cgroup, const struct terminal_slots *t,
                          const struct cgroup_order *order, struct err *e)
{
    int r = ns_compile_maps(p, in->spec, &in->facts->ns, c->pid_slot, e);

    if (r == 0)
        r = rootfs_compile_idmaps(p, in->spec, &in->facts->rootfs, c->pid_slot, e);
    if (r == 0)
        rdt_compile_join(p, in->spec, &in->facts->cgroup, in->id, c->pid_slot);
    if (r == 0)
        r = sec_compile_limits(p, in->spec, &in->facts->sec, e);
    /* While hooks run a container is "creating": then init is published after them. */
    if (r == 0 && !in->create && !hooks_at_create(&in->spec->hooks))
        compile_publish(in, p, c, t);
    if (r == 0 && order->join != JOIN_IN_STAGE)
        r = cgroup_compile_make_v1(p, &in->facts->cgroup, e);
    if (r == 0)
        r = cgroup_compile_late(p, in->spec, &in->facts->cgroup, cgroup->filter, e);
    return r;
}

void compile_preserve_fds(struct plan *p, unsigned n)
{
    int close_fds = plan_find(p, OP_CLOSE_FDS, 0);

    if (close_fds >= 0)
        p->steps[close_fds].close_fds.first += n;
}

/* The maps and the mounts that take them over: init waits for both at once. */
static void wait_for_idmaps(struct plan *p)
{
    int idmap = last_of(p, OP_MOUNT_IDMAP), maps = plan_find(p, OP_NS_ID_MAPS, 0);

    for (size_t i = 0; maps >= 0 && idmap > maps && i < p->n; i++)
        if (p->steps[i].after == maps)
            p->steps[i].after = idmap;
}

/* Who init is. */
static int compile_enter(const struct compile_in *in, struct plan *p, const struct ns_clone_out *c,
                         int root_slot, const struct cgroup_order *order, struct err *e)
{
    const struct spec *s = in->spec;
    int r = sec_compile_first(p, s, &in->facts->sec, e);

    compile_preserve_fds(p, in->preserve_fds);
    if (r == 0 && order->join == JOIN_EARLY)
        r = cgroup_compile_join(p, &in->facts->cgroup, LANE_INIT, e);
    if (r == 0)
        r = rootfs_compile_open_inside(p, s, &in->facts->rootfs, root_slot, e);
    if (r == 0)
        r = ns_compile_enter(p, s, &in->facts->ns, c, e);
    wait_for_idmaps(p);
    if (r == 0 && order->late_namespace)
        r = ns_compile_cgroup(p, s, e);
    if (r == 0)
        r = ns_compile_names(p, s, e);
    if (r == 0)
        r = net_compile_loopback(p, s, e);
    if (r == 0)
        r = net_compile_devices(p, s, in->facts->ns.own & CLONE_NEWNET, c->pid_slot, e);
    return r;
}

/*
 * The pivot, and what must stand right before it: the hooks of create, then what they may still
 * write to becomes read-only.
 */
static int compile_pivot(const struct compile_in *in, struct plan *p, int root_slot,
                         const struct ns_clone_out *c, const struct terminal_slots *t,
                         struct err *e)
{
    const struct spec *s = in->spec;
    int over = compile_create_hooks(in, p, c->pid_slot), hooked = plan_last(p, LANE_INIT), r;
    size_t publish;

    rootfs_compile_readonly(p, s, root_slot);
    /* Behind the hooks: what they execute must not get the label of the program. */
    r = sec_compile_labels(p, s, &in->facts->sec, LANE_INIT, e);
    if (!in->no_new_keyring)
        sec_compile_keyring(p);
    if (r == 0)
        r = in->no_pivot ? rootfs_compile_move_root(p, s, &in->facts->rootfs, root_slot, e)
                         : rootfs_compile_pivot(p, s, &in->facts->rootfs, root_slot, e);
    if (r < 0 || over < 0)
        return r;
    add_edge(p, first_in_lane(p, LANE_INIT, (size_t)over), over);
    if (in->create)
        return 0;
    publish = p->n;
    compile_publish(in, p, c, t);
    add_edge(p, (int)publish, hooked);
    return 0;
}

/* What init sees: its file system, up to the pivot. */
static int compile_file_system(const struct compile_in *in, struct plan *p, int root_slot,
                               const struct ns_clone_out *c, const struct cgroup_slots *cgroup,
                               const struct cgroup_order *order, struct terminal_slots *t,
                               struct err *e)
{
    const struct spec *s = in->spec;
    const struct rootfs_facts *f = &in->facts->rootfs;
    int r = rootfs_compile_mounts(p, s, f, root_slot, e);

    if (r == 0)
        r = rootfs_compile_devices(p, s, f, root_slot, e);
    if (r == 0)
        terminal_compile_open(p, s, root_slot, t);
    if (r == 0)
        r = ns_compile_sysctl(p, s, e);
    /* A sysctl may be one of a device that the runtime moves. */
    add_edge(p, plan_find(p, OP_NS_SYSCTL, 0), last_of(p, OP_NET_DEVICE_MOVE));
    if (r == 0)
        r = rootfs_compile_paths(p, s, f, root_slot, e);
    if (r == 0 && order->join == JOIN_LATE)
        r = cgroup_compile_join(p, &in->facts->cgroup, LANE_INIT, e);
    /* Behind the mounts: one of a block device opens that on the container's behalf. */
    if (r == 0 && !ns_enters_user(s, &in->facts->ns))
        cgroup_compile_attach(p, LANE_INIT, cgroup->filter, cgroup->dir);
    if (r == 0)
        r = rootfs_label_mounts(p, s, e);
    if (r == 0)
        r = compile_pivot(in, p, root_slot, c, t, e);
    return r;
}

/* sd_listen_fds(3): how many sockets there are from 3 on, and for whom. A later entry wins. */
static const char *const *environment(const struct compile_in *in, struct arena *a,
                                      const char *const *env)
{
    const char **list;
    size_t n = 0;

    if (!in->listen_fds)
        return env;
    while (env[n])
        n++;
    list = arena_array(a, n + 3, sizeof *list);
    for (size_t i = 0; i < n; i++)
        list[i] = env[i];
    list[n] = arena_format(a, "LISTEN_FDS=%u", in->listen_fds);
    list[n + 1] = "LISTEN_PID=1";
    return list;
}

/* When and where the process may run; it is in its cgroups by now. */
static int compile_attributes(const struct compile_in *in, struct plan *p, int pid_slot,
                              bool user_ns, struct err *e)
{
    struct sec_place place = { .user_ns = user_ns, .pid_slot = pid_slot };

    for (size_t i = 0; i < in->facts->cgroup.n; i++)
        if (in->facts->cgroup.v[i].cpuset)
            place.cpuset = in->facts->cgroup.v[i].cpus;
    return sec_compile_attributes(p, in->spec, &in->facts->sec, &place, e);
}

/*
 * With SCMP_ACT_NOTIFY the filter is always loaded before the start wait: the one who takes the
 * listener out of init and hands it over is the runtime of `create`, which is gone afterwards.
 */
static int compile_notify(const struct compile_in *in, struct plan *p, int seccomp_slot,
                          const struct ns_clone_out *c, struct err *e)
{
    const struct notify_subject subject = { .spec = in->spec,
                                            .id = in->id,
                                            .bundle = in->bundle,
                                            .status = "creating",
                                            .pid_slot = c->pid_slot,
                                            .pidfd_slot = c->pidfd_slot,
                                            .init_slot = c->pid_slot };
    int r = sec_compile_seccomp_last(p, in->spec, seccomp_slot, e);

    if (r == 0)
        notify_compile(p, &subject);
    return r;
}

/* From a finished file system to the user's program. */
static int compile_process(const struct compile_in *in, struct plan *p, int seccomp_slot,
                           const struct ns_clone_out *c, const struct terminal_slots *t,
                           bool user_ns, struct err *e)
{
    const struct spec_process *pr = &in->spec->process;
    const char *const *candidates = process_candidates(p->arena, pr);
    const char *const *envp = home_compile(p, pr);
    bool notify = sec_seccomp_notifies(in->spec);
    struct step *st;
    int r = rootfs_compile_chdir(p, in->spec, e);

    if (r == 0)
        r = compile_attributes(in, p, c->pid_slot, user_ns, e);
    if (r == 0)
        terminal_compile_stdio(p, in->spec, t);
    if (in->create)
        terminal_compile_inherited(p, t);
    else
        terminal_compile_hand_on(p, t);
    if (r == 0)
        r = sec_compile_privileges(p, in->spec, &in->facts->sec, user_ns, seccomp_slot, e);
    if (r < 0)
        return r;
    if (in->create && pr->set) {
        st = plan_add(p, OP_EXEC_LOOKUP, LANE_INIT, "/process/args/0");
        st->exec_lookup.candidates = candidates;
        st->exec_lookup.name = pr->args.v[0];
    }
    if (notify)
        r = compile_notify(in, p, seccomp_slot, c, e);
    if (r < 0)
        return r;
    if (in->create) {
        compile_barrier(p, "init is ready to start", plan_last(p, LANE_INIT));
        terminal_compile_hand_on(p, t);
        compile_publish(in, p, c, t);
        st = plan_add(p, OP_START_WAIT, LANE_INIT, "");
        st->start_wait.dir = in->state_dir;
        st->after = plan_last(p, LANE_RUNTIME);
    }
    compile_hook_steps(in, p, HOOK_START_CONTAINER, SLOT_NONE);
    if (!notify)
        r = sec_compile_seccomp_last(p, in->spec, seccomp_slot, e);
    if (r < 0)
        return r;
    st = plan_add(p, OP_EXEC, LANE_INIT, "/process/args");
    st->exec.candidates = candidates;
    st->exec.argv = pr->args.v;
    st->exec.envp = environment(in, p->arena, envp);
    st->exec.name = pr->args.v[0];
    return 0;
}

/* The hooks of startContainer follow the pivot, those of createContainer precede it. */
static int first_start_hook(const struct plan *p)
{
    int step = plan_find(p, OP_HOOK, (size_t)plan_find(p, OP_PIVOT, 0));

    return step >= 0 ? step : (int)p->n;
}

/*
 * `run`: init may only exec once the runtime lane is through, and that wait must come before the
 * filter, which may forbid everything but what the container's own program needs. So the edge goes
 * to the load where there is one, or to a hook that comes before that. A listener is taken after
 * the load; exec would close it, and a hook may do what the filter asks the listener about.
 */
void compile_release_before_exec(struct plan *p)
{
    int load = plan_find(p, OP_SECCOMP_LOAD, 0), hook = first_start_hook(p);
    int exec = plan_find(p, OP_EXEC, 0), program = hook < exec ? hook : exec;
    int last = plan_last(p, LANE_RUNTIME);

    if (plan_find(p, OP_SECCOMP_NOTIFY, 0) >= 0) {
        add_edge(p, program, last);
        do
            last--;
        while (p->steps[last].lane != LANE_RUNTIME);
    }
    add_edge(p, load >= 0 && load < program ? load : program, last);
}

/* Behind all else: who detaches is back only when the container is ready, or has ended. */
static void compile_readiness(const struct compile_in *in, struct plan *p,
                              const struct ns_clone_out *c)
{
    int listen = plan_find(p, OP_READINESS_LISTEN, 0);

    if (listen < 0)
        return;
    if (in->detach)
        compile_barrier(p, "the program runs", plan_find(p, OP_EXEC, 0));
    readiness_compile_forward(p, &p->steps[listen].readiness_listen, c->pid_slot, c->pidfd_slot,
                              !in->detach);
}

/* `run` stays, so the program's start is its to see; after `create` that is for `start`. */
static void compile_poststart(const struct compile_in *in, struct plan *p, int pid_slot)
{
    if (in->spec->hooks.poststart.n == 0)
        return;
    compile_barrier(p, "the program runs", plan_find(p, OP_EXEC, 0));
    compile_hook_steps(in, p, HOOK_POSTSTART, pid_slot);
}

static int compile_all(const struct compile_in *in, struct plan *p, struct compile_out *out,
                       struct err *e)
{
    const struct spec *s = in->spec;
    const struct spec_namespace *pid_ns = spec_namespace_of(s, SPEC_NS_PID);
    bool user_ns = ns_enters_user(s, &in->facts->ns);
    int root_slot = SLOT_NONE, seccomp_slot = SLOT_NONE;
    struct cgroup_slots cgroup = { SLOT_NONE, SLOT_NONE };
    struct cgroup_order order = cgroup_order_of(in);
    struct terminal_slots t;
    struct ns_clone_out c;
    int r = terminal_check(s, in, e);

    if (r == 0 && !in->create && !s->process.set)
        r = err_at(e, "/process", 0, "process property must not be empty");
    if (r == 0)
        r = compile_before_clone(in, p, &root_slot, &seccomp_slot, &cgroup, &t, e);
    if (r == 0)
        r = compile_clone(in, p, cgroup.dir, &order, &c, e);
    if (r == 0)
        r = compile_beside(in, p, &c, &cgroup, &t, &order, e);
    if (r < 0)
        return r;
    r = compile_enter(in, p, &c, root_slot, &order, e);
    if (r == 0)
        r = compile_file_system(in, p, root_slot, &c, &cgroup, &order, &t, e);
    if (r == 0)
        systemd_compile_release(p);
    if (r == 0)
        r = compile_process(in, p, seccomp_slot, &c, &t, user_ns, e);
    if (r < 0)
        return r;
    if (!in->create) {
        compile_release_before_exec(p);
        compile_poststart(in, p, c.pid_slot);
        compile_readiness(in, p, &c);
    }
    out->pid_slot = c.pid_slot;
    out->pidfd_slot = c.pidfd_slot;
    out->private_pid_ns = pid_ns && !pid_ns->path;
    return 0;
}

int container_compile(const struct compile_in *in, struct plan *p, struct compile_out *out,
                      struct err *e)
{
    struct compile_in extended;
    int r;

    if (!in->notify_socket) {
        r = compile_all(in, p, out, e);
        return r < 0 ? r : plan_finish(p, e);
    }
    r = readiness_check(in->notify_socket, e);
    if (r < 0)
        return r;
    readiness_extend(in, p->arena, &extended);
    r = compile_all(&extended, p, out, e);
    if (r < 0)
        return r;
    readiness_forget_pointers(&extended, p);
    return plan_finish(p, e);
}

void container_compile_delete(const struct made *m, int pidfd_slot, struct plan *p)
{
    struct step *st;

    for (size_t i = 0; pidfd_slot >= 0 && i < m->n_cgroups; i++) {
        if (!m->cgroups[i].leaf)
            continue;
        st = plan_add(p, OP_CGROUP_THAW, LANE_RUNTIME, "/linux/cgroupsPath");
        st->cgroup_thaw.path = m->cgroups[i].path;
        st->cgroup_thaw.init = pidfd_slot;
    }
    if (pidfd_slot >= 0)
        plan_add(p, OP_INIT_KILL, LANE_RUNTIME, "")->init_kill.pidfd = pidfd_slot;
    for (size_t i = 0; i < m->n_redirects; i++) {
        st = plan_add(p, OP_NET_UNREDIRECT, LANE_RUNTIME, "/linux/namespaces");
        st->net_unredirect.path = m->redirects[i].path;
        st->net_unredirect.inode = m->redirects[i].inode;
        st->net_unredirect.index = m->redirects[i].index;
    }
    for (size_t i = 0; m->undo && i < m->n_devices; i++) {
        st = plan_add(p, OP_NET_DEVICE_BACK, LANE_RUNTIME, "/linux/netDevices");
        st->net_device_back.host_name = m->devices[i].host_name;
        st->net_device_back.netns = m->devices[i].netns;
        st->net_device_back.index = m->devices[i].index;
        st->net_device_back.was_up = m->devices[i].was_up;
    }
    for (size_t i = m->n_rdt; i-- > 0;) {
        if (!m->rdt[i].own && !m->undo)
            continue;
        st = plan_add(p, OP_RDT_REMOVE, LANE_RUNTIME, "/linux/intelRdt");
        st->rdt_remove.path = m->rdt[i].path;
        st->rdt_remove.made = m->rdt[i].slot;
    }
    /* Without an init nobody knows whose unit it is; the helper's end has ended this one's. */
    if (!m->init_unknown)
        systemd_compile_stop(p, &m->unit);
    for (size_t i = m->n_cgroups; i-- > 0;) {
        st = plan_add(p, OP_CGROUP_REMOVE, LANE_RUNTIME, "/linux/cgroupsPath");
        st->cgroup_remove.path = m->cgroups[i].path;
        st->cgroup_remove.leaf = m->cgroups[i].leaf;
        st->cgroup_remove.nested = m->cgroups[i].nested;
        st->cgroup_remove.spare = m->cgroups[i].leaf && m->init_unknown;
    }
    if (m->state_dir)
        plan_add(p, OP_STATE_REMOVE, LANE_RUNTIME, "")->state_remove.dir = m->state_dir;
}

/* Only few configurations make any of it. */
static void made_besides(const struct plan *p, int last, struct arena *a, struct made *out)
{
    for (int i = plan_find(p, OP_RDT_GROUP, 0); i >= 0 && i <= last;
         i = plan_find(p, OP_RDT_GROUP, (size_t)i + 1)) {
        const struct op_rdt_group *op = &p->steps[i].rdt_group;

        if (!out->rdt)
            out->rdt = arena_array(a, p->n, sizeof *out->rdt);
        if (op->make)
            out->rdt[out->n_rdt++] = (struct made_rdt){ op->path, op->own, op->made };
    }
    for (int i = plan_find(p, OP_NET_DEVICE_MOVE, 0); i >= 0 && i <= last;
         i = plan_find(p, OP_NET_DEVICE_MOVE, (size_t)i + 1)) {
        const struct op_net_device_move *op = &p->steps[i].net_device_move;

        if (!out->devices)
            out->devices = arena_array(a, p->n, sizeof *out->devices);
        out->devices[out->n_devices++] = (struct made_device){ op->host_name, op->netns, op->index,
                                                               op->was_up };
    }
    for (int i = plan_find(p, OP_NET_REDIRECT, 0); i >= 0 && i <= last;
         i = plan_find(p, OP_NET_REDIRECT, (size_t)i + 1)) {
        const struct op_net_redirect *op = &p->steps[i].net_redirect;

        if (!out->redirects)
            out->redirects = arena_array(a, p->n, sizeof *out->redirects);
        out->redirects[out->n_redirects++] = (struct made_redirect){ op->path, op->inode,
                                                                     op->index };
    }
}

void made_of_plan(const struct plan *p, int last, struct arena *a, struct made *out)
{
    *out = (struct made){ .cgroups = arena_array(a, p->n, sizeof *out->cgroups) };
    made_besides(p, last, a, out);
    for (int i = 0; i <= last && i < (int)p->n; i++) {
        const struct step *st = &p->steps[i];

        if (st->op == OP_CGROUP_MAKE)
            out->cgroups[out->n_cgroups++] = (struct made_cgroup){ st->cgroup_make.path,
                                                                   st->cgroup_make.leaf,
                                                                   st->cgroup_make.nested };
        else if (st->op == OP_STATE_CREATE)
            out->state_dir = st->state_create.dir;
        else if (st->op == OP_UNIT_START)
            out->unit = (struct cgroup_unit){ .name = st->unit_start.unit,
                                              .helper = st->unit_start.helper,
                                              .user = st->unit_start.user };
    }
}
