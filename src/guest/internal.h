/* SPDX-License-Identifier: Apache-2.0 */
#ifndef TECA_GUEST_INTERNAL_H
#define TECA_GUEST_INTERNAL_H
/* What the files of guest/ share. */
#include "boot/boot.h"
#include "guest/guest.h"
#include "mux/mux.h"

/* ---- system.c ---- */

#define GUEST_PROGRAM "/teca" /* this program, in the root that system_make leaves */
#define GUEST_RUN "/run/teca-agent"

/* Mounts, modules, a root that containers can pivot in, cgroups. */
int system_make(struct err *e);
/* The port to the monitor. Waits for it to appear. */
int system_open_port(struct err *e);
int system_mount_share(struct err *e);
/* The container's network namespace with the machine's interfaces, when the share tells of them. */
int system_make_network(struct err *e);
/* Wall time, and bytes for the random number generator before anybody asks for some. */
int system_set_up(uint64_t time_ns, const char *seed, size_t len, struct err *e);
/* Everything that was written reaches the host. */
void system_flush(void);
void system_say(const char *sentence); /* on the machine's console */
_Noreturn void system_power_off(void);

/* ---- process.c ---- */

enum process_state {
    PROCESS_NONE,
    PROCESS_CONFIG,   /* its config is coming */
    PROCESS_CREATING, /* `teca create` runs */
    PROCESS_CREATED,
    PROCESS_STARTING, /* `teca start` runs */
    PROCESS_RUNNING,
    PROCESS_GONE, /* said so */
};

struct process {
    enum process_state state;
    bool terminal;
    size_t config_len, config_have;
    int config_fd;
    pid_t verb, init; /* the verb at work; the container's process. 0: none */
    bool init_ended;
    int init_status;  /* of waitpid(2) */
    int in, out, err; /* this end of its pipes; of a terminal in and out are the master */
    int console;      /* listens for the master */
};

void process_init(struct process *p);
int process_create(struct process *p, size_t config_len, bool terminal, struct err *e);
int process_start(struct process *p, struct err *e);
int process_signal(const struct process *p, int signal);
void process_resize(const struct process *p, unsigned rows, unsigned columns);
/* A child has ended. What is to be told goes into the mux. */
int process_reaped(struct process *p, struct mux *m, pid_t pid, int status, struct err *e);
/* Bytes, as far as they go without waiting; the config too. */
int process_pump(struct process *p, struct mux *m, struct err *e);
/* Tells the end when nothing is left to carry. */
int process_finish(struct process *p, struct mux *m, struct err *e);

#endif
