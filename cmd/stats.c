/* SPDX-License-Identifier: Apache-2.0 */
/*
 * A table of what containers use, like top(1): redrawn in place on a terminal, one table after the
 * other elsewhere. Use of the processor is the difference between two samples.
 */
#include "cmd.h"

#include <errno.h>
#include <poll.h>
#include <string.h>
#include <sys/ioctl.h>
#include <unistd.h>

enum {
    COLUMNS = 9,
    NS_PER_MS = 1000000,
    FIRST_NS = 500 * NS_PER_MS, /* the first table does not wait for a long interval */
    ID_MIN = 12,                /* on a narrow terminal as much as docker shows */
};

/* One container at one time. */
struct use {
    const char *id;
    pid_t pid;
    int64_t taken_ns;
    uint64_t cpu_ns, memory, limit, pids, pids_limit, read, written, received, sent;
    uint64_t cpu_hundredths; /* of a percent of one processor */
    bool has_limit;
};
/* The samples of one tick; they live in their own arena until the next tick has been compared. */
struct sample {
    struct arena arena;
    struct use *v;
    size_t n;
};

static uint64_t io_sum(const struct cgroup_io *io, const char *op)
{
    uint64_t sum = 0;

    for (size_t i = 0; i < io->n; i++)
        if (str_eq(io->v[i].op, op))
            sum += io->v[i].value;
    return sum;
}

/*
 * Pages of files that nobody has used lately go first when memory is short, so they do not count:
 * what docker and kubelet show. v1: total_, with everything below the container's cgroup.
 */
static uint64_t memory_in_use(const struct cgroup_stats *s)
{
    uint64_t idle = 0;

    for (size_t i = 0; i < s->memory.n_raw; i++) {
        if (str_eq(s->memory.raw[i].name, "total_inactive_file"))
            idle = s->memory.raw[i].value;
        else if (idle == 0 && str_eq(s->memory.raw[i].name, "inactive_file"))
            idle = s->memory.raw[i].value;
    }
    return idle < s->memory.usage.usage ? s->memory.usage.usage - idle : 0;
}

static struct use use_of(const struct container_stats *s)
{
    const struct cgroup_stats *c = &s->cgroup;
    struct use u = { .id = s->id,
                     .pid = s->pid,
                     .taken_ns = s->taken_ns,
                     .cpu_ns = c->cpu.total,
                     .memory = memory_in_use(c),
                     .limit = c->memory.usage.limit,
                     .pids = c->pids.current,
                     .pids_limit = c->pids.limit,
                     .read = io_sum(&c->io.kinds[IO_BYTES], "Read"),
                     .written = io_sum(&c->io.kinds[IO_BYTES], "Write") };

    /* v1 writes no limit as the largest number of whole pages: memory.rst. */
    u.has_limit = u.limit > 0 && u.limit < INT64_MAX - (1 << 20);
    for (size_t i = 0; i < s->n_interfaces; i++) {
        u.received += s->interfaces[i].rx_bytes;
        u.sent += s->interfaces[i].tx_bytes;
    }
    return u;
}

/* ---- sampling ------------------------------------------------------------------------------ */

static int add_one(const char *root, const char *id, struct sample *s, size_t *cap, struct err *e)
{
    struct container_stats stats;
    int r = container_stats(root, id, &s->arena, &stats, e);

    if (r < 0)
        return r;
    if (s->n == *cap)
        s->v = arena_grow(&s->arena, s->v, s->n, cap, sizeof *s->v);
    s->v[s->n++] = use_of(&stats);
    return 0;
}

/* Every container that runs: one that ends meanwhile is left out. */
static int sample_all(const char *root, struct sample *s, size_t *cap, struct err *e)
{
    struct container_state *list;
    const char *const *problems;
    size_t n;
    int r = container_list(root, &s->arena, &list, &n, &problems, e);

    for (size_t i = 0; r == 0 && i < n; i++)
        if (list[i].pid > 0)
            add_one(root, list[i].id, s, cap, NULL);
    return r;
}

/* first: of the containers that were named each must be there; later they may end one by one. */
static int take_sample(const struct cmd *c, const char *root, bool first, struct sample *s,
                       struct err *e)
{
    size_t cap = 16;
    int r = 0;

    arena_init(&s->arena, NULL, 0);
    s->n = 0;
    s->v = arena_array(&s->arena, cap, sizeof *s->v);
    if (c->n_args == 0)
        return sample_all(root, s, &cap, e);
    for (size_t i = 0; i < c->n_args && r == 0; i++) {
        r = add_one(root, c->args[i], s, &cap, first ? e : NULL);
        r = first ? r : 0;
    }
    return r;
}

static void compare(const struct sample *before, struct sample *now)
{
    for (size_t i = 0; i < now->n; i++) {
        struct use *u = &now->v[i];

        for (size_t k = 0; k < before->n; k++) {
            const struct use *b = &before->v[k];

            if (str_eq(b->id, u->id) && b->pid == u->pid && u->taken_ns > b->taken_ns &&
                u->cpu_ns >= b->cpu_ns) {
                double share = (double)(u->cpu_ns - b->cpu_ns) /
                               (double)(u->taken_ns - b->taken_ns);

                u->cpu_hundredths = (uint64_t)(share * 10000 + 0.5);
            }
        }
    }
}

/* ---- the table ------------------------------------------------------------------------------ */

/* Three digits are enough to compare by: "512B", "12.3MiB". */
static const char *bytes_text(uint64_t n, struct arena *a)
{
    static const char *const units[] = { "B", "KiB", "MiB", "GiB", "TiB", "PiB", "EiB" };
    uint64_t tenths = 0;
    size_t unit = 0;

    for (; n >= 1024 && unit + 1 < COUNT_OF(units); unit++) {
        tenths = n % 1024 * 10 / 1024;
        n /= 1024;
    }
    if (unit == 0 || n >= 100)
        return arena_format(a, "%lu%s", n, units[unit]);
    return arena_format(a, "%lu.%lu%s", n, tenths, units[unit]);
}

static const char *percent_text(uint64_t hundredths, struct arena *a)
{
    return arena_format(a, "%lu.%02lu", hundredths / 100, hundredths % 100);
}

static uint64_t memory_hundredths(const struct use *u)
{
    return (uint64_t)((double)u->memory / (double)u->limit * 10000 + 0.5);
}

static void fill_row(const struct use *u, struct arena *a, const char *cell[COLUMNS])
{
    cell[0] = u->id; /* of the alphabet of container_check_id */
    cell[1] = arena_format(a, "%s%%", percent_text(u->cpu_hundredths, a));
    cell[2] = arena_format(a, "%s / %s", bytes_text(u->memory, a),
                           u->has_limit ? bytes_text(u->limit, a) : "-");
    cell[3] = u->has_limit ? arena_format(a, "%s%%", percent_text(memory_hundredths(u), a)) : "-";
    cell[4] = u->pids_limit ? arena_format(a, "%lu / %lu", u->pids, u->pids_limit)
                            : arena_format(a, "%lu", u->pids);
    cell[5] = bytes_text(u->read, a);
    cell[6] = bytes_text(u->written, a);
    cell[7] = bytes_text(u->received, a);
    cell[8] = bytes_text(u->sent, a);
}

/* A terminal that does not tell its size is as wide and high as a table may get. */
static bool terminal_size(struct winsize *size)
{
    if (!isatty(STDOUT_FILENO))
        return false;
    if (ioctl(STDOUT_FILENO, TIOCGWINSZ, size) < 0 || size->ws_col == 0 || size->ws_row == 0)
        *size = (struct winsize){ .ws_row = UINT16_MAX, .ws_col = UINT16_MAX };
    return true;
}

/* The numbers are worth more than the end of a long ID. */
static void fit(size_t width[COLUMNS], size_t columns)
{
    size_t sum = 0;

    for (size_t i = 0; i < COLUMNS; i++)
        sum += width[i] + (i > 0 ? 2 : 0);
    if (sum > columns)
        width[0] = width[0] < sum - columns + ID_MIN ? ID_MIN : width[0] - (sum - columns);
}

static void add_line(struct strbuf *out, const char *const cell[COLUMNS],
                     const size_t width[COLUMNS], size_t columns, const char *end)
{
    size_t start = out->len;

    for (size_t i = 0; i < COLUMNS; i++) {
        size_t len = strlen(cell[i]), shown = len < width[i] ? len : width[i];

        if (i > 0)
            strbuf_str(out, "  ");
        for (size_t pad = shown; i > 0 && pad < width[i]; pad++)
            strbuf_str(out, " ");
        strbuf_add(out, cell[i], shown);
        for (size_t pad = shown; i == 0 && pad < width[i]; pad++)
            strbuf_str(out, " ");
    }
    if (out->len > start + columns) /* a line that wraps would shift the next table */
        out->len = start + columns;
    strbuf_str(out, end);
}

/* On a terminal from its upper left corner, over the table before: ECMA-48 CUP, EL and ED. */
static int print_table(struct sample *s, bool redraw, struct err *e)
{
    static const char *const header[COLUMNS] = { "ID",     "CPU",      "MEMORY / LIMIT",
                                                 "MEMORY", "PIDS",     "READ",
                                                 "WRITE",  "RECEIVED", "SENT" };
    const char *(*rows)[COLUMNS] = arena_array(&s->arena, s->n + 1, sizeof *rows);
    struct winsize size = { .ws_row = UINT16_MAX, .ws_col = UINT16_MAX }; /* a file takes it all */
    bool terminal = terminal_size(&size);
    AUTO_STRBUF struct strbuf out = { 0 };
    size_t width[COLUMNS] = { 0 };

    redraw = redraw && terminal;
    memcpy(rows[0], header, sizeof header);
    for (size_t i = 0; i < s->n; i++)
        fill_row(&s->v[i], &s->arena, rows[i + 1]);
    for (size_t i = 0; i <= s->n; i++)
        for (size_t c = 0; c < COLUMNS; c++)
            width[c] = strlen(rows[i][c]) > width[c] ? strlen(rows[i][c]) : width[c];
    if (terminal)
        fit(width, size.ws_col);
    if (redraw)
        strbuf_str(&out, "\033[H");
    for (size_t i = 0; i <= s->n && (!redraw || i + 1 < size.ws_row); i++)
        add_line(&out, rows[i], width, size.ws_col, redraw ? "\033[K\n" : "\n");
    if (redraw)
        strbuf_str(&out, "\033[J");
    return cmd_print(out.ptr, out.len, e);
}

/* ---- JSON ------------------------------------------------------------------------------------ */

static void add_percent(struct json_out *j, const char *key, uint64_t hundredths, struct arena *a)
{
    struct json number = { .type = JSON_NUMBER, .text = percent_text(hundredths, a) };

    number.len = strlen(number.text);
    json_add_value(j, key, &number);
}

static void add_pair(struct json_out *j, const char *key, const char *first, uint64_t a,
                     const char *second, uint64_t b)
{
    json_open_object(j, key);
    json_add_u64(j, first, a);
    json_add_u64(j, second, b);
    json_close_object(j);
}

/* One array a line. A limit that is not there is left out. */
static int print_json(struct sample *s, struct err *e)
{
    struct json_out *j = json_out_in(&s->arena, false);

    json_open_array(j, NULL);
    for (size_t i = 0; i < s->n; i++) {
        const struct use *u = &s->v[i];

        json_open_object(j, NULL);
        json_add_string(j, "id", u->id);
        json_add_i64(j, "pid", u->pid);
        json_open_object(j, "cpu");
        add_percent(j, "percent", u->cpu_hundredths, &s->arena);
        json_add_u64(j, "total", u->cpu_ns);
        json_close_object(j);
        json_open_object(j, "memory");
        json_add_u64(j, "usage", u->memory);
        if (u->has_limit) {
            json_add_u64(j, "limit", u->limit);
            add_percent(j, "percent", memory_hundredths(u), &s->arena);
        }
        json_close_object(j);
        json_open_object(j, "pids");
        json_add_u64(j, "current", u->pids);
        if (u->pids_limit)
            json_add_u64(j, "limit", u->pids_limit);
        json_close_object(j);
        add_pair(j, "io", "read", u->read, "written", u->written);
        add_pair(j, "network", "received", u->received, "sent", u->sent);
        json_close_object(j);
    }
    json_close_array(j);
    return cmd_print_json(j, e);
}

/* ---- the loop ---------------------------------------------------------------------------------- */

/* 1: a signal came; 0: the time is over. */
static int wait_ns(int signals, int64_t ns, struct err *e)
{
    int64_t end = container_clock_ns() + ns, ms;
    struct pollfd fd = { signals, POLLIN, 0 };
    int r = 0;

    while (r == 0 && (ms = (end - container_clock_ns() + NS_PER_MS - 1) / NS_PER_MS) > 0)
        r = poll(&fd, 1, ms > INT32_MAX ? INT32_MAX : (int)ms);
    return r < 0 && errno != EINTR ? err_set(e, errno, "cannot wait") : r != 0;
}

/* 1: it is over. */
static int turn(const struct cmd *c, const char *root, struct sample *before, struct err *e)
{
    struct sample now;
    int r = take_sample(c, root, false, &now, e);

    if (r == 0) {
        compare(before, &now);
        if (str_eq(c->o.format, "json"))
            r = print_json(&now, e);
        else
            r = print_table(&now, !c->o.no_stream, e);
    }
    arena_release(&before->arena);
    *before = now;
    if (r < 0)
        return r;
    return c->o.no_stream || (c->n_args > 0 && now.n == 0);
}

static int stream(const struct cmd *c, const char *root, int64_t interval, struct err *e)
{
    AUTO_FD int signals = container_end_signals(e);
    bool screen = !c->o.no_stream && !str_eq(c->o.format, "json") && isatty(STDOUT_FILENO);
    struct sample before = { 0 };
    int r = signals < 0 ? signals : take_sample(c, root, true, &before, e);
    int64_t pause = interval < FIRST_NS || c->o.no_stream ? interval : FIRST_NS;

    if (r == 0 && screen)
        r = cmd_print("\033[2J", 4, e);
    while (r == 0) {
        r = wait_ns(signals, pause, e);
        pause = interval;
        if (r == 0)
            r = turn(c, root, &before, e);
    }
    arena_release(&before.arena);
    return r < 0 ? r : 0;
}

int cmd_stats(const struct cmd *c, int *status, struct err *e)
{
    const char *root;
    int64_t interval = 0;
    int r = cmd_duration(c->o.interval ? c->o.interval : "1s", &interval, e);

    (void)status;
    if (r == 0)
        r = container_root(&c->o.container, c->arena, &root, e);
    return r < 0 ? r : stream(c, root, interval, e);
}
