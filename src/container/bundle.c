/* SPDX-License-Identifier: Apache-2.0 */
/* Where things are: the state root, the bundle, its config.json; and what may be called an ID. */
#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <stdlib.h>
#include <string.h>
#include <sys/auxv.h>
#include <sys/stat.h>
#include <unistd.h>

#include "container/internal.h"

/* A config above this is refused before it is read; the issue asks for 10 MiB. */
enum { CONFIG_MAX_BYTES = 64 << 20 };

/* What the state root says is believed and acted upon, so nobody else may write there. */
static int check_owner(const char *path, struct err *e)
{
    struct stat st;

    if (lstat(path, &st) < 0)
        return errno == ENOENT ? 0 : err_set(e, errno, "cannot look at the state root '%s'", path);
    if (S_ISDIR(st.st_mode) && st.st_uid == (uid_t)getauxval(AT_EUID) && !(st.st_mode & 022))
        return 0;
    err_set(e, 0, "the state root '%s' is not a directory that only its owner, user %u, may write",
            path, (unsigned)getauxval(AT_EUID));
    return -EPERM;
}

/*
 * XDG Base Directory Specification, "XDG_RUNTIME_DIR": the user's own and of mode 0700. Without it,
 * as after su(1), the directory that pam_systemd(8) makes serves when it is there.
 */
static int user_root(const char *runtime_dir, struct arena *a, const char **out, struct err *e)
{
    unsigned uid = (unsigned)getauxval(AT_EUID);
    const char *dir = runtime_dir ? runtime_dir : arena_format(a, "/run/user/%u", uid);
    struct stat st;

    if (!runtime_dir &&
        (lstat(dir, &st) < 0 || !S_ISDIR(st.st_mode) || st.st_uid != uid || st.st_mode & 022)) {
        err_set(e, 0,
                "no place for the containers of user %u: XDG_RUNTIME_DIR is not set, and "
                "'%s' is not there for this user alone",
                uid, dir);
        err_hint(e, "set it, or use --root");
        return -ENOENT;
    }
    *out = arena_format(a, "%s/teca", dir);
    return check_owner(*out, e);
}

int container_root(const struct container_options *o, struct arena *a, const char **out,
                   struct err *e)
{
    const char *runtime_dir;

    if (o->root) {
        char cwd[PATH_MAX];

        if (o->root[0] == '/') {
            *out = path_clean(a, o->root);
        } else {
            if (!getcwd(cwd, sizeof cwd))
                return err_set(e, errno, "cannot find the current directory for --root");
            *out = path_clean(a, arena_format(a, "%s/%s", cwd, o->root));
        }
        if (str_eq(*out, "/"))
            return err_set(e, 0, "--root '%s' is the root directory", o->root);
        return 0;
    }
    runtime_dir = getenv("XDG_RUNTIME_DIR");
    if (runtime_dir && runtime_dir[0] != '/')
        runtime_dir = NULL;
    *out = "/run/teca";
    if (getauxval(AT_EUID) != 0)
        return user_root(runtime_dir, a, out, e);
    /* Root of a user namespace has no /run: rootless engines name the user's directory. */
    return runtime_dir && ns_is_nested() ? user_root(runtime_dir, a, out, e) : 0;
}

int container_check_id(const char *id, struct err *e)
{
    size_t len = id ? strlen(id) : 0;

    if (len == 0)
        return err_set(e, 0, "container id cannot be empty");
    for (size_t i = 0; i < len; i++) {
        char c = id[i];

        if (!((c >= 'a' && c <= 'z') || (c >= 'A' && c <= 'Z') || (c >= '0' && c <= '9') ||
              strchr("_+.-", c)))
            return err_set(e, 0,
                           "invalid container ID format: '%s' (letters, digits and _+.- only)", id);
    }
    if (str_eq(id, ".") || str_eq(id, ".."))
        return err_set(e, 0, "invalid container ID format: '%s'", id);
    if (len > NAME_MAX)
        return err_set(e, 0, "invalid container ID format: longer than %d bytes", NAME_MAX);
    return 0;
}

/* Absolute, every component a name: nothing that getcwd(3) would say otherwise but symlinks. */
static bool is_plain_path(const char *path)
{
    if (*path != '/')
        return false;
    while (*path == '/') {
        size_t n = strcspn(++path, "/");

        if (n == 0 || (n <= 2 && strspn(path, ".") >= n))
            return false;
        path += n;
    }
    return true;
}

/* Enters the bundle, so that everything relative in it means what its author meant. */
static int enter_bundle(const struct container_options *o, struct arena *a,
                        struct container_bundle *out, struct err *e)
{
    char cwd[PATH_MAX];
    const char *dir = o->bundle ? o->bundle : ".";

    if (!str_eq(dir, ".") && chdir(dir) < 0)
        return err_set(e, errno, "cannot enter the bundle '%s'", dir);
    out->dir = dir;
    if (is_plain_path(dir))
        return 0;
    if (!getcwd(cwd, sizeof cwd))
        return err_set(e, errno, "cannot find the path of the bundle '%s'", dir);
    out->dir = arena_strdup(a, cwd);
    return 0;
}

static bool may_be_whole(const char *text, size_t len)
{
    while (len > 0 && strchr(" \t\r\n", text[len - 1]))
        len--;
    return len > 0 && text[len - 1] == '}';
}

/* 1: there was more than the first read gave. */
static int read_rest(struct container_bundle *out, int fd, struct arena *a, struct err *e)
{
    char *text = (char *)out->text;
    int r = file_read_rest(a, fd, out->config_path, CONFIG_MAX_BYTES, &text, &out->text_len, e);

    out->text = text;
    return r;
}

/*
 * The bundle's author may have made it a FIFO, and nobody ever writes to that: it is opened with
 * O_NONBLOCK, and says nothing. A pipe that the caller names by --config is waited for.
 */
static int says_nothing(const struct container_bundle *out, int r, struct err *e)
{
    struct stat st;

    if (stat(out->config_path, &st) == 0 && !S_ISREG(st.st_mode)) {
        err_set(e, 0, "config.json in bundle '%s' is no regular file", out->dir);
        err_hint(e, "--config takes a pipe");
        return -EINVAL;
    }
    return r;
}

/*
 * *fd: the file, as long as it may have more. An object that parses is whole, whatever it was read
 * from, so that its end need not be asked for.
 */
static int read_config(const struct container_options *o, struct arena *a,
                       struct container_bundle *out, int *fd, struct err *e)
{
    char *text;
    int flags = o->config ? 0 : O_NONBLOCK | O_NOCTTY;
    int file = file_read_first(a, AT_FDCWD, out->config_path, flags, CONFIG_MAX_BYTES, &text,
                               &out->text_len, e);
    bool is_standard = file >= 0 && file <= STDERR_FILENO;
    int r;

    if (file == -ENOENT && !o->config)
        return err_set(e, ENOENT, "JSON specification file config.json not found in bundle '%s'",
                       out->dir);
    if (!o->config && (file == -EAGAIN || (file >= 0 && out->text_len == 0)))
        file = says_nothing(out, file, e);
    if (file < 0)
        return file;
    out->text = text;
    *fd = file;
    if (!is_standard && may_be_whole(text, out->text_len))
        return 0;
    *fd = -1;
    r = read_rest(out, file, a, e);
    if (!is_standard || r < 0)
        return r < 0 ? r : 0;
    /* The first fd of this process took a number that was closed: 0, 1 or 2. */
    close(file);
    return fd_fill_standard(e);
}

static int parse_config(struct container_bundle *out, int fd, struct arena *a,
                        struct spec_faults *faults, struct err *e)
{
    int r, more;

    if (faults && fd >= 0) {
        r = read_rest(out, fd, a, e);
        return r < 0 ? r : spec_parse(a, out->text, out->text_len, &out->spec, faults, e);
    }
    r = spec_parse(a, out->text, out->text_len, &out->spec, faults, e);
    if (r == 0 || fd < 0)
        return r;
    more = read_rest(out, fd, a, e);
    if (more > 0) {
        *e = (struct err){ 0 };
        return spec_parse(a, out->text, out->text_len, &out->spec, NULL, e);
    }
    return more < 0 ? more : r;
}

/*
 * runtime-spec config.md "Process": only `start` needs one. What create makes without it waits for a
 * start that never comes, for `start` refuses.
 */
static void lend_process(struct spec_process *p)
{
    static const char *const no_program[] = { "", NULL };

    if (p->set)
        return;
    p->cwd = "/";
    p->args = (struct strs){ .v = no_program, .n = 1 };
}

int container_load(const struct container_options *o, struct arena *a, struct container_bundle *out,
                   struct spec_faults *faults, struct err *e)
{
    char cwd[PATH_MAX];
    int fd = -1, r;

    *out = (struct container_bundle){ .config_path = "config.json" };
    if (o->config && o->config[0] == '/')
        out->config_path = o->config;
    else if (o->config) {
        if (!getcwd(cwd, sizeof cwd))
            return err_set(e, errno, "cannot find the current directory for --config");
        out->config_path = arena_format(a, "%s/%s", cwd, o->config);
    }
    r = enter_bundle(o, a, out, e);
    if (r == 0)
        r = read_config(o, a, out, &fd, e);
    if (r == 0)
        r = parse_config(out, fd, a, faults, e);
    if (r == 0 && !faults)
        r = spec_check(out->spec, a, NULL, e);
    if (r == 0)
        lend_process(&out->spec->process);
    return r;
}

/*
 * What the rooms know of single entries. `known` are the faults of the document: what could not be
 * read is replaced by something harmless, so that a wrong type hides no other fault and makes none.
 */
static void check_mounts(const struct spec *s, const struct spec_faults *known, struct arena *a,
                         struct spec_faults *faults)
{
    for (size_t i = 0; i < s->n_mounts; i++) {
        struct spec_mount m = s->mounts[i];
        struct err e = { 0 };
        const char *pointer = arena_format(a, "/mounts/%zu", i);

        if (spec_faults_at(known, arena_format(a, "%s/type", pointer)))
            m.type = "tmpfs";
        if (spec_faults_at(known, arena_format(a, "%s/source", pointer)))
            m.source = "none";
        if (!spec_faults_at(known, pointer) && rootfs_check_mount(&m, &e) < 0)
            spec_fault_add(faults, a, e.pointer[0] ? arena_strdup(a, e.pointer) : pointer,
                           spec_line_of(s, pointer), false, arena_strdup(a, e.text));
    }
}

/* A key as a token of a JSON pointer: "~" and "/" are escaped (RFC 6901). */
static const char *sysctl_pointer(struct arena *a, const char *key)
{
    AUTO_STRBUF struct strbuf b = { 0 };

    strbuf_str(&b, "/linux/sysctl/");
    for (; *key; key++) {
        if (*key == '~' || *key == '/')
            strbuf_str(&b, *key == '/' ? "~1" : "~0");
        else
            strbuf_add(&b, key, 1);
    }
    return arena_strdup(a, b.ptr);
}

/* With a list of namespaces that could not be read whole, a sysctl lacks none. */
static struct spec with_all_namespaces(const struct spec *s)
{
    static struct spec_namespace all[SPEC_NS_COUNT];
    struct spec with = *s;

    for (int type = 0; type < SPEC_NS_COUNT; type++)
        all[type].type = (enum spec_ns)type;
    with.linux.namespaces = all;
    with.linux.n_namespaces = SPEC_NS_COUNT;
    return with;
}

static void check_sysctls(const struct spec *s, struct arena *a, struct spec_faults *faults)
{
    for (size_t i = 0; i < s->linux.sysctl.n; i++) {
        const char *name = s->linux.sysctl.v[i].key;
        const char *pointer = sysctl_pointer(a, name);
        struct err e = { 0 };

        if (ns_sysctl_allowed(s, name, &e) < 0)
            spec_fault_add(faults, a, pointer, spec_line_of(s, pointer), false,
                           arena_strdup(a, e.text));
    }
}

static void check_rooms(const struct spec *s, struct arena *a, struct spec_faults *faults)
{
    struct spec read = spec_faults_about(faults, "/linux/namespaces") ? with_all_namespaces(s) : *s;
    struct spec_faults more;

    if (faults->errors > SPEC_FOLLOWED_UP_ERRORS)
        return;
    spec_faults_init(&more);
    check_mounts(&read, faults, a, &more);
    check_sysctls(&read, a, &more);
    sec_check_seccomp(&read, faults, a, &more);
    sec_check_landlock(&read, a, &more);
    spec_faults_join(faults, &more);
}

int container_check(const struct container_options *o, struct arena *a, struct spec_faults *faults,
                    struct err *e)
{
    struct container_bundle b;
    int r = container_load(o, a, &b, faults, e);

    if (!b.spec)
        return r;
    if (r < 0) { /* the rules have been tried on what could be read */
        check_rooms(b.spec, a, faults);
        return r;
    }
    spec_check(b.spec, a, faults, NULL);
    check_rooms(b.spec, a, faults);
    spec_unsupported(b.spec, a, faults);
    return 0;
}
