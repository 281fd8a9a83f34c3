/* SPDX-License-Identifier: Apache-2.0 */
#ifndef TECA_VMM_LOADER_H
#define TECA_VMM_LOADER_H
/*
 * loader: a kernel, its initrd and what it is told, put where the 64-bit boot protocol wants them
 * (Documentation/arch/x86/boot.rst and zero-page.rst). Files are read
 * straight into guest memory. A kernel is no less hostile than a guest: each offset, length and address
 * of the image is checked.
 *
 *   0x00500 - 0x0efff   GDT, stack, page tables of x86.c
 *   0x07000             the zero page (struct boot_params)
 *   0x20000             the command line, LOADER_LINE_MAX bytes with the final 0
 *   0x21000             struct setup_data with a seed for the kernel's random numbers
 *   0x9fc00 - 0xfffff   reserved: the ACPI tables from 0xe0000 on, code at the reset vector 0xffff0
 *   0x100000            the kernel, above; the initrd at the end of memory below the hole
 *
 * Order: loader_kernel, loader_initrd, loader_zero_page; and beside or behind them the copy that the first two have planned.
 */
#include "base/base.h"
#include "vmm/alloc/alloc.h"
#include "vmm/arch/copy.h"

enum {
    LOADER_ZERO_PAGE = 0x7000,
    LOADER_LINE = 0x20000,
    LOADER_LINE_MAX = 0x1000,
    LOADER_SEED = 0x21000,
    LOADER_SEED_SIZE = 32,
    LOADER_ACPI = 0xe0000,
    LOADER_ACPI_SIZE = 0x10000,
    LOADER_RESET_VECTOR = 0xffff0,
};

enum { LOADER_HEADER_FIRST = 0x1f1, LOADER_HEADER_END = 0x290 };

struct loader_kernel {
    uint64_t entry;      /* in 64-bit mode, rsi = the zero page */
    uint64_t first, end; /* memory that it takes before it looks at the map */
    uint64_t initrd_end; /* where an initrd must end */
    uint32_t line_max;   /* of the command line, without the final 0 */
    /* struct setup_header as it goes into the zero page: the image's own, or made up for an ELF file */
    uint8_t header[LOADER_HEADER_END - LOADER_HEADER_FIRST];
};

struct loader {
    const struct vmm_memory *mem;
    struct copy *copy; /* what is still to be read, and to where: files and parts are added */
};

struct loader_file {
    int fd;        /* borrowed until it is copied */
    bool is_final; /* nobody writes to it any more: its own pages may serve the guest */
};

/*
 * A bzImage with a 64-bit entry (protocol 2.12, Linux 3.8), which unpacks itself in the guest, or an
 * x86-64 ELF file (vmlinux). -EINVAL with a sentence for an image that is none or lies about itself,
 * -ENOSPC when it does not fit into the memory, else read(2)'s.
 */
int loader_kernel(struct loader *l, const struct loader_file *f, struct loader_kernel *out,
                  struct err *e);

struct loader_range {
    uint64_t first, size;
};
int loader_initrd(struct loader *l, int fd, const struct loader_kernel *k, struct loader_range *out,
                  struct err *e);

struct loader_words {
    const char *command_line;
    struct loader_range initrd; /* size 0: none */
    uint8_t seed[LOADER_SEED_SIZE];
};
int loader_zero_page(const struct vmm_memory *mem, const struct loader_kernel *k,
                     const struct loader_words *w, struct err *e);

#endif
