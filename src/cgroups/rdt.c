/* SPDX-License-Identifier: Apache-2.0 */
/*
 * linux.intelRdt: cache and memory bandwidth classes in the resctrl file system, which works like a
 * cgroup hierarchy (Linux Documentation/filesystems/resctrl.rst). Runtime lane only.
 */
#include <ctype.h>
#include <errno.h>
#include <fcntl.h>
#include <stdlib.h>
#include <string.h>
#include <strings.h>
#include <sys/stat.h>
#include <unistd.h>

#include "cgroups/internal.h"

enum { PATH_SIZE = 4096, SCHEMATA_SIZE = 16384 };

/* ---- gather -------------------------------------------------------------------------------- */

/* Where resctrl is mounted: field 5 of the line whose type it is, proc_pid_mountinfo(5). */
const char *rdt_find_mount(const char *mountinfo, struct arena *a)
{
    const char *type = strstr(mountinfo, " - resctrl ");
    const char *line = type;

    if (!type)
        return NULL;
    while (line > mountinfo && line[-1] != '\n')
        line--;
    for (int field = 1; field < 5; field++)
        line = strchr(line, ' ') + 1;
    return arena_strndup(a, line, strcspn(line, " "));
}

/* ---- compile ------------------------------------------------------------------------------- */

/* One or two lines, or NULL: l3CacheSchema and memBwSchema go into the file together. */
static const char *combined_schema(struct plan *p, const struct spec *s)
{
    const char *l3 = s->linux.intel_rdt.l3_cache_schema, *mb = s->linux.intel_rdt.mem_bw_schema;

    if (l3 && mb && !str_starts(l3, "MB:"))
        return arena_format(p->arena, "%s\n%s\n", l3, mb);
    return l3 || mb ? arena_format(p->arena, "%s\n", mb ? mb : l3) : NULL;
}

static const char *joined_schemata(struct plan *p, const struct strs *lines)
{
    const char *text = NULL;

    for (size_t i = 0; i < lines->n; i++)
        text = arena_format(p->arena, "%s%s\n", text ? text : "", lines->v[i]);
    return text;
}

static void add_schemata(struct plan *p, const char *pointer, const char *dir, const char *text)
{
    struct step *st;

    if (!text)
        return;
    st = plan_add(p, OP_RDT_SCHEMATA, LANE_RUNTIME, pointer);
    st->rdt_schemata.path = dir;
    st->rdt_schemata.text = text;
}

static struct op_rdt_group *add_group(struct plan *p, const char *pointer, const char *path)
{
    struct op_rdt_group *op = &plan_add(p, OP_RDT_GROUP, LANE_RUNTIME, pointer)->rdt_group;

    op->path = path;
    op->made = plan_slot(p);
    return op;
}

/* The directory of the class of service; the root is the default class. */
static const char *class_dir(struct plan *p, const char *root, const char *clos, const char *id)
{
    if (clos && str_eq(clos, "/"))
        return root;
    return arena_format(p->arena, "%s/%s", root, clos ? clos : id);
}

int rdt_compile_make(struct plan *p, const struct spec *s, const struct cgroup_facts *f,
                     const char *id, struct err *e)
{
    const char *clos = s->linux.intel_rdt.clos_id, *schema, *schemata, *dir;
    struct op_rdt_group *op;

    if (!s->linux.intel_rdt.set)
        return 0;
    if (!f->resctrl)
        return err_at(e, "/linux/intelRdt", 0,
                      "no resctrl file system is mounted on this host (mount -t resctrl resctrl "
                      "/sys/fs/resctrl, on a CPU that has Intel RDT)");
    schema = combined_schema(p, s);
    schemata = joined_schemata(p, &s->linux.intel_rdt.schemata);
    dir = class_dir(p, f->resctrl, clos, id);
    if (!str_eq(dir, f->resctrl)) {
        op = add_group(p, "/linux/intelRdt/closID", dir);
        op->make = !clos || schema || schemata;
        op->own = !clos;
        op->schema = clos ? schema : NULL;
    }
    add_schemata(p, "/linux/intelRdt", dir, schema);
    add_schemata(p, "/linux/intelRdt/schemata", dir, schemata);
    if (s->linux.intel_rdt.enable_monitoring.v) {
        op = add_group(p, "/linux/intelRdt/enableMonitoring",
                       arena_format(p->arena, "%s/mon_groups/%s", dir, id));
        op->make = op->own = true;
    }
    return 0;
}

static void add_join(struct plan *p, const char *path, int pid_slot)
{
    struct step *st = plan_add(p, OP_RDT_JOIN, LANE_RUNTIME, "/linux/intelRdt");

    st->rdt_join.path = path;
    st->rdt_join.pid = pid_slot;
}

void rdt_compile_join(struct plan *p, const struct spec *s, const struct cgroup_facts *f,
                      const char *id, int pid_slot)
{
    const char *dir;

    if (!s->linux.intel_rdt.set)
        return;
    dir = class_dir(p, f->resctrl, s->linux.intel_rdt.clos_id, id);
    add_join(p, dir, pid_slot);
    if (s->linux.intel_rdt.enable_monitoring.v)
        add_join(p, arena_format(p->arena, "%s/mon_groups/%s", dir, id), pid_slot);
}

/* ---- schemata ------------------------------------------------------------------------------ */

static const char *skip_blanks(const char *at, const char *end)
{
    while (at < end && (*at == ' ' || *at == '\t'))
        at++;
    return at;
}

/* Numbers in any base compare alike without their leading zeros. */
static bool same_value(const char *a, size_t a_len, const char *b, size_t b_len)
{
    while (a_len > 1 && *a == '0')
        a++, a_len--;
    while (b_len > 1 && *b == '0')
        b++, b_len--;
    return a_len == b_len && strncasecmp(a, b, a_len) == 0;
}

/* "0=ff;1=f": the value of `id` in [at, end), NULL: it has none. */
static const char *value_of(const char *at, const char *end, const char *id, size_t id_len,
                            size_t *len)
{
    while (at < end) {
        const char *next = memchr(at, ';', (size_t)(end - at));
        const char *stop = next ? next : end;
        const char *equals = memchr(at, '=', (size_t)(stop - at));

        at = skip_blanks(at, stop);
        if (equals && same_value(at, (size_t)(equals - at), id, id_len)) {
            *len = (size_t)(stop - equals - 1);
            return equals + 1;
        }
        at = next ? next + 1 : end;
    }
    return NULL;
}

/* The part behind the colon of the line of this resource. */
static const char *line_of(const char *text, const char *resource, size_t len, const char **end)
{
    while (*text) {
        const char *stop = text + strcspn(text, "\n");
        const char *at = skip_blanks(text, stop);

        if ((size_t)(stop - at) > len && !strncmp(at, resource, len) && at[len] == ':') {
            *end = stop;
            return at + len + 1;
        }
        text = *stop ? stop + 1 : stop;
    }
    return NULL;
}

static bool line_matches(const char *line, const char *end, const char *file)
{
    const char *colon = memchr(line, ':', (size_t)(end - line)), *at, *has, *has_end;

    if (!colon)
        return false;
    has = line_of(file, line, (size_t)(colon - line), &has_end);
    if (!has)
        return false;
    for (at = colon + 1; at < end;) {
        const char *next = memchr(at, ';', (size_t)(end - at));
        const char *stop = next ? next : end;
        const char *equals = memchr(at, '=', (size_t)(stop - at));
        const char *value;
        size_t len = 0;

        if (!equals)
            return false;
        value = value_of(has, has_end, at, (size_t)(equals - at), &len);
        if (!value || !same_value(equals + 1, (size_t)(stop - equals - 1), value, len))
            return false;
        at = next ? next + 1 : end;
    }
    return true;
}

bool rdt_schema_matches(const char *wanted, const char *file)
{
    while (*wanted) {
        const char *end = wanted + strcspn(wanted, "\n");

        if (!line_matches(wanted, end, file))
            return false;
        wanted = *end ? end + 1 : end;
    }
    return true;
}

/* ---- execute ------------------------------------------------------------------------------- */

static int read_file(const char *dir, const char *name, char *text, size_t size)
{
    char path[PATH_SIZE];
    AUTO_FD int fd = -1;
    ssize_t n;

    base_format(path, sizeof path, "%s/%s", dir, name);
    fd = openat(AT_FDCWD, path, O_RDONLY | O_CLOEXEC);
    n = fd < 0 ? -1 : read(fd, text, size - 1);
    if (n < 0)
        return -errno;
    text[n] = '\0';
    return 0;
}

static int check_schema(const struct op_rdt_group *op, struct err *e)
{
    char text[SCHEMATA_SIZE];
    int r;

    if (!op->schema)
        return 0;
    r = read_file(op->path, "schemata", text, sizeof text);
    if (r < 0)
        return err_set(e, -r, "cannot read '%s/schemata'", op->path);
    if (rdt_schema_matches(op->schema, text))
        return 0;
    return err_set(e, 0, "the class '%s' exists and its schemata differ from the configuration's",
                   op->path);
}

static int step_group(const struct op_rdt_group *op, struct slots *slots, struct err *e)
{
    struct stat st;

    if (op->make && mkdir(op->path, 0755) == 0) {
        slots->value[op->made] = 1;
        return 0;
    }
    if (op->make && (errno != EEXIST || op->own)) {
        int error = errno;

        err_set(e, error, "cannot make '%s'", op->path);
        if (error == ENOSPC)
            err_hint(e, "the CPU has no class of service or monitoring id left");
        return -error;
    }
    if (stat(op->path, &st) < 0 || !S_ISDIR(st.st_mode))
        return err_set(e, ENOENT,
                       "without a schema the class has to be there already, but '%s' is not",
                       op->path);
    return check_schema(op, e);
}

/* The kernel tells in a file of its own what it has against a schema. */
static int step_schemata(const struct op_rdt_schemata *op, struct err *e)
{
    char path[PATH_SIZE], reason[256];
    int r;

    base_format(path, sizeof path, "%s/schemata", op->path);
    r = file_write_once(AT_FDCWD, path, op->text, strlen(op->text));
    if (r == 0)
        return 0;
    err_set(e, -r, "cannot write '%.*s' to '%s'", (int)strcspn(op->text, "\n"), op->text, path);
    /* It lies in the root of the file system, which may be the class itself. */
    base_format(path, sizeof path, "%.*s", (int)(strrchr(op->path, '/') - op->path), op->path);
    if (read_file(op->path, "info/last_cmd_status", reason, sizeof reason) == 0 ||
        read_file(path, "info/last_cmd_status", reason, sizeof reason) == 0) {
        reason[strcspn(reason, "\n")] = '\0';
        err_hint(e, "%s", reason);
    }
    return r;
}

static int step_join(const struct op_rdt_join *op, const struct slots *slots, struct err *e)
{
    char path[PATH_SIZE], text[24];
    size_t len = base_format(text, sizeof text, "%d", slots->value[op->pid]);
    int r;

    base_format(path, sizeof path, "%s/tasks", op->path);
    r = file_write_once(AT_FDCWD, path, text, len);
    return r < 0 ? err_set(e, -r, "cannot write the container's process to '%s'", path) : 0;
}

/* made: only when this slot tells that the same process has made it. */
static int step_remove(const struct op_rdt_remove *op, const struct slots *slots, struct err *e)
{
    if (op->made >= 0 && slots->value[op->made] < 0)
        return 0;
    if (rmdir(op->path) < 0 && errno != ENOENT)
        return err_set(e, errno, "cannot remove '%s'", op->path);
    return 0;
}

int rdt_step(const struct step *st, struct slots *slots, struct err *e)
{
    switch ((int)st->op) { /* as int: the other operations are others' */
    case OP_RDT_GROUP:
        return step_group(&st->rdt_group, slots, e);
    case OP_RDT_SCHEMATA:
        return step_schemata(&st->rdt_schemata, e);
    case OP_RDT_JOIN:
        return step_join(&st->rdt_join, slots, e);
    case OP_RDT_REMOVE:
        return step_remove(&st->rdt_remove, slots, e);
    default:
        return err_set(e, ENOSYS, "'%s' is no step of resctrl", plan_op_name(st->op));
    }
}
