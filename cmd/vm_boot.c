/* SPDX-License-Identifier: Apache-2.0 */
/*
 * teca vm boot: a kernel on the monitor, for who works on either. Its serial console is stdout; its end is the
 * exit status. One thread runs the machine, this one passes the console on and waits for signals, so
 * that a reader who stops reading does not stop the guest: the console's ring then loses its oldest bytes.
 */
#include "boot/boot.h"
#include "cmd.h"
#include "vmm/vmm.h"

#include <errno.h>
#include <fcntl.h>
#include <poll.h>
#include <pthread.h>
#include <string.h>
#include <sys/eventfd.h>
#include <sys/signalfd.h>
#include <sys/stat.h>
#include <time.h>
#include <unistd.h>

/* Of what the guest did; a failure of the monitor is 1, a signal 128 + N. */
enum { STATUS_RESET = 3, STATUS_PANIC = 4, STATUS_FAULT = 5, STATUS_SIGNAL = 128 };
enum { DEFAULT_CPUS = 1 };
#define DEFAULT_MEMORY (INT64_C(512) << 20)

struct boot {
    const struct cmd_vm *o;
    struct vmm_config config;
    struct vmm_linux files;
    struct vmm *m;
    const char *kernel, *initrd; /* files; of a prepared kernel both are teca's own */
    int kernel_fd, initrd_fd, news_fd, signal_fd;
    bool ended; /* written by the machine's thread before its last news */
    int result; /* of vmm_run, as is error */
    struct err error;
    struct vmm_outcome outcome;
    unsigned signal; /* that stopped it; 0: none */
    uint64_t begin_ns, end_ns;
};

static uint64_t now_ns(void)
{
    struct timespec t;

    clock_gettime(CLOCK_MONOTONIC, &t);
    return (uint64_t)t.tv_sec * 1000000000 + (uint64_t)t.tv_nsec;
}

/* ---- before ----------------------------------------------------------------------------------------- */

static int read_config(struct boot *b, struct err *e)
{
    uint64_t cpus = DEFAULT_CPUS;
    int64_t memory = DEFAULT_MEMORY;

    if (b->o->cpus && (str_to_u64(b->o->cpus, &cpus) < 0 || cpus > VMM_CPUS_MAX))
        return err_set(e, 0, "invalid value \"%s\" for --cpus", b->o->cpus);
    if (b->o->memory && (cmd_bytes(b->o->memory, &memory) < 0 || memory < 0))
        return err_set(e, 0, "invalid value \"%s\" for --memory", b->o->memory);
    b->config.cpus = (unsigned)cpus;
    b->config.ram_bytes = (uint64_t)memory;
    b->config.rng = b->config.balloon = true;
    b->config.n_disks = (unsigned)b->o->disks.n; /* an argument each */
    return 0;
}

static int open_file(const char *path, const char *what, int *out, struct err *e)
{
    *out = openat(AT_FDCWD, path, O_RDONLY | O_CLOEXEC);
    return *out < 0 ? err_set(e, errno, "cannot open the %s '%s'", what, path) : 0;
}

static int open_disk(const char *word, struct arena *a, struct vmm_disk *out, struct err *e)
{
    size_t len = strlen(word);
    const char *path = word;

    out->read_only = len > 3 && str_eq(word + len - 3, ":ro");
    if (out->read_only)
        path = arena_strndup(a, word, len - 3);
    out->fd = openat(AT_FDCWD, path, (out->read_only ? O_RDONLY : O_RDWR) | O_CLOEXEC);
    return out->fd < 0 ? err_set(e, errno, "cannot open the disk '%s'", path) : 0;
}

/* The size is the machine's from now on: a file that is cut is its end. */
static int open_image(struct boot *b, struct err *e)
{
    struct stat st;
    int r = open_file(b->o->image, "image", &b->config.image.fd, e);

    if (r < 0)
        return r;
    if (fstat(b->config.image.fd, &st) < 0)
        return err_set(e, errno, "cannot look at the image '%s'", b->o->image);
    if (!S_ISREG(st.st_mode) || st.st_size == 0)
        return err_set(e, 0, "the image '%s' is no regular file with contents", b->o->image);
    b->config.image.size_bytes = (uint64_t)st.st_size;
    return 0;
}

static int open_disks(struct boot *b, struct arena *a, struct err *e)
{
    int r = 0;

    for (size_t i = 0; i < b->config.n_disks && r == 0; i++)
        r = open_disk(b->o->disks.v[i], a, &b->config.disks[i], e);
    return r;
}

/* Without a kernel it is the one that a machine gets, with teca's initramfs. */
static int choose_files(struct boot *b, struct arena *a, struct err *e)
{
    const struct boot_request q = { 0 };
    struct boot_parts parts;
    int r = b->o->kernel ? 0 : boot_prepare(&q, a, &parts, e);

    if (r < 0)
        return r;
    b->kernel = b->o->kernel ? b->o->kernel : parts.kernel;
    b->initrd = b->o->initrd || b->o->kernel ? b->o->initrd : parts.initramfs;
    if (b->o->kernel)
        return 0;
    b->kernel_fd = parts.kernel_fd;
    b->initrd_fd = parts.initramfs_fd;
    if (b->o->initrd)
        fd_cleanup(&b->initrd_fd);
    return 0;
}

static int open_files(struct boot *b, struct arena *a, struct err *e)
{
    int r = choose_files(b, a, e);

    if (r == 0 && b->kernel_fd < 0)
        r = open_file(b->kernel, "kernel", &b->kernel_fd, e);
    if (r == 0 && b->initrd && b->initrd_fd < 0)
        r = open_file(b->initrd, "initrd", &b->initrd_fd, e);
    r = r < 0 ? r : open_disks(b, a, e);
    b->news_fd = r < 0 ? -1 : eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK);
    if (r == 0 && b->news_fd < 0)
        r = err_set(e, errno, "cannot make an eventfd");
    if (r == 0)
        r = b->signal_fd = container_end_signals(e);
    return r < 0 ? r : 0;
}

static int load(struct boot *b, struct err *e)
{
    int r = vmm_load_linux(b->m, &b->files, e);

    if (r == -ENOSPC)
        err_hint(e, "--memory gives it more");
    if (r < 0)
        err_prefix(e, b->kernel);
    return r;
}

static void tell(void *ctx)
{
    const struct boot *b = ctx;
    uint64_t one = 1;

    (void)!write(b->news_fd, &one, sizeof(one)); /* it cannot be full */
}

static int build(struct boot *b, struct arena *a, struct err *e)
{
    const char *line = VMM_LINUX_ARGUMENTS;
    struct vmm_layout layout;
    int r;

    b->config.begin_with = &b->files;
    b->config.serial_news = tell;
    b->config.serial_ctx = b;
    r = b->o->image ? open_image(b, e) : 0;
    r = r < 0 ? r : vmm_layout(&b->config, &layout, e);
    r = r < 0 ? r : open_files(b, a, e);
    b->files = (struct vmm_linux){
        .kernel_fd = b->kernel_fd,
        .initrd_fd = b->initrd_fd,
        .kernel_is_final = !b->o->kernel,
        .command_line = b->o->append ? arena_format(a, "%s %s", line, b->o->append) : line,
    };
    r = r < 0 ? r : vmm_build(&b->config, &layout, &b->m, e);
    return r < 0 ? r : load(b, e);
}

/*
 * A file that the machine has as memory was cut, and a device reads there for the guest: a cpu's own access is KVM_RUN's
 * failure.
 */
static _Noreturn void lose_file(int signal)
{
    (void)signal;
    cmd_remark("the machine ended by fault: " VMM_LOST_FILE);
    _exit(STATUS_FAULT);
}

/* ---- while it runs ---------------------------------------------------------------------------------- */

static void *run_machine(void *arg)
{
    struct boot *b = arg;

    b->result = vmm_run(b->m, &b->outcome, &b->error);
    b->end_ns = now_ns();
    __atomic_store_n(&b->ended, true, __ATOMIC_RELEASE);
    tell(b);
    return NULL;
}

static int pass_console(struct boot *b, struct err *e)
{
    AUTO_STRBUF struct strbuf text = { 0 };
    uint64_t lost = vmm_serial_take(b->m, &text);

    if (lost > 0)
        cmd_remark("the console's reader is too slow: its oldest bytes are lost");
    return text.len > 0 ? cmd_stream(b->signal_fd, text.ptr, text.len, e) : 0;
}

static void hear_signal(struct boot *b)
{
    struct signalfd_siginfo info;

    if (read(b->signal_fd, &info, sizeof(info)) == sizeof(info))
        b->signal = info.ssi_signo;
    vmm_stop(b->m);
}

/* The last look at the console comes after the machine's end. */
static int watch(struct boot *b, struct err *e)
{
    struct pollfd fds[] = { { b->news_fd, POLLIN, 0 }, { b->signal_fd, POLLIN, 0 } };
    bool ended = false;
    int r = 0;

    while (!ended && r == 0) {
        uint64_t count;

        if (poll(fds, COUNT_OF(fds), -1) < 0 && errno != EINTR)
            return err_set(e, errno, "cannot wait for the machine");
        if (fds[1].revents)
            hear_signal(b);
        (void)!read(b->news_fd, &count, sizeof(count));
        ended = __atomic_load_n(&b->ended, __ATOMIC_ACQUIRE);
        r = pass_console(b, e);
        r = r > 0 ? 0 : r; /* a signal while nobody reads: it is heard next */
    }
    return r;
}

static int run(struct boot *b, struct err *e)
{
    pthread_t machine;
    int r = pthread_create(&machine, NULL, run_machine, b);

    if (r)
        return err_set(e, r, "cannot make a thread for the machine");
    r = watch(b, e);
    vmm_stop(b->m);
    pthread_join(machine, NULL);
    if (r == 0 && b->result < 0) {
        *e = b->error;
        r = b->result;
    }
    return r;
}

/* ---- after ------------------------------------------------------------------------------------------ */

static void write_stats(struct boot *b, struct strbuf *out)
{
    uint64_t first = vmm_first_run_ns(b->m);

    /* "at": of CLOCK_MONOTONIC, for who knows when it started this process. */
    strbuf_format(
        out,
        "end %s\nfirst-run-us %llu\nfirst-run-at-us %llu\nfirst-run-cpu-us %llu\nrun-ms %llu\n",
        vmm_end_name(b->outcome.end), (unsigned long long)((first - b->begin_ns) / 1000),
        (unsigned long long)(first / 1000), (unsigned long long)(vmm_first_run_cpu_ns(b->m) / 1000),
        (unsigned long long)((b->end_ns - first) / 1000000));
    strbuf_format(out, "balloon-kib %llu\n",
                  (unsigned long long)(vmm_balloon_returned(b->m) >> 10));
    vmm_stats_describe(b->m, out);
    vmm_kvm_stats_describe(b->m, out);
}

/* How the guest ended is no failure of teca's, but it is said. */
static int judge(struct boot *b)
{
    AUTO_STRBUF struct strbuf panic = { 0 };
    struct err fault = { 0 };

    if (b->signal)
        return STATUS_SIGNAL + (int)b->signal;
    if (b->outcome.end == VMM_END_POWER_OFF)
        return 0;
    if (vmm_serial_panic(b->m, &panic) || b->outcome.end == VMM_END_PANIC) {
        if (panic.len == 0)
            strbuf_str(&panic, "its kernel says so, and its console does not tell why");
        cmd_make_printable(panic.ptr, panic.len, false);
        err_set(&fault, 0, "the guest ended by a panic: %s", panic.ptr);
        cmd_report(&fault);
        return STATUS_PANIC;
    }
    if (b->outcome.end == VMM_END_RESET)
        return STATUS_RESET;
    err_set(&fault, 0, "the machine ended by %s: %s", vmm_end_name(b->outcome.end),
            b->outcome.text);
    err_hint(&fault, "`teca vm doctor` says what this host's KVM runs");
    cmd_report(&fault);
    return STATUS_FAULT;
}

static int finish(struct boot *b, int *status)
{
    AUTO_STRBUF struct strbuf stats = { 0 };

    *status = judge(b);
    if (!b->o->stats)
        return 0;
    write_stats(b, &stats);
    return fd_write_all(STDERR_FILENO, stats.ptr, stats.len);
}

int cmd_vm_boot(const struct cmd *c, int *status, struct err *e)
{
    struct boot b = { .o = &c->o.vm,
                      .kernel_fd = -1,
                      .initrd_fd = -1,
                      .news_fd = -1,
                      .signal_fd = -1,
                      .begin_ns = now_ns() };
    int r;

    for (size_t i = 0; i < VMM_DISKS_MAX; i++)
        b.config.disks[i].fd = -1;
    b.config.image.fd = -1;
    r = read_config(&b, e);

    r = r < 0 ? r : vmm_heed_lost_file(lose_file, e);
    r = r < 0 ? r : build(&b, c->arena, e);
    r = r < 0 ? r : run(&b, e);
    r = r < 0 ? r : finish(&b, status);
    vmm_free(b.m);
    for (size_t i = 0; i < VMM_DISKS_MAX; i++)
        fd_cleanup(&b.config.disks[i].fd);
    fd_cleanup(&b.config.image.fd);
    fd_cleanup(&b.kernel_fd);
    fd_cleanup(&b.initrd_fd);
    fd_cleanup(&b.news_fd);
    fd_cleanup(&b.signal_fd);
    return r;
}
