/* SPDX-License-Identifier: Apache-2.0 */
#ifndef TECA_NET_H
#define TECA_NET_H
/*
 * net: rtnetlink through libmnl. Today: the loopback device of a new network namespace is brought
 * up; veth, bridges, addresses and moved devices will stand here.
 * The message is built while compiling (libmnl's builders are pure), the step only sends it.
 */
#include "base/base.h"
#include "plan/plan.h"
#include "spec/spec.h"

int net_compile_loopback(struct plan *p, const struct spec *s, struct err *e);
/* Child-safe. */
int net_step(const struct step *st, struct slots *slots, struct err *e);

#endif
