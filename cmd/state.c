/* SPDX-License-Identifier: Apache-2.0 */
#include "cmd.h"

int cmd_state(const struct cmd *c, int *status, struct err *e)
{
    struct container_state state;
    struct json_out *j;
    const char *root;
    int r = container_root(&c->o.container, c->arena, &root, e);

    (void)status;
    if (r == 0)
        r = container_state(root, c->args[0], c->arena, &state, e);
    if (r < 0)
        return r;
    j = json_out_in(c->arena, true);
    container_state_write(&state, j, NULL);
    return cmd_print_json(j, e);
}
