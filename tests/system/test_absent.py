# SPDX-License-Identifier: Apache-2.0
"""Kernel features that are absent: system calls answered as by an older kernel (ENOSYS) or by the
profile of a container around teca (EPERM, EINVAL). Either a fallback does the same, or one sentence
names the call and what to do, and nothing is left.
"""
import errno
import json
import os
import subprocess

from harness import (HERE, cases, check, contains, default, eq, is_alive, joined, minimal, show,
                     test, wait_until, with_mount, with_user_namespace)

# System calls that are younger than Linux 3 or that profiles of containers leave out, by x86-64
# number (arch/x86/entry/syscalls/syscall_64.tbl).
CALLS = {
    "pivot_root": 155, "keyctl": 250, "ioprio_set": 251, "waitid": 247, "set_mempolicy": 238,
    "unshare": 272, "signalfd4": 289, "prlimit64": 302, "setns": 308, "sched_setattr": 314,
    "renameat2": 316, "seccomp": 317, "getrandom": 318, "memfd_create": 319, "execveat": 322,
    "statx": 332, "pidfd_send_signal": 424, "open_tree": 428, "move_mount": 429, "fsopen": 430,
    "fsconfig": 431, "fsmount": 432, "pidfd_open": 434, "clone3": 435, "close_range": 436,
    "openat2": 437, "pidfd_getfd": 438, "faccessat2": 439, "mount_setattr": 442,
    "landlock_create_ruleset": 444, "landlock_add_rule": 445, "landlock_restrict_self": 446,
}
ERRORS = (errno.ENOSYS, errno.EPERM, errno.EINVAL)
GREETING = ("/bin/echo", "hello")
# Of 3.x and before: the sentence of the step is enough, and EPERM and EINVAL have reasons of old.
OLD = ("pivot_root", "prlimit64", "waitid", "signalfd4", "keyctl", "unshare")


def denied(t, call, error, *command):
    """argv with a filter before it."""
    if os.uname().machine != "x86_64":
        t.skip("the numbers of the system calls are those of x86-64")
    tool = t.path("deny")
    if not os.path.exists(tool):
        subprocess.run([os.environ.get("CC", "cc"), "-std=gnu17", "-O1", "-static", "-Wall",
                        "-Wextra", "-Werror", "-o", tool, os.path.join(HERE, "deny.c")],
                       check=True)
    return [tool, str(error), str(CALLS[call]), *command]


def is_told(done, call, error, what):
    """One sentence, which names the call where an older kernel or a newer call is meant."""
    status = {"exec": 255, "list": 0}.get(what.split()[0], 1)  # list goes on with the others
    check(done.status in (1, status),
          f"{what}: exit status {done.status} ({show(done.error)})")
    eq(done.error.count("\n"), 1, f"{what}: lines of {show(done.error)}")
    if call == "landlock_create_ruleset" and "needs Landlock ABI" in done.error:
        return  # that call is how the kernel is asked which it has
    contains(done.error, os.strerror(error), f"{what}: stderr")
    if call in OLD:
        return
    contains(done.error, call + "(2)", f"{what}: stderr")
    contains(done.error, "seccomp filter around teca" if error == errno.ENOSYS
             else "under a seccomp filter", f"{what}: stderr")


def plain(_):
    return default(*GREETING)


def by_a_stage(_):
    config = default(*GREETING)
    config["linux"]["namespaces"].append({"type": "time"})
    config["linux"]["timeOffsets"] = {"boottime": {"secs": 5}}
    return config


def in_a_user_namespace(_):
    return with_user_namespace(default(*GREETING))


def joining(t):
    pid = t.holder("-n", "-i", "-u")
    config = default(*GREETING)
    del config["hostname"]
    for kind, name in (("network", "net"), ("ipc", "ipc"), ("uts", "uts")):
        config = joined(config, kind, f"/proc/{pid}/ns/{name}")
    return config


def with_options(t):
    config = default(*GREETING)
    config["process"] |= {"scheduler": {"policy": "SCHED_BATCH", "nice": 5},
                          "ioPriority": {"class": "IOPRIO_CLASS_BE", "priority": 6}}
    config["linux"] |= {"memoryPolicy": {"mode": "MPOL_LOCAL"},
                        "seccomp": {"defaultAction": "SCMP_ACT_ALLOW", "syscalls": [
                            {"names": ["reboot"], "action": "SCMP_ACT_ERRNO"}]}}
    config["annotations"] = {"org.teca.landlock": json.dumps(
        {"paths": [{"path": "/", "access": ["read", "execute"]},
                   {"path": "/dev", "access": ["read", "write"]}]})}
    config["hooks"] = {"createContainer": [{"path": "/bin/true"}],
                       "createRuntime": [{"path": "/bin/true"}],
                       "poststop": [{"path": "/bin/true"}]}
    return with_mount(config, "/mnt/a", "bind", t.dir, "rbind", "ro", "rslave")


KINDS = {"plain": plain, "stage": by_a_stage, "user": in_a_user_namespace, "joined": joining,
         "options": with_options}
# Whatever is denied of these, every start succeeds.
UNNEEDED = ("keyctl", "renameat2", "getrandom", "statx", "faccessat2", "fsopen", "fsconfig",
            "fsmount", "pidfd_getfd")


@cases(**{kind: (kind,) for kind in KINDS})
def a_start_without_a_system_call_succeeds_or_names_it(t, kind):
    config = KINDS[kind](t)
    where, refused = t.bundle(config), set()
    for call in CALLS:
        for error in ERRORS:
            container = t.token + "-absent"
            what = f"{call} with {errno.errorcode[error]}"
            done = t.teca(command=denied(t, call, error, *t.argv("run", "--bundle", where,
                                                                 container)))
            if done.status == 0:
                eq(done.text, "hello\n", f"{what}: stdout of a start that succeeds")
                eq(done.error, "", f"{what}: stderr of a start that succeeds")
            else:
                check(call not in UNNEEDED, f"{what}: {show(done.error)}")
                is_told(done, call, error, what)
                refused.add(call)
            t.nothing_of(container)
    check("openat2" in refused, f"nothing was denied: {sorted(refused)}")


@test(seconds=180)
def a_container_is_managed_or_the_call_is_named(t):
    """exec, state, kill, pause, resume, ps, list and delete of a container that runs."""
    container, pid = t.sleeper(default())
    verbs = (["exec", container, *GREETING], ["state", container], ["list"], ["ps", container],
             ["pause", container], ["resume", container], ["kill", container, "0"])
    for call in CALLS:
        for error in ERRORS:
            for verb in verbs:
                what = f"{verb[0]} without {call} ({errno.errorcode[error]})"
                done = t.teca(command=denied(t, call, error, *t.argv(*verb)))
                if verb[0] == "resume" and "container not paused" in done.error:
                    pass  # the pause before it was refused
                elif done.status or done.error:
                    check(call not in UNNEEDED, f"{what}: {show(done.error)}")
                    is_told(done, call, error, what)
                elif verb[0] == "exec":
                    eq(done.text, "hello\n", f"{what}: stdout")
                check(is_alive(pid), f"{what}: the container has ended")
            if t.state(container)["status"] == "paused":
                t.teca("resume", container, expect=0)
    eq(t.state(container)["status"], "running", "status at the end")


@test(seconds=180)
def a_delete_without_a_system_call_succeeds_or_names_it(t):
    where = t.bundle(minimal("/payload", "catch", "15"))
    for call in CALLS:
        for error in ERRORS:
            container = t.token + "-absent"
            t.teca("create", "--bundle", where, container, expect=0)
            done = t.teca(command=denied(t, call, error,
                                         *t.argv("delete", "--force", container)))
            what = f"delete without {call} ({errno.errorcode[error]})"
            if done.status or done.error:
                check(call not in UNNEEDED, f"{what}: {show(done.error)}")
                is_told(done, call, error, what)
                t.teca("delete", "--force", container, expect=0)

            def gone():
                return not os.path.exists(os.path.join(t.state_root, container))

            wait_until(gone, f"{what}: the state is gone")
            t.nothing_of(container)


@cases(**{errno.errorcode[e]: (e,) for e in ERRORS})
def an_old_kernels_worth_of_calls_at_once_is_told(t, error):
    """What Linux 4.18 lacks, all of it: the first one is named, and a later one is not reached."""
    new = [n for name, n in CALLS.items() if n >= 424]
    command = denied(t, "openat2", error, *t.argv("run", "--bundle", t.bundle(default(*GREETING)),
                                                  t.token + "-old"))
    command[2] = ",".join(map(str, new))
    done = t.teca(command=command)
    eq((done.status, done.text), (1, ""), f"exit status ({done.error})")
    contains(done.error, "seccomp filter", "stderr")
    t.nothing_of(t.token + "-old")
