/* SPDX-License-Identifier: Apache-2.0 */
/* The forms of single values: what a row of the field tables may ask of a string. */
#include "spec/internal.h"

#include <net/if.h>
#include <string.h>

bool spec_is_absolute(const char *path)
{
    return path[0] == '/';
}

bool spec_is_filled(const char *text)
{
    return text[0] != '\0';
}

bool spec_is_one_line(const char *text)
{
    return !strchr(text, '\n');
}

bool spec_is_environment(const char *entry)
{
    return entry[0] != '=' && strchr(entry, '=');
}

static bool is_digit(char c)
{
    return c >= '0' && c <= '9';
}

/* Reads a number that is no larger than a CPU or a node number can be; -1 when there is none. */
static long read_number(const char **at)
{
    long value = 0;

    if (!is_digit(**at))
        return -1;
    for (; is_digit(**at); ++*at) {
        value = value * 10 + (**at - '0');
        if (value > UINT16_MAX)
            return -1;
    }
    return value;
}

static void skip_spaces(const char **at)
{
    *at += strspn(*at, " ");
}

bool spec_is_cpu_list(const char *list)
{
    skip_spaces(&list);
    while (*list) {
        long low = read_number(&list), high = low;

        skip_spaces(&list);
        if (*list == '-') {
            list++;
            skip_spaces(&list);
            high = read_number(&list);
            skip_spaces(&list);
        }
        if (low < 0 || high < low || (*list && *list != ','))
            return false;
        if (*list) {
            list++;
            skip_spaces(&list);
        }
    }
    return true;
}

bool spec_is_page_size(const char *size)
{
    size_t digits = strspn(size, "0123456789");

    return size[0] >= '1' && digits > 0 && strchr("KMG", size[digits]) && size[digits] &&
           !strcmp(size + digits + 1, "B");
}

/* dev_valid_name() of Linux net/core/dev.c; "%d" is left to the kernel to number. */
bool spec_is_interface(const char *name)
{
    size_t len = strlen(name);

    if (!len || len >= IFNAMSIZ || !strcmp(name, ".") || !strcmp(name, ".."))
        return false;
    return !strpbrk(name, "/: \t\n\v\f\r");
}
