/* SPDX-License-Identifier: Apache-2.0 */
#ifndef TECA_ROOTFS_H
#define TECA_ROOTFS_H
/*
 * rootfs: what the container sees as its file system: mounts, devices, masked and read-only paths,
 * propagation, pivot. Order of calls: rootfs_gather (reads only), then rootfs_compile_open
 * (runtime lane), _mounts, _devices, _paths, _pivot, _chdir (init lane); rootfs_step executes one
 * step. All of it up to the pivot needs the host's /proc.
 * Paths inside the image are hostile: they are resolved by the step through openat2 with
 * RESOLVE_IN_ROOT, or are single names below a file system that the plan itself has just made.
 */
#include "base/base.h"
#include "plan/plan.h"
#include "spec/spec.h"

struct rootfs_cgroup { /* one hierarchy that the container may see under a mount of type "cgroup" */
    bool v2;
    const char *mountpoint; /* of the hierarchy on the host */
    const char *path;       /* the container's own cgroup directory on the host */
};
struct rootfs_facts {
    /* From rootfs_gather, and what rootfs_facts_write keeps: */
    const char *root;   /* absolute path of the root filesystem on the host */
    const char *bundle; /* absolute; relative bind sources start there */
    bool privileged;    /* the runtime may open_tree(OPEN_TREE_CLONE) on the host */
    bool host_shared;   /* some host mount is shared or a slave: propagation has to be cut */
    bool root_covered;  /* "/" of the host is not exactly one mount */
    /* one per entry of /mounts: is the source of a bind a directory? */
    enum rootfs_source {
        SOURCE_NONE,
        SOURCE_DIR,
        SOURCE_FILE,
        SOURCE_MISSING,
        SOURCE_LINK
    } *
        sources;
    size_t n_sources;
    const char **links; /* what the sources that are SOURCE_LINK say, in order; NULL-ended */
    const char **kernel_mounts; /* where the host has procfs and sysfs, newest first; NULL-ended */
    /* Given by container/ from the spec and the facts of the other concerns: */
    bool user_ns;        /* a user namespace is made or joined: detached trees */
    bool no_host_rights; /* user_ns, or the runtime itself lives in one: no mknod */
    /* !privileged: init itself opens the root and what is bound, before it is another user. */
    bool opens_inside;
    bool new_cgroup_ns;      /* a cgroup namespace of its own */
    bool cgroup_unified;     /* the host has cgroup2 only */
    const char *cgroup_root; /* "/sys/fs/cgroup", NULL when nothing is mounted */
    struct rootfs_cgroup *cgroups;
    size_t n_cgroups;
};

/* mountinfo: the text of /proc/self/mountinfo, read once by container/ for all who need it. */
int rootfs_gather(const struct spec *s, const char *bundle, const char *mountinfo, struct arena *a,
                  struct rootfs_facts *f, struct err *e);
void rootfs_facts_write(const struct rootfs_facts *f, struct json_out *j, const char *key);
int rootfs_facts_read(const struct json *v, struct arena *a, struct rootfs_facts *f, struct err *e);

/*
 * Runtime lane before the clone: the root as a detached tree where allowed, and where init could
 * not reach or not mount them, the bind sources. Sets *root_slot.
 */
int rootfs_compile_open(struct plan *p, const struct spec *s, const struct rootfs_facts *f,
                        int *root_slot, struct err *e);
/*
 * Runtime lane: the options idmap and ridmap, and mappings of mounts. Called twice: when the
 * namespaces to be joined are open (pid_slot none), and for what takes the ids of init's own new
 * user namespace when its maps are written. MOUNT steps then must come after the last MOUNT_IDMAP.
 */
int rootfs_compile_idmaps(struct plan *p, const struct spec *s, const struct rootfs_facts *f,
                          int pid_slot, struct err *e);
/* By option or by mappings: runtime-spec config.md wants both, and either asks for it. */
bool rootfs_is_idmapped(const struct spec_mount *m);
/*
 * Runtime lane: an idmapped mount's source as a detached tree, for who mounts it elsewhere. Where the ids are those of
 * the container's new user namespace its maps are taken, for the process with that namespace has another kernel.
 */
int rootfs_compile_idmapped_source(struct plan *p, const struct spec *s, size_t mount,
                                   const char *path, int *out, struct err *e);
/*
 * init, before it becomes root of its user namespace: for an ordinary user whose files that root
 * (another host id) could not reach. No step unless facts say opens_inside.
 */
int rootfs_compile_open_inside(struct plan *p, const struct spec *s, const struct rootfs_facts *f,
                               int root_slot, struct err *e);
/*
 * init: umask 0 (the modes of nodes and directories are exact; whoever compiles the process's own
 * umask comes later), propagation, root attached, the entries of "mounts". A step that needs the
 * container's cgroup is `after` the last CGROUP_MAKE that the plan holds so far.
 */
int rootfs_compile_mounts(struct plan *p, const struct spec *s, const struct rootfs_facts *f,
                          int root_slot, struct err *e);
/* init: default devices and symlinks, linux.devices. */
int rootfs_compile_devices(struct plan *p, const struct spec *s, const struct rootfs_facts *f,
                           int root_slot, struct err *e);
/*
 * init: read-only paths, masked paths, the cgroup mounts that could wait (they need what the
 * runtime lane makes meanwhile). All before the pivot, by fd.
 */
int rootfs_compile_paths(struct plan *p, const struct spec *s, const struct rootfs_facts *f,
                         int root_slot, struct err *e);
/* init: root.readonly. Apart, for hooks may still make files in the root before it. */
void rootfs_compile_readonly(struct plan *p, const struct spec *s, int root_slot);
/*
 * linux.mountLabel, when all mounts are in the plan: their data get a context= where that counts, or
 * the option that an annotation names.
 */
int rootfs_label_mounts(struct plan *p, const struct spec *s, struct err *e);
/* init: after it "/" is the container's root and the working directory. */
int rootfs_compile_pivot(struct plan *p, const struct spec *s, const struct rootfs_facts *f,
                         int root_slot, struct err *e);
/* The same without pivot_root(2), for --no-pivot. */
int rootfs_compile_move_root(struct plan *p, const struct spec *s, const struct rootfs_facts *f,
                             int root_slot, struct err *e);
/* init, after the pivot: process.cwd. No step when it is "/". */
int rootfs_compile_chdir(struct plan *p, const struct spec *s, struct err *e);
/* The same for `exec`, when the mount namespace has been joined; a missing directory is an error. */
void rootfs_compile_cwd(struct plan *p, const struct spec *s);

/*
 * Checks one mount without a plan (for `teca check`): 0 or -EINVAL with a sentence. Known: every
 * option of runtime-spec config.md "Linux mount options"; others become the file system's data.
 */
int rootfs_check_mount(const struct spec_mount *m, struct err *e);
/* Names of the mount options that are executed, for `features`; NULL behind the last one. */
const char *rootfs_option_name(size_t i);

/* Executes one step. Child-safe. */
int rootfs_step(const struct step *st, struct slots *slots, struct err *e);

#endif
