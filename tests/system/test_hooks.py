# SPDX-License-Identifier: Apache-2.0
"""hooks: all six kinds: who runs them where and when, what they get, and what their failure undoes."""
import json
import os
import shutil
import signal

import time

from harness import (
    allow,
    cases,
    check,
    contains,
    default,
    eq,
    is_alive,
    joined,
    lacks,
    minimal,
    row,
    test,
    wait_until,
    with_mount,
    with_user_namespace)

KINDS = ("prestart", "createRuntime", "createContainer", "startContainer", "poststart", "poststop")
CREATE = KINDS[:3]
STATUS = dict(zip(KINDS, ("creating", "creating", "creating", "created", "running", "stopped")))
HOST_PATH = "PATH=/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin"


def shell(text, **more):
    """A hook that is a line of sh."""
    return {"path": "/bin/sh", "args": ["sh", "-c", text], "env": [HOST_PATH]} | more


def with_hooks(config, **lists):
    config["hooks"] = {k: v if isinstance(v, list) else [v] for k, v in lists.items()}
    return config


def recording(t, config, *kinds):
    """
    Each hook of these kinds writes its state to out/KIND and its name to out/order. The directory is
    where the host has it, in the container too.
    """
    out = t.path("out")
    os.makedirs(out, exist_ok=True)
    os.chmod(out, 0o777)
    config = with_mount(config, "/mnt/a", "bind", out, "bind")
    hooks = {}
    for kind in kinds or KINDS:
        where = "/mnt/a" if kind == "startContainer" else out
        hooks[kind] = shell(f"umask 0; cat >{where}/{kind}; echo {kind} >>{where}/order; "
                            f"for n in mnt pid; do readlink /proc/self/ns/$n; done >{where}/{kind}.ns")
    return with_hooks(config, **hooks)


def order(t):
    where = t.path("out/order")
    return open(where, encoding="ascii").read().split() if os.path.exists(where) else []


def state_of(t, kind):
    with open(t.path("out", kind), encoding="utf-8") as f:
        return json.load(f)


def namespaces_of(t, kind):
    with open(t.path("out", kind + ".ns"), encoding="ascii") as f:
        return f.read().split()


# ---- order, place, state ------------------------------------------------------------------------


@cases(minimal=minimal, default=default)
@row("HK-1", "HK-4", "HK-5", "HK-6", "HK-7", "HK-8", "HK-9")
def all_six_kinds_run_in_order(t, make):
    """HK-2, HK-4 to HK-9."""
    config = recording(t, make("/bin/sh", "-c", "echo program >>/mnt/a/order"))
    if make is default:
        config["root"]["readonly"] = True
    config["annotations"] = {"org.example": "a \"quoted\" \u00e9"}
    t.ok(config)
    found = order(t)
    # The program and poststart run beside each other.
    eq([k for k in found if k != "program"], list(KINDS), "order of the hooks")
    check(found.index("program") > found.index("startContainer"), f"the program ran before: {found}")


@test
@row("HK-3", "HK-10", "RT-4")
def the_state_comes_on_stdin_with_the_pid_that_the_hooks_namespace_counts(t):
    """HK-3, HK-10, RT-2 to RT-5."""
    config = recording(t, minimal("/payload", "catch", "15"))
    config["annotations"] = {"org.example": "a \"quoted\" \u00e9"}
    container = t.new_id()
    where = t.bundle(config)
    t.teca("create", "--bundle", where, container, expect=0)
    pid = t.pid(container)
    t.teca("start", container, expect=0)
    shutil.rmtree(where)  # an engine may have removed it by then
    t.teca("delete", "--force", container, expect=0)
    eq(order(t), list(KINDS), "order of the hooks")
    for kind in KINDS:
        wanted = {"ociVersion": config["ociVersion"], "id": container, "status": STATUS[kind],
                  "bundle": os.path.realpath(where), "annotations": config["annotations"]}
        if kind != "poststop":
            wanted["pid"] = 1 if kind in ("createContainer", "startContainer") else pid
        eq(state_of(t, kind), wanted, f"state that {kind} read")


@test
@row("HK-10")
def without_a_pid_namespace_every_hook_gets_the_same_pid(t):
    config = recording(t, minimal("/payload", "catch", "15"))
    config["linux"]["namespaces"] = [{"type": "mount"}]
    container = t.create(config, start=True)
    pid = t.pid(container)
    for kind in KINDS[:5]:
        eq(state_of(t, kind)["pid"], pid, f"pid that {kind} read")


@test
@row("HK-4", "HK-5", "HK-6", "HK-7", "HK-8", "HK-9")
def each_kind_runs_in_the_namespaces_the_spec_names(t):
    """HK-4 to HK-9."""
    config = recording(t, minimal("/payload", "catch", "15"))
    container = t.create(config, start=True)
    inside = [os.readlink(f"/proc/{t.pid(container)}/ns/{n}") for n in ("mnt", "pid")]
    t.teca("delete", "--force", container, expect=0)
    outside = [os.readlink(f"/proc/self/ns/{n}") for n in ("mnt", "pid")]
    check(inside[0] != outside[0] and inside[1] != outside[1], "namespaces of the container")
    for kind in KINDS:
        wanted = inside if kind in ("createContainer", "startContainer") else outside
        eq(namespaces_of(t, kind), wanted, f"namespaces of {kind}")


@test
@row("HK-2")
def several_hooks_of_a_kind_run_one_after_the_other(t):
    """HK-2."""
    os.mkdir(t.path("out"))
    hooks = [shell(f"sleep 0.{3 - i}; echo {i} >>{t.path('out/order')}") for i in range(3)]
    t.ok(with_hooks(minimal(), createRuntime=hooks))
    eq(order(t), ["0", "1", "2"], "order")


@test
@row("RT-3")
def while_hooks_of_create_run_the_container_is_creating(t):
    """RT-3."""
    for verb, kind in ((v, k) for v in ("run", "create") for k in CREATE):
        gate = t.path(f"gate-{verb}-{kind}")
        os.mkfifo(gate)
        config = with_hooks(minimal("/payload", "catch", "15"), **{kind: shell(f"cat {gate}")})
        container = t.new_id()
        process = t.popen(verb, "--bundle", t.bundle(config), container)
        with open(gate, "w", encoding="ascii"):
            eq(t.state(container)["status"], "creating", f"status while hooks of {verb} run")
        wait_until(lambda: t.state(container)["status"] in ("created", "running"), "it goes on")
        t.teca("delete", "--force", container, expect=0)
        t.end_of(process)


@test
def a_container_is_created_while_its_startContainer_hook_runs(t):
    gate = t.path("gate")
    os.mkfifo(gate)
    config = with_mount(minimal("/payload", "catch", "15"), "/mnt/a", "bind", t.dir, "bind")
    container = t.create(with_hooks(config, startContainer=shell("read line </mnt/a/gate")))
    process = t.popen("start", container)
    with open(gate, "w", encoding="ascii") as f:
        eq(t.state(container)["status"], "created", "status while the hook runs")
        check(process.poll() is None, "start returned while a hook still ran")
        f.write("go\n")
    eq(t.end_of(process), 0, "exit status of start")
    eq(t.state(container)["status"], "running", "status afterwards")


@test
@row("HK-8")
def poststart_comes_after_the_program_was_executed_and_before_start_returns(t):
    """HK-8."""
    out = t.path("exe")
    hook = shell(f"readlink /proc/$(sed 's/.*\"pid\":\\([0-9]*\\).*/\\1/')/exe >{out}; sleep 0.2; "
                 f"echo done >>{out}")
    config = with_hooks(minimal("/payload", "catch", "15"), poststart=hook)
    container = t.create(config)
    check(not os.path.exists(out), "poststart ran at create")
    t.teca("start", container, expect=0)
    with open(out, encoding="ascii") as f:
        found = f.read().split()
    eq(found[1:], ["done"], "poststart is over when start returns")
    check(found[0].endswith("/payload"), f"init was {found[0]}")
    os.unlink(out)
    process = t.popen("run", "--bundle", t.bundle(config), t.new_id())
    eq(t.read_line(process), "ready", "the program")
    wait_until(lambda: os.path.exists(out) and "done" in open(out, encoding="ascii").read(), "poststart is over")
    time.sleep(0.2)  # and teca has seen it: until then a SIGTERM is teca's own
    process.send_signal(signal.SIGTERM)
    eq(t.end_of(process), 0, "exit status of run")
    with open(out, encoding="ascii") as f:
        check(f.read().split()[0].endswith("/payload"), "init of run")


@test
def run_reports_a_program_that_ends_before_its_poststart_hooks_do(t):
    config = with_hooks(minimal("/payload", "exit", "7"), poststart=shell("sleep 0.3"))
    eq(t.run(config).status, 7, "exit status")


@test
def a_signal_that_comes_while_poststart_runs_still_reaches_the_program(t):
    gate = t.path("gate")
    os.mkfifo(gate)
    config = with_hooks(minimal("/payload", "catch", "10"), poststart=shell(f"cat {gate}"))
    process = t.popen("run", "--bundle", t.bundle(config), t.new_id())
    eq(t.read_line(process), "ready", "the program")
    with open(gate, "w", encoding="ascii"):
        process.send_signal(signal.SIGUSR1)
        time.sleep(0.1)
    eq(t.read_line(process), "10", "what the program caught")
    eq(t.end_of(process), 0, "exit status")


@test
@row("HK-9")
def poststop_comes_after_everything_is_gone(t):
    """HK-9, RT-15."""
    container = t.new_id()
    there = os.path.join(t.state_root, container)
    hook = shell(f"test -e {there} && echo state; ls -d /sys/fs/cgroup/*/*{container} 2>/dev/null; "
                 f"echo over", )
    hook["args"][2] = f"({hook['args'][2]}) >{t.path('found')}"
    t.run(with_hooks(minimal(), poststop=hook), container=container, expect=0)
    with open(t.path("found"), encoding="ascii") as f:
        eq(f.read(), "over\n", "what poststop found")


@test
def run_with_keep_leaves_poststop_to_delete(t):
    config = recording(t, minimal(), "poststop")
    container = t.new_id()
    t.run(config, "--keep", container=container, expect=0)
    eq(order(t), [], "after run --keep")
    t.teca("delete", container, expect=0)
    eq(order(t), ["poststop"], "after delete")


# ---- what a hook can do ---------------------------------------------------------------------------


@cases(prestart="prestart", create_runtime="createRuntime")
@row("HK-4", "HK-5")
def a_hook_of_the_runtime_can_inject_a_mount(t, kind):
    """HK-4, HK-5: by nsenter, at the path where the bundle has the root; also a mount point of its own."""
    t.file("gift/hello", "from the hook\n")
    root = t.own_root()
    hook = shell("set -e; pid=$(sed 's/.*\"pid\":\\([0-9]*\\).*/\\1/'); "
                 f"nsenter -t $pid -m sh -c 'mkdir {root}/injected && "
                 f"mount --bind {t.path('gift')} {root}/injected'")
    for make in (minimal, default):
        config = with_hooks(make("/bin/cat", "/injected/hello"), **{kind: hook})
        config["root"]["readonly"] = True
        eq(t.ok(config, rootfs=root), "from the hook\n", "what the container reads")
        eq(os.listdir(os.path.join(root, "injected")), [], "the mount on the host")
        os.rmdir(os.path.join(root, "injected"))


@test
@row("HK-5")
def a_hook_finds_the_containers_mounts_done(t):
    """HK-5."""
    out = t.path("seen")
    hook = shell("pid=$(sed 's/.*\"pid\":\\([0-9]*\\).*/\\1/'); "
                 f"grep -F {t.shared_root} /proc/$pid/mountinfo >{out}")
    t.ok(with_hooks(minimal(), createRuntime=hook))
    with open(out, encoding="ascii") as f:
        text = f.read()
    for where in ("", "/proc", "/dev"):
        contains(text, f" {t.shared_root}{where} ", "mountinfo of init")


@test
@row("HK-6")
def createContainer_sees_the_hosts_files_and_the_containers_mounts(t):
    """HK-6."""
    script = t.file("hook.sh", "#!/bin/sh\necho \"$0 $(grep -c . </proc/self/mountinfo)\" >" + t.path("seen") +
                    f"\ngrep -qF ' {t.shared_root}/dev ' /proc/self/mountinfo\n")
    os.chmod(script, 0o755)
    t.ok(with_hooks(minimal(), createContainer={"path": script, "env": [HOST_PATH]}))
    with open(t.path("seen"), encoding="ascii") as f:
        eq(f.read().split()[0], script, "$0 of a script")


@cases(script="script", binary="binary")
@row("HK-6")
def createContainer_is_the_runtimes_file_also_where_init_finds_another(t, kind):
    """HK-6: in a joined mount namespace the path leads elsewhere."""
    os.makedirs(t.path("bin"))
    hook = t.path("bin/hook")
    if kind == "binary":
        shutil.copy("/bin/sh", hook)
    else:
        t.file("bin/hook", '#!/bin/sh\neval "$2"\n')
    os.chmod(hook, 0o755)
    pid = t.holder("--mount")
    eq(t.call(["nsenter", "-t", str(pid), "-m", "mount", "-t", "tmpfs", "none", t.path("bin")]).status, 0, "nsenter")
    config = joined(recording(t, minimal("/bin/true"), "poststop"), "mount", f"/proc/{pid}/ns/mnt")
    config["hooks"]["createContainer"] = [
        {"path": hook, "args": ["hook", "-c", f"test ! -e {hook} && echo ran >>{t.path('out/order')}"],
         "env": [HOST_PATH]}]
    t.ok(config)
    eq(order(t), ["ran", "poststop"], "what ran")


@test
@row("HK-7")
def startContainer_sees_the_container_as_the_program_does(t):
    """HK-7: in its root, as its user, in its directory, with its environment when it has none."""
    out = t.path("out")
    os.mkdir(out)
    os.chmod(out, 0o777)
    config = with_mount(minimal(user={"uid": 5, "gid": 6}, cwd="/tmp"), "/mnt/a", "bind", out, "bind")
    config["process"]["env"] += ["OF=the process"]
    config["process"]["capabilities"] = {}
    ask = "(id -u; id -g; pwd; echo $OF; grep CapEff /proc/self/status; ls /) >/mnt/a/"
    t.ok(with_hooks(config, startContainer=[
        {"path": "/bin/sh", "args": ["sh", "-c", ask + "inherits"]},
        {"path": "/bin/sh", "args": ["sh", "-c", ask + "own"], "env": ["OF=the hook", HOST_PATH]}]))
    for name, value in (("inherits", "the process"), ("own", "the hook")):
        with open(os.path.join(out, name), encoding="ascii") as f:
            found = f.read().split("\n")
        eq(found[:4], ["5", "6", "/tmp", value], f"what {name} is")
        contains(found[4], "0000000000000000", "capabilities")
        check("payload" in found, "the root is the container's")


@test
@row("HK-1")
def a_hook_gets_its_arguments_and_its_environment_and_nothing_else(t):
    """HK-1: args with argv[0]; no fd but three, no ignored or blocked signal, nothing of teca's environment."""
    out = t.path("seen")
    script = (f"read -r line </proc/self/cmdline; exec >{out}; echo $(env); "
              "ls -l /proc/self/fd | grep -c -e '->.*\\(pipe\\|memfd\\|seen\\)'; ls /proc/self/fd | wc -l; "
              "grep -E 'Sig(Blk|Ign)' /proc/self/status; echo \"$line|$1|$2|$#\"")
    hooks = [{"path": "/bin/sh", "args": ["called so", "-c", script, "", "a b", ""], "env": ["A=1", HOST_PATH]}]
    for kind in ("createRuntime", "createContainer", "poststart", "poststop"):
        t.ok(with_hooks(minimal(), **{kind: hooks}), env={"SECRET": "x"},
             preexec_fn=lambda: signal.signal(signal.SIGHUP, signal.SIG_IGN))
        with open(out, encoding="ascii") as f:
            found = f.read().split("\n")
        lacks(found[0], "SECRET", f"environment of {kind}")
        contains(found[0], "A=1", f"environment of {kind}")
        eq(found[1:3], ["3", "4"], f"fds 0, 1, 2 of {kind}, and all that ls sees with its own")
        eq([line.split()[1] for line in found[3:5]], ["0" * 16] * 2, f"signals of {kind}")
        check(found[5].startswith("called so-cread"), f"argv[0] of {kind}: {found[5]}")
        check(found[5].endswith("|a b||2"), f"arguments of {kind}: {found[5]}")


@cases(create_runtime="createRuntime", create_container="createContainer", poststop="poststop")
def a_hook_has_the_callers_umask(t, kind):
    config = with_hooks(minimal("/bin/stat", "-c", "%a", "/mnt/c"), **{kind: shell(f"echo >{t.path('made')}")})
    config["root"]["readonly"] = True
    config["process"]["cwd"] = "/mnt/c"  # made by init, after the hook
    root = t.own_root()
    eq(t.ok(config, rootfs=root, umask=0o027), "755\n", "mode of process.cwd")
    eq(oct(os.stat(t.path("made")).st_mode & 0o777), "0o640", "mode of the hook's file")


@test
def a_hook_without_args_is_called_by_its_path(t):
    out = t.path("seen")
    script = t.file("show", f"#!/bin/sh\necho \"$0 $#\" >{out}\nenv >>{out}\n")
    os.chmod(script, 0o755)
    t.ok(with_hooks(minimal(), prestart={"path": script}))
    with open(out, encoding="ascii") as f:
        found = f.read().splitlines()
    eq(found[0], f"{script} 0", "how it was called")
    lacks("\n".join(found), "XDG", "environment")


@test
def what_a_hook_says_never_reaches_the_container_or_the_caller(t):
    hooks = {k: shell("echo loud; echo loud >&2") for k in KINDS}
    eq(t.ok(with_hooks(minimal("/bin/echo", "program"), **hooks)), "program\n", "stdout of run")


@test
def a_hook_that_never_reads_its_stdin_and_a_state_of_a_megabyte_are_fine(t):
    config = with_hooks(minimal(), prestart=shell("true"), poststop=shell(f"cat >{t.path('seen')}"),
                        startContainer=shell("test $(wc -c) -gt 1000000"))
    config["annotations"] = {"big": "x" * 1000000}
    t.ok(config)
    with open(t.path("seen"), encoding="ascii") as f:
        eq(json.load(f)["annotations"], config["annotations"], "annotations")


@test
def a_hook_may_leave_something_running_and_is_not_waited_for_longer(t):
    pidfile = t.path("daemon")
    hook = shell(f"setsid sh -c 'echo $$ >{pidfile}; exec sleep 1000' & while [ ! -s {pidfile} ]; do :; done")
    began = time.monotonic()
    t.ok(with_hooks(minimal(), createRuntime=hook))
    check(time.monotonic() - began < allow(10), "the hook's background process was waited for")
    with open(pidfile, encoding="ascii") as f:
        pid = int(f.read())
    check(is_alive(pid), "the background process was killed")
    os.kill(pid, signal.SIGKILL)
    wait_until(lambda: not is_alive(pid), "the background process has ended")


@test
def hooks_work_in_a_user_namespace(t):
    config = with_user_namespace(recording(t, minimal()))
    t.ok(config)
    eq(order(t), list(KINDS), "order")


@test
def hooks_work_where_a_stage_clones_init_and_clocks_differ(t):
    config = recording(t, minimal())
    config["linux"]["namespaces"].append({"type": "time"})
    config["linux"]["timeOffsets"] = {"monotonic": {"secs": 5000000}}
    for hooks in config["hooks"].values():
        hooks[0]["timeout"] = 20
    t.ok(config)
    eq(order(t), list(KINDS), "order")
    eq([state_of(t, k)["pid"] for k in ("createContainer", "startContainer")], [1, 1], "pids inside")
    check(state_of(t, "createRuntime")["pid"] > 1, "pid outside")


@test
def an_ordinary_user_has_hooks_too(t):
    home = t.path("xdg")
    os.mkdir(home, 0o700)
    os.chown(home, 1000, 1000)
    config = with_user_namespace(recording(t, minimal()), 1000, 1)
    done = t.teca(command=[t.binary, "run", "--bundle", t.bundle(config), t.new_id()], cwd="/",
                  user=1000, group=1000, extra_groups=[], env=dict(os.environ, XDG_RUNTIME_DIR=home))
    eq((done.status, done.error), (0, ""), "status and stderr")
    eq(order(t), list(KINDS), "order")


@test
def hooks_work_where_root_of_the_user_namespace_may_not_search(t):
    """The path of the root filesystem is no place to attach it then."""
    os.mkdir(t.path("closed"))
    root = t.path("closed/root")
    shutil.copytree(t.shared_root, root, symlinks=True, copy_function=os.link)
    os.chmod(t.path("closed"), 0o700)
    config = with_user_namespace(recording(t, minimal()))
    t.ok(config, rootfs=root)
    eq(order(t), list(KINDS), "order")


@test
def the_filter_of_the_program_binds_no_hook_under_no_new_privileges(t):
    """startContainer precedes the last filter: what only the hook does need not be allowed."""
    out = t.path("out")
    os.mkdir(out)
    config = with_mount(minimal("/bin/true", noNewPrivileges=True), "/mnt/a", "bind", out, "bind")
    config["linux"]["seccomp"] = {"defaultAction": "SCMP_ACT_ALLOW", "syscalls": [
        {"names": ["clone", "clone3", "fork", "vfork", "mkdir", "mkdirat"], "action": "SCMP_ACT_ERRNO"}]}
    t.ok(with_hooks(config, startContainer=shell("mkdir /mnt/a/made")))
    eq(os.listdir(out), ["made"], "what the hook made")


@test
def a_profile_that_knows_no_clone3_suffices_for_startContainer(t):
    """Without noNewPrivileges the filter is there before: as docker's, ENOSYS for clone3."""
    config = minimal("/bin/true")
    config["linux"]["seccomp"] = {"defaultAction": "SCMP_ACT_ALLOW", "syscalls": [
        {"names": ["clone3"], "action": "SCMP_ACT_ERRNO", "errnoRet": 38}]}
    t.ok(with_hooks(config, startContainer=shell("true")))


# ---- failure ----------------------------------------------------------------------------------------


@cases(prestart=("prestart", "run"), create_runtime=("createRuntime", "create"),
       create_container=("createContainer", "create"), create_container_run=("createContainer", "run"),
       start_container=("startContainer", "run"), poststart=("poststart", "run"))
@row("RT-8", "RT-9", "RT-10", "RT-11", "RT-13", "RT-19")
def a_hook_that_fails_undoes_everything_and_says_why(t, kind, verb):
    """RT-8 to RT-13: then the poststop hooks, and what would have come is not run."""
    config = recording(t, minimal("/bin/sh", "-c", "sleep 20"))
    config["hooks"][kind] = [shell("true"), shell("echo some reason; echo more >&2; exit 3"), shell("exit 4")]
    t.refused(config, f"/hooks/{kind}/1", f"error running {kind} hook #1", "exit status 3",
              "some reason more", verb=verb)
    wanted = list(KINDS[:KINDS.index(kind)]) + ["poststop"]
    eq(order(t), wanted, "hooks that ran")
    lacks(json.dumps(state_of(t, "poststop")), '"pid"', "state of poststop")


@cases(start_container="startContainer", poststart="poststart")
@row("RT-11", "RT-13")
def a_hook_that_fails_at_start_destroys_the_container(t, kind):
    """RT-11, RT-13 (1.3.0)."""
    config = recording(t, minimal("/payload", "catch", "15"))
    config["hooks"][kind] = [shell("echo broken >&2; exit 9")]
    container = t.create(config)
    pid = t.pid(container)
    done = t.teca("start", container)
    eq(done.status, 1, "exit status of start")
    for part in (f"/hooks/{kind}/0", f"error running {kind} hook #0", "exit status 9", "broken"):
        contains(done.error, part, "stderr")
    check(not is_alive(pid), "init is still alive")
    t.nothing_of(container)
    eq(order(t), [k for k in KINDS if k != kind and (kind != "startContainer" or k != "poststart")], "hooks")


@cases(**{k: k for k in KINDS[:5]})
def a_hook_that_cannot_be_executed_is_an_error(t, kind):
    config = with_hooks(minimal(), **{kind: {"path": "/no/such/hook"}})
    t.refused(config, f"/hooks/{kind}/0", "/no/such/hook", "No such file or directory")
    config = with_hooks(minimal(), **{kind: {"path": "/etc"}})
    t.refused(config, f"/hooks/{kind}/0", "/etc", "Permission denied")


@test
def a_hook_killed_by_a_signal_has_failed(t):
    t.refused(with_hooks(minimal(), createRuntime=shell("kill -SEGV $$")), "killed by signal 11")


@test
@row("RT-16", "RT-18")
def poststop_hooks_that_fail_only_warn(t):
    """RT-16."""
    out = t.path("order")
    hooks = [shell("echo a reason; exit 1"), {"path": "/no/such/hook"}, shell("sleep 30", timeout=1),
             shell(f"echo last >{out}")]
    log = t.path("log")
    config = with_hooks(minimal(), poststop=hooks)
    t.global_args = ["--log", log, "--debug"]
    t.ok(config)
    check(os.path.exists(out), "the hook after the failed ones")
    with open(log, encoding="utf-8") as f:
        text = f.read()
    for part in ("/hooks/poststop/0", "exit status 1", "a reason", "/hooks/poststop/1",
                 "No such file", "/hooks/poststop/2", "timeout of 1 s"):
        contains(text, part, "the log")
    os.unlink(out)
    container = t.create(config)
    eq(t.teca("delete", container, expect=0).error, "", "stderr of delete")
    check(os.path.exists(out), "the hook after the failed ones, by delete")


@cases(prestart="prestart", create_container="createContainer", start_container="startContainer",
       poststart="poststart")
@row("HK-1")
def a_hook_that_outlives_its_timeout_is_killed_with_its_group(t, kind):
    """HK-1."""
    name = f"sleep 33.{os.getpid()}"
    hook = shell(f"echo waiting; {name} & {name}", timeout=1)
    began = time.monotonic()
    t.refused(with_hooks(minimal("/bin/sleep", "20"), **{kind: hook}), f"/hooks/{kind}/0",
              "hook ran past specified timeout of 1 s", "waiting")
    check(1 <= time.monotonic() - began < allow(8), f"it took {time.monotonic() - began:.1f} s")
    wait_until(lambda: not any(name in line for line in command_lines()), "the hook's group is gone")


def command_lines():
    found = []
    for pid in os.listdir("/proc"):
        if pid.isdigit():
            try:
                with open(f"/proc/{pid}/cmdline", "rb") as f:
                    found.append(f.read().replace(b"\0", b" ").decode(errors="replace"))
            except (FileNotFoundError, ProcessLookupError):
                pass
    return found


@test
def a_hook_that_ends_in_time_is_not_disturbed_by_its_timeout(t):
    t.ok(with_hooks(minimal(), prestart=shell("sleep 0.2", timeout=5),
                    poststart=shell("true", timeout=2 ** 63 - 1)))


@cases(**{f"{k}_{v}": (k, v) for k, v in (("prestart", "run"), ("createRuntime", "create"),
                                          ("createContainer", "create"), ("startContainer", "run"),
                                          ("startContainer", "start"), ("poststart", "run"),
                                          ("poststart", "start"))})
def an_interrupt_while_a_hook_hangs_undoes_everything(t, kind, verb):
    os.mkdir(t.path("out"))
    os.chmod(t.path("out"), 0o777)
    config = with_mount(minimal("/payload", "catch", "15"), "/mnt/a", "bind", t.path("out"), "bind")
    where = "/mnt/a" if kind == "startContainer" else t.path("out")
    hang = shell(f"echo $$ >{where}/hangs; sleep 31.{os.getpid()}")
    config = with_hooks(config, **{kind: hang, "poststop": shell(f"echo >{t.path('out/stopped')}")})
    if verb == "start":
        container = t.create(config)
        process = t.popen("start", container)
    else:
        container = t.new_id()
        process = t.popen(verb, "--bundle", t.bundle(config), container)
    wait_until(lambda: os.path.exists(t.path("out/hangs")), "the hook runs")
    process.send_signal(signal.SIGINT)
    check(t.end_of(process, 8) != 0, "exit status")
    contains(process.stderr.read().decode(), "interrupted by signal 2", "stderr")
    t.nothing_of(container)
    check(os.path.exists(t.path("out/stopped")), "poststop did not run")
    wait_until(lambda: not any(f"31.{os.getpid()}" in line for line in command_lines()), "no hook is left")


@cases(start_container=("startContainer", True), start_container_host_pids=("startContainer", False),
       poststart=("poststart", True))
def delete_force_is_not_held_up_by_a_hook_that_hangs(t, kind, pid_namespace):
    """contract 1.13; and the hook's failure, later, destroys no other container of that name."""
    gate = t.path("gate")
    os.mkfifo(gate)
    config = with_mount(minimal("/payload", "catch", "15"), "/mnt/a", "bind", t.dir, "bind")
    if not pid_namespace:
        config["linux"]["namespaces"].remove({"type": "pid"})
    where = "/mnt/a" if kind == "startContainer" else t.dir
    config = with_hooks(config, **{kind: shell(f"read line <{where}/gate; exit 1"),
                                   "poststop": shell(f"echo poststop >>{t.path('order')}")})
    container = t.create(config)
    process = t.popen("start", container)
    with open(gate, "w", encoding="ascii"):
        t.teca("delete", "--force", container, expect=0, seconds=10)
        t.nothing_of(container)
        t.create(minimal("/payload", "catch", "15"), container=container, start=True)
    eq(t.end_of(process), 1, "exit status of start")
    eq(t.state(container)["status"], "running", "the new container")
    with open(t.path("order"), encoding="ascii") as f:
        eq(f.read().split(), ["poststop"], "poststop hooks")


@cases(create_runtime="createRuntime", create_container="createContainer")
def when_the_runtime_is_killed_its_hook_and_init_go_too(t, kind):
    os.mkdir(t.path("out"))
    config = with_hooks(minimal("/payload", "catch", "15"),
                        **{kind: shell(f"echo >{t.path('out/hangs')}; exec sleep 32.{os.getpid()}")})
    container = t.new_id()
    process = t.popen("run", "--bundle", t.bundle(config), container)
    wait_until(lambda: os.path.exists(t.path("out/hangs")), "the hook runs")
    process.kill()
    process.wait()
    wait_until(lambda: not any(f"32.{os.getpid()}" in line for line in command_lines()), "no hook is left")
    t.teca("delete", "--force", container, expect=0)


@test
def a_start_that_fails_before_any_hook_runs_none(t):
    config = recording(t, minimal())
    config["mounts"].append({"destination": "/mnt/b", "type": "bind", "source": "/no/such", "options": ["bind"]})
    t.refused(config, "/mounts/3")
    eq(order(t), [], "hooks that ran")


@test
def a_program_that_cannot_be_executed_gets_poststop_but_no_poststart(t):
    config = recording(t, minimal("/no/such/program"))
    t.refused(config, "/process/args")
    eq(order(t), [k for k in KINDS if k != "poststart"], "hooks that ran")


@test
@row("HK-9", "RT-36")
def delete_of_a_created_container_runs_poststop_without_start(t):
    container = t.create(recording(t, minimal("/payload", "catch", "15")))
    t.teca("delete", container, expect=0)
    eq(order(t), list(CREATE) + ["poststop"], "hooks that ran")


# ---- explain -----------------------------------------------------------------------------------------


@test
def explain_lists_the_hooks_in_the_order_in_which_they_run(t):
    config = recording(t, minimal())
    container, where = t.new_id(), t.bundle(config)
    plan = json.loads(t.teca("explain", "--format", "json", "--bundle", where, container, expect=0).text)
    found = [s for s in plan["steps"] if s["operation"] == "hook"]
    eq([s["operands"]["kind"] for s in found], list(KINDS[:5]), "kinds")
    eq([s["lane"] for s in found], ["runtime", "runtime", "init", "init", "runtime"], "lanes")
    for s in found:
        eq(s["pointer"], f"/hooks/{s['operands']['kind']}/0", "pointer")
        eq(json.loads(s["operands"]["state"])["status"], STATUS[s["operands"]["kind"]], "status")
    eq(order(t), [], "explain ran a hook")


@test
def hooks_cost_a_start_without_them_nothing(t):
    container, where = t.new_id(), t.bundle(default())
    plan = json.loads(t.teca("explain", "--format", "json", "--bundle", where, container, expect=0).text)
    eq(plan["waits"], 1, "waits")
    attach = [s for s in plan["steps"] if s["operation"] == "root-attach"]
    eq(attach[0]["operands"]["at"], "/", "where the root is attached")
