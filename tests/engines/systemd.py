# SPDX-License-Identifier: Apache-2.0
"""
What the host cannot show: cgroup v2, systemd as the cgroup manager, a kernel that CRIU knows. These
engines run in the test VM (tests/vm/suite engines), on the same private places.
"""
import os
import pwd
import subprocess

import behaviours  # noqa: F401
from buildah import Buildah
from containerd import Containerd
from cri import Kubernetes
from docker import Docker
from engine import IMAGE, behaviour, check, choose, contains, eq, wait_until
from podman import Podman, PodmanRootless

COUNT = ("sh", "-c", "i=0; while :; do i=$((i+1)); echo $i >/srv/n; sleep 0.1; done")


def cgroup_of(pid):
    """The path in the v2 tree."""
    with open(f"/proc/{pid}/cgroup", encoding="ascii") as f:
        return f.read().strip().split("::")[1]


def unit_of(pid):
    """The name of the unit that systemd has for the cgroup of a process, {its state, its slice}."""
    unit = next(part for part in reversed(cgroup_of(pid).split("/")) if part.endswith(".scope"))
    done = subprocess.run(["systemctl", "show", "--value", "-p", "ActiveState", "-p", "Slice", unit],
                          check=True, capture_output=True, text=True)
    return unit, set(done.stdout.split())


class PodmanSystemd(Podman):
    name = family = "podman-systemd"
    as_well = ("docker-like", "podman")
    # The VM is slow: what depends on cgroups, and what the host's root has no capability for.
    usual = ("run", "exec_plain", "pause", "stats", "oom", "privileged", "limits", "update", "pod", "cgroups_disabled")
    manager = "systemd"

    def count(self, container):
        return int(self("exec", container, "cat", "/srv/n").out or 0)


class PodmanRootlessSystemd(PodmanRootless):
    """An ordinary user with a manager of systemd's, in the cgroup that is his."""
    name = family = "podman-rootless-systemd"
    as_well = ("podman-rootless",)
    usual = ("run",)
    manager = "systemd"
    user = "vmuser"

    def __init__(self, place, runtime, binary):
        super().__init__(place, runtime, binary)
        self.uid = pwd.getpwnam(self.user).pw_uid

    def environment(self):
        runtime = f"/run/user/{self.uid}"
        return super().environment() | {"USER": self.user, "XDG_RUNTIME_DIR": runtime,
                                        "DBUS_SESSION_BUS_ADDRESS": f"unix:path={runtime}/bus"}

    @classmethod
    def before_its_namespaces(cls):
        """systemd mounts /run/user/UID where systemd sees it."""
        uid = pwd.getpwnam(cls.user).pw_uid
        subprocess.run(["loginctl", "enable-linger", cls.user], check=True)
        wait_until(lambda: os.path.exists(f"/run/user/{uid}/bus"), "the user manager")

    def make_user_known(self):
        """The test VM's user has subordinate ids already. This process enters his cgroup."""
        above = f"/sys/fs/cgroup/user.slice/user-{self.uid}.slice/user@{self.uid}.service"
        mine = os.path.join(above, "teca-test.scope")
        os.makedirs(mine, exist_ok=True)
        for name in ("", "cgroup.procs", "cgroup.subtree_control", "cgroup.threads"):
            os.chown(os.path.join(mine, name), self.uid, self.uid)
        with open(os.path.join(mine, "cgroup.procs"), "w", encoding="ascii") as f:
            f.write("0")


class DockerSystemd(Docker):
    name = family = "docker-systemd"
    as_well = ("docker-like", "docker")
    usual = ("run", "stats", "oom", "update", "privileged")
    driver = "systemd"
    configuration = {"experimental": True}

    def limit(self, container, _controller):
        with open(f"/sys/fs/cgroup{cgroup_of(self.state_of(container, 'Pid'))}/memory.max", encoding="ascii") as f:
            return int(f.read())

    def count(self, container):
        return int(self("exec", container, "cat", "/srv/n").out or 0)


class KubernetesSystemd(Kubernetes):
    name = family = "kubernetes-systemd"
    as_well = ("kubernetes",)
    usual = ("pod_logs", "limits", "oom", "removal")
    systemd = True


class BuildahSystemd(Buildah):
    """Its cgroup manager is systemd wherever that is process 1."""
    name = family = "buildah-systemd"
    as_well = ("buildah",)
    usual = ("run", "run_missing", "bud", "bud_fails")


class ContainerdSystemd(Containerd):
    name = family = "containerd-systemd"
    as_well = ("containerd",)
    usual = ("pause", "metrics", "limits", "privileged")

    def flags(self):
        return (*super().flags(), "--runc-systemd-cgroup", "--cgroup", f"system.slice:ctr:{self.fresh('unit')}")


# What an ordinary user cannot have on a host without systemd.
choose("podman-rootless-systemd", ("docker-like",), "pause", "stats", "oom", "limits", "update")


@behaviour("the container is a scope of systemd's", "podman-systemd", "docker-systemd")
def scope(e):
    name = e.fresh()
    e.ok("run", "-d", "--name", name, "-m", "64m", IMAGE, "sleep", "1000")
    unit, shown = unit_of(e.state_of(name, "Pid"))
    eq(shown, {"active", "machine.slice" if e.name.startswith("podman") else "system.slice"}, f"{unit}'s state and slice")
    e.ok(*e.rm_f, name)
    done = subprocess.run(["systemctl", "is-active", unit], check=False, capture_output=True, text=True)
    check(done.stdout.strip() in ("inactive", "failed"), f"{unit} afterwards: {done.stdout}")


@behaviour("the container is a scope of systemd's", "containerd-systemd")
def scope_of_ctr(e):
    name = e.sleeper()
    unit, shown = unit_of(e.task(name)[0])
    eq((unit[:4], shown), ("ctr-", {"active", "system.slice"}), f"{unit}'s state and slice")
    e.gone(name)


@behaviour("a container is a scope of systemd's in the slice of its pod", "kubernetes-systemd")
def scope_of_a_pod(e):
    pod = e.pod()
    container = e.container(pod, "sleep", "1000")
    unit, shown = unit_of(e.tasks()[container])
    eq((unit, shown), (f"cri-containerd-{container}.scope", {"active", "kubepods-teca.slice"}), "the unit, its state and slice")
    e.remove_pod(pod[0])


@behaviour("container checkpoint, restore", "podman-systemd")
def checkpoint(e):
    name = e.fresh()
    e.ok("run", "-d", "--name", name, "-m", "64m", IMAGE, *COUNT)
    wait_until(lambda: e.count(name) > 2, "it counts")
    at = e.count(name)
    e.ok("container", "checkpoint", name)
    eq(e.state_of(name, "Status"), "exited", "status after the checkpoint")
    e.ok("container", "restore", name)
    wait_until(lambda: e.count(name) > at, "it counts on")
    check(e.count(name) < at + 1000, "it counts on from where it was")
    eq(e.limit(name, "memory"), 64 << 20, "its limit")
    e.ok(*e.rm_f, name)


@behaviour("checkpoint after a pre-checkpoint; exported, restored under another name", "podman-systemd")
def checkpoint_export(e):
    name, other = e.fresh(), e.fresh()
    e.ok("run", "-d", "--name", name, IMAGE, *COUNT)
    wait_until(lambda: e.count(name) > 2, "it counts")
    e.ok("container", "checkpoint", "--pre-checkpoint", name)
    eq(e.state_of(name, "Status"), "running", "status after the pre-checkpoint")
    e.ok("container", "checkpoint", "--with-previous", name)
    e.ok("container", "restore", name)
    wait_until(lambda: e.count(name) > 2, "it counts on")
    at = e.count(name)
    file = e.place.path("exported.tar")
    e.ok("container", "checkpoint", "--leave-running", "--compress", "none", "--export", file, name)
    e.ok("container", "restore", "--import", file, "--name", other)
    wait_until(lambda: e.count(other) >= at, "the other one counts on")
    eq(e.state_of(name, "Status"), "running", "status of the first")
    e.ok(*e.rm_f, name, other)


@behaviour("checkpoint create, start --checkpoint", "docker-systemd")
def checkpoint_docker(e):
    name = e.fresh()
    e.ok("run", "-d", "--name", name, IMAGE, *COUNT)
    wait_until(lambda: e.count(name) > 2, "it counts")
    at = e.count(name)
    e.ok("checkpoint", "create", name, "first")
    wait_until(lambda: e.state_of(name, "Status") == "exited", "the end of it")
    contains(e.ok("checkpoint", "ls", name), "first", "the checkpoints")
    e.ok("start", "--checkpoint", "first", name)
    wait_until(lambda: e.count(name) > at, "it counts on")
    e.ok(*e.rm_f, name)


@behaviour("container checkpoint --task, restore --live", "containerd-systemd")
def checkpoint_ctr(e):
    name, other = e.sleeper(command=COUNT), e.fresh("restored")

    def count(task):
        return int(e("task", "exec", "--exec-id", e.fresh("x"), task, "cat", "/srv/n").out or 0)

    wait_until(lambda: count(name) > 2, "it counts")
    at = count(name)
    image = f"localhost/{e.fresh('checkpoint')}:latest"
    e.ok("container", "checkpoint", "--rw", "--image", "--task", name, image)
    e.gone(name)
    e.ok("container", "restore", "--rw", "--live", other, image)
    wait_until(lambda: count(other) > at, "it counts on")
    e.gone(other)
