/* SPDX-License-Identifier: Apache-2.0 */
/*
 * A root filesystem whose author is hostile. Every test has a directory "root" and beside it
 * "outside", which must stay empty whatever is asked for.
 */
#include "unit.h"

#include <dirent.h>
#include <limits.h>
#include <linux/fs.h>
#include <signal.h>
#include <time.h>

static char dir[UNIT_PATH_SIZE];
static int root_fd;

static const char *beside(const char *name)
{
    static char path[512];

    base_format(path, sizeof(path), "%s/%s", dir, name);
    return path;
}

static int set_up(void **state)
{
    (void)state;
    unit_dir(dir);
    if (mkdir(beside("outside"), 0755) < 0 || mkdir(beside("root"), 0755) < 0)
        return 1;
    root_fd = open(beside("root"), O_PATH | O_DIRECTORY | O_CLOEXEC);
    return root_fd < 0;
}

static size_t count_entries(const char *path)
{
    DIR *d = opendir(path);
    size_t n = 0;

    assert_non_null(d);
    while (readdir(d) != NULL)
        n++;
    closedir(d);
    return n - 2; /* "." and ".." */
}

static int tear_down(void **state)
{
    size_t strays = count_entries(beside("outside"));

    (void)state;
    close(root_fd);
    unit_remove(dir);
    return strays != 0;
}

static bool is_dir(const char *path)
{
    struct stat st;

    return fstatat(root_fd, path, &st, AT_SYMLINK_NOFOLLOW) == 0 && S_ISDIR(st.st_mode);
}

static bool is_same(int fd, const char *path)
{
    struct stat a, b;

    return fstat(fd, &a) == 0 && fstatat(root_fd, path, &b, 0) == 0 && a.st_ino == b.st_ino &&
           a.st_dev == b.st_dev;
}

static void link_to(const char *target, const char *path)
{
    assert_int_equal(symlinkat(target, root_fd, path), 0);
}

static void make_file(const char *path)
{
    int fd = openat(root_fd, path, O_WRONLY | O_CREAT | O_EXCL, 0644);

    assert_true(fd >= 0);
    close(fd);
}

/* Makes `path` and checks that `expected`, named from the root without symlinks, is what came. */
static void makes(const char *path, const char *expected)
{
    AUTO_FD int fd = root_mkdirs(root_fd, path, 0755);

    if (fd < 0)
        fail_msg("'%s': %s", path, strerror(-fd));
    if (!is_dir(expected) || !is_same(fd, expected))
        fail_msg("'%s' did not become '%s'", path, expected);
    assert_int_equal(fcntl(fd, F_GETFD), FD_CLOEXEC);
    assert_true((fcntl(fd, F_GETFL) & O_PATH) != 0);
}

static void refuses(const char *path, int code)
{
    int fd = root_mkdirs(root_fd, path, 0755);

    if (fd != -code)
        fail_msg("'%s': %s, not %s", path, fd < 0 ? strerror(-fd) : "success", strerror(code));
}

static void missing_directories_are_made(void **state)
{
    struct stat st;
    mode_t old;

    (void)state;
    makes("/a/b/c", "a/b/c");
    makes("a/b/c", "a/b/c");
    makes("a/b/d", "a/b/d");
    makes("//a/./b//e/", "a/b/e");
    makes("/one", "one");
    old = umask(0);
    close(root_mkdirs(root_fd, "mode/deep", 0711));
    umask(old);
    assert_int_equal(fstatat(root_fd, "mode", &st, 0), 0);
    assert_int_equal(st.st_mode & 07777, 0711);
    assert_int_equal(fstatat(root_fd, "mode/deep", &st, 0), 0);
    assert_int_equal(st.st_mode & 07777, 0711);
}

static void the_root_itself_is_there_already(void **state)
{
    (void)state;
    makes("/", ".");
    makes(".", ".");
    makes("..", ".");
    makes("", ".");
}

static void dot_dot_stays_inside(void **state)
{
    (void)state;
    makes("../../../../outside/x", "outside/x");
    makes("/../y", "y");
    makes("p/q/../../../../z", "z");
    assert_true(is_dir("p/q"));
    makes("new/..", ".");
    assert_true(is_dir("new"));
}

static void absolute_symlinks_start_at_the_root(void **state)
{
    (void)state;
    link_to("/", "all");
    link_to("/run", "var-run"); /* dangling until something is asked below it */
    makes("all/all/all/x", "x");
    makes("var-run/lock", "run/lock");
    link_to(beside("outside"), "out");
    makes("out/evil", beside("outside/evil") + 1);
}

static void relative_symlinks_start_where_they_lie(void **state)
{
    (void)state;
    makes("a/b", "a/b");
    link_to("../../../../../../outside", "a/b/up");
    makes("a/b/up/evil", "outside/evil");
    link_to("../c/./d/", "a/sideways");
    makes("a/sideways/e", "c/d/e");
    link_to("sideways/../again", "a/chain");
    makes("a/chain", "c/again");
}

static void symlinks_in_a_circle_are_refused(void **state)
{
    (void)state;
    link_to("loop", "loop");
    link_to("pong", "ping");
    link_to("ping", "pong");
    refuses("loop", ELOOP);
    refuses("loop/x", ELOOP);
    refuses("ping/x/y", ELOOP);
    link_to("missing/../circle", "circle"); /* makes progress each time round, and yet ends */
    refuses("circle/x", ELOOP);
}

static void a_file_in_the_way_is_no_directory(void **state)
{
    (void)state;
    make_file("file");
    link_to("/file", "alias");
    assert_int_equal(mkfifoat(root_fd, "fifo", 0600), 0);
    refuses("file", ENOTDIR);
    refuses("file/x", ENOTDIR);
    refuses("alias/x", ENOTDIR);
    refuses("fifo/x/y", ENOTDIR);
    makes("d", "d");
    link_to("../file", "d/up");
    refuses("d/new/../up/x", ENOTDIR);
}

static void names_and_paths_have_their_limits(void **state)
{
    char name[NAME_MAX + 2], path[2 * PATH_MAX];
    char target[PATH_MAX];

    (void)state;
    memset(name, 'n', sizeof(name) - 1);
    name[NAME_MAX + 1] = '\0';
    refuses(name, ENAMETOOLONG);
    name[NAME_MAX] = '\0';
    makes(name, name);
    base_format(path, sizeof(path), "new/%sx", name);
    refuses(path, ENAMETOOLONG);
    memset(path, 'a', sizeof(path) - 1);
    for (size_t i = 1; i < sizeof(path); i += 2)
        path[i] = '/';
    path[sizeof(path) - 1] = '\0';
    refuses(path, ENAMETOOLONG);
    memset(target, '/', sizeof(target) - 2);
    target[sizeof(target) - 2] = 'x';
    target[sizeof(target) - 1] = '\0';
    link_to(target, "long");
    makes("long", "x");
    refuses("long/abc", ENAMETOOLONG);
}

static void existing_trees_cost_one_call_and_stay_as_they_are(void **state)
{
    struct stat before, after;

    (void)state;
    makes("a/b", "a/b");
    assert_int_equal(fchmodat(root_fd, "a/b", 0500, 0), 0);
    assert_int_equal(fstatat(root_fd, "a/b", &before, 0), 0);
    makes("a/b", "a/b");
    assert_int_equal(fstatat(root_fd, "a/b", &after, 0), 0);
    assert_int_equal(before.st_mode, after.st_mode);
    assert_int_equal(before.st_ctim.tv_nsec, after.st_ctim.tv_nsec);
}

static void opening_stays_inside_the_root(void **state)
{
    AUTO_FD int made = -1;

    (void)state;
    link_to("../../../../outside/secret", "escape");
    assert_int_equal(root_open(root_fd, "escape", O_RDONLY, 0), -ENOENT);
    assert_int_equal(root_open(root_fd, beside("outside"), O_PATH, 0), -ENOENT);
    assert_int_equal(root_open(root_fd, "../outside", O_PATH, 0), -ENOENT);
    makes("outside", "outside");
    made = root_open(root_fd, "escape", O_WRONLY | O_CREAT, 0640);
    assert_true(made >= 0);
    assert_true(is_same(made, "outside/secret"));
    assert_int_equal(fcntl(made, F_GETFD), FD_CLOEXEC);
}

static void a_mode_is_passed_only_to_what_is_made(void **state)
{
    AUTO_FD int fd = root_open(root_fd, ".", O_RDONLY | O_DIRECTORY, 0644);
    AUTO_FD int unnamed = root_open(root_fd, ".", O_WRONLY | O_TMPFILE, 0600);

    (void)state;
    assert_true(fd >= 0);
    assert_true(unnamed >= 0 || unnamed == -EOPNOTSUPP);
}

static void magic_links_are_never_followed(void **state)
{
    AUTO_FD int proc = open("/proc", O_PATH | O_DIRECTORY | O_CLOEXEC);

    (void)state;
    assert_true(proc >= 0);
    assert_int_equal(root_open(proc, "self/root", O_PATH, 0), -ELOOP);
    assert_int_equal(root_open(proc, "self/exe", O_RDONLY, 0), -ELOOP);
    assert_int_equal(root_mkdirs(proc, "self/root/tmp", 0755), -ELOOP);
    assert_int_equal(root_mkdirs(proc, "self/cwd", 0755), -ELOOP);
}

/* Swaps root/swap between a directory and a symlink that leads outside, until it is killed. */
static _Noreturn void swap_for_ever(const char *target)
{
    if (symlinkat(target, root_fd, "trap") < 0)
        _exit(1);
    mkdirat(root_fd, "swap", 0755);
    for (;;)
        renameat2(root_fd, "trap", root_fd, "swap", RENAME_EXCHANGE);
}

static void race_against(const char *target)
{
    struct timespec start, now;
    size_t made = 0;
    pid_t attacker = fork();

    assert_true(attacker >= 0);
    if (attacker == 0)
        swap_for_ever(target);
    clock_gettime(CLOCK_MONOTONIC, &start);
    do {
        char path[64];
        AUTO_FD int fd = -1;

        base_format(path, sizeof(path), "swap/n%zu/deep", made % 50);
        fd = root_mkdirs(root_fd, path, 0755);
        made += fd >= 0;
        clock_gettime(CLOCK_MONOTONIC, &now);
    } while (now.tv_sec - start.tv_sec < 1 || (made < 20 && now.tv_sec - start.tv_sec < 20));
    assert_int_equal(kill(attacker, SIGKILL), 0);
    assert_int_equal(waitpid(attacker, NULL, 0), attacker);
    assert_true(made >= 20);
    assert_int_equal(count_entries(beside("outside")), 0);
}

static void a_component_swapped_for_a_symlink_leads_nowhere_else(void **state)
{
    (void)state;
    race_against("../outside");
}

static void a_component_swapped_for_an_absolute_symlink_neither(void **state)
{
    char target[512];

    (void)state;
    base_format(target, sizeof(target), "%s", beside("outside"));
    race_against(target);
}

#define IN_A_ROOT(test) cmocka_unit_test_setup_teardown(test, set_up, tear_down)

static void the_kernel_resolves_inside_a_root(void **state)
{
    (void)state;
    unit_skip("openat2(2) is missing here (qemu-user 7.2): nothing of root.c can be tried");
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        IN_A_ROOT(missing_directories_are_made),
        IN_A_ROOT(the_root_itself_is_there_already),
        IN_A_ROOT(dot_dot_stays_inside),
        IN_A_ROOT(absolute_symlinks_start_at_the_root),
        IN_A_ROOT(relative_symlinks_start_where_they_lie),
        IN_A_ROOT(symlinks_in_a_circle_are_refused),
        IN_A_ROOT(a_file_in_the_way_is_no_directory),
        IN_A_ROOT(names_and_paths_have_their_limits),
        IN_A_ROOT(existing_trees_cost_one_call_and_stay_as_they_are),
        IN_A_ROOT(opening_stays_inside_the_root),
        IN_A_ROOT(a_mode_is_passed_only_to_what_is_made),
        cmocka_unit_test(magic_links_are_never_followed),
        IN_A_ROOT(a_component_swapped_for_a_symlink_leads_nowhere_else),
        IN_A_ROOT(a_component_swapped_for_an_absolute_symlink_neither),
    };
    const struct CMUnitTest without[] = { cmocka_unit_test(the_kernel_resolves_inside_a_root) };

    if (!unit_has_openat2())
        return cmocka_run_group_tests(without, NULL, NULL);
    return cmocka_run_group_tests(tests, NULL, NULL);
}
