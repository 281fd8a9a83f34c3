/* SPDX-License-Identifier: Apache-2.0 */
/* The lines of `ps -ef` where there is no ps(1): in the guest of a machine, whose whole system is this program. */
#include "cmd.h"

#include <fcntl.h>
#include <string.h>
#include <sys/stat.h>
#include <time.h>
#include <unistd.h>

enum { TEXT_MAX = 1 << 20, DAY = 86400 };

/* Of proc_pid_stat(5). */
struct process {
    char *name;
    uint64_t parent, tty, user_ticks, system_ticks, start_ticks;
};

/* Fields behind the name, which may hold anything. */
static bool read_stat(char *text, struct process *out)
{
    enum { PARENT = 1, TTY = 4, USER = 11, SYSTEM = 12, START = 19 };
    char *open = strchr(text, '('), *close = strrchr(text, ')'), *save = NULL;
    size_t field = 0;

    if (!open || !close || close < open)
        return false;
    *close = 0;
    out->name = open + 1;
    for (char *word = strtok_r(close + 1, " ", &save); word; word = strtok_r(NULL, " ", &save)) {
        uint64_t *into = field == PARENT   ? &out->parent
                         : field == TTY    ? &out->tty
                         : field == USER   ? &out->user_ticks
                         : field == SYSTEM ? &out->system_ticks
                         : field == START  ? &out->start_ticks
                                           : NULL;

        if (into && str_to_u64(word, into) < 0)
            return false;
        if (field++ == START)
            return true;
    }
    return false;
}

/* The words of its command line, or "[name]" of one that has none. */
static void add_command(struct strbuf *out, const struct process *p, const char *words, size_t len)
{
    while (len > 0 && words[len - 1] == 0)
        len--;
    if (len == 0) {
        strbuf_format(out, "[%s]\n", p->name);
        return;
    }
    for (size_t i = 0; i < len; i++)
        strbuf_add(out, words[i] && words[i] != '\n' ? &words[i] : " ", 1);
    strbuf_str(out, "\n");
}

/* pts(4): major number 136, and for more than 256 the following ones. */
static void format_tty(char *out, size_t size, uint64_t tty)
{
    uint64_t device = (tty >> 8 & 0xfff), minor = (tty & 0xff) | (tty >> 12 & 0xfff00);

    if (tty == 0)
        base_format(out, size, "?");
    else if (device >= 136 && device < 144)
        base_format(out, size, "pts/%lu", (device - 136) * 256 + minor);
    else
        base_format(out, size, "%lu,%lu", device, minor);
}

/* When it started, and how long ago that is. */
static time_t format_start(char *out, size_t size, uint64_t ticks, uint64_t hz)
{
    struct timespec boot, now;
    time_t age, start;
    struct tm tm;

    clock_gettime(CLOCK_BOOTTIME, &boot);
    clock_gettime(CLOCK_REALTIME, &now);
    age = boot.tv_sec - (time_t)(ticks / hz);
    start = now.tv_sec - age;
    localtime_r(&start, &tm);
    strftime(out, size, age < DAY ? "%H:%M" : "%b%d", &tm);
    return age;
}

static void add_process(struct arena *a, pid_t pid, struct strbuf *out)
{
    char tty[32], start[16], *text, *words;
    size_t len = 0;
    long ticks = sysconf(_SC_CLK_TCK);
    uint64_t hz = ticks > 0 ? (uint64_t)ticks : 100, seconds;
    struct process p = { 0 };
    struct stat owner;
    time_t age;

    if (stat(arena_format(a, "/proc/%d", pid), &owner) < 0 ||
        file_read(a, AT_FDCWD, arena_format(a, "/proc/%d/stat", pid), TEXT_MAX, &text, NULL, NULL) <
            0 ||
        !read_stat(text, &p))
        return; /* it has ended meanwhile */
    if (file_read(a, AT_FDCWD, arena_format(a, "/proc/%d/cmdline", pid), TEXT_MAX, &words, &len,
                  NULL) < 0)
        len = 0;
    seconds = (p.user_ticks + p.system_ticks) / hz;
    format_tty(tty, sizeof tty, p.tty);
    age = format_start(start, sizeof start, p.start_ticks, hz);
    strbuf_format(out, "%8u %7d %7lu %2lu %5s %8s %02lu:%02lu:%02lu ", owner.st_uid, pid, p.parent,
                  age > 0 ? seconds * 100 / (uint64_t)age % 100 : 0, start, tty, seconds / 3600,
                  seconds / 60 % 60, seconds % 60);
    add_command(out, &p, words, len);
}

void cmd_ps_table(struct arena *a, const pid_t *pids, size_t n, struct strbuf *out)
{
    strbuf_format(out, "%8s %7s %7s %2s %5s %8s %8s CMD\n", "UID", "PID", "PPID", "C", "STIME",
                  "TTY", "TIME");
    for (size_t i = 0; i < n; i++)
        add_process(a, pids[i], out);
}
