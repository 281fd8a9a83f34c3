/* SPDX-License-Identifier: Apache-2.0 */
/* The container's processes: their pids, or the lines of the host's ps(1) about them. */
#include "cmd.h"

#include <errno.h>
#include <fcntl.h>
#include <spawn.h>
#include <stdlib.h>
#include <string.h>
#include <sys/wait.h>
#include <unistd.h>

static int print_json(const pid_t *pids, size_t n, struct err *e)
{
    struct json_out *j = json_out_new(false);
    int r;

    json_open_array(j, NULL);
    for (size_t i = 0; i < n; i++)
        json_add_i64(j, NULL, pids[i]);
    json_close_array(j);
    r = cmd_print_json(j, e);
    json_out_free(j);
    return r;
}

/* ---- ps(1) --------------------------------------------------------------------------------- */

static int spawn_ps(char *const argv[], int out, pid_t *pid)
{
    posix_spawn_file_actions_t actions;
    int r = posix_spawn_file_actions_init(&actions);

    if (r == 0)
        r = posix_spawn_file_actions_adddup2(&actions, out, STDOUT_FILENO);
    if (r == 0)
        r = posix_spawnp(pid, "ps", &actions, NULL, argv, environ);
    posix_spawn_file_actions_destroy(&actions);
    return -r;
}

static int read_all(int fd, struct strbuf *out)
{
    char part[4096];
    ssize_t n;

    while ((n = read(fd, part, sizeof part)) > 0)
        strbuf_add(out, part, (size_t)n);
    return n < 0 ? -errno : 0;
}

/* `ps ARGUMENTS` of the host, found by PATH, without a shell. */
static int run_ps(const struct cmd *c, struct strbuf *out, struct err *e)
{
    const char **argv = arena_array(c->arena, c->n_args + 2, sizeof *argv);
    AUTO_FD int in = -1;
    int ends[2], status = 0, r;
    size_t n = 0;
    pid_t pid;

    argv[n++] = "ps";
    for (size_t i = 1; i < c->n_args; i++)
        argv[n++] = c->args[i];
    if (n == 1)
        argv[n++] = "-ef";
    if (pipe2(ends, O_CLOEXEC) < 0)
        return err_set(e, errno, "cannot make a pipe for ps");
    in = ends[0];
    r = spawn_ps((char *const *)argv, ends[1], &pid);
    close(ends[1]);
    if (r < 0) {
        err_set(e, -r, "cannot run ps");
        return r;
    }
    r = read_all(in, out);
    if (waitpid(pid, &status, 0) < 0 || r < 0)
        return err_set(e, r < 0 ? -r : errno, "cannot read from ps");
    if (!WIFEXITED(status) || WEXITSTATUS(status) != 0)
        return err_set(e, 0, "ps failed");
    return 0;
}

/* Which word of the header is "PID", -1: none. */
static int pid_column(const char *line, size_t len)
{
    int column = 0;

    for (size_t at = 0; at < len;) {
        size_t word = 0;

        at += strspn(line + at, " ");
        while (at + word < len && line[at + word] != ' ')
            word++;
        if (word == 3 && memcmp(line + at, "PID", 3) == 0)
            return column;
        column += word > 0;
        at += word;
    }
    return -1;
}

static bool is_listed(const char *line, int column, const pid_t *pids, size_t n)
{
    line += strspn(line, " ");
    for (; column > 0; column--) {
        line += strcspn(line, " \n");
        line += strspn(line, " ");
    }
    for (size_t i = 0; i < n; i++)
        if (strtol(line, NULL, 10) == pids[i])
            return true;
    return false;
}

static int print_table(const struct cmd *c, const pid_t *pids, size_t n, struct err *e)
{
    AUTO_STRBUF struct strbuf all = { 0 };
    AUTO_STRBUF struct strbuf out = { 0 };
    int r = run_ps(c, &all, e), column = -1;

    if (r == -ENOENT && c->n_args == 1) {
        cmd_ps_table(c->arena, pids, n, &out);
        cmd_make_printable(out.ptr, out.len, true);
        return cmd_print(out.ptr, out.len, e);
    }
    if (r < 0)
        return r;
    for (const char *line = all.ptr ? all.ptr : ""; *line;) {
        size_t len = strcspn(line, "\n");
        bool header = out.len == 0;

        if (header && (column = pid_column(line, len)) < 0)
            return err_set(e, 0, "the output of ps has no column PID");
        if (header || is_listed(line, column, pids, n))
            strbuf_format(&out, "%.*s\n", (int)len, line);
        line += len + (line[len] == '\n');
    }
    /* Names and arguments are the container's choice; ps has escaped them unless told otherwise. */
    cmd_make_printable(out.ptr, out.len, true);
    return cmd_print(out.ptr, out.len, e);
}

int cmd_ps(const struct cmd *c, int *status, struct err *e)
{
    const char *root;
    pid_t *pids;
    size_t n;
    bool json = str_eq(c->o.format, "json");
    int r = container_root(&c->o.container, c->arena, &root, e);

    (void)status;
    if (r == 0 && !json) {
        char *text;

        r = container_machine_ps(root, c->args[0], (const char *const *)c->args + 1, c->n_args - 1,
                                 c->arena, &text, &n, e);
        if (r > 0) {
            cmd_make_printable(text, n, true);
            return cmd_print(text, n, e);
        }
    }
    if (r == 0)
        r = container_pids(root, c->args[0], c->arena, &pids, &n, e);
    if (r < 0)
        return r;
    return json ? print_json(pids, n, e) : print_table(c, pids, n, e);
}
