/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The file system device (virtio 1.2 §5.11): queue 0 is for what must not wait (hiprio), queue 1 for requests.
 * What is in them is FUSE, which nobody here reads: a request is copied into a slot, somebody else answers it there, and
 * the answer is copied back. So the server sees no memory of the guest but that copy, and a cpu waits for
 * no file. When all slots are taken, requests stay in their queue. A slot that a reset leaves behind is not used
 * before its answer has come: until then the server may write there.
 */
#include "vmm/interp/virtio.h"

#include <errno.h>
#include <linux/virtio_ids.h>
#include <string.h>

static uint8_t *memory_of(const struct fs *f, unsigned slot)
{
    return f->share->slots + (size_t)slot * VMM_SHARE_SLOT;
}

static struct fs_slot *find_free(struct fs *f)
{
    for (unsigned i = 0; i < f->share->n_slots; i++) {
        if (f->slots[i].state == FS_SLOT_FREE)
            return &f->slots[i];
    }
    return NULL;
}

/* A request without a byte, or longer than the driver was allowed to send, is a lie. */
static int submit(struct fs *f, struct fs_slot *s, unsigned queue)
{
    struct vmm_share_request r = { .slot = (uint32_t)(s - f->slots), .len = s->chain.out_len };
    size_t room;

    if (r.len == 0 || r.len > VMM_SHARE_REQUEST_MAX)
        return -EINVAL;
    room = VMM_SHARE_SLOT - vmm_share_reply_at(r.len);
    r.reply_len = s->chain.in_len < room ? s->chain.in_len : (uint32_t)room;
    virtq_copy_out(&s->chain, 0, memory_of(f, r.slot), r.len);
    s->state = FS_SLOT_BUSY;
    s->queue = queue;
    s->request = r;
    if (f->share->submit(f->share->ctx, &r))
        return 0;
    s->state = FS_SLOT_FREE;
    return -EIO;
}

static int fs_notify(void *device, unsigned queue)
{
    struct fs *f = device;
    struct virtq *q = &f->virtio.queues[queue];
    struct fs_slot *s;
    int r;

    do {
        while ((s = find_free(f)) && (r = virtq_pop(q, f->virtio.mem, &s->chain)) > 0) {
            r = submit(f, s, queue);
            if (r < 0)
                return r;
        }
        f->is_starved |= !s;
    } while (s && r == 0 && virtq_rearm(q));
    return s ? r : 0;
}

static void go_on(struct fs *f)
{
    if (!f->is_starved || !virtio_is_live(&f->virtio))
        return;
    f->is_starved = false;
    for (unsigned i = 0; i < f->virtio.n_queues; i++) {
        if (f->virtio.queues[i].ready && fs_notify(f, i) < 0)
            virtio_break(&f->virtio);
    }
}

bool fs_done(struct fs *f, const struct vmm_share_reply *r)
{
    struct fs_slot *s = r->slot < f->share->n_slots ? &f->slots[r->slot] : NULL;
    bool wanted;

    if (!s || s->state == FS_SLOT_FREE || r->len > s->request.reply_len)
        return false;
    wanted = s->state == FS_SLOT_BUSY && virtio_is_live(&f->virtio) &&
             f->virtio.queues[s->queue].ready;
    s->state = FS_SLOT_FREE;
    if (wanted) {
        const uint8_t *reply = memory_of(f, r->slot) + vmm_share_reply_at(s->request.len);

        virtq_copy_in(&s->chain, 0, reply, r->len);
        virtq_push(&f->virtio.queues[s->queue], s->chain.head, r->len);
        virtio_signal(&f->virtio, s->queue);
    }
    go_on(f);
    return true;
}

static void fs_reset(void *device)
{
    struct fs *f = device;

    for (unsigned i = 0; i < f->share->n_slots; i++) {
        if (f->slots[i].state == FS_SLOT_BUSY)
            f->slots[i].state = FS_SLOT_LEFT;
    }
    f->is_starved = false;
}

static const struct virtio_ops fs_ops = {
    .name = "virtio-fs", .id = VIRTIO_ID_FS, .notify = fs_notify, .reset = fs_reset
};

void fs_init(struct fs *f, const struct vmm_share *share, const struct virtio_place *place)
{
    f->virtio = (struct virtio){ .ops = &fs_ops,
                                 .device = f,
                                 .mem = place->mem,
                                 .line = place->line,
                                 .gsi = place->gsi,
                                 .n_queues = FS_QUEUES,
                                 .config = &f->config,
                                 .config_len = sizeof(f->config) };
    f->config = (struct virtio_fs_config){ .num_request_queues = FS_QUEUES - 1 };
    memcpy(f->config.tag, share->tag, strnlen(share->tag, sizeof(f->config.tag)));
    f->share = share;
    f->is_starved = false;
    for (unsigned i = 0; i < VMM_SHARE_SLOTS_MAX; i++)
        f->slots[i].state = FS_SLOT_FREE;
}
