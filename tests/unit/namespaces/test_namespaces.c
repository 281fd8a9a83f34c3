/* SPDX-License-Identifier: Apache-2.0 */
/* Which process enters which namespace when; id maps, names, sysctl. Facts are pretended. */
#include "unit.h"

#include "namespaces/internal.h"

static struct arena *arena;

static const struct ns_facts as_root = {
    .can_sys_admin = true, .can_setuid = true, .can_setgid = true, .page_size = 4096
};
static const struct ns_facts as_user = { .euid = 1000, .egid = 1001, .page_size = 4096 };

/* `members` are the members of "linux", `top` further top-level members. */
static struct spec *spec_of(const char *members, const char *top)
{
    AUTO_STRBUF struct strbuf b = { 0 };
    struct spec *s = NULL;
    struct err e = { 0 };

    strbuf_format(&b, "{\"ociVersion\":\"1.3.0\",\"linux\":{%s}%s%s}", members, top ? "," : "",
                  top ? top : "");
    if (spec_parse(arena, arena_strdup(arena, b.ptr), b.len, &s, NULL, &e) < 0)
        fail_msg("%s: %s in %s", e.pointer, e.text, b.ptr);
    return s;
}

#define NEW(type) "{\"type\":\"" type "\"}"
#define AT(type, path) "{\"type\":\"" type "\",\"path\":\"" path "\"}"
#define MAPS                                                                  \
    "\"uidMappings\":[{\"containerID\":0,\"hostID\":100000,\"size\":65536}]," \
    "\"gidMappings\":[{\"containerID\":0,\"hostID\":200000,\"size\":65536}]"
#define SELF_MAPS                                                       \
    "\"uidMappings\":[{\"containerID\":0,\"hostID\":1000,\"size\":1}]," \
    "\"gidMappings\":[{\"containerID\":0,\"hostID\":1001,\"size\":1}]"

/* The part of a start's plan that belongs to this room, in the order of container/compile.c. */
struct result {
    struct plan p;
    struct ns_clone_out c;
    struct err e;
    int r;
};

static struct result compile(const struct spec *s, const struct ns_facts *f, bool late_cgroup)
{
    struct result x = { .r = 0 };

    plan_init(&x.p, arena, "run");
    x.r = ns_compile_open(&x.p, s, f, &x.e);
    if (x.r == 0)
        x.r = ns_compile_clone(&x.p, s, f, SLOT_NONE, late_cgroup, &x.c, &x.e);
    if (x.r == 0)
        x.r = ns_compile_maps(&x.p, s, f, x.c.pid_slot, &x.e);
    if (x.r == 0)
        x.r = ns_compile_enter(&x.p, s, f, &x.c, &x.e);
    if (x.r == 0 && late_cgroup)
        x.r = ns_compile_cgroup(&x.p, s, &x.e);
    if (x.r == 0)
        x.r = ns_compile_names(&x.p, s, &x.e);
    if (x.r == 0)
        x.r = ns_compile_sysctl(&x.p, s, &x.e);
    return x;
}

/* "runtime:ns-open stage:ns-join=pid ...": the plan at a glance. */
static const char *outline(const struct plan *p)
{
    AUTO_STRBUF struct strbuf b = { 0 };

    for (size_t i = 0; i < p->n; i++) {
        const struct step *st = &p->steps[i];

        strbuf_format(&b, "%s%s:%s", i ? " " : "", plan_lane_name(st->lane), plan_op_name(st->op));
        if (st->op == OP_NS_JOIN)
            strbuf_format(&b, "=%s", ns_flag_name(st->ns_join.type));
        if (st->op == OP_NS_OPEN)
            strbuf_format(&b, "=%s", ns_flag_name(st->ns_open.type));
    }
    return arena_strdup(arena, b.ptr ? b.ptr : "");
}

static struct result compile_ok(const char *members, const struct ns_facts *f)
{
    struct result x = compile(spec_of(members, NULL), f, false);

    if (x.r < 0)
        fail_msg("%s: %s", x.e.pointer, x.e.text);
    if (plan_finish(&x.p, &x.e) < 0)
        fail_msg("%s in %s", x.e.text, outline(&x.p));
    return x;
}

static void assert_refused(const struct result *x, const char *pointer, const char *part)
{
    assert_true(x->r < 0);
    assert_string_equal(x->e.pointer, pointer);
    if (!strstr(x->e.text, part))
        fail_msg("'%s' does not say '%s'", x->e.text, part);
}

/* ---- new namespaces ------------------------------------------------------------------------ */

static void an_ordinary_start_is_one_clone(void **state)
{
    struct result x = compile_ok("\"namespaces\":[" NEW("pid") "," NEW("network") "," NEW(
                                     "ipc") "," NEW("uts") "," NEW("mount") "," NEW("cgroup") "]",
                                 &as_root);
    const struct op_clone *op = &x.p.steps[0].clone;

    (void)state;
    assert_string_equal(outline(&x.p), "runtime:clone");
    assert_false(x.c.stage);
    assert_true(op->flags == (CLONE_NEWPID | CLONE_NEWNET | CLONE_NEWIPC | CLONE_NEWUTS |
                              CLONE_NEWNS | CLONE_NEWCGROUP));
    assert_int_equal(op->out_pid, x.c.pid_slot);
    assert_int_equal(op->out_pidfd, x.c.pidfd_slot);
    assert_false(op->sibling);
}

static void a_time_namespace_without_offsets_needs_no_stage(void **state)
{
    struct result x = compile_ok("\"namespaces\":[" NEW("time") "]", &as_root);

    (void)state;
    assert_string_equal(outline(&x.p), "runtime:clone");
    assert_true(x.p.steps[0].clone.flags == CLONE_NEWTIME);
}

static void a_late_cgroup_namespace_is_unshared_by_init(void **state)
{
    struct spec *s = spec_of("\"namespaces\":[" NEW("mount") "," NEW("cgroup") "]", NULL);
    struct result x = compile(s, &as_root, true);

    (void)state;
    assert_int_equal(x.r, 0);
    assert_string_equal(outline(&x.p), "runtime:clone init:ns-unshare");
    assert_true(x.p.steps[0].clone.flags == CLONE_NEWNS);
    assert_true(x.p.steps[1].ns_unshare.flags == CLONE_NEWCGROUP);
    assert_string_equal(x.p.steps[1].pointer, "/linux/namespaces/1");
}

static void a_user_namespace_is_mapped_before_init_becomes_root(void **state)
{
    struct result x = compile_ok("\"namespaces\":[" NEW("user") "," NEW("mount") "]," MAPS,
                                 &as_root);

    (void)state;
    assert_string_equal(outline(&x.p), "runtime:clone runtime:ns-id-maps init:ns-become-root");
    assert_string_equal(x.p.steps[1].ns_id_maps.uid_map, "0 100000 65536\n");
    assert_string_equal(x.p.steps[1].ns_id_maps.gid_map, "0 200000 65536\n");
    assert_int_equal(x.p.steps[1].ns_id_maps.pid, x.c.pid_slot);
    assert_false(x.p.steps[1].ns_id_maps.deny_setgroups);
    assert_true(x.p.steps[2].ns_become_root.drop_groups);
    assert_true(plan_happens_before(&x.p, 1, 2));
    assert_int_equal(plan_waits(&x.p), 1);
}

/* ---- joins --------------------------------------------------------------------------------- */

static void init_joins_in_the_order_of_the_spec_and_mount_last(void **state)
{
    struct result x = compile_ok("\"namespaces\":[" AT("mount", "/m") "," AT(
                                     "network", "/n") "," NEW("pid") "," AT("ipc", "/i") "]",
                                 &as_root);

    (void)state;
    assert_string_equal(outline(&x.p),
                        "runtime:ns-open=mount runtime:ns-open=network runtime:ns-open=ipc "
                        "runtime:clone init:ns-join=network init:ns-join=ipc init:ns-join=mount");
    assert_true(x.p.steps[3].clone.flags == CLONE_NEWPID);
    assert_int_equal(x.p.steps[4].ns_join.in, x.p.steps[1].ns_open.out);
    assert_string_equal(x.p.steps[0].ns_open.path, "/m");
    assert_string_equal(x.p.steps[1].pointer, "/linux/namespaces/1/path");
    assert_string_equal(x.p.steps[4].pointer, "/linux/namespaces/1/path");
    assert_int_equal(plan_waits(&x.p), 0);
}

static void a_pid_namespace_is_joined_by_a_stage(void **state)
{
    struct result x = compile_ok(
        "\"namespaces\":[" AT("pid", "/p") "," AT("cgroup", "/c") "," NEW("mount") "]", &as_root);

    (void)state;
    /* The cgroup namespace is left to init: see left_to_init. */
    assert_string_equal(outline(&x.p),
                        "runtime:ns-open=pid runtime:ns-open=cgroup runtime:clone "
                        "stage:undumpable stage:ns-join=pid stage:clone runtime:barrier "
                        "init:ns-join=cgroup");
    assert_true(x.c.stage);
    assert_true(x.p.steps[2].clone.flags == 0);
    assert_int_equal(x.p.steps[2].clone.out_pidfd, SLOT_NONE);
    assert_true(x.p.steps[5].clone.sibling);
    assert_true(x.p.steps[5].clone.flags == CLONE_NEWNS);
    assert_int_equal(x.p.steps[5].clone.out_pidfd, x.c.pidfd_slot);
    assert_int_equal(x.p.steps[6].after, 5);
}

static const char join_all[] = "\"namespaces\":[" AT("user", "/u") "," AT("mount", "/m") "," AT(
    "network", "/n") "," AT("cgroup", "/c") "," NEW("pid") "]";

static void root_joins_the_user_namespace_last(void **state)
{
    struct result x = compile_ok(join_all, &as_root);

    (void)state;
    assert_non_null(strstr(outline(&x.p),
                           "runtime:clone stage:undumpable stage:groups stage:ns-join=network "
                           "stage:ns-join=cgroup stage:ns-join=mount stage:ns-join=user "
                           "stage:clone runtime:barrier init:ns-become-root"));
    /* Its groups are gone already, whatever the user namespace says about setgroups. */
    assert_false(x.p.steps[plan_find(&x.p, OP_NS_BECOME_ROOT, 0)].ns_become_root.drop_groups);
}

static void an_ordinary_user_joins_the_user_namespace_first(void **state)
{
    struct result x = compile_ok(join_all, &as_user);

    (void)state;
    assert_non_null(strstr(outline(&x.p),
                           "runtime:clone stage:undumpable stage:ns-join=user "
                           "stage:ns-join=network stage:ns-join=cgroup stage:ns-join=mount "
                           "stage:clone runtime:barrier init:ns-become-root"));
}

static void joins_together_with_a_new_user_namespace_come_before_it(void **state)
{
    struct result x = compile_ok(
        "\"namespaces\":[" NEW("user") "," AT("network", "/n") "," NEW("mount") "]," MAPS,
        &as_root);

    (void)state;
    assert_string_equal(outline(&x.p),
                        "runtime:ns-open=network runtime:clone stage:undumpable "
                        "stage:ns-join=network stage:clone runtime:barrier runtime:ns-id-maps "
                        "init:ns-become-root");
    assert_true(x.p.steps[4].clone.flags == (CLONE_NEWUSER | CLONE_NEWNS));
    assert_true(plan_happens_before(&x.p, 4, 6));
    assert_true(plan_happens_before(&x.p, 6, 7));
}

static void the_own_user_namespace_is_not_joined(void **state)
{
    struct ns_facts f = as_root;
    struct spec *s = spec_of("\"namespaces\":[" AT("user", "/u") "," NEW("mount") "]", NULL);
    struct result x;

    (void)state;
    f.own = CLONE_NEWUSER;
    x = compile(s, &f, false);
    assert_string_equal(outline(&x.p), "runtime:clone");
    assert_false(ns_enters_user(s, &f));
    assert_true(ns_enters_user(s, &as_root));
}

/* ---- time offsets -------------------------------------------------------------------------- */

#define OFFSETS \
    "\"timeOffsets\":{\"monotonic\":{\"secs\":-5,\"nanosecs\":7},\"boottime\":{\"secs\":86400}}"

static void offsets_are_written_between_unshare_and_clone(void **state)
{
    struct result x = compile_ok(
        "\"namespaces\":[" NEW("time") "," NEW("pid") "," AT("mount", "/m") "]," OFFSETS, &as_root);

    (void)state;
    /* Before the mount namespace changes, for /proc must be the host's. */
    assert_string_equal(outline(&x.p),
                        "runtime:ns-open=mount runtime:clone stage:undumpable stage:ns-unshare "
                        "stage:ns-time-offsets stage:ns-join=mount stage:clone runtime:barrier");
    assert_true(x.p.steps[3].ns_unshare.flags == CLONE_NEWTIME);
    assert_string_equal(x.p.steps[4].ns_time_offsets.offsets, "monotonic -5 7\nboottime 86400 0\n");
    assert_true(x.p.steps[6].clone.flags == CLONE_NEWPID);
}

static void an_ordinary_user_makes_the_time_namespace_inside_the_user_namespace(void **state)
{
    struct result x = compile_ok(
        "\"namespaces\":[" NEW("time") "," NEW("user") "," NEW("pid") "]," SELF_MAPS "," OFFSETS,
        &as_user);

    (void)state;
    /* Nothing is joined, so the stage stays dumpable and its maps can be written. */
    assert_string_equal(outline(&x.p),
                        "runtime:clone stage:ns-unshare stage:ns-time-offsets stage:clone "
                        "runtime:barrier runtime:ns-id-maps init:ns-become-root");
    assert_true(x.p.steps[1].ns_unshare.flags == (CLONE_NEWTIME | CLONE_NEWUSER));
    assert_true(x.p.steps[3].clone.flags == CLONE_NEWPID);
}

/* ---- id maps ------------------------------------------------------------------------------- */

static void an_ordinary_user_maps_the_own_id(void **state)
{
    struct result x = compile_ok("\"namespaces\":[" NEW("user") "]," SELF_MAPS, &as_user);

    (void)state;
    assert_string_equal(x.p.steps[1].ns_id_maps.uid_map, "0 1000 1\n");
    assert_string_equal(x.p.steps[1].ns_id_maps.gid_map, "0 1001 1\n");
    assert_true(x.p.steps[1].ns_id_maps.deny_setgroups);
    assert_false(x.p.steps[2].ns_become_root.drop_groups);
}

#define RANGE(own)                                        \
    "[{\"containerID\":0,\"hostID\":" own ",\"size\":1}," \
    "{\"containerID\":1,\"hostID\":300000,\"size\":65536}]"
static const struct ns_facts with_tools = { .euid = 1000,
                                            .egid = 1001,
                                            .page_size = 4096,
                                            .newuidmap = "/bin/newuidmap",
                                            .newgidmap = "/bin/newgidmap" };

static void an_ordinary_user_has_ranges_mapped_by_tools(void **state)
{
    static const char *const args[] = { "0", "1000", "1", "1", "300000", "65536" };
    struct result x = compile_ok("\"namespaces\":[" NEW("user") "],\"uidMappings\":" RANGE(
                                     "1000") ",\"gidMappings\":" RANGE("1001"),
                                 &with_tools);
    const struct op_ns_map_tool *gid = &x.p.steps[1].ns_map_tool, *uid = gid;

    (void)state;
    assert_string_equal(
        outline(&x.p), "runtime:clone runtime:ns-map-tool runtime:ns-map-tool init:ns-become-root");
    uid = &x.p.steps[2].ns_map_tool;
    assert_string_equal(gid->tool, "/bin/newgidmap");
    assert_string_equal(gid->ranges, "/etc/subgid");
    assert_string_equal(gid->args[1], "1001");
    assert_string_equal(uid->tool, "/bin/newuidmap");
    assert_string_equal(uid->ranges, "/etc/subuid");
    assert_int_equal(uid->pid, x.c.pid_slot);
    for (size_t i = 0; i < COUNT_OF(args); i++)
        assert_string_equal(uid->args[i], args[i]);
    assert_null(uid->args[COUNT_OF(args)]);
    assert_int_equal(x.p.steps[3].after, 2);
    assert_true(x.p.steps[3].ns_become_root.drop_groups); /* newgidmap leaves setgroups allowed */
}

static void a_tool_writes_only_the_map_that_needs_it(void **state)
{
    struct result x = compile_ok("\"namespaces\":[" NEW("user") "],\"uidMappings\":" RANGE(
                                     "1000") ",\"gidMappings\":[{\"containerID\":0,"
                                             "\"hostID\":1001,\"size\":1}]",
                                 &with_tools);
    const struct op_ns_id_maps *maps = &x.p.steps[2].ns_id_maps;

    (void)state;
    assert_string_equal(outline(&x.p),
                        "runtime:clone runtime:ns-map-tool runtime:ns-id-maps init:ns-become-root");
    assert_string_equal(x.p.steps[1].pointer, "/linux/uidMappings");
    assert_string_equal(x.p.steps[2].pointer, "/linux/gidMappings");
    assert_null(maps->uid_map);
    assert_string_equal(maps->gid_map, "0 1001 1\n");
    assert_true(maps->deny_setgroups);
    assert_int_equal(x.p.steps[3].after, 2);
}

static void who_may_map_everything_needs_no_tool(void **state)
{
    struct ns_facts f = with_tools;
    struct result x;

    (void)state;
    f.can_setuid = f.can_setgid = true;
    x = compile_ok("\"namespaces\":[" NEW("user") "]," MAPS, &f);
    assert_int_equal(plan_find(&x.p, OP_NS_MAP_TOOL, 0), -1);
    x = compile_ok("\"namespaces\":[" NEW("user") "]," SELF_MAPS, &with_tools);
    assert_int_equal(plan_find(&x.p, OP_NS_MAP_TOOL, 0), -1);
}

static void root_inside_may_be_another_user_of_the_host(void **state)
{
    static const struct {
        const char *linux_;
        bool foreign;
    } rows[] = {
        { "\"namespaces\":[" NEW("user") "]," SELF_MAPS, false },
        { "\"namespaces\":[" NEW("user") "]," MAPS, true },
        { "\"namespaces\":[" AT("user", "/u") "]", true },
        { "\"namespaces\":[" NEW("pid") "]", false },
    };

    (void)state;
    for (size_t i = 0; i < COUNT_OF(rows); i++)
        unit_row(rows[i].linux_,
                 ns_root_is_foreign(spec_of(rows[i].linux_, NULL), &as_user) == rows[i].foreign);
}

static void a_mount_namespace_of_somebody_else_is_refused(void **state)
{
    struct ns_facts f = as_root;
    struct result x = compile(
        spec_of("\"namespaces\":[" NEW("user") "," AT("mount", "/m") "]," MAPS, NULL), &f, false);

    (void)state;
    assert_refused(&x, "/linux/namespaces/1/path", "new user namespace");
    x = compile_ok("\"namespaces\":[" AT("mount", "/m") "," AT("user", "/u") "]", &f);
    f.foreign_mounts = true;
    x = compile(spec_of("\"namespaces\":[" AT("mount", "/m") "," AT("user", "/u") "]", NULL), &f,
                false);
    assert_refused(&x, "/linux/namespaces/0/path", "does not belong");
}

static void a_stage_may_be_cloned_early(void **state)
{
    struct spec *s = spec_of("\"namespaces\":[" AT("pid", "/p") "]", NULL);
    struct ns_clone_out out;
    struct err e = { 0 };
    struct plan p;

    (void)state;
    assert_true(ns_needs_stage(s, &as_root));
    assert_false(ns_needs_stage(spec_of("\"namespaces\":[" AT("ipc", "/i") "]", NULL), &as_root));
    plan_init(&p, arena, "run");
    ns_compile_stage(&p);
    assert_int_equal(ns_compile_clone(&p, s, &as_root, SLOT_NONE, false, &out, &e), 0);
    assert_string_equal(
        outline(&p),
        "runtime:clone stage:undumpable stage:ns-join=pid stage:clone runtime:barrier");
}

static void a_denied_setgroups_is_inherited(void **state)
{
    struct ns_facts f = as_root;
    struct result x;

    (void)state;
    f.setgroups_denied = true;
    x = compile_ok("\"namespaces\":[" NEW("user") "]," MAPS, &f);
    assert_true(x.p.steps[1].ns_id_maps.deny_setgroups);
    assert_false(x.p.steps[2].ns_become_root.drop_groups);
}

static void maps_that_the_kernel_would_refuse_are_named(void **state)
{
#define ONE(c, h, n) "[{\"containerID\":" c ",\"hostID\":" h ",\"size\":" n "}]"
    const struct {
        const char *uid, *gid;
        const struct ns_facts *f;
        const char *pointer, *part;
    } rows[] = {
        { ONE("0", "100000", "65536"), ONE("0", "1001", "1"), &as_user, "/linux/uidMappings",
          "newuidmap" },
        { ONE("0", "1000", "1"), ONE("0", "100000", "65536"), &as_user, "/linux/gidMappings",
          "newgidmap" },
        { ONE("0", "1", "1"), ONE("0", "1001", "1"), &as_user, "/linux/uidMappings",
          "the own (1000)" },
        { ONE("1", "100000", "5"), ONE("0", "1", "1"), &as_root, "/linux/uidMappings",
          "uid 0 of the container" },
        { ONE("0", "100000", "5"), ONE("1", "1", "1"), &as_root, "/linux/gidMappings",
          "gid 0 of the container" },
    };

    (void)state;
    for (size_t i = 0; i < COUNT_OF(rows); i++) {
        const char *members = arena_format(
            arena, "\"namespaces\":[" NEW("user") "],\"uidMappings\":%s,\"gidMappings\":%s",
            rows[i].uid, rows[i].gid);
        struct result x = compile(spec_of(members, NULL), rows[i].f, false);

        assert_refused(&x, rows[i].pointer, rows[i].part);
    }
}

/* 200 lines of 33 bytes are fewer than 340 lines and more than a page of 4096 bytes. */
static void the_text_of_a_map_must_be_shorter_than_a_page(void **state)
{
    AUTO_STRBUF struct strbuf b = { 0 };
    struct ns_facts big = as_root;
    struct spec *s;
    struct result x;

    (void)state;
    strbuf_str(&b,
               "\"namespaces\":[" NEW("user") "],\"gidMappings\":" ONE(
                   "0", "1", "1") ","
                                  "\"uidMappings\":[{\"containerID\":0,\"hostID\":1,\"size\":1}");
    for (int i = 0; i < 200; i++)
        strbuf_format(&b, ",{\"containerID\":%d,\"hostID\":%d,\"size\":1}", 1000000000 + 2 * i,
                      2000000000 + 2 * i);
    strbuf_str(&b, "]");
    s = spec_of(b.ptr, NULL);
    x = compile(s, &as_root, false);
    assert_refused(&x, "/linux/uidMappings", "fewer than 4096");
    big.page_size = 65536;
    x = compile(s, &big, false);
    assert_int_equal(x.r, 0);
    assert_true(strlen(x.p.steps[1].ns_id_maps.uid_map) > 4096);
}

/* ---- names --------------------------------------------------------------------------------- */

static void names_are_steps_of_init(void **state)
{
    struct spec *s = spec_of("\"namespaces\":[" NEW("uts") "]",
                             "\"hostname\":\"box\",\"domainname\":\"example\"");
    struct result x = compile(s, &as_root, false);

    (void)state;
    assert_string_equal(outline(&x.p), "runtime:clone init:ns-hostname init:ns-domainname");
    assert_string_equal(x.p.steps[1].ns_hostname.name, "box");
    assert_string_equal(x.p.steps[2].ns_domainname.name, "example");
}

static void an_empty_hostname_is_none(void **state)
{
    struct spec *s = spec_of("\"namespaces\":[" NEW("uts") "]", "\"hostname\":\"\"");
    struct result x = compile(s, &as_root, false);

    (void)state;
    assert_string_equal(outline(&x.p), "runtime:clone");
}

static void the_host_is_not_renamed_through_its_own_namespace(void **state)
{
    const char *names[] = { "\"hostname\":\"box\"", "\"domainname\":\"box\"" };
    const char *pointers[] = { "/hostname", "/domainname" };
    struct ns_facts f = as_root;

    (void)state;
    f.own = CLONE_NEWUTS;
    for (int i = 0; i < 2; i++) {
        struct spec *s = spec_of("\"namespaces\":[" AT("uts", "/u") "]", names[i]);
        struct result x = compile(s, &f, false);

        assert_refused(&x, pointers[i], "the host would be renamed");
    }
}

/* ---- sysctl -------------------------------------------------------------------------------- */

static const char with_all[] = "\"namespaces\":[" NEW("ipc") "," NEW("network") "," NEW(
    "uts") "," NEW("user") "]";
static const char without[] = "\"namespaces\":[" NEW("mount") "]";

static void sysctls_belong_to_a_namespace_of_the_container(void **state)
{
    static const struct {
        const char *name, *without, *refused; /* what is said without and with the namespaces */
    } rows[] = {
        { "net.ipv4.ip_forward", "network", NULL },
        { "net/ipv4/ip_forward", "network", NULL },
        { "net.ipv4.conf.eth0/1.mtu", "network", NULL },
        { "net/ipv4/conf/eth0.1/mtu", "network", NULL },
        { "kernel.shmmax", "ipc", NULL },
        { "kernel.sem", "ipc", NULL },
        { "kernel.msgmnb", "ipc", NULL },
        { "fs.mqueue.msg_max", "ipc", NULL },
        { "kernel.domainname", "uts", NULL },
        { "user.max_net_namespaces", "user", NULL },
        { "kernel.hostname", "uts", "conflicts with /hostname" },
        { "kernel.core_pattern", "host's", "host's" },
        { "kernel.shm_evil", "host's", "host's" },
        { "vm.swappiness", "host's", "host's" },
        { "fs.file-max", "host's", "host's" },
        { "net", "host's", "host's" },
        { "net/../kernel/core_pattern", "no name", "no name" },
        { "net.//.kernel.core_pattern", "no name", "no name" },
        { "net/./ipv4", "no name", "no name" },
        { "net..ipv4", "no name", "no name" },
        { "/net/ipv4/ip_forward", "no name", "no name" },
        { "net.ipv4.", "no name", "no name" },
        { "", "no name", "no name" },
    };

    (void)state;
    for (size_t i = 0; i < COUNT_OF(rows); i++) {
        struct err e = { 0 };
        int r = ns_sysctl_allowed(spec_of(without, NULL), rows[i].name, &e);

        unit_row(rows[i].name, r < 0 && strstr(e.text, rows[i].without));
        e = (struct err){ 0 };
        r = ns_sysctl_allowed(spec_of(with_all, NULL), rows[i].name, &e);
        unit_row(rows[i].name, rows[i].refused ? r < 0 && strstr(e.text, rows[i].refused) : r == 0);
    }
}

static void sysctl_paths_are_below_proc_sys(void **state)
{
    struct spec *s = spec_of(
        "\"namespaces\":[" NEW(
            "network") "],\"sysctl\":"
                       "{\"net.ipv4.conf.eth0/1.mtu\":\"1400\",\"net/core/somaxconn\":\"9\"}",
        NULL);
    struct result x = compile(s, &as_root, false);

    (void)state;
    assert_int_equal(x.r, 0);
    assert_string_equal(outline(&x.p), "runtime:clone init:ns-sysctl init:ns-sysctl");
    assert_string_equal(x.p.steps[1].ns_sysctl.path, "net/ipv4/conf/eth0.1/mtu");
    assert_string_equal(x.p.steps[1].ns_sysctl.value, "1400");
    assert_string_equal(x.p.steps[1].pointer, "/linux/sysctl/net.ipv4.conf.eth0~11.mtu");
    assert_string_equal(x.p.steps[2].ns_sysctl.path, "net/core/somaxconn");
}

static void a_long_name_of_a_sysctl_is_refused(void **state)
{
    char name[300] = "net.";
    struct err e = { 0 };

    (void)state;
    memset(name + 4, 'x', sizeof name - 5);
    assert_true(ns_sysctl_allowed(spec_of(with_all, NULL), name, &e) < 0);
    assert_non_null(strstr(e.text, "longer than 255"));
}

static void a_sysctl_that_conflicts_names_its_pointer(void **state)
{
    struct spec *s = spec_of(
        "\"namespaces\":[" NEW("uts") "],\"sysctl\":{\"kernel.domainname\":\"a\"}",
        "\"domainname\":\"b\"");
    struct result x = compile(s, &as_root, false);

    (void)state;
    assert_refused(&x, "/linux/sysctl/kernel.domainname", "conflicts with /domainname");
}

static void sysctls_of_the_own_namespace_are_the_hosts(void **state)
{
    struct ns_facts f = as_root;
    struct result x;

    (void)state;
    f.own = CLONE_NEWNET;
    x = compile(
        spec_of("\"namespaces\":[" AT("network", "/n") "],"
                                                       "\"sysctl\":{\"net.ipv4.ip_forward\":\"1\"}",
                NULL),
        &f, false);
    assert_refused(&x, "/linux/sysctl/net.ipv4.ip_forward", "the runtime's own");
}

/* ---- facts --------------------------------------------------------------------------------- */

static void facts_survive_the_round_trip(void **state)
{
    struct ns_facts f = {
        .euid = UINT32_MAX,
        .egid = 7,
        .can_setuid = true,
        .setgroups_denied = true,
        .own = CLONE_NEWUSER | CLONE_NEWTIME | CLONE_NEWNS,
        .page_size = 65536,
        .nested = true,
        .owns_mounts = true,
        .foreign_mounts = true,
        .newgidmap = "/opt/newgidmap",
    };
    struct ns_facts back = { 0 };
    struct json_out *j = json_out_new(true);
    struct json *doc;
    struct err e = { 0 };
    const char *text;
    size_t len;

    (void)state;
    ns_facts_write(&f, j, NULL);
    text = json_out_text(j, &len);
    assert_int_equal(json_parse(arena, text, len, "facts", &doc, &e), 0);
    assert_int_equal(ns_facts_read(doc, &back, &e), 0);
    json_out_free(j);
    assert_int_equal(back.euid, f.euid);
    assert_int_equal(back.egid, f.egid);
    assert_int_equal(back.can_sys_admin, f.can_sys_admin);
    assert_int_equal(back.can_setuid, f.can_setuid);
    assert_int_equal(back.can_setgid, f.can_setgid);
    assert_int_equal(back.setgroups_denied, f.setgroups_denied);
    assert_true(back.own == f.own);
    assert_true(back.page_size == f.page_size);
    assert_true(back.nested && back.owns_mounts && back.foreign_mounts);
    assert_null(back.newuidmap);
    assert_string_equal(back.newgidmap, "/opt/newgidmap");
}

static void broken_facts_name_the_field(void **state)
{
    static const struct {
        const char *text, *pointer;
    } rows[] = {
        { "{}", "/euid" },
        { "{\"euid\":4294967296}", "/euid" },
        { "{\"euid\":0,\"egid\":\"0\"}", "/egid" },
        { "{\"euid\":0,\"egid\":0,\"canSysAdmin\":1}", "/canSysAdmin" },
        { "{\"euid\":0,\"egid\":0,\"canSysAdmin\":true,\"canSetuid\":true,\"canSetgid\":true,"
          "\"setgroupsDenied\":false,\"own\":[\"planet\"]}",
          "/own" },
#define OLD                                                                              \
    "{\"euid\":0,\"egid\":0,\"canSysAdmin\":true,\"canSetuid\":true,\"canSetgid\":true," \
    "\"setgroupsDenied\":false,\"own\":[],\"pageSize\":1"
        { OLD ",\"nested\":1}", "/nested" },
        { OLD ",\"newuidmap\":\"newuidmap\"}", "/newuidmap" },
        { OLD ",\"newgidmap\":7}", "/newgidmap" },
    };

    (void)state;
    for (size_t i = 0; i < COUNT_OF(rows); i++) {
        struct ns_facts f = { .page_size = 1 };
        struct err e = { 0 };
        struct json *doc;

        assert_int_equal(json_parse(arena, rows[i].text, strlen(rows[i].text), "facts", &doc, &e),
                         0);
        unit_row(rows[i].text, ns_facts_read(doc, &f, &e) < 0);
        unit_row(rows[i].text, str_eq(e.pointer, rows[i].pointer));
        unit_row(rows[i].text, f.page_size == 1); /* untouched */
    }
    assert_true(ns_facts_read(NULL, &(struct ns_facts){ 0 }, NULL) < 0);
}

static void gather_recognises_the_runtimes_own_namespaces(void **state)
{
    struct spec *s = spec_of("\"namespaces\":[" AT("user", "/proc/self/ns/user") "," AT(
                                 "uts", "/proc/self/ns/uts") "," AT("ipc", "/proc/self/ns/ipc") "]",
                             "\"hostname\":\"box\"");
    struct ns_facts f;
    struct err e = { 0 };

    (void)state;
    assert_int_equal(ns_gather(s, arena, &f, &e), 0);
    /* ipc is not asked: nothing depends on it. */
    assert_true(f.own == (CLONE_NEWUSER | CLONE_NEWUTS));
    assert_int_equal(f.euid, geteuid());
    assert_int_equal(f.egid, getegid());
    assert_true(f.page_size == (uint64_t)sysconf(_SC_PAGESIZE));
}

static int set_arena(void **state)
{
    (void)state;
    arena = unit_arena();
    return 0;
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test_setup(an_ordinary_start_is_one_clone, set_arena),
        cmocka_unit_test_setup(a_time_namespace_without_offsets_needs_no_stage, set_arena),
        cmocka_unit_test_setup(a_late_cgroup_namespace_is_unshared_by_init, set_arena),
        cmocka_unit_test_setup(a_user_namespace_is_mapped_before_init_becomes_root, set_arena),
        cmocka_unit_test_setup(init_joins_in_the_order_of_the_spec_and_mount_last, set_arena),
        cmocka_unit_test_setup(a_pid_namespace_is_joined_by_a_stage, set_arena),
        cmocka_unit_test_setup(root_joins_the_user_namespace_last, set_arena),
        cmocka_unit_test_setup(an_ordinary_user_joins_the_user_namespace_first, set_arena),
        cmocka_unit_test_setup(joins_together_with_a_new_user_namespace_come_before_it, set_arena),
        cmocka_unit_test_setup(the_own_user_namespace_is_not_joined, set_arena),
        cmocka_unit_test_setup(offsets_are_written_between_unshare_and_clone, set_arena),
        cmocka_unit_test_setup(an_ordinary_user_makes_the_time_namespace_inside_the_user_namespace,
                               set_arena),
        cmocka_unit_test_setup(an_ordinary_user_maps_the_own_id, set_arena),
        cmocka_unit_test_setup(an_ordinary_user_has_ranges_mapped_by_tools, set_arena),
        cmocka_unit_test_setup(a_tool_writes_only_the_map_that_needs_it, set_arena),
        cmocka_unit_test_setup(who_may_map_everything_needs_no_tool, set_arena),
        cmocka_unit_test_setup(root_inside_may_be_another_user_of_the_host, set_arena),
        cmocka_unit_test_setup(a_mount_namespace_of_somebody_else_is_refused, set_arena),
        cmocka_unit_test_setup(a_stage_may_be_cloned_early, set_arena),
        cmocka_unit_test_setup(a_denied_setgroups_is_inherited, set_arena),
        cmocka_unit_test_setup(maps_that_the_kernel_would_refuse_are_named, set_arena),
        cmocka_unit_test_setup(the_text_of_a_map_must_be_shorter_than_a_page, set_arena),
        cmocka_unit_test_setup(names_are_steps_of_init, set_arena),
        cmocka_unit_test_setup(an_empty_hostname_is_none, set_arena),
        cmocka_unit_test_setup(the_host_is_not_renamed_through_its_own_namespace, set_arena),
        cmocka_unit_test_setup(sysctls_belong_to_a_namespace_of_the_container, set_arena),
        cmocka_unit_test_setup(sysctl_paths_are_below_proc_sys, set_arena),
        cmocka_unit_test_setup(a_long_name_of_a_sysctl_is_refused, set_arena),
        cmocka_unit_test_setup(a_sysctl_that_conflicts_names_its_pointer, set_arena),
        cmocka_unit_test_setup(sysctls_of_the_own_namespace_are_the_hosts, set_arena),
        cmocka_unit_test_setup(facts_survive_the_round_trip, set_arena),
        cmocka_unit_test_setup(broken_facts_name_the_field, set_arena),
        cmocka_unit_test_setup(gather_recognises_the_runtimes_own_namespaces, set_arena),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
