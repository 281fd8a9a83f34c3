/* SPDX-License-Identifier: Apache-2.0 */
/*
 * COM1 as far as a kernel's console drives it (National Semiconductor 16550A): output into a ring that
 * keeps the end of what was said, for the message when a guest dies. There is no input and no
 * modem; the transmitter is always ready.
 */
#include "vmm/interp/interp.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>

enum { THR = 0, IER = 1, IIR = 2, LCR = 3, MCR = 4, LSR = 5, MSR = 6, SCR = 7 };
enum {
    IER_THR_EMPTY = 0x02,
    IIR_NONE = 0x01,
    IIR_THR_EMPTY = 0x02,
    IIR_FIFO = 0xc0,
    FCR_ENABLE = 0x01,
    LCR_DLAB = 0x80,
    MCR_LOOP = 0x10,
    LSR_IDLE = 0x60, /* holding and shift register empty */
    MSR_READY = 0xb0 /* carrier, data set ready, clear to send */
};

int serial_init(struct serial *s, struct vmm_line line, struct err *e)
{
    *s = (struct serial){ .line = line, .ring = malloc(SERIAL_RING) };
    if (!s->ring)
        return err_set(e, ENOMEM, "no memory for the serial port");
    serial_device.reset(s);
    return 0;
}

void serial_release(struct serial *s)
{
    free(s->ring);
    s->ring = NULL;
}

void serial_text(const struct serial *s, struct strbuf *out)
{
    size_t at = (size_t)(s->written % SERIAL_RING);

    if (s->written >= SERIAL_RING)
        strbuf_add(out, s->ring + at, SERIAL_RING - at);
    strbuf_add(out, s->ring, at);
}

uint64_t serial_take(struct serial *s, struct strbuf *out)
{
    uint64_t first = s->written > SERIAL_RING ? s->written - SERIAL_RING : 0;
    uint64_t from = s->taken > first ? s->taken : first, lost = from - s->taken;
    size_t at = (size_t)(from % SERIAL_RING), len = (size_t)(s->written - from);
    size_t tail = SERIAL_RING - at < len ? SERIAL_RING - at : len;

    strbuf_add(out, s->ring + at, tail);
    strbuf_add(out, s->ring, len - tail);
    s->taken = s->written;
    return lost;
}

/* What loopback mode shows of the outputs on the inputs; kernels identify the chip by it. */
static uint8_t modem_status(const struct serial *s)
{
    uint8_t out = s->mcr;

    if (!(out & MCR_LOOP))
        return MSR_READY;
    return (uint8_t)((out & 0x01) << 5 | (out & 0x02) << 3 | (out & 0x0c) << 4);
}

static bool is_line_high(const struct serial *s)
{
    return s->thr_interrupt && s->ier & IER_THR_EMPTY;
}

static uint8_t identify_interrupt(struct serial *s)
{
    uint8_t fifo = s->fifo ? IIR_FIFO : 0;

    if (!is_line_high(s))
        return fifo | IIR_NONE;
    s->thr_interrupt = false;
    return fifo | IIR_THR_EMPTY;
}

static uint8_t read_register(struct serial *s, uint64_t offset)
{
    bool dlab = s->lcr & LCR_DLAB;

    switch (offset) {
    case THR:
        return dlab ? s->divisor[0] : 0;
    case IER:
        return dlab ? s->divisor[1] : s->ier;
    case IIR:
        return identify_interrupt(s);
    case LCR:
        return s->lcr;
    case MCR:
        return s->mcr;
    case LSR:
        return LSR_IDLE;
    case MSR:
        return modem_status(s);
    default:
        return s->scratch;
    }
}

/* An edge is a change: a burst of 16 bytes, which a driver writes when there is a FIFO, is one. */
static void raise_empty(struct serial *s, bool was_high)
{
    s->thr_interrupt = true;
    if (!was_high && is_line_high(s))
        s->line.raise(s->line.ctx, SERIAL_GSI);
}

/* News is told once, until somebody has taken all there was. */
static void keep(struct serial *s, char c)
{
    s->ring[s->written % SERIAL_RING] = c;
    if (s->written++ == s->taken && s->news)
        s->news(s->news_ctx);
}

static void write_register(struct serial *s, uint64_t offset, uint8_t value)
{
    bool dlab = s->lcr & LCR_DLAB, was_high = is_line_high(s);

    switch (offset) {
    case THR:
        if (dlab) {
            s->divisor[0] = value;
            return;
        }
        if (!(s->mcr & MCR_LOOP))
            keep(s, (char)value);
        raise_empty(s, was_high);
        return;
    case IER:
        if (dlab) {
            s->divisor[1] = value;
            return;
        }
        s->ier = value & 0x0f;
        raise_empty(s, was_high);
        return;
    case LCR:
        s->lcr = value;
        return;
    case MCR:
        s->mcr = value & 0x1f;
        return;
    case SCR:
        s->scratch = value;
        return;
    case IIR: /* written: FIFO control. Its depth is of no matter, for it is always empty. */
        s->fifo = value & FCR_ENABLE;
        return;
    default: /* the status registers are read-only */
        return;
    }
}

/* A wider access is one of each register that it covers, as on the bus of a PC. */
static void serial_read(void *self, uint64_t offset, void *data, unsigned len)
{
    uint8_t *bytes = data;

    for (unsigned i = 0; i < len; i++)
        bytes[i] = read_register(self, offset + i);
}

static void serial_write(void *self, uint64_t offset, const void *data, unsigned len)
{
    const uint8_t *bytes = data;

    for (unsigned i = 0; i < len; i++)
        write_register(self, offset + i, bytes[i]);
}

/* What was said stays: it is wanted most after a reset. */
static void serial_reset(void *self)
{
    struct serial *s = self;

    s->ier = s->lcr = s->scratch = s->divisor[1] = 0;
    s->mcr = 0x08; /* OUT2: interrupts reach the line */
    s->divisor[0] = 12;
    s->thr_interrupt = s->fifo = false;
}

const struct vmm_device serial_device = { "serial", serial_read, serial_write, serial_reset };
