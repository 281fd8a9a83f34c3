/* SPDX-License-Identifier: Apache-2.0 */
#ifndef TECA_UNIT_VMM_RING_H
#define TECA_UNIT_VMM_RING_H
/*
 * The driver's side of a split queue in guest memory, as good or as bad as a test wants it, and of
 * the MMIO registers. Queue n has RING_STRIDE bytes at RING_GPA: descriptors, then the rings; buffers
 * are at BUFFER_GPA.
 */
#include "unit.h"
#include "vmm/interp/virtio.h"

#include <linux/virtio_config.h>
#include <linux/virtio_mmio.h>

enum { RING_SIZE = 8, RING_STRIDE = 0x1000, RING_AVAIL = 0x400, RING_USED = 0x800 };
#define FAKE_GPA UINT64_C(0x100000)
#define FAKE_SIZE UINT64_C(0x20000)
#define FAKE_RINGS FAKE_GPA
#define FAKE_BUFFERS (FAKE_GPA + UINT64_C(0x10000))

static inline struct vmm_memory fake_memory(void)
{
    struct vmm_memory m = { .n = 0 };

    assert_int_equal(vmm_memory_add(&m, FAKE_GPA, FAKE_SIZE, NULL), 0);
    return m;
}

static inline void *ring_at(const struct vmm_memory *m, unsigned queue, uint64_t offset)
{
    void *at = vmm_memory_at(m, FAKE_RINGS + queue * RING_STRIDE + offset, 16);

    assert_non_null(at);
    return at;
}

static inline void ring_describe(const struct vmm_memory *m, unsigned queue, unsigned index,
                                 struct vring_desc d)
{
    memcpy((struct vring_desc *)ring_at(m, queue, 0) + index, &d, sizeof(d));
}

/* Offers the chain that begins at head. */
static inline void ring_offer(const struct vmm_memory *m, unsigned queue, uint16_t head)
{
    struct vring_avail *a = ring_at(m, queue, RING_AVAIL);

    a->ring[a->idx % RING_SIZE] = head;
    a->idx++;
}

static inline const struct vring_used *ring_used(const struct vmm_memory *m, unsigned queue)
{
    return ring_at(m, queue, RING_USED);
}

/* ---- registers ------------------------------------------------------------------------------------ */

/* When set, a write is not made but told: how scripts for guests are written. */
static void (*reg_tap)(uint64_t offset, uint32_t value);

static inline void reg_write(struct virtio *v, uint64_t offset, uint32_t value)
{
    if (reg_tap)
        reg_tap(offset, value);
    else
        virtio_device.write(v, offset, &value, sizeof(value));
}

static inline uint32_t reg_read(struct virtio *v, uint64_t offset)
{
    uint32_t value;

    virtio_device.read(v, offset, &value, sizeof(value));
    return value;
}

static inline void reg_features(struct virtio *v, uint64_t features)
{
    for (uint32_t i = 0; i < 2; i++) {
        reg_write(v, VIRTIO_MMIO_DRIVER_FEATURES_SEL, i);
        reg_write(v, VIRTIO_MMIO_DRIVER_FEATURES, (uint32_t)(features >> (32 * i)));
    }
}

static inline void reg_queue(struct virtio *v, unsigned queue)
{
    uint64_t ring = FAKE_RINGS + queue * RING_STRIDE;

    reg_write(v, VIRTIO_MMIO_QUEUE_SEL, queue);
    reg_write(v, VIRTIO_MMIO_QUEUE_NUM, RING_SIZE);
    reg_write(v, VIRTIO_MMIO_QUEUE_DESC_LOW, (uint32_t)ring);
    reg_write(v, VIRTIO_MMIO_QUEUE_AVAIL_LOW, (uint32_t)(ring + RING_AVAIL));
    reg_write(v, VIRTIO_MMIO_QUEUE_USED_LOW, (uint32_t)(ring + RING_USED));
    reg_write(v, VIRTIO_MMIO_QUEUE_READY, 1);
}

/* What a good driver does, up to DRIVER_OK. */
static inline void reg_drive(struct virtio *v, uint64_t features)
{
    reg_write(v, VIRTIO_MMIO_STATUS, 0);
    reg_write(v, VIRTIO_MMIO_STATUS, VIRTIO_CONFIG_S_ACKNOWLEDGE);
    reg_write(v, VIRTIO_MMIO_STATUS, VIRTIO_CONFIG_S_ACKNOWLEDGE | VIRTIO_CONFIG_S_DRIVER);
    reg_features(v, features | UINT64_C(1) << VIRTIO_F_VERSION_1);
    reg_write(v, VIRTIO_MMIO_STATUS, 0x0b);
    for (unsigned i = 0; i < v->n_queues; i++)
        reg_queue(v, i);
    reg_write(v, VIRTIO_MMIO_STATUS, 0x0f);
}

#endif
