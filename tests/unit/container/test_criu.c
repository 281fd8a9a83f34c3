/* SPDX-License-Identifier: Apache-2.0 */
/* CRIU's messages: bytes as protocol buffers' encoding has them, and what comes in is hostile. */
#include "container/criu.h"
#include "unit.h"

static int slot_values[] = { 11, 12 };
static const struct slots slots = { slot_values, 2 };

static void assert_bytes(const struct strbuf *b, const char *expected, size_t len)
{
    assert_int_equal(b->len, len);
    assert_memory_equal(b->ptr, expected, len);
}

static void a_request_is_its_fields(void **state)
{
    /* type; opts: images fd, work fd, leave running, pid, log file, external. */
    static const char expected[] = "\x08\x01"
                                   "\x12\x12"
                                   "\x08\x03"
                                   "\x88\x01\x04"
                                   "\x18\x01"
                                   "\x10\xac\x02"
                                   "\x52\x01"
                                   "a"
                                   "\xaa\x02\x02"
                                   "bc";
    struct criu_request q = {
        .type = CRIU_DUMP, .pid = 300, .leave_running = true, .log_file = "a"
    };
    const char *externals[] = { "bc" };
    AUTO_STRBUF struct strbuf out = { 0 };

    (void)state;
    q.externals = externals;
    q.n_externals = 1;
    criu_encode(&q, 3, 4, &slots, &out);
    assert_bytes(&out, expected, sizeof expected - 1);
}

static void an_inherited_fd_is_the_number_in_its_slot(void **state)
{
    /* images fd -1 is ten bytes; inherit_fd is field 27: key "k", fd 12. */
    static const char expected[] = "\x08\x02"
                                   "\x12\x13"
                                   "\x08\xff\xff\xff\xff\xff\xff\xff\xff\xff\x01"
                                   "\xda\x01\x05"
                                   "\x0a\x01k\x10\x0c";
    struct criu_fd fds[] = { { "k", -1, 1 } };
    struct criu_request q = { .type = CRIU_RESTORE, .fds = fds, .n_fds = 1 };
    AUTO_STRBUF struct strbuf out = { 0 };

    (void)state;
    criu_encode(&q, -1, -1, &slots, &out);
    assert_bytes(&out, expected, sizeof expected - 1);
}

static void a_reader_sees_each_member_that_is_set(void **state)
{
    static const char *const expected[] = { "file_locks",      "pid=300",       "log_file=a",
                                            "ps=::1:27",       "external=bc",   "cg_root=:/x",
                                            "inherit_fd=k:$1", "inherit_fd=l:2" };
    struct criu_fd fds[] = { { "k", -1, 1 }, { "l", 2, -1 } };
    struct criu_pair roots[] = { { NULL, "/x" } };
    const char *externals[] = { "bc" };
    struct criu_request q = { .type = CRIU_DUMP,
                              .pid = 300,
                              .file_locks = true,
                              .log_file = "a",
                              .page_server = "::1",
                              .page_server_port = 27,
                              .externals = externals,
                              .n_externals = 1,
                              .cgroup_roots = roots,
                              .n_cgroup_roots = 1,
                              .fds = fds,
                              .n_fds = COUNT_OF(fds) };
    const char *const *words = criu_describe(&q, unit_arena());
    size_t n = 0;

    (void)state;
    for (; words[n]; n++) {
        assert_true(n < COUNT_OF(expected));
        assert_string_equal(words[n], expected[n]);
    }
    assert_int_equal(n, COUNT_OF(expected));
}

static void a_notification_tells_what_and_the_pid(void **state)
{
    static const unsigned char message[] = { 0x08, 6,   0x10, 1,   0x2a, 9,    0x0a, 4,
                                             'd',  'o', 'n',  'e', 0x10, 0xac, 0x02 };
    struct criu_answer answer;

    (void)state;
    assert_int_equal(criu_decode(message, sizeof message, &answer), 0);
    assert_int_equal(answer.type, CRIU_NOTIFY);
    assert_true(answer.success);
    assert_string_equal(answer.script, "done");
    assert_int_equal(answer.pid, 300);
}

static void fields_of_a_newer_criu_are_passed_over(void **state)
{
    static const unsigned char message[] = { 0x08, 2, 0xa1, 0x06, 1,    2,    3,   4,
                                             5,    6, 7,    8,    0xa5, 0x06, 1,   2,
                                             3,    4, 0x10, 0,    0x4a, 2,    'n', 'o' };
    struct criu_answer answer;

    (void)state;
    assert_int_equal(criu_decode(message, sizeof message, &answer), 0);
    assert_int_equal(answer.type, CRIU_RESTORE);
    assert_false(answer.success);
    assert_string_equal(answer.error, "no");
}

static void a_message_that_is_cut_off_is_no_message(void **state)
{
    static const unsigned char message[] = { 0x08, 6,   0x10, 1,   0x2a, 9,    0x0a, 4,
                                             'd',  'o', 'n',  'e', 0x10, 0xac, 0x02 };
    static const unsigned char endless[] = { 0x08, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff,
                                             0xff, 0xff, 0xff, 0xff, 0xff, 0xff };
    static const unsigned char wire[] = { 0x0b, 0x01 }; /* a group: not in any message of CRIU's */
    struct criu_answer answer;

    (void)state;
    /* After two bytes and after four there are whole fields, and nothing half. */
    for (size_t len = 1; len < sizeof message; len++)
        assert_int_equal(criu_decode(message, len, &answer) == 0, len == 2 || len == 4);
    assert_int_equal(criu_decode(endless, sizeof endless, &answer), -EBADMSG);
    assert_int_equal(criu_decode(wire, sizeof wire, &answer), -EBADMSG);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(a_request_is_its_fields),
        cmocka_unit_test(an_inherited_fd_is_the_number_in_its_slot),
        cmocka_unit_test(a_reader_sees_each_member_that_is_set),
        cmocka_unit_test(a_notification_tells_what_and_the_pid),
        cmocka_unit_test(fields_of_a_newer_criu_are_passed_over),
        cmocka_unit_test(a_message_that_is_cut_off_is_no_message),
    };

    return cmocka_run_group_tests_name("the messages of CRIU", tests, NULL, NULL);
}
