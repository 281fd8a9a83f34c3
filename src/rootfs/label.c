/* SPDX-License-Identifier: Apache-2.0 */
/* linux.mountLabel: the SELinux context of what a fresh file system holds, mount(8) "context". */
#include <string.h>

#include "rootfs/internal.h"

/* These label their files themselves and refuse the option or have no use for it. */
static bool labels_itself(const char *type)
{
    static const char *const types[] = { "proc", "sysfs", "cgroup", "cgroup2", "mqueue" };

    for (size_t i = 0; i < COUNT_OF(types); i++)
        if (str_eq(type, types[i]))
            return true;
    return false;
}

static bool takes_context(const struct op_mount *op)
{
    return op->type && !(op->flags & (MS_BIND | MS_REMOUNT | MS_MOVE)) && op->tree == SLOT_NONE &&
           !labels_itself(op->type) && !(op->data && strstr(op->data, "context="));
}

/* mount(8) "context": of all files, of the file system, of files without one, of its root. */
static int option_of(const struct spec *s, const char **out, struct err *e)
{
    static const char *const known[] = { "context", "fscontext", "defcontext", "rootcontext" };
    const char *wanted = spec_annotation(s, SPEC_ANNOTATION_MOUNT_CONTEXT);

    *out = known[0];
    if (!wanted)
        return 0;
    for (size_t i = 0; i < COUNT_OF(known); i++)
        if (str_eq(wanted, known[i])) {
            *out = known[i];
            return 0;
        }
    return err_set(e, 0,
                   "the annotation %s must be context, fscontext, defcontext or rootcontext, "
                   "not '%.100s'",
                   spec_annotation_name(SPEC_ANNOTATION_MOUNT_CONTEXT), wanted);
}

int rootfs_label_mounts(struct plan *p, const struct spec *s, struct err *e)
{
    const char *label = s->linux.mount_label, *option;
    int r = label ? option_of(s, &option, e) : 0;

    if (r < 0 || !label)
        return r;
    for (int i = plan_find(p, OP_MASK, 0); i >= 0; i = plan_find(p, OP_MASK, (size_t)i + 1)) {
        struct op_mask *op = &p->steps[i].mask;

        op->data = arena_format(p->arena, MASK_DATA ",%s=\"%s\"", option, label);
    }
    for (int i = plan_find(p, OP_MOUNT, 0); i >= 0; i = plan_find(p, OP_MOUNT, (size_t)i + 1)) {
        struct op_mount *op = &p->steps[i].mount;

        if (str_eq(op->type, "mqueue") && !(op->flags & (MS_BIND | MS_REMOUNT)))
            op->label = label;
        else if (takes_context(op))
            op->data = arena_format(p->arena, "%s%s%s=\"%s\"", op->data ? op->data : "",
                                    op->data ? "," : "", option, label);
    }
    return 0;
}
