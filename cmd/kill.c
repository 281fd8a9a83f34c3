/* SPDX-License-Identifier: Apache-2.0 */
#include "cmd.h"

#include <signal.h>

int cmd_kill(const struct cmd *c, int *status, struct err *e)
{
    int signal = c->n_args > 1 ? container_signal(c->args[1], e) : SIGTERM;
    const char *root;
    int r;

    (void)status;
    if (signal < 0)
        return signal;
    r = container_root(&c->o.container, c->arena, &root, e);
    return r < 0 ? r : container_kill(root, c->args[0], signal, c->o.all, c->arena, e);
}
