/* SPDX-License-Identifier: Apache-2.0 */
/*
 * inject: one fault in one process of a command, at one system call.
 *
 *   inject REPORT LANE COUNT error=N|signal=N|runtime-signal=N COMMAND...
 *
 * LANE is 0 for the command itself, 1 for the first process that is cloned below it, and so on.
 * The COUNT-th system call of that lane fails with errno N without being made, or the process (or
 * the command itself, whichever lane it is) gets signal N just before it. What a lane does after its own exec is the container's program and no
 * longer counted; lane 0 counts through all of its own execs.
 *
 * REPORT gets "hit NUMBER" with the number of the call when COUNT was reached, so a caller counts
 * upwards until there is no such line. The exit status is the command's, 128 + n for a signal; what
 * outlives the command runs on untraced. strace counts every process by itself and can fail the
 * n-th call only in all of them at once, hence this.
 */
#define _GNU_SOURCE
#include <errno.h>
#include <signal.h>
#include <stdbool.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/ptrace.h>
#include <sys/reg.h>
#include <sys/syscall.h>
#include <sys/types.h>
#include <sys/wait.h>
#include <unistd.h>
#include <linux/ptrace.h>

#ifndef __x86_64__
#error "write skip_call and set_result for this machine"
#endif

enum { MAX_LANES = 8 };

struct lane {
    pid_t pid;
    long calls;
    bool over;   /* executes the container's program */
    bool failed; /* the call it is in was skipped */
};

struct plan {
    const char *report;
    int lane;
    long count, error, signal;
    bool to_runtime;
};

static struct lane lanes[MAX_LANES];
static int n_lanes;

static void die(const char *what)
{
    perror(what);
    exit(125);
}

static struct lane *lane_of(pid_t pid)
{
    for (int i = 0; i < n_lanes; i++)
        if (lanes[i].pid == pid)
            return &lanes[i];
    if (n_lanes == MAX_LANES) {
        fprintf(stderr, "inject: more than %d processes\n", MAX_LANES);
        exit(125);
    }
    lanes[n_lanes].pid = pid;
    return &lanes[n_lanes++];
}

/* The number -1 is no system call: the kernel does nothing and leaves the result to the tracer. */
static void skip_call(pid_t pid)
{
    ptrace(PTRACE_POKEUSER, pid, 8 * ORIG_RAX, -1L);
}

static void set_result(pid_t pid, long result)
{
    ptrace(PTRACE_POKEUSER, pid, 8 * RAX, result);
}

/* These cannot fail in any way that a program could meet. */
static bool is_harmless(uint64_t nr)
{
    return nr == SYS_exit_group || nr == SYS_exit || nr == SYS_rt_sigreturn || nr == SYS_arch_prctl;
}

static void report_hit(const struct plan *p, uint64_t nr)
{
    FILE *f = fopen(p->report, "we");

    if (!f)
        die(p->report);
    fprintf(f, "hit %lu\n", nr);
    fclose(f);
}

static void at_entry(const struct plan *p, struct lane *l, uint64_t nr)
{
    if (l->over || l != &lanes[p->lane] || is_harmless(nr) || ++l->calls != p->count)
        return;
    report_hit(p, nr);
    if (p->signal > 0) {
        kill(p->to_runtime ? lanes[0].pid : l->pid, (int)p->signal);
        return;
    }
    l->failed = true;
    skip_call(l->pid);
}

static void at_system_call(const struct plan *p, struct lane *l)
{
    struct ptrace_syscall_info info;

    if (ptrace(PTRACE_GET_SYSCALL_INFO, l->pid, sizeof info, &info) < 0)
        return; /* killed meanwhile */
    if (info.op == PTRACE_SYSCALL_INFO_ENTRY)
        at_entry(p, l, info.entry.nr);
    else if (info.op == PTRACE_SYSCALL_INFO_EXIT && l->failed) {
        set_result(l->pid, -p->error);
        l->failed = false;
    }
}

/* One stop of one process; it goes on afterwards. */
static void at_stop(const struct plan *p, struct lane *l, int status)
{
    int signal = WSTOPSIG(status), event = status >> 16;

    if (signal == (SIGTRAP | 0x80)) {
        at_system_call(p, l);
        signal = 0;
    } else if (event) {
        signal = 0;
    }
    if (event == PTRACE_EVENT_EXEC && l != &lanes[0]) {
        l->over = true;
        ptrace(PTRACE_DETACH, l->pid, 0, 0);
        return;
    }
    ptrace(PTRACE_SYSCALL, l->pid, 0, (long)signal);
}

static int trace(const struct plan *p)
{
    for (;;) {
        int status;
        pid_t pid = waitpid(-1, &status, __WALL);

        if (pid < 0)
            die("waitpid");
        if (WIFSTOPPED(status)) {
            at_stop(p, lane_of(pid), status);
        } else if (pid == lanes[0].pid) {
            return WIFEXITED(status) ? WEXITSTATUS(status) : 128 + WTERMSIG(status);
        }
    }
}

/* The command waits in its first stop until it is seized; so not one of its calls is missed. */
static pid_t start(char *const argv[])
{
    pid_t pid = fork();
    int status;

    if (pid < 0)
        die("fork");
    if (pid == 0) {
        raise(SIGSTOP);
        execv(argv[0], argv);
        die(argv[0]);
    }
    if (waitpid(pid, &status, WUNTRACED) != pid || !WIFSTOPPED(status))
        die("start");
    if (ptrace(PTRACE_SEIZE, pid, 0L,
               PTRACE_O_TRACESYSGOOD | PTRACE_O_TRACEFORK | PTRACE_O_TRACEVFORK |
                   PTRACE_O_TRACECLONE | PTRACE_O_TRACEEXEC) < 0)
        die("PTRACE_SEIZE");
    kill(pid, SIGCONT);
    return pid;
}

/* Up to the exec of the command itself nothing counts. */
static void run_to_exec(pid_t pid)
{
    int status = 0;

    while (status >> 16 != PTRACE_EVENT_EXEC) {
        if (waitpid(pid, &status, __WALL) != pid || !WIFSTOPPED(status))
            die("exec");
        if (status >> 16 != PTRACE_EVENT_EXEC)
            ptrace(PTRACE_CONT, pid, 0, 0L);
    }
    lane_of(pid);
    ptrace(PTRACE_SYSCALL, pid, 0, 0);
}

int main(int argc, char *argv[])
{
    struct plan p = { 0 };

    if (argc < 6)
        return 125;
    p.report = argv[1];
    p.lane = atoi(argv[2]);
    p.count = atol(argv[3]);
    if (strncmp(argv[4], "error=", 6) == 0)
        p.error = atol(argv[4] + 6);
    else if (strncmp(argv[4], "signal=", 7) == 0)
        p.signal = atol(argv[4] + 7);
    else if (strncmp(argv[4], "runtime-signal=", 15) == 0) {
        p.signal = atol(argv[4] + 15);
        p.to_runtime = true;
    } else
        return 125;
    run_to_exec(start(argv + 5));
    return trace(&p);
}
