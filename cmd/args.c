/* SPDX-License-Identifier: Apache-2.0 */
#include "args.h"

#include <errno.h>
#include <string.h>
#include <strings.h>

enum { HELP_COLUMN = 28, WORD_MAX = 31 };

const struct arg_flag *args_find(const struct arg_table *t, const char *name, size_t len)
{
    if (len == 0)
        return NULL;
    for (size_t i = 0; i < t->n; i++) {
        const struct arg_flag *f = &t->flags[i];

        if (len == 1 && strchr(f->shorts, name[0]))
            return f;
        if (strlen(f->name) == len && memcmp(f->name, name, len) == 0)
            return f;
    }
    return NULL;
}

size_t args_distance(const char *a, const char *b)
{
    size_t na = strlen(a), nb = strlen(b);
    size_t row[WORD_MAX + 1];

    if (na > WORD_MAX || nb > WORD_MAX)
        return na + nb;
    for (size_t j = 0; j <= nb; j++)
        row[j] = j;
    for (size_t i = 1; i <= na; i++) {
        size_t diagonal = row[0];

        row[0] = i;
        for (size_t j = 1; j <= nb; j++) {
            size_t best = diagonal + (a[i - 1] != b[j - 1]);

            diagonal = row[j];
            if (row[j] + 1 < best)
                best = row[j] + 1;
            if (row[j - 1] + 1 < best)
                best = row[j - 1] + 1;
            row[j] = best;
        }
    }
    return row[nb];
}

bool args_is_slip(size_t distance, const char *word)
{
    return distance <= 2 && distance * 2 <= strlen(word);
}

static int unknown_flag(const struct arg_table *t, const char *written, const char *name,
                        size_t len, struct err *e)
{
    const struct arg_flag *nearest = NULL;
    size_t nearest_distance = SIZE_MAX;
    char word[WORD_MAX + 1] = { 0 };

    err_set(e, 0, "unknown flag: %.*s", (int)(name + len - written), written);
    if (len > WORD_MAX)
        return -ENOENT;
    memcpy(word, name, len);
    for (size_t i = 0; i < t->n; i++) {
        size_t distance = args_distance(t->flags[i].name, word);

        if (distance < nearest_distance) {
            nearest_distance = distance;
            nearest = &t->flags[i];
        }
    }
    if (nearest && args_is_slip(nearest_distance, word))
        err_hint(e, "did you mean --%s?", nearest->name);
    return -ENOENT;
}

/* The words of Go's strconv.ParseBool, which engines were tested against, and crun's yes and no. */
static int parse_bool(const char *value, bool *out)
{
    static const char *const words[][2] = {
        { "false", "true" },
        { "f", "t" },
        { "0", "1" },
        { "no", "yes" },
    };

    for (size_t i = 0; i < COUNT_OF(words); i++) {
        for (int truth = 0; truth <= 1; truth++) {
            if (strcasecmp(value, words[i][truth]) == 0) {
                *out = truth;
                return 0;
            }
        }
    }
    return -EINVAL;
}

static bool is_choice(const char *choices, const char *value)
{
    size_t value_len = strlen(value), len;

    for (const char *word = choices; *word; word += len + (word[len] == '|')) {
        len = strcspn(word, "|");
        if (len == value_len && memcmp(word, value, len) == 0)
            return true;
    }
    return false;
}

static int store(const struct arg_flag *f, const char *value, void *out, struct err *e)
{
    void *field = (char *)out + f->offset;
    uint64_t number;

    switch (f->kind) {
    case ARG_BOOL:
        if (parse_bool(value, field) < 0)
            return err_set(e, 0, "invalid boolean value \"%s\" for --%s", value, f->name);
        return 0;
    case ARG_STRING:
        *(const char **)field = value;
        return 0;
    case ARG_LIST: {
        struct str_list *list = field;

        list->v[list->n++] = value;
        return 0;
    }
    case ARG_CHOICE:
        if (!is_choice(f->value, value)) {
            err_set(e, 0, "invalid %s: %s", f->name, value);
            err_hint(e, "one of %s", f->value);
            return -EINVAL;
        }
        *(const char **)field = value;
        return 0;
    case ARG_COUNT:
        if (str_to_u64(value, &number) < 0 || number > ARG_COUNT_MAX)
            return err_set(e, 0, "invalid value \"%s\" for --%s: not a number from 0 to %d", value,
                           f->name, ARG_COUNT_MAX);
        *(unsigned *)field = (unsigned)number;
        return 0;
    }
    return -EINVAL;
}

/* argv[0] is a flag. Returns how many words it took. */
static int parse_flag(const struct arg_table *t, int argc, const char *const *argv, void *out,
                      struct err *e)
{
    const char *written = argv[0];
    const char *name = written + (written[1] == '-' ? 2 : 1);
    size_t len = strcspn(name, "=");
    const char *value = name[len] == '=' ? name + len + 1 : NULL;
    const struct arg_flag *f = args_find(t, name, len);
    int taken = 1, r;

    if (!f)
        return unknown_flag(t, written, name, len, e);
    if (!value && f->kind == ARG_BOOL)
        value = "true";
    if (!value) {
        /* Podman and CRI-O look for exactly this text (engine-contract 1.1.6). */
        if (argc < 2)
            return err_set(e, 0, "flag needs an argument: %s", written);
        value = argv[1];
        taken = 2;
    }
    if (value[0] == '\0')
        return err_set(e, 0, "the value of --%s is empty", f->name);
    r = store(f, value, out, e);
    return r < 0 ? r : taken;
}

int args_parse(const struct arg_table *t, int argc, const char *const *argv, void *out,
               const char **positional, struct err *e)
{
    bool flags_end = false;
    int n = 0;

    for (int i = 0; i < argc;) {
        bool is_flag = !flags_end && argv[i][0] == '-' && argv[i][1] != '\0';

        if (is_flag && str_eq(argv[i], "--")) {
            flags_end = true;
            i++;
        } else if (is_flag) {
            int taken = parse_flag(t, argc - i, argv + i, out, e);

            if (taken < 0)
                return taken;
            i += taken;
        } else {
            positional[n++] = argv[i++];
            flags_end = flags_end || t->stops;
        }
    }
    return n;
}

void args_help(const struct arg_table *t, struct strbuf *out)
{
    for (size_t i = 0; i < t->n; i++) {
        const struct arg_flag *f = &t->flags[i];
        size_t start = out->len;

        strbuf_format(out, "  --%s", f->name);
        for (const char *s = f->shorts; *s; s++)
            strbuf_format(out, ", -%c", *s);
        if (f->value)
            strbuf_format(out, " %s", f->value);
        if (out->len - start + 2 > HELP_COLUMN) {
            strbuf_str(out, "\n");
            start = out->len;
        }
        while (out->len - start < HELP_COLUMN)
            strbuf_str(out, " ");
        strbuf_format(out, "%s\n", f->help);
    }
}
