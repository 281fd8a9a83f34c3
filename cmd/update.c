/* SPDX-License-Identifier: Apache-2.0 */
/* The flags of `update` as a "resources" object, or a file that holds one. */
#include "cmd.h"

#include <errno.h>
#include <fcntl.h>
#include <string.h>
#include <unistd.h>

enum { RESOURCES_MAX_BYTES = 16 << 20 };

enum number_kind { SIGNED, UNSIGNED, BYTES };

struct number_flag {
    const char *flag, *group, *key;
    enum number_kind kind;
    const char *value;
};

int cmd_bytes(const char *text, int64_t *out)
{
    static const char units[] = "bkmgt";
    char digits[24];
    size_t len = strlen(text);
    const char *unit = len ? strchr(units, text[len - 1] | 0x20) : NULL;
    unsigned shift = unit && *unit ? (unsigned)(unit - units) * 10 : 0;
    int64_t value;
    int r;

    len -= unit && *unit;
    if (len >= sizeof digits)
        return -ERANGE;
    memcpy(digits, text, len);
    digits[len] = '\0';
    r = str_to_i64(digits, &value);
    if (r < 0)
        return r;
    if (value < -1 || value > INT64_MAX >> shift)
        return -ERANGE;
    *out = value < 0 ? -1 : value << shift;
    return 0;
}

static int add_number(struct json_out *j, const struct number_flag *f, struct err *e)
{
    uint64_t u = 0;
    int64_t i = 0;
    int r;

    if (f->kind == UNSIGNED)
        r = str_to_u64(f->value, &u);
    else
        r = f->kind == BYTES ? cmd_bytes(f->value, &i) : str_to_i64(f->value, &i);
    if (r < 0)
        return err_set(e, 0, "invalid value \"%s\" for --%s", f->value, f->flag);
    if (f->kind == UNSIGNED)
        json_add_u64(j, f->key, u);
    else
        json_add_i64(j, f->key, i);
    return 0;
}

static int add_group(struct json_out *j, const char *group, const struct number_flag *flags,
                     size_t n, const struct cmd_update *u, struct err *e)
{
    int r = 0;

    json_open_object(j, group);
    for (size_t i = 0; i < n && r == 0; i++)
        if (flags[i].value && str_eq(flags[i].group, group))
            r = add_number(j, &flags[i], e);
    if (str_eq(group, "cpu") && u->cpuset_cpus)
        json_add_string(j, "cpus", u->cpuset_cpus);
    if (str_eq(group, "cpu") && u->cpuset_mems)
        json_add_string(j, "mems", u->cpuset_mems);
    json_close_object(j);
    return r;
}

static int resources_of_flags(const struct cmd_update *u, struct arena *a, const char **out,
                              struct err *e)
{
    const struct number_flag flags[] = {
        { "blkio-weight", "blockIO", "weight", UNSIGNED, u->blkio_weight },
        { "cpu-period", "cpu", "period", UNSIGNED, u->cpu_period },
        { "cpu-quota", "cpu", "quota", SIGNED, u->cpu_quota },
        { "cpu-burst", "cpu", "burst", UNSIGNED, u->cpu_burst },
        { "cpu-share", "cpu", "shares", UNSIGNED, u->cpu_share },
        { "cpu-rt-period", "cpu", "realtimePeriod", UNSIGNED, u->cpu_rt_period },
        { "cpu-rt-runtime", "cpu", "realtimeRuntime", SIGNED, u->cpu_rt_runtime },
        { "cpu-idle", "cpu", "idle", SIGNED, u->cpu_idle },
        { "memory", "memory", "limit", BYTES, u->memory },
        { "memory-reservation", "memory", "reservation", BYTES, u->memory_reservation },
        { "memory-swap", "memory", "swap", BYTES, u->memory_swap },
        { "pids-limit", "pids", "limit", SIGNED, u->pids_limit },
    };
    static const char *const groups[] = { "blockIO", "cpu", "memory", "pids" };
    struct json_out *j = json_out_in(a, false);
    int r = 0;

    json_open_object(j, NULL);
    for (size_t i = 0; i < COUNT_OF(groups) && r == 0; i++) {
        bool given = str_eq(groups[i], "cpu") && (u->cpuset_cpus || u->cpuset_mems);

        for (size_t k = 0; k < COUNT_OF(flags); k++)
            given |= flags[k].value && str_eq(flags[k].group, groups[i]);
        if (given)
            r = add_group(j, groups[i], flags, COUNT_OF(flags), u, e);
    }
    json_close_object(j);
    *out = json_out_text(j, NULL);
    return r;
}

static int read_stdin(struct arena *a, const char **out, struct err *e)
{
    size_t cap = 65536, len = 0;
    char *text = arena_alloc(a, cap);
    ssize_t n;

    while ((n = read(STDIN_FILENO, text + len, cap - 1 - len)) > 0 || (n < 0 && errno == EINTR)) {
        len += n > 0 ? (size_t)n : 0;
        if (len > RESOURCES_MAX_BYTES)
            return err_set(e, EFBIG, "cannot read the resources from stdin");
        if (len == cap - 1)
            text = arena_grow(a, text, len, &cap, 1);
    }
    if (n < 0)
        return err_set(e, errno, "cannot read the resources from stdin");
    text[len] = '\0';
    if (strlen(text) != len)
        return err_set(e, 0, "the resources on stdin hold a NUL byte");
    *out = text;
    return 0;
}

static int read_resources(const char *file, struct arena *a, const char **out, struct err *e)
{
    char *text;
    size_t len;
    int r;

    if (str_eq(file, "-"))
        return read_stdin(a, out, e);
    r = file_read(a, AT_FDCWD, file, RESOURCES_MAX_BYTES, &text, &len, e);
    if (r == 0 && strlen(text) != len)
        return err_set(e, 0, "'%s' holds a NUL byte", file);
    *out = text;
    return r;
}

/* engine-contract 1.3.12: these two are ignored, and that is said. */
static void remark_ignored(const struct cmd_update *u)
{
    if (u->kernel_memory)
        cmd_remark("--kernel-memory is ignored: Linux has no such limit since 5.16");
    if (u->kernel_memory_tcp)
        cmd_remark("--kernel-memory-tcp is ignored");
}

int cmd_update(const struct cmd *c, int *status, struct err *e)
{
    const struct cmd_update *u = &c->o.update;
    struct container_update_options o = { 0 };
    const char *root;
    int r = container_root(&c->o.container, c->arena, &root, e);

    (void)status;
    if (r == 0)
        r = u->resources ? read_resources(u->resources, c->arena, &o.resources, e)
                         : resources_of_flags(u, c->arena, &o.resources, e);
    if (r < 0)
        return r;
    if (!u->resources) {
        remark_ignored(u);
        o.l3_schema = u->l3_cache_schema;
        o.mem_bw_schema = u->mem_bw_schema;
    }
    return container_update(root, c->args[0], &o, c->arena, e);
}
