/* SPDX-License-Identifier: Apache-2.0 */
/* The monitor is for x86-64; on other processors it says so. */
#include "vmm/arch/arch.h"

#include <errno.h>

#ifndef __x86_64__

static int refuse(struct err *e)
{
    return err_set(e, ENOTSUP, "teca's machine monitor is for x86-64");
}

int arch_prepare_vm(int vm_fd, struct err *e)
{
    (void)vm_fd;
    return refuse(e);
}

int arch_prepare_vcpu(const struct arch_vcpu *v, struct err *e)
{
    (void)v;
    return refuse(e);
}

int arch_start_real(int vcpu_fd, uint32_t base, struct err *e)
{
    (void)vcpu_fd;
    (void)base;
    return refuse(e);
}

int arch_start_long(int vcpu_fd, const struct vmm_memory *mem, uint64_t entry, uint64_t rsi,
                    struct err *e)
{
    (void)vcpu_fd;
    (void)mem;
    (void)entry;
    (void)rsi;
    return refuse(e);
}

#endif
