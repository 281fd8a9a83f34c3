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

/* A segment may be cut in three, and an initrd is one more. */
enum { HEADS_SIZE = 4096, SEGMENTS_MAX = (COPY_PARTS_MAX - 1) / 3, SECTIONS_MAX = 64 };
#define HUGE_PAGE (UINT64_C(2) << 20)
enum { ELF_LINE_MAX = 2047 }; /* COMMAND_LINE_SIZE - 1 of x86, which an ELF file does not tell */
#define ELF_INITRD_END UINT64_C(0x80000000) /* as the setup header of a bzImage says */

struct image {
    int fd;
    bool is_final;
    uint64_t size;
    const struct vmm_memory *mem;
    struct copy *copy;
    unsigned file; /* of the copy */
};

static int open_image(struct image *i, const char *what, struct err *e)
{
    struct stat st;

    if (fstat(i->fd, &st) < 0)
        return err_set(e, errno, "cannot look at the %s", what);
    if (!S_ISREG(st.st_mode))
        return err_set(e, 0, "the %s is no regular file", what);
    i->size = (uint64_t)st.st_size;
    i->file = i->copy->n_files++;
    i->copy->files[i->file] = (struct copy_file){ i->fd, i->size, what };
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

static void add_part(const struct image *i, uint64_t offset, uint64_t len, uint8_t *to)
{
    i->copy->parts[i->copy->n++] = (struct copy_part){ offset, len, to, i->file, false };
}

static uint64_t huge_down(uint64_t value)
{
    return value & ~(HUGE_PAGE - 1);
}

static uint64_t huge_up(uint64_t value)
{
    return huge_down(value + HUGE_PAGE - 1);
}

/* What is to be copied to gpa as a part is filled beside it instead, with size bytes around it, of which nobody else is told. */
static void defer(const struct image *i, struct copy_part *p, uint64_t gpa,
                  const struct loader_range *around, const struct vmm_memory_pages *meanwhile)
{
    struct vmm_memory_later *later = &i->copy->later[i->copy->n_later];

    /* Refused: then it is there from the start. */
    if (i->copy->n_later == COPY_LATER_MAX ||
        vmm_memory_defer(i->mem, around->first, around->size, meanwhile, later) < 0)
        return;
    i->copy->n_later++;
    p->to = later->filled + (gpa - around->first);
    p->is_later = true;
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

struct sections {
    Elf64_Shdr v[SECTIONS_MAX];
    unsigned n; /* 0: the file has none that can be believed, and nobody needs them */
};

static void read_sections(const struct image *i, const Elf64_Ehdr *h, struct sections *out)
{
    out->n = 0;
    if (h->e_shentsize == sizeof(*out->v) && h->e_shnum <= SECTIONS_MAX && h->e_shoff <= i->size &&
        h->e_shnum * sizeof(*out->v) <= i->size - h->e_shoff &&
        read_at(i, h->e_shoff, out->v, h->e_shnum * sizeof(*out->v), "kernel", NULL) == 0)
        out->n = h->e_shnum;
}

/* Has bytes in the file, all of them among the segment's. */
static bool is_of_segment(const Elf64_Shdr *s, const Elf64_Phdr *p)
{
    return s->sh_type != SHT_NOBITS && s->sh_type != SHT_NULL && s->sh_offset >= p->p_offset &&
           s->sh_offset - p->p_offset < p->p_filesz &&
           s->sh_size <= p->p_filesz - (s->sh_offset - p->p_offset);
}

/* The end of a file's last byte that is executed, among those of the segment; 0: no sections tell it. */
static uint64_t code_end(const struct sections *sections, const Elf64_Phdr *p)
{
    uint64_t end = 0;

    for (unsigned n = 0; n < sections->n; n++) {
        const Elf64_Shdr *s = &sections->v[n];

        if (s->sh_flags & SHF_EXECINSTR && is_of_segment(s, p) && s->sh_offset + s->sh_size > end)
            end = s->sh_offset + s->sh_size;
    }
    return end;
}

/* The huge page at that offset has something of the segment that a kernel only reads, and nothing that it writes to. */
static bool is_constant(const struct sections *sections, const Elf64_Phdr *p, uint64_t offset)
{
    bool found = false;

    for (unsigned n = 0; n < sections->n; n++) {
        const Elf64_Shdr *s = &sections->v[n];

        if (!is_of_segment(s, p) || s->sh_offset >= offset + HUGE_PAGE ||
            s->sh_offset + s->sh_size <= offset)
            continue;
        if (s->sh_flags & SHF_WRITE)
            return false;
        found = true;
    }
    return found;
}

/* Whole pages: while they are copied a guest has the file's own. */
static void defer_pages(const struct image *i, struct copy_part *p, uint64_t gpa)
{
    const struct vmm_memory_pages pages = { i->fd, p->offset };
    const struct loader_range around = { gpa, p->len };

    defer(i, p, gpa, &around, &pages);
}

/*
 * What a kernel only reads, 8 to 10 MiB, need not be copied: it stands behind the code of the segment that is not
 * writable. Its pages are the file's, which all machines share. Code itself is patched by a kernel, all over,
 * while it boots: mapped too, the guest took 18,886 page faults, copied to huge pages 49. Debian's 6.1 begins with it when
 * it has looked at its memory (static_call_init()): up to then it may come later, and is half of all that is copied.
 */
static void share_constants(const struct image *i, const struct sections *s, const Elf64_Phdr *p)
{
    struct copy_part *whole = &i->copy->parts[i->copy->n - 1];
    uint64_t code = code_end(s, p), first = huge_up(code);
    uint64_t end = (p->p_offset + p->p_filesz) & ~(uint64_t)(VMM_PAGE_SIZE - 1), at, len;

    if (!i->is_final || code == 0 || first > end || end - first < HUGE_PAGE ||
        (p->p_paddr - p->p_offset) % HUGE_PAGE)
        return;
    at = first - p->p_offset;
    len = end - first;
    if (vmm_memory_back(i->mem, p->p_paddr + at, len, i->fd, first) < 0)
        return;
    add_part(i, end, p->p_offset + p->p_filesz - end, whole->to + at + len);
    whole->len = at;
    defer_pages(i, whole, p->p_paddr);
}

/*
 * Of a segment that is written to, the first huge pages with nothing but what is not: the unwinder's tables. A kernel reads all
 * of them when it knows its memory (unwind_init()), so they are copied like the rest, but later.
 */
static void defer_tables(const struct image *i, const struct sections *s, const Elf64_Phdr *p)
{
    struct copy_part *head = &i->copy->parts[i->copy->n - 1];
    uint64_t file_end = p->p_offset + p->p_filesz, first = huge_up(p->p_offset), end, at;

    if (!i->is_final || (p->p_paddr - p->p_offset) % HUGE_PAGE)
        return;
    while (first < file_end && !is_constant(s, p, first))
        first += HUGE_PAGE;
    for (end = first; end < file_end && file_end - end >= HUGE_PAGE && is_constant(s, p, end);)
        end += HUGE_PAGE;
    if (first >= end)
        return;
    at = first - p->p_offset;
    add_part(i, first, end - first, head->to + at);
    add_part(i, end, file_end - end, head->to + (end - p->p_offset));
    head->len = at;
    defer_pages(i, head + 1, p->p_paddr + at);
}

static void divide_segment(const struct image *i, const struct sections *s, const Elf64_Phdr *p)
{
    if (p->p_flags & PF_W)
        defer_tables(i, s, p);
    else
        share_constants(i, s, p);
}

/*
 * The memory is new, so what a segment has beyond its file is 0: if no other lies there.
 */
static int plan_segment(const struct image *i, const Elf64_Phdr *table, unsigned n,
                        struct loader_kernel *k, struct err *e)
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
    add_part(i, p->p_offset, p->p_filesz, room_for(i->mem, p->p_paddr, p->p_memsz));
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
    Elf64_Phdr table[SEGMENTS_MAX];
    struct sections sections;
    bool found = false;
    Elf64_Ehdr h;
    int r;

    memcpy(&h, head, sizeof(h));
    r = check_elf(i, &h, e);
    r = r < 0 ? r : read_at(i, h.e_phoff, table, h.e_phnum * sizeof(*table), "kernel", e);
    if (r == 0)
        read_sections(i, &h, &sections);
    k->first = UINT64_MAX;
    for (unsigned n = 0; n < h.e_phnum && r == 0; n++) {
        if (!is_loaded(&table[n]))
            continue;
        r = plan_segment(i, table, n, k, e);
        if (r == 0)
            divide_segment(i, &sections, &table[n]);
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
    return 0;
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
    add_part(i, code, i->size - code, to);
    return 0;
}

/* ---- either -------------------------------------------------------------------------------------------- */

int loader_kernel(struct loader *l, const struct loader_file *f, struct loader_kernel *out,
                  struct err *e)
{
    struct image i = { .fd = f->fd, .is_final = f->is_final, .mem = l->mem, .copy = l->copy };
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

/*
 * A kernel reads it long after its own code. With what belongs to its huge pages, where that is not the kernel's: it is the
 * guest's, who waits with the first access.
 */
static void defer_initrd(const struct image *i, const struct loader_range *at, uint64_t kernel_end,
                         uint64_t memory_end)
{
    uint64_t first = huge_down(at->first), end = huge_up(at->first + at->size);
    struct loader_range around = { first < kernel_end ? at->first : first, 0 };

    around.size = (end < memory_end ? end : memory_end) - around.first;
    defer(i, &i->copy->parts[i->copy->n - 1], at->first, &around, NULL);
}

int loader_initrd(struct loader *l, int fd, const struct loader_kernel *k, struct loader_range *out,
                  struct err *e)
{
    struct image i = { .fd = fd, .mem = l->mem, .copy = l->copy };
    uint64_t low = low_end(l->mem), end = low < k->initrd_end ? low : k->initrd_end, first;
    int r = open_image(&i, "initrd", e);

    if (r < 0)
        return r;
    if (i.size == 0)
        return err_set(e, 0, "the initrd is empty");
    first = end > i.size ? (end - i.size) & ~(uint64_t)(VMM_PAGE_SIZE - 1) : 0;
    if (first < k->end) {
        err_set(e, 0,
                "an initrd of %llu MiB does not fit behind the kernel into %llu MiB of memory",
                mib(i.size) + 1, mib(low));
        return -ENOSPC;
    }
    add_part(&i, 0, i.size, vmm_memory_at(l->mem, first, i.size));
    *out = (struct loader_range){ first, i.size };
    if (l->copy->n_later > 0)
        defer_initrd(&i, out, k->end, end);
    return 0;
}
