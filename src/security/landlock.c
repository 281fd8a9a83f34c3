/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Landlock, landlock(7), by the annotation org.teca.landlock. Its value is a JSON document:
 *
 *   { "paths": [ { "path": "/usr", "access": ["read", "execute"] } ],
 *     "tcp":   { "bind": [8080], "connect": [443] } }
 *
 * A key that is there is a restriction: with "paths" every right of Landlock ABI 3 is denied except
 * below these paths (ioctl_dev, ABI 5, only where it is named); with "bind" or "connect" every TCP
 * port that is not listed. So what a policy means does not depend on the kernel: one that lacks what
 * the policy needs refuses it. The structs are the kernel's ABI, written down here because the
 * headers of the build may be older than the kernel.
 */
#include <errno.h>
#include <fcntl.h>
#include <string.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <unistd.h>

#include "security/internal.h"

#define POINTER "/annotations/org.teca.landlock"
#define ADD_RULE "landlock_add_rule(2) of Linux 5.13"

enum { RULE_PATH_BENEATH = 1, RULE_NET_PORT = 2, CREATE_VERSION = 1 };
enum { BIND_TCP = 1, CONNECT_TCP = 2, MAX_PORT = 65535 };
enum { ABI_TRUNCATE = 3, ABI_TCP = 4, ABI_IOCTL_DEV = 5 };

struct ruleset_attr {
    uint64_t handled_access_fs, handled_access_net;
};
struct path_attr {
    uint64_t allowed_access;
    int32_t parent_fd;
} __attribute__((packed));
struct port_attr {
    uint64_t allowed_access, port;
};

/* LANDLOCK_ACCESS_FS_*, by bit. */
static const char *const rights[] = {
    "execute",   "write_file", "read_file", "read_dir",  "remove_dir", "remove_file",
    "make_char", "make_dir",   "make_reg",  "make_sock", "make_fifo",  "make_block",
    "make_sym",  "refer",      "truncate",  "ioctl_dev",
};
enum {
    EXECUTE = 1 << 0,
    WRITE_FILE = 1 << 1,
    READ_FILE = 1 << 2,
    READ_DIR = 1 << 3,
    MAKE_CHAR = 1 << 6,
    MAKE_BLOCK = 1 << 11,
    TRUNCATE = 1 << 14,
    IOCTL_DEV = 1 << 15,
    RIGHTS_OF_ABI_3 = (1 << 15) - 1,
    RIGHTS_OF_FILES = EXECUTE | WRITE_FILE | READ_FILE | TRUNCATE | IOCTL_DEV,
    READ = READ_FILE | READ_DIR,
    /* Everything that changes files; not device nodes. */
    WRITE = RIGHTS_OF_ABI_3 & ~(READ | EXECUTE | MAKE_CHAR | MAKE_BLOCK),
};

struct policy {
    uint64_t fs, net; /* handled: denied where no rule allows it */
    struct path_rule {
        const char *path;
        uint64_t access;
    } * paths;
    size_t n_paths;
    struct port_rule {
        uint64_t port, access;
        const char *pointer;
    } * ports;
    size_t n_ports;
    int abi;                 /* what the kernel must have ... */
    const char *abi_pointer; /* ... because of this */
};

/* ---- the document -------------------------------------------------------------------------- */

static int fault(struct arena *a, const struct json *at, struct err *e, const char *text)
{
    return err_at(e, arena_format(a, "%s%s", POINTER, json_pointer_dup(a, at)), 0, "%s", text);
}

/* An object with these members and no other. */
static int check_members(struct arena *a, const struct json *v, const char *const *names,
                         struct err *e)
{
    if (v->type != JSON_OBJECT)
        return fault(a, v, e, "must be an object");
    for (const struct json *m = v->child; m; m = m->next) {
        size_t i = 0;

        while (names[i] && !str_eq(names[i], m->key))
            i++;
        if (!names[i])
            return fault(a, m, e, "is no key of a Landlock policy");
    }
    return 0;
}

static void need_abi(struct policy *p, int abi, const char *pointer)
{
    if (abi <= p->abi)
        return;
    p->abi = abi;
    p->abi_pointer = pointer;
}

/* 0: no right of that name. */
static uint64_t right_of(const struct json *v)
{
    const char *name = v->type == JSON_STRING ? v->text : "";

    if (str_eq(name, "read"))
        return READ;
    if (str_eq(name, "write"))
        return WRITE;
    for (size_t i = 0; i < COUNT_OF(rights); i++)
        if (str_eq(name, rights[i]))
            return UINT64_C(1) << i;
    return 0;
}

static int parse_path(struct arena *a, const struct json *v, struct policy *p, struct err *e)
{
    static const char *const names[] = { "path", "access", NULL };
    struct path_rule *rule = &p->paths[p->n_paths];
    const struct json *path, *access;
    int r = check_members(a, v, names, e);

    if (r < 0)
        return r;
    path = json_get(v, "path");
    access = json_get(v, "access");
    if (!path || !access)
        return fault(a, v, e, path ? "must have 'access'" : "must have 'path'");
    if (path->type != JSON_STRING || path->text[0] != '/' || strlen(path->text) != path->len)
        return fault(a, path, e, "must be an absolute path");
    if (access->type != JSON_ARRAY || !access->child)
        return fault(a, access, e, "must be a list of rights with at least one entry");
    for (const struct json *right = access->child; right; right = right->next) {
        uint64_t bits = right_of(right);

        if (!bits)
            return fault(a, right, e, "is no right that Landlock knows");
        rule->access |= bits;
        if (bits == IOCTL_DEV)
            need_abi(p, ABI_IOCTL_DEV,
                     arena_format(a, "%s%s", POINTER, json_pointer_dup(a, right)));
    }
    rule->path = path->text;
    p->fs |= RIGHTS_OF_ABI_3 | rule->access;
    p->n_paths++;
    return 0;
}

static int parse_paths(struct arena *a, const struct json *v, struct policy *p, struct err *e)
{
    int r = 0;

    if (v->type != JSON_ARRAY)
        return fault(a, v, e, "must be a list");
    p->fs = RIGHTS_OF_ABI_3;
    need_abi(p, ABI_TRUNCATE, POINTER "/paths");
    p->paths = arena_array(a, v->count + 1, sizeof *p->paths);
    for (const struct json *c = v->child; r == 0 && c; c = c->next)
        r = parse_path(a, c, p, e);
    return r;
}

static int parse_ports(struct arena *a, const struct json *v, uint64_t access, struct policy *p,
                       struct err *e)
{
    if (!v)
        return 0;
    if (v->type != JSON_ARRAY)
        return fault(a, v, e, "must be a list of ports");
    p->net |= access;
    for (const struct json *c = v->child; c; c = c->next) {
        struct port_rule *rule = &p->ports[p->n_ports++];

        if (json_u64(c, &rule->port) < 0 || rule->port > MAX_PORT)
            return fault(a, c, e, "must be a port, 0 to 65535");
        rule->access = access;
        rule->pointer = arena_format(a, "%s%s", POINTER, json_pointer_dup(a, c));
    }
    return 0;
}

static int parse_tcp(struct arena *a, const struct json *v, struct policy *p, struct err *e)
{
    static const char *const names[] = { "bind", "connect", NULL };
    int r = check_members(a, v, names, e);
    const struct json *bind = json_get(v, "bind"), *connect = json_get(v, "connect");

    if (r < 0)
        return r;
    if (!v->child)
        return fault(a, v, e, "must have 'bind' or 'connect'");
    need_abi(p, ABI_TCP, POINTER "/tcp");
    p->ports = arena_array(a, (bind ? bind->count : 0) + (connect ? connect->count : 0) + 1,
                           sizeof *p->ports);
    r = parse_ports(a, bind, BIND_TCP, p, e);
    return r < 0 ? r : parse_ports(a, connect, CONNECT_TCP, p, e);
}

static int parse(const char *text, struct arena *a, struct policy *p, struct err *e)
{
    static const char *const names[] = { "paths", "tcp", NULL };
    struct json *doc;
    int r = json_parse(a, text, strlen(text), "the Landlock policy", &doc, e);

    *p = (struct policy){ 0 };
    if (r < 0) {
        base_format(e->pointer, sizeof e->pointer, "%s", POINTER);
        return r;
    }
    r = check_members(a, doc, names, e);
    if (r == 0 && !doc->child)
        r = fault(a, doc, e, "must have 'paths' or 'tcp'");
    if (r == 0 && json_get(doc, "paths"))
        r = parse_paths(a, json_get(doc, "paths"), p, e);
    if (r == 0 && json_get(doc, "tcp"))
        r = parse_tcp(a, json_get(doc, "tcp"), p, e);
    return r;
}

void sec_check_landlock(const struct spec *s, struct arena *a, struct spec_faults *faults)
{
    const char *text = spec_annotation(s, SPEC_ANNOTATION_LANDLOCK);
    struct policy p;
    struct err e = { 0 };

    if (text && parse(text, a, &p, &e) < 0)
        spec_fault_add(faults, a, arena_strdup(a, e.pointer), spec_line_of(s, POINTER), false,
                       arena_strdup(a, e.text));
}

/* ---- facts --------------------------------------------------------------------------------- */

int landlock_abi(const struct spec *s)
{
    long abi;

    if (!spec_annotation(s, SPEC_ANNOTATION_LANDLOCK))
        return 0;
    abi = syscall(SYS_landlock_create_ruleset, NULL, 0, CREATE_VERSION);
    return abi < 0 ? 0 : (int)abi;
}

/* ---- compile ------------------------------------------------------------------------------- */

static const char *names_of(struct arena *a, uint64_t access)
{
    const char *text = "";

    for (size_t i = 0; i < COUNT_OF(rights); i++)
        if (access >> i & 1)
            text = arena_format(a, "%s%s%s", text, *text ? "," : "", rights[i]);
    return text;
}

static int check_kernel(const struct policy *p, int abi, struct err *e)
{
    static const char *const since[] = {
        [ABI_TRUNCATE] = "6.2", [ABI_TCP] = "6.7", [ABI_IOCTL_DEV] = "6.10"
    };
    int r;

    if (p->abi <= abi)
        return 0;
    r = err_at(e, p->abi_pointer, 0, "needs Landlock ABI %d (Linux %s)", p->abi, since[p->abi]);
    if (abi > 0)
        err_hint(e, "this kernel has ABI %d", abi);
    else
        err_hint(e, "Landlock is not in this kernel, or not enabled at boot");
    return r;
}

static void compile_rules(struct plan *p, const struct policy *policy, int ruleset)
{
    struct step *st;

    for (size_t i = 0; i < policy->n_paths; i++) {
        st = plan_add(p, OP_LANDLOCK_PATH, LANE_INIT, plan_pointer(p, POINTER "/paths/%zu", i));
        st->landlock_path.path = policy->paths[i].path;
        st->landlock_path.rights = names_of(p->arena, policy->paths[i].access);
        st->landlock_path.access = policy->paths[i].access;
        st->landlock_path.ruleset = ruleset;
    }
    for (size_t i = 0; i < policy->n_ports; i++) {
        st = plan_add(p, OP_LANDLOCK_PORT, LANE_INIT, policy->ports[i].pointer);
        st->landlock_port.port = (int64_t)policy->ports[i].port;
        st->landlock_port.right = policy->ports[i].access == BIND_TCP ? "bind" : "connect";
        st->landlock_port.access = policy->ports[i].access;
        st->landlock_port.ruleset = ruleset;
    }
}

int landlock_compile(struct plan *p, const struct spec *s, const struct sec_facts *f, struct err *e)
{
    const char *text = spec_annotation(s, SPEC_ANNOTATION_LANDLOCK);
    struct policy policy;
    struct step *st;
    int r = text ? parse(text, p->arena, &policy, e) : 0;

    if (!text || r < 0)
        return r;
    r = check_kernel(&policy, f->landlock_abi, e);
    if (r < 0)
        return r;
    st = plan_add(p, OP_LANDLOCK_RULESET, LANE_INIT, POINTER);
    st->landlock_ruleset.fs = policy.fs;
    st->landlock_ruleset.net = policy.net;
    st->landlock_ruleset.out = plan_slot(p);
    compile_rules(p, &policy, st->landlock_ruleset.out);
    return 0;
}

void landlock_compile_restrict(struct plan *p)
{
    int ruleset = plan_find(p, OP_LANDLOCK_RULESET, 0);
    int slot = ruleset < 0 ? SLOT_NONE : p->steps[ruleset].landlock_ruleset.out;

    if (slot != SLOT_NONE)
        plan_add(p, OP_LANDLOCK_RESTRICT, LANE_INIT, POINTER)->landlock_restrict.ruleset = slot;
}

/* ---- steps --------------------------------------------------------------------------------- */

/* A kernel before ABI 4 knows the first member only, and must be asked for no more (E2BIG). */
int landlock_step_ruleset(const struct step *st, struct slots *slots, struct err *e)
{
    struct ruleset_attr attr = { st->landlock_ruleset.fs, st->landlock_ruleset.net };
    size_t size = attr.handled_access_net ? sizeof attr : sizeof attr.handled_access_fs;
    long fd = sys_note("landlock_create_ruleset(2) of Linux 5.13",
                       syscall(SYS_landlock_create_ruleset, &attr, size, 0));

    if (fd < 0)
        return err_set(e, errno, "cannot make a Landlock ruleset");
    slots->value[st->landlock_ruleset.out] = (int)fd;
    return 0;
}

/* The root is the container's by now; the image may hold symlinks, but no way out of it. */
int landlock_step_path(const struct step *st, struct slots *slots, struct err *e)
{
    const struct op_landlock_path *op = &st->landlock_path;
    const struct open_how how = { .flags = O_PATH | O_CLOEXEC, .resolve = RESOLVE_NO_MAGICLINKS };
    AUTO_FD int fd = sys_openat2(AT_FDCWD, op->path, &how);
    struct path_attr attr = { op->access, fd };
    struct stat file;

    if (fd < 0 || fstat(fd, &file) < 0)
        return err_set(e, errno, "cannot open '%s' for a Landlock rule", op->path);
    if (!S_ISDIR(file.st_mode))
        attr.allowed_access &= RIGHTS_OF_FILES;
    if (!attr.allowed_access)
        return err_set(e, ENOTDIR, "'%s' can have none of the Landlock rights %s", op->path,
                       op->rights);
    if (sys_note(ADD_RULE, syscall(SYS_landlock_add_rule, slots->value[op->ruleset],
                                   RULE_PATH_BENEATH, &attr, 0)) < 0)
        return err_set(e, errno, "cannot add a Landlock rule for '%s'", op->path);
    return 0;
}

int landlock_step_port(const struct step *st, struct slots *slots, struct err *e)
{
    const struct op_landlock_port *op = &st->landlock_port;
    const struct port_attr attr = { op->access, (uint64_t)op->port };

    if (sys_note(ADD_RULE, syscall(SYS_landlock_add_rule, slots->value[op->ruleset], RULE_NET_PORT,
                                   &attr, 0)) < 0)
        return err_set(e, errno, "cannot add a Landlock rule for port %lld", (long long)op->port);
    return 0;
}

int landlock_step_restrict(const struct step *st, struct slots *slots, struct err *e)
{
    int r;

    if (sys_note("landlock_restrict_self(2) of Linux 5.13",
                 syscall(SYS_landlock_restrict_self, slots->value[st->landlock_restrict.ruleset],
                         0)) == 0)
        return 0;
    r = err_set(e, errno, "cannot enforce the Landlock policy");
    if (r == -EPERM)
        err_hint(e, "without noNewPrivileges it needs CAP_SYS_ADMIN");
    if (r == -E2BIG)
        err_hint(e, "teca itself runs under 16 policies, and the kernel takes no more");
    return r;
}
