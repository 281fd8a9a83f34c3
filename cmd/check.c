/* SPDX-License-Identifier: Apache-2.0 */
#include "cmd.h"

#include <errno.h>

/* The file as the caller would name it: a fault's line can then be clicked. */
static const char *config_name(const struct container_options *o, struct arena *a)
{
    if (o->config)
        return o->config;
    return o->bundle ? arena_format(a, "%s/config.json", o->bundle) : "config.json";
}

/* "config.json:12: /process/cwd: text", compilers' form. */
static int print_text(const struct spec_faults *faults, const char *config, struct err *e)
{
    AUTO_STRBUF struct strbuf out = { 0 };

    for (const struct spec_fault *f = faults->first; f; f = f->next) {
        size_t start = out.len;

        strbuf_str(&out, config);
        if (f->line)
            strbuf_format(&out, ":%u", f->line);
        strbuf_format(&out, ": %s%s%s%s", f->warning ? "warning: " : "",
                      f->pointer ? f->pointer : "", f->pointer && f->pointer[0] ? ": " : "",
                      f->text);
        cmd_make_printable(out.ptr + start, out.len - start, false);
        strbuf_str(&out, "\n");
    }
    return cmd_print(out.ptr, out.len, e);
}

static int print_json(const struct spec_faults *faults, const char *config, struct arena *a,
                      struct err *e)
{
    struct json_out *j = json_out_in(a, true);

    json_open_object(j, NULL);
    json_add_string(j, "config", config);
    json_add_u64(j, "errors", faults->errors);
    json_add_u64(j, "warnings", faults->warnings);
    json_open_array(j, "faults");
    for (const struct spec_fault *f = faults->first; f; f = f->next) {
        json_open_object(j, NULL);
        json_add_string(j, "level", f->warning ? "warning" : "error");
        json_add_string(j, "pointer", f->pointer ? f->pointer : "");
        json_add_u64(j, "line", f->line);
        json_add_string(j, "text", f->text);
        json_close_object(j);
    }
    json_close_array(j);
    json_close_object(j);
    return cmd_print_json(j, e);
}

int cmd_check(const struct cmd *c, int *status, struct err *e)
{
    const char *config = config_name(&c->o.container, c->arena);
    struct spec_faults faults;
    int checked, r;

    (void)status;
    spec_faults_init(&faults);
    checked = container_check(&c->o.container, c->arena, &faults, e);
    if (checked < 0 && faults.errors == 0)
        return checked; /* no document to find faults in */
    r = str_eq(c->o.format, "json") ? print_json(&faults, config, c->arena, e)
                                    : print_text(&faults, config, e);
    if (r < 0 || faults.errors == 0)
        return r;
    *e = (struct err){ 0 }; /* it holds the first fault, which is printed */
    return err_set(e, 0, "%zu fault%s in '%s'", faults.errors, faults.errors == 1 ? "" : "s",
                   config);
}
