/* SPDX-License-Identifier: Apache-2.0 */
#include "cmd.h"

int cmd_restore(const struct cmd *c, int *status, struct err *e)
{
    return container_restore(&c->o.container, &c->o.criu, c->arena, status, e);
}
