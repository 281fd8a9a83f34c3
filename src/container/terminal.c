/* SPDX-License-Identifier: Apache-2.0 */
/*
 * process.terminal: a pseudoterminal of the container's own devpts, its place at /dev/console, who
 * gets the master; and the three standard fds without one. pts(4), ioctl_tty(2).
 *
 *   init     opens it before the pivot, makes it its own after it
 *   runtime  gets the master as init's word that it is open, and sends it on or relays it
 */
#include <errno.h>
#include <fcntl.h>
#include <linux/magic.h>
#include <string.h>
#include <sys/ioctl.h>
#include <sys/mount.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/sysmacros.h>
#include <sys/time.h>
#include <sys/un.h>
#include <sys/vfs.h>
#include <unistd.h>

#include "container/internal.h"

enum { CONNECT_SECONDS = 10 };

/* ---- compile ------------------------------------------------------------------------------- */

/* The rules and texts of runc, engine-contract 1.6 and 1.8. */
int terminal_check(const struct spec *s, const struct compile_in *in, struct err *e)
{
    bool terminal = s->process.terminal, leaves = in->create || in->detach;

    if (terminal && leaves && !in->console_socket)
        return err_at(e, "/process/terminal", 0,
                      "cannot allocate tty if runc will detach without setting console socket");
    if (in->console_socket && !(terminal && leaves))
        return err_set(e, 0, "cannot use console socket if runc will not detach or allocate tty");
    return 0;
}

static int add_connect(struct plan *p, const char *path)
{
    struct step *st = plan_add(p, OP_SOCKET_CONNECT, LANE_RUNTIME, "");

    st->socket_connect.path = path;
    st->socket_connect.out = plan_slot(p);
    return st->socket_connect.out;
}

void terminal_compile_connect(struct plan *p, const struct compile_in *in, struct terminal_slots *t)
{
    *t = (struct terminal_slots){ SLOT_NONE, SLOT_NONE, SLOT_NONE, SLOT_NONE, -1 };
    if (in->console_socket)
        t->console_socket = add_connect(p, in->console_socket);
    if (in->pidfd_socket)
        t->pidfd_socket = add_connect(p, in->pidfd_socket);
}

/* While init waits for `start` it would keep the engine's connection open. */
void terminal_compile_inherited(struct plan *p, const struct terminal_slots *t)
{
    if (t->console_socket != SLOT_NONE)
        plan_add(p, OP_CLOSE, LANE_INIT, "")->close.fd = t->console_socket;
    if (t->pidfd_socket != SLOT_NONE)
        plan_add(p, OP_CLOSE, LANE_INIT, "")->close.fd = t->pidfd_socket;
}

void terminal_compile_open(struct plan *p, const struct spec *s, int root_slot,
                           struct terminal_slots *t)
{
    const struct spec_process *pr = &s->process;
    struct step *st;

    if (!pr->terminal)
        return;
    t->master = plan_slot(p);
    t->terminal = plan_slot(p);
    st = plan_add(p, OP_TERMINAL_OPEN, LANE_INIT, "/process/terminal");
    st->terminal_open.path = "/dev/pts";
    st->terminal_open.root = root_slot;
    st->terminal_open.uid = pr->user.uid;
    st->terminal_open.out_master = t->master;
    st->terminal_open.out = t->terminal;
    if (pr->console_size.set) {
        st->terminal_open.rows = pr->console_size.height;
        st->terminal_open.columns = pr->console_size.width;
    }
    t->opened = plan_last(p, LANE_INIT);
    if (root_slot == SLOT_NONE)
        return;
    st = plan_add(p, OP_TERMINAL_CONSOLE, LANE_INIT, "/process/terminal");
    st->terminal_console.path = "/dev/console";
    st->terminal_console.root = root_slot;
    st->terminal_console.terminal = t->terminal;
}

void terminal_compile_hand_on(struct plan *p, const struct terminal_slots *t)
{
    struct step *st;

    if (t->opened < 0)
        return;
    if (t->console_socket == SLOT_NONE) {
        st = plan_add(p, OP_TERMINAL_RELAY, LANE_RUNTIME, "/process/terminal");
        st->terminal_relay.master = t->master;
    } else {
        st = plan_add(p, OP_SOCKET_SEND, LANE_RUNTIME, "/process/terminal");
        st->socket_send.socket = t->console_socket;
        st->socket_send.fd = t->master;
    }
    st->after = t->opened;
}

void terminal_compile_pidfd(struct plan *p, const struct terminal_slots *t, int pidfd_slot,
                            const char *word)
{
    struct step *st;

    if (t->pidfd_socket == SLOT_NONE)
        return;
    st = plan_add(p, OP_SOCKET_SEND, LANE_RUNTIME, "");
    st->socket_send.socket = t->pidfd_socket;
    st->socket_send.fd = pidfd_slot;
    st->socket_send.text = word;
}

/*
 * Without a terminal the process owns what it was given as 0, 1 and 2, so that it can open
 * /dev/stdout again (engine-contract 1.9). Root can anyway.
 */
void terminal_compile_stdio(struct plan *p, const struct spec *s, const struct terminal_slots *t)
{
    if (t->terminal != SLOT_NONE)
        plan_add(p, OP_TERMINAL_ATTACH, LANE_INIT, "/process/terminal")->terminal_attach.terminal =
            t->terminal;
    else if (s->process.user.uid != 0)
        plan_add(p, OP_STDIO_OWNER, LANE_INIT, "/process/user/uid")->stdio_owner.uid =
            s->process.user.uid;
}

/* ---- steps of init, child-safe --------------------------------------------------------------- */

/*
 * A file system that the image cannot imitate: no symlink, mount or file of anybody's lies between
 * its root directory and ptmx.
 */
static int open_ptmx(const struct op_terminal_open *op, int root, struct err *e)
{
    struct open_how how = { .flags = O_RDWR | O_NOCTTY | O_CLOEXEC,
                            .resolve = RESOLVE_BENEATH | RESOLVE_NO_SYMLINKS | RESOLVE_NO_XDEV };
    AUTO_FD int dir = root_open(root, op->path, O_PATH | O_DIRECTORY, 0);
    struct statfs fs;
    int fd, r;

    if (dir < 0 && dir != -ENOENT && dir != -ENOTDIR)
        return err_set(e, -dir, "cannot open '%s' for the terminal", op->path);
    if (dir < 0 || fstatfs(dir, &fs) < 0 || fs.f_type != DEVPTS_SUPER_MAGIC) {
        r = err_set(e, 0, "a terminal needs the container's own devpts at '%s'", op->path);
        err_hint(e, "add it to \"mounts\"");
        return r;
    }
    fd = sys_openat2(dir, "ptmx", &how);
    return fd < 0 ? err_set(e, errno, "cannot open '%s/ptmx'", op->path) : fd;
}

/* A devpts that is the host's, in a user namespace, has owners that nobody here may change. */
static bool owner_may_stay(int errnum)
{
    return errnum == EPERM || errnum == EROFS || errnum == EINVAL;
}

static int step_open(const struct op_terminal_open *op, struct slots *slots, struct err *e)
{
    struct winsize size = { .ws_row = (unsigned short)op->rows,
                            .ws_col = (unsigned short)op->columns };
    int locked = 0;
    AUTO_FD int own = op->root < 0 ? openat(AT_FDCWD, "/", O_PATH | O_DIRECTORY | O_CLOEXEC)
                                   : SLOT_NONE;
    AUTO_FD int master = open_ptmx(op, op->root < 0 ? own : slots->value[op->root], e);
    AUTO_FD int peer = -1;

    if (master < 0)
        return master;
    if (ioctl(master, TIOCSPTLCK, &locked) < 0)
        return err_set(e, errno, "cannot unlock the terminal");
    /* By the master, not by name: Linux 4.13. */
    peer = ioctl(master, TIOCGPTPEER, O_RDWR | O_NOCTTY | O_CLOEXEC);
    if (peer < 0)
        return err_set(e, errno, "cannot open the other side of the terminal");
    if ((op->rows || op->columns) && ioctl(peer, TIOCSWINSZ, &size) < 0)
        return err_set(e, errno, "cannot set the size of the terminal");
    if (fchown(peer, (uid_t)op->uid, (gid_t)-1) < 0 && !owner_may_stay(errno))
        return err_set(e, errno, "cannot give the terminal to user %u", (unsigned)op->uid);
    slots->value[op->out_master] = take_fd(&master);
    slots->value[op->out] = take_fd(&peer);
    return 0;
}

/*
 * The place for the bind, opened and held. A symlink of the image there would carry the terminal
 * elsewhere (CVE-2025-52565), so it is refused instead of followed.
 */
static int open_console(int root, const char *path, struct err *e)
{
    const char *name = strrchr(path, '/') + 1;
    char parent[64];
    struct stat st;
    AUTO_FD int dir = -1;
    AUTO_FD int fd = -1;

    base_format(parent, sizeof parent, "%.*s", (int)(name - path), path);
    dir = root_open(root, parent, O_PATH | O_DIRECTORY, 0);
    if (dir < 0)
        return err_set(e, -dir, "cannot open '%s' in the root filesystem", parent);
    if (mknodat(dir, name, S_IFREG | 0666, 0) < 0 && errno != EEXIST && errno != EROFS)
        return err_set(e, errno, "cannot make '%s' in the root filesystem", path);
    fd = openat(dir, name, O_PATH | O_NOFOLLOW | O_CLOEXEC);
    if (fd < 0 || fstat(fd, &st) < 0)
        return err_set(e, errno, "cannot open '%s' in the root filesystem", path);
    if (S_ISLNK(st.st_mode) || S_ISDIR(st.st_mode))
        return err_set(e, 0, "'%s' in the root filesystem is a %s: the terminal cannot lie there",
                       path, S_ISDIR(st.st_mode) ? "directory" : "symlink");
    return take_fd(&fd);
}

static int step_console(const struct op_terminal_console *op, const struct slots *slots,
                        struct err *e)
{
    char from[FD_PATH_SIZE], to[FD_PATH_SIZE];
    AUTO_FD int place = open_console(slots->value[op->root], op->path, e);

    if (place < 0)
        return place;
    fd_path(from, slots->value[op->terminal], NULL);
    if (mount(from, fd_path(to, place, NULL), NULL, MS_BIND, NULL) < 0)
        return err_set(e, errno, "cannot bind the terminal at '%s'", op->path);
    return 0;
}

/* What fails later is still told: by the lanes' socket, not by fd 2. */
static int step_attach(const struct op_terminal_attach *op, const struct slots *slots,
                       struct err *e)
{
    int fd = slots->value[op->terminal];

    if (ioctl(fd, TIOCSCTTY, 0) < 0)
        return err_set(e, errno, "cannot make it the controlling terminal");
    for (int i = 0; i < 3; i++)
        if (dup2(fd, i) < 0)
            return err_set(e, errno, "cannot make the terminal fd %d", i);
    return 0;
}

static int step_stdio_owner(const struct op_stdio_owner *op, struct err *e)
{
    for (int i = 0; i < 3; i++) {
        struct stat st;

        if (fstat(i, &st) < 0)
            return err_set(e, errno, "cannot look at fd %d", i);
        if (S_ISCHR(st.st_mode) && st.st_rdev == makedev(1, 3))
            continue;
        if (st.st_uid != (uid_t)op->uid && fchown(i, (uid_t)op->uid, (gid_t)-1) < 0 &&
            !owner_may_stay(errno))
            return err_set(e, errno, "cannot give fd %d to user %u", i, (unsigned)op->uid);
    }
    return 0;
}

/* ---- steps of the runtime -------------------------------------------------------------------- */

/* A path that is too long for sun_path is reached by an fd of the socket itself. */
static int address_of(const char *path, struct sockaddr_un *to, int *held)
{
    to->sun_family = AF_UNIX;
    if (base_format(to->sun_path, sizeof to->sun_path, "%s", path) < sizeof to->sun_path)
        return 0;
    *held = openat(AT_FDCWD, path, O_PATH | O_CLOEXEC);
    base_format(to->sun_path, sizeof to->sun_path, "/proc/self/fd/%d", *held);
    return *held < 0 ? -errno : 0;
}

/* Nobody need accept, but the queue of a listener that never does can be full: not for ever. */
static int step_connect(const struct op_socket_connect *op, struct slots *slots, struct err *e)
{
    struct timeval limit = { .tv_sec = CONNECT_SECONDS };
    struct sockaddr_un to = { 0 };
    AUTO_FD int held = -1;
    AUTO_FD int fd = -1;
    int r = address_of(op->path, &to, &held);

    if (r < 0)
        return err_set(e, -r, "cannot connect to the socket '%s'", op->path);
    fd = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0);
    if (fd < 0 || setsockopt(fd, SOL_SOCKET, SO_SNDTIMEO, &limit, sizeof limit) < 0 ||
        connect(fd, (const struct sockaddr *)&to, sizeof to) < 0)
        return err_set(e, errno, "cannot connect to the socket '%s'", op->path);
    slots->value[op->out] = take_fd(&fd);
    return 0;
}

static int terminal_name(int master, char *buf, size_t size)
{
    int number;

    if (ioctl(master, TIOCGPTN, &number) < 0)
        return -errno;
    base_format(buf, size, "/dev/pts/%d", number);
    return 0;
}

static int step_send(const struct op_socket_send *op, struct slots *slots, struct err *e)
{
    AUTO_FD int to = slots->value[op->socket];
    int fd = slots->value[op->fd], r;
    char name[32];
    const char *text = op->text ? op->text : name;

    slots->value[op->socket] = -1;
    r = op->text ? 0 : terminal_name(fd, name, sizeof name);
    if (r == 0)
        r = fd_send(to, text, strlen(text), fd);
    return r < 0
               ? err_set(e, -r, "cannot send the %s to the socket", op->text ? "pidfd" : "terminal")
               : 0;
}

int terminal_step(const struct step *st, struct slots *slots, struct err *e)
{
    switch ((int)st->op) { /* as int: the other operations are not ours */
    case OP_SOCKET_CONNECT:
        return step_connect(&st->socket_connect, slots, e);
    case OP_SOCKET_SEND:
        return step_send(&st->socket_send, slots, e);
    case OP_CLOSE:
        fd_cleanup(&slots->value[st->close.fd]);
        return 0;
    case OP_TERMINAL_OPEN:
        return step_open(&st->terminal_open, slots, e);
    case OP_TERMINAL_CONSOLE:
        return step_console(&st->terminal_console, slots, e);
    case OP_TERMINAL_ATTACH:
        return step_attach(&st->terminal_attach, slots, e);
    case OP_STDIO_OWNER:
        return step_stdio_owner(&st->stdio_owner, e);
    default:
        return err_set(e, ENOSYS, "'%s' is no step of the terminal", plan_op_name(st->op));
    }
}
