# SPDX-License-Identifier: Apache-2.0
"""
What engines type and what they read, word by word: engine-contract 1.1 (parser), 1.2 (global flags),
1.3 (invocations), 1.5 (exit codes), 1.6 (texts), 1.10 (log), 1.14 (environment).
"""
import json
import os
import re
import signal

from harness import cases, check, contains, eq, lacks, minimal, test, wait_until, without
from test_exec import process_file


def engine(t, *args, **more):
    """A call with nothing of the harness's own flags."""
    return t.call([t.binary, *args], cwd=t.dir, **more)


# ---- 1.3.1, 1.3.2, 1.3.4, 1.3.5: a life as each engine types it ----------------------------------

LIVES = {
    "containerd": {
        "globals": ["--root", "{root}", "--log", "{dir}/log.json", "--log-format", "json"],
        "create": ["create", "--bundle", "{bundle}", "--pid-file", "{dir}/pid", "--no-new-keyring", "{id}"],
        "kill": ["kill", "--all", "{id}", "15"],
        "delete": ["delete", "--force", "{id}"]},
    "conmon_of_podman": {
        "globals": ["--root={root}", "--log-format=json", "--log", "{dir}/oci-log"],
        "create": ["create", "--bundle", "{bundle}", "--pid-file", "{dir}/pid", "--preserve-fds", "1", "{id}"],
        "kill": ["kill", "{id}", "15"],
        "delete": ["delete", "--force", "{id}"]},
    "conmon_of_crio": {
        "globals": ["--root={root}"],
        "create": ["create", "--bundle", "{bundle}", "--pid-file", "{dir}/pid", "{id}"],
        "kill": ["kill", "-a", "{id}", "TERM"],
        "delete": ["delete", "--force", "{id}"]},
    "conmon_rs": {
        "globals": ["--root=/nowhere", "--root={root}"],
        "create": ["create", "--bundle={bundle}", "--pid-file={dir}/pid", "{id}"],
        "kill": ["kill", "{id}", "SIGTERM"],
        "delete": ["delete", "-f", "{id}"]},
    "buildah": {
        "globals": ["--root", "{root}"],
        "create": ["create", "--bundle", "{bundle}", "--pid-file", "{bundle}/pid", "{id}"],
        "kill": ["kill", "{id}"],
        "delete": ["delete", "{id}"]},
}


@cases(**{name: (life,) for name, life in LIVES.items()})
def a_life_as_an_engine_types_it(t, life):
    container = t.new_id()
    bundle = t.bundle(minimal("/payload", "catch", "15"))
    known = {"root": t.state_root, "dir": t.dir, "bundle": bundle, "id": container}

    def say(*words):
        done = engine(t, *(w.format(**known) for w in (*life["globals"], *words)))
        eq((done.status, done.error), (0, ""), f"status and stderr of {words[0]}")
        return done.text

    say(*life["create"])
    pid = json.loads(say("state", "{id}"))["pid"]
    file = next(w.split("=")[-1] for w in reversed(life["create"]) if w.endswith("/pid"))
    with open(file.format(**known), encoding="ascii") as f:
        eq(f.read(), str(pid), "the pid file")
    say("start", "{id}")
    eq(json.loads(say("state", "{id}"))["status"], "running", "status")
    eq(say("exec", "--process", process_file(t, "/bin/echo", "hello"), "{id}"), "hello\n", "exec")
    eq(json.loads(say("ps", "--format", "json", "{id}")), [pid], "ps")
    eq([c["id"] for c in json.loads(say("list", "--format=json"))], [container], "list")
    say(*life["kill"])
    os.kill(pid, signal.SIGKILL)  # TERM is caught
    eq(os.waitpid(pid, 0)[0], pid, "init is the caller's to reap")
    say(*life["delete"])
    for log in ("log.json", "oci-log"):
        check(not os.path.exists(t.path(log)) or os.path.getsize(t.path(log)) == 0, f"{log} holds something")
    t.nothing_of(container)


@test
def run_as_buildkit_types_it(t):
    where, container = t.bundle(minimal("/bin/sh", "-c", "echo out; exit 42")), t.new_id()
    done = t.teca("run", "--bundle", where, "--keep", container)
    eq((done.status, done.text, done.error), (42, "out\n", ""), "the run")
    eq(t.state(container)["status"], "stopped", "status")
    t.teca("delete", container, expect=0)
    contains(t.teca("delete", container, expect=1).error, "does not exist", "a second delete")


# ---- 1.1 -----------------------------------------------------------------------------------------

@cases(create=0, run=0, start=0, state=0, delete=0, pause=0, resume=0, kill=0, exec=0, ps=0)
def a_verb_that_needs_an_id_is_refused_without_one(t, _):
    verb = t.name.split("[")[1].rstrip("]")
    done = t.teca(verb)
    check(done.status not in (0, 127), f"status {done.status}")
    contains(done.error, "requires", "stderr")


@cases(create=0, run=0, start=0, state=0, delete=0, pause=0, resume=0, list=0, spec=0, features=0)
def a_word_too_many_is_refused(t, _):
    verb = t.name.split("[")[1].rstrip("]")
    done = t.teca(verb, "one", "two")
    eq((done.status, done.text), (1, ""), "status and stdout")


@cases(true=("--tty=true", True), false=("--tty=false", False), no=("--tty=no", False), one=("-t=1", True))
def a_bool_takes_a_value_behind_an_equals_sign(t, flag, wanted):
    container, _ = t.sleeper(minimal())
    done = t.teca("exec", flag, container, "/bin/true")
    eq("devpts" in done.error, wanted, f"is a terminal asked for? {done.error!r}")


@test
def what_stands_behind_the_id_is_not_the_runtimes(t):
    container, _ = t.sleeper(minimal())
    contains(t.teca("ps", container, "-o", "pid,args", expect=0).text, "payload catch", "ps ID -o pid,args")
    eq(t.teca("exec", container, "echo", "-d", "--cwd", "/x", expect=0).text, "-d --cwd /x\n", "exec ID ls -d ...")
    contains(t.teca("kill", container, "-9", expect=1).error, 'unknown signal "-9"', "kill ID -9")


@cases(none={}, odd={"TECA_ROOT": "/nowhere", "ROOT": "/nowhere", "LISTEN_FDS": "2", "BUNDLE": "/nowhere", "HOME": "",
                     "_OCI_SYNCPIPE": "3", "CRI_O_EXTERNAL": "1", "DBUS_SESSION_BUS_ADDRESS": "x"})
def the_environment_configures_nothing(t, env):
    done = t.run(minimal("/bin/sh", "-c", "env | sort | grep -v -e PWD -e SHLVL -e _="), env=env, expect=0)
    eq(done.text.splitlines(), ["HOME=/root"] * ("HOME=/root" in done.text) + ["HOME=/"] * ("HOME=/\n" in done.text)
       + minimal()["process"]["env"], "the environment of the process")


# ---- 1.5 -----------------------------------------------------------------------------------------

@cases(zero=("exit 0", 0), seven=("exit 7", 7), last=("exit 255", 255), one=("exit 1", 1),
       term=("kill -TERM $$", 143), kill=("kill -KILL $$", 137))
def the_status_of_run_and_exec_is_that_of_the_program(t, script, status):
    # The first process of a pid namespace ignores its own signals.
    eq(t.run(without(minimal("/bin/sh", "-c", script), "pid")).status, status, "run")
    container, _ = t.sleeper(minimal())
    eq(t.teca("exec", container, "/bin/sh", "-c", script).status, status, "exec")


# ---- 1.6 -----------------------------------------------------------------------------------------

PODMAN = ((126, r"permission denied|operation not permitted"),
          (127, r"executable file not found in|no such file or directory|open executable"))


def classified(text):
    """As podman's getOCIRuntimeError does it."""
    return next((status for status, words in PODMAN if re.search(words, text, re.I)), 125)


PROGRAMS = {
    "not_in_path": ("nothere", 'exec: "nothere": executable file not found in $PATH', 127),
    "no_file": ("/nothere", 'exec: "/nothere": stat /nothere: no such file or directory', 127),
    "not_executable": ("/etc/passwd", 'exec: "/etc/passwd": permission denied', 126),
    "directory": ("/etc", 'exec: "/etc": is a directory: permission denied', 126),
}


@cases(**PROGRAMS)
def why_a_program_cannot_be_executed(t, program, text, status):
    for verb in ("create", "run"):
        done = t.refused(minimal(program), text, verb=verb)
        eq(classified(done.error), status, f"podman's exit code for {done.error!r}")
    container, _ = t.sleeper(minimal())
    done = t.teca("exec", container, program, expect=255)
    contains(done.error, f"exec failed: unable to start container process: {text}", "stderr of exec")
    eq(classified(done.error), status, f"podman's exit code for {done.error!r}")


def stopped(t):
    container = t.create(minimal("/bin/true"), start=True)
    wait_until(lambda: t.state(container)["status"] == "stopped", "the program ends")
    return container


TEXTS = {  # what is done: (flags before the id, state it is in, status, text)
    "kill_stopped": (["kill"], "stopped", 1, "container not running"),
    "kill_nobody": (["kill"], "none", 1, "container does not exist"),
    "delete_nobody": (["delete"], "none", 1, "does not exist"),
    "state_nobody": (["state"], "none", 1, "does not exist"),
    "start_stopped": (["start"], "stopped", 1, "cannot start a container that has stopped"),
    "start_running": (["start"], "running", 1, "cannot start an already running container"),
    "delete_running": (["delete"], "running", 1, "that is not stopped: running"),
    "pause_stopped": (["pause"], "stopped", 1, "container not running"),
    "resume_running": (["resume"], "running", 1, "container not paused"),
    "exec_stopped": (["exec"], "stopped", 255, "cannot exec in a stopped container"),
    "exec_paused": (["exec"], "paused", 255, "cannot exec in a paused container (use --ignore-paused to override)"),
}


@cases(**TEXTS)
def a_text_that_engines_match(t, verb, state, status, text):
    if state == "none":
        container = t.new_id()
    elif state == "stopped":
        container = stopped(t)
    else:
        container, _ = t.sleeper(minimal())
    if state == "paused":
        t.teca("pause", container, expect=0)
    done = t.teca(*verb, container, *(["true"] if verb == ["exec"] else []))
    eq(done.status, status, f"exit status ({done.error})")
    contains(done.error, text, "stderr")
    eq(done.error.count("\n"), 1, "lines")
    eq(classified(done.error), 125, f"no exit code of podman's is meant by {done.error!r}")
    if state == "paused":
        t.teca("resume", container, expect=0)


CONFIGS = {
    "no_args": ({"args": []}, "args must not be empty"),
    "no_cwd": ({"cwd": ""}, "Cwd property must not be empty"),
    "relative_cwd": ({"cwd": "tmp"}, "Cwd must be an absolute path"),
}


@cases(**CONFIGS)
def a_text_about_config_json(t, change, text):
    contains(t.refused(minimal() | {"process": minimal()["process"] | change}, text, verb="create").error, text,
             "stderr, with upper and lower case")


@test
def the_other_texts_about_what_is_given(t):
    os.mkdir(t.path("empty"))
    contains(t.teca("create", "--bundle", t.path("empty"), t.new_id(), expect=1).error,
             "JSON specification file config.json not found", "stderr")
    container = t.create(minimal())
    again = t.teca("create", "--bundle", t.bundle(minimal()), container, expect=1).error
    contains(again, "container with given ID already exists", "stderr")
    contains(t.teca("create", "--bundle", t.bundle(minimal()), "a/b", expect=1).error, "invalid container ID format",
             "stderr")
    contains(t.teca("state", "", expect=1).error, "container id cannot be empty", "stderr")
    contains(t.call([t.binary, "--log-format", "xml", "list"]).error, "invalid log-format: xml", "stderr")


# ---- 1.10 ----------------------------------------------------------------------------------------

@test
def the_log_has_the_sentence_of_stderr_in_one_object_for_exec_too(t):
    container, _ = t.sleeper(minimal())
    log = t.path("log.json")
    t.global_args = ["--log", log, "--log-format", "json"]
    done = t.teca("exec", container, "/nothere", expect=255)
    with open(log, encoding="utf-8") as f:
        entry = json.loads(f.read())
    eq(entry["level"], "error", "level")
    contains(done.error, entry["msg"], "stderr")
    check(re.fullmatch(r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d(\.\d+)?Z", entry["time"]), f"time {entry['time']}")
    eq(sorted(entry), ["level", "msg", "time"], "keys")
    lacks(done.text, "{", "stdout")


@cases(plain="{b}", slash="{b}/", slashes="{d}//bundle", dot="{b}/.", up="{d}/x/../bundle", link="{d}/link",
       link_and_slash="{d}/link/", relative="bundle", here=".")
def the_bundle_of_the_state_is_absolute_and_leads_there(t, form):
    """
    engine-contract 1.4.1 has it as getcwd(3) says. A path without anything but names stays as it was
    given, also when one is a symlink, as with crun: to ask costs every start a call, and who reads it
    (BuildKit, hooks) opens config.json below it.
    """
    where = t.path("bundle")
    os.rename(t.bundle(minimal("/payload", "catch", "15")), where)
    os.mkdir(t.path("x"))
    os.symlink("bundle", t.path("link"))
    container = t.new_id()
    t.teca("create", "--bundle", form.format(b=where, d=t.dir), container, expect=0,
           cwd=where if form == "." else t.dir)
    said = t.state(container)["bundle"]
    eq(said, t.path("link") if form == "{d}/link" else where, "bundle")
