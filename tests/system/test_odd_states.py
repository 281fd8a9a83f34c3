# SPDX-License-Identifier: Apache-2.0
"""
Verbs that meet each other or an odd state: engine-contract 1.13. What one verb alone finds is in
test_lifecycle.py, the paused state in test_ps_pause.py, cgroups in use in test_cgroups.py.
"""
import contextlib
import json
import os
import signal
import threading
import time

from harness import (cases, cgroups_with, check, contains, eq, hierarchies, is_alive, minimal, mount, private_mounts,
                     stat_fields, test, wait_until)


def waiting_hook(t):
    """A hook that waits for a file; while it does the container is "creating"."""
    go = t.path("go")
    return {"path": "/bin/sh", "args": ["sh", "-c", f"while [ ! -e {go} ]; do sleep 0.02; done"]}, go


@test
def kill_of_a_container_that_is_being_created_says_that_it_does_not_exist(t):
    """BuildKit tries again until there is one."""
    hook, go = waiting_hook(t)
    container = t.new_id()
    where = t.bundle(minimal("/payload", "catch", "15") | {"hooks": {"createRuntime": [hook]}})
    create = t.popen("create", "--bundle", where, container)
    wait_until(lambda: t.teca("state", container).status == 0, "the container is being created")
    eq(t.state(container)["status"], "creating", "status")
    for flags in ([], ["--all"]):
        done = t.teca("kill", *flags, container, "KILL", expect=1)
        contains(done.error, "does not exist", f"stderr of kill {flags}")
    t.file("go")
    eq(t.end_of(create), 0, "create")
    t.teca("kill", container, "KILL", expect=0)


@test(seconds=120)
def verbs_at_once_on_one_container_end_and_are_right(t):
    container, pid = t.sleeper(minimal())
    end, wrong = time.monotonic() + 4, []

    def repeat(*args, accept=lambda done: done.status == 0):
        while time.monotonic() < end:
            done = t.call(t.argv(*args), seconds=30)
            if not accept(done):
                wrong.append((args, done.status, done.text, done.error))
                return

    def exec_is_right(done):
        return (done.status, done.text) == (0, "hello\n") or "paused" in done.error

    def pause_and_resume():
        while time.monotonic() < end:
            for verb in ("pause", "resume"):
                done = t.call(t.argv(verb, container))
                if done.status:
                    wrong.append((verb, done.error))
            time.sleep(0.05)

    jobs = [threading.Thread(target=repeat, args=("exec", container, "echo", "hello"), kwargs={"accept": exec_is_right})
            for _ in range(3)]
    jobs += [threading.Thread(target=repeat, args=("ps", "--format", "json", container),
                              kwargs={"accept": lambda done: done.status == 0 and pid in json.loads(done.text)}),
             threading.Thread(target=repeat, args=("kill", container, "0")),
             threading.Thread(target=repeat, args=("state", container),
                              kwargs={"accept": lambda done: json.loads(done.text)["status"] in ("running", "paused")}),
             threading.Thread(target=pause_and_resume)]
    for job in jobs:
        job.start()
    for job in jobs:
        job.join(60)
        check(not job.is_alive(), "a verb hangs")
    eq(wrong, [], "what went wrong")
    t.teca("resume", container)
    t.teca("delete", "--force", container, expect=0)
    t.nothing_of(container)


@test
def a_kill_that_meets_the_end_succeeds_or_says_that_it_is_not_running(t):
    for _ in range(10):
        container = t.create(minimal("/bin/true"))
        start = t.popen("start", container)
        told = False
        for _ in range(200):
            done = t.teca("kill", container, "CONT")
            if done.status:
                contains(done.error, "container not running", "stderr of kill")
                told = True
                break
        check(told, "the container is never told to have ended")
        eq(t.end_of(start), 0, "start")


@test
def an_init_that_has_ended_and_was_not_deleted(t):
    container, pid = t.sleeper(minimal())
    cgroups = cgroups_with(container)
    os.kill(pid, signal.SIGKILL)
    wait_until(lambda: stat_fields(pid)[0] == "Z", "init is a zombie")
    for reaped in (False, True):
        state = t.state(container)
        eq((state["status"], state["pid"]), ("stopped", 0), f"state, reaped: {reaped}")
        contains(t.teca("exec", container, "true", expect=255).error, "stopped container", "exec")
        for verb in ("pause", "resume", "start"):
            check(t.teca(verb, container).status == 1, verb)
        contains(t.teca("kill", container, "KILL", expect=1).error, "container not running", "kill")
        t.teca("kill", "--all", container, "KILL", expect=0)
        eq(json.loads(t.teca("ps", "--format", "json", container, expect=0).text) or [], [], "ps")
        eq(cgroups_with(container), cgroups, "the cgroups stay until delete")
        if not reaped:
            os.waitpid(pid, 0)
    t.teca("delete", container, expect=0)
    t.nothing_of(container)


@test
def two_deletes_at_once(t):
    for force in (True, False):
        container = t.create(minimal("/payload", "catch", "15"))
        flags = ["--force"] if force else []
        both = [t.popen("delete", *flags, container) for _ in range(2)]
        ends = sorted(t.end_of(p) for p in both)
        errors = [p.stderr.read().decode() for p in both]
        if force:
            eq(ends, [0, 0], f"two delete --force {errors}")
        else:
            check(ends in ([0, 0], [0, 1]), f"two deletes end with {ends} {errors}")
            check(ends == [0, 0] or "does not exist" in "".join(errors), f"{errors}")
        t.nothing_of(container)


@test
def a_cgroup_that_was_removed_by_somebody_else(t):
    container, pid = t.sleeper(minimal())
    os.kill(pid, signal.SIGKILL)
    os.waitpid(pid, 0)
    for where in sorted(cgroups_with(container), key=len, reverse=True):
        with contextlib.suppress(FileNotFoundError):
            os.rmdir(where)
    eq(t.state(container)["status"], "stopped", "status")
    eq(json.loads(t.teca("ps", "--format", "json", container, expect=0).text) or [], [], "ps")
    t.teca("kill", "--all", container, "KILL", expect=0)
    t.teca("delete", container, expect=0)
    t.nothing_of(container)


@test
def a_living_container_whose_freezer_is_gone_still_has_a_state(t):
    freezers = [at for kinds, at, v2 in hierarchies() if "freezer" in str(kinds)]
    if not freezers:
        t.skip("no v1 freezer here: the cgroup of v2 cannot go while init is in it")
    container, pid = t.sleeper(minimal())
    with open(f"{freezers[0]}/cgroup.procs", "w", encoding="ascii") as f:
        f.write(str(pid))
    for where in cgroups_with(container):
        if where.startswith(freezers[0] + "/"):
            os.rmdir(where)
    eq(t.state(container)["status"], "running", "status")
    t.teca("delete", "--force", container, expect=0)
    t.nothing_of(container)


@test
def later_verbs_come_from_another_mount_namespace(t):
    """podman: the bundle and the root are mounted only where create runs."""
    where = t.path("private")
    os.mkdir(where)
    container = t.new_id()
    config = minimal("/payload", "catch", "15")
    config["root"]["path"] = t.shared_root

    def enter():
        private_mounts()
        mount("tmpfs", where, "tmpfs")
        with open(os.path.join(where, "config.json"), "w", encoding="ascii") as f:
            json.dump(config, f)

    t.teca("create", "--bundle", where, container, preexec_fn=enter, expect=0)
    check(not os.listdir(where), "the bundle can be seen from here")
    eq(t.state(container)["bundle"], where, "bundle")
    t.teca("start", container, expect=0)
    eq(t.teca("exec", container, "echo", "hello", expect=0).text, "hello\n", "exec")
    pid = t.pid(container)
    t.teca("kill", container, "KILL", expect=0)
    wait_until(lambda: not is_alive(pid), "init ends")
    os.waitpid(pid, 0)
    t.teca("delete", container, expect=0)
    t.nothing_of(container)
