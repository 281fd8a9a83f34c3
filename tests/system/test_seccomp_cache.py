# SPDX-License-Identifier: Apache-2.0
"""Compiled seccomp filters are kept under /run by content: a known profile is not compiled again.

Each test sees a /run of its own, so what others keep there plays no part."""
import os
import subprocess

from harness import allow, check, eq, fail, lacks, minimal, mount, private_mounts, test
from test_security import filtered, profile, rule

CACHE = "/run/teca-seccomp"
DENIED = profile("SCMP_ACT_ALLOW", rule("SCMP_ACT_ERRNO", "getpgid", errno=18))


def own_run(t, data="mode=755"):
    """tmpfs on /run; what is below the state root of the test is elsewhere."""
    private_mounts()
    mount("tmpfs", "/run", "tmpfs", 0, data)


def denied(t, what):
    eq(t.ok(filtered(DENIED, "call", "getpgid", "0")), "-1 EXDEV\n", what)


def entry():
    names = os.listdir(CACHE)
    eq(len(names), 1, f"entries in {CACHE}: {names}")
    return os.path.join(CACHE, names[0])


def calls(t, names):
    """The system calls of one run of the profile."""
    container, trace = t.new_id(), t.path("trace")
    where = t.bundle(filtered(DENIED, "call", "getpgid", "0"))
    done = t.call(["strace", "-f", "-o", trace, "-e", "trace=" + names,
                   *t.argv("run", "--bundle", where, container)])
    eq(done.status, 0, f"exit status under strace ({done.error})")
    with open(trace, encoding="utf-8", errors="replace") as f:
        return f.read()


@test
def a_known_profile_is_not_compiled_again(t):
    own_run(t)
    check("memfd_create" in calls(t, "memfd_create"), "the first run compiled nothing")
    lacks(calls(t, "memfd_create"), "memfd_create", "calls of a run with the entry")
    denied(t, "getpgid under the kept filter")


@test
def a_hit_opens_looks_and_reads(t):
    own_run(t)
    denied(t, "the first run")
    name = os.path.basename(entry())
    lines = [l for l in calls(t, "openat,mkdir,renameat,renameat2,unlinkat,getdents64").splitlines()
             if name in l or CACHE in l]
    eq(len(lines), 1, f"calls that name the cache: {lines}")


@test
def the_directory_and_the_entry_are_roots_alone(t):
    own_run(t)
    os.umask(0)
    denied(t, "the first run")
    eq(os.stat(CACHE).st_mode & 0o7777, 0o700, "mode of the directory")
    eq(os.stat(entry()).st_mode & 0o7777, 0o600, "mode of the entry")


@test
def a_corrupt_entry_is_ignored_and_replaced(t):
    own_run(t)
    denied(t, "the first run")
    where = entry()
    with open(where, "rb") as f:
        good = f.read()
    for bad in (b"", b"x", good[:-8], good[:-8] + b"\0" * 8, b"\0" * len(good), good + b"12345678"):
        with open(where, "wb") as f:
            f.write(bad)
        denied(t, f"a run with an entry of {len(bad)} bytes")
        with open(where, "rb") as f:
            check(f.read() == good, f"the entry of {len(bad)} bytes was not replaced")
    eq(entry(), where, "the one entry")


@test
def on_a_full_disk_the_container_starts_all_the_same(t):
    own_run(t, "mode=755,size=16k")
    with open("/run/filler", "wb") as f:
        try:
            f.write(b"x" * 65536)
            f.flush()
            fail("the disk is not full")
        except OSError:
            pass
    denied(t, "a run on a full disk")
    eq(os.listdir(CACHE) if os.path.isdir(CACHE) else [], [], "entries, whole or torn")


@test
def a_directory_of_somebody_else_is_not_used(t):
    own_run(t)
    os.mkdir(CACHE, 0o700)
    os.chown(CACHE, 4711, 4711)
    denied(t, "a run beside a foreign directory")
    eq(os.listdir(CACHE), [], "entries")


@test
def an_entry_of_somebody_else_is_not_used(t):
    """As in an XDG_RUNTIME_DIR where others write: an owner who is not us has no say in our filters."""
    own_run(t)
    denied(t, "the first run")
    where = entry()
    inode = os.stat(where).st_ino
    os.chown(where, 4711, 4711)
    denied(t, "a run with a foreign entry")
    check(os.stat(where).st_ino != inode and os.stat(where).st_uid == 0, "it was not replaced")


@test
def two_at_once_are_fine(t):
    own_run(t)
    config = filtered(DENIED, "call", "getpgid", "0")
    for _ in range(5):
        for name in os.listdir(CACHE) if os.path.isdir(CACHE) else []:
            os.unlink(os.path.join(CACHE, name))
        running = [t.popen("run", "--bundle", t.bundle(config), t.new_id()) for _ in range(4)]
        for process in running:
            out, error = process.communicate(timeout=allow(30))
            eq((process.returncode, out), (0, b"-1 EXDEV\n"), f"one of four ({error})")
        entry()


@test
def without_a_profile_the_cache_is_left_alone(t):
    own_run(t)
    t.ok(minimal())
    check(not os.path.exists(CACHE), "a run without seccomp made the cache")


@test
def an_ordinary_users_entries_are_in_his_runtime_directory(t):
    own_run(t)
    os.mkdir("/run/u", 0o700)
    os.chown("/run/u", 4711, 4711)
    where = t.bundle(filtered(DENIED, "call", "getpgid", "0"))
    for path in (t.dir, os.path.dirname(t.dir)):
        os.chmod(path, 0o755)
    done = subprocess.run(
        ["setpriv", "--reuid", "4711", "--regid", "4711", "--clear-groups", t.binary, "--root",
         "/run/u/teca", "explain", "--bundle", where],
        env={"XDG_RUNTIME_DIR": "/run/u", "PATH": os.environ["PATH"]}, capture_output=True,
        check=False)
    check(b"/run/u/teca-seccomp" in done.stdout,
          f"the plan names the cache ({done.stdout[-300:]}, {done.stderr[-300:]})")
