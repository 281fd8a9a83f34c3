# SPDX-License-Identifier: Apache-2.0
"""Cgroups by systemd: its unit, its properties, the verbs afterwards. Runs in the test VM with systemd."""
import json
import os
import signal
import subprocess

from harness import (cgroups_with, check, contains, descendants_of, eq, is_alive, minimal, test,
                     wait_until, without)

ROUNDS = int(os.environ.get("TECA_SYSTEMD_ROUNDS", "8"))


def systemd(t):
    """With --systemd-cgroup from here on."""
    if not os.path.isdir("/run/systemd/system"):
        t.skip("systemd is not this machine's init (tests/vm/run --systemd has it)")
    t.global_args = ["--systemd-cgroup"]


def by_hand(t, *args, **more):
    """As engines call later verbs: without the flag."""
    before, t.global_args = t.global_args, []
    try:
        return t.teca(*args, **more)
    finally:
        t.global_args = before


def units(token):
    done = subprocess.run(["systemctl", "list-units", "--all", "--plain", "--no-legend"],
                          check=True, capture_output=True, text=True)
    return [line.split()[0] for line in done.stdout.splitlines() if token in line]


def property_of(unit, name):
    return subprocess.run(["systemctl", "show", "--value", "-p", name, unit], check=True,
                          capture_output=True, text=True).stdout.strip()


def cgroup_of(pid):
    with open(f"/proc/{pid}/cgroup", encoding="ascii") as f:
        return {line.split(":")[1]: line.split(":", 2)[2].strip() for line in f}


def in_slice(t, path=None, **more):
    config = minimal()
    config["linux"]["cgroupsPath"] = path or f"system.slice:{t.token}:c"
    config.update(more)
    return config


@test(seconds=120)
def the_container_is_a_scope_until_it_is_deleted(t):
    systemd(t)
    container, pid = t.sleeper(in_slice(t))
    scope = f"{t.token}-c.scope"
    eq(units(t.token), [scope], "units")
    for controllers, path in cgroup_of(pid).items():
        if controllers in ("", "name=systemd", "memory"):
            eq(path, f"/system.slice/{scope}", f"cgroup of init in {controllers or 'v2'}")
    eq(property_of(scope, "Delegate"), "yes", "Delegate")
    eq(property_of(scope, "Slice"), "system.slice", "Slice")
    eq([d for d in descendants_of(os.getpid()) if "teca-systemd" in open(
        f"/proc/{d[0]}/comm", encoding="ascii").read()], [], "helpers that stayed")
    eq(json.loads(by_hand(t, "ps", "-f", "json", container, expect=0).text), [pid], "processes")
    done = by_hand(t, "exec", container, "cat", "/proc/self/cgroup", expect=0)
    contains(done.text, f"/system.slice/{scope}", "the cgroup of an executed process")
    by_hand(t, "pause", container, expect=0)
    eq(t.state(container)["status"], "paused", "status")
    by_hand(t, "delete", "--force", container, expect=0)
    eq((units(t.token), cgroups_with(t.token)), ([], []), "units and cgroups left")
    check(not is_alive(pid), "init still runs")


@test(seconds=120)
def limits_are_known_to_systemd_and_annotations_count(t):
    systemd(t)
    config = in_slice(t, annotations={"org.systemd.property.TimeoutStopSec": "uint64 7",
                                      "org.systemd.property.Description": "'of a test'"})
    config["linux"]["resources"] = {"memory": {"limit": 64 << 20}, "pids": {"limit": 20},
                                    "cpu": {"shares": 2048, "quota": 25000, "period": 100000}}
    t.sleeper(config)
    scope = f"{t.token}-c.scope"
    for name, value in (("TasksMax", "20"), ("TimeoutStopUSec", "7s"), ("Description", "of a test"),
                        ("CPUQuotaPerSecUSec", "250ms")):
        eq(property_of(scope, name), value, name)
    if os.path.exists("/sys/fs/cgroup/cgroup.controllers"):
        eq((property_of(scope, "MemoryMax"), property_of(scope, "CPUWeight")),
           (str(64 << 20), "174"), "limits of v2")
    else:
        eq((property_of(scope, "MemoryLimit"), property_of(scope, "CPUShares")),
           (str(64 << 20), "2048"), "limits of v1")


@test(seconds=120)
def a_start_that_fails_leaves_no_unit(t):
    systemd(t)
    config = in_slice(t)
    config["process"]["args"] = ["/no/such/program"]
    t.refused(config, "no such file", verb="create")
    eq(units(t.token), [], "units left")
    config = in_slice(t, annotations={"org.systemd.property.Slice": "5"})
    t.refused(config, "systemd does not start")
    config = in_slice(t, annotations={"org.systemd.property.TimeoutStopUSec": "soon"})
    t.refused(config, "not a valid property of a systemd unit: TimeoutStopUSec")
    t.refused(in_slice(t, "/a/b"), "/linux/cgroupsPath", "slice:prefix:name")
    eq(units(t.token), [], "units left")


@test(seconds=120)
def a_unit_that_is_there_already_is_refused_and_stays(t):
    systemd(t)
    config = in_slice(t)
    _, pid = t.sleeper(config)
    t.refused(config, f"systemd has a unit of the name {t.token}-c.scope already")
    check(is_alive(pid), "the other container was ended")
    eq(units(t.token), [f"{t.token}-c.scope"], "units")


@test(seconds=120)
def processes_that_init_has_left_end_with_the_unit(t):
    systemd(t)
    config = without(in_slice(t), "pid")
    config["process"]["args"] = ["sh", "-c", "sleep 1000 & sleep 1000 & exec sleep 1000"]
    container = t.create(config, start=True)
    wait_until(lambda: len(json.loads(t.teca("ps", "-f", "json", container).text)) == 3, "three", 30)
    every = json.loads(t.teca("ps", "-f", "json", container).text)
    os.kill(t.pid(container), signal.SIGKILL)
    by_hand(t, "delete", "--force", container, expect=0)
    wait_until(lambda: not any(is_alive(p) for p in every), "the end of all")
    eq(units(t.token), [], "units left")


@test(seconds=300)
def many_rounds_leave_no_unit_and_no_cgroup(t):
    systemd(t)
    config = in_slice(t)
    config["linux"]["cgroupsPath"] = ""  # each a unit by its ID
    bundle = t.bundle(config)
    for _ in range(ROUNDS):
        t.teca("run", "--bundle", bundle, t.new_id(), expect=0)
    workers = [t.popen("run", "--bundle", bundle, t.new_id()) for _ in range(ROUNDS)]
    for worker in workers:
        eq((t.end_of(worker, 200), worker.stderr.read()), (0, b""), "run beside others")
    eq((units(t.token), cgroups_with(t.token)), ([], []), "units and cgroups left")


@test
def without_systemd_the_reason_is_told(t):
    if os.path.isdir("/run/systemd/system"):
        t.skip("systemd is this machine's init (the host of the VM is one without)")
    for flags in (["--systemd-cgroup"], ["--cgroup-manager", "systemd"]):
        t.global_args = flags
        t.refused(in_slice(t), "systemd cannot make the container's cgroups: it does not run on this "
                  "host (/run/systemd/system is not there)")


@test
def a_path_for_systemd_without_systemd_is_refused(t):
    t.refused(in_slice(t), "/linux/cgroupsPath", "names a systemd unit, and cgroups are not systemd's",
              "--systemd-cgroup")
