/* SPDX-License-Identifier: Apache-2.0 */
/*
 * QEMU's command line for a machine without KVM: -M microvm, which has virtio-mmio, a serial port and little else.
 * vm-design.md 9; the options were tried with QEMU 7.2.
 */
#include <string.h>

#include "container/machine.h"
#include "mux/mux.h"

enum { ARGS_MAX = 64 };

struct args {
    struct arena *arena;
    char **v;
    size_t n;
};

static void add(struct args *a, const char *word, const char *value)
{
    a->v[a->n++] = (char *)word;
    if (value)
        a->v[a->n++] = (char *)value;
}

static const char *fd_name(struct arena *a, int fd)
{
    return arena_format(a, "/proc/self/fd/%d", fd);
}

static void add_machine(struct args *a, const struct op_machine_boot *op)
{
    add(a, "-nodefaults", NULL);
    add(a, "-no-user-config", NULL);
    add(a, "-no-reboot", NULL);
    add(a, "-display", "none");
    add(a, "-machine",
        "microvm,rtc=on,pit=on,isa-serial=on,x-option-roms=off,memory-backend=memory");
    add(a, "-accel",
        arena_format(a->arena, "tcg,thread=%s,tb-size=%d", op->cpus > 1 ? "multi" : "single",
                     MACHINE_TB_MIB));
    add(a, "-cpu", "max");
    add(a, "-smp", arena_format(a->arena, "%ld", (long)op->cpus));
    add(a, "-m", arena_format(a->arena, "%ldM", (long)op->memory_mib));
    /* virtiofsd writes into the guest's memory itself. */
    add(a, "-object",
        arena_format(a->arena, "memory-backend-memfd,id=memory,size=%ldM,share=on",
                     (long)op->memory_mib));
    add(a, "-sandbox", "on,obsolete=deny,elevateprivileges=deny,spawn=deny,resourcecontrol=deny");
}

static void add_networks(struct args *a, const struct op_machine_boot *op,
                         const struct machine_wires *w)
{
    const char *kind = op->stream ? "socket" : "tap";

    for (int i = 0; op->macs[i]; i++) {
        add(a, "-netdev", arena_format(a->arena, "%s,id=net%d,fd=%d", kind, i, w->nets[i]));
        add(a, "-device",
            arena_format(a->arena, "virtio-net-device,netdev=net%d,mac=%s", i, op->macs[i]));
    }
}

static void add_devices(struct args *a, const struct machine_wires *w)
{
    add(a, "-chardev", arena_format(a->arena, "socket,id=console,fd=%d", w->console));
    add(a, "-serial", "chardev:console");
    /* virtio-fs is there since virtio 1.0 only. */
    add(a, "-global", "virtio-mmio.force-legacy=false");
    add(a, "-chardev", arena_format(a->arena, "socket,id=agent,fd=%d", w->port));
    add(a, "-device", "virtio-serial-device");
    add(a, "-device", "virtserialport,chardev=agent,name=" MUX_PORT);
    add(a, "-device", "virtio-rng-device");
    add(a, "-chardev", arena_format(a->arena, "socket,id=files,fd=%d", w->files));
    add(a, "-device", "vhost-user-fs-device,chardev=files,tag=" MUX_SHARE_TAG);
}

char *const *machine_qemu_args(const struct op_machine_boot *op, const struct machine_wires *w,
                               struct arena *arena)
{
    size_t more = 0;
    struct args a = { .arena = arena };

    while (op->parameters[more])
        more++;
    a.v = arena_array(arena, ARGS_MAX + more, sizeof *a.v);
    add(&a, op->program, NULL);
    add_machine(&a, op);
    add(&a, "-kernel", fd_name(arena, w->kernel));
    add(&a, "-initrd", fd_name(arena, w->initramfs));
    add(&a, "-append", op->command_line);
    add_devices(&a, w);
    add_networks(&a, op, w);
    for (size_t i = 0; i < more; i++)
        add(&a, op->parameters[i], NULL);
    return a.v;
}
