/* SPDX-License-Identifier: Apache-2.0 */
#include "cmd.h"

int cmd_checkpoint(const struct cmd *c, int *status, struct err *e)
{
    (void)status;
    return container_checkpoint(&c->o.container, &c->o.criu, c->arena, e);
}

/* `checkpoint --help` is how engines ask (engine-contract 1.1.7): it fails where it would not work. */
int cmd_criu_works(const struct cmd *c, struct err *e)
{
    return container_criu_works(&c->o.container, c->arena, e);
}
