# SPDX-License-Identifier: Apache-2.0
"""What every system test stands on: bundles, calls of the binary, and the proof that nothing stays.

A test is a function with one parameter, the Test, and a name that is a sentence. It runs in a
process of its own that is a child subreaper, as an engine is: every container that outlives the
runtime becomes a child of the test. When the function returns, the containers it named are deleted
with `delete --force`, and then nothing may be left: no process, no cgroup, no mount, no state.
"""
import contextlib
import copy
import ctypes
import functools
import glob
import json
import os
import re
import select
import shutil
import signal
import stat
import subprocess
import time

HERE = os.path.dirname(os.path.abspath(__file__))
TREE = os.path.dirname(os.path.dirname(HERE))
DATA = os.path.join(TREE, "tests", "data")
CGROUP_ROOT = "/sys/fs/cgroup"
PATH_OF_THE_IMAGE = "PATH=/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin"

# How much slower than an ordinary machine this one is: every time limit is multiplied by it. The
# test VM, which emulates its processor, says 20 (tests/vm/suite).
SLOWNESS = float(os.environ.get("TECA_TEST_SLOWNESS", "1"))

# Where containers run: "container", or a mode of --isolation (isolation.py).
ISOLATION = "container"
VERBS = ("create", "delete", "events", "exec", "explain", "kill", "list", "pause", "ps", "resume", "run",
         "start", "state", "update", "check", "spec", "features", "checkpoint", "restore", "vm")

_libc = ctypes.CDLL(None, use_errno=True)
CLONE_NEWNS, MS_REC, MS_PRIVATE, MS_SHARED = 0x20000, 0x4000, 1 << 18, 1 << 20
PR_SET_CHILD_SUBREAPER, PR_SET_PDEATHSIG = 36, 1


class Failure(Exception):
    """The test found what must not be."""


class Skip(Exception):
    """The test cannot be run here; the text says what the machine lacks."""


# ---- the list of tests ------------------------------------------------------------------------

TESTS = []  # (name, function, seconds)


def test(function=None, *, seconds=60):
    """Registers a test. seconds: when it counts as hung."""
    if function is None:
        return functools.partial(test, seconds=seconds)
    topic = function.__module__.removeprefix("test_")
    TESTS.append((f"{topic}.{function.__name__}", function, seconds))
    return function


def cases(**rows):
    """One test for each row; the row's name becomes part of the test's."""

    def register(function):
        topic = function.__module__.removeprefix("test_")
        for row, values in rows.items():
            values = values if isinstance(values, tuple) else (values,)
            one = functools.partial(_with_row, function, values)
            one.rows = getattr(values, "rows", ())
            TESTS.append((f"{topic}.{function.__name__}[{row}]", one, 60))
        return function

    return register


def _with_row(function, values, t):
    function(t, *values)


def row(*ids):
    """
    The test shows these rows of the specification: tests/conformance.txt, docs/conformance.md.
    Above or below @test and @cases, and more than once. A single case is marked by shows().
    """

    def mark(function):
        function.rows = (*ids, *getattr(function, "rows", ()))
        return function

    return mark


class shows(tuple):  # noqa: N801, for it reads as a verb: case=shows("CFG-4", value, value)
    """The values of one of the @cases, which shows a row that the others do not."""

    def __new__(cls, ident, *values):
        made = super().__new__(cls, values)
        made.rows = (ident,)
        return made


def rows_of(function):
    own = getattr(function, "rows", ())
    if isinstance(function, functools.partial):
        own += getattr(function.args[0], "rows", ())
    return own


# ---- checks -----------------------------------------------------------------------------------

def show(value):
    text = value if isinstance(value, str) else repr(value)
    return text if len(text) < 600 else text[:600] + "..."


def fail(message):
    raise Failure(message)


def check(truth, message):
    if not truth:
        raise Failure(message)


def eq(actual, expected, what):
    if actual != expected:
        raise Failure(f"{what}: expected {show(repr(expected))}, got {show(repr(actual))}")


def contains(text, part, what):
    if part not in text:
        raise Failure(f"{what}: expected to find {part!r} in {show(repr(text))}")


def lacks(text, part, what):
    if part in text:
        raise Failure(f"{what}: must not contain {part!r}: {show(repr(text))}")


# ---- system calls python has no name for --------------------------------------------------------

def _checked(result, what):
    if result < 0:
        number = ctypes.get_errno()
        raise OSError(number, f"{what}: {os.strerror(number)}")


def mount(source, target, kind, flags=0, data=""):
    _checked(_libc.mount(source.encode(), target.encode(), kind.encode(),
                         ctypes.c_ulong(flags), data.encode()), f"mount at {target}")


def umount(target):
    _checked(_libc.umount2(target.encode(), 2), f"umount of {target}")  # MNT_DETACH


def become_subreaper():
    _checked(_libc.prctl(PR_SET_CHILD_SUBREAPER, 1, 0, 0, 0), "PR_SET_CHILD_SUBREAPER")


def only_cgroup2():
    """This process, and what it starts, sees a host with cgroup v2 alone."""
    private_mounts()
    umount(CGROUP_ROOT)
    mount("cgroup2", CGROUP_ROOT, "cgroup2")


def only_cgroup1():
    """... with v1 alone."""
    if all(v2 for _, _, v2 in hierarchies()):
        raise Skip("no v1 hierarchy is mounted")
    private_mounts()
    for _, where, v2 in hierarchies():
        if v2:
            umount(where)


def private_mounts(propagation=MS_PRIVATE):
    """The calling process gets a mount namespace of its own."""
    _checked(_libc.unshare(CLONE_NEWNS), "unshare(CLONE_NEWNS)")
    mount("none", "/", "none", MS_REC | propagation)


# ---- what the host shows ------------------------------------------------------------------------

def hierarchies():
    """[(controllers, mount point, v2)] of every hierarchy that is mounted below /sys/fs/cgroup."""
    found = []
    for line in mounts_of():
        if line["type"] in ("cgroup", "cgroup2") and line["at"].startswith(CGROUP_ROOT):
            known = {"rw", "ro", "clone_children", "xattr"}
            names = [o for o in line["super"].split(",")
                     if o not in known and not o.startswith("release_agent=")]
            found.append((",".join(names), line["at"], line["type"] == "cgroup2"))
    return found


def ready_hierarchies():
    """Those where a new cgroup takes a process at once: on v1 a cpuset wants its files filled first."""
    return [h for h in hierarchies() if h[2] or "cpuset" not in h[0]]


def _unescape(text):
    return re.sub(r"\\([0-7]{3})", lambda m: chr(int(m.group(1), 8)), text)


def mounts_of(text=None):
    """mountinfo as a list of dicts; of this process when no text is given."""
    if text is None:
        with open("/proc/self/mountinfo", encoding="utf-8", errors="surrogateescape") as f:
            text = f.read()
    found = []
    for line in text.splitlines():
        left, right = line.split(" - ", 1)
        fields, tail = left.split(" "), right.split(" ")
        found.append({"id": fields[0], "parent": fields[1], "dev": fields[2],
                      "root": _unescape(fields[3]), "at": _unescape(fields[4]),
                      "options": fields[5].split(","), "propagation": fields[6:],
                      "type": tail[0], "source": _unescape(tail[1]), "super": tail[2]})
    return found


def mount_at(text, where):
    """The topmost mount at a path."""
    found = [m for m in mounts_of(text) if m["at"] == where]
    check(found, f"nothing is mounted at {where}: {[m['at'] for m in mounts_of(text)]}")
    return found[-1]


def cgroups_below(top):
    """Every cgroup below a directory, a parent before its children. os.walk() recurses: not so deep."""
    todo = [top]
    while todo:
        where = todo.pop()
        with contextlib.suppress(OSError), os.scandir(where) as entries:
            below = [e.path for e in entries if e.is_dir(follow_symlinks=False)]
            yield from below
            todo += below


def cgroups_with(token):
    """Every cgroup directory on the host whose own name contains the token."""
    return [where for _, top, _ in hierarchies() for where in cgroups_below(top)
            if token in os.path.basename(where)]


def stat_fields(pid):
    with open(f"/proc/{pid}/stat", encoding="utf-8", errors="replace") as f:
        return f.read().rsplit(")", 1)[1].split()


def mapping_kib(pid, name):
    """(Rss, Pss) of what a process has mapped of a file."""
    found, here = {"Rss": 0, "Pss": 0}, False
    with open(f"/proc/{pid}/smaps", encoding="utf-8") as f:
        for line in f:
            words = line.split()
            if "-" in words[0]:
                here = words[-1].endswith(name)
            elif here and words[0][:-1] in found:
                found[words[0][:-1]] += int(words[1])
    return found["Rss"], found["Pss"]


def is_alive(pid):
    """Exists and is no zombie."""
    try:
        return stat_fields(pid)[0] not in "ZX"
    except (FileNotFoundError, ProcessLookupError):
        return False


def children_of(parent):
    """[(pid, state)] of the direct children. CONFIG_PROC_CHILDREN, proc(5): asked of each thread."""
    pids, found = [], []
    for file in glob.glob(f"/proc/{parent}/task/*/children"):
        with contextlib.suppress(FileNotFoundError, ProcessLookupError):
            with open(file, encoding="ascii") as f:
                pids += f.read().split()
    for pid in pids:
        with contextlib.suppress(FileNotFoundError, ProcessLookupError):
            found.append((int(pid), stat_fields(pid)[0]))
    return found


def is_dying(pid):
    """Killed already (SIGKILL is pending) or in its exit (PF_EXITING of linux/sched.h)."""
    try:
        with open(f"/proc/{pid}/status", encoding="utf-8", errors="replace") as f:
            pending = [int(line.split()[1], 16) for line in f if line[:7] in ("SigPnd:", "ShdPnd:")]
        return any(mask >> 8 & 1 for mask in pending) or int(stat_fields(pid)[6]) & 4 != 0
    except (FileNotFoundError, ProcessLookupError):
        return True


def descendants_of(parent):
    found = []
    for pid, state in children_of(parent):
        found.append((pid, state))
        found += descendants_of(pid)
    return found


def reap():
    """Waits for the children that ended already, as the engine that this process plays would."""
    with contextlib.suppress(ChildProcessError):
        while os.waitpid(-1, os.WNOHANG)[0]:
            pass


def name_of(pid):
    try:
        with open(f"/proc/{pid}/cmdline", "rb") as f:
            line = f.read().replace(b"\0", b" ").decode(errors="replace").strip()
        return f"{pid} ({line})"
    except OSError:
        return str(pid)


def allow(seconds):
    """A time limit for this machine."""
    return seconds * SLOWNESS


def wait_until(truth, what, seconds=10.0):
    """Polls; the answer of the last poll is returned."""
    end = time.monotonic() + allow(seconds)
    while True:
        answer = truth()
        if answer:
            return answer
        if time.monotonic() > end:
            raise Failure(f"after {allow(seconds):g} s still not: {what}")
        time.sleep(0.005)


# ---- configurations -----------------------------------------------------------------------------

NAMESPACES = ("pid", "mount", "ipc", "uts", "network")


def minimal(*args, **process):
    """The least that starts: what a test adds to it is what the test is about."""
    machine = ISOLATION != "container"  # a machine cannot share the host's network
    return {
        "ociVersion": "1.0.2",
        "process": {"terminal": False, "user": {"uid": 0, "gid": 0}, "cwd": "/",
                    "args": list(args) or ["/bin/true"], "env": [PATH_OF_THE_IMAGE]} | process,
        "root": {"path": "rootfs", "readonly": True},
        "mounts": [
            {"destination": "/proc", "type": "proc", "source": "proc"},
            {"destination": "/dev", "type": "tmpfs", "source": "tmpfs",
             "options": ["nosuid", "mode=755", "size=65536k"]},
        ],
        "linux": {"namespaces": [{"type": n} for n in NAMESPACES if machine or n != "network"]},
    }


def default(*args):
    """tests/data/default.json, the benchmark bundle, with other arguments."""
    with open(os.path.join(DATA, "default.json"), encoding="utf-8") as f:
        config = json.load(f)
    if args:
        config["process"]["args"] = list(args)
    return config


def without(config, *types):
    """The same with these namespaces left out."""
    config = copy.deepcopy(config)
    spaces = config["linux"]["namespaces"]
    config["linux"]["namespaces"] = [n for n in spaces if n["type"] not in types]
    return config


def joined(config, kind, path=None):
    """The same with a new namespace, or one joined by path, in place of what it said."""
    config = without(config, kind)
    config["linux"]["namespaces"].append({"type": kind} | ({"path": path} if path else {}))
    return config


def with_user_namespace(config, host=100000, size=65536):
    config = joined(config, "user")
    for key in ("uidMappings", "gidMappings"):
        config["linux"][key] = [{"containerID": 0, "hostID": host, "size": size}]
    return config


def with_mount(config, destination, kind="bind", source=None, *options):
    entry = {"destination": destination, "type": kind, "source": source or kind}
    config["mounts"].append(entry | ({"options": list(options)} if options else {}))
    return config


def capabilities(*names, **sets):
    """All five sets alike, single ones by keyword."""
    kinds = ("bounding", "effective", "inheritable", "permitted", "ambient")
    return {k: list(sets.get(k, names)) for k in kinds}


def isolated(args):
    """The words of a call, in the mode that the suite runs in unless they name one."""
    if ISOLATION == "container" or "--isolation" in args:
        return args
    verb = next((i for i, word in enumerate(args) if word in VERBS), None)
    if verb is None or args[verb] not in ("run", "create"):
        return args
    return (*args[:verb + 1], "--isolation", ISOLATION, *args[verb + 1:])


# ---- the test object ----------------------------------------------------------------------------

class Result:
    def __init__(self, status, out, err):
        self.status, self.out, self.err = status, out, err

    @property
    def text(self):
        return self.out.decode(errors="replace")

    @property
    def error(self):
        return self.err.decode(errors="replace")


class Test:
    def __init__(self, suite, name, number):
        self.name = name
        self.binary = suite.binary
        self.shared_root = suite.shared_root
        self.payload = suite.payload
        self.token = f"{suite.token}x{number}z"
        self.dir = os.path.join(suite.dir, self.token)
        self.state_root = os.path.join(self.dir, "state")
        self.global_args = []
        self.count = 0
        self.ids = []
        self.background = []
        self.holders = []
        self.mounts = []  # on the host, made by the test itself

    # -- bundles

    def new_id(self):
        self.count += 1
        container = f"{self.token}-{self.count}"
        self.ids.append(container)
        return container

    def bundle(self, config, rootfs=None):
        """A directory with config.json (config may be text); the shared root unless given."""
        self.count += 1
        where = os.path.join(self.dir, f"bundle{self.count}")
        os.mkdir(where)
        if not isinstance(config, (str, bytes)):
            config = copy.deepcopy(config)
            if config.get("root", {}).get("path") == "rootfs":
                config["root"]["path"] = rootfs or self.shared_root
            config = json.dumps(config)
        mode = "wb" if isinstance(config, bytes) else "w"
        with open(os.path.join(where, "config.json"), mode) as f:
            f.write(config)
        return where

    def own_root(self, copy=os.link):
        """A root filesystem that this test may change: hard links to the shared one's files, whose ctime others change."""
        self.count += 1
        where = os.path.join(self.dir, f"root{self.count}")
        shutil.copytree(self.shared_root, where, symlinks=True, copy_function=copy)
        return where

    def path(self, *names):
        return os.path.join(self.dir, *names)

    def file(self, name, text=""):
        where = self.path(name)
        os.makedirs(os.path.dirname(where), exist_ok=True)
        with open(where, "wb" if isinstance(text, bytes) else "w") as f:
            f.write(text)
        return where

    # -- calls

    def argv(self, *args):
        return [self.binary, "--root", self.state_root, *self.global_args, *isolated(args)]

    def teca(self, *args, stdin=b"", seconds=30, expect=None, **more):
        """One call of the binary, waited for. expect: the exit status it must have."""
        more.setdefault("cwd", self.dir)
        command = more.pop("command", None) or self.argv(*args)
        done = self.call(command, stdin, seconds, **more)
        if expect is not None and done.status != expect:
            raise Failure(f"{' '.join(map(str, args))}: exit status {done.status}, "
                          f"expected {expect}; stderr: {show(done.error)}")
        return done

    def call(self, command, stdin=b"", seconds=30, **more):
        """
        Waits for the process, not for the end of its pipes: what a container that goes on holds
        open must not hold up the test. Outputs go to files for that.
        """
        self.count += 1
        names = [self.path(f".{stream}{self.count}") for stream in ("in", "out", "err")]
        with open(names[0], "wb") as f:
            f.write(stdin)
        with open(names[0], "rb") as in_, open(names[1], "wb") as out, open(names[2], "wb") as err:
            more.setdefault("stdin", in_)
            more.setdefault("stdout", out)
            more.setdefault("stderr", err)
            process = subprocess.Popen(command, **self.with_cache(more))
            try:
                status = process.wait(allow(seconds))
            except subprocess.TimeoutExpired:
                process.kill()
                process.wait()
                raise Failure(f"{show(' '.join(map(str, command)))}: "
                              f"still running after {allow(seconds):g} s")
        texts = []
        for name in names[1:]:
            with open(name, "rb") as f:
                texts.append(f.read())
        return Result(status, *texts)

    @staticmethod
    def with_cache(options):
        """An environment of the test's own names the machine's kernel all the same."""
        if ISOLATION != "container" and options.get("env") is not None:
            options["env"] = {"TECA_CACHE": os.environ["TECA_CACHE"]} | options["env"]
        return options

    def run(self, config, *flags, rootfs=None, container=None, **more):
        """`run` of a new bundle."""
        container = container or self.new_id()
        where = self.bundle(config, rootfs)
        return self.teca("run", *flags, "--bundle", where, container, **more)

    def ok(self, config, *flags, **more):
        """`run` that must succeed and say nothing on stderr; gives stdout."""
        done = self.run(config, *flags, expect=0, **more)
        eq(done.error, "", "stderr of a run that succeeds")
        return done.text

    def report(self, config, *flags, **more):
        """Runs `payload report` in this configuration and gives what it found."""
        config = copy.deepcopy(config)
        config["process"]["args"] = ["/payload", "report"]
        text = self.ok(config, *flags, **more)
        try:
            return json.loads(text)
        except json.JSONDecodeError as e:
            raise Failure(f"the payload's report is no JSON ({e}): {show(text)}")

    def refused(self, config, *parts, rootfs=None, verb="run"):
        """A start that must fail with status 1 and with all these parts in its one sentence."""
        container = self.new_id()
        where = self.bundle(config, rootfs)
        done = self.teca(verb, "--bundle", where, container)
        eq(done.status, 1,
           f"exit status of a {verb} that must be refused (stderr {show(done.error)})")
        for part in parts:
            contains(done.error.lower(), part.lower(), "stderr")  # engines ignore case too
        eq(done.error.rstrip("\n").count("\n"), 0, f"newlines inside the message {done.error!r}")
        self.nothing_of(container)
        return done

    def create(self, config, *flags, rootfs=None, container=None, start=False):
        container = container or self.new_id()
        where = self.bundle(config, rootfs)
        self.teca("create", *flags, "--bundle", where, container, expect=0)
        if start:
            self.teca("start", container, expect=0)
        return container

    def state(self, container):
        return json.loads(self.teca("state", container, expect=0).text)

    def pid(self, container):
        return self.state(container)["pid"]

    def sleeper(self, config=None, **more):
        """A container that runs until it is killed; gives (id, pid)."""
        config = config or minimal()
        config = copy.deepcopy(config)
        config["process"]["args"] = ["/payload", "catch", "15"]
        container = self.create(config, start=True, **more)
        return container, self.pid(container)

    def popen(self, *args, command=None, **more):
        """The binary in the background; killed at the end when it still runs."""
        more.setdefault("cwd", self.dir)
        more.setdefault("stdin", subprocess.DEVNULL)
        more.setdefault("stdout", subprocess.PIPE)
        more.setdefault("stderr", subprocess.PIPE)
        process = subprocess.Popen(command or self.argv(*args), **self.with_cache(more))
        self.background.append(process)
        return process

    def read_line(self, process, seconds=20):
        """One line of a background process's stdout."""
        line, end = b"", time.monotonic() + allow(seconds)
        fd = process.stdout.fileno()
        while not line.endswith(b"\n"):
            left = end - time.monotonic()
            if left <= 0 or not select.select([fd], [], [], left)[0]:
                raise Failure(f"no line on stdout within {allow(seconds):g} s, so far {line!r}")
            got = os.read(fd, 1)
            if not got:
                error = process.stderr.read().decode(errors="replace") if process.stderr else ""
                raise Failure(f"stdout ended after {line!r}; stderr: {show(error)}")
            line += got
        return line.decode().rstrip("\n")

    def end_of(self, process, seconds=20):
        """Exit status of a background process, 128+n already applied by python as -n."""
        try:
            return process.wait(allow(seconds))
        except subprocess.TimeoutExpired:
            raise Failure(f"{name_of(process.pid)} still runs after {allow(seconds):g} s")

    # -- host state a test makes

    def skip(self, reason):
        raise Skip(reason)

    def mount(self, source, target, kind, flags=0, data=""):
        os.makedirs(target, exist_ok=True)
        mount(source, target, kind, flags, data)
        self.mounts.append(target)

    def holder(self, *unshare_args):
        """
        A host process in new namespaces, for joins by path; gives its pid. The arguments may end with
        a program that executes what follows it.
        """
        process = self.popen(command=["unshare", *unshare_args, self.payload, "catch", "15"])
        eq(self.read_line(process), "ready", "the holder of the namespaces")
        self.holders.append(process)
        return process.pid

    @staticmethod
    def end_child_of_holder(process):
        """
        An unshare that forked is waited for by its child's end: were unshare killed first, the child
        would get its SIGKILL from the kernel, and nobody could wait for it.
        """
        children = children_of(process.pid)
        for pid, _ in children:
            with contextlib.suppress(ProcessLookupError):
                os.kill(pid, signal.SIGKILL)
        if children:
            process.wait()

    # -- nothing may stay

    def nothing_of(self, container):
        """No trace of this container: state, cgroup, mount. Processes are looked for at the end."""
        there = os.path.join(self.state_root, container)
        check(not os.path.lexists(there), f"the state directory {there} is still there")
        cgroups = [c for c in cgroups_with(container) if os.path.basename(c).endswith(container)]
        check(not cgroups, f"cgroups still there: {cgroups}")

    def finish(self):
        """Deletes what the test created, ends what it started; says what was left over."""
        left = []
        for process in self.holders:
            self.end_child_of_holder(process)
        for process in self.background:
            if process.poll() is None:
                process.kill()
            process.wait()
        reap()
        for container in reversed(self.ids):
            if os.path.lexists(os.path.join(self.state_root, container)):
                done = self.teca("delete", "--force", container)
                if done.status:
                    left.append(f"delete --force {container}: {done.error.strip()}")
                reap()  # a namespace's init ends only when all that joined it were waited for
        left += self.leftovers()
        for target in reversed(self.mounts):
            umount(target)
        return left

    def leftovers(self):
        left = []
        for pid, state in descendants_of(os.getpid()):
            if state not in "ZX":
                if not is_dying(pid):
                    left.append(f"process {name_of(pid)}")
                with contextlib.suppress(ProcessLookupError):
                    os.kill(pid, signal.SIGKILL)
        with contextlib.suppress(ChildProcessError):
            while os.waitpid(-1, 0)[0]:
                pass
        if os.path.isdir(self.state_root):
            left += [f"state {n}" for n in os.listdir(self.state_root)]
        left += [f"mount {m['at']}" for m in mounts_of()
                 if self.dir in m["at"] and m["at"] not in self.mounts]
        left += [f"cgroup {c}" for c in cgroups_with(self.token)]
        return left


def sweep(directory, token):
    """By force, for a test that left something or was interrupted: cgroups, mounts, files."""
    found = [below for top in cgroups_with(token) for below in (top, *cgroups_below(top))]
    for where in sorted(set(found), key=len, reverse=True):
        with contextlib.suppress(OSError):
            with open(os.path.join(where, "cgroup.procs"), encoding="ascii") as f:
                for pid in f.read().split():
                    os.kill(int(pid), signal.SIGKILL)
        for _ in range(100):
            try:
                os.rmdir(where)
                break
            except FileNotFoundError:
                break
            except OSError:
                time.sleep(0.01)
    for m in reversed(mounts_of()):
        if m["at"].startswith(directory):
            with contextlib.suppress(OSError):
                umount(m["at"])
    shutil.rmtree(directory, ignore_errors=True)


def tree_print(top):
    """What a directory holds, to see later whether anything in it was changed."""
    found = []
    for where, names, files in os.walk(top):
        for name in sorted(names + files):
            s = os.lstat(os.path.join(where, name))
            found.append((os.path.join(where, name), stat.S_IFMT(s.st_mode), s.st_mode, s.st_uid,
                          s.st_gid, s.st_size, s.st_mtime_ns))
    return sorted(found)
