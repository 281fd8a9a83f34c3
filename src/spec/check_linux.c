/* SPDX-License-Identifier: Apache-2.0 */
/* config-linux.md, without resources and seccomp, which have files of their own. */
#include "spec/internal.h"

#include <string.h>

/* ---- namespaces --------------------------------------------------------------------------- */

static void check_namespaces(struct spec_checker *c)
{
    const struct spec_linux *l = &c->s->linux;
    bool seen[SPEC_NS_COUNT] = { false };

    for (size_t i = 0; i < l->n_namespaces; i++) {
        const char *pointer = spec_at(c, "/linux/namespaces/%zu", i);
        enum spec_ns type = l->namespaces[i].type;

        if (spec_is_known(c, pointer))
            continue;
        if (seen[type])
            spec_bad(c, pointer, "the %s namespace is listed twice", spec_ns_name(type));
        seen[type] = true;
    }
}

static bool maps_id(const struct spec_id_maps *maps, uint32_t id)
{
    for (size_t i = 0; i < maps->n; i++) {
        if (id >= maps->v[i].container_id && id - maps->v[i].container_id < maps->v[i].size)
            return true;
    }
    return false;
}

/* setuid(2) and setgroups(2) refuse what the new user namespace does not map. */
static void check_user_is_mapped(struct spec_checker *c)
{
    const struct spec_user *u = &c->s->process.user;
    const struct spec_linux *l = &c->s->linux;

    if (!maps_id(&l->uid_mappings, u->uid))
        spec_bad(c, "/process/user/uid", "%u is not in /linux/uidMappings", u->uid);
    if (!maps_id(&l->gid_mappings, u->gid))
        spec_bad(c, "/process/user/gid", "%u is not in /linux/gidMappings", u->gid);
    for (size_t i = 0; i < u->additional_gids.n; i++) {
        if (!maps_id(&l->gid_mappings, u->additional_gids.v[i])) {
            spec_bad(c, spec_at(c, "/process/user/additionalGids/%zu", i),
                     "%u is not in /linux/gidMappings", u->additional_gids.v[i]);
        }
    }
}

static void check_user_namespace(struct spec_checker *c)
{
    const struct spec_linux *l = &c->s->linux;
    const struct spec_namespace *user = spec_namespace_of(c->s, SPEC_NS_USER);
    size_t n_uid = l->uid_mappings.n, n_gid = l->gid_mappings.n;

    spec_check_id_maps(c, &l->uid_mappings, "/linux/uidMappings");
    spec_check_id_maps(c, &l->gid_mappings, "/linux/gidMappings");
    if (!user) {
        if (n_uid || n_gid) {
            spec_bad(c, n_uid ? "/linux/uidMappings" : "/linux/gidMappings",
                     "user namespace mappings specified, but there is no user namespace in "
                     "/linux/namespaces");
        }
        return;
    }
    if (user->path)
        return; /* its maps are known to the host only */
    if (!n_uid && !n_gid) {
        spec_bad(c, "/linux/namespaces",
                 "user namespaces enabled, but no namespace path to join "
                 "nor mappings to apply specified");
    } else if (!n_uid || !n_gid) {
        spec_bad(c, n_uid ? "/linux/gidMappings" : "/linux/uidMappings",
                 "uidMappings and gidMappings must be given together");
    } else if (c->s->process.set) {
        check_user_is_mapped(c);
    }
}

/* config-linux.md "Offset for Time Namespace"; time_namespaces(7). */
static void check_time_offsets(struct spec_checker *c)
{
    static const char *const clocks[] = { "monotonic", "boottime", NULL };
    static const char pointer[] = "/linux/timeOffsets";
    const struct spec_linux *l = &c->s->linux;
    const struct spec_namespace *time = spec_namespace_of(c->s, SPEC_NS_TIME);
    const struct json *offsets = json_get(json_get(c->s->document, "linux"), "timeOffsets");

    for (const struct json *m = offsets ? offsets->child : NULL; m && m->key; m = m->next) {
        if (!spec_name_in(clocks, m->key))
            spec_bad(c, spec_at_key(c, pointer, m->key),
                     "unknown clock, must be one of monotonic, "
                     "boottime");
    }
    if (!l->time_offsets.monotonic.set && !l->time_offsets.boottime.set)
        return;
    if (!time)
        spec_bad(c, pointer, "time offsets need a time namespace in /linux/namespaces");
    else if (time->path)
        spec_bad(c, pointer, "the offsets of a time namespace that is joined cannot be changed");
}

/* ---- devices ------------------------------------------------------------------------------ */

static void check_devices(struct spec_checker *c)
{
    const struct json *devices = json_get(json_get(c->s->document, "linux"), "devices");
    const struct json *node = devices ? devices->child : NULL;
    const struct spec_linux *l = &c->s->linux;

    /* Whether a number was there is known to the tree only: 0 is one. */
    for (size_t i = 0; node && i < l->n_devices; i++, node = node->next) {
        if (l->devices[i].type == SPEC_DEVICE_FIFO)
            continue;
        if (!json_get(node, "major"))
            spec_bad(c, spec_at(c, "/linux/devices/%zu/major", i), "is required but missing");
        if (!json_get(node, "minor"))
            spec_bad(c, spec_at(c, "/linux/devices/%zu/minor", i), "is required but missing");
    }
}

static void check_net_devices(struct spec_checker *c)
{
    static const char pointer[] = "/linux/netDevices";
    const struct spec_linux *l = &c->s->linux;

    for (size_t i = 0; i < l->n_net_devices; i++) {
        if (!spec_is_interface(l->net_devices[i].host_name)) {
            spec_bad(c, spec_at_key(c, pointer, l->net_devices[i].host_name),
                     "the key must be an interface name of 1 to 15 bytes");
        }
    }
    if (l->n_net_devices && spec_lacks_namespace(c, SPEC_NS_NETWORK))
        spec_bad(c, pointer, "network devices need a network namespace in /linux/namespaces");
}

/* ---- what only a few hosts have ----------------------------------------------------------- */

static void check_intel_rdt(struct spec_checker *c)
{
    const char *id = c->s->linux.intel_rdt.clos_id;
    const char *bandwidth = c->s->linux.intel_rdt.mem_bw_schema;

    /* A directory below the resctrl mount, or "/", the default class. */
    if (id && (!strcmp(id, ".") || !strcmp(id, "..") || (strcmp(id, "/") && strchr(id, '/'))))
        spec_bad(c, "/linux/intelRdt/closID", "'%s' is no name of a directory", id);
    if (bandwidth && !str_starts(bandwidth, "MB:"))
        spec_bad(c, "/linux/intelRdt/memBwSchema", "must start with 'MB:'");
    if (c->s->linux.intel_rdt.l3_cache_schema &&
        !str_starts(c->s->linux.intel_rdt.l3_cache_schema, "L3:"))
        spec_remark(c, "/linux/intelRdt/l3CacheSchema", "should start with 'L3:'");
}

/* set_mempolicy(2): which modes take nodes. */
static void check_memory_policy(struct spec_checker *c)
{
    static const char *const without[] = { "MPOL_DEFAULT", "MPOL_LOCAL", NULL };
    const char *mode = c->s->linux.memory_policy.mode;
    const char *nodes = c->s->linux.memory_policy.nodes;

    if (!mode)
        return;
    if (nodes && spec_name_in(without, mode))
        spec_bad(c, "/linux/memoryPolicy/nodes", "%s takes no nodes", mode);
    else if (!nodes && !spec_name_in(without, mode) && strcmp(mode, "MPOL_PREFERRED"))
        spec_bad(c, "/linux/memoryPolicy/nodes", "%s needs nodes", mode);
}

static void check_personality(struct spec_checker *c)
{
    if (c->s->linux.personality.flags.n)
        spec_bad(c, "/linux/personality/flags", "the specification knows no flags yet");
}

void spec_check_linux(struct spec_checker *c)
{
    if (!c->s->linux.set)
        return;
    check_namespaces(c);
    check_user_namespace(c);
    check_time_offsets(c);
    check_devices(c);
    check_net_devices(c);
    spec_check_resources(c);
    spec_check_seccomp(c);
    check_intel_rdt(c);
    check_memory_policy(c);
    check_personality(c);
}
