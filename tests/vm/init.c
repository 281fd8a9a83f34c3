// SPDX-License-Identifier: Apache-2.0
/*
 * PID 1 of the test VM (tests/vm/run), and the agent that runs the command in it.
 *
 * As the initramfs's /init it loads modules, puts a tmpfs over the host's files (virtiofs or 9p,
 * read-only), mounts what a Linux system has, and cgroups in the way asked for. Then it either runs
 * the command as its child, or executes systemd with one unit that executes this program again, under
 * the name "agent".
 *
 * The job comes from the host in a file of NUL-terminated "key=value" strings, in the directory that
 * the kernel argument teca.job names. Nothing in it is interpreted but the key: "arg=", "env=" and
 * "cwd=" are what the command gets.
 *
 * Three virtio-serial ports lead to the host: teca.out and teca.err carry the command's outputs,
 * teca.ctl lines for tests/vm/run: "start", "exit STATUS OUT ERR" (the counts of bytes that were written
 * to the two others) or "error SENTENCE"; and "alive", whenever the host has sent something.
 */
#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <net/if.h>
#include <poll.h>
#include <signal.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/ioctl.h>
#include <sys/mount.h>
#include <sys/reboot.h>
#include <sys/resource.h>
#include <sys/signalfd.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <sys/wait.h>
#include <unistd.h>

#define LENGTH(a) (sizeof(a) / sizeof((a)[0]))

enum { ARGS_MAX = 4096, STRING_MAX = 512 };
#define AGENT_DIR "/run/teca-vm"

struct job {
    char *args[ARGS_MAX + 1];
    char *env[ARGS_MAX + 1];
    size_t arg_count, env_count;
    const char *cwd;
    const char *cgroup;    /* v1, v2, hybrid */
    const char *modules;   /* the host's directory of the kernel's modules */
    const char *release;   /* its last component */
    const char *load[64];  /* modules to load before the command */
    const char *share[64]; /* "TAG:PATH" of a writable directory */
    size_t load_count, share_count;
    int systemd;
};

struct ports {
    int ctl, out, err;
};

static struct ports ports = { -1, -1, -1 };
static struct job job;

/* ---- messages and small calls ---------------------------------------------------------------- */

static void write_all(int fd, const char *data, size_t size)
{
    while (size > 0) {
        ssize_t n = write(fd, data, size);

        if (n < 0 && errno == EINTR)
            continue;
        if (n <= 0)
            return;
        data += n;
        size -= (size_t)n;
    }
}

__attribute__((format(printf, 1, 2))) static void tell(const char *format, ...)
{
    char text[1024];
    va_list list;

    va_start(list, format);
    int length = vsnprintf(text, sizeof(text), format, list);
    va_end(list);
    if (length < 0)
        return;
    if ((size_t)length >= sizeof(text))
        length = sizeof(text) - 1;
    write_all(ports.ctl >= 0 ? ports.ctl : STDERR_FILENO, text, (size_t)length);
}

/* The end of the VM: the host has been told, and ends QEMU. Should it not: power off. */
static _Noreturn void end_vm(void)
{
    sleep(20);
    sync();
    reboot(RB_POWER_OFF);
    for (;;)
        pause();
}

__attribute__((format(printf, 1, 2))) static _Noreturn void die(const char *format, ...)
{
    int error = errno;
    char text[512];
    va_list list;

    va_start(list, format);
    vsnprintf(text, sizeof(text), format, list);
    va_end(list);
    tell("error inside the VM: %s: %s\n", text, strerror(error));
    end_vm();
}

static void make_dir(const char *path)
{
    if (mkdir(path, 0755) && errno != EEXIST)
        die("mkdir of %s", path);
}

/* mkdir -p; fails later, where the directory is used */
static void make_dirs(const char *path)
{
    char part[4096];

    for (size_t i = 1; i < sizeof(part) - 1; i++) {
        if (path[i] != '/' && path[i] != '\0')
            continue;
        memcpy(part, path, i);
        part[i] = '\0';
        (void)mkdir(part, 0755);
        if (path[i] == '\0')
            return;
    }
}

static void mount_at(const char *type, const char *source, const char *at, unsigned long flags,
                     const char *data)
{
    if (mount(source, at, type, flags, data))
        die("mount of %s at %s", type ? type : source, at);
}

static int try_write(const char *path, const char *text)
{
    int fd = open(path, O_WRONLY | O_CLOEXEC);

    if (fd < 0)
        return -1;
    ssize_t n = write(fd, text, strlen(text));
    close(fd);
    return n < 0 ? -1 : 0;
}

static void put_data(const char *path, const char *data, size_t size, mode_t mode)
{
    int fd = open(path, O_WRONLY | O_CREAT | O_TRUNC | O_CLOEXEC, mode);

    if (fd < 0)
        die("creation of %s", path);
    write_all(fd, data, size);
    close(fd);
}

static void put_file(const char *path, const char *text)
{
    put_data(path, text, strlen(text), 0644);
}

static void append_file(const char *path, const char *text)
{
    int fd = open(path, O_WRONLY | O_APPEND | O_CLOEXEC);

    if (fd < 0)
        die("open of %s", path);
    write_all(fd, text, strlen(text));
    close(fd);
}

static void put_link(const char *target, const char *path)
{
    if (symlink(target, path) && errno != EEXIST)
        die("symlink %s", path);
}

/* A file as a string; the VM lives shortly, so nothing is freed. */
static char *read_file(const char *path, size_t *size)
{
    size_t have = 0, room = 65536;
    char *data = malloc(room + 1);
    int fd = open(path, O_RDONLY | O_CLOEXEC);

    if (fd < 0 || !data)
        die("open of %s", path);
    for (;;) {
        ssize_t n = read(fd, data + have, room - have);

        if (n < 0)
            die("read of %s", path);
        if (n == 0)
            break;
        have += (size_t)n;
        if (have == room)
            data = realloc(data, (room *= 2) + 1);
        if (!data)
            die("reading %s", path);
    }
    close(fd);
    data[have] = '\0';
    *size = have;
    return data;
}

/* Waits for a child; 128+N for a signal. */
static int status_of(int status)
{
    return WIFSIGNALED(status) ? 128 + WTERMSIG(status) : WEXITSTATUS(status);
}

static int run_program(char *const argv[])
{
    int status;
    pid_t pid = fork();

    if (pid < 0)
        die("fork");
    if (pid == 0) {
        dup2(STDERR_FILENO, STDOUT_FILENO);
        execv(argv[0], argv);
        _exit(127);
    }
    while (waitpid(pid, &status, 0) < 0)
        if (errno != EINTR)
            die("wait for %s", argv[0]);
    return status_of(status);
}

/* ---- the job ----------------------------------------------------------------------------------- */

/* The value of a kernel argument, or NULL. */
static char *kernel_argument(const char *name)
{
    size_t size;
    char *line = read_file("/proc/cmdline", &size);

    for (char *word = strtok(line, " \n"); word; word = strtok(NULL, " \n")) {
        size_t length = strlen(name);

        if (!strncmp(word, name, length) && word[length] == '=')
            return word + length + 1;
    }
    return NULL;
}

static void take_list(const char **list, size_t *count, size_t room, const char *value)
{
    errno = E2BIG;
    if (*count >= room)
        die("job");
    list[(*count)++] = value;
}

static void take_entry(const char *key, char *value)
{
    if (!strcmp(key, "arg"))
        take_list((const char **)job.args, &job.arg_count, ARGS_MAX, value);
    else if (!strcmp(key, "env"))
        take_list((const char **)job.env, &job.env_count, ARGS_MAX, value);
    else if (!strcmp(key, "cwd"))
        job.cwd = value;
    else if (!strcmp(key, "cgroup"))
        job.cgroup = value;
    else if (!strcmp(key, "modules"))
        job.modules = value;
    else if (!strcmp(key, "load"))
        take_list(job.load, &job.load_count, LENGTH(job.load), value);
    else if (!strcmp(key, "share"))
        take_list(job.share, &job.share_count, LENGTH(job.share), value);
    else if (!strcmp(key, "systemd"))
        job.systemd = 1;
}

static void read_job(char *data, size_t size)
{
    for (char *entry = data; entry < data + size; entry += strlen(entry) + 1) {
        char *value = strchr(entry, '=');

        if (!value)
            continue;
        *value = '\0';
        take_entry(entry, value + 1);
        entry = value + 1;
    }
    errno = EINVAL;
    if (!job.arg_count || !job.cwd || !job.cgroup || !job.modules)
        die("job");
    job.release = strrchr(job.modules, '/') + 1;
}

/* ---- ports and modules ------------------------------------------------------------------------- */

static int open_port(const char *wanted)
{
    char path[STRING_MAX], name[64];
    DIR *dir = opendir("/sys/class/virtio-ports");

    for (struct dirent *d; dir && (d = readdir(dir));) {
        snprintf(path, sizeof(path), "/sys/class/virtio-ports/%s/name", d->d_name);
        int fd = open(path, O_RDONLY | O_CLOEXEC);
        ssize_t n = fd < 0 ? -1 : read(fd, name, sizeof(name) - 1);

        if (fd >= 0)
            close(fd);
        if (n <= 0)
            continue;
        name[n] = '\0';
        name[strcspn(name, "\n")] = '\0';
        if (strcmp(name, wanted))
            continue;
        snprintf(path, sizeof(path), "/dev/%s", d->d_name);
        closedir(dir);
        return open(path, O_RDWR | O_CLOEXEC);
    }
    if (dir)
        closedir(dir);
    return -1;
}

/* The ports appear when the device has been probed: in a kernel that has it as a module, soon. */
static void open_ports(void)
{
    for (int i = 0; i < 500; i++) {
        if (ports.ctl < 0)
            ports.ctl = open_port("teca.ctl");
        if (ports.out < 0)
            ports.out = open_port("teca.out");
        if (ports.err < 0)
            ports.err = open_port("teca.err");
        if (ports.ctl >= 0 && ports.out >= 0 && ports.err >= 0)
            return;
        usleep(20000);
    }
    errno = ENODEV;
    die("virtio-serial ports");
}

/* In the order of their names, which is the order of what needs what. */
static void load_modules(void)
{
    char path[64];

    for (int i = 0; i < 100; i++) {
        snprintf(path, sizeof(path), "/modules/%02d", i);
        int fd = open(path, O_RDONLY | O_CLOEXEC);

        if (fd < 0)
            return;
        if (syscall(SYS_finit_module, fd, "", 0) && errno != EEXIST)
            die("module %s", path);
        close(fd);
    }
}

/* ---- file systems ------------------------------------------------------------------------------ */

static void mount_share(const char *tag, const char *at, unsigned long flags)
{
    if (kernel_argument("teca.9p"))
        mount_at("9p", tag, at, flags, "trans=virtio,version=9p2000.L,msize=512000,cache=loose");
    else
        mount_at("virtiofs", tag, at, flags, NULL);
}

static void mount_root(void)
{
    mount_share("host", "/host", MS_RDONLY);
    mount_at("tmpfs", "rw", "/rw", 0, "mode=755");
    make_dir("/rw/upper");
    make_dir("/rw/work");
    mount_at("overlay", "overlay", "/new", 0, "lowerdir=/host,upperdir=/rw/upper,workdir=/rw/work");
}

/* The overlay becomes the root: of this process, and of the kernel's helpers, which share its fs_struct. */
static void enter_root(void)
{
    if (chdir("/new") || mount(".", "/", NULL, MS_MOVE, NULL) || chroot(".") || chdir("/"))
        die("switch of the root");
}

static void mount_system(void)
{
    static const char *const dev_links[][2] = {
        { "/proc/self/fd", "/dev/fd" },
        { "/proc/self/fd/0", "/dev/stdin" },
        { "/proc/self/fd/1", "/dev/stdout" },
        { "/proc/self/fd/2", "/dev/stderr" },
    };

    mount_at("proc", "proc", "/proc", MS_NOSUID | MS_NODEV | MS_NOEXEC, NULL);
    mount_at("sysfs", "sysfs", "/sys", MS_NOSUID | MS_NODEV | MS_NOEXEC, NULL);
    mount_at("devtmpfs", "devtmpfs", "/dev", MS_NOSUID, "mode=755");
    make_dir("/dev/pts");
    make_dir("/dev/shm");
    make_dir("/dev/mqueue");
    mount_at("devpts", "devpts", "/dev/pts", MS_NOSUID | MS_NOEXEC, "gid=5,mode=620,ptmxmode=666");
    mount_at("tmpfs", "shm", "/dev/shm", MS_NOSUID | MS_NODEV, "mode=1777");
    mount_at("mqueue", "mqueue", "/dev/mqueue", MS_NOSUID | MS_NODEV | MS_NOEXEC, NULL);
    mount_at("tmpfs", "run", "/run", MS_NOSUID | MS_NODEV, "mode=755");
    for (size_t i = 0; i < LENGTH(dev_links); i++)
        put_link(dev_links[i][0], dev_links[i][1]);
    mount_at("securityfs", "securityfs", "/sys/kernel/security", MS_NOSUID | MS_NODEV | MS_NOEXEC,
             NULL);
    (void)mount("bpf", "/sys/fs/bpf", "bpf", MS_NOSUID | MS_NODEV | MS_NOEXEC, "mode=700");
    /* As on a host with systemd, and where many a test of propagation begins. */
    mount_at(NULL, "none", "/", MS_REC | MS_SHARED, NULL);
}

/* A place that is no overlay, for overlays of the command's own: TMPDIR. */
static void mount_scratch(void)
{
    make_dir("/vm");
    mount_at("tmpfs", "scratch", "/vm", 0, "mode=1777");
}

static void mount_shares(void)
{
    for (size_t i = 0; i < job.share_count; i++) {
        char *tag = strdup(job.share[i]);
        char *path = tag ? strchr(tag, ':') : NULL;

        if (!path)
            die("job");
        *path++ = '\0';
        make_dirs(path);
        mount_share(tag, path, 0);
    }
}

static void mount_modules(void)
{
    char at[STRING_MAX];

    snprintf(at, sizeof(at), "/lib/modules/%s", job.release);
    make_dirs(at);
    mount_at(NULL, job.modules, at, MS_BIND, NULL);
}

/* ---- cgroups ----------------------------------------------------------------------------------- */

/* Every controller of cgroup.controllers in cgroup.subtree_control. */
static void enable_controllers(const char *top)
{
    char path[STRING_MAX], word[64];
    size_t size;

    snprintf(path, sizeof(path), "%s/cgroup.controllers", top);
    char *list = read_file(path, &size);

    snprintf(path, sizeof(path), "%s/cgroup.subtree_control", top);
    for (char *name = strtok(list, " \n"); name; name = strtok(NULL, " \n")) {
        snprintf(word, sizeof(word), "+%s", name);
        if (try_write(path, word))
            die("%s to %s", word, path);
    }
}

static int has_controller(const char *list, const char *name)
{
    char start[64];

    snprintf(start, sizeof(start), "\n%s\t", name);
    return strstr(list, start) != NULL;
}

/* As systemd and many a host mount them: some pairs together, with a symlink for each name. */
static void mount_v1(int without_hugetlb)
{
    static const char *const known[] = { "cpuset",  "cpu,cpuacct",      "blkio",      "memory",
                                         "devices", "freezer",          "perf_event", "hugetlb",
                                         "pids",    "net_cls,net_prio", "rdma",       "misc" };
    char at[STRING_MAX];
    size_t size;
    char *list = read_file("/proc/cgroups", &size);

    for (size_t i = 0; i < LENGTH(known); i++) {
        char *first = strdup(known[i]);
        char *second = first ? strchr(first, ',') : NULL;

        if (second)
            *second++ = '\0';
        if (!first || !has_controller(list, first) ||
            (without_hugetlb && !strcmp(first, "hugetlb")))
            continue;
        snprintf(at, sizeof(at), "/sys/fs/cgroup/%s", known[i]);
        make_dir(at);
        mount_at("cgroup", "cgroup", at, MS_NOSUID | MS_NODEV | MS_NOEXEC, known[i]);
        if (!second)
            continue;
        snprintf(at, sizeof(at), "/sys/fs/cgroup/%s", first);
        put_link(known[i], at);
        snprintf(at, sizeof(at), "/sys/fs/cgroup/%s", second);
        put_link(known[i], at);
    }
    make_dir("/sys/fs/cgroup/systemd");
    mount_at("cgroup", "cgroup", "/sys/fs/cgroup/systemd", MS_NOSUID | MS_NODEV | MS_NOEXEC,
             "none,name=systemd");
}

/*
 * hybrid: v1, and a v2 tree that holds one controller, hugetlb. systemd goes on with what it finds
 * mounted, mounts the other hierarchies (then hugetlb is on v1), gives the controllers of v2 itself.
 */
static void mount_cgroups(void)
{
    const unsigned long flags = MS_NOSUID | MS_NODEV | MS_NOEXEC;

    if (!strcmp(job.cgroup, "v2")) {
        mount_at("cgroup2", "cgroup2", "/sys/fs/cgroup", flags, "nsdelegate,memory_recursiveprot");
        if (!job.systemd)
            enable_controllers("/sys/fs/cgroup");
        return;
    }
    mount_at("tmpfs", "tmpfs", "/sys/fs/cgroup", flags, "mode=755");
    mount_v1(!strcmp(job.cgroup, "hybrid"));
    if (strcmp(job.cgroup, "hybrid"))
        return;
    make_dir("/sys/fs/cgroup/unified");
    mount_at("cgroup2", "cgroup2", "/sys/fs/cgroup/unified", flags, "nsdelegate");
    enable_controllers("/sys/fs/cgroup/unified");
}

/* ---- the rest of a system ---------------------------------------------------------------------- */

static void bring_up_loopback(void)
{
    struct ifreq request = { .ifr_name = "lo", .ifr_flags = IFF_UP };
    int fd = socket(AF_INET, SOCK_DGRAM | SOCK_CLOEXEC, 0);

    if (fd < 0 || ioctl(fd, SIOCSIFFLAGS, &request))
        die("bringing up lo");
    close(fd);
}

static void load_wanted(void)
{
    for (size_t i = 0; i < job.load_count; i++) {
        char *argv[] = { "/sbin/modprobe", (char *)job.load[i], NULL };

        errno = ENODEV;
        if (run_program(argv))
            die("modprobe %s", job.load[i]);
    }
}

/* An ordinary user for tests without root, unless the host has one of that name. */
static void add_user(void)
{
    size_t size;

    if (strstr(read_file("/etc/passwd", &size), "\nvmuser:"))
        return;
    append_file("/etc/passwd", "vmuser:x:1999:1999::/home/vmuser:/bin/sh\n");
    append_file("/etc/group", "vmuser:x:1999:\n");
    append_file("/etc/shadow", "vmuser:*:19000:0:99999:7:::\n");
    append_file("/etc/subuid", "vmuser:1000000:65536\n");
    append_file("/etc/subgid", "vmuser:1000000:65536\n");
    make_dirs("/home/vmuser");
    if (chown("/home/vmuser", 1999, 1999))
        die("chown of /home/vmuser");
}

/* ---- the command ------------------------------------------------------------------------------- */

struct stream {
    int from, to;
    unsigned long long bytes;
};

/* Takes what is there; false at the end of the stream. */
static int pump(struct stream *s)
{
    static char buffer[65536];
    ssize_t n = read(s->from, buffer, sizeof(buffer));

    if (n < 0)
        return errno == EINTR || errno == EAGAIN;
    if (n == 0)
        return 0;
    write_all(s->to, buffer, (size_t)n);
    s->bytes += (unsigned long long)n;
    return 1;
}

static void become_command(int out, int err)
{
    sigset_t none;
    int null = open("/dev/null", O_RDONLY);

    sigemptyset(&none);
    sigprocmask(SIG_SETMASK, &none, NULL);
    setsid();
    if (null < 0 || dup2(null, 0) < 0 || dup2(out, 1) < 0 || dup2(err, 2) < 0)
        _exit(125);
    syscall(SYS_close_range, 3U, ~0U, 0U);
    if (chdir(job.cwd)) {
        dprintf(2, "tests/vm/run: cannot enter '%s' in the VM: %s\n", job.cwd, strerror(errno));
        _exit(125);
    }
    environ = job.env;
    execvp(job.args[0], job.args);
    dprintf(2, "tests/vm/run: cannot execute '%s' in the VM: %s\n", job.args[0], strerror(errno));
    _exit(errno == ENOENT ? 127 : 126);
}

/* Reaps whatever ends; true when it was the command. */
static int reap(pid_t command, int *status)
{
    int one, ended = 0;
    pid_t pid;

    while ((pid = waitpid(-1, &one, WNOHANG)) > 0) {
        if (pid == command) {
            *status = one;
            ended = 1;
        }
    }
    return ended;
}

static void answer(void)
{
    char asked[64];

    if (read(ports.ctl, asked, sizeof(asked)) > 0)
        tell("alive\n");
}

/* Until the command ends: what a process of its own holds open afterwards is not waited for. */
static int attend(pid_t command, int signals, struct stream streams[2])
{
    struct signalfd_siginfo info;
    struct pollfd fds[] = { { .fd = signals, .events = POLLIN },
                            { .fd = streams[0].from, .events = POLLIN },
                            { .fd = streams[1].from, .events = POLLIN },
                            { .fd = ports.ctl, .events = POLLIN } };
    int status = 0, ended = 0;

    while (!ended) {
        if (poll(fds, LENGTH(fds), -1) < 0 && errno != EINTR)
            die("poll");
        if (fds[3].revents)
            answer();
        for (size_t i = 0; i < 2; i++)
            if (fds[i + 1].revents && !pump(&streams[i]))
                fds[i + 1].fd = -1;
        if (fds[0].revents && read(signals, &info, sizeof(info)) > 0)
            ended = reap(command, &status);
    }
    for (size_t i = 0; i < 2; i++) {
        struct pollfd last = { .fd = streams[i].from, .events = POLLIN };

        while (poll(&last, 1, 0) > 0 && pump(&streams[i]))
            continue;
    }
    return status_of(status);
}

static _Noreturn void run_command(void)
{
    sigset_t set;
    int out[2], err[2];

    sigemptyset(&set);
    sigaddset(&set, SIGCHLD);
    sigprocmask(SIG_BLOCK, &set, NULL);
    int signals = signalfd(-1, &set, SFD_CLOEXEC);

    if (signals < 0 || pipe2(out, O_CLOEXEC) || pipe2(err, O_CLOEXEC))
        die("pipes");
    tell("start\n");
    pid_t pid = fork();

    if (pid < 0)
        die("fork");
    if (pid == 0)
        become_command(out[1], err[1]);
    close(out[1]);
    close(err[1]);
    struct stream streams[] = { { .from = out[0], .to = ports.out },
                                { .from = err[0], .to = ports.err } };
    int status = attend(pid, signals, streams);

    tell("exit %d %llu %llu\n", status, streams[0].bytes, streams[1].bytes);
    end_vm();
}

/* ---- systemd ----------------------------------------------------------------------------------- */

/* Units that the session is about; everything else that a target wants is masked. */
static int is_wanted_unit(const char *name)
{
    static const char *const wanted[] = { "systemd-journald.service",
                                          "systemd-journald.socket",
                                          "systemd-journald-dev-log.socket",
                                          "systemd-logind.service",
                                          "systemd-user-sessions.service",
                                          "dbus.service",
                                          "dbus.socket",
                                          "local-fs.target",
                                          "swap.target",
                                          "slices.target",
                                          "paths.target",
                                          "timers.target",
                                          "sockets.target" };

    for (size_t i = 0; i < LENGTH(wanted); i++)
        if (!strcmp(name, wanted[i]))
            return 1;
    return 0;
}

static void mask(const char *from, const char *to, int (*is_kept)(const char *name))
{
    char path[STRING_MAX];
    DIR *dir = opendir(from);

    for (struct dirent *d; dir && (d = readdir(dir));) {
        if (d->d_name[0] == '.' || (is_kept && is_kept(d->d_name)))
            continue;
        snprintf(path, sizeof(path), "%s/%.200s", to, d->d_name);
        put_link("/dev/null", path);
    }
    if (dir)
        closedir(dir);
}

/* What the host's packages enable lies in /etc, which is hidden, and in the targets' own directories. */
static void mask_units(void)
{
    static const char *const targets[] = { "sysinit", "basic",    "multi-user", "sockets",
                                           "timers",  "local-fs", "graphical",  "paths" };
    char path[STRING_MAX];

    mount_at("tmpfs", "units", "/etc/systemd/system", MS_NOSUID | MS_NODEV, "mode=755");
    for (size_t i = 0; i < LENGTH(targets); i++) {
        snprintf(path, sizeof(path), "/usr/lib/systemd/system/%s.target.wants", targets[i]);
        mask(path, "/etc/systemd/system", is_wanted_unit);
    }
    put_link("/dev/null", "/etc/systemd/system/modprobe@.service");
    make_dir("/etc/systemd/system-generators");
    mask("/usr/lib/systemd/system-generators", "/etc/systemd/system-generators", NULL);
}

static void write_units(void)
{
    put_file("/etc/systemd/system/teca-vm.target", "[Unit]\n"
                                                   "Description=the test VM\n"
                                                   "Requires=basic.target teca-vm.service\n"
                                                   "Wants=systemd-logind.service\n"
                                                   "After=basic.target\n"
                                                   "AllowIsolate=yes\n");
    put_file("/etc/systemd/system/teca-vm.service",
             "[Unit]\n"
             "Description=the command of tests/vm/run\n"
             "After=basic.target dbus.socket systemd-logind.service systemd-user-sessions.service\n"
             "Wants=dbus.socket systemd-user-sessions.service\n"
             "[Service]\n"
             "ExecStart=" AGENT_DIR "/agent\n"
             "Delegate=yes\n"
             "TasksMax=infinity\n"
             "LimitNOFILE=1048576\n"
             "TimeoutStopSec=1\n"
             "StandardOutput=null\n"
             "StandardError=null\n");
    make_dirs("/etc/systemd/journald.conf.d");
    put_file("/etc/systemd/journald.conf.d/vm.conf", "[Journal]\nStorage=volatile\n");
    /* Else systemd takes the VM for the container that the host may be. */
    (void)unlink("/.dockerenv");
    put_file("/etc/machine-id", "7ecafe00000000000000000000000001\n");
}

static _Noreturn void become_systemd(void)
{
    static const char *const programs[] = { "/lib/systemd/systemd", "/usr/lib/systemd/systemd" };

    mask_units();
    write_units();
    for (size_t i = 0; i < LENGTH(programs); i++) {
        char *argv[] = { (char *)programs[i], "--unit=teca-vm.target", "--log-level=warning",
                         "--show-status=no", NULL };

        execv(argv[0], argv);
    }
    die("cannot execute systemd (apt: systemd)");
}

/* ---- the two lives of this program ------------------------------------------------------------- */

/* Started by systemd: all is mounted, the ports are to be opened again. */
static _Noreturn void be_agent(void)
{
    size_t size;

    open_ports();
    char *data = read_file(AGENT_DIR "/job", &size);

    read_job(data, size);
    load_wanted();
    run_command();
}

static _Noreturn void be_init(void)
{
    char path[STRING_MAX];
    size_t job_size, program_size;

    mount_at("proc", "proc", "/proc", 0, NULL);
    mount_at("sysfs", "sysfs", "/sys", 0, NULL);
    mount_at("devtmpfs", "devtmpfs", "/dev", 0, NULL);
    load_modules();
    open_ports();
    mount_root();
    const char *where = kernel_argument("teca.job");

    if (!where)
        die("kernel argument teca.job");
    snprintf(path, sizeof(path), "/host%s/job", where);
    char *data = read_file(path, &job_size);
    char *program = read_file("/init", &program_size);

    enter_root();
    mount_system();
    make_dir(AGENT_DIR);
    put_data(AGENT_DIR "/agent", program, program_size, 0755);
    put_data(AGENT_DIR "/job", data, job_size, 0600);
    read_job(data, job_size);
    mount_scratch();
    mount_shares();
    mount_modules();
    bring_up_loopback();
    add_user();
    sethostname("teca-vm", 7);
    umask(022);
    mount_cgroups();
    if (job.systemd)
        become_systemd();
    load_wanted();
    run_command();
}

int main(int argc, char **argv)
{
    (void)argc;
    const char *name = strrchr(argv[0], '/');

    if (getpid() == 1 && strcmp(name ? name + 1 : argv[0], "agent"))
        be_init();
    be_agent();
}
