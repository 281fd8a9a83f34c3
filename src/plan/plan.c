/* SPDX-License-Identifier: Apache-2.0 */
#include "plan/internal.h"

#include <errno.h>
#include <string.h>

void plan_init(struct plan *p, struct arena *a, const char *title)
{
    *p = (struct plan){ .arena = a, .title = title };
    for (int lane = 0; lane < LANE_COUNT; lane++)
        p->last[lane] = -1;
}

struct step *plan_add(struct plan *p, enum plan_op op, enum plan_lane lane, const char *pointer)
{
    struct step *s;

    if (p->n == p->cap)
        p->steps = arena_grow(p->arena, p->steps, p->n, &p->cap, sizeof(*p->steps));
    s = &p->steps[p->n];
    memset(s, 0, sizeof(*s));
    s->op = op;
    s->lane = lane;
    s->after = -1;
    s->pointer = pointer;
    for (const struct plan_field *f = plan_fields(op); f->name != NULL; f++) {
        if (f->type == FIELD_SLOT)
            *(int *)((char *)s + f->offset) = SLOT_NONE;
    }
    p->last[lane] = (int)p->n++;
    return s;
}

int plan_slot(struct plan *p)
{
    return p->slots++; /* plan_finish checks PLAN_MAX_SLOTS once, where it can be said */
}

int plan_last(const struct plan *p, enum plan_lane lane)
{
    return p->last[lane];
}

const char *plan_pointer(struct plan *p, const char *fmt, ...)
{
    va_list ap;
    size_t len;
    char *text;

    va_start(ap, fmt);
    len = base_vformat(NULL, 0, fmt, ap);
    va_end(ap);
    text = arena_alloc(p->arena, len + 1);
    va_start(ap, fmt);
    base_vformat(text, len + 1, fmt, ap);
    va_end(ap);
    return text;
}

/*
 * Happens-before. A step is finished before another one starts when a path of these leads from the
 * one to the other:
 *
 *   lane order   a lane runs its steps one after the other
 *   clone        the first step of a cloned lane starts after everything that stands before the
 *                CLONE in its lane; not after the CLONE itself, for the parent still stores the pid
 *                while the child runs
 *   after        a step starts after the one that it names
 *
 * The list is a topological order of all three (check_edges), so one pass forwards with a vector
 * clock per step is exact: the clock holds, per lane, the newest step that is certainly finished.
 * Lane order makes everything before that one finished too.
 */
struct clock {
    int finished[LANE_COUNT];
};

/* The CLONE that makes a lane: the stage's makes init where there is a stage. -1: none. */
static int find_clone(const struct plan *p, enum plan_lane lane)
{
    int in_runtime = -1;

    if (lane == LANE_RUNTIME)
        return -1;
    for (size_t i = 0; i < p->n; i++) {
        const struct step *s = &p->steps[i];

        if (s->op != OP_CLONE)
            continue;
        if (s->lane == LANE_STAGE && lane == LANE_INIT)
            return (int)i;
        if (s->lane == LANE_RUNTIME && in_runtime < 0)
            in_runtime = (int)i;
    }
    return in_runtime;
}

static void join(struct clock *c, const struct clock *other)
{
    for (int lane = 0; lane < LANE_COUNT; lane++) {
        if (other->finished[lane] > c->finished[lane])
            c->finished[lane] = other->finished[lane];
    }
}

static void join_finished(struct clock *c, const struct clock *clocks, const struct plan *p,
                          int step)
{
    join(c, &clocks[step]);
    if (c->finished[p->steps[step].lane] < step)
        c->finished[p->steps[step].lane] = step;
}

/* What is finished when a step could start if it named nothing in `after`. */
static struct clock clock_before(const struct plan *p, const struct clock *clocks, int previous,
                                 int clone)
{
    struct clock c;

    for (int lane = 0; lane < LANE_COUNT; lane++)
        c.finished[lane] = -1;
    if (previous >= 0)
        join_finished(&c, clocks, p, previous);
    else if (clone >= 0)
        join(&c, &clocks[clone]);
    return c;
}

static int check_step(const struct plan *p, size_t i, const int clone[LANE_COUNT], struct err *e)
{
    const struct step *s = &p->steps[i];
    const char *name = plan_op_name(s->op);

    if (s->after != -1 && (s->after < 0 || (size_t)s->after >= i))
        return err_at(e, s->pointer, 0,
                      "plan: step %zu (%s) waits for step %d, which is no earlier one", i, name,
                      s->after);
    if (s->after >= 0 && p->steps[s->after].lane == s->lane)
        return err_at(e, s->pointer, 0, "plan: step %zu (%s) waits for step %d of its own lane", i,
                      name, s->after);
    if (clone[s->lane] > (int)i)
        return err_at(e, s->pointer, 0,
                      "plan: step %zu (%s) stands before the clone of its lane, step %d", i, name,
                      clone[s->lane]);
    return 0;
}

static void derive_waits(struct plan *p, const int clone[LANE_COUNT])
{
    struct clock *clocks = arena_array(p->arena, p->n, sizeof(*clocks));
    int previous[LANE_COUNT] = { -1, -1, -1 };

    for (size_t i = 0; i < p->n; i++) {
        struct step *s = &p->steps[i];

        s->waits = s->hand_over = false;
        clocks[i] = clock_before(p, clocks, previous[s->lane], clone[s->lane]);
        previous[s->lane] = (int)i;
        if (s->after < 0 || clocks[i].finished[p->steps[s->after].lane] >= s->after)
            continue;
        s->waits = true;
        p->steps[s->after].hand_over = true;
        join_finished(&clocks[i], clocks, p, s->after);
    }
}

int plan_finish(struct plan *p, struct err *e)
{
    int clone[LANE_COUNT];

    if (p->slots > PLAN_MAX_SLOTS)
        return err_set(e, E2BIG, "the plan needs %d slots for file descriptors; %d is the limit",
                       p->slots, PLAN_MAX_SLOTS);
    for (int lane = 0; lane < LANE_COUNT; lane++)
        clone[lane] = find_clone(p, (enum plan_lane)lane);
    for (size_t i = 0; i < p->n; i++) {
        int rc = check_step(p, i, clone, e);

        if (rc < 0)
            return rc;
    }
    derive_waits(p, clone);
    return 0;
}

/* The newest step of each lane that is known to be finished; all before it are too. */
static void need(int needed[LANE_COUNT], enum plan_lane lane, int step)
{
    if (needed[lane] < step)
        needed[lane] = step;
}

/* Walks the list backwards from b and gathers what leads to it, by the rules above. */
bool plan_happens_before(const struct plan *p, size_t a, size_t b)
{
    int needed[LANE_COUNT] = { -1, -1, -1 }, oldest[LANE_COUNT];

    if (a >= b || b >= p->n)
        return false;
    for (size_t i = p->n; i-- > 0;)
        oldest[p->steps[i].lane] = (int)i;
    need(needed, p->steps[b].lane, (int)b);
    for (int i = (int)b; i >= 0; i--) {
        const struct step *s = &p->steps[i];
        int clone = i == oldest[s->lane] ? find_clone(p, s->lane) : -1;

        if (i > needed[s->lane])
            continue;
        if (s->after >= 0)
            need(needed, p->steps[s->after].lane, s->after);
        if (clone < 0)
            continue;
        /* Not the clone itself, but what it waited for and whatever its lane did before it. */
        need(needed, p->steps[clone].lane, clone - 1);
        if (p->steps[clone].after >= 0)
            need(needed, p->steps[p->steps[clone].after].lane, p->steps[clone].after);
    }
    return (int)a <= needed[p->steps[a].lane];
}

int plan_find(const struct plan *p, enum plan_op op, size_t from)
{
    for (size_t i = from; i < p->n; i++) {
        if (p->steps[i].op == op)
            return (int)i;
    }
    return -1;
}

size_t plan_waits(const struct plan *p)
{
    size_t waits = 0;

    for (size_t i = 0; i < p->n; i++)
        waits += p->steps[i].waits;
    return waits;
}

const char *plan_op_name(enum plan_op op)
{
    /* Filled in below: the preprocessor cannot write a dash. */
    static char names[OP_COUNT][32] = {
#define PLAN_OP(NAME, name, fields) #name,
#include "plan/ops.def"
#undef PLAN_OP
    };

    for (char *c = strchr(names[op], '_'); c != NULL; c = strchr(c, '_'))
        *c = '-';
    return names[op];
}

const char *plan_lane_name(enum plan_lane lane)
{
    static const char *const names[LANE_COUNT] = {
        [LANE_RUNTIME] = "runtime",
        [LANE_STAGE] = "stage",
        [LANE_INIT] = "init",
    };

    return names[lane];
}
