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

/*
 * The link teca-vm is what an engine's configuration names. A pod's sandbox is no program of the user's: it holds
 * the pod's namespaces, on the host, and a machine of its own would be for nothing.
 */
static bool is_called_for_machines(const struct container_options *o, const struct spec *s)
{
    static const enum spec_annotation types[] = { SPEC_ANNOTATION_CRI_TYPE,
                                                  SPEC_ANNOTATION_CRIO_TYPE };
    const char *name = o->called_as ? strrchr(o->called_as, '/') : NULL;

    if (!str_eq(name ? name + 1 : o->called_as, "teca-vm"))
        return false;
    for (size_t i = 0; i < COUNT_OF(types); i++) {
        const char *type = spec_annotation(s, types[i]);

        if (type && str_eq(type, "sandbox"))
            return false;
    }
    return true;
}

/* Never something weaker than asked for, unless whoever asks says so himself. */
static int choose_by_host(const char *pointer, const struct spec *s, enum isolation *out,
                          struct err *e)
{
    const char *fallback = spec_annotation(s, SPEC_ANNOTATION_ISOLATION_FALLBACK);
    enum isolation mode = ISOLATION_VM;
    struct vmm_probe probe;

    if (fallback && !find_isolation(fallback, &mode))
        return err_at(e, "/annotations/org.teca.isolation.fallback", 0,
                      "must be one of container, vm, emulated");
    vmm_probe(&probe);
    *out = probe.runs_kernels ? ISOLATION_VM : mode;
    if (probe.runs_kernels || fallback)
        return 0;
    err_at(
        e, pointer, 0,
        "isolation \"auto\" needs a KVM that runs kernels; teca vm doctor says what is wrong: %s",
        probe.reason);
    err_hint(e, "the annotation org.teca.isolation.fallback may name another isolation");
    return -EINVAL;
}

int machine_choose(const struct container_options *o, const struct spec *s, enum isolation *out,
                   struct err *e)
{
    const char *note = spec_annotation(s, SPEC_ANNOTATION_ISOLATION);
    const char *name = o->isolation ? o->isolation : note;

    if (!name) {
        *out = s->vm.set || is_called_for_machines(o, s) ? ISOLATION_VM : ISOLATION_CONTAINER;
        return 0;
    }
    if (str_eq(name, "auto"))
        return choose_by_host(pointer_of_choice(o, s), s, out, e);
    return find_isolation(name, out) ? 0
                                     : err_at(e, pointer_of_choice(o, s), 0,
                                              "must be one of container, vm, emulated, auto");
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
 * in both. Of a network namespace it is the interfaces that a machine has.
 */
static int check_namespaces(const struct spec *s, struct err *e)
{
    static const enum spec_ns own[] = { SPEC_NS_PID, SPEC_NS_NETWORK, SPEC_NS_IPC, SPEC_NS_UTS };
    char pointer[64];

    for (size_t i = 0; i < s->linux.n_namespaces; i++) {
        if (!s->linux.namespaces[i].path || s->linux.namespaces[i].type == SPEC_NS_NETWORK)
            continue;
        base_format(pointer, sizeof pointer, "/linux/namespaces/%zu/path", i);
        return err_at(e, pointer, 0, "a machine cannot join a namespace of the host");
    }
    for (size_t i = 0; i < COUNT_OF(own); i++)
        if (!spec_has_namespace(s, own[i]))
            return err_at(e, "/linux/namespaces", 0,
                          "a machine cannot share the host's %s namespace: it has to be listed",
                          spec_ns_name(own[i]));
    return 0;
}

static int check_vm(const struct spec *s, struct err *e)
{
    const struct spec_vm *vm = &s->vm;

    if (!vm->set)
        return 0;
    if (vm->kernel.initrd)
        return not_yet("/vm/kernel/initrd", e);
    if (vm->image.set)
        return not_yet("/vm/image", e);
    if (vm->hw_config.device_tree)
        return not_yet("/vm/hwConfig/deviceTree", e);
    if (vm->hw_config.dtdevs.n > 0)
        return not_yet("/vm/hwConfig/dtdevs", e);
    if (vm->hw_config.n_iomems > 0)
        return not_yet("/vm/hwConfig/iomems", e);
    if (vm->hw_config.irqs.n > 0)
        return not_yet("/vm/hwConfig/irqs", e);
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
    char pointer[64];

    for (size_t i = 0; i < s->n_mounts; i++)
        if (s->mounts[i].uid_mappings.n > 0) {
            base_format(pointer, sizeof pointer, "/mounts/%zu/uidMappings", i);
            return not_yet(pointer, e);
        }
    if (s->linux.seccomp.listener_path)
        return not_yet("/linux/seccomp/listenerPath", e);
    if (s->linux.n_net_devices > 0)
        return not_yet("/linux/netDevices", e);
    if (s->linux.intel_rdt.set)
        return not_yet("/linux/intelRdt", e);
    return check_devices(s, e);
}

static int check_options(const struct container_options *o, struct err *e)
{
    if (geteuid() != 0)
        return err_set(e, 0, "a machine for an ordinary user is not supported yet: root starts it");
    if (o->no_pivot || o->no_new_keyring)
        return err_set(e, 0, "--%s: not supported yet (in a machine)",
                       o->no_pivot ? "no-pivot" : "no-new-keyring");
    if (container_notify_socket())
        return err_set(e, 0, "NOTIFY_SOCKET: not supported yet (in a machine)");
    return 0;
}

static int check_kvm(const char *pointer, struct err *e)
{
    struct vmm_probe probe;

    vmm_probe(&probe);
    if (probe.runs_kernels)
        return 0;
    err_at(e, pointer, 0,
           "isolation \"vm\" needs a KVM that runs kernels; teca vm doctor says what is wrong: %s",
           probe.reason);
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

/* Over 10 ms, by the kernel's clock: within 20 parts in a million. */
static uint64_t measure_tsc_khz(void)
{
    const struct timespec span = { .tv_nsec = 10000000 };
    uint64_t from = clock_ns(), ticks = __rdtsc();

    nanosleep(&span, NULL);
    ticks = __rdtsc() - ticks;
    return ticks * 1000000 / (clock_ns() - from);
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

int machine_gather(const struct spec *s, enum isolation mode, struct arena *a,
                   struct machine_facts *out, struct err *e)
{
    struct boot_request q = { .kernel = s->vm.set ? s->vm.kernel.path : NULL, .look = out->look };
    int r;

    out->mode = mode;
    r = mode == ISOLATION_EMULATED ? find_emulator(s, a, out, e) : 0;
    if (r == 0)
        r = machine_network_gather(s, a, out, e);
    if (r < 0)
        return r;
    r = boot_prepare(&q, a, &out->boot, e);
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

static void compile_share(const struct compile_in *in, struct plan *p,
                          const struct machine_binds *binds)
{
    plan_add(p, OP_MACHINE_SHARE, LANE_INIT, "")->machine_share.dir = in->state_dir;
    for (size_t i = 0; i < binds->n; i++) {
        struct step *st = plan_add(p, OP_MACHINE_BIND, LANE_INIT, binds->v[i].pointer);

        st->machine_bind.dir = in->state_dir;
        st->machine_bind.name = binds->v[i].name;
        st->machine_bind.source = binds->v[i].source;
        st->machine_bind.recursive = binds->v[i].recursive;
        st->machine_bind.read_only = binds->v[i].read_only;
        st->machine_bind.all_read_only = binds->v[i].all_read_only;
        st->machine_bind.copy_link = binds->v[i].copy_link;
    }
}

static void compile_boot(const struct compile_in *in, const struct machine_facts *f, struct plan *p,
                         const struct machine_binds *binds, const struct machine_network *n)
{
    static const char *const nothing[] = { NULL };
    const struct spec *s = in->spec;
    int files = plan_slot(p), memory = plan_slot(p);
    struct step *st;

    machine_network_tell(in, f, p);
    st = plan_add(p, OP_MACHINE_FILES, LANE_INIT, "");
    st->machine_files.program = f->virtiofsd;
    st->machine_files.dir = in->state_dir;
    st->machine_files.out = files;
    st->machine_files.out_memory = memory;
    st = plan_add(p, OP_MACHINE_BOOT, LANE_INIT, "");
    st->machine_boot.program = f->qemu;
    st->machine_boot.kernel = f->boot.kernel;
    st->machine_boot.initramfs = f->boot.initramfs;
    st->machine_boot.command_line = machine_command_line(s, f, p->arena);
    st->machine_boot.memory_mib = (int64_t)machine_memory(s);
    st->machine_boot.cpus = machine_cpus(s, f->host_cpus);
    st->machine_boot.parameters = s->vm.set && s->vm.hypervisor.parameters.n
                                      ? s->vm.hypervisor.parameters.v
                                      : nothing;
    st->machine_boot.config = machine_config(s, binds, &f->caller, f->net.path || f->passt,
                                             p->arena);
    st->machine_boot.dir = in->state_dir;
    st->machine_boot.terminal = s->process.terminal;
    st->machine_boot.files = files;
    st->machine_boot.memory = memory;
    st->machine_boot.macs = machine_network_macs(&f->net, p->arena);
    st->machine_boot.taps = n->first_tap;
    st->machine_boot.stream = f->passt;
}

static void compile_clone(struct plan *p, int cgroup_slot, struct ns_clone_out *c)
{
    struct step *st = plan_add(p, OP_CLONE, LANE_RUNTIME, "");

    st->clone.cgroup = cgroup_slot;
    c->pid_slot = st->clone.out_pid = plan_slot(p);
    c->pidfd_slot = st->clone.out_pidfd = plan_slot(p);
    plan_add(p, OP_SETSID, LANE_INIT, "");
}

/* Those of createContainer are the monitor's, and come when those of the runtime are over. */
static void compile_hooks_of_create(const struct compile_in *in, struct plan *p,
                                    const struct ns_clone_out *c)
{
    int over = compile_create_hooks(in, p, c->pid_slot);

    for (int i = over; over >= 0 && i < (int)p->n; i++)
        if (p->steps[i].lane == LANE_INIT) {
            p->steps[i].after = over;
            return;
        }
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
};

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
    hooks_compile_open(p, &hooks);
    terminal_compile_connect(p, in, &story->t);
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
    struct container_facts facts = { .sec = { .umask = story->f->umask } };
    struct compile_in with = *in;
    struct terminal_slots *t = &story->t;
    int r;

    with.facts = &facts;
    terminal_compile_inherited(p, t);
    terminal_compile_open(p, in->spec, SLOT_NONE, t);
    if (t->terminal != SLOT_NONE)
        terminal_compile_stdio(p, in->spec, t);
    terminal_compile_hand_on(p, t);
    machine_network_enter(in, story->f, p, &story->network);
    story->control = *compile_control(in, p);
    compile_share(in, p, &story->binds);
    compile_boot(in, story->f, p, &story->binds, &story->network);
    compile_barrier(p, "the machine holds the container", plan_last(p, LANE_INIT));
    r = machine_cgroup_cap(story->f, p, e);
    if (r == 0)
        compile_hooks_of_create(&with, p, &story->c);
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
    machine_binds_of(in->spec, in->bundle, p->arena, &story.binds);
    r = compile_monitor(&story, p, e);
    if (r == 0)
        r = compile_machine(&story, p, e);
    if (r < 0)
        return r;
    compile_serve(&story, p);
    *out = (struct compile_out){ story.c.pid_slot, story.c.pidfd_slot, true };
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
