/* SPDX-License-Identifier: Apache-2.0 */
/* Copies of files with holes, by one thread and by many; a file that is shorter than it was. */
#include "unit.h"
#include "vmm/arch/copy.h"

#include <sys/mman.h>

#define MIB (UINT64_C(1) << 20)
enum { GUARD = 4096, SHIFT = 12345 };

struct fixture {
    uint8_t *from, *room, *to; /* what the file has; where it goes, and room around */
    struct copy copy;
};

static uint8_t *map(size_t len)
{
    uint8_t *at = mmap(NULL, len, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);

    assert_true(at != MAP_FAILED);
    return at;
}

/* size bytes, each of which tells where it is, in a file of its own. */
static struct fixture make(uint64_t size)
{
    struct fixture f = { .from = map(size), .room = map(size + 2 * GUARD + SHIFT) };

    for (uint64_t i = 0; i < size; i++)
        f.from[i] = (uint8_t)(i * 251 / 7 + (i >> 12) + 1);
    f.to = f.room + GUARD + SHIFT; /* no piece begins where a page does */
    f.copy.fd = memfd_create("file", MFD_CLOEXEC);
    f.copy.size = size;
    assert_int_equal(ftruncate(f.copy.fd, (off_t)size), 0);
    return f;
}

static void put(struct fixture *f, uint64_t first, uint64_t len)
{
    assert_int_equal(pwrite(f->copy.fd, f->from + first, len, (off_t)first), (ssize_t)len);
}

static void hole(struct fixture *f, uint64_t first, uint64_t len)
{
    memset(f->from + first, 0, len);
}

static void add(struct fixture *f, uint64_t offset, uint64_t len)
{
    f->copy.parts[f->copy.n++] = (struct copy_part){ offset, len, f->to + offset };
}

static void done(struct fixture *f)
{
    close(f->copy.fd);
    munmap(f->from, f->copy.size);
    munmap(f->room, f->copy.size + 2 * GUARD + SHIFT);
}

static void parts_go_where_they_belong_and_nowhere_else(void **state)
{
    struct fixture f = make(37 * MIB + 5);
    struct err e = { 0 };

    (void)state;
    put(&f, 0, f.copy.size);
    add(&f, 0, 1);
    add(&f, 4096, 20 * MIB + 77);
    add(&f, 21 * MIB, 0);
    add(&f, 21 * MIB + 3, 16 * MIB + 2);
    assert_int_equal(copy_run(&f.copy, "file", &e), 0);
    hole(&f, 1, 4095);
    hole(&f, 20 * MIB + 77 + 4096, MIB - 77 - 4096 + 3);
    assert_memory_equal(f.to, f.from, f.copy.size);
    for (unsigned i = 0; i < GUARD + SHIFT; i++)
        assert_int_equal(f.room[i], 0);
    for (unsigned i = 0; i < GUARD; i++)
        assert_int_equal(f.to[f.copy.size + i], 0);
    done(&f);
}

/* /proc/self/smaps would say it too: what was not written has no page. */
static bool is_resident(const uint8_t *at)
{
    unsigned char there = 0;

    assert_int_equal(mincore((void *)((uintptr_t)at & ~(uintptr_t)4095), 4096, &there), 0);
    return there & 1;
}

static void a_hole_costs_no_memory(void **state)
{
    struct fixture f = make(16 * MIB);
    struct err e = { 0 };

    (void)state;
    put(&f, MIB, 4096);
    put(&f, 15 * MIB, MIB);
    hole(&f, 0, MIB);
    hole(&f, MIB + 4096, 14 * MIB - 4096);
    add(&f, 0, 16 * MIB);
    assert_int_equal(copy_run(&f.copy, "file", &e), 0);
    assert_true(is_resident(f.to + MIB));
    assert_false(is_resident(f.to + MIB + 8192));
    assert_false(is_resident(f.to + 8 * MIB));
    assert_memory_equal(f.to, f.from, f.copy.size);
    done(&f);
}

static void a_file_that_was_cut_is_told(void **state)
{
    static const uint64_t sizes[] = { 0, 1, 8 * MIB, 24 * MIB - 1 };

    (void)state;
    for (unsigned i = 0; i < COUNT_OF(sizes); i++) {
        struct fixture f = make(24 * MIB);
        struct err e = { 0 };

        put(&f, 0, f.copy.size);
        assert_int_equal(ftruncate(f.copy.fd, (off_t)sizes[i]), 0);
        add(&f, 0, f.copy.size);
        assert_int_equal(copy_run(&f.copy, "file", &e), -EINVAL);
        assert_string_equal(e.text, "the file ends in the middle");
        done(&f);
    }
}

static void a_file_that_cannot_be_read_is_told(void **state)
{
    struct fixture f = make(24 * MIB);
    struct err e = { 0 };
    int fd = f.copy.fd;

    (void)state;
    put(&f, 0, f.copy.size);
    add(&f, 0, f.copy.size);
    f.copy.fd = -1;
    assert_int_equal(copy_run(&f.copy, "file", &e), -EBADF);
    assert_string_equal(e.text, "cannot read the file: Bad file descriptor");
    f.copy.fd = fd;
    done(&f);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(parts_go_where_they_belong_and_nowhere_else),
        cmocka_unit_test(a_hole_costs_no_memory),
        cmocka_unit_test(a_file_that_was_cut_is_told),
        cmocka_unit_test(a_file_that_cannot_be_read_is_told),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
