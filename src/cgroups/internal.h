/* SPDX-License-Identifier: Apache-2.0 */
#ifndef TECA_CGROUPS_INTERNAL_H
#define TECA_CGROUPS_INTERNAL_H
/* What the files of cgroups/ share among themselves. Child-safe unless it says otherwise. */
#include <linux/bpf.h>

#include "cgroups/cgroups.h"

/* ---- resources.c ---- */

/* One write to a file of the container's cgroup. */
struct cgroup_write {
    const char *dir; /* the cgroup */
    bool v2;
    bool late; /* not before init is there */
    const char *pointer, *file, *value;
    const char *or_file, *or_value; /* where the kernel has no such file; or NULL */
    bool optional;                  /* and one that is missing is no failure */
    /* The file has a line for each device or interface: which line, and what takes it back. */
    const char *key, *none;
};
struct cgroup_writes {
    struct cgroup_write *v;
    size_t n, cap;
    const char *controllers[10]; /* of v2, that must be switched on */
    size_t n_controllers;
};
/*
 * Every write that `asked` wants, in an order that a new cgroup takes. r: the same with what was
 * asked for earlier, for values that belong together; a start gives the same twice. Pure.
 */
int cgroup_compile_writes(const struct spec_resources *r, const struct spec_resources *asked,
                          const struct cgroup_facts *f, struct arena *a, struct cgroup_writes *out,
                          struct err *e);
bool cgroup_resources_asked(const struct spec_resources *r); /* anything but device rules */
uint64_t cgroup_cpu_weight(uint64_t shares);                 /* cpu.shares to cpu.weight */
bool cgroup_has_controller(const struct cgroup_hierarchy *h, const char *name);
/* Where the controller is, v1 before v2; NULL: nowhere. */
const struct cgroup_hierarchy *cgroup_of_controller(const struct cgroup_facts *f, const char *name);
/* The controllers that are not switched on in the cgroup `depth` components down: "+io +pids". */
const char *cgroup_to_enable(const struct cgroup_hierarchy *h, size_t depth,
                             const struct cgroup_writes *w, struct arena *a);
/* The directory `depth` components below the hierarchy's root, on the way to the container's. */
const char *cgroup_ancestor(const struct cgroup_hierarchy *h, unsigned depth, struct arena *a);

/* ---- device_rules.c ---- */

enum { DEVICE_MKNOD = 1, DEVICE_READ = 2, DEVICE_WRITE = 4, DEVICE_ANY = 7 };
struct device_rule {
    bool allow, preset;   /* preset: teca's own, of what every container may use */
    char type;            /* 'b', 'c' */
    int64_t major, minor; /* -1: every one */
    unsigned access;
};
struct device_rules {
    bool allow; /* what no rule says */
    struct device_rule *v;
    size_t n;
    bool asked;              /* the config has rules */
    const char *v1_conflict; /* pointer of a rule that v1 would silently not keep; or NULL */
};
/* The rules that count, in order, with the presets behind them (engine-contract 5.3). */
int device_rules_of(const struct spec_device_rule *v, size_t n, struct arena *a,
                    struct device_rules *out, struct err *e);
bool device_rules_forbid(const struct device_rules *r); /* anything at all? */
/* "deny a", "allow c 1:3 rwm": v1's files and texts, NULL-ended. presets: those alone. */
const char *const *device_rules_texts(const struct device_rules *r, bool presets, struct arena *a);
/* The program of BPF_PROG_TYPE_CGROUP_DEVICE that says the same. */
const struct bpf_insn *device_program(const struct device_rules *r, struct arena *a, size_t *out_n,
                                      struct err *e);

/* ---- device_filter.c: bpf(2). Child-safe, returns -errno. ---- */

int device_filter_load(const struct bpf_insn *program, size_t n);
int device_filter_attach(int cgroup_fd, int program_fd);
/* In place of the one that teca attached before. 0: done; -ENOENT: there is none. */
int device_filter_replace(int cgroup_fd, int program_fd);
/* The rules of a v1 cgroup; those that begin behind `presets` may be refused. */
int device_rules_write(const char *path, const char *const *rules, bool presets, struct err *e);

/* ---- tree.c. Child-safe. ---- */

/* Calls fn with the pid and arg for every process listed in the directory's cgroup.procs; returns
 * their number or -errno. fn may be NULL. */
int cgroup_each_process(int dir_fd, void (*fn)(pid_t pid, void *arg), void *arg);
/* Sends SIGKILL to everything in the cgroup itself (v1) or in it and below (v2). Returns -errno. */
int cgroup_kill_here(int dir_fd);
/*
 * Removes the cgroup and everything that the container made below it; what still runs there is
 * killed when `kill` is set. Gives up after ten seconds. Absent is success. Returns -errno.
 */
int cgroup_remove_tree(const char *path, bool kill);

/* ---- shadow.c. Pure. ---- */

struct shadow { /* of a mountinfo: the mounts on the way to those of cgroups */
    struct shadow_place {
        unsigned id, parent;
        const char *path; /* as it is written there, escapes and all */
        size_t len;
    } * v;
    size_t n;
};
void shadow_read(struct shadow *s, const char *mountinfo, struct arena *a);
/* Has something been mounted over the mount of this line, so that no path leads there? */
bool shadow_hides(const struct shadow *s, const char *line);

/* ---- systemd.c ---- */

const char *systemd_slice_path(const char *slice, struct arena *a);
/* cgroupsPath to the names in *u, whose user and uid are set, and the cgroup's path. */
int systemd_unit_of(const char *cgroups_path, const char *id, struct arena *a,
                    struct cgroup_unit *u, const char **path, struct err *e);
/*
 * The annotation run.oci.systemd.subgroup: *path becomes a cgroup of that name in the unit, which
 * systemd leaves to teca. Empty or missing: the unit itself.
 */
int systemd_add_subgroup(const struct spec *s, struct arena *a, const char **path, struct err *e);
/* NULL-ended properties for the helper; late: one that its own process would not survive, or NULL. */
void systemd_add_limits(const struct spec_resources *r, bool v2, struct arena *a,
                        const char *const **out, const char **late);
/*
 * The helper's argv that makes a unit's limits those of `now`, without what only `before` has; NULL:
 * systemd need not know.
 */
const char *const *systemd_set_arguments(const struct cgroup_unit *u,
                                         const struct spec_resources *now,
                                         const struct spec_resources *before, bool v2,
                                         struct arena *a);

/* ---- unit_step.c ---- */

/* Runs the helper with these arguments to its end. Not child-safe. */
int unit_run(const struct cgroup_unit *u, const char *const *argv, struct err *e);

/* ---- parents.c ---- */

void parents_mark(const char *path); /* teca has made it, so the last container in it removes it */
void parents_remove(const char *path); /* those above the cgroup that are marked, as far as empty */
/* Makes those above the cgroup that are missing, and calls fill for every one from / on. -errno. */
int parents_make(const char *path, int (*fill)(const char *dir, void *arg), void *arg);

/* ---- walk.c, kill.c: not child-safe ---- */

/*
 * Calls visit for the cgroup and each one below it, a parent before its children; one that is gone
 * is passed over. Ends with the first other -errno that visit returns.
 */
int cgroup_walk(const char *path, int (*visit)(int dir, void *arg), void *arg);
/* v1 freezer: thaws the cgroup and those below it. Absent, or none of these, is success. -errno. */
int cgroup_thaw(const char *path);
/* ---- stats.c: reading, not child-safe ---- */

const char *stats_text(const char *dir, const char *name, struct arena *a); /* NULL: not there */
bool stats_number(const char *dir, const char *name, struct arena *a, uint64_t *out);
/* The decimal number at *at, which moves behind it; "max" is 2^64-1. */
bool stats_take_number(const char **at, uint64_t *out);
/* "name 1\nother 2": the number behind the name, 0 when it is not there. */
uint64_t stats_keyed(const char *text, const char *name);
void stats_memory_raw(struct cgroup_stats *s, const char *text, struct arena *a);
struct cgroup_numbers stats_ranges(const char *text, struct arena *a); /* "0-3,8" */
/* Every page size for which there is a file hugetlb.SIZE`suffix`. */
void stats_hugetlb(const char *dir, const char *suffix, struct cgroup_stats *s, struct arena *a);
void stats_rdma(const char *text, struct arena *a, struct cgroup_rdma **out, size_t *n);
void stats_add_io(struct cgroup_io *io, size_t *cap, const struct cgroup_io_entry *entry,
                  struct arena *a);
void stats_read_v1(const char *dir, struct arena *a, struct cgroup_stats *s);
void stats_read_v2(const char *dir, struct arena *a, struct cgroup_stats *s);

/* ---- rdt.c ---- */

/* Does a schemata file say what these lines say? Lines and ids that they do not name don't count. */
bool rdt_schema_matches(const char *wanted, const char *file);

#endif
