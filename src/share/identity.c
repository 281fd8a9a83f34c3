/* SPDX-License-Identifier: Apache-2.0 */
/*
 * As whom a worker acts. The client's kernel has decided that the caller may; it knows his supplementary
 * groups and namespaces, and a request does not tell them. So permission is not asked again with half the
 * facts: a worker keeps its rights, and takes the caller's ids only where they become the owner of
 * something new. setfsuid(2) and capset(2) by thread; credentials(7).
 */
#include "share/internal.h"

#include <errno.h>
#include <fcntl.h>
#include <linux/securebits.h>
#include <sched.h>
#include <signal.h>
#include <string.h>
#include <sys/fsuid.h>
#include <sys/prctl.h>
#include <sys/syscall.h>
#include <unistd.h>

static long caps_call(int number, struct __user_cap_data_struct *data)
{
    struct __user_cap_header_struct header = { .version = _LINUX_CAPABILITY_VERSION_3 };

    return syscall(number, &header, data);
}

/*
 * Without this bit a file-system uid other than 0 costs CAP_DAC_OVERRIDE, and with it the right to make
 * files where the caller may by a group that we do not know of. It takes CAP_SETPCAP: who has none (an
 * ordinary user's server, or one whose jail has set the bit) goes on as he is.
 */
static void keep_capabilities(void)
{
    int bits = prctl(PR_GET_SECUREBITS, 0, 0, 0, 0);

    if (bits >= 0 && !(bits & SECBIT_NO_SETUID_FIXUP))
        prctl(PR_SET_SECUREBITS, bits | SECBIT_NO_SETUID_FIXUP, 0, 0, 0);
}

int share_enter_thread(struct share_worker *w, struct err *e)
{
    sigset_t too_large;

    if (unshare(CLONE_FS) < 0)
        return err_set(e, errno, "cannot give a worker a umask of its own: unshare(CLONE_FS)");
    if (fchdir(w->s->proc_fd) < 0)
        return err_set(e, errno, "cannot enter /proc/self/fd");
    keep_capabilities();
    /* To be in a file's group would spare it its setgid bit. Who may not change them has not many. */
    syscall(SYS_setgroups, 0, NULL);
    if (caps_call(SYS_capget, w->caps) < 0)
        return err_set(e, errno, "cannot read the capabilities: capget");
    w->mask = 0;
    umask(w->mask);
    w->uid = (uid_t)setfsuid((uid_t)-1); /* an id that is none changes nothing */
    w->gid = (gid_t)setfsgid((gid_t)-1);
    /* A write behind RLIMIT_FSIZE is EFBIG then, not the end of the server (setrlimit(2)). */
    sigemptyset(&too_large);
    sigaddset(&too_large, SIGXFSZ);
    pthread_sigmask(SIG_BLOCK, &too_large, NULL);
    return 0;
}

int share_become(struct share_worker *w, uid_t uid, gid_t gid)
{
    if (gid != w->gid) {
        setfsgid(gid);
        if ((gid_t)setfsgid((gid_t)-1) != gid)
            return -EPERM;
    }
    if (uid != w->uid) {
        setfsuid(uid);
        if ((uid_t)setfsuid((uid_t)-1) != uid) {
            share_return(w, uid, gid);
            return -EPERM;
        }
    }
    return 0;
}

void share_return(struct share_worker *w, uid_t uid, gid_t gid)
{
    if (uid != w->uid)
        setfsuid(w->uid);
    if (gid != w->gid)
        setfsgid(w->gid);
}

static void drop_fsetid(struct share_worker *w, gid_t gid)
{
    struct __user_cap_data_struct fewer[_LINUX_CAPABILITY_U32S_3];

    setfsgid(gid);
    memcpy(fewer, w->caps, sizeof(fewer));
    fewer[CAP_TO_INDEX(CAP_FSETID)].effective &= ~CAP_TO_MASK(CAP_FSETID);
    caps_call(SYS_capset, fewer);
}

/*
 * FUSE_HANDLE_KILLPRIV_V2 (linux/fuse.h): setgid goes only with the group's right to execute. In the file's
 * group the kernel leaves it otherwise.
 */
bool share_begin_killing(struct share_worker *w, int fd)
{
    struct statx stat;

    if (share_stat(fd, "", &stat) < 0 ||
        !(stat.stx_mode & S_ISUID || (stat.stx_mode & (S_ISGID | S_IXGRP)) == (S_ISGID | S_IXGRP)))
        return false;
    drop_fsetid(w, stat.stx_gid);
    return true;
}

void share_begin_as_stranger(struct share_worker *w, gid_t gid)
{
    drop_fsetid(w, gid);
}

void share_end_killing(struct share_worker *w)
{
    setfsgid(w->gid);
    caps_call(SYS_capset, w->caps);
}
