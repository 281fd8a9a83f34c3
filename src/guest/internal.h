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
bool system_says(const char *path,
                 const char *line);    /* is that all that this file of sysfs says? */
void system_say(const char *sentence); /* on the machine's console */
_Noreturn void system_power_off(void);

/* ---- image.c ---- */

/* words: what the command line says of it (MUX_IMAGE). The three directories are made. */
struct image_places {
    const char *image, *layer, *root;
};
int guest_mount_image(const char *words, const struct image_places *at, struct err *e);

/* ---- forget.c ---- */

/*
 * Of what is shared the kernel remembers as many files as it has memory for, and their server, where it is virtiofsd(1),
 * an fd for each of them: it runs out of fds long before (MUX_FILES). So the kernel is made to forget them.
 */
struct forget {
    uint64_t most;   /* how many the server can bear; 0: it does not matter */
    uint64_t fewest; /* inodes of all file systems, since they were forgotten last */
};
enum { FORGET_MS = 250 }; /* how long nobody looks: some thousand files of a guest without KVM */

/* word: the command line's, NULL: nothing is to be forgotten. -EINVAL. */
int forget_init(struct forget *f, const char *word, struct err *e);
/* So many are there now: is it time? Pure but for f. */
bool forget_is_due(struct forget *f, uint64_t inodes);
/* Looks, and does it. */
void forget_some(struct forget *f);

/* ---- process.c ---- */

enum process_state {
    PROCESS_NONE,
    PROCESS_DOCUMENT, /* what it shall be is coming */
    PROCESS_CREATING, /* `teca create` runs, or the `teca exec` that leaves it */
    PROCESS_CREATED,
    PROCESS_STARTING, /* `teca start` runs */
    PROCESS_RUNNING,
    PROCESS_GONE, /* said so */
};

/* The container's own, or one that RUN asked for: a verb, or what `exec` leaves behind. */
struct process {
    enum process_state state;
    unsigned number; /* as the protocol counts */
    bool terminal, leaves, no_pivot;
    size_t document_len, document_have;
    int document;
    pid_t verb,
        pid; /* the verb at work; the process. 0: none. Of a verb that is meant itself both are one */
    bool ended;
    int status;       /* of waitpid(2) */
    uint64_t signals; /* that came before there was a pid: bit n-1 */
    int in, out, err; /* this end of its pipes; of a terminal in and out are the master */
    int owed[2];      /* bytes of out and err that go before its end is told */
    int console;      /* listens for the master */
};

void process_init(struct process *p, unsigned number);
/* What the monitor asks for. -EPROTO: what no honest one does. */
int process_hear(struct process *p, struct mux *m, const struct mux_message *message,
                 struct err *e);
/*
 * Is the child that has ended the process, or the verb at work on it? Then what is to be told goes into the mux. 1: it
 * was; 0: another's.
 */
int process_reaped(struct process *p, struct mux *m, pid_t pid, int status, struct err *e);
/* Bytes, as far as they go without waiting; the document too. */
int process_pump(struct process *p, struct mux *m, struct err *e);
/* Tells the end when what it has written is on its way. */
int process_finish(struct process *p, struct mux *m, struct err *e);

/* ---- request.c ---- */

/* The words of RUN, NULL-ended and with `first` before them; the file's text is what remains. Pure. */
int request_parse(const char *const *first, char *text, size_t len, struct arena *a,
                  char ***out_argv, const char **out_input, size_t *out_len, struct err *e);

#endif
