/* SPDX-License-Identifier: Apache-2.0 */
/*
 * An initramfs: Documentation/driver-api/early-userspace/buffer-format.rst, "newc". Written here, for it is
 * thirteen hexadecimal numbers and a name; a library for archives would be many times the program's size.
 */
#include <string.h>

#include "boot/boot.h"

static const char trailer[] = "TRAILER!!!";

static void pad(struct strbuf *out)
{
    static const char zeros[4];

    strbuf_add(out, zeros, -out->len & 3);
}

void boot_cpio_add(struct strbuf *out, unsigned *number, const char *name, unsigned mode,
                   const void *data, size_t len)
{
    const unsigned fields[] = {
        ++*number, mode, 0, 0, 1, 0, (unsigned)len, 0, 0, 0, 0, (unsigned)strlen(name) + 1, 0
    };

    strbuf_str(out, "070701");
    for (size_t i = 0; i < COUNT_OF(fields); i++)
        strbuf_format(out, "%08x", fields[i]);
    strbuf_add(out, name, strlen(name) + 1);
    pad(out);
    strbuf_add(out, data, len);
    pad(out);
}

void boot_cpio_end(struct strbuf *out)
{
    unsigned number = 0;

    boot_cpio_add(out, &number, trailer, 0, "", 0);
}
