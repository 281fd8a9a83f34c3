# SPDX-License-Identifier: Apache-2.0
"""
When, where and under which label the process runs: scheduler, I/O priority, CPU affinity, memory
policy, personality, AppArmor, SELinux, resctrl. What the host lacks is refused with the reason.
"""
import json
import os

from harness import cases, check, default, eq, minimal, only_cgroup2, row, test, with_user_namespace

HAS_APPARMOR = os.path.exists("/sys/module/apparmor")
HAS_RESCTRL = os.path.exists("/sys/fs/resctrl/schemata")


def with_linux(config, **members):
    config["linux"].update(members)
    return config


def attributes(t, config, **more):
    """What the process finds; every one of the kernel's numbers."""
    config["process"]["args"] = ["/payload", "attributes"]
    return json.loads(t.ok(config, **more))


def has_selinux():
    with open("/proc/filesystems", encoding="ascii") as f:
        return "\tselinuxfs\n" in f.read()


# ---- scheduler --------------------------------------------------------------------------------

POLICIES = {
    "other": ({"policy": "SCHED_OTHER", "nice": 7}, {"policy": 0, "nice": 7}),
    "other_raised": ({"policy": "SCHED_OTHER", "nice": -5}, {"policy": 0, "nice": -5}),
    "batch": ({"policy": "SCHED_BATCH", "nice": 3}, {"policy": 3, "nice": 3}),
    "idle": ({"policy": "SCHED_IDLE"}, {"policy": 5}),
    "reset_on_fork": ({"policy": "SCHED_OTHER", "flags": ["SCHED_FLAG_RESET_ON_FORK"]},
                      {"policy": 0, "flags": 1}),
    "keep_policy": ({"policy": "SCHED_BATCH", "nice": 4, "flags": ["SCHED_FLAG_KEEP_POLICY"]},
                    {"policy": 0, "nice": 4}),
    "keep_params": ({"policy": "SCHED_BATCH", "nice": 4, "flags": ["SCHED_FLAG_KEEP_PARAMS"]},
                    {"policy": 0, "nice": 0}),
}
REALTIME = {
    "fifo": ({"policy": "SCHED_FIFO", "priority": 12}, {"policy": 1, "priority": 12}),
    "rr": ({"policy": "SCHED_RR", "priority": 1}, {"policy": 2, "priority": 1}),
    "deadline": ({"policy": "SCHED_DEADLINE", "runtime": 1000000, "deadline": 20000000,
                  "period": 40000000, "flags": ["SCHED_FLAG_RECLAIM", "SCHED_FLAG_DL_OVERRUN"]},
                 {"policy": 6, "runtime": 1000000, "deadline": 20000000, "period": 40000000,
                  "flags": 6}),
}


def expect(found, wanted):
    eq({k: found[k] for k in wanted}, wanted, "what the process finds")


@cases(**POLICIES)
@row("PRC-14")
def the_process_has_its_scheduling_policy(t, scheduler, wanted):
    expect(attributes(t, minimal(scheduler=scheduler)), wanted)


@cases(**POLICIES)
def the_runtime_sets_the_policy_of_a_process_in_a_user_namespace(t, scheduler, wanted):
    expect(attributes(t, with_user_namespace(minimal(scheduler=scheduler))), wanted)


@cases(**REALTIME)
@row("PRC-14")
def a_real_time_policy_is_had_where_the_cgroup_grants_it(t, scheduler, wanted):
    only_cgroup2()
    expect(attributes(t, minimal(scheduler=scheduler)), wanted)


@cases(**REALTIME)
def a_real_time_policy_is_had_in_a_user_namespace_too(t, scheduler, wanted):
    only_cgroup2()
    expect(attributes(t, with_user_namespace(minimal(scheduler=scheduler))), wanted)


@test
def create_sets_the_policy_before_start(t):
    config = minimal("/payload", "catch", "15", scheduler={"policy": "SCHED_BATCH", "nice": 2})
    for config in (config, with_user_namespace(config)):
        pid = t.pid(t.create(config))
        eq((os.sched_getscheduler(pid), os.getpriority(os.PRIO_PROCESS, pid)), (3, 2),
           "policy and nice value of the created process")


@cases(
    iso=({"policy": "SCHED_ISO"}, "SCHED_ISO", "no version of Linux has SCHED_ISO"),
    least_runtime=({"policy": "SCHED_DEADLINE", "runtime": 10, "deadline": 20, "period": 20},
                   "SCHED_DEADLINE", "the least runtime is 1024 ns"))
def a_policy_that_the_kernel_refuses_is_named(t, scheduler, policy, reason):
    only_cgroup2()
    t.refused(minimal(scheduler=scheduler),
              f"/process/scheduler: cannot set the scheduling policy {policy}", reason)


@test
def a_v1_cpu_cgroup_without_real_time_runtime_is_told(t):
    if not os.path.exists("/sys/fs/cgroup/cpu/cpu.rt_runtime_us"):
        t.skip("this kernel has no real-time group scheduling, or no v1 cpu hierarchy")
    t.refused(minimal(scheduler={"policy": "SCHED_RR", "priority": 5}),
              "/process/scheduler: cannot set the scheduling policy SCHED_RR: operation not permitted",
              "linux.resources.cpu.realtimeRuntime")


# ---- I/O priority -----------------------------------------------------------------------------

IO = {
    "realtime": ("IOPRIO_CLASS_RT", 3, 1 << 13 | 3),
    "best_effort": ("IOPRIO_CLASS_BE", 7, 2 << 13 | 7),
    "idle": ("IOPRIO_CLASS_IDLE", 0, 3 << 13),
}


@cases(**IO)
@row("PRC-16")
def the_process_has_its_io_priority(t, kind, priority, wanted):
    for config in (minimal(), with_user_namespace(minimal())):
        config["process"]["ioPriority"] = {"class": kind, "priority": priority}
        eq(attributes(t, config)["ioprio"], wanted, "ioprio_get")


# ---- affinity ---------------------------------------------------------------------------------

@test
def a_pinned_caller_does_not_pin_the_container(t):
    every = os.sched_getaffinity(0)
    if len(every) < 2:
        t.skip("one CPU: nothing can be kept from the caller")
    mask = sum(1 << n for n in every)
    os.sched_setaffinity(0, {min(every)})
    eq(attributes(t, minimal())["cpus"], mask, "CPUs of the process, the cpuset hierarchy is there")
    os.sched_setaffinity(0, {max(every)})
    only_cgroup2()
    eq(attributes(t, minimal())["cpus"], mask, "CPUs of the process, cgroup v2 alone")


# ---- memory policy and personality ---------------------------------------------------------------

MEMORY = {
    "default": ({"mode": "MPOL_DEFAULT"}, 0, 0),
    "local": ({"mode": "MPOL_LOCAL"}, 4, 0),
    "bind": ({"mode": "MPOL_BIND", "nodes": "0"}, 2, 1),
    "interleave_static": ({"mode": "MPOL_INTERLEAVE", "nodes": "0", "flags": ["MPOL_F_STATIC_NODES"]},
                          3 | 1 << 15, 1),
    "relative": ({"mode": "MPOL_BIND", "nodes": "0-0", "flags": ["MPOL_F_RELATIVE_NODES"]},
                 2 | 1 << 14, 1),
    "preferred": ({"mode": "MPOL_PREFERRED", "nodes": "0"}, 1, 1),
    "preferred_many": ({"mode": "MPOL_PREFERRED_MANY", "nodes": "0"}, 5, 1),
    "weighted": ({"mode": "MPOL_WEIGHTED_INTERLEAVE", "nodes": "0"}, 6, 1),
    "balancing": ({"mode": "MPOL_BIND", "nodes": "0", "flags": ["MPOL_F_NUMA_BALANCING"]},
                  2 | 1 << 13, 1),
}


@cases(**MEMORY)
@row("MP-1")
def the_process_has_its_memory_policy(t, policy, mode, nodes):
    for config in (minimal(), with_user_namespace(minimal())):
        found = attributes(t, with_linux(config, memoryPolicy=policy))
        eq((found["mode"], found["nodes"]), (mode, nodes), "get_mempolicy")


@cases(
    absent_node=({"mode": "MPOL_BIND", "nodes": "1023"}, "a node is not there"),
    flags=({"mode": "MPOL_BIND", "nodes": "0",
            "flags": ["MPOL_F_STATIC_NODES", "MPOL_F_RELATIVE_NODES"]}, "combination of flags"),
    backwards=({"mode": "MPOL_BIND", "nodes": "3-1"}, "must be numbers and ranges"),
    too_high=({"mode": "MPOL_BIND", "nodes": "0,1024"}, "is no list of nodes"))
@row("MP-1")
def a_memory_policy_that_cannot_be_is_refused(t, policy, reason):
    t.refused(with_linux(minimal(), memoryPolicy=policy), "/linux/memoryPolicy", reason)


@cases(linux=("LINUX", 0), linux32=("LINUX32", 8))
@row("PER-1")
def the_process_has_its_personality(t, domain, number):
    config = with_linux(minimal(), personality={"domain": domain})
    eq(attributes(t, config, command=None)["personality"], number, "personality")


@test
def personality_linux_takes_the_callers_flags_away(t):
    config = minimal("/payload", "attributes")
    config = with_linux(config, personality={"domain": "LINUX"})
    done = t.teca(command=["setarch", "-R", *t.argv("run", "--bundle", t.bundle(config), t.new_id())],
                  expect=0)
    eq(json.loads(done.text)["personality"], 0, "personality under setarch -R")


@test
def linux32_makes_uname_say_a_32_bit_machine(t):
    machine = t.ok(with_linux(minimal("/bin/uname", "-m"), personality={"domain": "LINUX32"}))
    check(machine.strip() in ("i686", "armv8l"), f"uname -m says {machine}")


# ---- labels -----------------------------------------------------------------------------------

@test
@row("PRC-10", "FT-11")
def a_profile_without_apparmor_is_refused(t):
    if HAS_APPARMOR:
        t.skip("this host has AppArmor")
    t.refused(minimal(apparmorProfile="teca-test"),
              "/process/apparmorProfile: AppArmor is not enabled on this host", "'teca-test'")


@test
@row("PRC-15", "LBL-1", "FT-11")
def labels_without_selinux_are_refused(t):
    if has_selinux():
        t.skip("this host has SELinux")
    t.refused(minimal(selinuxLabel="a:b:c:s0"),
              "/process/selinuxLabel: SELinux is not enabled on this host", "'a:b:c:s0'")
    t.refused(with_linux(minimal(), mountLabel="a:b:d:s0"),
              "/linux/mountLabel: SELinux is not enabled on this host", "'a:b:d:s0'")


@test
@row("RDT-1", "FT-13")
def resctrl_that_is_not_mounted_is_told(t):
    if HAS_RESCTRL:
        t.skip("this host has resctrl")
    t.refused(with_linux(minimal(), intelRdt={"l3CacheSchema": "L3:0=f"}),
              "/linux/intelRdt: no resctrl file system is mounted")


# ---- explain ----------------------------------------------------------------------------------

@test
def explain_shows_each_of_them(t):
    config = with_linux(
        minimal(scheduler={"policy": "SCHED_BATCH", "nice": 5},
                ioPriority={"class": "IOPRIO_CLASS_BE", "priority": 4}),
        memoryPolicy={"mode": "MPOL_BIND", "nodes": "0"}, personality={"domain": "LINUX32"})
    text = t.teca("explain", "--bundle", t.bundle(config), "x", expect=0).text
    for part in ("policy=SCHED_BATCH nice=5", "io_class=IOPRIO_CLASS_BE priority=4",
                 "mode=MPOL_BIND nodes=0", "domain=LINUX32"):
        check(part in text, f"{part} is not in {text}")


@test
def the_calls_are_made_once_and_only_when_asked_for(t):
    calls = "sched_setattr,ioprio_set,set_mempolicy,personality,sched_setaffinity"
    asked = with_linux(
        minimal(scheduler={"policy": "SCHED_BATCH"}, ioPriority={"class": "IOPRIO_CLASS_BE"}),
        memoryPolicy={"mode": "MPOL_LOCAL"}, personality={"domain": "LINUX"})
    seen = []
    for config in (default(), asked):
        trace = t.path(f"trace{len(seen)}")
        t.teca(command=["strace", "-f", "-qq", "-e", f"trace={calls}", "-o", trace,
                        *t.argv("run", "--bundle", t.bundle(config), t.new_id())], expect=0)
        with open(trace, encoding="ascii") as f:
            lines = [line.split(None, 1)[1].split("(")[0] for line in f if "(" in line]
        seen.append(sorted(lines))
    eq(seen[0], [], "calls of the default bundle")
    eq(seen[1], ["ioprio_set", "personality", "sched_setattr", "set_mempolicy"], "calls asked for")


# ---- HOME -------------------------------------------------------------------------------------

def home_in(t, rootfs, uid, *env):
    config = minimal(env=list(env), user={"uid": uid, "gid": 0})
    found = [e for e in t.report(config, rootfs=rootfs)["env"] if e.startswith("HOME=")]
    eq(len(found), 1, f"entries of HOME in {found}")
    return found[0]


def root_with_passwd(t, make):
    rootfs = t.own_root()
    where = os.path.join(rootfs, "etc", "passwd")
    if os.path.lexists(where):
        os.unlink(where)
    make(where)
    return rootfs


def passwd(text):
    def make(where):
        with open(where, "w", encoding="utf-8") as f:
            f.write(text)
    return make


@test
def home_is_that_of_the_user_in_the_container(t):
    lines = "".join(f"u{n}:x:{n}:{n}::/home/u{n}:/bin/sh\n" for n in range(1000))
    rootfs = root_with_passwd(t, passwd("root:x:0:0:root:/root:/bin/sh\n" + lines
                                        + "x" * 20000 + "\nlate:x:5000:1::/home/late:"))
    eq(home_in(t, rootfs, 0), "HOME=/root", "HOME of root")
    eq(home_in(t, rootfs, 700), "HOME=/home/u700", "HOME of a user")
    eq(home_in(t, rootfs, 5000), "HOME=/home/late", "HOME behind a line without end")
    eq(home_in(t, rootfs, 4000), "HOME=/", "HOME of a user that is not listed")
    eq(home_in(t, rootfs, 700, "HOME=/mine"), "HOME=/mine", "HOME that is configured")
    eq(home_in(t, rootfs, 700, "HOME="), "HOME=/home/u700", "HOME that is empty")


@cases(absent=lambda where: None, fifo=os.mkfifo, directory=os.mkdir,
       loop=lambda where: os.symlink("passwd", where),
       magic=lambda where: os.symlink("/proc/self/fd/0", where),
       endless=lambda where: os.mknod(where, 0o20666, os.makedev(1, 5)),
       empty=passwd(""), binary=passwd("\0\0:\n:::::::\n"))
def a_hostile_passwd_neither_fails_nor_delays_a_start(t, make):
    eq(home_in(t, root_with_passwd(t, make), 700), "HOME=/", "HOME")
