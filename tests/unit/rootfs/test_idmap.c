/* SPDX-License-Identifier: Apache-2.0 */
/* Which namespace an idmapped mount takes its ids from, and the steps that make and use one. */
#include "plans.h"

#include <sched.h>
#include <sys/stat.h>

static int release(void **state)
{
    (void)state;
    arena_release(unit_arena());
    return 0;
}

#define MAPS(uid, host)                                                         \
    "'uidMappings': [{'containerID': " uid ", 'hostID': " host ", 'size': 9}]," \
    "'gidMappings': [{'containerID': " uid ", 'hostID': " host ", 'size': 9}]"
#define BIND(at, options, more) \
    "{'destination': '" at "', 'source': '/v', 'options': ['bind'" options "]" more "}"
#define NAMESPACES(user) \
    "'linux': {'namespaces': [{'type': 'mount'}, {'type': 'pid'}, " user "], " MAPS("0", "100") "}"

static struct plan *plan_with(const char *mounts, const char *rest)
{
    struct spec *s = minimal_spec(unit_arena(),
                                  arena_format(unit_arena(), "{'mounts': [%s]%s%s}", mounts,
                                               rest ? ", " : "", rest ? rest : ""));
    struct rootfs_facts f = plain_facts(s);

    return plan_of(s, &f);
}

static void a_plain_bind_costs_nothing(void **state)
{
    const struct plan *p = plan_with(BIND("/a", "", ""), NULL);

    (void)state;
    assert_int_equal(count_of(p, OP_IDMAP_NS) + count_of(p, OP_MOUNT_IDMAP), 0);
    assert_int_equal(count_of(p, OP_ROOT_OPEN), 1); /* the root filesystem */
    assert_int_equal(mount_at(p, "/a")->tree, SLOT_NONE);
}

static void its_own_mappings_are_made_before_the_clone_and_attached_as_a_tree(void **state)
{
    const struct plan *p = plan_with(
        BIND("/p", "", "") "," BIND("/a", ", 'ridmap'", ", " MAPS("1", "1001")), NULL);
    int ns = plan_find(p, OP_IDMAP_NS, 0), map = plan_find(p, OP_MOUNT_IDMAP, 0);
    const struct op_mount_idmap *op = &p->steps[map].mount_idmap;

    (void)state;
    assert_true(ns < map && map < plan_find(p, OP_CLONE, 0));
    assert_int_equal(p->steps[ns].lane, LANE_RUNTIME);
    assert_int_equal(p->steps[map].lane, LANE_RUNTIME);
    assert_string_equal(p->steps[map].pointer, "/mounts/1");
    assert_string_equal(p->steps[ns].idmap_ns.uid_map, "1 1001 9\n");
    assert_string_equal(p->steps[ns].idmap_ns.gid_map, "1 1001 9\n");
    assert_int_equal(p->steps[ns].idmap_ns.pid, SLOT_NONE);
    assert_int_equal(op->in, p->steps[ns].idmap_ns.out);
    assert_true(op->recursive);
    assert_string_equal(op->path, "/v");
    assert_int_equal(mount_at(p, "/a")->tree, op->tree);
    assert_int_equal(mount_at(p, "/p")->tree, SLOT_NONE);
    assert_null(mount_at(p, "/a")->data);
}

static void mappings_alone_are_of_the_mount_and_not_of_those_below(void **state)
{
    const struct plan *p = plan_with(BIND("/a", "", ", " MAPS("0", "7")), NULL);

    (void)state;
    assert_int_equal(count_of(p, OP_MOUNT_IDMAP), 1);
    assert_false(p->steps[plan_find(p, OP_MOUNT_IDMAP, 0)].mount_idmap.recursive);
}

static void equal_mappings_are_one_namespace(void **state)
{
    const struct plan *p = plan_with(
        BIND("/a", ", 'idmap'", ", " MAPS("0", "7")) "," BIND(
            "/b", ", 'idmap'", ", " MAPS("0", "8")) "," BIND("/c", ", 'idmap'",
                                                             ", " MAPS("0", "7")),
        NULL);
    int a = plan_find(p, OP_MOUNT_IDMAP, 0), b = plan_find(p, OP_MOUNT_IDMAP, (size_t)a + 1),
        c = plan_find(p, OP_MOUNT_IDMAP, (size_t)b + 1);

    (void)state;
    assert_int_equal(count_of(p, OP_IDMAP_NS), 2);
    assert_int_equal(p->steps[a].mount_idmap.in, p->steps[c].mount_idmap.in);
    assert_int_not_equal(p->steps[a].mount_idmap.in, p->steps[b].mount_idmap.in);
}

static void in_a_new_user_namespace_inits_is_taken_after_the_clone(void **state)
{
    static const char *const mounts[] = {
        BIND("/a", ", 'idmap'", "") "," BIND("/b", ", 'idmap'", ""),
        /* The same ids said again. */
        BIND("/a", ", 'idmap'", "") "," BIND("/b", ", 'idmap'", ", " MAPS("0", "100")),
    };

    (void)state;
    for (size_t i = 0; i < COUNT_OF(mounts); i++) {
        const struct plan *p = plan_with(mounts[i], NAMESPACES("{'type': 'user'}"));
        int ns = plan_find(p, OP_IDMAP_NS, 0);

        unit_row(mounts[i], count_of(p, OP_IDMAP_NS) == 1 && count_of(p, OP_MOUNT_IDMAP) == 2);
        unit_row(mounts[i], ns > plan_find(p, OP_CLONE, 0));
        unit_row(mounts[i], p->steps[ns].idmap_ns.pid != SLOT_NONE);
        unit_row(mounts[i], !p->steps[ns].idmap_ns.uid_map && !p->steps[ns].idmap_ns.gid_map);
    }
}

static void other_mappings_in_a_user_namespace_are_their_own(void **state)
{
    const struct plan *p = plan_with(BIND("/a", ", 'idmap'", ", " MAPS("0", "101")),
                                     NAMESPACES("{'type': 'user'}"));
    int ns = plan_find(p, OP_IDMAP_NS, 0);

    (void)state;
    assert_int_equal(p->steps[ns].idmap_ns.pid, SLOT_NONE);
    assert_string_equal(p->steps[ns].idmap_ns.uid_map, "0 101 9\n");
}

static void a_joined_namespace_is_taken_from_the_step_that_opens_it(void **state)
{
    struct spec *s = minimal_spec(
        unit_arena(),
        "{'mounts': [" BIND("/a", ", 'idmap'",
                            "") "], "
                                "'linux': {'namespaces': [{'type': 'user', 'path': '/u'}]}}");
    struct rootfs_facts f = plain_facts(s);
    struct plan p;
    struct err e = { 0 };
    struct step *st;
    int root;

    (void)state;
    s->linux.n_namespaces = 1;
    plan_init(&p, unit_arena(), "run");
    s->linux.namespaces[0].type = SPEC_NS_MOUNT; /* what the root wants, for a moment */
    assert_int_equal(rootfs_compile_open(&p, s, &f, &root, &e), 0);
    s->linux.namespaces[0].type = SPEC_NS_USER;
    /* Not opened: it is the runtime's own. */
    assert_true(rootfs_compile_idmaps(&p, s, &f, SLOT_NONE, &e) < 0);
    assert_non_null(strstr(e.text, "runtime's own"));
    st = plan_add(&p, OP_NS_OPEN, LANE_RUNTIME, "");
    st->ns_open.type = CLONE_NEWUSER;
    st->ns_open.out = 77;
    assert_int_equal(rootfs_compile_idmaps(&p, s, &f, SLOT_NONE, &e), 0);
    assert_int_equal(p.steps[p.n - 1].mount_idmap.in, 77);
    assert_int_equal(rootfs_compile_idmaps(&p, s, &f, 5, &e), 0);
    assert_int_equal(count_of(&p, OP_MOUNT_IDMAP), 1);
    assert_int_equal(count_of(&p, OP_IDMAP_NS), 0);
}

static void an_ordinary_user_is_refused(void **state)
{
    struct spec *s = minimal_spec(unit_arena(),
                                  "{'mounts': [" BIND("/a", ", 'idmap'", ", " MAPS("0", "7")) "]}");
    struct rootfs_facts f = plain_facts(s);
    struct err e = { 0 };
    struct plan p;

    (void)state;
    f.privileged = false;
    assert_true(compile_all(&p, s, &f, &e) < 0);
    assert_string_equal(e.pointer, "/mounts/0");
    assert_non_null(strstr(e.text, "CAP_SYS_ADMIN"));
}

/* ---- the steps ------------------------------------------------------------------------------- */

static void a_namespace_has_the_maps_and_leaves_no_process(void **state)
{
    int values[] = { -1 };
    struct slots slots = { values, 1 };
    struct step st = { .op = OP_IDMAP_NS,
                       .idmap_ns = {
                           .uid_map = "0 5 1\n", .gid_map = "0 6 1\n", .pid = SLOT_NONE } };
    struct err e = { 0 };

    (void)state;
    if (geteuid() != 0)
        unit_skip("needs root to write a map of other ids");
    assert_int_equal(rootfs_step(&st, &slots, &e), 0);
    assert_true(values[0] >= 0);
    assert_int_equal(waitpid(-1, NULL, WNOHANG), -1); /* ECHILD: there is none */
    close(values[0]);
}

static void a_map_that_the_kernel_refuses_leaves_no_process_either(void **state)
{
    int values[] = { -1 };
    struct slots slots = { values, 1 };
    struct step st = { .op = OP_IDMAP_NS,
                       .idmap_ns = {
                           .uid_map = "nonsense", .gid_map = "0 6 1\n", .pid = SLOT_NONE } };
    struct err e = { 0 };

    (void)state;
    if (geteuid() != 0)
        unit_skip("needs root to write a map of other ids");
    assert_int_equal(rootfs_step(&st, &slots, &e), -EINVAL);
    assert_non_null(strstr(e.text, "uid_map"));
    assert_int_equal(values[0], -1);
    assert_int_equal(waitpid(-1, NULL, WNOHANG), -1);
}

static void the_namespace_of_a_process_is_opened(void **state)
{
    int values[] = { getpid(), -1 };
    struct slots slots = { values, 2 };
    struct step st = { .op = OP_IDMAP_NS, .idmap_ns = { .pid = 0, .out = 1 } };
    struct stat ours, theirs;
    struct err e = { 0 };

    (void)state;
    assert_int_equal(rootfs_step(&st, &slots, &e), 0);
    assert_int_equal(stat("/proc/self/ns/user", &ours), 0);
    assert_int_equal(fstat(values[1], &theirs), 0);
    assert_int_equal(ours.st_ino, theirs.st_ino);
    close(values[1]);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test_teardown(a_plain_bind_costs_nothing, release),
        cmocka_unit_test_teardown(its_own_mappings_are_made_before_the_clone_and_attached_as_a_tree,
                                  release),
        cmocka_unit_test_teardown(mappings_alone_are_of_the_mount_and_not_of_those_below, release),
        cmocka_unit_test_teardown(equal_mappings_are_one_namespace, release),
        cmocka_unit_test_teardown(in_a_new_user_namespace_inits_is_taken_after_the_clone, release),
        cmocka_unit_test_teardown(other_mappings_in_a_user_namespace_are_their_own, release),
        cmocka_unit_test_teardown(a_joined_namespace_is_taken_from_the_step_that_opens_it, release),
        cmocka_unit_test_teardown(an_ordinary_user_is_refused, release),
        cmocka_unit_test_teardown(a_namespace_has_the_maps_and_leaves_no_process, release),
        cmocka_unit_test_teardown(a_map_that_the_kernel_refuses_leaves_no_process_either, release),
        cmocka_unit_test_teardown(the_namespace_of_a_process_is_opened, release),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
