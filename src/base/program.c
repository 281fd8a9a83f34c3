/* SPDX-License-Identifier: Apache-2.0 */
/* Helpers of the host that teca executes: newuidmap(1), criu(8). */
#include <fcntl.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "base/base.h"

static const char *program_in(struct arena *a, const char *dir, size_t len, const char *name)
{
    const char *path = arena_format(a, "%.*s/%s", (int)len, dir, name);

    return faccessat(AT_FDCWD, path, X_OK, AT_EACCESS) == 0 ? path : NULL;
}

/*
 * An engine may have left no PATH at all. Only absolute entries count, for the current directory is
 * the bundle and that is the image's maker's.
 */
const char *program_find(struct arena *a, const char *name)
{
    static const char usual[] = "/usr/bin:/bin:/usr/local/bin:/usr/sbin:/sbin";
    const char *lists[] = { getenv("PATH"), usual };

    for (size_t i = 0; i < COUNT_OF(lists); i++) {
        for (const char *at = lists[i]; at && *at;) {
            size_t len = strcspn(at, ":");
            const char *found = *at == '/' ? program_in(a, at, len, name) : NULL;

            if (found)
                return found;
            at += len + (at[len] == ':');
        }
    }
    return NULL;
}
