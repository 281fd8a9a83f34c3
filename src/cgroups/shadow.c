/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Mounts that are still there and that no path leads to any more, because something was mounted over
 * them: /proc/self/mountinfo lists them like the others. To make a cgroup below such a mount point is
 * to make an ordinary directory in whatever covers it. Pure text, for every start looks.
 */
#include <string.h>

#include "cgroups/internal.h"

enum { FIRST = 32, MAX_DEPTH = 64 }; /* of mounts upon mounts: parents come from the kernel */

static const char *take_id(const char *at, unsigned *out)
{
    for (*out = 0; *at >= '0' && *at <= '9'; at++)
        *out = *out * 10 + (unsigned)(*at - '0');
    return *at == ' ' ? at + 1 : at;
}

/* proc_pid_mountinfo(5): 36 35 98:0 /root /mountpoint; false: it is no such line. */
static bool read_place(const char *line, const char *end, struct shadow_place *out)
{
    const char *at = take_id(take_id(line, &out->id), &out->parent);

    for (int field = 0; field < 2 && at; field++) { /* the device, the root */
        at = memchr(at, ' ', (size_t)(end - at));
        at = at ? at + 1 : NULL;
    }
    if (!at)
        return false;
    out->path = at;
    at = memchr(at, ' ', (size_t)(end - at));
    out->len = at ? (size_t)(at - out->path) : 0;
    return out->len > 0;
}

/* Is `below` the directory `above`, or one in it? */
static bool is_within(const struct shadow_place *below, const struct shadow_place *above)
{
    if (above->len == 1)
        return true;
    return below->len >= above->len && memcmp(below->path, above->path, above->len) == 0 &&
           (below->len == above->len || below->path[above->len] == '/');
}

static void add(struct shadow *s, const struct shadow_place *p, size_t *cap, struct arena *a)
{
    if (s->n == *cap)
        s->v = arena_grow(a, s->v, s->n, cap, sizeof *s->v);
    s->v[s->n++] = *p;
}

static const char *line_end(const char *line)
{
    const char *end = strchr(line, '\n');

    return end ? end : line + strlen(line);
}

/* Of all mounts those whose mount point is one of a cgroup hierarchy, or on the way to it. */
void shadow_read(struct shadow *s, const char *mountinfo, struct arena *a)
{
    struct shadow cgroups = { .v = arena_array(a, FIRST, sizeof *s->v) };
    size_t cap = FIRST, cap_cgroups = FIRST;
    const char *at = mountinfo, *end;
    struct shadow_place p;

    *s = (struct shadow){ .v = arena_array(a, FIRST, sizeof *s->v) };
    while ((at = strstr(at, " - cgroup"))) {
        const char *line = memrchr(mountinfo, '\n', (size_t)(at - mountinfo));

        end = line_end(at);
        if (read_place(line ? line + 1 : mountinfo, end, &p))
            add(&cgroups, &p, &cap_cgroups, a);
        at = end;
    }
    for (const char *line = mountinfo; *line && cgroups.n > 0; line = end + (*end == '\n')) {
        size_t i = 0;

        end = line_end(line);
        if (!read_place(line, end, &p))
            continue;
        while (i < cgroups.n && !is_within(&cgroups.v[i], &p))
            i++;
        if (i < cgroups.n)
            add(s, &p, &cap, a);
    }
}

static const struct shadow_place *find(const struct shadow *s, unsigned id)
{
    for (size_t i = 0; i < s->n; i++)
        if (s->v[i].id == id)
            return &s->v[i];
    return NULL;
}

/*
 * Is there a mount upon `on` at a place that the way to `wanted` leads through, other than `next`,
 * by which it goes on?
 */
static bool is_covered(const struct shadow *s, const struct shadow_place *wanted,
                       const struct shadow_place *on, const struct shadow_place *next)
{
    for (size_t i = 0; i < s->n; i++) {
        const struct shadow_place *p = &s->v[i];

        if (p->parent == on->id && p->id != on->id && p->id != next->id && is_within(wanted, p))
            return true;
    }
    return false;
}

bool shadow_hides(const struct shadow *s, const char *line)
{
    struct shadow_place wanted;
    const struct shadow_place *on = &wanted, *next = &wanted;

    if (!read_place(line, line_end(line), &wanted))
        return false;
    for (int depth = 0; on && depth < MAX_DEPTH; depth++) {
        if (is_covered(s, &wanted, on, next))
            return true;
        next = on;
        on = on->parent == on->id ? NULL : find(s, on->parent);
    }
    return false; /* by way of the root of this process, whose parent it cannot see */
}
