/* SPDX-License-Identifier: Apache-2.0 */
/* From an address to the device that answers there: sorted ranges, searched by halves. */
#include "vmm/dispatch/dispatch.h"

#include <errno.h>
#include <string.h>

/* The first range that does not end before address; b->n when there is none. */
static unsigned find(const struct vmm_bus *b, uint64_t address)
{
    unsigned low = 0, high = b->n;

    while (low < high) {
        unsigned middle = low + (high - low) / 2;

        if (b->ranges[middle].last < address)
            low = middle + 1;
        else
            high = middle;
    }
    return low;
}

int vmm_bus_add(struct vmm_bus *b, uint64_t first, uint64_t size, const struct vmm_device *device,
                void *self, struct err *e)
{
    uint64_t last = first + (size - 1);
    unsigned at;

    if (size == 0 || last < first)
        return err_set(e, EINVAL, "device '%s' has no range of addresses", device->name);
    if (b->n == VMM_BUS_MAX)
        return err_set(e, ENOSPC, "no room for device '%s' on its bus", device->name);
    at = find(b, first);
    if (at < b->n && b->ranges[at].first <= last)
        return err_set(e, EINVAL, "device '%s' overlaps device '%s'", device->name,
                       b->ranges[at].device->name);
    memmove(&b->ranges[at + 1], &b->ranges[at], (b->n - at) * sizeof(b->ranges[0]));
    b->ranges[at] = (struct vmm_bus_range){ first, last, device, self };
    b->n++;
    return 0;
}

static const struct vmm_bus_range *range_of(const struct vmm_bus *b, uint64_t address, unsigned len)
{
    unsigned at = find(b, address);
    const struct vmm_bus_range *r = &b->ranges[at];

    if (at == b->n || r->first > address || len == 0 || len > 8 || len - 1 > r->last - address)
        return NULL;
    return r;
}

bool vmm_bus_read(const struct vmm_bus *b, uint64_t address, void *data, unsigned len)
{
    const struct vmm_bus_range *r = range_of(b, address, len);

    if (!r) {
        memset(data, 0xff, len);
        return false;
    }
    r->device->read(r->self, address - r->first, data, len);
    return true;
}

bool vmm_bus_write(const struct vmm_bus *b, uint64_t address, const void *data, unsigned len)
{
    const struct vmm_bus_range *r = range_of(b, address, len);

    if (!r)
        return false;
    r->device->write(r->self, address - r->first, data, len);
    return true;
}

void vmm_bus_reset(const struct vmm_bus *b)
{
    for (unsigned i = 0; i < b->n; i++)
        b->ranges[i].device->reset(b->ranges[i].self);
}
