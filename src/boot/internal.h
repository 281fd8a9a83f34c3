/* SPDX-License-Identifier: Apache-2.0 */
#ifndef TECA_BOOT_INTERNAL_H
#define TECA_BOOT_INTERNAL_H
/* Numbers in files: little-endian. A file as it lies, for as long as somebody looks at it. The cache's directory. */
#include <sha2.h>

#include "boot/boot.h"

struct stat;

static inline uint64_t boot_get(const uint8_t *at, unsigned bytes)
{
    uint64_t value = 0;

    for (unsigned i = 0; i < bytes; i++)
        value |= (uint64_t)at[i] << (8 * i);
    return value;
}

struct boot_map {
    const uint8_t *data;
    size_t len;
};
/* -ENOENT and the other errors of open(2); a sentence with the path. */
int boot_map_file(const char *path, struct boot_map *out, struct err *e);
void boot_map_release(struct boot_map *m);
#define AUTO_MAP __attribute__((cleanup(boot_map_release)))

/* ---- digest.c, tree.c ---- */

/* Begins with SHA256Init(). A text is added with its NUL. */
void digest_text(SHA2_CTX *d, const char *text);
/* Which file it is, and how old. Not its device, an overlay's being another one at each mount, nor its owner, whose number is another in a user namespace. */
void digest_version(SHA2_CTX *d, const struct stat *st);
/* What a tree says of it, too. */
void digest_entry(SHA2_CTX *d, const char *name, const struct stat *st);
/* The first 128 bits, and a NUL. */
enum { DIGEST_HEX = 33 };
void digest_end(SHA2_CTX *d, char hex[DIGEST_HEX]);
/* Bytes: what its files have with their holes, and what they take on their disk. */
struct boot_tree_size {
    uint64_t files, disk;
};
/* Of the tree below an fd (O_PATH will do), and of what is made of it (form). */
int boot_tree_digest(int dir, const char *form, char hex[DIGEST_HEX], struct boot_tree_size *size,
                     struct err *e);

/* ---- prepare.c ---- */

/*
 * AUTO_UMASK mode_t of_caller = umask(BOOT_UMASK): the caller's is not the cache's, where an emulator that is nobody reads the
 * kernel that it was given.
 */
enum { BOOT_UMASK = 022 };
void boot_umask_release(const mode_t *of_caller);
#define AUTO_UMASK __attribute__((cleanup(boot_umask_release), unused))

/* The cache: what was asked for, else by environment and user. */
int boot_cache_dir(const char *asked, struct arena *a, const char **out, struct err *e);
/* With all directories on the way; the last one gets the mode. */
int boot_make_dirs(struct arena *a, const char *dir, mode_t mode, struct err *e);
int boot_lock(struct arena *a, const char *dir, int *out_fd,
              struct err *e); /* -1: somebody else's */

#endif
