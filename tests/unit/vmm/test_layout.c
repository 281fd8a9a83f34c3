/* SPDX-License-Identifier: Apache-2.0 */
/* vmm_layout: which machine has which map. */
#include "unit.h"
#include "vmm/vmm.h"

#define MIB (UINT64_C(1) << 20)

static struct vmm_config minimal(void)
{
    return (struct vmm_config){ .ram_bytes = 64 * MIB, .cpus = 1 };
}

static void check_map(const struct vmm_config *c, const char *expected)
{
    AUTO_STRBUF struct strbuf text = { 0 };
    struct vmm_layout l;
    struct err e = { 0 };

    if (vmm_layout(c, &l, &e) < 0)
        fail_msg("%s", e.text);
    vmm_layout_describe(&l, &text);
    assert_string_equal(text.ptr, expected);
}

static void a_small_machine_has_memory_from_zero(void **state)
{
    struct vmm_config c = minimal();

    (void)state;
    check_map(&c, "000000000000-000003ffffff memory ram\n"
                  "0000fec00000-0000fec00fff device ioapic\n"
                  "0000fee00000-0000fee00fff kernel lapic\n"
                  "0000fffbd000-0000fffc0fff kernel kvm-tss\n");
    c.irqchip = VMM_IRQCHIP_NONE;
    check_map(&c, "000000000000-000003ffffff memory ram\n"
                  "0000fffbd000-0000fffc0fff kernel kvm-tss\n");
}

static void virtio_slots_are_fixed(void **state)
{
    static const struct vmm_port port = { .console = true };
    static const struct vmm_share share = { .n_slots = 1 };
    struct vmm_config c = minimal();

    (void)state;
    c.rng = true;
    c.irqchip = VMM_IRQCHIP_SPLIT;
    check_map(&c, "000000000000-000003ffffff memory ram\n"
                  "0000d0001000-0000d0001fff device virtio-rng gsi 17\n"
                  "0000fec00000-0000fec00fff device ioapic\n"
                  "0000fee00000-0000fee00fff kernel lapic\n"
                  "0000fffbd000-0000fffc0fff kernel kvm-tss\n");
    c.ports = &port;
    c.n_ports = 1;
    check_map(&c, "000000000000-000003ffffff memory ram\n"
                  "0000d0000000-0000d0000fff device virtio-console gsi 16\n"
                  "0000d0001000-0000d0001fff device virtio-rng gsi 17\n"
                  "0000fec00000-0000fec00fff device ioapic\n"
                  "0000fee00000-0000fee00fff kernel lapic\n"
                  "0000fffbd000-0000fffc0fff kernel kvm-tss\n");
    c.n_ports = 0;
    c.share = &share;
    check_map(&c, "000000000000-000003ffffff memory ram\n"
                  "0000d0001000-0000d0001fff device virtio-rng gsi 17\n"
                  "0000d0003000-0000d0003fff device virtio-fs gsi 19\n"
                  "0000fec00000-0000fec00fff device ioapic\n"
                  "0000fee00000-0000fee00fff kernel lapic\n"
                  "0000fffbd000-0000fffc0fff kernel kvm-tss\n");
    c.share = NULL;
    c.n_disks = 2;
    check_map(&c, "000000000000-000003ffffff memory ram\n"
                  "0000d0001000-0000d0001fff device virtio-rng gsi 17\n"
                  "0000d0005000-0000d0005fff device virtio-blk gsi 21\n"
                  "0000d0006000-0000d0006fff device virtio-blk gsi 22\n"
                  "0000fec00000-0000fec00fff device ioapic\n"
                  "0000fee00000-0000fee00fff kernel lapic\n"
                  "0000fffbd000-0000fffc0fff kernel kvm-tss\n");
    c.n_disks = 1;
    c.n_nets = VMM_NETS_MAX; /* the first one is where a single one is */
    check_map(&c, "000000000000-000003ffffff memory ram\n"
                  "0000d0001000-0000d0001fff device virtio-rng gsi 17\n"
                  "0000d0002000-0000d0002fff device virtio-net gsi 18\n"
                  "0000d0005000-0000d0005fff device virtio-blk gsi 21\n"
                  "0000d0008000-0000d0008fff device virtio-net gsi 24\n"
                  "0000d0009000-0000d0009fff device virtio-net gsi 25\n"
                  "0000d000a000-0000d000afff device virtio-net gsi 26\n"
                  "0000fec00000-0000fec00fff device ioapic\n"
                  "0000fee00000-0000fee00fff kernel lapic\n"
                  "0000fffbd000-0000fffc0fff kernel kvm-tss\n");
}

static void an_image_lies_behind_all_memory(void **state)
{
    struct vmm_config c = minimal();
    struct vmm_layout l;

    (void)state;
    c.image.size_bytes = 3 * MIB + 1;
    check_map(&c, "000000000000-000003ffffff memory ram\n"
                  "0000d0004000-0000d0004fff device virtio-pmem gsi 20\n"
                  "0000fec00000-0000fec00fff device ioapic\n"
                  "0000fee00000-0000fee00fff kernel lapic\n"
                  "0000fffbd000-0000fffc0fff kernel kvm-tss\n"
                  "000100000000-0001003fffff image image\n");
    c.ram_bytes = 5 * 1024 * MIB;
    assert_int_equal(vmm_layout(&c, &l, NULL), 0);
    assert_int_equal(l.ranges[l.n - 1].first, UINT64_C(6) << 30); /* memory ends at 6 GiB */
    c.ram_bytes += 4096;
    assert_int_equal(vmm_layout(&c, &l, NULL), 0);
    assert_int_equal(l.ranges[l.n - 1].first, UINT64_C(7) << 30);
    c.image.size_bytes = UINT64_MAX;
    assert_int_equal(vmm_layout(&c, &l, NULL), -EINVAL);
    c.image.size_bytes = 1;
    c.irqchip = VMM_IRQCHIP_NONE;
    assert_int_equal(vmm_layout(&c, &l, NULL), -EINVAL);
}

static void memory_steps_over_the_hole_below_four_gib(void **state)
{
    struct vmm_config c = minimal();
    struct vmm_layout l;

    (void)state;
    c.ram_bytes = VMM_HOLE_FIRST;
    assert_int_equal(vmm_layout(&c, &l, NULL), 0);
    assert_int_equal(l.ranges[0].size, VMM_HOLE_FIRST);
    assert_int_equal(l.ranges[l.n - 1].kind, VMM_RANGE_KERNEL);
    c.ram_bytes = 5 * 1024 * MIB;
    assert_int_equal(vmm_layout(&c, &l, NULL), 0);
    assert_int_equal(l.ranges[0].size, VMM_HOLE_FIRST);
    assert_int_equal(l.ranges[l.n - 1].kind, VMM_RANGE_RAM);
    assert_int_equal(l.ranges[l.n - 1].first, VMM_HOLE_END);
    assert_int_equal(l.ranges[0].size + l.ranges[l.n - 1].size, 5 * 1024 * MIB);
}

static void ranges_are_sorted_and_apart(void **state)
{
    static const uint64_t sizes[] = { MIB, 3 * 1024 * MIB, VMM_HOLE_FIRST + 4096,
                                      512 * 1024 * MIB };

    (void)state;
    for (size_t i = 0; i < COUNT_OF(sizes); i++) {
        struct vmm_config c = minimal();
        struct vmm_layout l;

        c.ram_bytes = sizes[i];
        assert_int_equal(vmm_layout(&c, &l, NULL), 0);
        for (unsigned n = 1; n < l.n; n++)
            assert_true(l.ranges[n].first >= l.ranges[n - 1].first + l.ranges[n - 1].size);
    }
}

static void machines_that_cannot_be_are_refused(void **state)
{
    static const struct {
        uint64_t ram;
        unsigned cpus;
        enum vmm_irqchip irqchip;
        bool rng;
        unsigned ports, disks;
    } rows[] = {
        { 0, 1, VMM_IRQCHIP_SPLIT, false, 0, 0 },
        { MIB - 4096, 1, VMM_IRQCHIP_SPLIT, false, 0, 0 },
        { MIB + 1, 1, VMM_IRQCHIP_SPLIT, false, 0, 0 },
        { UINT64_MAX - 4095, 1, VMM_IRQCHIP_SPLIT, false, 0, 0 },
        { MIB, 0, VMM_IRQCHIP_SPLIT, false, 0, 0 },
        { MIB, VMM_CPUS_MAX + 1, VMM_IRQCHIP_SPLIT, false, 0, 0 },
        { MIB, 2, VMM_IRQCHIP_NONE, false, 0, 0 },
        { MIB, 1, VMM_IRQCHIP_NONE, true, 0, 0 },
        { MIB, 1, VMM_IRQCHIP_SPLIT, false, VMM_PORTS_MAX + 1, 0 },
        { MIB, 1, VMM_IRQCHIP_SPLIT, false, 0, VMM_DISKS_MAX + 1 },
        { MIB, 1, VMM_IRQCHIP_NONE, false, 0, 1 },
    };

    (void)state;
    for (size_t i = 0; i < COUNT_OF(rows); i++) {
        struct vmm_config c = { .ram_bytes = rows[i].ram,
                                .cpus = rows[i].cpus,
                                .irqchip = rows[i].irqchip,
                                .rng = rows[i].rng,
                                .n_ports = rows[i].ports,
                                .n_disks = rows[i].disks };
        struct vmm_layout l = { .n = 77 };
        struct err e = { 0 };

        if (vmm_layout(&c, &l, &e) != -EINVAL || l.n != 77 || e.text[0] == '\0')
            fail_msg("row %zu", i);
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(a_small_machine_has_memory_from_zero),
        cmocka_unit_test(virtio_slots_are_fixed),
        cmocka_unit_test(an_image_lies_behind_all_memory),
        cmocka_unit_test(memory_steps_over_the_hole_below_four_gib),
        cmocka_unit_test(ranges_are_sorted_and_apart),
        cmocka_unit_test(machines_that_cannot_be_are_refused),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
