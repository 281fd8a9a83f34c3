# SPDX-License-Identifier: Apache-2.0
"""pause, resume, ps; and what the other verbs do with a container that is paused."""
import json
import os
import time

from harness import (check, contains, eq, hierarchies, is_alive, minimal, only_cgroup1,
                     only_cgroup2, ready_hierarchies, row, stat_fields, test, wait_until, without)


def status(t, container):
    return t.state(container)["status"]


def pids(t, container):
    done = t.teca("ps", "--format", "json", container, expect=0)
    eq(done.error, "", "stderr of ps")
    return json.loads(done.text)


def cpu_time(pid):
    fields = stat_fields(pid)
    return int(fields[11]) + int(fields[12])


def refused(t, text, *args):
    done = t.teca(*args, expect=1)
    contains(done.error, text, "stderr")


def spinner(t, config=None):
    """A container whose process never sleeps; gives (id, pid)."""
    config = config or minimal()
    config["process"]["args"] = ["/payload", "spin"]
    container = t.create(config, start=True)
    return container, t.pid(container)


# ---- pause and resume ---------------------------------------------------------------------------

def stands_still_and_goes_on(t):
    container, pid = spinner(t)
    wait_until(lambda: cpu_time(pid) > 1, "the process uses the processor")
    t.teca("pause", container, expect=0)
    eq(status(t, container), "paused", "status")
    before = cpu_time(pid)
    time.sleep(0.3)
    eq(cpu_time(pid), before, "time that a paused process used")
    refused(t, "container not running", "pause", container)
    t.teca("resume", container, expect=0)
    eq(status(t, container), "running", "status")
    wait_until(lambda: cpu_time(pid) > before + 1, "the process goes on")
    refused(t, "container not paused", "resume", container)


@test
@row("RT-3")
def a_paused_container_stands_still_until_it_is_resumed(t):
    stands_still_and_goes_on(t)


@test
def with_cgroup_v2_alone_too(t):
    only_cgroup2()
    stands_still_and_goes_on(t)


@test
def with_cgroup_v1_alone_too(t):
    only_cgroup1()
    stands_still_and_goes_on(t)


@test
def a_process_that_was_executed_is_paused_too(t):
    container, _ = t.sleeper()
    file = t.path("pid")
    process = t.popen("exec", "--pid-file", file, container, "/payload", "spin")
    wait_until(lambda: os.path.exists(file), "the second process")
    with open(file, encoding="ascii") as f:
        other = int(f.read())
    wait_until(lambda: cpu_time(other) > 1, "the process uses the processor")
    t.teca("pause", container, expect=0)
    before = cpu_time(other)
    time.sleep(0.2)
    eq(cpu_time(other), before, "time that it used")
    t.teca("resume", container, expect=0)
    process.terminate()
    eq(t.end_of(process), 143, "status of exec")


@test
def a_created_container_can_be_paused(t):
    container = t.create(minimal("/payload", "catch", "15"))
    t.teca("pause", container, expect=0)
    eq(status(t, container), "paused", "status")
    refused(t, "cannot start a container in the paused state", "start", container)
    t.teca("resume", container, expect=0)
    eq(status(t, container), "created", "status")
    t.teca("start", container, expect=0)
    eq(status(t, container), "running", "status")


@test
def what_does_not_run_can_be_neither_paused_nor_resumed(t):
    container, pid = t.sleeper()
    t.teca("kill", container, "KILL", expect=0)
    wait_until(lambda: not is_alive(pid), "the end of init")
    refused(t, "container not running", "pause", container)
    refused(t, "container not paused", "resume", container)
    refused(t, "container does not exist", "pause", "nobody")
    refused(t, "container does not exist", "resume", "nobody")


@test
def a_frozen_cgroup_counts_as_paused_whoever_froze_it(t):
    container, _ = t.sleeper()
    v1 = [at for names, at, _ in hierarchies() if names == "freezer"]
    top, file, frozen = (v1[0], "freezer.state", "FROZEN") if v1 else \
        (hierarchies()[0][1], "cgroup.freeze", "1")
    with open(f"{top}/teca-{container}/{file}", "w", encoding="ascii") as f:
        f.write(frozen)
    eq(status(t, container), "paused", "status")
    t.teca("resume", container, expect=0)
    eq(status(t, container), "running", "status")


# ---- the other verbs ------------------------------------------------------------------------------

def dies_by_kill(t):
    container, pid = t.sleeper()
    t.teca("pause", container, expect=0)
    t.teca("kill", container, "USR1", expect=0)
    t.teca("kill", container, "KILL", expect=0)
    wait_until(lambda: not is_alive(pid), "the end of init")
    eq(status(t, container), "stopped", "status")
    t.teca("delete", container, expect=0)


@test
def kill_ends_a_paused_container(t):
    dies_by_kill(t)


@test
def kill_ends_a_paused_container_on_cgroup_v1_alone(t):
    only_cgroup1()
    dies_by_kill(t)


@test
def kill_ends_a_paused_container_on_cgroup_v2_alone(t):
    only_cgroup2()
    dies_by_kill(t)


@test
def kill_ends_every_process_of_a_paused_container_without_a_pid_namespace(t):
    config = without(minimal(), "pid")
    config["process"]["args"] = ["sh", "-c", "sleep 1000 & exec sleep 1000"]
    container = t.create(config, start=True)
    wait_until(lambda: len(pids(t, container)) == 2, "two processes")
    t.teca("pause", container, expect=0)
    both = pids(t, container)
    t.teca("kill", container, "KILL", expect=0)
    wait_until(lambda: not any(is_alive(p) for p in both), "the end of both")


def every_process_gets_a_signal(t):
    config = without(minimal(), "pid")
    config["process"]["args"] = ["sh", "-c", "/payload catch 15 >/dev/null & sleep 1000 & "
                                 "exec /payload catch 15"]
    container = t.create(config, start=True)
    wait_until(lambda: len(pids(t, container)) == 3, "three processes")
    every, init = pids(t, container), t.pid(container)
    time.sleep(0.2)
    t.teca("kill", container, "TERM", expect=0)
    wait_until(lambda: not is_alive(init), "the end of init, which the signal alone is for")
    others = [p for p in every if p != init]
    check(all(is_alive(p) for p in others), "others got the signal too")
    refused(t, "container not running", "kill", container, "TERM")
    t.teca("kill", "--all", container, "0", expect=0)
    check(all(is_alive(p) for p in others), "a signal of 0 ended somebody")
    t.teca("kill", "--all", container, "TERM", expect=0)
    wait_until(lambda: not any(is_alive(p) for p in others), "the end of those that it left")
    t.teca("kill", "--all", container, "KILL", expect=0)


@test
def kill_all_reaches_those_that_init_has_left(t):
    every_process_gets_a_signal(t)


@test
def kill_all_reaches_them_on_cgroup_v2_alone(t):
    only_cgroup2()
    every_process_gets_a_signal(t)


def whoever_forks_does_not_escape(t):
    config = without(minimal(), "pid")
    config["process"]["args"] = ["sh", "-c", "while :; do sleep 0.01 & done"]
    container = t.create(config, start=True)
    init = t.pid(container)
    wait_until(lambda: len(pids(t, container)) > 3, "it forks")
    t.teca("kill", "--all", container, "KILL", expect=0)
    wait_until(lambda: not is_alive(init) and not pids(t, container), "the end of all")


@test
def kill_all_ends_what_forks_meanwhile(t):
    whoever_forks_does_not_escape(t)


@test
def kill_all_ends_what_forks_meanwhile_on_cgroup_v1_alone(t):
    only_cgroup1()
    whoever_forks_does_not_escape(t)


@test
def a_deep_tree_of_frozen_cgroups_is_no_obstacle_to_delete(t):
    """Far deeper than a stack of fds could be, and each cgroup frozen by itself."""
    container, pid = t.sleeper()
    freezer, v2 = next((at, v2) for names, at, v2 in sorted(hierarchies(), key=lambda h: h[2])
                       if names == "freezer" or v2)
    where = f"{freezer}/teca-{container}"
    for _ in range(300):
        where += "/d"
        os.mkdir(where)
        with open(f"{where}/{'cgroup.freeze' if v2 else 'freezer.state'}", "w",
                  encoding="ascii") as f:
            f.write("1" if v2 else "FROZEN")
    with open(f"{where}/cgroup.procs", "w", encoding="ascii") as f:
        f.write(str(pid))
    t.teca("delete", "--force", container, expect=0)
    check(not is_alive(pid), "init still runs")
    t.nothing_of(container)


@test
def only_delete_with_force_takes_a_paused_container(t):
    container, pid = t.sleeper()
    t.teca("pause", container, expect=0)
    refused(t, "that is not stopped: paused", "delete", container)
    start = time.monotonic()
    t.teca("delete", "--force", container, expect=0)
    check(time.monotonic() - start < 5, "delete --force took longer than five seconds")
    check(not is_alive(pid), "init still runs")
    t.nothing_of(container)


@test
def exec_waits_for_the_resume_only_with_ignore_paused(t):
    container, _ = t.sleeper()
    t.teca("pause", container, expect=0)
    done = t.teca("exec", container, "/bin/true", expect=255)
    contains(done.error, "cannot exec in a paused container (use --ignore-paused to override)",
             "stderr")
    process = t.popen("exec", "--ignore-paused", container, "echo", "late")
    time.sleep(0.3)
    eq(process.poll(), None, "exec while it is paused")
    t.teca("resume", container, expect=0)
    eq((t.read_line(process), t.end_of(process)), ("late", 0), "exec after the resume")


# ---- ps -----------------------------------------------------------------------------------------

@test
def ps_lists_every_process_by_its_pid_on_the_host(t):
    container, pid = t.sleeper()
    eq(pids(t, container), [pid], "one process")
    process = t.popen("exec", container, "sh", "-c", "sleep 1000 & sleep 1000 & echo ready; wait")
    eq(t.read_line(process), "ready", "the command")
    found = wait_until(lambda: len(pids(t, container)) == 4 and pids(t, container), "four processes")
    eq(found, sorted(found), "order")
    check(pid in found, "init is missing")
    for p in found:
        check(is_alive(p), f"{p} is not alive")
    process.terminate()
    eq(t.end_of(process), 143, "status of exec")


@test
def ps_looks_into_cgroups_below_the_containers_too(t):
    container, pid = t.sleeper()
    for _, top, _ in hierarchies():
        where = f"{top}/teca-{container}"
        for _ in range(30):
            where += "/deeper"
            os.mkdir(where)
        for name in ("cpuset.cpus", "cpuset.mems"):
            fill_down(f"{top}/teca-{container}", where, name)
        with open(f"{where}/cgroup.procs", "w", encoding="ascii") as f:
            f.write(str(pid))
    eq(pids(t, container), [pid], "processes")


def fill_down(top, bottom, name):
    """A v1 cpuset takes a process only when every one on the way to it has processors."""
    if not os.path.exists(f"{top}/{name}") or os.path.exists(f"{top}/cgroup.controllers"):
        return
    with open(f"{top}/{name}", encoding="ascii") as f:
        value = f.read()
    where = top
    for part in bottom[len(top) + 1:].split("/"):
        where += "/" + part
        with open(f"{where}/{name}", "w", encoding="ascii") as f:
            f.write(value)


@test
def ps_of_a_container_that_stopped_is_an_empty_list(t):
    container, pid = t.sleeper()
    t.teca("kill", container, "KILL", expect=0)
    wait_until(lambda: not is_alive(pid), "the end of init")
    eq(t.teca("ps", "-f", "json", container, expect=0).text, "[]\n", "stdout")
    for _, top, _ in hierarchies():
        os.rmdir(f"{top}/teca-{container}")
    eq(pids(t, container), [], "without its cgroups")
    refused(t, "container does not exist", "ps", "-f", "json", "nobody")


@test
def ps_prints_the_lines_of_the_hosts_ps(t):
    container, pid = t.sleeper()
    lines = t.teca("ps", container, expect=0).text.splitlines()
    eq(len(lines), 2, f"lines of {lines}")
    check(lines[0].split()[:2] == ["UID", "PID"], f"the header {lines[0]!r}")
    eq(int(lines[1].split()[1]), pid, "the pid")
    contains(lines[1], "/payload catch 15", "the command")
    lines = t.teca("ps", container, "-eo", "stat,pid,args", expect=0).text.splitlines()
    eq((lines[0].split()[1], int(lines[1].split()[1])), ("PID", pid), "another column")
    refused(t, "ps failed", "ps", container, "--no-such-flag")
    refused(t, "no column PID", "ps", container, "-eo", "args")


@test
def ps_finds_the_hosts_ps_by_path_and_does_without_where_there_is_none(t):
    container, pid = t.sleeper()
    done = t.teca("ps", container, "-e", expect=1, env={"PATH": t.dir})
    contains(done.error, "cannot run ps", "stderr")
    lines = t.teca("ps", container, expect=0, env={"PATH": t.dir}).text.splitlines()
    theirs = t.teca("ps", container, expect=0).text.splitlines()
    eq(lines[0].split(), theirs[0].split(), "the header")
    mine, other = lines[1].split(), theirs[1].split()
    eq((mine[0], mine[1:3], mine[4:]), ("0", other[1:3], other[4:]), "the line")
    eq(int(mine[1]), pid, "the pid")
    marker = t.file("ps", "#!/bin/sh\necho PID\necho \"$#:$*\" >&2\n")
    os.chmod(marker, 0o755)
    done = t.teca("ps", container, "a b", "$(c)", expect=0, env={"PATH": t.dir})
    eq((done.text, done.error), ("PID\n", "2:a b $(c)\n"), "the arguments, through no shell")
