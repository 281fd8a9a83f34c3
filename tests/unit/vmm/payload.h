/* SPDX-License-Identifier: Apache-2.0 */
#ifndef TECA_UNIT_VMM_PAYLOAD_H
#define TECA_UNIT_VMM_PAYLOAD_H
/*
 * Guests of a few instructions. The assembler puts them into the test program; guest_load copies
 * one to PAYLOAD_GPA of a machine with 2 MiB of memory. What they find they write to RESULT_GPA.
 */
#include "unit.h"
#include "vmm/vmm.h"

#define PAYLOAD_GPA UINT64_C(0x10000)
#define RESULT_GPA UINT64_C(0x20000)
#define RING_GPA UINT64_C(0x40000)
#define GUEST_RAM UINT64_C(0x200000)

#define PAYLOAD(NAME, BITS, CODE)                                                            \
    __asm__(".pushsection .rodata\n.balign 16\n" #NAME ":\n.code" #BITS "\n" CODE "\n" #NAME \
            "_end:\n.code64\n.popsection\n");                                                \
    extern const uint8_t NAME[], NAME##_end[]

/* Ends a payload: the reset register of the ACPI ports. Works in 16 and in 64 bits. */
#define END_BY_RESET "mov $0x602, %dx\n mov $1, %al\n out %al, %dx\n hlt\n"

struct guest {
    struct vmm *m;
    struct vmm_outcome outcome;
};

static inline void guest_need_kvm(void)
{
    if (access("/dev/kvm", R_OK | W_OK) < 0)
        unit_skip("there is no /dev/kvm that can be opened here");
}

static inline struct guest guest_build(const struct vmm_config *c)
{
    struct guest g = { .m = NULL };
    struct vmm_layout l;
    struct err e = { 0 };

    guest_need_kvm();
    if (vmm_layout(c, &l, &e) < 0 || vmm_build(c, &l, &g.m, &e) < 0)
        fail_msg("%s", e.text);
    return g;
}

static inline struct guest guest_load(const struct vmm_config *c, int bits, const uint8_t *code,
                                      const uint8_t *end)
{
    struct guest g = guest_build(c);
    struct err e = { 0 };
    int r = vmm_write(g.m, PAYLOAD_GPA, code, (size_t)(end - code));

    assert_int_equal(r, 0);
    r = bits == 16 ? vmm_start_real(g.m, PAYLOAD_GPA, &e)
                   : vmm_start_long(g.m, PAYLOAD_GPA, RESULT_GPA, &e);
    if (r < 0)
        fail_msg("%s", e.text);
    return g;
}

/* A guest that never ends on its own shall not hang the test for ever. */
static inline void guest_run(struct guest *g, enum vmm_end expected)
{
    struct err e = { 0 };

    alarm(60);
    if (vmm_run(g->m, &g->outcome, &e) < 0)
        fail_msg("%s", e.text);
    alarm(0);
    if (g->outcome.end != expected)
        fail_msg("ended by %s (%s), not by %s", vmm_end_name(g->outcome.end), g->outcome.text,
                 vmm_end_name(expected));
}

#ifndef __x86_64__

/* The whole of a test program with such guests, whose own stands below #ifdef __x86_64__. */
static void a_guest_is_made_of_x86_code(void **state)
{
    (void)state;
    unit_skip("payload guests are x86-64 code");
}

int main(void)
{
    const struct CMUnitTest tests[] = { cmocka_unit_test(a_guest_is_made_of_x86_code) };

    return cmocka_run_group_tests(tests, NULL, NULL);
}

#endif

#endif
