/* SPDX-License-Identifier: Apache-2.0 */
#ifndef TECA_CONTAINER_MACHINE_JAIL_H
#define TECA_CONTAINER_MACHINE_JAIL_H
/*
 * The jail of a machine's processes. Order: jail_fork; in the child jail_keep_fds, jail_unshare, a root
 * (jail_mount_empty), jail_change_root, jail_become_..., and jail_filter in each thread when it has all that it needs.
 */
#include <sys/types.h>

#include "base/base.h"

pid_t jail_fork(struct err *e); /* as fork(2) */

/* Closes all but these, which get the numbers from JAIL_FIRST_FD on; 0, 1 and 2 are /dev/null. */
enum { JAIL_FIRST_FD = 3 };
int jail_keep_fds(int *const fds[], int n, struct err *e);
int jail_unshare(struct err *e); /* mounts, network, IPC, UTS */
int jail_mount_empty(const char *at, struct err *e);
int jail_change_root(const char *to, struct err *e);
int jail_become_nobody(struct err *e); /* without a capability */
int jail_become_server(struct err *e); /* root, as far as owners and modes of files go */

enum jail_list { JAIL_CPU, JAIL_IO, JAIL_RUNNER, JAIL_RELAY, JAIL_SERVER };
/* Of the calling thread, and those that it makes then. Anything else ends the process. < 0: errno. */
int jail_filter(enum jail_list which);

#endif
