/* SPDX-License-Identifier: Apache-2.0 */
/*
 * What a guest can reach of the host: a directory with the root filesystem and the sources of binds, in a mount
 * namespace of the monitor's, and virtiofsd(1), which has that directory as its root. The guest may do
 * to these files what root of the host may, as a container without a user namespace may, and to nothing else.
 */
#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <linux/magic.h>
#include <sched.h>
#include <signal.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mount.h>
#include <sys/prctl.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/un.h>
#include <sys/vfs.h>
#include <unistd.h>

#include "container/machine.h"
#include "container/machine_jail.h"
#include "mux/mux.h"

#define SHARE "/share" /* in the root of virtiofsd */

struct sockaddr_un machine_socket_name(int dir, const char *name)
{
    struct sockaddr_un at = { .sun_family = AF_UNIX };

    base_format(at.sun_path, sizeof at.sun_path, "/proc/self/fd/%d/%s", dir, name);
    return at;
}

/* Only root comes through the directory. */
static int step_control(const struct op_machine_control *op, struct slots *slots, struct err *e)
{
    enum { WAITING = 64 };
    AUTO_FD int dir = openat(AT_FDCWD, op->dir, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
    AUTO_FD int listener = socket(AF_UNIX, SOCK_SEQPACKET | SOCK_CLOEXEC | SOCK_NONBLOCK, 0);
    const struct sockaddr_un at = machine_socket_name(dir, "control");

    if (dir < 0 || listener < 0 || bind(listener, (const struct sockaddr *)&at, sizeof at) < 0 ||
        listen(listener, WAITING) < 0)
        return err_set(e, errno, "cannot listen for verbs in '%s'", op->dir);
    slots->value[op->out] = take_fd(&listener);
    slots->value[op->out_dir] = take_fd(&dir);
    return 0;
}

/*
 * What the caller left open it has without CLOEXEC, and teca all of its own with it. In a container exec would close
 * these; the monitor stays, and must neither hold them open to its end nor pass them on to what it starts.
 */
void machine_close_inherited(void)
{
    DIR *dir = opendir("/proc/self/fd");
    int own = dir ? dirfd(dir) : -1;

    for (const struct dirent *entry; dir && (entry = readdir(dir));) {
        int fd = (int)strtol(entry->d_name, NULL, 10);

        if (fd > STDERR_FILENO && fd != own && fcntl(fd, F_GETFD) == 0)
            close(fd);
    }
    if (dir)
        closedir(dir);
}

static int step_share(const struct op_machine_share *op, struct err *e)
{
    machine_close_inherited();
    if (unshare(CLONE_NEWNS) < 0 || mount(NULL, "/", NULL, MS_REC | MS_PRIVATE, NULL) < 0)
        return err_set(e, errno, "cannot make a mount namespace for the machine's files");
    if (mount("tmpfs", op->dir, "tmpfs", MS_NOSUID | MS_NODEV, "mode=755") < 0)
        return err_set(e, errno, "cannot mount a tmpfs for the machine's files");
    return 0;
}

/* The target of a bind: a file on a file, a directory on a directory. */
static int make_place(const char *path, const struct stat *source)
{
    int fd;

    if (S_ISDIR(source->st_mode))
        return mkdir(path, 0755);
    fd = openat(AT_FDCWD, path, O_WRONLY | O_CREAT | O_EXCL | O_CLOEXEC, 0644);
    return fd < 0 ? -1 : close(fd);
}

/* The mount option copy-symlink: the guest's teca copies it once more. 1: it is no link. */
static int copy_link(const struct op_machine_bind *op, const char *path, struct err *e)
{
    char target[PATH_MAX];
    ssize_t n = readlink(op->source, target, sizeof target - 1);

    if (n < 0)
        return errno == EINVAL ? 1 : err_set(e, errno, "cannot read the link '%s'", op->source);
    target[n] = 0;
    return symlink(target, path) < 0
               ? err_set(e, errno, "cannot share '%s' with the machine", op->source)
               : 0;
}

/* A tree with mapped ids is made before anybody sees it: the kernel wants that (mount_setattr(2)). */
static bool mount_source(const struct op_machine_bind *op, const struct slots *slots,
                         const char *path)
{
    return op->tree == SLOT_NONE
               ? mount(op->source, path, NULL, MS_BIND | (op->recursive ? MS_REC : 0), NULL) == 0
               : sys_move_mount(slots->value[op->tree], "", AT_FDCWD, path,
                                MOVE_MOUNT_F_EMPTY_PATH) == 0;
}

static int step_bind(const struct op_machine_bind *op, const struct slots *slots, struct err *e)
{
    struct mount_attr read_only = { .attr_set = MOUNT_ATTR_RDONLY };
    struct mount_attr writable = { .attr_clr = MOUNT_ATTR_RDONLY };
    char path[PATH_MAX];
    struct statfs fs;
    struct stat st;
    int r;

    base_format(path, sizeof path, "%s/%s", op->dir, op->name);
    r = op->copy_link ? copy_link(op, path, e) : 1;
    if (r <= 0)
        return r;
    if ((op->tree == SLOT_NONE ? stat(op->source, &st) : fstat(slots->value[op->tree], &st)) < 0)
        return err_set(e, errno, "cannot look at '%s'", op->source);
    if (!S_ISDIR(st.st_mode) && !S_ISREG(st.st_mode))
        return err_set(e, 0, "'%s' is a %s: it cannot cross into a machine", op->source,
                       S_ISSOCK(st.st_mode)   ? "socket"
                       : S_ISFIFO(st.st_mode) ? "FIFO"
                                              : "device");
    if ((op->tree == SLOT_NONE ? statfs(op->source, &fs) : fstatfs(slots->value[op->tree], &fs)) <
        0)
        return err_set(e, errno, "cannot look at '%s'", op->source);
    /* Its self/mem is that of who opens it: the server's. */
    if (fs.f_type == PROC_SUPER_MAGIC) {
        err_set(e, 0, "'%s' is of a procfs: it cannot cross into a machine", op->source);
        err_hint(e, "a mount of type proc is the machine's own");
        return -EINVAL;
    }
    if (str_eq(op->name, "root") && !S_ISDIR(st.st_mode))
        return err_set(e, ENOTDIR, "cannot use '%s' as the root filesystem", op->source);
    if (make_place(path, &st) < 0 || !mount_source(op, slots, path))
        return err_set(e, errno, "cannot share '%s' with the machine", op->source);
    /* On this side too: the guest's kernel is not trusted with it. */
    if (op->all_read_only && sys_mount_setattr(AT_FDCWD, path, AT_RECURSIVE, &read_only) < 0)
        return err_set(e, errno, "cannot make all of '%s' read-only for the machine", op->source);
    if (op->read_only != op->all_read_only &&
        sys_mount_setattr(AT_FDCWD, path, 0, op->read_only ? &read_only : &writable) < 0)
        return err_set(e, errno, "cannot make '%s' read-only for the machine", op->source);
    return 0;
}

int machine_child_prepare(const int *keep, size_t n, pid_t monitor)
{
    sigset_t none;

    if (prctl(PR_SET_PDEATHSIG, SIGKILL) < 0 || getppid() != monitor)
        return -1;
    prctl(PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0);
    sigemptyset(&none);
    sigprocmask(SIG_SETMASK, &none, NULL);
    for (size_t i = 0; i < n; i++)
        if (fcntl(keep[i], F_SETFD, 0) < 0)
            return -1;
    return 0;
}

/*
 * What Debian's server wants of /proc: its own fds, and the number of files in the system, which it looks for though it is told
 * what to do. So /proc is not a procfs: one lies beside it.
 */
static int make_server_proc(int root, struct err *e)
{
    static const char *const dirs[] = { "proc", "proc/sys", "proc/sys/fs" };
    static const char most[] = "1048576\n";
    bool made = true;

    for (size_t i = 0; i < COUNT_OF(dirs); i++)
        made = made && mkdirat(root, dirs[i], 0755) == 0;
    made = made && symlinkat("/processes/self", root, "proc/self") == 0 &&
           mknodat(root, "proc/sys/fs/file-max", S_IFREG | 0444, 0) == 0 &&
           file_write_once(root, "proc/sys/fs/file-max", most, sizeof most - 1) == 0;
    return made ? jail_mount_processes(root, "processes", e)
                : err_set(e, errno, "cannot make a /proc for the machine's files");
}

/* It changes its root once more, to the share. */
static int make_server_root(const struct op_machine_files *op, struct err *e)
{
    static const char *const nothing[] = { NULL };
    AUTO_FD int share = jail_open_tree(op->dir, true, e);
    AUTO_FD int root = share < 0 ? share : jail_mount_root(op->dir, op->program, nothing, e);
    int r = root < 0 ? root : jail_attach(root, share, SHARE, e);

    r = r < 0 ? r : make_server_proc(root, e);
    return r < 0 ? r : jail_seal_root(root, e);
}

static int run_server(const struct op_machine_files *op, int listener, int *sentence, struct err *e)
{
    static char source[] = "source=" SHARE;
    char fd[32];
    char *const argv[] = { (char *)op->program,
                           fd,
                           "-o",
                           source,
                           "-o",
                           "sandbox=chroot",
                           "-o",
                           "cache=auto",
                           "-o",
                           "xattr",
                           "-o",
                           "announce_submounts",
                           "--rlimit-nofile=0",
                           "--thread-pool-size=0",
                           NULL };
    int *const keep[] = { &listener, sentence };
    int r = jail_keep_fds(keep, COUNT_OF(keep), e);

    machine_set_files(machine_files_bounds((uint64_t)op->memory_mib, false).fds);
    r = r < 0 ? r : jail_unshare(e);
    r = r < 0 ? r : make_server_root(op, e);
    r = r < 0 ? r : jail_change_root(op->dir, e);
    r = r < 0 ? r : jail_become_foreign_server(e);
    base_format(fd, sizeof fd, "--fd=%d", listener);
    return r < 0 ? r : jail_execute(op->program, argv, 1, e);
}

/*
 * The server takes the first who connects. So it has its name, for as long as that takes, in the share, which lies in the
 * monitor's own mount namespace; one of the abstract space is everybody's who is in the network namespace, a whole pod's.
 */
static int connect_server(const char *share, int *listener, int *client)
{
    static const char name[] = "server";
    AUTO_FD int dir = openat(AT_FDCWD, share, O_PATH | O_DIRECTORY | O_CLOEXEC);
    const struct sockaddr_un at = machine_socket_name(dir, name);

    *listener = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0);
    *client = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0);
    if (dir < 0 || *listener < 0 || *client < 0 ||
        bind(*listener, (const struct sockaddr *)&at, sizeof at) < 0 || listen(*listener, 1) < 0 ||
        connect(*client, (const struct sockaddr *)&at, sizeof at) < 0 || unlinkat(dir, name, 0) < 0)
        return -errno;
    return 0;
}

/* Why there is no server, which the end of the pipe without a word says there is. */
static int hear_server(int sentence, struct err *e)
{
    char text[ERR_TEXT_SIZE];
    ssize_t n;

    do
        n = read(sentence, text, sizeof text - 1);
    while (n < 0 && errno == EINTR);
    if (n <= 0)
        return 0;
    text[n] = 0;
    return err_set(e, 0, "%s", text);
}

static pid_t spawn_server(const struct op_machine_files *op, int listener, struct err *e)
{
    struct err failed = { 0 };
    int sentence[2], r;
    pid_t pid;

    if (pipe2(sentence, O_CLOEXEC) < 0)
        return err_set(e, errno, "cannot make a pipe");
    pid = jail_fork(e);
    if (pid == 0) {
        run_server(op, listener, &sentence[1], &failed);
        fd_write_all(sentence[1], failed.text, strlen(failed.text));
        _exit(127);
    }
    close(sentence[1]);
    r = pid < 0 ? (int)pid : hear_server(sentence[0], e);
    close(sentence[0]);
    return r < 0 ? r : pid;
}

static int step_files(const struct op_machine_files *op, struct slots *slots, struct err *e)
{
    struct mount_attr read_only = { .attr_set = MOUNT_ATTR_RDONLY };
    AUTO_FD int listener = -1;
    AUTO_FD int client = -1;
    pid_t pid;
    int r = op->program ? connect_server(op->dir, &listener, &client) : 0;

    if (r < 0)
        return err_set(e, -r, "cannot make a socket for the machine's files");
    /* What lies in the share is complete: a guest that wrote beside it would fill the host's memory. */
    if (sys_mount_setattr(AT_FDCWD, op->dir, 0, &read_only) < 0)
        return err_set(e, errno, "cannot make the top of the machine's files read-only");
    if (!op->program)
        return machine_serve_files(op, slots, e);
    pid = spawn_server(op, listener, e);
    if (pid < 0)
        return (int)pid;
    slots->value[op->out] = take_fd(&client);
    slots->value[op->out_memory] = -1;
    slots->value[op->out_pid] = pid;
    return 0;
}

/* The agent reads it once, before any container is there. */
int machine_tell_network(const char *dir, const char *text, struct err *e)
{
    char path[PATH_MAX];
    AUTO_FD int fd = -1;

    base_format(path, sizeof path, "%s/%s", dir, MUX_NETWORK);
    fd = openat(AT_FDCWD, path, O_WRONLY | O_CREAT | O_EXCL | O_CLOEXEC, 0600);
    if (fd < 0 || fd_write_all(fd, text, strlen(text)) < 0)
        return err_set(e, errno, "cannot tell the machine of its network");
    return 0;
}

int machine_share_step(const struct step *st, struct slots *slots, struct err *e)
{
    if (st->op == OP_MACHINE_CONTROL)
        return step_control(&st->machine_control, slots, e);
    if (st->op == OP_MACHINE_SHARE)
        return step_share(&st->machine_share, e);
    if (st->op == OP_MACHINE_BIND)
        return step_bind(&st->machine_bind, slots, e);
    if (st->op == OP_MACHINE_PASST)
        return machine_passt_step(&st->machine_passt, slots, e);
    if (st->op == OP_MACHINE_NETWORK)
        return machine_tell_network(st->machine_network.dir, st->machine_network.text, e);
    return step_files(&st->machine_files, slots, e);
}
