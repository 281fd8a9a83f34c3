/* SPDX-License-Identifier: Apache-2.0 */
/* The kernel calls of namespaces/, one function a step. Everything here is child-safe. */
#include <errno.h>
#include <fcntl.h>
#include <linux/nsfs.h>
#include <signal.h>
#include <string.h>
#include <sys/ioctl.h>
#include <unistd.h>

#include "namespaces/internal.h"

#define SETNS "setns(2)"

static const char *article(const char *name)
{
    return name[0] == 'i' ? "an" : "a";
}

/*
 * A path may name anything, a FIFO too: O_NONBLOCK, so that the open does not wait. The type is
 * asked of the opened file, not of the path.
 */
static int step_open(const struct step *st, struct slots *slots, struct err *e)
{
    const struct op_ns_open *op = &st->ns_open;
    AUTO_FD int fd = openat(AT_FDCWD, op->path, O_RDONLY | O_CLOEXEC | O_NONBLOCK | O_NOCTTY);
    const char *is, *wanted = ns_flag_name(op->type);
    int type;

    if (fd < 0)
        return err_set(e, errno, "cannot open the %s namespace '%s'", wanted, op->path);
    type = ioctl(fd, NS_GET_NSTYPE);
    if (type < 0)
        return err_set(e, EINVAL, "'%s' is no namespace", op->path);
    is = ns_flag_name((uint64_t)type);
    if ((uint64_t)type != op->type)
        return err_set(e, 0, "'%s' is %s %s namespace, not %s %s one", op->path, article(is), is,
                       article(wanted), wanted);
    slots->value[op->out] = take_fd(&fd);
    return 0;
}

/*
 * In a mount namespace of another container everything is that one's: /proc/self/fd/N, which mount(2)
 * is given, /proc/sys and the cgroups may lead anywhere (CVE-2025-52881). So the host's root is held
 * and all of them are reached from there, up to the pivot.
 */
static int join_mounts(int in, struct err *e)
{
    AUTO_FD int root = host_root_open();
    int r;

    if (root < 0)
        return err_set(e, -root, "cannot open '/'");
    if (sys_note(SETNS, setns(in, CLONE_NEWNS)) < 0)
        return err_set(e, errno, "cannot join the mount namespace: setns");
    r = host_root_enter(root);
    return r < 0 ? err_set(e, -r, "cannot keep the host's '/' in the mount namespace joined") : 0;
}

static int step_join(const struct step *st, struct slots *slots, struct err *e)
{
    if (st->ns_join.type == CLONE_NEWNS)
        return join_mounts(slots->value[st->ns_join.in], e);
    if (sys_note(SETNS, setns(slots->value[st->ns_join.in], (int)st->ns_join.type)) < 0)
        return err_set(e, errno, "cannot join the %s namespace: setns",
                       ns_flag_name(st->ns_join.type));
    return 0;
}

/* "pid,network" of CLONE_NEW flags. */
static const char *flag_names(uint64_t flags, char *buf, size_t size)
{
    size_t at = 0;

    buf[0] = '\0';
    for (int type = 0; type < SPEC_NS_COUNT; type++)
        if (flags & spec_ns_flag((enum spec_ns)type) && at < size)
            at += base_format(buf + at, size - at, "%s%s", at ? "," : "",
                              spec_ns_name((enum spec_ns)type));
    return buf;
}

/*
 * With a pidfd the kernel checks every namespace with the rights that the caller has before the
 * call, so the order of them does not matter, also with a user namespace among them (setns(2)).
 */
static int step_enter(const struct step *st, struct slots *slots, struct err *e)
{
    char names[96];

    if (sys_note("setns(2) with a pidfd, of Linux 5.8",
                 setns(slots->value[st->ns_enter.pidfd], (int)st->ns_enter.flags)) < 0)
        return err_set(e, errno, "cannot join the container's namespaces %s: setns",
                       flag_names(st->ns_enter.flags, names, sizeof names));
    return 0;
}

static int namespace_error(struct err *e, int error, const char *call, uint64_t flags)
{
    char names[96];

    if (flags == 0)
        return err_set(e, error, "cannot make the process: %s", call);
    err_set(e, error, "cannot make the namespaces %s: %s", flag_names(flags, names, sizeof names),
            call);
    if (error == EINVAL)
        err_hint(e, "does this kernel have all of them? see /proc/self/ns");
    if (error == ENOSPC)
        err_hint(e, "a limit in /proc/sys/user is reached");
    if (error == EPERM && flags & CLONE_NEWUSER)
        err_hint(e, "user namespaces are switched off for this user");
    else if (error == EPERM)
        err_hint(e, "it needs CAP_SYS_ADMIN or a user namespace");
    return -error;
}

static int step_unshare(const struct step *st, struct slots *slots, struct err *e)
{
    (void)slots;
    if (sys_note("unshare(2)", unshare((int)st->ns_unshare.flags)) < 0)
        return namespace_error(e, errno, "unshare", st->ns_unshare.flags);
    return 0;
}

static int step_id_maps(const struct step *st, struct slots *slots, struct err *e)
{
    return ns_write_id_maps(&st->ns_id_maps, slots->value[st->ns_id_maps.pid], e);
}

static int step_map_tool(const struct step *st, struct slots *slots, struct err *e)
{
    return ns_run_map_tool(&st->ns_map_tool, slots->value[st->ns_map_tool.pid], e);
}

static int step_become_root(const struct step *st, struct slots *slots, struct err *e)
{
    (void)slots;
    return ns_become_root(&st->ns_become_root, e);
}

static int step_time_offsets(const struct step *st, struct slots *slots, struct err *e)
{
    const char *text = st->ns_time_offsets.offsets;
    int r = proc_write("self/timens_offsets", text, strlen(text));

    (void)slots;
    if (r == -ERANGE)
        return err_set(e, ERANGE,
                       "cannot set the time offsets: a clock would be negative or beyond what "
                       "the kernel takes (time_namespaces(7))");
    return r < 0 ? err_set(e, -r, "cannot set the time offsets") : 0;
}

static int step_hostname(const struct step *st, struct slots *slots, struct err *e)
{
    (void)slots;
    if (sethostname(st->ns_hostname.name, strlen(st->ns_hostname.name)) < 0)
        return err_set(e, errno, "cannot set the hostname '%s'", st->ns_hostname.name);
    return 0;
}

static int step_domainname(const struct step *st, struct slots *slots, struct err *e)
{
    (void)slots;
    if (setdomainname(st->ns_domainname.name, strlen(st->ns_domainname.name)) < 0)
        return err_set(e, errno, "cannot set the domainname '%s'", st->ns_domainname.name);
    return 0;
}

/*
 * The host's /proc serves: tables of net, ipc and uts are looked up in the namespaces of the
 * process that opens the file (proc_sys_lookup and net_ctl_header_lookup of Linux), and the path
 * is still out of the image's reach. Who has joined another's mount namespace reaches it through
 * the working directory (step_join).
 */
static int step_sysctl(const struct step *st, struct slots *slots, struct err *e)
{
    const struct op_ns_sysctl *op = &st->ns_sysctl;
    char path[288];
    int r;

    (void)slots;
    base_format(path, sizeof path, "sys/%s", op->path);
    r = proc_write(path, op->value, strlen(op->value));
    if (r == 0)
        return 0;
    err_set(e, -r, "cannot write '%s' to /proc/%s", op->value, path);
    if (r == -EXDEV)
        err_hint(e, "/proc of the host is no proc file system there");
    return r;
}

pid_t ns_clone(const struct op_clone *op, struct slots *slots, struct err *e)
{
    int pidfd = -1;
    struct clone_args args = {
        .flags = op->flags,
        /* A sibling takes the signal of the process that clones it, clone(2) CLONE_PARENT. */
        .exit_signal = op->sibling ? 0 : SIGCHLD,
    };
    pid_t pid;

    if (op->sibling)
        args.flags |= CLONE_PARENT;
    if (op->out_pidfd >= 0) {
        args.flags |= CLONE_PIDFD;
        args.pidfd = (uint64_t)(uintptr_t)&pidfd;
    }
    if (op->cgroup >= 0) {
        args.flags |= CLONE_INTO_CGROUP;
        args.cgroup = (uint64_t)slots->value[op->cgroup];
    }
    pid = sys_clone3(&args, sizeof args);
    if (pid == 0)
        return 0;
    if (pid < 0)
        return namespace_error(e, errno, op->cgroup >= 0 ? "clone3 into the cgroup" : "clone3",
                               op->flags);
    if (op->out_pid >= 0)
        slots->value[op->out_pid] = pid;
    if (op->out_pidfd >= 0)
        slots->value[op->out_pidfd] = pidfd;
    return pid;
}

typedef int step_fn(const struct step *st, struct slots *slots, struct err *e);
static step_fn *const steps[OP_COUNT] = {
    [OP_NS_OPEN] = step_open,
    [OP_NS_JOIN] = step_join,
    [OP_NS_ENTER] = step_enter,
    [OP_NS_UNSHARE] = step_unshare,
    [OP_NS_ID_MAPS] = step_id_maps,
    [OP_NS_MAP_TOOL] = step_map_tool,
    [OP_NS_BECOME_ROOT] = step_become_root,
    [OP_NS_TIME_OFFSETS] = step_time_offsets,
    [OP_NS_HOSTNAME] = step_hostname,
    [OP_NS_DOMAINNAME] = step_domainname,
    [OP_NS_SYSCTL] = step_sysctl,
};

int ns_step(const struct step *st, struct slots *slots, struct err *e)
{
    return steps[st->op](st, slots, e);
}
