/* SPDX-License-Identifier: Apache-2.0 */
/* The bus: what is registered, who answers, and the table of exit counters. */
#include "unit.h"
#include "vmm/dispatch/dispatch.h"

static struct {
    void *self;
    uint64_t offset, value;
    unsigned len, resets;
} last;

static void probe_read(void *self, uint64_t offset, void *data, unsigned len)
{
    last.self = self;
    last.offset = offset;
    last.len = len;
    memset(data, 0x5a, len);
}

static void probe_write(void *self, uint64_t offset, const void *data, unsigned len)
{
    last.self = self;
    last.offset = offset;
    last.len = len;
    last.value = 0;
    memcpy(&last.value, data, len);
}

static void probe_reset(void *self)
{
    (void)self;
    last.resets++;
}

static const struct vmm_device probe = { "probe", probe_read, probe_write, probe_reset };
static const struct vmm_device other = { "other", probe_read, probe_write, probe_reset };

static struct vmm_bus three_devices(void)
{
    struct vmm_bus b = { .n = 0 };

    /* Not in the order of their addresses. */
    assert_int_equal(vmm_bus_add(&b, 0x2000, 0x10, &probe, (void *)2, NULL), 0);
    assert_int_equal(vmm_bus_add(&b, 0x1000, 0x10, &probe, (void *)1, NULL), 0);
    assert_int_equal(vmm_bus_add(&b, UINT64_MAX - 7, 8, &probe, (void *)3, NULL), 0);
    return b;
}

static void an_access_goes_to_the_device_that_holds_all_of_it(void **state)
{
    static const struct {
        const char *row;
        uint64_t address;
        unsigned len;
        uintptr_t device; /* 0: nobody */
        uint64_t offset;
    } rows[] = {
        { "first byte", 0x1000, 1, 1, 0 },
        { "last byte", 0x100f, 1, 1, 15 },
        { "second device", 0x2008, 8, 2, 8 },
        { "end of the address space", UINT64_MAX, 1, 3, 7 },
        { "eight bytes there", UINT64_MAX - 7, 8, 3, 0 },
        { "wrapping", UINT64_MAX - 6, 8, 0, 0 },
        { "across the end", 0x100f, 2, 0, 0 },
        { "across the beginning", 0xfff, 2, 0, 0 },
        { "between", 0x1800, 4, 0, 0 },
        { "below", 0, 4, 0, 0 },
        { "above", 0x3000, 4, 0, 0 },
        { "too wide", 0x1000, 9, 0, 0 },
    };
    struct vmm_bus b = three_devices();
    uint8_t data[16];

    (void)state;
    for (size_t i = 0; i < COUNT_OF(rows); i++) {
        bool known = rows[i].device != 0;

        memset(data, 0, sizeof(data));
        if (vmm_bus_read(&b, rows[i].address, data, rows[i].len) != known ||
            data[0] != (known ? 0x5a : 0xff) || data[rows[i].len - 1] != data[0] ||
            data[rows[i].len] != 0)
            fail_msg("%s: read", rows[i].row);
        if (known && (last.self != (void *)rows[i].device || last.offset != rows[i].offset))
            fail_msg("%s: wrong device or offset", rows[i].row);
        if (vmm_bus_write(&b, rows[i].address, data, rows[i].len) != known)
            fail_msg("%s: write", rows[i].row);
    }
}

static void devices_that_overlap_are_refused_by_name(void **state)
{
    static const struct {
        uint64_t first, size;
    } rows[] = {
        { 0x1000, 0x10 }, { 0x100f, 1 }, { 0xff0, 0x11 }, { 0, 0x10000 }, { 0x1008, 0x1000 },
    };
    struct vmm_bus b = three_devices();
    struct err e = { 0 };

    (void)state;
    for (size_t i = 0; i < COUNT_OF(rows); i++)
        assert_int_equal(vmm_bus_add(&b, rows[i].first, rows[i].size, &other, NULL, &e), -EINVAL);
    assert_string_equal(e.text, "device 'other' overlaps device 'probe': Invalid argument");
    assert_int_equal(vmm_bus_add(&b, 0x5000, 0, &other, NULL, &e), -EINVAL);
    assert_int_equal(vmm_bus_add(&b, UINT64_MAX, 2, &other, NULL, &e), -EINVAL);
    assert_int_equal(b.n, 3);
    assert_int_equal(vmm_bus_add(&b, 0x1010, 0xff0, &other, NULL, &e), 0);
}

static void a_full_bus_says_so(void **state)
{
    struct vmm_bus b = { .n = 0 };

    (void)state;
    for (uint64_t i = 0; i < VMM_BUS_MAX; i++)
        assert_int_equal(vmm_bus_add(&b, i * 2, 1, &probe, NULL, NULL), 0);
    assert_int_equal(vmm_bus_add(&b, 0x1000, 1, &probe, NULL, NULL), -ENOSPC);
    last.resets = 0;
    vmm_bus_reset(&b);
    assert_int_equal(last.resets, VMM_BUS_MAX);
}

static void counters_are_summed_and_sorted(void **state)
{
    static struct vmm_stats one, two;
    const struct vmm_stats *of[] = { &one, &two };
    struct stats_row rows[STATS_ROWS];

    (void)state;
    stats_exit(&one, KVM_EXIT_IO);
    stats_exit(&one, KVM_EXIT_MMIO);
    stats_exit(&two, KVM_EXIT_MMIO);
    for (int i = 0; i < 3; i++)
        stats_exit(&two, 0xffffffff);
    stats_count(&two.kicks);
    assert_int_equal(stats_rows(of, 2, rows), 4);
    assert_string_equal(rows[0].name, "other");
    assert_int_equal(rows[0].count, 3);
    assert_string_equal(rows[1].name, "mmio");
    assert_int_equal(rows[1].count, 2);
    assert_int_equal(rows[2].count, 1);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(an_access_goes_to_the_device_that_holds_all_of_it),
        cmocka_unit_test(devices_that_overlap_are_refused_by_name),
        cmocka_unit_test(a_full_bus_says_so),
        cmocka_unit_test(counters_are_summed_and_sorted),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
