/* SPDX-License-Identifier: Apache-2.0 */
/* What security/ asks of the host, and how that is written down and read again. */
#include <errno.h>
#include <linux/capability.h>
#include <stdlib.h>
#include <string.h>
#include <sys/auxv.h>
#include <sys/prctl.h>
#include <sys/resource.h>
#include <unistd.h>

#include "security/internal.h"

/* What stands behind "\nNAME:\t"; the kernel escapes newlines in the process's own name. */
static const char *status_value(const char *text, const char *name)
{
    const char *at = strstr(text, name);

    return at ? at + strlen(name) : NULL;
}

static int read_number(const char *text, const char *name, int base, uint64_t *out, struct err *e)
{
    const char *at = status_value(text, name);

    if (!at)
        return err_set(e, EINVAL, "/proc/self/status has no line '%s'", name + 1);
    *out = strtoull(at, NULL, base);
    return 0;
}

static void read_groups(const char *at, struct arena *a, struct sec_facts *f)
{
    const char *end = at + strcspn(at, "\n");
    size_t n = 0;
    char *next;

    for (const char *c = at; c < end; c++)
        n += *c == ' ';
    f->groups = arena_array(a, n + 1, sizeof *f->groups);
    while (at < end) {
        unsigned long group = strtoul(at, &next, 10);

        if (next == at || next > end)
            break;
        f->groups[f->n_groups++] = (uint32_t)group;
        at = next;
    }
}

static int parse_status(const char *text, struct arena *a, struct sec_facts *f, struct err *e)
{
    const char *groups = status_value(text, "\nGroups:\t");
    uint64_t mask = 0, no_new_privs = 0;
    const struct {
        const char *name;
        int base;
        uint64_t *out;
    } rows[] = {
        { "\nCapInh:\t", 16, &f->cap_inheritable }, { "\nCapPrm:\t", 16, &f->cap_permitted },
        { "\nCapEff:\t", 16, &f->cap_effective },   { "\nCapBnd:\t", 16, &f->cap_bounding },
        { "\nCapAmb:\t", 16, &f->cap_ambient },     { "\nSigIgn:\t", 16, &f->sig_ignored },
        { "\nSigBlk:\t", 16, &f->sig_blocked },     { "\nUmask:\t", 8, &mask },
        { "\nNoNewPrivs:\t", 10, &no_new_privs },
    };

    for (size_t i = 0; i < COUNT_OF(rows); i++) {
        int r = read_number(text, rows[i].name, rows[i].base, rows[i].out, e);

        if (r < 0)
            return r;
    }
    if (groups)
        read_groups(groups, a, f);
    if (status_value(text, "\nCpus_allowed_list:\t")) {
        const char *cpus = status_value(text, "\nCpus_allowed_list:\t");

        f->cpus = arena_strndup(a, cpus, strcspn(cpus, "\n"));
    }
    f->umask = (uint32_t)mask;
    f->no_new_privs = no_new_privs != 0;
    return 0;
}

/*
 * The highest capability: Linux 5.14 has CAP_CHECKPOINT_RESTORE. A newer one that the bounding set
 * lacks can only matter inside a user namespace, which begins with all of them: then ask.
 */
static int find_last_cap(const struct spec *s, uint64_t bounding)
{
    int last = CAP_CHECKPOINT_RESTORE;

    while (last < 63 && bounding >> (last + 1))
        last++;
    if (spec_has_namespace(s, SPEC_NS_USER))
        while (last < 63 && prctl(PR_CAPBSET_READ, last + 1, 0, 0, 0) >= 0)
            last++;
    return last;
}

static int gather_limits(const struct spec *s, struct sec_facts *f, struct err *e)
{
    const struct spec_process *pr = &s->process;

    for (size_t i = 0; i < pr->n_rlimits; i++) {
        int resource = spec_rlimit_number(pr->rlimits[i].type);
        struct rlimit now;

        if (resource < 0 || resource >= SEC_N_LIMITS)
            continue;
        if (prlimit(0, SEC_RESOURCE(resource), NULL, &now) < 0)
            return err_set(e, errno, "cannot read the limit %s", pr->rlimits[i].type);
        f->limits[resource] = (struct sec_limit){ true, now.rlim_cur, now.rlim_max };
    }
    return 0;
}

/*
 * root: /run, where only root writes. Where root is one of a user namespace and /run is not his
 * (rootless engines), and for everybody else: his own XDG_RUNTIME_DIR. Both are gone after a boot.
 */
static const char *find_seccomp_cache(struct arena *a, uint32_t euid)
{
    const char *own = getenv("XDG_RUNTIME_DIR");

    if (own && own[0] != '/')
        own = NULL;
    if (euid == 0 && (!own || access("/run", W_OK) == 0))
        return "/run/teca-seccomp";
    return own ? arena_format(a, "%s/teca-seccomp", own) : NULL;
}

int sec_gather(const struct spec *s, const char *status, struct arena *a, struct sec_facts *f,
               struct err *e)
{
    struct sec_facts facts = {
        .euid = (uint32_t)getauxval(AT_EUID),
        .egid = (uint32_t)getauxval(AT_EGID),
    };
    int r;

    /* Compile leaves calls out because one id says it all. */
    if (getauxval(AT_UID) != facts.euid || getauxval(AT_GID) != facts.egid)
        return err_set(e, EPERM, "real and effective ids differ: teca must not be set-user-ID");
    r = parse_status(status, a, &facts, e);
    facts.last_cap = find_last_cap(s, facts.cap_bounding);
    sec_gather_labels(s, &facts);
    if (s->linux.seccomp.set)
        facts.seccomp_cache = find_seccomp_cache(a, facts.euid);
    facts.landlock_abi = landlock_abi(s);
    if (r == 0 && spec_has_namespace(s, SPEC_NS_USER))
        r = gather_limits(s, &facts, e);
    if (r == 0)
        *f = facts;
    return r;
}

/* ---- as JSON ------------------------------------------------------------------------------- */

void sec_facts_write(const struct sec_facts *f, struct json_out *j, const char *key)
{
    json_open_object(j, key);
    json_add_u64(j, "euid", f->euid);
    json_add_u64(j, "egid", f->egid);
    json_add_u64(j, "capEffective", f->cap_effective);
    json_add_u64(j, "capPermitted", f->cap_permitted);
    json_add_u64(j, "capInheritable", f->cap_inheritable);
    json_add_u64(j, "capBounding", f->cap_bounding);
    json_add_u64(j, "capAmbient", f->cap_ambient);
    json_add_u64(j, "sigIgnored", f->sig_ignored);
    json_add_u64(j, "sigBlocked", f->sig_blocked);
    json_add_u64(j, "umask", f->umask);
    json_add_bool(j, "noNewPrivs", f->no_new_privs);
    json_open_array(j, "groups");
    for (size_t i = 0; i < f->n_groups; i++)
        json_add_u64(j, NULL, f->groups[i]);
    json_close_array(j);
    json_add_u64(j, "lastCap", (uint64_t)f->last_cap);
    json_add_string(j, "cpus", f->cpus);
    json_add_bool(j, "apparmor", f->apparmor);
    json_add_bool(j, "selinux", f->selinux);
    if (f->seccomp_cache)
        json_add_string(j, "seccompCache", f->seccomp_cache);
    if (f->landlock_abi)
        json_add_u64(j, "landlockAbi", (uint64_t)f->landlock_abi);
    json_open_array(j, "limits");
    for (unsigned i = 0; i < SEC_N_LIMITS; i++) {
        if (!f->limits[i].known)
            continue;
        json_open_object(j, NULL);
        json_add_u64(j, "resource", i);
        json_add_u64(j, "soft", f->limits[i].soft);
        json_add_u64(j, "hard", f->limits[i].hard);
        json_close_object(j);
    }
    json_close_array(j);
    json_close_object(j);
}

static int fault(const char *name, const char *wanted, struct err *e)
{
    char pointer[64];

    base_format(pointer, sizeof pointer, "/security/%s", name);
    return err_at(e, pointer, 0, "the facts need %s here", wanted);
}

static int read_u64(const struct json *v, const char *name, uint64_t max, uint64_t *out,
                    struct err *e)
{
    const struct json *member = json_get(v, name);
    uint64_t n;

    if (!member || json_u64(member, &n) < 0 || n > max)
        return fault(name, "a number in range", e);
    *out = n;
    return 0;
}

static int read_group_list(const struct json *v, struct arena *a, struct sec_facts *f,
                           struct err *e)
{
    const struct json *list = json_get(v, "groups");

    if (!list || list->type != JSON_ARRAY)
        return fault("groups", "an array of numbers", e);
    f->groups = arena_array(a, list->count + 1, sizeof *f->groups);
    for (const struct json *item = list->child; item; item = item->next) {
        uint64_t group;

        if (json_u64(item, &group) < 0 || group > UINT32_MAX)
            return fault("groups", "an array of numbers", e);
        f->groups[f->n_groups++] = (uint32_t)group;
    }
    return 0;
}

static int read_limits(const struct json *v, struct sec_facts *f, struct err *e)
{
    const struct json *list = json_get(v, "limits");

    if (!list || list->type != JSON_ARRAY)
        return fault("limits", "an array of limits", e);
    for (const struct json *item = list->child; item; item = item->next) {
        struct sec_limit limit = { .known = true };
        uint64_t resource = 0;
        int r = read_u64(item, "resource", SEC_N_LIMITS - 1, &resource, e);

        if (r == 0)
            r = read_u64(item, "soft", UINT64_MAX, &limit.soft, e);
        if (r == 0)
            r = read_u64(item, "hard", UINT64_MAX, &limit.hard, e);
        if (r < 0)
            return r;
        f->limits[resource] = limit;
    }
    return 0;
}

/* Absent in the facts of a teca that did not ask for them. */
static int read_later_facts(const struct json *v, struct sec_facts *f, struct err *e)
{
    const struct json *cpus = json_get(v, "cpus");
    const struct {
        const char *name;
        bool *out;
    } rows[] = { { "apparmor", &f->apparmor }, { "selinux", &f->selinux } };

    if (cpus && cpus->type != JSON_STRING && cpus->type != JSON_NULL)
        return fault("cpus", "a list of CPUs", e);
    f->cpus = cpus && cpus->type == JSON_STRING ? cpus->text : NULL;
    for (size_t i = 0; i < COUNT_OF(rows); i++) {
        const struct json *member = json_get(v, rows[i].name);

        if (member && member->type != JSON_BOOL)
            return fault(rows[i].name, "true or false", e);
        *rows[i].out = member && member->boolean;
    }
    return 0;
}

int sec_facts_read(const struct json *v, struct arena *a, struct sec_facts *f, struct err *e)
{
    const struct json *no_new_privs = json_get(v, "noNewPrivs");
    const struct json *cache = json_get(v, "seccompCache");
    struct sec_facts facts = { 0 };
    uint64_t euid = 0, egid = 0, mask = 0, last = 0, abi = 0;
    const struct {
        const char *name;
        uint64_t max, *out;
    } rows[] = {
        { "euid", UINT32_MAX, &euid },
        { "egid", UINT32_MAX, &egid },
        { "capEffective", UINT64_MAX, &facts.cap_effective },
        { "capPermitted", UINT64_MAX, &facts.cap_permitted },
        { "capInheritable", UINT64_MAX, &facts.cap_inheritable },
        { "capBounding", UINT64_MAX, &facts.cap_bounding },
        { "capAmbient", UINT64_MAX, &facts.cap_ambient },
        { "sigIgnored", UINT64_MAX, &facts.sig_ignored },
        { "sigBlocked", UINT64_MAX, &facts.sig_blocked },
        { "umask", 0777, &mask },
        { "lastCap", 63, &last },
    };
    int r = 0;

    for (size_t i = 0; r == 0 && i < COUNT_OF(rows); i++)
        r = read_u64(v, rows[i].name, rows[i].max, rows[i].out, e);
    if (r == 0 && (!no_new_privs || no_new_privs->type != JSON_BOOL))
        r = fault("noNewPrivs", "true or false", e);
    if (r == 0 && json_get(v, "landlockAbi"))
        r = read_u64(v, "landlockAbi", INT32_MAX, &abi, e);
    if (r == 0 && cache && cache->type != JSON_STRING)
        r = fault("seccompCache", "a path", e);
    if (r == 0)
        r = read_group_list(v, a, &facts, e);
    if (r == 0)
        r = read_limits(v, &facts, e);
    if (r == 0)
        r = read_later_facts(v, &facts, e);
    if (r < 0)
        return r;
    facts.euid = (uint32_t)euid;
    facts.egid = (uint32_t)egid;
    facts.umask = (uint32_t)mask;
    facts.last_cap = (int)last;
    facts.landlock_abi = (int)abi;
    facts.no_new_privs = no_new_privs->boolean;
    facts.seccomp_cache = cache ? cache->text : NULL;
    *f = facts;
    return 0;
}
