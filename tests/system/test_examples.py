# SPDX-License-Identifier: Apache-2.0
"""examples/: each file is read by the program that it is for, as far as that is here."""
import json
import os
import re
import shutil
import signal
import subprocess
import tomllib

from harness import TREE, allow, contains, eq, test

INSTALLED = "/usr/local/bin/teca"


def example(*names):
    with open(os.path.join(TREE, "examples", *names), encoding="utf-8") as f:
        return f.read()


def needs(t, program):
    if not shutil.which(program):
        t.skip(f"{program} is not installed")


def podman_info(t, conf, **more):
    storage = t.file("storage.conf", f'[storage]\ndriver = "vfs"\ngraphroot = "{t.path("store")}"\n'
                     f'runroot = "{t.path("run")}"\n')
    env = {"PATH": os.environ["PATH"], "HOME": t.dir, "CONTAINERS_CONF": conf, "CONTAINERS_STORAGE_CONF": storage}
    return t.call(["podman", "info", "--format", "{{.Host.OCIRuntime.Name}} {{.Host.OCIRuntime.Path}}\n"
                   "{{.Host.OCIRuntime.Version}}"], env=env, seconds=60, **more)


@test(seconds=120)
def podman_takes_the_runtime_from_its_file(t):
    needs(t, "podman")
    text = example("podman", "teca.conf")
    known = tomllib.loads(text)["engine"]
    eq(known["runtimes"], {known["runtime"]: [INSTALLED], "teca-vm": [INSTALLED + "-vm"]}, "the runtimes")
    for key in ("json", "nocgroup", "nocgroups"):
        eq(known[f"runtime_supports_{key}"], [known["runtime"]], key)
    text = text.replace(INSTALLED, t.binary).replace("[engine]\n", f'[engine]\ntmp_dir = "{t.path("tmp")}"\n')
    done = podman_info(t, t.file("teca.conf", text))
    eq(done.status, 0, f"podman info ({done.error})")
    lines = done.text.splitlines()
    eq(lines[0], f"teca {t.binary}", "the runtime that podman has")
    contains(lines[1], "teca version", "what podman shows of its version")
    contains(podman_info(t, t.file("none.conf", text.replace(t.binary, "/nowhere/teca"))).error, "teca",
             "podman when the binary is missing")


def dockerd(t, text):
    """What dockerd makes of its file: its first words when it accepts it, else its last ones."""
    conf = t.file("daemon.json", text)
    process = subprocess.Popen(
        ["unshare", "--net", "--mount", "dockerd", "--config-file", conf, "--data-root", t.path("data"), "--exec-root",
         t.path("exec"), "--pidfile", t.path("pid"), "-H", "unix://" + t.path("docker.sock"), "--containerd",
         t.path("no-containerd.sock"), "--bridge", "none", "--iptables=false"],
        stdout=subprocess.DEVNULL, stderr=subprocess.PIPE, text=True, env={"PATH": os.environ["PATH"], "HOME": t.dir})
    seen = ""
    try:
        for line in process.stderr:
            seen += line
            if "Starting up" in line:
                break
        return seen
    finally:
        process.send_signal(signal.SIGKILL)
        process.wait(allow(20))
        process.stderr.close()


@test
def dockerd_accepts_its_file(t):
    needs(t, "dockerd")
    text = example("docker", "daemon.json")
    known = json.loads(text)
    eq(known["runtimes"], {known["default-runtime"]: {"path": INSTALLED}, "teca-vm": {"path": INSTALLED + "-vm"}},
       "the runtimes")
    contains(dockerd(t, text), "Starting up", "dockerd's log")
    contains(dockerd(t, text.replace('"runtimes"', '"run-times"')), "any configuration option", "dockerd with a slip in it")


@test
def containerd_reads_its_part(t):
    needs(t, "containerd")
    conf = t.file("config.toml", example("kubernetes", "containerd.toml"))
    done = t.call(["containerd", "--config", conf, "config", "dump"])
    eq(done.status, 0, f"containerd config dump ({done.error})")
    cri = tomllib.loads(done.text)["plugins"]["io.containerd.grpc.v1.cri"]
    for name in ("teca", "teca-vm"):
        ours = cri["containerd"]["runtimes"][name]
        eq((ours["runtime_type"], ours["options"]),
           ("io.containerd.runc.v2", {"BinaryName": os.path.join(os.path.dirname(INSTALLED), name), "SystemdCgroup": True}),
           "the runtime as containerd has it")


@test
def the_runtime_class_names_what_containerd_and_crio_have(t):
    handlers = re.findall(r"^handler: (\S+)$", example("kubernetes", "runtimeclass.yaml"), re.M)
    eq(handlers, ["teca", "teca-vm"], "the handlers")
    for handler in handlers:
        crio = tomllib.loads(example("kubernetes", "crio.conf"))["crio"]["runtime"]["runtimes"][handler]
        eq(crio, {"runtime_path": os.path.join(os.path.dirname(INSTALLED), handler), "runtime_type": "oci",
                  "runtime_root": "/run/teca"}, "CRI-O's part")
        containerd = tomllib.loads(example("kubernetes", "containerd.toml"))
        contains(containerd["plugins"]["io.containerd.grpc.v1.cri"]["containerd"]["runtimes"], handler, "containerd's part")
