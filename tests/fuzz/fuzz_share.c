/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The file server with a hostile client: the input is a script of requests, with numbers that the server
 * gave it and numbers that it makes up. A reply must be well formed, and nothing outside of the
 * directory may change, however the script and the symlinks in it try.
 *
 * A record: opcode, index of the node, index of the handle or second node, length, room of the reply;
 * then that many bytes of arguments. The server works on a tmpfs in a mount namespace of its own.
 */
#include "share/share.h"

#include <errno.h>
#include <fcntl.h>
#include <ftw.h>
#include <linux/fuse.h>
#include <pthread.h>
#include <sched.h>
#include <semaphore.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mount.h>
#include <sys/stat.h>
#include <unistd.h>

int LLVMFuzzerInitialize(int *argc, char ***argv);
int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

#define TOP "/mnt"
#define SHARED TOP "/shared"
#define OUTSIDE TOP "/outside"
enum { KNOWN = 16, ARGUMENTS = 512, RECORD = 5, RECORDS_MAX = 200, RAW = 63 };

static struct share *server;
static struct stat before[2];
static sem_t asked, answered;
static const uint8_t *input;
static size_t input_size;

static uint64_t nodes[KNOWN], handles[KNOWN];
static unsigned n_nodes, n_handles;

static void require(bool condition)
{
    if (!condition)
        abort();
}

static void note(uint64_t *known, unsigned *n, uint64_t id)
{
    known[(*n)++ % (KNOWN - 1)] = id; /* the last stays what it is: the root's */
}

/* ---- one request ------------------------------------------------------------------------------------ */

struct request {
    struct fuse_in_header header;
    uint8_t arguments[ARGUMENTS];
};

/* Where an operation's arguments begin with a handle, or with a second node. */
static void use_known(struct request *r, uint8_t index)
{
    uint64_t handle = handles[index % KNOWN], node = nodes[index % KNOWN];

    switch (r->header.opcode) {
    case FUSE_LINK:
    case FUSE_RENAME:
    case FUSE_RENAME2:
        memcpy(r->arguments, &node, sizeof(node));
        break;
    case FUSE_GETATTR:
    case FUSE_SETATTR:
        memcpy(r->arguments + 8, &handle, sizeof(handle));
        break;
    case FUSE_COPY_FILE_RANGE:
        memcpy(r->arguments + 24, &handle, sizeof(handle));
        memcpy(r->arguments, &handles[index / KNOWN % KNOWN], sizeof(handle));
        break;
    case FUSE_READ:
    case FUSE_WRITE:
    case FUSE_READDIR:
    case FUSE_READDIRPLUS:
    case FUSE_RELEASE:
    case FUSE_RELEASEDIR:
    case FUSE_FLUSH:
    case FUSE_FSYNC:
    case FUSE_FSYNCDIR:
    case FUSE_LSEEK:
    case FUSE_FALLOCATE:
        memcpy(r->arguments, &handle, sizeof(handle));
        break;
    default:
        break;
    }
}

static void learn(uint32_t opcode, const uint8_t *reply, size_t len)
{
    struct fuse_entry_out entry;
    struct fuse_open_out open;

    if (len >= sizeof(entry) && opcode != FUSE_READ && opcode != FUSE_INIT) {
        memcpy(&entry, reply, sizeof(entry));
        note(nodes, &n_nodes, entry.nodeid);
    }
    if (opcode == FUSE_OPEN || opcode == FUSE_OPENDIR || opcode == FUSE_CREATE ||
        opcode == FUSE_TMPFILE) {
        memcpy(&open, reply + len - sizeof(open), sizeof(open));
        note(handles, &n_handles, open.fh);
    }
}

/* In two pieces each, which meet anywhere. */
static void ask(struct share_worker *w, const struct request *r, size_t size, size_t room,
                size_t cut)
{
    static uint8_t reply[1 << 16];
    size_t in_cut = cut % (size + 1), out_cut = cut % (room + 1), len;
    struct iovec in[2] = { { (void *)r, in_cut }, { (uint8_t *)r + in_cut, size - in_cut } };
    struct iovec out[2] = { { reply, out_cut }, { reply + out_cut, room - out_cut } };
    struct fuse_out_header header;

    len = share_serve(w, in, 2, out, 2);
    require(len <= room);
    if (len == 0)
        return;
    memcpy(&header, reply, sizeof(header));
    require(header.len == len && header.unique == r->header.unique);
    require(header.error <= 0 && header.error > -512);
    require(header.error == 0 || len == sizeof(header));
    if (header.error == 0 && len > sizeof(header))
        learn(r->header.opcode, reply + sizeof(header), len - sizeof(header));
}

static void ask_init(struct share_worker *w)
{
    struct request r = { .header = { .len = sizeof(r.header) + sizeof(struct fuse_init_in),
                                     .opcode = FUSE_INIT } };
    struct fuse_init_in in = { .major = 7, .minor = 38, .flags = UINT32_MAX };

    memcpy(r.arguments, &in, sizeof(in));
    ask(w, &r, r.header.len, 4096, 0);
}

static const uint8_t *play(struct share_worker *w, const uint8_t *at, const uint8_t *end)
{
    struct request r = { 0 };
    size_t len = (size_t)(end - at - RECORD) < at[3] ? (size_t)(end - at - RECORD) : at[3];

    memcpy(r.arguments, at + RECORD, len);
    r.header = (struct fuse_in_header){ .len = (uint32_t)(sizeof(r.header) + len),
                                        .opcode = at[0] % (RAW + 1),
                                        .unique = at[0],
                                        .nodeid = nodes[at[1] % KNOWN],
                                        .uid = at[1] / KNOWN,
                                        .gid = at[2] / KNOWN };
    if (r.header.opcode == RAW && len >= sizeof(r.header))
        memcpy(&r.header, r.arguments, sizeof(r.header));
    else if (at[2] != 255)
        use_known(&r, at[2]);
    ask(w, &r, sizeof(r.header) + len, (size_t)at[4] * 64, at[2]);
    return at + RECORD + len;
}

/* ---- the directory ---------------------------------------------------------------------------------- */

static void make_file(const char *path, const char *text)
{
    int fd = open(path, O_WRONLY | O_CREAT | O_CLOEXEC, 0644);

    require(fd >= 0 && write(fd, text, strlen(text)) == (ssize_t)strlen(text));
    close(fd);
}

static int remove_one(const char *path, const struct stat *st, int type, struct FTW *where)
{
    (void)st;
    (void)type;
    return where->level == 0 ? 0 : remove(path);
}

static void make_tree(void)
{
    umask(0);
    nftw(SHARED, remove_one, 16, FTW_DEPTH | FTW_PHYS);
    chmod(SHARED, 0755);
    require(mkdir(SHARED "/d", 0755) == 0 && mkdir(SHARED "/d/e", 02775) == 0);
    make_file(SHARED "/f", "some text");
    make_file(SHARED "/d/g", "");
    require(symlink("../outside/secret", SHARED "/l") == 0);
    require(symlink("/mnt/outside", SHARED "/d/up") == 0);
}

static void look_outside(struct stat now[2])
{
    require(stat(OUTSIDE, &now[0]) == 0 && stat(OUTSIDE "/secret", &now[1]) == 0);
    for (int i = 0; i < 2; i++)
        now[i].st_atim = (struct timespec){ 0 };
}

static void start_over(struct share_worker *w)
{
    n_nodes = n_handles = 0;
    for (unsigned i = 0; i < KNOWN; i++) {
        nodes[i] = i < KNOWN / 2 ? FUSE_ROOT_ID : i;
        handles[i] = i;
    }
    nodes[KNOWN - 1] = FUSE_ROOT_ID;
    ask_init(w);
    make_tree();
}

static void *serve(void *unused)
{
    struct share_worker *w;
    struct stat now[2];

    (void)unused;
    require(share_worker_new(server, &w, NULL) == 0);
    for (;;) {
        const uint8_t *at, *end;

        while (sem_wait(&asked) < 0)
            ;
        at = input;
        end = input + input_size;
        start_over(w);
        for (unsigned i = 0; i < RECORDS_MAX && end - at > RECORD; i++)
            at = play(w, at, end);
        look_outside(now);
        require(memcmp(now, before, sizeof(now)) == 0);
        sem_post(&answered);
    }
    return NULL;
}

int LLVMFuzzerInitialize(int *argc, char ***argv)
{
    int flags = CLONE_NEWNS | (geteuid() == 0 ? 0 : CLONE_NEWUSER);
    struct share_config config = { .max_node_fds = 6,
                                   .max_handles = 8,
                                   .max_nodes = 64,
                                   .devices = true,
                                   .trusted_xattrs = true };
    pthread_t thread;

    (void)argc;
    (void)argv;
    require(unshare(flags) == 0 && mount("none", "/", NULL, MS_REC | MS_PRIVATE, NULL) == 0);
    require(mount("none", TOP, "tmpfs", 0, "size=8m,nr_inodes=1k") == 0);
    require(mkdir(SHARED, 0755) == 0 && mkdir(OUTSIDE, 0755) == 0);
    make_file(OUTSIDE "/secret", "secret");
    look_outside(before);
    config.root_fd = open(SHARED, O_PATH | O_DIRECTORY | O_CLOEXEC);
    require(share_new(&config, &server, NULL) == 0);
    close(config.root_fd);
    require(sem_init(&asked, 0, 0) == 0 && sem_init(&answered, 0, 0) == 0);
    /* A thread of its own: a worker changes its working directory. */
    require(pthread_create(&thread, NULL, serve, NULL) == 0);
    return 0;
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    input = data;
    input_size = size;
    sem_post(&asked);
    while (sem_wait(&answered) < 0)
        ;
    return 0;
}
