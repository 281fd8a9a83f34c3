# SPDX-License-Identifier: Apache-2.0
"""
What kubelet asks of a node: containerd's CRI, with examples/kubernetes/containerd.toml as its configuration. Pods
ask for the handler of examples/kubernetes/runtimeclass.yaml; their networks are Debian's CNI plugins'.
"""
import contextlib
import json
import os
import re
import subprocess
import time

import harness
from containerd import oci_archive
from machine import Machines
from engine import (
    IMAGE,
    TREE,
    Done,
    Engine,
    Failure,
    absent,
    allow,
    behaviour,
    check,
    contains,
    eq,
    wait_until)

# Around the example's own tables: places, and what a host of ours has not.
CONFIG = """root = "{dir}/cri-root"
state = "{dir}/cri-state"
disabled_plugins = ["io.containerd.internal.v1.opt"]
[grpc]
address = "{dir}/cri.sock"
[plugins."io.containerd.grpc.v1.cri"]
sandbox_image = "{image}"
restrict_oom_score_adj = true
disable_apparmor = true
netns_mounts_under_state_dir = true
[plugins."io.containerd.grpc.v1.cri".cni]
bin_dir = "/usr/lib/cni"
conf_dir = "{dir}/cni"
"""
NETWORK = {"cniVersion": "0.4.0", "name": "pods", "plugins": [
    {"type": "bridge", "bridge": "pods0", "isGateway": True,
     "ipam": {"type": "host-local", "ranges": [[{"subnet": "10.87.0.0/24"}]]}}]}
POD, CONTAINER, NODE = range(3)  # NamespaceMode
CREATED, RUNNING, EXITED = range(3)  # ContainerState


# ---- protocol buffers: a message is {number of the field: value}, or a list of values --------------

def varint(n):
    out = b""
    while n > 0x7f:
        out += bytes([n & 0x7f | 0x80])
        n >>= 7
    return out + bytes([n])


def encode(message):
    out = b""
    for field, values in message.items():
        for value in values if isinstance(values, list) else [values]:
            if isinstance(value, int):
                out += varint(field << 3) + varint(value & (1 << 64) - 1)
                continue
            data = encode(value) if isinstance(value, dict) else value.encode()
            out += varint(field << 3 | 2) + varint(len(data)) + data
    return out


def decode(data):
    """{number: the last value}; messages and strings are bytes."""
    at, out = 0, {}

    def number():
        nonlocal at
        value = shift = 0
        while True:
            byte = data[at]
            at += 1
            value |= (byte & 0x7f) << shift
            shift += 7
            if byte < 0x80:
                return value

    while at < len(data):
        tag = number()
        value = number()
        if tag & 7 == 2:
            at += value
            value = data[at - value:at]
        out[tag >> 3] = value
    return out


def name_value(pairs):
    return [{1: name, 2: value} for name, value in pairs.items()]


# ---- the engine -----------------------------------------------------------------------------------

class Kubernetes(Machines, Engine):
    name = family = "kubernetes"
    systemd = False

    def __init__(self, place, runtime, binary):
        super().__init__(place, runtime, binary)
        self.parent = "/kubepods-teca.slice" if self.systemd else f"/teca-cri-{runtime}{os.getpid()}"
        self.pods = []

    def argv(self, *args):
        return ["ctr", "-a", self.place.path("cri.sock"), "-n", "k8s.io", *args]

    def start(self):
        self.prepare_machines()
        with open(os.path.join(TREE, "examples/kubernetes/runtimeclass.yaml"), encoding="utf-8") as f:
            self.handler = re.search(r"^handler: (\S+)$", f.read(), re.M).group(1)
        self.place.mkdir("cni")
        NETWORK["plugins"][0]["ipam"]["dataDir"] = self.place.mkdir("cni-data")
        self.place.write("cni/pods.conflist", json.dumps(NETWORK))
        # What stands before the first table is the example's version; then what an administrator has there already.
        version, _, tables = self.with_machines(self.example("kubernetes/containerd.toml")).partition("\n[")
        tables = tables.replace("SystemdCgroup = true", f"SystemdCgroup = {'true' if self.systemd else 'false'}").replace(
            "BinaryName = ", f'Root = "{self.place.mkdir("runc-root")}"\nBinaryName = ')
        self.place.write("cri.toml", version + "\n" + CONFIG.format(dir=self.place.dir, image=IMAGE) + "[" + tables)
        self.daemon(["containerd", "--config", self.place.path("cri.toml")],
                    lambda: self("version").status == 0, "cri.log", 60)
        self.ok("image", "import", oci_archive(self.place, ["sleep", "100000"]))
        wait_until(lambda: self.cri("Version", {}).status == 0, "the CRI")

    def stop(self):
        for pod in list(self.pods):
            self.remove_pod(pod)
        for _, where, _ in harness.hierarchies():
            with contextlib.suppress(OSError):
                os.rmdir(where + self.parent)

    def describe(self):
        return re.search(r"Server:[\s\S]*?Version:\s*(\S+)", self.ok("version")).group(1)

    # -- the CRI
    def cri(self, method, message, seconds=None):
        """Done, and its reply as bytes in out."""
        done = subprocess.run(["/usr/bin/python3", os.path.join(TREE, "tests/engines/cri_call.py"),
                               self.place.path("cri.sock"), method], input=encode(message), env=self.env(),
                              capture_output=True, timeout=allow(seconds or self.seconds), check=False)
        return Done(done.returncode, done.stdout, done.stderr.decode(errors="replace"))

    def asked(self, method, message, seconds=None):
        done = self.cri(method, message, seconds)
        if done.status:
            raise Failure(done.err.strip())
        return decode(done.out)

    def pod_config(self, name, network, pid=CONTAINER):
        logs = self.place.mkdir("logs-" + name)
        spaces = {1: network, 2: pid, 3: POD}
        return {1: {1: name, 2: "uid-" + name, 3: "default"}, 2: "" if network == NODE else name, 3: logs, 6: name_value({"app": name}),
                8: {1: self.parent, 2: {1: spaces}}}

    def pod(self, network=NODE, pid=CONTAINER, handler=None):
        """(id, its configuration)"""
        config = self.pod_config(self.fresh("pod"), network, pid)
        reply = self.asked("RunPodSandbox", {1: config, 2: self.handler if handler is None else handler})
        self.pods.append(reply[1].decode())
        return self.pods[-1], config

    def remove_pod(self, pod):
        self.asked("StopPodSandbox", {1: pod})
        self.asked("RemovePodSandbox", {1: pod})
        self.pods.remove(pod)

    def container(self, pod, *command, linux=None, pid=CONTAINER, network=NODE, start=True, **more):
        """A container in a pod: its id."""
        pod_id, pod_config = pod
        name = self.fresh()
        context = {3: {1: network, 2: pid, 3: POD}} | (linux or {}).get(2, {})
        config = {1: {1: name}, 2: {1: IMAGE}, 3: list(command), 11: name + ".log",
                  15: (linux or {}) | {2: context}} | more.get("fields", {})
        container = self.asked("CreateContainer", {1: pod_id, 2: config, 3: pod_config})[1].decode()
        if start:
            self.asked("StartContainer", {1: container})
        return container

    def address(self, pod):
        return decode(decode(self.asked("PodSandboxStatus", {1: pod[0]})[1])[5])[1].decode()

    def status(self, container):
        """{state, exit code, reason, message}"""
        found = decode(self.asked("ContainerStatus", {1: container})[1])
        return {"state": found.get(3, 0), "code": found.get(7, 0), "reason": found.get(10, b"").decode(),
                "message": found.get(11, b"").decode()}

    def exited(self, container):
        wait_until(lambda: self.status(container)["state"] == EXITED, "the end of the container")
        return self.status(container)

    def run_in(self, container, *command, seconds=20):
        """(exit status, stdout) of ExecSync."""
        reply = self.asked("ExecSync", {1: container, 2: list(command), 3: int(allow(seconds))})
        return reply.get(3, 0), reply.get(1, b"").decode()

    def log(self, pod, line=""):
        """Lines of all containers of a pod, as kubelet reads them: "TIME STREAM F TEXT"."""
        found = []
        for name in sorted(os.listdir(pod[1][3])):
            with open(os.path.join(pod[1][3], name), encoding="utf-8") as f:
                found += [tuple(text.rstrip("\n").split(" ", 3)[1:]) for text in f]
        return [entry for entry in found if line in entry[2]]

    def tasks(self):
        return {line.split()[0]: int(line.split()[1]) for line in self.ok("task", "ls").splitlines()[1:]}

    def memory_limit(self, container):
        """As the kernel holds it."""
        with open(f"/proc/{self.tasks()[container]}/cgroup", encoding="ascii") as f:
            paths = {tuple(line.split(":")[1].split(",")): line.strip().split(":")[2] for line in f}
        for names, path in paths.items():
            if "memory" in names:
                with open(f"/sys/fs/cgroup/memory{path}/memory.limit_in_bytes", encoding="ascii") as f:
                    return int(f.read())
        with open(f"/sys/fs/cgroup{paths[('',)]}/memory.max", encoding="ascii") as f:
            return int(f.read())


@behaviour("a pod of the RuntimeClass: its containers' output is in its logs", "kubernetes")
def pod_logs(e):
    pod = e.pod()
    container = e.container(pod, "sh", "-c", "echo out; echo err >&2; exit 3")
    eq(e.exited(container)["code"], 3, "exit code")
    eq(sorted(e.log(pod)), [("stderr", "F", "err"), ("stdout", "F", "out")], "the log")
    check(os.path.isdir(e.place.path("runc-root", "k8s.io", pod[0])), "the pod's sandbox is a container of this runtime")
    e.remove_pod(pod[0])


@behaviour("a handler that nobody has configured is refused", "kubernetes")
def handler(e):
    done = e.cri("RunPodSandbox", {1: e.pod_config(e.fresh("pod"), NODE), 2: "no-such-handler"})
    check(done.status != 0, "a pod with an unknown handler ran")
    contains(done.err, "no runtime for \"no-such-handler\"", "the error")


@behaviour("exec (of probes): output, exit status, a timeout", "kubernetes")
def exec_sync(e):
    pod = e.pod()
    container = e.container(pod, "sleep", "1000")
    eq(e.run_in(container, "sh", "-c", "echo hello; exit 9"), (9, "hello\n"), "status and output")
    done = e.cri("ExecSync", {1: container, 2: ["sleep", "900"], 3: 1})
    check(done.status != 0 and "timeout" in done.err, f"an exec that takes too long: {done}")
    check("900" not in e.run_in(container, "ps", "-o", "args")[1], "what took too long is gone")
    e.remove_pod(pod[0])


@behaviour("stop: SIGTERM is heeded (exit 143), SIGKILL after the grace period (137)", "kubernetes")
def stop(e):
    pod = e.pod()
    heeds = e.container(pod, "sh", "-c", "trap 'exit 143' TERM; touch /tmp/r; while :; do sleep 0.1; done")
    deaf = e.container(pod, "sleep", "1000")
    wait_until(lambda: e.run_in(heeds, "ls", "/tmp/r")[0] == 0, "the trap")
    e.asked("StopContainer", {1: heeds, 2: int(allow(30))})
    eq(e.status(heeds)["code"], 143, "exit code of the one that heeds SIGTERM")
    e.asked("StopContainer", {1: deaf, 2: 1})
    eq(e.status(deaf)["code"], 137, "exit code of the other")
    for container in (heeds, deaf):
        e.asked("RemoveContainer", {1: container})
    e.remove_pod(pod[0])


@behaviour("a missing command, a file that is no program: the reason is in the error", "kubernetes")
def missing(e):
    pod = e.pod()
    for command, words in (("no-such-command", ("no-such-command", "executable file", "not found in $PATH")),
                           ("/opt/plain", ("ermission denied",))):
        container = e.container(pod, command, start=False)
        done = e.cri("StartContainer", {1: container})
        check(done.status != 0, f"{command} ran")
        for word in words:
            contains(done.err, word, f"the error of {command}")
        eq(e.status(container)["state"], EXITED, f"state of {command}")
        e.asked("RemoveContainer", {1: container})
    e.remove_pod(pod[0])


@behaviour("a pod's network by CNI: its containers share it, another pod is reached", "kubernetes")
def pod_network(e):
    first, second = e.pod(POD), e.pod(POD)
    serves = e.container(first, "sh", "-c", "mkdir -p /srv/w; echo page >/srv/w/index.html; httpd -f -p 80 -h /srv/w",
                         network=POD)
    beside = e.container(first, "sleep", "1000", network=POD)
    asks = e.container(second, "sleep", "1000", network=POD)
    wait_until(lambda: e.run_in(beside, "wget", "-qO-", "http://127.0.0.1/") == (0, "page\n"), "the page in the same pod")
    eq(e.run_in(asks, "wget", "-qO-", f"http://{e.address(first)}/"), (0, "page\n"), "the page from another pod")
    eq(e.run_in(serves, "hostname")[1].strip(), first[1][2], "the pod's hostname")
    for pod in (first, second):
        e.remove_pod(pod[0])


@behaviour("a pod of the RuntimeClass teca-vm: network, name, exec, logs, limits, one container after another", "kubernetes")
def machine(e):
    e.need_machines()
    others = set(e.tasks())
    pod, beside = e.pod(POD, handler="teca-vm"), e.pod(POD)
    eq(e.machines_left(), [], "machines of a pod's sandbox")
    first = e.container(pod, "sh", "-c", "echo first; hostname >&2; exit 5", network=POD)
    eq(e.exited(first)["code"], 5, "exit code of an init container")
    eq(sorted(e.log(pod)), [("stderr", "F", pod[1][2]), ("stdout", "F", "first")], "its log, with the pod's hostname")
    serves = e.container(pod, "sh", "-c", "trap 'exit 143' TERM; mkdir /srv/w; echo page >/srv/w/index.html; httpd -f -p 80 -h /srv/w & "
                         "wait", network=POD, linux={1: {4: 64 << 20}})
    status, out = e.run_in(serves, "sh", "-c", "uname -r; hostname; cat /sys/fs/cgroup/memory.max; exit 9")
    eq((status, out.split()[1:]), (9, [pod[1][2], str(64 << 20)]), f"exec: {out}")
    check(out.split()[0] != os.uname().release, "it is the host's kernel")
    asks = e.container(beside, "sleep", "1000", network=POD)
    wait_until(lambda: e.run_in(asks, "wget", "-qO-", f"http://{e.address(pod)}/") == (0, "page\n"),
               "the page from a pod in no machine")
    e.asked("StopContainer", {1: serves, 2: int(allow(30))})
    eq(e.status(serves)["code"], 143, "exit code of what heeds SIGTERM")
    for one in (pod, beside):
        e.remove_pod(one[0])
    eq(set(e.tasks()), others, "tasks afterwards")
    e.no_machines_left()


@behaviour("a pod's pid namespace: shared, or one for each container", "kubernetes")
def pod_pids(e):
    for mode, sees in ((POD, True), (CONTAINER, False)):
        pod = e.pod(pid=mode)
        e.container(pod, "sleep", "4711", pid=mode)
        second = e.container(pod, "sleep", "1000", pid=mode)
        eq("4711" in e.run_in(second, "ps", "-o", "args")[1], sees, f"does it see the other one's process (mode {mode})?")
        e.remove_pod(pod[0])


@behaviour("volumes, a read-only root, a user, capabilities, seccomp", "kubernetes")
def security(e):
    where = e.place.mkdir("cri-volume")
    pod = e.pod()
    container = e.container(
        pod, "sleep", "1000", linux={2: {1: {2: ["ALL"], 1: ["NET_ADMIN"]}, 5: {1: 0}, 7: 1, 11: 1, 15: {1: 0}}},
        fields={7: [{1: "/rw", 2: where}, {1: "/ro", 2: where, 3: 1}], 6: name_value({"A": "b c"})})
    eq(e.run_in(container, "sh", "-c", "echo $A >/rw/a; cat /ro/a; echo x 2>/dev/null >/ro/b || echo refused; "
                "touch /srv/x 2>/dev/null || echo read-only")[1], "b c\nrefused\nread-only\n", "volumes and the root")
    shown = dict(line.split(":\t") for line in e.run_in(container, "cat", "/proc/self/status")[1].splitlines())
    eq((int(shown["CapBnd"], 16), shown["NoNewPrivs"], shown["Seccomp"]), (1 << 12, "1", "2"), "what its process may")
    user = e.container(pod, "id", "-u", linux={2: {5: {1: 1000}}})
    eq(e.exited(user)["code"], 0, "exit code")
    eq(e.log(pod, "1000"), [("stdout", "F", "1000")], "the user")
    e.remove_pod(pod[0])


@behaviour("limits, an update of them, statistics", "kubernetes")
def limits(e):
    pod = e.pod()
    container = e.container(pod, "sleep", "1000", linux={1: {4: 64 << 20, 3: 512}})
    eq(e.memory_limit(container), 64 << 20, "the limit of memory")
    e.asked("UpdateContainerResources", {1: container, 2: {4: 96 << 20}})
    eq(e.memory_limit(container), 96 << 20, "the limit after the update")
    stats = decode(e.asked("ContainerStats", {1: container})[1])
    check(decode(decode(stats[3])[2]).get(1, 0) > 0, f"memory in the statistics: {stats}")
    e.remove_pod(pod[0])


@behaviour("out of memory: exit code 137 and the reason OOMKilled", "kubernetes")
def oom(e):
    pod = e.pod()
    container = e.container(pod, "sh", "-c", f"dd if=/dev/zero of=/dev/null bs=100M count=1; s=$?; sleep {int(allow(1))}; exit $s",
                            linux={1: {4: 32 << 20}})
    status = e.exited(container)
    eq((status["code"], status["reason"]), (137, "OOMKilled"), "the status")
    e.remove_pod(pod[0])


@behaviour("removal of a pod with running containers leaves nothing", "kubernetes")
def removal(e):
    others = set(e.tasks())
    pod = e.pod()
    for _ in range(3):
        e.container(pod, "sleep", "1000")
    pids = [pid for task, pid in e.tasks().items() if task not in others]
    eq(len(pids), 4, "tasks of the pod")
    began = time.monotonic()
    e.remove_pod(pod[0])
    check(time.monotonic() - began < allow(20), "the removal of a pod took long")
    eq(set(e.tasks()), others, "tasks afterwards")
    check(not any(os.path.exists(f"/proc/{pid}") for pid in pids), "processes of the pod still live")
    eq(set(os.listdir(e.place.path("runc-root", "k8s.io"))), others, "state directories")


absent("kubernetes", "exec -it, attach, port-forward", "kubelet's streams go by websockets, which nobody of Debian's speaks; "
       "the runtime's part is exec -t, as in the section of containerd")
absent("kubernetes", "a pod of the RuntimeClass teca-vm: two containers at once", "a machine has the pod's interface to itself: the second is "
       "refused, by a sentence")
absent("kubernetes", "a pod of the RuntimeClass teca-vm: the reason OOMKilled", "containerd watches the host's cgroup, and the guest's kernel "
       "kills: the exit code is 137, the reason Error; teca events tells of it")
absent("kubernetes", "CRI-O", "Debian 12 has no package of it; examples/kubernetes/crio.conf is checked for its syntax")
