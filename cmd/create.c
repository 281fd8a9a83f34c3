/* SPDX-License-Identifier: Apache-2.0 */
#include "cmd.h"

int cmd_create(const struct cmd *c, int *status, struct err *e)
{
    (void)status;
    return container_create(&c->o.container, c->arena, e);
}
