/* SPDX-License-Identifier: Apache-2.0 */
/*
 * What `teca spec` writes: the same container that every engine's user knows from other runtimes'
 * `spec`, except that it asks for no terminal: what it starts can be used in a pipe.
 */
#include "spec/internal.h"

#include <string.h>

#define LIST(...) ((const char *const[]){ __VA_ARGS__, NULL })

struct default_mount {
    const char *destination, *type, *source;
    const char *const *options;
};

static const struct default_mount mounts[] = {
    { "/proc", "proc", "proc", NULL },
    { "/dev", "tmpfs", "tmpfs", LIST("nosuid", "strictatime", "mode=755", "size=65536k") },
    { "/dev/pts", "devpts", "devpts",
      LIST("nosuid", "noexec", "newinstance", "ptmxmode=0666", "mode=0620", "gid=5") },
    { "/dev/shm", "tmpfs", "shm", LIST("nosuid", "noexec", "nodev", "mode=1777", "size=65536k") },
    { "/dev/mqueue", "mqueue", "mqueue", LIST("nosuid", "noexec", "nodev") },
    { "/sys", "sysfs", "sysfs", LIST("nosuid", "noexec", "nodev", "ro") },
    { "/sys/fs/cgroup", "cgroup", "cgroup", LIST("nosuid", "noexec", "nodev", "relatime", "ro") },
};

/* sysfs belongs to the owner of the network namespace: a rootless container gets the host's. */
static const struct default_mount rootless_sys = {
    "/sys", "none", "/sys", LIST("rbind", "nosuid", "noexec", "nodev", "ro")
};

static const char *const capabilities[] = { "CAP_AUDIT_WRITE", "CAP_KILL", "CAP_NET_BIND_SERVICE",
                                            NULL };
static const char *const masked_paths[] = {
    "/proc/acpi",
    "/proc/asound",
    "/proc/kcore",
    "/proc/keys",
    "/proc/latency_stats",
    "/proc/timer_list",
    "/proc/timer_stats",
    "/proc/sched_debug",
    "/sys/firmware",
    "/proc/scsi",
    NULL,
};
static const char *const readonly_paths[] = { "/proc/bus",           "/proc/fs",
                                              "/proc/irq",           "/proc/sys",
                                              "/proc/sysrq-trigger", NULL };

static void add_process(struct json_out *j)
{
    json_open_object(j, "process");
    json_add_bool(j, "terminal", false);
    json_open_object(j, "user");
    json_add_u64(j, "uid", 0);
    json_add_u64(j, "gid", 0);
    json_close_object(j);
    json_add_strings(j, "args", LIST("sh"));
    json_add_strings(
        j, "env",
        LIST("PATH=/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin", "TERM=xterm"));
    json_add_string(j, "cwd", "/");
    json_open_object(j, "capabilities");
    json_add_strings(j, "bounding", capabilities);
    json_add_strings(j, "effective", capabilities);
    json_add_strings(j, "permitted", capabilities);
    json_close_object(j);
    json_open_array(j, "rlimits");
    json_open_object(j, NULL);
    json_add_string(j, "type", "RLIMIT_NOFILE");
    json_add_u64(j, "hard", 1024);
    json_add_u64(j, "soft", 1024);
    json_close_object(j);
    json_close_array(j);
    json_add_bool(j, "noNewPrivileges", true);
    json_close_object(j);
}

/* An id map of one entry cannot hold gid 5, so a rootless devpts keeps the caller's group. */
static void add_mount(struct json_out *j, const struct default_mount *m, bool rootless)
{
    json_open_object(j, NULL);
    json_add_string(j, "destination", m->destination);
    json_add_string(j, "type", m->type);
    json_add_string(j, "source", m->source);
    if (m->options) {
        json_open_array(j, "options");
        for (const char *const *option = m->options; *option; option++) {
            if (!rootless || !str_starts(*option, "gid="))
                json_add_string(j, NULL, *option);
        }
        json_close_array(j);
    }
    json_close_object(j);
}

static void add_mounts(struct json_out *j, bool rootless)
{
    json_open_array(j, "mounts");
    for (size_t i = 0; i < COUNT_OF(mounts); i++) {
        if (!rootless || !str_starts(mounts[i].destination, "/sys"))
            add_mount(j, &mounts[i], rootless);
    }
    if (rootless)
        add_mount(j, &rootless_sys, rootless);
    json_close_array(j);
}

static void add_id_map(struct json_out *j, const char *key, uint32_t host_id)
{
    json_open_array(j, key);
    json_open_object(j, NULL);
    json_add_u64(j, "containerID", 0);
    json_add_u64(j, "hostID", host_id);
    json_add_u64(j, "size", 1);
    json_close_object(j);
    json_close_array(j);
}

static void add_namespace(struct json_out *j, enum spec_ns type)
{
    json_open_object(j, NULL);
    json_add_string(j, "type", spec_ns_name(type));
    json_close_object(j);
}

static void add_namespaces(struct json_out *j, const struct spec_default_options *o)
{
    json_open_array(j, "namespaces");
    add_namespace(j, SPEC_NS_PID);
    if (!o->rootless)
        add_namespace(j, SPEC_NS_NETWORK);
    add_namespace(j, SPEC_NS_IPC);
    add_namespace(j, SPEC_NS_UTS);
    add_namespace(j, SPEC_NS_MOUNT);
    if (o->cgroup_namespace)
        add_namespace(j, SPEC_NS_CGROUP);
    if (o->rootless)
        add_namespace(j, SPEC_NS_USER);
    json_close_array(j);
}

/* No device but the default ones. */
static void add_resources(struct json_out *j)
{
    json_open_object(j, "resources");
    json_open_array(j, "devices");
    json_open_object(j, NULL);
    json_add_bool(j, "allow", false);
    json_add_string(j, "access", "rwm");
    json_close_object(j);
    json_close_array(j);
    json_close_object(j);
}

static void add_linux(struct json_out *j, const struct spec_default_options *o)
{
    json_open_object(j, "linux");
    if (o->rootless) {
        add_id_map(j, "uidMappings", o->uid);
        add_id_map(j, "gidMappings", o->gid);
    } else {
        add_resources(j);
    }
    add_namespaces(j, o);
    json_add_strings(j, "maskedPaths", masked_paths);
    json_add_strings(j, "readonlyPaths", readonly_paths);
    json_close_object(j);
}

char *spec_default(const struct spec_default_options *options)
{
    struct json_out *j = json_out_new(true);
    struct strbuf text = { 0 };
    size_t len;
    const char *json;

    json_open_object(j, NULL);
    json_add_string(j, "ociVersion", "1.3.0");
    add_process(j);
    json_open_object(j, "root");
    json_add_string(j, "path", "rootfs");
    json_add_bool(j, "readonly", true);
    json_close_object(j);
    json_add_string(j, "hostname", "teca");
    add_mounts(j, options->rootless);
    add_linux(j, options);
    json_close_object(j);
    json = json_out_text(j, &len);
    strbuf_add(&text, json, len);
    json_out_free(j);
    return text.ptr;
}
