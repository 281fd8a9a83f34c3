/* SPDX-License-Identifier: Apache-2.0 */
/* Kernels and initrds from files into guest memory. */
#include "vmm/arch/loader.h"

#include "vmm/arch/copy.h"

#include <elf.h>
#include <errno.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

/* What is below belongs to the tables that the monitor makes. */
#define KERNEL_MIN UINT64_C(0x100000)

enum { HEADS_SIZE = 4096, SEGMENTS_MAX = COPY_PARTS_MAX / 2, SECTIONS_MAX = 64 };
#define HUGE_PAGE (UINT64_C(2) << 20)
enum { ELF_LINE_MAX = 2047 }; /* COMMAND_LINE_SIZE - 1 of x86, which an ELF file does not tell */
#define ELF_INITRD_END UINT64_C(0x80000000) /* as the setup header of a bzImage says */

struct image {
    int fd;
    bool is_final;
    uint64_t size;
    const struct vmm_memory *mem;
};

static int open_image(struct image *i, const char *what, struct err *e)
{
    struct stat st;

    if (fstat(i->fd, &st) < 0)
        return err_set(e, errno, "cannot look at the %s", what);
    if (!S_ISREG(st.st_mode))
        return err_set(e, 0, "the %s is no regular file", what);
    i->size = (uint64_t)st.st_size;
    return 0;
}

/* All of it, or a sentence: the file may have become shorter since it was looked at. */
static int read_at(const struct image *i, uint64_t offset, void *data, uint64_t len,
                   const char *what, struct err *e)
{
    uint8_t *to = data;

    while (len > 0) {
        ssize_t n = pread(i->fd, to, len, (off_t)offset);

        if (n < 0 && errno == EINTR)
            continue;
        if (n < 0)
            return err_set(e, errno, "cannot read the %s", what);
        if (n == 0)
            return err_set(e, 0, "the %s ends in the middle", what);
        to += n;
        offset += (uint64_t)n;
        len -= (uint64_t)n;
    }
    return 0;
}

/* From the offset to the end. */
static int copy_all(const struct image *i, uint64_t offset, uint8_t *to, const char *what,
                    struct err *e)
{
    const struct copy c = {
        .fd = i->fd, .size = i->size, .parts = { { offset, i->size - offset, to } }, .n = 1
    };

    return copy_run(&c, what, e);
}

static uint64_t low_end(const struct vmm_memory *mem)
{
    return mem->n > 0 ? mem->regions[0].gpa + mem->regions[0].size : 0;
}

/* Only below the hole, for there the first page tables and the initrd's 32-bit address reach. */
static uint8_t *room_for(const struct vmm_memory *mem, uint64_t first, uint64_t size)
{
    return first < low_end(mem) ? vmm_memory_at(mem, first, size) : NULL;
}

static unsigned long long mib(uint64_t bytes)
{
    return bytes >> 20;
}

/* -ENOSPC is for the caller, who knows how memory is asked for; the sentence says all without it. */
static int too_big(const struct vmm_memory *mem, uint64_t first, uint64_t size, struct err *e)
{
    err_set(e, 0, "the kernel wants %llu MiB of memory at %llu MiB, the machine has %llu MiB",
            mib(size) + 1, mib(first), mib(low_end(mem)));
    return -ENOSPC;
}

/* ---- ELF -------------------------------------------------------------------------------------------- */

static int check_elf(const struct image *i, const Elf64_Ehdr *h, struct err *e)
{
    if (h->e_ident[EI_CLASS] != ELFCLASS64 || h->e_ident[EI_DATA] != ELFDATA2LSB ||
        h->e_machine != EM_X86_64 || h->e_type != ET_EXEC)
        return err_set(e, 0, "the kernel is an ELF file, but no kernel for x86-64");
    if (h->e_phentsize != sizeof(Elf64_Phdr) || h->e_phnum == 0 || h->e_phnum > SEGMENTS_MAX ||
        h->e_phoff > i->size || h->e_phnum * sizeof(Elf64_Phdr) > i->size - h->e_phoff)
        return err_set(e, 0, "the kernel's ELF header has a wrong table of segments");
    return 0;
}

/* Within the file, within memory, and behind what the monitor has made. */
static int check_segment(const struct image *i, const Elf64_Phdr *p, struct err *e)
{
    if (p->p_offset > i->size || p->p_filesz > i->size - p->p_offset || p->p_filesz > p->p_memsz)
        return err_set(e, 0, "a segment of the kernel is longer than its file");
    if (p->p_paddr < KERNEL_MIN || p->p_memsz > UINT64_MAX - p->p_paddr)
        return err_set(e, 0, "a segment of the kernel wants to lie at 0x%llx",
                       (unsigned long long)p->p_paddr);
    if (!room_for(i->mem, p->p_paddr, p->p_memsz))
        return too_big(i->mem, p->p_paddr, p->p_memsz, e);
    return 0;
}

static bool overlap(const Elf64_Phdr *a, const Elf64_Phdr *b)
{
    return a->p_paddr < b->p_paddr + b->p_memsz && b->p_paddr < a->p_paddr + a->p_memsz;
}

static bool is_loaded(const Elf64_Phdr *p)
{
    return p->p_type == PT_LOAD && p->p_memsz > 0;
}

/* The end of a file's last byte that is executed, among those of the segment; 0: no sections tell it. */
static uint64_t code_end(const struct image *i, const Elf64_Ehdr *h, const Elf64_Phdr *p)
{
    Elf64_Shdr table[SECTIONS_MAX];
    uint64_t end = 0;

    if (h->e_shentsize != sizeof(*table) || h->e_shnum > SECTIONS_MAX || h->e_shoff > i->size ||
        h->e_shnum * sizeof(*table) > i->size - h->e_shoff ||
        read_at(i, h->e_shoff, table, h->e_shnum * sizeof(*table), "kernel", NULL) < 0)
        return 0;
    for (unsigned n = 0; n < h->e_shnum; n++) {
        const Elf64_Shdr *s = &table[n];

        if (s->sh_flags & SHF_EXECINSTR && s->sh_type != SHT_NOBITS &&
            s->sh_offset >= p->p_offset && s->sh_offset - p->p_offset < p->p_filesz &&
            s->sh_size <= p->p_filesz && s->sh_offset + s->sh_size > end)
            end = s->sh_offset + s->sh_size;
    }
    return end;
}

/*
 * What a kernel only reads, 8 to 10 MiB, need not be copied: it stands behind the code of the segment that is not
 * writable. Its pages are the file's, which all machines share. Code itself is patched by a kernel, all over,
 * while it boots: mapped too, the guest took 18,886 page faults, copied to huge pages 49.
 */
static void share_constants(const struct image *i, const Elf64_Ehdr *h, const Elf64_Phdr *p,
                            struct copy *c)
{
    struct copy_part *whole = &c->parts[c->n - 1];
    uint64_t code = code_end(i, h, p), first = (code + HUGE_PAGE - 1) & ~(HUGE_PAGE - 1);
    uint64_t end = (p->p_offset + p->p_filesz) & ~(uint64_t)(VMM_PAGE_SIZE - 1), at, len;

    if (!i->is_final || p->p_flags & PF_W || code == 0 || first > end || end - first < HUGE_PAGE ||
        (p->p_paddr - p->p_offset) % HUGE_PAGE || c->n == COPY_PARTS_MAX)
        return;
    at = first - p->p_offset;
    len = end - first;
    if (vmm_memory_back(i->mem, p->p_paddr + at, len, i->fd, first) < 0)
        return;
    c->parts[c->n++] = (struct copy_part){ end, p->p_offset + p->p_filesz - end,
                                           whole->to + at + len };
    whole->len = at;
}

/*
 * The memory is new, so what a segment has beyond its file is 0: if no other lies there.
 */
static int plan_segment(const struct image *i, const Elf64_Phdr *table, unsigned n,
                        struct loader_kernel *k, struct copy *c, struct err *e)
{
    const Elf64_Phdr *p = &table[n];
    int r = check_segment(i, p, e);

    if (r < 0)
        return r;
    for (unsigned j = 0; j < n; j++) {
        if (is_loaded(&table[j]) && overlap(&table[j], p))
            return err_set(e, 0, "segments of the kernel overlap at 0x%llx",
                           (unsigned long long)p->p_paddr);
    }
    k->first = p->p_paddr < k->first ? p->p_paddr : k->first;
    k->end = p->p_paddr + p->p_memsz > k->end ? p->p_paddr + p->p_memsz : k->end;
    c->parts[c->n++] = (struct copy_part){ p->p_offset, p->p_filesz,
                                           room_for(i->mem, p->p_paddr, p->p_memsz) };
    return 0;
}

/* Only what stands in the file can be executed. */
static bool has_entry(const Elf64_Phdr *p, uint64_t entry)
{
    return is_loaded(p) && entry >= p->p_paddr && entry - p->p_paddr < p->p_filesz;
}

/* What boot.rst wants from a boot loader, for a kernel that brings no header. */
static void make_header(struct loader_kernel *k)
{
    static const uint8_t magic[] = { 'H', 'd', 'r', 'S', 0x0f, 0x02 }; /* protocol 2.15 */

    k->header[0x1fe - LOADER_HEADER_FIRST] = 0x55;
    k->header[0x1ff - LOADER_HEADER_FIRST] = 0xaa;
    memcpy(&k->header[0x202 - LOADER_HEADER_FIRST], magic, sizeof(magic));
    k->header[0x211 - LOADER_HEADER_FIRST] = 1; /* loaded high */
}

static int load_elf(const struct image *i, const uint8_t *head, struct loader_kernel *k,
                    struct err *e)
{
    struct copy copy = { .fd = i->fd, .size = i->size };
    Elf64_Phdr table[SEGMENTS_MAX];
    bool found = false;
    Elf64_Ehdr h;
    int r;

    memcpy(&h, head, sizeof(h));
    r = check_elf(i, &h, e);
    r = r < 0 ? r : read_at(i, h.e_phoff, table, h.e_phnum * sizeof(*table), "kernel", e);
    k->first = UINT64_MAX;
    for (unsigned n = 0; n < h.e_phnum && r == 0; n++) {
        if (!is_loaded(&table[n]))
            continue;
        r = plan_segment(i, table, n, k, &copy, e);
        if (r == 0)
            share_constants(i, &h, &table[n], &copy);
        found = found || has_entry(&table[n], h.e_entry);
    }
    if (r < 0)
        return r;
    if (!found)
        return err_set(e, 0, "the kernel begins at 0x%llx, where it has nothing",
                       (unsigned long long)h.e_entry);
    k->entry = h.e_entry;
    k->line_max = ELF_LINE_MAX;
    k->initrd_end = ELF_INITRD_END;
    make_header(k);
    return copy_run(&copy, "kernel", e);
}

/* ---- bzImage ------------------------------------------------------------------------------------------ */

/* Offsets in the file and in the zero page alike; bytes of the header are little endian. */
enum {
    SETUP_SECTS = 0x1f1,
    JUMP_LENGTH = 0x201,
    MAGIC = 0x202,
    VERSION = 0x206,
    LOADFLAGS = 0x211,
    INITRD_ADDR_MAX = 0x22c,
    XLOADFLAGS = 0x236,
    CMDLINE_SIZE = 0x238,
    PREF_ADDRESS = 0x258,
    INIT_SIZE = 0x260,
};
enum { SECTOR = 512, ENTRY_64 = 0x200, OLDEST_VERSION = 0x20c, XLF_KERNEL_64 = 1, LOADED_HIGH = 1 };

static uint64_t field(const uint8_t *head, unsigned at, unsigned bytes)
{
    uint64_t value = 0;

    for (unsigned n = bytes; n-- > 0;)
        value = value << 8 | head[at + n];
    return value;
}

/* The header says itself how long it is: up to the target of its jump (boot.rst, "jump"). */
static void copy_header(const uint8_t *head, struct loader_kernel *k)
{
    size_t end = MAGIC + (size_t)head[JUMP_LENGTH];

    end = end < LOADER_HEADER_END ? end : LOADER_HEADER_END;
    memcpy(k->header, head + LOADER_HEADER_FIRST, end - LOADER_HEADER_FIRST);
}

static int load_bzimage(const struct image *i, const uint8_t *head, struct loader_kernel *k,
                        struct err *e)
{
    uint64_t sectors = head[SETUP_SECTS] ? head[SETUP_SECTS] : 4; /* 0 means 4, of old */
    uint64_t code = (sectors + 1) * SECTOR, first = field(head, PREF_ADDRESS, 8);
    uint64_t size = field(head, INIT_SIZE, 4);
    uint8_t *to;

    if (field(head, VERSION, 2) < OLDEST_VERSION || !(head[XLOADFLAGS] & XLF_KERNEL_64) ||
        !(head[LOADFLAGS] & LOADED_HIGH))
        return err_set(e, 0, "the kernel has no 64-bit entry");
    if (i->size <= code + ENTRY_64 || first < KERNEL_MIN)
        return err_set(e, 0, "the kernel's setup header is wrong");
    size = size > i->size - code ? size : i->size - code;
    to = room_for(i->mem, first, size);
    if (!to)
        return too_big(i->mem, first, size, e);
    k->first = first;
    k->end = first + size;
    k->entry = first + ENTRY_64;
    k->initrd_end = field(head, INITRD_ADDR_MAX, 4) + 1;
    k->line_max = (uint32_t)field(head, CMDLINE_SIZE, 4);
    copy_header(head, k);
    return copy_all(i, code, to, "kernel", e);
}

/* ---- either -------------------------------------------------------------------------------------------- */

int loader_kernel(const struct loader_file *f, const struct vmm_memory *mem,
                  struct loader_kernel *out, struct err *e)
{
    struct image i = { .fd = f->fd, .is_final = f->is_final, .mem = mem };
    struct loader_kernel k = { .entry = 0 };
    uint8_t head[HEADS_SIZE] = { 0 };
    int r = open_image(&i, "kernel", e);

    if (r == 0 && i.size >= LOADER_HEADER_END)
        r = read_at(&i, 0, head, i.size < HEADS_SIZE ? i.size : HEADS_SIZE, "kernel", e);
    if (r < 0)
        return r;
    if (memcmp(head, ELFMAG, SELFMAG) == 0)
        r = load_elf(&i, head, &k, e);
    else if (memcmp(head + MAGIC, "HdrS", 4) == 0)
        r = load_bzimage(&i, head, &k, e);
    else
        return err_set(e, 0, "the kernel is neither a bzImage nor an ELF file");
    if (r == 0)
        *out = k;
    return r;
}

int loader_initrd(int fd, const struct vmm_memory *mem, const struct loader_kernel *k,
                  struct loader_range *out, struct err *e)
{
    struct image i = { .fd = fd, .mem = mem };
    uint64_t end = low_end(mem) < k->initrd_end ? low_end(mem) : k->initrd_end, first;
    int r = open_image(&i, "initrd", e);

    if (r < 0)
        return r;
    if (i.size == 0)
        return err_set(e, 0, "the initrd is empty");
    first = end > i.size ? (end - i.size) & ~(uint64_t)(VMM_PAGE_SIZE - 1) : 0;
    if (first < k->end) {
        err_set(e, 0,
                "an initrd of %llu MiB does not fit behind the kernel into %llu MiB of memory",
                mib(i.size) + 1, mib(low_end(mem)));
        return -ENOSPC;
    }
    r = copy_all(&i, 0, vmm_memory_at(mem, first, i.size), "initrd", e);
    if (r == 0)
        *out = (struct loader_range){ first, i.size };
    return r;
}
