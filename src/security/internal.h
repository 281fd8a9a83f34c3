/* SPDX-License-Identifier: Apache-2.0 */
#ifndef TECA_SECURITY_INTERNAL_H
#define TECA_SECURITY_INTERNAL_H
/* What the files of security/ share among themselves. */
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
uint64_t seccomp_load_flags(const struct spec_seccomp *profile);
/* A memfd with the program as struct sock_filter[], or -errno. Not child-safe. */
int seccomp_compile(const struct spec_seccomp *profile, struct err *e);

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
int step_exec_label(const struct step *st, struct slots *slots, struct err *e);

#endif
