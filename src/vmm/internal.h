/* SPDX-License-Identifier: Apache-2.0 */
#ifndef TECA_VMM_INTERNAL_H
#define TECA_VMM_INTERNAL_H
/* struct vmm, for the files of this folder alone: the inner rooms do not know the machine. */
#include "vmm/alloc/alloc.h"
#include "vmm/arch/loader.h"
#include "vmm/dispatch/dispatch.h"
#include "vmm/interp/interp.h"
#include "vmm/interp/virtio.h"
#include "vmm/vmm.h"

/* A kernel on its way into memory. */
struct vmm_loading {
    bool begun;
    struct loader_kernel kernel;
    struct loader_range initrd; /* size 0: none */
    struct copy_job job;
};

struct vmm {
    struct vmm_config config;
    struct vmm_layout layout;
    int kvm_fd, fd;
    struct vmm_memory memory;
    struct dispatch dispatch;
    struct vmm_vcpu vcpus[VMM_CPUS_MAX];
    struct serial serial;
    struct power power;
    struct ioapic ioapic;
    struct console console;
    struct rng rng;
    struct fs fs;
    struct balloon balloon;
    struct pmem pmem;
    struct blk disks[VMM_DISKS_MAX];
    struct net nets[VMM_NETS_MAX];
    struct vmm_loading loading;
};

/* As soon as there is memory; again after a failure. */
int vmm_begin_loading(struct vmm *m, const struct vmm_linux *l, struct err *e);

#endif
