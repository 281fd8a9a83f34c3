/* SPDX-License-Identifier: Apache-2.0 */
#ifndef TECA_BASE_H
#define TECA_BASE_H
/*
 * base: what every room needs and C does not bring: errors as records, scope cleanup, an arena,
 * strings, JSON in and out, safe paths, and the system calls glibc 2.31 has no name for.
 *
 * Nothing here knows what a container is. Functions marked "Child-safe." make only system calls
 * (no malloc, no stdio, no locks) and may run between clone and exec. Every other function may
 * allocate. A function returns 0, an fd or a count on success and -errno on failure; the sentence
 * for a person goes into the caller's struct err. Outputs are untouched on failure.
 */
#include <errno.h>
#include <linux/mount.h>
#include <linux/openat2.h>
#include <linux/sched.h>
#include <stdarg.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <sys/types.h>

#define COUNT_OF(a) (sizeof(a) / sizeof((a)[0]))

/* ---- errors ------------------------------------------------------------------------------- */

enum { ERR_POINTER_SIZE = 192, ERR_TEXT_SIZE = 512 };

/*
 * One failure. `text` is a sentence without the field: "cannot mount 'proc' at '/proc': Operation
 * not permitted". `pointer` is the JSON pointer (RFC 6901) of the field that asked for it, or "".
 * `code` is a positive errno, 0 while nothing failed.
 */
struct err {
    int code;
    char pointer[ERR_POINTER_SIZE];
    char text[ERR_TEXT_SIZE];
};

/*
 * Writes the sentence; with errnum != 0 the reason ": strerror" is appended. Returns -errnum, or
 * -EINVAL when errnum is 0. Formats known: see base_format. e may be NULL. Child-safe.
 * The pointer is left as it is unless err_at is used; err_at with a pointer already set keeps the
 * innermost one (first writer wins).
 */
int err_set(struct err *e, int errnum, const char *fmt, ...) __attribute__((format(printf, 3, 4)));
int err_at(struct err *e, const char *pointer, int errnum, const char *fmt, ...)
    __attribute__((format(printf, 4, 5)));
/* Appends " (hint)" to the sentence. Child-safe. */
void err_hint(struct err *e, const char *fmt, ...) __attribute__((format(printf, 2, 3)));
/* Prepends "prefix: " to the sentence. Child-safe. */
void err_prefix(struct err *e, const char *prefix);
/* "POINTER: text" or "text" when there is no pointer, into buf. Returns buf. Child-safe. */
const char *err_sentence(const struct err *e, char *buf, size_t size);

/*
 * The formatter behind all of the above: %s %.*s %c %d %i %u %x %o with l, ll, z; %% ; %08x style
 * zero padding and width. NULL for %s prints "(null)". Always terminates buf when size > 0.
 * Returns the length the whole text would have. Child-safe.
 */
size_t base_format(char *buf, size_t size, const char *fmt, ...)
    __attribute__((format(printf, 3, 4)));
size_t base_vformat(char *buf, size_t size, const char *fmt, va_list ap);

/* ---- scope cleanup ------------------------------------------------------------------------ */

void fd_cleanup(int *fd); /* closes when >= 0, which it is then no more; keeps errno. Child-safe. */
void ptr_cleanup(void *ptr); /* frees *(void **)ptr */
#define AUTO_FD __attribute__((cleanup(fd_cleanup)))
#define AUTO_FREE __attribute__((cleanup(ptr_cleanup)))
static inline int take_fd(int *fd)
{
    int taken = *fd;
    *fd = -1;
    return taken;
}

/* Behind a read or write of a non-blocking fd that failed: is it to be tried again? */
static inline bool fd_is_later(void)
{
    return errno == EAGAIN || errno == EINTR;
}
/* Is nobody left at the other end of a stream socket? What has come and was not read yet hides it. Child-safe. */
bool fd_is_hung_up(int sock);

/* ---- arena -------------------------------------------------------------------------------- */

/*
 * Memory that lives as long as one verb: the spec, the facts, the plan. The first chunk may be the
 * caller's (static) memory so that an ordinary start asks the kernel for none. Running out of
 * memory ends the process with one line on stderr and exit 1: an arena is only used before the
 * first host-visible effect, so there is nothing to undo. Zeroed memory, 16-byte aligned.
 */
struct arena_chunk;
struct arena {
    char *at, *end;
    struct arena_chunk *chunks; /* mmap'ed ones, newest first */
};
void arena_init(struct arena *a, void *first, size_t size); /* borrows first; may be NULL, 0 */
void arena_release(struct arena *a);                        /* accepts a zeroed arena */
void *arena_alloc(struct arena *a, size_t size);
void *arena_array(struct arena *a, size_t n, size_t size); /* checked n * size */
char *arena_strdup(struct arena *a, const char *s);        /* NULL gives NULL */
char *arena_strndup(struct arena *a, const char *s, size_t n);
char *arena_format(struct arena *a, const char *fmt, ...) __attribute__((format(printf, 2, 3)));
/* Grows an arena array: returns new memory with n old elements copied, *cap doubled. */
void *arena_grow(struct arena *a, const void *old, size_t n, size_t *cap, size_t size);

/* ---- strings ------------------------------------------------------------------------------ */

struct strbuf { /* heap text that grows; {0} is a valid empty one */
    char *ptr;  /* NUL-terminated once anything was added */
    size_t len, cap;
};
void strbuf_add(struct strbuf *b, const char *data, size_t len);
void strbuf_str(struct strbuf *b, const char *s);
void strbuf_format(struct strbuf *b, const char *fmt, ...) __attribute__((format(printf, 2, 3)));
void strbuf_release(struct strbuf *b);
#define AUTO_STRBUF __attribute__((cleanup(strbuf_release)))

struct str_list { /* of words that somebody else owns */
    const char **v;
    size_t n;
};

bool str_eq(const char *a, const char *b); /* NULL equals only NULL. Child-safe. */
bool str_starts(const char *s, const char *prefix);
/* How many leading bytes are UTF-8 (RFC 3629: no overlong forms, no surrogates). Child-safe. */
size_t utf8_valid_len(const char *s, size_t len);
/*
 * Somebody else's words, to be shown to people: a control character, which a terminal would obey, and a byte that is no UTF-8
 * become '?', but for the characters in `but`.
 */
void text_clean(char *text, size_t len, const char *but);
/* Whole string, decimal, no sign for u64, no spaces. -EINVAL, -ERANGE. Child-safe. */
int str_to_u64(const char *s, uint64_t *out);
int str_to_i64(const char *s, int64_t *out);
/*
 * Lexical cleaning of an absolute or relative path as Go's path.Clean does it ("/a/./b/../c" ->
 * "/a/c"); ".." never climbs above "/". Result in the arena.
 */
const char *path_clean(struct arena *a, const char *path);

/* ---- JSON in ------------------------------------------------------------------------------ */

enum json_type { JSON_NULL, JSON_BOOL, JSON_NUMBER, JSON_STRING, JSON_ARRAY, JSON_OBJECT };

/*
 * A parsed document: yajl's events kept as a tree in an arena. Numbers keep their text, so 2^64-1
 * is exact. Children of an array or object are a linked list in document order.
 */
struct json {
    enum json_type type;
    unsigned line;    /* 1-based, where the value starts */
    const char *key;  /* in an object: this member's name */
    const char *text; /* string value or number text; NUL-terminated */
    size_t len;       /* of text, for strings that hold a NUL */
    bool boolean;
    unsigned count; /* children */
    unsigned index; /* position among the parent's children, from 0 */
    struct json *child, *next;
    struct json *parent;
};

enum { JSON_MAX_DEPTH = 256 };

/*
 * Parses exactly one value (whitespace around it allowed). Refuses, each with the line: bad UTF-8,
 * trailing garbage, nesting deeper than JSON_MAX_DEPTH, and a name that occurs twice in an object
 * (runtime-spec glossary "JSON": names must not repeat) — found without quadratic work. `what` names the document in messages ("config.json").
 */
int json_parse(struct arena *a, const char *data, size_t len, const char *what, struct json **out,
               struct err *e);
/* Member by name, NULL when absent or obj is no object. */
const struct json *json_get(const struct json *obj, const char *name);
/* RFC 6901 pointer of a node into buf ("~" and "/" escaped), cut off when too long. Returns buf. */
const char *json_pointer(const struct json *node, char *buf, size_t size);
char *json_pointer_dup(struct arena *a, const struct json *node); /* the same, never cut short */
/* Strict integers: no fraction or exponent, in range. -EINVAL, -ERANGE. */
int json_u64(const struct json *node, uint64_t *out);
int json_i64(const struct json *node, int64_t *out);

/*
 * Members of one object by name and type. The first fault goes to `e`, with the member's pointer, and
 * into `r`; every read from then on gives 0, false or NULL. `what` names the document ("the facts").
 */
struct json_reader {
    const struct json *object; /* NULL: every member is missing */
    const char *what;
    struct err *e;
    int r; /* 0 or -EINVAL */
};
void json_read_fault(struct json_reader *in, const char *name, const char *wanted);
uint64_t json_read_u64(struct json_reader *in, const char *name, uint64_t max);
bool json_read_bool(struct json_reader *in, const char *name);
bool json_read_bool_or_false(struct json_reader *in, const char *name); /* absent: false */
const char *json_read_string(struct json_reader *in, const char *name);
const char *json_read_string_or_null(struct json_reader *in,
                                     const char *name); /* absent, null: NULL */
/* The array itself, for a loop over its children; NULL: a fault. */
const struct json *json_read_array(struct json_reader *in, const char *name);
/* An array of strings that begin with `prefix`, NULL-ended, in the arena; absent, null: NULL. */
const char **json_read_strings(struct json_reader *in, const char *name, const char *prefix,
                               struct arena *a);

/* ---- JSON out ----------------------------------------------------------------------------- */

/* A thin hand on yajl_gen. key NULL inside arrays and at the top. Output is UTF-8, valid always: bytes
 * that are no UTF-8 are written as U+FFFD. pretty: two-space... indentation by tab. */
struct json_out;
struct json_out *json_out_new(bool pretty);
/* The same in an arena, without a call to malloc; never freed: it goes with the arena. */
struct json_out *json_out_in(struct arena *a, bool pretty);
void json_out_free(struct json_out *j);
void json_open_object(struct json_out *j, const char *key);
void json_close_object(struct json_out *j);
void json_open_array(struct json_out *j, const char *key);
void json_close_array(struct json_out *j);
void json_add_string(struct json_out *j, const char *key, const char *value); /* NULL: null */
void json_add_u64(struct json_out *j, const char *key, uint64_t value);
void json_add_i64(struct json_out *j, const char *key, int64_t value);
void json_add_bool(struct json_out *j, const char *key, bool value);
void json_add_strings(struct json_out *j, const char *key,
                      const char *const *strv);                                     /* NULL-ended */
void json_add_value(struct json_out *j, const char *key, const struct json *value); /* deep copy */
/* The text so far, borrowed until the next call. */
const char *json_out_text(struct json_out *j, size_t *len);

/* ---- files and paths ---------------------------------------------------------------------- */

/* Reads a whole file (regular or /proc) into the arena, NUL-terminated; -EFBIG above max. One open, reads until EOF, no fstat. */
int file_read(struct arena *a, int dir_fd, const char *path, size_t max, char **out,
              size_t *out_len, struct err *e);
/* The same, and leaves the fd open and returns it: on the start path a close is a call too many. */
int file_read_open(struct arena *a, int dir_fd, const char *path, size_t max, char **out,
                   size_t *out_len, struct err *e);
/*
 * The same up to the first read that gives less than it was asked for: a regular file is at its end
 * then, a pipe need not be. file_read_rest: 1, and what was still to come is added to text; 0: there
 * was nothing.
 */
int file_read_first(struct arena *a, int dir_fd, const char *path, int flags, size_t max,
                    char **out, size_t *out_len, struct err *e);
int file_read_rest(struct arena *a, int fd, const char *path, size_t max, char **text, size_t *len,
                   struct err *e);
/* open(O_WRONLY|O_CLOEXEC) + one write of all of it (short write is -EIO). For /proc and cgroup files. Child-safe. Returns -errno, no sentence. */
int file_write_once(int dir_fd, const char *path, const char *data, size_t len);
/* Writes everything to fd, restarting short writes and EINTR. Child-safe. */
int fd_write_all(int fd, const void *data, size_t len);
/* One sendmsg(2) of all of data with one fd beside it (SCM_RIGHTS), and no SIGPIPE. Child-safe. */
int fd_send(int sock, const void *data, size_t len, int fd);
/*
 * A caller may have closed 0, 1 or 2; then the next file opened would get that number, and a
 * sentence meant for stderr would be written into it. Opens /dev/null on those. One call when none
 * is missing.
 */
int fd_fill_standard(struct err *e);
/* Replaces PATH, a regular file, atomically: unique temporary in the same directory, rename. */
int file_replace(const char *path, const char *data, size_t len, mode_t mode, struct err *e);

/*
 * The absolute path of a program, NULL: not there. The caller's PATH first, then the usual places.
 */
const char *program_find(struct arena *a, const char *name);

/*
 * Opens a path inside a hostile root: openat2 with RESOLVE_IN_ROOT and RESOLVE_NO_MAGICLINKS
 * (Linux 5.6). flags get O_CLOEXEC. Returns an fd or -errno. Child-safe.
 */
int root_open(int root_fd, const char *path, int flags, mode_t mode);
/*
 * mkdir -p inside a hostile root, walking fd by fd so that no component is resolved by string twice.
 * Existing components, also symlinks inside the root, are followed within the root. Returns an O_PATH directory fd of the last component. Child-safe.
 */
int root_mkdirs(int root_fd, const char *path, mode_t mode);

/*
 * A process that enters another mount namespace keeps the host's paths: an fd of the host's root,
 * opened before, becomes the working directory afterwards, and host_path gives an absolute path of
 * the host relative to it. Before that, and for relative paths, it is the path itself. Absolute
 * symlinks of the host still lead into the new namespace. Child-safe; -errno.
 */
int host_root_open(void);
int host_root_enter(int fd);
const char *host_path(const char *path);
/*
 * A file below /proc ("sys/net/...", "thread-self/attr/exec"), where /proc may be anything: it must
 * be the root of a procfs, and the way below must not leave that mount (else -EXDEV) nor go through
 * a magic link. write: open and one write of all of it. Child-safe; -errno.
 */
int proc_open(const char *path, int flags);
int proc_write(const char *path, const char *text, size_t len);

/* "/proc/self/fd/N[/name]" into buf, by host_path, for mount(2) on an fd. name may be NULL. Child-safe. */
enum { FD_PATH_SIZE = 320 };
const char *fd_path(char buf[FD_PATH_SIZE], int fd, const char *name);

/* linux_dirent64 of getdents64(2), which glibc does not declare: for walks that must not allocate. */
struct dent {
    uint64_t ino;
    int64_t off;
    uint16_t reclen;
    uint8_t type;
    char name[];
};

/* ---- system calls ------------------------------------------------------------------------- */
/* All: the kernel's result or -1 with errno, like glibc's own. Child-safe. */

/*
 * The result of a call that an older kernel, or the seccomp filter of a container around teca, may
 * refuse: a sentence with the same error then names it. "seccomp(2) of Linux 3.17".
 */
long sys_note(const char *name, long result);
int sys_openat2(int dir_fd, const char *path, const struct open_how *how);
pid_t sys_clone3(const struct clone_args *args, size_t size); /* fork-like: child gets 0 */
int sys_pidfd_open(pid_t pid, unsigned flags);
int sys_pidfd_send_signal(int pidfd, int sig);
int sys_close_range(unsigned first, unsigned last, unsigned flags);
int sys_mount_setattr(int dir_fd, const char *path, unsigned flags, const struct mount_attr *attr);
int sys_open_tree(int dir_fd, const char *path, unsigned flags);
int sys_move_mount(int from_fd, const char *from, int to_fd, const char *to, unsigned flags);
int sys_fsopen(const char *type, unsigned flags);
int sys_fsconfig(int fd, unsigned cmd, const char *key, const void *value, int aux);
int sys_fsmount(int fd, unsigned flags, unsigned attr);
struct statx;
int sys_statx(int fd, unsigned mask, struct statx *out); /* of the fd itself */
int sys_pivot_root(const char *new_root, const char *put_old);
int sys_execveat(int dir_fd, const char *path, char *const argv[], char *const envp[], int flags);

/* ---- log ---------------------------------------------------------------------------------- */

/*
 * Debug lines go to the sink that cmd/ set (none by default): base never prints. log_debug does
 * nothing and costs nothing when no sink is set.
 */
extern void (*log_sink)(const char *line);
void log_debug(const char *fmt, ...) __attribute__((format(printf, 1, 2)));

#endif
