# SPDX-License-Identifier: Apache-2.0
"""A container that an earlier teca created belongs to this one: the binary is replaced under it."""
import fcntl
import os
import subprocess
import tempfile

from harness import TREE, check, default, eq, is_alive, test, wait_until

# Commits whose containers must be understood; one is added when the form of the state changes.
EARLIER = ("534dc5a828f1",)


def build_of(commit, t):
    """That commit's binary, built once a machine and commit."""
    where = os.path.join(os.environ.get("TECA_EARLIER") or tempfile.gettempdir(), f"teca-earlier-{os.getuid()}")
    os.makedirs(where, mode=0o700, exist_ok=True)
    check(os.stat(where).st_uid == os.getuid(), f"'{where}' belongs to somebody else")
    binary = os.path.join(where, commit, "build", "teca")
    with open(os.path.join(where, "lock"), "w", encoding="ascii") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        if not os.path.exists(binary):
            tree = os.path.join(where, commit)
            os.makedirs(tree, exist_ok=True)
            archive = subprocess.run(["git", "-C", TREE, "archive", commit], capture_output=True, check=False)
            if archive.returncode:
                t.skip(f"the repository does not hold commit {commit} (a shallow clone or a tarball)")
            subprocess.run(["tar", "-C", tree, "-x"], input=archive.stdout, check=True)
            quiet = {k: v for k, v in os.environ.items() if not k.startswith(("MAKE", "MFLAGS", "BUILD", "TECA"))}
            done = subprocess.run(["make", "-C", tree, "-j2", "CFLAGS=-O1", "BUILD=build", "build/teca"], capture_output=True, env=quiet,
                                  check=False)
            check(done.returncode == 0, f"commit {commit} does not build: {done.stderr[-500:]!r}")
    return binary


@test(seconds=400)
def a_container_of_an_earlier_build_is_run_by_this_one(t):
    for commit in EARLIER:
        goes_on(t, build_of(commit, t))


def goes_on(t, earlier):
    now = t.binary
    t.binary = earlier
    created = t.create(default("/bin/sleep", "1000"))
    running, pid = t.sleeper(default("/bin/sleep", "1000"))
    t.binary = now
    eq(t.state(created)["status"], "created", "status of the one that was created")
    t.teca("start", created, expect=0)
    eq(t.state(created)["status"], "running", "status after start")
    eq(t.state(running)["pid"], pid, "pid of the one that runs")
    eq(t.teca("exec", running, "/bin/echo", "hello", expect=0).text, "hello\n", "exec")
    t.teca("pause", running, expect=0)
    t.teca("resume", running, expect=0)
    t.teca("kill", running, "KILL", expect=0)
    wait_until(lambda: not is_alive(pid), "the end of the killed one")
    t.teca("delete", running, expect=0)
    t.nothing_of(running)
    t.teca("delete", "--force", created, expect=0)
    t.nothing_of(created)
