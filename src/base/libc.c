/* SPDX-License-Identifier: Apache-2.0 */
/*
 * What differs between the two C libraries that teca is built with.
 *
 * The static program is linked with musl (Debian's musl-dev), the dynamic one, the tests and other
 * architectures with glibc. musl starts in 2 system calls; a static glibc makes 13 and asks the
 * processor for its features 68 times, which a virtual machine answers in 0.3 to 0.4 ms: a sixth of a container start.
 * Debian's archives are compiled against glibc's headers. All that
 * their objects want and musl lacks are the three checked functions below, which the compiler puts in for _FORTIFY_SOURCE;
 * everything else they share is the kernel's or the psABI's.
 */
#include "base/base.h"
#include "base/internal.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#ifdef __GLIBC__

/* strerrordesc_np (glibc 2.32) reads a constant table; strerror may translate and allocate. */
const char *base_reason(int errnum)
{
    return strerrordesc_np(errnum);
}

#else

/* musl's strerror reads a constant table and never returns NULL. */
const char *base_reason(int errnum)
{
    return strerror(errnum);
}

int __fprintf_chk(FILE *file, int level, const char *fmt, ...);
int __sprintf_chk(char *buf, int level, size_t room, const char *fmt, ...);
void *__memcpy_chk(void *to, const void *from, size_t len, size_t room);

int __fprintf_chk(FILE *file, int level, const char *fmt, ...)
{
    va_list ap;
    int n;

    (void)level;
    va_start(ap, fmt);
    n = vfprintf(file, fmt, ap);
    va_end(ap);
    return n;
}

int __sprintf_chk(char *buf, int level, size_t room, const char *fmt, ...)
{
    va_list ap;
    int n;

    (void)level;
    va_start(ap, fmt);
    n = vsnprintf(buf, room, fmt, ap);
    va_end(ap);
    if (n < 0 || (size_t)n >= room)
        abort();
    return n;
}

void *__memcpy_chk(void *to, const void *from, size_t len, size_t room)
{
    if (len > room)
        abort();
    return memcpy(to, from, len);
}

#endif
