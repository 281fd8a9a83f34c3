/* SPDX-License-Identifier: Apache-2.0 */
/*
 * System calls without a C library, for the programs of this folder that must make no call but
 * their own. sysN(number, arguments) gives the kernel's answer: -errno on failure. RAW_START(f)
 * makes f(stack) the program's entry, with stack[0] being argc and argv behind it. x86-64 and
 * arm64; build with
 *
 *     -O2 -static -nostdlib -fno-stack-protector -fno-tree-loop-distribute-patterns
 *
 * (the last keeps gcc from turning a copying loop into a call of memcpy, which nobody here
 * provides).
 *
 * With RAW_TIMES defined each call is timed by the cycle counter and handed to note_call(), which
 * the program then defines.
 */
#ifndef BENCH_RAWSYS_H
#define BENCH_RAWSYS_H

#include <stdint.h>
#include <sys/syscall.h>

#if defined(__x86_64__)
static inline long raw_syscall(long nr, long a, long b, long c, long d, long e, long f)
{
    register long r10 __asm__("r10") = d;
    register long r8 __asm__("r8") = e;
    register long r9 __asm__("r9") = f;
    long result;

    __asm__ volatile("syscall"
                     : "=a"(result)
                     : "a"(nr), "D"(a), "S"(b), "d"(c), "r"(r10), "r"(r8), "r"(r9)
                     : "rcx", "r11", "memory");
    return result;
}

static inline uint64_t raw_cycles(void)
{
    uint32_t low, high;

    __asm__ volatile("rdtscp" : "=a"(low), "=d"(high) : : "rcx", "memory");
    return (uint64_t)high << 32 | low;
}

/* System V ABI for AMD64, 3.4.1: at entry rsp points at argc. */
#define RAW_START(f)                                                                         \
    __asm__(".globl _start\n_start:\n\txor %ebp, %ebp\n\tmov %rsp, %rdi\n\tand $-16, %rsp\n" \
            "\tcall " #f "\n\thlt\n")
#elif defined(__aarch64__)
static inline long raw_syscall(long nr, long a, long b, long c, long d, long e, long f)
{
    register long x8 __asm__("x8") = nr;
    register long x0 __asm__("x0") = a;
    register long x1 __asm__("x1") = b;
    register long x2 __asm__("x2") = c;
    register long x3 __asm__("x3") = d;
    register long x4 __asm__("x4") = e;
    register long x5 __asm__("x5") = f;

    __asm__ volatile("svc #0"
                     : "+r"(x0)
                     : "r"(x8), "r"(x1), "r"(x2), "r"(x3), "r"(x4), "r"(x5)
                     : "memory");
    return x0;
}

static inline uint64_t raw_cycles(void)
{
    uint64_t value;

    __asm__ volatile("isb\n\tmrs %0, cntvct_el0" : "=r"(value) : : "memory");
    return value;
}

/* Linux on arm64 enters a program with sp pointing at argc. */
#define RAW_START(f) \
    __asm__(".globl _start\n_start:\n\tmov x29, #0\n\tmov x0, sp\n\tbl " #f "\n\tbrk #0\n")
#else
#error "bench/rawsys.h knows x86-64 and arm64 only"
#endif

#ifdef RAW_TIMES
/*
 * The call `name` (as the source spells it, "SYS_mount") with its first three arguments ran from
 * begin to end, in cycles.
 */
static void note_call(const char *name, long nr, long a, long b, long c, uint64_t begin,
                      uint64_t end);

static inline long timed_syscall(const char *name, long nr, long a, long b, long c, long d, long e)
{
    uint64_t begin = raw_cycles();
    long result = raw_syscall(nr, a, b, c, d, e, 0);

    /* clone3 returns twice; the parent's return is the one to note. */
    if (nr != SYS_clone3 || result != 0)
        note_call(name, nr, a, b, c, begin, raw_cycles());
    return result;
}
#define RAW_CALL(name, nr, a, b, c, d, e) \
    timed_syscall(name, nr, (long)(a), (long)(b), (long)(c), (long)(d), (long)(e))
#else
#define RAW_CALL(name, nr, a, b, c, d, e) \
    raw_syscall(nr, (long)(a), (long)(b), (long)(c), (long)(d), (long)(e), 0)
#endif

#define sys0(nr) RAW_CALL(#nr, nr, 0, 0, 0, 0, 0)
#define sys1(nr, a) RAW_CALL(#nr, nr, a, 0, 0, 0, 0)
#define sys2(nr, a, b) RAW_CALL(#nr, nr, a, b, 0, 0, 0)
#define sys3(nr, a, b, c) RAW_CALL(#nr, nr, a, b, c, 0, 0)
#define sys4(nr, a, b, c, d) RAW_CALL(#nr, nr, a, b, c, d, 0)
#define sys5(nr, a, b, c, d, e) RAW_CALL(#nr, nr, a, b, c, d, e)

#endif
