/* SPDX-License-Identifier: Apache-2.0 */
/* The Landlock policy: what it may say, what becomes of it, and what the kernel must have for it. */
#include "minimal.h"

#include "security/internal.h"

#define NOTE "/annotations/org.teca.landlock"
enum { ALL_OF_ABI_3 = 0x7fff, IOCTL_DEV = 0x8000 };

/* The policy as the value of the annotation. */
static struct spec *spec_of(const char *policy, bool no_new_privs)
{
    struct arena *a = unit_arena();
    struct json_out *j = json_out_new(false);
    struct spec *s = NULL;
    struct err e = { 0 };
    const char *text;

    json_open_object(j, NULL);
    json_add_string(j, "ociVersion", "1.3.0");
    json_open_object(j, "process");
    json_add_string(j, "cwd", "/");
    json_add_bool(j, "noNewPrivileges", no_new_privs);
    json_close_object(j);
    json_open_object(j, "annotations");
    json_add_string(j, "org.teca.landlock", policy);
    json_close_object(j);
    json_close_object(j);
    text = arena_strdup(a, json_out_text(j, NULL));
    json_out_free(j);
    if (spec_parse(a, text, strlen(text), &s, NULL, &e) < 0)
        fail_msg("%s: %s", e.pointer, e.text);
    return s;
}

static int compile(const char *policy, int abi, struct plan *p, struct err *e)
{
    const struct sec_facts f = { .landlock_abi = abi };

    plan_init(p, unit_arena(), "run");
    *e = (struct err){ 0 };
    return landlock_compile(p, spec_of(policy, true), &f, e);
}

static int teardown(void **state)
{
    (void)state;
    arena_release(unit_arena());
    return 0;
}

/* ---- the schema ---------------------------------------------------------------------------- */

static void what_is_no_policy_is_named_by_pointer(void **state)
{
    static const struct {
        const char *policy, *pointer, *text;
    } rows[] = {
        { "", NOTE, "" },
        { "{", NOTE, "" },
        { "[]", NOTE, "must be an object" },
        { "{}", NOTE, "must have 'paths' or 'tcp'" },
        { "{\"path\":[]}", NOTE "/path", "is no key" },
        { "{\"paths\":{}}", NOTE "/paths", "must be a list" },
        { "{\"paths\":[7]}", NOTE "/paths/0", "must be an object" },
        { "{\"paths\":[{\"path\":\"/\"}]}", NOTE "/paths/0", "must have 'access'" },
        { "{\"paths\":[{\"access\":[\"read\"]}]}", NOTE "/paths/0", "must have 'path'" },
        { "{\"paths\":[{\"path\":\"/\",\"access\":[\"read\"],\"x\":1}]}", NOTE "/paths/0/x",
          "is no key" },
        { "{\"paths\":[{\"path\":\"usr\",\"access\":[\"read\"]}]}", NOTE "/paths/0/path",
          "absolute" },
        { "{\"paths\":[{\"path\":\"\",\"access\":[\"read\"]}]}", NOTE "/paths/0/path", "absolute" },
        { "{\"paths\":[{\"path\":\"/a\\u0000b\",\"access\":[\"read\"]}]}", NOTE "/paths/0/path",
          "absolute" },
        { "{\"paths\":[{\"path\":7,\"access\":[\"read\"]}]}", NOTE "/paths/0/path", "absolute" },
        { "{\"paths\":[{\"path\":\"/\",\"access\":[]}]}", NOTE "/paths/0/access", "at least one" },
        { "{\"paths\":[{\"path\":\"/\",\"access\":\"read\"}]}", NOTE "/paths/0/access", "a list" },
        { "{\"paths\":[{\"path\":\"/\",\"access\":[\"read\",\"fly\"]}]}", NOTE "/paths/0/access/1",
          "is no right" },
        { "{\"paths\":[{\"path\":\"/\",\"access\":[1]}]}", NOTE "/paths/0/access/0",
          "is no right" },
        { "{\"tcp\":{}}", NOTE "/tcp", "must have 'bind' or 'connect'" },
        { "{\"tcp\":[]}", NOTE "/tcp", "must be an object" },
        { "{\"tcp\":{\"listen\":[1]}}", NOTE "/tcp/listen", "is no key" },
        { "{\"tcp\":{\"bind\":80}}", NOTE "/tcp/bind", "must be a list of ports" },
        { "{\"tcp\":{\"bind\":[80,65536]}}", NOTE "/tcp/bind/1", "must be a port" },
        { "{\"tcp\":{\"connect\":[-1]}}", NOTE "/tcp/connect/0", "must be a port" },
        { "{\"tcp\":{\"connect\":[\"80\"]}}", NOTE "/tcp/connect/0", "must be a port" },
        { "{\"tcp\":{\"bind\":[1]},\"tcp\":{\"bind\":[1]}}", NOTE, "" },
    };

    (void)state;
    for (size_t i = 0; i < COUNT_OF(rows); i++) {
        struct plan p;
        struct err e;
        struct spec_faults faults;

        unit_row(rows[i].policy, compile(rows[i].policy, 99, &p, &e) < 0);
        unit_row(rows[i].policy, str_eq(e.pointer, rows[i].pointer));
        unit_row(rows[i].policy, strstr(e.text, rows[i].text) != NULL);
        unit_row(rows[i].policy, p.n == 0);
        spec_faults_init(&faults);
        sec_check_landlock(spec_of(rows[i].policy, true), unit_arena(), &faults);
        unit_row(rows[i].policy, faults.errors == 1);
        unit_row(rows[i].policy, str_eq(faults.first->pointer, rows[i].pointer));
    }
}

static void without_the_annotation_there_is_nothing(void **state)
{
    struct spec *s = minimal_spec(unit_arena(), "{'annotations': {'org.teca.other': '['}}");
    const struct sec_facts f = { .landlock_abi = 7 };
    struct spec_faults faults;
    struct plan p;
    struct err e = { 0 };

    (void)state;
    plan_init(&p, unit_arena(), "run");
    assert_int_equal(landlock_compile(&p, s, &f, &e), 0);
    landlock_compile_restrict(&p);
    assert_int_equal(p.n, 0);
    assert_int_equal(landlock_abi(s), 0);
    spec_faults_init(&faults);
    sec_check_landlock(s, unit_arena(), &faults);
    assert_int_equal(faults.errors + faults.warnings, 0);
}

/* ---- the kernel ---------------------------------------------------------------------------- */

#define ROOT(access) "{\"paths\":[{\"path\":\"/\",\"access\":[" access "]}]}"

static void what_the_kernel_lacks_is_named(void **state)
{
    static const struct {
        const char *policy;
        int needs;
        const char *pointer, *text;
    } rows[] = {
        { ROOT("\"read\""), 3, NOTE "/paths", "Landlock ABI 3 (Linux 6.2)" },
        { "{\"paths\":[]}", 3, NOTE "/paths", "Landlock ABI 3 (Linux 6.2)" },
        { ROOT("\"read\",\"ioctl_dev\""), 5, NOTE "/paths/0/access/1",
          "Landlock ABI 5 (Linux 6.10)" },
        { "{\"tcp\":{\"bind\":[]}}", 4, NOTE "/tcp", "Landlock ABI 4 (Linux 6.7)" },
        { "{\"paths\":[],\"tcp\":{\"bind\":[]}}", 4, NOTE "/tcp", "Landlock ABI 4 (Linux 6.7)" },
    };

    (void)state;
    for (size_t i = 0; i < COUNT_OF(rows); i++) {
        struct plan p;
        struct err e;

        unit_row(rows[i].policy, compile(rows[i].policy, rows[i].needs, &p, &e) == 0);
        unit_row(rows[i].policy, compile(rows[i].policy, rows[i].needs - 1, &p, &e) < 0);
        unit_row(rows[i].policy, str_eq(e.pointer, rows[i].pointer));
        unit_row(rows[i].policy, strstr(e.text, rows[i].text) != NULL);
        unit_row(rows[i].policy, strstr(e.text, "this kernel has ABI") != NULL);
        unit_row(rows[i].policy, compile(rows[i].policy, 0, &p, &e) < 0);
        unit_row(rows[i].policy, strstr(e.text, "not in this kernel") != NULL);
        unit_row(rows[i].policy, p.n == 0);
    }
}

/* ---- the plan ------------------------------------------------------------------------------ */

static void paths_deny_every_right_of_abi_3_and_what_is_named(void **state)
{
    struct plan p;
    struct err e;

    (void)state;
    assert_int_equal(compile("{\"paths\":[]}", 7, &p, &e), 0);
    assert_int_equal(p.n, 1);
    assert_int_equal(p.steps[0].landlock_ruleset.fs, ALL_OF_ABI_3);
    assert_int_equal(p.steps[0].landlock_ruleset.net, 0);
    assert_int_equal(compile(ROOT("\"ioctl_dev\""), 7, &p, &e), 0);
    assert_int_equal(p.steps[0].landlock_ruleset.fs, ALL_OF_ABI_3 | IOCTL_DEV);
    assert_int_equal(p.steps[1].landlock_path.access, IOCTL_DEV);
}

static void rights_are_the_kernels_bits(void **state)
{
    static const struct {
        const char *right;
        uint64_t bits;
    } rows[] = {
        { "execute", 0x1 },      { "write_file", 0x2 },  { "read_file", 0x4 },
        { "read_dir", 0x8 },     { "remove_dir", 0x10 }, { "remove_file", 0x20 },
        { "make_char", 0x40 },   { "make_dir", 0x80 },   { "make_reg", 0x100 },
        { "make_sock", 0x200 },  { "make_fifo", 0x400 }, { "make_block", 0x800 },
        { "make_sym", 0x1000 },  { "refer", 0x2000 },    { "truncate", 0x4000 },
        { "ioctl_dev", 0x8000 }, { "read", 0xc },        { "write", 0x77b2 },
    };

    (void)state;
    for (size_t i = 0; i < COUNT_OF(rows); i++) {
        struct plan p;
        struct err e;
        const char *policy = arena_format(
            unit_arena(), "{\"paths\":[{\"path\":\"/x\",\"access\":[\"%s\"]}]}", rows[i].right);

        unit_row(rows[i].right, compile(policy, 7, &p, &e) == 0);
        unit_row(rows[i].right, p.steps[1].landlock_path.access == rows[i].bits);
        unit_row(rows[i].right, str_eq(p.steps[1].landlock_path.path, "/x"));
        unit_row(rows[i].right, str_eq(p.steps[1].pointer, NOTE "/paths/0"));
    }
    /* Devices are never made by the way. */
    assert_int_equal(rows[17].bits & (0x40 | 0x800), 0);
}

static void ports_are_rules_of_their_own(void **state)
{
    struct plan p;
    struct err e;

    (void)state;
    assert_int_equal(compile("{\"tcp\":{\"bind\":[80],\"connect\":[0,65535]}}", 4, &p, &e), 0);
    assert_int_equal(p.n, 4);
    assert_int_equal(p.steps[0].landlock_ruleset.fs, 0);
    assert_int_equal(p.steps[0].landlock_ruleset.net, 3);
    assert_int_equal(p.steps[1].landlock_port.port, 80);
    assert_int_equal(p.steps[1].landlock_port.access, 1);
    assert_int_equal(p.steps[3].landlock_port.port, 65535);
    assert_int_equal(p.steps[3].landlock_port.access, 2);
    assert_string_equal(p.steps[3].pointer, NOTE "/tcp/connect/1");
    assert_int_equal(compile("{\"tcp\":{\"connect\":[]}}", 4, &p, &e), 0);
    assert_int_equal(p.steps[0].landlock_ruleset.net, 2); /* bind stays free */
}

/* The ruleset before anything is given up; enforced at the filter's place: early only when that
 * needs CAP_SYS_ADMIN. */
static void it_is_enforced_where_a_filter_would_be_loaded(void **state)
{
    const struct sec_facts f = { .landlock_abi = 7, .cap_effective = 1, .last_cap = 40 };

    (void)state;
    for (int late = 0; late < 2; late++) {
        struct spec *s = spec_of(ROOT("\"read\""), late);
        struct plan p;
        struct err e = { 0 };
        int restricted, barrier;

        plan_init(&p, unit_arena(), "run");
        assert_int_equal(sec_compile_privileges(&p, s, &f, false, 5, &e), 0);
        barrier = (int)p.n;
        plan_add(&p, OP_BARRIER, LANE_RUNTIME, "");
        assert_int_equal(sec_compile_seccomp_last(&p, s, 5, &e), 0);
        restricted = plan_find(&p, OP_LANDLOCK_RESTRICT, 0);
        assert_int_equal(p.steps[0].op, OP_LANDLOCK_RULESET);
        assert_int_equal(p.steps[restricted + 1].op, OP_SECCOMP_LOAD);
        assert_int_equal(plan_find(&p, OP_LANDLOCK_RESTRICT, (size_t)restricted + 1), -1);
        assert_int_equal(p.steps[restricted].landlock_restrict.ruleset,
                         p.steps[0].landlock_ruleset.out);
        assert_int_equal(restricted > barrier, late);
        if (!late)
            assert_true(restricted < plan_find(&p, OP_CAPABILITIES, 0));
    }
}

#define T(name) cmocka_unit_test_teardown(name, teardown)

int main(void)
{
    const struct CMUnitTest tests[] = {
        T(what_is_no_policy_is_named_by_pointer),
        T(without_the_annotation_there_is_nothing),
        T(what_the_kernel_lacks_is_named),
        T(paths_deny_every_right_of_abi_3_and_what_is_named),
        T(rights_are_the_kernels_bits),
        T(ports_are_rules_of_their_own),
        T(it_is_enforced_where_a_filter_would_be_loaded),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
