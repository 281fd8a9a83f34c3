/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Which devices a container may use: an eBPF program on its v2 cgroup by bpf(2), or the texts of the
 * v1 hierarchy `devices`. Child-safe.
 */
#include <errno.h>
#include <fcntl.h>
#include <string.h>
#include <sys/syscall.h>
#include <unistd.h>

#include "cgroups/internal.h"

enum { PROGRAMS_MAX = 64, TRIES = 5, PATH_SIZE = 4096 };

/* By this name `update` knows the program that it may replace. */
static const char program_name[] = "teca_devices";

static int bpf(int command, union bpf_attr *attr)
{
    long r = syscall(SYS_bpf, command, attr, sizeof *attr);

    return r < 0 ? -errno : (int)r;
}

/* bpf(2): the verifier gives up with EAGAIN when a signal is pending. */
int device_filter_load(const struct bpf_insn *program, size_t n)
{
    union bpf_attr attr;
    int fd = -EAGAIN;

    memset(&attr, 0, sizeof attr);
    attr.prog_type = BPF_PROG_TYPE_CGROUP_DEVICE;
    attr.expected_attach_type = BPF_CGROUP_DEVICE;
    attr.insns = (uintptr_t)program;
    attr.insn_cnt = (uint32_t)n;
    attr.license = (uintptr_t) "Apache-2.0";
    memcpy(attr.prog_name, program_name, sizeof program_name);
    for (int i = 0; i < TRIES && fd == -EAGAIN; i++)
        fd = bpf(BPF_PROG_LOAD, &attr);
    return fd;
}

/* MULTI: beside what systemd or an engine has attached further up or here; all must agree. */
static int attach(int cgroup_fd, int program_fd, int old_fd)
{
    union bpf_attr attr;

    memset(&attr, 0, sizeof attr);
    attr.target_fd = (uint32_t)cgroup_fd;
    attr.attach_bpf_fd = (uint32_t)program_fd;
    attr.attach_type = BPF_CGROUP_DEVICE;
    attr.attach_flags = BPF_F_ALLOW_MULTI;
    if (old_fd >= 0) { /* Linux 5.6: no moment without a filter */
        attr.attach_flags |= BPF_F_REPLACE;
        attr.replace_bpf_fd = (uint32_t)old_fd;
    }
    return bpf(BPF_PROG_ATTACH, &attr);
}

int device_filter_attach(int cgroup_fd, int program_fd)
{
    return attach(cgroup_fd, program_fd, -1);
}

static bool is_ours(int fd)
{
    struct bpf_prog_info info;
    union bpf_attr attr;

    memset(&info, 0, sizeof info);
    memset(&attr, 0, sizeof attr);
    attr.info.bpf_fd = (uint32_t)fd;
    attr.info.info_len = sizeof info;
    attr.info.info = (uintptr_t)&info;
    return bpf(BPF_OBJ_GET_INFO_BY_FD, &attr) == 0 && str_eq(info.name, program_name);
}

static int open_program(uint32_t id)
{
    union bpf_attr attr;

    memset(&attr, 0, sizeof attr);
    attr.prog_id = id;
    return bpf(BPF_PROG_GET_FD_BY_ID, &attr);
}

int device_filter_replace(int cgroup_fd, int program_fd)
{
    uint32_t ids[PROGRAMS_MAX];
    union bpf_attr attr;
    int r;

    memset(&attr, 0, sizeof attr);
    attr.query.target_fd = (uint32_t)cgroup_fd;
    attr.query.attach_type = BPF_CGROUP_DEVICE;
    attr.query.prog_ids = (uintptr_t)ids;
    attr.query.prog_cnt = PROGRAMS_MAX;
    r = bpf(BPF_PROG_QUERY, &attr);
    for (uint32_t i = 0; r == 0 && i < attr.query.prog_cnt; i++) {
        AUTO_FD int old = open_program(ids[i]);

        if (old >= 0 && is_ours(old))
            return attach(cgroup_fd, program_fd, old);
    }
    return r < 0 ? r : -ENOENT;
}

/* ---- v1 ------------------------------------------------------------------------------------- */

/* One write a rule: the kernel takes one, and ignores what follows in the same write. */
static int write_rules(const char *path, const char *const *rules, int fds[2], bool presets,
                       struct err *e)
{
    static const char *const names[] = { "devices.deny", "devices.allow" };
    char file[PATH_SIZE];

    for (; *rules; rules++) {
        bool allow = str_starts(*rules, "allow ");
        const char *text = strchr(*rules, ' ') + 1;
        int *fd = &fds[allow];

        if (allow && str_eq(text, "a")) /* a new cgroup has what its parent has, and gets no more */
            continue;
        base_format(file, sizeof file, "%s/%s", path, names[allow]);
        if (*fd < 0)
            *fd = openat(AT_FDCWD, file, O_WRONLY | O_CLOEXEC);
        if (*fd < 0)
            return err_set(e, errno, "cannot open '%s'", file);
        if (write(*fd, text, strlen(text)) < 0 && !(presets && errno == EPERM))
            return err_set(e, errno, "cannot write '%s' to '%s'", text, file);
    }
    return 0;
}

int device_rules_write(const char *path, const char *const *rules, bool presets, struct err *e)
{
    int fds[] = { -1, -1 };
    int r = write_rules(path, rules, fds, presets, e);

    fd_cleanup(&fds[0]);
    fd_cleanup(&fds[1]);
    return r;
}

/* ---- steps ---------------------------------------------------------------------------------- */

/* bpf(2) is for those who have CAP_BPF and CAP_NET_ADMIN on the host. */
static bool is_host_root(void)
{
    char text[256];
    AUTO_FD int fd = -1;
    ssize_t n;

    if (geteuid() != 0)
        return false;
    fd = openat(AT_FDCWD, "/proc/self/uid_map", O_RDONLY | O_CLOEXEC);
    n = fd < 0 ? 0 : read(fd, text, sizeof text - 1);
    text[n > 0 ? n : 0] = '\0';
    return strstr(text, " 4294967295") != NULL;
}

/* A kernel without CONFIG_CGROUP_BPF says EINVAL, one without bpf(2) ENOSYS. */
static int step_filter(const struct op_device_filter *op, struct slots *slots, struct err *e)
{
    const struct bpf_insn *program = op->program;
    int fd = device_filter_load(program, op->program_size / sizeof *program);

    if (fd >= 0) {
        slots->value[op->out] = fd;
        return 0;
    }
    if (op->or_rules && (fd == -EPERM || fd == -EINVAL || fd == -ENOSYS))
        return 0;
    /* An ordinary user's container has no device that its user could not open (engine-contract
     * 5.4: "Device filter errors ignored rootless"). */
    if (fd == -EPERM && !is_host_root())
        return 0;
    err_set(e, -fd, "cannot load the program that filters device access: bpf");
    if (fd == -EPERM)
        err_hint(e, "it takes CAP_BPF and CAP_NET_ADMIN, or CAP_SYS_ADMIN");
    return fd;
}

static int step_attach(const struct op_device_attach *op, const struct slots *slots, struct err *e)
{
    int r = 0;

    if (slots->value[op->filter] >= 0)
        r = device_filter_attach(slots->value[op->cgroup], slots->value[op->filter]);
    if (r < 0)
        err_set(e, -r, "cannot attach the device filter to the container's cgroup: bpf");
    if (r == -EPERM)
        err_hint(e, "a cgroup above it may have a filter that allows no other one below");
    return r;
}

static int step_rules(const struct op_device_rules *op, const struct slots *slots, struct err *e)
{
    int r;

    if (op->unless >= 0 && slots->value[op->unless] >= 0)
        return 0;
    r = device_rules_write(op->path, op->rules, false, e);
    return r < 0 ? r : device_rules_write(op->path, op->presets, true, e);
}

int device_step(const struct step *st, struct slots *slots, struct err *e)
{
    switch ((int)st->op) { /* as int: the other operations are other rooms' */
    case OP_DEVICE_FILTER:
        return step_filter(&st->device_filter, slots, e);
    case OP_DEVICE_ATTACH:
        return step_attach(&st->device_attach, slots, e);
    case OP_DEVICE_RULES:
        return step_rules(&st->device_rules, slots, e);
    default:
        return err_set(e, ENOSYS, "'%s' is no step of devices", plan_op_name(st->op));
    }
}
