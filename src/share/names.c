/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The operations on names. A name is one component, taken relative to the fd of a directory and never
 * followed, so there is no path that a rename could bend: whatever a name means at that moment is in that
 * directory, or is mounted there.
 */
#include "share/internal.h"

#include <errno.h>
#include <fcntl.h>
#include <linux/fs.h>
#include <linux/magic.h>
#include <string.h>
#include <sys/syscall.h>
#include <sys/sysmacros.h>
#include <sys/vfs.h>
#include <unistd.h>

int share_take_name(struct share_call *c, char name[SHARE_NAME_SIZE])
{
    int r = pieces_take_string(&c->request, name, SHARE_NAME_SIZE);

    if (r < 0)
        return r;
    if (!*name || strchr(name, '/') || str_eq(name, ".") || str_eq(name, ".."))
        return -EINVAL;
    return 0;
}

/* ---- LOOKUP ----------------------------------------------------------------------------------------- */

/*
 * A procfs that was mounted below the root by mistake: its magic links are never followed here, but
 * its files (self/mem) would be the server's own.
 */
static int check_mount(const struct node *parent, const struct statx *stat, int fd)
{
    struct statfs fs;

    if (stat->stx_mnt_id == parent->mount && share_device(stat) == parent->dev)
        return 0;
    if (fstatfs(fd, &fs) < 0)
        return -errno;
    return fs.f_type == PROC_SUPER_MAGIC ? -EACCES : 0;
}

static void fill_entry(const struct share_call *c, const struct node *n, const struct statx *stat,
                       struct fuse_entry_out *out)
{
    bool is_mount = n->dev != c->node->dev || n->mount != c->node->mount;

    *out = (struct fuse_entry_out){ .nodeid = n->id,
                                    .entry_valid = share_validity(c->s),
                                    .attr_valid = share_validity(c->s) };
    share_attributes(stat, &out->attr);
    /* A superblock of its own in the client, so that inode numbers do not meet there either. */
    if (is_mount && n->type == S_IFDIR && c->s->announces_mounts)
        out->attr.flags = FUSE_ATTR_SUBMOUNT;
}

/* The O_PATH fd of a file that is to become known; takes fd. */
static int enter(struct share_call *c, const char *name, int fd, struct fuse_entry_out *out,
                 struct node **node)
{
    AUTO_FD int file = fd;
    struct statx stat;
    int r = share_stat(file, "", &stat);

    if (r == 0)
        r = check_mount(c->node, &stat, file);
    if (r == 0)
        r = node_enter(c->s, c->node, name, take_fd(&file), &stat, node);
    if (r == 0)
        fill_entry(c, *node, &stat, out);
    return r;
}

/* Most lookups only look again: then one statx(2) does, and no fd is opened. */
int share_find(struct share_call *c, const char *name, struct fuse_entry_out *out,
               struct node **node)
{
    struct statx stat;
    int fd, r = share_stat(c->node->fd, name, &stat);

    if (r < 0)
        return r;
    r = node_enter(c->s, c->node, name, -1, &stat, node);
    if (r == 0)
        fill_entry(c, *node, &stat, out);
    if (r != -ENOENT)
        return r;
    fd = openat(c->node->fd, name, O_PATH | O_NOFOLLOW | O_CLOEXEC);
    if (fd < 0)
        return errno == EMFILE ? -ENFILE : -errno;
    return enter(c, name, fd, out, node);
}

static int answer_entry(struct share_call *c, const char *name)
{
    struct fuse_entry_out out;
    struct node *n;
    int r = share_find(c, name, &out, &n);

    if (r < 0)
        return r;
    node_unpin(c->s, n);
    return share_answer(c, &out, sizeof(out));
}

int share_lookup(struct share_call *c)
{
    char name[SHARE_NAME_SIZE];
    int r = share_take_name(c, name);

    return r < 0 ? r : answer_entry(c, name);
}

int share_readlink(struct share_call *c)
{
    char *target = (char *)c->w->scratch;
    ssize_t len = readlinkat(c->node->fd, "", target, PATH_MAX);

    if (len < 0)
        return errno == ENOENT ? -EINVAL : -errno; /* of an empty name: no symlink, readlink(2) */
    return (size_t)len > c->reply.left ? -ENAMETOOLONG : share_answer(c, target, (size_t)len);
}

/* ---- what makes new files --------------------------------------------------------------------------- */

/* The umask goes to the kernel apart from the mode: a default ACL takes its place (acl(5)). */
static int begin_making(struct share_call *c, uint32_t mask)
{
    int r = share_become(c->w, c->header.uid, c->header.gid);

    if (r == 0 && (mask & 0777) != c->w->mask) {
        c->w->mask = mask & 0777;
        umask(c->w->mask);
    }
    return r;
}

static int end_making(struct share_call *c, int result)
{
    int r = result < 0 ? -errno : result;

    share_return(c->w, c->header.uid, c->header.gid);
    return r;
}

int share_mknod(struct share_call *c)
{
    const struct fuse_mknod_in *in = &c->in.mknod;
    unsigned major = in->rdev >> 8 & 0xfff, minor = (in->rdev & 0xff) | (in->rdev >> 12 & 0xfff00);
    bool is_device = S_ISBLK(in->mode) || S_ISCHR(in->mode);
    char name[SHARE_NAME_SIZE];
    int r = share_take_name(c, name);

    if (r < 0)
        return r;
    if (S_ISDIR(in->mode) || S_ISLNK(in->mode))
        return -EINVAL;
    if (is_device && !c->s->config.devices && !(S_ISCHR(in->mode) && in->rdev == 0))
        return -EPERM;
    r = begin_making(c, in->umask);
    if (r < 0)
        return r;
    r = end_making(c, mknodat(c->node->fd, name, in->mode & (S_IFMT | 07777),
                              is_device ? makedev(major, minor) : 0));
    return r < 0 ? r : answer_entry(c, name);
}

int share_mkdir(struct share_call *c)
{
    char name[SHARE_NAME_SIZE];
    int r = share_take_name(c, name);

    if (r == 0)
        r = begin_making(c, c->in.mkdir.umask);
    if (r < 0)
        return r;
    r = end_making(c, mkdirat(c->node->fd, name, c->in.mkdir.mode & 07777));
    return r < 0 ? r : answer_entry(c, name);
}

int share_symlink(struct share_call *c)
{
    char name[SHARE_NAME_SIZE], *target = (char *)c->w->scratch;
    int r = share_take_name(c, name);

    if (r == 0)
        r = pieces_take_string(&c->request, target, PATH_MAX);
    if (r == 0)
        r = begin_making(c, 0);
    if (r < 0)
        return r;
    r = end_making(c, symlinkat(target, c->node->fd, name));
    return r < 0 ? r : answer_entry(c, name);
}

int share_link(struct share_call *c)
{
    char name[SHARE_NAME_SIZE], file[SHARE_FD_NAME_SIZE];
    struct node *old;
    int r = share_take_name(c, name);

    if (r == 0)
        r = node_pin(c->s, c->in.link.oldnodeid, &old);
    if (r < 0)
        return r;
    /* Follows the link of /proc/self/fd, and no further: a symlink gets a second name itself. */
    r = linkat(AT_FDCWD, share_fd_name(old->fd, file), c->node->fd, name, AT_SYMLINK_FOLLOW);
    r = r < 0 ? -errno : 0;
    node_unpin(c->s, old);
    return r < 0 ? r : answer_entry(c, name);
}

/* ---- CREATE, TMPFILE -------------------------------------------------------------------------------- */

static int answer_opened(struct share_call *c, const struct fuse_entry_out *entry, struct node *n,
                         int fd)
{
    struct fuse_open_out open;
    int r = share_open_reply(c->s, n, fd, c->in.create.flags, &open);

    node_unpin(c->s, n);
    if (r < 0) {
        node_forget(c->s, entry->nodeid, 1);
        return r;
    }
    share_answer(c, entry, sizeof(*entry));
    return share_answer(c, &open, sizeof(open));
}

/* fd is that of a file just made, which gets known; name NULL: it has none. */
static int answer_made(struct share_call *c, const char *name, int fd)
{
    AUTO_FD int made = fd;
    char file[SHARE_FD_NAME_SIZE];
    struct fuse_entry_out entry;
    struct node *n;
    int r, path = openat(AT_FDCWD, share_fd_name(fd, file), O_PATH | O_CLOEXEC);

    if (path < 0)
        return errno == EMFILE ? -ENFILE : -errno;
    r = enter(c, name, path, &entry, &n);
    return r < 0 ? r : answer_opened(c, &entry, n, take_fd(&made));
}

/*
 * The client thought there was none. A regular file is opened all the same; anything else it must
 * look at itself, which ESTALE makes it do.
 */
static int open_existing(struct share_call *c, const char *name, int flags)
{
    struct fuse_entry_out entry;
    struct node *n, *again;
    int fd, r = share_find(c, name, &entry, &n);

    if (r < 0)
        return r == -ENOENT ? -ESTALE : r;
    r = n->type == S_IFREG ? node_pin(c->s, n->id, &again) : -ESTALE;
    if (r == 0) {
        fd = share_reopen(again, flags);
        node_unpin(c->s, again);
        r = fd < 0 ? fd : answer_opened(c, &entry, n, fd);
        if (fd >= 0)
            return r; /* which has unpinned it, and forgotten after a failure */
    }
    node_unpin(c->s, n);
    node_forget(c->s, entry.nodeid, 1);
    return r;
}

/* What open(2) may do of what the client's caller wished; the rest is the client's own affair. */
static int creation_flags(uint32_t flags)
{
    return (int)(flags & (O_ACCMODE | O_TRUNC | O_NOATIME)) | O_CLOEXEC | O_NOCTTY;
}

int share_create(struct share_call *c)
{
    const struct fuse_create_in *in = &c->in.create;
    int flags = creation_flags(in->flags), fd, r;
    char name[SHARE_NAME_SIZE];

    r = share_take_name(c, name);
    if (r == 0 && (in->flags & O_ACCMODE) == O_ACCMODE)
        r = -EINVAL;
    if (r == 0)
        r = begin_making(c, in->umask);
    if (r < 0)
        return r;
    fd = end_making(
        c, openat(c->node->fd, name, flags | O_CREAT | O_EXCL | O_NOFOLLOW, in->mode & 07777));
    if (fd >= 0)
        return answer_made(c, name, fd);
    if (fd == -EEXIST && !(in->flags & O_EXCL))
        return open_existing(c, name, flags);
    return fd == -EMFILE ? -ENFILE : fd;
}

int share_tmpfile(struct share_call *c)
{
    const struct fuse_create_in *in = &c->in.create;
    int fd, r = begin_making(c, in->umask);

    if (r < 0)
        return r;
    fd = end_making(c, openat(c->node->fd, ".",
                              creation_flags(in->flags) | O_TMPFILE | (int)(in->flags & O_EXCL),
                              in->mode & 07777));
    if (fd < 0)
        return fd == -EMFILE ? -ENFILE : fd;
    return answer_made(c, NULL, fd);
}

/* ---- what takes names away -------------------------------------------------------------------------- */

static int remove_name(struct share_call *c, int flags)
{
    char name[SHARE_NAME_SIZE];
    struct node *n;
    int r = share_take_name(c, name);

    if (r < 0)
        return r;
    node_pin_named(c->s, c->node, name, &n);
    r = unlinkat(c->node->fd, name, flags) < 0 ? -errno : 0;
    node_unpin(c->s, n);
    return r;
}

int share_unlink(struct share_call *c)
{
    return remove_name(c, 0);
}

int share_rmdir(struct share_call *c)
{
    return remove_name(c, AT_REMOVEDIR);
}

static int rename_to(struct share_call *c, struct node *to, unsigned flags)
{
    char old_name[SHARE_NAME_SIZE], new_name[SHARE_NAME_SIZE];
    struct node *replaced;
    int r = share_take_name(c, old_name);

    if (r == 0)
        r = share_take_name(c, new_name);
    if (r < 0)
        return r;
    node_pin_named(c->s, to, new_name, &replaced);
    if (syscall(SYS_renameat2, c->node->fd, old_name, to->fd, new_name, flags) < 0)
        r = -errno;
    node_unpin(c->s, replaced);
    if (r == 0)
        node_moved(c->s, to, new_name);
    if (r == 0 && flags & RENAME_EXCHANGE)
        node_moved(c->s, c->node, old_name);
    return r;
}

static int rename_into(struct share_call *c, uint64_t directory, unsigned flags)
{
    struct node *to;
    int r;

    if (flags & ~(unsigned)(RENAME_NOREPLACE | RENAME_EXCHANGE | RENAME_WHITEOUT))
        return -EINVAL;
    r = node_pin(c->s, directory, &to);
    if (r < 0)
        return r;
    r = rename_to(c, to, flags);
    node_unpin(c->s, to);
    return r;
}

int share_rename(struct share_call *c)
{
    return rename_into(c, c->in.rename.newdir, 0);
}

int share_rename2(struct share_call *c)
{
    return rename_into(c, c->in.rename2.newdir, c->in.rename2.flags);
}
