/* SPDX-License-Identifier: Apache-2.0 */
/* config-linux.md "Seccomp"; seccomp(2). */
#include "spec/internal.h"

#include <string.h>

/* What a filter can return: 12 bits as errno (MAX_ERRNO), 16 bits of data to a tracer. */
enum { LAST_ERRNO = 4095, LAST_TRACE_DATA = 0xFFFF };

static bool is_notify(const char *action)
{
    return str_eq(action, "SCMP_ACT_NOTIFY");
}

static void check_errno(struct spec_checker *c, const char *action, const struct opt_u32 *ret,
                        const char *pointer)
{
    bool error = str_eq(action, "SCMP_ACT_ERRNO"), trace = str_eq(action, "SCMP_ACT_TRACE");
    uint32_t last = error ? LAST_ERRNO : LAST_TRACE_DATA;

    if (!ret->set || !action)
        return;
    if (!error && !trace)
        spec_bad(c, pointer, "%s does not take an errno", action);
    else if (ret->v > last)
        spec_bad(c, pointer, "%u is out of range, must be 0 to %u", ret->v, last);
}

static void check_args(struct spec_checker *c, const struct spec_syscall *rule, size_t i)
{
    for (size_t k = 0; k < rule->n_args; k++) {
        const struct spec_seccomp_arg *arg = &rule->args[k];

        if (arg->value_two && arg->op && strcmp(arg->op, "SCMP_CMP_MASKED_EQ")) {
            spec_remark(c, spec_at(c, "/linux/seccomp/syscalls/%zu/args/%zu/valueTwo", i, k),
                        "%s does not use it", arg->op);
        }
    }
}

static bool check_syscall(struct spec_checker *c, const struct spec_syscall *rule, size_t i)
{
    static const char *const writes[] = { "write", NULL };
    bool notify = is_notify(rule->action);

    if (!rule->names.n) {
        spec_bad(c, spec_at(c, "/linux/seccomp/syscalls/%zu/names", i),
                 "must have at least one entry");
    }
    if (rule->errno_ret.set) {
        check_errno(c, rule->action, &rule->errno_ret,
                    spec_at(c, "/linux/seccomp/syscalls/%zu/errnoRet", i));
    }
    check_args(c, rule, i);
    /* The runtime still has to tell of its own failures once the filter is there. */
    for (size_t k = 0; notify && k < rule->names.n; k++) {
        if (spec_name_in(writes, rule->names.v[k])) {
            spec_bad(c, spec_at(c, "/linux/seccomp/syscalls/%zu/names/%zu", i, k),
                     "SCMP_ACT_NOTIFY cannot be used for write");
        }
    }
    return notify;
}

void spec_check_seccomp(struct spec_checker *c)
{
    const struct spec_seccomp *s = &c->s->linux.seccomp;
    bool notify = false;

    if (!s->set)
        return;
    check_errno(c, s->default_action, &s->default_errno_ret, "/linux/seccomp/defaultErrnoRet");
    if (is_notify(s->default_action))
        spec_bad(c, "/linux/seccomp/defaultAction", "SCMP_ACT_NOTIFY cannot be the default action");
    for (size_t i = 0; i < s->n_syscalls; i++)
        notify |= check_syscall(c, &s->syscalls[i], i);
    if (notify && !s->listener_path)
        spec_bad(c, "/linux/seccomp/listenerPath", "is required with SCMP_ACT_NOTIFY");
    if (s->listener_metadata && !s->listener_path)
        spec_bad(c, "/linux/seccomp/listenerMetadata", "must not be set without listenerPath");
}
