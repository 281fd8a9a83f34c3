# SPDX-License-Identifier: Apache-2.0
"""
The process's terminal and its other fds: console and pidfd sockets, the relay of a `run` in the
foreground, `run --detach`, preserved fds, who owns stdio, a root without pivot_root.
engine-contract 1.3.1, 1.3.3, 1.8, 1.9, 1.11; checklist PRC-2, PRC-3, DEV-8.
"""
import array
import contextlib
import fcntl
import json
import os
import pty
import resource
import select
import signal
import socket
import struct
import subprocess
import termios
import time

from harness import (
    Failure,
    allow,
    capabilities,
    cases,
    check,
    contains,
    default,
    eq,
    is_alive,
    joined,
    lacks,
    minimal,
    mount_at,
    private_mounts,
    row,
    stat_fields,
    test,
    wait_until,
    with_mount,
    with_user_namespace,
    without)
from test_namespaces import rootless, run_rootless
from test_explain import compare, compare_run, plan_of, strace, traces

SHELL = ("/bin/sh", "-c")


def terminal(config, rows=None, columns=None):
    config["process"]["terminal"] = True
    if rows:
        config["process"]["consoleSize"] = {"height": rows, "width": columns}
    return config


def bare(*args):
    """minimal() with the devpts that a terminal needs."""
    config = minimal(*args)
    return with_mount(config, "/dev/pts", "devpts", "devpts", "newinstance", "ptmxmode=0666",
                      "mode=0620", "gid=5")


# ---- the engine's side ------------------------------------------------------------------------

class Engine:
    """A listener that accepts when it is asked to, and takes what the contract says: one fd."""

    def __init__(self, path):
        self.socket = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
        if len(path) >= 108:
            directory = os.open(os.path.dirname(path), os.O_PATH)
            self.socket.bind(f"/proc/self/fd/{directory}/{os.path.basename(path)}")
            os.close(directory)
        else:
            self.socket.bind(path)
        self.socket.listen(1)
        self.socket.settimeout(10)
        self.path = path

    def take(self):
        connection, _ = self.socket.accept()
        connection.settimeout(10)
        fds = array.array("i")
        data, control, flags, _ = connection.recvmsg(4096, socket.CMSG_SPACE(4))
        eq(flags & (socket.MSG_CTRUNC | socket.MSG_TRUNC), 0, "flags: nothing may be cut off")
        eq(len(control), 1, "control messages")
        eq(control[0][:2], (socket.SOL_SOCKET, socket.SCM_RIGHTS), "their type")
        eq(len(control[0][2]), 4, "bytes of fds")
        fds.frombytes(control[0][2])
        eq(connection.recv(1), b"", "what comes after the message: the end")
        connection.close()
        self.socket.close()
        return data.decode(), fds[0]


def read_all(fd, seconds=10):
    """All that a terminal's master gives until the other side is closed."""
    text, end = b"", time.monotonic() + allow(seconds)
    while select.select([fd], [], [], max(0, end - time.monotonic()))[0]:
        try:
            got = os.read(fd, 65536)
        except OSError:  # EIO: closed
            return text.decode().replace("\r\n", "\n")
        if not got:
            return text.decode().replace("\r\n", "\n")
        text += got
    raise Failure(f"the terminal did not end; so far {text!r}")


def read_until(fd, part, seconds=10):
    text, end = b"", time.monotonic() + allow(seconds)
    while part.encode() not in text:
        check(select.select([fd], [], [], max(0, end - time.monotonic()))[0],
              f"no {part!r} on the terminal, so far {text!r}")
        try:
            text += os.read(fd, 65536)
        except OSError as e:
            raise Failure(f"the terminal ended ({e}) before {part!r}: {text!r}")
    return text.decode()


def size_of(fd):
    return struct.unpack("HHHH", fcntl.ioctl(fd, termios.TIOCGWINSZ, b"\0" * 8))[:2]


def set_size(fd, rows, columns):
    fcntl.ioctl(fd, termios.TIOCSWINSZ, struct.pack("HHHH", rows, columns, 0, 0))


# ---- console socket ---------------------------------------------------------------------------

def created(t, config, rootfs=None, **more):
    """create, start and the master, which is taken only when the runtime has long ended."""
    engine = Engine(t.path("console"))
    container = t.new_id()
    where = t.bundle(config, rootfs)
    t.teca("create", "--bundle", where, "--console-socket", engine.path, container, expect=0, **more)
    name, master = engine.take()
    return container, name, master


def started(t, config, rootfs=None):
    container, _, master = created(t, config, rootfs)
    t.teca("start", container, expect=0)
    text = read_all(master)
    os.close(master)
    return text


@test
def the_master_waits_in_the_socket_until_the_runtime_has_ended(t):
    container, name, master = created(t, terminal(default(*SHELL, "tty; echo done")))
    eq(name, "/dev/pts/0", "the terminal's name")
    eq(fcntl.fcntl(master, fcntl.F_GETFL) & os.O_NONBLOCK, 0, "the master blocks")
    t.teca("start", container, expect=0)
    eq(read_all(master), "/dev/pts/0\ndone\n", "what came over the terminal")


@test
@row("PRC-2")
def the_terminal_is_stdio_and_controls_the_session(t):
    config = terminal(default(*SHELL, "for n in 0 1 2; do readlink /proc/self/fd/$n; done; "
                              "cut -d' ' -f1,6,7 /proc/1/stat; "
                              "echo by-tty >/dev/tty; echo by-console >/dev/console; "
                              "stat -c '%t:%T' /dev/console; stat -Lc '%t:%T' /dev/stdin; readlink /dev/ptmx"))
    lines = started(t, config).split("\n")
    eq(lines[:3], ["/dev/pts/0"] * 3, "fds 0, 1 and 2")
    eq(lines[3], f"1 1 {136 << 8}", "pid, session and controlling terminal of init")
    eq(lines[4:9], ["by-tty", "by-console", "88:0", "88:0", "pts/ptmx"], "ways to the terminal")


@test
def a_terminal_leaves_no_other_fd_open(t):
    """What ls itself opens is the fourth."""
    eq(started(t, terminal(default("/bin/ls", "/proc/self/fd"))).split(), ["0", "1", "2", "3"], "open fds")


@test
@row("DEV-8")
def the_console_is_a_mount_of_the_terminal(t):
    text = started(t, terminal(default("/bin/cat", "/proc/self/mountinfo")))
    console, pts = mount_at(text, "/dev/console"), mount_at(text, "/dev/pts")
    eq((console["type"], console["root"], console["dev"]), ("devpts", "/0", pts["dev"]),
       "the mount at /dev/console")


@test
@row("DEV-8", "PRC-2")
def without_a_terminal_there_is_no_console(t):
    eq(t.ok(default(*SHELL, "ls -d /dev/console 2>&1 || true")),
       "ls: /dev/console: No such file or directory\n", "/dev/console")


@test
@row("PRC-3")
def the_console_size_is_there_before_the_program(t):
    eq(started(t, terminal(default("/bin/stty", "size"), 33, 101)), "33 101\n", "stty size")


@test
def the_console_size_may_be_the_largest(t):
    _, _, master = created(t, terminal(default("/bin/true"), 65535, 65535))
    eq(size_of(master), (65535, 65535), "size")


@test
@row("PRC-3")
def a_console_size_without_a_terminal_is_ignored(t):
    config = default(*SHELL, "test -t 0 || echo no terminal")
    config["process"]["consoleSize"] = {"height": 5, "width": 6}
    eq(t.ok(config), "no terminal\n", "stdout")


@test
def the_terminal_belongs_to_the_process(t):
    config = terminal(default(*SHELL, "stat -c '%u %g %a' /dev/pts/0; echo open >/dev/pts/0"))
    config["process"]["user"] = {"uid": 1000, "gid": 1000}
    eq(started(t, config), "1000 5 620\nopen\n", "owner, group and mode of the terminal")


@test
def a_terminal_in_a_user_namespace(t):
    config = with_user_namespace(terminal(default(*SHELL, "stat -c %u /dev/pts/0; tty </dev/console")))
    config["process"]["user"] = {"uid": 7, "gid": 7}
    eq(started(t, config), "7\n/dev/console\n", "owner in the container, and its console")


@test
def a_terminal_with_a_joined_pid_namespace_comes_by_the_stage(t):
    _, sleeper = t.sleeper(minimal())
    config = joined(terminal(bare("/bin/tty")), "pid", f"/proc/{sleeper}/ns/pid")
    eq(started(t, config), "/dev/pts/0\n", "stdout")


@test
def two_containers_have_terminals_of_their_own(t):
    text = []
    for word in ("one", "two"):
        with contextlib.suppress(FileNotFoundError):
            os.unlink(t.path("console"))
        text.append(started(t, terminal(bare(*SHELL, f"tty; echo {word}"))))
    eq(text, ["/dev/pts/0\none\n", "/dev/pts/0\ntwo\n"], "what came over the terminals")


@test
def a_socket_path_may_be_longer_than_an_address(t):
    deep = t.path("d" * 60, "e" * 60)
    os.makedirs(deep)
    engine = Engine(os.path.join(deep, "s" * 80))
    container, where = t.new_id(), t.bundle(terminal(bare("/bin/tty")))
    t.teca("create", "--bundle", where, "--console-socket", engine.path, container, expect=0)
    eq(engine.take()[0], "/dev/pts/0", "name")


@test
def a_relative_socket_path_starts_at_the_bundle(t):
    where = t.bundle(terminal(bare("/bin/tty")))
    engine = Engine(os.path.join(where, "sock"))
    t.teca("create", "--bundle", where, "--console-socket", "sock", t.new_id(), expect=0, cwd="/")
    eq(engine.take()[0], "/dev/pts/0", "name")


@test
def a_created_container_holds_neither_master_nor_socket(t):
    container, _, master = created(t, terminal(bare("/bin/tty")))
    pid = t.pid(container)
    open_files = [os.readlink(f"/proc/{pid}/fd/{n}") for n in os.listdir(f"/proc/{pid}/fd")]
    check(not [f for f in open_files if "ptmx" in f], f"the master is still open: {open_files}")
    eq([f for f in open_files if f.startswith("socket:")][1:], [], "sockets besides the lanes'")
    os.close(master)


# ---- refusals ---------------------------------------------------------------------------------

def refusal(t, config, *flags, verb="create", part, rootfs=None):
    container = t.new_id()
    done = t.teca(verb, *flags, "--bundle", t.bundle(config, rootfs), container)
    eq(done.status, 1, f"exit status ({done.error})")
    contains(done.error, part, "stderr")
    eq(done.error.count("\n"), 1, "lines on stderr")
    t.nothing_of(container)


@cases(create=("create",), detached=("run", "--detach"))
def a_terminal_needs_a_socket_when_the_runtime_leaves(t, verb, *flags):
    refusal(t, terminal(bare()), *flags, verb=verb,
            part="/process/terminal: cannot allocate tty if runc will detach without setting console socket")


@cases(no_terminal=("create", False), foreground=("run", True))
def a_socket_that_gets_nothing_is_refused(t, verb, with_terminal):
    config = terminal(bare()) if with_terminal else bare()
    refusal(t, config, "--console-socket", "/tmp/s", verb=verb,
            part="cannot use console socket if runc will not detach or allocate tty")


@test
def a_socket_that_nobody_listens_on_is_an_error_before_the_clone(t):
    refusal(t, terminal(bare()), "--console-socket", t.path("nobody"),
            part=f"cannot connect to the socket '{t.path('nobody')}'")
    engine = Engine(t.path("gone"))
    engine.socket.close()
    refusal(t, terminal(bare()), "--console-socket", engine.path, part="Connection refused")


@test
def without_a_devpts_there_is_no_terminal(t):
    engine = Engine(t.path("console"))
    refusal(t, terminal(minimal()), "--console-socket", engine.path,
            part="a terminal needs the container's own devpts at '/dev/pts' (add it to \"mounts\")")


@test
def an_image_cannot_play_devpts(t):
    root = t.own_root()
    os.mkdir(os.path.join(root, "dev/pts"))
    os.mkfifo(os.path.join(root, "dev/pts/ptmx"))  # an open of it would never return
    config = terminal(minimal())
    config["mounts"] = [m for m in config["mounts"] if m["destination"] != "/dev"]
    engine = Engine(t.path("console"))
    refusal(t, config, "--console-socket", engine.path, rootfs=root, part="own devpts")


@test
def a_symlink_of_the_image_does_not_carry_the_console_away(t):
    victim = t.file("victim", "host")
    root = t.own_root()
    os.symlink("/proc/sys/kernel/core_pattern", os.path.join(root, "dev/console"))
    config = terminal(bare())
    config["mounts"] = [m for m in config["mounts"] if m["destination"] != "/dev"]
    os.mkdir(os.path.join(root, "dev/pts"))
    config["root"]["readonly"] = False
    engine = Engine(t.path("console"))
    refusal(t, config, "--console-socket", engine.path, rootfs=root,
            part="'/dev/console' in the root filesystem is a symlink")
    with open(victim, encoding="utf-8") as f:
        eq(f.read(), "host", "the file outside")


@test
def a_failure_after_the_terminal_is_attached_is_told(t):
    engine = Engine(t.path("console"))
    refusal(t, terminal(bare("/no/such/program")), "--console-socket", engine.path,
            part="stat /no/such/program: no such file or directory")


# ---- pidfd socket -----------------------------------------------------------------------------

@cases(create=("create",), detached=("run", "--detach"))
def a_pidfd_of_init_goes_to_the_socket(t, verb, *flags):
    engine = Engine(t.path("pidfd"))
    container, where = t.new_id(), t.bundle(bare("/payload", "catch", "15"))
    t.teca(verb, *flags, "--pidfd-socket", engine.path, "--bundle", where, container, expect=0)
    text, pidfd = engine.take()
    eq(text, "standard", "payload")
    pid = t.pid(container)
    with open(f"/proc/self/fdinfo/{pidfd}", encoding="ascii") as f:
        contains(f.read(), f"Pid:\t{pid}\n", "fdinfo")
    signal.pidfd_send_signal(pidfd, signal.SIGKILL)
    wait_until(lambda: not is_alive(pid), "its end")


@test
def terminal_and_pidfd_go_to_one_socket_each(t):
    console, pidfd = Engine(t.path("c")), Engine(t.path("p"))
    container, where = t.new_id(), t.bundle(terminal(bare("/bin/tty")))
    t.teca("create", "--pidfd-socket", pidfd.path, "--console-socket", console.path, "--bundle", where, container,
           expect=0)
    eq((console.take()[0], pidfd.take()[0]), ("/dev/pts/0", "standard"), "texts")


@test
def a_foreground_run_gives_the_pidfd_away_too(t):
    engine = Engine(t.path("pidfd"))
    t.ok(bare("/bin/true"), "--pidfd-socket", engine.path)
    text, pidfd = engine.take()
    eq(text, "standard", "payload")
    check(select.select([pidfd], [], [], 5)[0], "the pidfd says that init has ended")


# ---- run --detach -----------------------------------------------------------------------------

@test
def run_detached_leaves_a_running_container_to_the_caller(t):
    container, where = t.new_id(), t.bundle(minimal("/payload", "catch", "15"))
    t.teca("run", "--detach", "--pid-file", t.path("pid"), "--bundle", where, container, expect=0)
    with open(t.path("pid"), encoding="ascii") as f:
        pid = int(f.read())
    state = t.state(container)
    eq((state["status"], state["pid"]), ("running", pid), "state")
    eq(int(stat_fields(pid)[1]), os.getpid(), "parent of init: the subreaper")
    with open(f"/proc/{pid}/cmdline", "rb") as f:
        eq(f.read(), b"/payload\0catch\00015\0", "the program runs when run returns")
    t.teca("kill", container, "KILL", expect=0)
    eq(os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1]), -9, "init is not waited for by anybody else")
    eq(t.state(container)["status"], "stopped", "status")
    t.teca("delete", container, expect=0)


@test
def run_detached_with_a_terminal(t):
    engine = Engine(t.path("console"))
    container, where = t.new_id(), t.bundle(terminal(bare(*SHELL, "read x; echo got $x")))
    t.teca("run", "-d", "--console-socket", engine.path, "--bundle", where, container, expect=0)
    _, master = engine.take()
    os.write(master, b"word\n")
    contains(read_all(master), "got word\n", "the terminal")


@cases(missing=("/no/such", "stat /no/such: no such file or directory"),
       garbage=("/opt/garbage", "exec"), script=("/opt/lost", "no such file or directory"))
def run_detached_tells_why_a_program_was_not_executed(t, program, part):
    refusal(t, minimal(program), "--detach", verb="run", part=part)


@test
def run_detached_of_a_program_that_ends_at_once_is_a_success(t):
    container = t.new_id()
    t.teca("run", "--detach", "--bundle", t.bundle(minimal("/bin/true")), container, expect=0)
    wait_until(lambda: t.state(container)["status"] == "stopped", "stopped")


@test
def run_detached_is_undone_by_a_signal_before_the_program_runs(t):
    container = t.new_id()
    where = t.bundle(minimal("/bin/true"))
    process = t.popen("run", "--detach", "--bundle", where, container)
    process.send_signal(signal.SIGTERM)
    status = process.wait(20)
    if status:  # it may have been quicker
        t.nothing_of(container)


# ---- fds ----------------------------------------------------------------------------------------

def with_fds(t, config, n, *flags, env=None, script="", open_count=None):
    """The binary started by a shell that has put files on 3 and above; what `report` finds."""
    opened = n if open_count is None else open_count
    names = [t.file(f"fd{3 + i}") for i in range(opened)]
    redirections = " ".join(f"{3 + i}<{name}" for i, name in enumerate(names))
    container = t.new_id()
    config["process"]["args"] = ["/payload", "report"]
    command = [*t.argv("run", *flags, "--bundle", t.bundle(config), container)]
    done = t.call(["sh", "-c", f"{script} exec \"$@\" {redirections}", "sh", *command], env=env)
    eq((done.status, done.error), (0, ""), "run")
    return json.loads(done.text), names


def kept(report):
    return {int(n): os.path.basename(path) for n, path in report["fds"].items() if int(n) > 2}


@cases(none=(0, {}), one=(1, {3: "fd3"}), all=(3, {3: "fd3", 4: "fd4", 5: "fd5"}))
@row("RL-1")
def only_preserved_fds_reach_the_process(t, n, expected):
    report, _ = with_fds(t, minimal(), 3, "--preserve-fds", str(n))
    eq(kept(report), expected, "fds above 2")


@test
def what_the_caller_did_not_open_stays_closed(t):
    report, _ = with_fds(t, minimal(), 1, "--preserve-fds", "40")
    eq(kept(report), {3: "fd3"}, "fds above 2: none of the runtime's own")


@test
def preserved_fds_reach_a_created_process(t):
    name = t.file("kept", "from the caller\n")
    container = t.new_id()
    where = t.bundle(minimal("/bin/cat", "/proc/self/fd/3"))
    with open(t.path("out"), "wb") as out:
        done = t.call(["sh", "-c", f"exec \"$@\" 3<{name}", "sh",
                       *t.argv("create", "--preserve-fds=1", "--bundle", where, container)], stdout=out)
        eq(done.status, 0, f"create: {done.error}")
    t.teca("start", container, expect=0)
    wait_until(lambda: t.state(container)["status"] == "stopped", "its end")
    with open(t.path("out"), encoding="ascii") as f:
        eq(f.read(), "from the caller\n", "what the process read from fd 3")


@test
def listen_fds_come_first_and_are_told(t):
    report, _ = with_fds(t, minimal(), 3, "--preserve-fds", "1", script="LISTEN_FDS=2 LISTEN_PID=$$; export LISTEN_FDS LISTEN_PID;")
    eq(kept(report), {3: "fd3", 4: "fd4", 5: "fd5"}, "fds above 2")
    eq([v for v in report["env"] if v.startswith("LISTEN_")], ["LISTEN_FDS=2", "LISTEN_PID=1"], "environment")


@cases(other_pid=("LISTEN_FDS=2 LISTEN_PID=1;",), no_number=("LISTEN_FDS=x LISTEN_PID=$$;",),
       huge=("LISTEN_FDS=99999999999 LISTEN_PID=$$;",))
def listen_fds_of_somebody_else_are_ignored(t, script):
    report, _ = with_fds(t, minimal(), 2, script=script + " export LISTEN_FDS LISTEN_PID;")
    eq(kept(report), {}, "fds above 2")
    eq([v for v in report["env"] if v.startswith("LISTEN_")], [], "environment")


@test
def stdio_belongs_to_a_process_that_is_not_root(t):
    config = minimal(*SHELL, "echo again >/proc/self/fd/1; stat -Lc %u /proc/self/fd/1 >/proc/self/fd/2")
    config["process"]["user"] = {"uid": 1000, "gid": 1000}
    read, write = os.pipe()
    read2, write2 = os.pipe()
    container = t.new_id()
    done = t.teca("run", "--bundle", t.bundle(config), container, stdout=write, stderr=write2)
    os.close(write)
    os.close(write2)
    eq((done.status, os.read(read, 100), os.read(read2, 100)), (0, b"again\n", b"1000\n"),
       "status, stdout, stderr")


@test
def the_hosts_null_device_keeps_its_owner(t):
    config = minimal("/bin/true")
    config["process"]["user"] = {"uid": 1000, "gid": 1000}
    before = os.stat("/dev/null").st_uid
    t.teca("run", "--bundle", t.bundle(config), t.new_id(), expect=0,
           stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
    eq(os.stat("/dev/null").st_uid, before, "owner of /dev/null")


@test
def stdio_of_root_stays_as_it_is(t):
    read, write = os.pipe()
    os.fchown(write, 12, -1)
    t.teca("run", "--bundle", t.bundle(minimal("/bin/true")), t.new_id(), expect=0, stdout=write)
    eq(os.fstat(read).st_uid, 12, "owner of the pipe")


# ---- the relay ----------------------------------------------------------------------------------

class Screen:
    """`run` in the foreground of a terminal of its own, as in a terminal emulator."""

    def __init__(self, t, config, rows=24, columns=80, before="", **more):
        self.container = t.new_id()
        self.master, slave = pty.openpty()
        set_size(self.master, rows, columns)
        self.before = termios.tcgetattr(slave)
        self.slave = slave
        command = self.command(t, config)
        streams = {"stdin": slave, "stdout": slave, "stderr": slave} | more

        def session():
            os.setsid()
            fcntl.ioctl(slave, termios.TIOCSCTTY, 0)

        self.process = t.popen(command=command, preexec_fn=session, **streams)

    def command(self, t, config):
        return t.argv("run", "--bundle", t.bundle(config), self.container)

    def type(self, text):
        os.write(self.master, text.encode())

    def until(self, part):
        return read_until(self.master, part)

    def end(self, status=0):
        try:
            eq(self.process.wait(20), status, "exit status")
        except subprocess.TimeoutExpired:
            raise Failure("run did not end")
        eq(termios.tcgetattr(self.slave), self.before, "the modes of the terminal afterwards")


@test
def keys_go_in_and_output_comes_back(t):
    screen = Screen(t, terminal(default(*SHELL, "echo hello; read x; echo \"got <$x>\"; exit 7")))
    screen.until("hello\r\n")
    check(not termios.tcgetattr(screen.slave)[3] & (termios.ECHO | termios.ICANON | termios.ISIG),
          "the caller's terminal is raw meanwhile")
    screen.type("word\r")
    screen.until("got <word>")
    screen.end(7)
    t.nothing_of(screen.container)


@test
def what_was_written_last_is_not_lost(t):
    screen = Screen(t, terminal(bare(*SHELL, "i=0; while [ $i -lt 3000 ]; do echo line $i; i=$((i+1)); done; echo end")))
    text = screen.until("end\r\n")
    contains(text, "line 0\r\n", "the first line")
    contains(text, "line 2999\r\nend\r\n", "the last lines")
    eq(text.count("line "), 3000, "lines")
    screen.end()


@test
def keys_that_signal_are_the_containers(t):
    config = terminal(bare(*SHELL, "trap 'echo caught; exit 5' INT; echo ready; while :; do sleep 0.05; done"))
    screen = Screen(t, config)
    screen.until("ready")
    screen.type("\x03")
    screen.until("caught")
    screen.end(5)


@test
def the_size_follows_the_callers_terminal(t):
    config = terminal(bare(*SHELL, "stty size; trap 'stty size; exit 0' WINCH; echo ready; while :; do sleep 0.05; done"), 9, 9)
    screen = Screen(t, config, 31, 77)
    contains(screen.until("ready"), "31 77", "the size at the start is the caller's")
    set_size(screen.master, 40, 100)
    screen.until("40 100")
    screen.end()


@test
def a_signal_goes_to_the_process_and_modes_are_restored(t):
    config = terminal(bare(*SHELL, "trap 'exit 3' TERM; echo ready; while :; do sleep 0.05; done"))
    screen = Screen(t, config)
    screen.until("ready")
    screen.process.send_signal(signal.SIGTERM)
    screen.end(3)


@test
def a_process_that_is_killed_gives_128_and_its_signal(t):
    screen = Screen(t, terminal(bare(*SHELL, "echo ready; sleep 100")))
    screen.until("ready")
    t.teca("kill", screen.container, "KILL", expect=0)
    screen.end(137)


@test
def a_failed_start_restores_the_modes_and_says_why(t):
    screen = Screen(t, terminal(bare("/no/such")))
    contains(screen.until("\n"), "stat /no/such: no such file or directory", "stderr")
    screen.end(1)
    t.nothing_of(screen.container)


@test
def after_a_stop_the_terminal_is_raw_again(t):
    screen = Screen(t, terminal(bare(*SHELL, "echo ready; read x; echo \"got $x\"")))
    screen.until("ready")
    screen.process.send_signal(signal.SIGSTOP)
    wait_until(lambda: stat_fields(screen.process.pid)[0] == "T", "stopped")
    termios.tcsetattr(screen.slave, termios.TCSANOW, screen.before)  # as a shell does
    set_size(screen.master, 50, 60)
    screen.process.send_signal(signal.SIGCONT)
    wait_until(lambda: not termios.tcgetattr(screen.slave)[3] & termios.ICANON, "raw again")
    screen.type("x\r")
    screen.until("got x")
    screen.end()


@test
def in_the_background_it_stops_before_it_touches_the_terminal(t):
    container, where = t.new_id(), t.bundle(terminal(bare(*SHELL, "echo seen; exit 6")))
    master, slave = pty.openpty()
    before = termios.tcgetattr(slave)

    def session():
        os.setsid()
        fcntl.ioctl(slave, termios.TIOCSCTTY, 0)

    # The shell's job control puts it into a process group of its own, in the background.
    script = ("set -m; \"$@\" & pid=$!; while ! grep -q '^State:.*stopped' /proc/$pid/status; do sleep 0.02; done; "
              "echo stopped; read x; fg >/dev/null; echo status $?")
    process = t.popen(command=["bash", "-c", script, "bash", *t.argv("run", "--bundle", where, container)],
                      preexec_fn=session, stdin=slave, stdout=slave, stderr=slave)
    read_until(master, "stopped")
    eq(termios.tcgetattr(slave), before, "the modes while it is in the background")
    os.write(master, b"\n")
    contains(read_until(master, "status"), "seen", "what the container wrote in the foreground")
    eq(process.wait(20), 0, "the shell's exit status")
    eq(termios.tcgetattr(slave), before, "the modes afterwards")


@test
def input_from_a_pipe_ends(t):
    done = t.run(terminal(bare("/bin/cat")), stdin=b"one\ntwo")
    eq(done.status, 0, f"exit status ({done.error})")
    text = done.text.replace("\r\n", "\n")
    eq(text.count("one\n"), 2, "the line, as echo and by cat")
    eq(text.count("two"), 2, "the line without an end")


@test
def without_any_terminal_the_config_says_the_size(t):
    done = t.run(terminal(bare(*SHELL, "tty; stty size"), 12, 34), start_new_session=True)
    eq((done.status, done.text, done.error), (0, "/dev/pts/0\r\n12 34\r\n", ""), "status and streams")


@test
def output_into_a_pipe_and_keys_from_a_terminal(t):
    screen = Screen(t, terminal(bare(*SHELL, "read x; echo out $x")), stdout=subprocess.PIPE)
    wait_until(lambda: not termios.tcgetattr(screen.slave)[3] & termios.ICANON, "raw")
    screen.type("word\r")
    contains(screen.process.stdout.read().decode(), "out word\r\n", "stdout")
    screen.end()


@test
def a_reader_that_goes_away_does_not_hold_the_container_up(t):
    process = t.popen("run", "--bundle", t.bundle(terminal(bare(*SHELL, "head -c 1000000 /dev/zero; exit 4"))), t.new_id(),
                      start_new_session=True)
    process.stdout.close()
    eq(process.wait(20), 4, "exit status")


@test
def an_orphan_that_writes_for_ever_does_not_hold_run_up(t):
    config = without(terminal(bare(*SHELL, "(trap '' HUP; while :; do echo more; done) & sleep 0.1; exit 9")), "pid")
    process = t.popen("run", "--bundle", t.bundle(config), t.new_id(), stdout=subprocess.DEVNULL,
                      start_new_session=True)
    eq(process.wait(20), 9, "exit status")


@test
def a_reader_that_stands_still_does_not_keep_run_from_its_end(t):
    config = terminal(bare(*SHELL, "head -c 60000 /dev/zero; sleep 0.1; head -c 60000 /dev/zero"))
    container = t.new_id()
    process = t.popen("run", "--bundle", t.bundle(config), container, start_new_session=True)
    wait_until(lambda: os.path.exists(os.path.join(t.state_root, container)), "started")
    time.sleep(0.3)
    t.teca("kill", container, "KILL")
    time.sleep(0.2)
    process.send_signal(signal.SIGTERM)
    eq(process.wait(20), 137, "exit status, though nobody has read all of the output")


@test
def a_terminal_that_nobody_has_open_costs_no_cpu(t):
    config = terminal(bare(*SHELL, "echo ready; exec <&- >/dev/null 2>&1 </dev/null; sleep 1; echo back >/dev/console"))
    screen = Screen(t, config)
    screen.until("ready")
    screen.until("back")
    screen.end()
    used = resource.getrusage(resource.RUSAGE_CHILDREN)
    check(used.ru_utime + used.ru_stime < 0.12, f"{used.ru_utime + used.ru_stime:.2f} s of CPU time")


# ---- no pivot -----------------------------------------------------------------------------------

def moved(t, config, **more):
    return t.ok(config, "--no-pivot", **more)


@test
def without_pivot_root_the_root_is_the_containers(t):
    text = moved(t, default(*SHELL, "ls /; cat /etc/mark; pwd; ls /../.."))
    contains(text, "payload", "ls /")
    contains(text, "the shared root\n/\n", "mark and cwd")
    lacks(text, "work", "the host's directories")


@cases(root=(lambda c: c,), user_namespace=(with_user_namespace,))
def without_pivot_root_the_hosts_procfs_is_hidden(t, change):
    """The kernel gives a user namespace a procfs only where it sees one that nothing covers; the
    container's own has masks. The host's, if it were still there, would do."""
    config = change(default(*SHELL, "unshare -Urmpf mount -t proc proc /mnt 2>&1; echo $?"))
    config["process"]["capabilities"] = capabilities("CAP_SYS_ADMIN", "CAP_SETUID", "CAP_SETGID", "CAP_SETFCAP")
    config["process"]["noNewPrivileges"] = False
    contains(moved(t, config), "mount: permission denied (are you root?)\n1\n", "a new procfs, without the masks")
    del config["linux"]["maskedPaths"], config["linux"]["readonlyPaths"]
    eq(moved(t, config), "0\n", "the same where the container's procfs has no masks")


ESCAPE = """
#include <dirent.h>
#include <stdio.h>
#include <unistd.h>
int main(void)
{
    struct dirent *d;
    DIR *top;

    if (chroot("/mnt") < 0)
        return 1;
    for (int i = 0; i < 64; i++)
        if (chdir("..") < 0)
            return 2;
    if (chroot(".") < 0 || !(top = opendir("/")))
        return 3;
    while ((d = readdir(top)))
        puts(d->d_name);
    return 0;
}
"""


@test
def a_chroot_does_not_lead_out_of_a_moved_root(t):
    root = t.own_root()
    escape = os.path.join(root, "escape")
    subprocess.run(["cc", "-static", "-o", escape, "-xc", "-"], input=ESCAPE.encode(), check=True)
    config = default("/escape")
    config["process"]["capabilities"] = capabilities("CAP_SYS_CHROOT")
    plain = t.call(["chroot", root, "/escape"])
    eq(set(plain.text.split()) - {".", ".."}, set(os.listdir("/")), "the attack works on a mere chroot")
    found = moved(t, config, rootfs=root).split()
    eq(set(found) - {".", ".."}, set(os.listdir(root)), "what the attack finds in the container")


@test
def no_pivot_in_a_user_namespace(t):
    eq(moved(t, with_user_namespace(default("/bin/cat", "/etc/mark"))), "the shared root\n", "stdout")


@test
def no_pivot_with_a_shared_root_unmounts_nothing_of_the_host(t):
    private_mounts(1 << 20)  # shared, as a host with systemd has it
    config = default("/bin/cat", "/etc/mark")
    config["linux"]["rootfsPropagation"] = "shared"
    with open("/proc/self/mountinfo", encoding="utf-8") as f:
        before = f.read()
    eq(moved(t, config), "the shared root\n", "stdout")
    with open("/proc/self/mountinfo", encoding="utf-8") as f:
        eq(f.read(), before, "mounts of the host")


# ---- an ordinary user ---------------------------------------------------------------------------

@test
def an_ordinary_user_has_a_terminal_too(t):
    config = rootless(terminal(minimal(*SHELL, "tty; stty size; tty </dev/console"), 3, 4))
    with_mount(config, "/dev/pts", "devpts", "devpts", "newinstance", "ptmxmode=0666", "mode=0620")
    done = run_rootless(t, config)
    eq((done.status, done.error), (0, ""), "status and stderr")
    eq(done.text, "/dev/pts/0\r\n3 4\r\n/dev/console\r\n", "stdout")


@test
def an_ordinary_user_moves_a_root_too(t):
    done = run_rootless(t, rootless(minimal("/bin/cat", "/etc/mark")), "--no-pivot")
    eq((done.status, done.text, done.error), (0, "the shared root\n", ""), "status and streams")


# ---- explain ------------------------------------------------------------------------------------

@test
def explain_tells_the_terminal_of_a_create(t):
    engine = Engine(t.path("console"))
    container, where = t.new_id(), t.bundle(terminal(default("/bin/true"), 5, 6))
    flags = ("--console-socket", engine.path)
    plan = plan_of(t, where, container, "--create", *flags)
    command, prefix = strace(t, "create", *flags, "--bundle", where, container)
    process = t.popen(command=command)  # ends when all that it traces has ended
    _, master = engine.take()
    wait_until(lambda: t.teca("state", container).status == 0 and t.state(container)["status"] == "created", "created")
    t.teca("start", container, expect=0)
    read_all(master)
    eq(process.wait(20), 0, "create under strace")
    compare(plan["steps"], traces(prefix))


@cases(relay=(True, 0), stdio=(False, 1000))
def explain_tells_who_has_stdio(t, with_terminal, uid):
    config = default("/bin/true")
    config["process"]["user"] = {"uid": uid, "gid": 0}
    compare_run(t, terminal(config) if with_terminal else config)


@cases(root=(lambda c: c,), user_namespace=(with_user_namespace,))
def explain_tells_of_a_root_without_pivot(t, change):
    compare_run(t, change(default("/bin/true")), flags=("--no-pivot",))


@test
def explain_refuses_what_create_refuses(t):
    where = t.bundle(terminal(bare()))
    done = t.teca("explain", "--create", "--bundle", where)
    eq(done.status, 1, "exit status")
    contains(done.error, "cannot allocate tty", "stderr")
