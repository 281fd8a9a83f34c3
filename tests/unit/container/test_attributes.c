/* SPDX-License-Identifier: Apache-2.0 */
/* Where the attributes of process and linux stand in a start, and what of them is taken back. */
#include "minimal.h"

#include "container/internal.h"

static struct container_facts facts_of(void)
{
    static struct cgroup_hierarchy hierarchies[] = {
        { .controllers = "cpuset",
          .mountpoint = "/sys/fs/cgroup/cpuset",
          .root = "/",
          .cpuset = true,
          .cpus = "0-7",
          .mems = "0",
          .path = "/sys/fs/cgroup/cpuset/teca-x" },
    };
    static struct rootfs_cgroup seen[] = { { false, "/sys/fs/cgroup/cpuset",
                                             "/sys/fs/cgroup/cpuset/teca-x" } };
    static enum rootfs_source sources[8];

    return (struct container_facts){
        .ns = { .can_sys_admin = true, .can_setuid = true, .can_setgid = true, .page_size = 4096 },
        .sec = { .cap_effective = (1ULL << 41) - 1,
                 .cap_permitted = (1ULL << 41) - 1,
                 .cap_bounding = (1ULL << 41) - 1,
                 .umask = 022,
                 .last_cap = 40,
                 .cpus = "0-3",
                 .apparmor = true,
                 .selinux = true },
        .cgroup = { .v = hierarchies,
                    .n = 1,
                    .mount_root = "/sys/fs/cgroup",
                    .resctrl = "/sys/fs/resctrl" },
        .rootfs = { .root = "/bundle/rootfs",
                    .bundle = "/bundle",
                    .privileged = true,
                    .cgroup_root = "/sys/fs/cgroup",
                    .cgroups = seen,
                    .n_cgroups = 1,
                    .sources = sources },
    };
}

static struct plan compile(const char *patch, bool create)
{
    struct container_facts *f = arena_alloc(unit_arena(), sizeof *f);
    struct spec *s = minimal_spec(unit_arena(), patch);
    struct compile_in in = {
        .spec = s, .facts = f, .state_dir = "/run/teca/x", .create = create, .id = "x"
    };
    struct compile_out out;
    struct err e = { 0 };
    struct plan p;

    *f = facts_of();
    f->rootfs.user_ns = f->rootfs.no_host_rights = spec_has_namespace(s, SPEC_NS_USER);
    plan_init(&p, unit_arena(), "run");
    if (container_compile(&in, &p, &out, &e) < 0)
        fail_msg("%s: %s", e.pointer, e.text);
    return p;
}

static int last_of(const struct plan *p, enum plan_op op)
{
    int found = -1;

    for (int i = plan_find(p, op, 0); i >= 0; i = plan_find(p, op, (size_t)i + 1))
        found = i;
    if (found < 0)
        fail_msg("no step %s", plan_op_name(op));
    return found;
}

static void assert_order(const struct plan *p, enum plan_op first, enum plan_op second)
{
    if (!plan_happens_before(p, (size_t)last_of(p, first), (size_t)plan_find(p, second, 0)))
        fail_msg("%s does not happen before %s", plan_op_name(first), plan_op_name(second));
}

#define NAMESPACES "{'type': 'mount'}, {'type': 'pid'}, {'type': 'network'}"
#define USER_NAMESPACE                                             \
    "'namespaces': [" NAMESPACES ", {'type': 'user'}],"            \
    "'uidMappings': [{'containerID': 0, 'hostID': 1, 'size': 9}]," \
    "'gidMappings': [{'containerID': 0, 'hostID': 1, 'size': 9}]"
#define PROCESS                                                                              \
    "'process': {'scheduler': {'policy': 'SCHED_IDLE'}, 'ioPriority': {'class':"             \
    " 'IOPRIO_CLASS_IDLE'}, 'apparmorProfile': 'p', 'selinuxLabel': 'l', 'user': {'uid': 5," \
    " 'gid': 5}}"

static void the_process_is_in_its_cgroups_and_still_privileged(void **state)
{
    static const char *const patches[] = {
        "{" PROCESS ", 'linux': {'memoryPolicy': {'mode': 'MPOL_LOCAL'}}}",
        "{" PROCESS ", 'linux': {'memoryPolicy': {'mode': 'MPOL_LOCAL'}, " USER_NAMESPACE "}}",
    };

    (void)state;
    for (size_t i = 0; i < 2 * COUNT_OF(patches); i++) {
        struct plan p = compile(patches[i / 2], i % 2);

        assert_order(&p, OP_CGROUP_JOIN, OP_AFFINITY);
        assert_order(&p, OP_AFFINITY, OP_SCHEDULER);
        assert_order(&p, OP_CGROUP_JOIN, OP_IO_PRIORITY);
        assert_order(&p, OP_MEMORY_POLICY, OP_IDS);
        assert_order(&p, OP_SCHEDULER, OP_EXEC);
        assert_order(&p, OP_EXEC_LABEL, OP_PIVOT);
    }
}

/* The label of the next exec is inherited: a hook that init executes before would get it. */
static void a_hook_before_the_pivot_gets_no_label(void **state)
{
    struct plan p = compile("{" PROCESS ", 'hooks': {'createContainer': [{'path': '/h'}]}}", true);

    (void)state;
    assert_order(&p, OP_HOOK, OP_EXEC_LABEL);
    assert_order(&p, OP_EXEC_LABEL, OP_PIVOT);
}

static void the_labels_cost_no_wait(void **state)
{
    struct plan bare = compile(NULL, false), all = compile("{" PROCESS "}", false);

    (void)state;
    assert_int_equal(plan_waits(&all), plan_waits(&bare));
}

static void a_device_is_there_before_its_sysctls_and_before_exec(void **state)
{
    struct plan p = compile("{'linux': {'namespaces': [" NAMESPACES "], 'netDevices': {'a': {},"
                            " 'b': {'name': 'c'}}, 'sysctl': {'net.ipv4.conf.c.forwarding': '1'}}}",
                            false);

    (void)state;
    assert_order(&p, OP_NET_DEVICE_MOVE, OP_NS_SYSCTL);
    assert_order(&p, OP_NET_DEVICE_MOVE, OP_EXEC);
    assert_order(&p, OP_CLONE, OP_NET_DEVICE_MOVE);
}

#define RDT(members) "{'linux': {'intelRdt': {" members "}}}"

static void resctrl_is_made_behind_the_record_and_joined_before_exec(void **state)
{
    struct plan p = compile(RDT("'enableMonitoring': true"), false);

    (void)state;
    assert_order(&p, OP_STATE_CREATE, OP_RDT_GROUP);
    assert_order(&p, OP_RDT_GROUP, OP_CLONE);
    assert_order(&p, OP_CLONE, OP_RDT_JOIN);
    assert_order(&p, OP_RDT_JOIN, OP_EXEC);
    assert_string_equal(p.steps[plan_find(&p, OP_RDT_GROUP, 0)].rdt_group.path,
                        "/sys/fs/resctrl/x");
}

static struct plan delete_of(const struct plan *p, bool undo)
{
    struct made made;
    struct plan d;

    made_of_plan(p, (int)p->n - 1, unit_arena(), &made);
    made.undo = undo;
    plan_init(&d, unit_arena(), "delete");
    container_compile_delete(&made, SLOT_NONE, &d);
    return d;
}

static int count(const struct plan *p, enum plan_op op)
{
    int n = 0;

    for (size_t i = 0; i < p->n; i++)
        n += p->steps[i].op == op;
    return n;
}

static void delete_removes_the_containers_own_groups_last_made_first(void **state)
{
    struct plan p = compile(RDT("'enableMonitoring': true"), false), d = delete_of(&p, false);
    int first = plan_find(&d, OP_RDT_REMOVE, 0);

    (void)state;
    assert_int_equal(count(&d, OP_RDT_REMOVE), 2);
    assert_string_equal(d.steps[first].rdt_remove.path, "/sys/fs/resctrl/x/mon_groups/x");
}

static void a_class_with_a_name_stays_unless_the_start_fails(void **state)
{
    struct plan p = compile(RDT("'closID': 'gold', 'memBwSchema': 'MB:0=10'"), false);
    struct plan d = delete_of(&p, false), u = delete_of(&p, true);

    (void)state;
    assert_int_equal(count(&d, OP_RDT_REMOVE), 0);
    assert_int_equal(count(&u, OP_RDT_REMOVE), 1);
    assert_true(u.steps[plan_find(&u, OP_RDT_REMOVE, 0)].rdt_remove.made >= 0);
    p = compile(RDT("'closID': 'gold'"), false);
    u = delete_of(&p, true);
    assert_int_equal(count(&u, OP_RDT_REMOVE), 0);
}

static void a_device_comes_back_only_when_the_start_fails(void **state)
{
    struct plan p = compile("{'linux': {'namespaces': [" NAMESPACES "], 'netDevices': {'a': {}}}}",
                            false);
    struct plan d = delete_of(&p, false), u = delete_of(&p, true);

    (void)state;
    assert_int_equal(count(&d, OP_NET_DEVICE_BACK), 0);
    assert_int_equal(count(&u, OP_NET_DEVICE_BACK), 1);
}

static void the_record_keeps_the_own_groups_only(void **state)
{
    struct made_rdt rdt[] = { { "/r/x", true, 3 }, { "/r/gold", false, 4 } };
    struct state_record rec = { .id = "x",
                                .bundle = "/b",
                                .rootfs = "/b/r",
                                .created = "then",
                                .made = { .rdt = rdt, .n_rdt = 2 },
                                .config_len = 2 };
    char root[UNIT_PATH_SIZE];
    const char *text, *dir;
    struct err e = { 0 };

    (void)state;
    text = state_render(&rec, unit_arena());
    dir = state_dir_path(unit_arena(), unit_dir(root), "x");
    assert_int_equal(state_create(dir, text, strlen(text), "{}", 2, NULL, &e), 0);
    assert_int_equal(state_load(dir, unit_arena(), &rec, &e), 0);
    assert_int_equal(rec.made.n_rdt, 1);
    assert_string_equal(rec.made.rdt[0].path, "/r/x");
    assert_true(rec.made.rdt[0].own);
    assert_int_equal(rec.made.rdt[0].slot, SLOT_NONE);
    unit_remove(root);
}

static int gone(void **state)
{
    (void)state;
    arena_release(unit_arena());
    return 0;
}

int main(void)
{
#define LAW(f) cmocka_unit_test_teardown(f, gone)
    const struct CMUnitTest tests[] = {
        LAW(the_process_is_in_its_cgroups_and_still_privileged),
        LAW(a_hook_before_the_pivot_gets_no_label),
        LAW(the_labels_cost_no_wait),
        LAW(a_device_is_there_before_its_sysctls_and_before_exec),
        LAW(resctrl_is_made_behind_the_record_and_joined_before_exec),
        LAW(delete_removes_the_containers_own_groups_last_made_first),
        LAW(a_class_with_a_name_stays_unless_the_start_fails),
        LAW(a_device_comes_back_only_when_the_start_fails),
        LAW(the_record_keeps_the_own_groups_only),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
