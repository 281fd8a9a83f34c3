/* SPDX-License-Identifier: Apache-2.0 */
/* GETATTR, SETATTR, STATFS and the extended attributes. */
#include "share/internal.h"

#include <errno.h>
#include <fcntl.h>
#include <string.h>
#include <sys/syscall.h>
#include <sys/sysmacros.h>
#include <sys/vfs.h>
#include <sys/xattr.h>
#include <unistd.h>

enum { FOR_EVER = 86400 };

int share_stat(int fd, const char *name, struct statx *out)
{
    int flags = AT_SYMLINK_NOFOLLOW | AT_NO_AUTOMOUNT | (*name ? 0 : AT_EMPTY_PATH);
    unsigned mask = STATX_BASIC_STATS | STATX_BTIME | STATX_MNT_ID;

    return syscall(SYS_statx, fd, name, flags, mask, out) < 0 ? -errno : 0;
}

uint64_t share_device(const struct statx *in)
{
    return (uint64_t)in->stx_dev_major << 32 | in->stx_dev_minor;
}

uint64_t share_validity(const struct share *s)
{
    if (s->config.cache == SHARE_CACHE_ALWAYS)
        return FOR_EVER;
    return s->config.cache == SHARE_CACHE_AUTO ? 1 : 0;
}

/* A device number as the kernel passes it in 32 bits (new_encode_dev): 12 of major, 20 of minor. */
static uint32_t encode_device(uint32_t major, uint32_t minor)
{
    return (minor & 0xff) | major << 8 | (minor & ~UINT32_C(0xff)) << 12;
}

void share_attributes(const struct statx *in, struct fuse_attr *out)
{
    *out = (struct fuse_attr){ .ino = in->stx_ino,
                               .size = in->stx_size,
                               .blocks = in->stx_blocks,
                               .atime = (uint64_t)in->stx_atime.tv_sec,
                               .mtime = (uint64_t)in->stx_mtime.tv_sec,
                               .ctime = (uint64_t)in->stx_ctime.tv_sec,
                               .atimensec = in->stx_atime.tv_nsec,
                               .mtimensec = in->stx_mtime.tv_nsec,
                               .ctimensec = in->stx_ctime.tv_nsec,
                               .mode = in->stx_mode,
                               .nlink = in->stx_nlink,
                               .uid = in->stx_uid,
                               .gid = in->stx_gid,
                               .rdev = encode_device(in->stx_rdev_major, in->stx_rdev_minor),
                               .blksize = in->stx_blksize };
}

static int answer_attributes(struct share_call *c, int fd)
{
    struct fuse_attr_out out = { .attr_valid = share_validity(c->s) };
    struct statx stat;
    int r = share_stat(fd, "", &stat);

    if (r < 0)
        return r;
    share_attributes(&stat, &out.attr);
    return share_answer(c, &out, sizeof(out));
}

/*
 * By the open file where the client says so: it may have lost its name, and before that the node its fd.
 * Gives the fd; h: of a handle, which is unpinned then, else c->node is pinned.
 */
static int pin_file(struct share_call *c, bool by_handle, uint64_t fh, struct handle **h)
{
    int r;

    *h = NULL;
    if (by_handle)
        r = handle_pin(c->s, fh, false, h);
    else
        r = node_pin(c->s, c->header.nodeid, &c->node);
    if (r < 0)
        return r;
    return *h ? (*h)->fd : c->node->fd;
}

int share_getattr(struct share_call *c)
{
    const struct fuse_getattr_in *in = &c->in.getattr;
    struct handle *h;
    int r, fd = pin_file(c, in->getattr_flags & FUSE_GETATTR_FH, in->fh, &h);

    if (fd < 0)
        return fd;
    r = answer_attributes(c, fd);
    if (h)
        handle_unpin(c->s, h);
    return r;
}

/* ---- SETATTR ---------------------------------------------------------------------------------------- */

/* By the open file where there is one: it may be written although its mode says otherwise by now. */
static int set_size(struct share_call *c, const struct fuse_setattr_in *in, int fd)
{
    char name[SHARE_FD_NAME_SIZE];
    bool kill;
    int r;

    if (in->size > INT64_MAX)
        return -EFBIG;
    if (c->node && c->node->type != S_IFREG) /* that of a FIFO or a device is the client's affair */
        return -EINVAL;
    kill = in->valid & FATTR_KILL_SUIDGID && share_begin_killing(c->w, fd);
    if (in->valid & FATTR_FH)
        r = ftruncate(fd, (off_t)in->size);
    else
        r = truncate(share_fd_name(fd, name), (off_t)in->size);
    r = r < 0 ? -errno : 0;
    if (kill)
        share_end_killing(c->w);
    return r;
}

static struct timespec time_to_set(uint32_t valid, uint32_t set, uint32_t now, uint64_t sec,
                                   uint32_t nsec)
{
    if (!(valid & set))
        return (struct timespec){ .tv_nsec = UTIME_OMIT };
    if (valid & now)
        return (struct timespec){ .tv_nsec = UTIME_NOW };
    /* The two numbers that mean something else are no nanoseconds: utimensat(2) refuses others. */
    if (nsec == UTIME_NOW || nsec == UTIME_OMIT)
        nsec = UINT32_MAX;
    return (struct timespec){ .tv_sec = (time_t)sec, .tv_nsec = nsec };
}

static int set_times(const struct fuse_setattr_in *in, int fd)
{
    char name[SHARE_FD_NAME_SIZE];
    struct timespec times[2] = {
        time_to_set(in->valid, FATTR_ATIME, FATTR_ATIME_NOW, in->atime, in->atimensec),
        time_to_set(in->valid, FATTR_MTIME, FATTR_MTIME_NOW, in->mtime, in->mtimensec),
    };

    /* Through the link of /proc/self/fd: the file itself, be it a symlink. */
    return utimensat(AT_FDCWD, share_fd_name(fd, name), times, 0) < 0 ? -errno : 0;
}

/* The owner before the mode, for chown(2) takes setuid away; the size before the times that it sets. */
static int set_attributes(struct share_call *c, const struct fuse_setattr_in *in, int fd)
{
    uid_t uid = in->valid & FATTR_UID ? in->uid : (uid_t)-1;
    gid_t gid = in->valid & FATTR_GID ? in->gid : (gid_t)-1;
    int r = 0;
    char name[SHARE_FD_NAME_SIZE];

    if (in->valid & (FATTR_UID | FATTR_GID) &&
        fchownat(fd, "", uid, gid, AT_EMPTY_PATH | AT_SYMLINK_NOFOLLOW) < 0)
        return -errno;
    if (in->valid & FATTR_MODE &&
        fchmodat(AT_FDCWD, share_fd_name(fd, name), in->mode & 07777, 0) < 0)
        return -errno;
    if (in->valid & FATTR_SIZE)
        r = set_size(c, in, fd);
    if (r == 0 && in->valid & (FATTR_ATIME | FATTR_MTIME))
        r = set_times(in, fd);
    return r;
}

int share_setattr(struct share_call *c)
{
    const struct fuse_setattr_in *in = &c->in.setattr;
    struct handle *h;
    int r, fd = pin_file(c, in->valid & FATTR_FH, in->fh, &h);

    if (fd < 0)
        return fd;
    r = set_attributes(c, in, fd);
    if (r == 0)
        r = answer_attributes(c, fd);
    if (h)
        handle_unpin(c->s, h);
    return r;
}

int share_statfs(struct share_call *c)
{
    struct fuse_statfs_out out = { 0 };
    struct statfs fs;

    if (fstatfs(c->node->fd, &fs) < 0)
        return -errno;
    out.st = (struct fuse_kstatfs){ .blocks = (uint64_t)fs.f_blocks,
                                    .bfree = (uint64_t)fs.f_bfree,
                                    .bavail = (uint64_t)fs.f_bavail,
                                    .files = (uint64_t)fs.f_files,
                                    .ffree = (uint64_t)fs.f_ffree,
                                    .bsize = (uint32_t)fs.f_bsize,
                                    .namelen = (uint32_t)fs.f_namelen,
                                    .frsize = (uint32_t)fs.f_frsize };
    return share_answer(c, &out, sizeof(out));
}

/* ---- extended attributes ---------------------------------------------------------------------------- */

static bool starts(const char *name, const char *with)
{
    return strncmp(name, with, strlen(with)) == 0;
}

/*
 * trusted.* is the host's own: overlayfs believes what it finds there, and a container would not have
 * the right to it. Labels (security.*) are those of the host's security modules; file capabilities are the
 * client's as the mode is.
 */
static bool is_hidden(const struct share *s, const char *name)
{
    return !s->config.trusted_xattrs && starts(name, "trusted.");
}

static bool may_change(const struct share *s, const char *name)
{
    return !is_hidden(s, name) &&
           (!starts(name, "security.") || str_eq(name, "security.capability"));
}

static int take_xattr_name(struct share_call *c, char name[XATTR_NAME_MAX + 1])
{
    int r = pieces_take_string(&c->request, name, XATTR_NAME_MAX + 1);

    return r == -ENAMETOOLONG ? -ERANGE : r; /* as setxattr(2) says it */
}

/* The struct grew with FUSE_SETXATTR_EXT, so its length depends on what INIT agreed upon. */
int share_setxattr(struct share_call *c)
{
    struct fuse_setxattr_in in = { 0 };
    size_t size = c->s->has_long_setxattr ? sizeof(in) : FUSE_COMPAT_SETXATTR_IN_SIZE;
    char name[XATTR_NAME_MAX + 1], file[SHARE_FD_NAME_SIZE];
    bool kill;
    int r;

    if (!pieces_take(&c->request, &in, size))
        return -EINVAL;
    r = take_xattr_name(c, name);
    if (r < 0)
        return r;
    if (in.size > sizeof(c->w->scratch))
        return -E2BIG;
    if (!pieces_take(&c->request, c->w->scratch, in.size))
        return -EINVAL;
    if (!may_change(c->s, name))
        return -EPERM;
    kill = in.setxattr_flags & FUSE_SETXATTR_ACL_KILL_SGID;
    if (kill)
        share_begin_as_stranger(c->w, c->header.gid);
    r = setxattr(share_fd_name(c->node->fd, file), name, c->w->scratch, in.size, (int)in.flags);
    r = r < 0 ? -errno : 0;
    if (kill)
        share_end_killing(c->w);
    return r;
}

/* A size of 0 asks how long it is. */
static int answer_xattr(struct share_call *c, uint32_t wanted, size_t len)
{
    struct fuse_getxattr_out out = { .size = (uint32_t)len };

    if (wanted == 0)
        return share_answer(c, &out, sizeof(out));
    return len > wanted || len > c->reply.left ? -ERANGE : share_answer(c, c->w->scratch, len);
}

int share_getxattr(struct share_call *c)
{
    char name[XATTR_NAME_MAX + 1], file[SHARE_FD_NAME_SIZE];
    int r = take_xattr_name(c, name);
    ssize_t len;

    if (r < 0)
        return r;
    if (is_hidden(c->s, name))
        return -ENODATA;
    len = getxattr(share_fd_name(c->node->fd, file), name, c->w->scratch, sizeof(c->w->scratch));
    return len < 0 ? -errno : answer_xattr(c, c->in.getxattr.size, (size_t)len);
}

/* Takes the hidden ones out of a list of strings; returns its length. */
static size_t without_hidden(const struct share *s, char *list, size_t len)
{
    size_t kept = 0;

    for (size_t at = 0, size; at < len; at += size) {
        size = strnlen(list + at, len - at - 1) + 1;
        if (is_hidden(s, list + at))
            continue;
        memmove(list + kept, list + at, size);
        kept += size;
    }
    return kept;
}

int share_listxattr(struct share_call *c)
{
    char file[SHARE_FD_NAME_SIZE], *list = (char *)c->w->scratch;
    ssize_t len = listxattr(share_fd_name(c->node->fd, file), list, sizeof(c->w->scratch));

    if (len < 0)
        return -errno;
    return answer_xattr(c, c->in.getxattr.size, without_hidden(c->s, list, (size_t)len));
}

int share_removexattr(struct share_call *c)
{
    char name[XATTR_NAME_MAX + 1], file[SHARE_FD_NAME_SIZE];
    int r = take_xattr_name(c, name);

    if (r < 0)
        return r;
    if (!may_change(c->s, name))
        return -EPERM;
    return removexattr(share_fd_name(c->node->fd, file), name) < 0 ? -errno : 0;
}
