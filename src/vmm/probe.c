/* SPDX-License-Identifier: Apache-2.0 */
/*
 * What this host's KVM is good for, found by trying: a guest of a page carries out the two
 * instructions that every kernel needs and a KVM that emulates ring 0 lacks.
 */
#include "vmm/vmm.h"

#include <errno.h>
#include <fcntl.h>
#include <linux/kvm.h>
#include <sys/ioctl.h>
#include <unistd.h>

static const struct {
    const char *name;
    int cap;
} caps[VMM_PROBE_CAPS] = {
    { "split-irqchip", KVM_CAP_SPLIT_IRQCHIP },   { "signal-msi", KVM_CAP_SIGNAL_MSI },
    { "immediate-exit", KVM_CAP_IMMEDIATE_EXIT }, { "tsc-deadline", KVM_CAP_TSC_DEADLINE_TIMER },
    { "ioeventfd", KVM_CAP_IOEVENTFD },           { "irqfd", KVM_CAP_IRQFD },
    { "max-vcpus", KVM_CAP_MAX_VCPUS },
};

static int read_caps(struct vmm_probe *p, struct err *e)
{
    AUTO_FD int fd = openat(AT_FDCWD, "/dev/kvm", O_RDWR | O_CLOEXEC);

    if (fd < 0) {
        p->error = errno;
        return err_set(e, errno, "cannot open '/dev/kvm'");
    }
    p->api = ioctl(fd, KVM_GET_API_VERSION, 0);
    if (p->api < 0) {
        p->error = errno;
        return err_set(e, errno, "'/dev/kvm' is not KVM");
    }
    for (size_t i = 0; i < VMM_PROBE_CAPS; i++) {
        int value = ioctl(fd, KVM_CHECK_EXTENSION, caps[i].cap);

        p->caps[i].name = caps[i].name;
        p->caps[i].value = value > 0 ? (unsigned)value : 0;
    }
    return 0;
}

#ifdef __x86_64__

enum { STEP_BEGUN = 1, STEP_CMPXCHG16B = 2, STEP_XRSTOR = 3 };
#define CODE_GPA UINT64_C(0x10000)
#define STEP_GPA UINT64_C(0x20000)
#define PROBE_RAM (UINT64_C(1) << 20)

/*
 * rsi: the byte that tells the last step. cmpxchg16b is what SLUB frees objects with; xrstor what a
 * kernel switches the FPU with, here with an empty area (XSTATE_BV 0), after CR4.OSFXSR and
 * CR4.OSXSAVE and XCR0 = x87 | SSE.
 */
__asm__(".pushsection .rodata\n"
        "probe_code:\n"
        "  movb $1, (%rsi)\n"
        "  xor %eax, %eax\n  xor %edx, %edx\n  xor %ebx, %ebx\n  xor %ecx, %ecx\n"
        "  cmpxchg16b 0x40(%rsi)\n"
        "  movb $2, (%rsi)\n"
        "  mov %cr4, %rax\n  or $0x40200, %rax\n  mov %rax, %cr4\n"
        "  mov $3, %eax\n  xsetbv\n"
        "  xrstor 0x100(%rsi)\n"
        "  movb $3, (%rsi)\n"
        "  hlt\n"
        "1:\n"
        ".balign 4\n"
        "probe_code_size: .long 1b - probe_code\n"
        ".popsection\n");
extern const uint8_t probe_code[];
extern const uint32_t probe_code_size;

static int try_guest(struct vmm *m, struct vmm_probe *p, struct err *e)
{
    struct vmm_outcome outcome;
    uint8_t step = 0;
    int r = vmm_write(m, CODE_GPA, probe_code, probe_code_size);

    r = r < 0 ? err_set(e, -r, "no guest memory for the probe") : 0;
    r = r < 0 ? r : vmm_start_long(m, CODE_GPA, STEP_GPA, e);
    r = r < 0 ? r : vmm_run(m, &outcome, e);
    if (r < 0)
        return r;
    p->ran = true;
    vmm_read(m, STEP_GPA, &step, 1);
    p->runs_payloads = step >= STEP_BEGUN;
    p->runs_kernels = step == STEP_XRSTOR && outcome.end == VMM_END_HALT;
    if (p->runs_kernels)
        return 0;
    base_format(p->reason, sizeof(p->reason), "%s fails: %s",
                step == STEP_XRSTOR       ? "hlt"
                : step == STEP_CMPXCHG16B ? "xrstor"
                : step == STEP_BEGUN      ? "cmpxchg16b"
                                          : "the first instruction",
                outcome.text);
    return 0;
}

static int run_guest(struct vmm_probe *p, struct err *e)
{
    struct vmm_config c = { .ram_bytes = PROBE_RAM, .cpus = 1, .irqchip = VMM_IRQCHIP_NONE };
    struct vmm *m = NULL;
    struct vmm_layout l;
    int r = vmm_layout(&c, &l, e);

    r = r < 0 ? r : vmm_build(&c, &l, &m, e);
    r = r < 0 ? r : try_guest(m, p, e);
    vmm_free(m);
    return r;
}

#else

static int run_guest(struct vmm_probe *p, struct err *e)
{
    (void)p;
    return err_set(e, ENOTSUP, "teca's machine monitor is for x86-64");
}

#endif

void vmm_probe(struct vmm_probe *out)
{
    struct vmm_probe p = { .error = 0 };
    struct err e = { 0 };

    if (read_caps(&p, &e) < 0 || run_guest(&p, &e) < 0)
        base_format(p.reason, sizeof(p.reason), "%s", e.text);
    *out = p;
}
