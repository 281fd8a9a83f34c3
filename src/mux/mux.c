/* SPDX-License-Identifier: Apache-2.0 */
/* Frames in and out, and the credit of streams. Everything that comes in is the peer's choice. */
#include <errno.h>
#include <string.h>

#include "mux/internal.h"

enum mux_frame { FRAME_CONTROL = 1, FRAME_DATA, FRAME_WINDOW, FRAME_END };
enum {
    WINDOW_BYTES = 4,
    GIVE_BACK = MUX_WINDOW / 2, /* one WINDOW frame for so much */
    /* Data leave this much of `out` to control messages, windows and ends. */
    CONTROL_ROOM = (MUX_PROCESSES + 16) * (MUX_HEAD + MUX_CONTROL_MAX),
};

static enum mux_side other(enum mux_side side)
{
    return side == MUX_HOST ? MUX_GUEST : MUX_HOST;
}

/* Who sends on a stream; it is a stream. */
static enum mux_side sender_of(unsigned stream)
{
    enum mux_channel channel = (enum mux_channel)((stream - 1) % 4);

    return channel == MUX_CONFIG || channel == MUX_STDIN ? MUX_HOST : MUX_GUEST;
}

static bool is_stream(unsigned stream)
{
    return stream > 0 && stream < MUX_STREAMS;
}

static void stream_init(struct mux_stream *s)
{
    /* Not the ring: it is memory that nobody has touched. */
    s->credit = MUX_WINDOW;
    s->returned = s->head = s->len = 0;
    s->ended_out = s->ended_in = s->end_wanted = false;
}

void mux_init(struct mux *m, enum mux_side side, mux_heard *heard, void *arg)
{
    m->side = side;
    m->broken = m->met = false;
    m->heard = heard;
    m->arg = arg;
    m->frame_len = m->out_head = m->out_len = 0;
    for (unsigned i = 0; i < MUX_STREAMS; i++)
        stream_init(&m->streams[i]);
}

void mux_forget(struct mux *m, unsigned process)
{
    for (unsigned i = 0; i < 4; i++)
        stream_init(&m->streams[mux_stream_of(process, (enum mux_channel)i)]);
}

void mux_retire(struct mux *m, unsigned process)
{
    for (unsigned i = 0; i < 4; i++) {
        struct mux_stream *s = &m->streams[mux_stream_of(process, (enum mux_channel)i)];

        s->returned = 0;
        s->end_wanted = false;
        s->ended_out = true;
    }
}

/* ---- out ------------------------------------------------------------------------------------- */

static size_t out_room(const struct mux *m)
{
    return MUX_OUT - m->out_len;
}

static void out_add(struct mux *m, const void *data, size_t len)
{
    size_t at = (m->out_head + m->out_len) % MUX_OUT;
    size_t first = len < MUX_OUT - at ? len : MUX_OUT - at;

    memcpy(m->out + at, data, first);
    if (len > first)
        memcpy(m->out, (const uint8_t *)data + first, len - first);
    m->out_len += len;
}

static void out_frame(struct mux *m, enum mux_frame type, unsigned stream, const void *data,
                      size_t len)
{
    uint8_t head[MUX_HEAD];

    mux_put(head, len, 4);
    mux_put(head + 4, type, 2);
    mux_put(head + 6, stream, 2);
    out_add(m, head, sizeof head);
    if (len > 0)
        out_add(m, data, len);
}

/* What a stream owes: it is said as soon as there is room for it. */
static void out_owed(struct mux *m, unsigned stream)
{
    struct mux_stream *s = &m->streams[stream];
    uint8_t value[WINDOW_BYTES];

    if (s->returned >= GIVE_BACK && out_room(m) >= MUX_HEAD + WINDOW_BYTES) {
        mux_put(value, s->returned, WINDOW_BYTES);
        s->returned = 0;
        out_frame(m, FRAME_WINDOW, stream, value, sizeof value);
    }
    if (s->end_wanted && out_room(m) >= MUX_HEAD) {
        s->end_wanted = false;
        s->ended_out = true;
        out_frame(m, FRAME_END, stream, "", 0);
    }
}

int mux_send(struct mux *m, const struct mux_message *message)
{
    uint8_t body[MUX_CONTROL_MAX];
    int len = mux_encode(m->side, message, body);

    if (len < 0)
        return len;
    if (m->met == (message->verb == MUX_HELLO))
        return -EINVAL;
    /* What is known of its streams comes first: the peer learns of their end before that of the process. */
    for (unsigned i = 0; m->met && i < 4; i++)
        out_owed(m, mux_stream_of(message->process, (enum mux_channel)i));
    if (m->broken || out_room(m) < MUX_HEAD + (size_t)len)
        return -ENOBUFS;
    m->met |= message->verb == MUX_HELLO;
    out_frame(m, FRAME_CONTROL, 0, body, (size_t)len);
    return 0;
}

bool mux_is_ready(const struct mux *m)
{
    return out_room(m) >= CONTROL_ROOM / 2;
}

size_t mux_room(const struct mux *m, unsigned stream)
{
    const struct mux_stream *s = &m->streams[stream];
    size_t room = out_room(m);

    if (!is_stream(stream) || sender_of(stream) != m->side || s->ended_out || s->end_wanted ||
        m->broken || !m->met || room <= CONTROL_ROOM + MUX_HEAD)
        return 0;
    room -= CONTROL_ROOM + MUX_HEAD;
    if (room > s->credit)
        room = s->credit;
    return room < MUX_DATA_MAX ? room : MUX_DATA_MAX;
}

size_t mux_send_data(struct mux *m, unsigned stream, const void *data, size_t len)
{
    size_t room = mux_room(m, stream);

    if (len > room)
        len = room;
    if (len == 0)
        return 0;
    m->streams[stream].credit -= (uint32_t)len;
    out_frame(m, FRAME_DATA, stream, data, len);
    return len;
}

void mux_send_end(struct mux *m, unsigned stream)
{
    if (is_stream(stream) && sender_of(stream) == m->side && !m->streams[stream].ended_out)
        m->streams[stream].end_wanted = true;
}

size_t mux_output(struct mux *m, const uint8_t **out)
{
    if (m->broken)
        return 0;
    for (unsigned i = m->met ? 1 : MUX_STREAMS; i < MUX_STREAMS; i++)
        out_owed(m, i);
    *out = m->out + m->out_head;
    return m->out_len < MUX_OUT - m->out_head ? m->out_len : MUX_OUT - m->out_head;
}

void mux_output_done(struct mux *m, size_t n)
{
    m->out_head = (m->out_head + n) % MUX_OUT;
    m->out_len -= n;
    if (m->out_len == 0)
        m->out_head = 0;
}

/* ---- in -------------------------------------------------------------------------------------- */

struct head {
    uint32_t len;
    unsigned type, stream;
};

static struct head head_of(const struct mux *m)
{
    return (struct head){ (uint32_t)mux_get(m->frame, 4), (unsigned)mux_get(m->frame + 4, 2),
                          (unsigned)mux_get(m->frame + 6, 2) };
}

/* Before any of the payload is waited for: what is too long is never stored. */
static int check_head(const struct mux *m, struct err *e)
{
    struct head h = head_of(m);
    bool ours = is_stream(h.stream) && sender_of(h.stream) == m->side;
    bool theirs = is_stream(h.stream) && sender_of(h.stream) != m->side;

    if (h.type == FRAME_CONTROL && h.stream == 0 && h.len <= MUX_CONTROL_MAX)
        return 0;
    if (!m->met)
        return err_set(e, EPROTO, "frame type %u before HELLO", h.type);
    if (h.type == FRAME_DATA && theirs && h.len > 0 && h.len <= MUX_DATA_MAX)
        return 0;
    if (h.type == FRAME_WINDOW && ours && h.len == WINDOW_BYTES)
        return 0;
    if (h.type == FRAME_END && theirs && h.len == 0)
        return 0;
    return err_set(e, EPROTO, "a frame of type %u on stream %u with %u bytes", h.type, h.stream,
                   h.len);
}

static int take_control(struct mux *m, size_t len, struct err *e)
{
    struct mux_message message;
    int r = mux_decode(other(m->side), m->frame + MUX_HEAD, len, &message, e);

    if (r < 0)
        return r;
    if ((message.verb == MUX_HELLO) == m->met)
        return err_set(e, EPROTO, "%s %s", mux_verb_name(message.verb),
                       m->met ? "comes a second time" : "comes before HELLO");
    m->met = true;
    return m->heard(m->arg, &message, e);
}

static int take_data(struct mux *m, unsigned stream, const uint8_t *data, size_t len, struct err *e)
{
    struct mux_stream *s = &m->streams[stream];
    size_t at = (s->head + s->len) % MUX_WINDOW;
    size_t first = len < MUX_WINDOW - at ? len : MUX_WINDOW - at;

    if (s->ended_in)
        return err_set(e, EPROTO, "data behind the end of a stream");
    /* The credit that the peer had: what is not in the ring, less what was not given back yet. */
    if (len > MUX_WINDOW - s->len - s->returned)
        return err_set(e, EPROTO, "more data than there was credit for");
    memcpy(m->rings[stream] + at, data, first);
    if (len > first)
        memcpy(m->rings[stream], data + first, len - first);
    s->len += (uint32_t)len;
    return 0;
}

static int take_window(struct mux_stream *s, uint32_t more, struct err *e)
{
    if (more == 0 || more > MUX_WINDOW - s->credit)
        return err_set(e, EPROTO, "%u bytes of credit too many", more);
    s->credit += more;
    return 0;
}

static int take_frame(struct mux *m, struct err *e)
{
    struct head h = head_of(m);
    struct mux_stream *s = &m->streams[h.stream];

    switch ((enum mux_frame)h.type) {
    case FRAME_CONTROL:
        return take_control(m, h.len, e);
    case FRAME_DATA:
        return take_data(m, h.stream, m->frame + MUX_HEAD, h.len, e);
    case FRAME_WINDOW:
        return take_window(s, (uint32_t)mux_get(m->frame + MUX_HEAD, WINDOW_BYTES), e);
    case FRAME_END:
        if (s->ended_in)
            return err_set(e, EPROTO, "a stream ends a second time");
        s->ended_in = true;
        return 0;
    }
    return err_set(e, EPROTO, "a frame of type %u", h.type);
}

/* How much of the frame is still to come; its head is known to be right. */
static size_t missing(const struct mux *m)
{
    if (m->frame_len < MUX_HEAD)
        return MUX_HEAD - m->frame_len;
    return MUX_HEAD + head_of(m).len - m->frame_len;
}

/* Its head, or all of it, is there. */
static int take_part(struct mux *m, struct err *e)
{
    int r = 0;

    if (m->frame_len == MUX_HEAD)
        r = check_head(m, e);
    if (r == 0 && missing(m) == 0) {
        r = take_frame(m, e);
        m->frame_len = 0;
    }
    return r;
}

int mux_input(struct mux *m, const void *data, size_t len, struct err *e)
{
    const uint8_t *at = data;

    if (m->broken)
        return err_set(e, EPROTO, "the other side has broken the protocol");
    while (len > 0) {
        size_t n = missing(m);
        int r = 0;

        if (n > len)
            n = len;
        memcpy(m->frame + m->frame_len, at, n);
        m->frame_len += n;
        at += n;
        len -= n;
        if (m->frame_len == MUX_HEAD || (m->frame_len > MUX_HEAD && missing(m) == 0))
            r = take_part(m, e);
        if (r < 0) {
            m->broken = true;
            return r;
        }
    }
    return 0;
}

size_t mux_peek(const struct mux *m, unsigned stream, const uint8_t **out)
{
    const struct mux_stream *s = &m->streams[stream];

    *out = m->rings[stream] + s->head;
    return s->len < MUX_WINDOW - s->head ? s->len : MUX_WINDOW - s->head;
}

void mux_take(struct mux *m, unsigned stream, size_t n)
{
    struct mux_stream *s = &m->streams[stream];

    s->head = (s->head + (uint32_t)n) % MUX_WINDOW;
    s->len -= (uint32_t)n;
    s->returned += (uint32_t)n;
}

bool mux_ended(const struct mux *m, unsigned stream)
{
    return m->streams[stream].ended_in && m->streams[stream].len == 0;
}
