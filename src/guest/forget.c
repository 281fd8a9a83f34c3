/* SPDX-License-Identifier: Apache-2.0 */
#include <errno.h>
#include <fcntl.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "guest/internal.h"

/* Documentation/admin-guide/sysctl/fs.rst: inodes that are allocated, and those of them that are free. */
static uint64_t count_inodes(void)
{
    char text[64] = "";
    AUTO_FD int fd = openat(AT_FDCWD, "/proc/sys/fs/inode-nr", O_RDONLY | O_CLOEXEC);

    if (fd < 0 || read(fd, text, sizeof text - 1) < 0)
        return 0;
    return strtoull(text, NULL, 10);
}

int forget_init(struct forget *f, const char *word, struct err *e)
{
    char *end;

    *f = (struct forget){ .fewest = UINT64_MAX };
    if (!word)
        return 0;
    f->most = strtoull(word, &end, 10);
    return f->most == 0 || *end ? err_set(e, EINVAL, "%s=%s is no number of files", MUX_FILES, word)
                                : 0;
}

/*
 * Other file systems' inodes count too, but what they have is not forgotten: so it is not how many there are that matters,
 * but how many have come. Half of them, for files that are open are not forgotten either.
 */
bool forget_is_due(struct forget *f, uint64_t inodes)
{
    if (inodes < f->fewest)
        f->fewest = inodes;
    return inodes - f->fewest > f->most / 2;
}

/* Documentation/admin-guide/sysctl/vm.rst: 3 is pages, which keep inodes, and inodes; 4 no line in the log for each time. */
static void drop_caches(const char *what)
{
    (void)file_write_once(AT_FDCWD, "/proc/sys/vm/drop_caches", what, 1);
}

void forget_some(struct forget *f)
{
    if (!forget_is_due(f, count_inodes()))
        return;
    drop_caches("4");
    drop_caches("3");
    f->fewest = count_inodes();
}
