/* SPDX-License-Identifier: Apache-2.0 */
/* A kernel of Linux in a machine: its files, the ACPI tables of the layout, the first instruction. */
#include "vmm/arch/acpi.h"
#include "vmm/arch/arch.h"
#include "vmm/arch/loader.h"
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

static int write_words(struct vmm *m, const struct vmm_linux *l, const struct loader_kernel *k,
                       struct err *e)
{
    struct loader_words words = { .command_line = l->command_line };
    int r = 0;

    if (l->initrd_fd >= 0)
        r = loader_initrd(l->initrd_fd, &m->memory, k, &words.initrd, e);
    if (r == 0 && getrandom(words.seed, sizeof(words.seed), 0) != sizeof(words.seed))
        r = err_set(e, EIO, "cannot get random bytes for the kernel");
    return r < 0 ? r : loader_zero_page(&m->memory, k, &words, e);
}

int vmm_load_linux(struct vmm *m, const struct vmm_linux *l, struct err *e)
{
    const struct loader_file file = { l->kernel_fd, l->kernel_is_final };
    struct loader_kernel k;
    int r;

    if (m->config.irqchip != VMM_IRQCHIP_SPLIT)
        return err_set(e, 0, "a machine without interrupts cannot run a kernel");
    r = loader_kernel(&file, &m->memory, &k, e);
    r = r < 0 ? r : write_words(m, l, &k, e);
    r = r < 0 ? r : write_acpi(m, e);
    r = r < 0 ? r : write_reset_vector(m, e);
    return r < 0 ? r : vmm_start_long(m, k.entry, LOADER_ZERO_PAGE, e);
}
