/* SPDX-License-Identifier: Apache-2.0 */
#ifndef TECA_CONTAINER_MACHINE_JAIL_H
#define TECA_CONTAINER_MACHINE_JAIL_H
/*
 * The jail of a machine's processes. Order: jail_fork; in the child jail_keep_fds, jail_unshare, a root
 * (jail_mount_empty, jail_mount_root), jail_change_root, jail_become_..., and jail_filter in each thread when it has all
 * that it needs, or for a program that is not ours jail_execute.
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
int jail_become_nobody(struct err *e);         /* without a capability */
int jail_become_server(struct err *e);         /* root, as far as owners and modes of files go */
int jail_become_foreign_server(struct err *e); /* the same of a program that changes its root */
/* Signals are those of a new process, and the first n fds of jail_keep_fds stay open. Comes back only if it fails. */
int jail_execute(const char *program, char *const argv[], int n, struct err *e);

/* machine_root.c: paths are absolute, and of what is attached not there yet. */

/*
 * A root at `at` with the program, the system's libraries and, of its data, these names below its prefix: read-only, without
 * set-user-ID and devices. Gives an fd of it, for what is to be there besides; jail_seal_root makes it read-only itself.
 */
int jail_mount_root(const char *at, const char *program, const char *const *data, struct err *e);
/* A mount of what path is, writable if that is; the fd keeps it until it is attached. */
int jail_open_tree(const char *path, bool with_mounts_below, struct err *e);
int jail_attach(int root, int tree, const char *path, struct err *e);
/* A procfs of its own pid namespace without anything but processes (subset=pid, Linux 5.8). */
int jail_mount_processes(int root, const char *name, struct err *e);
int jail_seal_root(int root, struct err *e);

enum jail_list { JAIL_CPU, JAIL_IO, JAIL_RUNNER, JAIL_RELAY, JAIL_SERVER };
/* Of the calling thread, and those that it makes then. Anything else ends the process. < 0: errno. */
int jail_filter(enum jail_list which);

#endif
