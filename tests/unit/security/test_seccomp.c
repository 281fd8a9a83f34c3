/* SPDX-License-Identifier: Apache-2.0 */
/*
 * What a profile compiles to. Most tests run the program in a small interpreter of classic BPF, so
 * every architecture can be asked; some load it and make the call.
 */
#include "unit.h"

#include <linux/filter.h>
#include <linux/seccomp.h>
#include <seccomp.h>
#include <signal.h>
#include <sys/mman.h>
#include <sys/prctl.h>
#include <sys/syscall.h>

#include "security/internal.h"

static struct arena *arena;

static struct spec *spec_of(const char *seccomp)
{
    const char *text = arena_format(
        arena, "{\"ociVersion\":\"1.3.0\",\"linux\":{\"seccomp\":{%s}}}", seccomp);
    struct spec *s = NULL;
    struct err e = { 0 };

    if (spec_parse(arena, text, strlen(text), &s, NULL, &e) < 0)
        fail_msg("%s: %s in %s", e.pointer, e.text, text);
    return s;
}

/* The memfd of a profile that compiles. */
static int compile(const char *seccomp)
{
    struct err e = { 0 };
    int fd = seccomp_compile(&spec_of(seccomp)->linux.seccomp, &e);

    if (fd < 0)
        fail_msg("%s: %s for %s", e.pointer, e.text, seccomp);
    return fd;
}

/* ---- the interpreter: what libseccomp uses of BPF ------------------------------------------ */

struct program {
    struct sock_filter *code;
    size_t n;
};

static struct program program_of(int fd)
{
    off_t size = lseek(fd, 0, SEEK_END);
    struct program p = { .n = (size_t)size / sizeof(struct sock_filter) };

    assert_true(size > 0 && size % (off_t)sizeof(struct sock_filter) == 0);
    p.code = arena_alloc(arena, (size_t)size);
    assert_int_equal(pread(fd, p.code, (size_t)size, 0), size);
    close(fd);
    return p;
}

static uint32_t run(const struct program *p, const struct seccomp_data *data)
{
    uint32_t a = 0;

    for (size_t i = 0; i < p->n; i++) {
        const struct sock_filter *c = &p->code[i];
        bool yes;

        switch (c->code) {
        case BPF_LD | BPF_W | BPF_ABS:
            assert_true(c->k <= sizeof *data - 4);
            memcpy(&a, (const char *)data + c->k, 4);
            continue;
        case BPF_ALU | BPF_AND | BPF_K:
            a &= c->k;
            continue;
        case BPF_RET | BPF_K:
            return c->k;
        case BPF_JMP | BPF_JA:
            i += c->k;
            continue;
        case BPF_JMP | BPF_JEQ | BPF_K:
            yes = a == c->k;
            break;
        case BPF_JMP | BPF_JGT | BPF_K:
            yes = a > c->k;
            break;
        case BPF_JMP | BPF_JGE | BPF_K:
            yes = a >= c->k;
            break;
        default:
            fail_msg("instruction %#x is not known to the interpreter", c->code);
            return 0;
        }
        i += yes ? c->jt : c->jf;
    }
    fail_msg("the program has no end");
    return 0;
}

static uint32_t native(void)
{
    return seccomp_arch_native();
}

/* The filter's answer to a call of the native architecture with its first three arguments. */
static uint32_t answer(const struct program *p, const char *call, uint64_t a0, uint64_t a1)
{
    struct seccomp_data data = { .nr = seccomp_syscall_resolve_name(call),
                                 .arch = native(),
                                 .args = { a0, a1 } };

    return run(p, &data);
}

#define ALLOW_ALL "\"defaultAction\":\"SCMP_ACT_ALLOW\""
#define RULE(names, action, more) \
    "{\"names\":[" names "],\"action\":\"SCMP_ACT_" action "\"" more "}"
#define RULES(rules) ",\"syscalls\":[" rules "]"

/* ---- actions ------------------------------------------------------------------------------- */

static void every_action_is_what_the_kernel_calls_so(void **state)
{
    static const struct {
        const char *action, *more;
        uint32_t result;
    } rows[] = {
        { "KILL", "", SECCOMP_RET_KILL_THREAD },
        { "KILL_THREAD", "", SECCOMP_RET_KILL_THREAD },
        { "KILL_PROCESS", "", SECCOMP_RET_KILL_PROCESS },
        { "TRAP", "", SECCOMP_RET_TRAP },
        { "ERRNO", "", SECCOMP_RET_ERRNO | EPERM },
        { "ERRNO", ",\"errnoRet\":38", SECCOMP_RET_ERRNO | ENOSYS },
        { "ERRNO", ",\"errnoRet\":0", SECCOMP_RET_ERRNO | 0 },
        { "TRACE", "", SECCOMP_RET_TRACE | EPERM },
        { "TRACE", ",\"errnoRet\":4711", SECCOMP_RET_TRACE | 4711 },
        { "LOG", "", SECCOMP_RET_LOG },
        { "NOTIFY", "", SECCOMP_RET_USER_NOTIF },
        { "ALLOW", "", SECCOMP_RET_ALLOW },
    };

    (void)state;
    for (size_t i = 0; i < COUNT_OF(rows); i++) {
        struct program rule = program_of(compile(arena_format(
            arena, ALLOW_ALL RULES("{\"names\":[\"getppid\"],\"action\":\"SCMP_ACT_%s\"%s}"),
            rows[i].action, rows[i].more)));
        struct program other;
        const char *ret = strstr(rows[i].more, ":");

        unit_row(rows[i].action, answer(&rule, "getppid", 0, 0) == rows[i].result);
        unit_row(rows[i].action, answer(&rule, "getpid", 0, 0) == SECCOMP_RET_ALLOW);
        /* The same as the default. */
        other = program_of(compile(arena_format(
            arena, "\"defaultAction\":\"SCMP_ACT_%s\"%s%s" RULES(RULE("\"getpid\"", "%s", "")),
            rows[i].action, ret ? ",\"defaultErrnoRet\"" : "", ret ? ret : "",
            str_eq(rows[i].action, "ALLOW") ? "LOG" : "ALLOW")));
        unit_row(rows[i].action, answer(&other, "getppid", 0, 0) == rows[i].result);
    }
}

static void a_rule_with_the_defaults_own_action_is_no_rule(void **state)
{
    struct program p = program_of(compile("\"defaultAction\":\"SCMP_ACT_ERRNO\"" RULES(
        RULE("\"getpid\"", "ERRNO", ",\"errnoRet\":1") "," RULE("\"getppid\"", "ALLOW", ""))));

    (void)state;
    assert_true(answer(&p, "getpid", 0, 0) == (SECCOMP_RET_ERRNO | EPERM));
    assert_true(answer(&p, "getppid", 0, 0) == SECCOMP_RET_ALLOW);
}

static void an_unknown_system_call_is_left_out(void **state)
{
    struct program p = program_of(
        compile(ALLOW_ALL RULES(RULE("\"fly_to_the_moon\",\"getpid\"", "KILL", ""))));

    (void)state;
    assert_true(answer(&p, "getpid", 0, 0) == SECCOMP_RET_KILL_THREAD);
}

/* ---- conditions ---------------------------------------------------------------------------- */

#define ARG(index, op, value, two) \
    "{\"index\":" #index ",\"op\":\"SCMP_CMP_" #op "\",\"value\":" #value ",\"valueTwo\":" #two "}"
#define ARGS(args) ",\"args\":[" args "]"

static void every_operator_compares_64_bits(void **state)
{
    const uint64_t big = UINT64_C(0x100000005);
    static const struct {
        const char *op;
        bool below, equal, above; /* 2^32+4, 2^32+5, 2^32+6 */
        bool low;                 /* 5: the same lower half */
    } rows[] = {
        { "NE", true, false, true, true },  { "LT", true, false, false, true },
        { "LE", true, true, false, true },  { "EQ", false, true, false, false },
        { "GE", false, true, true, false }, { "GT", false, false, true, false },
    };

    (void)state;
    for (size_t i = 0; i < COUNT_OF(rows); i++) {
        struct program p = program_of(compile(arena_format(
            arena,
            ALLOW_ALL RULES("{\"names\":[\"kill\"],\"action\":\"SCMP_ACT_KILL_PROCESS\",\"args\":"
                            "[{\"index\":1,\"op\":\"SCMP_CMP_%s\",\"value\":4294967301}]}"),
            rows[i].op)));
        const uint32_t hit = SECCOMP_RET_KILL_PROCESS;

        unit_row(rows[i].op, (answer(&p, "kill", big, big - 1) == hit) == rows[i].below);
        unit_row(rows[i].op, (answer(&p, "kill", big, big) == hit) == rows[i].equal);
        unit_row(rows[i].op, (answer(&p, "kill", big, big + 1) == hit) == rows[i].above);
        unit_row(rows[i].op, (answer(&p, "kill", big, 5) == hit) == rows[i].low);
    }
}

static void masked_equal_takes_the_mask_first(void **state)
{
    struct program p = program_of(compile(
        ALLOW_ALL RULES(RULE("\"kill\"", "KILL", ARGS(ARG(0, MASKED_EQ, 2114060288, 268435456))))));

    (void)state;
    assert_true(answer(&p, "kill", 0x10000000, 0) == SECCOMP_RET_KILL_THREAD);
    assert_true(answer(&p, "kill", 0x10000011, 0) == SECCOMP_RET_KILL_THREAD);
    assert_true(answer(&p, "kill", 0x30000000, 0) == SECCOMP_RET_ALLOW);
    assert_true(answer(&p, "kill", 0, 0) == SECCOMP_RET_ALLOW);
}

static void conditions_on_different_arguments_all_hold(void **state)
{
    struct program p = program_of(compile(
        ALLOW_ALL RULES(RULE("\"kill\"", "KILL", ARGS(ARG(0, EQ, 7, 0) "," ARG(1, GT, 8, 0))))));

    (void)state;
    assert_true(answer(&p, "kill", 7, 9) == SECCOMP_RET_KILL_THREAD);
    assert_true(answer(&p, "kill", 7, 8) == SECCOMP_RET_ALLOW);
    assert_true(answer(&p, "kill", 6, 9) == SECCOMP_RET_ALLOW);
}

static void conditions_on_one_argument_are_alternatives(void **state)
{
    struct program p = program_of(compile(
        ALLOW_ALL RULES(RULE("\"kill\"", "KILL", ARGS(ARG(0, EQ, 7, 0) "," ARG(0, EQ, 9, 0))))));

    (void)state;
    assert_true(answer(&p, "kill", 7, 0) == SECCOMP_RET_KILL_THREAD);
    assert_true(answer(&p, "kill", 9, 0) == SECCOMP_RET_KILL_THREAD);
    assert_true(answer(&p, "kill", 8, 0) == SECCOMP_RET_ALLOW);
}

static void six_arguments_may_be_compared(void **state)
{
    struct program p = program_of(compile(ALLOW_ALL RULES(
        RULE("\"mmap\"", "KILL",
             ARGS(ARG(0, EQ, 1, 0) "," ARG(1, EQ, 2, 0) "," ARG(2, EQ, 3, 0) "," ARG(
                 3, EQ, 4, 0) "," ARG(4, EQ, 5, 0) "," ARG(5, EQ, 6, 0))))));
    struct seccomp_data data = { .nr = seccomp_syscall_resolve_name("mmap"),
                                 .arch = native(),
                                 .args = { 1, 2, 3, 4, 5, 6 } };

    (void)state;
    assert_true(run(&p, &data) == SECCOMP_RET_KILL_THREAD);
    data.args[5] = 7;
    assert_true(run(&p, &data) == SECCOMP_RET_ALLOW);
}

static void the_same_rule_twice_is_one(void **state)
{
    struct program p = program_of(
        compile(ALLOW_ALL RULES(RULE("\"kill\",\"kill\"", "KILL", "") "," RULE(
            "\"kill\"", "KILL", "") "," RULE("\"kill\"", "KILL", ARGS(ARG(0, EQ, 1, 0))))));

    (void)state;
    assert_true(answer(&p, "kill", 1, 0) == SECCOMP_RET_KILL_THREAD);
    assert_true(answer(&p, "kill", 2, 0) == SECCOMP_RET_KILL_THREAD);
}

/* ---- architectures ------------------------------------------------------------------------- */

static const char *const archs[] = {
    "X86",    "X86_64",   "X32",         "ARM",         "AARCH64", "MIPS",    "MIPS64", "MIPS64N32",
    "MIPSEL", "MIPSEL64", "MIPSEL64N32", "PPC",         "PPC64",   "PPC64LE", "S390",   "S390X",
    "PARISC", "PARISC64", "RISCV64",     "LOONGARCH64", "M68K",    "SH",      "SHEB",
};

/*
 * Each of the spec's 23 compiles. Where libseccomp puts it in, its calls are filtered; elsewhere
 * they are killed as those of any architecture that is not listed.
 */
static void every_architecture_of_the_spec_compiles(void **state)
{
    int filtered = 0;

    (void)state;
    for (size_t i = 0; i < COUNT_OF(archs); i++) {
        struct program p = program_of(compile(arena_format(
            arena,
            ALLOW_ALL ",\"architectures\":[\"SCMP_ARCH_%s\"]" RULES(RULE("\"kill\"", "ERRNO", "")),
            archs[i])));
        char name[32];
        uint32_t token;
        struct seccomp_data data;

        for (size_t k = 0; k <= strlen(archs[i]); k++)
            name[k] = archs[i][k] >= 'A' && archs[i][k] <= 'Z' ? (char)(archs[i][k] + 32)
                                                               : archs[i][k];
        unit_row(archs[i], answer(&p, "kill", 0, 0) == (SECCOMP_RET_ERRNO | EPERM));
        token = seccomp_arch_resolve_name(name);
        if (!token)
            continue;
        data = (struct seccomp_data){ .nr = seccomp_syscall_resolve_name_arch(token, "kill"),
                                      .arch = token };
        if (token == SCMP_ARCH_X32)
            data.arch = SCMP_ARCH_X86_64; /* x32 is told apart by the number */
        unit_row(archs[i], run(&p, &data) == (SECCOMP_RET_ERRNO | EPERM) ||
                               run(&p, &data) == SECCOMP_RET_KILL_THREAD);
        filtered += run(&p, &data) == (SECCOMP_RET_ERRNO | EPERM);
        data.nr = seccomp_syscall_resolve_name_arch(token, "getpid");
        unit_row(archs[i],
                 run(&p, &data) == SECCOMP_RET_ALLOW || run(&p, &data) == SECCOMP_RET_KILL_THREAD);
    }
    /* The ones of little byte order: x86, x86_64, x32, arm, aarch64, 3 mipsel, ppc64le, riscv64. */
    assert_int_equal(filtered, 10);
}

static void a_call_of_another_architecture_is_killed(void **state)
{
    struct program p = program_of(compile(ALLOW_ALL RULES(RULE("\"kill\"", "ERRNO", ""))));
    struct seccomp_data data = { .nr = 1, .arch = SCMP_ARCH_S390X };

    (void)state;
    assert_true(run(&p, &data) == SECCOMP_RET_KILL_THREAD);
}

static void all_architectures_at_once_compile(void **state)
{
    AUTO_STRBUF struct strbuf b = { 0 };
    struct program p;

    (void)state;
    strbuf_str(&b, ALLOW_ALL ",\"architectures\":[");
    for (size_t i = 0; i < COUNT_OF(archs); i++)
        strbuf_format(&b, "%s\"SCMP_ARCH_%s\"", i ? "," : "", archs[i]);
    strbuf_str(&b, "]" RULES(RULE("\"kill\"", "ERRNO", "")));
    p = program_of(compile(b.ptr));
    assert_true(answer(&p, "kill", 0, 0) == (SECCOMP_RET_ERRNO | EPERM));
}

/* ---- size ---------------------------------------------------------------------------------- */

/* Every call below 300 by name: what an engine's profile looks like. */
static void a_large_profile_answers_right_for_every_number(void **state)
{
    AUTO_STRBUF struct strbuf b = { 0 };
    bool listed[300] = { false };
    struct program p;
    bool any = false;

    (void)state;
    strbuf_str(&b, "\"defaultAction\":\"SCMP_ACT_ERRNO\",\"syscalls\":[{\"action\":"
                   "\"SCMP_ACT_ALLOW\",\"names\":[");
    for (int nr = 0; nr < 300; nr += 1 + nr % 3) {
        AUTO_FREE char *name = seccomp_syscall_resolve_num_arch(SCMP_ARCH_NATIVE, nr);

        if (!name)
            continue;
        listed[nr] = true;
        strbuf_format(&b, "%s\"%s\"", any ? "," : "", name);
        any = true;
    }
    strbuf_str(&b, "]}]");
    p = program_of(compile(b.ptr));
    for (int nr = 0; nr < 300; nr++) {
        struct seccomp_data data = { .nr = nr, .arch = native() };

        if ((run(&p, &data) == SECCOMP_RET_ALLOW) != listed[nr])
            fail_msg("number %d is answered wrongly", nr);
    }
}

static void a_program_that_the_kernel_cannot_hold_is_named(void **state)
{
    AUTO_STRBUF struct strbuf b = { 0 };
    struct err e = { 0 };

    (void)state;
    strbuf_str(&b, ALLOW_ALL ",\"syscalls\":[");
    for (int i = 0; i < 1500; i++)
        strbuf_format(&b,
                      "%s{\"names\":[\"kill\"],\"action\":\"SCMP_ACT_ERRNO\",\"args\":[{\"index\":"
                      "0,\"op\":\"SCMP_CMP_EQ\",\"value\":%lld}]}",
                      i ? "," : "", 4294967296LL * i + i);
    strbuf_str(&b, "]");
    assert_int_equal(seccomp_compile(&spec_of(b.ptr)->linux.seccomp, &e), -E2BIG);
    assert_non_null(strstr(e.text, "the kernel takes 4096"));
}

static void a_rule_that_contradicts_an_earlier_one_is_named(void **state)
{
    struct err e = { 0 };
    struct spec *s = spec_of(
        ALLOW_ALL RULES(RULE("\"kill\"", "KILL", ARGS(ARG(0, EQ, 1, 0))) "," RULE(
            "\"kill\"", "ERRNO", ARGS(ARG(0, EQ, 1, 0)))));

    (void)state;
    assert_int_equal(seccomp_compile(&s->linux.seccomp, &e), -EEXIST);
    assert_string_equal(e.pointer, "/linux/seccomp/syscalls/1");
    assert_non_null(strstr(e.text, "'kill'"));
    assert_non_null(strstr(e.text, "another action"));
}

/* ---- flags --------------------------------------------------------------------------------- */

#define ASKS RULES(RULE("\"kill\"", "NOTIFY", ""))

static void flags_are_those_of_the_load(void **state)
{
    static const struct {
        const char *json;
        uint64_t flags;
    } rows[] = {
        { "", SECCOMP_FILTER_FLAG_SPEC_ALLOW },
        { ",\"flags\":[]", 0 },
        { ",\"flags\":[\"SECCOMP_FILTER_FLAG_LOG\",\"SECCOMP_FILTER_FLAG_TSYNC\"]",
          SECCOMP_FILTER_FLAG_LOG | SECCOMP_FILTER_FLAG_TSYNC },
        { ",\"flags\":[\"SECCOMP_FILTER_FLAG_SPEC_ALLOW\"]", SECCOMP_FILTER_FLAG_SPEC_ALLOW },
        /* Means nothing without a listener and would be refused. */
        { ",\"flags\":[\"SECCOMP_FILTER_FLAG_WAIT_KILLABLE_RECV\"]", 0 },
        { ",\"flags\":[\"SECCOMP_FILTER_FLAG_WAIT_KILLABLE_RECV\"]" ASKS,
          SECCOMP_FILTER_FLAG_WAIT_KILLABLE_RECV | SECCOMP_FILTER_FLAG_NEW_LISTENER },
        /* seccomp(2): the two together only with TSYNC_ESRCH. */
        { ",\"flags\":[\"SECCOMP_FILTER_FLAG_TSYNC\"]" ASKS, SECCOMP_FILTER_FLAG_TSYNC |
                                                                 SECCOMP_FILTER_FLAG_TSYNC_ESRCH |
                                                                 SECCOMP_FILTER_FLAG_NEW_LISTENER },
        { ASKS, SECCOMP_FILTER_FLAG_SPEC_ALLOW | SECCOMP_FILTER_FLAG_NEW_LISTENER },
    };

    (void)state;
    for (size_t i = 0; i < COUNT_OF(rows); i++) {
        struct spec *s = spec_of(arena_format(arena, "%s%s", ALLOW_ALL, rows[i].json));

        unit_row(rows[i].json, seccomp_load_flags(&s->linux.seccomp) == rows[i].flags);
    }
}

/* ---- teca check ---------------------------------------------------------------------------- */

static void check_warns_of_what_the_filter_leaves_out(void **state)
{
    struct spec *s = spec_of(
        ALLOW_ALL ",\"architectures\":[\"SCMP_ARCH_X86_64\",\"SCMP_ARCH_SH\"]" RULES(
            RULE("\"read\"", "LOG", "") "," RULE("\"write\",\"fly_to_the_moon\"", "LOG", "")));
    bool knows_sh = seccomp_arch_resolve_name("sh") != 0;
    struct spec_faults none, faults;
    const struct spec_fault *f;

    (void)state;
    spec_faults_init(&none);
    spec_faults_init(&faults);
    sec_check_seccomp(s, &none, arena, &faults);
    assert_int_equal(faults.errors, 0);
    assert_int_equal(faults.warnings, knows_sh ? 1 : 2);
    f = faults.first;
    if (!knows_sh) {
        assert_string_equal(f->pointer, "/linux/seccomp/architectures/1");
        f = f->next;
    }
    assert_string_equal(f->pointer, "/linux/seccomp/syscalls/1/names/1");
    assert_non_null(strstr(f->text, "fly_to_the_moon"));
    assert_int_equal(f->line, 1);
    spec_fault_add(&none, arena, "/linux/seccomp/syscalls/1/names/1", 1, false, "no string");
    spec_faults_init(&faults);
    sec_check_seccomp(s, &none, arena, &faults);
    assert_int_equal(faults.warnings, knows_sh ? 0 : 1);
}

/* ---- the kernel ---------------------------------------------------------------------------- */

/* Compiles and loads as the two steps of a plan do it; returns the load's result. */
static int load(const char *seccomp, bool no_new_privs)
{
    struct spec *s = spec_of(seccomp);
    int values[1] = { -1 };
    struct slots slots = { values, 1 };
    struct step make = { .op = OP_SECCOMP_COMPILE,
                         .seccomp_compile = { .profile = &s->linux.seccomp, .out = 0 } };
    struct step put = { .op = OP_SECCOMP_LOAD,
                        .seccomp_load = { .in = 0,
                                          .listener = SLOT_NONE,
                                          .flags = seccomp_load_flags(&s->linux.seccomp) } };
    struct err e = { 0 };

    if (no_new_privs && prctl(PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0) < 0)
        _exit(90);
    if (sec_step(&make, &slots, &e) < 0)
        _exit(91);
    return sec_step(&put, &slots, &e);
}

/* Exit status of a child that loads the profile and returns what `body` says, 128+n for a signal. */
static int under_filter(const char *seccomp, int (*body)(void))
{
    int status;
    pid_t pid;

    if (!unit_has_clone3())
        unit_skip("no seccomp here (qemu-user)");
    pid = fork();
    if (pid == 0)
        _exit(load(seccomp, true) == 0 ? body() : 92);
    assert_int_equal(waitpid(pid, &status, 0), pid);
    return WIFSIGNALED(status) ? 128 + WTERMSIG(status) : WEXITSTATUS(status);
}

static int getppid_errno(void)
{
    errno = 0;
    return syscall(SYS_getppid) < 0 ? errno : 0;
}

static int dup_answers(void)
{
    /* 1: refused for the descriptor 2 only. */
    return (dup(1) >= 0) && dup(2) < 0 && errno == EXDEV ? 0 : 1;
}

static void the_kernel_does_what_the_profile_says(void **state)
{
    (void)state;
    assert_int_equal(under_filter(ALLOW_ALL RULES(RULE("\"getppid\"", "ERRNO", ",\"errnoRet\":99")),
                                  getppid_errno),
                     99);
    assert_int_equal(under_filter(ALLOW_ALL RULES(RULE("\"getpid\"", "ERRNO", "")), getppid_errno),
                     0);
    assert_int_equal(
        under_filter(ALLOW_ALL RULES(RULE("\"getppid\"", "KILL_PROCESS", "")), getppid_errno),
        128 + SIGSYS);
    assert_int_equal(under_filter(ALLOW_ALL RULES(RULE("\"dup\"", "ERRNO",
                                                       ",\"errnoRet\":18" ARGS(ARG(0, EQ, 2, 0)))),
                                  dup_answers),
                     0);
}

static void the_filter_starts_after_the_load(void **state)
{
    (void)state;
    /* Only what ends the process is allowed: the load itself makes no further call. */
    assert_int_equal(under_filter("\"defaultAction\":\"SCMP_ACT_KILL_PROCESS\"" RULES(
                                      RULE("\"exit_group\"", "ALLOW", "")),
                                  getpid),
                     128 + SIGSYS);
}

/* Without the C library's _exit, to which a sanitizer adds calls. */
static int nothing(void)
{
    return (int)syscall(SYS_exit_group, 7);
}

static void a_filter_may_forbid_all_but_the_exit(void **state)
{
    (void)state;
    assert_int_equal(under_filter("\"defaultAction\":\"SCMP_ACT_KILL_PROCESS\"" RULES(
                                      RULE("\"exit_group\"", "ALLOW", "")),
                                  nothing),
                     7);
}

static void without_rights_the_load_says_what_it_needs(void **state)
{
    int status;
    pid_t pid;

    (void)state;
    if (!unit_has_clone3())
        unit_skip("no seccomp here (qemu-user)");
    pid = fork();
    if (pid == 0) {
        if (geteuid() == 0 && setresuid(1, 1, 1) < 0)
            _exit(93);
        _exit(load(ALLOW_ALL, false) == -EACCES ? 0 : 1);
    }
    assert_int_equal(waitpid(pid, &status, 0), pid);
    assert_int_equal(status, 0);
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
        cmocka_unit_test_setup(every_action_is_what_the_kernel_calls_so, set_arena),
        cmocka_unit_test_setup(a_rule_with_the_defaults_own_action_is_no_rule, set_arena),
        cmocka_unit_test_setup(an_unknown_system_call_is_left_out, set_arena),
        cmocka_unit_test_setup(every_operator_compares_64_bits, set_arena),
        cmocka_unit_test_setup(masked_equal_takes_the_mask_first, set_arena),
        cmocka_unit_test_setup(conditions_on_different_arguments_all_hold, set_arena),
        cmocka_unit_test_setup(conditions_on_one_argument_are_alternatives, set_arena),
        cmocka_unit_test_setup(six_arguments_may_be_compared, set_arena),
        cmocka_unit_test_setup(the_same_rule_twice_is_one, set_arena),
        cmocka_unit_test_setup(every_architecture_of_the_spec_compiles, set_arena),
        cmocka_unit_test_setup(a_call_of_another_architecture_is_killed, set_arena),
        cmocka_unit_test_setup(all_architectures_at_once_compile, set_arena),
        cmocka_unit_test_setup(a_large_profile_answers_right_for_every_number, set_arena),
        cmocka_unit_test_setup(a_program_that_the_kernel_cannot_hold_is_named, set_arena),
        cmocka_unit_test_setup(a_rule_that_contradicts_an_earlier_one_is_named, set_arena),
        cmocka_unit_test_setup(flags_are_those_of_the_load, set_arena),
        cmocka_unit_test_setup(check_warns_of_what_the_filter_leaves_out, set_arena),
        cmocka_unit_test_setup(the_kernel_does_what_the_profile_says, set_arena),
        cmocka_unit_test_setup(the_filter_starts_after_the_load, set_arena),
        cmocka_unit_test_setup(a_filter_may_forbid_all_but_the_exit, set_arena),
        cmocka_unit_test_setup(without_rights_the_load_says_what_it_needs, set_arena),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
