/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The text of config.json, from whoever made the bundle, through everything that reads it. What was
 * parsed must also survive being written: the copy parses, and to the same tree.
 */
#include "spec/spec.h"

#include <stdlib.h>
#include <string.h>

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

static void require(bool condition)
{
    if (!condition)
        abort();
}

static bool is_equal(const struct json *a, const struct json *b)
{
    if (a->type != b->type || a->count != b->count || a->boolean != b->boolean ||
        a->len != b->len || !str_eq(a->key, b->key) ||
        (a->len && memcmp(a->text, b->text, a->len) != 0))
        return false;
    a = a->child;
    b = b->child;
    for (; a && b; a = a->next, b = b->next) {
        if (!is_equal(a, b))
            return false;
    }
    return !a && !b;
}

static void write_and_read_again(struct arena *a, const struct json *tree)
{
    struct json_out *j = json_out_new(false);
    struct json *copy = NULL;
    const char *text;
    size_t len;

    json_add_value(j, NULL, tree);
    text = json_out_text(j, &len);
    require(json_parse(a, text, len, "copy", &copy, NULL) == 0 && is_equal(tree, copy));
    json_out_free(j);
}

/* A pointer that was told leads back to the line that was told with it. */
static void look_at_faults(const struct spec *s, const struct spec_faults *f)
{
    size_t errors = 0, warnings = 0;
    unsigned line = 0;

    for (const struct spec_fault *fault = f->first; fault; fault = fault->next) {
        require(fault->text[0] != '\0' && fault->line >= line);
        line = fault->line;
        errors += !fault->warning;
        warnings += fault->warning;
        if (s)
            require(spec_line_of(s, fault->pointer) == fault->line);
    }
    require(errors == f->errors && warnings == f->warnings);
}

static void check(const char *text, size_t size, struct arena *a)
{
    struct spec_faults faults;
    struct spec *s = NULL;
    struct err e = { 0 };

    spec_faults_init(&faults);
    if (spec_parse(a, text, size, &s, &faults, &e) < 0) {
        require(e.code != 0 && faults.errors > 0);
        look_at_faults(NULL, &faults);
        return;
    }
    require(faults.errors == 0);
    if (spec_check(s, a, &faults, &e) < 0)
        require(e.code != 0 && faults.errors > 0);
    spec_unsupported(s, a, &faults);
    look_at_faults(s, &faults);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    static char first[1 << 20];
    struct arena a;
    struct json *tree = NULL;
    struct err e = { 0 };

    arena_init(&a, first, sizeof(first));
    if (json_parse(&a, (const char *)data, size, "input", &tree, &e) == 0)
        write_and_read_again(&a, tree);
    check((const char *)data, size, &a);
    arena_release(&a);
    return 0;
}
