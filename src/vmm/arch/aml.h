/* SPDX-License-Identifier: Apache-2.0 */
#ifndef TECA_VMM_AML_H
#define TECA_VMM_AML_H
/*
 * aml: bytes of a table, and the few terms of the ACPI machine language that this machine's DSDT is
 * made of (ACPI 6.5, 20.2). Pure. What does not fit sets `full` and is left out, so one look at the
 * end is enough.
 */
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

struct aml {
    uint8_t *bytes;
    size_t len, size;
    bool full;
};

void aml_bytes(struct aml *a, const void *data, size_t len);
void aml_u8(struct aml *a, uint8_t value);
void aml_u16(struct aml *a, uint16_t value); /* little endian, as everything in ACPI */
void aml_u32(struct aml *a, uint32_t value);
void aml_u64(struct aml *a, uint64_t value);
void aml_zeroes(struct aml *a, size_t n);

/*
 * Terms with a length: open gives the place of the length, close writes it. A name has four
 * characters. At most AML_PACKAGE_MAX bytes, else full.
 */
enum { AML_PACKAGE_MAX = 0xfff };
size_t aml_open_scope(struct aml *a, const char *name); /* below the root */
size_t aml_open_device(struct aml *a, const char *name);
size_t aml_open_package(struct aml *a, const char *name, uint8_t elements);
void aml_close(struct aml *a, size_t at);

void aml_integer(struct aml *a, uint32_t value);
void aml_name_integer(struct aml *a, const char *name, uint32_t value);
void aml_name_string(struct aml *a, const char *name, const char *text);
/* 6.1.5: a compressed identifier of three capital letters and four hexadecimal digits. */
void aml_name_eisa(struct aml *a, const char *name, const char *id);

/* What is at `data` becomes the value of _CRS; the end tag (6.4.2.9) is added. */
void aml_resources(struct aml *a, const struct aml *data);
void aml_memory32(struct aml *a, uint32_t first, uint32_t size); /* 6.4.3.4 */
void aml_io(struct aml *a, uint16_t first, uint8_t size);        /* 6.4.2.5 */
void aml_interrupt(struct aml *a, uint32_t gsi); /* 6.4.3.6: edge, active high, not shared */

#endif
