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
    size_t len = (size_t)(end - code);
    uint8_t *image = calloc(1, HEADS + len);
    int fd;
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

    assert_non_null(image);
    memcpy(image, &head, sizeof(head));
    memcpy(image + sizeof(head), &text, sizeof(text));
    memcpy(image + HEADS, code, len);
    fd = file_of(image, HEADS + len);
    free(image);
    return fd;
}

/* early: its files are read while the machine is made. */
static void boot(const char *line, bool early, enum vmm_end end, const char *expected,
                 const char *panic)
{
    struct vmm_linux files = { .command_line = line,
                               .kernel_fd = kernel_of(tell_words, tell_words_end),
                               .initrd_fd = file_of("070701.", 7) };
    const struct vmm_config c = {
        .ram_bytes = RAM, .cpus = 2, .rng = true, .begin_with = early ? &files : NULL
    };
    AUTO_STRBUF struct strbuf text = { 0 }, words = { 0 };
    struct guest g = guest_build(&c);
    struct err e = { 0 };

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
    for (int early = 0; early < 2; early++)
        boot("console=ttyS0 quiet", early, VMM_END_POWER_OFF, "console=ttyS0 quiet\n070701\nRSD\n",
             NULL);
}

static void a_panic_is_seen_on_the_console(void **state)
{
    (void)state;
    boot("now!", true, VMM_END_RESET,
         "now!\n070701\nRSD\n[    0.5] Kernel panic - not syncing: no root\r\nmore\n",
         "Kernel panic - not syncing: no root");
}

/* ... by vmm_load_linux, in one sentence, whenever it was found. */
static void a_file_that_is_no_kernel_is_told(void **state)
{
    struct vmm_linux files = { .kernel_fd = file_of("no kernel", 9), .initrd_fd = -1 };

    (void)state;
    for (int early = 0; early < 2; early++) {
        const struct vmm_config c = { .ram_bytes = RAM,
                                      .cpus = 1,
                                      .begin_with = early ? &files : NULL };
        struct guest g = guest_build(&c);
        struct err e = { 0 };

        assert_int_equal(vmm_load_linux(g.m, &files, &e), -EINVAL);
        assert_string_equal(e.text, "the kernel is neither a bzImage nor an ELF file");
        vmm_free(g.m);
    }
    close(files.kernel_fd);
}

/* 24 MiB, which is worth threads: they are gone before the memory is. */
static void a_machine_that_cannot_be_made_leaves_its_kernel(void **state)
{
    static uint8_t image[24 << 20];
    struct vmm_linux files = { .initrd_fd = -1, .command_line = "" };
    struct vmm_config c = { .ram_bytes = UINT64_C(64) << 20, .cpus = 1, .begin_with = &files };
    struct vmm_layout l;
    struct vmm *m = NULL;
    struct err e = { 0 };

    (void)state;
    guest_need_kvm();
    memset(image, 1, sizeof(image));
    files.kernel_fd = kernel_of(image, image + sizeof(image));
    c.kvm_fd = file_of("no KVM", 6);
    assert_int_equal(vmm_layout(&c, &l, &e), 0);
    assert_int_equal(vmm_build(&c, &l, &m, &e), -ENOTTY);
    assert_null(m);
    close(files.kernel_fd);
}

/* ---- memory that comes while the guest runs ------------------------------------------------------------- */

#define MIB (UINT64_C(1) << 20)
#define CODE_SIZE (16 * MIB) /* worth a thread */
#define CONSTANTS_SIZE (3 * MIB)
#define LATE_RAM (64 * MIB)

/* The code's first byte is at 2 MiB: reads at 10, writes at 14 and into its own next instruction; says what it has found. */
#define TOUCH_CODE                                                                     \
    "mov $(10 << 20), %edi\n mov (%rdi), %bl\n"                                        \
    "mov $(14 << 20), %edi\n movb $'w', (%rdi)\n mov (%rdi), %bh\n mov 1(%rdi), %cl\n" \
    "movb $'p', 1f+1(%rip)\n jmp 1f\n 1: mov $'o', %ch\n"
#define TOUCH_INITRD "mov 0x218(%rsi), %edi\n mov (%rdi), %r8b\n mov 6(%rdi), %r9b\n"
#define SAY_ALL                                                                      \
    "mov $0x3f8, %edx\n mov %bl, %al\n out %al, %dx\n mov %bh, %al\n out %al, %dx\n" \
    "mov %cl, %al\n out %al, %dx\n shr $8, %ecx\n mov %cl, %al\n out %al, %dx\n"     \
    "mov %r8b, %al\n out %al, %dx\n mov %r9b, %al\n out %al, %dx\n"                  \
    "mov $0x600, %dx\n mov $0x34, %al\n out %al, %dx\n hlt\n"

PAYLOAD(write_first, 64, TOUCH_CODE TOUCH_INITRD SAY_ALL);
PAYLOAD(read_first, 64, TOUCH_INITRD TOUCH_CODE SAY_ALL);
PAYLOAD(exit_first, 64, "in $0x61, %al\n" TOUCH_INITRD TOUCH_CODE SAY_ALL);

struct late_kernel {
    Elf64_Ehdr head;
    Elf64_Phdr text;
    Elf64_Shdr sections[1];
};

static int late_kernel_of(const uint8_t *code, const uint8_t *end)
{
    const struct late_kernel k = {
        .head = { .e_ident = { 0x7f, 'E', 'L', 'F', ELFCLASS64, ELFDATA2LSB, 1 },
                  .e_type = ET_EXEC,
                  .e_machine = EM_X86_64,
                  .e_entry = LOAD_GPA,
                  .e_phoff = offsetof(struct late_kernel, text),
                  .e_phentsize = sizeof(Elf64_Phdr),
                  .e_phnum = 1,
                  .e_shoff = offsetof(struct late_kernel, sections),
                  .e_shentsize = sizeof(Elf64_Shdr),
                  .e_shnum = 1 },
        .text = { .p_type = PT_LOAD,
                  .p_flags = PF_R | PF_X,
                  .p_offset = LOAD_GPA,
                  .p_paddr = LOAD_GPA,
                  .p_filesz = CODE_SIZE + CONSTANTS_SIZE,
                  .p_memsz = CODE_SIZE + CONSTANTS_SIZE },
        .sections = { { .sh_type = SHT_PROGBITS,
                        .sh_flags = SHF_EXECINSTR,
                        .sh_offset = LOAD_GPA,
                        .sh_size = CODE_SIZE } },
    };
    int fd = file_of(&k, sizeof(k));

    assert_int_equal(pwrite(fd, code, (size_t)(end - code), LOAD_GPA), end - code);
    assert_int_equal(pwrite(fd, "r", 1, 10 * MIB), 1);
    assert_int_equal(pwrite(fd, "xn", 2, 14 * MIB), 2);
    assert_int_equal(ftruncate(fd, (off_t)(LOAD_GPA + CODE_SIZE + CONSTANTS_SIZE)), 0);
    return fd;
}

static struct guest late_guest(struct vmm_linux *files, const uint8_t *code, const uint8_t *end)
{
    const struct vmm_config c = { .ram_bytes = LATE_RAM, .cpus = 2, .begin_with = files };
    struct err e = { 0 };
    struct guest g;

    *files = (struct vmm_linux){ .kernel_fd = late_kernel_of(code, end),
                                 .kernel_is_final = true,
                                 .initrd_fd = file_of("070701.", 7),
                                 .command_line = "" };
    g = guest_build(&c);
    if (vmm_load_linux(g.m, files, &e) < 0)
        fail_msg("%s", e.text);
    return g;
}

static void late_done(struct guest *g, const struct vmm_linux *files)
{
    vmm_free(g->m);
    close(files->kernel_fd);
    close(files->initrd_fd);
}

static void a_guest_sees_no_memory_that_is_still_to_come(void **state)
{
    static const struct {
        const uint8_t *code, *end;
    } rows[] = { { write_first, write_first_end },
                 { read_first, read_first_end },
                 { exit_first, exit_first_end } };

    (void)state;
    for (unsigned i = 0; i < COUNT_OF(rows); i++) {
        AUTO_STRBUF struct strbuf text = { 0 };
        struct vmm_linux files;
        struct guest g = late_guest(&files, rows[i].code, rows[i].end);
        char byte = 0;

        guest_run(&g, VMM_END_POWER_OFF);
        vmm_serial_take(g.m, &text);
        assert_string_equal(text.ptr, "rwnp0.");
        assert_int_equal(pread(files.kernel_fd, &byte, 1, 14 * MIB), 1);
        assert_int_equal(byte, 'x');
        late_done(&g, &files);
    }
}

static void a_kernel_that_is_cut_while_it_runs_ends_with_a_sentence(void **state)
{
    struct vmm_linux files;
    struct guest g = late_guest(&files, read_first, read_first_end);

    (void)state;
    assert_int_equal(ftruncate(files.kernel_fd, 9 * MIB), 0);
    guest_run(&g, VMM_END_FAULT);
    assert_string_equal(g.outcome.text, "the kernel ends in the middle");
    late_done(&g, &files);
}

/* ... nor is anything left of what was to come. */
static void a_machine_that_never_runs_waits_for_nothing(void **state)
{
    struct vmm_linux files;
    struct guest g = late_guest(&files, read_first, read_first_end);

    (void)state;
    vmm_stop(g.m);
    guest_run(&g, VMM_END_STOPPED);
    late_done(&g, &files);
    g = late_guest(&files, read_first, read_first_end);
    late_done(&g, &files);
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
        cmocka_unit_test(a_file_that_is_no_kernel_is_told),
        cmocka_unit_test(a_machine_that_cannot_be_made_leaves_its_kernel),
        cmocka_unit_test(a_guest_sees_no_memory_that_is_still_to_come),
        cmocka_unit_test(a_kernel_that_is_cut_while_it_runs_ends_with_a_sentence),
        cmocka_unit_test(a_machine_that_never_runs_waits_for_nothing),
        cmocka_unit_test(a_kernel_wants_interrupts),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}

#endif
