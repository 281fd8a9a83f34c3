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
/* systemd's unit for the container; name NULL: systemd is not asked. */
struct cgroup_unit {
    const char *name;   /* "teca-x.scope" */
    const char *slice;  /* "system.slice" */
    const char *helper; /* absolute path of teca-systemd */
    bool user;          /* of the user's manager */
    bool scope;         /* else it is a slice itself */
    uid_t uid;          /* whose manager */
};
struct cgroup_facts {
    struct cgroup_unit unit;
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
    bool systemd;                   /* the manager of cgroups */
    const char *helper;             /* its helper, see struct cgroup_unit */
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
/*
 * systemd as the manager: _start in the runtime lane before anything else is done with cgroups;
 * _release behind the clone, waiting for init's joins; _stop for undo and delete, once init is dead.
 */
int systemd_compile_start(struct plan *p, const struct spec *s, const struct cgroup_facts *f,
                          const char *id, struct err *e);
void systemd_compile_release(struct plan *p);
void systemd_compile_stop(struct plan *p, const struct cgroup_unit *u);
int unit_step(const struct step *st, struct slots *slots, struct err *e);
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
 * SIGKILLs every process in the cgroup directory and below (cgroup.kill, Linux 5.14; v1: frozen where
 * that is possible, listed, again until none is left). Absent is success. Plain code for kill.
 */
int cgroup_kill(const char *path, bool v2, struct err *e);
/* Any signal, once, to every process in the cgroup and below it; frozen meanwhile like that. */
int cgroup_signal(const char *path, int signal, struct err *e);

/* ---- stats.c, stats_v1.c, stats_v2.c, stats_json.c: what the files of a cgroup count ----------- */

struct cgroup_numbers {
    const uint64_t *v;
    size_t n;
};
struct cgroup_pressure { /* PSI; the averages are the kernel's own decimal text, NULL: not there */
    struct cgroup_pressure_line {
        const char *avg10, *avg60, *avg300;
        uint64_t total;
    } some, full;
};
struct cgroup_memory_use {
    uint64_t limit, usage, max, failcnt; /* bytes; no limit: 2^64-1, or what v1 says */
};
struct cgroup_io_entry {
    uint64_t major, minor;
    const char *op; /* "Read", "Write" ...; "" where the kernel names none */
    uint64_t value;
};
struct cgroup_io {
    struct cgroup_io_entry *v;
    size_t n;
};
enum cgroup_io_kind {
    IO_BYTES,
    IO_SERVICED,
    IO_QUEUED,
    IO_SERVICE_TIME,
    IO_WAIT_TIME,
    IO_MERGED,
    IO_TIME,
    IO_SECTORS,
    IO_KINDS
};
/* Nothing there: zeros. The texts and lists are in the arena. */
struct cgroup_stats {
    struct {
        bool has_usage, has_throttling;
        uint64_t total, kernel, user; /* nanoseconds */
        struct cgroup_numbers percpu, percpu_kernel, percpu_user;
        uint64_t periods, throttled_periods, throttled_time;
        struct cgroup_pressure pressure;
    } cpu;
    struct {
        struct cgroup_numbers cpus, mems;
        uint64_t cpu_exclusive, mem_hardwall, mem_exclusive, memory_migrate, memory_spread_page;
        uint64_t memory_spread_slab, memory_pressure, sched_load_balance;
        int64_t sched_relax_domain_level;
    } cpuset;
    struct {
        bool there;
        uint64_t cache;
        struct cgroup_memory_use usage, swap, kernel,
            kernel_tcp; /* swap: memory and swap together */
        struct cgroup_memory_count {
            const char *name;
            uint64_t value;
        } * raw;
        size_t n_raw;
        struct cgroup_pressure pressure;
    } memory;
    struct {
        uint64_t current, limit; /* limit 0: none */
    } pids;
    struct {
        struct cgroup_io kinds[IO_KINDS];
        struct cgroup_pressure pressure;
    } io;
    struct cgroup_hugetlb {
        const char *size; /* "2MB" */
        uint64_t usage, max, failcnt;
    } * hugetlb;
    size_t n_hugetlb;
    struct cgroup_rdma {
        const char *device;
        uint64_t handles, objects; /* 2^64-1: no limit */
    } * rdma_current, *rdma_limit;
    size_t n_rdma_current, n_rdma_limit;
};
/*
 * Reads what there is in these cgroups of one container, one in each hierarchy; what a v1 hierarchy
 * tells counts before v2. A file that is not there, or no longer, counts nothing.
 */
void cgroup_stats_read(const char *const *paths, size_t n, struct arena *a,
                       struct cgroup_stats *out);
/* The members "cpu" to "hugetlb" of the data of `events` (engine-contract 1.4.3). */
void cgroup_stats_write(const struct cgroup_stats *s, struct json_out *j);

/* ---- rdt_stats.c -------------------------------------------------------------------------------- */

struct rdt_place {
    const char *mount;   /* of resctrl; NULL: the container has no linux.intelRdt */
    const char *group;   /* the directory of its class of service */
    const char *monitor; /* whose mon_data counts for it: that class, or a group of its own */
};
/* "intel_rdt" of `events`, read from there while it is written. */
void rdt_stats_write(struct json_out *j, const char *key, const struct rdt_place *at,
                     struct arena *a);
/* Where resctrl is mounted: of the text of a mountinfo, or NULL. */
const char *rdt_find_mount(const char *mountinfo, struct arena *a);

/* ---- oom.c: the out-of-memory events of a cgroup ------------------------------------------------ */

struct cgroup_oom {
    const char *path;
    bool v2;
    int wake;  /* to be polled for POLLIN; -1: nobody wakes, so it is asked from time to time */
    int count; /* memory.events or memory.oom_control; -1: no such controller, and never an event */
    uint64_t seen;
};
/* Among the cgroups of one container. Borrows the paths. */
void cgroup_oom_open(const char *const *paths, size_t n, struct cgroup_oom *out);
/* How many events there were since the last time. */
uint64_t cgroup_oom_take(struct cgroup_oom *o);
void cgroup_oom_close(struct cgroup_oom *o);

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
