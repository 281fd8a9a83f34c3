/* SPDX-License-Identifier: Apache-2.0 */
/* The MMIO transport (virtio 1.2 §4.2.2): registers in, calls of a device out. */
#include "vmm/interp/virtio.h"

#include <errno.h>
#include <linux/virtio_config.h>
#include <linux/virtio_mmio.h>
#include <string.h>

enum { MAGIC = 0x74726976, VERSION = 2, VENDOR = 0x41434554 /* "TECA" */ };
enum { SHM_LEN_LOW = 0xb0, SHM_LEN_HIGH = 0xb4 };

#define TRANSPORT_FEATURES                                                        \
    (UINT64_C(1) << VIRTIO_F_VERSION_1 | UINT64_C(1) << VIRTIO_RING_F_EVENT_IDX | \
     UINT64_C(1) << VIRTIO_RING_F_INDIRECT_DESC)

static uint64_t features_of(const struct virtio *v)
{
    return TRANSPORT_FEATURES | v->ops->features;
}

bool virtio_is_live(const struct virtio *v)
{
    return (v->status & (VIRTIO_CONFIG_S_DRIVER_OK | VIRTIO_STATUS_BROKEN)) ==
           VIRTIO_CONFIG_S_DRIVER_OK;
}

static void interrupt(struct virtio *v, uint32_t cause)
{
    v->isr |= cause;
    v->line.raise(v->line.ctx, v->gsi);
}

/* §2.1.2: a driver that is at work hears of it by a change of the configuration. */
void virtio_break(struct virtio *v)
{
    bool was_live = virtio_is_live(v);

    v->status |= VIRTIO_STATUS_BROKEN;
    if (was_live)
        interrupt(v, VIRTIO_MMIO_INT_CONFIG);
}

void virtio_config_changed(struct virtio *v)
{
    v->generation++;
    if (virtio_is_live(v))
        interrupt(v, VIRTIO_MMIO_INT_CONFIG);
}

void virtio_signal(struct virtio *v, unsigned queue)
{
    if (virtio_is_live(v) && virtq_wants_interrupt(&v->queues[queue]))
        interrupt(v, VIRTIO_MMIO_INT_VRING);
}

int virtio_serve(struct virtio *v, unsigned queue,
                 int (*answer)(void *device, struct virtq *q, const struct virtq_chain *c))
{
    struct virtq *q = &v->queues[queue];
    struct virtq_turn turn = { 0 };
    struct virtq_chain c;
    int found = 0, result = 0;

    while (result == 0 && (found = virtq_next(q, v->mem, &turn, &c)) > 0)
        result = answer(v->device, q, &c);
    virtio_signal(v, queue);
    return found < 0 ? found : result;
}

static void reset(void *self)
{
    struct virtio *v = self;

    v->driver_features = 0;
    v->device_sel = v->driver_sel = v->queue_sel = v->status = v->isr = 0;
    memset(v->queues, 0, sizeof(v->queues));
    v->ops->reset(v->device);
}

/* ---- reads --------------------------------------------------------------------------------------------- */

static const struct virtq *selected(const struct virtio *v)
{
    return v->queue_sel < v->n_queues ? &v->queues[v->queue_sel] : NULL;
}

static uint32_t half(uint64_t value, uint32_t which)
{
    return which == 0 ? (uint32_t)value : which == 1 ? (uint32_t)(value >> 32) : 0;
}

static uint32_t read_register(const struct virtio *v, uint64_t offset)
{
    switch (offset) {
    case VIRTIO_MMIO_MAGIC_VALUE:
        return MAGIC;
    case VIRTIO_MMIO_VERSION:
        return VERSION;
    case VIRTIO_MMIO_DEVICE_ID:
        return v->ops->id;
    case VIRTIO_MMIO_VENDOR_ID:
        return VENDOR;
    case VIRTIO_MMIO_DEVICE_FEATURES:
        return half(features_of(v), v->device_sel);
    case VIRTIO_MMIO_QUEUE_NUM_MAX:
        return selected(v) ? VIRTQ_SIZE_MAX : 0;
    case VIRTIO_MMIO_QUEUE_READY:
        return selected(v) && selected(v)->ready;
    case VIRTIO_MMIO_INTERRUPT_STATUS:
        return v->isr;
    case VIRTIO_MMIO_STATUS:
        return v->status;
    case SHM_LEN_LOW: /* §4.2.2: no such region */
    case SHM_LEN_HIGH:
        return UINT32_MAX;
    case VIRTIO_MMIO_CONFIG_GENERATION:
        return v->generation;
    default:
        return 0;
    }
}

static void read_config(const struct virtio *v, uint64_t offset, void *data, unsigned len)
{
    memset(data, 0, len);
    if (offset < v->config_len)
        memcpy(data, (const uint8_t *)v->config + offset,
               len < v->config_len - offset ? len : v->config_len - offset);
}

/* §4.2.2.2: the registers are read and written by aligned 32 bits; anything else is no register. */
static bool is_register_access(uint64_t offset, unsigned len)
{
    return len == 4 && offset % 4 == 0;
}

static void mmio_read(void *self, uint64_t offset, void *data, unsigned len)
{
    const struct virtio *v = self;
    uint32_t value;

    if (offset >= VIRTIO_MMIO_CONFIG) {
        read_config(v, offset - VIRTIO_MMIO_CONFIG, data, len);
        return;
    }
    value = is_register_access(offset, len) ? read_register(v, offset) : 0;
    memset(data, 0, len);
    memcpy(data, &value, len < sizeof(value) ? len : sizeof(value));
}

/* ---- writes -------------------------------------------------------------------------------------------- */

/* Queues are set up between FEATURES_OK and their being ready. */
static struct virtq *configurable(struct virtio *v)
{
    struct virtq *q = v->queue_sel < v->n_queues ? &v->queues[v->queue_sel] : NULL;
    bool allowed = v->status & VIRTIO_CONFIG_S_FEATURES_OK && !(v->status & VIRTIO_STATUS_BROKEN);

    return q && allowed && !q->ready ? q : NULL;
}

static void set_half(uint64_t *field, uint32_t value, bool high)
{
    *field = high ? (*field & UINT32_MAX) | (uint64_t)value << 32
                  : (*field & ~(uint64_t)UINT32_MAX) | value;
}

static void write_queue(struct virtio *v, uint64_t offset, uint32_t value)
{
    struct virtq *q = configurable(v);

    if (!q)
        return;
    switch (offset) {
    case VIRTIO_MMIO_QUEUE_NUM:
        q->size = value <= VIRTQ_SIZE_MAX ? (uint16_t)value : 0;
        return;
    case VIRTIO_MMIO_QUEUE_DESC_LOW:
    case VIRTIO_MMIO_QUEUE_DESC_HIGH:
        set_half(&q->desc_gpa, value, offset == VIRTIO_MMIO_QUEUE_DESC_HIGH);
        return;
    case VIRTIO_MMIO_QUEUE_AVAIL_LOW:
    case VIRTIO_MMIO_QUEUE_AVAIL_HIGH:
        set_half(&q->driver_gpa, value, offset == VIRTIO_MMIO_QUEUE_AVAIL_HIGH);
        return;
    case VIRTIO_MMIO_QUEUE_USED_LOW:
    case VIRTIO_MMIO_QUEUE_USED_HIGH:
        set_half(&q->device_gpa, value, offset == VIRTIO_MMIO_QUEUE_USED_HIGH);
        return;
    default: /* no register */
        return;
    }
}

static void write_ready(struct virtio *v, uint32_t value)
{
    struct virtq *q = configurable(v);

    if (value == 0 && v->queue_sel < v->n_queues) {
        v->queues[v->queue_sel].ready = false;
        return;
    }
    if (!q || value != 1)
        return;
    q->indirect = v->driver_features >> VIRTIO_RING_F_INDIRECT_DESC & 1;
    q->event_idx = v->driver_features >> VIRTIO_RING_F_EVENT_IDX & 1;
    if (virtq_enable(q, v->mem) < 0)
        virtio_break(v);
}

/* Bits are only ever added (§2.1.1), except by a reset; each has to come after the one before. */
static void write_status(struct virtio *v, uint32_t value)
{
    bool features_ok = (v->driver_features & ~features_of(v)) == 0 &&
                       v->driver_features >> VIRTIO_F_VERSION_1 & 1;

    if (value == 0) {
        reset(v);
        return;
    }
    v->status |= value &
                 (VIRTIO_CONFIG_S_ACKNOWLEDGE | VIRTIO_CONFIG_S_DRIVER | VIRTIO_CONFIG_S_FAILED);
    if (value & VIRTIO_CONFIG_S_FEATURES_OK && features_ok)
        v->status |= VIRTIO_CONFIG_S_FEATURES_OK;
    if (value & VIRTIO_CONFIG_S_DRIVER_OK && v->status & VIRTIO_CONFIG_S_FEATURES_OK)
        v->status |= VIRTIO_CONFIG_S_DRIVER_OK;
}

static void write_features(struct virtio *v, uint32_t value)
{
    if (!(v->status & VIRTIO_CONFIG_S_FEATURES_OK) && v->driver_sel < 2)
        set_half(&v->driver_features, value, v->driver_sel == 1);
}

static void write_notify(struct virtio *v, uint32_t queue)
{
    if (!virtio_is_live(v) || queue >= v->n_queues || !v->queues[queue].ready)
        return;
    if (v->ops->notify(v->device, queue) < 0)
        virtio_break(v);
}

static void write_register(struct virtio *v, uint64_t offset, uint32_t value)
{
    switch (offset) {
    case VIRTIO_MMIO_DEVICE_FEATURES_SEL:
        v->device_sel = value;
        return;
    case VIRTIO_MMIO_DRIVER_FEATURES_SEL:
        v->driver_sel = value;
        return;
    case VIRTIO_MMIO_DRIVER_FEATURES:
        write_features(v, value);
        return;
    case VIRTIO_MMIO_QUEUE_SEL:
        v->queue_sel = value;
        return;
    case VIRTIO_MMIO_QUEUE_READY:
        write_ready(v, value);
        return;
    case VIRTIO_MMIO_QUEUE_NOTIFY:
        write_notify(v, value);
        return;
    case VIRTIO_MMIO_INTERRUPT_ACK:
        v->isr &= ~value;
        return;
    case VIRTIO_MMIO_STATUS:
        write_status(v, value);
        return;
    default:
        write_queue(v, offset, value);
        return;
    }
}

static void mmio_write(void *self, uint64_t offset, const void *data, unsigned len)
{
    uint32_t value;

    if (offset >= VIRTIO_MMIO_CONFIG || !is_register_access(offset, len))
        return; /* no device here has a configuration that a driver may write */
    memcpy(&value, data, sizeof(value));
    write_register(self, offset, value);
}

const struct vmm_device virtio_device = { "virtio", mmio_read, mmio_write, reset };
