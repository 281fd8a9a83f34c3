/* SPDX-License-Identifier: Apache-2.0 */
/*
 * vmm_load_linux on this host's KVM, with a "kernel" of a few instructions that looks at what a kernel of
 * Linux would be told, and says on COM1 what it found. Stock kernels: tests/system/test_vm_boot.py.
 */
#include "payload.h"

#include <elf.h>
#include <sys/mman.h>

#ifdef __x86_64__

#define LOAD_GPA UINT64_C(0x200000)
#define RAM (UINT64_C(4) << 20)
enum { HEADS = 0x1000 };

/*
 * Says the command line and the first bytes of the initrd and of the RSDP, as the zero page in rsi has
 * them, then "Kernel panic" when the line ends with one '!'. rbx: the zero page.
 */
PAYLOAD(tell_words, 64,
        "mov %rsi, %rbx\n cld\n mov $0x3f8, %edx\n"
        "mov 0x228(%rbx), %esi\n"
        "1: lodsb\n test %al, %al\n jz 2f\n out %al, %dx\n mov %al, %cl\n jmp 1b\n"
        "2: mov $'\\n', %al\n out %al, %dx\n"
        "mov 0x218(%rbx), %esi\n mov %cl, %ch\n"
        "3: lodsb\n cmp $'.', %al\n je 4f\n out %al, %dx\n jmp 3b\n"
        "4: mov $'\\n', %al\n out %al, %dx\n"
        "mov 0x70(%rbx), %rsi\n"
        "5: lodsb\n cmp $' ', %al\n je 6f\n out %al, %dx\n jmp 5b\n"
        "6: mov $'\\n', %al\n out %al, %dx\n"
        "cmp $'!', %ch\n jne 8f\n"
        "lea 9f(%rip), %rsi\n"
        "7: lodsb\n test %al, %al\n jz 10f\n out %al, %dx\n jmp 7b\n"
        "9: .asciz \"[    0.5] Kernel panic - not syncing: no root\\r\\nmore\\n\"\n"
        "10:" END_BY_RESET "8: mov $0x600, %dx\n mov $0x34, %al\n out %al, %dx\n hlt\n");

static int file_of(const void *data, size_t len)
{
    int fd = memfd_create("image", MFD_CLOEXEC);

    assert_true(fd >= 0);
    assert_int_equal(write(fd, data, len), (ssize_t)len);
    return fd;
}

static int kernel_of(const uint8_t *code, const uint8_t *end)
{
    static uint8_t image[2 * HEADS];
    size_t len = (size_t)(end - code);
    Elf64_Ehdr head = { .e_ident = { 0x7f, 'E', 'L', 'F', ELFCLASS64, ELFDATA2LSB, 1 },
                        .e_type = ET_EXEC,
                        .e_machine = EM_X86_64,
                        .e_entry = LOAD_GPA,
                        .e_phoff = sizeof(head),
                        .e_phentsize = sizeof(Elf64_Phdr),
                        .e_phnum = 1 };
    Elf64_Phdr text = {
        .p_type = PT_LOAD, .p_offset = HEADS, .p_paddr = LOAD_GPA, .p_filesz = len, .p_memsz = len
    };

    memcpy(image, &head, sizeof(head));
    memcpy(image + sizeof(head), &text, sizeof(text));
    memcpy(image + HEADS, code, len);
    return file_of(image, HEADS + len);
}

static void boot(const char *line, enum vmm_end end, const char *expected, const char *panic)
{
    static const struct vmm_config c = { .ram_bytes = RAM, .cpus = 2, .rng = true };
    AUTO_STRBUF struct strbuf text = { 0 }, words = { 0 };
    struct vmm_linux files = { .command_line = line };
    struct guest g = guest_build(&c);
    struct err e = { 0 };

    files.kernel_fd = kernel_of(tell_words, tell_words_end);
    files.initrd_fd = file_of("070701.", 7);
    if (vmm_load_linux(g.m, &files, &e) < 0)
        fail_msg("%s", e.text);
    assert_int_equal(vmm_first_run_ns(g.m), 0);
    guest_run(&g, end);
    assert_int_not_equal(vmm_first_run_ns(g.m), 0);
    vmm_serial_take(g.m, &text);
    assert_string_equal(text.ptr, expected);
    assert_int_equal(vmm_serial_panic(g.m, &words), panic != NULL);
    assert_string_equal(words.ptr ? words.ptr : "", panic ? panic : "");
    close(files.kernel_fd);
    close(files.initrd_fd);
    vmm_free(g.m);
}

static void a_kernel_gets_its_line_its_initrd_and_the_tables(void **state)
{
    (void)state;
    boot("console=ttyS0 quiet", VMM_END_POWER_OFF, "console=ttyS0 quiet\n070701\nRSD\n", NULL);
}

static void a_panic_is_seen_on_the_console(void **state)
{
    (void)state;
    boot("now!", VMM_END_RESET,
         "now!\n070701\nRSD\n[    0.5] Kernel panic - not syncing: no root\r\nmore\n",
         "Kernel panic - not syncing: no root");
}

static void a_kernel_wants_interrupts(void **state)
{
    static const struct vmm_config c = { .ram_bytes = RAM, .cpus = 1, .irqchip = VMM_IRQCHIP_NONE };
    struct guest g = guest_build(&c);
    struct vmm_linux files = { .kernel_fd = -1, .initrd_fd = -1, .command_line = "" };
    struct err e = { 0 };

    (void)state;
    assert_int_equal(vmm_load_linux(g.m, &files, &e), -EINVAL);
    assert_string_equal(e.text, "a machine without interrupts cannot run a kernel");
    vmm_free(g.m);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(a_kernel_gets_its_line_its_initrd_and_the_tables),
        cmocka_unit_test(a_panic_is_seen_on_the_console),
        cmocka_unit_test(a_kernel_wants_interrupts),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}

#else

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
