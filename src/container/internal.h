/* SPDX-License-Identifier: Apache-2.0 */
#ifndef TECA_CONTAINER_INTERNAL_H
#define TECA_CONTAINER_INTERNAL_H
/* What the files of container/ share among themselves. */
#include <signal.h>
#include <termios.h>
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
int facts_gather(const struct container_bundle *b, const struct container_options *o,
                 struct arena *a, struct container_facts *f, struct err *e);
int facts_parse(const struct container_bundle *b, const char *text, size_t len, struct arena *a,
                struct container_facts *f, struct err *e);
void facts_write(const struct container_facts *f, struct json_out *j);
/* Those of cgroups alone. */
int facts_gather_cgroups(const struct spec *s, const struct container_options *o, struct arena *a,
                         struct cgroup_facts *f, struct err *e);
/* The text of /proc/self/status, for sec_gather and cgroup_gather. */
int facts_read_status(struct arena *a, const char **out, struct err *e);

/* ---- compile.c ---- */

struct compile_in {
    const struct spec *spec;
    const struct container_facts *facts;
    const char *state_dir;
    const char *pid_file;    /* absolute, or NULL */
    bool create;             /* `create`: init waits for `start` */
    const char *id, *bundle; /* for the state that hooks get */
    /* What the command line says of the process's fds. */
    const char *console_socket, *pidfd_socket; /* relative ones start at the bundle; or NULL */
    unsigned preserve_fds;                     /* fds from 3 on that stay open */
    unsigned listen_fds; /* the first of these are sockets (sd_listen_fds(3)) */
    bool detach;         /* `run` that leaves the container to itself */
    bool no_pivot, no_new_keyring;
    const char *notify_socket; /* NOTIFY_SOCKET of the service manager, or NULL */
};
/* Slots the lifecycle needs to know. */
enum { COMPILE_FILES = 4 };
struct compile_out {
    int pid_slot, pidfd_slot;
    bool private_pid_ns;
    int files_slot; /* of a machine: the first of COMPILE_FILES that hold these fds before the first step */
    int files[COMPILE_FILES];
};
int container_compile(const struct compile_in *in, struct plan *p, struct compile_out *out,
                      struct err *e);
/* The plan that takes back what `made` lists; cgroups deepest first, state directory last. */
struct made_cgroup {
    const char *path;
    bool leaf, nested; /* nested: it may be the last one in parents that teca has made */
};
struct made_rdt {
    const char *path;
    bool own; /* removed with the container, else only when its start fails */
    int slot; /* filled when this process has made it; SLOT_NONE: the record says so */
};
struct made_device {
    const char *host_name;
    int netns, index, was_up; /* slots */
};
struct made_redirect { /* of an interface to a machine */
    const char *path;  /* of its network namespace, and which one that is */
    uint64_t inode;
    int64_t index;
};
struct made {
    bool undo;         /* of a start that failed: also what would outlive the container */
    bool init_unknown; /* of a start that was killed before it published its init */
    struct made_rdt *rdt;
    size_t n_rdt;
    struct made_device *devices; /* never in a record: config-linux.md leaves them where they are */
    size_t n_devices;
    struct made_redirect *redirects;
    size_t n_redirects;
    struct made_cgroup *cgroups; /* in the order in which they are made */
    size_t n_cgroups;
    struct cgroup_unit unit; /* name, helper and user count */
    const char *state_dir;
};
void container_compile_delete(const struct made *m, int pidfd_slot, struct plan *p);
/* The last wait of init, for what the runtime lane has done last, before the filter and exec. */
void compile_release_before_exec(struct plan *p);
/* So many fds from 3 on, which the caller asked for, stay open. */
void compile_preserve_fds(struct plan *p, unsigned n);
/* What the steps of the runtime lane up to and including `last` make. */
void made_of_plan(const struct plan *p, int last, struct arena *a, struct made *out);

/* ---- terminal.c ---- */

struct terminal_slots {
    int console_socket, pidfd_socket, master, terminal;
    int opened; /* step of init that opens the terminal, -1: none */
};
/* May this spec be started in this way? */
int terminal_check(const struct spec *s, const struct compile_in *in, struct err *e);
/* In the order in which container_compile calls them. */
void terminal_compile_connect(struct plan *p, const struct compile_in *in,
                              struct terminal_slots *t);
void terminal_compile_inherited(struct plan *p, const struct terminal_slots *t);
/* root_slot SLOT_NONE: in a container that runs, whose /dev/console is init's. */
void terminal_compile_open(struct plan *p, const struct spec *s, int root_slot,
                           struct terminal_slots *t);
void terminal_compile_stdio(struct plan *p, const struct spec *s, const struct terminal_slots *t);
/* runtime lane: the master goes to the console socket, or into the relay. */
void terminal_compile_hand_on(struct plan *p, const struct terminal_slots *t);
/* word: what runc says with it, "standard" for init, "setns" for a process of exec. */
void terminal_compile_pidfd(struct plan *p, const struct terminal_slots *t, int pidfd_slot,
                            const char *word);
int terminal_step(const struct step *st, struct slots *slots, struct err *e);

/* ---- relay.c ---- */

/* The caller's terminal and the container's, side by side, while `run` is in the foreground. */
struct relay {
    bool on;
    int master;
    int in, out; /* of the caller; -1: at its end */
    int tty;     /* where modes and size are, -1: nowhere */
    bool raw;    /* the modes were changed: `saved` has what they were */
    bool in_line, hung_up;
    bool machine; /* at the other side is a machine's monitor */
    struct termios saved;
};
/* Finds the caller's terminal, takes over its size, makes it raw. Borrows the master. */
int relay_open(struct relay *r, int master, struct err *e);
/* Waits, and carries what there is. Returns a signal that came, 0: none, or -errno. */
int relay_turn(struct relay *r, int signal_fd, struct err *e);
void relay_resize(const struct relay *r);
void relay_continue(struct relay *r); /* after SIGCONT: a shell has had its own modes meanwhile */
/* Init has ended: writes what is left, until a signal says otherwise. */
void relay_drain(struct relay *r, int signal_fd);
void relay_close(struct relay *r); /* the modes as they were; accepts one that was never opened */

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
    const char *isolation;        /* "emulated": init is a machine's monitor; NULL: a container */
    const char *cgroup_manager;   /* who made its cgroups: "cgroupfs", "systemd", "disabled" */
    struct state_process runtime; /* who makes the container */
    struct made made;
    /* Fields (JSON pointers) of init's steps after the start wait, by step number. */
    struct state_pointer {
        int step;
        const char *pointer;
    } * pointers;
    size_t n_pointers;
    bool has_hooks;     /* the config has "hooks" */
    bool has_process;   /* ... and "process", without which there is no start */
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
/*
 * A directory without a whole record, left by a create that was killed. One that has not come to its
 * record fails before it has made anything. 1: somebody is writing the record, load it again.
 */
int state_remove_half_made(const char *dir, struct arena *a, struct err *e);
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
/* Its pid when it is stopped, by a signal that stops or by a debugger; 0: it is not, or nothing is known of it. */
pid_t state_stopped_init(const char *dir);
/* Does somebody wait at the start FIFO? 1, 0, -errno. */
int state_is_waiting(const char *dir, struct err *e);
uint64_t state_boot_ticks(void);

enum container_status {
    STATUS_CREATING,
    STATUS_CREATED,
    STATUS_RUNNING,
    STATUS_PAUSED, /* of container_status() only */
    STATUS_STOPPED
};
/*
 * An enum container_status, or -errno. pidfd of a living init in *pidfd (gives; -1 otherwise); pidfd
 * may be NULL.
 */
int state_status(const char *dir, const struct state_record *r, pid_t *pid, int *pidfd,
                 struct err *e);

/* ---- readiness.c ---- */

/* `run` and `start` between the container and the service manager. */
struct readiness {
    bool open;    /* somebody still waits for the word */
    bool watched; /* SIGIO tells of a datagram, and is not the container's */
    int socket, host;
    pid_t main_pid;   /* what the manager is told */
    unsigned useless; /* datagrams so far that said nothing of interest */
};
enum { READINESS_STATUS_MAX = 512, READINESS_WORDS_SIZE = READINESS_STATUS_MAX + 16 };
struct execution;
/* Is the value of NOTIFY_SOCKET an address? */
int readiness_check(const char *host, struct err *e);
/* With the bind at /run/notify and the variable that names the socket in it. */
void readiness_extend(const struct compile_in *in, struct arena *a, struct compile_in *out);
/* No field of config.json asked for the steps of that bind. */
void readiness_forget_pointers(const struct compile_in *in, struct plan *p);
/* In the order in which container_compile calls them. */
void readiness_compile_open(struct plan *p, const struct compile_in *in);
void readiness_compile_forward(struct plan *p, const struct op_readiness_listen *from, int pid_slot,
                               int pidfd_slot, bool beside);
/* What of a hostile datagram goes on: its length in `out`, 0: nothing. */
size_t readiness_filter(const char *text, size_t len, char out[READINESS_WORDS_SIZE]);
int readiness_directory(const struct op_readiness_directory *op, struct err *e);
int readiness_listen(const struct op_readiness_listen *op, struct slots *slots, struct err *e);
int readiness_forward(struct execution *x, const struct op_readiness_forward *op, struct err *e);
/* Is the signal one that tells of a datagram? Then readiness_turn takes what there is. */
bool readiness_is_word(const struct execution *x, int signal);
void readiness_turn(struct execution *x);

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
    int signal_fd;               /* of the signals that end a start, made by the first wait; -1 */
    int last_step;               /* newest finished step of the runtime lane, -1 */
    int interrupted;             /* the signal that ended the start, or 0 */
    bool exec_next, peer_closed; /* init said that it executes; init's end is closed */
    int peer_done[LANE_COUNT];   /* newest finished step of each other lane, -1 */
    pid_t stage_pid;
    struct state_fifos fifos;
    uint64_t ticks_first; /* boot time before the clone */
    struct record inbox[4];
    size_t inbox_bytes;
    int inbox_fd; /* came with the newest record, -1 */
    struct relay relay;
    struct readiness readiness;
    bool criu_waits;         /* for the answer to a notification */
    const char *const *macs; /* of the interfaces that machine-take-network has found */
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
/* Waits for that: 0 when it has executed the program. */
int execute_until_exec(struct execution *x, struct err *e);
bool execute_is_fatal_signal(int signal); /* the ones that end a start */
sigset_t execute_fatal_signals(void);
/* The pid that a pidfd stands for, as this process's /proc counts. 0: it is dead. */
pid_t execute_pid_of(int pidfd);
int execute_signal_fd(struct execution *x); /* signalfd(2) of these; the others stay pending */
int execute_interrupted(struct execution *x, int signal, struct err *e); /* notes it; -EINTR */

/* ---- tracer.c ---- */

/*
 * Until the process of pidfd has ended; false: it has not, in time. init (-1: unknown) was killed: a
 * dump that stops its processes is ended.
 */
bool tracer_wait_for_end(int pidfd, int init, int timeout_ms);
/* Who still traces what was killed. */
void tracer_hint(int pidfd, struct err *e);
/*
 * A plan with the runtime lane only, e.g. delete: every step is tried, the first error is told. Only
 * the state record stays when something else did, so that a later delete knows of it. A hook that
 * fails is only logged (runtime-spec runtime.md "Lifecycle" step 13).
 */
int execute_all(const struct plan *p, struct slots *slots, struct err *e);
/* Is there code for every operation? For the tests. */
bool execute_knows(enum plan_op op);

/* ---- hooks.c ---- */

enum hook_kind {
    HOOK_PRESTART,
    HOOK_CREATE_RUNTIME,
    HOOK_CREATE_CONTAINER,
    HOOK_START_CONTAINER,
    HOOK_POSTSTART,
    HOOK_POSTSTOP,
};
/* Whose hooks, and what goes into the state that they read. */
struct hook_subject {
    const struct spec_hooks *hooks;
    const struct strs *process_env; /* what startContainer hooks without "env" get; or NULL */
    const char *oci_version, *id, *bundle;
    struct spec_pairs annotations;
};
/* In a plan with hooks alone: what they are told of, and the files for their output. */
enum { HOOK_SLOTS = 3 };
const char *hooks_name(size_t i); /* "prestart" ..., NULL behind the last: for `features` */
const struct spec_hook_list *hooks_of(const struct spec_hooks *h, enum hook_kind kind);
bool hooks_at_create(const struct spec_hooks *h); /* prestart, createRuntime or createContainer */
/* Runtime lane before the clone: the binaries of the createContainer hooks, files for output. */
void hooks_compile_open(struct plan *p, const struct hook_subject *s);
int hook_output_step(const struct op_hook_output *op, struct slots *slots, struct err *e);
/* One step a hook, in the lane that runs this kind. pid_slot: init's pid, SLOT_NONE: it is gone. */
void hooks_compile(struct plan *p, const struct hook_subject *s, enum hook_kind kind, int pid_slot);
/* Has a start whose runtime lane came to last_step run hooks? Then poststop hooks are due. */
bool hooks_have_begun(const struct plan *p, int last_step);
int hook_open_step(const struct op_hook_open *op, struct slots *slots, struct err *e);
/* Runs one and waits for its end. Child-safe. */
int hook_step(struct execution *x, const struct op_hook *op, struct err *e);
/* For `start` and `delete`: of the private copy of the config. No hooks when it has none. */
struct hook_subject hooks_subject_of_record(const struct state_record *r, struct arena *a);

/* ---- compile.c: parts of a start that one in a machine has too ---- */

/* pid file and init's pid, for everybody. */
void compile_publish(const struct compile_in *in, struct plan *p, const struct ns_clone_out *c,
                     const struct terminal_slots *t);
void compile_hook_steps(const struct compile_in *in, struct plan *p, enum hook_kind kind,
                        int pid_slot);
/* The runtime stands still until init has come this far. */
void compile_barrier(struct plan *p, const char *what, int after);
/*
 * The hooks of create that are the runtime's, behind the last step of init, by which time `what`. The last step of the
 * runtime lane, which init's next step has to wait for.
 */
int compile_runtime_hooks(const struct compile_in *in, struct plan *p, const char *what,
                          int pid_slot);
/* Those that are init's, if there are any. */
void compile_container_hooks(const struct compile_in *in, struct plan *p, uint32_t umask,
                             int pid_slot);

/* ---- lifecycle.c ---- */

/* What is valid and not executed yet is refused. */
int container_refuse_unsupported(const struct spec *s, struct arena *a, struct err *e);
/* NOTIFY_SOCKET, sd_notify(3); NULL: nobody is to be told. */
const char *container_notify_socket(void);
/* --pid-file, which is relative to where the caller stood. */
int container_pid_file(const struct container_options *o, struct arena *a, const char **out,
                       struct err *e);
/* All signals are blocked and fetched when it suits. ignored: sec_facts.sig_ignored. */
int lifecycle_block_signals(struct execution *x, uint64_t ignored, struct err *e);
/*
 * Takes back what the runtime lane made, as far as it came; then the poststop hooks of `poststop`
 * (NULL: none), if hooks have begun. What cannot be taken back is added to e.
 */
void lifecycle_undo(struct execution *x, int pidfd_slot, const struct hook_subject *poststop,
                    struct arena *a, struct err *e);
/*
 * Waits for the end of the process, passes signals on and carries what its terminal says. 1: *status
 * has its status. Negative: how the start failed.
 */
int lifecycle_supervise(struct execution *x, int pid_slot, int pidfd_slot, int *status,
                        struct err *e);

/* ---- verbs.c ---- */

/* The container by its ID; *dir is NULL when that is no ID. */
int container_find(const char *root, const char *id, struct arena *a, const char **dir,
                   struct state_record *rec, struct err *e);
/* The same for a verb that changes it: *lock holds it until it is closed (gives). */
int container_find_locked(const char *root, const char *id, struct arena *a, const char **dir,
                          struct state_record *rec, int *lock, struct err *e);

const char *container_status_name(enum container_status status); /* "running" */

/* ---- machine_verbs.c, for the other verbs; machine.c ---- */

/* start: -ETIMEDOUT and a sentence when the monitor, which is to do it, is stopped. */
int machine_check_stopped(const char *dir, struct err *e);
/*
 * How long the monitor, in whose directory nobody may read the request, is waited for: taken_ms, 0: half a minute; a
 * second when it is stopped.
 */
struct machine_patience {
    const char *dir;
    int64_t began_ms, stopped_ms; /* since then it is, 0: it is not */
    int taken_ms;
    bool is_taken; /* it has read the request */
};
void machine_patience_begin(struct machine_patience *p, const char *dir, int taken_ms);
/* Of the byte in the FIFO `start`. -ETIMEDOUT and a sentence: it has not been read, or the monitor is stopped. */
int machine_look_start(struct machine_patience *p, int start, struct err *e);
/* kill: SIGSTOP would stop the monitor and not the container. 1: sent in another way. */
int machine_signal(const struct state_record *rec, int pidfd, int signal, struct err *e);
int machine_signal_all(const char *dir, int signal, struct arena *a, struct err *e);
int machine_freeze(const char *dir, bool freeze, struct err *e);
/* Can the machine hold it? The resources as JSON, which the guest's teca lays over what holds there. */
int machine_check_update(const struct state_record *rec, const struct spec_resources *asked,
                         struct arena *a, struct err *e);
int machine_update(const char *dir, const char *resources, struct err *e);
/* "checkpointed", "restored": -EOPNOTSUPP and why. */
int machine_refuse_criu(const char *what, struct err *e);
/*
 * A sentence of the guest's teca as one of ours: it begins with the field. The guest may say what it likes;
 * only its own container is destroyed for it. -EINVAL.
 */
int machine_said(const char *text, struct err *e);

/* ---- pause.c ---- */

/* state_status, and is it paused? */
int container_status(const char *dir, const struct state_record *r, pid_t *pid, int *pidfd,
                     struct err *e);
/* The cgroup by which it is frozen, NULL: none. */
const char *container_freezer(const struct state_record *r);
/* The cgroup whose tree holds every process of the container; NULL: it has none. */
const char *container_cgroup_of_all(const struct state_record *r);
/* Whatever is frozen goes on; a container without a freezer is fine. */
void container_thaw(const struct state_record *r);

/* ---- stats.c ---- */

/* Its own cgroup in each hierarchy. */
const char *const *container_cgroups(const struct state_record *r, struct arena *a, size_t *n);
void container_stats_read(const struct state_record *r, pid_t pid, struct arena *a,
                          struct container_stats *out);
int container_not_running(const char *id, struct err *e); /* -ESRCH and the sentence */

/* ---- exec.c ---- */

/* What the plan of `exec` needs of the host. */
struct exec_facts {
    struct sec_facts sec;
    uint64_t joined;       /* CLONE_NEW flags of the namespaces to join */
    const char *v2;        /* the cgroup to be cloned into, NULL: none */
    const char *const *v1; /* the cgroups to join, NULL-ended */
};
struct exec_in {
    const struct spec *spec; /* the container's, with the process that is to be executed */
    const struct exec_facts *facts;
    const char *pid_file;             /* absolute, or NULL */
    const char *id, *bundle, *status; /* of the container, for a seccomp listener */
    /* As in struct compile_in. */
    const char *console_socket, *pidfd_socket;
    unsigned preserve_fds;
    bool detach;
};
struct exec_out {
    int target_slot, init_slot; /* init's pidfd and pid, filled before the plan is executed */
    int pid_slot, pidfd_slot;
};
/* Of both kinds of exec: the slots, the cgroup to be cloned into or SLOT_NONE, those to join; the end, pid_file or NULL. */
void exec_compile_slots(struct plan *p, struct exec_out *out);
int exec_compile_cgroup(struct plan *p, const struct exec_facts *f);
void exec_compile_joins(struct plan *p, const struct exec_facts *f, enum plan_lane lane);
int exec_compile_end(struct plan *p, const char *pid_file, const struct exec_out *out,
                     struct err *e);
int container_compile_exec(const struct exec_in *in, struct plan *p, struct exec_out *out,
                           struct err *e);

/* ---- exec_process.c ---- */

/* The spec of the container with the process that `exec` shall run in place of its own. */
int exec_process(const struct container_exec_options *o, const struct state_record *rec,
                 struct arena *a, struct spec **out, struct err *e);
/* The text of --process FILE, which may be no file that can be read twice. */
int exec_process_read(const char *path, struct arena *a, const char **out, struct err *e);
/* ---- home.c ---- */
/* The environment of the program: process.env, and HOME when that has none. Behind the pivot. */
const char *const *home_compile(struct plan *p, const struct spec_process *pr);
/* Child-safe. */
int home_step(const struct op_home *op);
/* Is the line of passwd(5) this user's? Then its home is taken, when it is a path. For the tests. */
bool home_take_line(char *line, uint64_t uid);
const char *home_found(void); /* "HOME=/..." */
/* ---- notify.c ---- */

/* Whose listener it is; state.status and the pid of init are the container's. */
struct notify_subject {
    const struct spec *spec;
    const char *id, *bundle, *status;
    int pid_slot, pidfd_slot, init_slot;
};
/* Behind the step that loads the filter. */
void notify_compile(struct plan *p, const struct notify_subject *s);
/* Gives the seccomp listener of the process to listenerPath. */
int container_notify(const struct op_seccomp_notify *op, const struct slots *slots, struct err *e);

/* ---- process.c ---- */

/* exec of the first candidate, and the texts that engines match. */
int process_lookup(const struct op_exec_lookup *op, struct err *e);
int process_exec(const struct op_exec *op, struct err *e);
/* Names under which args[0] is looked for, by PATH of process.env. */
const char *const *process_candidates(struct arena *a, const struct spec_process *p);

#endif
