/* SPDX-License-Identifier: Apache-2.0 */
/* linux.mountLabel: which mounts get a context, and that they keep their own data. */
#include <errno.h>

#include "minimal.h"

#include "rootfs/internal.h"

static struct plan plan;

static struct op_mount *add(const char *type, uint64_t flags, const char *data)
{
    struct op_mount *op = &plan_add(&plan, OP_MOUNT, LANE_INIT, "/mounts/0")->mount;

    op->type = type;
    op->flags = flags;
    op->data = data;
    return op;
}

static void fresh_file_systems_get_the_label_behind_their_own_data(void **state)
{
    static const struct {
        const char *name, *type;
        uint64_t flags;
        const char *data, *wanted;
    } rows[] = {
        { "tmpfs", "tmpfs", 0, "mode=755,size=1k", "mode=755,size=1k,context=\"u:r:t:s0:c1,c2\"" },
        { "no data", "tmpfs", MS_NOSUID, NULL, "context=\"u:r:t:s0:c1,c2\"" },
        { "devpts", "devpts", 0, "newinstance", "newinstance,context=\"u:r:t:s0:c1,c2\"" },
        { "own", "tmpfs", 0, "context=\"mine\"", "context=\"mine\"" },
        { "root's", "ext4", 0, "rootcontext=\"mine\"", "rootcontext=\"mine\"" },
        { "proc", "proc", 0, NULL, NULL },
        { "sysfs", "sysfs", 0, NULL, NULL },
        { "cgroup2", "cgroup2", 0, NULL, NULL },
        { "bind", "none", MS_BIND, NULL, NULL },
        { "remount", "tmpfs", MS_REMOUNT, "size=2k", "size=2k" },
        { "no type", NULL, MS_BIND | MS_REC, NULL, NULL },
    };
    struct spec *s = minimal_spec(unit_arena(), "{'linux': {'mountLabel': 'u:r:t:s0:c1,c2'}}");

    (void)state;
    plan_init(&plan, unit_arena(), "run");
    for (size_t i = 0; i < COUNT_OF(rows); i++)
        add(rows[i].type, rows[i].flags, rows[i].data);
    assert_int_equal(rootfs_label_mounts(&plan, s, NULL), 0);
    for (size_t i = 0; i < COUNT_OF(rows); i++)
        unit_row(rows[i].name, str_eq(plan.steps[i].mount.data, rows[i].wanted));
}

static void a_queue_is_labelled_by_its_root_and_a_mask_by_its_data(void **state)
{
    struct spec *s = minimal_spec(unit_arena(), "{'linux': {'mountLabel': 'u:r:t:s0'}}");
    struct op_mount *bound;

    (void)state;
    plan_init(&plan, unit_arena(), "run");
    add("mqueue", MS_NOSUID, NULL);
    bound = add("mqueue", MS_BIND, NULL);
    add("tmpfs", 0, NULL);
    plan_add(&plan, OP_MASK, LANE_INIT, "/linux/maskedPaths/0");
    assert_int_equal(rootfs_label_mounts(&plan, s, NULL), 0);
    assert_string_equal(plan.steps[0].mount.label, "u:r:t:s0");
    assert_null(plan.steps[0].mount.data);
    assert_null(bound->label);
    assert_null(plan.steps[2].mount.label);
    assert_string_equal(plan.steps[3].mask.data, "nr_blocks=1,nr_inodes=1,context=\"u:r:t:s0\"");
}

#define TYPE(VALUE)                                                                    \
    minimal_spec(unit_arena(), "{'linux': {'mountLabel': 'u:r:t:s0'}, 'annotations': " \
                               "{'run.oci.mount_context_type': '" VALUE "'}}")

static void an_annotation_says_by_which_option_the_label_is_given(void **state)
{
    struct err e = { 0 };

    (void)state;
    plan_init(&plan, unit_arena(), "run");
    add("tmpfs", 0, "size=1k");
    plan_add(&plan, OP_MASK, LANE_INIT, "/linux/maskedPaths/0");
    assert_int_equal(rootfs_label_mounts(&plan, TYPE("rootcontext"), &e), 0);
    assert_string_equal(plan.steps[0].mount.data, "size=1k,rootcontext=\"u:r:t:s0\"");
    assert_string_equal(plan.steps[1].mask.data,
                        "nr_blocks=1,nr_inodes=1,rootcontext=\"u:r:t:s0\"");
    assert_int_equal(rootfs_label_mounts(&plan, TYPE("nocontext"), &e), -EINVAL);
    assert_non_null(strstr(e.text, "run.oci.mount_context_type"));
    assert_non_null(strstr(e.text, "'nocontext'"));
}

static void without_a_label_nothing_changes(void **state)
{
    (void)state;
    plan_init(&plan, unit_arena(), "run");
    add("tmpfs", 0, "size=1k");
    plan_add(&plan, OP_MASK, LANE_INIT, "/linux/maskedPaths/0");
    assert_int_equal(rootfs_label_mounts(&plan, minimal_spec(unit_arena(), NULL), NULL), 0);
    assert_null(plan.steps[1].mask.data);
    assert_string_equal(plan.steps[0].mount.data, "size=1k");
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(fresh_file_systems_get_the_label_behind_their_own_data),
        cmocka_unit_test(a_queue_is_labelled_by_its_root_and_a_mask_by_its_data),
        cmocka_unit_test(an_annotation_says_by_which_option_the_label_is_given),
        cmocka_unit_test(without_a_label_nothing_changes),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
