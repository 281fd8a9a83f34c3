/* SPDX-License-Identifier: Apache-2.0 */
#include "cmd.h"

#include <string.h>

enum { COLUMNS = 6, GAP = 3 };

static int print_ids(const struct container_state *list, size_t n, struct err *e)
{
    AUTO_STRBUF struct strbuf out = { 0 };

    for (size_t i = 0; i < n; i++)
        strbuf_format(&out, "%s\n", list[i].id);
    return cmd_print(out.ptr, out.len, e);
}

static int print_json(const struct container_state *list, size_t n, struct arena *a, struct err *e)
{
    struct json_out *j = json_out_in(a, false);

    json_open_array(j, NULL);
    for (size_t i = 0; i < n; i++)
        container_state_write(&list[i], j, NULL);
    json_close_array(j);
    return cmd_print_json(j, e);
}

/* Row 0 is the header (the names runc prints), row i + 1 container i. */
static void fill_row(const struct container_state *s, struct arena *a, const char *cell[COLUMNS])
{
    const char *texts[COLUMNS] = { s->id,      arena_format(a, "%d", s->pid),
                                   s->status,  s->bundle,
                                   s->created, s->owner };

    for (size_t i = 0; i < COLUMNS; i++) {
        char *text = arena_strdup(a, texts[i] ? texts[i] : "-");

        cmd_make_printable(text, strlen(text), false);
        cell[i] = text;
    }
}

static int print_table(const struct container_state *list, size_t n, struct arena *a, struct err *e)
{
    static const char *const header[COLUMNS] = {
        "ID", "PID", "STATUS", "BUNDLE", "CREATED", "OWNER"
    };
    AUTO_STRBUF struct strbuf out = { 0 };
    const char *(*rows)[COLUMNS] = arena_array(a, n + 1, sizeof(*rows));
    size_t width[COLUMNS] = { 0 };

    memcpy(rows[0], header, sizeof(header));
    for (size_t i = 0; i < n; i++)
        fill_row(&list[i], a, rows[i + 1]);
    for (size_t i = 0; i <= n; i++) {
        for (size_t c = 0; c < COLUMNS; c++) {
            if (strlen(rows[i][c]) > width[c])
                width[c] = strlen(rows[i][c]);
        }
    }
    for (size_t i = 0; i <= n; i++) {
        for (size_t c = 0; c < COLUMNS; c++) {
            strbuf_str(&out, rows[i][c]);
            for (size_t pad = strlen(rows[i][c]); c + 1 < COLUMNS && pad < width[c] + GAP; pad++)
                strbuf_str(&out, " ");
        }
        strbuf_str(&out, "\n");
    }
    return cmd_print(out.ptr, out.len, e);
}

int cmd_list(const struct cmd *c, int *status, struct err *e)
{
    struct container_state *list = NULL;
    const char *const *problems = NULL;
    const char *root;
    size_t n = 0;
    int r = container_root(&c->o.container, c->arena, &root, e);

    (void)status;
    if (r == 0)
        r = container_list(root, c->arena, &list, &n, &problems, e);
    if (r < 0)
        return r;
    for (; problems && *problems; problems++)
        cmd_remark(*problems);
    if (c->o.quiet)
        return print_ids(list, n, e);
    if (str_eq(c->o.format, "json"))
        return print_json(list, n, c->arena, e);
    return print_table(list, n, c->arena, e);
}
