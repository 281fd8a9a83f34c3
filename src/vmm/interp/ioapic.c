/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The IOAPIC (Intel 82093AA, 3.2): a redirection entry a pin, sent to the LAPICs as the message that
 * MSI would send. Every line of this machine is an edge (the ACPI tables say so), so there is no
 * remote IRR and no end of interrupt; an entry that asks for levels is served as an edge.
 */
#include "vmm/interp/interp.h"

#include <string.h>

enum { REG_SELECT = 0x00, REG_WINDOW = 0x10 };
enum { INDEX_ID = 0, INDEX_VERSION = 1, INDEX_ARBITRATION = 2, INDEX_ENTRIES = 0x10 };
#define ENTRY_MASKED (UINT64_C(1) << 16)
/* Read-only in an entry: delivery status (12) and remote IRR (14). */
#define ENTRY_READ_ONLY (UINT64_C(1) << 12 | UINT64_C(1) << 14)
#define VERSION (0x20u | (IOAPIC_PINS - 1) << 16) /* 0x20: an EOI register, which edges never use */

static void deliver(struct ioapic *io, unsigned pin)
{
    uint64_t entry = io->entries[pin];
    uint64_t address = UINT64_C(0xfee00000) | (entry >> 56) << 12 | (entry >> 11 & 1) << 2;
    uint32_t data = (uint32_t)entry & 0x7ff; /* vector and delivery mode lie alike in both */

    io->send(io->ctx, address, data);
}

void ioapic_raise(struct ioapic *io, unsigned pin)
{
    if (pin >= IOAPIC_PINS)
        return;
    if (io->entries[pin] & ENTRY_MASKED)
        io->pending |= 1u << pin;
    else
        deliver(io, pin);
}

static uint32_t read_window(const struct ioapic *io)
{
    uint32_t n = io->select - INDEX_ENTRIES;

    if (io->select == INDEX_ID || io->select == INDEX_ARBITRATION)
        return io->id;
    if (io->select == INDEX_VERSION)
        return VERSION;
    if (io->select < INDEX_ENTRIES || n / 2 >= IOAPIC_PINS)
        return 0;
    return (uint32_t)(io->entries[n / 2] >> (n % 2 * 32));
}

static void write_window(struct ioapic *io, uint32_t value)
{
    uint32_t n = io->select - INDEX_ENTRIES;
    unsigned shift = n % 2 * 32, pin = n / 2;

    if (io->select == INDEX_ID)
        io->id = value & 0x0f000000;
    if (io->select < INDEX_ENTRIES || pin >= IOAPIC_PINS)
        return;
    io->entries[pin] &= ~(UINT64_C(0xffffffff) << shift);
    io->entries[pin] |= ((uint64_t)value << shift) & ~(shift ? 0 : ENTRY_READ_ONLY);
    /* The upper half is written first by kernels, the lower with the mask: now it is whole. */
    if (shift == 0 && !(io->entries[pin] & ENTRY_MASKED) && io->pending & 1u << pin) {
        io->pending &= ~(1u << pin);
        deliver(io, pin);
    }
}

static void ioapic_read(void *self, uint64_t offset, void *data, unsigned len)
{
    const struct ioapic *io = self;
    uint32_t value = offset == REG_SELECT ? io->select : offset == REG_WINDOW ? read_window(io) : 0;

    memset(data, 0, len);
    memcpy(data, &value, len < sizeof(value) ? len : sizeof(value));
}

static void ioapic_write(void *self, uint64_t offset, const void *data, unsigned len)
{
    struct ioapic *io = self;
    uint32_t value = 0;

    memcpy(&value, data, len < sizeof(value) ? len : sizeof(value));
    if (offset == REG_SELECT)
        io->select = value & 0xff;
    else if (offset == REG_WINDOW)
        write_window(io, value);
}

static void ioapic_reset(void *self)
{
    struct ioapic *io = self;

    io->select = io->id = io->pending = 0;
    for (unsigned i = 0; i < IOAPIC_PINS; i++)
        io->entries[i] = ENTRY_MASKED;
}

void ioapic_init(struct ioapic *io)
{
    ioapic_reset(io);
}

const struct vmm_device ioapic_device = { "ioapic", ioapic_read, ioapic_write, ioapic_reset };
