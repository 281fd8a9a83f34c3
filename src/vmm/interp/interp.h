/* SPDX-License-Identifier: Apache-2.0 */
#ifndef TECA_VMM_INTERP_H
#define TECA_VMM_INTERP_H
/*
 * interp: the emulated devices, one file each. Every one is a table for the bus and a struct that
 * its owner embeds; each call comes with the devices locked (dispatch.h). They reach guest memory
 * by vmm_memory_at only, and interrupt by struct vmm_line only. No device makes a system call on
 * behalf of the guest except rng (getrandom), blk (its file) and the line.
 */
#include "base/base.h"
#include "vmm/alloc/alloc.h"
#include "vmm/dispatch/dispatch.h"

/* An interrupt line: an edge on gsi. */
struct vmm_line {
    void (*raise)(void *ctx, unsigned gsi);
    void *ctx;
};

/* ---- serial.c: COM1, a 16550A whose transmitter is always empty ---------------------------------- */

enum { SERIAL_PORT = 0x3f8, SERIAL_PORTS = 8, SERIAL_GSI = 4, SERIAL_RING = 64 * 1024 };

struct serial {
    struct vmm_line line;
    char *ring;              /* the last SERIAL_RING bytes: the guest cannot make it grow */
    uint64_t written, taken; /* taken: by serial_take */
    void (*news)(void *ctx); /* as in struct vmm_config; set by the owner */
    void *news_ctx;
    uint8_t ier, lcr, mcr, scratch, divisor[2];
    bool thr_interrupt; /* "transmitter empty" has not been read from IIR yet */
    bool fifo;
};
extern const struct vmm_device serial_device;
int serial_init(struct serial *s, struct vmm_line line, struct err *e);
void serial_release(struct serial *s);
void serial_text(const struct serial *s, struct strbuf *out);
/* What came since the last time; returns how many bytes more the ring has lost. */
uint64_t serial_take(struct serial *s, struct strbuf *out);

/* ---- power.c: ways to end the machine ------------------------------------------------------------ */

/*
 * 0x64 keyboard controller: 0xfe pulses the reset line; reads 0, so that nobody waits for it.
 * 0x600 sleep control, 0x601 sleep status, 0x602 reset register of a hardware-reduced ACPI machine
 * (ACPI 6.5, 4.8.3.7 and 4.8.3.6): SLP_EN with SLP_TYP 5 is power-off; 1 in 0x602 resets.
 * 0x61 the speaker's gate, whose bit 5 kernels poll to time with: toggles (see the study's traps).
 * 0x70, 0x71 the clock's registers: present, and never busy.
 * 0x505 pvpanic (QEMU's docs/specs/pvpanic): reads the events that are understood; 1 written says that the kernel has
 * panicked, which ends the machine at once, whatever `panic=` says; its words are on the console by then.
 */
enum {
    POWER_KEYBOARD_PORT = 0x64,
    POWER_SPEAKER_PORT = 0x61,
    POWER_RTC_PORT = 0x70,
    POWER_PANIC_PORT = 0x505,
    POWER_ACPI_PORT = 0x600,
    POWER_ACPI_PORTS = 3,
    POWER_OFF_TYPE = 5, /* SLP_TYP of S5, which the DSDT tells */
    POWER_RESET_VALUE = 1,
};
struct power {
    void (*end)(void *ctx, enum vmm_end end);
    void *ctx;
    uint8_t speaker, rtc_index;
};
extern const struct vmm_device power_keyboard_device, power_speaker_device, power_rtc_device,
    power_acpi_device, power_panic_device;

/* ---- ioapic.c: 82093AA, edges only --------------------------------------------------------------- */

enum { IOAPIC_PINS = 28 }; /* as it says itself; a PC has 24 */
struct ioapic {
    /* Sends the message (address, data) to the LAPICs. */
    void (*send)(void *ctx, uint64_t address, uint32_t data);
    void *ctx;
    uint32_t select, id;
    uint64_t entries[IOAPIC_PINS];
    uint32_t pending; /* edges that came while their pin was masked */
};
extern const struct vmm_device ioapic_device;
void ioapic_init(struct ioapic *io);
void ioapic_raise(struct ioapic *io, unsigned pin);

#endif
