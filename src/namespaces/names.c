/* SPDX-License-Identifier: Apache-2.0 */
/* hostname, domainname and sysctl: names and values that belong to a namespace. */
#include <errno.h>
#include <fcntl.h>
#include <linux/nsfs.h>
#include <sched.h>
#include <string.h>
#include <sys/ioctl.h>
#include <sys/utsname.h>
#include <unistd.h>

#include "namespaces/internal.h"

enum { SYSCTL_PATH_SIZE = 256 };

/* That there is a uts namespace and the length are spec_check's. An empty name is none. */
int ns_compile_names(struct plan *p, const struct spec *s, struct err *e)
{
    (void)e;
    if (s->hostname && s->hostname[0])
        plan_add(p, OP_NS_HOSTNAME, LANE_INIT, "/hostname")->ns_hostname.name = s->hostname;
    if (s->domainname && s->domainname[0])
        plan_add(p, OP_NS_DOMAINNAME, LANE_INIT, "/domainname")->ns_domainname.name = s->domainname;
    return 0;
}

/* What a kernel says where nobody has given a name: include/linux/uts.h. */
static void take_name(char out[65], const char *name)
{
    base_format(out, 65, "%s", str_eq(name, "(none)") ? "" : name);
}

int ns_read_names(const char *path, struct ns_names *out, struct err *e)
{
    AUTO_FD int own = openat(AT_FDCWD, "/proc/self/ns/uts", O_RDONLY | O_CLOEXEC);
    AUTO_FD int fd = openat(AT_FDCWD, path, O_RDONLY | O_CLOEXEC | O_NONBLOCK | O_NOCTTY);
    struct utsname names;
    int r;

    if (own < 0 || fd < 0)
        return err_set(e, errno, "cannot open the uts namespace '%s'",
                       fd < 0 ? path : "/proc/self/ns/uts");
    if (ioctl(fd, NS_GET_NSTYPE) != CLONE_NEWUTS)
        return err_set(e, 0, "'%s' is no uts namespace", path);
    if (setns(fd, CLONE_NEWUTS) < 0)
        return err_set(e, errno, "cannot enter the uts namespace '%s'", path);
    r = uname(&names) < 0 ? -errno : 0;
    /* It was left a moment ago, by the one who may enter the other. */
    if (setns(own, CLONE_NEWUTS) < 0)
        _exit(1);
    if (r < 0)
        return err_set(e, -r, "cannot read the names of '%s'", path);
    take_name(out->host, names.nodename);
    take_name(out->domain, names.domainname);
    return 0;
}

/* ---- sysctl -------------------------------------------------------------------------------- */

/*
 * The path below /proc/sys. sysctl.d(5): when the first separator is a slash, the name is a path
 * already; when it is a dot, dots and slashes change places ("net.ipv4.conf.eth0/1.mtu" is
 * net/ipv4/conf/eth0.1/mtu). The name may come from a user of the engine: no component may be
 * empty, "." or "..", so it cannot leave its namespace's directory.
 */
static int sysctl_path(const char *name, char out[SYSCTL_PATH_SIZE], struct err *e)
{
    size_t len = strlen(name), start = 0;
    bool dots = name[strcspn(name, "./")] == '.';

    if (len >= SYSCTL_PATH_SIZE)
        return err_set(e, 0, "the name of the sysctl is longer than %d bytes",
                       SYSCTL_PATH_SIZE - 1);
    for (size_t i = 0; i <= len; i++) {
        char c = name[i];

        if (dots && (c == '.' || c == '/'))
            c = c == '.' ? '/' : '.';
        out[i] = c;
        if (c != '/' && c != '\0')
            continue;
        if (i == start || (i - start == 1 && out[start] == '.') ||
            (i - start == 2 && out[start] == '.' && out[start + 1] == '.'))
            return err_set(e, 0, "'%s' is no name of a sysctl", name);
        start = i + 1;
    }
    return 0;
}

/* ipc/ipc_sysctl.c of Linux 5.14 and later: what an ipc namespace has of its own. */
static const char *const ipc_names[] = {
    "kernel/shmmax", "kernel/shmall",      "kernel/shmmni",      "kernel/shm_rmid_forced",
    "kernel/msgmax", "kernel/msgmni",      "kernel/msgmnb",      "kernel/auto_msgmni",
    "kernel/sem",    "kernel/sem_next_id", "kernel/msg_next_id", "kernel/shm_next_id",
};

/* The kind of namespace that a sysctl belongs to; SPEC_NS_COUNT: none that teca lets through. */
static enum spec_ns sysctl_owner(const char *path)
{
    for (size_t i = 0; i < COUNT_OF(ipc_names); i++)
        if (str_eq(path, ipc_names[i]))
            return SPEC_NS_IPC;
    if (str_starts(path, "fs/mqueue/"))
        return SPEC_NS_IPC;
    if (str_starts(path, "net/"))
        return SPEC_NS_NETWORK;
    if (str_eq(path, "kernel/hostname") || str_eq(path, "kernel/domainname"))
        return SPEC_NS_UTS;
    if (str_starts(path, "user/"))
        return SPEC_NS_USER;
    return SPEC_NS_COUNT;
}

int ns_sysctl_allowed(const struct spec *s, const char *name, struct err *e)
{
    char path[SYSCTL_PATH_SIZE];
    enum spec_ns owner;
    int r = sysctl_path(name, path, e);

    if (r < 0)
        return r;
    owner = sysctl_owner(path);
    if (owner == SPEC_NS_COUNT)
        return err_set(e, 0, "'%s' belongs to no namespace: it would be the host's", name);
    if (!spec_has_namespace(s, owner))
        return err_set(e, 0, "'%s' needs a %s namespace in /linux/namespaces", name,
                       spec_ns_name(owner));
    if (str_eq(path, "kernel/hostname"))
        return err_set(e, 0, "'%s' conflicts with /hostname: use that", name);
    if (str_eq(path, "kernel/domainname") && s->domainname)
        return err_set(e, 0, "'%s' conflicts with /domainname", name);
    return 0;
}

/* RFC 6901: "~" and "/" of the name are escaped. */
static const char *sysctl_pointer(struct plan *p, const char *name)
{
    char *escaped = arena_alloc(p->arena, 2 * strlen(name) + 1), *at = escaped;

    for (; *name; name++) {
        bool special = *name == '~' || *name == '/';

        *at++ = special ? '~' : *name;
        if (special)
            *at++ = *name == '~' ? '0' : '1';
    }
    return plan_pointer(p, "/linux/sysctl/%s", escaped);
}

int ns_compile_sysctl(struct plan *p, const struct spec *s, struct err *e)
{
    for (size_t i = 0; i < s->linux.sysctl.n; i++) {
        const struct spec_pair *pair = &s->linux.sysctl.v[i];
        const char *pointer = sysctl_pointer(p, pair->key);
        char *path = arena_alloc(p->arena, SYSCTL_PATH_SIZE);
        struct step *st;
        int r = ns_sysctl_allowed(s, pair->key, e);

        if (r == 0)
            r = sysctl_path(pair->key, path, e);
        if (r < 0) {
            if (e && !e->pointer[0])
                base_format(e->pointer, sizeof e->pointer, "%s", pointer);
            return r;
        }
        st = plan_add(p, OP_NS_SYSCTL, LANE_INIT, pointer);
        st->ns_sysctl.path = path;
        st->ns_sysctl.value = pair->value;
    }
    return 0;
}

/* ---- the runtime's own namespaces ---------------------------------------------------------- */

int ns_check_own(struct plan *p, const struct spec *s, const struct ns_facts *f, struct err *e)
{
    char path[SYSCTL_PATH_SIZE];

    if (f->own & CLONE_NEWUTS &&
        ((s->hostname && s->hostname[0]) || (s->domainname && s->domainname[0])))
        return err_at(e, s->hostname && s->hostname[0] ? "/hostname" : "/domainname", 0,
                      "the uts namespace given by path is the runtime's own: the host would be "
                      "renamed");
    for (size_t i = 0; i < s->linux.sysctl.n; i++) {
        const char *name = s->linux.sysctl.v[i].key;
        enum spec_ns owner;

        if (sysctl_path(name, path, e) < 0)
            return err_at(e, sysctl_pointer(p, name), 0, "'%s' is no name of a sysctl", name);
        owner = sysctl_owner(path);
        if (owner != SPEC_NS_COUNT && f->own & spec_ns_flag(owner))
            return err_at(e, sysctl_pointer(p, name), 0,
                          "the %s namespace given by path is the runtime's own: '%s' would be "
                          "the host's",
                          spec_ns_name(owner), name);
    }
    return 0;
}
