/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The balloon device (virtio 1.2 §5.5), by which memory that the guest does not use goes back to the host. It wants no
 * pages (num_pages is 0): the driver reports what is free (§5.5.6.7), in pieces of 2 MiB with Linux, and takes it again without a
 * word. Nothing is kept of what the guest says; a lie about its own memory is its own loss, one about an
 * address that is none breaks the device.
 */
#include "vmm/interp/virtio.h"

#include <errno.h>
#include <linux/virtio_ids.h>
#include <sys/mman.h>

/*
 * §5.5.2 numbers the queues 0 to 4, Linux those that there are (vm_find_vqs()): what is reported comes by 2 or 4, and
 * neither statistics nor hints are offered.
 */
enum { INFLATE = 0, DEFLATE = 1, QUEUES = 5 };
/* In one request. Linux sends 256; each may cost a system call, so a guest has no use for more. */
enum { PFNS_MAX = 1024, PFNS_AT_ONCE = 64 };

/* Only whole pages; it is advice, and where the kernel refuses it nothing is lost. */
static void give_back(struct balloon *b, uint8_t *first, uint64_t len)
{
    uint64_t skip = -(uintptr_t)first % VMM_PAGE_SIZE;
    uint64_t rest = len > skip ? (len - skip) & ~(uint64_t)(VMM_PAGE_SIZE - 1) : 0;

    if (rest > 0 && madvise(first + skip, rest, MADV_DONTNEED) == 0)
        b->returned += rest;
}

/* §5.5.6.7: the device writes nothing; that the buffer is its own is all that is said. */
static int take_report(void *device, struct virtq *q, const struct virtq_chain *c)
{
    for (unsigned i = 0; i < c->n_in; i++)
        give_back(device, c->segments[c->n_out + i].data, c->segments[c->n_out + i].len);
    virtq_push(q, c->head, 0);
    return 0;
}

/* Neighbours of one run go together: a page each would be a system call each. */
static int give_pages(struct balloon *b, const uint32_t *pfns, unsigned n)
{
    for (unsigned i = 0, run; i < n; i += run) {
        uint64_t gpa = (uint64_t)pfns[i] << VIRTIO_BALLOON_PFN_SHIFT;
        uint8_t *page;

        for (run = 1; i + run < n && pfns[i + run] == (uint64_t)pfns[i] + run;)
            run++;
        page = vmm_memory_at(b->virtio.mem, gpa, (uint64_t)run << VIRTIO_BALLOON_PFN_SHIFT);
        if (!page)
            return -EINVAL;
        give_back(b, page, (uint64_t)run << VIRTIO_BALLOON_PFN_SHIFT);
    }
    return 0;
}

static int inflate(void *device, struct virtq *q, const struct virtq_chain *c)
{
    uint32_t pfns[PFNS_AT_ONCE];
    int r = c->out_len % sizeof(*pfns) || c->out_len > PFNS_MAX * sizeof(*pfns) ? -EINVAL : 0;

    for (size_t at = 0, got; at < c->out_len && r == 0; at += got) {
        got = virtq_copy_out(c, at, pfns, sizeof(pfns));
        r = give_pages(device, pfns, (unsigned)(got / sizeof(*pfns)));
    }
    if (r == 0)
        virtq_push(q, c->head, 0);
    return r;
}

/* Pages that come back to the guest are there again as soon as it touches them. */
static int deflate(void *device, struct virtq *q, const struct virtq_chain *c)
{
    (void)device;
    virtq_push(q, c->head, 0);
    return 0;
}

static int balloon_notify(void *device, unsigned queue)
{
    struct balloon *b = device;

    return virtio_serve(&b->virtio, queue,
                        queue == INFLATE   ? inflate
                        : queue == DEFLATE ? deflate
                                           : take_report);
}

static void balloon_reset(void *device)
{
    (void)device; /* it remembers nothing */
}

static const struct virtio_ops balloon_ops = {
    .name = "virtio-balloon",
    .id = VIRTIO_ID_BALLOON,
    .features = UINT64_C(1) << VIRTIO_BALLOON_F_REPORTING | UINT64_C(1)
                                                                << VIRTIO_BALLOON_F_DEFLATE_ON_OOM,
    .notify = balloon_notify,
    .reset = balloon_reset,
};

void balloon_init(struct balloon *b, const struct virtio_place *place)
{
    *b = (struct balloon){ .virtio = { .ops = &balloon_ops,
                                       .device = b,
                                       .mem = place->mem,
                                       .line = place->line,
                                       .gsi = place->gsi,
                                       .n_queues = QUEUES,
                                       .config = &b->config,
                                       .config_len = sizeof(b->config) } };
}
