/* SPDX-License-Identifier: Apache-2.0 */
/* What RUN asks for: mux.h says how it is written. */
#include <errno.h>
#include <string.h>

#include "guest/internal.h"

/* The next word, NULL: there is none. */
static char *take_word(char **at, const char *end)
{
    char *word = *at, *stop = memchr(word, 0, (size_t)(end - word));

    if (!stop)
        return NULL;
    *at = stop + 1;
    return word;
}

int request_parse(const char *const *first, char *text, size_t len, struct arena *a,
                  char ***out_argv, const char **out_input, size_t *out_len, struct err *e)
{
    const char *end = text + len;
    char *at = text, *word = take_word(&at, end), **argv;
    uint64_t n;
    size_t have = 0;

    /* Each word is at least its NUL. */
    if (!word || str_to_u64(word, &n) < 0 || n > (size_t)(end - at))
        return err_set(e, EPROTO, "a request without a number of words");
    while (first[have])
        have++;
    argv = arena_array(a, have + n + 1, sizeof *argv);
    memcpy(argv, first, have * sizeof *argv);
    for (size_t i = 0; i < n; i++) {
        argv[have + i] = take_word(&at, end);
        if (!argv[have + i])
            return err_set(e, EPROTO, "a request with fewer words than it says");
    }
    argv[have + n] = NULL;
    *out_argv = argv;
    *out_input = at;
    *out_len = (size_t)(end - at);
    return 0;
}
