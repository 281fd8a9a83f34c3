/* SPDX-License-Identifier: Apache-2.0 */
#include "minimal.h"

#define LINUX(members) "{'linux': {" members "}}"

/* One row a property. */
static const struct {
    const char *pointer, *patch;
} refused[] = {
    { "/vm", "{'vm': {'kernel': {'path': '/k'}}}" },
};

static const struct {
    const char *pointer, *patch;
} not_applied[] = {
    { "/linux/resources/devices", LINUX("'resources': {'devices': [{'allow': false}]}") },
    { "/linux/resources/memory", LINUX("'resources': {'memory': {'limit': 1}}") },
    { "/linux/resources/cpu", LINUX("'resources': {'cpu': {'mems': '0'}}") },
    { "/linux/resources/pids", LINUX("'resources': {'pids': {'limit': 0}}") },
    { "/linux/resources/blockIO", LINUX("'resources': {'blockIO': {'weight': 10}}") },
    { "/linux/resources/hugepageLimits",
      LINUX("'resources': {'hugepageLimits': [{'pageSize': '2MB', 'limit': 0}]}") },
    { "/linux/resources/network", LINUX("'resources': {'network': {'classID': 1}}") },
    { "/linux/resources/rdma", LINUX("'resources': {'rdma': {'mlx': {'hcaHandles': 0}}}") },
    { "/linux/resources/unified", LINUX("'resources': {'unified': {'memory.high': '1'}}") },
};

static struct spec_faults unsupported(struct arena *a, const char *patch)
{
    struct spec_faults f;

    spec_faults_init(&f);
    spec_unsupported(minimal_spec(a, patch), a, &f);
    return f;
}

static void what_no_plan_executes_is_refused(void **state)
{
    (void)state;
    for (size_t i = 0; i < COUNT_OF(refused); i++) {
        struct spec_faults f = unsupported(unit_arena(), refused[i].patch);

        unit_row(refused[i].pointer, f.errors == 1 && f.warnings == 0);
        unit_row(refused[i].pointer, str_eq(f.first->pointer, refused[i].pointer));
        unit_row(refused[i].pointer, str_eq(f.first->text, "not supported yet"));
        unit_row(refused[i].pointer, f.first->line == 1);
    }
}

static void resources_are_a_remark_each(void **state)
{
    (void)state;
    for (size_t i = 0; i < COUNT_OF(not_applied); i++) {
        struct spec_faults f = unsupported(unit_arena(), not_applied[i].patch);

        unit_row(not_applied[i].pointer, f.errors == 0 && f.warnings == 1);
        unit_row(not_applied[i].pointer, str_eq(f.first->pointer, not_applied[i].pointer));
        unit_row(not_applied[i].pointer, str_eq(f.first->text, "not applied yet"));
    }
}

static void what_asks_for_nothing_is_fine(void **state)
{
    static const char *const patches[] = {
        NULL,
        "{'hooks': {'prestart': [], 'poststop': [{'path': '/bin/true'}]}}",
        "{'process': {'terminal': false, 'apparmorProfile': '', 'selinuxLabel': ''}}",
        "{'process': {'consoleSize': {'height': 1, 'width': 1}}}",
        "{'process': {'terminal': true, 'consoleSize': {'height': 1, 'width': 1}}}",
        LINUX("'mountLabel': '', 'netDevices': {}"),
        LINUX("'resources': {'devices': [], 'memory': {}, 'unified': {}}"),
        LINUX("'resources': {}"),
        LINUX("'seccomp': {'defaultAction': 'SCMP_ACT_LOG', 'listenerPath': '/ignored'}"),
        LINUX("'seccomp': {'defaultAction': 'SCMP_ACT_LOG', 'listenerPath': '/l',"
              " 'syscalls': [{'names': ['a'], 'action': 'SCMP_ACT_NOTIFY'}]}"),
        "{'mounts': [{'destination': '/a', 'uidMappings': [{'containerID': 0, 'hostID': 0,"
        " 'size': 1}], 'options': ['rbind', 'ridmap']}]}",
    };

    (void)state;
    for (size_t i = 0; i < COUNT_OF(patches); i++) {
        struct spec_faults f = unsupported(unit_arena(), patches[i]);

        unit_row(patches[i], f.first == NULL);
    }
}

static void they_come_in_document_order(void **state)
{
    static const char text[] = "{\"vm\": {\"kernel\": {\"path\": \"/k\"}},\n\"linux\": {"
                               "\"resources\": {\"pids\": {\"limit\": 1}}}}";
    static const char *const wanted[] = { "/vm", "/linux/resources/pids" };
    struct arena *a = unit_arena();
    const struct spec_fault *fault;
    struct spec_faults f;
    struct spec *s;
    size_t i = 0;

    (void)state;
    assert_int_equal(spec_parse(a, text, sizeof(text) - 1, &s, NULL, NULL), 0);
    spec_faults_init(&f);
    spec_unsupported(s, a, &f);
    assert_int_equal(f.errors + f.warnings, COUNT_OF(wanted));
    for (fault = f.first; fault; fault = fault->next)
        assert_string_equal(fault->pointer, wanted[i++]);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(what_no_plan_executes_is_refused),
        cmocka_unit_test(resources_are_a_remark_each),
        cmocka_unit_test(what_asks_for_nothing_is_fine),
        cmocka_unit_test(they_come_in_document_order),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
