/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Rules between values, and the parts of a document that must be there. Only what can be decided
 * without asking the host. Values may be missing here: spec_parse calls these rules also for
 * documents that it refuses, to tell everything at once.
 */
#include "spec/internal.h"

#include <string.h>

/* The newest specification that is known; its patch releases change wording only. */
enum { SPEC_MAJOR = 1, SPEC_MINOR = 3 };
/* struct new_utsname: 64 bytes and a NUL (include/uapi/linux/utsname.h). */
enum { UTS_NAME_BYTES = 64 };
/* UID_GID_MAP_MAX_EXTENTS, since Linux 4.15. */
enum { ID_MAP_EXTENTS = 340 };

/* ---- noting faults ------------------------------------------------------------------------ */

bool spec_is_known(const struct spec_checker *c, const char *pointer)
{
    return c->known && spec_faults_about(c->known, pointer);
}

bool spec_lacks_namespace(const struct spec_checker *c, enum spec_ns type)
{
    return !spec_has_namespace(c->s, type) && !spec_is_known(c, "/linux/namespaces");
}

static void note(struct spec_checker *c, const char *pointer, bool warning, const char *fmt,
                 va_list ap)
{
    va_list again;
    size_t size;
    char *text;

    if (spec_is_known(c, pointer))
        return;
    va_copy(again, ap);
    size = base_vformat(NULL, 0, fmt, again) + 1;
    va_end(again);
    text = arena_alloc(c->arena, size);
    base_vformat(text, size, fmt, ap);
    spec_fault_add(c->faults, c->arena, pointer, spec_line_of(c->s, pointer), warning, text);
}

void spec_bad(struct spec_checker *c, const char *pointer, const char *fmt, ...)
{
    va_list ap;

    va_start(ap, fmt);
    note(c, pointer, false, fmt, ap);
    va_end(ap);
}

void spec_remark(struct spec_checker *c, const char *pointer, const char *fmt, ...)
{
    va_list ap;

    va_start(ap, fmt);
    note(c, pointer, true, fmt, ap);
    va_end(ap);
}

/* The member of an object, whose pointer the tree spells. */
const char *spec_at_key(struct spec_checker *c, const char *map, const char *key)
{
    const struct json object = { .type = JSON_OBJECT };
    const struct json member = { .key = key, .parent = (struct json *)&object };

    return arena_format(c->arena, "%s%s", map, json_pointer_dup(c->arena, &member));
}

/* ---- ociVersion: SemVer 2.0.0 ------------------------------------------------------------- */

static bool is_in(char c, const char *set)
{
    return c && strchr(set, c);
}

/* "0" or digits without a leading zero; moves on behind them. */
static bool read_version_number(const char **at, unsigned *out)
{
    const char *start = *at;
    unsigned value = 0;

    for (; is_in(**at, "0123456789"); ++*at) {
        if (value > UINT16_MAX)
            return false;
        value = value * 10 + (unsigned)(**at - '0');
    }
    *out = value;
    return *at != start && (*start != '0' || *at == start + 1);
}

/* Dot-separated identifiers, none empty: "rc.1", "dev"; moves on behind them. */
static bool read_identifiers(const char **at)
{
    static const char alphabet[] =
        "0123456789ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz-";

    for (;;) {
        size_t len = strspn(*at, alphabet);

        *at += len;
        if (!len)
            return false;
        if (**at != '.')
            return true;
        ++*at;
    }
}

static bool read_version(const char *text, unsigned number[3])
{
    for (int i = 0; i < 3; i++) {
        if (i && *text++ != '.')
            return false;
        if (!read_version_number(&text, &number[i]))
            return false;
    }
    if (*text == '-') {
        text++;
        if (!read_identifiers(&text))
            return false;
    }
    if (*text == '+') {
        text++;
        if (!read_identifiers(&text))
            return false;
    }
    return *text == '\0';
}

static void check_version(struct spec_checker *c)
{
    const char *version = c->s->oci_version, *pointer = "/ociVersion";
    unsigned number[3];

    if (!version) {
        spec_bad(c, pointer, "is required but missing");
    } else if (!read_version(version, number)) {
        spec_bad(c, pointer, "'%s' is no version of the form 1.2.3 (SemVer 2.0.0)", version);
    } else if (number[0] != SPEC_MAJOR) {
        spec_bad(c, pointer, "version %s of the runtime specification is not supported: use 1.x",
                 version);
    } else if (number[1] > SPEC_MINOR) {
        spec_remark(c, pointer, "version %s is newer than %d.%d: what it added is ignored", version,
                    SPEC_MAJOR, SPEC_MINOR);
    }
}

/* ---- root, names, mounts, annotations ----------------------------------------------------- */

static void check_uts_name(struct spec_checker *c, const char *name, const char *pointer)
{
    if (!name)
        return;
    if (strlen(name) > UTS_NAME_BYTES)
        spec_bad(c, pointer, "is longer than the kernel's %d bytes", UTS_NAME_BYTES);
    /* Otherwise it would rename the host. */
    if (spec_lacks_namespace(c, SPEC_NS_UTS))
        spec_bad(c, pointer, "unable to set %s without a private UTS namespace", pointer + 1);
}

static bool has_option(const struct spec_mount *m, const char *const *names)
{
    for (size_t i = 0; i < m->options.n; i++) {
        if (spec_name_in(names, m->options.v[i]))
            return true;
    }
    return false;
}

/* config.md "POSIX-platform Mounts" and the options idmap and ridmap. */
static void check_mount_maps(struct spec_checker *c, const struct spec_mount *m,
                             const char *pointer)
{
    static const char *const idmap[] = { "idmap", "ridmap", NULL };

    if (!m->uid_mappings.n != !m->gid_mappings.n) {
        spec_bad(c, pointer, "uidMappings and gidMappings must be given together");
        return;
    }
    spec_check_id_maps(c, &m->uid_mappings, spec_at(c, "%s/uidMappings", pointer));
    spec_check_id_maps(c, &m->gid_mappings, spec_at(c, "%s/gidMappings", pointer));
    if (!m->uid_mappings.n && has_option(m, idmap) && spec_lacks_namespace(c, SPEC_NS_USER)) {
        spec_bad(c, spec_at(c, "%s/options", pointer),
                 "idmap needs mappings: the mount has none and there is no user namespace");
    }
}

static void check_mount(struct spec_checker *c, const struct spec_mount *m, size_t i)
{
    static const char *const bind[] = { "bind", "rbind", NULL };
    /* Changes of a mount that is there: mount(2) looks at no type. */
    static const char *const change[] = { "remount",     "shared",  "slave",  "private",
                                          "unbindable",  "rshared", "rslave", "rprivate",
                                          "runbindable", NULL };
    const char *pointer = NULL;

    if (m->destination && m->destination[0] != '/') {
        pointer = spec_at(c, "/mounts/%zu", i);
        spec_remark(c, spec_at(c, "%s/destination", pointer),
                    "is not absolute (deprecated): taken relative to /");
    }
    if (has_option(m, bind)) {
        if (!m->source)
            spec_bad(c, spec_at(c, "/mounts/%zu/source", i), "a bind mount needs a source");
    } else if (!m->type && !has_option(m, change)) {
        spec_bad(c, spec_at(c, "/mounts/%zu/type", i), "is required unless the mount is a bind");
    }
    if (m->uid_mappings.n || m->gid_mappings.n || m->options.n)
        check_mount_maps(c, m, pointer ? pointer : spec_at(c, "/mounts/%zu", i));
}

/* Without a mount namespace of its own all this would happen to the host. */
static void check_mount_namespace(struct spec_checker *c)
{
    const struct spec_linux *l = &c->s->linux;
    const char *what = NULL, *pointer = NULL;

    if (!spec_lacks_namespace(c, SPEC_NS_MOUNT))
        return;
    if (c->s->n_mounts) {
        what = "mounts";
        pointer = "/mounts";
    } else if (l->masked_paths.n || l->readonly_paths.n) {
        spec_bad(c, l->masked_paths.n ? "/linux/maskedPaths" : "/linux/readonlyPaths",
                 "unable to restrict sys entries without a private MNT namespace");
    } else if (c->s->root.readonly) {
        what = "a read-only root";
        pointer = "/root/readonly";
    } else if (l->n_devices) {
        what = "devices";
        pointer = "/linux/devices";
    }
    if (what)
        spec_bad(c, pointer, "%s must not be without a mount namespace in /linux/namespaces", what);
}

static void check_masks(struct spec_checker *c)
{
    const struct strs *masks = &c->s->linux.masked_paths;

    for (size_t i = 0; i < masks->n; i++)
        if (str_eq(path_clean(c->arena, masks->v[i]), "/"))
            spec_bad(c, spec_at(c, "/linux/maskedPaths/%zu", i),
                     "the root filesystem itself cannot be masked");
}

static void check_vm(struct spec_checker *c)
{
    if (c->s->vm.set && !c->s->vm.kernel.set)
        spec_bad(c, "/vm/kernel", "is required but missing");
}

void spec_check_rules(const struct spec *s, struct arena *a, struct spec_faults *f,
                      const struct spec_faults *known)
{
    struct spec_checker c = { .s = s, .arena = a, .faults = f, .known = known };

    check_version(&c);
    if (!s->root.set)
        spec_bad(&c, "/root", "is required but missing");
    spec_check_process(&c);
    check_uts_name(&c, s->hostname, "/hostname");
    check_uts_name(&c, s->domainname, "/domainname");
    for (size_t i = 0; i < s->n_mounts; i++)
        check_mount(&c, &s->mounts[i], i);
    check_mount_namespace(&c);
    check_masks(&c);
    spec_check_linux(&c);
    check_vm(&c);
    spec_faults_sort(f);
}

int spec_check(const struct spec *s, struct arena *a, struct spec_faults *faults, struct err *e)
{
    struct spec_faults own;
    size_t before;

    spec_faults_init(&own);
    if (!faults)
        faults = &own;
    before = faults->errors;
    spec_check_rules(s, a, faults, NULL);
    return faults->errors > before ? spec_faults_result(faults, e) : 0;
}

/* ---- id maps: map_write() of Linux kernel/user_namespace.c -------------------------------- */

static bool overlaps(uint32_t a, uint32_t a_size, uint32_t b, uint32_t b_size)
{
    return a < (uint64_t)b + b_size && b < (uint64_t)a + a_size;
}

static void check_extent(struct spec_checker *c, const struct spec_id_maps *maps, size_t i,
                         const char *pointer)
{
    const struct spec_id_map *m = &maps->v[i];

    if ((uint64_t)m->container_id + m->size > UINT32_MAX ||
        (uint64_t)m->host_id + m->size > UINT32_MAX)
        spec_bad(c, spec_at(c, "%s/%zu", pointer, i), "ends behind the last ID, 4294967294");
    for (size_t k = 0; k < i; k++) {
        const struct spec_id_map *other = &maps->v[k];

        if (overlaps(m->container_id, m->size, other->container_id, other->size)) {
            spec_bad(c, spec_at(c, "%s/%zu", pointer, i), "overlaps entry %zu in containerID", k);
            return;
        }
        if (overlaps(m->host_id, m->size, other->host_id, other->size)) {
            spec_bad(c, spec_at(c, "%s/%zu", pointer, i), "overlaps entry %zu in hostID", k);
            return;
        }
    }
}

void spec_check_id_maps(struct spec_checker *c, const struct spec_id_maps *maps,
                        const char *pointer)
{
    if (maps->n > ID_MAP_EXTENTS) {
        spec_bad(c, pointer, "has %zu entries, the kernel takes %d (Linux 4.15)", maps->n,
                 ID_MAP_EXTENTS);
        return;
    }
    for (size_t i = 0; i < maps->n; i++)
        check_extent(c, maps, i, pointer);
}
