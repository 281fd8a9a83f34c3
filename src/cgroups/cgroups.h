/* SPDX-License-Identifier: Apache-2.0 */
#ifndef TECA_CGROUPS_H
#define TECA_CGROUPS_H
/*
 * cgroups: which hierarchies are mounted, the container's own cgroup in each of them: made, limited,
 * joined, removed. Order of calls: cgroup_gather, cgroup_compile_make, cgroup_compile_limits and
 * cgroup_compile_filter (before the clone), cgroup_compile_make_v1 (before or after it),
 * cgroup_compile_late, cgroup_compile_join and cgroup_compile_attach (lane init);
 * cgroup_compile_remove for undo and delete; cgroup_step and device_step execute one step.
 * It never mounts; what the container sees of cgroups is rootfs/'s work.
 */
#include "base/base.h"
#include "plan/plan.h"
#include "spec/spec.h"

enum { CGROUP_MAX_HIERARCHIES = 24 };

struct cgroup_hierarchy {
    bool v2;
    const char *controllers; /* "cpu,cpuacct", "name=systemd", "" for v2 */
    const char *mountpoint;  /* "/sys/fs/cgroup/memory" */
    const char *root;        /* field 4 of mountinfo: what of the hierarchy is mounted there */
    bool cpuset;             /* v1 cpuset: cpus and mems must be copied from the parent */
    const char *path;        /* the container's cgroup directory on the host */
    unsigned existing;       /* how many leading components of the container's path exist already */
    const char *cpus, *mems; /* the values that a new cpuset gets */
    /* How many of the existing components have such values, 0: only the root of the hierarchy. The
     * others are empty, as mkdir(2) makes them, and nobody can join what lies below one. */
    unsigned cpus_depth, mems_depth;
    /*
     * v2, asked for only when the spec has limits: the controllers there are, NULL: not asked; and
     * what subtree_control says of the root and of every existing component of the path.
     */
    const char *available;
    const char *const *subtree;
    size_t n_subtree;
};
struct cgroup_facts {
    struct cgroup_hierarchy *v;
    size_t n;
    const char *mount_root;      /* "/sys/fs/cgroup", NULL when nothing is mounted */
    bool unified;                /* mount_root is a cgroup2 file system */
    bool disabled;               /* --cgroup-manager disabled: there are none for this container */
    bool unprivileged;           /* the runtime is not root of the host, and may be refused */
    const char *const *delegate; /* files that the payload's user shall own; NULL: none */
    const char *resctrl; /* where resctrl is mounted; asked for only with intelRdt, else NULL */
};

struct cgroup_query {
    const char *id;                 /* names the default cgroup "/teca-ID" without a cgroupsPath */
    const char *mountinfo, *status; /* texts of /proc/self/..., read once by container/ */
    bool disabled;                  /* --cgroup-manager disabled */
    bool limited; /* an ordinary user, or root of a user namespace: not root of the hierarchies */
};
/*
 * Without root, hierarchies in which the caller may make no cgroup are left out, and the container
 * stays in the caller's: as long as neither a cgroupsPath nor a limit is asked for (engine-contract
 * 5.4). Else that is an error.
 */
int cgroup_gather(const struct spec *s, const struct cgroup_query *q, struct arena *a,
                  struct cgroup_facts *f, struct err *e);
void cgroup_facts_write(const struct cgroup_facts *f, struct json_out *j, const char *key);
int cgroup_facts_read(const struct json *v, struct arena *a, struct cgroup_facts *f, struct err *e);

/*
 * Runtime lane, before the clone: the cgroup in the v2 hierarchy. out_slot: its directory, to clone
 * into, or SLOT_NONE where there is no v2 hierarchy.
 */
int cgroup_compile_make(struct plan *p, const struct spec *s, const struct cgroup_facts *f,
                        int *out_slot, struct err *e);
/*
 * Runtime lane, before the clone: the limits that v2 controllers keep, and the controllers that are
 * needed switched on from the top down. Refuses what this host cannot do, also of v1.
 */
int cgroup_compile_limits(struct plan *p, const struct spec *s, const struct cgroup_facts *f,
                          struct err *e);
/*
 * Runtime lane, before the clone: the program that filters device access in the v2 cgroup. out_slot:
 * its fd, or SLOT_NONE where none is needed or there is no v2 hierarchy. It takes effect by
 * cgroup_compile_attach, in the lane init once its mounts are there, or in the lane runtime for an
 * init in a user namespace, which may not.
 */
int cgroup_compile_filter(struct plan *p, const struct spec *s, const struct cgroup_facts *f,
                          int *out_slot, struct err *e);
void cgroup_compile_attach(struct plan *p, enum plan_lane lane, int filter_slot, int cgroup_slot);
/*
 * Runtime lane, behind the v1 cgroups and before init joins them: their limits, and where there is no
 * filter (filter_slot, or an empty one) their device rules; then the limits of v2 that the clone
 * itself must not meet.
 */
int cgroup_compile_late(struct plan *p, const struct spec *s, const struct cgroup_facts *f,
                        int filter_slot, struct err *e);
/*
 * Runtime lane, before the clone: the cgroup's directory and the files of delegation become the
 * payload's user's, where it can write to its cgroups (config-linux.md "Cgroup ownership").
 */
void cgroup_compile_owner(struct plan *p, const struct spec *s, const struct cgroup_facts *f);
/*
 * Runtime lane: the cgroups in the v1 hierarchies. Before the clone they cost no wait; after it
 * they are made beside init's mounts, and the first step that needs one of them waits for all.
 */
int cgroup_compile_make_v1(struct plan *p, const struct cgroup_facts *f, struct err *e);
/*
 * Lane init (or stage): the process moves itself into the v1 cgroups. Needs the host's paths, so
 * before the pivot; and, with a user namespace, before init becomes another user.
 */
int cgroup_compile_join(struct plan *p, const struct cgroup_facts *f, enum plan_lane lane,
                        struct err *e);
/* Runtime lane of undo and delete: every directory that compile_make makes, deepest first. */
int cgroup_compile_remove(struct plan *p, const struct cgroup_facts *f, struct err *e);
/*
 * linux.intelRdt, runtime lane. _make before the clone, _join behind it; id names a class of the
 * container's own, which undo and delete remove by RDT_REMOVE, and its monitoring group.
 */
int rdt_compile_make(struct plan *p, const struct spec *s, const struct cgroup_facts *f,
                     const char *id, struct err *e);
void rdt_compile_join(struct plan *p, const struct spec *s, const struct cgroup_facts *f,
                      const char *id, int pid_slot);
int rdt_step(const struct step *st, struct slots *slots, struct err *e);
/* Child-safe. */
int cgroup_step(const struct step *st, struct slots *slots, struct err *e);
int device_step(const struct step *st, struct slots *slots, struct err *e);
/*
 * SIGKILLs every process in the cgroup directory and below (cgroup.kill, Linux 5.14; v1: pids
 * listed again until none is left). Absent is success. Plain code for kill and delete.
 */
int cgroup_kill(const char *path, bool v2, struct err *e);

/* ---- update.c: plain code for update ---- */

/* The hierarchies of a container that exists; paths: its cgroups, one a hierarchy. */
int cgroup_gather_existing(const char *mountinfo, const char *const *paths, size_t n,
                           struct arena *a, struct cgroup_facts *f, struct err *e);
struct cgroup_update {
    const struct spec_resources *asked;   /* what shall change */
    const struct spec_resources *earlier; /* what was asked for before */
    const struct spec_resources *merged;  /* both */
    bool devices;                         /* the device rules change too */
};
struct cgroup_undo;
/*
 * All or nothing: what cannot be written leaves everything as it was. On success *out, until one of
 * the two below is called, can take it back.
 */
int cgroup_update(const struct cgroup_facts *f, const struct cgroup_update *update, struct arena *a,
                  struct cgroup_undo **out, struct err *e);
void cgroup_update_undo(struct cgroup_undo *u, struct err *e);
void cgroup_update_end(struct cgroup_undo *u);

/* ---- freeze.c: plain code for pause, resume, ps and exec ---- */

bool cgroup_is_v2(const char *path); /* a directory of a cgroup2 file system */
/* Can this cgroup be frozen: v2, or of the v1 hierarchy `freezer`? */
bool cgroup_has_freezer(const char *path);
/* Is it being frozen by itself? One that is gone is not. */
bool cgroup_is_frozen(const char *path);
/*
 * Freezes or thaws the cgroup and everything below it, and waits until that is so. What cannot be
 * frozen within ten seconds is thawed again.
 */
int cgroup_freeze(const char *path, bool freeze, struct err *e);
/*
 * Every process in the cgroup and below it, sorted, no pid twice. A cgroup that is gone is empty.
 */
int cgroup_pids(const char *path, struct arena *a, pid_t **pids, size_t *n, struct err *e);
/*
 * The v2 cgroup for a process that comes to `pid` in the container's cgroup `path`: that one, or
 * where `pid` itself is by now when the container has given its controllers on to cgroups of its
 * own (no process may be in `path` then, cgroups(7) "no internal processes").
 */
int cgroup_to_enter(const char *path, pid_t pid, struct arena *a, const char **out, struct err *e);

#endif
