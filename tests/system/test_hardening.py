# SPDX-License-Identifier: Apache-2.0
"""Attacks on the runtime, each one tried. What makes an attack work at all is shown by doing the same
to a careless runtime (attacker.c enter, or mount(2) by name): an attack that never succeeds proves
nothing.
"""
import contextlib
import errno
import json
import os
import re
import shutil
import signal
import subprocess

from harness import (HERE, cases, check, contains, eq, joined, lacks, minimal, mount, mounts_of, show,
                     stat_fields, test, tree_print, umount, wait_until, with_mount,
                     with_user_namespace)

ALL_CAPS = [f"CAP_{name}" for name in (
    "CHOWN DAC_OVERRIDE FOWNER KILL SETGID SETUID SETPCAP SYS_PTRACE SYS_ADMIN SYS_CHROOT MKNOD "
    "NET_ADMIN DAC_READ_SEARCH").split()]
FIVE_SETS = ("bounding", "effective", "inheritable", "permitted", "ambient")


def attacker(t):
    where = t.path("attacker")
    if not os.path.exists(where):
        subprocess.run([os.environ.get("CC", "cc"), "-std=gnu17", "-O1", "-static", "-Wall",
                        "-Wextra", "-Werror", "-o", where, os.path.join(HERE, "attacker.c")],
                       check=True)
    return where


def root_with(t, *programs):
    """A root of the test's own with the attacker, and /victim, a program that ends at once."""
    root = t.own_root()
    shutil.copy(attacker(t), os.path.join(root, "attacker"))
    for name, text in programs:
        with open(os.path.join(root, name), "w", encoding="utf-8") as f:
            f.write(text)
        os.chmod(os.path.join(root, name), 0o755)
    return root


def hostile(*args, caps=True):
    """A container whose program attacks; caps: with what rootful engines call privileged."""
    return minimal(*args, capabilities={k: ALL_CAPS if caps else [] for k in FIVE_SETS})


def attack(t, config, root):
    """The container of the attack; its id, its pid and where its words go."""
    container, words = t.new_id(), t.path("words")
    with open(words, "wb") as out:
        t.teca("create", "--bundle", t.bundle(config, root), container, expect=0, stdout=out)
    t.teca("start", container, expect=0)
    wait_until(lambda: "ready" in read(words), "the attacker runs")
    t.pid_of_attacker = t.pid(container)
    return container, t.pid_of_attacker, words


def read(path):
    with open(path, encoding="utf-8", errors="replace") as f:
        return f.read()


def achieved(t, container, words):
    """The numbers of its last line."""
    os.kill(t.pid_of_attacker, signal.SIGTERM)
    wait_until(lambda: read(words).count("\n") > 1, "the attacker's last words")
    pairs = re.findall(r"(\w+) (\d+)", read(words).splitlines()[-1])
    return {name: int(value) for name, value in pairs}


# ---- CVE-2019-5736: the runtime's binary, by /proc/PID/exe ----------------------------------------

SCRIPT = ("evil", "#!/proc/self/exe\n")


def overwrites(t, enter):
    """
    An attacker in the container while processes come in; gives what it achieved. Where it tries, the
    kernel counts a writer for a moment, before it finds the mount read-only; an execve(2) of the
    binary at that very moment is refused with ETXTBSY, which is said in ARCHITECTURE.md.
    """
    t.binary = shutil.copy(t.binary, t.path("teca"))  # one that no test beside this one executes
    root = root_with(t, SCRIPT)
    container, pid, words = attack(t, hostile("/attacker", "overwrite", "/attacker"), root)
    for _ in range(60):
        try:
            enter(container, pid, root)
        except OSError as e:
            if e.errno != errno.ETXTBSY:
                raise
    got = achieved(t, container, words)
    check(got["seen"] > 0, "the attacker saw no process come in: nothing was tested")
    return got


@test(seconds=120)
def the_binary_is_out_of_reach_of_a_container_that_is_entered(t):
    """CVE-2019-5736 at exec: the program named is the runtime itself, or a script that it runs."""
    binary = t.binary

    def enter(container, pid, root):
        del pid, root
        t.teca("exec", container, "/evil")
        t.teca("exec", container, "/proc/self/exe")

    got = overwrites(t, enter)
    eq(got["written"], 0, "times the runtime's binary was written to")
    check(got["refused"] > 0, f"it was never tried: {got}")
    with open(t.binary, "rb") as copy, open(binary, "rb") as original:
        check(copy.read() == original.read(), "the binary has changed")


@test(seconds=120)
def the_binary_is_out_of_reach_of_a_container_beside_the_one_that_is_started(t):
    """CVE-2019-5736 at run: who shares the pid namespace sees init before it executes the program."""
    def enter(container, pid, root):
        del container
        config = joined(hostile("/evil"), "pid", f"/proc/{pid}/ns/pid")
        t.run(config, rootfs=root)

    got = overwrites(t, enter)
    eq(got["written"], 0, "times the runtime's binary was written to")


@test
def a_careless_runtimes_binary_is_overwritten(t):
    careless = shutil.copy(attacker(t), t.path("careless"))

    def enter(container, pid, root):
        del container, root
        subprocess.run([careless, "enter", str(pid), "/evil"], check=False,
                       stderr=subprocess.DEVNULL)

    check(overwrites(t, enter)["written"] > 0, "the attack does not work at all")


# ---- CVE-2016-9962: a process that joins --------------------------------------------------------


def peeks(t, enter):
    root = root_with(t)
    shutil.copy(os.path.join(root, "payload"), os.path.join(root, "victim"))
    container, pid, words = attack(t, hostile("/attacker", "peek", "victim", caps=False), root)
    for _ in range(60):
        enter(container, pid, root)
    got = achieved(t, container, words)
    check(got["seen"] > 0, "the attacker saw no process come in: nothing was tested")
    return got


@cases(exec_=("exec",), run=("run",))
def nobody_takes_hold_of_a_process_that_joins(t, verb):
    def enter(container, pid, root):
        if verb == "exec":
            t.teca("exec", container, "/victim")
        else:
            t.run(joined(hostile("/victim", caps=False), "pid", f"/proc/{pid}/ns/pid"), rootfs=root)

    got = peeks(t, enter)
    eq((got["seized"], got["fds"]), (0, 0), "processes seized and fds read before the exec")


@test
def a_careless_runtime_is_taken_hold_of(t):
    def enter(container, pid, root):
        del container, root
        subprocess.run([attacker(t), "enter", str(pid), "/victim"], check=False,
                       stderr=subprocess.DEVNULL)

    got = peeks(t, enter)
    check(got["seized"] + got["fds"] > 0, f"the attack does not work at all: {got}")


@cases(run=("run",), exec_=("exec",))
def no_fd_of_the_caller_reaches_the_program(t, verb):
    """CVE-2024-21626: the runtime was started with directories of the host open."""
    host = os.open(t.dir, os.O_RDONLY | os.O_DIRECTORY)
    numbers = [os.dup(host) for _ in range(5)]
    try:
        if verb == "run":
            done = t.run(minimal("/payload", "list", "/proc/self/fd"), pass_fds=numbers, expect=0)
        else:
            container, _ = t.sleeper()
            done = t.teca("exec", container, "/payload", "list", "/proc/self/fd", expect=0,
                          pass_fds=numbers)
    finally:
        for fd in (host, *numbers):
            os.close(fd)
    eq(sorted(done.text.split()), ["0", "1", "2", "3"], "fds; 3 is the listing's own")


# ---- CVE-2024-21626: working directories ----------------------------------------------------------

HOSTILE_CWD = [f"/proc/self/fd/{n}" for n in range(3, 16)] + [
    "/proc/self/cwd", "/proc/self/root", "/proc/thread-self/fd/7/..", "/proc/1/cwd", "/proc/1/root",
    "/way", "/way/..", "/up", "/dev/fd/7", "/proc/self/fd/7/../../.."]


def hostile_root(t):
    root = t.own_root()
    for name, way in (("way", "/proc/self/fd/7"), ("up", "../../../../../../../../..")):
        os.symlink(way, os.path.join(root, name))
    return root


def reaches_the_host(t, text):
    return "the host's secret" in text or t.dir in text


@cases(run=("run",), exec_=("exec",))
def no_working_directory_lies_outside(t, verb):
    t.file("secret", "the host's secret")
    host = os.open(t.dir, os.O_RDONLY | os.O_DIRECTORY)
    fds = [host] + [os.dup(host) for _ in range(8)]
    look = ("/bin/sh", "-c", "readlink /proc/self/cwd; cat secret ../secret ../../secret "
                             f"../../../../../../../..{t.dir}/secret; ls; ls ..")
    root, entered = hostile_root(t), 0
    container, _ = t.sleeper(rootfs=root)
    try:
        for cwd in HOSTILE_CWD:
            if verb == "run":
                done = t.run(minimal(*look, cwd=cwd), rootfs=root, pass_fds=fds)
            else:
                done = t.teca("exec", "--cwd", cwd, container, *look, pass_fds=fds)
            check(not reaches_the_host(t, done.text), f"cwd {cwd}: {show(done.text)}")
            entered += done.text.startswith("/")
            if not done.text:
                contains(done.error, "cwd", f"cwd {cwd}: stderr")
    finally:
        for fd in fds:
            os.close(fd)
    check(entered > 0, "every working directory was refused, also '/up', which is harmless")


@test
def a_working_directory_of_the_host_would_be_seen(t):
    """The same look, from an fd that the caller has asked to pass on."""
    t.file("secret", "the host's secret")
    host = os.open(t.dir, os.O_RDONLY | os.O_DIRECTORY)
    os.dup2(host, 3)
    os.set_inheritable(3, True)
    done = t.run(minimal("/bin/sh", "-c", "cd /proc/self/fd/3 && cat secret"), "--preserve-fds",
                 "1", pass_fds=[3])
    check(reaches_the_host(t, done.text), f"the look finds nothing: {done.text} {done.error}")


# ---- races in the root filesystem ------------------------------------------------------------------

class Race:
    """Something in the root filesystem is swapped for a symlink to the host's, again and again."""

    def __init__(self, t, honest, directory, way):
        self.t = t
        self.root = root_with(t)
        self.outside = t.path("outside")
        os.makedirs(os.path.join(self.outside, "sub"))
        for name in ("file", "sub/file"):
            with open(os.path.join(self.outside, name), "w", encoding="utf-8") as f:
                f.write("the host's secret\n")
        a = os.path.join(self.root, honest.lstrip("/"))
        b = a + ".evil"
        if os.path.lexists(a):
            subprocess.run(["rm", "-rf", a], check=True)
        os.makedirs(a if directory else os.path.dirname(a), exist_ok=True)
        if not directory:
            with open(a, "w", encoding="utf-8") as f:
                f.write("honest\n")
        os.symlink(way.format(outside=self.outside, up="../" * 20 + self.outside[1:],
                              fd="/proc/self/fd/4"), b)
        self.before = tree_print(self.outside)
        self.names = (a, b)

    @contextlib.contextmanager
    def swapping(self):
        process = self.t.popen(command=[attacker(self.t), "swap", *self.names])
        eq(self.t.read_line(process), "ready", "the swapper")
        try:
            yield
        finally:
            process.terminate()
            process.wait()

    def host_is_unchanged(self, what):
        eq(tree_print(self.outside), self.before, f"{what}: files of the host")
        found = [m["at"] for m in mounts_of() if m["at"].startswith(self.outside)]
        eq(found, [], f"{what}: mounts on the host")


LOOK = ("/bin/sh", "-c", "cat /proc/self/mountinfo; cat /a/b/* /a/b/sub/* /dev/console /target")


def racing_mount(config):
    return with_mount(config, "/a/b/target", "tmpfs", "tmpfs")


def racing_bind(config):
    return with_mount(config, "/a/b", "bind", "/usr/lib/..", "bind", "ro")


def racing_mask(config):
    config["linux"]["maskedPaths"] = ["/a/b", "/a/b/sub"]
    return config


def racing_readonly(config):
    config["linux"]["readonlyPaths"] = ["/a/b", "/a/b/sub"]
    return config


def racing_null(config):
    """CVE-2025-31133: the image's /dev/null is what other runtimes mask with."""
    config["mounts"] = [m for m in config["mounts"] if m["destination"] != "/dev"]
    config["linux"]["maskedPaths"] = ["/proc/keys", "/target", "/proc/timer_list"]
    return config


def racing_device(config):
    config["mounts"] = [m for m in config["mounts"] if m["destination"] != "/dev"]
    config["linux"]["devices"] = [{"path": "/a/b/node", "type": "c", "major": 1, "minor": 3}]
    return config


def racing_cwd(config):
    config["process"]["cwd"] = "/a/b/sub"
    return config


# what is swapped, whether it is a directory, where the symlink leads, the configuration
RACES = {
    "mount_target": ("/a/b", True, "{outside}", racing_mount),
    "mount_target_by_dots": ("/a/b", True, "{up}", racing_mount),
    "mount_target_by_magic_link": ("/a/b", True, "{fd}", racing_mount),
    "parent_of_a_target": ("/a", True, "{outside}", racing_mount),
    "bind_target": ("/a/b", True, "{outside}", racing_bind),
    "masked_path": ("/a/b", True, "{outside}", racing_mask),
    "masked_path_by_dots": ("/a/b", True, "{up}", racing_mask),
    "readonly_path": ("/a/b", True, "{outside}", racing_readonly),
    "null": ("/dev/null", False, "{outside}/file", racing_null),
    "device": ("/a/b", True, "{outside}", racing_device),
    "device_directory": ("/dev", True, "{outside}", racing_device),
    "cwd": ("/a/b", True, "{outside}", racing_cwd),
    "proc": ("/proc", True, "{outside}", lambda c: c),
}


def starts(t, race, config, count=60, until_one_ran=False):
    """Starts while it swaps; gives how many came to their program. Who swaps may be in step with who starts."""
    ran = 0
    config["root"]["readonly"] = False
    where = t.bundle(config, race.root)
    with race.swapping():
        for i in range(10 * count):
            if i >= count and (ran or not until_one_ran):
                break
            container = t.token + "-race"
            done = t.teca("run", "--bundle", where, container)
            lacks(done.text, "the host's secret", f"start {i}: what the program sees")
            for m in mounts_of("\n".join(line for line in done.text.splitlines()
                                         if re.match(r"\d+ \d+ \d+:\d+ ", line))):
                lacks(m["root"], race.outside, f"start {i}: a mount at {m['at']}")
            ran += bool(done.text)
            t.nothing_of(container)
    race.host_is_unchanged(f"after {count} starts")
    return ran


@cases(**RACES)
def a_swapped_root_leads_nowhere(t, honest, directory, way, change):
    """CVE-2021-30465, CVE-2025-31133: while mounts, masks, devices and the cwd are made."""
    race = Race(t, honest, directory, way)
    can_run = honest != "/proc"
    ran = starts(t, race, change(minimal(*LOOK)), until_one_ran=can_run)
    check(ran > 0 or not can_run, "no start came to its program: little was tested")


@test
def a_swapped_console_leads_nowhere(t):
    """CVE-2025-52565: the bind of the terminal on /dev/console."""
    race = Race(t, "/dev/console", False, "{outside}/file")
    config = minimal(*LOOK, terminal=True)
    config["mounts"] = [m for m in config["mounts"] if m["destination"] != "/dev"]
    with_mount(config, "/dev/pts", "devpts", "devpts", "newinstance", "ptmxmode=0666")
    starts(t, race, config)


@test
def a_root_that_is_exchanged_for_another_is_never_half_of_each(t):
    """The path of the root filesystem is renamed under the start: what was opened first counts."""
    race = Race(t, "/a", True, "{outside}")
    other = t.own_root()
    for root, mark in ((race.root, "one"), (other, "other")):
        os.unlink(os.path.join(root, "etc/mark"))  # it is a link to the shared one
        for name in ("etc/mark", "opt/mark"):
            with open(os.path.join(root, name), "w", encoding="utf-8") as f:
                f.write(mark + "\n")
    decoy = t.path("decoy")
    os.symlink(other, decoy)
    where, first = race.root, os.stat(os.path.join(race.root, "etc")).st_ino
    race.names = (where, decoy)
    config = racing_readonly(racing_mount(minimal("/bin/sh", "-c", "cat /etc/mark /opt/mark; "
                                                  "stat -c %i /etc; ls -d /a/b/target")))
    config["root"]["readonly"] = False
    bundle, seen = t.bundle(config, where), set()
    with race.swapping():
        for i in range(60):
            done = t.teca("run", "--bundle", bundle, t.token + "-race")
            if done.status == 0:
                etc, opt, inode, target = done.text.split()
                eq(opt, etc, f"start {i}: the marks of the root filesystem")
                eq(int(inode) == first, etc == "one", f"start {i}: whose /etc it is")
                eq(target, "/a/b/target", f"start {i}: the mount")
                seen.add(etc)
    race.host_is_unchanged("after the starts")
    check(seen, "no start came to its program")


@test
def a_race_against_names_is_won(t):
    """mount(2) by name beside the same swapper: within a second the host's directory is covered."""
    race = Race(t, "/a/b", True, "{outside}")
    place, won = race.names[0], False
    with race.swapping():
        for _ in range(4000):
            with contextlib.suppress(OSError):
                mount("tmpfs", place, "tmpfs")
                found = [m["at"] for m in mounts_of() if m["type"] == "tmpfs"
                         and m["at"].startswith((race.outside, race.root))]
                for at in found:
                    won |= at.startswith(race.outside)
                    umount(at)
            if won:
                break
    check(won, "the swapper never wins against names: the races above prove nothing")


# ---- CVE-2023-27561, -28642: /proc and /sys of the image --------------------------------------------


@cases(proc_to_directory=("proc", "etc"), proc_to_host=("proc", "/proc/self/fd/3"),
       proc_up=("proc", "../../.."), sys_to_directory=("sys", "etc"), sys_up=("sys", "../.."),
       dangling=("proc", "no/such"))
def proc_and_sys_of_the_image_are_no_symlinks(t, name, way):
    root = t.own_root()
    shutil.rmtree(os.path.join(root, name), ignore_errors=True)
    os.symlink(way, os.path.join(root, name))
    config = minimal("/bin/true")
    if name == "sys":
        with_mount(config, "/sys", "sysfs", "sysfs")
    before = tree_print(root)
    index = [m["destination"] for m in config["mounts"]].index("/" + name)
    t.refused(config, f"/mounts/{index}", "symlink", rootfs=root)
    eq(tree_print(root), before, "the image")


@cases(fd="/proc/self/fd/3", root="/proc/self/root/etc", cwd="/proc/1/cwd", by_link="/magic/x",
       task="/proc/thread-self/root/tmp")
def a_mount_target_behind_a_magic_link_is_refused(t, target):
    root = t.own_root()
    os.symlink("/proc/self/root", os.path.join(root, "magic"))
    config = with_mount(minimal("/bin/true"), target, "tmpfs", "tmpfs")
    t.refused(config, "/mounts/2", rootfs=root)


@cases(dots="/../../../tmp", middle="/etc/../../../../../tmp", link="/climb/tmp")
def a_mount_target_that_climbs_stays_inside(t, target):
    root = t.own_root()
    os.symlink("../../../../../../..", os.path.join(root, "climb"))
    config = with_mount(minimal("/bin/grep", " /tmp ", "/proc/self/mountinfo"), target, "tmpfs",
                        "inside")
    contains(t.ok(config, rootfs=root), "inside", "the mount at /tmp")


# ---- CVE-2025-52881, CVE-2019-16884: writes below /proc ----------------------------------------------

CRAFTED = ("self/oom_score_adj", "self/attr/exec", "self/attr/apparmor/exec", "self/setgroups",
           "self/uid_map", "self/gid_map", "self/timens_offsets", "thread-self/attr/exec",
           "thread-self/attr/apparmor/exec", "sys/net/ipv4/ip_forward", "sys/kernel/shmmax",
           "1/oom_score_adj", "1/uid_map", "1/setgroups", "sysrq-trigger")
SYSCTL = {"net.ipv4.ip_forward": "1", "kernel.shmmax": "4242424"}


def with_sysctl(config):
    config = joined(config, "network")
    config["linux"]["sysctl"] = dict(SYSCTL)
    return config


def crafted_proc(t, name="crafted"):
    """A directory that looks like procfs, and what it held."""
    for file in CRAFTED:
        t.file(f"{name}/{file}", "untouched\n")
    os.makedirs(t.path(name, "self/fd"), exist_ok=True)
    return t.path(name)


def is_untouched(t, where):
    for file in CRAFTED:
        eq(read(os.path.join(where, file)), "untouched\n", f"the crafted {file}")
    eq(os.listdir(os.path.join(where, "self/fd")), [], "files below the crafted self/fd")


@cases(plain=False, user_namespace=True)
def a_proc_that_is_a_bind_of_crafted_files_gets_no_write(t, user):
    """/proc of the configuration is a directory of the attacker's choice."""
    crafted = crafted_proc(t)
    config = minimal("/payload", "catch", "15", oomScoreAdj=321)
    config["mounts"][0] = {"destination": "/proc", "type": "bind", "source": crafted,
                           "options": ["bind"]}
    config = with_sysctl(config)
    if user:
        config = with_user_namespace(config)
        for where in (t.dir, crafted):
            os.chmod(where, 0o755)
    container = t.create(config)
    pid = t.pid(container)
    eq(read(f"/proc/{pid}/oom_score_adj"), "321\n", "oom_score_adj of init")
    eq(ask(pid, "sys/net/ipv4/ip_forward"), "1\n", "the sysctl in the network namespace")
    eq(ask(pid, "sys/kernel/shmmax"), "4242424\n", "the sysctl in the ipc namespace")
    if user:
        eq(read(f"/proc/{pid}/uid_map").split(), ["0", "100000", "65536"], "uid_map of init")
    is_untouched(t, crafted)


def ask(pid, name):
    """A file of the host's /proc, looked at from the network and ipc namespace of a process."""
    return subprocess.run(["nsenter", "-t", str(pid), "-n", "-i", "cat", "/proc/" + name],
                          check=True, capture_output=True, text=True).stdout


def hostile_mount_namespace(t, links):
    """
    A mount namespace whose /proc is a tmpfs of the attacker: gives the pid of its holder. links: its
    files are symlinks to the crafted ones, and self/fd/N leads to a directory of the host.
    """
    crafted = crafted_proc(t)
    os.makedirs(t.path("trap"))
    script = ["mount -t tmpfs tmpfs /proc"]
    for file in CRAFTED:
        script.append(f"mkdir -p /proc/{os.path.dirname(file)}")
        if links:
            script.append(f"ln -s {crafted}/{file} /proc/{file}")
        else:
            script.append(f"cp {crafted}/{file} /proc/{file}")
    script.append("mkdir -p /proc/self/fd")
    script += [f"ln -s {t.path('trap')} /proc/self/fd/{n}" for n in range(64)]
    # A cgroup of the host is not reached either: what is there now takes every write.
    script.append("mount -t tmpfs tmpfs /sys/fs/cgroup")
    script.append(f"exec {t.payload} catch 15")
    process = t.popen(command=["unshare", "-m", "--", "/bin/sh", "-ec", "; ".join(script)])
    eq(t.read_line(process), "ready", "the holder of the hostile mount namespace")
    t.holders.append(process)
    return process.pid, crafted


@cases(links=True, files=False)
def a_hostile_mount_namespace_that_is_joined_redirects_nothing(t, links):
    """CVE-2025-52881: sysctls, mounts by fd and cgroups, in somebody else's mount namespace."""
    holder, crafted = hostile_mount_namespace(t, links)
    config = minimal("/payload", "catch", "15", oomScoreAdj=321)
    config = joined(config, "mount", f"/proc/{holder}/ns/mnt")
    config = with_sysctl(config)
    config["linux"]["maskedPaths"] = ["/proc/keys"]
    config["linux"]["readonlyPaths"] = ["/proc/sys"]
    with_mount(config, "/mnt/a/x", "tmpfs", "inside")
    container = t.create(config, rootfs=t.own_root())
    pid = t.pid(container)
    eq(ask(pid, "sys/net/ipv4/ip_forward"), "1\n", "the sysctl in the network namespace")
    eq(ask(pid, "sys/kernel/shmmax"), "4242424\n", "the sysctl in the ipc namespace")
    mounts = mounts_of(read(f"/proc/{pid}/mountinfo"))
    check(any(m["at"].endswith("/mnt/a/x") and m["source"] == "inside" for m in mounts),
          f"no mount at /mnt/a/x: {[m['at'] for m in mounts]}")
    eq([m["at"] for m in mounts if "/trap" in m["at"]], [], "mounts on what self/fd leads to")
    is_untouched(t, crafted)
    with open(f"/proc/{pid}/cgroup", encoding="utf-8") as f:
        for line in f.read().splitlines():
            contains(line, container, "a cgroup of init")


@test
def a_container_with_a_crafted_proc_is_entered_without_a_write_to_it(t):
    """The same at exec: the container has covered its /proc since."""
    crafted = crafted_proc(t)
    config = hostile("/bin/sh", "-c",
                     "mount -o bind /crafted /proc && echo ready; while :; do sleep 1; done")
    with_mount(config, "/crafted", "bind", crafted, "bind")
    container, _, _ = attack(t, config, root_with(t))
    process = t.file("process.json", json.dumps(
        {"args": ["/payload", "catch", "15"], "cwd": "/", "oomScoreAdj": 123,
         "user": {"uid": 0, "gid": 0}, "env": ["A=b"]}))
    pid_file = t.path("exec.pid")
    t.teca("exec", "--detach", "--pid-file", pid_file, "--process", process, container, expect=0)
    pid = int(read(pid_file))
    eq(read(f"/proc/{pid}/oom_score_adj"), "123\n", "oom_score_adj of the process")
    is_untouched(t, crafted)
    os.kill(pid, signal.SIGKILL)
    os.waitpid(pid, 0)  # or the namespace would not end


# ---- CVE-2026-30892 and its like: numbers ------------------------------------------------------------

NO_IDS = ("-1", "0x0", " 0", "0 ", "+0", "1e3", "4294967295", "4294967296", "18446744073709551616",
          "99999999999999999999999999", "0:0:0", "0:-1", "0:0x1", ":0", "0,1", "root", "1.5", "०",
          "0\n", "0:4294967295", "--1", "")


@test
def no_number_is_misread_as_a_user(t):
    """crun's `exec --user` took what strtol(3) made of it, and "-1" or an overflow as root."""
    container, _ = t.sleeper()
    for text in NO_IDS:
        done = t.teca("exec", f"--user={text}", container, "/bin/id", "-u")
        check(done.status != 0 and not done.text, f"--user={text!r}: {done.status} {done.text!r}")
        contains(done.error, "user", f"--user={text!r}: stderr")
        done = t.teca("exec", f"--additional-gids={text}", container, "/bin/id", "-G")
        check(done.status != 0 and not done.text, f"--additional-gids={text!r}: {done.text!r}")
    done = t.teca("exec", "--user=4294967294:4294967293", container, "/bin/sh", "-c",
                  "id -u; id -g", expect=0)
    eq(done.text.split(), ["4294967294", "4294967293"], "the last ids that there are")


@test
def no_number_is_misread_as_a_signal_or_a_count(t):
    container, pid = t.sleeper()
    for text in ("-9", "0x9", " 9", "9 ", "+9", "09x", "65", "4294967305", "18446744073709551625",
                 "9.0", "SIGNINE", "RTMIN+31", "RTMAX-99", "RTMIN+-1", "RTMIN+18446744073709551613"):
        done = t.teca("kill", container, text)
        check(done.status != 0, f"kill {text!r} succeeded")
    check(stat_fields(pid)[0] in "SR", "a signal was sent")
    for text in ("-1", "0x1", " 1", "1 ", "4294967297", "18446744073709551617", "1e1", ""):
        done = t.run(minimal("/bin/true"), f"--preserve-fds={text}")
        check(done.status != 0, f"--preserve-fds={text!r} was taken")


# ---- CVE-2022-29162, CVE-2022-24769: inheritable capabilities -------------------------------------------


@cases(run=("run",), exec_=("exec",))
def nothing_is_inheritable_that_the_configuration_does_not_name(t, verb):
    look = ("/bin/grep", "Cap[IA]", "/proc/self/status")
    names = {k: ["CAP_CHOWN", "CAP_KILL"] for k in ("bounding", "effective", "permitted")}
    config = minimal(*look, capabilities=names)
    some = "+chown,+kill,+net_raw"
    caller = ["setpriv", f"--inh-caps={some}", f"--ambient-caps={some}"]
    if verb == "run":
        where = t.bundle(config)
        done = t.teca(command=caller + t.argv("run", "--bundle", where, t.new_id()))
    else:
        container, _ = t.sleeper(config)
        done = t.teca(command=caller + t.argv("exec", "--cap", "CAP_CHOWN", container, *look))
    eq(done.status, 0, f"exit status ({done.error})")
    eq([line.split()[1] for line in done.text.splitlines()], ["0" * 16] * 2,
       "inheritable and ambient set")
