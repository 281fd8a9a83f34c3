/* SPDX-License-Identifier: Apache-2.0 */
#include "cmd.h"

int cmd_create(const struct cmd *c, int *status, struct err *e)
{
    int r = cmd_check_supported(&c->o, e);

    (void)status;
    return r < 0 ? r : container_create(&c->o.container, c->arena, e);
}
