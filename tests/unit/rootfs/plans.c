/* SPDX-License-Identifier: Apache-2.0 */
#include "plans.h"

struct rootfs_facts plain_facts(const struct spec *s)
{
    struct rootfs_facts f = { .root = "/bundle/rootfs",
                              .bundle = "/bundle",
                              .privileged = true,
                              .user_ns = spec_has_namespace(s, SPEC_NS_USER),
                              .no_host_rights = spec_has_namespace(s, SPEC_NS_USER),
                              .new_cgroup_ns = spec_has_namespace(s, SPEC_NS_CGROUP),
                              .sources = arena_array(unit_arena(), s->n_mounts, sizeof *f.sources),
                              .n_sources = s->n_mounts };

    for (size_t i = 0; i < s->n_mounts; i++)
        f.sources[i] = SOURCE_DIR;
    return f;
}

struct rootfs_facts hybrid_facts(const struct spec *s)
{
    static struct rootfs_cgroup cgroups[] = {
        { false, "/sys/fs/cgroup/cpu,cpuacct", "/sys/fs/cgroup/cpu,cpuacct/c" },
        { false, "/sys/fs/cgroup/memory", "/sys/fs/cgroup/memory/c" },
        { true, "/sys/fs/cgroup/unified", "/sys/fs/cgroup/unified/c" },
        { false, "/elsewhere/rdma", "/elsewhere/rdma/c" },
    };
    struct rootfs_facts f = plain_facts(s);

    f.cgroup_root = "/sys/fs/cgroup";
    f.cgroups = cgroups;
    f.n_cgroups = COUNT_OF(cgroups);
    return f;
}

int compile_all(struct plan *p, const struct spec *s, const struct rootfs_facts *f, struct err *e)
{
    int root, r;

    plan_init(p, unit_arena(), "run");
    r = rootfs_compile_open(p, s, f, &root, e);
    if (r == 0)
        r = rootfs_compile_idmaps(p, s, f, SLOT_NONE, e);
    plan_add(p, OP_CLONE, LANE_RUNTIME, "");
    if (r == 0)
        r = rootfs_compile_idmaps(p, s, f, plan_slot(p), e);
    if (r == 0)
        r = rootfs_compile_mounts(p, s, f, root, e);
    if (r == 0)
        r = rootfs_compile_devices(p, s, f, root, e);
    if (r == 0)
        r = rootfs_compile_paths(p, s, f, root, e);
    if (r < 0)
        return r;
    rootfs_compile_readonly(p, s, root);
    r = rootfs_compile_pivot(p, s, f, root, e);
    return r < 0 ? r : rootfs_compile_chdir(p, s, e);
}

struct plan *plan_of(const struct spec *s, const struct rootfs_facts *f)
{
    struct plan *p = arena_alloc(unit_arena(), sizeof *p);
    struct err e = { 0 };

    if (compile_all(p, s, f, &e) < 0)
        fail_msg("%s: %s", e.pointer, e.text);
    return p;
}

const struct op_mount *mount_at(const struct plan *p, const char *target)
{
    for (size_t i = 0; i < p->n; i++)
        if (p->steps[i].op == OP_MOUNT && str_eq(p->steps[i].mount.target, target))
            return &p->steps[i].mount;
    fail_msg("no mount at '%s'", target);
    return NULL;
}

size_t count_of(const struct plan *p, enum plan_op op)
{
    size_t n = 0;

    for (size_t i = 0; i < p->n; i++)
        n += p->steps[i].op == op;
    return n;
}
