/* SPDX-License-Identifier: Apache-2.0 */
/* A kernel of Linux in a machine: its files, the ACPI tables of the layout, the first instruction. */
#include "vmm/arch/acpi.h"
#include "vmm/arch/arch.h"
#include "vmm/internal.h"

#include <errno.h>
#include <sys/random.h>

static void add_slots(const struct vmm_layout *l, struct acpi_machine *a)
{
    for (unsigned i = 0; i < l->n && a->n_slots < VMM_VIRTIO_SLOTS; i++) {
        const struct vmm_range *r = &l->ranges[i];

        if (r->kind == VMM_RANGE_DEVICE && r->gsi >= VMM_VIRTIO_GSI)
            a->slots[a->n_slots++] = (struct acpi_slot){ (uint32_t)r->first, (uint32_t)r->size,
                                                         r->gsi };
    }
}

static int write_acpi(struct vmm *m, struct err *e)
{
    struct acpi_machine a = {
        .cpus = m->config.cpus,
        .ioapic = VMM_IOAPIC_FIRST,
        .lapic = VMM_LAPIC_FIRST,
        .serial_port = SERIAL_PORT,
        .serial_ports = SERIAL_PORTS,
        .serial_gsi = SERIAL_GSI,
        .panic_port = POWER_PANIC_PORT,
        .power_port = POWER_ACPI_PORT,
        .power_off_type = POWER_OFF_TYPE,
        .reset_value = POWER_RESET_VALUE,
    };
    uint8_t *at = vmm_memory_at(&m->memory, LOADER_ACPI, LOADER_ACPI_SIZE);

    add_slots(&m->layout, &a);
    if (!at || acpi_write(&a, LOADER_ACPI, at, LOADER_ACPI_SIZE) == 0)
        return err_set(e, EFAULT, "no guest memory for the ACPI tables");
    return 0;
}

/*
 * A PC begins at 0xffff0 after a reset, and a kernel that knows no better way jumps there: Linux does on
 * hardware-reduced ACPI machines without `reboot=`, for it expects EFI then (efi_reboot_required()). There is
 * no firmware; this pulses the reset line: mov $0xfe, %al; out %al, $0x64; hlt.
 */
static int write_reset_vector(struct vmm *m, struct err *e)
{
    static const uint8_t code[] = { 0xb0, 0xfe, 0xe6, POWER_KEYBOARD_PORT, 0xf4 };

    if (vmm_memory_write(&m->memory, LOADER_RESET_VECTOR, code, sizeof(code)) < 0)
        return err_set(e, EFAULT, "no guest memory for the reset vector");
    return 0;
}

static int write_words(struct vmm *m, const char *command_line, struct err *e)
{
    struct loader_words words = { .command_line = command_line, .initrd = m->loading.initrd };

    if (getrandom(words.seed, sizeof(words.seed), 0) != sizeof(words.seed))
        return err_set(e, EIO, "cannot get random bytes for the kernel");
    return loader_zero_page(&m->memory, &m->loading.kernel, &words, e);
}

int vmm_begin_loading(struct vmm *m, const struct vmm_linux *l, struct err *e)
{
    struct vmm_loading *g = &m->loading;
    struct loader loader = { &m->memory, &g->job.copy };
    int r;

    copy_drop(&g->job);
    *g = (struct vmm_loading){ .begun = false };
    r = loader_kernel(&loader, &(struct loader_file){ l->kernel_fd, l->kernel_is_final },
                      &g->kernel, e);
    if (r == 0 && l->initrd_fd >= 0)
        r = loader_initrd(&loader, l->initrd_fd, &g->kernel, &g->initrd, e);
    if (r < 0)
        return r;
    copy_begin(&g->job);
    g->begun = true;
    return 0;
}

static void continue_loading(void *ctx)
{
    struct vmm *m = ctx;

    copy_release(&m->loading.job);
}

static int await_loading(void *ctx, struct err *e)
{
    struct vmm *m = ctx;

    return copy_wait(&m->loading.job, e);
}

int vmm_load_linux(struct vmm *m, const struct vmm_linux *l, struct err *e)
{
    int r = 0;

    if (m->config.irqchip != VMM_IRQCHIP_SPLIT)
        return err_set(e, 0, "a machine without interrupts cannot run a kernel");
    if (!m->loading.begun)
        r = vmm_begin_loading(m, l, e);
    m->loading.begun = false;
    r = r < 0 ? r : write_words(m, l->command_line, e);
    r = r < 0 ? r : write_acpi(m, e);
    r = r < 0 ? r : write_reset_vector(m, e);
    r = r < 0 ? r : copy_end(&m->loading.job, e);
    m->dispatch.begin_memory = continue_loading;
    m->dispatch.await_memory = await_loading;
    m->dispatch.memory_ctx = m;
    return r < 0 ? r : vmm_start_long(m, m->loading.kernel.entry, LOADER_ZERO_PAGE, e);
}
