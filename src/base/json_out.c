/* SPDX-License-Identifier: Apache-2.0 */
/*
 * JSON out: a thin hand on yajl_gen (libyajl 2.1). yajl itself checks that the calls make one
 * document; a status other than ok is a mistake of the caller and asserted.
 */
#include "base/base.h"
#include "base/internal.h"

#include <assert.h>
#include <stdlib.h>
#include <string.h>
#include <yajl/yajl_gen.h>

/* yajl's generator stops at 128 levels, its parser does not: deeper parts are written as text. */
enum { GENERATOR_DEPTH = 120 };

struct json_out {
    yajl_gen gen;
    const char *pending; /* "{}" or "[]": opened, and nothing in it yet */
    unsigned depth;
};

static void done(yajl_gen_status status)
{
    assert(status == yajl_gen_status_ok);
    (void)status;
}

static void *checked(void *memory)
{
    if (!memory)
        base_out_of_memory();
    return memory;
}

static struct json_out *prepare(struct json_out *j, const yajl_alloc_funcs *memory, bool pretty)
{
    j->gen = checked(yajl_gen_alloc(memory));
    if (pretty) {
        yajl_gen_config(j->gen, yajl_gen_beautify, 1);
        yajl_gen_config(j->gen, yajl_gen_indent_string, "\t");
    }
    return j;
}

struct json_out *json_out_new(bool pretty)
{
    return prepare(checked(calloc(1, sizeof(struct json_out))), NULL, pretty);
}

struct json_out *json_out_in(struct arena *a, bool pretty)
{
    yajl_alloc_funcs pool = base_pool(a);

    return prepare(arena_alloc(a, sizeof(struct json_out)), &pool, pretty);
}

void json_out_free(struct json_out *j)
{
    if (!j)
        return;
    yajl_gen_free(j->gen);
    free(j);
}

/* A container is opened late, so that an empty one prints as [] also when pretty. */
static void open_pending(struct json_out *j)
{
    const char *pending = j->pending;

    j->pending = NULL;
    if (pending)
        done(pending[0] == '{' ? yajl_gen_map_open(j->gen) : yajl_gen_array_open(j->gen));
}

/* Text of any origin: every byte that is no part of well-formed UTF-8 becomes U+FFFD. */
static void add_text(struct json_out *j, const char *text, size_t len)
{
    static const char replacement[] = "\xEF\xBF\xBD";
    size_t good = utf8_valid_len(text, len);
    AUTO_STRBUF struct strbuf clean = { 0 };

    if (good == len) {
        done(yajl_gen_string(j->gen, (const unsigned char *)text, len));
        return;
    }
    while (good < len) {
        strbuf_add(&clean, text, good);
        strbuf_add(&clean, replacement, sizeof(replacement) - 1);
        text += good + 1;
        len -= good + 1;
        good = utf8_valid_len(text, len);
    }
    strbuf_add(&clean, text, len);
    done(yajl_gen_string(j->gen, (const unsigned char *)clean.ptr, clean.len));
}

/* Every value starts here. */
static void begin_value(struct json_out *j, const char *key)
{
    open_pending(j);
    if (key)
        add_text(j, key, strlen(key));
}

static void open_container(struct json_out *j, const char *key, const char *empty)
{
    begin_value(j, key);
    j->pending = empty;
    j->depth++;
}

static void close_container(struct json_out *j, const char *empty)
{
    j->depth--;
    if (j->pending) {
        assert(j->pending == empty);
        j->pending = NULL;
        done(yajl_gen_number(j->gen, empty, 2)); /* yajl writes a number's text as it is */
        return;
    }
    done(empty[0] == '{' ? yajl_gen_map_close(j->gen) : yajl_gen_array_close(j->gen));
}

static const char empty_object[] = "{}", empty_array[] = "[]";

void json_open_object(struct json_out *j, const char *key)
{
    open_container(j, key, empty_object);
}

void json_close_object(struct json_out *j)
{
    close_container(j, empty_object);
}

void json_open_array(struct json_out *j, const char *key)
{
    open_container(j, key, empty_array);
}

void json_close_array(struct json_out *j)
{
    close_container(j, empty_array);
}

void json_add_string(struct json_out *j, const char *key, const char *value)
{
    begin_value(j, key);
    if (value)
        add_text(j, value, strlen(value));
    else
        done(yajl_gen_null(j->gen));
}

static void add_number(struct json_out *j, const char *key, const char *text, size_t len)
{
    begin_value(j, key);
    done(yajl_gen_number(j->gen, text, len));
}

void json_add_u64(struct json_out *j, const char *key, uint64_t value)
{
    char text[24];

    add_number(j, key, text, base_format(text, sizeof(text), "%llu", (unsigned long long)value));
}

void json_add_i64(struct json_out *j, const char *key, int64_t value)
{
    char text[24];

    add_number(j, key, text, base_format(text, sizeof(text), "%lld", (long long)value));
}

void json_add_bool(struct json_out *j, const char *key, bool value)
{
    begin_value(j, key);
    done(yajl_gen_bool(j->gen, value));
}

void json_add_strings(struct json_out *j, const char *key, const char *const *strv)
{
    json_open_array(j, key);
    for (; strv && *strv; strv++)
        json_add_string(j, NULL, *strv);
    json_close_array(j);
}

static void add_container(struct json_out *j, const char *key, const struct json *value)
{
    bool object = value->type == JSON_OBJECT;

    if (object)
        json_open_object(j, key);
    else
        json_open_array(j, key);
    for (const struct json *c = value->child; c; c = c->next)
        json_add_value(j, object ? c->key : NULL, c);
    if (object)
        json_close_object(j);
    else
        json_close_array(j);
}

/* Below yajl's depth: rendered by a generator of its own and written as one piece of text. */
static void add_deep(struct json_out *j, const char *key, const struct json *value)
{
    struct json_out *inner = json_out_new(false);
    const char *text;
    size_t len;

    json_add_value(inner, NULL, value);
    text = json_out_text(inner, &len);
    add_number(j, key, text, len);
    json_out_free(inner);
}

void json_add_value(struct json_out *j, const char *key, const struct json *value)
{
    switch (value->type) {
    case JSON_NULL:
        json_add_string(j, key, NULL);
        break;
    case JSON_BOOL:
        json_add_bool(j, key, value->boolean);
        break;
    case JSON_NUMBER:
        add_number(j, key, value->text, value->len);
        break;
    case JSON_STRING:
        begin_value(j, key);
        add_text(j, value->text, value->len);
        break;
    case JSON_ARRAY:
    case JSON_OBJECT:
        if (j->depth >= GENERATOR_DEPTH)
            add_deep(j, key, value);
        else
            add_container(j, key, value);
        break;
    }
}

const char *json_out_text(struct json_out *j, size_t *len)
{
    const unsigned char *text;
    size_t n;

    open_pending(j);
    done(yajl_gen_get_buf(j->gen, &text, &n));
    if (len)
        *len = n;
    return (const char *)text;
}
