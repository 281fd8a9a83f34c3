/* SPDX-License-Identifier: Apache-2.0 */
#ifndef TECA_VMM_COPY_H
#define TECA_VMM_COPY_H
/*
 * copy: pieces of files into guest memory, by as many threads more as there are processors (at most COPY_THREADS_MAX) where it
 * is worth one. What a file has as a hole is not touched: it is 0 already, and costs neither a page nor time.
 * Parts that may come later do, behind all others, while a guest runs already.
 */
#include "base/base.h"
#include "vmm/alloc/alloc.h"

#include <pthread.h>
#include <stdatomic.h>

enum { COPY_FILES_MAX = 2, COPY_PARTS_MAX = 25, COPY_LATER_MAX = 3, COPY_THREADS_MAX = 4 };

struct copy_file {
    int fd; /* of a regular file of size bytes, borrowed until copy_wait or copy_drop */
    uint64_t size;
    const char *what; /* a word for the sentence about it */
};
struct copy_part {
    uint64_t offset, len; /* of the file, which has it all */
    uint8_t *to;          /* zeroed */
    unsigned file;
    bool is_later; /* it goes where some of `later` is filled */
};
struct copy {
    struct copy_file files[COPY_FILES_MAX];
    struct copy_part parts[COPY_PARTS_MAX];
    struct vmm_memory_later later[COPY_LATER_MAX];
    unsigned n_files, n, n_later;
};

/* Stays where it is from copy_begin to copy_drop. */
struct copy_job {
    struct copy copy;
    unsigned pieces_first, pieces; /* those that do not come later, and all */
    atomic_uint next;
    atomic_int errors[COPY_FILES_MAX]; /* the first one each: a positive errno */
    pthread_t helpers[COPY_THREADS_MAX];
    unsigned n_helpers;
    pthread_mutex_t lock; /* of what is below, between copy_begin and copy_drop */
    pthread_cond_t news;
    unsigned done_first, done;
    bool begun, released;
    bool arrived;     /* what came later is there, or it never will be */
    int arrive_error; /* a positive errno */
};

/* The other threads begin with the copy; the caller does what else there is to do, and then its share of this in copy_end. */
void copy_begin(struct copy_job *j);
/*
 * All is there but what comes later; without another thread that, too. A sentence about the file: read(2)'s errors, or it
 * has become shorter meanwhile; no other thread is at work then.
 */
int copy_end(struct copy_job *j, struct err *e);
/* Behind copy_end: the other threads begin with what comes later. */
void copy_release(struct copy_job *j);
/* Behind copy_release, for any thread: what came later is there. Errors are copy_end's. */
int copy_wait(struct copy_job *j, struct err *e);
/*
 * What is not copied yet is left out, no other thread is at work. Of memory that was to come later the guest then has
 * what it had meanwhile. Accepts one that has not begun.
 */
void copy_drop(struct copy_job *j);

#endif
