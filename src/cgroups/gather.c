/* SPDX-License-Identifier: Apache-2.0 */
/* Which hierarchies there are and where the container's cgroup goes in each. Reads only. */
#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <string.h>
#include <sys/auxv.h>
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

/* A hierarchy that is mounted several times counts once; the first place seen is the usual one. */
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
    struct shadow shadow;

    shadow_read(&shadow, mountinfo, a);
    f->v = arena_array(a, CGROUP_MAX_HIERARCHIES, sizeof *f->v);
    for (size_t len; *line; line += len + (line[len] == '\n')) {
        struct mount_line m;
        struct cgroup_hierarchy *h = &f->v[f->n];

        len = strcspn(line, "\n");
        if (!memmem(line, len, " - cgroup", 9) || !parse_line(arena_strndup(a, line, len), &m) ||
            !(str_eq(m.type, "cgroup") || str_eq(m.type, "cgroup2")) ||
            is_known(f, devices, m.device) || shadow_hides(&shadow, line))
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
    if (is_systemd_path(wanted)) {
        err_at(e, "/linux/cgroupsPath", 0,
               "\"%.200s\" (slice:prefix:name) names a systemd unit, and cgroups are not systemd's",
               wanted);
        err_hint(e, "--systemd-cgroup makes them so");
        return -EINVAL;
    }
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

const char *cgroup_ancestor(const struct cgroup_hierarchy *h, unsigned depth, struct arena *a)
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

/*
 * Of the deepest directory that has one; the root of the hierarchy does. One that has gone since, with
 * the last container in it, does not exist.
 */
static int read_deepest(struct cgroup_hierarchy *h, const char *name, struct arena *a,
                        const char **out, unsigned *depth, struct err *e)
{
    for (unsigned n = h->existing;; n--) {
        int r = read_value(cgroup_ancestor(h, n, a), name, a, out, e);

        if ((r == -ENOENT || r == -ENODEV) && n > 0) {
            h->existing = n - 1;
            continue;
        }
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

/* ---- v2: controllers and delegation --------------------------------------------------------- */

/* One more read for every directory on the way: only for a spec that has limits. */
static int read_controllers(struct cgroup_hierarchy *h, struct arena *a, struct err *e)
{
    const char **subtree = arena_array(a, h->existing + 1, sizeof *subtree);
    int r = read_value(h->mountpoint, "cgroup.controllers", a, &h->available, e);

    for (unsigned n = 0; n <= h->existing && r == 0; n++)
        r = read_value(cgroup_ancestor(h, n, a), "cgroup.subtree_control", a, &subtree[n], e);
    h->subtree = subtree;
    h->n_subtree = h->existing + 1;
    return r;
}

/* config-linux.md "Cgroup ownership": a new namespace, and cgroups mounted where it may write. */
static bool owns_its_cgroups(const struct spec *s)
{
    const struct spec_namespace *ns = spec_namespace_of(s, SPEC_NS_CGROUP);

    for (size_t i = 0; ns && !ns->path && i < s->n_mounts; i++) {
        const struct spec_mount *m = &s->mounts[i];
        bool read_only = false;

        for (size_t k = 0; k < m->options.n; k++)
            read_only |= str_eq(m->options.v[k], "ro");
        if (str_eq(m->source, "cgroup") && str_eq(m->destination, "/sys/fs/cgroup") && !read_only)
            return true;
    }
    return false;
}

/* cgroups(7) "Cgroups delegation"; the file came with Linux 4.15, the list is what it said first. */
static void read_delegate(struct arena *a, struct cgroup_facts *f)
{
    static const char *const usual[] = { "cgroup.procs", "cgroup.subtree_control", "cgroup.threads",
                                         NULL };
    const char *text, **files;
    size_t n = 0, lines = 1;

    f->delegate = usual;
    if (read_value("/sys/kernel/cgroup", "delegate", a, &text, NULL) < 0)
        return;
    for (const char *at = text; *at; at++)
        lines += *at == '\n';
    files = arena_array(a, lines + 1, sizeof *files);
    for (const char *at = text; *at; at += *at == '\n') {
        size_t len = strcspn(at, "\n");

        if (len > 0 && !memchr(at, '/', len))
            files[n++] = arena_strndup(a, at, len);
        at += len;
    }
    f->delegate = files;
}

static int read_for_limits(const struct spec *s, struct arena *a, struct cgroup_facts *f,
                           struct err *e)
{
    int r = 0;

    for (size_t i = 0; i < f->n && r == 0; i++)
        if (f->v[i].v2 && cgroup_resources_asked(&s->linux.resources))
            r = read_controllers(&f->v[i], a, e);
    if (r == 0 && f->unified && f->n > 0 && owns_its_cgroups(s))
        read_delegate(a, f);
    return r;
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

        if (chosen ? is_delegated(&h, cgroup_ancestor(&h, h.existing, a), a)
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

/* Who root of this user namespace is outside: user_namespaces(7), lines "INSIDE OUTSIDE COUNT". */
static uid_t owner_of_namespace(struct arena *a)
{
    const char *text, *at;
    uint64_t inside, outside;

    if (read_value("/proc/self", "uid_map", a, &text, NULL) < 0)
        return 0;
    at = text + strspn(text, " ");
    if (!stats_take_number(&at, &inside) || inside != 0)
        return 0;
    at += strspn(at, " ");
    return stats_take_number(&at, &outside) ? (uid_t)outside : 0;
}

/*
 * sd_booted(3) is how systemd itself tells that it runs. Whose it is: root's of a user namespace only
 * when it was started there; beside podman's, say, it is the host's, and then the user has one too.
 */
static int find_unit(const struct spec *s, const struct cgroup_query *q, struct arena *a,
                     struct cgroup_unit *out, const char **path, struct err *e)
{
    struct cgroup_unit u = { .helper = q->helper, .uid = (uid_t)getauxval(AT_EUID) };
    struct stat booted;
    int r;

    if (fstatat(AT_FDCWD, "/run/systemd/system", &booted, 0) < 0)
        return err_set(e, 0,
                       "systemd cannot make the container's cgroups: it does not run on this "
                       "host (/run/systemd/system is not there)");
    u.user = u.uid != 0 || booted.st_uid != 0;
    if (u.user && u.uid == 0)
        u.uid = owner_of_namespace(a);
    r = systemd_unit_of(s->linux.cgroups_path, q->id, a, &u, path, e);
    if (r == 0)
        r = systemd_add_subgroup(s, a, path, e);
    if (r == 0)
        *out = u;
    return r;
}

int cgroup_gather(const struct spec *s, const struct cgroup_query *q, struct arena *a,
                  struct cgroup_facts *f, struct err *e)
{
    bool chosen = s->linux.cgroups_path && s->linux.cgroups_path[0];
    struct cgroup_facts facts = { .unprivileged = q->limited };
    const char *path = NULL;
    int r = 0;

    if (q->systemd)
        r = find_unit(s, q, a, &facts.unit, &path, e);
    else if (!q->disabled)
        r = path_in_hierarchy(s, q->id, a, &path, e);

    if (r == 0)
        r = parse_mountinfo(q->mountinfo, a, &facts, e);
    if (r < 0)
        return r;
    facts.disabled = q->disabled;
    if (q->disabled)
        facts.n = 0;
    for (size_t i = 0; i < facts.n; i++) {
        facts.v[i].path = arena_format(a, "%s%s", facts.v[i].mountpoint, path);
        facts.v[i].existing = count_existing(&facts.v[i], path, a);
    }
    if (q->limited && !q->disabled && !q->systemd)
        r = keep_writable(s, q, chosen, a, &facts, e);
    for (size_t i = 0; i < facts.n && r == 0; i++)
        if (facts.v[i].cpuset)
            r = read_cpuset(&facts.v[i], q->status, a, e);
    if (r == 0)
        r = read_for_limits(s, a, &facts, e);
    if (s->linux.intel_rdt.set)
        facts.resctrl = rdt_find_mount(q->mountinfo, a);
    if (r == 0)
        *f = facts;
    return r;
}

/* How many components a path has below the mount point, the last one not counted. */
static unsigned components_above(const char *below)
{
    unsigned n = 0;

    for (const char *at = below; *at; at++)
        n += *at == '/';
    return n > 0 ? n - 1 : 0;
}

/* The one of these paths that lies in the hierarchy and in none that is mounted below it. */
static const char *path_below(const struct cgroup_facts *f, size_t hierarchy,
                              const char *const *paths, size_t n)
{
    const char *mountpoint = f->v[hierarchy].mountpoint;
    size_t len = strlen(mountpoint);

    for (size_t i = 0; i < n; i++) {
        bool inner = false;

        for (size_t k = 0; k < f->n; k++)
            inner |= strlen(f->v[k].mountpoint) > len && str_starts(paths[i], f->v[k].mountpoint) &&
                     paths[i][strlen(f->v[k].mountpoint)] == '/';
        if (!inner && str_starts(paths[i], mountpoint) && paths[i][len] == '/')
            return paths[i];
    }
    return NULL;
}

int cgroup_gather_existing(const char *mountinfo, const char *const *paths, size_t n,
                           struct arena *a, struct cgroup_facts *f, struct err *e)
{
    struct cgroup_facts facts = { .unprivileged = getauxval(AT_EUID) != 0 };
    struct cgroup_hierarchy *kept;
    size_t n_kept = 0;
    int r = parse_mountinfo(mountinfo, a, &facts, e);

    kept = arena_array(a, facts.n, sizeof *kept);
    for (size_t i = 0; i < facts.n && r == 0; i++) {
        struct cgroup_hierarchy h = facts.v[i];

        h.path = path_below(&facts, i, paths, n);
        if (!h.path)
            continue;
        h.existing = components_above(h.path + strlen(h.mountpoint));
        if (h.v2)
            r = read_controllers(&h, a, e);
        kept[n_kept++] = h;
    }
    if (r < 0)
        return r;
    facts.v = kept;
    facts.n = n_kept;
    *f = facts;
    return 0;
}
