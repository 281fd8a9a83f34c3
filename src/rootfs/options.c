/* SPDX-License-Identifier: Apache-2.0 */
/* Mount options: runtime-spec config.md "Linux mount options", as one table. */
#include <errno.h>
#include <string.h>

#include "rootfs/internal.h"

#define ATIME MOUNT_ATTR__ATIME

enum option_kind {
    OPTION_SET,   /* the MS_ bit on; on a bind the attribute is set */
    OPTION_CLEAR, /* the MS_ bit off; on a bind the attribute is cleared */
    OPTION_BIND,
    OPTION_PROPAGATION,
    OPTION_REC_SET, /* attribute of the whole tree, mount_setattr(2) AT_RECURSIVE, Linux 5.12 */
    OPTION_REC_CLEAR,
    OPTION_COPY_UP,
    OPTION_COPY_SYMLINK,
    OPTION_IDMAP,
    OPTION_REC_IDMAP,
    OPTION_NOTHING, /* for mount(8)'s eyes only, or what the kernel does anyway */
};

struct option {
    const char *name;
    enum option_kind kind;
    uint64_t flag; /* MS_ */
    uint64_t attr; /* MOUNT_ATTR_ */
    uint64_t mask; /* further attributes to clear: access times are one number of several bits */
};

static const struct option options[] = {
    { "ro", OPTION_SET, MS_RDONLY, MOUNT_ATTR_RDONLY, 0 },
    { "rw", OPTION_CLEAR, MS_RDONLY, MOUNT_ATTR_RDONLY, 0 },
    { "nosuid", OPTION_SET, MS_NOSUID, MOUNT_ATTR_NOSUID, 0 },
    { "suid", OPTION_CLEAR, MS_NOSUID, MOUNT_ATTR_NOSUID, 0 },
    { "nodev", OPTION_SET, MS_NODEV, MOUNT_ATTR_NODEV, 0 },
    { "dev", OPTION_CLEAR, MS_NODEV, MOUNT_ATTR_NODEV, 0 },
    { "noexec", OPTION_SET, MS_NOEXEC, MOUNT_ATTR_NOEXEC, 0 },
    { "exec", OPTION_CLEAR, MS_NOEXEC, MOUNT_ATTR_NOEXEC, 0 },
    { "nosymfollow", OPTION_SET, MS_NOSYMFOLLOW, MOUNT_ATTR_NOSYMFOLLOW, 0 },
    { "symfollow", OPTION_CLEAR, MS_NOSYMFOLLOW, MOUNT_ATTR_NOSYMFOLLOW, 0 },
    { "nodiratime", OPTION_SET, MS_NODIRATIME, MOUNT_ATTR_NODIRATIME, 0 },
    { "diratime", OPTION_CLEAR, MS_NODIRATIME, MOUNT_ATTR_NODIRATIME, 0 },
    { "noatime", OPTION_SET, MS_NOATIME, MOUNT_ATTR_NOATIME, ATIME },
    { "atime", OPTION_CLEAR, MS_NOATIME, 0, ATIME },
    { "relatime", OPTION_SET, MS_RELATIME, MOUNT_ATTR_RELATIME, ATIME },
    { "norelatime", OPTION_CLEAR, MS_RELATIME, 0, 0 },
    { "strictatime", OPTION_SET, MS_STRICTATIME, MOUNT_ATTR_STRICTATIME, ATIME },
    { "nostrictatime", OPTION_CLEAR, MS_STRICTATIME, 0, ATIME },
    /* Of the whole file system, so without meaning for a bind: */
    { "sync", OPTION_SET, MS_SYNCHRONOUS, 0, 0 },
    { "async", OPTION_CLEAR, MS_SYNCHRONOUS, 0, 0 },
    { "dirsync", OPTION_SET, MS_DIRSYNC, 0, 0 },
    { "mand", OPTION_SET, MS_MANDLOCK, 0, 0 },
    { "nomand", OPTION_CLEAR, MS_MANDLOCK, 0, 0 },
    { "iversion", OPTION_SET, MS_I_VERSION, 0, 0 },
    { "noiversion", OPTION_CLEAR, MS_I_VERSION, 0, 0 },
    { "lazytime", OPTION_SET, MS_LAZYTIME, 0, 0 },
    { "nolazytime", OPTION_CLEAR, MS_LAZYTIME, 0, 0 },
    { "silent", OPTION_SET, MS_SILENT, 0, 0 },
    { "loud", OPTION_CLEAR, MS_SILENT, 0, 0 },
    { "remount", OPTION_SET, MS_REMOUNT, 0, 0 },
    { "bind", OPTION_BIND, MS_BIND, 0, 0 },
    { "rbind", OPTION_BIND, MS_BIND | MS_REC, 0, 0 },
    { "private", OPTION_PROPAGATION, MS_PRIVATE, 0, 0 },
    { "rprivate", OPTION_PROPAGATION, MS_PRIVATE | MS_REC, 0, 0 },
    { "slave", OPTION_PROPAGATION, MS_SLAVE, 0, 0 },
    { "rslave", OPTION_PROPAGATION, MS_SLAVE | MS_REC, 0, 0 },
    { "shared", OPTION_PROPAGATION, MS_SHARED, 0, 0 },
    { "rshared", OPTION_PROPAGATION, MS_SHARED | MS_REC, 0, 0 },
    { "unbindable", OPTION_PROPAGATION, MS_UNBINDABLE, 0, 0 },
    { "runbindable", OPTION_PROPAGATION, MS_UNBINDABLE | MS_REC, 0, 0 },
    { "rro", OPTION_REC_SET, 0, MOUNT_ATTR_RDONLY, 0 },
    { "rrw", OPTION_REC_CLEAR, 0, MOUNT_ATTR_RDONLY, 0 },
    { "rnosuid", OPTION_REC_SET, 0, MOUNT_ATTR_NOSUID, 0 },
    { "rsuid", OPTION_REC_CLEAR, 0, MOUNT_ATTR_NOSUID, 0 },
    { "rnodev", OPTION_REC_SET, 0, MOUNT_ATTR_NODEV, 0 },
    { "rdev", OPTION_REC_CLEAR, 0, MOUNT_ATTR_NODEV, 0 },
    { "rnoexec", OPTION_REC_SET, 0, MOUNT_ATTR_NOEXEC, 0 },
    { "rexec", OPTION_REC_CLEAR, 0, MOUNT_ATTR_NOEXEC, 0 },
    { "rnosymfollow", OPTION_REC_SET, 0, MOUNT_ATTR_NOSYMFOLLOW, 0 },
    { "rsymfollow", OPTION_REC_CLEAR, 0, MOUNT_ATTR_NOSYMFOLLOW, 0 },
    { "rnodiratime", OPTION_REC_SET, 0, MOUNT_ATTR_NODIRATIME, 0 },
    { "rdiratime", OPTION_REC_CLEAR, 0, MOUNT_ATTR_NODIRATIME, 0 },
    { "rnoatime", OPTION_REC_SET, 0, MOUNT_ATTR_NOATIME, ATIME },
    { "ratime", OPTION_REC_CLEAR, 0, 0, ATIME },
    { "rrelatime", OPTION_REC_SET, 0, MOUNT_ATTR_RELATIME, ATIME },
    { "rnorelatime", OPTION_REC_CLEAR, 0, 0, 0 },
    { "rstrictatime", OPTION_REC_SET, 0, MOUNT_ATTR_STRICTATIME, ATIME },
    { "rnostrictatime", OPTION_REC_CLEAR, 0, 0, ATIME },
    { "tmpcopyup", OPTION_COPY_UP, 0, 0, 0 },
    { "copy-symlink", OPTION_COPY_SYMLINK, 0, 0, 0 }, /* of crun */
    { "idmap", OPTION_IDMAP, 0, 0, 0 },
    { "ridmap", OPTION_REC_IDMAP, 0, 0, 0 },
    { "defaults", OPTION_NOTHING, 0, 0, 0 },
    { "auto", OPTION_NOTHING, 0, 0, 0 }, /* mount(8) "FILESYSTEM-INDEPENDENT MOUNT OPTIONS" */
    { "noauto", OPTION_NOTHING, 0, 0, 0 },
    { "_netdev", OPTION_NOTHING, 0, 0, 0 },
};

static const struct option *find_option(const char *name)
{
    static const struct option nothing = { "", OPTION_NOTHING, 0, 0, 0 };

    for (size_t i = 0; i < COUNT_OF(options); i++)
        if (str_eq(options[i].name, name))
            return &options[i];
    /* mount(8): "x-..." and "comment=" are for programs in user space. */
    if (str_starts(name, "x-") || str_starts(name, "X-") || str_starts(name, "comment="))
        return &nothing;
    return NULL;
}

static void change_attr(uint64_t *set, uint64_t *clear, const struct option *o, bool on)
{
    *set &= ~(o->attr | o->mask);
    *clear &= ~o->attr;
    *clear |= o->mask;
    *(on ? set : clear) |= o->attr;
}

static void apply_option(struct mount_options *out, const struct option *o)
{
    switch (o->kind) {
    case OPTION_SET:
        out->flags |= o->flag;
        change_attr(&out->set, &out->clear, o, true);
        break;
    case OPTION_CLEAR:
        out->flags &= ~o->flag;
        change_attr(&out->set, &out->clear, o, false);
        break;
    case OPTION_BIND:
        out->bind = true;
        out->flags |= o->flag;
        break;
    case OPTION_PROPAGATION:
        out->propagation = o->flag;
        break;
    case OPTION_REC_SET:
        change_attr(&out->rec_set, &out->rec_clear, o, true);
        break;
    case OPTION_REC_CLEAR:
        change_attr(&out->rec_set, &out->rec_clear, o, false);
        break;
    case OPTION_COPY_UP:
        out->copy_up = true;
        break;
    case OPTION_COPY_SYMLINK:
        out->copy_symlink = true;
        break;
    case OPTION_IDMAP:
    case OPTION_REC_IDMAP:
        out->idmap = true;
        out->rec_idmap = o->kind == OPTION_REC_IDMAP;
        break;
    case OPTION_NOTHING:
        break;
    }
}

static int add_data(struct mount_options *out, size_t *len, const char *option, struct err *e)
{
    size_t more = strlen(option), comma = *len > 0;

    if (*len + comma + more >= sizeof out->data)
        return err_set(e, 0,
                       "options for the file system are longer than %d bytes at '%.40s': "
                       "mount(2) takes one page",
                       MOUNT_DATA_SIZE - 1, option);
    if (comma)
        out->data[(*len)++] = ',';
    memcpy(out->data + *len, option, more + 1);
    *len += more;
    return 0;
}

int options_parse(const struct spec_mount *m, struct mount_options *out, struct err *e)
{
    const char *unknown = NULL;
    size_t len = 0;

    memset(out, 0, offsetof(struct mount_options, data));
    out->data[0] = '\0';
    for (size_t i = 0; i < m->options.n; i++) {
        const struct option *o = find_option(m->options.v[i]);
        int r = 0;

        if (o)
            apply_option(out, o);
        else if (m->options.v[i][0] != '\0')
            r = add_data(out, &len, unknown = m->options.v[i], e);
        if (r < 0)
            return r;
    }
    if (str_eq(m->type, "bind") && !out->bind) {
        out->bind = true;
        out->flags |= MS_BIND;
    }
    if (out->bind && unknown)
        return err_set(e, 0, "option '%s' is of no file system: a bind mount has no such options",
                       unknown);
    return 0;
}

bool rootfs_is_idmapped(const struct spec_mount *m)
{
    if (m->uid_mappings.n > 0 || m->gid_mappings.n > 0)
        return true;
    for (size_t i = 0; i < m->options.n; i++)
        if (str_eq(m->options.v[i], "idmap") || str_eq(m->options.v[i], "ridmap"))
            return true;
    return false;
}

uint64_t options_attr_of(uint64_t ms_flags)
{
    uint64_t attr = 0;

    for (size_t i = 0; i < COUNT_OF(options); i++)
        if (options[i].kind == OPTION_SET && (ms_flags & options[i].flag))
            attr |= options[i].attr;
    return attr;
}

uint64_t options_propagation(const char *name)
{
    const struct option *o = name ? find_option(name) : NULL;

    return o && o->kind == OPTION_PROPAGATION ? o->flag : 0;
}

int rootfs_check_mount(const struct spec_mount *m, struct err *e)
{
    struct mount_options o;
    int r = options_parse(m, &o, e);

    if (r < 0)
        return r;
    if (!o.bind && !(o.flags & MS_REMOUNT) && (!m->type || m->type[0] == '\0'))
        return err_set(e, 0, "a mount needs a type, or the option 'bind' or 'rbind'");
    if (o.bind && !(o.flags & MS_REMOUNT) && (!m->source || m->source[0] == '\0'))
        return err_set(e, 0, "a bind mount needs a source");
    if (rootfs_is_idmapped(m) && (!o.bind || o.flags & MS_REMOUNT))
        return err_set(e, 0, "ids are mapped for a bind mount; a new file system has no others");
    if (!m->uid_mappings.n != !m->gid_mappings.n)
        return err_set(e, 0, "uidMappings and gidMappings must be given together");
    if (o.copy_symlink && (!o.bind || o.flags & MS_REMOUNT))
        return err_set(e, 0, "option 'copy-symlink' is for a bind mount");
    if (o.copy_up && !str_eq(m->type, "tmpfs"))
        return err_set(e, 0, "option 'tmpcopyup' is for a mount of type 'tmpfs'");
    return 0;
}

/* What mount(8) alone looks at is not listed. */
static bool is_executed(const struct option *o)
{
    return o->kind != OPTION_NOTHING || str_eq(o->name, "defaults");
}

const char *rootfs_option_name(size_t i)
{
    for (size_t k = 0; k < COUNT_OF(options); k++)
        if (is_executed(&options[k]) && i-- == 0)
            return options[k].name;
    return NULL;
}
