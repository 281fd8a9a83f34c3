/* SPDX-License-Identifier: Apache-2.0 */
/* A container on disk: what is written is what is read, and what is torn does not exist. */
#include <stdarg.h>
#include <stddef.h>
#include <setjmp.h>
#include <stdint.h>
#include <cmocka.h>

#include <errno.h>
#include <fcntl.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/resource.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <unistd.h>

#include "container/internal.h"

static char memory[1 << 18];
static struct arena arena;
static char root[64];

static const char config[] =
    "{\"ociVersion\":\"1.2.0\",\"annotations\":{\"a\":\"b\",\"c\":\"\\u00e9\"}}";

static void write_as(const struct state_process *runtime, const char *dir,
                     struct state_fifos *fifos)
{
    struct made_cgroup cgroups[] = { { "/sys/fs/cgroup/memory/a", false, false },
                                     { "/sys/fs/cgroup/memory/a/b", true, true } };
    struct state_pointer pointers[] = { { 7, "/process/args" } };
    struct state_record rec = { .id = "x\"y",
                                .bundle = "/b",
                                .rootfs = "/b/rootfs",
                                .created = state_now(&arena),
                                .private_pid_ns = true,
                                .create = fifos != NULL,
                                .runtime = *runtime,
                                .made = { .cgroups = cgroups, .n_cgroups = 2 },
                                .pointers = pointers,
                                .n_pointers = 1,
                                .config_len = sizeof config - 1 };
    const char *text = state_render(&rec, &arena);
    struct err e = { 0 };

    if (state_create(dir, text, strlen(text), config, sizeof config - 1, fifos, &e) < 0)
        fail_msg("%s", e.text);
}

static void write_one(const char *dir, struct state_fifos *fifos)
{
    struct state_process self = { getpid(), 0, state_boot_ticks() };

    write_as(&self, dir, fifos);
}

static void what_is_written_is_read(void **state)
{
    const char *dir = state_dir_path(&arena, root, "one");
    struct state_record rec;
    struct err e = { 0 };

    (void)state;
    write_one(dir, NULL);
    assert_int_equal(state_load(dir, &arena, &rec, &e), 0);
    assert_string_equal(rec.id, "x\"y");
    assert_string_equal(rec.bundle, "/b");
    assert_string_equal(rec.oci_version, "1.2.0");
    assert_true(rec.private_pid_ns);
    assert_int_equal(rec.made.n_cgroups, 2);
    assert_string_equal(rec.made.cgroups[1].path, "/sys/fs/cgroup/memory/a/b");
    assert_true(rec.made.cgroups[1].leaf && rec.made.cgroups[1].nested);
    assert_false(rec.made.cgroups[0].leaf || rec.made.cgroups[0].nested);
    assert_int_equal(rec.n_pointers, 1);
    assert_string_equal(rec.pointers[0].pointer, "/process/args");
    assert_int_equal(rec.annotations.n, 2);
    assert_string_equal(rec.annotations.v[1].value, "\xc3\xa9");
    assert_int_equal(rec.config_len, sizeof config - 1);
    assert_memory_equal(rec.config, config, rec.config_len);
    assert_int_equal(state_remove(dir, &e), 0);
    assert_int_equal(access(dir, F_OK), -1);
}

static void a_second_container_with_the_id_fails_and_leaves_the_first(void **state)
{
    const char *dir = state_dir_path(&arena, root, "two");
    struct state_record rec;
    struct err e = { 0 };

    (void)state;
    write_one(dir, NULL);
    assert_int_equal(state_create(dir, "x", 1, config, 1, NULL, &e), -EEXIST);
    assert_non_null(strstr(e.text, "container with given ID already exists"));
    assert_int_equal(state_load(dir, &arena, &rec, &e), 0);
    state_remove(dir, NULL);
}

static void a_record_cut_at_any_byte_does_not_exist(void **state)
{
    const char *dir = state_dir_path(&arena, root, "torn");
    const char *path = arena_format(&arena, "%s/state", dir);
    struct stat st;

    (void)state;
    write_one(dir, NULL);
    assert_int_equal(stat(path, &st), 0);
    for (off_t size = st.st_size - 1; size >= 0; size--) {
        struct state_record rec;
        struct err e = { 0 };
        struct arena scratch = { 0 };

        assert_int_equal(truncate(path, size), 0);
        if (state_load(dir, &scratch, &rec, &e) != -ENOENT)
            fail_msg("cut at %ld: read", (long)size);
        assert_non_null(strstr(e.text, "does not exist"));
        arena_release(&scratch);
    }
    state_remove(dir, NULL);
}

static void a_newer_version_is_named(void **state)
{
    const char *dir = state_dir_path(&arena, root, "newer");
    static const char record[] = "{\"stateVersion\":99,\"configSize\":2}\n";
    struct state_record rec;
    struct err e = { 0 };

    (void)state;
    assert_int_equal(state_create(dir, record, sizeof record - 1, "{}", 2, NULL, &e), 0);
    assert_true(state_load(dir, &arena, &rec, &e) < 0);
    assert_non_null(strstr(e.text, "newer teca"));
    state_remove(dir, NULL);
}

static pid_t sleeper(void)
{
    pid_t pid = fork();

    if (pid == 0) {
        pause();
        _exit(0);
    }
    return pid;
}

static void init_is_alive_only_as_the_process_it_was(void **state)
{
    uint64_t before = state_boot_ticks();
    pid_t pid = sleeper();
    struct state_process init = { pid, before, state_boot_ticks() }, other = init;
    int fd = state_open_process(&init, NULL);

    (void)state;
    assert_true(fd >= 0);
    close(fd);
    /* The same pid, but of a process that began at another time. */
    other.ticks_first += 1000;
    other.ticks_last += 1000;
    assert_int_equal(state_open_process(&other, NULL), -ESRCH);
    kill(pid, SIGKILL);
    waitid(P_PID, (id_t)pid, &(siginfo_t){ 0 }, WEXITED | WNOWAIT);
    assert_int_equal(state_open_process(&init, NULL), -ESRCH); /* a zombie */
    waitpid(pid, NULL, 0);
    assert_int_equal(state_open_process(&init, NULL), -ESRCH);
}

static void the_status_follows_init(void **state)
{
    const char *dir = state_dir_path(&arena, root, "life");
    struct state_fifos fifos = { -1, -1 };
    struct state_record rec;
    struct state_process init;
    struct err e = { 0 };
    pid_t pid;

    (void)state;
    write_one(dir, &fifos);
    assert_int_equal(state_load(dir, &arena, &rec, &e), 0);
    assert_int_equal(state_status(dir, &rec, &pid, NULL, &e), STATUS_CREATING);
    init.ticks_first = state_boot_ticks();
    init.pid = sleeper();
    init.ticks_last = state_boot_ticks();
    assert_int_equal(state_publish_init(dir, &init, &e), 0);
    assert_int_equal(state_status(dir, &rec, &pid, NULL, &e), STATUS_CREATED);
    assert_int_equal(pid, init.pid);
    /* init closes its end at exec; here the test and the sleeper both hold it. */
    close(fifos.start);
    close(fifos.result);
    kill(init.pid, SIGKILL);
    waitpid(init.pid, NULL, 0);
    assert_int_equal(state_status(dir, &rec, &pid, NULL, &e), STATUS_STOPPED);
    assert_int_equal(pid, 0);
    assert_int_equal(state_remove(dir, &e), 0);
}

static void a_container_whose_runtime_was_killed_is_stopped(void **state)
{
    const char *dir = state_dir_path(&arena, root, "killed");
    struct state_process runtime = { sleeper(), 0, state_boot_ticks() };
    struct state_record rec;
    struct err e = { 0 };
    pid_t pid;

    (void)state;
    write_as(&runtime, dir, NULL);
    assert_int_equal(state_load(dir, &arena, &rec, &e), 0);
    assert_int_equal(state_status(dir, &rec, &pid, NULL, &e), STATUS_CREATING);
    kill(runtime.pid, SIGKILL);
    waitpid(runtime.pid, NULL, 0);
    assert_int_equal(state_status(dir, &rec, &pid, NULL, &e), STATUS_STOPPED);
    /* Its pid has gone to a process that began later. */
    rec.runtime = (struct state_process){ getpid(), 0, 1 };
    assert_int_equal(state_status(dir, &rec, &pid, NULL, &e), STATUS_STOPPED);
    assert_int_equal(state_remove(dir, &e), 0);
}

static void without_a_free_fd_nobody_is_taken_for_dead(void **state)
{
    struct state_process self = { getpid(), 0, state_boot_ticks() };
    struct rlimit limit, none;
    struct err e = { 0 };
    int r;

    (void)state;
    assert_int_equal(getrlimit(RLIMIT_NOFILE, &limit), 0);
    none = limit;
    none.rlim_cur = 0;
    assert_int_equal(setrlimit(RLIMIT_NOFILE, &none), 0);
    r = state_open_process(&self, &e);
    assert_int_equal(setrlimit(RLIMIT_NOFILE, &limit), 0);
    assert_int_equal(r, -EMFILE);
    assert_non_null(strstr(e.text, "cannot tell whether process"));
}

/* Until the process waits for a lock: /proc/locks names it behind "->". */
static void await_waiter(pid_t pid)
{
    const char *line = arena_format(&arena, "WRITE %d ", (int)pid);
    char *text, *at;
    struct err e = { 0 };

    for (int looks = 0; looks < 3000; looks++) {
        assert_int_equal(file_read(&arena, AT_FDCWD, "/proc/locks", 1 << 20, &text, NULL, &e), 0);
        at = strstr(text, line);
        for (; at && at > text && at[-1] != '\n'; at--)
            if (at[0] == '-' && at[1] == '>')
                return;
        usleep(10000);
    }
    fail_msg("process %d waits for no lock", (int)pid);
}

static void a_lock_is_on_what_is_at_the_path(void **state)
{
    const char *dir = state_dir_path(&arena, root, "locked");
    struct err e = { 0 };
    int lock, again;
    pid_t waiter;
    int status = -1;

    (void)state;
    assert_int_equal(state_lock(dir, true, &e), -ENOENT);
    write_one(dir, NULL);
    lock = state_lock(dir, true, &e);
    assert_true(lock >= 0);
    assert_int_equal(state_lock(dir, false, &e), -EWOULDBLOCK);
    /* Who waits while the container goes away and comes again gets the new one's lock. */
    waiter = fork();
    if (waiter == 0) {
        int held;

        close(lock); /* the lock goes with its last fd */
        held = state_lock(dir, true, NULL);
        _exit(held >= 0 && state_lock(dir, false, NULL) == -EWOULDBLOCK ? 0 : 1);
    }
    await_waiter(waiter);
    assert_int_equal(state_remove(dir, &e), 0);
    write_one(dir, NULL);
    close(lock);
    waitpid(waiter, &status, 0);
    assert_int_equal(status, 0);
    again = state_lock(dir, false, &e);
    assert_true(again >= 0);
    close(again);
    assert_int_equal(state_remove(dir, &e), 0);
}

/* Nothing that a create has made may outlive its record, so that stays while he can write it. */
static void a_half_made_one_is_removed_when_nobody_writes_its_record(void **state)
{
    const char *dir = state_dir_path(&arena, root, "c");
    char path[128];
    struct err e = { 0 };
    int64_t began = container_clock_ns();
    int writer, r;

    (void)state;
    assert_int_equal(mkdir(dir, 0700), 0);
    base_format(path, sizeof path, "%s/start", dir);
    assert_int_equal(mkfifo(path, 0600), 0);
    base_format(path, sizeof path, "%s/state", dir);
    writer = open(path, O_WRONLY | O_CREAT | O_EXCL | O_CLOEXEC, 0600);
    assert_true(writer >= 0);
    assert_int_equal(state_remove_half_made(dir, &arena, &e), 1);
    assert_int_equal(access(path, F_OK), 0);
    close(writer);
    r = state_remove_half_made(dir, &arena, &e);
    /* He may come yet, but for who has slept here. */
    assert_true(r == 1 || container_clock_ns() - began > 900000000);
    for (int i = 0; i < 200 && state_remove_half_made(dir, &arena, &e) == 1; i++)
        usleep(10000);
    assert_int_equal(access(dir, F_OK), -1);
}

static void a_half_made_one_without_a_record_is_removed(void **state)
{
    const char *dir = state_dir_path(&arena, root, "c");
    char path[128];
    struct err e = { 0 };

    (void)state;
    assert_int_equal(mkdir(dir, 0700), 0);
    base_format(path, sizeof path, "%s/start", dir);
    assert_int_equal(mkfifo(path, 0600), 0);
    assert_int_equal(state_remove_half_made(dir, &arena, &e), 0);
    assert_int_equal(state_remove_half_made(dir, &arena, &e), 0);
    assert_int_equal(access(dir, F_OK), -1);
}

static void a_whole_one_is_not_taken_for_half_made(void **state)
{
    const char *dir = state_dir_path(&arena, root, "c");
    int before = open(".", O_RDONLY | O_CLOEXEC), now;
    struct state_record rec;
    struct err e = { 0 };

    (void)state;
    write_one(dir, NULL);
    assert_int_equal(state_remove_half_made(dir, &arena, &e), 1); /* its writer lives */
    now = open(".", O_RDONLY | O_CLOEXEC);
    for (int fd = before; fd <= now; fd++)
        close(fd);
    assert_int_equal(state_remove_half_made(dir, &arena, &e), 1); /* ... and has ended */
    assert_int_equal(state_load(dir, &arena, &rec, &e), 0);
    assert_int_equal(state_remove(dir, &e), 0);
}

static void removing_twice_is_success(void **state)
{
    const char *dir = state_dir_path(&arena, root, "twice");
    struct err e = { 0 };

    (void)state;
    write_one(dir, NULL);
    assert_int_equal(state_remove(dir, &e), 0);
    assert_int_equal(state_remove(dir, &e), 0);
}

static void signals_have_many_names(void **state)
{
    static const struct {
        const char *name;
        int number;
    } rows[] = { { "TERM", 15 },      { "sigterm", 15 },    { "SIGKILL", 9 },  { "9", 9 },
                 { "0", 0 },          { "SIGRTMIN+3", 37 }, { "rtmax-1", 63 }, { "SIGRTMIN", 34 },
                 { "NOPE", -22 },     { "SIG", -22 },       { "-9", -22 },     { "65", -22 },
                 { "RTMIN+31", -22 }, { "", -22 } };

    (void)state;
    for (size_t i = 0; i < COUNT_OF(rows); i++)
        if (container_signal(rows[i].name, NULL) != rows[i].number)
            fail_msg("'%s'", rows[i].name);
}

static void ids_are_checked(void **state)
{
    static const char *const good[] = { "a", "A.b_c+d-9", "..a", "0123456789abcdef" };
    static const char *const bad[] = { "", ".", "..", "a/b", "a b", "\xc3\xa9", "a\n" };

    (void)state;
    for (size_t i = 0; i < COUNT_OF(good); i++)
        assert_int_equal(container_check_id(good[i], NULL), 0);
    for (size_t i = 0; i < COUNT_OF(bad); i++)
        assert_true(container_check_id(bad[i], NULL) < 0);
}

static int make_root(void **state)
{
    (void)state;
    strcpy(root, "/tmp/teca-state-XXXXXX");
    arena_init(&arena, memory, sizeof memory);
    return mkdtemp(root) ? 0 : -1;
}
static int remove_root(void **state)
{
    (void)state;
    arena_release(&arena);
    return rmdir(root); /* also: every test has left nothing */
}
#define CASE(f) cmocka_unit_test_setup_teardown(f, make_root, remove_root)

int main(void)
{
    const struct CMUnitTest cases[] = {
        CASE(what_is_written_is_read),
        CASE(a_second_container_with_the_id_fails_and_leaves_the_first),
        CASE(a_record_cut_at_any_byte_does_not_exist),
        CASE(a_newer_version_is_named),
        CASE(init_is_alive_only_as_the_process_it_was),
        CASE(the_status_follows_init),
        CASE(a_container_whose_runtime_was_killed_is_stopped),
        CASE(without_a_free_fd_nobody_is_taken_for_dead),
        CASE(a_lock_is_on_what_is_at_the_path),
        CASE(a_half_made_one_is_removed_when_nobody_writes_its_record),
        CASE(a_half_made_one_without_a_record_is_removed),
        CASE(a_whole_one_is_not_taken_for_half_made),
        CASE(removing_twice_is_success),
        CASE(signals_have_many_names),
        CASE(ids_are_checked),
    };

    return cmocka_run_group_tests_name("state on disk", cases, NULL, NULL);
}
