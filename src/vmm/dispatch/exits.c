/* SPDX-License-Identifier: Apache-2.0 */
/*
 * From an exit's reason to its handler (Documentation/virt/kvm/api.rst, 5 "The kvm_run structure").
 * What struct kvm_run says is the kernel's word; the values that are accessed are the guest's.
 */
#include "vmm/alloc/alloc.h"
#include "vmm/dispatch/dispatch.h"

#include <errno.h>

typedef void exit_handler(struct vmm_vcpu *v);

/* count > 1: a string instruction, one element after the other on the same port. */
static void handle_io(struct vmm_vcpu *v)
{
    const struct kvm_run *run = v->run;
    struct dispatch *d = v->dispatch;
    uint8_t *data = (uint8_t *)v->run + run->io.data_offset;
    uint64_t total = (uint64_t)run->io.size * run->io.count;

    if (run->io.data_offset > v->run_size || total > v->run_size - run->io.data_offset) {
        dispatch_end(d, VMM_END_FAULT, v->index, "port data lie outside of kvm_run");
        return;
    }
    pthread_mutex_lock(&d->devices);
    for (uint32_t i = 0; i < run->io.count; i++, data += run->io.size) {
        bool known = run->io.direction == KVM_EXIT_IO_IN
                         ? vmm_bus_read(&d->pio, run->io.port, data, run->io.size)
                         : vmm_bus_write(&d->pio, run->io.port, data, run->io.size);

        if (!known)
            stats_count(&v->stats.unknown_ports);
    }
    pthread_mutex_unlock(&d->devices);
}

/*
 * An access of memory that KVM could not carry out, where it emulates the instruction (PVM) and does not fail: what was still to
 * come when it was made has come since; else it is lost, which a guest does not see of what it writes.
 */
static void reach_memory(struct vmm_vcpu *v)
{
    struct kvm_run *run = v->run;
    struct dispatch *d = v->dispatch;
    uint64_t gpa = run->mmio.phys_addr;

    if (v->is_early && run->mmio.is_write)
        (void)vmm_memory_write(d->memory, gpa, run->mmio.data, run->mmio.len);
    else if (v->is_early)
        (void)vmm_memory_read(d->memory, gpa, run->mmio.data, run->mmio.len);
    else if (!run->mmio.is_write && vmm_memory_readable_at(d->memory, gpa, run->mmio.len))
        dispatch_end(d, VMM_END_FAULT, v->index, VMM_LOST_FILE);
}

static void handle_mmio(struct vmm_vcpu *v)
{
    struct kvm_run *run = v->run;
    struct dispatch *d = v->dispatch;
    bool known;

    if (run->mmio.len > sizeof(run->mmio.data)) {
        dispatch_end(d, VMM_END_FAULT, v->index, "an access of %u bytes", run->mmio.len);
        return;
    }
    pthread_mutex_lock(&d->devices);
    known = run->mmio.is_write
                ? vmm_bus_write(&d->mmio, run->mmio.phys_addr, run->mmio.data, run->mmio.len)
                : vmm_bus_read(&d->mmio, run->mmio.phys_addr, run->mmio.data, run->mmio.len);
    pthread_mutex_unlock(&d->devices);
    if (!known) {
        stats_count(&v->stats.unknown_mmio);
        reach_memory(v);
    }
}

/* Only without LAPICs of KVM's, which otherwise waits itself: nothing will ever wake this cpu. */
static void handle_hlt(struct vmm_vcpu *v)
{
    dispatch_end(v->dispatch, VMM_END_HALT, v->index, "cpu %u halted", v->index);
}

static void handle_shutdown(struct vmm_vcpu *v)
{
    dispatch_end(v->dispatch, VMM_END_TRIPLE_FAULT, v->index, "cpu %u met a triple fault",
                 v->index);
}

static void handle_system_event(struct vmm_vcpu *v)
{
    switch (v->run->system_event.type) {
    case KVM_SYSTEM_EVENT_SHUTDOWN:
        dispatch_end(v->dispatch, VMM_END_POWER_OFF, v->index, "power off");
        return;
    case KVM_SYSTEM_EVENT_RESET:
        dispatch_end(v->dispatch, VMM_END_RESET, v->index, "reset");
        return;
    default:
        dispatch_end(v->dispatch, VMM_END_FAULT, v->index, "system event %u",
                     v->run->system_event.type);
    }
}

static void handle_fail_entry(struct vmm_vcpu *v)
{
    dispatch_end(v->dispatch, VMM_END_FAULT, v->index,
                 "cpu %u cannot be entered: hardware reason 0x%llx", v->index,
                 (unsigned long long)v->run->fail_entry.hardware_entry_failure_reason);
}

/* With the bytes of the instruction that KVM's emulator does not know, where KVM tells them. */
static void handle_internal_error(struct vmm_vcpu *v)
{
    const struct kvm_run *run = v->run;
    char bytes[3 * sizeof(run->emulation_failure.insn_bytes) + 1] = "";
    size_t used = 0;

    if (run->internal.suberror != KVM_INTERNAL_ERROR_EMULATION) {
        dispatch_end(v->dispatch, VMM_END_FAULT, v->index, "KVM internal error %u",
                     run->internal.suberror);
        return;
    }
    if (run->emulation_failure.ndata > 1 &&
        run->emulation_failure.flags & KVM_INTERNAL_ERROR_EMULATION_FLAG_INSTRUCTION_BYTES) {
        size_t n = run->emulation_failure.insn_size;

        for (size_t i = 0; i < n && i < sizeof(run->emulation_failure.insn_bytes); i++)
            used += base_format(bytes + used, sizeof(bytes) - used, " %02x",
                                run->emulation_failure.insn_bytes[i]);
    }
    dispatch_end(v->dispatch, VMM_END_FAULT, v->index, "KVM cannot emulate the instruction%s",
                 used ? bytes : " at hand");
}

/* An EOI of a level-triggered line: the IOAPIC here has only edges, so there is nothing to lower. */
static void handle_nothing(struct vmm_vcpu *v)
{
    (void)v;
}

static exit_handler *const handlers[] = {
    [KVM_EXIT_IO] = handle_io,
    [KVM_EXIT_MMIO] = handle_mmio,
    [KVM_EXIT_HLT] = handle_hlt,
    [KVM_EXIT_SHUTDOWN] = handle_shutdown,
    [KVM_EXIT_SYSTEM_EVENT] = handle_system_event,
    [KVM_EXIT_FAIL_ENTRY] = handle_fail_entry,
    [KVM_EXIT_INTERNAL_ERROR] = handle_internal_error,
    [KVM_EXIT_IOAPIC_EOI] = handle_nothing,
    [KVM_EXIT_INTR] = handle_nothing,
};

void exits_handle(struct vmm_vcpu *v)
{
    uint32_t reason = v->run->exit_reason;

    stats_exit(&v->stats, reason);
    if (reason < COUNT_OF(handlers) && handlers[reason])
        handlers[reason](v);
    else
        dispatch_end(v->dispatch, VMM_END_FAULT, v->index, "KVM exit %u (%s) has no handler",
                     reason, stats_exit_name(reason));
}
