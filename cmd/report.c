/* SPDX-License-Identifier: Apache-2.0 */
/* The only place that writes to stdout, stderr and the log. No stdio: a start pays for none of it. */
#include "cmd.h"

#include <errno.h>
#include <fcntl.h>
#include <string.h>
#include <time.h>
#include <unistd.h>

enum { SENTENCE_SIZE = ERR_POINTER_SIZE + ERR_TEXT_SIZE + 8, TIME_SIZE = 32 };

static int log_fd = -1;
static bool log_is_json;

void cmd_make_printable(char *text, size_t len, bool keep_lines)
{
    for (size_t i = 0; i < len; i++) {
        unsigned char c = (unsigned char)text[i];

        if ((c < 0x20 && !(keep_lines && c == '\n')) || c == 0x7f)
            text[i] = '?';
        /* U+0080 to U+009F: xterm obeys U+009B as it obeys ESC [ */
        if (c == 0xc2 && i + 1 < len && (unsigned char)text[i + 1] >= 0x80 &&
            (unsigned char)text[i + 1] <= 0x9f)
            text[i] = text[i + 1] = '?';
    }
}

/* RFC 3339, UTC: containerd refuses a log whose time it cannot read (engine-contract 1.10). */
static void format_now(char buf[TIME_SIZE])
{
    struct timespec now = { 0 };
    struct tm tm = { 0 };

    clock_gettime(CLOCK_REALTIME, &now);
    gmtime_r(&now.tv_sec, &tm);
    base_format(buf, TIME_SIZE, "%04d-%02d-%02dT%02d:%02d:%02dZ", tm.tm_year + 1900, tm.tm_mon + 1,
                tm.tm_mday, tm.tm_hour, tm.tm_min, tm.tm_sec);
}

/* One write a line, so that lines of several writers to one O_APPEND file stay whole. */
static void log_line(const char *level, const char *message)
{
    AUTO_STRBUF struct strbuf line = { 0 };
    struct json_out *j;
    char now[TIME_SIZE];
    const char *text;
    size_t len;

    if (log_fd < 0)
        return;
    j = json_out_new(false);
    format_now(now);
    if (log_is_json) {
        json_open_object(j, NULL);
        json_add_string(j, "level", level);
        json_add_string(j, "msg", message);
        json_add_string(j, "time", now);
        json_close_object(j);
    } else {
        json_add_string(j, NULL, message); /* JSON's quoting serves here too */
        strbuf_format(&line, "time=\"%s\" level=%s msg=", now, level);
    }
    text = json_out_text(j, &len);
    strbuf_add(&line, text, len);
    strbuf_str(&line, "\n");
    json_out_free(j);
    /* A log that can't be written is no reason to fail what was done; errors are on stderr too. */
    (void)fd_write_all(log_fd, line.ptr, line.len);
}

static void log_debug_line(const char *message)
{
    log_line("debug", message);
}

int log_open(const struct cmd_options *o, struct err *e)
{
    if (!o->log)
        return 0;
    /* O_NONBLOCK: a FIFO that nobody reads is refused (ENXIO), not waited for. */
    log_fd = open(o->log, O_WRONLY | O_APPEND | O_CREAT | O_CLOEXEC | O_NOCTTY | O_NONBLOCK, 0644);
    if (log_fd < 0 && errno == ENXIO)
        return err_set(e, 0, "cannot open the log '%s': nobody reads this FIFO", o->log);
    if (log_fd < 0)
        return err_set(e, errno, "cannot open the log '%s'", o->log);
    log_is_json = str_eq(o->log_format, "json");
    if (o->debug && !log_is_json)
        log_sink = log_debug_line;
    return 0;
}

void cmd_remark(const char *sentence)
{
    char line[SENTENCE_SIZE + 8];
    size_t len = base_format(line, sizeof(line) - 1, "teca: %s", sentence);

    if (len > sizeof(line) - 2)
        len = sizeof(line) - 2;
    cmd_make_printable(line, len, false);
    line[len++] = '\n';
    (void)fd_write_all(STDERR_FILENO, line, len);
}

void cmd_report(const struct err *e)
{
    char sentence[SENTENCE_SIZE];

    err_sentence(e, sentence, sizeof(sentence));
    /* The log too: Podman reads its message line by line, and people read it in a terminal. */
    cmd_make_printable(sentence, strlen(sentence), false);
    cmd_remark(sentence);
    log_line("error", sentence);
}

int cmd_print(const char *text, size_t len, struct err *e)
{
    int r = fd_write_all(STDOUT_FILENO, text, len);

    return r < 0 ? err_set(e, -r, "cannot write to standard output") : 0;
}

int cmd_print_json(struct json_out *j, struct err *e)
{
    AUTO_STRBUF struct strbuf out = { 0 };
    size_t len;
    const char *text = json_out_text(j, &len);

    strbuf_add(&out, text, len);
    if (len == 0 || text[len - 1] != '\n')
        strbuf_str(&out, "\n");
    return cmd_print(out.ptr, out.len, e);
}
