/* SPDX-License-Identifier: Apache-2.0 */
/*
 * uid_map and gid_map, user_namespaces(7). The text is made while compiling; the runtime, which is
 * outside the new user namespace, writes it; then init becomes 0:0 inside.
 */
#include <errno.h>
#include <fcntl.h>
#include <grp.h>
#include <string.h>
#include <unistd.h>

#include "namespaces/internal.h"

/*
 * An ordinary user must give setgroups up before writing gid_map; newgidmap does not ask for that
 * when the map has a group of /etc/subgid (newgidmap(1)).
 */
bool ns_denies_setgroups(const struct spec *s, const struct ns_facts *f)
{
    return f->setgroups_denied ||
           (!f->can_setgid && !ns_needs_tool(&s->linux.gid_mappings, f->egid, false));
}

int ns_last_map_step(const struct plan *p)
{
    for (size_t i = p->n; i-- > 0;)
        if (p->steps[i].op == OP_NS_ID_MAPS || p->steps[i].op == OP_NS_MAP_TOOL)
            return (int)i;
    return -1;
}

static bool maps_root(const struct spec_id_maps *maps)
{
    for (size_t i = 0; i < maps->n; i++)
        if (maps->v[i].container_id == 0 && maps->v[i].size > 0)
            return true;
    return false;
}

/* What the kernel lets an ordinary user map: one id, the own one. */
static bool maps_only(const struct spec_id_maps *maps, uint32_t id)
{
    return maps->n == 1 && maps->v[0].size == 1 && maps->v[0].host_id == id;
}

bool ns_needs_tool(const struct spec_id_maps *maps, uint32_t own_id, bool may_map_all)
{
    return !may_map_all && !maps_only(maps, own_id);
}

/* The first extent that holds 0 tells; who joins a namespace does not know its map. */
bool ns_root_is_foreign(const struct spec *s, const struct ns_facts *f)
{
    const struct spec_id_maps *maps = &s->linux.uid_mappings;

    if (!(ns_new_flags(s) & CLONE_NEWUSER))
        return ns_enters_user(s, f);
    for (size_t i = 0; i < maps->n; i++)
        if (maps->v[i].container_id == 0 && maps->v[i].host_id == f->euid)
            return false;
    return true;
}

struct map_kind {
    const char *pointer, *what, *tool_name, *tool, *ranges;
    uint32_t own_id;
    bool may_map_all;
    uint64_t page_size;
};

/* Beyond what spec_check knows without the host: the page, and who writes. */
static int check_map(const struct map_kind *k, const struct spec_id_maps *maps, const char *text,
                     struct err *e)
{
    if (strlen(text) >= k->page_size)
        return err_at(e, k->pointer, 0,
                      "the mappings make %zu bytes of %s_map, the kernel takes fewer than %llu",
                      strlen(text), k->what, (unsigned long long)k->page_size);
    if (!maps_root(maps))
        return err_at(e, k->pointer, 0, "%s 0 of the container is mapped to nothing", k->what);
    if (!ns_needs_tool(maps, k->own_id, k->may_map_all) || k->tool)
        return 0;
    err_at(e, k->pointer, 0, "an ordinary user may map one %s, the own (%u), and %s is not here",
           k->what, k->own_id, k->tool_name);
    err_hint(e, "other ranges need it (Debian: package uidmap) and a line for the user in %s",
             k->ranges);
    return -EINVAL;
}

/* false: the runtime writes the map itself. */
static bool add_tool(struct plan *p, const struct map_kind *k, const struct spec_id_maps *maps,
                     int pid_slot)
{
    struct step *st;

    if (!ns_needs_tool(maps, k->own_id, k->may_map_all))
        return false;
    st = plan_add(p, OP_NS_MAP_TOOL, LANE_RUNTIME, k->pointer);
    st->ns_map_tool.tool = k->tool;
    st->ns_map_tool.args = ns_map_tool_args(p->arena, maps);
    st->ns_map_tool.ranges = k->ranges;
    st->ns_map_tool.pid = pid_slot;
    return true;
}

int ns_compile_maps(struct plan *p, const struct spec *s, const struct ns_facts *f, int pid_slot,
                    struct err *e)
{
    const struct spec_linux *l = &s->linux;
    struct map_kind uid = { "/linux/uidMappings", "uid",   "newuidmap",   f->newuidmap,
                            "/etc/subuid",        f->euid, f->can_setuid, f->page_size };
    struct map_kind gid = { "/linux/gidMappings", "gid",   "newgidmap",   f->newgidmap,
                            "/etc/subgid",        f->egid, f->can_setgid, f->page_size };
    const char *uid_map, *gid_map;
    bool uid_tool, gid_tool;
    struct step *st;
    int r;

    if (!(ns_new_flags(s) & CLONE_NEWUSER))
        return 0;
    uid_map = spec_id_map_text(p->arena, &l->uid_mappings);
    gid_map = spec_id_map_text(p->arena, &l->gid_mappings);
    r = check_map(&uid, &l->uid_mappings, uid_map, e);
    if (r == 0)
        r = check_map(&gid, &l->gid_mappings, gid_map, e);
    if (r < 0)
        return r;
    gid_tool = add_tool(p, &gid, &l->gid_mappings, pid_slot);
    uid_tool = add_tool(p, &uid, &l->uid_mappings, pid_slot);
    if (gid_tool && uid_tool)
        return 0;
    st = plan_add(p, OP_NS_ID_MAPS, LANE_RUNTIME,
                  uid_tool ? "/linux/gidMappings" : "/linux/uidMappings");
    st->ns_id_maps.pid = pid_slot;
    st->ns_id_maps.uid_map = uid_tool ? NULL : uid_map;
    st->ns_id_maps.gid_map = gid_tool ? NULL : gid_map;
    st->ns_id_maps.deny_setgroups = !gid_tool && ns_denies_setgroups(s, f);
    return 0;
}

/* ---- execution ----------------------------------------------------------------------------- */

static int write_proc(pid_t pid, const char *name, const char *text)
{
    char path[64];

    base_format(path, sizeof path, "/proc/%d/%s", pid, name);
    return file_write_once(AT_FDCWD, path, text, strlen(text));
}

/* EPERM of one who may map at all: a host id that the runtime itself has not. */
static int map_failed(const char *pointer, const char *file, int error, struct err *e)
{
    err_at(e, pointer, error, "cannot write the %s of the container's user namespace", file);
    if (error == EPERM)
        err_hint(e, "is every host id mapped in the runtime's own namespace, /proc/self/%s?", file);
    return -error;
}

int ns_write_id_maps(const struct op_ns_id_maps *op, pid_t pid, struct err *e)
{
    int r = op->deny_setgroups ? write_proc(pid, "setgroups", "deny") : 0;

    if (r < 0)
        return err_set(e, -r, "cannot deny setgroups in the container's user namespace");
    r = op->gid_map ? write_proc(pid, "gid_map", op->gid_map) : 0;
    if (r < 0)
        return map_failed("/linux/gidMappings", "gid_map", -r, e);
    r = op->uid_map ? write_proc(pid, "uid_map", op->uid_map) : 0;
    return r < 0 ? map_failed("/linux/uidMappings", "uid_map", -r, e) : 0;
}

int ns_become_root(const struct op_ns_become_root *op, struct err *e)
{
    if (setresgid(0, 0, 0) < 0)
        return err_set(e, errno, "cannot become gid 0 of the user namespace");
    /*
     * init has every capability here, so EPERM says that this (joined) user namespace denies
     * setgroups for good; the groups then are those of the unprivileged caller.
     */
    if (op->drop_groups && setgroups(0, NULL) < 0 && errno != EPERM)
        return err_set(e, errno, "cannot drop the supplementary groups");
    if (setresuid(0, 0, 0) < 0)
        return err_set(e, errno, "cannot become uid 0 of the user namespace");
    return 0;
}
