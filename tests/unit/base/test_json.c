/* SPDX-License-Identifier: Apache-2.0 */
#include "unit.h"

static int parse(const char *text, struct json **out, struct err *e)
{
    *e = (struct err){ 0 };
    return json_parse(unit_arena(), text, strlen(text), "config.json", out, e);
}

static struct json *parsed(const char *text)
{
    struct json *root = NULL;
    struct err e;

    if (parse(text, &root, &e) < 0)
        fail_msg("%s", e.text);
    return root;
}

/* ---- in ------------------------------------------------------------------------------------ */

static void a_tree_keeps_types_order_and_lines(void **state)
{
    const struct json *root = parsed(
        "{ \"a\": [1, \"two\",\n true, false, null],\n\n\"b\": {} }\n");
    const struct json *a = json_get(root, "a"), *b = json_get(root, "b"), *c;
    static const enum json_type types[] = { JSON_NUMBER, JSON_STRING, JSON_BOOL, JSON_BOOL,
                                            JSON_NULL };
    static const unsigned lines[] = { 1, 1, 2, 2, 2 };
    unsigned i = 0;

    (void)state;
    assert_int_equal(root->type, JSON_OBJECT);
    assert_int_equal(root->count, 2);
    assert_int_equal(a->type, JSON_ARRAY);
    assert_int_equal(a->count, COUNT_OF(types));
    for (c = a->child; c; c = c->next, i++) {
        assert_int_equal(c->type, types[i]);
        assert_int_equal(c->line, lines[i]);
        assert_int_equal(c->index, i);
        assert_ptr_equal(c->parent, a);
    }
    assert_int_equal(i, COUNT_OF(types));
    assert_string_equal(a->child->text, "1");
    assert_string_equal(a->child->next->text, "two");
    assert_true(a->child->next->next->boolean);
    assert_false(a->child->next->next->next->boolean);
    assert_int_equal(b->line, 4);
    assert_int_equal(b->count, 0);
    assert_null(json_get(root, "c"));
    assert_null(json_get(a, "a"));
    assert_null(json_get(NULL, "a"));
}

static void strings_are_unescaped_and_may_hold_a_nul(void **state)
{
    const struct json *root = parsed("[\"a\\n\\\"\\u00e9\\ud83d\\ude00\", \"x\\u0000y\", \"\"]");
    const struct json *s = root->child;

    (void)state;
    assert_string_equal(s->text, "a\n\"\xC3\xA9\xF0\x9F\x98\x80");
    assert_int_equal(s->len, strlen(s->text));
    assert_int_equal(s->next->len, 3);
    assert_memory_equal(s->next->text, "x\0y", 4);
    assert_string_equal(s->next->next->text, "");
}

static void a_lone_value_is_a_document(void **state)
{
    static const struct {
        const char *text;
        enum json_type type;
    } rows[] = { { "17", JSON_NUMBER },    { " \n17 \n", JSON_NUMBER }, { "true", JSON_BOOL },
                 { "\"s\"", JSON_STRING }, { "null", JSON_NULL },       { "[]", JSON_ARRAY } };

    (void)state;
    for (size_t i = 0; i < COUNT_OF(rows); i++)
        unit_row(rows[i].text, parsed(rows[i].text)->type == rows[i].type);
}

static void a_bad_document_is_refused_with_its_line(void **state)
{
    static const struct {
        const char *name, *text, *pointer, *says;
    } rows[] = {
        { "empty", "", "", "config.json line 1: premature EOF" },
        { "blank", " \n\n", "", "line 3: premature EOF" },
        { "cut off", "{\n\"a\": {\n\"b\": [1,\n", "/a/b", "line 4: premature EOF" },
        { "garbage behind", "{}\n\n x", "", "line 3: trailing garbage" },
        { "second value", "{}\n{}", "", "line 2: trailing garbage" },
        { "no comma", "{\"a\": {\n\"b\": 1\n\"c\": 2}}", "/a", "line 3: " },
        { "comma at the end", "[1,\n2,\n]", "", "line 3: " },
        { "single quotes", "{'a': 1}", "", "line 1: " },
        { "comment", "{\n// no\n}", "", "line 2: " },
        { "bare word", "[nul]", "", "line 1: " },
        { "leading zero", "[01]", "", "line 1: " },
        { "plus sign", "[+1]", "", "line 1: " },
        { "NaN", "[NaN]", "", "line 1: " },
        { "raw newline in a string", "[\"a\nb\"]", "", "line 1: " },
        { "bad escape", "[\"\\x41\"]", "", "line 1: " },
        { "short escape", "[\"\\u00\"]", "", "line 1: " },
        { "byte order mark", "\xEF\xBB\xBF{}", "", "byte order mark" },
        { "latin 1", "[\n\"\xE9\"]", "", "line 2: byte 0xe9 at offset 3 is not UTF-8" },
        { "overlong slash", "[\"\xC0\xAF\"]", "", "byte 0xc0 at offset 2 is not UTF-8" },
        { "surrogate", "[\"\xED\xA0\x80\"]", "", "byte 0xed at offset 2 is not UTF-8" },
        { "above Unicode", "[\"\xF4\x90\x80\x80\"]", "", "byte 0xf4 at offset 2 is not UTF-8" },
        { "cut character", "[\"\xE2\x82\"]", "", "byte 0xe2 at offset 2 is not UTF-8" },
        { "half a pair", "[\n\"\\ud83d\"]", "", "line 2: the escape \\ud83d is half" },
        { "half a pair, then more", "[\"\\ud83d\\u0041\"]", "", "the escape \\ud83d is half" },
        { "other half", "[\"\\uDE00\"]", "", "the escape \\uDE00 is half" },
        { "NUL in a name", "{\"a\": {\"cwd\\u0000x\": 1}}", "/a", "holds a NUL byte" },
        { "name twice", "{\"a\": {\"b\": 1,\n\"c\": 2,\n\"b\": 3}}", "/a/b",
          "line 3: the name occurs twice in one object, first on line 1" },
        { "name twice, escaped", "{\"b\": 1, \"\\u0062\": 3}", "/b", "twice" },
        { "name twice, in a list", "[{}, {\"~a/b\": 1, \"~a/b\": 1}]", "/1/~0a~1b", "twice" },
    };
    struct json *root = NULL;
    struct err e;

    (void)state;
    for (size_t i = 0; i < COUNT_OF(rows); i++) {
        unit_row(rows[i].name, parse(rows[i].text, &root, &e) == -EINVAL);
        unit_row(rows[i].name, e.code == EINVAL);
        if (strcmp(e.pointer, rows[i].pointer) || !strstr(e.text, rows[i].says))
            fail_msg("row '%s': \"%s\" at \"%s\"", rows[i].name, e.text, e.pointer);
        assert_null(root);
    }
}

static void an_escaped_backslash_before_u_is_no_escape(void **state)
{
    (void)state;
    assert_string_equal(parsed("[\"\\\\ud83d\"]")->child->text, "\\ud83d");
}

static void a_name_occurs_twice_in_a_large_object(void **state)
{
    AUTO_STRBUF struct strbuf b = { 0 };
    struct json *root = NULL;
    struct err e;

    (void)state;
    strbuf_str(&b, "{");
    for (int i = 0; i < 100; i++)
        strbuf_format(&b, "\"key%d\": 0,\n", i);
    strbuf_str(&b, "\"key70\": 1, \"key7\": 2}");
    assert_int_equal(parse(b.ptr, &root, &e), -EINVAL);
    assert_string_equal(e.pointer, "/key70");
    assert_non_null(strstr(e.text, "line 101"));
    assert_non_null(strstr(e.text, "first on line 71"));
}

static void nest(struct strbuf *b, int depth, const char *open, const char *close)
{
    for (int i = 0; i < depth; i++)
        strbuf_str(b, open);
    strbuf_str(b, "0");
    for (int i = 0; i < depth; i++)
        strbuf_str(b, close);
}

static void nesting_ends_at_256_levels(void **state)
{
    static const struct {
        const char *name, *open, *close;
        int depth, ret;
    } rows[] = {
        { "256 arrays", "[", "]", 256, 0 },
        { "257 arrays", "[", "]", 257, -EINVAL },
        { "10,000 arrays", "[", "]", 10000, -EINVAL },
        { "256 objects", "{\"a\":", "}", 256, 0 },
        { "10,000 objects", "{\"a\":\n", "}", 10000, -EINVAL },
    };
    struct json *root;
    struct err e;

    (void)state;
    for (size_t i = 0; i < COUNT_OF(rows); i++) {
        AUTO_STRBUF struct strbuf b = { 0 };

        nest(&b, rows[i].depth, rows[i].open, rows[i].close);
        unit_row(rows[i].name, parse(b.ptr, &root, &e) == rows[i].ret);
        unit_row(rows[i].name, !rows[i].ret || strstr(e.text, "nested deeper than 256 levels"));
    }
    assert_non_null(strstr(e.text, "line 257"));
}

static void pointers_follow_rfc_6901(void **state)
{
    const struct json *root = parsed("{\"a/b\": {\"m~n\": [0, {\"\": true}]}}");
    const struct json *list = root->child->child, *leaf = list->child->next->child;
    char buf[64], small[8], none[1] = "x";
    struct arena a = { 0 };

    (void)state;
    assert_string_equal(json_pointer(root, buf, sizeof(buf)), "");
    assert_string_equal(json_pointer(NULL, buf, sizeof(buf)), "");
    assert_string_equal(json_pointer(list, buf, sizeof(buf)), "/a~1b/m~0n");
    assert_string_equal(json_pointer(leaf, buf, sizeof(buf)), "/a~1b/m~0n/1/");
    assert_string_equal(json_pointer_dup(&a, leaf), "/a~1b/m~0n/1/");
    arena_release(&a);
    assert_string_equal(json_pointer(leaf, small, sizeof(small)), "/a~1b/m");
    assert_string_equal(json_pointer(leaf, none, sizeof(none)), "");
}

static void integers_are_strict_and_exact(void **state)
{
    static const struct {
        const char *text;
        int u_ret;
        uint64_t u;
        int i_ret;
        int64_t i;
    } rows[] = {
        { "0", 0, 0, 0, 0 },
        { "-0", 0, 0, 0, 0 },
        { "18446744073709551615", 0, UINT64_MAX, -ERANGE, 0 },
        { "18446744073709551616", -ERANGE, 0, -ERANGE, 0 },
        { "9223372036854775807", 0, INT64_MAX, 0, INT64_MAX },
        { "-9223372036854775808", -ERANGE, 0, 0, INT64_MIN },
        { "-9223372036854775809", -ERANGE, 0, -ERANGE, 0 },
        { "-1", -ERANGE, 0, 0, -1 },
        { "1.0", -EINVAL, 0, -EINVAL, 0 },
        { "1e3", -EINVAL, 0, -EINVAL, 0 },
        { "-1.5", -EINVAL, 0, -EINVAL, 0 },
        { "\"1\"", -EINVAL, 0, -EINVAL, 0 },
        { "true", -EINVAL, 0, -EINVAL, 0 },
    };

    (void)state;
    for (size_t k = 0; k < COUNT_OF(rows); k++) {
        const struct json *node = parsed(rows[k].text);
        uint64_t u = 77;
        int64_t i = 77;

        unit_row(rows[k].text, json_u64(node, &u) == rows[k].u_ret);
        unit_row(rows[k].text, u == (rows[k].u_ret ? 77 : rows[k].u));
        unit_row(rows[k].text, json_i64(node, &i) == rows[k].i_ret);
        unit_row(rows[k].text, i == (rows[k].i_ret ? 77 : rows[k].i));
    }
    assert_int_equal(json_u64(NULL, NULL), -EINVAL);
    assert_int_equal(json_i64(NULL, NULL), -EINVAL);
}

static void a_small_document_asks_for_no_memory(void **state)
{
    static char memory[16 * 1024];
    static const char text[] = "{\"a\": [1, 2, \"\\n\"], \"b\": {\"c\": \"text\"}}";
    struct arena a;
    struct json *root;
    struct err e = { 0 };

    (void)state;
    arena_init(&a, memory, sizeof(memory));
    assert_int_equal(json_parse(&a, text, sizeof(text) - 1, "t", &root, &e), 0);
    assert_null(a.chunks);
    arena_release(&a);
}

/* ---- UTF-8 --------------------------------------------------------------------------------- */

static void utf8_is_taken_as_rfc_3629_has_it(void **state)
{
    static const struct {
        const char *text;
        size_t valid;
    } rows[] = {
        { "", 0 },
        { "plain", 5 },
        { "long enough for words", 21 },
        { "\xC2\x80 \xDF\xBF", 5 },
        { "\xE0\xA0\x80\xED\x9F\xBF\xEE\x80\x80\xEF\xBF\xBF", 12 },
        { "\xF0\x90\x80\x80\xF4\x8F\xBF\xBF", 8 },
        { "12345678\x80", 8 },
        { "a\xC1\xBF", 1 },
        { "\xE0\x9F\xBF", 0 },
        { "\xF0\x8F\xBF\xBF", 0 },
        { "ab\xE2\x82", 2 },
        { "\xC2", 0 },
        { "\xC2\xC2", 0 },
        { "\xE2\x82x", 0 },
        { "\xF5\x80\x80\x80", 0 },
        { "\xFF", 0 },
    };

    (void)state;
    for (size_t i = 0; i < COUNT_OF(rows); i++)
        unit_row(rows[i].text, utf8_valid_len(rows[i].text, strlen(rows[i].text)) == rows[i].valid);
}

/* ---- out ----------------------------------------------------------------------------------- */

static void add_sample(struct json_out *j)
{
    static const char *const list[] = { "x", "y", NULL };

    json_open_object(j, NULL);
    json_add_string(j, "s", "a\"b\n/");
    json_add_string(j, "none", NULL);
    json_add_u64(j, "most", UINT64_MAX);
    json_add_i64(j, "least", INT64_MIN);
    json_add_bool(j, "yes", true);
    json_add_strings(j, "list", list);
    json_add_strings(j, "nothing", NULL);
    json_open_array(j, "in");
    json_open_object(j, NULL);
    json_close_object(j);
    json_open_array(j, NULL);
    json_add_bool(j, NULL, false);
    json_close_array(j);
    json_close_array(j);
    json_close_object(j);
}

static void compact_text_is_exact(void **state)
{
    static const char wanted[] =
        "{\"s\":\"a\\\"b\\n/\",\"none\":null,\"most\":18446744073709551615,"
        "\"least\":-9223372036854775808,\"yes\":true,\"list\":[\"x\",\"y\"],\"nothing\":[],"
        "\"in\":[{},[false]]}";
    struct json_out *j = json_out_new(false);
    const char *text;
    size_t len;

    (void)state;
    add_sample(j);
    text = json_out_text(j, &len);
    assert_string_equal(text, wanted);
    assert_int_equal(len, strlen(wanted));
    json_out_free(j);
    json_out_free(NULL);
}

static void pretty_text_is_indented_by_tabs(void **state)
{
    static const char wanted[] =
        "{\n\t\"a\": 1,\n\t\"b\": [\n\t\t\"x\"\n\t],\n\t\"c\": [],\n\t\"d\": {}\n}\n";
    static const char *const list[] = { "x", NULL };
    struct json_out *j = json_out_new(true);

    (void)state;
    json_open_object(j, NULL);
    json_add_u64(j, "a", 1);
    json_add_strings(j, "b", list);
    json_open_array(j, "c");
    json_close_array(j);
    json_open_object(j, "d");
    json_close_object(j);
    json_close_object(j);
    assert_string_equal(json_out_text(j, NULL), wanted);
    json_out_free(j);
}

static void bytes_that_are_no_utf8_are_replaced(void **state)
{
    static const struct {
        const char *in, *out;
    } rows[] = {
        { "caf\xC3\xA9", "[\"caf\xC3\xA9\"]" },
        { "caf\xE9!", "[\"caf\xEF\xBF\xBD!\"]" },
        { "\xFF\xFE", "[\"\xEF\xBF\xBD\xEF\xBF\xBD\"]" },
        { "\xED\xA0\x80", "[\"\xEF\xBF\xBD\xEF\xBF\xBD\xEF\xBF\xBD\"]" },
    };

    (void)state;
    for (size_t i = 0; i < COUNT_OF(rows); i++) {
        struct json_out *j = json_out_new(false);

        json_open_array(j, NULL);
        json_add_string(j, NULL, rows[i].in);
        json_close_array(j);
        unit_row(rows[i].out, str_eq(json_out_text(j, NULL), rows[i].out));
        json_out_free(j);
    }
}

static void a_key_that_is_no_utf8_is_replaced(void **state)
{
    struct json_out *j = json_out_new(false);

    (void)state;
    json_open_object(j, NULL);
    json_add_bool(j, "\xFF", true);
    json_close_object(j);
    assert_string_equal(json_out_text(j, NULL), "{\"\xEF\xBF\xBD\":true}");
    json_out_free(j);
}

/* Writes what was read; the text is the canonical one. */
static void copy_is_equal(const char *name, const char *text)
{
    struct json *root = parsed(text);
    struct json_out *j = json_out_new(false);

    json_add_value(j, NULL, root);
    unit_row(name, str_eq(json_out_text(j, NULL), text));
    json_out_free(j);
}

static void a_tree_is_copied_deeply(void **state)
{
    AUTO_STRBUF struct strbuf arrays = { 0 }, objects = { 0 };

    (void)state;
    copy_is_equal("all types", "{\"a\":[1,-2.50,1e400,18446744073709551615],\"b\":{\"c\":null,"
                               "\"d\":[true,false,[],{}]},\"e\":\"x\\u0000y\"}");
    nest(&arrays, JSON_MAX_DEPTH, "[", "]");
    copy_is_equal("256 arrays", arrays.ptr);
    nest(&objects, JSON_MAX_DEPTH, "{\"a\":", "}");
    copy_is_equal("256 objects", objects.ptr);
}

static void a_value_is_copied_below_a_key(void **state)
{
    struct json *root = parsed("[{\"k\":\"v\"}]");
    struct json_out *j = json_out_new(false);

    (void)state;
    json_open_object(j, NULL);
    json_add_value(j, "copy", root);
    json_close_object(j);
    assert_string_equal(json_out_text(j, NULL), "{\"copy\":[{\"k\":\"v\"}]}");
    json_out_free(j);
}

static void an_open_container_is_in_the_text_so_far(void **state)
{
    struct json_out *j = json_out_new(false);

    (void)state;
    json_open_array(j, NULL);
    assert_string_equal(json_out_text(j, NULL), "[");
    json_add_u64(j, NULL, 1);
    json_close_array(j);
    assert_string_equal(json_out_text(j, NULL), "[1]");
    json_out_free(j);
}

static void a_reader_tells_its_first_fault(void **state)
{
    static const struct {
        const char *text, *pointer;
    } rows[] = {
        { "{'o':{'n':7,'b':true,'s':'x','l':['/a']}}", "" },
        { "{'o':{'b':true,'s':'x','l':['/a']}}", "/o/n" },
        { "{'o':{'n':8,'b':true,'s':'x','l':['/a']}}", "/o/n" },
        { "{'o':{'n':7,'b':1,'s':3,'l':['/a']}}", "/o/b" },
        { "{'o':{'n':7,'b':true,'s':null,'l':['/a']}}", "/o/s" },
        { "{'o':{'n':7,'b':true,'s':'x','l':['a']}}", "/o/l" },
        { "{'o':{'n':7,'b':true,'s':'x','l':['/a',null]}}", "/o/l" },
        { "{'o':{'n':7,'b':true,'s':'x','l':'/a'}}", "/o/l" },
    };

    (void)state;
    for (size_t i = 0; i < COUNT_OF(rows); i++) {
        struct err e = { 0 };
        char *text = arena_strdup(unit_arena(), rows[i].text);
        struct json *doc = NULL;
        struct json_reader in = { .what = "the facts", .e = &e };
        uint64_t n;
        bool b;
        const char *s, **l;

        for (char *c = text; *c; c++)
            *c = *c == '\'' ? '"' : *c;
        assert_int_equal(json_parse(unit_arena(), text, strlen(text), "test", &doc, &e), 0);
        in.object = json_get(doc, "o");
        n = json_read_u64(&in, "n", 7);
        b = json_read_bool(&in, "b");
        s = json_read_string(&in, "s");
        l = json_read_strings(&in, "l", "/", unit_arena());
        unit_row(rows[i].text, str_eq(e.pointer, rows[i].pointer));
        unit_row(rows[i].text, (in.r == 0) == (i == 0));
        if (i == 0) {
            assert_true(n == 7 && b && str_eq(s, "x") && str_eq(l[0], "/a") && !l[1]);
            assert_false(json_read_bool_or_false(&in, "absent"));
            assert_null(json_read_string_or_null(&in, "absent"));
            assert_null(json_read_strings(&in, "absent", "", unit_arena()));
            assert_int_equal(in.r, 0);
        }
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(a_tree_keeps_types_order_and_lines),
        cmocka_unit_test(strings_are_unescaped_and_may_hold_a_nul),
        cmocka_unit_test(a_lone_value_is_a_document),
        cmocka_unit_test(a_bad_document_is_refused_with_its_line),
        cmocka_unit_test(an_escaped_backslash_before_u_is_no_escape),
        cmocka_unit_test(a_name_occurs_twice_in_a_large_object),
        cmocka_unit_test(nesting_ends_at_256_levels),
        cmocka_unit_test(pointers_follow_rfc_6901),
        cmocka_unit_test(integers_are_strict_and_exact),
        cmocka_unit_test(a_reader_tells_its_first_fault),
        cmocka_unit_test(a_small_document_asks_for_no_memory),
        cmocka_unit_test(utf8_is_taken_as_rfc_3629_has_it),
        cmocka_unit_test(compact_text_is_exact),
        cmocka_unit_test(pretty_text_is_indented_by_tabs),
        cmocka_unit_test(bytes_that_are_no_utf8_are_replaced),
        cmocka_unit_test(a_key_that_is_no_utf8_is_replaced),
        cmocka_unit_test(a_tree_is_copied_deeply),
        cmocka_unit_test(a_value_is_copied_below_a_key),
        cmocka_unit_test(an_open_container_is_in_the_text_so_far),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
