/* SPDX-License-Identifier: Apache-2.0 */
#include "minimal.h"

#define LINUX(members) "{'linux': {" members "}}"

/* One row a property. */
static const struct {
    const char *pointer, *patch;
} refused[] = {
    { "/vm", "{'vm': {'kernel': {'path': '/k'}}}" },
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
        LINUX("'resources': {'memory': {'limit': 1}, 'devices': [{'allow': false}]}"),
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

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(what_no_plan_executes_is_refused),
        cmocka_unit_test(what_asks_for_nothing_is_fine),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
