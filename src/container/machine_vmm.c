/* SPDX-License-Identifier: Apache-2.0 */
/*
 * A machine on our own monitor, src/vmm: a process that knows no container, has nothing but the fds that it was given, and
 * is nobody in an empty root. Its threads: the cpus, one that waits for them, and the one here that
 * carries bytes between the machine's devices and the sockets of the container's monitor.
 */
#include <errno.h>
#include <fcntl.h>
#include <poll.h>
#include <pthread.h>
#include <signal.h>
#include <stdatomic.h>
#include <stdlib.h>
#include <string.h>
#include <sys/eventfd.h>
#include <sys/mman.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <unistd.h>

#include "container/machine.h"
#include "container/machine_jail.h"
#include "mux/mux.h"

enum { AGENT, PORTS, CHUNK = 65536, MIB_SHIFT = 20 };

static struct host {
    struct machine_wires w;
    struct vmm *m;
    int news; /* an eventfd: there is something to look at */
    char input[CHUNK];
    size_t input_len, input_sent; /* for the agent's port, which has no room for it */
    atomic_bool stalled;          /* the port's socket had no room */
    atomic_bool ended;
    bool is_orphan;
    struct vmm_outcome outcome;
    struct err error; /* of vmm_run, with r */
    int r;
} host;

static void wake(void)
{
    const uint64_t one = 1;

    (void)!write(host.news, &one, sizeof one); /* it cannot be full */
}

/* The last line of the console, which the monitor tells. */
static void say(const char *text)
{
    char line[ERR_TEXT_SIZE + 2];
    size_t len = base_format(line, sizeof line, "\n%s\n", text);

    send(host.w.console, line, len < sizeof line ? len : sizeof line - 1, MSG_NOSIGNAL);
}

/*
 * The file that is the guest's image was cut, or its disk fails. A cpu's own access ends the machine in KVM_RUN; where a device
 * reads for the guest, in whatever thread, it is a signal, or EFAULT of a call.
 */
static _Noreturn void lose_image(int signal)
{
    (void)signal;
    say("the machine ended by fault: " VMM_LOST_FILE);
    _exit(0);
}

/* ---- what the devices call, in the thread of a cpu: nothing may block ------------------------- */

static size_t port_output(void *ctx, const void *data, size_t len)
{
    ssize_t n = send(host.w.port, data, len, MSG_DONTWAIT | MSG_NOSIGNAL);

    (void)ctx;
    if (n >= 0)
        return (size_t)n;
    if (errno == EFAULT) /* poll(2) would call it writable, again and again */
        lose_image(SIGBUS);
    atomic_store(&host.stalled, true);
    wake();
    return 0;
}

static void news(void *ctx)
{
    (void)ctx;
    wake();
}

/* Room for every slot's request is always there. */
static bool submit(void *ctx, const struct vmm_share_request *r)
{
    (void)ctx;
    return send(host.w.files, r, sizeof *r, MSG_DONTWAIT | MSG_NOSIGNAL) == sizeof *r;
}

static void cpu_begins(void)
{
    if (jail_filter(JAIL_CPU) < 0)
        _exit(1);
}

/* ---- the machine ----------------------------------------------------------------------------- */

static void io_begins(void)
{
    if (jail_filter(JAIL_IO) < 0)
        _exit(1);
}

static struct vmm_share share = { .tag = MUX_SHARE_TAG,
                                  .n_slots = MACHINE_SLOTS,
                                  .submit = submit };

static const struct vmm_port ports[PORTS] = {
    [AGENT] = { .name = MUX_PORT, .output = port_output, .room = news },
};

/* The MTU is the agent's to set: this is the largest that it may. */
static void configure_net(struct vmm_net *n, const struct op_machine_boot *op, unsigned i)
{
    *n = (struct vmm_net){ .kind = op->stream ? VMM_NET_STREAM : VMM_NET_TAP,
                           .fd = host.w.nets[i],
                           .mtu = UINT16_MAX };
    for (size_t b = 0; b < sizeof n->mac; b++)
        n->mac[b] = (uint8_t)strtoul(op->macs[i] + 3 * b, NULL, 16); /* "02:00:..." of ours */
}

/* The devices of a machine for a container: where others plug theirs in. */
static void configure(struct vmm_config *c, const struct op_machine_boot *op)
{
    *c = (struct vmm_config){ .ram_bytes = (uint64_t)op->memory_mib << MIB_SHIFT,
                              .cpus = (unsigned)op->cpus,
                              .kvm_fd = host.w.kvm,
                              .rng = true,
                              .balloon = true,
                              .ports = ports,
                              .n_ports = PORTS,
                              .share = host.w.files < 0 ? NULL : &share,
                              .serial_news = news,
                              .cpu_begins = cpu_begins,
                              .io_begins = io_begins };
    if (host.w.system >= 0)
        c->disks[c->n_disks++] = (struct vmm_disk){ host.w.system, true };
    for (; op->macs[c->n_nets]; c->n_nets++)
        configure_net(&c->nets[c->n_nets], op, c->n_nets);
}

static int map_slots(struct err *e)
{
    void *at = host.w.memory < 0 ? NULL
                                 : mmap(NULL, (size_t)MACHINE_SLOTS * VMM_SHARE_SLOT,
                                        PROT_READ | PROT_WRITE, MAP_SHARED, host.w.memory, 0);

    if (at == MAP_FAILED)
        return err_set(e, errno, "cannot map the memory of a share");
    share.slots = at;
    return 0;
}

/* It was a regular file when its name was looked at. */
static int open_image(struct vmm_config *c, struct err *e)
{
    struct stat st;

    c->image.fd = host.w.image;
    if (host.w.image < 0)
        return 0;
    if (fstat(host.w.image, &st) < 0 || !S_ISREG(st.st_mode) || st.st_size == 0)
        return err_set(e, 0, "the image is no regular file with contents");
    c->image.size_bytes = (uint64_t)st.st_size;
    return 0;
}

static int build(const struct op_machine_boot *op, struct err *e)
{
    struct vmm_linux files = { .kernel_fd = host.w.kernel,
                               .kernel_is_final = true,
                               .initrd_fd = host.w.initramfs,
                               .command_line = op->command_line };
    struct vmm_config config;
    struct vmm_layout layout;
    int r = map_slots(e);

    configure(&config, op);
    config.begin_with = &files;
    r = r < 0 ? r : open_image(&config, e);
    r = r < 0 ? r : vmm_layout(&config, &layout, e);
    r = r < 0 ? r : vmm_build(&config, &layout, &host.m, e);
    if (r == 0) {
        r = vmm_load_linux(host.m, &files, e);
        if (r == -ENOSPC)
            err_hint(e, "vm.hwConfig.memory, or a higher memory limit, gives it more");
    }
    return r;
}

static void *run(void *arg)
{
    (void)arg;
    if (jail_filter(JAIL_RUNNER) < 0)
        _exit(1);
    host.r = vmm_run(host.m, &host.outcome, &host.error);
    atomic_store(&host.ended, true);
    wake();
    return NULL;
}

/* ---- the relay ------------------------------------------------------------------------------- */

static void pass_console(void)
{
    AUTO_STRBUF struct strbuf text = { 0 };

    vmm_serial_take(host.m, &text);
    if (text.len > 0) /* the monitor reads always; what it cannot take is lost */
        send(host.w.console, text.ptr, text.len, MSG_DONTWAIT | MSG_NOSIGNAL);
}

static void pass_input(short events)
{
    ssize_t n;

    if (host.input_sent == host.input_len) {
        if (!(events & ~POLLOUT))
            return;
        n = recv(host.w.port, host.input, sizeof host.input, MSG_DONTWAIT);
        if (n <= 0) {
            host.is_orphan = n == 0 || (errno != EAGAIN && errno != EINTR);
            return;
        }
        host.input_len = (size_t)n;
        host.input_sent = 0;
    } else if (events & (POLLHUP | POLLERR)) {
        host.is_orphan = true;
        return;
    }
    n = vmm_port_input(host.m, AGENT, host.input + host.input_sent,
                       host.input_len - host.input_sent);
    host.input_sent += n > 0 ? (size_t)n : 0;
}

static int pass_replies(struct err *e)
{
    char text[ERR_TEXT_SIZE];
    struct vmm_share_reply r;
    ssize_t n = recv(host.w.files, text, sizeof text - 1, MSG_DONTWAIT);

    if (n < 0)
        return 0;
    text[n] = 0;
    if (n == 0)
        return err_set(e, 0, "the machine's file server has ended");
    if (n != sizeof r)
        return err_set(e, 0, "%s", text);
    memcpy(&r, text, sizeof r);
    return vmm_share_done(host.m, &r) ? 0 : err_set(e, EPROTO, "the machine's file server");
}

static int relay(struct err *e)
{
    int r = 0;

    while (r == 0 && !atomic_load(&host.ended) && !host.is_orphan) {
        bool stalled = atomic_load(&host.stalled), waits = host.input_sent < host.input_len;
        struct pollfd fds[] = {
            { host.w.port, (short)((waits ? 0 : POLLIN) | (stalled ? POLLOUT : 0)), 0 },
            { host.w.files, POLLIN, 0 },
            { host.news, POLLIN, 0 },
        };
        uint64_t count;

        if (poll(fds, COUNT_OF(fds), -1) < 0 && errno != EINTR)
            return err_set(e, errno, "cannot wait for the machine");
        if (fds[2].revents)
            (void)!read(host.news, &count, sizeof count);
        pass_console();
        pass_input(fds[0].revents);
        if (fds[0].revents & POLLOUT) {
            atomic_store(&host.stalled, false);
            vmm_port_resume(host.m, AGENT);
        }
        if (fds[1].revents)
            r = pass_replies(e);
    }
    return r;
}

/* Why it has ended is what its console says last: the monitor tells the last line of that. */
static void tell_end(void)
{
    AUTO_STRBUF struct strbuf panic = { 0 };
    char text[ERR_TEXT_SIZE];

    pass_console();
    if (host.is_orphan || host.outcome.end == VMM_END_POWER_OFF)
        return;
    if (host.r < 0) {
        say(host.error.text);
    } else if (vmm_serial_panic(host.m, &panic)) {
        say(panic.ptr);
    } else {
        base_format(text, sizeof text, "the machine ended by %s: %s",
                    vmm_end_name(host.outcome.end), host.outcome.text);
        say(text);
    }
}

static int serve(struct err *e)
{
    pthread_t runner;
    int r = vmm_heed_lost_file(lose_image, e);

    if (r < 0)
        return r;
    host.news = eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK);
    if (host.news < 0)
        return err_set(e, errno, "cannot make an eventfd");
    r = pthread_create(&runner, NULL, run, NULL);
    if (r)
        return err_set(e, r, "cannot make a thread for the machine");
    if (jail_filter(JAIL_RELAY) < 0)
        return err_set(e, errno, "cannot restrict the machine's system calls");
    r = relay(e);
    if (r == 0)
        tell_end();
    return r;
}

static int enter(const struct op_machine_boot *op, struct err *e)
{
    int *keep[9 + NET_INTERFACES_MAX] = { &host.w.kernel, &host.w.initramfs, &host.w.port,
                                          &host.w.console, &host.w.kvm };
    int n = 5, r;

    if (host.w.files >= 0) {
        keep[n++] = &host.w.files;
        keep[n++] = &host.w.memory;
    }
    if (host.w.image >= 0)
        keep[n++] = &host.w.image;
    if (host.w.system >= 0)
        keep[n++] = &host.w.system;
    for (int i = 0; op->macs[i]; i++)
        keep[n++] = &host.w.nets[i];
    r = jail_keep_fds(keep, n, e);
    r = r < 0 ? r : jail_unshare(e);
    r = r < 0 ? r : jail_mount_empty(op->dir, e);
    r = r < 0 ? r : jail_change_root(op->dir, e);
    return r < 0 ? r : jail_become_nobody(e);
}

pid_t machine_vmm_spawn(const struct op_machine_boot *op, const struct machine_wires *w,
                        struct err *e)
{
    struct err failed = { 0 };
    int kvm = openat(AT_FDCWD, "/dev/kvm", O_RDWR | O_CLOEXEC);
    pid_t pid;

    if (kvm < 0) {
        err_set(e, errno, "cannot open '/dev/kvm'");
        err_hint(e, "`teca vm doctor` says what is missing");
        return -EACCES;
    }
    host.w = *w;
    host.w.kvm = kvm;
    pid = jail_fork(e);
    if (pid != 0) {
        close(kvm);
        return pid;
    }
    if (enter(op, &failed) < 0 || build(op, &failed) < 0 || serve(&failed) < 0)
        say(failed.text);
    _exit(0);
}
