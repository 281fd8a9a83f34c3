/* SPDX-License-Identifier: Apache-2.0 */
/*
 * One end of the protocol whose peer is the fuzzer: the first byte says which end, each further piece
 * is [how many bytes] and the bytes. Between the pieces the end sends, reads and gives back as a real
 * one does. Nothing may leave the rings, and a second end that hears it all must agree with every frame.
 */
#include "mux/mux.h"

#include <stdlib.h>
#include <string.h>

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

static struct mux mine, peer;

static void require(bool condition)
{
    if (!condition)
        abort();
}

static int look(void *arg, const struct mux_message *m, struct err *e)
{
    (void)arg;
    (void)e;
    require(m->process < MUX_PROCESSES && m->text_len <= MUX_TEXT_MAX);
    require(m->verb != MUX_SIGNAL || (m->value >= 1 && m->value <= 64));
    require(m->text_len == 0 ||
            m->text[0] + m->text[m->text_len - 1] != 1000); /* reads both ends */
    return 0;
}

static void check_streams(void)
{
    for (unsigned i = 1; i < MUX_STREAMS; i++) {
        const struct mux_stream *s = &mine.streams[i];

        require(s->len + s->returned <= MUX_WINDOW && s->head < MUX_WINDOW &&
                s->credit <= MUX_WINDOW);
    }
    require(mine.out_len <= MUX_OUT);
}

static void work(unsigned pick)
{
    static const uint8_t some[MUX_DATA_MAX] = { 1 };
    unsigned stream = pick % MUX_STREAMS;
    const uint8_t *out;
    size_t n;

    if (stream > 0) {
        n = mux_peek(&mine, stream, &out);
        mux_take(&mine, stream, n > pick * 97 ? pick * 97 : n);
        mux_send_data(&mine, stream, some, pick * 61);
    }
    mux_send(&mine, &(struct mux_message){ .verb = (enum mux_verb)(pick % MUX_VERB_COUNT),
                                           .process = pick / MUX_VERB_COUNT % 3,
                                           .value = pick });
    if (pick % 32 == 7 && mine.out_len == 0) { /* a number is used again, on both ends */
        mux_retire(&mine, pick % MUX_PROCESSES);
        mux_forget(&mine, pick % MUX_PROCESSES);
        mux_forget(&peer, pick % MUX_PROCESSES);
    }
    if (pick % 16 == 15 && stream > 0)
        mux_send_end(&mine, stream);
    n = mux_output(&mine, &out);
    n = n > pick * 250 ? pick * 250 : n; /* no window is larger than that */
    if (n > 0)
        require(mux_input(&peer, out, n, NULL) == 0); /* an honest end breaks no rule */
    mux_output_done(&mine, n);
    /* The peer takes all and says what it owes to nobody: the fuzzer speaks in its place. */
    for (unsigned i = 1; i < MUX_STREAMS; i++)
        mux_take(&peer, i, mux_peek(&peer, i, &out));
    if (stream > 0)
        peer.streams[stream].returned = 0;
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    enum mux_side side = size > 0 && data[0] & 1 ? MUX_GUEST : MUX_HOST;
    size_t at = 1;

    mux_init(&mine, side, look, NULL);
    mux_init(&peer, side == MUX_HOST ? MUX_GUEST : MUX_HOST, look, NULL);
    peer.met = side == MUX_HOST; /* an honest guest has said HELLO */
    if (size > 0 && data[0] & 2)
        mine.met = peer.met = true;
    while (at < size) {
        size_t len = data[at++];

        len = len < size - at ? len : size - at;
        if (mux_input(&mine, data + at, len, NULL) < 0)
            break;
        check_streams();
        at += len;
        work(at < size ? data[at] : 0);
        for (unsigned i = 1; i < MUX_STREAMS; i++)
            peer.streams[i].returned = 0;
        check_streams();
    }
    return 0;
}
