# SPDX-License-Identifier: Apache-2.0
"""NOTIFY_SOCKET: the service manager is told when the container is ready. engine-contract 1.14."""
import array
import json
import os
import select
import signal
import socket
import time

from harness import (allow, cases, check, contains, default, eq, fail, is_alive, lacks, minimal, mount_at,
                     mounts_of, test, wait_until, with_mount, with_user_namespace, without)
from test_explain import compare_run

READY = ("say:READY=1",)


class Manager:
    """The socket that systemd would listen on. abstract: @NAME."""

    def __init__(self, t, name=None):
        self.t = t
        self.address = name or t.path("manager")
        self.socket = socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM | socket.SOCK_CLOEXEC)
        self.socket.setsockopt(socket.SOL_SOCKET, socket.SO_PASSCRED, 1)
        self.socket.bind("\0" + self.address[1:] if self.address[0] == "@" else self.address)
        self.barriers = []

    def environment(self):
        return dict(os.environ, NOTIFY_SOCKET=self.address)

    def hear(self, seconds=20, free=True):
        """One datagram: (text, sender's pid). The fd of a barrier is closed, or kept."""
        if not select.select([self.socket], [], [], allow(seconds))[0]:
            fail(f"the manager heard nothing for {allow(seconds):g} s")
        data, control, _, _ = self.socket.recvmsg(65536, 1024)
        pid = None
        for _, kind, value in control:
            if kind == socket.SCM_RIGHTS:
                fds = array.array("i", value[:len(value) // 4 * 4])
                eq((data, len(fds)), (b"BARRIER=1", 1), "what came with an fd")
                self.barriers += fds
            else:
                pid = array.array("i", value)[0]
        if free:
            self.free()
        return data.decode(), pid

    def free(self):
        for fd in self.barriers:
            os.close(fd)
        self.barriers = []

    def nothing(self):
        check(not select.select([self.socket], [], [], 0)[0], "the manager was told more")


def saying(*words, config=None):
    config = config or minimal()
    config["process"]["args"] = ["/payload", "notify", *words]
    return config


def bundle(t, config):
    """On a root of its own, which root of a user namespace could not make the directory in."""
    root = t.own_root()
    os.makedirs(os.path.join(root, "run", "notify"))
    return t.bundle(config, root)


def created(t, manager, config):
    container, where = t.new_id(), bundle(t, config)
    with open(t.path("out"), "wb") as out:
        t.teca("create", "--bundle", where, container, env=manager.environment(), expect=0, stdout=out)
    return container


def starting(t, manager, container):
    return t.popen("start", container, env=manager.environment())


def told(manager, pid, words="READY=1"):
    """The three datagrams, in their order."""
    eq(manager.hear()[0], words, "the first datagram")
    eq(manager.hear()[0], f"MAINPID={pid}", "the second datagram")
    eq(manager.hear()[0], "BARRIER=1", "the third datagram")
    manager.nothing()


@cases(path=None, abstract="@teca-test-{token}")
def start_returns_when_the_container_is_ready(t, name):
    manager = Manager(t, name and name.format(token=t.token))
    container = created(t, manager, saying("sleep:1", *READY, "sleep:1000"))
    start = starting(t, manager, container)
    pid = t.pid(container)
    eq(manager.hear(free=False), ("READY=1", start.pid), "the first datagram and its sender")
    eq(manager.hear(free=False), (f"MAINPID={pid}", start.pid), "the second")
    eq(manager.hear(free=False), ("BARRIER=1", start.pid), "the third")
    time.sleep(0.3)
    eq(start.poll(), None, "has start ended before the manager let go of the barrier?")
    manager.free()
    eq((t.end_of(start), start.stderr.read()), (0, b""), "start")
    manager.nothing()


@test
def run_in_the_background_waits_too(t):
    manager = Manager(t)
    container = t.new_id()
    run = t.popen("run", "--detach", "--bundle", bundle(t, saying("sleep:1", *READY, "sleep:1000")), container,
                  env=manager.environment(), stdout=None)
    eq(manager.hear(free=False), ("READY=1", run.pid), "the first datagram and its sender")
    contains(manager.hear(free=False)[0], "MAINPID=", "the second")
    eq(manager.hear(free=False)[0], "BARRIER=1", "the third")
    eq(run.poll(), None, "has run ended before the manager let go of the barrier?")
    manager.free()
    eq(t.end_of(run), 0, "status of run")


@test
def run_in_the_foreground_names_itself_and_goes_on(t):
    manager = Manager(t)
    run = t.popen("run", "--bundle", bundle(t, saying("sleep:1", *READY, "sleep:1", "say:READY=1", "exit:7")),
                  t.new_id(), env=manager.environment())
    eq(manager.hear(), ("READY=1", run.pid), "the first datagram and its sender")
    eq(manager.hear(), (f"MAINPID={run.pid}", run.pid), "the second")
    eq(t.end_of(run), 7, "status of run")
    eq(run.stdout.read(), b"ECONNREFUSED\n", "what happens to a word that comes later")
    manager.nothing()


@test
def a_signal_reaches_the_program_while_its_word_is_awaited(t):
    manager = Manager(t)
    run = t.popen("run", "--bundle", bundle(t, minimal("/payload", "catch", "15")), t.new_id(),
                  env=manager.environment())
    eq(t.read_line(run), "ready", "the program")
    run.send_signal(signal.SIGUSR1)
    eq(t.read_line(run), str(int(signal.SIGUSR1)), "the signal")
    run.send_signal(signal.SIGTERM)
    eq(t.read_line(run), "15", "the last signal")
    t.end_of(run)
    manager.nothing()


@test
def a_terminal_is_carried_while_the_word_is_awaited(t):
    manager = Manager(t)
    config = default("/bin/sh", "-c", "read a; echo got-$a; exec /payload notify say:READY=1 exit:3")
    config["process"]["terminal"] = True
    master, peer = os.openpty()
    run = t.popen("run", "--bundle", bundle(t, config), t.new_id(), env=manager.environment(), stdin=peer,
                  stdout=peer, stderr=peer)
    os.close(peer)
    os.write(master, b"word\n")
    seen = b""
    while b"got-word" not in seen:
        check(select.select([master], [], [], allow(20))[0], f"the terminal said only {seen}")
        seen += os.read(master, 4096)
    eq(manager.hear()[0], "READY=1", "the manager heard")
    eq(t.end_of(run), 3, "status of run")
    os.close(master)


@cases(ordinary=minimal(), own_run=with_mount(minimal(), "/run", "tmpfs", "tmpfs", "mode=755"),
       user=with_user_namespace(minimal()), other_user=minimal(user={"uid": 1234, "gid": 5}),
       default=default(), no_pid=without(minimal(), "pid"))
def the_container_has_the_socket_read_only(t, config):
    manager = Manager(t)
    config["process"]["env"] += ["NOTIFY_SOCKET=/old"]
    container = created(t, manager, saying(*READY, "sleep:1000", config=config))
    pid = t.pid(container)
    with open(f"/proc/{pid}/mountinfo", encoding="utf-8") as f:
        at = mount_at(f.read(), "/run/notify")
    for option in ("ro", "nosuid", "nodev", "noexec"):
        contains(at["options"], option, "options of /run/notify")
    start = starting(t, manager, container)
    told(manager, pid)
    eq(t.end_of(start), 0, "start")
    with open(f"/proc/{pid}/environ", encoding="utf-8") as f:
        eq([v for v in f.read().split("\0") if v.startswith("NOTIFY")], ["NOTIFY_SOCKET=/run/notify/notify.sock"],
           "the variable")


@test
def the_end_of_init_ends_the_wait(t):
    manager = Manager(t)
    container = created(t, manager, saying("exit:0"))
    done = t.teca("start", container, env=manager.environment(), expect=0)
    eq(done.error, "", "stderr")
    t.teca("run", "--detach", "--bundle", bundle(t, saying("exit:5")), t.new_id(), env=manager.environment(), expect=0)
    manager.nothing()


@cases(
    nothing_else=(["say:STATUS=up", "say:X"], None),
    not_ready=(["say:READY=0", "say:READY=11", "say: READY=1", "say:READY=1x"], None),
    other_fields=(["say:MAINPID=1\nREADY=1\nFDSTORE=1\nNOTIFYACCESS=all\nWATCHDOG=trigger\nERRNO=5"], "READY=1"),
    status=(["say:STATUS=up and running\nREADY=1"], "READY=1\nSTATUS=up and running"),
    escape=(["say:READY=1\nSTATUS=\x1b[2Jx"], "READY=1"),
    long_status=(["say:READY=1\nSTATUS=" + "y" * 3000], "READY=1"),
    too_long=(["big:5000"], None),
    empty=(["say:"], None),
    longest=(["big:4088"], "READY=1"),
)
def only_what_the_manager_may_know_goes_on(t, words, expected):
    manager = Manager(t)
    # A word that is heard in any case comes last: the first that the manager hears tells.
    container = created(t, manager, saying(*words, *([] if expected else ["say:READY=1\nSTATUS=last"]), "sleep:1000"))
    start = starting(t, manager, container)
    told(manager, t.pid(container), expected or "READY=1\nSTATUS=last")
    eq(t.end_of(start), 0, "start")


@test
def file_descriptors_are_let_go_and_never_passed_on(t):
    manager = Manager(t)
    container = created(t, manager, saying("fd:FDSTORE=1\nFDNAME=x", "fd:BARRIER=1", "fd:READY=1", "sleep:1000"))
    start = starting(t, manager, container)
    eq(manager.hear()[0], "READY=1", "the first datagram")  # hear() fails for an fd with it
    manager.hear(), manager.hear()
    eq(t.end_of(start), 0, "start")

    def said():
        with open(t.path("out"), encoding="ascii") as f:
            return f.read().split()

    wait_until(lambda: len(said()) == 3, "three answers of the container")
    eq(said(), ["closed"] * 3, "what became of the container's own ends")


@cases(foreground=("run",), detached=("run", "--detach"))
def what_is_said_last_of_all_is_told(t, *verb):
    for _ in range(5):
        manager = Manager(t)
        run = t.popen(*verb, "--bundle", bundle(t, saying("flood:3", *READY, "exit:0")), t.new_id(),
                      env=manager.environment(), stdout=None)
        eq(manager.hear()[0], "READY=1", "the first datagram")
        contains(manager.hear()[0], "MAINPID=", "the second")
        if "--detach" in verb:
            eq(manager.hear()[0], "BARRIER=1", "the third")
        eq(t.end_of(run), 0, "status")
        os.unlink(manager.address)


@cases(start=True, foreground=False)
def a_flood_holds_up_nobody_and_costs_little(t, detached):
    manager = Manager(t)
    config = saying("flood:100000000")
    if detached:
        container = created(t, manager, config)
        teca = starting(t, manager, container)
    else:
        teca = t.popen("run", "--bundle", bundle(t, config), t.new_id(), env=manager.environment())
    time.sleep(allow(1))
    with open(f"/proc/{teca.pid}/stat", encoding="ascii") as f:
        fields = f.read().rsplit(")", 1)[1].split()
    used = (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK")
    check(used < 0.3 * allow(1), f"teca has used {used} s of processor time in {allow(1)} s")
    t.teca("kill", t.ids[-1], "KILL", expect=0)
    eq(t.end_of(teca), 0 if detached else 137, "its status")
    manager.nothing()


@test
def delete_and_a_failed_start_leave_nothing(t):
    manager = Manager(t)
    container = created(t, manager, saying("sleep:1000"))
    check(os.path.isdir(os.path.join(t.state_root, container, "notify")), "create made no directory")
    start = starting(t, manager, container)
    wait_until(lambda: t.state(container)["status"] == "running", "the program")
    eq(start.poll(), None, "start waits")
    t.teca("delete", "--force", container, expect=0)
    eq(t.end_of(start), 0, "start, when init was killed")
    t.nothing_of(container)
    for verb in ("create", "run"):
        container = t.new_id()
        where = bundle(t, minimal("/nope"))
        done = t.teca(verb, "--bundle", where, container, env=manager.environment(), expect=1)
        contains(done.error, "no such file", "stderr")
        t.nothing_of(container)
    manager.nothing()


@test
def who_is_interrupted_while_waiting_undoes_the_run(t):
    manager = Manager(t)
    container = t.new_id()
    run = t.popen("run", "--detach", "--bundle", bundle(t, saying("sleep:1000")), container, env=manager.environment())
    wait_until(lambda: os.path.lexists(os.path.join(t.state_root, container, "init")), "the container")
    time.sleep(0.2)
    run.send_signal(signal.SIGTERM)
    eq(t.end_of(run), 1, "status of run")
    t.nothing_of(container)


@cases(nobody=("/nowhere/at/all", "no such file"), abstract=("@teca-nobody-there", "refused"),
       odd=("vsock:2:1", "absolute path"), bare=("@", "absolute path"), long=("@" + "x" * 200, "absolute path"))
def a_manager_that_is_not_there_is_an_error_before_anything_is_done(t, address, reason):
    container = t.new_id()
    where = bundle(t, minimal())
    env = dict(os.environ, NOTIFY_SOCKET=address)
    done = t.teca("run", "--bundle", where, container, env=env, expect=1)
    for part in ("NOTIFY_SOCKET", reason):
        contains(done.error.lower(), part.lower(), "stderr")
    t.nothing_of(container)


@test
def a_start_that_cannot_reach_it_leaves_the_container_created(t):
    manager = Manager(t)
    container = created(t, manager, saying(*READY, "sleep:1000"))
    done = t.teca("start", container, env=dict(os.environ, NOTIFY_SOCKET="/nowhere"), expect=1)
    contains(done.error, "NOTIFY_SOCKET", "stderr")
    eq(t.state(container)["status"], "created", "status")
    start = starting(t, manager, container)
    told(manager, t.pid(container))
    eq(t.end_of(start), 0, "start")


@cases(create_only=(True, False), start_only=(False, True), empty=(None, None))
def where_one_of_them_has_no_manager_nobody_waits(t, at_create, at_start):
    manager = Manager(t)
    with_it, empty = manager.environment(), dict(os.environ, NOTIFY_SOCKET="")
    container, where = t.new_id(), bundle(t, minimal("/payload", "catch", "15"))
    t.teca("create", "--bundle", where, container, env=with_it if at_create else empty, expect=0)
    t.teca("start", container, env=with_it if at_start else empty, expect=0)
    eq(t.state(container)["status"], "running", "status")
    manager.nothing()


@test
def a_manager_may_have_a_long_path_and_so_may_the_state(t):
    deep = t.path("d" * 100, "e" * 100)
    os.makedirs(deep)
    old = os.getcwd()
    os.chdir(deep)
    manager = Manager(t, "socket")
    os.chdir(old)
    manager.address = os.path.join(deep, "socket")
    t.global_args = ["--root", t.path("s" * 120)]
    container, where = t.new_id(), bundle(t, saying(*READY, "exit:4"))
    done = t.teca("run", "--bundle", where, container, env=manager.environment())
    eq((done.status, done.error), (4, ""), "run")
    eq(manager.hear()[0], "READY=1", "the first datagram")


@test
def explain_tells_of_it_and_no_field_asked_for_it(t):
    manager = Manager(t)
    os.environ["NOTIFY_SOCKET"] = manager.address
    compare_run(t, default("/bin/true"), t.own_root())
    config = default("/bin/true")
    where = bundle(t, config)
    plan = json.loads(t.teca("explain", "--format", "json", "--bundle", where, expect=0).text)
    steps = [s for s in plan["steps"] if "notify" in json.dumps(s)]
    eq([s["operation"] for s in steps], ["readiness-directory", "readiness-listen", "mount", "exec"],
       "steps that name it")
    check(all(not s["pointer"] for s in steps if s["operation"] != "exec"), f"a field is named: {steps}")
    contains([s["operation"] for s in plan["steps"]], "readiness-forward", "steps")
