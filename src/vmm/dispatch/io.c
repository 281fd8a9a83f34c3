/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The thread that waits for fds of the host, so that no cpu has to: epoll(7), level-triggered, so that a handler
 * may leave the rest for its next turn and the lock is free in between.
 */
#include "vmm/dispatch/dispatch.h"

#include <errno.h>
#include <string.h>
#include <sys/epoll.h>
#include <sys/eventfd.h>
#include <unistd.h>

enum { EVENTS = 16 };

void io_init(struct vmm_io *io, pthread_mutex_t *devices)
{
    *io = (struct vmm_io){ .epoll = -1, .wake = -1, .devices = devices };
}

void io_release(struct vmm_io *io)
{
    fd_cleanup(&io->epoll);
    fd_cleanup(&io->wake);
}

/* Without a watch there is neither an fd nor a thread. */
static int open_fds(struct vmm_io *io, struct err *e)
{
    struct epoll_event event = { .events = EPOLLIN };

    if (io->epoll >= 0)
        return 0;
    io->epoll = epoll_create1(EPOLL_CLOEXEC);
    io->wake = eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK);
    if (io->epoll < 0 || io->wake < 0 || epoll_ctl(io->epoll, EPOLL_CTL_ADD, io->wake, &event) < 0)
        return err_set(e, errno, "cannot make an epoll for the devices");
    return 0;
}

int io_add(struct vmm_io *io, struct vmm_watch *w, struct err *e)
{
    struct epoll_event event = { .events = w->wanted, .data.ptr = w };
    int r = open_fds(io, e);

    if (r == 0 && epoll_ctl(io->epoll, EPOLL_CTL_ADD, w->fd, &event) < 0)
        r = err_set(e, errno, "cannot wait for a device's fd");
    w->watched = r == 0;
    return r;
}

void io_want(struct vmm_io *io, struct vmm_watch *w, uint32_t events)
{
    struct epoll_event event = { .events = events, .data.ptr = w };

    if (!w->watched || w->wanted == events)
        return;
    if (epoll_ctl(io->epoll, EPOLL_CTL_MOD, w->fd, &event) < 0)
        log_debug("epoll_ctl: errno %d", errno);
    w->wanted = events;
}

void io_remove(struct vmm_io *io, struct vmm_watch *w)
{
    if (w->watched)
        epoll_ctl(io->epoll, EPOLL_CTL_DEL, w->fd, NULL);
    w->watched = false;
}

static void *run(void *arg)
{
    struct vmm_io *io = arg;
    struct epoll_event events[EVENTS];

    if (io->begins)
        io->begins();
    while (!atomic_load(&io->stopped)) {
        int n = epoll_wait(io->epoll, events, EVENTS, -1);

        pthread_mutex_lock(io->devices);
        for (int i = 0; i < n; i++) {
            const struct vmm_watch *w = events[i].data.ptr; /* NULL: the thread shall end */

            if (w && w->watched)
                w->ready(w->ctx, events[i].events);
        }
        pthread_mutex_unlock(io->devices);
    }
    return NULL;
}

int io_start(struct vmm_io *io, struct err *e)
{
    int r = io->epoll < 0 ? 0 : pthread_create(&io->thread, NULL, run, io);

    io->has_thread = io->epoll >= 0 && r == 0;
    return r ? err_set(e, r, "cannot make a thread for the devices") : 0;
}

void io_stop(struct vmm_io *io)
{
    const uint64_t one = 1;

    if (!io->has_thread)
        return;
    atomic_store(&io->stopped, true);
    (void)!write(io->wake, &one, sizeof(one)); /* it cannot be full */
    pthread_join(io->thread, NULL);
    io->has_thread = false;
}
