/* SPDX-License-Identifier: Apache-2.0 */
/* NOTIFY_SOCKET: the laws of its steps, what of a hostile datagram goes on. */
#include <stdarg.h>
#include <stddef.h>
#include <setjmp.h>
#include <stdint.h>
#include <cmocka.h>

#include <fcntl.h>
#include <stdlib.h>
#include <string.h>

#include "container/internal.h"

static struct arena arena;

static char *read_text(const char *file, size_t *len)
{
    char *text;
    struct err e = { 0 };

    if (file_read(&arena, AT_FDCWD,
                  arena_format(&arena, "tests/data/plans/default-hybrid/%s", file), 1 << 20, &text,
                  len, &e) < 0)
        fail_msg("%s", e.text);
    return text;
}

static int try_plan(const char *socket, bool create, bool detach, struct plan *p, struct err *e)
{
    struct container_options o = { .root = "/run/teca", .id = "ID", .detach = detach };
    struct container_bundle b = { .dir = "/bundle", .config_path = "config.json" };
    size_t facts_len;
    const char *facts = read_text("facts.json", &facts_len);
    int r;

    b.text = read_text("config.json", &b.text_len);
    if (spec_parse(&arena, b.text, b.text_len, &b.spec, NULL, e) < 0)
        fail_msg("%s", e->text);
    setenv("NOTIFY_SOCKET", socket, 1);
    r = container_plan(&o, &b, create, facts, facts_len, &arena, p, e);
    unsetenv("NOTIFY_SOCKET");
    return r;
}

static struct plan plan_of(const char *socket, bool create, bool detach)
{
    struct plan p;
    struct err e = { 0 };

    if (try_plan(socket, create, detach, &p, &e) < 0)
        fail_msg("%s: %s", e.pointer, e.text);
    return p;
}

static int mount_of(const struct plan *p)
{
    for (int i = plan_find(p, OP_MOUNT, 0); i >= 0; i = plan_find(p, OP_MOUNT, (size_t)i + 1))
        if (str_eq(p->steps[i].mount.target, "/run/notify"))
            return i;
    return -1;
}

static void without_the_variable_there_is_no_step(void **state)
{
    struct plan p = plan_of("", false, false), q = plan_of("/manager", false, false);

    (void)state;
    for (size_t i = 0; i < p.n; i++)
        assert_true(p.steps[i].op < OP_READINESS_DIRECTORY || p.steps[i].op > OP_READINESS_FORWARD);
    assert_int_equal(mount_of(&p), -1);
    assert_int_equal(q.n, p.n + 4);
}

static void the_directory_follows_the_record_and_precedes_the_clone(void **state)
{
    struct plan p = plan_of("/manager", false, false);
    int directory = plan_find(&p, OP_READINESS_DIRECTORY, 0), mount = mount_of(&p);

    (void)state;
    assert_true(plan_find(&p, OP_STATE_CREATE, 0) < directory);
    assert_true(directory < plan_find(&p, OP_READINESS_LISTEN, 0));
    assert_true(plan_find(&p, OP_READINESS_LISTEN, 0) < plan_find(&p, OP_CLONE, 0));
    assert_string_equal(p.steps[directory].readiness_directory.path, "/run/teca/ID/notify");
    assert_true(mount > 0 && mount < plan_find(&p, OP_PIVOT, 0));
    assert_string_equal(p.steps[mount].mount.source, "/run/teca/ID/notify");
    assert_string_equal(p.steps[mount].pointer, "");
}

static void the_word_is_awaited_behind_exec_and_by_who_detaches_only(void **state)
{
    struct plan p = plan_of("@manager", false, true);
    int forward = plan_find(&p, OP_READINESS_FORWARD, 0);

    (void)state;
    assert_int_equal(forward, p.n - 1);
    assert_int_equal(p.steps[forward - 1].op, OP_BARRIER);
    assert_int_equal(p.steps[forward - 1].after, plan_find(&p, OP_EXEC, 0));
    assert_false(p.steps[forward].readiness_forward.beside);
    p = plan_of("@manager", false, false);
    forward = plan_find(&p, OP_READINESS_FORWARD, 0);
    assert_true(p.steps[forward].readiness_forward.beside);
    assert_false(p.steps[forward].waits);
    assert_int_equal(p.steps[forward - 1].op, OP_EXEC);
}

static void create_leaves_the_socket_to_start(void **state)
{
    struct plan p = plan_of("/manager", true, false);

    (void)state;
    assert_true(plan_find(&p, OP_READINESS_DIRECTORY, 0) > 0 && mount_of(&p) > 0);
    assert_int_equal(plan_find(&p, OP_READINESS_LISTEN, 0), -1);
    assert_int_equal(plan_find(&p, OP_READINESS_FORWARD, 0), -1);
}

static void the_program_finds_the_socket_once(void **state)
{
    struct plan p = plan_of("/manager", false, false);
    const char *const *env = p.steps[plan_find(&p, OP_EXEC, 0)].exec.envp;
    int found = 0;

    (void)state;
    for (; *env; env++)
        found += str_eq(*env, "NOTIFY_SOCKET=/run/notify/notify.sock");
    assert_int_equal(found, 1);
}

static void what_is_no_address_is_refused(void **state)
{
    static const char *const rows[] = { "manager", "vsock:2:1234", "@", "./x" };

    (void)state;
    for (size_t i = 0; i < COUNT_OF(rows); i++) {
        struct err e = { 0 };
        struct plan p;

        assert_true(try_plan(rows[i], true, false, &p, &e) < 0);
        assert_non_null(strstr(e.text, rows[i]));
    }
}

static void only_readiness_and_its_status_go_on(void **state)
{
    static const struct {
        const char *name, *text, *words;
    } rows[] = {
        { "alone", "READY=1", "READY=1" },
        { "newline at the end", "READY=1\n", "READY=1" },
        { "among others", "A=b\nREADY=1\nMAINPID=1\nFDSTORE=1\nNOTIFYACCESS=all", "READY=1" },
        { "status before", "STATUS=up\nREADY=1", "READY=1\nSTATUS=up" },
        { "status behind", "READY=1\nSTATUS=\xc3\xa4", "READY=1\nSTATUS=\xc3\xa4" },
        { "the last status", "READY=1\nSTATUS=a\nSTATUS=b", "READY=1\nSTATUS=b" },
        { "no status", "READY=1\nSTATUS=", "READY=1" },
        { "control character", "READY=1\nSTATUS=\x1b[1m", "READY=1" },
        { "no UTF-8", "READY=1\nSTATUS=\xff", "READY=1" },
        { "C1", "READY=1\nSTATUS=\xc2\x9b", "READY=1" },
        { "status alone", "STATUS=up", "" },
        { "not ready", "READY=0", "" },
        { "longer", "READY=10", "" },
        { "shorter", "READY=", "" },
        { "nothing", "", "" },
    };

    (void)state;
    for (size_t i = 0; i < COUNT_OF(rows); i++) {
        char words[READINESS_WORDS_SIZE] = "";
        size_t n = readiness_filter(rows[i].text, strlen(rows[i].text), words);

        if (n != strlen(rows[i].words) || strcmp(words, rows[i].words) != 0)
            fail_msg("%s: %zu bytes, \"%s\"", rows[i].name, n, words);
    }
}

static void a_status_ends_at_its_limit_and_at_a_zero(void **state)
{
    static char text[READINESS_STATUS_MAX + 64], words[READINESS_WORDS_SIZE];

    (void)state;
    memset(text, 'x', sizeof text);
    memcpy(text, "READY=1\nSTATUS=", 15);
    assert_int_equal(readiness_filter(text, 8 + READINESS_STATUS_MAX, words),
                     8 + READINESS_STATUS_MAX);
    assert_int_equal(readiness_filter(text, 8 + READINESS_STATUS_MAX + 1, words), 7);
    text[20] = '\0';
    assert_int_equal(readiness_filter(text, 40, words), 7);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(without_the_variable_there_is_no_step),
        cmocka_unit_test(the_directory_follows_the_record_and_precedes_the_clone),
        cmocka_unit_test(the_word_is_awaited_behind_exec_and_by_who_detaches_only),
        cmocka_unit_test(create_leaves_the_socket_to_start),
        cmocka_unit_test(the_program_finds_the_socket_once),
        cmocka_unit_test(what_is_no_address_is_refused),
        cmocka_unit_test(only_readiness_and_its_status_go_on),
        cmocka_unit_test(a_status_ends_at_its_limit_and_at_a_zero),
    };

    return cmocka_run_group_tests_name("readiness", tests, NULL, NULL);
}
