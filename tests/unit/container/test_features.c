/* SPDX-License-Identifier: Apache-2.0 */
/* features tells the truth: what it lists is taken by the code, and what is refused is not listed. */
#include "../unit.h"

#include "container/internal.h"

static const struct json *features(void)
{
    struct json_out *j = json_out_in(unit_arena(), false);
    struct json *doc;
    struct err e = { 0 };
    const char *text;
    size_t len;

    container_features(j);
    text = json_out_text(j, &len);
    if (json_parse(unit_arena(), text, len, "features", &doc, &e) < 0)
        fail_msg("%s", e.text);
    return doc;
}

static const struct json *at(const char *one, const char *two, const char *three)
{
    const struct json *v = json_get(features(), one);

    v = two ? json_get(v, two) : v;
    v = three ? json_get(v, three) : v;
    if (!v)
        fail_msg("no /%s/%s/%s", one, two ? two : "", three ? three : "");
    return v;
}

static bool lists(const struct json *array, const char *name)
{
    for (const struct json *v = array->child; v; v = v->next)
        if (str_eq(v->text, name))
            return true;
    return false;
}

/* Would a start of this config be refused? */
static bool is_refused_with(const char *process, const char *members, const char *linux_)
{
    const char *text = arena_format(
        unit_arena(),
        "{\"ociVersion\":\"1.3.0\",\"root\":{\"path\":\"r\"},\"process\":{\"cwd\":\"/\",\"args\":["
        "\"x\"]%s}%s,\"linux\":{\"namespaces\":[{\"type\":\"mount\"},{\"type\":\"network\"}]"
        "%s}}",
        process, members, linux_);
    struct spec *s;

    return spec_parse(unit_arena(), text, strlen(text), &s, NULL, NULL) < 0 ||
           spec_check(s, unit_arena(), NULL, NULL) < 0 ||
           container_refuse_unsupported(s, unit_arena(), NULL) < 0;
}

static bool is_refused(const char *members, const char *linux_)
{
    return is_refused_with("", members, linux_);
}

static void every_mount_option_is_known_and_none_is_left_to_the_file_system(void **state)
{
    const struct json *options = at("mountOptions", NULL, NULL);

    (void)state;
    assert_true(options->count > 50);
    for (const struct json *v = options->child; v; v = v->next) {
        /* A bind has no file system that could take an option: an unknown one is refused. */
        const char *names[] = { "bind", v->text };
        struct spec_mount m = {
            .destination = "/x", .source = "/x", .type = "bind", .options = { .v = names, .n = 2 }
        };
        struct err e = { 0 };

        if (str_eq(v->text, "tmpcopyup"))
            m = (struct spec_mount){ .destination = "/x",
                                     .type = "tmpfs",
                                     .options = { .v = names + 1, .n = 1 } };
        if (rootfs_check_mount(&m, &e) < 0)
            fail_msg("%s: %s", v->text, e.text);
    }
}

static void mount_options_of_the_specification_are_listed_unless_they_are_refused(void **state)
{
    /* config.md "Linux mount options", the MUST and SHOULD rows */
    static const char *const wanted[] = {
        "async",        "atime",       "bind",        "defaults",       "dev",
        "diratime",     "dirsync",     "exec",        "iversion",       "lazytime",
        "loud",         "noatime",     "nodev",       "nodiratime",     "noexec",
        "noiversion",   "nolazytime",  "norelatime",  "nostrictatime",  "nosuid",
        "private",      "ratime",      "rbind",       "rdev",           "rdiratime",
        "relatime",     "remount",     "rexec",       "rnoatime",       "rnodev",
        "rnodiratime",  "rnoexec",     "rnorelatime", "rnostrictatime", "rnosuid",
        "rnosymfollow", "ro",          "rprivate",    "rrelatime",      "rro",
        "rrw",          "rshared",     "rslave",      "rstrictatime",   "rsuid",
        "rsymfollow",   "runbindable", "rw",          "shared",         "silent",
        "slave",        "strictatime", "suid",        "sync",           "tmpcopyup",
        "unbindable",
    };
    bool idmap = at("linux", "mountExtensions", "idmap")->child->boolean;

    (void)state;
    for (size_t i = 0; i < COUNT_OF(wanted); i++)
        unit_row(wanted[i], lists(at("mountOptions", NULL, NULL), wanted[i]));
    assert_int_equal(lists(at("mountOptions", NULL, NULL), "idmap"), idmap);
    assert_true(idmap);
    assert_false(is_refused(",\"mounts\":[{\"destination\":\"/x\",\"source\":\"/x\",\"options\":["
                            "\"bind\",\"idmap\"],\"uidMappings\":[{\"containerID\":0,\"hostID\":"
                            "0,\"size\":1}],\"gidMappings\":[{\"containerID\":0,\"hostID\":0,"
                            "\"size\":1}]}]",
                            ""));
}

static void hooks_are_listed_when_they_are_run(void **state)
{
    static const char *const hooks[] = { "prestart",       "createRuntime", "createContainer",
                                         "startContainer", "poststart",     "poststop" };

    (void)state;
    for (size_t i = 0; i < COUNT_OF(hooks); i++)
        unit_row(hooks[i],
                 lists(at("hooks", NULL, NULL), hooks[i]) ==
                     !is_refused(arena_format(unit_arena(),
                                              ",\"hooks\":{\"%s\":[{\"path\":\"/h\"}]}", hooks[i]),
                                 ""));
}

static void seccomp_actions_are_listed_when_they_are_executed(void **state)
{
    static const char *const actions[] = { "SCMP_ACT_KILL",        "SCMP_ACT_KILL_PROCESS",
                                           "SCMP_ACT_KILL_THREAD", "SCMP_ACT_TRAP",
                                           "SCMP_ACT_ERRNO",       "SCMP_ACT_TRACE",
                                           "SCMP_ACT_ALLOW",       "SCMP_ACT_LOG",
                                           "SCMP_ACT_NOTIFY" };

    (void)state;
    for (size_t i = 0; i < COUNT_OF(actions); i++)
        unit_row(
            actions[i],
            lists(at("linux", "seccomp", "actions"), actions[i]) ==
                !is_refused("", arena_format(unit_arena(),
                                             ",\"seccomp\":{\"defaultAction\":\"SCMP_ACT_ALLOW\","
                                             "\"listenerPath\":\"/l\",\"syscalls\":[{\"names\":["
                                             "\"acct\"],\"action\":\"%s\"}]}",
                                             actions[i])));
}

static void seccomp_names_are_taken_by_the_parser(void **state)
{
    static const char *const keys[] = { "archs", "operators", "supportedFlags", "knownFlags" };
    static const char *const forms[] = {
        ",\"seccomp\":{\"defaultAction\":\"SCMP_ACT_ALLOW\",\"architectures\":[\"%s\"]}",
        ",\"seccomp\":{\"defaultAction\":\"SCMP_ACT_ALLOW\",\"syscalls\":[{\"names\":[\"acct\"],"
        "\"action\":\"SCMP_ACT_LOG\",\"args\":[{\"index\":0,\"value\":1,\"op\":\"%s\"}]}]}",
        ",\"seccomp\":{\"defaultAction\":\"SCMP_ACT_ALLOW\",\"flags\":[\"%s\"]}",
        ",\"seccomp\":{\"defaultAction\":\"SCMP_ACT_ALLOW\",\"flags\":[\"%s\"]}",
    };

    (void)state;
    for (size_t i = 0; i < COUNT_OF(keys); i++) {
        const struct json *list = at("linux", "seccomp", keys[i]);
        const char *cut = strstr(forms[i], "%s");

        assert_true(list->count >= 3);
        for (const struct json *v = list->child; v; v = v->next)
            unit_row(v->text,
                     !is_refused("", arena_format(unit_arena(), "%.*s%s%s", (int)(cut - forms[i]),
                                                  forms[i], v->text, cut + 2)));
    }
}

static void other_parts_that_are_refused_are_switched_off(void **state)
{
    const struct {
        const char *key, *process, *linux_;
    } rows[] = {
        { "apparmor", ",\"apparmorProfile\":\"a\"", "" },
        { "selinux", ",\"selinuxLabel\":\"a\"", "" },
        { "intelRdt", "", ",\"intelRdt\":{\"closID\":\"a\"}" },
        { "netDevices", "", ",\"netDevices\":{\"eth0\":{}}" },
    };

    (void)state;
    for (size_t i = 0; i < COUNT_OF(rows); i++) {
        bool on = json_get(at("linux", rows[i].key, NULL), "enabled")->boolean;

        unit_row(rows[i].key, on == !is_refused_with(rows[i].process, "", rows[i].linux_));
    }
}

static void every_namespace_and_capability_has_its_name(void **state)
{
    const struct json *list = at("linux", "capabilities", NULL);

    (void)state;
    assert_int_equal(at("linux", "namespaces", NULL)->count, SPEC_NS_COUNT);
    assert_int_equal(list->count, 41);
    for (const struct json *v = list->child; v; v = v->next)
        assert_int_equal(spec_capability_number(v->text), v->index);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(every_mount_option_is_known_and_none_is_left_to_the_file_system),
        cmocka_unit_test(mount_options_of_the_specification_are_listed_unless_they_are_refused),
        cmocka_unit_test(hooks_are_listed_when_they_are_run),
        cmocka_unit_test(seccomp_actions_are_listed_when_they_are_executed),
        cmocka_unit_test(seccomp_names_are_taken_by_the_parser),
        cmocka_unit_test(other_parts_that_are_refused_are_switched_off),
        cmocka_unit_test(every_namespace_and_capability_has_its_name),
    };
    int failed = cmocka_run_group_tests_name("features", tests, NULL, NULL);

    arena_release(unit_arena());
    return failed;
}
