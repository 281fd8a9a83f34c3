/* SPDX-License-Identifier: Apache-2.0 */
/* A container in a machine of its own: the choice, what cannot be had there, and the plan. */
#include <errno.h>
#include <fcntl.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <time.h>
#include <unistd.h>
#if defined(__x86_64__)
#include <x86intrin.h>
#endif

#include "container/machine.h"
#include "mux/mux.h"
#include "rootfs/rootfs.h"
#include "security/security.h"
#include "vmm/vmm.h"

static const char *const isolation_names[] = {
    [ISOLATION_CONTAINER] = "container", [ISOLATION_VM] = "vm", [ISOLATION_EMULATED] = "emulated"
};

const char *isolation_name(enum isolation mode)
{
    return isolation_names[mode];
}

static bool find_isolation(const char *name, enum isolation *out)
{
    for (size_t i = 0; i < COUNT_OF(isolation_names); i++)
        if (str_eq(name, isolation_names[i])) {
            *out = (enum isolation)i;
            return true;
        }
    return false;
}

/* Who has asked for it. */
static const char *pointer_of_choice(const struct container_options *o, const struct spec *s)
{
    if (o->isolation || !(spec_annotation(s, SPEC_ANNOTATION_ISOLATION) || s->vm.set))
        return "";
    return spec_annotation(s, SPEC_ANNOTATION_ISOLATION) ? "/annotations/org.teca.isolation"
                                                         : "/vm";
}

/* What containerd and CRI-O say of a container: "sandbox", or "container" of one. */
static bool is_of_pod(const struct spec *s, const char *as)
{
    static const enum spec_annotation types[] = { SPEC_ANNOTATION_CRI_TYPE,
                                                  SPEC_ANNOTATION_CRIO_TYPE };

    for (size_t i = 0; i < COUNT_OF(types); i++) {
        const char *type = spec_annotation(s, types[i]);

        if (type && str_eq(type, as))
            return true;
    }
    return false;
}

/* The links teca-vm and teca-emulated are what an engine's configuration names. */
static enum isolation isolation_of_name(const char *called_as)
{
    const char *slash = called_as ? strrchr(called_as, '/') : NULL;
    const char *name = slash ? slash + 1 : called_as;

    if (str_eq(name, "teca-vm"))
        return ISOLATION_VM;
    return str_eq(name, "teca-emulated") ? ISOLATION_EMULATED : ISOLATION_CONTAINER;
}

/* Never something weaker than asked for, unless whoever asks says so himself. */
static int choose_by_host(const char *pointer, const struct spec *s, enum isolation *out,
                          struct err *e)
{
    const char *fallback = spec_annotation(s, SPEC_ANNOTATION_ISOLATION_FALLBACK);
    enum isolation mode = ISOLATION_VM;
    const struct vmm_probe *probe;

    if (fallback && !find_isolation(fallback, &mode))
        return err_at(e, "/annotations/org.teca.isolation.fallback", 0,
                      "must be one of container, vm, emulated");
    probe = machine_probe();
    *out = probe->runs_kernels ? ISOLATION_VM : mode;
    if (probe->runs_kernels || fallback)
        return 0;
    err_at(
        e, pointer, 0,
        "isolation \"auto\" needs a KVM that runs kernels; teca vm doctor says what is wrong: %s",
        probe->reason);
    err_hint(e, "the annotation org.teca.isolation.fallback may name another isolation");
    return -EINVAL;
}

int machine_choose(const struct container_options *o, const struct spec *s, enum isolation *out,
                   struct err *e)
{
    const char *note = spec_annotation(s, SPEC_ANNOTATION_ISOLATION);
    const char *name = o->isolation ? o->isolation : note;
    int r = 0;

    /*
     * A pod's sandbox is no program of the user's: it holds the pod's namespaces, on the host, and a machine of its own would be
     * for nothing. It has the pod's annotations, which are about the containers.
     */
    if (!o->isolation && is_of_pod(s, "sandbox")) {
        *out = ISOLATION_CONTAINER;
        return 0;
    }
    if (!name)
        *out = s->vm.set ? ISOLATION_VM : isolation_of_name(o->called_as);
    else if (str_eq(name, "auto"))
        r = choose_by_host(pointer_of_choice(o, s), s, out, e);
    else if (!find_isolation(name, out))
        r = err_at(e, pointer_of_choice(o, s), 0, "must be one of container, vm, emulated, auto");
    return r == 0 && *out == ISOLATION_CONTAINER ? machine_refuse_image(s, e) : r;
}

/* ---- what cannot be had ---------------------------------------------------------------------- */

static int not_yet(const char *pointer, struct err *e)
{
    err_at(e, pointer, 0, "not supported yet");
    err_hint(e, "in a machine");
    return -EINVAL;
}

/*
 * There is one kernel here and one there: a namespace that is shared with the host, or joined, would have to be
 * in both. Of a network namespace it is the interfaces that a machine has, of a uts namespace the names. An ipc namespace
 * is refused to whoever asks for it; every container of a pod has its sandbox's, asked or not, and gets one of its own.
 */
static bool is_joined_in_part(const struct spec *s, enum spec_ns type)
{
    return type == SPEC_NS_NETWORK || type == SPEC_NS_UTS ||
           (type == SPEC_NS_IPC && is_of_pod(s, "container"));
}

static int check_namespaces(const struct spec *s, struct err *e)
{
    static const enum spec_ns own[] = { SPEC_NS_PID, SPEC_NS_NETWORK, SPEC_NS_IPC, SPEC_NS_UTS };
    char pointer[64];

    for (size_t i = 0; i < s->linux.n_namespaces; i++) {
        if (!s->linux.namespaces[i].path || is_joined_in_part(s, s->linux.namespaces[i].type))
            continue;
        base_format(pointer, sizeof pointer, "/linux/namespaces/%zu/path", i);
        return err_at(e, pointer, 0, "a machine cannot join a namespace of the host: '%s' (%s)",
                      s->linux.namespaces[i].path, spec_ns_name(s->linux.namespaces[i].type));
    }
    for (size_t i = 0; i < COUNT_OF(own); i++)
        if (!spec_has_namespace(s, own[i]))
            return err_at(e, "/linux/namespaces", 0,
                          "a machine cannot share the host's %s namespace: it has to be listed",
                          spec_ns_name(own[i]));
    return 0;
}

/* config-vm.md "HWConfig" */
static int of_xen(const char *pointer, struct err *e)
{
    return err_at(e, pointer, 0, "only Xen's machines have it");
}

static int check_vm(const struct spec *s, struct err *e)
{
    const struct spec_vm *vm = &s->vm;

    if (!vm->set)
        return 0;
    if (vm->hw_config.device_tree)
        return of_xen("/vm/hwConfig/deviceTree", e);
    if (vm->hw_config.dtdevs.n > 0)
        return of_xen("/vm/hwConfig/dtdevs", e);
    if (vm->hw_config.n_iomems > 0)
        return of_xen("/vm/hwConfig/iomems", e);
    if (vm->hw_config.irqs.n > 0)
        return of_xen("/vm/hwConfig/irqs", e);
    if (vm->hw_config.memory.set && vm->hw_config.memory.v < 128 << 20)
        return err_at(e, "/vm/hwConfig/memory", 0,
                      "a machine does not boot with less than 128 MiB");
    if (vm->hw_config.vcpus.set && (vm->hw_config.vcpus.v < 1 || vm->hw_config.vcpus.v > 64))
        return err_at(e, "/vm/hwConfig/vcpus", 0, "must be from 1 to 64");
    return 0;
}

/*
 * The numbers would be another device's there. Those of every kernel's own are the same everywhere
 * (Documentation/admin-guide/devices.txt): memory, terminals, FUSE.
 */
static int check_devices(const struct spec *s, struct err *e)
{
    enum { MEM = 1, TTYAUX = 5, MISC = 10, FUSE = 229 };
    char pointer[64];

    for (size_t i = 0; i < s->linux.n_devices; i++) {
        const struct spec_device *d = &s->linux.devices[i];
        bool own = d->major == MEM || d->major == TTYAUX || (d->major == MISC && d->minor == FUSE);

        if (d->type == SPEC_DEVICE_FIFO || (own && d->type != SPEC_DEVICE_BLOCK))
            continue;
        base_format(pointer, sizeof pointer, "/linux/devices/%zu", i);
        return err_at(e, pointer, 0, "a device of the host cannot cross into a machine: '%s'",
                      d->path);
    }
    return 0;
}

static int check_spec(const struct spec *s, struct err *e)
{
    if (sec_seccomp_notifies(s)) /* else the path means nothing: config-linux.md "seccomp" */
        return not_yet("/linux/seccomp/listenerPath", e);
    if (s->linux.n_net_devices > 0)
        return not_yet("/linux/netDevices", e);
    if (spec_keeps_groups(s))
        return err_at(e, "/annotations/run.oci.keep_original_groups", 0,
                      "the caller's groups cannot cross into a machine");
    if (s->linux.intel_rdt.set)
        return not_yet("/linux/intelRdt", e);
    return check_devices(s, e);
}

static int check_options(const struct container_options *o, struct err *e)
{
    if (geteuid() != 0)
        return err_set(e, 0, "a machine for an ordinary user is not supported yet: root starts it");
    if (o->no_new_keyring)
        return err_set(e, 0, "--no-new-keyring: the caller's keyring cannot cross into a machine");
    if (container_notify_socket())
        return err_set(e, 0, "NOTIFY_SOCKET: not supported yet (in a machine)");
    return 0;
}

static int check_kvm(const char *pointer, struct err *e)
{
    const struct vmm_probe *probe = machine_probe();

    if (probe->runs_kernels)
        return 0;
    err_at(e, pointer, 0,
           "isolation \"vm\" needs a KVM that runs kernels; teca vm doctor says what is wrong: %s",
           probe->reason);
    err_hint(e, "--isolation emulated does without");
    return -EINVAL;
}

int machine_check(const struct container_options *o, const struct spec *s, enum isolation mode,
                  struct err *e)
{
    int r = mode == ISOLATION_VM ? check_kvm(pointer_of_choice(o, s), e) : 0;

    if (r == 0)
        r = check_options(o, e);
    if (r == 0)
        r = check_vm(s, e);
    if (r == 0)
        r = machine_check_image(s, e);
    if (r == 0 && mode == ISOLATION_VM && s->vm.set && s->vm.hypervisor.set) {
        r = err_at(e, "/vm/hypervisor", 0, "isolation \"vm\" is run by teca's own monitor");
        err_hint(e, "--isolation emulated runs another one");
    }
    if (r == 0)
        r = check_namespaces(s, e);
    return r == 0 ? check_spec(s, e) : r;
}

/* ---- facts ----------------------------------------------------------------------------------- */

#if defined(__x86_64__)
static uint64_t clock_ns(void)
{
    struct timespec now;

    clock_gettime(CLOCK_MONOTONIC_RAW, &now);
    return (uint64_t)now.tv_sec * 1000000000 + (uint64_t)now.tv_nsec;
}

struct clocks {
    uint64_t ns, ticks;
};

/* Both at once: of some looks the one that nothing came in between. */
static struct clocks look_at_clocks(void)
{
    struct clocks best = { 0 };
    uint64_t least = UINT64_MAX;

    for (int i = 0; i < 4; i++) {
        uint64_t before = clock_ns(), ticks = __rdtsc(), took = clock_ns() - before;

        if (took < least) {
            least = took;
            best = (struct clocks){ before + took / 2, ticks };
        }
    }
    return best;
}

/* Over 10 ms, by the kernel's clock: within 20 parts in a million. */
static uint64_t measure_tsc_khz(void)
{
    const struct timespec span = { .tv_nsec = 10000000 };
    struct clocks from = look_at_clocks(), to;

    nanosleep(&span, NULL);
    to = look_at_clocks();
    return (to.ticks - from.ticks) * 1000000 / (to.ns - from.ns);
}
#else
static uint64_t measure_tsc_khz(void)
{
    return 0;
}
#endif

/* Debian 12's is part of QEMU, later ones are a package of their own. */
static const char *find_virtiofsd(void)
{
    static const char *const places[] = { "/usr/lib/qemu/virtiofsd", "/usr/libexec/virtiofsd" };

    for (size_t i = 0; i < COUNT_OF(places); i++)
        if (access(places[i], X_OK) == 0)
            return places[i];
    return NULL;
}

static void machine_gather_caller(struct machine_caller *out)
{
    char text[16] = "";
    AUTO_FD int fd = openat(AT_FDCWD, "/proc/self/oom_score_adj", O_RDONLY | O_CLOEXEC);

    if (fd < 0 || read(fd, text, sizeof text - 1) <= 0)
        return;
    out->oom_score_adj = strtol(text, NULL, 10);
    out->known = true;
    for (int i = 0; i < RLIM_NLIMITS; i++)
        out->known = out->known && getrlimit(i, &out->limits[i]) == 0;
}

/* "/linux/namespaces/2/path" */
static const char *pointer_of_namespace(const struct spec *s, const struct spec_namespace *ns,
                                        struct arena *a)
{
    return arena_format(a, "/linux/namespaces/%zu/path", (size_t)(ns - s->linux.namespaces));
}

static int gather_names(const struct spec *s, struct arena *a, struct ns_names *out, struct err *e)
{
    const struct spec_namespace *uts = spec_namespace_of(s, SPEC_NS_UTS);

    if (!uts || !uts->path || ns_read_names(uts->path, out, e) == 0)
        return 0;
    return err_at(e, pointer_of_namespace(s, uts, a), 0, "%s", arena_strdup(a, e->text));
}

static int find_emulator(const struct spec *s, struct arena *a, struct machine_facts *out,
                         struct err *e)
{
    out->tsc_khz = measure_tsc_khz();
    if (out->tsc_khz == 0)
        return err_set(e, 0, "machines are not supported yet on this architecture");
    out->qemu = s->vm.set && s->vm.hypervisor.set ? s->vm.hypervisor.path
                                                  : program_find(a, "qemu-system-x86_64");
    if (!out->qemu) {
        err_set(e, ENOENT, "cannot find qemu-system-x86_64");
        err_hint(e, "apt install qemu-system-x86");
        return -ENOENT;
    }
    out->virtiofsd = find_virtiofsd();
    if (!out->virtiofsd) {
        err_set(e, ENOENT, "cannot find virtiofsd");
        err_hint(e, "apt install qemu-system-common, or virtiofsd");
        return -ENOENT;
    }
    return 0;
}

int machine_gather(const struct spec *s, const char *bundle, enum isolation mode, struct arena *a,
                   struct machine_facts *out, struct err *e)
{
    struct boot_request q = { .kernel = s->vm.set ? s->vm.kernel.path : NULL,
                              .initrd = s->vm.set ? s->vm.kernel.initrd : NULL,
                              .look = out->look };
    int r;

    out->mode = mode;
    for (size_t i = 0; i < MACHINE_FILES; i++)
        out->files[i] = -1;
    r = mode == ISOLATION_EMULATED ? find_emulator(s, a, out, e) : 0;
    if (r == 0)
        r = gather_names(s, a, &out->caller.names, e);
    if (r == 0)
        r = machine_network_gather(s, a, out, e);
    if (r == 0)
        r = machine_image_gather(s, bundle, a, out, e);
    if (r < 0)
        return r;
    if (q.initrd && access(q.initrd, R_OK) < 0)
        return err_at(e, "/vm/kernel/initrd", errno, "cannot read '%s'", q.initrd);
    q.more_modules = machine_image_modules(out, a);
    r = boot_prepare(&q, a, &out->boot, e);
    if (r == 0) {
        out->files[MACHINE_KERNEL] = out->boot.kernel_fd;
        out->files[MACHINE_INITRAMFS] = out->boot.initramfs_fd;
    }
    if (r < 0 && q.kernel)
        return err_at(e, "/vm/kernel/path", 0, "%s", arena_strdup(a, e->text));
    out->umask = umask(022);
    umask(out->umask);
    machine_gather_caller(&out->caller);
    return r;
}

/* ---- the plan -------------------------------------------------------------------------------- */

/* Before the monitor hides the state directory from itself. */
static struct op_machine_control *compile_control(const struct compile_in *in, struct plan *p)
{
    struct step *st = plan_add(p, OP_MACHINE_CONTROL, LANE_INIT, "");

    st->machine_control.dir = in->state_dir;
    st->machine_control.out = plan_slot(p);
    st->machine_control.out_dir = plan_slot(p);
    return &st->machine_control;
}

/* What a machine has of uts and ipc namespaces by path, said at the beginning of the plan. */
static void compile_namespaces(const struct spec *s, const struct machine_facts *f, struct plan *p)
{
    for (size_t i = 0; i < s->linux.n_namespaces; i++) {
        const struct spec_namespace *ns = &s->linux.namespaces[i];
        const struct ns_names *names = &f->caller.names;
        struct step *st;

        if (!ns->path || ns->type == SPEC_NS_NETWORK)
            continue;
        st = plan_add(p, OP_MACHINE_NAMESPACE, LANE_RUNTIME, pointer_of_namespace(s, ns, p->arena));
        st->machine_namespace.type = spec_ns_name(ns->type);
        st->machine_namespace.path = ns->path;
        st->machine_namespace.guest =
            ns->type == SPEC_NS_UTS
                ? arena_format(p->arena, "a new one with the names '%s' and '%s'", names->host,
                               names->domain)
                : "a new one, which shares no SysV IPC and no POSIX message queues";
    }
}

/* Before the clone, as those of a container; the fds are the monitor's too then. */
static int compile_idmaps(const struct spec *s, struct plan *p, struct machine_binds *binds,
                          struct err *e)
{
    int r = 0;

    for (size_t i = 0; i < binds->n && r == 0; i++) {
        struct machine_bind *b = &binds->v[i];

        b->tree = SLOT_NONE;
        if (b->idmapped && b->copy_link)
            r = err_at(e, b->pointer, 0,
                       "copy-symlink with mapped ids: not supported yet (in a machine)");
        else if (b->idmapped)
            r = rootfs_compile_idmapped_source(p, s, b->mount, b->source, &b->tree, e);
    }
    return r;
}

static void compile_binds(const struct compile_in *in, struct plan *p,
                          const struct machine_binds *binds)
{
    for (size_t i = 0; i < binds->n; i++) {
        struct step *st = plan_add(p, OP_MACHINE_BIND, LANE_INIT, binds->v[i].pointer);

        st->machine_bind.dir = in->state_dir;
        st->machine_bind.name = binds->v[i].name;
        st->machine_bind.source = binds->v[i].source;
        st->machine_bind.recursive = binds->v[i].recursive;
        st->machine_bind.read_only = binds->v[i].read_only;
        st->machine_bind.all_read_only = binds->v[i].all_read_only;
        st->machine_bind.copy_link = binds->v[i].copy_link;
        st->machine_bind.tree = binds->v[i].tree;
    }
}

static const struct op_machine_files *compile_files(const struct compile_in *in,
                                                    const struct machine_facts *f, struct plan *p)
{
    struct step *st = plan_add(p, OP_MACHINE_FILES, LANE_INIT, "");

    st->machine_files.program = f->virtiofsd;
    st->machine_files.dir = in->state_dir;
    st->machine_files.memory_mib = (int64_t)machine_memory(in->spec);
    st->machine_files.out = plan_slot(p);
    st->machine_files.out_memory = plan_slot(p);
    st->machine_files.out_pid = plan_slot(p);
    return &st->machine_files;
}

/* The slots of f->files. */
static int reserve_files(struct plan *p)
{
    int first = plan_slot(p);

    for (int i = 1; i < MACHINE_FILES; i++)
        plan_slot(p);
    return first;
}

/* opened: the slot of the first of its files. */
static void compile_boot(const struct compile_in *in, const struct machine_facts *f, struct plan *p,
                         const struct machine_binds *binds, struct machine_network *n, int opened)
{
    static const char *const nothing[] = { NULL };
    const struct spec *s = in->spec;
    struct op_machine_files files = { .out = SLOT_NONE,
                                      .out_memory = SLOT_NONE,
                                      .out_pid = SLOT_NONE };
    bool by_hooks = machine_network_by_hooks(s, f);
    bool network = f->net.path || f->passt || by_hooks, share = binds->n > 0 || network;
    struct step *st;

    machine_network_tell(in, f, p, n);
    if (share)
        files = *compile_files(in, f, p);
    st = plan_add(p, OP_MACHINE_BOOT, LANE_INIT, "");
    st->machine_boot.program = f->qemu;
    st->machine_boot.kernel = f->boot.kernel;
    st->machine_boot.initramfs = f->boot.initramfs;
    st->machine_boot.image = f->image.path;
    st->machine_boot.system = f->system.path;
    st->machine_boot.command_line = machine_command_line(s, f, share, p->arena);
    st->machine_boot.memory_mib = (int64_t)machine_memory(s);
    st->machine_boot.cpus = machine_cpus(s, f->host_cpus);
    st->machine_boot.parameters = s->vm.set && s->vm.hypervisor.parameters.n
                                      ? s->vm.hypervisor.parameters.v
                                      : nothing;
    st->machine_boot.config = machine_config(s, binds, &f->caller, network, p->arena);
    st->machine_boot.dir = in->state_dir;
    st->machine_boot.terminal = s->process.terminal;
    st->machine_boot.no_pivot = in->no_pivot;
    st->machine_boot.files = files.out;
    st->machine_boot.memory = files.out_memory;
    st->machine_boot.server = files.out_pid;
    st->machine_boot.macs = by_hooks ? NULL : machine_network_macs(&f->net, p->arena);
    st->machine_boot.taps = n->first_tap;
    st->machine_boot.stream = f->passt;
    st->machine_boot.opened = opened;
    st->machine_boot.network = n->passt;
}

static void compile_clone(struct plan *p, int cgroup_slot, struct ns_clone_out *c)
{
    struct step *st = plan_add(p, OP_CLONE, LANE_RUNTIME, "");

    st->clone.cgroup = cgroup_slot;
    c->pid_slot = st->clone.out_pid = plan_slot(p);
    c->pidfd_slot = st->clone.out_pidfd = plan_slot(p);
    plan_add(p, OP_SETSID, LANE_INIT, "");
}

/* What the parts of one start share. */
struct story {
    const struct compile_in *in;
    const struct machine_facts *f;
    struct machine_binds binds;
    struct terminal_slots t;
    struct machine_network network;
    struct ns_clone_out c;
    struct op_machine_control control; /* where the monitor is asked */
    int opened;                        /* the first slot of f->files */
};

/* The first step of init behind the runtime's hooks waits for the last of these; -1: there are none. */
static void wait_for_hooks(struct plan *p, int over)
{
    for (int i = over; over >= 0 && i < (int)p->n; i++)
        if (p->steps[i].lane == LANE_INIT) {
            p->steps[i].after = over;
            return;
        }
}

/* Those of createContainer are the monitor's, and come when those of the runtime are over. */
static void compile_hooks_of_create(const struct story *story, struct plan *p)
{
    const struct compile_in *in = story->in;
    int over = -1;

    if (hooks_at_create(&in->spec->hooks) && !machine_network_by_hooks(in->spec, story->f))
        over = compile_runtime_hooks(in, p, "the container's file system stands",
                                     story->c.pid_slot);
    compile_container_hooks(in, p, story->f->umask, story->c.pid_slot);
    wait_for_hooks(p, over);
}

static int check_start(const struct compile_in *in, struct err *e)
{
    int r = terminal_check(in->spec, in, e);

    if (r == 0 && !in->create && !in->spec->process.set)
        r = err_at(e, "/process", 0, "process property must not be empty");
    if (r == 0 && in->preserve_fds > 0)
        r = err_set(e, 0,
                    "file descriptors cannot cross into a machine (--preserve-fds, LISTEN_FDS)");
    return r;
}

/* From the record to a monitor in its cgroup. */
static int compile_monitor(struct story *story, struct plan *p, struct err *e)
{
    const struct compile_in *in = story->in;
    const struct hook_subject hooks = { .hooks = &in->spec->hooks,
                                        .bundle = in->bundle,
                                        .annotations = in->spec->annotations };
    struct step *st = plan_add(p, OP_STATE_CREATE, LANE_RUNTIME, "");
    int cgroup_slot = SLOT_NONE, r;

    st->state_create.dir = in->state_dir;
    st->state_create.start_fifos = in->create;
    compile_namespaces(in->spec, story->f, p);
    hooks_compile_open(p, &hooks);
    terminal_compile_connect(p, in, &story->t);
    r = compile_idmaps(in->spec, p, &story->binds, e);
    if (r < 0)
        return r;
    machine_network_open(in, story->f, p, &story->network);
    r = machine_cgroup_make(in, story->f, p, &cgroup_slot, e);
    compile_clone(p, cgroup_slot, &story->c);
    if (r == 0)
        r = machine_cgroup_join(story->f, p, e);
    machine_network_close(story->f, p, &story->network);
    return r;
}

/* From there to a machine that holds the container, behind the hooks of its creation. */
static int compile_machine(struct story *story, struct plan *p, struct err *e)
{
    const struct compile_in *in = story->in;
    struct terminal_slots *t = &story->t;
    int over, r;

    terminal_compile_inherited(p, t);
    terminal_compile_open(p, in->spec, SLOT_NONE, t);
    if (t->terminal != SLOT_NONE)
        terminal_compile_stdio(p, in->spec, t);
    terminal_compile_hand_on(p, t);
    machine_network_enter(in, story->f, p, &story->network);
    story->control = *compile_control(in, p);
    plan_add(p, OP_MACHINE_SHARE, LANE_INIT, "")->machine_share.dir = in->state_dir;
    over = machine_network_hooks(in, story->f, p, story->c.pid_slot);
    compile_binds(in, p, &story->binds);
    compile_boot(in, story->f, p, &story->binds, &story->network, story->opened);
    wait_for_hooks(p, over);
    compile_barrier(p, "the machine holds the container", plan_last(p, LANE_INIT));
    r = machine_cgroup_cap(story->f, p, e);
    if (r == 0)
        compile_hooks_of_create(story, p);
    return r;
}

/* From there on the monitor serves. */
static void compile_serve(const struct story *story, struct plan *p)
{
    const struct compile_in *in = story->in;
    int hooked = plan_last(p, LANE_INIT), serve;
    size_t publish = p->n;
    struct step *st;

    compile_publish(in, p, &story->c, &story->t);
    p->steps[publish].after = hooked;
    st = plan_add(p, OP_MACHINE_SERVE, LANE_INIT, "");
    st->machine_serve.terminal = in->spec->process.terminal;
    st->machine_serve.hooks = in->spec->hooks.start_container.n > 0;
    st->machine_serve.control = story->control.out;
    st->machine_serve.dir = story->control.out_dir;
    serve = plan_last(p, LANE_INIT);
    p->steps[serve].after = plan_last(p, LANE_RUNTIME);
    if (in->create || in->spec->hooks.poststart.n == 0)
        return;
    compile_barrier(p, "the program runs", serve);
    compile_hook_steps(in, p, HOOK_POSTSTART, story->c.pid_slot);
}

int machine_compile(const struct compile_in *in, const struct machine_facts *f, struct plan *p,
                    struct compile_out *out, struct err *e)
{
    struct story story = { .in = in, .f = f };
    int r = check_start(in, e);

    if (r < 0)
        return r;
    machine_binds_of(in->spec, in->bundle, !f->image.path, p->arena, &story.binds);
    story.opened = reserve_files(p);
    r = compile_monitor(&story, p, e);
    if (r == 0)
        r = compile_machine(&story, p, e);
    if (r < 0)
        return r;
    compile_serve(&story, p);
    *out = (struct compile_out){ .pid_slot = story.c.pid_slot,
                                 .pidfd_slot = story.c.pidfd_slot,
                                 .private_pid_ns = true,
                                 .files_slot = story.opened };
    memcpy(out->files, f->files, sizeof out->files);
    return plan_finish(p, e);
}

/* ---- verbs ----------------------------------------------------------------------------------- */

int machine_refuse_criu(const char *what, struct err *e)
{
    err_set(e, 0, "a container in a machine cannot be %s: CRIU knows the processes of one kernel",
            what);
    err_hint(e, "these are of the machine's");
    return -EOPNOTSUPP;
}

int machine_said(const char *text, struct err *e)
{
    char pointer[ERR_POINTER_SIZE];
    size_t len = text[0] == '/' ? strcspn(text, ":") : 0;

    if (len == 0 || len >= sizeof pointer || text[len] != ':' || text[len + 1] != ' ')
        return err_set(e, 0, "%s", text);
    base_format(pointer, sizeof pointer, "%.*s", (int)len, text);
    return err_at(e, pointer, 0, "%s", text + len + 2);
}
