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

void spec_unsupported(const struct spec *s, struct arena *a, struct spec_faults *faults)
{
    struct spec_checker c = { .s = s, .arena = a, .faults = faults };

    for (size_t i = 0; i < s->n_mounts; i++)
        list_mount(&c, &s->mounts[i], i);
    refuse(&c, s->vm.set, "/vm");
    spec_faults_sort(faults);
}
