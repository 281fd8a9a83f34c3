/* SPDX-License-Identifier: Apache-2.0 */
/* Which process `exec` runs: of a file, or the container's own with what the command line says. */
#include <errno.h>
#include <fcntl.h>
#include <string.h>

#include "container/internal.h"

enum { PROCESS_MAX_BYTES = 16 << 20 };

static struct strs joined_lists(struct arena *a, const struct strs *first, const char *const *more,
                                size_t n)
{
    const char **v = arena_array(a, first->n + n + 1, sizeof *v);

    if (first->n)
        memcpy(v, first->v, first->n * sizeof *v);
    if (n)
        memcpy(v + first->n, more, n * sizeof *v);
    return (struct strs){ .v = v, .n = first->n + n, .set = true };
}

/* ---- --process ----------------------------------------------------------------------------- */

/* What the file says nothing of is as it is for the container's own process (engine-contract
 * 1.3.7). Whether it may gain privileges is always the file's word. */
static void inherit(struct spec_process *p, const struct spec_process *from)
{
    if (!p->capabilities.set)
        p->capabilities = from->capabilities;
    if (!p->rlimits) {
        p->rlimits = from->rlimits;
        p->n_rlimits = from->n_rlimits;
    }
    if (!p->apparmor_profile)
        p->apparmor_profile = from->apparmor_profile;
    if (!p->selinux_label)
        p->selinux_label = from->selinux_label;
    if (!p->scheduler.set)
        p->scheduler = from->scheduler;
    if (!p->io_priority.set)
        p->io_priority = from->io_priority;
    if (!p->oom_score_adj.set)
        p->oom_score_adj = from->oom_score_adj;
    if (!p->exec_cpu_affinity.set)
        p->exec_cpu_affinity = from->exec_cpu_affinity;
    if (!p->user.umask.set)
        p->user.umask = from->user.umask;
}

int exec_process_read(const char *path, struct arena *a, const char **out, struct err *e)
{
    char *text = "";
    size_t len = 0;
    int r = file_read(a, AT_FDCWD, path, PROCESS_MAX_BYTES, &text, &len, e);

    *out = text;
    return r == 0 && strlen(text) != len ? err_set(e, 0, "'%s' holds a NUL byte", path) : r;
}

static int from_file(const struct container_exec_options *x, struct arena *a,
                     struct spec_process *p, struct err *e)
{
    const struct spec_process own = *p;
    const char *text = x->process_text;
    int r = text ? 0 : exec_process_read(x->process, a, &text, e);

    if (r == 0)
        r = spec_parse_process(a, text, strlen(text), p, e);
    if (r == 0)
        inherit(p, &own);
    return r;
}

/* ---- the command line ---------------------------------------------------------------------- */

static int read_id(const char *flag, const char *word, size_t len, uint32_t *out, struct err *e)
{
    char text[24];
    uint64_t id;

    base_format(text, sizeof text, "%.*s", (int)len, word);
    if (len >= sizeof text || str_to_u64(text, &id) < 0 || id >= UINT32_MAX)
        return err_set(e, 0, "invalid value \"%s\" for --%s: not a numeric ID", word, flag);
    *out = (uint32_t)id;
    return 0;
}

static int set_user(const char *word, struct spec_user *u, struct err *e)
{
    size_t len = strcspn(word, ":");
    int r = read_id("user", word, len, &u->uid, e);

    if (r == 0 && word[len] == ':')
        r = read_id("user", word + len + 1, strlen(word + len + 1), &u->gid, e);
    return r;
}

static int add_gids(const struct str_list *words, struct arena *a, struct spec_user *u,
                    struct err *e)
{
    const struct spec_u32s old = u->additional_gids;
    uint32_t *v;

    if (words->n == 0)
        return 0;
    v = arena_array(a, old.n + words->n, sizeof *v);
    if (old.n)
        memcpy(v, old.v, old.n * sizeof *v);
    for (size_t i = 0; i < words->n; i++) {
        int r = read_id("additional-gids", words->v[i], strlen(words->v[i]), &v[old.n + i], e);

        if (r < 0)
            return r;
    }
    u->additional_gids = (struct spec_u32s){ v, old.n + words->n };
    return 0;
}

/* As runc does it: ambient too when there are inheritable ones at all. */
static int add_caps(const struct str_list *words, struct arena *a, struct spec_capabilities *c,
                    struct err *e)
{
    struct strs *sets[] = { &c->bounding, &c->effective, &c->permitted, &c->ambient };
    size_t n_sets = c->inheritable.set ? 4 : 3;

    for (size_t i = 0; i < words->n; i++)
        if (spec_capability_number(words->v[i]) < 0)
            return err_set(e, 0, "unknown capability \"%s\"", words->v[i]);
    for (size_t i = 0; words->n && i < n_sets; i++)
        *sets[i] = joined_lists(a, sets[i], words->v, words->n);
    c->set |= words->n > 0;
    return 0;
}

static int add_env(const struct str_list *words, struct arena *a, struct strs *env, struct err *e)
{
    for (size_t i = 0; i < words->n; i++)
        if (words->v[i][0] == '=' || !strchr(words->v[i], '='))
            return err_set(e, 0, "invalid value \"%s\" for --env: not NAME=VALUE", words->v[i]);
    if (words->n)
        *env = joined_lists(a, env, words->v, words->n);
    return 0;
}

static int from_words(const struct container_exec_options *x, struct arena *a,
                      struct spec_process *p, struct err *e)
{
    int r = 0;

    if (x->args.n == 0)
        return err_set(e, 0, "no command given: name one, or a process with --process");
    if (!p->set)
        *p = (struct spec_process){ .set = true, .cwd = "/" };
    p->args = joined_lists(a, &(struct strs){ 0 }, x->args.v, x->args.n);
    p->terminal = x->tty;
    if (x->process_label)
        p->selinux_label = x->process_label;
    if (x->apparmor)
        p->apparmor_profile = x->apparmor;
    if (x->cwd)
        p->cwd = x->cwd;
    if (x->user)
        r = set_user(x->user, &p->user, e);
    if (r == 0)
        r = add_gids(&x->gids, a, &p->user, e);
    if (r == 0)
        r = add_caps(&x->caps, a, &p->capabilities, e);
    if (r == 0)
        r = add_env(&x->env, a, &p->env, e);
    p->no_new_privileges |= x->no_new_privs;
    return r;
}

int exec_process(const struct container_exec_options *x, const struct state_record *rec,
                 struct arena *a, struct spec **out, struct err *e)
{
    struct spec *s;
    int r = spec_parse(a, rec->config, rec->config_len, &s, NULL, e);

    if (r < 0)
        return r;
    s->document = NULL; /* its lines say nothing of this process */
    s->vm.set = false;  /* the container is in a machine already, or shall be in none */
    r = x->process ? from_file(x, a, &s->process, e) : from_words(x, a, &s->process, e);
    if (r == 0)
        r = spec_check(s, a, NULL, e);
    if (r == 0)
        r = container_refuse_unsupported(s, a, e);
    *out = s;
    return r;
}
