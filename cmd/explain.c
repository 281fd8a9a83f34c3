/* SPDX-License-Identifier: Apache-2.0 */
#include "cmd.h"

#include <errno.h>
#include <fcntl.h>

enum { FACTS_MAX_BYTES = 16 << 20 };

static int print_facts(const struct container_options *o, const struct container_bundle *b,
                       struct arena *a, struct err *e)
{
    struct json_out *j = json_out_in(a, true);
    int r = container_facts_json(o, b, a, j, e);

    return r < 0 ? r : cmd_print_json(j, e);
}

static int print_plan(const struct plan *p, bool json, struct err *e)
{
    AUTO_STRBUF struct strbuf out = { 0 };
    struct json_out *j;

    if (!json) {
        plan_explain_text(p, &out);
        cmd_make_printable(out.ptr, out.len, true);
        return cmd_print(out.ptr, out.len, e);
    }
    j = json_out_in(p->arena, true);
    plan_explain_json(p, j);
    return cmd_print_json(j, e);
}

/* A container that exists, so that host and config are what they are. */
static int explain_exec(const struct cmd *c, struct err *e)
{
    struct container_exec_options exec = c->o.exec;
    struct plan plan;
    int r;

    if (c->n_args < (exec.process ? 1 : 2))
        return err_set(e, 0, "--exec needs the ID of a container and a command");
    exec.args = (struct str_list){ (const char **)c->args + 1, c->n_args - 1 };
    r = container_plan_exec(&c->o.container, &exec, c->arena, &plan, e);
    return r < 0 ? r : print_plan(&plan, str_eq(c->o.format, "json"), e);
}

static int explain_criu(const struct cmd *c, struct err *e)
{
    const struct container_options *o = &c->o.container;
    struct plan plan;
    int r;

    if (c->n_args != 1)
        return err_set(e, 0, "--%s needs the ID of a container",
                       c->o.explain_restore ? "restore" : "checkpoint");
    r = c->o.explain_restore ? container_plan_restore(o, &c->o.criu, c->arena, &plan, e)
                             : container_plan_checkpoint(o, &c->o.criu, c->arena, &plan, e);
    return r < 0 ? r : print_plan(&plan, str_eq(c->o.format, "json"), e);
}

int cmd_explain(const struct cmd *c, int *status, struct err *e)
{
    struct container_options o = c->o.container;
    struct container_bundle bundle;
    struct plan plan;
    char *facts = NULL;
    size_t facts_len = 0;
    int r;

    (void)status;
    if (c->o.explain_exec)
        return explain_exec(c, e);
    if (c->o.explain_checkpoint || c->o.explain_restore)
        return explain_criu(c, e);
    if (c->n_args > 1)
        return err_set(e, 0, "\"explain\" takes a command only with --exec");
    if (c->o.facts && c->o.write_facts)
        return err_set(e, 0, "--facts and --write-facts cannot be given together");
    if (!o.id)
        o.id = "ID"; /* appears as itself in the paths that hold the ID */
    r = container_check_id(o.id, e);
    /* before container_load, which makes the bundle the current directory */
    if (r == 0 && c->o.facts)
        r = file_read(c->arena, AT_FDCWD, c->o.facts, FACTS_MAX_BYTES, &facts, &facts_len, e);
    if (r == 0)
        r = container_load(&o, c->arena, &bundle, NULL, e);
    if (r == 0 && c->o.write_facts)
        return print_facts(&o, &bundle, c->arena, e);
    if (r == 0)
        r = container_plan(&o, &bundle, c->o.create, facts, facts_len, c->arena, &plan, e);
    return r < 0 ? r : print_plan(&plan, str_eq(c->o.format, "json"), e);
}
