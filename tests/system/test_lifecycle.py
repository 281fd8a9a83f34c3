# SPDX-License-Identifier: Apache-2.0
"""create, start, state, kill, delete, list: the verbs, the state on disk, and odd moments."""
import json
import os
import random
import re
import shutil
import signal
import stat
import subprocess
import threading
import time

from harness import (cases, check, children_of, contains, default, eq, is_alive, minimal, reap,
                     row, test,
                     wait_until, with_user_namespace, without)

# ---- the ordinary way ----------------------------------------------------------------------------


@test
@row("RT-3", "RT-37", "RT-1")
def a_container_goes_from_created_through_running_to_stopped(t):
    os.mkfifo(t.path("gate"))
    config = minimal("/bin/sh", "-c", "read line </mnt/a/gate")
    config["mounts"].append({"destination": "/mnt/a", "type": "bind", "source": t.dir,
                             "options": ["bind"]})
    container = t.create(config)
    eq(t.state(container)["status"], "created", "after create")
    t.teca("start", container, expect=0)
    eq(t.state(container)["status"], "running", "after start")
    with open(t.path("gate"), "w", encoding="ascii") as f:
        f.write("go\n")
    wait_until(lambda: t.state(container)["status"] == "stopped", "status is stopped")
    t.teca("delete", container, expect=0)
    done = t.teca("state", container)
    eq(done.status, 1, "exit status of state after delete")
    contains(done.error, "does not exist", "stderr")
    t.ids.clear()
    t.nothing_of(container)


@test
@row("RT-7", "RT-12")
def the_program_does_not_run_before_start(t):
    os.mkdir(t.path("out"))
    config = minimal("/bin/touch", "/mnt/a/ran")
    config["mounts"].append({"destination": "/mnt/a", "type": "bind", "source": t.path("out"),
                             "options": ["bind"]})
    container = t.create(config)
    time.sleep(0.2)
    check(not os.path.exists(t.path("out/ran")), "the program ran before start")
    t.teca("start", container, expect=0)
    wait_until(lambda: os.path.exists(t.path("out/ran")), "the program ran")


@test
def create_returns_while_init_waits_and_leaves_no_helper(t):
    container = t.create(default())
    pid = t.pid(container)
    eq([p for p, state in children_of(os.getpid()) if state not in "ZX"], [pid],
       "processes after create")


@test
@row("RT-2", "RT-4", "RT-6")
def state_is_the_document_of_the_runtime_spec(t):
    config = minimal() | {"annotations": {"org.example.key": "a \"value\" \u00e9", "b": ""}}
    config["process"]["args"] = ["/payload", "catch", "15"]
    where = t.bundle(config)
    container = t.new_id()
    t.teca("create", "--bundle", where, container, expect=0)
    found = t.state(container)
    pid = found["pid"]
    eq({k: found[k] for k in ("ociVersion", "id", "status", "bundle", "annotations")},
       {"ociVersion": config["ociVersion"], "id": container, "status": "created",
        "bundle": os.path.realpath(where), "annotations": config["annotations"]}, "state")
    check(isinstance(pid, int) and is_alive(pid), f"pid {pid}")
    eq(found["rootfs"], os.path.realpath(t.shared_root), "rootfs")
    check(re.fullmatch(r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d(\.\d+)?Z", found["created"]),
          found["created"])
    forbidden = {"exitCode", "finished", "started", "oomKilled", "seccompKilled", "initPid",
                 "error",
                 "initStartTime", "checkpointedTime", "containerMonitorProcess"}
    eq(forbidden & set(found), set(), "keys that CRI-O would take over")
    t.teca("kill", container, "KILL", expect=0)
    wait_until(lambda: t.state(container)["status"] == "stopped", "status is stopped")
    eq(t.state(container)["pid"], 0, "pid of a stopped container")


@test
@row("RT-5")
def state_without_annotations_has_no_such_key_or_an_empty_one(t):
    container = t.create(minimal())
    eq(t.state(container).get("annotations", {}), {}, "annotations")


@test
@row("RT-2")
def the_bundle_in_state_is_the_real_path(t):
    where = t.bundle(minimal("/payload", "catch", "15"))
    os.symlink(where, t.path("link"))
    container = t.new_id()
    t.teca("create", "--bundle", t.path("link") + "/", container, expect=0)
    eq(t.state(container)["bundle"], os.path.realpath(where), "bundle")


@test
def delete_takes_an_expression_for_ids(t):
    """crun's --regex: what it matches somewhere, and all that can go."""
    made = [t.create(minimal("/bin/true")) for _ in range(3)]
    running, _ = t.sleeper()
    done = t.teca("delete", "--regex", f"^({made[0]}|{made[1]}|{running})$", expect=1)
    contains(done.error, f"cannot delete container {running} that is not stopped", "stderr")
    for container in made[:2]:
        t.nothing_of(container)
    eq(sorted(t.teca("list", "-q", expect=0).text.split()), sorted([made[2], running]), "what it did not match, or runs")
    t.teca("delete", "-f", "-r", "^none-of-these", expect=0)
    contains(t.teca("delete", "-r", "a(b", expect=1).error, "--regex", "stderr")
    t.teca("delete", "-f", "-r", f"{made[2]}|{running}", expect=0)
    eq(t.teca("list", "-q", expect=0).text, "", "the list")


@test
@row("RT-36")
def a_created_container_is_deleted_without_force(t):
    container = t.create(minimal())
    pid = t.pid(container)
    t.teca("delete", container, expect=0)
    check(not is_alive(pid), "init still lives")
    t.nothing_of(container)


@test
@row("RT-36")
def a_running_container_is_not_deleted_without_force(t):
    container, pid = t.sleeper()
    done = t.teca("delete", container)
    eq(done.status, 1, "exit status of delete")
    contains(done.error, f"cannot delete container {container} that is not stopped: running",
             "stderr")
    check(is_alive(pid), "init was killed")
    eq(t.state(container)["status"], "running", "status")


@test
@row("RT-15")
def a_running_container_is_deleted_with_force(t):
    container, pid = t.sleeper()
    done = t.teca("delete", "--force", container, expect=0)
    eq((done.out, done.err), (b"", b""), "what delete printed")
    check(not is_alive(pid), "init still lives")
    t.nothing_of(container)


@cases(short="-f", long="--force", equals="--force=true")
def every_spelling_of_force_works(t, flag):
    container, _ = t.sleeper()
    t.teca("delete", flag, container, expect=0)
    t.nothing_of(container)


@test
@row("RT-30")
def start_of_a_running_container_is_refused(t):
    container, pid = t.sleeper()
    done = t.teca("start", container)
    eq(done.status, 1, "exit status of start")
    contains(done.error, "cannot start an already running container", "stderr")
    check(is_alive(pid), "init was killed")


@test
@row("RT-30")
def start_of_a_stopped_container_is_refused(t):
    container = t.create(minimal("/bin/true"), start=True)
    wait_until(lambda: t.state(container)["status"] == "stopped", "status is stopped")
    done = t.teca("start", container)
    eq(done.status, 1, "exit status of start")
    contains(done.error, "cannot start a container that has stopped", "stderr")


@test
def two_starts_at_once_start_it_once(t):
    os.mkdir(t.path("out"))
    config = minimal("/bin/sh", "-c", "echo ran >>/mnt/a/ran; exec sleep 100")
    config["mounts"].append({"destination": "/mnt/a", "type": "bind", "source": t.path("out"),
                             "options": ["bind"]})
    container = t.create(config)
    starts = [t.popen("start", container) for _ in range(4)]
    eq(sorted(t.end_of(s) for s in starts), [0, 1, 1, 1], "exit statuses")
    file = t.path("out/ran")
    wait_until(lambda: os.path.exists(file) and os.path.getsize(file) > 0, "the program ran")
    with open(file, encoding="ascii") as f:
        eq(f.read(), "ran\n", "how often the program ran")


@test
def start_does_not_hang_when_init_was_killed(t):
    container = t.create(minimal())
    os.kill(t.pid(container), signal.SIGKILL)
    done = t.teca("start", container, seconds=10)
    eq(done.status, 1, "exit status of start")
    check(done.error.strip(), "no message")


@test
def run_with_keep_leaves_a_stopped_container(t):
    container = t.new_id()
    t.run(minimal("/payload", "exit", "4"), "--keep", container=container, expect=4)
    eq(t.state(container)["status"], "stopped", "status")
    t.teca("delete", container, expect=0)
    t.nothing_of(container)


# ---- unknown ones --------------------------------------------------------------------------------


@cases(state=("state",), start=("start",), kill=("kill",), delete=("delete",))
@row("RT-20", "RT-30", "RT-35", "RT-36")
def a_verb_on_an_unknown_container_says_that_it_does_not_exist(t, verb):
    done = t.teca(verb, "nobody")
    eq(done.status, 1, "exit status")
    contains(done.error, "does not exist", "stderr")
    eq(done.out, b"", "stdout")


@test
def delete_force_of_an_unknown_container_is_silent_success(t):
    for _ in range(2):
        done = t.teca("delete", "--force", "nobody", expect=0)
        eq((done.out, done.err), (b"", b""), "what delete printed")


@test
def a_half_made_state_directory_is_removed_by_delete(t):
    container = t.new_id()
    os.makedirs(os.path.join(t.state_root, container), 0o700)
    t.teca("delete", "--force", container, expect=0)
    t.nothing_of(container)


@test
def a_second_delete_says_that_it_does_not_exist(t):
    container = t.create(minimal())
    t.teca("delete", container, expect=0)
    done = t.teca("delete", container)
    eq(done.status, 1, "exit status")
    contains(done.error, "does not exist", "stderr")
    t.teca("delete", "--force", container, expect=0)


# ---- ids -----------------------------------------------------------------------------------------


@cases(letters="{}AZaz09", punctuation="{}_+.-x", leading_plus="+{}", leading_dash_after_end="_{}",
       long="{}" + "x" * 150)
def an_id_of_the_alphabet_is_accepted(t, pattern):
    container = pattern.format(t.token)
    t.ids.append(container)
    t.create(minimal("/payload", "catch", "15"), container=container)
    eq(t.state(container)["id"], container, "id in state")


@cases(slash="a/b", parent="..", dot=".", climbing="../x", space="a b", star="a*", newline="a\nb",
       umlaut="\u00e4", percent="a%b", backslash="a\\b")
@row("RT-21")
def an_id_outside_of_the_alphabet_is_refused(t, container):
    where = t.bundle(minimal())
    for verb in (("create", "--bundle", where), ("run", "--bundle", where), ("state",), ("kill",),
                 ("start",),
                 ("delete",)):
        done = t.teca(*verb, container)
        eq(done.status, 1, f"exit status of {verb[0]}")
        contains(done.error, "invalid container ID format", f"stderr of {verb[0]}")


@test
@row("RT-21")
def an_empty_id_is_refused(t):
    done = t.teca("create", "--bundle", t.bundle(minimal()), "")
    check(done.status != 0, "an empty id was accepted")
    contains(done.error, "container id cannot be empty", "stderr")


@test
def an_id_too_long_for_the_file_system_is_refused(t):
    done = t.teca("create", "--bundle", t.bundle(minimal()), t.token + "x" * 300)
    eq(done.status, 1, "exit status")
    check(done.error.strip(), "no message")


# ---- an id that is taken, a create that fails ----------------------------------------------------


@test
@row("RT-2", "RT-21")
def create_of_an_existing_id_is_refused_and_leaves_the_winner_alone(t):
    container, pid = t.sleeper()
    before = t.state(container)
    for verb in ("create", "run"):
        done = t.teca(verb, "--bundle", t.bundle(minimal("/bin/false")), container)
        eq(done.status, 1, f"exit status of {verb}")
        contains(done.error, "already exists", "stderr")
    eq(t.state(container), before, "state")
    check(is_alive(pid), "init of the winner is gone")


@test
@row("RT-21", "RT-36")
def a_stopped_container_keeps_its_id(t):
    container = t.create(minimal("/bin/true"), start=True)
    wait_until(lambda: t.state(container)["status"] == "stopped", "status is stopped")
    done = t.teca("create", "--bundle", t.bundle(minimal()), container)
    eq(done.status, 1, "exit status")
    contains(done.error, "already exists", "stderr")


@test
@row("RT-19", "RT-21")
def a_failed_create_leaves_nothing_and_the_id_is_free_at_once(t):
    container = t.new_id()
    bad = t.bundle(minimal("/bin/nope"))
    good = t.bundle(minimal("/payload", "catch", "15"))
    done = t.teca("create", "--bundle", bad, "--pid-file", t.path("pid"), container)
    eq(done.status, 1, "exit status")
    check(not os.path.exists(t.path("pid")), "a pid file was left")
    t.nothing_of(container)
    t.teca("create", "--bundle", good, container, expect=0)


LATE_FAILURES = {
    "mount": {"mounts": [{"destination": "/mnt/a", "type": "tmpfs", "source": "x",
                          "options": ["bad=1"]}]},
    "cwd": {"cwd": "/etc/passwd"}, "program": {"args": ["/bin/nope"]},
    "garbage": {"args": ["/opt/garbage"]},
}


@cases(**{k: k for k in LATE_FAILURES})
@row("RT-19", "RT-22")
def a_start_that_fails_late_leaves_nothing(t, row):
    config = default()
    change = LATE_FAILURES[row]
    config["mounts"] += change.get("mounts", [])
    config["process"] |= {k: v for k, v in change.items() if k != "mounts"}
    t.refused(config)


@test
def a_program_that_disappears_before_start_is_an_error_of_start(t):
    root = t.own_root()
    shutil.copy(os.path.join(root, "payload"), os.path.join(root, "opt/short-lived"))
    container = t.create(minimal("/opt/short-lived", "report"), rootfs=root)
    os.unlink(os.path.join(root, "opt/short-lived"))
    done = t.teca("start", container)
    eq(done.status, 1, "exit status of start")
    contains(done.error, "/opt/short-lived", "stderr")
    wait_until(lambda: t.state(container)["status"] == "stopped", "status is stopped")
    t.teca("delete", container, expect=0)


# ---- pid file ------------------------------------------------------------------------------------


@test
def the_pid_file_holds_the_pid_and_no_newline(t):
    container, where = t.new_id(), t.bundle(minimal("/payload", "catch", "15"))
    t.teca("create", "--bundle", where, "--pid-file", t.path("pid"), container, expect=0)
    with open(t.path("pid"), "rb") as f:
        eq(f.read(), str(t.pid(container)).encode(), "bytes of the pid file")


@test
def run_writes_the_pid_file_before_the_process_runs(t):
    os.mkdir(t.path("run"))
    config = without(minimal("/bin/sh", "-c", "cat /mnt/a/pid; echo; echo $$"), "pid")
    config["mounts"].append({"destination": "/mnt/a", "type": "bind", "source": t.path("run"),
                             "options": ["bind"]})
    done = t.run(config, "--pid-file", t.path("run/pid"), expect=0)
    written, seen = done.text.split()
    eq(written, seen, "the pid file, and the pid that the process sees")


@cases(device=(stat.S_IFCHR, os.makedev(1, 3)), pipe=(stat.S_IFIFO, 0))
def a_pid_file_that_is_no_file_is_left_alone(t, kind, device):
    """--pid-file /dev/null must not put a file in the place of the host's device."""
    os.mknod(t.path("pid"), kind | 0o600, device)
    done = t.run(minimal("/bin/true"), "--pid-file", t.path("pid"), expect=1)
    contains(done.error, "no regular file", "stderr")
    eq(stat.S_IFMT(os.lstat(t.path("pid")).st_mode), kind, "what is there")
    eq(os.listdir(os.path.dirname(t.path("pid"))).count("pid"), 1, "files of that name")


@test
def the_pid_file_replaces_an_old_one_and_leaves_no_temporary(t):
    os.mkdir(t.path("run"))
    t.file("run/pid", "12345678901234567890\n")
    container, where = t.new_id(), t.bundle(minimal())
    t.teca("create", "--bundle", where, "--pid-file", t.path("run/pid"), container, expect=0)
    with open(t.path("run/pid"), "rb") as f:
        eq(f.read(), str(t.pid(container)).encode(), "bytes of the pid file")
    eq(os.listdir(t.path("run")), ["pid"], "files beside it")


@test
def a_relative_pid_file_starts_at_the_callers_directory(t):
    container, where = t.new_id(), t.bundle(minimal())
    os.mkdir(t.path("here"))
    t.teca("create", "--bundle", where, "--pid-file", "pid", container, cwd=t.path("here"),
           expect=0)
    eq(os.listdir(t.path("here")), ["pid"], "files in the caller's directory")


@test
def a_pid_file_that_cannot_be_written_undoes_everything(t):
    container, where = t.new_id(), t.bundle(minimal())
    done = t.teca("create", "--bundle", where, "--pid-file", t.path("no/such/pid"), container)
    eq(done.status, 1, "exit status")
    contains(done.error, t.path("no/such/pid"), "stderr")
    t.nothing_of(container)


@test
def the_init_of_create_can_be_waited_for_by_the_caller(t):
    container = t.create(minimal("/payload", "exit", "42"))
    pid = t.pid(container)
    t.teca("start", container, expect=0)
    _, status = os.waitpid(pid, 0)
    eq(os.waitstatus_to_exitcode(status), 42, "exit status that the caller reaps")
    eq(t.state(container)["status"], "stopped", "status")


# ---- kill ----------------------------------------------------------------------------------------


@cases(number=("10", 10), name=("USR1", 10), full_name=("SIGUSR1", 10), lower=("sigusr1", 10),
       realtime=("SIGRTMIN+2", 36), high_number=("64", 64))
@row("RT-35")
def kill_sends_the_signal(t, spelling, number):
    container, pipe = caught_by(t)
    t.teca("kill", container, spelling, expect=0)
    eq(read_line(pipe), str(number), "signal that arrived")


@test
def kill_sends_term_when_no_signal_is_named(t):
    container, pipe = caught_by(t)
    t.teca("kill", container, expect=0)
    eq(read_line(pipe), "15", "signal that arrived")


def caught_by(t):
    read, write = os.pipe()
    container, where = t.new_id(), t.bundle(minimal("/payload", "catch", "9"))
    t.teca("create", "--bundle", where, container, stdout=write, expect=0)
    os.close(write)
    t.teca("start", container, expect=0)
    pipe = os.fdopen(read, "rb", 0)
    eq(read_line(pipe), "ready", "the payload")
    return container, pipe


def read_line(pipe):
    return pipe.readline().decode().strip()


@test
@row("RT-35")
def kill_of_a_stopped_container_says_that_it_is_not_running(t):
    container = t.create(minimal("/bin/true"), start=True)
    wait_until(lambda: t.state(container)["status"] == "stopped", "status is stopped")
    done = t.teca("kill", container, "9")
    eq(done.status, 1, "exit status")
    contains(done.error, "container not running", "stderr")
    for flag in ("--all", "-a"):
        t.teca("kill", flag, container, "9", expect=0)


@cases(word="COFFEE", empty="", negative="-5")
def an_unknown_signal_is_refused(t, name):
    container, pid = t.sleeper()
    done = t.teca("kill", container, name)
    check(done.status != 0, f"signal {name!r} was accepted")
    contains(done.error.lower(), "signal", "stderr")
    check(is_alive(pid), "init was killed")


@test
def signal_0_only_asks(t):
    container, pid = t.sleeper()
    t.teca("kill", container, "0", expect=0)
    check(is_alive(pid), "init was killed")


@test
@row("RT-35")
def kill_kills_a_created_container(t):
    container = t.create(minimal())
    t.teca("kill", container, "KILL", expect=0)
    wait_until(lambda: t.state(container)["status"] == "stopped", "status is stopped")


@test
def kill_by_kill_takes_every_process_when_there_is_no_pid_namespace(t):
    config = without(minimal("/bin/sh", "-c", "setsid sleep 1000 & echo $!; exec sleep 1000"),
                     "pid")
    read, write = os.pipe()
    container, where = t.new_id(), t.bundle(config)
    t.teca("create", "--bundle", where, container, stdout=write, expect=0)
    os.close(write)
    t.teca("start", container, expect=0)
    with os.fdopen(read, "rb", 0) as pipe:
        child = int(read_line(pipe))
    t.teca("kill", container, "KILL", expect=0)
    wait_until(lambda: not is_alive(child), "the other process died")


# ---- list ----------------------------------------------------------------------------------------


@test
def list_shows_every_container(t):
    running, pid = t.sleeper()
    created = t.create(minimal())
    documents = json.loads(t.teca("list", "--format", "json", expect=0).text)
    found = {d["id"]: d for d in documents}
    eq(sorted(found), sorted([running, created]), "ids")
    eq((found[running]["status"], found[running]["pid"], found[created]["status"]),
       ("running", pid, "created"), "status and pid")
    for key in ("bundle", "rootfs", "created", "owner"):
        check(key in found[running], f"no {key} in {found[running]}")
    eq(found[running]["owner"], "root", "owner")
    eq(sorted(t.teca("list", "--quiet", expect=0).text.split()), sorted([running, created]),
       "list --quiet")
    table = t.teca("list", expect=0).text.splitlines()
    eq(table[0].split(), ["ID", "PID", "STATUS", "BUNDLE", "CREATED", "OWNER"], "heading")
    eq(len(table), 3, "lines of the table")
    contains(" ".join(table), f"{running} ", "table")


@test
def list_of_nothing_is_an_empty_list(t):
    os.mkdir(t.state_root)
    check(json.loads(t.teca("list", "--format=json", expect=0).text) in ([], None),
          "list of an empty root")
    eq(t.teca("list", "-q", expect=0).text, "", "list -q")


@test
def list_of_a_default_root_that_is_missing_is_empty(t):
    done = t.call(["unshare", "-m", "sh", "-c",
                   f"mount -t tmpfs t /run && exec {t.binary} list -q"])
    eq((done.status, done.text, done.error), (0, "", ""), "status, stdout, stderr")


@test
def one_unreadable_container_does_not_hide_the_others(t):
    container, _ = t.sleeper()
    broken = os.path.join(t.state_root, t.token + "-broken")
    shutil.copytree(os.path.join(t.state_root, container), broken, symlinks=True,
                    ignore=lambda d,
                    names: [n for n in names if not os.path.isfile(os.path.join(d, n))])
    for name in os.listdir(broken):
        with open(os.path.join(broken, name), "w", encoding="ascii") as f:
            f.write('{"trunc')
    done = t.teca("list", "-q")
    contains(done.text.split(), container, "list -q")
    shutil.rmtree(broken)


# ---- the state directory -------------------------------------------------------------------------


@test
def without_root_the_state_lies_in_run_teca(t):
    where, container = t.bundle(minimal()), f"{t.token}-run"
    script = (f"mount -t tmpfs t /run && {t.binary} create --bundle {where} {container} && "
              "ls /run/teca && "
              f"stat -c %a /run/teca/{container} && {t.binary} delete {container} && ls /run/teca")
    done = t.call(["unshare", "-m", "sh", "-c", script])
    eq((done.status, done.error), (0, ""), "status, stderr")
    lines = done.text.split()
    eq(lines[0], container, "the directory")
    check(lines[1] in ("700", "711"), f"mode {lines[1]}")
    eq(lines[2:], [], "what is left in /run/teca")


@test
def two_roots_do_not_see_each_other(t):
    container, _ = t.sleeper()
    other = t.call([t.binary, "--root", t.path("other"), "state", container])
    eq(other.status, 1, "exit status")
    contains(other.error, "does not exist", "stderr")


@cases(separate=["--root", "{}"], equals=["--root={}"],
       twice=["--root", "/nowhere/else", "--root={}"])
def the_root_flag_is_understood(t, flags):
    container, _ = t.sleeper()
    command = [t.binary, *[f.format(t.state_root) for f in flags], "state", container]
    eq(json.loads(t.call(command).text)["id"], container, "id in state")


@test
def a_full_state_directory_is_a_clear_error(t):
    t.mount("tiny", t.path("tiny"), "tmpfs", 0, "size=4k,nr_inodes=64")
    with open(t.path("tiny/filler"), "wb") as f:
        f.write(b"x" * 4096)
    t.state_root = t.path("tiny")
    container, where = t.new_id(), t.bundle(minimal() | {"annotations": {"k": "v" * 20000}})
    for verb in ("create", "run"):
        done = t.teca(verb, "--bundle", where, container)
        eq(done.status, 1, f"exit status of {verb}")
        contains(done.error.lower(), "no space left on device", "stderr")
        eq(os.listdir(t.path("tiny")), ["filler"], "files in the state directory")
    os.unlink(t.path("tiny/filler"))


@test
def a_state_directory_without_free_inodes_is_a_clear_error(t):
    t.mount("tiny", t.path("tiny"), "tmpfs", 0, "size=1m,nr_inodes=2")
    t.file("tiny/filler")
    t.state_root = t.path("tiny")
    done = t.teca("create", "--bundle", t.bundle(minimal()), t.new_id())
    eq(done.status, 1, "exit status")
    contains(done.error.lower(), "no space left on device", "stderr")
    os.unlink(t.path("tiny/filler"))


@test
def a_state_directory_that_cannot_be_made_is_a_clear_error(t):
    t.state_root = os.path.join(t.file("plain"), "state")
    done = t.teca("create", "--bundle", t.bundle(minimal()), t.new_id())
    eq(done.status, 1, "exit status")
    contains(done.error, t.path("plain"), "stderr")


# ---- what happens outside ------------------------------------------------------------------------


@test
def state_is_right_after_init_was_killed_from_outside(t):
    container, pid = t.sleeper()
    os.kill(pid, signal.SIGKILL)
    wait_until(lambda: not is_alive(pid), "init died")
    eq((t.state(container)["status"], t.state(container)["pid"]), ("stopped", 0),
       "while it is a zombie")
    reap()
    check(not os.path.exists(f"/proc/{pid}"), "init is still there")
    eq((t.state(container)["status"], t.state(container)["pid"]), ("stopped", 0),
       "after it was reaped")
    t.teca("delete", container, expect=0)


@test
@row("RT-7")
def everything_works_after_the_bundle_was_removed(t):
    container, where = t.new_id(), t.bundle(minimal("/payload", "catch", "15"))
    t.teca("create", "--bundle", where, container, expect=0)
    shutil.rmtree(where)
    eq(t.state(container)["status"], "created", "status after the bundle was removed")
    t.teca("start", container, expect=0)
    eq((t.state(container)["status"], t.state(container)["bundle"]),
       ("running", os.path.realpath(where)), "state")
    t.teca("list", expect=0)
    t.teca("kill", container, "KILL", expect=0)
    wait_until(lambda: t.state(container)["status"] == "stopped", "status is stopped")
    t.teca("delete", container, expect=0)
    t.nothing_of(container)


@test
def another_process_with_the_pid_of_init_is_not_taken_for_it(t):
    """Pid reuse: the saved pid is made to point at a process of ours, whose start time differs."""
    container, pid = t.sleeper()
    os.kill(pid, signal.SIGKILL)
    wait_until(lambda: not is_alive(pid), "init died")
    reap()
    victim = take_pid(t, pid)
    eq(t.state(container)["status"], "stopped", "status")
    done = t.teca("kill", container, "KILL")
    eq(done.status, 1, "exit status of kill")
    contains(done.error, "container not running", "stderr")
    t.teca("delete", "--force", container, expect=0)
    check(is_alive(victim), "a stranger with the same pid was killed")
    os.kill(victim, signal.SIGKILL)


def take_pid(t, pid):
    """A new process that has exactly this pid (clone3(2) set_tid)."""
    code = ("import ctypes,os,sys\n"
            "class A(ctypes.Structure): _fields_=[(n,ctypes.c_uint64) for n in "
            "'flags pidfd child_tid parent_tid exit_signal stack stack_size tls set_tid "
            "set_tid_size cgroup'.split()]\n"
            f"tid=(ctypes.c_int32*1)({pid})\n"
            "a=A(exit_signal=17,set_tid=ctypes.addressof(tid),set_tid_size=1)\n"
            "p=ctypes.CDLL(None,use_errno=True).syscall(435,ctypes.byref(a),88)\n"
            f"if p==0: os.execv({t.payload!r},['payload','catch','15'])\n"
            "if p<0: sys.exit('clone3: '+os.strerror(ctypes.get_errno()))\n"
            "os.waitpid(p,0)\n")
    p = t.popen(command=["python3", "-c", code])
    eq(t.read_line(p), "ready", "the process with the old pid")
    return pid


@test
def state_polled_during_create_and_delete_is_never_torn(t):
    container, where = t.new_id(), t.bundle(default("/payload", "catch", "15"))
    problems, stop = [], threading.Event()

    def poll():
        while not stop.is_set():
            done = subprocess.run(t.argv("state", container), capture_output=True, check=False)
            if done.returncode == 0:
                try:
                    json.loads(done.stdout)
                except json.JSONDecodeError:
                    problems.append(done.stdout)
            elif b"does not exist" not in done.stderr:
                problems.append(done.stderr)

    poller = threading.Thread(target=poll)
    poller.start()
    for _ in range(15):
        t.teca("create", "--bundle", where, container, expect=0)
        t.teca("start", container, expect=0)
        t.teca("delete", "--force", container, expect=0)
    stop.set()
    poller.join()
    eq(problems, [], "answers of state that are neither a document nor 'does not exist'")


# ---- many at once --------------------------------------------------------------------------------


@test(seconds=120)
def a_hundred_containers_are_created_and_deleted_in_parallel(t):
    where = t.bundle(default("/payload", "catch", "15"))
    ids = [t.new_id() for _ in range(100)]
    for first in range(0, 100, 20):
        batch = ids[first:first + 20]
        created = [t.popen("create", "--bundle", where, i, stdout=subprocess.DEVNULL)
                   for i in batch]
        for process in created:
            eq(t.end_of(process, 60), 0, "exit status of create")
        deleted = [t.popen("delete", "--force", i, stdout=subprocess.DEVNULL) for i in batch]
        for process in deleted:
            eq(t.end_of(process, 60), 0, "exit status of delete")
    for one in ids:
        check(not os.path.lexists(os.path.join(t.state_root, one)), f"state of {one} is left")


@test
def of_many_creates_of_one_id_exactly_one_wins(t):
    where = t.bundle(minimal("/payload", "catch", "15"))
    for _ in range(5):
        container = t.new_id()
        racers = [t.popen("create", "--bundle", where, container, stdout=subprocess.DEVNULL)
                  for _ in range(6)]
        statuses = [t.end_of(r) for r in racers]
        eq(sorted(statuses), [0, 1, 1, 1, 1, 1], "exit statuses")
        for racer, status in zip(racers, statuses):
            if status:
                contains(racer.stderr.read().decode(), "already exists", "stderr of a loser")
        eq(t.state(container)["status"], "created", "status of the winner")
        t.teca("start", container, expect=0)
        t.teca("delete", "--force", container, expect=0)


@test(seconds=90)
def create_and_delete_force_race_without_leaving_anything(t):
    where, container = t.bundle(minimal("/payload", "catch", "15")), t.new_id()
    for i in range(15):
        creating = t.popen("create", "--bundle", where, container, stdout=subprocess.DEVNULL)
        time.sleep(0.002 * i)
        t.teca("delete", "--force", container, expect=0)
        t.end_of(creating)
        t.teca("delete", "--force", container, expect=0)
        reap()
    t.nothing_of(container)


# ---- interrupted ones ----------------------------------------------------------------------------

DELAYS = random.Random(4711)


def interrupted(t, number, verb, config, again):
    where = t.bundle(config)
    longest = measure(t, verb, where)
    reached = 0
    for _ in range(again):
        container = t.new_id()
        p = t.popen(verb, "--bundle", where, "--pid-file", t.path("pid"), container,
                    stdout=subprocess.DEVNULL)
        time.sleep(DELAYS.uniform(0, longest * 1.1))
        p.send_signal(number)
        status = t.end_of(p)
        yield container, status
        reached += status != 0
    check(reached,
          f"no signal of {again} hit a {verb} that was under way (longest delay {longest:.4f} s)")


def measure(t, verb, where):
    container, started = t.new_id(), time.monotonic()
    t.teca(verb, "--bundle", where, container)
    took = time.monotonic() - started
    t.teca("delete", "--force", container)
    return took


@cases(term=signal.SIGTERM, int=signal.SIGINT)
def a_signal_during_create_undoes_everything(t, number):
    for container, status in interrupted(t, number, "create", default("/payload", "catch", "15"),
                                         40):
        if status == 0:
            t.teca("delete", "--force", container, expect=0)
        t.nothing_of(container)
        eq(os.listdir(t.state_root) if os.path.isdir(t.state_root) else [], [], "state left")
    reap()
    eq([p for p, state in children_of(os.getpid()) if state not in "ZX"], [], "processes left")


@cases(term=signal.SIGTERM, int=signal.SIGINT)
def a_signal_during_run_undoes_everything(t, number):
    """The process dies by the signal's default action where it got it, else run is undone."""
    config = without(default("/bin/sleep", "0.01"), "pid")
    for container, _ in interrupted(t, number, "run", config, 40):
        t.nothing_of(container)
    reap()
    eq([p for p, state in children_of(os.getpid()) if state not in "ZX"], [], "processes left")


@cases(create="create", run="run")
def after_a_kill_of_the_runtime_delete_force_cleans_everything(t, verb):
    config = default("/bin/sleep", "0.02") if verb == "run" else default("/payload", "catch", "15")
    for container, _ in interrupted(t, signal.SIGKILL, verb, config, 40):
        t.teca("delete", "--force", container, expect=0)
        t.nothing_of(container)
    reap()
    wait_until(lambda: not [p for p, s in children_of(os.getpid()) if s not in "ZX"],
               "no process is left", 5)


@test
def after_a_kill_of_the_runtime_in_a_user_namespace_delete_force_cleans_everything(t):
    config = with_user_namespace(default("/payload", "catch", "15"))
    for container, _ in interrupted(t, signal.SIGKILL, "create", config, 20):
        t.teca("delete", "--force", container, expect=0)
        t.nothing_of(container)
    reap()
    wait_until(lambda: not [p for p, s in children_of(os.getpid()) if s not in "ZX"],
               "no process is left", 5)


@test
def a_killed_run_leaves_its_container_to_the_next_verbs(t):
    """The runtime dies, the process goes on: state is still right, kill and delete work."""
    container, where = t.new_id(), t.bundle(minimal("/payload", "catch", "15"))
    p = t.popen("run", "--bundle", where, container)
    eq(t.read_line(p), "ready", "the payload")
    p.kill()
    t.end_of(p)
    state = t.state(container)
    if state["status"] == "running":
        t.teca("kill", container, "KILL", expect=0)
    wait_until(lambda: t.state(container)["status"] == "stopped", "status is stopped")
    t.teca("delete", container, expect=0)
    t.nothing_of(container)


@test
def delete_killed_half_way_is_finished_by_the_next_one(t):
    for _ in range(12):
        container, _ = t.sleeper()
        p = t.popen("delete", "--force", container, stdout=subprocess.DEVNULL)
        time.sleep(DELAYS.uniform(0, 0.012))
        p.kill()
        t.end_of(p)
        t.teca("delete", "--force", container, expect=0)
        reap()
        t.nothing_of(container)


@test
def a_state_right_behind_start_is_never_created(t):
    """buildah asks at once, and takes "created" for a failure."""
    for _ in range(60):
        container = t.create(minimal("/bin/sleep", "1000"))
        t.teca("start", container, expect=0)
        eq(t.state(container)["status"], "running", "status behind start")
        t.teca("delete", "--force", container, expect=0)
