/* SPDX-License-Identifier: Apache-2.0 */
/* Which mount of the plan a path lies on, in time that does not grow with the number of mounts. */
#include <limits.h>
#include <string.h>

#include "rootfs/internal.h"

static uint64_t hash_of(const char *s, size_t len)
{
    uint64_t h = 0xcbf29ce484222325u; /* FNV-1a */

    for (size_t i = 0; i < len; i++)
        h = (h ^ (unsigned char)s[i]) * 0x100000001b3u;
    return h;
}

/* Place of the newest mount at these bytes, or of the free bucket for it. */
static size_t bucket_of(const struct cover *c, const char *path, size_t len)
{
    size_t i = hash_of(path, len) & (c->n_buckets - 1);

    for (;; i = (i + 1) & (c->n_buckets - 1)) {
        const char *target;

        if (c->buckets[i] < 0)
            return i;
        target = c->plan->steps[c->buckets[i]].mount.target;
        if (strncmp(target, path, len) == 0 && target[len] == '\0')
            return i;
    }
}

void cover_add(struct cover *c, int step)
{
    const struct op_mount *op = &c->plan->steps[step].mount;

    if (!(op->flags & MS_REMOUNT))
        c->buckets[bucket_of(c, op->target, strlen(op->target))] = step;
}

void cover_init(struct cover *c, const struct plan *p, const struct spec *s, size_t more)
{
    size_t mounts = more;

    for (size_t i = 0; i < p->n; i++)
        mounts += p->steps[i].op == OP_MOUNT;
    c->plan = p;
    c->seen = !mount_ns_is_new(s);
    c->links = plan_find(p, OP_SYMLINK, 0) >= 0;
    for (c->n_buckets = 16; c->n_buckets < 2 * mounts;)
        c->n_buckets *= 2;
    c->buckets = arena_array(p->arena, c->n_buckets, sizeof *c->buckets);
    for (size_t i = 0; i < c->n_buckets; i++)
        c->buckets[i] = -1;
    for (size_t i = 0; i < p->n; i++)
        if (p->steps[i].op == OP_MOUNT)
            cover_add(c, (int)i);
}

int cover_find(const struct cover *c, const char *path)
{
    int found = c->buckets[bucket_of(c, "/", 1)];

    /* From the top down: a mount further down counts only when it came later, else it is hidden. */
    for (size_t len = 1; path[len - 1] != '\0' && path[1] != '\0'; len++) {
        if (path[len] == '/' || path[len] == '\0') {
            int at = c->buckets[bucket_of(c, path, len)];

            if (at > found)
                found = at;
        }
    }
    return found;
}

int cover_at(const struct cover *c, const char *path)
{
    int found = cover_find(c, path);

    return found >= 0 && str_eq(c->plan->steps[found].mount.target, path) ? found : -1;
}

/*
 * A new instance of one of these holds what the kernel put there, or nothing. or_bind: it may have
 * become a bind of the host's. copy_up: it holds what the image wants.
 */
static bool is_fresh(const struct op_mount *op)
{
    static const char *const types[] = { "tmpfs", "proc", "sysfs" };

    if (op->flags & (MS_BIND | MS_REMOUNT) || op->or_bind || op->copy_up)
        return false;
    for (size_t i = 0; i < COUNT_OF(types); i++)
        if (str_eq(op->type, types[i]))
            return true;
    return false;
}

/* mount(2) would follow it, and to the host's files as long as "/" is the host's. */
static bool is_link(const struct cover *c, const char *path)
{
    for (int i = c->links ? plan_find(c->plan, OP_SYMLINK, 0) : -1; i >= 0;
         i = plan_find(c->plan, OP_SYMLINK, (size_t)i + 1))
        if (str_eq(c->plan->steps[i].symlink.path, path))
            return true;
    return false;
}

bool cover_fresh_child(const struct cover *c, struct plan *p, const char *path, int *slot,
                       const char **name)
{
    int step = cover_find(c, path);
    size_t len;

    if (c->seen || step < 0 || !is_fresh(&p->steps[step].mount) || is_link(c, path))
        return false;
    len = strlen(p->steps[step].mount.target);
    if (len == 1 || path[len] != '/' || strchr(path + len + 1, '/') ||
        strlen(path + len + 1) > NAME_MAX)
        return false;
    *slot = cover_slot(p, step);
    *name = path + len + 1;
    return true;
}

int cover_slot(struct plan *p, int step)
{
    struct op_mount *op = &p->steps[step].mount;

    if (op->out == SLOT_NONE)
        op->out = plan_slot(p);
    return op->out;
}
