/* SPDX-License-Identifier: Apache-2.0 */
/* The small devices, register by register. */
#include "unit.h"
#include "vmm/interp/interp.h"

static unsigned edges, edge_gsi;

static void count_edge(void *ctx, unsigned gsi)
{
    (void)ctx;
    edges++;
    edge_gsi = gsi;
}

static struct serial new_serial(void)
{
    struct serial s;
    struct vmm_line line = { .raise = count_edge };

    edges = 0;
    assert_int_equal(serial_init(&s, line, NULL), 0);
    return s;
}

static void out8(struct serial *s, uint64_t reg, uint8_t value)
{
    serial_device.write(s, reg, &value, 1);
}

static uint8_t in8(struct serial *s, uint64_t reg)
{
    uint8_t value;

    serial_device.read(s, reg, &value, 1);
    return value;
}

static void the_serial_port_keeps_what_was_written(void **state)
{
    AUTO_STRBUF struct strbuf text = { 0 };
    struct serial s = new_serial();

    (void)state;
    for (const char *at = "panic"; *at; at++)
        out8(&s, 0, (uint8_t)*at);
    assert_int_equal(in8(&s, 5), 0x60);
    serial_text(&s, &text);
    assert_string_equal(text.ptr, "panic");
    serial_device.reset(&s);
    strbuf_release(&text);
    text = (struct strbuf){ 0 };
    serial_text(&s, &text);
    assert_string_equal(text.ptr, "panic");
    serial_release(&s);
}

static void count_news(void *ctx)
{
    ++*(unsigned *)ctx;
}

static void write_text(struct serial *s, const char *text)
{
    for (; *text; text++)
        out8(s, 0, (uint8_t)*text);
}

static void check_taken(struct serial *s, const char *expected, uint64_t lost)
{
    AUTO_STRBUF struct strbuf text = { 0 };

    assert_int_equal(serial_take(s, &text), lost);
    assert_string_equal(text.ptr ? text.ptr : "", expected);
}

static void what_is_written_is_taken_once_and_news_of_it_is_told_once(void **state)
{
    struct serial s = new_serial();
    unsigned news = 0;

    (void)state;
    s.news = count_news;
    s.news_ctx = &news;
    check_taken(&s, "", 0);
    write_text(&s, "ab");
    assert_int_equal(news, 1);
    check_taken(&s, "ab", 0);
    check_taken(&s, "", 0);
    write_text(&s, "cd");
    assert_int_equal(news, 2);
    serial_device.reset(&s);
    check_taken(&s, "cd", 0);
    serial_release(&s);
}

/* The ring wraps at every possible place before the next is taken. */
static void what_is_taken_too_late_is_counted(void **state)
{
    AUTO_STRBUF struct strbuf text = { 0 };
    struct serial s = new_serial();

    (void)state;
    for (unsigned i = 0; i < SERIAL_RING - 2; i++)
        out8(&s, 0, 'x');
    assert_int_equal(serial_take(&s, &text), 0);
    assert_int_equal(text.len, SERIAL_RING - 2);
    write_text(&s, "wrap");
    check_taken(&s, "wrap", 0);
    strbuf_release(&text);
    text = (struct strbuf){ 0 };
    write_text(&s, "lost");
    for (unsigned i = 0; i < SERIAL_RING; i++)
        out8(&s, 0, (uint8_t)('a' + i % 2));
    assert_int_equal(serial_take(&s, &text), 4);
    assert_int_equal(text.len, SERIAL_RING);
    assert_memory_equal(text.ptr, "abab", 4);
    assert_int_equal(text.ptr[SERIAL_RING - 1], 'b');
    serial_release(&s);
}

static void a_flood_leaves_only_the_end(void **state)
{
    static const size_t floods[] = { SERIAL_RING - 1, SERIAL_RING, SERIAL_RING + 1,
                                     3 * SERIAL_RING + 17 };

    (void)state;
    for (size_t i = 0; i < COUNT_OF(floods); i++) {
        AUTO_STRBUF struct strbuf text = { 0 };
        struct serial s = new_serial();

        for (size_t n = 0; n + 3 < floods[i]; n++)
            out8(&s, 0, 'x');
        for (const char *at = "end"; *at; at++)
            out8(&s, 0, (uint8_t)*at);
        serial_text(&s, &text);
        assert_int_equal(text.len, floods[i] < SERIAL_RING ? floods[i] : SERIAL_RING);
        assert_string_equal(text.ptr + text.len - 3, "end");
        assert_int_equal(text.ptr[0], 'x');
        serial_release(&s);
    }
}

static void a_kernel_recognises_the_chip(void **state)
{
    struct serial s = new_serial();

    (void)state;
    out8(&s, 7, 0xa5); /* scratch */
    assert_int_equal(in8(&s, 7), 0xa5);
    out8(&s, 3, 0x80); /* divisor latch */
    out8(&s, 0, 0x01);
    out8(&s, 1, 0x02);
    assert_int_equal(in8(&s, 0), 0x01);
    assert_int_equal(in8(&s, 1), 0x02);
    out8(&s, 3, 0x03);
    assert_int_equal(in8(&s, 3), 0x03);
    assert_int_equal(in8(&s, 1), 0x00);
    assert_int_equal(s.written, 0); /* the divisor is no output */
    out8(&s, 4, 0x10 | 0x0a);       /* loopback with OUT2 and RTS: seen as carrier and CTS */
    assert_int_equal(in8(&s, 6) & 0xf0, 0x90);
    out8(&s, 0, 'x');
    assert_int_equal(s.written, 0); /* nothing leaves the chip then */
    serial_release(&s);
}

static void an_empty_transmitter_interrupts_who_asks(void **state)
{
    struct serial s = new_serial();

    (void)state;
    out8(&s, 0, 'a');
    assert_int_equal(edges, 0);
    assert_int_equal(in8(&s, 2), 0x01); /* nothing pending without IER */
    out8(&s, 1, 0x02);
    assert_int_equal(edges, 1);
    assert_int_equal(edge_gsi, SERIAL_GSI);
    assert_int_equal(in8(&s, 2), 0x02);
    assert_int_equal(in8(&s, 2), 0x01); /* reading it was the acknowledgement */
    out8(&s, 0, 'b');
    assert_int_equal(edges, 2);
    serial_release(&s);
}

/* What Linux tells a 16550A by: both bits, and neither without the FIFO. */
static void a_fifo_is_there_when_it_is_switched_on(void **state)
{
    struct serial s = new_serial();

    (void)state;
    assert_int_equal(in8(&s, 2), 0x01);
    out8(&s, 2, 0x01);
    assert_int_equal(in8(&s, 2), 0xc1);
    out8(&s, 1, 0x02);
    assert_int_equal(in8(&s, 2), 0xc2);
    edges = 0;
    write_text(&s, "sixteen bytes...");
    assert_int_equal(edges, 1);
    assert_int_equal(in8(&s, 2), 0xc2);
    out8(&s, 0, '!');
    assert_int_equal(edges, 2);
    out8(&s, 2, 0x00);
    assert_int_equal(in8(&s, 2), 0x02);
    serial_release(&s);
}

/* ---- power --------------------------------------------------------------------------------------- */

static void note_end(void *ctx, enum vmm_end end)
{
    *(enum vmm_end *)ctx = end;
}

static void ports_end_the_machine(void **state)
{
    static const struct {
        const char *row;
        const struct vmm_device *device;
        uint64_t offset;
        uint8_t value;
        enum vmm_end end;
    } rows[] = {
        { "keyboard reset", &power_keyboard_device, 0, 0xfe, VMM_END_RESET },
        { "keyboard self-test", &power_keyboard_device, 0, 0xaa, VMM_END_NONE },
        { "S5 with enable", &power_acpi_device, 0, 0x34, VMM_END_POWER_OFF },
        { "S5 without enable", &power_acpi_device, 0, 0x14, VMM_END_NONE },
        { "S3", &power_acpi_device, 0, 0x2c, VMM_END_NONE },
        { "status", &power_acpi_device, 1, 0x34, VMM_END_NONE },
        { "reset register", &power_acpi_device, 2, 1, VMM_END_RESET },
        { "reset register, other value", &power_acpi_device, 2, 2, VMM_END_NONE },
        { "panic", &power_panic_device, 0, 1, VMM_END_PANIC },
        { "panic, another kernel takes over", &power_panic_device, 0, 2, VMM_END_NONE },
    };

    (void)state;
    for (size_t i = 0; i < COUNT_OF(rows); i++) {
        enum vmm_end end = VMM_END_NONE;
        struct power p = { .end = note_end, .ctx = &end };

        rows[i].device->write(&p, rows[i].offset, &rows[i].value, 1);
        if (end != rows[i].end)
            fail_msg("%s: %s", rows[i].row, vmm_end_name(end));
    }
}

static void nobody_waits_for_a_port_for_ever(void **state)
{
    struct power p = { .ctx = NULL };
    uint8_t one, two, index = 0x0d;

    (void)state;
    power_keyboard_device.read(&p, 0, &one, 1);
    assert_int_equal(one, 0);
    power_panic_device.read(&p, 0, &one, 1);
    assert_int_equal(one, 1);
    power_speaker_device.read(&p, 0, &one, 1);
    power_speaker_device.read(&p, 0, &two, 1);
    assert_int_equal(one ^ two, 0x30);
    power_rtc_device.write(&p, 0, &index, 1);
    power_rtc_device.read(&p, 1, &one, 1);
    assert_int_equal(one, 0x80); /* valid */
    index = 0x0a;
    power_rtc_device.write(&p, 0, &index, 1);
    power_rtc_device.read(&p, 1, &one, 1);
    assert_int_equal(one & 0x80, 0); /* no update in progress */
}

/* ---- ioapic ---------------------------------------------------------------------------------------- */

static struct {
    unsigned n;
    uint64_t address;
    uint32_t data;
} sent;

static void note_message(void *ctx, uint64_t address, uint32_t data)
{
    (void)ctx;
    sent.n++;
    sent.address = address;
    sent.data = data;
}

static struct ioapic new_ioapic(void)
{
    struct ioapic io = { .send = note_message };

    memset(&sent, 0, sizeof(sent));
    ioapic_init(&io);
    return io;
}

static void io_write(struct ioapic *io, uint32_t index, uint32_t value)
{
    ioapic_device.write(io, 0x00, &index, 4);
    ioapic_device.write(io, 0x10, &value, 4);
}

static uint32_t io_read(struct ioapic *io, uint32_t index)
{
    uint32_t value;

    ioapic_device.write(io, 0x00, &index, 4);
    ioapic_device.read(io, 0x10, &value, 4);
    return value;
}

static void a_pin_sends_what_its_entry_says(void **state)
{
    struct ioapic io = new_ioapic();

    (void)state;
    assert_int_equal(io_read(&io, 1) >> 16, IOAPIC_PINS - 1);
    assert_int_equal(io_read(&io, 0x10), 0x10000); /* masked after a reset */
    io_write(&io, 0x10 + 2 * 5 + 1, 0x03000000);   /* to APIC 3 */
    io_write(&io, 0x10 + 2 * 5, 0x00000941);       /* logical, lowest priority, vector 0x41 */
    ioapic_raise(&io, 5);
    assert_int_equal(sent.n, 1);
    assert_int_equal(sent.address, 0xfee00000 | 3 << 12 | 1 << 2);
    assert_int_equal(sent.data, 0x141);
    ioapic_raise(&io, IOAPIC_PINS);
    assert_int_equal(sent.n, 1);
}

static void an_edge_on_a_masked_pin_waits(void **state)
{
    struct ioapic io = new_ioapic();

    (void)state;
    ioapic_raise(&io, 7);
    ioapic_raise(&io, 7);
    assert_int_equal(sent.n, 0);
    io_write(&io, 0x10 + 2 * 7, 0x10041); /* still masked */
    assert_int_equal(sent.n, 0);
    io_write(&io, 0x10 + 2 * 7, 0x00041);
    assert_int_equal(sent.n, 1);
    io_write(&io, 0x10 + 2 * 7, 0x00041);
    assert_int_equal(sent.n, 1);
}

static void registers_that_are_not_there_change_nothing(void **state)
{
    struct ioapic io = new_ioapic(), before;
    uint64_t wide = UINT64_MAX;

    (void)state;
    io_write(&io, 0x10, 0xffffffff);
    assert_int_equal(io_read(&io, 0x10), 0xffffffff & ~0x5000u); /* status bits are read-only */
    before = io;
    for (uint32_t index = 2; index < 256; index++) {
        if (index < 0x10 || index >= 0x10 + 2 * IOAPIC_PINS) {
            io_write(&io, index, 0xffffffff);
            assert_int_equal(io_read(&io, index), 0);
        }
    }
    ioapic_device.write(&io, 0x20, &wide, 8);
    before.select = io.select;
    assert_memory_equal(io.entries, before.entries, sizeof(io.entries));
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(the_serial_port_keeps_what_was_written),
        cmocka_unit_test(what_is_written_is_taken_once_and_news_of_it_is_told_once),
        cmocka_unit_test(what_is_taken_too_late_is_counted),
        cmocka_unit_test(a_flood_leaves_only_the_end),
        cmocka_unit_test(a_kernel_recognises_the_chip),
        cmocka_unit_test(an_empty_transmitter_interrupts_who_asks),
        cmocka_unit_test(a_fifo_is_there_when_it_is_switched_on),
        cmocka_unit_test(ports_end_the_machine),
        cmocka_unit_test(nobody_waits_for_a_port_for_ever),
        cmocka_unit_test(a_pin_sends_what_its_entry_says),
        cmocka_unit_test(an_edge_on_a_masked_pin_waits),
        cmocka_unit_test(registers_that_are_not_there_change_nothing),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
