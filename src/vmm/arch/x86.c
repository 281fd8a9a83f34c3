/* SPDX-License-Identifier: Apache-2.0 */
/*
 * x86-64: CPUID, the few MSRs that are not as a reset leaves them, and the two ways to begin. The
 * sources are the Intel SDM vol. 3 and Documentation/virt/kvm/api.rst.
 */
#include "vmm/arch/arch.h"
#include "vmm/vmm.h"

#include <errno.h>

#ifdef __x86_64__

#include <linux/kvm.h>
#include <sys/ioctl.h>

/*
 * Guest memory that a 64-bit start uses; a loader may overwrite all but the tables:
 *   0x0500 GDT      0x8000-0x8fff stack   0x9000 PML4   0xa000 PDPT   0xb000-0xefff four PDs
 */
enum { GDT_GPA = 0x500, STACK_TOP = 0x9000, PML4_GPA = 0x9000, PDPT_GPA = 0xa000, PD_GPA = 0xb000 };
enum {
    SELECTOR_CODE = 0x08,
    SELECTOR_DATA = 0x10,
    SELECTOR_TSS = 0x18,
    TABLE_ENTRIES = 512,
    PDS = 4
};

#define CR0_PE (UINT64_C(1) << 0)
#define CR0_ET (UINT64_C(1) << 4)
#define CR0_NE (UINT64_C(1) << 5)
#define CR0_PG (UINT64_C(1) << 31)
#define CR4_PAE (UINT64_C(1) << 5)
#define EFER_LME (UINT64_C(1) << 8)
#define EFER_LMA (UINT64_C(1) << 10)
#define PTE_PRESENT_WRITABLE UINT64_C(0x3)
#define PTE_LARGE UINT64_C(0x80)
#define RFLAGS_FIXED UINT64_C(2) /* bit 1 is always 1; interrupts are off */

int arch_prepare_vm(int vm_fd, struct err *e)
{
    uint64_t identity_map = VMM_TSS_FIRST + UINT64_C(0x3000);

    /* Intel without "unrestricted guest" runs real mode with a task state and page table of its own. */
    if (ioctl(vm_fd, KVM_SET_IDENTITY_MAP_ADDR, &identity_map) < 0)
        return err_set(e, errno, "KVM_SET_IDENTITY_MAP_ADDR");
    if (ioctl(vm_fd, KVM_SET_TSS_ADDR, VMM_TSS_FIRST) < 0)
        return err_set(e, errno, "KVM_SET_TSS_ADDR");
    return 0;
}

/* ---- CPUID ------------------------------------------------------------------------------------ */

enum { CPUID_MAX = 256 };
struct cpuid {
    struct kvm_cpuid2 head;
    struct kvm_cpuid_entry2 entries[CPUID_MAX];
};

static unsigned bits_for(unsigned count)
{
    unsigned bits = 0;

    while ((1u << bits) < count)
        bits++;
    return bits;
}

/* Leaves 0xb and 0x1f: level 0 is one thread a core, level 1 all cores of the one package. */
static void set_topology(struct kvm_cpuid_entry2 *c, const struct arch_vcpu *v)
{
    c->eax = c->index == 1 ? bits_for(v->count) : 0;
    c->ebx = c->index == 1 ? v->count : c->index == 0;
    c->ecx = c->index | (c->index < 2 ? (c->index + 1) << 8 : 0);
    c->edx = v->index;
}

static void adapt(struct kvm_cpuid_entry2 *c, const struct arch_vcpu *v, bool tsc_deadline)
{
    switch (c->function) {
    case 1:
        c->ebx = (c->ebx & 0x0000ffff) | v->count << 16 | v->index << 24;
        c->ecx |= 1u << 31; /* there is a hypervisor: KVM's own leaves are looked for */
        c->ecx &= ~(1u << 3 | 1u << 24);
        c->ecx |= tsc_deadline ? 1u << 24 : 0;
        c->edx = v->count > 1 ? c->edx | 1u << 28 : c->edx & ~(1u << 28);
        break;
    case 4: /* caches: all cores of the package, none shared by threads */
        c->eax = (c->eax & 0x3ff) | (v->count - 1) << 26;
        break;
    case 6: /* no energy bias: there is no such MSR */
        c->ecx &= ~(1u << 3);
        break;
    case 0xa: /* no performance counters */
        c->eax = c->ebx = c->ecx = c->edx = 0;
        break;
    case 0xb:
    case 0x1f:
        set_topology(c, v);
        break;
    case 0x80000008: /* AMD: cores of the package, bits of the APIC id */
        c->ecx = (c->ecx & 0xffff0000u) | bits_for(v->count) << 12 | (v->count - 1);
        break;
    case 0x8000001e: /* AMD: extended APIC id, core id with one thread, node 0 */
        c->eax = v->index;
        c->ebx = v->index & 0xff;
        c->ecx = 0;
        break;
    default:
        break;
    }
}

static int set_cpuid(const struct arch_vcpu *v, struct err *e)
{
    struct cpuid c = { .head.nent = CPUID_MAX };
    bool tsc_deadline = ioctl(v->kvm_fd, KVM_CHECK_EXTENSION, KVM_CAP_TSC_DEADLINE_TIMER) > 0;

    if (ioctl(v->kvm_fd, KVM_GET_SUPPORTED_CPUID, &c) < 0)
        return err_set(e, errno, "KVM_GET_SUPPORTED_CPUID");
    for (uint32_t i = 0; i < c.head.nent && i < CPUID_MAX; i++)
        adapt(&c.entries[i], v, tsc_deadline);
    if (ioctl(v->fd, KVM_SET_CPUID2, &c) < 0)
        return err_set(e, errno, "KVM_SET_CPUID2");
    return 0;
}

/* ---- MSRs ------------------------------------------------------------------------------------- */

enum { MSR_MISC_ENABLE = 0x1a0, MSR_MTRR_DEF_TYPE = 0x2ff };

/* One that this KVM does not know stays as it is: the call then says a smaller count. */
static int set_msrs(int vcpu_fd, struct err *e)
{
    struct {
        struct kvm_msrs head;
        struct kvm_msr_entry entries[2];
    } m = {
        .head.nmsrs = 2,
        .entries = { { .index = MSR_MISC_ENABLE, .data = 1 /* fast strings */ },
                     { .index = MSR_MTRR_DEF_TYPE, .data = 0x806 /* enabled, write-back */ } },
    };

    if (ioctl(vcpu_fd, KVM_SET_MSRS, &m) < 0)
        return err_set(e, errno, "KVM_SET_MSRS");
    return 0;
}

int arch_prepare_vcpu(const struct arch_vcpu *v, struct err *e)
{
    int r = set_cpuid(v, e); /* first: what an MSR may hold depends on it */

    return r < 0 ? r : set_msrs(v->fd, e);
}

/* ---- the first instruction -------------------------------------------------------------------- */

static int set_state(int vcpu_fd, const struct kvm_sregs *sregs, const struct kvm_regs *regs,
                     struct err *e)
{
    struct kvm_fpu fpu = { .fcw = 0x37f, .mxcsr = 0x1f80 };

    if (ioctl(vcpu_fd, KVM_SET_REGS, regs) < 0)
        return err_set(e, errno, "KVM_SET_REGS");
    if (ioctl(vcpu_fd, KVM_SET_FPU, &fpu) < 0)
        return err_set(e, errno, "KVM_SET_FPU");
    if (ioctl(vcpu_fd, KVM_SET_SREGS, sregs) < 0)
        return err_set(e, errno, "KVM_SET_SREGS");
    return 0;
}

int arch_start_real(int vcpu_fd, uint32_t base, struct err *e)
{
    struct kvm_regs regs = { .rflags = RFLAGS_FIXED };
    struct kvm_sregs s;

    if (base % 16 || base >= 1u << 20)
        return err_set(e, EINVAL, "real mode cannot begin at 0x%x", base);
    if (ioctl(vcpu_fd, KVM_GET_SREGS, &s) < 0)
        return err_set(e, errno, "KVM_GET_SREGS");
    s.cs.base = base;
    s.cs.selector = (uint16_t)(base >> 4);
    return set_state(vcpu_fd, &s, &regs, e);
}

/* Descriptors as in memory: base 0, limit 4 GiB, present, ring 0; TSS at 0 with limit 0x67. */
static int write_tables(const struct vmm_memory *mem, struct err *e)
{
    static const uint64_t gdt[] = { 0, UINT64_C(0x00af9b000000ffff), UINT64_C(0x00cf93000000ffff),
                                    UINT64_C(0x00008b0000000067), 0 };
    uint64_t pd[PDS * TABLE_ENTRIES];
    uint64_t pml4[TABLE_ENTRIES] = { PDPT_GPA | PTE_PRESENT_WRITABLE };
    uint64_t pdpt[TABLE_ENTRIES] = { 0 };

    for (uint64_t i = 0; i < PDS; i++)
        pdpt[i] = (PD_GPA + i * VMM_PAGE_SIZE) | PTE_PRESENT_WRITABLE;
    for (uint64_t i = 0; i < COUNT_OF(pd); i++)
        pd[i] = i << 21 | PTE_LARGE | PTE_PRESENT_WRITABLE;
    if (vmm_memory_write(mem, GDT_GPA, gdt, sizeof(gdt)) < 0 ||
        vmm_memory_write(mem, PML4_GPA, pml4, sizeof(pml4)) < 0 ||
        vmm_memory_write(mem, PDPT_GPA, pdpt, sizeof(pdpt)) < 0 ||
        vmm_memory_write(mem, PD_GPA, pd, sizeof(pd)) < 0)
        return err_set(e, EFAULT, "no guest memory for the first page tables");
    return 0;
}

static struct kvm_segment segment(uint16_t selector, uint8_t type)
{
    return (struct kvm_segment){
        .selector = selector, .limit = UINT32_MAX, .type = type, .present = 1, .s = 1, .g = 1
    };
}

static void set_segments(struct kvm_sregs *s)
{
    s->cs = segment(SELECTOR_CODE, 0xb); /* execute, read, accessed */
    s->cs.l = 1;
    s->ds = segment(SELECTOR_DATA, 0x3); /* read, write, accessed */
    s->ds.db = 1;
    s->es = s->fs = s->gs = s->ss = s->ds;
    s->tr = (struct kvm_segment){
        .selector = SELECTOR_TSS, .limit = 0x67, .type = 0xb /* busy */, .present = 1
    };
    s->ldt = (struct kvm_segment){ .unusable = 1 };
    s->gdt.base = GDT_GPA;
    s->gdt.limit = 5 * 8 - 1;
    s->idt.base = 0;
    s->idt.limit = 0; /* an exception before the guest has set its own is a triple fault */
}

int arch_start_long(int vcpu_fd, const struct vmm_memory *mem, uint64_t entry, uint64_t rsi,
                    struct err *e)
{
    struct kvm_regs regs = { .rflags = RFLAGS_FIXED, .rip = entry, .rsi = rsi, .rsp = STACK_TOP };
    struct kvm_sregs s;
    int r = write_tables(mem, e);

    if (r < 0)
        return r;
    if (ioctl(vcpu_fd, KVM_GET_SREGS, &s) < 0)
        return err_set(e, errno, "KVM_GET_SREGS");
    set_segments(&s);
    s.cr0 = CR0_PE | CR0_ET | CR0_NE | CR0_PG;
    s.cr3 = PML4_GPA;
    s.cr4 = CR4_PAE;
    s.efer = EFER_LME | EFER_LMA;
    return set_state(vcpu_fd, &s, &regs, e);
}

#endif
