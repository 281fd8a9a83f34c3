/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Verbs on a container in a machine: the guest's teca carries them out, and what it answers is the answer. The guest is
 * hostile: lengths are bounded, the form is checked, and what is believed concerns this container alone.
 */
#include <errno.h>
#include <string.h>
#include <sys/syscall.h>
#include <unistd.h>

#include "container/machine.h"

enum { ANSWER_MAX = 16 << 20, LINE_MAX_BYTES = 1 << 20, PIDS_MAX = 1 << 22 };

/* ---- answers --------------------------------------------------------------------------------- */

struct answer {
    struct strbuf text;
    size_t max;
};

static int add_piece(void *arg, const char *data, size_t len, struct err *e)
{
    struct answer *a = arg;

    if (len > a->max - a->text.len)
        return err_set(e, EFBIG, "the machine answers more than %zu bytes", a->max);
    strbuf_add(&a->text, data, len);
    return 0;
}

/* What the verb has printed, in the arena and NUL-ended. */
static int ask_for_text(const char *dir, const char *const *args, struct arena *a, char **out,
                        size_t *out_len, struct err *e)
{
    const struct machine_request q = { .kind = CONTROL_VERB, .args = args };
    struct answer answer = { .max = ANSWER_MAX };
    const struct machine_sink sink = { .take = add_piece, .arg = &answer };
    int r = machine_ask(dir, &q, &sink, e);

    if (r == 0) {
        *out = arena_alloc(a, answer.text.len + 1);
        if (answer.text.len > 0)
            memcpy(*out, answer.text.ptr, answer.text.len);
        (*out)[answer.text.len] = 0;
        *out_len = answer.text.len;
    }
    strbuf_release(&answer.text);
    return r;
}

/* ---- ps -------------------------------------------------------------------------------------- */

static int no_pids(struct err *e)
{
    return err_set(e, EPROTO, "the machine answers with what is no list of pids");
}

int machine_read_pids(const char *text, size_t len, struct arena *a, pid_t **out, size_t *out_n,
                      struct err *e)
{
    struct json *doc;
    int64_t pid;
    pid_t *v;
    size_t n = 0;

    if (json_parse(a, text, len, "the machine's answer", &doc, NULL) < 0 || doc->type != JSON_ARRAY)
        return no_pids(e);
    v = arena_array(a, doc->count, sizeof *v);
    for (const struct json *one = doc->child; one; one = one->next) {
        if (one->type != JSON_NUMBER || json_i64(one, &pid) < 0 || pid < 1 || pid > PIDS_MAX)
            return no_pids(e);
        v[n++] = (pid_t)pid;
    }
    *out = v;
    *out_n = n;
    return 0;
}

int machine_pids(const char *dir, struct arena *a, pid_t **pids, size_t *n, struct err *e)
{
    static const char *const args[] = { "ps", "--format", "json", MUX_CONTAINER, NULL };
    char *text;
    size_t len;
    int r = ask_for_text(dir, args, a, &text, &len, e);

    return r < 0 ? r : machine_read_pids(text, len, a, pids, n, e);
}

int container_machine_ps(const char *root, const char *id, const char *const *args, size_t n_args,
                         struct arena *a, char **out, size_t *out_len, struct err *e)
{
    const char *dir, **words = arena_array(a, n_args + 3, sizeof *words);
    struct state_record rec;
    pid_t pid;
    int r = container_find(root, id, a, &dir, &rec, e);

    if (r < 0 || !rec.isolation)
        return r;
    r = state_status(dir, &rec, &pid, NULL, e);
    if (r < 0)
        return r;
    *out = NULL;
    *out_len = 0;
    if (pid == 0)
        return 0;
    words[0] = "ps";
    words[1] = MUX_CONTAINER;
    if (n_args > 0)
        memcpy(words + 2, args, n_args * sizeof *words);
    words[n_args + 2] = NULL;
    r = ask_for_text(dir, words, a, out, out_len, e);
    if (r < 0)
        return r;
    text_clean(*out, *out_len, "\n\t"); /* as the host's ps does with names */
    return 1;
}

/* ---- pause, resume, kill --------------------------------------------------------------------- */

static int ask(const char *dir, enum control_kind kind, const char *const *args, const char *input,
               struct err *e)
{
    const struct machine_request q = {
        .kind = kind, .args = args, .input = input, .input_len = input ? strlen(input) : 0
    };

    return machine_ask(dir, &q, &(struct machine_sink){ 0 }, e);
}

int machine_freeze(const char *dir, bool freeze, struct err *e)
{
    const char *const args[] = { freeze ? "pause" : "resume", MUX_CONTAINER, NULL };

    return ask(dir, freeze ? CONTROL_PAUSE : CONTROL_RESUME, args, NULL, e);
}

int machine_signal_all(const char *dir, int signal, struct arena *a, struct err *e)
{
    const char *const args[] = { "kill", "--all", MUX_CONTAINER, arena_format(a, "%d", signal),
                                 NULL };

    return ask(dir, CONTROL_VERB, args, NULL, e);
}

/* The monitor takes a queued SIGCONT for the signal that travels with it (machine_monitor.c). */
int machine_signal(const struct state_record *rec, int pidfd, int signal, struct err *e)
{
    siginfo_t info = { .si_signo = SIGCONT, .si_code = SI_QUEUE };

    if (!rec->isolation || signal != SIGSTOP)
        return 0;
    info.si_value.sival_int = signal;
    if (syscall(SYS_pidfd_send_signal, pidfd, SIGCONT, &info, 0) < 0)
        return err_set(e, errno, "cannot send signal %d to the container", signal);
    return 1;
}

/* ---- update ---------------------------------------------------------------------------------- */

int machine_update(const char *dir, const char *resources, struct err *e)
{
    static const char *const args[] = { "update", "--resources", MUX_INPUT, MUX_CONTAINER, NULL };

    return ask(dir, CONTROL_VERB, args, resources, e);
}

/* Of the machine, which has the memory that it was started with. */
int machine_check_update(const struct state_record *rec, const struct spec_resources *asked,
                         struct arena *a, struct err *e)
{
    struct spec *s;
    uint64_t mib;
    int r = spec_parse(a, rec->config, rec->config_len, &s, NULL, e);

    if (r < 0)
        return r;
    mib = machine_memory(s);
    if (asked->memory.limit.set && asked->memory.limit.v > 0 &&
        (uint64_t)asked->memory.limit.v > mib << 20)
        return err_at(e, "/linux/resources/memory/limit", 0,
                      "the machine has %lu MiB of memory, which it was started with", mib);
    return 0;
}

/* ---- events ---------------------------------------------------------------------------------- */

struct line {
    struct strbuf text; /* that has come and has no end yet */
    const struct container_event_sink *sink;
    const char *id;
    int signals;
    bool once, had; /* it is asked for one count, and that has come */
};

static int no_event(struct err *e)
{
    return err_set(e, EPROTO, "the machine answers with what is no event");
}

/* The guest's teca names it in its own way; the rest is passed on as it is, but for what is no JSON. */
static int pass_event(struct line *l, const char *text, size_t len, struct err *e)
{
    struct container_event event = { .id = l->id, .signals = l->signals };
    const struct json *type;
    bool is_count, is_oom;
    const char *name;
    struct json *doc;
    struct arena a;
    int r;

    arena_init(&a, NULL, 0);
    r = json_parse(&a, text, len, "the machine's answer", &doc, NULL);
    type = r < 0 ? NULL : json_get(doc, "type");
    event.data = r < 0 ? NULL : json_get(doc, "data");
    event.arena = &a;
    name = type && type->type == JSON_STRING ? type->text : "";
    is_count = str_eq(name, "stats") && event.data && event.data->type == JSON_OBJECT;
    is_oom = str_eq(name, "oom") && !event.data;
    if (l->once ? !is_count || l->had : !is_count && !is_oom)
        r = no_event(e);
    l->had = true;
    if (r == 0)
        r = l->sink->event(l->sink->arg, &event, e);
    arena_release(&a);
    return r;
}

static int take_events(void *arg, const char *data, size_t len, struct err *e)
{
    struct line *l = arg;
    int r = 0;

    while (len > 0 && r == 0) {
        const char *end = memchr(data, '\n', len);
        size_t n = end ? (size_t)(end - data) : len;

        if (n > LINE_MAX_BYTES - l->text.len)
            return no_event(e);
        strbuf_add(&l->text, data, n);
        n += end != NULL;
        data += n;
        len -= n;
        if (!end)
            break;
        r = pass_event(l, l->text.ptr ? l->text.ptr : "", l->text.len, e);
        l->text.len = 0;
    }
    return r;
}

int machine_events(const char *dir, const char *id, int64_t interval_ns,
                   const struct container_event_sink *sink, int signals, struct arena *a,
                   struct err *e)
{
    const char *const once[] = { "events", "--stats", MUX_CONTAINER, NULL };
    const char *const stream[] = { "events", "--interval", arena_format(a, "%ldns", interval_ns),
                                   MUX_CONTAINER, NULL };
    const struct machine_request q = { .kind = CONTROL_VERB,
                                       .args = interval_ns > 0 ? stream : once };
    struct line line = { .sink = sink, .id = id, .signals = signals, .once = interval_ns == 0 };
    const struct machine_sink out = {
        .take = take_events, .arg = &line, .stream = interval_ns > 0, .signals = signals
    };
    int r = machine_ask(dir, &q, &out, e);

    strbuf_release(&line.text);
    /* The machine ends with its container, and so does the stream. */
    return r == -ECONNRESET && interval_ns > 0 ? 0 : r;
}
