/* SPDX-License-Identifier: Apache-2.0 */
/* What a kernel is told: the zero page, the command line, the seed (zero-page.rst, boot.rst). */
#include "vmm/arch/loader.h"

#include <errno.h>
#include <string.h>

enum { PAGE = 4096 };
/* Fields of the zero page, by their offsets; those from 0x1f1 on are the setup header's. */
enum {
    ACPI_RSDP = 0x070,
    E820_ENTRIES = 0x1e8,
    VID_MODE = 0x1fa,
    TYPE_OF_LOADER = 0x210,
    RAMDISK_IMAGE = 0x218,
    RAMDISK_SIZE = 0x21c,
    CMD_LINE_PTR = 0x228,
    SETUP_DATA = 0x250,
    E820_TABLE = 0x2d0,
};
enum { LOADER_UNDEFINED = 0xff, VID_MODE_NORMAL = 0xffff };
enum { E820_ENTRY_SIZE = 20, E820_RAM = 1, E820_RESERVED = 2 };
enum { SETUP_RNG_SEED = 9 }; /* struct setup_data: next, type, length, data; Linux 6.0 */
enum { SETUP_DATA_HEAD = 16 };
#define LOW_RAM_END UINT64_C(0x9fc00)
#define LOW_END UINT64_C(0x100000)

static void put(uint8_t *page, unsigned at, uint64_t value, unsigned bytes)
{
    for (unsigned n = 0; n < bytes; n++)
        page[at + n] = (uint8_t)(value >> (8 * n));
}

static void add_e820(uint8_t *page, uint64_t first, uint64_t end, uint32_t type)
{
    unsigned at = E820_TABLE + page[E820_ENTRIES] * E820_ENTRY_SIZE;

    put(page, at, first, 8);
    put(page, at + 8, end - first, 8);
    put(page, at + 16, type, 4);
    page[E820_ENTRIES]++;
}

/* The regions are few (VMM_REGIONS_MAX); the first begins at 0. */
static void add_map(uint8_t *page, const struct vmm_memory *mem)
{
    for (unsigned n = 0; n < mem->n; n++) {
        uint64_t first = mem->regions[n].gpa, end = first + mem->regions[n].size;

        if (mem->regions[n].read_only)
            continue; /* found by its device */
        if (first == 0) {
            add_e820(page, 0, LOW_RAM_END, E820_RAM);
            add_e820(page, LOW_RAM_END, LOW_END, E820_RESERVED);
            first = LOW_END;
        }
        add_e820(page, first, end, E820_RAM);
    }
}

static int write_line(const struct vmm_memory *mem, const struct loader_kernel *k, const char *line,
                      struct err *e)
{
    size_t len = strlen(line);

    if (len > k->line_max || len >= LOADER_LINE_MAX)
        return err_set(e, 0, "a command line of %zu bytes is longer than the kernel's %u", len,
                       k->line_max < LOADER_LINE_MAX ? k->line_max : LOADER_LINE_MAX - 1);
    return vmm_memory_write(mem, LOADER_LINE, line, len + 1);
}

static int write_seed(const struct vmm_memory *mem, const uint8_t seed[LOADER_SEED_SIZE])
{
    uint8_t data[SETUP_DATA_HEAD + LOADER_SEED_SIZE] = { 0 };

    put(data, 8, SETUP_RNG_SEED, 4);
    put(data, 12, LOADER_SEED_SIZE, 4);
    memcpy(data + SETUP_DATA_HEAD, seed, LOADER_SEED_SIZE);
    return vmm_memory_write(mem, LOADER_SEED, data, sizeof(data));
}

int loader_zero_page(const struct vmm_memory *mem, const struct loader_kernel *k,
                     const struct loader_words *w, struct err *e)
{
    uint8_t page[PAGE] = { 0 };
    int r = write_line(mem, k, w->command_line, e);

    if (r < 0)
        return r;
    memcpy(page + LOADER_HEADER_FIRST, k->header, sizeof(k->header));
    put(page, ACPI_RSDP, LOADER_ACPI, 8);
    put(page, VID_MODE, VID_MODE_NORMAL, 2);
    put(page, TYPE_OF_LOADER, LOADER_UNDEFINED, 1);
    put(page, RAMDISK_IMAGE, w->initrd.first, 4);
    put(page, RAMDISK_SIZE, w->initrd.size, 4);
    put(page, CMD_LINE_PTR, LOADER_LINE, 4);
    put(page, SETUP_DATA, LOADER_SEED, 8);
    add_map(page, mem);
    if (write_seed(mem, w->seed) < 0 || vmm_memory_write(mem, LOADER_ZERO_PAGE, page, PAGE) < 0)
        return err_set(e, EFAULT, "no guest memory for the zero page");
    return 0;
}
