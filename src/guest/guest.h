/* SPDX-License-Identifier: Apache-2.0 */
#ifndef TECA_GUEST_H
#define TECA_GUEST_H
/*
 * guest: this program as the first process of a machine. It makes a Linux system around itself, opens the port
 * to the monitor, and carries out what that asks: it runs the container's verbs, by executing itself again with
 * a command line, carries the bytes of the process, and tells how it ended. The host's side decides everything; nothing here
 * knows what is in a config.json.
 */
#include "base/base.h"

/* Does argv[0] ask for the agent? No system call. */
bool guest_is_agent(const char *argv0);
/* Ends the machine, not the call. Returns only to a caller that is not PID 1: -EPERM. */
int guest_agent(struct err *e);

#endif
