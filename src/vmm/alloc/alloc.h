/* SPDX-License-Identifier: Apache-2.0 */
#ifndef TECA_VMM_ALLOC_H
#define TECA_VMM_ALLOC_H
/*
 * alloc: the only code that hands out guest-physical addresses. layout.c decides them (pure, see
 * vmm.h), memory.c backs guest RAM and holds the one accessor through which every other part of the
 * monitor reaches it. Order: vmm_memory_add for each RAM range, then vmm_memory_at, then
 * vmm_memory_release. The set of regions does not change while a machine runs, so the accessor
 * takes no lock.
 *
 * The guest is the attacker: it chooses addresses and lengths, and changes memory while it is read.
 */
#include "base/base.h"

enum { VMM_REGIONS_MAX = 4, VMM_PAGE_SIZE = 4096 };

struct vmm_region {
    uint64_t gpa, size;
    uint8_t *host; /* between two guard pages, as far from a huge page's begin as gpa is */
    void *map;     /* with the guards */
    size_t map_size;
    bool read_only; /* an image: nobody writes to it, we neither */
};

struct vmm_memory {
    struct vmm_region regions[VMM_REGIONS_MAX];
    unsigned n;
};

/*
 * Maps size bytes of zeroed RAM at gpa, both multiples of a page, with an inaccessible page on each
 * side and left out of core dumps. -EINVAL: not aligned, empty, beyond 2^52, overlapping;
 * -ENOSPC: more than VMM_REGIONS_MAX; else mmap(2)'s.
 */
int vmm_memory_add(struct vmm_memory *m, uint64_t gpa, uint64_t size, struct err *e);
/*
 * Pages of memory that are those of a file from now on, until the guest writes to them: MAP_PRIVATE, so nothing reaches
 * the file, but what others write to it the guest sees, and a file that is cut is the monitor's end
 * (SIGBUS). All three are multiples of a page. -EFAULT: not wholly in one region; else mmap(2)'s.
 */
int vmm_memory_back(const struct vmm_memory *m, uint64_t gpa, uint64_t len, int fd,
                    uint64_t offset);
/*
 * Memory that comes later, so that a guest can begin before it is there: size bytes at gpa are filled at `filled`,
 * which no guest reaches, and take the place of what the guest has there meanwhile, to which it cannot write. KVM_RUN
 * fails with EFAULT then, or tells of an access of MMIO where it emulates the instruction. Until it has arrived
 * vmm_memory_at gives addresses there, too, whose use is a signal: nobody may ask.
 */
struct vmm_memory_later {
    uint8_t *filled, *to;
    uint64_t size;
    void *map; /* NULL: it has arrived, or nothing was to come */
    size_t map_size;
};
struct vmm_memory_pages { /* of a file, from offset on, a multiple of a page */
    int fd;
    uint64_t offset;
};
/*
 * meanwhile: what the guest reads; NULL: it cannot read either. Gives *out. Errors as of vmm_memory_back, or -EINVAL: no
 * whole pages; nothing has changed then.
 */
int vmm_memory_defer(const struct vmm_memory *m, uint64_t gpa, uint64_t size,
                     const struct vmm_memory_pages *meanwhile, struct vmm_memory_later *out);
/* mremap(2)'s errors; any thread, and cpus may run. */
int vmm_memory_arrive(struct vmm_memory_later *l);
/* It does not come. Accepts a zeroed one, and one that has arrived. */
void vmm_memory_forget(struct vmm_memory_later *l);
/*
 * The pages of a file of file_size bytes at gpa, zeroes behind them up to size; for reading. size and gpa are multiples of a
 * huge page, so that the guest's and the host's agree. Errors as of vmm_memory_add.
 */
struct vmm_memory_file {
    int fd;
    uint64_t size;
};
int vmm_memory_add_file(struct vmm_memory *m, uint64_t gpa, uint64_t size,
                        const struct vmm_memory_file *file, struct err *e);
void vmm_memory_release(struct vmm_memory *m); /* accepts a zeroed one */

/*
 * The host address of len bytes at gpa when all of them lie in one region, else NULL. len 0 is
 * NULL. Never overflows, whatever the guest says.
 */
void *vmm_memory_at(const struct vmm_memory *m, uint64_t gpa, uint64_t len);
/* The same for what is only read: an image too, which vmm_memory_at never gives. */
const void *vmm_memory_readable_at(const struct vmm_memory *m, uint64_t gpa, uint64_t len);
/* Copies; -EFAULT when vmm_memory_at would say NULL, and nothing is copied then. */
int vmm_memory_read(const struct vmm_memory *m, uint64_t gpa, void *data, size_t len);
int vmm_memory_write(const struct vmm_memory *m, uint64_t gpa, const void *data, size_t len);

#endif
