/* SPDX-License-Identifier: Apache-2.0 */
/* Order and omission of the steps that give privileges away. Facts are pretended. */
#include "unit.h"

#include <linux/capability.h>
#include <sys/resource.h>

#include "security/internal.h"

static struct arena *arena;

#define BIT(cap) (UINT64_C(1) << (cap))
#define ALL ((UINT64_C(1) << 41) - 1)

/* Root of a host with everything. */
static const struct sec_facts as_root = {
    .cap_effective = ALL, .cap_permitted = ALL, .cap_bounding = ALL, .umask = 022, .last_cap = 40
};
static const struct sec_facts as_user = {
    .euid = 1000, .egid = 1000, .cap_bounding = ALL, .umask = 022, .last_cap = 40
};

/* `process` are further members of "process", `linux_` the members of "linux". */
static struct spec *spec_of(const char *process, const char *linux_)
{
    AUTO_STRBUF struct strbuf b = { 0 };
    struct spec *s = NULL;
    struct err e = { 0 };

    strbuf_format(&b,
                  "{\"ociVersion\":\"1.3.0\",\"process\":{\"cwd\":\"/\",\"args\":[\"x\"]%s%s},"
                  "\"linux\":{%s}}",
                  process[0] ? "," : "", process, linux_ ? linux_ : "");
    if (spec_parse(arena, arena_strdup(arena, b.ptr), b.len, &s, NULL, &e) < 0)
        fail_msg("%s: %s in %s", e.pointer, e.text, b.ptr);
    return s;
}

#define USER(uid, gid) "\"user\":{\"uid\":" #uid ",\"gid\":" #gid "}"
#define CAPS(bounding, effective, inheritable, permitted, ambient)            \
    "\"capabilities\":{\"bounding\":[" bounding "],\"effective\":[" effective \
    "],\"inheritable\":[" inheritable "],\"permitted\":[" permitted "],\"ambient\":[" ambient "]}"
#define KILL "\"CAP_KILL\""
#define CHOWN "\"CAP_CHOWN\""
#define FILTER "\"seccomp\":{\"defaultAction\":\"SCMP_ACT_ALLOW\"}"
#define NNP "\"noNewPrivileges\":true"

static struct plan plan_of(const struct spec *s, const struct sec_facts *f, bool user_ns)
{
    struct err e = { 0 };
    struct plan p;
    int slot;

    plan_init(&p, arena, "run");
    assert_int_equal(sec_compile_seccomp(&p, s, f, &slot, &e), 0);
    plan_add(&p, OP_CLONE, LANE_RUNTIME, "")->clone.out_pid = plan_slot(&p);
    if (sec_compile_privileges(&p, s, f, user_ns, slot, &e) < 0)
        fail_msg("%s: %s", e.pointer, e.text);
    plan_add(&p, OP_BARRIER, LANE_INIT, ""); /* stands for the start wait */
    assert_int_equal(sec_compile_seccomp_last(&p, s, slot, &e), 0);
    return p;
}

/* The steps of init in order: "ids capabilities". */
static const char *outline(const struct plan *p)
{
    AUTO_STRBUF struct strbuf b = { 0 };

    for (size_t i = 0; i < p->n; i++)
        if (p->steps[i].lane == LANE_INIT)
            strbuf_format(&b, "%s%s", b.len ? " " : "", plan_op_name(p->steps[i].op));
    return arena_strdup(arena, b.ptr ? b.ptr : "");
}

static const struct step *step_of(const struct plan *p, enum plan_op op)
{
    int i = plan_find(p, op, 0);

    if (i < 0)
        fail_msg("no %s in: %s", plan_op_name(op), outline(p));
    return &p->steps[i];
}

/* ---- order --------------------------------------------------------------------------------- */

static const char everything[] =
    "\"user\":{\"uid\":5,\"gid\":6,\"umask\":63,\"additionalGids\":[7]},"
    "\"rlimits\":[{\"type\":\"RLIMIT_CORE\",\"soft\":1,\"hard\":2}]," CAPS(KILL, KILL, KILL, KILL,
                                                                           KILL);

static void without_no_new_privs_the_filter_precedes_ids_and_capabilities(void **state)
{
    struct plan p = plan_of(spec_of(everything, FILTER), &as_root, false);

    (void)state;
    assert_string_equal(outline(&p), "rlimit umask bounding-drop groups seccomp-load ids "
                                     "capabilities ambient barrier");
}

static void with_no_new_privs_the_filter_is_last(void **state)
{
    const char *process = arena_format(arena, "%s," NNP, everything);
    struct plan p = plan_of(spec_of(process, FILTER), &as_root, false);

    (void)state;
    assert_string_equal(outline(&p), "rlimit umask bounding-drop groups ids capabilities ambient "
                                     "no-new-privs barrier seccomp-load");
}

static void the_filter_is_compiled_before_the_clone(void **state)
{
    struct plan p = plan_of(spec_of("", FILTER), &as_root, false);
    const struct step *compile = step_of(&p, OP_SECCOMP_COMPILE);

    (void)state;
    assert_int_equal(compile->lane, LANE_RUNTIME);
    assert_true(plan_find(&p, OP_SECCOMP_COMPILE, 0) < plan_find(&p, OP_CLONE, 0));
    assert_int_equal(step_of(&p, OP_SECCOMP_LOAD)->seccomp_load.in, compile->seccomp_compile.out);
    assert_string_equal(compile->seccomp_compile.default_action, "SCMP_ACT_ALLOW");
}

/* ---- what is there already is left out ----------------------------------------------------- */

static void nothing_is_done_for_what_is_there_already(void **state)
{
    struct sec_facts f = { .cap_effective = BIT(CAP_KILL),
                           .cap_permitted = BIT(CAP_KILL),
                           .cap_inheritable = BIT(CAP_KILL),
                           .cap_bounding = BIT(CAP_KILL),
                           .cap_ambient = BIT(CAP_KILL),
                           .euid = 5,
                           .egid = 6,
                           .groups = (uint32_t[]){ 9, 8 },
                           .n_groups = 2,
                           .umask = 077,
                           .no_new_privs = true,
                           .last_cap = 40 };
    struct plan p = plan_of(spec_of("\"user\":{\"uid\":5,\"gid\":6,\"umask\":63,"
                                    "\"additionalGids\":[8,9]}," NNP
                                    "," CAPS(KILL, KILL, KILL, KILL, KILL),
                                    NULL),
                            &f, false);

    (void)state;
    assert_string_equal(outline(&p), "barrier");
}

static void only_what_the_bounding_set_holds_is_dropped(void **state)
{
    struct sec_facts f = as_root;
    struct plan p;

    (void)state;
    f.cap_bounding = BIT(CAP_KILL) | BIT(CAP_CHOWN);
    p = plan_of(spec_of(USER(0, 0) "," CAPS(KILL, "", "", "", ""), NULL), &f, false);
    assert_true(step_of(&p, OP_BOUNDING_DROP)->bounding_drop.drop == BIT(CAP_CHOWN));
}

static void one_of_the_ids_may_stay(void **state)
{
    struct sec_facts f = as_root;
    const struct op_ids *ids;
    struct plan p;

    (void)state;
    f.egid = 5;
    p = plan_of(spec_of(USER(0, 6), NULL), &f, false);
    ids = &step_of(&p, OP_IDS)->ids;
    assert_int_equal(ids->uid, -1);
    assert_int_equal(ids->gid, 6);
    p = plan_of(spec_of(USER(7, 5), NULL), &f, false);
    ids = &step_of(&p, OP_IDS)->ids;
    assert_int_equal(ids->uid, 7);
    assert_int_equal(ids->gid, -1);
    p = plan_of(spec_of(USER(4294967294, 4294967294), NULL), &f, false);
    ids = &step_of(&p, OP_IDS)->ids;
    assert_true(ids->uid == 4294967294 && ids->gid == 4294967294);
}

static void the_umask_stays_unless_the_spec_names_one(void **state)
{
    struct plan p = plan_of(spec_of(USER(0, 0), NULL), &as_root, false);

    (void)state;
    assert_int_equal(plan_find(&p, OP_UMASK, 0), -1);
    p = plan_of(spec_of("\"user\":{\"uid\":0,\"gid\":0,\"umask\":0}", NULL), &as_root, false);
    assert_int_equal(step_of(&p, OP_UMASK)->umask.mask, 0);
}

static void the_umask_of_inits_own_work_is_taken_back(void **state)
{
    static const struct {
        const char *user;
        int mask; /* -1: no step */
    } rows[] = {
        { USER(0, 0), 022 },
        { "\"user\":{\"uid\":0,\"gid\":0,\"umask\":63}", 077 },
        { "\"user\":{\"uid\":0,\"gid\":0,\"umask\":0}", -1 },
    };

    (void)state;
    for (size_t i = 0; i < COUNT_OF(rows); i++) {
        struct err e = { 0 };
        struct plan p;
        int last;

        plan_init(&p, arena, "run");
        plan_add(&p, OP_UMASK, LANE_INIT, "")->umask.mask = 0;
        assert_int_equal(
            sec_compile_privileges(&p, spec_of(rows[i].user, NULL), &as_root, false, SLOT_NONE, &e),
            0);
        last = plan_find(&p, OP_UMASK, 1);
        unit_row(rows[i].user, (last < 0 ? -1 : (int)p.steps[last].umask.mask) == rows[i].mask);
    }
}

/* ---- groups -------------------------------------------------------------------------------- */

static void the_runtimes_groups_are_dropped(void **state)
{
    struct sec_facts f = as_root;
    const struct op_groups *groups;
    struct plan p;

    (void)state;
    f.groups = (uint32_t[]){ 27 };
    f.n_groups = 1;
    p = plan_of(spec_of(USER(0, 0), NULL), &f, false);
    assert_int_equal(step_of(&p, OP_GROUPS)->groups.list_size, 0);
    p = plan_of(spec_of("\"user\":{\"uid\":0,\"gid\":0,\"additionalGids\":[27,30]}", NULL), &f,
                false);
    groups = &step_of(&p, OP_GROUPS)->groups;
    assert_int_equal(groups->list_size, 2 * sizeof(uint32_t));
    assert_int_equal(((const uint32_t *)groups->list)[1], 30);
    /* Becoming root of the user namespace has dropped them. */
    p = plan_of(spec_of(USER(0, 0), NULL), &f, true);
    assert_int_equal(plan_find(&p, OP_GROUPS, 0), -1);
}

static void the_runtimes_groups_stay_by_an_annotation(void **state)
{
    struct spec *s = spec_of("\"user\":{\"uid\":0,\"gid\":0,\"additionalGids\":[30]}", NULL);
    struct spec_pair keep = { "run.oci.keep_original_groups", "" };
    struct sec_facts f = as_root;

    (void)state;
    f.groups = (uint32_t[]){ 27 };
    f.n_groups = 1;
    s->annotations.v = &keep;
    s->annotations.n = 1;
    for (int user_ns = 0; user_ns <= 1; user_ns++) {
        struct plan p = plan_of(s, &f, user_ns);

        assert_int_equal(plan_find(&p, OP_GROUPS, 0), -1);
    }
}

static void additional_groups_need_setgroups(void **state)
{
    struct spec *s = spec_of("\"user\":{\"uid\":0,\"gid\":0,\"additionalGids\":[3]}", NULL);
    struct err e = { 0 };
    struct plan p;

    (void)state;
    plan_init(&p, arena, "run");
    plan_add(&p, OP_NS_ID_MAPS, LANE_RUNTIME, "")->ns_id_maps.deny_setgroups = true;
    assert_true(sec_compile_privileges(&p, s, &as_user, true, SLOT_NONE, &e) < 0);
    assert_string_equal(e.pointer, "/process/user/additionalGids");
    assert_non_null(strstr(e.text, "setgroups is denied"));
}

static void where_setgroups_is_denied_the_groups_stay(void **state)
{
    struct spec *asks = spec_of("\"user\":{\"uid\":0,\"gid\":0,\"additionalGids\":[3]}", NULL);
    struct sec_facts f = as_root;
    uint32_t has[] = { 3 };
    struct err e = { 0 };
    struct plan p;

    (void)state;
    f.setgroups_denied = true;
    f.groups = has;
    f.n_groups = 1;
    p = plan_of(spec_of(USER(0, 0), NULL), &f, false);
    assert_int_equal(plan_find(&p, OP_GROUPS, 0), -1);
    p = plan_of(asks, &f, false); /* they are there already */
    assert_int_equal(plan_find(&p, OP_GROUPS, 0), -1);
    f.n_groups = 0;
    plan_init(&p, arena, "run");
    assert_true(sec_compile_privileges(&p, asks, &f, false, SLOT_NONE, &e) < 0);
    assert_string_equal(e.pointer, "/process/user/additionalGids");
}

/* ---- capabilities -------------------------------------------------------------------------- */

static void root_keeps_no_more_than_the_sets(void **state)
{
    struct plan p = plan_of(
        spec_of(USER(0, 0) "," CAPS(KILL "," CHOWN, KILL, "", KILL "," CHOWN, ""), NULL), &as_root,
        false);
    const struct op_capabilities *caps = &step_of(&p, OP_CAPABILITIES)->capabilities;

    (void)state;
    assert_string_equal(outline(&p), "bounding-drop capabilities barrier");
    assert_true(caps->effective == BIT(CAP_KILL));
    assert_true(caps->permitted == (BIT(CAP_KILL) | BIT(CAP_CHOWN)));
    assert_true(caps->inheritable == 0);
}

static void leaving_root_keeps_capabilities_only_where_some_are_wanted(void **state)
{
    struct plan p = plan_of(spec_of(USER(5, 5) "," CAPS(KILL, KILL, KILL, KILL, KILL), NULL),
                            &as_root, false);

    (void)state;
    assert_true(step_of(&p, OP_IDS)->ids.keep_caps);
    assert_true(step_of(&p, OP_AMBIENT)->ambient.raise == BIT(CAP_KILL));
    assert_false(step_of(&p, OP_AMBIENT)->ambient.clear);
    /* None wanted: the kernel clears them with the uid, no capset is needed. */
    p = plan_of(spec_of(USER(5, 5) "," CAPS(KILL, "", "", "", ""), NULL), &as_root, false);
    assert_string_equal(outline(&p), "bounding-drop ids barrier");
    assert_false(step_of(&p, OP_IDS)->ids.keep_caps);
}

static void a_stray_ambient_capability_is_cleared(void **state)
{
    struct sec_facts f = as_root;
    struct plan p;

    (void)state;
    f.cap_inheritable = f.cap_ambient = BIT(CAP_KILL) | BIT(CAP_CHOWN);
    /* The kernel takes it away together with the inheritable one. */
    p = plan_of(spec_of(USER(0, 0) "," CAPS(KILL, KILL, KILL, KILL, KILL), NULL), &f, false);
    assert_int_equal(plan_find(&p, OP_AMBIENT, 0), -1);
    /* Here nothing else does. */
    p = plan_of(spec_of(USER(0, 0) "," CAPS(KILL "," CHOWN, KILL "," CHOWN, KILL "," CHOWN,
                                            KILL "," CHOWN, CHOWN),
                        NULL),
                &f, false);
    assert_true(step_of(&p, OP_AMBIENT)->ambient.clear);
    assert_true(step_of(&p, OP_AMBIENT)->ambient.raise == BIT(CAP_CHOWN));
}

static void absent_capabilities_are_empty_sets(void **state)
{
    struct plan p = plan_of(spec_of(USER(0, 0), NULL), &as_root, false);

    (void)state;
    assert_true(step_of(&p, OP_BOUNDING_DROP)->bounding_drop.drop == ALL);
    assert_true(step_of(&p, OP_CAPABILITIES)->capabilities.permitted == 0);
}

static void what_cannot_be_granted_is_left_out(void **state)
{
    struct sec_facts f = as_root;
    struct sec_caps caps;
    struct spec *s = spec_of(CAPS(KILL "," CHOWN ",\"CAP_MOON\"", KILL "," CHOWN, KILL "," CHOWN,
                                  KILL "," CHOWN, KILL "," CHOWN),
                             NULL);

    (void)state;
    f.cap_effective = f.cap_permitted = f.cap_bounding = BIT(CAP_CHOWN);
    assert_int_equal(sec_caps_of(&s->process, &f, false, &caps, NULL), 0);
    assert_true(caps.bounding == BIT(CAP_CHOWN));
    assert_true(caps.permitted == BIT(CAP_CHOWN));
    assert_true(caps.effective == BIT(CAP_CHOWN));
    assert_true(caps.inheritable == BIT(CAP_CHOWN));
    assert_true(caps.ambient == BIT(CAP_CHOWN));
    /* A user namespace has them all. */
    assert_int_equal(sec_caps_of(&s->process, &as_user, true, &caps, NULL), 0);
    assert_true(caps.ambient == (BIT(CAP_CHOWN) | BIT(CAP_KILL)));
}

static void sets_stay_within_each_other(void **state)
{
    struct spec *s = spec_of(CAPS(CHOWN, KILL "," CHOWN, KILL, CHOWN, KILL "," CHOWN), NULL);
    struct sec_caps caps;

    (void)state;
    assert_int_equal(sec_caps_of(&s->process, &as_root, false, &caps, NULL), 0);
    assert_true(caps.effective == BIT(CAP_CHOWN)); /* within permitted */
    assert_true(caps.inheritable == 0);            /* within the bounding set */
    assert_true(caps.ambient == 0);                /* within permitted and inheritable */
}

static void a_user_namespace_begins_with_everything(void **state)
{
    struct plan p = plan_of(spec_of(USER(0, 0) "," CAPS(KILL, KILL, "", KILL, ""), NULL), &as_user,
                            true);

    (void)state;
    assert_string_equal(outline(&p), "bounding-drop capabilities barrier");
    assert_true(step_of(&p, OP_BOUNDING_DROP)->bounding_drop.drop == (ALL & ~BIT(CAP_KILL)));
}

/* ---- first and limits ---------------------------------------------------------------------- */

static void init_begins_undumpable_and_alone(void **state)
{
    struct sec_facts f = as_root;
    struct err e = { 0 };
    struct plan p;

    (void)state;
    f.sig_ignored = 1 << 12;
    plan_init(&p, arena, "run");
    plan_add(&p, OP_CLONE, LANE_RUNTIME, "");
    assert_int_equal(sec_compile_first(&p, spec_of("", NULL), &f, &e), 0);
    assert_string_equal(outline(&p), "undumpable close-fds setsid signals");
    assert_int_equal(step_of(&p, OP_CLOSE_FDS)->close_fds.first, 3);
    assert_true(step_of(&p, OP_SIGNALS)->signals.ignored == 1 << 12);
    assert_true(step_of(&p, OP_SIGNALS)->signals.mask);
    assert_int_equal(plan_finish(&p, &e), 0);
    assert_int_equal(plan_waits(&p), 0);
}

static void init_stays_dumpable_until_its_maps_are_written(void **state)
{
    struct err e = { 0 };
    struct plan p;

    (void)state;
    plan_init(&p, arena, "run");
    plan_add(&p, OP_CLONE, LANE_RUNTIME, "");
    plan_add(&p, OP_NS_ID_MAPS, LANE_RUNTIME, "");
    assert_int_equal(sec_compile_first(&p, spec_of("", NULL), &as_user, &e), 0);
    assert_int_equal(step_of(&p, OP_UNDUMPABLE)->after, 1);
}

static void the_tools_too_need_a_dumpable_init(void **state)
{
    static const struct {
        enum plan_op ops[2];
        int last;
    } rows[] = { { { OP_NS_MAP_TOOL, OP_NS_MAP_TOOL }, 2 },
                 { { OP_NS_MAP_TOOL, OP_NS_ID_MAPS }, 2 },
                 { { OP_NS_MAP_TOOL, OP_BARRIER }, 1 } };

    (void)state;
    for (size_t i = 0; i < COUNT_OF(rows); i++) {
        struct err e = { 0 };
        struct plan p;

        plan_init(&p, arena, "run");
        plan_add(&p, OP_CLONE, LANE_RUNTIME, "");
        plan_add(&p, rows[i].ops[0], LANE_RUNTIME, "");
        plan_add(&p, rows[i].ops[1], LANE_RUNTIME, "");
        assert_int_equal(sec_compile_first(&p, spec_of("", NULL), &as_user, &e), 0);
        assert_int_equal(step_of(&p, OP_UNDUMPABLE)->after, rows[i].last);
    }
}

static struct plan limits_plan(const char *process, const char *linux_, const struct sec_facts *f)
{
    struct spec *s = spec_of(process, linux_);
    struct err e = { 0 };
    struct plan p;

    plan_init(&p, arena, "run");
    plan_add(&p, OP_CLONE, LANE_RUNTIME, "")->clone.out_pid = plan_slot(&p);
    assert_int_equal(sec_compile_first(&p, s, f, &e), 0);
    assert_int_equal(sec_compile_limits(&p, s, f, &e), 0);
    assert_int_equal(
        sec_compile_privileges(&p, s, f, spec_has_namespace(s, SPEC_NS_USER), SLOT_NONE, &e), 0);
    if (plan_finish(&p, &e) < 0)
        fail_msg("%s", e.text);
    return p;
}

#define NEW_USER "\"namespaces\":[{\"type\":\"user\"}]"

static void the_runtime_sets_the_oom_score(void **state)
{
    struct plan p = limits_plan("\"oomScoreAdj\":-500", NEW_USER, &as_root);
    const struct step *st = step_of(&p, OP_OOM_SCORE_ADJ);

    (void)state;
    assert_int_equal(st->lane, LANE_RUNTIME);
    assert_int_equal(st->oom_score_adj.pid, p.steps[0].clone.out_pid);
    assert_int_equal(st->oom_score_adj.value, -500);
    p = limits_plan("", NULL, &as_root);
    assert_int_equal(plan_find(&p, OP_OOM_SCORE_ADJ, 0), -1);
}

static void an_ordinary_users_init_sets_its_oom_score_while_dumpable(void **state)
{
    struct plan p = limits_plan("\"oomScoreAdj\":500", NEW_USER, &as_user);
    int oom = plan_find(&p, OP_OOM_SCORE_ADJ, 0);

    (void)state;
    assert_int_equal(p.steps[oom].lane, LANE_INIT);
    assert_int_equal(p.steps[oom].oom_score_adj.pid, SLOT_NONE);
    assert_true(oom < plan_find(&p, OP_UNDUMPABLE, 0));
}

#define NOFILE(soft, hard) \
    "\"rlimits\":[{\"type\":\"RLIMIT_NOFILE\",\"soft\":" #soft ",\"hard\":" #hard "}]"

static void unlimited_is_the_largest_number(void **state)
{
    struct plan p = limits_plan(NOFILE(18446744073709551615, 18446744073709551615), NULL, &as_root);
    const struct op_rlimit *op = &step_of(&p, OP_RLIMIT)->rlimit;

    (void)state;
    assert_true(op->soft == RLIM64_INFINITY && op->hard == RLIM64_INFINITY);
    assert_int_equal(op->resource, RLIMIT_NOFILE);
    assert_int_equal(op->pid, SLOT_NONE);
    assert_string_equal(step_of(&p, OP_RLIMIT)->pointer, "/process/rlimits/0");
}

static void the_runtime_raises_what_a_user_namespace_cannot(void **state)
{
    struct sec_facts f = as_root;
    struct plan p;
    int outside, inside;

    (void)state;
    f.limits[RLIMIT_NOFILE] = (struct sec_limit){ true, 1024, 4096 };
    p = limits_plan(NOFILE(10, 65536), NEW_USER, &f);
    outside = plan_find(&p, OP_RLIMIT, 0);
    inside = plan_find(&p, OP_RLIMIT, (size_t)outside + 1);
    assert_int_equal(p.steps[outside].lane, LANE_RUNTIME);
    assert_int_equal(p.steps[outside].rlimit.pid, p.steps[0].clone.out_pid);
    assert_true(p.steps[outside].rlimit.soft == 1024 && p.steps[outside].rlimit.hard == 65536);
    assert_int_equal(p.steps[inside].lane, LANE_INIT);
    assert_true(p.steps[inside].rlimit.soft == 10 && p.steps[inside].rlimit.hard == 65536);
    assert_true(plan_happens_before(&p, (size_t)outside, (size_t)inside));
    /* What is not above needs nobody's help. */
    p = limits_plan(NOFILE(10, 4096), NEW_USER, &f);
    outside = plan_find(&p, OP_RLIMIT, 0);
    assert_int_equal(p.steps[outside].lane, LANE_INIT);
    assert_int_equal(plan_find(&p, OP_RLIMIT, (size_t)outside + 1), -1);
}

/* ---- facts --------------------------------------------------------------------------------- */

static void assert_same_facts(const struct sec_facts *a, const struct sec_facts *b)
{
    assert_int_equal(a->euid, b->euid);
    assert_int_equal(a->egid, b->egid);
    assert_true(a->cap_effective == b->cap_effective);
    assert_true(a->cap_permitted == b->cap_permitted);
    assert_true(a->cap_inheritable == b->cap_inheritable);
    assert_true(a->cap_bounding == b->cap_bounding);
    assert_true(a->cap_ambient == b->cap_ambient);
    assert_true(a->sig_ignored == b->sig_ignored);
    assert_true(a->sig_blocked == b->sig_blocked);
    assert_int_equal(a->umask, b->umask);
    assert_int_equal(a->no_new_privs, b->no_new_privs);
    assert_int_equal(a->last_cap, b->last_cap);
    assert_int_equal(a->n_groups, b->n_groups);
    for (size_t i = 0; i < a->n_groups; i++)
        assert_int_equal(a->groups[i], b->groups[i]);
    for (size_t i = 0; i < SEC_N_LIMITS; i++) {
        assert_int_equal(a->limits[i].known, b->limits[i].known);
        assert_true(a->limits[i].soft == b->limits[i].soft);
        assert_true(a->limits[i].hard == b->limits[i].hard);
    }
}

static void facts_survive_the_round_trip(void **state)
{
    struct sec_facts f = { .euid = 1,
                           .egid = UINT32_MAX,
                           .cap_effective = 1,
                           .cap_permitted = UINT64_MAX,
                           .cap_inheritable = 3,
                           .cap_bounding = 4,
                           .cap_ambient = 5,
                           .sig_ignored = UINT64_C(1) << 63,
                           .sig_blocked = 6,
                           .umask = 0777,
                           .no_new_privs = true,
                           .groups = (uint32_t[]){ 0, 7, UINT32_MAX },
                           .n_groups = 3,
                           .last_cap = 63,
                           .limits = { [3] = { true, 0, UINT64_MAX }, [15] = { true, 1, 2 } } };
    struct sec_facts back = { 0 };
    struct json_out *j = json_out_new(false);
    struct err e = { 0 };
    struct json *doc;
    const char *text;
    size_t len;

    (void)state;
    sec_facts_write(&f, j, NULL);
    text = json_out_text(j, &len);
    assert_int_equal(json_parse(arena, text, len, "facts", &doc, &e), 0);
    if (sec_facts_read(doc, arena, &back, &e) < 0)
        fail_msg("%s: %s", e.pointer, e.text);
    json_out_free(j);
    assert_same_facts(&f, &back);
}

static void broken_facts_name_the_field(void **state)
{
    struct json_out *j = json_out_new(false);
    static const struct {
        const char *from, *to, *pointer;
    } rows[] = {
        { "\"euid\":0", "\"euid\":-1", "/euid" },
        { "\"umask\":18", "\"umask\":512", "/umask" },
        { "\"noNewPrivs\":false", "\"noNewPrivs\":0", "/noNewPrivs" },
        { "\"groups\":[]", "\"groups\":[4294967296]", "/groups" },
        { "\"limits\":[]", "\"limits\":[{\"resource\":16}]", "/limits/0/resource" },
        { "\"lastCap\":40", "\"lastCap\":64", "/lastCap" },
    };
    const char *text;
    size_t len;

    (void)state;
    sec_facts_write(&as_root, j, NULL);
    text = json_out_text(j, &len);
    for (size_t i = 0; i < COUNT_OF(rows); i++) {
        const char *at = strstr(text, rows[i].from);
        struct sec_facts f = { .last_cap = 1 };
        struct err e = { 0 };
        struct json *doc;
        const char *broken;

        unit_row(rows[i].from, at != NULL);
        broken = arena_format(arena, "%.*s%s%s", (int)(at - text), text, rows[i].to,
                              at + strlen(rows[i].from));
        assert_int_equal(json_parse(arena, broken, strlen(broken), "facts", &doc, &e), 0);
        unit_row(rows[i].to, sec_facts_read(doc, arena, &f, &e) < 0);
        unit_row(rows[i].to, str_eq(e.pointer, rows[i].pointer));
        unit_row(rows[i].to, f.last_cap == 1); /* untouched */
    }
    json_out_free(j);
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
        cmocka_unit_test_setup(without_no_new_privs_the_filter_precedes_ids_and_capabilities,
                               set_arena),
        cmocka_unit_test_setup(with_no_new_privs_the_filter_is_last, set_arena),
        cmocka_unit_test_setup(the_filter_is_compiled_before_the_clone, set_arena),
        cmocka_unit_test_setup(nothing_is_done_for_what_is_there_already, set_arena),
        cmocka_unit_test_setup(only_what_the_bounding_set_holds_is_dropped, set_arena),
        cmocka_unit_test_setup(one_of_the_ids_may_stay, set_arena),
        cmocka_unit_test_setup(the_umask_stays_unless_the_spec_names_one, set_arena),
        cmocka_unit_test_setup(the_umask_of_inits_own_work_is_taken_back, set_arena),
        cmocka_unit_test_setup(the_runtimes_groups_are_dropped, set_arena),
        cmocka_unit_test_setup(the_runtimes_groups_stay_by_an_annotation, set_arena),
        cmocka_unit_test_setup(additional_groups_need_setgroups, set_arena),
        cmocka_unit_test_setup(where_setgroups_is_denied_the_groups_stay, set_arena),
        cmocka_unit_test_setup(root_keeps_no_more_than_the_sets, set_arena),
        cmocka_unit_test_setup(leaving_root_keeps_capabilities_only_where_some_are_wanted,
                               set_arena),
        cmocka_unit_test_setup(a_stray_ambient_capability_is_cleared, set_arena),
        cmocka_unit_test_setup(absent_capabilities_are_empty_sets, set_arena),
        cmocka_unit_test_setup(what_cannot_be_granted_is_left_out, set_arena),
        cmocka_unit_test_setup(sets_stay_within_each_other, set_arena),
        cmocka_unit_test_setup(a_user_namespace_begins_with_everything, set_arena),
        cmocka_unit_test_setup(init_begins_undumpable_and_alone, set_arena),
        cmocka_unit_test_setup(init_stays_dumpable_until_its_maps_are_written, set_arena),
        cmocka_unit_test_setup(the_tools_too_need_a_dumpable_init, set_arena),
        cmocka_unit_test_setup(the_runtime_sets_the_oom_score, set_arena),
        cmocka_unit_test_setup(an_ordinary_users_init_sets_its_oom_score_while_dumpable, set_arena),
        cmocka_unit_test_setup(unlimited_is_the_largest_number, set_arena),
        cmocka_unit_test_setup(the_runtime_raises_what_a_user_namespace_cannot, set_arena),
        cmocka_unit_test_setup(facts_survive_the_round_trip, set_arena),
        cmocka_unit_test_setup(broken_facts_name_the_field, set_arena),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
