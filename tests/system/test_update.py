# SPDX-License-Identifier: Apache-2.0
"""`update`: new limits for a container that exists; all of them, or none."""
import contextlib
import json
import os
import time

from harness import cases, check, contains, eq, hierarchies, minimal, row, test, wait_until
from test_resources import (HERE, KMSG, MIB, controllers, directory, limited, loop_device, need,
                            number_in, rule, value)

MEMORY = ("memory", "memory.limit_in_bytes", "memory.max")
SWAP = ("memory", "memory.memsw.limit_in_bytes", "memory.swap.max")
PIDS = ("pids", "pids.max", "pids.max")


def update(t, container, *flags, resources=None, **more):
    if resources is None:
        return t.teca("update", *flags, container, **more)
    return t.teca("update", "--resources", "-", container, stdin=json.dumps(resources).encode(),
                  **more)


def changed(t, container, *flags, **more):
    done = update(t, container, *flags, expect=0, **more)
    eq((done.text, done.error), ("", ""), "what update says")


def swap_of(memory, both):
    """What the file of SWAP says: v2 counts swap alone."""
    return str(both - memory if controllers()["memory"][1] else both)


@test
def every_flag_changes_its_limit_and_nothing_else(t):
    need(t, "memory", "cpu", "pids", "cpuset")
    v2 = controllers()["cpu"][1]
    container, _ = t.sleeper(limited(memory={"limit": 64 * MIB}, cpu={"quota": 50000,
                                                                      "period": 50000}))
    cpu = str(min(os.sched_getaffinity(0)))
    for flags, where, said in (
            (["--memory", "128m"], MEMORY, str(128 * MIB)),
            (["--memory-swap=192m"], SWAP, swap_of(128 * MIB, 192 * MIB)),
            (["--memory-reservation", "65536k"],
             ("memory", "memory.soft_limit_in_bytes", "memory.low"), str(64 * MIB)),
            (["--cpu-share", "512"], ("cpu", "cpu.shares", "cpu.weight"), "59" if v2 else "512"),
            (["--cpu-quota", "30000"], ("cpu", "cpu.cfs_quota_us", "cpu.max"),
             "30000 50000" if v2 else "30000"),
            (["--cpu-period", "60000"], ("cpu", "cpu.cfs_period_us", "cpu.max"),
             "30000 60000" if v2 else "60000"),
            (["--cpu-burst", "20000"], ("cpu", "cpu.cfs_burst_us", "cpu.max.burst"), "20000"),
            (["--cpuset-cpus", cpu], ("cpuset", "cpuset.cpus", "cpuset.cpus"), cpu),
            (["--cpuset-mems", "0"], ("cpuset", "cpuset.mems", "cpuset.mems"), "0"),
            (["--pids-limit", "77"], PIDS, "77"),
            (["--pids-limit", "-1"], PIDS, "max"),
            (["--cpu-idle", "1"], ("cpu", "cpu.idle", "cpu.idle"), "1"),
            (["--cpu-idle=0"], ("cpu", "cpu.idle", "cpu.idle"), "0")):
        changed(t, container, *flags)
        eq(value(container, *where), said, f"{where} after {flags}")
    eq(value(container, *MEMORY), str(128 * MIB), "the memory limit in the end")


@test
def real_time_is_changed_where_the_kernel_has_groups_of_it(t):
    need(t, "cpu")
    container, _ = t.sleeper(limited(cpu={"shares": 512}))
    if controllers()["cpu"][1]:  # v2 has no word for it
        for flag, key in (("--cpu-rt-runtime", "realtimeRuntime"),
                          ("--cpu-rt-period", "realtimePeriod")):
            done = update(t, container, flag, "4000", expect=1)
            contains(done.error, f"/linux/resources/cpu/{key}", "what update says")
        return
    if not os.path.exists(os.path.join(directory(container, "cpu"), "cpu.rt_runtime_us")):
        t.skip("this kernel has no groups of real time (CONFIG_RT_GROUP_SCHED)")
    for flags, file, said in (
            (["--cpu-rt-runtime", "4000"], "cpu.rt_runtime_us", "4000"),
            (["--cpu-rt-period", "500000"], "cpu.rt_period_us", "500000"),
            (["--cpu-rt-period=900000", "--cpu-rt-runtime=600000"], "cpu.rt_runtime_us",
             "600000")):
        changed(t, container, *flags)
        eq(value(container, "cpu", file, None), said, f"{file} after {flags}")
    eq(value(container, "cpu", "cpu.rt_period_us", None), "900000", "the period in the end")


@test
def the_weight_of_block_io_is_changed(t):
    need(t, "blkio")
    container, _ = t.sleeper(limited(blockIO={}))
    where = directory(container, "blkio")
    files = [f for f in ("blkio.weight", "blkio.bfq.weight", "io.bfq.weight", "io.weight")
             if os.path.exists(os.path.join(where, f))]
    if not files:
        done = update(t, container, "--blkio-weight", "300", expect=1)
        contains(done.error, "/linux/resources/blockIO/weight", "what update says")
        return
    changed(t, container, "--blkio-weight", "300")
    with open(os.path.join(where, files[0]), encoding="ascii") as f:
        # io.weight counts to 10,000 where the spec's weight counts to 1,000.
        eq(f.read().split()[-1], "2930" if files[0] == "io.weight" else "300", files[0])


@cases(cache=("--l3-cache-schema", "L3:0=f"), bandwidth=("--mem-bw-schema", "MB:0=50"))
def a_line_of_schemata_is_refused_where_the_container_has_no_class_of_its_own(t, flag, schema):
    container, _ = t.sleeper()
    done = update(t, container, flag, schema, expect=1)
    contains(done.error, "/linux/intelRdt: the container has no class of service of its own",
             "what update says")


@cases(raised=(64, 96, 1024, 2048), lowered=(1024, 2048, 64, 96), swap_only=(64, 96, 64, 64),
       memory_only=(64, 1024, 512, 1024))
def memory_and_swap_change_together_in_either_direction(t, memory, both, new_memory, new_both):
    need(t, "memory")
    container, _ = t.sleeper(limited(memory={"limit": memory * MIB, "swap": both * MIB}))
    changed(t, container, "--memory", f"{new_memory}m", "--memory-swap", f"{new_both}m")
    eq((value(container, *MEMORY), value(container, *SWAP)),
       (str(new_memory * MIB), swap_of(new_memory * MIB, new_both * MIB)), "limits")


@test
def no_memory_limit_is_no_swap_limit(t):
    need(t, "memory")
    container, _ = t.sleeper(limited(memory={"limit": 64 * MIB, "swap": 96 * MIB}))
    before = value(container, *MEMORY)
    changed(t, container, "--memory", "-1")
    found = {value(container, *MEMORY), value(container, *SWAP)}
    check(before not in found and len(found) == 1, f"limits {found}")
    changed(t, container, "--memory", "64m", "--memory-swap", "64m")
    eq((value(container, *MEMORY), value(container, *SWAP)),
       (str(64 * MIB), swap_of(64 * MIB, 64 * MIB)), "limits again")


@cases(raised=(20000, 5000, 90000, 80000), lowered=(90000, 80000, 20000, 5000))
def quota_and_burst_change_together_in_either_direction(t, quota, burst, new_quota, new_burst):
    need(t, "cpu")
    container, _ = t.sleeper(limited(cpu={"quota": quota, "period": 100000, "burst": burst}))
    changed(t, container, resources={"cpu": {"quota": new_quota, "burst": new_burst}})
    eq(value(container, "cpu", "cpu.cfs_burst_us", "cpu.max.burst"), str(new_burst), "burst")
    contains(value(container, "cpu", "cpu.cfs_quota_us", "cpu.max"), str(new_quota), "quota")


@test
def what_is_refused_changes_nothing(t):
    need(t, "memory", "cpu", "cpuset", "pids")
    container, _ = t.sleeper(limited(memory={"limit": 64 * MIB, "swap": 96 * MIB},
                                     cpu={"shares": 512}, pids={"limit": 9}))
    files = [MEMORY, SWAP, PIDS, ("cpu", "cpu.shares", "cpu.weight"),
             ("cpuset", "cpuset.cpus", "cpuset.cpus"),
             ("cpu", "cpu.cfs_quota_us", "cpu.max")]
    before = [value(container, *f) for f in files]
    for wrong, parts in (
            ({"cpu": {"cpus": "0-9999"}}, ("/linux/resources/cpu/cpus", "cpuset.cpus")),
            ({"cpu": {"quota": 3}}, ("/linux/resources/cpu/quota", "'3")),
            ({"memory": {"limit": 90 * MIB, "swap": 5 * MIB}}, ("/linux/resources/memory/swap",)),
            ({"unified": {"cgroup.none": "1"}}, ("/linux/resources/unified/cgroup.none",)),
            ({"devices": [{"allow": True, "type": "c"}]},
             ("device access at 0",) if any(v2 for _, _, v2 in hierarchies()) else
             ("changed on cgroup v2 only",)),
            ({"pids": {"limit": "many"}}, ("/linux/resources/pids/limit",))):
        asked = {"memory": {"limit": 128 * MIB, "swap": 256 * MIB}, "pids": {"limit": 5}} | wrong
        asked["cpu"] = {"shares": 700} | wrong.get("cpu", {})
        done = update(t, container, resources=asked)
        eq(done.status, 1, f"exit status of {wrong} ({done.error})")
        for part in parts:
            contains(done.error, part, "stderr")
        eq([value(container, *f) for f in files], before, f"limits after {wrong}")
    check(not os.path.exists(os.path.join(t.state_root, container, "resources")),
          "what was refused is remembered")


@test
def each_update_stands_on_the_one_before(t):
    need(t, "cpu")
    container, _ = t.sleeper(limited(cpu={"period": 50000}))
    changed(t, container, "--cpu-quota", "20000")
    changed(t, container, "--cpu-period", "40000")
    if controllers()["cpu"][1]:
        eq(value(container, "cpu", "", "cpu.max"), "20000 40000", "cpu.max")
    with open(os.path.join(t.state_root, container, "resources"), encoding="ascii") as f:
        eq(json.load(f)["cpu"], {"period": 40000, "quota": 20000}, "what is remembered")


@cases(file=True, stdin=False)
def resources_come_from_a_file_or_stdin_and_flags_do_not_count_then(t, file):
    need(t, "pids")
    container, _ = t.sleeper()
    text = json.dumps({"pids": {"limit": 31}})
    where = t.file("resources.json", text) if file else "-"
    t.teca("update", "--pids-limit", "5", "-r", where, container, stdin=text.encode(), expect=0)
    eq(value(container, *PIDS), "31", "pids.max")


@test
def a_created_and_a_paused_container_can_be_updated_and_a_stopped_one_not(t):
    need(t, "pids")
    container = t.create(minimal("/payload", "catch", "15"))
    changed(t, container, "--pids-limit", "31")
    t.teca("start", container, expect=0)
    t.teca("pause", container, expect=0)
    changed(t, container, "--pids-limit", "32")
    eq(value(container, *PIDS), "32", "pids.max")
    t.teca("resume", container, expect=0)
    t.teca("kill", container, "KILL", expect=0)
    wait_until(lambda: t.state(container)["status"] == "stopped", "init ended")
    done = update(t, container, "--pids-limit", "3")
    eq(done.status, 1, "exit status for a container that has stopped")
    contains(done.error, "container not running", "stderr")


@test
@row("MEM-2")
def a_limit_below_the_usage_is_rejected_when_that_was_asked_for(t):
    need(t, "memory")
    container, _ = t.sleeper(limited(memory={"limit": 64 * MIB, "checkBeforeUpdate": True}))
    done = update(t, container, "--memory", "4096b")
    eq(done.status, 1, "exit status")
    contains(done.error, "rejecting memory limit 4096", "stderr")
    eq(value(container, *MEMORY), str(64 * MIB), "the limit")


@test
def kernel_memory_is_ignored_and_that_is_said(t):
    container, _ = t.sleeper()
    done = update(t, container, "--kernel-memory", "5m", "--kernel-memory-tcp", "5m", expect=0)
    contains(done.error, "--kernel-memory is ignored", "stderr")


@cases(word=["--pids-limit", "many"], unit=["--memory", "5x"], sign=["--cpu-share", "-3"],
       big=["--memory", "9999999t"])
def a_value_that_is_none_is_refused(t, flags):
    container, _ = t.sleeper()
    done = update(t, container, *flags)
    eq(done.status, 1, "exit status")
    contains(done.error, f'invalid value "{flags[1]}" for {flags[0]}', "stderr")


@test
def throttles_are_changed_by_device(t):
    need(t, "blkio")
    with loop_device(t, 1) as (_, number):
        device = {"major": os.major(number), "minor": os.minor(number)}
        name = f"{device['major']}:{device['minor']}"
        container, _ = t.sleeper(limited(blockIO={
            "throttleReadBpsDevice": [device | {"rate": 5 * MIB}],
            "throttleWriteBpsDevice": [device | {"rate": 6 * MIB}]}))
        changed(t, container, resources={"blockIO": {
            "throttleReadBpsDevice": [device | {"rate": 7 * MIB}]}})
        read = value(container, "blkio", "blkio.throttle.read_bps_device", "io.max")
        contains(read, str(7 * MIB), "reading")
        contains(value(container, "blkio", "blkio.throttle.write_bps_device", "io.max"),
                 str(6 * MIB), "writing")
        done = update(t, container, resources={"blockIO": {
            "throttleReadBpsDevice": [device | {"rate": 8 * MIB},
                                      {"major": 200, "minor": 9, "rate": 1}]}})
        eq(done.status, 1, "exit status with a device that does not exist")
        eq(value(container, "blkio", "blkio.throttle.read_bps_device", "io.max"), read,
           "reading, taken back")
        t.teca("delete", "--force", container, expect=0)


@test
def device_rules_are_replaced_at_once_and_only_when_they_differ(t):
    if not any(v2 for _, _, v2 in hierarchies()):
        t.skip("no cgroup v2 hierarchy is mounted")
    rules = [rule(False)]
    config = limited(devices=rules)
    config["linux"]["devices"] = [KMSG]
    container, _ = t.sleeper(config)

    def tried():
        return t.teca("exec", container, "/payload", "call", "openat", "-100", "s:/dev/kmsg",
                      "1").text.split()[-1]

    eq(tried(), "EPERM", "opening it at first")
    changed(t, container, resources={"devices": rules + [rule(True, "w", **HERE)]})
    check(tried() != "EPERM", "opening it is still refused")
    changed(t, container, resources={"pids": {"limit": 100}} if "pids" in controllers() else {})
    check(tried() != "EPERM", "an update of something else took the rule back")
    changed(t, container, resources={"devices": rules})
    eq(tried(), "EPERM", "opening it in the end")


@test
def a_running_memory_hog_is_stopped_by_a_new_limit(t):
    need(t, "memory")
    config = limited(minimal("/bin/sh", "-c", "sleep 1; while :; do dd if=/dev/zero of=/dev/null "
                                              "bs=150M count=1 2>/dev/null; sleep 0.1; done"),
                     memory={"limit": 512 * MIB, "swap": 512 * MIB})
    container = t.create(config, start=True)
    changed(t, container, "--memory", "32m", "--memory-swap", "32m")

    def kills():
        return number_in(value(container, "memory", "memory.oom_control", "memory.events"),
                         "oom_kill")

    wait_until(lambda: kills() > 0, "the hog was killed", 20)
    eq(t.state(container)["status"], "running", "init, which needs little")


@test(seconds=120)
def updates_at_the_same_time_come_one_after_the_other(t):
    """What the files say and what is remembered is one and the same update's."""
    need(t, "pids", "cpu")
    container, _ = t.sleeper()
    workers = [t.popen("update", "--pids-limit", str(100 + n), "--cpu-quota", str(20000 + n),
                       "--cpu-period", "100000", container) for n in range(12)]
    for worker in workers:
        eq((t.end_of(worker), worker.stderr.read()), (0, b""), "an update beside others")
    with open(os.path.join(t.state_root, container, "resources"), encoding="ascii") as f:
        kept = json.load(f)
    n = kept["pids"]["limit"] - 100
    eq(kept["cpu"]["quota"], 20000 + n, "what is remembered")
    eq((value(container, *PIDS), value(container, "cpu", "cpu.cfs_quota_us", "cpu.max").split()[0]),
       (str(100 + n), str(20000 + n)), "limits")


@test(seconds=120)
def an_update_that_is_killed_is_no_obstacle(t):
    need(t, "pids")
    container, _ = t.sleeper()
    for n in range(30):
        process = t.popen("update", "--pids-limit", str(100 + n), container)
        time.sleep(n / 3000)
        process.kill()
        t.end_of(process)
        t.state(container)
    changed(t, container, "--pids-limit", "77")
    eq(value(container, *PIDS), "77", "the limit of the update after those")
    t.teca("delete", "--force", container, expect=0)
    t.nothing_of(container)


@test(seconds=120)
def an_update_during_a_delete_ends_with_a_reason(t):
    need(t, "pids")
    for n in range(6):
        container, _ = t.sleeper()
        workers = [t.popen("update", "--pids-limit", str(50 + i), container) for i in range(4)]
        t.teca("delete", "--force", container, expect=0)
        for worker in workers:
            status, error = t.end_of(worker), worker.stderr.read().decode()
            if status:
                eq(status, 1, "exit status")
                check("does not exist" in error or "not running" in error, f"{n}: {error}")
        t.nothing_of(container)


@test
def a_full_disk_leaves_the_limits_as_they_were(t):
    need(t, "pids")
    t.mount("tiny", t.path("tiny"), "tmpfs", 0, "size=64k,nr_inodes=64")
    t.global_args = ["--root", t.path("tiny")]
    container, _ = t.sleeper(limited(pids={"limit": 9}))
    with open(os.path.join(t.path("tiny"), "full"), "wb", buffering=0) as f:
        with contextlib.suppress(OSError):
            while True:
                f.write(b"x" * 4096)
    done = update(t, container, "--pids-limit", "5", expect=1)
    contains(done.error.lower(), "no space left on device", "stderr")
    eq(value(container, *PIDS), "9", "the limit")
    t.teca("delete", "--force", container, expect=0)
