/* SPDX-License-Identifier: Apache-2.0 */
#include "cmd.h"
#include "guest/guest.h"

#include <errno.h>
#include <seccomp.h>
#include <stdlib.h>
#include <unistd.h>

enum { FIRST_CHUNK_SIZE = 128 * 1024 };

static cmd_function *const functions[CMD_VERB_COUNT] = {
    [CMD_RUN] = cmd_run,
    [CMD_CREATE] = cmd_create,
    [CMD_START] = cmd_start,
    [CMD_STATE] = cmd_state,
    [CMD_KILL] = cmd_kill,
    [CMD_DELETE] = cmd_delete,
    [CMD_LIST] = cmd_list,
    [CMD_SPEC] = cmd_spec,
    [CMD_EXPLAIN] = cmd_explain,
    [CMD_CHECK] = cmd_check,
    [CMD_EXEC] = cmd_exec,
    [CMD_PS] = cmd_ps,
    [CMD_PAUSE] = cmd_pause,
    [CMD_RESUME] = cmd_resume,
    [CMD_FEATURES] = cmd_features,
    [CMD_UPDATE] = cmd_update,
    [CMD_EVENTS] = cmd_events,
    [CMD_STATS] = cmd_stats,
    [CMD_VM] = cmd_vm,
    [CMD_CHECKPOINT] = cmd_checkpoint,
    [CMD_RESTORE] = cmd_restore,
};

/*
 * dockerd takes the last line with the word "version" in it, so only the first line has it
 * (engine-contract 1.3.16). go-runc knows a number behind "runc version" only; teca is no runc, and
 * nothing of containerd depends on that number.
 */
static int print_version(struct err *e)
{
    const struct scmp_version *seccomp = seccomp_version();
    AUTO_STRBUF struct strbuf out = { 0 };

    strbuf_format(&out, "teca version %s\ncommit: %s\nspec: 1.3.0\nlibseccomp: %u.%u.%u\n",
                  TECA_VERSION, TECA_COMMIT, seccomp->major, seccomp->minor, seccomp->micro);
    return cmd_print(out.ptr, out.len, e);
}

static int print_help(const struct cmd_verb *verb, struct err *e)
{
    AUTO_STRBUF struct strbuf out = { 0 };

    cmd_help(verb, &out);
    return cmd_print(out.ptr, out.len, e);
}

/* A verb whose help asks the host a question prints it, and fails when the answer is no. */
static int help(const struct cmd *c, struct err *e)
{
    int r = print_help(c->verb, e);

    return r == 0 && c->verb == &cmd_verbs[CMD_CHECKPOINT] ? cmd_criu_works(c, e) : r;
}

static int dispatch(const struct cmd *c, int *status, struct err *e)
{
    if (c->o.version)
        return print_version(e);
    if (c->o.help)
        return help(c, e);
    return functions[c->verb - cmd_verbs](c, status, e);
}

int main(int argc, char *argv[])
{
    static _Alignas(16) char first_chunk[FIRST_CHUNK_SIZE];
    struct arena arena;
    struct cmd c;
    struct err e = { 0 }, log_error = { 0 };
    int status = 0, r, log_r;

    if (guest_is_agent(argv[0]) && guest_agent(&e) < 0) {
        cmd_report(&e);
        return EXIT_FAILURE;
    }
    arena_init(&arena, first_chunk, sizeof(first_chunk));
    r = cmd_parse(argc, argv, &arena, &c, &e);
    if (r == 0 && c.verb && c.verb->enters && !c.o.help)
        r = container_seal(argv, environ, &e);
    /* A verb that reads a bundle finds out by the number of its first fd, without a call. */
    if (r == 0 && (!c.verb || !c.verb->enters || c.o.log))
        r = fd_fill_standard(&e);
    /* Even when something failed already: that sentence belongs into the log. */
    log_r = log_open(&c.o, &log_error);
    if (r == 0 && log_r < 0) {
        r = log_r;
        e = log_error;
    }
    if (r == 0)
        r = dispatch(&c, &status, &e);
    if (r < 0) {
        cmd_report(&e);
        status = c.verb && c.verb->failure ? c.verb->failure : EXIT_FAILURE;
    }
    arena_release(&arena);
    return status;
}
