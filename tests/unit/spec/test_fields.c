/* SPDX-License-Identifier: Apache-2.0 */
/* tests/data/spec/all-fields.json holds every property of the schema: each lands in its member. */
#include "minimal.h"
#include "spec/internal.h"

static struct arena arena;
static struct spec *spec;
static size_t warnings;

static int parse_all_fields(void **state)
{
    struct spec_faults faults;
    struct err e = { 0 };
    char *text;
    size_t len;

    (void)state;
    arena_init(&arena, NULL, 0);
    spec_faults_init(&faults);
    if (file_read(&arena, AT_FDCWD, "tests/data/spec/all-fields.json", 1 << 20, &text, &len, &e) <
            0 ||
        spec_parse(&arena, text, len, &spec, &faults, &e) < 0 ||
        spec_check(spec, &arena, &faults, &e) < 0) {
        print_error("%s: %s\n", e.pointer, e.text);
        return -1;
    }
    warnings = faults.warnings;
    return 0;
}

static int release(void **state)
{
    (void)state;
    arena_release(&arena);
    return 0;
}

/* The property in an object, or in the first of many objects that has it. */
static const struct json *find(const struct json *node, const char *key, bool many)
{
    const struct json *found = NULL;

    if (!many)
        return json_get(node, key);
    for (const struct json *c = node->child; c && !found; c = c->next)
        found = json_get(c, key);
    return found;
}

/*
 * Every row of every table is in the file, so that a new property must be added to it. many: node
 * holds the objects that the table describes.
 */
static void look_for_rows(const struct spec_table *table, const struct json *node, bool many)
{
    for (size_t i = 0; i < table->n_fields; i++) {
        const struct spec_field *f = &table->fields[i];
        const struct json *value = find(node, f->key, many);
        char pointer[ERR_POINTER_SIZE];

        if (!value) {
            fail_msg("%s/%s is not in all-fields.json",
                     json_pointer(node, pointer, sizeof(pointer)), f->key);
        }
        if (f->kind == SPEC_OBJECT)
            look_for_rows(f->table, value, false);
        else if (f->kind == SPEC_ARRAY || f->kind == SPEC_MAP)
            look_for_rows(f->table, value, true);
    }
}

static void every_property_of_the_schema_is_in_the_document(void **state)
{
    (void)state;
    look_for_rows(&spec_document_table, spec->document, false);
}

static void nothing_in_the_document_is_unknown(void **state)
{
    (void)state;
    assert_int_equal(warnings, 0);
}

static void strings_are(const struct strs *s, const char *const *wanted)
{
    size_t n = 0;

    assert_true(s->set);
    for (; wanted[n]; n++) {
        assert_true(n < s->n);
        assert_string_equal(s->v[n], wanted[n]);
    }
    assert_int_equal(s->n, n);
    assert_null(s->v[n]);
}
#define STRINGS_ARE(s, ...) strings_are(&(s), (const char *const[]){ __VA_ARGS__, NULL })

static void pair_is(const struct spec_pair *p, const char *key, const char *value)
{
    assert_string_equal(p->key, key);
    assert_string_equal(p->value, value);
}

static void map_is(const struct spec_id_map *m, uint32_t container, uint32_t host, uint32_t size)
{
    assert_int_equal(m->container_id, container);
    assert_int_equal(m->host_id, host);
    assert_int_equal(m->size, size);
}

#define OPT_IS(opt, value)               \
    do {                                 \
        assert_true((opt).set);          \
        assert_true((opt).v == (value)); \
    } while (0)

static void the_top_level_is_read(void **state)
{
    (void)state;
    assert_string_equal(spec->oci_version, "1.3.0");
    assert_true(spec->root.set);
    assert_string_equal(spec->root.path, "rootfs");
    assert_true(spec->root.readonly);
    assert_string_equal(spec->hostname, "host");
    assert_string_equal(spec->domainname, "domain");
    assert_int_equal(spec->annotations.n, 2);
    pair_is(&spec->annotations.v[0], "com.example.key", "value");
    pair_is(&spec->annotations.v[1], "empty", "");
    assert_true(spec->linux.set);
    assert_true(spec->vm.set);
}

static void the_process_is_read(void **state)
{
    const struct spec_process *p = &spec->process;

    (void)state;
    assert_true(p->set);
    assert_true(p->terminal);
    assert_true(p->console_size.set);
    assert_int_equal(p->console_size.height, 25);
    assert_int_equal(p->console_size.width, 80);
    assert_int_equal(p->user.uid, 1);
    assert_int_equal(p->user.gid, 2);
    OPT_IS(p->user.umask, 022);
    assert_int_equal(p->user.additional_gids.n, 2);
    assert_int_equal(p->user.additional_gids.v[0], 3);
    assert_int_equal(p->user.additional_gids.v[1], 4);
    assert_string_equal(p->user.username, "somebody");
    STRINGS_ARE(p->args, "sh", "-c", "");
    assert_string_equal(p->command_line, "sh -c");
    STRINGS_ARE(p->env, "PATH=/bin", "EMPTY=");
    assert_string_equal(p->cwd, "/work");
    assert_true(p->no_new_privileges);
    assert_string_equal(p->apparmor_profile, "acme_secure_profile");
    OPT_IS(p->oom_score_adj, -100);
    assert_string_equal(p->selinux_label, "system_u:system_r:svirt_lxc_net_t:s0:c124,c675");
}

static void the_process_limits_are_read(void **state)
{
    const struct spec_process *p = &spec->process;

    (void)state;
    assert_true(p->capabilities.set);
    STRINGS_ARE(p->capabilities.bounding, "CAP_KILL", "CAP_CHOWN");
    STRINGS_ARE(p->capabilities.effective, "CAP_KILL");
    STRINGS_ARE(p->capabilities.inheritable, "CAP_KILL", "CAP_FOWNER");
    STRINGS_ARE(p->capabilities.permitted, "CAP_KILL", "CAP_CHOWN", "CAP_FOWNER");
    STRINGS_ARE(p->capabilities.ambient, "CAP_FOWNER");
    assert_int_equal(p->n_rlimits, 2);
    assert_string_equal(p->rlimits[0].type, "RLIMIT_NOFILE");
    assert_int_equal(p->rlimits[0].soft, 1024);
    assert_true(p->rlimits[0].hard == UINT64_MAX);
    assert_string_equal(p->rlimits[1].type, "RLIMIT_CORE");
    assert_true(p->scheduler.set);
    assert_string_equal(p->scheduler.policy, "SCHED_DEADLINE");
    assert_int_equal(p->scheduler.nice, -5);
    assert_int_equal(p->scheduler.priority, 0);
    STRINGS_ARE(p->scheduler.flags, "SCHED_FLAG_RESET_ON_FORK");
    assert_int_equal(p->scheduler.runtime, 1000);
    assert_int_equal(p->scheduler.deadline, 2000);
    assert_true(p->scheduler.period == UINT64_MAX - 1);
    assert_true(p->io_priority.set);
    assert_string_equal(p->io_priority.class_, "IOPRIO_CLASS_IDLE");
    assert_int_equal(p->io_priority.priority, 4);
    assert_true(p->exec_cpu_affinity.set);
    assert_string_equal(p->exec_cpu_affinity.initial, "7");
    assert_string_equal(p->exec_cpu_affinity.final, "0-3,7");
}

static void mounts_are_read(void **state)
{
    const struct spec_mount *m = spec->mounts;

    (void)state;
    assert_int_equal(spec->n_mounts, 2);
    assert_string_equal(m[0].destination, "/proc");
    assert_string_equal(m[0].type, "proc");
    assert_string_equal(m[0].source, "proc");
    STRINGS_ARE(m[0].options, "nosuid", "noexec");
    assert_int_equal(m[0].uid_mappings.n, 0);
    assert_string_equal(m[1].source, "/srv/data");
    assert_int_equal(m[1].uid_mappings.n, 1);
    map_is(m[1].uid_mappings.v, 0, 1000, 10);
    assert_int_equal(m[1].gid_mappings.n, 1);
    map_is(m[1].gid_mappings.v, 0, 2000, 20);
}

static void hooks_are_read(void **state)
{
    const struct spec_hooks *h = &spec->hooks;

    (void)state;
    assert_int_equal(h->prestart.n, 1);
    assert_string_equal(h->prestart.v[0].path, "/bin/prestart");
    STRINGS_ARE(h->prestart.v[0].args, "prestart");
    OPT_IS(h->prestart.v[0].timeout, 1);
    assert_int_equal(h->create_runtime.n, 2);
    assert_string_equal(h->create_runtime.v[0].path, "/bin/create-runtime");
    STRINGS_ARE(h->create_runtime.v[0].args, "a", "b");
    STRINGS_ARE(h->create_runtime.v[0].env, "K=V");
    OPT_IS(h->create_runtime.v[0].timeout, 5);
    assert_string_equal(h->create_runtime.v[1].path, "/bin/second");
    assert_false(h->create_runtime.v[1].timeout.set);
    assert_string_equal(h->create_container.v[0].path, "/bin/create-container");
    assert_string_equal(h->start_container.v[0].path, "/bin/start-container");
    assert_string_equal(h->poststart.v[0].path, "/bin/poststart");
    assert_string_equal(h->poststop.v[0].path, "/bin/poststop");
}

static void namespaces_and_maps_are_read(void **state)
{
    static const enum spec_ns types[] = {
        SPEC_NS_PID, SPEC_NS_NETWORK, SPEC_NS_MOUNT,  SPEC_NS_IPC,
        SPEC_NS_UTS, SPEC_NS_USER,    SPEC_NS_CGROUP, SPEC_NS_TIME
    };
    const struct spec_linux *l = &spec->linux;

    (void)state;
    assert_int_equal(l->n_namespaces, COUNT_OF(types));
    for (size_t i = 0; i < COUNT_OF(types); i++)
        assert_int_equal(l->namespaces[i].type, types[i]);
    assert_string_equal(l->namespaces[0].path, "/proc/1234/ns/pid");
    assert_null(l->namespaces[1].path);
    assert_int_equal(l->uid_mappings.n, 2);
    map_is(&l->uid_mappings.v[0], 0, 100000, 65536);
    map_is(&l->uid_mappings.v[1], 4294967290u, 4294967280u, 5);
    assert_int_equal(l->gid_mappings.n, 1);
    map_is(l->gid_mappings.v, 0, 200000, 65537);
    assert_true(l->time_offsets.set);
    assert_true(l->time_offsets.monotonic.set);
    assert_int_equal(l->time_offsets.monotonic.secs, -172800);
    assert_int_equal(l->time_offsets.monotonic.nanosecs, 999999999);
    assert_true(l->time_offsets.boottime.set);
    assert_int_equal(l->time_offsets.boottime.secs, 604800);
    assert_int_equal(l->time_offsets.boottime.nanosecs, 1);
    assert_int_equal(l->sysctl.n, 2);
    pair_is(&l->sysctl.v[0], "net.ipv4.ip_forward", "1");
    pair_is(&l->sysctl.v[1], "net.core.somaxconn", "256");
}

static void devices_and_paths_are_read(void **state)
{
    const struct spec_linux *l = &spec->linux;

    (void)state;
    assert_int_equal(l->n_devices, 3);
    assert_int_equal(l->devices[0].type, SPEC_DEVICE_CHAR);
    assert_string_equal(l->devices[0].path, "/dev/fuse");
    assert_int_equal(l->devices[0].major, 10);
    assert_int_equal(l->devices[0].minor, 229);
    OPT_IS(l->devices[0].file_mode, 0666); /* 8630 is 020666: the file type is dropped */
    OPT_IS(l->devices[0].uid, 5);
    OPT_IS(l->devices[0].gid, 6);
    assert_int_equal(l->devices[1].type, SPEC_DEVICE_BLOCK);
    assert_false(l->devices[1].file_mode.set);
    assert_int_equal(l->devices[2].type, SPEC_DEVICE_FIFO);
    assert_int_equal(l->n_net_devices, 2);
    assert_string_equal(l->net_devices[0].host_name, "eth0");
    assert_string_equal(l->net_devices[0].name, "container_eth0");
    assert_string_equal(l->net_devices[1].host_name, "ens4");
    assert_null(l->net_devices[1].name);
    assert_string_equal(l->cgroups_path, "/my/cgroup");
    assert_string_equal(l->rootfs_propagation, "slave");
    STRINGS_ARE(l->masked_paths, "/proc/kcore");
    STRINGS_ARE(l->readonly_paths, "/proc/sys", "/proc/irq");
    assert_string_equal(l->mount_label, "system_u:object_r:svirt_sandbox_file_t:s0:c715,c811");
}

static void device_rules_memory_and_cpu_are_read(void **state)
{
    const struct spec_resources *r = &spec->linux.resources;

    (void)state;
    assert_true(r->set);
    assert_int_equal(r->n_devices, 2);
    assert_false(r->devices[0].allow);
    assert_null(r->devices[0].type);
    assert_false(r->devices[0].major.set);
    assert_string_equal(r->devices[0].access, "rwm");
    assert_true(r->devices[1].allow);
    assert_string_equal(r->devices[1].type, "c");
    OPT_IS(r->devices[1].major, 10);
    OPT_IS(r->devices[1].minor, -1);
    assert_true(r->memory.set);
    OPT_IS(r->memory.limit, 536870912);
    OPT_IS(r->memory.reservation, 536870913);
    OPT_IS(r->memory.swap, -1);
    OPT_IS(r->memory.kernel, 536870914);
    OPT_IS(r->memory.kernel_tcp, INT64_MAX);
    OPT_IS(r->memory.swappiness, 0);
    OPT_IS(r->memory.disable_oom_killer, true);
    OPT_IS(r->memory.use_hierarchy, false);
    OPT_IS(r->memory.check_before_update, true);
    assert_true(r->cpu.set);
    OPT_IS(r->cpu.shares, 1024);
    OPT_IS(r->cpu.quota, 1000000);
    OPT_IS(r->cpu.burst, 999999);
    OPT_IS(r->cpu.period, 500000);
    OPT_IS(r->cpu.realtime_runtime, 950000);
    OPT_IS(r->cpu.realtime_period, 1000001);
    assert_string_equal(r->cpu.cpus, "2-3");
    assert_string_equal(r->cpu.mems, "0-7");
    OPT_IS(r->cpu.idle, 1);
    assert_true(r->pids.set);
    OPT_IS(r->pids.limit, 0);
}

static void throttle_is(const struct spec_throttles *t, int64_t minor, uint64_t rate)
{
    assert_int_equal(t->n, 1);
    assert_int_equal(t->v[0].major, 8);
    assert_int_equal(t->v[0].minor, minor);
    assert_int_equal(t->v[0].rate, rate);
}

static void block_io_and_the_other_controllers_are_read(void **state)
{
    const struct spec_resources *r = &spec->linux.resources;
    const struct spec_block_io *io = &r->block_io;

    (void)state;
    assert_true(io->set);
    OPT_IS(io->weight, 10);
    OPT_IS(io->leaf_weight, 1000);
    assert_int_equal(io->n_weight_device, 2);
    assert_int_equal(io->weight_device[0].major, 8);
    OPT_IS(io->weight_device[0].weight, 500);
    OPT_IS(io->weight_device[0].leaf_weight, 300);
    assert_int_equal(io->weight_device[1].minor, 16);
    assert_false(io->weight_device[1].leaf_weight.set);
    throttle_is(&io->read_bps, 1, 600);
    throttle_is(&io->write_bps, 2, 601);
    throttle_is(&io->read_iops, 3, 602);
    throttle_is(&io->write_iops, 4, 603);
    assert_int_equal(r->n_hugepage_limits, 1);
    assert_string_equal(r->hugepage_limits[0].page_size, "2MB");
    assert_int_equal(r->hugepage_limits[0].limit, 209715200);
    assert_true(r->network.set);
    OPT_IS(r->network.class_id, 1048577);
    assert_int_equal(r->network.n_priorities, 1);
    assert_string_equal(r->network.priorities[0].name, "eth0");
    assert_int_equal(r->network.priorities[0].priority, 500);
    assert_int_equal(r->n_rdma, 2);
    assert_string_equal(r->rdma[0].device, "mlx5_1");
    OPT_IS(r->rdma[0].hca_handles, 3);
    OPT_IS(r->rdma[0].hca_objects, 10000);
    assert_string_equal(r->rdma[1].device, "mlx4_0");
    assert_false(r->rdma[1].hca_handles.set);
    assert_int_equal(r->unified.n, 2);
    pair_is(&r->unified.v[0], "hugetlb.1GB.max", "1073741824");
    pair_is(&r->unified.v[1], "memory.high", "");
}

static void seccomp_is_read(void **state)
{
    const struct spec_seccomp *s = &spec->linux.seccomp;
    const struct spec_syscall *rule = s->syscalls;

    (void)state;
    assert_true(s->set);
    assert_string_equal(s->default_action, "SCMP_ACT_ERRNO");
    OPT_IS(s->default_errno_ret, 38);
    STRINGS_ARE(s->architectures, "SCMP_ARCH_X86", "SCMP_ARCH_X32");
    STRINGS_ARE(s->flags, "SECCOMP_FILTER_FLAG_LOG");
    assert_string_equal(s->listener_path, "/run/listener.sock");
    assert_string_equal(s->listener_metadata, "meta");
    assert_int_equal(s->n_syscalls, 2);
    STRINGS_ARE(rule[0].names, "getcwd", "chmod");
    assert_string_equal(rule[0].action, "SCMP_ACT_ERRNO");
    OPT_IS(rule[0].errno_ret, 7);
    assert_int_equal(rule[0].n_args, 2);
    assert_int_equal(rule[0].args[0].index, 5);
    assert_true(rule[0].args[0].value == UINT64_MAX);
    assert_int_equal(rule[0].args[0].value_two, 4096);
    assert_string_equal(rule[0].args[0].op, "SCMP_CMP_MASKED_EQ");
    assert_string_equal(rule[0].args[1].op, "SCMP_CMP_NE");
    assert_string_equal(rule[1].action, "SCMP_ACT_ALLOW");
    assert_false(rule[1].errno_ret.set);
}

static void what_few_hosts_have_is_read(void **state)
{
    const struct spec_linux *l = &spec->linux;

    (void)state;
    assert_true(l->intel_rdt.set);
    assert_string_equal(l->intel_rdt.clos_id, "guaranteed_group");
    STRINGS_ARE(l->intel_rdt.schemata, "L3:0=ff", "MB:0=40");
    assert_string_equal(l->intel_rdt.l3_cache_schema, "L3:0=7f0;1=1f");
    assert_string_equal(l->intel_rdt.mem_bw_schema, "MB:0=20;1=70");
    OPT_IS(l->intel_rdt.enable_monitoring, true);
    assert_true(l->memory_policy.set);
    assert_string_equal(l->memory_policy.mode, "MPOL_INTERLEAVE");
    assert_string_equal(l->memory_policy.nodes, "0-1");
    STRINGS_ARE(l->memory_policy.flags, "MPOL_F_STATIC_NODES");
    assert_true(l->personality.set);
    assert_string_equal(l->personality.domain, "LINUX32");
    assert_true(l->personality.flags.set);
    assert_int_equal(l->personality.flags.n, 0);
}

static void the_virtual_machine_is_read(void **state)
{
    const struct spec_vm *vm = &spec->vm;

    (void)state;
    assert_true(vm->hypervisor.set);
    assert_string_equal(vm->hypervisor.path, "/usr/bin/vmm");
    STRINGS_ARE(vm->hypervisor.parameters, "opts1=foo");
    assert_true(vm->kernel.set);
    assert_string_equal(vm->kernel.path, "/path/to/vmlinuz");
    STRINGS_ARE(vm->kernel.parameters, "foo=bar", "hello");
    assert_string_equal(vm->kernel.initrd, "/path/to/initrd.img");
    assert_true(vm->image.set);
    assert_string_equal(vm->image.path, "/path/to/vm.img");
    assert_string_equal(vm->image.format, "qcow2");
    assert_true(vm->hw_config.set);
    assert_string_equal(vm->hw_config.device_tree, "/path/to/vm.dtb");
    OPT_IS(vm->hw_config.vcpus, 4);
    OPT_IS(vm->hw_config.memory, UINT64_C(4294967296));
    STRINGS_ARE(vm->hw_config.dtdevs, "/amba/eth0@ff0e0000");
    assert_int_equal(vm->hw_config.n_iomems, 2);
    OPT_IS(vm->hw_config.iomems[0].first_gfn, 0);
    assert_int_equal(vm->hw_config.iomems[0].first_mfn, 1044480);
    assert_int_equal(vm->hw_config.iomems[0].nr_mfns, 1);
    assert_false(vm->hw_config.iomems[1].first_gfn.set);
    assert_true(vm->hw_config.iomems[1].first_mfn == UINT64_MAX);
    assert_int_equal(vm->hw_config.irqs.n, 2);
    assert_int_equal(vm->hw_config.irqs.v[0], 34);
    assert_true(vm->hw_config.irqs.v[1] == UINT32_MAX);
}

/* Everything off and every list empty: the zeroed struct says "absent". */
static void what_is_absent_is_zero(void **state)
{
    struct arena a = { 0 };
    const struct spec *s = minimal_spec(&a, NULL);

    (void)state;
    assert_false(s->process.capabilities.set);
    assert_false(s->process.user.umask.set);
    assert_false(s->process.env.set);
    assert_false(s->process.oom_score_adj.set);
    assert_null(s->process.apparmor_profile);
    assert_null(s->hostname);
    assert_int_equal(s->n_mounts, 0);
    assert_int_equal(s->hooks.prestart.n, 0);
    assert_false(s->linux.resources.set);
    assert_false(s->linux.seccomp.set);
    assert_false(s->linux.time_offsets.set);
    assert_false(s->vm.set);
    arena_release(&a);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(every_property_of_the_schema_is_in_the_document),
        cmocka_unit_test(nothing_in_the_document_is_unknown),
        cmocka_unit_test(the_top_level_is_read),
        cmocka_unit_test(the_process_is_read),
        cmocka_unit_test(the_process_limits_are_read),
        cmocka_unit_test(mounts_are_read),
        cmocka_unit_test(hooks_are_read),
        cmocka_unit_test(namespaces_and_maps_are_read),
        cmocka_unit_test(devices_and_paths_are_read),
        cmocka_unit_test(device_rules_memory_and_cpu_are_read),
        cmocka_unit_test(block_io_and_the_other_controllers_are_read),
        cmocka_unit_test(seccomp_is_read),
        cmocka_unit_test(what_few_hosts_have_is_read),
        cmocka_unit_test(the_virtual_machine_is_read),
        cmocka_unit_test(what_is_absent_is_zero),
    };

    return cmocka_run_group_tests(tests, parse_all_fields, release);
}
