/* SPDX-License-Identifier: Apache-2.0 */
#ifndef TECA_VMM_DISPATCH_H
#define TECA_VMM_DISPATCH_H
/*
 * dispatch: everything a trap of the guest enters through. vcpu.c is the loop around KVM_RUN and the
 * way to end it, exits.c the table from exit_reason to handler, bus.c leads an access to its
 * device, io.c waits for what a device has on the host, stats.c counts. It knows no device, only the table {name, read, write, reset}.
 *
 * Order: buses filled by vmm_bus_add, dispatch_init, dispatch_run. One mutex covers all devices: a
 * device is called by one thread at a time, whichever cpu trapped.
 */
#include "base/base.h"
#include "vmm/vmm.h"

#include <linux/kvm.h>
#include <pthread.h>
#include <stdatomic.h>

/* ---- bus.c ------------------------------------------------------------------------------------ */

/*
 * An emulated device. offset is from the start of its range; len is 1 to 8, and offset + len within
 * the range. read fills data wholly. What the access means is the guest's word: hostile.
 */
struct vmm_device {
    const char *name;
    void (*read)(void *self, uint64_t offset, void *data, unsigned len);
    void (*write)(void *self, uint64_t offset, const void *data, unsigned len);
    void (*reset)(void *self);
};

enum { VMM_BUS_MAX = 24 };

struct vmm_bus { /* zeroed: empty */
    struct vmm_bus_range {
        uint64_t first, last;
        const struct vmm_device *device;
        void *self;
    } ranges[VMM_BUS_MAX]; /* sorted, without overlap */
    unsigned n;
};

/* -EINVAL: empty, past the end of the address space, or overlapping another device; -ENOSPC. */
int vmm_bus_add(struct vmm_bus *b, uint64_t first, uint64_t size, const struct vmm_device *device,
                void *self, struct err *e);
/*
 * An access that lies wholly within one range goes there. false: nobody answers; a read then gives
 * ones, as a bus without a driver does.
 */
bool vmm_bus_read(const struct vmm_bus *b, uint64_t address, void *data, unsigned len);
bool vmm_bus_write(const struct vmm_bus *b, uint64_t address, const void *data, unsigned len);
void vmm_bus_reset(const struct vmm_bus *b);

/* ---- io.c ------------------------------------------------------------------------------------- */

/*
 * An fd of a device, which embeds it. ready is called by the I/O thread with the devices locked, when there is
 * something of what was wanted, and for EPOLLERR and EPOLLHUP always: then io_remove, or it comes for ever. It must not block,
 * and should end after a bounded amount of work: it is called again.
 */
struct vmm_watch {
    int fd;
    void (*ready)(void *ctx, uint32_t events);
    void *ctx;
    uint32_t wanted; /* EPOLLIN, EPOLLOUT; the owner sets it before io_add */
    bool watched;
};

struct vmm_io {
    int epoll, wake; /* -1: nobody watches anything */
    pthread_mutex_t *devices;
    pthread_t thread;
    bool has_thread;
    atomic_bool stopped;
    void (*begins)(void); /* as io_begins in struct vmm_config */
};
void io_init(struct vmm_io *io, pthread_mutex_t *devices);
void io_release(struct vmm_io *io);
int io_add(struct vmm_io *io, struct vmm_watch *w, struct err *e); /* before dispatch_run */
/* With the devices locked. */
void io_want(struct vmm_io *io, struct vmm_watch *w, uint32_t events);
void io_remove(struct vmm_io *io, struct vmm_watch *w);
/* A thread, if anybody watches anything; and its end, which waits for it. */
int io_start(struct vmm_io *io, struct err *e);
void io_stop(struct vmm_io *io);

/* ---- stats.c ---------------------------------------------------------------------------------- */

enum { STATS_REASONS = 48 };

/* Of one cpu, written by its thread alone. */
struct vmm_stats {
    _Atomic uint64_t exits[STATS_REASONS]; /* by KVM_EXIT_*; the last for reasons beyond it */
    _Atomic uint64_t kicks, unknown_ports, unknown_mmio;
};
void stats_count(_Atomic uint64_t *counter);
void stats_exit(struct vmm_stats *s, uint32_t reason);

struct stats_row {
    const char *name;
    uint64_t count;
};
enum { STATS_ROWS = STATS_REASONS + 4 };
/* The rows that are not 0, the most frequent first. */
unsigned stats_rows(const struct vmm_stats *const *of, unsigned n,
                    struct stats_row out[STATS_ROWS]);
const char *stats_exit_name(uint32_t reason);

/* ---- kvm_stats.c ------------------------------------------------------------------------------ */

enum { KVM_COUNTERS_MAX = 96 };
struct kvm_counters {
    struct {
        char name[48];
        uint64_t count;
    } v[KVM_COUNTERS_MAX];
    unsigned n;
};
/* Those of a cpu that are not 0 are added to what is there. Nothing where KVM does not tell. */
void kvm_counters_add(int vcpu_fd, struct kvm_counters *out);

/* ---- vcpu.c, exits.c -------------------------------------------------------------------------- */

struct dispatch;

struct vmm_vcpu {
    struct dispatch *dispatch;
    unsigned index;
    int fd;              /* -1: none */
    struct kvm_run *run; /* run_size bytes, shared with the kernel */
    size_t run_size;
    pthread_t thread;
    bool has_thread;
    bool has_waited; /* for all of memory to be there */
    bool is_early;   /* the exit at hand came before that */
    struct vmm_stats stats;
};

struct vmm_memory;

struct dispatch {
    struct vmm_bus pio, mmio;
    const struct vmm_memory *memory; /* which KVM answers for; set after dispatch_init */
    /*
     * What is still to come of memory, of which devices do not know: it begins to when cpu 0 does, and is awaited behind each
     * cpu's first exit, whatever that is. NULL: all is there.
     */
    void (*begin_memory)(void *ctx);
    int (*await_memory)(void *ctx, struct err *e);
    void *memory_ctx;
    struct vmm_io io;
    pthread_mutex_t devices;
    /* Raised once by whoever ends the machine first; the outcome is that one's. */
    pthread_mutex_t end_lock;
    struct vmm_outcome outcome;
    atomic_bool ended;
    _Atomic uint64_t first_run_ns, first_run_cpu_ns; /* of cpu 0 */
    struct vmm_vcpu *vcpus;
    unsigned n_vcpus;
    void (*cpu_begins)(void); /* as in struct vmm_config */
    bool threads_exist;       /* under end_lock: vcpus' threads may be signalled */
};

void dispatch_init(struct dispatch *d, struct vmm_vcpu *vcpus, unsigned n);
void dispatch_release(struct dispatch *d);
/* Makes the threads, waits for them. */
int dispatch_run(struct dispatch *d, struct vmm_outcome *out, struct err *e);
/* The first one counts; any thread, also with the devices locked. */
void dispatch_end(struct dispatch *d, enum vmm_end end, unsigned cpu, const char *fmt, ...)
    __attribute__((format(printf, 4, 5)));
/* Carries out the exit that v->run describes. */
void exits_handle(struct vmm_vcpu *v);

#endif
