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

static void read_group_list(struct json_reader *in, struct arena *a, struct sec_facts *f)
{
    const struct json *list = json_read_array(in, "groups");

    f->groups = arena_array(a, (list ? list->count : 0) + 1, sizeof *f->groups);
    for (const struct json *item = list ? list->child : NULL; item; item = item->next) {
        uint64_t group = 0;

        if (json_u64(item, &group) < 0 || group > UINT32_MAX)
            json_read_fault(in, "groups", "an array of group numbers");
        f->groups[f->n_groups++] = (uint32_t)group;
    }
}

static void read_limits(struct json_reader *in, struct sec_facts *f)
{
    const struct json *list = json_read_array(in, "limits");

    for (const struct json *item = list ? list->child : NULL; item && in->r == 0;
         item = item->next) {
        struct json_reader one = { .object = item, .what = in->what, .e = in->e };
        uint64_t resource = json_read_u64(&one, "resource", SEC_N_LIMITS - 1);

        f->limits[resource] = (struct sec_limit){ .known = true,
                                                  .soft = json_read_u64(&one, "soft", UINT64_MAX),
                                                  .hard = json_read_u64(&one, "hard", UINT64_MAX) };
        in->r = one.r;
    }
}

int sec_facts_read(const struct json *v, struct arena *a, struct sec_facts *f, struct err *e)
{
    struct json_reader in = { .object = v, .what = "the facts", .e = e };
    struct sec_facts facts = {
        .euid = (uint32_t)json_read_u64(&in, "euid", UINT32_MAX),
        .egid = (uint32_t)json_read_u64(&in, "egid", UINT32_MAX),
        .cap_effective = json_read_u64(&in, "capEffective", UINT64_MAX),
        .cap_permitted = json_read_u64(&in, "capPermitted", UINT64_MAX),
        .cap_inheritable = json_read_u64(&in, "capInheritable", UINT64_MAX),
        .cap_bounding = json_read_u64(&in, "capBounding", UINT64_MAX),
        .cap_ambient = json_read_u64(&in, "capAmbient", UINT64_MAX),
        .sig_ignored = json_read_u64(&in, "sigIgnored", UINT64_MAX),
        .sig_blocked = json_read_u64(&in, "sigBlocked", UINT64_MAX),
        .umask = (uint32_t)json_read_u64(&in, "umask", 0777),
        .last_cap = (int)json_read_u64(&in, "lastCap", 63),
        .no_new_privs = json_read_bool(&in, "noNewPrivs"),
        /* Absent in the facts of a teca that did not ask for them. */
        .cpus = json_read_string_or_null(&in, "cpus"),
        .seccomp_cache = json_read_string_or_null(&in, "seccompCache"),
        .apparmor = json_read_bool_or_false(&in, "apparmor"),
        .selinux = json_read_bool_or_false(&in, "selinux"),
    };

    if (json_get(v, "landlockAbi"))
        facts.landlock_abi = (int)json_read_u64(&in, "landlockAbi", INT32_MAX);
    read_group_list(&in, a, &facts);
    read_limits(&in, &facts);
    if (in.r == 0)
        *f = facts;
    return in.r;
}
