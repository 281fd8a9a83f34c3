# SPDX-License-Identifier: Apache-2.0
"""
Cgroups under attack: by the payload, which may own its tree, and by what else happens on a host. Each
verb ends in time, with what is true or with one sentence, and delete leaves nothing.
"""
import contextlib
import json
import os
import subprocess
import threading

from harness import (CGROUP_ROOT, SLOWNESS, cgroups_with, check, contains, eq, hierarchies, is_alive, joined,
                     minimal, mount, only_cgroup2, private_mounts, reap, test, umount, wait_until,
                     with_mount)

DEPTH = 1000 if SLOWNESS == 1 else 150  # a second a dozen in the test VM
# Each cgroup in the one before; the process that remains lives in the deepest.
NEST = """
cd /sys/fs/cgroup/$1 || exit 1
i=0
while [ $i -lt $2 ]; do mkdir d && cd -P d || exit 1; i=$((i + 1)); done
echo 0 >cgroup.procs || exit 1
echo nested
exec sleep 1000
"""


def own_tree(*args):
    """A container that may write to its cgroup."""
    config = with_mount(joined(minimal(*args), "cgroup"), "/sys", "sysfs")
    return with_mount(config, "/sys/fs/cgroup", "cgroup", "cgroup", "nosuid")


def sentence(done, what):
    """Failed as it should: one line that says why."""
    eq((done.status, done.error.count("\n")), (1, 1), f"{what}: exit status, lines of {done.error!r}")


def every_verb_copes(t, container, pid):
    eq(json.loads(t.teca("ps", "-f", "json", container, expect=0).text), [pid], "ps")
    t.teca("pause", container, expect=0)
    eq(t.state(container)["status"], "paused", "status")
    t.teca("resume", container, expect=0)
    event = json.loads(t.teca("events", "--stats", container, expect=0).text)
    eq(event["type"], "stats", "events")
    rows = json.loads(t.teca("stats", "--no-stream", "-f", "json", container, expect=0).text)
    eq(rows[0]["id"], container, "stats")
    t.teca("kill", "--all", container, "0", expect=0)


@test(seconds=120)
def a_payload_that_nests_a_thousand_cgroups_hinders_no_verb(t):
    only_cgroup2()
    config = own_tree("/bin/sh", "-c", NEST, "sh", ".", str(DEPTH))
    container, where = t.new_id(), t.bundle(config)
    process = t.popen("run", "--bundle", where, container)
    eq(t.read_line(process, 60), "nested", "what the payload says")
    pid = t.pid(container)
    with open(f"/proc/{pid}/cgroup", encoding="ascii") as f:
        check(f.read().count("/d") >= DEPTH, "the payload is not where it went")
    every_verb_copes(t, container, pid)
    eq(t.teca("exec", container, "echo", "in", expect=0).text, "in\n", "exec")
    t.teca("delete", "--force", container, expect=0)
    t.end_of(process)
    check(not is_alive(pid), "init still runs")
    t.nothing_of(container)


def leave_cgroups(container, pid):
    """Every cgroup of the container goes while its process lives on, in the root's."""
    for _, top, _ in hierarchies():
        with open(f"{top}/cgroup.procs", "w", encoding="ascii") as f:
            f.write(str(pid))
    for where in sorted(cgroups_with(container), key=len, reverse=True):
        os.rmdir(where)


@test
def a_living_container_whose_cgroups_have_gone_is_told_and_can_be_ended(t):
    container, pid = t.sleeper()
    leave_cgroups(container, pid)
    eq(t.state(container)["status"], "running", "status")
    eq(json.loads(t.teca("ps", "-f", "json", container, expect=0).text) or [], [], "ps")
    for verb in ("pause", "resume"):
        sentence(t.teca(verb, container), verb)
    sentence(t.teca("update", "--pids-limit", "5", container), "update")
    check(not os.path.exists(os.path.join(t.state_root, container, "resources")),
          "a refused update is remembered")
    event = json.loads(t.teca("events", "--stats", container, expect=0).text)
    eq(event["data"]["pids"], {"current": 0} | {k: v for k, v in event["data"]["pids"].items()
                                                if k == "limit"}, "events")
    rows = json.loads(t.teca("stats", "--no-stream", "-f", "json", container, expect=0).text)
    eq([r["id"] for r in rows], [container], "stats")
    done = t.teca("exec", container, "echo", "in")
    if done.status:
        eq((done.status, done.error.count("\n")), (255, 1), f"exec: {done.error!r}")
    t.teca("kill", "--all", container, "0", expect=0)
    t.teca("kill", container, "KILL", expect=0)
    wait_until(lambda: not is_alive(pid), "the end of init")
    reap()
    t.teca("delete", container, expect=0)
    t.nothing_of(container)


@test
def delete_force_ends_a_living_container_whose_cgroups_have_gone(t):
    container, pid = t.sleeper()
    leave_cgroups(container, pid)
    process = t.popen("events", "--interval", "50ms", container, stdout=subprocess.DEVNULL)
    t.teca("delete", "--force", container, expect=0)
    check(not is_alive(pid), "init still runs")
    eq((t.end_of(process), process.stderr.read()), (0, b""), "events, which looked on")
    t.nothing_of(container)


@test(seconds=120)
def who_looks_on_ends_with_the_container(t):
    """events and stats hold files of the cgroups open, or open them while these go."""
    for n in range(4):
        container, _ = t.sleeper()
        lookers = [t.popen(*args, container, stdout=subprocess.DEVNULL)
                   for args in (("events", "--interval", "1ms"), ("events", "--interval", "1h"),
                                ("stats", "--interval", "1ms"), ("stats", "--interval", "1ms", "-f", "json"))]
        asking = [t.popen("events", "--stats", container), t.popen("ps", container)]
        if n % 2:
            wait_until(lambda: all(os.path.exists(f"/proc/{p.pid}/fd/4") for p in lookers), "a look")
        t.teca("delete", "--force", container, expect=0)
        for process in lookers:
            status, error = t.end_of(process), process.stderr.read().decode()
            check(status == 0 or (status == 1 and ("does not exist" in error or "not running" in error)),
                  f"{process.args}: {status}, {error}")
        for process in asking:
            status, error = t.end_of(process), process.stderr.read().decode()
            check(status == 0 or error.count("\n") == 1, f"{process.args}: {status}, {error}")
        t.nothing_of(container)


@test(seconds=120)
def cgroups_that_are_made_while_delete_removes_them_go_too(t):
    """Who makes them is no process of the container: nothing that delete could kill."""
    container, pid = t.sleeper()
    where = [w for w in cgroups_with(container) if os.path.basename(w).endswith(container)]
    stop = threading.Event()

    def make(top):
        number = 0
        while not stop.is_set():
            number += 1
            with contextlib.suppress(OSError):
                os.mkdir(f"{top}/x{number % 50}")
                os.mkdir(f"{top}/x{number % 50}/y")

    makers = [threading.Thread(target=make, args=(top,)) for top in where[:2]]
    for maker in makers:
        maker.start()
    try:
        done = t.popen("delete", "--force", container)
        timer = threading.Timer(2, stop.set)
        timer.start()
        eq((t.end_of(done, 40), done.stderr.read()), (0, b""), "delete --force")
    finally:
        stop.set()
        for maker in makers:
            maker.join()
    check(not is_alive(pid), "init still runs")
    t.nothing_of(container)


@test(seconds=120)
def a_cgroup_that_cannot_be_removed_is_named_and_the_next_delete_goes_on(t):
    """rmdir(2) of a mount point: EBUSY for as long as the mount is there."""
    private_mounts()
    container, pid = t.sleeper()
    where = [w for w in cgroups_with(container) if os.path.basename(w).endswith(container)][0]
    mount("tmpfs", where, "tmpfs")
    done = t.teca("delete", "--force", container, seconds=60)
    sentence(done, "delete --force")
    contains(done.error, where, "stderr")
    check(not is_alive(pid), "init still runs")
    umount(where)
    t.teca("delete", "--force", container, expect=0)
    t.nothing_of(container)


@test
def a_hierarchy_that_is_covered_counts_as_not_there(t):
    """A tmpfs over it, as nested container managers leave one: mountinfo still lists what is below."""
    private_mounts()
    names = [(names, at) for names, at, _ in hierarchies()]
    config = minimal()
    config["linux"]["resources"] = {"pids": {"limit": 9}}
    for _, at in names:
        mount("tmpfs", at, "tmpfs")
    container, pid = t.sleeper()
    with open(f"/proc/{pid}/cgroup", encoding="ascii") as f:
        check(t.token not in f.read(), "init is in a cgroup of its own")
    eq([os.listdir(at) for _, at in names if os.listdir(at)], [], "made in what covers the hierarchies")
    t.refused(config, "/linux/resources/pids/limit", "pids")
    t.teca("delete", "--force", container, expect=0)
    for _, at in names:
        umount(at)
    mount("tmpfs", CGROUP_ROOT, "tmpfs")
    t.ok(minimal())
    eq(os.listdir(CGROUP_ROOT), [], "made in what covers all of them")
    t.refused(config, "/linux/resources/pids/limit", "pids")
    umount(CGROUP_ROOT)
