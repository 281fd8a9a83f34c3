/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Open directories. A position is the kernel's own (linux_dirent64 d_off), so a directory that changes
 * meanwhile is read as on the host, and nothing is kept between two requests.
 */
#include "share/internal.h"

#include <errno.h>
#include <fcntl.h>
#include <string.h>
#include <sys/syscall.h>
#include <unistd.h>

/* A reply that is longer would keep a worker for as many lookups as it has entries. */
enum { READ_MAX = 1 << 16, ENTRY_MAX = sizeof(struct dent) + NAME_MAX + 8 };

int share_opendir(struct share_call *c)
{
    struct fuse_open_out out = { 0 };
    int fd, r;

    fd = openat(c->node->fd, ".", O_RDONLY | O_DIRECTORY | O_CLOEXEC);
    if (fd < 0)
        return errno == EMFILE ? -ENFILE : -errno;
    if (c->s->config.cache == SHARE_CACHE_ALWAYS)
        out.open_flags = FOPEN_KEEP_CACHE | FOPEN_CACHE_DIR;
    r = handle_add(c->s, fd, true, &out.fh);
    return r < 0 ? r : share_answer(c, &out, sizeof(out));
}

int share_releasedir(struct share_call *c)
{
    handle_release(c->s, c->in.release.fh, true);
    return 0;
}

/* ---- READDIR, READDIRPLUS --------------------------------------------------------------------------- */

struct listing {
    struct share_call *c;
    struct pieces to; /* as much of the reply as the client asked for */
    bool with_attributes;
};

static bool is_dots(const char *name)
{
    return name[0] == '.' && (!name[1] || (name[1] == '.' && !name[2]));
}

/* Which entry it is of the ones a client knows; what cannot be known now has number 0 there. */
static int put_attributes(struct listing *l, const struct dent *d)
{
    struct fuse_entry_out entry = { 0 };
    struct node *n;
    int r = is_dots(d->name) ? -EINVAL : share_find(l->c, d->name, &entry, &n);

    if (r == -ENOENT)
        return r;
    if (r == 0)
        node_unpin(l->c->s, n);
    else
        entry = (struct fuse_entry_out){ 0 };
    pieces_put(&l->to, &entry, sizeof(entry));
    return 0;
}

/* false: it does not fit, and the client has it by the next request. */
static bool put_entry(struct listing *l, const struct dent *d)
{
    static const char padding[sizeof(uint64_t)];
    struct fuse_dirent out = { .ino = d->ino,
                               .off = (uint64_t)d->off,
                               .namelen = (uint32_t)strlen(d->name),
                               .type = d->type };
    size_t size = FUSE_DIRENT_SIZE(&out);

    if (l->to.left < size + (l->with_attributes ? sizeof(struct fuse_entry_out) : 0))
        return false;
    /* What is above the root is nobody's business. */
    if (l->c->node == l->c->s->root && str_eq(d->name, ".."))
        out.ino = l->c->node->ino;
    if (l->with_attributes && put_attributes(l, d) < 0)
        return true; /* gone by now */
    pieces_put(&l->to, &out, sizeof(out));
    pieces_put(&l->to, d->name, out.namelen);
    pieces_put(&l->to, padding, size - sizeof(out) - out.namelen);
    return true;
}

/* Some entries from where the fd stands; 0: the end, or the reply is full. */
static int put_some(struct listing *l, struct handle *h, size_t room)
{
    uint8_t *entries = l->c->w->scratch;
    /* An entry is up to a third longer for the client than here, with attributes about five times. */
    size_t ask = l->with_attributes ? l->to.left / 5 : l->to.left / 4 * 3;
    long n = syscall(SYS_getdents64, h->fd, entries, ask > ENTRY_MAX ? ask : ENTRY_MAX);
    bool fits = true;
    const struct dent *d;

    if (n < 0)
        return -errno;
    for (long at = 0; at < n; at += d->reclen) {
        d = (const struct dent *)(entries + at);
        fits = fits && put_entry(l, d);
        h->at = (uint64_t)d->off;
    }
    if (!fits && l->to.left == room)
        return -EINVAL;
    return n > 0 && fits && l->to.left >= sizeof(struct fuse_entry_out) + ENTRY_MAX;
}

static int list(struct share_call *c, bool with_attributes)
{
    const struct fuse_read_in *in = &c->in.read;
    size_t room = in->size < c->reply.left ? in->size : c->reply.left;
    struct listing l = { .c = c, .to = c->reply, .with_attributes = with_attributes };
    struct handle *h;
    int r;

    if (in->offset > INT64_MAX)
        return -EINVAL;
    r = handle_pin(c->s, in->fh, true, &h);
    if (r < 0)
        return r;
    room = room < READ_MAX ? room : READ_MAX;
    pieces_limit(&l.to, room);
    pthread_mutex_lock(&h->lock);
    if (h->at != in->offset)
        r = lseek(h->fd, (off_t)in->offset, SEEK_SET) < 0 ? -errno : 0;
    if (r == 0)
        h->at = in->offset;
    do
        r = r < 0 ? r : put_some(&l, h, room);
    while (r > 0);
    pthread_mutex_unlock(&h->lock);
    handle_unpin(c->s, h);
    c->length = room - l.to.left;
    return c->length > 0 ? 0 : r;
}

int share_readdir(struct share_call *c)
{
    return list(c, false);
}

int share_readdirplus(struct share_call *c)
{
    return list(c, true);
}
