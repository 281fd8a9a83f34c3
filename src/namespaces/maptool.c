/* SPDX-License-Identifier: Apache-2.0 */
/*
 * newuidmap(1) and newgidmap(1): what an ordinary user may map beyond the own id is written down in
 * /etc/subuid and /etc/subgid, and these two programs, which have the right to write any map, check
 * it. They are started by path with an argument vector, never through a shell; all they get from
 * the configuration is numbers.
 */
#include <errno.h>
#include <fcntl.h>
#include <signal.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/wait.h>
#include <unistd.h>

#include "namespaces/internal.h"

enum { SAID_SIZE = 192, ARGS_MAX = 3 * 340, NUMBER_SIZE = 12 };

/* ---- gathering ----------------------------------------------------------------------------- */

static const char *program_in(struct arena *a, const char *dir, size_t len, const char *name)
{
    const char *path = arena_format(a, "%.*s/%s", (int)len, dir, name);

    return faccessat(AT_FDCWD, path, X_OK, AT_EACCESS) == 0 ? path : NULL;
}

/*
 * The caller's PATH first, then the usual places: an engine may have left no PATH at all. Only
 * absolute entries count, for the current directory is the bundle and that is the image's maker's.
 */
const char *ns_find_map_tool(struct arena *a, const char *name)
{
    static const char usual[] = "/usr/bin:/bin:/usr/local/bin:/usr/sbin:/sbin";
    const char *lists[] = { getenv("PATH"), usual };

    for (size_t i = 0; i < COUNT_OF(lists); i++) {
        for (const char *at = lists[i]; at && *at;) {
            size_t len = strcspn(at, ":");
            const char *found = *at == '/' ? program_in(a, at, len, name) : NULL;

            if (found)
                return found;
            at += len + (at[len] == ':');
        }
    }
    return NULL;
}

/* ---- compiling ----------------------------------------------------------------------------- */

const char *const *ns_map_tool_args(struct arena *a, const struct spec_id_maps *maps)
{
    const char **args = arena_array(a, 3 * maps->n + 1, sizeof *args);

    for (size_t i = 0; i < maps->n; i++) {
        args[3 * i] = arena_format(a, "%u", maps->v[i].container_id);
        args[3 * i + 1] = arena_format(a, "%u", maps->v[i].host_id);
        args[3 * i + 2] = arena_format(a, "%u", maps->v[i].size);
    }
    return args;
}

/* ---- execution ----------------------------------------------------------------------------- */

/* The runtime blocks all signals and the tool shall not. A fixed environment: the tool's language
 * is the one of the sentence around it. */
static _Noreturn void be_tool(const char *tool, const char *const *argv, int output)
{
    static char language[] = "LC_ALL=C";
    char *const env[] = { language, NULL };
    sigset_t none;

    sigemptyset(&none);
    sigprocmask(SIG_SETMASK, &none, NULL);
    if (dup2(output, STDOUT_FILENO) >= 0 && dup2(output, STDERR_FILENO) >= 0)
        execve(tool, (char *const *)argv, env);
    fd_write_all(output, strerror(errno), strlen(strerror(errno)));
    _exit(127);
}

/* The first line of what the tool said, without its own name before it. */
static const char *said(int output, const char *name, char text[SAID_SIZE])
{
    ssize_t n = pread(output, text, SAID_SIZE - 1, 0);
    size_t len = strlen(name);

    text[n > 0 ? n : 0] = '\0';
    text[strcspn(text, "\n")] = '\0';
    for (char *c = text; *c; c++)
        if ((unsigned char)*c < ' ')
            *c = ' ';
    return str_starts(text, name) && str_starts(text + len, ": ") ? text + len + 2 : text;
}

static int tool_failed(const struct op_ns_map_tool *op, int status, int output, struct err *e)
{
    const char *slash = strrchr(op->tool, '/'), *name = slash ? slash + 1 : op->tool;
    char text[SAID_SIZE];
    const char *why = said(output, name, text);

    if (WIFSIGNALED(status))
        err_set(e, 0, "%s was killed by signal %d", name, WTERMSIG(status));
    else if (*why)
        err_set(e, 0, "%s refuses the map: %s", name, why);
    else
        err_set(e, 0, "%s refuses the map: exit status %d", name, WEXITSTATUS(status));
    err_hint(e, "%s must grant user %u every host id of the map but the own one", op->ranges,
             getuid());
    return -EPERM;
}

int ns_run_map_tool(const struct op_ns_map_tool *op, pid_t pid, struct err *e)
{
    const char *argv[ARGS_MAX + 3] = { op->tool };
    AUTO_FD int output = memfd_create("output", MFD_CLOEXEC);
    char number[NUMBER_SIZE];
    size_t n = 0;
    pid_t child;
    int status;

    if (output < 0)
        return err_set(e, errno, "cannot make a file for what '%s' says", op->tool);
    base_format(number, sizeof number, "%d", pid);
    argv[1] = number;
    for (; n < ARGS_MAX && op->args[n]; n++)
        argv[n + 2] = op->args[n];
    child = fork();
    if (child == 0)
        be_tool(op->tool, argv, output);
    if (child < 0)
        return err_set(e, errno, "cannot make a process for '%s'", op->tool);
    while (waitpid(child, &status, 0) < 0)
        if (errno != EINTR)
            return err_set(e, errno, "cannot wait for '%s'", op->tool);
    return status == 0 ? 0 : tool_failed(op, status, output, e);
}
