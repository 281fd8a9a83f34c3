/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The session keyring, session-keyring(7): the caller's would be inherited, and keys of the host with
 * it. Each container, and each process of exec, gets a new one. It has no name of its own: a name can
 * be guessed, and joining by name takes whatever keyring somebody has made under it before
 * (keyctl_join_session_keyring(3)); so two containers of one ID under two roots never share keys.
 */
#include <errno.h>
#include <linux/keyctl.h>
#include <sys/syscall.h>
#include <unistd.h>

#include "security/internal.h"

void sec_compile_keyring(struct plan *p)
{
    plan_add(p, OP_KEYRING, LANE_INIT, "");
}

/*
 * ENOSYS: a kernel without keys. EPERM: a filter of teca's own caller forbids keyctl(2), as engines'
 * default profiles do in a container in a container: then it does so for the program too. Everything
 * else would leave the program the caller's keys.
 */
int step_keyring(const struct step *st, struct slots *slots, struct err *e)
{
    int error;

    (void)st, (void)slots;
    if (syscall(SYS_keyctl, KEYCTL_JOIN_SESSION_KEYRING, NULL) >= 0 || errno == ENOSYS ||
        errno == EPERM)
        return 0;
    error = errno;
    err_set(e, error, "cannot make a session keyring for the container");
    if (error == EDQUOT)
        err_hint(e, "the user has as many keys as it may, see keyrings(7) about "
                    "/proc/sys/kernel/keys; or say --no-new-keyring");
    return -error;
}
