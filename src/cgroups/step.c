/* SPDX-License-Identifier: Apache-2.0 */
/* Executes the steps of this room. Child-safe. */
#include <errno.h>
#include <fcntl.h>
#include <string.h>
#include <sys/stat.h>
#include <time.h>
#include <unistd.h>

#include "cgroups/internal.h"

enum {
    TEXT_SIZE = 256,
    PATH_SIZE = 4096,
    MAKE_TRIES = 100,
    SPARED_PAUSE_MS = 10, /* for five seconds: a machine's monitor has to end the machine first */
    SPARED_TRIES = 500,
};

static int read_text(int dir, const char *name, char text[TEXT_SIZE])
{
    AUTO_FD int fd = openat(dir, name, O_RDONLY | O_CLOEXEC);
    ssize_t n = fd < 0 ? -1 : read(fd, text, TEXT_SIZE - 1);

    if (n < 0)
        return -errno;
    text[n] = '\0';
    return 0;
}

/*
 * No close: exec closes it (CLOEXEC), as does the end of the runtime, and a start makes a dozen of
 * these. openat throughout, for the open() of musl makes a second call to set CLOEXEC.
 */
static int write_text(const char *dir, const char *name, const char *text, struct err *e)
{
    char path[PATH_SIZE];
    size_t len = strlen(text);
    int fd;

    if (base_format(path, sizeof path, "%s/%s", dir, name) >= sizeof path)
        return err_set(e, ENAMETOOLONG, "cannot open '%s' of the cgroup '%s'", name, dir);
    fd = openat(AT_FDCWD, host_path(path), O_WRONLY | O_CLOEXEC);
    if (fd < 0)
        return err_set(e, errno, "cannot open '%s'", path);
    if (write(fd, text, len) != (ssize_t)len)
        return err_set(e, errno, "cannot write '%s' to '%s'", text, path);
    return 0;
}

static bool is_frozen(int dir)
{
    char text[TEXT_SIZE];

    if (read_text(dir, "freezer.state", text) == 0)
        return !str_starts(text, "THAWED");
    /* cgroup.freeze says nothing of those above. */
    return read_text(dir, "cgroup.events", text) == 0 && strstr(text, "frozen 1");
}

/* The paused pod of an engine: init would stop in the middle of its start, and nobody would know. */
static int check_thawed(const char *path, struct err *e)
{
    AUTO_FD int dir = openat(AT_FDCWD, path, O_PATH | O_DIRECTORY | O_CLOEXEC);

    if (dir < 0)
        return err_set(e, errno, "cannot open the cgroup '%s'", path);
    return is_frozen(dir)
               ? err_set(e, EBUSY,
                         "container's cgroup unexpectedly frozen: '%s', as one above it is", path)
               : 0;
}

/* v2 knows about cgroups further down too. */
static bool is_populated(int dir)
{
    char text[TEXT_SIZE];

    return read_text(dir, "cgroup.events", text) == 0 && strstr(text, "populated 1");
}

/*
 * v1 does not tell of processes further below (v2: cgroup.events), so cgroups there are enough to be
 * refused. A directory of kernfs has two links and one for each directory in it.
 */
static bool has_children_on_v1(int dir)
{
    struct stat st;

    return faccessat(dir, "cgroup.events", F_OK, 0) < 0 && fstat(dir, &st) == 0 && st.st_nlink > 2;
}

/* Somebody else's processes would get this container's limits, and die with it. */
static int check_unused(const char *path, int dir, struct err *e)
{
    int n = cgroup_each_process(dir, NULL, NULL);

    if (n < 0)
        return err_set(e, -n, "cannot read the processes of the cgroup '%s'", path);
    if (n == 0 && is_populated(dir))
        return err_set(e, EBUSY, "container's cgroup is not empty: processes found below '%s'",
                       path);
    if (n > 0)
        return err_set(e, EBUSY, "container's cgroup is not empty: %d process(es) found in '%s'", n,
                       path);
    if (has_children_on_v1(dir))
        return err_set(e, EBUSY, "container's cgroup is not empty: it has cgroups of its own: '%s'",
                       path);
    if (is_frozen(dir))
        return err_set(e, EBUSY, "container's cgroup unexpectedly frozen: '%s'", path);
    return 0;
}

/* Values that somebody chose stay. */
static int fill_if_empty(const char *path, int dir, const char *name, const char *value,
                         struct err *e)
{
    char text[TEXT_SIZE];
    int r = value ? read_text(dir, name, text) : 0;

    if (r < 0)
        return err_set(e, -r, "cannot read '%s' of the cgroup '%s'", name, path);
    return value && text[0] == '\n' ? write_text(path, name, value, e) : 0;
}

static int fill_existing(const char *path, const char *cpus, const char *mems, int dir,
                         struct err *e)
{
    int r = fill_if_empty(path, dir, "cpuset.cpus", cpus, e);

    return r < 0 ? r : fill_if_empty(path, dir, "cpuset.mems", mems, e);
}

static int fill_new(const struct op_cgroup_make *op, struct err *e)
{
    int r = op->cpus ? write_text(op->path, "cpuset.cpus", op->cpus, e) : 0;

    return r < 0 || !op->mems ? r : write_text(op->path, "cpuset.mems", op->mems, e);
}

struct filling {
    const struct op_cgroup_make *op;
    struct err *e;
};

static int fill_parent(const char *path, void *arg)
{
    const struct filling *f = arg;
    AUTO_FD int dir = openat(AT_FDCWD, path, O_PATH | O_DIRECTORY | O_CLOEXEC);

    if (dir < 0 || !f->op->cpus || faccessat(dir, "cpuset.cpus", F_OK, 0) < 0)
        return 0;
    return fill_existing(path, f->op->cpus, f->op->mems, dir, f->e);
}

/*
 * The parent that was there when the facts were read has gone with the last container in it, or
 * another start has made it anew and not filled it yet.
 */
static int make_again(const struct op_cgroup_make *op, struct err *e)
{
    struct filling f = { op, e };
    int r = -ENOENT;

    for (int tries = 0; r == -ENOENT && tries < MAKE_TRIES; tries++) {
        r = parents_make(op->path, fill_parent, &f);
        if (r == 0 && mkdir(op->path, 0755) < 0)
            r = -errno;
    }
    return r;
}

static int fill_made(const struct op_cgroup_make *op, struct err *e)
{
    struct filling f = { op, e };
    int r = fill_new(op, e);

    if (r == -EACCES && op->nested)
        r = parents_make(op->path, fill_parent, &f);
    else
        return r;
    return r < 0 ? r : fill_new(op, e);
}

static int use_existing(const struct op_cgroup_make *op, struct err *e)
{
    AUTO_FD int dir = openat(AT_FDCWD, op->path, O_PATH | O_DIRECTORY | O_CLOEXEC);
    int r = 0;

    if (dir < 0)
        return err_set(e, errno, "cannot open the cgroup '%s'", op->path);
    if (op->leaf && !op->unit)
        r = check_unused(op->path, dir, e);
    return r < 0 ? r : fill_existing(op->path, op->cpus, op->mems, dir, e);
}

static int step_fill(const struct op_cgroup_fill *op, struct err *e)
{
    AUTO_FD int dir = openat(AT_FDCWD, op->path, O_PATH | O_DIRECTORY | O_CLOEXEC);

    if (dir < 0)
        return err_set(e, errno, "cannot open the cgroup '%s'", op->path);
    return fill_existing(op->path, op->cpus, op->mems, dir, e);
}

static int make_once(const struct op_cgroup_make *op, struct err *e)
{
    int r = mkdir(op->path, 0755) < 0 ? -errno : 0;

    if (r == -ENOENT && op->nested)
        r = make_again(op, e);
    if (r == 0) {
        r = fill_made(op, e);
        if (r == 0 && op->thawed)
            r = check_thawed(op->path, e);
        if (r < 0)
            rmdir(op->path); /* undo begins with the step before the one that failed */
        else if (!op->leaf)
            parents_mark(op->path);
        return r;
    }
    if (r == -EEXIST)
        return use_existing(op, e);
    err_set(e, -r, "cannot make the cgroup '%s'", op->path);
    if (r == -EACCES || r == -EPERM || r == -EROFS)
        err_hint(e, "rootless needs no limits + no cgrouppath when no permission is granted for "
                    "cgroups");
    return r;
}

/* One that was there and could be used may go before it is: then it is made after all. */
static int step_make(const struct op_cgroup_make *op, struct err *e)
{
    int r = make_once(op, e);

    for (int tries = 0; r == -ENOENT && op->nested && tries < MAKE_TRIES; tries++)
        r = make_once(op, e);
    return r;
}

static int step_open(const struct op_cgroup_open *op, struct slots *slots, struct err *e)
{
    int fd = openat(AT_FDCWD, op->path, O_PATH | O_DIRECTORY | O_CLOEXEC);

    if (fd < 0)
        return err_set(e, errno, "cannot open the cgroup '%s'", op->path);
    slots->value[op->out] = fd;
    return 0;
}

/* Which controllers a parent gives on is its owner's to say, and nothing to be undone. */
static int step_enable(const struct op_cgroup_enable *op, struct err *e)
{
    int r = write_text(op->path, "cgroup.subtree_control", op->controllers, e);

    if (r == -EBUSY)
        err_hint(e,
                 "a cgroup with processes of its own cannot give controllers on: cgroups(7), \"no "
                 "internal processes\"");
    return r;
}

static int step_set(const struct op_cgroup_set *op, struct err *e)
{
    struct err first = { 0 }, second = { 0 };
    int r = write_text(op->path, op->file, op->value, &first);

    if (r == -ENOENT && op->or_file)
        r = write_text(op->path, op->or_file, op->or_value, &second);
    if (r == 0 || (r == -ENOENT && op->optional))
        return 0;
    err_set(e, 0, "%s", r != -ENOENT && second.code ? second.text : first.text);
    if (r == -ENOENT)
        err_hint(e, "this kernel's controller has no such file");
    return r;
}

/* config-linux.md "Cgroup ownership": what does not exist is left alone. */
static int step_own(const struct op_cgroup_own *op, struct err *e)
{
    AUTO_FD int dir = openat(AT_FDCWD, op->path, O_PATH | O_DIRECTORY | O_CLOEXEC);
    uid_t uid = (uid_t)op->uid;

    if (dir < 0)
        return err_set(e, errno, "cannot open the cgroup '%s'", op->path);
    if (fchownat(dir, "", uid, (gid_t)-1, AT_EMPTY_PATH) < 0)
        return err_set(e, errno, "cannot give the cgroup '%s' to uid %u", op->path, uid);
    for (const char *const *file = op->files; *file; file++)
        if (fchownat(dir, *file, uid, (gid_t)-1, AT_SYMLINK_NOFOLLOW) < 0 && errno != ENOENT)
            return err_set(e, errno, "cannot give '%s/%s' to uid %u", op->path, *file, uid);
    return 0;
}

/*
 * Only a process that moves itself, and through `tasks`, is spared the global lock whose writer
 * waits for an RCU grace period: 10 to 30 ms (cgroup_procs_write_start() in kernel/cgroup/cgroup.c,
 * Linux 5.8). It has one thread, so the whole process moves.
 */
static int step_join(const struct op_cgroup_join *op, struct err *e)
{
    return write_text(op->path, "tasks", "0", e);
}

static int step_thaw(const struct op_cgroup_thaw *op, const struct slots *slots, struct err *e)
{
    int r = slots->value[op->init] < 0 ? 0 : cgroup_thaw(op->path);

    return r < 0 ? err_set(e, -r, "cannot thaw the cgroup '%s'", op->path) : 0;
}

/*
 * A start that was killed before it published its init: whether it came to make this cgroup nobody
 * knows, so the processes in it may be another's. The own ones end when they miss the runtime.
 */
static int remove_spared(const char *path, struct err *e)
{
    const struct timespec pause = { 0, SPARED_PAUSE_MS * 1000000L };
    int r = -EBUSY;

    for (int i = 0; r == -EBUSY && i < SPARED_TRIES; i++) {
        if (i > 0)
            nanosleep(&pause, NULL);
        r = rmdir(path) == 0 || errno == ENOENT ? 0 : -errno;
    }
    if (r == 0)
        return 0;
    err_set(e, -r, "cannot remove the cgroup '%s'", path);
    if (r == -EBUSY)
        err_hint(e, "the start was killed before it had a process to publish: those in the cgroup "
                    "may be another's and were not killed");
    return r;
}

static int step_remove(const struct op_cgroup_remove *op, struct err *e)
{
    int r;

    if (op->leaf && op->spare)
        r = remove_spared(op->path, e);
    else if (op->leaf)
        r = cgroup_remove_tree(op->path, true);
    else /* somebody else may use it by now */
        r = rmdir(op->path) == 0 || errno == EBUSY || errno == ENOENT || errno == ENOTEMPTY
                ? 0
                : -errno;
    if (r == 0 && op->leaf && op->nested)
        parents_remove(op->path);
    return r < 0 && !op->spare ? err_set(e, -r, "cannot remove the cgroup '%s'", op->path) : r;
}

int cgroup_step(const struct step *st, struct slots *slots, struct err *e)
{
    switch ((int)st->op) { /* as int: the other operations are other rooms' */
    case OP_CGROUP_MAKE:
        return step_make(&st->cgroup_make, e);
    case OP_CGROUP_FILL:
        return step_fill(&st->cgroup_fill, e);
    case OP_CGROUP_OPEN:
        return step_open(&st->cgroup_open, slots, e);
    case OP_CGROUP_JOIN:
        return step_join(&st->cgroup_join, e);
    case OP_CGROUP_ENABLE:
        return step_enable(&st->cgroup_enable, e);
    case OP_CGROUP_SET:
        return step_set(&st->cgroup_set, e);
    case OP_CGROUP_OWN:
        return step_own(&st->cgroup_own, e);
    case OP_CGROUP_THAW:
        return step_thaw(&st->cgroup_thaw, slots, e);
    case OP_CGROUP_REMOVE:
        return step_remove(&st->cgroup_remove, e);
    default:
        return err_set(e, ENOSYS, "'%s' is no step of cgroups", plan_op_name(st->op));
    }
}
