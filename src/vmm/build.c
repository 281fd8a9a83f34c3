/* SPDX-License-Identifier: Apache-2.0 */
/*
 * vmm_build: from a layout to a machine that can run, as one straight sequence of ioctls.
 *
 * The order is measured (PVM kind of KVM, Linux 6.18, 128 MiB, VM to first vcpu): split irqchip,
 * memory, cpus 0.4 ms; memory, full irqchip, cpus 0.6 ms; full irqchip, memory, cpus 7.9 ms, for a
 * change of memory waits for a grace period once the in-kernel irqchip has readers. Memory is mapped before all of it, so
 * that other processors read a kernel into it meanwhile.
 */
#include "vmm/arch/arch.h"
#include "vmm/internal.h"

#include <errno.h>
#include <fcntl.h>
#include <stdlib.h>
#include <sys/ioctl.h>
#include <sys/mman.h>
#include <unistd.h>

static int open_kvm(struct vmm *m, struct err *e)
{
    int version;

    m->kvm_fd = m->config.kvm_fd > 0 ? m->config.kvm_fd
                                     : openat(AT_FDCWD, "/dev/kvm", O_RDWR | O_CLOEXEC);
    if (m->kvm_fd < 0) {
        int r = err_set(e, errno, "cannot open '/dev/kvm'");

        err_hint(e, "`teca vm doctor` says what is missing");
        return r;
    }
    version = ioctl(m->kvm_fd, KVM_GET_API_VERSION, 0);
    if (version < 0)
        return err_set(e, errno, "'/dev/kvm' is not KVM");
    if (version != KVM_API_VERSION)
        return err_set(e, ENOTSUP, "'/dev/kvm' speaks version %d, not %d", version,
                       KVM_API_VERSION);
    return 0;
}

static int create_vm(struct vmm *m, struct err *e)
{
    do /* a signal may interrupt it: api.rst 4.2 */
        m->fd = ioctl(m->kvm_fd, KVM_CREATE_VM, 0);
    while (m->fd < 0 && errno == EINTR);
    if (m->fd < 0)
        return err_set(e, errno, "KVM_CREATE_VM");
    return arch_prepare_vm(m->fd, e);
}

/* Before the cpus, whose LAPICs it makes. */
static int create_irqchip(struct vmm *m, struct err *e)
{
    struct kvm_enable_cap split = { .cap = KVM_CAP_SPLIT_IRQCHIP, .args = { IOAPIC_PINS } };

    if (m->config.irqchip == VMM_IRQCHIP_SPLIT && ioctl(m->fd, KVM_ENABLE_CAP, &split) < 0)
        return err_set(e, errno, "KVM_CAP_SPLIT_IRQCHIP");
    return 0;
}

static int add_memory(struct vmm *m, const struct vmm_range *range, struct err *e)
{
    const struct vmm_memory_file file = { m->config.image.fd, m->config.image.size_bytes };

    return range->kind == VMM_RANGE_RAM
               ? vmm_memory_add(&m->memory, range->first, range->size, e)
               : vmm_memory_add_file(&m->memory, range->first, range->size, &file, e);
}

static int map_memory(struct vmm *m, const struct vmm_layout *l, struct err *e)
{
    int r = 0;

    for (unsigned i = 0; i < l->n && r == 0; i++) {
        const struct vmm_range *range = &l->ranges[i];

        if (range->kind == VMM_RANGE_RAM || range->kind == VMM_RANGE_IMAGE)
            r = add_memory(m, range, e);
    }
    return r;
}

/* A slot for each region. */
static int give_memory(struct vmm *m, struct err *e)
{
    for (unsigned i = 0; i < m->memory.n; i++) {
        const struct vmm_region *region = &m->memory.regions[i];
        struct kvm_userspace_memory_region slot = { .slot = i,
                                                    .flags = region->read_only ? KVM_MEM_READONLY
                                                                               : 0,
                                                    .guest_phys_addr = region->gpa,
                                                    .memory_size = region->size,
                                                    .userspace_addr = (uintptr_t)region->host };

        if (ioctl(m->fd, KVM_SET_USER_MEMORY_REGION, &slot) < 0)
            return err_set(e, errno, "KVM_SET_USER_MEMORY_REGION of 0x%llx bytes at 0x%llx",
                           (unsigned long long)region->size, (unsigned long long)region->gpa);
    }
    return 0;
}

static int create_vcpu(struct vmm *m, struct vmm_vcpu *v, struct err *e)
{
    struct arch_vcpu arch = { .kvm_fd = m->kvm_fd, .index = v->index, .count = m->config.cpus };
    int size = ioctl(m->kvm_fd, KVM_GET_VCPU_MMAP_SIZE, 0);
    void *run;

    if (size < (int)sizeof(struct kvm_run))
        return err_set(e, ENOTSUP, "KVM_GET_VCPU_MMAP_SIZE says %d", size);
    v->fd = ioctl(m->fd, KVM_CREATE_VCPU, v->index);
    if (v->fd < 0)
        return err_set(e, errno, "KVM_CREATE_VCPU %u", v->index);
    run = mmap(NULL, (size_t)size, PROT_READ | PROT_WRITE, MAP_SHARED, v->fd, 0);
    if (run == MAP_FAILED)
        return err_set(e, errno, "cannot map the state of cpu %u", v->index);
    v->run = run;
    v->run_size = (size_t)size;
    arch.fd = v->fd;
    return arch_prepare_vcpu(&arch, e);
}

static int create_vcpus(struct vmm *m, struct err *e)
{
    for (unsigned i = 0; i < m->config.cpus; i++) {
        int r = create_vcpu(m, &m->vcpus[i], e);

        if (r < 0)
            return r;
    }
    return 0;
}

/* ---- devices: registered one by one, in this order --------------------------------------------- */

static void raise_line(void *ctx, unsigned gsi)
{
    struct vmm *m = ctx;

    if (m->config.irqchip == VMM_IRQCHIP_SPLIT)
        ioapic_raise(&m->ioapic, gsi);
}

/* No LAPIC takes it: the guest asked for a destination that is not there. Its own loss. */
static void send_message(void *ctx, uint64_t address, uint32_t data)
{
    struct vmm *m = ctx;
    struct kvm_msi msi = { .address_lo = (uint32_t)address, .data = data };

    if (ioctl(m->fd, KVM_SIGNAL_MSI, &msi) < 0)
        log_debug("KVM_SIGNAL_MSI: errno %d", errno);
}

static void end_machine(void *ctx, enum vmm_end end)
{
    struct vmm *m = ctx;

    dispatch_end(&m->dispatch, end, 0, "the guest asked for %s", vmm_end_name(end));
}

static int add_devices(struct vmm *m, struct err *e)
{
    struct vmm_bus *pio = &m->dispatch.pio, *mmio = &m->dispatch.mmio;
    struct vmm_line line = { .raise = raise_line, .ctx = m };
    struct power *p = &m->power;
    int r = serial_init(&m->serial, line, e);

    m->serial.news = m->config.serial_news;
    m->serial.news_ctx = m->config.serial_ctx;
    m->power = (struct power){ .end = end_machine, .ctx = m };
    m->ioapic = (struct ioapic){ .send = send_message, .ctx = m };
    ioapic_init(&m->ioapic);
    r = r < 0 ? r : vmm_bus_add(pio, SERIAL_PORT, SERIAL_PORTS, &serial_device, &m->serial, e);
    r = r < 0 ? r : vmm_bus_add(pio, POWER_SPEAKER_PORT, 1, &power_speaker_device, p, e);
    r = r < 0 ? r : vmm_bus_add(pio, POWER_KEYBOARD_PORT, 1, &power_keyboard_device, p, e);
    r = r < 0 ? r : vmm_bus_add(pio, POWER_RTC_PORT, 2, &power_rtc_device, p, e);
    r = r < 0 ? r : vmm_bus_add(pio, POWER_PANIC_PORT, 1, &power_panic_device, p, e);
    r = r < 0 ? r : vmm_bus_add(pio, POWER_ACPI_PORT, POWER_ACPI_PORTS, &power_acpi_device, p, e);
    if (r == 0 && m->config.irqchip == VMM_IRQCHIP_SPLIT)
        r = vmm_bus_add(mmio, VMM_IOAPIC_FIRST, VMM_PAGE_SIZE, &ioapic_device, &m->ioapic, e);
    return r;
}

static int add_virtio(struct vmm *m, unsigned slot, struct virtio *v, struct err *e)
{
    return vmm_bus_add(&m->dispatch.mmio, VMM_VIRTIO_FIRST + slot * VMM_VIRTIO_STRIDE,
                       VMM_VIRTIO_STRIDE, &virtio_device, v, e);
}

static int add_disk(struct vmm *m, unsigned i, struct err *e)
{
    struct virtio_place place = { &m->memory,
                                  { raise_line, m },
                                  VMM_VIRTIO_GSI + VMM_SLOT_DISK + i };
    int r = blk_init(&m->disks[i], &m->config.disks[i], i, &place, e);

    return r < 0 ? r : add_virtio(m, VMM_SLOT_DISK + i, &m->disks[i].virtio, e);
}

static int add_share(struct vmm *m, struct err *e)
{
    struct virtio_place place = { &m->memory, { raise_line, m }, VMM_VIRTIO_GSI + VMM_SLOT_SHARE };

    fs_init(&m->fs, m->config.share, &place);
    return add_virtio(m, VMM_SLOT_SHARE, &m->fs.virtio, e);
}

static int add_net(struct vmm *m, unsigned i, struct err *e)
{
    unsigned slot = vmm_slot_of_net(i);
    struct virtio_place place = { &m->memory, { raise_line, m }, VMM_VIRTIO_GSI + slot };
    int r = net_open(&m->config.nets[i], i, e);

    if (r == 0)
        r = net_init(&m->nets[i], &m->config.nets[i], &m->dispatch.io, &place, e);
    return r < 0 ? r : add_virtio(m, slot, &m->nets[i].virtio, e);
}

static int add_balloon(struct vmm *m, struct err *e)
{
    struct virtio_place place = { &m->memory,
                                  { raise_line, m },
                                  VMM_VIRTIO_GSI + VMM_SLOT_BALLOON };

    balloon_init(&m->balloon, &place);
    return m->config.balloon ? add_virtio(m, VMM_SLOT_BALLOON, &m->balloon.virtio, e) : 0;
}

/* The image is the last range of all. */
static int add_image(struct vmm *m, struct err *e)
{
    struct virtio_place place = { &m->memory, { raise_line, m }, VMM_VIRTIO_GSI + VMM_SLOT_PMEM };
    const struct vmm_range *range = &m->layout.ranges[m->layout.n - 1];

    if (m->config.image.size_bytes == 0)
        return 0;
    pmem_init(&m->pmem, range->first, range->size, &place);
    return add_virtio(m, VMM_SLOT_PMEM, &m->pmem.virtio, e);
}

static int add_virtio_devices(struct vmm *m, struct err *e)
{
    struct vmm_line line = { .raise = raise_line, .ctx = m };
    int r = 0;

    console_init(&m->console, &m->config, &m->memory, line, VMM_VIRTIO_GSI + VMM_SLOT_CONSOLE);
    rng_init(&m->rng, &m->memory, line, VMM_VIRTIO_GSI + VMM_SLOT_RNG);
    if (m->config.n_ports > 0)
        r = add_virtio(m, VMM_SLOT_CONSOLE, &m->console.virtio, e);
    if (r == 0 && m->config.rng)
        r = add_virtio(m, VMM_SLOT_RNG, &m->rng.virtio, e);
    if (r == 0 && m->config.share)
        r = add_share(m, e);
    r = r < 0 ? r : add_balloon(m, e);
    r = r < 0 ? r : add_image(m, e);
    for (unsigned i = 0; i < m->config.n_disks && r == 0; i++)
        r = add_disk(m, i, e);
    for (unsigned i = 0; i < m->config.n_nets && r == 0; i++)
        r = add_net(m, i, e);
    return r;
}

/* ---- the sequence -------------------------------------------------------------------------------- */

static int build(struct vmm *m, const struct vmm_layout *l, struct err *e)
{
    int r = map_memory(m, l, e);

    if (r == 0 && m->config.begin_with) /* what is wrong with it is said by vmm_load_linux */
        (void)vmm_begin_loading(m, m->config.begin_with, NULL);
    r = r < 0 ? r : open_kvm(m, e);
    r = r < 0 ? r : create_vm(m, e);
    r = r < 0 ? r : create_irqchip(m, e);
    r = r < 0 ? r : give_memory(m, e);
    r = r < 0 ? r : create_vcpus(m, e);
    r = r < 0 ? r : add_devices(m, e);
    return r < 0 ? r : add_virtio_devices(m, e);
}

int vmm_build(const struct vmm_config *c, const struct vmm_layout *l, struct vmm **out,
              struct err *e)
{
    struct vmm *m = calloc(1, sizeof(*m));
    int r;

    if (!m)
        return err_set(e, ENOMEM, "no memory for a machine");
    m->config = *c;
    m->layout = *l;
    m->kvm_fd = m->fd = -1;
    dispatch_init(&m->dispatch, m->vcpus, c->cpus);
    m->dispatch.memory = &m->memory;
    m->dispatch.cpu_begins = c->cpu_begins;
    m->dispatch.io.begins = c->io_begins;
    for (unsigned i = 0; i < VMM_CPUS_MAX; i++) {
        m->vcpus[i].dispatch = &m->dispatch;
        m->vcpus[i].index = i;
        m->vcpus[i].fd = -1;
    }
    r = build(m, l, e);
    if (r < 0) {
        vmm_free(m);
        return r;
    }
    *out = m;
    return 0;
}

void vmm_free(struct vmm *m)
{
    if (!m)
        return;
    for (unsigned i = 0; i < m->config.cpus && i < VMM_CPUS_MAX; i++) {
        if (m->vcpus[i].run)
            munmap(m->vcpus[i].run, m->vcpus[i].run_size);
        fd_cleanup(&m->vcpus[i].fd);
    }
    fd_cleanup(&m->fd);
    fd_cleanup(&m->kvm_fd);
    serial_release(&m->serial);
    copy_drop(&m->loading.job);
    vmm_memory_release(&m->memory);
    dispatch_release(&m->dispatch);
    free(m);
}
