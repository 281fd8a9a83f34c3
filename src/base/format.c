/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The formatter. glibc's printf family may allocate and reads the locale, so neither may run
 * between clone and exec; this one touches nothing but its arguments and the buffer.
 */
#include "base/base.h"

#include <string.h>

struct sink {
    char *buf;
    size_t size, len; /* len counts what did not fit too */
};

static void put(struct sink *s, char c)
{
    if (s->len + 1 < s->size)
        s->buf[s->len] = c;
    s->len++;
}

static void put_repeated(struct sink *s, char c, size_t n)
{
    while (n-- > 0)
        put(s, c);
}

struct conversion {
    bool left, zero, has_precision;
    size_t width, precision;
    enum { LENGTH_INT, LENGTH_LONG, LENGTH_LONG_LONG, LENGTH_SIZE } length;
};

static void put_padded(struct sink *s, const struct conversion *c, const char *text, size_t len)
{
    size_t pad = c->width > len ? c->width - len : 0;

    if (!c->left)
        put_repeated(s, ' ', pad);
    for (size_t i = 0; i < len; i++)
        put(s, text[i]);
    if (c->left)
        put_repeated(s, ' ', pad);
}

static void put_number(struct sink *s, const struct conversion *c, uint64_t value, unsigned base,
                       bool negative)
{
    char digits[24]; /* 2^64 - 1 has 22 octal digits */
    size_t at = sizeof(digits), pad;

    do {
        digits[--at] = "0123456789abcdef"[value % base];
        value /= base;
    } while (value != 0);
    if (c->zero && !c->left) {
        size_t len = sizeof(digits) - at + negative;

        pad = c->width > len ? c->width - len : 0;
        if (negative)
            put(s, '-');
        put_repeated(s, '0', pad);
        while (at < sizeof(digits))
            put(s, digits[at++]);
        return;
    }
    if (negative)
        digits[--at] = '-';
    put_padded(s, c, digits + at, sizeof(digits) - at);
}

/* va_list travels by pointer inside a struct: as an array type it cannot be passed by reference. */
struct args {
    va_list ap;
};

static int64_t next_signed(struct args *a, const struct conversion *c)
{
    switch (c->length) {
    case LENGTH_INT:
        return va_arg(a->ap, int);
    case LENGTH_LONG:
        return va_arg(a->ap, long);
    case LENGTH_LONG_LONG:
        return va_arg(a->ap, long long);
    case LENGTH_SIZE:
        return va_arg(a->ap, ssize_t);
    }
    return 0;
}

static uint64_t next_unsigned(struct args *a, const struct conversion *c)
{
    switch (c->length) {
    case LENGTH_INT:
        return va_arg(a->ap, unsigned);
    case LENGTH_LONG:
        return va_arg(a->ap, unsigned long);
    case LENGTH_LONG_LONG:
        return va_arg(a->ap, unsigned long long);
    case LENGTH_SIZE:
        return va_arg(a->ap, size_t);
    }
    return 0;
}

static const char *read_count(const char *f, struct args *a, size_t *out)
{
    if (*f == '*') {
        int n = va_arg(a->ap, int);

        *out = n > 0 ? (size_t)n : 0;
        return f + 1;
    }
    for (*out = 0; *f >= '0' && *f <= '9'; f++)
        *out = *out * 10 + (size_t)(*f - '0');
    return f;
}

/* Everything between '%' and the conversion letter. Returns where the letter is. */
static const char *read_conversion(const char *f, struct args *a, struct conversion *c)
{
    *c = (struct conversion){ .length = LENGTH_INT };
    for (; *f == '0' || *f == '-'; f++) {
        if (*f == '0')
            c->zero = true;
        else
            c->left = true;
    }
    f = read_count(f, a, &c->width);
    if (*f == '.') {
        c->has_precision = true;
        f = read_count(f + 1, a, &c->precision);
    }
    if (*f == 'z') {
        c->length = LENGTH_SIZE;
        return f + 1;
    }
    if (*f == 'l') {
        c->length = LENGTH_LONG;
        f++;
    }
    if (*f == 'l' && c->length == LENGTH_LONG) {
        c->length = LENGTH_LONG_LONG;
        f++;
    }
    return f;
}

static void put_string(struct sink *s, const struct conversion *c, const char *text)
{
    if (text == NULL)
        text = "(null)";
    put_padded(s, c, text, c->has_precision ? strnlen(text, c->precision) : strlen(text));
}

/* false: the letter is not known, so the arguments after it cannot be found either. */
static bool put_conversion(struct sink *s, char letter, const struct conversion *c, struct args *a)
{
    switch (letter) {
    case '%':
        put(s, '%');
        return true;
    case 's':
        put_string(s, c, va_arg(a->ap, const char *));
        return true;
    case 'c': {
        char one = (char)va_arg(a->ap, int);

        put_padded(s, c, &one, 1);
        return true;
    }
    case 'd':
    case 'i': {
        int64_t value = next_signed(a, c);

        put_number(s, c, value < 0 ? -(uint64_t)value : (uint64_t)value, 10, value < 0);
        return true;
    }
    case 'u':
        put_number(s, c, next_unsigned(a, c), 10, false);
        return true;
    case 'x':
        put_number(s, c, next_unsigned(a, c), 16, false);
        return true;
    case 'o':
        put_number(s, c, next_unsigned(a, c), 8, false);
        return true;
    default:
        return false;
    }
}

size_t base_vformat(char *buf, size_t size, const char *fmt, va_list ap)
{
    struct sink s = { .buf = buf, .size = size };
    struct args a;
    bool known = true;

    va_copy(a.ap, ap);
    for (const char *f = fmt; *f != '\0' && known; f++) {
        struct conversion c;

        if (*f != '%') {
            put(&s, *f);
            continue;
        }
        f = read_conversion(f + 1, &a, &c);
        known = put_conversion(&s, *f, &c, &a);
    }
    va_end(a.ap);
    if (size > 0)
        buf[s.len < size ? s.len : size - 1] = '\0';
    return s.len;
}

size_t base_format(char *buf, size_t size, const char *fmt, ...)
{
    va_list ap;
    size_t len;

    va_start(ap, fmt);
    len = base_vformat(buf, size, fmt, ap);
    va_end(ap);
    return len;
}
