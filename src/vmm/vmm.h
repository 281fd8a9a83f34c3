/* SPDX-License-Identifier: Apache-2.0 */
#ifndef TECA_VMM_H
#define TECA_VMM_H
/*
 * vmm: the KVM micro-monitor. It knows no container; host side and guest side of one are made elsewhere.
 *
 *   vmm_config ─▶ vmm_layout() ─▶ vmm_build() ─▶ load, vmm_start_... ─▶ vmm_run() ─▶ vmm_free()
 *                 pure            the ioctls      guest memory, state    a thread a cpu
 *
 * Its inner rooms carry the names of the textbooks (Popek and Goldberg 1974): alloc/ hands out
 * guest-physical addresses, dispatch/ leads each exit of a cpu to a handler and each access to a
 * device, interp/ are the devices, arch/ is the processor's state. The guest is the attacker in all
 * of them. Never: a path of the host, a wait for the guest without an end (vmm_stop ends each).
 */
#include "base/base.h"

/* ---- what is asked for, and where it lies ---------------------------------------------------- */

enum {
    VMM_CPUS_MAX = 64,
    VMM_PORTS_MAX = 4,
    VMM_DISKS_MAX = 2,
    VMM_NETS_MAX = 4,
    VMM_VIRTIO_SLOTS = 11,
    VMM_SHARE_SLOTS_MAX = 16,
    VMM_RANGES_MAX = 24
};

enum vmm_irqchip {
    /*
     * The LAPICs are KVM's, the IOAPIC ours (interp/ioapic.c); there is no PIC and no PIT. Measured
     * (ARCHITECTURE.md "The machine monitor"): the cheapest to set up, and the least of the host's kernel that a
     * guest can reach.
     */
    VMM_IRQCHIP_SPLIT,
    VMM_IRQCHIP_NONE, /* no interrupts at all; hlt ends the machine: for probes and payloads */
};

/*
 * A port of the virtio console. output takes bytes from the guest, any number of them up to len,
 * and returns how many; fewer than len stops the port until vmm_port_resume. room (may be NULL)
 * says that vmm_port_input, which took less than it was given, may be tried again. Both are called
 * by a cpu's thread with the devices locked: they must not block nor call vmm_*.
 */
struct vmm_port {
    const char *name; /* what the guest sees in /sys/class/virtio-ports; NULL for none */
    bool console;     /* hvc in the guest */
    size_t (*output)(void *ctx, const void *data, size_t len);
    void (*room)(void *ctx);
    void *ctx;
};

struct vmm_disk {
    int fd; /* of a file or block device, borrowed as long as the machine; its size does not change */
    bool read_only;
};

/*
 * A virtio file system whose requests somebody else answers, in memory that both see: n_slots of VMM_SHARE_SLOT bytes. A
 * request lies at the begin of its slot, its reply goes to vmm_share_reply_at(len). What the server writes is
 * no more believed than what the guest writes, and the other way round.
 */
enum {
    VMM_SHARE_TAG_MAX = 36,
    VMM_SHARE_REQUEST_MAX = (128 << 10) + 4096, /* a FUSE_WRITE of 128 KiB */
    VMM_SHARE_SLOT = VMM_SHARE_REQUEST_MAX + 4096
};
struct vmm_share_request {
    uint32_t slot, len, reply_len;
};
struct vmm_share_reply {
    uint32_t slot, len; /* 0: none was wanted */
};
static inline size_t vmm_share_reply_at(uint32_t request_len)
{
    return (request_len + UINT32_C(63)) & ~UINT32_C(63);
}
struct vmm_share {
    const char *tag; /* by which the guest mounts it */
    uint8_t *slots;
    unsigned n_slots; /* 1 to VMM_SHARE_SLOTS_MAX */
    /*
     * Hands a request on; false: nobody is there any more, and the device is broken. Called with the devices
     * locked: it must not block nor call vmm_*. The answer comes by vmm_share_done.
     */
    bool (*submit)(void *ctx, const struct vmm_share_request *r);
    void *ctx;
};

/*
 * A network interface. VMM_NET_TAP: fd is of a tap device opened with IFF_VNET_HDR (tun(4)); VMM_NET_STREAM: a stream
 * socket, frames behind their length as 32 bits, big-endian (passt(1), QEMU's "-netdev stream"). Its other end's
 * end is the guest's loss of link.
 */
enum vmm_net_kind { VMM_NET_TAP, VMM_NET_STREAM };
struct vmm_net {
    enum vmm_net_kind kind;
    int fd; /* borrowed as long as the machine, which makes it non-blocking */
    uint8_t mac[6];
    uint16_t mtu; /* 68 to 65535 */
};

/* A file system or what else a guest maps and only reads: virtio-pmem. Whoever writes to the file changes it for the guest. */
struct vmm_image {
    int fd;              /* of a regular file, borrowed as long as the machine; -1: none */
    uint64_t size_bytes; /* of the file; 0: no image */
};
/*
 * Should it become shorter, or its disk fail: what a cpu misses ends the machine by VMM_END_FAULT with this sentence, what a device reads
 * for the guest is SIGBUS for the process, or EFAULT of a call.
 */
#define VMM_LOST_FILE "a file that the machine has as memory was cut, or cannot be read"
/*
 * That signal calls `handler`, whatever the caller has blocked, in whatever thread it is: before threads are made, which inherit
 * this. Nothing of the machine can be believed to be in order then. Errors: sigaction(2)'s.
 */
int vmm_heed_lost_file(void (*handler)(int signal), struct err *e);

struct vmm_linux;

struct vmm_config {
    uint64_t ram_bytes;
    unsigned cpus; /* 1 to VMM_CPUS_MAX */
    int kvm_fd;    /* of /dev/kvm, given to the machine; 0: it opens that itself */
    enum vmm_irqchip irqchip;
    bool rng;                     /* a virtio entropy device */
    bool balloon;                 /* what the guest reports to be free goes back to the host */
    const struct vmm_port *ports; /* of a virtio console; borrowed as long as the machine */
    unsigned n_ports;             /* 0: no console device */
    struct vmm_disk disks[VMM_DISKS_MAX];
    unsigned n_disks;
    const struct vmm_share *share; /* NULL: none; borrowed as long as the machine */
    struct vmm_image image;
    struct vmm_net nets[VMM_NETS_MAX];
    unsigned n_nets;
    /*
     * What vmm_load_linux will be given: other processors begin to read its files while KVM makes the machine. NULL: they
     * begin then. Borrowed as long as that.
     */
    const struct vmm_linux *begin_with;
    /*
     * COM1 has something for vmm_serial_take; may be NULL. Called by a cpu's thread with the devices locked,
     * once until it is taken: it must not block nor call vmm_*.
     */
    void (*serial_news)(void *ctx);
    void *serial_ctx;
    void (*cpu_begins)(void); /* by each cpu's thread, before its first instruction; may be NULL */
    void (*io_begins)(
        void); /* by the thread of the devices' fds, where there is one; may be NULL */
};

enum vmm_range_kind { VMM_RANGE_RAM, VMM_RANGE_DEVICE, VMM_RANGE_KERNEL, VMM_RANGE_IMAGE };

struct vmm_range { /* of guest-physical addresses; KERNEL: KVM answers there itself */
    uint64_t first, size;
    enum vmm_range_kind kind;
    unsigned gsi; /* of a virtio slot */
    const char *name;
};

struct vmm_layout {
    struct vmm_range ranges[VMM_RANGES_MAX]; /* sorted by address */
    unsigned n;
};

/* Guest-physical map, from the study's 1.2. RAM is below the hole and above 4 GiB. */
#define VMM_HOLE_FIRST UINT64_C(0xc0000000)
#define VMM_HOLE_END UINT64_C(0x100000000)
#define VMM_VIRTIO_FIRST UINT64_C(0xd0000000)
#define VMM_VIRTIO_STRIDE UINT64_C(0x1000)
#define VMM_IOAPIC_FIRST UINT64_C(0xfec00000)
#define VMM_LAPIC_FIRST UINT64_C(0xfee00000)
#define VMM_TSS_FIRST UINT64_C(0xfffbd000)
/* The first GSI of the virtio slots: 0 to 15 have meanings of old on a PC. */
enum { VMM_VIRTIO_GSI = 16 };
/* Slots are fixed, so that a device is where it was, whichever others there are. */
enum {
    VMM_SLOT_CONSOLE = 0,
    VMM_SLOT_RNG = 1,
    VMM_SLOT_NET = 2,
    VMM_SLOT_SHARE = 3,
    VMM_SLOT_PMEM = 4,
    VMM_SLOT_DISK = 5, /* and 6 */
    VMM_SLOT_BALLOON = 7,
    VMM_SLOT_MORE_NETS = 8 /* the second network interface, and two more */
};
static inline unsigned vmm_slot_of_net(unsigned i)
{
    return i == 0 ? VMM_SLOT_NET : VMM_SLOT_MORE_NETS + i - 1;
}

/* Pure. -EINVAL with a sentence for what no machine can have. */
int vmm_layout(const struct vmm_config *c, struct vmm_layout *out, struct err *e);
void vmm_layout_describe(const struct vmm_layout *l, struct strbuf *out); /* a line a range */

/* ---- a machine -------------------------------------------------------------------------------- */

struct vmm;

/* Gives *out. Errors: what open(2) and the ioctls say, in a sentence with a hint. */
int vmm_build(const struct vmm_config *c, const struct vmm_layout *l, struct vmm **out,
              struct err *e);
void vmm_free(struct vmm *m); /* accepts NULL; not while vmm_run runs */

/* Before and while it runs; -EFAULT when it is not wholly in one range of RAM. */
int vmm_read(struct vmm *m, uint64_t gpa, void *data, size_t len);
int vmm_write(struct vmm *m, uint64_t gpa, const void *data, size_t len);

/*
 * Where cpu 0 begins; the others wait for its SIPI (with VMM_IRQCHIP_NONE: there is only one).
 * real: 16-bit, cs:ip = base:0, gpa base below 1 MiB and a multiple of 16.
 * long: 64-bit, the first 4 GiB mapped to themselves, interrupts off, rip = entry, rsi as given; GDT
 * and page tables are written to guest memory below 0xf000.
 */
int vmm_start_real(struct vmm *m, uint32_t base, struct err *e);
int vmm_start_long(struct vmm *m, uint64_t entry, uint64_t rsi, struct err *e);

/*
 * A kernel of Linux, instead of vmm_start_...: a bzImage or an ELF file (vmlinux), an initrd (-1: none), the
 * command line. All are copied to guest memory, what a kernel wants late while it runs: until vmm_run has returned the
 * fds are borrowed, vmm_read and vmm_write keep off what was copied, and a file that is cut may end the machine by
 * VMM_END_FAULT; ACPI tables tell of the cpus and the devices of the
 * layout. Wants VMM_IRQCHIP_SPLIT and a machine that has not run. The files are hostile.
 */
struct vmm_linux {
    int kernel_fd, initrd_fd;
    const char *command_line;
    /*
     * Nobody ever writes to the kernel's file, as to the one that teca has prepared: what the kernel only reads may
     * be the file's own pages, which machines share.
     */
    bool kernel_is_final;
};
int vmm_load_linux(struct vmm *m, const struct vmm_linux *l, struct err *e);
/*
 * What a command line begins with: this machine has COM1, no PCI, no clock but kvmclock and the TSC; a panic ends
 * it at once. The crypto algorithms' tests of themselves take a third of a boot (the study's finding 5).
 */
#define VMM_LINUX_ARGUMENTS                                                                \
    "console=ttyS0 8250.nr_uarts=1 panic=-1 reboot=k pci=off tsc=reliable no_timer_check " \
    "cryptomgr.notests random.trust_cpu=on random.trust_bootloader=on swiotlb=noforce"

enum vmm_end {
    VMM_END_NONE,
    VMM_END_POWER_OFF,    /* the guest asked for it */
    VMM_END_RESET,        /* ... through the keyboard controller or the reset register */
    VMM_END_TRIPLE_FAULT, /* KVM_EXIT_SHUTDOWN */
    VMM_END_HALT,         /* hlt where no interrupt can come */
    VMM_END_PANIC,        /* its kernel says that it panicked (pvpanic) */
    VMM_END_STOPPED,      /* vmm_stop */
    VMM_END_FAULT,        /* KVM gave up on it: text says why */
};

struct vmm_outcome {
    enum vmm_end end;
    unsigned cpu;
    char text[200];
};
const char *vmm_end_name(enum vmm_end end); /* "power-off" ... */

/*
 * Runs every cpu in a thread of its own until one ends the machine or vmm_stop is called; then all
 * threads are gone and out says why. 0, or -errno when a thread cannot be made. The signal SIGRTMIN
 * is the monitor's: it gets a handler. Once for each machine.
 */
int vmm_run(struct vmm *m, struct vmm_outcome *out, struct err *e);
void vmm_stop(struct vmm *m); /* from any thread, at any time, also before vmm_run */

/* CLOCK_MONOTONIC immediately before the first KVM_RUN of cpu 0, 0 before that. */
uint64_t vmm_first_run_ns(struct vmm *m);
/* The processor's time that this process had spent by then: what a busy host does not change. */
uint64_t vmm_first_run_cpu_ns(struct vmm *m);
/* Exits by reason, summed over cpus, the most frequent first: "io 12" lines, or a JSON object. */
void vmm_stats_describe(struct vmm *m, struct strbuf *out);
void vmm_stats_json(struct vmm *m, struct json_out *j, const char *key);
uint64_t vmm_stats_count(struct vmm *m, const char *name); /* 0 for a name nobody knows */
/*
 * What KVM has counted of all cpus, in its own words, which differ by kernel and processor: "kvm-exits 3360" lines, also of
 * exits that it dealt with itself. Nothing before Linux 5.14.
 */
void vmm_kvm_stats_describe(struct vmm *m, struct strbuf *out);

/* ---- its devices ------------------------------------------------------------------------------ */

/* The last bytes that COM1 was given (at most 64 KiB): appended to out. */
void vmm_serial_text(struct vmm *m, struct strbuf *out);
/* What came since the last time, appended to out; returns how many bytes more were lost. */
uint64_t vmm_serial_take(struct vmm *m, struct strbuf *out);
/*
 * The line of COM1 by which Linux says that it panics ("Kernel panic - not syncing: ..."), appended to out without
 * what stands before it; false: there is none among what vmm_serial_text gives. The guest's word.
 */
bool vmm_serial_panic(struct vmm *m, struct strbuf *out);
/* Bytes for the guest; how many it has room for now. -ENODEV: no such port. */
ssize_t vmm_port_input(struct vmm *m, unsigned port, const void *data, size_t len);
/* Bytes of memory that the guest has given back so far, each time it did. */
uint64_t vmm_balloon_returned(struct vmm *m);
/* The port's output has room again. */
void vmm_port_resume(struct vmm *m, unsigned port);
/* A request of the share is answered. false: no request can be meant, the server lies. */
bool vmm_share_done(struct vmm *m, const struct vmm_share_reply *r);

/* ---- what this host is good for ------------------------------------------------------------------ */

enum { VMM_PROBE_CAPS = 7 };
struct vmm_probe {
    int error; /* of opening /dev/kvm: a positive errno, 0 when it opened and is KVM */
    int api;
    struct {
        const char *name;
        unsigned value; /* 0: not there */
    } caps[VMM_PROBE_CAPS];
    bool ran;                   /* a guest was made and has ended: what follows is of this KVM */
    bool runs_payloads;         /* a guest's first instructions were carried out */
    bool runs_kernels;          /* ... and those without which no stock kernel boots */
    char reason[ERR_TEXT_SIZE]; /* a sentence, unless runs_kernels */
};
/* Asks KVM, and runs a guest of a page. Takes a few ms. */
void vmm_probe(struct vmm_probe *out);

#endif
