/* SPDX-License-Identifier: Apache-2.0 */
#ifndef TECA_UNIT_H
#define TECA_UNIT_H
/*
 * What every unit test starts with: cmocka in the order in which it must be included, an arena, a
 * directory of its own, a skip that says why, and a plan under construction.
 */
#include "base/base.h"

#include <errno.h>
#include <fcntl.h>
#include <fts.h>
#include <setjmp.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <unistd.h>

#include <cmocka.h>

/* Ends the test as skipped; CI takes it for a failure unless scripts/ci-allowed-skips names it. */
#define unit_skip(reason)              \
    do {                               \
        print_message("%s\n", reason); \
        skip();                        \
    } while (0)

/* qemu-user 7.2 (Debian 12), under which the arm64 tests run, has neither of the two. */
static inline bool unit_has_openat2(void)
{
    struct open_how how = { .flags = O_PATH };

    return sys_openat2(AT_FDCWD, "/", &how) >= 0 || errno != ENOSYS;
}

static inline bool unit_has_clone3(void)
{
    sys_clone3(NULL, 0);
    return errno != ENOSYS;
}

/* ---- the test program's arena: always the same one; arena_release() empties it ------------- */

static inline struct arena *unit_arena(void)
{
    static struct arena arena; /* a zeroed arena is an empty one */

    return &arena;
}

/* ---- a directory of its own ---------------------------------------------------------------- */

enum { UNIT_PATH_SIZE = 128 };

/* fts(3) goes from directory to directory: the path of what lies deepest may be longer than PATH_MAX. */
static inline void unit_remove(const char *path)
{
    char *const paths[] = { (char *)(uintptr_t)path, NULL };
    FTS *tree = fts_open(paths, FTS_PHYSICAL | FTS_XDEV, NULL);
    FTSENT *entry;

    while (tree && (entry = fts_read(tree)))
        if (entry->fts_info != FTS_D)
            remove(entry->fts_accpath);
    if (tree)
        fts_close(tree);
}

static inline const char *unit_dir(char path[UNIT_PATH_SIZE])
{
    strcpy(path, "/tmp/teca-unit-XXXXXX");
    assert_non_null(mkdtemp(path));
    return path;
}

/* Asserts with the row's name when a table-driven test fails. */
#define unit_row(name, condition)                         \
    do {                                                  \
        if (!(condition))                                 \
            fail_msg("row '%s': %s", (name), #condition); \
    } while (0)

#endif
