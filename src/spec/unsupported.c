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

void spec_unsupported(const struct spec *s, struct arena *a, struct spec_faults *faults)
{
    struct spec_checker c = { .s = s, .arena = a, .faults = faults };

    list_resources(&c);
    refuse(&c, s->vm.set, "/vm");
    spec_faults_sort(faults);
}
