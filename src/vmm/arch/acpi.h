/* SPDX-License-Identifier: Apache-2.0 */
#ifndef TECA_VMM_ACPI_H
#define TECA_VMM_ACPI_H
/*
 * acpi: the tables by which a kernel finds the processors, the IOAPIC, COM1, the virtio slots and the way to
 * switch off (ACPI 6.5, 5.2). It is a machine of the "hardware-reduced" kind: no PIC, no PIT, no PM timer, no
 * SMI. The flags of the FADT spare a kernel the search for a keyboard controller (0.5 s), a clock and a
 * VGA card. Stock kernels need them: Debian's look for virtio-mmio nowhere else, and the cloud flavour ignores an MP table.
 *
 *   RSDP ─▶ XSDT ─┬▶ FADT ─▶ DSDT
 *                 └▶ MADT
 */
#include "vmm/vmm.h"

struct acpi_slot {
    uint32_t first, size, gsi;
};

struct acpi_machine {
    unsigned cpus; /* APIC ids are 0 to cpus - 1 */
    uint32_t ioapic, lapic;
    uint16_t serial_port;
    uint8_t serial_ports;
    uint32_t serial_gsi;
    uint16_t panic_port; /* of pvpanic */
    uint16_t power_port; /* a byte each: sleep control, sleep status, reset register */
    uint8_t power_off_type, reset_value;
    struct acpi_slot slots[VMM_VIRTIO_SLOTS];
    unsigned n_slots;
};

/*
 * Pure. Writes the tables as they are to lie at gpa, the RSDP first, and returns their length; 0 when size
 * is too small.
 */
size_t acpi_write(const struct acpi_machine *m, uint32_t gpa, uint8_t *out, size_t size);

#endif
