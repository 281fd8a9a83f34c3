/* SPDX-License-Identifier: Apache-2.0 */
#include "base/base.h"
#include "base/internal.h"

#include <string.h>
#include <sys/mman.h>
#include <unistd.h>

enum {
    ALIGNMENT = 16,
    FIRST_CHUNK_BYTES = 256 * 1024,
    LARGEST_DOUBLING_BYTES = 16 * 1024 * 1024, /* a chunk for one larger object is larger */
};

struct arena_chunk {
    struct arena_chunk *older;
    size_t size; /* of the mapping, this header included */
};

_Noreturn void base_out_of_memory(void)
{
    static const char line[] = "teca: out of memory\n";
    ssize_t ignored = write(STDERR_FILENO, line, sizeof(line) - 1);

    (void)ignored; /* nobody is left to tell */
    _exit(1);
}

static char *align_up(char *p)
{
    return p + (-(uintptr_t)p & (ALIGNMENT - 1));
}

void arena_init(struct arena *a, void *first, size_t size)
{
    *a = (struct arena){ 0 };
    if (first == NULL || size < ALIGNMENT)
        return;
    a->at = align_up(first);
    a->end = (char *)first + size;
}

void arena_release(struct arena *a)
{
    if (a == NULL)
        return;
    while (a->chunks != NULL) {
        struct arena_chunk *chunk = a->chunks;

        a->chunks = chunk->older;
        munmap(chunk, chunk->size);
    }
    *a = (struct arena){ 0 };
}

/* The rest of the chunk before is given up: what remains of it is smaller than what is needed. */
static void add_chunk(struct arena *a, size_t need)
{
    size_t size = FIRST_CHUNK_BYTES, rounded;
    struct arena_chunk *chunk;

    if (a->chunks != NULL)
        size = a->chunks->size * 2;
    if (size > LARGEST_DOUBLING_BYTES)
        size = LARGEST_DOUBLING_BYTES;
    if (__builtin_add_overflow(need, sizeof(*chunk) + 2 * (size_t)ALIGNMENT + FIRST_CHUNK_BYTES,
                               &rounded))
        base_out_of_memory();
    rounded &= ~(size_t)(FIRST_CHUNK_BYTES - 1);
    if (size < rounded)
        size = rounded;
    chunk = mmap(NULL, size, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
    if (chunk == MAP_FAILED)
        base_out_of_memory();
    chunk->older = a->chunks;
    chunk->size = size;
    a->chunks = chunk;
    a->at = align_up((char *)(chunk + 1));
    a->end = (char *)chunk + size;
}

char *arena_tail(struct arena *a, size_t need, size_t *avail)
{
    if (a->at == NULL || (size_t)(a->end - a->at) < need)
        add_chunk(a, need);
    *avail = (size_t)(a->end - a->at);
    return a->at;
}

void arena_take(struct arena *a, size_t used)
{
    char *next = align_up(a->at + used);

    a->at = next < a->end ? next : a->end;
}

void *arena_alloc(struct arena *a, size_t size)
{
    size_t avail;
    char *p = arena_tail(a, size, &avail);

    arena_take(a, size);
    return memset(p, 0, size); /* the caller's first chunk and a reader's tail may be dirty */
}

void *arena_array(struct arena *a, size_t n, size_t size)
{
    size_t total;

    if (__builtin_mul_overflow(n, size, &total))
        base_out_of_memory();
    return arena_alloc(a, total);
}

char *arena_strndup(struct arena *a, const char *s, size_t n)
{
    size_t len, avail;
    char *copy;

    if (s == NULL)
        return NULL;
    len = strnlen(s, n);
    copy = arena_tail(a, len + 1, &avail);
    memcpy(copy, s, len);
    copy[len] = '\0';
    arena_take(a, len + 1);
    return copy;
}

char *arena_strdup(struct arena *a, const char *s)
{
    return arena_strndup(a, s, SIZE_MAX);
}

char *arena_format(struct arena *a, const char *fmt, ...)
{
    size_t avail, len;
    va_list ap;
    char *text = arena_tail(a, 1, &avail);

    va_start(ap, fmt);
    len = base_vformat(text, avail, fmt, ap);
    va_end(ap);
    if (len >= avail) {
        text = arena_tail(a, len + 1, &avail);
        va_start(ap, fmt);
        base_vformat(text, avail, fmt, ap);
        va_end(ap);
    }
    arena_take(a, len + 1);
    return text;
}

void *arena_grow(struct arena *a, const void *old, size_t n, size_t *cap, size_t size)
{
    size_t larger;
    void *array;

    if (__builtin_mul_overflow(*cap, 2, &larger))
        base_out_of_memory();
    if (larger == 0)
        larger = 8;
    array = arena_array(a, larger, size);
    if (n > 0)
        memcpy(array, old, n * size);
    *cap = larger;
    return array;
}
