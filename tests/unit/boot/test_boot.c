/* SPDX-License-Identifier: Apache-2.0 */
/* Kernels, modules and archives as they lie on a host, and as they must not. */
#include "boot/boot.h"
#include "unit.h"

#include <elf.h>
#include <lz4.h>
#include <lzma.h>
#include <zlib.h>
#include <zstd.h>

enum { TEXT = 300000, PACKED_MAX = 1 << 20 };

static char text[TEXT];

/* An ELF head, and a text that packs well without being trivial. */
static void make_text(void)
{
    Elf64_Ehdr head = { .e_machine = EM_X86_64 };

    memcpy(head.e_ident, ELFMAG, SELFMAG);
    head.e_ident[EI_CLASS] = ELFCLASS64;
    for (size_t i = 0; i < sizeof text; i++)
        text[i] = (char)(i * i / 77 >> 3);
    memcpy(text, &head, sizeof head);
    strcpy(text + 200000, "%s version %s"); /* linux_proc_banner */
    strcpy(text + 250000, "Linux version 6.1.0-56-cloud-amd64 (debian-kernel@lists.debian.org)");
}

static size_t pack_zstd(uint8_t *out)
{
    return ZSTD_compress(out, PACKED_MAX, text, sizeof text, 3);
}

static size_t pack_xz(uint8_t *out)
{
    size_t len = 0;

    lzma_easy_buffer_encode(1, LZMA_CHECK_CRC32, NULL, (uint8_t *)text, sizeof text, out, &len,
                            PACKED_MAX);
    return len;
}

static size_t pack_gzip(uint8_t *out)
{
    z_stream s = {
        .next_in = (Bytef *)text, .avail_in = sizeof text, .next_out = out, .avail_out = PACKED_MAX
    };

    deflateInit2(&s, 6, Z_DEFLATED, 31, 8, Z_DEFAULT_STRATEGY);
    deflate(&s, Z_FINISH);
    deflateEnd(&s);
    return PACKED_MAX - s.avail_out;
}

/* Two blocks, as a text of more than 8 MiB has them. */
static size_t pack_lz4(uint8_t *out)
{
    size_t at = 4;

    memcpy(out, "\x02\x21\x4c\x18", 4);
    for (size_t from = 0; from < sizeof text; from += sizeof text / 2) {
        uint32_t n = (uint32_t)LZ4_compress_default(text + from, (char *)out + at + 4,
                                                    sizeof text / 2, PACKED_MAX / 2);

        memcpy(out + at, &n, 4);
        at += 4 + n;
    }
    return at;
}

static size_t (*const packers[])(uint8_t *out) = { pack_zstd, pack_xz, pack_gzip, pack_lz4 };

/* A bzImage of protocol 2.15 with one sector of set-up. Returns its length. */
static size_t make_bzimage(uint8_t *out, const uint8_t *payload, uint32_t len)
{
    const uint32_t offset = 0x100, whole = len + 4, size = sizeof text;

    memset(out, 0, 1024 + offset);
    out[0x1f1] = 1;
    memcpy(out + 0x202, "HdrS\x0f\x02", 6);
    memcpy(out + 0x248, &offset, 4);
    memcpy(out + 0x24c, &whole, 4);
    memcpy(out + 1024 + offset, payload, len);
    memcpy(out + 1024 + offset + len, &size, 4);
    return 1024 + offset + whole;
}

static void a_kernel_packed_in_each_way_comes_out_whole(void **state)
{
    static uint8_t packed[PACKED_MAX], image[PACKED_MAX + 4096];

    (void)state;
    make_text();
    for (size_t i = 0; i < COUNT_OF(packers); i++) {
        AUTO_STRBUF struct strbuf out = { 0 };
        struct err e = { 0 };
        const char *release;
        size_t len = make_bzimage(image, packed, (uint32_t)packers[i](packed));

        if (boot_kernel_elf(image, len, &out, &e) < 0)
            fail_msg("%zu: %s", i, e.text);
        assert_int_equal(out.len, sizeof text);
        assert_memory_equal(out.ptr, text, sizeof text);
        assert_int_equal(boot_release_of(&out, unit_arena(), &release, &e), 0);
        assert_string_equal(release, "6.1.0-56-cloud-amd64");
        arena_release(unit_arena());
    }
}

/* Cut anywhere, or with any byte changed: an error or another text, never more than that. */
static void a_damaged_kernel_is_told(void **state)
{
    static uint8_t packed[PACKED_MAX];

    (void)state;
    make_text();
    for (size_t i = 0; i < COUNT_OF(packers); i++) {
        size_t len = packers[i](packed);

        for (size_t cut = 8; cut < len - 8; cut += len / 23) {
            AUTO_STRBUF struct strbuf out = { 0 }, changed = { 0 };
            uint8_t was = packed[cut];

            if (boot_unpack(packed, cut, &out, NULL) == 0)
                assert_true(packers[i] == pack_lz4 && out.len < sizeof text);
            packed[cut] ^= 0x41;
            boot_unpack(packed, len, &changed, NULL);
            packed[cut] = was;
        }
    }
}

static void what_is_no_kernel_is_named(void **state)
{
    static uint8_t image[8192];
    AUTO_STRBUF struct strbuf out = { 0 };
    struct err e = { 0 };
    const char *release;
    size_t len = make_bzimage(image, (const uint8_t *)"PK\3\4 something", 14);

    (void)state;
    assert_int_equal(boot_kernel_elf("#!/bin/sh\n", 10, &out, &e), -EINVAL);
    assert_non_null(strstr(e.text, "neither a bzImage nor an ELF file"));
    assert_int_equal(boot_kernel_elf(image, len, &out, &e), -EINVAL);
    assert_non_null(strstr(e.text, "packed in a way"));
    assert_int_equal(boot_kernel_elf(image, 1200, &out, &e), -EINVAL);
    assert_non_null(strstr(e.text, "cut short"));
    image[0x206] = 7;
    assert_int_equal(boot_kernel_elf(image, len, &out, &e), -EINVAL);
    assert_non_null(strstr(e.text, "older than 2.08"));
    strbuf_str(&out, "Linux version %s (x) and Linux version /../6 y");
    assert_int_equal(boot_release_of(&out, unit_arena(), &release, &e), -EINVAL);
}

/* ---- modules --------------------------------------------------------------------------------- */

/* The least that is a module: a name table, and .modinfo with "depends=". */
static void write_module(const char *dir, const char *file, const char *depends)
{
    static const char names[] = "\0.shstrtab\0.modinfo";
    char modinfo[256], path[512];
    int info_len = snprintf(modinfo, sizeof modinfo, "license=GPL%cdepends=%s%c", 0, depends, 0);
    struct {
        Elf64_Ehdr head;
        Elf64_Shdr sections[3];
    } f = { .head = { .e_shoff = sizeof(Elf64_Ehdr),
                      .e_shentsize = sizeof(Elf64_Shdr),
                      .e_shnum = 3,
                      .e_shstrndx = 1 },
            .sections = { [1] = { .sh_name = 1, .sh_offset = sizeof f, .sh_size = sizeof names },
                          [2] = { .sh_name = 11, .sh_offset = sizeof f + sizeof names } } };
    FILE *out;

    memcpy(f.head.e_ident, ELFMAG, SELFMAG);
    f.sections[2].sh_size = (Elf64_Xword)info_len;
    snprintf(path, sizeof path, "%s/%s", dir, file);
    out = fopen(path, "w");
    fwrite(&f, sizeof f, 1, out);
    fwrite(names, sizeof names, 1, out);
    fwrite(modinfo, (size_t)info_len, 1, out);
    fclose(out);
}

static void write_text(const char *dir, const char *file, const char *what)
{
    char path[512];
    FILE *out;

    snprintf(path, sizeof path, "%s/%s", dir, file);
    out = fopen(path, "w");
    fputs(what, out);
    fclose(out);
}

static void modules_come_behind_what_they_need(void **state)
{
    char dir_path[UNIT_PATH_SIZE];
    const char *dir = unit_dir(dir_path);
    const char *wanted[] = { "leaf_mod", "?mid", "built", "?nowhere", NULL };
    struct boot_modules m;
    struct err e = { 0 };

    (void)state;
    write_text(dir, "modules.order",
               "leaf-mod.ko\nmid.ko\nbase.ko\nxmid.ko\nround.ko\nround2.ko\nbad.ko\n");
    write_text(dir, "modules.builtin", "kernel/built.ko\n");
    write_module(dir, "leaf-mod.ko", "mid,base");
    write_module(dir, "mid.ko", "base");
    write_module(dir, "base.ko", "");
    if (boot_modules_load(dir, wanted, unit_arena(), &m, &e) < 0)
        fail_msg("%s", e.text);
    assert_int_equal(m.n, 3);
    assert_string_equal(m.v[0].name, "base");
    assert_string_equal(m.v[1].name, "mid");
    assert_string_equal(m.v[2].name, "leaf_mod");
    assert_true(m.v[0].data.len > 200);
    boot_modules_release(&m);

    wanted[0] = "absent";
    assert_int_equal(boot_modules_load(dir, wanted, unit_arena(), &m, &e), -EINVAL);
    assert_non_null(strstr(e.text, "has no module 'absent'"));
    wanted[0] = "xmid"; /* listed, and not there */
    assert_int_equal(boot_modules_load(dir, wanted, unit_arena(), &m, &e), -EINVAL);
    assert_non_null(strstr(e.text, "listed but not there"));
    write_module(dir, "round.ko", "round2");
    write_module(dir, "round2.ko", "round");
    wanted[0] = "round";
    assert_int_equal(boot_modules_load(dir, wanted, unit_arena(), &m, &e), -EINVAL);
    assert_non_null(strstr(e.text, "without end"));
    write_text(dir, "bad.ko", "\177ELF and then nothing that counts");
    wanted[0] = "bad";
    assert_int_equal(boot_modules_load(dir, wanted, unit_arena(), &m, &e), -EINVAL);
    assert_non_null(strstr(e.text, "is no kernel module"));
    arena_release(unit_arena());
    unit_remove(dir);
}

/* ---- the rest -------------------------------------------------------------------------------- */

static void versions_are_compared_as_people_do(void **state)
{
    static const char *const ordered[] = {
        "5.10.0-9", "6.1.0-6-amd64", "6.1.0-56-amd64", "6.1.0-56-cloud-amd64",
        "6.9",      "6.10",          "6.10.1"
    };

    (void)state;
    for (size_t i = 0; i < COUNT_OF(ordered); i++)
        for (size_t k = 0; k < COUNT_OF(ordered); k++) {
            int r = boot_compare_versions(ordered[i], ordered[k]);

            if ((r < 0) != (i < k) || (r == 0) != (i == k))
                fail_msg("%s %d %s", ordered[i], r, ordered[k]);
        }
}

static void the_newest_kernel_with_its_modules_is_found(void **state)
{
    char dir_path[UNIT_PATH_SIZE];
    const char *dir = unit_dir(dir_path);
    char path[512];
    const char *found;

    (void)state;
    assert_null(boot_find_kernel(dir, dir, unit_arena()));
    write_text(dir, "vmlinuz-6.9", "");
    write_text(dir, "vmlinuz-6.10", "");
    write_text(dir, "vmlinux-7", "");
    found = boot_find_kernel(dir, dir, unit_arena());
    assert_string_equal(strrchr(found, '/'), "/vmlinuz-6.10");
    snprintf(path, sizeof path, "%s/6.9", dir);
    mkdir(path, 0755);
    found = boot_find_kernel(dir, dir, unit_arena());
    assert_string_equal(strrchr(found, '/'), "/vmlinuz-6.9");
    arena_release(unit_arena());
    unit_remove(dir);
}

static void an_archive_is_as_the_kernel_reads_it(void **state)
{
    AUTO_STRBUF struct strbuf out = { 0 };
    unsigned number = 0;

    (void)state;
    boot_cpio_add(&out, &number, "init", S_IFREG | 0755, "hello", 5);
    boot_cpio_end(&out);
    /* 110 bytes and "init\0" are 115: one of padding; "hello" and three. */
    assert_memory_equal(out.ptr, "07070100000001000081ed", 22);
    assert_memory_equal(out.ptr + 54, "00000005", 8); /* c_filesize */
    assert_memory_equal(out.ptr + 94, "00000005", 8); /* c_namesize */
    assert_memory_equal(out.ptr + 110,
                        "init\0\0hello\0\0\0"
                        "070701",
                        20);
    assert_int_equal(out.len, 124 + 124);
    assert_memory_equal(out.ptr + 124 + 110, "TRAILER!!!", 11);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(a_kernel_packed_in_each_way_comes_out_whole),
        cmocka_unit_test(a_damaged_kernel_is_told),
        cmocka_unit_test(what_is_no_kernel_is_named),
        cmocka_unit_test(modules_come_behind_what_they_need),
        cmocka_unit_test(versions_are_compared_as_people_do),
        cmocka_unit_test(the_newest_kernel_with_its_modules_is_found),
        cmocka_unit_test(an_archive_is_as_the_kernel_reads_it),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
