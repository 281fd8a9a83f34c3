/* SPDX-License-Identifier: Apache-2.0 */
/* Both ends of the protocol against each other, and each against a peer that breaks it. */
#include "mux/mux.h"
#include "unit.h"

struct side {
    struct mux mux;
    struct mux_message last;
    char text[MUX_TEXT_MAX + 1];
    unsigned heard;
};
static struct side host, guest; /* large: not of the stack */

static int note(void *arg, const struct mux_message *message, struct err *e)
{
    struct side *s = arg;

    (void)e;
    s->last = *message;
    memcpy(s->text, message->text, message->text_len);
    s->text[message->text_len] = 0;
    s->heard++;
    return 0;
}

/* What one side has to say reaches the other, at most `chunk` bytes at once. */
static int carry(struct side *from, struct side *to, size_t chunk)
{
    const uint8_t *data;
    size_t n;
    int r = 0;

    while (r == 0 && (n = mux_output(&from->mux, &data)) > 0) {
        n = n < chunk ? n : chunk;
        r = mux_input(&to->mux, data, n, NULL);
        mux_output_done(&from->mux, n);
    }
    return r;
}

static int meet(void **state)
{
    (void)state;
    memset(&host, 0, sizeof host);
    memset(&guest, 0, sizeof guest);
    mux_init(&host.mux, MUX_HOST, note, &host);
    mux_init(&guest.mux, MUX_GUEST, note, &guest);
    mux_send(&guest.mux, &(struct mux_message){ .verb = MUX_HELLO, .value = MUX_VERSION });
    return carry(&guest, &host, 3);
}

static void every_verb_arrives_as_it_was_sent(void **state)
{
    static const struct mux_message sent[] = {
        { .verb = MUX_SETUP, .value = 1234567890123456789, .text = "seed", .text_len = 4 },
        { .verb = MUX_CREATE, .process = 3, .value = 70000, .extra = MUX_TERMINAL | MUX_NO_PIVOT },
        { .verb = MUX_START, .process = 7 },
        { .verb = MUX_SIGNAL, .value = 64 },
        { .verb = MUX_RESIZE, .value = 50, .extra = 132 },
        { .verb = MUX_SHUTDOWN },
        { .verb = MUX_RUN, .process = 63, .value = 5, .extra = MUX_TERMINAL | MUX_LEAVES },
        { .verb = MUX_CLOSE, .process = 2, .value = MUX_STDERR },
        { .verb = MUX_FORGET, .process = 63 },
        { .verb = MUX_FORGOTTEN, .process = 63 },
        { .verb = MUX_CREATED },
        { .verb = MUX_STARTED, .process = 1 },
        { .verb = MUX_FAILED, .text = "no", .text_len = 2 },
        { .verb = MUX_EXIT, .value = MUX_BY_SIGNAL + 9 },
    };

    (void)state;
    assert_int_equal(host.last.verb, MUX_HELLO);
    for (size_t i = 0; i < COUNT_OF(sent); i++) {
        struct side *from = sent[i].verb >= MUX_SETUP ? &host : &guest; /* in this order in mux.h */
        struct side *to = from == &host ? &guest : &host;

        assert_int_equal(mux_send(&from->mux, &sent[i]), 0);
        assert_int_equal(carry(from, to, 1 + i), 0);
        assert_int_equal(to->last.verb, sent[i].verb);
        assert_int_equal(to->last.process, sent[i].process);
        assert_int_equal(to->last.value, sent[i].value);
        assert_int_equal(to->last.extra, sent[i].extra);
        assert_string_equal(to->text, sent[i].text ? sent[i].text : "");
        /* The wrong side may not say it. */
        assert_int_equal(mux_send(&to->mux, &sent[i]), -EINVAL);
    }
}

static void a_long_sentence_is_cut(void **state)
{
    static char text[MUX_CONTROL_MAX + 5];
    struct mux_message m = { .verb = MUX_FAILED, .text = text, .text_len = sizeof text };

    (void)state;
    memset(text, 'x', sizeof text);
    assert_int_equal(mux_send(&guest.mux, &m), 0);
    assert_int_equal(carry(&guest, &host, 100), 0);
    assert_int_equal(host.last.text_len, MUX_TEXT_MAX);
}

/* 300,000 bytes through a window of 65,536, in odd pieces: the same bytes, and the end behind them. */
static void a_stream_keeps_bytes_and_order(void **state)
{
    const unsigned out = mux_stream_of(0, MUX_STDOUT);
    size_t sent = 0, got = 0, total = 300000;
    const uint8_t *data;

    (void)state;
    while (got < total) {
        uint8_t piece[7777];
        size_t n = total - sent < sizeof piece ? total - sent : sizeof piece;

        for (size_t i = 0; i < n; i++)
            piece[i] = (uint8_t)((sent + i) * 31 >> 3);
        sent += mux_send_data(&guest.mux, out, piece, n);
        assert_int_equal(carry(&guest, &host, 1001), 0);
        n = mux_peek(&host.mux, out, &data);
        n = n > 5000 ? 5000 : n;
        for (size_t i = 0; i < n; i++)
            assert_int_equal(data[i], (uint8_t)((got + i) * 31 >> 3));
        mux_take(&host.mux, out, n);
        got += n;
        assert_int_equal(carry(&host, &guest, 1), 0);
    }
    assert_false(mux_ended(&host.mux, out));
    mux_send_end(&guest.mux, out);
    assert_int_equal(carry(&guest, &host, 99), 0);
    assert_true(mux_ended(&host.mux, out));
    assert_int_equal(mux_send_data(&guest.mux, out, "x", 1), 0);
}

static void a_stream_that_nobody_reads_holds_up_nothing_else(void **state)
{
    static uint8_t much[MUX_WINDOW];
    const unsigned out = mux_stream_of(0, MUX_STDOUT), err = mux_stream_of(0, MUX_STDERR);
    size_t sent = 0, n;

    (void)state;
    while ((n = mux_send_data(&guest.mux, out, much, sizeof much)) > 0) {
        sent += n;
        assert_int_equal(carry(&guest, &host, SIZE_MAX), 0);
    }
    assert_int_equal(sent, MUX_WINDOW);
    assert_int_equal(mux_room(&guest.mux, out), 0);
    assert_int_equal(mux_send_data(&guest.mux, err, "e", 1), 1);
    assert_int_equal(mux_send(&guest.mux, &(struct mux_message){ .verb = MUX_EXIT }), 0);
    assert_int_equal(carry(&guest, &host, SIZE_MAX), 0);
    assert_int_equal(host.last.verb, MUX_EXIT);
}

static void a_peer_that_reads_nothing_leaves_room_for_messages(void **state)
{
    static uint8_t much[MUX_DATA_MAX];
    unsigned messages = 0;

    (void)state;
    for (unsigned s = 1; s < MUX_STREAMS; s++)
        while (mux_send_data(&guest.mux, s, much, sizeof much) > 0)
            ;
    while (mux_send(&guest.mux, &(struct mux_message){ .verb = MUX_CREATED }) == 0)
        messages++;
    assert_true(messages >= 16);
    assert_int_equal(mux_send(&guest.mux, &(struct mux_message){ .verb = MUX_CREATED }), -ENOBUFS);
}

static void a_forgotten_process_has_new_streams(void **state)
{
    const unsigned out = mux_stream_of(1, MUX_STDOUT);

    (void)state;
    mux_send_data(&guest.mux, out, "abc", 3);
    mux_send_end(&guest.mux, out);
    assert_int_equal(carry(&guest, &host, 2), 0);
    mux_forget(&guest.mux, 1);
    mux_forget(&host.mux, 1);
    assert_false(mux_ended(&host.mux, out));
    assert_int_equal(mux_send_data(&guest.mux, out, "d", 1), 1);
    assert_int_equal(carry(&guest, &host, 2), 0);
}

/* FORGET and FORGOTTEN: what was on its way meanwhile, and what was owed, harms nobody. */
static void a_number_is_used_again_whatever_was_on_its_way(void **state)
{
    static uint8_t much[MUX_WINDOW];
    const unsigned in = mux_stream_of(5, MUX_STDIN), out = mux_stream_of(5, MUX_STDOUT);
    const uint8_t *data;

    (void)state;
    for (int round = 0; round < 3; round++) {
        /* The guest has taken input and owes credit for it; the host has, too, and has not said its end. */
        assert_int_equal(mux_send_data(&host.mux, in, much, sizeof much), MUX_DATA_MAX);
        while (mux_send_data(&host.mux, in, much, sizeof much) > 0)
            ;
        assert_int_equal(carry(&host, &guest, 999), 0);
        mux_take(&guest.mux, in, mux_peek(&guest.mux, in, &data));
        while (mux_send_data(&guest.mux, out, much, sizeof much) > 0)
            ;
        assert_int_equal(carry(&guest, &host, 999), 0);
        mux_take(&host.mux, out, mux_peek(&host.mux, out, &data));
        mux_send_end(&host.mux, in);
        assert_int_equal(
            mux_send(&host.mux, &(struct mux_message){ .verb = MUX_FORGET, .process = 5 }), 0);
        mux_retire(&host.mux, 5);
        assert_int_equal(mux_room(&host.mux, in), 0);
        /* Words of the guest that cross with it. */
        assert_true(mux_send_data(&guest.mux, out, "x", 1) <= 1);
        assert_int_equal(carry(&guest, &host, 999), 0);
        assert_int_equal(carry(&host, &guest, 999), 0);
        assert_int_equal(guest.last.verb, MUX_FORGET);
        mux_forget(&guest.mux, 5);
        assert_int_equal(
            mux_send(&guest.mux, &(struct mux_message){ .verb = MUX_FORGOTTEN, .process = 5 }), 0);
        assert_int_equal(carry(&guest, &host, 999), 0);
        assert_int_equal(host.last.verb, MUX_FORGOTTEN);
        mux_forget(&host.mux, 5);
    }
}

static void the_end_of_a_stream_comes_before_that_of_its_process(void **state)
{
    struct mux_message end = { .verb = MUX_EXIT, .process = 9 };
    const uint8_t *data;
    size_t n;

    (void)state;
    mux_send_data(&guest.mux, mux_stream_of(9, MUX_STDOUT), "last words", 10);
    mux_send_end(&guest.mux, mux_stream_of(9, MUX_STDOUT));
    assert_int_equal(mux_send(&guest.mux, &end), 0);
    while (host.last.verb != MUX_EXIT && (n = mux_output(&guest.mux, &data)) > 0) {
        assert_int_equal(mux_input(&host.mux, data, 1, NULL), 0);
        mux_output_done(&guest.mux, 1);
    }
    assert_int_equal(mux_peek(&host.mux, mux_stream_of(9, MUX_STDOUT), &data), 10);
    mux_take(&host.mux, mux_stream_of(9, MUX_STDOUT), 10);
    assert_true(mux_ended(&host.mux, mux_stream_of(9, MUX_STDOUT)));
}

static void a_peer_that_reads_nothing_is_told_nothing_more(void **state)
{
    (void)state;
    assert_true(mux_is_ready(&host.mux));
    for (unsigned i = 0; mux_is_ready(&host.mux); i++) {
        assert_true(i < MUX_OUT);
        assert_int_equal(
            mux_send(&host.mux, &(struct mux_message){ .verb = MUX_SIGNAL, .value = 1 }), 0);
    }
    /* There is room all the same for a word about every process. */
    for (unsigned i = 1; i < MUX_PROCESSES; i++)
        assert_int_equal(
            mux_send(&host.mux, &(struct mux_message){ .verb = MUX_FORGET, .process = i }), 0);
}

/* ---- breaches -------------------------------------------------------------------------------- */

#define BYTES(...) (const uint8_t[]){ __VA_ARGS__ }, sizeof((uint8_t[]){ __VA_ARGS__ })
#define HEAD(LEN, TYPE, STREAM) \
    (LEN) & 0xff, (LEN) >> 8 & 0xff, (LEN) >> 16 & 0xff, 0, TYPE, 0, STREAM, 0

/* To a host that has met the guest. */
static const struct breach {
    const char *name;
    const uint8_t *data;
    size_t len;
    const char *says;
} breaches[] = {
    { "unknown type", BYTES(HEAD(0, 9, 3)), "type 9" },
    { "control too long", BYTES(HEAD(1025, 1, 0)), "1025 bytes" },
    { "control on a stream", BYTES(HEAD(8, 1, 3)), "stream 3" },
    { "data too long", BYTES(HEAD(16385, 2, 3)), "16385 bytes" },
    { "data of nothing", BYTES(HEAD(0, 2, 3)), "0 bytes" },
    { "data on the host's stream", BYTES(HEAD(1, 2, 2)), "stream 2" },
    { "data on control", BYTES(HEAD(1, 2, 0)), "stream 0" },
    { "data on no stream", BYTES(1, 0, 0, 0, 2, 0, MUX_STREAMS & 0xff, MUX_STREAMS >> 8),
      "stream 257" },
    { "credit for the guest's stream", BYTES(HEAD(4, 3, 3)), "stream 3" },
    { "credit of a wrong length", BYTES(HEAD(5, 3, 2)), "5 bytes" },
    { "credit too much", BYTES(HEAD(4, 3, 2), 1, 0, 0, 0), "1 bytes of credit too many" },
    { "no credit", BYTES(HEAD(4, 3, 2), 0, 0, 0, 0), "0 bytes of credit" },
    { "the end of the host's stream", BYTES(HEAD(0, 4, 2)), "stream 2" },
    { "an end with data", BYTES(HEAD(1, 4, 3)), "1 bytes" },
    { "two ends", BYTES(HEAD(0, 4, 3), HEAD(0, 4, 3)), "a second time" },
    { "data behind the end", BYTES(HEAD(0, 4, 3), HEAD(1, 2, 3), 'x'), "behind the end" },
    { "no head", BYTES(HEAD(4, 1, 0), 2, 0, 0, 0), "without a head" },
    { "reserved bits", BYTES(HEAD(8, 1, 0), 2, 0, 1, 0, 0, 0, 0, 0), "without a head" },
    { "unknown verb", BYTES(HEAD(8, 1, 0), 99, 0, 0, 0, 0, 0, 0, 0), "99 is unknown" },
    { "verb 0", BYTES(HEAD(8, 1, 0), 0, 0, 0, 0, 0, 0, 0, 0), "0 is unknown" },
    { "the host's verb", BYTES(HEAD(8, 1, 0), MUX_START, 0, 0, 0, 0, 0, 0, 0), "wrong side" },
    { "no process", BYTES(HEAD(8, 1, 0), MUX_CREATED, 0, 0, 0, MUX_PROCESSES, 0, 0, 0),
      "no process" },
    { "a forgotten container", BYTES(HEAD(8, 1, 0), MUX_FORGOTTEN, 0, 0, 0, 0, 0, 0, 0),
      "the container's own" },
    { "a body too many", BYTES(HEAD(9, 1, 0), MUX_CREATED, 0, 0, 0, 0, 0, 0, 0, 1), "9 bytes" },
    { "no value", BYTES(HEAD(8, 1, 0), MUX_EXIT, 0, 0, 0, 0, 0, 0, 0), "8 bytes" },
    { "a status that none is",
      BYTES(HEAD(16, 1, 0), MUX_EXIT, 0, 0, 0, 0, 0, 0, 0, 65, 1, 0, 0, 0, 0, 0, 0),
      "out of range" },
    { "a second HELLO",
      BYTES(HEAD(16, 1, 0), MUX_HELLO, 0, 0, 0, 0, 0, 0, 0, 1, 0, 0, 0, 0, 0, 0, 0),
      "a second time" },
};

static void a_breach_of_the_protocol_is_its_end(void **state)
{
    for (size_t i = 0; i < COUNT_OF(breaches); i++) {
        struct err e = { 0 };
        const uint8_t *data;

        meet(state);
        for (size_t at = 0; at + 1 < breaches[i].len; at++)
            mux_input(&host.mux, breaches[i].data + at, 1, &e);
        mux_input(&host.mux, breaches[i].data + breaches[i].len - 1, 1, &e);
        if (e.code != EPROTO || !strstr(e.text, breaches[i].says))
            fail_msg("%s: %d %s", breaches[i].name, e.code, e.text);
        assert_int_equal(mux_input(&host.mux, "", 1, NULL), -EPROTO);
        assert_int_equal(mux_send(&host.mux, &(struct mux_message){ .verb = MUX_START }), -ENOBUFS);
        assert_int_equal(mux_output(&host.mux, &data), 0);
    }
}

static void nothing_comes_before_hello(void **state)
{
    static const uint8_t data[] = { HEAD(1, 2, 3), 'x' }, end[] = { HEAD(0, 4, 3) };
    static const uint8_t created[] = { HEAD(8, 1, 0), MUX_CREATED, 0, 0, 0, 0, 0, 0, 0 };
    static const struct {
        const uint8_t *bytes;
        size_t len;
    } early[] = { { data, sizeof data }, { end, sizeof end }, { created, sizeof created } };

    (void)state;
    for (size_t i = 0; i < COUNT_OF(early); i++) {
        struct err e = { 0 };

        mux_init(&host.mux, MUX_HOST, note, &host);
        assert_int_equal(mux_input(&host.mux, early[i].bytes, early[i].len, &e), -EPROTO);
        assert_non_null(strstr(e.text, "before HELLO"));
    }
}

/* The peer may send what it has credit for, and not a byte more: also after the reader took some. */
static void data_without_credit_are_a_breach(void **state)
{
    static uint8_t frame[MUX_HEAD + MUX_DATA_MAX] = { HEAD(MUX_DATA_MAX, 2, 3) };
    static const uint8_t one[] = { HEAD(1, 2, 3), 'x' };
    struct err e = { 0 };

    (void)state;
    for (size_t i = 0; i < MUX_WINDOW / MUX_DATA_MAX; i++)
        assert_int_equal(mux_input(&host.mux, frame, sizeof frame, &e), 0);
    mux_take(&host.mux, 3, 100); /* given back later, in one go */
    assert_int_equal(mux_input(&host.mux, one, sizeof one, &e), -EPROTO);
    assert_non_null(strstr(e.text, "credit"));
}

static int refuse(void *arg, const struct mux_message *message, struct err *e)
{
    (void)arg;
    (void)message;
    return err_set(e, EPROTO, "not now");
}

static void what_the_listener_refuses_is_the_end_too(void **state)
{
    struct err e = { 0 };
    static const uint8_t created[] = { HEAD(8, 1, 0), MUX_CREATED, 0, 0, 0, 0, 0, 0, 0 };

    (void)state;
    host.mux.heard = refuse;
    assert_int_equal(mux_input(&host.mux, created, sizeof created, &e), -EPROTO);
    assert_string_equal(e.text, "not now: Protocol error");
    assert_int_equal(mux_input(&host.mux, created, 1, NULL), -EPROTO);
}

/* Each bit for itself: between two that are known there may be one that is not. */
static void a_flag_that_a_verb_does_not_know_is_refused(void **state)
{
    static const struct {
        enum mux_verb verb;
        uint32_t extra;
        bool known;
    } rows[] = {
        { MUX_CREATE, MUX_TERMINAL | MUX_NO_PIVOT, true },
        { MUX_CREATE, MUX_LEAVES, false },
        { MUX_CREATE, MUX_NO_PIVOT << 1, false },
        { MUX_RUN, MUX_TERMINAL | MUX_LEAVES, true },
        { MUX_RUN, MUX_NO_PIVOT, false },
        { MUX_RESIZE, UINT16_MAX, true },
        { MUX_RESIZE, UINT16_MAX + 1, false },
    };

    (void)state;
    for (size_t i = 0; i < COUNT_OF(rows); i++) {
        struct mux_message m = { .verb = rows[i].verb, .process = 1, .value = 1 };
        uint8_t body[MUX_CONTROL_MAX];
        int len = mux_encode(MUX_HOST, &m, body);

        assert_true(len > 0);
        memcpy(body + len - 4, &rows[i].extra, 4); /* the second value is last */
        assert_int_equal(mux_decode(MUX_HOST, body, (size_t)len, &m, NULL),
                         rows[i].known ? 0 : -EPROTO);
        m.extra = rows[i].extra;
        assert_int_equal(mux_encode(MUX_HOST, &m, body), rows[i].known ? len : -EINVAL);
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test_setup(every_verb_arrives_as_it_was_sent, meet),
        cmocka_unit_test_setup(a_long_sentence_is_cut, meet),
        cmocka_unit_test_setup(a_stream_keeps_bytes_and_order, meet),
        cmocka_unit_test_setup(a_stream_that_nobody_reads_holds_up_nothing_else, meet),
        cmocka_unit_test_setup(a_peer_that_reads_nothing_leaves_room_for_messages, meet),
        cmocka_unit_test_setup(a_forgotten_process_has_new_streams, meet),
        cmocka_unit_test_setup(a_number_is_used_again_whatever_was_on_its_way, meet),
        cmocka_unit_test_setup(the_end_of_a_stream_comes_before_that_of_its_process, meet),
        cmocka_unit_test_setup(a_peer_that_reads_nothing_is_told_nothing_more, meet),
        cmocka_unit_test(a_breach_of_the_protocol_is_its_end),
        cmocka_unit_test(nothing_comes_before_hello),
        cmocka_unit_test_setup(data_without_credit_are_a_breach, meet),
        cmocka_unit_test_setup(what_the_listener_refuses_is_the_end_too, meet),
        cmocka_unit_test(a_flag_that_a_verb_does_not_know_is_refused),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
