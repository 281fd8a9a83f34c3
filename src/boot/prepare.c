/* SPDX-License-Identifier: Apache-2.0 */
/* The cache: what is there is used, what is not is made. */
#include <dirent.h>
#include <elf.h>
#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/file.h>
#include <sys/stat.h>
#include <unistd.h>

#include "boot/internal.h"

enum { TEXT_MAX = 16384, PATH_SIZE = 4096 };

/*
 * What the agent needs to reach the host and the bundle's files; the rest of a container's needs is built into
 * Debian's kernels. The transport first, drivers behind.
 */
static const char *const wanted_modules[] = { "virtio_mmio",     "virtio_console",
                                              "virtiofs",        "virtio_rng",
                                              "?virtio_balloon", "?pvpanic_mmio",
                                              "?virtio_net",     NULL };
static const char self[] = "/proc/self/exe";

struct cache {
    const struct boot_request *q;
    struct arena *arena;
    const char *dir;
    const char *source, *modules; /* of the kernel; modules NULL: by its release */
    const char *entry;            /* CACHE/kernel-KEY */
};

/* ---- keys ------------------------------------------------------------------------------------ */

/* FNV-1a; whoever can choose these files is root already. */
static uint64_t hash_add(uint64_t hash, const void *data, size_t len)
{
    const uint8_t *at = data;

    for (size_t i = 0; i < len; i++)
        hash = (hash ^ at[i]) * 0x100000001b3;
    return hash;
}

static int hash_file(uint64_t *hash, const char *path, struct err *e)
{
    struct stat st;
    uint64_t facts[6];

    if (stat(path, &st) < 0) {
        err_set(e, errno, "cannot look at '%s'", path);
        return -ENOENT;
    }
    facts[0] = st.st_dev;
    facts[1] = st.st_ino;
    facts[2] = (uint64_t)st.st_size;
    facts[3] = (uint64_t)st.st_mtim.tv_sec;
    facts[4] = (uint64_t)st.st_mtim.tv_nsec;
    facts[5] = (uint64_t)st.st_ctim.tv_sec;
    *hash = hash_add(*hash, facts, sizeof facts);
    return 0;
}

static const uint64_t hash_start = 0xcbf29ce484222325;

static int kernel_key(const char *source, const char *modules, struct arena *a, const char **out,
                      struct err *e)
{
    static const char form[] =
        "2"; /* of what is made: that of another version of teca is made anew */
    uint64_t hash = hash_add(hash_start, form, sizeof form);
    int r;

    hash = hash_add(hash, source, strlen(source) + 1);
    r = hash_file(&hash, source, e);

    if (modules)
        hash = hash_add(hash, modules, strlen(modules));
    if (r == 0)
        *out = arena_format(a, "kernel-%016lx", hash);
    return r;
}

/* ---- which kernel ---------------------------------------------------------------------------- */

static int absolute(struct arena *a, const char *path, const char **out, struct err *e)
{
    char *real = realpath(path, NULL);

    if (!real) {
        err_set(e, errno, "cannot find '%s'", path);
        return -ENOENT;
    }
    *out = arena_strdup(a, real);
    free(real);
    return 0;
}

static int find_cache(struct cache *c, struct err *e)
{
    const char *own = getenv("TECA_CACHE"), *xdg = getenv("XDG_CACHE_HOME"), *home = getenv("HOME");

    if (c->q->cache)
        c->dir = c->q->cache;
    else if (own && own[0] == '/')
        c->dir = own;
    else if (geteuid() == 0)
        c->dir = "/var/cache/teca";
    else if (xdg && xdg[0] == '/')
        c->dir = arena_format(c->arena, "%s/teca", xdg);
    else if (home && home[0] == '/')
        c->dir = arena_format(c->arena, "%s/.cache/teca", home);
    else {
        err_set(e, 0, "there is no directory for machines' kernels: HOME is not set");
        return -ENOENT;
    }
    return 0;
}

/* The kernel that an entry was made of, and its modules if they were named: two lines. */
static int read_source(struct cache *c, const char *entry, struct err *e)
{
    char *text, *line;
    size_t len;
    int r = file_read(c->arena, AT_FDCWD, arena_format(c->arena, "%s/source", entry), TEXT_MAX,
                      &text, &len, e);

    if (r < 0)
        return r;
    line = strchr(text, '\n');
    if (!line) {
        err_set(e, 0, "'%s/source' is damaged: remove '%s'", entry, entry);
        return -EINVAL;
    }
    *line++ = 0;
    line[strcspn(line, "\n")] = 0;
    c->source = text;
    c->modules = line[0] ? line : NULL;
    return 0;
}

/* 1: found, by the link; 0: nobody has named one, or what was named has gone. */
static int use_default(struct cache *c, struct err *e)
{
    const char *link = arena_format(c->arena, "%s/default", c->dir);
    char name[PATH_SIZE];
    ssize_t n = readlink(link, name, sizeof name - 1);
    int r;

    if (n < 0)
        return 0;
    name[n] = 0;
    c->entry = arena_format(c->arena, "%s/%s", c->dir, name);
    if (faccessat(AT_FDCWD, c->entry, F_OK, 0) < 0)
        return 0;
    r = read_source(c, c->entry, e);
    return r < 0 ? r : 1;
}

/* The kernel that is named has been prepared: then it is known where its modules are. */
static bool is_default(struct cache *c)
{
    struct cache found = *c;

    if (use_default(&found, NULL) <= 0 || !str_eq(found.source, c->source))
        return false;
    *c = found;
    return true;
}

static int choose(struct cache *c, struct err *e)
{
    const char *name = c->q->kernel, *key;
    int r = 0;

    /* Who starts a machine wants the one that was prepared, who prepares the newest one. */
    if (!name && c->q->make_default)
        name = boot_find_kernel("/boot", "/lib/modules", c->arena);
    if (!name) {
        r = use_default(c, e);
        if (r != 0)
            return r < 0 ? r : 0;
    }
    if (!name && !c->q->make_default)
        name = boot_find_kernel("/boot", "/lib/modules", c->arena);
    if (!name) {
        err_set(e, 0, "there is no kernel for a machine in /boot");
        err_hint(e, "apt install linux-image-cloud-amd64, or teca vm prepare --kernel FILE");
        return -ENOENT;
    }
    r = absolute(c->arena, name, &c->source, e);
    if (r == 0 && !c->q->modules && is_default(c))
        return 0;
    if (r == 0 && c->q->modules)
        r = absolute(c->arena, c->q->modules, &c->modules, e);
    if (r == 0)
        r = kernel_key(c->source, c->modules, c->arena, &key, e);
    if (r == 0)
        c->entry = arena_format(c->arena, "%s/%s", c->dir, key);
    return r;
}

/* ---- making ---------------------------------------------------------------------------------- */

static int make_dirs(struct arena *a, const char *dir, struct err *e)
{
    char *path = arena_strdup(a, dir);

    for (char *at = path + 1; (at = strchr(at, '/')); *at++ = '/') {
        *at = 0;
        mkdir(path, 0755);
    }
    return mkdir(path, 0755) < 0 && errno != EEXIST
               ? err_set(e, errno, "cannot make the directory '%s'", dir)
               : 0;
}

static int write_in(struct arena *a, const char *dir, const char *name, const char *data,
                    size_t len, struct err *e)
{
    return file_replace(arena_format(a, "%s/%s", dir, name), data, len, 0644, e);
}

enum { HOLE = 4096 };

static bool is_zero(const char *data, size_t len)
{
    return len == 0 || (data[0] == 0 && memcmp(data, data + 1, len - 1) == 0);
}

/*
 * With a hole wherever a page is 0, which a machine then has without reading it (src/vmm/arch/copy.c): a third to a half of
 * a kernel.
 */
static int write_sparse(const char *path, const struct strbuf *data, struct err *e)
{
    AUTO_FD int fd = openat(AT_FDCWD, path, O_WRONLY | O_CREAT | O_TRUNC | O_CLOEXEC, 0644);
    int r = fd < 0 || ftruncate(fd, (off_t)data->len) < 0 ? -errno : 0;

    for (size_t at = 0, end; at < data->len && r == 0; at = end) {
        bool zero = is_zero(data->ptr + at, data->len - at < HOLE ? data->len - at : HOLE);

        for (end = at; end < data->len; end += HOLE)
            if (zero != is_zero(data->ptr + end, data->len - end < HOLE ? data->len - end : HOLE))
                break;
        end = end < data->len ? end : data->len;
        if (!zero)
            r = lseek(fd, (off_t)at, SEEK_SET) < 0 ? -errno
                                                   : fd_write_all(fd, data->ptr + at, end - at);
    }
    return r < 0 ? err_set(e, -r, "cannot write '%s'", path) : 0;
}

static void remove_dir(const char *path)
{
    DIR *dir = opendir(path);

    for (const struct dirent *entry; dir && (entry = readdir(dir));)
        unlinkat(dirfd(dir), entry->d_name, 0);
    if (dir)
        closedir(dir);
    rmdir(path);
}

static int fill_entry(struct cache *c, const char *dir, struct err *e)
{
    AUTO_MAP struct boot_map file = { 0 };
    AUTO_STRBUF struct strbuf elf = { 0 };
    const char *release, *source;
    int r = boot_map_file(c->source, &file, e);

    if (r < 0)
        return r;
    r = boot_kernel_elf(file.data, file.len, &elf, e);
    if (r == 0)
        r = boot_release_of(&elf, c->arena, &release, e);
    if (r < 0) {
        err_prefix(e, arena_format(c->arena, "cannot use the kernel '%s'", c->source));
        return r;
    }
    source = arena_format(c->arena, "%s\n%s\n", c->source, c->modules ? c->modules : "");
    r = write_sparse(arena_format(c->arena, "%s/vmlinux", dir), &elf, e);
    if (r == 0)
        r = write_in(c->arena, dir, "release", release, strlen(release), e);
    return r < 0 ? r : write_in(c->arena, dir, "source", source, strlen(source), e);
}

/* 1: made, 0: it was there. */
static int make_kernel(struct cache *c, struct err *e)
{
    const char *work = arena_format(c->arena, "%s/.new-%d", c->dir, getpid());
    int r;

    if (faccessat(AT_FDCWD, c->entry, F_OK, 0) == 0)
        return 0;
    if (!c->source)
        return err_set(e, ENOENT, "cannot find '%s'", c->entry);
    if (c->q->look) {
        err_set(e, ENOENT, "the kernel '%s' is not prepared", c->source);
        err_hint(e, "teca vm prepare, or the first start of a machine, does it");
        return -ENOENT;
    }
    if (mkdir(work, 0755) < 0 && errno != EEXIST)
        return err_set(e, errno, "cannot make the directory '%s'", work);
    r = fill_entry(c, work, e);
    if (r == 0 && rename(work, c->entry) < 0)
        r = err_set(e, errno, "cannot rename '%s' to '%s'", work, c->entry);
    if (r < 0)
        remove_dir(work);
    return r < 0 ? r : 1;
}

/* The agent is this program; PID 1 of a machine has no dynamic linker. */
static int check_static(const struct boot_map *program, struct err *e)
{
    const Elf64_Ehdr *head = (const Elf64_Ehdr *)program->data;
    const Elf64_Phdr *segments = (const Elf64_Phdr *)(program->data + head->e_phoff);

    for (unsigned i = 0; i < head->e_phnum; i++)
        if (segments[i].p_type == PT_INTERP)
            return err_set(e, 0,
                           "this teca is linked dynamically, and cannot be a machine's agent "
                           "(build it with STATIC=1)");
    return 0;
}

/*
 * What is never loaded stays out: symbols and words for a debugger are three quarters of a program that was not
 * stripped, and each byte is copied into each machine.
 */
static void add_program(const struct boot_map *program, struct strbuf *out)
{
    Elf64_Ehdr head = *(const Elf64_Ehdr *)program->data;
    const Elf64_Phdr *segments = (const Elf64_Phdr *)(program->data + head.e_phoff);
    size_t end = head.e_phoff + head.e_phnum * sizeof(*segments);

    for (unsigned i = 0; i < head.e_phnum; i++)
        if (segments[i].p_type == PT_LOAD && segments[i].p_offset + segments[i].p_filesz > end)
            end = segments[i].p_offset + segments[i].p_filesz;
    head.e_shoff = head.e_shnum = head.e_shstrndx = 0;
    strbuf_add(out, (const char *)&head, sizeof(head));
    strbuf_add(out, (const char *)program->data + sizeof(head), end - sizeof(head));
}

static int build_initramfs(struct cache *c, const char *modules_dir, struct strbuf *out,
                           struct err *e)
{
    AUTO_MAP struct boot_map program = { 0 };
    AUTO_STRBUF struct strbuf agent = { 0 };
    struct boot_modules modules = { 0 };
    unsigned number = 0;
    int r = boot_map_file(self, &program, e);

    if (r == 0)
        r = check_static(&program, e);
    if (r == 0)
        r = boot_modules_load(modules_dir, wanted_modules, c->arena, &modules, e);
    if (r < 0)
        return r;
    boot_cpio_add(out, &number, "modules", S_IFDIR | 0755, "", 0);
    for (size_t i = 0; i < modules.n; i++)
        boot_cpio_add(out, &number,
                      arena_format(c->arena, "modules/%02zu-%s", i, modules.v[i].name),
                      S_IFREG | 0644, modules.v[i].data.ptr, modules.v[i].data.len);
    add_program(&program, &agent);
    boot_cpio_add(out, &number, BOOT_AGENT, S_IFREG | 0755, agent.ptr, agent.len);
    boot_cpio_end(out);
    boot_modules_release(&modules);
    return 0;
}

/* Those of other versions of teca. A machine that boots has it open. */
static void remove_other_initramfs(struct cache *c, const char *mine)
{
    DIR *dir = opendir(c->entry);

    for (const struct dirent *entry; dir && (entry = readdir(dir));)
        if (str_starts(entry->d_name, "initramfs-") && !str_eq(entry->d_name, mine))
            unlinkat(dirfd(dir), entry->d_name, 0);
    if (dir)
        closedir(dir);
}

static const char *modules_dir_of(struct cache *c, const char *release)
{
    return c->modules ? c->modules : arena_format(c->arena, "/lib/modules/%s", release);
}

static int make_initramfs(struct cache *c, struct boot_parts *out, struct err *e)
{
    const char *dir = modules_dir_of(c, out->release), *name;
    AUTO_STRBUF struct strbuf archive = { 0 };
    uint64_t hash = hash_start;
    int r = hash_file(&hash, self, e);

    if (r == 0 && faccessat(AT_FDCWD, dir, F_OK, 0) < 0) {
        err_set(e, errno, "cannot find the modules of kernel %s in '%s'", out->release, dir);
        err_hint(e, "install its package, or say where: teca vm prepare --modules DIR");
        return -ENOENT;
    }
    if (r == 0)
        r = hash_file(&hash, arena_format(c->arena, "%s/modules.order", dir), e);
    if (r < 0)
        return r;
    name = arena_format(c->arena, "initramfs-%016lx.cpio", hash);
    out->initramfs = arena_format(c->arena, "%s/%s", c->entry, name);
    if (c->q->look || faccessat(AT_FDCWD, out->initramfs, F_OK, 0) == 0)
        return 0;
    r = build_initramfs(c, dir, &archive, e);
    if (r == 0)
        r = write_in(c->arena, c->entry, name, archive.ptr, archive.len, e);
    if (r == 0)
        remove_other_initramfs(c, name);
    out->made_initramfs = r == 0;
    return r;
}

static int set_default(struct cache *c, struct err *e)
{
    const char *name = strrchr(c->entry, '/') + 1;
    const char *link = arena_format(c->arena, "%s/default", c->dir);
    const char *work = arena_format(c->arena, "%s/.default-%d", c->dir, getpid());

    unlink(work);
    if (symlink(name, work) < 0 || rename(work, link) < 0)
        return err_set(e, errno, "cannot make the link '%s'", link);
    return 0;
}

/* Kernels that are no more, or not what they were, and nobody's default. */
static void remove_stale(struct cache *c)
{
    char current[PATH_SIZE];
    ssize_t n = readlink(arena_format(c->arena, "%s/default", c->dir), current, sizeof current - 1);
    DIR *dir = opendir(c->dir);

    current[n < 0 ? 0 : n] = 0;
    for (const struct dirent *entry; dir && (entry = readdir(dir));) {
        struct cache other = { .arena = c->arena };
        const char *path = arena_format(c->arena, "%s/%s", c->dir, entry->d_name), *key;

        if (!str_starts(entry->d_name, "kernel-") || str_eq(entry->d_name, current) ||
            str_eq(path, c->entry) || read_source(&other, path, NULL) < 0)
            continue;
        if (kernel_key(other.source, other.modules, c->arena, &key, NULL) < 0 ||
            !str_eq(key, entry->d_name))
            remove_dir(path);
    }
    if (dir)
        closedir(dir);
}

static int lock_cache(struct cache *c, struct err *e)
{
    const char *path = arena_format(c->arena, "%s/lock", c->dir);
    AUTO_FD int fd = openat(AT_FDCWD, path, O_RDWR | O_CREAT | O_CLOEXEC, 0644);

    if (fd < 0 || flock(fd, LOCK_EX) < 0)
        return err_set(e, errno, "cannot lock '%s'", path);
    return take_fd(&fd);
}

int boot_prepare(const struct boot_request *q, struct arena *a, struct boot_parts *out,
                 struct err *e)
{
    struct cache c = { .q = q, .arena = a };
    struct boot_parts parts = { 0 };
    AUTO_FD int lock = -1;
    char *release;
    size_t len;
    int r = find_cache(&c, e);

    if (r == 0)
        r = choose(&c, e);
    if (r == 0 && !q->look)
        r = make_dirs(a, c.dir, e);
    if (r < 0)
        return r;
    if (!q->look && (lock = lock_cache(&c, e)) < 0)
        return lock;
    r = make_kernel(&c, e);
    parts.made_kernel = r > 0;
    if (r >= 0)
        r = file_read(a, AT_FDCWD, arena_format(a, "%s/release", c.entry), TEXT_MAX, &release, &len,
                      e);
    if (r < 0)
        return r;
    parts.release = release;
    parts.source = c.source;
    parts.kernel = arena_format(a, "%s/vmlinux", c.entry);
    r = make_initramfs(&c, &parts, e);
    if (r == 0 && q->make_default)
        r = set_default(&c, e);
    if (r < 0)
        return r;
    if (parts.made_kernel)
        remove_stale(&c);
    *out = parts;
    return 0;
}
