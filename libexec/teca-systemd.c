/* SPDX-License-Identifier: Apache-2.0 */
/*
 * teca-systemd: the one thing of teca that speaks D-Bus. libsystemd has no static library, so it is a
 * program of its own, which teca starts only where cgroups are systemd's.
 *
 *   teca-systemd [--user] start UNIT [in:CGROUP] PROPERTY... [then PROPERTY...]
 *   teca-systemd [--user] set UNIT PROPERTY...
 *   teca-systemd [--user] stop UNIT
 *
 * A PROPERTY is NAME=TYPE:VALUE: s text, b true|false, t x u i number, ay bytes in hexadecimal,
 * as words, "a(ss)" and "a(st)" pairs; g a GVariant in text form (a boolean, a number, a string, an
 * array of strings). Words and pairs are separated by a
 * newline, the two of a pair by a tab.
 *
 * On stdout comes "ok", or one sentence, and a newline. `start` makes a scope that holds this very
 * process, so that the scope lasts until the container has moved in; CGROUP is the directory of one in it
 * where the process goes at once. Then a byte comes on stdin, the
 * properties behind "then" are set, and the process ends (after a sentence when those were refused).
 */
#include <errno.h>
#include <inttypes.h>
#include <limits.h>
#include <stdarg.h>
#include <stdbool.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <systemd/sd-bus.h>
#include <time.h>
#include <unistd.h>

#define MANAGER \
    "org.freedesktop.systemd1", "/org/freedesktop/systemd1", "org.freedesktop.systemd1.Manager"
#define CLEAN(f) __attribute__((cleanup(f)))

enum {
    TIMEOUT_S = 30,
    RESULT_SIZE = 64,
    PROPERTY_SIZE = 128 * 1024, /* execve(2): MAX_ARG_STRLEN */
};

/* The one job that is waited for. */
struct job {
    const char *path;
    bool over;
    char result[RESULT_SIZE]; /* "done", "failed", "timeout" ... */
};

static int say(const char *format, ...) __attribute__((format(printf, 1, 2)));
static int say(const char *format, ...)
{
    va_list ap;

    va_start(ap, format);
    vprintf(format, ap);
    va_end(ap);
    putchar('\n');
    fflush(stdout);
    return EXIT_FAILURE;
}

static const char *reason(const sd_bus_error *error, int r)
{
    return error->message ? error->message : strerror(-r);
}

/* ---- properties ----------------------------------------------------------------------------- */

static int append_bytes(sd_bus_message *m, const char *hex)
{
    uint8_t bytes[1024];
    size_t n = 0;

    for (; hex[0] && hex[1] && n < sizeof bytes; hex += 2) {
        char pair[3] = { hex[0], hex[1], 0 }, *end;

        bytes[n++] = (uint8_t)strtoul(pair, &end, 16);
        if (*end)
            return -EINVAL;
    }
    return *hex ? -EINVAL : sd_bus_message_append_array(m, 'y', bytes, n);
}

static int append_number(sd_bus_message *m, char type, const char *text)
{
    char *end;
    int64_t i;
    uint64_t u;

    errno = 0;
    if (type == 't' || type == 'u') {
        u = strtoull(text, &end, 10);
        if (errno || *end || end == text || *text == '-' || (type == 'u' && u > UINT32_MAX))
            return -EINVAL;
        return type == 't' ? sd_bus_message_append_basic(m, 't', &u)
                           : sd_bus_message_append_basic(m, 'u', &(uint32_t){ (uint32_t)u });
    }
    i = strtoll(text, &end, 10);
    if (errno || *end || end == text || (type == 'i' && (i < INT32_MIN || i > INT32_MAX)))
        return -EINVAL;
    return type == 'x' ? sd_bus_message_append_basic(m, 'x', &i)
                       : sd_bus_message_append_basic(m, 'i', &(int32_t){ (int32_t)i });
}

static int append_bool(sd_bus_message *m, const char *text)
{
    if (strcmp(text, "true") != 0 && strcmp(text, "false") != 0)
        return -EINVAL;
    return sd_bus_message_append_basic(m, 'b', &(int){ text[0] == 't' });
}

/* Words, or pairs of two, one a line. In place. */
static int append_list(sd_bus_message *m, const char *element, char *text)
{
    char *save = NULL;
    int r = sd_bus_message_open_container(m, 'a', element);

    for (char *line = strtok_r(text, "\n", &save); line && r >= 0;
         line = strtok_r(NULL, "\n", &save)) {
        char *tab = strchr(line, '\t');

        if (strcmp(element, "s") == 0) {
            r = sd_bus_message_append_basic(m, 's', line);
            continue;
        }
        if (!tab)
            return -EINVAL;
        *tab++ = 0;
        r = sd_bus_message_open_container(m, 'r', strcmp(element, "(ss)") == 0 ? "ss" : "st");
        if (r >= 0)
            r = sd_bus_message_append_basic(m, 's', line);
        if (r >= 0)
            r = strcmp(element, "(ss)") == 0 ? sd_bus_message_append_basic(m, 's', tab)
                                             : append_number(m, 't', tab);
        if (r >= 0)
            r = sd_bus_message_close_container(m);
    }
    return r < 0 ? r : sd_bus_message_close_container(m);
}

/* ---- GVariant text: what the annotation org.systemd.property.NAME holds ------------------------- */

/* A string in single or double quotes at *at, which moves behind it. In place; NULL: it is none. */
static char *take_quoted(char **at)
{
    char quote = **at, *start = *at + 1, *out = start, *in = start;

    if (quote != '\'' && quote != '"')
        return NULL;
    for (; *in && *in != quote; in++) {
        if (*in == '\\' && in[1])
            in++;
        *out++ = *in;
    }
    if (*in != quote)
        return NULL;
    *at = in + 1;
    *out = 0;
    return start;
}

static void skip_blanks(char **at)
{
    *at += strspn(*at, " \t\n");
}

/* "['a', 'b']" */
static int append_text_array(sd_bus_message *m, char *at)
{
    int r = sd_bus_message_open_container(m, 'v', "as");

    if (r >= 0)
        r = sd_bus_message_open_container(m, 'a', "s");
    at++;
    for (skip_blanks(&at); r >= 0 && *at != ']'; skip_blanks(&at)) {
        const char *word = take_quoted(&at);

        if (!word)
            return -EINVAL;
        skip_blanks(&at);
        if (*at != ',' && *at != ']')
            return -EINVAL;
        at += *at == ',';
        r = sd_bus_message_append_basic(m, 's', word);
    }
    if (r < 0 || at[1 + strspn(at + 1, " ")])
        return r < 0 ? r : -EINVAL;
    r = sd_bus_message_close_container(m);
    return r < 0 ? r : sd_bus_message_close_container(m);
}

/* "uint64 5", or a bare number, which is an int32 (GVariant text format). */
static int append_text_number(sd_bus_message *m, const char *text)
{
    static const struct {
        const char *prefix, *type;
    } types[] = {
        { "uint64 ", "t" }, { "uint32 ", "u" }, { "int64 ", "x" }, { "int32 ", "i" }, { "", "i" }
    };
    size_t i = 0;
    int r;

    while (strncmp(text, types[i].prefix, strlen(types[i].prefix)) != 0)
        i++;
    r = sd_bus_message_open_container(m, 'v', types[i].type);
    if (r >= 0)
        r = append_number(m, types[i].type[0], text + strlen(types[i].prefix));
    return r < 0 ? r : sd_bus_message_close_container(m);
}

static int append_text(sd_bus_message *m, char *at)
{
    const char *word;
    int r;

    skip_blanks(&at);
    if (*at == '[')
        return append_text_array(m, at);
    if (strcmp(at, "true") == 0 || strcmp(at, "false") == 0) {
        r = sd_bus_message_open_container(m, 'v', "b");
        if (r >= 0)
            r = append_bool(m, at);
        return r < 0 ? r : sd_bus_message_close_container(m);
    }
    if (*at != '\'' && *at != '"')
        return append_text_number(m, at);
    word = take_quoted(&at);
    return !word || *at ? -EINVAL : sd_bus_message_append(m, "v", "s", word);
}

/* ---- one property ----------------------------------------------------------------------------- */

static int append_value(sd_bus_message *m, const char *type, char *value)
{
    int r = sd_bus_message_open_container(m, 'v', type);

    if (r < 0)
        return r;
    if (strcmp(type, "s") == 0)
        r = sd_bus_message_append_basic(m, 's', value);
    else if (strcmp(type, "b") == 0)
        r = append_bool(m, value);
    else if (strcmp(type, "ay") == 0)
        r = append_bytes(m, value);
    else if (type[0] == 'a')
        r = append_list(m, type + 1, value);
    else
        r = append_number(m, type[0], value);
    return r < 0 ? r : sd_bus_message_close_container(m);
}

static int append_property(sd_bus_message *m, const char *text)
{
    static char copy[PROPERTY_SIZE]; /* of one that is taken apart, for it may be needed again */
    const char *equals = strchr(text, '='), *colon = equals ? strchr(equals, ':') : NULL;
    char *type, *value;
    size_t size = strlen(text) + 1;
    int r;

    if (!colon || size > sizeof copy)
        return -EINVAL;
    memcpy(copy, text, size);
    type = copy + (equals - text);
    value = copy + (colon - text);
    *type++ = 0;
    *value++ = 0;
    r = sd_bus_message_open_container(m, 'r', "sv");
    if (r >= 0)
        r = sd_bus_message_append_basic(m, 's', copy);
    if (r >= 0)
        r = strcmp(type, "g") == 0 ? append_text(m, value) : append_value(m, type, value);
    return r < 0 ? r : sd_bus_message_close_container(m);
}

static int append_properties(sd_bus_message *m, char **properties, bool scope, const char **bad)
{
    uint32_t self = (uint32_t)getpid();
    int r = sd_bus_message_open_container(m, 'a', "(sv)");

    for (; r >= 0 && *properties && strcmp(*properties, "then") != 0; properties++) {
        *bad = *properties;
        r = append_property(m, *properties);
    }
    if (r >= 0 && scope)
        r = sd_bus_message_append(m, "(sv)", "PIDs", "au", 1, self);
    return r < 0 ? r : sd_bus_message_close_container(m);
}

/* ---- jobs ------------------------------------------------------------------------------------ */

static int job_removed(sd_bus_message *m, void *data, sd_bus_error *error)
{
    struct job *job = data;
    const char *path, *unit, *result;
    uint32_t id;
    int r = sd_bus_message_read(m, "uoss", &id, &path, &unit, &result);

    (void)error;
    if (r >= 0 && job->path && strcmp(path, job->path) == 0) {
        snprintf(job->result, sizeof job->result, "%s", result);
        job->over = true;
    }
    return 0;
}

static uint64_t now_us(void)
{
    struct timespec t;

    clock_gettime(CLOCK_MONOTONIC, &t);
    return (uint64_t)t.tv_sec * 1000000 + (uint64_t)t.tv_nsec / 1000;
}

/* reply: of the call that made the job. Signals that came before it are still in the queue. */
static int wait_for_job(sd_bus *bus, sd_bus_message *reply, struct job *job, const char *unit)
{
    uint64_t deadline = now_us() + TIMEOUT_S * 1000000ULL, now;
    int r = sd_bus_message_read(reply, "o", &job->path);

    while (r >= 0 && !job->over) {
        r = sd_bus_process(bus, NULL);
        if (r != 0)
            continue;
        now = now_us();
        if (now >= deadline)
            return say("systemd did not finish with %s within %d seconds", unit, TIMEOUT_S);
        r = sd_bus_wait(bus, deadline - now);
        r = r == -EINTR ? 0 : r;
    }
    if (r < 0)
        return say("cannot wait for systemd's job on %s: %s", unit, strerror(-r));
    if (strcmp(job->result, "done") != 0)
        return say("systemd's job on %s ended with \"%s\"", unit, job->result);
    return EXIT_SUCCESS;
}

static int watch_jobs(sd_bus *bus, struct job *job)
{
    int r = sd_bus_match_signal(bus, NULL, MANAGER, "JobRemoved", job_removed, job);

    /* Without a subscriber systemd sends no signals. */
    if (r >= 0)
        r = sd_bus_call_method(bus, MANAGER, "Subscribe", NULL, NULL, NULL);
    return r < 0 ? say("cannot subscribe to systemd's signals: %s", strerror(-r)) : EXIT_SUCCESS;
}

/* ---- verbs ------------------------------------------------------------------------------------ */

static int start_once(sd_bus *bus, const char *unit, char **properties, struct job *job,
                      sd_bus_error *error)
{
    CLEAN(sd_bus_message_unrefp) sd_bus_message *m = NULL;
    CLEAN(sd_bus_message_unrefp) sd_bus_message *reply = NULL;
    const char *suffix = strrchr(unit, '.'), *bad = "";
    int r = sd_bus_message_new_method_call(bus, &m, MANAGER, "StartTransientUnit");

    if (r >= 0)
        r = sd_bus_message_append(m, "ss", unit, "replace");
    if (r >= 0)
        r = append_properties(m, properties, suffix && strcmp(suffix, ".scope") == 0, &bad);
    if (r < 0)
        return say("not a valid property of a systemd unit: %s", bad);
    r = sd_bus_message_append(m, "a(sa(sv))", 0);
    if (r >= 0)
        r = sd_bus_call(bus, m, 0, error, &reply);
    if (r < 0 && sd_bus_error_has_name(error, "org.freedesktop.systemd1.UnitExists"))
        return -EEXIST;
    if (r < 0)
        return say("systemd does not start %s: %s", unit, reason(error, r));
    return wait_for_job(bus, reply, job, unit);
}

static int set(sd_bus *bus, const char *unit, char **properties)
{
    CLEAN(sd_bus_message_unrefp) sd_bus_message *m = NULL;
    CLEAN(sd_bus_error_free) sd_bus_error error = SD_BUS_ERROR_NULL;
    const char *bad = "";
    int r = sd_bus_message_new_method_call(bus, &m, MANAGER, "SetUnitProperties");

    if (r >= 0)
        r = sd_bus_message_append(m, "sb", unit, true); /* of this boot only */
    if (r >= 0)
        r = append_properties(m, properties, false, &bad);
    if (r < 0)
        return say("not a valid property of a systemd unit: %s", bad);
    r = sd_bus_call(bus, m, 0, &error, NULL);
    return r < 0 ? say("systemd does not change %s: %s", unit, reason(&error, r)) : EXIT_SUCCESS;
}

static int hold(sd_bus *bus, const char *unit, char **properties)
{
    char byte;

    say("ok");
    /* A byte: init has a copy of the other end until it executes its program. Else teca has ended. */
    if (read(STDIN_FILENO, &byte, 1) < 0)
        return say("cannot wait for teca: %s", strerror(errno));
    while (*properties && strcmp(*properties, "then") != 0)
        properties++;
    return *properties ? set(bus, unit, properties + 1) : EXIT_SUCCESS;
}

/* The scope's own cgroup stays empty, so that its controllers can be given on. */
static int enter(const char *dir)
{
    char procs[PATH_MAX];
    FILE *file;

    if (mkdir(dir, 0755) < 0 && errno != EEXIST)
        return say("cannot make the cgroup '%s': %s", dir, strerror(errno));
    snprintf(procs, sizeof procs, "%s/cgroup.procs", dir);
    file = fopen(procs, "we");
    if (!file || fputs("0", file) < 0 || fclose(file) != 0)
        return say("cannot enter the cgroup '%s': %s", dir, strerror(errno));
    return EXIT_SUCCESS;
}

static int start(sd_bus *bus, const char *unit, char **properties)
{
    CLEAN(sd_bus_error_free) sd_bus_error error = SD_BUS_ERROR_NULL;
    CLEAN(sd_bus_error_free) sd_bus_error again = SD_BUS_ERROR_NULL;
    struct job job = { 0 };
    const char *subgroup = *properties && strncmp(*properties, "in:", 3) == 0 ? *properties + 3
                                                                              : NULL;
    int r = watch_jobs(bus, &job);

    properties += subgroup != NULL;
    if (r == 0)
        r = start_once(bus, unit, properties, &job, &error);
    if (r == -EEXIST) { /* one that failed stays until it is told to go */
        sd_bus_call_method(bus, MANAGER, "ResetFailedUnit", NULL, NULL, "s", unit);
        r = start_once(bus, unit, properties, &job, &again);
    }
    if (r == -EEXIST)
        return say("systemd has a unit of the name %s already", unit);
    if (r == 0 && subgroup)
        r = enter(subgroup);
    return r != 0 ? r : hold(bus, unit, properties);
}

static int stop(sd_bus *bus, const char *unit)
{
    CLEAN(sd_bus_error_free) sd_bus_error error = SD_BUS_ERROR_NULL;
    CLEAN(sd_bus_message_unrefp) sd_bus_message *reply = NULL;
    struct job job = { 0 };
    int r = watch_jobs(bus, &job);

    if (r != 0)
        return r;
    /* Whatever is left in it does not get the time that a service has to end. */
    sd_bus_call_method(bus, MANAGER, "KillUnit", NULL, NULL, "ssi", unit, "all", 9);
    r = sd_bus_call_method(bus, MANAGER, "StopUnit", &error, &reply, "ss", unit, "replace");
    if (r < 0 && !sd_bus_error_has_name(&error, "org.freedesktop.systemd1.NoSuchUnit"))
        return say("systemd does not stop %s: %s", unit, reason(&error, r));
    r = r < 0 ? EXIT_SUCCESS : wait_for_job(bus, reply, &job, unit);
    sd_bus_call_method(bus, MANAGER, "ResetFailedUnit", NULL, NULL, "s", unit);
    return r == 0 ? (say("ok"), EXIT_SUCCESS) : r;
}

/* Root reaches systemd also where no D-Bus daemon runs. */
static int connect_to(bool user, sd_bus **bus)
{
    int r = user ? sd_bus_open_user(bus) : sd_bus_open_system(bus);

    if (r >= 0 || user || geteuid() != 0)
        return r;
    r = sd_bus_new(bus);
    if (r >= 0)
        r = sd_bus_set_address(*bus, "unix:path=/run/systemd/private");
    return r < 0 ? r : sd_bus_start(*bus);
}

int main(int argc, char *argv[])
{
    bool user = argc > 1 && strcmp(argv[1], "--user") == 0;
    CLEAN(sd_bus_flush_close_unrefp) sd_bus *bus = NULL;
    char **args = argv + 1 + user;
    int r;

    if (argc - user < 3)
        return say("usage: teca-systemd [--user] start|set|stop UNIT [PROPERTY...]");
    r = connect_to(user, &bus);
    if (r < 0)
        return say("cannot reach %s by D-Bus: %s", user ? "the user's systemd" : "systemd",
                   strerror(-r));
    if (strcmp(args[0], "start") == 0)
        return start(bus, args[1], args + 2);
    if (strcmp(args[0], "stop") == 0)
        return stop(bus, args[1]);
    if (strcmp(args[0], "set") == 0) {
        r = set(bus, args[1], args + 2);
        return r == 0 ? (say("ok"), EXIT_SUCCESS) : r;
    }
    return say("unknown verb %s", args[0]);
}
