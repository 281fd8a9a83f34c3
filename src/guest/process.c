/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The container's process: made, started and ended by the verbs of this program, which are executed as on a
 * host. As PID 1 the agent becomes the parent of what `create` leaves behind, and learns of its end.
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

/* Below GUEST_RUN. */
#define BUNDLE "/run/teca-agent/bundle"
#define CONFIG "/run/teca-agent/bundle/config.json"
#define PID_FILE "/run/teca-agent/pid"
#define LOG_FILE "/run/teca-agent/log"
#define CONSOLE "/run/teca-agent/console"
#define ID "container"

enum { CHUNK = 16384, LOG_MAX = 65536, CONFIG_MAX = 64 << 20 };

void process_init(struct process *p)
{
    *p = (struct process){ .config_fd = -1, .in = -1, .out = -1, .err = -1, .console = -1 };
}

static void close_fd(int *fd)
{
    if (*fd >= 0)
        close(*fd);
    *fd = -1;
}

/* ---- verbs ----------------------------------------------------------------------------------- */

struct standard_fds {
    int in, out, err; /* -1: /dev/null */
};

/* In the child, which has nothing of the agent but these. */
static _Noreturn void execute_verb(char *const argv[], struct standard_fds fds)
{
    static char *const no_env[] = { "PATH=/", NULL };
    const int from[] = { fds.in, fds.out, fds.err };
    int null = openat(AT_FDCWD, "/dev/null", O_RDWR | O_CLOEXEC);
    sigset_t none;

    for (int i = 0; i < 3; i++)
        dup2(from[i] < 0 ? null : from[i], i);
    signal(SIGPIPE, SIG_DFL);
    sigemptyset(&none);
    sigprocmask(SIG_SETMASK, &none, NULL);
    execve(GUEST_PROGRAM, argv, no_env);
    _exit(127);
}

static int run_verb(struct process *p, char *const argv[], struct standard_fds fds, struct err *e)
{
    pid_t pid;

    unlink(LOG_FILE);
    pid = fork();
    if (pid < 0)
        return err_set(e, errno, "cannot fork");
    if (pid == 0)
        execute_verb(argv, fds);
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
    struct sockaddr_un at = { .sun_family = AF_UNIX, .sun_path = CONSOLE };

    unlink(CONSOLE);
    p->console = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0);
    if (p->console < 0 || bind(p->console, (const struct sockaddr *)&at, sizeof at) < 0 ||
        listen(p->console, 1) < 0)
        return err_set(e, errno, "cannot listen for the terminal");
    return 0;
}

static int run_create(struct process *p, struct err *e)
{
    static char *const plain[] = { "teca",       "--log",  LOG_FILE,   "--log-format",
                                   "json",       "create", "--bundle", BUNDLE,
                                   "--pid-file", PID_FILE, ID,         NULL };
    static char *const terminal[] = { "teca",       "--log",  LOG_FILE,           "--log-format",
                                      "json",       "create", "--bundle",         BUNDLE,
                                      "--pid-file", PID_FILE, "--console-socket", CONSOLE,
                                      ID,           NULL };
    AUTO_FD int in = -1;
    AUTO_FD int out = -1;
    AUTO_FD int err = -1;
    int r;

    if (p->terminal) {
        r = listen_for_console(p, e);
        return r < 0 ? r : run_verb(p, terminal, (struct standard_fds){ -1, -1, -1 }, e);
    }
    r = make_pipe(&p->in, &in, true, e);
    if (r == 0)
        r = make_pipe(&p->out, &out, false, e);
    if (r == 0)
        r = make_pipe(&p->err, &err, false, e);
    return r < 0 ? r : run_verb(p, plain, (struct standard_fds){ in, out, err }, e);
}

int process_create(struct process *p, size_t config_len, bool terminal, struct err *e)
{
    if (p->state != PROCESS_NONE)
        return err_set(e, EPROTO, "CREATE comes a second time");
    if (config_len > CONFIG_MAX)
        return err_set(e, EPROTO, "a config.json of %zu bytes", config_len);
    if (mkdir(BUNDLE, 0700) < 0 && errno != EEXIST)
        return err_set(e, errno, "cannot make '%s'", BUNDLE);
    p->config_fd = openat(AT_FDCWD, CONFIG, O_WRONLY | O_CREAT | O_TRUNC | O_CLOEXEC, 0600);
    if (p->config_fd < 0)
        return err_set(e, errno, "cannot create '%s'", CONFIG);
    p->state = PROCESS_CONFIG;
    p->config_len = config_len;
    p->terminal = terminal;
    return 0;
}

int process_start(struct process *p, struct err *e)
{
    static char *const argv[] = { "teca", "--log", LOG_FILE, "--log-format",
                                  "json", "start", ID,       NULL };

    if (p->state != PROCESS_CREATED)
        return err_set(e, EPROTO, "START comes before CREATED, or a second time");
    p->state = PROCESS_STARTING;
    return run_verb(p, argv, (struct standard_fds){ -1, -1, -1 }, e);
}

int process_signal(const struct process *p, int signal)
{
    /* Nobody else reaps it: the pid is its own until process_reaped has seen its end. */
    return p->init > 0 && !p->init_ended ? kill(p->init, signal) : 0;
}

void process_resize(const struct process *p, unsigned rows, unsigned columns)
{
    struct winsize size = { .ws_row = (unsigned short)rows, .ws_col = (unsigned short)columns };

    if (p->terminal && p->out >= 0)
        ioctl(p->out, TIOCSWINSZ, &size);
}

/* ---- what the verbs have to say -------------------------------------------------------------- */

/* "msg" of the log's one line of JSON, or that there is none. */
static void read_log(char *out, size_t size, int status)
{
    struct arena a = { 0 };
    const struct json *msg = NULL;
    struct json *doc;
    char *text;
    size_t len;

    if (file_read(&a, AT_FDCWD, LOG_FILE, LOG_MAX, &text, &len, NULL) == 0 &&
        json_parse(&a, text, strcspn(text, "\n"), "the log", &doc, NULL) == 0)
        msg = json_get(doc, "msg");
    if (msg && msg->type == JSON_STRING)
        base_format(out, size, "%s", msg->text);
    else
        base_format(out, size, "the runtime in the machine ended with status %d and said nothing",
                    status);
    arena_release(&a);
}

static int tell(struct mux *m, struct mux_message message, struct err *e)
{
    return mux_send(m, &message) < 0
               ? err_set(e, EPROTO, "the monitor does not read what the agent says")
               : 0;
}

static int tell_failure(struct mux *m, int status, struct err *e)
{
    char text[ERR_TEXT_SIZE];

    read_log(text, sizeof text, status);
    return tell(
        m, (struct mux_message){ .verb = MUX_FAILED, .text = text, .text_len = strlen(text) }, e);
}

static int read_pid(pid_t *out)
{
    char text[32];
    uint64_t pid;
    AUTO_FD int fd = openat(AT_FDCWD, PID_FILE, O_RDONLY | O_CLOEXEC);
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
    close_fd(&p->console);
    return fcntl(master, F_SETFL, O_RDWR | O_NONBLOCK) < 0
               ? err_set(e, errno, "cannot set up the terminal")
               : 0;
}

static int created(struct process *p, struct mux *m, int status, struct err *e)
{
    int r = status != 0 ? tell_failure(m, WEXITSTATUS(status), e) : read_pid(&p->init);

    if (status != 0) {
        p->state = PROCESS_GONE;
        return r;
    }
    if (r < 0)
        return err_set(e, -r, "cannot read '%s'", PID_FILE);
    r = p->terminal ? take_console(p, e) : 0;
    p->state = PROCESS_CREATED;
    return r < 0 ? r : tell(m, (struct mux_message){ .verb = MUX_CREATED }, e);
}

/* A program that could not be executed leaves an init that has ended: its end is not told as well. */
static int started(struct process *p, struct mux *m, int status, struct err *e)
{
    p->state = status == 0 ? PROCESS_RUNNING : PROCESS_GONE;
    return status == 0 ? tell(m, (struct mux_message){ .verb = MUX_STARTED }, e)
                       : tell_failure(m, WEXITSTATUS(status), e);
}

int process_reaped(struct process *p, struct mux *m, pid_t pid, int status, struct err *e)
{
    if (pid == p->verb) {
        p->verb = 0;
        if (p->state == PROCESS_CREATING)
            return created(p, m, status, e);
        return p->state == PROCESS_STARTING ? started(p, m, status, e) : 0;
    }
    if (p->init > 0 && pid == p->init) {
        p->init_ended = true;
        p->init_status = status;
    } else if (p->init == 0 && p->state == PROCESS_CREATING) {
        /* init, before create has ended: its pid file is read then. */
        pid_t init;

        if (read_pid(&init) == 0 && init == pid) {
            p->init_ended = true;
            p->init_status = status;
        }
    }
    return 0;
}

/* ---- bytes ----------------------------------------------------------------------------------- */

static bool is_later(void)
{
    return errno == EAGAIN || errno == EINTR;
}

/* False: it is at its end. */
static bool carry_out(int fd, struct mux *m, unsigned stream)
{
    char data[CHUNK];

    for (size_t room; (room = mux_room(m, stream)) > 0;) {
        ssize_t n = read(fd, data, room < sizeof data ? room : sizeof data);

        if (n < 0 && is_later())
            return true;
        if (n <= 0) /* EIO: a terminal that nobody has open any more */
            return false;
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
            return is_later();
        mux_take(m, stream, (size_t)n);
    }
    return true;
}

static int take_config(struct process *p, struct mux *m, struct err *e)
{
    const unsigned stream = mux_stream_of(0, MUX_CONFIG);
    const uint8_t *data;
    int r = 0;

    for (size_t len; r == 0 && (len = mux_peek(m, stream, &data)) > 0;) {
        if (len > p->config_len - p->config_have)
            return err_set(e, EPROTO, "more of config.json than was told");
        r = fd_write_all(p->config_fd, data, len);
        p->config_have += len;
        mux_take(m, stream, len);
    }
    if (r < 0)
        return err_set(e, -r, "cannot write '%s'", CONFIG);
    if (p->config_have < p->config_len)
        return 0;
    close_fd(&p->config_fd);
    p->state = PROCESS_CREATING;
    return run_create(p, e);
}

static void pump_input(struct process *p, struct mux *m)
{
    const unsigned stream = mux_stream_of(0, MUX_STDIN);

    if (!carry_in(p->in, m, stream)) {
        if (!p->terminal)
            close_fd(&p->in);
        return;
    }
    /* The end: of a pipe the program reads it, a terminal is hung up. */
    if (!mux_ended(m, stream) || p->in < 0)
        return;
    if (p->terminal && p->out == p->in)
        p->out = -1;
    close_fd(&p->in);
}

static void pump_output(int *fd, const struct process *p, struct mux *m, enum mux_channel channel)
{
    const unsigned stream = mux_stream_of(0, channel);

    if (*fd < 0 || carry_out(*fd, m, stream))
        return;
    /* A terminal that nobody has open may be opened again, while the container lives. */
    if (p->terminal && !p->init_ended)
        return;
    if (!p->terminal)
        close_fd(fd);
    *fd = -1;
}

int process_pump(struct process *p, struct mux *m, struct err *e)
{
    if (p->state == PROCESS_CONFIG)
        return take_config(p, m, e);
    if (p->state < PROCESS_CREATED || p->state == PROCESS_GONE)
        return 0;
    pump_input(p, m);
    pump_output(&p->out, p, m, MUX_STDOUT);
    if (!p->terminal)
        pump_output(&p->err, p, m, MUX_STDERR);
    return 0;
}

int process_finish(struct process *p, struct mux *m, struct err *e)
{
    int status = p->init_status;

    if (!p->init_ended || p->out >= 0 || p->err >= 0 ||
        (p->state != PROCESS_CREATED && p->state != PROCESS_RUNNING))
        return 0;
    system_flush();
    p->state = PROCESS_GONE;
    mux_send_end(m, mux_stream_of(0, MUX_STDOUT));
    mux_send_end(m, mux_stream_of(0, MUX_STDERR));
    return tell(m,
                (struct mux_message){ .verb = MUX_EXIT,
                                      .value = WIFEXITED(status)
                                                   ? (uint64_t)WEXITSTATUS(status)
                                                   : MUX_BY_SIGNAL + (uint64_t)WTERMSIG(status) },
                e);
}
