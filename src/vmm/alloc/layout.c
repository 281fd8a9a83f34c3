/* SPDX-License-Identifier: Apache-2.0 */
/* vmm_layout: the guest-physical map of a configuration. Pure. */
#include "vmm/vmm.h"

#include <errno.h>

/* Real mode, the tables of arch/ and a payload want the first MiB. The end stays below 2^40. */
#define RAM_MIN (UINT64_C(1) << 20)
#define RAM_MAX (UINT64_C(1) << 39)
#define PAGE UINT64_C(4096)
#define HUGE_PAGE (UINT64_C(2) << 20)
#define IMAGE_ALIGN (UINT64_C(1) << 30)
#define IMAGE_MAX (UINT64_C(1) << 38)

static void add(struct vmm_layout *l, struct vmm_range range)
{
    l->ranges[l->n++] = range;
}

static void add_slot(struct vmm_layout *l, unsigned slot, const char *name)
{
    add(l, (struct vmm_range){ .first = VMM_VIRTIO_FIRST + slot * VMM_VIRTIO_STRIDE,
                               .size = VMM_VIRTIO_STRIDE,
                               .kind = VMM_RANGE_DEVICE,
                               .gsi = VMM_VIRTIO_GSI + slot,
                               .name = name });
}

static uint64_t align_up(uint64_t value, uint64_t step)
{
    return (value + step - 1) / step * step;
}

/* Behind all memory, where Linux looks for no memory of its own; whole huge pages, as its driver wants them. */
static void add_image(struct vmm_layout *l, const struct vmm_config *c)
{
    const struct vmm_range *last = &l->ranges[l->n - 1];
    uint64_t end = last->first + last->size;

    add(l,
        (struct vmm_range){ .first = align_up(end > VMM_HOLE_END ? end : VMM_HOLE_END, IMAGE_ALIGN),
                            .size = align_up(c->image.size_bytes, HUGE_PAGE),
                            .kind = VMM_RANGE_IMAGE,
                            .name = "image" });
}

static int check(const struct vmm_config *c, struct err *e)
{
    if (c->image.size_bytes > IMAGE_MAX)
        return err_set(e, 0, "a machine cannot have an image of %llu bytes",
                       (unsigned long long)c->image.size_bytes);
    if (c->ram_bytes < RAM_MIN || c->ram_bytes > RAM_MAX || c->ram_bytes % PAGE)
        return err_set(e, EINVAL, "a machine cannot have %llu bytes of memory",
                       (unsigned long long)c->ram_bytes);
    if (c->cpus < 1 || c->cpus > VMM_CPUS_MAX)
        return err_set(e, EINVAL, "a machine cannot have %u cpus", c->cpus);
    if (c->n_disks > VMM_DISKS_MAX)
        return err_set(e, 0, "a machine cannot have %u disks", c->n_disks);
    if (c->n_nets > VMM_NETS_MAX)
        return err_set(e, 0, "a machine cannot have %u network interfaces", c->n_nets);
    if (c->irqchip == VMM_IRQCHIP_NONE &&
        (c->cpus > 1 || c->rng || c->balloon || c->image.size_bytes > 0 || c->n_ports > 0 ||
         c->n_disks > 0 || c->n_nets > 0 || c->share))
        return err_set(e, EINVAL, "a machine without interrupts has one cpu and no virtio device");
    if (c->n_ports > VMM_PORTS_MAX)
        return err_set(e, EINVAL, "a console cannot have %u ports", c->n_ports);
    if (c->share && (c->share->n_slots < 1 || c->share->n_slots > VMM_SHARE_SLOTS_MAX))
        return err_set(e, EINVAL, "a share cannot have %u slots", c->share->n_slots);
    return 0;
}

int vmm_layout(const struct vmm_config *c, struct vmm_layout *out, struct err *e)
{
    struct vmm_layout l = { .n = 0 };
    uint64_t low = c->ram_bytes < VMM_HOLE_FIRST ? c->ram_bytes : VMM_HOLE_FIRST;
    int r = check(c, e);

    if (r < 0)
        return r;
    add(&l, (struct vmm_range){ .size = low, .kind = VMM_RANGE_RAM, .name = "ram" });
    if (c->n_ports > 0)
        add_slot(&l, VMM_SLOT_CONSOLE, "virtio-console");
    if (c->rng)
        add_slot(&l, VMM_SLOT_RNG, "virtio-rng");
    if (c->n_nets > 0)
        add_slot(&l, vmm_slot_of_net(0), "virtio-net");
    if (c->share)
        add_slot(&l, VMM_SLOT_SHARE, "virtio-fs");
    if (c->image.size_bytes > 0)
        add_slot(&l, VMM_SLOT_PMEM, "virtio-pmem");
    for (unsigned i = 0; i < c->n_disks; i++)
        add_slot(&l, VMM_SLOT_DISK + i, "virtio-blk");
    if (c->balloon)
        add_slot(&l, VMM_SLOT_BALLOON, "virtio-balloon");
    for (unsigned i = 1; i < c->n_nets; i++)
        add_slot(&l, vmm_slot_of_net(i), "virtio-net");
    if (c->irqchip == VMM_IRQCHIP_SPLIT) {
        add(&l, (struct vmm_range){ VMM_IOAPIC_FIRST, PAGE, VMM_RANGE_DEVICE, 0, "ioapic" });
        add(&l, (struct vmm_range){ VMM_LAPIC_FIRST, PAGE, VMM_RANGE_KERNEL, 0, "lapic" });
    }
    /* Three pages that VMX wants for real mode (KVM_SET_TSS_ADDR), and one for its page table. */
    add(&l, (struct vmm_range){ VMM_TSS_FIRST, 4 * PAGE, VMM_RANGE_KERNEL, 0, "kvm-tss" });
    if (c->ram_bytes > low)
        add(&l, (struct vmm_range){ .first = VMM_HOLE_END,
                                    .size = c->ram_bytes - low,
                                    .kind = VMM_RANGE_RAM,
                                    .name = "ram" });
    if (c->image.size_bytes > 0)
        add_image(&l, c);
    *out = l;
    return 0;
}

void vmm_layout_describe(const struct vmm_layout *l, struct strbuf *out)
{
    static const char *const kinds[] = {
        [VMM_RANGE_RAM] = "memory",
        [VMM_RANGE_DEVICE] = "device",
        [VMM_RANGE_KERNEL] = "kernel",
        [VMM_RANGE_IMAGE] = "image",
    };

    for (unsigned i = 0; i < l->n; i++) {
        const struct vmm_range *r = &l->ranges[i];

        strbuf_format(out, "%012llx-%012llx %s %s", (unsigned long long)r->first,
                      (unsigned long long)(r->first + r->size - 1), kinds[r->kind], r->name);
        if (r->gsi)
            strbuf_format(out, " gsi %u", r->gsi);
        strbuf_str(out, "\n");
    }
}
