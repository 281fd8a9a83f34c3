/* SPDX-License-Identifier: Apache-2.0 */
/* A kernel in a file: finding it, unpacking it, its name. */
#include <ctype.h>
#include <dirent.h>
#include <elf.h>
#include <errno.h>
#include <fcntl.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <unistd.h>

#include "boot/internal.h"

/* Documentation/arch/x86/boot.rst, "The Real-Mode Kernel Header". */
enum {
    SETUP_SECTS = 0x1f1,
    HEADER_MAGIC = 0x202,
    VERSION = 0x206,
    PAYLOAD_OFFSET = 0x248, /* since version 2.08 */
    PAYLOAD_LENGTH = 0x24c,
    HEADER_END = 0x250,
    SECTOR = 512,
    PAYLOAD_SINCE = 0x208,
    RELEASE_MAX = 128,
};

int boot_map_file(const char *path, struct boot_map *out, struct err *e)
{
    /* O_NONBLOCK: a FIFO is told, not waited for. */
    AUTO_FD int fd = openat(AT_FDCWD, path, O_RDONLY | O_NONBLOCK | O_CLOEXEC);
    struct stat st;
    void *data;

    if (fd < 0 || fstat(fd, &st) < 0)
        return err_set(e, errno, "cannot open '%s'", path);
    if (!S_ISREG(st.st_mode) || st.st_size == 0)
        return err_set(e, 0, "'%s' is no file with contents", path);
    data = mmap(NULL, (size_t)st.st_size, PROT_READ, MAP_PRIVATE, fd, 0);
    if (data == MAP_FAILED)
        return err_set(e, errno, "cannot read '%s'", path);
    *out = (struct boot_map){ data, (size_t)st.st_size };
    return 0;
}

void boot_map_release(struct boot_map *m)
{
    if (m->data)
        munmap((void *)m->data, m->len);
}

static bool is_elf(const uint8_t *data, size_t len)
{
    return len > sizeof(Elf64_Ehdr) && memcmp(data, ELFMAG, SELFMAG) == 0 &&
           data[EI_CLASS] == ELFCLASS64 &&
           boot_get(data + offsetof(Elf64_Ehdr, e_machine), 2) == EM_X86_64;
}

static int payload_of(const uint8_t *data, size_t len, struct boot_map *out, struct err *e)
{
    uint64_t start, offset, size;

    if (len < HEADER_END || memcmp(data + HEADER_MAGIC, "HdrS", 4) != 0)
        return err_set(e, 0, "it is neither a bzImage nor an ELF file for x86-64");
    if (boot_get(data + VERSION, 2) < PAYLOAD_SINCE)
        return err_set(e, 0, "its boot protocol is older than 2.08");
    start = (data[SETUP_SECTS] + UINT64_C(1)) * SECTOR;
    offset = start + boot_get(data + PAYLOAD_OFFSET, 4);
    size = boot_get(data + PAYLOAD_LENGTH, 4);
    if (offset > len || size > len - offset)
        return err_set(e, 0, "it is cut short");
    *out = (struct boot_map){ data + offset, size };
    return 0;
}

int boot_kernel_elf(const void *data, size_t len, struct strbuf *out, struct err *e)
{
    struct boot_map payload = { 0 };
    int r;

    if (is_elf(data, len)) {
        strbuf_add(out, data, len);
        return 0;
    }
    r = payload_of(data, len, &payload, e);
    if (r == 0)
        r = boot_unpack(payload.data, payload.len, out, e);
    if (r == -EMEDIUMTYPE)
        return err_set(e, 0, "it is packed in a way that is not known here (gzip, xz, zstd, lz4)");
    if (r == 0 && !is_elf((const uint8_t *)out->ptr, out->len))
        return err_set(e, 0, "it holds no ELF file for x86-64");
    return r;
}

/* linux_banner of init/version.c, which every kernel has as text. */
int boot_release_of(const struct strbuf *elf, struct arena *a, const char **out, struct err *e)
{
    static const char banner[] = "Linux version ";
    const char *at = elf->ptr, *end = elf->ptr + elf->len;

    while ((at = memmem(at, (size_t)(end - at), banner, sizeof banner - 1))) {
        size_t n = 0;

        at += sizeof banner - 1;
        while (at + n < end && n < RELEASE_MAX && isgraph((unsigned char)at[n]) && at[n] != '/')
            n++;
        if (n > 0 && n < RELEASE_MAX && at + n < end && at[n] == ' ' &&
            isdigit((unsigned char)at[0])) {
            *out = arena_strndup(a, at, n);
            return 0;
        }
    }
    return err_set(e, 0, "it does not say which release of Linux it is");
}

/* ---- the installed ones ---------------------------------------------------------------------- */

int boot_compare_versions(const char *a, const char *b)
{
    while (*a && *b) {
        if (isdigit((unsigned char)*a) && isdigit((unsigned char)*b)) {
            size_t n, m;

            a += strspn(a, "0");
            b += strspn(b, "0");
            n = strspn(a, "0123456789");
            m = strspn(b, "0123456789");
            if (n != m)
                return n < m ? -1 : 1;
            if (strncmp(a, b, n) != 0)
                return strncmp(a, b, n);
            a += n;
            b += n;
        } else if (*a++ != *b++) {
            return (unsigned char)a[-1] < (unsigned char)b[-1] ? -1 : 1;
        }
    }
    return (*a != 0) - (*b != 0);
}

const char *boot_find_kernel(const char *boot_dir, const char *modules_dir, struct arena *a)
{
    static const char prefix[] = "vmlinuz-";
    DIR *dir = opendir(boot_dir);
    const char *best = NULL;
    bool best_complete = false;

    for (const struct dirent *entry; dir && (entry = readdir(dir));) {
        const char *release = entry->d_name + sizeof prefix - 1;
        bool complete;

        if (!str_starts(entry->d_name, prefix))
            continue;
        complete = faccessat(AT_FDCWD, arena_format(a, "%s/%s", modules_dir, release), R_OK | X_OK,
                             0) == 0;
        if (best && (complete < best_complete ||
                     (complete == best_complete && boot_compare_versions(release, best) <= 0)))
            continue;
        best = arena_strdup(a, release);
        best_complete = complete;
    }
    if (dir)
        closedir(dir);
    return best ? arena_format(a, "%s/%s%s", boot_dir, prefix, best) : NULL;
}
