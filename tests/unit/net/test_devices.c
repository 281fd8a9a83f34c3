/* SPDX-License-Identifier: Apache-2.0 */
/* linux.netDevices in the plan; the kernel's side of it is in tests/system/test_netdevices.py. */
#include "minimal.h"

#include "net/net.h"

enum { PID = 7 };

static struct plan plan;
static struct err err;

static int compile(const char *devices, bool own_namespace)
{
    struct spec *s = minimal_spec(
        unit_arena(), arena_format(unit_arena(), "{'linux': {'netDevices': %s}}", devices));

    err = (struct err){ 0 };
    plan_init(&plan, unit_arena(), "run");
    plan_add(&plan, OP_CLONE, LANE_RUNTIME, "");
    plan_add(&plan, OP_NS_JOIN, LANE_INIT, "");
    return net_compile_devices(&plan, s, own_namespace, PID, &err);
}

static void without_devices_there_is_no_step_and_no_error(void **state)
{
    (void)state;
    assert_int_equal(compile("{}", true), 0);
    assert_int_equal(plan.n, 2);
}

static void the_runtime_moves_each_when_init_is_in_its_namespace(void **state)
{
    const struct op_net_device_move *first, *second;

    (void)state;
    assert_int_equal(compile("{'a': {}, 'b': {'name': 'eth%d'}}", false), 0);
    assert_int_equal(plan.n, 4);
    for (size_t i = 2; i < plan.n; i++) {
        assert_int_equal(plan.steps[i].op, OP_NET_DEVICE_MOVE);
        assert_int_equal(plan.steps[i].lane, LANE_RUNTIME);
    }
    assert_int_equal(plan.steps[2].after, 1);
    first = &plan.steps[2].net_device_move;
    second = &plan.steps[3].net_device_move;
    assert_string_equal(first->name, "a");
    assert_string_equal(second->host_name, "b");
    assert_string_equal(second->name, "eth%d");
    assert_int_equal(first->pid, PID);
    assert_int_equal(first->netns, second->netns);
    assert_int_not_equal(first->index, second->index);
    assert_int_not_equal(first->was_up, second->was_up);
}

static void the_pointer_names_the_device(void **state)
{
    (void)state;
    assert_int_equal(compile("{'a~b': {}}", false), 0);
    assert_string_equal(plan.steps[2].pointer, "/linux/netDevices/a~0b");
}

static void the_runtimes_own_namespace_is_refused(void **state)
{
    (void)state;
    assert_true(compile("{'a': {}}", true) < 0);
    assert_string_equal(err.pointer, "/linux/netDevices");
}

static void a_device_that_never_moved_needs_no_way_back(void **state)
{
    int values[] = { -1, -1, -1 };
    struct slots slots = { values, 3 };
    struct step back = { .op = OP_NET_DEVICE_BACK,
                         .net_device_back = { .host_name = "a", 0, 1, 2 } };

    (void)state;
    assert_int_equal(net_device_step(&back, &slots, &err), 0);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(without_devices_there_is_no_step_and_no_error),
        cmocka_unit_test(the_runtime_moves_each_when_init_is_in_its_namespace),
        cmocka_unit_test(the_pointer_names_the_device),
        cmocka_unit_test(the_runtimes_own_namespace_is_refused),
        cmocka_unit_test(a_device_that_never_moved_needs_no_way_back),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
