/* SPDX-License-Identifier: Apache-2.0 */
/* How often the guest left, and why. */
#include "vmm/dispatch/dispatch.h"

/* The names of <linux/kvm.h>, without KVM_EXIT_ and in small letters. */
static const char *const names[STATS_REASONS] = {
    [KVM_EXIT_UNKNOWN] = "unknown",
    [KVM_EXIT_EXCEPTION] = "exception",
    [KVM_EXIT_IO] = "io",
    [KVM_EXIT_HYPERCALL] = "hypercall",
    [KVM_EXIT_DEBUG] = "debug",
    [KVM_EXIT_HLT] = "hlt",
    [KVM_EXIT_MMIO] = "mmio",
    [KVM_EXIT_IRQ_WINDOW_OPEN] = "irq-window-open",
    [KVM_EXIT_SHUTDOWN] = "shutdown",
    [KVM_EXIT_FAIL_ENTRY] = "fail-entry",
    [KVM_EXIT_INTR] = "intr",
    [KVM_EXIT_SET_TPR] = "set-tpr",
    [KVM_EXIT_TPR_ACCESS] = "tpr-access",
    [KVM_EXIT_NMI] = "nmi",
    [KVM_EXIT_INTERNAL_ERROR] = "internal-error",
    [KVM_EXIT_SYSTEM_EVENT] = "system-event",
    [KVM_EXIT_IOAPIC_EOI] = "ioapic-eoi",
    [KVM_EXIT_HYPERV] = "hyperv",
    [KVM_EXIT_X86_RDMSR] = "rdmsr",
    [KVM_EXIT_X86_WRMSR] = "wrmsr",
    [KVM_EXIT_DIRTY_RING_FULL] = "dirty-ring-full",
    [KVM_EXIT_X86_BUS_LOCK] = "bus-lock",
};

const char *stats_exit_name(uint32_t reason)
{
    return reason < STATS_REASONS && names[reason] ? names[reason] : "other";
}

void stats_count(_Atomic uint64_t *counter)
{
    atomic_fetch_add_explicit(counter, 1, memory_order_relaxed);
}

void stats_exit(struct vmm_stats *s, uint32_t reason)
{
    stats_count(&s->exits[reason < STATS_REASONS ? reason : STATS_REASONS - 1]);
}

static unsigned add_row(struct stats_row *rows, unsigned n, const char *name, uint64_t count)
{
    unsigned at = n;

    if (count == 0)
        return n;
    for (; at > 0 && rows[at - 1].count < count; at--)
        rows[at] = rows[at - 1];
    rows[at] = (struct stats_row){ name, count };
    return n + 1;
}

static uint64_t sum(const struct vmm_stats *const *of, unsigned n, size_t offset)
{
    uint64_t total = 0;

    for (unsigned i = 0; i < n; i++) {
        const char *at = (const char *)of[i] + offset;

        total += atomic_load_explicit((const _Atomic uint64_t *)(const void *)at,
                                      memory_order_relaxed);
    }
    return total;
}

unsigned stats_rows(const struct vmm_stats *const *of, unsigned n, struct stats_row out[STATS_ROWS])
{
    uint64_t other = 0;
    unsigned rows = 0;

    for (unsigned i = 0; i < STATS_REASONS; i++) {
        uint64_t count = sum(of, n,
                             offsetof(struct vmm_stats, exits) + i * sizeof(_Atomic uint64_t));

        if (names[i])
            rows = add_row(out, rows, names[i], count);
        else
            other += count;
    }
    rows = add_row(out, rows, "other", other);
    rows = add_row(out, rows, "kick", sum(of, n, offsetof(struct vmm_stats, kicks)));
    rows = add_row(out, rows, "unknown-port",
                   sum(of, n, offsetof(struct vmm_stats, unknown_ports)));
    return add_row(out, rows, "unknown-mmio", sum(of, n, offsetof(struct vmm_stats, unknown_mmio)));
}
