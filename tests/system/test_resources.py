# SPDX-License-Identifier: Apache-2.0
"""linux.resources: limits hold, seen from outside; what cannot be held is refused.

The tests look for a controller where the machine has it, v1 or v2, so that they say the same on both.
"""
import contextlib
import json
import os
import subprocess
import time

from harness import (CGROUP_ROOT, cases, cgroups_with, check, contains, default, eq, fail, hierarchies,
                     joined, minimal,
                     only_cgroup1, only_cgroup2, row, shows, test, wait_until, with_user_namespace)

MIB = 1 << 20


# ---- where a controller is -----------------------------------------------------------------------


def controllers():
    """{controller: (mount point, v2)}, v1 first, as teca chooses."""
    found = {}
    for names, where, v2 in sorted(hierarchies(), key=lambda h: h[2]):
        if v2:
            with open(os.path.join(where, "cgroup.controllers"), encoding="ascii") as f:
                names = f.read().replace(" ", ",").strip()
        for name in filter(None, names.split(",")):
            found.setdefault({"io": "blkio"}.get(name, name), (where, v2))
    return found


def need(t, *names):
    for name in names:
        if name not in controllers():
            t.skip(f"this host has no cgroup controller '{name}'")


def directory(container, name):
    where, _ = controllers()[name]
    return os.path.join(where, f"teca-{container}")


def value(container, name, v1, v2):
    """What a file of the container's cgroup says."""
    file = v2 if controllers()[name][1] else v1
    with open(os.path.join(directory(container, name), file), encoding="ascii") as f:
        return f.read().strip()


def limited(config=None, **resources):
    config = config or minimal()
    config["linux"]["resources"] = resources
    return config


def number_in(text, word):
    found = [line.split()[1] for line in text.splitlines() if line.split()[:1] == [word]]
    check(found, f"no {word} in {text!r}")
    return int(found[0])


# ---- memory, pids --------------------------------------------------------------------------------


@test
@row("MEM-1")
def a_process_that_eats_memory_is_killed_inside_its_container(t):
    need(t, "memory")
    neighbour, pid = t.sleeper()
    config = limited(minimal("/bin/sh", "-c", "dd if=/dev/zero of=/dev/null bs=200M count=1; "
                                              "echo $?; exec sleep 1000"),
                     memory={"limit": 32 * MIB, "swap": 32 * MIB})
    container = t.create(config, start=True)

    def kills():
        return number_in(value(container, "memory", "memory.oom_control", "memory.events"),
                         "oom_kill")

    wait_until(lambda: kills() > 0, "something was killed for want of memory", 20)
    eq(t.state(neighbour)["status"], "running", "the other container")
    check(os.path.exists(f"/proc/{pid}"), "the process of the other container is gone")
    eq(t.state(container)["status"], "running", "init, which needs little")


@test
@row("MEM-1")
def memory_limits_are_in_the_kernel(t):
    need(t, "memory")
    container, _ = t.sleeper(limited(memory={"limit": 64 * MIB, "swap": 96 * MIB,
                                             "reservation": 32 * MIB}))
    v2 = controllers()["memory"][1]
    eq(value(container, "memory", "memory.limit_in_bytes", "memory.max"), str(64 * MIB), "limit")
    eq(value(container, "memory", "memory.memsw.limit_in_bytes", "memory.swap.max"),
       str((32 if v2 else 96) * MIB), "swap")
    eq(value(container, "memory", "memory.soft_limit_in_bytes", "memory.low"), str(32 * MIB),
       "reservation")


@test
def a_fork_bomb_stops_at_the_limit(t):
    need(t, "pids")
    config = limited(minimal("/bin/sh", "-c", "while :; do sleep 1000 & done"),
                     pids={"limit": 20})
    container = t.create(config, start=True)

    def refused():
        return number_in(value(container, "pids", "pids.events", "pids.events"), "max") > 0

    wait_until(refused, "a fork was refused", 20)
    current = int(value(container, "pids", "pids.current", "pids.current"))
    check(current <= 20, f"{current} processes are there")


@cases(none=(0, "0"), one=(1, "1"), unlimited=(-1, "max"))
@row("PID-1")
def no_process_is_a_limit_and_minus_one_is_none(t, limit, said):
    need(t, "pids")
    config = limited(minimal("/bin/sh", "-c", "sleep 0; echo forked; exec /payload catch 15"),
                     pids={"limit": limit})
    container = t.new_id()
    where = t.bundle(config)
    process = t.popen("run", "--bundle", where, container)
    if limit < 0:
        eq(t.read_line(process), "forked", "what the program says")
        eq(t.read_line(process), "ready", "what the program says")
        eq(value(container, "pids", "pids.max", "pids.max"), said, "pids.max")
        return
    t.end_of(process)
    contains(process.stderr.read().decode(), "can't fork", "what the shell says")


# ---- cpu -----------------------------------------------------------------------------------------


def used_ns(container):
    if "cpuacct" in controllers():
        with open(os.path.join(directory(container, "cpuacct"), "cpuacct.usage"),
                  encoding="ascii") as f:
            return int(f.read())
    return number_in(value(container, "cpu", "cpu.stat", "cpu.stat"), "usage_usec") * 1000


@test(seconds=60)
@row("CPU-1")
def a_fifth_of_a_cpu_is_a_fifth(t):
    """
    Within two points by the cgroup's own account. Its shares are such that it gets its fifth on a
    busy machine too, unless the CPUs of this virtual machine are taken away: hence again.
    """
    need(t, "cpu")
    config = limited(minimal("/payload", "spin"),
                     cpu={"quota": 20000, "period": 100000, "shares": 262144})
    container = t.create(config, start=True)
    time.sleep(0.3)
    shares = []
    while len(shares) < 6 and max(shares, default=0) < 0.18:
        before, start = used_ns(container), time.monotonic()
        time.sleep(2.5)
        shares.append((used_ns(container) - before) / (time.monotonic() - start) / 1e9)
    check(0.18 < max(shares) < 0.22, f"it had {shares} of a CPU")
    throttled = number_in(value(container, "cpu", "cpu.stat", "cpu.stat"), "nr_throttled")
    check(throttled > 0, "it was never held up")


@test
def three_shares_get_three_times_what_one_gets(t):
    need(t, "cpu", "cpuset")
    cpu = str(min(os.sched_getaffinity(0)))
    both = [t.create(limited(minimal("/payload", "spin"), cpu={"shares": n, "cpus": cpu}))
            for n in (3072, 1024)]
    if controllers()["cpu"][1]:  # the weights of v2 are not in proportion
        weights = [int(value(c, "cpu", "", "cpu.weight")) for c in both]
    else:
        weights = [3, 1]
    for container in both:
        t.teca("start", container, expect=0)
    time.sleep(0.5)
    before, expected = [used_ns(c) for c in both], weights[0] / weights[1]
    for _ in range(5):  # a longer time where the CPUs of this machine are not its own
        time.sleep(4)
        used = [used_ns(c) - b for c, b in zip(both, before)]
        ratio = used[0] / used[1]
        if abs(ratio / expected - 1) < 0.1:
            return
    fail(f"{ratio:.2f} to 1 in place of {expected:.2f}")


@test
@row("CPU-1")
def the_program_runs_on_its_cpus_only(t):
    need(t, "cpuset")
    cpu = str(max(os.sched_getaffinity(0)))
    found = t.report(limited(cpu={"cpus": cpu, "mems": "0"}))
    eq(found["status"]["Cpus_allowed_list"], cpu, "the CPUs of the program")


@test
@row("CPU-1")
def cpu_limits_are_in_the_kernel(t):
    need(t, "cpu")
    container, _ = t.sleeper(limited(cpu={"shares": 512, "quota": 30000, "period": 60000,
                                          "burst": 10000}))
    if controllers()["cpu"][1]:
        eq(value(container, "cpu", "", "cpu.weight"), "59", "cpu.weight")
        eq(value(container, "cpu", "", "cpu.max"), "30000 60000", "cpu.max")
    else:
        eq(value(container, "cpu", "cpu.shares", ""), "512", "cpu.shares")
        eq(value(container, "cpu", "cpu.cfs_quota_us", ""), "30000", "cpu.cfs_quota_us")
        eq(value(container, "cpu", "cpu.cfs_period_us", ""), "60000", "cpu.cfs_period_us")
    eq(value(container, "cpu", "cpu.cfs_burst_us", "cpu.max.burst"), "10000", "burst")


@test
def an_idle_container_is_idle(t):
    need(t, "cpu")
    container, _ = t.sleeper(limited(cpu={"idle": 1, "shares": 500}))
    eq(value(container, "cpu", "cpu.idle", "cpu.idle"), "1", "cpu.idle")


# ---- block I/O, huge pages -------------------------------------------------------------------------


@contextlib.contextmanager
def loop_device(t, megabytes):
    image = t.path("image")
    with open(image, "wb") as f:
        f.truncate(megabytes * MIB)
    done = subprocess.run(["losetup", "--show", "-f", image], capture_output=True, text=True)
    if done.returncode:
        t.skip(f"no loop device can be had: {done.stderr.strip()}")
    device = done.stdout.strip()
    try:
        yield device, os.stat(device).st_rdev
    finally:
        subprocess.run(["losetup", "-d", device], check=True)


def bytes_read(container, number):
    """By the cgroup's own account; None: nothing yet."""
    text = value(container, "blkio", "blkio.throttle.io_service_bytes", "io.stat")
    device = f"{os.major(number)}:{os.minor(number)} "
    for line in text.splitlines():
        if line.startswith(device + "Read "):
            return int(line.split()[2])
        if line.startswith(device) and "rbytes=" in line:
            return int(line.split("rbytes=")[1].split()[0])
    return None


@test(seconds=120)
@row("IO-1")
def block_io_is_throttled(t):
    """Within 15 %, in small steps: the kernel lets a request through as a whole."""
    need(t, "blkio")
    rate = 2 * MIB
    with loop_device(t, 64) as (device, number):
        major, minor = os.major(number), os.minor(number)
        config = limited(minimal("/bin/dd", "if=/dev/disk", "of=/dev/null", "bs=65536",
                                 "iflag=direct"),
                         devices=[{"allow": False},
                                  {"allow": True, "type": "b", "major": major, "minor": minor,
                                   "access": "r"}],
                         blockIO={"throttleReadBpsDevice": [{"major": major, "minor": minor,
                                                             "rate": rate}]})
        config["linux"]["devices"] = [{"path": "/dev/disk", "type": "b", "major": major,
                                       "minor": minor}]
        container = t.create(config, start=True)
        wait_until(lambda: (bytes_read(container, number) or 0) > rate // 4, "the first bytes", 20)
        before, start = bytes_read(container, number), time.monotonic()
        time.sleep(4)
        share = (bytes_read(container, number) - before) / (time.monotonic() - start) / rate
        t.teca("delete", "--force", container, expect=0)
    check(0.85 < share < 1.15, f"{share:.3f} of the rate")


@test
@row("HT-1")
def huge_pages_are_limited_and_their_reservations(t):
    need(t, "hugetlb")
    container, _ = t.sleeper(limited(hugepageLimits=[{"pageSize": "2MB", "limit": 6 * MIB}]))
    for part in ("", ".rsvd"):
        eq(value(container, "hugetlb", f"hugetlb.2MB{part}.limit_in_bytes",
                 f"hugetlb.2MB{part}.max"), str(6 * MIB), f"hugetlb.2MB{part}")


@test
@row("CPU-2")
def a_burst_above_the_quota_is_refused(t):
    config = limited(cpu={"quota": 20000, "period": 100000, "burst": 20001})
    t.refused(config, "/linux/resources/cpu/burst")


@cases(network=shows("NET-1", {"network": {"classID": 1048577}}, "/linux/resources/network/classID", "net_cls"),
       priorities=shows("NET-1", {"network": {"priorities": [{"name": "lo", "priority": 3}]}},
                        "/linux/resources/network/priorities", "net_prio"),
       rdma=shows("RD-1", {"rdma": {"mlx5_1": {"hcaHandles": 3}}}, "/linux/resources/rdma", "rdma"))
def a_limit_is_kept_or_its_controller_is_named(t, resources, pointer, controller):
    if controller in controllers():
        t.skip(f"this host has the controller '{controller}'")
    t.refused(limited(**resources), pointer, controller)


@test
def packets_of_the_container_have_a_class_and_priorities(t):
    need(t, "net_cls", "net_prio")
    container, _ = t.sleeper(limited(network={"classID": 0x100001,
                                              "priorities": [{"name": "lo", "priority": 3}]}))
    eq(value(container, "net_cls", "net_cls.classid", None), str(0x100001), "the class")
    check("lo 3" in value(container, "net_prio", "net_prio.ifpriomap", None).splitlines(), "the priority of lo")


@test
@row("UNI-2")
def what_v2_has_no_word_for_is_refused_there(t):
    only_cgroup2()
    t.refused(limited(cpu={"realtimeRuntime": 1000}), "/linux/resources/cpu/realtimeRuntime")


@test
@row("UNI-1")
def any_file_of_v2_can_be_named(t):
    if not any(v2 for _, _, v2 in hierarchies()):
        t.skip("no cgroup v2 hierarchy is mounted")
    where = [at for _, at, v2 in hierarchies() if v2][0]
    container, _ = t.sleeper(limited(unified={"cgroup.max.depth": "3", "cgroup.max.descendants": "4"}))
    for name, said in (("cgroup.max.depth", "3"), ("cgroup.max.descendants", "4")):
        with open(os.path.join(where, f"teca-{container}", name), encoding="ascii") as f:
            eq(f.read().strip(), said, name)


@test
@row("UNI-1")
def controllers_of_v2_reach_a_cgroup_further_down(t):
    found = [(name, at) for name, (at, v2) in controllers().items() if v2 and name == "hugetlb"]
    if not found:
        t.skip("this host has no 'hugetlb' in a cgroup v2 hierarchy")
    config = limited(unified={"hugetlb.2MB.max": "4194304"})
    config["linux"]["cgroupsPath"] = f"/{t.token}-a/b/c"
    t.sleeper(config)
    file = os.path.join(found[0][1], f"{t.token}-a/b/c/hugetlb.2MB.max")
    with open(file, encoding="ascii") as f:
        eq(f.read().strip(), "4194304", file)


# ---- devices -------------------------------------------------------------------------------------

KMSG = {"path": "/dev/kmsg", "type": "c", "major": 1, "minor": 11, "fileMode": 0o666}
OPEN = {"r": "0", "w": "1", "rw": "2"}  # O_RDONLY, O_WRONLY, O_RDWR


def opened(t, rules, host=None):
    """{access: result} of opening /dev/kmsg in each way."""
    if host:
        host()
    config = minimal()
    config["process"]["args"] = ["/bin/sh", "-c", "; ".join(
        f"/payload call openat -100 s:/dev/kmsg {flags}" for flags in OPEN.values())]
    config["process"]["capabilities"] = {  # dmesg_restrict
        kind: ["CAP_SYSLOG"] for kind in ("bounding", "effective", "permitted")}
    config["linux"]["devices"] = [KMSG]
    if rules is not None:
        config["linux"]["resources"] = {"devices": rules}
    lines = t.ok(config).splitlines()
    return {how: line.split()[1] if line.startswith("-1") else "ok"
            for how, line in zip(OPEN, lines)}


def rule(allow, access=None, **numbers):
    kind = {"type": "c"} if numbers or access else {}
    return {"allow": allow} | kind | numbers | ({"access": access} if access else {})


NONE, ALL = dict.fromkeys(OPEN, "EPERM"), dict.fromkeys(OPEN, "ok")
READ = {"r": "ok", "w": "EPERM", "rw": "EPERM"}
HERE = {"major": 1, "minor": 11}
RULES = {
    "no_rules": (None, NONE),
    "an_empty_list": ([], NONE),
    "deny_all": ([rule(False)], NONE),
    "allow_all": ([rule(True)], ALL),
    "the_very_device": ([rule(False), rule(True, "rwm", **HERE)], ALL),
    "another_minor": ([rule(False), rule(True, "rwm", major=1, minor=12)], NONE),
    "another_type": ([rule(False), rule(True, "rwm", **HERE) | {"type": "b"}], NONE),
    "every_minor": ([rule(False), rule(True, "rw", major=1)], ALL),
    "every_major": ([rule(False), rule(True, "rw", minor=11)], ALL),
    "every_character_device": ([rule(False), rule(True, "rw")], ALL),
    "wildcards_by_minus_one": ([rule(False), rule(True, "rw", major=-1, minor=-1)], ALL),
    "read_only": ([rule(False), rule(True, "r", **HERE)], READ),
    "write_only": ([rule(False), rule(True, "w", **HERE)],
                   {"r": "EPERM", "w": "ok", "rw": "EPERM"}),
    "read_and_write_by_two_rules": ([rule(False), rule(True, "r", **HERE),
                                     rule(True, "w", **HERE)], ALL),
    "all_but_this": ([rule(True), rule(False, "rwm", **HERE)], NONE),
    "all_but_writing": ([rule(True), rule(False, "w", **HERE)], READ),
    "denied_and_allowed_again": ([rule(True), rule(False, "rw", **HERE), rule(True, "r", **HERE)],
                                 READ),
    "allowed_and_denied_again": ([rule(False), rule(True, "rw", **HERE), rule(False, "w", **HERE)],
                                 READ),
    "a_late_deny_all": ([rule(True, "rw", **HERE), rule(False)], NONE),
}


@cases(**RULES)
@row("DC-1", "DEV-7")
def devices_are_ruled(t, rules, expected):
    eq(opened(t, rules), expected, "opening /dev/kmsg")


@cases(**RULES)
def devices_are_ruled_on_v1(t, rules, expected):
    if not any("devices" in names.split(",") for names, _, _ in hierarchies()):
        t.skip("no v1 hierarchy 'devices' is mounted")
    eq(opened(t, rules, only_cgroup1), expected, "opening /dev/kmsg")


@cases(**RULES)
def devices_are_ruled_on_v2(t, rules, expected):
    eq(opened(t, rules, only_cgroup2), expected, "opening /dev/kmsg")


@test
def a_part_of_a_wider_rule_is_denied_on_v2_and_refused_on_v1(t):
    rules = [rule(False), rule(True, "rw", major=1), rule(False, "w", **HERE)]
    if any(v2 for _, _, v2 in hierarchies()):
        eq(opened(t, rules), READ, "opening /dev/kmsg")
    only_cgroup1()
    if not hierarchies():
        return
    t.refused(limited(devices=rules), "/linux/resources/devices/2", "cannot take a part")


@cases(ordinary=minimal(), user=with_user_namespace(minimal()))
def what_every_container_may_use_stays_usable(t, config):
    config["process"]["args"] = [
        "/bin/sh", "-c", "echo x >/dev/null && head -c 3 /dev/zero | wc -c && "
        "head -c 3 /dev/urandom | wc -c && test -c /dev/full && echo tty >/dev/null"]
    eq(t.ok(limited(config, devices=[rule(False)])), "3\n3\n", "stdout")


@test
def nodes_may_be_made_and_not_opened(t):
    config = limited(minimal("/bin/sh", "-c", "mknod /dev/mem c 1 1 && mknod /dev/sda b 8 0 && "
                                              "echo made; head -c 1 /dev/mem"),
                     devices=[rule(False)])
    config["process"]["capabilities"] = {"bounding": ["CAP_MKNOD"], "effective": ["CAP_MKNOD"],
                                         "permitted": ["CAP_MKNOD"]}
    done = t.run(config)
    eq(done.text, "made\n", "stdout")
    contains(done.error.lower(), "operation not permitted", "what head says")


@test
def an_exec_is_under_the_same_rules(t):
    config = limited(devices=[rule(False)])
    config["linux"]["devices"] = [KMSG]
    container, _ = t.sleeper(config)
    done = t.teca("exec", container, "/payload", "call", "openat", "-100", "s:/dev/kmsg", "0")
    eq(done.text.split(), ["-1", "EPERM"], "opening /dev/kmsg")


# ---- what cannot be held ---------------------------------------------------------------------------


@cases(cpus=({"cpu": {"cpus": "0-9999"}}, "/linux/resources/cpu/cpus", "cpuset.cpus"),
       quota=({"cpu": {"quota": 5}}, "/linux/resources/cpu/quota", "cpu."),
       device=({"blockIO": {"throttleReadBpsDevice": [{"major": 200, "minor": 9, "rate": 5}]}},
               "/linux/resources/blockIO/throttleReadBpsDevice/0", "200:9"))
def a_limit_that_the_kernel_refuses_is_told(t, resources, pointer, what):
    need(t, {"cpu": "cpu", "blockIO": "blkio"}[next(iter(resources))])
    t.refused(limited(**resources), pointer, "cannot write", what)


@test
def a_file_that_does_not_exist_is_told(t):
    if not any(v2 for _, _, v2 in hierarchies()):
        t.skip("no cgroup v2 hierarchy is mounted")
    t.refused(limited(unified={"cgroup.none": "1"}), "/linux/resources/unified/cgroup.none",
              "no such file")


@cases(memory=({"memory": {"limit": 1 << 28}}, "memory"), pids=({"pids": {"limit": 0}}, "pids"),
       unified=({"unified": {"memory.high": "5"}}, "memory"))
@row("UNI-1")
def a_controller_that_is_not_there_is_told(t, resources, name):
    only_cgroup2()
    if name in controllers():
        t.skip(f"the v2 hierarchy of this host has '{name}'")
    t.refused(limited(**resources), f"/linux/resources/{next(iter(resources))}", f"'{name}'")


@test
def device_rules_without_any_cgroup_are_refused(t):
    where, container = t.bundle(limited(devices=[rule(False)])), t.new_id()
    run = " ".join(t.argv("run", "--bundle", where, container))
    done = t.call(["unshare", "-m", "sh", "-c", f"umount -R {CGROUP_ROOT} && {run}"])
    eq(done.status, 1, "exit status")
    contains(done.error, "/linux/resources/devices", "stderr")


# ---- ownership -------------------------------------------------------------------------------------


def owned(t, uid, *options, **changes):
    only_cgroup2()
    config = joined(default(), "cgroup")
    mount = [m for m in config["mounts"] if m["destination"] == "/sys/fs/cgroup"][0]
    mount["options"] = list(options)
    config["process"]["user"] = {"uid": uid, "gid": uid}
    config |= changes
    return t.sleeper(config)[0]


def owner(container, *names):
    return os.stat(os.path.join(CGROUP_ROOT, f"teca-{container}", *names)).st_uid


@test
@row("OWN-1", "OWN-5")
def who_may_write_to_its_cgroups_owns_them(t):
    container = owned(t, 1000, "rw", "nosuid")
    with open("/sys/kernel/cgroup/delegate", encoding="ascii") as f:
        files = [name for name in f.read().split()
                 if os.path.exists(os.path.join(CGROUP_ROOT, f"teca-{container}", name))]
    check("cgroup.procs" in files, f"the kernel delegates {files}")
    eq({owner(container)} | {owner(container, name) for name in files}, {1000}, "owners")
    eq(owner(container, "cgroup.freeze"), 0, "owner of a file that is not delegated")


@test
@row("OWN-4")
def who_may_not_write_to_its_cgroups_does_not_own_them(t):
    container = owned(t, 1000, "ro")
    eq((owner(container), owner(container, "cgroup.procs")), (0, 0), "owners")


@test
@row("OWN-3")
def without_a_cgroup_namespace_of_its_own_the_owner_stays(t):
    only_cgroup2()
    config = default()
    config["process"]["user"] = {"uid": 1000, "gid": 1000}
    config["mounts"][-1]["options"] = ["rw"]
    eq(owner(t.sleeper(config)[0]), 0, "owner")


@test
@row("OWN-2")
def the_owner_of_a_v1_cgroup_stays(t):
    only_cgroup1()
    found = controllers()
    if not found:
        t.skip("no v1 hierarchy is mounted")
    config = joined(default(), "cgroup")
    config["process"]["user"] = {"uid": 1000, "gid": 1000}
    config["mounts"][-1]["options"] = ["rw"]
    container, _ = t.sleeper(config)
    eq({os.stat(directory(container, name)).st_uid for name in found}, {0}, "owners")


# ---- no cgroups at all -----------------------------------------------------------------------------


def own_cgroups(pid):
    with open(f"/proc/{pid}/cgroup", encoding="ascii") as f:
        return f.read()


@cases(path=None, systemd="system.slice:teca:x")
def a_container_can_do_without_cgroups(t, path):
    t.global_args = ["--cgroup-manager", "disabled"]
    config = default()
    config["linux"] |= {"cgroupsPath": path} if path else {}
    container, pid = t.sleeper(config)
    eq(own_cgroups(pid), own_cgroups("self"), "cgroups of init")
    eq(cgroups_with(container), [], "cgroups made")
    t.global_args = []
    eq(t.teca("exec", container, "/bin/echo", "ran").text, "ran\n", "an exec without the flag")
    eq(json.loads(t.teca("ps", "--format", "json", container).text), [pid], "ps")
    done = t.teca("update", "--pids-limit", "3", container)
    eq(done.status, 1, "exit status of update")
    contains(done.error, "--cgroup-manager disabled", "stderr")
    t.teca("delete", "--force", container, expect=0)


@test
def without_cgroups_limits_are_refused(t):
    t.global_args = ["--cgroup-manager=disabled"]
    t.refused(limited(memory={"limit": 64 * MIB}), "/linux/resources/memory/limit",
              "--cgroup-manager disabled")
    t.refused(limited(unified={"cgroup.max.depth": "1"}),
              "/linux/resources/unified/cgroup.max.depth", "--cgroup-manager disabled")


@cases(flag=["--systemd-cgroup"], manager=["--cgroup-manager", "systemd"])
def systemd_is_not_taken_for_something_else(t, flags):
    if os.path.exists("/run/systemd/system"):
        t.skip("systemd is this machine's init")
    t.global_args = flags
    t.refused(minimal(), "systemd", "/run/systemd/system")
