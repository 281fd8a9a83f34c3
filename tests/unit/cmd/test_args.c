/* SPDX-License-Identifier: Apache-2.0 */
/* The command line: the parser, teca's own tables, and that the man page lists what they hold. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <cmocka.h>

#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <string.h>

#include "../../../cmd/cmd.h"

enum { WORDS_MAX = 12, MAN_PAGE_MAX_BYTES = 1 << 20 };

static char memory[256 * 1024];

/* A parsed command line and what came of it. */
struct parsed {
    struct arena arena;
    struct cmd c;
    struct err e;
    int r;
};

static struct parsed parse_words(const char *const words[WORDS_MAX])
{
    struct parsed p = { 0 };
    char *argv[WORDS_MAX + 2] = { (char *)"teca" };
    int argc = 1;

    for (; words[argc - 1]; argc++)
        argv[argc] = (char *)words[argc - 1];
    memset(memory, 0, sizeof(memory));
    arena_init(&p.arena, memory, sizeof(memory));
    p.r = cmd_parse(argc, argv, &p.arena, &p.c, &p.e);
    return p;
}
#define PARSE(...) parse_words((const char *const[WORDS_MAX]){ __VA_ARGS__ })

static void check_fault(const char *row, const struct parsed *p, const char *text)
{
    if (p->r != -EINVAL || strcmp(p->e.text, text) != 0)
        fail_msg("%s: returned %d with \"%s\", expected \"%s\"", row, p->r, p->e.text, text);
}

static void check_create(const char *row, struct parsed p)
{
    const struct container_options *o = &p.c.o.container;

    if (p.r != 0)
        fail_msg("%s: %s", row, p.e.text);
    if (p.c.verb != &cmd_verbs[CMD_CREATE] || !str_eq(o->root, "/r") || !str_eq(o->bundle, "/b") ||
        !str_eq(o->pid_file, "p") || !o->no_new_keyring || o->preserve_fds != 3 ||
        !str_eq(o->id, "box"))
        fail_msg("%s: a value is missing", row);
}

static void values_are_accepted_in_every_form_that_engines_write(void **state)
{
    (void)state;
    check_create("next word", PARSE("--root", "/r", "create", "--bundle", "/b", "--pid-file", "p",
                                    "--no-new-keyring", "--preserve-fds", "3", "box"));
    check_create("equals sign", PARSE("--root=/r", "create", "--bundle=/b", "--pid-file=p",
                                      "--no-new-keyring=true", "--preserve-fds=3", "box"));
    check_create("one dash", PARSE("-root", "/r", "create", "-bundle=/b", "-pid-file", "p",
                                   "-no-new-keyring", "-preserve-fds", "3", "box"));
    check_create("short", PARSE("--root=/r", "create", "-b", "/b", "--pid-file=p",
                                "--no-new-keyring=1", "--preserve-fds=3", "box"));
    check_create("short with equals sign", PARSE("--root=/r", "create", "-b=/b", "--pid-file=p",
                                                 "--no-new-keyring=T", "--preserve-fds=3", "box"));
    check_create("ID first", PARSE("--root=/r", "create", "box", "-b=/b", "--pid-file=p",
                                   "--no-new-keyring=yes", "--preserve-fds=3"));
    check_create("double dash before the verb and the ID",
                 PARSE("--root=/r", "--", "create", "-b=/b", "--pid-file=p", "--no-new-keyring",
                       "--preserve-fds=3", "--", "box"));
}

static void the_last_of_a_repeated_flag_wins(void **state)
{
    struct parsed p = PARSE("--root=/a", "--systemd-cgroup", "--systemd-cgroup", "--root", "/b",
                            "run", "--keep", "--keep=false", "x");

    (void)state;
    assert_int_equal(p.r, 0);
    assert_string_equal(p.c.o.container.root, "/b");
    assert_true(p.c.o.container.systemd_cgroup);
    assert_false(p.c.o.container.keep);
}

static void a_value_may_look_like_a_flag_and_is_never_split(void **state)
{
    struct parsed p = PARSE("--root", "--debug", "run", "--pid-file=a=b,c", "x");

    (void)state;
    assert_int_equal(p.r, 0);
    assert_string_equal(p.c.o.container.root, "--debug");
    assert_false(p.c.o.debug);
    assert_string_equal(p.c.o.container.pid_file, "a=b,c");
}

static void go_runc_may_say_no_subreaper_with_one_dash(void **state)
{
    struct parsed p = PARSE("run", "-no-subreaper", "x");

    (void)state;
    assert_int_equal(p.r, 0);
    assert_true(p.c.o.container.no_subreaper);
}

static void kill_takes_no_flags_after_the_id(void **state)
{
    struct parsed p = PARSE("kill", "-a", "x", "-9");

    (void)state;
    assert_int_equal(p.r, 0);
    assert_true(p.c.o.all);
    assert_int_equal(p.c.n_args, 2);
    assert_string_equal(p.c.args[1], "-9");
    p = PARSE("kill", "x", "--all");
    assert_int_equal(p.r, 0);
    assert_false(p.c.o.all);
}

static void a_dash_alone_is_a_positional(void **state)
{
    struct parsed p = PARSE("state", "-");

    (void)state;
    assert_int_equal(p.r, 0);
    assert_string_equal(p.c.o.container.id, "-");
}

static void faults_are_named(void **state)
{
    static const struct {
        const char *row, *words[WORDS_MAX], *text;
    } rows[] = {
        { "nothing", { NULL }, "no verb given (teca --help lists the verbs)" },
        { "only flags", { "--debug" }, "no verb given (teca --help lists the verbs)" },
        { "value missing", { "run", "--bundle" }, "flag needs an argument: --bundle" },
        { "value missing, one dash", { "-root" }, "flag needs an argument: -root" },
        { "value missing, short", { "run", "-b" }, "flag needs an argument: -b" },
        { "value empty", { "--root=", "list" }, "the value of --root is empty" },
        { "value empty, next word", { "--root", "", "list" }, "the value of --root is empty" },
        { "bool empty", { "run", "--keep=", "x" }, "the value of --keep is empty" },
        { "unknown flag", { "run", "--frobnicate", "x" }, "unknown flag: --frobnicate" },
        { "unknown flag with value", { "run", "--frob=1", "x" }, "unknown flag: --frob" },
        { "three dashes",
          { "run", "---keep", "x" },
          "unknown flag: ---keep (did you mean --keep?)" },
        { "two dashes and =", { "run", "--=x", "x" }, "unknown flag: --" },
        { "a prefix is no flag",
          { "run", "--bund", "b", "x" },
          "unknown flag: --bund (did you mean --bundle?)" },
        { "shorts are not joined", { "list", "-qf", "json" }, "unknown flag: -qf" },
        { "a slip",
          { "create", "--bundel", "b", "x" },
          "unknown flag: --bundel (did you mean --bundle?)" },
        { "global flag behind the verb",
          { "run", "--root=/r", "x" },
          "unknown flag: --root (--root is a global flag, it goes before \"run\")" },
        { "bad bool",
          { "run", "--keep=maybe", "x" },
          "invalid boolean value \"maybe\" for --keep" },
        { "bad log format",
          { "--log-format=xml", "list" },
          "invalid log-format: xml (one of text|json)" },
        { "a choice is no prefix",
          { "--log-format=js", "list" },
          "invalid log-format: js (one of text|json)" },
        { "a choice is one word",
          { "--log-format=text|json", "list" },
          "invalid log-format: text|json (one of text|json)" },
        { "bad number",
          { "run", "--preserve-fds=x", "x" },
          "invalid value \"x\" for --preserve-fds: not a number from 0 to 1048576" },
        { "negative number",
          { "run", "--preserve-fds=-1", "x" },
          "invalid value \"-1\" for --preserve-fds: not a number from 0 to 1048576" },
        { "number too large",
          { "run", "--preserve-fds=1048577", "x" },
          "invalid value \"1048577\" for --preserve-fds: not a number from 0 to 1048576" },
        { "verb with a slip", { "strat", "x" }, "unknown verb \"strat\" (did you mean start?)" },
        { "verb unlike any",
          { "frobnicate" },
          "unknown verb \"frobnicate\" (teca --help lists the verbs)" },
        { "long verb",
          { "an-argument-that-is-far-too-long-for-a-verb" },
          "unknown verb \"an-argument-that-is-far-too-long-for-a-verb\" (teca --help lists the "
          "verbs)" },
        { "no ID",
          { "start" },
          "\"start\" requires exactly 1 argument, got 0 (usage: teca start [flags] ID)" },
        { "two IDs",
          { "delete", "a", "b" },
          "\"delete\" requires exactly 1 argument, got 2 (usage: teca delete [flags] ID)" },
        { "three for kill",
          { "kill", "a", "9", "b" },
          "\"kill\" requires from 1 to 2 arguments, got 3 (usage: teca kill [flags] ID [SIGNAL])" },
        { "one for list",
          { "list", "a" },
          "\"list\" takes no arguments, got 1 (usage: teca list [flags])" },
    };

    (void)state;
    for (size_t i = 0; i < COUNT_OF(rows); i++) {
        struct parsed p = parse_words(rows[i].words);

        check_fault(rows[i].row, &p, rows[i].text);
    }
}

static void a_fault_behind_log_still_finds_the_log(void **state)
{
    struct parsed p = PARSE("--log", "/l", "--log-format", "json", "create", "--nonsense");

    (void)state;
    assert_int_equal(p.r, -EINVAL);
    assert_string_equal(p.c.o.log, "/l");
    assert_string_equal(p.c.o.log_format, "json");
}

static void help_and_version_ask_for_nothing_else(void **state)
{
    static const char *const words[][3] = {
        { "--version" }, { "-v" }, { "-V" }, { "-version" }, { "-v", "run" }
    };
    struct parsed p;

    (void)state;
    for (size_t i = 0; i < COUNT_OF(words); i++) {
        p = PARSE(words[i][0], words[i][1]);
        if (p.r != 0 || !p.c.o.version)
            fail_msg("%s is not --version", words[i][0]);
    }
    p = PARSE("--help");
    assert_int_equal(p.r, 0);
    assert_true(p.c.o.help && !p.c.verb);
    p = PARSE("-h");
    assert_true(p.r == 0 && p.c.o.help);
    for (size_t i = 0; i < CMD_VERB_COUNT; i++) {
        p = PARSE(cmd_verbs[i].name, "--help");
        if (p.r != 0 || !p.c.o.help || p.c.verb != &cmd_verbs[i])
            fail_msg("%s --help: %s", cmd_verbs[i].name, p.e.text);
    }
    /* an engine asks so whether a verb exists (engine-contract 1.1.7) */
    p = PARSE("init", "--help");
    assert_int_equal(p.r, -EINVAL);
}

static void only_what_runs_teca_inside_a_container_is_sealed(void **state)
{
    (void)state;
    for (size_t i = 0; i < CMD_VERB_COUNT; i++)
        assert_int_equal(cmd_verbs[i].enters, i == CMD_RUN || i == CMD_CREATE || i == CMD_EXEC);
}

static void a_flag_that_may_be_repeated_keeps_every_word_as_it_is(void **state)
{
    struct parsed p = PARSE("exec", "-e", "A=1,2", "--env=B", "--cgroup", "cpu,cpuacct:x", "box",
                            "-e", "C");
    const struct container_exec_options *o = &p.c.o.exec;

    (void)state;
    assert_int_equal(p.r, 0);
    assert_int_equal(o->env.n, 2);
    assert_string_equal(o->env.v[0], "A=1,2");
    assert_string_equal(o->env.v[1], "B");
    assert_int_equal(o->cgroups.n, 1);
    assert_string_equal(o->cgroups.v[0], "cpu,cpuacct:x");
    /* behind the ID everything is the command's */
    assert_int_equal(p.c.n_args, 3);
    assert_string_equal(p.c.args[1], "-e");
}

static void exec_and_ps_take_any_number_of_arguments_but_none(void **state)
{
    struct parsed p = PARSE("ps", "box", "-aux", "--x");

    (void)state;
    assert_int_equal(p.r, 0);
    assert_int_equal(p.c.n_args, 3);
    p = PARSE("exec");
    assert_int_equal(p.r, -EINVAL);
    assert_true(strstr(p.e.text, "requires at least 1 argument"));
    assert_int_equal(p.c.verb->failure, 255); /* engine-contract 1.5 */
}

static void check_table(const char *verb, const struct arg_table *t)
{
    for (size_t i = 0; i < t->n; i++) {
        const struct arg_flag *f = &t->flags[i];

        if (args_find(t, f->name, strlen(f->name)) != f || strlen(f->name) < 2)
            fail_msg("%s: --%s is there twice, or too short", verb, f->name);
        for (const char *s = f->shorts; *s; s++) {
            if (args_find(t, s, 1) != f)
                fail_msg("%s: -%c is there twice", verb, *s);
        }
        if ((f->kind == ARG_BOOL) != (f->value == NULL))
            fail_msg("%s: --%s: a value's name for what takes none, or none", verb, f->name);
    }
    if (!args_find(t, "help", 4))
        fail_msg("%s has no --help", verb);
}

static void every_table_is_sound(void **state)
{
    (void)state;
    check_table("global", &cmd_globals);
    for (size_t i = 0; i < CMD_VERB_COUNT; i++)
        check_table(cmd_verbs[i].name, &cmd_verbs[i].args);
}

static void every_flag_of_a_verb_lands_in_a_field_of_its_own(void **state)
{
    (void)state;
    for (size_t v = 0; v < CMD_VERB_COUNT; v++) {
        const struct arg_table *t = &cmd_verbs[v].args;

        for (size_t i = 0; i < t->n; i++) {
            for (size_t j = 0; j < cmd_globals.n + t->n; j++) {
                const struct arg_flag *other = j < t->n ? &t->flags[j]
                                                        : &cmd_globals.flags[j - t->n];

                if (other != &t->flags[i] && strcmp(other->name, "help") != 0 &&
                    other->offset == t->flags[i].offset)
                    fail_msg("%s: --%s and --%s share a field", cmd_verbs[v].name, t->flags[i].name,
                             other->name);
            }
        }
    }
}

static void help_lists_every_verb_and_every_flag(void **state)
{
    AUTO_STRBUF struct strbuf all = { 0 };
    char wanted[64];

    (void)state;
    cmd_help(NULL, &all);
    for (size_t i = 0; i < CMD_VERB_COUNT; i++) {
        AUTO_STRBUF struct strbuf one = { 0 };

        snprintf(wanted, sizeof(wanted), "\n  %s ", cmd_verbs[i].name);
        assert_non_null(strstr(all.ptr, wanted));
        cmd_help(&cmd_verbs[i], &one);
        for (size_t f = 0; f < cmd_verbs[i].args.n; f++) {
            snprintf(wanted, sizeof(wanted), "\n  --%s", cmd_verbs[i].args.flags[f].name);
            if (!strstr(one.ptr, wanted))
                fail_msg("%s --help does not list%s", cmd_verbs[i].name, wanted + 1);
        }
    }
    assert_non_null(strstr(all.ptr, "\n  --version, -v, -V "));
    assert_null(strstr(all.ptr, "\n\n\n"));
}

static void help_fits_a_terminal(void **state)
{
    (void)state;
    for (size_t i = 0; i <= CMD_VERB_COUNT; i++) {
        AUTO_STRBUF struct strbuf b = { 0 };

        cmd_help(i < CMD_VERB_COUNT ? &cmd_verbs[i] : NULL, &b);
        for (const char *line = b.ptr; *line; line += strcspn(line, "\n") + 1) {
            if (strcspn(line, "\n") > 100)
                fail_msg("too wide: %.*s", (int)strcspn(line, "\n"), line);
        }
    }
}

static void distance_counts_single_edits(void **state)
{
    (void)state;
    assert_int_equal(args_distance("start", "start"), 0);
    assert_int_equal(args_distance("", "run"), 3);
    assert_int_equal(args_distance("run", ""), 3);
    assert_int_equal(args_distance("strat", "start"), 2);
    assert_int_equal(args_distance("delet", "delete"), 1);
    assert_int_equal(args_distance("kitten", "sitting"), 3);
}

static void what_a_terminal_would_obey_is_not_printed(void **state)
{
    char text[] = "a\033[2J\x7f\tb\nc \xc2\x9b"
                  "31m \xc3\xa9";
    char lines[] = "a\nb\r";

    (void)state;
    cmd_make_printable(text, strlen(text), false);
    assert_string_equal(text, "a?[2J??b?c ??31m \xc3\xa9");
    cmd_make_printable(lines, strlen(lines), true);
    assert_string_equal(lines, "a\nb?");
}

/* ---- docs/teca.8 --------------------------------------------------------------------------- */

/* From the line `heading` up to the next heading of the same kind or above; in the arena. */
static char *man_section(struct arena *a, const char *page, const char *heading)
{
    char line[64];
    const char *start, *end;

    snprintf(line, sizeof(line), "\n%s\n", heading);
    start = strstr(page, line);
    if (!start) {
        fail_msg("docs/teca.8 has no line %s", heading);
        return NULL; /* fail_msg does not return, which an analyzer cannot see */
    }
    start += strlen(line) - 1;
    end = strstr(start, "\n.S");
    while (end && end[3] != 'h' && end[3] != 's') /* .Sh or .Ss, not .Sx */
        end = strstr(end + 1, "\n.S");
    return end ? arena_strndup(a, start, (size_t)(end - start) + 1) : arena_strdup(a, start);
}

/* "\n.It Fl -name" followed by a space or the end of the line; returns the line's start. */
static const char *man_item(const char *section, const char *name)
{
    char item[64];
    size_t len = (size_t)snprintf(item, sizeof(item), "\n.It Fl -%s", name);

    for (const char *at = strstr(section, item); at; at = strstr(at + 1, item)) {
        if (at[len] == ' ' || at[len] == '\n')
            return at + 1;
    }
    return NULL;
}

static void compare_with_man_page(struct arena *a, const char *page, const char *heading,
                                  const struct arg_table *t)
{
    const char *section = man_section(a, page, heading);
    size_t items = 0;

    for (size_t i = 0; i < t->n; i++) {
        const struct arg_flag *f = &t->flags[i];
        const char *item = man_item(section, f->name);

        if (!item) {
            fail_msg("docs/teca.8, %s: no .It Fl -%s", heading, f->name);
            return;
        }
        for (const char *s = f->shorts; *s; s++) {
            const char form[] = { ' ', 'F', 'l', ' ', *s, '\0' };
            const char *found = strstr(item, form);

            if (!found || found > strchr(item, '\n'))
                fail_msg("docs/teca.8, %s: -%s without its short form -%c", heading, f->name, *s);
        }
    }
    for (const char *at = strstr(section, "\n.It Fl "); at; at = strstr(at + 1, "\n.It Fl "))
        items++;
    if (items != t->n)
        fail_msg("docs/teca.8, %s: %zu flags, the program has %zu", heading, items, t->n);
}

static void the_man_page_lists_exactly_the_flags_of_every_verb(void **state)
{
    struct arena a = { 0 };
    struct err e = { 0 };
    char *page;
    size_t len;

    (void)state;
    arena_init(&a, NULL, 0);
    /* tests run in the root of the tree */
    if (file_read(&a, AT_FDCWD, "docs/teca.8", MAN_PAGE_MAX_BYTES, &page, &len, &e) < 0)
        fail_msg("%s", e.text);
    compare_with_man_page(&a, page, ".Sh GLOBAL FLAGS", &cmd_globals);
    for (size_t i = 0; i < CMD_VERB_COUNT; i++)
        compare_with_man_page(&a, page, arena_format(&a, ".Ss %s", cmd_verbs[i].name),
                              &cmd_verbs[i].args);
    arena_release(&a);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(values_are_accepted_in_every_form_that_engines_write),
        cmocka_unit_test(the_last_of_a_repeated_flag_wins),
        cmocka_unit_test(a_value_may_look_like_a_flag_and_is_never_split),
        cmocka_unit_test(go_runc_may_say_no_subreaper_with_one_dash),
        cmocka_unit_test(kill_takes_no_flags_after_the_id),
        cmocka_unit_test(a_dash_alone_is_a_positional),
        cmocka_unit_test(faults_are_named),
        cmocka_unit_test(a_fault_behind_log_still_finds_the_log),
        cmocka_unit_test(help_and_version_ask_for_nothing_else),
        cmocka_unit_test(only_what_runs_teca_inside_a_container_is_sealed),
        cmocka_unit_test(a_flag_that_may_be_repeated_keeps_every_word_as_it_is),
        cmocka_unit_test(exec_and_ps_take_any_number_of_arguments_but_none),
        cmocka_unit_test(every_table_is_sound),
        cmocka_unit_test(every_flag_of_a_verb_lands_in_a_field_of_its_own),
        cmocka_unit_test(help_lists_every_verb_and_every_flag),
        cmocka_unit_test(help_fits_a_terminal),
        cmocka_unit_test(distance_counts_single_edits),
        cmocka_unit_test(what_a_terminal_would_obey_is_not_printed),
        cmocka_unit_test(the_man_page_lists_exactly_the_flags_of_every_verb),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
