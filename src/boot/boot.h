/* SPDX-License-Identifier: Apache-2.0 */
#ifndef TECA_BOOT_H
#define TECA_BOOT_H
/*
 * boot: what a machine boots, made once and kept: the kernel as an ELF file, unpacked from a stock bzImage,
 * and an initramfs with this very program as /teca-agent and the modules that it loads, in order. Knows
 * no machine and no container. The calls are boot_prepare and boot_image; the rest are their parts, for the tests.
 *
 * Kernel and modules are the host's own files and trusted, but may be torn or of a kind nobody knows:
 * sizes and offsets in them are checked.
 *
 * The cache: CACHE/kernel-KEY/{vmlinux,release,source,initramfs-KEY.cpio}, CACHE/default -> kernel-KEY;
 * CACHE/images/KEY.erofs, and KEY.root -> the directory that it was made of.
 * With an initrd of somebody's: private/initrd-PATH-KEY.cpio, PATH being a hash of its; that directory is its owner's alone,
 * as the lock is.
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
    const char *const *more_modules; /* as of boot_modules_load; NULL: those of every machine */
    const char *initrd; /* unpacked before teca's own, of which it replaces nothing; NULL: none */
    bool look;          /* make nothing: where it would be, of a kernel that is there */
    bool make_default;  /* for those who name none */
};

/*
 * Paths, in the arena. kernel_fd, initramfs_fd: the two, opened to be read before another start could replace them; -1 where
 * nothing is made. Gives.
 */
struct boot_parts {
    const char *kernel, *initramfs, *release, *source;
    int kernel_fd, initramfs_fd;
    bool made_kernel, made_initramfs; /* anew, by this call */
};

int boot_prepare(const struct boot_request *q, struct arena *a, struct boot_parts *out,
                 struct err *e);
/* Closes them. */
void boot_parts_release(struct boot_parts *p);

/* ---- the root filesystem as an image ---------------------------------------------------------- */

struct boot_image_request {
    const char *cache; /* as of boot_request */
    const char *root;  /* the directory; mounts below it are no part of it */
    bool look;         /* make nothing */
};
struct boot_image {
    const char *path; /* where it is or, with look, would be */
    int fd;           /* of it, opened to be read; -1: it is not there. Gives. */
    bool made;
};
/*
 * An image of the tree, as mkfs.erofs(1) makes it, which is run in namespaces of its own on a read-only mount of
 * that tree. Who starts two at once waits for the first. A tree that changes meanwhile is begun with again, three times in all. What was made of this directory before, and of directories that are no
 * more, is removed.
 */
int boot_image(const struct boot_image_request *q, struct arena *a, struct boot_image *out,
               struct err *e);
/* "erofs", "ext4" or "squashfs" by the magic number; NULL: none of them. The rest of it is the guest's to judge. */
const char *boot_image_type(int fd);

/* ---- parts ------------------------------------------------------------------------------------ */

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
