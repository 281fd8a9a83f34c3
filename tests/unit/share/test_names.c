/* SPDX-License-Identifier: Apache-2.0 */
/* Names that a client makes up, links that lead out, and whose new files are. */
#include "client.h"

#include <linux/fs.h>
#include <pthread.h>
#include <sys/syscall.h>
#include <sys/sysmacros.h>

static struct share_config with_devices(bool devices)
{
    return (struct share_config){ .devices = devices };
}

static struct stat host_stat(struct client *c, const char *name)
{
    struct stat st;

    assert_int_equal(lstat(client_path(c, name), &st), 0);
    return st;
}

/* ---- names ------------------------------------------------------------------------------------------ */

struct operation {
    uint32_t opcode;
    size_t args;
    const char *before; /* a name in front of the one that is tried */
};

static const struct operation named[] = {
    { FUSE_LOOKUP, 0, NULL },
    { FUSE_UNLINK, 0, NULL },
    { FUSE_RMDIR, 0, NULL },
    { FUSE_MKDIR, sizeof(struct fuse_mkdir_in), NULL },
    { FUSE_MKNOD, sizeof(struct fuse_mknod_in), NULL },
    { FUSE_SYMLINK, 0, NULL },
    { FUSE_LINK, sizeof(struct fuse_link_in), NULL },
    { FUSE_CREATE, sizeof(struct fuse_create_in), NULL },
    { FUSE_RENAME, sizeof(struct fuse_rename_in), NULL },
    { FUSE_RENAME, sizeof(struct fuse_rename_in), "f" },
    { FUSE_RENAME2, sizeof(struct fuse_rename2_in), "f" },
};

static int try_name(struct client *c, const struct operation *op, const char *name, size_t len)
{
    uint8_t args[sizeof(struct fuse_mknod_in) + 8] = { 0 };
    uint8_t names[1024];
    size_t at = op->before ? strlen(op->before) + 1 : 0;
    uint64_t root = 1;

    if (op->opcode == FUSE_RENAME || op->opcode == FUSE_RENAME2 || op->opcode == FUSE_LINK)
        memcpy(args, &root, sizeof(root));
    if (at)
        memcpy(names, op->before, at);
    memcpy(names + at, name, len);
    at += len;
    memcpy(names + at, "x", 2); /* a target, or a new name */
    return client_ask(c, op->opcode, 1, args, op->args, names, at + 2);
}

static void a_name_is_one_component(void **state)
{
    struct client *c = client_new(with_devices(false));
    char longest[NAME_MAX + 2];

    (void)state;
    memset(longest, 'n', sizeof(longest) - 1);
    longest[sizeof(longest) - 1] = '\0';
    client_file(c, "f", "text");
    for (size_t i = 0; i < COUNT_OF(named); i++) {
        const char *const names[] = {
            "", ".", "..", "/", "a/b", "../outside/secret", "/etc/passwd", "f/"
        };

        for (size_t n = 0; n < COUNT_OF(names); n++) {
            if (try_name(c, &named[i], names[n], strlen(names[n]) + 1) != -EINVAL)
                fail_msg("opcode %u takes '%s'", named[i].opcode, names[n]);
        }
        assert_int_equal(try_name(c, &named[i], longest, sizeof(longest)), -ENAMETOOLONG);
    }
    assert_int_equal(client_named(c, FUSE_LOOKUP, 1, longest + 1), -ENOENT);
    /* No NUL: what lies behind the request is no part of the name. */
    assert_int_equal(client_ask(c, FUSE_LOOKUP, 1, NULL, 0, "f", 1), -EINVAL);
    assert_int_equal(client_named(c, FUSE_LOOKUP, 1, "f"), 0);
    client_free(c);
}

static void only_a_directory_has_names(void **state)
{
    struct client *c = client_new(with_devices(false));
    uint64_t file;

    (void)state;
    client_file(c, "f", "text");
    file = client_lookup(c, 1, "f").nodeid;
    assert_int_equal(client_named(c, FUSE_LOOKUP, file, "x"), -ENOTDIR);
    assert_int_equal(client_create(c, file, "x", O_RDWR, 0644), -ENOTDIR);
    assert_int_equal(client_named(c, FUSE_UNLINK, file, "x"), -ENOTDIR);
    client_free(c);
}

/* ---- what is not followed, and not opened ----------------------------------------------------------- */

static void a_symlink_is_a_file_like_others(void **state)
{
    struct client *c = client_new(with_devices(false));
    struct fuse_open_in open = { .flags = O_RDWR };
    struct fuse_entry_out file, dir;

    (void)state;
    assert_int_equal(symlink("../outside/secret", client_path(c, "file")), 0);
    assert_int_equal(symlink("../outside", client_path(c, "dir")), 0);
    file = client_lookup(c, 1, "file");
    dir = client_lookup(c, 1, "dir");
    assert_true(S_ISLNK(file.attr.mode) && S_ISLNK(dir.attr.mode));
    assert_int_equal(client_ask(c, FUSE_READLINK, file.nodeid, NULL, 0, NULL, 0), 0);
    assert_int_equal(c->length, 17);
    assert_memory_equal(client_reply(c), "../outside/secret", 17);
    assert_int_equal(ASK(c, FUSE_OPEN, file.nodeid, open, NULL, 0), -ENXIO);
    assert_int_equal(ASK(c, FUSE_OPENDIR, dir.nodeid, open, NULL, 0), -ENOTDIR);
    assert_int_equal(client_named(c, FUSE_LOOKUP, dir.nodeid, "secret"), -ENOTDIR);
    assert_int_equal(client_named(c, FUSE_UNLINK, dir.nodeid, "secret"), -ENOTDIR);
    /* The client has to look at what is there by now. */
    assert_int_equal(client_create(c, 1, "file", O_RDWR | O_TRUNC, 0644), -ESTALE);
    assert_int_equal(client_create(c, 1, "file", O_RDWR | O_EXCL, 0644), -EEXIST);
    c->room = 16 + 4;
    assert_int_equal(client_ask(c, FUSE_READLINK, file.nodeid, NULL, 0, NULL, 0), -ENAMETOOLONG);
    client_free(c);
}

static void a_directory_that_becomes_a_symlink_is_left_alone(void **state)
{
    struct client *c = client_new(with_devices(false));
    char moved[sizeof(c->path)];
    uint64_t dir;

    (void)state;
    assert_int_equal(mkdir(client_path(c, "d"), 0755), 0);
    dir = client_lookup(c, 1, "d").nodeid;
    strcpy(moved, client_path(c, "moved"));
    assert_int_equal(rename(client_path(c, "d"), moved), 0);
    assert_int_equal(symlink("../outside", client_path(c, "d")), 0);
    assert_int_equal(client_named(c, FUSE_LOOKUP, dir, "secret"), -ENOENT);
    assert_int_equal(client_create(c, dir, "new", O_RDWR, 0644), 0);
    assert_true(S_ISREG(host_stat(c, "moved/new").st_mode));
    assert_true(S_ISLNK(client_lookup(c, 1, "d").attr.mode));
    client_free(c);
}

struct storm {
    char one[sizeof(((struct client *)NULL)->path)], other[sizeof(((struct client *)NULL)->path)];
    bool end;
};

static void *exchange(void *arg)
{
    struct storm *s = arg;

    while (!__atomic_load_n(&s->end, __ATOMIC_RELAXED))
        syscall(SYS_renameat2, AT_FDCWD, s->one, AT_FDCWD, s->other, RENAME_EXCHANGE);
    return NULL;
}

/* A directory and a symlink that leads out change places all the time. */
static void a_storm_of_renames_leads_nowhere(void **state)
{
    struct client *c = client_new((struct share_config){ .max_node_fds = 3 });
    unsigned directories = 0, links = 0;
    struct storm storm = { .end = false };
    pthread_t thread;

    (void)state;
    strcpy(storm.one, client_path(c, "d"));
    assert_int_equal(mkdir(storm.one, 0755), 0);
    client_file(c, "d/inside", "");
    client_file(c, "x", "");
    client_file(c, "y", "");
    strcpy(storm.other, client_path(c, "l"));
    assert_int_equal(symlink("../outside", storm.other), 0);
    assert_int_equal(pthread_create(&thread, NULL, exchange, &storm), 0);
    for (unsigned i = 0; i < 3000 || ((!directories || !links) && i < 300000); i++) {
        struct fuse_forget_in forget = { .nlookup = 1 };
        uint64_t node;
        int r;

        /* Both may be gone for a moment only for who looks twice. */
        if (client_named(c, FUSE_LOOKUP, 1, "d") < 0)
            continue;
        node = client_entry(c).nodeid;
        *(S_ISLNK(client_entry(c).attr.mode) ? &links : &directories) += 1;
        client_named(c, FUSE_LOOKUP, 1, "x"); /* closes the fd of "d" */
        client_named(c, FUSE_LOOKUP, 1, "y");
        r = client_named(c, FUSE_LOOKUP, node, "secret");
        assert_true(r == -ENOENT || r == -ENOTDIR || r == -ESTALE);
        r = client_create(c, node, "made", O_RDWR | O_EXCL, 0644);
        assert_true(r == 0 || r == -EEXIST || r == -ENOTDIR || r == -ESTALE);
        ASK(c, FUSE_FORGET, node, forget, NULL, 0);
    }
    __atomic_store_n(&storm.end, true, __ATOMIC_RELAXED);
    pthread_join(thread, NULL);
    assert_true(directories > 0 && links > 0);
    assert_int_equal(access(client_path(c, "../outside/made"), F_OK), -1);
    client_free(c);
}

static void a_fifo_is_never_opened(void **state)
{
    struct client *c = client_new(with_devices(false));
    struct fuse_open_in open = { .flags = O_WRONLY };
    struct fuse_setattr_in size = { .valid = FATTR_SIZE };
    uint64_t fifo;

    (void)state;
    assert_int_equal(mkfifo(client_path(c, "fifo"), 0600), 0);
    fifo = client_lookup(c, 1, "fifo").nodeid;
    assert_int_equal(ASK(c, FUSE_OPEN, fifo, open, NULL, 0), -ENXIO);
    assert_int_equal(client_create(c, 1, "fifo", O_WRONLY, 0600), -ESTALE);
    assert_int_equal(ASK(c, FUSE_SETATTR, fifo, size, NULL, 0), -EINVAL);
    assert_int_equal(client_ask(c, FUSE_READLINK, fifo, NULL, 0, NULL, 0), -EINVAL);
    client_free(c);
}

/* ---- links, renames --------------------------------------------------------------------------------- */

static void hard_links_are_one_node(void **state)
{
    struct client *c = client_new(with_devices(false));
    struct fuse_link_in link = { 0 };
    struct fuse_entry_out entry;

    (void)state;
    client_file(c, "f", "text");
    link.oldnodeid = client_lookup(c, 1, "f").nodeid;
    assert_int_equal(ASK(c, FUSE_LINK, 1, link, "g", 2), 0);
    entry = client_entry(c);
    assert_int_equal(entry.nodeid, link.oldnodeid);
    assert_int_equal(entry.attr.nlink, 2);
    assert_int_equal(ASK(c, FUSE_LINK, 1, link, "g", 2), -EEXIST);
    /* A symlink gets a second name itself, not what it names. */
    assert_int_equal(symlink("../outside/secret", client_path(c, "s")), 0);
    link.oldnodeid = client_lookup(c, 1, "s").nodeid;
    assert_int_equal(ASK(c, FUSE_LINK, 1, link, "t", 2), 0);
    assert_true(S_ISLNK(host_stat(c, "t").st_mode));
    link.oldnodeid = 12345;
    assert_int_equal(ASK(c, FUSE_LINK, 1, link, "u", 2), -ESTALE);
    client_free(c);
}

static void renames_are_those_of_the_kernel(void **state)
{
    struct client *c = client_new(with_devices(false));
    struct fuse_rename2_in in = { .newdir = 1, .flags = RENAME_NOREPLACE };
    uint64_t f;

    (void)state;
    client_file(c, "f", "f");
    client_file(c, "gg", "gg");
    f = client_lookup(c, 1, "f").nodeid;
    assert_int_equal(ASK(c, FUSE_RENAME2, 1, in, "f\0gg", 5), -EEXIST);
    in.flags = RENAME_EXCHANGE;
    assert_int_equal(ASK(c, FUSE_RENAME2, 1, in, "f\0gg", 5), 0);
    assert_int_equal(client_lookup(c, 1, "gg").nodeid, f);
    assert_int_equal(host_stat(c, "f").st_size, 2);
    in.flags = 8;
    assert_int_equal(ASK(c, FUSE_RENAME2, 1, in, "f\0gg", 5), -EINVAL);
    in.flags = 0;
    in.newdir = f;
    assert_int_equal(ASK(c, FUSE_RENAME2, 1, in, "f\0h", 4), -ENOTDIR);
    in.newdir = 1;
    assert_int_equal(ASK(c, FUSE_RENAME2, 1, in, "f\0h", 4), 0);
    assert_int_equal(client_named(c, FUSE_LOOKUP, 1, "f"), -ENOENT);
    client_free(c);
}

/* ---- new files -------------------------------------------------------------------------------------- */

static void new_files_belong_to_the_caller(void **state)
{
    struct client *c = client_new(with_devices(false));
    struct fuse_mkdir_in dir = { .mode = 0777, .umask = 027 };
    struct fuse_mknod_in fifo = { .mode = S_IFIFO | 0666, .umask = 077 };

    (void)state;
    if (geteuid() != 0) {
        client_free(c);
        unit_skip("only root makes files of others");
    }
    c->uid = 1234;
    c->gid = 567;
    assert_int_equal(ASK(c, FUSE_MKDIR, 1, dir, "d", 2), 0);
    assert_int_equal(ASK(c, FUSE_MKNOD, 1, fifo, "p", 2), 0);
    assert_int_equal(client_ask(c, FUSE_SYMLINK, 1, "l", 2, "target", 7), 0);
    /* The directory is not writable for the caller here: his kernel has decided. */
    assert_int_equal(client_create(c, 1, "f", O_RDWR | O_EXCL, 04666), 0);
    for (const char *name = "dplf"; *name; name++) {
        struct stat st = host_stat(c, (char[2]){ *name });

        assert_int_equal(st.st_uid, 1234);
        assert_int_equal(st.st_gid, 567);
    }
    assert_int_equal(host_stat(c, "d").st_mode & 07777, 0750);
    assert_int_equal(host_stat(c, "p").st_mode & 07777, 0600);
    assert_int_equal(host_stat(c, "f").st_mode & 07777, 04644);
    c->uid = c->gid = 0;
    assert_int_equal(ASK(c, FUSE_MKDIR, 1, dir, "e", 2), 0);
    assert_int_equal(host_stat(c, "e").st_uid, 0);
    c->uid = UINT32_MAX; /* no id */
    assert_int_equal(ASK(c, FUSE_MKDIR, 1, dir, "n", 2), -EPERM);
    c->uid = 0;
    c->gid = UINT32_MAX;
    assert_int_equal(ASK(c, FUSE_MKDIR, 1, dir, "n", 2), -EPERM);
    client_free(c);
}

static void a_directory_with_setgid_gives_its_group(void **state)
{
    struct client *c = client_new(with_devices(false));
    struct fuse_mkdir_in dir = { .mode = 0755 };
    uint64_t d;

    (void)state;
    if (geteuid() != 0) {
        client_free(c);
        unit_skip("only root makes files of others");
    }
    assert_int_equal(mkdir(client_path(c, "d"), 0755), 0);
    assert_int_equal(chown(c->path, 0, 99), 0);
    assert_int_equal(chmod(c->path, 02775), 0);
    d = client_lookup(c, 1, "d").nodeid;
    c->uid = c->gid = 1234;
    assert_int_equal(client_create(c, d, "f", O_RDWR, 0644), 0);
    assert_int_equal(ASK(c, FUSE_MKDIR, d, dir, "e", 2), 0);
    assert_int_equal(host_stat(c, "d/f").st_gid, 99);
    assert_int_equal(host_stat(c, "d/e").st_gid, 99);
    assert_true(host_stat(c, "d/e").st_mode & S_ISGID);
    client_free(c);
}

static void devices_are_made_where_that_is_allowed(void **state)
{
    struct fuse_mknod_in null = { .mode = S_IFCHR | 0666, .rdev = 1 << 8 | 3 };
    struct fuse_mknod_in block = { .mode = S_IFBLK | 0600, .rdev = 8 << 8 | 1 << 20 | 5 };
    struct fuse_mknod_in whiteout = { .mode = S_IFCHR }, directory = { .mode = S_IFDIR };

    (void)state;
    if (geteuid() != 0)
        unit_skip("only root makes devices");
    for (int allowed = 0; allowed < 2; allowed++) {
        struct client *c = client_new(with_devices(allowed));

        assert_int_equal(ASK(c, FUSE_MKNOD, 1, null, "n", 2), allowed ? 0 : -EPERM);
        assert_int_equal(ASK(c, FUSE_MKNOD, 1, block, "b", 2), allowed ? 0 : -EPERM);
        if (allowed) {
            assert_int_equal(client_entry(c).attr.rdev, block.rdev);
            assert_int_equal(host_stat(c, "b").st_rdev, makedev(8, 5 | 1 << 8));
            assert_int_equal(host_stat(c, "n").st_rdev, makedev(1, 3));
        }
        assert_int_equal(ASK(c, FUSE_MKNOD, 1, whiteout, "w", 2), 0);
        assert_int_equal(host_stat(c, "w").st_rdev, 0);
        assert_int_equal(ASK(c, FUSE_MKNOD, 1, directory, "d", 2), -EINVAL);
        client_free(c);
    }
}

static void a_file_without_a_name_may_get_one(void **state)
{
    struct client *c = client_new(with_devices(false));
    struct fuse_create_in in = { .flags = O_RDWR, .mode = 0600 };
    struct fuse_link_in link;

    (void)state;
    assert_int_equal(ASK(c, FUSE_TMPFILE, 1, in, NULL, 0), 0);
    link.oldnodeid = client_entry(c).nodeid;
    assert_int_equal(client_entry(c).attr.nlink, 0);
    assert_int_equal(ASK(c, FUSE_LINK, 1, link, "named", 6), 0);
    assert_int_equal(host_stat(c, "named").st_nlink, 1);
    client_free(c);
}

static void a_file_that_is_there_already_is_opened(void **state)
{
    struct client *c = client_new(with_devices(false));
    uint64_t node;

    (void)state;
    client_file(c, "f", "text");
    node = client_lookup(c, 1, "f").nodeid;
    assert_int_equal(client_create(c, 1, "f", O_RDWR | O_EXCL, 0600), -EEXIST);
    assert_int_equal(client_create(c, 1, "f", O_RDWR, 0600), 0);
    assert_int_equal(client_entry(c).nodeid, node);
    assert_int_equal(host_stat(c, "f").st_size, 4);
    assert_int_equal(client_create(c, 1, "f", O_RDWR | O_TRUNC, 0600), 0);
    assert_int_equal(host_stat(c, "f").st_size, 0);
    assert_int_equal(host_stat(c, "f").st_mode & 07777, 0644);
    assert_int_equal(client_create(c, 1, "f", O_ACCMODE, 0600), -EINVAL);
    client_free(c);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(a_name_is_one_component),
        cmocka_unit_test(only_a_directory_has_names),
        cmocka_unit_test(a_symlink_is_a_file_like_others),
        cmocka_unit_test(a_directory_that_becomes_a_symlink_is_left_alone),
        cmocka_unit_test(a_storm_of_renames_leads_nowhere),
        cmocka_unit_test(a_fifo_is_never_opened),
        cmocka_unit_test(hard_links_are_one_node),
        cmocka_unit_test(renames_are_those_of_the_kernel),
        cmocka_unit_test(new_files_belong_to_the_caller),
        cmocka_unit_test(a_directory_with_setgid_gives_its_group),
        cmocka_unit_test(devices_are_made_where_that_is_allowed),
        cmocka_unit_test(a_file_without_a_name_may_get_one),
        cmocka_unit_test(a_file_that_is_there_already_is_opened),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
