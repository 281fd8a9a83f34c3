/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Compiled seccomp filters, kept by content. libseccomp 2.5 needs about 20 ms for the profile that
 * engines send with nearly every container, several times what the rest of a start takes.
 *
 * An entry is one file: a header, the canonical form of the profile, the program. The name is a
 * hash of the canonical form, but nothing depends on that hash being strong: whoever reads an entry
 * compares the whole canonical form, so two profiles that collide cost time and never a filter.
 *
 * The directory is 0700, an entry is 0600, both are ours: who could write there could change any
 * file of ours. Entries come by rename and are never changed, so a reader needs no lock. Whatever is
 * wrong with an entry (torn, of another version, corrupt) makes it a miss, which replaces it.
 * Whatever is wrong with the directory makes a start without a cache, never a failed one.
 */
#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <seccomp.h>
#include <stdio.h>
#include <string.h>
#include <sys/auxv.h>
#include <sys/stat.h>
#include <unistd.h>

#include "security/internal.h"

enum {
    CACHE_FORMAT = 1,         /* of the header and of the canonical form */
    CANONICAL_MAX = 64 << 10, /* a profile beyond that is compiled each time */
    CACHE_ENTRIES = 64,       /* with at most 96 KiB each */
    NAME_SIZE = 64,
};

struct header {
    char magic[8];
    uint32_t format, canonical_size, instructions, reserved;
    uint64_t check; /* hash of the program */
};
static const char magic[8] = "tecabpf";

/* The entry under work. init inherits this memory by the clone and loads the program from it. */
static union {
    struct header header;
    char bytes[sizeof(struct header) + CANONICAL_MAX +
               SECCOMP_MAX_INSTRUCTIONS * sizeof(struct sock_filter)];
} entry;
static const struct sock_filter *program;

const struct sock_filter *seccomp_program_code(void)
{
    return program;
}

/* Of whole 8-byte words; finds damage and spreads names, no more is asked of it. */
static uint64_t hash_of(const char *data, size_t size)
{
    uint64_t h = UINT64_C(0x9E3779B97F4A7C15) ^ size, word;

    for (size_t i = 0; i + sizeof word <= size; i += sizeof word) {
        memcpy(&word, data + i, sizeof word);
        h = (h ^ word) * UINT64_C(0xD6E8FEB86659FD93);
        h ^= h >> 32;
    }
    return h;
}

/* ---- the canonical form -------------------------------------------------------------------- */

struct canonical {
    char *at;
    size_t len;
    bool too_large;
};

static void put(struct canonical *c, const void *data, size_t len)
{
    if (c->too_large || len > CANONICAL_MAX - c->len) {
        c->too_large = true;
        return;
    }
    memcpy(c->at + c->len, data, len);
    c->len += len;
}

static void put_number(struct canonical *c, uint64_t n)
{
    put(c, &n, sizeof n);
}

/* With its length in front, so that no two lists look alike. */
static void put_text(struct canonical *c, const char *text)
{
    size_t len = text ? strlen(text) : 0;
    uint32_t prefix = (uint32_t)len + (text != NULL); /* 0: none */

    put(c, &prefix, sizeof prefix);
    put(c, text ? text : "", len);
}

static void put_texts(struct canonical *c, const struct strs *list)
{
    put_number(c, list->n);
    for (size_t i = 0; i < list->n; i++)
        put_text(c, list->v[i]);
}

static void put_optional(struct canonical *c, const struct opt_u32 *n)
{
    put_number(c, n->set ? (uint64_t)n->v + 1 : 0);
}

/*
 * Everything that decides which program libseccomp makes: the rules, in their order, and itself. The
 * flags, and the listener, are none of it: they are given at the load.
 */
static void write_canonical(struct canonical *c, const struct spec_seccomp *s)
{
    const struct scmp_version *v = seccomp_version();

    put_number(c, CACHE_FORMAT);
    put_number(c, (uint64_t)v->major << 32 | v->minor << 16 | v->micro);
    put_number(c, seccomp_arch_native());
    put_text(c, s->default_action);
    put_optional(c, &s->default_errno_ret);
    put_texts(c, &s->architectures);
    put_number(c, s->n_syscalls);
    for (size_t i = 0; i < s->n_syscalls; i++) {
        const struct spec_syscall *rule = &s->syscalls[i];

        put_texts(c, &rule->names);
        put_text(c, rule->action);
        put_optional(c, &rule->errno_ret);
        put_number(c, rule->n_args);
        for (size_t k = 0; k < rule->n_args; k++) {
            put_number(c, rule->args[k].index);
            put_number(c, rule->args[k].value);
            put_number(c, rule->args[k].value_two);
            put_text(c, rule->args[k].op);
        }
    }
    while (!c->too_large &&
           c->len % sizeof(uint64_t)) /* the program is aligned, and the hash goes by words */
        put(c, "", 1);
}

/* ---- reading ------------------------------------------------------------------------------- */

/* Is what lies in `entry` whole, and made of this canonical form? */
static bool is_good(size_t size, const struct canonical *c)
{
    const struct header *h = &entry.header;
    const char *code = entry.bytes + sizeof *h + c->len;

    return size >= sizeof *h + c->len && memcmp(h->magic, magic, sizeof magic) == 0 &&
           h->format == CACHE_FORMAT && h->reserved == 0 && h->canonical_size == c->len &&
           h->instructions > 0 && h->instructions <= SECCOMP_MAX_INSTRUCTIONS &&
           size == sizeof *h + c->len + h->instructions * sizeof *program &&
           memcmp(entry.bytes + sizeof *h, c->at, c->len) == 0 &&
           h->check == hash_of(code, h->instructions * sizeof *program);
}

/*
 * Instructions of a good entry, 0: none. The owner is asked for because an ordinary user's
 * XDG_RUNTIME_DIR may be a place where others write. The descriptor is CLOEXEC and left to the end
 * of the process.
 */
static int read_entry(const char *dir, const char *name, const struct canonical *c)
{
    char path[4096];
    struct stat st;
    ssize_t n;
    int fd;

    if (base_format(path, sizeof path, "%s/%s", dir, name) >= sizeof path)
        return 0;
    fd = openat(AT_FDCWD, path, O_RDONLY | O_CLOEXEC | O_NOFOLLOW | O_NONBLOCK);
    if (fd < 0)
        return 0;
    if (fstat(fd, &st) < 0 || !S_ISREG(st.st_mode) || st.st_uid != getauxval(AT_EUID) ||
        st.st_mode & (S_IWGRP | S_IWOTH))
        return 0;
    n = read(fd, &entry, sizeof entry);
    if (n < 0 || !is_good((size_t)n, c)) {
        log_debug("the seccomp cache entry %s is of no use: made anew", path);
        return 0;
    }
    program = (const struct sock_filter *)(const void *)(entry.bytes + sizeof entry.header +
                                                         c->len);
    return (int)entry.header.instructions;
}

/* ---- writing ------------------------------------------------------------------------------- */

/* Ours alone, or -1. */
static int open_dir(const char *dir)
{
    AUTO_FD int fd = -1;
    struct stat st;

    if (mkdir(dir, 0700) < 0 && errno != EEXIST)
        return -1;
    fd = openat(AT_FDCWD, dir, O_RDONLY | O_DIRECTORY | O_NOFOLLOW | O_CLOEXEC);
    if (fd < 0 || fstat(fd, &st) < 0)
        return -1;
    if (st.st_uid != getauxval(AT_EUID) || st.st_mode & (S_IRWXG | S_IRWXO)) {
        errno = EPERM;
        return -1;
    }
    return take_fd(&fd);
}

static bool is_older(const struct stat *a, const struct stat *b)
{
    return a->st_mtim.tv_sec != b->st_mtim.tv_sec ? a->st_mtim.tv_sec < b->st_mtim.tv_sec
                                                  : a->st_mtim.tv_nsec < b->st_mtim.tv_nsec;
}

/* How many there are; the name of the oldest. */
static int count_entries(DIR *list, int dir_fd, char oldest[NAME_SIZE])
{
    struct stat first = { 0 }, st;
    const struct dirent *d;
    int n = 0;

    rewinddir(list);
    while ((d = readdir(list))) {
        size_t len = strlen(d->d_name);

        /* Only what this file made, whole or left by a process that was killed. */
        if (d->d_name[0] == '.' || len >= NAME_SIZE ||
            fstatat(dir_fd, d->d_name, &st, AT_SYMLINK_NOFOLLOW) < 0 || !S_ISREG(st.st_mode))
            continue;
        if (n++ > 0 && !is_older(&st, &first))
            continue;
        first = st;
        memcpy(oldest, d->d_name, len + 1);
    }
    return n;
}

/* Makes room for one more. Another process may do the same at this moment: absent is success. */
static void evict(int dir_fd)
{
    char oldest[NAME_SIZE];
    int copy = openat(dir_fd, ".", O_RDONLY | O_DIRECTORY | O_CLOEXEC);
    DIR *list = copy < 0 ? NULL : fdopendir(copy);

    if (!list) {
        if (copy >= 0)
            close(copy);
        return;
    }
    while (count_entries(list, dir_fd, oldest) >= CACHE_ENTRIES)
        if (unlinkat(dir_fd, oldest, 0) < 0 && errno != ENOENT)
            break;
    closedir(list);
}

static int write_entry(int dir_fd, const char *name, size_t size)
{
    char temporary[NAME_SIZE];
    AUTO_FD int fd = -1;
    int r;

    base_format(temporary, sizeof temporary, "%s.%d", name, getpid());
    fd = openat(dir_fd, temporary, O_WRONLY | O_CREAT | O_EXCL | O_NOFOLLOW | O_CLOEXEC, 0600);
    if (fd < 0)
        return -errno;
    r = fd_write_all(fd, &entry, size);
    if (r == 0 && renameat(dir_fd, temporary, dir_fd, name) < 0)
        r = -errno;
    if (r < 0)
        unlinkat(dir_fd, temporary, 0);
    return r;
}

static void keep(const char *dir, const char *name, size_t size)
{
    AUTO_FD int dir_fd = open_dir(dir);
    int r = dir_fd < 0 ? -errno : 0;

    if (r == 0) {
        evict(dir_fd);
        r = write_entry(dir_fd, name, size);
    }
    if (r < 0)
        log_debug("the seccomp filter is not kept in %s: %s", dir, strerror(-r));
}

/* ---- the program --------------------------------------------------------------------------- */

/* The memfd that libseccomp has written, to its place in the entry. */
static int take_program(int fd, size_t offset, struct err *e)
{
    ssize_t n = pread(fd, entry.bytes + offset, SECCOMP_MAX_INSTRUCTIONS * sizeof *program, 0);

    if (n <= 0)
        return err_set(e, n < 0 ? errno : ENODATA, "cannot read the seccomp filter");
    program = (const struct sock_filter *)(const void *)(entry.bytes + offset);
    return (int)((size_t)n / sizeof *program);
}

int seccomp_program(const struct spec_seccomp *profile, const char *cache_dir, struct err *e)
{
    static char text[CANONICAL_MAX];
    struct canonical c = { .at = text };
    char name[NAME_SIZE];
    struct header h;
    size_t offset;
    AUTO_FD int fd = -1;
    int n = 0;

    write_canonical(&c, profile);
    if (c.too_large) {
        cache_dir = NULL;
        c.len = 0;
    }
    base_format(name, sizeof name, "%016lx", hash_of(c.at, c.len));
    if (cache_dir)
        n = read_entry(cache_dir, name, &c);
    if (n > 0)
        return n;
    fd = seccomp_compile(profile, e);
    if (fd < 0)
        return fd;
    offset = sizeof entry.header + c.len;
    n = take_program(fd, offset, e);
    if (n < 0 || !cache_dir)
        return n;
    h = (struct header){ .format = CACHE_FORMAT,
                         .canonical_size = (uint32_t)c.len,
                         .instructions = (uint32_t)n,
                         .check = hash_of(entry.bytes + offset, (size_t)n * sizeof *program) };
    memcpy(h.magic, magic, sizeof magic);
    entry.header = h;
    memcpy(entry.bytes + sizeof entry.header, c.at, c.len);
    keep(cache_dir, name, offset + (size_t)n * sizeof *program);
    return n;
}
