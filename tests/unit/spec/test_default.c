/* SPDX-License-Identifier: Apache-2.0 */
#include "minimal.h"

/* Parses, obeys every rule, and nothing but resources is left out: a user can run it. */
static struct spec *default_spec(const struct spec_default_options *options, char **out_text)
{
    struct arena *a = unit_arena();
    struct spec_faults f;
    struct err e = { 0 };
    struct spec *s = NULL;
    char *text = spec_default(options);

    spec_faults_init(&f);
    if (spec_parse(a, text, strlen(text), &s, &f, &e) < 0 || spec_check(s, a, &f, &e) < 0)
        fail_msg("%s: %s", e.pointer, e.text);
    assert_int_equal(f.warnings, 0);
    spec_unsupported(s, a, &f);
    assert_int_equal(f.errors, 0);
    *out_text = text;
    return s;
}

static const struct spec_mount *mount_at(const struct spec *s, const char *destination)
{
    for (size_t i = 0; i < s->n_mounts; i++) {
        if (str_eq(s->mounts[i].destination, destination))
            return &s->mounts[i];
    }
    return NULL;
}

static bool has_option(const struct spec_mount *m, const char *option)
{
    for (size_t i = 0; i < m->options.n; i++) {
        if (str_eq(m->options.v[i], option))
            return true;
    }
    return false;
}

static void the_default_is_a_shell_with_namespaces_of_its_own(void **state)
{
    const struct spec_default_options options = { .rootless = false };
    AUTO_FREE char *text = NULL;
    const struct spec *s = default_spec(&options, &text);

    (void)state;
    assert_true(str_starts(
        text, "{\n\t\"ociVersion\": \"1.3.0\",\n\t\"process\": {\n\t\t\"terminal\": false,"));
    assert_string_equal(text + strlen(text) - 4, "\t}\n}\n" + 1);
    assert_string_equal(s->process.args.v[0], "sh");
    assert_true(s->process.no_new_privileges);
    assert_int_equal(s->process.capabilities.bounding.n, 3);
    assert_int_equal(s->process.rlimits[0].hard, 1024);
    assert_string_equal(s->root.path, "rootfs");
    assert_true(s->root.readonly);
    assert_string_equal(s->hostname, "teca");
    assert_int_equal(s->n_mounts, 7);
    assert_true(has_option(mount_at(s, "/dev/pts"), "gid=5"));
    assert_string_equal(mount_at(s, "/sys")->type, "sysfs");
    assert_int_equal(s->linux.resources.n_devices, 1);
    assert_int_equal(s->linux.n_namespaces, 5);
    assert_false(spec_has_namespace(s, SPEC_NS_USER));
    assert_false(spec_has_namespace(s, SPEC_NS_CGROUP));
    assert_int_equal(s->linux.masked_paths.n, 10);
    assert_int_equal(s->linux.readonly_paths.n, 5);
}

static void the_rootless_default_maps_its_caller(void **state)
{
    const struct spec_default_options options = {
        .rootless = true, .uid = 1000, .gid = 1001, .cgroup_namespace = true
    };
    AUTO_FREE char *text = NULL;
    const struct spec *s = default_spec(&options, &text);

    (void)state;
    assert_true(spec_has_namespace(s, SPEC_NS_USER));
    assert_true(spec_has_namespace(s, SPEC_NS_CGROUP));
    assert_false(spec_has_namespace(s, SPEC_NS_NETWORK));
    assert_int_equal(s->linux.uid_mappings.n, 1);
    assert_int_equal(s->linux.uid_mappings.v[0].container_id, 0);
    assert_int_equal(s->linux.uid_mappings.v[0].host_id, 1000);
    assert_int_equal(s->linux.uid_mappings.v[0].size, 1);
    assert_int_equal(s->linux.gid_mappings.v[0].host_id, 1001);
    assert_false(s->linux.resources.set);
    assert_false(has_option(mount_at(s, "/dev/pts"), "gid=5"));
    assert_true(has_option(mount_at(s, "/sys"), "rbind"));
    assert_string_equal(mount_at(s, "/sys")->source, "/sys");
    assert_null(mount_at(s, "/sys/fs/cgroup"));
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(the_default_is_a_shell_with_namespaces_of_its_own),
        cmocka_unit_test(the_rootless_default_maps_its_caller),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
