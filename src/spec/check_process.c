/* SPDX-License-Identifier: Apache-2.0 */
/* config.md "Process". */
#include "spec/internal.h"

#include <string.h>

/* struct winsize has unsigned short rows and columns: ioctl_tty(2). */
enum { WINDOW_MAX = UINT16_MAX };

static void check_command(struct spec_checker *c)
{
    const struct spec_process *p = &c->s->process;

    if (!p->cwd)
        spec_bad(c, "/process/cwd", "Cwd property must not be empty");
    else if (!spec_is_absolute(p->cwd))
        spec_bad(c, "/process/cwd", "Cwd must be an absolute path");
    if (!p->args.n)
        spec_bad(c, "/process/args", "args must not be empty");
}

/* Ignored without a terminal, as config.md demands. */
static void check_console(struct spec_checker *c)
{
    const struct spec_box *box = &c->s->process.console_size;

    if (!c->s->process.terminal || !box->set)
        return;
    if (box->height > WINDOW_MAX)
        spec_bad(c, "/process/consoleSize/height", "is larger than %d", WINDOW_MAX);
    if (box->width > WINDOW_MAX)
        spec_bad(c, "/process/consoleSize/width", "is larger than %d", WINDOW_MAX);
}

/* ---- rlimits ------------------------------------------------------------------------------ */

static void check_rlimits(struct spec_checker *c)
{
    const struct spec_process *p = &c->s->process;
    uint32_t seen = 0; /* by RLIMIT_ number, of which there are 16 */

    for (size_t i = 0; i < p->n_rlimits; i++) {
        const struct spec_rlimit *r = &p->rlimits[i];
        int number = r->type ? spec_rlimit_number(r->type) : -1;

        if (number < 0)
            continue; /* told when it was parsed */
        if (seen & UINT32_C(1) << number)
            spec_bad(c, spec_at(c, "/process/rlimits/%zu/type", i), "%s occurs twice", r->type);
        seen |= UINT32_C(1) << number;
        if (r->soft > r->hard) {
            spec_bad(c, spec_at(c, "/process/rlimits/%zu/soft", i),
                     "%llu is above the hard limit %llu", (unsigned long long)r->soft,
                     (unsigned long long)r->hard);
        }
    }
}

/* ---- capabilities: none of this fails a start (config.md: SHOULD NOT fail, log a warning) --- */

static uint64_t capability_set(struct spec_checker *c, const struct strs *names, const char *set)
{
    uint64_t mask = 0;

    for (size_t i = 0; i < names->n; i++) {
        int number = spec_capability_number(names->v[i]);

        if (number < 0) {
            spec_remark(c, spec_at(c, "/process/capabilities/%s/%zu", set, i),
                        "unknown capability, cannot be granted");
        } else {
            mask |= UINT64_C(1) << number;
        }
    }
    return mask;
}

static void remark_ungrantable(struct spec_checker *c, uint64_t mask, const char *set,
                               const char *why)
{
    for (int number = 0; mask; number++, mask >>= 1) {
        if (mask & 1) {
            spec_remark(c, spec_at(c, "/process/capabilities/%s", set), "%s cannot be granted: %s",
                        spec_capability_name(number), why);
        }
    }
}

/* capabilities(7) "Programmatically adjusting capability sets". */
static void check_capabilities(struct spec_checker *c)
{
    const struct spec_capabilities *caps = &c->s->process.capabilities;
    uint64_t effective, permitted, inheritable, ambient;

    capability_set(c, &caps->bounding, "bounding");
    effective = capability_set(c, &caps->effective, "effective");
    inheritable = capability_set(c, &caps->inheritable, "inheritable");
    permitted = capability_set(c, &caps->permitted, "permitted");
    ambient = capability_set(c, &caps->ambient, "ambient");
    remark_ungrantable(c, effective & ~permitted, "effective", "it is not permitted");
    remark_ungrantable(c, ambient & ~(permitted & inheritable), "ambient",
                       "it is not both permitted and inheritable");
}

/* ---- scheduler: sched_setattr(2) ---------------------------------------------------------- */

static bool is_policy(const struct spec_scheduler *s, const char *policy)
{
    return str_eq(s->policy, policy);
}

static void check_deadline(struct spec_checker *c, const struct spec_scheduler *s)
{
    if (!is_policy(s, "SCHED_DEADLINE")) {
        if (s->runtime || s->deadline || s->period) {
            spec_bad(c, "/process/scheduler",
                     "runtime, deadline and period are for SCHED_DEADLINE only");
        }
        return;
    }
    if (!s->runtime || s->runtime > s->deadline || (s->period && s->deadline > s->period)) {
        spec_bad(c, "/process/scheduler", "SCHED_DEADLINE needs 0 < runtime <= deadline <= period");
    }
}

static void check_scheduler(struct spec_checker *c)
{
    const struct spec_scheduler *s = &c->s->process.scheduler;
    bool realtime = is_policy(s, "SCHED_FIFO") || is_policy(s, "SCHED_RR");

    if (!s->set)
        return;
    if (realtime && !s->priority)
        spec_bad(c, "/process/scheduler/priority", "must be 1 to 99 for %s", s->policy);
    if (!realtime && s->priority)
        spec_bad(c, "/process/scheduler/priority", "is for SCHED_FIFO and SCHED_RR only");
    check_deadline(c, s);
}

void spec_check_process(struct spec_checker *c)
{
    if (!c->s->process.set) {
        spec_remark(c, "/process", "is absent: the container can be created, but not started");
        return;
    }
    check_command(c);
    check_console(c);
    check_rlimits(c);
    check_capabilities(c);
    check_scheduler(c);
}
