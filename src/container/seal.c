/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Self-protection. A process inside a container can reach the runtime's binary through
 * /proc/PID/exe (of init before its exec, or of an exec'd "/proc/self/exe") and write to it
 * (CVE-2019-5736). So whoever enters a container runs from a file that cannot be written:
 * a detached, read-only clone of the mount that holds the binary. It is in no mount namespace, so
 * nobody can remount it (mount_setattr(2) refuses with EINVAL).
 */
#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <sys/mman.h>
#include <sys/sendfile.h>
#include <sys/stat.h>
#include <sys/statvfs.h>
#include <sys/vfs.h>
#include <unistd.h>

#include "container/internal.h"

#define SELF "/proc/self/exe"

/*
 * Without CAP_SYS_ADMIN: when the file is the caller's own, its container (same uid on the host)
 * could write it. Then a sealed copy in memory, memfd_create(2), runs instead.
 */
static int seal_copy(char *const argv[], char *const envp[], struct err *e)
{
    AUTO_FD int self = openat(AT_FDCWD, SELF, O_RDONLY | O_CLOEXEC);
    AUTO_FD int copy = memfd_create("teca", MFD_CLOEXEC | MFD_ALLOW_SEALING);
    struct stat st;

    if (self < 0 || copy < 0 || fstat(self, &st) < 0)
        return err_set(e, errno, "cannot copy the runtime's binary into memory");
    while (st.st_size > 0) {
        ssize_t n = sendfile(copy, self, NULL, (size_t)st.st_size);

        if (n <= 0)
            return err_set(e, n < 0 ? errno : EIO, "cannot copy the runtime's binary into memory");
        st.st_size -= n;
    }
    if (fcntl(copy, F_ADD_SEALS, F_SEAL_SEAL | F_SEAL_SHRINK | F_SEAL_GROW | F_SEAL_WRITE) < 0)
        return err_set(e, errno, "cannot seal the copy of the runtime's binary");
    sys_execveat(copy, "", argv, envp, AT_EMPTY_PATH);
    return err_set(e, errno, "cannot execute the sealed copy of the runtime's binary");
}

static bool is_sealed_copy(void)
{
    AUTO_FD int self = openat(AT_FDCWD, SELF, O_RDONLY | O_CLOEXEC);
    int seals = self < 0 ? -1 : fcntl(self, F_GET_SEALS); /* an ordinary file has none: -1 */

    return seals >= 0 && seals & F_SEAL_WRITE;
}

int container_seal(char *const argv[], char *const envp[], struct err *e)
{
    struct mount_attr read_only = { .attr_set = MOUNT_ATTR_RDONLY };
    struct statfs fs;
    AUTO_FD int tree = -1;

    if (seal_is_done)
        return 0;
    /* Read-only already: the clone of the first pass, or a read-only /usr. */
    if (statfs(SELF, &fs) < 0) /* not "no such file": engines would look for the program */
        return errno == ENOENT
                   ? err_set(e, 0, "cannot find the runtime's own binary: /proc is not mounted")
                   : err_set(e, errno, "cannot look at the runtime's own binary");
    if (fs.f_flags & ST_RDONLY)
        return 0;
    tree = sys_open_tree(AT_FDCWD, SELF, OPEN_TREE_CLONE | OPEN_TREE_CLOEXEC);
    if (tree < 0 && errno == EPERM)
        return access(SELF, W_OK) < 0 || is_sealed_copy() ? 0 : seal_copy(argv, envp, e);
    if (tree < 0)
        return err_set(e, errno, "cannot clone the mount of the runtime's own binary");
    if (sys_mount_setattr(tree, "", AT_EMPTY_PATH, &read_only) < 0)
        return err_set(e, errno, "cannot make the clone of the runtime's binary read-only");
    sys_execveat(tree, "", argv, envp, AT_EMPTY_PATH);
    return err_set(e, errno, "cannot execute the read-only clone of the runtime's binary");
}
