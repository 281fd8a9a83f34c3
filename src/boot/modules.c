/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The modules of a kernel, in the order in which they can be loaded. What a module depends on it says itself, in
 * its section .modinfo; so depmod(8) need not have run, as it has not on a package that was only unpacked.
 */
#include <elf.h>
#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <string.h>
#include <unistd.h>

#include "boot/internal.h"

enum { LIST_MAX = 8 << 20, DEPTH_MAX = 32, MODULES_MAX = 256, NAME_MAX_LEN = 64 };

struct tree {
    const char *dir, *order, *builtin; /* the texts of modules.order and modules.builtin */
    struct arena *arena;
    struct boot_modules *out;
};

void boot_modules_release(struct boot_modules *m)
{
    for (size_t i = 0; i < m->n; i++)
        strbuf_release(&m->v[i].data);
    m->n = 0;
}

/* "kernel/fs/fuse/virtiofs.ko" is virtiofs; '-' and '_' are one, kernel/module/main.c. */
static bool is_called(const char *line, size_t len, const char *name)
{
    const char *base = memrchr(line, '/', len);
    const char *at = base ? base + 1 : line, *end = line + len;

    for (; *name; name++, at++)
        if (at == end || (*at == '-' ? '_' : *at) != *name)
            return false;
    return end - at >= 3 && memcmp(at, ".ko", 3) == 0;
}

/* The line of a list that names the module, in the arena; NULL: none does. */
static const char *line_of(const struct tree *t, const char *list, const char *name)
{
    for (const char *at = list; *at;) {
        size_t len = strcspn(at, "\n");

        if (is_called(at, len, name))
            return arena_strndup(t->arena, at, len);
        at += len + (at[len] == '\n');
    }
    return NULL;
}

/* As it lies: foo.ko, or packed. */
static int read_module(const struct tree *t, const char *file, struct strbuf *out, struct err *e)
{
    static const char *const endings[] = { "", ".xz", ".zst", ".gz" };
    size_t bare = (size_t)(strstr(file, ".ko") + 3 - file);
    int r = -ENOENT;

    for (size_t i = 0; i < COUNT_OF(endings) && r == -ENOENT; i++) {
        const char *path = arena_format(t->arena, "%s/%.*s%s", t->dir, (int)bare, file, endings[i]);
        AUTO_MAP struct boot_map map = { 0 };

        if (faccessat(AT_FDCWD, path, F_OK, 0) < 0)
            continue;
        r = boot_map_file(path, &map, e);
        if (r == 0 && endings[i][0])
            r = boot_unpack(map.data, map.len, out, e);
        else if (r == 0)
            strbuf_add(out, (const char *)map.data, map.len);
        if (r == -EMEDIUMTYPE)
            return err_set(e, 0, "the module '%s' is not packed as its name says", path);
        if (r < 0 && r != -ENOENT)
            err_prefix(e, path);
    }
    return r == -ENOENT ? err_set(e, 0, "the module '%s/%.*s' is listed but not there", t->dir,
                                  (int)bare, file)
                        : r;
}

/* Section i of an ELF file, NULL: it does not lie in it. */
static const Elf64_Shdr *section(const struct strbuf *file, unsigned i)
{
    const Elf64_Ehdr *head = (const Elf64_Ehdr *)file->ptr;
    const Elf64_Shdr *s;

    if (i >= head->e_shnum || head->e_shoff % _Alignof(Elf64_Shdr) || head->e_shoff > file->len ||
        (file->len - head->e_shoff) / sizeof *s <= i)
        return NULL;
    s = (const Elf64_Shdr *)(file->ptr + head->e_shoff) + i;
    return s->sh_offset <= file->len && s->sh_size <= file->len - s->sh_offset ? s : NULL;
}

/* The text behind "depends=" in .modinfo, which ends at its NUL; NULL: this is no module. */
static const char *depends_of(const struct strbuf *file)
{
    static const char name[] = ".modinfo", key[] = "depends=";
    const Elf64_Ehdr *head = (const Elf64_Ehdr *)file->ptr;
    const Elf64_Shdr *names;

    if (file->len < sizeof *head || memcmp(head->e_ident, ELFMAG, SELFMAG) != 0 ||
        head->e_shentsize != sizeof(Elf64_Shdr) || !(names = section(file, head->e_shstrndx)))
        return NULL;
    for (unsigned i = 0; i < head->e_shnum; i++) {
        const Elf64_Shdr *s = section(file, i);
        const char *at, *end;

        if (!s || s->sh_name >= names->sh_size || names->sh_size - s->sh_name < sizeof name ||
            memcmp(file->ptr + names->sh_offset + s->sh_name, name, sizeof name) != 0)
            continue;
        end = file->ptr + s->sh_offset + s->sh_size;
        for (at = file->ptr + s->sh_offset; at < end; at += strnlen(at, (size_t)(end - at)) + 1)
            if ((size_t)(end - at) >= sizeof key && memcmp(at, key, sizeof key - 1) == 0 &&
                memchr(at, 0, (size_t)(end - at)))
                return at + sizeof key - 1;
    }
    return NULL;
}

static bool has(const struct boot_modules *m, const char *name)
{
    for (size_t i = 0; i < m->n; i++)
        if (str_eq(m->v[i].name, name))
            return true;
    return false;
}

static int load(struct tree *t, const char *name, unsigned depth, struct err *e);

static int load_needed(struct tree *t, const char *list, unsigned depth, struct err *e)
{
    int r = 0;

    for (const char *at = list; *at && r == 0;) {
        size_t len = strcspn(at, ",");
        char *name = arena_strndup(t->arena, at, len);

        for (char *c = name; *c; c++)
            if (*c == '-')
                *c = '_';
        if (len > 0)
            r = load(t, name, depth + 1, e);
        at += len + (at[len] == ',');
    }
    return r;
}

/* NOLINTNEXTLINE(misc-no-recursion): modules need modules; the depth is bounded */
static int load(struct tree *t, const char *name, unsigned depth, struct err *e)
{
    struct strbuf data = { 0 };
    const char *file, *depends;
    int r;

    if (has(t->out, name))
        return 0;
    file = line_of(t, t->order, name);
    if (!file && line_of(t, t->builtin, name))
        return 0;
    if (!file)
        return err_set(e, 0, "the kernel has no module '%s', which a machine needs (in '%s')", name,
                       t->dir);
    if (depth > DEPTH_MAX || t->out->n == MODULES_MAX)
        return err_set(e, 0, "the modules in '%s' depend on each other without end", t->dir);
    r = read_module(t, file, &data, e);
    if (r == 0) {
        depends = depends_of(&data);
        r = depends ? load_needed(t, depends, depth, e)
                    : err_set(e, 0, "'%s/%s' is no kernel module", t->dir, file);
    }
    if (r < 0) {
        strbuf_release(&data);
        return r;
    }
    if (t->out->n == t->out->cap)
        t->out->v = arena_grow(t->arena, t->out->v, t->out->n, &t->out->cap, sizeof *t->out->v);
    t->out->v[t->out->n++] = (struct boot_module){ name, data };
    return 0;
}

static int read_list(const char *dir, const char *name, struct arena *a, const char **out,
                     struct err *e)
{
    char *text;
    size_t len;
    int r = file_read(a, AT_FDCWD, arena_format(a, "%s/%s", dir, name), LIST_MAX, &text, &len, e);

    if (r == 0)
        *out = text;
    return r;
}

int boot_modules_load(const char *dir, const char *const *wanted, struct arena *a,
                      struct boot_modules *out, struct err *e)
{
    struct tree t = { .dir = dir, .arena = a, .out = out };
    int r = read_list(dir, "modules.order", a, &t.order, e);

    *out = (struct boot_modules){ .v = arena_array(a, 16, sizeof *out->v), .cap = 16 };
    if (r == 0)
        r = read_list(dir, "modules.builtin", a, &t.builtin, e);
    for (size_t i = 0; r == 0 && wanted[i]; i++) {
        bool optional = wanted[i][0] == '?';
        const char *name = wanted[i] + optional;

        if (!optional || line_of(&t, t.order, name))
            r = load(&t, name, 0, e);
    }
    if (r < 0)
        boot_modules_release(out);
    return r;
}
