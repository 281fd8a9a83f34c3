# SPDX-License-Identifier: Apache-2.0
"""exec: one more process in a container. What it is in, what it may do, how it ends and fails."""
import contextlib
import json
import os
import signal
import time

import test_explain
from harness import (Failure, capabilities, cases, check, contains, default, eq, hierarchies,
                     is_alive, lacks, joined, minimal, only_cgroup2, ready_hierarchies, row,
                     stat_fields, test, wait_until, with_user_namespace, without)


def report(t, container, *flags, **more):
    done = t.teca("exec", *flags, container, "/payload", "report", expect=0, **more)
    eq(done.error, "", "stderr of an exec that succeeds")
    return json.loads(done.text)


def process_file(t, *args, **members):
    process = {"cwd": "/", "args": list(args), "user": {"uid": 0, "gid": 0},
               "env": ["PATH=/bin"]} | members
    return t.file(f"process{t.count}", json.dumps(process))


@contextlib.contextmanager
def detached(t, container, *flags):
    """
    A process that was executed with --detach; gives its pid. An engine reaps it: until then the
    init of its pid namespace cannot end (pid_namespaces(7)).
    """
    file = t.path(f"pid{t.count}")
    t.teca("exec", "--detach", "--pid-file", file, *flags, container, "/payload", "catch", "15",
           expect=0)
    with open(file, encoding="ascii") as f:
        text = f.read()
    check(text.isdigit(), f"the pid file holds {text!r}")
    try:
        yield int(text)
    finally:
        os.kill(int(text), signal.SIGKILL)
        os.waitpid(int(text), 0)


def namespaces_of(pid):
    names = ("cgroup", "ipc", "mnt", "net", "pid", "time", "user", "uts")
    return {n: os.readlink(f"/proc/{pid}/ns/{n}") for n in names}


def cgroups_of(pid):
    with open(f"/proc/{pid}/cgroup", encoding="ascii") as f:
        return sorted(f.read().splitlines())


def refused(t, *args, status=255, parts=()):
    done = t.teca("exec", *args)
    eq(done.status, status, f"exit status of an exec that must fail ({done.error})")
    contains(done.error, "teca: exec failed: ", "stderr")
    eq(done.error.count("\n"), 1, f"lines of {done.error!r}")
    for part in parts:
        contains(done.error, part, "stderr")
    return done


def write(path, text):
    with open(path, "w", encoding="ascii") as f:
        f.write(text)


@contextlib.contextmanager
def controller_given_on(cgroup, name):
    """The children of the cgroup have this controller; then no process may be in it but at the root."""
    with open(f"{cgroup}/cgroup.subtree_control", encoding="ascii") as f:
        had = name in f.read().split()
    write(f"{cgroup}/cgroup.subtree_control", f"+{name}")
    try:
        yield
    finally:
        if not had:
            write(f"{cgroup}/cgroup.subtree_control", f"-{name}")


def all_namespaces():
    config = minimal()
    for kind in ("network", "cgroup", "time"):
        config = joined(config, kind)
    return config


# ---- where it is ------------------------------------------------------------------------------

@cases(ordinary=minimal(), all_but_user=all_namespaces(), user=with_user_namespace(minimal()),
       user_and_all=with_user_namespace(all_namespaces()),
       without_pid=without(minimal(), "pid"), default=default())
def the_process_is_in_the_namespaces_and_cgroups_of_init(t, config):
    container, pid = t.sleeper(config)
    with detached(t, container) as other:
        check(other != pid, "the process is init itself")
        eq(namespaces_of(other), namespaces_of(pid), "namespaces")
        eq(cgroups_of(other), cgroups_of(pid), "cgroups")
        for name in ("root", "cwd"):
            one, two = os.stat(f"/proc/{other}/{name}"), os.stat(f"/proc/{pid}/{name}")
            eq((one.st_dev, one.st_ino), (two.st_dev, two.st_ino), name)


@test
def on_cgroup_v2_alone_too(t):
    only_cgroup2()
    container, pid = t.sleeper(joined(minimal(), "cgroup"))
    with detached(t, container) as other:
        eq(cgroups_of(other), cgroups_of(pid), "cgroups")


@test
def a_container_that_gave_its_controllers_on_is_entered_where_init_is(t):
    root = next(at for _, at, v2 in hierarchies() if v2)
    with open(f"{root}/cgroup.controllers", encoding="ascii") as f:
        controllers = f.read().split()
    if not controllers:
        t.skip("cgroup v1 has every controller of this machine")
    with controller_given_on(root, controllers[0]):
        container, pid = t.sleeper()
        top = root + next(x for x in cgroups_of(pid) if x.startswith("0::"))[3:]
        os.mkdir(f"{top}/inner")
        write(f"{top}/inner/cgroup.procs", str(pid))
        with controller_given_on(top, controllers[0]):
            with detached(t, container) as other:
                eq(cgroups_of(other), cgroups_of(pid), "cgroups")
                contains(" ".join(cgroups_of(other)), "/inner", "cgroups")


@test
def a_cgroup_below_the_containers_is_entered_with_cgroup(t):
    container, pid = t.sleeper()
    lines = dict(x.split(":", 2)[1:] for x in cgroups_of(pid))
    names, top, v2 = min(ready_hierarchies(), key=lambda h: h[2])  # v1 where there is one
    key = "" if v2 else names
    os.mkdir(f"{top}{lines[key]}/sub")
    with detached(t, container, "--cgroup", "sub" if v2 else f"{names.split(',')[0]}:sub") as other:
        there = dict(x.split(":", 2)[1:] for x in cgroups_of(other))
        eq(there, lines | {key: lines[key] + "/sub"}, "cgroups")
    refused(t, "--cgroup", "a/../../x", container, "/bin/true", parts=["bad sub cgroup path"])
    refused(t, "--cgroup", "nowhere", container, "/bin/true", parts=["nowhere"])


@test
def the_process_sees_the_containers_files_and_is_no_child_of_its_init(t):
    config = minimal()
    config["hostname"] = "inside"
    container, _ = t.sleeper(config)
    got = report(t, container)
    eq(t.teca("exec", container, "hostname", expect=0).text, "inside\n", "hostname")
    eq(got["ppid"], 0, "parent")
    eq(got["pid"], got["sid"], "session")
    eq(sorted(got["fds"]), ["0", "1", "2"], "open fds")
    contains(t.teca("exec", container, "ls", "/", expect=0).text, "payload\n", "files")


@test
def no_descriptor_of_the_caller_reaches_the_process(t):
    container, _ = t.sleeper()
    fd = os.open("/", os.O_RDONLY)
    os.set_inheritable(fd, True)
    got = report(t, container, pass_fds=[fd])
    eq(sorted(got["fds"]), ["0", "1", "2"], "open fds")
    done = refused(t, "--cwd", f"/proc/self/fd/{fd}", container, "/bin/true", parts=["/process/cwd"])
    contains(done.error, "chdir to cwd", "stderr")


# ---- what it may do -----------------------------------------------------------------------------

@test
def without_process_it_is_the_containers_own_with_other_arguments(t):
    config = minimal(user={"uid": 1000, "gid": 1001, "umask": 0o27, "additionalGids": [7]},
                     env=["PATH=/bin", "A=1"], cwd="/tmp", noNewPrivileges=True,
                     capabilities=capabilities("CAP_KILL"), oomScoreAdj=123,
                     rlimits=[{"type": "RLIMIT_NOFILE", "soft": 100, "hard": 200}])
    container, _ = t.sleeper(config)
    got = report(t, container)
    expect = t.report(config)
    for key in ("uids", "gids", "groups", "umask", "cwd", "rlimits"):
        eq(got[key], expect[key], key)
    for key in ("CapInh", "CapPrm", "CapEff", "CapBnd", "CapAmb", "NoNewPrivs", "Seccomp"):
        eq(got["status"][key], expect["status"][key], key)
    eq(got["env"], ["PATH=/bin", "A=1", "HOME=/home"], "environment")
    text = t.teca("exec", container, "cat", "/proc/self/oom_score_adj", expect=0).text
    eq(text, "123\n", "oom_score_adj")


@test
def flags_change_the_containers_process(t):
    config = minimal(user={"uid": 1000, "gid": 1001}, capabilities=capabilities("CAP_KILL"))
    container, _ = t.sleeper(config)
    got = report(t, container, "--cwd", "/tmp", "--env", "B=2", "-e", "C=a,b=c", "--user", "0:6",
                 "-g", "8", "--additional-gids=9", "--no-new-privs", "--cap", "CAP_CHOWN")
    eq((got["uids"], got["gids"], got["groups"]), ([0] * 3, [6] * 3, [8, 9]), "ids")
    eq(got["env"][-3:], ["B=2", "C=a,b=c", "HOME=/root"], "environment")
    eq(got["cwd"], "/tmp", "working directory")
    eq(got["status"]["NoNewPrivs"], "1", "no_new_privs")
    for key in ("CapPrm", "CapEff", "CapBnd"):
        eq(int(got["status"][key], 16), 1 << 5 | 1, key)
    eq(report(t, container, "--user", "5")["gids"], [1001] * 3, "gid of --user UID")


@test
def a_process_file_says_everything_and_may_leave_out_what_the_container_has(t):
    config = minimal(user={"uid": 0, "gid": 0, "umask": 0o77}, noNewPrivileges=True,
                     capabilities=capabilities("CAP_KILL"),
                     rlimits=[{"type": "RLIMIT_NOFILE", "soft": 100, "hard": 200}])
    container, _ = t.sleeper(config)
    file = process_file(t, "/payload", "report", cwd="/tmp", env=["X=1"])
    got = json.loads(t.teca("exec", "--process", file, "--user", "77", container, expect=0).text)
    eq((got["env"], got["cwd"], got["uids"]), (["X=1", "HOME=/root"], "/tmp", [0, 0, 0]), "the file's word")
    eq((got["umask"], got["rlimits"]["RLIMIT_NOFILE"]), (0o77, [100, 200]), "the container's")
    eq(int(got["status"]["CapEff"], 16), 1 << 5, "capabilities")
    eq(got["status"]["NoNewPrivs"], "0", "no_new_privs is the file's word")
    file = process_file(t, "/payload", "report", user={"uid": 3, "gid": 4, "umask": 0o22},
                        capabilities=capabilities("CAP_CHOWN"))
    got = json.loads(t.teca("exec", "-p", file, container, expect=0).text)
    eq((got["uids"], got["gids"], got["umask"]), ([3] * 3, [4] * 3, 0o22), "ids")


@cases(no_new_privileges=True, with_privileges=False)
def the_filter_of_the_container_holds(t, no_new_privileges):
    config = minimal(noNewPrivileges=no_new_privileges,
                     capabilities=capabilities("CAP_SYS_ADMIN"))
    config["linux"]["seccomp"] = {
        "defaultAction": "SCMP_ACT_ALLOW",
        "syscalls": [{"names": ["getpriority"], "action": "SCMP_ACT_ERRNO", "errnoRet": 77}]}
    container, _ = t.sleeper(config)
    done = t.teca("exec", container, "/payload", "call", "getpriority", "0", "0", expect=0)
    eq(done.text, "-1 EBADFD\n", "getpriority")


@cases(initial=({"initial": "1"}, "1"), final=({"initial": "0", "final": "1"}, "1"),
       only_final=({"final": "0"}, "0"))
@row("PRC-17")
def the_cpus_are_those_of_exec_cpu_affinity(t, affinity, expect):
    if os.sched_getaffinity(0) != {0, 1}:
        t.skip("not two CPUs")
    container, pid = t.sleeper(minimal(execCPUAffinity={"initial": "0"}))
    eq(os.sched_getaffinity(pid), {0, 1}, "CPUs of init, which it says nothing of")
    eq(report(t, container)["status"]["Cpus_allowed_list"], "0", "of the container's process")
    file = process_file(t, "/payload", "report", execCPUAffinity=affinity)
    got = json.loads(t.teca("exec", "-p", file, container, expect=0).text)
    eq(got["status"]["Cpus_allowed_list"], expect, "of the file's process")


@test
def a_later_config_json_does_not_matter(t):
    config = minimal("/payload", "catch", "15", env=["PATH=/bin", "WORD=old"])
    container = t.new_id()
    where = t.bundle(config)
    t.teca("create", "--bundle", where, container, expect=0)
    t.teca("start", container, expect=0)
    os.unlink(os.path.join(where, "config.json"))
    contains(t.teca("exec", container, "env", expect=0).text, "WORD=old", "environment")


# ---- how it ends --------------------------------------------------------------------------------

@cases(zero=0, seven=7, two_hundred_and_fifty_five=255)
def in_the_foreground_the_status_is_the_commands(t, status):
    container, _ = t.sleeper()
    eq(t.teca("exec", container, "/payload", "exit", str(status)).status, status, "exit status")


@test
def a_death_by_signal_gives_128_plus_its_number(t):
    container, _ = t.sleeper()
    eq(t.teca("exec", container, "/payload", "raise", "9").status, 137, "exit status")


@test
def many_short_commands_each_come_to_an_end(t):
    container, _ = t.sleeper()
    for _ in range(100):
        eq(t.teca("exec", container, "/bin/true").status, 0, "exit status")


@test
def standard_streams_are_the_callers(t):
    container, _ = t.sleeper()
    done = t.teca("exec", container, "sh", "-c", "cat; echo err >&2", stdin=b"in\n", expect=0)
    eq((done.text, done.error), ("in\n", "err\n"), "streams")


@cases(stdin=[0], stdin_and_stdout=[0, 1], all_three=[0, 1, 2])
def a_closed_standard_stream_is_no_file_of_the_runtime(t, closed):
    root = t.own_root()
    os.chmod(f"{root}/tmp", 0o777)
    config = minimal()
    config["root"]["readonly"] = False
    container, _ = t.sleeper(config, rootfs=root)
    t.teca("exec", container, "sh", "-c", "ls -l /proc/self/fd/ >/tmp/fds", expect=0,
           preexec_fn=lambda: [os.close(fd) for fd in closed])
    text = t.teca("exec", container, "cat", "/tmp/fds", expect=0).text
    for fd in closed:
        if fd != 1:  # ls has it on /tmp/fds
            contains(text, f" {fd} -> /dev/null", "the descriptors of the process")
    lacks(text, "state", "the descriptors of the process")


@test
def signals_go_to_the_process(t):
    container, pid = t.sleeper()
    process = t.popen("exec", container, "/payload", "catch", "15")
    eq(t.read_line(process), "ready", "the command")
    process.send_signal(signal.SIGUSR1)
    eq(t.read_line(process), "10", "SIGUSR1")
    process.send_signal(signal.SIGTERM)
    eq(t.read_line(process), "15", "SIGTERM")
    eq(t.end_of(process), 0, "exit status")
    check(is_alive(pid), "init has ended")


@test
def detached_it_belongs_to_the_caller_and_ends_with_the_container(t):
    container, pid = t.sleeper()
    with detached(t, container) as other:
        eq(int(stat_fields(other)[1]), os.getpid(), "parent")
        os.kill(pid, signal.SIGKILL)
        wait_until(lambda: not is_alive(other), "the end of the process")
        check(stat_fields(other)[0] == "Z", "somebody else has waited for it")


@test
def the_pid_file_is_written_also_when_the_process_has_ended(t):
    container, _ = t.sleeper()
    file = t.path("pid")
    eq(t.teca("exec", "--pid-file", file, container, "/payload", "exit", "3").status, 3, "status")
    check(open(file, encoding="ascii").read().isdigit(), "the pid file")


@test
def after_delete_of_a_container_that_ended_nothing_is_left_of_the_process(t):
    container, pid = t.sleeper(without(minimal(), "pid"))
    with detached(t, container) as other:
        t.teca("delete", "--force", container, expect=0)
        check(not is_alive(other), "the process still runs")


# ---- how it fails -------------------------------------------------------------------------------

FAILURES = {
    "unknown_name": ("nope", 'process: exec: "nope": executable file not found in $PATH'),
    "unknown_path": ("/bin/nope", 'exec: "/bin/nope": stat /bin/nope: no such file or directory'),
    "directory": ("/etc", 'exec: "/etc": is a directory'),
}


@cases(**FAILURES)
def a_program_that_cannot_be_executed_is_told_and_leaves_no_pid_file(t, program, text):
    container, _ = t.sleeper()
    for flags in ((), ("--detach",)):
        file = t.path("pid")
        refused(t, *flags, "--pid-file", file, container, program,
                parts=["exec failed: unable to start container process: ", text])
        check(not os.path.exists(file), "there is a pid file")


@test
def a_container_that_has_stopped_or_is_none_is_refused(t):
    container, pid = t.sleeper()
    t.teca("kill", container, "KILL", expect=0)
    wait_until(lambda: not is_alive(pid), "the end of init")
    refused(t, container, "/bin/true", parts=["cannot exec in a stopped container"])
    refused(t, "nobody", "/bin/true", parts=["container does not exist"])


@test
def a_created_container_is_entered(t):
    container = t.create(minimal())
    eq(t.teca("exec", container, "echo", "hello", expect=0).text, "hello\n", "stdout")
    eq(t.state(container)["status"], "created", "status")


@cases(label=("--process-label=a", "/process/selinuxLabel", "/sys/fs/selinux/enforce"),
       apparmor=("--apparmor=a", "/process/apparmorProfile", "/sys/module/apparmor"))
def a_label_that_the_host_cannot_give_is_refused(t, flag, pointer, sign):
    if os.path.exists(sign):
        t.skip(f"this host has {sign}")
    container, _ = t.sleeper()
    refused(t, flag, container, "/bin/true", parts=[pointer, "is not enabled on this host", "'a'"])


@cases(user=("--user=root", "--user"), gid=("-g=x", "--additional-gids"), env=("--env=A", "--env"),
       cap=("--cap=KILL", "unknown capability"), cwd=("--cwd=tmp", "absolute path"))
def a_flag_with_a_bad_value_is_refused(t, flag, part):
    container, _ = t.sleeper()
    refused(t, flag, container, "/bin/true", parts=[part])


@test
def a_process_file_with_a_fault_is_refused_by_its_field(t):
    container, _ = t.sleeper()
    for members, part in (({"cwd": ""}, "/process/cwd: Cwd property must not be empty"),
                          ({"args": []}, "/process/args"), ({"cwd": 7}, "/process/cwd"),
                          ({"terminal": True}, "/process/terminal: a terminal needs")):
        refused(t, "--process", process_file(t, "/bin/true", **members), container, parts=[part])
    refused(t, "--process", t.file("torn", "{"), container, parts=["the process file"])
    refused(t, "--process", t.path("none"), container, parts=["none"])
    refused(t, container, parts=["no command given"])


@test
def a_missing_working_directory_is_not_made(t):
    container, _ = t.sleeper(rootfs=t.own_root(), config=minimal() | {"root": {"path": "rootfs"}})
    refused(t, "--cwd", "/tmp/none", container, "/bin/true", parts=["/process/cwd"])
    eq(t.teca("exec", container, "ls", "/tmp", expect=0).text, "", "/tmp")


@test
def words_behind_the_id_belong_to_the_command(t):
    container, _ = t.sleeper()
    eq(t.teca("exec", container, "echo", "--user", "-x", expect=0).text, "--user -x\n", "stdout")
    eq(t.teca("exec", "--", container, "echo", "a", expect=0).text, "a\n", "stdout")
    eq(t.teca("exec", container, "--", "echo", "--", expect=0).text, "--\n", "stdout")


@test
def an_interrupted_exec_leaves_no_process(t):
    container, _ = t.sleeper()
    t.teca("pause", container, expect=0)
    process = t.popen("exec", "--ignore-paused", container, "/payload", "catch", "15")
    wait_until(lambda: len(json.loads(t.teca("ps", "-f", "json", container).text)) == 2,
               "the process is in the container's cgroup")
    process.send_signal(signal.SIGTERM)
    time.sleep(0.3)
    t.teca("resume", container, expect=0)
    check(t.end_of(process) != 0, "the status of an interrupted exec")
    pids = json.loads(t.teca("ps", "-f", "json", container, expect=0).text)
    eq(pids, [t.pid(container)], "processes of the container")


# ---- the plan -------------------------------------------------------------------------------------

def lanes_of(traced):
    """The traces of runtime, stage and init: who enters, and who executes the command."""
    by = {"runtime": test_explain.after_seal(traced.pop(min(traced)))}
    for events in traced.values():
        executed = [e for e in events if e.name == "execve" and not e.failed]
        by["init" if executed else "stage"] = (test_explain.up_to_exec(events) if executed
                                               else events)
    return by


CLAIMS = {
    "ns-enter": lambda lane, o: eq(lane.take("setns").flags(1), set(o["flags"]), "flags of setns"),
    "executed": lambda lane, o: None,  # a wait
    "cwd": test_explain.called("fchdir"),
    "cpu-affinity": test_explain.called("sched_setaffinity"),
    "clone": lambda lane, o: lane.take("clone3"),
}


def compare_exec(t, container, *flags):
    """explain --exec of /bin/true against strace of the exec."""
    plan = json.loads(t.teca("explain", "--exec", "--format=json", *flags, container, "/bin/true",
                             expect=0).text)
    command, prefix = test_explain.strace(t, "exec", *flags, container, "/bin/true")
    command = [c + ",sched_setaffinity" if c.startswith("trace=") else c for c in command]
    eq(t.call(command).status, 0, "exit status under strace")
    events = lanes_of(test_explain.traces(prefix))
    eq(set(events), {s["lane"] for s in plan["steps"]}, "lanes")
    lanes = {name: test_explain.Lane(name, list(e)) for name, e in events.items()}
    for s in plan["steps"]:
        claim = CLAIMS.get(s["operation"]) or test_explain.CLAIMS[s["operation"]]
        try:
            claim(lanes[s["lane"]], s["operands"])
        except Failure as e:
            raise Failure(f"step {s['step']} ({s['lane']} {s['operation']}): {e}")
    for lane in lanes.values():
        i = lane.next_strict()
        check(i == len(lane.events), f"not in the plan: {lane.name} {lane.events[i:i + 1]}")


@cases(ordinary=minimal(), default=default(), user=with_user_namespace(minimal(cwd="/tmp")),
       filtered=minimal(noNewPrivileges=True,
                        execCPUAffinity={"initial": "0", "final": str(os.cpu_count() - 1)}),
       without_pid=without(minimal(), "pid"))
def the_plan_that_explain_prints_is_what_strace_sees(t, config):
    container, _ = t.sleeper(config)
    compare_exec(t, container)


@test
def explain_of_an_exec_refuses_what_exec_refuses_and_changes_nothing(t):
    container, _ = t.sleeper()
    done = t.teca("explain", "--exec", container, "--", "/bin/ls", "-l", expect=0)
    contains(done.text, "ns-enter", "the plan")
    contains(t.teca("explain", "--exec", "nobody", "x", expect=1).error, "does not exist", "stderr")
    contains(t.teca("explain", "--exec", container, expect=1).error, "a command", "stderr")
    contains(t.teca("explain", container, "x", expect=1).error, "only with --exec", "stderr")
    eq(len(json.loads(t.teca("ps", "-f", "json", container, expect=0).text)), 1, "processes")


# ---- an ordinary user -----------------------------------------------------------------------------

def become_user():
    os.setgroups([])
    os.setresgid(1000, 1000, 1000)
    os.setresuid(1000, 1000, 1000)


@test
def an_ordinary_user_enters_a_container_of_its_own(t):
    home = t.path("xdg")
    os.mkdir(home, 0o700)
    os.chown(home, 1000, 1000)
    config = with_user_namespace(minimal("/payload", "catch", "15"), 1000, 1)
    where, container = t.bundle(config), t.new_id()
    more = {"preexec_fn": become_user, "cwd": "/", "env": os.environ | {"XDG_RUNTIME_DIR": home}}

    def teca(*args):
        return t.teca(command=[t.binary, *args], expect=0, **more)

    teca("create", "--bundle", where, container)
    teca("start", container)
    got = json.loads(teca("exec", container, "/payload", "report").text)
    eq((got["uids"], got["uid_map"].split()), ([0, 0, 0], ["0", "1000", "1"]), "who it is")
    eq(len(json.loads(teca("ps", "-f", "json", container).text)), 1, "processes")
    teca("delete", "--force", container)


# ---- self-protection ------------------------------------------------------------------------------

@test
def the_runtime_cannot_be_written_through_the_process(t):
    """CVE-2019-5736: the program named is /proc/self/exe, the runtime's own binary."""
    container, _ = t.sleeper()
    before = os.stat(t.binary).st_mtime_ns
    process = t.popen("exec", container, "sh", "-c",
                      "for p in /proc/[0-9]*; do echo x >>$p/exe; done 2>/dev/null; echo done")
    eq(t.read_line(process), "done", "the command")
    t.teca("exec", container, "/proc/self/exe", "--version")
    eq(os.stat(t.binary).st_mtime_ns, before, "the runtime's binary was written to")


@test
def the_runtimes_binary_lies_on_a_read_only_mount_while_it_enters(t):
    container, _ = t.sleeper()
    text = t.teca("exec", container, "/proc/self/exe", "--version").text
    contains(text, "teca version", "the runtime run by the container")
    done = t.teca("exec", container, "/bin/sh", "-c", "exec 3>>/proc/self/exe")
    check(done.status != 0, "the shell opened its own running binary for writing")
