/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The steps on real directories. Hostile images are directories with symlinks that want out; a
 * canary beside them shows whether anything got there. What needs no mount needs no root.
 */
#include "plans.h"

#include <sched.h>
#include <sys/mman.h>
#include <sys/sysmacros.h>
#include <sys/xattr.h>

enum { ROOT, OUT, SLOTS = 64 };

static int values[SLOTS];
static struct slots slots = { values, SLOTS };
static char dir[UNIT_PATH_SIZE]; /* of the test; "root" in it is the image, "host" the canary */

static int set_up(void **state)
{
    char path[UNIT_PATH_SIZE + 16];

    (void)state;
    for (int i = 0; i < SLOTS; i++)
        values[i] = -1;
    unit_dir(dir);
    base_format(path, sizeof path, "%s/host", dir);
    assert_int_equal(mkdir(path, 0755), 0);
    base_format(path, sizeof path, "%s/root", dir);
    assert_int_equal(mkdir(path, 0755), 0);
    values[ROOT] = open(path, O_PATH | O_DIRECTORY | O_CLOEXEC);
    assert_true(values[ROOT] >= 0);
    umask(022);
    return 0;
}

static int tear_down(void **state)
{
    (void)state;
    for (int i = 0; i < SLOTS; i++)
        if (values[i] >= 0)
            close(values[i]);
    unit_remove(dir);
    arena_release(unit_arena());
    return 0;
}

static void need_openat2(void)
{
    if (!unit_has_openat2())
        unit_skip("needs openat2 (Linux 5.6), which this kernel or emulator does not have");
}

static void link_in_root(const char *target, const char *name)
{
    assert_int_equal(symlinkat(target, values[ROOT], name), 0);
}

/* Is there anything beside the image that should not be? */
static bool host_is_clean(void)
{
    char path[UNIT_PATH_SIZE + 16];

    base_format(path, sizeof path, "%s/host", dir);
    return rmdir(path) == 0 && mkdir(path, 0755) == 0;
}

static bool in_root(const char *name)
{
    struct stat st;

    return fstatat(values[ROOT], name, &st, AT_SYMLINK_NOFOLLOW) == 0;
}

static int run(struct step st, struct err *e)
{
    memset(e, 0, sizeof *e);
    return rootfs_step(&st, &slots, e);
}

/* ---- without root ---------------------------------------------------------------------------- */

static const struct {
    const char *target; /* of the image's symlink "evil"; %s is the test's directory */
    const char *lands;  /* where "evil/new" is made, below the root */
} escapes[] = {
    { "../../../../../../../../%s/host", NULL },
    { "%s/host", NULL },
    { "../host", "host/new" },
    { "/host", "host/new" },
    { "/../../host", "host/new" },
};

static void a_directory_is_made_inside_whatever_the_symlink_says(void **state)
{
    (void)state;
    need_openat2();
    for (size_t i = 0; i < COUNT_OF(escapes); i++) {
        struct step st = { .op = OP_DIRECTORY,
                           .directory = { .path = "/evil/new", .root = ROOT, .out = OUT } };
        struct err e;

        link_in_root(arena_format(unit_arena(), escapes[i].target, dir), "evil");
        unit_row(escapes[i].target, run(st, &e) == 0);
        unit_row(escapes[i].target, host_is_clean());
        unit_row(escapes[i].target, !escapes[i].lands || in_root(escapes[i].lands));
        close(values[OUT]);
        values[OUT] = -1;
        assert_int_equal(unlinkat(values[ROOT], "evil", 0), 0);
    }
}

/*
 * The target is made before mount(2) is called, which then fails for want of privilege or of a file
 * system of that name; either way nothing may have been made outside.
 */
static void a_mount_target_is_made_inside_too(void **state)
{
    (void)state;
    need_openat2();
    for (size_t i = 0; i < COUNT_OF(escapes); i++) {
        for (int file = 0; file < 2; file++) {
            struct step st = { .op = OP_MOUNT,
                               .mount = { .type = "no-such-fs",
                                          .source = "none",
                                          .target = file ? "/evil/file" : "/evil/dir/deep",
                                          .make = true,
                                          .file = file,
                                          .tree = SLOT_NONE,
                                          .root = ROOT,
                                          .close_target = true,
                                          .out = SLOT_NONE } };
            struct err e;

            link_in_root(arena_format(unit_arena(), escapes[i].target, dir), "evil");
            unit_row(escapes[i].target, run(st, &e) < 0);
            unit_row(escapes[i].target, strstr(e.text, "cannot mount 'no-such-fs' at '/evil/"));
            unit_row(escapes[i].target, host_is_clean());
            assert_int_equal(unlinkat(values[ROOT], "evil", 0), 0);
        }
    }
    assert_true(in_root("host/file"));
    assert_true(in_root("host/dir/deep"));
}

static void proc_and_sysfs_want_an_ordinary_directory(void **state)
{
    struct step st = { .op = OP_MOUNT,
                       .mount = { .type = "proc",
                                  .source = "proc",
                                  .target = "/proc",
                                  .make = true,
                                  .strict = true,
                                  .tree = SLOT_NONE,
                                  .root = ROOT,
                                  .out = SLOT_NONE } };
    struct err e;

    (void)state;
    need_openat2();
    assert_int_equal(mkdirat(values[ROOT], "real", 0755), 0);
    link_in_root("/real", "proc");
    assert_int_equal(run(st, &e), -ELOOP);
    assert_string_equal(e.text, "'proc' must be mounted on an ordinary directory, '/proc' is a "
                                "symlink: Too many levels of symbolic links");
    /* A dangling one, whose target mkdir -p would make. */
    assert_int_equal(unlinkat(values[ROOT], "proc", 0), 0);
    link_in_root("/later/proc", "proc");
    assert_int_equal(run(st, &e), -ELOOP);
}

static void magic_links_lead_nowhere(void **state)
{
    struct step chdir_step = { .op = OP_CHDIR };
    struct step masked = { .op = OP_MASK,
                           .mask = { .path = "/proc/self/cwd", .root = ROOT, .null = SLOT_NONE } };
    int before = open(".", O_PATH | O_CLOEXEC);
    struct stat start, now;
    struct err e;

    (void)state;
    need_openat2();
    /* As the working directory of a container whose runtime has a directory of the host open. */
    assert_int_equal(chdir("/"), 0);
    assert_int_equal(stat(".", &start), 0);
    chdir_step.chdir.path = arena_format(unit_arena(), "/proc/self/fd/%d", values[ROOT]);
    assert_int_equal(run(chdir_step, &e), -ELOOP);
    assert_non_null(strstr(e.text, "set in config.json failed"));
    assert_int_equal(stat(".", &now), 0);
    assert_true(start.st_ino == now.st_ino && start.st_dev == now.st_dev);
    assert_int_equal(fchdir(before), 0);
    close(values[ROOT]);
    values[ROOT] = open("/", O_PATH | O_DIRECTORY | O_CLOEXEC);
    assert_int_equal(run(masked, &e), -ELOOP);
    close(before);
}

static void what_is_not_there_needs_no_protection(void **state)
{
    struct step mask = { .op = OP_MASK, .mask = { .path = "/no/such", .root = ROOT, .null = OUT } };
    struct step readonly = { .op = OP_READONLY,
                             .readonly = { .path = "/file/below", .root = ROOT } };
    struct err e;

    (void)state;
    need_openat2();
    assert_int_equal(run(mask, &e), 0);
    assert_int_equal(mknodat(values[ROOT], "file", S_IFREG | 0644, 0), 0);
    assert_int_equal(run(readonly, &e), 0);
}

static void a_fifo_is_made_once_and_recognised(void **state)
{
    struct step st = { .op = OP_DEVICE,
                       .device = { .path = "/dev/pipe", .mode = S_IFIFO | 0640, .dir = ROOT } };
    struct stat made;
    struct err e;

    (void)state;
    assert_int_equal(run(st, &e), 0);
    assert_int_equal(run(st, &e), 0);
    assert_int_equal(fstatat(values[ROOT], "pipe", &made, 0), 0);
    assert_true(S_ISFIFO(made.st_mode));
    st.device.path = "/dev/other";
    assert_int_equal(mknodat(values[ROOT], "other", S_IFREG | 0644, 0), 0);
    assert_int_equal(run(st, &e), -EEXIST);
    assert_string_equal(e.text,
                        "cannot make the device '/dev/other': another file is there: File exists");
    st.device.replace = true;
    assert_int_equal(run(st, &e), 0);
    assert_int_equal(fstatat(values[ROOT], "other", &made, 0), 0);
    assert_true(S_ISFIFO(made.st_mode));
    /* A symlink of the image is replaced, not followed. */
    link_in_root("../host/device", "link");
    st.device.path = "/dev/link";
    assert_int_equal(run(st, &e), 0);
    assert_true(host_is_clean());
}

static void an_existing_symlink_stays(void **state)
{
    struct step st = { .op = OP_SYMLINK,
                       .symlink = { .target = "pts/ptmx", .path = "/dev/ptmx", .dir = ROOT } };
    char target[32] = "";
    struct err e;

    (void)state;
    assert_int_equal(run(st, &e), 0);
    st.symlink.target = "elsewhere";
    assert_int_equal(run(st, &e), 0);
    assert_int_equal(readlinkat(values[ROOT], "ptmx", target, sizeof target), 8);
    assert_string_equal(target, "pts/ptmx");
    st.symlink.dir = OUT; /* no fd there */
    assert_int_equal(run(st, &e), -EBADF);
}

static void a_copied_symlink_takes_the_place_of_the_same_one_only(void **state)
{
    struct step st = {
        .op = OP_SYMLINK,
        .symlink = { .target = "/run/real", .path = "/etc/link", .dir = ROOT, .exact = true }
    };
    static const char *const others[] = { "/run/rea", "/run/real2", "x" };
    struct err e;

    (void)state;
    assert_int_equal(run(st, &e), 0);
    assert_int_equal(run(st, &e), 0);
    for (size_t i = 0; i < COUNT_OF(others); i++) {
        st.symlink.target = others[i];
        unit_row(others[i], run(st, &e) == -EEXIST);
    }
    assert_int_equal(unlinkat(values[ROOT], "link", 0), 0);
    assert_int_equal(mknodat(values[ROOT], "link", S_IFREG | 0644, 0), 0);
    assert_int_equal(run(st, &e), -EEXIST);
}

/* A mount that fails at the end: what it made on the way is what is looked at. */
static struct step file_mount(const char *target)
{
    return (struct step){ .op = OP_MOUNT,
                          .mount = { .type = "no-such-fs",
                                     .source = "none",
                                     .target = target,
                                     .make = true,
                                     .file = true,
                                     .tree = SLOT_NONE,
                                     .root = ROOT,
                                     .close_target = true,
                                     .out = SLOT_NONE } };
}

static void a_file_is_made_where_a_dangling_symlink_of_the_image_leads(void **state)
{
    static const struct {
        const char *text, *made;
    } rows[] = {
        { "../run/systemd/resolv.conf", "run/systemd/resolv.conf" },
        { "/run/other/file", "run/other/file" },
        { "../../../../../up/high", "up/high" },
        { "beside", "etc/beside" },
        { "second", "far/away" }, /* etc/second is a symlink too */
    };
    struct stat made;
    struct err e;

    (void)state;
    need_openat2();
    assert_int_equal(mkdirat(values[ROOT], "etc", 0755), 0);
    link_in_root("../far/away", "etc/second");
    for (size_t i = 0; i < COUNT_OF(rows); i++) {
        link_in_root(rows[i].text, "etc/link");
        unit_row(rows[i].text, run(file_mount("/etc/link"), &e) < 0);
        unit_row(rows[i].text, strstr(e.text, "cannot mount 'no-such-fs' at '/etc/link'"));
        unit_row(rows[i].text,
                 fstatat(values[ROOT], rows[i].made, &made, AT_SYMLINK_NOFOLLOW) == 0);
        unit_row(rows[i].text, S_ISREG(made.st_mode) && made.st_size == 0);
        assert_int_equal(unlinkat(values[ROOT], "etc/link", 0), 0);
    }
    assert_true(host_is_clean());
    link_in_root("link", "etc/link");
    assert_int_equal(run(file_mount("/etc/link"), &e), -ELOOP);
}

static void a_device_that_must_be_there_is_only_looked_at(void **state)
{
    struct step st = {
        .op = OP_DEVICE,
        .device = { .path = "/dev/pipe", .mode = S_IFIFO | 0600, .dir = ROOT, .only = true }
    };
    struct err e;

    (void)state;
    assert_int_equal(run(st, &e), -EINVAL);
    assert_non_null(strstr(e.text, "bound from the host"));
    assert_false(in_root("pipe"));
    assert_int_equal(mknodat(values[ROOT], "pipe", S_IFREG | 0600, 0), 0);
    assert_int_equal(run(st, &e), -EINVAL);
    assert_int_equal(unlinkat(values[ROOT], "pipe", 0), 0);
    assert_int_equal(mknodat(values[ROOT], "pipe", S_IFIFO | 0600, 0), 0);
    assert_int_equal(run(st, &e), 0);
}

static void a_bound_device_is_the_one_that_the_config_names(void **state)
{
    struct step st = { .op = OP_DEVICE,
                       .device = { .path = "/dev/null",
                                   .mode = S_IFCHR | 0666,
                                   .dev = makedev(1, 5),
                                   .dir = ROOT,
                                   .bind = true } };
    struct err e;

    (void)state;
    if (geteuid() != 0)
        unit_skip("needs root for a detached mount");
    need_openat2();
    assert_int_equal(run(st, &e), -EINVAL);
    assert_non_null(strstr(e.text, "it is not the one with the numbers 1:5"));
    assert_false(in_root("null"));
    st.device.dev = makedev(1, 3);
    st.device.path = "/dev/no-such-device";
    assert_int_equal(run(st, &e), -ENOENT);
    /* Where the bind goes, the image has a symlink: it would carry the device elsewhere. */
    st.device.path = "/dev/null";
    link_in_root("../host/null", "null");
    assert_int_equal(run(st, &e), -EEXIST);
    assert_true(host_is_clean());
}

/* The same node by the same name is fine, and one that somebody swaps in is not. */
static void a_node_gets_its_owner_only_while_it_is_that_node(void **state)
{
    struct step st = { .op = OP_DEVICE,
                       .device = { .path = "/dev/pipe",
                                   .mode = S_IFIFO | 0600,
                                   .dir = ROOT,
                                   .uid = 12,
                                   .gid = 34,
                                   .verify = true } };
    struct stat made;
    struct err e;

    (void)state;
    if (geteuid() != 0)
        unit_skip("needs root to give a file away");
    assert_int_equal(run(st, &e), 0);
    assert_int_equal(fstatat(values[ROOT], "pipe", &made, 0), 0);
    assert_int_equal(made.st_uid, 12);
    assert_int_equal(made.st_gid, 34);
}

static void copy_up_keeps_what_files_are(void **state)
{
    char path[UNIT_PATH_SIZE + 16];
    struct stat st;
    int from, to, file;

    (void)state;
    assert_int_equal(mkdirat(values[ROOT], "from", 0755), 0);
    assert_int_equal(mkdirat(values[ROOT], "to", 0755), 0);
    from = openat(values[ROOT], "from", O_RDONLY | O_DIRECTORY);
    to = openat(values[ROOT], "to", O_RDONLY | O_DIRECTORY);
    file = openat(from, "file", O_WRONLY | O_CREAT, 0600);
    assert_int_equal(write(file, "text", 4), 4);
    assert_int_equal(fchmod(file, 04751), 0);
    close(file);
    assert_int_equal(mkdirat(from, "sub", 0700), 0);
    assert_int_equal(mknodat(from, "sub/fifo", S_IFIFO | 0600, 0), 0);
    assert_int_equal(symlinkat("/etc/shadow", from, "sub/link"), 0);
    base_format(path, sizeof path, "%s/root/from", dir);
    assert_int_equal(copy_up(from, to), 0);
    assert_int_equal(fstatat(to, "file", &st, 0), 0);
    assert_int_equal(st.st_mode, S_IFREG | 04751);
    assert_int_equal(st.st_size, 4);
    assert_int_equal(fstatat(to, "sub", &st, 0), 0);
    assert_int_equal(st.st_mode, S_IFDIR | 0700);
    assert_int_equal(fstatat(to, "sub/fifo", &st, 0), 0);
    assert_true(S_ISFIFO(st.st_mode));
    assert_int_equal(fstatat(to, "sub/link", &st, AT_SYMLINK_NOFOLLOW), 0);
    assert_true(S_ISLNK(st.st_mode));
    assert_int_equal(copy_up(from, to), -EEXIST);
    close(from);
    close(to);
}

/* An image may say that a file is a terabyte; what it takes of the host's memory is what it holds. */
static void copy_up_leaves_holes_where_they_are(void **state)
{
    enum { LAST = 1 << 30, HOLE = 1 << 20 };
    char text[8] = { 0 };
    struct stat st;
    int from, to, file;

    (void)state;
    assert_int_equal(mkdirat(values[ROOT], "from", 0755), 0);
    assert_int_equal(mkdirat(values[ROOT], "to", 0755), 0);
    from = openat(values[ROOT], "from", O_RDONLY | O_DIRECTORY);
    to = openat(values[ROOT], "to", O_RDONLY | O_DIRECTORY);
    file = openat(from, "file", O_WRONLY | O_CREAT, 0600);
    assert_int_equal(pwrite(file, "first", 5, 0), 5);
    assert_int_equal(pwrite(file, "second", 6, LAST), 6);
    assert_int_equal(ftruncate(file, 2L * LAST), 0);
    close(file);
    assert_int_equal(copy_up(from, to), 0);
    file = openat(to, "file", O_RDONLY);
    assert_int_equal(fstat(file, &st), 0);
    assert_int_equal(st.st_size, 2L * LAST);
    assert_true(st.st_blocks * 512 < HOLE);
    assert_int_equal(pread(file, text, 5, 0), 5);
    assert_string_equal(text, "first");
    assert_int_equal(pread(file, text, 6, LAST), 6);
    assert_string_equal(text, "second");
    close(file);
    close(from);
    close(to);
}

static void copy_up_gives_up_on_a_bottomless_directory(void **state)
{
    int from, to, at;

    (void)state;
    assert_int_equal(mkdirat(values[ROOT], "from", 0755), 0);
    assert_int_equal(mkdirat(values[ROOT], "to", 0755), 0);
    at = from = openat(values[ROOT], "from", O_RDONLY | O_DIRECTORY);
    to = openat(values[ROOT], "to", O_RDONLY | O_DIRECTORY);
    for (int i = 0; i < 140; i++) {
        int next;

        assert_int_equal(mkdirat(at, "d", 0755), 0);
        next = openat(at, "d", O_RDONLY | O_DIRECTORY);
        if (at != from)
            close(at);
        at = next;
    }
    close(at);
    assert_int_equal(copy_up(from, to), -ELOOP);
    close(from);
    close(to);
}

static void a_step_of_another_room_is_refused(void **state)
{
    struct step st = { .op = OP_SETSID };
    struct err e;

    (void)state;
    assert_int_equal(run(st, &e), -ENOSYS);
    assert_non_null(strstr(e.text, "'setsid' is no step of rootfs"));
}

/* ---- with root: a whole root filesystem in a mount namespace of its own ---------------------- */

enum { MAX_FDS = 256 };

static bool inherited[MAX_FDS]; /* open before the first step */

/* What the child writes for the parent to print: a failed assert would unwind a forked cmocka. */
static char *complaint;

#define CHILD_CHECK(condition)                                                     \
    do {                                                                           \
        if (!(condition)) {                                                        \
            base_format(complaint, 4096, "line %d: %s (%s)", __LINE__, #condition, \
                        strerror(errno));                                          \
            _exit(1);                                                              \
        }                                                                          \
    } while (0)

static void run_plan(const struct plan *p)
{
    struct err e = { 0 };

    for (size_t i = 0; i < p->n; i++) {
        const struct step *st = &p->steps[i];

        if (st->op == OP_UMASK) {
            umask(0);
        } else if (st->op == OP_CLONE) {
            CHILD_CHECK(unshare(CLONE_NEWNS) == 0);
        } else if (rootfs_step(st, &slots, &e) < 0) {
            base_format(complaint, 4096, "step %zu, %s: %s", i, plan_op_name(st->op), e.text);
            _exit(1);
        }
    }
}

static void in_container(const struct spec *s, const struct rootfs_facts *f, void (*look)(void))
{
    const struct plan *p;
    int status;
    pid_t pid;

    if (geteuid() != 0)
        unit_skip("needs root for a mount namespace");
    need_openat2();
    p = plan_of(s, f);
    complaint = mmap(NULL, 4096, PROT_READ | PROT_WRITE, MAP_SHARED | MAP_ANONYMOUS, -1, 0);
    assert_true(complaint != MAP_FAILED);
    for (int fd = 0; fd < MAX_FDS; fd++)
        inherited[fd] = fcntl(fd, F_GETFD) >= 0;
    pid = fork();
    if (pid == 0) {
        run_plan(p);
        look();
        _exit(0);
    }
    assert_int_equal(waitpid(pid, &status, 0), pid);
    if (status != 0)
        fail_msg("%s", complaint);
    munmap(complaint, 4096);
    assert_true(host_is_clean());
}

static struct rootfs_facts real_facts(struct spec *s)
{
    struct rootfs_facts f;
    struct err e = { 0 };
    char *mountinfo;

    s->root.path = arena_format(unit_arena(), "%s/root", dir);
    assert_int_equal(
        file_read(unit_arena(), AT_FDCWD, "/proc/self/mountinfo", 1 << 24, &mountinfo, NULL, &e),
        0);
    if (rootfs_gather(s, dir, mountinfo, unit_arena(), &f, &e) < 0)
        fail_msg("%s", e.text);
    return f;
}

static bool is_readonly(const char *path)
{
    int fd = open(path, O_WRONLY | O_CREAT | O_CLOEXEC, 0644);

    if (fd >= 0)
        close(fd);
    return fd < 0 && errno == EROFS;
}

static bool is_empty(const char *path)
{
    char byte;
    int fd = open(path, O_RDONLY | O_CLOEXEC);
    ssize_t n = fd < 0 ? -1 : read(fd, &byte, 1);

    if (fd >= 0)
        close(fd);
    return n == 0;
}

/* What the plan made read-only for a while has kept the options of the config. */
static bool proc_keeps_its_options(void)
{
    char text[8192];
    int fd = open("/proc/self/mountinfo", O_RDONLY | O_CLOEXEC);
    ssize_t n = fd < 0 ? -1 : read(fd, text, sizeof text - 1);
    const char *line;

    if (fd >= 0)
        close(fd);
    text[n > 0 ? n : 0] = '\0';
    line = strstr(text, " / /proc ");
    return line && str_starts(line, " / /proc rw,nosuid,noexec,noatime ") &&
           memmem(line, strcspn(line, "\n"), ",hidepid=", 9);
}

static void look_at_everything(void)
{
    char cwd[64], text[32] = "";
    struct stat st;
    int fd;

    CHILD_CHECK(getcwd(cwd, sizeof cwd) && str_eq(cwd, "/work"));
    CHILD_CHECK(access("/usr/bin/env", F_OK) < 0 && errno == ENOENT); /* the host is gone */
    CHILD_CHECK(stat("/proc/self/status", &st) == 0);
    CHILD_CHECK(stat("/dev/null", &st) == 0 && S_ISCHR(st.st_mode));
    CHILD_CHECK(st.st_rdev == makedev(1, 3) && (st.st_mode & 0777) == 0666);
    CHILD_CHECK(lstat("/dev/fd", &st) == 0 && S_ISLNK(st.st_mode));
    CHILD_CHECK(stat("/dev/net/tun", &st) == 0 && (st.st_mode & 0777) == 0640);
    CHILD_CHECK(st.st_uid == 5 && st.st_gid == 6);
    CHILD_CHECK(stat("/dev/shm", &st) == 0 && (st.st_mode & 07777) == 01777);
    CHILD_CHECK(is_readonly("/file"));
    CHILD_CHECK(is_readonly("/proc/sys/kernel/domainname"));
    CHILD_CHECK(proc_keeps_its_options());
    CHILD_CHECK(is_readonly("/data/file"));
    CHILD_CHECK(is_readonly("/kept/readonly/file"));
    CHILD_CHECK(is_empty("/secret/file") && is_empty("/proc/timer_list"));
    CHILD_CHECK(open("/secret/dir/in", O_RDONLY) < 0 && errno == ENOENT);
    fd = open("/proc/self/oom_score_adj", O_RDWR | O_CLOEXEC); /* proc itself is writable again */
    CHILD_CHECK(fd >= 0);
    fd = open("/copied/file", O_RDWR | O_CLOEXEC);
    CHILD_CHECK(fd >= 0 && read(fd, text, sizeof text) == 4);
    CHILD_CHECK(stat("/copied", &st) == 0 && (st.st_mode & 07777) == 0711);
    fd = open("/real/file", O_WRONLY | O_CREAT | O_CLOEXEC, 0644); /* mounted through a symlink */
    CHILD_CHECK(fd >= 0);
    /* exec closes whatever the steps opened. */
    for (fd = 0; fd < MAX_FDS; fd++)
        CHILD_CHECK(inherited[fd] || fcntl(fd, F_GETFD) < 0 || fcntl(fd, F_GETFD) & FD_CLOEXEC);
}

static void make_image(void)
{
    static const char *const dirs[] = { "proc", "dev",        "sys",  "secret",        "real",
                                        "data", "secret/dir", "kept", "kept/readonly", "copied" };
    static const char *const files[] = { "secret/file", "secret/dir/in", "kept/readonly/file",
                                         "copied/file" };

    for (size_t i = 0; i < COUNT_OF(dirs); i++)
        assert_int_equal(mkdirat(values[ROOT], dirs[i], 0755), 0);
    for (size_t i = 0; i < COUNT_OF(files); i++) {
        int fd = openat(values[ROOT], files[i], O_WRONLY | O_CREAT | O_CLOEXEC, 0644);

        assert_int_equal(write(fd, "text", 4), 4);
        close(fd);
    }
    assert_int_equal(fchmodat(values[ROOT], "copied", 0711, 0), 0);
    link_in_root("/real", "link");
}

static void a_whole_root_filesystem_is_as_the_config_says(void **state)
{
    struct spec *s = minimal_spec(
        unit_arena(),
        "{'root': {'readonly': true}, 'process': {'cwd': '/work'}, 'mounts': ["
        "{'destination': '/proc', 'type': 'proc', 'source': 'proc', 'options': ['nosuid',"
        " 'noexec', 'noatime', 'hidepid=2']},"
        "{'destination': '/dev', 'type': 'tmpfs', 'source': 't', 'options': ['mode=755']},"
        "{'destination': '/dev/shm', 'type': 'tmpfs', 'source': 't', 'options': ['mode=1777']},"
        "{'destination': '/data', 'source': 'root/kept', 'options': ['rbind', 'ro']},"
        "{'destination': '/copied', 'type': 'tmpfs', 'source': 't', 'options': ['tmpcopyup']},"
        "{'destination': '/link', 'type': 'tmpfs', 'source': 't'}],"
        " 'linux': {'maskedPaths': ['/secret/file', '/secret/dir', '/no/such', '/proc/timer_list'],"
        " 'readonlyPaths': ['/proc/sys', '/proc/bus', '/proc/fs', '/proc/nothing',"
        " '/kept/readonly'],"
        " 'devices': [{'path': '/dev/net/tun', 'type': 'c', 'major': 10, 'minor': 200,"
        " 'fileMode': 416, 'uid': 5, 'gid': 6}]}}");
    struct rootfs_facts f;

    (void)state;
    make_image();
    f = real_facts(s);
    in_container(s, &f, look_at_everything);
}

/* Lines of mountinfo: what is still mounted, seen or not. */
static int count_mounts(void)
{
    char text[8192];
    int fd = open("/proc/self/mountinfo", O_RDONLY | O_CLOEXEC), lines = 0;
    ssize_t n;

    while (fd >= 0 && (n = read(fd, text, sizeof text)) > 0)
        for (ssize_t i = 0; i < n; i++)
            lines += text[i] == '\n';
    return lines;
}

static void look_for_leftovers(void)
{
    struct stat st;

    CHILD_CHECK(stat("/proc/self", &st) == 0);
    CHILD_CHECK(stat("/host", &st) < 0 && errno == ENOENT);
    CHILD_CHECK(count_mounts() == 2);
    CHILD_CHECK(open("/file", O_WRONLY | O_CREAT | O_CLOEXEC, 0644) >= 0); /* of the tmpfs */
}

static void a_mount_on_the_root_leaves_nothing_of_the_host_behind(void **state)
{
    struct spec *s = minimal_spec(
        unit_arena(), "{'mounts': ["
                      "{'destination': '/', 'type': 'tmpfs', 'source': 't'},"
                      "{'destination': '/', 'type': 'tmpfs', 'source': 't'},"
                      "{'destination': '/proc', 'type': 'proc', 'source': 'proc'},"
                      "{'destination': '/dev', 'source': '/dev', 'options': ['bind']}]}");
    struct rootfs_facts f;

    (void)state;
    s->n_mounts--; /* no devices needed */
    f = real_facts(s);
    in_container(s, &f, look_for_leftovers);
    assert_false(in_root("file"));
}

static void look_above(void)
{
    struct stat st;

    CHILD_CHECK(stat("/link", &st) == 0);
    CHILD_CHECK(stat("/host", &st) < 0 && errno == ENOENT);
    /* ".." of the root steps onto whatever is mounted on it. */
    CHILD_CHECK(stat("/../host", &st) < 0 && errno == ENOENT);
    CHILD_CHECK(stat("/../usr/bin/env", &st) < 0 && errno == ENOENT);
    CHILD_CHECK(stat("../usr/bin/env", &st) < 0 && errno == ENOENT);
}

/* The image leads a mount onto the new root, and the plan does not know. */
static void a_mount_that_a_symlink_leads_to_the_root_keeps_nothing_of_the_host(void **state)
{
    struct spec *s = minimal_spec(
        unit_arena(), "{'mounts': [{'destination': '/link', 'type': 'tmpfs', 'source': 't'},"
                      " {'destination': '/dev', 'source': '/dev', 'options': ['bind']}]}");
    struct rootfs_facts f;

    (void)state;
    s->n_mounts--; /* no devices needed */
    link_in_root("../..", "link");
    f = real_facts(s);
    if (f.host_shared || f.root_covered)
        unit_skip("needs a host on which the plan can be sure");
    in_container(s, &f, look_above);
}

static void cover_host(void)
{
    CHILD_CHECK(unshare(CLONE_NEWNS) == 0);
    CHILD_CHECK(mount(NULL, "/", NULL, MS_PRIVATE | MS_REC, NULL) == 0);
    CHILD_CHECK(mount("/", "/", NULL, MS_BIND, NULL) == 0);
}

static void a_host_that_mounted_on_its_root_is_left_all_the_same(void **state)
{
    struct spec *s = minimal_spec(unit_arena(), NULL);
    struct rootfs_facts f;
    int status;
    pid_t pid;

    (void)state;
    if (geteuid() != 0)
        unit_skip("needs root for a mount namespace");
    need_openat2();
    link_in_root("/", "link");
    complaint = mmap(NULL, 4096, PROT_READ | PROT_WRITE, MAP_SHARED | MAP_ANONYMOUS, -1, 0);
    assert_true(complaint != MAP_FAILED);
    pid = fork();
    if (pid == 0) {
        cover_host();
        f = real_facts(s);
        CHILD_CHECK(f.root_covered);
        run_plan(plan_of(s, &f));
        look_above();
        _exit(0);
    }
    assert_int_equal(waitpid(pid, &status, 0), pid);
    if (status != 0)
        fail_msg("%s", complaint);
    munmap(complaint, 4096);
}

/* The other of the two has no place to go: the sentence for a person says why. */
static void a_stand_in_that_is_missing_is_named_with_the_mount(void **state)
{
    struct step st = { .op = OP_MOUNT,
                       .mount = { .type = "mqueue",
                                  .source = "mqueue",
                                  .target = "/queues",
                                  .make = true,
                                  .or_bind = "/no/such/mqueue",
                                  .tree = SLOT_NONE,
                                  .root = ROOT,
                                  .out = SLOT_NONE } };
    int status;
    pid_t pid;

    (void)state;
    need_openat2();
    complaint = mmap(NULL, 4096, PROT_READ | PROT_WRITE, MAP_SHARED | MAP_ANONYMOUS, -1, 0);
    assert_true(complaint != MAP_FAILED);
    pid = fork();
    if (pid == 0) {
        struct err e;

        /* Mounts are ours there, the ipc namespace is not. */
        if (unshare(CLONE_NEWUSER | CLONE_NEWNS) < 0)
            _exit(77);
        CHILD_CHECK(run(st, &e) < 0);
        base_format(complaint, 4096, "%s", e.text);
        _exit(0);
    }
    assert_int_equal(waitpid(pid, &status, 0), pid);
    if (WIFEXITED(status) && WEXITSTATUS(status) == 77)
        unit_skip("needs user namespaces");
    if (status != 0)
        fail_msg("%s", complaint);
    assert_string_equal(complaint,
                        "cannot mount 'mqueue' at '/queues': Operation not permitted (and the "
                        "host's cannot stand in: cannot open the bind source '/no/such/mqueue': "
                        "No such file or directory)");
    munmap(complaint, 4096);
}

static void look_at_binds(void)
{
    struct stat st;

    CHILD_CHECK(stat("/file/target", &st) == 0 && S_ISREG(st.st_mode) && st.st_size == 4);
    CHILD_CHECK(is_readonly("/file/target"));
    CHILD_CHECK(stat("/a/b/c/secret", &st) == 0 && S_ISDIR(st.st_mode));
}

static void targets_of_binds_are_made_as_their_sources_are(void **state)
{
    struct spec *s = minimal_spec(
        unit_arena(),
        "{'mounts': [{'destination': '/file/target', 'source': 'root/secret/file',"
        " 'options': ['bind', 'ro']},"
        "{'destination': 'a/b/c', 'source': 'root', 'options': ['rbind', 'rw', 'nosuid']},"
        "{'destination': '/dev', 'source': '/dev', 'options': ['rbind']}]}");
    struct rootfs_facts f;

    (void)state;
    make_image();
    f = real_facts(s);
    in_container(s, &f, look_at_binds);
}

int main(void)
{
#define STEP_TEST(name) cmocka_unit_test_setup_teardown(name, set_up, tear_down)
    const struct CMUnitTest tests[] = {
        STEP_TEST(a_directory_is_made_inside_whatever_the_symlink_says),
        STEP_TEST(a_mount_target_is_made_inside_too),
        STEP_TEST(proc_and_sysfs_want_an_ordinary_directory),
        STEP_TEST(magic_links_lead_nowhere),
        STEP_TEST(what_is_not_there_needs_no_protection),
        STEP_TEST(a_fifo_is_made_once_and_recognised),
        STEP_TEST(an_existing_symlink_stays),
        STEP_TEST(a_copied_symlink_takes_the_place_of_the_same_one_only),
        STEP_TEST(a_file_is_made_where_a_dangling_symlink_of_the_image_leads),
        STEP_TEST(a_device_that_must_be_there_is_only_looked_at),
        STEP_TEST(a_bound_device_is_the_one_that_the_config_names),
        STEP_TEST(a_node_gets_its_owner_only_while_it_is_that_node),
        STEP_TEST(copy_up_keeps_what_files_are),
        STEP_TEST(copy_up_leaves_holes_where_they_are),
        STEP_TEST(copy_up_gives_up_on_a_bottomless_directory),
        STEP_TEST(a_step_of_another_room_is_refused),
        STEP_TEST(a_whole_root_filesystem_is_as_the_config_says),
        STEP_TEST(a_mount_on_the_root_leaves_nothing_of_the_host_behind),
        STEP_TEST(a_mount_that_a_symlink_leads_to_the_root_keeps_nothing_of_the_host),
        STEP_TEST(a_host_that_mounted_on_its_root_is_left_all_the_same),
        STEP_TEST(targets_of_binds_are_made_as_their_sources_are),
        STEP_TEST(a_stand_in_that_is_missing_is_named_with_the_mount),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
