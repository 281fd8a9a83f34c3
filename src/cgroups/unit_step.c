/* SPDX-License-Identifier: Apache-2.0 */
/* The helper teca-systemd: started by absolute path, without a shell; its answer is one line. */
#include <errno.h>
#include <fcntl.h>
#include <signal.h>
#include <spawn.h>
#include <string.h>
#include <sys/wait.h>
#include <unistd.h>

#include "cgroups/internal.h"

extern char **environ;

enum { ANSWER_SIZE = 400 };

struct helper {
    int hold, answer; /* its stdin, its stdout */
    pid_t pid;
};

/* teca has blocked and perhaps ignored signals; the helper begins as any program does. */
static int set_signals(posix_spawnattr_t *attr)
{
    sigset_t none, all;

    sigemptyset(&none);
    sigfillset(&all);
    posix_spawnattr_setsigmask(attr, &none);
    posix_spawnattr_setsigdefault(attr, &all);
    return posix_spawnattr_setflags(attr, POSIX_SPAWN_SETSIGMASK | POSIX_SPAWN_SETSIGDEF);
}

static int spawn(const char *path, const char *const *argv, int in, int out, pid_t *pid)
{
    posix_spawn_file_actions_t actions;
    posix_spawnattr_t attr;
    int r = posix_spawnattr_init(&attr);

    if (r == 0)
        r = posix_spawn_file_actions_init(&actions);
    if (r == 0)
        r = set_signals(&attr);
    if (r == 0)
        r = posix_spawn_file_actions_adddup2(&actions, in, STDIN_FILENO);
    if (r == 0)
        r = posix_spawn_file_actions_adddup2(&actions, out, STDOUT_FILENO);
    if (r == 0)
        r = posix_spawn_file_actions_addopen(&actions, STDERR_FILENO, "/dev/null", O_WRONLY, 0);
    if (r == 0)
        r = posix_spawn(pid, path, &actions, &attr, (char *const *)argv, environ);
    posix_spawn_file_actions_destroy(&actions);
    posix_spawnattr_destroy(&attr);
    return -r;
}

static int start_helper(const char *path, const char *const *argv, struct helper *out,
                        struct err *e)
{
    int in[2] = { -1, -1 }, answer[2] = { -1, -1 }, r = 0;

    if (pipe2(in, O_CLOEXEC) < 0 || pipe2(answer, O_CLOEXEC) < 0)
        r = err_set(e, errno, "cannot make a pipe for the helper '%s'", path);
    if (r == 0) {
        r = spawn(path, argv, in[0], answer[1], &out->pid);
        if (r < 0)
            err_set(e, -r, "cannot run the helper '%s', which speaks to systemd", path);
    }
    fd_cleanup(&in[0]);
    fd_cleanup(&answer[1]);
    if (r < 0) {
        fd_cleanup(&in[1]);
        fd_cleanup(&answer[0]);
        return r;
    }
    out->hold = in[1];
    out->answer = answer[0];
    return 0;
}

/* Up to the end of its line, or of its output. It has time limits of its own. */
static int hear(const struct helper *h, const char *unit, bool needs_answer, struct err *e)
{
    char text[ANSWER_SIZE];
    size_t have = 0;
    ssize_t n;

    while (have < sizeof text - 1 &&
           (n = read(h->answer, text + have, sizeof text - 1 - have)) != 0) {
        if (n < 0 && errno != EINTR)
            return err_set(e, errno, "cannot hear the helper that speaks to systemd");
        have += n > 0 ? (size_t)n : 0;
        if (have && text[have - 1] == '\n')
            break;
    }
    text[have] = '\0';
    text[strcspn(text, "\n")] = '\0';
    if (str_eq(text, "ok") || (!needs_answer && have == 0))
        return 0;
    return have ? err_set(e, 0, "%s", text)
                : err_set(e, 0, "the helper that speaks to systemd ended without an answer for %s",
                          unit);
}

static void end_helper(struct helper *h)
{
    fd_cleanup(&h->hold);
    fd_cleanup(&h->answer);
    while (waitpid(h->pid, NULL, 0) < 0 && errno == EINTR)
        ;
}

static int step_start(const struct op_unit_start *op, struct slots *slots, struct err *e)
{
    struct helper h;
    int r = start_helper(op->helper, op->argv, &h, e);

    if (r < 0)
        return r;
    r = hear(&h, op->unit, true, e);
    if (r < 0) {
        end_helper(&h);
        return r;
    }
    slots->value[op->out_hold] = h.hold;
    slots->value[op->out_answer] = h.answer;
    slots->value[op->out_pid] = h.pid;
    return 0;
}

static int step_release(const struct op_unit_release *op, struct slots *slots, struct err *e)
{
    struct helper h = { slots->value[op->hold], slots->value[op->answer], slots->value[op->pid] };
    int r = 0;

    if (write(h.hold, "", 1) != 1)
        r = err_set(e, errno, "the helper that holds the systemd unit %s has ended", op->unit);
    if (r == 0)
        r = hear(&h, op->unit, false, e);
    end_helper(&h);
    slots->value[op->hold] = slots->value[op->answer] = -1;
    return r;
}

static int step_stop(const struct op_unit_stop *op, struct err *e)
{
    const char *argv[5] = { "teca-systemd", "--user" };
    size_t n = op->user ? 2 : 1;
    struct helper h;
    int r;

    argv[n++] = "stop";
    argv[n] = op->unit;
    r = start_helper(op->helper, argv, &h, e);
    if (r < 0)
        return r;
    r = hear(&h, op->unit, true, e);
    end_helper(&h);
    return r;
}

int unit_step(const struct step *st, struct slots *slots, struct err *e)
{
    switch ((int)st->op) { /* as int: the other operations are other rooms' */
    case OP_UNIT_START:
        return step_start(&st->unit_start, slots, e);
    case OP_UNIT_RELEASE:
        return step_release(&st->unit_release, slots, e);
    case OP_UNIT_STOP:
        return step_stop(&st->unit_stop, e);
    default:
        return err_set(e, ENOSYS, "'%s' is no step of units", plan_op_name(st->op));
    }
}
