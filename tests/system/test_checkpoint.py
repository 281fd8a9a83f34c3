# SPDX-License-Identifier: Apache-2.0
"""
checkpoint and restore as far as CRIU need not know the kernel: engine-contract 1.1.6, 1.1.7, 1.3.13,
1.3.14, 1.6; and what test_checkpoint_dumps.py and test_checkpoint_flags.py stand on.
"""
import json
import os
import shutil

from harness import (
    cases,
    check,
    contains,
    eq,
    hierarchies,
    is_alive,
    minimal,
    test,
    wait_until,
    with_mount)

COUNT = 'i=0; while :; do i=$((i+1)); echo $i >/data/n; sleep 0.05; done'
LONG = 120  # seconds of a call that runs CRIU
# A hook that puts a device into the container's network namespace, as dockerd's does.
FILLS_NETWORK = {"path": "/bin/sh", "env": ["PATH=/usr/sbin:/usr/bin:/sbin:/bin"], "args": [
    "sh", "-c", "pid=$(tr -dc 'a-z0-9:' | sed 's/.*pid:\\([0-9]*\\).*/\\1/'); "
    "exec ip link add type veth peer name eth0 netns $pid"]}


def needs_criu(t):
    """Skips where `checkpoint --help` says that a dump would not work; the test VM's kernel is known to CRIU."""
    done = t.teca("checkpoint", "--help", seconds=LONG)
    if done.status:
        t.skip(done.error.strip())


def counting(t, **more):
    """A container that counts in a file of the host's; (config, where it counts)."""
    data = t.path("data")
    os.makedirs(data, exist_ok=True)
    config = minimal("/bin/sh", "-c", COUNT) | more
    config["root"]["readonly"] = False
    return with_mount(config, "/data", "bind", data, "bind", "rw"), os.path.join(data, "n")


def count_of(file):
    try:
        with open(file, encoding="ascii") as f:
            return int(f.read() or 0)
    except FileNotFoundError:
        return 0


def goes_on_from(file, least, what):
    wait_until(lambda: count_of(file) > least, f"{what}: it counts on from {least}", 20)
    check(count_of(file) < least + 10000, f"{what}: it counts on from where it was")


def start(t, config, **more):
    """`run -d` as an engine does it: its outputs are not the test's."""
    container, where = t.new_id(), t.bundle(config, rootfs=t.own_root())
    t.teca("run", "-d", "--bundle", where, container, expect=0, **more)
    return container, where


def dump(t, container, *flags, images="images", **more):
    return t.teca("checkpoint", "--image-path", t.path(images), "--work-path", t.path(images), *flags,
                  container, seconds=LONG, **more)


def restore(t, container, where, *flags, images="images", **more):
    return t.teca("restore", "--image-path", t.path(images), "--work-path", t.path(images), "--bundle",
                  where, *flags, container, seconds=LONG, **more)


def root_of(where):
    with open(os.path.join(where, "config.json"), encoding="utf-8") as f:
        return json.load(f)["root"]["path"]


def limits_of(pid):
    """Files of the cgroups in which a process is, by their names."""
    found = {}
    with open(f"/proc/{pid}/cgroup", encoding="ascii") as f:
        paths = {line.split(":")[1]: line.rstrip("\n").split(":", 2)[2] for line in f}
    for names, where, v2 in hierarchies():
        path = where + paths["" if v2 else names]
        for name in ("pids.max", "memory.max", "memory.limit_in_bytes"):
            if os.path.exists(os.path.join(path, name)):
                with open(os.path.join(path, name), encoding="ascii") as f:
                    found[name] = f.read().strip()
    found["paths"] = sorted(set(paths.values()))
    return found


# ---- what needs no CRIU -------------------------------------------------------------------------

@test
def without_criu_the_refusal_says_so_and_help_fails(t):
    container, _ = t.sleeper()
    t.global_args = ["--criu", "/none/criu"]
    for call in (["checkpoint", "--help"], ["checkpoint", container],
                 ["restore", "--bundle", t.bundle(minimal()), t.new_id()]):
        done = t.teca(*call)
        eq(done.status, 1, f"exit status of {call[0]}")
        contains(done.error, "need CRIU, and there is no program '/none/criu'", "stderr")
    contains(t.teca("checkpoint", "--help").text, "--image-path DIR", "the help is printed all the same")
    check(is_alive(t.pid(container)), "the container runs on")


@test
def only_a_running_container_can_be_checkpointed(t):
    created = t.create(minimal("/bin/true"))
    done = dump(t, created)
    eq(done.status, 1, "exit status")
    contains(done.error, "Container cannot be checkpointed in created state", "stderr")
    t.teca("start", created, expect=0)
    wait_until(lambda: t.state(created)["status"] == "stopped", "it has stopped")
    contains(dump(t, created).error, "Container cannot be checkpointed in stopped state", "stderr")
    contains(dump(t, "none").error, "container does not exist", "stderr")


@test
def nonsense_is_refused_before_criu_is_asked(t):
    container, _ = t.sleeper()
    if not shutil.which("criu"):
        t.skip("there is no criu")
    for flags, part in ((["--parent-path", "/absolute"], "--parent-path must be relative"),
                        (["--page-server", "here"], "--page-server must be ADDRESS:PORT"),
                        (["--empty-ns", "user"], "--empty-ns can only be network"),
                        (["--status-fd", "77"], "--status-fd '77' is no open file descriptor"),
                        (["--manage-cgroups-mode", "some"], "soft|full|strict|ignore")):
        done = dump(t, container, *flags)
        eq(done.status, 1, f"exit status with {flags}")
        contains(done.error, part, f"stderr with {flags}")
    check(not os.path.exists(t.path("images")), "nothing was dumped")
    check(is_alive(t.pid(container)), "the container runs on")
    # Podman and CRI-O probe in this way (engine-contract 1.1.6).
    done = t.teca("restore", "--lsm-mount-context")
    eq(done.status, 1, "exit status of the probe")
    check("requires an argument" in done.error or "flag needs an argument" in done.error, done.error)


@test
def a_restore_of_nothing_leaves_nothing(t):
    if not shutil.which("criu"):
        t.skip("there is no criu")
    container = t.new_id()
    done = restore(t, container, t.bundle(minimal()), "--detach", images="none")
    eq(done.status, 1, "exit status")
    contains(done.error, "cannot open the directory", "stderr")
    t.nothing_of(container)


@test(seconds=400)
def a_kernel_that_criu_does_not_know_is_told_with_crius_words(t):
    """The sentence carries the errors of CRIU's log; the container is none the worse."""
    if not shutil.which("criu"):
        t.skip("there is no criu")
    container, pid = t.sleeper()
    if t.teca("checkpoint", "--help", seconds=LONG).status == 0:
        # Where it works, something that CRIU refuses: a fd that leads out of the container.
        outside = t.path("outside")
        os.mkfifo(outside)
        t.teca("delete", "--force", container, expect=0)
        fd = os.open(outside, os.O_RDWR)
        container = t.new_id()
        config = minimal("/payload", "catch", "15")
        os.dup2(fd, 3)
        t.teca("run", "-d", "--preserve-fds", "1", "--bundle", t.bundle(config), container,
               expect=0, pass_fds=(3,))
        pid = t.pid(container)
    done = dump(t, container)
    eq(done.status, 1, "exit status")
    contains(done.error, "CRIU failed: ", "stderr")
    contains(done.error, f"(its log is {t.path('images', 'dump.log')})", "stderr")
    eq(done.error.count("\n"), 1, "lines on stderr")
    check(is_alive(pid), "the container runs on")
    eq(t.state(container)["status"], "running", "status")


# ---- their plans --------------------------------------------------------------------------------

FLAGS = {("--tcp-established",): "tcp_established", ("--tcp-close",): "tcp_close", ("--ext-unix-sk",): "ext_unix_sk",
         ("--shell-job",): "shell_job", ("--file-locks",): "file_locks", ("--link-remap",): "link_remap",
         ("--lazy-pages",): "lazy_pages", ("--auto-dedup",): "auto_dedup",
         ("--empty-ns", "network"): "empty_ns=1073741824", ("--network-lock", "iptables"): "network_lock=1",
         ("--network-lock", "nftables"): "network_lock=2", ("--manage-cgroups-mode", "ignore"): "manage_cgroups_mode=0",
         ("--manage-cgroups-mode", "full"): "manage_cgroups_mode=4",
         ("--manage-cgroups-mode", "strict"): "manage_cgroups_mode=5"}
OF_CHECKPOINT = {("--leave-running",): "leave_running", ("--parent-path", "../p"): "parent_img=../p",
                 ("--page-server", "10.0.0.1:27"): "ps=10.0.0.1:27", ("--status-fd", "0"): "status_fd=0",
                 ("--tcp-skip-in-flight",): "tcp_skip_in_flight"}
OF_RESTORE = {("--lsm-profile", "apparmor:x"): "lsm_profile=apparmor:x",
              ("--lsm-mount-context", "a_u:b_r:c_t"): "lsm_mount_context=a_u:b_r:c_t"}


def explained(t, *args):
    """{operation: operands} of the plan, which has changed nothing."""
    steps = json.loads(t.teca("explain", "--format", "json", *args, expect=0).text)["steps"]
    return {step["operation"]: step["operands"] for step in steps}


@cases(checkpoint="checkpoint", restore="restore")
def each_flag_is_in_the_request_that_explain_shows(t, verb):
    """What test_checkpoint_flags.py sees CRIU do with most of them, in the test VM."""
    if not shutil.which("criu"):
        t.skip("there is no criu")
    container, pid = t.sleeper()
    where = t.bundle(minimal())
    base = (f"--{verb}", "--bundle", where, "--image-path", t.path("images"))
    subject = container if verb == "checkpoint" else t.new_id()
    plain = explained(t, *base, subject)["criu-request"]
    eq(plain["verb"], "dump" if verb == "checkpoint" else "restore", "what CRIU is asked for")
    check("manage_cgroups_mode=3" in plain["asks"], f"soft by default: {plain['asks']}")
    for flags, word in (FLAGS | (OF_CHECKPOINT if verb == "checkpoint" else OF_RESTORE)).items():
        asks = explained(t, *base, *flags, subject)["criu-request"]["asks"]
        check(word in asks, f"{flags}: {asks}")
        check(word not in plain["asks"], f"without {flags}: {plain['asks']}")
    check(not os.path.exists(t.path("images")), "nothing was made")
    eq(t.state(container)["pid"], pid, "the container runs on")


@test
def the_plan_of_a_pre_dump_notes_what_is_the_hosts(t):
    if not shutil.which("criu"):
        t.skip("there is no criu")
    config, _ = counting(t)
    container, _ = start(t, config)
    plan = explained(t, "--checkpoint", "--pre-dump", container)
    eq(plan["criu-request"]["verb"], "pre-dump", "what CRIU is asked for")
    check("ext_mnt=/data:/data" in plan["criu-request"]["asks"], f"the bind: {plan['criu-request']['asks']}")
    order = list(plan)
    check(order.index("criu-notes") < order.index("criu-request"), f"the notes are written first: {order}")
    for args, part in ((("--checkpoint",), "needs the ID"), (("--restore",), "needs the ID"),
                       (("--checkpoint", "none"), "does not exist")):
        done = t.teca("explain", *args)
        eq(done.status, 1, f"exit status of explain {args}")
        contains(done.error, part, f"stderr of explain {args}")


def in_a_redirection(t):
    """A shell whose fd 1 is its own file for long, and which keeps that of `run` aside."""
    config, file = counting(t)
    config["process"]["args"][2] = "{ " + config["process"]["args"][2] + "; } >/data/own"
    container, where = start(t, config)
    goes_on_from(file, 3, "before")
    return container, where, file


@test
def what_a_shell_has_put_aside_is_the_hosts_too(t):
    """At any `echo >file` a shell may be found so."""
    if not shutil.which("criu"):
        t.skip("there is no criu")
    container, _, _ = in_a_redirection(t)
    asks = explained(t, "--checkpoint", container)["criu-request"]["asks"]
    eq(len({word for word in asks if word.startswith("external=file[")}), 3, f"files of the host's in {asks}")


# As CRIU holds what it dumps, until its pages were fetched: who waits for none of them any more.
HOLDS = """
import ctypes, os, sys, time
libc = ctypes.CDLL(None, use_errno=True)
SEIZE, INTERRUPT, SET_NAME = 0x4206, 0x4207, 15
libc.prctl(SET_NAME, sys.argv[1].encode())
for pid in map(int, sys.argv[2:]):
    for request in (SEIZE, INTERRUPT):
        if libc.ptrace(request, pid, None, None):
            sys.exit(os.strerror(ctypes.get_errno()))
    os.waitpid(pid, 0x40000000)
print("holds", flush=True)
time.sleep(1000)
"""


def held(t, name):
    """(a container whose processes somebody of this name stops, that process)"""
    container, _ = start(t, minimal("/bin/sh", "-c", "sleep 1000 & sleep 999 & wait"))
    wait_until(lambda: len(json.loads(t.teca("ps", "-f", "json", container, expect=0).text)) == 3, "its processes")
    pids = json.loads(t.teca("ps", "-f", "json", container, expect=0).text)
    tracer = t.popen(command=["python3", "-c", HOLDS, name, *map(str, pids)])
    eq(t.read_line(tracer), "holds", "the tracer")
    return container, tracer


@test(seconds=60)
def delete_by_force_ends_a_dump_that_holds_the_processes(t):
    """One of --lazy-pages serves them for as long as nobody fetches them."""
    container, tracer = held(t, "criu")
    t.teca("delete", "--force", container, expect=0)
    eq(t.end_of(tracer), -9, "the end of the dump")
    t.nothing_of(container)


@test(seconds=60)
def another_tracer_is_told_and_left_alone(t):
    container, tracer = held(t, "debugger")
    done = t.teca("delete", "--force", container, seconds=30)
    eq(done.status, 1, "exit status of delete")
    contains(done.error, f"process {tracer.pid} (debugger) traces it", "stderr")
    eq(tracer.poll(), None, "the debugger lives")
    tracer.kill()
    tracer.wait()
    t.teca("delete", "--force", container, expect=0)
    t.nothing_of(container)
