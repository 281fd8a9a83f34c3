/* SPDX-License-Identifier: Apache-2.0 */
#include "spec/internal.h"

#include <errno.h>
#include <string.h>

void spec_faults_init(struct spec_faults *f)
{
    *f = (struct spec_faults){ 0 };
    f->tail = &f->first;
}

void spec_fault_add(struct spec_faults *f, struct arena *a, const char *pointer, unsigned line,
                    bool warning, const char *text)
{
    struct spec_fault *fault = arena_alloc(a, sizeof(*fault));

    *fault = (struct spec_fault){
        .pointer = pointer, .text = text, .line = line, .warning = warning
    };
    *f->tail = fault;
    f->tail = &fault->next;
    if (warning)
        f->warnings++;
    else
        f->errors++;
}

static struct spec_fault *merge(struct spec_fault *a, struct spec_fault *b)
{
    struct spec_fault *first = NULL, **tail = &first;

    while (a && b) {
        struct spec_fault **from = a->line <= b->line ? &a : &b;

        *tail = *from;
        tail = &(*from)->next;
        *from = (*from)->next;
    }
    *tail = a ? a : b;
    return first;
}

/* Merge sort: a document of 10 MiB may have very many faults. */
static struct spec_fault *sort(struct spec_fault *list, size_t n)
{
    struct spec_fault *half = list, *rest;

    if (n < 2)
        return list;
    for (size_t i = 1; i < n / 2; i++)
        half = half->next;
    rest = half->next;
    half->next = NULL;
    return merge(sort(list, n / 2), sort(rest, n - n / 2));
}

void spec_faults_sort(struct spec_faults *f)
{
    f->first = sort(f->first, f->errors + f->warnings);
    f->tail = &f->first;
    while (*f->tail)
        f->tail = &(*f->tail)->next;
}

static bool is_below(const char *pointer, const char *top)
{
    size_t len = strlen(top);

    return !strncmp(pointer, top, len) && (pointer[len] == '\0' || pointer[len] == '/');
}

bool spec_faults_about(const struct spec_faults *f, const char *pointer)
{
    for (const struct spec_fault *fault = f->first; fault; fault = fault->next)
        if (!fault->warning &&
            (is_below(pointer, fault->pointer) || is_below(fault->pointer, pointer)))
            return true;
    return false;
}

bool spec_faults_at(const struct spec_faults *f, const char *pointer)
{
    for (const struct spec_fault *fault = f->first; fault; fault = fault->next)
        if (!fault->warning && is_below(pointer, fault->pointer))
            return true;
    return false;
}

void spec_faults_join(struct spec_faults *f, struct spec_faults *more)
{
    *f->tail = more->first;
    if (more->first)
        f->tail = more->tail;
    f->errors += more->errors;
    f->warnings += more->warnings;
    spec_faults_sort(f);
}

int spec_faults_result(const struct spec_faults *f, struct err *e)
{
    for (const struct spec_fault *fault = f->first; fault; fault = fault->next) {
        if (fault->warning)
            continue;
        if (!fault->line)
            return err_at(e, fault->pointer, 0, "%s", fault->text);
        return err_at(e, fault->pointer, 0, "%s (config.json line %u)", fault->text, fault->line);
    }
    return 0;
}

/* One token of a pointer: is it this member's name, or this element's index? */
static bool is_token(const struct json *node, const char *token, size_t len)
{
    const char *key = node->key;
    char index[16];
    size_t at = 0;

    if (!key) {
        base_format(index, sizeof(index), "%u", node->index);
        key = index;
    }
    for (; *key; key++) {
        bool escaped = *key == '~' || *key == '/';

        if (at + escaped >= len)
            return false;
        if (escaped && (token[at++] != '~' || token[at] != (*key == '~' ? '0' : '1')))
            return false;
        if (!escaped && token[at] != *key)
            return false;
        at++;
    }
    return at == len;
}

unsigned spec_line_of(const struct spec *s, const char *pointer)
{
    const struct json *node = s->document;

    while (node && *pointer == '/') {
        size_t len = strcspn(++pointer, "/");
        const struct json *child = node->child;

        while (child && !is_token(child, pointer, len))
            child = child->next;
        if (!child)
            break;
        node = child;
        pointer += len;
    }
    return node ? node->line : 0;
}
