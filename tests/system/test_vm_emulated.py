# SPDX-License-Identifier: Apache-2.0
"""
Containers in a machine that QEMU emulates. A boot takes seconds of a processor, so a test looks at many things
in one: --isolation, exit status, signals, bytes, files, terminal, the verbs, what cannot cross.
"""
import contextlib
import fcntl
import glob
import gzip
import hashlib
import json
import os
import resource
import select
import signal
import socket
import struct
import subprocess
import termios
import time

import kernel
from harness import (Failure, allow, capabilities, cgroups_with, check, contains, default, descendants_of, eq,
                     hierarchies, is_alive, joined, lacks, name_of, row, test, wait_until, with_mount, without)

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


def processes_and_numbers(t, container):
    """ps, events, stats, checkpoint; every process is signalled; nobody else could have met the file server."""
    with open(f"/proc/{t.pid(container)}/net/unix", encoding="utf-8") as f:
        lacks(f.read(), "@", "sockets that whoever is in the network namespace may connect to")
    done = t.teca("exec", "--detach", container, "sh", "-c", "trap 'sleep 77777' USR2; "
                  "while :; do sleep 0.1; done", seconds=60, expect=0)
    pids = json.loads(t.teca("ps", "--format", "json", container, seconds=60, expect=0).text)
    check(len(pids) >= 2 and all(isinstance(pid, int) for pid in pids), f"the pids {pids}")
    lines = t.teca("ps", container, seconds=60, expect=0).text.splitlines()
    eq(lines[0].split(), ["UID", "PID", "PPID", "C", "STIME", "TTY", "TIME", "CMD"], "the header")
    check(any("trap 'echo usr1" in line and int(line.split()[1]) in pids for line in lines),
          f"the lines {lines}")
    contains(t.teca("ps", container, "-e").error, "cannot run ps", "ps with arguments")
    t.teca("kill", "--all", container, "USR2", seconds=60)
    wait_until(lambda: "sleep 77777" in commands_in(t, container), "all have heard it", 60)
    done = t.teca("events", "--stats", container, seconds=60, expect=0)
    event = json.loads(done.text)
    eq((event["type"], event["id"]), ("stats", container), "the event")
    memory = event["machine"]["memory"]
    check(30 << 20 < memory["guest"] < 512 << 20 and memory["monitor"] > 1 << 20
          and 0 < memory["share"] < 64 << 20, f"memory of the machine: {memory}")
    check(event["data"]["pids"]["current"] >= 2 and event["data"]["cpu"]["usage"]["total"] > 0 and
          event["data"]["memory"]["usage"]["usage"] > 0, f"the numbers {event}")
    stream = t.popen("events", "--interval", "1s", container)
    for _ in range(2):
        eq(json.loads(t.read_line(stream, 60))["type"], "stats", "one of a stream")
    stream.send_signal(signal.SIGTERM)
    eq(t.end_of(stream), 0, "the end of the stream")
    eq(t.teca("stats", "--no-stream", container, seconds=60, expect=0).text.split("\n")[1].split()[0],
       container, "a row of stats")
    contains(t.teca("checkpoint", container).error,
             "a container in a machine cannot be checkpointed", "checkpoint")


def a_paused_one(t, container, out):
    """Frozen, its program does nothing; the guest answers."""
    t.teca("pause", container, seconds=60, expect=0)
    eq(t.state(container)["status"], "paused", "status")
    contains(t.teca("pause", container).error, "it is paused", "a second pause")
    t.teca("kill", container, "HUP", expect=0)
    time.sleep(1)
    with open(out, encoding="utf-8") as f:
        check("hup" not in f.read(), "a paused program heard a signal")
    eq(t.teca("exec", container, "true").status, 255, "exec in a paused container")
    check(json.loads(t.teca("ps", "--format", "json", container, seconds=60, expect=0).text),
          "no processes")
    t.teca("resume", container, seconds=60, expect=0)
    eq(t.state(container)["status"], "running", "status")
    contains(t.teca("resume", container).error, "not paused", "a second resume")

    def heard():
        with open(out, encoding="utf-8") as f:
            return "hup" in f.read()
    wait_until(heard, "the program goes on", 30)


def new_limits(t, container):
    t.teca("update", "--pids-limit", "77", "--memory", "100M", "--cpu-quota", "50000", container,
           seconds=60, expect=0)
    done = t.teca("exec", container, "sh", "-c", "cd /sys/fs/cgroup; cat pids.max memory.max cpu.max",
                  seconds=60, expect=0)
    eq(done.text.splitlines(), ["77", str(100 << 20), "50000 100000"], "limits inside")
    for args, part in ((("--memory", "1G"), "/linux/resources/memory/limit: the machine has 512 MiB"),
                       (("--l3-cache-schema", "L3:0=f"), "/linux/intelRdt"),
                       (("--cpu-rt-runtime", "5000"), "/linux/resources/cpu/realtimeRuntime")):
        done = t.teca("update", *args, container, seconds=60)
        eq(done.status, 1, args[0])
        contains(done.error, part, args[0])


@test(seconds=400)
def the_verbs_are_those_of_a_container(t):
    env = kernel.prepared(t)
    out = t.path("out")
    config = shell("trap 'echo usr1; exit 130' USR1; trap 'echo hup' HUP; trap : USR2; echo up; "
                   "while :; do sleep 0.1; done")
    config["linux"]["namespaces"].append({"type": "cgroup"})
    container, where = t.new_id(), t.bundle(config)
    pid_file = t.path("pid")
    with open(out, "wb") as stdout:
        t.teca("create", "--isolation", "emulated", "--bundle", where, "--pid-file", pid_file,
               container, env=env, seconds=SECONDS, expect=0, stdout=stdout, stderr=stdout)
    state = t.state(container)
    with open(pid_file, encoding="ascii") as f:
        eq(int(f.read()), state["pid"], "the pid file")
    eq(state["status"], "created", "status after create")
    eq(t.teca("delete", "--force", "absent").status, 0, "another one")
    t.teca("start", container, seconds=SECONDS, expect=0)
    eq(t.state(container)["status"], "running", "status after start")
    contains(t.teca("start", container).error, "already running", "a second start")

    def said(text):
        with open(out, encoding="utf-8") as f:
            return text in f.read()
    wait_until(lambda: said("up"), "the program speaks", 30)
    processes_and_numbers(t, container)
    a_paused_one(t, container, out)
    new_limits(t, container)
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


def machine(t, config, *flags, **more):
    """A container that runs in a machine of its own: its ID."""
    container, where = t.new_id(), t.bundle(config, **more)
    with open(t.path("out"), "wb") as out:
        t.teca("create", "--isolation", "emulated", "--bundle", where, *flags, container,
               env=kernel.prepared(t), seconds=SECONDS, expect=0, stdout=out, stderr=out)
    t.teca("start", container, seconds=SECONDS, expect=0)
    return container


def commands_in(t, container):
    """What ps(1) of busybox says in there."""
    return t.teca("exec", container, "ps", "-o", "args", seconds=60, expect=0).text


def ends_as(pid):
    return os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1])


def words_of_exec(t, container):
    """Options, statuses, failures."""
    def run(*args, **more):
        return t.teca("exec", *args, seconds=60, **more)
    done = run("--cwd", "/tmp", "--env", "A=a b", "--env", "E=", "--user", "5:6",
               "--additional-gids", "7", "--no-new-privs", "--cap", "CAP_SYS_TIME", container, "sh",
               "-c", "pwd; echo \"<$A$E>\"; id; grep NoNew /proc/self/status; exit 7")
    eq((done.status, done.error), (7, ""), "status and stderr")
    eq(done.text.splitlines(), ["/tmp", "<a b>", "uid=5 gid=6 groups=7", "NoNewPrivs:\t1"],
       "cwd, env, user, no_new_privs")
    eq(run(container, "sh", "-c", "kill -9 $$").status, 137, "a process that is killed")
    eq(run(container, "sh", "-c", "echo \"$#$1\"", "x", "", "--env").text, "2\n", "empty words")
    process = t.file("process.json", json.dumps({
        "args": ["sh", "-c", "echo $B; pwd"], "cwd": "/etc", "env": ["B=b", "PATH=/bin"]}))
    eq(run("--process", process, container).text, "b\n/etc\n", "a process of a file")
    for args, part in (((container, "/bin/absent"), "no such file"),
                       (("--cwd", "/absent", container, "true"), "chdir to cwd"),
                       (("--user", "x", container, "true"), "not a numeric ID"),
                       (("--preserve-fds", "1", container, "true"), "cannot cross into a machine"),
                       (("--detach", "--tty", container, "true"), "console socket")):
        done = run(*args)
        eq(done.status, 255, f"exec {args[0]} {args[1]}")
        contains(done.error, part, f"exec {args[0]} {args[1]}")
        check(done.error.startswith("teca: exec failed: ") and done.error.count("\n") == 1,
              f"{args}: {done.error!r}")


def bytes_of_exec(t, container):
    """Both ways, more than any buffer holds; several at once; a reader that goes; who is left behind."""
    data = os.urandom(3 << 20)
    done = t.teca("exec", container, "sh", "-c", "tee /dev/stderr", stdin=data, seconds=120,
                  expect=0)
    for name, got in (("stdout", done.out), ("stderr", done.err)):
        eq(hashlib.sha256(got).hexdigest(), hashlib.sha256(data).hexdigest(), name)
    many = [t.popen("exec", container, "sh", "-c", f"read x; echo {i}$x", stdin=subprocess.PIPE)
            for i in range(12)]
    for one in reversed(many):
        one.stdin.write(b"!\n")
        one.stdin.flush()
    for i, one in enumerate(many):
        eq(one.stdout.read(), f"{i}!\n".encode(), "one of several")
        eq(one.wait(), 0, "status of one of several")
    one = t.popen("exec", container, "yes")
    one.stdout.readline()
    one.stdout.close()
    eq(one.wait(timeout=allow(60)), 141, "a program whose reader has gone")
    # What the program leaves behind has its pipe, and holds nobody up.
    one = t.popen("exec", container, "sh", "-c", "(sleep 1; echo late) & echo first; exit 3")
    eq(one.wait(timeout=allow(60)), 3, "status, while another still writes")
    eq(one.stdout.read(), b"first\nlate\n", "the output of both")
    for _ in range(3):  # numbers are used again
        for one in [t.popen("exec", container, "true") for _ in range(25)]:
            eq(one.wait(timeout=allow(100)), 0, "one of many")


def signals_of_exec(t, container):
    """The pid on the host stands for the process; who is killed takes it along."""
    pid_file = t.path("exec-pid")
    heeding = ["sh", "-c", "trap 'exit 9' TERM; echo ready; while :; do sleep 0.1; done"]
    said = os.open(t.path("said"), os.O_RDWR | os.O_CREAT)
    t.teca("exec", "--detach", "--pid-file", pid_file, container, *heeding, seconds=60, expect=0,
           stdout=said)
    with open(pid_file, encoding="ascii") as f:
        pid = int(f.read())
    wait_until(lambda: os.pread(said, 10, 0) == b"ready\n", "the program speaks", 30)
    eq(value_of(f"/proc/{pid}/cgroup"), value_of(f"/proc/{t.pid(container)}/cgroup"), "its cgroups on the host")
    check(value_of(f"/proc/{pid}/cgroup") != value_of("/proc/self/cgroup"), "it is in the caller's cgroups")
    os.kill(pid, signal.SIGTERM)
    eq(ends_as(pid), 9, "status of what stands for a detached process")
    one = t.popen("exec", container, *heeding)
    eq(t.read_line(one, 60), "ready", "the program")
    one.send_signal(signal.SIGTERM)
    eq(one.wait(timeout=allow(60)), 9, "a signal for exec in the foreground")
    t.teca("exec", "--detach", "--pid-file", pid_file, container, "sleep", "4321", seconds=60,
           expect=0)
    contains(commands_in(t, container), "sleep 4321", "processes")
    with open(pid_file, encoding="ascii") as f:
        pid = int(f.read())
    os.kill(pid, signal.SIGKILL)
    eq(ends_as(pid), -signal.SIGKILL, "what stands for it")
    wait_until(lambda: "sleep 4321" not in commands_in(t, container), "it ends in the guest", 60)


def terminal_of_exec(t, container):
    where = t.path("exec-console")
    listener = socket.socket(socket.AF_UNIX)
    listener.bind(where)
    listener.listen(1)
    process = t.file("terminal.json", json.dumps({
        "terminal": True, "consoleSize": {"height": 33, "width": 77}, "cwd": "/",
        "env": ["PATH=/bin"], "args": ["sh", "-c", "stty size; trap 'exit 7' INT; echo ready; "
                                       "until [ \"$(stty size)\" = '50 132' ]; do sleep 0.1; done; echo resized; "
                                       "while read -r x; do echo \"<$x>\"; done"]}))
    t.teca("exec", "--detach", "--console-socket", where, "--pid-file", t.path("exec-pid"),
           "--process", process, container, seconds=60, expect=0)
    with open(t.path("exec-pid"), encoding="ascii") as f:
        pid = int(f.read())
    _, (master,), _, _ = socket.recv_fds(listener.accept()[0], 100, 1)
    contains(read_until(master, b"ready\r\n").decode(), "33 77\r\n", "the size")
    fcntl.ioctl(master, termios.TIOCSWINSZ, struct.pack("HHHH", 50, 132, 0, 0))
    read_until(master, b"resized\r\n")
    os.write(master, b"x\n")
    read_until(master, b"<x>\r\n")
    os.write(master, b"\x03")
    eq(ends_as(pid), 7, "the end by a key")
    os.close(master)


@test(seconds=600)
def exec_adds_processes_to_a_machine(t):
    container = machine(t, shell("while :; do sleep 1; done"))
    words_of_exec(t, container)
    bytes_of_exec(t, container)
    signals_of_exec(t, container)
    terminal_of_exec(t, container)
    # The container ends, and every process in it, as by its init's end.
    one = t.popen("exec", container, "sh", "-c", "echo up; sleep 1000")
    eq(t.read_line(one, 60), "up", "a process")
    pid = t.pid(container)
    t.teca("pause", container, seconds=60, expect=0)
    contains(t.teca("delete", container).error, "not stopped: paused", "delete without force")
    t.teca("delete", "--force", container, expect=0)
    eq(one.wait(timeout=allow(60)), 137, "exec when the monitor is killed")
    ends_as(pid)
    t.nothing_of(container)
    wait_until(lambda: not living(), "the machine ends")
    contains(t.teca("exec", container, "true").error, "does not exist", "exec after the end")


# What a server of files for any owner needs: CHOWN DAC_OVERRIDE FOWNER FSETID SETGID SETUID MKNOD SETFCAP.
SERVER_CAPS = sum(1 << number for number in (0, 1, 3, 4, 6, 7, 27, 31))


def status_of(pid):
    with open(f"/proc/{pid}/status", encoding="ascii") as f:
        return dict(line.rstrip("\n").split(":\t", 1) for line in f)


def files_of(pid):
    """What it has open. It may close one while they are looked at, as a file server does for what its guest has closed."""
    found = []
    for link in glob.glob(f"/proc/{pid}/fd/*"):
        with contextlib.suppress(FileNotFoundError):
            found.append(os.readlink(link))
    return found


def mounts_of(pid):
    """[(where, options)] of what it can reach."""
    with open(f"/proc/{pid}/mountinfo", encoding="utf-8") as f:
        return [(line.split()[4], line.split()[5].split(",")) for line in f]


def jailed(monitor, cache):
    """QEMU is nobody in a root of its own that nobody writes to; virtiofsd has the share and what makes files."""
    children = [pid for pid, state in descendants_of(monitor) if state not in "ZX"]
    (qemu,) = [pid for pid in children if MUX_PORT in name_of(pid)]
    (server,) = [pid for pid in children if "virtiofsd" in name_of(pid)]
    eq(len(children), 2, "processes of the machine")
    rights = status_of(qemu)
    eq((rights["Uid"], rights["Gid"], rights["Groups"].strip(), rights["CapPrm"], rights["CapEff"]),
       ("\t".join(["65534"] * 4), "\t".join(["65534"] * 4), "", "0" * 16, "0" * 16), "QEMU")
    rights = status_of(server)
    eq([int(rights[kind], 16) for kind in ("CapEff", "CapPrm", "CapBnd", "CapInh", "CapAmb")],
       [SERVER_CAPS] * 2 + [0] * 3, "capabilities of the server")
    for pid in (qemu, server):
        rights = status_of(pid)
        eq((rights["NoNewPrivs"], rights["Seccomp"], rights["NSpid"].split()[-1]), ("1", "2", "1"),
           f"rights of {name_of(pid)}")
        for kind in ("mnt", "pid", "net", "ipc", "uts"):
            check(os.readlink(f"/proc/{pid}/ns/{kind}") not in
                  (os.readlink(f"/proc/self/ns/{kind}"), os.readlink(f"/proc/{monitor}/ns/{kind}")),
                  f"the {kind} namespace of {name_of(pid)} is not its own")
        for file in files_of(pid):
            own = ("/share", "/processes/1/") if pid == server else (cache + "/kernel-",)
            check(file.startswith(("socket:", "anon_inode:", "/dev/null", "/memfd:", *own)),
                  f"{name_of(pid)} has {file}")
    eq(sorted(os.listdir(f"/proc/{server}/root")), ["network", "root"],
       "the root of the server: the container's, and what hooks may have made")
    root = f"/proc/{qemu}/root"
    check(set(os.listdir(root)) <= {"etc", "proc", "lib", "lib32", "lib64", "libx32", "usr"},
          f"the root of QEMU: {os.listdir(root)}")
    eq(os.listdir(f"{root}/etc"), ["ld.so.cache"], "its /etc")
    eq([name for name in os.listdir(f"{root}/proc") if name[0] < "a"], ["1"], "processes that it sees")
    eq(os.listdir(f"{root}/usr/bin"), ["qemu-system-x86_64"], "its programs")
    for where, options in mounts_of(qemu):
        check({"ro", "nosuid", "nodev"} <= set(options), f"QEMU's {where} is {options}")


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
    jailed(pid, env["TECA_CACHE"])
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
    killed = t.new_id()
    process = t.popen("run", "--isolation", "emulated", "--bundle", where, killed, env=env)
    wait_until(own_machines, "the machine is there", 30)
    process.kill()
    process.wait()
    t.teca("delete", "--force", killed, expect=0)
    t.nothing_of(killed)
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
        lacks(files_of(process), left, f"files of {name_of(process)}")
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
    os.write(master, b"x\n")  # the shell runs a trap between two reads; the key's echo may come amidst
    read_until(master, b"50 132")
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
    # Whoever has the guest's kernel run a program for it is root there, and sees what the agent does: the top of the
    # share is nobody's to write. Then the agent loses its stack: a kernel without its first process panics.
    root = t.own_root()
    with open(os.path.join(root, "escape"), "w", encoding="ascii") as f:
        f.write("cd /run/teca-share; [ -e root/made ] && exit  # the agent's own core\n"
                "ls >root/said; (echo no >file; mkdir root/made) 2>>root/said\n"
                "echo over >>root/said; sync\n"
                "while read range rest; do case $rest in *'[stack]')\n"
                "  begin=0x${range%-*} end=0x${range#*-}\n"
                "  root/bin/busybox dd if=/dev/zero of=/proc/1/mem bs=4096 conv=notrunc \\\n"
                "    seek=$((begin / 4096)) count=$(((end - begin) / 4096));;\n"
                "esac; done </proc/1/maps\n")
    config = shell("echo '|/run/teca-share/root/bin/sh /run/teca-share/root/escape' >/proc/sys/kernel/core_pattern; "
                   "export PATH=/bin; sh -c 'kill -SEGV $$'; sleep 60")
    config["linux"]["maskedPaths"] = []
    config["linux"]["readonlyPaths"] = []
    done = emulated(t, config, env=env, rootfs=root)
    eq(done.status, 255, f"a kernel that panics: {done.error!r}")
    contains(done.error.splitlines()[-1], "teca: the machine ended before its container", "stderr")
    contains(done.error.splitlines()[-1], "Attempted to kill init", "stderr")
    eq(value_of(root, "said").split("\n"), [
        "root", "/run/teca-share/root/escape: line 2: can't create file: Read-only file system", "over"],
       "what root of the guest has of the share")
    check(os.path.isdir(os.path.join(root, "made")), "the container's root was not to be written")
    wait_until(lambda: not living(), "the machine ends")


def initrd_with(t, files):
    """A compressed archive as the kernel unpacks it: "newc" of cpio(5)."""
    out = b""
    for number, (name, data) in enumerate((files | {"TRAILER!!!": b""}).items(), 1):
        mode = 0o40755 if data is None else 0o100644
        fields = (number, mode, 0, 0, 1, 0, len(data or b""), 0, 0, 0, 0, len(name) + 1, 0)
        out += b"070701" + "".join(f"{f:08x}" for f in fields).encode() + name.encode() + b"\0"
        out += bytes(-len(out) % 4) + (data or b"")
        out += bytes(-len(out) % 4)
    return t.file("initrd.gz", gzip.compress(out) + b"\0")


@test(seconds=400)
@row("VM-1", "VM-2", "VM-4")
def the_vm_object_says_which_kernel_processors_and_memory(t):
    env = kernel.prepared(t)
    image, modules = kernel.get()
    began = time.time() - 1
    with open(os.path.join(modules, "kernel/drivers/net/dummy.ko"), "rb") as f:
        initrd = initrd_with(t, {"modules": None, "modules/50-dummy": f.read()})
    os.symlink("/usr/bin/qemu-system-x86_64", t.path("emulator"))
    config = shell("cat /proc/cmdline; grep -c ^processor /proc/cpuinfo; grep MemTotal /proc/meminfo; "
                   "cut -d' ' -f1 /proc/modules | tr '\\n' ' '")
    config["vm"] = {"kernel": {"path": image, "initrd": initrd,
                               "parameters": ["teca.test=1", "nokaslr"]},
                    "hypervisor": {"path": t.path("emulator"),
                                   "parameters": ["-name", t.token]},
                    "hwConfig": {"vcpus": 2, "memory": 320 << 20}}
    done = emulated(t, config, env=env)
    eq((done.status, done.error), (0, ""), "status and stderr")
    line, processors, memory, loaded = done.text.splitlines()
    check({"dummy", "virtiofs"} <= set(loaded.split()), f"the modules are {loaded}")
    check(line.endswith(" teca.test=1 nokaslr"), f"the command line is {line}")
    eq(processors, "2", "processors")
    total = int(memory.split()[1]) >> 10
    check(250 < total < 320, f"{total} MiB of memory")
    # What is made of somebody's initrd, with what it may hold, is nobody's to read but its owner's.
    kept = [os.path.join(at, name) for at, _, names in os.walk(env["TECA_CACHE"]) for name in names
            if name.startswith("initrd-") and os.stat(os.path.join(at, name)).st_mtime >= began]
    check(kept, "what was made of the initrd")
    for path in kept:
        eq(os.stat(os.path.dirname(path)).st_mode & 0o7777, 0o700, f"the mode of the directory of {path}")
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
              "/vm/image/path", "No such file"),
    "format": (lambda c: c.update(vm={"kernel": {"path": "/k"},
                                      "image": {"path": "/i", "format": "qcow2"}}),
               "/vm/image/format", "raw images only, not qcow2"),
    "kernel": (lambda c: c.update(vm={"kernel": {"path": "/absent/kernel"}}),
               "/vm/kernel/path", "No such file"),
    "initrd": (lambda c: c.update(vm={"kernel": {"path": kernel.get()[0], "initrd": "/absent/initrd"}}),
               "/vm/kernel/initrd", "No such file"),
    "no emulator": (lambda c: c.update(vm={"kernel": {"path": kernel.get()[0]}, "hypervisor": {"path": "/absent"}}),
                    "cannot find '/absent'", "No such file"),
    "no program": (lambda c: c.update(vm={"kernel": {"path": kernel.get()[0]},
                                          "hypervisor": {"path": "/etc/passwd"}}),
                   "cannot execute '/etc/passwd'", "Permission denied"),
    "script": (lambda c: c.update(vm={"kernel": {"path": kernel.get()[0]}, "hypervisor": {"path": "/usr/bin/ldd"}}),
               "cannot execute '/usr/bin/ldd'", "no script"),
    "memory": (lambda c: c.update(vm={"kernel": {"path": "/k"}, "hwConfig": {"memory": 1 << 20}}),
               "/vm/hwConfig/memory", "128 MiB"),
    "device": (lambda c: with_mount(c, "/null", "bind", "/dev/null", "bind"),
               "/mounts/", "is a device: it cannot cross"),
    "procfs": (lambda c: with_mount(c, "/host", "bind", "/proc", "rbind", "ro"),
               "/mounts/", "'/proc' is of a procfs: it cannot cross"),
    "file of procfs": (lambda c: with_mount(c, "/cpuinfo", "bind", "/proc/cpuinfo", "bind"),
                       "/mounts/", "'/proc/cpuinfo' is of a procfs: it cannot cross"),
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
    contains(t.run(config).error, "must be one of container, vm, emulated, auto", "nonsense")
    config["annotations"] = {}
    config["vm"] = {"kernel": {"path": "/k"}}
    contains(t.run(config).error, "/vm: isolation \"vm\"", "vm by object")
    eq(t.run(config, "--isolation", "container").status, 3, "a container in spite of the object")
    del config["vm"]
    config["annotations"] = {"org.teca.isolation": "emulated"}
    env = kernel.prepared(t)
    config["linux"]["resources"] = {"memory": {"limit": 64 << 20}}
    steps = json.loads(t.teca("explain", "--format", "json", "--bundle", t.bundle(config), expect=0,
                              env=env).text)
    told = [step["operation"] for step in steps["steps"]]
    for step in ("cgroup-make", "cgroup-set", "cgroup-join", "machine-control", "machine-boot",
                 "machine-serve"):
        check(step in told, f"explain of a machine does not tell {step}: {told}")
    done = t.teca("explain", "--bundle", t.bundle(config), env=env | {"TECA_CACHE": t.path("none")})
    eq((done.status, os.path.exists(t.path("none"))), (1, False), "explain makes no kernel")
    done = t.teca("restore", "--image-path", t.dir, "--bundle", t.bundle(config), t.new_id())
    contains(done.error, "a container in a machine cannot be restored", "restore")
    eq(json.loads(t.teca("list", "--format", "json", expect=0).text) or [], [], "containers")


@test(seconds=300)
def a_container_of_a_pod_has_the_pods_names_and_an_ipc_namespace_of_its_own(t):
    """Called as teca-emulated, with the namespaces of a sandbox by path, as containerd and CRI-O have it."""
    env, by_name, root = kernel.prepared(t), t.path("teca-emulated"), t.own_root()
    os.symlink(t.binary, by_name)
    sandbox = t.holder("--ipc", "--uts", "--net")
    for command in (["hostname", "the-pod"], ["domainname", "of.example"]):
        eq(t.call(["nsenter", "-t", str(sandbox), "-u", *command]).status, 0, f"{command}")
    config = shell("hostname; cat /proc/sys/kernel/domainname; hostname changed; uname -n; exit 4")
    config["process"]["capabilities"] = capabilities("CAP_SYS_ADMIN")
    for kind, file in (("network", "net"), ("uts", "uts"), ("ipc", "ipc")):
        config = joined(config, kind, f"/proc/{sandbox}/ns/{file}")
    del config["hostname"]

    def pointer(kind):
        return f"/linux/namespaces/{[n['type'] for n in config['linux']['namespaces']].index(kind)}/path: "

    def called(verb, *args):
        return t.teca(command=[by_name, "--root", t.state_root, verb, "--bundle", t.bundle(config, root), *args],
                      env=env, seconds=SECONDS)

    # A user's own wish is refused; so is what is no uts namespace.
    done = called("run", t.new_id())
    eq(done.status, 1, "an ipc namespace by path, of no pod")
    contains(done.error, pointer("ipc") + "a machine cannot join a namespace of the host", "the sentence")
    config["annotations"] = {"io.kubernetes.cri.container-type": "container"}
    said = called("explain").text
    for part in ("type=uts", "with the names 'the-pod' and 'of.example'", "type=ipc",
                 "shares no SysV IPC and no POSIX message queues"):
        contains(said, part, "explain")
    done = called("run", t.new_id())
    eq((done.status, done.text.splitlines()), (4, ["the-pod", "of.example", "changed"]), f"the names ({done.error})")
    eq(t.call(["nsenter", "-t", str(sandbox), "-u", "hostname"]).text, "the-pod\n", "the pod's name afterwards")
    config = joined(config, "uts", f"/proc/{sandbox}/ns/ipc")
    done = called("run", t.new_id())
    eq(done.status, 1, "what is no uts namespace")
    contains(done.error, pointer("uts") + f"'/proc/{sandbox}/ns/ipc' is no uts namespace", "the sentence")


@test(seconds=400)
def a_guest_forgets_files_before_their_server_has_no_more_descriptors(t):
    """More files than the server can have open are walked through, and one of them is open meanwhile."""
    may_have, files = 5000, 8000
    root = t.own_root()
    for i in range(files):
        t.file(f"{root}/many/{i % 20}/{i}", "x")
    config = shell("exec 3</many/0/0; for i in 1 2; do ls -lR /many | grep -c '^-'; done; cat <&3")
    done = emulated(t, config, rootfs=root,
                    preexec_fn=lambda: resource.setrlimit(resource.RLIMIT_NOFILE, (may_have, may_have)))
    eq((done.status, done.error), (0, ""), "exit status, stderr")
    eq(done.text.split(), [f"{files}", f"{files}", "x"], "files walked through twice, and the open one")
