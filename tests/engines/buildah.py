# SPDX-License-Identifier: Apache-2.0
"""buildah: RUN of a build, run in a working container."""
import os

from engine import Engine, absent, behaviour, check, contains, eq

STORAGE = """[storage]
driver = "overlay"
graphroot = "{dir}/store"
runroot = "{dir}/run"
"""


class Buildah(Engine):
    name = family = "buildah"
    # buildah 1.28 asks for more than the host's root may have, whatever is configured.
    ulimits = ("--ulimit", "nofile=20000:20000", "--ulimit", "nproc=32768:32768")

    def argv(self, *args):
        return ["buildah", *args]

    def environment(self):
        return {"CONTAINERS_STORAGE_CONF": self.place.path("storage.conf"),
                "CONTAINERS_CONF": self.place.path("containers.conf"),
                "BUILDAH_RUNTIME": self.binary, "BUILDAH_ISOLATION": "oci"}

    def start(self):
        self.place.write("storage.conf", STORAGE.format(dir=self.place.dir))
        self.place.write("containers.conf", '[containers]\ndefault_ulimits = ["nofile=20000:20000", '
                         '"nproc=32768:32768"]\n[network]\nnetwork_backend = "netavark"\n'
                         f'network_config_dir = "{self.place.mkdir("networks")}"\n')
        self.container = self.ok("from", "scratch").strip()
        self.ok("add", self.container, self.place.tar, "/")

    def stop(self):
        self("rm", "-a")

    def describe(self):
        return self.ok("--version").split()[2]

    def run(self, *args, **more):
        return self("run", *args, **more)


@behaviour("run, output and exit status", "buildah")
def run(e):
    done = e("run", "--network", "none", e.container, "sh", "-c", "echo out; echo err >&2; exit 3")
    eq((done.status, done.out), (3, "out\n"), f"status and stdout ({done.err})")
    contains(done.err, "err\n", "stderr")


@behaviour("run keeps what it changes", "buildah")
def run_changes(e):
    e.ok("run", "--network", "none", e.container, "sh", "-c", "echo kept >/srv/kept")
    eq(e.ok("run", "--network", "none", e.container, "cat", "/srv/kept"), "kept\n", "the file")


@behaviour("run --tty", "buildah")
def run_tty(e):
    status, seen = e.terminal("run", "--network", "none", "--tty", e.container, "sh", script=[
        (r"[#$] ", "tty\n"), (r"/dev/pts/\d+[\s\S]*[#$] ", "exit 4\n")])
    check("/dev/pts/" in seen, f"a terminal: {seen!r}")
    eq(status, 4, "exit status")


@behaviour("run with a volume, a user, capabilities", "buildah")
def run_details(e):
    where = e.place.mkdir("volume")
    e.ok("run", "--network", "none", "-v", f"{where}:/v", "--cap-drop", "CAP_CHOWN", e.container, "sh", "-c",
         "echo x >/v/x; ! chown 5 /v/x 2>/dev/null")
    eq(os.listdir(where), ["x"], "the volume")
    eq(e.ok("run", "--network", "none", "--user", "1000:1000", e.container, "id", "-u"), "1000\n", "the user")


@behaviour("a command that is not there", "buildah")
def run_missing(e):
    done = e("run", "--network", "none", e.container, "nope")
    check(done.status != 0, "a missing command ran")
    contains(done.err, "nope", "the message")


@behaviour("a file that is no program", "buildah")
def run_plain(e):
    done = e("run", "--network", "none", e.container, "/opt/plain")
    check(done.status != 0, "a file that is no program ran")
    contains(done.err, "/opt/plain", "the message")


@behaviour("a killed program: buildah names the signal", "buildah")
def run_killed(e):
    for signal, name in (("TERM", "terminated"), ("KILL", "killed")):  # --pid host: process 1 does not kill itself
        done = e("run", "--network", "none", "--pid", "host", e.container, "sh", "-c", f"kill -{signal} $$")
        check(done.status != 0, f"the exit status of what SIG{signal} ends")
        contains(done.err, f"container exited on {name}", "the message")


@behaviour("--workingdir that does not exist", "buildah")
def run_workdir(e):
    done = e("run", "--network", "none", "--workingdir", "/not/there", e.container, "pwd")
    eq((done.status, done.out), (0, "/not/there\n"), f"buildah makes the directory ({done.err})")


@behaviour("--pid=host", "buildah")
def run_pid_host(e):
    out = e.ok("run", "--network", "none", "--pid", "host", e.container, "readlink", "/proc/self/ns/pid")
    eq(out.strip(), os.readlink("/proc/self/ns/pid"), "the pid namespace")


@behaviour("build (bud) with RUN", "buildah")
def bud(e):
    image = e.fresh("image")
    e.ok("commit", "-q", e.container, image)
    where = e.place.mkdir("bud")
    with open(os.path.join(where, "Dockerfile"), "w", encoding="ascii") as f:
        f.write(f"FROM localhost/{image}\nRUN echo built >/srv/mark\nUSER 1000\nRUN test $(id -u) = 1000\n"
                "RUN test $(cat /srv/mark) = built\n")
    e.ok("bud", "--network", "none", "--layers", "-t", e.fresh("image"), where, seconds=120)


@behaviour("build: a failing RUN stops the build", "buildah")
def bud_fails(e):
    image = e.fresh("image")
    e.ok("commit", "-q", e.container, image)
    where = e.place.mkdir("bud-fails")
    with open(os.path.join(where, "Dockerfile"), "w", encoding="ascii") as f:
        f.write(f"FROM localhost/{image}\nRUN exit 7\nRUN echo never\n")
    done = e("bud", "--network", "none", where, seconds=120)
    check(done.status != 0 and "never" not in done.out, f"the build goes on after RUN exit 7: {done}")
    contains(done.text, "7", "the exit status in the message")


absent("buildah", "run -d, logs, exec, stop, kill, rm -f, pause, update, stats, top, cp, healthcheck, restart policy, pod, checkpoint",
       "buildah keeps no container running: a RUN is all that it asks a runtime for")
absent("buildah", "--memory, --read-only, --init, --privileged, --security-opt, a container's network",
       "`buildah run` has no such flags")
