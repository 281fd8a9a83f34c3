/* SPDX-License-Identifier: Apache-2.0 */
#include "cmd.h"

int cmd_features(const struct cmd *c, int *status, struct err *e)
{
    struct json_out *j = json_out_new(true);
    int r;

    (void)c;
    (void)status;
    container_features(j);
    r = cmd_print_json(j, e);
    json_out_free(j);
    return r;
}
