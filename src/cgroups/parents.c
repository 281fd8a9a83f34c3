/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The cgroups between the root of a hierarchy and the container's. Two containers may share one that
 * the first of them made, and the last of them removes it: so it carries a mark, an extended
 * attribute, which travels with the directory and with nobody's state. An engine's own cgroup has
 * none, and stays.
 */
#include <errno.h>
#include <string.h>
#include <sys/stat.h>
#include <sys/xattr.h>
#include <unistd.h>

#include "cgroups/internal.h"

/* kernfs has both (user: v2, Linux 5.7); root of a user namespace may only set the second. */
static const char *const marks[] = { "trusted.teca", "user.teca" };

enum { PATH_SIZE = 4096 };

void parents_mark(const char *path)
{
    /* Without it the cgroup goes with the container that made it, or not at all. */
    if (setxattr(path, marks[0], "1", 1, 0) < 0)
        (void)setxattr(path, marks[1], "1", 1, 0);
}

static bool is_marked(const char *path)
{
    return getxattr(path, marks[0], NULL, 0) > 0 || getxattr(path, marks[1], NULL, 0) > 0;
}

/* The parent of the path in place; false: there is none. */
static bool climb(char *path)
{
    char *slash = strrchr(path, '/');

    if (!slash || slash == path)
        return false;
    *slash = '\0';
    return true;
}

void parents_remove(const char *path)
{
    char parent[PATH_SIZE];

    if (base_format(parent, sizeof parent, "%s", path) >= sizeof parent)
        return;
    /* EBUSY: another container's cgroup is there, and its end will come by here. */
    while (climb(parent) && is_marked(parent) && rmdir(parent) == 0)
        ;
}

int parents_make(const char *path, int (*fill)(const char *dir, void *arg), void *arg)
{
    char part[PATH_SIZE];

    if (base_format(part, sizeof part, "%s", path) >= sizeof part)
        return -ENAMETOOLONG;
    for (char *at = strchr(part + 1, '/'); at; at = strchr(at + 1, '/')) {
        int r = 0;

        *at = '\0';
        if (mkdir(part, 0755) == 0)
            parents_mark(part);
        else if (errno != EEXIST)
            r = -errno;
        if (r == 0)
            r = fill(part, arg);
        *at = '/';
        if (r < 0)
            return r;
    }
    return 0;
}
