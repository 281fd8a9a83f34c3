/* SPDX-License-Identifier: Apache-2.0 */
/*
 * timer ROUNDS PAUSE_MS -- COMMAND... [-- COMMAND...]: wall time from spawn to exit of each
 * command, as one line of nanoseconds a round, the columns in the order of the commands. Round r
 * starts with command r modulo their number, so that each of them runs equally often after each
 * other one. PAUSE_MS is slept before every run: 0 finds the kernel warm, 50 finds it idle (RCU,
 * the caches), as a single start on a quiet host does.
 *
 * Commands get /dev/null for stdin, stdout and stderr and a process group of their own, so that ^C
 * at the terminal reaches this program only: it ends after the run under way. A command that fails
 * ends everything with status 1.
 */
#define _GNU_SOURCE
#include <errno.h>
#include <fcntl.h>
#include <inttypes.h>
#include <signal.h>
#include <spawn.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/prctl.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

enum { MAX_COMMANDS = 8, MAX_ROUNDS = 100000, MAX_PAUSE_MS = 60000 };

static volatile sig_atomic_t interrupted;

static void note_signal(int signal)
{
    (void)signal;
    interrupted = 1;
}

static uint64_t now_ns(void)
{
    struct timespec now;

    clock_gettime(CLOCK_MONOTONIC, &now);
    return (uint64_t)now.tv_sec * 1000000000U + (uint64_t)now.tv_nsec;
}

static bool read_number(const char *text, long max, long *out_value)
{
    char *end;
    long value;

    errno = 0;
    value = strtol(text, &end, 10);
    if (errno || end == text || *end || value < 0 || value > max)
        return false;
    *out_value = value;
    return true;
}

/* Cuts argv at each "--" into commands; 0 if there is none, an empty one or too many. */
static unsigned split_commands(char **argv, char **commands[MAX_COMMANDS])
{
    unsigned count = 0;

    for (; *argv; argv++) {
        if (strcmp(*argv, "--") != 0)
            continue;
        *argv = NULL;
        if (count == MAX_COMMANDS || !argv[1] || strcmp(argv[1], "--") == 0)
            return 0;
        commands[count++] = argv + 1;
    }
    return count;
}

static int prepare_spawn(posix_spawn_file_actions_t *files, posix_spawnattr_t *attr)
{
    int error = posix_spawn_file_actions_init(files);

    if (!error)
        error = posix_spawnattr_init(attr);
    if (!error)
        error = posix_spawn_file_actions_addopen(files, 0, "/dev/null", O_RDWR, 0);
    if (!error)
        error = posix_spawn_file_actions_adddup2(files, 0, 1);
    if (!error)
        error = posix_spawn_file_actions_adddup2(files, 0, 2);
    if (!error)
        error = posix_spawnattr_setflags(attr, POSIX_SPAWN_SETPGROUP);
    return error;
}

static int time_command(char **command, const posix_spawn_file_actions_t *files,
                        const posix_spawnattr_t *attr, uint64_t *out_ns)
{
    uint64_t start = now_ns();
    int status, error;
    pid_t pid;

    error = posix_spawn(&pid, command[0], files, attr, command, environ);
    if (error) {
        fprintf(stderr, "timer: cannot start '%s': %s\n", command[0], strerror(error));
        return -1;
    }
    while (waitpid(pid, &status, 0) < 0)
        if (errno != EINTR)
            return -1;
    *out_ns = now_ns() - start;
    if (status != 0) {
        fprintf(stderr, "timer: '%s' ended with wait status 0x%x\n", command[0], status);
        return -1;
    }
    return 0;
}

static int time_round(unsigned first, char **commands[], unsigned count, long pause_ms,
                      const posix_spawn_file_actions_t *files, const posix_spawnattr_t *attr)
{
    const struct timespec pause = { pause_ms / 1000, pause_ms % 1000 * 1000000 };
    uint64_t ns[MAX_COMMANDS];

    for (unsigned i = 0; i < count; i++) {
        unsigned which = (first + i) % count;

        if (pause_ms > 0)
            nanosleep(&pause, NULL);
        if (interrupted || time_command(commands[which], files, attr, &ns[which]) < 0)
            return -1;
    }
    for (unsigned i = 0; i < count; i++)
        printf("%" PRIu64 "%c", ns[i], i + 1 < count ? ' ' : '\n');
    return 0;
}

int main(int argc, char **argv)
{
    struct sigaction action = { .sa_handler = note_signal };
    posix_spawn_file_actions_t files;
    posix_spawnattr_t attr;
    char **commands[MAX_COMMANDS];
    long rounds, pause_ms;
    unsigned count;

    if (argc < 5 || !read_number(argv[1], MAX_ROUNDS, &rounds) ||
        !read_number(argv[2], MAX_PAUSE_MS, &pause_ms) ||
        (count = split_commands(argv + 3, commands)) == 0 || prepare_spawn(&files, &attr)) {
        fprintf(stderr, "usage: timer ROUNDS PAUSE_MS -- COMMAND... [-- COMMAND...]\n");
        return 2;
    }
    sigaction(SIGINT, &action, NULL);
    sigaction(SIGTERM, &action, NULL);
    /* Nobody reads the times of a bench-start that was killed. */
    prctl(PR_SET_PDEATHSIG, SIGTERM);
    for (long round = 0; round < rounds; round++)
        if (time_round((unsigned)(round % count), commands, count, pause_ms, &files, &attr) < 0)
            return interrupted ? 130 : 1;
    return 0;
}
