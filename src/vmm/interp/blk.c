/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The block device (virtio 1.2 §5.2) over a file or block device of the host, of one queue. A request is
 * carried out by the cpu that asked, straight between the file and the guest's memory; the guest may change that
 * memory meanwhile, and then has what it deserves: lengths and sectors are ours by then.
 */
#include "vmm/interp/virtio.h"

#include <errno.h>
#include <linux/virtio_ids.h>
#include <string.h>
#include <sys/uio.h>
#include <unistd.h>

enum { SECTOR = 512, HEADER = sizeof(struct virtio_blk_outhdr), STATUS = 1 };
/*
 * What a driver may ask for at once, which is what the config says (§5.2.4): while it is carried out all other devices wait. In
 * so many pieces Linux asks for 1 to 4 MiB (max_sectors_kb), nobody for the 4 GiB that a chain has room for.
 */
enum { PIECES_MAX = VIRTQ_SEGMENTS_MAX - 2, PIECE_MAX = 64 << 10 };
#define BYTES_MAX ((uint32_t)PIECES_MAX * PIECE_MAX)

struct request {
    const struct virtq_chain *chain;
    uint32_t type;
    uint64_t sector;
    uint32_t len; /* of the data, whichever way */
};

/* Header and status may be spread over segments in any way (§2.7.4): only the sums count. */
static int parse(const struct virtq_chain *c, struct request *out)
{
    struct virtio_blk_outhdr head;

    if (c->out_len < HEADER || c->in_len < STATUS)
        return -EINVAL;
    virtq_copy_out(c, 0, &head, sizeof(head));
    *out = (struct request){ .chain = c, .type = head.type, .sector = head.sector };
    out->len = head.type == VIRTIO_BLK_T_OUT ? c->out_len - HEADER : c->in_len - STATUS;
    return 0;
}

static bool is_within(const struct blk *b, const struct request *r)
{
    uint64_t capacity = b->config.capacity;

    return r->len % SECTOR == 0 && r->len <= BYTES_MAX && r->sector <= capacity &&
           r->len / SECTOR <= capacity - r->sector;
}

/* The vectors that are left after `done` bytes of them. */
static struct iovec *advance(struct iovec *iov, unsigned *n, size_t done)
{
    while (*n > 0 && done >= iov->iov_len) {
        done -= iov->iov_len;
        iov++;
        --*n;
    }
    if (*n > 0) {
        iov->iov_base = (char *)iov->iov_base + done;
        iov->iov_len -= done;
    }
    return iov;
}

/* All of it, or an error; a file that has become shorter has none of it. */
static int transfer(const struct blk *b, const struct request *r)
{
    struct iovec vectors[VIRTQ_SEGMENTS_MAX], *iov = vectors;
    bool in = r->type == VIRTIO_BLK_T_IN;
    unsigned n = virtq_vectors(r->chain, in, in ? 0 : HEADER, r->len, vectors);
    off_t at = (off_t)(r->sector * SECTOR);

    while (n > 0) {
        ssize_t done = in ? preadv(b->fd, iov, (int)n, at) : pwritev(b->fd, iov, (int)n, at);

        if (done < 0 && errno == EINTR)
            continue;
        if (done <= 0)
            return done < 0 ? -errno : -EIO;
        at += done;
        iov = advance(iov, &n, (size_t)done);
    }
    return 0;
}

/* A driver that did not take VIRTIO_BLK_F_FLUSH believes what is written to be durable (§5.2.6.2). */
static bool write_data(const struct blk *b, const struct request *r)
{
    bool flushes = b->virtio.driver_features >> VIRTIO_BLK_F_FLUSH & 1;

    return !b->read_only && is_within(b, r) && transfer(b, r) == 0 &&
           (flushes || fdatasync(b->fd) == 0);
}

static int identify(const struct blk *b, const struct request *r)
{
    char id[VIRTIO_BLK_ID_BYTES] = { 0 };

    base_format(id, sizeof(id), "teca-disk%u", b->index);
    return virtq_copy_in(r->chain, 0, id, r->len < sizeof(id) ? r->len : sizeof(id)) ? 0 : -EIO;
}

static uint8_t carry_out(const struct blk *b, const struct request *r)
{
    bool ok = false;

    switch (r->type) {
    case VIRTIO_BLK_T_IN:
        ok = is_within(b, r) && transfer(b, r) == 0;
        break;
    case VIRTIO_BLK_T_OUT:
        ok = write_data(b, r);
        break;
    case VIRTIO_BLK_T_FLUSH:
        ok = b->read_only || fdatasync(b->fd) == 0;
        break;
    case VIRTIO_BLK_T_GET_ID:
        ok = identify(b, r) == 0;
        break;
    default:
        return VIRTIO_BLK_S_UNSUPP;
    }
    return ok ? VIRTIO_BLK_S_OK : VIRTIO_BLK_S_IOERR;
}

/* The status is the last byte that the device may write. The length counts from the first one. */
static int answer(void *device, struct virtq *q, const struct virtq_chain *c)
{
    const struct blk *b = device;
    struct request r;
    uint8_t status;

    if (parse(c, &r) < 0)
        return -EINVAL;
    status = carry_out(b, &r);
    virtq_copy_in(c, c->in_len - STATUS, &status, STATUS);
    virtq_push(q, c->head, status == VIRTIO_BLK_S_OK || c->in_len == STATUS ? c->in_len : 0);
    return 0;
}

static int blk_notify(void *device, unsigned queue)
{
    struct blk *b = device;

    return virtio_serve(&b->virtio, queue, answer);
}

static void blk_reset(void *device)
{
    (void)device; /* it remembers nothing */
}

#define FEATURES                                                                  \
    (UINT64_C(1) << VIRTIO_BLK_F_SIZE_MAX | UINT64_C(1) << VIRTIO_BLK_F_SEG_MAX | \
     UINT64_C(1) << VIRTIO_BLK_F_BLK_SIZE | UINT64_C(1) << VIRTIO_BLK_F_FLUSH)
static const struct virtio_ops ops[] = {
    { .name = "virtio-blk",
      .id = VIRTIO_ID_BLOCK,
      .features = FEATURES,
      .notify = blk_notify,
      .reset = blk_reset },
    { .name = "virtio-blk",
      .id = VIRTIO_ID_BLOCK,
      .features = FEATURES | UINT64_C(1) << VIRTIO_BLK_F_RO,
      .notify = blk_notify,
      .reset = blk_reset },
};

int blk_init(struct blk *b, const struct vmm_disk *disk, unsigned index,
             const struct virtio_place *place, struct err *e)
{
    off_t size = lseek(disk->fd, 0, SEEK_END); /* of a block device too */

    if (size < 0)
        return err_set(e, errno, "cannot find the size of disk %u", index);
    if (size < SECTOR)
        return err_set(e, 0, "disk %u is smaller than a sector", index);
    *b = (struct blk){ .virtio = { .ops = &ops[disk->read_only],
                                   .device = b,
                                   .mem = place->mem,
                                   .line = place->line,
                                   .gsi = place->gsi,
                                   .n_queues = 1,
                                   .config = &b->config,
                                   .config_len = sizeof(b->config) },
                       .config = { .capacity = (uint64_t)size / SECTOR,
                                   .size_max = PIECE_MAX,
                                   .seg_max = PIECES_MAX,
                                   .blk_size = SECTOR },
                       .fd = disk->fd,
                       .index = index,
                       .read_only = disk->read_only };
    return 0;
}
