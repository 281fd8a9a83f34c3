/* SPDX-License-Identifier: Apache-2.0 */
/* One line of JSON for each event: engine-contract 1.4.3. */
#include "cmd.h"

static int print_event(void *arg, const struct container_event *event, struct err *e)
{
    struct json_out *j = json_out_new(false);
    int r;

    (void)arg;
    json_open_object(j, NULL);
    json_add_string(j, "type", event->stats || event->data ? "stats" : "oom");
    json_add_string(j, "id", event->id);
    if (event->stats)
        container_stats_write(event->stats, event->arena, j, "data");
    if (event->data)
        json_add_value(j, "data", event->data);
    json_close_object(j);
    r = cmd_stream_json(event->signals, j, e);
    json_out_free(j);
    return r;
}

int cmd_events(const struct cmd *c, int *status, struct err *e)
{
    const struct container_event_sink sink = { print_event, NULL };
    const char *root;
    int64_t interval = 0;
    int r = cmd_duration(c->o.interval ? c->o.interval : "5s", &interval, e);

    (void)status;
    if (r == 0)
        r = container_root(&c->o.container, c->arena, &root, e);
    return r < 0
               ? r
               : container_events(root, c->args[0], c->o.stats ? 0 : interval, &sink, c->arena, e);
}
