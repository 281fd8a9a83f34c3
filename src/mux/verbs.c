/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The control messages: who may say which, and what they look like. The table is the protocol; the
 * peer decides everything that is checked against it here.
 */
#include <errno.h>
#include <string.h>

#include "mux/internal.h"

enum { VALUE = 8, EXTRA = 4, SIGNAL_MAX = 64 };

static const struct {
    const char *name;
    enum mux_side from;
    bool value, extra, text;
    bool of_machine;     /* about no process: its number is 0 */
    bool of_others;      /* of those that are not the container's own */
    uint64_t min, max;   /* of the value */
    uint32_t extra_mask; /* the bits that the second value may have */
} verbs[MUX_VERB_COUNT] = {
    [MUX_HELLO] = { .name = "HELLO",
                    .from = MUX_GUEST,
                    .value = true,
                    .of_machine = true,
                    .max = UINT32_MAX },
    [MUX_CREATED] = { .name = "CREATED", .from = MUX_GUEST },
    [MUX_STARTED] = { .name = "STARTED", .from = MUX_GUEST },
    [MUX_FAILED] = { .name = "FAILED", .from = MUX_GUEST, .text = true },
    [MUX_EXIT] = { .name = "EXIT",
                   .from = MUX_GUEST,
                   .value = true,
                   .max = MUX_BY_SIGNAL + SIGNAL_MAX },
    [MUX_FORGOTTEN] = { .name = "FORGOTTEN", .from = MUX_GUEST, .of_others = true },
    [MUX_SETUP] = { .name = "SETUP",
                    .from = MUX_HOST,
                    .value = true,
                    .text = true,
                    .of_machine = true,
                    .max = INT64_MAX },
    [MUX_CREATE] = { .name = "CREATE",
                     .from = MUX_HOST,
                     .value = true,
                     .extra = true,
                     .min = 1,
                     .max = UINT32_MAX,
                     .extra_mask = MUX_TERMINAL | MUX_NO_PIVOT },
    [MUX_START] = { .name = "START", .from = MUX_HOST },
    [MUX_SIGNAL] = { .name = "SIGNAL",
                     .from = MUX_HOST,
                     .value = true,
                     .min = 1,
                     .max = SIGNAL_MAX },
    [MUX_RESIZE] = { .name = "RESIZE",
                     .from = MUX_HOST,
                     .value = true,
                     .extra = true,
                     .max = UINT16_MAX,
                     .extra_mask = UINT16_MAX },
    [MUX_SHUTDOWN] = { .name = "SHUTDOWN", .from = MUX_HOST, .of_machine = true },
    [MUX_RUN] = { .name = "RUN",
                  .from = MUX_HOST,
                  .value = true,
                  .extra = true,
                  .of_others = true,
                  .min = 1,
                  .max = UINT32_MAX,
                  .extra_mask = MUX_TERMINAL | MUX_LEAVES },
    [MUX_CLOSE] = { .name = "CLOSE",
                    .from = MUX_HOST,
                    .value = true,
                    .min = MUX_STDOUT,
                    .max = MUX_STDERR },
    [MUX_FORGET] = { .name = "FORGET", .from = MUX_HOST, .of_others = true },
};

const char *mux_verb_name(enum mux_verb verb)
{
    return (unsigned)verb < MUX_VERB_COUNT && verbs[verb].name ? verbs[verb].name : "?";
}

/* What is wrong with a message, NULL: nothing. */
static const char *fault_of(enum mux_side from, const struct mux_message *m)
{
    if ((unsigned)m->verb >= MUX_VERB_COUNT || !verbs[m->verb].name)
        return "is unknown";
    if (verbs[m->verb].from != from)
        return "comes from the wrong side";
    if (m->process >= MUX_PROCESSES || (verbs[m->verb].of_machine && m->process != 0))
        return "names no process";
    if (verbs[m->verb].of_others && m->process == 0)
        return "is not for the container's own process";
    if (verbs[m->verb].value && (m->value < verbs[m->verb].min || m->value > verbs[m->verb].max))
        return "has a value out of range";
    if (m->extra & ~verbs[m->verb].extra_mask)
        return "has a second value out of range";
    return NULL;
}

static size_t fixed_len(enum mux_verb verb)
{
    return MUX_CONTROL_HEAD + (verbs[verb].value ? VALUE : 0) + (verbs[verb].extra ? EXTRA : 0);
}

int mux_encode(enum mux_side from, const struct mux_message *m, uint8_t out[MUX_CONTROL_MAX])
{
    uint8_t *at = out + MUX_CONTROL_HEAD;
    size_t text;

    if (fault_of(from, m))
        return -EINVAL;
    text = verbs[m->verb].text ? m->text_len : 0;
    if (text > MUX_CONTROL_MAX - fixed_len(m->verb))
        text = MUX_CONTROL_MAX - fixed_len(m->verb); /* the end of a long sentence */
    mux_put(out, m->verb, 2);
    mux_put(out + 2, 0, 2);
    mux_put(out + 4, m->process, 4);
    if (verbs[m->verb].value) {
        mux_put(at, m->value, VALUE);
        at += VALUE;
    }
    if (verbs[m->verb].extra) {
        mux_put(at, m->extra, EXTRA);
        at += EXTRA;
    }
    if (text > 0)
        memcpy(at, m->text, text);
    return (int)(fixed_len(m->verb) + text);
}

int mux_decode(enum mux_side from, const uint8_t *data, size_t len, struct mux_message *out,
               struct err *e)
{
    struct mux_message m = { 0 };
    const uint8_t *at = data + MUX_CONTROL_HEAD;
    const char *fault;
    size_t fixed;

    if (len < MUX_CONTROL_HEAD || mux_get(data + 2, 2) != 0)
        return err_set(e, EPROTO, "a control message without a head");
    m.verb = (enum mux_verb)mux_get(data, 2);
    m.process = (unsigned)mux_get(data + 4, 4);
    if ((unsigned)m.verb >= MUX_VERB_COUNT || !verbs[m.verb].name)
        return err_set(e, EPROTO, "control message %u is unknown", (unsigned)m.verb);
    fixed = fixed_len(m.verb);
    if (len < fixed || (len > fixed && !verbs[m.verb].text))
        return err_set(e, EPROTO, "%s has %zu bytes", mux_verb_name(m.verb), len);
    if (verbs[m.verb].value) {
        m.value = mux_get(at, VALUE);
        at += VALUE;
    }
    if (verbs[m.verb].extra)
        m.extra = (uint32_t)mux_get(at, EXTRA);
    m.text = (const char *)data + fixed;
    m.text_len = len - fixed;
    fault = fault_of(from, &m);
    if (fault)
        return err_set(e, EPROTO, "%s %s", mux_verb_name(m.verb), fault);
    *out = m;
    return 0;
}
