/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Names of flags, for people: mount options as mount(8) and runtime-spec config.md "Linux mount
 * options" spell them, the others as the kernel's headers do.
 */
#include "plan/internal.h"

#include <linux/capability.h>
#include <sys/resource.h>

/* A name for several bits stands before the names of each of them. */
static const struct flag_name mount_names[] = {
    { MS_RDONLY, "ro" },
    { MS_NOSUID, "nosuid" },
    { MS_NODEV, "nodev" },
    { MS_NOEXEC, "noexec" },
    { MS_SYNCHRONOUS, "sync" },
    { MS_REMOUNT, "remount" },
    { MS_MANDLOCK, "mand" },
    { MS_DIRSYNC, "dirsync" },
    { MS_NOSYMFOLLOW, "nosymfollow" },
    { MS_NOATIME, "noatime" },
    { MS_NODIRATIME, "nodiratime" },
    { MS_RELATIME, "relatime" },
    { MS_STRICTATIME, "strictatime" },
    { MS_LAZYTIME, "lazytime" },
    { MS_I_VERSION, "iversion" },
    { MS_SILENT, "silent" },
    { MS_POSIXACL, "acl" },
    { MS_BIND | MS_REC, "rbind" },
    { MS_BIND, "bind" },
    { MS_MOVE, "move" },
    { MS_UNBINDABLE | MS_REC, "runbindable" },
    { MS_UNBINDABLE, "unbindable" },
    { MS_PRIVATE | MS_REC, "rprivate" },
    { MS_PRIVATE, "private" },
    { MS_SLAVE | MS_REC, "rslave" },
    { MS_SLAVE, "slave" },
    { MS_SHARED | MS_REC, "rshared" },
    { MS_SHARED, "shared" },
    { MS_REC, "rec" },
    { 0, NULL },
};

static const struct flag_name attr_names[] = {
    { MOUNT_ATTR_RDONLY, "ro" },
    { MOUNT_ATTR_NOSUID, "nosuid" },
    { MOUNT_ATTR_NODEV, "nodev" },
    { MOUNT_ATTR_NOEXEC, "noexec" },
    { MOUNT_ATTR__ATIME, "atime" }, /* the mask: what mount_setattr(2) clears to set another */
    { MOUNT_ATTR_NOATIME, "noatime" },
    { MOUNT_ATTR_STRICTATIME, "strictatime" },
    { MOUNT_ATTR_NODIRATIME, "nodiratime" },
    { MOUNT_ATTR_IDMAP, "idmap" },
    { MOUNT_ATTR_NOSYMFOLLOW, "nosymfollow" },
    { 0, NULL },
};

static const struct flag_name namespace_names[] = {
    { CLONE_NEWUSER, "CLONE_NEWUSER" },
    { CLONE_NEWNS, "CLONE_NEWNS" },
    { CLONE_NEWPID, "CLONE_NEWPID" },
    { CLONE_NEWNET, "CLONE_NEWNET" },
    { CLONE_NEWIPC, "CLONE_NEWIPC" },
    { CLONE_NEWUTS, "CLONE_NEWUTS" },
    { CLONE_NEWTIME, "CLONE_NEWTIME" },
    { CLONE_NEWCGROUP, "CLONE_NEWCGROUP" },
    { 0, NULL },
};

#define CAPABILITY(name)           \
    {                              \
        UINT64_C(1) << name, #name \
    }
static const struct flag_name capability_names[] = {
    CAPABILITY(CAP_CHOWN),
    CAPABILITY(CAP_DAC_OVERRIDE),
    CAPABILITY(CAP_DAC_READ_SEARCH),
    CAPABILITY(CAP_FOWNER),
    CAPABILITY(CAP_FSETID),
    CAPABILITY(CAP_KILL),
    CAPABILITY(CAP_SETGID),
    CAPABILITY(CAP_SETUID),
    CAPABILITY(CAP_SETPCAP),
    CAPABILITY(CAP_LINUX_IMMUTABLE),
    CAPABILITY(CAP_NET_BIND_SERVICE),
    CAPABILITY(CAP_NET_BROADCAST),
    CAPABILITY(CAP_NET_ADMIN),
    CAPABILITY(CAP_NET_RAW),
    CAPABILITY(CAP_IPC_LOCK),
    CAPABILITY(CAP_IPC_OWNER),
    CAPABILITY(CAP_SYS_MODULE),
    CAPABILITY(CAP_SYS_RAWIO),
    CAPABILITY(CAP_SYS_CHROOT),
    CAPABILITY(CAP_SYS_PTRACE),
    CAPABILITY(CAP_SYS_PACCT),
    CAPABILITY(CAP_SYS_ADMIN),
    CAPABILITY(CAP_SYS_BOOT),
    CAPABILITY(CAP_SYS_NICE),
    CAPABILITY(CAP_SYS_RESOURCE),
    CAPABILITY(CAP_SYS_TIME),
    CAPABILITY(CAP_SYS_TTY_CONFIG),
    CAPABILITY(CAP_MKNOD),
    CAPABILITY(CAP_LEASE),
    CAPABILITY(CAP_AUDIT_WRITE),
    CAPABILITY(CAP_AUDIT_CONTROL),
    CAPABILITY(CAP_SETFCAP),
    CAPABILITY(CAP_MAC_OVERRIDE),
    CAPABILITY(CAP_MAC_ADMIN),
    CAPABILITY(CAP_SYSLOG),
    CAPABILITY(CAP_WAKE_ALARM),
    CAPABILITY(CAP_BLOCK_SUSPEND),
    CAPABILITY(CAP_AUDIT_READ),
    CAPABILITY(CAP_PERFMON),
    CAPABILITY(CAP_BPF),
    CAPABILITY(CAP_CHECKPOINT_RESTORE),
    { 0, NULL },
};

static const struct flag_name no_names[] = { { 0, NULL } };

const struct flag_name *plan_flag_names(enum field_type type)
{
    switch (type) {
    case FIELD_MNT:
        return mount_names;
    case FIELD_ATTR:
        return attr_names;
    case FIELD_NS:
        return namespace_names;
    case FIELD_CAPS:
        return capability_names;
    case FIELD_STR:
    case FIELD_STRV:
    case FIELD_INT:
    case FIELD_UINT:
    case FIELD_OCT:
    case FIELD_BOOL:
    case FIELD_SLOT:
    case FIELD_DATA:
        break;
    }
    return no_names;
}

const char *plan_next_flag(const struct flag_name *table, uint64_t *left,
                           char buf[FLAG_NUMBER_SIZE])
{
    if (*left == 0)
        return NULL;
    for (; table->name != NULL; table++) {
        if ((*left & table->bits) == table->bits) {
            *left &= ~table->bits;
            return table->name;
        }
    }
    base_format(buf, FLAG_NUMBER_SIZE, "0x%llx", (unsigned long long)*left);
    *left = 0;
    return buf;
}

const char *plan_rlimit_name(int64_t resource)
{
#define LIMIT(name) [name] = #name
    static const char *const names[RLIM_NLIMITS] = {
        LIMIT(RLIMIT_CPU),      LIMIT(RLIMIT_FSIZE), LIMIT(RLIMIT_DATA),   LIMIT(RLIMIT_STACK),
        LIMIT(RLIMIT_CORE),     LIMIT(RLIMIT_RSS),   LIMIT(RLIMIT_NPROC),  LIMIT(RLIMIT_NOFILE),
        LIMIT(RLIMIT_MEMLOCK),  LIMIT(RLIMIT_AS),    LIMIT(RLIMIT_LOCKS),  LIMIT(RLIMIT_SIGPENDING),
        LIMIT(RLIMIT_MSGQUEUE), LIMIT(RLIMIT_NICE),  LIMIT(RLIMIT_RTPRIO), LIMIT(RLIMIT_RTTIME),
    };
#undef LIMIT

    return resource >= 0 && resource < RLIM_NLIMITS ? names[resource] : NULL;
}
