/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The files that the client knows of. It may know as many as its memory holds, we have as many fds
 * as RLIMIT_NOFILE allows: a clock goes round and closes those that were not used since it came
 * by. An open node's parent is open too, as long as it is known, so what is closed can be looked at.
 *
 * Opening again is by name, below an fd, without following anything, and what is found must be
 * what was closed. A file handle (open_by_handle_at) would find it wherever it is, and wants
 * CAP_DAC_READ_SEARCH, with which a server that was taken over reads every file of the host.
 */
#include "share/internal.h"

#include <errno.h>
#include <fcntl.h>
#include <linux/magic.h>
#include <stdlib.h>
#include <string.h>
#include <sys/vfs.h>
#include <unistd.h>

enum {
    HASH_FIRST = 256,
    DEPTH_MAX = 128,
    LOOKED_AT_MAX = 1024,
    /* Of an allocation; both tables have up to twice the entries that are used. */
    ALLOCATION = 16,
    NODE_BYTES = sizeof(struct node) + ALLOCATION +
                 2 * (sizeof(struct slot) + sizeof(struct node *)),
};

/* ---- names ------------------------------------------------------------------------------------------ */

static uint64_t name_bytes(const char *name)
{
    return name ? strlen(name) + 1 + ALLOCATION : 0;
}

/* A client renames what it knows: a name counts as its node does. NULL: it has none. */
static void set_name(struct share *s, struct node *n, const char *name)
{
    s->node_bytes -= name_bytes(n->name);
    free(n->name);
    n->name = s->node_bytes + name_bytes(name) <= s->config.max_node_bytes && name ? strdup(name)
                                                                                   : NULL;
    s->node_bytes += name_bytes(n->name);
}

/* ---- by identity ------------------------------------------------------------------------------------ */

static uint32_t bucket(const struct share *s, uint64_t dev, uint64_t ino)
{
    uint64_t mixed = (ino ^ dev << 40) * UINT64_C(0x9e3779b97f4a7c15);

    return (uint32_t)(mixed >> 32) & (s->hash_size - 1);
}

static void hash_in(struct share *s, struct node *n)
{
    struct node **at = &s->hash[bucket(s, n->dev, n->ino)];

    n->next = *at;
    *at = n;
    n->is_hashed = true;
}

static void unhash(struct share *s, struct node *n)
{
    struct node **at = &s->hash[bucket(s, n->dev, n->ino)];

    if (!n->is_hashed)
        return;
    while (*at != n)
        at = &(*at)->next;
    *at = n->next;
    n->is_hashed = false;
}

/* A larger table where memory allows; a crowded one serves as well. */
static void grow_hash(struct share *s)
{
    uint32_t old_size = s->hash_size;
    struct node **old = s->hash, **larger;

    if (s->nodes.used < old_size)
        return;
    larger = calloc(2 * (size_t)old_size, sizeof(struct node *));
    if (!larger)
        return;
    s->hash = larger;
    s->hash_size = 2 * old_size;
    for (uint32_t i = 0; i < old_size; i++) {
        for (struct node *n = old[i], *next; n; n = next) {
            next = n->next;
            hash_in(s, n);
        }
    }
    free(old);
}

static bool is_born_then(const struct node *n, const struct statx *stat)
{
    return n->born.tv_sec == stat->stx_btime.tv_sec && n->born.tv_nsec == stat->stx_btime.tv_nsec;
}

static bool is_same(const struct node *n, const struct statx *stat)
{
    return n->dev == share_device(stat) && n->ino == stat->stx_ino &&
           n->mount == stat->stx_mnt_id && n->type == (stat->stx_mode & S_IFMT);
}

/*
 * While the fd is open, device and inode number are the file's alone. Without, another file may have
 * got them: then the old one is gone, and its number means nothing any more.
 */
static struct node *find_same(struct share *s, const struct statx *stat)
{
    for (struct node *n = s->hash[bucket(s, share_device(stat), stat->stx_ino)]; n; n = n->next) {
        if (!is_same(n, stat))
            continue;
        if (n->fd >= 0 || is_born_then(n, stat))
            return n;
        unhash(s, n);
        return NULL;
    }
    return NULL;
}

/* ---- fds -------------------------------------------------------------------------------------------- */

static struct node *parent_of(const struct share *s, const struct node *n)
{
    return slots_find(&s->nodes, n->parent);
}

/* Into the ring where the hand comes last, and out of it. */
static void join_ring(struct share *s, struct node *n)
{
    struct node *hand = s->hand ? s->hand : n;

    if (hand == n)
        n->open_previous = n;
    n->open_next = hand;
    n->open_previous = hand->open_previous;
    n->open_previous->open_next = n;
    hand->open_previous = n;
    s->hand = hand;
}

static void leave_ring(struct share *s, struct node *n)
{
    n->open_previous->open_next = n->open_next;
    n->open_next->open_previous = n->open_previous;
    if (s->hand == n)
        s->hand = n->open_next == n ? NULL : n->open_next;
}

static void set_fd(struct share *s, struct node *n, int fd)
{
    struct node *parent = parent_of(s, n);
    uint32_t change = (fd >= 0) - (n->fd >= 0);

    if (n->fd < 0 && fd >= 0)
        join_ring(s, n);
    else if (n->fd >= 0 && fd < 0)
        leave_ring(s, n);
    n->fd = fd;
    s->n_node_fds += change;
    if (parent)
        parent->n_open_children += change;
}

/* Where it was seen last. Without memory for the name its fd stays open: RLIMIT_NOFILE bounds these. */
static void locate(struct share *s, struct node *n, const struct node *parent, const char *name)
{
    struct node *old = parent_of(s, n);

    if (n == s->root || (n->parent == parent->id && n->name && strcmp(n->name, name) == 0))
        return;
    if (n->fd >= 0) {
        if (old)
            old->n_open_children--;
        ((struct node *)slots_find(&s->nodes, parent->id))->n_open_children++;
    }
    n->parent = parent->id;
    set_name(s, n, name);
}

static bool can_close(struct share *s, struct node *n)
{
    const struct node *parent = parent_of(s, n);
    struct statx now;

    if (n->n_pins > 0 || n->n_open_children > 0 || !n->name || !parent || parent->fd < 0)
        return false;
    if (n->was_used) {
        n->was_used = false;
        return false;
    }
    /* Unlinked, moved by the host, or another by now: nobody could find it again. */
    if (share_stat(parent->fd, n->name, &now) < 0 || !is_same(n, &now)) {
        set_name(s, n, NULL);
        return false;
    }
    n->born = now.stx_btime; /* overlayfs tells another after a copy to the upper layer */
    return true;
}

/* Closes fds until one more is within the bound, or few looks like giving one. */
static void make_room(struct share *s)
{
    for (unsigned looked = 0; s->n_node_fds >= s->config.max_node_fds && looked < LOOKED_AT_MAX;
         looked++) {
        struct node *n = s->hand; /* there is one: the root's */

        s->hand = n->open_next;
        if (can_close(s, n)) {
            close(n->fd);
            set_fd(s, n, -1);
            s->n_evictions++;
        }
    }
}

static int open_again(struct share *s, struct node *n)
{
    struct node *parent = parent_of(s, n);
    struct statx stat;
    AUTO_FD int fd = -1;

    parent->n_pins++; /* make_room leaves it open */
    make_room(s);
    parent->n_pins--;
    fd = openat(parent->fd, n->name, O_PATH | O_NOFOLLOW | O_CLOEXEC);
    if (fd < 0)
        return errno == EMFILE || errno == ENFILE ? -ENFILE : -ESTALE;
    if (share_stat(fd, "", &stat) < 0 || !is_same(n, &stat) || !is_born_then(n, &stat))
        return -ESTALE;
    set_fd(s, n, take_fd(&fd));
    return 0;
}

/*
 * From the lowest ancestor that is open down to n; with the lock held, for it is rare. What lies deeper
 * a client finds again by looking it up from above, which ESTALE makes it do; and should what is
 * remembered ever be a circle, it ends.
 */
static int revive(struct share *s, struct node *n)
{
    struct node *closed[DEPTH_MAX];
    unsigned depth = 0;
    int r = 0;

    for (struct node *at = n; at && at->fd < 0; at = parent_of(s, at)) {
        if (depth == DEPTH_MAX || !at->name || !parent_of(s, at))
            return -ESTALE;
        closed[depth++] = at;
    }
    while (depth > 0 && r == 0)
        r = open_again(s, closed[--depth]);
    return r;
}

/* ---- what the operations call ----------------------------------------------------------------------- */

/* Returns an fd to close without the lock (the last one of an unlinked file may take long), or -1. */
static int drop_if_unknown(struct share *s, struct node *n)
{
    int fd = n->fd;

    if (n == s->root || n->n_lookups > 0 || n->n_pins > 0)
        return -1;
    set_fd(s, n, -1);
    unhash(s, n);
    slots_remove(&s->nodes, n->id);
    set_name(s, n, NULL);
    s->node_bytes -= NODE_BYTES;
    free(n);
    return fd;
}

static void drop_and_unlock(struct share *s, struct node *n)
{
    int fd = drop_if_unknown(s, n);

    pthread_mutex_unlock(&s->lock);
    fd_cleanup(&fd);
}

int node_pin(struct share *s, uint64_t id, struct node **out)
{
    struct node *n;
    int r = 0;

    pthread_mutex_lock(&s->lock);
    n = slots_find(&s->nodes, id);
    if (!n) {
        pthread_mutex_unlock(&s->lock);
        return -ESTALE;
    }
    n->was_used = true;
    n->n_pins++;
    if (n->fd < 0)
        r = revive(s, n);
    if (r < 0) {
        n->n_pins--;
        drop_and_unlock(s, n);
        return r;
    }
    pthread_mutex_unlock(&s->lock);
    *out = n;
    return 0;
}

void node_unpin(struct share *s, struct node *n)
{
    if (!n)
        return;
    pthread_mutex_lock(&s->lock);
    n->n_pins--;
    drop_and_unlock(s, n);
}

static struct node *new_node(struct share *s, const struct statx *stat)
{
    bool fits = s->node_bytes + NODE_BYTES <= s->config.max_node_bytes;
    struct node *n = fits ? calloc(1, sizeof(*n)) : NULL;

    if (!n)
        return NULL;
    n->fd = -1;
    n->dev = share_device(stat);
    n->ino = stat->stx_ino;
    n->mount = stat->stx_mnt_id;
    n->type = stat->stx_mode & S_IFMT;
    n->born = stat->stx_btime;
    if (slots_add(&s->nodes, n, &n->id) < 0) {
        free(n);
        return NULL;
    }
    s->node_bytes += NODE_BYTES;
    hash_in(s, n);
    grow_hash(s);
    return n;
}

int node_enter(struct share *s, const struct node *parent, const char *name, int fd,
               const struct statx *stat, struct node **out)
{
    AUTO_FD int left = fd; /* closed last, without the lock */
    struct node *n;

    pthread_mutex_lock(&s->lock);
    n = find_same(s, stat);
    if (!n && fd >= 0)
        n = new_node(s, stat);
    if (!n) {
        pthread_mutex_unlock(&s->lock);
        return fd < 0 ? -ENOENT : -ENFILE;
    }
    n->n_lookups++;
    n->n_pins++;
    n->was_used = true;
    if (name)
        locate(s, n, parent, name);
    if (n->fd < 0 && fd >= 0) {
        make_room(s);
        set_fd(s, n, take_fd(&left));
    }
    pthread_mutex_unlock(&s->lock);
    *out = n;
    return 0;
}

void node_forget(struct share *s, uint64_t id, uint64_t n_lookups)
{
    struct node *n;

    pthread_mutex_lock(&s->lock);
    n = slots_find(&s->nodes, id);
    if (!n) {
        pthread_mutex_unlock(&s->lock);
        return;
    }
    n->n_lookups -= n_lookups < n->n_lookups ? n_lookups : n->n_lookups;
    drop_and_unlock(s, n);
}

void node_pin_named(struct share *s, const struct node *parent, const char *name, struct node **out)
{
    struct statx stat;

    *out = NULL;
    /* As long as no fd was closed, each node has one. */
    if (!__atomic_load_n(&s->n_evictions, __ATOMIC_RELAXED) ||
        share_stat(parent->fd, name, &stat) < 0)
        return;
    pthread_mutex_lock(&s->lock);
    *out = find_same(s, &stat);
    if (*out) {
        (*out)->n_pins++;
        if ((*out)->fd < 0)
            revive(s, *out); /* who cannot be opened now has been lost before */
    }
    pthread_mutex_unlock(&s->lock);
}

void node_moved(struct share *s, const struct node *parent, const char *name)
{
    struct statx stat;
    struct node *n;

    if (share_stat(parent->fd, name, &stat) < 0)
        return;
    pthread_mutex_lock(&s->lock);
    n = find_same(s, &stat);
    if (n)
        locate(s, n, parent, name);
    pthread_mutex_unlock(&s->lock);
}

int nodes_init(struct share *s, int root_fd, struct err *e)
{
    struct statx stat;
    struct statfs fs;
    AUTO_FD int fd = openat(root_fd, ".", O_PATH | O_DIRECTORY | O_CLOEXEC);

    if (fd < 0 || share_stat(fd, "", &stat) < 0 || fstatfs(fd, &fs) < 0)
        return err_set(e, errno, "cannot share the directory");
    if (fs.f_type == PROC_SUPER_MAGIC)
        return err_set(e, EINVAL, "cannot share a procfs: its links lead everywhere");
    s->hash_size = HASH_FIRST;
    s->hash = calloc(s->hash_size, sizeof(struct node *));
    s->root = s->hash ? new_node(s, &stat) : NULL;
    if (!s->root)
        return err_set(e, ENOMEM, "cannot share the directory");
    _Static_assert(FUSE_ROOT_ID == 1, "the first number of a table");
    set_fd(s, s->root, take_fd(&fd));
    return 0;
}

/* Nodes that requests still work with go when these end. */
void nodes_forget_all(struct share *s)
{
    pthread_mutex_lock(&s->lock);
    for (uint32_t i = 0; i < s->nodes.n; i++) {
        struct node *n = s->nodes.v[i].ptr;
        int fd;

        if (!n)
            continue;
        n->n_lookups = 0;
        fd = drop_if_unknown(s, n);
        fd_cleanup(&fd);
    }
    pthread_mutex_unlock(&s->lock);
}

void nodes_release(struct share *s)
{
    if (s->root) {
        nodes_forget_all(s);
        close(s->root->fd);
        free(s->root);
    }
    slots_release(&s->nodes);
    free(s->hash);
}
