/* SPDX-License-Identifier: Apache-2.0 */
/* Verbs, the monitor's side of them, and a guest that is honest or not: all three in this process. */
#include <errno.h>
#include <fcntl.h>
#include <poll.h>
#include <stdlib.h>
#include <string.h>
#include <signal.h>
#include <sys/ioctl.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/un.h>
#include <sys/wait.h>
#include <termios.h>
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
    (void)state;
    unlinkat(dir_fd, "control", 0);
    unlinkat(dir_fd, "init", 0); /* of listen_in_child */
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

static int connect_and_say_nothing(void)
{
    struct sockaddr_un at = { .sun_family = AF_UNIX };
    int fd = socket(AF_UNIX, SOCK_SEQPACKET | SOCK_CLOEXEC, 0);

    base_format(at.sun_path, sizeof at.sun_path, "%s/control", dir);
    assert_int_equal(connect(fd, (const struct sockaddr *)&at, sizeof at), 0);
    assert_int_equal(work(), 0);
    return fd;
}

/* Whoever is connected and says nothing has a place only as long as nobody else wants it; the oldest goes first. */
static void who_says_nothing_keeps_nobody_out(void **state)
{
    int idle[MUX_PROCESSES + 8], none[3] = { -1, -1, -1 }, running[MUX_PROCESSES], last_one;
    struct control_word word;

    (void)state;
    for (size_t i = 0; i < COUNT_OF(idle); i++)
        idle[i] = connect_and_say_nothing();
    for (int i = 0; i < MUX_PROCESSES - 1; i++) {
        running[i] = ask(CONTROL_VERB, none);
        assert_int_equal(work(), 0);
        assert_int_equal(heard, i + 1);
        assert_int_equal(last.verb, MUX_RUN);
    }
    for (size_t i = 0; i < COUNT_OF(idle); i++) {
        word = answer_of(idle[i]);
        assert_int_equal(word.verb, CONTROL_FAILED);
        assert_non_null(strstr(word.text, "said nothing"));
        close(idle[i]);
    }
    /* All of them are at work: nobody is sent away for another, and who says nothing keeps no answer from others. */
    idle[0] = connect_and_say_nothing();
    last_one = ask(CONTROL_VERB, none);
    assert_int_equal(work(), 0);
    assert_non_null(strstr(answer_of(idle[0]).text, "said nothing"));
    assert_non_null(strstr(answer_of(last_one).text, "as many processes"));
    assert_int_equal(answer_of(running[0]).verb, 99);
    close(idle[0]);
    close(last_one);
    for (int i = 0; i < MUX_PROCESSES - 1; i++)
        close(running[i]);
}

/* The request of the oldest has come, and the guest reads nothing: it is no idle one. */
static void who_has_asked_keeps_its_place_while_the_guest_reads_nothing(void **state)
{
    static struct pollfd fds[CLIENTS_FDS];
    const struct mux_message message = { .verb = MUX_RESIZE, .value = 1, .extra = 1 };
    int none[3] = { -1, -1, -1 }, first, idle[MUX_PROCESSES];

    (void)state;
    while (mux_is_ready(&host))
        assert_int_equal(mux_send(&host, &message), 0);
    first = ask(CONTROL_VERB, none);
    for (int i = 0; i < MUX_PROCESSES; i++) {
        struct sockaddr_un at = { .sun_family = AF_UNIX };

        idle[i] = socket(AF_UNIX, SOCK_SEQPACKET | SOCK_CLOEXEC, 0);
        base_format(at.sun_path, sizeof at.sun_path, "%s/control", dir);
        assert_int_equal(connect(idle[i], (const struct sockaddr *)&at, sizeof at), 0);
        clients_poll(&host, true, fds);
        poll(fds, CLIENTS_FDS, 0);
        clients_turn(&host, fds);
    }
    assert_int_equal(answer_of(first).verb, 99);
    assert_int_equal(work(), 0);
    assert_int_equal(last.verb, MUX_RUN);
    assert_int_equal(last.process, 1);
    for (int i = 0; i < MUX_PROCESSES; i++)
        close(idle[i]);
    close(first);
}

/* A process that listens as a monitor does, and is stopped or takes nothing; published as an init is. */
static pid_t listen_in_child(bool stops)
{
    struct state_process init = { .ticks_first = 0, .ticks_last = UINT64_MAX / 2 };
    struct err e = { 0 };
    int status;

    init.pid = fork();
    if (init.pid == 0) {
        alarm(120);
        raise(stops ? SIGSTOP : SIGCONT);
        for (;;)
            pause();
    }
    if (stops)
        assert_int_equal(waitpid(init.pid, &status, WUNTRACED), init.pid);
    if (state_publish_init(dir, &init, &e) < 0)
        fail_msg("%s", e.text);
    return init.pid;
}

static int64_t milliseconds(void)
{
    return container_clock_ns() / 1000000;
}

static void a_monitor_that_takes_nothing_is_not_waited_for(void **state)
{
    static const struct {
        bool stops, is_full;
        int taken_ms;
        const char *words;
    } rows[] = {
        { true, false, 0, "is stopped" },
        { true, true, 0, "is stopped" },
        { false, false, 300, "hears nobody" },
        { false, true, 300, "hears nobody" },
    };

    (void)state;
    for (size_t i = 0; i < COUNT_OF(rows); i++) {
        const struct machine_request q = { .args = words, .taken_ms = rows[i].taken_ms };
        pid_t pid = listen_in_child(rows[i].stops);
        int64_t began = milliseconds(), took;
        struct err e = { 0 };
        int fds[80];

        assert_int_equal(listen(listener, rows[i].is_full ? 0 : 64), 0);
        for (size_t k = 0; k < COUNT_OF(fds); k++) {
            struct sockaddr_un at = { .sun_family = AF_UNIX };

            fds[k] = rows[i].is_full
                         ? socket(AF_UNIX, SOCK_SEQPACKET | SOCK_CLOEXEC | SOCK_NONBLOCK, 0)
                         : -1;
            base_format(at.sun_path, sizeof at.sun_path, "%s/control", dir);
            (void)connect(fds[k], (const struct sockaddr *)&at, sizeof at);
        }
        alarm(60);
        assert_int_equal(machine_ask(dir, &q, &(struct machine_sink){ 0 }, &e), -ETIMEDOUT);
        alarm(0);
        took = milliseconds() - began;
        unit_row(e.text, strstr(e.text, rows[i].words) && strstr(e.text, "delete --force"));
        unit_row(rows[i].words, took >= 250 && took < 25000);
        kill(pid, SIGKILL);
        waitpid(pid, NULL, 0);
        for (size_t k = 0; k < COUNT_OF(fds); k++)
            fd_cleanup(&fds[k]);
        /* What nobody has taken goes with the listener. */
        tear_down(state);
        set_up(state);
    }
}

/* What machine_ask says, whose status is that of the child. */
static pid_t ask_in_child(int *out)
{
    int fds[2];
    pid_t pid;

    assert_int_equal(pipe2(fds, O_CLOEXEC), 0);
    pid = fork();
    if (pid == 0) {
        const struct machine_request q = { .args = words };
        struct err e = { 0 };
        int r;

        alarm(60);
        r = machine_ask(dir, &q, &(struct machine_sink){ 0 }, &e);
        (void)!write(fds[1], e.text, strlen(e.text));
        _exit(r < 0);
    }
    close(fds[1]);
    *out = fds[0];
    return pid;
}

static void a_verb_tells_how_that_of_the_guest_has_ended(void **state)
{
    static const struct {
        uint64_t end;
        const char *says;
    } rows[] = {
        { 0, "" },
        { 5, "the runtime in the machine ended with status 5" },
        { MUX_BY_SIGNAL, "the runtime in the machine ended with status 256" },
        { MUX_BY_SIGNAL + SIGKILL, "the runtime in the machine was ended by signal 9" },
    };

    (void)state;
    for (size_t i = 0; i < COUNT_OF(rows); i++) {
        char said[ERR_TEXT_SIZE] = "";
        int from, status;
        pid_t pid = ask_in_child(&from);

        heard = 0;
        for (int looks = 0; heard == 0 && looks < 3000; looks++) {
            assert_int_equal(work(), 0);
            poll(NULL, 0, 10);
        }
        say(MUX_STARTED, 1, 0);
        mux_send_end(&guest, mux_stream_of(1, MUX_STDOUT));
        mux_send_end(&guest, mux_stream_of(1, MUX_STDERR));
        say(MUX_EXIT, 1, rows[i].end);
        work();
        say(MUX_FORGOTTEN, 1, 0);
        assert_int_equal(work(), 0);
        assert_true(read(from, said, sizeof said - 1) >= 0);
        assert_int_equal(waitpid(pid, &status, 0), pid);
        assert_string_equal(said, rows[i].says);
        assert_int_equal(status, rows[i].end ? 1 << 8 : 0);
        close(from);
    }
}

/* The byte of `start`, in a FIFO that the monitor reads or not; behind it a hook may take as long as it likes. */
static void a_start_waits_for_a_monitor_that_goes_on(void **state)
{
    static const struct {
        const char *row;
        bool stops, is_unread;
        int taken_ms;
        const char *words; /* NULL: it is waited for */
    } rows[] = {
        { "stopped before it has read", true, true, 0, "is stopped" },
        { "stopped behind that", true, false, 0, "is stopped" },
        { "hears nothing", false, true, 300, "hears nobody" },
        { "is in a hook", false, false, 300, NULL },
    };

    (void)state;
    for (size_t i = 0; i < COUNT_OF(rows); i++) {
        pid_t pid = listen_in_child(rows[i].stops);
        struct machine_patience patience;
        struct err e = { 0 };
        int fds[2], r = 0;

        assert_int_equal(pipe2(fds, O_CLOEXEC), 0);
        assert_int_equal(write(fds[1], "s", 1), 1);
        if (!rows[i].is_unread)
            assert_int_equal(read(fds[0], e.text, 1), 1);
        machine_patience_begin(&patience, dir, rows[i].taken_ms);
        for (int looks = 0; r == 0 && looks < (rows[i].words ? 500 : 20); looks++) {
            poll(NULL, 0, 50);
            r = machine_look_start(&patience, fds[1], &e);
        }
        unit_row(rows[i].row, r == (rows[i].words ? -ETIMEDOUT : 0));
        unit_row(rows[i].row, !rows[i].words || strstr(e.text, rows[i].words));
        kill(pid, SIGKILL);
        waitpid(pid, NULL, 0);
        close(fds[0]);
        close(fds[1]);
        tear_down(state);
        set_up(state);
    }
}

static int swallow(void *arg, const char *data, size_t len, struct err *e)
{
    (void)arg, (void)data, (void)len, (void)e;
    return 0;
}

static int pass_over(void *arg, const struct container_event *event, struct err *e)
{
    (void)arg, (void)event, (void)e;
    return 0;
}

/* A guest that answers for ever; with words that are right, too. The verb that asks ends, and says why. */
static void an_answer_has_an_end(void **state)
{
    static const struct {
        bool counts;
        const char *line, *says;
    } rows[] = {
        { false, "PID CMD\n", "the machine does not answer" },
        { true, "{\"type\":\"stats\",\"data\":{}}\n", "what is no event" },
        { true, "{\"type\":\"oom\"}\n", "what is no event" },
    };

    (void)state;
    for (size_t i = 0; i < COUNT_OF(rows); i++) {
        pid_t pid = fork();
        int status = -1, looks = 0;

        if (pid == 0) {
            const struct machine_request q = { .args = words, .answer_ms = 300 };
            const struct container_event_sink events = { pass_over, NULL };
            struct err e = { 0 };
            int r;

            alarm(60);
            r = rows[i].counts
                    ? machine_events(dir, "id", 0, &events, -1, unit_arena(), &e)
                    : machine_ask(dir, &q, &(struct machine_sink){ .take = swallow }, &e);
            _exit(r < 0 && strstr(e.text, rows[i].says) ? 7 : 1);
        }
        heard = 0;
        for (; looks < 60000 && waitpid(pid, &status, WNOHANG) == 0; looks++) {
            work();
            if (heard == 1) {
                say(MUX_STARTED, 1, 0);
                heard++;
            }
            if (heard > 1)
                mux_send_data(&guest, mux_stream_of(1, MUX_STDOUT), rows[i].line,
                              strlen(rows[i].line));
            poll(NULL, 0, 1);
        }
        unit_row(rows[i].line, WIFEXITED(status) && WEXITSTATUS(status) == 7);
        tear_down(state);
        set_up(state);
    }
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

static void words_of_a_guest_are_no_commands_to_a_terminal(void **state)
{
    static const char text[] = "a\033[31mb\nc\xc2\x9b"
                               "d\xc3\xa4\x7f";
    int none[3] = { -1, -1, -1 }, control = ask(CONTROL_VERB, none);
    struct control_word word;
    char ps[] = "PID\tCMD\n1\t\033]0;x\a\n";

    (void)state;
    work();
    mux_send(&guest,
             &(struct mux_message){
                 .verb = MUX_FAILED, .process = 1, .text = text, .text_len = sizeof text - 1 });
    work();
    word = answer_of(control);
    assert_string_equal(word.text, "a?[31mb?c??d\xc3\xa4?");
    close(control);
    text_clean(ps, sizeof ps - 1, "\n\t");
    assert_string_equal(ps, "PID\tCMD\n1\t?]0;x?\n");
}

/* The exit status, 1000 and the signal, or 2000 when it has been stopped. */
static int end_of_child(pid_t pid)
{
    int status;

    assert_int_equal(waitpid(pid, &status, WUNTRACED), pid);
    if (WIFEXITED(status))
        return WEXITSTATUS(status);
    if (WIFSIGNALED(status))
        return 1000 + WTERMSIG(status);
    kill(pid, SIGKILL);
    waitpid(pid, &status, 0);
    return 2000;
}

static void an_end_by_a_signal_that_stops_is_an_end(void **state)
{
    static const struct {
        unsigned status;
        int end;
    } rows[] = {
        { 7, 7 },
        { MUX_BY_SIGNAL + SIGTERM, 1000 + SIGTERM },
        { MUX_BY_SIGNAL + SIGSTOP, 128 + SIGSTOP },
        { MUX_BY_SIGNAL + SIGTSTP, 128 + SIGTSTP },
        { MUX_BY_SIGNAL + SIGTTOU, 128 + SIGTTOU },
        { MUX_BY_SIGNAL + SIGCHLD, 128 + SIGCHLD },
    };

    (void)state;
    for (size_t i = 0; i < COUNT_OF(rows); i++) {
        pid_t pid = fork();

        if (pid == 0)
            machine_end_as(rows[i].status);
        assert_int_equal(end_of_child(pid), rows[i].end);
    }
}

/* Writes to a stdout that nobody reads, as much as there is room for, and one time more. */
static pid_t fill_stdout(int fd)
{
    static const char bytes[4096];
    pid_t pid = fork();

    if (pid != 0)
        return pid;
    signal(SIGALRM, SIG_DFL);
    alarm(60);
    dup2(fd, STDOUT_FILENO);
    machine_own_stdio();
    for (int i = 0; i < 1000; i++)
        if (write(STDOUT_FILENO, bytes, sizeof bytes) < 0)
            _exit(errno == EAGAIN ? 0 : 1);
    _exit(2);
}

static void who_reads_nothing_holds_nobody_up(void **state)
{
    int fds[2], master = posix_openpt(O_RDWR | O_NOCTTY), slave, regular;
    struct termios raw;
    char path[] = "/tmp/teca-unit-stdio-XXXXXX";

    (void)state;
    assert_int_equal(pipe(fds), 0);
    assert_int_equal(end_of_child(fill_stdout(fds[1])), 0);
    assert_int_equal(fcntl(fds[1], F_GETFL) & O_NONBLOCK, 0); /* others have this one */
    assert_int_equal(unlockpt(master), 0);
    slave = ioctl(master, TIOCGPTPEER, O_RDWR | O_NOCTTY);
    tcgetattr(slave, &raw);
    cfmakeraw(&raw);
    tcsetattr(slave, TCSANOW, &raw);
    assert_int_equal(end_of_child(fill_stdout(slave)), 0);
    assert_int_equal(fcntl(slave, F_GETFL) & O_NONBLOCK, 0);
    regular = mkstemp(path);
    unlink(path);
    assert_int_equal(write(regular, "x", 1), 1);
    assert_int_equal(end_of_child(fill_stdout(regular)),
                     2); /* it has its place in the file still */
    assert_int_equal(lseek(regular, 0, SEEK_CUR), 1 + 1000 * 4096);
    close(regular);
    close(slave);
    close(master);
    close(fds[0]);
    close(fds[1]);
}

/* The monitor's last sentence; its stdio is as machine_own_stdio leaves it. */
static pid_t say_last(int fd)
{
    pid_t pid = fork();

    if (pid != 0)
        return pid;
    signal(SIGALRM, SIG_DFL);
    alarm(60);
    signal(SIGPIPE, SIG_IGN); /* blocked, in a monitor */
    dup2(fd, STDERR_FILENO);
    machine_own_stdio();
    machine_tell_people(STDERR_FILENO, "the machine ended before its container", MACHINE_LAST_MS);
    _exit(7);
}

static void fill(int fd)
{
    static const char bytes[4096];

    assert_int_equal(fcntl(fd, F_SETFL, O_NONBLOCK), 0);
    while (write(fd, bytes, sizeof bytes) > 0)
        ;
    while (write(fd, bytes, 1) > 0)
        ;
    assert_int_equal(fcntl(fd, F_SETFL, 0), 0);
}

static void the_last_sentence_is_said_to_who_reads_and_waits_for_nobody(void **state)
{
    static const char sentence[] = "teca: the machine ended before its container\n";

    (void)state;
    for (int is_socket = 0; is_socket < 2; is_socket++) {
        int fds[2];
        char text[128] = "";

        assert_int_equal(
            is_socket ? socketpair(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0, fds) : pipe(fds), 0);
        assert_int_equal(end_of_child(say_last(fds[1])), 7);
        assert_int_equal(read(fds[0], text, sizeof text - 1), sizeof sentence - 1);
        assert_string_equal(text, sentence);
        fill(fds[1]);
        assert_int_equal(end_of_child(say_last(fds[1])), 7);
        close(fds[0]);
        assert_int_equal(end_of_child(say_last(fds[1])), 7);
        close(fds[1]);
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        CLEAN(a_verb_is_carried_from_its_words_to_its_end),
        CLEAN(what_the_process_has_left_to_others_goes_on),
        CLEAN(who_is_killed_takes_the_process_along),
        CLEAN(nobody_who_reads_is_told_to_whom_it_matters),
        CLEAN(numbers_are_used_again_and_one_too_many_is_refused),
        CLEAN(who_says_nothing_keeps_nobody_out),
        CLEAN(who_has_asked_keeps_its_place_while_the_guest_reads_nothing),
        CLEAN(a_monitor_that_takes_nothing_is_not_waited_for),
        CLEAN(a_start_waits_for_a_monitor_that_goes_on),
        CLEAN(a_verb_tells_how_that_of_the_guest_has_ended),
        CLEAN(an_answer_has_an_end),
        CLEAN(that_it_is_paused_is_known_when_the_guest_has_done_it),
        CLEAN(what_a_guest_says_when_it_must_not_is_a_breach),
        CLEAN(a_request_that_is_none_is_refused),
        CLEAN(words_of_a_guest_are_no_commands_to_a_terminal),
        CLEAN(an_end_by_a_signal_that_stops_is_an_end),
        CLEAN(who_reads_nothing_holds_nobody_up),
        CLEAN(the_last_sentence_is_said_to_who_reads_and_waits_for_nobody),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
