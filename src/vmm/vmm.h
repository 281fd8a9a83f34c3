/* SPDX-License-Identifier: Apache-2.0 */
#ifndef TECA_VMM_H
#define TECA_VMM_H
/*
 * vmm: the KVM micro-monitor. It knows no container; host side and guest side of one are made elsewhere.
 *
 *   vmm_config ─▶ vmm_layout() ─▶ vmm_build() ─▶ load, vmm_start_... ─▶ vmm_run() ─▶ vmm_free()
 *                 pure            the ioctls      guest memory, state    a thread a cpu
 *
 * Its inner rooms carry the names of the textbooks (Popek and Goldberg 1974): alloc/ hands out
 * guest-physical addresses, dispatch/ leads each exit of a cpu to a handler and each access to a
 * device, interp/ are the devices, arch/ is the processor's state. The guest is the attacker in all
 * of them. Never: a path of the host, a wait for the guest without an end (vmm_stop ends each).
 */
#include "base/base.h"

/* ---- what is asked for, and where it lies ---------------------------------------------------- */

enum { VMM_CPUS_MAX = 64, VMM_RANGES_MAX = 16 };

enum vmm_irqchip {
    /*
     * The LAPICs are KVM's, the IOAPIC ours (interp/ioapic.c); there is no PIC and no PIT. Measured
     * (ARCHITECTURE.md "The machine monitor"): the cheapest to set up, and the least of the host's kernel that a
     * guest can reach.
     */
    VMM_IRQCHIP_SPLIT,
    VMM_IRQCHIP_NONE, /* no interrupts at all; hlt ends the machine: for probes and payloads */
};

struct vmm_config {
    uint64_t ram_bytes;
    unsigned cpus; /* 1 to VMM_CPUS_MAX */
    enum vmm_irqchip irqchip;
};

enum vmm_range_kind { VMM_RANGE_RAM, VMM_RANGE_DEVICE, VMM_RANGE_KERNEL };

struct vmm_range { /* of guest-physical addresses; KERNEL: KVM answers there itself */
    uint64_t first, size;
    enum vmm_range_kind kind;
    const char *name;
};

struct vmm_layout {
    struct vmm_range ranges[VMM_RANGES_MAX]; /* sorted by address */
    unsigned n;
};

/* Guest-physical map, from the study's 1.2. RAM is below the hole and above 4 GiB. */
#define VMM_HOLE_FIRST UINT64_C(0xc0000000)
#define VMM_HOLE_END UINT64_C(0x100000000)
#define VMM_IOAPIC_FIRST UINT64_C(0xfec00000)
#define VMM_LAPIC_FIRST UINT64_C(0xfee00000)
#define VMM_TSS_FIRST UINT64_C(0xfffbd000)
/* Pure. -EINVAL with a sentence for what no machine can have. */
int vmm_layout(const struct vmm_config *c, struct vmm_layout *out, struct err *e);
void vmm_layout_describe(const struct vmm_layout *l, struct strbuf *out); /* a line a range */

/* ---- a machine -------------------------------------------------------------------------------- */

struct vmm;

/* Opens /dev/kvm. Gives *out. Errors: what open(2) and the ioctls say, in a sentence with a hint. */
int vmm_build(const struct vmm_config *c, const struct vmm_layout *l, struct vmm **out,
              struct err *e);
void vmm_free(struct vmm *m); /* accepts NULL; not while vmm_run runs */

/* Before and while it runs; -EFAULT when it is not wholly in one range of RAM. */
int vmm_read(struct vmm *m, uint64_t gpa, void *data, size_t len);
int vmm_write(struct vmm *m, uint64_t gpa, const void *data, size_t len);

/*
 * Where cpu 0 begins; the others wait for its SIPI (with VMM_IRQCHIP_NONE: there is only one).
 * real: 16-bit, cs:ip = base:0, gpa base below 1 MiB and a multiple of 16.
 * long: 64-bit, the first 4 GiB mapped to themselves, interrupts off, rip = entry, rsi as given; GDT
 * and page tables are written to guest memory below 0xf000.
 */
int vmm_start_real(struct vmm *m, uint32_t base, struct err *e);
int vmm_start_long(struct vmm *m, uint64_t entry, uint64_t rsi, struct err *e);

enum vmm_end {
    VMM_END_NONE,
    VMM_END_POWER_OFF,    /* the guest asked for it */
    VMM_END_RESET,        /* ... through the keyboard controller or the reset register */
    VMM_END_TRIPLE_FAULT, /* KVM_EXIT_SHUTDOWN */
    VMM_END_HALT,         /* hlt where no interrupt can come */
    VMM_END_STOPPED,      /* vmm_stop */
    VMM_END_FAULT,        /* KVM gave up on it: text says why */
};

struct vmm_outcome {
    enum vmm_end end;
    unsigned cpu;
    char text[200];
};
const char *vmm_end_name(enum vmm_end end); /* "power-off" ... */

/*
 * Runs every cpu in a thread of its own until one ends the machine or vmm_stop is called; then all
 * threads are gone and out says why. 0, or -errno when a thread cannot be made. The signal SIGRTMIN
 * is the monitor's: it gets a handler. Once for each machine.
 */
int vmm_run(struct vmm *m, struct vmm_outcome *out, struct err *e);
void vmm_stop(struct vmm *m); /* from any thread, at any time, also before vmm_run */

/* Exits by reason, summed over cpus, the most frequent first: "io 12" lines, or a JSON object. */
void vmm_stats_describe(struct vmm *m, struct strbuf *out);
void vmm_stats_json(struct vmm *m, struct json_out *j, const char *key);
uint64_t vmm_stats_count(struct vmm *m, const char *name); /* 0 for a name nobody knows */

/* ---- its devices ------------------------------------------------------------------------------ */

/* The last bytes that COM1 was given (at most 64 KiB): appended to out. */
void vmm_serial_text(struct vmm *m, struct strbuf *out);
#endif
