# SPDX-License-Identifier: Apache-2.0
"""What every engine's tests stand on: a private place, an image, calls with a time limit.

An engine runs in a process of its own with a mount and a network namespace of its own: its mounts,
bridges and packet filters end with it. Its stores, sockets and state are below one directory.
What namespaces do not hold (cgroups, processes) is looked for at the end.
"""
import contextlib
import ctypes
import fcntl
import json
import os
import pty
import re
import select
import shutil
import signal
import struct
import subprocess
import sys
import termios
import time
from dataclasses import dataclass

HERE = os.path.dirname(os.path.abspath(__file__))
TREE = os.path.dirname(os.path.dirname(HERE))
sys.path.insert(0, os.path.join(TREE, "tests", "system"))
import harness  # noqa: E402
from harness import Failure, Skip, allow, check, contains, eq, lacks  # noqa: E402,F401

IMAGE = "localhost/box:latest"
CLONE_NEWNET = 0x40000000
_libc = ctypes.CDLL(None, use_errno=True)


def until_size(rows, columns):
    """For a shell: clients tell a terminal's size when the program runs already, late on a slow machine."""
    return f"until stty size | grep '{rows}.{columns}'; do sleep 0.1; done"


class Differs(Exception):
    """The engine's own limit on this machine, whatever the runtime: told in the table, no failure."""


class Absent(Exception):
    """This runtime cannot be asked for it: a dash in the table."""


@dataclass
class Done:
    """A call that ended."""
    status: int
    out: str
    err: str

    @property
    def text(self):
        return self.out + self.err


# ---- what a behaviour is -----------------------------------------------------------------------

BEHAVIOURS = {}  # engine family -> [(name, title, function)]
ABSENT = {}  # engine's name -> [(title, why the engine cannot be asked for it)]


def behaviour(title, *families):
    """Registers a test of one behaviour. title: the row of docs/engines.md."""

    def register(function):
        for family in families:
            BEHAVIOURS.setdefault(family, []).append((function.__name__, title, function))
        return function

    return register


def choose(engine, families, *names):
    """An engine shows these behaviours of other families."""
    for family in families:
        BEHAVIOURS.setdefault(engine, []).extend(b for b in BEHAVIOURS[family] if b[0] in names)


def absent(engine, title, reason):
    """A row of the table for what this engine has no words for."""
    ABSENT.setdefault(engine, []).append((title, reason))


# ---- a place of its own ------------------------------------------------------------------------

def unshare_mounts_and_network():
    harness.private_mounts()
    harness.mount("tmpfs", "/dev/shm", "tmpfs", 6)  # MS_NOSUID | MS_NODEV; podman's locks are there by name
    os.chmod("/dev/shm", 0o1777)
    if _libc.unshare(CLONE_NEWNET):
        raise OSError(ctypes.get_errno(), "unshare(CLONE_NEWNET)")
    subprocess.run(["ip", "link", "set", "lo", "up"], check=True)
    with contextlib.suppress(OSError):  # a sysctl of the new network namespace
        with open("/proc/sys/net/ipv4/ip_forward", "w", encoding="ascii") as f:
            f.write("1")


def hide_hybrid():
    """crun refuses to start where the v2 tree beside v1 holds a controller: it sees v1 only."""
    for _, where, v2 in harness.hierarchies():
        if v2 and where != harness.CGROUP_ROOT:
            harness.umount(where)


def make_root(where):
    """A busybox root filesystem, as small as an image can be."""
    for name in ("bin", "dev", "etc", "home", "opt", "proc", "root", "run", "sys", "tmp", "usr/bin",
                 "var/lib", "srv"):
        os.makedirs(os.path.join(where, name))
    os.chmod(os.path.join(where, "tmp"), 0o1777)
    busybox = shutil.which("busybox")
    shutil.copy(busybox, os.path.join(where, "bin/busybox"))
    listed = subprocess.run([busybox, "--list"], check=True, capture_output=True, text=True)
    for applet in listed.stdout.split():
        if applet != "busybox":
            os.symlink("busybox", os.path.join(where, "bin", applet))
    texts = {"etc/passwd": "root:x:0:0:root:/root:/bin/sh\nuser:x:1000:1000::/home:/bin/sh\n",
             "etc/group": "root:x:0:\nuser:x:1000:\nextra:x:2000:user\n",
             "opt/plain": "not a program\n"}
    for name, text in texts.items():
        with open(os.path.join(where, name), "w", encoding="ascii") as f:
            f.write(text)


class Place:
    """The directory of one run, the image's tar in it, and the processes started there."""

    def __init__(self, where):
        self.dir = where
        self.root = os.path.join(where, "image")
        self.tar = os.path.join(where, "image.tar")
        os.mkdir(where)
        os.chmod(where, 0o755)
        make_root(self.root)
        subprocess.run(["tar", "--numeric-owner", "--owner=0", "--group=0", "-C", self.root,
                        "-cf", self.tar, "."], check=True)

    def path(self, *parts):
        return os.path.join(self.dir, *parts)

    def mkdir(self, *parts):
        os.makedirs(self.path(*parts), exist_ok=True)
        return self.path(*parts)

    def write(self, name, text, mode=0o644):
        with open(self.path(name), "w", encoding="utf-8") as f:
            f.write(text)
        os.chmod(self.path(name), mode)
        return self.path(name)


# ---- an engine ----------------------------------------------------------------------------------

class Engine:
    """
    One engine with one runtime. A subclass says how a command line begins (argv), how the engine is
    started and stopped, and which family of behaviours it shows.
    """
    name = family = ""
    as_well = ()  # families whose behaviours it shows too
    usual = ()  # of these, what is run when no pattern is given; none: all
    seconds = 60  # of one call
    rm_f = ("rm", "-f")
    exec_missing = 127  # status of exec of a command that is not there
    ulimits = ()  # what a --ulimit of one's own leaves out

    def __init__(self, place, runtime, binary):
        self.place, self.runtime, self.binary = place, runtime, binary
        self.daemons = []
        self.number = 0

    # -- to be said by each
    def argv(self, *args):
        raise NotImplementedError

    def environment(self):
        return {}

    @classmethod
    def before_its_namespaces(cls):
        """What has to be done on the machine itself."""

    def start(self):
        """Gets the engine ready and the image into it."""

    def stop(self):
        """Ends the engine and every container that is left."""

    def describe(self):
        """The version, for the table."""
        raise NotImplementedError

    def example(self, name):
        """What examples/ has for an administrator, with the binary under test in it."""
        with open(os.path.join(TREE, "examples", name), encoding="utf-8") as f:
            text = f.read()
        check(text.count('"/usr/local/bin/teca"') == 1, f"examples/{name} names the binary")
        return text.replace('"/usr/local/bin/teca"', f'"{self.binary}"')

    # -- calls
    def fresh(self, what="c"):
        """A name nobody has."""
        self.number += 1
        return f"{what}{self.number}"

    def directory(self, name):
        """One that the engine's user may write to."""
        return self.place.mkdir(name)

    def env(self):
        keep = {k: v for k, v in os.environ.items() if k in ("PATH", "LANG", "TMPDIR")}
        return keep | {"HOME": self.place.mkdir("home")} | self.environment()

    def __call__(self, *args, stdin=None, seconds=None, cwd=None):
        return self.call(self.argv(*args), stdin=stdin, seconds=seconds, cwd=cwd)

    def call(self, argv, stdin=None, seconds=None, cwd=None):
        given = {"input": stdin} if stdin is not None else {"stdin": subprocess.DEVNULL}
        # Files, not pipes: what the engine leaves in the background may hold them open.
        with open(self.place.path("out"), "w+b") as out, open(self.place.path("err"), "w+b") as err:
            process = subprocess.Popen(argv, stdout=out, stderr=err, env=self.env(),
                                       cwd=cwd or self.place.dir,
                                       stdin=subprocess.PIPE if "input" in given else subprocess.DEVNULL)
            try:
                process.communicate(stdin.encode() if stdin is not None else None,
                                    timeout=allow(seconds or self.seconds))
            except subprocess.TimeoutExpired:
                process.kill()
                process.wait()
                raise Failure(f"no end after {allow(seconds or self.seconds):g} s: {' '.join(argv)}") from None
            out.seek(0)
            err.seek(0)
            return Done(process.returncode, out.read().decode(errors="replace"),
                        err.read().decode(errors="replace"))

    def ok(self, *args, **more):
        """The call's stdout; anything but success is a failure."""
        done = self(*args, **more)
        check(done.status == 0, f"{self.name} {' '.join(args)}: status {done.status}: "
                                f"{harness.show(done.err.strip() or done.out.strip())}")
        return done.out

    def terminal(self, *args, script, rows=24, columns=80, seconds=30):
        """
        The call on a pseudo-terminal. script: pairs (text to wait for, what to do: type a string,
        set a size, wait some seconds). Gives the exit status and all that was seen.
        """
        pid, master = pty.fork()
        if pid == 0:
            os.chdir(self.place.dir)
            argv = self.argv(*args)
            os.execvpe(argv[0], argv, self.env() | {"TERM": "xterm"})
        fcntl.ioctl(master, termios.TIOCSWINSZ, struct.pack("HHHH", rows, columns, 0, 0))
        seen, end = b"", time.monotonic() + allow(seconds)
        todo = list(script)
        at = 0
        try:
            while True:
                while todo and re.search(todo[0][0].encode(), seen[at:]):
                    at = len(seen)
                    act = todo.pop(0)[1]
                    if isinstance(act, float):
                        time.sleep(act)
                    elif isinstance(act, tuple):
                        fcntl.ioctl(master, termios.TIOCSWINSZ, struct.pack("HHHH", *act, 0, 0))
                        os.kill(pid, signal.SIGWINCH)
                    else:
                        os.write(master, act.encode())
                left = end - time.monotonic()
                if left <= 0 or not select.select([master], [], [], left)[0]:
                    raise Failure(f"terminal: waited for {todo[:1]}, saw {seen.decode(errors='replace')!r}")
                try:
                    got = os.read(master, 4096)
                except OSError:  # EIO: the other side is closed
                    got = b""
                if not got:
                    break
                seen += got
            status = os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1])
            pid = 0
        finally:
            os.close(master)
            if pid:
                os.kill(pid, signal.SIGKILL)
                os.waitpid(pid, 0)
        check(not todo, f"terminal: never saw {todo[:1]}, but {seen.decode(errors='replace')!r}")
        return status, seen.decode(errors="replace")

    def daemon(self, argv, ready, log, seconds=30):
        """Starts a daemon; ready() says when it can be used."""
        with open(self.place.path(log), "wb") as f:
            process = subprocess.Popen(argv, stdin=subprocess.DEVNULL, stdout=f, stderr=f,
                                       env=self.env(), cwd=self.place.dir)
        self.daemons.append(process)
        end = time.monotonic() + allow(seconds)
        while not ready():
            if process.poll() is not None or time.monotonic() > end:
                with open(self.place.path(log), encoding="utf-8", errors="replace") as f:
                    raise Failure(f"{argv[0]} does not become ready: {f.read()[-600:]}")
            time.sleep(0.1)

    def end_daemons(self):
        for process in reversed(self.daemons):
            process.terminate()
        for process in reversed(self.daemons):
            try:
                process.wait(allow(20))
            except subprocess.TimeoutExpired:
                process.kill()
                process.wait()
        self.daemons = []


def wait_until(truth, what, seconds=20):
    """truth() is asked until it holds."""
    end = time.monotonic() + allow(seconds)
    while True:
        found = truth()
        if found:
            return found
        if time.monotonic() > end:
            raise Failure(f"{what}: not within {seconds} s")
        time.sleep(0.1)


def parse(text):
    """The JSON that an engine printed."""
    try:
        return json.loads(text)
    except ValueError as e:
        raise Failure(f"no JSON ({e}): {harness.show(text)}") from None
