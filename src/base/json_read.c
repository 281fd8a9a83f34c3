/* SPDX-License-Identifier: Apache-2.0 */
/* Documents of teca's own, read member by member: the first fault counts, and is asked for once. */
#include <errno.h>
#include <string.h>

#include "base/base.h"

void json_read_fault(struct json_reader *in, const char *name, const char *wanted)
{
    char pointer[256] = "";
    size_t len;

    if (in->r < 0)
        return;
    if (in->object)
        json_pointer(in->object, pointer, sizeof pointer);
    len = strlen(pointer);
    base_format(pointer + len, sizeof pointer - len, "/%s", name);
    err_at(in->e, pointer, 0, "%s need %s here", in->what, wanted);
    in->r = -EINVAL;
}

static const struct json *member(const struct json_reader *in, const char *name)
{
    return in->object && in->r == 0 ? json_get(in->object, name) : NULL;
}

static bool is_absent(const struct json *v)
{
    return !v || v->type == JSON_NULL;
}

uint64_t json_read_u64(struct json_reader *in, const char *name, uint64_t max)
{
    const struct json *v = member(in, name);
    uint64_t n;

    if (v && json_u64(v, &n) == 0 && n <= max)
        return n;
    json_read_fault(in, name, "a number in range");
    return 0;
}

bool json_read_bool(struct json_reader *in, const char *name)
{
    const struct json *v = member(in, name);

    if (!v || v->type != JSON_BOOL)
        json_read_fault(in, name, "true or false");
    return v && v->boolean;
}

bool json_read_bool_or_false(struct json_reader *in, const char *name)
{
    return member(in, name) && json_read_bool(in, name);
}

const char *json_read_string(struct json_reader *in, const char *name)
{
    const struct json *v = member(in, name);

    if (v && v->type == JSON_STRING)
        return v->text;
    json_read_fault(in, name, "a string");
    return NULL;
}

const char *json_read_string_or_null(struct json_reader *in, const char *name)
{
    return is_absent(member(in, name)) ? NULL : json_read_string(in, name);
}

const struct json *json_read_array(struct json_reader *in, const char *name)
{
    const struct json *v = member(in, name);

    if (v && v->type == JSON_ARRAY)
        return v;
    json_read_fault(in, name, "an array");
    return NULL;
}

const char **json_read_strings(struct json_reader *in, const char *name, const char *prefix,
                               struct arena *a)
{
    const struct json *list;
    const char **out;
    size_t n = 0;

    if (is_absent(member(in, name)))
        return NULL;
    list = json_read_array(in, name);
    out = arena_array(a, (list ? list->count : 0) + 1, sizeof *out);
    for (const struct json *item = list ? list->child : NULL; item; item = item->next)
        if (item->type == JSON_STRING && str_starts(item->text, prefix))
            out[n++] = item->text;
        else
            json_read_fault(in, name, "an array of strings of its kind");
    return out;
}
