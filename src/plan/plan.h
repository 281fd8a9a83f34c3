/* SPDX-License-Identifier: Apache-2.0 */
#ifndef TECA_PLAN_H
#define TECA_PLAN_H
/*
 * plan: one flat list of typed steps in lanes, the waits between the lanes derived from `after`
 * edges, and its rendering for `teca explain`. Order of calls: plan_init, plan_add ... (by the
 * concerns, called in the order container/compile.c tells), plan_finish, then read it.
 *
 * It knows no concern and makes no system call. A plan holds no condition, loop or arithmetic:
 * compile decided everything; values known only at run time are numbered slots.
 */
#include "base/base.h"

enum plan_lane { LANE_RUNTIME, LANE_STAGE, LANE_INIT, LANE_COUNT };

enum plan_op {
#define PLAN_OP(NAME, name, fields) OP_##NAME,
#include "plan/ops.def"
#undef PLAN_OP
    OP_COUNT
};

#define STR(n) const char *n;
#define STRV(n) const char *const *n;
#define INT(n) int64_t n;
#define UINT(n) uint64_t n;
#define OCT(n) uint32_t n;
#define BOOL(n) bool n;
#define SLOT(n) int n;
#define MNT(n) uint64_t n;
#define ATTR(n) uint64_t n;
#define NS(n) uint64_t n;
#define CAPS(n) uint64_t n;
#define DATA(n) const void *n;
#define PLAN_OP(NAME, name, fields) \
    struct op_##name {              \
        char none[0];               \
        fields                      \
    };
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

struct step {
    enum plan_op op;
    enum plan_lane lane;
    int after;           /* index of an earlier step of another lane, -1: none */
    bool hand_over;      /* set by plan_finish: another lane really waits for this step */
    bool waits;          /* set by plan_finish: this step really has to wait for `after` */
    const char *pointer; /* JSON pointer of the field that asked for it, "" for teca's own */
    union {
#define PLAN_OP(NAME, name, fields) struct op_##name name;
#include "plan/ops.def"
#undef PLAN_OP
    };
};

enum { PLAN_MAX_SLOTS = 8192, SLOT_NONE = -1 };

struct plan {
    struct arena *arena; /* borrows */
    struct step *steps;
    size_t n, cap;
    int slots;            /* slots in use: 0 .. slots-1 */
    int last[LANE_COUNT]; /* newest step of each lane, -1: none */
    const char *title;    /* "run", "create", "delete" */
};

/* Run-time values of the slots: fds or pids, -1 while empty. Filled by steps. */
struct slots {
    int *value;
    int n;
};

void plan_init(struct plan *p, struct arena *a, const char *title);
/*
 * Appends a step with all slots -1 and `after` none, for the caller to fill. The pointer to it is
 * valid until the next plan_add. `pointer` is borrowed (arena or literal).
 */
struct step *plan_add(struct plan *p, enum plan_op op, enum plan_lane lane, const char *pointer);
int plan_slot(struct plan *p);                            /* a fresh slot */
int plan_last(const struct plan *p, enum plan_lane lane); /* newest step of a lane, -1: none */
/* "/mounts/3" style pointers in the plan's arena. */
const char *plan_pointer(struct plan *p, const char *fmt, ...)
    __attribute__((format(printf, 2, 3)));

/*
 * Derives the waits. An edge costs a hand-over only when it isn't implied: the step before the
 * clone of the waiting lane is always done, and an earlier wait of the same lane covers everything up to the step it waited for.
 * Checks that every `after` points backwards, to another lane. -EINVAL with a sentence otherwise.
 */
int plan_finish(struct plan *p, struct err *e);
/* Is step a finished before step b starts, by lane order, clone and edges? For tests and checks. */
bool plan_happens_before(const struct plan *p, size_t a, size_t b);
/* First step with this op at or after `from`, or -1. */
int plan_find(const struct plan *p, enum plan_op op, size_t from);
/* Waits that plan_finish left, in all lanes. */
size_t plan_waits(const struct plan *p);

const char *plan_op_name(enum plan_op op); /* "mount", "ns-join": lower case with dashes */
const char *plan_lane_name(enum plan_lane lane);
/* "RLIMIT_NOFILE", NULL for a resource without a name. Child-safe. */
const char *plan_rlimit_name(int64_t resource);
/* The table of `teca explain`: step, lane, operation with operands, what it waits for, JSON pointer. */
void plan_explain_text(const struct plan *p, struct strbuf *out);
void plan_explain_json(const struct plan *p, struct json_out *j);
/* One line for a step's operands: "proc at /proc (nosuid,nodev,noexec)". For messages and explain. */
void plan_describe(const struct step *s, struct strbuf *out);

#endif
