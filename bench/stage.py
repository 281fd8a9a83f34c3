# SPDX-License-Identifier: Apache-2.0
"""The stage that every measurement of this folder plays on: one bundle, one cgroup layout, and the
contestants that run it.

Everything happens in a mount namespace of the calling process, so that no mount can be left behind.
What a contestant might leave on the host (cgroups, state) is looked for after the run, and removed
at the start of the next one.
"""
import ctypes
import json
import os
import pathlib
import shutil
import signal
import socket
import subprocess
import sys
import tempfile
import time

REPO = pathlib.Path(__file__).resolve().parent.parent
CGROUP_ROOT = pathlib.Path("/sys/fs/cgroup")
CONTESTANTS = ("teca", "crun", "floor")

# <sched.h>, <sys/mount.h>
CLONE_NEWNS = 0x00020000
MS_REC, MS_PRIVATE, MNT_DETACH = 1 << 14, 1 << 18, 2

libc = ctypes.CDLL(None, use_errno=True)


class StageError(Exception):
    """What went wrong, in a sentence for the user."""


def _call(what, result):
    if result != 0:
        raise StageError(f"{what}: {os.strerror(ctypes.get_errno())}")


def _mount(source, target, kind, flags=0, data=None):
    encoded = [None if text is None else str(text).encode()
               for text in (source, target, kind, data)]
    _call(f"cannot mount {kind or source} on {target}",
          libc.mount(encoded[0], encoded[1], encoded[2], ctypes.c_ulong(flags), encoded[3]))


def mounted_hierarchies():
    """The cgroup mounts under /sys/fs/cgroup: (name of the v2 one or None, names of v1 ones)."""
    v2, v1 = None, []
    for line in pathlib.Path("/proc/self/mountinfo").read_text().splitlines():
        left, right = line.split(" - ")
        path, kind = pathlib.Path(left.split()[4]), right.split()[0]
        if kind not in ("cgroup", "cgroup2") or not path.is_relative_to(CGROUP_ROOT):
            continue
        name = str(path.relative_to(CGROUP_ROOT))
        if kind == "cgroup2":
            v2 = name
        else:
            v1.append(name)
    return v2, v1


def _v1_options():
    """name -> mount option of the v1 hierarchies: {"systemd": "name=systemd", "cpu": "cpu"}."""
    options = {}
    for line in pathlib.Path("/proc/self/mountinfo").read_text().splitlines():
        left, right = line.split(" - ")
        kind, _, super_options = right.split(maxsplit=2)
        if kind == "cgroup":
            own = [o for o in super_options.split(",") if o not in ("rw", "ro", "none", "xattr")
                   and "=" not in o or o.startswith("name=")]
            options[pathlib.Path(left.split()[4]).name] = ",".join(own)
    return options


def _mount_hybrid(options):
    """crun 1.8 refuses a hybrid machine whose v2 hierarchy still owns a controller (here hugetlb):
    such a controller gets a v1 hierarchy for the time of the measurement. Returns the controllers
    so borrowed. One that a killed measurement left behind in a hierarchy without a mount (see
    _give_back) is borrowed again."""
    borrowed = (CGROUP_ROOT / "unified/cgroup.controllers").read_text().split()
    taken = {part for option in options.values() for part in option.split(",")}
    for line in pathlib.Path("/proc/cgroups").read_text().splitlines()[1:]:
        controller, hierarchy = line.split()[:2]
        if hierarchy != "0" and controller not in taken:
            borrowed.append(controller)
    options |= {controller: controller for controller in borrowed}
    _call("cannot detach /sys/fs/cgroup", libc.umount2(str(CGROUP_ROOT).encode(), MNT_DETACH))
    _mount("cgroup", CGROUP_ROOT, "tmpfs", data="mode=755")
    for name, option in options.items():
        (CGROUP_ROOT / name).mkdir()
        _mount("cgroup", CGROUP_ROOT / name, "cgroup", data=option)
    (CGROUP_ROOT / "unified").mkdir()
    _mount("cgroup2", CGROUP_ROOT / "unified", "cgroup2")
    return borrowed


def _give_back(controller):
    """Unmounts a borrowed hierarchy so that the controller belongs to v2 again, which takes a
    while. A hierarchy unmounted while the kernel still frees a cgroup of it stays behind
    without a mount (cgroup_kill_sb()): then it is mounted and unmounted once more."""
    path = CGROUP_ROOT / controller
    for _ in range(10):
        _call(f"cannot unmount {path}", libc.umount2(str(path).encode(), 0))
        for _ in range(50):
            time.sleep(0.02)
            if controller in (CGROUP_ROOT / "unified/cgroup.controllers").read_text().split():
                return
        _mount("cgroup", path, "cgroup", data=controller)
    raise StageError(f"the controller {controller} stays in a v1 hierarchy of its own")


def _mount_v2():
    _call("cannot detach /sys/fs/cgroup", libc.umount2(str(CGROUP_ROOT).encode(), MNT_DETACH))
    _mount("cgroup2", CGROUP_ROOT, "cgroup2")


def _enter_layout(cgroups, run_as_it_is):
    _call("cannot make a mount namespace (root is needed)", libc.unshare(CLONE_NEWNS))
    _mount(None, "/", None, MS_REC | MS_PRIVATE)
    if not run_as_it_is:
        _mount("tmpfs", "/run", "tmpfs", data="mode=755")
    v2, v1 = mounted_hierarchies()
    borrowed = []
    if cgroups == "v2" and v2 != ".":
        _mount_v2()
    elif cgroups == "auto" and v1 and v2 == "unified":
        borrowed = _mount_hybrid(_v1_options())
    v2, v1 = mounted_hierarchies()
    if v2 is None:
        raise StageError("no cgroup2 hierarchy is mounted under /sys/fs/cgroup: "
                         "the floor has no pure v1 form")
    return v2, v1, borrowed


def _remove_cgroup(path):
    for _ in range(100):
        try:
            path.rmdir()
            return
        except OSError:
            for pid in (path / "cgroup.procs").read_text().split():
                os.kill(int(pid), signal.SIGKILL)
            time.sleep(0.02)
    raise StageError(f"cannot remove {path}")


def run_tool(command):
    """Runs one of the programs here, gives its stdout. When this script is interrupted, the program
    is told so and waited for: it lets the container under way end."""
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as tool:
        try:
            output, _ = tool.communicate()
        except BaseException:
            tool.terminate()
            tool.wait()
            raise
    if tool.returncode == 130:
        raise KeyboardInterrupt
    if tool.returncode != 0:
        raise StageError(f"'{' '.join(map(str, command))}' failed with status {tool.returncode}")
    return output


def add_arguments(parser):
    build = os.environ.get("BUILD", str(REPO / "build"))
    parser.add_argument("--teca", default=f"{build}/teca", metavar="FILE",
                        help="teca to measure (default %(default)s)")
    parser.add_argument("--crun", default=shutil.which("crun") or "/usr/bin/crun", metavar="FILE")
    parser.add_argument("--programs", default=f"{build}/bench", metavar="DIR",
                        help="where the programs of bench/ were built (default %(default)s)")
    parser.add_argument("--dir", default=None, metavar="DIR",
                        help="make the bundle below DIR (default: $TMPDIR or /tmp)")
    parser.add_argument("--cgroups", choices=("auto", "host", "v2"), default="auto",
                        help="auto: the machine's layout, completed so that crun accepts it; "
                             "host: untouched; v2: only cgroup2")
    parser.add_argument("--run-as-it-is", action="store_true",
                        help="do not mount a tmpfs on /run, where the runtimes keep their state")
    parser.add_argument("--without", action="append", default=[], choices=CONTESTANTS,
                        help="leave a contestant out")


class Stage:
    """with Stage(args) as stage: the bundle is there, stage.command(NAME) is what runs it."""

    def __init__(self, args):
        self.args = args
        self.names = [name for name in CONTESTANTS if name not in args.without]
        self.programs = pathlib.Path(args.programs).resolve()
        self.config = json.loads((REPO / "tests/data/default.json").read_text())

    def __enter__(self):
        signal.signal(signal.SIGTERM, lambda *_: sys.exit(143))
        # An abstract address needs no file and is gone with the process.
        self.lock = socket.socket(socket.AF_UNIX)
        try:
            self.lock.bind("\0teca-bench")
        except OSError as error:
            raise StageError("another measurement is running") from error
        self.v2, self.v1, self.borrowed = _enter_layout(self.args.cgroups, self.args.run_as_it_is)
        self.dir = pathlib.Path(tempfile.mkdtemp(prefix="teca-bench-", dir=self.args.dir))
        self.executables = {}
        try:
            self.bundle = self.make_bundle("bundle", self.programs / "true")
            self.executables = {name: self._find(name) for name in self.names}
            self.sweep()
        except BaseException:
            self.__exit__()
            raise
        return self

    def __exit__(self, *_):
        for impatient in (signal.SIGINT, signal.SIGTERM):
            signal.signal(impatient, signal.SIG_IGN)
        self.sweep()
        shutil.rmtree(self.dir)
        for controller in self.borrowed:
            _give_back(controller)

    def _find(self, name):
        """crun where Debian has it; teca as a copy on an ordinary writable path, so that its
        self-protection is at work."""
        found = {"crun": self.args.crun, "teca": self.args.teca,
                 "floor": self.programs / "floor"}[name]
        if not os.access(found, os.X_OK):
            raise StageError(f"{name} is not there: {found} (see --help, and --without {name})")
        if name != "teca":
            return str(found)
        copy = self.dir / "teca"
        shutil.copy(found, copy)
        return str(copy)

    def make_bundle(self, name, program):
        """The bundle of tests/data/default.json with `program` as its /bin/true."""
        if not os.access(program, os.X_OK):
            raise StageError(f"{program} is not built (see --programs)")
        rootfs = self.dir / name / "rootfs"
        for path in ("bin", "proc", "dev", "sys"):
            (rootfs / path).mkdir(parents=True)
        shutil.copy(program, rootfs / "bin/true")
        config = json.loads(json.dumps(self.config))
        if self.v2 == ".":
            config["linux"]["namespaces"].append({"type": "cgroup"})
            (rootfs.parent / "config.json").write_text(json.dumps(config, indent="\t") + "\n")
        else:
            shutil.copy(REPO / "tests/data/default.json", rootfs.parent / "config.json")
        return rootfs.parent

    def id(self, name):
        return f"bench-{name}"

    def command(self, name, bundle=None, program=None):
        bundle = str(bundle or self.bundle)
        program = str(program or self.executables[name])
        if name == "floor":
            return [program, bundle, self.id(name), self.v2, *self.v1]
        return [program, "run", "--bundle", bundle, self.id(name)]

    def left_cgroups(self):
        roots = [CGROUP_ROOT / name for name in (self.v2, *self.v1)]
        return [path for root in roots for name in CONTESTANTS
                if (path := root / self.id(name)).exists()]

    def leftovers(self):
        """What contestants left behind: cgroups, and directories named after the ID below /run."""
        states = [path for name in CONTESTANTS
                  for path in pathlib.Path("/run").glob(f"*/{self.id(name)}")]
        return self.left_cgroups() + states

    def sweep(self):
        for name in self.executables:
            if name != "floor":
                subprocess.run([self.executables[name], "delete", "--force", self.id(name)],
                               check=False, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
        for path in self.left_cgroups():
            _remove_cgroup(path)

    def try_out(self, name):
        """One run before anything is measured; what a contestant that fails said is shown."""
        done = subprocess.run(self.command(name), capture_output=True, text=True, check=False)
        if done.returncode != 0:
            raise StageError(f"{name} failed with status {done.returncode}: "
                             f"{done.stderr.strip() or 'no message'}")
        if left := self.leftovers():
            raise StageError(f"{name} left {left[0]} behind")


def heed_signals():
    """
    Signals that the caller ignores would be ignored by the contestants too, and every runtime that
    resets them for its container needs a call for each. A shell's background job ignores INT and
    QUIT; what glibc's posix_spawn(3) starts (as make does) ignores 32 and 33, which glibc keeps to
    itself: hence rt_sigaction(2) without it, on a struct sigaction of zeros (SIG_DFL).
    """
    number_of_call = {"x86_64": 13, "aarch64": 134}[os.uname().machine]
    default = (ctypes.c_ulong * 4)()
    libc = ctypes.CDLL(None, use_errno=True)
    for number in (signal.SIGHUP, signal.SIGQUIT, signal.SIGTERM, signal.SIGCHLD, 32, 33):
        libc.syscall(ctypes.c_long(number_of_call), ctypes.c_long(number), default, None,
                     ctypes.c_long(8))
    if signal.getsignal(signal.SIGINT) == signal.SIG_IGN:
        signal.signal(signal.SIGINT, signal.default_int_handler)


def main(run, args):
    """Runs run(stage), prints a StageError as one sentence; the exit status of the script."""
    heed_signals()
    try:
        with Stage(args) as stage:
            return run(stage)
    except StageError as error:
        print(f"{pathlib.Path(sys.argv[0]).name}: {error}", file=sys.stderr)
        return 2
    except KeyboardInterrupt:
        return 130
