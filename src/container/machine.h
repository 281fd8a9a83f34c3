/* SPDX-License-Identifier: Apache-2.0 */
#ifndef TECA_CONTAINER_MACHINE_H
#define TECA_CONTAINER_MACHINE_H
/*
 * What the files of a container in a machine share. Order for a start: machine_choose, machine_check,
 * machine_gather, machine_compile; then the plan is executed as any other. The lane init is the monitor: it makes
 * what the guest may see of the host, starts the machine, and its pid is the container's for everybody.
 *
 *   machine_config.c   config.json as the guest gets it, and which paths of the host it needs (pure)
 *   machine_share.c    steps: those paths in a mount namespace of the monitor's, and their server
 *   machine_cgroup.c   processors, and the cgroup that holds the machine on the host
 *   machine_qemu.c     emulated: QEMU's command line
 *   machine_vmm.c      vm: the process that runs the machine on src/vmm
 *   machine_server.c   vm: the process that serves its files by src/share
 *   machine_jail.c     vm: what these two may do
 *   machine_monitor.c  steps: boot and serve
 */
#include <sys/resource.h>

#include "boot/boot.h"
#include "container/internal.h"
#include "vmm/vmm.h"

enum isolation { ISOLATION_CONTAINER, ISOLATION_VM, ISOLATION_EMULATED };
const char *isolation_name(enum isolation mode); /* "emulated" */
/* --isolation, else the annotation org.teca.isolation, else the vm object, else a container. */
int machine_choose(const struct container_options *o, const struct spec *s, enum isolation *out,
                   struct err *e);
/* May this be had in a machine? What cannot cross the boundary, and what is not built, is named. */
int machine_check(const struct container_options *o, const struct spec *s, enum isolation mode,
                  struct err *e);

/* What a process has from its caller where config.json says nothing: across the boundary it has to be said. */
struct machine_caller {
    bool known;
    struct rlimit limits[RLIM_NLIMITS];
    int64_t oom_score_adj;
};
/* The document as the host's cgroup of the machine takes it (machine_cgroup.c). */
struct machine_host {
    struct spec first, later; /* limits before the clone, and behind the boot */
    struct spec both;         /* what the host is asked about */
};
struct machine_facts {
    enum isolation mode;
    const char *qemu, *virtiofsd; /* NULL: ours */
    struct boot_parts boot;       /* made, where they were not there */
    struct cgroup_facts cgroup;
    struct machine_host *host;
    unsigned host_cpus;
    struct machine_caller caller;
    uint64_t tsc_khz; /* of the host's time stamp counter, which TCG passes on */
    unsigned umask;
};
int machine_gather(const struct spec *s, enum isolation mode, struct arena *a,
                   struct machine_facts *out, struct err *e);
/* in->facts is not asked. */
int machine_compile(const struct compile_in *in, const struct machine_facts *f, struct plan *p,
                    struct compile_out *out, struct err *e);
/* The root as an absolute path. */
const char *machine_root(const struct container_bundle *b, struct arena *a);

/* A path of the host that the guest sees as MUX_SHARE/name. */
struct machine_bind {
    const char *name, *source, *pointer;
    bool recursive, read_only;
};
struct machine_binds {
    struct machine_bind *v;
    size_t n;
};
/* bundle: where relative sources begin. */
void machine_binds_of(const struct spec *s, const char *bundle, struct arena *a,
                      struct machine_binds *out);
/* Text of config.json for the guest. */
const char *machine_config(const struct spec *s, const struct machine_binds *binds,
                           const struct machine_caller *caller, struct arena *a);
/* MiB of memory, by vm.hwConfig or the memory limit. */
uint64_t machine_memory(const struct spec *s);
const char *machine_command_line(const struct spec *s, const struct machine_facts *f,
                                 struct arena *a);

enum {
    MACHINE_TB_MIB = 128, /* for what QEMU has translated: else it takes up to 1 GiB */
    MACHINE_CPUS_MAX = 64
};
/* Processors, by vm.hwConfig or the cpu limits; host: how many there are here, 0: any number. */
int64_t machine_cpus(const struct spec *s, unsigned host);
struct machine_host *machine_host_of(const struct spec *s, enum isolation mode, struct arena *a);
int machine_cgroup_gather(const struct container_options *o, const struct spec *s,
                          enum isolation mode, struct arena *a, struct machine_facts *f,
                          struct err *e);
/* Before the clone; out_slot: the v2 cgroup to clone into, or SLOT_NONE. */
int machine_cgroup_make(const struct compile_in *in, const struct machine_facts *f, struct plan *p,
                        int *out_slot, struct err *e);
/* Behind the clone, before the monitor starts anything. */
int machine_cgroup_join(const struct machine_facts *f, struct plan *p, struct err *e);
/* When the machine is up. */
int machine_cgroup_cap(const struct machine_facts *f, struct plan *p, struct err *e);

/* The fds of a machine's process, which it inherits under the numbers that its command line says. */
struct machine_wires {
    int kernel, initramfs, port, console, files;
    int memory, kvm; /* of our own monitor: of the share, and /dev/kvm */
};
/* The arguments of QEMU, NULL-ended. */
char *const *machine_qemu_args(const struct op_machine_boot *op, const struct machine_wires *w,
                               struct arena *a);
/* fork(2) of the process that runs it on our own monitor; its pid. */
pid_t machine_vmm_spawn(const struct op_machine_boot *op, const struct machine_wires *w,
                        struct err *e);
/* fork(2) of our own file server, with memory for so many requests at once. */
enum { MACHINE_SLOTS = 8 };
int machine_serve_files(const struct op_machine_files *op, struct slots *slots, struct err *e);
void machine_raise_files(void); /* RLIMIT_NOFILE to its hard limit */
/* In a child that is about to execute something: dies with the monitor, has only these fds. */
int machine_child_prepare(const int *keep, size_t n, pid_t monitor);

int machine_share_step(const struct step *st, struct slots *slots, struct err *e);
int machine_step(struct execution *x, const struct step *st, struct err *e);

#endif
