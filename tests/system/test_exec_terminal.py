# SPDX-License-Identifier: Apache-2.0
"""
exec with a terminal, by socket and in the foreground; its pidfd socket, its preserved fds, who owns its
stdio, and its seccomp listener. engine-contract 1.3.7, 1.8, 1.9; checklist SC-8.
"""
import fcntl
import json
import os
import signal
import termios

from harness import (cases, check, contains, default, eq, is_alive, joined, lacks, minimal, row, test, wait_until,
                     with_user_namespace, without)
from test_exec import process_file, refused
from test_exec import compare_exec
from test_seccomp_notify import ANSWER, Listener, asking
from test_terminal import (SHELL, Engine, Screen, bare, kept, read_all, read_until, set_size, size_of)


def with_user(config):
    """... and a devpts whose group exists there."""
    config = with_user_namespace(config)
    config["linux"]["uidMappings"][0]["hostID"] = 0  # the state directory and the root are root's
    config["linux"]["gidMappings"][0]["hostID"] = 0
    return config


# ---- by socket, as conmon and containerd do it --------------------------------------------------

def detached(t, container, *args, process=None, **members):
    """exec --detach with a console socket; gives what the master is called, it, and the pid."""
    engine, file = Engine(t.path(f"console{t.count}")), t.path(f"pid{t.count}")
    flags = ["--detach", "--console-socket", engine.path, "--pid-file", file]
    if process is None:
        process = process_file(t, *args, terminal=True, **members)
    t.teca("exec", *flags, "--process", process, container, expect=0)
    name, master = engine.take()
    with open(file, encoding="ascii") as f:
        return name, master, int(f.read())


@cases(ordinary=bare(), default=default(), user=with_user(bare()), without_pid=without(bare(), "pid"))
def the_master_comes_by_the_socket(t, config):
    container, _ = t.sleeper(config)
    name, master, pid = detached(
        t, container, *SHELL, "test -t 0 && test -t 1 && test -t 2 && echo all; stty size; tty; ls -l /proc/self/fd | wc -l",
        consoleSize={"height": 33, "width": 55})
    text = read_all(master)
    eq(text.splitlines()[:3], ["all", "33 55", name], "what the process sees")
    check(name.startswith("/dev/pts/"), name)
    os.close(master)
    os.waitpid(pid, 0)


@test
def the_words_of_the_command_line_do_it_too(t):
    """conmon-rs: exec -d --console-socket=S --tty --pid-file=P ID CMD"""
    container, _ = t.sleeper(bare())
    engine, file = Engine(t.path("console")), t.path("pid")
    t.teca("exec", "-d", f"--console-socket={engine.path}", "--tty", f"--pid-file={file}", container,
           *SHELL, "tty; exit 3", expect=0)
    name, master = engine.take()
    eq(read_all(master), name + "\n", "the terminal")
    os.close(master)
    with open(file, encoding="ascii") as f:
        eq(os.waitstatus_to_exitcode(os.waitpid(int(f.read()), 0)[1]), 3, "status for the engine")


@test
def the_terminal_controls_the_session_and_belongs_to_the_user(t):
    container, _ = t.sleeper(bare())
    _, master, pid = detached(t, container, *SHELL, "stat -c %u $(tty); trap 'echo caught; exit 4' INT; echo ready; while :; do sleep 0.05; done",
                              user={"uid": 12, "gid": 13})
    contains(read_until(master, "ready"), "12", "owner")
    os.write(master, b"\x03")
    contains(read_until(master, "caught"), "caught", "what ^C does")
    eq(os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1]), 4, "status for the engine")
    os.close(master)


@test
def the_console_stays_inits(t):
    config = bare()
    config["process"]["terminal"] = True
    engine = Engine(t.path("init-console"))
    container = t.new_id()
    config["process"]["args"] = ["/payload", "catch", "15"]
    t.teca("create", "--bundle", t.bundle(config), "--console-socket", engine.path, container, expect=0)
    _, first = engine.take()
    t.teca("start", container, expect=0)
    at = f"/proc/{t.pid(container)}/root/dev/console"
    before = os.stat(at)
    _, master, pid = detached(t, container, "/bin/true")
    os.waitpid(pid, 0)
    after = os.stat(at)
    eq((after.st_rdev, after.st_ino, after.st_dev), (before.st_rdev, before.st_ino, before.st_dev), "/dev/console")
    os.close(master)
    os.close(first)


@cases(tty=("--detach", "--tty", "cannot allocate tty if runc will detach without setting console socket"),
       foreground=("--tty", "--console-socket=/none", "cannot use console socket"),
       no_tty=("--detach", "--console-socket=/none", "cannot use console socket"))
def a_socket_goes_with_detach_and_a_terminal(t, one, two, part):
    container, _ = t.sleeper(bare())
    refused(t, one, two, container, "/bin/true", parts=[part])


@test
def a_socket_that_nobody_listens_on_is_an_error_and_no_pid_file(t):
    container, _ = t.sleeper(bare())
    refused(t, "-d", "-t", "--console-socket", t.path("none"), "--pid-file", t.path("pid"), container, "/bin/true",
            parts=["cannot connect to the socket", "No such file"])
    check(not os.path.exists(t.path("pid")), "there is a pid file")


@test
def without_a_devpts_a_terminal_is_refused(t):
    container, _ = t.sleeper(minimal())
    refused(t, "-t", container, "/bin/true", parts=["/process/terminal", "devpts at '/dev/pts'"])


# ---- in the foreground --------------------------------------------------------------------------

class ExecScreen(Screen):
    """The same as a `run`'s, for an exec in a container that runs."""

    def __init__(self, t, config, *args, flags=(), **more):
        self.id, _ = t.sleeper(config)
        self.args = [*flags, self.id, *args]
        super().__init__(t, config, **more)

    def command(self, t, config):
        return t.argv("exec", "--tty", *self.args)


@test
def keys_go_in_output_comes_back_and_the_status_is_the_commands(t):
    screen = ExecScreen(t, bare(), *SHELL, "echo hello; read x; echo \"got <$x>\"; exit 7")
    screen.until("hello\r\n")
    check(not termios.tcgetattr(screen.slave)[3] & (termios.ECHO | termios.ICANON | termios.ISIG),
          "the caller's terminal is raw meanwhile")
    screen.type("word\r")
    screen.until("got <word>")
    screen.end(7)


@test
def the_size_is_the_callers_and_follows_it(t):
    screen = ExecScreen(t, bare(), *SHELL, "stty size; trap 'stty size; exit 0' WINCH; echo ready; while :; do sleep 0.05; done",
                        rows=31, columns=77)
    contains(screen.until("ready"), "31 77", "the size at the start is the caller's")
    set_size(screen.master, 40, 100)
    screen.until("40 100")
    screen.end()


@test
def an_interactive_shell_has_job_control(t):
    screen = ExecScreen(t, bare(), "/bin/sh", "-i", flags=["--env", "PS1=prompt> "])
    screen.until("prompt> ")
    screen.type("sleep 1000\r")
    wait_until(lambda: "sleep 1000" in t.teca("ps", screen.id, expect=0).text, "sleep runs")
    screen.type("\x1a")
    contains(screen.until("Stopped"), "Stopped", "^Z")
    screen.type("kill %1; fg\r")
    screen.until("prompt> ")
    screen.type("exit 6\r")
    screen.end(6)


@test
def a_failure_restores_the_modes_and_says_why(t):
    screen = ExecScreen(t, bare(), "/bin/none")
    contains(screen.until("no such file"), "exec failed: unable to start container process: exec: ", "the screen")
    screen.end(255)


@test
def the_end_of_a_pipe_ends_a_reader(t):
    container, _ = t.sleeper(bare())
    done = t.teca("exec", "--tty", container, *SHELL, "stty -echo; cat; echo end", stdin=b"some\nlines\n", expect=0,
                  start_new_session=True)
    contains(done.text, "some\r\nlines\r\nend", "stdout")


# ---- pidfd, fds, stdio --------------------------------------------------------------------------

@cases(foreground=(), detached=("--detach",))
def a_pidfd_of_the_process_goes_to_the_socket(t, *flags):
    container, init = t.sleeper(minimal())
    engine, file = Engine(t.path("pidfd")), t.path("pid")
    t.teca("exec", *flags, "--pidfd-socket", engine.path, "--pid-file", file, container, "/bin/true", expect=0)
    word, fd = engine.take()
    eq(word, "setns", "the word that comes with it")
    with open(file, encoding="ascii") as f:
        pid = int(f.read())
    check(pid != init, "the pid is init's")
    with open(f"/proc/self/fdinfo/{fd}", encoding="ascii") as f:
        shown = int(next(line.split()[1] for line in f if line.startswith("Pid:")))
    check(shown in (pid, -1), f"a pidfd of {shown}, the process was {pid}")
    if flags:
        os.waitpid(pid, 0)
    os.close(fd)


@cases(none=(0, {}), one=(1, {3: "null"}), two=(2, {3: "null", 4: "zero"}))
def preserved_fds_reach_the_process(t, n, expected):
    container, _ = t.sleeper(minimal())
    command = " ".join(t.argv("exec", "--preserve-fds", str(n), container, "/payload", "report"))
    done = t.teca(command=["sh", "-c", f"exec {command} 3</dev/null 4</dev/zero 5</dev/null"], expect=0)
    eq(kept(json.loads(done.text)), expected, "fds of the process beyond 2")


@test
def stdio_belongs_to_a_user_that_is_not_root(t):
    container, _ = t.sleeper(minimal())
    read, write = os.pipe()
    t.teca("exec", "--user", "12", container, *SHELL, "echo word >/dev/stdout", expect=0, stdout=write)
    eq(os.fstat(write).st_uid, 12, "owner of the pipe")
    os.close(write)
    with os.fdopen(read) as f:
        eq(f.read(), "word\n", "what came through it")


# ---- seccomp listener ---------------------------------------------------------------------------

@cases(with_no_new_privs=True, without_no_new_privs=False)
@row("SC-8")
def a_listener_hears_of_the_process_in_a_running_container(t, no_new):
    first = Listener(t)
    config = asking(first, no_new=no_new)
    config["process"]["args"] = ["/payload", "catch", "15"]
    container, init = t.sleeper(config)
    os.unlink(first.path)
    second, file = Listener(t), t.path("pid")
    done = t.teca("exec", "--pid-file", file, "--process",
                  process_file(t, "/payload", "call", "getpgid", "0", noNewPrivileges=no_new), container, expect=0)
    eq(done.text, ANSWER, "getpgid")
    with open(file, encoding="ascii") as f:
        eq(second.state["pid"], int(f.read()), "the pid in the message")
    state = second.state["state"]
    eq((state["id"], state["status"], state["pid"]), (container, "running", init), "the state in it")


# ---- explain ------------------------------------------------------------------------------------

@test
def explain_tells_the_terminal_of_an_exec(t):
    container, _ = t.sleeper(bare())
    compare_exec(t, container, "--tty")
