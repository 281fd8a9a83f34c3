/* SPDX-License-Identifier: Apache-2.0 */
/* A start in a machine: what is chosen and refused, what the guest is told, and the order of the plan. Pure. */
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
    } rows[] = {
        { NULL, NULL, ISOLATION_CONTAINER },
        { NULL, "{'vm': {'kernel': {'path': '/k'}}}", ISOLATION_VM },
        { NULL,
          "{'vm': {'kernel': {'path': '/k'}}, 'annotations': {'org.teca.isolation': 'emulated'}}",
          ISOLATION_EMULATED },
        { "container", "{'annotations': {'org.teca.isolation': 'emulated'}}", ISOLATION_CONTAINER },
        { "emulated", "{'vm': {'kernel': {'path': '/k'}}}", ISOLATION_EMULATED },
        { NULL, "{'annotations': {'org.teca.isolation': ''}}", -1 },
    };

    (void)state;
    for (size_t i = 0; i < COUNT_OF(rows); i++) {
        struct container_options o = { .isolation = rows[i].flag };
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
        { "{'linux': {" OWN "}, 'vm': {'kernel': {'path': '/k', 'initrd': '/i'}}}",
          "/vm/kernel/initrd", "not supported yet" },
        { "{'linux': {" OWN "}, 'vm': {'kernel': {'path': '/k'}, 'hwConfig': {'irqs': [3]}}}",
          "/vm/hwConfig/irqs", "not supported yet" },
        { "{'linux': {" OWN "}, 'vm': {'kernel': {'path': '/k'}, 'hwConfig': {'vcpus': 65}}}",
          "/vm/hwConfig/vcpus", "from 1 to 64" },
        { "{'linux': {" OWN ", 'intelRdt': {'closID': 'x'}}}", "/linux/intelRdt",
          "not supported yet" },
        { "{'process': null, 'linux': {" OWN "}}", "/process", "not supported yet" },
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
    struct machine_binds binds;
    const char *text;
    struct json *doc = NULL;
    const struct json *mounts;
    struct err e = { 0 };

    (void)state;
    machine_binds_of(s, "/some/bundle", unit_arena(), &binds);
    assert_int_equal(binds.n, 3);
    assert_string_equal(binds.v[0].source, "/some/r");
    assert_false(
        binds.v[0].read_only); /* mount points are made in it; the guest makes it read-only */
    assert_string_equal(binds.v[1].source, "/some/bundle/vol");
    assert_true(binds.v[1].read_only && binds.v[1].recursive);
    assert_string_equal(binds.v[2].name, "2");
    assert_false(binds.v[2].read_only || binds.v[2].recursive);

    text = machine_config(s, &binds, false, unit_arena());
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

    text = machine_config(s, &binds, true, unit_arena());
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

static const struct machine_facts facts = {
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
    struct compile_in in = { .spec = minimal_spec(unit_arena(),
                                                  "{'linux': {" OWN "},"
                                                  " 'hooks': {'createRuntime': [{'path': '/c'}],"
                                                  "           'poststart': [{'path': '/p'}]}}"),
                             .state_dir = "/run/teca/x",
                             .pid_file = "/pid",
                             .create = create,
                             .id = "x",
                             .bundle = "/b" };
    struct compile_out out;
    struct err e = { 0 };

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

    (void)state;
    for (int create = 0; create < 2; create++) {
        plan_for(&p, create);
        assert_int_equal(plan_find(&p, OP_STATE_CREATE, 0), 0);
        assert_int_equal(p.steps[0].state_create.start_fifos, create);
        assert_true(before(&p, OP_MACHINE_SHARE, OP_MACHINE_BIND));
        assert_true(before(&p, OP_MACHINE_BIND, OP_MACHINE_FILES));
        assert_true(before(&p, OP_MACHINE_FILES, OP_MACHINE_BOOT));
        assert_true(before(&p, OP_MACHINE_BOOT, OP_HOOK));
        assert_true(before(&p, OP_HOOK, OP_PID_FILE));
        assert_true(before(&p, OP_MACHINE_BOOT, OP_STATE_INIT));
        assert_true(before(&p, OP_STATE_INIT, OP_MACHINE_SERVE));
        /* poststart hooks are of `start` where the container was created. */
        assert_int_equal(plan_find(&p, OP_HOOK, (size_t)plan_find(&p, OP_HOOK, 0) + 1) < 0, create);
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
    with.net = (struct net_machine){ "/n", 4711, (struct net_interface *)interfaces, 2 };
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
    const struct machine_wires wires = {
        .kernel = 11, .initramfs = 12, .port = 13, .console = 14, .files = 15, .nets = { 16, 17 }
    };
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
    arena_release(unit_arena());
}

static void a_verb_without_machines_refuses_them_only(void **state)
{
    struct state_record rec = { 0 };
    struct err e = { 0 };

    (void)state;
    assert_int_equal(machine_refuse(&rec, "exec", &e), 0);
    rec.isolation = "emulated";
    assert_true(machine_refuse(&rec, "exec", &e) < 0);
    assert_string_equal(e.text, "exec of a container in a machine: not supported yet");
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(a_flag_goes_before_the_annotation_and_that_before_the_vm_object),
        cmocka_unit_test(what_cannot_cross_is_named_by_its_field),
        cmocka_unit_test(the_guest_gets_the_document_with_the_shares_paths),
        cmocka_unit_test(memory_is_the_limit_and_what_the_guest_needs),
        cmocka_unit_test(
            the_record_precedes_everything_and_the_pid_is_published_for_a_machine_that_is_up),
        cmocka_unit_test(interfaces_of_a_namespace_get_a_tap_each),
        cmocka_unit_test(without_a_path_the_monitor_has_an_empty_one),
        cmocka_unit_test(qemu_is_told_of_fds_and_nothing_of_the_host),
        cmocka_unit_test(a_verb_without_machines_refuses_them_only),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
