/* SPDX-License-Identifier: Apache-2.0 */
#include "unit.h"

#include "plan/plan.h"

#include <linux/capability.h>
#include <sys/resource.h>
#include <sys/sysmacros.h>

static struct plan p;

static int set_up(void **state)
{
    (void)state;
    arena_release(unit_arena());
    plan_init(&p, unit_arena(), "run");
    return 0;
}

static struct step *add(enum plan_op op)
{
    return plan_add(&p, op, LANE_INIT, "");
}

static void describes(const struct step *s, const char *expected)
{
    AUTO_STRBUF struct strbuf out = { 0 };

    strbuf_str(&out, "");
    plan_describe(s, &out);
    assert_string_equal(out.ptr, expected);
}

/* ---- operands ------------------------------------------------------------------------------ */

static void absent_operands_are_not_said(void **state)
{
    struct step *s = add(OP_MOUNT);

    (void)state;
    describes(s, "");
    s->mount.type = "proc";
    s->mount.source = "";
    s->mount.target = "/proc";
    s->mount.flags = MS_NOSUID | MS_NOEXEC | MS_NODEV;
    s->mount.root = 3;
    describes(s, "type=proc source=\"\" target=/proc flags=nosuid,nodev,noexec root=$3");
    describes(add(OP_SETSID), "");
}

static void mount_flags_have_the_names_of_their_options(void **state)
{
    static const struct {
        uint64_t flags;
        const char *names;
    } rows[] = {
        { MS_BIND | MS_REC | MS_RDONLY, "ro,rbind" },
        { MS_BIND, "bind" },
        { MS_REMOUNT | MS_BIND | MS_NOSUID, "nosuid,remount,bind" },
        { MS_PRIVATE | MS_REC, "rprivate" },
        { MS_SLAVE, "slave" },
        { MS_SHARED | MS_REC, "rshared" },
        { MS_UNBINDABLE | MS_REC, "runbindable" },
        { MS_REC, "rec" },
        { MS_NOATIME | MS_RELATIME | MS_STRICTATIME | MS_LAZYTIME,
          "noatime,relatime,strictatime,lazytime" },
        { MS_RDONLY | UINT64_C(1) << 40, "ro,0x10000000000" },
    };

    (void)state;
    for (size_t i = 0; i < COUNT_OF(rows); i++) {
        AUTO_STRBUF struct strbuf out = { 0 }, expected = { 0 };
        struct step *s = add(OP_ROOT_PROPAGATION);

        s->root_propagation.flags = rows[i].flags;
        plan_describe(s, &out);
        strbuf_format(&expected, "flags=%s", rows[i].names);
        assert_string_equal(out.ptr, expected.ptr);
    }
}

static void attributes_namespaces_and_capabilities_have_names(void **state)
{
    struct step *attr = add(OP_MOUNT_ATTR), *clone, *caps;

    (void)state;
    attr->mount_attr.set = MOUNT_ATTR_RDONLY | MOUNT_ATTR_NOATIME;
    attr->mount_attr.clear = MOUNT_ATTR__ATIME;
    describes(attr, "set=ro,noatime clear=atime");
    clone = add(OP_CLONE);
    clone->clone.flags = CLONE_NEWPID | CLONE_NEWNS | CLONE_NEWCGROUP;
    clone->clone.out_pid = 0;
    clone->clone.sibling = true;
    describes(clone, "flags=CLONE_NEWNS,CLONE_NEWPID,CLONE_NEWCGROUP out_pid=$0 sibling=yes");
    caps = add(OP_CAPABILITIES);
    caps->capabilities.effective = 1 << CAP_KILL | 1 << CAP_CHOWN;
    caps->capabilities.permitted = UINT64_C(1) << CAP_CHECKPOINT_RESTORE | UINT64_C(1) << 63;
    describes(caps, "effective=CAP_CHOWN,CAP_KILL "
                    "permitted=CAP_CHECKPOINT_RESTORE,0x8000000000000000 inheritable=none");
}

static void every_capability_of_the_kernels_header_has_a_name(void **state)
{
    AUTO_STRBUF struct strbuf out = { 0 };
    struct step *s = add(OP_BOUNDING_DROP);
    size_t names = 1;

    (void)state;
    s->bounding_drop.drop = (UINT64_C(2) << CAP_LAST_CAP) - 1;
    plan_describe(s, &out);
    assert_null(strstr(out.ptr, "0x"));
    for (const char *c = out.ptr; *c != '\0'; c++)
        names += *c == ',';
    assert_int_equal(names, CAP_LAST_CAP + 1);
}

static void numbers_are_exact_and_say_what_they_stand_for(void **state)
{
    struct step *limit = add(OP_RLIMIT), *device, *score;

    (void)state;
    limit->rlimit.resource = RLIMIT_NOFILE;
    limit->rlimit.soft = 1024;
    limit->rlimit.hard = UINT64_MAX;
    describes(limit, "resource=RLIMIT_NOFILE soft=1024 hard=18446744073709551615");
    limit->rlimit.resource = 99;
    describes(limit, "resource=99 soft=1024 hard=18446744073709551615");
    limit->rlimit.resource = -1;
    describes(limit, "resource=-1 soft=1024 hard=18446744073709551615");
    device = add(OP_DEVICE);
    device->device.path = "/dev/null";
    device->device.mode = S_IFCHR | 0666;
    device->device.dev = makedev(259, 1048575);
    describes(device, "path=/dev/null mode=20666 dev=259:1048575 uid=0 gid=0");
    score = add(OP_OOM_SCORE_ADJ);
    score->oom_score_adj.value = -1000;
    describes(score, "value=-1000");
    score = add(OP_UMASK);
    score->umask.mask = 022;
    describes(score, "mask=0022");
}

static void data_is_told_by_its_size(void **state)
{
    struct step *s = add(OP_GROUPS);

    (void)state;
    describes(s, "");
    s->groups.list = "\1\0\0\0\2\0\0\0";
    s->groups.list_size = 8;
    describes(s, "list=8 bytes");
}

static void long_vectors_are_cut(void **state)
{
    const char *three[] = { "sh", "-c", "echo \"a b\"\n", NULL }, *none[] = { NULL };
    const char *ten[] = { "0", "1", "2", "3", "4", "5", "6", "7", "8", "9", NULL };
    struct step *s = add(OP_EXEC);

    (void)state;
    s->exec.argv = three;
    s->exec.candidates = none;
    describes(s, "candidates=[] argv=[sh -c \"echo \\\"a b\\\"\\n\"]");
    s->exec.argv = ten;
    describes(s, "candidates=[] argv=[0 1 2 3 4 5 6 7 and 2 more]");
}

static void nothing_in_a_config_reaches_the_terminal_as_a_command(void **state)
{
    struct step *s = add(OP_NS_HOSTNAME);

    (void)state;
    s->ns_hostname.name = "a\x1b[31mb\x7f\tc\\";
    describes(s, "name=\"a\\x1b[31mb\\x7f\\tc\\\\\"");
    s->ns_hostname.name = "\xc2\x9b"
                          "31m";
    describes(s, "name=\\xc2\\x9b31m");
    s->ns_hostname.name = "caf\xc3\xa9";
    describes(s, "name=caf\xc3\xa9");
    s->ns_hostname.name = "\x9b"
                          "2J";
    describes(s, "name=\\x9b2J");
}

/* ---- the table ----------------------------------------------------------------------------- */

static void a_small_plan(void)
{
    struct step *s;
    int maps;

    s = plan_add(&p, OP_STATE_CREATE, LANE_RUNTIME, "");
    s->state_create.dir = "/run/teca/c";
    s = plan_add(&p, OP_CLONE, LANE_RUNTIME, "/linux/namespaces");
    s->clone.flags = CLONE_NEWUSER;
    s->clone.out_pid = plan_slot(&p);
    s = plan_add(&p, OP_NS_ID_MAPS, LANE_RUNTIME, "/linux/uidMappings");
    s->ns_id_maps.pid = 0;
    s->ns_id_maps.uid_map = "0 1000 1\n";
    maps = plan_last(&p, LANE_RUNTIME);
    plan_add(&p, OP_SETSID, LANE_INIT, "");
    s = plan_add(&p, OP_NS_BECOME_ROOT, LANE_INIT, "/linux/uidMappings");
    s->after = maps;
    s = plan_add(&p, OP_NS_HOSTNAME, LANE_INIT, "/hostname");
    s->after = maps; /* implied: not said */
    s->ns_hostname.name = "box";
    assert_int_equal(plan_finish(&p, NULL), 0);
}

static void the_table_says_who_does_what_and_waits_for_whom(void **state)
{
    static const char expected[] =
        "step  lane     operation                               waits        field\n"
        "   0  runtime  state-create dir=/run/teca/c\n"
        "   1  runtime  clone flags=CLONE_NEWUSER out_pid=$0                 /linux/namespaces\n"
        "   2  runtime  ns-id-maps pid=$0 uid_map=\"0 1000 1\\n\"               /linux/uidMappings\n"
        "   3  init     setsid\n"
        "   4  init     ns-become-root                          after 2      /linux/uidMappings\n"
        "   5  init     ns-hostname name=box                                 /hostname\n";
    AUTO_STRBUF struct strbuf out = { 0 };

    (void)state;
    a_small_plan();
    plan_explain_text(&p, &out);
    assert_string_equal(out.ptr, expected);
}

static void a_long_row_pushes_only_itself_aside(void **state)
{
    AUTO_STRBUF struct strbuf out = { 0 };
    char name[200];

    (void)state;
    memset(name, 'x', sizeof(name) - 1);
    name[sizeof(name) - 1] = '\0';
    plan_add(&p, OP_CHDIR, LANE_INIT, "/process/cwd\n")->chdir.path = name;
    plan_add(&p, OP_CHDIR, LANE_INIT, "/process/cwd")->chdir.path = "/";
    plan_explain_text(&p, &out);
    assert_non_null(strstr(out.ptr, "xxx /process/cwd\\n\n"));
    assert_non_null(strstr(out.ptr, "chdir path=/               /process/cwd\n"));
}

/* ---- JSON ---------------------------------------------------------------------------------- */

static const struct json *explained(void)
{
    struct json_out *j = json_out_new(false);
    struct json *doc = NULL;
    struct err e = { 0 };
    const char *text;
    size_t len;

    plan_explain_json(&p, j);
    text = json_out_text(j, &len);
    if (json_parse(p.arena, text, len, "plan", &doc, &e) != 0)
        fail_msg("%s", e.text);
    json_out_free(j);
    return doc;
}

static const struct json *nth(const struct json *array, size_t n)
{
    const struct json *v = array->child;

    while (n-- > 0)
        v = v->next;
    return v;
}

static void is_number(const struct json *object, const char *name, const char *text)
{
    const struct json *v = json_get(object, name);

    unit_row(name, v != NULL && v->type == JSON_NUMBER);
    assert_string_equal(v->text, text);
}

static void is_string(const struct json *object, const char *name, const char *text)
{
    const struct json *v = json_get(object, name);

    unit_row(name, v != NULL && v->type == JSON_STRING);
    assert_string_equal(v->text, text);
}

static void is_bool(const struct json *object, const char *name, bool value)
{
    const struct json *v = json_get(object, name);

    unit_row(name, v != NULL && v->type == JSON_BOOL && v->boolean == value);
}

static void json_says_the_same_as_the_table(void **state)
{
    const struct json *doc, *steps, *step, *flags;

    (void)state;
    a_small_plan();
    doc = explained();
    is_string(doc, "plan", "run");
    is_number(doc, "slots", "1");
    is_number(doc, "waits", "1");
    steps = json_get(doc, "steps");
    assert_int_equal(steps->count, 6);
    step = nth(steps, 1);
    is_number(step, "step", "1");
    is_string(step, "lane", "runtime");
    is_string(step, "operation", "clone");
    is_string(step, "pointer", "/linux/namespaces");
    assert_null(json_get(step, "after"));
    step = json_get(step, "operands");
    flags = json_get(step, "flags");
    assert_int_equal(flags->type, JSON_ARRAY);
    assert_string_equal(flags->child->text, "CLONE_NEWUSER");
    is_number(step, "out_pid", "0");
    assert_null(json_get(step, "out_pidfd"));
    is_bool(step, "sibling", false);
    is_bool(nth(steps, 2), "handOver", true);
    is_bool(nth(steps, 4), "waits", true);
    is_number(nth(steps, 4), "after", "2");
    is_bool(nth(steps, 5), "waits", false);
    is_number(nth(steps, 5), "after", "2");
    is_string(nth(steps, 5), "pointer", "/hostname");
}

static void json_operands_are_typed(void **state)
{
    const char *argv[] = { "a", "b", NULL };
    const struct json *steps, *operands;
    struct step *s;

    (void)state;
    s = add(OP_DEVICE);
    s->device.dev = makedev(1, 3);
    s->device.mode = 0600;
    s->device.uid = -1;
    s = add(OP_RLIMIT);
    s->rlimit.resource = RLIMIT_CORE;
    s->rlimit.hard = UINT64_MAX;
    s = add(OP_EXEC);
    s->exec.argv = argv;
    s = add(OP_GROUPS);
    s->groups.list = "1234";
    s->groups.list_size = 4;
    steps = json_get(explained(), "steps");

    operands = json_get(nth(steps, 0), "operands");
    is_string(operands, "dev", "1:3");
    is_string(operands, "mode", "0600");
    is_number(operands, "uid", "-1");
    assert_int_equal(json_get(operands, "path")->type, JSON_NULL);
    operands = json_get(nth(steps, 1), "operands");
    is_string(operands, "resource", "RLIMIT_CORE");
    is_number(operands, "hard", "18446744073709551615");
    operands = json_get(nth(steps, 2), "operands");
    assert_int_equal(json_get(operands, "argv")->count, 2);
    assert_string_equal(json_get(operands, "argv")->child->next->text, "b");
    assert_int_equal(json_get(operands, "envp")->type, JSON_NULL);
    operands = json_get(nth(steps, 3), "operands");
    is_number(operands, "list_size", "4");
    assert_null(json_get(operands, "list"));
}

/* Every field of every operation must come out, whatever ops.def grows: named in text and JSON. */
static void no_operand_of_any_operation_is_left_out(void **state)
{
    static const char *const strv[] = { "v", NULL };
    const struct json *steps;
    size_t fields_seen = 0;

    (void)state;
    for (int op = 0; op < OP_COUNT; op++) {
        struct step *s = add((enum plan_op)op);

        switch ((enum plan_op)op) {
#define STR(n) operands->n = "text";
#define STRV(n) operands->n = strv;
#define INT(n) operands->n = 1;
#define UINT(n) operands->n = 1;
#define OCT(n) operands->n = 1;
#define BOOL(n) operands->n = true;
#define SLOT(n) operands->n = 1;
#define MNT(n) operands->n = 1;
#define ATTR(n) operands->n = 1;
#define NS(n) operands->n = CLONE_NEWNS;
#define CAPS(n) operands->n = 1;
#define DATA(n) operands->n = "data";
#define PLAN_OP(NAME, name, fields)            \
    case OP_##NAME: {                          \
        struct op_##name *operands = &s->name; \
                                               \
        (void)operands;                        \
        fields break;                          \
    }
#include "plan/ops.def"
#undef PLAN_OP
#undef STR
#undef STRV
#undef INT
#undef UINT
#undef OCT
#undef BOOL
#undef SLOT
#undef MNT
#undef ATTR
#undef NS
#undef CAPS
#undef DATA
        case OP_COUNT:
            break;
        }
    }
    steps = json_get(explained(), "steps");
    assert_int_equal(steps->count, OP_COUNT);

#define SEEN(n)                                                                           \
    unit_row(#n, json_get(operands, #n) != NULL && strstr(text.ptr, " " #n "=") != NULL); \
    fields_seen++;
#define STR(n) SEEN(n)
#define STRV(n) SEEN(n)
#define INT(n) SEEN(n)
/* The size of a DATA is said with the data in text. */
#define UINT(n)                                          \
    unit_row(#n, json_get(operands, #n) != NULL);        \
    unit_row(#n, strstr(text.ptr, " " #n "=") != NULL || \
                     (strstr(#n, "_size") != NULL && strstr(text.ptr, "1 bytes") != NULL));
#define OCT(n) SEEN(n)
#define BOOL(n) SEEN(n)
#define SLOT(n) SEEN(n)
#define MNT(n) SEEN(n)
#define ATTR(n) SEEN(n)
#define NS(n) SEEN(n)
#define CAPS(n) SEEN(n)
#define DATA(n)                                                 \
    unit_row(#n, strstr(text.ptr, " " #n "=1 bytes") != NULL || \
                     strstr(text.ptr, " " #n "=data") != NULL);
#define PLAN_OP(NAME, name, fields)                                                \
    {                                                                              \
        const struct json *operands = json_get(nth(steps, OP_##NAME), "operands"); \
        AUTO_STRBUF struct strbuf text = { 0 };                                    \
                                                                                   \
        strbuf_str(&text, " ");                                                    \
        plan_describe(&p.steps[OP_##NAME], &text);                                 \
        assert_non_null(operands);                                                 \
        fields                                                                     \
    }
#include "plan/ops.def"
#undef PLAN_OP
    assert_true(fields_seen > 50);
}

#define PLAN_TEST(test) cmocka_unit_test_setup(test, set_up)

int main(void)
{
    const struct CMUnitTest tests[] = {
        PLAN_TEST(absent_operands_are_not_said),
        PLAN_TEST(mount_flags_have_the_names_of_their_options),
        PLAN_TEST(attributes_namespaces_and_capabilities_have_names),
        PLAN_TEST(every_capability_of_the_kernels_header_has_a_name),
        PLAN_TEST(numbers_are_exact_and_say_what_they_stand_for),
        PLAN_TEST(data_is_told_by_its_size),
        PLAN_TEST(long_vectors_are_cut),
        PLAN_TEST(nothing_in_a_config_reaches_the_terminal_as_a_command),
        PLAN_TEST(the_table_says_who_does_what_and_waits_for_whom),
        PLAN_TEST(a_long_row_pushes_only_itself_aside),
        PLAN_TEST(json_says_the_same_as_the_table),
        PLAN_TEST(json_operands_are_typed),
        PLAN_TEST(no_operand_of_any_operation_is_left_out),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
