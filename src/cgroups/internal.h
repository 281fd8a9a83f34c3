/* SPDX-License-Identifier: Apache-2.0 */
#ifndef TECA_CGROUPS_INTERNAL_H
#define TECA_CGROUPS_INTERNAL_H
/* What the files of cgroups/ share among themselves. Child-safe unless it says otherwise. */
#include "cgroups/cgroups.h"

/* ---- tree.c ---- */

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

/* ---- systemd.c ---- */

const char *systemd_slice_path(const char *slice, struct arena *a);
/* cgroupsPath to the names in *u, whose user and uid are set, and the cgroup's path. */
int systemd_unit_of(const char *cgroups_path, const char *id, struct arena *a,
                    struct cgroup_unit *u, const char **path, struct err *e);
/* NULL-ended properties for the helper; late: one that its own process would not survive, or NULL. */
void systemd_add_limits(const struct spec_resources *r, bool v2, struct arena *a,
                        const char *const **out, const char **late);

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
