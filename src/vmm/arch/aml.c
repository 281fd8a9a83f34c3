/* SPDX-License-Identifier: Apache-2.0 */
/* The terms of aml.h as bytes. */
#include "vmm/arch/aml.h"

#include <string.h>

enum {
    OP_ZERO = 0x00,
    OP_ONE = 0x01,
    OP_NAME = 0x08,
    PREFIX_BYTE = 0x0a,
    PREFIX_WORD = 0x0b,
    PREFIX_DWORD = 0x0c,
    PREFIX_STRING = 0x0d,
    OP_SCOPE = 0x10,
    OP_BUFFER = 0x11,
    OP_PACKAGE = 0x12,
    PREFIX_EXTENDED = 0x5b,
    PREFIX_ROOT = 0x5c,
    OP_DEVICE = 0x82, /* behind PREFIX_EXTENDED */
};
enum { NAME_LEN = 4, LENGTH_BYTES = 2 };

void aml_bytes(struct aml *a, const void *data, size_t len)
{
    if (a->full || len > a->size - a->len) {
        a->full = true;
        return;
    }
    memcpy(a->bytes + a->len, data, len);
    a->len += len;
}

void aml_u8(struct aml *a, uint8_t value)
{
    aml_bytes(a, &value, 1);
}

static void little_endian(struct aml *a, uint64_t value, unsigned n)
{
    for (unsigned i = 0; i < n; i++)
        aml_u8(a, (uint8_t)(value >> (8 * i)));
}

void aml_u16(struct aml *a, uint16_t value)
{
    little_endian(a, value, 2);
}

void aml_u32(struct aml *a, uint32_t value)
{
    little_endian(a, value, 4);
}

void aml_u64(struct aml *a, uint64_t value)
{
    little_endian(a, value, 8);
}

void aml_zeroes(struct aml *a, size_t n)
{
    for (size_t i = 0; i < n; i++)
        aml_u8(a, 0);
}

/* ---- terms with a length (20.2.4) ----------------------------------------------------------------- */

/* Always two bytes, so that it can be filled in afterwards: four bits in the first, eight in the second. */
static size_t open_length(struct aml *a)
{
    size_t at = a->len;

    aml_zeroes(a, LENGTH_BYTES);
    return at;
}

void aml_close(struct aml *a, size_t at)
{
    size_t len = a->len - at; /* it counts itself */

    if (a->full || len > AML_PACKAGE_MAX) {
        a->full = true;
        return;
    }
    a->bytes[at] = (uint8_t)(1 << 6 | (len & 0xf));
    a->bytes[at + 1] = (uint8_t)(len >> 4);
}

size_t aml_open_scope(struct aml *a, const char *name)
{
    size_t at;

    aml_u8(a, OP_SCOPE);
    at = open_length(a);
    aml_u8(a, PREFIX_ROOT);
    aml_bytes(a, name, NAME_LEN);
    return at;
}

size_t aml_open_device(struct aml *a, const char *name)
{
    size_t at;

    aml_u8(a, PREFIX_EXTENDED);
    aml_u8(a, OP_DEVICE);
    at = open_length(a);
    aml_bytes(a, name, NAME_LEN);
    return at;
}

static void open_name(struct aml *a, const char *name)
{
    aml_u8(a, OP_NAME);
    aml_bytes(a, name, NAME_LEN);
}

size_t aml_open_package(struct aml *a, const char *name, uint8_t elements)
{
    size_t at;

    open_name(a, name);
    aml_u8(a, OP_PACKAGE);
    at = open_length(a);
    aml_u8(a, elements);
    return at;
}

/* ---- values ----------------------------------------------------------------------------------------- */

void aml_integer(struct aml *a, uint32_t value)
{
    if (value <= 1) {
        aml_u8(a, value ? OP_ONE : OP_ZERO);
    } else if (value <= UINT8_MAX) {
        aml_u8(a, PREFIX_BYTE);
        aml_u8(a, (uint8_t)value);
    } else if (value <= UINT16_MAX) {
        aml_u8(a, PREFIX_WORD);
        aml_u16(a, (uint16_t)value);
    } else {
        aml_u8(a, PREFIX_DWORD);
        aml_u32(a, value);
    }
}

void aml_name_integer(struct aml *a, const char *name, uint32_t value)
{
    open_name(a, name);
    aml_integer(a, value);
}

void aml_name_string(struct aml *a, const char *name, const char *text)
{
    open_name(a, name);
    aml_u8(a, PREFIX_STRING);
    aml_bytes(a, text, strlen(text) + 1);
}

static uint32_t hex_digit(char c)
{
    return (uint32_t)(c <= '9' ? c - '0' : c - 'A' + 10);
}

/* Five bits a letter ('A' is 1), four a digit, the most significant byte first. */
void aml_name_eisa(struct aml *a, const char *name, const char *id)
{
    uint32_t value = 0;

    for (unsigned i = 0; i < 3; i++)
        value = value << 5 | (uint32_t)(id[i] - '@');
    for (unsigned i = 3; i < 7; i++)
        value = value << 4 | hex_digit(id[i]);
    open_name(a, name);
    aml_u8(a, PREFIX_DWORD);
    aml_u32(a, __builtin_bswap32(value));
}

/* ---- resources --------------------------------------------------------------------------------------- */

void aml_resources(struct aml *a, const struct aml *data)
{
    static const uint8_t end_tag[] = { 0x79, 0x00 }; /* 0: no checksum */
    size_t at;

    a->full = a->full || data->full;
    open_name(a, "_CRS");
    aml_u8(a, OP_BUFFER);
    at = open_length(a);
    aml_integer(a, (uint32_t)(data->len + sizeof(end_tag)));
    aml_bytes(a, data->bytes, data->len);
    aml_bytes(a, end_tag, sizeof(end_tag));
    aml_close(a, at);
}

void aml_memory32(struct aml *a, uint32_t first, uint32_t size)
{
    aml_u8(a, 0x86);
    aml_u16(a, 9);
    aml_u8(a, 1); /* may be written */
    aml_u32(a, first);
    aml_u32(a, size);
}

void aml_io(struct aml *a, uint16_t first, uint8_t size)
{
    aml_u8(a, 0x47);
    aml_u8(a, 1); /* all 16 bits of the address are decoded */
    aml_u16(a, first);
    aml_u16(a, first);
    aml_u8(a, 1); /* alignment */
    aml_u8(a, size);
}

void aml_interrupt(struct aml *a, uint32_t gsi)
{
    aml_u8(a, 0x89);
    aml_u16(a, 6);
    aml_u8(a, 0x03); /* consumer, edge; high, exclusive */
    aml_u8(a, 1);
    aml_u32(a, gsi);
}
