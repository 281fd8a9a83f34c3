/* SPDX-License-Identifier: Apache-2.0 */
/* What a container in a machine uses, as its guest counts: of the JSON of `events --stats`, what `stats` shows. */
#include <string.h>

#include "container/machine.h"

/* Absent, or not what it should be: 0. The guest is hostile, and these are numbers to be looked at. */
static uint64_t number(const struct json *object, const char *key)
{
    const struct json *v = object ? json_get(object, key) : NULL;
    uint64_t value;

    return v && v->type == JSON_NUMBER && json_u64(v, &value) == 0 ? value : 0;
}

static const struct json *member(const struct json *object, const char *key, enum json_type type)
{
    const struct json *v = object && object->type == JSON_OBJECT ? json_get(object, key) : NULL;

    return v && v->type == type ? v : NULL;
}

static const char *text_of(const struct json *object, const char *key, struct arena *a)
{
    const struct json *v = member(object, key, JSON_STRING);

    return v ? arena_strdup(a, v->text) : "";
}

static void read_memory(const struct json *memory, struct arena *a, struct cgroup_stats *out)
{
    const struct json *usage = member(memory, "usage", JSON_OBJECT);
    const struct json *raw = member(memory, "raw", JSON_OBJECT);

    out->memory.usage.usage = number(usage, "usage");
    out->memory.usage.limit = number(usage, "limit");
    if (!raw)
        return;
    out->memory.raw = arena_array(a, raw->count, sizeof *out->memory.raw);
    for (const struct json *v = raw->child; v; v = v->next)
        out->memory.raw[out->memory.n_raw++] = (struct cgroup_memory_count){
            arena_strdup(a, v->key), number(raw, v->key)
        };
}

static void read_bytes(const struct json *blkio, struct arena *a, struct cgroup_io *out)
{
    const struct json *list = member(blkio, "ioServiceBytesRecursive", JSON_ARRAY);

    if (!list)
        return;
    out->v = arena_array(a, list->count, sizeof *out->v);
    for (const struct json *v = list->child; v; v = v->next)
        if (v->type == JSON_OBJECT)
            out->v[out->n++] = (struct cgroup_io_entry){ .op = text_of(v, "op", a),
                                                         .value = number(v, "value") };
}

static void read_network(const struct json *list, struct arena *a, struct container_stats *out)
{
    if (!list)
        return;
    out->interfaces = arena_array(a, list->count, sizeof *out->interfaces);
    for (const struct json *v = list->child; v; v = v->next)
        if (v->type == JSON_OBJECT)
            out->interfaces[out->n_interfaces++] = (struct container_interface){
                .name = text_of(v, "Name", a),
                .rx_bytes = number(v, "RxBytes"),
                .tx_bytes = number(v, "TxBytes")
            };
}

struct reading {
    struct arena *arena;
    struct container_stats *out;
};

static int read_stats(void *arg, const struct container_event *event, struct err *e)
{
    const struct reading *r = arg;
    const struct json *cpu = member(event->data, "cpu", JSON_OBJECT);
    const struct json *pids = member(event->data, "pids", JSON_OBJECT);
    struct cgroup_stats *out = &r->out->cgroup;

    (void)e;
    out->cpu.total = number(member(cpu, "usage", JSON_OBJECT), "total");
    out->pids.current = number(pids, "current");
    out->pids.limit = number(pids, "limit");
    read_memory(member(event->data, "memory", JSON_OBJECT), r->arena, out);
    read_bytes(member(event->data, "blkio", JSON_OBJECT), r->arena, &out->io.kinds[IO_BYTES]);
    read_network(member(event->data, "network_interfaces", JSON_ARRAY), r->arena, r->out);
    return 0;
}

int machine_stats(const char *dir, const struct state_record *rec, pid_t pid, struct arena *a,
                  struct container_stats *out, struct err *e)
{
    struct reading reading = { a, out };
    const struct container_event_sink sink = { read_stats, &reading };

    *out = (struct container_stats){ .id = rec->id, .pid = pid, .taken_ns = container_clock_ns() };
    return machine_events(dir, rec->id, 0, &sink, -1, a, e);
}
