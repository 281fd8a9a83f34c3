/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Rendering for people and programs. It knows operands only through plan_fields(), so an operand
 * cannot be left out of what `teca explain` says.
 */
#include "plan/internal.h"

#include <string.h>
#include <sys/sysmacros.h>

enum {
    MAX_COLUMN = 72,  /* a longer operation pushes the rest of its row aside */
    MAX_ELEMENTS = 8, /* of a vector in the table; JSON has all */
};

static const void *field_at(const struct step *s, const struct plan_field *f)
{
    return (const char *)s + f->offset;
}

static const char *field_str(const struct step *s, const struct plan_field *f)
{
    return *(const char *const *)field_at(s, f);
}

static const char *const *field_strv(const struct step *s, const struct plan_field *f)
{
    return *(const char *const *const *)field_at(s, f);
}

static uint64_t field_u64(const struct step *s, const struct plan_field *f)
{
    return *(const uint64_t *)field_at(s, f);
}

static int64_t field_i64(const struct step *s, const struct plan_field *f)
{
    return *(const int64_t *)field_at(s, f);
}

/* ---- fields whose number has a name of its own --------------------------------------------- */

enum { SPECIAL_SIZE = 48 };

/* "1:3" for makedev(3), "RLIMIT_NOFILE": what a number stands for, NULL when for nothing else. */
static const char *special(const struct step *s, const struct plan_field *f, char buf[SPECIAL_SIZE])
{
    if (s->op == OP_DEVICE && str_eq(f->name, "dev")) {
        base_format(buf, SPECIAL_SIZE, "%u:%u", major(s->device.dev), minor(s->device.dev));
        return buf;
    }
    if (s->op == OP_RLIMIT && str_eq(f->name, "resource"))
        return plan_rlimit_name(s->rlimit.resource);
    return NULL;
}

/* ---- text ---------------------------------------------------------------------------------- */

/*
 * The config's author controls every string: nothing of it may reach the terminal as a command.
 * C0, DEL, C1 (U+0080 to U+009F, 0xc2 and a second byte below 0xa0) and what is no UTF-8 at all
 * are not harmless. Length of the harmless character that the text starts with, 0: it is none.
 */
static size_t harmless_len(const char *text)
{
    const unsigned char *c = (const unsigned char *)text;
    size_t len = *c < 0x80 ? 1 : *c < 0xe0 ? 2 : *c < 0xf0 ? 3 : 4;

    if (*c < 0x20 || *c == 0x7f || (*c == 0xc2 && c[1] < 0xa0))
        return 0;
    return utf8_valid_len(text, strnlen(text, len)) == len ? len : 0;
}

static void add_escaped(struct strbuf *out, const char *text)
{
    while (*text != '\0') {
        size_t len = harmless_len(text);

        if (*text == '\n')
            strbuf_str(out, "\\n");
        else if (*text == '\t')
            strbuf_str(out, "\\t");
        else if (*text == '"' || *text == '\\')
            strbuf_format(out, "\\%c", *text);
        else if (len == 0)
            strbuf_format(out, "\\x%02x", (unsigned)(unsigned char)*text);
        else
            strbuf_add(out, text, len);
        text += len > 0 ? len : 1;
    }
}

static bool needs_quotes(const char *text)
{
    return text[0] == '\0' || text[strcspn(text, " \t\n\"\\[]")] != '\0';
}

static void add_text(struct strbuf *out, const char *text)
{
    bool quoted = needs_quotes(text);

    if (quoted)
        strbuf_str(out, "\"");
    add_escaped(out, text);
    if (quoted)
        strbuf_str(out, "\"");
}

static void add_vector(struct strbuf *out, const char *const *strv)
{
    size_t n = 0, left = 0;

    strbuf_str(out, "[");
    for (; n < MAX_ELEMENTS && strv[n] != NULL; n++) {
        if (n > 0)
            strbuf_str(out, " ");
        add_text(out, strv[n]);
    }
    while (strv[n + left] != NULL)
        left++;
    if (left > 0)
        strbuf_format(out, " and %zu more", left);
    strbuf_str(out, "]");
}

static void add_flags(struct strbuf *out, enum field_type type, uint64_t left)
{
    const struct flag_name *table = plan_flag_names(type);
    char buf[FLAG_NUMBER_SIZE];
    const char *separator = "", *name;

    if (left == 0)
        strbuf_str(out, "none");
    while ((name = plan_next_flag(table, &left, buf)) != NULL) {
        strbuf_format(out, "%s%s", separator, name);
        separator = ",";
    }
}

/* The size of a DATA is the UINT beside it that is called NAME_size. */
static const struct plan_field *size_of_data(const struct plan_field *fields,
                                             const struct plan_field *data)
{
    size_t len = strlen(data->name);

    for (; fields->name != NULL; fields++) {
        if (fields->type == FIELD_UINT && str_starts(fields->name, data->name) &&
            str_eq(fields->name + len, "_size"))
            return fields;
    }
    return NULL;
}

static bool is_size_of_data(const struct plan_field *fields, const struct plan_field *f)
{
    for (const struct plan_field *data = fields; data->name != NULL; data++) {
        if (data->type == FIELD_DATA && size_of_data(fields, data) == f)
            return true;
    }
    return false;
}

/* What is absent is not said; a number is never absent, and an empty capability set means a lot. */
static bool is_absent(const struct step *s, const struct plan_field *f)
{
    switch (f->type) {
    case FIELD_STR:
        return field_str(s, f) == NULL;
    case FIELD_STRV:
        return field_strv(s, f) == NULL;
    case FIELD_BOOL:
        return !*(const bool *)field_at(s, f);
    case FIELD_SLOT:
        return *(const int *)field_at(s, f) == SLOT_NONE;
    case FIELD_MNT:
    case FIELD_ATTR:
    case FIELD_NS:
        return field_u64(s, f) == 0;
    case FIELD_DATA:
        return *(const void *const *)field_at(s, f) == NULL;
    case FIELD_UINT:
        return is_size_of_data(plan_fields(s->op), f);
    case FIELD_INT:
    case FIELD_OCT:
    case FIELD_CAPS:
        break;
    }
    return false;
}

static void add_value(struct strbuf *out, const struct step *s, const struct plan_field *f)
{
    const struct plan_field *size;

    switch (f->type) {
    case FIELD_STR:
        add_text(out, field_str(s, f));
        break;
    case FIELD_STRV:
        add_vector(out, field_strv(s, f));
        break;
    case FIELD_INT:
        strbuf_format(out, "%lld", (long long)field_i64(s, f));
        break;
    case FIELD_UINT:
        strbuf_format(out, "%llu", (unsigned long long)field_u64(s, f));
        break;
    case FIELD_OCT:
        strbuf_format(out, "%04o", *(const uint32_t *)field_at(s, f));
        break;
    case FIELD_BOOL:
        strbuf_str(out, "yes");
        break;
    case FIELD_SLOT:
        strbuf_format(out, "$%d", *(const int *)field_at(s, f));
        break;
    case FIELD_MNT:
    case FIELD_ATTR:
    case FIELD_NS:
    case FIELD_CAPS:
        add_flags(out, f->type, field_u64(s, f));
        break;
    case FIELD_DATA:
        size = size_of_data(plan_fields(s->op), f);
        if (size != NULL)
            strbuf_format(out, "%llu bytes", (unsigned long long)field_u64(s, size));
        else
            strbuf_str(out, "data");
        break;
    }
}

void plan_describe(const struct step *s, struct strbuf *out)
{
    const char *separator = "";

    for (const struct plan_field *f = plan_fields(s->op); f->name != NULL; f++) {
        char buf[SPECIAL_SIZE];
        const char *name;

        if (is_absent(s, f))
            continue;
        name = special(s, f, buf);
        strbuf_format(out, "%s%s=", separator, f->name);
        if (name != NULL)
            strbuf_str(out, name);
        else
            add_value(out, s, f);
        separator = " ";
    }
}

static void pad_to(struct strbuf *out, size_t line, size_t column)
{
    do {
        strbuf_str(out, " ");
    } while (out->len - line < column);
}

static void add_operation(const struct step *s, struct strbuf *out)
{
    size_t start = out->len;

    strbuf_str(out, plan_op_name(s->op));
    strbuf_str(out, " ");
    plan_describe(s, out);
    if (out->ptr[out->len - 1] == ' ' && out->len > start) /* no operands */
        out->ptr[--out->len] = '\0';
}

struct layout {
    size_t lane, operation, after, pointer; /* columns where these start */
};

static struct layout measure(const struct plan *p)
{
    struct layout l = { .lane = 6, .operation = 15 };
    AUTO_STRBUF struct strbuf row = { 0 };
    size_t widest = strlen("operation");

    for (size_t i = 0; i < p->n; i++) {
        row.len = 0;
        add_operation(&p->steps[i], &row);
        if (row.len > widest && row.len <= MAX_COLUMN)
            widest = row.len;
    }
    l.after = l.operation + widest + 2;
    l.pointer = l.after + strlen("after 10000") + 2;
    return l;
}

static void add_row(const struct plan *p, size_t i, const struct layout *l, struct strbuf *out)
{
    const struct step *s = &p->steps[i];
    size_t line = out->len;

    strbuf_format(out, "%4zu", i);
    pad_to(out, line, l->lane);
    strbuf_str(out, plan_lane_name(s->lane));
    pad_to(out, line, l->operation);
    add_operation(s, out);
    if (s->waits) {
        pad_to(out, line, l->after);
        strbuf_format(out, "after %d", s->after);
    }
    if (s->pointer != NULL && s->pointer[0] != '\0') {
        pad_to(out, line, l->pointer);
        add_escaped(out, s->pointer);
    }
    strbuf_str(out, "\n");
}

void plan_explain_text(const struct plan *p, struct strbuf *out)
{
    struct layout l = measure(p);
    size_t line = out->len;

    strbuf_str(out, "step");
    pad_to(out, line, l.lane);
    strbuf_str(out, "lane");
    pad_to(out, line, l.operation);
    strbuf_str(out, "operation");
    pad_to(out, line, l.after);
    strbuf_str(out, "waits");
    pad_to(out, line, l.pointer);
    strbuf_str(out, "field\n");
    for (size_t i = 0; i < p->n; i++)
        add_row(p, i, &l, out);
}

/* ---- JSON ---------------------------------------------------------------------------------- */

static void write_flags(struct json_out *j, const struct step *s, const struct plan_field *f)
{
    const struct flag_name *table = plan_flag_names(f->type);
    uint64_t left = field_u64(s, f);
    char buf[FLAG_NUMBER_SIZE];
    const char *name;

    json_open_array(j, f->name);
    while ((name = plan_next_flag(table, &left, buf)) != NULL)
        json_add_string(j, NULL, name);
    json_close_array(j);
}

static void write_mode(struct json_out *j, const struct step *s, const struct plan_field *f)
{
    char buf[16];

    base_format(buf, sizeof(buf), "%04o", *(const uint32_t *)field_at(s, f));
    json_add_string(j, f->name, buf);
}

static void write_value(struct json_out *j, const struct step *s, const struct plan_field *f)
{
    switch (f->type) {
    case FIELD_STR:
        json_add_string(j, f->name, field_str(s, f));
        break;
    case FIELD_STRV:
        if (field_strv(s, f) != NULL)
            json_add_strings(j, f->name, field_strv(s, f));
        else
            json_add_string(j, f->name, NULL);
        break;
    case FIELD_INT:
        json_add_i64(j, f->name, field_i64(s, f));
        break;
    case FIELD_UINT:
        json_add_u64(j, f->name, field_u64(s, f));
        break;
    case FIELD_OCT:
        write_mode(j, s, f);
        break;
    case FIELD_BOOL:
        json_add_bool(j, f->name, *(const bool *)field_at(s, f));
        break;
    case FIELD_SLOT:
        if (!is_absent(s, f))
            json_add_i64(j, f->name, *(const int *)field_at(s, f));
        break;
    case FIELD_MNT:
    case FIELD_ATTR:
    case FIELD_NS:
    case FIELD_CAPS:
        write_flags(j, s, f);
        break;
    case FIELD_DATA: /* an address says nothing; its size is an operand of its own */
        break;
    }
}

static void write_step(struct json_out *j, const struct plan *p, size_t i)
{
    const struct step *s = &p->steps[i];
    char buf[SPECIAL_SIZE];

    json_open_object(j, NULL);
    json_add_u64(j, "step", i);
    json_add_string(j, "lane", plan_lane_name(s->lane));
    json_add_string(j, "operation", plan_op_name(s->op));
    json_open_object(j, "operands");
    for (const struct plan_field *f = plan_fields(s->op); f->name != NULL; f++) {
        const char *name = special(s, f, buf);

        if (name != NULL)
            json_add_string(j, f->name, name);
        else
            write_value(j, s, f);
    }
    json_close_object(j);
    if (s->after >= 0)
        json_add_i64(j, "after", s->after);
    json_add_bool(j, "waits", s->waits);
    json_add_bool(j, "handOver", s->hand_over);
    json_add_string(j, "pointer", s->pointer != NULL ? s->pointer : "");
    json_close_object(j);
}

void plan_explain_json(const struct plan *p, struct json_out *j)
{
    json_open_object(j, NULL);
    json_add_string(j, "plan", p->title);
    json_add_i64(j, "slots", p->slots);
    json_add_u64(j, "waits", plan_waits(p));
    json_open_array(j, "steps");
    for (size_t i = 0; i < p->n; i++)
        write_step(j, p, i);
    json_close_array(j);
    json_close_object(j);
}
