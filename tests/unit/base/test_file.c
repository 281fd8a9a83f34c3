/* SPDX-License-Identifier: Apache-2.0 */
#include "unit.h"

#include <dirent.h>

static char dir[UNIT_PATH_SIZE];
static int dir_fd;

static int set_up(void **state)
{
    (void)state;
    dir_fd = open(unit_dir(dir), O_RDONLY | O_DIRECTORY | O_CLOEXEC);
    return dir_fd < 0;
}

static int tear_down(void **state)
{
    (void)state;
    close(dir_fd);
    unit_remove(dir);
    return 0;
}

static void write_file(const char *name, const void *data, size_t len)
{
    AUTO_FD int fd = openat(dir_fd, name, O_WRONLY | O_CREAT | O_TRUNC, 0600);

    assert_true(fd >= 0);
    assert_int_equal(fd_write_all(fd, data, len), 0);
}

static void a_file_of_any_size_is_read_whole(void **state)
{
    static const size_t sizes[] = { 0, 1, 4094, 4095, 4096, 4097, 262143, 262144, 3000000 };
    static char data[3000000];
    struct err e = { 0 };

    (void)state;
    for (size_t i = 0; i < sizeof(data); i++)
        data[i] = (char)(i % 251);
    for (size_t i = 0; i < COUNT_OF(sizes); i++) {
        struct arena *a = unit_arena();
        char *text, *next;
        size_t len;

        write_file("f", data, sizes[i]);
        assert_int_equal(file_read(a, dir_fd, "f", sizeof(data), &text, &len, &e), 0);
        assert_int_equal(len, sizes[i]);
        assert_memory_equal(text, data, len);
        assert_int_equal(text[len], '\0');
        next = arena_alloc(a, 64); /* what was read is not handed out again, and this is zeroed */
        assert_true(next > text + len || next + 64 <= text);
        for (size_t k = 0; k < 64; k++)
            assert_int_equal(next[k], 0);
        arena_release(a);
    }
}

static void the_first_read_of_a_pipe_and_the_rest_are_the_whole(void **state)
{
    struct arena *a = unit_arena();
    char path[FD_PATH_SIZE], *text;
    struct err e = { 0 };
    size_t len;
    int ends[2], fd;

    (void)state;
    assert_int_equal(pipe(ends), 0);
    assert_int_equal(fd_write_all(ends[1], "one", 3), 0);
    fd = file_read_first(a, AT_FDCWD, fd_path(path, ends[0], NULL), 0, 6, &text, &len, &e);
    assert_true(fd >= 0);
    assert_string_equal(text, "one");
    assert_int_equal(fd_write_all(ends[1], "two", 3), 0);
    close(ends[1]);
    assert_int_equal(file_read_rest(a, fd, "f", 6, &text, &len, &e), 1);
    assert_string_equal(text, "onetwo");
    assert_int_equal(len, 6);
    assert_int_equal(file_read_rest(a, fd, "f", 6, &text, &len, &e), 0);
    assert_int_equal(len, 6);
    close(fd);
    close(ends[0]);
    arena_release(a);
}

static void what_is_too_large_with_its_rest_is_refused(void **state)
{
    struct arena *a = unit_arena();
    char *text = arena_strdup(a, "one");
    struct err e = { 0 };
    size_t len = 3;
    int fd;

    (void)state;
    write_file("f", "two", 3);
    fd = openat(dir_fd, "f", O_RDONLY);
    assert_int_equal(file_read_rest(a, fd, "f", 5, &text, &len, &e), -EFBIG);
    assert_string_equal(e.text, "'f' is larger than 5 bytes: File too large");
    assert_int_equal(len, 3);
    close(fd);
    arena_release(a);
}

static void a_file_of_the_kernel_is_read_whole(void **state)
{
    struct arena *a = unit_arena();
    char *text;
    size_t len;

    (void)state;
    assert_int_equal(file_read(a, AT_FDCWD, "/proc/self/mountinfo", 1 << 20, &text, &len, NULL), 0);
    assert_true(len > 0 && len == strlen(text));
    assert_int_equal(text[len - 1], '\n');
    assert_int_equal(file_read(a, AT_FDCWD, "/proc/self/comm", 64, &text, NULL, NULL), 0);
    arena_release(a);
}

static void a_file_above_the_limit_is_refused(void **state)
{
    struct arena *a = unit_arena();
    struct err e = { 0 };
    char *text = (char *)"untouched";
    size_t len = 7;

    (void)state;
    write_file("f", "12345", 5);
    assert_int_equal(file_read(a, dir_fd, "f", 4, &text, &len, &e), -EFBIG);
    assert_string_equal(e.text, "'f' is larger than 4 bytes: File too large");
    assert_string_equal(text, "untouched");
    assert_int_equal(len, 7);
    assert_int_equal(file_read(a, dir_fd, "f", 5, &text, &len, &e), 0);
    assert_int_equal(file_read(a, AT_FDCWD, "/dev/zero", 1 << 20, &text, &len, &e), -EFBIG);
    arena_release(a);
}

static void a_file_that_cannot_be_read_is_named(void **state)
{
    struct arena *a = unit_arena();
    struct err e = { 0 };
    char *text;

    (void)state;
    assert_int_equal(file_read(a, dir_fd, "missing", 9, &text, NULL, &e), -ENOENT);
    assert_string_equal(e.text, "cannot open 'missing': No such file or directory");
    assert_int_equal(file_read(a, dir_fd, ".", 9, &text, NULL, &e), -EISDIR);
    assert_string_equal(e.text, "cannot read '.': Is a directory");
    arena_release(a);
}

static void a_setting_is_written_at_once_or_not(void **state)
{
    struct arena *a = unit_arena();
    char *text;

    (void)state;
    write_file("f", "", 0);
    assert_int_equal(file_write_once(dir_fd, "f", "max", 3), 0);
    assert_int_equal(file_read(a, dir_fd, "f", 9, &text, NULL, NULL), 0);
    assert_string_equal(text, "max");
    assert_int_equal(file_write_once(dir_fd, "missing", "max", 3), -ENOENT);
    assert_int_equal(faccessat(dir_fd, "missing", F_OK, 0), -1);
    assert_int_equal(file_write_once(AT_FDCWD, "/dev/full", "max", 3), -ENOSPC);
    arena_release(a);
}

static size_t count_entries(void)
{
    DIR *d = opendir(dir);
    size_t n = 0;

    assert_non_null(d);
    while (readdir(d) != NULL)
        n++;
    closedir(d);
    return n - 2; /* "." and ".." */
}

static void a_replaced_file_is_the_old_or_the_new_one(void **state)
{
    struct arena *a = unit_arena();
    struct stat st;
    char path[256], *text;

    (void)state;
    base_format(path, sizeof(path), "%s/state", dir);
    assert_int_equal(file_replace(path, "old", 3, 0600, NULL), 0);
    assert_int_equal(file_replace(path, "newer", 5, 0600, NULL), 0);
    assert_int_equal(file_read(a, AT_FDCWD, path, 9, &text, NULL, NULL), 0);
    assert_string_equal(text, "newer");
    assert_int_equal(stat(path, &st), 0);
    assert_int_equal(st.st_mode & 07777, 0600);
    assert_int_equal(count_entries(), 1);
    arena_release(a);
}

static void a_leftover_temporary_is_stepped_over(void **state)
{
    char path[256], leftover[300];

    (void)state;
    base_format(path, sizeof(path), "%s/state", dir);
    base_format(leftover, sizeof(leftover), "state.%d.0.tmp", getpid());
    write_file(leftover, "dead", 4);
    assert_int_equal(file_replace(path, "x", 1, 0600, NULL), 0);
    assert_int_equal(count_entries(), 2);
}

static void a_failed_replacement_leaves_nothing(void **state)
{
    struct err e = { 0 };
    char path[256];

    (void)state;
    base_format(path, sizeof(path), "%s/taken", dir);
    assert_int_equal(mkdir(path, 0700), 0);
    assert_int_equal(file_replace(path, "x", 1, 0600, &e), -EISDIR);
    assert_non_null(strstr(e.text, "taken"));
    assert_int_equal(count_entries(), 1);
    base_format(path, sizeof(path), "%s/missing/state", dir);
    assert_int_equal(file_replace(path, "x", 1, 0600, &e), -ENOENT);
    base_format(path, sizeof(path), "%s/pipe", dir);
    assert_int_equal(mkfifo(path, 0600), 0);
    assert_int_equal(file_replace(path, "x", 1, 0600, &e), -EINVAL);
    assert_int_equal(unlink(path), 0);
    assert_int_equal(count_entries(), 1);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test_setup_teardown(a_file_of_any_size_is_read_whole, set_up, tear_down),
        cmocka_unit_test(the_first_read_of_a_pipe_and_the_rest_are_the_whole),
        cmocka_unit_test_setup_teardown(what_is_too_large_with_its_rest_is_refused, set_up,
                                        tear_down),
        cmocka_unit_test(a_file_of_the_kernel_is_read_whole),
        cmocka_unit_test_setup_teardown(a_file_above_the_limit_is_refused, set_up, tear_down),
        cmocka_unit_test_setup_teardown(a_file_that_cannot_be_read_is_named, set_up, tear_down),
        cmocka_unit_test_setup_teardown(a_setting_is_written_at_once_or_not, set_up, tear_down),
        cmocka_unit_test_setup_teardown(a_replaced_file_is_the_old_or_the_new_one, set_up,
                                        tear_down),
        cmocka_unit_test_setup_teardown(a_leftover_temporary_is_stepped_over, set_up, tear_down),
        cmocka_unit_test_setup_teardown(a_failed_replacement_leaves_nothing, set_up, tear_down),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
