/* SPDX-License-Identifier: Apache-2.0 */
#include "base/base.h"

#include <string.h>

/*
 * RFC 3629 section 4, as (first byte range, range of the second byte, continuation bytes). Bytes
 * after the second are always 80..BF.
 */
static const struct {
    unsigned char first, last, low, high, more;
} sequences[] = {
    { 0xC2, 0xDF, 0x80, 0xBF, 1 }, { 0xE0, 0xE0, 0xA0, 0xBF, 2 }, { 0xE1, 0xEC, 0x80, 0xBF, 2 },
    { 0xED, 0xED, 0x80, 0x9F, 2 }, { 0xEE, 0xEF, 0x80, 0xBF, 2 }, { 0xF0, 0xF0, 0x90, 0xBF, 3 },
    { 0xF1, 0xF3, 0x80, 0xBF, 3 }, { 0xF4, 0xF4, 0x80, 0x8F, 3 },
};

/* Length of the sequence at s (its first byte is no ASCII), 0 when it is malformed. */
static size_t sequence_len(const unsigned char *s, size_t len)
{
    for (size_t i = 0; i < COUNT_OF(sequences); i++) {
        size_t more = sequences[i].more;

        if (s[0] < sequences[i].first || s[0] > sequences[i].last)
            continue;
        if (len <= more || s[1] < sequences[i].low || s[1] > sequences[i].high)
            return 0;
        for (size_t k = 2; k <= more; k++) {
            if ((s[k] & 0xC0) != 0x80)
                return 0;
        }
        return more + 1;
    }
    return 0;
}

size_t utf8_valid_len(const char *s, size_t len)
{
    const unsigned char *p = (const unsigned char *)s;
    size_t at = 0;

    while (at < len) {
        uint64_t word;
        size_t n;

        if (len - at >= sizeof(word)) {
            memcpy(&word, p + at, sizeof(word));
            if (!(word & UINT64_C(0x8080808080808080))) {
                at += sizeof(word);
                continue;
            }
        }
        if (p[at] < 0x80) {
            at++;
            continue;
        }
        n = sequence_len(p + at, len - at);
        if (!n)
            return at;
        at += n;
    }
    return at;
}

/* Those of ISO 8859-1 are two bytes in UTF-8: C2, and 80 to 9F. */
static void clean_valid(char *text, size_t len, const char *but)
{
    for (size_t i = 0; i < len; i++) {
        unsigned char c = (unsigned char)text[i];

        if (c == 0xC2 && (unsigned char)text[i + 1] < 0xA0)
            text[i] = text[i + 1] = '?';
        else if (c == 0x7F || c == 0 || (c < ' ' && !strchr(but, c)))
            text[i] = '?';
    }
}

void text_clean(char *text, size_t len, const char *but)
{
    for (size_t at = 0; at < len; at++) {
        size_t valid = utf8_valid_len(text + at, len - at);

        clean_valid(text + at, valid, but);
        at += valid;
        if (at < len)
            text[at] = '?';
    }
}
