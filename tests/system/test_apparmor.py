# SPDX-License-Identifier: Apache-2.0
"""
process.apparmorProfile with a profile that the kernel enforces, at run, create and exec. The test VM
boots with AppArmor; a host without it skips.
"""
import contextlib
import copy
import json
import os
import shutil
import signal
import subprocess

from harness import (capabilities, cases, contains, eq, minimal, test, wait_until,
                     with_user_namespace)

PARSER = shutil.which("apparmor_parser", path="/usr/sbin:/sbin:/usr/bin:/bin")
# Everything but one file. attach_disconnected: paths of the mount namespace that was left.
PROFILE = """
profile %s flags=(attach_disconnected,mediate_deleted) {
  file,
  capability,
  network,
  signal,
  ptrace,
  deny %s rw,
}
"""
FORBIDDEN = {"a": "/etc/mark", "b": "/etc/group"}


def is_enabled():
    with contextlib.suppress(OSError):
        with open("/sys/module/apparmor/parameters/enabled", encoding="ascii") as f:
            return f.read().startswith("Y")
    return False


@contextlib.contextmanager
def profiles(t):
    """The names of two profiles that are loaded, each of which forbids one file."""
    if not is_enabled():
        t.skip("this host has no AppArmor")
    if not PARSER:
        t.skip("apparmor_parser is missing (apt: apparmor)")
    names = {which: f"teca-{t.token}-{which}" for which in FORBIDDEN}
    text = "".join(PROFILE % (names[which], path) for which, path in FORBIDDEN.items())
    load = [PARSER, "--skip-cache", "--skip-read-cache"]
    subprocess.run([*load, "--add"], input=text, text=True, check=True, stdout=subprocess.DEVNULL)
    try:
        yield names
    finally:
        subprocess.run([*load, "--remove"], input=text, text=True, check=True,
                       stdout=subprocess.DEVNULL)


def text_of(path):
    with open(path, encoding="ascii") as f:
        return f.read()


def looks(name=None, config=None):
    """A configuration whose program shows its label and tries both files."""
    script = ("cat /proc/self/attr/current; "
              "for f in /etc/mark /etc/group; do cat $f >/dev/null 2>&1 && echo $f; done; true")
    config = copy.deepcopy(config or minimal())
    config["process"]["args"] = ["/bin/sh", "-c", script]
    if name:
        config["process"]["apparmorProfile"] = name
    return config


def seen(name, *files):
    return "\n".join([f"{name} (enforce)", *files, ""])


@test
def a_profile_is_enforced_by_run(t):
    with profiles(t) as names:
        eq(t.ok(looks()), "unconfined\n/etc/mark\n/etc/group\n", "without a profile")
        eq(t.ok(looks(names["a"])), seen(names["a"], "/etc/group"), "with the one profile")
        eq(t.ok(looks(names["b"])), seen(names["b"], "/etc/mark"), "with the other")


@test
def a_profile_is_had_with_no_new_privileges_and_without_capabilities(t):
    with profiles(t) as names:
        config = looks(names["a"])
        config["process"] |= {"noNewPrivileges": True, "capabilities": capabilities(),
                              "user": {"uid": 1000, "gid": 1000}}
        eq(t.ok(config), seen(names["a"], "/etc/group"), "label and files")


@test
def a_profile_is_had_in_a_user_namespace(t):
    with profiles(t) as names:
        eq(t.ok(with_user_namespace(looks(names["a"]))), seen(names["a"], "/etc/group"),
           "label and files")


@test
def a_created_container_gets_its_profile_at_start(t):
    with profiles(t) as names:
        config = minimal("/payload", "catch", "15")
        config["process"]["apparmorProfile"] = names["a"]
        container = t.create(config)
        with open(f"/proc/{t.pid(container)}/attr/current", encoding="ascii") as f:
            eq(f.read().rstrip("\n"), "unconfined", "the label before start")
        t.teca("start", container, expect=0)
        with open(f"/proc/{t.pid(container)}/attr/current", encoding="ascii") as f:
            eq(f.read().rstrip("\n"), f"{names['a']} (enforce)", "the label after start")
        t.teca("delete", "--force", container, expect=0)


@test
def exec_takes_the_containers_profile_unless_its_process_names_another(t):
    with profiles(t) as names:
        config = minimal()
        config["process"]["apparmorProfile"] = names["a"]
        container, _ = t.sleeper(config)
        program = looks()["process"]
        done = t.teca("exec", container, *program["args"], expect=0)
        eq(done.text, seen(names["a"], "/etc/group"), "label and files of an ordinary exec")
        where = t.file("process.json", json.dumps(program))
        done = t.teca("exec", "--process", where, container, expect=0)
        eq(done.text, seen(names["a"], "/etc/group"), "a process without a profile")
        where = t.file("process.json", json.dumps(program | {"apparmorProfile": names["b"]}))
        done = t.teca("exec", "--process", where, container, expect=0)
        eq(done.text, seen(names["b"], "/etc/mark"), "a process with a profile of its own")
        done = t.teca("exec", "--apparmor", names["b"], container, *program["args"], expect=0)
        eq(done.text, seen(names["b"], "/etc/mark"), "a profile by the flag")
        t.teca("delete", "--force", container, expect=0)


@cases(without_proc=None, covered="mount -t tmpfs tmpfs /proc && ")
def exec_gives_a_profile_whatever_the_container_has_at_proc(t, cover):
    """CVE-2025-52881: the label of exec is written to the host's /proc, before the namespaces."""
    with profiles(t) as names:
        config = minimal("/bin/sh", "-c", f"{cover or ''}echo ready; exec /payload catch 15",
                         capabilities=capabilities("CAP_SYS_ADMIN"))
        if not cover:
            del config["mounts"][0]
        container, words = t.new_id(), t.path("words")
        with open(words, "wb") as out:
            t.teca("create", "--bundle", t.bundle(config), container, expect=0, stdout=out)
        t.teca("start", container, expect=0)
        wait_until(lambda: "ready" in text_of(words), "the container has covered its /proc")
        process = minimal("/payload", "catch", "15")["process"] | {"apparmorProfile": names["a"]}
        pid_file = t.path("pid")
        t.teca("exec", "--detach", "--pid-file", pid_file, "--process",
               t.file("process.json", json.dumps(process)), container, expect=0)
        pid = text_of(pid_file)
        eq(text_of(f"/proc/{pid}/attr/current").rstrip("\n"), f"{names['a']} (enforce)",
           "the label of the process")
        os.kill(int(pid), signal.SIGKILL)
        os.waitpid(int(pid), 0)  # or the namespace would not end
        t.teca("delete", "--force", container, expect=0)


@test
def a_profile_that_is_not_loaded_is_refused(t):
    with profiles(t):
        config = minimal()
        config["process"]["apparmorProfile"] = "teca-no-such-profile"
        for verb in ("run", "create"):
            done = t.refused(config, "/process/apparmorProfile", "teca-no-such-profile",
                             "No such file or directory", "apparmor_parser", verb=verb)
            contains(done.error, "not loaded", "the hint")


@test
def exec_refuses_a_profile_that_is_not_loaded(t):
    with profiles(t):
        container, _ = t.sleeper()
        process = minimal()["process"] | {"apparmorProfile": "teca-no-such-profile"}
        where = t.file("process.json", json.dumps(process))
        done = t.teca("exec", "--process", where, container)
        eq(done.status, 255, f"exit status of exec ({done.error})")
        for part in ("apparmorProfile", "teca-no-such-profile", "not loaded"):
            contains(done.error, part, "stderr")
        t.teca("delete", "--force", container, expect=0)
