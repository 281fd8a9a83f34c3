/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The file server of a machine on our own monitor: src/share in a process of its own, whose root is what the
 * guest may see of the host. The machine's process puts requests into memory that both share, and says
 * so on a socket (struct vmm_share_request, struct vmm_share_reply; anything longer is a sentence why it cannot serve). Nothing
 * in that memory is believed: the machine's process may be the guest's by then.
 */
#include <errno.h>
#include <fcntl.h>
#include <pthread.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/mount.h>
#include <sys/resource.h>
#include <sys/socket.h>
#include <unistd.h>

#include "container/machine.h"
#include "container/machine_jail.h"
#include "share/share.h"

enum { THREADS = 4 /* one waits for the disk, others answer */ };

static struct server {
    int sock, memory;
    uint8_t *slots;
    struct share *share;
    pthread_barrier_t jailed;
} server;

/* ---- in the process -------------------------------------------------------------------------- */

static _Noreturn void give_up(const struct err *e)
{
    send(server.sock, e->text, strlen(e->text), MSG_NOSIGNAL);
    _exit(1);
}

/* The other side decides where and how long: only within one slot. */
static bool is_within(const struct vmm_share_request *r)
{
    return r->slot < MACHINE_SLOTS && r->len <= VMM_SHARE_REQUEST_MAX &&
           r->reply_len <= VMM_SHARE_SLOT - vmm_share_reply_at(r->len);
}

static bool answer(struct share_worker *w, const struct vmm_share_request *r)
{
    uint8_t *slot = server.slots + (size_t)r->slot * VMM_SHARE_SLOT;
    const struct iovec request = { slot, r->len };
    const struct iovec room = { slot + vmm_share_reply_at(r->len), r->reply_len };
    struct vmm_share_reply reply = { .slot = r->slot };

    reply.len = (uint32_t)share_serve(w, &request, 1, &room, 1);
    return write(server.sock, &reply, sizeof reply) == sizeof reply;
}

/* Until the machine's end of the socket is closed. A message is taken by one thread, whole. */
static void *work(void *arg)
{
    struct share_worker *w;
    struct vmm_share_request r;
    struct err e = { 0 };
    ssize_t n;

    if (share_worker_new(server.share, &w, &e) < 0)
        give_up(&e);
    if (jail_filter(JAIL_SERVER) < 0) {
        err_set(&e, errno, "cannot restrict the file server's system calls");
        give_up(&e);
    }
    /* A filter is a thread's own: nobody serves while another has none yet. */
    pthread_barrier_wait(&server.jailed);
    do
        n = read(server.sock, &r, sizeof r);
    while ((n < 0 && errno == EINTR) || (n == sizeof r && is_within(&r) && answer(w, &r)));
    (void)arg;
    _exit(0);
}

/*
 * Of /proc the server keeps an fd, by which it opens what it has an O_PATH fd of: that is a procfs of its own pid
 * namespace without anything but processes (subset=pid, Linux 5.8).
 */
static int open_share(const struct op_machine_files *op, struct err *e)
{
    const char *dir = op->dir;
    AUTO_FD int root = openat(AT_FDCWD, dir, O_PATH | O_DIRECTORY | O_CLOEXEC);
    struct machine_files_bounds bounds = machine_files_bounds((uint64_t)op->memory_mib, true);
    struct share_config config = { .root_fd = root,
                                   .cache = SHARE_CACHE_AUTO,
                                   .devices = true,
                                   .max_node_bytes = bounds.node_bytes };
    struct rlimit files = { 0 };

    if (root < 0)
        return err_set(e, errno, "cannot open '%s'", dir);
    if (mount("proc", "/proc", "proc", MS_NOSUID | MS_NODEV | MS_NOEXEC, "subset=pid") < 0)
        return err_set(e, errno, "cannot mount a procfs for the machine's files");
    machine_set_files(bounds.fds);
    if (getrlimit(RLIMIT_NOFILE, &files) == 0 && files.rlim_cur >= bounds.fds) {
        config.max_handles = bounds.handles;
        config.max_node_fds = MACHINE_NODE_FDS; /* else, and of handles, half of the limit */
    }
    return share_new(&config, &server.share, e);
}

static int enter(const struct op_machine_files *op, struct err *e)
{
    int *const keep[] = { &server.sock, &server.memory };
    int r = jail_keep_fds(keep, COUNT_OF(keep), e);

    if (r == 0) {
        server.slots = mmap(NULL, (size_t)MACHINE_SLOTS * VMM_SHARE_SLOT, PROT_READ | PROT_WRITE,
                            MAP_SHARED, server.memory, 0);
        r = server.slots == MAP_FAILED ? err_set(e, errno, "cannot map the memory of a share") : 0;
    }
    r = r < 0 ? r : jail_unshare(e);
    r = r < 0 ? r : open_share(op, e);
    r = r < 0 ? r : jail_change_root(op->dir, e);
    return r < 0 ? r : jail_become_server(e);
}

static _Noreturn void run(const struct op_machine_files *op)
{
    struct err e = { 0 };
    pthread_t thread;

    if (enter(op, &e) < 0)
        give_up(&e);
    pthread_barrier_init(&server.jailed, NULL,
                         THREADS); /* fails for a count of 0 only, pthread_barrier_init(3p) */
    for (int i = 1; i < THREADS; i++) {
        int r = pthread_create(&thread, NULL, work, NULL);

        if (r) {
            err_set(&e, r, "cannot make a thread of the file server");
            give_up(&e);
        }
    }
    work(NULL);
    _exit(0);
}

/* ---- in the monitor -------------------------------------------------------------------------- */

/* Neither process can make it smaller under the other's hands. */
static int make_memory(struct err *e)
{
    AUTO_FD int fd = memfd_create("teca-share", MFD_CLOEXEC | MFD_ALLOW_SEALING);

    if (fd < 0 || ftruncate(fd, (off_t)MACHINE_SLOTS * VMM_SHARE_SLOT) < 0 ||
        fcntl(fd, F_ADD_SEALS, F_SEAL_SHRINK | F_SEAL_GROW | F_SEAL_SEAL) < 0)
        return err_set(e, errno, "cannot make memory for the machine's files");
    return take_fd(&fd);
}

int machine_serve_files(const struct op_machine_files *op, struct slots *slots, struct err *e)
{
    AUTO_FD int memory = make_memory(e);
    int pair[2];
    pid_t pid;

    if (memory < 0)
        return memory;
    if (socketpair(AF_UNIX, SOCK_SEQPACKET | SOCK_CLOEXEC, 0, pair) < 0)
        return err_set(e, errno, "cannot make a socket pair for the machine's files");
    server = (struct server){ .sock = pair[1], .memory = memory };
    pid = jail_fork(e);
    if (pid == 0)
        run(op);
    close(pair[1]);
    slots->value[op->out] = pair[0];
    slots->value[op->out_memory] = take_fd(&memory);
    slots->value[op->out_pid] = pid;
    return pid < 0 ? (int)pid : 0;
}
