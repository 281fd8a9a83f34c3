/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The root filesystem of a container in a machine as an image: made of the bundle's directory and kept (src/boot), or a
 * file that is there. Another one is what the machine itself boots into (config-vm.md "image": "not to be confused with
 * the container root filesystem itself"). The guest mounts each below an overlay, whose upper layer is its memory.
 */
#include <errno.h>
#include <fcntl.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "container/machine.h"
#include "mux/mux.h"

static const char note_pointer[] = "/annotations/org.teca.rootfs",
                  image_pointer[] = "/vm/image/path";

int machine_check_image(const struct spec *s, struct err *e)
{
    const char *note = spec_annotation(s, SPEC_ANNOTATION_ROOTFS);

    if (s->vm.set && s->vm.image.set && !str_eq(s->vm.image.format, "raw")) {
        err_at(e, "/vm/image/format", 0, "a machine reads raw images only, not %s",
               s->vm.image.format);
        err_hint(e, "qemu-img convert -O raw makes one of another");
        return -EINVAL;
    }
    if (!note || note[0] == '/' || str_eq(note, "share") || str_eq(note, "image") ||
        str_eq(note, "auto"))
        return 0;
    return err_at(e, note_pointer, 0,
                  "must be one of share, image, auto, or the absolute path of an image");
}

/* A container on this kernel would run in another root than the one that it asks for. */
int machine_refuse_image(const struct spec *s, struct err *e)
{
    const char *note = spec_annotation(s, SPEC_ANNOTATION_ROOTFS);

    if (!note || note[0] != '/')
        return 0;
    err_at(e, note_pointer, 0, "an image can be the root filesystem in a machine only");
    err_hint(e, "--isolation vm or emulated makes one");
    return -EINVAL;
}

/* Its user's words decide what the file is: nothing that could make an open(2) wait. */
static int look_at(const char *pointer, const char *path, struct arena *a,
                   struct machine_image *out, int *out_fd, struct err *e)
{
    AUTO_FD int fd = openat(AT_FDCWD, path, O_RDONLY | O_NONBLOCK | O_CLOEXEC);
    struct stat st;

    if (fd < 0 || fstat(fd, &st) < 0)
        return err_at(e, pointer, errno, "cannot open the image '%s'", path);
    if (!S_ISREG(st.st_mode) || st.st_size == 0)
        return err_at(e, pointer, 0, "the image '%s' is no regular file with contents", path);
    out->type = boot_image_type(fd);
    if (!out->type)
        return err_at(e, pointer, 0,
                      "an image of the wrong format: '%s' is neither erofs, ext4 nor squashfs",
                      path);
    out->path = arena_strdup(a, path);
    *out_fd = take_fd(&fd);
    return 0;
}

static int make(const struct spec *s, const char *bundle, bool only_if_there, struct arena *a,
                struct machine_facts *f, struct err *e)
{
    struct boot_image_request q = { .root = machine_absolute(bundle, s->root.path, a),
                                    .look = f->look || only_if_there };
    struct boot_image image;
    int r = boot_image(&q, a, &image, e);

    if (r < 0 || (image.fd < 0 && only_if_there))
        return r;
    f->image = (struct machine_image){ image.path, "erofs" };
    f->files[MACHINE_IMAGE] = image.fd;
    return 0;
}

int machine_image_gather(const struct spec *s, const char *bundle, struct arena *a,
                         struct machine_facts *f, struct err *e)
{
    const char *note = spec_annotation(s, SPEC_ANNOTATION_ROOTFS);
    bool is_auto = str_eq(note, "auto");
    int r = s->vm.set && s->vm.image.set ? look_at(image_pointer, s->vm.image.path, a, &f->system,
                                                   &f->files[MACHINE_SYSTEM], e)
                                         : 0;

    if (r < 0 || !note || str_eq(note, "share") || (is_auto && !s->root.readonly))
        return r;
    return note[0] == '/' ? look_at(note_pointer, note, a, &f->image, &f->files[MACHINE_IMAGE], e)
                          : make(s, bundle, is_auto, a, f, e);
}

static size_t add_module(const char **list, size_t n, const char *name)
{
    for (size_t i = 0; i < n; i++)
        if (str_eq(list[i], name))
            return n;
    list[n] = name;
    return n + 1;
}

/* What the guest's kernel needs for them. */
const char *const *machine_image_modules(const struct machine_facts *f, struct arena *a)
{
    const char **all = arena_array(a, 8, sizeof *all);
    bool pmem = f->image.path && f->mode == ISOLATION_VM;
    size_t n = 0;

    if (!f->image.path && !f->system.path)
        return NULL;
    if (pmem)
        n = add_module(all, add_module(all, n, "virtio_pmem"), "nd_pmem");
    if (f->system.path || !pmem)
        n = add_module(all, n, "virtio_blk");
    n = add_module(all, n, "?crc32c_generic"); /* libcrc32c finds it by a name that no module has */
    if (f->image.path)
        n = add_module(all, n, f->image.type);
    if (f->system.path)
        n = add_module(all, n, f->system.type);
    all[add_module(all, n, "overlay")] = NULL;
    return all;
}

const char *machine_image_words(const struct machine_facts *f, bool share, struct arena *a)
{
    const char *words = "";

    if (f->system.path)
        words = arena_format(a, " %s=%s:%s", MUX_SYSTEM, MUX_SYSTEM_DISK, f->system.type);
    if (!f->image.path)
        return words;
    return arena_format(a, "%s %s=%s:%s%s", words, MUX_IMAGE,
                        f->mode == ISOLATION_VM ? MUX_PMEM : MUX_DISK, f->image.type,
                        share ? "" : " " MUX_NO_SHARE "=1");
}
