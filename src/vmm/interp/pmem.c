/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The persistent memory device (virtio 1.2 §5.19) over an image that is only read: its pages are the file's own, in the
 * page cache of the host, which all machines with that image share. The guest maps them (DAX), so there is nothing to
 * carry; a write is none (KVM_MEM_READONLY: it comes as an access of MMIO that nobody answers), and a flush is
 * done when it is asked for.
 */
#include "vmm/interp/virtio.h"

#include <errno.h>
#include <linux/virtio_ids.h>

enum { RESULT_OK = 0, RESULT_ERROR = 1 };

static int answer(void *device, struct virtq *q, const struct virtq_chain *c)
{
    struct virtio_pmem_resp response = { .ret = RESULT_ERROR };
    struct virtio_pmem_req request;

    (void)device;
    if (c->in_len < sizeof(response) ||
        virtq_copy_out(c, 0, &request, sizeof(request)) != sizeof(request))
        return -EINVAL;
    if (request.type == VIRTIO_PMEM_REQ_TYPE_FLUSH)
        response.ret = RESULT_OK;
    virtq_push(q, c->head, (uint32_t)virtq_copy_in(c, 0, &response, sizeof(response)));
    return 0;
}

static int pmem_notify(void *device, unsigned queue)
{
    struct pmem *p = device;

    return virtio_serve(&p->virtio, queue, answer);
}

static void pmem_reset(void *device)
{
    (void)device; /* it remembers nothing */
}

static const struct virtio_ops pmem_ops = {
    .name = "virtio-pmem", .id = VIRTIO_ID_PMEM, .notify = pmem_notify, .reset = pmem_reset
};

void pmem_init(struct pmem *p, uint64_t gpa, uint64_t size, const struct virtio_place *place)
{
    *p = (struct pmem){ .virtio = { .ops = &pmem_ops,
                                    .device = p,
                                    .mem = place->mem,
                                    .line = place->line,
                                    .gsi = place->gsi,
                                    .n_queues = 1,
                                    .config = &p->config,
                                    .config_len = sizeof(p->config) },
                        .config = { .start = gpa, .size = size } };
}
