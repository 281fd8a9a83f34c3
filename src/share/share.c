/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The server: a table from opcode to operation, and the way of a request through it. What is fixed of a
 * request is copied here, and the room for what is fixed of its reply is looked at, both by the table.
 */
#include "share/internal.h"

#include <errno.h>
#include <fcntl.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/resource.h>
#include <unistd.h>

enum {
    OLDEST_MINOR = 31, /* Linux 5.4, the first with virtio-fs */
    OUR_MINOR = 38,    /* Linux 6.3 */
    FDS_MIN = 256,     /* below that, as if there were so many */
    RESERVED_FDS = 64, /* the process's own, and those that a request opens and closes */
    FDS_MAX = 1 << 20,
    NODES_MAX = 1 << 30, /* so many numbers are enough for any memory */
    NODE_BYTES_MAX = 256 << 20,
    ERRNO_END = 512, /* fuse_dev_do_write() of Linux refuses a reply with a larger one */
};

/*
 * Not among them: FUSE_WRITEBACK_CACHE, which would leave writes in the client that the host does not
 * see; locks (file.c); FUSE_EXPORT_SUPPORT, which looks ".." up.
 */
#define FEATURES                                                                           \
    ((uint64_t)FUSE_ASYNC_READ | FUSE_ATOMIC_O_TRUNC | FUSE_BIG_WRITES | FUSE_DONT_MASK |  \
     FUSE_AUTO_INVAL_DATA | FUSE_DO_READDIRPLUS | FUSE_READDIRPLUS_AUTO | FUSE_ASYNC_DIO | \
     FUSE_PARALLEL_DIROPS | FUSE_POSIX_ACL | FUSE_ABORT_ERROR | FUSE_MAX_PAGES |           \
     FUSE_CACHE_SYMLINKS | FUSE_SUBMOUNTS | FUSE_HANDLE_KILLPRIV_V2 | FUSE_SETXATTR_EXT |  \
     FUSE_INIT_EXT)

/* ---- INIT, FORGET, DESTROY -------------------------------------------------------------------------- */

static void forget_client(struct share *s)
{
    handles_release_all(s);
    nodes_forget_all(s);
}

/* Also what a client says that was started again: it knows nothing of before. */
static int init(struct share_call *c)
{
    enum { OLD_SIZE = offsetof(struct fuse_init_in, flags2) };
    struct fuse_init_in in = { 0 };
    struct fuse_init_out out = { .major = FUSE_KERNEL_VERSION, .minor = OUR_MINOR };
    uint64_t features;

    if (!pieces_take(&c->request, &in, OLD_SIZE))
        return -EINVAL;
    pieces_take(&c->request, &in.flags2, sizeof(in) - OLD_SIZE);
    if (in.major > FUSE_KERNEL_VERSION) /* it asks again, with our version */
        return share_answer(c, &out, sizeof(out));
    if (in.major < FUSE_KERNEL_VERSION || in.minor < OLDEST_MINOR)
        return -EPROTO;
    forget_client(c->s);
    features = in.flags & (uint32_t)FEATURES;
    c->s->announces_mounts = features & FUSE_SUBMOUNTS;
    c->s->has_long_setxattr = features & FUSE_SETXATTR_EXT;
    __atomic_store_n(&c->s->is_initialised, true, __ATOMIC_RELEASE);
    out.max_readahead = in.max_readahead;
    out.flags = (uint32_t)features;
    out.max_background = 64;
    out.congestion_threshold = 48;
    out.max_write = SHARE_DATA_MAX;
    out.time_gran = 1;
    out.max_pages = SHARE_DATA_MAX / 4096;
    return share_answer(c, &out, sizeof(out));
}

static int forget(struct share_call *c)
{
    node_forget(c->s, c->header.nodeid, c->in.forget.nlookup);
    return 0;
}

static int batch_forget(struct share_call *c)
{
    struct fuse_forget_one one;

    /* As many as were sent, whatever the count says. */
    for (uint32_t i = 0; i < c->in.batch_forget.count; i++) {
        if (!pieces_take(&c->request, &one, sizeof(one)))
            return -EINVAL;
        node_forget(c->s, one.nodeid, one.nlookup);
    }
    return 0;
}

static int destroy(struct share_call *c)
{
    forget_client(c->s);
    __atomic_store_n(&c->s->is_initialised, false, __ATOMIC_RELEASE);
    return 0;
}

/* Every request ends soon by itself, so there is none that would have to be interrupted. */
static int interrupt(struct share_call *c)
{
    (void)c;
    return 0;
}

/* What a program hears of an ordinary file: isatty(3) and ioctl_list(2) count on it. */
static int ioctl_request(struct share_call *c)
{
    (void)c;
    return -ENOTTY;
}

/* ---- the table -------------------------------------------------------------------------------------- */

enum { NO_NODE = 1, SILENT = 2 };

struct operation {
    int (*run)(struct share_call *c);
    uint16_t args, reply; /* what is fixed of each */
    uint8_t flags;
};

#define ARGS(member) sizeof(((union share_args *)NULL)->member)
#define ENTRY sizeof(struct fuse_entry_out)
#define ATTRIBUTES sizeof(struct fuse_attr_out)
#define OPENED sizeof(struct fuse_open_out)

/*
 * Without a row, and so ENOSYS, after which a client asks no more: ACCESS (it decides itself, see
 * identity.c), BMAP, POLL, and the locks.
 */
static const struct operation operations[] = {
    [FUSE_LOOKUP] = { share_lookup, 0, ENTRY, 0 },
    [FUSE_FORGET] = { forget, ARGS(forget), 0, NO_NODE | SILENT },
    [FUSE_GETATTR] = { share_getattr, ARGS(getattr), ATTRIBUTES, NO_NODE },
    [FUSE_SETATTR] = { share_setattr, ARGS(setattr), ATTRIBUTES, NO_NODE },
    [FUSE_READLINK] = { share_readlink, 0, 0, 0 },
    [FUSE_SYMLINK] = { share_symlink, 0, ENTRY, 0 },
    [FUSE_MKNOD] = { share_mknod, ARGS(mknod), ENTRY, 0 },
    [FUSE_MKDIR] = { share_mkdir, ARGS(mkdir), ENTRY, 0 },
    [FUSE_UNLINK] = { share_unlink, 0, 0, 0 },
    [FUSE_RMDIR] = { share_rmdir, 0, 0, 0 },
    [FUSE_RENAME] = { share_rename, ARGS(rename), 0, 0 },
    [FUSE_LINK] = { share_link, ARGS(link), ENTRY, 0 },
    [FUSE_OPEN] = { share_open, ARGS(open), OPENED, 0 },
    [FUSE_READ] = { share_read, ARGS(read), 0, NO_NODE },
    [FUSE_WRITE] = { share_write, ARGS(write), sizeof(struct fuse_write_out), NO_NODE },
    [FUSE_STATFS] = { share_statfs, 0, sizeof(struct fuse_statfs_out), 0 },
    [FUSE_RELEASE] = { share_release, ARGS(release), 0, NO_NODE },
    [FUSE_FSYNC] = { share_fsync, ARGS(fsync), 0, NO_NODE },
    [FUSE_SETXATTR] = { share_setxattr, 0, 0, 0 },
    [FUSE_GETXATTR] = { share_getxattr, ARGS(getxattr), 0, 0 },
    [FUSE_LISTXATTR] = { share_listxattr, ARGS(getxattr), 0, 0 },
    [FUSE_REMOVEXATTR] = { share_removexattr, 0, 0, 0 },
    [FUSE_FLUSH] = { share_flush, ARGS(flush), 0, NO_NODE },
    [FUSE_INIT] = { init, 0, sizeof(struct fuse_init_out), NO_NODE },
    [FUSE_OPENDIR] = { share_opendir, ARGS(open), OPENED, 0 },
    [FUSE_READDIR] = { share_readdir, ARGS(read), 0, 0 },
    [FUSE_RELEASEDIR] = { share_releasedir, ARGS(release), 0, NO_NODE },
    [FUSE_FSYNCDIR] = { share_fsyncdir, ARGS(fsync), 0, NO_NODE },
    [FUSE_CREATE] = { share_create, ARGS(create), ENTRY + OPENED, 0 },
    [FUSE_INTERRUPT] = { interrupt, 0, 0, NO_NODE | SILENT },
    [FUSE_DESTROY] = { destroy, 0, 0, NO_NODE },
    [FUSE_IOCTL] = { ioctl_request, 0, 0, NO_NODE },
    [FUSE_BATCH_FORGET] = { batch_forget, ARGS(batch_forget), 0, NO_NODE | SILENT },
    [FUSE_FALLOCATE] = { share_fallocate, ARGS(fallocate), 0, NO_NODE },
    [FUSE_READDIRPLUS] = { share_readdirplus, ARGS(read), 0, 0 },
    [FUSE_RENAME2] = { share_rename2, ARGS(rename2), 0, 0 },
    [FUSE_LSEEK] = { share_lseek, ARGS(lseek), sizeof(struct fuse_lseek_out), NO_NODE },
    [FUSE_COPY_FILE_RANGE] = { share_copy, ARGS(copy), sizeof(struct fuse_write_out), NO_NODE },
    [FUSE_SYNCFS] = { share_syncfs, 0, 0, 0 },
    [FUSE_TMPFILE] = { share_tmpfile, ARGS(create), ENTRY + OPENED, 0 },
};

static const struct operation *find(uint32_t opcode)
{
    static const struct operation none = { 0 };

    return opcode < COUNT_OF(operations) ? &operations[opcode] : &none;
}

/* ---- one request ------------------------------------------------------------------------------------ */

int share_answer(struct share_call *c, const void *data, size_t len)
{
    if (!pieces_put(&c->reply, data, len))
        return -EINVAL;
    c->length += len;
    return 0;
}

static int perform(struct share_call *c, const struct operation *op)
{
    int r = 0;

    if (c->header.len < sizeof(c->header) ||
        !pieces_limit(&c->request, c->header.len - sizeof(c->header)))
        return -EINVAL;
    if (!op->run)
        return -ENOSYS;
    if (c->header.opcode != FUSE_INIT && !__atomic_load_n(&c->s->is_initialised, __ATOMIC_ACQUIRE))
        return -EIO;
    if (!pieces_take(&c->request, &c->in, op->args) || c->reply.left < op->reply)
        return -EINVAL;
    if (!(op->flags & NO_NODE))
        r = node_pin(c->s, c->header.nodeid, &c->node);
    if (r == 0)
        r = op->run(c);
    node_unpin(c->s, c->node);
    return r;
}

size_t share_serve(struct share_worker *w, const struct iovec *request, unsigned n_request,
                   const struct iovec *reply, unsigned n_reply)
{
    struct share_call c = { .w = w, .s = w->s };
    struct fuse_out_header out = { .len = sizeof(out) };
    const struct operation *op;
    struct pieces start;
    bool has_room;

    /* Without a header there is nobody to answer. */
    if (!pieces_init(&c.request, request, n_request) || !pieces_init(&c.reply, reply, n_reply) ||
        !pieces_take(&c.request, &c.header, sizeof(c.header)))
        return 0;
    __atomic_add_fetch(&w->s->n_requests, 1, __ATOMIC_RELAXED);
    op = find(c.header.opcode);
    start = c.reply;
    has_room = pieces_put(&c.reply, &out, sizeof(out));
    if (!has_room && !(op->flags & SILENT))
        return 0;
    out.error = perform(&c, op);
    if (op->flags & SILENT)
        return 0;
    if (out.error <= -ERRNO_END)
        out.error = -EIO;
    if (out.error == 0)
        out.len += (uint32_t)c.length;
    out.unique = c.header.unique;
    pieces_put(&start, &out, sizeof(out));
    return out.len;
}

/* ---- the server and its workers --------------------------------------------------------------------- */

static void choose_limits(struct share *s)
{
    struct rlimit limit = { 0 };
    unsigned half;

    getrlimit(RLIMIT_NOFILE, &limit);
    if (limit.rlim_cur > FDS_MAX)
        limit.rlim_cur = FDS_MAX;
    if (limit.rlim_cur < FDS_MIN)
        limit.rlim_cur = FDS_MIN;
    half = (unsigned)(limit.rlim_cur - RESERVED_FDS) / 2;
    if (!s->config.max_handles)
        s->config.max_handles = half;
    if (!s->config.max_node_fds)
        s->config.max_node_fds = half;
    if (!s->config.max_nodes)
        s->config.max_nodes = NODES_MAX;
    if (!s->config.max_node_bytes)
        s->config.max_node_bytes = NODE_BYTES_MAX;
    s->handles.max = s->config.max_handles;
    s->nodes.max = s->config.max_nodes;
}

int share_new(const struct share_config *config, struct share **out, struct err *e)
{
    struct share *s = calloc(1, sizeof(*s));
    int r;

    if (!s)
        return err_set(e, ENOMEM, "cannot make a file server");
    s->config = *config;
    pthread_mutex_init(&s->lock, NULL);
    choose_limits(s);
    s->proc_fd = openat(AT_FDCWD, "/proc/self/fd", O_PATH | O_DIRECTORY | O_CLOEXEC);
    r = s->proc_fd < 0 ? err_set(e, errno, "cannot open /proc/self/fd")
                       : nodes_init(s, config->root_fd, e);
    if (r < 0) {
        share_free(s);
        return r;
    }
    *out = s;
    return 0;
}

void share_free(struct share *s)
{
    if (!s)
        return;
    handles_release_all(s);
    slots_release(&s->handles);
    nodes_release(s);
    fd_cleanup(&s->proc_fd);
    pthread_mutex_destroy(&s->lock);
    free(s);
}

int share_worker_new(struct share *s, struct share_worker **out, struct err *e)
{
    /* Pages of their own, of which only those cost memory that are touched. */
    struct share_worker *w = mmap(NULL, sizeof(*w), PROT_READ | PROT_WRITE,
                                  MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
    int r;

    if (w == MAP_FAILED)
        return err_set(e, errno, "cannot make a worker of the file server");
    w->s = s;
    r = share_enter_thread(w, e);
    if (r < 0) {
        share_worker_free(w);
        return r;
    }
    *out = w;
    return 0;
}

void share_worker_free(struct share_worker *w)
{
    if (w)
        munmap(w, sizeof(*w));
}

void share_describe(struct share *s, struct share_stats *out)
{
    pthread_mutex_lock(&s->lock);
    *out = (struct share_stats){ .nodes = s->nodes.used,
                                 .node_fds = s->n_node_fds,
                                 .handles = s->handles.used,
                                 .requests = __atomic_load_n(&s->n_requests, __ATOMIC_RELAXED),
                                 .evictions = s->n_evictions,
                                 .node_bytes = s->node_bytes };
    pthread_mutex_unlock(&s->lock);
}
