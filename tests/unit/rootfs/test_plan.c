/* SPDX-License-Identifier: Apache-2.0 */
/* What the room plans for which spec and host, and its own laws of order. */
#include "plans.h"

static int release(void **state)
{
    (void)state;
    arena_release(unit_arena());
    return 0;
}

/* What `runc spec` writes, as far as this room is concerned. */
static const char ordinary[] =
    "{'root': {'readonly': true}, 'mounts': ["
    "{'destination': '/proc', 'type': 'proc', 'source': 'proc'},"
    "{'destination': '/dev', 'type': 'tmpfs', 'source': 'tmpfs', 'options': ['nosuid',"
    " 'strictatime', 'mode=755', 'size=65536k']},"
    "{'destination': '/dev/pts', 'type': 'devpts', 'source': 'devpts', 'options': ['nosuid',"
    " 'noexec', 'newinstance', 'ptmxmode=0666', 'mode=0620', 'gid=5']},"
    "{'destination': '/dev/shm', 'type': 'tmpfs', 'source': 'shm', 'options': ['nosuid', 'noexec',"
    " 'nodev', 'mode=1777', 'size=65536k']},"
    "{'destination': '/dev/mqueue', 'type': 'mqueue', 'source': 'mqueue', 'options': ['nosuid',"
    " 'noexec', 'nodev']},"
    "{'destination': '/sys', 'type': 'sysfs', 'source': 'sysfs', 'options': ['nosuid', 'noexec',"
    " 'nodev', 'ro']},"
    "{'destination': '/sys/fs/cgroup', 'type': 'cgroup', 'source': 'cgroup', 'options': ['nosuid',"
    " 'noexec', 'nodev', 'relatime', 'ro']}],"
    " 'linux': {'maskedPaths': ['/proc/acpi', '/proc/kcore', '/proc/keys', '/sys/firmware',"
    " '/sys/devices/virtual/powercap'],"
    " 'readonlyPaths': ['/proc/bus', '/proc/fs', '/proc/irq', '/proc/sys',"
    " '/proc/sysrq-trigger']}}";

static void an_ordinary_bundle_resolves_three_targets_and_no_more(void **state)
{
    struct spec *s = minimal_spec(unit_arena(), ordinary);
    struct rootfs_facts f = hybrid_facts(s);
    const struct plan *p = plan_of(s, &f);
    size_t resolved = 0;

    (void)state;
    for (size_t i = 0; i < p->n; i++)
        resolved += p->steps[i].op == OP_MOUNT && !p->steps[i].mount.below;
    assert_int_equal(resolved, 3); /* /proc, /dev, /sys */
    assert_string_equal(mount_at(p, "/dev/pts")->below, "pts");
    assert_int_equal(mount_at(p, "/dev/pts")->root, mount_at(p, "/dev")->out);
    assert_int_equal(count_of(p, OP_DIRECTORY), 0);
    assert_int_equal(count_of(p, OP_ROOT_PROPAGATION), 0);
    assert_true(mount_at(p, "/proc")->strict && mount_at(p, "/sys")->strict);
}

/* Steps of read-only paths from `first` on that take the flag of the mount they lie on. */
static int count_inheriting(const struct plan *p, int first)
{
    int n = 0;

    while (p->steps[first + n].op == OP_READONLY && p->steps[first + n].readonly.inherits)
        n++;
    return n;
}

static void read_only_paths_of_proc_cost_one_call_each_and_one_for_all(void **state)
{
    struct spec *s = minimal_spec(unit_arena(), ordinary);
    struct rootfs_facts f = plain_facts(s);
    const struct plan *p;
    const struct op_mount *writable;
    int first;

    (void)state;
    s->n_mounts--; /* no cgroups here */
    p = plan_of(s, &f);
    first = plan_find(p, OP_READONLY, 0);
    assert_int_equal(mount_at(p, "/proc")->flags, MS_RDONLY);
    assert_int_equal(count_inheriting(p, first), 5);
    assert_int_equal(p->steps[first + 5].op, OP_MOUNT);
    writable = &p->steps[first + 5].mount;
    assert_int_equal(writable->flags, MS_REMOUNT);
    assert_int_equal(writable->root, mount_at(p, "/proc")->out);
    assert_string_equal(writable->below, ".");
    assert_int_equal(count_of(p, OP_MOUNT_ATTR), 0);
}

static void a_read_only_proc_stays_so(void **state)
{
    struct spec *s = minimal_spec(
        unit_arena(), "{'mounts': [{'destination': '/proc', 'type': 'proc', 'source': 'proc',"
                      " 'options': ['ro', 'nosuid']}],"
                      " 'linux': {'readonlyPaths': ['/proc/sys', '/proc/bus']}}");
    struct rootfs_facts f = plain_facts(s);
    const struct plan *p = plan_of(s, &f);

    (void)state;
    assert_int_equal(count_of(p, OP_MOUNT), 1);
    assert_int_equal(count_inheriting(p, plan_find(p, OP_READONLY, 0)), 2);
    assert_int_equal(count_of(p, OP_MOUNT_ATTR), 0);
}

static void read_only_paths_elsewhere_switch_the_mount_for_the_time(void **state)
{
    static const char *const mounts[] = {
        "{'destination': '/proc', 'type': 'tmpfs', 'source': 't'}",
        /* Whoever mounts on a name that proc does not have shall hear that it does not. */
        "{'destination': '/proc', 'type': 'proc', 'source': 'proc'},"
        "{'destination': '/proc/none', 'type': 'tmpfs', 'source': 't'}",
        "{'destination': '/proc', 'type': 'proc', 'source': 'proc'},"
        "{'destination': '/proc/a/b', 'type': 'tmpfs', 'source': 't'}",
    };

    (void)state;
    for (size_t i = 0; i < COUNT_OF(mounts); i++) {
        struct spec *s = minimal_spec(
            unit_arena(),
            arena_format(unit_arena(),
                         "{'mounts': [%s], 'linux': {'readonlyPaths': ['/proc/sys', '/proc/fs']}}",
                         mounts[i]));
        struct rootfs_facts f = plain_facts(s);
        const struct plan *p = plan_of(s, &f);
        int on = plan_find(p, OP_MOUNT_ATTR, 0);

        unit_row(mounts[i], !(mount_at(p, "/proc")->flags & MS_RDONLY));
        unit_row(mounts[i], on >= 0 && p->steps[on].mount_attr.set == MOUNT_ATTR_RDONLY);
        unit_row(mounts[i], count_inheriting(p, on + 1) == 2);
        unit_row(mounts[i], p->steps[on + 3].op == OP_MOUNT_ATTR);
        unit_row(mounts[i], p->steps[on + 3].mount_attr.clear == MOUNT_ATTR_RDONLY);
        unit_row(mounts[i], p->steps[on].mount_attr.root == mount_at(p, "/proc")->out);
    }
}

static void one_read_only_path_or_one_after_a_remount_is_made_so_alone(void **state)
{
    static const char *const patches[] = {
        "{'mounts': [{'destination': '/proc', 'type': 'proc', 'source': 'proc'}],"
        " 'linux': {'readonlyPaths': ['/proc/sys']}}",
        /* "ro" must not be taken from it again, "rw" not be taken for read-only. */
        "{'mounts': [{'destination': '/proc', 'type': 'proc', 'source': 'proc'},"
        " {'destination': '/proc', 'type': 'proc', 'source': 'proc', 'options': ['remount', 'ro']}],"
        " 'linux': {'readonlyPaths': ['/proc/sys', '/proc/bus', '/proc/fs']}}",
    };

    (void)state;
    for (size_t i = 0; i < COUNT_OF(patches); i++) {
        struct spec *s = minimal_spec(unit_arena(), patches[i]);
        struct rootfs_facts f = plain_facts(s);
        const struct plan *p = plan_of(s, &f);

        unit_row(patches[i], count_of(p, OP_MOUNT_ATTR) == 0);
        unit_row(patches[i], count_of(p, OP_MOUNT) == s->n_mounts);
        unit_row(patches[i], count_of(p, OP_READONLY) == s->linux.readonly_paths.n);
        unit_row(patches[i], count_inheriting(p, plan_find(p, OP_READONLY, 0)) == 0);
    }
}

static void names_that_no_supported_kernel_has_are_not_masked(void **state)
{
    static const struct {
        const char *mount;
        size_t masks;
    } rows[] = {
        { "'type': 'proc', 'source': 'proc'", 2 },
        { "'type': 'tmpfs', 'source': 't'", 4 }, /* there it may be anything */
        { "'source': '/proc', 'options': ['rbind']", 4 },
    };

    (void)state;
    for (size_t i = 0; i < COUNT_OF(rows); i++) {
        struct spec *s = minimal_spec(
            unit_arena(),
            arena_format(unit_arena(),
                         "{'mounts': [{'destination': '/proc', %s}], 'linux': {'maskedPaths': ["
                         "'/proc/timer_stats', '/proc/sched_debug', '/proc/timer_list',"
                         " '/sched_debug']}}",
                         rows[i].mount));
        struct rootfs_facts f = plain_facts(s);

        unit_row(rows[i].mount, count_of(plan_of(s, &f), OP_MASK) == rows[i].masks);
    }
}

static void masks_take_the_containers_own_null_and_guess_directories(void **state)
{
    struct spec *s = minimal_spec(unit_arena(), ordinary);
    struct rootfs_facts f = hybrid_facts(s);
    const struct plan *p = plan_of(s, &f);
    int i = plan_find(p, OP_MASK, 0);

    (void)state;
    assert_true(p->steps[i].mask.directory);      /* acpi */
    assert_false(p->steps[i + 1].mask.directory); /* kcore */
    assert_int_equal(p->steps[i].mask.null, mount_at(p, "/dev")->out);
    assert_string_equal(p->steps[i].mask.below, "acpi");
    /* Several names deep: resolved in the root. */
    assert_null(p->steps[i + 4].mask.below);
    assert_int_equal(p->steps[i + 4].mask.root, p->steps[plan_find(p, OP_PIVOT, 0)].pivot.root);
}

static void an_image_of_its_own_dev_is_no_source_for_masks(void **state)
{
    struct spec *s = minimal_spec(unit_arena(), "{'linux': {'maskedPaths': ['/etc/shadow']}}");
    struct rootfs_facts f = plain_facts(s);
    const struct plan *p = plan_of(s, &f);

    (void)state;
    assert_int_equal(p->steps[plan_find(p, OP_MASK, 0)].mask.null, SLOT_NONE);
    assert_int_equal(count_of(p, OP_DIRECTORY), 1); /* /dev, once for all devices */
    assert_int_equal(count_of(p, OP_DEVICE), 6);
    assert_int_equal(count_of(p, OP_SYMLINK), 1); /* no proc, so only ptmx */
}

static void order_is_mounts_devices_paths_cgroups_root_pivot(void **state)
{
    struct spec *s = minimal_spec(unit_arena(), ordinary);
    struct rootfs_facts f = hybrid_facts(s);
    const struct plan *p = plan_of(s, &f);
    int attach = plan_find(p, OP_ROOT_ATTACH, 0), first = plan_find(p, OP_MOUNT, 0);
    int device = plan_find(p, OP_DEVICE, 0), mask = plan_find(p, OP_MASK, 0);
    int readonly = plan_find(p, OP_ROOT_READONLY, 0), pivot = plan_find(p, OP_PIVOT, 0);
    int cgroup = plan_find(p, OP_MOUNT, (size_t)mask);

    (void)state;
    assert_true(plan_find(p, OP_UMASK, 0) < attach);
    assert_true(attach < first && first < device && device < mask);
    /* The cgroups come late, for the runtime lane makes them meanwhile. */
    assert_true(mask < cgroup && cgroup < readonly && readonly < pivot);
}

static void a_cgroup_mount_keeps_its_place_when_something_depends_on_it(void **state)
{
    static const char *const later[] = {
        "{'destination': '/sys/fs/cgroup/extra', 'type': 'tmpfs', 'source': 'tmpfs'}",
        "{'destination': '/sys', 'type': 'tmpfs', 'source': 'tmpfs'}",
        "{'destination': '/', 'type': 'tmpfs', 'source': 'tmpfs'}",
    };

    (void)state;
    for (size_t i = 0; i < COUNT_OF(later); i++) {
        const char *patch = arena_format(
            unit_arena(),
            "{'mounts': [{'destination': '/sys/fs/cgroup', 'type': 'cgroup', 'source': 'c'}, %s]}",
            later[i]);
        struct spec *s = minimal_spec(unit_arena(), patch);
        struct rootfs_facts f = hybrid_facts(s);
        const struct plan *p = plan_of(s, &f);

        unit_row(later[i],
                 str_eq(p->steps[plan_find(p, OP_MOUNT, 0)].mount.target, "/sys/fs/cgroup"));
    }
}

static void v1_cgroups_are_binds_of_the_containers_own_on_the_hosts_tmpfs(void **state)
{
    struct spec *s = minimal_spec(unit_arena(), ordinary);
    struct rootfs_facts f = hybrid_facts(s);
    const struct plan *p = plan_of(s, &f);
    const struct op_mount *top = mount_at(p, "/sys/fs/cgroup");
    const struct op_mount *own = mount_at(p, "/sys/fs/cgroup/cpu,cpuacct");
    const struct op_mount_attr *attr;
    int i = 0;

    (void)state;
    assert_int_equal(top->flags, MS_BIND); /* not what the host mounts on it */
    assert_string_equal(top->source, "/sys/fs/cgroup");
    assert_string_equal(top->below, "fs/cgroup");
    assert_string_equal(own->source, "/sys/fs/cgroup/cpu,cpuacct/c");
    assert_string_equal(own->below, "fs/cgroup/cpu,cpuacct");
    assert_false(own->make);
    assert_string_equal(mount_at(p, "/sys/fs/cgroup/unified")->source, "/sys/fs/cgroup/unified/c");
    /* The one elsewhere is not shown; the last is /proc again, writable. */
    assert_int_equal(count_of(p, OP_MOUNT), 6 + 1 + 3 + 1);
    while (p->steps[i].op != OP_MOUNT_ATTR || !p->steps[i].mount_attr.recursive)
        i++;
    attr = &p->steps[i].mount_attr;
    assert_int_equal(attr->set,
                     MOUNT_ATTR_RDONLY | MOUNT_ATTR_NOSUID | MOUNT_ATTR_NODEV | MOUNT_ATTR_NOEXEC);
    assert_string_equal(attr->below, "fs/cgroup");
}

static void the_hosts_cgroup_tmpfs_is_never_writable(void **state)
{
    struct spec *s = minimal_spec(
        unit_arena(),
        "{'mounts': [{'destination': '/cg', 'type': 'cgroup', 'source': 'c', 'options': ['rw']}]}");
    struct rootfs_facts f = hybrid_facts(s);
    const struct plan *p = plan_of(s, &f);
    int i = plan_find(p, OP_MOUNT_ATTR, 0);

    (void)state;
    assert_int_equal(p->steps[i].mount_attr.set, MOUNT_ATTR_RDONLY);
    assert_false(p->steps[i].mount_attr.recursive);
    assert_int_equal(p->steps[i].mount_attr.root, mount_at(p, "/cg")->out);
}

static void in_a_user_namespace_the_cgroups_lie_on_a_tmpfs_of_their_own(void **state)
{
    struct spec *s = minimal_spec(
        unit_arena(),
        "{'mounts': [{'destination': '/cg', 'type': 'cgroup', 'source': 'c', 'options': ['ro']}],"
        " 'linux': {'namespaces': [{'type': 'mount'}, {'type': 'user'}]}}");
    struct rootfs_facts f = hybrid_facts(s);
    const struct plan *p = plan_of(s, &f);
    const struct op_mount *own = mount_at(p, "/cg/cpu,cpuacct");
    const struct op_symlink *alias;

    (void)state;
    assert_string_equal(mount_at(p, "/cg")->type, "tmpfs");
    assert_true(own->make);
    assert_int_equal(own->root, mount_at(p, "/cg")->out);
    alias = &p->steps[plan_find(p, OP_SYMLINK, (size_t)plan_find(p, OP_MOUNT, 0))].symlink;
    for (int i = 0; i < (int)p->n; i++)
        if (p->steps[i].op == OP_SYMLINK && str_eq(p->steps[i].symlink.path, "/cg/cpuacct"))
            alias = &p->steps[i].symlink;
    assert_string_equal(alias->target, "cpu,cpuacct");
}

static void a_v2_host_gives_cgroup2_or_a_bind(void **state)
{
    static struct rootfs_cgroup own = { true, "/sys/fs/cgroup", "/sys/fs/cgroup/c" };
    struct spec *s = minimal_spec(unit_arena(), ordinary);
    struct rootfs_facts f = plain_facts(s);
    const struct op_mount *op;

    (void)state;
    f.cgroup_root = "/sys/fs/cgroup";
    f.cgroup_unified = true;
    f.cgroups = &own;
    f.n_cgroups = 1;
    op = mount_at(plan_of(s, &f), "/sys/fs/cgroup");
    assert_int_equal(op->flags, MS_BIND);
    assert_string_equal(op->source, "/sys/fs/cgroup/c");
    assert_true(op->set & MOUNT_ATTR_RDONLY);
    f.new_cgroup_ns = true;
    op = mount_at(plan_of(s, &f), "/sys/fs/cgroup");
    assert_string_equal(op->type, "cgroup2");
    assert_true(op->flags & MS_RDONLY);
    assert_null(op->or_bind);
}

static void without_a_cgroup_of_its_own_the_hosts_is_shown_read_only(void **state)
{
    struct spec *s = minimal_spec(unit_arena(), ordinary);
    struct rootfs_facts f = hybrid_facts(s);
    const struct op_mount *op;
    struct plan p;
    struct err e = { 0 };

    (void)state;
    f.n_cgroups = 0;
    op = mount_at(plan_of(s, &f), "/sys/fs/cgroup");
    assert_int_equal(op->flags, MS_BIND | MS_REC);
    assert_true(op->rec_set & MOUNT_ATTR_RDONLY);
    f.cgroup_root = NULL;
    assert_int_equal(compile_all(&p, s, &f, &e), -ENODEV);
    assert_string_equal(e.pointer, "/mounts/6");
}

static void a_user_namespace_binds_devices_and_gets_its_sources_opened(void **state)
{
    struct spec *s = minimal_spec(
        unit_arena(),
        "{'mounts': [{'destination': '/a', 'source': '/src', 'options': ['rbind', 'ro']},"
        " {'destination': '/b', 'type': 'tmpfs', 'source': 't'},"
        " {'destination': '/c', 'source': 'rel', 'options': ['bind']}],"
        " 'linux': {'namespaces': [{'type': 'mount'}, {'type': 'user'}]}}");
    struct rootfs_facts f = plain_facts(s);
    const struct plan *p = plan_of(s, &f);
    int open = plan_find(p, OP_ROOT_OPEN, 1);

    (void)state;
    assert_int_equal(count_of(p, OP_ROOT_OPEN), 3);
    assert_true(p->steps[open].root_open.recursive);
    assert_int_equal(p->steps[open].root_open.out, mount_at(p, "/a")->tree);
    assert_false(p->steps[open + 1].root_open.recursive);
    assert_string_equal(p->steps[open + 1].root_open.path, "/bundle/rel");
    assert_int_equal(p->steps[open + 1].root_open.out, mount_at(p, "/c")->tree);
    assert_int_equal(mount_at(p, "/b")->tree, SLOT_NONE);
    assert_true(p->steps[plan_find(p, OP_DEVICE, 0)].device.bind);
    /* Without root nothing can be opened for init: it does it all itself. */
    f.privileged = false;
    p = plan_of(s, &f);
    assert_int_equal(count_of(p, OP_ROOT_OPEN), 0);
    assert_string_equal(p->steps[plan_find(p, OP_ROOT_ATTACH, 0)].root_attach.path,
                        "/bundle/rootfs");
    assert_string_equal(mount_at(p, "/a")->source, "/src");
}

static void a_user_namespace_may_mount_what_it_owns_and_binds_the_rest(void **state)
{
    static const char mounts[] =
        "'mounts': [{'destination': '/proc', 'type': 'proc', 'source': 'proc'},"
        " {'destination': '/sys', 'type': 'sysfs', 'source': 'sysfs', 'options': ['ro']}]";
    struct spec *own = minimal_spec(
        unit_arena(),
        arena_format(unit_arena(),
                     "{%s, 'linux': {'namespaces': [{'type': 'mount'}, {'type': 'user'},"
                     " {'type': 'pid'}, {'type': 'network'}]}}",
                     mounts));
    struct spec *host = minimal_spec(
        unit_arena(),
        arena_format(unit_arena(),
                     "{%s, 'linux': {'namespaces': [{'type': 'mount'}, {'type': 'user'}]}}",
                     mounts));
    struct rootfs_facts f = plain_facts(own);
    const struct plan *p = plan_of(own, &f);

    (void)state;
    assert_string_equal(mount_at(p, "/sys")->type, "sysfs");
    assert_string_equal(mount_at(p, "/sys")->or_bind, "/sys");
    assert_null(mount_at(p, "/proc")->or_bind); /* never the host's processes instead */
    p = plan_of(host, &f);
    assert_string_equal(mount_at(p, "/sys")->source, "/sys");
    assert_int_equal(mount_at(p, "/sys")->flags, MS_BIND | MS_REC);
    assert_int_equal(mount_at(p, "/sys")->rec_set, MOUNT_ATTR_RDONLY);
    assert_string_equal(mount_at(p, "/proc")->source, "/proc");
}

/* Its owner may be the user namespace that is joined as well, or somebody else. */
static void what_a_joined_namespace_owns_is_tried_first(void **state)
{
    static const struct {
        const char *type, *host, *ns;
    } rows[] = {
        { "proc", "/proc", "pid" },
        { "mqueue", "/dev/mqueue", "ipc" },
        { "sysfs", "/sys", "network" },
    };

    (void)state;
    for (size_t i = 0; i < COUNT_OF(rows); i++) {
        struct spec *s = minimal_spec(
            unit_arena(),
            arena_format(unit_arena(),
                         "{'mounts': [{'destination': '/m', 'type': '%s', 'source': 's'}],"
                         " 'linux': {'namespaces': [{'type': 'mount'},"
                         " {'type': 'user', 'path': '/u'}, {'type': '%s', 'path': '/n'}]}}",
                         rows[i].type, rows[i].ns));
        struct rootfs_facts f = plain_facts(s);
        const struct op_mount *op = mount_at(plan_of(s, &f), "/m");

        unit_row(rows[i].type, str_eq(op->type, rows[i].type));
        unit_row(rows[i].type, str_eq(op->or_bind, rows[i].host));
        f.user_ns = f.no_host_rights = false; /* root of the host may mount them all */
        unit_row(rows[i].type, !mount_at(plan_of(s, &f), "/m")->or_bind);
    }
}

/* The runtime itself lives in a user namespace, and the configuration asks for none. */
static void without_rights_of_the_host_devices_are_bound_and_instances_tried(void **state)
{
    struct spec *s = minimal_spec(
        unit_arena(), "{'mounts': [{'destination': '/dev', 'type': 'tmpfs', 'source': 't'},"
                      " {'destination': '/sys', 'type': 'sysfs', 'source': 's'},"
                      " {'destination': '/proc', 'type': 'proc', 'source': 'p'}],"
                      " 'linux': {'namespaces': [{'type': 'mount'}, {'type': 'network'}]}}");
    struct rootfs_facts f = plain_facts(s);
    struct plan *p = plan_of(s, &f);

    (void)state;
    assert_false(p->steps[plan_find(p, OP_DEVICE, 0)].device.bind);
    assert_null(mount_at(p, "/sys")->or_bind);
    f.no_host_rights = true;
    p = plan_of(s, &f);
    assert_true(p->steps[plan_find(p, OP_DEVICE, 0)].device.bind);
    assert_string_equal(mount_at(p, "/sys")->or_bind, "/sys");
    assert_string_equal(mount_at(p, "/proc")->source, "/proc"); /* no pid namespace of its own */
    assert_true(mount_at(p, "/proc")->flags & MS_BIND);
}

/* Its root is another user of the host, who may not reach what the user can. */
static void an_ordinary_users_init_opens_files_before_it_is_somebody_else(void **state)
{
    struct spec *s = minimal_spec(
        unit_arena(), "{'mounts': [{'destination': '/m', 'source': '/s', 'options': ['bind']}],"
                      " 'linux': {'namespaces': [{'type': 'mount'}, {'type': 'user'}]}}");
    struct rootfs_facts f = plain_facts(s);
    struct err e = { 0 };
    struct plan p;
    int root;

    (void)state;
    f.privileged = false;
    plan_init(&p, unit_arena(), "run");
    assert_int_equal(rootfs_compile_open(&p, s, &f, &root, &e), 0);
    assert_int_equal(rootfs_compile_open_inside(&p, s, &f, root, &e), 0);
    assert_int_equal(p.n, 0);
    f.opens_inside = true;
    assert_int_equal(rootfs_compile_open(&p, s, &f, &root, &e), 0);
    assert_int_equal(p.n, 0);
    assert_int_equal(rootfs_compile_open_inside(&p, s, &f, root, &e), 0);
    assert_int_equal(rootfs_compile_mounts(&p, s, &f, root, &e), 0);
    assert_int_equal(count_of(&p, OP_ROOT_OPEN), 2);
    assert_int_equal(p.steps[0].lane, LANE_INIT);
    assert_int_equal(p.steps[0].root_open.out, root);
    assert_string_equal(p.steps[1].root_open.path, "/s");
    assert_int_equal(mount_at(&p, "/m")->tree, p.steps[1].root_open.out);
    assert_string_equal(p.steps[plan_find(&p, OP_ROOT_ATTACH, 0)].root_attach.at, "/");
}

static void propagation_is_cut_only_where_something_is_shared(void **state)
{
    static const struct {
        const char *name, *propagation;
        bool shared;
        uint64_t flags; /* of the step that cuts, 0: none */
        const char *at; /* where the root goes */
        uint64_t final; /* after the pivot */
        bool old_shared;
    } rows[] = {
        { "nothing shared", NULL, false, 0, "/", 0, false },
        { "shared, unset", NULL, true, MS_SLAVE | MS_REC, "/", 0, false },
        { "shared, rprivate", "rprivate", true, MS_PRIVATE | MS_REC, "/", 0, false },
        { "not shared, slave", "rslave", false, 0, "/", 0, false },
        { "shared, slave", "slave", true, MS_SLAVE | MS_REC, "/", 0, false },
        { "shared, rslave", "rslave", true, MS_SLAVE | MS_REC, "/", 0, false },
        { "shared, rshared", "rshared", true, MS_PRIVATE, "/proc/driver", MS_SHARED | MS_REC,
          true },
        { "not shared, shared wanted", "shared", false, 0, "/", MS_SHARED, false },
        { "unbindable", "unbindable", true, MS_SLAVE | MS_REC, "/", MS_UNBINDABLE, false },
    };

    (void)state;
    for (size_t i = 0; i < COUNT_OF(rows); i++) {
        struct spec *s = minimal_spec(unit_arena(), NULL);
        struct rootfs_facts f = plain_facts(s);
        const struct plan *p;
        uint64_t opened = MS_REC;
        int cut, pivot;

        s->linux.rootfs_propagation = rows[i].propagation;
        f.host_shared = rows[i].shared;
        p = plan_of(s, &f);
        cut = plan_find(p, OP_ROOT_PROPAGATION, 0);
        pivot = plan_find(p, OP_PIVOT, 0);
        unit_row(rows[i].name, (cut >= 0) == (rows[i].flags != 0));
        unit_row(rows[i].name, cut < 0 || p->steps[cut].root_propagation.flags == rows[i].flags);
        unit_row(rows[i].name,
                 str_eq(p->steps[plan_find(p, OP_ROOT_ATTACH, 0)].root_attach.at, rows[i].at));
        unit_row(rows[i].name, p->steps[pivot].pivot.propagation == rows[i].final);
        unit_row(rows[i].name, p->steps[pivot].pivot.old_shared == rows[i].old_shared);
        unit_row(rows[i].name, p->steps[pivot].pivot.covered == rows[i].shared);
        /* A clone of a shared mount is a peer of the host's; only a slave still has a master. */
        opened |= rows[i].propagation && strstr(rows[i].propagation, "slave") ? MS_SLAVE
                                                                              : MS_PRIVATE;
        unit_row(rows[i].name, p->steps[0].root_open.propagation == (rows[i].shared ? opened : 0));
    }
}

static void the_pivot_looks_for_other_mounts_where_there_may_be_some(void **state)
{
    static const struct {
        const char *name, *patch;
        bool root_covered, privileged, covered;
    } rows[] = {
        { "ordinary", NULL, false, true, false },
        { "the host has mounted on its root", NULL, true, true, true },
        { "so does the config",
          "{'mounts': [{'destination': '/.', 'type': 'tmpfs', 'source': 't'}]}", false, true,
          true },
        { "bound by init", NULL, false, false, true },
        { "joined", "{'linux': {'namespaces': [{'type': 'mount', 'path': '/n'}]}}", false, true,
          true },
    };

    (void)state;
    for (size_t i = 0; i < COUNT_OF(rows); i++) {
        struct spec *s = minimal_spec(unit_arena(), rows[i].patch);
        struct rootfs_facts f = plain_facts(s);
        const struct plan *p;

        f.root_covered = rows[i].root_covered;
        f.privileged = rows[i].privileged;
        p = plan_of(s, &f);
        unit_row(rows[i].name,
                 p->steps[plan_find(p, OP_PIVOT, 0)].pivot.covered == rows[i].covered);
    }
}

static void a_covered_root_is_found(void **state)
{
    static const struct {
        const char *mountinfo;
        bool covered;
    } rows[] = {
        { "27 1 254:0 / / rw - ext4 /dev/vda rw\n28 27 0:25 / /mnt ro - tmpfs t rw\n", false },
        { "27 1 254:0 / / rw - ext4 /dev/vda rw\n28 27 0:25 / / ro - tmpfs t rw", true },
        { "28 27 0:25 / /mnt rw - tmpfs t rw\n", true }, /* a root that is no mount: unknown */
        { "1 2 3 /\n / /\n", true },
    };
    struct spec *s = minimal_spec(unit_arena(), NULL);

    (void)state;
    for (size_t i = 0; i < COUNT_OF(rows); i++) {
        struct rootfs_facts f;
        struct err e = { 0 };

        assert_int_equal(rootfs_gather(s, "/b", rows[i].mountinfo, unit_arena(), &f, &e), 0);
        unit_row(rows[i].mountinfo, f.root_covered == rows[i].covered);
    }
}

static void a_root_that_init_binds_itself_is_made_private_at_the_end(void **state)
{
    struct spec *s = minimal_spec(
        unit_arena(), "{'linux': {'namespaces': [{'type': 'mount'}, {'type': 'user'}]}}");
    struct rootfs_facts f = plain_facts(s);
    const struct plan *p;

    (void)state;
    f.privileged = false;
    f.host_shared = true;
    s->linux.rootfs_propagation = "rprivate";
    p = plan_of(s, &f);
    assert_int_equal(p->steps[plan_find(p, OP_PIVOT, 0)].pivot.propagation, MS_PRIVATE | MS_REC);
    s->linux.rootfs_propagation = "rslave"; /* which a bind of a slave is */
    p = plan_of(s, &f);
    assert_int_equal(p->steps[plan_find(p, OP_PIVOT, 0)].pivot.propagation, 0);
}

static void a_bind_is_a_peer_of_the_hosts_only_when_asked_to(void **state)
{
    struct spec *s = minimal_spec(
        unit_arena(),
        "{'mounts': [{'destination': '/a', 'source': '/a', 'options': ['bind']},"
        " {'destination': '/b', 'source': '/b', 'options': ['rbind', 'rshared']},"
        " {'destination': '/c', 'source': '/c', 'options': ['rbind', 'rprivate']},"
        " {'destination': '/d', 'type': 'tmpfs', 'source': 't', 'options': ['rprivate']}],"
        " 'linux': {'rootfsPropagation': 'rshared'}}");
    struct rootfs_facts f = plain_facts(s);
    const struct plan *p;

    (void)state;
    f.host_shared = true;
    p = plan_of(s, &f);
    assert_int_equal(mount_at(p, "/a")->propagation, MS_PRIVATE | MS_REC);
    assert_int_equal(mount_at(p, "/b")->propagation, MS_SHARED | MS_REC);
    assert_int_equal(mount_at(p, "/d")->propagation, 0); /* is private anyway */
    f.host_shared = false;
    p = plan_of(s, &f);
    assert_int_equal(mount_at(p, "/a")->propagation, 0);
    assert_int_equal(mount_at(p, "/c")->propagation, 0);
}

static void the_image_has_its_say_below_anything_but_a_fresh_mount(void **state)
{
    struct spec *s = minimal_spec(
        unit_arena(),
        "{'mounts': [{'destination': '/t', 'type': 'tmpfs', 'source': 't'},"
        " {'destination': '/t/child', 'type': 'tmpfs', 'source': 't'},"
        " {'destination': '/t/a/b', 'type': 'tmpfs', 'source': 't'},"
        " {'destination': '/t/vol', 'source': '/v', 'options': ['bind']},"
        " {'destination': '/t/vol/in', 'type': 'tmpfs', 'source': 't'},"
        " {'destination': '/u', 'type': 'tmpfs', 'source': 't', 'options': ['tmpcopyup']},"
        " {'destination': '/u/in', 'type': 'tmpfs', 'source': 't'},"
        " {'destination': '/t', 'source': '/v', 'options': ['bind']},"
        " {'destination': '/t/late', 'type': 'tmpfs', 'source': 't'}]}");
    struct rootfs_facts f = plain_facts(s);
    const struct plan *p = plan_of(s, &f);

    (void)state;
    assert_string_equal(mount_at(p, "/t/child")->below, "child");
    assert_null(mount_at(p, "/t/a/b")->below);
    assert_string_equal(mount_at(p, "/t/vol")->below, "vol");
    assert_null(mount_at(p, "/t/vol/in")->below);
    assert_null(mount_at(p, "/u/in")->below);
    assert_null(mount_at(p, "/t/late")->below); /* the volume hides the tmpfs by then */
}

static void a_mount_on_the_root_is_the_root_from_then_on(void **state)
{
    struct spec *s = minimal_spec(
        unit_arena(), "{'mounts': [{'destination': '/', 'type': 'tmpfs', 'source': 't'},"
                      " {'destination': 'relative/../x', 'type': 'tmpfs', 'source': 't'}]}");
    struct rootfs_facts f = plain_facts(s);
    const struct plan *p = plan_of(s, &f);

    (void)state;
    assert_int_equal(mount_at(p, "/")->out, mount_at(p, "/")->root);
    assert_int_equal(mount_at(p, "/x")->root, mount_at(p, "/")->root);
}

static void thousands_of_mounts_keep_few_fds_open(void **state)
{
    enum { MANY = 5000 };
    struct spec *s = minimal_spec(unit_arena(), NULL);
    struct rootfs_facts f;
    const struct plan *p;
    size_t open = 0;

    (void)state;
    s->n_mounts = MANY;
    s->mounts = arena_array(unit_arena(), MANY, sizeof *s->mounts);
    for (size_t i = 0; i < MANY; i++)
        s->mounts[i] = (struct spec_mount){ .destination = arena_format(unit_arena(), "/m/%zu", i),
                                            .type = "tmpfs",
                                            .source = "t" };
    f = plain_facts(s);
    p = plan_of(s, &f);
    for (size_t i = 0; i < p->n; i++)
        open += p->steps[i].op == OP_MOUNT && !p->steps[i].mount.close_target;
    assert_int_equal(count_of(p, OP_MOUNT), MANY);
    assert_true(open <= 8);
    assert_true(p->slots < 16);
}

static void devices_of_the_config_come_beside_the_defaults(void **state)
{
    struct spec *s = minimal_spec(
        unit_arena(),
        "{'mounts': [{'destination': '/dev', 'type': 'tmpfs', 'source': 't'}],"
        " 'linux': {'devices': ["
        "{'path': '/dev/null', 'type': 'c', 'major': 1, 'minor': 3, 'fileMode': 384},"
        "{'path': '/dev/net/tun', 'type': 'u', 'major': 10, 'minor': 200, 'uid': 5, 'gid': 6},"
        "{'path': '/dev/net/fifo', 'type': 'p'},"
        "{'path': '/dev/ptmx', 'type': 'c', 'major': 5, 'minor': 2}]}}");
    struct rootfs_facts f = plain_facts(s);
    const struct plan *p = plan_of(s, &f);
    int directory = plan_find(p, OP_DIRECTORY, 0), device = plan_find(p, OP_DEVICE, 0);

    (void)state;
    assert_int_equal(count_of(p, OP_DEVICE), 5 + 3);
    assert_int_equal(count_of(p, OP_DIRECTORY), 1); /* /dev/net, once */
    assert_string_equal(p->steps[directory].directory.path, "/dev/net");
    assert_string_equal(p->steps[device].device.path, "/dev/zero");
    assert_true(p->steps[device].device.replace);
    device = plan_find(p, OP_DEVICE, (size_t)directory);
    assert_int_equal(p->steps[device].device.mode, S_IFCHR | 0666);
    assert_int_equal(p->steps[device].device.uid, 5);
    assert_int_equal(p->steps[device].device.dir, p->steps[directory].directory.out);
    assert_int_equal(p->steps[device + 1].device.mode, S_IFIFO | 0666);
    device = plan_find(p, OP_DEVICE, 0) + 5;
    assert_string_equal(p->steps[device].device.path, "/dev/null");
    assert_int_equal(p->steps[device].device.mode, S_IFCHR | 0600);
    assert_false(p->steps[device].device.replace);
}

static void the_hosts_dev_as_a_whole_gets_no_nodes_of_ours(void **state)
{
    struct spec *s = minimal_spec(
        unit_arena(),
        "{'mounts': [{'destination': '/dev/', 'source': '/dev', 'options': ['rbind']}]}");
    struct rootfs_facts f = plain_facts(s);
    const struct plan *p = plan_of(s, &f);

    (void)state;
    assert_int_equal(count_of(p, OP_DEVICE) + count_of(p, OP_SYMLINK), 0);
}

static void devices_of_the_config_must_be_in_the_hosts_dev_that_is_bound(void **state)
{
    struct spec *s = minimal_spec(
        unit_arena(),
        "{'mounts': [{'destination': '/dev', 'source': '/dev', 'options': ['rbind']}],"
        " 'linux': {'devices': ["
        "{'path': '/dev/kvm', 'type': 'c', 'major': 10, 'minor': 232},"
        "{'path': '/opt/kvm', 'type': 'c', 'major': 10, 'minor': 232}]}}");
    struct rootfs_facts f = plain_facts(s);
    const struct plan *p = plan_of(s, &f);
    int first = plan_find(p, OP_DEVICE, 0), second = plan_find(p, OP_DEVICE, (size_t)first + 1);

    (void)state;
    assert_int_equal(count_of(p, OP_DEVICE), 2);
    assert_true(p->steps[first].device.only);
    assert_false(p->steps[second].device.only);
    assert_true(p->steps[second].device.verify);
}

static void what_the_image_can_reach_is_looked_at_again(void **state)
{
    struct spec *s = minimal_spec(unit_arena(), NULL);
    struct rootfs_facts f = plain_facts(s);
    const struct plan *p = plan_of(s, &f);

    (void)state;
    assert_true(p->steps[plan_find(p, OP_DEVICE, 0)].device.verify);
    s = minimal_spec(unit_arena(), ordinary);
    f = hybrid_facts(s);
    p = plan_of(s, &f);
    assert_false(p->steps[plan_find(p, OP_DEVICE, 0)].device.verify);
}

/* Whoever else is in the mount namespace sees what is mounted and may mount on it too. */
static void in_a_joined_mount_namespace_nothing_is_the_plans_own(void **state)
{
    struct spec *s = minimal_spec(unit_arena(), ordinary);
    struct rootfs_facts f;
    const struct plan *p;

    (void)state;
    s->linux.namespaces[0].path = "/proc/1/ns/mnt";
    f = hybrid_facts(s);
    p = plan_of(s, &f);
    for (size_t i = 0; i < p->n; i++) {
        const struct step *st = &p->steps[i];

        if (st->op == OP_MOUNT && !str_starts(st->mount.target, "/sys/fs/cgroup/"))
            unit_row(st->mount.target, !st->mount.below);
        if (st->op == OP_MASK)
            unit_row(st->mask.path, !st->mask.below && st->mask.null == SLOT_NONE);
        if (st->op == OP_READONLY)
            unit_row(st->readonly.path, !st->readonly.below);
        if (st->op == OP_DEVICE)
            unit_row(st->device.path, st->device.verify);
    }
}

static void a_symlink_of_the_plan_is_no_place_to_mount_by_name(void **state)
{
    struct spec *s = minimal_spec(
        unit_arena(), "{'mounts': [{'destination': '/dev', 'type': 'tmpfs', 'source': 't'},"
                      " {'destination': '/proc', 'type': 'proc', 'source': 'proc'},"
                      " {'destination': '/dev/vol', 'source': '/l', 'options': ['bind',"
                      "  'copy-symlink']},"
                      " {'destination': '/dev/vol', 'type': 'tmpfs', 'source': 't'},"
                      " {'destination': '/dev/other', 'type': 'tmpfs', 'source': 't'}],"
                      " 'linux': {'maskedPaths': ['/dev/fd', '/dev/full']}}");
    struct rootfs_facts f = plain_facts(s);
    const char *links[] = { "/etc", NULL };
    const struct plan *p;
    int mask;

    (void)state;
    f.sources[2] = SOURCE_LINK;
    f.links = links;
    p = plan_of(s, &f);
    assert_null(mount_at(p, "/dev/vol")->below);
    assert_string_equal(mount_at(p, "/dev/other")->below, "other");
    mask = plan_find(p, OP_MASK, 0);
    assert_null(p->steps[mask].mask.below);
    mask = plan_find(p, OP_MASK, (size_t)mask + 1);
    assert_string_equal(p->steps[mask].mask.below, "full");
}

static void a_symlink_is_copied_instead_of_followed(void **state)
{
    static const char *const namespaces[] = { "", ", {'type': 'user'}" };

    (void)state;
    for (size_t i = 0; i < COUNT_OF(namespaces); i++) {
        struct spec *s = minimal_spec(
            unit_arena(),
            arena_format(unit_arena(),
                         "{'mounts': [{'destination': '/etc/one', 'source': '/l', 'options':"
                         " ['bind', 'copy-symlink', 'ro', 'idmap'], 'uidMappings':"
                         " [{'containerID': 0, 'hostID': 1, 'size': 1}], 'gidMappings':"
                         " [{'containerID': 0, 'hostID': 1, 'size': 1}]},"
                         " {'destination': '/two', 'source': '/f', 'options': ['bind',"
                         "  'copy-symlink']},"
                         " {'destination': '/three', 'source': '/m', 'options': ['rbind',"
                         "  'copy-symlink']}],"
                         " 'linux': {'namespaces': [{'type': 'mount'}%s]}}",
                         namespaces[i]));
        struct rootfs_facts f = plain_facts(s);
        const char *links[] = { "first", "../second", NULL };
        const struct plan *p;
        const struct op_symlink *op;
        int link;

        f.sources[0] = f.sources[2] = SOURCE_LINK;
        f.links = links;
        p = plan_of(s, &f);
        link = plan_find(p, OP_SYMLINK, 0);
        op = &p->steps[link].symlink;
        assert_string_equal(op->target, "first");
        assert_string_equal(op->path, "/etc/one");
        assert_true(op->exact);
        assert_int_equal(op->dir, p->steps[link - 1].directory.out);
        assert_string_equal(p->steps[link - 1].directory.path, "/etc");
        link = plan_find(p, OP_SYMLINK, (size_t)link + 1);
        assert_string_equal(p->steps[link].symlink.target, "../second");
        assert_string_equal(p->steps[link - 1].directory.path, "/");
        assert_int_equal(count_of(p, OP_MOUNT), 1);
        assert_int_equal(count_of(p, OP_MOUNT_IDMAP), 0);
        assert_int_equal(count_of(p, OP_ROOT_OPEN), 1 + i); /* the source of /two */
    }
}

static void the_working_directory_is_made_before_the_root_is_read_only(void **state)
{
    struct spec *s = minimal_spec(unit_arena(),
                                  "{'root': {'readonly': true}, 'process': {'cwd': '/work/../w'}}");
    struct rootfs_facts f = plain_facts(s);
    const struct plan *p = plan_of(s, &f);
    int readonly = plan_find(p, OP_ROOT_READONLY, 0), chdir_step = plan_find(p, OP_CHDIR, 0);

    (void)state;
    assert_string_equal(p->steps[readonly - 1].directory.path, "/w");
    assert_string_equal(p->steps[chdir_step].chdir.path, "/w");
    assert_true(chdir_step > plan_find(p, OP_PIVOT, 0));
    s = minimal_spec(unit_arena(), "{'process': {'cwd': '//.'}}");
    assert_int_equal(plan_find(plan_of(s, &f), OP_CHDIR, 0), -1); /* where the pivot ends anyway */
}

static void a_tmpfs_without_a_mode_takes_the_directorys(void **state)
{
    struct spec *s = minimal_spec(
        unit_arena(), "{'mounts': [{'destination': '/run', 'type': 'tmpfs', 'source': 't'},"
                      " {'destination': '/run/x', 'type': 'tmpfs', 'source': 't'},"
                      " {'destination': '/tmp', 'type': 'tmpfs', 'source': 't',"
                      "  'options': ['mode=1777']}]}");
    struct rootfs_facts f = plain_facts(s);
    const struct plan *p = plan_of(s, &f);

    (void)state;
    assert_true(mount_at(p, "/run")->keep_mode);
    assert_string_equal(mount_at(p, "/run/x")->data, "mode=755");
    assert_false(mount_at(p, "/tmp")->keep_mode);
}

static void faults_name_their_field(void **state)
{
    static const struct {
        const char *patch, *pointer, *text;
    } rows[] = {
        { "{'linux': {'namespaces': [{'type': 'pid'}]}}", "/linux/namespaces",
          "not supported yet" },
        { "{'mounts': [{'destination': '/a'}]}", "/mounts/0", "needs a type" },
        { "{'mounts': [{'destination': '/a', 'source': '/x', 'options': ['bind', 'idmap']}]}",
          "/mounts/0", "idmap needs mappings" },
        { "{'linux': {'devices': [{'path': '/', 'type': 'p'}]}}", "/linux/devices/0", "no path" },
    };

    (void)state;
    for (size_t i = 0; i < COUNT_OF(rows); i++) {
        struct spec *s = minimal_spec(unit_arena(), rows[i].patch);
        struct rootfs_facts f = plain_facts(s);
        struct err e = { 0 };
        struct plan p;

        unit_row(rows[i].patch, compile_all(&p, s, &f, &e) < 0);
        assert_string_equal(e.pointer, rows[i].pointer);
        unit_row(rows[i].patch, strstr(e.text, rows[i].text) != NULL);
    }
}

static void a_missing_source_is_found_before_anything_is_made(void **state)
{
    struct spec *s = minimal_spec(
        unit_arena(), "{'mounts': [{'destination': '/a', 'source': 'vol', 'options': ['bind']}]}");
    struct rootfs_facts f = plain_facts(s);
    struct err e = { 0 };
    struct plan p;

    (void)state;
    f.sources[0] = SOURCE_MISSING;
    assert_int_equal(compile_all(&p, s, &f, &e), -ENOENT);
    assert_string_equal(e.pointer, "/mounts/0/source");
    assert_string_equal(e.text, "cannot find the bind source '/bundle/vol': No such file or "
                                "directory");
}

static void facts_survive_their_json(void **state)
{
    static const char mountinfo[] = "22 27 0:21 / /proc rw,relatime - proc proc rw\n"
                                    "27 1 254:0 / / rw,relatime shared:1 - ext4 /dev/vda rw\n"
                                    "28 27 0:22 / /a\\040b\\134 rw - sysfs sysfs rw\n"
                                    "28 22 0:21 /sys /proc/sys ro - proc proc rw\n"
                                    "29 27 0:23 / /tmp rw - tmpfs proc rw\n";
    struct spec *s = minimal_spec(
        unit_arena(), "{'mounts': [{'destination': '/a', 'source': '/', 'options': ['bind']},"
                      " {'destination': '/b', 'source': '/proc/self/stat', 'options': ['bind']},"
                      " {'destination': '/c', 'source': 'no/such', 'options': ['rbind']},"
                      " {'destination': '/p', 'type': 'proc', 'source': 'proc'},"
                      " {'destination': '/l', 'source': '/proc/self', 'options': ['bind',"
                      "  'copy-symlink']},"
                      " {'destination': '/d', 'source': '/proc/self', 'options': ['bind']},"
                      " {'destination': '/m', 'source': '/proc/self/root', 'options': ['bind',"
                      "  'copy-symlink']},"
                      " {'destination': '/n', 'source': '/', 'options': ['bind',"
                      "  'copy-symlink']}]}");
    static const enum rootfs_source want[] = { SOURCE_DIR,  SOURCE_FILE, SOURCE_MISSING,
                                               SOURCE_NONE, SOURCE_LINK, SOURCE_DIR,
                                               SOURCE_LINK, SOURCE_DIR };
    struct rootfs_facts f, again;
    struct json_out *j = json_out_new(false);
    struct json *tree;
    struct err e = { 0 };
    char *text;
    size_t len;

    (void)state;
    assert_int_equal(rootfs_gather(s, "/bundle", mountinfo, unit_arena(), &f, &e), 0);
    assert_true(f.host_shared);
    assert_string_equal(f.root, "/bundle/rootfs");
    rootfs_facts_write(&f, j, NULL);
    text = arena_strdup(unit_arena(), json_out_text(j, &len));
    json_out_free(j);
    assert_int_equal(
        json_parse(unit_arena(), arena_strdup(unit_arena(), text), len, "facts", &tree, &e), 0);
    assert_int_equal(rootfs_facts_read(tree, unit_arena(), &again, &e), 0);
    assert_string_equal(again.root, f.root);
    assert_string_equal(again.bundle, f.bundle);
    assert_int_equal(again.privileged, f.privileged);
    assert_int_equal(again.host_shared, f.host_shared);
    assert_int_equal(again.root_covered, f.root_covered);
    assert_int_equal(again.n_sources, COUNT_OF(want));
    for (size_t i = 0; i < COUNT_OF(want); i++)
        assert_int_equal(again.sources[i], want[i]);
    assert_string_equal(again.links[0],
                        arena_format(unit_arena(), "%d", getpid())); /* what /proc/self says */
    assert_string_equal(again.links[1], "/");
    assert_null(again.links[2]);
    /* procfs and sysfs, the newest first, as the kernel knows their paths */
    assert_string_equal(again.kernel_mounts[0], "/a b\\");
    assert_string_equal(again.kernel_mounts[1], "/proc");
    assert_null(again.kernel_mounts[2]);
    assert_int_equal(
        rootfs_facts_read(minimal_tree(unit_arena(), "{'root': 1}"), unit_arena(), &again, &e),
        -EINVAL);
    *(strstr(text, "\"links\"") + 1) = 'L';
    assert_int_equal(json_parse(unit_arena(), text, len, "facts", &tree, &e), 0);
    assert_int_equal(rootfs_facts_read(tree, unit_arena(), &again, &e), -EINVAL);
    /* "shared" elsewhere than among the optional fields means nothing. */
    assert_int_equal(rootfs_gather(s, "/b", "27 1 254:0 / /shared: rw - ext4 shared:1 rw\n",
                                   unit_arena(), &f, &e),
                     0);
    assert_false(f.host_shared);
    /* A slave is told of the host's mounts too. */
    assert_int_equal(rootfs_gather(s, "/b", "27 1 254:0 / / rw master:1 - ext4 /dev/vda rw\n",
                                   unit_arena(), &f, &e),
                     0);
    assert_true(f.host_shared);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(an_ordinary_bundle_resolves_three_targets_and_no_more),
        cmocka_unit_test(read_only_paths_of_proc_cost_one_call_each_and_one_for_all),
        cmocka_unit_test(a_read_only_proc_stays_so),
        cmocka_unit_test(read_only_paths_elsewhere_switch_the_mount_for_the_time),
        cmocka_unit_test(one_read_only_path_or_one_after_a_remount_is_made_so_alone),
        cmocka_unit_test(names_that_no_supported_kernel_has_are_not_masked),
        cmocka_unit_test(masks_take_the_containers_own_null_and_guess_directories),
        cmocka_unit_test(an_image_of_its_own_dev_is_no_source_for_masks),
        cmocka_unit_test(order_is_mounts_devices_paths_cgroups_root_pivot),
        cmocka_unit_test(a_cgroup_mount_keeps_its_place_when_something_depends_on_it),
        cmocka_unit_test(v1_cgroups_are_binds_of_the_containers_own_on_the_hosts_tmpfs),
        cmocka_unit_test(the_hosts_cgroup_tmpfs_is_never_writable),
        cmocka_unit_test(in_a_user_namespace_the_cgroups_lie_on_a_tmpfs_of_their_own),
        cmocka_unit_test(a_v2_host_gives_cgroup2_or_a_bind),
        cmocka_unit_test(without_a_cgroup_of_its_own_the_hosts_is_shown_read_only),
        cmocka_unit_test(a_user_namespace_binds_devices_and_gets_its_sources_opened),
        cmocka_unit_test(a_user_namespace_may_mount_what_it_owns_and_binds_the_rest),
        cmocka_unit_test(what_a_joined_namespace_owns_is_tried_first),
        cmocka_unit_test(an_ordinary_users_init_opens_files_before_it_is_somebody_else),
        cmocka_unit_test(without_rights_of_the_host_devices_are_bound_and_instances_tried),
        cmocka_unit_test(propagation_is_cut_only_where_something_is_shared),
        cmocka_unit_test(the_pivot_looks_for_other_mounts_where_there_may_be_some),
        cmocka_unit_test(a_covered_root_is_found),
        cmocka_unit_test(a_root_that_init_binds_itself_is_made_private_at_the_end),
        cmocka_unit_test(a_bind_is_a_peer_of_the_hosts_only_when_asked_to),
        cmocka_unit_test(the_image_has_its_say_below_anything_but_a_fresh_mount),
        cmocka_unit_test(a_mount_on_the_root_is_the_root_from_then_on),
        cmocka_unit_test(thousands_of_mounts_keep_few_fds_open),
        cmocka_unit_test(devices_of_the_config_come_beside_the_defaults),
        cmocka_unit_test(the_hosts_dev_as_a_whole_gets_no_nodes_of_ours),
        cmocka_unit_test(devices_of_the_config_must_be_in_the_hosts_dev_that_is_bound),
        cmocka_unit_test(what_the_image_can_reach_is_looked_at_again),
        cmocka_unit_test(in_a_joined_mount_namespace_nothing_is_the_plans_own),
        cmocka_unit_test(a_symlink_of_the_plan_is_no_place_to_mount_by_name),
        cmocka_unit_test(a_symlink_is_copied_instead_of_followed),
        cmocka_unit_test(the_working_directory_is_made_before_the_root_is_read_only),
        cmocka_unit_test(a_tmpfs_without_a_mode_takes_the_directorys),
        cmocka_unit_test(faults_name_their_field),
        cmocka_unit_test(a_missing_source_is_found_before_anything_is_made),
        cmocka_unit_test(facts_survive_their_json),
    };

    return cmocka_run_group_tests(tests, NULL, release);
}
