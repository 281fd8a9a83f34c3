/* SPDX-License-Identifier: Apache-2.0 */
#include "cmd.h"

#include <regex.h>

/*
 * As crun has it: the word is a POSIX extended expression, and each container goes whose ID it
 * matches somewhere. One that cannot be deleted does not keep the others; the first error counts.
 */
static int delete_matching(const struct cmd *c, const char *root, struct err *e)
{
    struct container_state *list;
    const char *const *problems;
    char text[128];
    regex_t wanted;
    size_t n;
    int r = regcomp(&wanted, c->args[0], REG_EXTENDED | REG_NOSUB), first;

    if (r != 0) {
        regerror(r, &wanted, text, sizeof(text));
        return err_set(e, 0, "the expression '%s' of --regex is none: %s", c->args[0], text);
    }
    first = container_list(root, c->arena, &list, &n, &problems, e);
    for (size_t i = 0; first == 0 && i < n; i++)
        if (regexec(&wanted, list[i].id, 0, NULL, 0) != 0)
            list[i].id = NULL;
    regfree(&wanted);
    if (first < 0)
        return first;
    for (size_t i = 0; i < n; i++) {
        r = list[i].id
                ? container_delete(root, list[i].id, c->o.force, c->arena, first < 0 ? NULL : e)
                : 0;
        first = first < 0 ? first : r;
    }
    return first;
}

int cmd_delete(const struct cmd *c, int *status, struct err *e)
{
    const char *root;
    int r = container_root(&c->o.container, c->arena, &root, e);

    (void)status;
    if (r < 0)
        return r;
    return c->o.regex ? delete_matching(c, root, e)
                      : container_delete(root, c->args[0], c->o.force, c->arena, e);
}
