/* SPDX-License-Identifier: Apache-2.0 */
#include "cmd.h"

int cmd_restore(const struct cmd *c, int *status, struct err *e)
{
    int r = cmd_check_supported(&c->o, e);

    return r < 0 ? r : container_restore(&c->o.container, &c->o.criu, c->arena, status, e);
}
