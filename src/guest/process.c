/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The container's process, those that `exec` adds, and verbs that only answer: this program carries them all out by
 * executing itself, as on a host. As PID 1 the agent becomes the parent of what `create` and `exec` leave behind,
 * and learns of its end.
 */
#include <errno.h>
#include <fcntl.h>
#include <signal.h>
#include <stddef.h>
#include <string.h>
#include <sys/ioctl.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/un.h>
#include <sys/wait.h>
#include <unistd.h>

#include "guest/internal.h"

/* In the directory of its own in which a verb begins. */
#define CONFIG "config.json"
#define LOG_FILE "log"

enum { CHUNK = 16384, LOG_MAX = 65536, DOCUMENT_MAX = 64 << 20, PATH_SIZE = 64 };

/* How each begins; a failure is one line of JSON. */
#define VERB "teca", "--log", LOG_FILE, "--log-format", "json"

void process_init(struct process *p, unsigned number)
{
    *p = (struct process){
        .number = number, .document = -1, .in = -1, .out = -1, .err = -1, .console = -1
    };
}

/* name "": the directory itself. */
static const char *path_of(const struct process *p, const char *name, char out[PATH_SIZE])
{
    base_format(out, PATH_SIZE, GUEST_RUN "/%u/%s", p->number, name);
    return out;
}

static int tell(const struct process *p, struct mux *m, struct mux_message message, struct err *e)
{
    message.process = p->number;
    return mux_send(m, &message) < 0
               ? err_set(e, EPROTO, "the monitor does not read what the agent says")
               : 0;
}

/* ---- verbs ----------------------------------------------------------------------------------- */

struct standard_fds {
    int in, out, err; /* -1: /dev/null */
};

/* In the child, which has nothing of the agent but these. */
static _Noreturn void execute_verb(const struct process *p, char *const argv[],
                                   struct standard_fds fds)
{
    static char *const no_env[] = { "PATH=/:/usr/sbin:/usr/bin:/sbin:/bin", NULL };
    const int from[] = { fds.in, fds.out, fds.err };
    int null = openat(AT_FDCWD, "/dev/null", O_RDWR | O_CLOEXEC);
    char dir[PATH_SIZE];
    sigset_t none;

    for (int i = 0; i < 3; i++)
        dup2(from[i] < 0 ? null : from[i], i);
    signal(SIGPIPE, SIG_DFL);
    sigemptyset(&none);
    sigprocmask(SIG_SETMASK, &none, NULL);
    if (chdir(path_of(p, "", dir)) == 0)
        execve(GUEST_PROGRAM, argv, no_env);
    _exit(127);
}

static int run_verb(struct process *p, char *const argv[], struct standard_fds fds, struct err *e)
{
    char path[PATH_SIZE];
    pid_t pid;

    unlink(path_of(p, LOG_FILE, path));
    pid = fork();
    if (pid < 0)
        return err_set(e, errno, "cannot fork");
    if (pid == 0)
        execute_verb(p, argv, fds);
    p->verb = pid;
    return 0;
}

/* An end for the verb, and the agent's own, which does not wait. */
static int make_pipe(int *mine, int *theirs, bool i_write, struct err *e)
{
    int fds[2];

    if (pipe2(fds, O_CLOEXEC) < 0)
        return err_set(e, errno, "cannot make a pipe");
    *mine = fds[i_write];
    *theirs = fds[!i_write];
    return fcntl(*mine, F_SETFL, O_NONBLOCK) < 0 ? err_set(e, errno, "cannot set up a pipe") : 0;
}

static int listen_for_console(struct process *p, struct err *e)
{
    struct sockaddr_un at = { .sun_family = AF_UNIX };

    path_of(p, MUX_CONSOLE, at.sun_path);
    p->console = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0);
    if (p->console < 0 || bind(p->console, (const struct sockaddr *)&at, sizeof at) < 0 ||
        listen(p->console, 1) < 0)
        return err_set(e, errno, "cannot listen for the terminal");
    return 0;
}

/* With pipes, or with a terminal that is sent when it is made. */
static int run_with_fds(struct process *p, char *const argv[], struct err *e)
{
    AUTO_FD int in = -1;
    AUTO_FD int out = -1;
    AUTO_FD int err = -1;
    int r;

    if (p->terminal) {
        r = listen_for_console(p, e);
        return r < 0 ? r : run_verb(p, argv, (struct standard_fds){ -1, -1, -1 }, e);
    }
    r = make_pipe(&p->in, &in, true, e);
    if (r == 0)
        r = make_pipe(&p->out, &out, false, e);
    if (r == 0)
        r = make_pipe(&p->err, &err, false, e);
    return r < 0 ? r : run_verb(p, argv, (struct standard_fds){ in, out, err }, e);
}

static int run_create(struct process *p, struct err *e)
{
    static char *const always[] = { VERB, "create", "--bundle", ".", "--pid-file", MUX_PID_FILE };
    static char *const terminal[] = { "--console-socket", MUX_CONSOLE };
    char *argv[COUNT_OF(always) + COUNT_OF(terminal) + 3];
    size_t n = COUNT_OF(always);

    memcpy(argv, always, sizeof always);
    if (p->terminal) {
        memcpy(argv + n, terminal, sizeof terminal);
        n += COUNT_OF(terminal);
    }
    if (p->no_pivot)
        argv[n++] = "--no-pivot";
    argv[n++] = MUX_CONTAINER;
    argv[n] = NULL;
    return run_with_fds(p, argv, e);
}

static int run_start(struct process *p, struct err *e)
{
    static char *const argv[] = { VERB, "start", MUX_CONTAINER, NULL };

    if (p->number != 0 || p->state != PROCESS_CREATED)
        return err_set(e, EPROTO, "START comes before CREATED, or a second time");
    p->state = PROCESS_STARTING;
    return run_verb(p, argv, (struct standard_fds){ -1, -1, -1 }, e);
}

static int write_input(const struct process *p, const char *text, size_t len, struct err *e)
{
    char path[PATH_SIZE];
    AUTO_FD int fd = openat(AT_FDCWD, path_of(p, MUX_INPUT, path),
                            O_WRONLY | O_CREAT | O_TRUNC | O_CLOEXEC, 0600);
    int r = fd < 0 ? -errno : fd_write_all(fd, text, len);

    return r < 0 ? err_set(e, -r, "cannot write '%s'", path) : 0;
}

/* Nobody else reaps it: the pid is its own until process_reaped has seen its end. */
static void send_signal(struct process *p, unsigned number)
{
    if (p->pid == 0 && p->state < PROCESS_RUNNING)
        p->signals |= 1ULL << (number - 1);
    else if (p->pid > 0 && !p->ended)
        kill(p->pid, (int)number);
}

static void send_early_signals(struct process *p)
{
    for (unsigned i = 1; i <= 64; i++)
        if (p->signals >> (i - 1) & 1)
            send_signal(p, i);
}

/* The reason is the verb's, not the machine's end: no room for one more process is the container's own doing. */
static int tell_reason(struct process *p, struct mux *m, const char *text, struct err *e)
{
    p->state = PROCESS_GONE;
    return tell(p, m,
                (struct mux_message){ .verb = MUX_FAILED, .text = text, .text_len = strlen(text) },
                e);
}

static int run_request(struct process *p, struct mux *m, struct err *e)
{
    static const char *const first[] = { VERB, NULL };
    char path[PATH_SIZE], *text, **argv;
    struct arena a = { 0 };
    struct err why = { 0 };
    const char *input;
    size_t len;
    int r = file_read(&a, AT_FDCWD, path_of(p, CONFIG, path), DOCUMENT_MAX, &text, &len, &why);

    if (r == 0)
        r = request_parse(first, text, len, &a, &argv, &input, &len, &why);
    if (r == 0)
        r = write_input(p, input, len, &why);
    if (r == 0)
        r = run_with_fds(p, argv, &why);
    arena_release(&a);
    if (r < 0)
        return tell_reason(p, m, why.text, e);
    if (p->leaves)
        return 0;
    p->pid = p->verb;
    p->state = PROCESS_RUNNING;
    send_early_signals(p);
    return tell(p, m, (struct mux_message){ .verb = MUX_STARTED }, e);
}

/* ---- what the monitor asks for --------------------------------------------------------------- */

/* CREATE, or RUN: the document follows. */
static int begin(struct process *p, const struct mux_message *message, struct err *e)
{
    char path[PATH_SIZE];

    if (p->state != PROCESS_NONE || (message->verb == MUX_CREATE) != (p->number == 0))
        return err_set(e, EPROTO, "%s comes a second time", mux_verb_name(message->verb));
    if (message->value > DOCUMENT_MAX)
        return err_set(e, EPROTO, "a document of %lu bytes", message->value);
    if (mkdir(path_of(p, "", path), 0700) < 0 && errno != EEXIST)
        return err_set(e, errno, "cannot make '%s'", path);
    p->document = openat(AT_FDCWD, path_of(p, CONFIG, path),
                         O_WRONLY | O_CREAT | O_TRUNC | O_CLOEXEC, 0600);
    if (p->document < 0)
        return err_set(e, errno, "cannot create '%s'", path);
    p->state = PROCESS_DOCUMENT;
    p->document_len = message->value;
    p->terminal = message->extra & MUX_TERMINAL;
    p->leaves = message->extra & MUX_LEAVES;
    p->no_pivot = message->extra & MUX_NO_PIVOT;
    return 0;
}

static void resize(const struct process *p, unsigned rows, unsigned columns)
{
    struct winsize size = { .ws_row = (unsigned short)rows, .ws_col = (unsigned short)columns };

    if (p->terminal && p->out >= 0)
        ioctl(p->out, TIOCSWINSZ, &size);
}

/* Nobody reads: whoever writes gets SIGPIPE, as he would on the host. */
static void close_output(struct process *p, struct mux *m, unsigned channel)
{
    if (p->terminal)
        return;
    fd_cleanup(channel == MUX_STDOUT ? &p->out : &p->err);
    p->owed[channel - MUX_STDOUT] = 0;
    mux_send_end(m, mux_stream_of(p->number, (enum mux_channel)channel));
}

static int forget(struct process *p, struct mux *m, struct err *e)
{
    static const char *const files[] = { CONFIG, LOG_FILE, MUX_INPUT, MUX_CONSOLE, MUX_PID_FILE };
    char path[PATH_SIZE];

    if (p->state != PROCESS_GONE)
        return err_set(e, EPROTO, "FORGET of a process that is there");
    if (p->out != p->in)
        fd_cleanup(&p->out);
    fd_cleanup(&p->in);
    fd_cleanup(&p->err);
    fd_cleanup(&p->console);
    for (size_t i = 0; i < COUNT_OF(files); i++)
        unlink(path_of(p, files[i], path));
    process_init(p, p->number);
    mux_forget(m, p->number);
    return tell(p, m, (struct mux_message){ .verb = MUX_FORGOTTEN }, e);
}

int process_hear(struct process *p, struct mux *m, const struct mux_message *message, struct err *e)
{
    switch ((int)message->verb) { /* as int: the others are about the machine */
    case MUX_CREATE:
    case MUX_RUN:
        return begin(p, message, e);
    case MUX_START:
        return run_start(p, e);
    case MUX_SIGNAL:
        send_signal(p, (unsigned)message->value);
        return 0;
    case MUX_RESIZE:
        resize(p, (unsigned)message->value, message->extra);
        return 0;
    case MUX_CLOSE:
        close_output(p, m, (unsigned)message->value);
        return 0;
    case MUX_FORGET:
        return forget(p, m, e);
    default:
        return err_set(e, EPROTO, "%s from the monitor", mux_verb_name(message->verb));
    }
}

/* ---- what the verbs have to say -------------------------------------------------------------- */

/* "msg" of the log's one line of JSON, or that there is none. */
static void read_log(const struct process *p, char *out, size_t size, int status)
{
    char path[PATH_SIZE], *text;
    struct arena a = { 0 };
    const struct json *msg = NULL;
    struct json *doc;
    size_t len;

    if (file_read(&a, AT_FDCWD, path_of(p, LOG_FILE, path), LOG_MAX, &text, &len, NULL) == 0 &&
        json_parse(&a, text, strcspn(text, "\n"), "the log", &doc, NULL) == 0)
        msg = json_get(doc, "msg");
    if (msg && msg->type == JSON_STRING)
        base_format(out, size, "%s", msg->text);
    else
        base_format(out, size, "the runtime in the machine ended with status %d and said nothing",
                    WIFEXITED(status) ? WEXITSTATUS(status) : 128 + WTERMSIG(status));
    arena_release(&a);
}

static int tell_failure(struct process *p, struct mux *m, int status, struct err *e)
{
    char text[ERR_TEXT_SIZE];

    read_log(p, text, sizeof text, status);
    return tell_reason(p, m, text, e);
}

static int read_pid(const struct process *p, pid_t *out)
{
    char path[PATH_SIZE], text[32];
    uint64_t pid;
    AUTO_FD int fd = openat(AT_FDCWD, path_of(p, MUX_PID_FILE, path), O_RDONLY | O_CLOEXEC);
    ssize_t n = fd < 0 ? -1 : read(fd, text, sizeof text - 1);

    if (n < 0)
        return -errno;
    text[n] = 0;
    if (str_to_u64(text, &pid) < 0)
        return -EINVAL;
    *out = (pid_t)pid;
    return 0;
}

/* The master that `create` has sent, SCM_RIGHTS of unix(7). */
static int take_console(struct process *p, struct err *e)
{
    union {
        char space[CMSG_SPACE(sizeof(int))];
        struct cmsghdr align;
    } control;
    char byte[64];
    struct iovec part = { byte, sizeof byte };
    struct msghdr msg = {
        .msg_iov = &part, .msg_iovlen = 1, .msg_control = &control, .msg_controllen = sizeof control
    };
    AUTO_FD int from = accept4(p->console, NULL, NULL, SOCK_CLOEXEC);
    const struct cmsghdr *c;
    int master;

    if (from < 0 || recvmsg(from, &msg, MSG_CMSG_CLOEXEC) < 0)
        return err_set(e, errno, "cannot get the terminal");
    c = CMSG_FIRSTHDR(&msg);
    if (!c || c->cmsg_type != SCM_RIGHTS || c->cmsg_len != CMSG_LEN(sizeof master))
        return err_set(e, 0, "the terminal was not sent");
    memcpy(&master, CMSG_DATA(c), sizeof master);
    p->in = p->out = master;
    fd_cleanup(&p->console);
    return fcntl(master, F_SETFL, O_RDWR | O_NONBLOCK) < 0
               ? err_set(e, errno, "cannot set up the terminal")
               : 0;
}

/* The verb has left a process behind, which may have ended by now. */
static int left(struct process *p, struct mux *m, int status, struct err *e)
{
    bool own = p->number == 0;
    int r;

    if (status != 0)
        return tell_failure(p, m, status, e);
    r = p->pid > 0 ? 0 : read_pid(p, &p->pid);
    if (r < 0)
        return err_set(e, -r, "cannot read the pid of process %u", p->number);
    r = p->terminal ? take_console(p, e) : 0;
    p->state = own ? PROCESS_CREATED : PROCESS_RUNNING;
    if (r == 0)
        r = tell(p, m, (struct mux_message){ .verb = own ? MUX_CREATED : MUX_STARTED }, e);
    send_early_signals(p);
    return r;
}

/* A program that could not be executed leaves an init that has ended: its end is not told as well. */
static int started(struct process *p, struct mux *m, int status, struct err *e)
{
    if (status != 0)
        return tell_failure(p, m, status, e);
    p->state = PROCESS_RUNNING;
    return tell(p, m, (struct mux_message){ .verb = MUX_STARTED }, e);
}

/* What lies in its pipes now is its own; what comes later another's that it has left them to. */
static void note_end(struct process *p, int status)
{
    int *const fds[] = { &p->out, &p->err };

    p->ended = true;
    p->status = status;
    for (int i = 0; i < 2; i++)
        if (p->terminal || *fds[i] < 0 || ioctl(*fds[i], FIONREAD, &p->owed[i]) < 0)
            p->owed[i] = 0;
}

int process_reaped(struct process *p, struct mux *m, pid_t pid, int status, struct err *e)
{
    int r = 0;

    /* It may have ended before the verb that leaves it: its pid file is there by then. */
    if (p->state == PROCESS_CREATING && p->pid == 0 && pid != p->verb &&
        (read_pid(p, &p->pid) < 0 || p->pid != pid))
        p->pid = 0;
    if (p->pid > 0 && pid == p->pid && !p->ended)
        note_end(p, status);
    else if (p->verb == 0 || pid != p->verb)
        return 0;
    if (pid == p->verb) {
        p->verb = 0;
        if (p->state == PROCESS_CREATING)
            r = left(p, m, status, e);
        else if (p->state == PROCESS_STARTING)
            r = started(p, m, status, e);
    }
    return r < 0 ? r : 1;
}

/* ---- bytes ----------------------------------------------------------------------------------- */

/* False: it is at its end. */
static bool carry_out(int fd, struct mux *m, unsigned stream, int *owed)
{
    char data[CHUNK];

    for (size_t room; (room = mux_room(m, stream)) > 0;) {
        ssize_t n = read(fd, data, room < sizeof data ? room : sizeof data);

        if (n < 0 && fd_is_later())
            return true;
        if (n <= 0) /* EIO: a terminal that nobody has open any more */
            return false;
        *owed -= n < *owed ? (int)n : *owed;
        mux_send_data(m, stream, data, (size_t)n);
    }
    return true;
}

/* False: nobody will read what comes. */
static bool carry_in(int fd, struct mux *m, unsigned stream)
{
    const uint8_t *data;

    for (size_t len; (len = mux_peek(m, stream, &data)) > 0;) {
        ssize_t n = fd < 0 ? (ssize_t)len : write(fd, data, len);

        if (n < 0)
            return fd_is_later();
        mux_take(m, stream, (size_t)n);
    }
    return true;
}

static int take_document(struct process *p, struct mux *m, struct err *e)
{
    const unsigned stream = mux_stream_of(p->number, MUX_CONFIG);
    const uint8_t *data;
    int r = 0;

    for (size_t len; r == 0 && (len = mux_peek(m, stream, &data)) > 0;) {
        if (len > p->document_len - p->document_have)
            return err_set(e, EPROTO, "more of a document than was told");
        r = fd_write_all(p->document, data, len);
        p->document_have += len;
        mux_take(m, stream, len);
    }
    if (r < 0)
        return err_set(e, -r, "cannot write the document of process %u", p->number);
    if (p->document_have < p->document_len)
        return 0;
    fd_cleanup(&p->document);
    p->state = PROCESS_CREATING;
    return p->number == 0 ? run_create(p, e) : run_request(p, m, e);
}

static void pump_input(struct process *p, struct mux *m)
{
    const unsigned stream = mux_stream_of(p->number, MUX_STDIN);

    if (!carry_in(p->in, m, stream)) {
        if (!p->terminal)
            fd_cleanup(&p->in);
        return;
    }
    /* The end: of a pipe the program reads it, a terminal is hung up. */
    if (!mux_ended(m, stream) || p->in < 0)
        return;
    if (p->terminal && p->out == p->in)
        p->out = -1;
    fd_cleanup(&p->in);
}

static void pump_output(struct process *p, struct mux *m, enum mux_channel channel)
{
    const unsigned stream = mux_stream_of(p->number, channel);
    int *fd = channel == MUX_STDOUT ? &p->out : &p->err;
    int *owed = &p->owed[channel - MUX_STDOUT];

    if (*fd >= 0 && carry_out(*fd, m, stream, owed))
        return;
    /* A terminal that nobody has open may be opened again, while its process lives. */
    if (*fd >= 0 && p->terminal && !p->ended)
        return;
    if (!p->terminal)
        fd_cleanup(fd);
    *fd = -1;
    *owed = 0;
    mux_send_end(m, stream);
}

int process_pump(struct process *p, struct mux *m, struct err *e)
{
    if (p->state == PROCESS_DOCUMENT)
        return take_document(p, m, e);
    if (p->state < PROCESS_CREATED)
        return 0;
    pump_input(p, m);
    pump_output(p, m, MUX_STDOUT);
    pump_output(p, m, MUX_STDERR);
    return 0;
}

/* Without a pid namespace between, others may go on with its pipes: they are carried until they let go. */
static bool has_said_all(const struct process *p)
{
    if (p->number == 0 || p->terminal)
        return p->out < 0 && p->err < 0;
    return p->owed[0] == 0 && p->owed[1] == 0;
}

int process_finish(struct process *p, struct mux *m, struct err *e)
{
    int status = p->status;

    if (!p->ended || !has_said_all(p) ||
        (p->state != PROCESS_CREATED && p->state != PROCESS_RUNNING))
        return 0;
    if (!p->leaves && p->number > 0 && WIFEXITED(status) && WEXITSTATUS(status) != 0)
        return tell_failure(p, m, status, e);
    system_flush();
    p->state = PROCESS_GONE;
    return tell(p, m,
                (struct mux_message){ .verb = MUX_EXIT,
                                      .value = WIFEXITED(status)
                                                   ? (uint64_t)WEXITSTATUS(status)
                                                   : MUX_BY_SIGNAL + (uint64_t)WTERMSIG(status) },
                e);
}
