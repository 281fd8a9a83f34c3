/* SPDX-License-Identifier: Apache-2.0 */
#ifndef TECA_BOOT_INTERNAL_H
#define TECA_BOOT_INTERNAL_H
/* Numbers in files: little-endian. A file as it lies, for as long as somebody looks at it. */
#include "boot/boot.h"

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

#endif
