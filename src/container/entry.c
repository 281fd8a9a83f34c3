/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The entry point of the program, before the C library: the usual case of container_seal with raw
 * system calls, so that the C library starts once for a container instead of twice (12 system
 * calls and about 100 us). Whatever is unusual is left to container_seal, which has sentences.
 *
 * At this point there is no thread pointer, no relocation of ifuncs, no errno: nothing of the C
 * library may be called, and the stack protector is off for this file's functions.
 */
#include <asm/unistd.h>
#include <fcntl.h>
#include <sys/statvfs.h>
#include <sys/vfs.h>

#include "container/internal.h"

bool seal_is_done;

/* Called from the assembly below only. */
void teca_before_libc(long *stack);

#ifdef __clang__ /* clang reads the code for lint and fuzzing only */
#define BARE __attribute__((no_stack_protector))
#else
#define BARE __attribute__((no_stack_protector, optimize("no-tree-loop-distribute-patterns")))
#endif

#if defined(__x86_64__)
__asm__(".globl teca_start\n"
        "teca_start:\n"
        "    mov %rsp, %rdi\n"
        "    push %rdx\n" /* the dynamic loader's exit function */
        "    sub $8, %rsp\n"
        "    call teca_before_libc\n"
        "    add $8, %rsp\n"
        "    pop %rdx\n"
        "    jmp _start\n");

static inline BARE long raw(long n, long a, long b, long c, long d, long e)
{
    register long r10 __asm__("r10") = d;
    register long r8 __asm__("r8") = e;
    long r;

    __asm__ volatile("syscall"
                     : "=a"(r)
                     : "a"(n), "D"(a), "S"(b), "d"(c), "r"(r10), "r"(r8)
                     : "rcx", "r11", "memory");
    return r;
}
#elif defined(__aarch64__)
__asm__(".globl teca_start\n"
        "teca_start:\n"
        "    mov x19, x0\n"
        "    mov x0, sp\n"
        "    bl teca_before_libc\n"
        "    mov x0, x19\n"
        "    b _start\n");

static inline BARE long raw(long n, long a, long b, long c, long d, long e)
{
    register long x8 __asm__("x8") = n;
    register long x0 __asm__("x0") = a;
    register long x1 __asm__("x1") = b;
    register long x2 __asm__("x2") = c;
    register long x3 __asm__("x3") = d;
    register long x4 __asm__("x4") = e;

    __asm__ volatile("svc 0" : "+r"(x0) : "r"(x8), "r"(x1), "r"(x2), "r"(x3), "r"(x4) : "memory");
    return x0;
}
#else
#error "write teca_start for this machine, or link with the C library's own entry point"
#endif

static BARE bool same(const char *a, const char *b)
{
    while (*a && *a == *b) {
        a++;
        b++;
    }
    return *a == *b;
}

/*
 * A verb that enters a container may be meant. Wrong guesses (a container called "run") are
 * harmless: such a start is sealed without need.
 */
static BARE bool enters_a_container(char *const *argv)
{
    for (int i = 1; argv[0] && argv[i]; i++)
        if (same(argv[i], "run") || same(argv[i], "create") || same(argv[i], "exec"))
            return true;
    return false;
}

BARE void teca_before_libc(long *stack)
{
    static const char self[] = "/proc/self/exe";
    static struct mount_attr read_only = { .attr_set = MOUNT_ATTR_RDONLY };
    static struct statfs fs;
    char **argv = (char **)(stack + 1), **envp = argv + stack[0] + 1;
    long tree;

    if (!enters_a_container(argv) || raw(__NR_statfs, (long)self, (long)&fs, 0, 0, 0) < 0)
        return;
    seal_is_done = fs.f_flags & ST_RDONLY;
    if (seal_is_done)
        return;
    tree = raw(__NR_open_tree, AT_FDCWD, (long)self, OPEN_TREE_CLONE | OPEN_TREE_CLOEXEC, 0, 0);
    if (tree < 0)
        return;
    if (raw(__NR_mount_setattr, tree, (long)"", AT_EMPTY_PATH, (long)&read_only,
            sizeof read_only) == 0)
        raw(__NR_execveat, tree, (long)"", (long)argv, (long)envp, AT_EMPTY_PATH);
    raw(__NR_close, tree, 0, 0, 0, 0);
}
