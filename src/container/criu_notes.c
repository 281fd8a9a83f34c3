/* SPDX-License-Identifier: Apache-2.0 */
/*
 * What CRIU's images do not say. A file system that the host has mounted too (a bind, a device node
 * of the host, /sys of a shared network namespace) is not dumped: CRIU wants to be told that such a
 * mount is external, and at the restore where it is. The same goes for what init was given as 0, 1
 * and 2. The kernel tells which mounts these are: by the device number of their superblock.
 */
#include <errno.h>
#include <fcntl.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <sys/sysmacros.h>
#include <unistd.h>

#include "container/criu.h"

enum { MOUNTINFO_MAX_BYTES = 64 << 20, NOTES_MAX_BYTES = 16 << 20 };

static const char notes_name[] = "teca.json", descriptors_name[] = "descriptors.json";

/* ---- mountinfo, proc_pid_mountinfo(5) ------------------------------------------------------ */

struct mount_line {
    const char *id, *dev, *root, *at, *type;
};
struct mount_table {
    struct mount_line *v;
    size_t n;
};

/* "\040" is a space; a backslash is always followed by three octal digits. In place. */
static char *unescape(char *text)
{
    char *to = text;

    for (const char *from = text; *from; to++) {
        if (from[0] == '\\' && from[1] && from[2] && from[3]) {
            *to = (char)((from[1] - '0') * 64 + (from[2] - '0') * 8 + (from[3] - '0'));
            from += 4;
        } else {
            *to = *from++;
        }
    }
    *to = '\0';
    return text;
}

/* "36 35 98:0 /root /at options [tags] - type source super" */
static bool parse_line(char *line, struct mount_line *out)
{
    char *dash = strstr(line, " - "), *words[5], *rest = NULL;

    if (!dash)
        return false;
    *dash = '\0';
    words[0] = strtok_r(line, " ", &rest);
    for (size_t i = 1; i < COUNT_OF(words); i++)
        words[i] = strtok_r(NULL, " ", &rest);
    if (!words[4])
        return false;
    *out = (struct mount_line){ .id = words[0],
                                .dev = words[2],
                                .root = unescape(words[3]),
                                .at = unescape(words[4]),
                                .type = strtok_r(dash + 3, " ", &rest) };
    return out->type != NULL;
}

static int read_mounts(const char *path, struct arena *a, struct mount_table *out, struct err *e)
{
    char *text, *rest = NULL;
    size_t len, lines = 1;
    int r = file_read(a, AT_FDCWD, path, MOUNTINFO_MAX_BYTES, &text, &len, e);

    if (r < 0)
        return r;
    for (size_t i = 0; i < len; i++)
        lines += text[i] == '\n';
    *out = (struct mount_table){ arena_array(a, lines, sizeof *out->v), 0 };
    for (char *line = strtok_r(text, "\n", &rest); line; line = strtok_r(NULL, "\n", &rest))
        if (parse_line(line, &out->v[out->n]))
            out->n++;
    return 0;
}

/* What of `path` lies below `dir`: "" or "/...". NULL: nothing. */
static const char *below(const char *path, const char *dir)
{
    size_t len = str_eq(dir, "/") ? 0 : strlen(dir);

    return strncmp(path, dir, len) == 0 && (path[len] == '/' || path[len] == '\0') ? path + len
                                                                                   : NULL;
}

/* The path of the host that shows the same; NULL: this file system is the container's own. */
static const char *path_on_host(const struct mount_line *m, const struct mount_table *host,
                                struct arena *a)
{
    const struct mount_line *best = NULL;

    for (size_t i = 0; i < host->n; i++) {
        const struct mount_line *h = &host->v[i];

        if (str_eq(h->dev, m->dev) && below(m->root, h->root) &&
            (!best || strlen(h->root) > strlen(best->root)))
            best = h;
    }
    if (!best)
        return NULL;
    return path_clean(a, arena_format(a, "%s/%s", best->at, below(m->root, best->root)));
}

static bool same_namespace(pid_t pid, const char *name)
{
    char theirs[64], ours[64];
    struct stat a, b;

    base_format(theirs, sizeof theirs, "/proc/%d/ns/%s", pid, name);
    base_format(ours, sizeof ours, "/proc/self/ns/%s", name);
    return stat(theirs, &a) == 0 && stat(ours, &b) == 0 && a.st_ino == b.st_ino &&
           a.st_dev == b.st_dev;
}

/*
 * The hierarchies are the host's, but with a cgroup namespace CRIU mounts them itself. What lies
 * on the root filesystem itself is CRIU's to bind again.
 */
static bool is_external(const struct mount_line *m, const struct mount_line *root, bool cgroup_ns)
{
    const char *rest = str_eq(m->dev, root->dev) ? below(m->root, root->root) : NULL;

    if (m == root || (rest && *rest))
        return false;
    return !(cgroup_ns && str_starts(m->type, "cgroup"));
}

static int gather_mounts(pid_t init, const struct mount_table *own, const struct mount_table *host,
                         struct arena *a, struct criu_notes *out)
{
    const struct mount_line *root = NULL;
    bool cgroup_ns = !same_namespace(init, "cgroup");

    for (size_t i = 0; i < own->n; i++)
        if (str_eq(own->v[i].at, "/"))
            root = &own->v[i];
    out->mounts = arena_array(a, own->n + 1, sizeof *out->mounts);
    for (size_t i = 0; root && i < own->n; i++) {
        const struct mount_line *m = &own->v[i];
        const char *path = is_external(m, root, cgroup_ns) ? path_on_host(m, host, a) : NULL;

        if (path)
            out->mounts[out->n_mounts++] = (struct criu_pair){ m->at, path };
    }
    return 0;
}

/* ---- 0, 1 and 2 ---------------------------------------------------------------------------- */

static const char *link_of(pid_t pid, int fd, struct arena *a)
{
    char path[64], text[4096];
    ssize_t n;

    base_format(path, sizeof path, "/proc/%d/fd/%d", pid, fd);
    n = readlink(path, text, sizeof text - 1);
    return n < 0 ? NULL : arena_strndup(a, text, (size_t)n);
}

/* proc_pid_fdinfo(5); "" when it cannot be told. */
static const char *mount_of_fd(pid_t pid, int fd, struct arena *a)
{
    const char *path = arena_format(a, "/proc/%d/fdinfo/%d", pid, fd);
    char *text, *at;

    if (file_read(a, AT_FDCWD, path, 1 << 16, &text, NULL, NULL) < 0)
        return "";
    at = strstr(text, "mnt_id:\t");
    if (!at)
        return "";
    at += strlen("mnt_id:\t");
    at[strcspn(at, "\n")] = '\0';
    return at;
}

static bool is_terminal_device(const struct stat *st)
{
    unsigned m = major(st->st_rdev);

    /* Virtual consoles, /dev/tty and the pseudoterminals, Documentation/admin-guide/devices.txt. */
    return S_ISCHR(st->st_mode) && (m == 4 || m == 5 || (m >= 136 && m <= 143));
}

/*
 * CRIU's name of what a restore can put something else in place of: a pipe, or a file or a terminal of
 * the host's mount namespace.
 */
static const char *name_of_fd(pid_t pid, int fd, const char *link, const struct mount_table *own,
                              struct arena *a)
{
    const char *mount = mount_of_fd(pid, fd, a);
    uint64_t id;
    struct stat st;

    if (str_starts(link, "pipe:["))
        return link;
    if (link[0] != '/' || str_to_u64(mount, &id) < 0 ||
        stat(arena_format(a, "/proc/%d/fd/%d", pid, fd), &st) < 0)
        return NULL;
    for (size_t i = 0; i < own->n; i++)
        if (str_eq(own->v[i].id, mount))
            return NULL;
    if (is_terminal_device(&st))
        return arena_format(a, "tty[%lx:%lx]", (unsigned long)st.st_rdev, (unsigned long)st.st_dev);
    return arena_format(a, "file[%lx:%lx]", id, (unsigned long)st.st_ino);
}

static bool is_closed_on_exec(pid_t pid, int fd, struct arena *a)
{
    char *text, *at;
    uint64_t flags = 0;

    if (file_read(a, AT_FDCWD, arena_format(a, "/proc/%d/fdinfo/%d", pid, fd), 1 << 16, &text, NULL,
                  NULL) < 0)
        return false;
    at = strstr(text, "flags:\t");
    if (at)
        flags = strtoul(at + strlen("flags:\t"), NULL, 8);
    return flags & O_CLOEXEC;
}

static bool is_named(const struct criu_notes *n, const char *name)
{
    for (int fd = 0; fd < CRIU_STDIO; fd++)
        if (n->fds[fd] && str_eq(n->fds[fd], name))
            return true;
    return false;
}

/*
 * A shell that is at `echo >file` right now keeps its own fd 1 elsewhere, from 10 on and closed on exec
 * (sh(1p) 2.7, dash, bash, busybox).
 */
static void find_put_aside(pid_t init, const struct mount_table *own, struct arena *a,
                           struct criu_notes *out)
{
    enum { FIRST = 10, LAST = 19 };
    int fd = 0;

    for (int aside = FIRST; aside <= LAST; aside++) {
        const char *link, *name;

        while (fd < CRIU_STDIO && out->fds[fd])
            fd++;
        link = fd < CRIU_STDIO ? link_of(init, aside, a) : NULL;
        name = link ? name_of_fd(init, aside, link, own, a) : NULL;
        if (!name || is_named(out, name) || !is_closed_on_exec(init, aside, a))
            continue;
        out->fds[fd] = name;
        out->links[fd] = link;
    }
}

int criu_notes_gather(pid_t init, struct arena *a, struct criu_notes *out, struct err *e)
{
    struct mount_table own, host;
    int r = read_mounts(arena_format(a, "/proc/%d/mountinfo", init), a, &own, e);

    if (r == 0)
        r = read_mounts("/proc/self/mountinfo", a, &host, e);
    if (r < 0)
        return r;
    *out = (struct criu_notes){ 0 };
    for (int fd = 0; fd < CRIU_STDIO; fd++) {
        out->links[fd] = link_of(init, fd, a);
        if (out->links[fd])
            out->fds[fd] = name_of_fd(init, fd, out->links[fd], &own, a);
    }
    find_put_aside(init, &own, a, out);
    return gather_mounts(init, &own, &host, a, out);
}

/* ---- beside the images --------------------------------------------------------------------- */

static int write_json(struct json_out *j, const char *images, const char *name, struct arena *a,
                      struct err *e)
{
    size_t len;
    const char *text = json_out_text(j, &len);

    return file_replace(arena_format(a, "%s/%s", images, name), text, len, 0600, e);
}

int criu_notes_write(const struct criu_notes *n, const char *images, struct arena *a, struct err *e)
{
    struct json_out *notes = json_out_in(a, false), *links = json_out_in(a, false);
    int r;

    json_open_object(notes, NULL);
    json_open_object(notes, "mounts");
    for (size_t i = 0; i < n->n_mounts; i++)
        json_add_string(notes, n->mounts[i].key, n->mounts[i].value);
    json_close_object(notes);
    json_open_array(notes, "fds");
    json_open_array(links, NULL);
    for (int fd = 0; fd < CRIU_STDIO; fd++) {
        json_add_string(notes, NULL, n->fds[fd]);
        json_add_string(links, NULL, n->links[fd] ? n->links[fd] : "");
    }
    json_close_array(notes);
    if (n->network_of_hooks)
        json_add_string(notes, "network", "hooks");
    json_close_array(links);
    json_close_object(notes);
    r = write_json(notes, images, notes_name, a, e);
    return r < 0 ? r : write_json(links, images, descriptors_name, a, e);
}

static int read_json(const char *images, const char *name, struct arena *a, struct json **out,
                     struct err *e)
{
    const char *path = arena_format(a, "%s/%s", images, name);
    char *text;
    size_t len;
    int r;

    *out = NULL;
    if (faccessat(AT_FDCWD, path, F_OK, AT_EACCESS) < 0 && errno == ENOENT)
        return 0;
    r = file_read(a, AT_FDCWD, path, NOTES_MAX_BYTES, &text, &len, e);
    return r < 0 ? r : json_parse(a, text, len, path, out, e);
}

static void read_fds(const struct json *list, bool pipes, struct criu_notes *out)
{
    for (const struct json *v = list ? list->child : NULL; v; v = v->next)
        if (v->type == JSON_STRING && v->index < CRIU_STDIO &&
            (!pipes || str_starts(v->text, "pipe:[")))
            out->fds[v->index] = v->text;
}

int criu_notes_read(const char *images, struct arena *a, struct criu_notes *out, struct err *e)
{
    struct json *notes, *links;
    const struct json *mounts;
    int r = read_json(images, notes_name, a, &notes, e);

    if (r == 0)
        r = read_json(images, descriptors_name, a, &links, e);
    if (r < 0)
        return r;
    *out = (struct criu_notes){ 0 };
    read_fds(links, true, out);
    if (!notes)
        return 0;
    read_fds(json_get(notes, "fds"), false, out);
    out->network_of_hooks = json_get(notes, "network") != NULL;
    mounts = json_get(notes, "mounts");
    out->mounts = arena_array(a, mounts ? mounts->count + 1 : 1, sizeof *out->mounts);
    for (const struct json *v = mounts ? mounts->child : NULL; v; v = v->next)
        if (v->type == JSON_STRING)
            out->mounts[out->n_mounts++] = (struct criu_pair){ v->key, v->text };
    return 0;
}
