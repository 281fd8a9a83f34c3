# SPDX-License-Identifier: Apache-2.0
"""containerd with its own client ctr: the shim that Kubernetes and docker use too."""
import concurrent.futures
import hashlib
import io
import json
import os
import re
import subprocess
import tarfile
import time

from engine import IMAGE, Differs, Done, Engine, absent, behaviour, check, contains, eq, until_size, wait_until

CONFIG = """version = 2
root = "{dir}/ctd-root"
state = "{dir}/ctd-state"
oom_score = 0
disabled_plugins = ["io.containerd.grpc.v1.cri", "io.containerd.internal.v1.opt"]
[grpc]
address = "{dir}/ctd.sock"
"""


def oci_archive(place, command=("sh",)):
    """The image's tar as an OCI image layout in a tar (image-spec image-layout.md)."""
    blobs = {}

    def blob(data):
        digest = hashlib.sha256(data).hexdigest()
        blobs[digest] = data
        return {"digest": "sha256:" + digest, "size": len(data)}

    with open(place.tar, "rb") as f:
        layer = blob(f.read())
    config = blob(json.dumps({"architecture": "amd64", "os": "linux", "config": {
        "Env": ["PATH=/usr/sbin:/usr/bin:/sbin:/bin"], "Cmd": [*command]},
        "rootfs": {"type": "layers", "diff_ids": [layer["digest"]]}}).encode())
    kind = "application/vnd.oci.image."
    manifest = blob(json.dumps({"schemaVersion": 2, "mediaType": kind + "manifest.v1+json",
                                "config": config | {"mediaType": kind + "config.v1+json"},
                                "layers": [layer | {"mediaType": kind + "layer.v1.tar"}]}).encode())
    index = {"schemaVersion": 2, "manifests": [manifest | {
        "mediaType": kind + "manifest.v1+json",
        "annotations": {"io.containerd.image.name": IMAGE, "org.opencontainers.image.ref.name": "latest"}}]}
    where = place.path("oci.tar")
    with tarfile.open(where, "w") as tar:
        files = {"oci-layout": b'{"imageLayoutVersion": "1.0.0"}', "index.json": json.dumps(index).encode()}
        files |= {"blobs/sha256/" + digest: data for digest, data in blobs.items()}
        for name, data in files.items():
            info = tarfile.TarInfo(name)
            info.size = len(data)
            tar.addfile(info, io.BytesIO(data))
    return where


class Containerd(Engine):
    name = family = "containerd"

    def __init__(self, place, runtime, binary):
        super().__init__(place, runtime, binary)
        # It is the path of cgroups too, and another run of the suite may go on beside this one.
        self.namespace = f"teca-{runtime}{os.getpid()}"

    def argv(self, *args):
        return ["ctr", "-a", self.place.path("ctd.sock"), "-n", self.namespace, *args]

    def start(self):
        self.place.write("ctd.toml", CONFIG.format(dir=self.place.dir))
        self.daemon(["containerd", "--config", self.place.path("ctd.toml")],
                    lambda: self("version").status == 0, "containerd.log")
        self.ok("image", "import", oci_archive(self.place))

    def stop(self):
        for line in self("task", "ls", "-q").out.split():
            self("task", "rm", "-f", line)
        for line in self("container", "ls", "-q").out.split():
            self("container", "rm", line)

    def describe(self):
        return re.search(r"Server:[\s\S]*?Version:\s*(\S+)", self.ok("version")).group(1)

    def flags(self):
        return ("--runc-binary", self.binary, "--runc-root", self.place.mkdir("runc-root"))

    def sleeper(self, *flags, command=("sleep", "1000")):
        name = self.fresh()
        self.ok("run", "-d", *self.flags(), *flags, IMAGE, name, *command)
        return name

    def apart(self, *args):
        """A call beside others."""
        done = subprocess.run(self.argv(*args), env=self.env(), cwd=self.place.dir, capture_output=True,
                              text=True, timeout=120, check=False, stdin=subprocess.DEVNULL)
        return Done(done.returncode if "exit with non-zero exit code" not in done.stderr else 0, done.stdout,
                    done.stderr)

    def gone(self, name):
        self.ok("task", "rm", "-f", name)
        self.ok("container", "rm", name)

    def task(self, name):
        """(pid, status) of a task."""
        for line in self.ok("task", "ls").splitlines()[1:]:
            found = line.split()
            if found[0] == name:
                return found[1], found[2]
        return None, None


@behaviour("run, output and exit status", "containerd")
def run(e):
    done = e("run", "--rm", *e.flags(), IMAGE, e.fresh(), "sh", "-c", "echo out; echo err >&2; exit 3")
    eq((done.status, done.out), (3, "out\n"), f"status and stdout ({done.err})")
    contains(done.err, "err\n", "stderr")


@behaviour("run -t: a terminal", "containerd")
def run_t(e):
    status, seen = e.terminal("run", "--rm", "-t", *e.flags(), IMAGE, e.fresh(), "sh", rows=31, columns=99,
                              script=[(r"[#$] ", f"{until_size(31, 99)}; tty\n"),
                                      (r"31 99[\s\S]*/dev/pts/\d+[\s\S]*[#$] ", "exit 6\n")])
    eq(status, 6, f"exit status after {seen!r}")


@behaviour("task exec: output, exit status, user, directory", "containerd")
def task_exec(e):
    name = e.sleeper()
    done = e("task", "exec", "--exec-id", "one", name, "sh", "-c", "echo hello; exit 9")
    eq((done.status, done.out), (9, "hello\n"), f"status and output ({done.err})")
    eq(e.ok("task", "exec", "--exec-id", "two", "--user", "1000:1000", "--cwd", "/srv", name, "sh", "-c",
            "id -u; pwd"), "1000\n/srv\n", "user and directory")
    e.gone(name)


@behaviour("task exec -t: a terminal", "containerd")
def task_exec_t(e):
    name = e.sleeper()
    status, seen = e.terminal("task", "exec", "-t", "--exec-id", "tty", name, "sh", rows=28, columns=66,
                              script=[(r"[#$] ", until_size(28, 66) + "\n"), (r"28 66[\s\S]*[#$] ", "exit 8\n")])
    eq(status, 8, f"exit status after {seen!r}")
    e.gone(name)


@behaviour("task kill with a signal, wait's exit status", "containerd")
def task_kill(e):
    name = e.sleeper()
    e.ok("task", "kill", "-s", "SIGKILL", name)
    wait_until(lambda: e.task(name)[1] == "STOPPED", "the end of the task")
    contains(e("task", "rm", name).text, "137", "exit status of the task")
    e.ok("container", "rm", name)


@behaviour("task kill --all reaches every process", "containerd")
def task_kill_all(e):
    name = e.sleeper(command=("sh", "-c", "trap '' TERM; sleep 999 & sleep 998 & while :; do sleep 1; done"))
    e.ok("task", "kill", "-a", "-s", "SIGKILL", name)
    wait_until(lambda: e.task(name)[1] == "STOPPED", "the end of the task")
    e("task", "rm", name)
    e.ok("container", "rm", name)


@behaviour("task pause, resume", "containerd")
def pause(e):
    name = e.sleeper()
    e.ok("task", "pause", name)
    eq(e.task(name)[1], "PAUSED", "status")
    e.ok("task", "resume", name)
    eq(e.task(name)[1], "RUNNING", "status")
    e.gone(name)


@behaviour("task ps", "containerd")
def task_ps(e):
    name = e.sleeper()
    contains(e.ok("task", "ps", name), e.task(name)[0], "the pid")
    e.gone(name)


@behaviour("task metrics", "containerd")
def metrics(e):
    name = e.sleeper("--memory-limit", str(64 << 20))
    text = e.ok("task", "metrics", name)
    check(re.search(r"memory.*(limit|usage)", text) and str(64 << 20) in text.replace("memory.max", ""),
          f"metrics: {text}")
    e.gone(name)


@behaviour("limits: memory, cpus", "containerd")
def limits(e):
    name = e.fresh()
    done = e("run", "--rm", *e.flags(), "--memory-limit", str(32 << 20), IMAGE, name, "dd", "if=/dev/zero",
             "of=/dev/null", "bs=100M", "count=1")
    eq(done.status, 137, f"exit status of what needs more memory than the limit ({done.err})")


@behaviour("a missing command is refused with its name", "containerd")
def missing(e):
    done = e("run", "--rm", *e.flags(), IMAGE, e.fresh(), "no-such-command")
    check(done.status != 0, "a missing command ran")
    contains(done.err, 'exec: "no-such-command": executable file not found in $PATH', "the message")


@behaviour("mounts, environment, read-only root", "containerd")
def details(e):
    where = e.place.mkdir("ctr-volume")
    done = e("run", "--rm", *e.flags(), "--env", "A=b", "--read-only", "--mount",
             f"type=bind,src={where},dst=/mnt,options=rbind:rw", IMAGE, e.fresh(), "sh", "-c",
             "echo $A >/mnt/a; touch /srv/x")
    check(done.status == 1 and "Read-only" in done.err, f"a write to a read-only root: {done}")
    with open(os.path.join(where, "a"), encoding="ascii") as f:
        eq(f.read(), "b\n", "the volume")


@behaviour("six containers, removed one after the other", "containerd")
def many(e):
    names = [e.sleeper() for _ in range(6)]
    began = time.monotonic()
    for name in names:
        e.gone(name)
    check(time.monotonic() - began < 60, "six removals took a minute")


@behaviour("fifty containers at once: run, exec, kill, delete", "containerd")
def fifty(e):
    names = [e.fresh("many") for _ in range(50)]

    def each(what, *steps):
        """The same steps for all fifty, eight at a time."""
        with concurrent.futures.ThreadPoolExecutor(8) as pool:
            bad = [d for ds in pool.map(lambda n: [e.apart(*s(n)) for s in steps], names) for d in ds if d.status]
        check(not bad, f"{what}: {len(bad)} of fifty fail: {bad[:1]}")

    each("run", lambda n: ("run", "-d", *e.flags(), IMAGE, n, "sleep", "1000"))
    each("exec", lambda n: ("task", "exec", "--exec-id", "x" + n, n, "true"))
    each("kill", lambda n: ("task", "kill", "-s", "SIGKILL", n))
    wait_until(lambda: "RUNNING" not in e.ok("task", "ls"), "the end of all", 180)
    each("delete", lambda n: ("task", "rm", n), lambda n: ("container", "rm", n))
    eq(os.listdir(e.place.path("runc-root", e.namespace)), [], "state directories that are left")


@behaviour("run -d, task rm -f leaves nothing", "containerd")
def run_d(e):
    name = e.sleeper()
    pid = int(e.task(name)[0])
    e.gone(name)
    check(not os.path.exists(f"/proc/{pid}"), f"process {pid} still lives")
    eq(e.task(name), (None, None), "the task")


@behaviour("task kill: SIGTERM that is heeded, exit status 143", "containerd")
def task_term(e):
    name = e.sleeper(command=("sh", "-c", "trap 'exit 143' TERM; touch /tmp/ready; while :; do sleep 0.1; done"))
    wait_until(lambda: e("task", "exec", "--exec-id", e.fresh("x"), name, "ls", "/tmp/ready").status == 0, "the trap")
    e.ok("task", "kill", name)
    wait_until(lambda: e.task(name)[1] == "STOPPED", "the end of the task")
    contains(e("task", "rm", name).text, "143", "exit status of the task")
    e.ok("container", "rm", name)


@behaviour("a file that is no program, a cwd that does not exist", "containerd")
def refusals(e):
    done = e("run", "--rm", *e.flags(), IMAGE, e.fresh(), "/opt/plain")
    check(done.status != 0, "a file that is no program ran")
    contains(done.err.lower(), "permission denied", "the message")
    done = e("run", "--rm", *e.flags(), "--cwd", "/not/there", IMAGE, e.fresh(), "pwd")
    check((done.status, done.out) == (0, "/not/there\n") or "/not/there" in done.err, f"a missing directory: {done}")


@behaviour("--cap-drop, --cap-add, --seccomp", "containerd")
def security(e):
    def shown(*flags):
        return e.ok("run", "--rm", *e.flags(), *flags, IMAGE, e.fresh(), "sh", "-c",
                    "grep -e CapBnd -e Seccomp: /proc/self/status").split()

    before, after = shown(), shown("--cap-drop", "CAP_CHOWN", "--cap-add", "CAP_NET_ADMIN", "--seccomp")
    eq(int(after[1], 16), int(before[1], 16) & ~1 | 1 << 12, "the bounding set")
    eq((before[3], after[3]), ("0", "2"), "the mode of seccomp")


@behaviour("the host's network, another task's network, the host's pids", "containerd")
def namespaces(e):
    def inside(kind, *flags):
        return e.ok("run", "--rm", *e.flags(), *flags, IMAGE, e.fresh(), "readlink", f"/proc/self/ns/{kind}").strip()

    eq(inside("net", "--net-host"), os.readlink("/proc/self/ns/net"), "the host's network namespace")
    name = e.sleeper()
    there = f"/proc/{e.task(name)[0]}/ns/net"
    eq(inside("net", "--with-ns", f"network:{there}"), os.readlink(there), "the network of another task")
    e.gone(name)
    eq(inside("pid", "--with-ns", f"pid:/proc/{os.getpid()}/ns/pid"), os.readlink("/proc/self/ns/pid"),
       "the host's pid namespace")


@behaviour("--privileged", "containerd")
def privileged(e):
    done = e("run", "--rm", *e.flags(), "--privileged", IMAGE, e.fresh(), "sh", "-c",
             "mount -t tmpfs t /tmp && echo mounted")
    if "operation not permitted" in done.err.lower() and "cap" in done.err.lower():
        raise Differs("the host's root lacks a capability that the engine asks for")
    eq((done.status, done.out), (0, "mounted\n"), f"a mount by a privileged container ({done.err})")


absent("containerd", "logs, stop, cp, update, healthcheck, restart policy, --init, --user of run, --cgroups=disabled",
       "ctr has no such commands or flags")
for row in ("systemd cgroup manager", "checkpoint, restore"):
    absent("containerd", row, "needs systemd as process 1, or a kernel that CRIU knows: see containerd-systemd")
