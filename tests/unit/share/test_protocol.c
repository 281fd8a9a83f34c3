/* SPDX-License-Identifier: Apache-2.0 */
/* What is agreed upon, and requests that are not what they say. */
#include "client.h"

static void nothing_is_done_before_init(void **state)
{
    struct client *c = client_new((struct share_config){ 0 });

    (void)state;
    assert_int_equal(client_ask(c, FUSE_DESTROY, 0, NULL, 0, NULL, 0), 0);
    assert_int_equal(client_getattr(c, 1, NULL), -EIO);
    assert_int_equal(client_init(c, 38, 0), 0);
    assert_int_equal(client_getattr(c, 1, NULL), 0);
    client_free(c);
}

static void versions_are_agreed_upon(void **state)
{
    struct client *c = client_new((struct share_config){ 0 });
    struct fuse_init_in newer = { .major = 8 }, older = { .major = 6, .minor = 99 };
    struct fuse_init_out out;

    (void)state;
    assert_int_equal(client_init(c, 30, 0), -EPROTO);
    assert_int_equal(ASK(c, FUSE_INIT, 0, older, NULL, 0), -EPROTO);
    assert_int_equal(ASK(c, FUSE_INIT, 0, newer, NULL, 0), 0);
    memcpy(&out, client_reply(c), sizeof(out));
    assert_int_equal(out.major, 7);
    assert_int_equal(client_init(c, 31, 0), 0);
    assert_int_equal(client_init(c, 45, 0), 0);
    memcpy(&out, client_reply(c), sizeof(out));
    assert_int_equal(out.flags, 0);
    assert_int_equal(out.max_write, SHARE_DATA_MAX);
    client_free(c);
}

static void writes_are_not_kept_back_and_locks_stay_in_the_client(void **state)
{
    struct client *c = client_new((struct share_config){ 0 });
    const uint32_t no = FUSE_WRITEBACK_CACHE | FUSE_POSIX_LOCKS | FUSE_FLOCK_LOCKS |
                        FUSE_EXPORT_SUPPORT | FUSE_HANDLE_KILLPRIV;
    const uint32_t yes = FUSE_AUTO_INVAL_DATA | FUSE_DONT_MASK | FUSE_POSIX_ACL | FUSE_SUBMOUNTS |
                         FUSE_HANDLE_KILLPRIV_V2 | FUSE_ATOMIC_O_TRUNC;
    struct fuse_init_out out;

    (void)state;
    memcpy(&out, client_reply(c), sizeof(out));
    assert_int_equal(out.flags & no, 0);
    assert_int_equal(out.flags & yes, yes);
    assert_int_equal(out.flags2, 0);
    client_free(c);
}

/* Whatever an operation is, less than it wants is EINVAL (or it wants nothing), and never a read behind it. */
static void a_short_request_is_refused(void **state)
{
    struct client *c = client_new((struct share_config){ 0 });
    uint8_t zeros[128] = { 0 };
    static const struct {
        uint32_t opcode;
        size_t args;
    } rows[] = {
        { FUSE_LOOKUP, 1 },
        { FUSE_SETATTR, sizeof(struct fuse_setattr_in) },
        { FUSE_MKNOD, sizeof(struct fuse_mknod_in) + 1 },
        { FUSE_MKDIR, sizeof(struct fuse_mkdir_in) + 1 },
        { FUSE_RENAME, sizeof(struct fuse_rename_in) + 1 },
        { FUSE_RENAME2, sizeof(struct fuse_rename2_in) + 1 },
        { FUSE_LINK, sizeof(struct fuse_link_in) + 1 },
        { FUSE_OPEN, sizeof(struct fuse_open_in) },
        { FUSE_READ, sizeof(struct fuse_read_in) },
        { FUSE_WRITE, sizeof(struct fuse_write_in) },
        { FUSE_RELEASE, sizeof(struct fuse_release_in) },
        { FUSE_FSYNC, sizeof(struct fuse_fsync_in) },
        { FUSE_SETXATTR, sizeof(struct fuse_setxattr_in) + 1 },
        { FUSE_GETXATTR, sizeof(struct fuse_getxattr_in) + 1 },
        { FUSE_LISTXATTR, sizeof(struct fuse_getxattr_in) },
        { FUSE_FLUSH, sizeof(struct fuse_flush_in) },
        { FUSE_OPENDIR, sizeof(struct fuse_open_in) },
        { FUSE_READDIR, sizeof(struct fuse_read_in) },
        { FUSE_READDIRPLUS, sizeof(struct fuse_read_in) },
        { FUSE_CREATE, sizeof(struct fuse_create_in) + 1 },
        { FUSE_FALLOCATE, sizeof(struct fuse_fallocate_in) },
        { FUSE_LSEEK, sizeof(struct fuse_lseek_in) },
        { FUSE_COPY_FILE_RANGE, sizeof(struct fuse_copy_file_range_in) },
        { FUSE_TMPFILE, sizeof(struct fuse_create_in) },
        { FUSE_INIT, 16 },
        { FUSE_GETATTR, sizeof(struct fuse_getattr_in) },
    };

    (void)state;
    for (size_t i = 0; i < COUNT_OF(rows); i++) {
        for (size_t len = 0; len < rows[i].args; len++) {
            int r = client_ask(c, rows[i].opcode, 1, zeros, len, NULL, 0);

            if (r != -EINVAL && r != -ESTALE) /* of the second node, which is 0 */
                fail_msg("opcode %u with %zu bytes", rows[i].opcode, len);
        }
    }
    client_free(c);
}

static void a_header_that_lies_is_refused(void **state)
{
    struct client *c = client_new((struct share_config){ 0 });
    struct fuse_in_header in = { .opcode = FUSE_STATFS, .unique = 9, .nodeid = 1 };
    static const struct {
        uint32_t len, sent;
        int result; /* 1: none */
    } rows[] = {
        { 40, 40, 0 },       { 40, 48, 0 },       { 0, 40, -EINVAL },
        { 39, 40, -EINVAL }, { 41, 40, -EINVAL }, { UINT32_MAX, 48, -EINVAL },
        { 40, 39, 1 },       { 40, 0, 1 },
    };

    (void)state;
    for (size_t i = 0; i < COUNT_OF(rows); i++) {
        int r;

        in.len = rows[i].len;
        memcpy(c->request, &in, sizeof(in));
        r = client_result(c, client_send(c, rows[i].sent), 9);
        if (r != rows[i].result)
            fail_msg("row %zu: %d", i, r);
    }
    client_free(c);
}

static void without_room_for_the_reply_nothing_is_done(void **state)
{
    struct client *c = client_new((struct share_config){ 0 });
    const size_t header = sizeof(struct fuse_out_header);
    const size_t created = sizeof(struct fuse_entry_out) + sizeof(struct fuse_open_out);

    (void)state;
    for (size_t room = 0; room < header + created; room++) {
        c->room = room;
        assert_int_equal(client_create(c, 1, "f", O_RDWR, 0644), room < header ? 1 : -EINVAL);
        assert_int_equal(access(client_path(c, "f"), F_OK), -1);
    }
    c->room = header + created;
    assert_int_equal(client_create(c, 1, "f", O_RDWR, 0644), 0);
    client_free(c);
}

static void some_requests_have_no_reply_and_some_no_answer(void **state)
{
    struct client *c = client_new((struct share_config){ 0 });
    struct fuse_forget_in forget = { .nlookup = 1 };
    struct fuse_interrupt_in interrupt = { .unique = 1 };
    struct fuse_lk_in lock = { .fh = 1 };
    struct fuse_access_in access = { 0 };
    struct fuse_ioctl_in ioctl = { .cmd = 0x5401 /* TCGETS */ };

    (void)state;
    assert_int_equal(ASK(c, FUSE_FORGET, 77, forget, NULL, 0), 1);
    c->room = 0;
    assert_int_equal(ASK(c, FUSE_FORGET, 77, forget, NULL, 0), 1);
    c->room = 8192;
    assert_int_equal(client_ask(c, FUSE_BATCH_FORGET, 0, "\2\0\0\0\0\0\0\0", 8, NULL, 0), 1);
    assert_int_equal(ASK(c, FUSE_INTERRUPT, 0, interrupt, NULL, 0), 1);
    assert_int_equal(ASK(c, FUSE_GETLK, 1, lock, NULL, 0), -ENOSYS);
    assert_int_equal(ASK(c, FUSE_SETLKW, 1, lock, NULL, 0), -ENOSYS);
    assert_int_equal(ASK(c, FUSE_ACCESS, 1, access, NULL, 0), -ENOSYS);
    assert_int_equal(ASK(c, FUSE_IOCTL, 1, ioctl, NULL, 0), -ENOTTY);
    assert_int_equal(client_ask(c, 0, 1, NULL, 0, NULL, 0), -ENOSYS);
    assert_int_equal(client_ask(c, 52, 1, NULL, 0, NULL, 0), -ENOSYS);
    assert_int_equal(client_ask(c, UINT32_MAX, 1, NULL, 0, NULL, 0), -ENOSYS);
    client_free(c);
}

static void a_client_that_starts_again_begins_with_nothing(void **state)
{
    struct client *c = client_new((struct share_config){ 0 });
    struct share_stats st;
    uint64_t node;

    (void)state;
    client_file(c, "f", "text");
    node = client_lookup(c, 1, "f").nodeid;
    client_open(c, node, O_RDONLY);
    share_describe(c->share, &st);
    assert_int_equal(st.nodes, 2);
    assert_int_equal(st.handles, 1);
    assert_int_equal(client_init(c, 38, 0), 0);
    share_describe(c->share, &st);
    assert_int_equal(st.nodes, 1);
    assert_int_equal(st.node_fds, 1);
    assert_int_equal(st.handles, 0);
    assert_int_equal(client_getattr(c, node, NULL), -ESTALE);
    client_free(c);
}

static void what_is_no_directory_or_a_procfs_is_not_shared(void **state)
{
    struct share_config config = { .root_fd = open("/dev/null", O_PATH | O_CLOEXEC) };
    struct share *s = NULL;
    struct err e = { 0 };

    (void)state;
    assert_int_equal(share_new(&config, &s, &e), -ENOTDIR);
    close(config.root_fd);
    config.root_fd = open("/proc", O_PATH | O_CLOEXEC);
    assert_int_equal(share_new(&config, &s, &e), -EINVAL);
    assert_non_null(strstr(e.text, "procfs"));
    assert_null(s);
    close(config.root_fd);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(nothing_is_done_before_init),
        cmocka_unit_test(versions_are_agreed_upon),
        cmocka_unit_test(writes_are_not_kept_back_and_locks_stay_in_the_client),
        cmocka_unit_test(a_short_request_is_refused),
        cmocka_unit_test(a_header_that_lies_is_refused),
        cmocka_unit_test(without_room_for_the_reply_nothing_is_done),
        cmocka_unit_test(some_requests_have_no_reply_and_some_no_answer),
        cmocka_unit_test(a_client_that_starts_again_begins_with_nothing),
        cmocka_unit_test(what_is_no_directory_or_a_procfs_is_not_shared),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
