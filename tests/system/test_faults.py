# SPDX-License-Identifier: Apache-2.0
"""Fault countdown: every system call of a start fails once, and is the last one once.

`inject` (inject.c) makes the n-th system call of one process of teca fail, or sends that process a
signal just before it. n counts up until the process makes no more calls; so every error path of a
start is walked, and whatever happens there is one sentence or success, and nothing stays.
"""
import contextlib
import errno
import fcntl
import json
import os
import re
import resource
import signal
import subprocess
import tempfile
import threading
import time

from harness import (HERE, allow, cases, check, children_of, contains, default, eq, fail, hierarchies,
                     is_alive, joined, lacks, minimal, mounts_of, private_mounts, reap, show, test,
                     umount, wait_until, with_user_namespace)

# Words that engines take for the error of the container's own program (engine-contract 1.6).
WORDS_OF_OTHERS = ("no such file or directory", "permission denied", "not permitted",
                   "executable file not found")
GREETING = ["/bin/echo", "hello"]
RUNTIME, INIT, LATER = 0, 1, 2
SYS_WRITE = 1


class Countdown:
    """One command of teca, again and again, with the fault one call further each time."""

    def __init__(self, t, config):
        self.t = t
        self.where = t.bundle(config)
        self.tool = t.path("inject")
        self.tops = [top for _, top, _ in hierarchies()]
        self.container = t.new_id()
        if os.uname().machine != "x86_64":
            t.skip("inject.c knows the registers of x86-64 only")
        subprocess.run([os.environ.get("CC", "cc"), "-std=gnu17", "-O1", "-Wall", "-Wextra",
                        "-Werror", "-o", self.tool, os.path.join(HERE, "inject.c")], check=True)

    def call(self, lane, count, fault, *args):
        """The result, and the number of the call that was hit; None: the process made fewer."""
        report = self.t.path("report")
        if os.path.exists(report):
            os.unlink(report)
        done = self.t.teca(command=[self.tool, report, str(lane), str(count), fault,
                                    *self.t.argv(*args)])
        if not os.path.exists(report):
            return done, None
        with open(report, encoding="ascii") as f:
            return done, int(f.read().split()[1])

    def each(self, lane, fault, *args, before=None, expect=0):
        """
        Yields (result, what) for every call of the lane, and at last (result, "") without any
        fault, whose exit status must be as expected. before: called before each time.
        """
        for count in range(1, 1000):
            if before:
                before()
            done, number = self.call(lane, count, fault, *args)
            if number is None:
                check(count > 1, f"lane {lane} made no call: nothing was tested")
                eq(done.status, expect, f"exit status without a fault ({show(done.error)})")
                yield done, ""
                return
            yield done, f"{args[0]}, lane {lane}, call {count} (number {number}) with {fault}"
        fail(f"lane {lane} never ends")

    def start_args(self, verb):
        return [verb, "--pid-file", self.t.path("pid"), "--bundle", self.where, self.container]

    def left(self):
        """What is left of the container; one of its processes, a zombie too, counts."""
        names = [os.path.join(self.t.state_root, self.container), self.t.path("pid")]
        names += [os.path.join(top, "teca-" + self.container) for top in self.tops]
        found = [n for n in names if os.path.lexists(n)]
        found += [f"process {pid} ({state})" for pid, state in children_of(os.getpid())]
        found += [f"mount {m['at']}" for m in mounts_of() if self.t.dir in m["at"]]
        found += [f"file {n}" for n in os.listdir(self.t.dir) if n.startswith("pid.")]
        return found

    def nothing_left(self, what, done):
        found = self.left()
        check(not found, f"{what}: left behind: {found}; exit status {done.status}, "
                         f"stderr {show(done.error)}")

    def removed_or_known(self, done, what):
        """
        What could not be removed, because that call was the one that failed, is still on record and
        goes by the next delete. The pid file of a run that had its process is the caller's.
        """
        if done.status == 1 and os.path.lexists(os.path.join(self.t.state_root, self.container)):
            self.delete(what)
        if done.text or done.status == 128 + signal.SIGKILL or done.status == 0:
            with contextlib.suppress(FileNotFoundError):
                os.unlink(self.t.path("pid"))

    def delete(self, what):
        """What a failed or killed command left goes by `delete --force`, all of it."""
        self.t.teca("delete", "--force", self.container, expect=0)
        for name in os.listdir(self.t.dir):  # it is the caller's, and need not go
            if name.startswith("pid"):
                os.unlink(self.t.path(name))

        def gone():
            reap()
            return not self.left()

        wait_until(gone, f"{what}: nothing left after delete --force: {self.left()}")


def is_one_sentence(done, what, number):
    if done.error == "" and f"(number {SYS_WRITE})" in what:
        return  # it was the sentence itself that could not be written
    check(re.fullmatch(r"teca: [^\n]{12,}\n", done.error),
          f"{what}: stderr is not one sentence: {show(done.error)}")
    if number in (errno.EIO, errno.ENOMEM):
        for words in WORDS_OF_OTHERS:
            check(words not in done.error.lower() or words in os.strerror(number).lower(),
                  f"{what}: the sentence tells of another error: {show(done.error)}")


def ended_well(done, what, number, output):
    """Success as if nothing had been, or exit status 1 and one sentence."""
    check(done.status in (0, 1), f"{what}: exit status {done.status}, stderr {show(done.error)}")
    if done.status == 0:
        check((done.text, done.error) == (output, ""),
              f"{what}: success, but stdout {done.text!r}, stderr {show(done.error)}")
    else:
        is_one_sentence(done, what, number)


def config_of(kind):
    if kind == "stage":
        config = joined(minimal(*GREETING), "time")
        config["linux"]["timeOffsets"] = {"boottime": {"secs": 1000}}
        return config
    if kind == "user":
        return with_user_namespace(minimal(*GREETING))
    return default(*GREETING)


# ---- a call that fails --------------------------------------------------------------------------

LANES = {"runtime": RUNTIME, "init": INIT}


@cases(**{f"{config}_{lane}_{name}": (config, number, error)
          for config, lanes, errors in (
              ("default", LANES, {"eio": errno.EIO, "eperm": errno.EPERM}),
              ("user", LANES, {"eio": errno.EIO}),
              ("stage", {"runtime": RUNTIME, "stage": INIT, "init": LATER}, {"eio": errno.EIO}))
          for lane, number in lanes.items()
          for name, error in errors.items()})
def a_call_of_run_that_fails_leaves_nothing(t, config, lane, error):
    countdown = Countdown(t, config_of(config))
    for done, what in countdown.each(lane, f"error={error}", *countdown.start_args("run")):
        ended_well(done, what, error, "hello\n")
        countdown.removed_or_known(done, what)
        countdown.nothing_left(what, done)


@cases(**LANES)
def a_call_of_create_that_fails_leaves_nothing(t, lane):
    countdown = Countdown(t, default(*GREETING))
    for done, what in countdown.each(lane, f"error={errno.EIO}", *countdown.start_args("create")):
        ended_well(done, what, errno.EIO, "")
        if done.status == 0:
            countdown.delete(what)
        countdown.removed_or_known(done, what)
        countdown.nothing_left(what, done)


def status_of(countdown):
    done = countdown.t.teca("state", countdown.container)
    if done.status == 0:
        return json.loads(done.text)["status"]
    check("does not exist" in done.error, f"state: {show(done.error)}")
    return "gone"


@test
def a_call_of_start_that_fails_is_told(t):
    countdown = Countdown(t, default("/payload", "catch", "15"))

    def created():
        countdown.t.teca(*countdown.start_args("create"), expect=0)

    for done, what in countdown.each(RUNTIME, f"error={errno.EIO}", "start", countdown.container,
                                     before=created):
        ended_well(done, what, errno.EIO, "ready\n" if done.text else "")
        status = status_of(countdown)
        check(done.status != 0 or status == "running", f"{what}: success, and it is {status}")
        check(status in ("created", "running"), f"{what}: it is {status} afterwards")
        countdown.delete(what)


@cases(state=("state",), kill=("kill",), list=("list", "--format", "json"),
       delete=("delete",), delete_force=("delete", "--force"))
def a_call_that_fails_is_never_taken_for_a_dead_container(t, *command):
    """A running container is not stopped, not gone and not deleted because a question failed."""
    countdown = Countdown(t, default("/payload", "catch", "15"))
    verb = command[0]

    def running():
        if status_of(countdown) == "gone":
            t.teca(*countdown.start_args("create"), expect=0)
            t.teca("start", countdown.container, expect=0)

    args = {"list": command, "kill": (verb, countdown.container, "0")}.get(
        verb, (*command, countdown.container))
    for done, what in countdown.each(RUNTIME, f"error={errno.EIO}", *args, before=running,
                                     expect=1 if command == ("delete",) else 0):
        status = status_of(countdown)
        if "--force" in command:
            check(done.status == 1 or status == "gone", f"{what}: success, and it is {status}")
            countdown.delete(what)
            continue
        check(status == "running", f"{what}: it is {status} afterwards")
        if done.status == 0 and verb in ("state", "list") and what:
            check("stopped" not in done.text and countdown.container in done.text + done.error,
                  f"{what}: the answer {show(done.text)}")
        if done.status:
            is_one_sentence(done, what, errno.EIO)
    countdown.delete("at the end")


# ---- a signal before every call -----------------------------------------------------------------

def every_moment(config):
    """The lanes in whose calls the moments of a start are counted."""
    return (RUNTIME, INIT, LATER) if config == "stage" else (RUNTIME, INIT)


@cases(default=("default", "run"), created=("default", "create"), user=("user", "run"),
       stage=("stage", "run"))
def a_sigterm_at_any_moment_undoes_everything(t, config, verb):
    countdown = Countdown(t, config_of(config))
    output = "hello\n" if verb == "run" else ""
    interrupted = 0
    for lane in every_moment(config):
        for done, what in countdown.each(lane, f"runtime-signal={signal.SIGTERM.value}",
                                         *countdown.start_args(verb)):
            if done.status == 128 + signal.SIGTERM:  # before it was blocked: nothing was made yet
                check(done.error == "", f"{what}: stderr {show(done.error)}")
            else:
                ended_well(done, what, None, output)
                interrupted += "interrupted by signal 15" in done.error
            if done.status == 0 and verb == "create":
                countdown.delete(what)
            countdown.removed_or_known(done, what)
            countdown.nothing_left(what, done)
    check(interrupted > 10, f"only {interrupted} starts were interrupted: nothing was tested")


@cases(default=("default", "run"), created=("default", "create"), user=("user", "run"),
       stage=("stage", "run"))
def a_runtime_killed_at_any_moment_leaves_what_delete_force_takes(t, config, verb):
    countdown = Countdown(t, config_of(config))
    for lane in every_moment(config):
        for done, what in countdown.each(lane, f"runtime-signal={signal.SIGKILL.value}",
                                         *countdown.start_args(verb)):
            if what:
                # 0: a create was through already when init waited for `start`.
                check(done.status in (0, 128 + signal.SIGKILL), f"{what}: exit status {done.status}")
                check(status_of(countdown) != "creating", f"{what}: nobody is creating it")
            countdown.delete(what)


@test(seconds=180)
def a_runtime_killed_before_it_looked_at_a_cgroup_kills_nobody_there(t):
    """
    The state names the cgroup before the start finds out that another's processes are in it. A kill
    in between leaves a record whose delete must not end them.
    """
    config = minimal(*GREETING)
    config["linux"]["cgroupsPath"] = f"/{t.token}-foreign"
    countdown = Countdown(t, config)
    leaf = os.path.join([top for _, top, v2 in hierarchies() if not v2][-1], f"{t.token}-foreign")
    os.mkdir(leaf)
    windows = 0

    def foreign_process():
        sleeper = subprocess.Popen(["sleep", "100"])
        with open(os.path.join(leaf, "cgroup.procs"), "w", encoding="ascii") as f:
            f.write(str(sleeper.pid))
        return sleeper

    sleeper = foreign_process()
    try:
        for done, what in countdown.each(RUNTIME, f"runtime-signal={signal.SIGKILL.value}",
                                         *countdown.start_args("create"), expect=1):
            if not what:
                contains(done.error, "container's cgroup is not empty", "stderr")
                break
            if t.teca("state", countdown.container).status:  # none yet, or a torn one
                t.teca("delete", "--force", countdown.container, expect=0)
                continue
            windows += 1
            t.teca("kill", "--all", countdown.container, "KILL")
            check(sleeper.poll() is None, f"{what}: kill --all killed a foreign process")
            if windows in (1, 12):  # it waits a second for its own
                done = t.teca("delete", "--force", countdown.container)
                eq(done.status, 1, f"{what}: exit status of delete --force")
                contains(done.error, f"cannot remove the cgroup '{leaf}'", "stderr")
                contains(done.error, "were not killed", "stderr")
                check(sleeper.poll() is None, f"{what}: delete killed a foreign process")
            sleeper.kill()
            sleeper.wait()
            t.teca("delete", "--force", countdown.container, expect=0)
            os.makedirs(leaf, exist_ok=True)
            sleeper = foreign_process()
        check(windows > 12, f"the state was there in {windows} moments: nothing was tested")
    finally:
        sleeper.kill()
        sleeper.wait()
        if os.path.isdir(leaf):
            os.rmdir(leaf)


@cases(default=("default",), user=("user",), stage=("stage",))
def an_init_killed_at_any_moment_is_told(t, config):
    countdown = Countdown(t, config_of(config))
    for lane in every_moment(config)[1:]:
        for done, what in countdown.each(lane, f"signal={signal.SIGKILL.value}",
                                         *countdown.start_args("run")):
            # After the word that the exec comes next, it is the program that was killed.
            if done.status == 128 + signal.SIGKILL:
                check(done.error == "", f"{what}: stderr {show(done.error)}")
            else:
                ended_well(done, what, None, "hello\n")
            countdown.removed_or_known(done, what)
            countdown.nothing_left(what, done)


# ---- what the host may lack ---------------------------------------------------------------------

@test
def with_any_number_of_fds_a_start_succeeds_or_is_told(t):
    countdown = Countdown(t, default(*GREETING))
    statuses = set()
    for limit in range(3, 70):
        def few_fds(limit=limit):
            resource.setrlimit(resource.RLIMIT_NOFILE, (limit, 4096))

        done = t.teca(*countdown.start_args("run"), preexec_fn=few_fds)
        what = f"run with {limit} file descriptors"
        ended_well(done, what, errno.EMFILE, "hello\n")
        countdown.removed_or_known(done, what)
        countdown.nothing_left(what, done)
        statuses.add(done.status)
    eq(statuses, {0, 1}, "exit statuses")


@test
def without_proc_no_container_is_taken_for_dead(t):
    container, pid = t.sleeper()

    def no_proc():
        private_mounts()
        umount("/proc")

    for verb in ("state", "delete", "start"):
        done = t.teca(verb, container, preexec_fn=no_proc)
        eq(done.status, 1, f"exit status of {verb} ({done.text})")
        contains(done.error, f"cannot tell whether process {pid} lives", "stderr")
        lacks(done.error.lower(), "no such file", "stderr")
    eq(t.state(container)["status"], "running", "status")


@test
def delete_force_does_not_wait_for_a_start_that_hangs(t):
    container = t.create(minimal("/payload", "catch", "15"))
    pid = t.pid(container)
    lock = os.open(os.path.join(t.state_root, container), os.O_RDONLY)
    fcntl.flock(lock, fcntl.LOCK_EX)  # as `start` has it until init executes the program
    deleting = t.popen("delete", "--force", container)
    wait_until(lambda: not is_alive(pid), "init was killed although the lock is held")
    eq(deleting.poll(), None, "delete waits for the lock")
    os.close(lock)
    eq(t.end_of(deleting), 0, "exit status of delete")


@test
def run_forwards_every_real_time_signal(t):
    for number in (34, 35, 64):  # musl keeps 34 to itself, and 34 is SIGRTMIN to the rest
        p = t.popen("run", "--bundle", t.bundle(minimal("/payload", "catch", str(number))),
                    t.new_id())
        eq(t.read_line(p), "ready", "the program")
        p.send_signal(number)
        eq(t.read_line(p), str(number), "what the program caught")
        eq(t.end_of(p), 0, "exit status of run")


@cases(one_string=(1, 200000), all_together=(700, 10000))
def a_limit_of_the_kernel_on_the_environment_is_named(t, count, size):
    config = minimal()
    config["process"]["env"] = [f"V{i}={'x' * size}" for i in range(count)]
    done = t.refused(config, "/process/args", "Argument list too long", "128 KiB", "RLIMIT_STACK")
    lacks(done.error.lower(), "no such file", "stderr")


# ---- two at once --------------------------------------------------------------------------------

@cases(plain=("delete",), force=("delete", "--force"))
def a_create_beside_deletes_gives_a_whole_container_or_none(t, *command):
    where, container = t.bundle(minimal("/payload", "catch", "15")), t.new_id()
    made, rounds, stop = 0, 0, threading.Event()

    def delete():
        while not stop.is_set():
            subprocess.run(t.argv(*command, container), capture_output=True, check=False)

    deleting = threading.Thread(target=delete)
    deleting.start()
    try:
        while rounds < 60 or (not made and rounds < 2000):
            rounds += 1
            done = t.teca("create", "--bundle", where, container)
            check(done.status in (0, 1), f"exit status of create {done.status}")
            if done.status:
                is_one_sentence(done, "create", None)
            made += done.status == 0
    finally:
        stop.set()
        deleting.join()
    check(made, "no create succeeded: nothing was tested")
    done = t.teca("state", container)
    if done.status == 0:  # of the last create: the deletes ended before it
        eq(json.loads(done.text)["status"], "created", "status")
        t.teca("start", container, expect=0)
    t.teca("delete", "--force", container, expect=0)
    t.nothing_of(container)


@test
def a_storm_of_verbs_on_one_id_leaves_nothing(t):
    where, container, end = t.bundle(minimal("/payload", "catch", "15")), t.new_id(), time.monotonic() + 6
    made, wrong = [], []

    def repeat(*command):
        while time.monotonic() < end:
            with tempfile.TemporaryFile() as said:  # no pipe: a container keeps its stderr
                done = subprocess.run(t.argv(*command, container), stdin=subprocess.DEVNULL,
                                      stdout=subprocess.DEVNULL, stderr=said, check=False)
                said.seek(0)
                text = said.read()
            if done.returncode == 0:
                made.append(command[0])
            elif done.returncode != 1 or text.count(b"\n") != 1:
                wrong.append((command, done.returncode, text))

    create, delete = ("create", "--bundle", where), ("delete", "--force")
    storm = [threading.Thread(target=repeat, args=command) for command in (
        create, create, delete, delete, ("run", "--detach", "--bundle", where), ("start",))]
    for each in storm:
        each.start()
    for each in storm:
        each.join()
    eq(wrong, [], "ends other than success and one sentence")
    check("create" in made and "run" in made, f"nothing was made: {set(made)}")
    t.teca("delete", "--force", container, expect=0)
    t.nothing_of(container)


def holds(pid, path):
    """Does the process have an fd of that file?"""
    with contextlib.suppress(OSError):
        return any(os.readlink(fd.path) == path for fd in os.scandir(f"/proc/{pid}/fd"))
    return False


@test
def a_start_whose_init_is_killed_before_it_is_released_ends_with_a_sentence(t):
    container = t.create(minimal("/payload", "catch", "15"))
    pipe = os.path.join(t.state_root, container, "start")
    # strace holds teca between its second open of the FIFO, the first asks only who reads, and the write
    start = subprocess.Popen(["strace", "-qq", "-o", "/dev/null", "-P", pipe, "-e", "trace=openat",
                              "-e", "inject=openat:delay_exit=2000000:when=2", *t.argv("start", container)],
                             stderr=subprocess.PIPE)
    wait_until(lambda: any(holds(pid, pipe) for pid, _ in children_of(start.pid)), "start has the FIFO")
    t.teca("delete", "--force", container, expect=0)
    said = start.communicate(timeout=allow(60))[1]
    eq(start.returncode, 1, "exit status of start")
    contains(said, b"cannot start a container that has stopped", "stderr")


@test
def a_run_that_is_deleted_leaves_a_new_container_of_its_name_alone(t):
    where, container = t.bundle(default("/payload", "catch", "15")), t.new_id()
    for _ in range(15):
        running = t.popen("run", "--bundle", where, container)
        eq(t.read_line(running), "ready", "the program")
        t.teca("delete", "--force", container, expect=0)
        t.teca("create", "--bundle", where, container, expect=0)
        eq(t.end_of(running), 128 + signal.SIGKILL, "exit status of run")
        eq(t.state(container)["status"], "created", "status of the new container")
        check(os.path.isdir(os.path.join(hierarchies()[0][1], "teca-" + container)), "its cgroup")
        t.teca("delete", "--force", container, expect=0)


@test
def a_start_that_comes_while_init_executes_its_program_does_not_hang(t):
    container = t.create(minimal("/payload", "catch", "15"))
    # As the kernel has it for a moment: the one FIFO still has its reader, the other has ended.
    reader = os.open(os.path.join(t.state_root, container, "start"), os.O_RDONLY | os.O_NONBLOCK)
    t.teca("start", container, expect=0)
    done = t.teca("start", container)
    os.close(reader)
    eq(done.status, 1, "exit status of the second start")
    contains(done.error, "cannot start an already running container", "stderr")
