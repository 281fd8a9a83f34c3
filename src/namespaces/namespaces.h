/* SPDX-License-Identifier: Apache-2.0 */
#ifndef TECA_NAMESPACES_H
#define TECA_NAMESPACES_H
/*
 * namespaces: which ones are made, which are joined, id maps, time offsets, names, sysctl.
 * Order of calls: ns_gather (reads only), then while compiling ns_compile_open, _clone, _maps,
 * _enter, _names, _sysctl in the order container/compile.c tells; ns_step executes one of its steps.
 * It never mounts anything and never decides about capabilities.
 */
#include "base/base.h"
#include "plan/plan.h"
#include "spec/spec.h"

/*
 * What the host is asked. An ordinary start costs one system call here, `nested`: the ids and page size
 * are in the auxiliary vector, the rest is asked only when the spec names a user namespace or a
 * namespace by path whose answer decides something, or when the runtime itself is nested.
 */
struct ns_facts {
    uint32_t euid, egid;
    bool can_sys_admin, can_setuid, can_setgid; /* effective, in the runtime's user namespace */
    bool setgroups_denied;                      /* /proc/self/setgroups says deny */
    uint64_t own;       /* CLONE_NEW flags of namespaces given by path that are the runtime's own */
    uint64_t page_size; /* bytes; one write to uid_map must be shorter */
    /* The runtime lives in a user namespace that is not the host's: as root of `podman unshare`. */
    bool nested;
    bool
        foreign_mounts; /* mount and user namespace are given by path, and do not belong together */
    bool owns_mounts;   /* nested: its mount namespace belongs to that user namespace */
    /* Absolute paths, NULL: not there. Asked for only where a map needs them. */
    const char *newuidmap, *newgidmap;
};

int ns_gather(const struct spec *s, struct arena *a, struct ns_facts *f, struct err *e);
void ns_facts_write(const struct ns_facts *f, struct json_out *j, const char *key);
int ns_facts_read(const struct json *v, struct ns_facts *f, struct err *e);

/* The names of a uts namespace given by path, which is entered for a moment. Empty: it has none. */
struct ns_names {
    char host[65], domain[65]; /* uname(2) */
};
int ns_read_names(const char *path, struct ns_names *out, struct err *e);

/* ns_facts.nested, asked once per process. */
bool ns_is_nested(void);

/* Does the user namespace of this process (0: the caller) deny setgroups(2) for good (user_namespaces(7))? */
int ns_setgroups_denied(pid_t pid, struct arena *a, bool *denied, struct err *e);

/*
 * Does init live in another user namespace than the runtime: a new one, or a joined one that is
 * not the runtime's own?
 */
bool ns_enters_user(const struct spec *s, const struct ns_facts *f);
/* Is root of that namespace possibly another user of the host than the runtime? */
bool ns_root_is_foreign(const struct spec *s, const struct ns_facts *f);

/*
 * Joins by path are opened by the runtime lane. Refuses a hostname, domainname or sysctl that would
 * be the runtime's own, because the namespace given by path is the runtime's own.
 */
int ns_compile_open(struct plan *p, const struct spec *s, const struct ns_facts *f, struct err *e);
/*
 * Does a stage clone init? Then ns_compile_stage may clone that early, for steps that it has to do
 * before it enters any namespace.
 */
bool ns_needs_stage(const struct spec *s, const struct ns_facts *f);
void ns_compile_stage(struct plan *p);
/*
 * The clone. Adds the stage lane's steps too where a join of user or pid, a join together with a
 * new user namespace, or time offsets need one; then a runtime step behind them waits until the
 * stage has cloned init. cgroup_slot: fd for CLONE_INTO_CGROUP or SLOT_NONE. late_cgroup_ns: the
 * cgroup namespace is unshared by init after the v1 join instead. Returns the slots of init's pid
 * and pidfd; flags are those of the clone of init.
 */
struct ns_clone_out {
    int pid_slot, pidfd_slot;
    uint64_t flags;
    bool stage;
};
int ns_compile_clone(struct plan *p, const struct spec *s, const struct ns_facts *f,
                     int cgroup_slot, bool late_cgroup_ns, struct ns_clone_out *out, struct err *e);
/* uid_map and gid_map by the runtime lane; nothing when there is no new user namespace. */
int ns_compile_maps(struct plan *p, const struct spec *s, const struct ns_facts *f, int pid_slot,
                    struct err *e);
/* init: joins that need no stage, then becomes 0:0 of its user namespace (after the maps). */
int ns_compile_enter(struct plan *p, const struct spec *s, const struct ns_facts *f,
                     const struct ns_clone_out *c, struct err *e);
/* init: unshare(CLONE_NEWCGROUP); called only when it was late. The caller adds the edge. */
int ns_compile_cgroup(struct plan *p, const struct spec *s, struct err *e);
int ns_compile_names(struct plan *p, const struct spec *s,
                     struct err *e); /* hostname, domainname */
/* Through the host's /proc: before the pivot, after the namespaces are entered. */
int ns_compile_sysctl(struct plan *p, const struct spec *s, struct err *e);
/*
 * Is this sysctl namespaced by a namespace of the container? 0 or -EINVAL with a sentence naming
 * the namespace needed. name in dot or slash form (sysctl.d(5)).
 */
int ns_sysctl_allowed(const struct spec *s, const char *name, struct err *e);

/*
 * For `exec`: CLONE_NEW flags of the namespaces of process `pid` that are not the caller's own, and
 * the mount namespace always: joining it leads to its root.
 */
int ns_foreign_flags(pid_t pid, uint64_t *flags, struct err *e);

/*
 * Executes one step of this room. Child-safe for every op in lanes stage and init. Sentence in e,
 * without pointer.
 */
int ns_step(const struct step *st, struct slots *slots, struct err *e);
/* The clone itself: returns pid (0 in the child). Fills out_pid, out_pidfd. Child-safe. */
pid_t ns_clone(const struct op_clone *op, struct slots *slots, struct err *e);

#endif
