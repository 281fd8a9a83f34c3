/* SPDX-License-Identifier: Apache-2.0 */
/* The ordering laws of a start, and what a start costs in waits. Pure: no root, any kernel. */
#include <stdarg.h>
#include <stddef.h>
#include <setjmp.h>
#include <stdint.h>
#include <stdio.h>
#include <string.h>
#include <cmocka.h>

#include "container/internal.h"

static char memory[1 << 20];
static struct arena arena;

/* A config that shows only what a test adds: members of process, of linux, and of the top level. */
struct config {
    const char *process, *linux_, *top, *namespaces, *mounts;
};
#define ALL_NAMESPACES "\"pid\",\"network\",\"ipc\",\"uts\",\"mount\""

static void add_namespaces(struct strbuf *b, const char *list)
{
    const char *at = list;

    while (*at) {
        size_t len = strcspn(at, ",");

        /* An element is either a name in quotes or a whole object. */
        if (*at == '{') {
            len = (size_t)(strchr(at, '}') + 1 - at);
            strbuf_add(b, at, len);
        } else {
            strbuf_format(b, "{\"type\":%.*s}", (int)len, at);
        }
        at += len + (at[len] == ',');
        strbuf_str(b, *at ? "," : "");
    }
}

static struct spec *spec_of(const struct config *c)
{
    AUTO_STRBUF struct strbuf b = { 0 };
    struct spec *s = NULL;
    struct err e = { 0 };

    strbuf_format(&b,
                  "{\"ociVersion\":\"1.3.0\",\"root\":{\"path\":\"rootfs\",\"readonly\":true},"
                  "\"process\":{\"cwd\":\"/\",\"args\":[\"/bin/true\"],\"user\":{\"uid\":0,"
                  "\"gid\":0}%s%s},\"mounts\":[{\"destination\":\"/proc\",\"type\":\"proc\","
                  "\"source\":\"proc\"},{\"destination\":\"/dev\",\"type\":\"tmpfs\",\"source\":"
                  "\"tmpfs\"}%s]%s%s,\"linux\":{\"namespaces\":[",
                  c->process ? "," : "", c->process ? c->process : "", c->mounts ? c->mounts : "",
                  c->top ? "," : "", c->top ? c->top : "");
    add_namespaces(&b, c->namespaces ? c->namespaces : ALL_NAMESPACES);
    strbuf_format(&b, "],\"maskedPaths\":[\"/proc/kcore\"]%s%s}}", c->linux_ ? "," : "",
                  c->linux_ ? c->linux_ : "");
    if (spec_parse(&arena, arena_strdup(&arena, b.ptr), b.len, &s, NULL, &e) < 0 ||
        spec_check(s, &arena, NULL, &e) < 0)
        fail_msg("%s: %s in %s", e.pointer, e.text, b.ptr);
    return s;
}

static struct container_facts facts_of(const struct spec *s, bool unified)
{
    static struct cgroup_hierarchy hybrid[] = {
        { .controllers = "memory",
          .mountpoint = "/sys/fs/cgroup/memory",
          .root = "/",
          .path = "/sys/fs/cgroup/memory/teca-x" },
        { .controllers = "pids",
          .mountpoint = "/sys/fs/cgroup/pids",
          .root = "/",
          .path = "/sys/fs/cgroup/pids/teca-x" },
        { .v2 = true,
          .controllers = "",
          .mountpoint = "/sys/fs/cgroup/unified",
          .root = "/",
          .path = "/sys/fs/cgroup/unified/teca-x" },
    };
    static struct cgroup_hierarchy v2[] = {
        { .v2 = true,
          .controllers = "",
          .mountpoint = "/sys/fs/cgroup",
          .root = "/",
          .path = "/sys/fs/cgroup/teca-x" },
    };
    static struct rootfs_cgroup seen[3];
    struct container_facts f = {
        .ns = { .can_sys_admin = true, .can_setuid = true, .can_setgid = true, .page_size = 4096 },
        .sec = { .cap_effective = (1ULL << 41) - 1,
                 .cap_permitted = (1ULL << 41) - 1,
                 .cap_bounding = (1ULL << 41) - 1,
                 .umask = 022,
                 .last_cap = 40 },
        .cgroup = { .v = unified ? v2 : hybrid,
                    .n = unified ? 1 : 3,
                    .mount_root = "/sys/fs/cgroup",
                    .unified = unified },
        .rootfs = { .root = "/bundle/rootfs",
                    .bundle = "/bundle",
                    .privileged = true,
                    .user_ns = spec_has_namespace(s, SPEC_NS_USER),
                    .no_host_rights = spec_has_namespace(s, SPEC_NS_USER),
                    .new_cgroup_ns = spec_has_namespace(s, SPEC_NS_CGROUP),
                    .cgroup_unified = unified,
                    .cgroup_root = "/sys/fs/cgroup",
                    .cgroups = seen,
                    .n_cgroups = unified ? 1 : 3 },
    };

    for (size_t i = 0; i < f.cgroup.n; i++)
        seen[i] = (struct rootfs_cgroup){ f.cgroup.v[i].v2, f.cgroup.v[i].mountpoint,
                                          f.cgroup.v[i].path };
    f.rootfs.n_sources = s->n_mounts;
    f.rootfs.sources = arena_array(&arena, s->n_mounts, sizeof *f.rootfs.sources);
    return f;
}

/* in: what the command line adds; spec, facts and state_dir are filled in here. */
static int try_compile(const struct config *c, struct compile_in in, bool unified, struct plan *p,
                       struct err *e)
{
    struct spec *s = spec_of(c);
    struct container_facts *f = arena_alloc(&arena, sizeof *f);
    struct compile_out out;

    *f = facts_of(s, unified);
    in.spec = s;
    in.facts = f;
    in.state_dir = "/run/teca/x";
    plan_init(p, &arena, in.create ? "create" : "run");
    return container_compile(&in, p, &out, e);
}

static struct plan compile_in_way(const struct config *c, struct compile_in in, bool unified)
{
    struct plan p;
    struct err e = { 0 };

    if (try_compile(c, in, unified, &p, &e) < 0)
        fail_msg("%s: %s", e.pointer, e.text);
    return p;
}

static struct plan compile_with(const struct config *c, bool create, bool unified)
{
    return compile_in_way(c, (struct compile_in){ .create = create }, unified);
}

static struct plan compile(const struct config *c)
{
    return compile_with(c, false, false);
}

static void assert_order(const struct plan *p, enum plan_op first, enum plan_op second)
{
    int a = plan_find(p, first, 0), b = plan_find(p, second, 0);

    if (a < 0 || b < 0)
        fail_msg("no step %s", plan_op_name(a < 0 ? first : second));
    if (!plan_happens_before(p, (size_t)a, (size_t)b))
        fail_msg("%s does not happen before %s", plan_op_name(first), plan_op_name(second));
}

static int count(const struct plan *p, enum plan_op op)
{
    int n = 0;

    for (int i = plan_find(p, op, 0); i >= 0; i = plan_find(p, op, (size_t)i + 1))
        n++;
    return n;
}

static int last_of(const struct plan *p, enum plan_op op)
{
    int found = -1;

    for (int i = plan_find(p, op, 0); i >= 0; i = plan_find(p, op, (size_t)i + 1))
        found = i;
    return found;
}

#define SECCOMP \
    "\"seccomp\":{\"defaultAction\":\"SCMP_ACT_ALLOW\",\"syscalls\":[{\"names\":[\"reboot\"],\"action\":\"SCMP_ACT_ERRNO\"}]}"
#define UNPRIVILEGED                                                              \
    "\"capabilities\":{\"bounding\":[\"CAP_KILL\"],\"permitted\":[\"CAP_KILL\"]," \
    "\"effective\":[\"CAP_KILL\"]},\"user\":{\"uid\":1,\"gid\":1}"

static void with_no_new_privileges_the_filter_is_last_before_exec(void **state)
{
    struct config c = { .process = "\"noNewPrivileges\":true,\"capabilities\":{}",
                        .linux_ = SECCOMP };
    struct plan p = compile(&c);
    int exec = plan_find(&p, OP_EXEC, 0);

    (void)state;
    assert_int_equal(plan_find(&p, OP_SECCOMP_LOAD, 0), exec - 1);
    assert_order(&p, OP_CAPABILITIES, OP_SECCOMP_LOAD);
    assert_order(&p, OP_NO_NEW_PRIVS, OP_SECCOMP_LOAD);
    assert_order(&p, OP_STATE_INIT, OP_SECCOMP_LOAD);
}

static struct plan filter_without_no_new_privileges(bool create)
{
    struct spec *s;
    struct plan p;
    struct container_facts *f = arena_alloc(&arena, sizeof *f);
    struct compile_out out;
    struct err e = { 0 };
    static const char text[] =
        "{\"ociVersion\":\"1.3.0\",\"root\":{\"path\":\"rootfs\"},\"process\":{\"cwd\":\"/\",\"args\":"
        "[\"/bin/true\"]," UNPRIVILEGED
        "},\"linux\":{\"namespaces\":[{\"type\":\"mount\"},{\"type\":"
        "\"pid\"}]," SECCOMP "}}";

    if (spec_parse(&arena, text, sizeof text - 1, &s, NULL, &e) < 0)
        fail_msg("%s", e.text);
    *f = facts_of(s, false);
    plan_init(&p, &arena, "run");
    if (container_compile(
            &(struct compile_in){
                .spec = s, .facts = f, .state_dir = "/run/teca/x", .create = create },
            &p, &out, &e) < 0)
        fail_msg("%s: %s", e.pointer, e.text);
    return p;
}

static void without_no_new_privileges_the_filter_precedes_ids_and_capabilities(void **state)
{
    struct plan p = filter_without_no_new_privileges(false);

    (void)state;
    assert_int_equal(plan_find(&p, OP_NO_NEW_PRIVS, 0), -1);
    assert_order(&p, OP_SECCOMP_LOAD, OP_IDS);
    assert_order(&p, OP_SECCOMP_LOAD, OP_CAPABILITIES);
    assert_order(&p, OP_PIVOT, OP_SECCOMP_LOAD);
}

static void without_no_new_privileges_the_filter_is_loaded_before_the_start_wait(void **state)
{
    struct plan p = filter_without_no_new_privileges(true);

    (void)state;
    assert_order(&p, OP_SECCOMP_LOAD, OP_START_WAIT);
}

#define NOTIFY                                                                   \
    "\"seccomp\":{\"defaultAction\":\"SCMP_ACT_ALLOW\",\"listenerPath\":\"/l\"," \
    "\"syscalls\":[{\"names\":[\"reboot\"],\"action\":\"SCMP_ACT_NOTIFY\"}]}"

static const struct config with_listener[] = {
    { .process = "\"noNewPrivileges\":true,\"capabilities\":{}", .linux_ = NOTIFY },
    { .process = "\"capabilities\":{}", .linux_ = NOTIFY },
};

static void a_listener_is_handed_over_before_the_start_wait(void **state)
{
    (void)state;
    for (size_t i = 0; i < COUNT_OF(with_listener); i++) {
        struct plan p = compile_with(&with_listener[i], true, false);

        assert_order(&p, OP_SECCOMP_LOAD, OP_SECCOMP_NOTIFY);
        assert_order(&p, OP_SECCOMP_NOTIFY, OP_START_WAIT);
        assert_order(&p, OP_SECCOMP_NOTIFY, OP_STATE_INIT); /* it is "creating" until then */
        assert_int_equal(count(&p, OP_SECCOMP_LOAD), 1);
    }
}

/* Init must not exec before: the fd is CLOEXEC. And the runtime must be through before the filter
 * is there, but for handing over. */
static void a_listener_is_handed_over_before_exec(void **state)
{
    (void)state;
    for (size_t i = 0; i < COUNT_OF(with_listener); i++) {
        struct plan p = compile_with(&with_listener[i], false, false);

        assert_order(&p, OP_STATE_INIT, OP_SECCOMP_LOAD);
        assert_true(plan_happens_before(&p, (size_t)last_of(&p, OP_CGROUP_MAKE),
                                        (size_t)plan_find(&p, OP_SECCOMP_LOAD, 0)));
        assert_order(&p, OP_SECCOMP_LOAD, OP_SECCOMP_NOTIFY);
        assert_order(&p, OP_SECCOMP_NOTIFY, OP_EXEC);
        assert_int_equal(plan_last(&p, LANE_RUNTIME), plan_find(&p, OP_SECCOMP_NOTIFY, 0));
    }
}

static void a_listener_needs_a_runtime_that_may_take_it(void **state)
{
    struct spec *s = spec_of(&with_listener[0]);
    struct container_facts f = facts_of(s, false);
    struct compile_in in = { .spec = s, .facts = &f, .state_dir = "/run/teca/x" };
    struct compile_out out;
    struct plan p;
    struct err e = { 0 };

    (void)state;
    f.sec.cap_effective &= ~(1ULL << 19); /* CAP_SYS_PTRACE */
    plan_init(&p, &arena, "run");
    assert_true(container_compile(&in, &p, &out, &e) < 0);
    assert_string_equal(e.pointer, "/linux/seccomp/listenerPath");
    assert_non_null(strstr(e.text, "CAP_SYS_PTRACE"));
}

static void the_state_record_precedes_every_effect_on_the_host(void **state)
{
    struct config c = { 0 };
    struct plan p = compile(&c);

    (void)state;
    assert_int_equal(plan_find(&p, OP_STATE_CREATE, 0), 0);
    assert_order(&p, OP_STATE_CREATE, OP_CGROUP_MAKE);
    assert_order(&p, OP_STATE_CREATE, OP_CLONE);
}

static void init_is_not_dumpable_before_anything_else(void **state)
{
    struct config c = {
        .namespaces = "\"mount\",{\"type\":\"network\",\"path\":\"/proc/1/ns/net\"}"
    };
    struct plan p = compile(&c);
    int first = -1;

    (void)state;
    for (size_t i = 0; i < p.n && first < 0; i++)
        if (p.steps[i].lane == LANE_INIT)
            first = (int)i;
    assert_int_equal(p.steps[first].op, OP_UNDUMPABLE);
    assert_order(&p, OP_UNDUMPABLE, OP_NS_JOIN);
}

static void every_mount_device_and_mask_precedes_the_pivot(void **state)
{
    static const enum plan_op ops[] = { OP_ROOT_ATTACH, OP_MOUNT, OP_DEVICE, OP_SYMLINK, OP_MASK };
    struct config c = { 0 };
    struct plan p = compile(&c);
    int pivot = plan_find(&p, OP_PIVOT, 0);

    (void)state;
    for (size_t i = 0; i < COUNT_OF(ops); i++) {
        assert_true(count(&p, ops[i]) > 0);
        assert_true(last_of(&p, ops[i]) < pivot);
    }
}

static void every_cgroup_is_made_before_it_is_joined_and_joined_before_the_pivot(void **state)
{
    struct config c = { 0 };
    struct plan p = compile(&c);

    (void)state;
    assert_int_equal(count(&p, OP_CGROUP_MAKE), 3);
    assert_int_equal(count(&p, OP_CGROUP_JOIN), 2); /* the third by CLONE_INTO_CGROUP */
    assert_order(&p, OP_CGROUP_OPEN, OP_CLONE);
    assert_true(plan_happens_before(&p, (size_t)last_of(&p, OP_CGROUP_MAKE),
                                    (size_t)plan_find(&p, OP_CGROUP_JOIN, 0)));
    /* It is the host's path that is written to. */
    assert_true(last_of(&p, OP_CGROUP_JOIN) < plan_find(&p, OP_PIVOT, 0));
}

static void with_a_user_namespace_init_joins_while_it_is_still_the_hosts_root(void **state)
{
    struct config c = { .namespaces = ALL_NAMESPACES ",\"user\"",
                        .linux_ = "\"uidMappings\":[{\"containerID\":0,\"hostID\":100000,\"size\":"
                                  "65536}],\"gidMappings\":[{\"containerID\":0,\"hostID\":100000,"
                                  "\"size\":65536}]" };
    struct plan p = compile(&c);

    (void)state;
    assert_order(&p, OP_CGROUP_JOIN, OP_NS_BECOME_ROOT);
}

/* Behind the join the host's paths lead nowhere; where a stage enters, it joins for init. */
static void v1_cgroups_are_joined_before_a_mount_namespace_is_entered(void **state)
{
    static const struct {
        const char *namespaces;
        enum plan_lane lane;
        bool user;
    } rows[] = {
        { "{\"type\":\"mount\",\"path\":\"/m\"},\"pid\"", LANE_INIT, false },
        { "{\"type\":\"mount\",\"path\":\"/m\"},{\"type\":\"pid\",\"path\":\"/p\"}", LANE_STAGE,
          false },
        { "{\"type\":\"mount\",\"path\":\"/m\"},{\"type\":\"user\",\"path\":\"/u\"},\"cgroup\"",
          LANE_STAGE, true },
    };

    (void)state;
    for (size_t i = 0; i < COUNT_OF(rows); i++) {
        struct config c = { .namespaces = rows[i].namespaces };
        struct plan p = compile(&c);
        int join = plan_find(&p, OP_CGROUP_JOIN, 0);

        assert_int_equal(count(&p, OP_CGROUP_JOIN), 2);
        assert_int_equal(count(&p, OP_CGROUP_MAKE), 3);
        assert_int_equal(p.steps[join].lane, rows[i].lane);
        assert_order(&p, OP_CGROUP_MAKE, OP_CGROUP_JOIN);
        for (int at = plan_find(&p, OP_NS_JOIN, 0); at >= 0;
             at = plan_find(&p, OP_NS_JOIN, (size_t)at + 1))
            assert_true(plan_happens_before(&p, (size_t)last_of(&p, OP_CGROUP_JOIN), (size_t)at));
        if (rows[i].user)
            assert_order(&p, OP_CGROUP_JOIN, OP_NS_UNSHARE);
    }
}

static void on_v1_the_cgroup_namespace_is_unshared_after_the_joins(void **state)
{
    struct config c = { .namespaces = ALL_NAMESPACES ",\"cgroup\"" };
    struct plan p = compile(&c);

    (void)state;
    assert_true(plan_happens_before(&p, (size_t)last_of(&p, OP_CGROUP_JOIN),
                                    (size_t)plan_find(&p, OP_NS_UNSHARE, 0)));
    assert_false(p.steps[plan_find(&p, OP_CLONE, 0)].clone.flags & 0x02000000);
}

static void on_v2_the_clone_makes_the_cgroup_namespace(void **state)
{
    struct config c = { .namespaces = ALL_NAMESPACES ",\"cgroup\"" };
    struct plan p = compile_with(&c, false, true);
    const struct step *clone = &p.steps[plan_find(&p, OP_CLONE, 0)];

    (void)state;
    assert_int_equal(plan_find(&p, OP_NS_UNSHARE, 0), -1);
    assert_true(clone->clone.flags & 0x02000000);
    assert_true(clone->clone.cgroup >= 0);
}

static void an_ordinary_run_waits_once(void **state)
{
    struct config c = { 0 };
    struct plan p = compile(&c);

    (void)state;
    assert_int_equal(plan_waits(&p), 1);
    assert_int_equal(plan_last(&p, LANE_STAGE), -1);
}

static void a_user_namespace_costs_one_wait_more(void **state)
{
    struct config c = { .namespaces = ALL_NAMESPACES ",\"user\"",
                        .linux_ = "\"uidMappings\":[{\"containerID\":0,\"hostID\":100000,\"size\":"
                                  "65536}],\"gidMappings\":[{\"containerID\":0,\"hostID\":100000,"
                                  "\"size\":65536}]" };
    struct plan p = compile(&c);

    (void)state;
    assert_int_equal(plan_waits(&p), 2);
    assert_order(&p, OP_NS_ID_MAPS, OP_NS_BECOME_ROOT);
    assert_order(&p, OP_NS_BECOME_ROOT, OP_MOUNT);
}

#define IDMAPPED(at) \
    ",{\"destination\":\"" at "\",\"source\":\"/v\",\"options\":[\"bind\",\"idmap\"]}"

static void mounts_with_the_ids_of_the_user_namespace_cost_no_wait(void **state)
{
    static const bool unified[] = { false, true };
    struct config c = { .namespaces = ALL_NAMESPACES ",\"user\"",
                        .linux_ = "\"uidMappings\":[{\"containerID\":0,\"hostID\":100000,\"size\":"
                                  "65536}],\"gidMappings\":[{\"containerID\":0,\"hostID\":100000,"
                                  "\"size\":65536}]" };

    (void)state;
    for (size_t i = 0; i < COUNT_OF(unified); i++) {
        struct plan plain = compile_with(&c, false, unified[i]), p;
        int first, last;

        c.mounts = IDMAPPED("/a") IDMAPPED("/b");
        p = compile_with(&c, false, unified[i]);
        c.mounts = NULL;
        assert_int_equal(plan_waits(&p), plan_waits(&plain));
        assert_int_equal(count(&p, OP_MOUNT_IDMAP), 2);
        assert_order(&p, OP_NS_ID_MAPS, OP_IDMAP_NS);
        assert_order(&p, OP_NS_ID_MAPS, OP_NS_BECOME_ROOT);
        last = last_of(&p, OP_MOUNT_IDMAP);
        first = plan_find(&p, OP_MOUNT, 0);
        assert_true(plan_happens_before(&p, (size_t)last, (size_t)first));
    }
}

static void create_adds_one_wait_each_way(void **state)
{
    struct config c = { 0 };
    struct plan p = compile_with(&c, true, false);

    (void)state;
    assert_int_equal(plan_waits(&p), 3);
    assert_order(&p, OP_EXEC_LOOKUP, OP_STATE_INIT);
    assert_order(&p, OP_STATE_INIT, OP_START_WAIT);
    assert_order(&p, OP_START_WAIT, OP_EXEC);
}

static void waits_do_not_grow_with_mounts(void **state)
{
    AUTO_STRBUF struct strbuf b = { 0 };
    struct spec *s;
    struct plan p;
    struct container_facts *f = arena_alloc(&arena, sizeof *f);
    struct compile_out out;
    struct err e = { 0 };

    (void)state;
    strbuf_str(
        &b,
        "{\"ociVersion\":\"1.3.0\",\"root\":{\"path\":\"r\"},\"process\":{\"cwd\":\"/\",\"args\":"
        "[\"/x\"]},\"linux\":{\"namespaces\":[{\"type\":\"mount\"}]},\"mounts\":[");
    for (int i = 0; i < 500; i++)
        strbuf_format(&b, "%s{\"destination\":\"/m%d\",\"type\":\"tmpfs\",\"source\":\"x\"}",
                      i ? "," : "", i);
    strbuf_str(&b, "]}");
    assert_int_equal(spec_parse(&arena, b.ptr, b.len, &s, NULL, &e), 0);
    *f = facts_of(s, false);
    plan_init(&p, &arena, "run");
    assert_int_equal(
        container_compile(&(struct compile_in){ .spec = s, .facts = f, .state_dir = "/run/teca/x" },
                          &p, &out, &e),
        0);
    assert_int_equal(plan_waits(&p), 1);
    assert_int_equal(count(&p, OP_MOUNT), 500);
}

static void joining_a_pid_namespace_takes_a_stage(void **state)
{
    struct config c = { .namespaces = "\"mount\",{\"type\":\"pid\",\"path\":\"/proc/1/ns/pid\"}" };
    struct plan p = compile(&c);
    int second;

    (void)state;
    assert_true(plan_last(&p, LANE_STAGE) >= 0);
    assert_int_equal(count(&p, OP_CLONE), 2);
    second = last_of(&p, OP_CLONE);
    assert_int_equal(p.steps[second].lane, LANE_STAGE);
    assert_true(p.steps[second].clone.sibling);
    /* The runtime has init's pid only from the stage: whatever needs it comes later. */
    assert_true(plan_happens_before(&p, (size_t)second, (size_t)plan_find(&p, OP_STATE_INIT, 0)));
}

static void delete_takes_back_everything_that_was_made(void **state)
{
    struct config c = { 0 };
    struct plan p = compile(&c), d;
    struct made made;

    (void)state;
    made_of_plan(&p, (int)p.n, &arena, &made);
    plan_init(&d, &arena, "delete");
    container_compile_delete(&made, SLOT_NONE, &d);
    assert_int_equal(count(&d, OP_CGROUP_REMOVE), count(&p, OP_CGROUP_MAKE));
    assert_int_equal(d.steps[d.n - 1].op, OP_STATE_REMOVE);
    for (size_t i = 0; i + 1 < d.n; i++) /* the last one made goes first */
        assert_string_equal(d.steps[i].cgroup_remove.path, made.cgroups[d.n - 2 - i].path);
}

/* It may have been killed before CGROUP_MAKE looked whether the leaf is another's. */
static void no_process_is_killed_for_a_start_that_published_no_init(void **state)
{
    struct config c = { 0 };
    struct plan p = compile(&c), d;
    struct made made;

    (void)state;
    made_of_plan(&p, (int)p.n, &arena, &made);
    for (int unknown = 0; unknown <= 1; unknown++) {
        size_t leaves = 0;

        made.init_unknown = unknown;
        plan_init(&d, &arena, "delete");
        container_compile_delete(&made, SLOT_NONE, &d);
        for (size_t i = 0; i < d.n; i++) {
            const struct op_cgroup_remove *op = &d.steps[i].cgroup_remove;

            if (d.steps[i].op != OP_CGROUP_REMOVE || !op->leaf)
                continue;
            leaves++;
            assert_int_equal(op->spare, unknown);
        }
        assert_true(leaves > 0);
    }
}

#define HOOK(kind) "\"" kind "\":[{\"path\":\"/h\"},{\"path\":\"/i\",\"args\":[\"i\"]}]"
#define ALL_HOOKS                                                                                  \
    "\"hooks\":{" HOOK("prestart") "," HOOK("createRuntime") "," HOOK("createContainer") "," HOOK( \
        "startContainer") "," HOOK("poststart") "," HOOK("poststop") "}"

static int hook_at(const struct plan *p, const char *pointer)
{
    for (int i = plan_find(p, OP_HOOK, 0); i >= 0; i = plan_find(p, OP_HOOK, (size_t)i + 1))
        if (str_eq(p->steps[i].pointer, pointer))
            return i;
    fail_msg("no hook %s", pointer);
    return -1;
}

static void assert_before(const struct plan *p, int a, int b)
{
    if (a < 0 || b < 0 || !plan_happens_before(p, (size_t)a, (size_t)b))
        fail_msg("step %d does not happen before step %d", a, b);
}

static void hooks_run_in_the_order_of_the_spec(void **state)
{
    static const char *const order[] = {
        "/hooks/prestart/0",       "/hooks/prestart/1",        "/hooks/createRuntime/0",
        "/hooks/createRuntime/1",  "/hooks/createContainer/0", "/hooks/createContainer/1",
        "/hooks/startContainer/0", "/hooks/startContainer/1",
    };
    struct config c = { .top = ALL_HOOKS };

    (void)state;
    for (int create = 0; create < 2; create++) {
        struct plan p = compile_with(&c, create, false);

        for (size_t i = 0; i + 1 < COUNT_OF(order); i++)
            assert_before(&p, hook_at(&p, order[i]), hook_at(&p, order[i + 1]));
        assert_int_equal(count(&p, OP_HOOK), create ? 8 : 10);
        assert_int_equal(count(&p, OP_HOOK_OPEN), 2);
        assert_before(&p, last_of(&p, OP_HOOK_OPEN), hook_at(&p, "/hooks/createContainer/0"));
    }
}

static void hooks_of_create_find_the_mounts_done_and_the_root_writable(void **state)
{
    static const char *const kinds[] = { HOOK("prestart"), HOOK("createRuntime"),
                                         HOOK("createContainer") };

    (void)state;
    for (size_t i = 0; i < COUNT_OF(kinds); i++) {
        struct config c = { .top = arena_format(&arena, "\"hooks\":{%s}", kinds[i]) };
        struct plan p = compile(&c);
        int first = plan_find(&p, OP_HOOK, 0), last = last_of(&p, OP_HOOK);

        assert_before(&p, last_of(&p, OP_MOUNT), first);
        assert_before(&p, last_of(&p, OP_DEVICE), first);
        assert_before(&p, last_of(&p, OP_MASK), first);
        assert_before(&p, last, plan_find(&p, OP_ROOT_READONLY, 0));
        assert_before(&p, last, plan_find(&p, OP_PIVOT, 0));
        assert_before(&p, last, plan_find(&p, OP_STATE_INIT, 0));
        assert_string_equal(p.steps[plan_find(&p, OP_ROOT_ATTACH, 0)].root_attach.at,
                            "/bundle/rootfs");
    }
}

static void hooks_of_start_stand_between_the_start_wait_and_the_last_filter(void **state)
{
    struct config c = { .process = "\"noNewPrivileges\":true",
                        .linux_ = SECCOMP,
                        .top = "\"hooks\":{" HOOK("startContainer") "}" };
    struct plan p = compile_with(&c, true, false);

    (void)state;
    assert_order(&p, OP_START_WAIT, OP_HOOK);
    assert_before(&p, last_of(&p, OP_HOOK), plan_find(&p, OP_SECCOMP_LOAD, 0));
    /* `run`: what init's hook has to wait for is the same as its exec has. */
    p = compile(&c);
    assert_before(&p, plan_last(&p, LANE_RUNTIME), plan_find(&p, OP_HOOK, 0));
    assert_int_equal(plan_waits(&p), 1);
}

/* What the hook does may be what the filter asks the listener about. */
static void hooks_of_start_find_the_listener_told(void **state)
{
    (void)state;
    for (size_t i = 0; i < 2 * COUNT_OF(with_listener); i++) {
        struct config c = with_listener[i / 2];
        struct plan p;

        c.top = "\"hooks\":{" HOOK("startContainer") "," HOOK("poststart") "}";
        p = compile_with(&c, i % 2, false);
        assert_order(&p, OP_SECCOMP_LOAD, OP_SECCOMP_NOTIFY);
        assert_before(&p, plan_find(&p, OP_SECCOMP_NOTIFY, 0),
                      hook_at(&p, "/hooks/startContainer/0"));
        if (i % 2)
            continue;
        assert_order(&p, OP_STATE_INIT, OP_SECCOMP_LOAD);
        assert_before(&p, plan_find(&p, OP_EXEC, 0), hook_at(&p, "/hooks/poststart/0"));
    }
}

static void poststart_follows_exec_and_only_run_does_it_itself(void **state)
{
    struct config c = { .top = "\"hooks\":{" HOOK("poststart") "," HOOK("poststop") "}" };
    struct plan p = compile(&c);

    (void)state;
    assert_order(&p, OP_EXEC, OP_HOOK);
    assert_int_equal(count(&p, OP_HOOK), 2);
    assert_int_equal(plan_waits(&p), 2);
    p = compile_with(&c, true, false);
    assert_int_equal(count(&p, OP_HOOK), 0);
}

static void poststop_is_due_once_a_hook_may_have_run(void **state)
{
    static const char *const kinds[] = { HOOK("prestart"), HOOK("createContainer"),
                                         HOOK("startContainer"), HOOK("poststart") };
    struct config none = { 0 };
    struct plan p = compile(&none);

    (void)state;
    assert_false(hooks_have_begun(&p, (int)p.n));
    for (size_t i = 0; i < COUNT_OF(kinds); i++) {
        struct config c = { .top = arena_format(&arena, "\"hooks\":{%s}", kinds[i]) };
        int before;

        p = compile(&c);
        before = plan_find(&p, OP_HOOK, 0) - 1;
        while (p.steps[before].lane != LANE_RUNTIME)
            before--;
        assert_false(hooks_have_begun(&p, before - 1));
        assert_true(hooks_have_begun(&p, before));
        assert_true(hooks_have_begun(&p, (int)p.n));
    }
}

/* ---- terminal and fds ----------------------------------------------------------------------- */

#define TERMINAL "\"terminal\":true,\"consoleSize\":{\"height\":5,\"width\":6}"
#define SOCKET .console_socket = "/s"

static void the_terminal_is_opened_before_the_pivot_and_taken_after_it(void **state)
{
    const struct config configs[] = {
        { .process = TERMINAL },
        { .process = TERMINAL ",\"capabilities\":{}", .linux_ = SECCOMP },
        { .process = TERMINAL ",\"noNewPrivileges\":true", .linux_ = SECCOMP },
    };

    (void)state;
    for (size_t i = 0; i < COUNT_OF(configs); i++) {
        struct plan p = compile(&configs[i]);

        assert_order(&p, OP_SETSID, OP_TERMINAL_ATTACH);
        assert_order(&p, OP_DEVICE, OP_TERMINAL_OPEN);
        assert_order(&p, OP_TERMINAL_CONSOLE, OP_PIVOT);
        assert_order(&p, OP_PIVOT, OP_TERMINAL_ATTACH);
        if (configs[i].linux_)
            assert_order(&p, OP_TERMINAL_ATTACH, OP_SECCOMP_LOAD);
    }
}

static void the_program_runs_when_the_master_has_gone_on(void **state)
{
    struct config c = { .process = TERMINAL };
    struct plan p = compile(&c);

    (void)state;
    assert_order(&p, OP_TERMINAL_OPEN, OP_TERMINAL_RELAY);
    assert_order(&p, OP_TERMINAL_RELAY, OP_EXEC);
    assert_int_equal(plan_find(&p, OP_SOCKET_SEND, 0), -1);
    p = compile_in_way(&c, (struct compile_in){ .detach = true, SOCKET }, false);
    assert_order(&p, OP_TERMINAL_OPEN, OP_SOCKET_SEND);
    assert_order(&p, OP_SOCKET_SEND, OP_EXEC);
    p = compile_in_way(&c, (struct compile_in){ .create = true, SOCKET }, false);
    assert_order(&p, OP_SOCKET_SEND, OP_STATE_INIT);
    assert_order(&p, OP_SOCKET_SEND, OP_START_WAIT);
    assert_int_equal(plan_find(&p, OP_TERMINAL_RELAY, 0), -1);
}

static void sockets_are_reached_before_the_clone_and_closed_before_a_long_wait(void **state)
{
    struct config c = { .process = TERMINAL };
    struct compile_in in = { .create = true, SOCKET, .pidfd_socket = "/p" };
    struct plan p = compile_in_way(&c, in, false);

    (void)state;
    assert_int_equal(count(&p, OP_SOCKET_CONNECT), 2);
    assert_order(&p, OP_STATE_CREATE, OP_SOCKET_CONNECT);
    assert_true(last_of(&p, OP_SOCKET_CONNECT) < plan_find(&p, OP_CLONE, 0));
    assert_int_equal(count(&p, OP_SOCKET_SEND), 2);
    assert_int_equal(count(&p, OP_CLOSE), 2);
    assert_order(&p, OP_CLOSE, OP_START_WAIT);
    assert_order(&p, OP_SOCKET_SEND, OP_STATE_INIT);
}

static void a_terminal_costs_a_run_one_wait_each_way_and_create_none(void **state)
{
    struct config with = { .process = TERMINAL }, without = { 0 };
    struct compile_in create = { .create = true, SOCKET };
    struct plan p = compile(&with), q = compile(&without);

    (void)state;
    assert_int_equal(plan_waits(&p), plan_waits(&q) + 2);
    p = compile_in_way(&with, create, false);
    q = compile_with(&without, true, false);
    assert_int_equal(plan_waits(&p), plan_waits(&q));
}

static void stdio_changes_its_owner_for_another_user_without_a_terminal(void **state)
{
    struct config config = { 0 };
    struct spec *s = spec_of(&config);
    struct terminal_slots t = { SLOT_NONE, SLOT_NONE, SLOT_NONE, SLOT_NONE, -1 };
    struct plan p;

    (void)state;
    plan_init(&p, &arena, "run");
    terminal_compile_stdio(&p, s, &t);
    assert_int_equal(p.n, 0);
    s->process.user.uid = 7;
    terminal_compile_stdio(&p, s, &t);
    assert_int_equal(p.n, 1);
    assert_int_equal(p.steps[0].op, OP_STDIO_OWNER);
    assert_int_equal(p.steps[0].stdio_owner.uid, 7);
    t.terminal = 0;
    terminal_compile_stdio(&p, s, &t);
    assert_int_equal(p.n, 2);
    assert_int_equal(p.steps[1].op, OP_TERMINAL_ATTACH);
}

static void preserved_fds_stay_open_and_listen_fds_are_told(void **state)
{
    struct config c = { .process = "\"env\":[\"A=b\",\"HOME=/\"]" };
    struct plan p = compile(&c);
    const char *const *env;

    (void)state;
    assert_int_equal(p.steps[plan_find(&p, OP_CLOSE_FDS, 0)].close_fds.first, 3);
    assert_null(p.steps[plan_find(&p, OP_EXEC, 0)].exec.envp[2]);
    p = compile_in_way(&c, (struct compile_in){ .preserve_fds = 5, .listen_fds = 2 }, false);
    assert_int_equal(p.steps[plan_find(&p, OP_CLOSE_FDS, 0)].close_fds.first, 8);
    env = p.steps[plan_find(&p, OP_EXEC, 0)].exec.envp;
    assert_string_equal(env[0], "A=b");
    assert_string_equal(env[2], "LISTEN_FDS=2");
    assert_string_equal(env[3], "LISTEN_PID=1");
    assert_null(env[4]);
}

static void a_socket_and_a_terminal_that_do_not_meet_are_refused(void **state)
{
    static const struct {
        struct config c;
        struct compile_in in;
        const char *text;
    } rows[] = {
        { { .process = TERMINAL }, { .create = true }, "cannot allocate tty" },
        { { .process = TERMINAL }, { .detach = true }, "cannot allocate tty" },
        { { .process = TERMINAL }, { SOCKET }, "cannot use console socket" },
        { { 0 }, { .create = true, SOCKET }, "cannot use console socket" },
        { { 0 }, { .detach = true, SOCKET }, "cannot use console socket" },
        { { .process = TERMINAL }, { .detach = true, SOCKET }, NULL },
        { { .process = TERMINAL }, { 0 }, NULL },
        { { 0 }, { .create = true }, NULL },
    };

    (void)state;
    for (size_t i = 0; i < COUNT_OF(rows); i++) {
        struct err e = { 0 };
        struct plan p;
        int r = try_compile(&rows[i].c, rows[i].in, false, &p, &e);

        if ((r < 0) != (rows[i].text != NULL) || (r < 0 && !strstr(e.text, rows[i].text)))
            fail_msg("row %zu: %d, %s", i, r, e.text);
    }
}

static void the_session_keyring_is_of_the_containers_root_and_older_than_a_filter(void **state)
{
    const struct config user = { .namespaces = ALL_NAMESPACES ",\"user\"",
                                 .linux_ = "\"uidMappings\":[{\"containerID\":0,\"hostID\":1,"
                                           "\"size\":9}],\"gidMappings\":[{\"containerID\":0,"
                                           "\"hostID\":1,\"size\":9}]," SECCOMP };
    struct plan p = compile(&user);

    (void)state;
    assert_order(&p, OP_NS_BECOME_ROOT, OP_KEYRING);
    assert_order(&p, OP_KEYRING, OP_SECCOMP_LOAD);
    assert_int_equal(count(&p, OP_KEYRING), 1);
    p = compile_in_way(&user, (struct compile_in){ .no_new_keyring = true }, false);
    assert_int_equal(count(&p, OP_KEYRING), 0);
}

static void files_for_the_output_of_hooks_are_opened_once_before_the_clone(void **state)
{
    const struct config c = {
        .top = "\"annotations\":{\"run.oci.hooks.stdout\":\"/o\",\"run.oci.hooks.stderr\":\"e\"},"
               "\"hooks\":{\"prestart\":[{\"path\":\"/h\"}],\"startContainer\":[{\"path\":"
               "\"/h\"}],\"poststart\":[{\"path\":\"/h\"}]}"
    };
    struct plan p = compile_in_way(&c, (struct compile_in){ .bundle = "/b" }, false);
    int out = plan_find(&p, OP_HOOK_OUTPUT, 0);
    int err = plan_find(&p, OP_HOOK_OUTPUT, (size_t)out + 1);

    (void)state;
    assert_int_equal(count(&p, OP_HOOK_OUTPUT), 2);
    assert_int_equal(count(&p, OP_HOOK), 3);
    assert_string_equal(p.steps[out].hook_output.path, "/o");
    assert_string_equal(p.steps[err].hook_output.path, "/b/e");
    assert_true(err < plan_find(&p, OP_CLONE, 0));
    for (int i = plan_find(&p, OP_HOOK, 0); i >= 0; i = plan_find(&p, OP_HOOK, (size_t)i + 1)) {
        assert_int_equal(p.steps[i].hook.standard_output, p.steps[out].hook_output.out);
        assert_int_equal(p.steps[i].hook.standard_error, p.steps[err].hook_output.out);
    }
}

static void a_root_that_is_not_pivoted_is_moved(void **state)
{
    struct config c = { 0 }, shared = { .linux_ = "\"rootfsPropagation\":\"shared\"" };
    struct plan p = compile_in_way(&c, (struct compile_in){ .no_pivot = true }, false);
    const struct step *st;

    (void)state;
    assert_int_equal(plan_find(&p, OP_PIVOT, 0), -1);
    assert_order(&p, OP_MASK, OP_MOVE_ROOT);
    assert_false(p.steps[plan_find(&p, OP_MOVE_ROOT, 0)].move_root.move); /* lies on "/" */
    p = compile_in_way(&shared, (struct compile_in){ .no_pivot = true }, false);
    st = &p.steps[plan_find(&p, OP_MOVE_ROOT, 0)];
    assert_int_equal(st->move_root.move,
                     !str_eq(p.steps[plan_find(&p, OP_ROOT_ATTACH, 0)].root_attach.at, "/"));
}

static void every_operation_has_code(void **state)
{
    (void)state;
    for (int op = 0; op < OP_COUNT; op++)
        if (!execute_knows((enum plan_op)op))
            fail_msg("%s", plan_op_name((enum plan_op)op));
}

static int fresh(void **state)
{
    (void)state;
    arena_init(&arena, memory, sizeof memory);
    return 0;
}
static int gone(void **state)
{
    (void)state;
    arena_release(&arena);
    return 0;
}
#define LAW(f) cmocka_unit_test_setup_teardown(f, fresh, gone)

int main(void)
{
    const struct CMUnitTest laws[] = {
        LAW(with_no_new_privileges_the_filter_is_last_before_exec),
        LAW(without_no_new_privileges_the_filter_precedes_ids_and_capabilities),
        LAW(without_no_new_privileges_the_filter_is_loaded_before_the_start_wait),
        LAW(a_listener_is_handed_over_before_the_start_wait),
        LAW(a_listener_is_handed_over_before_exec),
        LAW(a_listener_needs_a_runtime_that_may_take_it),
        LAW(the_state_record_precedes_every_effect_on_the_host),
        LAW(init_is_not_dumpable_before_anything_else),
        LAW(every_mount_device_and_mask_precedes_the_pivot),
        LAW(every_cgroup_is_made_before_it_is_joined_and_joined_before_the_pivot),
        LAW(with_a_user_namespace_init_joins_while_it_is_still_the_hosts_root),
        LAW(v1_cgroups_are_joined_before_a_mount_namespace_is_entered),
        LAW(on_v1_the_cgroup_namespace_is_unshared_after_the_joins),
        LAW(on_v2_the_clone_makes_the_cgroup_namespace),
        LAW(an_ordinary_run_waits_once),
        LAW(a_user_namespace_costs_one_wait_more),
        LAW(mounts_with_the_ids_of_the_user_namespace_cost_no_wait),
        LAW(create_adds_one_wait_each_way),
        LAW(waits_do_not_grow_with_mounts),
        LAW(joining_a_pid_namespace_takes_a_stage),
        LAW(delete_takes_back_everything_that_was_made),
        LAW(no_process_is_killed_for_a_start_that_published_no_init),
        LAW(hooks_run_in_the_order_of_the_spec),
        LAW(hooks_of_create_find_the_mounts_done_and_the_root_writable),
        LAW(hooks_of_start_stand_between_the_start_wait_and_the_last_filter),
        LAW(hooks_of_start_find_the_listener_told),
        LAW(poststart_follows_exec_and_only_run_does_it_itself),
        LAW(poststop_is_due_once_a_hook_may_have_run),
        LAW(the_terminal_is_opened_before_the_pivot_and_taken_after_it),
        LAW(the_program_runs_when_the_master_has_gone_on),
        LAW(sockets_are_reached_before_the_clone_and_closed_before_a_long_wait),
        LAW(a_terminal_costs_a_run_one_wait_each_way_and_create_none),
        LAW(stdio_changes_its_owner_for_another_user_without_a_terminal),
        LAW(preserved_fds_stay_open_and_listen_fds_are_told),
        LAW(a_socket_and_a_terminal_that_do_not_meet_are_refused),
        LAW(the_session_keyring_is_of_the_containers_root_and_older_than_a_filter),
        LAW(files_for_the_output_of_hooks_are_opened_once_before_the_clone),
        LAW(a_root_that_is_not_pivoted_is_moved),
        LAW(every_operation_has_code),
    };

    return cmocka_run_group_tests_name("the ordering laws", laws, NULL, NULL);
}
