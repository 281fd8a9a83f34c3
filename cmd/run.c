/* SPDX-License-Identifier: Apache-2.0 */
#include "cmd.h"

int cmd_run(const struct cmd *c, int *status, struct err *e)
{
    return container_run(&c->o.container, c->arena, status, e);
}
