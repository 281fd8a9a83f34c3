/* SPDX-License-Identifier: Apache-2.0 */
#ifndef TECA_VMM_VIRTIO_H
#define TECA_VMM_VIRTIO_H
/*
 * virtio 1.2 (OASIS, "Virtual I/O Device (VIRTIO) Version 1.2"): the split queue (2.7), the MMIO
 * transport (4.2), and the devices net (5.1), blk (5.2), console (5.3), rng (5.4) and fs (5.11). Modern only.
 *
 * Everything in a ring is the guest's word and may change while it is read: each index, descriptor
 * and length is read once, and what was read is checked. What cannot be right breaks the
 * device: it says NEEDS_RESET and touches its queues no more until the driver resets it.
 */
#include "vmm/interp/interp.h"

#include <linux/virtio_balloon.h>
#include <linux/virtio_blk.h>
#include <linux/virtio_console.h>
#include <linux/virtio_fs.h>
#include <linux/virtio_net.h>
#include <linux/virtio_pmem.h>
#include <linux/virtio_ring.h>
#include <sys/uio.h>

/* ---- queue.c -------------------------------------------------------------------------------------- */

enum { VIRTQ_SIZE_MAX = 256, VIRTQ_SEGMENTS_MAX = 256 };

struct virtq {
    uint16_t size;
    bool ready, indirect, event_idx; /* the latter two as negotiated */
    uint64_t desc_gpa, driver_gpa, device_gpa;
    const struct vring_desc *desc; /* the three areas while ready */
    const struct vring_avail *avail;
    struct vring_used *used;
    uint16_t next_avail, next_used;
    uint16_t signalled; /* next_used when the driver was last considered */
    bool promised;      /* rearm has seen a request: an index that goes back is a lie */
};

struct virtq_segment {
    uint8_t *data; /* of those that the device reads it may be an image's: not to be written */
    uint32_t len;  /* never 0 */
};

/* A request: segments that the device reads, then those it writes. */
struct virtq_chain {
    uint16_t head;
    unsigned n_out, n_in;
    uint32_t out_len, in_len;
    struct virtq_segment segments[VIRTQ_SEGMENTS_MAX];
};

/*
 * Checks size, alignment and that the three areas lie in memory, and keeps their addresses (memory
 * does not move). -EINVAL.
 */
int virtq_enable(struct virtq *q, const struct vmm_memory *mem);
/* 1 and the next request; 0: there is none; -EINVAL: the ring lies. */
int virtq_pop(struct virtq *q, const struct vmm_memory *mem, struct virtq_chain *out);
/* The last n requests of virtq_pop, none of which was pushed, are as if they had not been taken. */
void virtq_unpop(struct virtq *q, unsigned n);
/* Gives a request back, len bytes of it written. */
void virtq_push(struct virtq *q, uint16_t head, uint32_t len);
/* After the last pop: asks for a notification of the next request. true: one has come meanwhile. */
bool virtq_rearm(struct virtq *q);
/*
 * The requests of one turn, after each other; 0: no more in this one. While one cpu is answered another may offer more without end, with
 * the devices locked. So when VIRTQ_TURN were taken, those that are there are the last, and the driver notifies of the next.
 */
enum { VIRTQ_TURN = VIRTQ_SIZE_MAX };
struct virtq_turn { /* begins as zeros */
    unsigned taken, left;
    bool is_last;
};
int virtq_next(struct virtq *q, const struct vmm_memory *mem, struct virtq_turn *t,
               struct virtq_chain *out);
/* Whether the driver wants to hear of what was pushed since it was last asked. */
bool virtq_wants_interrupt(struct virtq *q);
/* Copies from the out part, or to the in part, beginning at offset; returns how many bytes. */
size_t virtq_copy_out(const struct virtq_chain *c, size_t offset, void *data, size_t len);
size_t virtq_copy_in(const struct virtq_chain *c, size_t offset, const void *data, size_t len);

/*
 * The same without a copy: vectors for len bytes of a part, beginning at offset, which must be there. Returns
 * how many.
 */
unsigned virtq_vectors(const struct virtq_chain *c, bool in, size_t offset, size_t len,
                       struct iovec out[VIRTQ_SEGMENTS_MAX]);

/* ---- virtio.c: the MMIO transport ------------------------------------------------------------------- */

enum { VIRTIO_QUEUES_MAX = 2 * (VMM_PORTS_MAX + 1), VIRTIO_STATUS_BROKEN = 0x40 };

struct virtio_ops {
    const char *name;
    uint32_t id;
    uint64_t features; /* beside those of the transport and the queues */
    /* The driver says there is something in a queue. < 0: the queue is broken. */
    int (*notify)(void *device, unsigned queue);
    void (*reset)(void *device);
};

struct virtio {
    const struct virtio_ops *ops;
    void *device;
    const struct vmm_memory *mem;
    struct vmm_line line;
    unsigned gsi, n_queues;
    const void *config; /* read-only for the driver; borrowed */
    size_t config_len;
    uint64_t driver_features;
    uint32_t device_sel, driver_sel, queue_sel, status, isr, generation;
    struct virtq queues[VIRTIO_QUEUES_MAX];
};
extern const struct vmm_device virtio_device;
/* Zeroed by a reset: everything but what the owner has set. */
bool virtio_is_live(const struct virtio *v); /* DRIVER_OK and not broken */
void virtio_break(struct virtio *v);
/* What config points to has changed (§2.5.1). */
void virtio_config_changed(struct virtio *v);
/* Tells the driver of used buffers, if it wants to hear of them. */
void virtio_signal(struct virtio *v, unsigned queue);
/* Answers the requests of a turn, then tells the driver. What answer returns is < 0 for a lie. */
int virtio_serve(struct virtio *v, unsigned queue,
                 int (*answer)(void *device, struct virtq *q, const struct virtq_chain *c));

struct virtio_place { /* in the machine */
    const struct vmm_memory *mem;
    struct vmm_line line;
    unsigned gsi;
};

/* ---- net.c ------------------------------------------------------------------------------------------------- */

enum {
    NET_FRAME_MIN = 14,
    NET_FRAME_MAX = 65536 + 64, /* what segmentation by the device lets grow, with every header */
    NET_HEADER = sizeof(struct virtio_net_hdr_v1),
    NET_LENGTH = 4, /* before each frame on a stream */
};

struct net {
    struct virtio virtio;
    struct virtio_net_config config;
    struct vmm_net host;
    struct vmm_io *io;
    struct vmm_watch watch;
    bool active;         /* the driver has notified */
    bool negotiated;     /* offloads are as it has them */
    bool starved, retry; /* no buffer for what comes; there may be one again */
    bool busy;           /* there may be something to send */
    uint64_t dropped[2]; /* frames, by queue */
    /* From the host, not yet with the guest: of a tap one frame, of a stream what one read gave. */
    size_t in_head, in_len;
    uint8_t in[NET_HEADER + NET_FRAME_MAX];
    /* To the host: the frame of which a stream took only a part. */
    size_t out_sent, out_len;
    uint8_t out[NET_LENGTH + NET_FRAME_MAX];
};
/* Is the fd what it is said to be? Makes it ready. */
int net_open(const struct vmm_net *host, unsigned index, struct err *e);
int net_init(struct net *n, const struct vmm_net *host, struct vmm_io *io,
             const struct virtio_place *place, struct err *e);

/* ---- balloon.c ---------------------------------------------------------------------------------------------- */

struct balloon {
    struct virtio virtio;
    struct virtio_balloon_config config; /* all of it 0: no page is wanted */
    uint64_t returned;                   /* bytes that went back to the host, each time they did */
};
void balloon_init(struct balloon *b, const struct virtio_place *place);

/* ---- pmem.c ------------------------------------------------------------------------------------------------- */

struct pmem {
    struct virtio virtio;
    struct virtio_pmem_config config;
};
void pmem_init(struct pmem *p, uint64_t gpa, uint64_t size, const struct virtio_place *place);

/* ---- blk.c, rng.c, fs.c, console.c ------------------------------------------------------------------------------- */

struct blk {
    struct virtio virtio;
    struct virtio_blk_config config;
    int fd;
    unsigned index;
    bool read_only;
};
int blk_init(struct blk *b, const struct vmm_disk *disk, unsigned index,
             const struct virtio_place *place, struct err *e);

struct rng {
    struct virtio virtio;
};
void rng_init(struct rng *r, const struct vmm_memory *mem, struct vmm_line line, unsigned gsi);

enum { FS_QUEUES = 2 };
enum fs_slot_state { FS_SLOT_FREE, FS_SLOT_BUSY, FS_SLOT_LEFT /* by a reset */ };

struct fs_slot {
    enum fs_slot_state state;
    unsigned queue;
    struct vmm_share_request request;
    struct virtq_chain chain;
};
struct fs {
    struct virtio virtio;
    struct virtio_fs_config config;
    const struct vmm_share *share;
    bool is_starved; /* a queue holds requests that found no slot */
    struct fs_slot slots[VMM_SHARE_SLOTS_MAX];
};
void fs_init(struct fs *f, const struct vmm_share *share, const struct virtio_place *place);
bool fs_done(struct fs *f, const struct vmm_share_reply *r); /* as vmm_share_done */

struct console_port {
    uint8_t to_send; /* messages due, a bit each: a storm of requests cannot make a queue of them */
    bool guest_open, starved, has_pending;
    struct virtq_chain pending; /* not yet taken by output, from sent on */
    size_t sent;
};
struct console {
    struct virtio virtio;
    struct virtio_console_config config;
    const struct vmm_port *ports;
    unsigned n_ports;
    struct console_port state[VMM_PORTS_MAX];
};
void console_init(struct console *c, const struct vmm_config *config, const struct vmm_memory *mem,
                  struct vmm_line line, unsigned gsi);
size_t console_input(struct console *c, unsigned port, const void *data, size_t len);
void console_resume(struct console *c, unsigned port);

#endif
