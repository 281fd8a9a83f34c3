/* SPDX-License-Identifier: Apache-2.0 */
/*
 * payload: the process that the system suite starts inside a container. It tells what it finds
 * there, in a form that a test reads without guessing, where busybox has no applet for it:
 *
 *   report              one JSON object: ids, session, signals, fds, limits, namespaces, clocks ...
 *   exit N              exits with N
 *   raise N             dies by signal N (or exits 99 when it survives that)
 *   fault               a real page fault: kills init of a pid namespace too
 *   catch N             catches every signal, prints "ready", then each number; exits on signal N
 *   call NAME ARG...    one raw system call; prints "RESULT ERRNO-NAME"; s:TEXT is a string, b: a
 *                       buffer
 *   list PATH           the names in a directory, sorted by the kernel, one a line
 *   loopback            sends itself a datagram over 127.0.0.1 and prints what arrived
 *   attributes          one JSON object: scheduling, I/O priority, memory policy, personality, CPUs
 *   tell-stdin          prints "closed" or "open" for fds 0, 1 and 2 to the file named by ARG
 *   serve PORT          prints "listening", takes one TCP connection, says each line again with its number
 *   lock PATH           holds flock(2) of this file
 *   tick PATH           connects a datagram socket to PATH and sends a number there every 50 ms
 *   spin                one thread that never sleeps, until killed
 *   notify WORD...      to NOTIFY_SOCKET: say:TEXT, fd:TEXT (with a pipe; prints "closed" when the other
 *                       side has let go of it), big:N (READY=1 and N bytes more), flood:N; or
 *                       sleep:SECONDS, exit:N; prints the errno's name when it cannot send
 */
#define _GNU_SOURCE
#include <arpa/inet.h>
#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <net/if.h>
#include <netinet/in.h>
#include <poll.h>
#include <signal.h>
#include <stdbool.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/file.h>
#include <sys/ioctl.h>
#include <sys/prctl.h>
#include <sys/resource.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <sys/un.h>
#include <sys/utsname.h>
#include <time.h>
#include <unistd.h>

#define COUNT_OF(a) (sizeof(a) / sizeof((a)[0]))

extern char **environ;

static void print_string(const char *s)
{
    putchar('"');
    for (; *s; s++) {
        unsigned char c = (unsigned char)*s;

        if (c == '"' || c == '\\')
            printf("\\%c", c);
        else if (c < 0x20 || c >= 0x7f)
            printf("\\u%04x", c);
        else
            putchar(c);
    }
    putchar('"');
}

static void print_strings(const char *key, char *const *v)
{
    printf("\"%s\":[", key);
    for (size_t i = 0; v[i]; i++) {
        if (i)
            putchar(',');
        print_string(v[i]);
    }
    printf("],\n");
}

static void print_member(const char *key, const char *value)
{
    printf("\"%s\":", key);
    print_string(value);
    printf(",\n");
}

/* "Key:\tvalue" lines of /proc/self/status as one object. */
static void print_status(void)
{
    static char line[8192];
    FILE *f = fopen("/proc/self/status", "re");
    bool first = true;

    printf("\"status\":{");
    while (f && fgets(line, sizeof(line), f)) {
        char *colon = strchr(line, ':');

        line[strcspn(line, "\n")] = 0;
        if (!colon)
            continue;
        *colon = 0;
        if (!first)
            putchar(',');
        first = false;
        print_string(line);
        putchar(':');
        print_string(colon + 1 + strspn(colon + 1, "\t "));
    }
    printf("},\n");
    if (f)
        fclose(f);
}

/* Found with fcntl, not /proc: works where /proc is not mounted, and opens nothing itself. */
static void print_fds(void)
{
    bool first = true;

    printf("\"fds\":{");
    for (int fd = 0; fd < 4096; fd++) {
        char path[64], target[PATH_MAX];
        ssize_t n;

        if (fcntl(fd, F_GETFD) < 0)
            continue;
        snprintf(path, sizeof(path), "/proc/self/fd/%d", fd);
        n = readlink(path, target, sizeof(target) - 1);
        target[n < 0 ? 0 : n] = 0;
        printf("%s\"%d\":", first ? "" : ",", fd);
        print_string(target);
        first = false;
    }
    printf("},\n");
}

static void print_limits(void)
{
    static const struct {
        const char *name;
        int resource;
    } limits[] = {
        { "RLIMIT_AS", RLIMIT_AS },
        { "RLIMIT_CORE", RLIMIT_CORE },
        { "RLIMIT_CPU", RLIMIT_CPU },
        { "RLIMIT_DATA", RLIMIT_DATA },
        { "RLIMIT_FSIZE", RLIMIT_FSIZE },
        { "RLIMIT_LOCKS", RLIMIT_LOCKS },
        { "RLIMIT_MEMLOCK", RLIMIT_MEMLOCK },
        { "RLIMIT_MSGQUEUE", RLIMIT_MSGQUEUE },
        { "RLIMIT_NICE", RLIMIT_NICE },
        { "RLIMIT_NOFILE", RLIMIT_NOFILE },
        { "RLIMIT_NPROC", RLIMIT_NPROC },
        { "RLIMIT_RSS", RLIMIT_RSS },
        { "RLIMIT_RTPRIO", RLIMIT_RTPRIO },
        { "RLIMIT_RTTIME", RLIMIT_RTTIME },
        { "RLIMIT_SIGPENDING", RLIMIT_SIGPENDING },
        { "RLIMIT_STACK", RLIMIT_STACK },
    };

    printf("\"rlimits\":{");
    for (size_t i = 0; i < COUNT_OF(limits); i++) {
        struct rlimit r = { 0 };

        getrlimit((unsigned)limits[i].resource, &r);
        printf("%s\"%s\":[%llu,%llu]", i ? "," : "", limits[i].name, (unsigned long long)r.rlim_cur,
               (unsigned long long)r.rlim_max);
    }
    printf("},\n");
}

/* What sigaction(2) says, so that it works without /proc. */
static void print_signals(void)
{
    sigset_t mask;
    bool first = true;

    sigprocmask(SIG_BLOCK, NULL, &mask);
    printf("\"ignored\":[");
    for (int sig = 1; sig <= 64; sig++) {
        struct sigaction sa;

        if (sigaction(sig, NULL, &sa) || sa.sa_handler != SIG_IGN)
            continue;
        printf("%s%d", first ? "" : ",", sig);
        first = false;
    }
    printf("],\n\"blocked\":[");
    first = true;
    for (int sig = 1; sig <= 64; sig++) {
        if (sigismember(&mask, sig) != 1)
            continue;
        printf("%s%d", first ? "" : ",", sig);
        first = false;
    }
    printf("],\n");
}

static void print_ids(void)
{
    uid_t u[3];
    gid_t g[3], groups[1024];
    int n = getgroups(COUNT_OF(groups), groups);

    getresuid(&u[0], &u[1], &u[2]);
    getresgid(&g[0], &g[1], &g[2]);
    printf("\"uids\":[%u,%u,%u],\n\"gids\":[%u,%u,%u],\n\"groups\":[", u[0], u[1], u[2], g[0], g[1],
           g[2]);
    for (int i = 0; i < n; i++)
        printf("%s%u", i ? "," : "", groups[i]);
    printf("],\n\"pid\":%d,\n\"ppid\":%d,\n\"sid\":%d,\n\"pgid\":%d,\n", getpid(), getppid(),
           getsid(0), getpgid(0));
}

static void print_namespaces(void)
{
    static const char *const names[] = {
        "cgroup", "ipc", "mnt", "net", "pid", "time", "user", "uts"
    };

    printf("\"ns\":{");
    for (size_t i = 0; i < COUNT_OF(names); i++) {
        char path[64], target[128];
        ssize_t n;

        snprintf(path, sizeof(path), "/proc/self/ns/%s", names[i]);
        n = readlink(path, target, sizeof(target) - 1);
        target[n < 0 ? 0 : n] = 0;
        printf("%s\"%s\":\"%s\"", i ? "," : "", names[i], target);
    }
    printf("},\n");
}

static void print_loopback(void)
{
    struct ifreq r = { .ifr_name = "lo" };
    int fd = socket(AF_INET, SOCK_DGRAM | SOCK_CLOEXEC, 0);

    if (fd < 0 || ioctl(fd, SIOCGIFFLAGS, &r))
        r.ifr_flags = 0;
    if (fd >= 0)
        close(fd);
    printf("\"lo_up\":%s,\n", r.ifr_flags & IFF_UP ? "true" : "false");
}

static void print_file(const char *key, const char *path)
{
    static char text[1 << 20];
    int fd = open(path, O_RDONLY | O_CLOEXEC);
    size_t len = 0;
    ssize_t n;

    /* A read of these files gives about a page. */
    while (fd >= 0 && (n = read(fd, text + len, sizeof(text) - 1 - len)) > 0)
        len += (size_t)n;
    text[len] = 0;
    if (fd >= 0)
        close(fd);
    print_member(key, text);
}

static long long seconds(clockid_t clock)
{
    struct timespec t = { 0 };

    clock_gettime(clock, &t);
    return (long long)t.tv_sec;
}

static int report(char **argv)
{
    char cwd[PATH_MAX];
    struct utsname u;
    mode_t mask = umask(0);

    umask(mask);
    uname(&u);
    printf("{\n");
    print_ids();
    print_fds(); /* before anything else is opened */
    print_signals();
    print_status();
    print_limits();
    print_namespaces();
    print_loopback();
    print_member("hostname", u.nodename);
    print_member("domainname", u.domainname);
    print_member("cwd", getcwd(cwd, sizeof(cwd)) ? cwd : "");
    print_file("oom_score_adj", "/proc/self/oom_score_adj");
    print_file("cgroup", "/proc/self/cgroup");
    print_file("uid_map", "/proc/self/uid_map");
    print_file("gid_map", "/proc/self/gid_map");
    print_file("setgroups", "/proc/self/setgroups");
    print_file("mountinfo", "/proc/self/mountinfo");
    print_strings("argv", argv);
    print_strings("env", environ);
    printf("\"dumpable\":%d,\n", prctl(PR_GET_DUMPABLE));
    printf("\"monotonic\":%lld,\n\"boottime\":%lld,\n", seconds(CLOCK_MONOTONIC),
           seconds(CLOCK_BOOTTIME));
    printf("\"umask\":%u\n}\n", mask);
    return 0;
}

static int until;

static void caught(int sig)
{
    char line[16];
    int n = snprintf(line, sizeof(line), "%d\n", sig);

    if (write(1, line, (size_t)n) != n || sig == until)
        _exit(0);
}

static int catch_signals(int last)
{
    until = last;
    for (int sig = 1; sig <= 64; sig++)
        signal(sig, caught);
    if (write(1, "ready\n", 6) != 6)
        return 1;
    for (;;)
        pause();
}

static const struct {
    const char *name;
    long nr;
} calls[] = {
    { "getppid", SYS_getppid },
    { "getpgid", SYS_getpgid },
    { "mkdirat", SYS_mkdirat },
    { "mknodat", SYS_mknodat },
    { "openat", SYS_openat },
    { "unlinkat", SYS_unlinkat },
    { "fchownat", SYS_fchownat },
    { "personality", SYS_personality },
    { "chroot", SYS_chroot },
    { "unshare", SYS_unshare },
    { "sethostname", SYS_sethostname },
    { "socket", SYS_socket },
    { "setuid", SYS_setuid },
    { "setgid", SYS_setgid },
    { "mount", SYS_mount },
    { "umount2", SYS_umount2 },
    { "kill", SYS_kill },
    { "sched_yield", SYS_sched_yield },
    { "getcpu", SYS_getcpu },
    { "umask", SYS_umask },
    { "prctl", SYS_prctl },
    { "keyctl", SYS_keyctl },
    { "getpriority", SYS_getpriority },
    { "lseek", SYS_lseek },
    { "setpriority", SYS_setpriority },
    { "faccessat", SYS_faccessat },
    { "ioctl", SYS_ioctl },
    { "reboot", SYS_reboot },
    { "settimeofday", SYS_settimeofday },
    { "openat2", SYS_openat2 },
};

static int call(int argc, char **argv)
{
    static char buffers[6][65536];
    long arg[6] = { 0 }, result, nr = -1;

    for (size_t i = 0; i < COUNT_OF(calls); i++)
        if (!strcmp(calls[i].name, argv[0]))
            nr = calls[i].nr;
    if (nr < 0 || argc > 7) {
        fprintf(stderr, "payload: unknown call %s\n", argv[0]);
        return 98;
    }
    for (int i = 1; i < argc; i++) {
        const char *a = argv[i];

        if (!strncmp(a, "s:", 2))
            arg[i - 1] = (long)(a + 2);
        else if (!strncmp(a, "b:", 2))
            arg[i - 1] = (long)buffers[i - 1];
        else
            arg[i - 1] = (long)strtoull(a, NULL, 0);
    }
    errno = 0;
    result = syscall(nr, arg[0], arg[1], arg[2], arg[3], arg[4], arg[5]);
    printf("%ld %s\n", result, result < 0 ? strerrorname_np(errno) : "OK");
    return 0;
}

static int list(const char *path)
{
    DIR *d = opendir(path);
    struct dirent *entry;

    if (!d) {
        printf("%s\n", strerrorname_np(errno));
        return 1;
    }
    while ((entry = readdir(d)))
        if (strcmp(entry->d_name, ".") && strcmp(entry->d_name, ".."))
            printf("%s\n", entry->d_name);
    closedir(d);
    return 0;
}

static int loopback(void)
{
    struct sockaddr_in to = { .sin_family = AF_INET, .sin_addr = { htonl(INADDR_LOOPBACK) } };
    socklen_t len = sizeof(to);
    char text[16] = { 0 };
    int fd = socket(AF_INET, SOCK_DGRAM | SOCK_CLOEXEC, 0);

    if (fd < 0 || bind(fd, (struct sockaddr *)&to, sizeof(to)) ||
        getsockname(fd, (struct sockaddr *)&to, &len) ||
        sendto(fd, "hello", 5, 0, (struct sockaddr *)&to, sizeof(to)) != 5 ||
        recv(fd, text, sizeof(text) - 1, 0) != 5) {
        printf("%s\n", strerrorname_np(errno));
        return 1;
    }
    printf("%s\n", text);
    return 0;
}

/* sched_getattr(2), ioprio_get(2), get_mempolicy(2), personality(2), sched_getaffinity(2): raw. */
static int attributes(void)
{
    struct {
        uint32_t size, policy;
        uint64_t flags;
        int32_t nice;
        uint32_t priority;
        uint64_t runtime, deadline, period;
        uint32_t util_min, util_max;
    } s = { .size = sizeof(s) };
    unsigned long nodes[1024 / (8 * sizeof(unsigned long))] = { 0 };
    unsigned long cpus[8192 / (8 * sizeof(unsigned long))] = { 0 };
    int mode = -1;

    syscall(SYS_sched_getattr, 0, &s, sizeof(s), 0);
    syscall(SYS_get_mempolicy, &mode, nodes, 1025, NULL, 0);
    syscall(SYS_sched_getaffinity, 0, sizeof(cpus), cpus);
    printf("{\"policy\":%u,\"flags\":%llu,\"nice\":%d,\"priority\":%u,\"runtime\":%llu,"
           "\"deadline\":%llu,\"period\":%llu,",
           s.policy, (unsigned long long)s.flags, s.nice, s.priority, (unsigned long long)s.runtime,
           (unsigned long long)s.deadline, (unsigned long long)s.period);
    printf("\"ioprio\":%ld,\"personality\":%ld,\"mode\":%d,\"nodes\":%lu,\"cpus\":%lu}\n",
           syscall(SYS_ioprio_get, 1, 0), syscall(SYS_personality, 0xffffffff), mode, nodes[0],
           cpus[0]);
    return 0;
}

static int tell_stdin(const char *path)
{
    bool open_fd[3];
    FILE *f;

    for (int fd = 0; fd < 3; fd++)
        open_fd[fd] = fcntl(fd, F_GETFD) >= 0;
    f = fopen(path, "we");
    if (!f)
        return 1;
    for (int fd = 0; fd < 3; fd++)
        fprintf(f, "%s\n", open_fd[fd] ? "open" : "closed");
    return fclose(f) ? 1 : 0;
}

/* Takes one TCP connection and says each line again, with its number. */
static int serve(uint16_t port)
{
    struct sockaddr_in at = { .sin_family = AF_INET, .sin_port = htons(port) };
    int one = 1, listener = socket(AF_INET, SOCK_STREAM, 0), peer;
    char line[256];
    FILE *in;

    setsockopt(listener, SOL_SOCKET, SO_REUSEADDR, &one, sizeof one);
    if (bind(listener, (struct sockaddr *)&at, sizeof at) < 0 || listen(listener, 1) < 0)
        return 1;
    printf("listening\n");
    fflush(stdout);
    peer = accept(listener, NULL, NULL);
    in = fdopen(peer, "r");
    for (int n = 1; in && fgets(line, sizeof line, in); n++)
        dprintf(peer, "%d %s", n, line);
    return 0;
}

static int lock(const char *path)
{
    int fd = open(path, O_RDWR | O_CREAT | O_CLOEXEC, 0600);

    if (fd < 0 || flock(fd, LOCK_EX) < 0)
        return 1;
    for (;;)
        pause();
}

static int tick(const char *path)
{
    struct sockaddr_un at = { .sun_family = AF_UNIX };
    int sock = socket(AF_UNIX, SOCK_DGRAM, 0);

    snprintf(at.sun_path, sizeof at.sun_path, "%s", path);
    if (connect(sock, (struct sockaddr *)&at, sizeof at) < 0)
        return 1;
    for (int n = 1;; n++) {
        dprintf(sock, "%d", n);
        usleep(50000);
    }
}

static int die_by(int sig)
{
    signal(sig, SIG_DFL);
    kill(getpid(), sig);
    return 99;
}

static int fault(void)
{
    volatile int *nowhere = (volatile int *)(uintptr_t)16;

    return *nowhere;
}

static void send_word(int sock, const char *text, size_t len, int fd)
{
    union {
        char space[CMSG_SPACE(sizeof(int))];
        struct cmsghdr align;
    } control = { .space = { 0 } };
    struct iovec part = { (char *)text, len };
    struct msghdr msg = { .msg_iov = &part, .msg_iovlen = 1 };

    if (fd >= 0) {
        msg.msg_control = &control;
        msg.msg_controllen = sizeof(control);
        *CMSG_FIRSTHDR(&msg) = (struct cmsghdr){ CMSG_LEN(sizeof(int)), SOL_SOCKET, SCM_RIGHTS };
        memcpy(CMSG_DATA(CMSG_FIRSTHDR(&msg)), &fd, sizeof(int));
    }
    if (sendmsg(sock, &msg, 0) < 0)
        printf("%s\n", strerrorname_np(errno));
}

static void send_with_pipe(int sock, const char *text)
{
    struct pollfd other = { -1, 0, 0 };
    int ends[2];

    if (pipe(ends))
        return;
    send_word(sock, text, strlen(text), ends[1]);
    close(ends[1]);
    other.fd = ends[0];
    printf("%s\n", poll(&other, 1, 20000) == 1 ? "closed" : "kept");
}

static int notify(char **words)
{
    static char big[1 << 20] = "READY=1\n";
    const char *path = getenv("NOTIFY_SOCKET");
    struct sockaddr_un to = { .sun_family = AF_UNIX };
    int sock = socket(AF_UNIX, SOCK_DGRAM | SOCK_CLOEXEC, 0);

    setbuf(stdout, NULL);
    memset(big + 8, 'x', sizeof(big) - 8);
    snprintf(to.sun_path, sizeof(to.sun_path), "%s", path ? path : "");
    if (connect(sock, (struct sockaddr *)&to, sizeof(to)))
        printf("connect: %s\n", strerrorname_np(errno));
    for (; *words; words++) {
        const char *rest = strchr(*words, ':');

        rest = rest ? rest + 1 : "";
        if (!strncmp(*words, "say:", 4))
            send_word(sock, rest, strlen(rest), -1);
        else if (!strncmp(*words, "fd:", 3))
            send_with_pipe(sock, rest);
        else if (!strncmp(*words, "big:", 4))
            send_word(sock, big, (size_t)atoi(rest) + 8, -1);
        else if (!strncmp(*words, "flood:", 6))
            for (int n = atoi(rest); n > 0; n--)
                send_word(sock, "X=1", 3, -1);
        else if (!strncmp(*words, "sleep:", 6))
            sleep((unsigned)atoi(rest));
        else if (!strncmp(*words, "exit:", 5))
            return atoi(rest);
    }
    return 0;
}

int main(int argc, char **argv)
{
    const char *verb = argc > 1 ? argv[1] : "";

    if (!strcmp(verb, "report"))
        return report(argv);
    if (!strcmp(verb, "attributes"))
        return attributes();
    if (!strcmp(verb, "loopback"))
        return loopback();
    if (!strcmp(verb, "fault"))
        return fault();
    if (!strcmp(verb, "spin"))
        for (volatile unsigned long turns = 0;; turns++)
            ;
    if (argc < 3) {
        fprintf(stderr, "payload: unknown verb or missing argument '%s'\n", verb);
        return 97;
    }
    if (!strcmp(verb, "exit"))
        return atoi(argv[2]);
    if (!strcmp(verb, "raise"))
        return die_by(atoi(argv[2]));
    if (!strcmp(verb, "catch"))
        return catch_signals(atoi(argv[2]));
    if (!strcmp(verb, "serve"))
        return serve((uint16_t)atoi(argv[2]));
    if (!strcmp(verb, "lock"))
        return lock(argv[2]);
    if (!strcmp(verb, "tick"))
        return tick(argv[2]);
    if (!strcmp(verb, "call"))
        return call(argc - 2, argv + 2);
    if (!strcmp(verb, "list"))
        return list(argv[2]);
    if (!strcmp(verb, "notify"))
        return notify(argv + 2);
    if (!strcmp(verb, "tell-stdin"))
        return tell_stdin(argv[2]);
    fprintf(stderr, "payload: unknown verb '%s'\n", verb);
    return 97;
}
