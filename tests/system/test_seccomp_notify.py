# SPDX-License-Identifier: Apache-2.0
"""SCMP_ACT_NOTIFY: the listener at listenerPath gets the fd and the state, and answers the process."""
import array
import contextlib
import errno
import fcntl
import json
import os
import select
import socket
import struct
import threading

from harness import cases, check, eq, minimal, row, test, wait_until, with_user_namespace
from test_security import profile, rule

# linux/seccomp.h
NOTIF_RECV, NOTIF_SEND = 0xC0502100, 0xC0182101
ANSWER = "-1 EXDEV\n"


class Listener:
    """Takes one connection, then answers every question the same. What it saw stays to be looked at."""
    says = (-errno.EXDEV, 0)

    def __init__(self, t, name="listener", mute=False):
        self.path = t.path(name)
        os.makedirs(os.path.dirname(self.path), exist_ok=True)
        self.server = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
        here = os.open(".", os.O_RDONLY)
        os.chdir(os.path.dirname(self.path))
        self.server.bind(os.path.basename(self.path))
        os.fchdir(here)
        os.close(here)
        self.server.listen(4)
        self.state, self.fds, self.asked = None, [], []
        self.at_connect = None  # called when the state has come
        self.mute = mute
        self.done = threading.Event()
        self.thread = threading.Thread(target=self.serve, daemon=True)
        self.thread.start()

    def serve(self):
        with contextlib.suppress(OSError):
            peer, _ = self.server.accept()
            room = socket.CMSG_SPACE(16 * 4)
            text, controls, _, _ = peer.recvmsg(65536, room)
            for level, kind, data in controls:
                if (level, kind) == (socket.SOL_SOCKET, socket.SCM_RIGHTS):
                    self.fds += array.array("i", data[:len(data) // 4 * 4]).tolist()
            while more := peer.recv(65536):  # until the runtime closes
                text += more
            self.state = json.loads(text)
            if self.at_connect:
                self.at_connect()
            self.done.set()
            if not self.mute:
                self.answer()

    def answer(self):
        waiter = select.poll()
        waiter.register(self.fds[0], select.POLLIN)
        while True:
            events = waiter.poll(30000)
            if not events or not events[0][1] & select.POLLIN:
                return  # the last process under the filter has ended
            question = bytearray(80)
            try:
                fcntl.ioctl(self.fds[0], NOTIF_RECV, question)
            except OSError as e:
                if e.errno == errno.ENOENT:  # whoever asked was killed meanwhile
                    continue
                return
            number, pid, _, call = struct.unpack_from("QIIi", question)
            self.asked.append((call, pid))
            with contextlib.suppress(OSError):
                fcntl.ioctl(self.fds[0], NOTIF_SEND, struct.pack("QqiI", number, 0, *self.says))


def asking(listener, *names, no_new=False, **more):
    config = minimal("/payload", "call", "getpgid", "0", noNewPrivileges=no_new)
    rules = rule("SCMP_ACT_NOTIFY", *(names or ("getpgid",)))
    config["linux"]["seccomp"] = profile("SCMP_ACT_ALLOW", rules, listenerPath=listener.path, **more)
    config["annotations"] = {"org.example.note": "n"}
    return config


def both(function):
    return cases(with_no_new_privs=True, without_no_new_privs=False)(function)


@both
@row("SC-6")
def the_listener_answers_what_the_process_asks(t, no_new):
    listener = Listener(t)
    eq(t.ok(asking(listener, no_new=no_new)), ANSWER, "getpgid")
    eq(len(listener.asked), 1, "questions")


@both
@row("SC-8")
def the_state_is_that_of_the_spec(t, no_new):
    listener = Listener(t)
    config = asking(listener, no_new=no_new, listenerMetadata="opaque \"data\"")
    where, container = t.bundle(config), t.new_id()
    t.teca("run", "--pid-file", t.path("pid"), "--bundle", where, container, expect=0)
    with open(t.path("pid"), encoding="ascii") as f:
        pid = int(f.read())
    eq(listener.state, {
        "ociVersion": "1.0.2", "fds": ["seccompFd"], "pid": pid, "metadata": "opaque \"data\"",
        "state": {"ociVersion": "1.0.2", "id": container, "status": "creating", "pid": pid,
                  "bundle": where, "annotations": {"org.example.note": "n"}}}, "the message")
    eq(len(listener.fds), 1, "descriptors that came")
    eq(os.readlink(f"/proc/self/fd/{listener.fds[0]}"), "anon_inode:seccomp notify", "what came")


@test
@row("SC-8")
def without_metadata_the_message_has_none(t):
    listener = Listener(t)
    t.ok(asking(listener))
    check("metadata" not in listener.state, f"the message: {listener.state}")


@both
def create_hands_the_listener_over_before_it_returns(t, no_new):
    listener = Listener(t)
    out = t.path("out")
    where, container = t.bundle(asking(listener, no_new=no_new)), t.new_id()
    with open(out, "wb") as f:
        t.teca("create", "--bundle", where, container, stdout=f, expect=0)
    check(listener.done.wait(10), "create returned and nothing had been sent")
    eq(listener.state["pid"], t.pid(container), "the pid in the message")
    eq(listener.asked, [], "questions before start")
    t.teca("start", container, expect=0)
    wait_until(lambda: os.path.getsize(out), "the program's word")
    with open(out, encoding="ascii") as f:
        eq(f.read(), ANSWER, "getpgid")


@test
def the_container_is_creating_when_the_listener_hears_of_it(t):
    listener, seen = Listener(t), []
    container = t.new_id()
    config = asking(listener, "execve")
    config["process"]["args"] = ["/bin/true"]
    listener.at_connect = lambda: seen.append(t.state(container)["status"])
    t.teca("create", "--bundle", t.bundle(config), container, expect=0)
    check(listener.done.wait(10), "nothing was sent")
    eq(listener.state["state"]["status"], "creating", "status in the message")
    check(seen[0] in ("creating", "created"), f"status by `teca state`: {seen}")


@both
def calls_that_the_start_itself_needs_may_be_asked_about(t, no_new):
    """read and execve: the listener has the fd before init waits for anybody; here it answers CONTINUE."""
    listener = Continuing(t)
    config = asking(listener, "read", "execve", "setresuid", "capset", "sendmsg", "getpgid", no_new=no_new)
    config["process"]["user"] = {"uid": 5, "gid": 5}
    out = t.ok(config)
    check(out.endswith(" OK\n"), f"getpgid, which the kernel answered: {out!r}")
    check(len(listener.asked) >= 2, f"questions: {listener.asked}")


class Continuing(Listener):
    says = (0, 1)  # SECCOMP_USER_NOTIF_FLAG_CONTINUE


@test
def teca_keeps_no_copy_of_the_listener(t):
    """When the listener closes its fd the kernel answers ENOSYS, although `teca run` still lives."""
    listener = Listener(t, mute=True)
    listener.at_connect = lambda: os.close(listener.fds[0])
    eq(t.ok(asking(listener)), "-1 ENOSYS\n", "getpgid")


@test
def in_a_user_namespace_it_works_the_same(t):
    listener = Listener(t)
    eq(t.ok(with_user_namespace(asking(listener))), ANSWER, "getpgid")


@cases(tsync=["SECCOMP_FILTER_FLAG_TSYNC"], killable=["SECCOMP_FILTER_FLAG_WAIT_KILLABLE_RECV"],
       several=["SECCOMP_FILTER_FLAG_LOG", "SECCOMP_FILTER_FLAG_TSYNC",
                "SECCOMP_FILTER_FLAG_WAIT_KILLABLE_RECV"], none=[])
@row("SC-4")
def the_flags_go_with_a_listener(t, flags):
    listener = Listener(t)
    eq(t.ok(asking(listener, flags=flags)), ANSWER, "getpgid")


@test
def a_path_longer_than_an_address_works(t):
    listener = Listener(t, "/".join(["x" * 60] * 3) + "/listener")
    check(len(listener.path) > 108, "the path is short")
    eq(t.ok(asking(listener)), ANSWER, "getpgid")


class Nowhere:
    def __init__(self, path):
        self.path = path


@cases(run="run", create="create")
def without_a_listener_the_start_is_refused_and_undone(t, verb):
    t.refused(asking(Nowhere(t.path("nobody"))), "/linux/seccomp/listenerPath",
              "cannot connect to the seccomp listener", "No such file", verb=verb)


@cases(run="run", create="create")
@row("SC-6")
def a_socket_that_nobody_listens_at_is_refused(t, verb):
    dead = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
    dead.bind(t.path("dead"))
    dead.close()
    t.refused(asking(Nowhere(t.path("dead"))), "/linux/seccomp/listenerPath", "refused", verb=verb)


@test
def write_cannot_be_asked_about(t):
    t.refused(asking(Nowhere("/x"), "write"), "/linux/seccomp/syscalls/0/names/0", "write")


@test
@row("SC-6")
def without_a_notify_rule_the_path_is_ignored(t):
    config = minimal("/payload", "call", "getpgid", "0")
    config["linux"]["seccomp"] = profile("SCMP_ACT_ALLOW", rule("SCMP_ACT_ERRNO", "getpgid", errno=18),
                                         listenerPath=t.path("nobody"))
    eq(t.ok(config), ANSWER, "getpgid")


@test
def explain_names_the_calls_that_are_made(t):
    listener, trace = Listener(t), t.path("trace")
    where, container = t.bundle(asking(listener)), t.new_id()
    plan = json.loads(t.teca("explain", "--format", "json", "--bundle", where, expect=0).text)
    steps = {s["operation"]: s for s in plan["steps"]}
    eq(steps["seccomp-notify"]["operands"]["path"], listener.path, "the path in the plan")
    eq((steps["seccomp-notify"]["lane"], steps["seccomp-load"]["lane"]), ("runtime", "init"), "lanes")
    eq(steps["seccomp-notify"]["operands"]["listener"],
       steps["seccomp-load"]["operands"]["listener"], "the slot of the listener")
    t.call(["strace", "-f", "-y", "-o", trace, "-e", "trace=seccomp,pidfd_getfd,connect,sendmsg",
            *t.argv("run", "--bundle", where, container)])
    with open(trace, encoding="utf-8", errors="replace") as f:
        lines = [line.split(None, 1) for line in f]
    made = [(pid, text.split("(")[0]) for pid, text in lines if "(" in text and "resumed" not in text]
    order = [name for _, name in made]
    eq(order, ["seccomp", "pidfd_getfd", "connect", "sendmsg"], "calls")
    check(made[0][0] != made[1][0] and len({pid for pid, _ in made[1:]}) == 1,
          f"the load is init's, the rest the runtime's: {made}")
