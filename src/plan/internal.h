/* SPDX-License-Identifier: Apache-2.0 */
#ifndef TECA_PLAN_INTERNAL_H
#define TECA_PLAN_INTERNAL_H
/* What plan.c, fields.c, names.c and explain.c share: the operands of a step as a table. */
#include "plan/plan.h"

enum field_type {
    FIELD_STR,
    FIELD_STRV,
    FIELD_INT,
    FIELD_UINT,
    FIELD_OCT,
    FIELD_BOOL,
    FIELD_SLOT,
    FIELD_MNT,
    FIELD_ATTR,
    FIELD_NS,
    FIELD_CAPS,
    FIELD_DATA,
};

struct plan_field {
    const char *name; /* NULL ends the table */
    enum field_type type;
    size_t offset; /* in struct step */
};

const struct plan_field *plan_fields(enum plan_op op);

struct flag_name {
    uint64_t bits;
    const char *name; /* NULL ends the table */
};

/* Names of a MNT, ATTR, NS or CAPS field. */
const struct flag_name *plan_flag_names(enum field_type type);

/*
 * Takes the next name out of *left: NULL when it is 0. Bits without a name come last, as one
 * hexadecimal number in buf.
 */
enum { FLAG_NUMBER_SIZE = 24 };
const char *plan_next_flag(const struct flag_name *table, uint64_t *left,
                           char buf[FLAG_NUMBER_SIZE]);

/* "RLIMIT_NOFILE", NULL for a resource without a name. */
const char *plan_rlimit_name(int64_t resource);

#endif
