/* SPDX-License-Identifier: Apache-2.0 */
#ifndef TECA_SECURITY_H
#define TECA_SECURITY_H
/*
 * security: what the process may do: session, signals, fds, rlimits, oom score, umask, ids,
 * capabilities, no_new_privs, seccomp. Order of calls: sec_gather, then the compile functions in
 * the order container/compile.c tells (the ordering laws of ARCHITECTURE.md are about these);
 * sec_step executes one step. It never touches files of the image.
 */
#include "base/base.h"
#include "plan/plan.h"
#include "spec/spec.h"

enum { SEC_N_LIMITS = 16 }; /* RLIM_NLIMITS of Linux */

/* From the auxiliary vector and /proc/self/status: what the runtime has, so that no call is made
 * in vain. */
struct sec_facts {
    uint32_t euid, egid;
    uint64_t cap_effective, cap_permitted, cap_inheritable, cap_bounding, cap_ambient;
    uint64_t sig_ignored, sig_blocked; /* as /proc/self/status writes them: bit n-1 is signal n */
    uint32_t umask;
    bool no_new_privs;
    uint32_t *groups; /* supplementary groups of the runtime */
    size_t n_groups;
    int last_cap;           /* highest capability of this kernel */
    const char *cpus;       /* Cpus_allowed_list of the runtime; NULL: unknown */
    bool apparmor, selinux; /* enabled? Asked only for a spec that wants labels. */
    /* With a seccomp profile: the directory of compiled filters, NULL: nowhere. */
    const char *seccomp_cache;
    bool
        setgroups_denied; /* given by container/: the runtime's user namespace denies it for good */
    int landlock_abi;     /* asked for with a Landlock policy only, 0: this kernel has none */
    /* The runtime's own limits, asked only for those of the spec and with a user namespace. */
    struct sec_limit {
        bool known;
        uint64_t soft, hard;
    } limits[SEC_N_LIMITS];
};

/* status: the text of /proc/self/status, read once by container/. */
int sec_gather(const struct spec *s, const char *status, struct arena *a, struct sec_facts *f,
               struct err *e);
void sec_facts_write(const struct sec_facts *f, struct json_out *j, const char *key);
int sec_facts_read(const struct json *v, struct arena *a, struct sec_facts *f, struct err *e);

/*
 * The five sets as the plan will apply them. user_ns: inside a new or joined user namespace all are
 * there to begin with. What the config asks for and the runtime cannot grant is left out, for the
 * spec wants a warning there and no failure (config.md "capabilities"); absent sets are empty.
 */
struct sec_caps {
    uint64_t bounding, effective, inheritable, permitted, ambient;
};
int sec_caps_of(const struct spec_process *pr, const struct sec_facts *f, bool user_ns,
                struct sec_caps *out, struct err *e);

/*
 * init, first of all: not dumpable, fds 3.. CLOEXEC, own session, signals. Call it when ns_compile_maps
 * has added its step: init must not become undumpable before an ordinary user's runtime has written the
 * maps, for /proc/PID then belongs to root (proc(5)).
 */
int sec_compile_first(struct plan *p, const struct spec *s, const struct sec_facts *f,
                      struct err *e);
/*
 * runtime lane, after the clone: oom_score_adj, and hard limits that init could not raise from
 * inside a user namespace. Init's own rlimits come with the privileges, when the work that needs
 * file descriptors is done.
 */
int sec_compile_limits(struct plan *p, const struct spec *s, const struct sec_facts *f,
                       struct err *e);
/* runtime lane, before the clone: libseccomp compiles; *slot is SLOT_NONE when no profile. */
int sec_compile_seccomp(struct plan *p, const struct spec *s, const struct sec_facts *f, int *slot,
                        struct err *e);
/*
 * init: [landlock], rlimits, umask, bounding, groups, [seccomp load], ids, capabilities, ambient, no_new_privs.
 * The load stands here when noNewPrivileges is not set: it needs CAP_SYS_ADMIN (seccomp(2)), so it
 * comes before ids and capabilities; else sec_compile_seccomp_last adds it.
 */
int sec_compile_privileges(struct plan *p, const struct spec *s, const struct sec_facts *f,
                           bool user_ns, int seccomp_slot, struct err *e);
/*
 * Before the pivot, in exec before the namespaces: the labels of process and mounts; the labels of mounts are rootfs/'s work, here
 * it is only told when the host has no SELinux for them.
 */
int sec_compile_labels(struct plan *p, const struct spec *s, const struct sec_facts *f,
                       enum plan_lane lane, struct err *e);
/* init: a session keyring of its own, as the user whose quota it shall count for; before a filter. */
void sec_compile_keyring(struct plan *p);
/*
 * Before the privileges, behind the last join of a cgroup: affinity, scheduler, I/O priority,
 * memory policy, personality.
 */
struct sec_place {
    bool user_ns;       /* init has no capability of the host: the runtime does it from outside */
    int pid_slot;       /* init */
    const char *cpuset; /* CPUs of the cgroup above the container's, NULL: unknown */
};
int sec_compile_attributes(struct plan *p, const struct spec *s, const struct sec_facts *f,
                           const struct sec_place *place, struct err *e);
/* Names of linux.memoryPolicy, NULL behind the last: for `features`. */
const char *sec_memory_policy_mode(size_t i);
const char *sec_memory_policy_flag(size_t i);
/* Does a rule ask a listener? Then the load gives init a notify fd (seccomp_load.listener). */
bool sec_seccomp_notifies(const struct spec *s);
/*
 * With noNewPrivileges: Landlock is enforced and the filter loaded last before exec, after the
 * start wait unless there is a listener.
 */
int sec_compile_seccomp_last(struct plan *p, const struct spec *s, int seccomp_slot, struct err *e);

/* The policy in the annotation org.teca.landlock, for `teca check`. */
void sec_check_landlock(const struct spec *s, struct arena *a, struct spec_faults *faults);
/*
 * process.execCPUAffinity: the lane that executes the step runs on the CPUs of the list only, and
 * so does what it clones. No step when there is no list. pointer: of the list.
 */
int sec_compile_cpu_affinity(struct plan *p, enum plan_lane lane, const char *cpus,
                             const char *pointer, struct err *e);

/*
 * The profile against this libseccomp, for `teca check`: system calls and architectures that it
 * does not know and the filter therefore leaves out, as warnings. Nothing of places where `known`
 * has an error.
 */
void sec_check_seccomp(const struct spec *s, const struct spec_faults *known, struct arena *a,
                       struct spec_faults *faults);

/*
 * Names that filters are made of, for `features`: NULL behind the last one. Architectures are those
 * that this libseccomp knows, flags those that the load passes to the kernel.
 */
enum sec_names { SEC_ACTIONS, SEC_OPERATORS, SEC_ARCHS, SEC_FLAGS };
const char *sec_seccomp_name(enum sec_names what, size_t i);

/* Executes one step. Child-safe for lane init. */
int sec_step(const struct step *st, struct slots *slots, struct err *e);

#endif
