/* SPDX-License-Identifier: Apache-2.0 */
/* What a container uses: its cgroups, its network, its class of resctrl. Plain code, reads only. */
#include <errno.h>
#include <fcntl.h>
#include <string.h>
#include <sys/stat.h>
#include <time.h>

#include "container/machine.h"

enum { PROC_TEXT_MAX = 16 << 20, COUNTERS = 16 };

const char *const *container_cgroups(const struct state_record *r, struct arena *a, size_t *n)
{
    const char **paths = arena_array(a, r->made.n_cgroups + 1, sizeof *paths);

    *n = 0;
    for (size_t i = 0; i < r->made.n_cgroups; i++)
        if (r->made.cgroups[i].leaf)
            paths[(*n)++] = r->made.cgroups[i].path;
    return paths;
}

int64_t container_clock_ns(void)
{
    struct timespec t;

    clock_gettime(CLOCK_MONOTONIC, &t);
    return (int64_t)t.tv_sec * 1000000000 + t.tv_nsec;
}

/* ---- network ------------------------------------------------------------------------------- */

/* In the namespace of the host nothing is the container's own. */
static bool has_own_network(pid_t pid, struct arena *a)
{
    struct stat own, its;

    return stat("/proc/self/ns/net", &own) == 0 &&
           stat(arena_format(a, "/proc/%d/ns/net", pid), &its) == 0 &&
           (own.st_ino != its.st_ino || own.st_dev != its.st_dev);
}

/* "  eth0: 1 2 3 ...": proc_pid_net(5), eight counters received and eight sent. */
static bool read_interface(char *line, struct container_interface *out)
{
    char *name = line + strspn(line, " "), *colon = strrchr(name, ':'), *save = NULL;
    uint64_t v[COUNTERS];
    size_t n = 0;

    if (!colon)
        return false;
    *colon = '\0';
    for (char *word = strtok_r(colon + 1, " ", &save); word && n < COUNTERS;
         word = strtok_r(NULL, " ", &save))
        if (str_to_u64(word, &v[n++]) < 0)
            return false;
    if (n < COUNTERS || str_eq(name, "lo"))
        return false;
    *out = (struct container_interface){ name, v[0], v[1], v[2], v[3], v[8], v[9], v[10], v[11] };
    return true;
}

static void read_network(pid_t pid, struct arena *a, struct container_stats *out)
{
    size_t cap = COUNTERS;
    char *text, *save = NULL;

    out->interfaces = arena_array(a, cap, sizeof *out->interfaces);
    if (!has_own_network(pid, a) || file_read(a, AT_FDCWD, arena_format(a, "/proc/%d/net/dev", pid),
                                              PROC_TEXT_MAX, &text, NULL, NULL) < 0)
        return;
    for (char *line = strtok_r(text, "\n", &save); line; line = strtok_r(NULL, "\n", &save)) {
        if (out->n_interfaces == cap)
            out->interfaces = arena_grow(a, out->interfaces, out->n_interfaces, &cap,
                                         sizeof *out->interfaces);
        out->n_interfaces += read_interface(line, &out->interfaces[out->n_interfaces]);
    }
}

/* ---- resctrl ------------------------------------------------------------------------------- */

/* The places that rdt_compile_make chose, found again by the private copy of the config. */
static void find_rdt(const struct state_record *r, struct arena *a, struct rdt_place *out)
{
    const struct json *rdt, *clos, *monitoring;
    struct json *doc;
    char *mountinfo;

    if (json_parse(a, r->config, r->config_len, "config.json", &doc, NULL) < 0 ||
        !json_get(doc, "linux") || !(rdt = json_get(json_get(doc, "linux"), "intelRdt")) ||
        file_read(a, AT_FDCWD, "/proc/self/mountinfo", PROC_TEXT_MAX, &mountinfo, NULL, NULL) < 0)
        return;
    clos = json_get(rdt, "closID");
    monitoring = json_get(rdt, "enableMonitoring");
    out->mount = rdt_find_mount(mountinfo, a);
    if (!out->mount)
        return;
    out->group = arena_format(a, "%s/%s", out->mount, clos ? clos->text : r->id);
    out->monitor = monitoring && monitoring->boolean
                       ? arena_format(a, "%s/mon_groups/%s", out->group, r->id)
                       : out->group;
}

/* ---- all of it ------------------------------------------------------------------------------ */

void container_stats_read(const struct state_record *r, pid_t pid, struct arena *a,
                          struct container_stats *out)
{
    size_t n;
    const char *const *paths = container_cgroups(r, a, &n);

    *out = (struct container_stats){ .id = r->id, .pid = pid, .taken_ns = container_clock_ns() };
    cgroup_stats_read(paths, n, a, &out->cgroup);
    read_network(pid, a, out);
    find_rdt(r, a, &out->rdt);
}

int container_not_running(const char *id, struct err *e)
{
    err_set(e, 0, "container with id %s is not running", id);
    return -ESRCH;
}

int container_stats(const char *root, const char *id, struct arena *a, struct container_stats *out,
                    struct err *e)
{
    struct state_record rec;
    const char *dir;
    pid_t pid;
    int r = container_find(root, id, a, &dir, &rec, e);

    if (r == 0)
        r = state_status(dir, &rec, &pid, NULL, e);
    if (r < 0)
        return r;
    if (pid == 0)
        return container_not_running(id, e);
    if (rec.isolation)
        return machine_stats(dir, &rec, pid, a, out, e);
    container_stats_read(&rec, pid, a, out);
    return 0;
}

void container_stats_write(const struct container_stats *s, struct arena *a, struct json_out *j,
                           const char *key)
{
    json_open_object(j, key);
    cgroup_stats_write(&s->cgroup, j);
    rdt_stats_write(j, "intel_rdt", &s->rdt, a);
    json_open_array(j, "network_interfaces");
    for (size_t i = 0; i < s->n_interfaces; i++) {
        const struct container_interface *one = &s->interfaces[i];

        json_open_object(j, NULL);
        json_add_string(j, "Name", one->name);
        json_add_u64(j, "RxBytes", one->rx_bytes);
        json_add_u64(j, "RxPackets", one->rx_packets);
        json_add_u64(j, "RxErrors", one->rx_errors);
        json_add_u64(j, "RxDropped", one->rx_dropped);
        json_add_u64(j, "TxBytes", one->tx_bytes);
        json_add_u64(j, "TxPackets", one->tx_packets);
        json_add_u64(j, "TxErrors", one->tx_errors);
        json_add_u64(j, "TxDropped", one->tx_dropped);
        json_close_object(j);
    }
    json_close_array(j);
    json_close_object(j);
}
