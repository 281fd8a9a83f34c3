/* SPDX-License-Identifier: Apache-2.0 */
/*
 * exec: one more process in a container that exists. A plan of its own:
 *
 *   runtime ── clone3 into the v2 cgroup ── init: joins v1 cgroups, enters the namespaces, gives
 *      │                                    its privileges away, loads the filter, executes
 *      └── waits until the program has been executed, writes the pid file
 *
 * Where a pid namespace is joined a stage does the joining, because only its children are in it
 * (setns(2)), and clones the process with CLONE_PARENT. There is nothing on the host to take back:
 * an undo is the end of the process.
 */
#include <errno.h>
#include <fcntl.h>
#include <linux/capability.h>
#include <signal.h>
#include <string.h>
#include <sys/auxv.h>
#include <unistd.h>

#include "container/machine.h"

static bool joins(const struct exec_facts *f, enum spec_ns type)
{
    return f->joined & spec_ns_flag(type);
}

/* An ordinary user may only do it inside, if at all. */
static bool drops_groups_early(const struct exec_facts *f)
{
    return f->sec.cap_effective >> CAP_SETGID & 1;
}

/* ---- compile ------------------------------------------------------------------------------- */

int exec_compile_cgroup(struct plan *p, const struct exec_facts *f)
{
    struct step *st;

    if (!f->v2)
        return SLOT_NONE;
    st = plan_add(p, OP_CGROUP_OPEN, LANE_RUNTIME, "/linux/cgroupsPath");
    st->cgroup_open.path = f->v2;
    st->cgroup_open.out = plan_slot(p);
    return st->cgroup_open.out;
}

void exec_compile_joins(struct plan *p, const struct exec_facts *f, enum plan_lane lane)
{
    for (const char *const *path = f->v1; *path; path++)
        plan_add(p, OP_CGROUP_JOIN, lane, "/linux/cgroupsPath")->cgroup_join.path = *path;
}

/*
 * What concerns the host comes first. The labels too: inside, /proc is whatever the container has made
 * of it, if it has one (CVE-2025-52881). A stage's child has them, for clone(2) copies them.
 */
static int add_joins(struct plan *p, const struct exec_in *in, enum plan_lane lane, int target_slot,
                     struct err *e)
{
    const struct exec_facts *f = in->facts;
    int r = sec_compile_labels(p, in->spec, &f->sec, lane, e);
    struct step *st;

    if (r < 0)
        return r;

    /* By the host's paths and as the host's user, so before the namespaces. */
    exec_compile_joins(p, f, lane);
    /* The user namespace may deny setgroups: what the runtime's user has must be gone before. */
    if (joins(f, SPEC_NS_USER) && drops_groups_early(f) && !spec_keeps_groups(in->spec))
        plan_add(p, OP_GROUPS, lane, "/process/user/additionalGids")->groups.list_size = 0;
    st = plan_add(p, OP_NS_ENTER, lane, "/linux/namespaces");
    st->ns_enter.flags = f->joined;
    st->ns_enter.pidfd = target_slot;
    return 0;
}

static int add_clone(struct plan *p, enum plan_lane lane, int cgroup_slot,
                     const struct exec_out *out)
{
    struct step *st = plan_add(p, OP_CLONE, lane, "");

    st->clone.cgroup = cgroup_slot;
    st->clone.sibling = lane == LANE_STAGE;
    st->clone.out_pid = out ? out->pid_slot : plan_slot(p);
    st->clone.out_pidfd = out ? out->pidfd_slot : SLOT_NONE;
    return (int)p->n - 1;
}

/* Up to a process in the container's namespaces and cgroups. */
static int compile_enter(const struct exec_in *in, struct plan *p, const struct exec_out *out,
                         struct err *e)
{
    const struct exec_facts *f = in->facts;
    const struct spec_affinity *cpus = &in->spec->process.exec_cpu_affinity;
    bool stage = joins(f, SPEC_NS_PID);
    int cgroup_slot, cloned, r;
    struct step *st;

    /* config.md "execCPUAffinity": of the process that is to be, before it is in the cgroup. */
    r = sec_compile_cpu_affinity(p, LANE_RUNTIME, cpus->initial, "/process/execCPUAffinity/initial",
                                 e);
    if (r < 0)
        return r;
    cgroup_slot = exec_compile_cgroup(p, f);
    if (stage) {
        add_clone(p, LANE_RUNTIME, cgroup_slot, NULL);
        plan_add(p, OP_UNDUMPABLE, LANE_STAGE, "");
        r = add_joins(p, in, LANE_STAGE, out->target_slot, e);
        if (r < 0)
            return r;
        cloned = add_clone(p, LANE_STAGE, SLOT_NONE, out);
        st = plan_add(p, OP_BARRIER, LANE_RUNTIME, "");
        st->barrier.what = "the stage has cloned the process";
        st->after = cloned;
    } else {
        add_clone(p, LANE_RUNTIME, cgroup_slot, out);
    }
    r = sec_compile_limits(p, in->spec, &f->sec, e);
    if (r == 0)
        r = sec_compile_first(p, in->spec, &f->sec, e);
    compile_preserve_fds(p, in->preserve_fds);
    if (r == 0 && !stage)
        r = add_joins(p, in, LANE_INIT, out->target_slot, e);
    return r;
}

/* The filter where it comes last, and whom it asks; then the program. */
static int compile_program(const struct exec_in *in, struct plan *p, int seccomp_slot,
                           const struct exec_out *out, const char *const *envp, struct err *e)
{
    const struct spec_process *pr = &in->spec->process;
    const struct notify_subject subject = { .spec = in->spec,
                                            .id = in->id,
                                            .bundle = in->bundle,
                                            .status = in->status,
                                            .pid_slot = out->pid_slot,
                                            .pidfd_slot = out->pidfd_slot,
                                            .init_slot = out->init_slot };
    int r = sec_compile_seccomp_last(p, in->spec, seccomp_slot, e);
    struct step *st;

    if (r < 0)
        return r;
    if (sec_seccomp_notifies(in->spec))
        notify_compile(p, &subject);
    st = plan_add(p, OP_EXEC, LANE_INIT, "/process/args");
    st->exec.candidates = process_candidates(p->arena, pr);
    st->exec.argv = pr->args.v;
    st->exec.envp = envp;
    st->exec.name = pr->args.v[0];
    compile_release_before_exec(p);
    return 0;
}

/* From there to the program. */
static int compile_process(const struct exec_in *in, struct plan *p, int seccomp_slot,
                           const struct exec_out *out, struct terminal_slots *t, struct err *e)
{
    const struct spec_process *pr = &in->spec->process;
    bool user = joins(in->facts, SPEC_NS_USER);
    struct sec_place place = { .user_ns = user, .pid_slot = out->pid_slot };
    const char *const *envp;
    int r;

    if (user)
        plan_add(p, OP_NS_BECOME_ROOT, LANE_INIT, "/linux/namespaces")->ns_become_root.drop_groups =
            !drops_groups_early(in->facts) && !spec_keeps_groups(in->spec);
    sec_compile_keyring(p);
    terminal_compile_open(p, in->spec, SLOT_NONE, t);
    rootfs_compile_cwd(p, in->spec);
    envp = home_compile(p, pr);
    r = sec_compile_attributes(p, in->spec, &in->facts->sec, &place, e);
    if (r == 0)
        r = sec_compile_cpu_affinity(p, LANE_INIT, pr->exec_cpu_affinity.final,
                                     "/process/execCPUAffinity/final", e);
    if (r < 0)
        return r;
    terminal_compile_stdio(p, in->spec, t);
    terminal_compile_pidfd(p, t, out->pidfd_slot, "setns");
    terminal_compile_hand_on(p, t);
    r = sec_compile_privileges(p, in->spec, &in->facts->sec, user, seccomp_slot, e);
    return r < 0 ? r : compile_program(in, p, seccomp_slot, out, envp, e);
}

void exec_compile_slots(struct plan *p, struct exec_out *out)
{
    *out = (struct exec_out){ .target_slot = plan_slot(p),
                              .init_slot = plan_slot(p),
                              .pid_slot = plan_slot(p),
                              .pidfd_slot = plan_slot(p) };
}

int exec_compile_end(struct plan *p, const char *pid_file, const struct exec_out *out,
                     struct err *e)
{
    struct step *st;

    /* conmon takes the pid file for the proof that the program was executed (engine-contract
     * 1.3.7), so it comes after that. */
    plan_add(p, OP_EXECUTED, LANE_RUNTIME, "/process/args");
    if (pid_file) {
        st = plan_add(p, OP_PID_FILE, LANE_RUNTIME, "");
        st->pid_file.path = pid_file;
        st->pid_file.pid = out->pid_slot;
    }
    return plan_finish(p, e);
}

int container_compile_exec(const struct exec_in *in, struct plan *p, struct exec_out *out,
                           struct err *e)
{
    const struct compile_in fds = { .console_socket = in->console_socket,
                                    .pidfd_socket = in->pidfd_socket,
                                    .detach = in->detach };
    int seccomp_slot = SLOT_NONE, r = terminal_check(in->spec, &fds, e);
    struct terminal_slots t;

    if (r < 0)
        return r;
    exec_compile_slots(p, out);
    terminal_compile_connect(p, &fds, &t);
    r = sec_compile_seccomp(p, in->spec, &in->facts->sec, &seccomp_slot, e);
    if (r == 0)
        r = compile_enter(in, p, out, e);
    if (r == 0)
        r = compile_process(in, p, seccomp_slot, out, &t, e);
    if (r < 0)
        return r;
    return exec_compile_end(p, in->pid_file, out, e);
}

/* ---- facts --------------------------------------------------------------------------------- */

static bool climbs(const char *path)
{
    int depth = 0;

    while (*path) {
        size_t len = strcspn(path, "/");

        if (len == 2 && path[0] == '.' && path[1] == '.')
            depth--;
        else if (len > 0 && !(len == 1 && path[0] == '.'))
            depth++;
        if (depth < 0)
            return true;
        path += len + (path[len] == '/');
    }
    return false;
}

static bool names_controller(const char *list, size_t len, const char *controllers)
{
    for (const char *at = list, *end = list + len; at < end; at++) {
        size_t n = 0, m;

        while (at + n < end && at[n] != ',')
            n++;
        for (const char *c = controllers; *c; c += m + (c[m] == ',')) {
            m = strcspn(c, ",");
            if (n == m && strncmp(at, c, n) == 0)
                return true;
        }
        at += n;
    }
    return false;
}

/*
 * --cgroup for one of the container's cgroups: *sub is the path below it, NULL when the word is
 * about others. Without a controller it is about all of them.
 */
static int sub_cgroup(const char *word, const char *controllers, const char **sub, struct err *e)
{
    const char *colon = strchr(word, ':'), *path = colon ? colon + 1 : word;

    if (climbs(path))
        return err_set(e, 0, "bad sub cgroup path: %s", word);
    *sub = !colon || names_controller(word, (size_t)(colon - word), controllers) ? path : NULL;
    return 0;
}

/* Which controllers the hierarchy of a cgroup has: of the facts that name the same directory. */
static const char *controllers_at(const struct cgroup_facts *f, const char *path)
{
    for (size_t i = 0; i < f->n; i++)
        if (str_eq(f->v[i].path, path))
            return f->v[i].controllers;
    return "";
}

static int choose_cgroup(const struct container_exec_options *x, const struct cgroup_facts *f,
                         const char *path, struct arena *a, const char **out, struct err *e)
{
    *out = NULL;
    for (size_t i = 0; i < x->cgroups.n; i++) {
        const char *sub = NULL;
        int r = sub_cgroup(x->cgroups.v[i], controllers_at(f, path), &sub, e);

        if (r < 0)
            return r;
        if (sub)
            *out = path_clean(a, arena_format(a, "%s/%s", path, sub));
    }
    return 0;
}

static int gather_hierarchies(const struct container_exec_options *x, const struct spec *s,
                              struct cgroup_query *q, struct arena *a, struct cgroup_facts *f,
                              struct err *e)
{
    enum { MOUNTINFO_MAX_BYTES = 64 << 20 };
    char *mountinfo = NULL;
    int r;

    *f = (struct cgroup_facts){ 0 };
    if (x->cgroups.n == 0)
        return 0;
    r = file_read(a, AT_FDCWD, "/proc/self/mountinfo", MOUNTINFO_MAX_BYTES, &mountinfo, NULL, e);
    q->mountinfo = mountinfo;
    q->limited = getauxval(AT_EUID) != 0 || ns_is_nested();
    return r < 0 ? r : cgroup_gather(s, q, a, f, e);
}

static int gather_cgroups(const struct container_exec_options *x, const struct spec *s,
                          const struct state_record *rec, const char *status, pid_t init,
                          struct arena *a, struct exec_facts *f, struct err *e)
{
    struct cgroup_query q = { .id = rec->id, .status = status };
    const char **v1 = arena_array(a, rec->made.n_cgroups + 1, sizeof *v1);
    struct cgroup_facts hierarchies;
    size_t n = 0;
    int r = gather_hierarchies(x, s, &q, a, &hierarchies, e);

    for (size_t i = 0; r == 0 && i < rec->made.n_cgroups; i++) {
        const char *path = rec->made.cgroups[i].path, *chosen;
        bool v2 = cgroup_is_v2(path);

        if (!rec->made.cgroups[i].leaf)
            continue;
        r = choose_cgroup(x, &hierarchies, path, a, &chosen, e);
        if (r == 0 && !chosen && v2)
            r = cgroup_to_enter(path, init, a, &chosen, e);
        if (r == 0 && v2)
            f->v2 = chosen;
        else if (r == 0)
            v1[n++] = chosen ? chosen : path;
    }
    f->v1 = v1;
    return r;
}

static int gather(const struct container_exec_options *x, const struct spec *s,
                  const struct state_record *rec, pid_t init, struct arena *a, struct exec_facts *f,
                  struct err *e)
{
    const char *status = NULL;
    int r = facts_read_status(a, &status, e);

    if (r == 0)
        r = sec_gather(s, status, a, &f->sec, e);
    if (r == 0)
        r = ns_foreign_flags(init, &f->joined, e);
    if (r == 0 && (joins(f, SPEC_NS_USER) || ns_is_nested()))
        r = ns_setgroups_denied(init, a, &f->sec.setgroups_denied, e);
    return r < 0 ? r : gather_cgroups(x, s, rec, status, init, a, f, e);
}

/* ---- execution ----------------------------------------------------------------------------- */

struct exec {
    struct spec *spec;
    struct state_record rec;
    const char *status, *dir; /* of the container */
    struct container_exec_options options;
    pid_t init;
    struct exec_facts facts;
    struct exec_out slots;
    struct plan plan;
    struct execution x;
};

static int find_running(const struct container_options *o, const struct container_exec_options *x,
                        struct arena *a, struct exec *s, int *pidfd, struct err *e)
{
    const char *root;
    int r = container_root(o, a, &root, e);

    if (r == 0)
        r = container_find(root, o->id, a, &s->dir, &s->rec, e);
    if (r == 0)
        r = container_status(s->dir, &s->rec, &s->init, pidfd, e);
    if (r < 0)
        return r;
    if (r == STATUS_CREATING)
        return err_set(e, 0, "cannot exec in a container in the creating state");
    if (r == STATUS_STOPPED)
        return err_set(e, 0, "cannot exec in a stopped container");
    if (r == STATUS_PAUSED && !x->ignore_paused)
        return err_set(e, 0, "cannot exec in a paused container (use --ignore-paused to override)");
    s->status = container_status_name((enum container_status)r);
    return 0;
}

/* One self-contained line that begins as engines expect it (engine-contract 1.6). */
static void word_failure(struct err *e, bool begun)
{
    char pointer[ERR_POINTER_SIZE];

    base_format(pointer, sizeof pointer, "%s", e->pointer);
    e->pointer[0] = '\0';
    if (str_starts(e->text, "exec failed: ")) /* the teca of a machine said it */
        return;
    if (pointer[0] && !(begun && str_eq(pointer, "/process/args")))
        err_prefix(e, pointer);
    if (begun)
        err_prefix(e, "unable to start container process");
    err_prefix(e, "exec failed");
}

static int plan_machine(const struct container_options *o, const struct container_exec_options *x,
                        const char *pid_file, struct arena *a, struct exec *s, struct err *e)
{
    static const struct container_exec_options
        nothing; /* --cgroup is of the container's cgroups, in the guest */
    struct exec_machine_in in = { .dir = s->dir,
                                  .facts = &s->facts,
                                  .pid_file = pid_file,
                                  .console_socket = o->console_socket,
                                  .pidfd_socket = o->pidfd_socket,
                                  .options = &s->options,
                                  .detach = o->detach };
    int r = 0;

    if (o->preserve_fds > 0)
        return err_set(e, 0, "file descriptors cannot cross into a machine (--preserve-fds)");
    s->options = *x;
    if (x->process)
        r = exec_process_read(x->process, a, &s->options.process_text, e);
    if (r == 0)
        r = exec_process(&s->options, &s->rec, a, &s->spec, e);
    if (r == 0)
        r = gather_cgroups(&nothing, s->spec, &s->rec, NULL, s->init, a, &s->facts, e);
    in.spec = s->spec;
    s->facts.sec.sig_ignored = ~0ULL;
    plan_init(&s->plan, a, "exec");
    return r < 0 ? r : machine_compile_exec(&in, &s->plan, &s->slots, e);
}

/* Everything up to the plan: reads only. *pidfd: of init. */
static int plan_exec(const struct container_options *o, const struct container_exec_options *x,
                     struct arena *a, struct exec *s, int *pidfd, struct err *e)
{
    struct exec_in in = { .facts = &s->facts,
                          .console_socket = o->console_socket,
                          .pidfd_socket = o->pidfd_socket,
                          .preserve_fds = o->preserve_fds,
                          .detach = o->detach };
    int r = find_running(o, x, a, s, pidfd, e);

    if (r == 0)
        r = container_pid_file(o, a, &in.pid_file, e);
    if (r == 0 && s->rec.isolation)
        return plan_machine(o, x, in.pid_file, a, s, e);
    if (r == 0)
        r = exec_process(x, &s->rec, a, &s->spec, e);
    if (r == 0)
        r = gather(x, s->spec, &s->rec, s->init, a, &s->facts, e);
    if (r < 0)
        return r;
    in.spec = s->spec;
    in.id = s->rec.id;
    in.bundle = s->rec.bundle;
    in.status = s->status;
    plan_init(&s->plan, a, "exec");
    return container_compile_exec(&in, &s->plan, &s->slots, e);
}

int container_plan_exec(const struct container_options *o, const struct container_exec_options *x,
                        struct arena *a, struct plan *out, struct err *e)
{
    struct exec s;
    AUTO_FD int pidfd = -1;
    int r = plan_exec(o, x, a, &s, &pidfd, e);

    if (r == 0)
        *out = s.plan;
    return r;
}

static int prepare(const struct container_options *o, const struct container_exec_options *x,
                   struct arena *a, struct exec *s, struct err *e)
{
    static int slot_values[PLAN_MAX_SLOTS];
    int pidfd = -1, r = plan_exec(o, x, a, s, &pidfd, e);

    if (r < 0)
        return r;
    execution_init(&s->x, &s->plan, slot_values);
    s->x.slots.value[s->slots.target_slot] = pidfd;
    s->x.slots.value[s->slots.init_slot] = s->init;
    return lifecycle_block_signals(&s->x, s->facts.sec.sig_ignored, e);
}

int container_exec(const struct container_options *o, const struct container_exec_options *x,
                   struct arena *a, int *status, struct err *e)
{
    static struct exec s;
    int r = prepare(o, x, a, &s, e);

    if (r < 0) {
        word_failure(e, false);
        return r;
    }
    r = execute_start(&s.x, e);
    if (r == 0 && o->detach)
        return 0;
    if (r == 0) {
        /* The wait for the exec may have taken the SIGCHLD of the process's end off the queue. */
        kill(getpid(), SIGCHLD);
        r = lifecycle_supervise(&s.x, s.slots.pid_slot, s.slots.pidfd_slot, status, e);
        if (r > 0)
            return 0;
    }
    lifecycle_undo(&s.x, s.slots.pidfd_slot, NULL, a, e);
    word_failure(e, true);
    return r;
}
