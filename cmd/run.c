/* SPDX-License-Identifier: Apache-2.0 */
#include "cmd.h"

int cmd_run(const struct cmd *c, int *status, struct err *e)
{
    int r = cmd_check_supported(&c->o, e);

    return r < 0 ? r : container_run(&c->o.container, c->arena, status, e);
}
