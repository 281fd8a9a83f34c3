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

void spec_unsupported(const struct spec *s, struct arena *a, struct spec_faults *faults)
{
    struct spec_checker c = { .s = s, .arena = a, .faults = faults };

    refuse(&c, s->vm.set, "/vm");
    spec_faults_sort(faults);
}
