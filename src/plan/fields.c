/* SPDX-License-Identifier: Apache-2.0 */
/* The operands of every operation as tables, made from ops.def as the structs in plan.h are. */
#include "plan/internal.h"

/* `operands` is the struct of the operation at hand; all of them start where the union starts. */
#define FIELD(n, TYPE) { #n, FIELD_##TYPE, offsetof(struct step, clone) + offsetof(operands, n) },
#define STR(n) FIELD(n, STR)
#define STRV(n) FIELD(n, STRV)
#define INT(n) FIELD(n, INT)
#define UINT(n) FIELD(n, UINT)
#define OCT(n) FIELD(n, OCT)
#define BOOL(n) FIELD(n, BOOL)
#define SLOT(n) FIELD(n, SLOT)
#define MNT(n) FIELD(n, MNT)
#define ATTR(n) FIELD(n, ATTR)
#define NS(n) FIELD(n, NS)
#define CAPS(n) FIELD(n, CAPS)
#define DATA(n) FIELD(n, DATA)

#define PLAN_OP(NAME, name, fields)                        \
    static const struct plan_field *fields_of_##name(void) \
    {                                                      \
        typedef struct op_##name operands;                 \
        static const struct plan_field table[] = {         \
            fields{ NULL, FIELD_STR, sizeof(operands) },   \
        };                                                 \
                                                           \
        return table;                                      \
    }
#include "plan/ops.def"
#undef PLAN_OP

const struct plan_field *plan_fields(enum plan_op op)
{
    static const struct plan_field *(*const tables[OP_COUNT])(void) = {
#define PLAN_OP(NAME, name, fields) [OP_##NAME] = fields_of_##name,
#include "plan/ops.def"
#undef PLAN_OP
    };

    return tables[op]();
}
