/* SPDX-License-Identifier: Apache-2.0 */
/* Verbs, the monitor's side of them, and a guest that is honest or not: all three in this process. */
#include <errno.h>
#include <fcntl.h>
#include <poll.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/un.h>
#include <unistd.h>

#include "container/machine.h"
#include "unit.h"

static struct mux host, guest;
static char dir[] = "/tmp/teca-unit-clients-XXXXXX";
static int listener, dir_fd;
static struct mux_message last; /* that the guest has heard */
static unsigned heard;
static struct err breach;

static int hear_host(void *arg, const struct mux_message *m, struct err *e)
{
    (void)arg;
    return m->verb == MUX_HELLO ? 0 : clients_hear(&host, m, e);
}

static int hear_guest(void *arg, const struct mux_message *m, struct err *e)
{
    (void)arg;
    (void)e;
    last = *m;
    heard++;
    return 0;
}

static int carry(struct mux *from, struct mux *to)
{
    const uint8_t *data;
    int r = 0;

    for (size_t n; r == 0 && (n = mux_output(from, &data)) > 0;) {
        r = mux_input(to, data, n, &breach);
        mux_output_done(from, n);
    }
    return r;
}

/* Some turns of the monitor's loop; the guest says what it has been given to say. */
static int work(void)
{
    static struct pollfd fds[CLIENTS_FDS];
    int r = 0;

    for (int i = 0; i < 4 && r == 0; i++) {
        clients_poll(&host, true, fds);
        poll(fds, CLIENTS_FDS, 0);
        clients_turn(&host, fds);
        r = carry(&host, &guest);
        if (r == 0)
            r = carry(&guest, &host);
    }
    return r;
}

static int set_up(void **state)
{
    struct sockaddr_un at = { .sun_family = AF_UNIX };

    (void)state;
    strcpy(dir + sizeof dir - 7, "XXXXXX");
    assert_non_null(mkdtemp(dir));
    dir_fd = openat(AT_FDCWD, dir, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
    base_format(at.sun_path, sizeof at.sun_path, "%s/control", dir);
    listener = socket(AF_UNIX, SOCK_SEQPACKET | SOCK_CLOEXEC | SOCK_NONBLOCK, 0);
    assert_int_equal(bind(listener, (const struct sockaddr *)&at, sizeof at), 0);
    assert_int_equal(listen(listener, 64), 0);
    clients_open(listener, dir_fd);
    mux_init(&host, MUX_HOST, hear_host, NULL);
    mux_init(&guest, MUX_GUEST, hear_guest, NULL);
    mux_send(&guest, &(struct mux_message){ .verb = MUX_HELLO, .value = MUX_VERSION });
    breach = (struct err){ 0 };
    heard = 0;
    return carry(&guest, &host);
}

static int tear_down(void **state)
{
    char path[64];

    (void)state;
    base_format(path, sizeof path, "%s/control", dir);
    unlink(path);
    close(listener);
    close(dir_fd);
    return rmdir(dir);
}

static const char *const words[] = { "exec", "a", "", NULL };

static int ask(enum control_kind kind, int pipes[3])
{
    const struct machine_request q = { .kind = kind, .args = words, .input = "{}", .input_len = 2 };
    struct err e = { 0 };
    int fd = machine_request(dir, &q, pipes, &e);

    if (fd < 0)
        fail_msg("%s", e.text);
    return fd;
}

static void say(enum mux_verb verb, unsigned process, uint64_t value)
{
    if (verb == MUX_FORGOTTEN)
        mux_forget(&guest, process);
    assert_int_equal(mux_send(&guest, &(struct mux_message){ .verb = verb,
                                                             .process = process,
                                                             .value = value,
                                                             .text = "why",
                                                             .text_len = 3 }),
                     0);
}

static struct control_word answer_of(int control)
{
    struct control_word word = { .verb = 99 };
    struct err e = { 0 };

    if (machine_hear(control, 0, &word, &e) < 0)
        word.verb = 99;
    return word;
}

static void close_all(int control, const int pipes[3])
{
    close(control);
    for (int i = 0; i < 3; i++)
        if (pipes[i] >= 0)
            close(pipes[i]);
}

static void a_verb_is_carried_from_its_words_to_its_end(void **state)
{
    static const char document[] = "3\0exec\0a\0\0{}";
    int pipes[3] = { 0, 0, 0 }, control = ask(CONTROL_EXEC, pipes);
    const uint8_t *data;
    char got[8];

    (void)state;
    assert_int_equal(work(), 0);
    assert_int_equal(last.verb, MUX_RUN);
    assert_int_equal(last.process, 1);
    assert_int_equal(last.extra, MUX_LEAVES);
    assert_int_equal(last.value, sizeof document - 1);
    assert_int_equal(mux_peek(&guest, mux_stream_of(1, MUX_CONFIG), &data), sizeof document - 1);
    assert_memory_equal(data, document, sizeof document - 1);
    say(MUX_STARTED, 1, 0);
    assert_int_equal(work(), 0);
    assert_int_equal(answer_of(control).verb, CONTROL_STARTED);

    assert_int_equal(write(pipes[0], "in", 2), 2);
    close(pipes[0]);
    machine_say(control, CONTROL_SIGNAL, 15, 0);
    mux_send_data(&guest, mux_stream_of(1, MUX_STDOUT), "out", 3);
    mux_send_data(&guest, mux_stream_of(1, MUX_STDERR), "err", 3);
    mux_send_end(&guest, mux_stream_of(1, MUX_STDOUT));
    mux_send_end(&guest, mux_stream_of(1, MUX_STDERR));
    assert_int_equal(work(), 0);
    assert_int_equal(last.verb, MUX_SIGNAL);
    assert_int_equal(last.value, 15);
    assert_int_equal(mux_peek(&guest, mux_stream_of(1, MUX_STDIN), &data), 2);
    mux_take(&guest, mux_stream_of(1, MUX_STDIN), 2);
    assert_true(mux_ended(&guest, mux_stream_of(1, MUX_STDIN)));
    say(MUX_EXIT, 1, MUX_BY_SIGNAL + 15);
    assert_int_equal(work(), 0);
    assert_int_equal(answer_of(control).value, MUX_BY_SIGNAL + 15);
    /* The pipes have ended by then. */
    assert_int_equal(read(pipes[1], got, sizeof got), 3);
    assert_int_equal(read(pipes[1], got, sizeof got), 0);
    assert_int_equal(read(pipes[2], got, sizeof got), 3);
    assert_int_equal(read(pipes[2], got, sizeof got), 0);
    assert_int_equal(last.verb, MUX_FORGET);
    say(MUX_FORGOTTEN, 1, 0);
    assert_int_equal(work(), 0);
    pipes[0] = -1;
    close_all(control, pipes);
}

/* Another holds the pipe and writes: the end is told behind what was the process's own, and not later. */
static void what_the_process_has_left_to_others_goes_on(void **state)
{
    static uint8_t much[50000];
    int pipes[3] = { 0, 0, 0 }, control = ask(CONTROL_EXEC, pipes);
    size_t got = 0;

    (void)state;
    assert_int_equal(fcntl(pipes[1], F_SETPIPE_SZ, 4096), 4096);
    work();
    say(MUX_STARTED, 1, 0);
    work();
    answer_of(control);
    for (size_t sent = 0; sent < sizeof much;)
        sent += mux_send_data(&guest, mux_stream_of(1, MUX_STDOUT), much, sizeof much - sent);
    say(MUX_EXIT, 1, 3);
    while (got < sizeof much) {
        ssize_t n;

        assert_int_equal(work(), 0);
        if (got + 4096 < sizeof much)
            assert_int_equal(answer_of(control).verb, 99);
        n = read(pipes[1], much, sizeof much);
        assert_true(n > 0);
        got += (size_t)n;
    }
    assert_int_equal(work(), 0);
    assert_int_equal(answer_of(control).value, 3);
    assert_int_not_equal(last.verb, MUX_FORGET);
    mux_send_data(&guest, mux_stream_of(1, MUX_STDOUT), "more", 4);
    assert_int_equal(work(), 0);
    assert_int_equal(read(pipes[1], much, sizeof much), 4);
    close_all(control, pipes);
    work();
    assert_int_equal(last.verb, MUX_FORGET);
    say(MUX_FORGOTTEN, 1, 0);
    assert_int_equal(work(), 0);
}

static void who_is_killed_takes_the_process_along(void **state)
{
    int pipes[3] = { 0, 0, 0 }, control = ask(CONTROL_EXEC, pipes);

    (void)state;
    work();
    close_all(control, pipes); /* before it has started */
    work();
    assert_int_equal(last.verb, MUX_SIGNAL);
    assert_int_equal(last.value, SIGKILL);
    say(MUX_STARTED, 1, 0);
    mux_send_data(&guest, mux_stream_of(1, MUX_STDOUT), "for nobody", 10);
    assert_int_equal(work(), 0);
    say(MUX_EXIT, 1, MUX_BY_SIGNAL + SIGKILL);
    assert_int_equal(work(), 0);
    assert_int_equal(last.verb, MUX_FORGET);
    say(MUX_FORGOTTEN, 1, 0);
    assert_int_equal(work(), 0);
}

static void nobody_who_reads_is_told_to_whom_it_matters(void **state)
{
    int pipes[3] = { 0, 0, 0 }, control = ask(CONTROL_EXEC, pipes);

    (void)state;
    signal(SIGPIPE, SIG_IGN);
    work();
    say(MUX_STARTED, 1, 0);
    work();
    close(pipes[1]);
    mux_send_data(&guest, mux_stream_of(1, MUX_STDOUT), "x", 1);
    work();
    assert_int_equal(last.verb, MUX_CLOSE);
    assert_int_equal(last.value, MUX_STDOUT);
    say(MUX_EXIT, 1, 0);
    pipes[1] = -1;
    close_all(control, pipes);
    work();
    say(MUX_FORGOTTEN, 1, 0);
    assert_int_equal(work(), 0);
}

static void numbers_are_used_again_and_one_too_many_is_refused(void **state)
{
    int controls[MUX_PROCESSES], none[3] = { -1, -1, -1 };
    struct control_word word;

    (void)state;
    for (int round = 0; round < 200; round++) {
        controls[0] = ask(CONTROL_VERB, none);
        work();
        assert_int_equal(last.process, 1);
        say(MUX_FAILED, 1, 0);
        work();
        word = answer_of(controls[0]);
        assert_int_equal(word.verb, CONTROL_FAILED);
        assert_string_equal(word.text, "why");
        close(controls[0]);
        say(MUX_FORGOTTEN, 1, 0);
        assert_int_equal(work(), 0);
    }
    for (int i = 1; i < MUX_PROCESSES; i++) {
        controls[i] = ask(CONTROL_VERB, none);
        assert_int_equal(work(), 0);
        assert_int_equal(last.process, i);
    }
    controls[0] = ask(CONTROL_VERB, none);
    work();
    word = answer_of(controls[0]);
    assert_int_equal(word.verb, CONTROL_FAILED);
    assert_non_null(strstr(word.text, "as many processes"));
    for (int i = 0; i < MUX_PROCESSES; i++)
        close(controls[i]);
}

static bool is_marked_paused(void)
{
    return faccessat(dir_fd, "paused", F_OK, 0) == 0;
}

static void that_it_is_paused_is_known_when_the_guest_has_done_it(void **state)
{
    static const struct {
        enum control_kind kind;
        enum mux_verb end;
        bool paused;
    } rows[] = {
        { CONTROL_PAUSE, MUX_FAILED, false }, { CONTROL_PAUSE, MUX_EXIT, true },
        { CONTROL_VERB, MUX_EXIT, true },     { CONTROL_RESUME, MUX_FAILED, true },
        { CONTROL_RESUME, MUX_EXIT, false },
    };

    (void)state;
    for (size_t i = 0; i < COUNT_OF(rows); i++) {
        int none[3] = { -1, -1, -1 }, control = ask(rows[i].kind, none);

        work();
        say(MUX_STARTED, 1, 0);
        work();
        mux_send_end(&guest, mux_stream_of(1, MUX_STDOUT));
        mux_send_end(&guest, mux_stream_of(1, MUX_STDERR));
        say(rows[i].end, 1, 0);
        work();
        assert_int_equal(is_marked_paused(), rows[i].paused);
        say(MUX_FORGOTTEN, 1, 0);
        assert_int_equal(work(), 0);
        close(control);
    }
}

/* What a hostile guest may say of a process in no phase of it. */
static void what_a_guest_says_when_it_must_not_is_a_breach(void **state)
{
    static const struct {
        int phase; /* 0: there is none, 1: its document has gone, 2: it runs, 3: it has ended */
        enum mux_verb verb;
    } rows[] = {
        { 0, MUX_STARTED }, { 0, MUX_EXIT },    { 0, MUX_FAILED },  { 0, MUX_FORGOTTEN },
        { 1, MUX_EXIT },    { 1, MUX_CREATED }, { 2, MUX_STARTED }, { 2, MUX_FORGOTTEN },
        { 3, MUX_EXIT },    { 3, MUX_FAILED },
    };

    (void)state;
    for (size_t i = 0; i < COUNT_OF(rows); i++) {
        int none[3] = { -1, -1, -1 }, control;

        if (i > 0)
            set_up(state);
        control = rows[i].phase > 0 ? ask(CONTROL_VERB, none) : -1;
        work();
        if (rows[i].phase > 1)
            say(MUX_STARTED, 1, 0);
        if (rows[i].phase > 2)
            say(MUX_EXIT, 1, 0);
        assert_int_equal(work(), 0);
        say(rows[i].verb, 1, 0);
        assert_int_equal(work(), -EPROTO);
        assert_non_null(strstr(breach.text, "comes when it must not"));
        fd_cleanup(&control);
        if (i + 1 < COUNT_OF(rows))
            tear_down(state);
    }
}

static void a_request_that_is_none_is_refused(void **state)
{
    struct sockaddr_un at = { .sun_family = AF_UNIX };
    int fd = socket(AF_UNIX, SOCK_SEQPACKET | SOCK_CLOEXEC, 0);

    (void)state;
    base_format(at.sun_path, sizeof at.sun_path, "%s/control", dir);
    assert_int_equal(connect(fd, (const struct sockaddr *)&at, sizeof at), 0);
    assert_int_equal(fd_send(fd, "what?", 5, dir_fd), 0);
    work();
    assert_int_equal(answer_of(fd).verb, CONTROL_FAILED);
    assert_int_equal(heard, 0);
    close(fd);
}

#define CLEAN(TEST) cmocka_unit_test_setup_teardown(TEST, set_up, tear_down)

int main(void)
{
    const struct CMUnitTest tests[] = {
        CLEAN(a_verb_is_carried_from_its_words_to_its_end),
        CLEAN(what_the_process_has_left_to_others_goes_on),
        CLEAN(who_is_killed_takes_the_process_along),
        CLEAN(nobody_who_reads_is_told_to_whom_it_matters),
        CLEAN(numbers_are_used_again_and_one_too_many_is_refused),
        CLEAN(that_it_is_paused_is_known_when_the_guest_has_done_it),
        CLEAN(what_a_guest_says_when_it_must_not_is_a_breach),
        CLEAN(a_request_that_is_none_is_refused),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
