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

static int digest_file(SHA2_CTX *d, const char *path, struct err *e)
{
    struct stat st;

    if (stat(path, &st) < 0) {
        err_set(e, errno, "cannot look at '%s'", path);
        return -ENOENT;
    }
    digest_text(d, path);
    digest_version(d, &st);
    return 0;
}

static int kernel_key(const char *source, const char *modules, struct arena *a, const char **out,
                      struct err *e)
{
    static const char form[] =
        "3"; /* of what is made: that of another version of teca is made anew */
    char key[DIGEST_HEX];
    SHA2_CTX d;
    int r;

    SHA256Init(&d);
    digest_text(&d, form);
    r = digest_file(&d, source, e);
    if (r < 0)
        return r;
    if (modules)
        digest_text(&d, modules);
    digest_end(&d, key);
    *out = arena_format(a, "kernel-%s", key);
    return 0;
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

/* Root of a user namespace may not write to the host's /var: it is the user there. */
int boot_cache_dir(const char *asked, struct arena *a, const char **out, struct err *e)
{
    const char *own = getenv("TECA_CACHE"), *xdg = getenv("XDG_CACHE_HOME"), *home = getenv("HOME");

    if (asked)
        *out = asked;
    else if (own && own[0] == '/')
        *out = own;
    else if (geteuid() == 0 && (access("/var/cache", W_OK) == 0 || errno != EACCES))
        *out = "/var/cache/teca";
    else if (xdg && xdg[0] == '/')
        *out = arena_format(a, "%s/teca", xdg);
    else if (home && home[0] == '/')
        *out = arena_format(a, "%s/.cache/teca", home);
    else {
        err_set(
            e, 0,
            "there is no directory for machines' kernels: HOME is not set, and '/var/cache' cannot be written to");
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

int boot_make_dirs(struct arena *a, const char *dir, mode_t mode, struct err *e)
{
    char *path = arena_strdup(a, dir);

    for (char *at = path + 1; (at = strchr(at, '/')); *at++ = '/') {
        *at = 0;
        mkdir(path, 0755);
    }
    return mkdir(path, mode) < 0 && errno != EEXIST
               ? err_set(e, errno, "cannot make the directory '%s'", dir)
               : 0;
}

enum { HOLE = 4096 };

static bool is_zero(const char *data, size_t len)
{
    return len == 0 || (data[0] == 0 && memcmp(data, data + 1, len - 1) == 0);
}

/*
 * With a hole wherever a page is 0, which a machine then has without reading it (src/vmm/arch/copy.c): a third to a half of
 * a kernel. On the disk, for it is renamed then, and a name that outlives a loss of power has to be that of something whole.
 */
static int write_sparse(const char *path, const char *data, size_t len, struct err *e)
{
    AUTO_FD int fd = openat(AT_FDCWD, path, O_WRONLY | O_CREAT | O_TRUNC | O_CLOEXEC, 0644);
    int r = fd < 0 || ftruncate(fd, (off_t)len) < 0 ? -errno : 0;

    for (size_t at = 0, end; at < len && r == 0; at = end) {
        bool zero = is_zero(data + at, len - at < HOLE ? len - at : HOLE);

        for (end = at; end < len; end += HOLE)
            if (zero != is_zero(data + end, len - end < HOLE ? len - end : HOLE))
                break;
        end = end < len ? end : len;
        if (!zero)
            r = lseek(fd, (off_t)at, SEEK_SET) < 0 ? -errno : fd_write_all(fd, data + at, end - at);
    }
    if (r == 0 && fsync(fd) < 0)
        r = -errno;
    return r < 0 ? err_set(e, -r, "cannot write '%s'", path) : 0;
}

static int write_in(struct arena *a, const char *dir, const char *name, const char *data,
                    size_t len, struct err *e)
{
    return write_sparse(arena_format(a, "%s/%s", dir, name), data, len, e);
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

/* A user's initrd may hold what is a secret (keys of disks), and QEMU opens its fd again as nobody: so it is the way there. */
static const char *private_dir(struct arena *a, const char *entry)
{
    return arena_format(a, "%s/private", entry);
}

static void remove_entry(struct arena *a, const char *entry)
{
    remove_dir(private_dir(a, entry));
    remove_dir(entry);
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
    r = write_in(c->arena, dir, "vmlinux", elf.ptr, elf.len, e);
    if (r == 0)
        r = write_in(c->arena, dir, "release", release, strlen(release), e);
    return r < 0 ? r : write_in(c->arena, dir, "source", source, strlen(source), e);
}

/* 1: made, 0: it was there. Who has the lock is the only one: what is at work already one that was killed has left. */
static int make_kernel(struct cache *c, struct err *e)
{
    const char *work = arena_format(c->arena, "%s/.new", c->dir);
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
    remove_dir(work);
    if (mkdir(work, 0755) < 0)
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

/* The modules of every machine, and those that this one asks for. */
static const char *const *list_modules(const struct cache *c)
{
    size_t n = 0, n_more = 0;
    const char **all;

    while (c->q->more_modules && c->q->more_modules[n_more])
        n_more++;
    all = arena_array(c->arena, COUNT_OF(wanted_modules) + n_more, sizeof *all);
    for (size_t i = 0; wanted_modules[i]; i++)
        all[n++] = wanted_modules[i];
    for (size_t i = 0; i < n_more; i++)
        all[n++] = c->q->more_modules[i];
    all[n] = NULL;
    return all;
}

/*
 * Archives behind each other are unpacked in turn, compressed or not, and zeroes between them skipped; a header lies at a
 * multiple of 4 (Documentation/driver-api/early-userspace/buffer-format.rst).
 */
static int add_initrd(const char *path, struct strbuf *out, struct err *e)
{
    static const char zeroes[8] = "";
    AUTO_MAP struct boot_map file = { 0 };
    int r = boot_map_file(path, &file, e);

    if (r == 0) {
        strbuf_add(out, (const char *)file.data, file.len);
        strbuf_add(out, zeroes, 8 - file.len % 4);
    }
    return r;
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
    if (r == 0 && c->q->initrd)
        r = add_initrd(c->q->initrd, out, e);
    if (r == 0)
        r = boot_modules_load(modules_dir, list_modules(c), c->arena, &modules, e);
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

/* What begins with this, but not with all of mine; mine NULL: all of that. */
static void remove_others(const char *place, const char *kind, const char *mine)
{
    DIR *dir = opendir(place);

    for (const struct dirent *entry; dir && (entry = readdir(dir));)
        if (str_starts(entry->d_name, kind) && !(mine && str_starts(entry->d_name, mine)))
            unlinkat(dirfd(dir), entry->d_name, 0);
    if (dir)
        closedir(dir);
}

static const char *modules_dir_of(struct cache *c, const char *release)
{
    return c->modules ? c->modules : arena_format(c->arena, "/lib/modules/%s", release);
}

/* "initramfs-KEY-erofs-overlay.cpio": every machine copies all of it, so each kind of machine has one of its own. */
static const char *name_initramfs(struct cache *c, const char *mine)
{
    const char *name = mine;

    for (const char *const *more = c->q->more_modules; more && *more; more++)
        name = arena_format(c->arena, "%s-%s", name, *more + (**more == '?'));
    return arena_format(c->arena, "%s.cpio", name);
}

/* How the names of all begin that are made of the same initrd, or of none. */
static const char *kind_of(struct cache *c)
{
    char key[DIGEST_HEX];
    SHA2_CTX d;

    if (!c->q->initrd)
        return "initramfs-";
    SHA256Init(&d);
    digest_text(&d, c->q->initrd);
    digest_end(&d, key);
    return arena_format(c->arena, "initrd-%s-", key);
}

/* Of this program, the modules in dir and the initrd. */
static int initramfs_key(struct cache *c, const char *dir, char key[DIGEST_HEX], struct err *e)
{
    SHA2_CTX d;
    int r;

    SHA256Init(&d);
    r = digest_file(&d, self, e);
    if (r == 0)
        r = digest_file(&d, arena_format(c->arena, "%s/modules.order", dir), e);
    if (r == 0 && c->q->initrd)
        r = digest_file(&d, c->q->initrd, e);
    digest_end(&d, key);
    return r;
}

static int place_initramfs(struct cache *c, const char *place, const struct strbuf *archive,
                           const char *path, struct err *e)
{
    const char *work = arena_format(c->arena, "%s/.new-%d", place, getpid());
    int r = write_sparse(work, archive->ptr, archive->len, e);

    if (r == 0 && rename(work, path) < 0)
        r = err_set(e, errno, "cannot rename '%s' to '%s'", work, path);
    if (r < 0)
        unlink(work);
    return r;
}

static int make_initramfs(struct cache *c, struct boot_parts *out, struct err *e)
{
    const char *dir = modules_dir_of(c, out->release), *kind = kind_of(c), *name, *mine;
    const char *place = c->q->initrd ? private_dir(c->arena, c->entry) : c->entry;
    AUTO_STRBUF struct strbuf archive = { 0 };
    char key[DIGEST_HEX];
    int r;

    if (faccessat(AT_FDCWD, dir, F_OK, 0) < 0) {
        err_set(e, errno, "cannot find the modules of kernel %s in '%s'", out->release, dir);
        err_hint(e, "install its package, or say where: teca vm prepare --modules DIR");
        return -ENOENT;
    }
    r = initramfs_key(c, dir, key, e);
    if (r < 0)
        return r;
    mine = arena_format(c->arena, "%s%s", kind, key);
    name = name_initramfs(c, mine);
    out->initramfs = arena_format(c->arena, "%s/%s", place, name);
    if (c->q->look || faccessat(AT_FDCWD, out->initramfs, F_OK, 0) == 0)
        return 0;
    r = build_initramfs(c, dir, &archive, e);
    if (r == 0 && c->q->initrd)
        r = boot_make_dirs(c->arena, place, 0700, e);
    if (r == 0)
        r = place_initramfs(c, place, &archive, out->initramfs, e);
    out->made_initramfs = r == 0;
    if (r < 0)
        return r;
    /* Of other versions of teca, or of what the initrd was: a machine that boots has it open. And of who was killed. */
    remove_others(place, kind, mine);
    remove_others(place, ".new-", NULL);
    return 0;
}

static int set_default(struct cache *c, struct err *e)
{
    const char *name = strrchr(c->entry, '/') + 1;
    const char *link = arena_format(c->arena, "%s/default", c->dir);
    const char *work = arena_format(c->arena, "%s/.default", c->dir);

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
            remove_entry(c->arena, path);
    }
    if (dir)
        closedir(dir);
}

/*
 * Whoever can open a file can hold its lock, for ever: the file is its owner's alone, also one that an older teca has
 * left. Who may not have it makes nothing in this cache, which serves as far as it goes.
 */
int boot_lock(struct arena *a, const char *dir, int *out_fd, struct err *e)
{
    const char *path = arena_format(a, "%s/lock", dir);
    AUTO_FD int fd = openat(AT_FDCWD, path, O_RDWR | O_CREAT | O_NOFOLLOW | O_CLOEXEC, 0600);

    if (fd < 0 && (errno == EACCES || errno == EROFS)) {
        *out_fd = -1;
        return 0;
    }
    if (fd < 0)
        return err_set(e, errno, "cannot open '%s'", path);
    (void)fchmod(fd, 0600);
    if (flock(fd, LOCK_EX) < 0)
        return err_set(e, errno, "cannot lock '%s'", path);
    *out_fd = take_fd(&fd);
    return 0;
}

void boot_umask_release(const mode_t *of_caller)
{
    umask(*of_caller);
}

void boot_parts_release(struct boot_parts *p)
{
    fd_cleanup(&p->kernel_fd);
    fd_cleanup(&p->initramfs_fd);
}

/* With the lock: who replaces them waits for it. */
static int open_parts(struct boot_parts *p, struct err *e)
{
    AUTO_FD int kernel = openat(AT_FDCWD, p->kernel, O_RDONLY | O_CLOEXEC);
    AUTO_FD int initramfs = openat(AT_FDCWD, p->initramfs, O_RDONLY | O_CLOEXEC);

    if (kernel < 0 || initramfs < 0)
        return err_set(e, errno, "cannot open '%s'", kernel < 0 ? p->kernel : p->initramfs);
    p->kernel_fd = take_fd(&kernel);
    p->initramfs_fd = take_fd(&initramfs);
    return 0;
}

int boot_prepare(const struct boot_request *q, struct arena *a, struct boot_parts *out,
                 struct err *e)
{
    AUTO_UMASK mode_t of_caller = umask(BOOT_UMASK);
    struct cache c = { .q = q, .arena = a };
    struct boot_parts parts = { .kernel_fd = -1, .initramfs_fd = -1 };
    AUTO_FD int lock = -1;
    char *release;
    size_t len;
    int r = boot_cache_dir(q->cache, a, &c.dir, e);

    if (r == 0)
        r = choose(&c, e);
    if (r == 0 && !q->look)
        r = boot_make_dirs(a, c.dir, 0755, e);
    if (r < 0)
        return r;
    if (!q->look)
        r = boot_lock(a, c.dir, &lock, e);
    r = r < 0 ? r : make_kernel(&c, e);
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
    if (r == 0 && !q->look)
        r = open_parts(&parts, e);
    if (r < 0)
        return r;
    if (parts.made_kernel)
        remove_stale(&c);
    *out = parts;
    return 0;
}
