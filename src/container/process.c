/* SPDX-License-Identifier: Apache-2.0 */
/* The last step: finding and executing the user's program, with the texts engines know. */
#include <errno.h>
#include <fcntl.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "container/internal.h"

static const char *path_of_env(const struct strs *env)
{
    const char *found = NULL; /* the last one wins, as in runc */

    for (size_t i = 0; i < env->n; i++)
        if (str_starts(env->v[i], "PATH="))
            found = env->v[i] + 5;
    return found ? found : "";
}

const char *const *process_candidates(struct arena *a, const struct spec_process *p)
{
    const char *name = p->args.v[0], *at = path_of_env(&p->env);
    const char **list;
    size_t n = 1;

    if (strchr(name, '/')) {
        list = arena_array(a, 2, sizeof *list);
        list[0] = name;
        return list;
    }
    for (const char *c = at; *c; c++)
        n += *c == ':';
    list = arena_array(a, n + 1, sizeof *list);
    for (n = 0; *at && *name;) {
        size_t len = strcspn(at, ":");

        /* An empty element would mean the current directory: never searched for a program. */
        if (len > 0)
            list[n++] = arena_format(a, "%.*s/%s", (int)len, at, name);
        at += len + (at[len] == ':');
    }
    return list;
}

/* Why `path` cannot be executed, in the words of engine-contract 1.6. */
static int exec_error(const char *name, const char *path, int errnum, struct err *e)
{
    struct stat st;
    bool exists = path && stat(path, &st) == 0;

    if (!path || (errnum == ENOENT && !exists && !strchr(name, '/'))) {
        err_set(e, 0, "exec: \"%s\": executable file not found in $PATH", name);
        return -ENOENT;
    }
    if (exists && S_ISDIR(st.st_mode)) {
        /* dockerd 20.10 makes 126 of "permission denied", later ones of "is a directory" too. */
        err_set(e, 0, "exec: \"%s\": is a directory: permission denied", name);
        return -EISDIR;
    }
    if (errnum == EACCES) {
        err_set(e, 0, "exec: \"%s\": permission denied", name);
        return -EACCES;
    }
    if (errnum != ENOENT)
        return err_set(e, errnum, "exec: \"%s\"", name);
    if (exists) {
        err_set(e, 0, "exec: \"%s\": no such file or directory", name);
        err_hint(e, "the file is there: its ELF loader or #! interpreter is not");
    } else {
        err_set(e, 0, "exec: \"%s\": stat %s: no such file or directory", name, path);
    }
    return -ENOENT;
}

static bool is_passing(int errnum)
{
    return errnum == ENOENT || errnum == ENOTDIR || errnum == EACCES;
}

int process_lookup(const struct op_exec_lookup *op, struct err *e)
{
    const char *bad = op->candidates[0];
    int errnum = ENOENT;

    for (const char *const *c = op->candidates; *c; c++) {
        struct stat st;

        if (faccessat(AT_FDCWD, *c, X_OK, 0) == 0) {
            if (stat(*c, &st) < 0 || !S_ISDIR(st.st_mode))
                return 0;
            errno = EACCES;
        }
        /* A filter that is loaded already may forbid the question: then execve answers it. */
        if (!is_passing(errno))
            return 0;
        if (errno == EACCES || errnum != EACCES) {
            errnum = errno == ENOTDIR ? ENOENT : errno;
            bad = *c;
        }
    }
    return exec_error(op->name, bad, errnum, e);
}

int process_exec(const struct op_exec *op, struct err *e)
{
    const char *bad = op->candidates[0];
    int errnum = ENOENT;

    for (const char *const *c = op->candidates; *c; c++) {
        execve(*c, (char *const *)op->argv, (char *const *)op->envp);
        if (errno == E2BIG) {
            err_set(e, E2BIG, "exec: \"%s\"", op->name);
            err_hint(e,
                     "the kernel takes 128 KiB for one argument or variable, and for all of them "
                     "a quarter of RLIMIT_STACK, 6 MiB at most: execve(2)");
            return -E2BIG;
        }
        if (!is_passing(errno))
            return err_set(e, errno, "exec: \"%s\"", op->name);
        if (errno == EACCES || errnum != EACCES) {
            errnum = errno == ENOTDIR ? ENOENT : errno;
            bad = *c;
        }
    }
    return exec_error(op->name, bad, errnum, e);
}
