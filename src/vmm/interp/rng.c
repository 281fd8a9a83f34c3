/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The entropy device (virtio 1.2 §5.4): random bytes of the host's kernel. A request gets at most
 * CHUNK bytes, whatever it has room for, so that each costs little; all of them are made in the
 * time of the cpu that asked, so a guest that asks for ever spends its own time only.
 */
#include "vmm/interp/virtio.h"

#include <errno.h>
#include <linux/virtio_ids.h>
#include <sys/random.h>

enum { CHUNK = 256 }; /* getrandom(2) gives that many without an interruption */

static int answer(void *device, struct virtq *q, const struct virtq_chain *c)
{
    uint8_t bytes[CHUNK];
    size_t want = c->in_len < CHUNK ? c->in_len : CHUNK;
    ssize_t got = getrandom(bytes, want, 0);

    (void)device;
    if (want == 0 || got < 0) /* a request without room: a driver that lies */
        return -EINVAL;
    virtq_push(q, c->head, (uint32_t)virtq_copy_in(c, 0, bytes, (size_t)got));
    return 0;
}

static int rng_notify(void *device, unsigned queue)
{
    struct rng *r = device;

    return virtio_serve(&r->virtio, queue, answer);
}

static void rng_reset(void *device)
{
    (void)device; /* it remembers nothing */
}

static const struct virtio_ops rng_ops = {
    .name = "virtio-rng", .id = VIRTIO_ID_RNG, .notify = rng_notify, .reset = rng_reset
};

void rng_init(struct rng *r, const struct vmm_memory *mem, struct vmm_line line, unsigned gsi)
{
    *r = (struct rng){ .virtio = { .ops = &rng_ops,
                                   .device = r,
                                   .mem = mem,
                                   .line = line,
                                   .gsi = gsi,
                                   .n_queues = 1 } };
}
