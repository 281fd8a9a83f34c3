/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Open files. Data goes between the file and the client's pieces, without a copy here.
 *
 * Locks stay in the client: FUSE_POSIX_LOCKS and FUSE_FLOCK_LOCKS are not agreed upon, so its kernel keeps
 * them among its own processes, for which they are. Passed on they would all be this process's, a lock
 * that is waited for would hold a worker, and one that a client never gives back a file of the host.
 */
#include "share/internal.h"

#include <errno.h>
#include <fcntl.h>
#include <linux/falloc.h>
#include <linux/fs.h>
#include <sys/syscall.h>
#include <time.h>
#include <unistd.h>

/* One request takes a worker no longer than it takes to copy that much. */
enum { COPY_MAX = 16 << 20 };

const char *share_fd_name(int fd, char name[SHARE_FD_NAME_SIZE])
{
    base_format(name, SHARE_FD_NAME_SIZE, "%d", fd);
    return name;
}

/*
 * Only regular files and directories: a FIFO or a device that is opened here would wait for, or
 * reach, the host's. What an O_PATH fd refers to does not change.
 */
int share_reopen(const struct node *n, int flags)
{
    char name[SHARE_FD_NAME_SIZE];
    int fd;

    if (n->type != S_IFREG && n->type != S_IFDIR)
        return -ENXIO;
    fd = openat(AT_FDCWD, share_fd_name(n->fd, name), flags | O_CLOEXEC | O_NOCTTY);
    if (fd < 0)
        return errno == EMFILE ? -ENFILE : -errno;
    return fd;
}

/*
 * The client may keep what it has of a file that has not changed since it was last opened: else every start
 * of a program would read its libraries again. A change within a tick of the clock (4 ms at 250 Hz) leaves
 * the same ctime, so a time that is not yet a second old proves nothing.
 */
static bool keep_pages(struct share *s, struct node *n, int fd)
{
    struct timespec now;
    struct statx stat;
    uint64_t ctime;
    bool keep;

    if (s->config.cache != SHARE_CACHE_AUTO || share_stat(fd, "", &stat) < 0)
        return s->config.cache == SHARE_CACHE_ALWAYS;
    clock_gettime(CLOCK_REALTIME, &now);
    ctime = (uint64_t)stat.stx_ctime.tv_sec * 1000000000 + stat.stx_ctime.tv_nsec;
    pthread_mutex_lock(&s->lock);
    keep = n->kept_ctime == ctime && ctime != 0;
    n->kept_ctime = stat.stx_ctime.tv_sec + 1 < now.tv_sec ? ctime : 0;
    pthread_mutex_unlock(&s->lock);
    return keep;
}

int share_open_reply(struct share *s, struct node *n, int fd, uint32_t flags,
                     struct fuse_open_out *out)
{
    bool keep = keep_pages(s, n, fd);

    *out = (struct fuse_open_out){ .open_flags = FOPEN_PARALLEL_DIRECT_WRITES };
    if (keep)
        out->open_flags |= FOPEN_KEEP_CACHE;
    if ((flags & O_ACCMODE) == O_RDONLY) /* nothing that close(2) could tell an error of */
        out->open_flags |= FOPEN_NOFLUSH;
    return handle_add(s, fd, false, &out->fh);
}

int share_open(struct share_call *c)
{
    const struct fuse_open_in *in = &c->in.open;
    bool kill = in->open_flags & FUSE_OPEN_KILL_SUIDGID && in->flags & O_TRUNC;
    struct fuse_open_out out;
    int fd, r;

    if ((in->flags & O_ACCMODE) == O_ACCMODE)
        return -EINVAL;
    if (c->node->type != S_IFREG)
        return c->node->type == S_IFDIR ? -EISDIR : -ENXIO;
    kill = kill && share_begin_killing(c->w, c->node->fd);
    /* O_APPEND, O_SYNC and O_DSYNC come with each write; O_DIRECT is about the client's cache. */
    fd = share_reopen(c->node, (int)(in->flags & (O_ACCMODE | O_TRUNC | O_NOATIME)));
    if (kill)
        share_end_killing(c->w);
    if (fd < 0)
        return fd;
    r = share_open_reply(c->s, c->node, fd, in->flags, &out);
    return r < 0 ? r : share_answer(c, &out, sizeof(out));
}

int share_release(struct share_call *c)
{
    handle_release(c->s, c->in.release.fh, false);
    return 0;
}

/* ---- READ, WRITE ------------------------------------------------------------------------------------ */

int share_read(struct share_call *c)
{
    const struct fuse_read_in *in = &c->in.read;
    size_t size = in->size < c->reply.left ? in->size : c->reply.left;
    struct iovec v[SHARE_SEGMENTS_MAX];
    struct handle *h;
    ssize_t n;
    int r;

    if (in->offset > INT64_MAX)
        return -EINVAL;
    if (size > SHARE_DATA_MAX)
        size = SHARE_DATA_MAX;
    r = handle_pin(c->s, in->fh, false, &h);
    if (r < 0)
        return r;
    n = preadv(h->fd, v, (int)pieces_slice(&c->reply, size, v), (off_t)in->offset);
    r = n < 0 ? -errno : 0;
    handle_unpin(c->s, h);
    if (n > 0)
        c->length = (size_t)n;
    return r;
}

/*
 * The flags of the open file at the time of the write, which fcntl(2) may have changed since the open.
 * Pages that are written back have their place.
 */
static int write_flags(const struct fuse_write_in *in)
{
    int flags = 0;

    if (in->write_flags & FUSE_WRITE_CACHE)
        return 0;
    if (in->flags & O_APPEND)
        flags |= RWF_APPEND;
    if ((in->flags & O_SYNC) == O_SYNC)
        flags |= RWF_SYNC;
    else if (in->flags & O_DSYNC)
        flags |= RWF_DSYNC;
    return flags;
}

static ssize_t write_pieces(int fd, const struct iovec *v, unsigned n,
                            const struct fuse_write_in *in)
{
    int flags = write_flags(in);

    if (flags == 0)
        return pwritev(fd, v, (int)n, (off_t)in->offset);
    /* musl 1.2.3 has no name for it. The kernel takes the offset in two halves of a long each. */
    return syscall(SYS_pwritev2, fd, v, (long)n, (long)in->offset, 0L, flags);
}

int share_write(struct share_call *c)
{
    const struct fuse_write_in *in = &c->in.write;
    struct fuse_write_out out = { 0 };
    struct iovec v[SHARE_SEGMENTS_MAX];
    struct handle *h;
    bool kill;
    ssize_t n;
    int r;

    if (in->offset > INT64_MAX || in->size > SHARE_DATA_MAX || in->size > c->request.left)
        return -EINVAL;
    r = handle_pin(c->s, in->fh, false, &h);
    if (r < 0)
        return r;
    kill = in->write_flags & FUSE_WRITE_KILL_SUIDGID && share_begin_killing(c->w, h->fd);
    n = write_pieces(h->fd, v, pieces_slice(&c->request, in->size, v), in);
    r = n < 0 ? -errno : 0;
    if (kill)
        share_end_killing(c->w);
    handle_unpin(c->s, h);
    out.size = (uint32_t)n;
    return r < 0 ? r : share_answer(c, &out, sizeof(out));
}

/* ---- the rest --------------------------------------------------------------------------------------- */

/* What close(2) says of a file whose server is elsewhere; on a local file system it is nothing. */
int share_flush(struct share_call *c)
{
    struct handle *h;
    int copy, r = handle_pin(c->s, c->in.flush.fh, false, &h);

    if (r < 0)
        return r;
    copy = fcntl(h->fd, F_DUPFD_CLOEXEC, 0);
    r = copy < 0 || close(copy) < 0 ? -errno : 0;
    handle_unpin(c->s, h);
    return r == -EMFILE ? -ENFILE : r;
}

static int sync_handle(struct share_call *c, bool is_dir)
{
    bool data_only = c->in.fsync.fsync_flags & FUSE_FSYNC_FDATASYNC;
    struct handle *h;
    int r = handle_pin(c->s, c->in.fsync.fh, is_dir, &h);

    if (r < 0)
        return r;
    r = (data_only ? fdatasync(h->fd) : fsync(h->fd)) < 0 ? -errno : 0;
    handle_unpin(c->s, h);
    return r;
}

int share_fsync(struct share_call *c)
{
    return sync_handle(c, false);
}

int share_fsyncdir(struct share_call *c)
{
    return sync_handle(c, true);
}

int share_syncfs(struct share_call *c)
{
    AUTO_FD int fd = share_reopen(c->node, O_RDONLY);

    if (fd < 0)
        return fd;
    return syncfs(fd) < 0 ? -errno : 0;
}

int share_fallocate(struct share_call *c)
{
    const struct fuse_fallocate_in *in = &c->in.fallocate;
    struct handle *h;
    int r;

    if (in->offset > INT64_MAX || in->length > INT64_MAX)
        return -EINVAL;
    r = handle_pin(c->s, in->fh, false, &h);
    if (r < 0)
        return r;
    r = fallocate(h->fd, (int)in->mode, (off_t)in->offset, (off_t)in->length) < 0 ? -errno : 0;
    handle_unpin(c->s, h);
    return r;
}

/* Data and holes; the client keeps the file's position itself. */
int share_lseek(struct share_call *c)
{
    const struct fuse_lseek_in *in = &c->in.lseek;
    struct fuse_lseek_out out;
    struct handle *h;
    off_t at;
    int r;

    if (in->offset > INT64_MAX || (in->whence != SEEK_DATA && in->whence != SEEK_HOLE))
        return -EINVAL;
    r = handle_pin(c->s, in->fh, false, &h);
    if (r < 0)
        return r;
    at = lseek(h->fd, (off_t)in->offset, (int)in->whence);
    r = at < 0 ? -errno : 0;
    handle_unpin(c->s, h);
    out.offset = (uint64_t)at;
    return r < 0 ? r : share_answer(c, &out, sizeof(out));
}

int share_copy(struct share_call *c)
{
    const struct fuse_copy_file_range_in *in = &c->in.copy;
    size_t len = in->len < COPY_MAX ? (size_t)in->len : COPY_MAX;
    off_t from_at = (off_t)in->off_in, to_at = (off_t)in->off_out;
    struct fuse_write_out out = { 0 };
    struct handle *from, *to;
    ssize_t n;
    int r;

    if (in->off_in > INT64_MAX || in->off_out > INT64_MAX || in->flags != 0)
        return -EINVAL;
    r = handle_pin(c->s, in->fh_in, false, &from);
    if (r < 0)
        return r;
    r = handle_pin(c->s, in->fh_out, false, &to);
    if (r == 0) {
        n = copy_file_range(from->fd, &from_at, to->fd, &to_at, len, 0);
        r = n < 0 ? -errno : 0;
        out.size = (uint32_t)n;
        handle_unpin(c->s, to);
    }
    handle_unpin(c->s, from);
    return r < 0 ? r : share_answer(c, &out, sizeof(out));
}
