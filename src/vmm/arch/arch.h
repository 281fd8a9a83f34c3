/* SPDX-License-Identifier: Apache-2.0 */
#ifndef TECA_VMM_ARCH_H
#define TECA_VMM_ARCH_H
/*
 * arch: the state of the processor before its first instruction. x86.c is all there is; elsewhere
 * each function refuses (none.c). Order: arch_prepare_vm, for each cpu arch_prepare_vcpu, for cpu 0
 * one of arch_start_....
 */
#include "base/base.h"
#include "vmm/alloc/alloc.h"

struct arch_vcpu {
    int kvm_fd, fd;
    unsigned index, count; /* of all cpus */
};

int arch_prepare_vm(int vm_fd, struct err *e);
int arch_prepare_vcpu(const struct arch_vcpu *v, struct err *e);
int arch_start_real(int vcpu_fd, uint32_t base, struct err *e);
int arch_start_long(int vcpu_fd, const struct vmm_memory *mem, uint64_t entry, uint64_t rsi,
                    struct err *e);

#endif
