/* SPDX-License-Identifier: Apache-2.0 */
/*
 * What is valid and no plan executes yet. A row moves out of this file when a plan learns it; the
 * structs stay as they are.
 */
#include "spec/internal.h"

static const char not_yet[] = "not supported yet";

static void refuse(struct spec_checker *c, bool asked, const char *pointer)
{
    if (asked)
        spec_bad(c, pointer, "%s", not_yet);
}

static void list_process(struct spec_checker *c)
{
    const struct spec_process *p = &c->s->process;

    refuse(c, p->terminal, "/process/terminal");
    refuse(c, p->terminal && p->console_size.set, "/process/consoleSize");
    refuse(c, p->apparmor_profile != NULL, "/process/apparmorProfile");
    refuse(c, p->scheduler.set, "/process/scheduler");
    refuse(c, p->selinux_label != NULL, "/process/selinuxLabel");
    refuse(c, p->io_priority.set, "/process/ioPriority");
    refuse(c, p->exec_cpu_affinity.set, "/process/execCPUAffinity");
}

static void list_hooks(struct spec_checker *c)
{
    const struct spec_hooks *h = &c->s->hooks;

    refuse(c, h->prestart.n > 0, "/hooks/prestart");
    refuse(c, h->create_runtime.n > 0, "/hooks/createRuntime");
    refuse(c, h->create_container.n > 0, "/hooks/createContainer");
    refuse(c, h->start_container.n > 0, "/hooks/startContainer");
    refuse(c, h->poststart.n > 0, "/hooks/poststart");
    refuse(c, h->poststop.n > 0, "/hooks/poststop");
}

static void list_mount(struct spec_checker *c, const struct spec_mount *m, size_t i)
{
    static const char *const idmap[] = { "idmap", "ridmap", NULL };

    if (m->uid_mappings.n)
        spec_bad(c, spec_at(c, "/mounts/%zu/uidMappings", i), "%s", not_yet);
    if (m->gid_mappings.n)
        spec_bad(c, spec_at(c, "/mounts/%zu/gidMappings", i), "%s", not_yet);
    for (size_t k = 0; k < m->options.n; k++) {
        if (spec_name_in(idmap, m->options.v[k]))
            spec_bad(c, spec_at(c, "/mounts/%zu/options/%zu", i, k), "%s", not_yet);
    }
}

/* One remark a group, and only where the group holds anything. */
static void list_resources(struct spec_checker *c)
{
    const struct json *resources = json_get(json_get(c->s->document, "linux"), "resources");

    for (size_t i = 0; i < spec_resources_table.n_fields; i++) {
        const char *key = spec_resources_table.fields[i].key;
        const struct json *group = json_get(resources, key);

        if (group && group->count)
            spec_remark(c, spec_at(c, "/linux/resources/%s", key), "not applied yet");
    }
}

static void list_linux(struct spec_checker *c)
{
    const struct spec_linux *l = &c->s->linux;

    list_resources(c);
    refuse(c, l->n_net_devices > 0, "/linux/netDevices");
    refuse(c, l->mount_label != NULL, "/linux/mountLabel");
    refuse(c, l->intel_rdt.set, "/linux/intelRdt");
    refuse(c, l->memory_policy.set, "/linux/memoryPolicy");
    refuse(c, l->personality.set, "/linux/personality");
}

void spec_unsupported(const struct spec *s, struct arena *a, struct spec_faults *faults)
{
    struct spec_checker c = { .s = s, .arena = a, .faults = faults };

    list_process(&c);
    for (size_t i = 0; i < s->n_mounts; i++)
        list_mount(&c, &s->mounts[i], i);
    list_hooks(&c);
    list_linux(&c);
    refuse(&c, s->vm.set, "/vm");
    spec_faults_sort(faults);
}
