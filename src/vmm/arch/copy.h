/* SPDX-License-Identifier: Apache-2.0 */
#ifndef TECA_VMM_COPY_H
#define TECA_VMM_COPY_H
/*
 * copy: pieces of a file into guest memory, by as many threads as there are processors (at most COPY_THREADS_MAX) where it
 * is worth one. What the file has as a hole is not touched: it is 0 already, and costs neither a page nor time.
 */
#include "base/base.h"

enum { COPY_PARTS_MAX = 16, COPY_THREADS_MAX = 4 };

struct copy_part {
    uint64_t offset, len; /* of the file, which has it all */
    uint8_t *to;          /* zeroed */
};
struct copy {
    int fd; /* of a regular file of size bytes */
    uint64_t size;
    struct copy_part parts[COPY_PARTS_MAX];
    unsigned n;
};

/* A sentence about the `what`: read(2)'s errors, or the file has become shorter meanwhile. */
int copy_run(const struct copy *c, const char *what, struct err *e);

#endif
