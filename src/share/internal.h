/* SPDX-License-Identifier: Apache-2.0 */
#ifndef TECA_SHARE_INTERNAL_H
#define TECA_SHARE_INTERNAL_H

#include "share/share.h"

#include <limits.h>
#include <linux/capability.h>
#include <linux/fuse.h>
#include <linux/limits.h> /* XATTR_NAME_MAX, not in musl's limits.h */
#include <pthread.h>
#include <sys/stat.h>
#include <linux/stat.h> /* struct statx, which musl 1.2.3 does not declare */

/* 7.38, which Debian 12's headers for other machines (Linux 6.1.4, 7.37) do not have; older clients ignore it. */
#ifndef FOPEN_PARALLEL_DIRECT_WRITES
#define FOPEN_PARALLEL_DIRECT_WRITES (1 << 6)
#endif

/* ---- pieces.c: the only way to the bytes of a request, and to those of a reply -------------------- */

struct pieces {
    const struct iovec *v;
    unsigned n;
    size_t skip; /* of the first */
    size_t left; /* in all; never more than what the pieces hold */
};
/* false: too many, or lengths that wrap. */
bool pieces_init(struct pieces *p, const struct iovec *v, unsigned n);
/* Keeps the first len bytes only; false: there are fewer. */
bool pieces_limit(struct pieces *p, size_t len);
/* Copies len bytes out of, or into them, and goes on behind; false: there are fewer, and nothing is done. */
bool pieces_take(struct pieces *p, void *to, size_t len);
bool pieces_put(struct pieces *p, const void *from, size_t len);
/*
 * A string with its NUL into a buffer of size bytes. -EINVAL: no NUL in what is left; -ENAMETOOLONG.
 */
int pieces_take_string(struct pieces *p, char *to, size_t size);
/* The first len bytes, which must be there, as they lie; returns how many entries of out are used. */
unsigned pieces_slice(const struct pieces *p, size_t len, struct iovec out[SHARE_SEGMENTS_MAX]);

/* ---- slots.c: numbers that a client may know, and what they stand for ----------------------------- */

/* id: index + 1 below, a serial number above, so that the number of what is gone never comes again. */
struct slots {
    struct slot {
        void *ptr;
        uint32_t serial, next_free;
    } * v;
    uint32_t n, cap, max, used, free; /* free: index + 1 */
};
int slots_add(struct slots *t, void *ptr, uint64_t *out_id); /* -ENFILE, -ENOMEM */
void *slots_find(const struct slots *t, uint64_t id);        /* NULL */
void slots_remove(struct slots *t, uint64_t id);
void slots_release(struct slots *t);

/* ---- nodes.c ---------------------------------------------------------------------------------------- */

/*
 * A file that the client knows of. Its fd keeps the inode number from being used again. Without an fd
 * (closed, so that a client that remembers much needs no more than max_node_fds) it is opened again
 * by its name in its parent, and must then be the same: device, inode, mount, time of birth.
 */
struct node {
    uint64_t id, parent; /* parent: a number only; it may be forgotten before its children */
    uint64_t n_lookups;  /* what the client owes in FORGETs */
    uint64_t dev, ino, mount;
    struct statx_timestamp born;
    uint64_t kept_ctime; /* ns; the client's pages are those of this time. 0: not known */
    struct node *next;   /* of the same hash */
    struct node *open_next, *open_previous; /* a ring of those with an fd */
    char *name;                             /* NULL: it cannot be opened again, so its fd stays */
    int fd;
    uint32_t n_pins;          /* requests that work with it */
    uint32_t n_open_children; /* with an fd: they are looked at through this one */
    uint16_t type;            /* S_IFMT */
    bool was_used, is_hashed;
};

/* The number must be known, and its file must be there: -ESTALE. It keeps its fd until unpinned. */
int node_pin(struct share *s, uint64_t id, struct node **out);
void node_unpin(struct share *s, struct node *n);
/*
 * What the client learns of: counts a lookup, and gives the node pinned. fd is an O_PATH fd, which
 * is taken in any case; -1: only a node that is known already, else -ENOENT. name NULL: it has none.
 */
int node_enter(struct share *s, const struct node *parent, const char *name, int fd,
               const struct statx *stat, struct node **out);
void node_forget(struct share *s, uint64_t id, uint64_t n_lookups);
/* A name is about to go (pin: out, or NULL if nothing is known of it), or has become another's. */
void node_pin_named(struct share *s, const struct node *parent, const char *name,
                    struct node **out);
void node_moved(struct share *s, const struct node *parent, const char *name);
int nodes_init(struct share *s, int root_fd, struct err *e);
void nodes_forget_all(struct share *s);
void nodes_release(struct share *s);

/* ---- handles.c -------------------------------------------------------------------------------------- */

struct handle {
    uint64_t id;
    int fd;
    uint32_t n_pins;
    bool is_dir, is_released;
    uint64_t at;          /* of a directory: where its fd stands */
    pthread_mutex_t lock; /* held while that is used */
};
int handle_add(struct share *s, int fd, bool is_dir, uint64_t *out_id); /* takes fd in any case */
int handle_pin(struct share *s, uint64_t id, bool is_dir, struct handle **out); /* -EBADF */
void handle_unpin(struct share *s, struct handle *h);
void handle_release(struct share *s, uint64_t id, bool is_dir);
void handles_release_all(struct share *s);

/* ---- share.c ---------------------------------------------------------------------------------------- */

struct share {
    struct share_config config;
    int proc_fd; /* /proc/self/fd */
    /* Below: guarded by the lock, except what INIT sets, which is read without. */
    pthread_mutex_t lock;
    struct slots nodes, handles;
    struct node *root;
    struct node **hash;
    uint32_t hash_size, n_node_fds;
    uint64_t node_bytes; /* as nodes.c counts */
    struct node *hand;   /* of the clock that picks whose fd is closed */
    uint64_t n_requests, n_evictions;
    bool is_initialised, announces_mounts, has_long_setxattr;
};

struct share_worker {
    struct share *s;
    uid_t uid; /* its own, as the group and the capabilities are */
    gid_t gid;
    mode_t mask; /* its umask at the moment */
    struct __user_cap_data_struct caps[_LINUX_CAPABILITY_U32S_3];
    _Alignas(
        16) uint8_t scratch[1 << 16]; /* XATTR_SIZE_MAX and XATTR_LIST_MAX; a part of a directory */
};

union share_args {
    struct fuse_forget_in forget;
    struct fuse_batch_forget_in batch_forget;
    struct fuse_getattr_in getattr;
    struct fuse_setattr_in setattr;
    struct fuse_mknod_in mknod;
    struct fuse_mkdir_in mkdir;
    struct fuse_rename_in rename;
    struct fuse_rename2_in rename2;
    struct fuse_link_in link;
    struct fuse_open_in open;
    struct fuse_create_in create;
    struct fuse_release_in release;
    struct fuse_flush_in flush;
    struct fuse_read_in read;
    struct fuse_write_in write;
    struct fuse_fsync_in fsync;
    struct fuse_getxattr_in getxattr;
    struct fuse_fallocate_in fallocate;
    struct fuse_lseek_in lseek;
    struct fuse_copy_file_range_in copy;
};

/* One request on its way: what is fixed is copied and complete, the rest is still in the pieces. */
struct share_call {
    struct share_worker *w;
    struct share *s;
    struct fuse_in_header header;
    union share_args in;
    struct node *node; /* header.nodeid, pinned; NULL where the operation names none */
    struct pieces request, reply;
    size_t length; /* of the reply without its header */
};
/* Adds to the reply, whose room for what is fixed was looked at before the operation began. */
int share_answer(struct share_call *c, const void *data, size_t len); /* 0, -EINVAL: no room */

/* ---- the operations: 0 or -errno. Who makes something undoes nothing but its lookups -------------- */

int share_lookup(struct share_call *c);
int share_mknod(struct share_call *c);
int share_mkdir(struct share_call *c);
int share_symlink(struct share_call *c);
int share_link(struct share_call *c);
int share_unlink(struct share_call *c);
int share_rmdir(struct share_call *c);
int share_rename(struct share_call *c);
int share_rename2(struct share_call *c);
int share_create(struct share_call *c);
int share_tmpfile(struct share_call *c);
int share_readlink(struct share_call *c);

int share_getattr(struct share_call *c);
int share_setattr(struct share_call *c);
int share_statfs(struct share_call *c);
int share_setxattr(struct share_call *c);
int share_getxattr(struct share_call *c);
int share_listxattr(struct share_call *c);
int share_removexattr(struct share_call *c);

int share_open(struct share_call *c);
int share_read(struct share_call *c);
int share_write(struct share_call *c);
int share_flush(struct share_call *c);
int share_fsync(struct share_call *c);
int share_release(struct share_call *c);
int share_fallocate(struct share_call *c);
int share_lseek(struct share_call *c);
int share_copy(struct share_call *c);
int share_syncfs(struct share_call *c);

int share_opendir(struct share_call *c);
int share_readdir(struct share_call *c);
int share_readdirplus(struct share_call *c);
int share_fsyncdir(struct share_call *c);
int share_releasedir(struct share_call *c);

/* ---- between them ----------------------------------------------------------------------------------- */

/* names.c: one component. */
enum { SHARE_NAME_SIZE = NAME_MAX + 1 };
int share_take_name(struct share_call *c, char name[SHARE_NAME_SIZE]);
/* Looks a name up in c->node; the node is pinned and counted as known, out is ready to be sent. */
int share_find(struct share_call *c, const char *name, struct fuse_entry_out *out,
               struct node **node);

/* attributes.c */
int share_stat(int fd, const char *name, struct statx *out); /* name "": fd itself */
void share_attributes(const struct statx *in, struct fuse_attr *out);
uint64_t share_validity(const struct share *s); /* seconds */
uint64_t share_device(const struct statx *in);

/* file.c: an fd that can be read or written, of a node that is pinned. */
int share_reopen(const struct node *n, int flags);
/* The handle and the flags that go into the reply to OPEN and CREATE; takes fd. */
int share_open_reply(struct share *s, struct node *n, int fd, uint32_t flags,
                     struct fuse_open_out *out);

/* "N", the node's name in /proc/self/fd, which is a worker's working directory. */
enum { SHARE_FD_NAME_SIZE = 12 };
const char *share_fd_name(int fd, char name[SHARE_FD_NAME_SIZE]);

/* identity.c */
int share_enter_thread(struct share_worker *w, struct err *e);
/* New files belong to the caller. -EPERM: the server cannot be that. */
int share_become(struct share_worker *w, uid_t uid, gid_t gid);
void share_return(struct share_worker *w, uid_t uid, gid_t gid);
/*
 * Until the end the kernel takes setuid and setgid away as it does when an ordinary user writes. false:
 * fd's file has nothing to take, and there is no end.
 */
bool share_begin_killing(struct share_worker *w, int fd);
/* ... as it does when somebody with that group, who is not in the file's, sets an ACL. */
void share_begin_as_stranger(struct share_worker *w, gid_t gid);
void share_end_killing(struct share_worker *w);

#endif
