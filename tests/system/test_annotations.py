# SPDX-License-Identifier: Apache-2.0
"""Annotations of crun that engines and users rely on. engine-contract 3.1."""
import json
import os
import re

from harness import TREE, cases, contains, default, eq, minimal, test, with_user_namespace
from test_explain import compare_run
from test_security import profile, rule

STDOUT, STDERR, KEEP = "run.oci.hooks.stdout", "run.oci.hooks.stderr", "run.oci.keep_original_groups"
KINDS = ("prestart", "createRuntime", "createContainer", "poststart", "poststop")


def talking(config, *kinds, **annotations):
    say = "echo out-{0}; echo err-{0} >&2"
    config["hooks"] = {k: [{"path": "/bin/sh", "args": ["sh", "-c", say.format(k)]}] for k in kinds}
    config["annotations"] = dict(annotations)
    return config


def text_of(path):
    with open(path, encoding="ascii") as f:
        return f.read().split()


@test
def what_hooks_write_is_added_to_the_files(t):
    files = {STDOUT: t.file("o", "before\n"), STDERR: t.path("e")}
    t.ok(talking(minimal(), *KINDS, "startContainer", **files))
    order = [*KINDS[:3], "startContainer", *KINDS[3:]]
    got = text_of(files[STDOUT])
    eq(got[0], "before", "what was in the file")
    # poststart runs beside the program; startContainer's comes before it.
    eq(got[1:], [f"out-{k}" for k in order], "stdout of the hooks")
    eq(text_of(files[STDERR]), [f"err-{k}" for k in order], "stderr of the hooks")


@test
def a_fifo_for_what_hooks_write_has_a_reader_or_is_refused(t):
    os.mkfifo(t.path("o"))
    config = talking(minimal(), "prestart", **{STDOUT: t.path("o")})
    t.refused(config, STDOUT, t.path("o"), "no such device or address")
    reader = os.open(t.path("o"), os.O_RDONLY | os.O_NONBLOCK)
    t.ok(config)
    eq(os.read(reader, 4096), b"out-prestart\n", "what the hook wrote")
    os.close(reader)


@test
def create_start_and_delete_write_them_too(t):
    files = {STDOUT: t.path("o")}
    config = talking(minimal("/payload", "catch", "15"), *KINDS, **files)
    container = t.create(config)
    eq(text_of(files[STDOUT]), ["out-prestart", "out-createRuntime", "out-createContainer"], "after create")
    t.teca("start", container, expect=0)
    eq(text_of(files[STDOUT])[3:], ["out-poststart"], "after start")
    t.teca("delete", "--force", container, expect=0)
    eq(text_of(files[STDOUT])[4:], ["out-poststop"], "after delete")


@test
def without_the_annotation_a_failing_hook_is_quoted_with_it_the_file_has_it(t):
    for annotations in ({}, {STDERR: t.path("e")}):
        config = talking(minimal(), **annotations)
        config["hooks"] = {"createRuntime": [{"path": "/bin/sh", "args": ["sh", "-c", "echo oh dear >&2; exit 3"]}]}
        done = t.refused(config, "/hooks/createRuntime/0")
        eq("oh dear" in done.error, not annotations, f"is it quoted in {done.error!r}")
    eq(text_of(t.path("e")), ["oh", "dear"], "the file")


@test
def a_file_that_cannot_be_opened_is_an_error_of_its_annotation(t):
    t.refused(talking(minimal(), "prestart", **{STDOUT: t.path("none", "o")}),
              f"/annotations/{STDOUT}", "no such file")


@test
def explain_tells_of_the_files(t):
    compare_run(t, talking(default("/bin/true"), "createRuntime", "createContainer", **{STDOUT: t.path("o")}))


def groups(t, config, *verb):
    done = t.teca(*verb, expect=0, preexec_fn=lambda: os.setgroups([4711, 4712])) if verb else None
    return json.loads(done.text)["groups"]


@cases(ordinary=(minimal(), [4711, 4712]), additional=(minimal(user={"uid": 7, "gid": 8, "additionalGids": [9]}), [4711, 4712]),
       user=(with_user_namespace(minimal()), [65534, 65534]))
def the_callers_groups_stay(t, config, expected):
    config["process"]["args"] = ["/payload", "report"]
    config["annotations"] = {KEEP: "1"}
    where = t.bundle(config)
    eq(groups(t, config, "run", "--bundle", where, t.new_id()), expected, "groups of run")
    del config["annotations"]
    where = t.bundle(config)
    eq(groups(t, config, "run", "--bundle", where, t.new_id()),
       config["process"]["user"].get("additionalGids", []), "groups without the annotation")


@cases(ordinary=(minimal(), [4711, 4712]), user=(with_user_namespace(minimal()), [65534, 65534]))
def the_callers_groups_stay_in_exec_too(t, config, expected):
    config["annotations"] = {KEEP: "1"}
    container, _ = t.sleeper(config)
    eq(groups(t, config, "exec", container, "/payload", "report"), expected, "groups of exec")


STRICT = "run.oci.seccomp_fail_unknown_syscall"


def with_unknown_syscall(value=None):
    config = minimal()
    config["linux"]["seccomp"] = profile("SCMP_ACT_ALLOW", rule("SCMP_ACT_ERRNO", "getpgid", "not_yet_invented"))
    config["annotations"] = {STRICT: value} if value is not None else {}
    return config


@cases(one="1", empty="", word="true")
def a_system_call_that_nobody_knows_can_be_made_an_error(t, value):
    where = "/linux/seccomp/syscalls/0/names/1"
    t.refused(with_unknown_syscall(value), where, "not_yet_invented", STRICT)
    t.refused(with_unknown_syscall(value), where, verb="create")
    done = t.teca("check", "--bundle", t.bundle(with_unknown_syscall(value)), expect=1)
    contains(done.text, where, "what check says")


@cases(absent=None, zero="0")
def otherwise_it_is_left_out(t, value):
    t.ok(with_unknown_syscall(value))
    done = t.teca("check", "--bundle", t.bundle(with_unknown_syscall(value)), expect=0)
    contains(done.text, "left out", "what check says")


@test
def with_that_annotation_an_ordinary_profile_is_as_ever(t):
    config = with_unknown_syscall("1")
    config["linux"]["seccomp"]["syscalls"][0]["names"] = ["getpgid"]
    config["process"]["args"] = ["/payload", "call", "getpgid", "0"]
    eq(t.ok(config), "-1 EPERM\n", "the call")


def keys_of_the_page(first, last):
    """The keys that docs/teca.8 lists between two lines."""
    with open(os.path.join(TREE, "docs", "teca.8"), encoding="utf-8") as f:
        part = f.read().split(first + "\n", 1)[1].split(last + "\n", 1)[0]
    lines = re.findall(r"^\.It (?:Cm|Va) (.*)$", part, re.M)
    return [word for line in lines for word in line.split() if "." in word]


@test
def the_page_and_features_list_exactly_what_is_heeded(t):
    listed = json.loads(t.teca("features", expect=0).text)["potentiallyUnsafeConfigAnnotations"]
    page = [k.removesuffix("NAME") for k in keys_of_the_page(".Ss Heeded", ".Ss Not heeded")]
    eq(sorted(page), sorted(listed), "the man page beside features")
    for name in (STDOUT, STDERR, KEEP, STRICT, "org.systemd.property."):
        contains(listed, name, "potentiallyUnsafeConfigAnnotations")


@test
def what_the_page_calls_not_heeded_changes_no_plan_and_is_kept(t):
    keys = [k.replace("*", "x").replace("NAME", "x") for k in keys_of_the_page(".Ss Not heeded", ".Sh EXIT STATUS")]
    contains(keys, "org.opencontainers.image.stopSignal", "the page")
    config = default("/bin/true")
    plain = t.teca("explain", "--bundle", t.bundle(config), expect=0).text
    config["annotations"] = {k: "/nowhere/1" for k in keys}
    where = t.bundle(config)
    eq(t.teca("explain", "--bundle", where, expect=0).text, plain, "the plan with all of them")
    container = t.new_id()
    t.teca("create", "--bundle", where, container, expect=0)
    eq(t.state(container)["annotations"], config["annotations"], "annotations of the state")
