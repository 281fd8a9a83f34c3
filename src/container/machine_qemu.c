/* SPDX-License-Identifier: Apache-2.0 */
/*
 * A machine without KVM, by QEMU: -M microvm, which has virtio-mmio, a serial port and little else. vm-design.md 9; the
 * options were tried with QEMU 7.2. It is nobody in a root that holds QEMU, and nothing there can be written.
 */
#include <errno.h>
#include <limits.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "container/machine.h"
#include "container/machine_jail.h"
#include "mux/mux.h"

struct args { /* NULL-ended */
    struct arena *arena;
    char **v;
    size_t n, cap;
};

static void add_word(struct args *a, const char *word)
{
    if (a->n + 1 >= a->cap)
        a->v = arena_grow(a->arena, a->v, a->n, &a->cap, sizeof *a->v);
    a->v[a->n++] = (char *)word;
}

static void add(struct args *a, const char *word, const char *value)
{
    add_word(a, word);
    if (value)
        add_word(a, value);
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
    /* TCG has no fast string instructions (one byte a turn), and walks a fifth level of page tables for nothing. */
    add(a, "-cpu", "max,-erms,-fsrm,-la57");
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
    if (w->files < 0)
        return;
    add(a, "-chardev", arena_format(a->arena, "socket,id=files,fd=%d", w->files));
    add(a, "-device", "vhost-user-fs-device,chardev=files,tag=" MUX_SHARE_TAG);
}

/* By a set of fds, not by /proc: QEMU is nobody by then, who may not open what only root may read. */
static void add_image(struct args *a, int fd, int set, const char *serial)
{
    if (fd < 0)
        return;
    add(a, "-add-fd", arena_format(a->arena, "fd=%d,set=%d", fd, set));
    add(a, "-blockdev",
        arena_format(a->arena, "driver=file,node-name=image%d,filename=/dev/fdset/%d,read-only=on",
                     set, set));
    add(a, "-device",
        arena_format(a->arena, "virtio-blk-device,drive=image%d,serial=%s", set, serial));
}

char *const *machine_qemu_args(const struct op_machine_boot *op, const struct machine_wires *w,
                               struct arena *arena)
{
    struct args a = { .arena = arena };

    add(&a, op->program, NULL);
    add_machine(&a, op);
    add(&a, "-kernel", fd_name(arena, w->kernel));
    add(&a, "-initrd", fd_name(arena, w->initramfs));
    add(&a, "-append", op->command_line);
    add_devices(&a, w);
    add_image(&a, w->image, 1, MUX_DISK);
    add_image(&a, w->system, 2, MUX_SYSTEM_DISK);
    add_networks(&a, op, w);
    for (size_t i = 0; op->parameters[i]; i++)
        add(&a, op->parameters[i], NULL);
    return a.v;
}

/* ---- in the process -------------------------------------------------------------------------- */

/* Kernel and initramfs are opened again by the name that an fd has in a procfs: a file may have been replaced meanwhile. */
static int make_root(const struct op_machine_boot *op, const char *program, struct err *e)
{
    static const char *const data[] = { "share/qemu", "share/seabios", NULL }; /* firmware */
    AUTO_FD int root = jail_mount_root(op->dir, program, data, e);
    int r = root < 0 ? root : jail_mount_processes(root, "proc", e);

    return r < 0 ? r : jail_seal_root(root, e);
}

static int run(const struct op_machine_boot *op, struct machine_wires *w, struct arena *a,
               struct err *e)
{
    int *keep[7 + NET_INTERFACES_MAX] = { &w->kernel, &w->initramfs, &w->port, &w->console };
    char program[PATH_MAX]; /* a link is not there, and QEMU looks for its modules beside itself */
    int n = 4, r;

    if (!realpath(op->program, program))
        return err_set(e, errno, "cannot find '%s'", op->program);
    if (w->files >= 0)
        keep[n++] = &w->files;
    if (w->image >= 0)
        keep[n++] = &w->image;
    if (w->system >= 0)
        keep[n++] = &w->system;
    for (int i = 0; op->macs[i]; i++)
        keep[n++] = &w->nets[i];
    r = jail_keep_fds(keep, n, e);
    r = r < 0 ? r : jail_unshare(e);
    r = r < 0 ? r : make_root(op, program, e);
    r = r < 0 ? r : jail_change_root(op->dir, e);
    r = r < 0 ? r : jail_become_nobody(e);
    if (r < 0)
        return r;
    /* The monitor's end of the port dies with it: before PR_SET_PDEATHSIG nothing else would have told. */
    if (fd_is_hung_up(w->port))
        return err_set(e, EPIPE, "the monitor has gone");
    dup2(w->console, STDOUT_FILENO);
    dup2(w->console, STDERR_FILENO);
    return jail_execute(program, machine_qemu_args(op, w, a), n, e);
}

pid_t machine_qemu_spawn(const struct op_machine_boot *op, const struct machine_wires *w,
                         struct arena *a, struct err *e)
{
    struct machine_wires own = *w;
    struct err failed = { 0 };
    char line[ERR_TEXT_SIZE + 1];
    pid_t pid = jail_fork(e);

    if (pid != 0)
        return pid;
    run(op, &own, a, &failed);
    base_format(line, sizeof line, "%s\n", failed.text);
    fd_write_all(own.console, line, strlen(line)); /* its last words */
    _exit(127);
}
