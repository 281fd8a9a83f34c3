/* SPDX-License-Identifier: Apache-2.0 */
/* The facts of the host: asked by each concern, kept in one place, written and read as JSON. */
#include <errno.h>
#include <fcntl.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "container/internal.h"

enum { FACTS_VERSION = 1, MOUNTINFO_MAX_BYTES = 64 << 20, STATUS_SIZE = 4096 };

/*
 * The whole of /proc/self/status. One read gives all of it unless there are very many groups. The
 * descriptor is CLOEXEC and left to the end of the process: closing it would cost a call per start.
 */
int facts_read_status(struct arena *a, const char **out, struct err *e)
{
    int fd = openat(AT_FDCWD, "/proc/self/status", O_RDONLY | O_CLOEXEC);
    size_t size = STATUS_SIZE, have = 0;
    char *text = arena_alloc(a, size);

    if (fd < 0)
        return err_set(e, errno, "cannot open /proc/self/status");
    for (;;) {
        ssize_t n = read(fd, text + have, size - 1 - have);
        const char *old = text;

        if (n < 0)
            return err_set(e, errno, "cannot read /proc/self/status");
        have += (size_t)n;
        text[have] = '\0';
        if (have < size - 1) {
            *out = text;
            return 0;
        }
        size *= 2;
        text = arena_alloc(a, size);
        memcpy(text, old, have);
    }
}

/* What rootfs needs of the other concerns' facts: data, not calls. */
static void share_facts(const struct spec *s, struct arena *a, struct container_facts *f)
{
    f->rootfs.user_ns = ns_enters_user(s, &f->ns);
    f->rootfs.no_host_rights = f->rootfs.user_ns || f->ns.nested;
    f->rootfs.opens_inside = !f->rootfs.privileged && ns_root_is_foreign(s, &f->ns);
    f->sec.setgroups_denied = f->ns.setgroups_denied;
    f->rootfs.new_cgroup_ns = spec_has_namespace(s, SPEC_NS_CGROUP);
    f->rootfs.cgroup_unified = f->cgroup.unified;
    f->rootfs.cgroup_root = f->cgroup.mount_root;
    f->rootfs.n_cgroups = f->cgroup.n;
    f->rootfs.cgroups = arena_array(a, f->cgroup.n, sizeof *f->rootfs.cgroups);
    for (size_t i = 0; i < f->cgroup.n; i++)
        f->rootfs.cgroups[i] = (struct rootfs_cgroup){ .v2 = f->cgroup.v[i].v2,
                                                       .mountpoint = f->cgroup.v[i].mountpoint,
                                                       .path = f->cgroup.v[i].path };
}

/*
 * Where the helper for systemd is: beside this very program (a build tree), else where `make install`
 * puts it. The first only when the name under which teca was called leads to the file that runs now:
 * who can write in that directory can put another teca there as well.
 */
static const char *find_helper(const char *called_as, struct arena *a)
{
    static const char name[] = "teca-systemd";
    const char *slash = called_as ? strrchr(called_as, '/') : NULL, *beside;
    struct stat called, running;

    if (!slash || called_as[0] != '/' || stat(called_as, &called) < 0 ||
        stat("/proc/self/exe", &running) < 0 || called.st_ino != running.st_ino ||
        called.st_dev != running.st_dev)
        return TECA_LIBEXECDIR "/teca-systemd";
    beside = arena_format(a, "%.*s/%s", (int)(slash - called_as), called_as, name);
    return faccessat(AT_FDCWD, beside, X_OK, 0) == 0 ? beside : TECA_LIBEXECDIR "/teca-systemd";
}

/* What the question about cgroups is made of. */
static int query_cgroups(const struct container_options *o, struct arena *a, struct cgroup_query *q,
                         struct err *e)
{
    const char *manager = container_cgroup_manager(o);
    char *mountinfo = NULL;
    size_t len;
    int r = file_read_open(a, AT_FDCWD, "/proc/self/mountinfo", MOUNTINFO_MAX_BYTES, &mountinfo,
                           &len, e);

    *q = (struct cgroup_query){ .id = o->id,
                                .mountinfo = mountinfo,
                                .systemd = str_eq(manager, "systemd"),
                                .disabled = str_eq(manager, "disabled") };
    if (q->systemd)
        q->helper = find_helper(o->called_as, a);
    return r < 0 ? r : facts_read_status(a, &q->status, e);
}

int facts_gather_cgroups(const struct spec *s, const struct container_options *o, struct arena *a,
                         struct cgroup_facts *f, struct err *e)
{
    struct cgroup_query q;
    struct ns_facts ns = { 0 };
    int r = query_cgroups(o, a, &q, e);

    if (r == 0)
        r = ns_gather(s, a, &ns, e);
    q.limited = ns.nested || ns.euid != 0;
    return r < 0 ? r : cgroup_gather(s, &q, a, f, e);
}

int facts_gather(const struct container_bundle *b, const struct container_options *o,
                 struct arena *a, struct container_facts *f, struct err *e)
{
    struct cgroup_query cgroups;
    int r = query_cgroups(o, a, &cgroups, e);

    if (r == 0)
        r = sec_gather(b->spec, cgroups.status, a, &f->sec, e);
    if (r == 0)
        r = ns_gather(b->spec, a, &f->ns, e);
    if (r == 0)
        cgroups.limited = f->ns.nested || f->ns.euid != 0;
    if (r == 0)
        r = cgroup_gather(b->spec, &cgroups, a, &f->cgroup, e);
    if (r == 0)
        r = rootfs_gather(b->spec, b->dir, cgroups.mountinfo, a, &f->rootfs, e);
    if (f->ns.nested && !f->ns.owns_mounts)
        f->rootfs.privileged = false;
    if (r == 0)
        share_facts(b->spec, a, f);
    return r;
}

void facts_write(const struct container_facts *f, struct json_out *j)
{
    json_open_object(j, NULL);
    json_add_u64(j, "factsVersion", FACTS_VERSION);
    sec_facts_write(&f->sec, j, "security");
    ns_facts_write(&f->ns, j, "namespaces");
    cgroup_facts_write(&f->cgroup, j, "cgroups");
    rootfs_facts_write(&f->rootfs, j, "rootfs");
    json_close_object(j);
}

int facts_parse(const struct container_bundle *b, const char *text, size_t len, struct arena *a,
                struct container_facts *f, struct err *e)
{
    static const char *const rooms[] = { "security", "namespaces", "cgroups", "rootfs" };
    struct json *doc;
    uint64_t version = 0;
    int r = json_parse(a, text, len, "the facts file", &doc, e);

    if (r < 0)
        return r;
    if (!json_get(doc, "factsVersion") || json_u64(json_get(doc, "factsVersion"), &version) < 0 ||
        version != FACTS_VERSION)
        return err_at(e, "/factsVersion", 0, "the facts file must have version %d", FACTS_VERSION);
    for (size_t i = 0; i < COUNT_OF(rooms); i++)
        if (!json_get(doc, rooms[i]) || json_get(doc, rooms[i])->type != JSON_OBJECT)
            return err_at(e, arena_format(a, "/%s", rooms[i]), 0, "the facts need an object here");
    r = sec_facts_read(json_get(doc, rooms[0]), a, &f->sec, e);
    if (r == 0)
        r = ns_facts_read(json_get(doc, rooms[1]), &f->ns, e);
    if (r == 0)
        r = cgroup_facts_read(json_get(doc, rooms[2]), a, &f->cgroup, e);
    if (r == 0)
        r = rootfs_facts_read(json_get(doc, rooms[3]), a, &f->rootfs, e);
    if (r == 0)
        share_facts(b->spec, a, f);
    return r;
}
