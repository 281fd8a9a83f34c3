/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The loop around KVM_RUN, a thread a cpu, and the way to end it.
 *
 * To end a cpu that is in the guest, or about to enter it, takes three things in this order: the
 * flag that its loop reads, run->immediate_exit, which the kernel reads when it enters, and a
 * signal, which makes it leave. So it does not matter where the thread is at that moment.
 */
#include "vmm/dispatch/dispatch.h"

#include <errno.h>
#include <signal.h>
#include <stdarg.h>
#include <string.h>
#include <sys/ioctl.h>
#include <time.h>

#define KICK_SIGNAL SIGRTMIN

void dispatch_init(struct dispatch *d, struct vmm_vcpu *vcpus, unsigned n)
{
    pthread_mutex_init(&d->devices, NULL);
    pthread_mutex_init(&d->end_lock, NULL);
    io_init(&d->io, &d->devices);
    d->vcpus = vcpus;
    d->n_vcpus = n;
}

void dispatch_release(struct dispatch *d)
{
    io_release(&d->io);
    pthread_mutex_destroy(&d->devices);
    pthread_mutex_destroy(&d->end_lock);
}

static void kick_all(struct dispatch *d)
{
    for (unsigned i = 0; i < d->n_vcpus; i++) {
        struct vmm_vcpu *v = &d->vcpus[i];

        __atomic_store_n(&v->run->immediate_exit, 1, __ATOMIC_RELEASE);
        if (d->threads_exist && v->has_thread)
            pthread_kill(v->thread, KICK_SIGNAL);
    }
}

void dispatch_end(struct dispatch *d, enum vmm_end end, unsigned cpu, const char *fmt, ...)
{
    va_list ap;

    pthread_mutex_lock(&d->end_lock);
    if (!atomic_load(&d->ended)) {
        d->outcome.end = end;
        d->outcome.cpu = cpu;
        va_start(ap, fmt);
        base_vformat(d->outcome.text, sizeof(d->outcome.text), fmt, ap);
        va_end(ap);
        atomic_store(&d->ended, true);
        kick_all(d);
    }
    pthread_mutex_unlock(&d->end_lock);
}

static uint64_t now_ns(clockid_t clock)
{
    struct timespec t;

    clock_gettime(clock, &t);
    return (uint64_t)t.tv_sec * 1000000000 + (uint64_t)t.tv_nsec;
}

/* What the cpu touches the host cannot give: of all its memory only a file that was cut, or a disk, can do that. */
static bool has_lost_memory(int error)
{
    return error == EFAULT || error == EHWPOISON;
}

/* Behind the first exit of a cpu: what is still to come of memory has come, or the machine ends. */
static void await_memory(struct vmm_vcpu *v)
{
    struct dispatch *d = v->dispatch;
    struct err e = { 0 };

    v->is_early = d->await_memory && !v->has_waited;
    v->has_waited = true;
    if (v->is_early && d->await_memory(d->memory_ctx, &e) < 0)
        dispatch_end(d, VMM_END_FAULT, v->index, "%s", e.text);
}

static void carry_out(struct vmm_vcpu *v)
{
    await_memory(v);
    if (!v->is_early || !atomic_load(&v->dispatch->ended))
        exits_handle(v);
}

/* EAGAIN: a cpu that waits for its SIPI was woken. */
static void take_failure(struct vmm_vcpu *v, int error)
{
    struct dispatch *d = v->dispatch;

    if (error == EINTR || error == EAGAIN) {
        stats_count(&v->stats.kicks);
        return;
    }
    if (has_lost_memory(error))
        await_memory(v);
    /* It was early: the same instruction again. */
    if (has_lost_memory(error) && !v->is_early)
        dispatch_end(d, VMM_END_FAULT, v->index, VMM_LOST_FILE);
    else if (!has_lost_memory(error))
        dispatch_end(d, VMM_END_FAULT, v->index, "KVM_RUN of cpu %u: %s", v->index,
                     strerror(error));
}

static void *run_vcpu(void *arg)
{
    struct vmm_vcpu *v = arg;
    struct dispatch *d = v->dispatch;

    if (d->cpu_begins)
        d->cpu_begins();
    if (v->index == 0) {
        if (d->begin_memory)
            d->begin_memory(d->memory_ctx);
        atomic_store(&d->first_run_cpu_ns, now_ns(CLOCK_PROCESS_CPUTIME_ID));
        atomic_store(&d->first_run_ns, now_ns(CLOCK_MONOTONIC));
    }
    while (!atomic_load(&d->ended)) {
        if (ioctl(v->fd, KVM_RUN, 0) == 0)
            carry_out(v);
        else
            take_failure(v, errno);
    }
    return NULL;
}

static void on_kick(int signal)
{
    (void)signal;
}

/* Without SA_RESTART, and unblocked in the new threads, whatever the caller blocks. */
static int prepare_kick(sigset_t *old, struct err *e)
{
    struct sigaction action = { .sa_handler = on_kick };
    sigset_t kick;

    sigemptyset(&action.sa_mask);
    if (sigaction(KICK_SIGNAL, &action, NULL) < 0)
        return err_set(e, errno, "cannot handle signal %d", KICK_SIGNAL);
    sigemptyset(&kick);
    sigaddset(&kick, KICK_SIGNAL);
    pthread_sigmask(SIG_UNBLOCK, &kick, old);
    return 0;
}

static int start_threads(struct dispatch *d, struct err *e)
{
    int r = 0;

    /* Who ends the machine meanwhile waits here, and finds every thread that there is. */
    pthread_mutex_lock(&d->end_lock);
    for (unsigned i = 0; i < d->n_vcpus && r == 0; i++) {
        r = pthread_create(&d->vcpus[i].thread, NULL, run_vcpu, &d->vcpus[i]);
        d->vcpus[i].has_thread = r == 0;
    }
    d->threads_exist = true;
    pthread_mutex_unlock(&d->end_lock);
    return r ? err_set(e, r, "cannot make a thread for a cpu") : 0;
}

int dispatch_run(struct dispatch *d, struct vmm_outcome *out, struct err *e)
{
    sigset_t old;
    int r = prepare_kick(&old, e);

    if (r < 0)
        return r;
    r = io_start(&d->io, e);
    if (r == 0)
        r = start_threads(d, e);
    if (r < 0)
        dispatch_end(d, VMM_END_FAULT, 0, "a thread is missing");
    for (unsigned i = 0; i < d->n_vcpus; i++) {
        if (d->vcpus[i].has_thread)
            pthread_join(d->vcpus[i].thread, NULL);
    }
    io_stop(&d->io);
    pthread_mutex_lock(&d->end_lock);
    d->threads_exist = false; /* a later vmm_stop signals nobody */
    *out = d->outcome;
    pthread_mutex_unlock(&d->end_lock);
    pthread_sigmask(SIG_SETMASK, &old, NULL);
    return r;
}
