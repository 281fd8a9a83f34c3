/* SPDX-License-Identifier: Apache-2.0 */
/*
 * floor BUNDLE ID V2 [V1...]: what it costs the kernel alone to run the bundle of
 * tests/data/default.json. The calls that the bundle needs are written down here one after the
 * other; there is no config, no state on disk, no library, and the answer to any failure is exit
 * status 125 (look with strace).
 *
 * V2 and V1 are the mounted cgroup hierarchies as names under /sys/fs/cgroup: V2 "unified" and the
 * V1 list on a hybrid machine, V2 "." and no V1 where /sys/fs/cgroup itself is cgroup2; the
 * container then gets a cgroup namespace, as `runc spec` has it.
 *
 * Why the calls are in this order and of this kind is measured in README.md. In short:
 *   - one clone3 makes all namespaces and puts the child into its v2 cgroup; the v1 directories are
 *     made beside the child's mounts, and the child waits for them once;
 *   - the child joins v1 cgroups by writing "0" to `tasks`: moving only oneself skips the lock
 *     whose writer waits for an RCU grace period, 10 to 30 ms on an idle machine (Linux 5.5,
 *     cgroup_procs_write_start());
 *   - no call that mounts and then fails (a bind of a file over a directory): undoing it waits for
 *     an expedited RCU grace period;
 *   - one recursive mount_setattr (Linux 5.12) makes a whole tree of mounts read-only.
 *
 * Built with -DRAW_TIMES it prints on stderr a line for each call: lane, start and duration in ns,
 * call, subject.
 */
#define _GNU_SOURCE
#include <errno.h>
#include <fcntl.h>
#include <linux/capability.h>
#include <linux/futex.h>
#include <linux/if.h>
#include <linux/prctl.h>
#include <linux/sched.h>
#include <linux/sockios.h>
#include <signal.h>
#include <stdbool.h>
#include <stddef.h>
#include <sys/mman.h>
#include <sys/mount.h>
#include <sys/resource.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <time.h>

#include "rawsys.h"

#define CGROUP_ROOT "/sys/fs/cgroup/"
#define MAX_HIERARCHIES 32
#define MAX_PATH 512

enum { FAILED = 125 };

struct hierarchy {
    const char *name;
    char dir[MAX_PATH];   /* the container's cgroup, as the host sees it */
    char tasks[MAX_PATH]; /* its file to join through (v1) */
};

_Noreturn void floor_start(long *stack);

RAW_START(floor_start);

static struct hierarchy hierarchies[MAX_HIERARCHIES]; /* [0] is v2 */
static unsigned hierarchy_count;
static bool v2_only;
static uint32_t *cgroups_made; /* futex, shared with the child */

static _Noreturn void leave(int status)
{
    for (;;)
        raw_syscall(SYS_exit_group, status, 0, 0, 0, 0, 0);
}

#ifdef RAW_TIMES
struct note {
    const char *call;
    uint64_t begin, end;
    char subject[64];
};

struct notes {
    unsigned count;
    struct note note[512];
};

static struct notes *notes; /* [0] the runtime's, [1] the child's; memory that both see */
static bool in_child;

static void note_call(const char *name, long nr, long a, long b, long c, uint64_t begin,
                      uint64_t end)
{
    struct note *note = &notes[in_child].note[notes[in_child].count++];
    const char *subject = "";

    if (nr == SYS_mount || nr == SYS_mkdirat || nr == SYS_unlinkat || nr == SYS_openat ||
        nr == SYS_mknodat || nr == SYS_mount_setattr)
        subject = (const char *)b;
    else if (nr == SYS_symlinkat)
        subject = (const char *)c;
    else if (nr == SYS_chdir || nr == SYS_execve)
        subject = (const char *)a;
    note->call = name;
    note->begin = begin;
    note->end = end;
    for (size_t i = 0; i + 1 < sizeof(note->subject) && subject[i]; i++)
        note->subject[i] = subject[i];
}
#endif

static long must(long result)
{
    if (result < 0)
        leave(FAILED);
    return result;
}

/* Writes a and then b behind each other into out[MAX_PATH]. */
static void join_path(char *out, const char *a, const char *b)
{
    size_t length = 0;

    for (; *a && length < MAX_PATH - 1; a++)
        out[length++] = *a;
    for (; *b && length < MAX_PATH - 1; b++)
        out[length++] = *b;
    out[length] = '\0';
    if (*a || *b)
        leave(FAILED);
}

static bool same(const char *a, const char *b)
{
    for (; *a && *a == *b; a++)
        b++;
    return *a == *b;
}

/*
 * ---- the runtime's side: cgroups
 * ----------------------------------------------------------------------------------
 */

/*
 * A v1 cpuset starts empty and cannot be joined before it is given CPUs and memory nodes: its
 * parent's.
 */
static void inherit_cpuset(const struct hierarchy *h, const char *file)
{
    char path[MAX_PATH], value[256];
    long fd, length;

    join_path(path, CGROUP_ROOT "cpuset", file);
    fd = must(sys4(SYS_openat, AT_FDCWD, path, O_RDONLY | O_CLOEXEC, 0));
    length = must(sys3(SYS_read, fd, value, sizeof(value)));
    join_path(path, h->dir, file);
    fd = must(sys4(SYS_openat, AT_FDCWD, path, O_WRONLY | O_CLOEXEC, 0));
    must(sys3(SYS_write, fd, value, length));
}

static void make_v1_cgroups(void)
{
    for (unsigned i = 1; i < hierarchy_count; i++) {
        must(sys3(SYS_mkdirat, AT_FDCWD, hierarchies[i].dir, 0755));
        if (same(hierarchies[i].name, "cpuset")) {
            inherit_cpuset(&hierarchies[i], "/cpuset.cpus");
            inherit_cpuset(&hierarchies[i], "/cpuset.mems");
        }
    }
}

static void remove_cgroups(void)
{
    for (unsigned i = 0; i < hierarchy_count; i++)
        must(sys3(SYS_unlinkat, AT_FDCWD, hierarchies[i].dir, AT_REMOVEDIR));
}

/*
 * ---- the child's side
 * ---------------------------------------------------------------------------------------------
 */

#define MOUNT(source, target, type, flags, data) \
    must(sys5(SYS_mount, source, target, type, flags, data))
#define MKDIR(path) must(sys3(SYS_mkdirat, AT_FDCWD, path, 0755))
#define SYMLINK(target, path) must(sys3(SYS_symlinkat, target, AT_FDCWD, path))
#define DEVICE(path, major, minor) \
    must(sys4(SYS_mknodat, AT_FDCWD, path, S_IFCHR | 0666, (major) << 8 | (minor)))

static void set_up_network(void)
{
    struct ifreq request = { .ifr_name = "lo" };
    long fd = must(sys3(SYS_socket, AF_INET, SOCK_DGRAM | SOCK_CLOEXEC, 0));

    request.ifr_flags = IFF_UP | IFF_RUNNING;
    must(sys3(SYS_ioctl, fd, SIOCSIFFLAGS, &request));
}

static void mount_filesystems(const char *bundle)
{
    char rootfs[MAX_PATH];

    join_path(rootfs, bundle, "/rootfs");
    MOUNT(NULL, "/", NULL, MS_REC | MS_PRIVATE, NULL);
    MOUNT(rootfs, rootfs, NULL, MS_BIND | MS_REC, NULL);
    must(sys1(SYS_chdir, rootfs));
    MOUNT("proc", "proc", "proc", 0, NULL);
    MOUNT("tmpfs", "dev", "tmpfs", MS_NOSUID | MS_STRICTATIME, "mode=755,size=65536k");
    MKDIR("dev/pts");
    MOUNT("devpts", "dev/pts", "devpts", MS_NOSUID | MS_NOEXEC,
          "newinstance,ptmxmode=0666,mode=0620,gid=5");
    MKDIR("dev/shm");
    MOUNT("shm", "dev/shm", "tmpfs", MS_NOSUID | MS_NOEXEC | MS_NODEV, "mode=1777,size=65536k");
    MKDIR("dev/mqueue");
    MOUNT("mqueue", "dev/mqueue", "mqueue", MS_NOSUID | MS_NOEXEC | MS_NODEV, NULL);
    MOUNT("sysfs", "sys", "sysfs", MS_NOSUID | MS_NOEXEC | MS_NODEV | MS_RDONLY, NULL);
}

/*
 * runtime-spec config-linux.md "Default Devices" and runtime-linux.md "Dev symbolic links"; the
 * umask is 0.
 */
static void make_devices(void)
{
    DEVICE("dev/null", 1, 3);
    DEVICE("dev/zero", 1, 5);
    DEVICE("dev/full", 1, 7);
    DEVICE("dev/random", 1, 8);
    DEVICE("dev/urandom", 1, 9);
    DEVICE("dev/tty", 5, 0);
    SYMLINK("pts/ptmx", "dev/ptmx");
    SYMLINK("/proc/self/fd", "dev/fd");
    SYMLINK("/proc/self/fd/0", "dev/stdin");
    SYMLINK("/proc/self/fd/1", "dev/stdout");
    SYMLINK("/proc/self/fd/2", "dev/stderr");
    SYMLINK("/proc/kcore", "dev/core");
}

static void must_or_absent(long result)
{
    if (result != -ENOENT)
        must(result);
}

static void mask_file(const char *path)
{
    must_or_absent(sys5(SYS_mount, "dev/null", path, NULL, MS_BIND, NULL));
}

static void mask_directory(const char *path)
{
    must_or_absent(sys5(SYS_mount, "tmpfs", path, "tmpfs", MS_RDONLY, "size=0k"));
}

static void bind_onto_itself(const char *path)
{
    must_or_absent(sys5(SYS_mount, path, path, NULL, MS_BIND | MS_REC, NULL));
}

static void change_mount(const char *path, unsigned flags, uint64_t set, uint64_t clear)
{
    struct mount_attr attr = { .attr_set = set, .attr_clr = clear };

    must(sys5(SYS_mount_setattr, AT_FDCWD, path, flags, &attr, sizeof(attr)));
}

static void hide_paths(void)
{
    mask_directory("proc/acpi");
    mask_directory("proc/asound");
    mask_file("proc/kcore");
    mask_file("proc/keys");
    mask_file("proc/latency_stats");
    mask_file("proc/timer_list");
    mask_file("proc/timer_stats");
    mask_file("proc/sched_debug");
    mask_directory("sys/firmware");
    mask_directory("proc/scsi");
    bind_onto_itself("proc/bus");
    bind_onto_itself("proc/fs");
    bind_onto_itself("proc/irq");
    bind_onto_itself("proc/sys");
    bind_onto_itself("proc/sysrq-trigger");
    /* All that is mounted on proc shall be read-only, proc itself not. */
    change_mount("proc", AT_RECURSIVE, MOUNT_ATTR_RDONLY, 0);
    change_mount("proc", 0, 0, MOUNT_ATTR_RDONLY);
}

static void join_v1_cgroups(void)
{
    for (unsigned i = 1; i < hierarchy_count; i++) {
        long fd = must(sys4(SYS_openat, AT_FDCWD, hierarchies[i].tasks, O_WRONLY | O_CLOEXEC, 0));

        must(sys3(SYS_write, fd, "0", 1));
    }
}

/*
 * The v1 hierarchies as binds of the container's own cgroups on a tmpfs, as runc and crun show
 * them; v2 as cgroup2.
 */
static void mount_cgroups(void)
{
    char path[MAX_PATH];

    if (v2_only) {
        MOUNT("cgroup", "sys/fs/cgroup", "cgroup2", MS_NOSUID | MS_NOEXEC | MS_NODEV | MS_RDONLY,
              NULL);
        return;
    }
    MOUNT("cgroup", "sys/fs/cgroup", "tmpfs", 0, "mode=755,size=1024k");
    for (unsigned i = 1; i < hierarchy_count; i++) {
        join_path(path, "sys/fs/cgroup/", hierarchies[i].name);
        MKDIR(path);
        MOUNT(hierarchies[i].dir, path, NULL, MS_BIND, NULL);
    }
    change_mount("sys/fs/cgroup", AT_RECURSIVE,
                 MOUNT_ATTR_RDONLY | MOUNT_ATTR_NOSUID | MOUNT_ATTR_NODEV | MOUNT_ATTR_NOEXEC, 0);
}

/* The working directory is the new root before and after, which is what process.cwd asks for. */
static void enter_root(void)
{
    must(sys2(SYS_pivot_root, ".", "."));
    must(sys2(SYS_umount2, ".", MNT_DETACH));
    MOUNT(NULL, "/", NULL, MS_REMOUNT | MS_BIND | MS_RDONLY, NULL);
}

/*
 * The ambient set needs no call: without an inheritable set, which `runc spec` does not write, it
 * stays empty.
 */
static void drop_privileges(void)
{
    const uint32_t kept = 1U << CAP_AUDIT_WRITE | 1U << CAP_KILL | 1U << CAP_NET_BIND_SERVICE;
    struct __user_cap_header_struct header = { .version = _LINUX_CAPABILITY_VERSION_3 };
    struct __user_cap_data_struct data[2] = { { .effective = kept, .permitted = kept } };
    struct rlimit files = { .rlim_cur = 1024, .rlim_max = 1024 };

    must(sys4(SYS_prlimit64, 0, RLIMIT_NOFILE, &files, NULL));
    for (unsigned cap = 0; cap <= CAP_LAST_CAP; cap++)
        if (cap >= 32 || !(kept & 1U << cap))
            must(sys2(SYS_prctl, PR_CAPBSET_DROP, cap));
    must(sys2(SYS_setgroups, 0, NULL));
    must(sys2(SYS_capset, &header, data));
    must(sys5(SYS_prctl, PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0));
}

static _Noreturn void run_child(const char *bundle)
{
    static const char *const argv[] = { "/bin/true", NULL };
    static const char *const envp[] = {
        "PATH=/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin", "TERM=xterm", NULL
    };

    must(sys0(SYS_setsid));
    sys1(SYS_umask, 0);
    set_up_network();
    must(sys2(SYS_sethostname, "runc", 4));
    mount_filesystems(bundle);
    make_devices();
    hide_paths();
    while (!__atomic_load_n(cgroups_made, __ATOMIC_ACQUIRE))
        sys4(SYS_futex, cgroups_made, FUTEX_WAIT, 0, NULL);
    join_v1_cgroups();
    mount_cgroups();
    enter_root();
    drop_privileges();
    sys1(SYS_umask, 022);
    must(sys3(SYS_close_range, 3, ~0U, CLOSE_RANGE_CLOEXEC));
    sys3(SYS_execve, argv[0], argv, envp);
    leave(FAILED);
}

/*
 * ---- the run ------------------------------------------------------------------------------------
 * ------------------
 */

#ifdef RAW_TIMES
static uint64_t now_ns(void)
{
    struct timespec now;

    raw_syscall(SYS_clock_gettime, CLOCK_MONOTONIC, (long)&now, 0, 0, 0, 0);
    return (uint64_t)now.tv_sec * 1000000000U + (uint64_t)now.tv_nsec;
}

static char *put_text(char *at, const char *text)
{
    while (*text)
        *at++ = *text++;
    *at++ = '\t';
    return at;
}

static char *put_number(char *at, uint64_t value)
{
    char digits[24];
    unsigned count = sizeof(digits);

    digits[--count] = '\0';
    do
        digits[--count] = (char)('0' + value % 10);
    while (value /= 10);
    return put_text(at, digits + count);
}

static void print_note(const char *lane, const struct note *note, uint64_t origin,
                       double ns_a_cycle)
{
    char line[256], *at = put_text(line, lane);

    at = put_number(at, (uint64_t)((double)(note->begin - origin) * ns_a_cycle));
    at = put_number(at, (uint64_t)((double)(note->end - note->begin) * ns_a_cycle));
    at = put_text(at, note->call);
    at = put_text(at, note->subject);
    at[-1] = '\n';
    raw_syscall(SYS_write, 2, (long)line, at - line, 0, 0, 0);
}

/* The child's execve is missing: it does not come back to be noted. The wait shows its cost. */
static void print_notes(uint64_t start_cycles, uint64_t start_ns)
{
    double ns_a_cycle = (double)(now_ns() - start_ns) / (double)(raw_cycles() - start_cycles);

    for (unsigned i = 0; i < notes[0].count; i++)
        print_note("runtime", &notes[0].note[i], start_cycles, ns_a_cycle);
    for (unsigned i = 0; i < notes[1].count; i++)
        print_note("init", &notes[1].note[i], start_cycles, ns_a_cycle);
}
#endif

static void name_hierarchies(char *const *names, const char *id)
{
    for (; names[hierarchy_count]; hierarchy_count++) {
        struct hierarchy *h = &hierarchies[hierarchy_count];

        if (hierarchy_count == MAX_HIERARCHIES)
            leave(FAILED);
        h->name = names[hierarchy_count];
        join_path(h->dir, CGROUP_ROOT, h->name);
        join_path(h->tasks, h->dir, "/");
        join_path(h->dir, h->tasks, id);
        join_path(h->tasks, h->dir, "/tasks");
    }
    v2_only = same(hierarchies[0].name, ".");
}

static long start_child(const char *bundle)
{
    struct clone_args args = {
        .flags = CLONE_NEWPID | CLONE_NEWNET | CLONE_NEWIPC | CLONE_NEWUTS | CLONE_NEWNS |
                 CLONE_INTO_CGROUP,
        .exit_signal = SIGCHLD,
    };
    long pid;

    if (v2_only)
        args.flags |= CLONE_NEWCGROUP;
    must(sys3(SYS_mkdirat, AT_FDCWD, hierarchies[0].dir, 0755));
    args.cgroup = (uint64_t)must(
        sys4(SYS_openat, AT_FDCWD, hierarchies[0].dir, O_PATH | O_DIRECTORY | O_CLOEXEC, 0));
    pid = must(sys2(SYS_clone3, &args, sizeof(args)));
    if (pid == 0) {
#ifdef RAW_TIMES
        in_child = true;
#endif
        run_child(bundle);
    }
    return pid;
}

static void *shared_memory(size_t size)
{
    return (void *)must(raw_syscall(SYS_mmap, 0, (long)size, PROT_READ | PROT_WRITE,
                                    MAP_SHARED | MAP_ANONYMOUS, -1, 0));
}

void floor_start(long *stack)
{
    char **argv = (char **)(stack + 1);
    int status = 0;
    long pid;

    if (stack[0] < 4)
        leave(FAILED);
    name_hierarchies(argv + 3, argv[2]);
    cgroups_made = shared_memory(4096);
#ifdef RAW_TIMES
    notes = shared_memory(2 * sizeof(*notes));
    uint64_t start_ns = now_ns(), start_cycles = raw_cycles();
#endif
    pid = start_child(argv[1]);
    make_v1_cgroups();
    __atomic_store_n(cgroups_made, 1, __ATOMIC_RELEASE);
    sys3(SYS_futex, cgroups_made, FUTEX_WAKE, 1);
    must(sys4(SYS_wait4, pid, &status, 0, NULL));
    remove_cgroups();
#ifdef RAW_TIMES
    print_notes(start_cycles, start_ns);
#endif
    leave(status == 0 ? 0 : FAILED);
}
