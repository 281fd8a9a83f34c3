/* SPDX-License-Identifier: Apache-2.0 */
#ifndef TECA_CMD_ARGS_H
#define TECA_CMD_ARGS_H
/*
 * args: a table-driven parser of command line flags. A row of a table says everything about a flag,
 * so what is parsed, what `VERB --help` prints and what the man page must list cannot differ.
 *
 * Syntax, which is that of Go's flag package because engines were written against it
 * (engine-contract 1.1): `--flag value`, `--flag=value`, one dash or two; a bool takes a value only
 * after "="; a flag given twice: the last wins; "--" ends the flags; "-" alone is a positional.
 * Values are never split. An empty value is refused: it is nearly always an unset shell variable.
 *
 * Pure: no system call, no memory of its own.
 */
#include "base/base.h"

enum arg_kind {
    ARG_BOOL,   /* bool */
    ARG_STRING, /* const char *, borrows from argv */
    ARG_CHOICE, /* const char *, one of the words of `value` */
    ARG_LIST,   /* struct str_list, a word each time; its v has room for argc of them */
    ARG_COUNT,  /* unsigned, 0 .. ARG_COUNT_MAX */
};

enum { ARG_COUNT_MAX = 1 << 20 };

struct arg_flag {
    const char *name;   /* long form without dashes, at least two letters */
    const char *shorts; /* every letter is a short form; "" none */
    enum arg_kind kind;
    size_t offset;     /* of the field in the caller's struct */
    const char *value; /* name of the value in help, "DIR"; ARG_CHOICE: the words, "text|json" */
    const char *help;  /* one line */
};

struct arg_table {
    const struct arg_flag *flags;
    size_t n;
    bool stops; /* everything after the first positional is positional too */
};

/*
 * Parses argv[0] .. argv[argc - 1] into the struct at `out`. Positionals go to `positional`, which
 * has room for argc of them. Returns their number, -ENOENT for an unknown flag or -EINVAL; fields
 * parsed before the fault are set then, so that --log can still receive the sentence.
 */
int args_parse(const struct arg_table *t, int argc, const char *const *argv, void *out,
               const char **positional, struct err *e);

/* The flag by its long or short form (without dashes, `len` bytes), NULL when there is none. */
const struct arg_flag *args_find(const struct arg_table *t, const char *name, size_t len);

/* One line a flag: "  --bundle, -b DIR   what it does". */
void args_help(const struct arg_table *t, struct strbuf *out);

/* Edit distance (insert, delete, replace: 1 each), for "did you mean"; words over 31 bytes: a lot. */
size_t args_distance(const char *a, const char *b);
/* Is this distance small enough that the one word may be a slip for the other? */
bool args_is_slip(size_t distance, const char *word);

#endif
