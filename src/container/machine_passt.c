/* SPDX-License-Identifier: Apache-2.0 */
/*
 * User-mode networking of a machine, by passt(1): a process of the host's network namespace that makes the guest's
 * connections its own ones. It jails itself (nobody, namespaces of its own, seccomp), and ends with the stream of frames.
 */
#include <arpa/inet.h>
#include <errno.h>
#include <fcntl.h>
#include <stdlib.h>
#include <string.h>
#include <sys/prctl.h>
#include <sys/socket.h>
#include <sys/wait.h>
#include <unistd.h>

#include "container/machine.h"

enum { WORDS_MAX = 1024 };
/* As QEMU's user network has had it for twenty years; .3 is the host's name server. */
#define ADDRESS "10.0.2.15"
#define GATEWAY "10.0.2.2"
#define NAMES "10.0.2.3"
#define GATEWAY_MAC "52:55:0a:00:02:02"
enum { PREFIX = 24, MTU = 65520 }; /* the largest that passt knows */

int machine_passt_gather(struct arena *a, struct machine_facts *out, struct err *e)
{
    struct net_interface *i = arena_alloc(a, sizeof *i);

    out->passt = program_find(a, "passt");
    if (!out->passt) {
        err_set(e, ENOENT, "cannot find passt");
        err_hint(e, "apt install passt");
        return -ENOENT;
    }
    *i = (struct net_interface){ .name = "eth0",
                                 .mtu = MTU,
                                 .mac = { 0x52, 0x55, 0x0a, 0x00, 0x02, 0x0f },
                                 .addresses = arena_alloc(a, sizeof *i->addresses),
                                 .routes = arena_alloc(a, sizeof *i->routes),
                                 .n_addresses = 1,
                                 .n_routes = 1 };
    *i->addresses = (struct net_address){ .family = AF_INET, .prefix = PREFIX };
    *i->routes = (struct net_route){ .family = AF_INET, .has_gateway = true };
    inet_pton(AF_INET, ADDRESS, i->addresses->local);
    inet_pton(AF_INET, GATEWAY, i->routes->gateway);
    out->net = (struct net_machine){ .interfaces = i, .n = 1 };
    return 0;
}

/* --no-map-gw: else the gateway's address were the host's own loopback, and what listens there. */
static _Noreturn void run(const char *program, int frames, int errors, pid_t monitor)
{
    char fd[16];
    char *const argv[] = { (char *)program,
                           "-q",
                           "-F",
                           fd,
                           "-4",
                           "-a",
                           ADDRESS,
                           "-n",
                           "24",
                           "-g",
                           GATEWAY,
                           "-M",
                           GATEWAY_MAC,
                           "-m",
                           "65520",
                           "--dns-forward",
                           NAMES,
                           "--no-map-gw",
                           "--no-dhcp",
                           "--no-ndp",
                           "--no-ra",
                           NULL };
    char *const env[] = { "PATH=/usr/sbin:/usr/bin:/sbin:/bin", NULL };
    int null = openat(AT_FDCWD, "/dev/null", O_RDWR | O_CLOEXEC);

    base_format(fd, sizeof fd, "%d", frames);
    dup2(null, STDIN_FILENO);
    dup2(null, STDOUT_FILENO);
    dup2(errors, STDERR_FILENO);
    if (machine_child_prepare(&frames, 1, monitor) == 0)
        execve(program, argv, env);
    _exit(127);
}

/* The last line, but for what it says of a host without a system log. */
static const char *last_words(char *text)
{
    const char *last = "it said nothing";

    for (char *line = strtok(text, "\n"); line; line = strtok(NULL, "\n"))
        if (!strstr(line, "syslog"))
            last = line;
    return last;
}

/* In the background it goes when it is ready: then its stderr ends, and its first process with 0. */
static int wait_until_ready(pid_t pid, int errors, struct err *e)
{
    char text[WORDS_MAX + 1];
    size_t len = 0;
    ssize_t n;
    int status;

    while ((n = read(errors, text + len, WORDS_MAX - len)) > 0 || (n < 0 && errno == EINTR))
        len += n > 0 ? (size_t)n : 0;
    text[len] = 0;
    while (waitpid(pid, &status, 0) < 0)
        if (errno != EINTR)
            return err_set(e, errno, "cannot wait for passt");
    if (WIFEXITED(status) && WEXITSTATUS(status) == 0)
        return 0;
    return err_set(e, 0, "passt, the machine's network, does not start: %s", last_words(text));
}

/*
 * The one child that there is. proc(5) /proc/PID/task/TID/children, which kernels have that CRIU knows; without it: 0, nobody
 * sees to its end.
 */
static pid_t find_child(void)
{
    char path[64], text[32];
    AUTO_FD int fd = -1;
    ssize_t n;

    base_format(path, sizeof path, "/proc/self/task/%d/children", getpid());
    fd = openat(AT_FDCWD, path, O_RDONLY | O_CLOEXEC);
    n = fd < 0 ? 0 : read(fd, text, sizeof text - 1);
    text[n > 0 ? n : 0] = 0;
    return (pid_t)strtol(text, NULL, 10);
}

int machine_passt_step(const struct op_machine_passt *op, struct slots *slots, struct err *e)
{
    pid_t monitor = getpid(), pid;
    int frames[2], errors[2], r;

    if (prctl(PR_SET_CHILD_SUBREAPER, 1) < 0)
        return err_set(e, errno, "cannot become the parent of the machine's network");

    if (socketpair(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0, frames) < 0)
        return err_set(e, errno, "cannot make a socket for the machine's network");
    slots->value[op->out] = frames[0];
    if (pipe2(errors, O_CLOEXEC) < 0) {
        close(frames[1]);
        return err_set(e, errno, "cannot make a pipe");
    }
    pid = fork();
    if (pid == 0)
        run(op->program, frames[1], errors[1], monitor);
    close(frames[1]);
    close(errors[1]);
    r = pid < 0 ? err_set(e, errno, "cannot fork") : wait_until_ready(pid, errors[0], e);
    close(errors[0]);
    slots->value[op->out_pid] = r == 0 ? find_child() : 0;
    prctl(PR_SET_CHILD_SUBREAPER, 0); /* what hooks leave behind is not the monitor's */
    return r;
}
