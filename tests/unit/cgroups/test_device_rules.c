/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Device rules as texts and as a program. The program is executed here by a small interpreter, and
 * for random lists and every request it must say what a plain reading of the rules says.
 */
#include "minimal.h"

#include "cgroups/internal.h"

static int tear_down(void **state)
{
    (void)state;
    arena_release(unit_arena());
    return 0;
}

/* ---- one request, by the program and by reading the rules ------------------------------------- */

struct request {
    char type;
    uint32_t major, minor;
    unsigned access;
};

static uint64_t jump_taken(const struct bpf_insn *in, uint32_t left)
{
    uint32_t right = (uint32_t)in->imm;

    switch (BPF_OP(in->code)) {
    case BPF_JEQ:
        return left == right;
    case BPF_JNE:
        return left != right;
    case BPF_JSET:
        return (left & right) != 0;
    default:
        fail_msg("jump %02x", in->code);
        return 0;
    }
}

static void compute(const struct bpf_insn *in, uint64_t r[16])
{
    uint64_t operand = BPF_SRC(in->code) == BPF_X ? r[in->src_reg] : (uint64_t)(int64_t)in->imm;
    uint64_t *to = &r[in->dst_reg];

    if (BPF_OP(in->code) == BPF_MOV)
        *to = operand;
    else if (BPF_OP(in->code) == BPF_AND)
        *to &= operand;
    else if (BPF_OP(in->code) == BPF_RSH)
        *to >>= operand;
    else
        fail_msg("operation %02x", in->code);
    if (BPF_CLASS(in->code) == BPF_ALU)
        *to = (uint32_t)*to;
}

static bool program_allows(const struct bpf_insn *v, size_t n, const struct request *q)
{
    uint32_t context[] = { q->access << 16 |
                               (q->type == 'b' ? BPF_DEVCG_DEV_BLOCK : BPF_DEVCG_DEV_CHAR),
                           q->major, q->minor };
    uint64_t r[16] = { 0 };

    for (size_t at = 0; at < n; at++) {
        const struct bpf_insn *in = &v[at];

        if (in->code == (BPF_JMP | BPF_EXIT))
            return r[0] != 0;
        if (BPF_CLASS(in->code) == BPF_LDX)
            r[in->dst_reg] = context[in->off / 4];
        else if (BPF_CLASS(in->code) == BPF_JMP32)
            at += jump_taken(in, (uint32_t)r[in->dst_reg]) ? (size_t)in->off : 0;
        else
            compute(in, r);
    }
    fail_msg("the program runs past its end");
    return false;
}

static bool fits(int64_t rule, uint32_t number)
{
    return rule == -1 || rule == (int64_t)number;
}

/* Access by access, the newest rule that speaks of it. */
static bool rules_allow(const struct device_rules *r, const struct request *q)
{
    for (unsigned bit = 1; bit <= DEVICE_WRITE; bit <<= 1) {
        bool allowed = r->allow;

        if (!(q->access & bit))
            continue;
        for (size_t i = 0; i < r->n; i++)
            if (r->v[i].type == q->type && fits(r->v[i].major, q->major) &&
                fits(r->v[i].minor, q->minor) && (r->v[i].access & bit))
                allowed = r->v[i].allow;
        if (!allowed)
            return false;
    }
    return true;
}

static struct device_rules rules_of(const char *devices)
{
    const char *patch = arena_format(unit_arena(), "{'linux': {'resources': {'devices': [%s]}}}",
                                     devices);
    const struct spec_resources *s = &minimal_spec(unit_arena(), patch)->linux.resources;
    struct device_rules r;
    struct err e = { 0 };

    if (device_rules_of(s->devices, s->n_devices, unit_arena(), &r, &e) < 0)
        fail_msg("%s: %s", e.pointer, e.text);
    return r;
}

/* ---- tests ----------------------------------------------------------------------------------- */

static void what_every_container_may_use_cannot_be_denied(void **state)
{
    static const struct {
        struct request q;
        bool allowed;
    } rows[] = {
        { { 'c', 1, 3, DEVICE_READ | DEVICE_WRITE }, true },
        { { 'c', 1, 9, DEVICE_READ }, true },
        { { 'c', 5, 2, DEVICE_READ | DEVICE_WRITE }, true },
        { { 'c', 136, 77, DEVICE_READ | DEVICE_WRITE }, true },
        { { 'c', 10, 200, DEVICE_WRITE }, true },
        { { 'c', 1, 1, DEVICE_MKNOD }, true },
        { { 'b', 8, 0, DEVICE_MKNOD }, true },
        { { 'c', 1, 1, DEVICE_READ }, false },
        { { 'c', 1, 11, DEVICE_WRITE }, false },
        { { 'c', 5, 1, DEVICE_WRITE }, false },
        { { 'b', 1, 3, DEVICE_READ }, false },
        { { 'b', 8, 0, DEVICE_READ }, false },
    };
    struct device_rules r = rules_of("{'allow': false, 'type': 'c', 'major': 1, 'access': 'rwm'}, "
                                     "{'allow': false}");
    struct err e = { 0 };
    size_t n;
    const struct bpf_insn *program = device_program(&r, unit_arena(), &n, &e);

    (void)state;
    assert_non_null(program);
    for (size_t i = 0; i < COUNT_OF(rows); i++) {
        assert_int_equal(program_allows(program, n, &rows[i].q), rows[i].allowed);
        assert_int_equal(rules_allow(&r, &rows[i].q), rows[i].allowed);
    }
}

static void a_rule_about_everything_forgets_what_stood_before_it(void **state)
{
    struct device_rules r = rules_of("{'allow': false, 'type': 'b', 'major': 8, 'access': 'r'}, "
                                     "{'allow': true, 'major': 3, 'access': 'r'}, "
                                     "{'allow': false, 'type': 'c', 'major': 9, 'access': 'w'}");
    const char *const *texts = device_rules_texts(&r, false, unit_arena());

    (void)state;
    assert_true(r.allow);
    assert_string_equal(texts[0], "allow a");
    assert_string_equal(texts[1], "deny c 9:* w");
    assert_null(texts[2]);
    assert_true(device_rules_forbid(&r));
    r = rules_of("{'allow': true, 'type': 'a'}, {'allow': true, 'type': 'c', 'access': 'r'}");
    assert_false(device_rules_forbid(&r));
}

static void texts_are_what_v1_reads(void **state)
{
    struct device_rules r = rules_of(
        "{'allow': true, 'type': 'c', 'major': 10, 'minor': 229, 'access': 'mwr'}, "
        "{'allow': true, 'type': 'b', 'major': -1, 'minor': 4, 'access': 'm'}");
    const char *const *texts = device_rules_texts(&r, false, unit_arena());
    const char *const *presets = device_rules_texts(&r, true, unit_arena());

    (void)state;
    assert_string_equal(texts[0], "deny a");
    assert_string_equal(texts[1], "allow c 10:229 rwm");
    assert_string_equal(texts[2], "allow b *:4 m");
    assert_null(texts[3]);
    assert_string_equal(presets[0], "allow c *:* m");
    assert_string_equal(presets[10], "allow c 10:200 rwm");
    assert_null(presets[11]);
}

static void an_empty_access_is_refused(void **state)
{
    struct spec_device_rule rule = { .allow = true, .type = "c" };
    struct device_rules r;
    struct err e = { 0 };

    (void)state;
    assert_int_equal(device_rules_of(&rule, 1, unit_arena(), &r, &e), -EINVAL);
    assert_string_equal(e.pointer, "/linux/resources/devices/0/access");
    assert_string_equal(e.text, "device access at 0 field cannot be empty");
    rule.type = "a";
    assert_int_equal(device_rules_of(&rule, 1, unit_arena(), &r, &e), 0);
}

static void what_v1_would_silently_not_keep_is_known(void **state)
{
    static const struct {
        const char *rules, *conflict;
    } rows[] = {
        { "{'allow': true, 'type': 'c', 'major': 9, 'minor': 1, 'access': 'rw'}, "
          "{'allow': false, 'type': 'c', 'major': 9, 'minor': 1, 'access': 'w'}",
          NULL },
        { "{'allow': true, 'type': 'c', 'major': 9, 'access': 'rw'}, "
          "{'allow': false, 'type': 'c', 'major': 9, 'minor': 1, 'access': 'w'}",
          "/linux/resources/devices/1" },
        { "{'allow': true, 'type': 'c', 'major': 9, 'access': 'r'}, "
          "{'allow': false, 'type': 'c', 'major': 9, 'minor': 1, 'access': 'w'}",
          NULL },
        { "{'allow': true}, {'allow': false, 'type': 'b', 'major': 8, 'access': 'w'}, "
          "{'allow': true, 'type': 'b', 'major': 8, 'minor': 1, 'access': 'w'}",
          "/linux/resources/devices/2" },
        { "{'allow': true, 'type': 'c', 'major': 9, 'access': 'rw'}, "
          "{'allow': false, 'type': 'c', 'major': 9, 'minor': 1, 'access': 'w'}, {'allow': false}",
          NULL },
    };

    (void)state;
    for (size_t i = 0; i < COUNT_OF(rows); i++) {
        struct device_rules r = rules_of(rows[i].rules);

        unit_row(rows[i].rules, str_eq(r.v1_conflict, rows[i].conflict));
    }
}

static struct device_rule random_rule(unsigned *seed)
{
    struct device_rule r = { .allow = rand_r(seed) % 2, .type = rand_r(seed) % 2 ? 'b' : 'c' };

    r.major = (int64_t)(rand_r(seed) % 4) - 1;
    r.minor = (int64_t)(rand_r(seed) % 4) - 1;
    r.access = 1 + (unsigned)rand_r(seed) % 7;
    return r;
}

static void check_every_request(const struct device_rules *r)
{
    struct err e = { 0 };
    size_t n;
    const struct bpf_insn *program = device_program(r, unit_arena(), &n, &e);

    assert_non_null(program);
    for (unsigned i = 0; i < 2 * 4 * 4 * 7; i++) {
        struct request q = { i % 2 ? 'b' : 'c', i / 2 % 4, i / 8 % 4, 1 + i / 32 };

        if (program_allows(program, n, &q) != rules_allow(r, &q))
            fail_msg("%c %u:%u access %u", q.type, q.major, q.minor, q.access);
    }
}

static void the_program_says_what_the_rules_say(void **state)
{
    unsigned seed = 4;

    (void)state;
    for (int round = 0; round < 500; round++) {
        struct device_rule v[12];
        struct device_rules r = { .allow = round % 2, .v = v, .n = (unsigned)rand_r(&seed) % 13 };

        for (size_t i = 0; i < r.n; i++)
            v[i] = random_rule(&seed);
        check_every_request(&r);
        arena_release(unit_arena());
    }
}

static void the_highest_numbers_and_the_longest_list(void **state)
{
    enum { MANY = 4096 };
    struct spec_device_rule *v = arena_array(unit_arena(), MANY + 1, sizeof *v);
    struct request last = { 'c', UINT32_MAX, MANY - 1, DEVICE_READ }, other = last;
    const struct bpf_insn *program;
    struct device_rules r;
    struct err e = { 0 };
    size_t n;

    (void)state;
    for (unsigned i = 0; i <= MANY; i++)
        v[i] = (struct spec_device_rule){ true, "c", { true, UINT32_MAX }, { true, i }, "r" };
    assert_int_equal(device_rules_of(v, MANY, unit_arena(), &r, &e), 0);
    program = device_program(&r, unit_arena(), &n, &e);
    assert_non_null(program);
    assert_true(program_allows(program, n, &last));
    other.minor = MANY;
    assert_false(program_allows(program, n, &other));
    assert_int_equal(device_rules_of(v, MANY + 1, unit_arena(), &r, &e), -E2BIG);
}

static void the_kernel_takes_the_program(void **state)
{
    struct device_rules r = rules_of("{'allow': false}, {'allow': true, 'type': 'c', 'major': 9, "
                                     "'access': 'rw'}, {'allow': false, 'type': 'c', 'major': 9, "
                                     "'minor': 1, 'access': 'w'}");
    struct err e = { 0 };
    size_t n;
    const struct bpf_insn *program = device_program(&r, unit_arena(), &n, &e);
    int fd = device_filter_load(program, n);

    (void)state;
    if (fd == -EPERM || fd == -ENOSYS)
        unit_skip("bpf(2) is for root, and not in qemu-user");
    assert_true(fd >= 0);
    close(fd);
}

int main(void)
{
#define ROW(name) cmocka_unit_test_teardown(name, tear_down)
    const struct CMUnitTest tests[] = {
        ROW(what_every_container_may_use_cannot_be_denied),
        ROW(a_rule_about_everything_forgets_what_stood_before_it),
        ROW(texts_are_what_v1_reads),
        ROW(an_empty_access_is_refused),
        ROW(what_v1_would_silently_not_keep_is_known),
        ROW(the_program_says_what_the_rules_say),
        ROW(the_highest_numbers_and_the_longest_list),
        ROW(the_kernel_takes_the_program),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
