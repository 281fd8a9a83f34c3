/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The two processes of a machine on our own monitor, without the container's: the file server with a client that lies, the
 * machine with a kernel of a few instructions, and what each kind of thread may call.
 */
#include "unit.h"

#include "container/machine.h"
#include "container/machine_jail.h"

#include <elf.h>
#include <linux/fuse.h>
#include <poll.h>
#include <sched.h>
#include <signal.h>
#include <sys/mman.h>
#include <sys/mount.h>
#include <sys/prctl.h>
#include <sys/resource.h>
#include <sys/socket.h>
#include <sys/syscall.h>

#if defined(__x86_64__) && !defined(__SANITIZE_ADDRESS__)

static char top[UNIT_PATH_SIZE], dir[UNIT_PATH_SIZE + 8];

static void need_root(void)
{
    if (geteuid() != 0)
        unit_skip("machines are root's");
}

/* The shared directory is a mount, as in a monitor, and in a mount namespace of this program's own. */
static int set_up(void **state)
{
    (void)state;
    if (geteuid() != 0)
        return 0;
    unit_dir(top);
    base_format(dir, sizeof(dir), "%s/dir", top);
    assert_int_equal(mkdir(dir, 0755), 0);
    assert_int_equal(unshare(CLONE_NEWNS), 0);
    assert_int_equal(mount(NULL, "/", NULL, MS_REC | MS_PRIVATE, NULL), 0);
    assert_int_equal(mount("tmpfs", dir, "tmpfs", 0, "mode=755"), 0);
    return 0;
}

static int tear_down(void **state)
{
    (void)state;
    if (geteuid() != 0)
        return 0;
    umount2(dir, MNT_DETACH);
    unit_remove(top);
    return 0;
}

static int end_of(pid_t pid)
{
    int status = 0;

    assert_int_equal(waitpid(pid, &status, 0), pid);
    return status;
}

static pid_t only_child(void)
{
    char path[64], text[64] = "";
    int fd;

    base_format(path, sizeof(path), "/proc/self/task/%d/children", getpid());
    fd = open(path, O_RDONLY | O_CLOEXEC);
    assert_true(read(fd, text, sizeof(text) - 1) > 0);
    close(fd);
    return atoi(text);
}

/* ---- the root of a program that is not ours -------------------------------------------------------- */

static void make_file(const char *path, mode_t mode)
{
    char text[UNIT_PATH_SIZE + 64];

    base_format(text, sizeof(text), "%s/%s", top, path);
    for (char *at = text + strlen(top) + 1; (at = strchr(at, '/')); at++) {
        *at = 0;
        assert_true(mkdir(text, 0755) == 0 || errno == EEXIST);
        *at = '/';
    }
    close(open(text, O_WRONLY | O_CREAT | O_CLOEXEC, mode));
}

/* With that flag of open(2): 0, or errno. */
static int open_there(const char *in, const char *path, int flags)
{
    char text[2 * UNIT_PATH_SIZE + 64];
    int fd;

    base_format(text, sizeof(text), "%s%s/%s", dir, in, path);
    fd = open(text, flags | O_CLOEXEC, 0644);
    if (fd >= 0)
        close(fd);
    return fd < 0 ? errno : 0;
}

static void a_program_of_another_place_has_what_lies_beside_it_and_writes_nothing(void **state)
{
    static const char *const data[] = { "share/qemu", "share/absent", NULL };
    static const char *const there[] = { "opt/bin/prog", "opt/lib/its.so", "opt/share/qemu/rom" };
    static const char *const hidden[] = { "opt/bin/other", "opt/share/more", "opt/etc" };
    char program[UNIT_PATH_SIZE + 16];
    struct err e = { 0 };
    int root;

    (void)state;
    need_root();
    for (size_t i = 0; i < COUNT_OF(there); i++)
        make_file(there[i], 0755);
    for (size_t i = 0; i < COUNT_OF(hidden); i++)
        make_file(hidden[i], 0644);
    base_format(program, sizeof(program), "%s/opt/bin/prog", top);
    root = jail_mount_root(dir, program, data, &e);
    if (root < 0)
        fail_msg("%s", e.text);
    for (size_t i = 0; i < COUNT_OF(there); i++) {
        unit_row(there[i], open_there(top, there[i], O_RDONLY) == 0);
        unit_row(there[i], open_there(top, there[i], O_WRONLY) == EROFS);
    }
    for (size_t i = 0; i < COUNT_OF(hidden); i++)
        unit_row(hidden[i], open_there(top, hidden[i], O_RDONLY) == ENOENT);
    assert_int_equal(open_there("", "etc/ld.so.cache", O_RDONLY), 0);
    assert_int_equal(open_there("", "etc/passwd", O_RDONLY), ENOENT);
    assert_int_equal(open_there("", "usr/lib/new", O_WRONLY | O_CREAT), EROFS);
    assert_int_equal(open_there("", "before", O_WRONLY | O_CREAT), 0);
    assert_int_equal(jail_seal_root(root, &e), 0);
    assert_int_equal(open_there("", "behind", O_WRONLY | O_CREAT), EROFS);
    assert_true(jail_mount_root(dir, "/absent", data, &e) < 0);
    assert_non_null(strstr(e.text, "/absent"));
    close(root);
    umount2(dir, MNT_DETACH);
    umount2(dir, MNT_DETACH);
}

static void nobody_goes_to_jail_with_the_containers_own_stdio(void **state)
{
    int status = 0;
    pid_t pid;

    (void)state;
    need_root();
    pid = fork();
    if (pid == 0) /* to where there is no /dev/null */
        _exit(chroot(dir) == 0 && jail_keep_fds(NULL, 0, NULL) == -ENOENT ? 0 : 1);
    assert_int_equal(waitpid(pid, &status, 0), pid);
    assert_int_equal(status, 0);
}

/* ---- the file server ------------------------------------------------------------------------------- */

static struct {
    int sock;
    uint8_t *slots;
    pid_t pid;
} server;

static void start_server(void)
{
    static int values[3];
    struct slots s = { .value = values };
    const struct op_machine_files op = {
        .dir = dir, .memory_mib = 64, .out = 0, .out_memory = 1, .out_pid = 2
    };
    struct err e = { 0 };
    char path[UNIT_PATH_SIZE + 16];

    base_format(path, sizeof(path), "%s/hello", dir);
    close(open(path, O_WRONLY | O_CREAT | O_CLOEXEC, 0644));
    if (machine_serve_files(&op, &s, &e) < 0)
        fail_msg("%s", e.text);
    server.sock = values[0];
    server.slots = mmap(NULL, (size_t)MACHINE_SLOTS * VMM_SHARE_SLOT, PROT_READ | PROT_WRITE,
                        MAP_SHARED, values[1], 0);
    assert_ptr_not_equal(server.slots, MAP_FAILED);
    assert_true(ftruncate(values[1], 0) < 0); /* sealed: neither side loses it */
    close(values[1]);
    server.pid = values[2];
    assert_int_equal(server.pid, only_child());
}

static void end_server(void)
{
    munmap(server.slots, (size_t)MACHINE_SLOTS * VMM_SHARE_SLOT);
    close(server.sock);
    assert_int_equal(end_of(server.pid), 0);
}

/* One request of FUSE: its error, and the body of its reply. */
static int ask(uint32_t slot, uint32_t opcode, const void *body, uint32_t len, void *reply,
               size_t size)
{
    struct fuse_in_header in = { .len = (uint32_t)sizeof(in) + len, .opcode = opcode, .nodeid = 1 };
    struct vmm_share_request r = { .slot = slot, .len = in.len, .reply_len = 4096 };
    uint8_t *at = server.slots + (size_t)slot * VMM_SHARE_SLOT;
    struct vmm_share_reply said;
    struct fuse_out_header out;

    memcpy(at, &in, sizeof(in));
    memcpy(at + sizeof(in), body, len);
    assert_int_equal(send(server.sock, &r, sizeof(r), 0), sizeof(r));
    assert_int_equal(recv(server.sock, &said, sizeof(said), 0), sizeof(said));
    assert_int_equal(said.slot, slot);
    at += vmm_share_reply_at(r.len);
    memcpy(&out, at, sizeof(out));
    assert_int_equal(said.len, out.len);
    memcpy(reply, at + sizeof(out), size);
    return out.error;
}

static void the_server_answers_from_its_jail(void **state)
{
    struct fuse_init_in init = { .major = 7, .minor = 36 };
    struct fuse_init_out agreed;
    struct fuse_entry_out entry;
    char path[64], text[4096] = "", *at;
    int fd;

    (void)state;
    need_root();
    start_server();
    assert_int_equal(ask(0, FUSE_INIT, &init, sizeof(init), &agreed, sizeof(agreed)), 0);
    assert_int_equal(agreed.major, 7);
    for (uint32_t slot = 0; slot < MACHINE_SLOTS; slot++) /* more than it has threads */
        assert_int_equal(ask(slot, FUSE_LOOKUP, "hello", 6, &entry, sizeof(entry)), 0);
    assert_int_equal(entry.attr.mode, S_IFREG | 0644);
    assert_int_equal(ask(1, FUSE_LOOKUP, "..", 3, &entry, 0), -EINVAL);
    assert_int_equal(ask(1, FUSE_LOOKUP, "proc", 5, &entry, 0), -ENOENT);
    base_format(path, sizeof(path), "/proc/%d/status", server.pid);
    fd = open(path, O_RDONLY | O_CLOEXEC);
    assert_true(read(fd, text, sizeof(text) - 1) > 0);
    close(fd);
    at = strstr(text, "CapEff:");
    assert_non_null(at);
    /* CHOWN DAC_OVERRIDE FOWNER FSETID SETGID SETUID MKNOD SETFCAP */
    assert_int_equal(strtoull(at + 7, NULL, 16), 0x880000db);
    assert_non_null(strstr(text, "NoNewPrivs:\t1\nSeccomp:\t2\n"));
    end_server();
}

static void a_request_outside_of_its_slot_is_the_servers_end(void **state)
{
    static const struct vmm_share_request lies[] = {
        { MACHINE_SLOTS, 40, 40 }, { UINT32_MAX, 40, 40 },    { 0, VMM_SHARE_REQUEST_MAX + 1, 0 },
        { 0, UINT32_MAX, 0 },      { 0, 40, VMM_SHARE_SLOT }, { 0, 64, VMM_SHARE_SLOT - 63 },
        { 0, 40, UINT32_MAX },
    };
    char byte;

    (void)state;
    need_root();
    for (size_t i = 0; i <= COUNT_OF(lies); i++) {
        start_server();
        if (i < COUNT_OF(lies))
            assert_int_equal(send(server.sock, &lies[i], sizeof(lies[i]), 0), sizeof(lies[i]));
        else
            assert_int_equal(send(server.sock, "short", 5, 0), 5);
        assert_int_equal(recv(server.sock, &byte, 1, 0), 0);
        end_server();
    }
}

/* ---- the machine ----------------------------------------------------------------------------------- */

enum { LOAD = 2 << 20, RAM_MIB = 64 };

/* cld; mov $0x3f8, %edx; lea text(%rip), %rsi; mov $length, %ecx; rep outsb; then */
static int make_kernel(const char *text, const uint8_t *then, size_t then_len)
{
    struct {
        Elf64_Ehdr head;
        Elf64_Phdr segment;
        uint8_t code[4096];
    } k = { .head = { .e_ident = "\177ELF\2\1\1",
                      .e_type = ET_EXEC,
                      .e_machine = EM_X86_64,
                      .e_version = 1,
                      .e_entry = LOAD,
                      .e_phoff = sizeof(k.head),
                      .e_ehsize = sizeof(k.head),
                      .e_phentsize = sizeof(k.segment),
                      .e_phnum = 1 } };
    static const uint8_t say[] = { 0xfc, 0xba, 0xf8, 0x03, 0, 0, 0x48, 0x8d, 0x35 };
    uint32_t to_text = 7 + (uint32_t)then_len, len = (uint32_t)strlen(text);
    uint8_t *at = k.code;
    int fd = memfd_create("kernel", MFD_CLOEXEC);

    at = mempcpy(at, say, sizeof(say));
    at = mempcpy(at, &to_text, 4);
    *at++ = 0xb9;
    at = mempcpy(at, &len, 4);
    *at++ = 0xf3;
    *at++ = 0x6e;
    at = mempcpy(at, then, then_len);
    memcpy(at, text, len);
    k.segment = (Elf64_Phdr){ .p_type = PT_LOAD,
                              .p_flags = PF_R | PF_X,
                              .p_offset = offsetof(typeof(k), code),
                              .p_paddr = LOAD,
                              .p_filesz = sizeof(k.code),
                              .p_memsz = sizeof(k.code) };
    assert_int_equal(write(fd, &k, sizeof(k)), sizeof(k));
    return fd;
}

static const uint8_t power_off[] = { 0x66, 0xba, 0x00, 0x06, 0xb0, 0x34, 0xee, 0xf4 };
static const uint8_t fault[] = { 0x0f, 0x0b };
static const uint8_t spin[] = { 0xeb, 0xfe };

static struct {
    int port, console, files;
    pid_t pid;
} machine;
static int ram_mib = RAM_MIB;

static int image = -1; /* of the next machine */

static void start_machine(const char *text, const uint8_t *then, size_t then_len)
{
    static const char *const no_macs[] = { NULL };
    const struct op_machine_boot op = {
        .memory_mib = ram_mib, .cpus = 2, .command_line = "", .dir = dir, .macs = no_macs
    };
    int port[2], console[2], files[2];
    struct machine_wires w = { .kernel = make_kernel(text, then, then_len),
                               .initramfs = memfd_create("initramfs", MFD_CLOEXEC),
                               .memory = memfd_create("slots", MFD_CLOEXEC),
                               .image = image,
                               .system = -1 };
    struct err e = { 0 };

    if (access("/dev/kvm", R_OK | W_OK) < 0)
        unit_skip("there is no /dev/kvm that can be opened here");
    assert_int_equal(write(w.initramfs, "070701", 6), 6);
    assert_int_equal(ftruncate(w.memory, (off_t)MACHINE_SLOTS * VMM_SHARE_SLOT), 0);
    assert_int_equal(socketpair(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0, port), 0);
    assert_int_equal(socketpair(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0, console), 0);
    assert_int_equal(socketpair(AF_UNIX, SOCK_SEQPACKET | SOCK_CLOEXEC, 0, files), 0);
    w.port = port[1];
    w.console = console[1];
    w.files = files[1];
    machine.pid = machine_vmm_spawn(&op, &w, &e);
    if (machine.pid < 0)
        fail_msg("%s", e.text);
    machine.port = port[0];
    machine.console = console[0];
    machine.files = files[0];
    for (size_t i = 0; i < 6; i++)
        close(((int[]){ w.kernel, w.initramfs, w.memory, port[1], console[1], files[1] })[i]);
}

/* Up to the end of its console, or until it ends with `until`. */
static const char *listen_to_it(const char *until)
{
    static char text[4096];
    size_t len = 0;
    ssize_t n;

    memset(text, 0, sizeof(text));
    alarm(60);
    while (!(until && strstr(text, until)) &&
           (n = recv(machine.console, text + len, sizeof(text) - 1 - len, 0)) > 0)
        len += (size_t)n;
    alarm(0);
    return text;
}

static int end_machine(void)
{
    int status = end_of(machine.pid);

    close(machine.port);
    close(machine.console);
    close(machine.files);
    return status;
}

static void a_machine_ends_as_its_guest_does_and_says_why(void **state)
{
    (void)state;
    need_root();
    start_machine("hello\n", power_off, sizeof(power_off));
    assert_string_equal(listen_to_it(NULL), "hello\n");
    assert_int_equal(end_machine(), 0);
    start_machine("oh\n", fault, sizeof(fault));
    assert_string_equal(listen_to_it(NULL),
                        "oh\n\nthe machine ended by triple-fault: cpu 0 met a triple fault\n");
    assert_int_equal(end_machine(), 0);
    start_machine("Kernel panic - not syncing: no root\r\n---[ end", fault, sizeof(fault));
    assert_non_null(strstr(listen_to_it(NULL), "---[ end\nKernel panic - not syncing: no root\n"));
    assert_int_equal(end_machine(), 0);
}

static void a_machine_ends_with_its_monitor_and_with_its_file_server(void **state)
{
    char path[64];

    (void)state;
    need_root();
    start_machine("up\n", spin, sizeof(spin));
    listen_to_it("up\n");
    base_format(path, sizeof(path), "/proc/%d/root/dir", machine.pid);
    assert_int_equal(access(path, F_OK),
                     -1); /* the root is empty: the test's own directory is not there */
    shutdown(machine.port, SHUT_RDWR);
    assert_string_equal(listen_to_it(NULL), "");
    assert_int_equal(end_machine(), 0);
    start_machine("up\n", spin, sizeof(spin));
    listen_to_it("up\n");
    shutdown(machine.files, SHUT_RDWR);
    assert_string_equal(listen_to_it(NULL), "\nthe machine's file server has ended\n");
    assert_int_equal(end_machine(), 0);
    start_machine("up\n", spin, sizeof(spin));
    listen_to_it("up\n");
    assert_int_equal(send(machine.files, "cannot do it", 12, 0), 12);
    assert_string_equal(listen_to_it(NULL), "\ncannot do it\n");
    assert_int_equal(end_machine(), 0);
    start_machine("up\n", spin, sizeof(spin));
    listen_to_it("up\n");
    assert_int_equal(send(machine.files, &(struct vmm_share_reply){ 3, 0 }, 8, 0), 8);
    assert_string_equal(listen_to_it(NULL), "\nthe machine's file server: Protocol error\n");
    assert_int_equal(end_machine(), 0);
}

/*
 * Accesses as in tests/unit/vmm/test_guest_virtio.c, from behind the code on: 4 and 8 write, 0x24 waits for 16 bits, and
 * what is none powers off.
 */
__asm__(".pushsection .rodata\n.balign 16\nfollow:\n.code64\n lea follow_end(%rip), %rsi\n"
        "1: mov (%rsi), %rax\n mov 8(%rsi), %rdi\n mov 16(%rsi), %rcx\n"
        "cmp $4, %rax\n jne 2f\n mov %ecx, (%rdi)\n jmp 9f\n"
        "2: cmp $8, %rax\n jne 2f\n mov %rcx, (%rdi)\n jmp 9f\n"
        "2: cmp $0x24, %rax\n jne 8f\n 3: pause\n cmp %cx, (%rdi)\n jne 3b\n"
        "9: add $24, %rsi\n jmp 1b\n"
        "8: mov $0x600, %dx\n mov $0x34, %al\n out %al, %dx\n hlt\nfollow_end:\n.popsection\n");
extern const uint8_t follow[], follow_end[];

#define IMAGE_GPA (UINT64_C(4) << 30)
#define FIRST_PDPT UINT64_C(0xa000) /* of the tables that a start makes (arch/x86.c): four GiB */
#define MORE_PD (UINT64_C(1) << 20)
#define RINGS (UINT64_C(3) << 20)
#define DEVICE (VMM_VIRTIO_FIRST + VMM_SLOT_PMEM * VMM_VIRTIO_STRIDE)

/* A request of virtio-pmem whose words lie in the image (virtio 1.2 §4.2.2, §2.7, §5.19). */
static const uint64_t by_device[][3] = {
    { 4, DEVICE + 0x70, 0 },           { 4, DEVICE + 0x70, 3 },
    { 4, DEVICE + 0x24, 1 },           { 4, DEVICE + 0x20, 1 },
    { 4, DEVICE + 0x70, 0xb },         { 4, DEVICE + 0x30, 0 },
    { 4, DEVICE + 0x38, 8 },           { 4, DEVICE + 0x80, RINGS },
    { 4, DEVICE + 0x90, RINGS + 256 }, { 4, DEVICE + 0xa0, RINGS + 512 },
    { 4, DEVICE + 0x44, 1 },           { 4, DEVICE + 0x70, 0xf },
    { 8, RINGS, IMAGE_GPA + 0x2000 },  { 8, RINGS + 8, 4 | UINT64_C(1) << 32 | UINT64_C(1) << 48 },
    { 8, RINGS + 16, RINGS + 1024 },   { 8, RINGS + 24, 4 | UINT64_C(2) << 32 },
    { 4, RINGS + 256, 0x10000 },       { 4, DEVICE + 0x50, 0 },
};
static const uint64_t by_cpu[][3] = { { 0x24, IMAGE_GPA + 0x2000, 0 } };

/* When the image says 1 the accesses begin. */
static void start_with_image(const uint64_t (*accesses)[3], size_t n)
{
    static const uint64_t first[][3] = { { 8, FIRST_PDPT + 32, MORE_PD | 3 },
                                         { 8, MORE_PD, IMAGE_GPA | 0x83 },
                                         { 0x24, IMAGE_GPA, 1 } };
    static const uint64_t last[3] = { 0 };
    uint8_t code[2048], *at = mempcpy(code, follow, (size_t)(follow_end - follow));

    at = mempcpy(at, first, sizeof(first));
    at = mempcpy(at, accesses, n * sizeof(*accesses));
    at = mempcpy(at, last, sizeof(last));
    image = memfd_create("image", MFD_CLOEXEC);
    assert_int_equal(ftruncate(image, 0x3000), 0);
    start_machine("up\n", code, (size_t)(at - code));
    listen_to_it("up\n");
}

static void a_machine_whose_image_is_cut_ends_and_says_so(void **state)
{
    static const struct {
        const uint64_t (*accesses)[3];
        size_t n;
        off_t size;
        const char *said;
    } rows[] = {
        { by_cpu, COUNT_OF(by_cpu), 0x3000, "" },
        { by_device, COUNT_OF(by_device), 0x3000, "" },
        { by_cpu, COUNT_OF(by_cpu), 0x1000, "\nthe machine ended by fault: " VMM_LOST_FILE "\n" },
        { by_device, COUNT_OF(by_device), 0x1000,
          "\nthe machine ended by fault: " VMM_LOST_FILE "\n" },
    };

    (void)state;
    need_root();
    for (size_t i = 0; i < COUNT_OF(rows); i++) {
        start_with_image(rows[i].accesses, rows[i].n);
        assert_int_equal(ftruncate(image, rows[i].size), 0);
        assert_int_equal(pwrite(image, "\1", 1, 0), 1);
        assert_string_equal(listen_to_it(NULL), rows[i].said);
        assert_int_equal(end_machine(), 0);
        close(image);
        image = -1;
    }
}

static void a_machine_that_cannot_be_built_says_why(void **state)
{
    (void)state;
    need_root();
    ram_mib = 1;
    start_machine("hello\n", power_off, sizeof(power_off));
    ram_mib = RAM_MIB;
    assert_string_equal(listen_to_it(NULL),
                        "\nthe kernel wants 1 MiB of memory at 2 MiB, the machine has 1 MiB "
                        "(vm.hwConfig.memory, or a higher memory limit, gives it more)\n");
    assert_int_equal(end_machine(), 0);
}

/* ---- what may be called ---------------------------------------------------------------------------- */

static bool is_allowed(enum jail_list list, long call)
{
    pid_t pid = fork();
    int status;

    if (pid == 0) {
        struct rlimit no_core = { 0, 0 };

        for (int number = 1; number < NSIG; number++) /* cmocka handles some */
            signal(number, SIG_DFL);
        setrlimit(RLIMIT_CORE, &no_core);
        prctl(PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0);
        if (jail_filter(list) < 0)
            _exit(99);
        syscall(call, -1L, -1L, -1L, -1L, -1L, -1L);
        syscall(SYS_exit, 0);
    }
    assert_true(pid > 0);
    status = end_of(pid);
    assert_false(WIFEXITED(status) && WEXITSTATUS(status) == 99);
    return !(WIFSIGNALED(status) && WTERMSIG(status) == SIGSYS);
}

static void a_thread_may_call_what_is_on_its_list(void **state)
{
    static const struct {
        enum jail_list list;
        unsigned most; /* ioctl is one more: these arguments are none of KVM's */
    } rows[] = { { JAIL_CPU, 19 },
                 { JAIL_IO, 20 },
                 { JAIL_RELAY, 28 },
                 { JAIL_RUNNER, 32 },
                 { JAIL_SERVER, 60 } };
    static const long never[] = { SYS_execve,        SYS_ptrace,     SYS_socket,
                                  SYS_connect,       SYS_mount,      SYS_setns,
                                  SYS_unshare,       SYS_bpf,        SYS_ioctl,
                                  SYS_kill,          SYS_pidfd_open, SYS_process_vm_writev,
                                  SYS_io_uring_setup };
    enum { CALLS = 470 };

    (void)state;
    for (size_t i = 0; i < COUNT_OF(rows); i++) {
        unsigned n = 0;

        for (long call = 0; call < CALLS; call++)
            n += is_allowed(rows[i].list, call);
        if (n > rows[i].most || n < 10)
            fail_msg("list %d allows %u calls", rows[i].list, n);
        for (size_t k = 0; k < COUNT_OF(never); k++)
            if (is_allowed(rows[i].list, never[k]))
                fail_msg("list %d allows call %ld", rows[i].list, never[k]);
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(a_program_of_another_place_has_what_lies_beside_it_and_writes_nothing),
        cmocka_unit_test(nobody_goes_to_jail_with_the_containers_own_stdio),
        cmocka_unit_test(the_server_answers_from_its_jail),
        cmocka_unit_test(a_request_outside_of_its_slot_is_the_servers_end),
        cmocka_unit_test(a_machine_ends_as_its_guest_does_and_says_why),
        cmocka_unit_test(a_machine_ends_with_its_monitor_and_with_its_file_server),
        cmocka_unit_test(a_machine_whose_image_is_cut_ends_and_says_so),
        cmocka_unit_test(a_machine_that_cannot_be_built_says_why),
        cmocka_unit_test(a_thread_may_call_what_is_on_its_list),
    };

    return cmocka_run_group_tests(tests, set_up, tear_down);
}

#else

/* A sanitizer makes calls that are on no list; an emulator of user programs has no seccomp(2). */
static void a_jail_wants_a_program_of_its_own(void **state)
{
    (void)state;
    unit_skip("the processes of a machine are those of the real program on x86-64");
}

int main(void)
{
    const struct CMUnitTest tests[] = { cmocka_unit_test(a_jail_wants_a_program_of_its_own) };

    return cmocka_run_group_tests(tests, NULL, NULL);
}

#endif
