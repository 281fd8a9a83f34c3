/* SPDX-License-Identifier: Apache-2.0 */
/*
 * peak COMMAND...: the peak resident memory of every process that the command starts, itself
 * included, and of every program that each of them executes one after the other: a line "KIB PID
 * NAME" for each, on stdout. The kernel's own account (VmHWM) is read where an address space ends:
 * at exit, and at the entry of an execve that then succeeds.
 */
#define _GNU_SOURCE
#include <errno.h>
#include <signal.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/ptrace.h>
#include <sys/syscall.h>
#include <sys/wait.h>
#include <unistd.h>

enum { MAX_TRACEES = 64 };

struct tracee {
    pid_t pid;
    bool has_exec_peak; /* the peak noted at the entry of its latest execve */
    unsigned long exec_kib;
    char exec_name[32];
};

static struct tracee tracees[MAX_TRACEES];
static bool command_started; /* its first execve, still from this program's image, has succeeded */

static struct tracee *find_tracee(pid_t pid)
{
    for (unsigned i = 0; i < MAX_TRACEES; i++)
        if (tracees[i].pid == pid || tracees[i].pid == 0) {
            tracees[i].pid = pid;
            return &tracees[i];
        }
    fprintf(stderr, "peak: more than %d processes\n", MAX_TRACEES);
    exit(1);
}

static void read_peak(pid_t pid, unsigned long *out_kib, char out_name[32])
{
    char path[64], line[256];
    FILE *status;

    snprintf(path, sizeof(path), "/proc/%d/status", pid);
    status = fopen(path, "re");
    if (!status) {
        fprintf(stderr, "peak: cannot open %s: %s\n", path, strerror(errno));
        exit(1);
    }
    *out_kib = 0;
    while (fgets(line, sizeof(line), status)) {
        sscanf(line, "Name: %31s", out_name);
        sscanf(line, "VmHWM: %lu kB", out_kib);
    }
    fclose(status);
}

static bool is_entering_exec(pid_t pid)
{
    struct __ptrace_syscall_info info;

    if (ptrace(PTRACE_GET_SYSCALL_INFO, pid, sizeof(info), &info) < 0)
        return false;
    return info.op == PTRACE_SYSCALL_INFO_ENTRY &&
           (info.entry.nr == SYS_execve || info.entry.nr == SYS_execveat);
}

/* Answers a stop; the result is the signal to continue with. */
static int handle_stop(pid_t pid, int status)
{
    struct tracee *tracee = find_tracee(pid);
    unsigned long kib;
    char name[32] = "?";

    switch (status >> 8) {
    case SIGTRAP | 0x80:
        if (is_entering_exec(pid)) {
            read_peak(pid, &tracee->exec_kib, tracee->exec_name);
            tracee->has_exec_peak = command_started;
        }
        return 0;
    case SIGTRAP | PTRACE_EVENT_EXEC << 8:
        if (tracee->has_exec_peak)
            printf("%lu %d %s\n", tracee->exec_kib, pid, tracee->exec_name);
        command_started = true;
        return 0;
    case SIGTRAP | PTRACE_EVENT_EXIT << 8:
        read_peak(pid, &kib, name);
        printf("%lu %d %s\n", kib, pid, name);
        return 0;
    default:
        /* Other events, and the SIGSTOP that each new tracee begins with. */
        return status >> 16 || WSTOPSIG(status) == SIGSTOP ? 0 : WSTOPSIG(status);
    }
}

int main(int argc, char **argv)
{
    const long options = PTRACE_O_TRACESYSGOOD | PTRACE_O_TRACEEXIT | PTRACE_O_TRACEEXEC |
                         PTRACE_O_TRACEFORK | PTRACE_O_TRACEVFORK | PTRACE_O_TRACECLONE |
                         PTRACE_O_EXITKILL;
    int status, result = 1;
    pid_t first, pid;

    if (argc < 2) {
        fprintf(stderr, "usage: peak COMMAND...\n");
        return 2;
    }
    first = fork();
    if (first == 0) {
        ptrace(PTRACE_TRACEME, 0, 0, 0);
        raise(SIGSTOP);
        execv(argv[1], argv + 1);
        fprintf(stderr, "peak: cannot execute '%s': %s\n", argv[1], strerror(errno));
        _exit(127);
    }
    if (first < 0 || waitpid(first, &status, 0) != first ||
        ptrace(PTRACE_SETOPTIONS, first, 0, options) < 0 ||
        ptrace(PTRACE_SYSCALL, first, 0, 0) < 0) {
        perror("peak");
        return 1;
    }
    while ((pid = waitpid(-1, &status, __WALL)) > 0) {
        if (WIFSTOPPED(status))
            ptrace(PTRACE_SYSCALL, pid, 0, handle_stop(pid, status));
        else if (pid == first)
            result = WIFEXITED(status) ? WEXITSTATUS(status) : 1;
    }
    return result;
}
