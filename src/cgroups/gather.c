/* SPDX-License-Identifier: Apache-2.0 */
/* Which hierarchies there are and where the container's cgroup goes in each. Reads only. */
#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "cgroups/internal.h"

/* ---- /proc/self/mountinfo ------------------------------------------------------------------- */

/* proc_pid_mountinfo(5): 36 35 98:0 /mnt1 /mnt2 rw,noatime master:1 - ext3 /dev/root rw */
struct mount_line {
    const char *device, *root, *mountpoint, *type, *super_options;
};

/* Space, tab, newline and backslash are written as \ooo. In place. */
static void unescape(char *text)
{
    char *out = text;

    for (const char *in = text; *in; out++) {
        if (in[0] == '\\' && in[1] >= '0' && in[1] <= '3' && in[2] >= '0' && in[2] <= '7' &&
            in[3] >= '0' && in[3] <= '7') {
            *out = (char)((in[1] - '0') * 64 + (in[2] - '0') * 8 + (in[3] - '0'));
            in += 4;
        } else {
            *out = *in++;
        }
    }
    *out = '\0';
}

static bool parse_line(char *line, struct mount_line *out)
{
    const char *fields[12] = { 0 };
    size_t n = 0, before_dash = 0;
    char *save = NULL;

    for (char *word = strtok_r(line, " ", &save); word; word = strtok_r(NULL, " ", &save)) {
        if (n >= 6 && !before_dash && !str_eq(word, "-"))
            continue; /* optional fields */
        if (n == COUNT_OF(fields))
            return false;
        before_dash = before_dash ? before_dash : (str_eq(word, "-") ? n : 0);
        unescape(word);
        fields[n++] = word;
    }
    if (before_dash != 6 || n < 10)
        return false;
    *out = (struct mount_line){ .device = fields[2],
                                .root = fields[3],
                                .mountpoint = fields[4],
                                .type = fields[7],
                                .super_options = fields[9] };
    return true;
}

static bool is_controller(const char *option, size_t len)
{
    static const char *const others[] = { "rw",
                                          "ro",
                                          "xattr",
                                          "noprefix",
                                          "clone_children",
                                          "cpuset_v2_mode",
                                          "favordynmods",
                                          "nofavordynmods" };

    for (size_t i = 0; i < COUNT_OF(others); i++)
        if (strlen(others[i]) == len && strncmp(option, others[i], len) == 0)
            return false;
    return len > 0 && !(len > 14 && strncmp(option, "release_agent=", 14) == 0);
}

/* "rw,xattr,name=systemd" -> "name=systemd": cgroups(7) "Mounting v1 controllers". */
static const char *controllers_of(struct arena *a, const char *super_options)
{
    char *out = arena_alloc(a, strlen(super_options) + 1), *end = out;

    for (const char *at = super_options; *at; at += strspn(at, ",")) {
        size_t len = strcspn(at, ",");

        if (is_controller(at, len)) {
            if (end > out)
                *end++ = ',';
            memcpy(end, at, len);
            end += len;
        }
        at += len;
    }
    *end = '\0';
    return out;
}

static bool has_controller(const char *controllers, const char *name)
{
    size_t len = strlen(name);

    for (const char *at = controllers; *at; at += strspn(at, ",")) {
        size_t n = strcspn(at, ",");

        if (n == len && strncmp(at, name, n) == 0)
            return true;
        at += n;
    }
    return false;
}

/* A hierarchy that is mounted several times counts once; the first place is the usual one. */
static bool is_known(const struct cgroup_facts *f, const char *const *devices, const char *device)
{
    for (size_t i = 0; i < f->n; i++)
        if (str_eq(devices[i], device))
            return true;
    return false;
}

static void find_mount_root(struct arena *a, struct cgroup_facts *f)
{
    const char *slash;

    if (f->n == 0)
        return;
    f->unified = f->n == 1 && f->v[0].v2;
    f->mount_root = f->v[0].mountpoint;
    if (f->unified)
        return;
    slash = strrchr(f->mount_root, '/');
    f->mount_root = slash == f->mount_root
                        ? "/"
                        : arena_strndup(a, f->mount_root, (size_t)(slash - f->mount_root));
}

static int parse_mountinfo(const char *mountinfo, struct arena *a, struct cgroup_facts *f,
                           struct err *e)
{
    const char *devices[CGROUP_MAX_HIERARCHIES];
    const char *line = mountinfo;

    f->v = arena_array(a, CGROUP_MAX_HIERARCHIES, sizeof *f->v);
    for (size_t len; *line; line += len + (line[len] == '\n')) {
        struct mount_line m;
        struct cgroup_hierarchy *h = &f->v[f->n];

        len = strcspn(line, "\n");
        if (!memmem(line, len, " - cgroup", 9) || !parse_line(arena_strndup(a, line, len), &m) ||
            !(str_eq(m.type, "cgroup") || str_eq(m.type, "cgroup2")) ||
            is_known(f, devices, m.device))
            continue;
        if (f->n == CGROUP_MAX_HIERARCHIES)
            return err_set(e, E2BIG, "more than %d cgroup hierarchies are mounted",
                           CGROUP_MAX_HIERARCHIES);
        devices[f->n++] = m.device;
        h->v2 = str_eq(m.type, "cgroup2");
        h->mountpoint = m.mountpoint;
        h->root = m.root;
        h->controllers = h->v2 ? "" : controllers_of(a, m.super_options);
        h->cpuset = !h->v2 && has_controller(h->controllers, "cpuset");
    }
    find_mount_root(a, f);
    return 0;
}

/* ---- the container's path ------------------------------------------------------------------- */

static bool is_systemd_path(const char *path)
{
    const char *colon = strchr(path, ':');

    return !strchr(path, '/') && colon && strchr(colon + 1, ':');
}

/* Below every hierarchy's mount point, absolute and clean: ".." cannot climb out of it. */
static int path_in_hierarchy(const struct spec *s, const char *id, struct arena *a,
                             const char **out, struct err *e)
{
    const char *wanted = s->linux.cgroups_path;
    const char *path;

    if (!wanted || wanted[0] == '\0') {
        *out = arena_format(a, "/teca-%s", id);
        return 0;
    }
    if (is_systemd_path(wanted))
        return err_at(e, "/linux/cgroupsPath", 0,
                      "cgroups made by systemd (\"slice:prefix:name\") are not supported yet");
    /* A relative path means the same as the absolute one wherever teca is called from
     * (runtime-spec config-linux.md "Cgroups Path": the same value, the same place). */
    path = path_clean(a, wanted[0] == '/' ? wanted : arena_format(a, "/%s", wanted));
    if (str_eq(path, "/"))
        return err_at(e, "/linux/cgroupsPath", 0, "the root cgroup cannot be a container's");
    if (strlen(path) > PATH_MAX / 2)
        return err_at(e, "/linux/cgroupsPath", ENAMETOOLONG, "cannot use the cgroup path");
    *out = path;
    return 0;
}

/* Components of `path` that exist below the mount point, the last one not counted. */
static unsigned count_existing(const struct cgroup_hierarchy *h, const char *path, struct arena *a)
{
    unsigned existing = 0;

    for (const char *slash = strchr(path + 1, '/'); slash; slash = strchr(slash + 1, '/')) {
        const char *parent = arena_format(a, "%s%.*s", h->mountpoint, (int)(slash - path), path);

        if (faccessat(AT_FDCWD, parent, F_OK, 0) < 0)
            break;
        existing++;
    }
    return existing;
}

/* The directory `depth` components below the hierarchy's root, on the way to the container's. */
static const char *ancestor(const struct cgroup_hierarchy *h, unsigned depth, struct arena *a)
{
    const char *rest = h->path + strlen(h->mountpoint);

    for (unsigned i = 0; i < depth; i++)
        rest += 1 + strcspn(rest + 1, "/");
    return arena_strndup(a, h->path, (size_t)(rest - h->path));
}

/* One read and no close: exec or exit closes, and every start pays for these calls. */
static int read_value(const char *dir, const char *name, struct arena *a, const char **out,
                      struct err *e)
{
    const char *path = arena_format(a, "%s/%s", dir, name);
    char text[4096];
    int fd = openat(AT_FDCWD, path, O_RDONLY | O_CLOEXEC);
    ssize_t n = fd < 0 ? -1 : read(fd, text, sizeof text);

    if (n < 0)
        return err_set(e, errno, "cannot read '%s'", path);
    while (n > 0 && text[n - 1] == '\n')
        n--;
    *out = arena_strndup(a, text, (size_t)n);
    return 0;
}

/* Of the deepest directory that has one; the root of the hierarchy does. */
static int read_deepest(const struct cgroup_hierarchy *h, const char *name, struct arena *a,
                        const char **out, unsigned *depth, struct err *e)
{
    for (unsigned n = h->existing;; n--) {
        int r = read_value(ancestor(h, n, a), name, a, out, e);

        *depth = n;
        if (r < 0 || **out || n == 0)
            return r;
    }
}

/*
 * The memory nodes that this process may use: a part of what the hierarchy's root has, so a cpuset
 * directly below that can have them, and the runtime has no others to give. proc_pid_status(5);
 * NULL when the kernel does not say. CPUs cannot be had that way: Cpus_allowed_list is the affinity.
 */
static const char *own_mems(const char *status, struct arena *a)
{
    static const char name[] = "\nMems_allowed_list:\t";
    const char *at = strstr(status, name);
    size_t len = at ? strcspn(at + strlen(name), "\n") : 0;

    return len > 0 ? arena_strndup(a, at + strlen(name), len) : NULL;
}

static int read_cpuset(struct cgroup_hierarchy *h, const char *status, struct arena *a,
                       struct err *e)
{
    const char *mems = h->existing == 0 && str_eq(h->root, "/") ? own_mems(status, a) : NULL;
    int r = read_deepest(h, "cpuset.effective_cpus", a, &h->cpus, &h->cpus_depth, e);

    if (r < 0 || !mems)
        return r < 0 ? r : read_deepest(h, "cpuset.effective_mems", a, &h->mems, &h->mems_depth, e);
    h->mems = mems;
    return 0;
}

/* ---- without root --------------------------------------------------------------------------- */

/* Lines "4:memory:/user", "0::/user.slice": cgroups(7) "/proc/pid/cgroup". */
static const char *own_path(const struct cgroup_hierarchy *h, const char *text, struct arena *a)
{
    for (const char *line = text; *line; line += strcspn(line, "\n"), line += *line == '\n') {
        const char *controllers = strchr(line, ':'), *path;

        path = controllers ? strchr(controllers + 1, ':') : NULL;
        if (!path)
            return NULL;
        if (strlen(h->controllers) == (size_t)(path - controllers - 1) &&
            strncmp(h->controllers, controllers + 1, (size_t)(path - controllers - 1)) == 0)
            return arena_strndup(a, path + 1, strcspn(path + 1, "\n"));
    }
    return NULL;
}

/* The own cgroup as a path below the mount point, which may show only a part of the hierarchy. */
static const char *below_mount(const struct cgroup_hierarchy *h, const char *own)
{
    size_t len = strlen(h->root);

    if (own && len > 1 && str_starts(own, h->root) && (own[len] == '/' || own[len] == '\0'))
        own += len;
    return own && own[0] == '/' ? own : "/";
}

static bool may(const char *path, int access)
{
    return faccessat(AT_FDCWD, path, access, AT_EACCESS) == 0;
}

/*
 * A directory to make cgroups in. To move a process there takes cgroup.procs too, of v2 that of the
 * common ancestor (cgroups(7) "Delegation containment").
 */
static bool is_delegated(const struct cgroup_hierarchy *h, const char *dir, struct arena *a)
{
    return may(dir, W_OK | X_OK) && (!h->v2 || may(arena_format(a, "%s/cgroup.procs", dir), W_OK));
}

/* Beside the caller's own cgroup: what a user without root is given is mostly that one's parent. */
static bool place_beside(struct cgroup_hierarchy *h, const char *own, const char *id,
                         struct arena *a)
{
    const char *slash = strrchr(own, '/');
    const char *parent = arena_format(a, "%s%.*s", h->mountpoint, (int)(slash - own), own);

    h->path = arena_format(a, "%s/teca-%s", parent, id);
    h->existing = 0;
    for (const char *at = own; at < slash; at++)
        h->existing += *at == '/';
    return is_delegated(h, parent, a);
}

/* A group of linux.resources that holds anything; devices are nobody's without root. */
static const char *asked_limit(const struct spec *s, struct arena *a)
{
    const struct json *resources = json_get(json_get(s->document, "linux"), "resources");

    for (const struct json *m = resources ? resources->child : NULL; m; m = m->next)
        if (m->count && !str_eq(m->key, "devices"))
            return arena_format(a, "/linux/resources/%s", m->key);
    return NULL;
}

/*
 * A user without root may be given a part of a hierarchy. Where that is not so there is no cgroup,
 * and no error as long as nobody asked for one.
 */
static int keep_writable(const struct spec *s, const struct cgroup_query *q, bool chosen,
                         struct arena *a, struct cgroup_facts *f, struct err *e)
{
    const char *asked = chosen ? "/linux/cgroupsPath" : asked_limit(s, a);
    char *text;
    size_t kept = 0;
    int r = file_read(a, AT_FDCWD, "/proc/self/cgroup", 1 << 20, &text, NULL, e);

    if (r < 0)
        return r;
    for (size_t i = 0; i < f->n; i++) {
        struct cgroup_hierarchy h = f->v[i];
        const char *own = below_mount(&h, own_path(&h, text, a));

        if (chosen ? is_delegated(&h, ancestor(&h, h.existing, a), a)
                   : place_beside(&h, own, q->id, a))
            f->v[kept++] = h;
    }
    if (kept == 0 && asked) {
        err_at(e, asked, EACCES, "no cgroup can be made for it without root");
        err_hint(e, "it needs a part of the hierarchy that is the user's own, as systemd's "
                    "user@.service with Delegate=yes gives");
        return -EACCES;
    }
    f->n = kept;
    return 0;
}

int cgroup_gather(const struct spec *s, const struct cgroup_query *q, struct arena *a,
                  struct cgroup_facts *f, struct err *e)
{
    bool chosen = s->linux.cgroups_path && s->linux.cgroups_path[0];
    struct cgroup_facts facts = { 0 };
    const char *path = NULL;
    int r = path_in_hierarchy(s, q->id, a, &path, e);

    if (r == 0)
        r = parse_mountinfo(q->mountinfo, a, &facts, e);
    if (r < 0)
        return r;
    for (size_t i = 0; i < facts.n; i++) {
        facts.v[i].path = arena_format(a, "%s%s", facts.v[i].mountpoint, path);
        facts.v[i].existing = count_existing(&facts.v[i], path, a);
    }
    if (q->limited)
        r = keep_writable(s, q, chosen, a, &facts, e);
    for (size_t i = 0; i < facts.n && r == 0; i++)
        if (facts.v[i].cpuset)
            r = read_cpuset(&facts.v[i], q->status, a, e);
    if (s->linux.intel_rdt.set)
        facts.resctrl = rdt_find_mount(q->mountinfo, a);
    if (r == 0)
        *f = facts;
    return r;
}
