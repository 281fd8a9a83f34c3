/* SPDX-License-Identifier: Apache-2.0 */
#ifndef TECA_CGROUPS_INTERNAL_H
#define TECA_CGROUPS_INTERNAL_H
/* What the files of cgroups/ share among themselves. All of it is child-safe. */
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

/* v1 freezer: thaws the cgroup and those below it. Absent, or none of these, is success. -errno. */
int cgroup_thaw(const char *path);
/* ---- rdt.c ---- */

const char *rdt_find_mount(const char *mountinfo, struct arena *a);
/* Does a schemata file say what these lines say? Lines and ids that they do not name don't count. */
bool rdt_schema_matches(const char *wanted, const char *file);

#endif
