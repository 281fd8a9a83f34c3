/* SPDX-License-Identifier: Apache-2.0 */
/* checkpoint: the container's processes into files, by CRIU. */
#include <errno.h>
#include <fcntl.h>
#include <sched.h>
#include <signal.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "container/criu.h"

struct checkpoint {
    struct state_record rec;
    const char *dir, *program;
    pid_t init;
    struct criu_places places;
    struct criu_request request;
    struct criu_notes notes;
    struct criu_slots slots;
    struct plan plan;
    struct execution x;
};

static int find_running(const struct container_options *o, struct arena *a, struct checkpoint *s,
                        struct err *e)
{
    const char *root;
    int r = container_root(o, a, &root, e);

    if (r == 0)
        r = container_find(root, o->id, a, &s->dir, &s->rec, e);
    if (r == 0 && s->rec.isolation)
        r = machine_refuse_criu("checkpointed", e);
    if (r == 0)
        r = container_status(s->dir, &s->rec, &s->init, NULL, e);
    if (r >= 0 && r != STATUS_RUNNING && r != STATUS_PAUSED)
        return err_set(e, 0, "Container cannot be checkpointed in %s state",
                       container_status_name((enum container_status)r));
    return r < 0 ? r : 0;
}

/* A namespace that was given by path is not dumped: the restore is given one again. */
static void leave_namespace(const struct checkpoint *s, const struct spec *spec, enum spec_ns type,
                            const char *name, const char *key, struct arena *a,
                            struct criu_request *q)
{
    const struct spec_namespace *ns = spec_namespace_of(spec, type);
    struct stat theirs, ours;

    if (!ns || !ns->path || stat(arena_format(a, "/proc/%d/ns/%s", s->init, name), &theirs) < 0 ||
        stat(arena_format(a, "/proc/self/ns/%s", name), &ours) < 0 || theirs.st_ino == ours.st_ino)
        return;
    q->externals[q->n_externals++] = arena_format(a, "%s[%lu]:%s", name,
                                                  (unsigned long)theirs.st_ino, key);
}

/* proc_pid_net(5): two lines of headings, then "NAME: numbers" each. */
static bool has_devices(pid_t init, struct arena *a)
{
    enum { HEADINGS = 2 };
    char *text, *save = NULL;
    int n = 0;

    if (file_read(a, AT_FDCWD, arena_format(a, "/proc/%d/net/dev", init), 16 << 20, &text, NULL,
                  NULL) < 0)
        return false;
    for (char *line = strtok_r(text, "\n", &save); line; line = strtok_r(NULL, "\n", &save))
        if (n++ >= HEADINGS && !str_starts(line + strspn(line, " "), "lo:"))
            return true;
    return false;
}

/*
 * A new network namespace into which the engine's hook has put devices (dockerd's does, at
 * createRuntime or prestart). CRIU would make them again where the hook of the restore has just done
 * so: "--empty-ns network" is for that, and dockerd does not pass it.
 */
static bool network_is_of_hooks(const struct spec *spec, pid_t init, struct arena *a)
{
    const struct spec_namespace *ns = spec_namespace_of(spec, SPEC_NS_NETWORK);

    return ns && !ns->path && spec->hooks.prestart.n + spec->hooks.create_runtime.n > 0 &&
           has_devices(init, a);
}

static int request_of(const struct container_criu_options *c, struct arena *a, struct checkpoint *s,
                      struct err *e)
{
    struct criu_request *q = &s->request;
    struct spec *spec;
    int r = spec_parse(a, s->rec.config, s->rec.config_len, &spec, NULL, e);

    if (r == 0)
        r = criu_request_of(c, a, q, e);
    if (r < 0)
        return r;
    if (c->parent && c->parent[0] == '/')
        return err_set(e, 0, "--parent-path must be relative to the image path, not '%s'",
                       c->parent);
    s->notes.network_of_hooks = network_is_of_hooks(spec, s->init, a);
    if (s->notes.network_of_hooks)
        q->empty_ns = CLONE_NEWNET;
    q->type = c->pre_dump ? CRIU_PRE_DUMP : CRIU_DUMP;
    q->pid = (unsigned)s->init;
    q->log_file = "dump.log";
    q->leave_running = c->leave_running || c->pre_dump;
    q->track_mem = c->pre_dump || c->parent;
    q->parent = c->parent;
    q->freeze_cgroup = container_freezer(&s->rec);
    q->config_file = criu_config(&s->rec.annotations);
    q->externals = arena_array(a, CRIU_STDIO + 2, sizeof *q->externals);
    for (int fd = 0; fd < CRIU_STDIO; fd++)
        if (s->notes.fds[fd] && !str_starts(s->notes.fds[fd], "pipe:["))
            q->externals[q->n_externals++] = s->notes.fds[fd];
    leave_namespace(s, spec, SPEC_NS_NETWORK, "net", "extRootNetNS", a, q);
    leave_namespace(s, spec, SPEC_NS_PID, "pid", "extRootPidNS", a, q);
    q->mounts = arena_array(a, s->notes.n_mounts, sizeof *q->mounts);
    for (; q->n_mounts < s->notes.n_mounts; q->n_mounts++)
        q->mounts[q->n_mounts] = (struct criu_pair){ s->notes.mounts[q->n_mounts].key,
                                                     s->notes.mounts[q->n_mounts].key };
    return 0;
}

static int plan_of(struct checkpoint *s, struct arena *a, struct err *e)
{
    const int keep[2] = { SLOT_NONE, SLOT_NONE };
    struct op_criu_notes *notes;

    plan_init(&s->plan, a, "checkpoint");
    criu_compile_open(&s->plan, &s->places, true, &s->slots);
    notes = &plan_add(&s->plan, OP_CRIU_NOTES, LANE_RUNTIME, "")->criu_notes;
    notes->images = s->places.images;
    notes->notes = &s->notes;
    criu_compile_clone(&s->plan, 0, SLOT_NONE, &s->places, &s->slots);
    criu_compile_exec(&s->plan, s->program, &s->slots, keep);
    criu_compile_request(&s->plan, &s->request, &s->slots);
    criu_compile_wait(&s->plan, "done", &s->places, &s->slots);
    return plan_finish(&s->plan, e);
}

/* Reads only. */
static int prepare(const struct container_options *o, const struct container_criu_options *c,
                   struct arena *a, struct checkpoint *s, struct err *e)
{
    int r = find_running(o, a, s, e);

    if (r == 0)
        r = criu_find(o, a, &s->program, e);
    if (r == 0)
        r = criu_places(c, "dump.log", a, &s->places, e);
    if (r == 0)
        r = criu_notes_gather(s->init, a, &s->notes, e);
    if (r == 0)
        r = request_of(c, a, s, e);
    return r < 0 ? r : plan_of(s, a, e);
}

int container_plan_checkpoint(const struct container_options *o,
                              const struct container_criu_options *c, struct arena *a,
                              struct plan *out, struct err *e)
{
    static struct checkpoint s;
    int r = prepare(o, c, a, &s, e);

    if (r == 0)
        *out = s.plan;
    return r;
}

int container_checkpoint(const struct container_options *o, const struct container_criu_options *c,
                         struct arena *a, struct err *e)
{
    static struct checkpoint s;
    static int slot_values[16];
    const char *root;
    int r = prepare(o, c, a, &s, e);

    if (r < 0)
        return r;
    execution_init(&s.x, &s.plan, slot_values);
    r = lifecycle_block_signals(&s.x, 1ULL << (SIGCHLD - 1), e);
    if (r < 0)
        return r;
    r = execute_start(&s.x, e);
    criu_end(&s.x, &s.slots);
    /* Its processes are gone, and engines expect the rest to be gone too (engine-contract 1.3.13). */
    if (r == 0 && !s.request.leave_running)
        r = container_root(o, a, &root, e);
    if (r == 0 && !s.request.leave_running)
        r = container_delete(root, o->id, true, a, e);
    return r;
}
