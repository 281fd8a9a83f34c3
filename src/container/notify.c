/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Seccomp notify: config-linux.md "Seccomp" and "The Container Process State". The runtime lane
 * takes the listener out of init with pidfd_getfd(2) (Linux 5.6) and gives it to whoever listens at
 * listenerPath. Init could not send it: from its creation on init is under the filter, and sendmsg(2)
 * may be what the filter asks the listener about.
 */
#include <errno.h>
#include <fcntl.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/syscall.h>
#include <sys/un.h>
#include <unistd.h>

#include "container/internal.h"

/* A listener that does not take the connection must not hold up the start for ever. */
enum { PATIENCE_SECONDS = 10 };

void notify_compile(struct plan *p, const struct notify_subject *s)
{
    const struct spec_seccomp *profile = &s->spec->linux.seccomp;
    int load = plan_find(p, OP_SECCOMP_LOAD, 0);
    struct step *st = plan_add(p, OP_SECCOMP_NOTIFY, LANE_RUNTIME, "/linux/seccomp/listenerPath");

    st->seccomp_notify.path = profile->listener_path;
    st->seccomp_notify.metadata = profile->listener_metadata;
    st->seccomp_notify.id = s->id;
    st->seccomp_notify.bundle = s->bundle;
    st->seccomp_notify.status = s->status;
    st->seccomp_notify.pid = s->pid_slot;
    st->seccomp_notify.pidfd = s->pidfd_slot;
    st->seccomp_notify.init = s->init_slot;
    st->seccomp_notify.listener = p->steps[load].seccomp_load.listener;
    st->seccomp_notify.spec = s->spec;
    st->after = load;
}

static struct json_out *process_state(const struct op_seccomp_notify *op, pid_t pid, pid_t init)
{
    const struct spec *s = op->spec;
    const struct container_state state = { .id = op->id,
                                           .oci_version = s->oci_version,
                                           .bundle = op->bundle,
                                           .status = op->status,
                                           .pid = init,
                                           .annotations = s->annotations };
    struct json_out *j = json_out_new(false);

    json_open_object(j, NULL);
    json_add_string(j, "ociVersion", s->oci_version);
    json_open_array(j, "fds");
    json_add_string(j, NULL, "seccompFd");
    json_close_array(j);
    json_add_i64(j, "pid", pid);
    if (op->metadata)
        json_add_string(j, "metadata", op->metadata);
    container_state_write(&state, j, "state");
    json_close_object(j);
    return j;
}

/* A path too long for an address is reached through a descriptor of the socket's file. */
static int address_of(const char *path, struct sockaddr_un *address, int *out_file)
{
    char short_path[FD_PATH_SIZE];

    if (strlen(path) >= sizeof address->sun_path) {
        *out_file = openat(AT_FDCWD, path, O_PATH | O_CLOEXEC);
        if (*out_file < 0)
            return -errno;
        path = fd_path(short_path, *out_file, NULL);
    }
    base_format(address->sun_path, sizeof address->sun_path, "%s", path);
    return 0;
}

static int connect_to(const char *path, struct err *e)
{
    struct sockaddr_un address = { .sun_family = AF_UNIX };
    const struct timeval patience = { .tv_sec = PATIENCE_SECONDS };
    AUTO_FD int sock = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0);
    AUTO_FD int file = -1;
    int r = sock < 0 ? -errno : address_of(path, &address, &file);

    if (r == 0 && setsockopt(sock, SOL_SOCKET, SO_SNDTIMEO, &patience, sizeof patience) < 0)
        r = -errno;
    if (r == 0 && connect(sock, (const struct sockaddr *)&address, sizeof address) < 0)
        r = errno == EAGAIN ? -ETIMEDOUT : -errno; /* unix(7), with a timeout */
    if (r < 0)
        return err_set(e, -r, "cannot connect to the seccomp listener '%s'", path);
    return take_fd(&sock);
}

/* The descriptor goes with the first bytes only. */
static int send_state(int sock, const char *text, size_t len, int listener)
{
    union {
        char space[CMSG_SPACE(sizeof(int))];
        struct cmsghdr align;
    } control = { .space = { 0 } };
    struct iovec part = { (void *)text, len };
    struct msghdr msg = {
        .msg_iov = &part, .msg_iovlen = 1, .msg_control = &control, .msg_controllen = sizeof control
    };
    struct cmsghdr *c = CMSG_FIRSTHDR(&msg);

    c->cmsg_len = CMSG_LEN(sizeof(int));
    c->cmsg_level = SOL_SOCKET;
    c->cmsg_type = SCM_RIGHTS;
    memcpy(CMSG_DATA(c), &listener, sizeof(int));
    while (part.iov_len > 0) {
        ssize_t n = sendmsg(sock, &msg, MSG_NOSIGNAL);

        if (n < 0 && errno == EINTR)
            continue;
        if (n < 0)
            return errno == EAGAIN ? -ETIMEDOUT : -errno;
        part.iov_base = (char *)part.iov_base + n;
        part.iov_len -= (size_t)n;
        msg.msg_control = NULL;
        msg.msg_controllen = 0;
    }
    return 0;
}

/*
 * Our copy of the listener is closed again: when the one that was sent is closed, the kernel must
 * answer what the container asks, with ENOSYS.
 */
int container_notify(const struct op_seccomp_notify *op, const struct slots *slots, struct err *e)
{
    AUTO_FD int listener = (int)sys_note(
        "pidfd_getfd(2) of Linux 5.6",
        syscall(SYS_pidfd_getfd, slots->value[op->pidfd], slots->value[op->listener], 0));
    AUTO_FD int sock = -1;
    struct json_out *j;
    const char *text;
    size_t len;
    int r;

    if (listener < 0)
        return err_set(e, errno, "cannot take the seccomp listener out of the container's process");
    sock = connect_to(op->path, e);
    if (sock < 0)
        return sock;
    j = process_state(op, slots->value[op->pid], slots->value[op->init]);
    text = json_out_text(j, &len);
    r = send_state(sock, text, len, listener);
    json_out_free(j);
    return r < 0 ? err_set(e, -r, "cannot send to the seccomp listener '%s'", op->path) : 0;
}
