/* SPDX-License-Identifier: Apache-2.0 */
/*
 * From a JSON tree to struct spec, driven by the tables of fields.c. Members are taken in document
 * order, so that faults are found in document order; strings are borrowed from the tree, which
 * lives in the same arena.
 */
#include "spec/internal.h"

#include <errno.h>
#include <string.h>

enum {
    SHOWN_BYTES = 80, /* of a bad value, in a sentence */
};

struct decoder {
    struct arena *arena;
    struct spec_faults *faults;
    bool remarks; /* somebody wants to know of unknown properties */
};

static void decode_object(struct decoder *d, const struct json *node,
                          const struct spec_table *table, void *base);

/* ---- faults ------------------------------------------------------------------------------- */

static void fault_at(struct decoder *d, const struct json *node, const char *text)
{
    spec_fault_add(d->faults, d->arena, json_pointer_dup(d->arena, node), node->line, false, text);
}

/* The beginning of a value, however long its author made it; cut between characters. */
static const char *shown(struct decoder *d, const char *value)
{
    if (strlen(value) <= SHOWN_BYTES)
        return value;
    return arena_format(d->arena, "%.*s...", (int)utf8_valid_len(value, SHOWN_BYTES), value);
}

static const char *type_name(const struct json *node)
{
    switch (node->type) {
    case JSON_NULL:
        return "null";
    case JSON_BOOL:
        return node->boolean ? "true" : "false";
    case JSON_NUMBER:
        return "a number";
    case JSON_STRING:
        return "a string";
    case JSON_ARRAY:
        return "an array";
    case JSON_OBJECT:
        return "an object";
    }
    return "unknown";
}

static bool is_type(struct decoder *d, const struct json *node, enum json_type type,
                    const char *wanted)
{
    if (node->type == type)
        return true;
    fault_at(d, node, arena_format(d->arena, "must be %s, not %s", wanted, type_name(node)));
    return false;
}

static void missing(struct decoder *d, const struct json *object, const char *key)
{
    const char *pointer = arena_format(d->arena, "%s/%s", json_pointer_dup(d->arena, object), key);

    spec_fault_add(d->faults, d->arena, pointer, object->line, false, "is required but missing");
}

static void unknown(struct decoder *d, const struct json *member)
{
    if (!d->remarks)
        return;
    spec_fault_add(d->faults, d->arena, json_pointer_dup(d->arena, member), member->line, true,
                   "unknown property, ignored");
}

/* ---- single values ------------------------------------------------------------------------ */

static void store(void *at, unsigned width, uint64_t value)
{
    if (width == 2)
        *(uint16_t *)at = (uint16_t)value;
    else if (width == 4)
        *(uint32_t *)at = (uint32_t)value;
    else
        *(uint64_t *)at = value;
}

/* The value as two's complement in *out; signed when the row allows negative numbers. */
static bool read_int(struct decoder *d, const struct json *node, const struct spec_field *f,
                     uint64_t *out)
{
    int64_t negative = 0;
    int ret;

    if (!is_type(d, node, JSON_NUMBER, "an integer"))
        return false;
    if (f->min < 0) {
        ret = json_i64(node, &negative);
        if (!ret && (negative < f->min || (negative > 0 && (uint64_t)negative > f->max)))
            ret = -ERANGE;
        *out = (uint64_t)negative;
    } else {
        ret = json_u64(node, out);
        if (!ret && (*out < (uint64_t)f->min || *out > f->max))
            ret = -ERANGE;
    }
    if (ret == -ERANGE) {
        fault_at(d, node,
                 arena_format(d->arena, "%s is out of range, must be %lld to %llu",
                              shown(d, node->text), (long long)f->min, (unsigned long long)f->max));
    } else if (ret) {
        fault_at(d, node,
                 arena_format(d->arena, "must be an integer, not %s", shown(d, node->text)));
    }
    return !ret;
}

static void not_in_names(struct decoder *d, const struct json *node, const char *const *names)
{
    const char *list = "";

    for (; *names; names++)
        list = arena_format(d->arena, "%s%s%s", list, *list ? ", " : "", *names);
    fault_at(
        d, node,
        arena_format(d->arena, "'%s' is unknown, must be one of %s", shown(d, node->text), list));
}

/* The text of a string that satisfies its row, NULL after a fault. */
static const char *read_string(struct decoder *d, const struct json *node,
                               const struct spec_field *f)
{
    if (!is_type(d, node, JSON_STRING, "a string"))
        return NULL;
    /* These become paths, arguments and environment: C strings. What follows a NUL would vanish. */
    if (strlen(node->text) != node->len) {
        fault_at(d, node, "must not hold a NUL byte (\\u0000)");
        return NULL;
    }
    if (f->names && !spec_name_in(f->names, node->text)) {
        not_in_names(d, node, f->names);
        return NULL;
    }
    if (f->rule && !f->rule(node->text)) {
        fault_at(d, node, arena_format(d->arena, "'%s' %s", shown(d, node->text), f->must));
        return NULL;
    }
    return node->text;
}

static void decode_string(struct decoder *d, const struct json *node, const struct spec_field *f,
                          const char **out)
{
    if (node->type == JSON_STRING && node->len == 0 && !f->required)
        return; /* as if absent */
    *out = read_string(d, node, f);
}

static void decode_choice(struct decoder *d, const struct json *node, const struct spec_field *f,
                          unsigned *out)
{
    const char *list = "";

    if (!is_type(d, node, JSON_STRING, "a string"))
        return;
    for (const struct spec_choice *c = f->choices; c->name; c++) {
        if (strlen(c->name) == node->len && !memcmp(c->name, node->text, node->len)) {
            *out = c->value;
            return;
        }
        list = arena_format(d->arena, "%s%s%s", list, *list ? ", " : "", c->name);
    }
    fault_at(
        d, node,
        arena_format(d->arena, "'%s' is unknown, must be one of %s", shown(d, node->text), list));
}

/* ---- many values -------------------------------------------------------------------------- */

static void decode_strings(struct decoder *d, const struct json *node, const struct spec_field *f,
                           struct strs *out)
{
    const char **v;
    size_t n = 0;

    if (!is_type(d, node, JSON_ARRAY, "an array of strings"))
        return;
    v = arena_array(d->arena, (size_t)node->count + 1, sizeof(*v));
    for (const struct json *c = node->child; c; c = c->next) {
        const char *text = read_string(d, c, f);

        v[n++] = text ? text : ""; /* indices stay the document's */
    }
    *out = (struct strs){ .v = v, .n = n, .set = true };
}

static void decode_u32s(struct decoder *d, const struct json *node, const struct spec_field *f,
                        struct spec_u32s *out)
{
    if (!is_type(d, node, JSON_ARRAY, "an array of integers"))
        return;
    out->v = arena_array(d->arena, node->count, sizeof(*out->v));
    for (const struct json *c = node->child; c; c = c->next) {
        uint64_t value;

        if (read_int(d, c, f, &value))
            out->v[out->n++] = (uint32_t)value;
    }
}

static void decode_pairs(struct decoder *d, const struct json *node, const struct spec_field *f,
                         struct spec_pairs *out)
{
    if (!is_type(d, node, JSON_OBJECT, "an object of strings"))
        return;
    out->v = arena_array(d->arena, node->count, sizeof(*out->v));
    for (const struct json *c = node->child; c; c = c->next) {
        const char *value = read_string(d, c, f);

        if (!c->key[0])
            fault_at(d, c, "the key must not be empty");
        if (value)
            out->v[out->n++] = (struct spec_pair){ c->key, value };
    }
}

/* An array of objects, or an object of objects whose names go to key_offset. */
static void decode_many(struct decoder *d, const struct json *node, const struct spec_field *f,
                        char *base)
{
    const struct spec_table *table = f->table;
    bool map = f->kind == SPEC_MAP;
    char *v;
    size_t n = 0;

    if (!is_type(d, node, map ? JSON_OBJECT : JSON_ARRAY,
                 map ? "an object of objects" : "an array of objects"))
        return;
    v = arena_array(d->arena, node->count, table->size);
    for (const struct json *c = node->child; c; c = c->next) {
        char *at = v + n++ * table->size;

        if (map)
            *(const char **)(at + table->key_offset) = c->key;
        if (is_type(d, c, JSON_OBJECT, "an object"))
            decode_object(d, c, table, at);
    }
    *(void **)(base + f->offset) = v;
    *(size_t *)(base + f->count_offset) = n;
}

/* ---- objects ------------------------------------------------------------------------------ */

static void decode_field(struct decoder *d, const struct json *node, const struct spec_field *f,
                         char *base)
{
    void *at = base + f->offset;
    uint64_t value;

    switch (f->kind) {
    case SPEC_BOOL:
        if (!is_type(d, node, JSON_BOOL, "true or false"))
            return;
        *(bool *)at = node->boolean;
        break;
    case SPEC_INT:
        if (!read_int(d, node, f, &value))
            return;
        store(at, f->width, value);
        break;
    case SPEC_STRING:
        decode_string(d, node, f, at);
        break;
    case SPEC_CHOICE:
        decode_choice(d, node, f, at);
        break;
    case SPEC_STRINGS:
        decode_strings(d, node, f, at);
        break;
    case SPEC_U32S:
        decode_u32s(d, node, f, at);
        break;
    case SPEC_PAIRS:
        decode_pairs(d, node, f, at);
        break;
    case SPEC_OBJECT:
        if (is_type(d, node, JSON_OBJECT, "an object"))
            decode_object(d, node, f->table, at);
        break;
    case SPEC_ARRAY:
    case SPEC_MAP:
        decode_many(d, node, f, base);
        break;
    }
    if (f->set_offset != SPEC_NO_OFFSET)
        *(bool *)(base + f->set_offset) = true;
}

/* Engines write keys in the schema's order: the search goes on where the last one ended. */
static const struct spec_field *find_field(const struct spec_table *table, const char *key,
                                           size_t *next)
{
    for (size_t tried = 0; tried < table->n_fields; tried++) {
        size_t i = (*next + tried) % table->n_fields;

        if (!strcmp(table->fields[i].key, key)) {
            *next = i + 1;
            return &table->fields[i];
        }
    }
    return NULL;
}

static void decode_object(struct decoder *d, const struct json *node,
                          const struct spec_table *table, void *base)
{
    size_t next = 0;
    uint64_t seen = 0; /* by row; no table has 64 */

    if (table->set_offset != SPEC_NO_OFFSET)
        *(bool *)((char *)base + table->set_offset) = true;
    for (const struct json *c = node->child; c; c = c->next) {
        const struct spec_field *f = find_field(table, c->key, &next);

        if (!f) {
            unknown(d, c);
            continue;
        }
        seen |= UINT64_C(1) << (f - table->fields);
        decode_field(d, c, f, base);
    }
    for (size_t i = 0; i < table->n_fields; i++) {
        if (table->fields[i].required && !(seen & UINT64_C(1) << i))
            missing(d, node, table->fields[i].key);
    }
    if (table->finish)
        table->finish(base);
}

/* ---- the document ------------------------------------------------------------------------- */

/* The tree did not come about: the sentence has the line already. */
static int refuse_document(struct arena *a, struct spec_faults *faults, struct err *syntax,
                           struct err *e)
{
    if (faults) {
        spec_fault_add(faults, a, arena_strdup(a, syntax->pointer), 0, false,
                       arena_strdup(a, syntax->text));
    }
    if (e)
        *e = *syntax;
    return -syntax->code;
}

/* Bad values are known; what else is wrong is told in the same go, as far as it can be judged. */
static void follow_up(const struct spec *s, struct arena *a, struct spec_faults *faults)
{
    struct spec_faults known = *faults, more;

    if (faults->errors > SPEC_FOLLOWED_UP_ERRORS)
        return;
    spec_faults_init(&more);
    spec_check_rules(s, a, &more, &known);
    spec_unsupported(s, a, &more);
    spec_faults_join(faults, &more);
}

int spec_parse(struct arena *a, const char *data, size_t len, struct spec **out,
               struct spec_faults *faults, struct err *e)
{
    struct spec_faults own;
    struct decoder d = { .arena = a, .faults = faults ? faults : &own, .remarks = faults != NULL };
    struct err syntax = { 0 };
    struct spec *s = arena_alloc(a, sizeof(*s));
    struct json *document;
    size_t before;

    if (json_parse(a, data, len, "config.json", &document, &syntax) < 0)
        return refuse_document(a, faults, &syntax, e);
    spec_faults_init(&own);
    before = d.faults->errors;
    s->document = document;
    if (is_type(&d, document, JSON_OBJECT, "an object"))
        decode_object(&d, document, &spec_document_table, s);
    spec_faults_sort(d.faults);
    if (d.faults->errors == before) {
        *out = s;
        return 0;
    }
    spec_faults_result(d.faults, e);
    if (faults && document->type == JSON_OBJECT) {
        follow_up(s, a, faults);
        *out = s;
    }
    return -EINVAL;
}

/* As a member of a document, so that pointers say "/process/cwd". */
int spec_parse_process(struct arena *a, const char *data, size_t len, struct spec_process *out,
                       struct err *e)
{
    struct spec_faults faults;
    struct decoder d = { .arena = a, .faults = &faults };
    struct json *node, *document = arena_alloc(a, sizeof *document);
    size_t next = 0;
    int r = json_parse(a, data, len, "the process file", &node, e);

    if (r < 0)
        return r;
    spec_faults_init(&faults);
    document->type = JSON_OBJECT;
    node->parent = document;
    node->key = "process";
    *out = (struct spec_process){ 0 };
    if (is_type(&d, node, JSON_OBJECT, "an object"))
        decode_object(&d, node, find_field(&spec_document_table, "process", &next)->table, out);
    for (struct spec_fault *f = faults.first; f; f = f->next)
        f->line = 0; /* it would be called config.json's */
    return faults.errors ? spec_faults_result(&faults, e) : 0;
}

int spec_parse_resources(struct arena *a, const char *data, size_t len, struct spec_resources *out,
                         struct err *e)
{
    struct spec_faults faults;
    struct decoder d = { .arena = a, .faults = &faults };
    struct json *node, *document = arena_alloc(a, sizeof *document);
    struct json *parent = arena_alloc(a, sizeof *parent);
    struct spec *s = arena_alloc(a, sizeof *s);
    struct spec_checker c = { .s = s, .arena = a, .faults = &faults, .known = &faults };
    int r = json_parse(a, data, len, "the resources", &node, e);

    if (r < 0)
        return r;
    spec_faults_init(&faults);
    document->type = parent->type = JSON_OBJECT; /* for the pointers in sentences */
    parent->parent = document;
    parent->key = "linux";
    node->parent = parent;
    node->key = "resources";
    if (is_type(&d, node, JSON_OBJECT, "an object"))
        decode_object(&d, node, &spec_resources_table, &s->linux.resources);
    spec_check_resources(&c);
    for (struct spec_fault *f = faults.first; f; f = f->next)
        f->line = 0; /* it would be called config.json's */
    *out = s->linux.resources;
    return faults.errors ? spec_faults_result(&faults, e) : 0;
}
