/* SPDX-License-Identifier: Apache-2.0 */
#include "cmd.h"

int cmd_exec(const struct cmd *c, int *status, struct err *e)
{
    struct container_exec_options exec = c->o.exec;
    const char **args = (const char **)c->args + 1;
    size_t n = c->n_args - 1;
    int r;

    if (n > 0 && str_eq(args[0], "--")) {
        args++;
        n--;
    }
    exec.args = (struct str_list){ args, n };
    /* main leaves that to verbs that enter; those that read a bundle do it there. */
    r = fd_fill_standard(e);
    return r < 0 ? r : container_exec(&c->o.container, &exec, c->arena, status, e);
}
