/* SPDX-License-Identifier: Apache-2.0 */
/* The tables of acpi.h, in the order in which they lie in memory: RSDP, XSDT, FADT, MADT, DSDT. */
#include "vmm/arch/acpi.h"

#include "vmm/arch/aml.h"

#include <string.h>

enum { RSDP_SIZE = 36, RSDP_V1_SIZE = 20, HEADER_SIZE = 36, FADT_SIZE = 276, GAS_SIZE = 12 };
enum { HEADER_LENGTH = 4, HEADER_CHECKSUM = 9 };
enum { RSDP_CHECKSUM = 8, RSDP_CHECKSUM_V2 = 32 };
enum { FADT_REVISION = 6, FADT_MINOR = 5, MADT_REVISION = 5, DSDT_REVISION = 2 };

/* Where the kernel's documentation tells what it takes from which field (Table 5.9). */
enum {
    FADT_BOOT_ARCH = 109,
    FADT_FLAGS = 112,
    FADT_RESET_REG = 116,
    FADT_RESET_VALUE = 128,
    FADT_MINOR_VERSION = 131,
    FADT_X_DSDT = 140,
    FADT_SLEEP_CONTROL = 244,
    FADT_SLEEP_STATUS = 256,
};
/* Table 5.11: neither legacy devices (1) nor a keyboard controller (2); no VGA (4), no clock (0x20). */
enum { BOOT_NO_VGA = 0x04, BOOT_NO_CLOCK = 0x20 };
/* Table 5.10. The buttons are no fixed hardware: there are none. */
enum {
    WBINVD = 1 << 0,
    NO_POWER_BUTTON = 1 << 4,
    NO_SLEEP_BUTTON = 1 << 5,
    RESET_SUPPORTED = 1 << 10
};
enum { HARDWARE_REDUCED = 1 << 20 };

/* ---- what all tables share (5.2.6) -------------------------------------------------------------------- */

static uint8_t checksum(const uint8_t *bytes, size_t len)
{
    uint8_t sum = 0;

    for (size_t i = 0; i < len; i++)
        sum = (uint8_t)(sum + bytes[i]);
    return (uint8_t)-sum;
}

static size_t open_table(struct aml *a, const char *signature, uint8_t revision)
{
    size_t at = a->len;

    aml_bytes(a, signature, 4);
    aml_u32(a, 0); /* length and checksum: by close_table */
    aml_u8(a, revision);
    aml_u8(a, 0);
    aml_bytes(a, "TECA  TECAVMM ", 14);
    aml_u32(a, 1);
    aml_bytes(a, "TECA", 4);
    aml_u32(a, 1);
    return at;
}

static void put(struct aml *a, size_t at, uint64_t value, unsigned bytes)
{
    for (unsigned i = 0; i < bytes && !a->full; i++)
        a->bytes[at + i] = (uint8_t)(value >> (8 * i));
}

static void close_table(struct aml *a, size_t at)
{
    if (a->full)
        return;
    put(a, at + HEADER_LENGTH, a->len - at, 4);
    a->bytes[at + HEADER_CHECKSUM] = checksum(a->bytes + at, a->len - at);
}

/* ---- the DSDT --------------------------------------------------------------------------------------------- */

static void add_slot(struct aml *a, const struct acpi_slot *s, unsigned index)
{
    uint8_t room[32];
    struct aml resources = { .bytes = room, .size = sizeof(room) };
    const char name[] = { 'V', 'R', '0', (char)('0' + index), '\0' };
    size_t device = aml_open_device(a, name);

    aml_name_string(a, "_HID",
                    "LNRO0005"); /* the identifier that the Linux driver virtio_mmio has */
    aml_name_integer(a, "_UID", index);
    aml_name_integer(a, "_CCA", 1);
    aml_memory32(&resources, s->first, s->size);
    aml_interrupt(&resources, s->gsi);
    aml_resources(a, &resources);
    aml_close(a, device);
}

static void add_serial(struct aml *a, const struct acpi_machine *m)
{
    uint8_t room[32];
    struct aml resources = { .bytes = room, .size = sizeof(room) };
    size_t device = aml_open_device(a, "COM1");

    aml_name_eisa(a, "_HID", "PNP0501");
    aml_name_integer(a, "_UID", 0);
    aml_io(&resources, m->serial_port, m->serial_ports);
    aml_interrupt(&resources, m->serial_gsi);
    aml_resources(a, &resources);
    aml_close(a, device);
}

/* The identifier that Linux's driver pvpanic_mmio has. */
static void add_panic(struct aml *a, const struct acpi_machine *m)
{
    uint8_t room[16];
    struct aml resources = { .bytes = room, .size = sizeof(room) };
    size_t device = aml_open_device(a, "PEVT");

    aml_name_string(a, "_HID", "QEMU0001");
    aml_io(&resources, m->panic_port, 1);
    aml_resources(a, &resources);
    aml_close(a, device);
}

/* 7.4.2: the value that the sleep control register gets; the others of the package are of old. */
static void add_power_off(struct aml *a, const struct acpi_machine *m)
{
    size_t package = aml_open_package(a, "_S5_", 4);

    aml_integer(a, m->power_off_type);
    for (unsigned i = 1; i < 4; i++)
        aml_integer(a, 0);
    aml_close(a, package);
}

static void write_dsdt(struct aml *a, const struct acpi_machine *m)
{
    size_t table = open_table(a, "DSDT", DSDT_REVISION);
    size_t scope = aml_open_scope(a, "_SB_");

    add_serial(a, m);
    add_panic(a, m);
    for (unsigned i = 0; i < m->n_slots; i++)
        add_slot(a, &m->slots[i], i);
    aml_close(a, scope);
    add_power_off(a, m);
    close_table(a, table);
}

/* ---- the others ------------------------------------------------------------------------------------------- */

static void write_rsdp(struct aml *a, uint32_t gpa)
{
    size_t at = a->len;

    aml_bytes(a, "RSD PTR ", 8);
    aml_u8(a, 0);
    aml_bytes(a, "TECA  ", 6);
    aml_u8(a, 2);  /* revision: with an XSDT */
    aml_u32(a, 0); /* no RSDT */
    aml_u32(a, RSDP_SIZE);
    aml_u64(a, (uint64_t)gpa + RSDP_SIZE);
    aml_u32(a, 0);
    if (a->full)
        return;
    a->bytes[at + RSDP_CHECKSUM] = checksum(a->bytes + at, RSDP_V1_SIZE);
    a->bytes[at + RSDP_CHECKSUM_V2] = checksum(a->bytes + at, RSDP_SIZE);
}

/* 5.2.3.2: a byte in the port space. */
static void put_port(struct aml *a, size_t at, uint16_t port)
{
    put(a, at, 1 | 8 << 8 | 1 << 24, 4); /* port space, 8 bits from bit 0, accessed by bytes */
    put(a, at + 4, port, 8);
}

static void write_fadt(struct aml *a, const struct acpi_machine *m, uint32_t dsdt)
{
    size_t table = open_table(a, "FACP", FADT_REVISION);

    aml_zeroes(a, FADT_SIZE - HEADER_SIZE);
    put(a, table + FADT_BOOT_ARCH, BOOT_NO_VGA | BOOT_NO_CLOCK, 2);
    put(a, table + FADT_FLAGS,
        WBINVD | NO_POWER_BUTTON | NO_SLEEP_BUTTON | RESET_SUPPORTED | HARDWARE_REDUCED, 4);
    put_port(a, table + FADT_RESET_REG, (uint16_t)(m->power_port + 2));
    put(a, table + FADT_RESET_VALUE, m->reset_value, 1);
    put(a, table + FADT_MINOR_VERSION, FADT_MINOR, 1);
    put(a, table + FADT_X_DSDT, dsdt, 8);
    put_port(a, table + FADT_SLEEP_CONTROL, m->power_port);
    put_port(a, table + FADT_SLEEP_STATUS, (uint16_t)(m->power_port + 1));
    close_table(a, table);
}

/* 5.2.12: one entry a processor's LAPIC, and the IOAPIC with all lines from 0 on. */
static void write_madt(struct aml *a, const struct acpi_machine *m)
{
    size_t table = open_table(a, "APIC", MADT_REVISION);

    aml_u32(a, m->lapic);
    aml_u32(a, 0); /* no PICs beside */
    for (unsigned i = 0; i < m->cpus; i++) {
        aml_u8(a, 0);
        aml_u8(a, 8);
        aml_u8(a, (uint8_t)i);
        aml_u8(a, (uint8_t)i);
        aml_u32(a, 1); /* enabled */
    }
    aml_u8(a, 1);
    aml_u8(a, 12);
    aml_u16(a, 0);
    aml_u32(a, m->ioapic);
    aml_u32(a, 0);
    close_table(a, table);
}

size_t acpi_write(const struct acpi_machine *m, uint32_t gpa, uint8_t *out, size_t size)
{
    struct aml a = { .bytes = out, .size = size };
    uint32_t fadt = gpa + RSDP_SIZE + HEADER_SIZE + 2 * 8, madt = fadt + FADT_SIZE;
    uint32_t dsdt = madt + HEADER_SIZE + 8 + 8 * m->cpus + 12;
    size_t xsdt;

    write_rsdp(&a, gpa);
    xsdt = open_table(&a, "XSDT", 1);
    aml_u64(&a, fadt);
    aml_u64(&a, madt);
    close_table(&a, xsdt);
    write_fadt(&a, m, dsdt);
    write_madt(&a, m);
    write_dsdt(&a, m);
    return a.full ? 0 : a.len;
}
