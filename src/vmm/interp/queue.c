/* SPDX-License-Identifier: Apache-2.0 */
/* The split virtqueue (virtio 1.2 §2.7), from the device's side. */
#include "vmm/interp/virtio.h"

#include <errno.h>
#include <string.h>

/* ---- reading what the guest may be writing ---------------------------------------------------------- */

static uint16_t load_acquire(const uint16_t *at)
{
    return __atomic_load_n(at, __ATOMIC_ACQUIRE);
}

static uint16_t load_once(const uint16_t *at)
{
    return __atomic_load_n(at, __ATOMIC_RELAXED);
}

/* One read each, into memory of ours: what is checked is what is used. Tables need no alignment. */
static struct vring_desc copy_descriptor(const struct vring_desc *at)
{
    struct vring_desc d;

    memcpy(&d, at, sizeof(d));
    __asm__ volatile("" : "+m"(d)); /* the compiler may not read it from the guest again */
    return d;
}

/* ---- set-up ------------------------------------------------------------------------------------------- */

static const void *area(const struct vmm_memory *mem, uint64_t gpa, uint64_t align, size_t size)
{
    return gpa % align ? NULL : vmm_memory_at(mem, gpa, size);
}

int virtq_enable(struct virtq *q, const struct vmm_memory *mem)
{
    size_t n = q->size;
    const void *desc, *avail, *used;

    if (n == 0 || n > VIRTQ_SIZE_MAX || (n & (n - 1)))
        return -EINVAL;
    /* §2.7: sizes and alignments; the two bytes are used_event and avail_event. */
    desc = area(mem, q->desc_gpa, 16, n * sizeof(struct vring_desc));
    avail = area(mem, q->driver_gpa, 2, sizeof(struct vring_avail) + n * sizeof(uint16_t) + 2);
    used = area(mem, q->device_gpa, 4,
                sizeof(struct vring_used) + n * sizeof(struct vring_used_elem) + 2);
    if (!desc || !avail || !used)
        return -EINVAL;
    q->desc = desc;
    q->avail = avail;
    q->used = (struct vring_used *)used;
    q->next_avail = q->next_used = q->signalled = 0;
    q->promised = false;
    q->ready = true;
    return 0;
}

/* ---- a request ------------------------------------------------------------------------------------------ */

/* §2.7.4.2: what the device may read comes first; §2.7.5.3.1: a chain is at most 2^32 bytes. */
static int add_segment(struct virtq_chain *c, const struct vmm_memory *mem,
                       const struct vring_desc *d)
{
    bool in = d->flags & VRING_DESC_F_WRITE;
    uint32_t *total = in ? &c->in_len : &c->out_len;
    uint8_t *data = in ? vmm_memory_at(mem, d->addr, d->len)
                       : (uint8_t *)vmm_memory_readable_at(mem, d->addr, d->len);

    if (!data || c->n_out + c->n_in == VIRTQ_SEGMENTS_MAX || (!in && c->n_in > 0) ||
        d->len > UINT32_MAX - c->out_len - (uint64_t)c->in_len)
        return -EINVAL;
    c->segments[c->n_out + c->n_in] = (struct virtq_segment){ data, d->len };
    *total += d->len;
    *(in ? &c->n_in : &c->n_out) += 1;
    return 0;
}

struct table {
    const struct vring_desc *entries;
    unsigned n;
    bool is_indirect;
};

/* §2.7.5.3: a table of its own, which must not lead to another, nor be followed by anything. */
static int open_indirect(const struct virtq *q, const struct vmm_memory *mem,
                         const struct vring_desc *d, struct table *t)
{
    const void *entries = vmm_memory_at(mem, d->addr, d->len);

    if (!q->indirect || t->is_indirect || d->flags & VRING_DESC_F_NEXT || !entries ||
        d->len % sizeof(struct vring_desc) ||
        d->len / sizeof(struct vring_desc) > VIRTQ_SEGMENTS_MAX)
        return -EINVAL;
    *t = (struct table){ entries, d->len / (unsigned)sizeof(struct vring_desc), true };
    return 0;
}

/* No table is visited for more steps than it has entries: a loop ends there. */
static int walk(const struct virtq *q, const struct vmm_memory *mem, struct virtq_chain *c)
{
    struct table t = { q->desc, q->size, false };
    unsigned index = c->head, steps = 0;

    for (;;) {
        struct vring_desc d;
        int r;

        if (index >= t.n || steps++ >= t.n)
            return -EINVAL;
        d = copy_descriptor(&t.entries[index]);
        if (d.flags & VRING_DESC_F_INDIRECT) {
            r = open_indirect(q, mem, &d, &t);
            index = steps = 0;
        } else {
            r = add_segment(c, mem, &d);
            index = d.next;
            if (r == 0 && !(d.flags & VRING_DESC_F_NEXT))
                return 0;
        }
        if (r < 0)
            return r;
    }
}

int virtq_pop(struct virtq *q, const struct vmm_memory *mem, struct virtq_chain *out)
{
    uint16_t waiting;
    int r;

    if (!q->ready)
        return 0;
    waiting = (uint16_t)(load_acquire(&q->avail->idx) - q->next_avail);
    /* An index that jumped, or went back: a cpu that moves it to and fro would keep us for ever. */
    if (waiting > q->size || (waiting == 0 && q->promised))
        return -EINVAL;
    if (waiting == 0)
        return 0;
    q->promised = false;
    out->n_out = out->n_in = out->out_len = out->in_len = 0;
    out->head = load_once(&q->avail->ring[q->next_avail % q->size]);
    r = walk(q, mem, out);
    if (r < 0)
        return r;
    q->next_avail++;
    return 1;
}

void virtq_unpop(struct virtq *q, unsigned n)
{
    q->next_avail = (uint16_t)(q->next_avail - n);
}

void virtq_push(struct virtq *q, uint16_t head, uint32_t len)
{
    struct vring_used_elem *elem = &q->used->ring[q->next_used % q->size];

    __atomic_store_n(&elem->id, head, __ATOMIC_RELAXED);
    __atomic_store_n(&elem->len, len, __ATOMIC_RELAXED);
    q->next_used++;
    __atomic_store_n(&q->used->idx, q->next_used, __ATOMIC_RELEASE);
}

/* ---- notifications (§2.7.7, §2.7.10) ---------------------------------------------------------------------- */

bool virtq_rearm(struct virtq *q)
{
    if (!q->ready)
        return false;
    if (q->event_idx)
        __atomic_store_n((uint16_t *)(void *)&q->used->ring[q->size], q->next_avail,
                         __ATOMIC_RELAXED);
    /* The driver adds, then looks at the event; we wrote the event, now we look for additions. */
    __atomic_thread_fence(__ATOMIC_SEQ_CST);
    q->promised = load_once(&q->avail->idx) != q->next_avail;
    return q->promised;
}

/*
 * Asks for a notification of the first request that is not there yet; how many are, is the end of the turn. The index only
 * grows, and not past the queue: what else it does is a lie that virtq_pop finds.
 */
static unsigned count_last(struct virtq *q)
{
    uint16_t seen, now = load_acquire(&q->avail->idx), n;

    do {
        seen = now;
        if (q->event_idx)
            __atomic_store_n((uint16_t *)(void *)&q->used->ring[q->size], seen, __ATOMIC_RELAXED);
        __atomic_thread_fence(__ATOMIC_SEQ_CST); /* as in virtq_rearm */
        now = load_once(&q->avail->idx);
    } while ((uint16_t)(now - q->next_avail) > (uint16_t)(seen - q->next_avail) &&
             (uint16_t)(now - q->next_avail) <= q->size);
    n = (uint16_t)(now - q->next_avail);
    q->promised = n > 0;
    return n < q->size ? n : q->size;
}

int virtq_next(struct virtq *q, const struct vmm_memory *mem, struct virtq_turn *t,
               struct virtq_chain *out)
{
    int r;

    if (t->taken == VIRTQ_TURN && !t->is_last) {
        t->is_last = true;
        t->left = q->ready ? count_last(q) : 0;
    }
    if (t->is_last && t->left == 0)
        return 0;
    t->left -= t->is_last;
    do
        r = virtq_pop(q, mem, out);
    while (r == 0 && !t->is_last && virtq_rearm(q));
    t->taken += !t->is_last && r > 0;
    return r;
}

bool virtq_wants_interrupt(struct virtq *q)
{
    uint16_t old = q->signalled;

    if (!q->ready || old == q->next_used)
        return false;
    __atomic_thread_fence(__ATOMIC_SEQ_CST);
    q->signalled = q->next_used;
    if (!q->event_idx)
        return !(load_once(&q->avail->flags) & VRING_AVAIL_F_NO_INTERRUPT);
    return vring_need_event(load_once(&q->avail->ring[q->size]), q->next_used, old);
}

/* ---- data -------------------------------------------------------------------------------------------------- */

unsigned virtq_vectors(const struct virtq_chain *c, bool in, size_t offset, size_t len,
                       struct iovec out[VIRTQ_SEGMENTS_MAX])
{
    const struct virtq_segment *s = in ? c->segments + c->n_out : c->segments;
    unsigned n = in ? c->n_in : c->n_out, used = 0;

    for (unsigned i = 0; i < n && len > 0; i++) {
        size_t part = s[i].len > offset ? s[i].len - offset : 0;

        if (part > len)
            part = len;
        if (part > 0)
            out[used++] = (struct iovec){ s[i].data + offset, part };
        offset = offset > s[i].len ? offset - s[i].len : 0;
        len -= part;
    }
    return used;
}

static size_t copy(const struct virtq_chain *c, size_t offset, uint8_t *data, size_t len, bool in)
{
    struct iovec vectors[VIRTQ_SEGMENTS_MAX];
    unsigned n = virtq_vectors(c, in, offset, len, vectors);
    size_t done = 0;

    for (unsigned i = 0; i < n; i++) {
        void *guest = vectors[i].iov_base;

        memcpy(in ? guest : data + done, in ? data + done : guest, vectors[i].iov_len);
        done += vectors[i].iov_len;
    }
    return done;
}

size_t virtq_copy_out(const struct virtq_chain *c, size_t offset, void *data, size_t len)
{
    return copy(c, offset, data, len, false);
}

size_t virtq_copy_in(const struct virtq_chain *c, size_t offset, const void *data, size_t len)
{
    return copy(c, offset, (uint8_t *)data, len, true);
}
