/* SPDX-License-Identifier: Apache-2.0 */
/* From an initramfs to a Linux system that containers can run in. PID 1 has nobody to ask. */
#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <linux/random.h>
#include <stdlib.h>
#include <string.h>
#include <sys/ioctl.h>
#include <sys/mount.h>
#include <sys/reboot.h>
#include <sys/resource.h>
#include <sys/sendfile.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <time.h>
#include <unistd.h>

#include "guest/internal.h"
#include "net/machine.h"

enum { MODULES_MAX = 256, PATH_SIZE = 320, PORT_TRIES = 2000, TRY_NS = 5000000, SEED_MAX = 512 };
enum { NETWORK_MAX = 4 << 20 };
enum { OPEN_FILES = 1048576 }; /* as fs.nr_open is at boot: engines ask for no more */

static int mount_new(const char *type, const char *at, unsigned long flags, const char *data,
                     struct err *e)
{
    if (mkdir(at, 0755) < 0 && errno != EEXIST)
        return err_set(e, errno, "cannot make the directory '%s'", at);
    return mount(type, at, type, flags, data) < 0
               ? err_set(e, errno, "cannot mount %s at '%s'", type, at)
               : 0;
}

/* ---- modules --------------------------------------------------------------------------------- */

static int by_name(const void *a, const void *b)
{
    return strcmp(*(char *const *)a, *(char *const *)b);
}

static int load_module(const char *name, struct err *e)
{
    char path[PATH_SIZE];
    AUTO_FD int fd = -1;

    base_format(path, sizeof path, "/modules/%s", name);
    fd = openat(AT_FDCWD, path, O_RDONLY | O_CLOEXEC);
    if (fd < 0 || (syscall(SYS_finit_module, fd, "", 0) < 0 && errno != EEXIST))
        return err_set(e, errno, "cannot load the module '%s'", name);
    return 0;
}

/* Their names begin with a number: the order of boot_modules_load. */
static int load_modules(struct err *e)
{
    static char *names[MODULES_MAX];
    size_t n = 0;
    DIR *dir = opendir("/modules");
    int r = dir ? 0 : err_set(e, errno, "cannot open '/modules'");

    for (const struct dirent *entry; dir && n < MODULES_MAX && (entry = readdir(dir));)
        if (entry->d_name[0] != '.')
            names[n++] = strdup(entry->d_name);
    if (dir)
        closedir(dir);
    qsort(names, n, sizeof *names, by_name);
    for (size_t i = 0; i < n; i++) {
        if (r == 0)
            r = load_module(names[i], e);
        free(names[i]);
    }
    return r;
}

/* ---- the root -------------------------------------------------------------------------------- */

static int copy_program(const char *to, struct err *e)
{
    AUTO_FD int from = openat(AT_FDCWD, "/" BOOT_AGENT, O_RDONLY | O_CLOEXEC);
    AUTO_FD int fd = openat(AT_FDCWD, to, O_WRONLY | O_CREAT | O_EXCL | O_CLOEXEC, 0755);
    ssize_t n;

    if (from < 0 || fd < 0)
        return err_set(e, errno, "cannot copy the agent to '%s'", to);
    while ((n = sendfile(fd, from, NULL, 1 << 20)) > 0)
        ;
    return n < 0 ? err_set(e, errno, "cannot copy the agent to '%s'", to) : 0;
}

/* An empty one, or the image of config.json's vm.image, in which there may be anything. */
static int make_root(const char *image, struct err *e)
{
    static const struct image_places places = { "/image", "/layer", "/new" };
    int r = image ? guest_mount_image(image, &places, e)
                  : mount_new("tmpfs", "/new", 0, "mode=755", e);

    if (r == 0 && image && unlink("/new" GUEST_PROGRAM) < 0 && errno != ENOENT)
        r = err_set(e, errno, "cannot replace '%s' of the machine's image", GUEST_PROGRAM);
    return r < 0 ? r : copy_program("/new" GUEST_PROGRAM, e);
}

/*
 * pivot_root(2) does not work on the initial ramfs: what is to be kept goes to another root that is moved over it,
 * as switch_root(8) does. The modules' memory goes back.
 */
static int leave_initramfs(struct err *e)
{
    static const char *const moved[] = { "dev", "proc", "sys" };
    int r = make_root(getenv(MUX_SYSTEM), e);
    char from[PATH_SIZE], to[PATH_SIZE];

    for (size_t i = 0; i < COUNT_OF(moved) && r == 0; i++) {
        base_format(from, sizeof from, "/%s", moved[i]);
        base_format(to, sizeof to, "/new/%s", moved[i]);
        if ((mkdir(to, 0755) < 0 && errno != EEXIST) || mount(from, to, NULL, MS_MOVE, NULL) < 0)
            r = err_set(e, errno, "cannot move '%s' to the new root", from);
    }
    if (r < 0)
        return r;
    unlink("/" BOOT_AGENT);
    if (chdir("/new") < 0 || mount(".", "/", NULL, MS_MOVE, NULL) < 0 || chroot(".") < 0 ||
        chdir("/") < 0)
        return err_set(e, errno, "cannot change to the new root");
    return 0;
}

/* Every controller there is, for the containers' cgroups below. */
static int make_cgroups(struct err *e)
{
    static const char top[] = "/sys/fs/cgroup";
    char text[512], enable[600] = "";
    AUTO_FD int dir = -1;
    AUTO_FD int fd = -1;
    ssize_t n;

    if (mount("cgroup2", top, "cgroup2", MS_NOSUID | MS_NODEV | MS_NOEXEC, NULL) < 0)
        return err_set(e, errno, "cannot mount cgroup2 at '%s'", top);
    dir = openat(AT_FDCWD, top, O_PATH | O_DIRECTORY | O_CLOEXEC);
    fd = openat(dir, "cgroup.controllers", O_RDONLY | O_CLOEXEC);
    n = fd < 0 ? -1 : read(fd, text, sizeof text - 1);
    if (n < 0)
        return err_set(e, errno, "cannot read '%s/cgroup.controllers'", top);
    text[n] = 0;
    for (const char *at = text; *at;) {
        size_t len = strcspn(at, " \n");

        base_format(enable, sizeof enable, "+%.*s", (int)len, at);
        if (len > 0) /* one that cannot be had is missed only by who wants it */
            (void)file_write_once(dir, "cgroup.subtree_control", enable, strlen(enable));
        at += len + (at[len] != 0);
    }
    return 0;
}

int system_make(struct err *e)
{
    struct rlimit files = { 1024, OPEN_FILES };
    int r = mount_new("devtmpfs", "/dev", MS_NOSUID, "mode=755", e);

    umask(022);
    if (r == 0)
        r = mount_new("proc", "/proc", MS_NOSUID | MS_NODEV | MS_NOEXEC, NULL, e);
    if (r == 0)
        r = mount_new("sysfs", "/sys", MS_NOSUID | MS_NODEV | MS_NOEXEC, NULL, e);
    if (r == 0)
        r = load_modules(e);
    if (r == 0)
        r = leave_initramfs(e);
    /* It was for the boot alone (the command line's rcupdate.rcu_expedited=1). */
    if (r == 0)
        (void)file_write_once(AT_FDCWD, "/sys/kernel/rcu_expedited", "0", 1);
    if (r == 0)
        r = make_cgroups(e);
    if (r == 0)
        r = mount_new("tmpfs", "/run", MS_NOSUID | MS_NODEV, "mode=755", e);
    if (r == 0 && ((mkdir("/tmp", 01777) < 0 && errno != EEXIST) || mkdir(GUEST_RUN, 0700) < 0))
        r = err_set(e, errno, "cannot make the agent's directories");
    if (r == 0 && setrlimit(RLIMIT_NOFILE, &files) < 0)
        r = err_set(e, errno, "cannot allow %d open files", OPEN_FILES);
    return r;
}

/* ---- the monitor's side ---------------------------------------------------------------------- */

bool system_says(const char *path, const char *line)
{
    char text[64] = "";
    AUTO_FD int fd = openat(AT_FDCWD, path, O_RDONLY | O_CLOEXEC);
    ssize_t n = fd < 0 ? -1 : read(fd, text, sizeof text - 1);

    text[n < 0 ? 0 : n] = 0;
    text[strcspn(text, "\n")] = 0;
    return str_eq(text, line);
}

/* "vport0p1", when that is the port of this name. devtmpfs has no names of ports, which are udev's. */
static bool is_port(const char *device)
{
    char path[PATH_SIZE];

    base_format(path, sizeof path, "/sys/class/virtio-ports/%s/name", device);
    return system_says(path, MUX_PORT);
}

static int find_port(void)
{
    char path[PATH_SIZE] = "";
    DIR *dir = opendir("/sys/class/virtio-ports");

    for (const struct dirent *entry; dir && !path[0] && (entry = readdir(dir));)
        if (is_port(entry->d_name))
            base_format(path, sizeof path, "/dev/%s", entry->d_name);
    if (dir)
        closedir(dir);
    return path[0] ? openat(AT_FDCWD, path, O_RDWR | O_NONBLOCK | O_CLOEXEC) : -1;
}

/* The driver learns of its ports by messages from the device, some time after it was loaded. */
int system_open_port(struct err *e)
{
    const struct timespec pause = { .tv_nsec = TRY_NS };

    for (int i = 0; i < PORT_TRIES; i++) {
        int fd = find_port();

        if (fd >= 0)
            return fd;
        nanosleep(&pause, NULL);
    }
    return err_set(e, 0, "the machine has no port '%s'", MUX_PORT);
}

int system_mount_share(struct err *e)
{
    if (mkdir(MUX_SHARE, 0755) < 0 || mount(MUX_SHARE_TAG, MUX_SHARE, "virtiofs", 0, NULL) < 0)
        return err_set(e, errno, "cannot mount the bundle's files (virtiofs)");
    return 0;
}

int system_make_network(struct err *e)
{
    struct arena a = { 0 };
    struct net_machine network;
    char *text;
    size_t len;
    int r = file_read(&a, AT_FDCWD, MUX_SHARE "/" MUX_NETWORK, NETWORK_MAX, &text, &len, e);

    if (r == -ENOENT)
        return 0;
    if (r == 0)
        r = net_machine_read(text, len, &a, &network, e);
    if (r == 0)
        r = net_machine_configure(&network, MUX_NETNS, e);
    arena_release(&a);
    return r;
}

int system_set_up(uint64_t time_ns, const char *seed, size_t len, struct err *e)
{
    struct timespec now = { .tv_sec = (time_t)(time_ns / 1000000000),
                            .tv_nsec = (long)(time_ns % 1000000000) };
    union {
        struct rand_pool_info info;
        char space[sizeof(struct rand_pool_info) + SEED_MAX];
    } pool = { .info = { .entropy_count = (int)len * 8, .buf_size = (int)len } };
    AUTO_FD int fd = openat(AT_FDCWD, "/dev/urandom", O_WRONLY | O_CLOEXEC);

    if (len > SEED_MAX)
        return err_set(e, EPROTO, "a seed of %zu bytes", len);
    memcpy(pool.info.buf, seed, len);
    if (fd < 0 || ioctl(fd, RNDADDENTROPY, &pool) < 0 || ioctl(fd, RNDRESEEDCRNG) < 0)
        return err_set(e, errno, "cannot seed the random number generator");
    return clock_settime(CLOCK_REALTIME, &now) < 0 ? err_set(e, errno, "cannot set the clock") : 0;
}

/* A write by mmap(2) is in the guest's page cache only until somebody asks. */
void system_flush(void)
{
    AUTO_FD int fd = openat(AT_FDCWD, MUX_SHARE, O_RDONLY | O_DIRECTORY | O_CLOEXEC);

    if (fd >= 0)
        syncfs(fd);
}

void system_say(const char *sentence)
{
    AUTO_FD int fd = openat(AT_FDCWD, "/dev/console", O_WRONLY | O_NOCTTY | O_CLOEXEC);
    char line[ERR_TEXT_SIZE + 32];
    size_t len = base_format(line, sizeof line, BOOT_AGENT ": %s\n", sentence);

    if (fd >= 0)
        fd_write_all(fd, line, len < sizeof line ? len : sizeof line - 1);
}

_Noreturn void system_power_off(void)
{
    sync();
    reboot(RB_POWER_OFF);
    for (;;)
        pause();
}
