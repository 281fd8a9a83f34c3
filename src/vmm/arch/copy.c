/* SPDX-License-Identifier: Apache-2.0 */
/* Copies by threads that take the next 2 MiB each, until there are none. */
#include "vmm/arch/copy.h"

#include <errno.h>
#include <pthread.h>
#include <sched.h>
#include <stdatomic.h>
#include <sys/stat.h>
#include <unistd.h>

/*
 * What a thread takes at a time: a huge page, aligned as such where it goes, so that no two threads meet
 * in one. A thread costs 0.1 ms, a page 0.5 (zeroed, then filled).
 */
#define PIECE (UINT64_C(2) << 20)
enum { PIECES_WORTH_A_THREAD = 4 };

struct job {
    const struct copy *copy;
    unsigned pieces;
    atomic_uint next;
    atomic_int error; /* the first one: a positive errno */
};

static uint64_t misfit(const struct copy_part *p)
{
    return (uintptr_t)p->to % PIECE;
}

static unsigned pieces_of(const struct copy_part *p)
{
    return p->len ? (unsigned)((misfit(p) + p->len + PIECE - 1) / PIECE) : 0;
}

/* The first and the last piece of a part may be smaller. */
static struct copy_part cut(const struct copy_part *p, unsigned piece)
{
    uint64_t first = piece == 0 ? 0 : piece * PIECE - misfit(p);
    uint64_t end = (piece + UINT64_C(1)) * PIECE - misfit(p);

    end = end < p->len ? end : p->len;
    return (struct copy_part){ p->offset + first, end - first, p->to + first };
}

static struct copy_part piece_at(const struct job *j, unsigned piece)
{
    const struct copy_part *p = j->copy->parts;

    for (; piece >= pieces_of(p); p++)
        piece -= pieces_of(p);
    return cut(p, piece);
}

/* The end of the file is none that was expected. */
static int fill(int fd, uint64_t offset, uint8_t *to, uint64_t len)
{
    while (len > 0) {
        ssize_t n = pread(fd, to, len, (off_t)offset);

        if (n < 0 && errno == EINTR)
            continue;
        if (n <= 0)
            return n < 0 ? -errno : -ENODATA;
        to += n;
        offset += (uint64_t)n;
        len -= (uint64_t)n;
    }
    return 0;
}

/* lseek(2): a file system that knows no holes has data everywhere; ENXIO: none is left. */
static uint64_t seek(int fd, uint64_t from, int whence, uint64_t end)
{
    off_t at = lseek(fd, (off_t)from, whence);

    if (at < 0 && errno != ENXIO)
        return whence == SEEK_DATA ? from : end;
    return at < 0 || (uint64_t)at > end ? end : (uint64_t)at;
}

static int copy_piece(int fd, const struct copy_part *p)
{
    uint64_t at = p->offset, end = p->offset + p->len;
    int r = 0;

    while (r == 0 && (at = seek(fd, at, SEEK_DATA, end)) < end) {
        uint64_t hole = seek(fd, at, SEEK_HOLE, end);

        /* A file that changes may say that there is a hole where there was data. */
        hole = hole > at ? hole : end;
        r = fill(fd, at, p->to + (at - p->offset), hole - at);
        at = hole;
    }
    return r;
}

static void *work(void *arg)
{
    struct job *j = arg;
    int none = 0;

    for (;;) {
        unsigned piece = atomic_fetch_add(&j->next, 1);
        struct copy_part p;
        int r;

        if (piece >= j->pieces || atomic_load(&j->error))
            return NULL;
        p = piece_at(j, piece);
        r = copy_piece(j->copy->fd, &p);
        if (r < 0)
            atomic_compare_exchange_strong(&j->error, &none, -r);
    }
}

static unsigned helpers_for(unsigned pieces)
{
    unsigned worth = pieces / PIECES_WORTH_A_THREAD;
    cpu_set_t set;
    int cpus;

    if (worth < 2 || sched_getaffinity(0, sizeof(set), &set) < 0)
        return 0;
    cpus = CPU_COUNT(&set);
    cpus = cpus < COPY_THREADS_MAX ? cpus : COPY_THREADS_MAX;
    return (worth < (unsigned)cpus ? worth : (unsigned)cpus) - 1;
}

static void run_job(struct job *j)
{
    unsigned helpers = helpers_for(j->pieces), n = 0;
    pthread_t threads[COPY_THREADS_MAX];

    /* Without a helper it takes longer, that is all. */
    while (n < helpers && pthread_create(&threads[n], NULL, work, j) == 0)
        n++;
    work(j);
    while (n > 0)
        pthread_join(threads[--n], NULL);
}

int copy_run(const struct copy *c, const char *what, struct err *e)
{
    struct job j = { .copy = c };
    struct stat st;
    int error;

    for (unsigned i = 0; i < c->n; i++)
        j.pieces += pieces_of(&c->parts[i]);
    run_job(&j);
    error = atomic_load(&j.error);
    /* Behind the end of a file that was cut there is nothing, as in a hole. */
    if (error == 0 && fstat(c->fd, &st) == 0 && (uint64_t)st.st_size < c->size)
        error = ENODATA;
    if (error == ENODATA)
        return err_set(e, 0, "the %s ends in the middle", what);
    return error ? err_set(e, error, "cannot read the %s", what) : 0;
}
