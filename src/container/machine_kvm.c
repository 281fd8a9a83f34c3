/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Does this host's KVM run kernels? vmm_probe() finds it out by running a guest: 1.4 ms of processor time, 4 to 7 ms on a
 * busy host, for a memory slot waits for a grace period. It stays so while the host is up and nobody loads another KVM, so a start looks
 * at what an earlier one has found.
 */
#include <errno.h>
#include <fcntl.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "container/machine.h"

/* "KEY\n" and the reason, which is empty where kernels run. Gone after a boot, as all of /run. */
static const char kept[] = "/run/teca-kvm";
enum { ID_SIZE = 37, KEY_SIZE = 160, TEXT_SIZE = KEY_SIZE + ERR_TEXT_SIZE };

static struct {
    bool known, fresh; /* fresh: found by this process */
    char key[KEY_SIZE];
    struct vmm_probe probe;
} found;

static ssize_t read_small(const char *path, char *to, size_t size)
{
    AUTO_FD int fd = openat(AT_FDCWD, path, O_RDONLY | O_NOFOLLOW | O_CLOEXEC);
    ssize_t n = fd < 0 ? -1 : read(fd, to, size - 1);

    to[n < 0 ? 0 : n] = 0;
    return n;
}

/*
 * The boot, for a boot may bring another /run or none; and the device's node, which is a new one when a module of KVM is
 * loaded again (devtmpfs). Who cannot open it has no answer: the probe tells why.
 */
static bool make_key(char key[KEY_SIZE])
{
    AUTO_FD int kvm = openat(AT_FDCWD, "/dev/kvm", O_RDWR | O_CLOEXEC);
    char boot[ID_SIZE];
    struct stat st;

    if (kvm < 0 || fstat(kvm, &st) < 0 ||
        read_small("/proc/sys/kernel/random/boot_id", boot, sizeof boot) != ID_SIZE - 1)
        return false;
    base_format(key, KEY_SIZE, "1 %s %lx %lu %lx %ld.%ld\n", boot, (unsigned long)st.st_dev,
                (unsigned long)st.st_ino, (unsigned long)st.st_rdev, (long)st.st_ctim.tv_sec,
                st.st_ctim.tv_nsec);
    return true;
}

/* Only root writes there, but a file of another's, moved there by whatever, would choose for root. */
static bool read_kept(const char *key, struct vmm_probe *out)
{
    AUTO_FD int fd = openat(AT_FDCWD, kept, O_RDONLY | O_NOFOLLOW | O_NONBLOCK | O_CLOEXEC);
    char text[TEXT_SIZE];
    struct stat st;
    ssize_t n;

    if (fd < 0 || fstat(fd, &st) < 0 || !S_ISREG(st.st_mode) || st.st_uid != 0 ||
        st.st_mode & (S_IWGRP | S_IWOTH))
        return false;
    n = read(fd, text, sizeof text - 1);
    text[n < 0 ? 0 : n] = 0;
    if (!str_starts(text, key) || strlen(text) != (size_t)n)
        return false;
    base_format(out->reason, sizeof out->reason, "%s", text + strlen(key));
    out->runs_kernels = out->reason[0] == 0;
    return true;
}

const struct vmm_probe *machine_probe(void)
{
    bool has_key;

    if (found.known)
        return &found.probe;
    has_key = geteuid() == 0 && make_key(found.key);
    found.known = true;
    if (has_key && read_kept(found.key, &found.probe))
        return &found.probe;
    vmm_probe(&found.probe);
    /* What comes of a guest that ran; a failure to make it may be of this moment only. */
    found.fresh = has_key && (found.probe.runs_kernels || found.probe.ran);
    return &found.probe;
}

void machine_keep_probe(void)
{
    char text[TEXT_SIZE];
    size_t len;

    if (!found.fresh)
        return;
    len = base_format(text, sizeof text, "%s%s", found.key, found.probe.reason);
    if (len < sizeof text)
        (void)file_replace(kept, text, len, 0600, NULL); /* without it the next start asks again */
    found.fresh = false;
}
