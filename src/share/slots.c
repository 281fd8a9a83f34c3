/* SPDX-License-Identifier: Apache-2.0 */
/* Tables of what a client may name by a number. The caller holds the lock. */
#include "share/internal.h"

#include <errno.h>
#include <stdlib.h>

enum { FIRST = 64 };

static uint64_t id_of(const struct slots *t, uint32_t index)
{
    return (uint64_t)t->v[index].serial << 32 | (index + 1);
}

static struct slot *slot_of(const struct slots *t, uint64_t id)
{
    uint32_t index = (uint32_t)id - 1; /* 0 becomes the largest, which no table has */

    if (index >= t->n || t->v[index].serial != id >> 32 || !t->v[index].ptr)
        return NULL;
    return &t->v[index];
}

static int grow(struct slots *t)
{
    uint32_t cap = t->cap ? 2 * t->cap : FIRST;
    struct slot *v;

    if (t->n == t->max)
        return -ENFILE;
    if (cap > t->max)
        cap = t->max;
    v = realloc(t->v, cap * sizeof(*v));
    if (!v)
        return -ENOMEM;
    t->v = v;
    t->cap = cap;
    return 0;
}

int slots_add(struct slots *t, void *ptr, uint64_t *out_id)
{
    uint32_t index;

    if (t->free) {
        index = t->free - 1;
        t->free = t->v[index].next_free;
    } else {
        int r = t->n == t->cap ? grow(t) : 0;

        if (r < 0)
            return r;
        index = t->n++;
        t->v[index].serial = 0;
    }
    t->v[index].ptr = ptr;
    t->used++;
    *out_id = id_of(t, index);
    return 0;
}

void *slots_find(const struct slots *t, uint64_t id)
{
    const struct slot *slot = slot_of(t, id);

    return slot ? slot->ptr : NULL;
}

void slots_remove(struct slots *t, uint64_t id)
{
    struct slot *slot = slot_of(t, id);

    if (!slot)
        return;
    slot->ptr = NULL;
    slot->serial++;
    slot->next_free = t->free;
    t->free = (uint32_t)id;
    t->used--;
}

void slots_release(struct slots *t)
{
    free(t->v);
    *t = (struct slots){ 0 };
}
