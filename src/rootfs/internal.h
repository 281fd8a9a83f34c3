/* SPDX-License-Identifier: Apache-2.0 */
#ifndef TECA_ROOTFS_INTERNAL_H
#define TECA_ROOTFS_INTERNAL_H
/* What the files of rootfs/ share among themselves. */
#include <fcntl.h>
#include <sys/mount.h>

#include "rootfs/rootfs.h"

#ifndef MS_NOSYMFOLLOW
#define MS_NOSYMFOLLOW 256 /* Linux 5.10; glibc 2.36 has no name for it */
#endif

/* ---- options.c ---- */

/* mount(2) copies one page of data and cuts the rest off without a word; 4 KiB is the smallest. */
enum { MOUNT_DATA_SIZE = 4096 };
/* Of the tmpfs over a masked directory: room for its root and nothing else, tmpfs(5). */
#define MASK_DATA "nr_blocks=1,nr_inodes=1"

struct mount_options {
    bool bind;           /* "bind" or "rbind", or the type says so */
    uint64_t flags;      /* MS_ bits for mount(2) */
    uint64_t set, clear; /* MOUNT_ATTR_ bits that options name, for mounts that exist already */
    uint64_t rec_set, rec_clear; /* the same for the r... options, recursively */
    uint64_t propagation;        /* MS_SHARED ..., with MS_REC for the r... forms */
    bool copy_up, copy_symlink, idmap, rec_idmap;
    char data[MOUNT_DATA_SIZE]; /* the rest, comma-joined */
};
int options_parse(const struct spec_mount *m, struct mount_options *out, struct err *e);
/* MOUNT_ATTR_ bits that mean the same as the per-mount MS_ bits. */
uint64_t options_attr_of(uint64_t ms_flags);
/* MS_ flags of "rslave", "private" ...; 0: unknown. */
uint64_t options_propagation(const char *name);

/* ---- cover.c ---- */

/*
 * Which mount of the plan does a path of the container lie on? By name only: a symlink of the image
 * can lead a path elsewhere, so the answer is good for "this fd is a file system that we made" and
 * for nothing else.
 */
struct cover {
    const struct plan *plan;
    int *buckets; /* step numbers, -1: free */
    size_t n_buckets;
    bool seen;  /* a mount namespace that was joined: others see and change what the plan mounts */
    bool links; /* the plan holds symlinks */
};
/* Knows the mounts that the plan holds already; room for `more`. Memory from the plan's arena. */
void cover_init(struct cover *c, const struct plan *p, const struct spec *s, size_t more);
void cover_add(struct cover *c, int step);
/* The step whose mount holds `path` (absolute, clean); -1: the root filesystem itself. */
int cover_find(const struct cover *c, const char *path);
/* The step that mounts at exactly `path` and is not hidden by a later one, or -1. */
int cover_at(const struct cover *c, const char *path);
/*
 * Is the path the direct child of a file system that the plan mounts fresh, so that nobody else has
 * a say in what lies there, and no symlink of the plan's own? Then *slot is that file system's fd and *name the child's name.
 */
bool cover_fresh_child(const struct cover *c, struct plan *p, const char *path, int *slot,
                       const char **name);
/* Slot of the mount that a step makes; gives it one when it had none. */
int cover_slot(struct plan *p, int step);

/* ---- compile.c, cgroup_mount.c ---- */

struct mounts {
    struct plan *plan;
    const struct spec *spec;
    const struct rootfs_facts *facts;
    struct cover cover;
    int root_slot;
    int next_tree;   /* step from which the next ROOT_OPEN of a bind source is looked for */
    unsigned opened; /* targets that keep an fd open */
};
/* A MOUNT step at `target` with its place filled in; all else is the caller's. */
struct step *mounts_add(struct mounts *m, const char *pointer, const char *target);
/* To be called when the step is complete: later mounts may lie on it. */
void mounts_added(struct mounts *m);
/* Is a bind of a host mount a peer of it, so that mounts below the one appear below the other? */
bool mounts_are_peers(const struct mounts *m);
int mounts_add_cgroup(struct mounts *m, const char *pointer, const char *target,
                      const struct mount_options *o, struct err *e);

/* Entries of "mounts" that rootfs_compile_mounts left for later: the cgroups. */
int mounts_add_deferred(struct plan *p, const struct spec *s, const struct rootfs_facts *f,
                        int root_slot, struct err *e);

/* Does the runtime open the source of this bind, before the clone? */
bool source_is_opened(const struct spec *s, const struct rootfs_facts *f, size_t mount);

/* An absolute, clean path in the plan's arena; relative ones start at "/". */
const char *clean_in_root(struct arena *a, const char *path);
bool mount_ns_is_new(const struct spec *s);

/* ---- steps, all child-safe ---- */

int step_root_open(const struct op_root_open *op, struct slots *slots, struct err *e);
int step_root_attach(const struct op_root_attach *op, struct slots *slots, struct err *e);
int step_idmap_ns(const struct op_idmap_ns *op, struct slots *slots, struct err *e);
int step_mount_idmap(const struct op_mount_idmap *op, struct slots *slots, struct err *e);
int step_pivot(const struct op_pivot *op, struct slots *slots, struct err *e);
int step_mount(const struct op_mount *op, struct slots *slots, struct err *e);
int step_mount_attr(const struct op_mount_attr *op, struct slots *slots, struct err *e);
int step_device(const struct op_device *op, struct slots *slots, struct err *e);
int step_symlink(const struct op_symlink *op, struct slots *slots, struct err *e);
int step_mask(const struct op_mask *op, struct slots *slots, struct err *e);
int step_readonly(const struct op_readonly *op, struct slots *slots, struct err *e);
/* copy_up.c: contents of one directory into another, as "tmpcopyup" wants it. Returns -errno. */
int copy_up(int from_fd, int to_fd);

#endif
