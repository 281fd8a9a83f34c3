/* SPDX-License-Identifier: Apache-2.0 */
/* Small ports of a PC by which a guest ends its machine, or would wait for ever without an answer. */
#include "vmm/interp/interp.h"

#include <misc/pvpanic.h>
#include <string.h>

enum { KEYBOARD_PULSE_RESET = 0xfe };
enum { SLEEP_CONTROL = 0, SLEEP_STATUS = 1, RESET_REGISTER = 2 };
enum { SLP_EN = 0x20 };
enum { SPEAKER_REFRESH = 0x10, SPEAKER_OUT = 0x20 };
enum { RTC_STATUS_D = 0x0d, RTC_VALID = 0x80 };

static void zeroes(void *self, uint64_t offset, void *data, unsigned len)
{
    (void)self;
    (void)offset;
    memset(data, 0, len);
}

static uint8_t first_byte(const void *data)
{
    return *(const uint8_t *)data;
}

static void no_reset(void *self)
{
    (void)self;
}

static void keyboard_write(void *self, uint64_t offset, const void *data, unsigned len)
{
    struct power *p = self;

    (void)offset;
    (void)len;
    if (first_byte(data) == KEYBOARD_PULSE_RESET)
        p->end(p->ctx, VMM_END_RESET);
}

/* Both bits change with each look: a loop that waits for either value ends. */
static void speaker_read(void *self, uint64_t offset, void *data, unsigned len)
{
    struct power *p = self;

    (void)offset;
    p->speaker ^= SPEAKER_REFRESH | SPEAKER_OUT;
    memset(data, p->speaker, len);
}

static void speaker_write(void *self, uint64_t offset, const void *data, unsigned len)
{
    struct power *p = self;

    (void)offset;
    (void)len;
    p->speaker = (p->speaker & (SPEAKER_REFRESH | SPEAKER_OUT)) | (first_byte(data) & 0x03);
}

/* No time is told (kvmclock does), but "valid" and "no update in progress": 0xff costs seconds. */
static void rtc_read(void *self, uint64_t offset, void *data, unsigned len)
{
    const struct power *p = self;
    bool is_status = offset == 1 && p->rtc_index == RTC_STATUS_D;

    memset(data, is_status ? RTC_VALID : 0, len);
}

static void rtc_write(void *self, uint64_t offset, const void *data, unsigned len)
{
    struct power *p = self;

    (void)len;
    if (offset == 0)
        p->rtc_index = first_byte(data) & 0x7f;
}

static void acpi_write(void *self, uint64_t offset, const void *data, unsigned len)
{
    struct power *p = self;
    uint8_t value = first_byte(data);

    (void)len;
    if (offset == SLEEP_CONTROL && value & SLP_EN && (value >> 2 & 7) == POWER_OFF_TYPE)
        p->end(p->ctx, VMM_END_POWER_OFF);
    if (offset == RESET_REGISTER && value == POWER_RESET_VALUE)
        p->end(p->ctx, VMM_END_RESET);
}

/* A kernel that has another one for the crash (kexec) says 2, and goes on. */
static void panic_read(void *self, uint64_t offset, void *data, unsigned len)
{
    (void)self;
    (void)offset;
    memset(data, PVPANIC_PANICKED, len);
}

static void panic_write(void *self, uint64_t offset, const void *data, unsigned len)
{
    struct power *p = self;

    (void)offset;
    (void)len;
    if (first_byte(data) & PVPANIC_PANICKED)
        p->end(p->ctx, VMM_END_PANIC);
}

static void power_reset(void *self)
{
    struct power *p = self;

    p->speaker = p->rtc_index = 0;
}

const struct vmm_device power_keyboard_device = { "keyboard", zeroes, keyboard_write, no_reset };
const struct vmm_device power_speaker_device = { "speaker", speaker_read, speaker_write,
                                                 power_reset };
const struct vmm_device power_rtc_device = { "rtc", rtc_read, rtc_write, power_reset };
const struct vmm_device power_panic_device = { "pvpanic", panic_read, panic_write, no_reset };
const struct vmm_device power_acpi_device = { "acpi-power", zeroes, acpi_write, no_reset };
