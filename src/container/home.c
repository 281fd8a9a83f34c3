/* SPDX-License-Identifier: Apache-2.0 */
/*
 * HOME, when the configuration has none: engines leave it to the runtime (engine-contract 1.14). For
 * root it is /root without a look, which is what images say of it and what keeps an ordinary start
 * as short as it is; for everybody else the container's own /etc/passwd is asked, which is hostile.
 */
#include <errno.h>
#include <fcntl.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "container/internal.h"

enum { HOME_SIZE = 4096, PASSWD_MAX_BYTES = 1 << 20, LINE_SIZE = 8192 };
enum { FIELD_UID = 2, FIELD_HOME = 5 }; /* passwd(5), from 0 */

/* The entry of envp; filled by the step, in the process that executes envp. */
static char home_entry[HOME_SIZE];

/* ---- compile ------------------------------------------------------------------------------- */

static bool is_home(const char *entry)
{
    return str_starts(entry, "HOME=");
}

static bool has_home(const struct strs *env)
{
    for (size_t i = env->n; i-- > 0;) /* the last one wins */
        if (is_home(env->v[i]))
            return env->v[i][strlen("HOME=")] != '\0';
    return false;
}

const char *const *home_compile(struct plan *p, const struct spec_process *pr)
{
    const char **envp;
    size_t n = 0;

    if (has_home(&pr->env))
        return pr->env.v;
    envp = arena_array(p->arena, pr->env.n + 2, sizeof *envp);
    for (size_t i = 0; i < pr->env.n; i++)
        if (!is_home(pr->env.v[i]))
            envp[n++] = pr->env.v[i];
    if (pr->user.uid == 0) {
        envp[n] = "HOME=/root";
        return envp;
    }
    base_format(home_entry, sizeof home_entry, "HOME=/");
    envp[n] = home_entry;
    plan_add(p, OP_HOME, LANE_INIT, "/process/env")->home.uid = pr->user.uid;
    return envp;
}

/* ---- execute ------------------------------------------------------------------------------- */

/* The field number `index` of a line, NULL: it has fewer. In place. */
static char *field_of(char *line, int index)
{
    while (index-- > 0) {
        line = strchr(line, ':');
        if (!line)
            return NULL;
        line++;
    }
    return line;
}

bool home_take_line(char *line, uint64_t uid)
{
    char *number = field_of(line, FIELD_UID), *home = field_of(line, FIELD_HOME);
    uint64_t found;

    if (!number || !home)
        return false;
    home[strcspn(home, ":\n")] = '\0';
    number[strcspn(number, ":")] = '\0';
    if (str_to_u64(number, &found) < 0 || found != uid)
        return false;
    if (home[0] == '/' && strlen(home) < HOME_SIZE - sizeof "HOME=")
        base_format(home_entry, sizeof home_entry, "HOME=%s", home);
    return true;
}

/* Reads piece by piece; a line longer than the buffer is nobody's. */
static void search(int fd, uint64_t uid)
{
    static char text[LINE_SIZE + 1];
    size_t have = 0, total = 0;
    ssize_t n;

    while (total < PASSWD_MAX_BYTES && (n = read(fd, text + have, LINE_SIZE - have)) >= 0) {
        char *line = text, *end;

        have += (size_t)n;
        total += (size_t)n;
        if (n == 0 && have > 0) /* the last line may lack its newline */
            text[have++] = '\n';
        while ((end = memchr(line, '\n', (size_t)(text + have - line)))) {
            *end = '\0';
            if (home_take_line(line, uid))
                return;
            line = end + 1;
        }
        have = (size_t)(text + have - line);
        memmove(text, line, have);
        if (n == 0)
            return;
        if (have == LINE_SIZE)
            have = 0;
    }
}

/*
 * In the container's root, as "/" is by now. A FIFO or a device there must not hold the start up,
 * nor a link of /proc lead out. Whatever is wrong with it, HOME is "/".
 */
int home_step(const struct op_home *op)
{
    struct open_how how = { .flags = O_RDONLY | O_CLOEXEC | O_NONBLOCK | O_NOCTTY,
                            .resolve = RESOLVE_NO_MAGICLINKS };
    AUTO_FD int fd = sys_openat2(AT_FDCWD, "/etc/passwd", &how);
    struct stat st;

    if (fd >= 0 && fstat(fd, &st) == 0 && S_ISREG(st.st_mode))
        search(fd, op->uid);
    return 0;
}

const char *home_found(void)
{
    return home_entry;
}
