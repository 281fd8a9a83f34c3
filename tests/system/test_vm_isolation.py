# SPDX-License-Identifier: Apache-2.0
"""
Containers in a machine on our own monitor, where KVM runs a stock kernel: the test VM with tests/vm/suite kvm. A
boot takes seconds there, so a test looks at many things in one.
"""
import hashlib
import json
import os
import shutil
import signal
import subprocess

import kernel
from harness import (check, contains, default, descendants_of, eq, is_alive, mapping_kib, test, wait_until,
                     with_mount)

ABOVE = 5 << 20  # bytes of the host's memory for a machine, besides the guest's
SECONDS = 10  # a boot; the test VM's slowness comes on top
# What a server of files for any owner needs: CHOWN DAC_OVERRIDE FOWNER FSETID SETGID SETUID MKNOD SETFCAP.
SERVER_CAPS = sum(1 << number for number in (0, 1, 3, 4, 6, 7, 27, 31))
OWN = ("mnt", "pid", "net", "ipc", "uts")


def need_kvm(t):
    """The environment of a teca that finds a kernel."""
    if not json.loads(t.teca("vm", "doctor", "--format", "json", expect=0).text)["runsKernels"]:
        t.skip("this host's KVM runs no stock kernel; vm/kvm runs it")
    return kernel.prepared(t)


def shell(text, **process):
    config = default("/bin/sh", "-c", text)
    config["root"]["readonly"] = False
    config["process"]["terminal"] = False
    config["process"].update(process)
    return config


def living():
    return [pid for pid, state in descendants_of(os.getpid()) if state not in "ZX"]


def status_of(pid, task=None):
    with open(f"/proc/{pid}/task/{task or pid}/status", encoding="ascii") as f:
        return dict(line.rstrip("\n").split(":\t", 1) for line in f)


def fds_of(pid):
    return [os.readlink(f"/proc/{pid}/fd/{fd}") for fd in os.listdir(f"/proc/{pid}/fd")]


def machine_and_server(monitor):
    """The two children of a monitor."""
    children = [pid for pid, state in descendants_of(monitor) if state not in "ZX"]
    machines = [pid for pid in children if "anon_inode:kvm-vm" in fds_of(pid)]
    servers = [pid for pid in children if pid not in machines]
    eq((len(machines), len(servers)), (1, 1), "processes of a machine")
    return machines[0], servers[0]


@test(seconds=60)
def a_bundle_runs_on_a_kernel_of_its_own(t):
    """Status, bytes both ways, the files on the host with their owners, the kernel and its limits."""
    env = need_kvm(t)
    root, volume, single = t.own_root(), t.path("volume"), t.file("single", "from the host\n")
    os.mkdir(volume)
    data = os.urandom(300_000)
    config = shell("cat >/volume/in; cat /volume/in; uname -r >&2; cat /single >&2; "
                   "echo changed >/root-file; id -u >&2; ln /volume/in /volume/hard; "
                   "cat /sys/fs/cgroup/memory.max >&2; mkdir -m 751 /volume/d; "
                   "cat /volume/in /volume/in /volume/in /volume/in /volume/in >/volume/d/big; "
                   "mv /volume/d/big /volume/big; chown 7:8 /volume/d; ln -s nowhere /volume/link; mknod /volume/p p; "
                   "cat /proc/cmdline >&2; grep -c ^processor /proc/cpuinfo >&2; "
                   "echo no >/ro/x; exit 7")
    config["linux"]["resources"]["memory"] = {"limit": 64 << 20}
    config["linux"]["namespaces"].append({"type": "cgroup"})
    for kind in ("bounding", "effective", "permitted"):
        config["process"]["capabilities"][kind].append("CAP_CHOWN")
    config["vm"] = {"kernel": {"path": kernel.get()[0], "parameters": ["teca.test=1"]},
                    "hwConfig": {"vcpus": 2}}
    with_mount(config, "/volume", "bind", volume, "rbind", "rw")
    with_mount(config, "/single", "bind", single, "bind", "ro")
    with_mount(config, "/ro", "bind", volume, "bind", "ro")
    done = t.run(config, rootfs=root, stdin=data, env=env, seconds=SECONDS)
    said = done.error.splitlines()
    eq(done.status, 7, f"exit status (stderr {done.error!r})")
    eq(hashlib.sha256(done.out).hexdigest(), hashlib.sha256(data).hexdigest(), "stdout")
    eq(said[0], os.path.basename(kernel.get()[1]), "the kernel's release")
    eq(said[1:4], ["from the host", "0", str(64 << 20)], "file, user, memory.max")
    check(said[4].endswith(" teca.test=1"), f"the command line is {said[4]}")
    eq(said[5], "2", "processors")
    contains(said[6], "Read-only file system", "a write to what is read-only")
    with open(os.path.join(root, "root-file"), encoding="ascii") as f:
        eq(f.read(), "changed\n", "a file of the root, on the host")
    with open(os.path.join(volume, "big"), "rb") as f:
        check(f.read() == 5 * data, "a file of 1.5 MB is another one on the host")
    eq(os.stat(os.path.join(volume, "in")).st_nlink, 2, "links")
    made = os.stat(os.path.join(volume, "d"))
    eq((made.st_mode & 0o7777, made.st_uid, made.st_gid), (0o751, 7, 8), "mode and owner")
    eq(os.readlink(os.path.join(volume, "link")), "nowhere", "a symlink")
    eq(sorted(os.listdir(volume)), ["big", "d", "hard", "in", "link", "p"], "the volume")


@test(seconds=60)
def the_processes_of_a_machine_are_in_a_jail(t):
    """... what is killed of them is told, and create, start, state, kill and delete are those of a container."""
    env = need_kvm(t)
    out = t.path("out")
    container, where = t.new_id(), t.bundle(
        shell("for n in 1 2 3 4; do (dd if=/dev/zero of=/$n bs=1M count=2; dd if=/$n of=/dev/null bs=1M)& done; "
              "wait; rm -f /1 /2 /3 /4; echo up; trap 'echo usr1' USR1; while :; do sleep 0.1; done"),
        t.own_root())
    with open(out, "wb") as stdout:
        t.teca("create", "--isolation", "vm", "--bundle", where, container, env=env,
               seconds=SECONDS, expect=0, stdout=stdout, stderr=stdout)
    monitor = t.pid(container)
    machine, server = machine_and_server(monitor)

    rights = status_of(machine)
    eq((rights["Uid"], rights["Gid"], rights["Groups"].strip(), rights["CapPrm"], rights["CapEff"]),
       ("\t".join(["65534"] * 4), "\t".join(["65534"] * 4), "", "0" * 16, "0" * 16), "the machine")
    rights = status_of(server)
    eq(int(rights["CapEff"], 16), SERVER_CAPS, "capabilities of the server")
    for pid in (machine, server):
        for task in os.listdir(f"/proc/{pid}/task"):
            with open(f"/proc/{pid}/task/{task}/comm", encoding="ascii") as f:
                if f.read().startswith("kvm-"):
                    continue
            rights = status_of(pid, task)
            eq((rights["NoNewPrivs"], rights["Seccomp"]), ("1", "2"), f"thread {task} of {pid}")
        for kind in OWN:
            check(os.readlink(f"/proc/{pid}/ns/{kind}") not in
                  (os.readlink(f"/proc/self/ns/{kind}"), os.readlink(f"/proc/{monitor}/ns/{kind}")),
                  f"the {kind} namespace of {pid} is not its own")
    eq(os.listdir(f"/proc/{machine}/root"), [], "the root of the machine")
    eq(sorted(os.listdir(f"/proc/{server}/root")), ["root"], "the root of the server")
    for fd in fds_of(machine):
        check(fd.startswith(("socket:", "anon_inode:", "/dev/null", "/memfd:teca-share"))
              or fd in ("/dev/kvm",) or "/kernel-" in fd, f"the machine has {fd}")
    check(all("kvm" not in fd for fd in fds_of(server)), "the server has KVM")

    eq(t.state(container)["status"], "created", "status after create")
    t.teca("start", container, seconds=SECONDS, expect=0)
    eq(t.state(container)["status"], "running", "status after start")

    def said():
        with open(out, encoding="utf-8") as f:
            return f.read()
    wait_until(lambda: "up" in said(), "the program speaks", 30)
    memory = json.loads(t.teca("events", "--stats", container, expect=0).text)["machine"]["memory"]
    check(0 < memory["monitor"] and 0 < memory["share"] and
          memory["monitor"] + memory["share"] <= ABOVE < memory["guest"],
          f"memory after reading and writing: {memory}")
    t.teca("kill", container, "USR1", expect=0)
    wait_until(lambda: "usr1" in said(), "the program hears the signal", 30)
    check(is_alive(monitor), "the monitor has gone")
    os.kill(machine, signal.SIGKILL)
    eq(os.waitstatus_to_exitcode(os.waitpid(monitor, 0)[1]), 255, "status of a killed machine")
    contains(said(), "teca: the machine ended before its container", "its sentence")
    eq(t.state(container)["status"], "stopped", "status after the end")
    t.teca("delete", container, expect=0)
    t.nothing_of(container)
    wait_until(lambda: not living(), "the machine ends")


@test(seconds=60)
def an_image_is_one_in_the_hosts_memory_for_all_its_machines(t):
    """
    ... which map its pages (DAX), are in the same jail, and have no file server when nothing else is shared. The second
    one boots into an image, too.
    """
    need_kvm(t)
    env, root, big = kernel.own_cache(t), t.own_root(shutil.copy2), os.urandom(8 << 20)
    with open(os.path.join(root, "big"), "wb") as f:
        f.write(big)
    config = shell("md5sum </big; echo over >/big; cat /big; grep ^Cached /proc/meminfo; sleep 1000")
    config["annotations"] = {"org.teca.rootfs": "image"}
    machines = []
    subprocess.run(["mkfs.ext4", "-q", "-d", t.own_root(), t.path("system"), "64m"], check=True,
                   stdout=subprocess.DEVNULL)
    for number in range(2):
        if number == 1:
            config["vm"] = {"kernel": {"path": kernel.get()[0]},
                            "image": {"path": t.path("system"), "format": "raw"}}
        container, out = t.new_id(), t.path(f"out{number}")
        with open(out, "wb") as stdout:
            t.teca("create", "--isolation", "vm", "--bundle", t.bundle(config, root), container,
                   env=env, seconds=3 * SECONDS, expect=0, stdout=stdout, stderr=stdout)
        t.teca("start", container, seconds=3 * SECONDS, expect=0)
        machines.append((container, out, t.pid(container)))
    for _, out, _ in machines:
        def said(out=out):
            with open(out, encoding="utf-8") as f:
                return f.read()
        wait_until(lambda: "Cached" in said(), "the program speaks", 30)
        lines = said().splitlines()
        eq(lines[:2], [f"{hashlib.md5(big).hexdigest()}  -", "over"], "what is read, and written over it")
        check(int(lines[2].split()[1]) < 8 << 10, f"the guest has a copy of the file: {lines[2]}")
    eq(os.path.getsize(os.path.join(root, "big")), 8 << 20, "size of the file of the host's root")
    for _, _, monitor in machines:
        children = [pid for pid, state in descendants_of(monitor) if state not in "ZX"]
        eq(len(children), 1, "processes beside the monitor")
        (image,) = [fd for fd in fds_of(children[0]) if "/images/" in fd]
        eq(os.listdir(f"/proc/{children[0]}/root"), [], "the root of the machine")
        rss, pss = mapping_kib(children[0], ".erofs")
        check(rss >= 8 << 10, f"{rss} KiB of the image {image} are mapped")
        check(pss <= rss * 0.55, f"{pss} of {rss} KiB are each machine's own")
    lines = t.teca("ps", machines[1][0], "-o", "pid,args", seconds=3 * SECONDS,
                   expect=0).text.splitlines()
    contains(lines[-1], "sleep 1000", "what the ps of the machine's image says")
    for container, _, _ in machines:
        t.teca("delete", "--force", container, seconds=3 * SECONDS, expect=0)


@test
def auto_is_never_silently_weaker(t):
    """Where KVM runs no kernels it is an error, unless an annotation allows another mode; teca-vm asks for a machine."""
    runs = json.loads(t.teca("vm", "doctor", "--format", "json", expect=0).text)["runsKernels"]
    config = shell("exit 3")
    by_name = t.path("teca-vm")
    os.symlink(t.binary, by_name)
    if not runs:
        done = t.run(config, "--isolation", "auto")
        eq(done.status, 1, "auto")
        for part in ('isolation "auto" needs a KVM', "org.teca.isolation.fallback"):
            contains(done.error, part, "stderr")
        done = t.teca(command=[by_name, "--root", t.state_root, "run", "--bundle", t.bundle(config),
                               t.new_id()])
        eq(done.status, 1, "by the name teca-vm")
        contains(done.error, 'isolation "vm" needs a KVM', "stderr")
        config["annotations"] = {"org.teca.isolation.fallback": "container"}
        eq(t.run(config, "--isolation", "auto").status, 3, "auto with a fallback")
    config["annotations"] = {"io.kubernetes.cri.container-type": "sandbox"}
    for more in ({}, {"org.teca.isolation": "emulated", "org.teca.rootfs": "erofs"}):
        config["annotations"] |= more
        done = t.teca(command=[by_name, "--root", t.state_root, "run", "--bundle", t.bundle(config),
                               t.new_id()])
        eq((done.status, done.error), (3, ""), "a pod's sandbox, with the pod's annotations")
