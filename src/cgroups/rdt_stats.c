/* SPDX-License-Identifier: Apache-2.0 */
/*
 * "intel_rdt" of `events`: Linux, Documentation/filesystems/resctrl.rst. Every file is there only
 * where the processor can do it.
 */
#include <dirent.h>
#include <stdlib.h>
#include <string.h>

#include "cgroups/internal.h"

static void add_number(struct json_out *j, const char *key, const char *dir, const char *file,
                       struct arena *a)
{
    uint64_t value;

    if (stats_number(dir, file, a, &value))
        json_add_u64(j, key, value);
}

static const char *one_line(const char *text, struct arena *a)
{
    return text ? arena_strndup(a, text, strcspn(text, "\n")) : NULL;
}

/* The line of one resource, "L3:0=fffff;1=fffff". The kernel puts spaces before it. */
static void add_schema(struct json_out *j, const char *key, const char *schemata,
                       const char *resource, struct arena *a)
{
    for (const char *line = schemata ? schemata : ""; *line;) {
        size_t len = strcspn(line, "\n"), skip = strspn(line, " ");

        if (str_starts(line + skip, resource))
            json_add_string(j, key, arena_strndup(a, line + skip, len - skip));
        line += len + (line[len] == '\n');
    }
}

static void add_schemata(struct json_out *j, const char *schemata, struct arena *a)
{
    json_open_array(j, "schemata");
    for (const char *line = schemata ? schemata : ""; *line;) {
        size_t len = strcspn(line, "\n"), skip = strspn(line, " ");

        json_add_string(j, NULL, arena_strndup(a, line + skip, len - skip));
        line += len + (line[len] == '\n');
    }
    json_close_array(j);
}

static void add_info(struct json_out *j, const char *mount, struct arena *a)
{
    const char *l3 = arena_format(a, "%s/info/L3", mount);
    const char *mb = arena_format(a, "%s/info/MB", mount);
    const char *mask = one_line(stats_text(l3, "cbm_mask", a), a);

    if (mask) {
        json_open_object(j, "l3_cache_info");
        json_add_string(j, "cbm_mask", mask);
        add_number(j, "min_cbm_bits", l3, "min_cbm_bits", a);
        add_number(j, "num_closids", l3, "num_closids", a);
        json_close_object(j);
    }
    if (!stats_text(mb, "min_bandwidth", a))
        return;
    json_open_object(j, "mem_bw_info");
    add_number(j, "bandwidth_gran", mb, "bandwidth_gran", a);
    add_number(j, "delay_linear", mb, "delay_linear", a);
    add_number(j, "min_bandwidth", mb, "min_bandwidth", a);
    add_number(j, "num_closids", mb, "num_closids", a);
    json_close_object(j);
}

static int l3_only(const struct dirent *d)
{
    return str_starts(d->d_name, "mon_L3_");
}

/* One object for each cache of the machine: mon_data/mon_L3_00, in order. */
static void add_monitors(struct json_out *j, const char *key, const char *group,
                         const char *const *files, struct arena *a)
{
    const char *data = arena_format(a, "%s/mon_data", group);
    struct dirent **caches;
    int n = scandir(data, &caches, l3_only, alphasort);

    json_open_array(j, key);
    for (int i = 0; i < n; i++) {
        const char *dir = arena_format(a, "%s/%s", data, caches[i]->d_name);

        json_open_object(j, NULL);
        for (const char *const *file = files; *file; file++)
            add_number(j, *file, dir, *file, a);
        json_close_object(j);
        free(caches[i]);
    }
    if (n >= 0)
        free(caches);
    json_close_array(j);
}

void rdt_stats_write(struct json_out *j, const char *key, const struct rdt_place *at,
                     struct arena *a)
{
    static const char *const bandwidth[] = { "mbm_total_bytes", "mbm_local_bytes", NULL };
    static const char *const occupancy[] = { "llc_occupancy", NULL };

    json_open_object(j, key);
    if (at->mount) {
        const char *root = stats_text(at->mount, "schemata", a);
        const char *own = stats_text(at->group, "schemata", a);

        add_info(j, at->mount, a);
        add_schema(j, "l3_cache_schema_root", root, "L3:", a);
        add_schema(j, "l3_cache_schema", own, "L3:", a);
        add_schema(j, "mem_bw_schema_root", root, "MB:", a);
        add_schema(j, "mem_bw_schema", own, "MB:", a);
        add_schemata(j, own, a);
        add_monitors(j, "mbm_stats", at->monitor, bandwidth, a);
        add_monitors(j, "cmt_stats", at->monitor, occupancy, a);
    }
    json_close_object(j);
}
