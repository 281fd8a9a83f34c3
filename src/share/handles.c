/* SPDX-License-Identifier: Apache-2.0 */
/* The open files and directories of the client. */
#include "share/internal.h"

#include <errno.h>
#include <stdlib.h>
#include <unistd.h>

int handle_add(struct share *s, int fd, bool is_dir, uint64_t *out_id)
{
    AUTO_FD int left = fd;
    struct handle *h = calloc(1, sizeof(*h));
    int r;

    if (!h)
        return -ENOMEM;
    h->fd = fd;
    h->is_dir = is_dir;
    pthread_mutex_init(&h->lock, NULL);
    /* Whole before it has a number: a client that guesses that may have released it when the lock is free again. */
    pthread_mutex_lock(&s->lock);
    r = slots_add(&s->handles, h, &h->id);
    if (r == 0)
        *out_id = h->id;
    pthread_mutex_unlock(&s->lock);
    if (r == 0) {
        take_fd(&left);
        return 0;
    }
    pthread_mutex_destroy(&h->lock);
    free(h);
    return r;
}

static void drop(struct handle *h)
{
    pthread_mutex_destroy(&h->lock);
    close(h->fd);
    free(h);
}

int handle_pin(struct share *s, uint64_t id, bool is_dir, struct handle **out)
{
    struct handle *h;

    pthread_mutex_lock(&s->lock);
    h = slots_find(&s->handles, id);
    if (h && h->is_dir != is_dir)
        h = NULL;
    if (h)
        h->n_pins++;
    pthread_mutex_unlock(&s->lock);
    if (!h)
        return -EBADF;
    *out = h;
    return 0;
}

void handle_unpin(struct share *s, struct handle *h)
{
    bool is_last;

    pthread_mutex_lock(&s->lock);
    is_last = --h->n_pins == 0 && h->is_released;
    pthread_mutex_unlock(&s->lock);
    if (is_last)
        drop(h);
}

/* Its number means nothing from now on; a request that works with it ends first. The lock is held. */
static struct handle *release(struct share *s, struct handle *h)
{
    slots_remove(&s->handles, h->id);
    h->is_released = true;
    return h->n_pins == 0 ? h : NULL;
}

void handle_release(struct share *s, uint64_t id, bool is_dir)
{
    struct handle *h;

    pthread_mutex_lock(&s->lock);
    h = slots_find(&s->handles, id);
    h = h && h->is_dir == is_dir ? release(s, h) : NULL;
    pthread_mutex_unlock(&s->lock);
    if (h)
        drop(h);
}

void handles_release_all(struct share *s)
{
    pthread_mutex_lock(&s->lock);
    for (uint32_t i = 0; i < s->handles.n; i++) {
        struct handle *h = s->handles.v[i].ptr;

        h = h ? release(s, h) : NULL;
        if (h)
            drop(h);
    }
    pthread_mutex_unlock(&s->lock);
}
