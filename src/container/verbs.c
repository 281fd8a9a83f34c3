/* SPDX-License-Identifier: Apache-2.0 */
/* The verbs on what exists: start, state, kill, delete, list. Plain code over state.c. */
#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <poll.h>
#include <pwd.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <strings.h>
#include <sys/file.h>
#include <sys/signalfd.h>
#include <sys/stat.h>
#include <unistd.h>

#include "container/internal.h"

static const char *const status_names[] = {
    [STATUS_CREATING] = "creating", [STATUS_CREATED] = "created", [STATUS_RUNNING] = "running",
    [STATUS_PAUSED] = "paused",     [STATUS_STOPPED] = "stopped",
};

const char *container_status_name(enum container_status status)
{
    return status_names[status];
}

enum {
    END_TIMEOUT_MS = 10000, /* for a runtime that undoes what it has made */
    DYING_MS = 200,         /* from the end of a process's fds to its own */
};

int container_find(const char *root, const char *id, struct arena *a, const char **dir,
                   struct state_record *rec, struct err *e)
{
    int r = container_check_id(id, e);

    *dir = NULL;
    if (r < 0)
        return r;
    *dir = state_dir_path(a, root, id);
    return state_load(*dir, a, rec, e);
}

int container_find_locked(const char *root, const char *id, struct arena *a, const char **dir,
                          struct state_record *rec, int *lock, struct err *e)
{
    int r = container_check_id(id, e);

    if (r < 0)
        return r;
    *dir = state_dir_path(a, root, id);
    *lock = state_lock(*dir, true, e);
    return *lock < 0 ? *lock : state_load(*dir, a, rec, e);
}

/* ---- start --------------------------------------------------------------------------------- */

static const char *pointer_of(const struct state_record *rec, int step)
{
    for (size_t i = 0; i < rec->n_pointers; i++)
        if (rec->pointers[i].step == step)
            return rec->pointers[i].pointer;
    return "";
}

/*
 * The FIFO has ended without a word. When init executes its program, the kernel closes its fds in an
 * order of its own: a `start` that comes between finds a reader at the one FIFO and nobody at the
 * other.
 */
static int heard_nothing(int pidfd, struct err *e)
{
    struct pollfd end = { pidfd, POLLIN, 0 };

    if (poll(&end, 1, DYING_MS) == 0)
        return err_set(e, 0, "cannot start an already running container");
    return err_set(e, 0, "the container's init process ended before it executed the program");
}

/* An init that is to be released. */
struct release {
    const struct state_record *rec;
    struct machine_patience patience; /* with its monitor, where it is one */
    int start, result, pidfd;
};

/* 1: look again. */
static int await_init(struct execution *x, struct release *r, struct pollfd fds[3], struct err *e)
{
    enum { LOOK_MS = 200 };
    int n = poll(fds, 3, r->rec->isolation ? LOOK_MS : -1), looked = 0;
    struct signalfd_siginfo info;

    if (n < 0 && errno != EINTR)
        return err_set(e, errno, "cannot wait for the container's init process");
    if (n > 0 && fds[2].revents && read(x->signal_fd, &info, sizeof info) == sizeof info)
        return execute_interrupted(x, (int)info.ssi_signo, e);
    if (n == 0)
        looked = machine_look_start(&r->patience, r->start, e);
    return looked < 0 ? looked : 1;
}

/* What init says between its release and its exec; the end of the FIFO is the exec, or its end. */
static int hear_init(struct execution *x, struct release *release, struct err *e)
{
    const struct state_record *rec = release->rec;
    int fd = release->result;
    struct pollfd fds[] = { { fd, POLLIN, 0 },
                            { release->pidfd, POLLIN, 0 },
                            { x->signal_fd, POLLIN, 0 } };
    struct record msg;
    size_t have = 0;
    bool exec_next = false;

    for (;;) {
        bool ended = fds[1].revents;
        /* Read first: poll(2) does not tell of an end that was there before the open. */
        ssize_t n = read(fd, (char *)&msg + have, sizeof msg - have);

        if (n < 0 && errno == EAGAIN && !ended) {
            int r = await_init(x, release, fds, e);

            if (r < 0)
                return r;
            continue;
        }
        if (n < 0 && errno == EINTR)
            continue;
        if (n <= 0)
            break;
        have += (size_t)n;
        if (have < sizeof msg)
            continue;
        have = 0;
        exec_next |= msg.kind == RECORD_EXEC_NEXT;
        if (msg.kind == RECORD_ERROR) {
            msg.text[RECORD_TEXT_SIZE - 1] = 0;
            if (rec->isolation)
                return machine_said(msg.text, e);
            err_at(e, pointer_of(rec, msg.step), 0, "%s", msg.text);
            return -EINVAL;
        }
    }
    return exec_next ? 0 : heard_nothing(release->pidfd, e);
}

/*
 * "created" is that the FIFO `start` has a reader (state.c). exec closes init's two FIFOs, but the
 * kernel may let go of `result` first, as it releases files after the call and the last one first:
 * a `state` right behind `start` would still say "created" (buildah asks at once). poll(2): the
 * writer's end has POLLERR when the last reader is gone.
 */
static void wait_until_no_reader(int start)
{
    enum { LONGEST_MS = 1000 };
    struct pollfd p = { .fd = start };

    poll(&p, 1, LONGEST_MS);
}

static int start_refused(enum container_status status, struct err *e)
{
    static const char *const sentences[] = {
        [STATUS_CREATING] = "cannot start a container in the creating state",
        [STATUS_PAUSED] = "cannot start a container in the paused state",
        [STATUS_STOPPED] = "cannot start a container that has stopped",
        [STATUS_RUNNING] = "cannot start an already running container",
    };

    return err_set(e, 0, "%s", sentences[status]);
}

/* Init may be killed at this moment: an error then, and no signal. Hooks find SIGPIPE as it was. */
static ssize_t write_to_init(int start)
{
    const struct sigaction ignore = { .sa_handler = SIG_IGN };
    const char byte = 1;
    struct sigaction before;
    ssize_t n;

    sigaction(SIGPIPE, &ignore, &before);
    n = write(start, &byte, 1);
    sigaction(SIGPIPE, &before, NULL); /* leaves errno */
    return n;
}

/* Of a start that has failed: a monitor that goes on later does not find it, but if it has read it at this moment. */
static void take_back(const char *path)
{
    AUTO_FD int fifo = openat(AT_FDCWD, path, O_RDONLY | O_NONBLOCK | O_CLOEXEC);
    char byte;

    (void)!read(fifo, &byte, 1);
}

static int release_init(struct execution *x, const char *dir, int pidfd,
                        const struct state_record *rec, struct err *e)
{
    struct pollfd end = { .fd = pidfd, .events = POLLIN };
    struct release release = { .rec = rec, .pidfd = pidfd };
    char path[4096];
    AUTO_FD int result = -1;
    AUTO_FD int start = -1;
    int r = rec->isolation ? machine_check_stopped(dir, e) : 0;

    if (r < 0)
        return r;
    base_format(path, sizeof path, "%s/result", dir);
    result = openat(AT_FDCWD, path, O_RDONLY | O_NONBLOCK | O_CLOEXEC);
    base_format(path, sizeof path, "%s/start", dir);
    start = openat(AT_FDCWD, path, O_WRONLY | O_NONBLOCK | O_CLOEXEC);
    if (start < 0 && errno == ENXIO)
        return start_refused(poll(&end, 1, 0) == 0 ? STATUS_RUNNING : STATUS_STOPPED, e);
    if (start < 0 || result < 0)
        return err_set(e, errno, "cannot reach the container's init process");
    if (write_to_init(start) != 1)
        return errno == EPIPE ? err_set(e, 0, "cannot start a container that has stopped")
                              : err_set(e, errno, "cannot release the container's init process");
    release.start = start;
    release.result = result;
    machine_patience_begin(&release.patience, dir, 0);
    r = hear_init(x, &release, e);
    if (r == 0)
        wait_until_no_reader(start);
    else if (r == -ETIMEDOUT && !release.patience.is_taken)
        take_back(path);
    return r;
}

/* Everything that create made, and then the poststop hooks. */
static int destroy(const struct state_record *rec, int pidfd, struct arena *a, struct err *e)
{
    struct hook_subject subject = hooks_subject_of_record(rec, a);
    int values[HOOK_SLOTS] = { pidfd, -1, -1 };
    struct slots slots = { values, HOOK_SLOTS };
    struct plan p;

    plan_init(&p, a, "delete");
    p.slots = 1;
    container_compile_delete(&rec->made, 0, &p);
    hooks_compile(&p, &subject, HOOK_POSTSTOP, SLOT_NONE);
    return execute_all(&p, &slots, e);
}

/* From here on a signal that would end teca is heeded where it waits: hooks can be undone. */
static int watch_signals(const struct state_record *rec, struct err *e)
{
    sigset_t fatal = execute_fatal_signals();

    return rec->has_hooks && sigprocmask(SIG_BLOCK, &fatal, NULL) < 0
               ? err_set(e, errno, "cannot block signals")
               : 0;
}

/* With the lock again: it may have been deleted meanwhile, and its ID given to another one. */
static bool lock_again(const char *dir, int lock)
{
    struct stat mine, there;

    return flock(lock, LOCK_EX) == 0 && fstat(lock, &mine) == 0 && stat(dir, &there) == 0 &&
           mine.st_dev == there.st_dev && mine.st_ino == there.st_ino;
}

/* pid, files for the output of hooks, pidfd, two sockets. */
enum { START_SLOTS = HOOK_SLOTS + 3 };

/* Whom to tell, NULL: nobody; for one, the container was created without NOTIFY_SOCKET. */
static const char *readiness_wanted(const char *dir, struct arena *a)
{
    const char *host = container_notify_socket();

    return host && faccessat(AT_FDCWD, arena_format(a, "%s/notify", dir), F_OK, 0) == 0 ? host
                                                                                        : NULL;
}

static void compile_readiness(struct plan *p, const char *dir, struct op_readiness_listen *listen,
                              int pid_slot, int pidfd_slot)
{
    if (!listen->host)
        return;
    listen->dir = arena_format(p->arena, "%s/notify", dir);
    listen->out = plan_slot(p);
    listen->out_host = plan_slot(p);
    readiness_compile_forward(p, listen, pid_slot, pidfd_slot, false);
}

/*
 * runtime-spec runtime.md "Lifecycle" steps 7 to 9: when a hook fails, the container is destroyed.
 * A program that cannot be executed leaves a stopped container, as ever. poststart hooks may take
 * long and hold up no `delete --force`: the container is running by then, and the lock free.
 */
static int start_init(const char *dir, int lock, pid_t pid, int pidfd,
                      const struct state_record *rec, struct arena *a, struct err *e)
{
    struct hook_subject subject = hooks_subject_of_record(rec, a);
    struct op_readiness_listen listen = { .host = readiness_wanted(dir, a) };
    struct execution x;
    struct plan p;
    int slots[START_SLOTS], r = watch_signals(rec, e), pid_slot, pidfd_slot;

    plan_init(&p, a, "start");
    pid_slot = plan_slot(&p);
    hooks_compile(&p, &subject, HOOK_POSTSTART, pid_slot);
    pidfd_slot = plan_slot(&p);
    compile_readiness(&p, dir, &listen, pid_slot, pidfd_slot);
    execution_init(&x, &p, slots);
    slots[pid_slot] = pid;
    slots[pidfd_slot] = pidfd;
    /* Before there is a program that could say it. */
    if (r == 0 && listen.host)
        r = readiness_listen(&listen, &x.slots, e);
    if (r == 0 && rec->has_hooks)
        execute_signal_fd(&x);
    if (r == 0)
        r = release_init(&x, dir, pidfd, rec, e);
    if (r == 0 && p.n > 0) {
        flock(lock, LOCK_UN);
        r = execute_start(&x, e);
    }
    if (r < 0 && (x.interrupted || str_starts(e->pointer, "/hooks/")) && lock_again(dir, lock))
        destroy(rec, pidfd, a, NULL);
    return r;
}

int container_start(const char *root, const char *id, struct arena *a, struct err *e)
{
    struct state_record rec;
    const char *dir;
    pid_t pid;
    AUTO_FD int lock = -1;
    AUTO_FD int pidfd = -1;
    int r = container_find_locked(root, id, a, &dir, &rec, &lock, e);

    if (r == 0)
        r = container_status(dir, &rec, &pid, &pidfd, e);
    if (r < 0)
        return r;
    if (r != STATUS_CREATED)
        return start_refused((enum container_status)r, e);
    if (!rec.has_process)
        return err_at(e, "/process", 0, "process property must not be empty");
    return start_init(dir, lock, pid, pidfd, &rec, a, e);
}

/* ---- kill ---------------------------------------------------------------------------------- */

static const struct {
    const char *name;
    int number;
} signals[] = {
    { "HUP", SIGHUP },       { "INT", SIGINT },     { "QUIT", SIGQUIT }, { "ILL", SIGILL },
    { "TRAP", SIGTRAP },     { "ABRT", SIGABRT },   { "IOT", SIGABRT },  { "BUS", SIGBUS },
    { "FPE", SIGFPE },       { "KILL", SIGKILL },   { "USR1", SIGUSR1 }, { "SEGV", SIGSEGV },
    { "USR2", SIGUSR2 },     { "PIPE", SIGPIPE },   { "ALRM", SIGALRM }, { "TERM", SIGTERM },
    { "STKFLT", SIGSTKFLT }, { "CHLD", SIGCHLD },   { "CLD", SIGCHLD },  { "CONT", SIGCONT },
    { "STOP", SIGSTOP },     { "TSTP", SIGTSTP },   { "TTIN", SIGTTIN }, { "TTOU", SIGTTOU },
    { "URG", SIGURG },       { "XCPU", SIGXCPU },   { "XFSZ", SIGXFSZ }, { "VTALRM", SIGVTALRM },
    { "PROF", SIGPROF },     { "WINCH", SIGWINCH }, { "IO", SIGIO },     { "POLL", SIGIO },
    { "PWR", SIGPWR },       { "SYS", SIGSYS },     { "RTMIN", 34 },     { "RTMAX", 64 },
};
enum { SIGNAL_RTMIN = 34, SIGNAL_MAX = 64 }; /* signal(7), as glibc counts */

/* "RTMIN+3", "RTMAX-1"; -1 when it is neither. */
static int realtime_signal(const char *name)
{
    uint64_t n;

    if (strncasecmp(name, "RTMIN+", 6) == 0 && str_to_u64(name + 6, &n) == 0 &&
        n <= SIGNAL_MAX - SIGNAL_RTMIN)
        return SIGNAL_RTMIN + (int)n;
    if (strncasecmp(name, "RTMAX-", 6) == 0 && str_to_u64(name + 6, &n) == 0 &&
        n <= SIGNAL_MAX - SIGNAL_RTMIN)
        return SIGNAL_MAX - (int)n;
    return -1;
}

int container_signal(const char *name, struct err *e)
{
    uint64_t number;
    const char *bare = strncasecmp(name, "SIG", 3) == 0 ? name + 3 : name;
    int realtime = realtime_signal(bare);

    if (str_to_u64(name, &number) == 0 && number <= SIGNAL_MAX)
        return (int)number;
    if (realtime > 0)
        return realtime;
    for (size_t i = 0; i < COUNT_OF(signals); i++)
        if (strcasecmp(signals[i].name, bare) == 0)
            return signals[i].number;
    return err_set(e, 0, "unknown signal \"%s\"", name);
}

/*
 * The record lists the cgroups before they are made and before it is known that nobody else uses
 * them: without a published init it does not tell whose the processes in them are.
 */
static bool has_had_init(const char *dir)
{
    struct state_process init;

    return state_load_init(dir, &init) == 0;
}

/* v2 first: it kills the whole tree at once. The rest are those that another hierarchy has alone. */
static int kill_everything(const struct state_record *rec, struct err *e)
{
    int r = 0;

    for (int v2 = 1; v2 >= 0; v2--)
        for (size_t i = 0; i < rec->made.n_cgroups && r == 0; i++)
            if (rec->made.cgroups[i].leaf && cgroup_is_v2(rec->made.cgroups[i].path) == v2)
                r = cgroup_kill(rec->made.cgroups[i].path, v2, e);
    return r;
}

/*
 * `kill --all`: also when init has ended and others go on (engine-contract 1.3.4). Without a cgroup,
 * an ordinary user's container, nobody knows of more than init.
 */
static int signal_all(const struct state_record *rec, int signal, int pidfd, struct err *e)
{
    const char *cgroup = container_cgroup_of_all(rec);

    if (!cgroup)
        return pidfd >= 0 && sys_pidfd_send_signal(pidfd, signal) < 0 && errno != ESRCH
                   ? err_set(e, errno, "cannot send signal %d to the container", signal)
                   : 0;
    return signal == SIGKILL ? kill_everything(rec, e) : cgroup_signal(cgroup, signal, e);
}

int container_kill(const char *root, const char *id, int signal, bool all, struct arena *a,
                   struct err *e)
{
    struct state_record rec;
    const char *dir;
    pid_t pid;
    AUTO_FD int pidfd = -1;
    int r = container_find(root, id, a, &dir, &rec, e);

    if (r == 0)
        r = state_status(dir, &rec, &pid, &pidfd, e);
    if (r < 0)
        return r;
    /* As before the record was there: who kills tries again until init can be killed. */
    if (r == STATUS_CREATING)
        return err_set(e, 0, "container does not exist yet: it is being created");
    if (all && rec.isolation && pidfd >= 0 && signal != SIGKILL)
        return machine_signal_all(dir, signal, a, e);
    if (all)
        return pidfd >= 0 || has_had_init(dir) ? signal_all(&rec, signal, pidfd, e) : 0;
    if (pidfd < 0)
        return err_set(e, 0, "container not running");
    r = machine_signal(&rec, pidfd, signal, e);
    if (r != 0)
        return r < 0 ? r : 0;
    if (sys_pidfd_send_signal(pidfd, signal) < 0) {
        if (errno == ESRCH)
            return err_set(e, 0, "container not running");
        return err_set(e, errno, "cannot send signal %d to the container", signal);
    }
    if (signal != SIGKILL)
        return 0;
    container_thaw(&rec);
    return rec.private_pid_ns ? 0 : kill_everything(&rec, e);
}

/* ---- delete -------------------------------------------------------------------------------- */

/*
 * The runtime that is still at work on the container, a create in flight or a `run`: it undoes what
 * it has made, by name, and must not meet a new container of this name then. A create ends by
 * SIGTERM, one that has published its init and a `run` after that.
 */
static void end_runtime(const struct state_record *rec, enum container_status status, int init)
{
    AUTO_FD int runtime = state_open_process(&rec->runtime, NULL);
    struct pollfd end = { runtime, POLLIN, 0 };

    if (runtime < 0)
        return;
    if (status == STATUS_CREATING)
        sys_pidfd_send_signal(runtime, SIGTERM);
    else if (init >= 0)
        sys_pidfd_send_signal(init, SIGKILL);
    if (!tracer_wait_for_end(runtime, init, END_TIMEOUT_MS) && status == STATUS_CREATING) {
        sys_pidfd_send_signal(runtime, SIGKILL);
        poll(&end, 1, END_TIMEOUT_MS);
    }
}

/* 1: the container is there, and nobody else is at work on it; 0: it is gone. */
static int take_over(const char *dir, const struct state_record *rec, int lock, int *pidfd,
                     struct err *e)
{
    pid_t pid;
    int status = state_status(dir, rec, &pid, pidfd, e), r;

    if (status < 0)
        return status;
    end_runtime(rec, (enum container_status)status, *pidfd);
    r = state_is_locked(lock, dir, e);
    if (r <= 0 || *pidfd >= 0)
        return r;
    status = state_status(dir, rec, &pid, pidfd, e);
    return status < 0 ? status : 1;
}

static int refuse_living(const char *dir, const char *id, const struct state_record *rec,
                         struct err *e)
{
    pid_t pid;
    int status = container_status(dir, rec, &pid, NULL, e);

    if (status == STATUS_RUNNING || status == STATUS_CREATING || status == STATUS_PAUSED)
        return err_set(e, 0, "cannot delete container %s that is not stopped: %s", id,
                       status_names[status]);
    return status < 0 ? status : 0;
}

/*
 * The lock may be held by a `start` whose init does not come to its exec (a program on a file system
 * that does not answer). With force that init dies, and the lock is free.
 */
static int lock_for_delete(const char *dir, bool force, struct arena *a, struct err *e)
{
    struct state_record rec;
    pid_t pid;
    AUTO_FD int pidfd = -1;
    int lock = state_lock(dir, !force, e);

    if (lock != -EWOULDBLOCK)
        return lock;
    if (state_load(dir, a, &rec, NULL) == 0 && state_status(dir, &rec, &pid, &pidfd, NULL) >= 0 &&
        pidfd >= 0)
        sys_pidfd_send_signal(pidfd, SIGKILL);
    return state_lock(dir, true, e);
}

/* What a killed create left is removed. One that writes its record just now needs microseconds. */
static int load_for_delete(const char *dir, struct arena *a, struct state_record *rec,
                           struct err *e)
{
    const struct timespec pause = { 0, 1000000 };

    for (int waited = 0; waited < END_TIMEOUT_MS; waited++) {
        int r = state_load(dir, a, rec, e), removed;

        if (r != -ENOENT)
            return r;
        removed = state_remove_half_made(dir, a, e);
        if (removed <= 0)
            return removed < 0 ? removed : r;
        nanosleep(&pause, NULL);
    }
    return err_set(e, 0, "cannot delete container %s: its create does not come to its record",
                   strrchr(dir, '/') + 1);
}

int container_delete(const char *root, const char *id, bool force, struct arena *a, struct err *e)
{
    struct state_record rec;
    const char *dir;
    AUTO_FD int pidfd = -1;
    AUTO_FD int lock = -1;
    int r = container_check_id(id, e);

    if (r < 0)
        return r;
    dir = state_dir_path(a, root, id);
    lock = lock_for_delete(dir, force, a, e);
    if (lock < 0)
        return force && lock == -ENOENT ? 0 : lock;
    r = load_for_delete(dir, a, &rec, e);
    if (r == -ENOENT && force)
        return 0;
    if (r == 0 && !force)
        r = refuse_living(dir, id, &rec, e);
    if (r == 0)
        r = take_over(dir, &rec, lock, &pidfd, e);
    if (r <= 0)
        return r;
    /* The signal first: nothing of it runs again. A frozen process of v1 dies when it is thawed. */
    if (pidfd >= 0 && sys_pidfd_send_signal(pidfd, SIGKILL) == 0)
        container_thaw(&rec);
    rec.made.init_unknown = !has_had_init(dir);
    r = watch_signals(&rec, e);
    return r < 0 ? r : destroy(&rec, pidfd, a, e);
}

/* ---- state and list ------------------------------------------------------------------------ */

static const char *owner_of(const char *dir, struct arena *a)
{
    struct stat st;
    const struct passwd *pw = NULL;
    FILE *passwd;

    if (stat(dir, &st) < 0)
        return "";
    if (st.st_uid == 0)
        return "root";
    /* fgetpwent(3) reads the file itself: a static program cannot load NSS modules. */
    passwd = fopen("/etc/passwd", "re");
    while (passwd && (pw = fgetpwent(passwd)) && pw->pw_uid != st.st_uid)
        ;
    if (passwd)
        fclose(passwd);
    return pw ? arena_strdup(a, pw->pw_name) : arena_format(a, "#%u", st.st_uid);
}

int container_state(const char *root, const char *id, struct arena *a, struct container_state *out,
                    struct err *e)
{
    struct state_record rec;
    const char *dir;
    pid_t pid;
    int r = container_find(root, id, a, &dir, &rec, e);

    if (r == 0)
        r = container_status(dir, &rec, &pid, NULL, e);
    if (r < 0)
        return r;
    *out = (struct container_state){ .id = rec.id,
                                     .oci_version = rec.oci_version,
                                     .bundle = rec.bundle,
                                     .rootfs = rec.rootfs,
                                     .status = status_names[r],
                                     .created = rec.created,
                                     .owner = owner_of(dir, a),
                                     .pid = pid,
                                     .annotations = rec.annotations };
    return 0;
}

void container_state_write(const struct container_state *s, struct json_out *j, const char *key)
{
    json_open_object(j, key);
    json_add_string(j, "ociVersion", s->oci_version ? s->oci_version : "");
    json_add_string(j, "id", s->id);
    if (s->pid >= 0)
        json_add_i64(j, "pid", s->pid);
    json_add_string(j, "status", s->status);
    json_add_string(j, "bundle", s->bundle);
    if (s->rootfs)
        json_add_string(j, "rootfs", s->rootfs);
    if (s->created)
        json_add_string(j, "created", s->created);
    if (s->annotations.n > 0) {
        json_open_object(j, "annotations");
        for (size_t i = 0; i < s->annotations.n; i++)
            json_add_string(j, s->annotations.v[i].key, s->annotations.v[i].value);
        json_close_object(j);
    }
    if (s->owner)
        json_add_string(j, "owner", s->owner);
    json_close_object(j);
}

static int by_id(const void *a, const void *b)
{
    return strcmp(((const struct container_state *)a)->id, ((const struct container_state *)b)->id);
}

int container_list(const char *root, struct arena *a, struct container_state **out, size_t *n,
                   const char *const **problems, struct err *e)
{
    DIR *dir = opendir(root);
    const struct dirent *entry;
    struct container_state *list = arena_array(a, 16, sizeof *list);
    const char **bad = arena_array(a, 16, sizeof *bad);
    size_t cap = 16, bad_cap = 16, n_bad = 0;
    int error;

    *n = 0;
    *out = list;
    *problems = bad;
    if (!dir)
        return errno == ENOENT ? 0 : err_set(e, errno, "cannot list the state root '%s'", root);
    /* errno tells the end of the list from a failure, readdir(3). */
    while ((errno = 0, entry = readdir(dir))) {
        struct err one = { 0 };
        int r;

        if (str_eq(entry->d_name, ".") || str_eq(entry->d_name, "..") ||
            container_check_id(entry->d_name, NULL) < 0)
            continue;
        if (*n == cap)
            list = arena_grow(a, list, *n, &cap, sizeof *list);
        r = container_state(root, entry->d_name, a, &list[*n], &one);
        if (r == 0)
            ++*n;
        else if (r != -ENOENT) {
            if (n_bad + 1 == bad_cap)
                bad = arena_grow(a, bad, n_bad, &bad_cap, sizeof *bad);
            bad[n_bad++] = arena_format(a, "%s: %s", entry->d_name, one.text);
            bad[n_bad] = NULL;
        }
    }
    error = errno;
    closedir(dir);
    if (error)
        return err_set(e, error, "cannot list the state root '%s'", root);
    qsort(list, *n, sizeof *list, by_id);
    *out = list;
    *problems = bad;
    return 0;
}
