/* SPDX-License-Identifier: Apache-2.0 */
/*
 * What the files of the container's cgroups count: what v1 and v2 have in common. The kernel writes
 * these texts; only names of devices come from elsewhere, and they are copied, never interpreted.
 */
#include <dirent.h>
#include <fcntl.h>
#include <string.h>
#include <unistd.h>

#include "cgroups/internal.h"

enum {
    TEXT_MAX = 4 << 20, /* a line for each processor or block device */
    FIRST = 16,
    RANGES_MAX = 1 << 16, /* processors or nodes in a list */
};

const char *stats_text(const char *dir, const char *name, struct arena *a)
{
    char *text;
    int r = file_read(a, AT_FDCWD, arena_format(a, "%s/%s", dir, name), TEXT_MAX, &text, NULL,
                      NULL);

    return r < 0 ? NULL : text;
}

bool stats_take_number(const char **at, uint64_t *out)
{
    const char *c = *at;
    uint64_t n = 0;

    if (strncmp(c, "max", 3) == 0) {
        *at = c + 3;
        *out = UINT64_MAX;
        return true;
    }
    for (; *c >= '0' && *c <= '9'; c++)
        if (__builtin_mul_overflow(n, 10, &n) || __builtin_add_overflow(n, *c - '0', &n))
            return false;
    if (c == *at)
        return false;
    *at = c;
    *out = n;
    return true;
}

bool stats_number(const char *dir, const char *name, struct arena *a, uint64_t *out)
{
    const char *text = stats_text(dir, name, a);

    return text && stats_take_number(&text, out);
}

static const char *next_line(const char *line)
{
    line += strcspn(line, "\n");
    return line + (*line == '\n');
}

uint64_t stats_keyed(const char *text, const char *name)
{
    size_t len = strlen(name);
    uint64_t n;

    for (const char *line = text ? text : ""; *line; line = next_line(line)) {
        const char *at = line + len + 1;

        if (strncmp(line, name, len) == 0 && line[len] == ' ' && stats_take_number(&at, &n))
            return n;
    }
    return 0;
}

void stats_memory_raw(struct cgroup_stats *s, const char *text, struct arena *a)
{
    size_t cap = FIRST;

    s->memory.raw = arena_array(a, cap, sizeof *s->memory.raw);
    for (const char *line = text ? text : ""; *line; line = next_line(line)) {
        size_t len = strcspn(line, " \n");
        const char *at = line + len + 1;
        uint64_t value;

        if (line[len] != ' ' || !stats_take_number(&at, &value))
            continue;
        if (s->memory.n_raw == cap)
            s->memory.raw = arena_grow(a, s->memory.raw, s->memory.n_raw, &cap,
                                       sizeof *s->memory.raw);
        s->memory.raw[s->memory.n_raw++] = (struct cgroup_memory_count){
            arena_strndup(a, line, len), value
        };
    }
}

struct cgroup_numbers stats_ranges(const char *text, struct arena *a)
{
    size_t cap = FIRST, n = 0;
    uint64_t *v = arena_array(a, cap, sizeof *v), first, last;

    while (text && stats_take_number(&text, &first)) {
        last = first;
        if (*text == '-' && (text++, !stats_take_number(&text, &last)))
            break;
        for (; first <= last && n < RANGES_MAX; first++) {
            if (n == cap)
                v = arena_grow(a, v, n, &cap, sizeof *v);
            v[n++] = first;
        }
        text += *text == ',';
    }
    return (struct cgroup_numbers){ v, n };
}

/* The page sizes depend on the machine: "hugetlb.2MB.current". */
void stats_hugetlb(const char *dir, const char *suffix, struct cgroup_stats *s, struct arena *a)
{
    static const char prefix[] = "hugetlb.";
    size_t cap = FIRST;
    const struct dirent *entry;
    DIR *d = opendir(dir);

    if (!d)
        return;
    s->hugetlb = arena_array(a, cap, sizeof *s->hugetlb);
    while ((entry = readdir(d))) {
        const char *size = entry->d_name + strlen(prefix);
        size_t len = strcspn(size, ".");

        if (!str_starts(entry->d_name, prefix) || !str_eq(size + len, suffix))
            continue;
        if (s->n_hugetlb == cap)
            s->hugetlb = arena_grow(a, s->hugetlb, s->n_hugetlb, &cap, sizeof *s->hugetlb);
        s->hugetlb[s->n_hugetlb++] = (struct cgroup_hugetlb){ .size = arena_strndup(a, size, len) };
    }
    closedir(d);
}

/* "mlx4_0 hca_handle=2 hca_object=max": Linux, Documentation/admin-guide/cgroup-v1/rdma.rst. */
void stats_rdma(const char *text, struct arena *a, struct cgroup_rdma **out, size_t *n)
{
    size_t cap = FIRST;
    struct cgroup_rdma *v = arena_array(a, cap, sizeof *v);

    *n = 0;
    for (const char *line = text ? text : ""; *line; line = next_line(line)) {
        size_t len = strcspn(line, " \n");
        const char *copy = arena_strndup(a, line, strcspn(line, "\n"));
        const char *handles = strstr(copy, " hca_handle="), *objects = strstr(copy, " hca_object=");

        if (!handles || !objects)
            continue;
        if (*n == cap)
            v = arena_grow(a, v, *n, &cap, sizeof *v);
        handles += strlen(" hca_handle=");
        objects += strlen(" hca_object=");
        v[*n] = (struct cgroup_rdma){ .device = arena_strndup(a, line, len) };
        if (stats_take_number(&handles, &v[*n].handles) &&
            stats_take_number(&objects, &v[*n].objects))
            ++*n;
    }
    *out = v;
}

void stats_add_io(struct cgroup_io *io, size_t *cap, const struct cgroup_io_entry *entry,
                  struct arena *a)
{
    if (!io->v) {
        *cap = FIRST;
        io->v = arena_array(a, *cap, sizeof *io->v);
    }
    if (io->n == *cap)
        io->v = arena_grow(a, io->v, io->n, cap, sizeof *io->v);
    io->v[io->n++] = *entry;
}

void cgroup_stats_read(const char *const *paths, size_t n, struct arena *a,
                       struct cgroup_stats *out)
{
    *out = (struct cgroup_stats){ 0 };
    for (int v2 = 0; v2 < 2; v2++) {
        for (size_t i = 0; i < n; i++) {
            /* In every v2 cgroup but the root, and in none of v1 (cgroups(7)). */
            const char *type = arena_format(a, "%s/cgroup.controllers", paths[i]);

            if ((faccessat(AT_FDCWD, type, F_OK, 0) == 0) != v2)
                continue;
            if (v2)
                stats_read_v2(paths[i], a, out);
            else
                stats_read_v1(paths[i], a, out);
        }
    }
}
