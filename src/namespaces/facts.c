/* SPDX-License-Identifier: Apache-2.0 */
/* What namespaces/ asks of the host, and how that is written down and read again. */
#include <errno.h>
#include <fcntl.h>
#include <linux/capability.h>
#include <string.h>
#include <sys/auxv.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <unistd.h>

#include "namespaces/internal.h"

static bool has_capability(const struct __user_cap_data_struct *data, unsigned number)
{
    return data[number / 32].effective & (1u << number % 32);
}

static int gather_capabilities(struct ns_facts *f, struct err *e)
{
    struct __user_cap_header_struct header = { .version = _LINUX_CAPABILITY_VERSION_3 };
    struct __user_cap_data_struct data[_LINUX_CAPABILITY_U32S_3];

    if (syscall(SYS_capget, &header, data) < 0)
        return err_set(e, errno, "cannot read the runtime's capabilities");
    f->can_sys_admin = has_capability(data, CAP_SYS_ADMIN);
    f->can_setuid = has_capability(data, CAP_SETUID);
    f->can_setgid = has_capability(data, CAP_SETGID);
    return 0;
}

static int gather_setgroups(struct arena *a, struct ns_facts *f, struct err *e)
{
    char *text;
    size_t len;
    int r = file_read(a, AT_FDCWD, "/proc/self/setgroups", 64, &text, &len, e);

    if (r == 0)
        f->setgroups_denied = str_starts(text, "deny");
    return r;
}

/* Names in /proc/self/ns, namespaces(7). */
static const char *const own_paths[SPEC_NS_COUNT] = {
    [SPEC_NS_PID] = "/proc/self/ns/pid",       [SPEC_NS_NETWORK] = "/proc/self/ns/net",
    [SPEC_NS_MOUNT] = "/proc/self/ns/mnt",     [SPEC_NS_IPC] = "/proc/self/ns/ipc",
    [SPEC_NS_UTS] = "/proc/self/ns/uts",       [SPEC_NS_USER] = "/proc/self/ns/user",
    [SPEC_NS_CGROUP] = "/proc/self/ns/cgroup", [SPEC_NS_TIME] = "/proc/self/ns/time",
};

/*
 * Where it matters that a namespace given by path is the runtime's own: entering the own user
 * namespace is refused by setns(2), names or sysctls must not change the host's, and a device moves
 * from one namespace to another.
 */
static bool own_matters(const struct spec *s, enum spec_ns type)
{
    if (type == SPEC_NS_UTS)
        return s->hostname || s->domainname || s->linux.sysctl.n;
    if (type == SPEC_NS_NETWORK && s->linux.n_net_devices)
        return true;
    if (type == SPEC_NS_NETWORK || type == SPEC_NS_IPC)
        return s->linux.sysctl.n > 0;
    return type == SPEC_NS_USER;
}

/* A path that cannot be read is the ns-open step's error: it is no namespace of the runtime. */
static bool is_own(const struct spec_namespace *ns)
{
    struct stat theirs, ours;

    return stat(ns->path, &theirs) == 0 && stat(own_paths[ns->type], &ours) == 0 &&
           theirs.st_dev == ours.st_dev && theirs.st_ino == ours.st_ino;
}

int ns_gather(const struct spec *s, struct arena *a, struct ns_facts *f, struct err *e)
{
    const struct spec_linux *l = &s->linux;
    struct ns_facts facts = {
        .euid = (uint32_t)getauxval(AT_EUID),
        .egid = (uint32_t)getauxval(AT_EGID),
        .page_size = getauxval(AT_PAGESZ),
    };
    int r = 0;

    if (spec_has_namespace(s, SPEC_NS_USER))
        r = gather_capabilities(&facts, e);
    if (r == 0 && spec_has_namespace(s, SPEC_NS_USER))
        r = gather_setgroups(a, &facts, e);
    if (r < 0)
        return r;
    for (size_t i = 0; i < l->n_namespaces; i++) {
        const struct spec_namespace *ns = &l->namespaces[i];

        if (ns->path && own_matters(s, ns->type) && is_own(ns))
            facts.own |= spec_ns_flag(ns->type);
    }
    *f = facts;
    return 0;
}

/* The names in /proc/self/ns and /proc/PID/ns differ in the directory only. */
int ns_foreign_flags(pid_t pid, uint64_t *flags, struct err *e)
{
    static const size_t prefix = sizeof "/proc/self/ns/" - 1;

    *flags = spec_ns_flag(SPEC_NS_MOUNT);
    for (int type = 0; type < SPEC_NS_COUNT; type++) {
        struct stat theirs, ours;
        char path[64];

        base_format(path, sizeof path, "/proc/%d/ns/%s", pid, own_paths[type] + prefix);
        if (stat(path, &theirs) < 0)
            return err_set(e, errno, "cannot look at the namespaces of the container's process");
        if (stat(own_paths[type], &ours) < 0)
            return err_set(e, errno, "cannot look at '%s'", own_paths[type]);
        if (theirs.st_dev != ours.st_dev || theirs.st_ino != ours.st_ino)
            *flags |= spec_ns_flag((enum spec_ns)type);
    }
    return 0;
}

/* ---- as JSON ------------------------------------------------------------------------------- */

void ns_facts_write(const struct ns_facts *f, struct json_out *j, const char *key)
{
    json_open_object(j, key);
    json_add_u64(j, "euid", f->euid);
    json_add_u64(j, "egid", f->egid);
    json_add_bool(j, "canSysAdmin", f->can_sys_admin);
    json_add_bool(j, "canSetuid", f->can_setuid);
    json_add_bool(j, "canSetgid", f->can_setgid);
    json_add_bool(j, "setgroupsDenied", f->setgroups_denied);
    json_open_array(j, "own");
    for (int type = 0; type < SPEC_NS_COUNT; type++)
        if (f->own & spec_ns_flag((enum spec_ns)type))
            json_add_string(j, NULL, spec_ns_name((enum spec_ns)type));
    json_close_array(j);
    json_add_u64(j, "pageSize", f->page_size);
    json_close_object(j);
}

static int fault(const char *name, const char *wanted, struct err *e)
{
    char pointer[64];

    base_format(pointer, sizeof pointer, "/namespaces/%s", name);
    return err_at(e, pointer, 0, "the facts need %s here", wanted);
}

static int read_u64(const struct json *v, const char *name, uint64_t max, uint64_t *out,
                    struct err *e)
{
    const struct json *member = json_get(v, name);
    uint64_t n;

    if (!member || json_u64(member, &n) < 0 || n > max)
        return fault(name, "a number", e);
    *out = n;
    return 0;
}

static int read_bool(const struct json *v, const char *name, bool *out, struct err *e)
{
    const struct json *member = json_get(v, name);

    if (!member || member->type != JSON_BOOL)
        return fault(name, "true or false", e);
    *out = member->boolean;
    return 0;
}

static int read_own(const struct json *v, uint64_t *out, struct err *e)
{
    const struct json *list = json_get(v, "own");

    if (!list || list->type != JSON_ARRAY)
        return fault("own", "an array of namespace types", e);
    for (const struct json *item = list->child; item; item = item->next) {
        uint64_t flag = 0;

        for (int type = 0; type < SPEC_NS_COUNT; type++)
            if (item->type == JSON_STRING && str_eq(item->text, spec_ns_name((enum spec_ns)type)))
                flag = spec_ns_flag((enum spec_ns)type);
        if (!flag)
            return fault("own", "an array of namespace types", e);
        *out |= flag;
    }
    return 0;
}

int ns_facts_read(const struct json *v, struct arena *a, struct ns_facts *f, struct err *e)
{
    struct ns_facts facts = { 0 };
    uint64_t euid = 0, egid = 0;
    int r = read_u64(v, "euid", UINT32_MAX, &euid, e);

    (void)a;
    if (r == 0)
        r = read_u64(v, "egid", UINT32_MAX, &egid, e);
    if (r == 0)
        r = read_bool(v, "canSysAdmin", &facts.can_sys_admin, e);
    if (r == 0)
        r = read_bool(v, "canSetuid", &facts.can_setuid, e);
    if (r == 0)
        r = read_bool(v, "canSetgid", &facts.can_setgid, e);
    if (r == 0)
        r = read_bool(v, "setgroupsDenied", &facts.setgroups_denied, e);
    if (r == 0)
        r = read_own(v, &facts.own, e);
    if (r == 0)
        r = read_u64(v, "pageSize", UINT32_MAX, &facts.page_size, e);
    if (r < 0)
        return r;
    facts.euid = (uint32_t)euid;
    facts.egid = (uint32_t)egid;
    *f = facts;
    return 0;
}
