/* SPDX-License-Identifier: Apache-2.0 */
#ifndef TECA_SHARE_H
#define TECA_SHARE_H
/*
 * share: a directory of the host for another kernel: a file server that speaks FUSE (linux/fuse.h,
 * protocol 7.31 to 7.38), one request in, at most one reply out. It knows neither transport nor virtual
 * machine: virtio-fs hands it the pieces of a descriptor chain, the tests those of /dev/fuse.
 *
 * The client is the attacker. It may name only what it was told of: nodes and handles are numbers of
 * a table, a name is one component below a node, and no symlink is ever followed. What it may reach
 * is what is below root_fd, mounts included; a procfs is not (its links are doors). A client that is
 * a guest's kernel decides by mode, owner and ACL itself who may do what (default_permissions): the
 * server obeys with its own rights, and only makes new files as the caller who asked for them.
 */
#include "base/base.h"

#include <sys/uio.h>

enum share_cache {
    SHARE_CACHE_AUTO,   /* the host may change files: names and attributes are believed for 1 s */
    SHARE_CACHE_NONE,   /* ... never believed; pages are dropped at each open */
    SHARE_CACHE_ALWAYS, /* nobody changes anything while it is served */
};

struct share_config {
    int root_fd; /* the directory, an O_PATH fd will do; borrowed until share_new returns */
    enum share_cache cache;
    bool devices;        /* device nodes may be made; else only whiteouts (character 0:0) */
    bool trusted_xattrs; /* trusted.* may be read and set: overlayfs' upper directory wants it */
    /* Bounds of what a client can make us hold; 0: a half, a half of RLIMIT_NOFILE, any number, and 256 MiB. */
    unsigned max_handles;  /* open files and directories, one fd each */
    unsigned max_node_fds; /* nodes with an open fd; others are opened again by name */
    unsigned max_nodes;
    uint64_t max_node_bytes; /* of memory that nodes take: about 200 each and the name */
};

/* Most that one request or reply may hold beside its headers; in FUSE's words max_write. */
enum { SHARE_DATA_MAX = 128 << 10, SHARE_SEGMENTS_MAX = 272 };

struct share;
/* Opens /proc/self/fd: in the process that will serve, and before /proc is out of reach. */
int share_new(const struct share_config *config, struct share **out, struct err *e);
/* Accepts NULL. No worker may be left. */
void share_free(struct share *s);

/*
 * A thread that answers requests. Any number of threads may do so at once. share_worker_new belongs
 * to the calling thread and changes it for good: umask and working directory of its own (CLONE_FS),
 * which is /proc/self/fd; capabilities that outlive a change of the file-system uid
 * (SECBIT_NO_SETUID_FIXUP); SIGXFSZ blocked. In a program with other threads, call it in none of those.
 */
struct share_worker;
int share_worker_new(struct share *s, struct share_worker **out, struct err *e);
void share_worker_free(struct share_worker *w); /* accepts NULL */

/*
 * One request. Pieces of the request are read, each byte at most once; those of the reply are
 * written. Both may lie in memory that the client writes at the same time. Returns the length of
 * the reply; 0: there is none (FORGET, or no room for a header).
 */
size_t share_serve(struct share_worker *w, const struct iovec *request, unsigned n_request,
                   const struct iovec *reply, unsigned n_reply);

/* What it holds at the moment, for `events --stats` and the tests. */
struct share_stats {
    unsigned nodes, node_fds, handles;
    uint64_t requests, evictions, node_bytes;
};
void share_describe(struct share *s, struct share_stats *out);

#endif
