/* SPDX-License-Identifier: Apache-2.0 */
#include "cmd.h"

#include <errno.h>
#include <fcntl.h>
#include <linux/magic.h>
#include <string.h>
#include <sys/vfs.h>
#include <unistd.h>

/* Without cgroup v1 anywhere: the container then gets a cgroup namespace, as with runc spec. */
static bool is_cgroup_v2_only(void)
{
    struct statfs fs;

    return statfs("/sys/fs/cgroup", &fs) == 0 && fs.f_type == CGROUP2_SUPER_MAGIC;
}

int cmd_spec(const struct cmd *c, int *status, struct err *e)
{
    const struct spec_default_options options = {
        .rootless = c->o.rootless_spec,
        .uid = geteuid(),
        .gid = getegid(),
        .cgroup_namespace = is_cgroup_v2_only(),
    };
    const char *bundle = c->o.container.bundle ? c->o.container.bundle : ".";
    AUTO_FREE char *text = NULL;
    AUTO_FD int dir_fd = -1;
    AUTO_FD int fd = -1;
    int r;

    (void)status;
    dir_fd = open(bundle, O_PATH | O_DIRECTORY | O_CLOEXEC);
    if (dir_fd < 0)
        return err_set(e, errno, "cannot open the bundle '%s'", bundle);
    fd = openat(dir_fd, "config.json", O_WRONLY | O_CREAT | O_EXCL | O_CLOEXEC, 0666);
    if (fd < 0 && errno == EEXIST)
        return err_set(e, 0, "File config.json exists. Remove it first");
    if (fd < 0)
        return err_set(e, errno, "cannot create config.json in '%s'", bundle);
    text = spec_default(&options);
    r = fd_write_all(fd, text, strlen(text));
    if (r < 0) {
        (void)unlinkat(dir_fd, "config.json", 0); /* half a config.json is worse than none */
        return err_set(e, -r, "cannot write config.json in '%s'", bundle);
    }
    return 0;
}
