/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The container's root as an image, or the machine's own: found by what the command line says of its device, mounted, and below an overlay,
 * since a container wants places for its mounts even where it may write nothing. What it writes is memory, and gone
 * with the machine.
 */
#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <stdlib.h>
#include <string.h>
#include <sys/ioctl.h>
#include <sys/mount.h>
#include <sys/stat.h>
#include <time.h>
#include <unistd.h>

#include "guest/internal.h"

enum { PATH_SIZE = 320, DEVICE_TRIES = 2000, TRY_NS = 1000000 };

/* linux/fs.h: not included, for it and sys/mount.h of older C libraries define the same names. */
#define SET_READ_ONLY _IO(0x12, 93) /* BLKROSET */

static bool has_serial(const char *disk, const char *serial)
{
    char path[PATH_SIZE];

    base_format(path, sizeof path, "/sys/block/%s/serial", disk);
    return system_says(path, serial);
}

static bool find_device(const char *name, char path[PATH_SIZE])
{
    bool is_pmem = str_eq(name, MUX_PMEM), found = false;
    DIR *dir = opendir("/sys/block");

    for (const struct dirent *entry; dir && !found && (entry = readdir(dir));) {
        found = is_pmem ? str_starts(entry->d_name, MUX_PMEM) : has_serial(entry->d_name, name);
        if (found)
            base_format(path, PATH_SIZE, "/dev/%s", entry->d_name);
    }
    if (dir)
        closedir(dir);
    return found && faccessat(AT_FDCWD, path, F_OK, 0) == 0;
}

/* A driver may look at its device some time after it was loaded. */
static int wait_for_device(const char *name, char path[PATH_SIZE], struct err *e)
{
    const struct timespec pause = { .tv_nsec = TRY_NS };

    for (int i = 0; i < DEVICE_TRIES; i++) {
        if (find_device(name, path))
            return 0;
        nanosleep(&pause, NULL);
    }
    return err_set(e, 0, "the machine has no device '%s' with its image", name);
}

/* So that no file system tries to repair it: what is written to such memory goes nowhere. */
static void set_read_only(const char *path)
{
    AUTO_FD int fd = openat(AT_FDCWD, path, O_RDONLY | O_CLOEXEC);
    int yes = 1;

    if (fd >= 0)
        (void)ioctl(fd, SET_READ_ONLY, &yes);
}

/* With the pages of the device itself where kernel and type can (DAX; erofs: Linux 5.15). */
static int mount_image(const char *device, const char *type, const char *at, struct err *e)
{
    const unsigned long flags = MS_RDONLY | MS_NOATIME;

    set_read_only(device);
    if (mkdir(at, 0700) < 0)
        return err_set(e, errno, "cannot make the directory '%s'", at);
    if (str_starts(device, "/dev/" MUX_PMEM) && mount(device, at, type, flags, "dax=always") == 0)
        return 0;
    return mount(device, at, type, flags, NULL) < 0
               ? err_set(e, errno, "cannot mount the image as %s", type)
               : 0;
}

/* The root directory of an overlay is that of its upper layer. */
static int make_upper(const struct image_places *at, struct err *e)
{
    char work[PATH_SIZE], upper[PATH_SIZE];
    struct stat st;

    base_format(work, sizeof work, "%s/work", at->layer);
    base_format(upper, sizeof upper, "%s/upper", at->layer);
    if (mkdir(at->layer, 0700) < 0 ||
        mount("tmpfs", at->layer, "tmpfs", MS_NOATIME, "mode=700") < 0 || mkdir(work, 0700) < 0 ||
        mkdir(upper, 0700) < 0 || stat(at->image, &st) < 0 ||
        chown(upper, st.st_uid, st.st_gid) < 0 || chmod(upper, st.st_mode & 07777) < 0)
        return err_set(e, errno, "cannot make a layer above the image");
    return 0;
}

int guest_mount_image(const char *words, const struct image_places *at, struct err *e)
{
    char device[PATH_SIZE], name[32], options[PATH_SIZE];
    const char *type = strchr(words, ':');
    int r;

    if (!type || (size_t)(type - words) >= sizeof name)
        return err_set(e, 0, "%s: not a device and a type", words);
    base_format(name, sizeof name, "%.*s", (int)(type - words), words);
    r = wait_for_device(name, device, e);
    if (r == 0)
        r = mount_image(device, type + 1, at->image, e);
    if (r == 0)
        r = make_upper(at, e);
    if (r < 0)
        return r;
    base_format(options, sizeof options, "lowerdir=%s,upperdir=%s/upper,workdir=%s/work", at->image,
                at->layer, at->layer);
    return mkdir(at->root, 0700) < 0 ||
                   mount("overlay", at->root, "overlay", MS_NOATIME, options) < 0
               ? err_set(e, errno, "cannot mount an overlay on the image")
               : 0;
}
