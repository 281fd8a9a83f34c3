/* SPDX-License-Identifier: Apache-2.0 */
/* Memory for yajl: the arena, with the size in front so that realloc can copy. */
#include "base/base.h"
#include "base/internal.h"

#include <string.h>

enum { SIZE_HEADER = 16 }; /* keeps the arena's alignment */

static void *pool_alloc(void *ctx, size_t size)
{
    char *block = arena_array(ctx, 1, size + SIZE_HEADER);

    memcpy(block, &size, sizeof(size));
    return block + SIZE_HEADER;
}

static void *pool_realloc(void *ctx, void *old, size_t size)
{
    size_t old_size = 0;
    void *block;

    if (old)
        memcpy(&old_size, (char *)old - SIZE_HEADER, sizeof(old_size));
    if (old && size <= old_size)
        return old;
    block = pool_alloc(ctx, size);
    if (old)
        memcpy(block, old, old_size);
    return block;
}

static void pool_free(void *ctx, void *block)
{
    (void)ctx;
    (void)block; /* goes with the arena */
}

yajl_alloc_funcs base_pool(struct arena *a)
{
    return (yajl_alloc_funcs){
        .malloc = pool_alloc, .realloc = pool_realloc, .free = pool_free, .ctx = a
    };
}
