/* SPDX-License-Identifier: Apache-2.0 */
#include "unit.h"

#include <limits.h>
#include <signal.h>
#include <sys/socket.h>

static bool is_open(int fd)
{
    return fcntl(fd, F_GETFD) >= 0;
}

static void an_fd_is_closed_at_the_end_of_its_scope(void **state)
{
    int seen;

    (void)state;
    {
        AUTO_FD int fd = dup(STDIN_FILENO);

        seen = fd;
        assert_true(is_open(seen));
        errno = EXDEV;
    }
    assert_int_equal(errno, EXDEV);
    assert_false(is_open(seen));
}

static void an_fd_that_was_closed_is_none(void **state)
{
    int fd = dup(STDIN_FILENO), other;

    (void)state;
    fd_cleanup(&fd);
    assert_int_equal(fd, -1);
    other = dup(STDIN_FILENO); /* the same number again */
    fd_cleanup(&fd);
    assert_true(is_open(other));
    close(other);
}

static int give(int *seen)
{
    AUTO_FD int fd = dup(STDIN_FILENO);

    *seen = fd;
    return take_fd(&fd);
}

static void a_taken_fd_stays_open(void **state)
{
    int seen, fd = give(&seen);

    (void)state;
    assert_int_equal(fd, seen);
    assert_true(is_open(fd));
    close(fd);
}

static void memory_is_freed_at_the_end_of_its_scope(void **state)
{
    AUTO_FREE char *nothing = NULL;
    AUTO_FREE char *something = malloc(16); /* the sanitizer build tells when it is not */

    (void)state;
    (void)nothing;
    assert_non_null(something);
}

/* flags: of the writer's end. */
static void check_that_a_pipe_gets_every_byte(int flags)
{
    static char sent[300000], received[sizeof(sent)];
    size_t got = 0;
    int pipefd[2], status;
    pid_t writer;

    for (size_t i = 0; i < sizeof(sent); i++)
        sent[i] = (char)(i * 7);
    assert_int_equal(pipe(pipefd), 0);
    assert_int_equal(fcntl(pipefd[1], F_SETFL, flags), 0);
    writer = fork();
    assert_true(writer >= 0);
    if (writer == 0)
        _exit(fd_write_all(pipefd[1], sent, sizeof(sent)) == 0 ? 0 : 1);
    close(pipefd[1]);
    for (ssize_t n = 1; n > 0; got += (size_t)n) {
        n = read(pipefd[0], received + got, 1000);
        assert_true(n >= 0);
    }
    close(pipefd[0]);
    assert_int_equal(waitpid(writer, &status, 0), writer);
    assert_int_equal(status, 0);
    assert_int_equal(got, sizeof(sent));
    assert_memory_equal(sent, received, sizeof(sent));
}

static void an_interrupted_pipe_gets_every_byte(void **state)
{
    (void)state;
    check_that_a_pipe_gets_every_byte(0);
}

static void a_pipe_that_would_block_gets_every_byte(void **state)
{
    (void)state;
    check_that_a_pipe_gets_every_byte(O_NONBLOCK);
}

static void a_failed_write_tells_why(void **state)
{
    (void)state;
    assert_int_equal(fd_write_all(-1, "x", 1), -EBADF);
    assert_int_equal(fd_write_all(-1, "x", 0), 0);
}

static void fd_paths_name_what_lies_below_the_fd(void **state)
{
    char buf[FD_PATH_SIZE];

    (void)state;
    assert_string_equal(fd_path(buf, 7, NULL), "/proc/self/fd/7");
    assert_string_equal(fd_path(buf, INT_MAX, "proc"), "/proc/self/fd/2147483647/proc");
}

static void a_name_that_does_not_fit_never_becomes_another_name(void **state)
{
    char buf[FD_PATH_SIZE], name[FD_PATH_SIZE + 1];

    (void)state;
    memset(name, 'n', sizeof(name));
    name[NAME_MAX] = '\0';
    assert_int_equal(strlen(fd_path(buf, INT_MAX, name)),
                     strlen("/proc/self/fd/2147483647/") + NAME_MAX);
    memset(name, 'n', sizeof(name));
    name[FD_PATH_SIZE] = '\0';
    assert_string_equal(fd_path(buf, 7, name), "");
}

static void an_fd_goes_through_a_socket_with_its_text(void **state)
{
    union {
        char space[CMSG_SPACE(sizeof(int))];
        struct cmsghdr align;
    } control;
    char text[16] = "";
    struct iovec part = { text, sizeof(text) - 1 };
    struct msghdr msg = { .msg_iov = &part,
                          .msg_iovlen = 1,
                          .msg_control = &control,
                          .msg_controllen = sizeof(control) };
    int ends[2], ends_of_pipe[2], got;
    struct cmsghdr *c;

    (void)state;
    assert_int_equal(socketpair(AF_UNIX, SOCK_STREAM, 0, ends), 0);
    assert_int_equal(pipe(ends_of_pipe), 0);
    assert_int_equal(fd_send(ends[0], "hello", 5, ends_of_pipe[1]), 0);
    assert_int_equal(recvmsg(ends[1], &msg, 0), 5);
    assert_string_equal(text, "hello");
    c = CMSG_FIRSTHDR(&msg);
    assert_non_null(c);
    assert_int_equal(c->cmsg_type, SCM_RIGHTS);
    assert_int_equal(c->cmsg_len, CMSG_LEN(sizeof(int)));
    memcpy(&got, CMSG_DATA(c), sizeof(got));
    assert_int_equal(write(got, "x", 1), 1);
    assert_int_equal(read(ends_of_pipe[0], text, 1), 1);
    close(got);
    assert_int_equal(fd_send(ends[0], "hello", 5, -1), -EBADF);
    close(ends[1]);
    assert_int_equal(fd_send(ends[0], "hello", 5, ends_of_pipe[1]), -EPIPE); /* and no SIGPIPE */
    close(ends[0]);
    close(ends_of_pipe[0]);
    close(ends_of_pipe[1]);
}

static void the_end_of_a_socket_is_seen_and_nothing_of_it_is_read(void **state)
{
    int ends[2];
    char byte;

    (void)state;
    assert_int_equal(socketpair(AF_UNIX, SOCK_STREAM, 0, ends), 0);
    assert_false(fd_is_hung_up(ends[0]));
    assert_int_equal(write(ends[1], "x", 1), 1);
    close(ends[1]);
    assert_false(fd_is_hung_up(ends[0]));
    assert_int_equal(read(ends[0], &byte, 1), 1);
    assert_true(fd_is_hung_up(ends[0]));
    close(ends[0]);
    assert_false(fd_is_hung_up(-1));
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(an_fd_is_closed_at_the_end_of_its_scope),
        cmocka_unit_test(an_fd_that_was_closed_is_none),
        cmocka_unit_test(a_taken_fd_stays_open),
        cmocka_unit_test(memory_is_freed_at_the_end_of_its_scope),
        cmocka_unit_test(an_interrupted_pipe_gets_every_byte),
        cmocka_unit_test(a_pipe_that_would_block_gets_every_byte),
        cmocka_unit_test(a_failed_write_tells_why),
        cmocka_unit_test(an_fd_goes_through_a_socket_with_its_text),
        cmocka_unit_test(the_end_of_a_socket_is_seen_and_nothing_of_it_is_read),
        cmocka_unit_test(fd_paths_name_what_lies_below_the_fd),
        cmocka_unit_test(a_name_that_does_not_fit_never_becomes_another_name),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
