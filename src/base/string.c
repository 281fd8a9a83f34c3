/* SPDX-License-Identifier: Apache-2.0 */
#include "base/base.h"
#include "base/internal.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>

static void reserve(struct strbuf *b, size_t more)
{
    size_t need, cap = b->cap != 0 ? b->cap : 256;
    char *larger;

    if (__builtin_add_overflow(b->len, more, &need) || need == SIZE_MAX)
        base_out_of_memory();
    need++; /* the NUL */
    if (need <= b->cap)
        return;
    while (cap < need && !__builtin_mul_overflow(cap, 2, &cap))
        ;
    larger = realloc(b->ptr, cap);
    if (larger == NULL)
        base_out_of_memory();
    b->ptr = larger;
    b->cap = cap;
}

void strbuf_add(struct strbuf *b, const char *data, size_t len)
{
    reserve(b, len);
    if (len > 0)
        memcpy(b->ptr + b->len, data, len);
    b->len += len;
    b->ptr[b->len] = '\0';
}

void strbuf_str(struct strbuf *b, const char *s)
{
    strbuf_add(b, s, strlen(s));
}

void strbuf_format(struct strbuf *b, const char *fmt, ...)
{
    size_t room, len;
    va_list ap;

    reserve(b, 0);
    room = b->cap - b->len;
    va_start(ap, fmt);
    len = base_vformat(b->ptr + b->len, room, fmt, ap);
    va_end(ap);
    if (len >= room) {
        reserve(b, len);
        va_start(ap, fmt);
        base_vformat(b->ptr + b->len, len + 1, fmt, ap);
        va_end(ap);
    }
    b->len += len;
}

void strbuf_release(struct strbuf *b)
{
    if (b == NULL)
        return;
    free(b->ptr);
    *b = (struct strbuf){ 0 };
}

bool str_eq(const char *a, const char *b)
{
    if (a == NULL || b == NULL)
        return a == b;
    return strcmp(a, b) == 0;
}

bool str_starts(const char *s, const char *prefix)
{
    return s != NULL && strncmp(s, prefix, strlen(prefix)) == 0;
}

int str_to_u64(const char *s, uint64_t *out)
{
    uint64_t value = 0;
    bool overflow = false;

    if (s == NULL || *s == '\0')
        return -EINVAL;
    for (; *s != '\0'; s++) {
        if (*s < '0' || *s > '9')
            return -EINVAL;
        overflow |= __builtin_mul_overflow(value, 10, &value);
        overflow |= __builtin_add_overflow(value, (uint64_t)(*s - '0'), &value);
    }
    if (overflow)
        return -ERANGE;
    *out = value;
    return 0;
}

int str_to_i64(const char *s, int64_t *out)
{
    bool negative = s != NULL && *s == '-';
    uint64_t magnitude;
    int rc = str_to_u64(negative ? s + 1 : s, &magnitude);

    if (rc < 0)
        return rc;
    if (magnitude > (uint64_t)INT64_MAX + negative)
        return -ERANGE;
    *out = negative ? (int64_t)-magnitude : (int64_t)magnitude;
    return 0;
}

/* Drops the last component of a cleaned path, unless it is a ".." that nothing can cancel. */
static bool drop_last(char *out, size_t *len, size_t floor)
{
    size_t at = *len;

    if (at == floor)
        return false;
    while (at > floor && out[at - 1] != '/')
        at--;
    if (*len - at == 2 && out[at] == '.' && out[at + 1] == '.')
        return false;
    *len = at > floor ? at - 1 : at;
    return true;
}

const char *path_clean(struct arena *a, const char *path)
{
    bool rooted = path[0] == '/';
    size_t floor = rooted ? 1 : 0, len = floor;
    char *out = arena_alloc(a, strlen(path) + 2);

    if (rooted)
        out[0] = '/';
    while (*path != '\0') {
        size_t n = strcspn(path, "/");
        const char *name = path;

        path += n + (path[n] == '/');
        if (n == 0 || (n == 1 && name[0] == '.'))
            continue;
        if (n == 2 && name[0] == '.' && name[1] == '.' && (drop_last(out, &len, floor) || rooted))
            continue;
        if (len > floor)
            out[len++] = '/';
        memcpy(out + len, name, n);
        len += n;
    }
    if (len == 0)
        out[len++] = '.';
    out[len] = '\0';
    return out;
}
