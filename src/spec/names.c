/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The names that config.md and config-linux.md list, and what the kernel calls the same things.
 * Names and values are the specification's; nothing here asks the host.
 */
#include "spec/internal.h"

#include <linux/capability.h>
#include <linux/sched.h>
#include <string.h>
#include <sys/resource.h>

/* sched.h of glibc hides it behind the kernel's own since Linux 5.6 only. */
#ifndef CLONE_NEWTIME
#define CLONE_NEWTIME 0x00000080
#endif

/* capabilities(7), the index is the number; the last one is of Linux 5.9. */
static const char *const capability_names[] = {
    [CAP_CHOWN] = "CAP_CHOWN",
    [CAP_DAC_OVERRIDE] = "CAP_DAC_OVERRIDE",
    [CAP_DAC_READ_SEARCH] = "CAP_DAC_READ_SEARCH",
    [CAP_FOWNER] = "CAP_FOWNER",
    [CAP_FSETID] = "CAP_FSETID",
    [CAP_KILL] = "CAP_KILL",
    [CAP_SETGID] = "CAP_SETGID",
    [CAP_SETUID] = "CAP_SETUID",
    [CAP_SETPCAP] = "CAP_SETPCAP",
    [CAP_LINUX_IMMUTABLE] = "CAP_LINUX_IMMUTABLE",
    [CAP_NET_BIND_SERVICE] = "CAP_NET_BIND_SERVICE",
    [CAP_NET_BROADCAST] = "CAP_NET_BROADCAST",
    [CAP_NET_ADMIN] = "CAP_NET_ADMIN",
    [CAP_NET_RAW] = "CAP_NET_RAW",
    [CAP_IPC_LOCK] = "CAP_IPC_LOCK",
    [CAP_IPC_OWNER] = "CAP_IPC_OWNER",
    [CAP_SYS_MODULE] = "CAP_SYS_MODULE",
    [CAP_SYS_RAWIO] = "CAP_SYS_RAWIO",
    [CAP_SYS_CHROOT] = "CAP_SYS_CHROOT",
    [CAP_SYS_PTRACE] = "CAP_SYS_PTRACE",
    [CAP_SYS_PACCT] = "CAP_SYS_PACCT",
    [CAP_SYS_ADMIN] = "CAP_SYS_ADMIN",
    [CAP_SYS_BOOT] = "CAP_SYS_BOOT",
    [CAP_SYS_NICE] = "CAP_SYS_NICE",
    [CAP_SYS_RESOURCE] = "CAP_SYS_RESOURCE",
    [CAP_SYS_TIME] = "CAP_SYS_TIME",
    [CAP_SYS_TTY_CONFIG] = "CAP_SYS_TTY_CONFIG",
    [CAP_MKNOD] = "CAP_MKNOD",
    [CAP_LEASE] = "CAP_LEASE",
    [CAP_AUDIT_WRITE] = "CAP_AUDIT_WRITE",
    [CAP_AUDIT_CONTROL] = "CAP_AUDIT_CONTROL",
    [CAP_SETFCAP] = "CAP_SETFCAP",
    [CAP_MAC_OVERRIDE] = "CAP_MAC_OVERRIDE",
    [CAP_MAC_ADMIN] = "CAP_MAC_ADMIN",
    [CAP_SYSLOG] = "CAP_SYSLOG",
    [CAP_WAKE_ALARM] = "CAP_WAKE_ALARM",
    [CAP_BLOCK_SUSPEND] = "CAP_BLOCK_SUSPEND",
    [CAP_AUDIT_READ] = "CAP_AUDIT_READ",
    [CAP_PERFMON] = "CAP_PERFMON",
    [CAP_BPF] = "CAP_BPF",
    [CAP_CHECKPOINT_RESTORE] = "CAP_CHECKPOINT_RESTORE",
};

const char *const spec_rlimit_names[] = {
    [RLIMIT_CPU] = "RLIMIT_CPU",
    [RLIMIT_FSIZE] = "RLIMIT_FSIZE",
    [RLIMIT_DATA] = "RLIMIT_DATA",
    [RLIMIT_STACK] = "RLIMIT_STACK",
    [RLIMIT_CORE] = "RLIMIT_CORE",
    [RLIMIT_RSS] = "RLIMIT_RSS",
    [RLIMIT_NPROC] = "RLIMIT_NPROC",
    [RLIMIT_NOFILE] = "RLIMIT_NOFILE",
    [RLIMIT_MEMLOCK] = "RLIMIT_MEMLOCK",
    [RLIMIT_AS] = "RLIMIT_AS",
    [RLIMIT_LOCKS] = "RLIMIT_LOCKS",
    [RLIMIT_SIGPENDING] = "RLIMIT_SIGPENDING",
    [RLIMIT_MSGQUEUE] = "RLIMIT_MSGQUEUE",
    [RLIMIT_NICE] = "RLIMIT_NICE",
    [RLIMIT_RTPRIO] = "RLIMIT_RTPRIO",
    [RLIMIT_RTTIME] = "RLIMIT_RTTIME",
    [RLIM_NLIMITS] = NULL,
};

const char *const spec_scheduler_policies[] = {
    "SCHED_OTHER", "SCHED_FIFO", "SCHED_RR",       "SCHED_BATCH",
    "SCHED_ISO",   "SCHED_IDLE", "SCHED_DEADLINE", NULL,
};
const char *const spec_scheduler_flags[] = {
    "SCHED_FLAG_RESET_ON_FORK",  "SCHED_FLAG_RECLAIM",
    "SCHED_FLAG_DL_OVERRUN",     "SCHED_FLAG_KEEP_POLICY",
    "SCHED_FLAG_KEEP_PARAMS",    "SCHED_FLAG_UTIL_CLAMP_MIN",
    "SCHED_FLAG_UTIL_CLAMP_MAX", NULL,
};
const char *const spec_io_classes[] = { "IOPRIO_CLASS_RT", "IOPRIO_CLASS_BE", "IOPRIO_CLASS_IDLE",
                                        NULL };

const char *const spec_seccomp_actions[] = {
    "SCMP_ACT_KILL",        "SCMP_ACT_KILL_PROCESS",
    "SCMP_ACT_KILL_THREAD", "SCMP_ACT_TRAP",
    "SCMP_ACT_ERRNO",       "SCMP_ACT_TRACE",
    "SCMP_ACT_ALLOW",       "SCMP_ACT_LOG",
    "SCMP_ACT_NOTIFY",      NULL,
};
const char *const spec_seccomp_operators[] = {
    "SCMP_CMP_NE", "SCMP_CMP_LT", "SCMP_CMP_LE",        "SCMP_CMP_EQ",
    "SCMP_CMP_GE", "SCMP_CMP_GT", "SCMP_CMP_MASKED_EQ", NULL,
};
const char *const spec_seccomp_archs[] = {
    "SCMP_ARCH_X86",     "SCMP_ARCH_X86_64",   "SCMP_ARCH_X32",         "SCMP_ARCH_ARM",
    "SCMP_ARCH_AARCH64", "SCMP_ARCH_MIPS",     "SCMP_ARCH_MIPS64",      "SCMP_ARCH_MIPS64N32",
    "SCMP_ARCH_MIPSEL",  "SCMP_ARCH_MIPSEL64", "SCMP_ARCH_MIPSEL64N32", "SCMP_ARCH_PPC",
    "SCMP_ARCH_PPC64",   "SCMP_ARCH_PPC64LE",  "SCMP_ARCH_S390",        "SCMP_ARCH_S390X",
    "SCMP_ARCH_PARISC",  "SCMP_ARCH_PARISC64", "SCMP_ARCH_RISCV64",     "SCMP_ARCH_LOONGARCH64",
    "SCMP_ARCH_M68K",    "SCMP_ARCH_SH",       "SCMP_ARCH_SHEB",        NULL,
};
const char *const spec_seccomp_flags[] = {
    "SECCOMP_FILTER_FLAG_TSYNC",
    "SECCOMP_FILTER_FLAG_LOG",
    "SECCOMP_FILTER_FLAG_SPEC_ALLOW",
    "SECCOMP_FILTER_FLAG_WAIT_KILLABLE_RECV",
    NULL,
};

/* The recursive forms are no part of the specification; every engine's other runtimes take them. */
const char *const spec_propagations[] = {
    "shared", "slave",    "private",     "unbindable", "rshared",
    "rslave", "rprivate", "runbindable", NULL,
};

const char *const spec_personality_domains[] = { "LINUX", "LINUX32", NULL };

const char *const spec_memory_modes[] = {
    "MPOL_DEFAULT",   "MPOL_BIND",           "MPOL_INTERLEAVE", "MPOL_WEIGHTED_INTERLEAVE",
    "MPOL_PREFERRED", "MPOL_PREFERRED_MANY", "MPOL_LOCAL",      NULL,
};
const char *const spec_memory_flags[] = { "MPOL_F_NUMA_BALANCING", "MPOL_F_RELATIVE_NODES",
                                          "MPOL_F_STATIC_NODES", NULL };

const char *const spec_image_formats[] = { "raw", "qcow2", "vdi", "vmdk", "vhd", NULL };

/* In the order of enum spec_ns. */
const struct spec_choice spec_namespace_choices[] = {
    { "pid", SPEC_NS_PID },       { "network", SPEC_NS_NETWORK }, { "mount", SPEC_NS_MOUNT },
    { "ipc", SPEC_NS_IPC },       { "uts", SPEC_NS_UTS },         { "user", SPEC_NS_USER },
    { "cgroup", SPEC_NS_CGROUP }, { "time", SPEC_NS_TIME },       { NULL, 0 },
};

const struct spec_choice spec_device_choices[] = {
    { "c", SPEC_DEVICE_CHAR },
    { "b", SPEC_DEVICE_BLOCK },
    { "p", SPEC_DEVICE_FIFO },
    { "u", SPEC_DEVICE_UNBUFFERED },
    { NULL, 0 },
};

static const uint64_t namespace_flags[SPEC_NS_COUNT] = {
    [SPEC_NS_PID] = CLONE_NEWPID,       [SPEC_NS_NETWORK] = CLONE_NEWNET,
    [SPEC_NS_MOUNT] = CLONE_NEWNS,      [SPEC_NS_IPC] = CLONE_NEWIPC,
    [SPEC_NS_UTS] = CLONE_NEWUTS,       [SPEC_NS_USER] = CLONE_NEWUSER,
    [SPEC_NS_CGROUP] = CLONE_NEWCGROUP, [SPEC_NS_TIME] = CLONE_NEWTIME,
};

static int index_of(const char *const *names, size_t n, const char *name)
{
    for (size_t i = 0; i < n; i++) {
        if (names[i] && !strcmp(names[i], name))
            return (int)i;
    }
    return -1;
}

bool spec_name_in(const char *const *names, const char *name)
{
    for (; *names; names++) {
        if (!strcmp(*names, name))
            return true;
    }
    return false;
}

int spec_capability_number(const char *name)
{
    return index_of(capability_names, COUNT_OF(capability_names), name);
}

const char *spec_capability_name(int number)
{
    return number >= 0 && (size_t)number < COUNT_OF(capability_names) ? capability_names[number]
                                                                      : NULL;
}

int spec_rlimit_number(const char *name)
{
    return index_of(spec_rlimit_names, RLIM_NLIMITS, name);
}

const char *spec_rlimit_name(int number)
{
    return number >= 0 && number < RLIM_NLIMITS ? spec_rlimit_names[number] : NULL;
}

const char *spec_ns_name(enum spec_ns type)
{
    return spec_namespace_choices[type].name;
}

uint64_t spec_ns_flag(enum spec_ns type)
{
    return namespace_flags[type];
}

const struct spec_namespace *spec_namespace_of(const struct spec *s, enum spec_ns type)
{
    for (size_t i = 0; i < s->linux.n_namespaces; i++) {
        if (s->linux.namespaces[i].type == type)
            return &s->linux.namespaces[i];
    }
    return NULL;
}

bool spec_has_namespace(const struct spec *s, enum spec_ns type)
{
    return spec_namespace_of(s, type) != NULL;
}

const char *spec_annotation_name(enum spec_annotation key)
{
    static const char *const names[] = {
        [SPEC_ANNOTATION_LANDLOCK] = "org.teca.landlock",
        [SPEC_ANNOTATION_KEEP_GROUPS] = "run.oci.keep_original_groups",
        [SPEC_ANNOTATION_HOOKS_STDOUT] = "run.oci.hooks.stdout",
        [SPEC_ANNOTATION_HOOKS_STDERR] = "run.oci.hooks.stderr",
        [SPEC_ANNOTATION_SECCOMP_STRICT] = "run.oci.seccomp_fail_unknown_syscall",
        [SPEC_ANNOTATION_SYSTEMD_PROPERTY] = "org.systemd.property.",
        [SPEC_ANNOTATION_CRIU_CONFIG] = "org.criu.config",
        [SPEC_ANNOTATION_SYSTEMD_SUBGROUP] = "run.oci.systemd.subgroup",
        [SPEC_ANNOTATION_MOUNT_CONTEXT] = "run.oci.mount_context_type",
        [SPEC_ANNOTATION_ISOLATION] = "org.teca.isolation",
        [SPEC_ANNOTATION_ISOLATION_FALLBACK] = "org.teca.isolation.fallback",
        [SPEC_ANNOTATION_CRI_TYPE] = "io.kubernetes.cri.container-type",
        [SPEC_ANNOTATION_CRIO_TYPE] = "io.kubernetes.cri-o.ContainerType",
        [SPEC_ANNOTATION_NETWORK] = "org.teca.network",
        [SPEC_ANNOTATION_ROOTFS] = "org.teca.rootfs",
    };

    return names[key];
}

const char *spec_annotation(const struct spec *s, enum spec_annotation key)
{
    for (size_t i = 0; i < s->annotations.n; i++) {
        if (!strcmp(s->annotations.v[i].key, spec_annotation_name(key)))
            return s->annotations.v[i].value;
    }
    return NULL;
}

bool spec_keeps_groups(const struct spec *s)
{
    return spec_annotation(s, SPEC_ANNOTATION_KEEP_GROUPS) != NULL;
}

bool spec_knows_every_syscall(const struct spec *s)
{
    const char *value = spec_annotation(s, SPEC_ANNOTATION_SECCOMP_STRICT);

    return value && strcmp(value, "0") != 0;
}

const char *spec_id_map_text(struct arena *a, const struct spec_id_maps *maps)
{
    enum { LINE_SIZE = 34 };
    size_t size = maps->n * LINE_SIZE + 1, at = 0;
    char *text = arena_alloc(a, size);

    text[0] = '\0';
    for (size_t i = 0; i < maps->n; i++)
        at += base_format(text + at, size - at, "%u %u %u\n", maps->v[i].container_id,
                          maps->v[i].host_id, maps->v[i].size);
    return text;
}
