/* SPDX-License-Identifier: Apache-2.0 */
/* What must be asked of the host, and its JSON form. Reads only. */
#include <errno.h>
#include <limits.h>
#include <string.h>
#include <sys/auxv.h>
#include <sys/stat.h>
#include <unistd.h>

#include "rootfs/internal.h"

static const char *const source_names[] = {
    [SOURCE_NONE] = "none",       [SOURCE_DIR] = "directory", [SOURCE_FILE] = "file",
    [SOURCE_MISSING] = "missing", [SOURCE_LINK] = "symlink",
};

/* What the symlink says that "copy-symlink" is about; NULL: the source is none. */
static const char *link_text(const char *source, struct arena *a)
{
    char text[PATH_MAX];
    ssize_t len = readlink(source, text, sizeof text);

    return len > 0 && (size_t)len < sizeof text ? arena_strndup(a, text, (size_t)len) : NULL;
}

/* *link, where it is given and the source is a symlink: what that says. */
static enum rootfs_source source_of(const char *bundle, const char *source, struct arena *a,
                                    const char **link)
{
    struct stat st;

    if (source[0] != '/')
        source = arena_format(a, "%s/%s", bundle, source);
    if (link && (*link = link_text(source, a)))
        return SOURCE_LINK;
    if (stat(source, &st) < 0)
        return errno == ENOENT || errno == ENOTDIR ? SOURCE_MISSING : SOURCE_DIR;
    return S_ISDIR(st.st_mode) ? SOURCE_DIR : SOURCE_FILE;
}

/*
 * Is any mount shared or a slave? A copy of either is told of what happens on the host.
 * proc_pid_mountinfo(5): optional fields stand before the lone "-".
 */
static bool has_shared(const char *mountinfo)
{
    for (const char *line = mountinfo; *line; line += strcspn(line, "\n"), line += *line == '\n') {
        size_t len = strcspn(line, "\n");
        const char *end = memmem(line, len, " - ", 3);

        if (end && (memmem(line, (size_t)(end - line), " shared:", 8) ||
                    memmem(line, (size_t)(end - line), " master:", 8)))
            return true;
    }
    return false;
}

/* Field 1 to 6 of a line of mountinfo. */
static const char *field(const char *line, int number)
{
    for (int i = 1; i < number; i++) {
        line += strcspn(line, " \n");
        line += *line == ' ';
    }
    return line;
}

static bool is_root_covered(const char *mountinfo)
{
    size_t n = 0;

    for (const char *line = mountinfo; *line; line += strcspn(line, "\n"), line += *line == '\n')
        n += str_starts(field(line, 5), "/ ");
    return n != 1;
}

/* A procfs or sysfs as a whole, field 4: its root is mounted. */
static bool is_kernel_mount(const char *line)
{
    const char *end = memmem(line, strcspn(line, "\n"), " - ", 3);

    return end && (str_starts(end, " - proc ") || str_starts(end, " - sysfs ")) &&
           str_starts(field(line, 4), "/ ");
}

/* Field 5, in which space, tab, newline and backslash are octal. */
static const char *mount_point(struct arena *a, const char *line)
{
    const char *at = field(line, 5);
    char *text = arena_strndup(a, at, strcspn(at, " ")), *out = text;

    for (const char *c = text; *c; c++) {
        if (*c == '\\' && c[1] && c[2] && c[3]) {
            *out++ = (char)((c[1] - '0') * 64 + (c[2] - '0') * 8 + (c[3] - '0'));
            c += 3;
        } else {
            *out++ = *c;
        }
    }
    *out = '\0';
    return text;
}

/* Only --no-pivot wants them; but they are there already. */
static const char **kernel_mounts(struct arena *a, const char *mountinfo)
{
    const char **list, *line;
    size_t n = 0, at;

    for (line = mountinfo; *line; line += strcspn(line, "\n"), line += *line == '\n')
        n += is_kernel_mount(line);
    list = arena_array(a, n + 1, sizeof *list);
    for (line = mountinfo, at = n; at > 0; line += strcspn(line, "\n"), line += *line == '\n')
        if (is_kernel_mount(line))
            list[--at] = mount_point(a, line);
    return list;
}

static void gather_source(const struct spec_mount *m, size_t i, struct arena *a,
                          struct rootfs_facts *f)
{
    struct mount_options o;
    size_t n = 0;

    /* Options that make no sense are compile's to complain about, with their pointer. */
    if (!m->source || options_parse(m, &o, NULL) < 0 || !o.bind || o.flags & MS_REMOUNT)
        return;
    while (f->links[n])
        n++;
    f->sources[i] = source_of(f->bundle, m->source, a, o.copy_symlink ? &f->links[n] : NULL);
}

int rootfs_gather(const struct spec *s, const char *bundle, const char *mountinfo, struct arena *a,
                  struct rootfs_facts *f, struct err *e)
{
    if (!s->root.set || !s->root.path)
        return err_at(e, "/root", 0, "a root filesystem is needed");
    *f = (struct rootfs_facts){
        .root = s->root.path[0] == '/' ? s->root.path
                                       : arena_format(a, "%s/%s", bundle, s->root.path),
        .bundle = bundle,
        .privileged = getauxval(AT_EUID) == 0,
        .host_shared = has_shared(mountinfo),
        .root_covered = is_root_covered(mountinfo),
        .sources = arena_array(a, s->n_mounts, sizeof *f->sources),
        .n_sources = s->n_mounts,
        .links = arena_array(a, s->n_mounts + 1, sizeof *f->links),
        .kernel_mounts = kernel_mounts(a, mountinfo),
    };
    for (size_t i = 0; i < s->n_mounts; i++)
        gather_source(&s->mounts[i], i, a, f);
    return 0;
}

void rootfs_facts_write(const struct rootfs_facts *f, struct json_out *j, const char *key)
{
    json_open_object(j, key);
    json_add_string(j, "root", f->root);
    json_add_string(j, "bundle", f->bundle);
    json_add_bool(j, "privileged", f->privileged);
    json_add_bool(j, "hostShared", f->host_shared);
    json_add_bool(j, "rootCovered", f->root_covered);
    json_open_array(j, "sources");
    for (size_t i = 0; i < f->n_sources; i++)
        json_add_string(j, NULL, source_names[f->sources[i]]);
    json_close_array(j);
    if (f->links[0])
        json_add_strings(j, "links", f->links);
    json_add_strings(j, "kernelMounts", f->kernel_mounts);
    json_close_object(j);
}

static void read_sources(struct json_reader *in, struct arena *a, struct rootfs_facts *f)
{
    const struct json *list = json_read_array(in, "sources");

    f->sources = arena_array(a, list ? list->count : 0, sizeof *f->sources);
    for (const struct json *item = list ? list->child : NULL; item; item = item->next) {
        size_t known = 0;

        while (known < COUNT_OF(source_names) &&
               !(item->type == JSON_STRING && str_eq(item->text, source_names[known])))
            known++;
        if (known == COUNT_OF(source_names))
            json_read_fault(in, "sources", "an array of kinds of bind sources");
        f->sources[f->n_sources++] = (enum rootfs_source)known;
    }
}

/* As many as sources are symlinks; absent where there is none. */
static void read_links(struct json_reader *in, struct arena *a, struct rootfs_facts *f)
{
    size_t wanted = 0, n = 0;

    f->links = json_read_strings(in, "links", "", a);
    if (!f->links)
        f->links = arena_array(a, 1, sizeof *f->links);
    for (size_t i = 0; i < f->n_sources; i++)
        wanted += f->sources[i] == SOURCE_LINK;
    while (f->links[n] && f->links[n][0])
        n++;
    if (n != wanted || f->links[n])
        json_read_fault(in, "links", "as many targets as sources are symlinks");
}

int rootfs_facts_read(const struct json *v, struct arena *a, struct rootfs_facts *f, struct err *e)
{
    struct json_reader in = { .object = v, .what = "the facts", .e = e };
    struct rootfs_facts facts = {
        .root = json_read_string(&in, "root"),
        .bundle = json_read_string(&in, "bundle"),
        .privileged = json_read_bool(&in, "privileged"),
        .host_shared = json_read_bool(&in, "hostShared"),
        .root_covered = json_read_bool(&in, "rootCovered"),
        .kernel_mounts = json_read_strings(&in, "kernelMounts", "/", a),
    };

    if (!facts.kernel_mounts)
        json_read_fault(&in, "kernelMounts", "an array of paths");
    read_sources(&in, a, &facts);
    read_links(&in, a, &facts);
    if (in.r == 0)
        *f = facts;
    return in.r;
}
