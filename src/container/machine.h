/* SPDX-License-Identifier: Apache-2.0 */
#ifndef TECA_CONTAINER_MACHINE_H
#define TECA_CONTAINER_MACHINE_H
/*
 * What the files of a container in a machine share. Order for a start: machine_choose, machine_check,
 * machine_gather, machine_compile; then the plan is executed as any other. The lane init is the monitor: it makes
 * what the guest may see of the host, starts the machine, and its pid is the container's for everybody.
 *
 *   machine_config.c   config.json as the guest gets it, and which paths of the host it needs (pure)
 *   machine_image.c    the root filesystem as an image
 *   machine_share.c    steps: those paths in a mount namespace of the monitor's, and their server
 *   machine_cgroup.c   processors, and the cgroup that holds the machine on the host
 *   machine_network.c  its interfaces
 *   machine_passt.c    step: one that passt(1) serves
 *   machine_memory.c   what it takes of the host's memory
 *   machine_qemu.c     emulated: QEMU
 *   machine_vmm.c      vm: the process that runs the machine on src/vmm
 *   machine_server.c   vm: the process that serves its files by src/share
 *   machine_jail.c     what these may do, machine_root.c what programs that are not ours see
 *   machine_monitor.c  steps: boot and serve
 *   machine_console.c  ... what the machine said last
 *   machine_clients.c  ... what verbs ask the monitor for
 *   machine_ask.c      their side of that
 *   machine_verbs.c    the verbs that the guest's teca answers
 *   machine_exec.c     the plan of `exec`, and its step: the process that stands for the one in the guest
 */
#include <poll.h>
#include <sys/resource.h>
#include <sys/signalfd.h>
#include <sys/un.h>

#include "boot/boot.h"
#include "container/internal.h"
#include "mux/mux.h"
#include "namespaces/namespaces.h"
#include "vmm/vmm.h"
#include "net/machine.h"

enum isolation { ISOLATION_CONTAINER, ISOLATION_VM, ISOLATION_EMULATED };
const char *isolation_name(enum isolation mode); /* "emulated" */
/*
 * --isolation, else of a pod's sandbox a container, else the annotation org.teca.isolation, else the vm object or the name
 * teca-vm or teca-emulated, else a container.
 */
int machine_choose(const struct container_options *o, const struct spec *s, enum isolation *out,
                   struct err *e);
/*
 * What this host's KVM is good for: runs_kernels and reason, from /run/teca-kvm or by trying. machine_keep_probe writes what
 * has been tried there; a start calls it, `explain`, which changes nothing, does not.
 */
const struct vmm_probe *machine_probe(void);
void machine_keep_probe(void);
/* May this be had in a machine? What cannot cross the boundary, and what is not built, is named. */
int machine_check(const struct container_options *o, const struct spec *s, enum isolation mode,
                  struct err *e);

/* What a process has from its caller where config.json says nothing: across the boundary it has to be said. */
struct machine_caller {
    bool known;
    struct rlimit limits[RLIM_NLIMITS];
    int64_t oom_score_adj;
    struct ns_names names; /* of the uts namespace that is given by path */
};
/* The document as the host's cgroup of the machine takes it (machine_cgroup.c). */
struct machine_host {
    struct spec first, later; /* limits before the clone, and behind the boot */
    struct spec both;         /* what the host is asked about */
};
struct machine_image {
    const char *path; /* NULL: the root is shared */
    const char *type; /* "erofs" */
};
/* What a machine boots and reads as a disk. */
enum machine_file {
    MACHINE_KERNEL,
    MACHINE_INITRAMFS,
    MACHINE_IMAGE,
    MACHINE_SYSTEM,
    MACHINE_FILES = COMPILE_FILES
};
struct machine_facts {
    bool look; /* said before they are gathered: what a machine boots is not made */
    enum isolation mode;
    const char *qemu, *virtiofsd; /* NULL: ours */
    struct boot_parts boot;       /* made, where they were not there */
    int files[MACHINE_FILES];     /* opened when they were looked at, -1: none */
    struct machine_image image;   /* so was this */
    struct machine_image system; /* what the machine boots into; path NULL: teca's own, in memory */
    const char *passt;           /* NULL: not asked for */
    struct net_machine net;      /* what the namespace has that is given by path */
    struct cgroup_facts cgroup;
    struct machine_host *host;
    unsigned host_cpus;
    uint64_t fds; /* RLIMIT_NOFILE's hard limit */
    struct machine_caller caller;
    uint64_t tsc_khz; /* of the host's time stamp counter, which TCG passes on */
    unsigned umask;
};
int machine_gather(const struct spec *s, const char *bundle, enum isolation mode, struct arena *a,
                   struct machine_facts *out, struct err *e);
/* in->facts is not asked. */
int machine_compile(const struct compile_in *in, const struct machine_facts *f, struct plan *p,
                    struct compile_out *out, struct err *e);
/* The root as an absolute path. */
const char *machine_root(const struct container_bundle *b, struct arena *a);

/* A path of the host that the guest sees as MUX_SHARE/name. */
struct machine_bind {
    const char *name, *source, *pointer;
    bool recursive, read_only, all_read_only, copy_link, idmapped;
    size_t mount; /* its number; of the root none */
    int tree;     /* slot of the source with mapped ids */
};
struct machine_binds {
    struct machine_bind *v;
    size_t n;
};
/* bundle: where relative sources begin. root: it is one of them. */
void machine_binds_of(const struct spec *s, const char *bundle, bool root, struct arena *a,
                      struct machine_binds *out);
const char *machine_absolute(const char *bundle, const char *path, struct arena *a);
/* Text of config.json for the guest. network: the agent makes the container's network namespace. */
const char *machine_config(const struct spec *s, const struct machine_binds *binds,
                           const struct machine_caller *caller, bool network, struct arena *a);
/* Of an `update`: what the guest does, and what the cgroup on the host. */
const char *machine_guest_resources(const struct json *resources, struct arena *a);
const char *machine_host_resources(const struct json *resources, struct arena *a);
/* MiB of memory, by vm.hwConfig or the memory limit. */
uint64_t machine_memory(const struct spec *s);
/* share: something is. What the spec says comes last, for of two the kernel takes the later one. */
const char *machine_command_line(const struct spec *s, const struct machine_facts *f, bool share,
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

/* Of the host's memory, by the processes in the machine's cgroup on it; without one: zeros. */
int machine_memory_read(const struct state_record *rec, pid_t monitor, struct arena *a,
                        struct machine_memory *out, struct err *e);
/* Adds what the text of a smaps has, to the one or the other. */
void machine_memory_of_smaps(const char *text, uint64_t *guest, uint64_t *rest);

/* The fds of a machine's process, which it inherits under the numbers that its command line says. */
struct machine_wires {
    int kernel, initramfs, port, console, files;
    int memory, kvm;              /* of our own monitor: of the share, and /dev/kvm */
    int image, system;            /* -1: none; so are files and memory where nothing is shared */
    int nets[NET_INTERFACES_MAX]; /* as many as there are macs */
};
/* The arguments of QEMU, NULL-ended. */
char *const *machine_qemu_args(const struct op_machine_boot *op, const struct machine_wires *w,
                               struct arena *a);
/* fork(2) of QEMU, or of the process that runs the machine on our own monitor; its pid. */
pid_t machine_qemu_spawn(const struct op_machine_boot *op, const struct machine_wires *w,
                         struct arena *a, struct err *e);
pid_t machine_vmm_spawn(const struct op_machine_boot *op, const struct machine_wires *w,
                        struct err *e);
/* fork(2) of our own file server, with memory for so many requests at once. */
enum { MACHINE_SLOTS = 8 };
_Static_assert(MACHINE_SLOTS *VMM_SHARE_SLOT <= 5 << 19,
               "however busy it is, half of the 5 MiB that a machine may cost above its memory");
int machine_serve_files(const struct op_machine_files *op, struct slots *slots, struct err *e);
/*
 * What a file server may hold of what a guest of so many MiB makes it hold: memory for nodes, open files, and fds in all.
 * machine_files_mib: of the host's memory for these, at the most.
 */
enum { MACHINE_NODE_FDS = 8192 }; /* of ours: files that the guest knows, with an fd */
struct machine_files_bounds {
    uint64_t node_bytes;
    unsigned handles, fds;
};
struct machine_files_bounds machine_files_bounds(uint64_t memory_mib, bool ours);
uint64_t machine_files_mib(uint64_t memory_mib);
/* RLIMIT_NOFILE, as far as its hard limit allows. */
void machine_set_files(unsigned fds);
/* In a child that is about to execute something: dies with the monitor, has only these fds. */
int machine_child_prepare(const int *keep, size_t n, pid_t monitor);

/* ---- machine_image.c ---- */

/* The annotation's words and vm.image's format; and that annotation of a container on this kernel. */
int machine_check_image(const struct spec *s, struct err *e);
int machine_refuse_image(const struct spec *s, struct err *e);
int machine_image_gather(const struct spec *s, const char *bundle, struct arena *a,
                         struct machine_facts *f, struct err *e);
/* NULL-ended, as of boot_modules_load; NULL: there is no image. */
const char *const *machine_image_modules(const struct machine_facts *f, struct arena *a);
/* For the kernel's command line; share: something is. */
const char *machine_image_words(const struct machine_facts *f, bool share, struct arena *a);

/* ---- machine_network.c ---- */

/*
 * Is it a new network namespace, and are there hooks that may fill it, as docker's and CNI's do? Then they run before the machine,
 * whose interfaces are what they leave there: a machine has its devices from the first. The monitor's mount namespace is
 * its own by then, so that what a hook mounts in it is not the host's, and is shared with the root.
 */
bool machine_network_by_hooks(const struct spec *s, const struct machine_facts *f);

struct machine_network {         /* slots */
    int netns, first_tap, passt; /* passt: its pid */
};
int machine_network_gather(const struct spec *s, struct arena *a, struct machine_facts *out,
                           struct err *e);
/* In the order in which machine_compile calls them; _hooks gives what init's next step has to wait for, -1: nothing. */
void machine_network_open(const struct compile_in *in, const struct machine_facts *f,
                          struct plan *p, struct machine_network *out);
void machine_network_close(const struct machine_facts *f, struct plan *p,
                           const struct machine_network *n);
void machine_network_enter(const struct compile_in *in, const struct machine_facts *f,
                           struct plan *p, struct machine_network *n);
int machine_network_hooks(const struct compile_in *in, const struct machine_facts *f,
                          struct plan *p, int pid_slot);
void machine_network_tell(const struct compile_in *in, const struct machine_facts *f,
                          struct plan *p, struct machine_network *n);
const char *const *machine_network_macs(const struct net_machine *m, struct arena *a);
int machine_take_network_step(struct execution *x, const struct op_machine_take_network *op,
                              struct err *e);
/* machine_share.c: the file that the agent reads. */
int machine_tell_network(const char *dir, const char *text, struct err *e);

/* ---- between a verb and the monitor ---- */

/*
 * DIR/control, SOCK_SEQPACKET. A verb sends one request with four fds: the document of RUN (mux.h), and what shall be
 * 0, 1 and 2 of the process in the guest, which are pipes of its own or /dev/null: the monitor makes them non-blocking. Then
 * words go both ways. When the verb goes away, the process is killed.
 */
enum { CONTROL_VERSION = 1, CONTROL_FDS = 4 };
enum control_kind { CONTROL_VERB, CONTROL_EXEC, CONTROL_PAUSE, CONTROL_RESUME };
struct control_request {
    uint32_t version, kind, terminal;
    uint64_t len; /* of the document */
};
enum control_verb {
    CONTROL_STARTED,
    CONTROL_EXIT,   /* value: as of MUX_EXIT; behind what the process has written */
    CONTROL_FAILED, /* text */
    CONTROL_SIGNAL, /* to the monitor; value: its number */
    CONTROL_RESIZE, /* to the monitor; value: rows, extra: columns */
};
struct control_word {
    uint32_t verb, value, extra;
    char text[ERR_TEXT_SIZE];
};

/* machine_clients.c: of the monitor. The listener and the state directory, both borrowed. */
void clients_open(int listener, int dir);
/* Every fd of theirs; the two stay open. For the tests, as the monitor ends with them. */
void clients_close(void);
/* Fills as many as there are; serving: the container is there. */
enum { CLIENTS_FDS = 1 + 4 * MUX_PROCESSES };
void clients_poll(const struct mux *m, bool serving, struct pollfd fds[CLIENTS_FDS]);
void clients_turn(struct mux *m, const struct pollfd fds[CLIENTS_FDS]);
/* Of a process that is not the container's own. -EPROTO: it must not come now. */
int clients_hear(struct mux *m, const struct mux_message *message, struct err *e);
/* The container has ended: what has come goes on, as far as nobody has to be waited for. */
void clients_flush(struct mux *m);

/* machine_ask.c */

/* What a verb wants the guest's teca to do. args is NULL-ended and begins with the verb. */
struct machine_request {
    enum control_kind kind;
    const char *const *args;
    const char *input; /* for the file MUX_INPUT, or NULL */
    size_t input_len;
    bool terminal;
    int taken_ms;  /* of machine_patience_begin */
    int answer_ms; /* for all of an answer that is no stream; 0: two minutes */
};
/* -ETIMEDOUT and a sentence: it has not, and nobody need wait any longer. */
int machine_look(struct machine_patience *p, int control, struct err *e);
/* Sends it; pipes: the other ends of the three, -1: /dev/null is what is to be. Gives the connection, or -errno. */
int machine_request(const char *dir, const struct machine_request *q, int pipes[3], struct err *e);
/* The next word, within so many milliseconds, -1: for ever. -ECONNRESET: the monitor has gone. */
int machine_hear(int control, int timeout_ms, struct control_word *out, struct err *e);
/* What does not reach the monitor is not missed: that it has gone machine_hear tells. */
void machine_say(int control, enum control_verb verb, uint32_t value, uint32_t extra);
/*
 * A verb from beginning to end. What it writes goes to `take`, piece by piece; 1: enough. The guest is hostile: a verb
 * that is no stream has to end in time.
 */
struct machine_sink {
    int (*take)(void *arg, const char *data, size_t len, struct err *e);
    void *arg;
    bool stream;
    int signals; /* of a stream: a signalfd(2) whose arrival is enough too */
};
int machine_ask(const char *dir, const struct machine_request *q, const struct machine_sink *sink,
                struct err *e);

/* machine_verbs.c */

int machine_events(const char *dir, const char *id, int64_t interval_ns,
                   const struct container_event_sink *sink, int signals, struct arena *a,
                   struct err *e);
/* machine_stats.c */
int machine_stats(const char *dir, const struct state_record *rec, pid_t pid, struct arena *a,
                  struct container_stats *out, struct err *e);
int machine_pids(const char *dir, struct arena *a, pid_t **pids, size_t *n, struct err *e);
/* Of a guest's answer; for the tests. */
int machine_read_pids(const char *text, size_t len, struct arena *a, pid_t **out, size_t *out_n,
                      struct err *e);

/* machine_exec.c */
struct exec_machine_in {
    const struct spec *spec;        /* with the process that is to be executed */
    const struct exec_facts *facts; /* the cgroups of the machine on the host */
    const char *dir, *pid_file, *console_socket, *pidfd_socket;
    const struct container_exec_options *options;
    bool detach;
};
int machine_compile_exec(const struct exec_machine_in *in, struct plan *p, struct exec_out *out,
                         struct err *e);
int machine_exec_step(struct execution *x, const struct op_machine_exec *op, struct err *e);

/* machine_console.c */

/* Of a panic its reason, else the last lines. */
struct machine_words {
    char text[ERR_TEXT_SIZE / 2];
    size_t len;
};
void machine_last_words(const char *text, size_t len, struct machine_words *out);

/* machine_monitor.c, for both processes that stand for one in the guest */

/* Of stdin: its keys and its size; the modes are those of the terminal in the guest. */
int machine_take_terminal(struct err *e);
/*
 * Of stdin, stdout and stderr that are FIFOs, pipes or terminals: an open file of its own, which does not wait, in the
 * place of the one that others share. What cannot be opened again stays as it is.
 */
void machine_own_stdio(void);
/* "teca: SENTENCE" to somebody who may not read: after so long it is not said. */
enum { MACHINE_LAST_MS = 2000 };
void machine_tell_people(int fd, const char *sentence, int patience_ms);
/* As the process did, whose status is as of MUX_EXIT. */
_Noreturn void machine_end_as(unsigned status);
/*
 * What a signal means to it. The kernel's own words are about this process; what another one sends is meant for
 * the guest's.
 */
enum machine_word { MACHINE_NOTHING, MACHINE_FORWARD, MACHINE_SIZE, MACHINE_HANGUP };
enum machine_word machine_word_of(const struct signalfd_siginfo *info, bool terminal);

/* What the caller left open, which exec would close. */
void machine_close_inherited(void);
/* ---- machine_passt.c ---- */

/* The program, and the interface that it serves. */
int machine_passt_gather(struct arena *a, struct machine_facts *out, struct err *e);
int machine_passt_step(const struct op_machine_passt *op, struct slots *slots, struct err *e);

/* A socket below a directory's fd, for a path of any length (unix(7) sun_path). */
struct sockaddr_un machine_socket_name(int dir, const char *name);
int machine_share_step(const struct step *st, struct slots *slots, struct err *e);
int machine_step(struct execution *x, const struct step *st, struct err *e);

#endif
