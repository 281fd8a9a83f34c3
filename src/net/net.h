/* SPDX-License-Identifier: Apache-2.0 */
#ifndef TECA_NET_H
#define TECA_NET_H
/*
 * net: the loopback device of a new network namespace is brought up; devices of the host are moved
 * into the container's, by rtnetlink through libmnl.
 */
#include "base/base.h"
#include "plan/plan.h"
#include "spec/spec.h"

int net_compile_loopback(struct plan *p, const struct spec *s, struct err *e);
/* Runtime lane: that of the network namespace of a process which is not started by the plan. */
void net_compile_loopback_of(struct plan *p, int pid_slot);
/*
 * Runtime lane, when init is in its network namespace: linux.netDevices. own_namespace: that
 * namespace is given by path and is the runtime's own.
 */
int net_compile_devices(struct plan *p, const struct spec *s, bool own_namespace, int pid_slot,
                        struct err *e);
int net_device_step(const struct step *st, struct slots *slots, struct err *e);
/* Child-safe. */
int net_step(const struct step *st, struct slots *slots, struct err *e);

#endif
