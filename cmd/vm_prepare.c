/* SPDX-License-Identifier: Apache-2.0 */
/* teca vm prepare: kernel, initramfs and image of machines, made before somebody waits for them. */
#include "boot/boot.h"
#include "cmd.h"

static void write_json(const struct boot_parts *p, const struct boot_image *image,
                       struct json_out *j)
{
    json_open_object(j, NULL);
    json_add_string(j, "source", p->source);
    json_add_string(j, "release", p->release);
    json_add_string(j, "kernel", p->kernel);
    json_add_string(j, "initramfs", p->initramfs);
    json_add_bool(j, "madeKernel", p->made_kernel);
    json_add_bool(j, "madeInitramfs", p->made_initramfs);
    if (image->path) {
        json_add_string(j, "image", image->path);
        json_add_bool(j, "madeImage", image->made);
    }
    json_close_object(j);
}

int cmd_vm_prepare(const struct cmd *c, struct err *e)
{
    struct boot_request q = { .kernel = c->o.vm.kernel,
                              .modules = c->o.vm.modules,
                              .make_default = true };
    const struct boot_image_request root = { .root = c->o.vm.image };
    AUTO_STRBUF struct strbuf out = { 0 };
    struct boot_image image = { .path = NULL, .fd = -1 };
    struct boot_parts p;
    struct json_out *j;
    int r = boot_prepare(&q, c->arena, &p, e);

    if (r == 0)
        boot_parts_release(&p);
    if (r == 0 && root.root)
        r = boot_image(&root, c->arena, &image, e);
    fd_cleanup(&image.fd);
    if (r < 0)
        return r;
    if (!str_eq(c->o.format, "json")) {
        strbuf_format(&out, "%-12s %s (%s)\n%-12s %s%s\n%-12s %s%s\n", "release", p.release,
                      p.source, "kernel", p.kernel, p.made_kernel ? "" : " (was there)",
                      "initramfs", p.initramfs, p.made_initramfs ? "" : " (was there)");
        if (image.path)
            strbuf_format(&out, "%-12s %s%s\n", "image", image.path,
                          image.made ? "" : " (was there)");
        return cmd_print(out.ptr, out.len, e);
    }
    j = json_out_new(true);
    write_json(&p, &image, j);
    r = cmd_print_json(j, e);
    json_out_free(j);
    return r;
}
