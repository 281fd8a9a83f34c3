/* SPDX-License-Identifier: Apache-2.0 */
/* run and create: from a bundle to a plan to a process, with everything undone when it fails. */
#include <errno.h>
#include <limits.h>
#include <signal.h>
#include <stdlib.h>
#include <string.h>
#include <sys/prctl.h>
#include <sys/signalfd.h>
#include <sys/wait.h>
#include <unistd.h>

#include "container/machine.h"

enum { FDS_MAX = 1 << 20 }; /* fs.nr_open as Linux sets it */

const char *container_cgroup_manager(const struct container_options *o)
{
    if (o->cgroup_manager)
        return o->cgroup_manager;
    return o->systemd_cgroup ? "systemd" : "cgroupfs";
}

int container_refuse_unsupported(const struct spec *s, struct arena *a, struct err *e)
{
    struct spec_faults faults;

    spec_faults_init(&faults);
    spec_unsupported(s, a, &faults);
    for (const struct spec_fault *f = faults.first; f; f = f->next)
        if (!f->warning)
            return err_at(e, f->pointer, 0, "%s", f->text);
        else
            log_debug("%s: %s", f->pointer, f->text);
    return 0;
}

/* --pid-file is relative to where the caller stood, so this comes before the bundle is entered. */
int container_pid_file(const struct container_options *o, struct arena *a, const char **out,
                       struct err *e)
{
    char cwd[PATH_MAX];

    *out = o->pid_file;
    if (!o->pid_file || o->pid_file[0] == '/')
        return 0;
    if (!getcwd(cwd, sizeof cwd))
        return err_set(e, errno, "cannot find the current directory for --pid-file");
    *out = arena_format(a, "%s/%s", cwd, o->pid_file);
    return 0;
}

/* sd_listen_fds(3): sockets for the process that LISTEN_PID names. Nonsense announces none. */
static unsigned listen_fds(void)
{
    const char *pid = getenv("LISTEN_PID"), *fds = getenv("LISTEN_FDS");
    uint64_t for_pid, n;

    if (!pid || !fds || str_to_u64(pid, &for_pid) < 0 || str_to_u64(fds, &n) < 0)
        return 0;
    return for_pid == (uint64_t)getpid() && n <= FDS_MAX ? (unsigned)n : 0;
}

const char *container_notify_socket(void)
{
    const char *value = getenv("NOTIFY_SOCKET");

    return value && value[0] ? value : NULL;
}

static struct compile_in compile_in_of(const struct container_options *o,
                                       const struct container_bundle *b, const char *root,
                                       const char *pid_file, bool create, struct arena *a)
{
    struct compile_in in = { .spec = b->spec,
                             .state_dir = state_dir_path(a, root, o->id),
                             .pid_file = pid_file,
                             .create = create,
                             .id = o->id ? o->id : "ID",
                             .bundle = b->dir,
                             .console_socket = o->console_socket,
                             .pidfd_socket = o->pidfd_socket,
                             .listen_fds = listen_fds(),
                             .detach = o->detach,
                             .no_pivot = o->no_pivot,
                             .no_new_keyring = o->no_new_keyring,
                             .notify_socket = container_notify_socket() };

    in.preserve_fds = in.listen_fds + o->preserve_fds;
    return in;
}

static int plan_of(const struct container_options *o, const struct container_bundle *b,
                   const char *root, const char *pid_file, bool create,
                   const struct container_facts *facts, struct arena *a, struct plan *out,
                   struct compile_out *slots, struct err *e)
{
    struct compile_in in = compile_in_of(o, b, root, pid_file, create, a);

    in.facts = facts;
    plan_init(out, a, create ? "create" : "run");
    return container_compile(&in, out, slots, e);
}

/* look: nothing is made of what a machine boots. */
static int plan_machine(const struct compile_in *in, const struct container_options *o,
                        enum isolation mode, bool look, struct arena *a, struct plan *out,
                        struct compile_out *slots, struct err *e)
{
    struct machine_facts facts = { .look = look };
    int r = machine_check(o, in->spec, mode, e);

    if (r == 0)
        r = machine_gather(in->spec, in->bundle, mode, a, &facts, e);
    if (r == 0)
        r = machine_cgroup_gather(o, in->spec, mode, a, &facts, e);
    plan_init(out, a, in->create ? "create" : "run");
    return r < 0 ? r : machine_compile(in, &facts, out, slots, e);
}

int container_plan(const struct container_options *o, const struct container_bundle *b, bool create,
                   const char *facts_json, size_t facts_len, struct arena *a, struct plan *out,
                   struct err *e)
{
    struct container_facts facts = { 0 };
    struct compile_out slots;
    enum isolation mode;
    const char *root;
    int r = container_root(o, a, &root, e);

    if (r == 0)
        r = machine_choose(o, b->spec, &mode, e);
    if (r == 0 && mode != ISOLATION_CONTAINER && facts_json)
        return err_set(e, 0, "--facts: those of another host say nothing of machines");
    if (r == 0 && mode != ISOLATION_CONTAINER) {
        struct compile_in in = compile_in_of(o, b, root, o->pid_file, create, a);

        return plan_machine(&in, o, mode, true, a, out, &slots, e);
    }
    b->spec->vm.set = false; /* a container was asked for */
    if (r == 0)
        r = container_refuse_unsupported(b->spec, a, e);
    if (r == 0)
        r = facts_json ? facts_parse(b, facts_json, facts_len, a, &facts, e)
                       : facts_gather(b, o, a, &facts, e);
    return r < 0 ? r : plan_of(o, b, root, o->pid_file, create, &facts, a, out, &slots, e);
}

int container_facts_json(const struct container_options *o, const struct container_bundle *b,
                         struct arena *a, struct json_out *j, struct err *e)
{
    struct container_facts facts = { 0 };
    int r = facts_gather(b, o, a, &facts, e);

    if (r == 0)
        facts_write(&facts, j);
    return r;
}

/* ---- one start ----------------------------------------------------------------------------- */

struct start {
    struct container_bundle bundle;
    struct container_facts facts;
    struct plan plan;
    struct compile_out slots;
    struct execution x;
    enum isolation mode;
};

/* The fields of what init does after the start wait: `start` may be another version of teca. */
static void keep_pointers(const struct plan *p, struct arena *a, struct state_record *rec)
{
    int wait = plan_find(p, OP_START_WAIT, 0);

    if (wait < 0)
        return;
    rec->pointers = arena_array(a, p->n - (size_t)wait, sizeof *rec->pointers);
    for (size_t i = (size_t)wait; i < p->n; i++)
        if (p->steps[i].lane == LANE_INIT)
            rec->pointers[rec->n_pointers++] = (struct state_pointer){
                .step = (int)i, .pointer = p->steps[i].pointer
            };
}

static void render_record(const struct container_options *o, struct start *s, struct arena *a,
                          bool create)
{
    struct state_record rec = { .id = o->id,
                                .bundle = s->bundle.dir,
                                .rootfs = s->facts.rootfs.root,
                                .created = state_now(a),
                                .private_pid_ns = s->slots.private_pid_ns,
                                .isolation = s->mode == ISOLATION_CONTAINER
                                                 ? NULL
                                                 : isolation_name(s->mode),
                                .cgroup_manager = container_cgroup_manager(o),
                                .create = create,
                                .runtime = { gettid(), 0, state_boot_ticks() },
                                .config_len = s->bundle.text_len };

    made_of_plan(&s->plan, (int)s->plan.n, a, &rec.made);
    keep_pointers(&s->plan, a, &rec);
    s->x.record_text = state_render(&rec, a);
    s->x.record_len = strlen(s->x.record_text);
    s->x.config_text = s->bundle.text;
    s->x.config_len = s->bundle.text_len;
}

/* All signals are blocked and fetched when it suits: none is lost, none interrupts a step. */
int lifecycle_block_signals(struct execution *x, uint64_t ignored, struct err *e)
{
    /* Not sigfillset: the C library keeps some real-time signals to itself, of which musl takes 34,
     * glibc's SIGRTMIN. teca has one thread and needs none of them. */
    memset(&x->signals, 0xff, sizeof x->signals);
    sigdelset(&x->signals, SIGSEGV);
    sigdelset(&x->signals, SIGBUS);
    sigdelset(&x->signals, SIGFPE);
    sigdelset(&x->signals, SIGILL);
    /* Whoever ignores SIGCHLD is not told of his children's end (signal(7)): an ignored disposition
     * is inherited from the caller. The other ones are queued all the same while blocked. */
    if (ignored & (1ULL << (SIGCHLD - 1)) && signal(SIGCHLD, SIG_DFL) == SIG_ERR)
        return err_set(e, errno, "cannot have SIGCHLD");
    return sigprocmask(SIG_BLOCK, &x->signals, NULL) < 0 ? err_set(e, errno, "cannot block signals")
                                                         : 0;
}

/* Whose poststop hooks are due when everything is removed. */
static struct hook_subject subject_of(const struct container_options *o, const struct start *s)
{
    const struct spec *spec = s->bundle.spec;

    return (struct hook_subject){ .hooks = &spec->hooks,
                                  .oci_version = spec->oci_version,
                                  .id = o->id,
                                  .bundle = s->bundle.dir,
                                  .annotations = spec->annotations };
}

void lifecycle_undo(struct execution *x, int pidfd_slot, const struct hook_subject *poststop,
                    struct arena *a, struct err *e)
{
    int pid_file = plan_find(x->plan, OP_PID_FILE, 0);
    struct err failed = { 0 };
    struct plan p;
    struct made made;

    relay_close(&x->relay);
    execute_end_stage(x);
    /* Only here and by no `delete`: once a start has succeeded the file is the caller's. */
    if (pid_file >= 0 && pid_file <= x->last_step)
        unlink(x->plan->steps[pid_file].pid_file.path);
    /* A step that failed has left nothing. Whether the clone was done its pidfd tells. */
    made_of_plan(x->plan, x->last_step, a, &made);
    made.undo = true;
    plan_init(&p, a, "undo");
    p.slots = x->plan->slots;
    container_compile_delete(&made, pidfd_slot, &p);
    if (poststop && hooks_have_begun(x->plan, x->last_step))
        hooks_compile(&p, poststop, HOOK_POSTSTOP, SLOT_NONE);
    if (execute_all(&p, &x->slots, &failed) < 0)
        err_hint(e, "and not everything could be undone, `delete --force` tries again: %s",
                 failed.text);
}

static void undo(const struct container_options *o, struct start *s, struct arena *a, struct err *e)
{
    struct hook_subject subject = subject_of(o, s);

    lifecycle_undo(&s->x, s->slots.pidfd_slot, &subject, a, e);
}

/* The plan is another one; how it is executed, undone and supervised is not. */
static int prepare_machine(const struct container_options *o, const char *root,
                           const char *pid_file, bool create, struct arena *a, struct start *s,
                           struct err *e)
{
    static int slot_values[PLAN_MAX_SLOTS];
    struct compile_in in = compile_in_of(o, &s->bundle, root, pid_file, create, a);
    int r = plan_machine(&in, o, s->mode, false, a, &s->plan, &s->slots, e);

    if (r < 0)
        return r;
    s->facts.rootfs.root = machine_root(&s->bundle, a);
    execution_init(&s->x, &s->plan, slot_values);
    memcpy(slot_values + s->slots.files_slot, s->slots.files, sizeof s->slots.files);
    render_record(o, s, a, create);
    return lifecycle_block_signals(&s->x, ~0ULL, e);
}

static int prepare(const struct container_options *o, bool create, struct arena *a, struct start *s,
                   struct err *e)
{
    static int slot_values[PLAN_MAX_SLOTS];
    const char *root, *pid_file;
    int r = container_check_id(o->id, e);

    if (r == 0)
        r = container_root(o, a, &root, e);
    if (r == 0)
        r = container_pid_file(o, a, &pid_file, e);
    if (r == 0)
        r = container_load(o, a, &s->bundle, NULL, e);
    if (r == 0)
        r = machine_choose(o, s->bundle.spec, &s->mode, e);
    if (r == 0 && s->mode != ISOLATION_CONTAINER)
        r = prepare_machine(o, root, pid_file, create, a, s, e);
    machine_keep_probe();
    if (s->mode != ISOLATION_CONTAINER)
        return r;
    if (r == 0)
        s->bundle.spec->vm.set = false; /* a container was asked for */
    if (r == 0)
        r = container_refuse_unsupported(s->bundle.spec, a, e);
    if (r == 0)
        r = facts_gather(&s->bundle, o, a, &s->facts, e);
    if (r == 0)
        r = plan_of(o, &s->bundle, root, pid_file, create, &s->facts, a, &s->plan, &s->slots, e);
    if (r < 0)
        return r;
    execution_init(&s->x, &s->plan, slot_values);
    render_record(o, s, a, create);
    return lifecycle_block_signals(&s->x, s->facts.sec.sig_ignored, e);
}

static int start_container(const struct container_options *o, bool create, struct arena *a,
                           struct start *s, struct err *e)
{
    int r = prepare(o, create, a, s, e);

    if (r == 0 && !create && !o->detach && !o->no_subreaper && !s->slots.private_pid_ns &&
        prctl(PR_SET_CHILD_SUBREAPER, 1) < 0)
        r = err_set(e, errno, "cannot become the reaper of the container's orphans");
    if (r == 0) {
        r = execute_start(&s->x, e);
        if (r < 0)
            undo(o, s, a, e);
    }
    return r;
}

int container_create(const struct container_options *o, struct arena *a, struct err *e)
{
    static struct start s;

    return start_container(o, true, a, &s, e);
}

/* ---- run in the foreground ----------------------------------------------------------------- */

static int status_of(const siginfo_t *info)
{
    return info->si_code == CLD_EXITED ? info->si_status : 128 + info->si_status;
}

/*
 * Takes note of every child that ended. Without a pid namespace of its own the container's orphans
 * come here too (child subreaper). 1: init was among them, 0: it was not.
 */
static int reap(pid_t init, siginfo_t *info, struct err *e)
{
    do {
        info->si_pid = 0;
        if (waitid(P_ALL, 0, info, WEXITED | WNOHANG | __WALL) < 0)
            return err_set(e, errno, "cannot wait for the container's process");
    } while (info->si_pid != 0 && info->si_pid != init);
    return info->si_pid == init;
}

/*
 * Until the program has been executed, a signal that would end teca undoes everything; from then on
 * every signal is the program's. A terminal's SIGINT comes here only: init has its own session.
 */
static int heed_signal(struct execution *x, int pidfd_slot, const siginfo_t *signal, struct err *e)
{
    int started = execute_outcome(x, NULL, e);

    if (started == 0 && execute_is_fatal_signal(signal->si_signo))
        return execute_interrupted(x, signal->si_signo, e);
    if (started < 0)
        return started;
    sys_pidfd_send_signal(x->slots.value[pidfd_slot], signal->si_signo);
    return 0;
}

struct supervised {
    pid_t pid;
    int pidfd_slot;
};

/* 1: init has ended, *status says how. 0: go on. Negative: the start failed. */
static int take_signal(struct execution *x, const struct supervised *who, const siginfo_t *signal,
                       int *status, struct err *e)
{
    siginfo_t end;
    int r;

    if (signal->si_signo == SIGPIPE)
        return 0;
    if (readiness_is_word(x, signal->si_signo)) {
        readiness_turn(x);
        return 0;
    }
    if (signal->si_signo != SIGCHLD)
        return heed_signal(x, who->pidfd_slot, signal, e);
    r = reap(who->pid, &end, e);
    if (r <= 0)
        return r;
    readiness_turn(x); /* SIGCHLD comes before SIGIO, signal(7) */
    r = execute_outcome(x, &end, e);
    if (r >= 0)
        *status = status_of(&end);
    return r < 0 ? r : 1;
}

/* The same with a terminal: what keys and programs write is carried between the waits. */
static int supervise_terminal(struct execution *x, const struct supervised *who, int *status,
                              struct err *e)
{
    int r = 0;

    /* A wait before may have made it, for the fatal signals only. */
    x->signal_fd = signalfd(x->signal_fd, &x->signals, SFD_CLOEXEC);
    if (x->signal_fd < 0)
        return err_set(e, errno, "cannot wait for signals");
    while (r == 0) {
        siginfo_t info = { .si_signo = relay_turn(&x->relay, x->signal_fd, e) };

        if (info.si_signo < 0)
            return info.si_signo;
        if (info.si_signo == SIGCONT)
            relay_continue(&x->relay);
        if (info.si_signo == SIGWINCH)
            relay_resize(&x->relay);
        else if (info.si_signo > 0)
            r = take_signal(x, who, &info, status, e);
    }
    if (r > 0)
        relay_drain(&x->relay, x->signal_fd);
    relay_close(&x->relay);
    return r;
}

int lifecycle_supervise(struct execution *x, int pid_slot, int pidfd_slot, int *status,
                        struct err *e)
{
    struct supervised who = { x->slots.value[pid_slot], pidfd_slot };
    siginfo_t info;
    int r = 0;

    if (x->relay.on)
        return supervise_terminal(x, &who, status, e);
    while (r == 0) {
        if (sigwaitinfo(&x->signals, &info) >= 0)
            r = take_signal(x, &who, &info, status, e);
        else if (errno != EINTR)
            return err_set(e, errno, "cannot wait for signals");
    }
    return r;
}

int container_run(const struct container_options *o, struct arena *a, int *status, struct err *e)
{
    static struct start s;
    struct hook_subject subject;
    struct plan p;
    struct made made;
    int r = start_container(o, false, a, &s, e);

    if (r < 0)
        return r;
    r = o->detach ? execute_until_exec(&s.x, e)
                  : lifecycle_supervise(&s.x, s.slots.pid_slot, s.slots.pidfd_slot, status, e);
    if (r < 0) {
        undo(o, &s, a, e);
        return r;
    }
    if (o->keep || o->detach)
        return 0;
    made_of_plan(&s.plan, (int)s.plan.n, a, &made);
    plan_init(&p, a, "delete");
    p.slots = s.plan.slots;
    container_compile_delete(&made, SLOT_NONE, &p);
    subject = subject_of(o, &s);
    hooks_compile(&p, &subject, HOOK_POSTSTOP, SLOT_NONE);
    return execute_all(&p, &s.x.slots, e);
}
