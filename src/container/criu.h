/* SPDX-License-Identifier: Apache-2.0 */
#ifndef TECA_CONTAINER_CRIU_H
#define TECA_CONTAINER_CRIU_H
/*
 * What the files of checkpoint and restore share: the program criu, its requests over a socket
 * (`criu swrk FD`, CRIU's images/rpc.proto), and what a checkpoint notes beside CRIU's images.
 *
 * A dump and a restore are plans. Their lane init is CRIU: it is cloned into the container's cgroup
 * (restore) and executes the program; the lane runtime sends the request and answers what CRIU tells
 * on the way. Terminals and the restored process's pid come by these answers only, which is why it
 * is not the command line that is used; and a message is a few fields, written here without a
 * library.
 */
#include "container/internal.h"

/* ---- criu_rpc.c: protocol buffers, the encoding of varints and length-delimited fields ---- */

enum criu_type {
    CRIU_DUMP = 1,
    CRIU_RESTORE = 2,
    CRIU_CHECK = 3,
    CRIU_PRE_DUMP = 4,
    CRIU_NOTIFY = 6,
};

struct criu_pair {
    const char *key, *value;
};
struct criu_fd { /* what CRIU inherits in place of what it has dumped */
    const char *key;
    int fd, slot; /* the number, or the slot that has it */
};

/* Absent: NULL, 0, false. */
struct criu_request {
    enum criu_type type;
    unsigned pid; /* dump: of init */
    const char *log_file, *root, *parent, *freeze_cgroup, *lsm_profile, *lsm_mount_context;
    const char *config_file;
    const char *page_server;
    unsigned page_server_port;
    bool leave_running, ext_unix_sk, tcp_established, tcp_close, tcp_skip_in_flight, shell_job;
    bool file_locks, link_remap, track_mem, auto_dedup, lazy_pages, orphan_pts_master, sibling;
    bool external_masters, notify;
    bool has_status_fd;
    unsigned status_fd, empty_ns, network_lock, log_level;
    bool has_cgroups_mode;
    unsigned cgroups_mode;
    struct criu_pair *mounts, *cgroup_roots, *namespaces; /* cgroup_roots: controller, path */
    size_t n_mounts, n_cgroup_roots, n_namespaces;
    const char **externals;
    size_t n_externals;
    struct criu_fd *fds;
    size_t n_fds;
};

/* The message, in out. images_fd and work_fd: numbers that the sender has; -1: none. */
void criu_encode(const struct criu_request *q, int images_fd, int work_fd, const struct slots *s,
                 struct strbuf *out);
/* Its members for a reader, "NAME" or "NAME=VALUE"; NULL-ended, in the arena. */
const char *const *criu_describe(const struct criu_request *q, struct arena *a);
void criu_encode_answer(struct strbuf *out); /* to a notification: go on */

struct criu_answer {
    enum criu_type type;
    bool success;
    char script[40]; /* of a notification: what CRIU is about to do, or has done */
    int64_t pid;     /* 0: not told */
    char error[200]; /* the first error of the log, "": none */
};
/* -EBADMSG: no such message. */
int criu_decode(const unsigned char *data, size_t len, struct criu_answer *out);

/* ---- criu.c ---- */

/* The absolute path of the program, in PATH or the usual places. */
int criu_find(const struct container_options *o, struct arena *a, const char **out, struct err *e);
/* Where images and logs are; absolute. */
struct criu_places {
    const char *images, *work, *log;
};
int criu_places(const struct container_criu_options *c, const char *log, struct arena *a,
                struct criu_places *out, struct err *e);
/* What both directions ask for in the same words. */
int criu_request_of(const struct container_criu_options *c, struct arena *a,
                    struct criu_request *out, struct err *e);
/* "org.criu.config" of the annotations, /etc/criu/crun.conf, /etc/criu/runc.conf; NULL. */
const char *criu_config(const struct spec_pairs *annotations);

struct criu_slots {
    int images, work, socket, theirs, pid, pidfd; /* pid, pidfd: of CRIU itself */
    int made;                                     /* the step that makes the socket */
};
/* Steps of the lane runtime up to the clone, and then of CRIU's own up to its exec. */
void criu_compile_open(struct plan *p, const struct criu_places *places, bool make,
                       struct criu_slots *s);
void criu_compile_clone(struct plan *p, uint64_t flags, int cgroup_slot,
                        const struct criu_places *places, struct criu_slots *s);
/* keep: two more fds that it inherits, SLOT_NONE: none. */
void criu_compile_exec(struct plan *p, const char *program, const struct criu_slots *s,
                       const int keep[2]);
void criu_compile_request(struct plan *p, const struct criu_request *q, const struct criu_slots *s);
/* until: a notification, or "done": CRIU's last word. */
struct step *criu_compile_wait(struct plan *p, const char *until, const struct criu_places *places,
                               const struct criu_slots *s);

int criu_step(struct execution *x, const struct step *st, struct err *e);
/* Child-safe; returns when it failed only. */
int criu_exec(const struct op_criu_exec *op, const struct slots *slots, struct err *e);
/* After the last word, or a failure: waits for its end. */
void criu_end(struct execution *x, const struct criu_slots *s);

/* ---- criu_notes.c ---- */

/*
 * What the images do not say: which mounts and fds of the container are the host's. As JSON in
 * IMAGES/teca.json; and IMAGES/descriptors.json, which other runtimes read.
 */
enum { CRIU_STDIO = 3 };
struct criu_notes {
    struct criu_pair *mounts; /* where in the container, which path of the host */
    size_t n_mounts;
    const char *fds[CRIU_STDIO]; /* CRIU's names of 0, 1 and 2; NULL: of no use to a restore */
    const char *links[CRIU_STDIO];
    /* Hooks have put devices into the network namespace, as dockerd's do: they do it again. */
    bool network_of_hooks;
};
/* Of the container whose init has this pid. cgroups: its own, in every hierarchy. */
int criu_notes_gather(pid_t init, struct arena *a, struct criu_notes *out, struct err *e);
int criu_notes_write(const struct criu_notes *n, const char *images, struct arena *a,
                     struct err *e);
/* A checkpoint that another runtime has made has none: then out is empty but for pipes. */
int criu_notes_read(const char *images, struct arena *a, struct criu_notes *out, struct err *e);

#endif
