/* SPDX-License-Identifier: Apache-2.0 */
/* Guest RAM: mappings with guard pages, and the checked way to it. */
#include "vmm/alloc/alloc.h"

#include <errno.h>
#include <string.h>
#include <sys/mman.h>

/* What four-level page tables of any processor can name (Intel SDM vol. 3, 4.1.4 MAXPHYADDR). */
#define GPA_LIMIT (UINT64_C(1) << 52)
#define HUGE_PAGE (UINT64_C(2) << 20) /* of x86-64, and of arm64 with pages of 4 KiB */

static bool overlaps(const struct vmm_region *r, uint64_t gpa, uint64_t size)
{
    return gpa < r->gpa + r->size && r->gpa < gpa + size;
}

static int check_range(const struct vmm_memory *m, uint64_t gpa, uint64_t size, struct err *e)
{
    if (size == 0 || gpa % VMM_PAGE_SIZE || size % VMM_PAGE_SIZE || gpa >= GPA_LIMIT ||
        size > GPA_LIMIT - gpa)
        return err_set(e, EINVAL, "guest memory of %llu bytes at 0x%llx is no range of pages",
                       (unsigned long long)size, (unsigned long long)gpa);
    if (m->n == VMM_REGIONS_MAX)
        return err_set(e, ENOSPC, "guest memory has more than %d ranges", VMM_REGIONS_MAX);
    for (unsigned i = 0; i < m->n; i++) {
        if (overlaps(&m->regions[i], gpa, size))
            return err_set(e, EINVAL, "guest memory at 0x%llx overlaps the range at 0x%llx",
                           (unsigned long long)gpa, (unsigned long long)m->regions[i].gpa);
    }
    return 0;
}

/*
 * A reserved range with a page more on each side. KVM maps a huge page as one only where both addresses are aligned
 * alike. Boot of Debian's 6.1, page faults of the guest in KVM: 24,129 when they were not, 175 under QEMU.
 */
static int reserve(const struct vmm_memory *m, uint64_t gpa, uint64_t size, struct vmm_region *out,
                   struct err *e)
{
    size_t with_guards = size + UINT64_C(2) * VMM_PAGE_SIZE + HUGE_PAGE;
    uint8_t *map, *host;
    int r = check_range(m, gpa, size, e);

    if (r < 0)
        return r;
    /* NORESERVE: a page costs memory when the guest touches it, not before. */
    map = mmap(NULL, with_guards, PROT_NONE, MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE, -1, 0);
    if (map == MAP_FAILED)
        return err_set(e, errno, "cannot map %llu bytes of guest memory", (unsigned long long)size);
    host = map + VMM_PAGE_SIZE;
    host += (gpa - (uintptr_t)host) % HUGE_PAGE;
    *out = (struct vmm_region){
        .gpa = gpa, .size = size, .host = host, .map = map, .map_size = with_guards
    };
    return 0;
}

/* What a guest holds is no business of a core file's reader. Advice: a refusal changes nothing. */
static void advise(void *host, uint64_t size)
{
    madvise(host, size, MADV_DONTDUMP);
    madvise(host, size, MADV_HUGEPAGE);
}

static int keep(struct vmm_memory *m, const struct vmm_region *region, bool opened, struct err *e)
{
    int r;

    if (opened) {
        m->regions[m->n++] = *region;
        return 0;
    }
    r = err_set(e, errno, "cannot open %llu bytes of guest memory",
                (unsigned long long)region->size);
    munmap(region->map, region->map_size);
    return r;
}

/*
 * Of its first 2 MiB a PC's kernel uses a few pages: the loader's tables, the trampoline of other cpus, while the rest of the
 * first MiB is reserved (Linux 5.13). A huge page there costs 0.3 ms before the first instruction, and memory.
 */
static void advise_low(const struct vmm_region *r)
{
    if (r->gpa == 0)
        madvise(r->host, r->size < HUGE_PAGE ? r->size : HUGE_PAGE, MADV_NOHUGEPAGE);
}

int vmm_memory_add(struct vmm_memory *m, uint64_t gpa, uint64_t size, struct err *e)
{
    struct vmm_region region;
    int r = reserve(m, gpa, size, &region, e);

    if (r < 0)
        return r;
    r = mprotect(region.host, size, PROT_READ | PROT_WRITE);
    if (r == 0) {
        advise(region.host, size);
        advise_low(&region);
    }
    return keep(m, &region, r == 0, e);
}

int vmm_memory_add_file(struct vmm_memory *m, uint64_t gpa, uint64_t size,
                        const struct vmm_memory_file *file, struct err *e)
{
    struct vmm_region region;
    bool opened;
    int r = file->size == 0 || file->size > size || gpa % HUGE_PAGE || size % HUGE_PAGE
                ? err_set(e, EINVAL, "an image of %llu bytes does not lie at 0x%llx",
                          (unsigned long long)file->size, (unsigned long long)gpa)
                : reserve(m, gpa, size, &region, e);

    if (r < 0)
        return r;
    region.read_only = true;
    opened = mprotect(region.host, size, PROT_READ) == 0 &&
             mmap(region.host, file->size, PROT_READ, MAP_PRIVATE | MAP_FIXED | MAP_NORESERVE,
                  file->fd, 0) != MAP_FAILED;
    if (opened)
        advise(region.host, size);
    return keep(m, &region, opened, e);
}

int vmm_memory_back(const struct vmm_memory *m, uint64_t gpa, uint64_t len, int fd, uint64_t offset)
{
    void *at = vmm_memory_at(m, gpa, len);

    if (!at)
        return -EFAULT;
    if (mmap(at, len, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_FIXED | MAP_NORESERVE, fd,
             (off_t)offset) == MAP_FAILED)
        return -errno;
    advise(at, len);
    return 0;
}

/* The place where it is filled, aligned as the one where it goes: then it moves in huge pages, which costs nothing. */
static int reserve_later(uint8_t *to, uint64_t size, struct vmm_memory_later *out)
{
    size_t map_size = size + HUGE_PAGE;
    uint8_t *map = mmap(NULL, map_size, PROT_NONE, MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE, -1,
                        0);
    struct vmm_memory_later l = { .to = to, .size = size, .map = map, .map_size = map_size };

    if (map == MAP_FAILED)
        return -errno;
    l.filled = map + ((uintptr_t)to - (uintptr_t)map) % HUGE_PAGE;
    if (mprotect(l.filled, size, PROT_READ | PROT_WRITE) < 0) {
        int error = errno;

        munmap(map, map_size);
        return -error;
    }
    advise(l.filled, size);
    *out = l;
    return 0;
}

static int hide(uint8_t *at, uint64_t size, const struct vmm_memory_pages *meanwhile)
{
    if (!meanwhile)
        return mprotect(at, size, PROT_NONE) < 0 ? -errno : 0;
    if (mmap(at, size, PROT_READ, MAP_PRIVATE | MAP_FIXED | MAP_NORESERVE, meanwhile->fd,
             (off_t)meanwhile->offset) == MAP_FAILED)
        return -errno;
    advise(at, size);
    return 0;
}

int vmm_memory_defer(const struct vmm_memory *m, uint64_t gpa, uint64_t size,
                     const struct vmm_memory_pages *meanwhile, struct vmm_memory_later *out)
{
    uint8_t *to = vmm_memory_at(m, gpa, size);
    struct vmm_memory_later l;
    int r = !to ? -EFAULT : gpa % VMM_PAGE_SIZE || size % VMM_PAGE_SIZE ? -EINVAL : 0;

    r = r < 0 ? r : reserve_later(to, size, &l);
    if (r < 0)
        return r;
    r = hide(to, size, meanwhile);
    if (r < 0)
        vmm_memory_forget(&l);
    else
        *out = l;
    return r;
}

/* What is left on both sides goes by itself: the room between is anybody's from then on. */
int vmm_memory_arrive(struct vmm_memory_later *l)
{
    uint8_t *map = l->map, *end = l->filled + l->size;
    size_t before = (size_t)(l->filled - map), behind = l->map_size - before - l->size;

    if (!map)
        return 0;
    if (mremap(l->filled, l->size, l->size, MREMAP_MAYMOVE | MREMAP_FIXED, l->to) == MAP_FAILED)
        return -errno;
    if (before > 0)
        munmap(map, before);
    if (behind > 0)
        munmap(end, behind);
    l->map = NULL;
    return 0;
}

void vmm_memory_forget(struct vmm_memory_later *l)
{
    if (l->map)
        munmap(l->map, l->map_size);
    l->map = NULL;
}

void vmm_memory_release(struct vmm_memory *m)
{
    for (unsigned i = 0; i < m->n; i++)
        munmap(m->regions[i].map, m->regions[i].map_size);
    m->n = 0;
}

static void *find(const struct vmm_memory *m, uint64_t gpa, uint64_t len, bool to_write)
{
    for (unsigned i = 0; i < m->n; i++) {
        const struct vmm_region *r = &m->regions[i];
        uint64_t offset = gpa - r->gpa;

        /* gpa below the region wraps to an offset far above its size. No sum: none can overflow. */
        if (gpa >= r->gpa && offset < r->size)
            return len > 0 && len <= r->size - offset && !(to_write && r->read_only)
                       ? r->host + offset
                       : NULL;
    }
    return NULL;
}

void *vmm_memory_at(const struct vmm_memory *m, uint64_t gpa, uint64_t len)
{
    return find(m, gpa, len, true);
}

const void *vmm_memory_readable_at(const struct vmm_memory *m, uint64_t gpa, uint64_t len)
{
    return find(m, gpa, len, false);
}

int vmm_memory_read(const struct vmm_memory *m, uint64_t gpa, void *data, size_t len)
{
    const void *from = vmm_memory_readable_at(m, gpa, len);

    if (!from)
        return -EFAULT;
    memcpy(data, from, len);
    return 0;
}

int vmm_memory_write(const struct vmm_memory *m, uint64_t gpa, const void *data, size_t len)
{
    void *to = vmm_memory_at(m, gpa, len);

    if (!to)
        return -EFAULT;
    memcpy(to, data, len);
    return 0;
}
