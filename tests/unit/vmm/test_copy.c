/* SPDX-License-Identifier: Apache-2.0 */
/* Copies of files with holes, by one thread and by many; a file that is shorter than it was. */
#include "unit.h"
#include "vmm/arch/copy.h"

#include <sys/mman.h>

#define MIB (UINT64_C(1) << 20)
enum { GUARD = 4096, SHIFT = 12345 };

struct fixture {
    uint8_t *from, *room, *to; /* what the file has; where it goes, and room around */
    uint64_t size;
    int fd;
    struct copy_job job;
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
    struct fixture f = { .from = map(size),
                         .room = map(size + 2 * GUARD + SHIFT),
                         .size = size,
                         .fd = memfd_create("file", MFD_CLOEXEC) };

    for (uint64_t i = 0; i < size; i++)
        f.from[i] = (uint8_t)(i * 251 / 7 + (i >> 12) + 1);
    f.to = f.room + GUARD + SHIFT; /* no piece begins where a page does */
    assert_int_equal(ftruncate(f.fd, (off_t)size), 0);
    f.job.copy.files[f.job.copy.n_files++] = (struct copy_file){ f.fd, size, "file" };
    return f;
}

static void put(struct fixture *f, uint64_t first, uint64_t len)
{
    assert_int_equal(pwrite(f->fd, f->from + first, len, (off_t)first), (ssize_t)len);
}

static void hole(struct fixture *f, uint64_t first, uint64_t len)
{
    memset(f->from + first, 0, len);
}

static void add(struct fixture *f, uint64_t offset, uint64_t len)
{
    f->job.copy.parts[f->job.copy.n++] = (struct copy_part){ offset, len, f->to + offset, 0,
                                                             false };
}

static int run(struct fixture *f, struct err *e)
{
    copy_begin(&f->job);
    return copy_end(&f->job, e);
}

static void done(struct fixture *f)
{
    copy_drop(&f->job);
    close(f->fd);
    munmap(f->from, f->size);
    munmap(f->room, f->size + 2 * GUARD + SHIFT);
}

static void parts_go_where_they_belong_and_nowhere_else(void **state)
{
    struct fixture f = make(37 * MIB + 5);
    struct err e = { 0 };

    (void)state;
    put(&f, 0, f.size);
    add(&f, 0, 1);
    add(&f, 4096, 20 * MIB + 77);
    add(&f, 21 * MIB, 0);
    add(&f, 21 * MIB + 3, 16 * MIB + 2);
    assert_int_equal(run(&f, &e), 0);
    hole(&f, 1, 4095);
    hole(&f, 20 * MIB + 77 + 4096, MIB - 77 - 4096 + 3);
    assert_memory_equal(f.to, f.from, f.size);
    for (unsigned i = 0; i < GUARD + SHIFT; i++)
        assert_int_equal(f.room[i], 0);
    for (unsigned i = 0; i < GUARD; i++)
        assert_int_equal(f.to[f.size + i], 0);
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
    assert_int_equal(run(&f, &e), 0);
    assert_true(is_resident(f.to + MIB));
    assert_false(is_resident(f.to + MIB + 8192));
    assert_false(is_resident(f.to + 8 * MIB));
    assert_memory_equal(f.to, f.from, f.size);
    done(&f);
}

static void a_file_that_was_cut_is_told(void **state)
{
    static const uint64_t sizes[] = { 0, 1, 8 * MIB, 24 * MIB - 1 };

    (void)state;
    for (unsigned i = 0; i < COUNT_OF(sizes); i++) {
        struct fixture f = make(24 * MIB);
        struct err e = { 0 };

        put(&f, 0, f.size);
        assert_int_equal(ftruncate(f.fd, (off_t)sizes[i]), 0);
        add(&f, 0, f.size);
        assert_int_equal(run(&f, &e), -EINVAL);
        assert_string_equal(e.text, "the file ends in the middle");
        done(&f);
    }
}

static void a_file_that_cannot_be_read_is_told(void **state)
{
    struct fixture f = make(24 * MIB);
    struct err e = { 0 };

    (void)state;
    put(&f, 0, f.size);
    add(&f, 0, f.size);
    f.job.copy.files[0].fd = -1;
    assert_int_equal(run(&f, &e), -EBADF);
    assert_string_equal(e.text, "cannot read the file: Bad file descriptor");
    done(&f);
}

/* The file that comes first, when both are not what they were. */
static void each_file_is_told_by_its_name(void **state)
{
    (void)state;
    for (unsigned cut = 0; cut < 2; cut++) {
        struct fixture f = make(24 * MIB);
        int other = memfd_create("other", MFD_CLOEXEC);
        struct err e = { 0 };

        put(&f, 0, f.size);
        assert_int_equal(ftruncate(other, MIB - cut), 0);
        f.job.copy.files[f.job.copy.n_files++] = (struct copy_file){ other, MIB, "other" };
        f.job.copy.parts[f.job.copy.n++] = (struct copy_part){ 0, MIB, f.to, 1, false };
        add(&f, MIB, f.size - MIB);
        assert_int_equal(run(&f, &e), cut ? -EINVAL : 0);
        assert_string_equal(e.text, cut ? "the other ends in the middle" : "");
        close(other);
        done(&f);
    }
}

static void what_is_dropped_is_not_copied_later(void **state)
{
    struct fixture f = make(24 * MIB);

    (void)state;
    put(&f, 0, f.size);
    add(&f, 0, f.size);
    copy_begin(&f.job);
    copy_drop(&f.job);
    assert_int_equal(f.job.n_helpers, 0);
    memset(f.room, 0, f.size + 2 * GUARD + SHIFT);
    usleep(1000);
    for (uint64_t i = 0; i < f.size; i += 4096)
        assert_int_equal(f.to[i], 0);
    copy_drop(&f.job);
    done(&f);
}

/* ---- what comes later ------------------------------------------------------------------------------- */

/* A guest's memory, of which the second half comes later; the whole file, from offset 0 on, is copied there. */
struct halves {
    struct vmm_memory mem;
    struct fixture f;
    uint64_t half;
    uint8_t *at;
};

static struct halves make_halves(uint64_t half)
{
    struct halves h = { .f = make(2 * half), .half = half };
    struct copy *c = &h.f.job.copy;

    put(&h.f, 0, h.f.size);
    assert_int_equal(vmm_memory_add(&h.mem, 0, 2 * half, NULL), 0);
    h.at = vmm_memory_at(&h.mem, 0, 1);
    assert_int_equal(vmm_memory_defer(&h.mem, half, half, NULL, &c->later[c->n_later++]), 0);
    c->parts[c->n++] = (struct copy_part){ half, half, c->later[0].filled, 0, true };
    c->parts[c->n++] = (struct copy_part){ 0, half, h.at, 0, false };
    return h;
}

static void halves_done(struct halves *h)
{
    done(&h->f);
    vmm_memory_release(&h->mem);
}

/* mprotect(2) does not say so; read(2) does. */
static bool second_half_is_there(const struct halves *h)
{
    int fds[2];
    bool there;

    assert_int_equal(pipe(fds), 0);
    there = write(fds[1], h->at + h->half, 1) == 1;
    close(fds[0]);
    close(fds[1]);
    return there;
}

static void what_comes_later_comes_when_it_may(void **state)
{
    struct halves h = make_halves(8 * MIB);
    struct err e = { 0 };

    (void)state;
    assert_int_equal(run(&h.f, &e), 0);
    assert_true(h.f.job.n_helpers > 0);
    assert_memory_equal(h.at, h.f.from, h.half);
    usleep(1000);
    assert_false(second_half_is_there(&h));
    copy_release(&h.f.job);
    assert_int_equal(copy_wait(&h.f.job, &e), 0);
    assert_memory_equal(h.at, h.f.from, 2 * h.half);
    assert_int_equal(copy_wait(&h.f.job, &e), 0);
    halves_done(&h);
}

/* Too little for a thread of its own. */
static void what_comes_later_comes_at_once_where_nobody_else_brings_it(void **state)
{
    struct halves h = make_halves(3 * MIB);
    struct err e = { 0 };

    (void)state;
    assert_int_equal(run(&h.f, &e), 0);
    assert_int_equal(h.f.job.n_helpers, 0);
    assert_memory_equal(h.at, h.f.from, 2 * h.half);
    copy_release(&h.f.job);
    assert_int_equal(copy_wait(&h.f.job, &e), 0);
    halves_done(&h);
}

/* It is cut where it was read, or where it is still to be; nothing arrives of what may be wrong. */
static void a_file_that_is_cut_before_all_has_come_is_told(void **state)
{
    static const uint64_t sizes[] = { 3 * MIB, 12 * MIB };

    (void)state;
    for (unsigned i = 0; i < COUNT_OF(sizes); i++) {
        struct halves h = make_halves(8 * MIB);
        struct err e = { 0 };

        assert_int_equal(run(&h.f, &e), 0);
        assert_int_equal(ftruncate(h.f.fd, (off_t)sizes[i]), 0);
        copy_release(&h.f.job);
        assert_int_equal(copy_wait(&h.f.job, &e), -EINVAL);
        assert_string_equal(e.text, "the file ends in the middle");
        assert_false(second_half_is_there(&h));
        halves_done(&h);
    }
}

static void what_never_may_come_does_not(void **state)
{
    struct halves h = make_halves(8 * MIB);
    struct err e = { 0 };

    (void)state;
    assert_int_equal(run(&h.f, &e), 0);
    copy_drop(&h.f.job);
    assert_int_equal(h.f.job.n_helpers, 0);
    assert_false(second_half_is_there(&h));
    halves_done(&h);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(parts_go_where_they_belong_and_nowhere_else),
        cmocka_unit_test(a_hole_costs_no_memory),
        cmocka_unit_test(a_file_that_was_cut_is_told),
        cmocka_unit_test(a_file_that_cannot_be_read_is_told),
        cmocka_unit_test(each_file_is_told_by_its_name),
        cmocka_unit_test(what_is_dropped_is_not_copied_later),
        cmocka_unit_test(what_comes_later_comes_when_it_may),
        cmocka_unit_test(what_comes_later_comes_at_once_where_nobody_else_brings_it),
        cmocka_unit_test(a_file_that_is_cut_before_all_has_come_is_told),
        cmocka_unit_test(what_never_may_come_does_not),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
