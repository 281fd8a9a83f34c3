/* SPDX-License-Identifier: Apache-2.0 */
#include "base/base.h"
#include "base/internal.h"

#include <errno.h>
#include <string.h>

/* The position where the next character of a bounded text goes, and what is left. */
static size_t append(char *buf, size_t size, size_t at, const char *s)
{
    while (at + 1 < size && *s != '\0')
        buf[at++] = *s++;
    buf[at] = '\0';
    return at;
}

static size_t append_reason(char *buf, size_t size, size_t at, int errnum)
{
    const char *reason = base_reason(errnum);
    char number[32];

    if (reason == NULL) {
        base_format(number, sizeof(number), "errno %d", errnum);
        reason = number;
    }
    at = append(buf, size, at, ": ");
    return append(buf, size, at, reason);
}

/* A start that needs what it cannot have says which call and what to do. */
static void name_refused_call(struct err *e)
{
    const char *call = sys_refused(e->code);

    if (!call)
        return;
    if (e->code == ENOSYS)
        err_hint(e, "teca needs %s; a seccomp filter around teca must allow it", call);
    else
        err_hint(e, "teca runs under a seccomp filter: does it allow %s?", call);
}

static int set(struct err *e, int errnum, const char *fmt, va_list ap)
{
    /* An argument may lie in e->text itself ("%s" of the inner sentence), hence the copy. */
    char text[ERR_TEXT_SIZE];
    size_t len;

    if (errnum < 0) /* a caller that hands on -errno means the same error */
        errnum = -errnum;
    if (e == NULL)
        return errnum != 0 ? -errnum : -EINVAL;
    len = base_vformat(text, sizeof(text), fmt, ap);
    if (len >= sizeof(text))
        len = sizeof(text) - 1;
    if (errnum != 0)
        len = append_reason(text, sizeof(text), len, errnum);
    memcpy(e->text, text, len + 1);
    e->code = errnum != 0 ? errnum : EINVAL;
    if (errnum != 0)
        name_refused_call(e);
    return -e->code;
}

int err_set(struct err *e, int errnum, const char *fmt, ...)
{
    va_list ap;
    int rc;

    va_start(ap, fmt);
    rc = set(e, errnum, fmt, ap);
    va_end(ap);
    return rc;
}

int err_at(struct err *e, const char *pointer, int errnum, const char *fmt, ...)
{
    va_list ap;
    int rc;

    va_start(ap, fmt);
    rc = set(e, errnum, fmt, ap);
    va_end(ap);
    if (e != NULL && e->pointer[0] == '\0' && pointer != NULL)
        append(e->pointer, sizeof(e->pointer), 0, pointer);
    return rc;
}

void err_hint(struct err *e, const char *fmt, ...)
{
    char hint[ERR_TEXT_SIZE];
    va_list ap;
    size_t at;

    if (e == NULL)
        return;
    va_start(ap, fmt);
    base_vformat(hint, sizeof(hint), fmt, ap);
    va_end(ap);
    at = append(e->text, sizeof(e->text), strlen(e->text), " (");
    at = append(e->text, sizeof(e->text), at, hint);
    append(e->text, sizeof(e->text), at, ")");
}

void err_prefix(struct err *e, const char *prefix)
{
    char text[ERR_TEXT_SIZE];
    size_t len;

    if (e == NULL)
        return;
    len = append(text, sizeof(text), 0, prefix);
    len = append(text, sizeof(text), len, ": ");
    len = append(text, sizeof(text), len, e->text);
    memcpy(e->text, text, len + 1);
}

const char *err_sentence(const struct err *e, char *buf, size_t size)
{
    if (e->pointer[0] != '\0')
        base_format(buf, size, "%s: %s", e->pointer, e->text);
    else
        base_format(buf, size, "%s", e->text);
    return buf;
}
