/* SPDX-License-Identifier: Apache-2.0 */
/* run and create: from a bundle to a plan to a process, with everything undone when it fails. */
#include <errno.h>
#include <limits.h>
#include <signal.h>
#include <stdlib.h>
#include <string.h>
#include <sys/prctl.h>
#include <sys/wait.h>
#include <unistd.h>

#include "container/internal.h"

/* What the command line asks for and this version does not do is refused, never ignored. */
static int check_options(const struct container_options *o, struct err *e)
{
    const struct {
        bool given;
        const char *name;
    } later[] = {
        { o->console_socket != NULL, "--console-socket" }, { o->detach, "--detach" },
        { o->preserve_fds > 0, "--preserve-fds" },         { o->no_pivot, "--no-pivot" },
        { o->systemd_cgroup, "--systemd-cgroup" },
    };

    for (size_t i = 0; i < COUNT_OF(later); i++)
        if (later[i].given)
            return err_set(e, 0, "%s is not supported yet", later[i].name);
    return 0;
}

static int refuse_unsupported(const struct spec *s, struct arena *a, struct err *e)
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
static int absolute_pid_file(const struct container_options *o, struct arena *a, const char **out,
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

static int plan_of(const struct container_options *o, const struct container_bundle *b,
                   const char *root, const char *pid_file, bool create,
                   const struct container_facts *facts, struct arena *a, struct plan *out,
                   struct compile_out *slots, struct err *e)
{
    struct compile_in in = { .spec = b->spec,
                             .facts = facts,
                             .state_dir = state_dir_path(a, root, o->id),
                             .pid_file = pid_file,
                             .create = create,
                             .id = o->id ? o->id : "ID",
                             .bundle = b->dir };

    plan_init(out, a, create ? "create" : "run");
    return container_compile(&in, out, slots, e);
}

int container_plan(const struct container_options *o, const struct container_bundle *b, bool create,
                   const char *facts_json, size_t facts_len, struct arena *a, struct plan *out,
                   struct err *e)
{
    struct container_facts facts = { 0 };
    struct compile_out slots;
    const char *root;
    int r = container_root(o, a, &root, e);

    if (r == 0)
        r = refuse_unsupported(b->spec, a, e);
    if (r == 0)
        r = facts_json ? facts_parse(b, facts_json, facts_len, a, &facts, e)
                       : facts_gather(b, o->id, a, &facts, e);
    return r < 0 ? r : plan_of(o, b, root, o->pid_file, create, &facts, a, out, &slots, e);
}

int container_facts_json(const struct container_options *o, const struct container_bundle *b,
                         struct arena *a, struct json_out *j, struct err *e)
{
    struct container_facts facts = { 0 };
    int r = facts_gather(b, o->id, a, &facts, e);

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
static int block_signals(struct start *s, struct err *e)
{
    /* Not sigfillset: the C library keeps some real-time signals to itself, of which musl takes 34,
     * glibc's SIGRTMIN. teca has one thread and needs none of them. */
    memset(&s->x.signals, 0xff, sizeof s->x.signals);
    sigdelset(&s->x.signals, SIGSEGV);
    sigdelset(&s->x.signals, SIGBUS);
    sigdelset(&s->x.signals, SIGFPE);
    sigdelset(&s->x.signals, SIGILL);
    /* Whoever ignores SIGCHLD is not told of his children's end (signal(7)): an ignored disposition
     * is inherited from the caller. The other ones are queued all the same while blocked. */
    if (s->facts.sec.sig_ignored & (1ULL << (SIGCHLD - 1)) && signal(SIGCHLD, SIG_DFL) == SIG_ERR)
        return err_set(e, errno, "cannot have SIGCHLD");
    return sigprocmask(SIG_BLOCK, &s->x.signals, NULL) < 0
               ? err_set(e, errno, "cannot block signals")
               : 0;
}

/* What is left to do when everything is removed. */
static void add_poststop(const struct container_options *o, const struct start *s, struct plan *p)
{
    const struct spec *spec = s->bundle.spec;
    struct hook_subject subject = { .hooks = &spec->hooks,
                                    .oci_version = spec->oci_version,
                                    .id = o->id,
                                    .bundle = s->bundle.dir,
                                    .annotations = spec->annotations };

    hooks_compile(p, &subject, HOOK_POSTSTOP, SLOT_NONE);
}

/* Takes back what the runtime lane made, as far as it came. What cannot be is added to e. */
static void undo(const struct container_options *o, struct start *s, struct arena *a,
                 struct err *e)
{
    int pid_file = plan_find(&s->plan, OP_PID_FILE, 0);
    struct err failed = { 0 };
    struct plan p;
    struct made made;

    execute_end_stage(&s->x);
    /* Only here and by no `delete`: once a start has succeeded the file is the caller's. */
    if (pid_file >= 0 && pid_file <= s->x.last_step)
        unlink(s->plan.steps[pid_file].pid_file.path);
    /* A step that failed has left nothing. Whether the clone was done its pidfd tells. */
    made_of_plan(&s->plan, s->x.last_step, a, &made);
    made.undo = true;
    plan_init(&p, a, "undo");
    p.slots = s->plan.slots;
    container_compile_delete(&made, s->slots.pidfd_slot, &p);
    if (hooks_have_begun(&s->plan, s->x.last_step))
        add_poststop(o, s, &p);
    if (execute_all(&p, &s->x.slots, &failed) < 0)
        err_hint(e, "and not everything could be undone, `delete --force` tries again: %s",
                 failed.text);
}

static int prepare(const struct container_options *o, bool create, struct arena *a, struct start *s,
                   struct err *e)
{
    static int slot_values[PLAN_MAX_SLOTS];
    const char *root, *pid_file;
    int r = check_options(o, e);

    if (r == 0)
        r = container_check_id(o->id, e);
    if (r == 0)
        r = container_root(o, a, &root, e);
    if (r == 0)
        r = absolute_pid_file(o, a, &pid_file, e);
    if (r == 0)
        r = container_load(o, a, &s->bundle, NULL, e);
    if (r == 0)
        r = refuse_unsupported(s->bundle.spec, a, e);
    if (r == 0)
        r = facts_gather(&s->bundle, o->id, a, &s->facts, e);
    if (r == 0)
        r = plan_of(o, &s->bundle, root, pid_file, create, &s->facts, a, &s->plan, &s->slots, e);
    if (r < 0)
        return r;
    execution_init(&s->x, &s->plan, slot_values);
    render_record(o, s, a, create);
    return block_signals(s, e);
}

static int start_container(const struct container_options *o, bool create, struct arena *a,
                           struct start *s, struct err *e)
{
    int r = prepare(o, create, a, s, e);

    if (r == 0 && !create && !s->slots.private_pid_ns && prctl(PR_SET_CHILD_SUBREAPER, 1) < 0)
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
static int heed_signal(struct start *s, const siginfo_t *signal, struct err *e)
{
    int started = execute_outcome(&s->x, NULL, e);

    if (started == 0 && execute_is_fatal_signal(signal->si_signo))
        return execute_interrupted(&s->x, signal->si_signo, e);
    if (started < 0)
        return started;
    sys_pidfd_send_signal(s->x.slots.value[s->slots.pidfd_slot], signal->si_signo);
    return 0;
}

/* Waits for the end of the container's process. Its status, or how the start failed. */
static int supervise(struct start *s, struct err *e)
{
    pid_t init = s->x.slots.value[s->slots.pid_slot];
    siginfo_t info;

    for (;;) {
        int r = 0;

        if (sigwaitinfo(&s->x.signals, &info) < 0) {
            if (errno != EINTR)
                return err_set(e, errno, "cannot wait for signals");
        } else if (info.si_signo == SIGCHLD) {
            r = reap(init, &info, e);
            if (r == 1) {
                r = execute_outcome(&s->x, &info, e);
                return r < 0 ? r : status_of(&info);
            }
        } else if (info.si_signo != SIGPIPE) {
            r = heed_signal(s, &info, e);
        }
        if (r < 0)
            return r;
    }
}

int container_run(const struct container_options *o, struct arena *a, int *status, struct err *e)
{
    static struct start s;
    struct plan p;
    struct made made;
    int r = start_container(o, false, a, &s, e), end;

    if (r < 0)
        return r;
    end = supervise(&s, e);
    if (end < 0) {
        undo(o, &s, a, e);
        return end;
    }
    *status = end;
    if (o->keep)
        return 0;
    made_of_plan(&s.plan, (int)s.plan.n, a, &made);
    plan_init(&p, a, "delete");
    p.slots = s.plan.slots;
    container_compile_delete(&made, SLOT_NONE, &p);
    add_poststop(o, &s, &p);
    return execute_all(&p, &s.x.slots, e);
}
