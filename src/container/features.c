/* SPDX-License-Identifier: Apache-2.0 */
/*
 * runtime-spec features.md and features-linux.md, from the tables that the code itself works by.
 * Nothing of it depends on the host. `linux` is always there: containerd looks into it unasked
 * (engine-contract 4.7).
 */
#include <seccomp.h>

#include "container/internal.h"

typedef const char *name_of(size_t i);

static void add_names(struct json_out *j, const char *key, name_of *name)
{
    json_open_array(j, key);
    for (size_t i = 0; name(i); i++)
        json_add_string(j, NULL, name(i));
    json_close_array(j);
}

static const char *namespace_name(size_t i)
{
    return i < SPEC_NS_COUNT ? spec_ns_name((enum spec_ns)i) : NULL;
}

static const char *capability_name(size_t i)
{
    return spec_capability_name((int)i);
}

static const char *annotation_name(size_t i)
{
    return i < SPEC_ANNOTATION_COUNT ? spec_annotation_name((enum spec_annotation)i) : NULL;
}

static const char *action_name(size_t i)
{
    return sec_seccomp_name(SEC_ACTIONS, i);
}

static const char *operator_name(size_t i)
{
    return sec_seccomp_name(SEC_OPERATORS, i);
}

static const char *arch_name(size_t i)
{
    return sec_seccomp_name(SEC_ARCHS, i);
}

static const char *known_flag(size_t i)
{
    return spec_seccomp_flags[i];
}

static const char *supported_flag(size_t i)
{
    return sec_seccomp_name(SEC_FLAGS, i);
}

/* An object whose members are all of them switches. */
struct feature {
    const char *name;
    bool on;
};

static void add_switches(struct json_out *j, const char *key, const struct feature *v, size_t n)
{
    json_open_object(j, key);
    for (size_t i = 0; i < n; i++)
        json_add_bool(j, v[i].name, v[i].on);
    json_close_object(j);
}

static void add_seccomp(struct json_out *j)
{
    json_open_object(j, "seccomp");
    json_add_bool(j, "enabled", true);
    add_names(j, "actions", action_name);
    add_names(j, "operators", operator_name);
    add_names(j, "archs", arch_name);
    add_names(j, "knownFlags", known_flag);
    add_names(j, "supportedFlags", supported_flag);
    json_close_object(j);
}

static bool has_idmap(void)
{
    const char *name;

    for (size_t i = 0; (name = rootfs_option_name(i)); i++)
        if (str_eq(name, "idmap"))
            return true;
    return false;
}

static void add_linux(struct json_out *j)
{
    static const struct feature cgroup[] = {
        { "v1", true },          { "v2", true },   { "systemd", true },
        { "systemdUser", true }, { "rdma", true },
    };
    static const struct feature on[] = { { "enabled", true } };
    static const struct feature rdt[] = { { "enabled", true },
                                          { "schemata", true },
                                          { "monitoring", true } };
    const struct feature idmap[] = { { "enabled", has_idmap() } };

    json_open_object(j, "linux");
    add_names(j, "namespaces", namespace_name);
    add_names(j, "capabilities", capability_name);
    add_switches(j, "cgroup", cgroup, COUNT_OF(cgroup));
    add_seccomp(j);
    add_switches(j, "apparmor", on, COUNT_OF(on));
    add_switches(j, "selinux", on, COUNT_OF(on));
    add_switches(j, "intelRdt", rdt, COUNT_OF(rdt));
    json_open_object(j, "memoryPolicy");
    add_names(j, "modes", sec_memory_policy_mode);
    add_names(j, "flags", sec_memory_policy_flag);
    json_close_object(j);
    json_open_object(j, "mountExtensions");
    add_switches(j, "idmap", idmap, COUNT_OF(idmap));
    json_close_object(j);
    add_switches(j, "netDevices", on, COUNT_OF(on));
    json_close_object(j);
}

/* The versions of what is inside, under the key that runc uses for the same. */
static void add_annotations(struct json_out *j)
{
    const struct scmp_version *v = seccomp_version();
    char text[48];

    base_format(text, sizeof text, "%u.%u.%u", v->major, v->minor, v->micro);
    json_open_object(j, "annotations");
    json_add_string(j, "io.github.seccomp.libseccomp.version", text);
    json_add_string(j, "org.teca.version", TECA_VERSION);
    json_add_string(j, "org.teca.commit", TECA_COMMIT);
    json_close_object(j);
}

void container_features(struct json_out *j)
{
    json_open_object(j, NULL);
    json_add_string(j, "ociVersionMin", "1.0.0");
    json_add_string(j, "ociVersionMax", "1.3.0");
    add_names(j, "hooks", hooks_name);
    add_names(j, "mountOptions", rootfs_option_name);
    add_linux(j);
    add_annotations(j);
    /* What they name is the host's: rule sets, files that are written to, groups that stay. */
    add_names(j, "potentiallyUnsafeConfigAnnotations", annotation_name);
    json_close_object(j);
}
