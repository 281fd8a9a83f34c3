/* SPDX-License-Identifier: Apache-2.0 */
#ifndef TECA_ROOTFS_PLANS_H
#define TECA_ROOTFS_PLANS_H
/* Plans of this room from a patched minimal spec and pretended facts. */
#include "minimal.h"
#include "rootfs/internal.h"

/* Facts of a host without cgroups and without shared mounts, with root. */
struct rootfs_facts plain_facts(const struct spec *s);
/* The same with a v1 "cpu,cpuacct" and a v2 hierarchy below /sys/fs/cgroup. */
struct rootfs_facts hybrid_facts(const struct spec *s);
/* Every compile function of the room, in order. Returns its result. */
int compile_all(struct plan *p, const struct spec *s, const struct rootfs_facts *f, struct err *e);
/* The same, and a failed test when it fails. */
struct plan *plan_of(const struct spec *s, const struct rootfs_facts *f);
/* The MOUNT step at a target, a failed test when there is none. */
const struct op_mount *mount_at(const struct plan *p, const char *target);
/* Steps with this operation. */
size_t count_of(const struct plan *p, enum plan_op op);

#endif
