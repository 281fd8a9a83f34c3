# SPDX-License-Identifier: Apache-2.0
"""dockerd and docker's own client, with a containerd of its own."""
import json
import os
import shutil

from containerd import CONFIG
from behaviours import fetch
from engine import IMAGE, Engine, Skip, absent, behaviour, check, contains, eq, wait_until
from machine import Machines


class Docker(Machines, Engine):
    name, family = "docker", "docker-like"
    exec_missing = 126
    driver, configuration = "cgroupfs", {}
    client = "/usr/bin/docker"  # Debian's, of the daemon's version

    def argv(self, *args):
        return [self.client, "-H", "unix://" + self.place.path("docker.sock"), *args]

    def environment(self):
        return {"DOCKER_CONFIG": self.place.mkdir("docker-config"), "DOCKER_BUILDKIT": "0"}

    def start(self):
        self.prepare_machines()
        # A containerd that dockerd starts itself has 15 s to be ready, too few on a slow machine.
        self.place.write("ctd.toml", CONFIG.format(dir=self.place.dir))
        address = self.place.path("ctd.sock")
        self.daemon(["containerd", "--config", self.place.path("ctd.toml")],
                    lambda: self.call(["ctr", "-a", address, "version"]).status == 0, "containerd.log")
        named = json.loads(self.with_machines(self.example("docker/daemon.json")))
        self.place.write("daemon.json", json.dumps(named | self.configuration))
        self.daemon(["dockerd", "--config-file", self.place.path("daemon.json"),
                     "--data-root", self.place.mkdir("docker-data"),
                     "--exec-root", self.place.mkdir("docker-exec"),
                     "--pidfile", self.place.path("docker.pid"),
                     "-H", "unix://" + self.place.path("docker.sock"), "--storage-driver", "overlay2",
                     "--containerd", address,
                     "--exec-opt", f"native.cgroupdriver={self.driver}", "--oom-score-adjust", "0",
                     "--userland-proxy=true"],
                    lambda: self("info").status == 0, "dockerd.log", 60)
        self.ok("import", self.place.tar, IMAGE)

    def stop(self):
        names = self("ps", "-aq").out.split()
        if names:
            self("rm", "-f", *names)

    def describe(self):
        return self.ok("version", "--format", "{{.Server.Version}}").strip()

    def state_of(self, container, field):
        return self.ok("inspect", "--format", "{{.State.%s}}" % field, container).strip()

    def limit(self, container, controller):
        full = self.ok("inspect", "--format", "{{.Id}}", container).strip()
        where = f"/sys/fs/cgroup/{controller}/docker/{full}/memory.limit_in_bytes"
        if not os.path.exists(where):
            where = f"/sys/fs/cgroup/docker/{full}/memory.max"
        with open(where, encoding="ascii") as f:
            return int(f.read())

    def healthy(self, container):
        """dockerd asks by itself, once a second; a new answer counts."""
        def answers():
            text = self.ok("inspect", "--format", "{{range .State.Health.Log}}{{.Start}} {{end}}", container)
            return set(text.split("+0000 UTC"))
        before = answers()
        wait_until(lambda: answers() - before, "an answer of the health check")
        return self.state_of(container, "Health.Status") == "healthy"


COMPOSE = """version: "3.3"
services:
  first:
    image: {image}
    command: sh -c "echo from the first >/shared/f; sleep 1000"
    volumes: ["shared:/shared"]
  second:
    image: {image}
    command: sleep 1000
    depends_on: [first]
    volumes: ["shared:/shared"]
volumes:
  shared:
"""


@behaviour("docker compose up of two services", "docker")
def compose(e):
    where = e.place.mkdir("compose")
    with open(os.path.join(where, "docker-compose.yml"), "w", encoding="ascii") as f:
        f.write(COMPOSE.format(image=IMAGE))
    if not shutil.which("docker-compose"):
        raise Skip("docker-compose is missing (scripts/install-deps.sh engines)")
    base = ["docker-compose", "-H", "unix://" + e.place.path("docker.sock"), "-p", "two"]
    up = e.call([*base, "up", "-d"], cwd=where, seconds=90)
    eq(up.status, 0, f"docker-compose up ({up.err})")
    wait_until(lambda: e.call([*base, "exec", "-T", "second", "cat", "/shared/f"], cwd=where).out
               == "from the first\n", "the shared file")
    contains(e.call([*base, "exec", "-T", "second", "ping", "-c", "1", "first"], cwd=where).out, "1 packets received",
             "the other service by name")
    eq(e.call([*base, "down", "-v", "-t", "0"], cwd=where, seconds=90).status, 0, "docker-compose down")


@behaviour("wait tells the exit status", "docker")
def wait(e):
    name = e.fresh()
    e.ok("run", "-d", "--name", name, IMAGE, "sh", "-c", "sleep 0.5; exit 11")
    eq(e.ok("wait", name), "11\n", "the status that wait tells")
    e.ok(*e.rm_f, name)


@behaviour("--runtime teca-vm: a kernel of its own, on the default bridge with a published port", "docker")
def machine(e):
    e.need_machines()
    page = "mkdir -p /srv/www && echo {} >/srv/www/index.html && {} httpd -f -p 80 -h /srv/www"
    beside, name = e.fresh(), e.fresh()
    e.ok("run", "-d", "--name", beside, IMAGE, "sh", "-c", page.format("beside", ""))
    e.ok("run", "-d", "--name", name, "--runtime", "teca-vm", "-p", "18081:80", "-m", "64m", "--hostname", "inside",
         IMAGE, "sh", "-c", "trap 'exit 143' TERM; " + page.format("machine", "echo ready;") + " & wait")
    wait_until(lambda: e.ok("logs", name) == "ready\n", "the log")
    address = {c: e.ok("inspect", "--format", "{{.NetworkSettings.IPAddress}}", c).strip() for c in (beside, name)}
    gateway = e.ok("inspect", "--format", "{{.NetworkSettings.Gateway}}", name).strip()
    said = e.ok("exec", name, "sh", "-c", "uname -r; hostname; cat /sys/fs/cgroup/memory.max; ip -o -4 addr show dev eth0; "
                f"ping -c 1 -W 20 {gateway} >/dev/null && echo gateway; wget -qO- http://{address[beside]}/").splitlines()
    check(said[0] != os.uname().release, "it is the host's kernel")
    eq(said[1:3], ["inside", str(64 << 20)], "hostname and limit of memory")
    contains(said[3], f"inet {address[name]}/16 ", "the address")
    eq(said[4:], ["gateway", "beside"], "what it reaches")
    wait_until(lambda: fetch("http://127.0.0.1:18081/") == b"machine\n", "the published port")
    eq(e.ok("exec", beside, "wget", "-qO-", f"http://{address[name]}/"), "machine\n", "the machine from another container")
    e.ok("stop", "-t", "30", name)
    eq(e.state_of(name, "ExitCode"), "143", "exit status of what heeds SIGTERM")
    e.ok("start", name)
    wait_until(lambda: fetch("http://127.0.0.1:18081/") == b"machine\n", "the published port of its next machine")
    e.ok(*e.rm_f, name, beside)
    e.no_machines_left()


absent("docker", "--runtime teca-vm: names on a network of one's own",
       "docker's name server, 127.0.0.11, is on the loopback of the network namespace; a machine has its own. The default bridge has "
       "the host's name servers; --add-host works")
absent("docker", "systemd cgroup manager", "needs systemd as process 1: see docker-systemd")
absent("docker", "checkpoint, start --checkpoint", "needs a kernel that CRIU knows: see docker-systemd")
absent("docker", "--cgroups=disabled, pod, kube play", "docker has no such thing")
