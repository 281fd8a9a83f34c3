/* SPDX-License-Identifier: Apache-2.0 */
#ifndef TECA_MINIMAL_H
#define TECA_MINIMAL_H
/*
 * A small valid config.json for unit tests, and a patch for what a test is about:
 *
 *     struct spec *s = minimal_spec(a, "{'hostname': 'h', 'process': {'user': null}}");
 *
 * The patch is JSON (RFC 7396 merge patch: objects merge, null removes, anything else replaces),
 * with ' for " so that C can hold it. Include it after unit.h, in rooms that link spec/.
 */
#include "spec/spec.h"
#include "unit.h"

static const char minimal_json[] =
    "{'ociVersion': '1.3.0', 'root': {'path': 'rootfs'},"
    " 'process': {'user': {'uid': 0, 'gid': 0}, 'args': ['/bin/true'], 'cwd': '/'},"
    " 'linux': {'namespaces': [{'type': 'mount'}, {'type': 'pid'}]}}";

static inline struct json *minimal_tree(struct arena *a, const char *text)
{
    char *json = arena_strdup(a, text);
    struct json *tree = NULL;
    struct err e = { 0 };

    for (char *at = json; (at = strchr(at, '\''));)
        *at = '"';
    if (json_parse(a, json, strlen(json), "the test's JSON", &tree, &e) < 0)
        fail_msg("%s: %s", e.pointer, e.text);
    return tree;
}

static inline void minimal_merge(struct json_out *j, const char *key, const struct json *base,
                                 const struct json *patch)
{
    if (!patch || patch->type != JSON_OBJECT) {
        json_add_value(j, key, patch ? patch : base);
        return;
    }
    json_open_object(j, key);
    for (const struct json *c = base && base->type == JSON_OBJECT ? base->child : NULL; c;
         c = c->next) {
        const struct json *change = json_get(patch, c->key);

        if (!change || change->type != JSON_NULL)
            minimal_merge(j, c->key, c, change);
    }
    for (const struct json *c = patch->child; c; c = c->next) {
        if (!json_get(base, c->key) && c->type != JSON_NULL)
            minimal_merge(j, c->key, NULL, c);
    }
    json_close_object(j);
}

/* The patched text, compact; in the arena. patch may be NULL. */
static inline const char *minimal_config(struct arena *a, const char *patch)
{
    struct json_out *j = json_out_new(false);
    const char *text;

    minimal_merge(j, NULL, minimal_tree(a, minimal_json), patch ? minimal_tree(a, patch) : NULL);
    text = arena_strdup(a, json_out_text(j, NULL));
    json_out_free(j);
    return text;
}

/* The patched spec; it parses, whether or not spec_check would accept it. */
static inline struct spec *minimal_spec(struct arena *a, const char *patch)
{
    const char *text = minimal_config(a, patch);
    struct spec *s = NULL;
    struct err e = { 0 };

    if (spec_parse(a, text, strlen(text), &s, NULL, &e) < 0)
        fail_msg("%s: %s", e.pointer, e.text);
    return s;
}

#endif
