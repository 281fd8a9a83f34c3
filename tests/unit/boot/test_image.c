/* SPDX-License-Identifier: Apache-2.0 */
/* What tells one tree from another, and which file is an image. */
#include "boot/internal.h"
#include "unit.h"

#include <signal.h>
#include <sys/mman.h>
#include <sys/prctl.h>
#include <sys/wait.h>

/* FIPS 180-2, appendix B.1. */
static void a_key_is_half_a_digest_in_hex(void **state)
{
    char key[DIGEST_HEX];
    SHA2_CTX d;

    (void)state;
    SHA256Init(&d);
    SHA256Update(&d, (const uint8_t *)"abc", 3);
    digest_end(&d, key);
    assert_string_equal(key, "ba7816bf8f01cfea414140de5dae2223");
}

/* A cache of root's is root's of a user namespace too, who sees another owner: what is there must be found by both. */
static void who_owns_a_file_is_not_its_version(void **state)
{
    struct stat st = { .st_size = 1, .st_ino = 2 }, other = st;
    char keys[2][DIGEST_HEX];
    SHA2_CTX d;

    (void)state;
    other.st_uid = other.st_gid = 65534;
    for (int i = 0; i < 2; i++) {
        SHA256Init(&d);
        digest_version(&d, i ? &other : &st);
        digest_end(&d, keys[i]);
    }
    assert_string_equal(keys[0], keys[1]);
}

static void digest_tree(const char *dir, char hex[DIGEST_HEX])
{
    AUTO_FD int fd = openat(AT_FDCWD, dir, O_PATH | O_DIRECTORY | O_CLOEXEC);
    struct boot_tree_size size;
    struct err e = { 0 };

    if (boot_tree_digest(fd, "1", hex, &size, &e) < 0)
        fail_msg("%s", e.text);
}

static void write_file(int dir, const char *name, const char *text)
{
    AUTO_FD int fd = openat(dir, name, O_WRONLY | O_CREAT | O_CLOEXEC, 0644);

    assert_int_equal(write(fd, text, strlen(text)), strlen(text));
}

static void change_mode(int dir)
{
    assert_int_equal(fchmodat(dir, "sub/file", 0600, 0), 0);
}

/* The size and the time that anybody can set stay: the kernel tells it all the same. */
static void change_content_secretly(int dir)
{
    struct stat st;
    struct timespec times[2];

    assert_int_equal(fstatat(dir, "sub/file", &st, 0), 0);
    usleep(20000); /* a tick of the kernel's clock for files */
    write_file(dir, "sub/file", "other");
    times[0] = st.st_atim;
    times[1] = st.st_mtim;
    assert_int_equal(utimensat(dir, "sub/file", times, 0), 0);
}

static void replace(int dir)
{
    write_file(dir, "new", "text.");
    assert_int_equal(renameat(dir, "new", dir, "sub/file"), 0);
}

static void rename_entry(int dir)
{
    assert_int_equal(renameat(dir, "sub/file", dir, "sub/fil"), 0);
}

static void move_down(int dir)
{
    assert_int_equal(mkdirat(dir, "sub/sub", 0755), 0);
}

static void retarget(int dir)
{
    assert_int_equal(unlinkat(dir, "link", 0), 0);
    assert_int_equal(symlinkat("/nowhere2", dir, "link"), 0);
}

static void add_fifo(int dir)
{
    assert_int_equal(mknodat(dir, "fifo", S_IFIFO | 0644, 0), 0);
}

/* A link is not followed, so what it leads to is no part of the tree; nor does a FIFO hold anybody up. */
static void every_change_of_a_tree_is_another_digest(void **state)
{
    static const struct {
        const char *name;
        void (*change)(int dir);
    } rows[] = { { "mode", change_mode },    { "content", change_content_secretly },
                 { "replaced", replace },    { "name", rename_entry },
                 { "directory", move_down }, { "target of a link", retarget },
                 { "a fifo", add_fifo } };
    char path[UNIT_PATH_SIZE];
    const char *dir = unit_dir(path);
    AUTO_FD int fd = openat(AT_FDCWD, dir, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
    char last[DIGEST_HEX], now[DIGEST_HEX];

    (void)state;
    assert_int_equal(mkdirat(fd, "sub", 0755), 0);
    write_file(fd, "sub/file", "text.");
    assert_int_equal(symlinkat("/", fd, "link"), 0);
    digest_tree(dir, last);
    for (size_t i = 0; i < COUNT_OF(rows); i++) {
        digest_tree(dir, now);
        assert_string_equal(now, last);
        rows[i].change(fd);
        digest_tree(dir, now);
        unit_row(rows[i].name, strcmp(now, last) != 0);
        memcpy(last, now, sizeof last);
    }
    unit_remove(dir);
    arena_release(unit_arena());
}

static _Noreturn void change_for_ever(int dir)
{
    prctl(PR_SET_PDEATHSIG, SIGKILL);
    for (;;) {
        mkdirat(dir, "entry", 0755);
        unlinkat(dir, "entry", AT_REMOVEDIR);
        mknodat(dir, "entry", S_IFREG | 0644, 0);
        unlinkat(dir, "entry", 0);
    }
}

/* It is no error: of what is there in the end another digest tells. */
static void what_goes_meanwhile_is_no_part_of_a_tree(void **state)
{
    char path[UNIT_PATH_SIZE], hex[DIGEST_HEX];
    const char *dir = unit_dir(path);
    AUTO_FD int fd = openat(AT_FDCWD, dir, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
    struct boot_tree_size size;
    struct err e = { 0 };
    pid_t pid = fork();
    int failed = 0;

    (void)state;
    if (pid == 0)
        change_for_ever(fd);
    for (int i = 0; i < 20000 && failed == 0; i++)
        failed = boot_tree_digest(fd, "1", hex, &size, &e);
    kill(pid, SIGKILL);
    waitpid(pid, NULL, 0);
    if (failed)
        fail_msg("%s", e.text);
    unit_remove(dir);
    arena_release(unit_arena());
}

static void a_tree_without_an_end_is_refused(void **state)
{
    char path[UNIT_PATH_SIZE];
    const char *dir = unit_dir(path);
    char hex[DIGEST_HEX];
    AUTO_FD int top = openat(AT_FDCWD, dir, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
    int at = openat(top, ".", O_RDONLY | O_DIRECTORY | O_CLOEXEC);
    struct boot_tree_size size;
    struct err e = { 0 };

    (void)state;
    for (int i = 0; i < 300; i++) {
        int next;

        assert_int_equal(mkdirat(at, "d", 0755), 0);
        next = openat(at, "d", O_RDONLY | O_DIRECTORY | O_CLOEXEC);
        close(at);
        at = next;
    }
    close(at);
    assert_true(boot_tree_digest(top, "1", hex, &size, &e) < 0);
    assert_non_null(strstr(e.text, "deeper than 256 directories"));
    unit_remove(dir);
    arena_release(unit_arena());
}

static void an_image_is_known_by_its_magic_number(void **state)
{
    static const struct {
        const char *name, *bytes;
        off_t at;
        size_t len; /* of the whole file */
    } rows[] = {
        { "erofs", "\xe2\xe1\xf5\xe0", 1024, 4096 },
        { "ext4", "\x53\xef", 1080, 4096 },
        { "squashfs", "hsqs", 0, 4096 },
        { NULL, "hsqt", 0, 4096 },
        { NULL, "\xe2\xe1\xf5", 1024, 1027 },
        { NULL, "", 0, 0 },
    };

    (void)state;
    for (size_t i = 0; i < COUNT_OF(rows); i++) {
        AUTO_FD int fd = memfd_create("image", MFD_CLOEXEC);

        assert_int_equal(ftruncate(fd, (off_t)rows[i].len), 0);
        assert_int_equal(pwrite(fd, rows[i].bytes, strlen(rows[i].bytes), rows[i].at),
                         strlen(rows[i].bytes));
        unit_row(arena_format(unit_arena(), "%zu", i), str_eq(boot_image_type(fd), rows[i].name) ||
                                                           (!rows[i].name && !boot_image_type(fd)));
    }
    arena_release(unit_arena());
}

/* Of the lock's file in a directory; 1000: there is none. */
static unsigned mode_of_lock(int dir)
{
    struct stat st;

    return fstatat(dir, "lock", &st, AT_SYMLINK_NOFOLLOW) < 0 ? 1000 : st.st_mode & 07777;
}

static void the_lock_of_a_cache_is_its_owners_alone(void **state)
{
    enum { NOBODY = 65534 };
    char path[UNIT_PATH_SIZE];
    const char *dir = unit_dir(path);
    AUTO_FD int fd = openat(AT_FDCWD, dir, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
    struct err e = { 0 };
    int lock = -1, status = 0;

    (void)state;
    write_file(fd, "lock", ""); /* as an older version has left it */
    assert_int_equal(mode_of_lock(fd), 0644);
    assert_int_equal(boot_lock(unit_arena(), dir, &lock, &e), 0);
    assert_true(lock >= 0);
    assert_int_equal(mode_of_lock(fd), 0600);
    /* Somebody else neither waits for it nor can hold it. */
    if (geteuid() == 0 && fork() == 0) {
        alarm(60);
        if (fchmod(fd, 0755) < 0 || setresuid(NOBODY, NOBODY, NOBODY) < 0)
            _exit(1);
        _exit(boot_lock(unit_arena(), dir, &lock, &e) == 0 && lock == -1 ? 0 : 2);
    }
    assert_true(wait(&status) < 0 || status == 0);
    close(lock);
    assert_int_equal(unlinkat(fd, "lock", 0), 0);
    assert_int_equal(symlinkat("elsewhere", fd, "lock"), 0);
    assert_int_equal(boot_lock(unit_arena(), dir, &lock, &e), -ELOOP);
    assert_int_equal(faccessat(fd, "elsewhere", F_OK, 0), -1);
    unit_remove(dir);
    arena_release(unit_arena());
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(a_key_is_half_a_digest_in_hex),
        cmocka_unit_test(who_owns_a_file_is_not_its_version),
        cmocka_unit_test(every_change_of_a_tree_is_another_digest),
        cmocka_unit_test(what_goes_meanwhile_is_no_part_of_a_tree),
        cmocka_unit_test(a_tree_without_an_end_is_refused),
        cmocka_unit_test(an_image_is_known_by_its_magic_number),
        cmocka_unit_test(the_lock_of_a_cache_is_its_owners_alone),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
