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

/* Enters the bundle, so that everything relative in it means what its author meant. */
static int enter_bundle(const struct container_options *o, struct arena *a,
                        struct container_bundle *out, struct err *e)
{
    char cwd[PATH_MAX];
    const char *dir = o->bundle ? o->bundle : ".";

    if (!str_eq(dir, ".") && chdir(dir) < 0)
        return err_set(e, errno, "cannot enter the bundle '%s'", dir);
    if (!getcwd(cwd, sizeof cwd))
        return err_set(e, errno, "cannot find the path of the bundle '%s'", dir);
    out->dir = arena_strdup(a, cwd);
    return 0;
}

static int read_config(const struct container_options *o, struct arena *a, bool whole,
                       struct container_bundle *out, struct err *e)
{
    char *text;
    int fd = whole ? file_read_open(a, AT_FDCWD, out->config_path, CONFIG_MAX_BYTES, &text,
                                    &out->text_len, e)
                   : file_read_short(a, AT_FDCWD, out->config_path, CONFIG_MAX_BYTES, &text,
                                     &out->text_len, e);

    if (fd == -ENOENT && !o->config)
        return err_set(e, ENOENT, "JSON specification file config.json not found in bundle '%s'",
                       out->dir);
    if (fd < 0)
        return fd;
    out->text = text;
    if (fd > STDERR_FILENO)
        return 0;
    /* The first fd of this process took a number that was closed: 0, 1 or 2. */
    close(fd);
    return fd_fill_standard(e);
}

/*
 * A JSON object that parses is whole, so an ordinary start saves the read that finds the end. One
 * that doesn't parse may have been cut off by its file system.
 */
static int read_and_parse(const struct container_options *o, struct arena *a,
                          struct container_bundle *out, struct spec_faults *faults, struct err *e)
{
    int r = read_config(o, a, faults != NULL, out, e);
    size_t first_len = out->text_len;

    if (r < 0)
        return r;
    r = spec_parse(a, out->text, out->text_len, &out->spec, faults, e);
    if (r == 0 || faults)
        return r;
    if (read_config(o, a, true, out, NULL) < 0 || out->text_len == first_len)
        return r;
    if (e)
        *e = (struct err){ 0 };
    return spec_parse(a, out->text, out->text_len, &out->spec, NULL, e);
}

int container_load(const struct container_options *o, struct arena *a, struct container_bundle *out,
                   struct spec_faults *faults, struct err *e)
{
    char cwd[PATH_MAX];
    int r;

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
        r = read_and_parse(o, a, out, faults, e);
    if (r == 0 && !faults)
        r = spec_check(out->spec, a, NULL, e);
    return r;
}

static void check_mounts(const struct spec *s, struct arena *a, struct spec_faults *faults)
{
    for (size_t i = 0; i < s->n_mounts; i++) {
        struct err e = { 0 };
        const char *pointer = arena_format(a, "/mounts/%zu", i);

        if (rootfs_check_mount(&s->mounts[i], &e) < 0)
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

int container_check(const struct container_options *o, struct arena *a, struct spec_faults *faults,
                    struct err *e)
{
    struct container_bundle b;
    int r = container_load(o, a, &b, faults, e);

    if (!b.spec)
        return r;
    spec_check(b.spec, a, faults, NULL);
    check_mounts(b.spec, a, faults);
    check_sysctls(b.spec, a, faults);
    sec_check_seccomp(b.spec, a, faults);
    sec_check_landlock(b.spec, a, faults);
    spec_unsupported(b.spec, a, faults);
    return 0;
}
