/* SPDX-License-Identifier: Apache-2.0 */
/* The tables of flags and verbs, and argv -> struct cmd. Pure. */
#include "cmd.h"

#include <errno.h>
#include <string.h>

#define FLAG(NAME, SHORTS, KIND, FIELD, VALUE, HELP)                                          \
    {                                                                                         \
        .name = (NAME), .shorts = (SHORTS), .kind = (KIND), .value = (VALUE), .help = (HELP), \
        .offset = offsetof(struct cmd_options, FIELD),                                        \
    }
#define ARGS(FLAGS)                            \
    {                                          \
        .flags = (FLAGS), .n = COUNT_OF(FLAGS) \
    }

#define HELP_FLAG FLAG("help", "h", ARG_BOOL, help, NULL, "print this and exit")
#define BUNDLE_FLAG \
    FLAG("bundle", "b", ARG_STRING, container.bundle, "DIR", "the bundle (default: .)")
#define CONFIG_FLAG                                           \
    FLAG("config", "f", ARG_STRING, container.config, "FILE", \
         "read this instead of DIR/config.json")
#define CONSOLE_SOCKET_FLAG                                                  \
    FLAG("console-socket", "", ARG_STRING, container.console_socket, "PATH", \
         "send the terminal's master to this socket")
#define PIDFD_SOCKET_FLAG                                                \
    FLAG("pidfd-socket", "", ARG_STRING, container.pidfd_socket, "PATH", \
         "send a pidfd of the container's init to this socket")
#define DETACH_FLAG \
    FLAG("detach", "d", ARG_BOOL, container.detach, NULL, "return when the process runs")
#define PID_FILE_FLAG                                            \
    FLAG("pid-file", "", ARG_STRING, container.pid_file, "FILE", \
         "write the pid of the container's init here")
#define NO_PIVOT_FLAG                                        \
    FLAG("no-pivot", "", ARG_BOOL, container.no_pivot, NULL, \
         "do not use pivot_root (for a root on a ramdisk)")
#define NO_NEW_KEYRING_FLAG                                              \
    FLAG("no-new-keyring", "", ARG_BOOL, container.no_new_keyring, NULL, \
         "keep the caller's session keyring")
#define ISOLATION_FLAG                                                                   \
    FLAG("isolation", "", ARG_CHOICE, container.isolation, "container|vm|emulated|auto", \
         "on this kernel, or in a machine: by KVM or emulated")
#define PRESERVE_FDS_FLAG                                            \
    FLAG("preserve-fds", "", ARG_COUNT, container.preserve_fds, "N", \
         "pass N file descriptors, from 3 on")

static const struct arg_flag global_flags[] = {
    FLAG("root", "", ARG_STRING, container.root, "DIR",
         "where state lives (/run/teca or $XDG_RUNTIME_DIR/teca)"),
    FLAG("log", "", ARG_STRING, log, "FILE", "also append the error to this file"),
    FLAG("log-format", "", ARG_CHOICE, log_format, "text|json", "form of the log"),
    FLAG("log-level", "", ARG_CHOICE, log_level, "debug|info|warning|error",
         "debug is --debug, the others change nothing"),
    FLAG("debug", "", ARG_BOOL, debug, NULL, "write debug lines to a text log"),
    FLAG("systemd-cgroup", "", ARG_BOOL, container.systemd_cgroup, NULL,
         "let systemd make the cgroups"),
    FLAG("cgroup-manager", "", ARG_CHOICE, container.cgroup_manager, "cgroupfs|systemd|disabled",
         "who makes cgroups: teca, systemd, nobody"),
    FLAG("rootless", "", ARG_CHOICE, rootless, "true|false|auto",
         "ignore cgroup permission errors"),
    FLAG("criu", "", ARG_STRING, container.criu, "PATH",
         "the program for checkpoint and restore (default: criu in PATH)"),
    FLAG("version", "vV", ARG_BOOL, version, NULL, "print versions and exit"),
    HELP_FLAG,
};
const struct arg_table cmd_globals = {
    .flags = global_flags,
    .n = COUNT_OF(global_flags),
    .stops = true,
};

static const struct arg_flag run_flags[] = {
    BUNDLE_FLAG,
    CONFIG_FLAG,
    CONSOLE_SOCKET_FLAG,
    PIDFD_SOCKET_FLAG,
    PID_FILE_FLAG,
    NO_PIVOT_FLAG,
    NO_NEW_KEYRING_FLAG,
    PRESERVE_FDS_FLAG,
    ISOLATION_FLAG,
    DETACH_FLAG,
    FLAG("keep", "", ARG_BOOL, container.keep, NULL, "do not delete the container afterwards"),
    FLAG("no-subreaper", "", ARG_BOOL, container.no_subreaper, NULL,
         "do not reap what the container's processes leave behind"),
    HELP_FLAG,
};
static const struct arg_flag create_flags[] = {
    BUNDLE_FLAG,   CONFIG_FLAG,         CONSOLE_SOCKET_FLAG, PID_FILE_FLAG,  PIDFD_SOCKET_FLAG,
    NO_PIVOT_FLAG, NO_NEW_KEYRING_FLAG, PRESERVE_FDS_FLAG,   ISOLATION_FLAG, HELP_FLAG,
};
static const struct arg_flag help_only[] = { HELP_FLAG };
static const struct arg_flag kill_flags[] = {
    FLAG("all", "a", ARG_BOOL, all, NULL,
         "to every process; a container that has stopped is no error"),
    HELP_FLAG,
};
static const struct arg_flag delete_flags[] = {
    FLAG("force", "f", ARG_BOOL, force, NULL, "kill it first; an absent container is fine"),
    FLAG("regex", "r", ARG_BOOL, regex, NULL, "ID is an expression: every container it matches"),
    HELP_FLAG,
};
static const struct arg_flag list_flags[] = {
    FLAG("format", "f", ARG_CHOICE, format, "table|json", "form of the output"),
    FLAG("quiet", "q", ARG_BOOL, quiet, NULL, "only IDs"),
    HELP_FLAG,
};
static const struct arg_flag exec_flags[] = {
    FLAG("process", "p", ARG_STRING, exec.process, "FILE",
         "the process, as in config.json; the flags of a process are ignored"),
    FLAG("cwd", "", ARG_STRING, exec.cwd, "DIR", "the working directory in the container"),
    FLAG("env", "e", ARG_LIST, exec.env, "NAME=VALUE", "one more variable; may be repeated"),
    FLAG("user", "u", ARG_STRING, exec.user, "UID[:GID]", "the user, by number"),
    FLAG("additional-gids", "g", ARG_LIST, exec.gids, "GID", "one more group; may be repeated"),
    FLAG("cap", "c", ARG_LIST, exec.caps, "CAP_NAME", "one more capability; may be repeated"),
    FLAG("no-new-privs", "", ARG_BOOL, exec.no_new_privs, NULL, "no_new_privs for the process"),
    FLAG("cgroup", "", ARG_LIST, exec.cgroups, "[CONTROLLERS:]PATH",
         "enter this cgroup below the container's; may be repeated"),
    FLAG("detach", "d", ARG_BOOL, container.detach, NULL, "return when the process runs"),
    FLAG("pid-file", "", ARG_STRING, container.pid_file, "FILE",
         "write the pid of the process here when it runs"),
    FLAG("ignore-paused", "", ARG_BOOL, exec.ignore_paused, NULL,
         "also in a paused container: wait until it is resumed"),
    FLAG("tty", "t", ARG_BOOL, exec.tty, NULL, "give the process a terminal"),
    CONSOLE_SOCKET_FLAG,
    FLAG("pidfd-socket", "", ARG_STRING, container.pidfd_socket, "PATH",
         "send a pidfd of the process to this socket"),
    PRESERVE_FDS_FLAG,
    FLAG("process-label", "", ARG_STRING, exec.process_label, "LABEL",
         "the SELinux label of the process"),
    FLAG("apparmor", "", ARG_STRING, exec.apparmor, "PROFILE",
         "the AppArmor profile of the process"),
    HELP_FLAG,
};
static const struct arg_flag ps_flags[] = {
    FLAG("format", "f", ARG_CHOICE, format, "table|json", "form of the output"),
    HELP_FLAG,
};
#define CRIU_FLAG(NAME, KIND, FIELD, VALUE, HELP) FLAG(NAME, "", KIND, criu.FIELD, VALUE, HELP)
#define CRIU_FLAGS                                                                                \
    CRIU_FLAG("image-path", ARG_STRING, images, "DIR", "the checkpoint (default: ./checkpoint)"), \
        CRIU_FLAG("work-path", ARG_STRING, work, "DIR",                                           \
                  "CRIU's logs and statistics (default: beside the images)"),                     \
        CRIU_FLAG("parent-path", ARG_STRING, parent, "DIR",                                       \
                  "an earlier pre-dump, relative to the images"),                                 \
        CRIU_FLAG("tcp-established", ARG_BOOL, tcp_established, NULL,                             \
                  "with open TCP connections"),                                                   \
        CRIU_FLAG("tcp-close", ARG_BOOL, tcp_close, NULL, "TCP connections as closed ones"),      \
        CRIU_FLAG("ext-unix-sk", ARG_BOOL, ext_unix_sk, NULL,                                     \
                  "with connections to Unix sockets outside"),                                    \
        CRIU_FLAG("shell-job", ARG_BOOL, shell_job, NULL, "with a terminal of the caller's"),     \
        CRIU_FLAG("file-locks", ARG_BOOL, file_locks, NULL, "with locks of files"),               \
        CRIU_FLAG("manage-cgroups-mode", ARG_CHOICE, cgroups_mode, "soft|full|strict|ignore",     \
                  "what CRIU restores of cgroups (default: soft)"),                               \
        CRIU_FLAG("network-lock", ARG_CHOICE, network_lock, "iptables|nftables|skip",             \
                  "what holds packets back meanwhile"),                                           \
        CRIU_FLAG("lazy-pages", ARG_BOOL, lazy_pages, NULL,                                       \
                  "memory is fetched when it is used, by userfaultfd(2)"),                        \
        CRIU_FLAG("auto-dedup", ARG_BOOL, auto_dedup, NULL, "drop what a later image holds too"), \
        CRIU_FLAG("link-remap", ARG_BOOL, link_remap, NULL, "with open files that are unlinked"), \
        CRIU_FLAG("empty-ns", ARG_LIST, empty_ns, "network", "restore it without what is in it")
#define CRIU_DUMP_FLAGS                                                                    \
    CRIU_FLAG("leave-running", ARG_BOOL, leave_running, NULL, "let the container run on"), \
        CRIU_FLAG("pre-dump", ARG_BOOL, pre_dump, NULL,                                    \
                  "memory only, and let the container run on"),                            \
        CRIU_FLAG("page-server", ARG_STRING, page_server, "ADDRESS:PORT",                  \
                  "send memory to this page server; with --lazy-pages serve it there"),    \
        CRIU_FLAG("status-fd", ARG_STRING, status_fd, "FD",                                \
                  "write a zero byte there when lazy pages can be fetched"),               \
        CRIU_FLAG("tcp-skip-in-flight", ARG_BOOL, tcp_skip_in_flight, NULL,                \
                  "without TCP connections that are not accepted yet")
#define CRIU_RESTORE_FLAGS                                                     \
    CRIU_FLAG("lsm-profile", ARG_STRING, lsm_profile, "TYPE:NAME",             \
              "another AppArmor profile or SELinux label"),                    \
        CRIU_FLAG("lsm-mount-context", ARG_STRING, lsm_mount_context, "LABEL", \
                  "another SELinux label for mounts")
static const struct arg_flag checkpoint_flags[] = {
    CRIU_FLAGS,
    CRIU_DUMP_FLAGS,
    HELP_FLAG,
};
static const struct arg_flag restore_flags[] = {
    CRIU_FLAGS,
    BUNDLE_FLAG,
    CONFIG_FLAG,
    CONSOLE_SOCKET_FLAG,
    DETACH_FLAG,
    PID_FILE_FLAG,
    NO_PIVOT_FLAG,
    NO_NEW_KEYRING_FLAG,
    FLAG("keep", "", ARG_BOOL, container.keep, NULL, "do not delete the container afterwards"),
    FLAG("no-subreaper", "", ARG_BOOL, container.no_subreaper, NULL,
         "do not reap what the container's processes leave behind"),
    CRIU_RESTORE_FLAGS,
    HELP_FLAG,
};
#define UPDATE_FLAG(NAME, FIELD, VALUE, HELP) FLAG(NAME, "", ARG_STRING, update.FIELD, VALUE, HELP)
static const struct arg_flag update_flags[] = {
    FLAG("resources", "r", ARG_STRING, update.resources, "FILE",
         "linux.resources as in config.json, - is stdin; no other flag counts then"),
    UPDATE_FLAG("blkio-weight", blkio_weight, "N", "share of block I/O, 10 to 1000"),
    UPDATE_FLAG("cpu-period", cpu_period, "USEC", "the period of the CPU quota"),
    UPDATE_FLAG("cpu-quota", cpu_quota, "USEC", "CPU time in a period, -1: no limit"),
    UPDATE_FLAG("cpu-burst", cpu_burst, "USEC", "CPU time that may be saved up"),
    UPDATE_FLAG("cpu-share", cpu_share, "N", "share of the CPUs, 2 to 262144"),
    UPDATE_FLAG("cpu-rt-period", cpu_rt_period, "USEC", "the period of real-time CPU time (v1)"),
    UPDATE_FLAG("cpu-rt-runtime", cpu_rt_runtime, "USEC", "real-time CPU time in a period (v1)"),
    UPDATE_FLAG("cpu-idle", cpu_idle, "0|1", "1: runs when nobody else wants to"),
    UPDATE_FLAG("cpuset-cpus", cpuset_cpus, "LIST", "CPUs, as 0-3,7"),
    UPDATE_FLAG("cpuset-mems", cpuset_mems, "LIST", "memory nodes"),
    UPDATE_FLAG("memory", memory, "BYTES", "limit, with b, k, m, g or t; -1: none"),
    UPDATE_FLAG("memory-reservation", memory_reservation, "BYTES", "the soft limit"),
    UPDATE_FLAG("memory-swap", memory_swap, "BYTES", "limit of memory and swap together"),
    UPDATE_FLAG("kernel-memory", kernel_memory, "BYTES", "accepted and ignored"),
    UPDATE_FLAG("kernel-memory-tcp", kernel_memory_tcp, "BYTES", "accepted and ignored"),
    UPDATE_FLAG("pids-limit", pids_limit, "N", "how many processes, -1: no limit"),
    UPDATE_FLAG("l3-cache-schema", l3_cache_schema, "LINE",
                "Intel RDT: a line of schemata, L3:..."),
    UPDATE_FLAG("mem-bw-schema", mem_bw_schema, "LINE", "Intel RDT: a line of schemata, MB:..."),
    HELP_FLAG,
};
static const struct arg_flag events_flags[] = {
    FLAG("stats", "", ARG_BOOL, stats, NULL, "print the numbers once and exit"),
    FLAG("interval", "", ARG_STRING, interval, "DURATION",
         "between two lines of numbers (default: 5s)"),
    HELP_FLAG,
};
static const struct arg_flag stats_flags[] = {
    FLAG("format", "f", ARG_CHOICE, format, "table|json", "form of the output"),
    FLAG("interval", "", ARG_STRING, interval, "DURATION", "between two tables (default: 1s)"),
    FLAG("no-stream", "", ARG_BOOL, no_stream, NULL, "print one table and exit"),
    HELP_FLAG,
};
static const struct arg_flag spec_flags[] = {
    BUNDLE_FLAG,
    FLAG("rootless", "", ARG_BOOL, rootless_spec, NULL, "for a caller who is not root"),
    HELP_FLAG,
};
static const struct arg_flag explain_flags[] = {
    BUNDLE_FLAG,
    CONFIG_FLAG,
    CONSOLE_SOCKET_FLAG,
    PIDFD_SOCKET_FLAG,
    NO_PIVOT_FLAG,
    NO_NEW_KEYRING_FLAG,
    PRESERVE_FDS_FLAG,
    ISOLATION_FLAG,
    DETACH_FLAG,
    FLAG("create", "", ARG_BOOL, create, NULL, "the plan of create instead of run"),
    FLAG("exec", "", ARG_BOOL, explain_exec, NULL, "the plan of exec of a command in container ID"),
    FLAG("checkpoint", "", ARG_BOOL, explain_checkpoint, NULL,
         "the plan of checkpoint, whose flags follow"),
    FLAG("restore", "", ARG_BOOL, explain_restore, NULL, "the plan of restore, whose flags follow"),
    FLAG("process", "p", ARG_STRING, exec.process, "FILE", "with --exec: as there"),
    FLAG("tty", "t", ARG_BOOL, exec.tty, NULL, "with --exec: as there"),
    FLAG("format", "", ARG_CHOICE, format, "text|json", "form of the output"),
    FLAG("facts", "", ARG_STRING, facts, "FILE", "plan for the host that wrote these facts"),
    FLAG("write-facts", "", ARG_BOOL, write_facts, NULL, "print the facts of this host instead"),
    CRIU_FLAGS,
    CRIU_DUMP_FLAGS,
    CRIU_RESTORE_FLAGS,
    HELP_FLAG,
};
static const struct arg_flag check_flags[] = {
    BUNDLE_FLAG,
    CONFIG_FLAG,
    FLAG("format", "", ARG_CHOICE, format, "text|json", "form of the output"),
    HELP_FLAG,
};

static const struct arg_flag vm_flags[] = {
    FLAG("format", "", ARG_CHOICE, format, "text|json", "form of the output of doctor and prepare"),
    FLAG("kernel", "", ARG_STRING, vm.kernel, "FILE",
         "a bzImage or an ELF file (prepare's default: the newest in /boot)"),
    FLAG("modules", "", ARG_STRING, vm.modules, "DIR",
         "prepare: the modules of that kernel (default: /lib/modules/RELEASE)"),
    FLAG("initrd", "", ARG_STRING, vm.initrd, "FILE", "boot: its first file system"),
    FLAG("cpus", "", ARG_STRING, vm.cpus, "N", "boot: processors (default: 1)"),
    FLAG("memory", "", ARG_STRING, vm.memory, "BYTES", "boot: with k, m or g (default: 512m)"),
    FLAG("append", "", ARG_STRING, vm.append, "TEXT", "boot: more for the kernel's command line"),
    FLAG("image", "", ARG_STRING, vm.image, "PATH",
         "boot: a file to map (pmem); prepare: a root for an image"),
    FLAG("disk", "", ARG_LIST, vm.disks, "FILE[:ro]", "boot: a virtio disk; may be repeated"),
    FLAG("stats", "", ARG_BOOL, vm.stats, NULL, "boot: times and exits by reason on stderr"),
    HELP_FLAG,
};

#define VERB(NAME, OPERANDS, MIN, MAX, SUMMARY, ...)                                              \
    {                                                                                             \
        .name = (NAME), .operands = (OPERANDS), .min = (MIN), .max = (MAX), .summary = (SUMMARY), \
        __VA_ARGS__                                                                               \
    }
const struct cmd_verb cmd_verbs[CMD_VERB_COUNT] = {
    [CMD_RUN] = VERB("run", "ID", 1, 1, "create a container, start it, wait for it and delete it",
                     .args = ARGS(run_flags), .enters = true),
    [CMD_CREATE] = VERB("create", "ID", 1, 1, "create a container whose process waits for start",
                        .args = ARGS(create_flags), .enters = true),
    [CMD_START] = VERB("start", "ID", 1, 1, "let the process of a created container run",
                       .args = ARGS(help_only)),
    [CMD_STATE] = VERB("state", "ID", 1, 1, "print the state of a container as JSON",
                       .args = ARGS(help_only)),
    [CMD_KILL] = VERB("kill", "ID [SIGNAL]", 1, 2, "send a signal to a container (default: TERM)",
                      .args = ARGS(kill_flags), .args.stops = true),
    [CMD_DELETE] = VERB("delete", "ID", 1, 1, "remove a container that has stopped",
                        .args = ARGS(delete_flags)),
    [CMD_LIST] = VERB("list", "", 0, 0, "list containers", .args = ARGS(list_flags)),
    [CMD_EXEC] = VERB("exec", "ID [COMMAND [ARGUMENT...]]", 1, SIZE_MAX,
                      "run one more process in a container", .args = ARGS(exec_flags),
                      .args.stops = true, .enters = true, .failure = 255),
    [CMD_PS] = VERB("ps", "ID [PS-ARGUMENT...]", 1, SIZE_MAX, "list the processes of a container",
                    .args = ARGS(ps_flags), .args.stops = true),
    [CMD_PAUSE] = VERB("pause", "ID", 1, 1, "freeze every process of a container",
                       .args = ARGS(help_only)),
    [CMD_RESUME] = VERB("resume", "ID", 1, 1, "let a paused container go on",
                        .args = ARGS(help_only)),
    [CMD_UPDATE] = VERB("update", "ID", 1, 1, "change the limits of a container",
                        .args = ARGS(update_flags)),
    [CMD_CHECKPOINT] = VERB("checkpoint", "ID", 1, 1, "write a running container to files, by CRIU",
                            .args = ARGS(checkpoint_flags)),
    [CMD_RESTORE] = VERB("restore", "ID", 1, 1, "make a container from a checkpoint",
                         .args = ARGS(restore_flags)),
    [CMD_EVENTS] = VERB("events", "ID", 1, 1,
                        "print what a container uses and its out-of-memory events as JSON",
                        .args = ARGS(events_flags)),
    [CMD_STATS] = VERB("stats", "[ID...]", 0, SIZE_MAX,
                       "show what containers use, again and again, like top(1)",
                       .args = ARGS(stats_flags)),
    [CMD_FEATURES] = VERB("features", "", 0, 0, "print what this build can do as JSON",
                          .args = ARGS(help_only)),
    [CMD_SPEC] = VERB("spec", "", 0, 0, "write a default config.json", .args = ARGS(spec_flags)),
    [CMD_EXPLAIN] = VERB("explain", "[ID [COMMAND [ARGUMENT...]]]", 0, SIZE_MAX,
                         "print the plan of a start; changes nothing, needs no root",
                         .args = ARGS(explain_flags)),
    [CMD_CHECK] = VERB("check", "", 0, 0, "print every fault of a config.json",
                       .args = ARGS(check_flags)),
    [CMD_VM] = VERB("vm", "doctor|prepare|boot", 1, 1,
                    "what this host's KVM is good for; what a machine boots; boot a kernel",
                    .args = ARGS(vm_flags)),
};

static const struct cmd_verb *find_verb(const char *name, struct err *e)
{
    const struct cmd_verb *nearest = NULL;
    size_t nearest_distance = SIZE_MAX;

    for (size_t i = 0; i < CMD_VERB_COUNT; i++) {
        size_t distance = args_distance(cmd_verbs[i].name, name);

        if (distance == 0)
            return &cmd_verbs[i];
        if (distance < nearest_distance) {
            nearest_distance = distance;
            nearest = &cmd_verbs[i];
        }
    }
    err_set(e, 0, "unknown verb \"%s\"", name);
    if (nearest && args_is_slip(nearest_distance, name))
        err_hint(e, "did you mean %s?", nearest->name);
    else
        err_hint(e, "teca --help lists the verbs");
    return NULL;
}

static int check_count(const struct cmd_verb *v, size_t n, struct err *e)
{
    if (n >= v->min && n <= v->max)
        return 0;
    if (v->max == 0)
        err_set(e, 0, "\"%s\" takes no arguments, got %zu", v->name, n);
    else if (v->min == v->max)
        err_set(e, 0, "\"%s\" requires exactly %zu argument%s, got %zu", v->name, v->min,
                v->min == 1 ? "" : "s", n);
    else if (v->max == SIZE_MAX)
        err_set(e, 0, "\"%s\" requires at least %zu argument%s", v->name, v->min,
                v->min == 1 ? "" : "s");
    else
        err_set(e, 0, "\"%s\" requires from %zu to %zu arguments, got %zu", v->name, v->min, v->max,
                n);
    err_hint(e, "usage: teca %s [flags]%s%s", v->name, v->operands[0] ? " " : "", v->operands);
    return -EINVAL;
}

/* A global flag behind the verb is the likeliest slip of all: say so. */
static void hint_global(const struct cmd_verb *v, int argc, const char *const *argv, struct err *e)
{
    for (int i = 0; i < argc; i++) {
        size_t dashes = strspn(argv[i], "-"), len = strcspn(argv[i], "=");
        const char *name = argv[i] + dashes;

        if (dashes > 0 && args_find(&cmd_globals, name, len - dashes) &&
            !args_find(&v->args, name, len - dashes)) {
            err_hint(e, "%.*s is a global flag, it goes before \"%s\"", (int)len, argv[i], v->name);
            return;
        }
    }
}

/* Each list can get at most one word an argument. */
static void make_lists(struct cmd *c, int argc)
{
    for (size_t i = 0; i < c->verb->args.n; i++) {
        const struct arg_flag *f = &c->verb->args.flags[i];

        if (f->kind == ARG_LIST)
            ((struct str_list *)((char *)&c->o + f->offset))->v = arena_array(
                c->arena, (size_t)argc + 1, sizeof(const char *));
    }
}

static int parse_verb(struct cmd *c, int argc, const char *const *argv, struct err *e)
{
    const char **positional = arena_array(c->arena, (size_t)argc + 1, sizeof(*positional));
    int n;

    make_lists(c, argc);
    n = args_parse(&c->verb->args, argc, argv, &c->o, positional, e);
    if (n == -ENOENT)
        hint_global(c->verb, argc, argv, e);
    if (n < 0)
        return -EINVAL;
    c->args = positional;
    c->n_args = (size_t)n;
    c->o.container.id = positional[0];
    return c->o.help ? 0 : check_count(c->verb, c->n_args, e);
}

int cmd_parse(int argc, char *const argv[], struct arena *a, struct cmd *out, struct err *e)
{
    const char **words;
    int n;

    *out = (struct cmd){ .arena = a };
    if (argc < 1)
        return err_set(e, 0, "no verb given (teca --help lists the verbs)");
    words = arena_array(a, (size_t)argc, sizeof(*words));
    n = args_parse(&cmd_globals, argc - 1, (const char *const *)argv + 1, &out->o, words, e);
    if (n < 0)
        return -EINVAL;
    out->o.debug = out->o.debug || str_eq(out->o.log_level, "debug");
    out->o.container.called_as = argv[0];
    out->o.container.rootless_given = str_eq(out->o.rootless, "true");
    if (out->o.version || (out->o.help && n == 0))
        return 0;
    if (n == 0)
        return err_set(e, 0, "no verb given (teca --help lists the verbs)");
    out->verb = find_verb(words[0], e);
    return out->verb ? parse_verb(out, n - 1, words + 1, e) : -EINVAL;
}

void cmd_help(const struct cmd_verb *verb, struct strbuf *out)
{
    if (verb) {
        strbuf_format(out, "Usage: teca [global flags] %s [flags]%s%s\n\n", verb->name,
                      verb->operands[0] ? " " : "", verb->operands);
        strbuf_format(out, "teca %s: %s.\n\nFlags:\n", verb->name, verb->summary);
        args_help(&verb->args, out);
        return;
    }
    strbuf_str(out, "Usage: teca [global flags] VERB [flags] [arguments]\n\n"
                    "teca runs OCI bundles in isolation. Verbs:\n");
    for (size_t i = 0; i < CMD_VERB_COUNT; i++) {
        strbuf_format(out, "  %s", cmd_verbs[i].name);
        for (size_t pad = strlen(cmd_verbs[i].name); pad < 12; pad++)
            strbuf_str(out, " ");
        strbuf_format(out, "%s\n", cmd_verbs[i].summary);
    }
    strbuf_str(out, "\nteca VERB --help lists the flags of a verb. Global flags:\n");
    args_help(&cmd_globals, out);
}
