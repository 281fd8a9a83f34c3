/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The name of what is kept, by what it was made of: SHA-256, by libmd. Whoever chooses names in a tree must not be able to
 * choose the name of another one's image, which rules out what hashes faster. libmd, for a start of a container has it too:
 * nettle and libcrypto are 5 to 8 times faster, and ask the processor for its features before main(), as src/base/libc.c
 * says at what price.
 */
#include <string.h>
#include <sys/stat.h>

#include "boot/internal.h"

void digest_text(SHA2_CTX *d, const char *text)
{
    SHA256Update(d, (const uint8_t *)text, strlen(text) + 1);
}

static void add_numbers(SHA2_CTX *d, const uint64_t *v, size_t n)
{
    SHA256Update(d, (const uint8_t *)v, n * sizeof *v);
}

void digest_version(SHA2_CTX *d, const struct stat *st)
{
    const uint64_t facts[] = { (uint64_t)st->st_size,        st->st_ino,
                               (uint64_t)st->st_mtim.tv_sec, (uint64_t)st->st_mtim.tv_nsec,
                               (uint64_t)st->st_ctim.tv_sec, (uint64_t)st->st_ctim.tv_nsec };

    add_numbers(d, facts, COUNT_OF(facts));
}

void digest_entry(SHA2_CTX *d, const char *name, const struct stat *st)
{
    const uint64_t facts[] = { st->st_mode, st->st_uid, st->st_gid, st->st_rdev };

    digest_text(d, name);
    add_numbers(d, facts, COUNT_OF(facts));
    digest_version(d, st);
}

void digest_end(SHA2_CTX *d, char hex[DIGEST_HEX])
{
    uint8_t all[SHA256_DIGEST_LENGTH];

    SHA256Final(all, d);
    for (size_t i = 0; i < DIGEST_HEX / 2; i++)
        base_format(hex + 2 * i, 3, "%02x", all[i]);
}
