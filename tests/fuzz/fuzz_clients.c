/* SPDX-License-Identifier: Apache-2.0 */
/*
 * A machine's monitor between verbs of the host, which are honest, and a guest, which is the fuzzer: the input is what
 * the guest says, in pieces of [how many bytes] and the bytes. Three verbs are at work when it begins; whatever is said, the
 * monitor neither blocks nor leaves its tables, and none of the verbs is let go before it was told of an end, once.
 */
#include "container/machine.h"

#include <errno.h>
#include <fcntl.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/un.h>
#include <unistd.h>

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

enum { VERBS = 3 };

static struct mux host;
static char dir[] = "/tmp/teca-fuzz-clients-XXXXXX";
static int listener, place;

struct verb {
    int control, pipes[3];
    bool ended;
};

static void require(bool condition)
{
    if (!condition)
        abort();
}

static int hear(void *arg, const struct mux_message *m, struct err *e)
{
    (void)arg;
    return m->verb == MUX_HELLO || m->process == 0 ? 0 : clients_hear(&host, m, e);
}

static void remove_place(void)
{
    unlinkat(place, "control", 0);
    unlinkat(place, "paused", 0);
    rmdir(dir);
}

static void listen_once(void)
{
    struct sockaddr_un at = { .sun_family = AF_UNIX };

    if (listener > 0)
        return;
    require(mkdtemp(dir) != NULL);
    place = openat(AT_FDCWD, dir, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
    base_format(at.sun_path, sizeof at.sun_path, "%s/control", dir);
    signal(SIGPIPE, SIG_IGN); /* the monitor has it blocked */
    listener = socket(AF_UNIX, SOCK_SEQPACKET | SOCK_CLOEXEC | SOCK_NONBLOCK, 0);
    require(bind(listener, (const struct sockaddr *)&at, sizeof at) == 0 &&
            listen(listener, 64) == 0);
    atexit(remove_place);
}

static void turn(void)
{
    static struct pollfd fds[CLIENTS_FDS];
    const uint8_t *out;

    clients_poll(&host, true, fds);
    poll(fds, CLIENTS_FDS, 0);
    clients_turn(&host, fds);
    for (size_t n; (n = mux_output(&host, &out)) > 0;)
        mux_output_done(&host, n);
}

static struct verb begin(enum control_kind kind)
{
    static const char *const args[] = { "exec", "x", NULL };
    const struct machine_request q = { .kind = kind, .args = args };
    struct verb v = { .pipes = { 0, 0, 0 } };

    v.control = machine_request(dir, &q, v.pipes, NULL);
    require(v.control >= 0);
    for (int i = 0; i < 3; i++)
        fcntl(v.pipes[i], F_SETFL, O_NONBLOCK);
    return v;
}

/* What has come of it; an end is the last word. */
static void look(struct verb *v, unsigned pick)
{
    static char bytes[4096];
    struct control_word word;
    int r = 0;

    if (pick & 1)
        (void)!read(v->pipes[1], bytes, sizeof bytes);
    if (pick & 2)
        (void)!read(v->pipes[2], bytes, sizeof bytes);
    if (pick & 4)
        (void)!write(v->pipes[0], bytes, pick);
    if (pick & 8)
        machine_say(v->control, CONTROL_SIGNAL, pick, 0);
    while (!(pick & 16) && (r = machine_hear(v->control, 0, &word, NULL)) > 0) {
        require(!v->ended);
        v->ended = word.verb == CONTROL_EXIT || word.verb == CONTROL_FAILED;
    }
    require(r != -ECONNRESET || v->ended);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    struct verb verbs[VERBS];

    listen_once();
    clients_open(listener, place);
    mux_init(&host, MUX_HOST, hear, NULL);
    host.met = true;
    for (int i = 0; i < VERBS; i++)
        verbs[i] = begin(i == 0 ? CONTROL_EXEC : CONTROL_PAUSE + (enum control_kind)(i - 1));
    for (int i = 0; i <= VERBS; i++)
        turn();
    for (size_t at = 0; at < size;) {
        size_t len = data[at++];

        len = len < size - at ? len : size - at;
        if (mux_input(&host, data + at, len, NULL) < 0)
            break;
        at += len;
        turn();
        for (int i = 0; i < VERBS; i++)
            look(&verbs[i], at < size ? data[at] : 0);
    }
    for (int i = 0; i < VERBS; i++) {
        close(verbs[i].control);
        for (int k = 0; k < 3; k++)
            close(verbs[i].pipes[k]);
    }
    turn(); /* who has gone is let go, so that no fd is left */
    clients_close();
    return 0;
}
