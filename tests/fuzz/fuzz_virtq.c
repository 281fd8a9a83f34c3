/* SPDX-License-Identifier: Apache-2.0 */
/*
 * A split virtqueue as a hostile guest leaves it: the input is the guest's memory, rings and all.
 * Every request that is popped must lie in memory, and walking must end.
 */
#include "vmm/interp/virtio.h"

#include <stdlib.h>
#include <string.h>

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

#define GPA UINT64_C(0x10000)
enum { BYTES = 0x8000, AVAIL = 0x1000, USED = 0x1400, HEAD = 4, POPS = 1024 };

static struct vmm_memory memory;

static void require(bool condition)
{
    if (!condition)
        abort();
}

static uint8_t *guest(const uint8_t *data, size_t size)
{
    if (memory.n == 0)
        require(vmm_memory_add(&memory, GPA, BYTES, NULL) == 0);
    memset(memory.regions[0].host, 0, BYTES);
    if (size > 0)
        memcpy(memory.regions[0].host, data, size < BYTES ? size : BYTES);
    return memory.regions[0].host;
}

static void look_at(const struct virtq_chain *c)
{
    const uint8_t *begin = memory.regions[0].host;
    uint64_t out = 0, in = 0;
    static uint8_t bytes[4096];

    require(c->n_out + c->n_in > 0 && c->n_out + c->n_in <= VIRTQ_SEGMENTS_MAX);
    for (unsigned i = 0; i < c->n_out + c->n_in; i++) {
        const struct virtq_segment *s = &c->segments[i];

        require(s->len > 0 && s->data >= begin && s->data < begin + BYTES);
        require(s->len <= (size_t)(begin + BYTES - s->data));
        *(i < c->n_out ? &out : &in) += s->len;
    }
    require(out == c->out_len && in == c->in_len);
    require(virtq_copy_out(c, 0, bytes, sizeof(bytes)) ==
            (out < sizeof(bytes) ? out : sizeof(bytes)));
    /* What is written may well be a ring: the next requests are other ones then. */
    virtq_copy_in(c, in / 2, bytes, 64);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    struct virtq q = { .desc_gpa = GPA, .driver_gpa = GPA + AVAIL, .device_gpa = GPA + USED };
    static struct virtq_chain c;

    if (size < HEAD)
        return 0;
    guest(data + HEAD, size - HEAD);
    q.size = (uint16_t)(1u << data[0] % 9);
    q.indirect = data[1] & 1;
    q.event_idx = data[1] & 2;
    q.driver_gpa += data[2];
    q.device_gpa += data[3];
    if (virtq_enable(&q, &memory) < 0)
        return 0;
    for (unsigned i = 0; i < POPS && virtq_pop(&q, &memory, &c) > 0; i++) {
        look_at(&c);
        virtq_push(&q, c.head, c.in_len);
        virtq_wants_interrupt(&q);
        virtq_rearm(&q);
    }
    return 0;
}
