/* SPDX-License-Identifier: Apache-2.0 */
#ifndef TECA_CMD_H
#define TECA_CMD_H
/*
 * cmd: the command line. verbs.c holds the tables and turns argv into one struct cmd (pure), main.c
 * runs the verb, report.c is the only place that writes to stdout, stderr and the log. Order in
 * main: cmd_parse, container_seal for verbs that enter a container, log_open, the verb, cmd_report.
 *
 * It never decides anything about containers: it hands options to container/ and prints results.
 */
#include "args.h"
#include "container/container.h"

enum cmd_verb_id {
    CMD_RUN,
    CMD_CREATE,
    CMD_START,
    CMD_STATE,
    CMD_KILL,
    CMD_DELETE,
    CMD_LIST,
    CMD_EXEC,
    CMD_PS,
    CMD_PAUSE,
    CMD_RESUME,
    CMD_UPDATE,
    CMD_CHECKPOINT,
    CMD_RESTORE,
    CMD_EVENTS,
    CMD_STATS,
    CMD_FEATURES,
    CMD_SPEC,
    CMD_EXPLAIN,
    CMD_CHECK,
    CMD_VM,
    CMD_VERB_COUNT
};

/* The flags of `update`, as they were written; NULL: absent. */
struct cmd_update {
    const char *resources;
    const char *blkio_weight, *cpu_period, *cpu_quota, *cpu_burst, *cpu_share, *cpu_rt_period;
    const char *cpu_rt_runtime, *cpu_idle, *cpuset_cpus, *cpuset_mems, *memory, *memory_swap;
    const char *memory_reservation, *kernel_memory, *kernel_memory_tcp, *pids_limit;
    const char *l3_cache_schema, *mem_bw_schema;
};

/* The flags of `vm boot`, as they were written; NULL: absent. */
struct cmd_vm {
    const char *kernel, *modules, *initrd, *cpus, *memory, *append, *image;
    struct str_list disks;
    bool stats;
};

struct cmd_options {
    struct container_options container;
    struct cmd_update update;
    struct container_exec_options exec;
    struct container_criu_options criu;
    struct cmd_vm vm;
    /* global */
    const char *log, *log_format, *log_level, *rootless;
    bool debug, version, help;
    /* of verbs */
    const char *format, *facts, *interval;
    bool all, force, quiet, create, explain_exec, explain_checkpoint, explain_restore, write_facts,
        rootless_spec, stats, no_stream, regex;
};

struct cmd_verb {
    const char *name, *operands, *summary;
    struct arg_table args;
    size_t min, max; /* how many positionals */
    bool enters;     /* puts a process of teca's into a container: sealed first */
    int failure;     /* exit status of a failure when it is not 1 */
};

/* One invocation, parsed. Strings are argv's. */
struct cmd {
    const struct cmd_verb *verb; /* NULL with --help or --version alone */
    struct cmd_options o;
    const char *const *args; /* positionals, the ID first; o.container.id is args[0] */
    size_t n_args;
    struct arena *arena;
};

extern const struct arg_table cmd_globals;
extern const struct cmd_verb cmd_verbs[CMD_VERB_COUNT];

/*
 * argv as main got it. On a fault -EINVAL, and o holds what was parsed before it. With --help or
 * --version positionals are not counted.
 */
int cmd_parse(int argc, char *const argv[], struct arena *a, struct cmd *out, struct err *e);
/* `teca --help` (verb NULL) or `teca VERB --help`. */
void cmd_help(const struct cmd_verb *verb, struct strbuf *out);

/* ---- report.c ----------------------------------------------------------------------------- */

/*
 * Opens --log and, with --debug and a text log, points log_sink at it. A JSON log never gets
 * anything but the one error: Podman parses the whole file as one object (engine-contract 1.10).
 */
int log_open(const struct cmd_options *o, struct err *e);
/* "teca: SENTENCE" on stderr in one write, and the log's error line. */
void cmd_report(const struct err *e);
/* One sentence on stderr that is no failure of the verb (an unreadable state in `list`). */
void cmd_remark(const char *sentence);
/* To stdout, all or -errno with a sentence. */
int cmd_print(const char *text, size_t len, struct err *e);
int cmd_print_json(struct json_out *j, struct err *e); /* with a final newline */
/*
 * Bytes that a terminal would obey become '?': config.json, whose text comes back in sentences, may
 * be hostile. keep_lines: newlines stay.
 */
void cmd_make_printable(char *text, size_t len, bool keep_lines);

/* ---- stream.c ----------------------------------------------------------------------------- */

/*
 * To stdout as above, for a verb that the signalfd (-1: none) ends: 1 when a signal came before the text could
 * be written, because nobody reads. What has been begun is finished if the reader goes on.
 */
int cmd_stream(int signals, const char *text, size_t len, struct err *e);
int cmd_stream_json(int signals, struct json_out *j, struct err *e); /* a line of it */

/* ---- duration.c --------------------------------------------------------------------------- */

/* "5s", "1m30s", "500ms" as Go writes them, in nanoseconds; more than none. */
int cmd_duration(const char *text, int64_t *out_ns, struct err *e);

/* ---- update.c ----------------------------------------------------------------------------- */

/* "512m" is 512 * 2^20, -1 no limit. -EINVAL, -ERANGE. */
int cmd_bytes(const char *text, int64_t *out);

/* ---- one function a verb ------------------------------------------------------------------- */

/* ps_table.c */
void cmd_ps_table(struct arena *a, const pid_t *pids, size_t n, struct strbuf *out);
/* 0: exit with *status (0 on entry); -errno: main reports e and exits 1. */
typedef int cmd_function(const struct cmd *c, int *status, struct err *e);
cmd_function cmd_run, cmd_create, cmd_start, cmd_state, cmd_kill, cmd_delete, cmd_list, cmd_spec,
    cmd_explain, cmd_check, cmd_exec, cmd_ps, cmd_pause, cmd_resume, cmd_features, cmd_update,
    cmd_events, cmd_stats, cmd_vm, cmd_vm_boot, cmd_checkpoint, cmd_restore;
/* The word behind vm. */
int cmd_vm_prepare(const struct cmd *c, struct err *e);
/* What `checkpoint --help` says besides: does it work on this host? */
int cmd_criu_works(const struct cmd *c, struct err *e);

#endif
