/* SPDX-License-Identifier: Apache-2.0 */
#include "cmd.h"

int cmd_resume(const struct cmd *c, int *status, struct err *e)
{
    const char *root;
    int r = container_root(&c->o.container, c->arena, &root, e);

    (void)status;
    return r < 0 ? r : container_resume(root, c->args[0], c->arena, e);
}
