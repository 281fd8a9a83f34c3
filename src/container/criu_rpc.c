/* SPDX-License-Identifier: Apache-2.0 */
/*
 * CRIU's messages (images/rpc.proto of CRIU 3.17) in the encoding of protocol buffers: a field is its
 * number << 3 | wire type as a varint; type 0 is a varint, type 2 a length and so many bytes. The
 * numbers below are those of criu_req, criu_opts, criu_resp and criu_notify.
 */
#include <errno.h>
#include <string.h>

#include "container/criu.h"

enum { WIRE_VARINT = 0, WIRE_64 = 1, WIRE_BYTES = 2, WIRE_32 = 5 };

enum {
    REQ_TYPE = 1,
    REQ_OPTS = 2,
    REQ_NOTIFY_SUCCESS = 3,
    OPTS_IMAGES_DIR_FD = 1,
    OPTS_PAGE_SERVER = 11,
    OPTS_WORK_DIR_FD = 17,
    OPTS_EXT_MNT = 23,
    OPTS_CG_ROOT = 25,
    OPTS_INHERIT_FD = 27,
    OPTS_CGROUPS_MODE = 34,
    OPTS_EXTERNAL = 37,
    OPTS_JOIN_NS = 39,
    OPTS_STATUS_FD = 49,
    RESP_TYPE = 1,
    RESP_SUCCESS = 2,
    RESP_RESTORE = 4,
    RESP_NOTIFY = 5,
    RESP_ERRMSG = 9,
    RESTORE_PID = 1,
    NOTIFY_SCRIPT = 1,
    NOTIFY_PID = 2,
};

/* ---- writing ------------------------------------------------------------------------------- */

static void add_varint(struct strbuf *b, uint64_t value)
{
    char bytes[10];
    size_t n = 0;

    do {
        bytes[n] = (char)((value & 0x7f) | (value > 0x7f ? 0x80 : 0));
        value >>= 7;
        n++;
    } while (value);
    strbuf_add(b, bytes, n);
}

static void add_number(struct strbuf *b, unsigned field, uint64_t value)
{
    add_varint(b, (uint64_t)field << 3 | WIRE_VARINT);
    add_varint(b, value);
}

static void add_bytes(struct strbuf *b, unsigned field, const char *data, size_t len)
{
    add_varint(b, (uint64_t)field << 3 | WIRE_BYTES);
    add_varint(b, len);
    strbuf_add(b, data, len);
}

static void add_text(struct strbuf *b, unsigned field, const char *text)
{
    add_bytes(b, field, text, strlen(text));
}

static void add_message(struct strbuf *b, unsigned field, const struct strbuf *message)
{
    add_bytes(b, field, message->ptr ? message->ptr : "", message->len);
}

/* Members of the request that are one field each, and CRIU's names of them. */
#define MEMBER(FIELD, NAME, MEMBER_)                        \
    {                                                       \
        FIELD, NAME, offsetof(struct criu_request, MEMBER_) \
    }
static const struct {
    unsigned field;
    const char *name;
    size_t at;
} flags[] = {
    MEMBER(3, "leave_running", leave_running),
    MEMBER(4, "ext_unix_sk", ext_unix_sk),
    MEMBER(5, "tcp_established", tcp_established),
    MEMBER(7, "shell_job", shell_job),
    MEMBER(8, "file_locks", file_locks),
    MEMBER(12, "notify_scripts", notify),
    MEMBER(15, "track_mem", track_mem),
    MEMBER(16, "auto_dedup", auto_dedup),
    MEMBER(18, "link_remap", link_remap),
    MEMBER(26, "rst_sibling", sibling),
    MEMBER(30, "ext_masters", external_masters),
    MEMBER(46, "tcp_skip_in_flight", tcp_skip_in_flight),
    MEMBER(48, "lazy_pages", lazy_pages),
    MEMBER(50, "orphan_pts_master", orphan_pts_master),
    MEMBER(52, "tcp_close", tcp_close),
}, numbers[] = {
    MEMBER(2, "pid", pid),
    MEMBER(9, "log_level", log_level),
    MEMBER(38, "empty_ns", empty_ns),
    MEMBER(64, "network_lock", network_lock),
}, texts[] = {
    MEMBER(10, "log_file", log_file),
    MEMBER(13, "root", root),
    MEMBER(14, "parent_img", parent),
    MEMBER(44, "freeze_cgroup", freeze_cgroup),
    MEMBER(51, "config_file", config_file),
    MEMBER(53, "lsm_profile", lsm_profile),
    MEMBER(63, "lsm_mount_context", lsm_mount_context),
};

static void add_members(struct strbuf *b, const struct criu_request *q)
{
    const char *base = (const char *)q;

    for (size_t i = 0; i < COUNT_OF(flags); i++)
        if (*(const bool *)(base + flags[i].at))
            add_number(b, flags[i].field, 1);
    for (size_t i = 0; i < COUNT_OF(numbers); i++)
        if (*(const unsigned *)(base + numbers[i].at))
            add_number(b, numbers[i].field, *(const unsigned *)(base + numbers[i].at));
    for (size_t i = 0; i < COUNT_OF(texts); i++)
        if (*(const char *const *)(base + texts[i].at))
            add_text(b, texts[i].field, *(const char *const *)(base + texts[i].at));
}

/* Two texts, fields 1 and 2; the first may be missing. */
static void add_pairs(struct strbuf *b, unsigned field, const struct criu_pair *v, size_t n)
{
    for (size_t i = 0; i < n; i++) {
        AUTO_STRBUF struct strbuf pair = { 0 };

        if (v[i].key)
            add_text(&pair, 1, v[i].key);
        add_text(&pair, 2, v[i].value);
        add_message(b, field, &pair);
    }
}

static void add_fds(struct strbuf *b, const struct criu_request *q, const struct slots *s)
{
    for (size_t i = 0; i < q->n_fds; i++) {
        const struct criu_fd *f = &q->fds[i];
        AUTO_STRBUF struct strbuf pair = { 0 };

        add_text(&pair, 1, f->key);
        add_number(&pair, 2, (uint64_t)(f->slot >= 0 ? s->value[f->slot] : f->fd));
        add_message(b, OPTS_INHERIT_FD, &pair);
    }
}

static void add_page_server(struct strbuf *b, const struct criu_request *q)
{
    AUTO_STRBUF struct strbuf server = { 0 };

    add_text(&server, 1, q->page_server);
    add_number(&server, 2, q->page_server_port);
    add_message(b, OPTS_PAGE_SERVER, &server);
}

static void add_options(struct strbuf *b, const struct criu_request *q, int images_fd, int work_fd,
                        const struct slots *s)
{
    /* int32: a negative one is ten bytes long. */
    add_number(b, OPTS_IMAGES_DIR_FD, (uint64_t)(int64_t)images_fd);
    if (work_fd >= 0)
        add_number(b, OPTS_WORK_DIR_FD, (uint64_t)work_fd);
    add_members(b, q);
    if (q->page_server)
        add_page_server(b, q);
    if (q->has_cgroups_mode)
        add_number(b, OPTS_CGROUPS_MODE, q->cgroups_mode);
    if (q->has_status_fd)
        add_number(b, OPTS_STATUS_FD, q->status_fd);
    for (size_t i = 0; i < q->n_externals; i++)
        add_text(b, OPTS_EXTERNAL, q->externals[i]);
    add_pairs(b, OPTS_EXT_MNT, q->mounts, q->n_mounts);
    add_pairs(b, OPTS_CG_ROOT, q->cgroup_roots, q->n_cgroup_roots);
    add_pairs(b, OPTS_JOIN_NS, q->namespaces, q->n_namespaces);
    add_fds(b, q, s);
}

void criu_encode(const struct criu_request *q, int images_fd, int work_fd, const struct slots *s,
                 struct strbuf *out)
{
    AUTO_STRBUF struct strbuf options = { 0 };

    add_options(&options, q, images_fd, work_fd, s);
    add_number(out, REQ_TYPE, q->type);
    add_message(out, REQ_OPTS, &options);
}

/* ---- for a reader ---------------------------------------------------------------------------- */

struct words {
    struct arena *a;
    const char **v;
    size_t n;
};

static void say_members(struct words *w, const struct criu_request *q)
{
    const char *base = (const char *)q;

    for (size_t i = 0; i < COUNT_OF(flags); i++)
        if (*(const bool *)(base + flags[i].at))
            w->v[w->n++] = flags[i].name;
    for (size_t i = 0; i < COUNT_OF(numbers); i++)
        if (*(const unsigned *)(base + numbers[i].at))
            w->v[w->n++] = arena_format(w->a, "%s=%u", numbers[i].name,
                                        *(const unsigned *)(base + numbers[i].at));
    for (size_t i = 0; i < COUNT_OF(texts); i++)
        if (*(const char *const *)(base + texts[i].at))
            w->v[w->n++] = arena_format(w->a, "%s=%s", texts[i].name,
                                        *(const char *const *)(base + texts[i].at));
}

static void say_pairs(struct words *w, const char *name, const struct criu_pair *v, size_t n)
{
    for (size_t i = 0; i < n; i++)
        w->v[w->n++] = arena_format(w->a, "%s=%s:%s", name, v[i].key ? v[i].key : "", v[i].value);
}

const char *const *criu_describe(const struct criu_request *q, struct arena *a)
{
    enum { SINGLE_MAX = COUNT_OF(flags) + COUNT_OF(numbers) + COUNT_OF(texts) + 4 };
    struct words w = { .a = a };

    w.v = arena_array(a,
                      SINGLE_MAX + q->n_externals + q->n_mounts + q->n_cgroup_roots +
                          q->n_namespaces + q->n_fds,
                      sizeof *w.v);
    say_members(&w, q);
    if (q->page_server)
        w.v[w.n++] = arena_format(a, "ps=%s:%u", q->page_server, q->page_server_port);
    if (q->has_cgroups_mode)
        w.v[w.n++] = arena_format(a, "manage_cgroups_mode=%u", q->cgroups_mode);
    if (q->has_status_fd)
        w.v[w.n++] = arena_format(a, "status_fd=%u", q->status_fd);
    for (size_t i = 0; i < q->n_externals; i++)
        w.v[w.n++] = arena_format(a, "external=%s", q->externals[i]);
    say_pairs(&w, "ext_mnt", q->mounts, q->n_mounts);
    say_pairs(&w, "cg_root", q->cgroup_roots, q->n_cgroup_roots);
    say_pairs(&w, "join_ns", q->namespaces, q->n_namespaces);
    for (size_t i = 0; i < q->n_fds; i++)
        w.v[w.n++] = q->fds[i].slot >= 0
                         ? arena_format(a, "inherit_fd=%s:$%d", q->fds[i].key, q->fds[i].slot)
                         : arena_format(a, "inherit_fd=%s:%d", q->fds[i].key, q->fds[i].fd);
    w.v[w.n] = NULL;
    return w.v;
}

/* ---- answers ------------------------------------------------------------------------------- */

void criu_encode_answer(struct strbuf *out)
{
    add_number(out, REQ_TYPE, CRIU_NOTIFY);
    add_number(out, REQ_NOTIFY_SUCCESS, 1);
}

/* ---- reading ------------------------------------------------------------------------------- */

struct reader {
    const unsigned char *at, *end;
    bool bad;
};

struct field {
    unsigned number;
    uint64_t value;
    const unsigned char *bytes; /* NULL: a number */
    size_t len;
};

static uint64_t read_varint(struct reader *r)
{
    uint64_t value = 0;

    for (unsigned shift = 0; shift < 64 && r->at < r->end; shift += 7) {
        unsigned char byte = *r->at++;

        value |= (uint64_t)(byte & 0x7f) << shift;
        if (!(byte & 0x80))
            return value;
    }
    r->bad = true;
    return 0;
}

static bool skip(struct reader *r, uint64_t n)
{
    if (n > (uint64_t)(r->end - r->at))
        r->bad = true;
    else
        r->at += n;
    return !r->bad;
}

/* The next field; false at the end and where nothing more can be made of the message. */
static bool read_field(struct reader *r, struct field *f)
{
    uint64_t tag;

    if (r->at == r->end || r->bad)
        return false;
    tag = read_varint(r);
    *f = (struct field){ .number = (unsigned)(tag >> 3) };
    switch (tag & 7) {
    case WIRE_VARINT:
        f->value = read_varint(r);
        break;
    case WIRE_BYTES:
        f->len = read_varint(r);
        f->bytes = r->at;
        skip(r, f->len);
        break;
    case WIRE_64:
        skip(r, 8);
        break;
    case WIRE_32:
        skip(r, 4);
        break;
    default:
        r->bad = true;
    }
    return !r->bad;
}

static void take_text(const struct field *f, char *out, size_t size)
{
    if (f->bytes)
        base_format(out, size, "%.*s", (int)(f->len < size ? f->len : size),
                    (const char *)f->bytes);
}

static void read_inner(const struct field *outer, struct criu_answer *out, struct reader *whole)
{
    struct reader r = { outer->bytes, outer->bytes + outer->len, false };
    struct field f;

    while (read_field(&r, &f)) {
        if (outer->number == RESP_NOTIFY && f.number == NOTIFY_SCRIPT)
            take_text(&f, out->script, sizeof out->script);
        else if ((outer->number == RESP_NOTIFY && f.number == NOTIFY_PID) ||
                 (outer->number == RESP_RESTORE && f.number == RESTORE_PID))
            out->pid = (int64_t)f.value;
    }
    whole->bad |= r.bad;
}

int criu_decode(const unsigned char *data, size_t len, struct criu_answer *out)
{
    struct reader r = { data, data + len, false };
    struct criu_answer answer = { 0 };
    struct field f;

    while (read_field(&r, &f)) {
        if (f.number == RESP_TYPE)
            answer.type = (enum criu_type)f.value;
        else if (f.number == RESP_SUCCESS)
            answer.success = f.value != 0;
        else if (f.number == RESP_ERRMSG)
            take_text(&f, answer.error, sizeof answer.error);
        else if (f.bytes && (f.number == RESP_NOTIFY || f.number == RESP_RESTORE))
            read_inner(&f, &answer, &r);
    }
    if (r.bad)
        return -EBADMSG;
    *out = answer;
    return 0;
}
