# SPDX-License-Identifier: Apache-2.0
"""
A Debian root filesystem under a configuration that podman wrote for an ordinary container.

`podman create` writes no config.json; `podman container init` does, when it calls the runtime. So
podman is given podman-taker.sh as runtime, which copies the bundle and the files podman is about to
bind (/etc/hosts, /etc/hostname, .containerenv, shm) and fails. What is changed afterwards is only:
the sources of those binds (podman removes the originals) and process.args where a test wants
another program.

What podman 4.3 asks for: /linux/resources (a pids limit, device rules); there are no hooks, no
terminal, no labels; the annotations are kept.
"""
import json
import os
import shutil
import subprocess

from harness import HERE, cgroups_with, check, contains, eq, lacks, test, wait_until

CAPABILITIES = {"CHOWN": 0, "DAC_OVERRIDE": 1, "FOWNER": 3, "FSETID": 4, "KILL": 5, "SETGID": 6,
                "SETUID": 7, "SETPCAP": 8, "NET_BIND_SERVICE": 10, "SYS_CHROOT": 18, "SETFCAP": 31}


def debian_root(t):
    """The cached Debian under an overlay, so that nothing a test does reaches the cache."""
    if not shutil.which("mmdebstrap"):
        t.skip("mmdebstrap is not installed")
    made = subprocess.run([os.path.join(HERE, "debian-bundle.sh")], capture_output=True, text=True,
                          check=False)
    if made.returncode:
        t.skip(f"debian-bundle.sh failed, perhaps without network: {made.stderr.strip()[-300:]}")
    for name in ("upper", "work"):
        os.mkdir(t.path(name))
    os.chmod(t.path("upper"), 0o755)
    t.mount("overlay", t.path("root"), "overlay", 0,
            f"lowerdir={made.stdout.strip()},upperdir={t.path('upper')},workdir={t.path('work')}")
    return t.path("root")


def podman_config(t, root, *flags):
    """What podman writes for `podman create FLAGS --rootfs ROOT cat /etc/os-release`."""
    if not shutil.which("podman"):
        t.skip("podman is not installed")
    runtime = t.path("runtime")
    shutil.copy(os.path.join(HERE, "podman-taker.sh"), runtime)
    podman = ["podman", "--root", t.path("podman"), "--runroot", t.path("podman-run"), "--tmpdir",
              t.path("podman-tmp"),
              "--cgroup-manager=cgroupfs", "--events-backend=none", "--storage-driver=vfs",
              "--runtime", runtime]
    # Without CAP_SYS_RESOURCE podman cannot raise its own limits to what it would write by default.
    limits = ["--ulimit", "nofile=1024:1024", "--ulimit", "nproc=1024:1024"]
    create = [*podman, "create", "--name", t.token, "--network", "none", *limits, "--cgroup-parent",
              f"/{t.token}-podman",
              *flags, "--rootfs", root, "cat", "/etc/os-release"]
    made = t.call(create)
    eq(made.status, 0, f"exit status of podman create ({made.error})")
    t.call([*podman, "container", "init", t.token])
    t.call([*podman, "rm", "--force", t.token])
    for where in sorted((w for top in cgroups_with(t.token) for w, _, _ in os.walk(top)), key=len,
                        reverse=True):
        # podman made it for conmon and leaves it; conmon may still be there for a moment
        wait_until(lambda where=where: removed(where), f"{where} is empty")
    taken = t.path("taken")
    check(os.path.exists(os.path.join(taken, "bundle/config.json")),
          "podman did not call the runtime")
    with open(os.path.join(taken, "bundle/config.json"), encoding="utf-8") as f:
        config = json.load(f)
    moved = {}
    for name in ("bundle", "run"):
        with open(os.path.join(taken, name + "-was"), encoding="utf-8") as f:
            moved[f.read().strip()] = os.path.join(taken, name)
    for mount in config["mounts"]:
        for was, now in moved.items():
            if mount.get("source", "").startswith(was + "/"):
                mount["source"] = now + mount["source"][len(was):]
    return config


def removed(directory):
    try:
        os.rmdir(directory)
    except OSError:
        return False
    return True


def prepared(t, *flags):
    return podman_config(t, debian_root(t), *flags)


def program(config, *args):
    config["process"]["args"] = list(args)
    return config


def status_of(t, config):
    text = t.ok(program(config, "cat", "/proc/self/status"))
    return dict(line.split(":\t", 1) for line in text.splitlines() if ":\t" in line)


@test(seconds=240)
def the_debian_bundle_of_podman_prints_its_os_release(t):
    config = prepared(t)
    eq(config["process"]["args"], ["cat", "/etc/os-release"], "the program that podman wrote")
    contains(t.ok(config), 'PRETTY_NAME="Debian GNU/Linux 12 (bookworm)"', "stdout")


@test(seconds=240)
def the_seccomp_profile_and_capabilities_of_podman_are_in_force(t):
    config = prepared(t)
    check(len(config["linux"]["seccomp"]["syscalls"]) > 10, "podman wrote no real seccomp profile")
    eq(sorted(config["process"]["capabilities"]["effective"]),
       sorted("CAP_" + c for c in CAPABILITIES),
       "capabilities that podman wrote")
    status = status_of(t, config)
    mask = f"{sum(1 << n for n in CAPABILITIES.values()):016x}"
    eq({k: status[k] for k in ("Seccomp", "CapEff", "CapPrm", "CapBnd", "CapInh", "CapAmb",
                               "NoNewPrivs")},
       {"Seccomp": "2", "CapEff": mask, "CapPrm": mask, "CapBnd": mask, "CapInh": "0" * 16,
        "CapAmb": "0" * 16,
        "NoNewPrivs": "0"}, "/proc/self/status")


@test(seconds=240)
def the_seccomp_profile_of_podman_denies_what_it_denies(t):
    """personality(2) is allowed there for five values of its argument only."""
    config = prepared(t)
    shutil.copy(t.payload, os.path.join(config["root"]["path"], "payload"))
    for value, text in (("0xffffffff", "0 OK\n"), ("0x40000", "-1 EPERM\n")):
        answer = t.ok(program(config, "/payload", "call", "personality", value))
        check(answer == text or (answer.startswith("-1") and text.startswith("-1")),
              f"personality({value}): {answer}")


@test(seconds=240)
def podmans_no_new_privileges_profile_loads_late(t):
    status = status_of(t, prepared(t, "--security-opt", "no-new-privileges"))
    eq((status["Seccomp"], status["NoNewPrivs"]), ("2", "1"), "Seccomp and NoNewPrivs")


@test(seconds=240)
def a_user_of_the_image_runs_without_capabilities(t):
    status = status_of(t, prepared(t, "--user", "daemon"))
    eq((status["Uid"].split()[0], status["Seccomp"], status["CapEff"]), ("1", "2", "0" * 16),
       "Uid, Seccomp, CapEff")


@test(seconds=240)
def the_files_that_podman_binds_are_there(t):
    config = prepared(t)
    for where, part in (("/etc/hosts", "127.0.0.1"), ("/etc/hostname", ""),
                        ("/run/.containerenv", "")):
        look = f"test -f {where} && grep -q ' {where} ' /proc/self/mountinfo && cat {where}"
        contains(t.ok(program(config, "sh", "-c", look)), part, where)


@test(seconds=240)
def check_has_nothing_to_remark(t):
    done = t.teca("check", "--bundle", t.bundle(prepared(t)), expect=0)
    eq(done.text + done.error, "", "what check says")


@test(seconds=240)
def podmans_bundle_goes_through_create_start_and_delete(t):
    config = program(prepared(t), "sleep", "1000")
    container = t.create(config, start=True)
    state = t.state(container)
    eq((state["status"], state["annotations"]), ("running", config["annotations"]),
       "status and annotations")
    t.teca("kill", container, "KILL", expect=0)
    t.teca("delete", "--force", container, expect=0)
    t.nothing_of(container)


@test(seconds=240)
def a_package_list_can_be_read_inside(t):
    text = t.ok(program(prepared(t), "dpkg-query", "-W", "-f", "${Package}\n"))
    check({"apt", "bash", "libc6", "dpkg"} <= set(text.split()), f"packages: {text.split()[:10]}")
    lacks(text, "mmdebstrap", "packages inside")
