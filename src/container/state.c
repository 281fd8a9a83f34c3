/* SPDX-License-Identifier: Apache-2.0 */
/*
 * A container on disk: ROOT/ID/
 *
 *   state    first line: the record as JSON; then config.json verbatim. Written once, before the
 *            first effect on the host. A torn write never parses: it is "does not exist".
 *   init     a symlink whose text is "PID FIRST LAST": init and the boot time interval, in clock
 *            ticks, in which it was cloned. One call makes it, so it is whole or absent.
 *   start    FIFO, made by `create`: init waits in read(2); so it has a reader while "created".
 *   result   FIFO: what init says to `start` about its last steps.
 *   notify   directory of the socket notify.sock, where NOTIFY_SOCKET was set (readiness.c).
 *   resources  linux.resources as `update` has changed them; replaced as a whole by rename(2).
 *
 * There is no other lock than flock(2) on the directory, taken by start, update and delete.
 * While `init` is missing, the runtime that the record names is still at work, or it was killed.
 */
#include <errno.h>
#include <fcntl.h>
#include <poll.h>
#include <signal.h>
#include <stdio.h>
#include <string.h>
#include <sys/file.h>
#include <sys/stat.h>
#include <sys/uio.h>
#include <time.h>
#include <unistd.h>

#include "container/internal.h"

enum {
    STATE_MAX_BYTES = 128 << 20,
    CLOCK_TICKS = 100, /* USER_HZ, fixed by the ABI */
    YOUNG_MS = 1000
};

const char *state_dir_path(struct arena *a, const char *root, const char *id)
{
    return arena_format(a, "%s/%s", root, id);
}

/*
 * Seconds since 1970 as a date, by the rules of the Gregorian calendar: an era is 400 years, a year
 * starts in March so that the leap day is its last. gmtime_r(3) would read /etc/localtime first.
 */
static void civil_date(int64_t days, int *year, unsigned *month, unsigned *day)
{
    uint64_t z = (uint64_t)(days + 719468), era = z / 146097, in_era = z % 146097;
    uint64_t y = (in_era - in_era / 1460 + in_era / 36524 - in_era / 146096) / 365;
    uint64_t in_year = in_era - (365 * y + y / 4 - y / 100), m = (5 * in_year + 2) / 153;

    *day = (unsigned)(in_year - (153 * m + 2) / 5 + 1);
    *month = (unsigned)(m < 10 ? m + 3 : m - 9);
    *year = (int)(y + era * 400 + (*month <= 2));
}

const char *state_time(struct arena *a, const struct timespec *t)
{
    unsigned seconds = (unsigned)(t->tv_sec % 86400), month, day;
    int year;

    civil_date(t->tv_sec / 86400, &year, &month, &day);
    return arena_format(a, "%04d-%02u-%02uT%02u:%02u:%02u.%09ldZ", year, month, day, seconds / 3600,
                        seconds / 60 % 60, seconds % 60, t->tv_nsec);
}

const char *state_now(struct arena *a)
{
    struct timespec now;

    clock_gettime(CLOCK_REALTIME, &now);
    return state_time(a, &now);
}

uint64_t state_boot_ticks(void)
{
    struct timespec now;

    clock_gettime(CLOCK_BOOTTIME, &now);
    return (uint64_t)now.tv_sec * CLOCK_TICKS + (uint64_t)now.tv_nsec / (1000000000 / CLOCK_TICKS);
}

/* ---- writing ------------------------------------------------------------------------------ */

/* What was made on the host, and is to be removed. */
static void write_made(struct json_out *j, const struct made *m)
{
    json_open_array(j, "cgroups");
    for (size_t i = 0; i < m->n_cgroups; i++) {
        json_open_object(j, NULL);
        json_add_string(j, "path", m->cgroups[i].path);
        json_add_bool(j, "leaf", m->cgroups[i].leaf);
        if (m->cgroups[i].nested)
            json_add_bool(j, "nested", true);
        json_close_object(j);
    }
    json_close_array(j);
    if (m->unit.name) {
        json_open_object(j, "systemd");
        json_add_string(j, "unit", m->unit.name);
        json_add_string(j, "helper", m->unit.helper);
        json_add_bool(j, "user", m->unit.user);
        json_close_object(j);
    }
    if (m->n_rdt) {
        json_open_array(j, "resctrl");
        for (size_t i = 0; i < m->n_rdt; i++)
            if (m->rdt[i].own)
                json_add_string(j, NULL, m->rdt[i].path);
        json_close_array(j);
    }
    if (m->n_redirects) {
        json_open_array(j, "redirects");
        for (size_t i = 0; i < m->n_redirects; i++) {
            json_open_object(j, NULL);
            json_add_string(j, "path", m->redirects[i].path);
            json_add_u64(j, "inode", m->redirects[i].inode);
            json_add_i64(j, "index", m->redirects[i].index);
            json_close_object(j);
        }
        json_close_array(j);
    }
}

const char *state_render(const struct state_record *r, struct arena *a)
{
    struct json_out *j = json_out_in(a, false);

    json_open_object(j, NULL);
    json_add_u64(j, "stateVersion", STATE_VERSION);
    json_add_string(j, "id", r->id);
    json_add_string(j, "bundle", r->bundle);
    json_add_string(j, "rootfs", r->rootfs);
    json_add_string(j, "created", r->created);
    json_add_bool(j, "privatePidNamespace", r->private_pid_ns);
    json_add_bool(j, "create", r->create);
    if (r->isolation)
        json_add_string(j, "isolation", r->isolation);
    json_add_string(j, "cgroupManager", r->cgroup_manager);
    json_open_object(j, "runtime");
    json_add_i64(j, "pid", r->runtime.pid);
    json_add_u64(j, "ticks", r->runtime.ticks_last);
    json_close_object(j);
    write_made(j, &r->made);
    json_open_array(j, "startSteps");
    for (size_t i = 0; i < r->n_pointers; i++) {
        json_open_object(j, NULL);
        json_add_i64(j, "step", r->pointers[i].step);
        json_add_string(j, "pointer", r->pointers[i].pointer);
        json_close_object(j);
    }
    json_close_array(j);
    json_add_u64(j, "configSize", r->config_len);
    json_close_object(j);
    return arena_format(a, "%s\n", json_out_text(j, NULL));
}

/* mkdir ROOT/ID; ROOT itself is made on the first container of this boot. */
static int make_dir(const char *dir, struct err *e)
{
    char parent[4096];
    size_t len;

    if (mkdir(dir, 0700) == 0)
        return 0;
    if (errno == ENOENT) {
        len = (size_t)(strrchr(dir, '/') - dir);
        if (len == 0 || len >= sizeof parent)
            return err_set(e, ENAMETOOLONG, "cannot make the state directory '%s'", dir);
        memcpy(parent, dir, len);
        parent[len] = 0;
        for (char *at = parent + 1; (at = strchr(at, '/')); *at++ = '/') {
            *at = 0;
            mkdir(parent, 0755);
        }
        /* Sticky: what cleans $XDG_RUNTIME_DIR leaves such alone (XDG Base Directory). */
        if (mkdir(parent, 01700) < 0 && errno != EEXIST)
            return err_set(e, errno, "cannot make the state root '%s'", parent);
        if (mkdir(dir, 0700) == 0)
            return 0;
    }
    if (errno == EEXIST) {
        err_set(e, 0, "container with given ID already exists: '%s'", strrchr(dir, '/') + 1);
        return -EEXIST;
    }
    return err_set(e, errno, "cannot make the state directory '%s'", dir);
}

static int write_state(const char *dir, const char *record, size_t record_len, const char *config,
                       size_t config_len, struct err *e)
{
    char path[4096];
    struct iovec parts[] = { { (void *)record, record_len }, { (void *)config, config_len } };
    ssize_t done;
    AUTO_FD int fd = -1;
    int r = 0;

    base_format(path, sizeof path, "%s/state", dir);
    fd = openat(AT_FDCWD, path, O_WRONLY | O_CREAT | O_EXCL | O_CLOEXEC, 0600);
    if (fd < 0)
        return err_set(e, errno, "cannot create '%s'", path);
    done = writev(fd, parts, 2);
    if (done < 0)
        return err_set(e, errno, "cannot write '%s'", path);
    if ((size_t)done < record_len) /* disk nearly full: the rest tells the reason */
        r = fd_write_all(fd, record + done, record_len - (size_t)done);
    done = (size_t)done > record_len ? done - (ssize_t)record_len : 0;
    if (r == 0 && (size_t)done < config_len)
        r = fd_write_all(fd, config + done, config_len - (size_t)done);
    if (r < 0)
        return err_set(e, -r, "cannot write '%s'", path);
    /* The fd stays open (CLOEXEC): the process ends soon, and a close would be one more call. */
    take_fd(&fd);
    return 0;
}

static int make_fifo(const char *dir, const char *name, int *out_fd, struct err *e)
{
    char path[4096];

    base_format(path, sizeof path, "%s/%s", dir, name);
    if (mkfifo(path, 0600) < 0)
        return err_set(e, errno, "cannot make the FIFO '%s'", path);
    *out_fd = openat(AT_FDCWD, path, O_RDWR | O_CLOEXEC);
    if (*out_fd < 0)
        return err_set(e, errno, "cannot open the FIFO '%s'", path);
    return 0;
}

static int deleted_meanwhile(const char *dir, int r, struct err *e)
{
    err_set(e, 0, "container '%s' was deleted while it was being created", strrchr(dir, '/') + 1);
    return r;
}

int state_create(const char *dir, const char *record, size_t record_len, const char *config,
                 size_t config_len, struct state_fifos *fifos, struct err *e)
{
    int r = make_dir(dir, e);

    if (r < 0)
        return r;
    /* The FIFOs first: when the record stands, the container exists. */
    if (fifos)
        r = make_fifo(dir, "start", &fifos->start, e);
    if (r == 0 && fifos)
        r = make_fifo(dir, "result", &fifos->result, e);
    if (r == 0)
        r = write_state(dir, record, record_len, config, config_len, e);
    /* Whoever deletes it removes it; and there may be another's by now. */
    if (r == -ENOENT || r == -EEXIST)
        return deleted_meanwhile(dir, r, e);
    if (r < 0)
        state_remove(dir, NULL);
    return r;
}

int state_publish_init(const char *dir, const struct state_process *init, struct err *e)
{
    char path[4096], text[96];

    base_format(path, sizeof path, "%s/init", dir);
    base_format(text, sizeof text, "%d %lu %lu", init->pid, init->ticks_first, init->ticks_last);
    if (symlink(text, path) == 0)
        return 0;
    if (errno == ENOENT || errno == EEXIST)
        return deleted_meanwhile(dir, -errno, e);
    return err_set(e, errno, "cannot publish the container's process in '%s'", path);
}

/* Only a start with NOTIFY_SOCKET has made it. */
static int remove_with_readiness(const char *dir, struct err *e)
{
    char path[4096];

    base_format(path, sizeof path, "%s/notify/notify.sock", dir);
    if (unlink(path) == 0 || errno == ENOENT) {
        base_format(path, sizeof path, "%s/notify", dir);
        rmdir(path);
    }
    return rmdir(dir) < 0 && errno != ENOENT
               ? err_set(e, errno, "cannot remove the state directory '%s'", dir)
               : 0;
}

int state_remove(const char *dir, struct err *e)
{
    static const char *const names[] = { "state",     "init",          "start",   "result",
                                         "resources", "resources.new", "control", "paused" };
    char path[4096];

    /* The FIFOs exist only after `create`, `resources` after `update`, resources.new after one that
     * was killed, the last two for a machine: they are asked for only when the directory is not empty yet. */
    for (size_t i = 0; i < COUNT_OF(names); i++) {
        if ((i == 2 || i == 5 || i == 6) && (rmdir(dir) == 0 || errno == ENOENT))
            return 0;
        base_format(path, sizeof path, "%s/%s", dir, names[i]);
        if (unlink(path) < 0 && errno != ENOENT)
            return err_set(e, errno, "cannot remove '%s'", path);
    }
    if (rmdir(dir) < 0 && errno != ENOENT)
        return errno == ENOTEMPTY
                   ? remove_with_readiness(dir, e)
                   : err_set(e, errno, "cannot remove the state directory '%s'", dir);
    return 0;
}

/*
 * There is a record that can be nobody's: a create on its way to it fails. So does every other one when
 * the directory goes as a whole; "~" is in no ID. Who has resolved its path already comes a
 * moment later, makes a file of another name or finds the record there.
 */
static int remove_torn(const char *dir, struct err *e)
{
    const struct timespec pause = { 0, 20000000 };
    char aside[4096];
    int r;

    base_format(aside, sizeof aside, "%.*s/~%d", (int)(strrchr(dir, '/') - dir), dir, getpid());
    if (rename(dir, aside) < 0)
        return errno == ENOENT ? 0
                               : err_set(e, errno, "cannot remove the state directory '%s'", dir);
    r = -ENOTEMPTY;
    for (int tries = 0; tries < 20 && r == -ENOTEMPTY; tries++) {
        nanosleep(&pause, NULL);
        r = state_remove(aside, e);
    }
    return r;
}

/*
 * open(2) shows the file a moment before the one who makes it counts as its writer: he could go on with a
 * record that nobody finds, in a directory that is another's by then.
 */
static bool is_young(int fd)
{
    struct timespec now;
    struct stat st;
    int64_t age;

    clock_gettime(CLOCK_REALTIME, &now);
    if (fstat(fd, &st) < 0)
        return false;
    age = (now.tv_sec - st.st_ctim.tv_sec) * 1000 + (now.tv_nsec - st.st_ctim.tv_nsec) / 1000000;
    return age >= 0 && age < YOUNG_MS;
}

/*
 * Whoever writes the record has it open for writing until he ends, and a read lease is not granted
 * then (fcntl(2), F_SETLEASE). A file system without leases cannot tell: nobody writes, as after a
 * crash.
 */
static int remove_unwritten(const char *dir, const char *path, struct arena *a, struct err *e)
{
    struct state_record rec;
    AUTO_FD int fd = openat(AT_FDCWD, path, O_RDONLY | O_CLOEXEC);

    if (fd < 0)
        return errno == ENOENT ? 0 : err_set(e, errno, "cannot open '%s'", path);
    if (fcntl(fd, F_SETLEASE, F_RDLCK) < 0 && errno == EAGAIN)
        return 1;
    /* He may have ended since the record was looked at. */
    if (state_load(dir, a, &rec, NULL) == 0 || is_young(fd))
        return 1;
    return remove_torn(dir, e);
}

int state_remove_half_made(const char *dir, struct arena *a, struct err *e)
{
    char path[4096];
    AUTO_FD int claim = -1;
    int r;

    if (rmdir(dir) == 0 || errno == ENOENT)
        return 0;
    base_format(path, sizeof path, "%s/state", dir);
    claim = openat(AT_FDCWD, path, O_WRONLY | O_CREAT | O_EXCL | O_CLOEXEC, 0600);
    if (claim >= 0)
        return remove_torn(dir, e);
    if (errno != EEXIST)
        return errno == ENOENT ? 0 : err_set(e, errno, "cannot create '%s'", path);
    signal(SIGIO, SIG_IGN); /* tells that somebody waits for the lease */
    r = remove_unwritten(dir, path, a, e);
    signal(SIGIO, SIG_DFL);
    return r;
}

/* ---- reading ------------------------------------------------------------------------------ */

static int not_there(struct err *e, const char *dir)
{
    err_set(e, 0, "container does not exist: '%s'", strrchr(dir, '/') + 1);
    return -ENOENT;
}

/* Whoever had the lock may have removed the container, and another create made it anew. */
int state_is_locked(int lock, const char *dir, struct err *e)
{
    struct stat locked, there;

    if (stat(dir, &there) < 0)
        return errno == ENOENT ? 0
                               : err_set(e, errno, "cannot look at the state directory '%s'", dir);
    if (fstat(lock, &locked) < 0)
        return err_set(e, errno, "cannot look at the state directory '%s'", dir);
    return locked.st_ino == there.st_ino && locked.st_dev == there.st_dev;
}

int state_lock(const char *dir, bool wait, struct err *e)
{
    for (;;) {
        AUTO_FD int fd = openat(AT_FDCWD, dir, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
        int r;

        if (fd < 0 && (errno == ENOENT || errno == ENOTDIR))
            return not_there(e, dir);
        if (fd < 0)
            return err_set(e, errno, "cannot open the state directory '%s'", dir);
        if (flock(fd, wait ? LOCK_EX : LOCK_EX | LOCK_NB) < 0)
            return err_set(e, errno, "cannot lock the state directory '%s'", dir);
        r = state_is_locked(fd, dir, e);
        if (r != 0)
            return r < 0 ? r : take_fd(&fd);
    }
}

static const char *text_of(const struct json *doc, const char *key)
{
    const struct json *v = json_get(doc, key);

    return v && v->type == JSON_STRING ? v->text : NULL;
}

static bool bool_of(const struct json *doc, const char *key)
{
    const struct json *v = json_get(doc, key);

    return v && v->type == JSON_BOOL && v->boolean;
}

static void read_runtime(const struct json *doc, struct state_process *out)
{
    const struct json *v = json_get(doc, "runtime");
    int64_t pid = 0;

    /* It ran when it wrote the record: whoever began later only has its pid. */
    if (v && json_get(v, "pid") && json_i64(json_get(v, "pid"), &pid) == 0 &&
        json_get(v, "ticks") && json_u64(json_get(v, "ticks"), &out->ticks_last) == 0)
        out->pid = (pid_t)pid;
}

static void read_redirects(const struct json *list, struct arena *a, struct made *out)
{
    if (list)
        out->redirects = arena_array(a, list->count, sizeof *out->redirects);
    for (const struct json *v = list ? list->child : NULL; v; v = v->next) {
        struct made_redirect r = { .path = text_of(v, "path") };

        if (r.path && json_get(v, "inode") && json_u64(json_get(v, "inode"), &r.inode) == 0 &&
            json_get(v, "index") && json_i64(json_get(v, "index"), &r.index) == 0)
            out->redirects[out->n_redirects++] = r;
    }
}

static void read_lists(const struct json *doc, struct arena *a, struct state_record *out)
{
    const struct json *list = json_get(doc, "cgroups");
    int64_t step;

    out->made.cgroups = arena_array(a, list ? list->count : 0, sizeof *out->made.cgroups);
    for (const struct json *v = list ? list->child : NULL; v; v = v->next)
        if (text_of(v, "path"))
            out->made.cgroups[out->made.n_cgroups++] = (struct made_cgroup){
                .path = text_of(v, "path"),
                .leaf = bool_of(v, "leaf"),
                .nested = bool_of(v, "nested")
            };
    list = json_get(doc, "systemd");
    if (list && text_of(list, "unit") && text_of(list, "helper"))
        out->made.unit = (struct cgroup_unit){ .name = text_of(list, "unit"),
                                               .helper = text_of(list, "helper"),
                                               .user = bool_of(list, "user") };
    list = json_get(doc, "resctrl");
    if (list)
        out->made.rdt = arena_array(a, list->count, sizeof *out->made.rdt);
    for (const struct json *v = list ? list->child : NULL; v; v = v->next)
        if (v->type == JSON_STRING)
            out->made.rdt[out->made.n_rdt++] = (struct made_rdt){ v->text, true, SLOT_NONE };
    read_redirects(json_get(doc, "redirects"), a, &out->made);
    list = json_get(doc, "startSteps");
    out->pointers = arena_array(a, list ? list->count : 0, sizeof *out->pointers);
    for (const struct json *v = list ? list->child : NULL; v; v = v->next)
        if (text_of(v, "pointer") && json_get(v, "step") &&
            json_i64(json_get(v, "step"), &step) == 0)
            out->pointers[out->n_pointers++] = (struct state_pointer){
                .step = (int)step, .pointer = text_of(v, "pointer")
            };
}

/* ociVersion and annotations come from the private copy of the config. */
static int read_config_copy(const char *text, size_t len, struct arena *a, struct state_record *out)
{
    struct json *doc;
    const struct json *notes;
    int r = json_parse(a, text, len, "config.json", &doc, NULL);

    if (r < 0)
        return r;
    out->config = text;
    out->config_len = len;
    out->oci_version = text_of(doc, "ociVersion");
    out->has_hooks = json_get(doc, "hooks") != NULL;
    out->has_process = json_get(doc, "process") != NULL;
    notes = json_get(doc, "annotations");
    if (!notes || notes->type != JSON_OBJECT)
        return 0;
    out->annotations.v = arena_array(a, notes->count, sizeof *out->annotations.v);
    for (const struct json *v = notes->child; v; v = v->next)
        if (v->type == JSON_STRING)
            out->annotations.v[out->annotations.n++] = (struct spec_pair){ .key = v->key,
                                                                           .value = v->text };
    return 0;
}

static int parse_record(const char *text, size_t len, struct arena *a, struct state_record *out,
                        uint64_t *version)
{
    const char *end = memchr(text, '\n', len);
    struct json *doc;
    uint64_t config_size;

    if (!end || json_parse(a, text, (size_t)(end - text), "the state record", &doc, NULL) < 0)
        return -ENOENT;
    if (!json_get(doc, "stateVersion") || json_u64(json_get(doc, "stateVersion"), version) < 0)
        return -ENOENT;
    if (!json_get(doc, "configSize") || json_u64(json_get(doc, "configSize"), &config_size) < 0 ||
        config_size != len - (size_t)(end + 1 - text))
        return -ENOENT;
    if (*version > STATE_VERSION)
        return -EPROTO;
    out->id = text_of(doc, "id");
    out->bundle = text_of(doc, "bundle");
    out->rootfs = text_of(doc, "rootfs");
    out->created = text_of(doc, "created");
    out->private_pid_ns = bool_of(doc, "privatePidNamespace");
    out->create = bool_of(doc, "create");
    out->isolation = text_of(doc, "isolation");
    out->cgroup_manager = text_of(doc, "cgroupManager");
    read_runtime(doc, &out->runtime);
    read_lists(doc, a, out);
    return read_config_copy(end + 1, config_size, a, out);
}

int state_load(const char *dir, struct arena *a, struct state_record *out, struct err *e)
{
    char path[4096];
    char *text;
    size_t len;
    uint64_t version = 0;
    int r;

    base_format(path, sizeof path, "%s/state", dir);
    r = file_read(a, AT_FDCWD, path, STATE_MAX_BYTES, &text, &len, e);
    if (r == -ENOENT || r == -ENOTDIR)
        return not_there(e, dir);
    if (r < 0)
        return r;
    *out = (struct state_record){ 0 };
    r = parse_record(text, len, a, out, &version);
    if (r == -EPROTO)
        return err_set(e, 0,
                       "'%s' was written by a newer teca (state version %lu, this one reads %d)",
                       path, version, STATE_VERSION);
    if (r < 0)
        return not_there(e, dir);
    out->made.state_dir = dir;
    return 0;
}

int state_load_init(const char *dir, struct state_process *out)
{
    char path[4096], text[96], *at = text;
    uint64_t values[3];
    ssize_t n;

    base_format(path, sizeof path, "%s/init", dir);
    n = readlink(path, text, sizeof text - 1);
    if (n < 0)
        return -errno;
    text[n] = 0;
    for (int i = 0; i < 3; i++) {
        char *end = at + strcspn(at, " ");
        char *next = *end ? end + 1 : end;

        *end = 0;
        if (str_to_u64(at, &values[i]) < 0)
            return -EINVAL;
        at = next;
    }
    *out = (struct state_process){ (pid_t)values[0], values[1], values[2] };
    return 0;
}

/* ---- is it alive? ------------------------------------------------------------------------- */

/* State letter and start time (fields 3 and 22) of /proc/PID/stat, proc_pid_stat(5). */
static int read_stat(pid_t pid, char *out_state, uint64_t *out_start)
{
    char path[48], text[1024], *at;
    ssize_t n;
    AUTO_FD int fd = -1;

    base_format(path, sizeof path, "/proc/%d/stat", pid);
    fd = openat(AT_FDCWD, path, O_RDONLY | O_CLOEXEC);
    if (fd < 0)
        return -errno;
    n = read(fd, text, sizeof text - 1);
    if (n <= 0)
        return n < 0 ? -errno : -ESRCH;
    text[n] = 0;
    at = strrchr(text, ')'); /* the name before it may hold anything */
    if (!at || at[1] != ' ')
        return -EINVAL;
    *out_state = at[2];
    at += 2;
    for (int field = 3; field < 22 && at; field++) {
        at = strchr(at, ' ');
        at = at ? at + 1 : NULL;
    }
    if (!at)
        return -EINVAL;
    at[strcspn(at, " ")] = 0;
    return str_to_u64(at, out_start);
}

static bool is_it(const struct state_process *process, char state, uint64_t start)
{
    return state != 'Z' && state != 'X' && start >= process->ticks_first &&
           start <= process->ticks_last;
}

/*
 * EINVAL: not a process's pid, or by now that of a thread; newer kernels say ENOENT to that. A filter
 * around teca may say it of a process that lives, and a living container must not be taken for dead.
 */
static int without_pidfd(const struct state_process *process, int error, struct err *e)
{
    char state;
    uint64_t start;

    if (error == ESRCH)
        return -ESRCH;
    if ((error == EINVAL || error == ENOENT) &&
        (read_stat(process->pid, &state, &start) < 0 || !is_it(process, state, start)))
        return -ESRCH;
    return err_set(e, error, "cannot tell whether process %d lives: pidfd_open", process->pid);
}

int state_open_process(const struct state_process *process, struct err *e)
{
    AUTO_FD int fd = sys_pidfd_open(process->pid, 0);
    char state;
    uint64_t start;
    int r;

    if (fd < 0)
        return without_pidfd(process, errno, e);
    /* The pidfd is taken first: whoever has the pid now is the one whose stat is read next, or it
     * is dead and the pidfd says so. */
    r = read_stat(process->pid, &state, &start);
    if (r < 0 && sys_pidfd_send_signal(fd, 0) < 0 && errno == ESRCH)
        return -ESRCH;
    if (r < 0)
        return err_set(e, r == -ENOENT ? 0 : -r,
                       "cannot tell whether process %d lives: its stat in /proc cannot be read",
                       process->pid);
    return is_it(process, state, start) ? take_fd(&fd) : -ESRCH;
}

pid_t state_stopped_init(const char *dir)
{
    struct state_process init;
    uint64_t start;
    char state;

    if (state_load_init(dir, &init) < 0 || read_stat(init.pid, &state, &start) < 0 ||
        !is_it(&init, state, start))
        return 0;
    return state == 'T' || state == 't' ? init.pid : 0;
}

int state_is_waiting(const char *dir, struct err *e)
{
    char path[4096];
    AUTO_FD int fd = -1;

    base_format(path, sizeof path, "%s/start", dir);
    fd = openat(AT_FDCWD, path,
                O_WRONLY | O_NONBLOCK | O_CLOEXEC); /* fifo(7): ENXIO without a reader */
    if (fd < 0 && errno != ENXIO && errno != ENOENT)
        return err_set(e, errno, "cannot open the FIFO '%s'", path);
    return fd >= 0;
}

/* No init is published: by a runtime that is still at work, or by one that was killed. */
static int status_without_init(const char *dir, const struct state_record *r,
                               struct state_process *init, struct err *e)
{
    AUTO_FD int runtime = state_open_process(&r->runtime, e);

    if (runtime >= 0)
        return STATUS_CREATING;
    if (runtime != -ESRCH)
        return runtime;
    /* It has ended since: perhaps with success. */
    return state_load_init(dir, init) < 0 ? STATUS_STOPPED : STATUS_RUNNING;
}

int state_status(const char *dir, const struct state_record *r, pid_t *pid, int *pidfd,
                 struct err *e)
{
    struct state_process init;
    AUTO_FD int fd = -1;
    int status = STATUS_RUNNING;

    if (pidfd)
        *pidfd = -1;
    *pid = 0;
    if (state_load_init(dir, &init) < 0)
        status = status_without_init(dir, r, &init, e);
    if (status != STATUS_RUNNING)
        return status;
    fd = state_open_process(&init, e);
    if (fd < 0)
        return fd == -ESRCH ? STATUS_STOPPED : fd;
    status = r->create ? state_is_waiting(dir, e) : 0;
    if (status < 0)
        return status;
    *pid = init.pid;
    if (pidfd)
        *pidfd = take_fd(&fd);
    return status ? STATUS_CREATED : STATUS_RUNNING;
}
