/* SPDX-License-Identifier: Apache-2.0 */
#ifndef TECA_SECURITY_INTERNAL_H
#define TECA_SECURITY_INTERNAL_H
/* What the files of security/ share among themselves. */
#include <linux/filter.h>

#include "security/security.h"

/* glibc's prlimit takes an enum, musl's an int; both call their constants alike. */
#define SEC_RESOURCE(number) ((__typeof__(RLIMIT_NOFILE))(number))

/* Masks of capabilities 0 .. last. */
static inline uint64_t cap_mask(int last)
{
    return last >= 63 ? UINT64_MAX : (UINT64_C(1) << (last + 1)) - 1;
}
static inline bool cap_has(uint64_t set, int number)
{
    return set >> number & 1;
}

/* seccomp.c */
/* Flags of seccomp(2) for the load. */
bool seccomp_notifies(const struct spec_seccomp *profile);
uint64_t seccomp_load_flags(const struct spec_seccomp *profile);
/* A memfd with the program as struct sock_filter[], or -errno. Not child-safe. */
int seccomp_compile(const struct spec_seccomp *profile, struct err *e);
enum { SECCOMP_MAX_INSTRUCTIONS = 4096 }; /* BPF_MAXINSNS of Linux */

/* seccomp_cache.c */
/*
 * Compiles, or finds in the cache (cache_dir NULL: there is none), and gives the number of
 * instructions. They stay where seccomp_program_code() says until the next call, also in a child
 * that is cloned meanwhile. Not child-safe.
 */
int seccomp_program(const struct spec_seccomp *profile, const char *cache_dir, struct err *e);
const struct sock_filter *seccomp_program_code(void); /* child-safe */

/* landlock.c */
/* The ABI of this kernel, 0: none, or the config does not ask. */
int landlock_abi(const struct spec *s);
/* init, after the pivot and while it may open everything: the ruleset and its rules. */
int landlock_compile(struct plan *p, const struct spec *s, const struct sec_facts *f,
                     struct err *e);
/* The enforcement, when there is a ruleset: no mount(2), and no path beyond the policy, from then on. */
void landlock_compile_restrict(struct plan *p);
/* Child-safe. */
int landlock_step_ruleset(const struct step *st, struct slots *slots, struct err *e);
int landlock_step_path(const struct step *st, struct slots *slots, struct err *e);
int landlock_step_port(const struct step *st, struct slots *slots, struct err *e);
int landlock_step_restrict(const struct step *st, struct slots *slots, struct err *e);

/* scheduler.c */
void sec_compile_scheduler(struct plan *p, const struct spec *s, const struct sec_place *place);
void sec_compile_io_priority(struct plan *p, const struct spec *s, const struct sec_place *place);
/* Has whoever called the runtime kept CPUs from it? cpuset: list of the parent cgroup, or NULL. */
bool sec_affinity_is_narrow(const struct sec_facts *f, const char *cpuset);
/* mempolicy.c */
int sec_compile_memory_policy(struct plan *p, const struct spec *s, struct err *e);
void sec_compile_personality(struct plan *p, const struct spec *s);
/* "0-3,7" into a mask of 1024 bits. */
bool sec_parse_nodes(const char *list, unsigned long *mask);
/* label.c */
void sec_gather_labels(const struct spec *s, struct sec_facts *f);

/* Steps. Child-safe. */
int step_scheduler(const struct step *st, struct slots *slots, struct err *e);
int step_io_priority(const struct step *st, struct slots *slots, struct err *e);
int step_affinity(const struct step *st, struct slots *slots, struct err *e);
int step_memory_policy(const struct step *st, struct slots *slots, struct err *e);
int step_personality(const struct step *st, struct slots *slots, struct err *e);
int step_keyring(const struct step *st, struct slots *slots, struct err *e);
int step_exec_label(const struct step *st, struct slots *slots, struct err *e);

#endif
