/* SPDX-License-Identifier: Apache-2.0 */
/* Compiled filters on disk: what is a hit, and that nothing but a whole entry of ours ever is. */
#include "unit.h"

#include <dirent.h>
#include <linux/filter.h>

#include "security/internal.h"

enum { ENTRIES = 64 };

static char dir[UNIT_PATH_SIZE], cache[2 * UNIT_PATH_SIZE];

static const struct spec_seccomp *profile_of(const char *rules)
{
    struct arena *a = unit_arena();
    const char *text = arena_format(a,
                                    "{\"ociVersion\":\"1.3.0\",\"linux\":{\"seccomp\":{"
                                    "\"defaultAction\":\"SCMP_ACT_ALLOW\",\"syscalls\":[%s]}}}",
                                    rules);
    struct spec *s = NULL;
    struct err e = { 0 };

    if (spec_parse(a, text, strlen(text), &s, NULL, &e) < 0)
        fail_msg("%s: %s", e.pointer, e.text);
    return &s->linux.seccomp;
}

#define RULE(name, action) "{\"names\":[\"" name "\"],\"action\":\"" action "\"}"
#define ONE RULE("reboot", "SCMP_ACT_ERRNO")

/* A copy of the program, and its length. */
static struct sock_filter *program(const struct spec_seccomp *profile, const char *where, int *n)
{
    struct err e = { 0 };

    *n = seccomp_program(profile, where, &e);
    if (*n <= 0)
        fail_msg("%s", e.text);
    return memcpy(arena_array(unit_arena(), (size_t)*n, sizeof(struct sock_filter)),
                  seccomp_program_code(), (size_t)*n * sizeof(struct sock_filter));
}

static void assert_right(const struct spec_seccomp *profile)
{
    int n, direct;
    struct sock_filter *cached = program(profile, cache, &n);
    struct sock_filter *compiled = program(profile, NULL, &direct);

    assert_int_equal(n, direct);
    assert_memory_equal(cached, compiled, (size_t)n * sizeof *cached);
}

static int entries(char *name)
{
    DIR *list = opendir(cache);
    const struct dirent *d;
    int n = 0;

    while (list && (d = readdir(list)))
        if (d->d_name[0] != '.') {
            n++;
            if (name)
                base_format(name, 2 * UNIT_PATH_SIZE, "%s/%s", cache, d->d_name);
        }
    if (list)
        closedir(list);
    return n;
}

/* The inode tells whether an entry was made anew. */
static ino_t inode(const char *path)
{
    struct stat st;

    assert_int_equal(stat(path, &st), 0);
    return st.st_ino;
}

static int setup(void **state)
{
    (void)state;
    unit_dir(dir);
    base_format(cache, sizeof cache, "%s/cache", dir);
    return 0;
}

static int teardown(void **state)
{
    (void)state;
    unit_remove(dir);
    arena_release(unit_arena());
    return 0;
}

static void a_miss_makes_an_entry_that_only_we_can_read(void **state)
{
    char path[2 * UNIT_PATH_SIZE];
    struct stat st;

    (void)state;
    assert_right(profile_of(ONE));
    assert_int_equal(entries(path), 1);
    assert_int_equal(stat(path, &st), 0);
    assert_int_equal(st.st_mode & 07777, 0600);
    assert_int_equal(stat(cache, &st), 0);
    assert_int_equal(st.st_mode & 07777, 0700);
}

static void a_hit_is_not_compiled_again_and_not_written_again(void **state)
{
    char path[2 * UNIT_PATH_SIZE];
    ino_t was;

    (void)state;
    assert_right(profile_of(ONE));
    entries(path);
    was = inode(path);
    assert_right(profile_of(ONE));
    assert_int_equal(inode(path), was);
    assert_int_equal(entries(NULL), 1);
}

static void another_profile_is_another_entry(void **state)
{
    static const char *const rules[] = {
        RULE("reboot", "SCMP_ACT_LOG"),
        RULE("mkdir", "SCMP_ACT_ERRNO"),
        ONE "," RULE("mkdir", "SCMP_ACT_ERRNO"),
        "{\"names\":[\"reboot\"],\"action\":\"SCMP_ACT_ERRNO\",\"errnoRet\":0}",
        "{\"names\":[\"reboot\"],\"action\":\"SCMP_ACT_ERRNO\",\"args\":[{\"index\":1,"
        "\"value\":1,\"op\":\"SCMP_CMP_EQ\"}]}",
    };

    (void)state;
    assert_right(profile_of(ONE));
    for (size_t i = 0; i < COUNT_OF(rules); i++) {
        assert_right(profile_of(rules[i]));
        assert_int_equal(entries(NULL), (int)i + 2);
    }
}

static void an_entry_of_another_profile_under_our_name_is_a_miss(void **state)
{
    char ours[2 * UNIT_PATH_SIZE], other[2 * UNIT_PATH_SIZE];

    (void)state;
    assert_right(profile_of(ONE));
    entries(ours);
    base_format(other, sizeof other, "%s", ours);
    assert_int_equal(unlink(ours), 0);
    assert_right(profile_of(RULE("mkdir", "SCMP_ACT_KILL")));
    entries(other);
    assert_int_equal(rename(other, ours), 0);
    assert_right(profile_of(ONE));
}

static void a_damaged_entry_is_a_miss_and_is_replaced(void **state)
{
    char path[2 * UNIT_PATH_SIZE];
    char *whole;
    size_t size;
    struct err e = { 0 };

    (void)state;
    assert_right(profile_of(ONE));
    entries(path);
    assert_int_equal(file_read(unit_arena(), AT_FDCWD, path, 1 << 20, &whole, &size, &e), 0);
    for (size_t i = 0; i < size; i++) {
        char *broken = memcpy(arena_alloc(unit_arena(), size), whole, size);
        char *now;
        size_t now_size;

        broken[i] ^= 0x40;
        assert_int_equal(file_replace(path, broken, size, 0600, &e), 0);
        assert_right(profile_of(ONE));
        assert_int_equal(file_read(unit_arena(), AT_FDCWD, path, 1 << 20, &now, &now_size, &e), 0);
        assert_int_equal(now_size, size);
        assert_memory_equal(now, whole, size);
    }
}

static void a_truncated_or_lengthened_entry_is_a_miss(void **state)
{
    char path[2 * UNIT_PATH_SIZE];
    static const off_t by[] = { -1, -8, -64, 8 };
    struct stat st;

    (void)state;
    for (size_t i = 0; i < COUNT_OF(by); i++) {
        off_t whole;

        assert_right(profile_of(ONE));
        entries(path);
        assert_int_equal(stat(path, &st), 0);
        whole = st.st_size;
        assert_int_equal(truncate(path, whole + by[i]), 0);
        assert_right(profile_of(ONE));
        assert_int_equal(stat(path, &st), 0);
        assert_int_equal(st.st_size, whole);
    }
    assert_int_equal(truncate(path, 0), 0);
    assert_right(profile_of(ONE));
}

static void an_entry_that_others_may_write_is_a_miss(void **state)
{
    char path[2 * UNIT_PATH_SIZE];
    ino_t was;

    (void)state;
    assert_right(profile_of(ONE));
    entries(path);
    was = inode(path);
    assert_int_equal(chmod(path, 0620), 0);
    assert_right(profile_of(ONE));
    assert_int_not_equal(inode(path), was);
}

static void a_symlink_or_a_fifo_in_its_place_is_replaced(void **state)
{
    char path[2 * UNIT_PATH_SIZE], away[3 * UNIT_PATH_SIZE];
    struct stat st;

    (void)state;
    assert_right(profile_of(ONE));
    entries(path);
    base_format(away, sizeof away, "%s/elsewhere", dir);
    assert_int_equal(rename(path, away), 0);
    assert_int_equal(symlink(away, path), 0);
    assert_right(profile_of(ONE));
    assert_int_equal(lstat(path, &st), 0);
    assert_true(S_ISREG(st.st_mode));
    assert_int_equal(unlink(path), 0);
    assert_int_equal(mkfifo(path, 0600), 0);
    assert_right(profile_of(ONE)); /* and does not hang */
    assert_int_equal(lstat(path, &st), 0);
    assert_true(S_ISREG(st.st_mode));
}

static void a_directory_that_others_may_enter_is_not_used(void **state)
{
    (void)state;
    assert_int_equal(mkdir(cache, 0700), 0);
    assert_int_equal(chmod(cache, 0750), 0);
    assert_right(profile_of(ONE));
    assert_int_equal(entries(NULL), 0);
}

static void without_a_directory_to_write_to_the_filter_is_made_all_the_same(void **state)
{
    (void)state;
    base_format(cache, sizeof cache, "%s/missing/cache", dir);
    assert_right(profile_of(ONE));
    base_format(cache, sizeof cache, "%s/file", dir);
    assert_int_equal(file_replace(cache, "x", 1, 0600, NULL), 0);
    assert_right(profile_of(ONE));
}

static void the_oldest_goes_when_there_are_too_many(void **state)
{
    char path[2 * UNIT_PATH_SIZE], name[3 * UNIT_PATH_SIZE];

    (void)state;
    assert_right(profile_of(ONE));
    entries(path);
    for (int i = 1; i < ENTRIES; i++) {
        const struct timespec old[2] = { { 1000 + i, 0 }, { 1000 + i, 0 } };

        base_format(name, sizeof name, "%s/%016x", cache, i);
        assert_int_equal(file_replace(name, "x", 1, 0600, NULL), 0);
        assert_int_equal(utimensat(AT_FDCWD, name, old, 0), 0);
    }
    assert_int_equal(entries(NULL), ENTRIES);
    assert_right(profile_of(RULE("mkdir", "SCMP_ACT_ERRNO")));
    assert_int_equal(entries(NULL), ENTRIES);
    base_format(name, sizeof name, "%s/%016x", cache, 1);
    assert_int_equal(access(name, F_OK), -1); /* the oldest */
    base_format(name, sizeof name, "%s/%016x", cache, 2);
    assert_int_equal(access(name, F_OK), 0);
    assert_int_equal(access(path, F_OK), 0);
}

static void a_profile_too_large_for_the_cache_is_compiled(void **state)
{
    AUTO_STRBUF struct strbuf b = { 0 };

    (void)state;
    strbuf_str(&b, "{\"names\":[\"reboot\"");
    for (int i = 0; i < 9000; i++)
        strbuf_format(&b, ",\"unknown%d\"", i);
    strbuf_str(&b, "],\"action\":\"SCMP_ACT_ERRNO\"}");
    assert_right(profile_of(b.ptr));
    assert_int_equal(entries(NULL), 0);
}

static void a_profile_that_does_not_compile_is_not_kept(void **state)
{
    struct spec_seccomp profile = *profile_of(ONE);
    struct err e = { 0 };

    (void)state;
    profile.default_action = "SCMP_ACT_UNHEARD_OF";
    assert_true(seccomp_program(&profile, cache, &e) < 0);
    assert_int_equal(entries(NULL), 0);
}

#define T(name) cmocka_unit_test_setup_teardown(name, setup, teardown)

int main(void)
{
    const struct CMUnitTest tests[] = {
        T(a_miss_makes_an_entry_that_only_we_can_read),
        T(a_hit_is_not_compiled_again_and_not_written_again),
        T(another_profile_is_another_entry),
        T(an_entry_of_another_profile_under_our_name_is_a_miss),
        T(a_damaged_entry_is_a_miss_and_is_replaced),
        T(a_truncated_or_lengthened_entry_is_a_miss),
        T(an_entry_that_others_may_write_is_a_miss),
        T(a_symlink_or_a_fifo_in_its_place_is_replaced),
        T(a_directory_that_others_may_enter_is_not_used),
        T(without_a_directory_to_write_to_the_filter_is_made_all_the_same),
        T(the_oldest_goes_when_there_are_too_many),
        T(a_profile_too_large_for_the_cache_is_compiled),
        T(a_profile_that_does_not_compile_is_not_kept),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
