/* SPDX-License-Identifier: Apache-2.0 */
/* Data, attributes, directories, extended attributes. */
#include "client.h"

#include <grp.h>
#include <linux/falloc.h>
#include <sys/xattr.h>
#include <time.h>

static struct client *with_file(uint64_t *node, const char *text)
{
    struct client *c = client_new((struct share_config){ 0 });

    client_file(c, "f", text);
    *node = client_lookup(c, 1, "f").nodeid;
    return c;
}

static mode_t mode_of(struct client *c, const char *name)
{
    struct stat st;

    assert_int_equal(lstat(client_path(c, name), &st), 0);
    return st.st_mode & 07777;
}

static void text_is(struct client *c, const char *name, const char *text)
{
    char got[256];
    int fd = open(client_path(c, name), O_RDONLY | O_CLOEXEC);
    ssize_t n = read(fd, got, sizeof(got));

    close(fd);
    assert_int_equal(n, strlen(text));
    assert_memory_equal(got, text, n);
}

/* ---- READ, WRITE ------------------------------------------------------------------------------------ */

static int read_at(struct client *c, uint64_t fh, uint64_t offset, uint32_t size)
{
    struct fuse_read_in in = { .fh = fh, .offset = offset, .size = size };

    return ASK(c, FUSE_READ, 1, in, NULL, 0);
}

static int write_at(struct client *c, uint64_t fh, uint64_t offset, const char *text,
                    uint32_t write_flags, uint32_t flags)
{
    struct fuse_write_in in = { .fh = fh,
                                .offset = offset,
                                .size = (uint32_t)strlen(text),
                                .write_flags = write_flags,
                                .flags = flags };

    return ASK(c, FUSE_WRITE, 1, in, text, strlen(text));
}

static void data_is_read_and_written(void **state)
{
    struct fuse_write_in lie = { .size = 5 };
    uint64_t node, fh;
    struct client *c = with_file(&node, "0123456789");

    (void)state;
    c->piece = 3;
    lie.fh = fh = client_open(c, node, O_RDWR | O_APPEND | O_DIRECT | O_SYNC);
    assert_int_equal(read_at(c, fh, 2, 5), 0);
    assert_int_equal(c->length, 5);
    assert_memory_equal(client_reply(c), "23456", 5);
    assert_int_equal(read_at(c, fh, 8, 5), 0);
    assert_int_equal(c->length, 2);
    assert_int_equal(read_at(c, fh, 100, 5), 0);
    assert_int_equal(c->length, 0);
    assert_int_equal(read_at(c, fh, UINT64_MAX, 5), -EINVAL);
    c->room = 16 + 3; /* no more than there is room for */
    assert_int_equal(read_at(c, fh, 0, UINT32_MAX), 0);
    assert_int_equal(c->length, 3);
    c->room = 8192;
    assert_int_equal(write_at(c, fh, 3, "abcdef", 0, 0), 0);
    text_is(c, "f", "012abcdef9");
    assert_int_equal(write_at(c, fh, UINT64_MAX, "x", 0, 0), -EINVAL);
    assert_int_equal(ASK(c, FUSE_WRITE, 1, lie, "1234", 4), -EINVAL);
    lie.size = SHARE_DATA_MAX + 1;
    assert_int_equal(ASK(c, FUSE_WRITE, 1, lie, "1234", 4), -EINVAL);
    text_is(c, "f", "012abcdef9");
    client_free(c);
}

/* fcntl(2) may set and clear O_APPEND after the open: each write says what holds for it. */
static void a_write_appends_where_it_says_so(void **state)
{
    uint64_t node, fh;
    struct client *c = with_file(&node, "0123");

    (void)state;
    fh = client_open(c, node, O_WRONLY | O_APPEND);
    assert_int_equal(write_at(c, fh, 0, "A", 0, 0), 0);
    text_is(c, "f", "A123");
    if (write_at(c, fh, 0, "B", 0, O_APPEND) == -ENOSYS) {
        client_free(c);
        unit_skip("there is no pwritev2(2) here");
    }
    text_is(c, "f", "A123B");
    assert_int_equal(write_at(c, fh, 1, "C", FUSE_WRITE_CACHE, O_APPEND), 0);
    assert_int_equal(write_at(c, fh, 2, "D", 0, O_SYNC), 0);
    assert_int_equal(write_at(c, fh, 3, "E", 0, O_DSYNC), 0);
    text_is(c, "f", "ACDEB");
    client_free(c);
}

static void a_handle_is_what_it_was_given_for(void **state)
{
    struct fuse_release_in release = { 0 };
    struct fuse_open_in open_dir = { 0 }, both = { .flags = O_ACCMODE };
    uint64_t node, fh, dir;
    struct client *c = with_file(&node, "text");
    struct fuse_read_in in = { .size = 4096 };

    (void)state;
    in.fh = fh = client_open(c, node, O_RDONLY);
    assert_int_equal(ASK(c, FUSE_OPENDIR, 1, open_dir, NULL, 0), 0);
    dir = client_opened(c).fh;
    assert_int_equal(ASK(c, FUSE_READDIR, 1, in, NULL, 0), -EBADF);
    assert_int_equal(read_at(c, dir, 0, 4), -EBADF);
    assert_int_equal(write_at(c, fh, 0, "x", 0, 0), -EBADF); /* read-only */
    assert_int_equal(read_at(c, 0, 0, 4), -EBADF);
    assert_int_equal(read_at(c, UINT64_MAX, 0, 4), -EBADF);
    release.fh = fh;
    assert_int_equal(ASK(c, FUSE_RELEASEDIR, node, release, NULL, 0), 0);
    assert_int_equal(read_at(c, fh, 0, 4), 0);
    assert_int_equal(ASK(c, FUSE_RELEASE, node, release, NULL, 0), 0);
    assert_int_equal(read_at(c, fh, 0, 4), -EBADF);
    assert_int_not_equal(client_open(c, node, O_RDONLY), fh);
    assert_int_equal(read_at(c, fh, 0, 4), -EBADF);
    assert_int_equal(ASK(c, FUSE_OPEN, node, both, NULL, 0), -EINVAL);
    assert_int_equal(ASK(c, FUSE_OPEN, 1, open_dir, NULL, 0), -EISDIR);
    client_free(c);
}

/* 7.33: whoever lacks CAP_FSETID says so, and the host's kernel does to the file what it does to his. */
static void set_ids_go_when_the_client_says_so(void **state)
{
    struct fuse_setattr_in size = { .valid = FATTR_SIZE };
    struct fuse_open_in trunc = { .flags = O_WRONLY | O_TRUNC };
    uint64_t node, fh;
    struct client *c = with_file(&node, "text");

    (void)state;
    if (geteuid() != 0) {
        client_free(c);
        unit_skip("an ordinary user has no CAP_FSETID to lay down");
    }
    fh = client_open(c, node, O_WRONLY);
    for (int kill = 0; kill < 2; kill++) {
        mode_t after = kill ? 0755 : 06755;

        assert_int_equal(chmod(client_path(c, "f"), 06755), 0);
        assert_int_equal(write_at(c, fh, 0, "x", kill ? FUSE_WRITE_KILL_SUIDGID : 0, 0), 0);
        assert_int_equal(mode_of(c, "f"), after);
        assert_int_equal(chmod(client_path(c, "f"), 06755), 0);
        size.valid = FATTR_SIZE | (kill ? FATTR_KILL_SUIDGID : 0);
        assert_int_equal(ASK(c, FUSE_SETATTR, node, size, NULL, 0), 0);
        assert_int_equal(mode_of(c, "f"), after);
        assert_int_equal(chmod(client_path(c, "f"), 06755), 0);
        trunc.open_flags = kill ? FUSE_OPEN_KILL_SUIDGID : 0;
        assert_int_equal(ASK(c, FUSE_OPEN, node, trunc, NULL, 0), 0);
        assert_int_equal(mode_of(c, "f"), after);
        /* Setgid without the right to execute is no right: it stays, whoever writes. */
        assert_int_equal(chown(client_path(c, "f"), 0, 99), 0);
        assert_int_equal(chmod(client_path(c, "f"), 06645), 0);
        assert_int_equal(write_at(c, fh, 0, "x", kill ? FUSE_WRITE_KILL_SUIDGID : 0, 0), 0);
        assert_int_equal(mode_of(c, "f"), kill ? 02645 : 06645);
    }
    client_free(c);
}

/* The client has seen that its caller is not in the group of the file, be that the server's own. */
static void setgid_goes_with_an_acl_when_the_client_says_so(void **state)
{
    static const uint8_t acl[] = { 2,   0,   0,   0, /* as user::rw-,group::r-x,other::--- */
                                   1,   0,   6,   0,   255, 255, 255, 255, 4,   0,   5,   0,
                                   255, 255, 255, 255, 32,  0,   0,   0,   255, 255, 255, 255 };
    struct fuse_setxattr_in in = { .size = sizeof(acl) };
    char both[64] = "system.posix_acl_access";
    size_t len = strlen(both) + 1;
    gid_t root = 0;
    uint64_t node;
    struct client *c;

    (void)state;
    setgroups(1, &root); /* as a login of root has it; the server lays it down */
    c = with_file(&node, "text");
    memcpy(both + len, acl, sizeof(acl));
    c->uid = c->gid = 1234;
    for (int kill = 0; kill < 2; kill++) {
        in.setxattr_flags = kill ? FUSE_SETXATTR_ACL_KILL_SGID : 0;
        assert_int_equal(chmod(client_path(c, "f"), 02755), 0);
        if (geteuid() != 0 || ASK(c, FUSE_SETXATTR, node, in, both, len + sizeof(acl)) != 0) {
            client_free(c);
            unit_skip("it takes root and a file system with ACLs");
        }
        assert_int_equal(mode_of(c, "f"), kill ? 0650 : 02650);
    }
    client_free(c);
}

static void holes_copies_and_syncs_are_the_kernels(void **state)
{
    uint64_t node, fh;
    struct client *c = with_file(&node, "text");
    struct fuse_fallocate_in more = { .length = 65536, .mode = FALLOC_FL_KEEP_SIZE };
    struct fuse_setattr_in size = { .valid = FATTR_SIZE, .size = 1 << 20 };
    struct fuse_lseek_in seek = { .offset = 0, .whence = SEEK_HOLE };
    struct fuse_copy_file_range_in copy = { .off_out = 2, .len = 3 };
    struct fuse_fsync_in sync = { .fsync_flags = FUSE_FSYNC_FDATASYNC };
    struct fuse_flush_in flush = { 0 };

    (void)state;
    more.fh = seek.fh = copy.fh_in = copy.fh_out = sync.fh = flush.fh = fh = client_open(c, node,
                                                                                         O_RDWR);
    assert_int_equal(ASK(c, FUSE_FALLOCATE, node, more, NULL, 0), 0);
    more.length = UINT64_MAX;
    assert_int_equal(ASK(c, FUSE_FALLOCATE, node, more, NULL, 0), -EINVAL);
    assert_int_equal(ASK(c, FUSE_SETATTR, node, size, NULL, 0), 0);
    assert_int_equal(ASK(c, FUSE_LSEEK, node, seek, NULL, 0), 0);
    seek.whence = SEEK_END;
    assert_int_equal(ASK(c, FUSE_LSEEK, node, seek, NULL, 0), -EINVAL);
    size.size = 4;
    assert_int_equal(ASK(c, FUSE_SETATTR, node, size, NULL, 0), 0);
    assert_int_equal(ASK(c, FUSE_FSYNC, node, sync, NULL, 0), 0);
    assert_int_equal(ASK(c, FUSE_FLUSH, node, flush, NULL, 0), 0);
    assert_int_equal(client_ask(c, FUSE_STATFS, 1, NULL, 0, NULL, 0), 0);
    copy.flags = 1;
    assert_int_equal(ASK(c, FUSE_COPY_FILE_RANGE, node, copy, NULL, 0), -EINVAL);
    size.size = UINT64_MAX;
    assert_int_equal(ASK(c, FUSE_SETATTR, node, size, NULL, 0), -EFBIG);
    client_free(c);
}

/* ---- attributes ------------------------------------------------------------------------------------- */

static void attributes_are_set(void **state)
{
    uint64_t node;
    struct client *c = with_file(&node, "text");
    struct fuse_setattr_in in = { .valid = FATTR_MODE | FATTR_ATIME | FATTR_MTIME,
                                  .mode = S_IFREG | 04711,
                                  .atime = 1,
                                  .atimensec = 2,
                                  .mtime = (uint64_t)-3,
                                  .mtimensec = 4 };
    struct fuse_attr_out out;
    struct stat st;

    (void)state;
    assert_int_equal(ASK(c, FUSE_SETATTR, node, in, NULL, 0), 0);
    memcpy(&out, client_reply(c), sizeof(out));
    assert_int_equal(out.attr.mode, S_IFREG | 04711);
    assert_int_equal(stat(client_path(c, "f"), &st), 0);
    assert_int_equal(st.st_atim.tv_sec, 1);
    assert_int_equal(st.st_mtim.tv_sec, -3);
    assert_int_equal(st.st_mtim.tv_nsec, 4);
    in.valid = FATTR_MTIME;
    in.mtimensec = UTIME_NOW; /* not what it means in utimensat(2) */
    assert_int_equal(ASK(c, FUSE_SETATTR, node, in, NULL, 0), -EINVAL);
    in.valid = FATTR_MTIME | FATTR_MTIME_NOW;
    assert_int_equal(ASK(c, FUSE_SETATTR, node, in, NULL, 0), 0);
    assert_int_equal(stat(client_path(c, "f"), &st), 0);
    assert_true(st.st_mtim.tv_sec > 1000000000);
    client_free(c);
}

static void the_owner_of_a_symlink_is_its_own(void **state)
{
    struct client *c = client_new((struct share_config){ 0 });
    struct fuse_setattr_in in = {
        .valid = FATTR_UID | FATTR_GID | FATTR_MTIME, .uid = 12, .gid = 34, .mtime = 5
    };
    struct stat st;

    (void)state;
    if (geteuid() != 0) {
        client_free(c);
        unit_skip("only root gives files away");
    }
    assert_int_equal(symlink("../outside/secret", client_path(c, "l")), 0);
    assert_int_equal(ASK(c, FUSE_SETATTR, client_lookup(c, 1, "l").nodeid, in, NULL, 0), 0);
    assert_int_equal(lstat(client_path(c, "l"), &st), 0);
    assert_int_equal(st.st_uid, 12);
    assert_int_equal(st.st_mtim.tv_sec, 5);
    assert_int_equal(stat(client_path(c, "../outside/secret"), &st), 0);
    assert_int_equal(st.st_uid, 0);
    in.valid = FATTR_MODE;
    assert_int_equal(ASK(c, FUSE_SETATTR, client_lookup(c, 1, "l").nodeid, in, NULL, 0),
                     -EOPNOTSUPP);
    client_free(c);
}

/* A file that the host has removed, whose node had no fd any more. */
static void an_open_file_has_attributes_when_its_name_is_gone(void **state)
{
    struct client *c = client_new((struct share_config){ .max_node_fds = 2 });
    struct fuse_setattr_in size = { .valid = FATTR_SIZE | FATTR_FH, .size = 2 };
    struct fuse_getattr_in in = { .getattr_flags = FUSE_GETATTR_FH };
    struct fuse_attr_out out;
    uint64_t node;

    (void)state;
    client_file(c, "f", "text");
    client_file(c, "g", "");
    client_file(c, "h", "");
    node = client_lookup(c, 1, "f").nodeid;
    in.fh = size.fh = client_open(c, node, O_RDWR);
    for (int i = 0; i < 8; i++)
        client_lookup(c, 1, i % 2 ? "g" : "h");
    assert_int_equal(unlink(client_path(c, "f")), 0);
    assert_int_equal(ASK(c, FUSE_GETATTR, node, in, NULL, 0), 0);
    memcpy(&out, client_reply(c), sizeof(out));
    assert_int_equal(out.attr.size, 4);
    assert_int_equal(out.attr.nlink, 0);
    assert_int_equal(ASK(c, FUSE_SETATTR, node, size, NULL, 0), 0);
    memcpy(&out, client_reply(c), sizeof(out));
    assert_int_equal(out.attr.size, 2);
    in.fh = size.fh = 0;
    assert_int_equal(ASK(c, FUSE_GETATTR, node, in, NULL, 0), -EBADF);
    assert_int_equal(ASK(c, FUSE_SETATTR, node, size, NULL, 0), -EBADF);
    client_free(c);
}

static void pages_are_kept_of_a_file_that_has_not_changed(void **state)
{
    struct fuse_open_in in = { .flags = O_RDONLY };
    struct timespec past = { .tv_sec = 2 };
    uint64_t node;
    struct client *c = with_file(&node, "text");

    (void)state;
    /* Just made: whether it changes once more cannot be seen yet. */
    for (int i = 0; i < 2; i++) {
        assert_int_equal(ASK(c, FUSE_OPEN, node, in, NULL, 0), 0);
        assert_false(client_opened(c).open_flags & FOPEN_KEEP_CACHE);
    }
    assert_true(client_opened(c).open_flags & FOPEN_NOFLUSH);
    past.tv_nsec = 200000000;
    nanosleep(&past, NULL);
    for (int i = 0; i < 3; i++) {
        assert_int_equal(ASK(c, FUSE_OPEN, node, in, NULL, 0), 0);
        assert_int_equal(!!(client_opened(c).open_flags & FOPEN_KEEP_CACHE), i > 0);
    }
    client_file(c, "f", "txet");
    assert_int_equal(ASK(c, FUSE_OPEN, node, in, NULL, 0), 0);
    assert_false(client_opened(c).open_flags & FOPEN_KEEP_CACHE);
    in.flags = O_RDWR;
    assert_int_equal(ASK(c, FUSE_OPEN, node, in, NULL, 0), 0);
    assert_false(client_opened(c).open_flags & FOPEN_NOFLUSH);
    client_free(c);
}

/* ---- directories ------------------------------------------------------------------------------------ */

enum { ENTRIES = 100 };

struct seen {
    unsigned n, dots;
    uint64_t last, parent_ino;
};

static void take_entry(const struct fuse_dirent *d, struct seen *seen)
{
    const char *name = (const char *)(d + 1);

    seen->n++;
    seen->last = d->off;
    if (d->namelen <= 2 && name[0] == '.')
        seen->dots++;
    if (d->namelen == 2 && memcmp(name, "..", 2) == 0)
        seen->parent_ino = d->ino;
}

static int read_dir(struct client *c, uint32_t opcode, uint64_t fh, uint32_t size,
                    struct seen *seen)
{
    struct fuse_read_in in = { .fh = fh, .offset = seen->last, .size = size };
    size_t extra = opcode == FUSE_READDIRPLUS ? sizeof(struct fuse_entry_out) : 0;
    int r = ASK(c, opcode, 1, in, NULL, 0);

    for (size_t at = 0; r == 0 && at < c->length;) {
        struct fuse_dirent d[16];

        memcpy(d, (const uint8_t *)client_reply(c) + at + extra,
               c->length - at - extra < sizeof(d) ? c->length - at - extra : sizeof(d));
        take_entry(d, seen);
        at += extra + FUSE_DIRENT_SIZE(d);
        assert_true(at <= c->length);
    }
    return r;
}

static uint64_t open_full_directory(struct client *c)
{
    struct fuse_open_in in = { 0 };

    for (unsigned i = 0; i < ENTRIES; i++) {
        char name[64];

        snprintf(name, sizeof(name), "%0*u", 1 + (int)i % 40, i);
        client_file(c, name, "");
    }
    assert_int_equal(ASK(c, FUSE_OPENDIR, 1, in, NULL, 0), 0);
    return client_opened(c).fh;
}

static void a_directory_is_read_in_parts_of_any_size(void **state)
{
    static const uint32_t opcodes[] = { FUSE_READDIR, FUSE_READDIRPLUS };
    struct client *c = client_new((struct share_config){ 0 });
    uint64_t fh = open_full_directory(c);
    struct share_stats st;

    (void)state;
    for (unsigned o = 0; o < COUNT_OF(opcodes); o++) {
        for (uint32_t size = 240; size < 9000; size = size * 3 / 2) {
            struct seen seen = { 0 };
            struct stat root;

            do
                assert_int_equal(read_dir(c, opcodes[o], fh, size, &seen), 0);
            while (c->length > 0);
            assert_int_equal(seen.n, ENTRIES + 2);
            assert_int_equal(seen.dots, 2);
            assert_int_equal(stat(client_path(c, ""), &root), 0);
            assert_int_equal(seen.parent_ino, root.st_ino);
        }
    }
    share_describe(c->share, &st);
    assert_int_equal(st.nodes, ENTRIES + 1);
    client_free(c);
}

static void a_part_that_holds_no_entry_is_refused(void **state)
{
    struct client *c = client_new((struct share_config){ 0 });
    struct seen seen = { 0 };
    uint64_t fh = open_full_directory(c);

    (void)state;
    assert_int_equal(read_dir(c, FUSE_READDIR, fh, 31, &seen), -EINVAL);
    assert_int_equal(read_dir(c, FUSE_READDIRPLUS, fh, 128, &seen), -EINVAL);
    assert_int_equal(read_dir(c, FUSE_READDIR, fh, 0, &seen), -EINVAL);
    seen.last = UINT64_MAX;
    assert_int_equal(read_dir(c, FUSE_READDIR, fh, 4096, &seen), -EINVAL);
    client_free(c);
}

/* ---- extended attributes ---------------------------------------------------------------------------- */

static int set_xattr(struct client *c, uint64_t node, const char *name, const char *value,
                     uint32_t size)
{
    struct fuse_setxattr_in in = { .size = size };
    char both[256];
    size_t len = strlen(name) + 1;

    memcpy(both, name, len);
    memcpy(both + len, value, strlen(value));
    return ASK(c, FUSE_SETXATTR, node, in, both, len + strlen(value));
}

static int get_xattr(struct client *c, uint64_t node, const char *name, uint32_t size)
{
    struct fuse_getxattr_in in = { .size = size };

    return ASK(c, name ? FUSE_GETXATTR : FUSE_LISTXATTR, node, in, name,
               name ? strlen(name) + 1 : 0);
}

static void extended_attributes_are_bounded(void **state)
{
    uint64_t node;
    struct client *c = with_file(&node, "text");
    struct fuse_getxattr_out out;
    char name[300];
    int r = set_xattr(c, node, "user.a", "value", 5);

    (void)state;
    if (r == -EOPNOTSUPP) {
        client_free(c);
        unit_skip("the file system of /tmp has no user.* attributes");
    }
    assert_int_equal(r, 0);
    assert_int_equal(get_xattr(c, node, "user.a", 0), 0);
    memcpy(&out, client_reply(c), sizeof(out));
    assert_int_equal(out.size, 5);
    assert_int_equal(get_xattr(c, node, "user.a", 4), -ERANGE);
    assert_int_equal(get_xattr(c, node, "user.a", 5), 0);
    assert_memory_equal(client_reply(c), "value", 5);
    c->room = 16 + 4;
    assert_int_equal(get_xattr(c, node, "user.a", 5), -ERANGE);
    c->room = 8192;
    assert_int_equal(get_xattr(c, node, "user.b", 5), -ENODATA);
    assert_int_equal(set_xattr(c, node, "user.a", "value", 6), -EINVAL);
    assert_int_equal(set_xattr(c, node, "user.a", "value", UINT32_MAX), -E2BIG);
    memset(name, 'n', sizeof(name));
    name[sizeof(name) - 1] = '\0';
    assert_int_equal(get_xattr(c, node, name, 0), -ERANGE);
    assert_int_equal(client_named(c, FUSE_REMOVEXATTR, node, "user.a"), 0);
    assert_int_equal(get_xattr(c, node, "user.a", 5), -ENODATA);
    client_free(c);
}

static void what_is_the_hosts_is_hidden(void **state)
{
    (void)state;
    if (geteuid() != 0)
        unit_skip("only root has trusted.* attributes");
    for (int trusted = 0; trusted < 2; trusted++) {
        struct client *c = client_new((struct share_config){ .trusted_xattrs = trusted });
        uint64_t node;

        client_file(c, "f", "text");
        node = client_lookup(c, 1, "f").nodeid;
        if (lsetxattr(client_path(c, "f"), "trusted.overlay.x", "y", 1, 0) < 0) {
            client_free(c);
            unit_skip("the file system of /tmp has no trusted.* attributes");
        }
        assert_int_equal(set_xattr(c, node, "trusted.x", "y", 1), trusted ? 0 : -EPERM);
        assert_int_equal(get_xattr(c, node, "trusted.overlay.x", 1), trusted ? 0 : -ENODATA);
        assert_int_equal(get_xattr(c, node, NULL, 1000), 0);
        assert_int_equal(c->length, trusted ? 18 + 10 : 0);
        assert_int_equal(client_named(c, FUSE_REMOVEXATTR, node, "trusted.overlay.x"),
                         trusted ? 0 : -EPERM);
        assert_int_equal(set_xattr(c, node, "security.ima", "y", 1), -EPERM);
        client_free(c);
    }
}

static void the_older_form_of_setxattr_is_taken_where_agreed(void **state)
{
    uint64_t node;
    struct client *c = with_file(&node, "text");
    const char old[] = "\5\0\0\0\0\0\0\0user.a\0value";

    (void)state;
    assert_int_equal(client_init(c, 32, 0), 0);
    node = client_lookup(c, 1, "f").nodeid;
    if (client_ask(c, FUSE_SETXATTR, node, old, sizeof(old) - 1, NULL, 0) == -EOPNOTSUPP) {
        client_free(c);
        unit_skip("the file system of /tmp has no user.* attributes");
    }
    assert_int_equal(get_xattr(c, node, "user.a", 5), 0);
    assert_memory_equal(client_reply(c), "value", 5);
    client_free(c);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(data_is_read_and_written),
        cmocka_unit_test(a_write_appends_where_it_says_so),
        cmocka_unit_test(a_handle_is_what_it_was_given_for),
        cmocka_unit_test(set_ids_go_when_the_client_says_so),
        cmocka_unit_test(setgid_goes_with_an_acl_when_the_client_says_so),
        cmocka_unit_test(holes_copies_and_syncs_are_the_kernels),
        cmocka_unit_test(attributes_are_set),
        cmocka_unit_test(the_owner_of_a_symlink_is_its_own),
        cmocka_unit_test(an_open_file_has_attributes_when_its_name_is_gone),
        cmocka_unit_test(pages_are_kept_of_a_file_that_has_not_changed),
        cmocka_unit_test(a_directory_is_read_in_parts_of_any_size),
        cmocka_unit_test(a_part_that_holds_no_entry_is_refused),
        cmocka_unit_test(extended_attributes_are_bounded),
        cmocka_unit_test(what_is_the_hosts_is_hidden),
        cmocka_unit_test(the_older_form_of_setxattr_is_taken_where_agreed),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
