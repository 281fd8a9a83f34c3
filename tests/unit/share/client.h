/* SPDX-License-Identifier: Apache-2.0 */
#ifndef TECA_UNIT_SHARE_CLIENT_H
#define TECA_UNIT_SHARE_CLIENT_H
/*
 * A client of the file server that says what a test wants it to, in pieces that end anywhere.
 * `shared` of the test's directory is served; `outside` beside it is what nobody may reach.
 */
#include "unit.h"
#include "share/share.h"

#include <linux/fuse.h>

enum { CLIENT_BYTES = 1 << 17, CLIENT_PIECES = 250 };

struct client {
    char top[UNIT_PATH_SIZE];
    char path[UNIT_PATH_SIZE + 300]; /* of client_path */
    struct share *share;
    struct share_worker *worker;
    uint32_t uid, gid;
    size_t room; /* of a reply, its header too */
    size_t piece;
    uint64_t unique;
    uint8_t request[CLIENT_BYTES], reply[CLIENT_BYTES];
    size_t length; /* of the reply without its header */
};

/* A path below "shared", or "../outside/...". */
static inline const char *client_path(struct client *c, const char *name)
{
    snprintf(c->path, sizeof(c->path), "%s/shared/%s", c->top, name);
    return c->path;
}

static inline void client_file(struct client *c, const char *name, const char *text)
{
    int fd = open(client_path(c, name), O_WRONLY | O_CREAT | O_TRUNC | O_CLOEXEC, 0644);

    assert_true(fd >= 0);
    assert_int_equal(write(fd, text, strlen(text)), strlen(text));
    close(fd);
}

static inline unsigned client_cut(struct iovec *v, uint8_t *at, size_t len, size_t piece)
{
    unsigned n = 0;

    if (len / piece >= CLIENT_PIECES)
        piece = len / CLIENT_PIECES + 1;
    for (size_t done = 0; done < len; done += piece)
        v[n++] = (struct iovec){ at + done, len - done < piece ? len - done : piece };
    return n;
}

/* The bytes in c->request; len of them. Returns the length of the reply. */
static inline size_t client_send(struct client *c, size_t len)
{
    struct iovec in[CLIENT_PIECES + 1], out[CLIENT_PIECES + 1];
    unsigned n_in = client_cut(in, c->request, len, c->piece);
    unsigned n_out = client_cut(out, c->reply, c->room, c->piece + 6);
    size_t got;

    memset(c->reply, 0xee, sizeof(c->reply));
    got = share_serve(c->worker, in, n_in, out, n_out);
    assert_true(got <= c->room);
    if (c->room < sizeof(c->reply)) /* nothing behind the room */
        assert_int_equal(c->reply[c->room], 0xee);
    return got;
}

/* The reply to the request with this header; 0 or -errno; 1: there was none. */
static inline int client_result(struct client *c, size_t got, uint64_t unique)
{
    struct fuse_out_header out;

    if (got == 0)
        return 1;
    memcpy(&out, c->reply, sizeof(out));
    assert_int_equal(out.len, got);
    assert_int_equal(out.unique, unique);
    c->length = got - sizeof(out);
    if (out.error)
        assert_int_equal(c->length, 0);
    return out.error;
}

static inline int client_ask(struct client *c, uint32_t opcode, uint64_t node, const void *args,
                             size_t args_len, const void *more, size_t more_len)
{
    struct fuse_in_header in = { .len = (uint32_t)(sizeof(in) + args_len + more_len),
                                 .opcode = opcode,
                                 .unique = ++c->unique,
                                 .nodeid = node,
                                 .uid = c->uid,
                                 .gid = c->gid };

    memcpy(c->request, &in, sizeof(in));
    if (args_len)
        memcpy(c->request + sizeof(in), args, args_len);
    if (more_len)
        memcpy(c->request + sizeof(in) + args_len, more, more_len);
    return client_result(c, client_send(c, in.len), in.unique);
}

#define ASK(c, opcode, node, args, more, more_len) \
    client_ask(c, opcode, node, &(args), sizeof(args), more, more_len)

static inline const void *client_reply(const struct client *c)
{
    return c->reply + sizeof(struct fuse_out_header);
}

static inline int client_named(struct client *c, uint32_t opcode, uint64_t node, const char *name)
{
    return client_ask(c, opcode, node, NULL, 0, name, strlen(name) + 1);
}

static inline struct fuse_entry_out client_entry(const struct client *c)
{
    struct fuse_entry_out entry;

    assert_true(c->length >= sizeof(entry));
    memcpy(&entry, client_reply(c), sizeof(entry));
    return entry;
}

static inline struct fuse_entry_out client_lookup(struct client *c, uint64_t node, const char *name)
{
    assert_int_equal(client_named(c, FUSE_LOOKUP, node, name), 0);
    return client_entry(c);
}

/* The handle and the flags are what is last in a reply. */
static inline struct fuse_open_out client_opened(const struct client *c)
{
    struct fuse_open_out out;

    assert_true(c->length >= sizeof(out));
    memcpy(&out, (const uint8_t *)client_reply(c) + c->length - sizeof(out), sizeof(out));
    return out;
}

static inline uint64_t client_open(struct client *c, uint64_t node, uint32_t flags)
{
    struct fuse_open_in in = { .flags = flags };

    assert_int_equal(ASK(c, FUSE_OPEN, node, in, NULL, 0), 0);
    return client_opened(c).fh;
}

static inline int client_getattr(struct client *c, uint64_t node, struct fuse_attr *out)
{
    struct fuse_getattr_in in = { 0 };
    int r = ASK(c, FUSE_GETATTR, node, in, NULL, 0);
    struct fuse_attr_out answer;

    if (r == 0 && out) {
        memcpy(&answer, client_reply(c), sizeof(answer));
        *out = answer.attr;
    }
    return r;
}

static inline int client_init(struct client *c, uint32_t minor, uint32_t flags)
{
    struct fuse_init_in in = { .major = 7, .minor = minor, .flags = flags };

    return ASK(c, FUSE_INIT, 0, in, NULL, 0);
}

static inline struct client *client_new(struct share_config config)
{
    struct client *c = calloc(1, sizeof(*c));
    struct err e = { 0 };

    assert_non_null(c);
    umask(0022);
    unit_dir(c->top);
    assert_int_equal(mkdir(client_path(c, ""), 0755), 0);
    assert_int_equal(mkdir(client_path(c, "../outside"), 0755), 0);
    client_file(c, "../outside/secret", "secret");
    config.root_fd = open(client_path(c, ""), O_PATH | O_DIRECTORY | O_CLOEXEC);
    assert_int_equal(share_new(&config, &c->share, &e), 0);
    close(config.root_fd);
    assert_int_equal(share_worker_new(c->share, &c->worker, &e), 0);
    c->room = 8192;
    c->piece = 61;
    assert_int_equal(client_init(c, 38, UINT32_MAX), 0);
    return c;
}

static inline void client_free(struct client *c)
{
    struct stat st;

    umask(0022);
    assert_int_equal(stat(client_path(c, "../outside/secret"), &st), 0);
    assert_int_equal(st.st_size, 6);
    share_worker_free(c->worker);
    share_free(c->share);
    unit_remove(c->top);
    free(c);
}

/* Makes a file as the client's caller; the result, and its handle in c->reply. */
static inline int client_create(struct client *c, uint64_t node, const char *name, uint32_t flags,
                                uint32_t mode)
{
    struct fuse_create_in in = { .flags = flags, .mode = S_IFREG | mode, .umask = 0022 };

    return ASK(c, FUSE_CREATE, node, in, name, strlen(name) + 1);
}

#endif
