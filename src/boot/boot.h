/* SPDX-License-Identifier: Apache-2.0 */
#ifndef TECA_BOOT_H
#define TECA_BOOT_H
/*
 * boot: what a machine boots, made once and kept: the kernel as an ELF file, unpacked from a stock bzImage,
 * and an initramfs with this very program as /teca-agent and the modules that it loads, in order. Knows
 * no machine and no container. The one call is boot_prepare; the rest are its parts, for the tests.
 *
 * Kernel and modules are the host's own files and trusted, but may be torn or of a kind nobody knows:
 * sizes and offsets in them are checked.
 *
 * The cache: CACHE/kernel-KEY/{vmlinux,release,source,initramfs-KEY.cpio}, CACHE/default -> kernel-KEY.
 * A key is a hash of who and how old a file is (device, inode, size, change), so that looking costs no
 * reading. A directory or file is made under another name and renamed: what is there is whole.
 */
#include "base/base.h"

#define BOOT_AGENT "teca-agent" /* the program in the initramfs; argv[0] says that it is meant */

/* Strings are borrowed; NULL: absent. */
struct boot_request {
    const char *
        cache; /* directory; NULL: TECA_CACHE, /var/cache/teca, without root below XDG_CACHE_HOME */
    const char *kernel;  /* bzImage or ELF; NULL: the default one, else the newest in /boot */
    const char *modules; /* the kernel's module tree; NULL: /lib/modules/RELEASE */
    bool look;           /* make nothing: where it would be, of a kernel that is there */
    bool make_default;   /* for those who name none */
};

/* Paths, in the arena. */
struct boot_parts {
    const char *kernel, *initramfs, *release, *source;
    bool made_kernel, made_initramfs; /* anew, by this call */
};

int boot_prepare(const struct boot_request *q, struct arena *a, struct boot_parts *out,
                 struct err *e);

/* The newest by version of /boot/vmlinuz-* that has its modules, else the newest; NULL: none. */
const char *boot_find_kernel(const char *boot_dir, const char *modules_dir, struct arena *a);
/* Do two versions stand in this order? As people count: 6.9 before 6.10. Negative, 0, positive. */
int boot_compare_versions(const char *a, const char *b);

enum { BOOT_UNPACKED_MAX = 512 << 20 };

/* gzip, xz, zstd, or LZ4's legacy format as the kernel's build makes it. -EMEDIUMTYPE: none of them. */
int boot_unpack(const void *data, size_t len, struct strbuf *out, struct err *e);
/*
 * The ELF file in a bzImage (Documentation/arch/x86/boot.rst, "payload_offset"), or an ELF file as it is, and
 * the release that it says it has.
 */
int boot_kernel_elf(const void *data, size_t len, struct strbuf *out, struct err *e);
int boot_release_of(const struct strbuf *elf, struct arena *a, const char **out, struct err *e);

struct boot_module {
    const char *name; /* with '_', as the kernel counts */
    struct strbuf data;
};
struct boot_modules {
    struct boot_module *v;
    size_t n, cap;
};
/*
 * The modules `wanted` (NULL-ended) and what they depend on, each once and behind what it needs. What is built
 * in is left out, and what begins with '?' where the kernel has no such module.
 */
int boot_modules_load(const char *dir, const char *const *wanted, struct arena *a,
                      struct boot_modules *out, struct err *e);
void boot_modules_release(struct boot_modules *m);

/* One entry of a cpio archive, "newc"; mode 0 with name NULL ends it. Times and owners are 0. */
void boot_cpio_add(struct strbuf *out, unsigned *number, const char *name, unsigned mode,
                   const void *data, size_t len);
void boot_cpio_end(struct strbuf *out);

#endif
