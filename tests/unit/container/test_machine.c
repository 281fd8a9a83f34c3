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

    text = machine_config(s, &binds, unit_arena());
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
        assert_true(before(&p, OP_STATE_CREATE, OP_MACHINE_CONTROL));
        assert_true(before(&p, OP_MACHINE_CONTROL, OP_MACHINE_SHARE));
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
    const struct op_machine_boot op = { .program = "/qemu",
                                        .kernel = "/k",
                                        .initramfs = "/i",
                                        .command_line = "quiet",
                                        .memory_mib = 300,
                                        .cpus = 2,
                                        .parameters = more };
    const struct machine_wires wires = {
        .kernel = 11, .initramfs = 12, .port = 13, .console = 14, .files = 15
    };
    char *const *args = machine_qemu_args(&op, &wires, unit_arena());

    (void)state;
    assert_string_equal(args[0], "/qemu");
    assert_true(has_word(args, "/proc/self/fd/11") && has_word(args, "/proc/self/fd/12"));
    assert_true(has_word(args, "id=agent,fd=13") && has_word(args, "id=console,fd=14") &&
                has_word(args, "id=files,fd=15"));
    assert_true(has_word(args, "300M") && has_word(args, "thread=multi") && has_word(args, "mine"));
    assert_true(has_word(args, "-nodefaults") && has_word(args, "elevateprivileges=deny"));
    arena_release(unit_arena());
}

static void a_verb_without_machines_refuses_them_only(void **state)
{
    struct state_record rec = { 0 };
    struct err e = { 0 };

    (void)state;
    assert_int_equal(machine_refuse(&rec, "checkpoint", &e), 0);
    rec.isolation = "emulated";
    assert_true(machine_refuse(&rec, "checkpoint", &e) < 0);
    assert_string_equal(e.text, "checkpoint of a container in a machine: not supported yet");
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
        cmocka_unit_test(qemu_is_told_of_fds_and_nothing_of_the_host),
        cmocka_unit_test(a_verb_without_machines_refuses_them_only),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
