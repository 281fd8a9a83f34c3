/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The verbs that the monitor serves, one process of the guest each: a state machine between a connection of
 * DIR/control on one side, and a number of the protocol on the other. Who connects is root of the host, and may be
 * killed at any time; the guest is hostile. Nobody is waited for.
 */
#include <errno.h>
#include <fcntl.h>
#include <string.h>
#include <sys/ioctl.h>
#include <sys/socket.h>
#include <unistd.h>

#include "container/machine.h"

enum state {
    FREE,
    ASKING,   /* its request is to come */
    SENDING,  /* the document is on its way */
    STARTING, /* the guest has it all */
    RUNNING,
    ENDED,      /* the guest has said how */
    FORGETTING, /* the guest is to forget the number */
};
enum { PIPES = 3, CHUNK = 16384 };

static struct client {
    enum state state;
    enum control_kind kind;
    int control, document, pipes[PIPES]; /* -1: closed */
    uint64_t len, sent;                  /* of the document */
    uint64_t came;                       /* which of all connections it is */
    bool terminal, kill, told, close_told[PIPES];
    size_t owed[PIPES]; /* what the process had written when it ended */
    struct control_word end;
} clients
    [MUX_PROCESSES]; /* by the number of the process; 0, the container's, is who has to be refused */

static int listener = -1, state_dir = -1;
static uint64_t connections;

void clients_open(int listens, int dir)
{
    listener = listens;
    state_dir = dir;
    for (size_t i = 0; i < MUX_PROCESSES; i++)
        clients[i] = (struct client){ .control = -1, .document = -1, .pipes = { -1, -1, -1 } };
}

void clients_close(void)
{
    for (size_t i = 0; i < MUX_PROCESSES; i++) {
        fd_cleanup(&clients[i].control);
        fd_cleanup(&clients[i].document);
        for (size_t k = 0; k < PIPES; k++)
            fd_cleanup(&clients[i].pipes[k]);
    }
    clients_open(listener, state_dir);
}

static unsigned number_of(const struct client *c)
{
    return (unsigned)(c - clients);
}

static unsigned stream_of(const struct client *c, unsigned pipe)
{
    return mux_stream_of(number_of(c), (enum mux_channel)(MUX_STDIN + pipe));
}

/* Nobody waits for the process any more: it ends, and what it writes is dropped. */
static void leave(struct client *c)
{
    fd_cleanup(&c->control);
    for (size_t i = 0; i < PIPES; i++)
        fd_cleanup(&c->pipes[i]);
    c->kill = c->state >= SENDING && c->state < ENDED;
    if (c->state == ASKING)
        c->state = FREE;
}

/* Its socket takes some hundred of these; who lets them lie has gone. */
static void tell(struct client *c, const struct control_word *word)
{
    if (c->control >= 0 &&
        send(c->control, word, sizeof *word, MSG_DONTWAIT | MSG_NOSIGNAL) != sizeof *word)
        leave(c);
}

static void refuse(int control, const char *text)
{
    struct control_word word = { .verb = CONTROL_FAILED };

    base_format(word.text, sizeof word.text, "%s", text);
    (void)send(control, &word, sizeof word, MSG_DONTWAIT | MSG_NOSIGNAL);
}

/* ---- a new one ------------------------------------------------------------------------------- */

static bool is_root(int control)
{
    struct ucred who;
    socklen_t len = sizeof who;

    return getsockopt(control, SOL_SOCKET, SO_PEERCRED, &who, &len) == 0 && who.uid == geteuid();
}

/* A verb sends its request as soon as it is connected; who has not yet may be anybody, and never will. */
static bool is_idle(const struct client *c)
{
    int unread = 0;

    return c->state == ASKING && ioctl(c->control, FIONREAD, &unread) == 0 && unread == 0;
}

/*
 * The lowest number that is free, whose rings were touched before; else that of the one that has been idle for the longest
 * time; else the place of who is refused. NULL: not even that.
 */
static struct client *find_place(void)
{
    struct client *oldest = NULL;

    for (size_t i = 1; i < MUX_PROCESSES; i++)
        if (clients[i].state == FREE)
            return &clients[i];
    for (size_t i = 1; i < MUX_PROCESSES; i++)
        if (is_idle(&clients[i]) && (!oldest || clients[i].came < oldest->came))
            oldest = &clients[i];
    if (oldest)
        return oldest;
    return clients[0].state == FREE || is_idle(&clients[0]) ? &clients[0] : NULL;
}

static void take_connection(struct client *c)
{
    AUTO_FD int control = accept4(listener, NULL, NULL, SOCK_CLOEXEC | SOCK_NONBLOCK);

    if (control < 0)
        return;
    if (!is_root(control)) {
        refuse(control, "only who has started the machine may ask its monitor");
        return;
    }
    if (c->state == ASKING) {
        refuse(c->control, "the machine's monitor has given the place of a connection that said "
                           "nothing to another one");
        leave(c);
    }
    c->state = ASKING;
    c->came = ++connections;
    c->control = take_fd(&control);
}

/* The fds of a message; what is not wanted is closed. */
static size_t take_fds(struct msghdr *msg, int fds[CONTROL_FDS])
{
    size_t n = 0;

    for (struct cmsghdr *c = CMSG_FIRSTHDR(msg); c; c = CMSG_NXTHDR(msg, c)) {
        size_t len = (c->cmsg_len - CMSG_LEN(0)) / sizeof(int);

        if (c->cmsg_level != SOL_SOCKET || c->cmsg_type != SCM_RIGHTS)
            continue;
        for (size_t i = 0; i < len; i++) {
            int fd;

            memcpy(&fd, CMSG_DATA(c) + i * sizeof fd, sizeof fd);
            if (n < CONTROL_FDS)
                fds[n++] = fd;
            else
                close(fd);
        }
    }
    return n;
}

static bool receive(struct client *c, struct control_request *q)
{
    union {
        char space[CMSG_SPACE(CONTROL_FDS * sizeof(int))];
        struct cmsghdr align;
    } control;
    struct iovec part = { q, sizeof *q };
    struct msghdr msg = {
        .msg_iov = &part, .msg_iovlen = 1, .msg_control = &control, .msg_controllen = sizeof control
    };
    int fds[CONTROL_FDS] = { -1, -1, -1, -1 };
    ssize_t n = recvmsg(c->control, &msg, MSG_CMSG_CLOEXEC | MSG_DONTWAIT);
    size_t have = n < 0 ? 0 : take_fds(&msg, fds);

    c->document = fds[0];
    memcpy(c->pipes, fds + 1, sizeof c->pipes);
    for (size_t i = 0; i < PIPES && have == CONTROL_FDS; i++)
        if (fcntl(c->pipes[i], F_SETFL, O_NONBLOCK) < 0)
            have = 0;
    return n == sizeof *q && have == CONTROL_FDS && q->version == CONTROL_VERSION &&
           q->kind <= CONTROL_RESUME && q->len > 0 && q->len <= UINT32_MAX;
}

static void take_request(struct mux *m, struct client *c)
{
    struct control_request q;
    struct mux_message run = { .verb = MUX_RUN, .process = number_of(c) };

    const char *fault = NULL;

    /* Read, whatever it says: with something unread the socket's end would be all that is heard. */
    if (!receive(c, &q))
        fault = "the machine's monitor does not understand this version of teca";
    else if (number_of(c) == 0)
        fault = "the machine carries as many processes beside the container's as it can";
    if (fault) {
        refuse(c->control, fault);
        fd_cleanup(&c->document);
        leave(c);
        return;
    }
    c->kind = (enum control_kind)q.kind;
    c->terminal = q.terminal;
    c->len = q.len;
    run.value = q.len;
    run.extra = (c->terminal ? MUX_TERMINAL : 0) | (c->kind == CONTROL_EXEC ? MUX_LEAVES : 0);
    c->state = SENDING;
    mux_send(m, &run); /* there is room: clients_poll asks only then */
}

static void send_document(struct mux *m, struct client *c)
{
    const unsigned stream = mux_stream_of(number_of(c), MUX_CONFIG);
    char data[CHUNK];

    for (size_t room; c->sent < c->len && (room = mux_room(m, stream)) > 0;) {
        size_t want = room < sizeof data ? room : sizeof data;
        ssize_t n;

        if (want > c->len - c->sent)
            want = c->len - c->sent;
        n = pread(c->document, data, want, (off_t)c->sent);
        if (n <= 0) { /* shorter than was said: the guest waits for the rest, and refuses it */
            memset(data, 0, sizeof data);
            n = (ssize_t)want;
        }
        c->sent += mux_send_data(m, stream, data, (size_t)n);
    }
    if (c->sent < c->len)
        return;
    fd_cleanup(&c->document);
    c->state = STARTING;
}

/* ---- bytes and words ------------------------------------------------------------------------- */

static void read_input(struct mux *m, struct client *c)
{
    const unsigned stream = stream_of(c, 0);
    char data[CHUNK];
    size_t room = mux_room(m, stream);
    ssize_t n = room == 0 ? 0 : read(c->pipes[0], data, room < sizeof data ? room : sizeof data);

    if (room == 0 || (n < 0 && fd_is_later()))
        return;
    if (n > 0) {
        mux_send_data(m, stream, data, (size_t)n);
        return;
    }
    mux_send_end(m, stream);
    fd_cleanup(&c->pipes[0]);
}

/* Nobody reads: what comes is dropped, and whoever writes is told so. */
static void write_output(struct mux *m, struct client *c, unsigned pipe)
{
    const unsigned stream = stream_of(c, pipe);
    const uint8_t *data;

    for (size_t len; (len = mux_peek(m, stream, &data)) > 0;) {
        ssize_t n = c->pipes[pipe] < 0 ? (ssize_t)len : write(c->pipes[pipe], data, len);

        if (n < 0 && fd_is_later())
            return;
        if (n < 0) {
            fd_cleanup(&c->pipes[pipe]);
            continue;
        }
        c->owed[pipe] -= c->owed[pipe] < (size_t)n ? c->owed[pipe] : (size_t)n;
        mux_take(m, stream, (size_t)n);
    }
    if (mux_ended(m, stream))
        fd_cleanup(&c->pipes[pipe]);
}

static void pass_signal(struct mux *m, const struct client *c, uint32_t number)
{
    mux_send(m,
             &(struct mux_message){ .verb = MUX_SIGNAL, .process = number_of(c), .value = number });
}

static void take_word(struct mux *m, struct client *c)
{
    struct control_word word;
    ssize_t n = recv(c->control, &word, sizeof word, MSG_DONTWAIT);

    if (n < 0 && fd_is_later())
        return;
    if (n != sizeof word) {
        leave(c);
        return;
    }
    if (c->state < STARTING || c->state >= ENDED)
        return;
    if (word.verb == CONTROL_SIGNAL) /* mux_send refuses what is no signal's number */
        pass_signal(m, c, word.value);
    else if (word.verb == CONTROL_RESIZE)
        mux_send(m, &(struct mux_message){ .verb = MUX_RESIZE,
                                           .process = number_of(c),
                                           .value = word.value,
                                           .extra = word.extra });
}

/* ---- the end of one -------------------------------------------------------------------------- */

/* `state` tells by it (pause.c). */
static void mark_paused(const struct client *c)
{
    if (c->kind == CONTROL_PAUSE)
        close(openat(state_dir, "paused", O_WRONLY | O_CREAT | O_CLOEXEC, 0600));
    else if (c->kind == CONTROL_RESUME)
        unlinkat(state_dir, "paused", 0);
}

/* The words about its end go behind what it has written. */
static void tell_end(struct client *c)
{
    if (c->told || c->owed[1] > 0 || c->owed[2] > 0)
        return;
    if (c->end.verb == CONTROL_EXIT && c->end.value == 0)
        mark_paused(c);
    c->told = true;
    tell(c, &c->end);
}

static bool is_over(const struct mux *m, const struct client *c)
{
    if (c->state != ENDED || !c->told)
        return false;
    return c->control < 0 || c->end.verb == CONTROL_FAILED ||
           (mux_ended(m, stream_of(c, 1)) && mux_ended(m, stream_of(c, 2)));
}

static void forget(struct mux *m, struct client *c)
{
    leave(c);
    mux_send(m, &(struct mux_message){ .verb = MUX_FORGET, .process = number_of(c) });
    mux_retire(m, number_of(c));
    c->state = FORGETTING;
}

/* What there is to say about one, while the guest listens. */
static void settle(struct mux *m, struct client *c)
{
    if (c->state == SENDING)
        send_document(m, c);
    for (unsigned i = 1; i < PIPES && c->state >= STARTING && c->state < FORGETTING; i++)
        write_output(m, c, i);
    if (c->state == ENDED)
        tell_end(c);
    if (!mux_is_ready(m))
        return;
    if (c->kill && c->state >= STARTING && c->state < ENDED) {
        c->kill = false;
        pass_signal(m, c, SIGKILL);
    }
    for (unsigned i = 1; i < PIPES; i++)
        if (c->state == RUNNING && c->pipes[i] < 0 && !c->close_told[i] &&
            !m->streams[stream_of(c, i)].ended_in && mux_is_ready(m)) {
            c->close_told[i] = true;
            mux_send(m, &(struct mux_message){
                            .verb = MUX_CLOSE, .process = number_of(c), .value = MUX_STDIN + i });
        }
    if (is_over(m, c))
        forget(m, c);
}

void clients_flush(struct mux *m)
{
    for (size_t i = 1; i < MUX_PROCESSES; i++)
        if (clients[i].state >= STARTING && clients[i].state < FORGETTING)
            settle(m, &clients[i]);
}

/* ---- what the guest says --------------------------------------------------------------------- */

static void note_end(struct mux *m, struct client *c)
{
    c->state = ENDED;
    c->kill = false;
    for (unsigned i = 1; i < PIPES; i++)
        c->owed[i] = m->streams[stream_of(c, i)].len;
}

/* May the guest say this now? A verb that does not fit is a breach. */
static bool fits(enum state state, enum mux_verb verb)
{
    switch ((int)verb) {
    case MUX_STARTED:
        return state == STARTING;
    case MUX_FAILED:
        return state == STARTING || state == RUNNING;
    case MUX_EXIT:
        return state == RUNNING;
    case MUX_FORGOTTEN:
        return state == FORGETTING;
    default:
        return false;
    }
}

int clients_hear(struct mux *m, const struct mux_message *message, struct err *e)
{
    struct client *c = &clients[message->process];

    if (!fits(c->state, message->verb))
        return err_set(e, EPROTO, "%s of process %u comes when it must not",
                       mux_verb_name(message->verb), message->process);
    switch ((int)message->verb) { /* as int: fits() lets no other pass */
    case MUX_STARTED:
        c->state = RUNNING;
        tell(c, &(struct control_word){ .verb = CONTROL_STARTED });
        return 0;
    case MUX_FAILED:
        note_end(m, c);
        c->end.verb = CONTROL_FAILED;
        base_format(c->end.text, sizeof c->end.text, "%.*s", (int)message->text_len, message->text);
        text_clean(c->end.text, strlen(c->end.text), "");
        return 0;
    case MUX_EXIT:
        note_end(m, c);
        c->end.verb = CONTROL_EXIT;
        c->end.value = (uint32_t)message->value;
        return 0;
    default:
        mux_forget(m, message->process);
        fd_cleanup(&c->document);
        *c = (struct client){ .control = -1, .document = -1, .pipes = { -1, -1, -1 } };
        return 0;
    }
}

/* ---- the loop -------------------------------------------------------------------------------- */

static bool has_output(const struct mux *m, const struct client *c, unsigned pipe)
{
    const uint8_t *data;

    return mux_peek(m, stream_of(c, pipe), &data) > 0;
}

static void poll_one(const struct mux *m, const struct client *c, struct pollfd fds[4])
{
    bool alive = c->state >= STARTING && c->state < FORGETTING;

    fds[0] = (struct pollfd){ mux_is_ready(m) ? c->control : -1, POLLIN, 0 };
    fds[1] = (struct pollfd){ c->state == RUNNING && mux_room(m, stream_of(c, 0)) > 0 ? c->pipes[0]
                                                                                      : -1,
                              POLLIN, 0 };
    for (unsigned i = 1; i < PIPES; i++)
        fds[1 + i] = (struct pollfd){ alive && has_output(m, c, i) ? c->pipes[i] : -1, POLLOUT, 0 };
}

void clients_poll(const struct mux *m, bool serving, struct pollfd fds[CLIENTS_FDS])
{
    fds[0] = (struct pollfd){ serving && find_place() ? listener : -1, POLLIN, 0 };
    for (size_t i = 0; i < MUX_PROCESSES; i++) {
        struct pollfd *mine = fds + 1 + 4 * i;

        for (size_t k = 0; k < 4; k++)
            mine[k] = (struct pollfd){ .fd = -1 };
        if (serving && clients[i].state != FREE)
            poll_one(m, &clients[i], mine);
    }
}

void clients_turn(struct mux *m, const struct pollfd fds[CLIENTS_FDS])
{
    struct client *place;

    for (size_t i = 0; i < MUX_PROCESSES; i++) {
        const struct pollfd *mine = fds + 1 + 4 * i;
        struct client *c = &clients[i];

        if (c->state == FREE)
            continue;
        if (mine[0].revents && c->state == ASKING)
            take_request(m, c);
        else if (mine[0].revents && c->control >= 0)
            take_word(m, c);
        if (mine[1].revents && c->pipes[0] >= 0)
            read_input(m, c);
        if (c->state != FREE)
            settle(m, c);
    }
    /* Last: what poll(2) told of a place is of who had it then. By now all of them may be taken. */
    place = fds[0].revents ? find_place() : NULL;
    if (place)
        take_connection(place);
}
