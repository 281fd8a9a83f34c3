/* SPDX-License-Identifier: Apache-2.0 */
/* What a client knows of, with few fds, while the host changes it; and what it can make us hold. */
#include "client.h"

#include <limits.h>
#include <malloc.h>
#include <pthread.h>
#include <sched.h>
#include <sys/mount.h>
#include <sys/sysmacros.h>

enum { FILES = 60, FDS = 8 };

static struct client *with_few_fds(void)
{
    return client_new((struct share_config){ .max_node_fds = FDS, .max_handles = 8 });
}

static struct share_stats stats(struct client *c)
{
    struct share_stats st;

    share_describe(c->share, &st);
    return st;
}

static uint64_t know(struct client *c, uint64_t parent, const char *dir, unsigned number)
{
    char name[32], path[64];

    snprintf(name, sizeof(name), "f%u", number);
    snprintf(path, sizeof(path), "%s%s", dir, name);
    client_file(c, path, name);
    return client_lookup(c, parent, name).nodeid;
}

/* So many others that a node's fd is closed, if it can be. */
static void crowd(struct client *c)
{
    static unsigned number = 1000;

    for (unsigned i = 0; i < 4 * FDS; i++)
        know(c, 1, "", number++);
}

static void closed_nodes_are_found_again(void **state)
{
    struct client *c = with_few_fds();
    uint64_t deep = 1, dirs[5], nodes[FILES];
    char path[64] = "";
    struct fuse_attr attr;

    (void)state;
    for (unsigned i = 0; i < COUNT_OF(dirs); i++) {
        strcat(path, "d/");
        assert_int_equal(mkdir(client_path(c, path), 0755), 0);
        dirs[i] = deep = client_lookup(c, deep, "d").nodeid;
    }
    for (unsigned i = 0; i < FILES; i++)
        nodes[i] = know(c, i % 2 ? deep : 1, i % 2 ? path : "", i);
    assert_true(stats(c).evictions > FILES / 2);
    assert_true(stats(c).node_fds <= FDS);
    assert_int_equal(stats(c).nodes, 1 + COUNT_OF(dirs) + FILES);
    for (unsigned round = 0; round < 3; round++) {
        for (unsigned i = 0; i < FILES; i++) {
            char name[32];

            assert_int_equal(client_getattr(c, nodes[i], &attr), 0);
            assert_int_equal(attr.size, snprintf(name, sizeof(name), "f%u", i));
            assert_true(stats(c).node_fds <= FDS);
        }
        crowd(c);
        for (unsigned i = 0; i < COUNT_OF(dirs); i++)
            assert_int_equal(client_getattr(c, dirs[i], NULL), 0);
    }
    assert_int_equal(client_lookup(c, deep, "f1").nodeid, nodes[1]);
    client_free(c);
}

static void a_closed_node_that_the_client_removes_or_renames_stays(void **state)
{
    struct client *c = with_few_fds();
    uint64_t gone = know(c, 1, "", 1), moved = know(c, 1, "", 2), over = know(c, 1, "", 3);
    struct fuse_rename_in in = { .newdir = 1 };
    struct fuse_attr attr;

    (void)state;
    crowd(c);
    assert_int_equal(client_named(c, FUSE_UNLINK, 1, "f1"), 0);
    assert_int_equal(ASK(c, FUSE_RENAME, 1, in, "f2\0f3", 6), 0);
    crowd(c);
    assert_int_equal(client_getattr(c, gone, &attr), 0);
    assert_int_equal(attr.nlink, 0);
    assert_int_equal(client_getattr(c, over, &attr), 0);
    assert_int_equal(attr.nlink, 0);
    assert_int_equal(client_getattr(c, moved, &attr), 0);
    assert_int_equal(attr.nlink, 1);
    client_free(c);
}

static void what_the_host_moves_is_looked_up_anew(void **state)
{
    struct client *c = with_few_fds();
    uint64_t node = know(c, 1, "", 1);
    char to[sizeof(c->path)];

    (void)state;
    crowd(c);
    strcpy(to, client_path(c, "elsewhere"));
    assert_int_equal(rename(client_path(c, "f1"), to), 0);
    assert_int_equal(client_getattr(c, node, NULL), -ESTALE);
    assert_int_equal(client_lookup(c, 1, "elsewhere").nodeid, node);
    assert_int_equal(client_getattr(c, node, NULL), 0);
    client_free(c);
}

static void another_file_of_the_same_name_is_not_taken_for_it(void **state)
{
    struct client *c = with_few_fds();
    uint64_t node = know(c, 1, "", 1);

    (void)state;
    crowd(c);
    assert_int_equal(unlink(client_path(c, "f1")), 0);
    assert_int_equal(symlink("../outside/secret", client_path(c, "f1")), 0);
    assert_int_equal(client_getattr(c, node, NULL), -ESTALE);
    assert_int_equal(unlink(client_path(c, "f1")), 0);
    client_file(c, "f1", "another"); /* often with the same inode number */
    assert_int_equal(client_getattr(c, node, NULL), -ESTALE);
    assert_int_not_equal(client_lookup(c, 1, "f1").nodeid, node);
    assert_int_equal(client_getattr(c, node, NULL), -ESTALE);
    client_free(c);
}

/* A directory is closed behind what is open in it, else that could not be looked at and closed. */
static void a_directory_is_closed_after_what_is_in_it(void **state)
{
    struct client *c = with_few_fds();

    (void)state;
    for (char name[] = "a"; *name < 'a' + FDS; ++*name) {
        char path[8];
        uint64_t dir;

        snprintf(path, sizeof(path), "%s/", name);
        assert_int_equal(mkdir(client_path(c, name), 0755), 0);
        dir = client_lookup(c, 1, name).nodeid;
        for (unsigned i = 0; i < 3; i++) {
            know(c, dir, path, i);
            assert_true(stats(c).node_fds <= FDS);
        }
        crowd(c);
        assert_true(stats(c).node_fds <= FDS);
    }
    client_free(c);
}

static void a_symlink_is_found_again_itself(void **state)
{
    struct client *c = with_few_fds();
    struct fuse_attr attr;
    uint64_t node;

    (void)state;
    assert_int_equal(symlink("../outside/secret", client_path(c, "l")), 0);
    node = client_lookup(c, 1, "l").nodeid;
    crowd(c);
    assert_int_equal(client_getattr(c, node, &attr), 0);
    assert_true(S_ISLNK(attr.mode));
    client_free(c);
}

/* So many at once are not opened again for one request. */
static void what_lies_very_deep_is_looked_up_anew(void **state)
{
    enum { DEPTH = 140 };
    struct client *c = with_few_fds();
    char path[2 * DEPTH + 1] = "";
    uint64_t at = 1;

    (void)state;
    for (unsigned i = 0; i < DEPTH; i++) {
        strcat(path, "d/");
        assert_int_equal(mkdir(client_path(c, path), 0755), 0);
        at = client_lookup(c, at, "d").nodeid;
    }
    for (unsigned i = 0; i < DEPTH / 4; i++) /* each round closes what has nothing open in it */
        crowd(c);
    assert_true(stats(c).node_fds <= FDS);
    assert_int_equal(client_getattr(c, at, NULL), -ESTALE);
    at = 1;
    for (unsigned i = 0; i < DEPTH; i++)
        at = client_lookup(c, at, "d").nodeid;
    assert_int_equal(client_getattr(c, at, NULL), 0);
    client_free(c);
}

static void forgotten_nodes_cost_nothing(void **state)
{
    struct client *c = with_few_fds();
    struct fuse_forget_in one = { .nlookup = 1 }, all = { .nlookup = UINT64_MAX };
    struct fuse_forget_one batch[2] = { { .nlookup = 1 }, { .nodeid = 99, .nlookup = 1 } };
    struct fuse_batch_forget_in many = { .count = UINT32_MAX };
    uint64_t node = know(c, 1, "", 1);

    (void)state;
    assert_int_equal(client_lookup(c, 1, "f1").nodeid, node);
    ASK(c, FUSE_FORGET, node, one, NULL, 0);
    assert_int_equal(client_getattr(c, node, NULL), 0);
    ASK(c, FUSE_FORGET, node, all, NULL, 0);
    assert_int_equal(client_getattr(c, node, NULL), -ESTALE);
    ASK(c, FUSE_FORGET, 1, all, NULL, 0);
    assert_int_equal(client_getattr(c, 1, NULL), 0);
    batch[0].nodeid = node = client_lookup(c, 1, "f1").nodeid;
    ASK(c, FUSE_BATCH_FORGET, 0, many, batch, sizeof(batch));
    assert_int_equal(client_getattr(c, node, NULL), -ESTALE);
    assert_int_equal(stats(c).nodes, 1);
    assert_int_equal(stats(c).node_fds, 1);
    client_free(c);
}

static void the_tables_have_an_end(void **state)
{
    struct client *c = client_new((struct share_config){ .max_nodes = 4, .max_handles = 3 });
    struct fuse_open_in in = { .flags = O_RDONLY };
    uint64_t node;

    (void)state;
    node = know(c, 1, "", 1);
    know(c, 1, "", 2);
    know(c, 1, "", 3);
    client_file(c, "f4", "");
    assert_int_equal(client_named(c, FUSE_LOOKUP, 1, "f4"), -ENFILE);
    for (unsigned i = 0; i < 3; i++)
        client_open(c, node, O_RDONLY);
    assert_int_equal(ASK(c, FUSE_OPEN, node, in, NULL, 0), -ENFILE);
    assert_int_equal(ASK(c, FUSE_OPENDIR, 1, in, NULL, 0), -ENFILE);
    /* A file that was made and cannot be opened is not known either. */
    assert_int_equal(client_create(c, 1, "f3", O_RDWR, 0644), -ENFILE);
    assert_int_equal(stats(c).nodes, 4);
    assert_int_equal(stats(c).handles, 3);
    client_free(c);
}

/* Makes a file with a name of so many bytes, and looks it up: its number, 0 when there is no more room. */
static uint64_t know_long(struct client *c, unsigned number, unsigned length)
{
    char name[NAME_MAX + 1];
    int r;

    snprintf(name, sizeof(name), "%0*u", (int)length, number);
    client_file(c, name, "");
    r = client_named(c, FUSE_LOOKUP, 1, name);
    assert_true(r == 0 || r == -ENFILE);
    return r == 0 ? client_entry(c).nodeid : 0;
}

/* However long the names are, and whatever they become. What is forgotten makes room. */
static void what_a_client_knows_takes_no_more_memory_than_it_may(void **state)
{
    enum { ROOM = 64 << 10 };
    struct fuse_forget_in all = { .nlookup = UINT64_MAX };
    struct fuse_rename_in in = { .newdir = 1 };
    unsigned fitted[2] = { 0 };

    (void)state;
    for (int is_long = 0; is_long < 2; is_long++) {
        struct client *c = client_new(
            (struct share_config){ .max_node_bytes = ROOM, .max_node_fds = 16 });
        unsigned *n = &fitted[is_long];
        uint64_t first = 0, node;

        while ((node = know_long(c, *n, is_long ? NAME_MAX : 4)) && ++*n < 1000)
            first = first ? first : node;
        assert_in_range(stats(c).node_bytes, ROOM - 600, ROOM + NAME_MAX);
        for (unsigned i = 0; i < *n && !is_long; i++) {
            char names[5 + NAME_MAX + 1];
            int len = snprintf(names, sizeof(names), "%04u%c%0*u", i, 0, NAME_MAX, i);

            assert_int_equal(ASK(c, FUSE_RENAME, 1, in, names, (size_t)len + 1), 0);
        }
        assert_in_range(stats(c).node_bytes, 1, ROOM + NAME_MAX);
        ASK(c, FUSE_FORGET, first, all, NULL, 0);
        assert_int_not_equal(know_long(c, 5000, 4), 0);
        assert_int_equal(
            know_long(c, 5001, NAME_MAX) && know_long(c, 5002, 4) && know_long(c, 5003, 4), 0);
        client_free(c);
    }
    assert_in_range(fitted[0], 250, 400);
    assert_in_range(fitted[1], 100, 160);
}

#if defined(__GLIBC__) && !defined(__SANITIZE_ADDRESS__)
/* What is counted is what malloc(3) has given, tables and all. */
static void the_memory_of_nodes_is_counted_as_it_is(void **state)
{
    enum { MANY = 5000 };
    struct client *c = client_new((struct share_config){ .max_node_fds = 64 });
    struct mallinfo2 before = mallinfo2(), after;
    uint64_t counted = stats(c).node_bytes;

    (void)state;
    for (unsigned i = 0; i < MANY; i++)
        assert_int_not_equal(know_long(c, i, i % 40 + 5), 0);
    after = mallinfo2();
    counted = stats(c).node_bytes - counted;
    assert_in_range(after.uordblks + after.hblkhd - before.uordblks - before.hblkhd, counted / 2,
                    counted);
    client_free(c);
}
#endif

static void mounts_are_told_and_a_procfs_is_not_entered(void **state)
{
    struct fuse_entry_out entry;
    struct client *c;
    char file[sizeof(c->path)];
    struct stat st;

    (void)state;
    if (unshare(CLONE_NEWNS) < 0 || mount("none", "/", NULL, MS_REC | MS_PRIVATE, NULL) < 0)
        unit_skip("a mount namespace cannot be made here");
    c = client_new((struct share_config){ 0 });
    assert_int_equal(mkdir(client_path(c, "m"), 0755), 0);
    assert_int_equal(mount("none", c->path, "tmpfs", 0, NULL), 0);
    assert_int_equal(stat(c->path, &st), 0);
    entry = client_lookup(c, 1, "m");
    assert_int_equal(entry.attr.flags, FUSE_ATTR_SUBMOUNT);
    assert_int_equal(entry.attr.ino, st.st_ino);
    assert_int_equal(mkdir(client_path(c, "m/below"), 0755), 0);
    assert_int_equal(client_lookup(c, entry.nodeid, "below").attr.flags, 0);
    client_file(c, "one", "here");
    strcpy(file, client_path(c, "../outside/secret"));
    assert_int_equal(mount(file, client_path(c, "one"), NULL, MS_BIND, NULL), 0);
    assert_int_equal(client_lookup(c, 1, "one").attr.size, 6);
    assert_int_equal(mkdir(client_path(c, "p"), 0755), 0);
    assert_int_equal(mount("none", c->path, "proc", 0, NULL), 0);
    assert_int_equal(client_named(c, FUSE_LOOKUP, 1, "p"), -EACCES);
    assert_int_equal(umount2(client_path(c, "p"), MNT_DETACH), 0);
    assert_int_equal(umount2(client_path(c, "one"), MNT_DETACH), 0);
    assert_int_equal(umount2(client_path(c, "m"), MNT_DETACH), 0);
    client_free(c);
}

/* ---- several at once -------------------------------------------------------------------------------- */

enum { THREADS = 4, ROUNDS = 300, SHARED_FILES = 24 };

static struct client *crew[THREADS];

static void step(struct client *c, unsigned random)
{
    struct fuse_forget_in forget = { .nlookup = 1 };
    char from[16], to[16], both[32];
    struct fuse_rename_in in = { .newdir = 1 };
    size_t len;

    snprintf(from, sizeof(from), "s%u", random % SHARED_FILES);
    snprintf(to, sizeof(to), "s%u", random / 7 % SHARED_FILES);
    if (random % 11 == 0) {
        len = strlen(from) + 1;
        memcpy(both, from, len);
        strcpy(both + len, to);
        ASK(c, FUSE_RENAME, 1, in, both, len + strlen(to) + 1);
    } else if (random % 13 == 0) {
        client_create(c, 1, from, O_RDWR, 0644);
        if (c->length > 0) {
            struct fuse_entry_out entry = client_entry(c);
            struct fuse_release_in release = { .fh = client_opened(c).fh };

            ASK(c, FUSE_RELEASE, entry.nodeid, release, NULL, 0);
            ASK(c, FUSE_FORGET, entry.nodeid, forget, NULL, 0);
        }
    } else if (client_named(c, FUSE_LOOKUP, 1, from) == 0) {
        uint64_t node = client_entry(c).nodeid;

        client_getattr(c, node, NULL); /* ESTALE: renamed by another in between, or replaced */
        ASK(c, FUSE_FORGET, node, forget, NULL, 0);
    }
}

static void *work(void *arg)
{
    struct client *c = arg;
    unsigned random = (unsigned)(uintptr_t)&random;

    if (share_worker_new(c->share, &c->worker, NULL) < 0)
        return NULL;
    for (unsigned i = 0; i < ROUNDS; i++) {
        random = random * 1103515245 + 12345;
        step(c, random >> 8);
    }
    share_worker_free(c->worker);
    return c;
}

static void workers_do_not_disturb_each_other(void **state)
{
    struct client *c = with_few_fds();
    pthread_t threads[THREADS];
    void *done;

    (void)state;
    for (unsigned i = 0; i < SHARED_FILES; i++) {
        char name[16];

        snprintf(name, sizeof(name), "s%u", i);
        client_file(c, name, name);
    }
    for (unsigned i = 0; i < THREADS; i++) {
        crew[i] = calloc(1, sizeof(*crew[i]));
        assert_non_null(crew[i]);
        memcpy(crew[i], c, sizeof(*c));
        assert_int_equal(pthread_create(&threads[i], NULL, work, crew[i]), 0);
    }
    for (unsigned i = 0; i < THREADS; i++) {
        assert_int_equal(pthread_join(threads[i], &done), 0);
        assert_ptr_equal(done, crew[i]);
        free(crew[i]);
    }
    assert_int_equal(stats(c).nodes, 1);
    assert_int_equal(stats(c).node_fds, 1);
    assert_int_equal(stats(c).handles, 0);
    client_free(c);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(closed_nodes_are_found_again),
        cmocka_unit_test(a_closed_node_that_the_client_removes_or_renames_stays),
        cmocka_unit_test(what_the_host_moves_is_looked_up_anew),
        cmocka_unit_test(another_file_of_the_same_name_is_not_taken_for_it),
        cmocka_unit_test(a_directory_is_closed_after_what_is_in_it),
        cmocka_unit_test(a_symlink_is_found_again_itself),
        cmocka_unit_test(what_lies_very_deep_is_looked_up_anew),
        cmocka_unit_test(forgotten_nodes_cost_nothing),
        cmocka_unit_test(the_tables_have_an_end),
        cmocka_unit_test(what_a_client_knows_takes_no_more_memory_than_it_may),
#if defined(__GLIBC__) && !defined(__SANITIZE_ADDRESS__)
        cmocka_unit_test(the_memory_of_nodes_is_counted_as_it_is),
#endif
        cmocka_unit_test(mounts_are_told_and_a_procfs_is_not_entered),
        cmocka_unit_test(workers_do_not_disturb_each_other),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
