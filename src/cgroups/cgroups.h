/* SPDX-License-Identifier: Apache-2.0 */
#ifndef TECA_CGROUPS_H
#define TECA_CGROUPS_H
/*
 * cgroups: which hierarchies are mounted, the container's own cgroup in each of them: made, joined,
 * removed. Limits are a later issue (4). Order of calls: cgroup_gather, cgroup_compile_make (before
 * the clone), cgroup_compile_make_v1 (before or after it), cgroup_compile_join (lane init);
 * cgroup_compile_remove for undo and delete; cgroup_step executes one step.
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
};
struct cgroup_facts {
    struct cgroup_hierarchy *v;
    size_t n;
    const char *mount_root; /* "/sys/fs/cgroup", NULL when nothing is mounted */
    bool unified;           /* mount_root is a cgroup2 file system */
    const char *resctrl;    /* where resctrl is mounted; asked for only with intelRdt, else NULL */
};

struct cgroup_query {
    const char *id;                 /* names the default cgroup "/teca-ID" without a cgroupsPath */
    const char *mountinfo, *status; /* texts of /proc/self/..., read once by container/ */
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
/*
 * SIGKILLs every process in the cgroup directory and below (cgroup.kill, Linux 5.14; v1: pids
 * listed again until none is left). Absent is success. Plain code for kill and delete.
 */
int cgroup_kill(const char *path, bool v2, struct err *e);

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
