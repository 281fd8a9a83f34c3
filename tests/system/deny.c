/* SPDX-License-Identifier: Apache-2.0 */
/*
 * deny ERRNO CALLS COMMAND...: the command under a seccomp filter which answers the system calls of
 * these numbers (by comma) with ERRNO, as an older kernel (ENOSYS) or the profile of a container
 * around it (EPERM) would. As root, so that no_new_privs stays as it is.
 */
#define _GNU_SOURCE
#include <linux/audit.h>
#include <linux/filter.h>
#include <linux/seccomp.h>
#include <stddef.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/syscall.h>
#include <unistd.h>

enum { MAX_CALLS = 32 };

int main(int argc, char **argv)
{
    struct sock_filter code[2 + 2 * MAX_CALLS];
    struct sock_fprog program = { .filter = code };
    unsigned short n = 0;
    char *at = argc > 3 ? argv[2] : "";

    code[n++] = (struct sock_filter)BPF_STMT(BPF_LD | BPF_W | BPF_ABS,
                                             offsetof(struct seccomp_data, nr));
    while (*at && n < 2 * MAX_CALLS) {
        unsigned nr = (unsigned)strtoul(at, &at, 10);

        code[n++] = (struct sock_filter)BPF_JUMP(BPF_JMP | BPF_JEQ | BPF_K, nr, 0, 1);
        code[n++] = (struct sock_filter)BPF_STMT(BPF_RET | BPF_K,
                                                 SECCOMP_RET_ERRNO | (unsigned)atoi(argv[1]));
        at += *at == ',';
    }
    code[n++] = (struct sock_filter)BPF_STMT(BPF_RET | BPF_K, SECCOMP_RET_ALLOW);
    program.len = n;
    if (argc < 4 || syscall(SYS_seccomp, SECCOMP_SET_MODE_FILTER, 0, &program) < 0) {
        perror("deny");
        return 125;
    }
    execv(argv[3], argv + 3);
    perror(argv[3]);
    return 125;
}
