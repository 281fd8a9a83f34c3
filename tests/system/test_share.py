# SPDX-License-Identifier: Apache-2.0
"""
The file server of virtual machines (src/share), with this machine's kernel as its client by /dev/fuse:
what is done to what it serves has the same outcome as in a plain directory beside it.
"""
import contextlib
import errno
import hashlib
import json
import mmap
import os
import random
import shutil
import signal
import socket
import stat
import struct
import subprocess
import time

from harness import allow, cases, check, eq, private_mounts, test, umount, wait_until

SERVER = os.path.abspath(os.path.join(os.environ.get("BUILD", "build"), "tests", "share-mount"))
USER, GROUP, OTHER_GROUP = 1234, 1234, 4321


@contextlib.contextmanager
def shared(t, *flags):
    """A directory, and where it is served; both are of this test's own mount namespace."""
    if not os.access("/dev/fuse", os.R_OK | os.W_OK):
        t.skip("there is no /dev/fuse that can be opened here")
    private_mounts()
    source, target = t.path("source"), t.path("target")
    os.mkdir(source)
    os.mkdir(target)
    server = t.popen(command=[SERVER, *flags, source, target], stdin=subprocess.PIPE)
    eq(t.read_line(server), "ready", "the server")
    try:
        yield source, target, server
    finally:
        umount(target)
        server.stdin.close()
    eq(server.wait(allow(20)), 0, "the server's exit status")


def ask(t, server):
    server.stdin.write(b"\n")
    server.stdin.flush()
    return json.loads(t.read_line(server))


# ---- comparing ----------------------------------------------------------------------------------

def facts(path):
    """All that a copy must keep of a file."""
    s = os.lstat(path)
    kind = stat.S_IFMT(s.st_mode)
    content = None
    if kind == stat.S_IFLNK:
        content = os.readlink(path)
    elif kind == stat.S_IFREG:
        with open(path, "rb") as f:
            content = hashlib.sha1(f.read()).hexdigest()
    attributes = {n: os.getxattr(path, n, follow_symlinks=False)
                  for n in sorted(os.listxattr(path, follow_symlinks=False))}
    size = None if kind == stat.S_IFDIR else s.st_size
    links = None if kind == stat.S_IFDIR else s.st_nlink
    return oct(s.st_mode), s.st_uid, s.st_gid, size, links, s.st_rdev, attributes, content


def tree(top, *, times):
    found, inodes = {}, {}
    for folder, folders, names in os.walk(top):
        for name in [".", *names, *(n for n in folders if os.path.islink(os.path.join(folder, n)))]:
            path = os.path.normpath(os.path.join(folder, name))
            short = os.path.relpath(path, top)
            status = os.lstat(path)
            first = inodes.setdefault((status.st_dev, status.st_ino), short)
            found[short] = (*facts(path), first, status.st_mtime_ns if times else None)
    return found


def same_trees(one, other, what, *, times=True):
    one, other = tree(one, times=times), tree(other, times=times)
    different = sorted(n for n in {*one, *other} if one.get(n) != other.get(n))
    check(not different, f"{what}: {len(different)} of {len(one)} files differ, the first, "
          f"{different[:1]}: {[(one.get(n), other.get(n)) for n in different[:1]]}")


def acl(user, rights):
    """system.posix_acl_access with one named user (linux/posix_acl_xattr.h)."""
    none = 0xffffffff
    entries = ((1, 6, none), (2, rights, user), (4, 4, none), (0x10, 7, none), (0x20, 0, none))
    return struct.pack("<I", 2) + b"".join(struct.pack("<HHI", *e) for e in entries)


def odd_tree(top):
    """One of each kind of file, and what copies tend to lose."""
    os.makedirs(os.path.join(top, "sticky/setgid/deep"))
    os.chmod(os.path.join(top, "sticky"), 0o1777)
    os.chown(os.path.join(top, "sticky/setgid"), 0, OTHER_GROUP)
    os.chmod(os.path.join(top, "sticky/setgid"), 0o2775)
    for number, name in enumerate(("plain", "ümlaut", "new\nline", "n" * 255, "-dash", "sp ace")):
        with open(os.path.join(top, name), "w", encoding="utf-8") as f:
            f.write(name * number * 1000)
        os.chmod(os.path.join(top, name), (0o644, 0o600, 0o4755, 0o000, 0o2711, 0o777)[number])
        os.chown(os.path.join(top, name), number * 1000, number * 77)
        if number == 2:
            os.chmod(os.path.join(top, name), 0o6755)
    os.link(os.path.join(top, "plain"), os.path.join(top, "sticky/hard"))
    os.link(os.path.join(top, "plain"), os.path.join(top, "sticky/setgid/hard"))
    os.symlink("../nowhere", os.path.join(top, "sticky/dangling"))
    os.symlink("x" * 4095, os.path.join(top, "long"))
    os.lchown(os.path.join(top, "long"), 5, 6)
    os.mkfifo(os.path.join(top, "fifo"), 0o640)
    os.mknod(os.path.join(top, "null"), 0o020666, os.makedev(1, 3))
    os.mknod(os.path.join(top, "disk"), 0o060600, os.makedev(259, 1048575))
    os.mknod(os.path.join(top, "socket"), 0o140755)
    with open(os.path.join(top, "sparse"), "wb") as f:
        f.truncate(64 << 20)
        f.seek(32 << 20)
        f.write(b"x")
    os.setxattr(os.path.join(top, "plain"), "user.name", b"value" * 100)
    os.setxattr(os.path.join(top, "plain"), "system.posix_acl_access", acl(USER, 6))
    os.setxattr(os.path.join(top, "-dash"), "security.capability",
                struct.pack("<IIIII", 0x02000001, 1 << 10, 0, 0, 0))
    for path in ("long", "plain", "sticky"):
        os.utime(os.path.join(top, path), ns=(1, 987654321_123456789), follow_symlinks=False)


@test
def a_tree_goes_there_and_back(t):
    with shared(t, "--threads", "4", "--node-fds", "64", "--confined") as (source, target, server):
        where = t.path("odd")
        os.mkdir(where)
        odd_tree(where)
        shutil.copytree("/etc", os.path.join(where, "etc"), symlinks=True)
        for here, there in ((where, f"{target}/copy"), (f"{target}/copy", f"{target}/again"),
                            (f"{target}/again", t.path("back"))):
            eq(t.call(["cp", "-a", here, there], seconds=60).status, 0, f"cp -a to {there}")
        same_trees(where, f"{source}/copy", "on the host")
        same_trees(where, f"{target}/copy", "for the client")
        same_trees(where, t.path("back"), "back again")
        blocks = [os.stat(os.path.join(at, "sparse")).st_blocks
                  for at in (where, f"{source}/copy", f"{target}/again")]
        check(max(blocks) <= 64, f"sparse files have {blocks} blocks")
        held = ask(t, server)
        check(held["nodeFds"] <= 68 < held["nodes"], f"fds: {held}")  # one a worker beside the bound
        check(held["evictions"] > 0, f"nothing was closed: {held}")
        eq(t.call(["rm", "-rf", f"{target}/copy"]).status, 0, "rm -rf")
        eq(sorted(os.listdir(source)), ["again"], "what is left")


# ---- the same operations here and there -----------------------------------------------------------

class Pair:
    """Does everything twice, in a plain directory and in what is served; the outcomes must be the same."""

    def __init__(self, seed, plain, served):
        self.seed = seed
        self.random = random.Random(seed)
        self.tops = (plain, served)
        self.log = []
        self.names = ["a", "b", "c", "d/a", "d/b", "d/e/a", "d/e", "d", "f", "f/a"]

    def both(self, what, function):
        outcomes = []
        for top in self.tops:
            try:
                outcomes.append(function(top))
            except OSError as e:
                outcomes.append(errno.errorcode[e.errno])
        self.log.append((what, outcomes[0]))
        if outcomes[0] != outcomes[1]:
            raise AssertionError(f"seed {self.seed}: {what}: {outcomes[0]!r} in a plain directory, "
                                 f"{outcomes[1]!r} in what is served; before: {self.log[-4:-1]}")

    def name(self):
        return self.random.choice(self.names)

    def step(self):
        operation = self.random.choice((
            self.open, self.open, self.open, self.write, self.write, self.rename, self.link,
            self.symlink, self.unlink, self.mkdir, self.mkdir, self.rmdir, self.chmod, self.chown,
            self.truncate, self.xattr, self.list, self.stat, self.node, self.map, self.times,
            self.temporary, self.copy))
        operation()

    def open(self):
        name, data = self.name(), self.random.randbytes(self.random.randrange(9000))
        flags = self.random.choice((os.O_RDONLY, os.O_WRONLY, os.O_RDWR))
        for flag in (os.O_CREAT, os.O_CREAT, os.O_EXCL, os.O_TRUNC, os.O_APPEND, os.O_DIRECTORY,
                     os.O_NOFOLLOW, os.O_SYNC):
            flags |= flag if self.random.random() < 0.3 else 0
        mode = self.random.choice((0o644, 0o4755, 0o600, 0o2770))

        def run(top):
            fd = os.open(os.path.join(top, name), flags | os.O_NONBLOCK, mode)
            try:
                done = os.write(fd, data) if flags & (os.O_WRONLY | os.O_RDWR) else 0
                end = os.lseek(fd, 0, os.SEEK_CUR)
                got = b"" if flags & os.O_WRONLY or stat.S_ISDIR(os.fstat(fd).st_mode) \
                    else os.pread(fd, 10000, 3)
                return done, end, got, os.isatty(fd)
            finally:
                os.close(fd)
        if stat.S_ISFIFO(self.mode_of(name)):
            return
        self.both(f"open {name} {flags:o}", run)

    def mode_of(self, name):
        try:
            return os.stat(os.path.join(self.tops[0], name)).st_mode
        except OSError:
            return 0

    def write(self):
        name, at = self.name(), self.random.randrange(200000)
        data = self.random.randbytes(self.random.randrange(1, 70000))
        punch = self.random.random() < 0.3

        def run(top):
            fd = os.open(os.path.join(top, name), os.O_RDWR | os.O_NONBLOCK | os.O_NOFOLLOW)
            try:
                done = os.pwrite(fd, data, at)
                if punch:
                    os.posix_fallocate(fd, at, 100000)
                hole = os.lseek(fd, 0, os.SEEK_DATA)
                os.fdatasync(fd)
                return done, hole if at > 1 << 16 else 0, os.fstat(fd).st_size
            finally:
                os.close(fd)
        if not stat.S_ISFIFO(self.mode_of(name)):
            self.both(f"write {len(data)} at {at} of {name}", run)

    def map(self):
        name, at, byte = self.name(), self.random.randrange(5000), self.random.randbytes(1)

        def run(top):
            with open(os.path.join(top, name), "r+b") as f, mmap.mmap(f.fileno(), 0) as m:
                before = m[at:at + 1]
                if before:
                    m[at] = byte[0]
                m.flush()
                return before
        if stat.S_ISREG(self.mode_of(name)) and self.size_of(name) > 0:
            self.both(f"map {name}", run)

    def size_of(self, name):
        return os.stat(os.path.join(self.tops[0], name)).st_size

    def copy(self):
        names, at, n = (self.name(), self.name()), self.random.randrange(1000), 5000

        def run(top):
            with open(os.path.join(top, names[0]), "rb") as f:
                with open(os.path.join(top, names[1]), "r+b") as g:
                    return os.copy_file_range(f.fileno(), g.fileno(), n, at, at + 6000)
        if all(stat.S_ISREG(self.mode_of(n)) for n in names):
            self.both(f"copy {names}", run)

    def pair(self, what, function):
        one, two = self.name(), self.name()
        self.both(f"{what} {one} {two}",
                  lambda top: function(os.path.join(top, one), os.path.join(top, two)))

    def rename(self):
        self.pair("rename", os.rename)

    def link(self):
        self.pair("link", lambda a, b: os.link(a, b, follow_symlinks=False))

    def symlink(self):
        one, two = self.name(), self.name()
        self.both(f"symlink {one} {two}", lambda top: os.symlink(one, os.path.join(top, two)))

    def single(self, what, function):
        name = self.name()
        self.both(f"{what} {name}", lambda top: function(os.path.join(top, name)))

    def unlink(self):
        self.single("unlink", os.unlink)

    def mkdir(self):
        mode = self.random.choice((0o755, 0o2777, 0o1777, 0o700))
        self.single(f"mkdir {mode:o}", lambda p: os.mkdir(p, mode))

    def rmdir(self):
        self.single("rmdir", os.rmdir)

    def chmod(self):
        mode = self.random.choice((0o644, 0o4755, 0o2755, 0o1700, 0o000, 0o2644))
        self.single(f"chmod {mode:o}", lambda p: os.chmod(p, mode))

    def chown(self):
        ids = self.random.choice(((0, 0), (USER, GROUP), (-1, OTHER_GROUP), (USER, -1)))
        self.single(f"chown {ids}", lambda p: os.lchown(p, *ids))

    def truncate(self):
        size = self.random.choice((0, 1, 4095, 4096, 100000))
        self.single(f"truncate {size}", lambda p: os.truncate(p, size))

    def xattr(self):
        name = self.random.choice(("user.x", "user.y", "security.capability",
                                   "system.posix_acl_access", "system.posix_acl_default"))
        value = acl(USER, 5) if "acl" in name else \
            struct.pack("<IIIII", 0x02000001, 1 << 10, 0, 0, 0) if "security" in name else b"v" * 99
        if self.random.random() < 0.3:
            self.single(f"remove {name}", lambda p: os.removexattr(p, name))
        else:
            self.single(f"set {name}", lambda p: os.setxattr(p, name, value))
        self.single("attributes", lambda p: sorted(os.listxattr(p)))

    def list(self):
        self.single("list", lambda p: sorted((e.name, e.is_dir(follow_symlinks=False),
                                              e.is_symlink()) for e in os.scandir(p)))

    def stat(self):
        def run(path):
            s = os.lstat(path)
            return (oct(s.st_mode), s.st_uid, s.st_gid,
                    None if stat.S_ISDIR(s.st_mode) else (s.st_size, s.st_nlink))
        self.single("stat", run)

    def node(self):
        kind = self.random.choice((stat.S_IFIFO, stat.S_IFSOCK, stat.S_IFREG, stat.S_IFCHR))
        self.single("mknod", lambda p: os.mknod(p, kind | 0o640, os.makedev(1, 3)))

    def times(self):
        self.single("utime", lambda p: os.utime(p, ns=(5, 1234567890), follow_symlinks=False))

    def temporary(self):
        name, other = self.name(), self.name()

        def run(top):
            fd = os.open(os.path.join(top, name), os.O_TMPFILE | os.O_RDWR, 0o640)
            try:
                os.write(fd, b"temporary")
                os.link(f"/proc/self/fd/{fd}", os.path.join(top, other), follow_symlinks=True)
                return os.fstat(fd).st_nlink
            finally:
                os.close(fd)
        self.both(f"temporary in {name} as {other}", run)


def begin(top):
    """What a round finds: files that an ordinary user has by owner, by group, by others, or not."""
    os.makedirs(os.path.join(top, "d/e"))
    for name, mode, ids in (("", 0o777, (0, 0)), ("d", 0o777, (USER, 0)),
                            ("d/e", 0o2777, (0, OTHER_GROUP)), ("a", 0o644, (USER, GROUP)),
                            ("b", 0o664, (0, OTHER_GROUP)), ("c", 0o600, (0, 0)),
                            ("d/a", 0o646, (77, 0)), ("d/e/a", 0o4755, (USER, OTHER_GROUP))):
        path = os.path.join(top, name)
        if not os.path.isdir(path):
            with open(path, "w", encoding="ascii") as f:
                f.write(name * 1000)
        os.chown(path, *ids)
        os.chmod(path, mode)


def as_user(uid, gid, groups, function):
    """In a child, for no thread may keep other ids; what it says on its pipe, or its exception."""
    pid = os.fork()
    if pid == 0:
        status = 1
        try:
            os.setgroups(groups)
            os.setgid(gid)
            os.setuid(uid)
            function()
            status = 0
        except BaseException as e:  # noqa: B902, for the parent has to hear of all of them
            os.write(2, f"{e}\n".encode())
        finally:
            os._exit(status)
    return os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1])


@cases(many_fds=((), 1), few_fds=(("--node-fds", "3"), 2), several_threads=(("--threads", "4"), 3),
       few_capabilities=(("--confined", "--node-fds", "20"), 5),
       without_cache=(("--cache", "none", "--node-fds", "5"), 4))
def random_operations_end_as_in_a_plain_directory(t, flags, seed):
    with shared(t, *flags) as (source, target, _):
        for round_ in range(6):
            plain, there, here = (os.path.join(top, f"round{round_}")
                                  for top in (t.path("plain"), target, source))
            for top in (plain, there):
                begin(top)
            pair = Pair(seed * 100 + round_, plain, there)

            def steps(pair=pair):
                os.umask(0o027)
                for _ in range(250):
                    pair.step()
                done = sum(1 for _, outcome in pair.log if outcome not in errno.errorcode.values())
                check(done > 30, f"only {done} of {len(pair.log)} operations had success")
            # Also as somebody who has one right of a file by his group only, or by an ACL.
            ids = ((0, 0, []), (USER, GROUP, [OTHER_GROUP]), (77, OTHER_GROUP, []))[round_ % 3]
            eq(as_user(*ids, steps), 0, f"seed {pair.seed}, ids {ids}")
            same_trees(plain, there, f"seed {pair.seed}, for the client", times=False)
            same_trees(plain, here, f"seed {pair.seed}, on the host", times=False)


# ---- what programs do -----------------------------------------------------------------------------

PROJECT = {
    "Makefile": "all: tool\ntool: main.o part.o\n\tcc -o $@ $^\n%.o: %.c part.h\n\tcc -O1 -c -o $@ $<\n",
    "part.h": "int part(int);\n",
    "part.c": '#include "part.h"\nint part(int x)\n{\n    return x * 2;\n}\n',
    "main.c": '#include <stdio.h>\n#include "part.h"\nint main(void)\n{\n'
              '    printf("%d\\n", part(21));\n    return 0;\n}\n',
}


@test
def a_program_is_cloned_built_and_run(t):
    environment = {"PATH": os.environ["PATH"], "HOME": t.dir, "GIT_CONFIG_NOSYSTEM": "1",
                   **{f"GIT_{who}_{what}": "nobody@example.org"
                      for who in ("AUTHOR", "COMMITTER") for what in ("NAME", "EMAIL")}}
    with shared(t, "--threads", "2", "--node-fds", "20") as (source, target, _):
        os.mkdir(f"{target}/origin")
        for name, text in PROJECT.items():
            with open(f"{target}/origin/{name}", "w", encoding="utf-8") as f:
                f.write(text)
        for where, *command in ((f"{target}/origin", "git", "init", "-q"),
                                (f"{target}/origin", "git", "add", "."),
                                (f"{target}/origin", "git", "commit", "-qm", "all"),
                                (target, "git", "clone", "-q", "origin", "copy"),
                                (f"{target}/copy", "make", "-s", "-j2"),
                                (f"{target}/copy", "git", "fsck", "--full", "--strict"),
                                (f"{target}/copy", "git", "gc", "-q")):
            done = t.call(command, cwd=where, env=environment, seconds=60)
            eq(done.status, 0, f"{command}: {done.error}")
        eq(t.call([f"{target}/copy/tool"]).text, "42\n", "the program, for the client")
        eq(t.call([f"{source}/copy/tool"]).text, "42\n", "the program, on the host")
        done = t.call(["git", "status", "--porcelain"], cwd=f"{target}/copy", env=environment)
        eq(sorted(done.text.split()), ["??", "??", "??", "main.o", "part.o", "tool"], "git status")


def work(top, number):
    """What eight do at once: own files, and shared ones that others rename and remove meanwhile."""
    chance = random.Random(number)
    own = os.path.join(top, f"own{number}")
    os.mkdir(own)
    for i in range(150):
        path = os.path.join(own, f"f{i}")
        with open(path, "w", encoding="ascii") as f:
            f.write(f"{number} {i}\n" * 50)
        with contextlib.suppress(FileNotFoundError, FileExistsError):
            name = os.path.join(top, "common", str(chance.randrange(20)))
            chance.choice((lambda n: os.link(path, n), os.unlink, os.stat,
                           lambda n: os.rename(n, f"{n}x"), lambda n: os.rename(f"{n}x", n)))(name)
        os.listdir(os.path.join(top, "common"))
        fd = os.open(os.path.join(top, "log"), os.O_WRONLY | os.O_APPEND)
        os.write(fd, b"%03d %03d\n" % (number, i))
        os.close(fd)
        with open(path, encoding="ascii") as f:
            assert f.read() == f"{number} {i}\n" * 50, path


@test
def eight_at_once_do_not_disturb_each_other(t):
    with shared(t, "--threads", "8", "--node-fds", "40") as (source, target, server):
        os.mkdir(f"{target}/common")
        with open(f"{target}/log", "w", encoding="ascii"):
            pass
        children = []
        for number in range(8):
            pid = os.fork()
            if pid == 0:
                status = 1
                try:
                    work(target, number)
                    status = 0
                finally:
                    os._exit(status)
            children.append(pid)
        for pid in children:
            eq(os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1]), 0, "one of the eight")
        with open(f"{source}/log", encoding="ascii") as f:
            lines = f.read().splitlines()
        eq(sorted(lines), [f"{n:03} {i:03}" for n in range(8) for i in range(150)], "lines appended")
        same_trees(source, target, "afterwards")
        wait_until(lambda: ask(t, server)["handles"] == 0, "the end of the open files")
        held = ask(t, server)
        check(held["nodeFds"] <= 48, f"held afterwards: {held}")  # one a worker beside the bound


# ---- who sees what, and when ------------------------------------------------------------------------

@test
def what_the_host_changes_is_seen_within_a_second(t):
    with shared(t) as (source, target, _):
        for number in range(3):
            with open(f"{source}/file", "w", encoding="ascii") as f:
                f.write(f"text {number}")
            with open(f"{source}/new{number}", "w", encoding="ascii"):
                pass

            def seen(number=number):
                with open(f"{target}/file", encoding="ascii") as f:
                    return f.read() == f"text {number}" and os.path.exists(f"{target}/new{number}")
            wait_until(seen, f"change {number}", 3)
        os.rename(f"{source}/file", f"{source}/other")
        wait_until(lambda: not os.path.exists(f"{target}/file"), "the rename", 3)
        with open(f"{target}/other", "a", encoding="ascii") as f:
            f.write("!")
            f.flush()
            with open(f"{source}/other", encoding="ascii") as g:
                eq(g.read(), "text 2!", "what the client has written, at once")


@test
def locks_are_the_clients_own(t):
    import fcntl
    with shared(t) as (source, target, _):
        with open(f"{target}/file", "w", encoding="ascii") as one:
            fcntl.flock(one, fcntl.LOCK_EX)
            fcntl.lockf(one, fcntl.LOCK_EX)
            with open(f"{target}/file", "r+", encoding="ascii") as two:
                try:
                    fcntl.flock(two, fcntl.LOCK_EX | fcntl.LOCK_NB)
                    eq(True, False, "a second lock")
                except BlockingIOError:
                    pass
            with open(f"{source}/file", "r+", encoding="ascii") as host:
                fcntl.flock(host, fcntl.LOCK_EX | fcntl.LOCK_NB)


@test
def sockets_and_fifos_work_between_processes_of_the_client(t):
    with shared(t) as (_, target, server):
        with socket.socket(socket.AF_UNIX) as listener, socket.socket(socket.AF_UNIX) as client:
            listener.bind(f"{target}/socket")
            listener.listen()
            client.connect(f"{target}/socket")
            with listener.accept()[0] as accepted:
                accepted.send(b"by the socket")
                eq(client.recv(100), b"by the socket", "a socket")
        os.mkfifo(f"{target}/fifo")
        reader = os.open(f"{target}/fifo", os.O_RDONLY | os.O_NONBLOCK)
        writer = os.open(f"{target}/fifo", os.O_WRONLY)
        os.write(writer, b"by the fifo")
        eq(os.read(reader, 100), b"by the fifo", "a FIFO")
        eq(ask(t, server)["handles"], 0, "what the server has open of them")
        os.close(reader)
        os.close(writer)


@test
def links_that_lead_out_lead_the_client_into_its_own_tree(t):
    with shared(t) as (source, target, _):
        os.mkdir(t.path("outside"))
        t.file("outside/secret", "secret")
        os.mkdir(f"{source}/real")
        os.symlink(t.path("outside"), f"{source}/link")
        storm = t.popen(command=["sh", "-c", 'cd "$0" && mkdir t && while :; do mv -T real t/x && '
                                 'mv -T link real && mv -T real link && mv -T t/x real; done', source])
        end = time.monotonic() + 3
        tried = 0
        while time.monotonic() < end:
            for name in ("real", "link"):
                with contextlib.suppress(OSError):
                    fd = os.open(f"{target}/{name}", os.O_DIRECTORY | os.O_NOFOLLOW)
                    try:
                        tried += 1
                        made = os.open(f"made{tried}", os.O_CREAT | os.O_WRONLY, dir_fd=fd)
                        os.close(made)
                        check(not os.path.exists(f"/proc/self/fd/{fd}/secret"), "the secret is seen")
                    finally:
                        os.close(fd)
        storm.send_signal(signal.SIGKILL)
        storm.wait()
        check(tried > 20, f"only {tried} tries")
        eq(os.listdir(t.path("outside")), ["secret"], "what is outside")


@test
def an_idle_server_is_small(t):
    with shared(t) as (_, target, server):
        os.listdir(target)
        wait_until(lambda: ask(t, server)["handles"] == 0, "the end of the list")
        held = ask(t, server)
        check(held["pssKiB"] <= 1024, f"an idle server: {held}")
        eq(held["nodes"], 1, "nodes")
