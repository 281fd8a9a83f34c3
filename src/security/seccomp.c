/* SPDX-License-Identifier: Apache-2.0 */
/*
 * linux.seccomp through libseccomp: config-linux.md "Seccomp". The runtime lane compiles; init
 * only loads. The flags of seccomp(2) are given by the load, not by libseccomp.
 *
 * Rules that the spec leaves open and engines rely on: a system call unknown to libseccomp is left
 * out (profiles name calls of all kernels); a rule with the default's own action is left out
 * (libseccomp refuses it); several conditions on one argument are alternatives, on different
 * arguments they must all hold.
 */
#include <errno.h>
#include <linux/seccomp.h>
#include <seccomp.h>
#include <string.h>
#include <sys/mman.h>
#include <unistd.h>

#include "security/internal.h"

enum {
    INSTRUCTION_SIZE = 8, /* struct sock_filter */
    MAX_ARGS = 6,
};

/* ---- names --------------------------------------------------------------------------------- */

static const struct action {
    const char *name;
    uint32_t value;
    bool has_data; /* errnoRet; spec_check has bounded it */
} actions[] = {
    { "SCMP_ACT_KILL", SCMP_ACT_KILL_THREAD, false },
    { "SCMP_ACT_KILL_THREAD", SCMP_ACT_KILL_THREAD, false },
    { "SCMP_ACT_KILL_PROCESS", SCMP_ACT_KILL_PROCESS, false },
    { "SCMP_ACT_TRAP", SCMP_ACT_TRAP, false },
    { "SCMP_ACT_ERRNO", SCMP_ACT_ERRNO(0), true },
    { "SCMP_ACT_TRACE", SCMP_ACT_TRACE(0), true },
    { "SCMP_ACT_ALLOW", SCMP_ACT_ALLOW, false },
    { "SCMP_ACT_LOG", SCMP_ACT_LOG, false },
    { "SCMP_ACT_NOTIFY", SCMP_ACT_NOTIFY, false },
};

static const struct {
    const char *name;
    enum scmp_compare op;
} operators[] = {
    { "SCMP_CMP_NE", SCMP_CMP_NE },
    { "SCMP_CMP_LT", SCMP_CMP_LT },
    { "SCMP_CMP_LE", SCMP_CMP_LE },
    { "SCMP_CMP_EQ", SCMP_CMP_EQ },
    { "SCMP_CMP_GE", SCMP_CMP_GE },
    { "SCMP_CMP_GT", SCMP_CMP_GT },
    { "SCMP_CMP_MASKED_EQ", SCMP_CMP_MASKED_EQ },
};

static const struct {
    const char *name;
    uint64_t flag;
} flags[] = {
    { "SECCOMP_FILTER_FLAG_TSYNC", SECCOMP_FILTER_FLAG_TSYNC },
    { "SECCOMP_FILTER_FLAG_LOG", SECCOMP_FILTER_FLAG_LOG },
    { "SECCOMP_FILTER_FLAG_SPEC_ALLOW", SECCOMP_FILTER_FLAG_SPEC_ALLOW },
    { "SECCOMP_FILTER_FLAG_WAIT_KILLABLE_RECV", SECCOMP_FILTER_FLAG_WAIT_KILLABLE_RECV },
};

/* libseccomp's action; EPERM where errnoRet is absent (config-linux.md). */
static int action_of(const char *name, const struct opt_u32 *data, uint32_t *out, struct err *e)
{
    for (size_t i = 0; i < COUNT_OF(actions); i++) {
        if (!str_eq(actions[i].name, name))
            continue;
        *out = actions[i].value | (actions[i].has_data ? (data->set ? data->v : EPERM) : 0);
        return 0;
    }
    return err_set(e, 0, "the action %s is not supported yet", name);
}

/*
 * Without the key: SPEC_ALLOW, as runc and crun do it; kernels before 5.16 would slow the process
 * down otherwise. WAIT_KILLABLE_RECV says something about a notify listener only and the kernel
 * refuses it without one (Linux 5.19).
 */
static uint64_t named_flags(const struct spec_seccomp *profile)
{
    uint64_t set = 0;

    if (!profile->flags.set)
        return SECCOMP_FILTER_FLAG_SPEC_ALLOW;
    for (size_t i = 0; i < profile->flags.n; i++)
        for (size_t k = 0; k < COUNT_OF(flags); k++)
            if (str_eq(profile->flags.v[i], flags[k].name))
                set |= flags[k].flag;
    return set;
}

uint64_t seccomp_load_flags(const struct spec_seccomp *profile)
{
    uint64_t set = named_flags(profile);

    if (!seccomp_notifies(profile))
        return set & ~(uint64_t)SECCOMP_FILTER_FLAG_WAIT_KILLABLE_RECV;
    /* Both answer by the return value; ESRCH leaves it to the listener (Linux 5.7). */
    if (set & SECCOMP_FILTER_FLAG_TSYNC)
        set |= SECCOMP_FILTER_FLAG_TSYNC_ESRCH;
    return set | SECCOMP_FILTER_FLAG_NEW_LISTENER;
}

bool seccomp_notifies(const struct spec_seccomp *profile)
{
    for (size_t i = 0; profile->set && i < profile->n_syscalls; i++)
        if (str_eq(profile->syscalls[i].action, "SCMP_ACT_NOTIFY"))
            return true;
    return false;
}

bool sec_seccomp_notifies(const struct spec *s)
{
    return seccomp_notifies(&s->linux.seccomp);
}

/* libseccomp's token for "SCMP_ARCH_X86_64", 0: this version does not know it. */
static uint32_t arch_of(const char *name)
{
    char lower[32];
    size_t n = 0;

    for (name += strlen("SCMP_ARCH_"); *name && n < sizeof lower - 1; name++)
        lower[n++] = *name >= 'A' && *name <= 'Z' ? (char)(*name - 'A' + 'a') : *name;
    lower[n] = '\0';
    return seccomp_arch_resolve_name(lower);
}

/* ---- rules --------------------------------------------------------------------------------- */

static struct scmp_arg_cmp condition_of(const struct spec_seccomp_arg *arg)
{
    struct scmp_arg_cmp c = { .arg = arg->index, .datum_a = arg->value, .datum_b = arg->value_two };

    for (size_t i = 0; i < COUNT_OF(operators); i++)
        if (str_eq(operators[i].name, arg->op))
            c.op = operators[i].op;
    return c;
}

static bool has_alternatives(const struct spec_syscall *rule)
{
    unsigned seen = 0;

    for (size_t i = 0; i < rule->n_args; i++) {
        if (seen & 1u << rule->args[i].index)
            return true;
        seen |= 1u << rule->args[i].index;
    }
    return false;
}

/* One system call of one rule. -EEXIST: an earlier rule says otherwise of the same calls. */
static int add_syscall(scmp_filter_ctx ctx, const struct spec_syscall *rule, uint32_t action,
                       int number)
{
    struct scmp_arg_cmp all[MAX_ARGS];
    int r = 0;

    if (!has_alternatives(rule)) {
        for (size_t i = 0; i < rule->n_args; i++)
            all[i] = condition_of(&rule->args[i]);
        return seccomp_rule_add_array(ctx, action, number, (unsigned)rule->n_args, all);
    }
    for (size_t i = 0; r == 0 && i < rule->n_args; i++) {
        all[0] = condition_of(&rule->args[i]);
        r = seccomp_rule_add_array(ctx, action, number, 1, all);
    }
    return r;
}

static int add_rule(scmp_filter_ctx ctx, const struct spec_seccomp *profile, size_t index,
                    uint32_t default_action, struct err *e)
{
    const struct spec_syscall *rule = &profile->syscalls[index];
    char pointer[64];
    uint32_t action;
    int r = action_of(rule->action, &rule->errno_ret, &action, e);

    if (r < 0 || action == default_action)
        return r;
    for (size_t i = 0; i < rule->names.n; i++) {
        int number = seccomp_syscall_resolve_name(rule->names.v[i]);

        if (number == __NR_SCMP_ERROR) {
            log_debug("system call %s is unknown to libseccomp: left out", rule->names.v[i]);
            continue;
        }
        r = add_syscall(ctx, rule, action, number);
        if (r == 0)
            continue;
        base_format(pointer, sizeof pointer, "/linux/seccomp/syscalls/%zu", index);
        err_at(e, pointer, -r, "libseccomp does not take the rule for '%s'", rule->names.v[i]);
        if (r == -EEXIST)
            err_hint(e, "an earlier rule has another action for the same calls");
        return r;
    }
    return 0;
}

/*
 * The native architecture is always in. An architecture that libseccomp does not know, or of the
 * other byte order (-EDOM), can make no system call on this machine; if one came, the filter would
 * kill it, as it does for every architecture that is not listed.
 */
static int add_archs(scmp_filter_ctx ctx, const struct spec_seccomp *profile, struct err *e)
{
    for (size_t i = 0; i < profile->architectures.n; i++) {
        const char *name = profile->architectures.v[i];
        uint32_t arch = arch_of(name);
        char pointer[64];
        int r = arch ? seccomp_arch_add(ctx, arch) : -EDOM;

        if (r == 0 || r == -EEXIST)
            continue;
        if (r == -EDOM) {
            log_debug("seccomp architecture %s does not exist here: left out", name);
            continue;
        }
        base_format(pointer, sizeof pointer, "/linux/seccomp/architectures/%zu", i);
        return err_at(e, pointer, -r, "libseccomp does not take the architecture %s", name);
    }
    return 0;
}

/* ---- the program --------------------------------------------------------------------------- */

static int fill(scmp_filter_ctx ctx, const struct spec_seccomp *profile, uint32_t default_action,
                struct err *e)
{
    /* 2: a binary tree over the numbers of the system calls, libseccomp 2.5. */
    int r = seccomp_attr_set(ctx, SCMP_FLTATR_CTL_OPTIMIZE, 2);

    if (r < 0)
        return err_set(e, -r, "libseccomp does not sort the filter");
    r = add_archs(ctx, profile, e);
    for (size_t i = 0; r == 0 && i < profile->n_syscalls; i++)
        r = add_rule(ctx, profile, i, default_action, e);
    return r;
}

static int export(scmp_filter_ctx ctx, struct err *e)
{
    AUTO_FD int fd = (int)sys_note("memfd_create(2) of Linux 3.17",
                                   memfd_create("seccomp", MFD_CLOEXEC));
    off_t size;
    int r;

    if (fd < 0)
        return err_set(e, errno, "cannot make memory for the seccomp filter");
    r = seccomp_export_bpf(ctx, fd);
    if (r < 0)
        return err_set(e, -r, "libseccomp cannot write the filter");
    size = lseek(fd, 0, SEEK_CUR);
    if (size < 0)
        return err_set(e, errno, "cannot measure the seccomp filter");
    if (size / INSTRUCTION_SIZE > SECCOMP_MAX_INSTRUCTIONS)
        return err_set(e, E2BIG, "the seccomp filter has %lld instructions, the kernel takes %d",
                       (long long)(size / INSTRUCTION_SIZE), SECCOMP_MAX_INSTRUCTIONS);
    return take_fd(&fd);
}

int seccomp_compile(const struct spec_seccomp *profile, struct err *e)
{
    uint32_t default_action;
    scmp_filter_ctx ctx;
    int r = action_of(profile->default_action, &profile->default_errno_ret, &default_action, e);

    if (r < 0)
        return r;
    /* Linux 5.14 has all of level 5 (LOG, KILL_PROCESS, NOTIFY): libseccomp need not ask. */
    seccomp_api_set(5);
    ctx = seccomp_init(default_action);
    if (!ctx)
        return err_set(e, EINVAL, "libseccomp cannot begin a filter with %s",
                       profile->default_action);
    r = fill(ctx, profile, default_action, e);
    if (r == 0)
        r = export(ctx, e);
    seccomp_release(ctx);
    return r;
}

/* ---- teca check ---------------------------------------------------------------------------- */

/* What could not be read has an error already. */
static void add_warning(const struct spec *s, const struct spec_faults *known, struct arena *a,
                        struct spec_faults *faults, const char *pointer, const char *text)
{
    if (spec_faults_at(known, pointer))
        return;
    spec_fault_add(faults, a, pointer, spec_line_of(s, pointer), true, text);
}

static void check_names(const struct spec *s, size_t index, const struct spec_faults *known,
                        struct arena *a, struct spec_faults *faults)
{
    const struct strs *names = &s->linux.seccomp.syscalls[index].names;
    const struct scmp_version *v = seccomp_version();

    for (size_t i = 0; i < names->n; i++) {
        if (seccomp_syscall_resolve_name(names->v[i]) != __NR_SCMP_ERROR)
            continue;
        add_warning(
            s, known, a, faults, arena_format(a, "/linux/seccomp/syscalls/%zu/names/%zu", index, i),
            arena_format(a, "'%s' is no system call that libseccomp %u.%u.%u knows: left out",
                         names->v[i], v->major, v->minor, v->micro));
    }
}

void sec_check_seccomp(const struct spec *s, const struct spec_faults *known, struct arena *a,
                       struct spec_faults *faults)
{
    const struct spec_seccomp *profile = &s->linux.seccomp;
    const struct scmp_version *v = seccomp_version();

    if (!profile->set)
        return;
    for (size_t i = 0; i < profile->architectures.n; i++)
        if (!arch_of(profile->architectures.v[i]))
            add_warning(s, known, a, faults, arena_format(a, "/linux/seccomp/architectures/%zu", i),
                        arena_format(a, "libseccomp %u.%u.%u does not know %s: left out", v->major,
                                     v->minor, v->micro, profile->architectures.v[i]));
    for (size_t i = 0; i < profile->n_syscalls; i++)
        check_names(s, i, known, a, faults);
}

/* ---- teca features ------------------------------------------------------------------------- */

static const char *nth_known_arch(size_t i)
{
    for (const char *const *name = spec_seccomp_archs; *name; name++)
        if (arch_of(*name) && i-- == 0)
            return *name;
    return NULL;
}

const char *sec_seccomp_name(enum sec_names what, size_t i)
{
    switch (what) {
    case SEC_ACTIONS:
        return i < COUNT_OF(actions) ? actions[i].name : NULL;
    case SEC_OPERATORS:
        return i < COUNT_OF(operators) ? operators[i].name : NULL;
    case SEC_ARCHS:
        return nth_known_arch(i);
    case SEC_FLAGS:
        return i < COUNT_OF(flags) ? flags[i].name : NULL;
    }
    return NULL;
}
