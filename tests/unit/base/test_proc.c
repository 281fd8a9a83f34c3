/* SPDX-License-Identifier: Apache-2.0 */
#include "unit.h"

#include <fcntl.h>
#include <sys/prctl.h>

static void a_file_of_procfs_is_opened_by_symlinks_that_are_none_of_magic(void **state)
{
    char text[32] = "";
    int fd = proc_open("thread-self/comm", O_RDONLY);

    (void)state;
    assert_true(fd >= 0);
    assert_true(fcntl(fd, F_GETFD) & FD_CLOEXEC);
    assert_true(read(fd, text, sizeof text - 1) > 0);
    assert_non_null(strstr(text, "test_proc"));
    close(fd);
}

static void a_way_that_leaves_procfs_is_refused(void **state)
{
    static const struct {
        const char *path;
        int error;
    } rows[] = {
        { "self/exe", -ELOOP },        { "self/fd/0", -ELOOP },
        { "self/cwd/.", -ELOOP },      { "self/root/etc/passwd", -ELOOP },
        { "../etc/passwd", -EXDEV },   { "self/../../etc/passwd", -EXDEV },
        { "/proc/self/comm", -EXDEV }, { "no/such/file", -ENOENT },
    };

    (void)state;
    for (size_t i = 0; i < COUNT_OF(rows); i++)
        unit_row(rows[i].path, proc_open(rows[i].path, O_RDONLY) == rows[i].error);
}

static void a_write_is_one_write_of_all_of_it(void **state)
{
    char name[16];

    (void)state;
    assert_int_equal(proc_write("self/comm", "renamed", 7), 0);
    assert_int_equal(prctl(PR_GET_NAME, name), 0);
    assert_string_equal(name, "renamed");
    assert_int_equal(proc_write("self/no-such-file", "x", 1), -ENOENT);
    assert_true(proc_write("self/status", "x", 1) < 0);
}

/* The last one: it changes the working directory of the test. */
static void host_paths_go_by_the_root_that_was_held(void **state)
{
    char buf[FD_PATH_SIZE];
    int root = host_root_open();

    (void)state;
    assert_true(root >= 0);
    assert_string_equal(host_path("/proc/sys"), "/proc/sys");
    assert_string_equal(fd_path(buf, 5, "x"), "/proc/self/fd/5/x");
    assert_int_equal(host_root_enter(root), 0);
    close(root);
    assert_string_equal(host_path("/proc/sys"), "proc/sys");
    assert_string_equal(host_path("/"), ".");
    assert_string_equal(host_path("relative"), "relative");
    assert_string_equal(fd_path(buf, 5, NULL), "proc/self/fd/5");
    assert_int_equal(faccessat(AT_FDCWD, host_path("/proc/self/status"), R_OK, 0), 0);
    root = proc_open("self/status", O_RDONLY);
    assert_true(root >= 0);
    close(root);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(a_file_of_procfs_is_opened_by_symlinks_that_are_none_of_magic),
        cmocka_unit_test(a_way_that_leaves_procfs_is_refused),
        cmocka_unit_test(a_write_is_one_write_of_all_of_it),
        cmocka_unit_test(host_paths_go_by_the_root_that_was_held),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
