/* SPDX-License-Identifier: Apache-2.0 */
#ifndef TECA_MUX_H
#define TECA_MUX_H
/*
 * mux: the protocol between the monitor of a machine and the agent in it, the same source on both ends, over
 * one stream of bytes (a virtio-console port). Pure: no system call, no allocation; bytes go in and come out.
 * Order: mux_init, then mux_input for what was read, mux_output and mux_output_done for what is to be written.
 *
 * A frame, numbers little-endian:
 *
 *   0  u32 length of the payload      control: at most MUX_CONTROL_MAX, data: 1 to MUX_DATA_MAX, window: 4, end: 0
 *   4  u16 type                       enum mux_frame
 *   6  u16 stream                     0: control; process p has the streams 4p+1 to 4p+4
 *   8  payload
 *
 * A control message: u16 verb, u16 0, u32 process, body. Which side may send which verb, and how long its body is,
 * is one table (verbs.c). The guest speaks first, with HELLO.
 *
 * A stream has MUX_WINDOW bytes of credit for its sender at first, a WINDOW frame gives back what the reader has
 * taken. So a reader that stands still holds up its own stream and nothing else. Streams carry data one way
 * only. The peer may be hostile, on both ends: the first breach of a rule is the end (-EPROTO), and it stays
 * that way.
 *
 * Process 0 is the container's own: CREATE, CREATED, START, STARTED, EXIT. The others are verbs that the guest's
 * program carries out, and what `exec` leaves behind: RUN, STARTED, EXIT, and any number of them after each other,
 * for a number is free again by FORGET and FORGOTTEN: behind FORGET the host sends nothing about it, behind FORGOTTEN
 * the guest. Instead of STARTED or EXIT there may be FAILED.
 */
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "base/base.h"

/* What both sides call the port, the files that the host shares, and where these are in the guest. */
#define MUX_PORT "org.teca.agent"
#define MUX_SHARE_TAG "teca"
#define MUX_SHARE "/run/teca-share"
/* Of these files: the machine's network (src/net/machine.h), where it has one; and where the agent makes that. */
#define MUX_NETWORK "network"
#define MUX_NETNS "/run/teca-agent/netns"
/*
 * On the kernel's command line, which makes a word without a dot the environment of the first process: the image that is
 * the container's root, as MUX_IMAGE=DEVICE:TYPE, where the agent then mounts it; and that nothing is shared.
 */
#define MUX_IMAGE "TECA_IMAGE"
#define MUX_PMEM "pmem"       /* DEVICE: persistent memory */
#define MUX_DISK "teca-image" /* ... or the disk that says that this is its serial number */
#define MUX_ROOT "/run/teca-root"
/* ... and MUX_SYSTEM the one that the machine itself has as its root, on the disk of this serial number. */
#define MUX_SYSTEM "TECA_SYSTEM"
#define MUX_SYSTEM_DISK "teca-disk0" /* as src/vmm/interp/blk.c calls its first one */
#define MUX_NO_SHARE "TECA_NO_SHARE"
/* ... or so many files of what is shared may the guest's kernel remember: its server has an fd for each. */
#define MUX_FILES "TECA_FILES"

enum {
    MUX_VERSION = 2,
    MUX_HEAD = 8,
    MUX_CONTROL_HEAD = 8,
    MUX_CONTROL_MAX = 1024, /* with its head */
    MUX_DATA_MAX = 16384,
    MUX_WINDOW = 65536,
    MUX_PROCESSES = 64, /* the container's own is 0 */
    MUX_STREAMS = MUX_PROCESSES * 4 + 1,
    MUX_OUT = 262144,
    MUX_TEXT_MAX = MUX_CONTROL_MAX - MUX_CONTROL_HEAD,
};

enum mux_side { MUX_HOST, MUX_GUEST };

enum mux_channel {
    MUX_CONFIG, /* host to guest: JSON */
    MUX_STDIN,  /* host to guest; of a terminal too */
    MUX_STDOUT, /* guest to host; of a terminal both outputs */
    MUX_STDERR, /* guest to host */
};
static inline unsigned mux_stream_of(unsigned process, enum mux_channel channel)
{
    return process * 4 + (unsigned)channel + 1;
}

enum mux_verb {
    /* guest to host */
    MUX_HELLO = 1, /* value: MUX_VERSION */
    MUX_CREATED,   /* the process waits for START */
    MUX_STARTED,   /* its program was executed */
    MUX_FAILED,    /* text: why it was not created, or not started */
    MUX_EXIT,      /* value: exit status, or MUX_BY_SIGNAL + signal; behind what it has written */
    MUX_FORGOTTEN, /* no value */
    /* host to guest */
    MUX_SETUP,    /* value: nanoseconds since 1970; text: random bytes */
    MUX_CREATE,   /* value: bytes on the stream MUX_CONFIG; extra: MUX_TERMINAL, MUX_NO_PIVOT */
    MUX_START,    /* no value */
    MUX_SIGNAL,   /* value: 1 to 64 */
    MUX_RESIZE,   /* value: rows, extra: columns */
    MUX_SHUTDOWN, /* no value */
    MUX_RUN,      /* value: bytes on the stream MUX_CONFIG; extra: MUX_TERMINAL, MUX_LEAVES */
    MUX_CLOSE,    /* value: MUX_STDOUT or MUX_STDERR, which nobody reads any more */
    MUX_FORGET,   /* no value */
    MUX_VERB_COUNT,
};
enum {
    MUX_BY_SIGNAL = 256,
    MUX_TERMINAL = 1,
    MUX_LEAVES = 2, /* the verb is `exec`: the process that it leaves is meant */
    MUX_NO_PIVOT = 4,
};
/*
 * What RUN wants, on MUX_CONFIG: the number of words, the words, each with a NUL behind it, and text for the file
 * MUX_INPUT. The verb begins in a directory of its own, where that file is, and leaves there the pid of its process.
 */
#define MUX_INPUT "input"
#define MUX_CONSOLE "console" /* --console-socket of a verb that has a terminal */
#define MUX_PID_FILE "pid"
#define MUX_CONTAINER "container" /* the ID, in the guest */

/* One control message. Text is borrowed, and no string: text_len bytes. */
struct mux_message {
    enum mux_verb verb;
    unsigned process;
    uint64_t value;
    uint32_t extra;
    const char *text;
    size_t text_len;
};

/* Of a ring of what has come and was not taken yet. */
struct mux_stream {
    uint32_t credit;   /* what may still be sent */
    uint32_t returned; /* taken from the ring, to be given back by a WINDOW frame */
    uint32_t head, len;
    bool ended_out, ended_in; /* END was sent; has come */
    bool end_wanted;
};

struct mux;
/* A message that obeys the rules. Negative: the peer is given up. */
typedef int mux_heard(void *arg, const struct mux_message *message, struct err *e);

/* Large (16 MiB, touched as it is used): not for a stack. */
struct mux {
    enum mux_side side;
    bool broken, met; /* met: HELLO has come or was sent */
    mux_heard *heard;
    void *arg;
    uint8_t frame[MUX_HEAD + MUX_DATA_MAX]; /* the one that is coming in */
    size_t frame_len;
    uint8_t out[MUX_OUT];
    size_t out_head, out_len;
    struct mux_stream streams[MUX_STREAMS];
    uint8_t rings[MUX_STREAMS][MUX_WINDOW];
};

/* memory of *m: zeroed by it. */
void mux_init(struct mux *m, enum mux_side side, mux_heard *heard, void *arg);
/*
 * Bytes from the peer, all of them. Calls `heard` for each control message. -EPROTO with a sentence that
 * names the breach.
 */
int mux_input(struct mux *m, const void *data, size_t len, struct err *e);
/* What is to be written now: its length, 0 when there is nothing. Valid until the next call. */
size_t mux_output(struct mux *m, const uint8_t **out);
void mux_output_done(struct mux *m, size_t n);

/* -ENOBUFS when the peer reads nothing at all; -EINVAL for what the table forbids, or before HELLO. */
int mux_send(struct mux *m, const struct mux_message *message);
/* The peer reads: some messages more will do. */
bool mux_is_ready(const struct mux *m);

/* How much of a stream can be sent now. */
size_t mux_room(const struct mux *m, unsigned stream);
/* Sends at most that; how many bytes it took. */
size_t mux_send_data(struct mux *m, unsigned stream, const void *data, size_t len);
/* No more data will come. Once. */
void mux_send_end(struct mux *m, unsigned stream);

/* What has come on a stream and lies in one piece; 0: nothing. */
size_t mux_peek(const struct mux *m, unsigned stream, const uint8_t **out);
void mux_take(struct mux *m, unsigned stream, size_t n);
/* Everything was taken, and no more will come. */
bool mux_ended(const struct mux *m, unsigned stream);
/* A process has gone: its streams are as new, for the next one with this number. Both sides do it. */
void mux_forget(struct mux *m, unsigned process);
/* Nothing more is sent on its streams, no credit either, until it is forgotten. */
void mux_retire(struct mux *m, unsigned process);

/* ---- verbs.c ---- */

const char *mux_verb_name(enum mux_verb verb);
/* Body of a message behind its head; -EINVAL when the table forbids it. Returns the length. */
int mux_encode(enum mux_side from, const struct mux_message *message, uint8_t out[MUX_CONTROL_MAX]);
int mux_decode(enum mux_side from, const uint8_t *data, size_t len, struct mux_message *out,
               struct err *e);

#endif
