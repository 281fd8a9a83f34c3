/* SPDX-License-Identifier: Apache-2.0 */
/*
 * hello vmm|qemu KERNEL INITRAMFS DIR MEMORY_MIB: a machine for a container up to its agent's HELLO on the control port.
 * Kernel, initramfs, command line and devices are the product's, of its own monitor or of QEMU's microvm, which gets KVM
 * here instead of TCG. Prints "hello-us N", from immediately before the machine's process is made, "machine PID" and
 * "server PID"; then the machine waits, as its agent does, until stdin ends. DIR, an empty directory, is what it sees of
 * this host. The file server is up before the clock runs. Root, and a mount namespace of its own.
 */
#include "container/machine.h"

#include <errno.h>
#include <fcntl.h>
#include <poll.h>
#include <sched.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mount.h>
#include <sys/prctl.h>
#include <sys/socket.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

enum { KEEP = 5, LIMIT_MS = 300000, SETTLE_MS = 1000 };

static _Noreturn void fail(const char *what, const struct err *e)
{
    fprintf(stderr, "hello: %s: %s\n", what, e ? e->text : strerror(errno));
    exit(1);
}

static int64_t now_us(void)
{
    struct timespec t;

    clock_gettime(CLOCK_MONOTONIC, &t);
    return (int64_t)t.tv_sec * 1000000 + t.tv_nsec / 1000;
}

static void pair(int fds[2])
{
    if (socketpair(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0, fds) < 0)
        fail("socketpair", NULL);
}

static int open_file(const char *path)
{
    int fd = open(path, O_RDONLY | O_CLOEXEC);

    if (fd < 0)
        fail(path, NULL);
    return fd;
}

static pid_t serve_files(const struct op_machine_boot *op, struct machine_wires *w)
{
    static int values[3];
    const struct timespec settle = { SETTLE_MS / 1000, 0 };
    struct slots slots = { .value = values };
    struct step st = { .op = OP_MACHINE_FILES };
    struct err e = { 0 };

    st.machine_files.program = op->program ? "/usr/lib/qemu/virtiofsd" : NULL;
    st.machine_files.dir = op->dir;
    st.machine_files.memory_mib = op->memory_mib;
    st.machine_files.out_memory = 1;
    st.machine_files.out_pid = 2;
    if (unshare(CLONE_NEWNS) < 0 || mount(NULL, "/", NULL, MS_REC | MS_PRIVATE, NULL) < 0 ||
        mount("tmpfs", op->dir, "tmpfs", 0, "mode=755") < 0)
        fail("mount", NULL);
    if (machine_share_step(&st, &slots, &e) < 0)
        fail("the file server", &e);
    nanosleep(&settle, NULL);
    w->files = values[0];
    w->memory = values[1];
    return values[2];
}

static pid_t spawn_qemu(const struct op_machine_boot *op, const struct machine_wires *w,
                        struct arena *a)
{
    const int keep[KEEP] = { w->kernel, w->initramfs, w->port, w->console, w->files };
    char **argv = (char **)machine_qemu_args(op, w, a);
    pid_t parent = getpid(), pid = fork();

    if (pid != 0)
        return pid;
    for (size_t i = 0; argv[i]; i++) {
        if (strcmp(argv[i], "-accel") == 0)
            argv[i + 1] = "kvm";
        if (strcmp(argv[i], "-cpu") == 0)
            argv[i + 1] = "host";
    }
    if (machine_child_prepare(keep, KEEP, parent) == 0)
        execv(op->program, argv);
    _exit(127);
}

/* Its console is read, so that it never waits for us. */
static void wait_for_hello(int port, int console, pid_t pid)
{
    int64_t until = now_us() + (int64_t)LIMIT_MS * 1000;
    struct pollfd fds[] = { { port, POLLIN, 0 }, { console, POLLIN, 0 } };
    char said[4096];

    while (!fds[0].revents) {
        ssize_t n;

        if (now_us() > until || poll(fds, 2, LIMIT_MS) <= 0)
            fail("no HELLO", NULL);
        n = fds[1].revents ? read(console, said, sizeof(said)) : 1;
        if (fds[1].revents && n > 0)
            fprintf(stderr, "%.*s", (int)n, said);
        if (n <= 0)
            break;
    }
    if (read(port, said, sizeof(said)) <= 0) {
        kill(pid, SIGKILL);
        fail("the machine ended", NULL);
    }
}

int main(int argc, char **argv)
{
    static const char *const nothing[] = { NULL };
    const struct machine_facts facts = { .mode = ISOLATION_VM };
    const struct spec spec = { .vm = { .set = false } };
    struct machine_wires w = { .kvm = -1, .image = -1, .system = -1 };
    struct arena a = { 0 };
    struct op_machine_boot op = { .cpus = 1, .macs = nothing, .parameters = nothing };
    int port[2], console[2];
    bool own = argc == 6 && strcmp(argv[1], "vmm") == 0;
    struct err e = { 0 };
    pid_t server, pid;
    int64_t begin, end;
    char byte;

    if (argc != 6)
        fail("hello vmm|qemu KERNEL INITRAMFS DIR MEMORY_MIB", NULL);
    prctl(PR_SET_PDEATHSIG, SIGTERM);
    op.memory_mib = strtol(argv[5], NULL, 10);
    op.dir = argv[4];
    op.command_line = machine_command_line(&spec, &facts, &a);
    op.program = own ? NULL : "/usr/bin/qemu-system-x86_64";
    w.kernel = open_file(argv[2]);
    w.initramfs = open_file(argv[3]);
    server = serve_files(&op, &w);
    pair(port);
    pair(console);
    w.port = port[1];
    w.console = console[1];
    begin = now_us();
    pid = own ? machine_vmm_spawn(&op, &w, &e) : spawn_qemu(&op, &w, &a);
    if (pid < 0)
        fail("the machine", &e);
    close(port[1]);
    close(console[1]);
    wait_for_hello(port[0], console[0], pid);
    end = now_us();
    printf("hello-us %lld\nmachine %d\nserver %d\n", (long long)(end - begin), pid, server);
    fflush(stdout);
    while (read(STDIN_FILENO, &byte, 1) > 0)
        ;
    kill(pid, SIGKILL);
    kill(server, SIGKILL);
    while (wait(NULL) > 0)
        ;
    arena_release(&a);
    return 0;
}
