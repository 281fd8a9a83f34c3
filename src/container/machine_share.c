/* SPDX-License-Identifier: Apache-2.0 */
/*
 * What a guest can reach of the host: a directory with the root filesystem and the sources of binds, in a mount
 * namespace of the monitor's, and virtiofsd(1), which changes its root to that directory. The guest may do
 * to these files what root of the host may, as a container without a user namespace may, and to nothing else.
 */
#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <sched.h>
#include <signal.h>
#include <stddef.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mount.h>
#include <sys/prctl.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/un.h>
#include <unistd.h>

#include "container/machine.h"
#include "mux/mux.h"

/* By the directory's fd, for a path of any length (unix(7) sun_path). Only root comes through the directory. */
static int step_control(const struct op_machine_control *op, struct slots *slots, struct err *e)
{
    enum { WAITING = 64 };
    struct sockaddr_un at = { .sun_family = AF_UNIX };
    AUTO_FD int dir = openat(AT_FDCWD, op->dir, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
    AUTO_FD int listener = socket(AF_UNIX, SOCK_SEQPACKET | SOCK_CLOEXEC | SOCK_NONBLOCK, 0);

    base_format(at.sun_path, sizeof at.sun_path, "/proc/self/fd/%d/control", dir);
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

static int step_bind(const struct op_machine_bind *op, struct err *e)
{
    struct mount_attr read_only = { .attr_set = MOUNT_ATTR_RDONLY };
    char path[PATH_MAX];
    struct stat st;

    if (stat(op->source, &st) < 0)
        return err_set(e, errno, "cannot look at '%s'", op->source);
    if (!S_ISDIR(st.st_mode) && !S_ISREG(st.st_mode))
        return err_set(e, 0, "'%s' is a %s: it cannot cross into a machine", op->source,
                       S_ISSOCK(st.st_mode)   ? "socket"
                       : S_ISFIFO(st.st_mode) ? "FIFO"
                                              : "device");
    base_format(path, sizeof path, "%s/%s", op->dir, op->name);
    if (make_place(path, &st) < 0 ||
        mount(op->source, path, NULL, MS_BIND | (op->recursive ? MS_REC : 0), NULL) < 0)
        return err_set(e, errno, "cannot share '%s' with the machine", op->source);
    /* On this side too: the guest's kernel is not trusted with it. */
    if (op->read_only &&
        sys_mount_setattr(AT_FDCWD, path, op->recursive ? AT_RECURSIVE : 0, &read_only) < 0)
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

static _Noreturn void run_server(const struct op_machine_files *op, int listener, pid_t monitor)
{
    char fd[32], source[PATH_MAX];
    int null = openat(AT_FDCWD, "/dev/null", O_RDWR | O_CLOEXEC);
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
    char *const env[] = { "PATH=/usr/sbin:/usr/bin:/sbin:/bin", NULL };

    base_format(fd, sizeof fd, "--fd=%d", listener);
    base_format(source, sizeof source, "source=%s", op->dir);
    machine_raise_files();
    for (int i = 0; i < 3; i++)
        dup2(null, i);
    if (machine_child_prepare(&listener, 1, monitor) == 0)
        execve(op->program, argv, env);
    _exit(127);
}

/* A name in the abstract space that the kernel chooses (unix(7), autobind): no file, nothing to remove. */
static int connect_server(int *listener, int *client)
{
    struct sockaddr_un at = { .sun_family = AF_UNIX };
    socklen_t len = sizeof at;

    *listener = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0);
    *client = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0);
    if (*listener < 0 || *client < 0 ||
        bind(*listener, (const struct sockaddr *)&at, offsetof(struct sockaddr_un, sun_path)) < 0 ||
        listen(*listener, 1) < 0 || getsockname(*listener, (struct sockaddr *)&at, &len) < 0 ||
        connect(*client, (const struct sockaddr *)&at, len) < 0)
        return -errno;
    return 0;
}

static int step_files(const struct op_machine_files *op, struct slots *slots, struct err *e)
{
    AUTO_FD int listener = -1;
    AUTO_FD int client = -1;
    pid_t monitor = getpid(), pid;
    int r;

    if (!op->program)
        return machine_serve_files(op, slots, e);
    r = connect_server(&listener, &client);
    if (r < 0)
        return err_set(e, -r, "cannot make a socket for the machine's files");
    pid = fork();
    if (pid < 0)
        return err_set(e, errno, "cannot fork");
    if (pid == 0)
        run_server(op, listener, monitor);
    slots->value[op->out] = take_fd(&client);
    slots->value[op->out_memory] = -1;
    return 0;
}

/* The agent reads it once, before any container is there. */
static int step_network(const struct op_machine_network *op, struct err *e)
{
    char path[PATH_MAX];
    AUTO_FD int fd = -1;

    base_format(path, sizeof path, "%s/%s", op->dir, MUX_NETWORK);
    fd = openat(AT_FDCWD, path, O_WRONLY | O_CREAT | O_EXCL | O_CLOEXEC, 0600);
    if (fd < 0 || fd_write_all(fd, op->text, strlen(op->text)) < 0)
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
        return step_bind(&st->machine_bind, e);
    if (st->op == OP_MACHINE_PASST)
        return machine_passt_step(&st->machine_passt, slots, e);
    if (st->op == OP_MACHINE_NETWORK)
        return step_network(&st->machine_network, e);
    return step_files(&st->machine_files, slots, e);
}
