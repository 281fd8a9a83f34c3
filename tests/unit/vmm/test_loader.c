/* SPDX-License-Identifier: Apache-2.0 */
/* Kernels, initrds and the zero page: good ones, and images that lie in every field that is believed. */
#include "unit.h"
#include "vmm/arch/loader.h"

#include <elf.h>
#include <sys/mman.h>

#define MIB (UINT64_C(1) << 20)
#define RAM (4 * MIB)
#define LOAD (2 * MIB)
enum { IMAGE_MAX = 64 * 1024, TEXT_AT = 0x1000, TEXT_SIZE = 0x2000, BSS_SIZE = 0x5000 };

struct fixture {
    struct vmm_memory mem;
    uint8_t image[IMAGE_MAX];
    size_t size;
    int fd;
    bool is_final;
    struct loader_kernel k;
    struct err e;
};

static Elf64_Ehdr *elf(struct fixture *f)
{
    return (Elf64_Ehdr *)(void *)f->image;
}

static Elf64_Phdr *segment(struct fixture *f, unsigned n)
{
    return (Elf64_Phdr *)(void *)(f->image + sizeof(Elf64_Ehdr)) + n;
}

static void put(struct fixture *f, size_t at, uint64_t value, unsigned bytes)
{
    for (unsigned n = 0; n < bytes; n++)
        f->image[at + n] = (uint8_t)(value >> (8 * n));
}

/* Text at LOAD with an entry in its middle; data with a bss behind; a note that is not loaded. */
static void make_elf(struct fixture *f)
{
    *elf(f) = (Elf64_Ehdr){ .e_ident = { 0x7f, 'E', 'L', 'F', ELFCLASS64, ELFDATA2LSB, 1 },
                            .e_type = ET_EXEC,
                            .e_machine = EM_X86_64,
                            .e_version = 1,
                            .e_entry = LOAD + 0x10,
                            .e_phoff = sizeof(Elf64_Ehdr),
                            .e_phentsize = sizeof(Elf64_Phdr),
                            .e_phnum = 3 };
    *segment(f, 0) = (Elf64_Phdr){ .p_type = PT_LOAD,
                                   .p_offset = TEXT_AT,
                                   .p_vaddr = UINT64_C(0xffffffff81000000),
                                   .p_paddr = LOAD,
                                   .p_filesz = TEXT_SIZE,
                                   .p_memsz = TEXT_SIZE };
    *segment(f, 1) = (Elf64_Phdr){ .p_type = PT_LOAD,
                                   .p_offset = TEXT_AT + TEXT_SIZE,
                                   .p_paddr = LOAD + TEXT_SIZE,
                                   .p_filesz = 0x800,
                                   .p_memsz = BSS_SIZE };
    *segment(f, 2) = (Elf64_Phdr){ .p_type = PT_NOTE, .p_offset = UINT64_MAX, .p_filesz = 1 };
    memset(f->image + TEXT_AT, 0x11, TEXT_SIZE);
    memset(f->image + TEXT_AT + TEXT_SIZE, 0x22, 0x800);
    f->size = TEXT_AT + TEXT_SIZE + 0x800;
}

/* One sector of setup, its header up to 0x268, and code. */
static void make_bzimage(struct fixture *f)
{
    f->image[0x1f1] = 1;
    put(f, 0x1fe, 0xaa55, 2);
    put(f, 0x200, 0x66eb, 2);
    memcpy(f->image + 0x202, "HdrS", 4);
    put(f, 0x206, 0x20f, 2);
    f->image[0x211] = 1;
    put(f, 0x22c, 0x7fffffff, 4);
    put(f, 0x236, 0x7f, 2);
    put(f, 0x238, 2047, 4);
    put(f, 0x258, LOAD, 8);
    put(f, 0x260, MIB, 4);
    memset(f->image + 0x400, 0x33, 0x1000);
    f->size = 0x1400;
}

static struct fixture *fixture(void (*make)(struct fixture *))
{
    struct fixture *f = calloc(1, sizeof(*f));

    assert_int_equal(vmm_memory_add(&f->mem, 0, RAM, NULL), 0);
    f->fd = memfd_create("kernel", MFD_CLOEXEC);
    assert_true(f->fd >= 0);
    make(f);
    return f;
}

static int copy(struct copy_job *j, struct err *e)
{
    int r;

    copy_begin(j);
    r = copy_end(j, e);
    if (r == 0) {
        copy_release(j);
        r = copy_wait(j, e);
    }
    copy_drop(j);
    return r;
}

static int load_from(const struct loader_file *file, const struct vmm_memory *mem,
                     struct loader_kernel *out, struct err *e)
{
    struct copy_job job = { .next = 0 };
    struct loader loader = { mem, &job.copy };
    int r = loader_kernel(&loader, file, out, e);

    if (r == 0)
        return copy(&job, e);
    copy_drop(&job);
    return r;
}

static int load(struct fixture *f)
{
    assert_int_equal(ftruncate(f->fd, 0), 0);
    assert_int_equal(pwrite(f->fd, f->image, f->size, 0), (ssize_t)f->size);
    return load_from(&(struct loader_file){ f->fd, f->is_final }, &f->mem, &f->k, &f->e);
}

static void done(struct fixture *f)
{
    close(f->fd);
    vmm_memory_release(&f->mem);
    free(f);
}

static const uint8_t *at(struct fixture *f, uint64_t gpa)
{
    return vmm_memory_at(&f->mem, gpa, 1);
}

/* ---- good ones ------------------------------------------------------------------------------------------ */

static void an_elf_kernel_lies_where_its_segments_say(void **state)
{
    struct fixture *f = fixture(make_elf);

    (void)state;
    if (load(f) < 0)
        fail_msg("%s", f->e.text);
    assert_int_equal(f->k.entry, LOAD + 0x10);
    assert_int_equal(f->k.first, LOAD);
    assert_int_equal(f->k.end, LOAD + TEXT_SIZE + BSS_SIZE);
    assert_int_equal(*at(f, LOAD - 1), 0);
    assert_int_equal(*at(f, LOAD), 0x11);
    assert_int_equal(*at(f, LOAD + TEXT_SIZE - 1), 0x11);
    assert_int_equal(*at(f, LOAD + TEXT_SIZE), 0x22);
    assert_int_equal(*at(f, LOAD + TEXT_SIZE + 0x7ff), 0x22);
    assert_int_equal(*at(f, LOAD + TEXT_SIZE + 0x800), 0);
    done(f);
}

static void a_segment_may_lie_askew_in_its_file(void **state)
{
    struct fixture *f = fixture(make_elf);

    (void)state;
    segment(f, 0)->p_paddr = LOAD - 0x800;
    if (load(f) < 0)
        fail_msg("%s", f->e.text);
    assert_int_equal(*at(f, LOAD - 0x801), 0);
    assert_int_equal(*at(f, LOAD - 0x800), 0x11);
    assert_int_equal(*at(f, LOAD + TEXT_SIZE - 0x801), 0x11);
    assert_int_equal(*at(f, LOAD + TEXT_SIZE - 0x800), 0);
    done(f);
}

static void a_bzimage_lies_at_the_address_that_it_prefers(void **state)
{
    struct fixture *f = fixture(make_bzimage);

    (void)state;
    if (load(f) < 0)
        fail_msg("%s", f->e.text);
    assert_int_equal(f->k.entry, LOAD + 0x200);
    assert_int_equal(f->k.first, LOAD);
    assert_int_equal(f->k.end, LOAD + MIB);
    assert_int_equal(f->k.line_max, 2047);
    assert_int_equal(f->k.initrd_end, 0x80000000);
    assert_int_equal(*at(f, LOAD), 0x33);
    assert_int_equal(*at(f, LOAD + 0xfff), 0x33);
    assert_int_equal(*at(f, LOAD + 0x1000), 0);
    assert_memory_equal(f->k.header, f->image + 0x1f1, 0x202 + 0x66 - 0x1f1);
    assert_int_equal(f->k.header[0x202 + 0x66 - 0x1f1], 0); /* what follows is code, not header */
    done(f);
}

/* ---- liars -------------------------------------------------------------------------------------------------- */

#define ELF_LIE(NAME, STATEMENT)        \
    static void NAME(struct fixture *f) \
    {                                   \
        make_elf(f);                    \
        STATEMENT;                      \
    }
#define BZ_LIE(NAME, STATEMENT)         \
    static void NAME(struct fixture *f) \
    {                                   \
        make_bzimage(f);                \
        STATEMENT;                      \
    }
ELF_LIE(elf_32, elf(f)->e_ident[EI_CLASS] = ELFCLASS32)
ELF_LIE(elf_big_endian, elf(f)->e_ident[EI_DATA] = ELFDATA2MSB)
ELF_LIE(elf_arm, elf(f)->e_machine = EM_AARCH64)
ELF_LIE(elf_shared, elf(f)->e_type = ET_DYN)
ELF_LIE(elf_entry_size, elf(f)->e_phentsize = 8)
ELF_LIE(elf_no_segments, elf(f)->e_phnum = 0)
ELF_LIE(elf_many_segments, elf(f)->e_phnum = 0xffff)
ELF_LIE(elf_table_outside, elf(f)->e_phoff = f->size - 8)
ELF_LIE(elf_table_wraps, elf(f)->e_phoff = UINT64_MAX - 8)
ELF_LIE(elf_offset_outside, segment(f, 0)->p_offset = f->size + 1)
ELF_LIE(elf_offset_wraps, segment(f, 0)->p_offset = UINT64_MAX - 0x1000)
ELF_LIE(elf_longer_than_file, segment(f, 1)->p_memsz = ++segment(f, 1)->p_filesz)
ELF_LIE(elf_longer_than_memory, segment(f, 0)->p_memsz = TEXT_SIZE - 1)
ELF_LIE(elf_at_zero, segment(f, 0)->p_paddr = 0)
ELF_LIE(elf_on_the_tables, segment(f, 0)->p_paddr = MIB - 0x1000)
ELF_LIE(elf_memory_wraps, segment(f, 1)->p_memsz = UINT64_MAX - MIB)
ELF_LIE(elf_beyond_memory, segment(f, 1)->p_paddr = RAM - 0x1000)
ELF_LIE(elf_in_the_hole, segment(f, 1)->p_paddr = UINT64_C(0xd0000000))
ELF_LIE(elf_too_big, segment(f, 1)->p_memsz = RAM)
ELF_LIE(elf_overlap, segment(f, 1)->p_paddr = LOAD + TEXT_SIZE - 1)
ELF_LIE(elf_overlap_before, segment(f, 1)->p_paddr = LOAD - 1)
ELF_LIE(elf_entry_outside, elf(f)->e_entry = LOAD - 1)
ELF_LIE(elf_entry_in_bss, elf(f)->e_entry = LOAD + TEXT_SIZE + 0x800)
ELF_LIE(elf_entry_virtual, elf(f)->e_entry = UINT64_C(0xffffffff81000010))
BZ_LIE(bz_old, put(f, 0x206, 0x20b, 2))
BZ_LIE(bz_32, put(f, 0x236, 0x7e, 2))
BZ_LIE(bz_low, f->image[0x211] = 0)
BZ_LIE(bz_setup_beyond_file, f->image[0x1f1] = 0xff)
BZ_LIE(bz_setup_of_old, f->image[0x1f1] = 0; f->size = 5 * 512 + 0x200)
BZ_LIE(bz_on_the_tables, put(f, 0x258, 0x7000, 8))
BZ_LIE(bz_beyond_memory, put(f, 0x258, RAM, 8))
BZ_LIE(bz_address_wraps, put(f, 0x258, UINT64_MAX - 0x1000, 8))
BZ_LIE(bz_too_big, put(f, 0x260, 0xffffffff, 4))
BZ_LIE(bz_magic, f->image[0x203] = 'D')
BZ_LIE(bz_cut, f->size = 0x28f)

static const struct {
    const char *name;
    void (*make)(struct fixture *);
    int result;
    const char *sentence;
} lies[] = {
    { "32 bits", elf_32, -EINVAL, "no kernel for x86-64" },
    { "big endian", elf_big_endian, -EINVAL, "no kernel for x86-64" },
    { "arm64", elf_arm, -EINVAL, "no kernel for x86-64" },
    { "shared", elf_shared, -EINVAL, "no kernel for x86-64" },
    { "size of an entry", elf_entry_size, -EINVAL, "wrong table of segments" },
    { "no segments", elf_no_segments, -EINVAL, "wrong table of segments" },
    { "many segments", elf_many_segments, -EINVAL, "wrong table of segments" },
    { "table outside", elf_table_outside, -EINVAL, "wrong table of segments" },
    { "table wraps", elf_table_wraps, -EINVAL, "wrong table of segments" },
    { "offset outside", elf_offset_outside, -EINVAL, "longer than its file" },
    { "offset wraps", elf_offset_wraps, -EINVAL, "longer than its file" },
    { "longer than the file", elf_longer_than_file, -EINVAL, "longer than its file" },
    { "longer than its memory", elf_longer_than_memory, -EINVAL, "longer than its file" },
    { "at 0", elf_at_zero, -EINVAL, "wants to lie at 0x0" },
    { "on the tables", elf_on_the_tables, -EINVAL, "wants to lie at 0xff000" },
    { "memory wraps", elf_memory_wraps, -EINVAL, "wants to lie at 0x202000" },
    { "beyond memory", elf_beyond_memory, -ENOSPC, "the machine has 4 MiB" },
    { "in the hole", elf_in_the_hole, -ENOSPC, "wants 1 MiB of memory at 3328 MiB" },
    { "too big", elf_too_big, -ENOSPC, "wants 5 MiB of memory at 2 MiB, the machine has 4" },
    { "overlap", elf_overlap, -EINVAL, "overlap at 0x201fff" },
    { "overlap from before", elf_overlap_before, -EINVAL, "overlap at 0x1fffff" },
    { "entry outside", elf_entry_outside, -EINVAL, "begins at 0x1fffff, where it has nothing" },
    { "entry in the bss", elf_entry_in_bss, -EINVAL, "begins at 0x202800" },
    { "virtual entry", elf_entry_virtual, -EINVAL, "where it has nothing" },
    { "old protocol", bz_old, -EINVAL, "no 64-bit entry" },
    { "32-bit", bz_32, -EINVAL, "no 64-bit entry" },
    { "loaded low", bz_low, -EINVAL, "no 64-bit entry" },
    { "setup beyond the file", bz_setup_beyond_file, -EINVAL, "setup header is wrong" },
    { "five sectors", bz_setup_of_old, -EINVAL, "setup header is wrong" },
    { "bzImage on the tables", bz_on_the_tables, -EINVAL, "setup header is wrong" },
    { "bzImage beyond memory", bz_beyond_memory, -ENOSPC, "the machine has 4 MiB" },
    { "address wraps", bz_address_wraps, -ENOSPC, "the machine has 4 MiB" },
    { "bzImage too big", bz_too_big, -ENOSPC, "wants 4096 MiB of memory at 2 MiB" },
    { "no magic", bz_magic, -EINVAL, "neither a bzImage nor an ELF file" },
    { "cut in the header", bz_cut, -EINVAL, "neither a bzImage nor an ELF file" },
};

static void a_kernel_that_lies_is_refused_with_a_sentence(void **state)
{
    (void)state;
    for (size_t i = 0; i < COUNT_OF(lies); i++) {
        struct fixture *f = fixture(lies[i].make);
        int r = load(f);

        if (r != lies[i].result || !strstr(f->e.text, lies[i].sentence))
            fail_msg("%s: %d, '%s'", lies[i].name, r, f->e.text);
        assert_int_equal(f->k.entry, 0);
        done(f);
    }
}

static void a_kernel_is_a_regular_file(void **state)
{
    struct fixture *f = fixture(make_elf);
    int pipe_fds[2];

    (void)state;
    assert_int_equal(pipe(pipe_fds), 0);
    assert_int_equal(load_from(&(struct loader_file){ pipe_fds[0], true }, &f->mem, &f->k, &f->e),
                     -EINVAL);
    assert_string_equal(f->e.text, "the kernel is no regular file");
    close(pipe_fds[0]);
    close(pipe_fds[1]);
    assert_int_equal(load_from(&(struct loader_file){ -1, true }, &f->mem, &f->k, &f->e), -EBADF);
    done(f);
}

/* A segment in memory above the hole would be out of reach of the first page tables. */
/* ---- pages of the file ---------------------------------------------------------------------------------- */

#define BIG_RAM (16 * MIB)
#define BIG_SIZE (6 * MIB + 0x1234)
enum { CODE_SIZE = 0x1000 };

struct big {
    Elf64_Ehdr head;
    Elf64_Phdr segment;
    Elf64_Shdr sections[3];
};

/* Code, and 2 MiB behind its begin 4 MiB and some bytes of constants. */
static struct big big_kernel(void)
{
    return (struct big){
        .head = { .e_ident = { 0x7f, 'E', 'L', 'F', ELFCLASS64, ELFDATA2LSB, 1 },
                  .e_type = ET_EXEC,
                  .e_machine = EM_X86_64,
                  .e_entry = LOAD,
                  .e_phoff = offsetof(struct big, segment),
                  .e_phentsize = sizeof(Elf64_Phdr),
                  .e_phnum = 1,
                  .e_shoff = offsetof(struct big, sections),
                  .e_shentsize = sizeof(Elf64_Shdr),
                  .e_shnum = 3 },
        .segment = { .p_type = PT_LOAD,
                     .p_flags = PF_R | PF_X,
                     .p_offset = LOAD,
                     .p_paddr = LOAD,
                     .p_filesz = BIG_SIZE,
                     .p_memsz = BIG_SIZE },
        .sections = { { .sh_type = SHT_NULL },
                      { .sh_type = SHT_PROGBITS,
                        .sh_flags = SHF_EXECINSTR,
                        .sh_offset = LOAD,
                        .sh_size = CODE_SIZE },
                      { .sh_type = SHT_PROGBITS,
                        .sh_offset = LOAD + CODE_SIZE,
                        .sh_size = BIG_SIZE - CODE_SIZE } },
    };
}

/* A byte of the file changes after the kernel was loaded: how many bytes of memory do? */
static unsigned shared_pages(const struct big *b, bool is_final)
{
    struct loader_file file = { memfd_create("kernel", MFD_CLOEXEC), is_final };
    struct vmm_memory mem = { .n = 0 };
    struct loader_kernel k;
    struct err e = { 0 };
    unsigned shared = 0;

    assert_int_equal(vmm_memory_add(&mem, 0, BIG_RAM, NULL), 0);
    assert_int_equal(ftruncate(file.fd, LOAD + BIG_SIZE + 4096), 0);
    assert_int_equal(pwrite(file.fd, b, sizeof(*b), 0), sizeof(*b));
    for (uint64_t at = 0; at < BIG_SIZE; at += 4096)
        assert_int_equal(pwrite(file.fd, "x", 1, (off_t)(LOAD + at)), 1);
    assert_int_equal(pwrite(file.fd, "behind", 6, LOAD + BIG_SIZE), 6);
    assert_int_equal(load_from(&file, &mem, &k, &e), 0);
    for (uint64_t at = 0; at < BIG_SIZE; at += 4096) {
        const uint8_t *byte = vmm_memory_at(&mem, b->segment.p_paddr + at, 1);

        assert_int_equal(*byte, 'x');
        assert_int_equal(pwrite(file.fd, "y", 1, (off_t)(LOAD + at)), 1);
        shared += *byte == 'y';
    }
    assert_int_equal(*(const uint8_t *)vmm_memory_at(&mem, b->segment.p_paddr + BIG_SIZE, 1), 0);
    vmm_memory_release(&mem);
    close(file.fd);
    return shared;
}

static void constants_are_the_files_pages_where_nobody_writes_to_it(void **state)
{
    struct big b = big_kernel();

    (void)state;
    assert_int_equal(shared_pages(&b, false), 0);
    assert_int_equal(shared_pages(&b, true), (4 * MIB + 0x1000) / 4096);
    b.segment.p_flags |= PF_W;
    assert_int_equal(shared_pages(&b, true), 0);
    b = big_kernel();
    b.head.e_entry = b.segment.p_paddr +=
        4096; /* no huge page of the file would be one of the memory */
    assert_int_equal(shared_pages(&b, true), 0);
}

static void sections_may_lie(void **state)
{
    static const uint64_t numbers[] = { 0, 1, BIG_SIZE, LOAD, LOAD + BIG_SIZE, UINT64_MAX };
    struct big b = big_kernel();

    (void)state;
    b.head.e_shoff = UINT64_MAX - 64;
    assert_int_equal(shared_pages(&b, true), 0);
    b = big_kernel();
    b.head.e_shnum = UINT16_MAX;
    assert_int_equal(shared_pages(&b, true), 0);
    b = big_kernel();
    b.head.e_shentsize = 1;
    assert_int_equal(shared_pages(&b, true), 0);
    for (unsigned i = 0; i < COUNT_OF(numbers); i++) {
        b = big_kernel();
        b.sections[1].sh_size = numbers[i];
        assert_true(shared_pages(&b, true) <= BIG_SIZE / 4096);
        b = big_kernel();
        b.sections[1].sh_offset = numbers[i];
        assert_true(shared_pages(&b, true) <= BIG_SIZE / 4096);
    }
}

/* ---- what comes later ------------------------------------------------------------------------------- */

/* How a kernel is divided, before anything is copied; freed by copy_drop. */
static struct copy_job plan(const struct big *b, bool is_final, uint64_t initrd_size,
                            struct vmm_memory *mem)
{
    struct loader_file file = { memfd_create("kernel", MFD_CLOEXEC), is_final };
    int initrd_fd = memfd_create("initrd", MFD_CLOEXEC);
    struct copy_job job = { .next = 0 };
    struct loader loader = { mem, &job.copy };
    struct loader_range initrd;
    struct loader_kernel k;
    struct err e = { 0 };

    assert_int_equal(vmm_memory_add(mem, 0, BIG_RAM, NULL), 0);
    assert_int_equal(ftruncate(file.fd, LOAD + BIG_SIZE), 0);
    assert_int_equal(pwrite(file.fd, b, sizeof(*b), 0), sizeof(*b));
    assert_int_equal(ftruncate(initrd_fd, (off_t)initrd_size), 0);
    assert_int_equal(loader_kernel(&loader, &file, &k, &e), 0);
    if (initrd_size > 0)
        assert_int_equal(loader_initrd(&loader, initrd_fd, &k, &initrd, &e), 0);
    close(file.fd);
    close(initrd_fd);
    return job;
}

static void check_later(const struct vmm_memory *mem, const struct vmm_memory_later *l,
                        uint64_t gpa, uint64_t size)
{
    assert_ptr_equal(l->to, vmm_memory_at(mem, gpa, size));
    assert_int_equal(l->size, size);
}

static uint64_t later_bytes(const struct copy *c)
{
    uint64_t bytes = 0;

    for (unsigned i = 0; i < c->n; i++)
        bytes += c->parts[i].is_later ? c->parts[i].len : 0;
    return bytes;
}

static void code_and_initrd_come_later(void **state)
{
    struct big b = big_kernel();
    struct vmm_memory mem = { .n = 0 };
    struct copy_job job = plan(&b, true, MIB + 1, &mem);

    (void)state;
    assert_int_equal(job.copy.n_later, 2);
    check_later(&mem, &job.copy.later[0], LOAD, 2 * MIB);
    check_later(&mem, &job.copy.later[1], BIG_RAM - 2 * MIB, 2 * MIB);
    assert_int_equal(later_bytes(&job.copy), 2 * MIB + MIB + 1);
    copy_drop(&job);
    vmm_memory_release(&mem);
}

/* Its last huge page is the kernel's, too: what the initrd's first page has before it stays as it is. */
static void an_initrd_that_touches_the_kernel_takes_nothing_of_it(void **state)
{
    struct big b = big_kernel();
    struct vmm_memory mem = { .n = 0 };
    struct copy_job job = plan(&b, true, BIG_RAM - LOAD - BIG_SIZE - 0x5000, &mem);

    (void)state;
    assert_int_equal(job.copy.n_later, 2);
    check_later(&mem, &job.copy.later[1], LOAD + BIG_SIZE - 0x234 + 0x5000,
                BIG_RAM - LOAD - BIG_SIZE + 0x234 - 0x5000);
    copy_drop(&job);
    vmm_memory_release(&mem);
}

/* Data, tables from the middle of the first huge page to that of the third, and data again. */
static void tables_among_data_come_later(void **state)
{
    const uint64_t first = LOAD + MIB, end = LOAD + 5 * MIB;
    static const struct {
        unsigned section; /* whose flags are these */
        uint64_t flags;
        uint64_t later;
    } rows[] = { { 1, SHF_ALLOC, 2 * MIB },
                 { 1, SHF_ALLOC | SHF_WRITE, 0 },
                 { 2, SHF_ALLOC, 4 * MIB } };

    (void)state;
    for (unsigned i = 0; i < COUNT_OF(rows); i++) {
        struct vmm_memory mem = { .n = 0 };
        struct big b = big_kernel();
        struct copy_job job;

        b.segment.p_flags |= PF_W;
        b.sections[0] = (Elf64_Shdr){ .sh_type = SHT_PROGBITS,
                                      .sh_flags = SHF_ALLOC | SHF_WRITE,
                                      .sh_offset = LOAD,
                                      .sh_size = MIB };
        b.sections[1] = b.sections[2] = b.sections[0];
        b.sections[1].sh_offset = first;
        b.sections[1].sh_size = end - first;
        b.sections[2].sh_offset = end;
        b.sections[2].sh_size = LOAD + BIG_SIZE - end;
        b.sections[rows[i].section].sh_flags = rows[i].flags;
        if (rows[i].section == 2)
            b.sections[1].sh_flags = SHF_ALLOC;
        job = plan(&b, true, 0, &mem);
        assert_int_equal(later_bytes(&job.copy), rows[i].later);
        if (rows[i].later > 0)
            check_later(&mem, &job.copy.later[0], LOAD + 2 * MIB, rows[i].later);
        copy_drop(&job);
        vmm_memory_release(&mem);
    }
}

/* It could change between what is executed and what arrives. */
static void nothing_comes_later_of_a_file_that_others_write_to(void **state)
{
    struct big b = big_kernel();

    (void)state;
    for (int written = 0; written < 2; written++) {
        struct vmm_memory mem = { .n = 0 };
        struct copy_job job;

        b.segment.p_flags |= written ? PF_W : 0;
        job = plan(&b, false, MIB, &mem);
        assert_int_equal(job.copy.n_later, 0);
        copy_drop(&job);
        vmm_memory_release(&mem);
    }
}

static void a_kernel_lies_below_the_hole(void **state)
{
    struct fixture *f = fixture(make_elf);

    (void)state;
    assert_int_equal(vmm_memory_add(&f->mem, UINT64_C(1) << 32, RAM, NULL), 0);
    segment(f, 1)->p_paddr = UINT64_C(1) << 32;
    assert_int_equal(load(f), -ENOSPC);
    done(f);
}

/* ---- what it is told ------------------------------------------------------------------------------------------ */

static int load_initrd(struct fixture *f, size_t size, uint64_t kernel_end, uint64_t initrd_end,
                       struct loader_range *out)
{
    int fd = memfd_create("initrd", MFD_CLOEXEC), r;
    struct copy_job job = { .next = 0 };
    struct loader loader = { &f->mem, &job.copy };

    assert_int_equal(ftruncate(fd, (off_t)size), 0);
    if (size > 0)
        assert_int_equal(pwrite(fd, "\x44", 1, (off_t)size - 1), 1);
    f->k.end = kernel_end;
    f->k.initrd_end = initrd_end;
    r = loader_initrd(&loader, fd, &f->k, out, &f->e);
    r = r < 0 ? r : copy(&job, &f->e);
    close(fd);
    return r;
}

static void an_initrd_lies_at_the_end_of_memory(void **state)
{
    struct fixture *f = fixture(make_elf);
    struct loader_range range = { 0, 0 };

    (void)state;
    assert_int_equal(load_initrd(f, 0x1801, 3 * MIB, 0x80000000, &range), 0);
    assert_int_equal(range.first, RAM - 0x2000);
    assert_int_equal(range.size, 0x1801);
    assert_int_equal(*at(f, range.first + 0x1800), 0x44);
    assert_int_equal(load_initrd(f, MIB, RAM - MIB, 0x80000000, &range), 0);
    assert_int_equal(range.first, RAM - MIB);
    assert_int_equal(load_initrd(f, 0x1000, 2 * MIB, 3 * MIB, &range), 0);
    assert_int_equal(range.first, 3 * MIB - 0x1000);
    assert_int_equal(load_initrd(f, MIB + 1, RAM - MIB, 0x80000000, &range), -ENOSPC);
    assert_non_null(strstr(f->e.text, "an initrd of 2 MiB does not fit behind the kernel"));
    assert_int_equal(load_initrd(f, 16 * MIB, 2 * MIB, 0x80000000, &range), -ENOSPC);
    assert_int_equal(load_initrd(f, 1, 3 * MIB, 2 * MIB, &range), -ENOSPC);
    assert_int_equal(load_initrd(f, 0, 3 * MIB, 0x80000000, &range), -EINVAL);
    assert_string_equal(f->e.text, "the initrd is empty");
    done(f);
}

static uint64_t word(struct fixture *f, uint64_t gpa, size_t bytes)
{
    uint64_t value = 0;

    assert_int_equal(vmm_memory_read(&f->mem, gpa, &value, bytes), 0);
    return value;
}

static void check_e820(struct fixture *f, unsigned n, uint64_t first, uint64_t size, uint32_t type)
{
    uint64_t entry = LOADER_ZERO_PAGE + 0x2d0 + 20 * (uint64_t)n;

    assert_int_equal(word(f, entry, 8), first);
    assert_int_equal(word(f, entry + 8, 8), size);
    assert_int_equal(word(f, entry + 16, 4), type);
}

static void the_zero_page_tells_all_there_is(void **state)
{
    struct fixture *f = fixture(make_bzimage);
    struct loader_words words = { "console=ttyS0", { 0x3fe000, 0x1801 }, { 0x55, 0x66 } };

    (void)state;
    assert_int_equal(vmm_memory_add(&f->mem, UINT64_C(1) << 32, 2 * MIB, NULL), 0);
    put(f, 0x228, 0xdeadbeef,
        4); /* what the image says of the command line and of data is not kept */
    put(f, 0x250, 0xdeadbeef, 8);
    assert_int_equal(load(f), 0);
    assert_int_equal(loader_zero_page(&f->mem, &f->k, &words, &f->e), 0);
    assert_int_equal(word(f, LOADER_ZERO_PAGE + 0x070, 8), LOADER_ACPI);
    assert_int_equal(word(f, LOADER_ZERO_PAGE + 0x1ef, 1), 0); /* the sentinel */
    assert_int_equal(word(f, LOADER_ZERO_PAGE + 0x202, 4), 0x53726448);
    assert_int_equal(word(f, LOADER_ZERO_PAGE + 0x206, 2), 0x20f);
    assert_int_equal(word(f, LOADER_ZERO_PAGE + 0x210, 1), 0xff);
    assert_int_equal(word(f, LOADER_ZERO_PAGE + 0x218, 4), 0x3fe000);
    assert_int_equal(word(f, LOADER_ZERO_PAGE + 0x21c, 4), 0x1801);
    assert_int_equal(word(f, LOADER_ZERO_PAGE + 0x228, 4), LOADER_LINE);
    assert_string_equal((const char *)at(f, LOADER_LINE), "console=ttyS0");
    assert_int_equal(word(f, LOADER_ZERO_PAGE + 0x250, 8), LOADER_SEED);
    assert_int_equal(word(f, LOADER_SEED, 8), 0);
    assert_int_equal(word(f, LOADER_SEED + 8, 4), 9);
    assert_int_equal(word(f, LOADER_SEED + 12, 4), LOADER_SEED_SIZE);
    assert_int_equal(word(f, LOADER_SEED + 16, 2), 0x6655);
    assert_int_equal(word(f, LOADER_ZERO_PAGE + 0x1e8, 1), 4);
    check_e820(f, 0, 0, 0x9fc00, 1);
    check_e820(f, 1, 0x9fc00, 0x60400, 2);
    check_e820(f, 2, MIB, RAM - MIB, 1);
    check_e820(f, 3, UINT64_C(1) << 32, 2 * MIB, 1);
    done(f);
}

static void a_command_line_is_as_long_as_the_kernel_says(void **state)
{
    struct fixture *f = fixture(make_bzimage);
    char line[LOADER_LINE_MAX + 1] = { 0 };
    struct loader_words words = { .command_line = line };

    (void)state;
    assert_int_equal(load(f), 0);
    memset(line, 'x', 2047);
    assert_int_equal(loader_zero_page(&f->mem, &f->k, &words, &f->e), 0);
    line[2047] = 'x';
    assert_int_equal(loader_zero_page(&f->mem, &f->k, &words, &f->e), -EINVAL);
    assert_string_equal(f->e.text, "a command line of 2048 bytes is longer than the kernel's 2047");
    f->k.line_max = UINT32_MAX; /* a hostile header's; the page of it is ours */
    memset(line, 'x', LOADER_LINE_MAX);
    assert_int_equal(loader_zero_page(&f->mem, &f->k, &words, &f->e), -EINVAL);
    line[LOADER_LINE_MAX - 1] = '\0';
    assert_int_equal(loader_zero_page(&f->mem, &f->k, &words, &f->e), 0);
    done(f);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(an_elf_kernel_lies_where_its_segments_say),
        cmocka_unit_test(a_segment_may_lie_askew_in_its_file),
        cmocka_unit_test(a_bzimage_lies_at_the_address_that_it_prefers),
        cmocka_unit_test(a_kernel_that_lies_is_refused_with_a_sentence),
        cmocka_unit_test(a_kernel_is_a_regular_file),
        cmocka_unit_test(constants_are_the_files_pages_where_nobody_writes_to_it),
        cmocka_unit_test(sections_may_lie),
        cmocka_unit_test(code_and_initrd_come_later),
        cmocka_unit_test(an_initrd_that_touches_the_kernel_takes_nothing_of_it),
        cmocka_unit_test(tables_among_data_come_later),
        cmocka_unit_test(nothing_comes_later_of_a_file_that_others_write_to),
        cmocka_unit_test(a_kernel_lies_below_the_hole),
        cmocka_unit_test(an_initrd_lies_at_the_end_of_memory),
        cmocka_unit_test(the_zero_page_tells_all_there_is),
        cmocka_unit_test(a_command_line_is_as_long_as_the_kernel_says),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
