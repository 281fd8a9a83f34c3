/* SPDX-License-Identifier: Apache-2.0 */
/* What namespaces/ asks of the host, and how that is written down and read again. */
#include <errno.h>
#include <fcntl.h>
#include <linux/capability.h>
#include <linux/nsfs.h>
#include <string.h>
#include <sys/auxv.h>
#include <sys/ioctl.h>
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

int ns_setgroups_denied(pid_t pid, struct arena *a, bool *denied, struct err *e)
{
    const char *path = pid ? arena_format(a, "/proc/%d/setgroups", pid) : "/proc/self/setgroups";
    char *text;
    int r = file_read(a, AT_FDCWD, path, 64, &text, NULL, e);

    if (r == 0)
        *denied = str_starts(text, "deny");
    return r;
}

/* The inode of the host's user namespace is fixed: USER_NS_INIT_INO, since Linux 3.8. */
bool ns_is_nested(void)
{
    static const char host[] = "user:[4026531837]";
    static int known = -1;
    char text[64];
    ssize_t n;

    if (known >= 0)
        return known;
    n = readlink("/proc/self/ns/user", text, sizeof text - 1);
    text[n > 0 ? n : 0] = '\0';
    known = n > 0 && !str_eq(text, host);
    return known;
}

/* ioctl_ns(2): EPERM when the owner of the mount namespace is above the runtime's. */
static bool owns_mounts(void)
{
    AUTO_FD int mounts = openat(AT_FDCWD, "/proc/self/ns/mnt", O_RDONLY | O_CLOEXEC);
    AUTO_FD int owner = mounts < 0 ? -1 : ioctl(mounts, NS_GET_USERNS);

    return owner >= 0;
}

static void gather_tools(const struct spec *s, struct arena *a, struct ns_facts *f)
{
    if (!(ns_new_flags(s) & CLONE_NEWUSER))
        return;
    if (ns_needs_tool(&s->linux.uid_mappings, f->euid, f->can_setuid))
        f->newuidmap = program_find(a, "newuidmap");
    if (ns_needs_tool(&s->linux.gid_mappings, f->egid, f->can_setgid))
        f->newgidmap = program_find(a, "newgidmap");
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

static bool same_file(int fd, const struct stat *other)
{
    struct stat st;

    return fstat(fd, &st) == 0 && st.st_dev == other->st_dev && st.st_ino == other->st_ino;
}

/*
 * Is the owner of the mount namespace `mount`, or one above that, the user namespace `user`? Nobody
 * else may mount there (mount_namespaces(7)). ioctl_ns(2): the walk upwards ends with EPERM. What
 * cannot be opened is the ns-open step's error.
 */
static bool is_foreign_mount(const char *user, const char *mount)
{
    AUTO_FD int fd = openat(AT_FDCWD, mount, O_RDONLY | O_CLOEXEC | O_NONBLOCK | O_NOCTTY);
    struct stat wanted;

    if (fd < 0 || stat(user, &wanted) < 0)
        return false;
    for (int ask = NS_GET_USERNS;; ask = NS_GET_PARENT) {
        int owner = ioctl(fd, ask);

        if (owner < 0)
            return errno == EPERM;
        close(fd);
        fd = owner;
        if (same_file(fd, &wanted))
            return false;
    }
}

int ns_gather(const struct spec *s, struct arena *a, struct ns_facts *f, struct err *e)
{
    const struct spec_linux *l = &s->linux;
    struct ns_facts facts = {
        .euid = (uint32_t)getauxval(AT_EUID),
        .egid = (uint32_t)getauxval(AT_EGID),
        .page_size = getauxval(AT_PAGESZ),
        .nested = ns_is_nested(),
    };
    bool user = spec_has_namespace(s, SPEC_NS_USER) || facts.nested;
    int r = user ? gather_capabilities(&facts, e) : 0;

    if (r == 0 && user)
        r = ns_setgroups_denied(0, a, &facts.setgroups_denied, e);
    if (r < 0)
        return r;
    facts.owns_mounts = facts.nested && facts.can_sys_admin && owns_mounts();
    gather_tools(s, a, &facts);
    for (size_t i = 0; i < l->n_namespaces; i++) {
        const struct spec_namespace *ns = &l->namespaces[i];

        if (ns->path && own_matters(s, ns->type) && is_own(ns))
            facts.own |= spec_ns_flag(ns->type);
    }
    if (ns_joined_flags(s, &facts) & CLONE_NEWUSER && ns_joined_flags(s, &facts) & CLONE_NEWNS)
        facts.foreign_mounts = is_foreign_mount(spec_namespace_of(s, SPEC_NS_USER)->path,
                                                spec_namespace_of(s, SPEC_NS_MOUNT)->path);
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
        if (stat(path, &theirs) < 0) {
            int error = errno;

            err_set(e, error, "cannot look at the namespaces of the container's process");
            /* ptrace(2) "Ptrace access mode checking": init is not dumpable before its exec. */
            if (error == EACCES)
                err_hint(e, "without root that takes a container that has been started");
            return -error;
        }
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
    json_add_bool(j, "nested", f->nested);
    json_add_bool(j, "ownsMounts", f->owns_mounts);
    json_add_bool(j, "foreignMounts", f->foreign_mounts);
    json_add_string(j, "newuidmap", f->newuidmap);
    json_add_string(j, "newgidmap", f->newgidmap);
    json_close_object(j);
}

static uint64_t read_own(struct json_reader *in)
{
    const struct json *list = json_read_array(in, "own");
    uint64_t flags = 0;

    for (const struct json *item = list ? list->child : NULL; item; item = item->next) {
        uint64_t flag = 0;

        for (int type = 0; type < SPEC_NS_COUNT; type++)
            if (item->type == JSON_STRING && str_eq(item->text, spec_ns_name((enum spec_ns)type)))
                flag = spec_ns_flag((enum spec_ns)type);
        if (!flag)
            json_read_fault(in, "own", "an array of namespace types");
        flags |= flag;
    }
    return flags;
}

static const char *read_tool(struct json_reader *in, const char *name)
{
    const char *path = json_read_string_or_null(in, name);

    if (path && path[0] != '/')
        json_read_fault(in, name, "an absolute path");
    return path;
}

int ns_facts_read(const struct json *v, struct ns_facts *f, struct err *e)
{
    struct json_reader in = { .object = v, .what = "the facts", .e = e };
    struct ns_facts facts = {
        .euid = (uint32_t)json_read_u64(&in, "euid", UINT32_MAX),
        .egid = (uint32_t)json_read_u64(&in, "egid", UINT32_MAX),
        .can_sys_admin = json_read_bool(&in, "canSysAdmin"),
        .can_setuid = json_read_bool(&in, "canSetuid"),
        .can_setgid = json_read_bool(&in, "canSetgid"),
        .setgroups_denied = json_read_bool(&in, "setgroupsDenied"),
        .own = read_own(&in),
        .page_size = json_read_u64(&in, "pageSize", UINT32_MAX),
        /* Facts that were written before these were asked have none of them. */
        .nested = json_read_bool_or_false(&in, "nested"),
        .owns_mounts = json_read_bool_or_false(&in, "ownsMounts"),
        .foreign_mounts = json_read_bool_or_false(&in, "foreignMounts"),
        .newuidmap = read_tool(&in, "newuidmap"),
        .newgidmap = read_tool(&in, "newgidmap"),
    };

    if (in.r == 0)
        *f = facts;
    return in.r;
}
