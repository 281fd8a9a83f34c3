/* SPDX-License-Identifier: Apache-2.0 */
#ifndef TECA_NAMESPACES_INTERNAL_H
#define TECA_NAMESPACES_INTERNAL_H
/* What the files of namespaces/ share among themselves. */
#include <sched.h>

#include "namespaces/namespaces.h"

/* glibc's <sched.h> has it since 2.37 only; Linux 5.6. */
#ifndef CLONE_NEWTIME
#define CLONE_NEWTIME 0x00000080
#endif

/* CLONE_NEW flags of the namespaces without path / with a path that has to be entered. */
uint64_t ns_new_flags(const struct spec *s);
uint64_t ns_joined_flags(const struct spec *s, const struct ns_facts *f);
/* setgroups(2) will be refused for good in a new user namespace, user_namespaces(7). */
bool ns_denies_setgroups(const struct spec *s, const struct ns_facts *f);
/* Index in /linux/namespaces, -1: absent. */
int ns_index_of(const struct spec *s, uint64_t flag);
/* "network" for CLONE_NEWNET, "unknown" for what is no namespace. Child-safe. */
const char *ns_flag_name(uint64_t flag);

/* names.c */
int ns_check_own(struct plan *p, const struct spec *s, const struct ns_facts *f, struct err *e);

/* maptool.c. Absolute path of newuidmap or newgidmap, NULL: not there. */
const char *ns_find_map_tool(struct arena *a, const char *name);
const char *const *ns_map_tool_args(struct arena *a, const struct spec_id_maps *maps);
int ns_run_map_tool(const struct op_ns_map_tool *op, pid_t pid, struct err *e);

/* idmap.c. The last step that writes a map, -1: none. */
int ns_last_map_step(const struct plan *p);
/* Is the map more than an ordinary user (ids of `f`) may write, and needs the tool? */
bool ns_needs_tool(const struct spec_id_maps *maps, uint32_t own_id, bool may_map_all);
/* Child-safe. */
int ns_write_id_maps(const struct op_ns_id_maps *op, pid_t pid, struct err *e);
int ns_become_root(const struct op_ns_become_root *op, struct err *e);

#endif
