/* SPDX-License-Identifier: Apache-2.0 */
#ifndef TECA_BASE_INTERNAL_H
#define TECA_BASE_INTERNAL_H
/* What the files of base/ share and nobody else sees. */
#include "base/base.h"

#include <yajl/yajl_common.h>

/* One line on stderr, exit status 1. See struct arena for why nothing is undone. Child-safe. */
_Noreturn void base_out_of_memory(void);

/*
 * The free end of the arena, at least `need` bytes of it (*avail says how many), not zeroed, for a
 * reader that does not know the size yet. Nothing is allocated until arena_take.
 */
char *arena_tail(struct arena *a, size_t need, size_t *avail);
void arena_take(struct arena *a, size_t used);
/* The arena as yajl's allocator; what it frees stays until the arena goes. */
yajl_alloc_funcs base_pool(struct arena *a);
/* The call that was refused with this error by an older kernel or, maybe, a filter around teca; NULL. */
const char *sys_refused(int error);
/* strerror that takes no lock and reads no locale. "Operation not permitted"; NULL: unknown. */
const char *base_reason(int errnum);

#endif
