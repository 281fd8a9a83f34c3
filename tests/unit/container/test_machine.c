/* SPDX-License-Identifier: Apache-2.0 */
/* A start in a machine: what is chosen and refused, what the guest is told, and the order of the plan. Pure. */
#include <errno.h>

#include "minimal.h"

#include "container/machine.h"

#define OWN                                                                                 \
    "'namespaces': [{'type': 'mount'}, {'type': 'pid'}, {'type': 'ipc'}, {'type': 'uts'}, " \
    "{'type': 'network'}]"

static void a_flag_goes_before_the_annotation_and_that_before_the_vm_object(void **state)
{
    static const struct {
        const char *flag, *patch;
        int mode; /* -1: refused */
        const char *called_as;
    } rows[] = {
        { NULL, NULL, ISOLATION_CONTAINER, NULL },
        { NULL, "{'vm': {'kernel': {'path': '/k'}}}", ISOLATION_VM, NULL },
        { NULL,
          "{'vm': {'kernel': {'path': '/k'}}, 'annotations': {'org.teca.isolation': 'emulated'}}",
          ISOLATION_EMULATED, NULL },
        { "container", "{'annotations': {'org.teca.isolation': 'emulated'}}", ISOLATION_CONTAINER,
          NULL },
        { "emulated", "{'vm': {'kernel': {'path': '/k'}}}", ISOLATION_EMULATED, NULL },
        { NULL, NULL, ISOLATION_VM, "/usr/bin/teca-vm" },
        { NULL, NULL, ISOLATION_VM, "teca-vm" },
        { NULL, NULL, ISOLATION_CONTAINER, "/teca-vm/teca" },
        { NULL, NULL, ISOLATION_EMULATED, "/usr/bin/teca-emulated" },
        { "vm", NULL, ISOLATION_VM, "teca-emulated" },
        { NULL, "{'vm': {'kernel': {'path': '/k'}}}", ISOLATION_VM, "teca-emulated" },
        { NULL,
          "{'annotations': {'io.kubernetes.cri.container-type': 'sandbox',"
          " 'org.teca.isolation': 'emulated', 'org.teca.rootfs': 'erofs'}}",
          ISOLATION_CONTAINER, NULL },
        { "emulated", "{'annotations': {'io.kubernetes.cri.container-type': 'sandbox'}}",
          ISOLATION_EMULATED, NULL },
        { "container", NULL, ISOLATION_CONTAINER, "teca-vm" },
        { NULL, "{'annotations': {'org.teca.isolation': 'emulated'}}", ISOLATION_EMULATED,
          "teca-vm" },
        { NULL, "{'annotations': {'io.kubernetes.cri.container-type': 'sandbox'}}",
          ISOLATION_CONTAINER, "teca-vm" },
        { NULL, "{'annotations': {'io.kubernetes.cri-o.ContainerType': 'sandbox'}}",
          ISOLATION_CONTAINER, "teca-vm" },
        { NULL, "{'annotations': {'io.kubernetes.cri.container-type': 'container'}}", ISOLATION_VM,
          "teca-vm" },
        { "auto", "{'annotations': {'org.teca.isolation.fallback': 'glass'}}", -1, NULL },
        { NULL, "{'annotations': {'org.teca.isolation': ''}}", -1, NULL },
    };

    (void)state;
    for (size_t i = 0; i < COUNT_OF(rows); i++) {
        struct container_options o = { .isolation = rows[i].flag, .called_as = rows[i].called_as };
        enum isolation mode = ISOLATION_CONTAINER;
        struct err e = { 0 };
        int r = machine_choose(&o, minimal_spec(unit_arena(), rows[i].patch), &mode, &e);

        unit_row(rows[i].patch ? rows[i].patch : "nothing",
                 r < 0 ? rows[i].mode == -1 : (int)mode == rows[i].mode);
    }
    arena_release(unit_arena());
}

static void what_cannot_cross_is_named_by_its_field(void **state)
{
    static const struct {
        const char *patch, *pointer, *says;
    } rows[] = {
        { "{'linux': {'namespaces': [{'type': 'mount'}, {'type': 'pid', 'path': '/p'}]}}",
          "/linux/namespaces/1/path", "cannot join" },
        { "{'linux': {'namespaces': [{'type': 'mount'}, {'type': 'pid'}]}}", "/linux/namespaces",
          "network namespace" },
        { "{'linux': {'namespaces': [{'type': 'mount'}, {'type': 'pid'}, {'type': 'network'},"
          " {'type': 'ipc', 'path': '/i'}, {'type': 'uts', 'path': '/u'}]}}",
          "/linux/namespaces/3/path", "cannot join" },
        { "{'linux': {'namespaces': [{'type': 'mount'}, {'type': 'pid'}, {'type': 'network'},"
          " {'type': 'ipc', 'path': '/i'}, {'type': 'uts', 'path': '/u'}]},"
          " 'annotations': {'io.kubernetes.cri.container-type': 'sandbox'}}",
          "/linux/namespaces/3/path", "cannot join" },
        { "{'linux': {'namespaces': [{'type': 'mount'}, {'type': 'pid', 'path': '/p'}]},"
          " 'annotations': {'io.kubernetes.cri-o.ContainerType': 'container'}}",
          "/linux/namespaces/1/path", "cannot join" },
        { "{'linux': {" OWN "}, 'vm': {'kernel': {'path': '/k'}, 'hwConfig': {'irqs': [3]}}}",
          "/vm/hwConfig/irqs", "only Xen" },
        { "{'linux': {" OWN "}, 'vm': {'kernel': {'path': '/k'}, 'hwConfig': {'vcpus': 65}}}",
          "/vm/hwConfig/vcpus", "from 1 to 64" },
        { "{'linux': {" OWN "}, 'annotations': {'run.oci.keep_original_groups': '1'}}",
          "/annotations/run.oci.keep_original_groups", "the caller's groups" },
        { "{'linux': {" OWN ", 'intelRdt': {'closID': 'x'}}}", "/linux/intelRdt",
          "not supported yet" },
        { "{'linux': {" OWN ", 'devices': [{'path': '/dev/null', 'type': 'c', 'major': 1,"
          " 'minor': 3}, {'path': '/dev/sda', 'type': 'b', 'major': 8, 'minor': 0}]}}",
          "/linux/devices/1", "a device of the host" },
        { "{'linux': {" OWN ", 'devices': [{'path': '/f', 'type': 'p'}, {'path': '/dev/fuse',"
          " 'type': 'c', 'major': 10, 'minor': 229}, {'path': '/dev/kvm', 'type': 'u',"
          " 'major': 10, 'minor': 232}]}}",
          "/linux/devices/2", "'/dev/kvm'" },
    };

    (void)state;
    if (geteuid() != 0)
        unit_skip("machines are root's");
    for (size_t i = 0; i < COUNT_OF(rows); i++) {
        struct container_options o = { 0 };
        struct err e = { 0 };
        const struct spec *s = minimal_spec(unit_arena(), rows[i].patch);

        unit_row(rows[i].patch, machine_check(&o, s, ISOLATION_EMULATED, &e) < 0);
        assert_string_equal(e.pointer, rows[i].pointer);
        unit_row(rows[i].patch, strstr(e.text, rows[i].says));
    }
    arena_release(unit_arena());
}

static void a_container_of_a_pod_has_names_by_path_and_an_ipc_namespace_of_its_own(void **state)
{
    static const char *const annotations[] = { "io.kubernetes.cri.container-type",
                                               "io.kubernetes.cri-o.ContainerType" };
    static const char *const hostnames[] = { "", "'hostname': '', ", "'hostname': 'mine', " };
    const struct machine_caller caller = { .names = { "the-pod", "" } };
    const struct machine_binds none = { 0 };

    (void)state;
    if (geteuid() != 0)
        unit_skip("machines are root's");
    for (size_t i = 0; i < COUNT_OF(annotations); i++) {
        struct container_options o = { 0 };
        struct err e = { 0 };
        const struct spec *s = minimal_spec(
            unit_arena(),
            arena_format(unit_arena(),
                         "{'linux': {'namespaces': [{'type': 'mount'}, {'type': 'pid'},"
                         " {'type': 'network', 'path': '/n'}, {'type': 'ipc', 'path': '/i'},"
                         " {'type': 'uts', 'path': '/u'}]}, 'annotations': {'%s': 'container'}}",
                         annotations[i]));

        assert_int_equal(machine_check(&o, s, ISOLATION_EMULATED, &e), 0);
        assert_non_null(strstr(machine_config(s, &none, &caller, false, unit_arena()),
                               "{\"type\":\"network\"},{\"type\":\"ipc\"},{\"type\":\"uts\"}]"));
    }
    for (size_t i = 0; i < COUNT_OF(hostnames); i++) {
        const struct spec *s = minimal_spec(
            unit_arena(), arena_format(unit_arena(), "{%s'linux': {" OWN "}}", hostnames[i]));
        const char *text = machine_config(s, &none, &caller, false, unit_arena());

        unit_row(hostnames[i],
                 strstr(text, i < 2 ? "\"hostname\":\"the-pod\"" : "\"hostname\":\"mine\""));
        unit_row(hostnames[i], !strstr(text, "domainname"));
    }
    arena_release(unit_arena());
}

static void the_last_word_about_read_only_counts_and_rro_is_about_all(void **state)
{
    static const struct {
        const char *options;
        bool top, all;
    } rows[] = {
        { "'rbind'", false, false },
        { "'rbind', 'ro'", true, false },
        { "'rbind', 'rro'", true, true },
        { "'rbind', 'ro', 'rw'", false, false },
        { "'rbind', 'rro', 'rw'", false, true },
        { "'rbind', 'rro', 'rrw', 'ro'", true, false },
    };

    (void)state;
    for (size_t i = 0; i < COUNT_OF(rows); i++) {
        const char *patch = arena_format(
            unit_arena(), "{'mounts': [{'destination': '/v', 'source': '/v', 'options': [%s]}]}",
            rows[i].options);
        struct machine_binds binds;

        machine_binds_of(minimal_spec(unit_arena(), patch), "/b", true, unit_arena(), &binds);
        unit_row(rows[i].options, binds.n == 2 && binds.v[1].read_only == rows[i].top &&
                                      binds.v[1].all_read_only == rows[i].all);
    }
    arena_release(unit_arena());
}

static void the_guest_gets_the_document_with_the_shares_paths(void **state)
{
    const struct spec *s = minimal_spec(
        unit_arena(),
        "{'root': {'path': '../r', 'readonly': true}, 'hostname': 'h',"
        " 'mounts': [{'destination': '/proc', 'type': 'proc', 'source': 'proc'},"
        " {'destination': '/v', 'type': 'bind', 'source': 'vol', 'options': ['rbind', 'ro']},"
        " {'destination': '/w', 'type': 'none', 'source': '/w', 'options': ['bind']}],"
        " 'hooks': {'poststop': [{'path': '/h'}], 'startContainer': [{'path': '/s'}]},"
        " 'annotations': {'a': 'b', 'org.teca.isolation': 'emulated', 'run.oci.hooks.stdout': '/x'},"
        " 'vm': {'kernel': {'path': '/k'}}, 'linux': {'cgroupsPath': '/a/b', " OWN "}}");
    const struct machine_caller nobody = { 0 };
    struct machine_binds binds;
    const char *text;
    struct json *doc = NULL;
    const struct json *mounts;
    struct err e = { 0 };

    (void)state;
    machine_binds_of(s, "/some/bundle", true, unit_arena(), &binds);
    assert_int_equal(binds.n, 3);
    assert_string_equal(binds.v[0].source, "/some/r");
    assert_false(
        binds.v[0].read_only); /* mount points are made in it; the guest makes it read-only */
    assert_string_equal(binds.v[1].source, "/some/bundle/vol");
    assert_true(binds.v[1].read_only && binds.v[1].recursive);
    assert_string_equal(binds.v[2].name, "2");
    assert_false(binds.v[2].read_only || binds.v[2].recursive);

    text = machine_config(s, &binds, &nobody, false, unit_arena());
    assert_int_equal(json_parse(unit_arena(), text, strlen(text), "it", &doc, &e), 0);
    assert_string_equal(json_get(json_get(doc, "root"), "path")->text, "/run/teca-share/root");
    assert_true(json_get(json_get(doc, "root"), "readonly")->boolean);
    mounts = json_get(doc, "mounts")->child;
    assert_string_equal(json_get(mounts, "source")->text, "proc");
    assert_string_equal(json_get(mounts->next, "source")->text, "/run/teca-share/1");
    assert_string_equal(json_get(mounts->next, "destination")->text, "/v");
    assert_string_equal(json_get(mounts->next->next, "source")->text, "/run/teca-share/2");
    assert_null(json_get(json_get(doc, "hooks"), "poststop"));
    assert_non_null(json_get(json_get(doc, "hooks"), "startContainer"));
    assert_int_equal(json_get(doc, "annotations")->count, 1);
    assert_null(json_get(doc, "vm"));
    assert_null(json_get(json_get(doc, "linux"), "cgroupsPath"));
    assert_string_equal(json_get(doc, "hostname")->text, "h");
    assert_null(strstr(text, "/run/teca-agent/netns"));

    text = machine_config(s, &binds, &nobody, true, unit_arena());
    assert_non_null(strstr(text, "{\"type\":\"uts\"},"
                                 "{\"type\":\"network\",\"path\":\"/run/teca-agent/netns\"}]"));
    assert_null(strstr(text, "cgroupsPath"));
    arena_release(unit_arena());
}

static void memory_is_the_limit_and_what_the_guest_needs(void **state)
{
    static const struct {
        const char *patch;
        uint64_t mib;
    } rows[] = {
        { NULL, 512 },
        { "{'linux': {'resources': {'memory': {'limit': -1}}}}", 512 },
        { "{'linux': {'resources': {'memory': {'limit': 1048576}}}}", 192 },
        { "{'linux': {'resources': {'memory': {'limit': 1073741824}}}}", 1024 + 20 + 1 + 96 },
        { "{'vm': {'kernel': {'path': '/k'}, 'hwConfig': {'memory': 268435456}}}", 256 },
    };

    (void)state;
    for (size_t i = 0; i < COUNT_OF(rows); i++)
        unit_row(rows[i].patch ? rows[i].patch : "nothing",
                 machine_memory(minimal_spec(unit_arena(), rows[i].patch)) == rows[i].mib);
    arena_release(unit_arena());
}

static void processors_are_as_many_as_the_quota_keeps_busy(void **state)
{
    static const struct {
        const char *patch;
        unsigned host;
        int64_t n;
    } rows[] = {
        { NULL, 8, 1 },
        { "{'linux': {'resources': {'cpu': {'quota': 50000, 'period': 100000}}}}", 8, 1 },
        { "{'linux': {'resources': {'cpu': {'quota': 100001, 'period': 100000}}}}", 8, 2 },
        { "{'linux': {'resources': {'cpu': {'quota': 350000}}}}", 8, 4 },
        { "{'linux': {'resources': {'cpu': {'quota': -1}}}}", 8, 1 },
        { "{'linux': {'resources': {'cpu': {'quota': 900000}}}}", 4, 4 },
        { "{'linux': {'resources': {'cpu': {'cpus': '0-1,5'}}}}", 8, 3 },
        { "{'linux': {'resources': {'cpu': {'cpus': '2', 'quota': 900000}}}}", 8, 1 },
        { "{'vm': {'kernel': {'path': '/k'}, 'hwConfig': {'vcpus': 6}}}", 2, 6 },
    };

    (void)state;
    for (size_t i = 0; i < COUNT_OF(rows); i++)
        unit_row(rows[i].patch ? rows[i].patch : "nothing",
                 machine_cpus(minimal_spec(unit_arena(), rows[i].patch), rows[i].host) ==
                     rows[i].n);
    arena_release(unit_arena());
}

#define LIMITED                                                                                \
    "'resources': {'memory': {'limit': 268435456, 'swap': 301989888, 'reservation': 1048576}," \
    " 'cpu': {'quota': 150000, 'shares': 512, 'cpus': '0-1', 'mems': '0'},"                    \
    " 'pids': {'limit': 33}, 'devices': [{'allow': false}],"                                   \
    " 'unified': {'memory.high': '1'},"                                                        \
    " 'blockIO': {'weight': 100}}"

/* What a guest can make the file server and the host's kernel hold fits beside its memory, whatever it has of that. */
static void a_machine_has_room_for_all_that_its_file_server_may_hold(void **state)
{
    enum { FD_BYTES = 2304 /* of the kernel: file, inode and name */, OF_PROCESSES = 32 << 20 };
    static const uint64_t memory_mib[] = { 64, 100, 512, 4096, 30000, 262144 };

    (void)state;
    for (size_t i = 0; i < COUNT_OF(memory_mib); i++) {
        for (int ours = 0; ours < 2; ours++) {
            struct machine_files_bounds b = machine_files_bounds(memory_mib[i], ours);
            const char *patch = arena_format(
                unit_arena(),
                "{'vm': {'kernel': {'path': '/k'}, 'hwConfig': {'memory': %lu}},"
                " 'linux': {" OWN ", 'resources': {'memory': {'limit': 1048576}}}}",
                memory_mib[i] << 20);
            const struct machine_host *host = machine_host_of(
                minimal_spec(unit_arena(), patch), ours ? ISOLATION_VM : ISOLATION_EMULATED,
                unit_arena());
            uint64_t room = (uint64_t)host->first.linux.resources.memory.limit.v -
                            (memory_mib[i] << 20);
            uint64_t most = (uint64_t)b.fds * FD_BYTES + (memory_mib[i] << 12);

            if (ours)
                most += b.node_bytes;
            else
                most += (uint64_t)MACHINE_TB_MIB << 20;
            unit_row(patch, most + OF_PROCESSES <= room);
            /* Linux has no room for more: 1 KiB for a file, of ours with a name of 40 bytes. */
            unit_row(patch, b.node_bytes / 256 >= memory_mib[i] << 10);
            unit_row(patch, b.handles >= 4096 && b.fds >= b.handles / 2 && b.fds <= 1 << 20);
        }
    }
    arena_release(unit_arena());
}

static void the_host_limits_the_machine_and_the_guest_the_container(void **state)
{
    const struct spec *s = minimal_spec(unit_arena(), "{'linux': {" OWN ", " LIMITED "}}");
    const struct machine_host *host = machine_host_of(s, ISOLATION_EMULATED, unit_arena());
    const struct spec_resources *first = &host->first.linux.resources;
    const struct spec_resources *later = &host->later.linux.resources;
    const struct machine_caller caller = { .known = true, .oom_score_adj = 7 };
    struct machine_binds binds;
    struct json *doc = NULL;
    const struct json *inside;
    const char *text;
    struct err e = { 0 };

    (void)state;
    assert_true(first->memory.limit.v > (int64_t)machine_memory(s) << 20);
    assert_int_equal(first->memory.swap.v - first->memory.limit.v, 32 << 20);
    assert_false(first->memory.reservation.set);
    assert_string_equal(first->cpu.cpus, "0-1");
    assert_false(first->cpu.quota.set);
    assert_int_equal(first->block_io.weight.v, 100);
    assert_int_equal(first->n_devices, 1);
    assert_true(first->devices[0].allow);
    assert_int_equal(first->unified.n, 0);
    assert_int_equal(later->cpu.quota.v, 150000);
    assert_int_equal(later->cpu.shares.v, 512);
    assert_null(later->cpu.cpus);
    assert_false(later->memory.set);

    machine_binds_of(s, "/b", true, unit_arena(), &binds);
    text = machine_config(s, &binds, &caller, false, unit_arena());
    assert_int_equal(json_parse(unit_arena(), text, strlen(text), "it", &doc, &e), 0);
    inside = json_get(json_get(doc, "linux"), "resources");
    assert_null(json_get(inside, "blockIO"));
    assert_null(json_get(json_get(inside, "cpu"), "cpus"));
    assert_null(json_get(json_get(inside, "cpu"), "mems"));
    assert_non_null(json_get(json_get(inside, "cpu"), "quota"));
    assert_non_null(json_get(json_get(inside, "memory"), "reservation"));
    assert_non_null(json_get(json_get(inside, "pids"), "limit"));
    assert_non_null(json_get(inside, "unified"));
    arena_release(unit_arena());
}

static void the_host_limits_nothing_that_the_document_does_not(void **state)
{
    const struct spec *s = minimal_spec(unit_arena(), NULL);
    const struct machine_host *host = machine_host_of(s, ISOLATION_VM, unit_arena());

    (void)state;
    assert_false(host->first.linux.resources.memory.set);
    assert_false(host->first.linux.resources.cpu.set);
    assert_false(host->later.linux.resources.cpu.set);
    arena_release(unit_arena());
}

static void what_the_caller_has_is_said_where_the_document_is_silent(void **state)
{
    const struct spec *s = minimal_spec(
        unit_arena(), "{'process': {'rlimits': [{'type': 'RLIMIT_CORE', 'soft': 1, 'hard': 2}]}}");
    struct machine_caller caller = { .known = true, .oom_score_adj = -5 };
    struct machine_binds binds;
    const struct json *process, *limits;
    struct json *doc = NULL;
    const char *text;
    struct err e = { 0 };

    (void)state;
    caller.limits[RLIMIT_NOFILE] = (struct rlimit){ 333, RLIM_INFINITY };
    machine_binds_of(s, "/b", true, unit_arena(), &binds);
    text = machine_config(s, &binds, &caller, false, unit_arena());
    assert_int_equal(json_parse(unit_arena(), text, strlen(text), "it", &doc, &e), 0);
    process = json_get(doc, "process");
    limits = json_get(process, "rlimits");
    assert_int_equal(limits->count, RLIM_NLIMITS);
    assert_string_equal(json_get(limits->child, "type")->text, "RLIMIT_CORE");
    assert_non_null(strstr(text, "{\"type\":\"RLIMIT_NOFILE\",\"soft\":333,\"hard\":1048576}"));
    assert_non_null(strstr(text, "\"oomScoreAdj\":-5"));
    assert_non_null(json_get(process, "args"));
    arena_release(unit_arena());
}

static struct machine_facts facts = {
    .qemu = "/qemu",
    .virtiofsd = "/virtiofsd",
    .boot = { .kernel = "/k", .initramfs = "/i" },
    .tsc_khz = 2000000,
};

static const struct net_interface interfaces[] = {
    { .name = "eth0", .index = 7, .mtu = 1400, .mac = { 2, 0, 0, 0, 0, 0xab } },
    { .name = "net1", .index = 9, .mtu = 1500, .mac = { 2, 0, 0, 0, 0, 0xac } },
};

static void plan_for(struct plan *p, bool create)
{
    static struct cgroup_hierarchy v[] = {
        { .controllers = "cpu", .mountpoint = "/c/cpu", .root = "/", .path = "/c/cpu/x" },
        { .controllers = "memory", .mountpoint = "/c/m", .root = "/", .path = "/c/m/x" },
        { .controllers = "pids", .mountpoint = "/c/p", .root = "/", .path = "/c/p/x" },
        { .v2 = true, .controllers = "", .mountpoint = "/c/u", .root = "/", .path = "/c/u/x" },
    };
    struct compile_in in = { .spec = minimal_spec(unit_arena(),
                                                  "{'linux': {" OWN ", 'resources': {"
                                                  "  'memory': {'limit': 1048576},"
                                                  "  'cpu': {'quota': 200000}}},"
                                                  " 'hooks': {'createRuntime': [{'path': '/c'}],"
                                                  "           'createContainer': [{'path': '/i'}],"
                                                  "           'poststart': [{'path': '/p'}]}}"),
                             .state_dir = "/run/teca/x",
                             .pid_file = "/pid",
                             .create = create,
                             .id = "x",
                             .bundle = "/b" };
    struct compile_out out;
    struct err e = { 0 };

    facts.cgroup = (struct cgroup_facts){ .v = v, .n = COUNT_OF(v), .mount_root = "/c" };
    facts.host = machine_host_of(in.spec, ISOLATION_EMULATED, unit_arena());
    plan_init(p, unit_arena(), "run");
    if (machine_compile(&in, &facts, p, &out, &e) < 0)
        fail_msg("%s", e.text);
    assert_true(out.private_pid_ns && out.pid_slot >= 0 && out.pidfd_slot >= 0);
}

static bool before(const struct plan *p, enum plan_op a, enum plan_op b)
{
    int first = plan_find(p, a, 0), then = plan_find(p, b, 0);

    return first >= 0 && then >= 0 && plan_happens_before(p, (size_t)first, (size_t)then);
}

static void the_record_precedes_everything_and_the_pid_is_published_for_a_machine_that_is_up(
    void **state)
{
    struct plan p;
    int first, second;

    (void)state;
    for (int create = 0; create < 2; create++) {
        plan_for(&p, create);
        assert_int_equal(plan_find(&p, OP_STATE_CREATE, 0), 0);
        assert_int_equal(p.steps[0].state_create.start_fifos, create);
        assert_true(before(&p, OP_STATE_CREATE, OP_MACHINE_CONTROL));
        assert_true(before(&p, OP_MACHINE_CONTROL, OP_MACHINE_SHARE));
        assert_true(before(&p, OP_MACHINE_SHARE, OP_MACHINE_BIND));
        assert_true(before(&p, OP_MACHINE_BIND, OP_MACHINE_FILES));
        assert_true(before(&p, OP_MACHINE_FILES, OP_MACHINE_BOOT));
        /* createRuntime's fills the network, which the machine has from the first. */
        assert_true(before(&p, OP_NS_UNSHARE, OP_HOOK) && before(&p, OP_MACHINE_SHARE, OP_HOOK));
        assert_true(before(&p, OP_HOOK, OP_MACHINE_BIND));
        assert_true(before(&p, OP_HOOK, OP_PID_FILE));
        assert_true(before(&p, OP_MACHINE_BOOT, OP_STATE_INIT));
        assert_true(before(&p, OP_STATE_INIT, OP_MACHINE_SERVE));
        first = plan_find(&p, OP_HOOK, 0);
        second = plan_find(&p, OP_HOOK, (size_t)first + 1);
        assert_int_equal(p.steps[second].lane, LANE_INIT);
        assert_true(plan_happens_before(&p, (size_t)first, (size_t)second));
        assert_true(
            plan_happens_before(&p, (size_t)plan_find(&p, OP_MACHINE_BOOT, 0), (size_t)second));
        assert_true(
            plan_happens_before(&p, (size_t)second, (size_t)plan_find(&p, OP_STATE_INIT, 0)));
        /* poststart hooks are of `start` where the container was created. */
        assert_int_equal(plan_find(&p, OP_HOOK, (size_t)second + 1) < 0, create);
    }
    arena_release(unit_arena());
}

/* The step that writes this file of a cgroup. */
static int find_set(const struct plan *p, const char *file)
{
    for (int i = plan_find(p, OP_CGROUP_SET, 0); i >= 0;
         i = plan_find(p, OP_CGROUP_SET, (size_t)i + 1))
        if (str_eq(p->steps[i].cgroup_set.file, file))
            return i;
    fail_msg("nothing sets %s", file);
    return -1;
}

static void the_monitor_is_in_its_cgroup_before_it_starts_anything_and_capped_when_it_is_up(
    void **state)
{
    struct plan p;

    (void)state;
    plan_for(&p, true);
    assert_int_equal(p.steps[plan_find(&p, OP_CGROUP_OPEN, 0)].cgroup_open.out,
                     p.steps[plan_find(&p, OP_CLONE, 0)].clone.cgroup);
    assert_true(before(&p, OP_STATE_CREATE, OP_CGROUP_MAKE));
    assert_true(before(&p, OP_CGROUP_JOIN, OP_MACHINE_FILES));
    assert_true(plan_happens_before(&p, (size_t)find_set(&p, "memory.limit_in_bytes"),
                                    (size_t)plan_find(&p, OP_MACHINE_FILES, 0)));
    assert_true(plan_happens_before(&p, (size_t)plan_find(&p, OP_MACHINE_BOOT, 0),
                                    (size_t)find_set(&p, "cpu.cfs_quota_us")));
    assert_true(plan_happens_before(&p, (size_t)find_set(&p, "cpu.cfs_quota_us"),
                                    (size_t)plan_find(&p, OP_STATE_INIT, 0)));
    assert_int_equal(p.steps[plan_find(&p, OP_MACHINE_BOOT, 0)].machine_boot.cpus, 2);
    assert_int_equal(plan_find(&p, OP_DEVICE_FILTER, 0), -1);
    assert_int_equal(plan_find(&p, OP_DEVICE_RULES, 0), -1);
    arena_release(unit_arena());
}

/* On the host, for a FUSE of Linux 6.1 maps nothing: the guest is told of no mapping, and its owners are the host's. */
static void ids_of_a_bind_are_mapped_before_it_is_shared(void **state)
{
    static const char patch[] =
        "{'linux': {'namespaces': [{'type': 'mount'}, {'type': 'pid'}, {'type': 'network'},"
        "  {'type': 'ipc'}, {'type': 'uts'}, {'type': 'user'}],"
        "  'uidMappings': [{'containerID': 0, 'hostID': 100000, 'size': 9}],"
        "  'gidMappings': [{'containerID': 0, 'hostID': 200000, 'size': 9}]},"
        " 'mounts': [{'destination': '/v', 'source': '/v', 'options': ['bind']},"
        "  {'destination': '/w', 'source': 'w', 'options': ['rbind', 'ridmap', 'ro']},"
        "  {'destination': '/x', 'source': '/x', 'options': ['bind'],"
        "   'uidMappings': [{'containerID': 1, 'hostID': 7, 'size': 1}],"
        "   'gidMappings': [{'containerID': 1, 'hostID': 8, 'size': 1}]}]}";
    struct compile_in in = { .spec = minimal_spec(unit_arena(), patch),
                             .state_dir = "/run/teca/x",
                             .id = "x",
                             .bundle = "/b" };
    const struct json *mount;
    struct json *doc = NULL;
    struct compile_out out;
    struct err e = { 0 };
    const char *text;
    struct plan p;
    int own, other, bind;

    (void)state;
    facts.host = machine_host_of(in.spec, ISOLATION_EMULATED, unit_arena());
    plan_init(&p, unit_arena(), "run");
    if (machine_compile(&in, &facts, &p, &out, &e) < 0)
        fail_msg("%s", e.text);
    own = plan_find(&p, OP_IDMAP_NS, 0);
    other = plan_find(&p, OP_IDMAP_NS, (size_t)own + 1);
    assert_string_equal(p.steps[own].idmap_ns.uid_map, "0 100000 9\n");
    assert_string_equal(p.steps[own].idmap_ns.gid_map, "0 200000 9\n");
    assert_string_equal(p.steps[other].idmap_ns.uid_map, "1 7 1\n");
    assert_true(p.steps[own].idmap_ns.pid == SLOT_NONE && other < plan_find(&p, OP_CLONE, 0));
    bind = plan_find(&p, OP_MACHINE_BIND, 0);
    assert_int_equal(p.steps[bind + 1].machine_bind.tree, SLOT_NONE); /* behind the root's: /v */
    for (int i = 2; i < 4; i++) {
        const struct op_machine_bind *b = &p.steps[bind + i].machine_bind;
        int map = plan_find(&p, OP_MOUNT_IDMAP, (size_t)(i == 2 ? own : other));

        assert_true(b->tree != SLOT_NONE && b->tree == p.steps[map].mount_idmap.tree);
        assert_string_equal(p.steps[map].mount_idmap.path, i == 2 ? "/b/w" : "/x");
        assert_int_equal(p.steps[map].mount_idmap.recursive, i == 2);
    }
    text = p.steps[plan_find(&p, OP_MACHINE_BOOT, 0)].machine_boot.config;
    assert_int_equal(json_parse(unit_arena(), text, strlen(text), "it", &doc, &e), 0);
    mount = json_get(doc, "mounts")->child->next;
    assert_int_equal(json_get(mount, "options")->count, 2); /* rbind, ro */
    assert_null(json_get(mount->next, "uidMappings"));
    assert_null(json_get(mount->next, "gidMappings"));
    assert_string_equal(json_get(mount->next, "source")->text, "/run/teca-share/2");
    arena_release(unit_arena());
}

/* Nothing of the bundle is shared then, and without a bind there is nobody who would serve anything. */
static void a_root_that_is_an_image_is_no_part_of_the_share(void **state)
{
    static const char *const patches[] = {
        "{'annotations': {'org.teca.rootfs': 'image'}, 'linux': {" OWN "}}",
        "{'annotations': {'org.teca.rootfs': 'image'}, 'linux': {" OWN "},"
        " 'mounts': [{'destination': '/v', 'source': '/v', 'options': ['bind']}]}",
    };
    struct machine_facts with = facts;
    struct compile_out out;
    struct err e = { 0 };

    (void)state;
    with.image = (struct machine_image){ "/cache/images/k.erofs", "erofs" };
    with.mode = ISOLATION_EMULATED;
    with.fds = 20000;
    for (size_t i = 0; i < COUNT_OF(patches); i++) {
        struct compile_in in = { .spec = minimal_spec(unit_arena(), patches[i]),
                                 .state_dir = "/run/teca/x",
                                 .id = "x",
                                 .bundle = "/b" };
        const struct op_machine_boot *boot;
        struct plan p;

        with.host = machine_host_of(in.spec, ISOLATION_EMULATED, unit_arena());
        plan_init(&p, unit_arena(), "run");
        if (machine_compile(&in, &with, &p, &out, &e) < 0)
            fail_msg("%s", e.text);
        boot = &p.steps[plan_find(&p, OP_MACHINE_BOOT, 0)].machine_boot;
        assert_int_equal(plan_find(&p, OP_MACHINE_FILES, 0) >= 0, i == 1);
        assert_int_equal(plan_find(&p, OP_MACHINE_BIND, 0) >= 0, i == 1);
        assert_int_equal(boot->files == SLOT_NONE && boot->memory == SLOT_NONE, i == 0);
        assert_string_equal(boot->image, "/cache/images/k.erofs");
        assert_non_null(strstr(boot->command_line, " TECA_IMAGE=teca-image:erofs"));
        assert_int_equal(strstr(boot->command_line, "TECA_NO_SHARE") != NULL, i == 0);
        assert_int_equal(strstr(boot->command_line, " TECA_FILES=19872") != NULL, i == 1);
        assert_non_null(strstr(boot->config, "\"path\":\"/run/teca-root\""));
        assert_null(strstr(boot->config, "org.teca.rootfs"));
    }
    arena_release(unit_arena());
}

static void the_annotation_of_the_root_has_four_forms(void **state)
{
    static const struct {
        const char *value;
        bool machine, container; /* taken there */
    } rows[] = { { "share", true, true },      { "image", true, true }, { "auto", true, true },
                 { "/an/image", true, false }, { "", false, true },     { "an/image", false, true },
                 { "Image", false, true } };

    (void)state;
    for (size_t i = 0; i < COUNT_OF(rows); i++) {
        const struct spec *s = minimal_spec(
            unit_arena(), arena_format(unit_arena(), "{'annotations': {'org.teca.rootfs': '%s'}}",
                                       rows[i].value));
        struct err e = { 0 };

        unit_row(rows[i].value, (machine_check_image(s, &e) == 0) == rows[i].machine &&
                                    (machine_refuse_image(s, &e) == 0) == rows[i].container);
        if (!rows[i].machine || !rows[i].container)
            assert_string_equal(e.pointer, "/annotations/org.teca.rootfs");
    }
    arena_release(unit_arena());
}

static void the_guest_loads_what_its_image_wants(void **state)
{
    static const struct {
        enum isolation mode;
        const char *type, *modules;
    } rows[] = {
        { ISOLATION_VM, "erofs", "virtio_pmem nd_pmem ?crc32c_generic erofs overlay " },
        { ISOLATION_EMULATED, "ext4", "virtio_blk ?crc32c_generic ext4 overlay " },
        { ISOLATION_VM, NULL, "" },
    };

    (void)state;
    for (size_t i = 0; i < COUNT_OF(rows); i++) {
        struct machine_facts f = { .mode = rows[i].mode,
                                   .image = { rows[i].type ? "/i" : NULL, rows[i].type } };
        const char *const *list = machine_image_modules(&f, unit_arena());
        AUTO_STRBUF struct strbuf text = { 0 };

        strbuf_str(&text, "");
        for (; list && *list; list++)
            strbuf_format(&text, "%s ", *list);
        unit_row(rows[i].modules, str_eq(text.ptr ? text.ptr : "", rows[i].modules));
    }
    arena_release(unit_arena());
}

/* Taps and redirects are made before the clone, undone by path and number, and the monitor is where they are. */
static void interfaces_of_a_namespace_get_a_tap_each(void **state)
{
    struct compile_in in = { .spec = minimal_spec(
                                 unit_arena(),
                                 "{'linux': {'namespaces': [{'type': 'mount'}, {'type': 'pid'},"
                                 " {'type': 'network', 'path': '/n'}, {'type': 'ipc'},"
                                 " {'type': 'uts'}]}}"),
                             .state_dir = "/run/teca/x",
                             .id = "x",
                             .bundle = "/b" };
    struct machine_facts with = facts;
    struct compile_out out;
    struct plan p, undo;
    struct made made;
    struct err e = { 0 };
    int boot, first, second;

    (void)state;
    with.host = machine_host_of(in.spec, ISOLATION_EMULATED, unit_arena());
    with.net = (struct net_machine){
        .path = "/n", .inode = 4711, .interfaces = (struct net_interface *)interfaces, .n = 2
    };
    plan_init(&p, unit_arena(), "run");
    if (machine_compile(&in, &with, &p, &out, &e) < 0)
        fail_msg("%s", e.text);
    assert_true(before(&p, OP_STATE_CREATE, OP_NET_TAP));
    assert_true(before(&p, OP_NS_OPEN, OP_NET_TAP) && before(&p, OP_NET_TAP, OP_NET_REDIRECT));
    assert_true(before(&p, OP_NET_REDIRECT, OP_CLONE) && before(&p, OP_UNDUMPABLE, OP_NS_JOIN));
    assert_true(before(&p, OP_NS_JOIN, OP_MACHINE_SHARE));
    assert_true(before(&p, OP_MACHINE_NETWORK, OP_MACHINE_BOOT));
    assert_true(plan_find(&p, OP_NS_UNSHARE, 0) < 0);
    first = plan_find(&p, OP_NET_REDIRECT, 0);
    second = plan_find(&p, OP_NET_REDIRECT, (size_t)first + 1);
    assert_string_equal(p.steps[first].pointer, "/linux/namespaces/2/path");
    assert_string_equal(p.steps[second].net_redirect.interface, "net1");
    boot = plan_find(&p, OP_MACHINE_BOOT, 0);
    assert_string_equal(p.steps[boot].machine_boot.macs[0], "02:00:00:00:00:ab");
    assert_null(p.steps[boot].machine_boot.macs[2]);
    assert_int_equal(p.steps[boot].machine_boot.taps, p.steps[first].net_redirect.tap);
    assert_int_equal(p.steps[boot].machine_boot.taps + 1, p.steps[second].net_redirect.tap);

    made_of_plan(&p, first, unit_arena(), &made);
    assert_int_equal(made.n_redirects, 1);
    made_of_plan(&p, (int)p.n - 1, unit_arena(), &made);
    plan_init(&undo, unit_arena(), "undo");
    container_compile_delete(&made, SLOT_NONE, &undo);
    first = plan_find(&undo, OP_NET_UNREDIRECT, 0);
    assert_int_equal(undo.steps[first].net_unredirect.index, 7);
    assert_int_equal(undo.steps[first].net_unredirect.inode, 4711);
    assert_string_equal(undo.steps[first + 1].net_unredirect.path, "/n");
    assert_int_equal(undo.steps[first + 1].net_unredirect.index, 9);
    arena_release(unit_arena());
}

/* What the kernel calls them and how many there are is known when the hooks are over. */
static void hooks_may_fill_a_new_namespace_and_no_other(void **state)
{
    static const struct {
        const char *patch;
        bool passt, by_path, taken;
    } rows[] = {
        { "{'hooks': {'prestart': [{'path': '/h'}]}}", false, false, true },
        { "{'hooks': {'createRuntime': [{'path': '/h'}]}}", false, false, true },
        { "{'hooks': {'createRuntime': [{'path': '/h'}]}}", true, false, false },
        { "{'hooks': {'createRuntime': [{'path': '/h'}]}}", false, true, false },
        { "{'hooks': {'createContainer': [{'path': '/h'}], 'poststart': [{'path': '/h'}]}}", false,
          false, false },
    };

    (void)state;
    for (size_t i = 0; i < COUNT_OF(rows); i++) {
        const struct machine_facts with = { .passt = rows[i].passt ? "/passt" : NULL,
                                            .net.path = rows[i].by_path ? "/n" : NULL };
        const struct spec *s = minimal_spec(unit_arena(), rows[i].patch);

        unit_row(rows[i].patch, machine_network_by_hooks(s, &with) == rows[i].taken);
    }
    arena_release(unit_arena());
}

static void the_interfaces_that_hooks_leave_are_taken_before_the_boot(void **state)
{
    struct plan p;
    int take, boot;

    (void)state;
    plan_for(&p, true);
    take = plan_find(&p, OP_MACHINE_TAKE_NETWORK, 0);
    boot = plan_find(&p, OP_MACHINE_BOOT, 0);
    assert_true(before(&p, OP_HOOK, OP_MACHINE_TAKE_NETWORK));
    assert_true(before(&p, OP_MACHINE_SHARE, OP_MACHINE_TAKE_NETWORK));
    assert_true(before(&p, OP_MACHINE_TAKE_NETWORK, OP_MACHINE_FILES));
    assert_null(p.steps[boot].machine_boot.macs);
    assert_int_equal(p.steps[boot].machine_boot.taps, p.steps[take].machine_take_network.taps);
    assert_non_null(strstr(p.steps[boot].machine_boot.config, "/run/teca-agent/netns"));
    for (int i = 0; i < (int)p.n; i++) /* four slots are the taps', and nobody else's */
        if (p.steps[i].op == OP_MACHINE_FILES)
            assert_true(p.steps[i].machine_files.out >=
                        p.steps[take].machine_take_network.taps + NET_INTERFACES_MAX);
    arena_release(unit_arena());
}

/* Hooks and engines look at the monitor's namespace: it must never be the host's. */
static void without_a_path_the_monitor_has_an_empty_one(void **state)
{
    struct plan p;

    (void)state;
    plan_for(&p, false);
    assert_true(before(&p, OP_NS_UNSHARE, OP_MACHINE_SHARE));
    assert_int_equal(p.steps[plan_find(&p, OP_NS_UNSHARE, 0)].ns_unshare.flags, CLONE_NEWNET);
    assert_true(plan_find(&p, OP_NET_TAP, 0) < 0 && plan_find(&p, OP_MACHINE_NETWORK, 0) < 0);
    arena_release(unit_arena());
}

static bool has_word(char *const *args, const char *word)
{
    for (; *args; args++)
        if (strstr(*args, word))
            return true;
    return false;
}

static void qemu_is_told_of_fds_and_nothing_of_the_host(void **state)
{
    static const char *const more[] = { "-name", "mine", NULL };
    static const char *const macs[] = { "02:00:00:00:00:ab", "02:00:00:00:00:ac", NULL };
    const struct op_machine_boot op = { .program = "/qemu",
                                        .kernel = "/k",
                                        .initramfs = "/i",
                                        .command_line = "quiet",
                                        .memory_mib = 300,
                                        .cpus = 2,
                                        .parameters = more,
                                        .macs = macs };
    struct machine_wires wires = { .kernel = 11,
                                   .initramfs = 12,
                                   .port = 13,
                                   .console = 14,
                                   .files = 15,
                                   .image = -1,
                                   .system = 19,
                                   .nets = { 16, 17 } };
    char *const *args = machine_qemu_args(&op, &wires, unit_arena());

    (void)state;
    assert_string_equal(args[0], "/qemu");
    assert_true(has_word(args, "/proc/self/fd/11") && has_word(args, "/proc/self/fd/12"));
    assert_true(has_word(args, "id=agent,fd=13") && has_word(args, "id=console,fd=14") &&
                has_word(args, "id=files,fd=15"));
    assert_true(has_word(args, "tap,id=net1,fd=17") &&
                has_word(args, "netdev=net0,mac=02:00:00:00:00:ab"));
    assert_true(has_word(args, "300M") && has_word(args, "thread=multi") && has_word(args, "mine"));
    assert_true(has_word(args, "-nodefaults") && has_word(args, "elevateprivileges=deny"));
    assert_true(has_word(args, "serial=teca-disk0") && has_word(args, "fd=19,set=2"));
    assert_false(has_word(args, "serial=teca-image"));
    wires.image = 18;
    wires.files = -1;
    args = machine_qemu_args(&op, &wires, unit_arena());
    assert_true(has_word(args, "fd=18,set=1") && has_word(args, "/dev/fdset/1,read-only=on") &&
                has_word(args, "serial=teca-image"));
    assert_false(has_word(args, "vhost-user-fs-device"));
    arena_release(unit_arena());
}

/* Two images, the share and all the interfaces that there may be: what is in front is still what it was. */
static void qemu_is_told_of_as_much_as_there_may_be(void **state)
{
    static const char *const more[] = { "-name", "mine", NULL };
    static const char *const macs[NET_INTERFACES_MAX + 1] = { "a", "b", "c", "d" };
    const struct op_machine_boot op = {
        .program = "/qemu", .memory_mib = 300, .cpus = 2, .parameters = more, .macs = macs
    };
    struct machine_wires wires = { .kernel = 11, .initramfs = 12, .image = 18, .system = 19 };
    char *const *args = machine_qemu_args(&op, &wires, unit_arena());
    size_t n = 0;

    (void)state;
    while (args[n])
        n++;
    assert_string_equal(args[n - 1], "mine");
    assert_true(has_word(args, "tcg,thread=multi") && has_word(args, "300M") &&
                has_word(args, "size=300M,share=on"));
    assert_true(has_word(args, "/proc/self/fd/11") && has_word(args, "/proc/self/fd/12"));
    assert_true(has_word(args, "netdev=net0,mac=a") && has_word(args, "netdev=net3,mac=d"));
    arena_release(unit_arena());
}

/* What is told of a machine that has ended: its console's words are the guest's. */
static void the_last_words_are_a_panics_reason_or_the_last_lines(void **state)
{
    static const struct {
        const char *said, *told;
    } rows[] = {
        { "", "" },
        { "\r\n\n", "" },
        { "one", "one" },
        { "x\nteca-agent: it is broken\r\n[ 2.0] reboot: System halted\n",
          "teca-agent: it is broken" },
        { "1\r\n2\r\n\r\n3\n4\n", "2 | 3 | 4" },
        { "a\033[31mb\tc\n", "a?[31mb?c" },
        { "[ 1.0] Kernel panic - not syncing: x\nCPU: 0\nCall Trace:\n f\n g\n",
          "Kernel panic - not syncing: x" },
        { "Kernel panic - not syncing: x\nY\n---[ end Kernel panic - not syncing: x ]---\r\nZ\n",
          "Kernel panic - not syncing: x" },
    };
    char longest[2 * ERR_TEXT_SIZE];
    struct machine_words words;

    (void)state;
    for (size_t i = 0; i < COUNT_OF(rows); i++) {
        machine_last_words(rows[i].said, strlen(rows[i].said), &words);
        unit_row(rows[i].said,
                 str_eq(words.text, rows[i].told) && words.len == strlen(rows[i].told));
    }
    memset(longest, 'x', sizeof(longest));
    machine_last_words(longest, sizeof(longest), &words);
    assert_int_equal(words.len, sizeof(words.text) - 1);
}

/* The guest is hostile: what it says of pids is looked at, and nothing of it is used as one here. */
static void pids_of_a_guest_are_pids_or_nothing(void **state)
{
    static const struct {
        const char *text;
        int n; /* -1: refused */
    } rows[] = {
        { "[]", 0 },       { "[1,42,4194304]", 3 }, { "", -1 },          { "{}", -1 },
        { "[0]", -1 },     { "[-1]", -1 },          { "[4194305]", -1 }, { "[1.5]", -1 },
        { "[\"1\"]", -1 }, { "[[1]]", -1 },         { "[1,", -1 },       { "[1] x", -1 },
    };

    (void)state;
    for (size_t i = 0; i < COUNT_OF(rows); i++) {
        struct err e = { 0 };
        pid_t *pids;
        size_t n = 99;
        int r = machine_read_pids(rows[i].text, strlen(rows[i].text), unit_arena(), &pids, &n, &e);

        unit_row(rows[i].text, rows[i].n < 0 ? r < 0 : r == 0 && (int)n == rows[i].n);
    }
    arena_release(unit_arena());
}

static void new_limits_are_the_guests_but_for_disks_and_processors(void **state)
{
    static const struct {
        const char *asked, *there, *here;
    } rows[] = {
        { "{}", "{}", "{}" },
        { "{\"pids\":{\"limit\":5}}", "{\"pids\":{\"limit\":5}}", "{}" },
        { "{\"blockIO\":{\"weight\":10}}", "{}", "{\"blockIO\":{\"weight\":10}}" },
        { "{\"cpu\":{\"quota\":7,\"cpus\":\"0\",\"realtimeRuntime\":9}}",
          "{\"cpu\":{\"quota\":7,\"realtimeRuntime\":9}}",
          "{\"cpu\":{\"quota\":7,\"cpus\":\"0\"}}" },
    };

    (void)state;
    for (size_t i = 0; i < COUNT_OF(rows); i++) {
        struct json *doc = NULL;

        json_parse(unit_arena(), rows[i].asked, strlen(rows[i].asked), "it", &doc, NULL);
        assert_string_equal(machine_guest_resources(doc, unit_arena()), rows[i].there);
        assert_string_equal(machine_host_resources(doc, unit_arena()), rows[i].here);
    }
    arena_release(unit_arena());
}

static void a_machine_grows_no_memory(void **state)
{
    static const char config[] = "{'ociVersion': '1.0.2', 'root': {'path': 'r'}, 'linux': "
                                 "{'resources': {'memory': {'limit': 1073741824}}}}";
    char *text = arena_strdup(unit_arena(), config);
    struct state_record rec = { .config = text, .config_len = strlen(text) };
    struct spec_resources asked = { .memory = { .limit = { true, 1141LL << 20 } } };
    struct err e = { 0 };

    (void)state;
    for (char *at = text; *at; at++)
        *at = *at == '\'' ? '"' : *at;
    assert_int_equal(machine_check_update(&rec, &asked, unit_arena(), &e), 0);
    asked.memory.limit.v = -1;
    assert_int_equal(machine_check_update(&rec, &asked, unit_arena(), &e), 0);
    asked.memory.limit.v = (1141LL << 20) + 1;
    assert_true(machine_check_update(&rec, &asked, unit_arena(), &e) < 0);
    assert_string_equal(e.pointer, "/linux/resources/memory/limit");
    assert_non_null(strstr(e.text, "1141 MiB"));
    arena_release(unit_arena());
}

static void exec_in_a_machine_asks_the_guest_for_what_it_was_told(void **state)
{
    const char *words[] = { "sh", "-c", "" }, *env[] = { "A=b" };
    const struct container_exec_options options = {
        .cwd = "/w", .tty = true, .env = { env, 1 }, .args = { words, 3 }
    };
    static const char *const expected[] = {
        "exec",  "--detach", "--pid-file", "pid", "--console-socket", "console", "--tty",
        "--cwd", "/w",       "--env",      "A=b", "container",        "--",      "sh",
        "-c",    "",         NULL
    };
    struct spec *s = (struct spec *)minimal_spec(unit_arena(), "{'process': {'terminal': true}}");
    static const char *const v1[] = { "/sys/fs/cgroup/pids/x", NULL };
    const struct exec_facts own = { .v2 = "/sys/fs/cgroup/unified/x", .v1 = v1 };
    struct container_exec_options patient = options;
    struct exec_machine_in in = {
        .spec = s, .facts = &own, .dir = "/run/teca/x", .pid_file = "/pid", .options = &options
    };
    struct exec_out out;
    struct plan p;
    struct err e = { 0 };
    const struct step *st;

    (void)state;
    plan_init(&p, unit_arena(), "exec");
    assert_int_equal(machine_compile_exec(&in, &p, &out, &e), 0);
    st = &p.steps[plan_find(&p, OP_MACHINE_EXEC, 0)];
    for (size_t i = 0; expected[i] || st->machine_exec.args[i]; i++)
        assert_string_equal(st->machine_exec.args[i], expected[i]);
    /* What stands for it is in the machine's cgroups before anything else. */
    assert_true(before(&p, OP_CGROUP_OPEN, OP_CLONE));
    assert_true(p.steps[plan_find(&p, OP_CLONE, 0)].clone.cgroup ==
                p.steps[plan_find(&p, OP_CGROUP_OPEN, 0)].cgroup_open.out);
    assert_true(before(&p, OP_CGROUP_JOIN, OP_TERMINAL_OPEN));
    /* The terminal is whose it shall be before the program is, and the pid file is the proof that it runs. */
    assert_true(before(&p, OP_TERMINAL_OPEN, OP_TERMINAL_RELAY));
    assert_true(before(&p, OP_TERMINAL_RELAY, OP_MACHINE_EXEC));
    assert_true(before(&p, OP_EXECUTED, OP_PID_FILE));
    /* As long as a paused container is not resumed, where that was asked for. */
    assert_false(st->machine_exec.patient);
    patient.ignore_paused = true;
    in.options = &patient;
    plan_init(&p, unit_arena(), "exec");
    assert_int_equal(machine_compile_exec(&in, &p, &out, &e), 0);
    assert_true(p.steps[plan_find(&p, OP_MACHINE_EXEC, 0)].machine_exec.patient);
    arena_release(unit_arena());
}

static void the_guests_memory_is_told_from_the_rest(void **state)
{
    static const char text[] =
        "7f00-7f10 rw-s 00000000 00:01 1   /memfd:memory-backend-memfd (deleted)\n"
        "Size: 99 kB\nPss:                 100 kB\nPss_Dirty: 100 kB\nVmFlags: rd wr sh\n"
        "7f20-7f30 rw-p 00000000 00:00 0\n"
        "Pss:                  20 kB\nVmFlags: rd wr mr dd hg\n"
        "7f40-7f50 r-xp 00000000 08:01 5   /usr/bin/qemu-system-x86_64\n"
        "Pss:                   3 kB\nVmFlags: rd ex\n"
        "a000-b000 rw-p 00000000 00:00 0   [heap]\nPss: 4 kB\nVmFlags: rd wr";
    uint64_t guest = 1, rest = 2;

    (void)state;
    machine_memory_of_smaps(text, &guest, &rest);
    assert_int_equal(guest, 1 + 120 * 1024);
    assert_int_equal(rest, 2 + 7 * 1024);
    machine_memory_of_smaps("", &guest, &rest);
    assert_int_equal(rest, 2 + 7 * 1024);
}

static void what_the_guest_says_has_its_field_again(void **state)
{
    static const struct {
        const char *said, *pointer, *text;
    } rows[] = {
        { "/hooks/startContainer/0: it failed: twice", "/hooks/startContainer/0",
          "it failed: twice" },
        { "cannot do it: no", "", "cannot do it: no" },
        { "/only a path", "", "/only a path" },
        { "/a:b", "", "/a:b" },
        { "", "", "" },
    };

    (void)state;
    for (size_t i = 0; i < COUNT_OF(rows); i++) {
        struct err e = { 0 };

        assert_int_equal(machine_said(rows[i].said, &e), -EINVAL);
        assert_string_equal(e.pointer, rows[i].pointer);
        assert_string_equal(e.text, rows[i].text);
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(a_flag_goes_before_the_annotation_and_that_before_the_vm_object),
        cmocka_unit_test(what_cannot_cross_is_named_by_its_field),
        cmocka_unit_test(a_container_of_a_pod_has_names_by_path_and_an_ipc_namespace_of_its_own),
        cmocka_unit_test(the_last_word_about_read_only_counts_and_rro_is_about_all),
        cmocka_unit_test(the_guest_gets_the_document_with_the_shares_paths),
        cmocka_unit_test(memory_is_the_limit_and_what_the_guest_needs),
        cmocka_unit_test(
            the_record_precedes_everything_and_the_pid_is_published_for_a_machine_that_is_up),
        cmocka_unit_test(a_root_that_is_an_image_is_no_part_of_the_share),
        cmocka_unit_test(ids_of_a_bind_are_mapped_before_it_is_shared),
        cmocka_unit_test(the_annotation_of_the_root_has_four_forms),
        cmocka_unit_test(the_guest_loads_what_its_image_wants),
        cmocka_unit_test(interfaces_of_a_namespace_get_a_tap_each),
        cmocka_unit_test(without_a_path_the_monitor_has_an_empty_one),
        cmocka_unit_test(hooks_may_fill_a_new_namespace_and_no_other),
        cmocka_unit_test(the_interfaces_that_hooks_leave_are_taken_before_the_boot),
        cmocka_unit_test(processors_are_as_many_as_the_quota_keeps_busy),
        cmocka_unit_test(a_machine_has_room_for_all_that_its_file_server_may_hold),
        cmocka_unit_test(the_host_limits_the_machine_and_the_guest_the_container),
        cmocka_unit_test(the_host_limits_nothing_that_the_document_does_not),
        cmocka_unit_test(what_the_caller_has_is_said_where_the_document_is_silent),
        cmocka_unit_test(
            the_monitor_is_in_its_cgroup_before_it_starts_anything_and_capped_when_it_is_up),
        cmocka_unit_test(qemu_is_told_of_fds_and_nothing_of_the_host),
        cmocka_unit_test(qemu_is_told_of_as_much_as_there_may_be),
        cmocka_unit_test(the_last_words_are_a_panics_reason_or_the_last_lines),
        cmocka_unit_test(pids_of_a_guest_are_pids_or_nothing),
        cmocka_unit_test(new_limits_are_the_guests_but_for_disks_and_processors),
        cmocka_unit_test(a_machine_grows_no_memory),
        cmocka_unit_test(exec_in_a_machine_asks_the_guest_for_what_it_was_told),
        cmocka_unit_test(the_guests_memory_is_told_from_the_rest),
        cmocka_unit_test(what_the_guest_says_has_its_field_again),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
