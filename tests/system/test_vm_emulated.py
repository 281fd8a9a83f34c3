# SPDX-License-Identifier: Apache-2.0
"""
Containers in a machine that QEMU emulates. A boot takes seconds of a processor, so a test looks at many things
in one: --isolation, exit status, signals, bytes, files, terminal, the verbs, what cannot cross.
"""
import fcntl
import glob
import hashlib
import json
import os
import select
import signal
import socket
import struct
import termios
import time

import kernel
from harness import (Failure, allow, cgroups_with, check, contains, default, descendants_of, eq,
                     hierarchies, is_alive, lacks, name_of, test, wait_until, with_mount, without)

MUX_PORT = "org.teca.agent"
SECONDS = 150  # a boot: 3 s of a processor, which others want as well


def shell(text, **process):
    config = default("/bin/sh", "-c", text)
    config["root"]["readonly"] = False
    config["process"]["terminal"] = False
    config["process"].update(process)
    return config


def emulated(t, config, *flags, **more):
    more.setdefault("env", kernel.prepared(t))
    return t.run(config, "--isolation", "emulated", *flags, seconds=SECONDS, **more)


def living():
    """Processes of this test and of its machines, which come to it when their monitors are gone."""
    return [pid for pid, state in descendants_of(os.getpid()) if state not in "ZX"]


def own_machines():
    return [pid for pid in living() if MUX_PORT in name_of(pid)]


@test(seconds=400)
def a_bundle_runs_on_a_kernel_of_its_own(t):
    """Status, bytes both ways, files on the host, users, capabilities, a hook inside, limits."""
    root = t.own_root()
    volume, single = t.path("volume"), t.file("single", "from the host\n")
    os.mkdir(volume)
    os.chmod(volume, 0o777)
    data = os.urandom(1 << 20)
    config = shell("cat >/volume/in; cat /volume/in; uname -r >&2; cat /single >&2; "
                   "echo changed >/root-file; id -u >&2; ln /volume/in /volume/hard; "
                   "cat /sys/fs/cgroup/memory.max >&2; echo no >/ro/x; exit 7")
    config["process"]["user"] = {"uid": 0, "gid": 0, "additionalGids": [5]}
    config["linux"]["resources"]["memory"] = {"limit": 64 << 20}
    config["linux"]["namespaces"].append({"type": "cgroup"})
    with_mount(config, "/volume", "bind", volume, "rbind", "rw")
    with_mount(config, "/single", "bind", single, "bind", "ro")
    with_mount(config, "/ro", "bind", volume, "bind", "ro")
    done = emulated(t, config, rootfs=root, stdin=data)
    said = done.error.splitlines()
    eq(done.status, 7, f"exit status (stderr {done.error!r})")
    eq(hashlib.sha256(done.out).hexdigest(), hashlib.sha256(data).hexdigest(), "stdout")
    eq(said[0], os.path.basename(kernel.get()[1]), "the kernel's release")
    eq(said[1:4], ["from the host", "0", str(64 << 20)], "file, user, memory.max")
    contains(said[4], "Read-only file system", "a write to what is read-only")
    with open(os.path.join(root, "root-file"), encoding="ascii") as f:
        eq(f.read(), "changed\n", "a file of the root, on the host")
    eq(os.stat(os.path.join(volume, "in")).st_nlink, 2, "links")
    eq(sorted(os.listdir(volume)), ["hard", "in"], "the volume")


@test(seconds=400)
def the_verbs_are_those_of_a_container(t):
    env = kernel.prepared(t)
    out = t.path("out")
    config = shell("trap 'echo usr1; exit 130' USR1; echo up; while :; do sleep 0.1; done")
    container, where = t.new_id(), t.bundle(config)
    pid_file = t.path("pid")
    with open(out, "wb") as stdout:
        t.teca("create", "--isolation", "emulated", "--bundle", where, "--pid-file", pid_file,
               container, env=env, seconds=SECONDS, expect=0, stdout=stdout, stderr=stdout)
    state = t.state(container)
    with open(pid_file, encoding="ascii") as f:
        eq(int(f.read()), state["pid"], "the pid file")
    eq(state["status"], "created", "status after create")
    for verb in (["exec", container, "/bin/true"], ["pause", container], ["ps", container],
                 ["events", "--stats", container]):
        contains(t.teca(*verb).error, "in a machine: not supported yet", verb[0])
    eq(t.teca("delete", "--force", "absent").status, 0, "another one")
    t.teca("start", container, seconds=SECONDS, expect=0)
    eq(t.state(container)["status"], "running", "status after start")
    contains(t.teca("start", container).error, "already running", "a second start")

    def said(text):
        with open(out, encoding="utf-8") as f:
            return text in f.read()
    wait_until(lambda: said("up"), "the program speaks", 30)
    t.teca("kill", container, "STOP", expect=0)
    check(is_alive(state["pid"]), "the monitor was stopped in place of the container")
    t.teca("kill", container, "USR1", expect=0)
    time.sleep(1)
    check(not said("usr1"), "a stopped program heard a signal")
    t.teca("kill", container, "CONT", expect=0)
    eq(os.waitstatus_to_exitcode(os.waitpid(state["pid"], 0)[1]), 130, "status of the monitor")
    check(said("usr1"), "the program did not hear the signal")
    eq(t.state(container)["status"], "stopped", "status after the end")
    t.teca("delete", container, expect=0)
    t.nothing_of(container)
    wait_until(lambda: not living(), "the machine ends")


@test(seconds=400)
def a_killed_monitor_takes_its_machine_along(t):
    """... and hooks run on the host, and a run that is interrupted while it boots leaves nothing."""
    env = kernel.prepared(t)
    noted = t.path("noted")
    config = shell("", args=["/payload", "catch", "15"])
    config["hooks"] = {name: [{"path": "/bin/sh", "args": [
        "sh", "-c", f"echo {name} $(tr -d ' ' | grep -o '\"pid\":[0-9]*' | tr -dc 0-9) >>{noted}"],
        "env": ["PATH=/usr/bin:/bin"]}] for name in ("createRuntime", "poststart", "poststop")}
    container, where = t.new_id(), t.bundle(config)
    with open(t.path("out"), "wb") as stdout:
        t.teca("create", "--isolation", "emulated", "--bundle", where, container, env=env,
               seconds=SECONDS, expect=0, stdout=stdout, stderr=stdout)
    pid = t.pid(container)
    t.teca("start", container, seconds=SECONDS, expect=0)
    machines = own_machines()
    check(machines, "no machine runs")
    with open(f"/proc/{machines[0]}/status", encoding="ascii") as f:
        rights = dict(line.rstrip("\n").split(":\t", 1) for line in f)
    eq((rights["Uid"], rights["CapEff"], rights["NoNewPrivs"]),
       ("\t".join(["65534"] * 4), "0" * 16, "1"), "the rights of QEMU")
    t.teca("kill", container, "KILL", expect=0)
    eq(os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1]), -signal.SIGKILL, "how the monitor ended")
    wait_until(lambda: not living(), "the machine ends, and what served it")
    eq(t.state(container)["status"], "stopped", "status")
    t.teca("delete", container, expect=0)
    with open(noted, encoding="ascii") as f:
        eq(f.read().split("\n"), [f"createRuntime {pid}", f"poststart {pid}", "poststop", ""],
           "hooks and the pids that they were told")

    # Interrupted while it boots.
    process = t.popen("run", "--isolation", "emulated", "--bundle", where, t.new_id(), env=env)
    wait_until(own_machines, "the machine is there", 30)
    process.send_signal(signal.SIGTERM)
    eq(t.end_of(process), 1, "status of an interrupted run")
    wait_until(lambda: not living(), "the machine ends, and what served it")
    eq(os.listdir(t.state_root), [], "state that is left")

    # ... and killed.
    process = t.popen("run", "--isolation", "emulated", "--bundle", where, t.new_id(), env=env)
    wait_until(own_machines, "the machine is there", 30)
    process.kill()
    process.wait()
    wait_until(lambda: not living(), "the machine of a killed run ends")


def read_until(master, text, seconds=60):
    got, end = b"", time.monotonic() + allow(seconds)
    while text not in got:
        if not select.select([master], [], [], max(0, end - time.monotonic()))[0]:
            raise Failure(f"no {text!r} on the terminal, but {got!r}")
        try:
            got += os.read(master, 4096)
        except OSError:  # nobody has it open any more
            break
    contains(repr(got), repr(text)[2:-1], "the terminal")
    return got


def value_of(*where):
    with open(os.path.join(*where), encoding="ascii") as f:
        return f.read().strip()


def cgroup_file(path, *names):
    """What a limit is called in v1 or v2, of the cgroup at that path in whichever hierarchy has it."""
    for _, top, _ in hierarchies():
        for name in names:
            if os.path.exists(os.path.join(top, path, name)):
                return value_of(top, path, name)
    raise Failure(f"no cgroup {path} has {names}")


@test(seconds=400)
def a_machine_lies_in_the_cgroup_of_its_container(t):
    """All of its processes, with what is the host's to limit; inside, the container's limits are exact."""
    env, path = kernel.prepared(t), f"{t.token}-top/machine"
    said = ("cat /sys/fs/cgroup/memory.max /sys/fs/cgroup/cpu.max /sys/fs/cgroup/pids.max; "
            "grep -c ^processor /proc/cpuinfo; ulimit -n; exec tail </dev/zero")
    config = shell(said)
    config["linux"]["cgroupsPath"] = "/" + path
    config["linux"]["namespaces"].append({"type": "cgroup"})
    config["linux"]["resources"] = {
        "memory": {"limit": 64 << 20}, "pids": {"limit": 33},
        "cpu": {"quota": 150000, "period": 100000, "cpus": "0-1", "mems": "0"}}
    config["process"]["rlimits"] = []
    container, where, out = t.new_id(), t.bundle(config), t.path("out")
    left = t.file("left-open")
    left_open = os.open(left, os.O_RDONLY)
    with open(out, "wb") as stdout:
        t.teca("create", "--isolation", "emulated", "--bundle", where, container, seconds=SECONDS,
               expect=0, stdout=stdout, stderr=stdout, pass_fds=(left_open,),
               command=["prlimit", "--nofile=333:444",
                        *t.argv("create", "--isolation", "emulated", "--bundle", where, container)],
               env=env)
    pid = t.pid(container)
    there = [pid, *(p for p, _ in descendants_of(pid))]
    check(len(there) >= 3, f"monitor, QEMU and virtiofsd: {[name_of(p) for p in there]}")
    for process in there:
        with open(f"/proc/{process}/cgroup", encoding="ascii") as f:
            outside = [line for line in f if not line.rstrip().endswith("/" + path)]
        eq(outside, [], f"cgroups of {name_of(process)}")
        lacks([os.readlink(link) for link in glob.glob(f"/proc/{process}/fd/*")
               if os.path.lexists(link)], left, f"files of {name_of(process)}")
    limit = int(cgroup_file(path, "memory.limit_in_bytes", "memory.max"))
    check(192 << 20 < limit < 1 << 30, f"{limit} bytes for the machine")
    check(1 < int(cgroup_file(path, "pids.max")) < 1000, "tasks of the machine")
    contains(cgroup_file(path, "cpu.cfs_quota_us", "cpu.max"), "150000", "the quota")
    eq(cgroup_file(path, "cpuset.cpus"), "0-1", "processors of the host")
    t.teca("start", container, seconds=SECONDS, expect=0)
    # tail keeps a line that does not end: the container's limit is met, not the machine's.
    eq(os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1]), -signal.SIGKILL, "how it ended")
    eq(value_of(out).split("\n"), [str(64 << 20), "150000 100000", "33", "2", "333"], "inside")
    t.teca("delete", container, expect=0)
    eq(cgroups_with(f"{t.token}-top"), [], "cgroups that are left")


@test(seconds=400)
def a_terminal_is_one_on_both_sides(t):
    """Sizes, keys that are signals, a resize, and the end by a signal."""
    env = kernel.prepared(t)
    config = shell("stty size; trap 'stty size' WINCH; trap 'exit 77' INT; echo ready; "
                   "while :; do read -r line && echo \"<$line>\"; done", terminal=True,
                   consoleSize={"height": 33, "width": 77})
    listener = socket.socket(socket.AF_UNIX)
    listener.bind(t.path("console"))
    listener.listen(1)
    container, where = t.new_id(), t.bundle(config)
    t.teca("create", "--isolation", "emulated", "--bundle", where, "--console-socket",
           t.path("console"), container, env=env, seconds=SECONDS, expect=0)
    connection = listener.accept()[0]
    _, fds, _, _ = socket.recv_fds(connection, 100, 1)
    master = fds[0]
    pid = t.pid(container)
    t.teca("start", container, seconds=SECONDS, expect=0)
    contains(read_until(master, b"ready\r\n").decode(), "33 77\r\n", "the size")
    os.write(master, b"hello\n")
    read_until(master, b"<hello>\r\n")
    fcntl.ioctl(master, termios.TIOCSWINSZ, struct.pack("HHHH", 50, 132, 0, 0))
    os.write(master, b"x\n")  # the shell runs a trap between two reads
    read_until(master, b"50 132\r\n")
    os.write(master, b"\x03")  # ^C: SIGINT to the shell's foreground group, in the guest
    eq(os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1]), 77, "the end")
    os.close(master)
    t.teca("delete", container, expect=0)


@test(seconds=400)
def what_goes_wrong_in_a_machine_is_one_sentence(t):
    env = kernel.prepared(t)
    done = emulated(t, shell("x", args=["/bin/absent"]), env=env)
    eq(done.status, 1, "a program that is not there")
    contains(done.error, "/process/args/0", "stderr")
    eq(done.error.count("\n"), 1, "lines")
    # The guest's kernel panics: the monitor says what the console said last.
    config = shell("echo 1 >/proc/sys/kernel/sysrq; echo c >/proc/sysrq-trigger; sleep 60")
    config["linux"]["maskedPaths"] = []
    config["linux"]["readonlyPaths"] = []
    caps = ["CAP_SYS_ADMIN", "CAP_SYS_BOOT"]
    config["process"]["capabilities"] = {k: caps for k in ("bounding", "effective", "permitted")}
    done = emulated(t, config, env=env)
    eq(done.status, 255, f"a kernel that panics: {done.error!r}")
    contains(done.error, "the machine ended before its container", "stderr")
    wait_until(lambda: not living(), "the machine ends")


@test(seconds=400)
def the_vm_object_says_which_kernel_processors_and_memory(t):
    env = kernel.prepared(t)
    config = shell("cat /proc/cmdline; grep -c ^processor /proc/cpuinfo; grep MemTotal /proc/meminfo")
    config["vm"] = {"kernel": {"path": kernel.get()[0], "parameters": ["teca.test=1", "nokaslr"]},
                    "hypervisor": {"path": "/usr/bin/qemu-system-x86_64",
                                   "parameters": ["-name", t.token]},
                    "hwConfig": {"vcpus": 2, "memory": 320 << 20}}
    done = emulated(t, config, env=env)
    eq((done.status, done.error), (0, ""), "status and stderr")
    line, processors, memory = done.text.splitlines()
    check(line.endswith(" teca.test=1 nokaslr"), f"the command line is {line}")
    eq(processors, "2", "processors")
    total = int(memory.split()[1]) >> 10
    check(250 < total < 320, f"{total} MiB of memory")
    config["vm"]["hypervisor"]["parameters"] = ["-no-such-option"]
    done = emulated(t, config, env=env)
    eq(done.status, 1, "with an option that QEMU does not know")
    contains(done.error, "-no-such-option: invalid option", "stderr")


REFUSED = {
    "joined": (lambda c: c["linux"]["namespaces"].append({"type": "user", "path": "/proc/1/ns/user"}),
               "/linux/namespaces/5/path", "cannot join"),
    "listener": (lambda c: c["linux"].update(seccomp={"defaultAction": "SCMP_ACT_ALLOW",
                                                      "listenerPath": "/x",
                                                      "syscalls": [{"names": ["mkdir"],
                                                                    "action": "SCMP_ACT_NOTIFY"}]}),
                 "/linux/seccomp/listenerPath", "not supported yet"),
    "image": (lambda c: c.update(vm={"kernel": {"path": "/k"},
                                     "image": {"path": "/i", "format": "raw"}}),
              "/vm/image", "not supported yet"),
    "kernel": (lambda c: c.update(vm={"kernel": {"path": "/absent/kernel"}}),
               "/vm/kernel/path", "No such file"),
    "memory": (lambda c: c.update(vm={"kernel": {"path": "/k"}, "hwConfig": {"memory": 1 << 20}}),
               "/vm/hwConfig/memory", "128 MiB"),
    "device": (lambda c: with_mount(c, "/null", "bind", "/dev/null", "bind"),
               "/mounts/", "is a device: it cannot cross"),
}


@test(seconds=200)
def what_cannot_cross_is_refused_by_name(t):
    env = kernel.prepared(t)
    for name, (change, *parts) in REFUSED.items():
        config = shell("exit 0")
        change(config)
        done = emulated(t, config, env=env)
        eq(done.status, 1, f"{name}: status ({done.error!r})")
        for part in parts:
            contains(done.error, part, name)
    config = without(shell("exit 0"), "network")
    contains(emulated(t, config, env=env).error, "cannot share the host's network", "host network")
    done = emulated(t, shell("exit 0"), "--preserve-fds", "1", env=env)
    contains(done.error, "--preserve-fds", "more fds")
    eq(os.path.isdir(t.state_root) and os.listdir(t.state_root), [], "state that is left")


@test(seconds=60)
def who_decides_is_the_flag_then_the_annotation_then_the_vm_object(t):
    config = shell("exit 3")
    config["annotations"] = {"org.teca.isolation": "vm"}
    done = t.run(config)
    eq(done.status, 1, "vm by annotation")
    contains(done.error, "/annotations/org.teca.isolation", "stderr")
    contains(done.error, "--isolation emulated", "stderr")
    eq(t.run(config, "--isolation", "container").status, 3, "a container by flag")
    config["annotations"] = {"org.teca.isolation": "glass"}
    contains(t.run(config).error, "must be one of container, vm, emulated", "nonsense")
    config["annotations"] = {}
    config["vm"] = {"kernel": {"path": "/k"}}
    contains(t.run(config).error, "/vm: isolation \"vm\"", "vm by object")
    eq(t.run(config, "--isolation", "container").status, 3, "a container in spite of the object")
    del config["vm"]
    config["annotations"] = {"org.teca.isolation": "emulated"}
    done = t.teca("explain", "--bundle", t.bundle(config))
    contains(done.error, "not supported yet", "explain of a machine")
    eq(json.loads(t.teca("list", "--format", "json", expect=0).text) or [], [], "containers")
