/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Cursors over the pieces of a request and of a reply. The memory may be a guest's, which writes it
 * at the same time: whatever is decided upon is copied first, and a length is checked here, once.
 */
#include "share/internal.h"

#include <errno.h>
#include <string.h>

bool pieces_init(struct pieces *p, const struct iovec *v, unsigned n)
{
    size_t left = 0;

    if (n > SHARE_SEGMENTS_MAX)
        return false;
    for (unsigned i = 0; i < n; i++) {
        if (__builtin_add_overflow(left, v[i].iov_len, &left))
            return false;
    }
    *p = (struct pieces){ .v = v, .n = n, .left = left };
    return true;
}

bool pieces_limit(struct pieces *p, size_t len)
{
    if (len > p->left)
        return false;
    p->left = len;
    return true;
}

/* The next stretch of at most len bytes that lies in one piece, and goes on behind it. */
static uint8_t *next(struct pieces *p, size_t len, size_t *out_len)
{
    uint8_t *at;

    while (p->skip == p->v->iov_len) {
        p->v++;
        p->n--;
        p->skip = 0;
    }
    at = (uint8_t *)p->v->iov_base + p->skip;
    *out_len = p->v->iov_len - p->skip < len ? p->v->iov_len - p->skip : len;
    p->skip += *out_len;
    p->left -= *out_len;
    return at;
}

bool pieces_take(struct pieces *p, void *to, size_t len)
{
    uint8_t *at = to;

    if (len > p->left)
        return false;
    while (len > 0) {
        size_t part;
        const uint8_t *from = next(p, len, &part);

        memcpy(at, from, part);
        at += part;
        len -= part;
    }
    return true;
}

bool pieces_put(struct pieces *p, const void *from, size_t len)
{
    const uint8_t *at = from;

    if (len > p->left)
        return false;
    while (len > 0) {
        size_t part;
        uint8_t *to = next(p, len, &part);

        memcpy(to, at, part);
        at += part;
        len -= part;
    }
    return true;
}

int pieces_take_string(struct pieces *p, char *to, size_t size)
{
    struct pieces ahead = *p;
    size_t len = p->left < size ? p->left : size;
    const char *end;

    pieces_take(&ahead, to, len);
    end = memchr(to, '\0', len);
    if (!end)
        return len == size ? -ENAMETOOLONG : -EINVAL;
    for (size_t rest = (size_t)(end - to) + 1; rest > 0;) {
        size_t part;

        next(p, rest, &part);
        rest -= part;
    }
    return 0;
}

unsigned pieces_slice(const struct pieces *p, size_t len, struct iovec out[SHARE_SEGMENTS_MAX])
{
    struct pieces ahead = *p;
    unsigned n = 0;

    while (len > 0) {
        size_t part;

        out[n].iov_base = next(&ahead, len, &part);
        out[n++].iov_len = part;
        len -= part;
    }
    return n;
}
