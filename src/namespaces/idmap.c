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

bool ns_denies_setgroups(const struct ns_facts *f)
{
    return !f->can_setgid || f->setgroups_denied;
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

struct map_kind {
    const char *pointer, *what, *helper;
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
    if (!k->may_map_all && !maps_only(maps, k->own_id)) {
        err_at(e, k->pointer, 0, "an ordinary user may map one %s, the own (%u), and nothing else",
               k->what, k->own_id);
        err_hint(e, "other ranges need %s, which teca does not use yet", k->helper);
        return -EINVAL;
    }
    return 0;
}

int ns_compile_maps(struct plan *p, const struct spec *s, const struct ns_facts *f, int pid_slot,
                    struct err *e)
{
    const struct spec_linux *l = &s->linux;
    struct map_kind uid = { "/linux/uidMappings", "uid",       "newuidmap", f->euid,
                            f->can_setuid,        f->page_size };
    struct map_kind gid = { "/linux/gidMappings", "gid",       "newgidmap", f->egid,
                            f->can_setgid,        f->page_size };
    const char *uid_map, *gid_map;
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
    st = plan_add(p, OP_NS_ID_MAPS, LANE_RUNTIME, "/linux/uidMappings");
    st->ns_id_maps.pid = pid_slot;
    st->ns_id_maps.uid_map = uid_map;
    st->ns_id_maps.gid_map = gid_map;
    st->ns_id_maps.deny_setgroups = ns_denies_setgroups(f);
    return 0;
}

/* ---- execution ----------------------------------------------------------------------------- */

static int write_proc(pid_t pid, const char *name, const char *text)
{
    char path[64];

    base_format(path, sizeof path, "/proc/%d/%s", pid, name);
    return file_write_once(AT_FDCWD, path, text, strlen(text));
}

int ns_write_id_maps(const struct op_ns_id_maps *op, pid_t pid, struct err *e)
{
    int r = op->deny_setgroups ? write_proc(pid, "setgroups", "deny") : 0;

    if (r < 0)
        return err_set(e, -r, "cannot deny setgroups in the container's user namespace");
    r = write_proc(pid, "gid_map", op->gid_map);
    if (r < 0)
        return err_at(e, "/linux/gidMappings", -r,
                      "cannot write the gid_map of the container's user namespace");
    r = write_proc(pid, "uid_map", op->uid_map);
    if (r < 0)
        return err_set(e, -r, "cannot write the uid_map of the container's user namespace");
    return 0;
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
