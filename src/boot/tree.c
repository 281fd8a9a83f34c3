/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Is a directory tree the one that it was? Of every entry its name, kind, owner, size, times and inode; not its
 * content, whose change the kernel tells by ctime, as it does one of the xattrs, and that nobody can set.
 *
 * Whoever has made the tree is hostile. Entries are looked at below a directory's fd and never followed; other file
 * systems are not met, for the caller gives a mount without those below it.
 */
#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "boot/internal.h"

enum { DEPTH_MAX = 256 }; /* of open fds, of which 1024 are usual */

struct walk {
    SHA2_CTX digest;
    struct boot_tree_size size;
};

static int add_directory(struct walk *w, int parent, const char *name, unsigned depth,
                         struct err *e);

/* Since the directory was read. It is no part of the tree then; whoever needs to know that the tree changes asks twice. */
static bool has_gone(int error)
{
    return error == ENOENT || error == ENOTDIR;
}

/* Sizes are what the tree's maker says; of very many the sum has an end too. */
static void add(uint64_t *sum, uint64_t bytes)
{
    if (__builtin_add_overflow(*sum, bytes, sum))
        *sum = UINT64_MAX;
}

/* NOLINTNEXTLINE(misc-no-recursion): a tree; the depth is bounded */
static int add_one(struct walk *w, int dir, const char *name, unsigned depth, struct err *e)
{
    struct stat st;

    if (str_eq(name, ".") || str_eq(name, ".."))
        return 0;
    if (fstatat(dir, name, &st, AT_SYMLINK_NOFOLLOW | AT_NO_AUTOMOUNT) < 0)
        return has_gone(errno)
                   ? 0
                   : err_set(e, errno, "cannot look at '%s' in a root filesystem", name);
    digest_entry(&w->digest, name, &st);
    add(&w->size.disk, (uint64_t)st.st_blocks * 512);
    add(&w->size.files, S_ISREG(st.st_mode) ? (uint64_t)st.st_size : 0);
    return S_ISDIR(st.st_mode) ? add_directory(w, dir, name, depth + 1, e) : 0;
}

/* NOLINTNEXTLINE(misc-no-recursion): a tree; the depth is bounded */
static int add_directory(struct walk *w, int parent, const char *name, unsigned depth,
                         struct err *e)
{
    int fd = openat(parent, name, O_RDONLY | O_DIRECTORY | O_NOFOLLOW | O_CLOEXEC), r = 0;
    DIR *dir = fd < 0 ? NULL : fdopendir(fd);
    const struct dirent *entry;

    if (!dir) {
        if (depth > 0 && has_gone(errno))
            return 0;
        r = err_set(e, errno, "cannot open the directory '%s' in a root filesystem", name);
        fd_cleanup(&fd);
        return r;
    }
    if (depth > DEPTH_MAX)
        r = err_set(e, 0, "a root filesystem deeper than %d directories", DEPTH_MAX);
    for (errno = 0; r == 0 && (entry = readdir(dir)); errno = 0)
        r = add_one(w, fd, entry->d_name, depth, e);
    if (r == 0 && errno)
        r = err_set(e, errno, "cannot read the directory '%s' in a root filesystem", name);
    closedir(dir);
    digest_text(&w->digest, ""); /* no entry has this name */
    return r;
}

int boot_tree_digest(int dir, const char *form, char hex[DIGEST_HEX], struct boot_tree_size *size,
                     struct err *e)
{
    struct walk w = { .size = { 0, 0 } };
    struct stat st;
    int r;

    SHA256Init(&w.digest);
    if (fstat(dir, &st) < 0)
        return err_set(e, errno, "cannot look at a root filesystem");
    digest_entry(&w.digest, form, &st);
    r = add_directory(&w, dir, ".", 0, e);
    if (r == 0)
        digest_end(&w.digest, hex);
    *size = w.size;
    return r;
}
