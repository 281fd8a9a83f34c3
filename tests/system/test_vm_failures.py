# SPDX-License-Identifier: Apache-2.0
"""
Whatever fails of a machine: the container ends with 255 and one sentence, the state is right, nothing is left on the
host. QEMU runs here; `vm` is our own monitor, which needs a KVM that runs kernels: tests/vm/suite kvm.
"""
import contextlib
import json
import os
import random
import shutil
import signal
import socket
import subprocess
import time

import kernel
from harness import (Failure, allow, check, contains, default, descendants_of, eq, is_alive, mount, private_mounts,
                     reap, test, umount, wait_until, with_mount)

SECONDS = 150  # a boot: 3 s of a processor, which others want as well
# TECA_MACHINE_ROUNDS=20 is for the hand, of our own monitor with "TECA_MACHINE_ROUNDS=20 tests/vm/suite kvm '^vm_failures'".
ROUNDS = int(os.environ.get("TECA_MACHINE_ROUNDS", "1"))
SMALLEST = 128 << 20  # which docs/teca.8 promises to boot
SERVER = os.path.abspath(os.path.join(os.environ.get("BUILD", "build"), "tests", "share-mount"))
ENDED = "teca: the machine ended before its container"
SERVER_ENDED = "teca: the server of the machine's files ended before its container"


def environment(t, mode):
    if mode == "vm" and not json.loads(
            t.teca("vm", "doctor", "--format", "json", expect=0).text)["runsKernels"]:
        t.skip("this host's KVM runs no stock kernel; vm/kvm runs it")
    return kernel.prepared(t)


def shell(text):
    config = default("/bin/sh", "-c", text)
    config["process"]["terminal"] = False
    config["vm"] = {"kernel": {"path": kernel.get()[0]}, "hwConfig": {"memory": SMALLEST}}
    return config


def living():
    return [pid for pid, state in descendants_of(os.getpid()) if state not in "ZX"]


def is_machine(pid):
    """QEMU by its name, ours by what it has open."""
    with contextlib.suppress(OSError):
        with open(f"/proc/{pid}/cmdline", "rb") as f:
            if b"org.teca.agent" in f.read():
                return True
        return any(os.readlink(f"/proc/{pid}/fd/{fd}") == "anon_inode:kvm-vm"
                   for fd in os.listdir(f"/proc/{pid}/fd"))
    return False


def processes_of(monitor):
    """The machine's and the file server's."""
    children = [pid for pid, state in descendants_of(monitor) if state not in "ZX"]
    machines = [pid for pid in children if is_machine(pid)]
    servers = [pid for pid in children if pid not in machines]
    eq((len(machines), len(servers)), (1, 1), "processes of a machine")
    return {"machine": machines[0], "server": servers[0]}


def text_of(path):
    with open(path, encoding="utf-8", errors="replace") as f:
        return f.read()


class Machine:
    """A container that is created, with its output in a file."""

    def __init__(self, t, mode, env, config, stderr=None):
        self.t, self.container, self.out = t, t.new_id(), t.path("out" + t.token + str(t.count))
        with open(self.out, "wb") as out:
            t.teca("create", "--isolation", mode, "--bundle", t.bundle(config), self.container, env=env,
                   seconds=SECONDS, expect=0, stdout=out, stderr=stderr or out)
        self.monitor = t.pid(self.container)

    def start(self):
        self.t.teca("start", self.container, seconds=SECONDS, expect=0)
        wait_until(lambda: "up" in text_of(self.out), "the program speaks", 60)

    def ended(self, sentence):
        """With 255 and that sentence; state and delete, and nothing is left."""
        status = None
        end = time.monotonic() + allow(60)
        while status is None and time.monotonic() < end:
            pid, how = os.waitpid(self.monitor, os.WNOHANG)
            status = os.waitstatus_to_exitcode(how) if pid else time.sleep(0.02)
        said = text_of(self.out)
        eq(status, 255, f"the end of the container (it said {said!r})")
        lines = [line for line in said.splitlines() if line.startswith("teca: ")]
        check(len(lines) == 1 and lines[0].startswith(sentence), f"its sentence is {lines}")
        eq(self.t.state(self.container)["status"], "stopped", "status")
        self.t.teca("delete", self.container, expect=0)
        nothing_is_left(self.t, self.container)


def with_standing_hook(t, config):
    """A hook of the guest's that begins, and does not end; gives what it makes then."""
    os.mkdir(t.path("volume"))
    with_mount(config, "/mnt/a", "bind", t.path("volume"), "rbind", "rw")
    config["hooks"] = {"startContainer": [{"path": "/bin/sh", "args": ["sh", "-c", "touch /mnt/a/begun; exec sleep 1000"]}]}
    return t.path("volume", "begun")


def nothing_is_left(t, container):
    reap()
    t.nothing_of(container)
    wait_until(lambda: reap() or not living(), "every process ends")


def stop(pid):
    os.kill(pid, signal.SIGSTOP)
    wait_until(lambda: text_of(f"/proc/{pid}/stat").rpartition(")")[2].split()[0] == "T", "it is stopped")


def let_die(t, mode):
    """
    The file server while an exec runs, in the least memory that there may be; the machine before it is started, with a
    file server that is stopped.
    """
    env = environment(t, mode)
    m = Machine(t, mode, env, shell("echo up; while :; do sleep 1; done"))
    m.start()
    one = t.popen("exec", m.container, "sh", "-c", "echo there; sleep 1000")
    eq(t.read_line(one, 60), "there", "the exec")
    os.kill(processes_of(m.monitor)["server"], signal.SIGKILL)
    eq(one.wait(timeout=allow(60)), 137, "the end of the exec")
    m.ended(SERVER_ENDED)
    if mode == "vm":  # test_vm_isolation kills that machine
        return
    m = Machine(t, mode, env, shell("echo up"))
    processes = processes_of(m.monitor)
    stop(processes["server"])
    os.kill(processes["machine"], signal.SIGKILL)
    m.ended(ENDED)


def nested(seconds):
    """Minutes in the nested machine: there alone, and by hand, tests/vm/suite kvm '^vm_failures'."""
    return test(seconds=seconds) if os.environ.get("TECA_TEST_NESTED") else lambda function: function


@test(seconds=400)
def whatever_dies_of_an_emulated_machine_ends_its_container(t):
    let_die(t, "emulated")


@nested(seconds=60)
def whatever_dies_of_a_machine_on_our_own_monitor_ends_its_container(t):
    let_die(t, "vm")


def full_pipe():
    reader, writer = os.pipe()
    os.set_blocking(writer, False)
    with contextlib.suppress(BlockingIOError):
        while True:
            os.write(writer, bytes(4096))
    os.set_blocking(writer, True)
    return reader, writer


def besiege(t, mode):
    """
    Connections that say nothing keep no verb out; a monitor that is stopped holds up none, and delete --force ends it; its
    last sentence waits for no reader.
    """
    env = environment(t, mode)
    reader, writer = full_pipe()
    config = shell("echo up; while :; do sleep 1; done")
    m = Machine(t, mode, env, config, stderr=writer)
    m.start()
    idle = []
    for _ in range(100):
        idle.append(socket.socket(socket.AF_UNIX, socket.SOCK_SEQPACKET | socket.SOCK_NONBLOCK))
        with contextlib.suppress(BlockingIOError):
            idle[-1].connect(f"{t.state_root}/{m.container}/control")
    eq(t.teca("exec", m.container, "echo", "there", seconds=60, expect=0).text, "there\n", "an exec beside idle ones")
    stop(m.monitor)
    eq(t.state(m.container)["status"], "running", "status of a stopped one")
    for verb in (("exec", m.container, "true"), ("ps", m.container), ("pause", m.container)):
        done = t.teca(*verb, seconds=60)
        check(done.status != 0, f"{verb[0]} of a stopped one succeeds")
        contains(done.error, f"process {m.monitor}, is stopped", verb[0])
        eq(done.error.rstrip().count("\n"), 0, f"newlines of {verb[0]}")
    os.kill(m.monitor, signal.SIGCONT)
    t.teca("exec", m.container, "true", seconds=60, expect=0)
    os.kill(processes_of(m.monitor)["machine"], signal.SIGKILL)
    eq(os.waitstatus_to_exitcode(os.waitpid(m.monitor, 0)[1]), 255, "the end with nobody who reads")
    t.teca("delete", m.container, expect=0)
    for one in idle:
        one.close()
    for fd in (reader, writer):
        os.close(fd)

    begun = with_standing_hook(t, config)
    m = Machine(t, mode, env, config)
    stop(m.monitor)
    contains(t.teca("start", m.container, expect=1).error, "is stopped", "start")
    os.kill(m.monitor, signal.SIGCONT)
    process = t.popen("start", m.container)
    wait_until(lambda: os.path.exists(begun), "the hook runs", 60)
    stop(m.monitor)
    eq(process.wait(timeout=allow(60)), 1, "a start whose monitor is stopped meanwhile")
    contains(process.stderr.read().decode(), f"process {m.monitor}, is stopped", "start")
    t.teca("delete", "--force", m.container, expect=0)
    nothing_is_left(t, m.container)


@test(seconds=400)
def a_monitor_that_is_stopped_or_besieged_holds_up_no_verb(t):
    besiege(t, "emulated")


@nested(seconds=60)
def one_of_our_own_that_is_stopped_or_besieged_holds_up_no_verb(t):
    besiege(t, "vm")


@test(seconds=200)
def a_run_whose_machine_ends_before_its_program_begins_says_why(t):
    """Between CREATED and STARTED, while a hook of the guest runs: it is a start that failed, and nothing is left, --keep or not."""
    env = environment(t, "emulated")
    config = shell("echo up")
    begun = with_standing_hook(t, config)
    container = t.new_id()
    process = t.popen("run", "--keep", "--isolation", "emulated", "--bundle", t.bundle(config), container, env=env)
    wait_until(lambda: os.path.exists(begun), "the hook runs", SECONDS)
    os.kill(processes_of(t.pid(container))["machine"], signal.SIGKILL)
    eq(process.wait(timeout=allow(60)), 1, "exit status")
    said = process.stderr.read().decode()
    contains(said, ENDED, "stderr")
    eq(said.rstrip().count("\n"), 0, f"newlines of {said!r}")
    nothing_is_left(t, container)


@test(seconds=200)
def a_guest_without_room_for_a_process_fails_the_verb_alone(t):
    """
    The container has taken all the processes that its kernel gives, but the one of the shell that got no more: of many
    at once one may be begun, and gets no further. Who asks is told so, and the container lives.
    """
    env = environment(t, "emulated")
    config = shell("sleep 1000 & (while :; do sleep 1000 & done) 2>/dev/null; echo up; wait")
    config["vm"]["hwConfig"]["memory"] = 2 * SMALLEST
    config["vm"]["kernel"]["parameters"] = ["sysctl.kernel.threads-max=150"]
    m = Machine(t, "emulated", env, config)
    m.start()
    for _ in range(2):
        many = [t.popen("exec", m.container, "true") for _ in range(4)]
        for one in many:
            check(one.wait(timeout=allow(60)) != 0, "exec succeeds")
            contains(one.stderr.read().decode(), "Resource temporarily unavailable", "stderr of exec")
    eq(t.state(m.container)["status"], "running", "status")
    t.teca("delete", "--force", m.container, expect=0)
    nothing_is_left(t, m.container)


def squashfs(t, place):
    """An image that is read where it lies, without a copy."""
    root = t.own_root(shutil.copy2)
    t.file(root + "/big", os.urandom(8 << 20))
    subprocess.run(["mksquashfs", root, f"{place}/squashfs", "-quiet", "-no-progress", "-noI", "-noD"], check=True,
                   stdout=subprocess.DEVNULL)
    return root


def lose(t, mode, root, image, how):
    """The end of a container whose image is there no more while it runs."""
    env, out = environment(t, mode), t.path("out")
    config = shell("echo up; read line; cat /big | md5sum >/dev/null; exit 7")
    config["annotations"] = {"org.teca.rootfs": image}
    with open(out, "wb") as f:
        process = t.popen("run", "--isolation", mode, "--bundle", t.bundle(config, root), t.new_id(), env=env,
                          stdin=subprocess.PIPE, stderr=f)
        eq(t.read_line(process, SECONDS), "up", "the program speaks")
    how()
    process.stdin.write(b"\n")
    process.stdin.close()
    status = process.wait(timeout=allow(SECONDS))
    wait_until(lambda: reap() or not living(), "every process ends")
    return status, text_of(out)


def cut(t, mode):
    """It becomes shorter."""
    root, image = squashfs(t, t.path()), t.path("squashfs")
    return lose(t, mode, root, image, lambda: os.truncate(image, os.path.getsize(image) // 2))


def run(*command):
    """DM_DISABLE_UDEV: dmsetup(8) makes the node itself, and waits for nobody."""
    return subprocess.run(command, check=True, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True,
                          env=os.environ | {"DM_DISABLE_UDEV": "1"}).stdout


@contextlib.contextmanager
def failing_disk(t, content):
    """A file system with these files, and a call after which its device has an error for every read."""
    if not os.path.exists("/dev/mapper/control"):
        t.skip("there is no device mapper here; tests/vm/suite kvm has it")
    name, size, place = "teca" + t.token, 64 << 20, t.path("mounted")
    t.file("disk")
    os.truncate(t.path("disk"), size)
    run("mkfs.ext4", "-q", "-d", content, t.path("disk"))
    loop = run("losetup", "--find", "--show", t.path("disk")).strip()

    def fail():
        run("dmsetup", "load", name, "--table", f"0 {size // 512} error")
        run("dmsetup", "suspend", "--noflush", "--nolockfs", name)
        run("dmsetup", "resume", name)
        with open("/proc/sys/vm/drop_caches", "w", encoding="ascii") as f:
            f.write("1")

    os.mkdir(place)
    with contextlib.ExitStack() as undo:
        undo.callback(run, "losetup", "--detach", loop)
        run("dmsetup", "create", name, "--table", f"0 {size // 512} linear {loop} 0")
        undo.callback(run, "dmsetup", "remove", "--retry", name)
        mount(f"/dev/mapper/{name}", place, "ext4", 1, "norecovery")  # MS_RDONLY
        undo.callback(umount, place)
        yield place, fail


@nested(seconds=60)
def an_image_that_is_cut_ends_its_machine(t):
    status, said = cut(t, "vm")
    eq(status, 255, f"the end of the container (it said {said!r})")
    contains(said, "a file that the machine has as memory was cut, or cannot be read", "its sentence")


@test(seconds=300)
def a_disk_that_is_cut_is_the_guests_to_bear(t):
    """QEMU reads zeros behind the end of a file: the program goes on, with what it makes of them."""
    eq(cut(t, "emulated"), (7, ""), "the end of the container")


@nested(seconds=60)
def a_disk_that_fails_under_an_image_ends_its_machine(t):
    os.mkdir(t.path("content"))
    root = squashfs(t, t.path("content"))
    with failing_disk(t, t.path("content")) as (place, fail):
        status, said = lose(t, "vm", root, f"{place}/squashfs", fail)
    eq(status, 255, f"the end of the container (it said {said!r})")
    contains(said, "a file that the machine has as memory was cut, or cannot be read", "its sentence")


@test(seconds=300)
def a_disk_that_fails_under_an_emulated_one_is_the_guests_error(t):
    """The image lies on a file system whose server ends: what is not in memory yet cannot be read any more."""
    content, place = t.path("content"), t.path("mounted")
    private_mounts()
    os.mkdir(content)
    os.mkdir(place)
    root = squashfs(t, content)
    server = t.popen(command=[SERVER, content, place], stdin=subprocess.PIPE)
    eq(t.read_line(server), "ready", "the server")

    def fail():
        server.kill()
        server.wait()

    try:
        status, said = lose(t, "emulated", root, f"{place}/squashfs", fail)
    finally:
        umount(place)
    eq(status, 7, f"the end of the container (it said {said!r})")
    contains(said, "cat: read error: Input/output error", "what the program hears")


def kill_at_any_moment(t, mode):
    env = environment(t, mode)
    seed = int(os.environ.get("TECA_MACHINE_SEED", random.randrange(1 << 32)))
    dice, where = random.Random(seed), t.bundle(shell("exec sleep 1000"))
    longest = 25 if mode == "vm" else 8  # what a machine takes to start, nested there
    for n in range(ROUNDS):
        container = t.new_id()
        verb, whom = dice.choice(("run", "create")), dice.choice(("runtime", "monitor", "machine", "server", "all"))
        what = f"round {n} of seed {seed}: {verb}, {whom}"
        process = subprocess.Popen(t.argv(verb, "--isolation", mode, "--bundle", where, container), cwd=t.dir, env=env,
                                   stdin=subprocess.DEVNULL, stdout=subprocess.DEVNULL, stderr=subprocess.PIPE)
        time.sleep(longest * dice.random() ** 2)
        victims = [] if whom != "all" else [process.pid]
        with contextlib.suppress(Failure, IndexError):
            monitor = [pid for pid in living() if pid != process.pid and processes_of(pid)][0]
            victims += {"runtime": [process.pid], "monitor": [monitor], "all": living()}.get(
                whom, [processes_of(monitor).get(whom)])
        for pid in victims or [process.pid]:
            with contextlib.suppress(ProcessLookupError):
                os.kill(pid, signal.SIGKILL)
        # Who creates may have done so before; the container has its stderr then, until it is deleted.
        if verb == "run" or process.pid in victims:
            check(process.wait(timeout=allow(60)) != 0 or verb == "create", f"the runtime succeeds: {what}")
        t.teca("delete", "--force", container, expect=0)
        process.wait()
        said = process.stderr.read().decode()
        if verb == "run" and victims and process.pid not in victims and whom != "monitor":
            contains(said, "ended before its container", what)
        t.nothing_of(container)
        wait_until(lambda: reap() or not living(), f"every process ends: {what}", 30)


@test(seconds=100 * ROUNDS + 100)
def an_emulated_machine_that_is_killed_at_any_moment_leaves_nothing(t):
    kill_at_any_moment(t, "emulated")


@nested(seconds=30 * ROUNDS + 30)
def a_machine_on_our_own_monitor_that_is_killed_at_any_moment_leaves_nothing(t):
    kill_at_any_moment(t, "vm")


@test(seconds=60)
def a_full_disk_is_told(t):
    """Of the state, and of what machines boot from."""
    env = environment(t, "emulated")
    small = t.path("small")
    os.mkdir(small)
    mount("tmpfs", small, "tmpfs", data="size=64k,nr_inodes=40")
    try:
        image, modules = kernel.get()
        done = t.teca("vm", "prepare", "--kernel", image, "--modules", modules,
                      env=env | {"TECA_CACHE": os.path.join(small, "cache")}, seconds=60, expect=1)
        contains(done.error, "No space left on device", "a cache without room")
        eq(done.error.count("\n"), 1, "lines")
        eq(os.listdir(os.path.join(small, "cache")), ["lock"], "what is left of it")
        full = os.open(os.path.join(small, "full"), os.O_WRONLY | os.O_CREAT)
        with contextlib.suppress(OSError):
            while os.write(full, b"x" * 4096):
                pass
        os.close(full)
        container = t.new_id()
        done = t.teca(command=[t.binary, "--root", small, "run", "--isolation", "emulated", "--bundle",
                               t.bundle(shell("exit 0")), container], env=env, seconds=SECONDS)
        eq(done.status, 1, "a state without room")
        contains(done.error, "No space left on device", "a state without room")
        eq(done.error.count("\n"), 1, "lines")
        check(not os.path.exists(os.path.join(small, container)), "its state is still there")
    finally:
        umount(small)
