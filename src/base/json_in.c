/* SPDX-License-Identifier: Apache-2.0 */
/*
 * JSON in: yajl (libyajl 2.1) finds the tokens, this file keeps them as a tree in an arena.
 *
 * The text is hostile: whoever wrote the bundle wrote it. What yajl leaves open is decided here:
 * strict UTF-8 and surrogate pairs before it starts (yajl accepts overlong forms and turns half a
 * pair into "?"), depth, repeated names, names that hold a NUL.
 */
#include "base/base.h"
#include "base/internal.h"

#include <errno.h>
#include <limits.h>
#include <stdlib.h>
#include <string.h>
#include <yajl/yajl_parse.h>

/* Up to here names are compared pair by pair; larger objects are sorted. */
enum { PAIRWISE_NAMES = 12 };

struct reader {
    struct arena *arena;
    yajl_handle yajl;
    const char *data;
    size_t len;
    const char *what;
    struct err *err;
    int ret; /* negative once a callback has refused and told err why */

    size_t counted; /* bytes whose newlines are in `line` */
    unsigned line;
    bool finishing; /* yajl_complete_parse: its text is not ours */

    struct json *root;
    struct json *open[JSON_MAX_DEPTH]; /* containers around the next value, outermost first */
    struct json *last[JSON_MAX_DEPTH]; /* newest child of each of them */
    unsigned depth;
    const char *key; /* name of the next value: in data or in the arena, key_len bytes */
    size_t key_len;
};

/* ---- lines and refusals ------------------------------------------------------------------- */

static unsigned count_newlines(const char *text, size_t len)
{
    unsigned n = 0;
    const char *end = text + len;

    while (text < end) {
        text = memchr(text, '\n', (size_t)(end - text));
        if (!text)
            break;
        n++;
        text++;
    }
    return n;
}

/* The line of the token that yajl has just read: no JSON token spans lines. */
static unsigned current_line(struct reader *r)
{
    size_t consumed;

    if (r->finishing)
        return r->line;
    consumed = yajl_get_bytes_consumed(r->yajl);
    if (consumed > r->counted && consumed <= r->len) {
        r->line += count_newlines(r->data + r->counted, consumed - r->counted);
        r->counted = consumed;
    }
    return r->line;
}

static const struct json *innermost(const struct reader *r)
{
    return r->depth ? r->open[r->depth - 1] : NULL;
}

/* Notes why the document is refused, at the container it happened in; stops yajl. */
static int refuse(struct reader *r, unsigned line, const char *why)
{
    char pointer[ERR_POINTER_SIZE];

    r->ret = err_at(r->err, json_pointer(innermost(r), pointer, sizeof(pointer)), 0,
                    "%s line %u: %s", r->what, line, why);
    return 0;
}

/* ---- the tree ----------------------------------------------------------------------------- */

/* One allocation a value: the node, its name and its text behind it. */
static struct json *new_node(struct reader *r, enum json_type type, const char *text, size_t len)
{
    bool has_text = type == JSON_STRING || type == JSON_NUMBER;
    size_t key_size = r->key ? r->key_len + 1 : 0;
    struct json *n = arena_alloc(r->arena, sizeof(*n) + key_size + (has_text ? len + 1 : 0));
    char *tail = (char *)(n + 1);

    n->type = type;
    n->line = current_line(r);
    if (r->key) {
        memcpy(tail, r->key, r->key_len);
        n->key = tail;
        tail += key_size;
        r->key = NULL;
    }
    if (has_text) {
        if (len)
            memcpy(tail, text, len);
        n->text = tail;
        n->len = len;
    }
    return n;
}

static struct json *add_node(struct reader *r, enum json_type type, const char *text, size_t len)
{
    struct json *n = new_node(r, type, text, len);
    struct json *parent;

    if (!r->depth) {
        r->root = n;
        return n;
    }
    parent = r->open[r->depth - 1];
    n->parent = parent;
    n->index = parent->count++;
    if (r->last[r->depth - 1])
        r->last[r->depth - 1]->next = n;
    else
        parent->child = n;
    r->last[r->depth - 1] = n;
    return n;
}

static int open_container(struct reader *r, enum json_type type)
{
    if (r->depth == JSON_MAX_DEPTH) {
        char why[64];

        base_format(why, sizeof(why), "nested deeper than %d levels", JSON_MAX_DEPTH);
        return refuse(r, current_line(r), why);
    }
    r->open[r->depth] = add_node(r, type, NULL, 0);
    r->last[r->depth] = NULL;
    r->depth++;
    return 1;
}

/* ---- names must not repeat (runtime-spec glossary "JSON") --------------------------------- */

static int compare_names(const void *a, const void *b)
{
    const struct json *const *x = a, *const *y = b;
    int order = strcmp((*x)->key, (*y)->key);

    if (order)
        return order;
    return (*x)->index < (*y)->index ? -1 : 1;
}

/* The first member, in document order, whose name an earlier one has; NULL when there is none. */
static struct json *repeated_of_few(const struct json *object)
{
    for (struct json *m = object->child; m; m = m->next) {
        for (const struct json *before = object->child; before != m; before = before->next) {
            if (!strcmp(before->key, m->key))
                return m;
        }
    }
    return NULL;
}

static struct json *repeated_of_many(struct arena *a, const struct json *object)
{
    struct json **sorted = arena_array(a, object->count, sizeof(struct json *));
    struct json *found = NULL;
    size_t n = 0;

    for (struct json *m = object->child; m; m = m->next)
        sorted[n++] = m;
    qsort(sorted, n, sizeof(struct json *), compare_names);
    for (size_t i = 1; i < n; i++) {
        if (strcmp(sorted[i - 1]->key, sorted[i]->key))
            continue;
        if (!found || sorted[i]->index < found->index)
            found = sorted[i];
    }
    return found;
}

static int refuse_repeated(struct reader *r, const struct json *object, struct json *again)
{
    char pointer[ERR_POINTER_SIZE];
    const struct json *first = json_get(object, again->key);

    r->ret = err_at(r->err, json_pointer(again, pointer, sizeof(pointer)), 0,
                    "%s line %u: the name occurs twice in one object, first on line %u", r->what,
                    again->line, first->line);
    return 0;
}

/* ---- yajl's events ------------------------------------------------------------------------ */

static int on_null(void *ctx)
{
    add_node(ctx, JSON_NULL, NULL, 0);
    return 1;
}

static int on_boolean(void *ctx, int value)
{
    add_node(ctx, JSON_BOOL, NULL, 0)->boolean = value != 0;
    return 1;
}

static int on_number(void *ctx, const char *text, size_t len)
{
    add_node(ctx, JSON_NUMBER, text, len);
    return 1;
}

static int on_string(void *ctx, const unsigned char *text, size_t len)
{
    add_node(ctx, JSON_STRING, (const char *)text, len);
    return 1;
}

static int on_start_map(void *ctx)
{
    return open_container(ctx, JSON_OBJECT);
}

static int on_start_array(void *ctx)
{
    return open_container(ctx, JSON_ARRAY);
}

static int on_map_key(void *ctx, const unsigned char *name, size_t len)
{
    struct reader *r = ctx;
    const char *key = (const char *)name;

    /* Names are C strings from here on: "cwd\u0000x" must not be taken for "cwd". */
    if (memchr(key, '\0', len))
        return refuse(r, current_line(r), "a name in this object holds a NUL byte");
    /* A name with escapes lives in yajl's buffer, which the next token overwrites. */
    r->key = (uintptr_t)key - (uintptr_t)r->data < r->len ? key : arena_strndup(r->arena, key, len);
    r->key_len = len;
    return 1;
}

static int on_end_map(void *ctx)
{
    struct reader *r = ctx;
    struct json *object = r->open[--r->depth];
    struct json *again = object->count <= PAIRWISE_NAMES ? repeated_of_few(object)
                                                         : repeated_of_many(r->arena, object);

    return again ? refuse_repeated(r, object, again) : 1;
}

static int on_end_array(void *ctx)
{
    struct reader *r = ctx;

    r->depth--;
    return 1;
}

static const yajl_callbacks events = {
    .yajl_null = on_null,
    .yajl_boolean = on_boolean,
    .yajl_number = on_number,
    .yajl_string = on_string,
    .yajl_start_map = on_start_map,
    .yajl_map_key = on_map_key,
    .yajl_end_map = on_end_map,
    .yajl_start_array = on_start_array,
    .yajl_end_array = on_end_array,
};

/* ---- the text before yajl sees it --------------------------------------------------------- */

static int hex_digit(char c)
{
    if (c >= '0' && c <= '9')
        return c - '0';
    c |= 0x20;
    return c >= 'a' && c <= 'f' ? c - 'a' + 10 : -1;
}

/* The value of a \uXXXX escape at text, -1 when there is none. */
static int escape_value(const char *text, size_t len)
{
    int value = 0;

    if (len < 6 || text[0] != '\\' || text[1] != 'u')
        return -1;
    for (int i = 2; i < 6; i++) {
        int digit = hex_digit(text[i]);

        if (digit < 0)
            return -1;
        value = value * 16 + digit;
    }
    return value;
}

/*
 * Length of the escape at text; 0 for half a surrogate pair. A malformed escape is left to yajl. A
 * backslash outside a string is no JSON either, so that strings need not be told apart here.
 */
static size_t escape_len(const char *text, size_t len)
{
    int value = escape_value(text, len);

    if (value >= 0xDC00 && value <= 0xDFFF)
        return 0;
    if (value >= 0xD800 && value <= 0xDBFF) {
        int low = escape_value(text + 6, len - 6);

        return low >= 0xDC00 && low <= 0xDFFF ? 12 : 0;
    }
    if (value >= 0)
        return 6;
    return len < 2 ? len : 2;
}

/* Offset of the first half surrogate pair, len when there is none. */
static size_t find_half_pair(const char *data, size_t len)
{
    size_t at = 0;

    while (at < len) {
        const char *slash = memchr(data + at, '\\', len - at);
        size_t n;

        if (!slash)
            return len;
        at = (size_t)(slash - data);
        n = escape_len(slash, len - at);
        if (!n)
            return at;
        at += n;
    }
    return len;
}

static int check_text(struct reader *r)
{
    size_t at;

    if (r->len >= 3 && !memcmp(r->data, "\xEF\xBB\xBF", 3)) {
        return err_set(r->err, 0,
                       "%s line 1: starts with a UTF-8 byte order mark, which JSON "
                       "forbids (RFC 8259 section 8.1): save it without one",
                       r->what);
    }
    at = utf8_valid_len(r->data, r->len);
    if (at < r->len) {
        return err_set(r->err, 0, "%s line %u: byte 0x%02x at offset %zu is not UTF-8", r->what,
                       1 + count_newlines(r->data, at), (unsigned)(unsigned char)r->data[at], at);
    }
    at = find_half_pair(r->data, r->len);
    if (at < r->len) {
        return err_set(r->err, 0, "%s line %u: the escape %.6s is half of a surrogate pair",
                       r->what, 1 + count_newlines(r->data, at), r->data + at);
    }
    return 0;
}

/* ---- parsing ------------------------------------------------------------------------------ */

/* yajl says "parse error: trailing garbage\n": the sentence wants the part in the middle. */
static int refuse_syntax(struct reader *r)
{
    unsigned char *text = yajl_get_error(r->yajl, 0, NULL, 0);
    char why[160];
    char *start = strstr((char *)text, ": ");

    base_format(why, sizeof(why), "%s", start ? start + 2 : (char *)text);
    why[strcspn(why, "\n")] = '\0';
    refuse(r, current_line(r), why[0] ? why : "no JSON");
    yajl_free_error(r->yajl, text);
    return r->ret;
}

int json_parse(struct arena *a, const char *data, size_t len, const char *what, struct json **out,
               struct err *e)
{
    struct err ignored;
    struct reader r = {
        .arena = a, .data = data, .len = len, .what = what, .line = 1, .err = e ? e : &ignored
    };
    yajl_alloc_funcs pool = base_pool(a);
    yajl_status status;
    int ret;

    if (len > UINT_MAX) /* counts and lines are unsigned */
        return err_set(r.err, EFBIG, "cannot parse %s", what);
    ret = check_text(&r);
    if (ret < 0)
        return ret;
    r.yajl = yajl_alloc(&events, &pool, &r);
    yajl_config(r.yajl, yajl_dont_validate_strings, 1); /* check_text did, and stricter */
    status = yajl_parse(r.yajl, (const unsigned char *)data, len);
    if (status == yajl_status_ok) {
        current_line(&r);
        r.finishing = true;
        status = yajl_complete_parse(r.yajl);
    }
    if (status != yajl_status_ok)
        ret = r.ret < 0 ? r.ret : refuse_syntax(&r);
    yajl_free(r.yajl);
    if (ret < 0)
        return ret;
    *out = r.root;
    return 0;
}

/* ---- reading the tree --------------------------------------------------------------------- */

const struct json *json_get(const struct json *obj, const char *name)
{
    if (!obj || obj->type != JSON_OBJECT)
        return NULL;
    for (const struct json *m = obj->child; m; m = m->next) {
        if (!strcmp(m->key, name))
            return m;
    }
    return NULL;
}

/* Appends one character that may not fit; returns the length it would have. */
static size_t put(char *buf, size_t size, size_t at, char c)
{
    if (at + 1 < size)
        buf[at] = c;
    return at + 1;
}

static size_t put_token(char *buf, size_t size, size_t at, const char *token)
{
    at = put(buf, size, at, '/');
    for (; *token; token++) {
        if (*token == '~' || *token == '/') {
            at = put(buf, size, at, '~');
            at = put(buf, size, at, *token == '~' ? '0' : '1');
        } else {
            at = put(buf, size, at, *token);
        }
    }
    return at;
}

/* Writes as much as fits and returns the length of the whole pointer, like base_format. */
static size_t write_pointer(const struct json *node, char *buf, size_t size)
{
    const struct json *path[JSON_MAX_DEPTH + 1];
    size_t depth = 0, at = 0;

    for (; node && node->parent && depth < COUNT_OF(path); node = node->parent)
        path[depth++] = node;
    while (depth > 0) {
        char index[16];

        node = path[--depth];
        if (node->parent->type == JSON_ARRAY) {
            base_format(index, sizeof(index), "%u", node->index);
            at = put_token(buf, size, at, index);
        } else {
            at = put_token(buf, size, at, node->key);
        }
    }
    if (size)
        buf[at < size ? at : size - 1] = '\0';
    return at;
}

const char *json_pointer(const struct json *node, char *buf, size_t size)
{
    write_pointer(node, buf, size);
    return buf;
}

char *json_pointer_dup(struct arena *a, const struct json *node)
{
    size_t size = write_pointer(node, NULL, 0) + 1;
    char *pointer = arena_alloc(a, size);

    write_pointer(node, pointer, size);
    return pointer;
}

int json_u64(const struct json *node, uint64_t *out)
{
    if (!node || node->type != JSON_NUMBER)
        return -EINVAL;
    if (node->text[0] == '-') {
        int64_t negative;
        int ret = json_i64(node, &negative);

        if (ret < 0 || negative < 0)
            return ret < 0 ? ret : -ERANGE;
        *out = 0; /* "-0" */
        return 0;
    }
    return str_to_u64(node->text, out);
}

int json_i64(const struct json *node, int64_t *out)
{
    if (!node || node->type != JSON_NUMBER)
        return -EINVAL;
    return str_to_i64(node->text, out);
}
