/* SPDX-License-Identifier: Apache-2.0 */
#ifndef TECA_CONTAINER_INTERNAL_H
#define TECA_CONTAINER_INTERNAL_H
/* What the files of container/ share among themselves. */
#include <signal.h>
#include <time.h>

#include "cgroups/cgroups.h"
#include "container/container.h"
#include "namespaces/namespaces.h"
#include "net/net.h"
#include "rootfs/rootfs.h"
#include "security/security.h"

/* ---- entry.c ---- */

/* The program was found to run from a read-only mount before the C library started. */
extern bool seal_is_done;

/* ---- gather.c ---- */

struct container_facts {
    struct ns_facts ns;
    struct sec_facts sec;
    struct cgroup_facts cgroup;
    struct rootfs_facts rootfs;
};
int facts_gather(const struct container_bundle *b, const char *id, struct arena *a,
                 struct container_facts *f, struct err *e);
int facts_parse(const struct container_bundle *b, const char *text, size_t len, struct arena *a,
                struct container_facts *f, struct err *e);
void facts_write(const struct container_facts *f, struct json_out *j);

/* ---- compile.c ---- */

struct compile_in {
    const struct spec *spec;
    const struct container_facts *facts;
    const char *state_dir;
    const char *pid_file; /* absolute, or NULL */
    bool create;          /* `create`: init waits for `start` */
};
/* Slots the lifecycle needs to know. */
struct compile_out {
    int pid_slot, pidfd_slot;
    bool private_pid_ns;
};
int container_compile(const struct compile_in *in, struct plan *p, struct compile_out *out,
                      struct err *e);
/* The plan that takes back what `made` lists; cgroups deepest first, state directory last. */
struct made_cgroup {
    const char *path;
    bool leaf;
};
struct made {
    struct made_cgroup *cgroups; /* in the order in which they are made */
    size_t n_cgroups;
    const char *state_dir;
};
void container_compile_delete(const struct made *m, int pidfd_slot, struct plan *p);
/* What the steps of the runtime lane up to and including `last` make. */
void made_of_plan(const struct plan *p, int last, struct arena *a, struct made *out);

/* ---- state.c ---- */

enum { STATE_VERSION = 1 };

/* The identity of a process: a pid and the boot time interval, in clock ticks, in which it began. */
struct state_process {
    pid_t pid;
    uint64_t ticks_first, ticks_last;
};
/* The record: first line of ROOT/ID/state, followed by config.json verbatim. */
struct state_record {
    const char *id, *bundle, *rootfs, *created, *oci_version;
    bool private_pid_ns;
    bool create;                  /* made by `create`: there are FIFOs */
    struct state_process runtime; /* who makes the container */
    struct made made;
    /* Fields (JSON pointers) of init's steps after the start wait, by step number. */
    struct state_pointer {
        int step;
        const char *pointer;
    } * pointers;
    size_t n_pointers;
    const char *config; /* verbatim copy */
    size_t config_len;
    struct spec_pairs annotations;
};

const char *state_dir_path(struct arena *a, const char *root, const char *id);
/* RFC 3339 with nanoseconds, UTC; of a time since 1970, of now. */
const char *state_time(struct arena *a, const struct timespec *t);
const char *state_now(struct arena *a);
/* The text that state_create writes before the config. In the arena. */
const char *state_render(const struct state_record *r, struct arena *a);
/*
 * mkdir ROOT/ID (exclusive), the record in one write, the FIFOs. -EEXIST: "container with given ID
 * already exists". Leaves nothing when it fails.
 */
struct state_fifos {
    int start, result; /* opened O_RDWR|O_CLOEXEC when asked for, else -1 */
};
int state_create(const char *dir, const char *record, size_t record_len, const char *config,
                 size_t config_len, struct state_fifos *fifos, struct err *e);
int state_publish_init(const char *dir, const struct state_process *init, struct err *e);
int state_remove(const char *dir, struct err *e);
/* A directory without a whole record. A create that is at work on it fails, and undoes the rest. */
int state_remove_half_made(const char *dir, struct err *e);
/*
 * LOCK_EX on the directory: an fd that holds it. -ENOENT: "container does not exist". -EWOULDBLOCK,
 * unless it is to wait: somebody else holds it. What is loaded afterwards belongs to what is locked.
 */
int state_lock(const char *dir, bool wait, struct err *e);
/* Is what was locked still what is at the path? 1, 0, -errno. */
int state_is_locked(int lock, const char *dir, struct err *e);
/* -ENOENT with the sentence "container does not exist" also for a half-made directory. */
int state_load(const char *dir, struct arena *a, struct state_record *out, struct err *e);
/* -ENOENT while create has not published it yet. */
int state_load_init(const char *dir, struct state_process *out);
/*
 * A pidfd of a process that lives (no zombie, right start time); -ESRCH, without a sentence: it is
 * dead. Any other error: it cannot be told, and nobody may act as if it were dead.
 */
int state_open_process(const struct state_process *process, struct err *e);
/* Does somebody wait at the start FIFO? 1, 0, -errno. */
int state_is_waiting(const char *dir, struct err *e);
uint64_t state_boot_ticks(void);

enum container_status { STATUS_CREATING, STATUS_CREATED, STATUS_RUNNING, STATUS_STOPPED };
/*
 * An enum container_status, or -errno. pidfd of a living init in *pidfd (gives; -1 otherwise); pidfd
 * may be NULL.
 */
int state_status(const char *dir, const struct state_record *r, pid_t *pid, int *pidfd,
                 struct err *e);

/* ---- execute.c ---- */

/* One message between the lanes, or from init to `start`. Always written whole. */
enum record_kind { RECORD_DONE = 1, RECORD_ERROR, RECORD_EXEC_NEXT };
enum { RECORD_TEXT_SIZE = 500 };
struct record {
    uint32_t kind;
    int32_t step;
    int32_t code; /* positive errno of an error */
    char text[RECORD_TEXT_SIZE];
};

/* One execution of a plan, as one process sees it; the children inherit a copy. */
struct execution {
    const struct plan *plan;
    struct slots slots;
    /* What the state step writes. */
    const char *record_text, *config_text;
    size_t record_len, config_len;
    sigset_t signals; /* blocked by the lifecycle; the ones that end a start are heeded in waits */

    /* Kept by execute.c. */
    enum plan_lane lane;         /* of this process */
    int sock;                    /* to the other lanes, -1 before the clone */
    int signal_fd;               /* of `signals`, made by the first wait; -1 */
    int last_step;               /* newest finished step of the runtime lane, -1 */
    int interrupted;             /* the signal that ended the start, or 0 */
    bool exec_next, peer_closed; /* init said that it executes; init's end is closed */
    int peer_done[LANE_COUNT];   /* newest finished step of each other lane, -1 */
    pid_t stage_pid;
    struct state_fifos fifos;
    uint64_t ticks_first; /* boot time before the clone */
    struct record inbox[4];
    size_t inbox_bytes;
};
void execution_init(struct execution *x, const struct plan *p, int *slot_values);
/*
 * Runs the runtime lane and, in the children it clones, the other lanes. Returns when the lane is
 * through: for `create` init waits for `start` then, for `run` it may still be at work, and
 * execute_outcome tells. A child never returns from it. On failure nothing is undone yet;
 * x->last_step tells how far it came.
 */
int execute_start(struct execution *x, struct err *e);
/*
 * Has init executed the program? 1: yes. 0: not yet. Negative: it failed, and never will. `end` is
 * how init ended, NULL while it lives. Does not wait.
 */
int execute_outcome(struct execution *x, const siginfo_t *end, struct err *e);
/* After a failed start: a stage ends, and the init that it has cloned is known. */
void execute_end_stage(struct execution *x);
bool execute_is_fatal_signal(int signal); /* the ones that end a start */
int execute_interrupted(struct execution *x, int signal, struct err *e); /* notes it; -EINTR */
/*
 * A plan with the runtime lane only, e.g. delete: every step is tried, the first error is told. Only
 * the state record stays when something else did, so that a later delete knows of it.
 */
int execute_all(const struct plan *p, struct slots *slots, struct err *e);
/* Is there code for every operation? For the tests. */
bool execute_knows(enum plan_op op);

/* ---- process.c ---- */

/* exec of the first candidate, and the texts that engines match. */
int process_lookup(const struct op_exec_lookup *op, struct err *e);
int process_exec(const struct op_exec *op, struct err *e);
/* Names under which args[0] is looked for, by PATH of process.env. */
const char *const *process_candidates(struct arena *a, const struct spec_process *p);

#endif
