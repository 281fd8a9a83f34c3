/* SPDX-License-Identifier: Apache-2.0 */
#include "minimal.h"

#include <linux/sched.h>
#include <sys/resource.h>

static void namespaces_have_names_and_flags(void **state)
{
    static const struct {
        enum spec_ns type;
        const char *name;
        uint64_t flag;
    } rows[] = {
        { SPEC_NS_PID, "pid", CLONE_NEWPID },          { SPEC_NS_NETWORK, "network", CLONE_NEWNET },
        { SPEC_NS_MOUNT, "mount", CLONE_NEWNS },       { SPEC_NS_IPC, "ipc", CLONE_NEWIPC },
        { SPEC_NS_UTS, "uts", CLONE_NEWUTS },          { SPEC_NS_USER, "user", CLONE_NEWUSER },
        { SPEC_NS_CGROUP, "cgroup", CLONE_NEWCGROUP }, { SPEC_NS_TIME, "time", 0x80 },
    };

    (void)state;
    assert_int_equal(COUNT_OF(rows), SPEC_NS_COUNT);
    for (size_t i = 0; i < COUNT_OF(rows); i++) {
        unit_row(rows[i].name, str_eq(spec_ns_name(rows[i].type), rows[i].name));
        unit_row(rows[i].name, spec_ns_flag(rows[i].type) == rows[i].flag);
    }
}

static void capabilities_are_those_of_the_kernel(void **state)
{
    (void)state;
    assert_int_equal(spec_capability_number("CAP_CHOWN"), 0);
    assert_int_equal(spec_capability_number("CAP_SYS_ADMIN"), 21);
    assert_int_equal(spec_capability_number("CAP_CHECKPOINT_RESTORE"), 40);
    assert_int_equal(spec_capability_number("cap_kill"), -1);
    assert_int_equal(spec_capability_number(""), -1);
    for (int i = 0; i <= 40; i++)
        assert_int_equal(spec_capability_number(spec_capability_name(i)), i);
    assert_null(spec_capability_name(41));
    assert_null(spec_capability_name(-1));
}

static void rlimits_are_those_of_the_kernel(void **state)
{
    (void)state;
    assert_int_equal(spec_rlimit_number("RLIMIT_CPU"), RLIMIT_CPU);
    assert_int_equal(spec_rlimit_number("RLIMIT_NOFILE"), RLIMIT_NOFILE);
    assert_int_equal(spec_rlimit_number("RLIMIT_RTTIME"), RLIM_NLIMITS - 1);
    assert_int_equal(spec_rlimit_number("RLIMIT_OFILE"), -1);
}

static void a_namespace_is_found_by_type(void **state)
{
    const struct spec *s = minimal_spec(
        unit_arena(),
        "{'linux': {'namespaces': [{'type': 'ipc'}, {'type': 'uts', 'path': '/u'}]}}");

    (void)state;
    assert_true(spec_has_namespace(s, SPEC_NS_IPC));
    assert_null(spec_namespace_of(s, SPEC_NS_IPC)->path);
    assert_string_equal(spec_namespace_of(s, SPEC_NS_UTS)->path, "/u");
    assert_false(spec_has_namespace(s, SPEC_NS_MOUNT));
    assert_null(spec_namespace_of(s, SPEC_NS_MOUNT));
}

static void an_annotation_is_found_by_key(void **state)
{
    const struct spec *s = minimal_spec(unit_arena(),
                                        "{'annotations': {'a': '1', 'org.teca.landlock': '{}'}}");
    const char *key = spec_annotation_name(SPEC_ANNOTATION_LANDLOCK);

    (void)state;
    assert_string_equal(key, "org.teca.landlock");
    assert_string_equal(spec_annotation(s, SPEC_ANNOTATION_LANDLOCK), "{}");
    s = minimal_spec(unit_arena(), "{'annotations': {'a': '1', 'org.teca.landlock2': '{}'}}");
    assert_null(spec_annotation(s, SPEC_ANNOTATION_LANDLOCK));
}

static void id_maps_are_the_lines_that_the_kernel_reads(void **state)
{
    const struct spec *s = minimal_spec(
        unit_arena(), "{'linux': {'uidMappings': ["
                      "{'containerID': 0, 'hostID': 100000, 'size': 65536},"
                      "{'containerID': 4294967294, 'hostID': 4294967293, 'size': 1}]}}");

    (void)state;
    assert_string_equal(spec_id_map_text(unit_arena(), &s->linux.uid_mappings),
                        "0 100000 65536\n4294967294 4294967293 1\n");
    assert_string_equal(spec_id_map_text(unit_arena(), &s->linux.gid_mappings), "");
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(namespaces_have_names_and_flags),
        cmocka_unit_test(capabilities_are_those_of_the_kernel),
        cmocka_unit_test(rlimits_are_those_of_the_kernel),
        cmocka_unit_test(a_namespace_is_found_by_type),
        cmocka_unit_test(an_annotation_is_found_by_key),
        cmocka_unit_test(id_maps_are_the_lines_that_the_kernel_reads),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
