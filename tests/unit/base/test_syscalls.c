/* SPDX-License-Identifier: Apache-2.0 */
#include "unit.h"

#include <linux/close_range.h>
#include <poll.h>
#include <signal.h>

static void clone3_forks_and_gives_a_pidfd(void **state)
{
    int pidfd = -1, status, changed = 0;
    struct clone_args args = { .flags = CLONE_PIDFD, .exit_signal = SIGCHLD };
    pid_t child;

    (void)state;
    if (!unit_has_clone3())
        unit_skip("clone3(2) is missing here (qemu-user 7.2)");
    args.pidfd = (uint64_t)(uintptr_t)&pidfd;
    child = sys_clone3(&args, sizeof(args));
    if (child == 0) {
        changed = 1; /* in a copy: the parent must not see it */
        _exit(41 + changed);
    }
    assert_true(child > 0);
    assert_true(pidfd >= 0);
    assert_int_equal(waitpid(child, &status, 0), child);
    assert_int_equal(WEXITSTATUS(status), 42);
    assert_int_equal(changed, 0);
    close(pidfd);
}

static void a_pidfd_signals_the_process_it_was_opened_for(void **state)
{
    int status, pidfd;
    struct pollfd ended;
    pid_t child = fork();

    (void)state;
    assert_true(child >= 0);
    if (child == 0)
        for (;;)
            pause();
    pidfd = sys_pidfd_open(child, 0);
    assert_true(pidfd >= 0);
    assert_int_equal(sys_pidfd_send_signal(pidfd, SIGKILL), 0);
    ended = (struct pollfd){ .fd = pidfd, .events = POLLIN };
    assert_int_equal(poll(&ended, 1, 10000), 1);
    assert_int_equal(waitpid(child, &status, 0), child);
    assert_int_equal(WTERMSIG(status), SIGKILL);
    assert_int_equal(sys_pidfd_send_signal(pidfd, 0), -1);
    assert_int_equal(errno, ESRCH);
    close(pidfd);
}

static void a_range_of_fds_is_closed_or_marked(void **state)
{
    int first = fcntl(STDIN_FILENO, F_DUPFD, 300), second = fcntl(STDIN_FILENO, F_DUPFD, 301);

    (void)state;
    assert_true(first >= 300 && second > first);
    if (sys_close_range((unsigned)first, (unsigned)second, CLOSE_RANGE_CLOEXEC) < 0) {
        assert_int_equal(errno, ENOSYS);
        unit_skip("close_range(2) is missing here");
    }
    assert_int_equal(fcntl(first, F_GETFD), FD_CLOEXEC);
    assert_int_equal(fcntl(second, F_GETFD), FD_CLOEXEC);
    assert_int_equal(sys_close_range((unsigned)first, (unsigned)second, 0), 0);
    assert_int_equal(fcntl(first, F_GETFD), -1);
    assert_int_equal(fcntl(second, F_GETFD), -1);
}

static void execveat_runs_an_fd(void **state)
{
    char *argv[] = { (char *)"sh", (char *)"-c", (char *)"exit $CODE", NULL };
    char *envp[] = { (char *)"CODE=7", NULL };
    int status, fd = open("/bin/sh", O_PATH | O_CLOEXEC);
    pid_t child;

    (void)state;
    assert_true(fd >= 0);
    child = fork();
    assert_true(child >= 0);
    if (child == 0) {
        sys_execveat(fd, "", argv, envp, AT_EMPTY_PATH);
        _exit(errno == ENOSYS ? 99 : 98);
    }
    assert_int_equal(waitpid(child, &status, 0), child);
    close(fd);
    if (WEXITSTATUS(status) == 99)
        unit_skip("execveat(2) is missing here (qemu-user 7.2)");
    assert_int_equal(WEXITSTATUS(status), 7);
}

/* Each wrapper must reach its own system call: bad arguments tell them apart without root. */
static void failures_come_as_minus_one_and_errno(void **state)
{
    struct open_how how = { .flags = O_PATH, .resolve = UINT64_MAX };
    struct mount_attr attr = { 0 };

    (void)state;
    assert_int_equal(sys_openat2(AT_FDCWD, "/", &how), -1);
    assert_true(errno == EINVAL || errno == ENOSYS);
    assert_int_equal(sys_pidfd_open(-1, 0), -1);
    assert_int_equal(errno, EINVAL);
    assert_int_equal(sys_open_tree(-1, "x", 0), -1);
    assert_true(errno == EBADF || errno == ENOSYS);
    assert_int_equal(sys_mount_setattr(-1, "x", UINT32_MAX, &attr), -1);
    assert_true(errno == EINVAL || errno == ENOSYS);
    assert_int_equal(sys_move_mount(-1, "x", -1, "y", UINT32_MAX), -1);
    assert_true(errno == EINVAL || errno == EPERM || errno == ENOSYS);
    assert_int_equal(sys_fsopen("no-such-filesystem", 0), -1);
    assert_true(errno == ENODEV || errno == EPERM || errno == ENOSYS);
    assert_int_equal(sys_fsconfig(-1, 0, NULL, NULL, 0), -1);
    assert_true(errno == EINVAL || errno == ENOSYS);
    assert_int_equal(sys_fsmount(-1, 0, 0), -1);
    assert_true(errno == EBADF || errno == EPERM || errno == ENOSYS);
    assert_int_equal(sys_pivot_root("/no/such/root", "/no/such/root"), -1);
    assert_true(errno == ENOENT || errno == EPERM || errno == ENOSYS);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(clone3_forks_and_gives_a_pidfd),
        cmocka_unit_test(a_pidfd_signals_the_process_it_was_opened_for),
        cmocka_unit_test(a_range_of_fds_is_closed_or_marked),
        cmocka_unit_test(execveat_runs_an_fd),
        cmocka_unit_test(failures_come_as_minus_one_and_errno),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
