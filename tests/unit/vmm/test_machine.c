/* SPDX-License-Identifier: Apache-2.0 */
/* Machines of a few instructions on this host's KVM: every way to leave the guest, and to end it. */
#include "payload.h"

#include <pthread.h>

#ifdef __x86_64__

static const struct vmm_config bare = { .ram_bytes = GUEST_RAM,
                                        .cpus = 1,
                                        .irqchip = VMM_IRQCHIP_NONE };
static const struct vmm_config with_irqchip = { .ram_bytes = GUEST_RAM, .cpus = 1 };

static void check_serial(struct guest *g, const char *expected)
{
    AUTO_STRBUF struct strbuf text = { 0 };

    vmm_serial_text(g->m, &text);
    assert_string_equal(text.ptr ? text.ptr : "", expected);
}

/* ---- ports ----------------------------------------------------------------------------------------- */

PAYLOAD(say_hello, 16,
        "mov %cs, %ax\n mov %ax, %ds\n"
        "mov $(1f - say_hello), %si\n mov $(2f - 1f), %cx\n mov $0x3f8, %dx\n cld\n"
        "rep outsb\n" END_BY_RESET "1: .ascii \"hello, trap\"\n 2:");

static void a_guest_in_real_mode_prints_through_port_exits(void **state)
{
    struct guest g = guest_load(&bare, 16, say_hello, say_hello_end);

    (void)state;
    guest_run(&g, VMM_END_RESET);
    check_serial(&g, "hello, trap");
    assert_in_range(vmm_stats_count(g.m, "io"), 2, 12);
    assert_int_equal(vmm_stats_count(g.m, "unknown-port"), 0);
    vmm_free(g.m);
}

/* One access of each width where nobody lives, and across the end of a device. */
PAYLOAD(touch_ports, 64,
        "xor %eax, %eax\n mov $0x1234, %dx\n"
        "in %dx, %al\n mov %al, (%rsi)\n"
        "xor %eax, %eax\n in %dx, %ax\n mov %ax, 8(%rsi)\n"
        "xor %eax, %eax\n in %dx, %eax\n mov %eax, 16(%rsi)\n"
        "out %al, %dx\n out %ax, %dx\n out %eax, %dx\n"
        "mov $0x3ff, %dx\n xor %eax, %eax\n in %dx, %ax\n mov %ax, 24(%rsi)\n"
        "mov $0x3fb, %dx\n mov $0x0803, %ax\n out %ax, %dx\n" /* LCR and MCR in one */
        "xor %eax, %eax\n in %dx, %ax\n mov %ax, 32(%rsi)\n hlt");

static void a_guest_at_unknown_ports_reads_ones(void **state)
{
    struct guest g = guest_load(&bare, 64, touch_ports, touch_ports_end);
    uint64_t seen[5];

    (void)state;
    guest_run(&g, VMM_END_HALT);
    assert_int_equal(vmm_read(g.m, RESULT_GPA, seen, sizeof(seen)), 0);
    assert_int_equal(seen[0], 0xff);
    assert_int_equal(seen[1], 0xffff);
    assert_int_equal(seen[2], 0xffffffff);
    assert_int_equal(seen[3], 0xffff);
    assert_int_equal(seen[4], 0x0803);
    assert_int_equal(vmm_stats_count(g.m, "unknown-port"), 7);
    assert_int_equal(vmm_stats_count(g.m, "hlt"), 1);
    vmm_free(g.m);
}

/* ---- memory that is not there ------------------------------------------------------------------------ */

/* rsi: results. 0xd0000000 is in the hole, 0x1fffff the last byte of memory. */
PAYLOAD(touch_mmio, 64,
        "mov $0xd0000000, %edi\n"
        "xor %eax, %eax\n movb (%rdi), %al\n mov %rax, (%rsi)\n"
        "xor %eax, %eax\n movw 3(%rdi), %ax\n mov %rax, 8(%rsi)\n"
        "movl 1(%rdi), %eax\n mov %rax, 16(%rsi)\n"
        "movq 8(%rdi), %rax\n mov %rax, 24(%rsi)\n"
        "movb %al, (%rdi)\n movw %ax, 3(%rdi)\n movl %eax, 1(%rdi)\n movq %rax, 8(%rdi)\n"
        "mov $0x200000, %edi\n"
        "movl (%rdi), %eax\n mov %rax, 32(%rsi)\n"
        "movb $0x11, -1(%rdi)\n xor %eax, %eax\n movb -1(%rdi), %al\n mov %rax, 40(%rsi)\n hlt");

static void a_guest_beyond_its_memory_reads_ones(void **state)
{
    struct guest g = guest_load(&bare, 64, touch_mmio, touch_mmio_end);
    uint64_t seen[6];

    (void)state;
    guest_run(&g, VMM_END_HALT);
    assert_int_equal(vmm_read(g.m, RESULT_GPA, seen, sizeof(seen)), 0);
    assert_int_equal(seen[0], 0xff);
    assert_int_equal(seen[1], 0xffff);
    assert_int_equal(seen[2], 0xffffffff);
    assert_int_equal(seen[3], UINT64_MAX);
    assert_int_equal(seen[4], 0xffffffff);
    assert_int_equal(seen[5], 0x11);
    assert_in_range(vmm_stats_count(g.m, "unknown-mmio"), 9, 16);
    assert_in_range(vmm_stats_count(g.m, "mmio"), 9, 16);
    vmm_free(g.m);
}

/* ---- ways to end ------------------------------------------------------------------------------------- */

PAYLOAD(no_handler, 64, "ud2");
PAYLOAD(power_off, 64, "mov $0x600, %dx\n mov $0x34, %al\n out %al, %dx\n 1: jmp 1b");
PAYLOAD(keyboard_reset, 16, "mov $0xfe, %al\n out %al, $0x64\n 1: jmp 1b");
PAYLOAD(spin, 64, "1: jmp 1b");
PAYLOAD(sleep_for_ever, 64, "1: hlt\n jmp 1b");

static void a_guest_without_handlers_dies_of_a_triple_fault(void **state)
{
    struct guest g = guest_load(&bare, 64, no_handler, no_handler_end);

    (void)state;
    guest_run(&g, VMM_END_TRIPLE_FAULT);
    assert_string_equal(g.outcome.text, "cpu 0 met a triple fault");
    assert_int_equal(vmm_stats_count(g.m, "shutdown"), 1);
    vmm_free(g.m);
}

static void a_guest_ends_itself_by_ports(void **state)
{
    struct guest off = guest_load(&with_irqchip, 64, power_off, power_off_end);
    struct guest reset = guest_load(&with_irqchip, 16, keyboard_reset, keyboard_reset_end);

    (void)state;
    guest_run(&off, VMM_END_POWER_OFF);
    assert_string_equal(off.outcome.text, "the guest asked for power-off");
    guest_run(&reset, VMM_END_RESET);
    vmm_free(off.m);
    vmm_free(reset.m);
}

static void *stop_soon(void *arg)
{
    usleep(20 * 1000);
    vmm_stop(arg);
    return NULL;
}

static void check_stop(const struct vmm_config *c, const uint8_t *code, const uint8_t *end)
{
    struct guest g = guest_load(c, 64, code, end);
    pthread_t stopper;

    assert_int_equal(pthread_create(&stopper, NULL, stop_soon, g.m), 0);
    guest_run(&g, VMM_END_STOPPED);
    pthread_join(stopper, NULL);
    vmm_stop(g.m); /* once more changes nothing */
    vmm_free(g.m);
}

static void a_guest_is_stopped_wherever_it_is(void **state)
{
    (void)state;
    check_stop(&with_irqchip, spin, spin_end);
    check_stop(&bare, spin, spin_end);
    check_stop(&with_irqchip, sleep_for_ever, sleep_for_ever_end); /* asleep in the kernel */
}

static void a_guest_stopped_before_it_runs_makes_no_step(void **state)
{
    struct guest g = guest_load(&bare, 16, say_hello, say_hello_end);

    (void)state;
    vmm_stop(g.m);
    guest_run(&g, VMM_END_STOPPED);
    check_serial(&g, "");
    vmm_free(g.m);
}

/* ---- interrupts and cpus -------------------------------------------------------------------------------- */

enum { IDT_GPA = 0x30000, VECTOR = 0x41 };

/*
 * LAPIC on (x2APIC), pin 4 of the IOAPIC to vector 0x41 of APIC 0, then the serial port is asked to
 * interrupt; the handler says 'i' and ends the machine. rsi: the pseudo-descriptor of the IDT.
 */
PAYLOAD(wait_for_interrupt, 64,
        "lidt (%rsi)\n"
        "mov $0x1b, %ecx\n rdmsr\n or $0xc00, %eax\n wrmsr\n"
        "mov $0x80f, %ecx\n xor %edx, %edx\n mov $0x1ff, %eax\n wrmsr\n"
        "mov $0xfec00000, %edi\n"
        "movl $0x19, (%rdi)\n movl $0, 0x10(%rdi)\n"
        "movl $0x18, (%rdi)\n movl $0x41, 0x10(%rdi)\n"
        "mov $0x3f9, %dx\n mov $2, %al\n out %al, %dx\n"
        "1: sti\n hlt\n jmp 1b\n"
        ".balign 64\n wait_for_interrupt_handler:\n"
        "mov $0x3f8, %dx\n mov $0x69, %al\n out %al, %dx\n" END_BY_RESET);
extern const uint8_t wait_for_interrupt_handler[];

static void a_guest_gets_the_interrupts_of_a_device(void **state)
{
    struct guest g = guest_load(&with_irqchip, 64, wait_for_interrupt, wait_for_interrupt_end);
    uint64_t handler = PAYLOAD_GPA + (uint64_t)(wait_for_interrupt_handler - wait_for_interrupt);
    uint16_t gate[8] = { (uint16_t)handler, 0x08, 0x8e00, (uint16_t)(handler >> 16), 0, 0, 0, 0 };
    struct __attribute__((packed)) {
        uint16_t limit;
        uint64_t base;
    } idt = { 256 * 16 - 1, IDT_GPA };

    (void)state;
    assert_int_equal(vmm_write(g.m, IDT_GPA + VECTOR * 16, gate, sizeof(gate)), 0);
    assert_int_equal(vmm_write(g.m, RESULT_GPA, &idt, sizeof(idt)), 0);
    guest_run(&g, VMM_END_RESET);
    check_serial(&g, "i");
    vmm_free(g.m);
}

/*
 * Copies its second half to 0xf000 and wakes the other cpus there (INIT, SIPI with vector 0x0f, to
 * all but itself). Each of them counts up at 0xfff0; cpu 0 waits for all.
 */
PAYLOAD(wake_cpus, 64,
        "lea 2f(%rip), %rax\n mov $0xf000, %edi\n xchg %rax, %rsi\n mov $(3f - 2f), %ecx\n cld\n"
        "rep movsb\n"
        "mov $0x1b, %ecx\n rdmsr\n or $0xc00, %eax\n wrmsr\n"
        "mov $0x830, %ecx\n xor %edx, %edx\n mov $0xc4500, %eax\n wrmsr\n"
        "mov $0xc460f, %eax\n wrmsr\n"
        "1: pause\n cmpl $3, 0xfff0\n jne 1b\n" END_BY_RESET
        "2: .code16\n xor %ax, %ax\n mov %ax, %ds\n lock incl 0xfff0\n"
        "mov $0x3f8, %dx\n mov $0x63, %al\n out %al, %dx\n 4: hlt\n jmp 4b\n 3:");

static void a_guest_wakes_its_other_cpus(void **state)
{
    struct vmm_config c = { .ram_bytes = GUEST_RAM, .cpus = 4 };
    struct guest g = guest_load(&c, 64, wake_cpus, wake_cpus_end);

    (void)state;
    guest_run(&g, VMM_END_RESET);
    vmm_free(g.m);
}

static void a_guest_is_stopped_with_all_its_cpus(void **state)
{
    struct vmm_config c = { .ram_bytes = GUEST_RAM, .cpus = 8 };

    (void)state;
    check_stop(&c, spin, spin_end); /* seven of them wait to be woken */
}

/* ---- what is told --------------------------------------------------------------------------------------- */

static void a_guest_leaves_a_table_of_its_exits(void **state)
{
    AUTO_STRBUF struct strbuf text = { 0 };
    struct guest g = guest_load(&bare, 64, touch_ports, touch_ports_end);
    struct json_out *j = json_out_new(false);
    size_t len;

    (void)state;
    guest_run(&g, VMM_END_HALT);
    vmm_stats_describe(g.m, &text);
    assert_string_equal(text.ptr, "io 9\nunknown-port 7\nhlt 1\n");
    vmm_stats_json(g.m, j, NULL);
    assert_string_equal(json_out_text(j, &len), "{\"io\":9,\"unknown-port\":7,\"hlt\":1}");
    json_out_free(j);
    vmm_free(g.m);
}

static void a_guest_cannot_begin_where_it_has_no_memory(void **state)
{
    struct guest g = guest_build(&bare);
    struct err e = { 0 };

    (void)state;
    assert_int_equal(vmm_start_real(g.m, 0x100000, &e), -EINVAL);
    assert_int_equal(vmm_start_real(g.m, 8, &e), -EINVAL);
    assert_int_equal(vmm_write(g.m, GUEST_RAM - 1, "ab", 2), -EFAULT);
    vmm_free(g.m);
    vmm_free(NULL);
}

/* Which of the two this host's KVM runs is its affair; that it was found out is ours. */
static void a_guest_of_the_probe_says_what_kvm_can_do(void **state)
{
    struct vmm_probe p = { .error = 7 };

    (void)state;
    guest_need_kvm();
    vmm_probe(&p);
    assert_int_equal(p.error, 0);
    assert_int_equal(p.api, 12);
    assert_true(p.runs_payloads);
    assert_string_equal(p.caps[0].name, "split-irqchip");
    assert_int_not_equal(p.caps[0].value, 0);
    if (p.runs_kernels)
        assert_string_equal(p.reason, "");
    else
        assert_non_null(strstr(p.reason, " fails: "));
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(a_guest_of_the_probe_says_what_kvm_can_do),
        cmocka_unit_test(a_guest_in_real_mode_prints_through_port_exits),
        cmocka_unit_test(a_guest_at_unknown_ports_reads_ones),
        cmocka_unit_test(a_guest_beyond_its_memory_reads_ones),
        cmocka_unit_test(a_guest_without_handlers_dies_of_a_triple_fault),
        cmocka_unit_test(a_guest_ends_itself_by_ports),
        cmocka_unit_test(a_guest_is_stopped_wherever_it_is),
        cmocka_unit_test(a_guest_stopped_before_it_runs_makes_no_step),
        cmocka_unit_test(a_guest_gets_the_interrupts_of_a_device),
        cmocka_unit_test(a_guest_wakes_its_other_cpus),
        cmocka_unit_test(a_guest_is_stopped_with_all_its_cpus),
        cmocka_unit_test(a_guest_leaves_a_table_of_its_exits),
        cmocka_unit_test(a_guest_cannot_begin_where_it_has_no_memory),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}

#endif
