/* SPDX-License-Identifier: Apache-2.0 */
/* Guest memory and its one accessor, with the addresses and lengths an attacker would say. */
#include "unit.h"
#include "vmm/alloc/alloc.h"

#include <sys/mman.h>

#include <signal.h>

#define LOW UINT64_C(0x10000)
#define LOW_SIZE UINT64_C(0x8000)
#define HIGH UINT64_C(0x100000000)
#define HIGH_SIZE UINT64_C(0x1000)

static struct vmm_memory two_regions(void)
{
    struct vmm_memory m = { .n = 0 };

    assert_int_equal(vmm_memory_add(&m, LOW, LOW_SIZE, NULL), 0);
    assert_int_equal(vmm_memory_add(&m, HIGH, HIGH_SIZE, NULL), 0);
    return m;
}

static void an_access_lies_in_one_region_or_nowhere(void **state)
{
    static const struct {
        const char *row;
        uint64_t gpa, len;
        bool inside;
    } rows[] = {
        { "first byte", LOW, 1, true },
        { "all of it", LOW, LOW_SIZE, true },
        { "last byte", LOW + LOW_SIZE - 1, 1, true },
        { "all of the high one", HIGH, HIGH_SIZE, true },
        { "nothing", LOW, 0, false },
        { "one before", LOW - 1, 1, false },
        { "across the beginning", LOW - 1, 2, false },
        { "one after", LOW + LOW_SIZE, 1, false },
        { "across the end", LOW + LOW_SIZE - 1, 2, false },
        { "longer than the region", LOW, LOW_SIZE + 1, false },
        { "across the hole", LOW, HIGH - LOW + 1, false },
        { "length that wraps to inside", LOW + 16, UINT64_MAX - 7, false },
        { "longest length", LOW, UINT64_MAX, false },
        { "highest address", UINT64_MAX, 1, false },
        { "highest address, wrapping", UINT64_MAX, 2, false },
        { "address that wraps to inside", UINT64_MAX - 15, LOW + 32, false },
        { "address zero", 0, 1, false },
    };
    struct vmm_memory m = two_regions();

    (void)state;
    for (size_t i = 0; i < COUNT_OF(rows); i++) {
        if (!!vmm_memory_at(&m, rows[i].gpa, rows[i].len) != rows[i].inside)
            fail_msg("%s", rows[i].row);
    }
    assert_ptr_equal(vmm_memory_at(&m, LOW + 5, 1), m.regions[0].host + 5);
    assert_ptr_equal(vmm_memory_at(&m, HIGH + 5, 1), m.regions[1].host + 5);
    vmm_memory_release(&m);
}

static void copies_are_whole_or_not_at_all(void **state)
{
    struct vmm_memory m = two_regions();
    char data[4] = "abc";

    (void)state;
    assert_int_equal(vmm_memory_write(&m, HIGH + HIGH_SIZE - 3, "xyz", 3), 0);
    assert_int_equal(vmm_memory_write(&m, HIGH + HIGH_SIZE - 2, "123", 3), -EFAULT);
    assert_int_equal(vmm_memory_read(&m, HIGH + HIGH_SIZE - 2, data, 3), -EFAULT);
    assert_string_equal(data, "abc");
    assert_int_equal(vmm_memory_read(&m, HIGH + HIGH_SIZE - 3, data, 3), 0);
    assert_string_equal(data, "xyz");
    vmm_memory_release(&m);
}

static void ranges_that_no_machine_can_have_are_refused(void **state)
{
    static const struct {
        const char *row;
        uint64_t gpa, size;
    } rows[] = {
        { "empty", 0, 0 },
        { "half a page", 0, 2048 },
        { "crooked address", 8, 4096 },
        { "same place", LOW, LOW_SIZE },
        { "inside", LOW + 0x1000, 0x1000 },
        { "around", 0, LOW + LOW_SIZE + 0x1000 },
        { "over the end", LOW + LOW_SIZE - 0x1000, 0x2000 },
        { "past what an address can say", UINT64_C(1) << 52, 0x1000 },
        { "sum that wraps", 0x1000, UINT64_MAX - 0xfff },
    };
    struct vmm_memory m = two_regions();
    struct err e = { 0 };

    (void)state;
    for (size_t i = 0; i < COUNT_OF(rows); i++) {
        if (vmm_memory_add(&m, rows[i].gpa, rows[i].size, &e) != -EINVAL || m.n != 2)
            fail_msg("%s", rows[i].row);
    }
    assert_int_equal(vmm_memory_add(&m, 0, 0x1000, &e), 0);
    assert_int_equal(vmm_memory_add(&m, 0x1000, 0x1000, &e), 0);
    assert_int_equal(vmm_memory_add(&m, 0x2000, 0x1000, &e), -ENOSPC);
    vmm_memory_release(&m);
}

/* The lines of /proc/self/smaps that follow the mapping which begins at an address. */
#ifdef __x86_64__
static bool mapping_says(const void *begin, const char *word)
{
    FILE *smaps = fopen("/proc/self/smaps", "re");
    char line[512], head[32];
    bool here = false, found = false;

    assert_non_null(smaps);
    snprintf(head, sizeof(head), "%lx-", (unsigned long)begin);
    while (!found && fgets(line, sizeof(line), smaps)) {
        if (strstr(line, "-") && strspn(line, "0123456789abcdef") > 4)
            here = strncmp(line, head, strlen(head)) == 0;
        found = here && strstr(line, word);
    }
    fclose(smaps);
    return found;
}
#endif

static bool byte_can_be_read(const uint8_t *at)
{
    pid_t child = fork();
    int status;

    assert_true(child >= 0);
    if (child == 0) {
        signal(SIGSEGV, SIG_DFL);
        signal(SIGBUS, SIG_DFL);
        _exit(*(const volatile uint8_t *)at == 0 ? 0 : 1);
    }
    assert_int_equal(waitpid(child, &status, 0), child);
    return WIFEXITED(status) && WEXITSTATUS(status) == 0;
}

static void memory_is_fenced_and_stays_out_of_core_files(void **state)
{
    struct vmm_memory m = two_regions();
    const uint8_t *host = m.regions[0].host;

    (void)state;
    assert_true(byte_can_be_read(host));
    assert_int_equal((uintptr_t)host % (2 << 20), LOW % (2 << 20)); /* so that huge pages serve */
    assert_true(byte_can_be_read(host + LOW_SIZE - 1));
    assert_false(byte_can_be_read(host - 1));
    assert_false(byte_can_be_read(host + LOW_SIZE));
#ifdef __x86_64__ /* qemu-user, which runs the arm64 tests, shows no VmFlags */
    assert_true(mapping_says(host, " dd"));
#endif
    vmm_memory_release(&m);
    assert_int_equal(m.n, 0);
}

/* " hg": huge pages are wanted, " nh": they are not. */
static void the_low_memory_of_a_pc_is_in_small_pages(void **state)
{
    struct vmm_memory m = { .n = 0 };

    (void)state;
    assert_int_equal(vmm_memory_add(&m, 0, UINT64_C(8) << 20, NULL), 0);
    assert_int_equal(vmm_memory_add(&m, HIGH, UINT64_C(8) << 20, NULL), 0);
#ifdef __x86_64__
    assert_true(mapping_says(m.regions[0].host, " nh"));
    assert_true(mapping_says(m.regions[0].host + (2 << 20), " hg"));
    assert_true(mapping_says(m.regions[1].host, " hg"));
#endif
    vmm_memory_release(&m);
}

/* ---- images ---------------------------------------------------------------------------------------- */

#define IMAGE_GPA (UINT64_C(64) << 30)
#define IMAGE_SIZE (UINT64_C(4) << 20)

static void an_image_is_only_read(void **state)
{
    struct vmm_memory_file file = { memfd_create("image", MFD_CLOEXEC), 0x1803 };
    struct vmm_memory m = two_regions();
    uint8_t byte = 1;

    (void)state;
    assert_int_equal(ftruncate(file.fd, (off_t)file.size), 0);
    assert_int_equal(pwrite(file.fd, "x", 1, 0x1802), 1);
    assert_int_equal(vmm_memory_add_file(&m, IMAGE_GPA, IMAGE_SIZE, &file, NULL), 0);
    assert_int_equal(vmm_memory_read(&m, IMAGE_GPA + 0x1802, &byte, 1), 0);
    assert_int_equal(byte, 'x');
    assert_int_equal(vmm_memory_read(&m, IMAGE_GPA + IMAGE_SIZE - 1, &byte, 1), 0);
    assert_int_equal(byte, 0);
    assert_int_equal(vmm_memory_read(&m, IMAGE_GPA + IMAGE_SIZE - 1, &byte, 2), -EFAULT);
    assert_int_equal(vmm_memory_write(&m, IMAGE_GPA, &byte, 1), -EFAULT);
    assert_null(vmm_memory_at(&m, IMAGE_GPA, 1));
    assert_non_null(vmm_memory_readable_at(&m, IMAGE_GPA, IMAGE_SIZE));
    assert_non_null(vmm_memory_readable_at(&m, LOW, 1));
    vmm_memory_release(&m);
    close(file.fd);
}

static void images_that_do_not_fit_are_refused(void **state)
{
    struct vmm_memory_file file = { memfd_create("image", MFD_CLOEXEC), 4096 };
    static const struct {
        uint64_t gpa, size, file_size;
    } rows[] = {
        { IMAGE_GPA, IMAGE_SIZE, 0 },          { IMAGE_GPA, IMAGE_SIZE, IMAGE_SIZE + 1 },
        { IMAGE_GPA, IMAGE_SIZE, UINT64_MAX }, { IMAGE_GPA + 4096, IMAGE_SIZE, 1 },
        { IMAGE_GPA, IMAGE_SIZE + 4096, 1 },   { 0, IMAGE_SIZE, 1 }, /* where memory is */
    };

    (void)state;
    for (unsigned i = 0; i < COUNT_OF(rows); i++) {
        struct vmm_memory m = two_regions();
        struct err e = { 0 };
        unsigned n = m.n;

        file.size = rows[i].file_size;
        if (vmm_memory_add_file(&m, rows[i].gpa, rows[i].size, &file, &e) != -EINVAL || m.n != n)
            fail_msg("row %u", i);
        vmm_memory_release(&m);
    }
    close(file.fd);
}

/* ---- what comes later ------------------------------------------------------------------------------- */

#define LATER_GPA UINT64_C(0x400000)
#define LATER_SIZE (4 * HUGE)
#define HUGE (UINT64_C(2) << 20)

static bool byte_can_be_written(uint8_t *at)
{
    pid_t child = fork();
    int status;

    assert_true(child >= 0);
    if (child == 0) {
        signal(SIGSEGV, SIG_DFL);
        signal(SIGBUS, SIG_DFL);
        *(volatile uint8_t *)at = 1;
        _exit(0);
    }
    assert_int_equal(waitpid(child, &status, 0), child);
    return WIFEXITED(status);
}

static struct vmm_memory one_region(void)
{
    struct vmm_memory m = { .n = 0 };

    assert_int_equal(vmm_memory_add(&m, 0, 16 * HUGE, NULL), 0);
    return m;
}

static bool can_be_reached(const uint8_t *at)
{
    unsigned char there;

    return mincore((void *)((uintptr_t)at & ~(uintptr_t)4095), 4096, &there) == 0;
}

static void memory_that_comes_later_changes_places_with_the_files(void **state)
{
    struct vmm_memory_pages file = { memfd_create("file", MFD_CLOEXEC), 4096 };
    struct vmm_memory m = one_region();
    struct vmm_memory_later l = { .size = 0 };
    uint8_t *at = vmm_memory_at(&m, LATER_GPA, 1), *left, *right;

    (void)state;
    assert_int_equal(ftruncate(file.fd, 4096 + LATER_SIZE), 0);
    assert_int_equal(pwrite(file.fd, "f", 1, 4096 + 7), 1);
    assert_int_equal(vmm_memory_defer(&m, LATER_GPA, LATER_SIZE, &file, &l), 0);
    assert_int_equal(at[7], 'f');
    assert_false(byte_can_be_written(at));
    assert_false(byte_can_be_written(at + LATER_SIZE - 1));
    assert_true(byte_can_be_written(at - 1));
    assert_true(byte_can_be_written(at + LATER_SIZE));
    assert_int_equal((uintptr_t)l.filled % HUGE, (uintptr_t)at % HUGE);
    memset(l.filled, 'g', LATER_SIZE);
    assert_int_equal(at[7], 'f');
    left = l.map;
    right = left + l.map_size - 1;
    assert_int_equal(vmm_memory_arrive(&l), 0);
    for (uint64_t i = 0; i < LATER_SIZE; i += 4095)
        assert_int_equal(at[i], 'g');
    at[7] = 'h';
    assert_int_equal(pread(file.fd, at + 8, 1, 4096 + 7), 1);
    assert_int_equal(at[8], 'f'); /* the file has not seen the guest's write */
    assert_int_equal(at[LATER_SIZE], 0);
#ifdef __x86_64__
    assert_true(mapping_says(at, " dd"));
#endif
    if (left != l.filled)
        assert_false(can_be_reached(left));
    assert_false(can_be_reached(l.filled));
    assert_false(can_be_reached(right));
    assert_int_equal(vmm_memory_arrive(&l), 0); /* once more is nothing */
    vmm_memory_forget(&l);
    assert_int_equal(at[7], 'h');
    vmm_memory_release(&m);
    close(file.fd);
}

static void memory_that_comes_later_is_none_before(void **state)
{
    struct vmm_memory m = one_region();
    struct vmm_memory_later l = { .size = 0 }, dropped = { .size = 0 };
    uint8_t *at = vmm_memory_at(&m, LATER_GPA, 1);

    (void)state;
    at[0] = 'x';
    assert_int_equal(vmm_memory_defer(&m, LATER_GPA, 0x3000, NULL, &l), 0);
    assert_false(byte_can_be_read(at));
    assert_true(byte_can_be_read(at + 0x3000));
    l.filled[5] = 'l';
    assert_int_equal(vmm_memory_defer(&m, LATER_GPA + 0x3000, 0x1000, NULL, &dropped), 0);
    vmm_memory_forget(&dropped);
    vmm_memory_forget(&dropped);
    assert_false(byte_can_be_read(at + 0x3000));
    assert_int_equal(vmm_memory_arrive(&l), 0);
    assert_int_equal(at[0], 0);
    assert_int_equal(at[5], 'l');
    vmm_memory_release(&m);
}

static void what_cannot_come_later_is_there_as_it_was(void **state)
{
    static const struct {
        uint64_t gpa, size;
        int result;
    } rows[] = { { LATER_GPA, 0, -EFAULT },
                 { 15 * HUGE, 2 * HUGE, -EFAULT },
                 { UINT64_MAX - 0xfff, 0x1000, -EFAULT },
                 { LATER_GPA, UINT64_MAX, -EFAULT },
                 { LATER_GPA + 8, 0x1000, -EINVAL },
                 { LATER_GPA, 0x1008, -EINVAL },
                 { LATER_GPA, 0x1000, -EBADF } };
    const struct vmm_memory_pages none = { -1, 0 };
    struct vmm_memory m = one_region();
    struct vmm_memory_later l = { .size = 0 };

    (void)state;
    for (unsigned i = 0; i < COUNT_OF(rows); i++)
        if (vmm_memory_defer(&m, rows[i].gpa, rows[i].size, &none, &l) != rows[i].result || l.map)
            fail_msg("row %u", i);
    assert_true(byte_can_be_written(vmm_memory_at(&m, LATER_GPA, 1)));
    vmm_memory_forget(&l);
    vmm_memory_release(&m);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(an_access_lies_in_one_region_or_nowhere),
        cmocka_unit_test(copies_are_whole_or_not_at_all),
        cmocka_unit_test(ranges_that_no_machine_can_have_are_refused),
        cmocka_unit_test(memory_is_fenced_and_stays_out_of_core_files),
        cmocka_unit_test(the_low_memory_of_a_pc_is_in_small_pages),
        cmocka_unit_test(an_image_is_only_read),
        cmocka_unit_test(images_that_do_not_fit_are_refused),
        cmocka_unit_test(memory_that_comes_later_changes_places_with_the_files),
        cmocka_unit_test(memory_that_comes_later_is_none_before),
        cmocka_unit_test(what_cannot_come_later_is_there_as_it_was),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
