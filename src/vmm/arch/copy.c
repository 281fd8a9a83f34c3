/* SPDX-License-Identifier: Apache-2.0 */
/* Copies by threads that take the next 2 MiB each, until there are none. */
#include "vmm/arch/copy.h"

#include <errno.h>
#include <sched.h>
#include <sys/stat.h>
#include <unistd.h>

/*
 * What a thread takes at a time: a huge page, aligned as such where it goes, so that no two threads meet
 * in one. A thread costs 0.1 ms, a page 0.5 (zeroed, then filled).
 */
#define PIECE (UINT64_C(2) << 20)
enum { PIECES_WORTH_A_THREAD = 4 };

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
    return (struct copy_part){ p->offset + first, end - first, p->to + first, p->file,
                               p->is_later };
}

/* In the order of the parts, those that come later behind all others. */
static struct copy_part piece_at(const struct copy_job *j, unsigned piece)
{
    const struct copy_part *p = j->copy.parts;
    bool later = piece >= j->pieces_first;

    for (piece -= later ? j->pieces_first : 0; p->is_later != later || piece >= pieces_of(p); p++)
        piece -= p->is_later == later ? pieces_of(p) : 0;
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
        /*
         * The page is had by a fault of the process, which holds its area's lock (Linux 6.4); one within read(2) holds that
         * of all of memory while it zeroes 2 MiB, and who maps something else waits.
         */
        *(volatile uint8_t *)(p->to + (at - p->offset)) = 0;
        r = fill(fd, at, p->to + (at - p->offset), hole - at);
        at = hole;
    }
    return r;
}

/* Behind the end of a file that was cut there is nothing, as in a hole. */
static bool is_whole(struct copy_job *j)
{
    bool whole = true;

    for (unsigned i = 0; i < j->copy.n_files; i++) {
        const struct copy_file *f = &j->copy.files[i];
        struct stat st;
        int none = 0;

        if (fstat(f->fd, &st) == 0 && (uint64_t)st.st_size < f->size)
            atomic_compare_exchange_strong(&j->errors[i], &none, ENODATA);
        whole = whole && atomic_load(&j->errors[i]) == 0;
    }
    return whole;
}

/* Whoever has copied the last piece of all: nobody else is in there. */
static void arrive(struct copy_job *j)
{
    bool whole = is_whole(j);

    for (unsigned i = 0; i < j->copy.n_later && whole && j->arrive_error == 0; i++)
        j->arrive_error = -vmm_memory_arrive(&j->copy.later[i]);
    j->arrived = true;
}

static void count(struct copy_job *j, const struct copy_part *p)
{
    pthread_mutex_lock(&j->lock);
    j->done++;
    j->done_first += !p->is_later;
    if (j->done == j->pieces)
        arrive(j);
    if (j->arrived || j->done_first == j->pieces_first)
        pthread_cond_broadcast(&j->news);
    pthread_mutex_unlock(&j->lock);
}

/* Nothing that is not there yet comes any more. */
static void give_up(struct copy_job *j)
{
    atomic_store(&j->next, j->pieces);
    pthread_mutex_lock(&j->lock);
    j->arrived = true;
    pthread_cond_broadcast(&j->news);
    pthread_mutex_unlock(&j->lock);
}

/* The next one of the first n pieces, unless all of them are taken. */
static bool take(struct copy_job *j, unsigned n, unsigned *out)
{
    *out = atomic_load(&j->next);
    while (*out < n)
        if (atomic_compare_exchange_weak(&j->next, out, *out + 1))
            return true;
    return false;
}

static void work(struct copy_job *j, unsigned n)
{
    unsigned piece;

    while (take(j, n, &piece)) {
        struct copy_part p = piece_at(j, piece);
        int none = 0, r = copy_piece(j->copy.files[p.file].fd, &p);

        if (r < 0) {
            atomic_compare_exchange_strong(&j->errors[p.file], &none, -r);
            give_up(j);
        } else {
            count(j, &p);
        }
    }
}

/* Where all run on one processor, what is not wanted yet would take it from who makes the machine. */
static void *help(void *arg)
{
    struct copy_job *j = arg;

    work(j, j->pieces_first);
    pthread_mutex_lock(&j->lock);
    while (!j->released)
        pthread_cond_wait(&j->news, &j->lock);
    pthread_mutex_unlock(&j->lock);
    work(j, j->pieces);
    return NULL;
}

/*
 * One for every processor: the caller mostly waits for KVM's grace periods meanwhile, and is woken where a kernel's worker
 * ran, be that beside a helper; with a helper less its own processor stood idle then for 4 ms, up to the next balance.
 */
static unsigned helpers_for(unsigned pieces)
{
    unsigned worth = pieces / PIECES_WORTH_A_THREAD;
    cpu_set_t set;
    int cpus;

    if (worth < 2 || sched_getaffinity(0, sizeof(set), &set) < 0)
        return 0;
    cpus = CPU_COUNT(&set);
    cpus = cpus < COPY_THREADS_MAX ? cpus : COPY_THREADS_MAX;
    return worth < (unsigned)cpus ? worth : (unsigned)cpus;
}

void copy_begin(struct copy_job *j)
{
    unsigned helpers;

    for (unsigned i = 0; i < j->copy.n; i++) {
        const struct copy_part *p = &j->copy.parts[i];

        j->pieces += pieces_of(p);
        j->pieces_first += p->is_later ? 0 : pieces_of(p);
    }
    pthread_mutex_init(&j->lock, NULL);
    pthread_cond_init(&j->news, NULL);
    j->begun = true;
    j->arrived = j->pieces == 0;
    helpers = helpers_for(j->pieces);
    /* Without a helper it takes longer, that is all. */
    while (j->n_helpers < helpers && pthread_create(&j->helpers[j->n_helpers], NULL, help, j) == 0)
        j->n_helpers++;
}

static void join(struct copy_job *j)
{
    while (j->n_helpers > 0)
        pthread_join(j->helpers[--j->n_helpers], NULL);
}

static int judge(struct copy_job *j, struct err *e)
{
    for (unsigned i = 0; i < j->copy.n_files; i++) {
        const char *what = j->copy.files[i].what;
        int error = atomic_load(&j->errors[i]);

        if (error == ENODATA)
            return err_set(e, 0, "the %s ends in the middle", what);
        if (error)
            return err_set(e, error, "cannot read the %s", what);
    }
    return j->arrive_error
               ? err_set(e, j->arrive_error, "cannot move what was read to guest memory")
               : 0;
}

int copy_end(struct copy_job *j, struct err *e)
{
    int r;

    work(j, j->n_helpers > 0 ? j->pieces_first : j->pieces);
    pthread_mutex_lock(&j->lock);
    while (!j->arrived && j->done_first < j->pieces_first)
        pthread_cond_wait(&j->news, &j->lock);
    pthread_mutex_unlock(&j->lock);
    (void)is_whole(j);
    r = judge(j, e);
    if (r < 0)
        copy_drop(j);
    return r;
}

void copy_release(struct copy_job *j)
{
    pthread_mutex_lock(&j->lock);
    j->released = true;
    pthread_cond_broadcast(&j->news);
    pthread_mutex_unlock(&j->lock);
}

int copy_wait(struct copy_job *j, struct err *e)
{
    pthread_mutex_lock(&j->lock);
    while (!j->arrived)
        pthread_cond_wait(&j->news, &j->lock);
    pthread_mutex_unlock(&j->lock);
    return judge(j, e);
}

void copy_drop(struct copy_job *j)
{
    if (j->begun) {
        atomic_store(&j->next, j->pieces);
        copy_release(j);
        join(j);
        pthread_cond_destroy(&j->news);
        pthread_mutex_destroy(&j->lock);
        j->begun = false;
    }
    for (unsigned i = 0; i < j->copy.n_later; i++)
        vmm_memory_forget(&j->copy.later[i]);
}
