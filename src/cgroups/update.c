/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The limits of a container that exists are changed. Everything is opened before the first write,
 * and when a write is refused, what was written before it is taken back: what the files said.
 *
 * Values that bound each other (memory and memory+swap, quota, period and burst) are accepted in
 * one order only, which depends on what was there: a write that is refused with EINVAL or EBUSY
 * is tried again as long as another one has changed something.
 */
#include <errno.h>
#include <fcntl.h>
#include <string.h>
#include <unistd.h>

#include "cgroups/internal.h"

enum { TEXT_SIZE = 16384, PATH_SIZE = 4096 };

struct change {
    const struct cgroup_write *w;
    const char *path, *value;
    const char *before; /* what takes it back; NULL: the file cannot be read */
    int fd, error;
    bool done;
};

struct cgroup_undo {
    struct change *v;
    size_t n;
    size_t *order; /* of the writes that were done */
    size_t n_done;
    int cgroup, filter, old_filter; /* fds, -1 */
};

/* ---- what there is -------------------------------------------------------------------------- */

static int read_text(struct arena *a, const char *path, const char **out)
{
    char text[TEXT_SIZE];
    AUTO_FD int fd = openat(AT_FDCWD, path, O_RDONLY | O_CLOEXEC);
    ssize_t n = fd < 0 ? -1 : read(fd, text, sizeof text);

    if (n < 0)
        return -errno;
    *out = arena_strndup(a, text, (size_t)n);
    return 0;
}

/* The line that begins with this word, NULL: none. */
static const char *line_of(struct arena *a, const char *text, const char *key)
{
    size_t len = strlen(key);

    for (const char *line = text; *line; line += strcspn(line, "\n"), line += *line == '\n')
        if (strncmp(line, key, len) == 0 && line[len] == ' ')
            return arena_strndup(a, line, strcspn(line, "\n"));
    return NULL;
}

static const char *before(struct arena *a, const struct cgroup_write *w, const char *path)
{
    const char *text, *line;

    if (read_text(a, path, &text) < 0)
        return NULL;
    if (w->key) {
        line = line_of(a, text, w->key);
        return line ? line : w->none;
    }
    line = arena_strndup(a, text, strcspn(text, "\n"));
    return line[0] ? line : "\n"; /* write(2) of nothing changes nothing */
}

static int open_change(struct change *c, const char *dir, const char *file, const char *value,
                       struct arena *a)
{
    c->path = arena_format(a, "%s/%s", dir, file);
    c->value = value;
    c->fd = openat(AT_FDCWD, c->path, O_WRONLY | O_CLOEXEC);
    return c->fd < 0 ? -errno : 0;
}

/* 1: there is something to write; 0: no such file, which is fine. */
static int prepare(const struct cgroup_write *w, struct change *c, struct arena *a, struct err *e)
{
    int r;

    *c = (struct change){ .w = w, .fd = -1 };
    r = open_change(c, w->dir, w->file, w->value, a);
    if (r == -ENOENT && w->or_file) {
        const char *first = c->path;

        r = open_change(c, w->dir, w->or_file, w->or_value, a);
        c->path = r == -ENOENT ? first : c->path;
    }
    if (r == -ENOENT && w->optional)
        return 0;
    if (r < 0) {
        err_at(e, w->pointer, -r, "cannot open '%s'", c->path);
        if (r == -ENOENT)
            err_hint(e, "this kernel's controller has no such file");
        return r;
    }
    c->before = before(a, w, c->path);
    return 1;
}

/* ---- writing -------------------------------------------------------------------------------- */

static void write_one(struct cgroup_undo *u, size_t i)
{
    struct change *c = &u->v[i];

    c->error = pwrite(c->fd, c->value, strlen(c->value), 0) < 0 ? errno : 0;
    if (c->error == 0) {
        c->done = true;
        u->order[u->n_done++] = i;
    }
}

static bool may_come_later(int error)
{
    return error == EINVAL || error == EBUSY;
}

/* The first change that stays refused, NULL: all are done. */
static const struct change *write_all(struct cgroup_undo *u)
{
    const struct change *refused;
    size_t before_round;

    do {
        before_round = u->n_done;
        refused = NULL;
        for (size_t i = 0; i < u->n; i++) {
            if (u->v[i].done)
                continue;
            write_one(u, i);
            if (u->v[i].error && !may_come_later(u->v[i].error))
                return &u->v[i];
            if (u->v[i].error && !refused)
                refused = &u->v[i];
        }
    } while (refused && u->n_done > before_round);
    return refused;
}

/* Backwards, and again while that helps. How many files keep what they have. */
static size_t take_back(struct cgroup_undo *u)
{
    size_t left = u->n_done, last;

    do {
        last = left;
        left = 0;
        for (size_t i = u->n_done; i-- > 0;) {
            struct change *c = &u->v[u->order[i]];

            if (c->done && c->before &&
                pwrite(c->fd, c->before, strlen(c->before), 0) == (ssize_t)strlen(c->before))
                c->done = false;
            left += c->done;
        }
    } while (left > 0 && left < last);
    return left;
}

static const char *sibling(struct arena *a, const struct change *c, const char *name)
{
    const char *text;

    if (read_text(a, arena_format(a, "%s/%s", c->w->dir, name), &text) < 0)
        return "unknown";
    return arena_strndup(a, text, strcspn(text, "\n"));
}

/* runc's words, which engines show to people. */
static int tell_refused(const struct change *c, struct arena *a, struct err *e)
{
    if (c->error == EBUSY && str_eq(c->w->file, "memory.limit_in_bytes"))
        err_at(e, c->w->pointer, 0,
               "unable to set memory limit to %s (current usage: %s, peak usage: %s)", c->value,
               sibling(a, c, "memory.usage_in_bytes"), sibling(a, c, "memory.max_usage_in_bytes"));
    else
        err_at(e, c->w->pointer, c->error, "cannot write '%s' to '%s'", c->value, c->path);
    return -c->error;
}

/* ---- controllers, usage --------------------------------------------------------------------- */

static int enable(const struct cgroup_facts *f, const struct cgroup_writes *w, struct arena *a,
                  struct err *e)
{
    for (size_t i = 0; i < f->n; i++) {
        const struct cgroup_hierarchy *h = &f->v[i];

        for (unsigned depth = 0; h->v2 && depth < h->n_subtree; depth++) {
            const char *missing = cgroup_to_enable(h, depth, w, a);
            const char *path = arena_format(a, "%s/cgroup.subtree_control",
                                            cgroup_ancestor(h, depth, a));
            int r = missing[0] ? file_write_once(AT_FDCWD, path, missing, strlen(missing)) : 0;

            if (r < 0)
                return err_at(e, "/linux/resources", -r, "cannot write '%s' to '%s'", missing,
                              path);
        }
    }
    return 0;
}

/* config-linux.md "Memory": checkBeforeUpdate. */
static int check_usage(const struct cgroup_facts *f, const struct spec_resources *merged,
                       const struct spec_resources *asked, struct arena *a, struct err *e)
{
    const struct cgroup_hierarchy *h = cgroup_of_controller(f, "memory");
    const char *path, *text;
    uint64_t usage, limit = (uint64_t)asked->memory.limit.v;
    int r;

    if (!merged->memory.check_before_update.v || !asked->memory.limit.set ||
        asked->memory.limit.v <= 0 || !h)
        return 0;
    path = arena_format(a, "%s/%s", h->path, h->v2 ? "memory.current" : "memory.usage_in_bytes");
    r = read_text(a, path, &text);
    if (r < 0)
        return err_set(e, -r, "cannot read '%s'", path);
    if (str_to_u64(arena_strndup(a, text, strcspn(text, "\n")), &usage) == 0 && limit < usage)
        return err_at(e, "/linux/resources/memory/limit", 0,
                      "rejecting memory limit %lu, because %lu bytes are in use "
                      "(checkBeforeUpdate)",
                      (unsigned long)limit, (unsigned long)usage);
    return 0;
}

/* ---- devices -------------------------------------------------------------------------------- */

static int load_filter(const struct spec_resources *r, struct arena *a, struct err *e)
{
    struct device_rules rules;
    const struct bpf_insn *program;
    size_t n;
    int fd = device_rules_of(r->devices, r->n_devices, a, &rules, e);

    if (fd < 0)
        return fd;
    program = device_program(&rules, a, &n, e);
    fd = program ? device_filter_load(program, n) : -E2BIG;
    if (fd < 0 && program)
        return err_at(e, "/linux/resources/devices", -fd,
                      "cannot load the program that filters device access: bpf");
    return fd;
}

static const struct cgroup_hierarchy *v2_of(const struct cgroup_facts *f)
{
    for (size_t i = 0; i < f->n; i++)
        if (f->v[i].v2)
            return &f->v[i];
    return NULL;
}

static int prepare_devices(const struct cgroup_facts *f, const struct spec_resources *merged,
                           const struct spec_resources *earlier, struct arena *a,
                           struct cgroup_undo *u, struct err *e)
{
    const struct cgroup_hierarchy *h = v2_of(f);

    if (!h)
        return err_at(e, "/linux/resources/devices", 0,
                      "device rules of a container that runs can be changed on cgroup v2 only: v1 "
                      "has no way to do it at once");
    u->cgroup = openat(AT_FDCWD, h->path, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
    if (u->cgroup < 0)
        return err_set(e, errno, "cannot open the cgroup '%s'", h->path);
    u->old_filter = load_filter(earlier, a, e);
    u->filter = u->old_filter < 0 ? u->old_filter : load_filter(merged, a, e);
    return u->filter < 0 ? u->filter : 0;
}

static int replace_filter(const struct cgroup_undo *u, struct err *e)
{
    int r = u->filter < 0 ? 0 : device_filter_replace(u->cgroup, u->filter);

    if (r < 0)
        err_at(e, "/linux/resources/devices", -r, "cannot replace the device filter: bpf");
    if (r == -ENOENT)
        err_hint(e, "the container was started without one of teca's");
    return r;
}

/* ---- the whole ------------------------------------------------------------------------------ */

static int prepare_all(const struct cgroup_facts *f, const struct cgroup_update *update,
                       struct arena *a, struct cgroup_undo *u, struct err *e)
{
    struct cgroup_writes *w = arena_alloc(a, sizeof *w); /* the changes point into it */
    int r = cgroup_compile_writes(update->merged, update->asked, f, a, w, e);

    if (r == 0)
        r = check_usage(f, update->merged, update->asked, a, e);
    if (r == 0 && update->devices)
        r = prepare_devices(f, update->merged, update->earlier, a, u, e);
    if (r == 0)
        r = enable(f, w, a, e);
    u->v = arena_array(a, w->n, sizeof *u->v);
    u->order = arena_array(a, w->n, sizeof *u->order);
    for (size_t i = 0; i < w->n && r >= 0; i++) {
        r = prepare(&w->v[i], &u->v[u->n], a, e);
        u->n += r > 0;
    }
    return r < 0 ? r : 0;
}

void cgroup_update_undo(struct cgroup_undo *u, struct err *e)
{
    size_t left = take_back(u);

    if (u->filter >= 0 && device_filter_replace(u->cgroup, u->old_filter) < 0)
        left++;
    if (left > 0)
        err_hint(e, "%zu of the limits could not be taken back", left);
    cgroup_update_end(u);
}

void cgroup_update_end(struct cgroup_undo *u)
{
    for (size_t i = 0; i < u->n; i++)
        fd_cleanup(&u->v[i].fd);
    fd_cleanup(&u->cgroup);
    fd_cleanup(&u->filter);
    fd_cleanup(&u->old_filter);
}

int cgroup_update(const struct cgroup_facts *f, const struct cgroup_update *update, struct arena *a,
                  struct cgroup_undo **out, struct err *e)
{
    struct cgroup_undo *u = arena_alloc(a, sizeof *u);
    const struct change *refused;
    int r;

    u->cgroup = u->filter = u->old_filter = -1;
    r = prepare_all(f, update, a, u, e);
    if (r < 0) {
        cgroup_update_end(u);
        return r;
    }
    refused = write_all(u);
    r = refused ? tell_refused(refused, a, e) : replace_filter(u, e);
    if (r < 0) {
        fd_cleanup(&u->filter); /* the one that was there still is */
        cgroup_update_undo(u, e);
        return r;
    }
    *out = u;
    return 0;
}
