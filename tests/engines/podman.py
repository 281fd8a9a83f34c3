# SPDX-License-Identifier: Apache-2.0
"""podman, as root, on a store of its own."""
import os
import stat
import subprocess

from behaviours import fetch
import harness
from engine import IMAGE, Engine, absent, behaviour, check, choose, contains, eq, wait_until
from machine import Machines

CONF = """[containers]
default_ulimits = ["nofile=20000:20000", "nproc=8192:8192"]
log_driver = "k8s-file"
[network]
network_backend = "netavark"
network_config_dir = "{dir}/networks"
[engine]
cgroup_manager = "{manager}"
events_logger = "file"
tmp_dir = "{dir}/tmp"
volume_path = "{dir}/volumes"
infra_image = "{image}"
"""
STORAGE = """[storage]
driver = "{driver}"
graphroot = "{dir}/store"
runroot = "{dir}/run"
rootless_storage_path = "{dir}/store"
"""
POD = """apiVersion: v1
kind: Pod
metadata:
  name: {name}
spec:
  restartPolicy: Never
  containers:
  - name: writes
    image: {image}
    command: ["sh", "-c", "echo from the pod >/shared/f; sleep 1000"]
    volumeMounts: [{{name: shared, mountPath: /shared}}]
  - name: reads
    image: {image}
    command: ["sleep", "1000"]
    volumeMounts: [{{name: shared, mountPath: /shared}}]
  volumes:
  - name: shared
    emptyDir: {{}}
"""


class Podman(Machines, Engine):
    name, family = "podman", "docker-like"
    manager, driver = "cgroupfs", "overlay"
    rm_f = ("rm", "-f", "-t", "0")
    ulimits = ("--ulimit", "nproc=8192:8192")

    def argv(self, *args):
        return ["podman", *args]

    def environment(self):
        return {"CONTAINERS_CONF": self.place.path("containers.conf"),
                "CONTAINERS_STORAGE_CONF": self.place.path("storage.conf"),
                "XDG_RUNTIME_DIR": self.place.mkdir("xdg")}

    def configure(self):
        say = {"dir": self.place.dir, "manager": self.manager, "image": IMAGE, "driver": self.driver}
        self.place.mkdir("networks")
        # The runtime as the example names it, in the same table.
        named = self.with_machines(self.example("podman/teca.conf")).partition("[engine]\n")[2]
        self.place.write("containers.conf", CONF.format(**say) + named)
        self.place.write("storage.conf", STORAGE.format(**say))

    def start(self):
        self.prepare_machines()
        self.configure()
        self.ok("import", "-q", "--change", 'CMD ["sleep", "100000"]',
                "--change", "ENV PATH=/usr/sbin:/usr/bin:/sbin:/bin", self.place.tar, IMAGE)

    def stop(self):
        self("pod", "rm", "-f", "-t", "0", "-a")
        self("rm", "-f", "-t", "0", "-a")
        self("network", "prune", "-f")
        self("volume", "prune", "-f")

    def describe(self):
        return self.ok("--version").split()[-1]

    def state_of(self, container, field):
        return self.ok("inspect", "--format", "{{.State.%s}}" % field, container).strip()

    def cgroup_path(self, container):
        """Where the container is in the hierarchy of a v1 controller, or in v2."""
        pid = self.state_of(container, "Pid")
        with open(f"/proc/{pid}/cgroup", encoding="ascii") as f:
            return {tuple(n.split(":")[1].split(",")): n.strip().split(":")[2] for n in f}

    def limit(self, container, controller):
        """A limit in bytes as the kernel holds it."""
        for names, path in self.cgroup_path(container).items():
            if controller in names:
                with open(f"/sys/fs/cgroup/{controller}{path}/memory.limit_in_bytes",
                          encoding="ascii") as f:
                    return int(f.read())
        with open(f"/sys/fs/cgroup{self.cgroup_path(container)[('',)]}/memory.max",
                  encoding="ascii") as f:
            return int(f.read())

    def healthy(self, container):
        """Asked at once; podman's timer would be systemd's."""
        return self("healthcheck", "run", container).status == 0


class PodmanRootless(Podman):
    """podman of an ordinary user, with ids of its own from /etc/subuid."""
    name = family = "podman-rootless"
    uid, subids = 7321, 700000

    def argv(self, *args):
        return ["setpriv", f"--reuid={self.uid}", f"--regid={self.uid}", "--clear-groups", "--", "podman", *args]

    def environment(self):
        return super().environment() | {"USER": "teca-rootless", "_CONTAINERS_USERNS_CONFIGURED": ""}

    def directory(self, name):
        where = super().directory(name)
        os.chown(where, self.uid, self.uid)
        return where

    def env(self):
        return {k: v for k, v in super().env().items() if v}

    def make_user_known(self):
        """In this mount namespace only."""
        lines = {"passwd": f"teca-rootless:x:{self.uid}:{self.uid}::{self.place.dir}/home:/bin/sh\n",
                 "group": f"teca-rootless:x:{self.uid}:\n",
                 "subuid": f"teca-rootless:{self.subids}:65536\n",
                 "subgid": f"teca-rootless:{self.subids}:65536\n"}
        for name, line in lines.items():
            with open(f"/etc/{name}", encoding="utf-8") as f:
                self.place.write(f"etc-{name}", f.read() + line)
            harness.mount(self.place.path(f"etc-{name}"), f"/etc/{name}", "none", 4096)  # MS_BIND

    def configure(self):
        super().configure()
        self.make_user_known()
        self.place.mkdir("xdg")
        self.place.mkdir("home")
        tun = self.place.path("tun")  # an ordinary user may open the host's own only where udev says so
        os.mknod(tun, 0o666 | stat.S_IFCHR, os.makedev(10, 200))
        harness.mount(tun, "/dev/net/tun", "none", 4096)
        subprocess.run(["chown", "-R", f"{self.uid}:{self.uid}", self.place.dir], check=True)
        os.chmod(tun, 0o666)

    def stop(self):
        super().stop()
        self("system", "migrate")  # ends the process that holds the user namespace


@behaviour("a pod: shared network, ipc and uts namespaces", "podman")
def pod(e):
    name = e.fresh("pod")
    e.ok("pod", "create", "--name", name)
    first, second = e.fresh(), e.fresh()
    for container in (first, second):
        e.ok("run", "-d", "--pod", name, "--name", container, IMAGE, "sleep", "1000")
    spaces = [[os.readlink(f"/proc/{e.state_of(c, 'Pid')}/ns/{kind}") for kind in ("net", "ipc", "uts")]
              for c in (first, second)]
    eq(spaces[0], spaces[1], "namespaces of the pod")
    e.ok("pod", "rm", "-f", "-t", "0", name)


@behaviour("kube play", "podman")
def kube_play(e):
    name = e.fresh("kube")
    file = e.place.write("pod.yaml", POD.format(name=name, image=IMAGE))
    e.ok("play", "kube", file)
    wait_until(lambda: e("exec", f"{name}-reads", "cat", "/shared/f").out == "from the pod\n", "the shared file")
    e.ok("pod", "rm", "-f", "-t", "0", name)


@behaviour("--cgroups=disabled", "podman")
def cgroups_disabled(e):
    name = e.fresh()
    e.ok("run", "-d", "--cgroups=disabled", "--name", name, IMAGE, "sleep", "1000")
    with open(f"/proc/{e.state_of(name, 'Pid')}/cgroup", encoding="ascii") as inside, \
         open("/proc/self/cgroup", encoding="ascii") as outside:
        eq(inside.read(), outside.read(), "the cgroups of a container that gets none of its own")
    e.ok(*e.rm_f, name)


@behaviour("a user namespace: --uidmap", "podman")
def uidmap(e):
    out = e.ok("run", "--rm", "--uidmap", "0:100000:1000", "--gidmap", "0:100000:1000", IMAGE, "sh", "-c",
               "id -u; cat /proc/self/uid_map; touch /srv/mine && stat -c %u /srv/mine").split()
    eq(out, ["0", "0", "100000", "1000", "0"], "ids inside")


@behaviour("stop, start: the files stay", "podman")
def stop_start(e):
    name = e.fresh()
    e.ok("run", "-d", "--name", name, IMAGE, "sh", "-c", "echo x >>/srv/count; sleep 1000")
    e.ok("stop", "-t", "0", name)
    e.ok("start", name)
    wait_until(lambda: e("exec", name, "cat", "/srv/count").out == "x\nx\n", "both runs' marks")
    e.ok(*e.rm_f, name)


@behaviour("an error names the field that caused it", "podman")
def errors(e):
    done = e("run", "--rm", "--sysctl", "kernel.nosuchkey=1", "--ipc", "host", IMAGE, "true")
    check(done.status in (125, 126, 127), f"a sysctl that does not exist: {done}")
    contains(done.err, "nosuchkey", "the message")


@behaviour("--runtime teca-vm: a kernel of its own, on a bridge with names and a published port, and in a pod", "podman")
def machine(e):
    e.need_machines()
    page = "mkdir -p /srv/www && echo {0} >/srv/www/index.html && echo ready && exec httpd -f -p 80 -h /srv/www"
    network, beside, name, pod = (e.fresh(what) for what in ("net", "c", "c", "pod"))
    e.ok("network", "create", network)
    e.ok("run", "-d", "--name", beside, "--network", network, IMAGE, "sh", "-c", page.format("beside"))
    e.ok("run", "-d", "--name", name, "--network", network, "--runtime", "teca-vm", "-p", "18082:80", IMAGE, "sh", "-c",
         page.format("machine"))
    wait_until(lambda: e.ok("logs", name) == "ready\n", "the log")
    said = e.ok("exec", name, "sh", "-c", f"uname -r; wget -qO- http://{beside}/").splitlines()
    check(said[0] != os.uname().release, "it is the host's kernel")
    eq(said[1:], ["beside"], "another container by its name")
    wait_until(lambda: fetch("http://127.0.0.1:18082/") == b"machine\n", "the published port")
    eq(e.ok("exec", beside, "wget", "-qO-", f"http://{name}/"), "machine\n", "the machine by its name")
    e.ok(*e.rm_f, name, beside)
    e.ok("network", "rm", network)
    e.ok("pod", "create", "--name", pod)
    done = e("run", "--rm", "--pod", pod, "--runtime", "teca-vm", IMAGE, "sh", "-c", "hostname; uname -r; exit 7", seconds=60)
    eq((done.status, done.out.split()[0]), (7, pod), f"a container of a pod ({done.err})")
    check(done.out.split()[1] != os.uname().release, "it is the host's kernel")
    e.ok("pod", "rm", "-f", "-t", "0", pod)
    e.no_machines_left()


choose("podman-rootless", ("docker-like", "podman"),
       "run", "run_i", "run_d_logs", "run_it", "exec_plain", "exec_it", "exec_failures", "exec_d", "stop",
       "stop_heeded", "kill", "rm_f", "start_again", "restart_policy", "top", "cp", "volumes", "user",
       "capabilities", "security", "read_only", "init", "pid_host", "networks", "privileged", "exit_statuses",
       "killed", "workdir", "healthcheck", "build", "eight_at_once", "pod", "kube_play", "cgroups_disabled",
       "stop_start", "errors")
IN_THE_VM = "needs cgroup v2 with systemd: see podman-rootless-systemd"
for row in ("pause, unpause", "stats", "update", "--memory: out of memory gives 137 and OOMKilled", "limits"):
    absent("podman-rootless", row, IN_THE_VM)
absent("podman-rootless", "checkpoint, restore", "podman does that for root only")
absent("podman-rootless", "systemd cgroup manager", "needs systemd: see podman-rootless-systemd")
for row in ("systemd cgroup manager", "checkpoint, restore"):
    absent("podman", row, "needs systemd as process 1, or a kernel that CRIU knows: see podman-systemd")
