/* SPDX-License-Identifier: Apache-2.0 */
/* "1m30s", "500ms": the syntax of Go's time.ParseDuration, which go-runc writes. Pure. */
#include "cmd.h"

#include <string.h>

/* The longest unit of a letter comes first. */
static const struct {
    const char *name;
    int64_t ns;
} units[] = {
    { "ns", 1 },           { "us", 1000 },         { "µs", 1000 },           { "ms", 1000000 },
    { "s", 1000000000LL }, { "m", 60000000000LL }, { "h", 3600000000000LL },
};

static int64_t unit_at(const char **at)
{
    for (size_t i = 0; i < COUNT_OF(units); i++) {
        if (str_starts(*at, units[i].name)) {
            *at += strlen(units[i].name);
            return units[i].ns;
        }
    }
    return 0;
}

/* "1.5h": digits, perhaps a fraction, a unit. -1: it is none, or too long. */
static int64_t take_part(const char **at)
{
    int64_t whole = 0, fraction = 0, scale = 1, unit, ns;
    const char *start = *at;

    for (; **at >= '0' && **at <= '9'; ++*at)
        if (__builtin_mul_overflow(whole, 10, &whole) ||
            __builtin_add_overflow(whole, **at - '0', &whole))
            return -1;
    if (**at == '.')
        ++*at;
    for (; **at >= '0' && **at <= '9'; ++*at) {
        if (scale < 1000000) { /* enough for an hour in 3.6 ms, and no product overflows */
            fraction = fraction * 10 + (**at - '0');
            scale *= 10;
        }
    }
    if (*at == start || (*at == start + 1 && *start == '.'))
        return -1;
    unit = unit_at(at);
    if (unit == 0 || __builtin_mul_overflow(whole, unit, &ns) ||
        __builtin_add_overflow(ns, fraction * unit / scale, &ns))
        return -1;
    return ns;
}

int cmd_duration(const char *text, int64_t *out_ns, struct err *e)
{
    const char *at = text + (*text == '-' || *text == '+');
    int64_t sum = 0;

    if (str_eq(at, "0"))
        at++;
    else if (*at == '\0')
        sum = -1;
    while (*at && sum >= 0) {
        int64_t part = take_part(&at);

        if (part < 0 || __builtin_add_overflow(sum, part, &sum))
            sum = -1;
    }
    if (sum < 0)
        return err_set(e, 0, "invalid duration \"%s\" (such as 5s, 500ms, 1m30s)", text);
    if (sum == 0 || *text == '-')
        return err_set(e, 0, "duration interval must be greater than 0");
    *out_ns = sum;
    return 0;
}
