/* SPDX-License-Identifier: Apache-2.0 */
#ifndef TECA_CONTAINER_H
#define TECA_CONTAINER_H
/*
 * container: the story of an instance: read the bundle, gather facts, compile the plan, run its
 * lanes, keep state on disk, and the plain verbs on what exists. Order for a start:
 * container_seal (first thing in main, for verbs that enter a container), container_load,
 * container_run or container_create. It prints nothing: results are returned, sentences are in e.
 */
#include "base/base.h"
#include "cgroups/cgroups.h"
#include "plan/plan.h"
#include "spec/spec.h"

/* What the command line says; strings are borrowed. Absent: NULL, 0, false. */
struct container_options {
    const char *root;   /* --root, state directory; NULL: the default */
    const char *bundle; /* --bundle, NULL: "." */
    const char *config; /* --config FILE, NULL: BUNDLE/config.json */
    const char *id;
    const char *pid_file;
    const char *console_socket, *pidfd_socket;
    unsigned preserve_fds;
    bool no_pivot, no_new_keyring, keep, detach, no_subreaper;
    bool rootless_given, systemd_cgroup;
    const char *cgroup_manager; /* "cgroupfs", "systemd", "disabled"; NULL: not said */
    const char *called_as;      /* argv[0] */
    const char *isolation; /* "container", "vm", "emulated", "auto"; NULL: the bundle decides */
    const char *criu;      /* --criu, an absolute path; NULL: looked for in PATH */
};
/* Who makes the container's cgroups by these: one of the three names. */
const char *container_cgroup_manager(const struct container_options *o);

/* Where state lives: options->root, else /run/teca, or $XDG_RUNTIME_DIR/teca without root. */
int container_root(const struct container_options *o, struct arena *a, const char **out,
                   struct err *e);
/* IDs: [A-Za-z0-9_+.-]+, not "." or "..". "container id cannot be empty" / "invalid container ID format". */
int container_check_id(const char *id, struct err *e);

/*
 * Self-protection against CVE-2019-5736: re-executes teca from a read-only detached clone of the
 * mount its binary lies on, so that nothing inside a container can write to it through /proc/PID/exe. Returns 0 when
 * sealed already or not needed; does not return when it re-executes.
 */
int container_seal(char *const argv[], char *const envp[], struct err *e);

/* A bundle that was read: everything compile needs. In the arena. */
struct container_bundle {
    const char *dir; /* absolute: as it was given, or as getcwd gives it */
    const char *config_path;
    const char *text; /* config.json verbatim */
    size_t text_len;
    struct spec *spec;
};
/* faults NULL: the first fault is the error. */
int container_load(const struct container_options *o, struct arena *a, struct container_bundle *out,
                   struct spec_faults *faults, struct err *e);
/* Everything `teca check` prints: parse, check, mounts, seccomp names, not supported yet. */
int container_check(const struct container_options *o, struct arena *a, struct spec_faults *faults,
                    struct err *e);
/*
 * The plan of `run` (create: false) or `create`. facts_json: a document that explain --facts FILE
 * read, NULL: ask this host (reads only, no root needed).
 */
int container_plan(const struct container_options *o, const struct container_bundle *b, bool create,
                   const char *facts_json, size_t facts_len, struct arena *a, struct plan *out,
                   struct err *e);
/* The facts of this host as `explain --write-facts` prints them. */
int container_facts_json(const struct container_options *o, const struct container_bundle *b,
                         struct arena *a, struct json_out *j, struct err *e);

/* What `exec` is asked for; strings are borrowed. */
struct container_exec_options {
    const char
        *process; /* a file with a process object; then the next four lines count for nothing */
    const char *process_text; /* what that file says, where it was read already */
    const char *cwd, *user, *process_label, *apparmor;
    struct str_list env, gids, caps;
    bool tty, no_new_privs;
    struct str_list args;
    struct str_list cgroups; /* "[CONTROLLER[,CONTROLLER]:]PATH" */
    bool ignore_paused;
};
/* o: root, id and what it says of fds. *status: of the process, in the foreground. */
int container_exec(const struct container_options *o, const struct container_exec_options *x,
                   struct arena *a, int *status, struct err *e);
/* The plan of it. Reads only. */
int container_plan_exec(const struct container_options *o, const struct container_exec_options *x,
                        struct arena *a, struct plan *out, struct err *e);
int container_pause(const char *root, const char *id, struct arena *a, struct err *e);
int container_resume(const char *root, const char *id, struct arena *a, struct err *e);
/* Every process of the container, sorted, as the caller's pid namespace counts. */
int container_pids(const char *root, const char *id, struct arena *a, pid_t **pids, size_t *n,
                   struct err *e);
/*
 * Of a container in a machine: the lines of ps(1) in there. 0: it is in none, or has ended; then *out is NULL or
 * untouched.
 */
int container_machine_ps(const char *root, const char *id, const char *const *args, size_t n_args,
                         struct arena *a, char **out, size_t *out_len, struct err *e);
struct container_update_options {
    const char *resources;                 /* a JSON object as config.json's linux.resources */
    const char *l3_schema, *mem_bw_schema; /* lines of resctrl; NULL: as they are */
};
/* Changes the limits of a container that is created, running or paused: all of them, or none. */
int container_update(const char *root, const char *id, const struct container_update_options *o,
                     struct arena *a, struct err *e);

/* What a container uses; everything in the arena. */
struct container_interface { /* of its own network namespace, loopback left out */
    const char *name;
    uint64_t rx_bytes, rx_packets, rx_errors, rx_dropped;
    uint64_t tx_bytes, tx_packets, tx_errors, tx_dropped;
};
struct container_stats {
    const char *id;
    pid_t pid;
    int64_t taken_ns; /* CLOCK_MONOTONIC */
    struct cgroup_stats cgroup;
    struct container_interface *interfaces;
    size_t n_interfaces;
    struct rdt_place rdt;
};
/* -ESRCH: "container with id X is not running". */
int container_stats(const char *root, const char *id, struct arena *a, struct container_stats *out,
                    struct err *e);
/* The "data" of an event of type "stats" (engine-contract 1.4.3). */
void container_stats_write(const struct container_stats *s, struct arena *a, struct json_out *j,
                           const char *key);
int64_t container_clock_ns(void);

/* Bytes of the host's memory that a machine has: the guest's, and what is needed besides. */
struct machine_memory {
    uint64_t guest, monitor, share; /* share: the server of its files */
};
struct container_event {
    const char *id;
    const struct container_stats *stats;
    const struct json *
        data; /* of a machine, in place of stats. Neither: something was killed for want of memory */
    const struct machine_memory *machine; /* beside data */
    struct arena *arena;                  /* where they are */
    int signals; /* whose arrival ends the stream: a signalfd, -1 where it is no stream */
};
struct container_event_sink {
    /* 1: enough, the stream ends. */
    int (*event)(void *arg, const struct container_event *event, struct err *e);
    void *arg;
};
/*
 * Numbers once (interval_ns 0), or at every interval and each out-of-memory event until the container
 * has ended or the caller gets SIGINT, SIGTERM or SIGHUP.
 */
int container_events(const char *root, const char *id, int64_t interval_ns,
                     const struct container_event_sink *sink, struct arena *a, struct err *e);
/* Blocks these three and gives a signalfd(2) of them. */
int container_end_signals(struct err *e);
/* What this build can do: runtime-spec features.md. Asks nothing of the host. */
void container_features(struct json_out *j);

/* What checkpoint and restore are asked for; strings are borrowed. Absent: NULL, 0, false. */
struct container_criu_options {
    const char *images, *work, *parent;
    bool leave_running, pre_dump, tcp_established, tcp_close, tcp_skip_in_flight, ext_unix_sk;
    bool shell_job, file_locks, link_remap, auto_dedup, lazy_pages;
    const char *cgroups_mode; /* "soft", "full", "strict", "ignore" */
    const char *network_lock; /* "iptables", "nftables" */
    const char *page_server;  /* ADDRESS:PORT */
    const char *status_fd;    /* a number */
    const char *lsm_profile, *lsm_mount_context;
    struct str_list empty_ns;
};
/* The container goes away with success, unless it is left running. */
int container_checkpoint(const struct container_options *o, const struct container_criu_options *c,
                         struct arena *a, struct err *e);
/* *status as of container_run. */
int container_restore(const struct container_options *o, const struct container_criu_options *c,
                      struct arena *a, int *status, struct err *e);
/* The plans of both. Read only; root is needed, for CRIU needs it. */
int container_plan_checkpoint(const struct container_options *o,
                              const struct container_criu_options *c, struct arena *a,
                              struct plan *out, struct err *e);
int container_plan_restore(const struct container_options *o,
                           const struct container_criu_options *c, struct arena *a,
                           struct plan *out, struct err *e);
/* Can this host do it: is there a criu, and does it get along with this kernel? 0, or why not. */
int container_criu_works(const struct container_options *o, struct arena *a, struct err *e);

/* *status: exit status of the process, 128+n for a signal. */
int container_run(const struct container_options *o, struct arena *a, int *status, struct err *e);
int container_create(const struct container_options *o, struct arena *a, struct err *e);
int container_start(const char *root, const char *id, struct arena *a, struct err *e);
int container_kill(const char *root, const char *id, int signal, bool all, struct arena *a,
                   struct err *e);
/* force: a running one is killed first; one that does not exist is success. */
int container_delete(const char *root, const char *id, bool force, struct arena *a, struct err *e);

struct container_state {
    const char *id, *oci_version, *bundle, *rootfs;
    const char *status;  /* "creating", "created", "running", "paused", "stopped" */
    const char *created; /* RFC 3339, UTC, nanoseconds */
    const char *owner;   /* user name, or "#UID" */
    pid_t pid;           /* 0 when stopped */
    struct spec_pairs annotations;
};
int container_state(const char *root, const char *id, struct arena *a, struct container_state *out,
                    struct err *e);
/*
 * The runtime-spec state object (runtime.md "State"), and rootfs, created and owner where they are given (engine-contract
 * 1.4.1). A negative pid is left out.
 */
void container_state_write(const struct container_state *s, struct json_out *j, const char *key);
/*
 * Every container under root, sorted by id. One that vanishes meanwhile is skipped; unreadable ones
 * become sentences in *problems (NULL-ended). A missing root is an empty list.
 */
int container_list(const char *root, struct arena *a, struct container_state **out, size_t *n,
                   const char *const **problems, struct err *e);
/* "KILL", "sigkill", "9", "SIGRTMIN+2": number, or -EINVAL with `unknown signal "X"`. */
int container_signal(const char *name, struct err *e);

#endif
