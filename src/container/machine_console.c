/* SPDX-License-Identifier: Apache-2.0 */
/* What a machine's console said at last, as the reason for its end: nothing of it but the letters is used. */
#include <string.h>

#include "container/machine.h"

enum { LINES = 3 };

/* The end of a console is not the end of a text, so no strstr(3). Where it is last. */
static const char *find_last(const char *text, size_t len, const char *words)
{
    size_t n = strlen(words);

    for (size_t at = len; at-- > 0;)
        if (len - at >= n && memcmp(text + at, words, n) == 0)
            return text + at;
    return NULL;
}

static size_t line_length(const char *text, const char *end)
{
    size_t n = 0;

    while (text + n < end && text[n] != '\n' && text[n] != '\r')
        n++;
    return n;
}

/* Behind what is there; what is no letter of ASCII is a question mark. */
static void add(struct machine_words *out, const char *text, size_t len)
{
    for (size_t i = 0; i < len && out->len + 1 < sizeof out->text; i++)
        out->text[out->len++] = text[i] >= ' ' && text[i] <= '~' ? text[i] : '?';
    out->text[out->len] = 0;
}

/* The agent's word (system_say), behind which the kernel tells of its own end. */
static bool tell_agent(const char *text, size_t len, struct machine_words *out)
{
    const char *at = find_last(text, len, BOOT_AGENT ": ");

    add(out, at, at ? line_length(at, text + len) : 0);
    return out->len > 0;
}

/*
 * What the kernel says of a panic comes twice, before the trace and behind it, the second time in brackets:
 * "Kernel panic - not syncing: REASON ]---".
 */
static bool tell_panic(const char *text, size_t len, struct machine_words *out)
{
    static const char ending[] = " ]---";
    const size_t n_ending = sizeof ending - 1;
    const char *at = find_last(text, len, "Kernel panic - not syncing");
    size_t n = at ? line_length(at, text + len) : 0;

    if (n > n_ending && memcmp(at + n - n_ending, ending, n_ending) == 0)
        n -= n_ending;
    add(out, at, n);
    return n > 0;
}

void machine_last_words(const char *text, size_t len, struct machine_words *out)
{
    const char *lines[LINES], *end = text + len;
    size_t n = 0;

    *out = (struct machine_words){ .len = 0 };
    if (tell_agent(text, len, out) || tell_panic(text, len, out))
        return;
    while (n < LINES && len > 0) {
        while (len > 0 && (text[len - 1] == '\n' || text[len - 1] == '\r'))
            len--;
        while (len > 0 && text[len - 1] != '\n' && text[len - 1] != '\r')
            len--;
        if (line_length(text + len, end) > 0)
            lines[n++] = text + len;
    }
    while (n-- > 0) {
        add(out, lines[n], line_length(lines[n], end));
        if (n > 0)
            add(out, " | ", 3);
    }
}
