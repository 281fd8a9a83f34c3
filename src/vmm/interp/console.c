/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The console device (virtio 1.2 §5.3) with several ports. Queues: port 0 has 0 (to the guest) and 1
 * (from it), 2 and 3 carry control messages, port n has 2n+2 and 2n+3. Nothing is buffered here:
 * what the host's side does not take stays in the guest's memory, and what the guest has no room for
 * is not taken from the host's side.
 */
#include "vmm/interp/virtio.h"

#include <errno.h>
#include <linux/virtio_ids.h>
#include <string.h>

enum { CONTROL_IN = 2, CONTROL_OUT = 3 };
/* Messages due to a port, in the order in which they are sent. */
enum { SEND_ADD = 1, SEND_CONSOLE = 2, SEND_OPEN = 4, SEND_NAME = 8, SEND_LAST = SEND_NAME };
enum { PORT_NAME_MAX = 64 };

static unsigned queue_in(unsigned port)
{
    return port == 0 ? 0 : 2 * port + 2;
}

static unsigned queue_out(unsigned port)
{
    return queue_in(port) + 1;
}

static unsigned port_of(unsigned queue)
{
    return queue < 2 ? 0 : queue / 2 - 1;
}

/* ---- control messages (§5.3.6.2) ------------------------------------------------------------------------ */

static size_t render(const struct console *c, unsigned port, unsigned what,
                     uint8_t out[sizeof(struct virtio_console_control) + PORT_NAME_MAX])
{
    struct virtio_console_control m = { .id = port, .value = 1 };
    size_t name_len = 0;

    switch (what) {
    case SEND_ADD:
        m.event = VIRTIO_CONSOLE_PORT_ADD;
        break;
    case SEND_CONSOLE:
        m.event = VIRTIO_CONSOLE_CONSOLE_PORT;
        break;
    case SEND_OPEN:
        m.event = VIRTIO_CONSOLE_PORT_OPEN;
        break;
    default:
        m.event = VIRTIO_CONSOLE_PORT_NAME;
        name_len = strnlen(c->ports[port].name, PORT_NAME_MAX);
        memcpy(out + sizeof(m), c->ports[port].name, name_len);
        break;
    }
    memcpy(out, &m, sizeof(m));
    return sizeof(m) + name_len;
}

/* 1: sent; 0: the guest gave no buffer yet; -EINVAL: a buffer too small for any message. */
static int send_one(struct console *c, unsigned port, unsigned what)
{
    uint8_t message[sizeof(struct virtio_console_control) + PORT_NAME_MAX];
    struct virtq *q = &c->virtio.queues[CONTROL_IN];
    struct virtq_chain chain;
    size_t len = render(c, port, what, message);
    int r = virtq_pop(q, c->virtio.mem, &chain);

    if (r <= 0)
        return r;
    if (chain.in_len < len)
        return -EINVAL;
    virtq_push(q, chain.head, (uint32_t)virtq_copy_in(&chain, 0, message, len));
    return 1;
}

static int send_port(struct console *c, unsigned port)
{
    struct console_port *p = &c->state[port];
    int r = 1;

    for (unsigned what = 1; what <= SEND_LAST && r > 0; what <<= 1) {
        if (!(p->to_send & what))
            continue;
        r = send_one(c, port, what);
        if (r > 0)
            p->to_send &= (uint8_t)~what;
    }
    return r;
}

static int send_control(struct console *c)
{
    int r;

    /* Out of buffers: the guest shall say when there are more. They may have come just now. */
    do {
        r = 1;
        for (unsigned i = 0; i < c->n_ports && r > 0; i++)
            r = send_port(c, i);
    } while (r == 0 && virtq_rearm(&c->virtio.queues[CONTROL_IN]));
    virtio_signal(&c->virtio, CONTROL_IN);
    return r < 0 ? r : 0;
}

static void tell_room(struct console *c, unsigned port)
{
    struct console_port *p = &c->state[port];

    if (!p->starved)
        return;
    p->starved = false;
    if (c->ports[port].room)
        c->ports[port].room(c->ports[port].ctx);
}

static void obey(struct console *c, const struct virtio_console_control *m)
{
    if (m->event == VIRTIO_CONSOLE_DEVICE_READY && m->value == 1) {
        for (unsigned i = 0; i < c->n_ports; i++)
            c->state[i].to_send |= SEND_ADD;
        return;
    }
    if (m->id >= c->n_ports) /* the guest's number */
        return;
    if (m->event == VIRTIO_CONSOLE_PORT_READY && m->value == 1)
        c->state[m->id].to_send |= (uint8_t)(SEND_OPEN |
                                             (c->ports[m->id].console ? SEND_CONSOLE : 0) |
                                             (c->ports[m->id].name ? SEND_NAME : 0));
    if (m->event == VIRTIO_CONSOLE_PORT_OPEN) {
        c->state[m->id].guest_open = m->value == 1;
        if (m->value == 1)
            tell_room(c, m->id);
    }
}

static int receive_control(struct console *c)
{
    struct virtq *q = &c->virtio.queues[CONTROL_OUT];
    struct virtio_console_control m;
    struct virtq_turn turn = { 0 };
    struct virtq_chain chain;
    int r;

    while ((r = virtq_next(q, c->virtio.mem, &turn, &chain)) > 0) {
        if (virtq_copy_out(&chain, 0, &m, sizeof(m)) == sizeof(m))
            obey(c, &m);
        virtq_push(q, chain.head, 0);
    }
    virtio_signal(&c->virtio, CONTROL_OUT);
    return r < 0 ? r : send_control(c);
}

/* ---- data ------------------------------------------------------------------------------------------------- */

/* true: all of the pending request was taken. */
static bool drain(struct console *c, unsigned port)
{
    struct console_port *p = &c->state[port];
    size_t before = 0;

    for (unsigned i = 0; i < p->pending.n_out; i++) {
        const struct virtq_segment *s = &p->pending.segments[i];

        while (p->sent < before + s->len) {
            size_t from = p->sent - before;
            size_t taken = c->ports[port].output(c->ports[port].ctx, s->data + from, s->len - from);

            p->sent += taken;
            if (taken == 0)
                return false;
        }
        before += s->len;
    }
    return true;
}

static int transmit(struct console *c, unsigned port)
{
    struct console_port *p = &c->state[port];
    struct virtq *q = &c->virtio.queues[queue_out(port)];
    struct virtq_turn turn = { 0 };
    int r = 0;

    if (!q->ready)
        return 0;
    while (p->has_pending || (r = virtq_next(q, c->virtio.mem, &turn, &p->pending)) > 0) {
        p->sent = p->has_pending ? p->sent : 0;
        p->has_pending = !drain(c, port);
        if (p->has_pending)
            break;
        virtq_push(q, p->pending.head, 0);
    }
    virtio_signal(&c->virtio, queue_out(port));
    return r < 0 ? r : 0;
}

static int console_notify(void *device, unsigned queue)
{
    struct console *c = device;

    if (queue == CONTROL_OUT)
        return receive_control(c);
    if (queue == CONTROL_IN)
        return send_control(c);
    if (queue % 2 == 1)
        return transmit(c, port_of(queue));
    tell_room(c, port_of(queue));
    return 0;
}

static int receive(struct console *c, unsigned port, const uint8_t *data, size_t len, size_t *taken)
{
    struct virtq *q = &c->virtio.queues[queue_in(port)];
    struct virtq_chain chain;
    int r = 0;

    while (*taken < len) {
        size_t part;

        r = virtq_pop(q, c->virtio.mem, &chain);
        if (r == 0 && virtq_rearm(q))
            continue;
        if (r <= 0)
            return r;
        if (chain.in_len == 0)
            return -EINVAL;
        part = virtq_copy_in(&chain, 0, data + *taken, len - *taken);
        virtq_push(q, chain.head, (uint32_t)part);
        *taken += part;
    }
    return 0;
}

size_t console_input(struct console *c, unsigned port, const void *data, size_t len)
{
    struct console_port *p = &c->state[port];
    size_t taken = 0;

    if (virtio_is_live(&c->virtio) && p->guest_open) {
        if (receive(c, port, data, len, &taken) < 0)
            virtio_break(&c->virtio);
        virtio_signal(&c->virtio, queue_in(port));
    }
    p->starved = taken < len;
    return taken;
}

void console_resume(struct console *c, unsigned port)
{
    if (virtio_is_live(&c->virtio) && transmit(c, port) < 0)
        virtio_break(&c->virtio);
}

static void console_reset(void *device)
{
    struct console *c = device;

    for (unsigned i = 0; i < c->n_ports; i++) {
        c->state[i].to_send = 0;
        c->state[i].guest_open = c->state[i].has_pending = false;
        c->state[i].sent = 0;
    }
}

static const struct virtio_ops console_ops = {
    .name = "virtio-console",
    .id = VIRTIO_ID_CONSOLE,
    .features = UINT64_C(1) << VIRTIO_CONSOLE_F_MULTIPORT,
    .notify = console_notify,
    .reset = console_reset,
};

void console_init(struct console *c, const struct vmm_config *config, const struct vmm_memory *mem,
                  struct vmm_line line, unsigned gsi)
{
    *c = (struct console){ .virtio = { .ops = &console_ops,
                                       .device = c,
                                       .mem = mem,
                                       .line = line,
                                       .gsi = gsi,
                                       .n_queues = 2 * (config->n_ports + 1),
                                       .config = &c->config,
                                       .config_len = sizeof(c->config) },
                           .config = { .max_nr_ports = config->n_ports },
                           .ports = config->ports,
                           .n_ports = config->n_ports };
}
