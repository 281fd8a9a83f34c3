/* SPDX-License-Identifier: Apache-2.0 */
/* A root filesystem as one file: found by what the tree is now, else made by mkfs.erofs(1) once. */
#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <linux/capability.h>
#include <sched.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mount.h>
#include <sys/prctl.h>
#include <sys/resource.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <sys/wait.h>
#include <unistd.h>

#include "boot/internal.h"

enum { SAID_MAX = 4096, PATH_SIZE = 4096, OUT_FD = 3 };

struct work {
    struct arena *arena;
    const char *dir;  /* CACHE/images */
    const char *root; /* the tree, as an absolute path */
    int tree;         /* a read-only mount of it, that lies nowhere */
    struct boot_tree_size size;
    char key[DIGEST_HEX];
};

const char *boot_image_type(int fd)
{
    static const struct {
        const char *name;
        off_t at;
        uint32_t magic; /* include/uapi/linux/magic.h */
        unsigned bytes;
    } types[] = { { "erofs", 1024, 0xe0f5e1e2, 4 },
                  { "ext4", 1024 + 56, 0xef53, 2 },
                  { "squashfs", 0, 0x73717368, 4 } };

    for (size_t i = 0; i < COUNT_OF(types); i++) {
        uint8_t found[4];

        if (pread(fd, found, types[i].bytes, types[i].at) == (ssize_t)types[i].bytes &&
            boot_get(found, types[i].bytes) == types[i].magic)
            return types[i].name;
    }
    return NULL;
}

/* ---- the tree -------------------------------------------------------------------------------- */

/* A copy of the one mount: what is mounted below it is not there, so nothing that walks it can get elsewhere. */
static int open_tree_of(struct work *w, struct err *e)
{
    struct mount_attr attr = { .attr_set = MOUNT_ATTR_RDONLY | MOUNT_ATTR_NOSUID |
                                           MOUNT_ATTR_NODEV | MOUNT_ATTR_NOEXEC };

    w->tree = sys_open_tree(AT_FDCWD, w->root, OPEN_TREE_CLONE | OPEN_TREE_CLOEXEC);
    if (w->tree < 0 || sys_mount_setattr(w->tree, "", AT_EMPTY_PATH, &attr) < 0) {
        int r = err_set(e, errno, "cannot copy the mount of the root filesystem '%s'", w->root);

        if (r == -EPERM)
            err_hint(e, "root of a user namespace needs a mount namespace of its own for it");
        return r;
    }
    return 0;
}

/*
 * Of the directory's name as well: numbers and times of files are what their file system says, which may be an image that
 * somebody has made, or his FUSE; so he could have had the key of another's tree.
 */
static int compute_key(struct work *w, char key[DIGEST_HEX], struct err *e)
{
    const char *form = "2"; /* of the image: another version's is not taken */
    int r = boot_tree_digest(w->tree, arena_format(w->arena, "%s %s", form, w->root), key, &w->size,
                             e);

    if (r < 0)
        err_prefix(e, w->root);
    return r;
}

/* ---- mkfs.erofs ------------------------------------------------------------------------------ */

/*
 * mkfs.erofs writes the holes of files too, and a hole of terabytes costs the tree's maker nothing. An image may be eight
 * times what the tree takes on its disk, where that may be compressed, and a GiB.
 */
static uint64_t largest_image(const struct work *w)
{
    const uint64_t room = UINT64_C(1) << 30;

    return w->size.disk > (UINT64_MAX - room) / 8 ? UINT64_MAX : w->size.disk * 8 + room;
}

static int tell_holes(const struct work *w, struct err *e)
{
    err_set(
        e, EFBIG,
        "cannot make an image of '%s': with the holes of its files it would be larger than %lu MiB",
        w->root, largest_image(w) >> 20);
    err_hint(e, "org.teca.rootfs \"share\" does without an image");
    return -EFBIG;
}

/* What it needs is to read every file. Without new privileges (prctl(2)) an execve(2) of root's gains no more than that. */
static int give_up_rights(const struct work *w)
{
    struct __user_cap_header_struct head = { .version = _LINUX_CAPABILITY_VERSION_3 };
    struct __user_cap_data_struct keep[_LINUX_CAPABILITY_U32S_3] = {
        { .effective = 1 << CAP_DAC_READ_SEARCH, .permitted = 1 << CAP_DAC_READ_SEARCH }
    };
    struct rlimit no_core = { 0, 0 }, image;

    signal(SIGXFSZ, SIG_DFL);
    getrlimit(RLIMIT_FSIZE, &image);
    if (image.rlim_cur > largest_image(w))
        image.rlim_cur = largest_image(w);
    return setrlimit(RLIMIT_CORE, &no_core) < 0 || setrlimit(RLIMIT_FSIZE, &image) < 0 ||
                   prctl(PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0) < 0 ||
                   syscall(SYS_capset, &head, keep) < 0
               ? -1
               : 0;
}

/*
 * The tree in its own place, alone; everything read-only but the file that is open already, whose mount is of the
 * namespace that it was opened in.
 */
static int enter_tree(const struct work *w)
{
    struct mount_attr read_only = { .attr_set = MOUNT_ATTR_RDONLY };

    return unshare(CLONE_NEWNS | CLONE_NEWNET | CLONE_NEWIPC | CLONE_NEWUTS) < 0 ||
                   mount(NULL, "/", NULL, MS_REC | MS_PRIVATE, NULL) < 0 ||
                   sys_mount_setattr(AT_FDCWD, "/", AT_RECURSIVE, &read_only) < 0 ||
                   sys_move_mount(w->tree, "", AT_FDCWD, w->root, MOVE_MOUNT_F_EMPTY_PATH) < 0 ||
                   fchdir(w->tree) < 0
               ? -1
               : 0;
}

/*
 * Files begin at a page and are not packed, so that a machine can map them (DAX); every inode has its owner, links and
 * time in full. The number of the file system is the same always: nothing finds it by that.
 */
static _Noreturn void run_mkfs(const struct work *w, const char *program, int out, int said,
                               pid_t parent)
{
    static char *const argv[] = { "mkfs.erofs",
                                  "--quiet",
                                  "--preserve-mtime",
                                  "-U00000000-0000-0000-0000-000000000001",
                                  "-Enoinline_data,force-inode-extended",
                                  "/proc/self/fd/3",
                                  ".",
                                  NULL };
    static char *const env[] = { "PATH=/usr/sbin:/usr/bin:/sbin:/bin", NULL };
    int null = openat(AT_FDCWD, "/dev/null", O_RDWR | O_CLOEXEC);

    if (prctl(PR_SET_PDEATHSIG, SIGKILL) < 0 || getppid() != parent || enter_tree(w) < 0)
        dprintf(said, "cannot make namespaces for it: errno %d\n", errno);
    else if (dup2(null, 0) < 0 || dup2(null, 1) < 0 || dup2(said, 2) < 0 || dup2(out, OUT_FD) < 0 ||
             sys_close_range(OUT_FD + 1, ~0U, 0) < 0 || give_up_rights(w) < 0)
        dprintf(2, "cannot give up rights: errno %d\n", errno);
    else
        execve(program, argv, env);
    _exit(127);
}

/* Of names in it the tree's maker has chosen the letters. */
static const char *last_line(char *text, size_t len)
{
    char *before;

    while (len > 0 && text[len - 1] == '\n')
        len--;
    text_clean(text, len, "\n\t");
    text[len] = 0;
    before = strrchr(text, '\n');
    return before ? before + 1 : text;
}

/* What it says, the end of it, until it says no more. */
static size_t listen_to(int fd, char text[SAID_MAX])
{
    size_t len = 0;
    ssize_t n;

    for (;;) {
        if (len == SAID_MAX - 1) {
            memmove(text, text + SAID_MAX / 2, len - SAID_MAX / 2);
            len -= SAID_MAX / 2;
        }
        n = read(fd, text + len, SAID_MAX - 1 - len);
        if (n < 0 && errno == EINTR)
            continue;
        if (n <= 0)
            return len;
        len += (size_t)n;
    }
}

static int wait_for_mkfs(const struct work *w, pid_t pid, int said, struct err *e)
{
    char text[SAID_MAX] = "";
    size_t len = listen_to(said, text);
    const char *line;
    int status;

    while (waitpid(pid, &status, 0) < 0)
        if (errno != EINTR)
            return err_set(e, errno, "cannot wait for mkfs.erofs");
    if (WIFEXITED(status) && WEXITSTATUS(status) == 0)
        return 0;
    if (WIFSIGNALED(status) && WTERMSIG(status) == SIGXFSZ)
        return tell_holes(w, e);
    line = last_line(text, len);
    err_set(e, 0, "cannot make an image of '%s' in '%s': mkfs.erofs: %s", w->root, w->dir,
            *line ? line : "it ended without a word");
    return -EIO;
}

static int make_file(const struct work *w, int out, struct err *e)
{
    const char *program = program_find(w->arena, "mkfs.erofs");
    AUTO_FD int mine = -1;
    AUTO_FD int theirs = -1;
    pid_t parent = getpid(), pid;
    int fds[2];

    if (w->size.files > largest_image(w))
        return tell_holes(w, e);
    if (!program) {
        err_set(e, ENOENT, "cannot find mkfs.erofs, which makes an image of a root filesystem");
        err_hint(e, "apt install erofs-utils");
        return -ENOENT;
    }
    if (pipe2(fds, O_CLOEXEC) < 0)
        return err_set(e, errno, "cannot make a pipe");
    mine = fds[0];
    theirs = fds[1];
    pid = fork();
    if (pid < 0)
        return err_set(e, errno, "cannot fork");
    if (pid == 0)
        run_mkfs(w, program, out, theirs, parent);
    fd_cleanup(&theirs);
    return wait_for_mkfs(w, pid, mine, e);
}

/* ---- the cache ------------------------------------------------------------------------------- */

static const char *path_of(const struct work *w, const char *key, const char *ending)
{
    return arena_format(w->arena, "%s/%s.%s", w->dir, key, ending);
}

/* What a builder that was killed has left: whoever holds the lock is the only one. */
static void remove_leftovers(const struct work *w)
{
    DIR *dir = opendir(w->dir);

    for (const struct dirent *entry; dir && (entry = readdir(dir));)
        if (str_starts(entry->d_name, ".new"))
            unlinkat(dirfd(dir), entry->d_name, 0);
    if (dir)
        closedir(dir);
}

/* Of this directory as it was, or of one that is no more. A machine that runs has its image open. */
static bool is_stale(const struct work *w, const char *link)
{
    char root[PATH_SIZE];
    ssize_t n = readlink(link, root, sizeof root - 1);

    if (n < 0)
        return false;
    root[n] = 0;
    return str_eq(root, w->root) || faccessat(AT_FDCWD, root, F_OK, 0) < 0;
}

static void remove_stale(const struct work *w)
{
    DIR *dir = opendir(w->dir);

    for (const struct dirent *entry; dir && (entry = readdir(dir));) {
        const char *end = strchr(entry->d_name, '.');
        const char *key = arena_strndup(w->arena, entry->d_name,
                                        end ? (size_t)(end - entry->d_name) : 0);

        if (!str_eq(end, ".root") || str_eq(key, w->key) || !is_stale(w, path_of(w, key, "root")))
            continue;
        unlink(path_of(w, key, "erofs"));
        unlink(path_of(w, key, "root"));
    }
    if (dir)
        closedir(dir);
}

/*
 * The tree must be afterwards what it was: else the image would be neither the one nor the other, and what mkfs.erofs has
 * said (`done`) tells of no fault of its own: of a file that was cut while it read it, "Input/output error".
 */
static int compare(struct work *w, int done, struct err *e)
{
    struct err now = { 0 };
    char key[DIGEST_HEX];
    int r = compute_key(w, key, &now);

    if (r == 0 && !str_eq(key, w->key)) {
        err_set(e, 0, "'%s' is changed by somebody while an image is made of it", w->root);
        err_hint(e, "org.teca.rootfs \"share\" does without an image");
        return -EAGAIN;
    }
    if (r < 0 && done == 0)
        *e = now;
    return done < 0 ? done : r;
}

static int fill(struct work *w, const char *path, struct err *e)
{
    AUTO_FD int out = openat(AT_FDCWD, path, O_RDWR | O_CREAT | O_EXCL | O_CLOEXEC, 0600);
    int r;

    if (out < 0)
        return err_set(e, errno, "cannot make '%s'", path);
    r = compare(w, make_file(w, out, e), e);
    if (r == 0 && (fchmod(out, 0400) < 0 || fsync(out) < 0))
        r = err_set(e, errno, "cannot write '%s'", path);
    return r;
}

static int make(struct work *w, const char *path, struct err *e)
{
    const char *new = arena_format(w->arena, "%s/.new", w->dir);
    int r;

    remove_leftovers(w);
    remove_stale(w);
    r = fill(w, new, e);
    if (r == 0 && symlink(w->root, path_of(w, w->key, "root")) < 0 && errno != EEXIST)
        r = err_set(e, errno, "cannot make a link in '%s'", w->dir);
    if (r == 0 && rename(new, path) < 0)
        r = err_set(e, errno, "cannot rename '%s' to '%s'", new, path);
    if (r < 0)
        unlink(new);
    return r;
}

/* Who removes it waits for the lock, or for nothing where there is none. 0: `out` has it, or nothing is there. */
static int look_for(struct work *w, struct boot_image *out, struct err *e)
{
    int r = compute_key(w, w->key, e);

    if (r < 0)
        return r;
    out->path = path_of(w, w->key, "erofs");
    out->fd = openat(AT_FDCWD, out->path, O_RDONLY | O_CLOEXEC);
    return out->fd < 0 && errno != ENOENT ? err_set(e, errno, "cannot open '%s'", out->path) : 0;
}

/* With the lock. Of the tree as it is now: who had the lock before may have met another one, and removed the image of that. */
static int make_one(struct work *w, struct boot_image *out, struct err *e)
{
    int r = look_for(w, out, e);

    if (r < 0 || out->fd >= 0)
        return r;
    r = make(w, out->path, e);
    if (r < 0)
        return r;
    out->made = true;
    out->fd = openat(AT_FDCWD, out->path, O_RDONLY | O_CLOEXEC);
    return out->fd < 0 ? err_set(e, errno, "cannot open '%s'", out->path) : 0;
}

static int find_or_make(struct work *w, bool look, struct boot_image *out, struct err *e)
{
    enum { ATTEMPTS = 3 };
    AUTO_FD int lock = -1;
    int r = look_for(w, out, e);

    if (r < 0 || out->fd >= 0 || look)
        return r;
    r = boot_make_dirs(w->arena, w->dir, 0700, e);
    if (r == 0)
        r = boot_lock(w->arena, w->dir, &lock, e);
    if (r < 0)
        return r;
    r = make_one(w, out, e);
    for (int i = 1; i < ATTEMPTS && r == -EAGAIN; i++) {
        fd_cleanup(&w->tree); /* the mount has gone with the namespace of mkfs.erofs */
        r = open_tree_of(w, e);
        r = r < 0 ? r : make_one(w, out, e);
    }
    return r;
}

int boot_image(const struct boot_image_request *q, struct arena *a, struct boot_image *out,
               struct err *e)
{
    AUTO_UMASK mode_t of_caller = umask(BOOT_UMASK);
    struct work w = { .arena = a, .tree = -1 };
    struct boot_image found = { .fd = -1 };
    const char *cache;
    char *real;
    int r = boot_cache_dir(q->cache, a, &cache, e);

    if (r < 0)
        return r;
    real = realpath(q->root, NULL);
    if (!real)
        return err_set(e, errno, "cannot find the root filesystem '%s'", q->root);
    w.root = arena_strdup(a, real);
    free(real);
    w.dir = arena_format(a, "%s/images", cache);
    r = open_tree_of(&w, e);
    if (r == 0)
        r = find_or_make(&w, q->look, &found, e);
    fd_cleanup(&w.tree);
    if (r == 0)
        *out = found;
    return r;
}
