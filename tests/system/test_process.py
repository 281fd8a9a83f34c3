# SPDX-License-Identifier: Apache-2.0
"""The process: exit status, standard streams, signals, session, fds, ids, limits, environment."""
import hashlib
import json
import os
import resource
import signal
import socket
import subprocess
import time

from harness import (PATH_OF_THE_IMAGE, allow, cases, check, contains, default, eq, is_alive, joined,
                     minimal, row, test, wait_until, with_mount, without)

# ---- exit status ------------------------------------------------------------------------------


@cases(zero=0, one=1, seven=7, hundred_and_twenty_seven=127, two_hundred_and_fifty_five=255)
@row("RT-14")
def run_ends_with_the_exit_status_of_the_process(t, status):
    eq(t.run(minimal("/payload", "exit", str(status))).status, status, "exit status of run")


@cases(hup=1, int=2, kill=9, usr1=10, pipe=13, term=15, abrt=6, rtmin=34, rtmax=64)
@row("RT-14")
def a_death_by_signal_gives_128_plus_its_number(t, number):
    config = without(minimal("/payload", "raise", str(number)), "pid")
    eq(t.run(config).status, 128 + number, "exit status of run")


@test
def a_fault_of_init_of_a_pid_namespace_gives_139(t):
    eq(t.run(minimal("/payload", "fault")).status, 128 + signal.SIGSEGV, "exit status of run")


@test
def the_default_bundle_runs_true_and_ends_with_0(t):
    t.ok(default())


@test
def the_default_bundle_runs_false_and_ends_with_1(t):
    eq(t.run(default("/bin/false")).status, 1, "exit status of run")


# ---- programs that cannot be executed ------------------------------------------------------------

EXEC_FAILURES = {
    "unknown_name": ("nope", 'exec: "nope": executable file not found in $PATH'),
    "unknown_path": ("/bin/nope", 'exec: "/bin/nope"', "no such file or directory"),
    "directory": ("/etc", 'exec: "/etc": is a directory'),
    "not_executable": ("/opt/plain", 'exec: "/opt/plain": permission denied'),
}


@cases(**EXEC_FAILURES)
def run_refuses_a_program_that_cannot_be_executed(t, program, *texts):
    t.refused(minimal(program), *texts)


@cases(**EXEC_FAILURES)
def create_refuses_a_program_that_cannot_be_executed(t, program, *texts):
    t.refused(minimal(program), *texts, verb="create")


@test
def a_program_of_a_foreign_format_is_an_error_that_names_it(t):
    t.refused(minimal("/opt/garbage"), "/opt/garbage", "exec format error")


@test
def a_script_whose_interpreter_is_missing_is_an_error_that_names_it(t):
    t.refused(minimal("/opt/lost"), "/opt/lost", "no such file or directory")


@test
def a_script_runs_through_its_interpreter(t):
    eq(t.ok(minimal("/opt/script", "a b")), "from the script a b\n", "stdout")


@test
@row("PRC-6")
def a_name_is_looked_up_in_the_path_of_the_container(t):
    config = minimal("script", env=["PATH=/nowhere:/opt"])
    eq(t.ok(config), "from the script\n", "stdout")


@test
@row("PRC-6")
def the_lookup_passes_over_what_is_not_executable(t):
    root = t.own_root()
    os.mkdir(os.path.join(root, "first"))
    with open(os.path.join(root, "first", "script"), "w", encoding="ascii") as f:
        f.write("not executable\n")
    config = minimal("script", env=["PATH=/first:/opt"])
    eq(t.ok(config, rootfs=root), "from the script\n", "stdout")


@test
def a_program_is_looked_up_inside_the_mounts_of_the_container(t):
    os.makedirs(t.path("extra"))
    t.file("extra/tool", "#!/bin/sh\necho a tool\n")
    os.chmod(t.path("extra/tool"), 0o755)
    config = with_mount(minimal("tool", env=["PATH=/mnt/a"]), "/mnt/a", "bind", t.path("extra"),
                        "bind", "ro")
    eq(t.ok(config), "a tool\n", "stdout")


# ---- standard streams ----------------------------------------------------------------------------


@test
def a_mebibyte_of_random_bytes_comes_back_unchanged(t):
    data = os.urandom(1 << 20)
    done = t.run(minimal("/bin/cat"), stdin=data, expect=0)
    eq(hashlib.sha256(done.out).hexdigest(), hashlib.sha256(data).hexdigest(), "bytes on stdout")


@test
def a_mebibyte_passes_through_pipes_in_both_directions(t):
    data = os.urandom(1 << 20)
    where = t.bundle(minimal("/bin/cat"))
    p = t.popen("run", "--bundle", where, t.new_id(), stdin=subprocess.PIPE)
    out, err = p.communicate(data, timeout=allow(30))
    eq((p.returncode, err), (0, b""), "status and stderr")
    check(out == data, f"the bytes differ: {len(data)} in, {len(out)} out")


@test
def stdout_and_stderr_are_kept_apart(t):
    done = t.run(minimal("/bin/sh", "-c", "echo to-out; echo to-err >&2; exit 3"))
    eq((done.out, done.err, done.status), (b"to-out\n", b"to-err\n", 3), "out, err, status")


@test
def the_end_of_stdin_reaches_the_process(t):
    where = t.bundle(minimal("/bin/sh", "-c", "cat >/dev/null; echo saw the end"))
    p = t.popen("run", "--bundle", where, t.new_id(), stdin=subprocess.PIPE)
    p.stdin.write(b"some text")
    p.stdin.flush()
    p.stdin.close()
    eq(t.read_line(p), "saw the end", "stdout after stdin was closed")
    eq(t.end_of(p), 0, "exit status")


@test
def the_process_answers_while_stdin_stays_open(t):
    where = t.bundle(minimal("/bin/cat"))
    p = t.popen("run", "--bundle", where, t.new_id(), stdin=subprocess.PIPE)
    for word in (b"first\n", b"second\n"):
        p.stdin.write(word)
        p.stdin.flush()
        eq(t.read_line(p).encode() + b"\n", word, "echo of cat")
    p.stdin.close()
    eq(t.end_of(p), 0, "exit status")


@test
def a_reader_that_goes_away_ends_the_writer_by_sigpipe(t):
    where = t.bundle(without(minimal("/bin/yes"), "pid"))
    p = t.popen("run", "--bundle", where, t.new_id())
    t.read_line(p)
    p.stdout.close()
    eq(t.end_of(p), 128 + signal.SIGPIPE, "exit status of run")


@test
def a_created_container_holds_the_streams_of_create(t):
    read, write = os.pipe()
    container = t.new_id()
    where = t.bundle(minimal("/bin/echo", "through the pipe"))
    t.teca("create", "--bundle", where, container, stdout=write, expect=0)
    os.close(write)
    t.teca("start", container, expect=0)
    with os.fdopen(read, "rb") as f:
        eq(f.read(), b"through the pipe\n", "what the container wrote")


@test
def a_start_that_succeeds_writes_nothing_to_its_streams(t):
    container = t.new_id()
    where = t.bundle(default("/bin/true"))
    for verb in (["create", "--bundle", where, container], ["start", container]):
        done = t.teca(*verb, expect=0)
        eq((done.out, done.err), (b"", b""), f"streams of {verb[0]}")


# ---- signals ----------------------------------------------------------------------------------

FORWARDED = {n.lower(): getattr(signal, "SIG" + n)
             for n in ("HUP", "INT", "QUIT", "USR1", "USR2", "TERM", "WINCH", "ALRM", "CONT")}


@cases(**FORWARDED)
def a_signal_to_run_reaches_the_process(t, number):
    where = t.bundle(minimal("/payload", "catch", str(int(number))))
    p = t.popen("run", "--bundle", where, t.new_id())
    eq(t.read_line(p), "ready", "the payload")
    p.send_signal(number)
    eq(t.read_line(p), str(int(number)), "the signal that arrived")
    eq(t.end_of(p), 0, "exit status of run")


@test
def several_signals_to_run_arrive_in_order(t):
    where = t.bundle(minimal("/payload", "catch", str(int(signal.SIGTERM))))
    p = t.popen("run", "--bundle", where, t.new_id())
    eq(t.read_line(p), "ready", "the payload")
    for number in (signal.SIGUSR1, signal.SIGHUP, signal.SIGUSR2, signal.SIGTERM):
        p.send_signal(number)
        eq(t.read_line(p), str(int(number)), "the signal that arrived")
    eq(t.end_of(p), 0, "exit status of run")


@test
def a_process_killed_by_a_forwarded_signal_gives_128_plus_its_number(t):
    where = t.bundle(without(minimal("/bin/sh", "-c", "echo ready; exec sleep 100"), "pid"))
    p = t.popen("run", "--bundle", where, t.new_id())
    eq(t.read_line(p), "ready", "the shell")
    p.send_signal(signal.SIGTERM)
    eq(t.end_of(p), 128 + signal.SIGTERM, "exit status of run")


@test
def the_signal_mask_and_dispositions_are_reset(t):
    def hostile():
        signal.pthread_sigmask(signal.SIG_BLOCK, {signal.SIGCHLD, signal.SIGUSR1, signal.SIGTERM,
                                                  40})
        for number in (signal.SIGPIPE, signal.SIGTERM, signal.SIGHUP, signal.SIGCHLD, 41):
            signal.signal(number, signal.SIG_IGN)

    found = t.report(minimal(), preexec_fn=hostile, restore_signals=False)
    eq((found["ignored"], found["blocked"]), ([], []), "ignored and blocked signals inside")


@test
def a_created_process_has_clean_signals_too(t):
    def hostile():
        signal.pthread_sigmask(signal.SIG_BLOCK, {signal.SIGCHLD, signal.SIGINT})
        signal.signal(signal.SIGPIPE, signal.SIG_IGN)

    container = t.new_id()
    where = t.bundle(minimal("/payload", "report"))
    out = open(t.path("out"), "wb")
    t.teca("create", "--bundle", where, container, stdout=out, preexec_fn=hostile,
           restore_signals=False, expect=0)
    t.teca("start", container, preexec_fn=hostile, restore_signals=False, expect=0)
    wait_until(lambda: t.state(container)["status"] == "stopped", "the process ended")
    with open(t.path("out"), encoding="ascii") as f:
        found = json.load(f)
    eq((found["ignored"], found["blocked"]), ([], []), "ignored and blocked signals inside")


# ---- session and fds -----------------------------------------------------------------------------


@test
def init_leads_a_session_of_its_own(t):
    found = t.report(minimal())
    eq((found["sid"], found["pgid"]), (found["pid"], found["pid"]), "session and process group")


@test
def init_is_process_1_of_a_new_pid_namespace(t):
    eq(t.report(minimal())["pid"], 1, "own pid")


@test
@row("RL-1")
def only_the_three_standard_fds_are_open(t):
    eq(sorted(t.report(default())["fds"]), ["0", "1", "2"], "open fds inside")


@test
def inherited_fds_do_not_leak(t):
    a, b = socket.socketpair()
    directory = os.open("/", os.O_RDONLY | os.O_DIRECTORY)
    high = os.dup2(directory, 900)
    found = t.report(minimal(), pass_fds=(a.fileno(), directory, high))
    eq(sorted(found["fds"]), ["0", "1", "2"], "open fds inside")
    b.close()


@test
def inherited_fds_do_not_leak_into_a_created_container(t):
    directory = os.open("/", os.O_RDONLY | os.O_DIRECTORY)
    os.dup2(directory, 300)
    where = t.bundle(minimal("/payload", "catch", "15"))
    container = t.new_id()
    t.teca("create", "--bundle", where, container, pass_fds=(directory, 300), expect=0)
    t.teca("start", container, expect=0)
    pid = t.pid(container)
    eq(sorted(os.listdir(f"/proc/{pid}/fd")), ["0", "1", "2"], "open fds of init")


@cases(stdin=(0,), stdout=(1,), stderr=(2,), all_three=(0, 1, 2))
def a_closed_standard_fd_does_not_confuse_the_runtime(t, *closed):
    os.mkdir(t.path("out"), 0o777)
    config = with_mount(minimal("/payload", "tell-stdin", "/mnt/a/told"), "/mnt/a", "bind",
                        t.path("out"), "bind")
    t.run(config, preexec_fn=lambda: [os.close(fd) for fd in closed], expect=0)
    with open(t.path("out/told"), encoding="ascii") as f:
        eq(len(f.read().split()), 3, "lines the payload wrote")


@test
def a_closed_stdin_never_becomes_a_file_of_the_runtime(t):
    found = t.report(minimal(), preexec_fn=lambda: os.close(0))
    target = found["fds"].get("0", "")
    check(target in ("", "/dev/null"), f"fd 0 inside is {target}")


def look_at(t, pid):
    """What a root without capabilities learns from /proc/PID/exe; the target has none either."""
    return t.call(["setpriv", "--bounding-set=-all", "--inh-caps=-all", "readlink",
                   f"/proc/{pid}/exe"]).text.strip()


@test
def the_waiting_init_is_not_dumpable_and_the_program_is(t):
    """CVE-2016-9962: what holds fds of the host must be out of reach for an equal."""
    container = t.create(minimal("/payload", "catch", "15"))
    pid = t.pid(container)
    eq(look_at(t, pid), "", "the executable of init while it waits")
    t.teca("start", container, expect=0)
    wait_until(lambda: look_at(t, pid).endswith("/payload"), "the program's executable can be read")


# ---- ids -----------------------------------------------------------------------------------------


@cases(root=(0, 0, []), user=(1000, 1000, []), other_group=(1000, 5, []),
       groups=(1000, 1000, [10, 20, 3000]), root_with_groups=(0, 0, [7, 4294967294]))
@row("PRC-18")
def uid_gid_and_groups_are_the_configured_ones(t, uid, gid, groups):
    user = {"uid": uid, "gid": gid} | ({"additionalGids": groups} if groups else {})
    found = t.report(minimal(user=user))
    eq((found["uids"], found["gids"], sorted(found["groups"])),
       ([uid] * 3, [gid] * 3, sorted(groups)),
       "uids, gids, groups")


@test
def the_groups_of_the_runtime_are_dropped(t):
    found = t.report(minimal(), preexec_fn=lambda: os.setgroups([1, 2, 3, 4711]))
    eq(found["groups"], [], "groups inside")


@test
@row("PRC-18")
def the_ids_come_from_the_numbers_and_not_from_the_image(t):
    found = t.report(minimal(user={"uid": 4000000000, "gid": 3999999999}))
    eq((found["uids"][0], found["gids"][0]), (4000000000, 3999999999), "ids above 2^31")


@cases(strict=(0o077,), none=(0,), usual=(0o022,), odd=(0o753,))
@row("PRC-18")
def the_umask_is_the_configured_one(t, mask):
    found = t.report(minimal(user={"uid": 0, "gid": 0, "umask": mask}),
                     preexec_fn=lambda: os.umask(0o27))
    eq(found["umask"], mask, "umask inside")


# ---- limits --------------------------------------------------------------------------------------


@test
@row("PRC-8")
def rlimits_are_the_configured_ones(t):
    limits = {"RLIMIT_NOFILE": (512, 1024), "RLIMIT_CORE": (0, 0), "RLIMIT_NPROC": (100, 200),
              "RLIMIT_STACK": (1 << 20, 1 << 23), "RLIMIT_AS": (1 << 30, 1 << 33),
              "RLIMIT_FSIZE": (1 << 20, 1 << 40), "RLIMIT_CPU": (60, 120),
              "RLIMIT_MEMLOCK": (4096, 65536), "RLIMIT_SIGPENDING": (10, 20),
              "RLIMIT_MSGQUEUE": (1000, 2000), "RLIMIT_DATA": (1 << 28, 1 << 29),
              "RLIMIT_RSS": (1 << 28, 1 << 29), "RLIMIT_LOCKS": (5, 6), "RLIMIT_RTTIME": (7, 8)}
    entries = [{"type": k, "soft": s, "hard": h} for k, (s, h) in limits.items()]
    found = t.report(minimal(rlimits=entries))["rlimits"]
    for name, pair in limits.items():
        eq(found[name], list(pair), name)


@test
def an_rlimit_of_two_to_the_64_minus_1_is_unlimited(t):
    both = (1 << 64) - 1
    eq(resource.getrlimit(resource.RLIMIT_CPU)[1], -1,
       "the host's RLIMIT_CPU (the test needs no limit)")
    found = t.report(minimal(rlimits=[{"type": "RLIMIT_CPU", "soft": both, "hard": both}]))
    eq(found["rlimits"]["RLIMIT_CPU"], [both, both], "RLIMIT_CPU inside")


@test
@row("PRC-8")
def an_rlimit_above_two_to_the_53_is_exact(t):
    odd = (1 << 53) + 1
    found = t.report(minimal(rlimits=[{"type": "RLIMIT_FSIZE", "soft": odd, "hard": odd + 2}]))
    eq(found["rlimits"]["RLIMIT_FSIZE"], [odd, odd + 2], "RLIMIT_FSIZE inside")


@test
def an_unconfigured_rlimit_is_inherited(t):
    found = t.report(minimal(),
                     preexec_fn=lambda: resource.setrlimit(resource.RLIMIT_NOFILE, (333, 444)))
    eq(found["rlimits"]["RLIMIT_NOFILE"], [333, 444], "RLIMIT_NOFILE inside")


@cases(soft_above_hard=({"type": "RLIMIT_NOFILE", "soft": 20, "hard": 10}, "/process/rlimits/0"),
       unknown_type=({"type": "RLIMIT_COFFEE", "soft": 1, "hard": 1}, "RLIMIT_COFFEE"))
@row("PRC-7")
def an_impossible_rlimit_is_refused(t, entry, text):
    t.refused(minimal(rlimits=[entry]), text)


@test
def a_low_limit_of_open_files_does_not_stop_the_runtime(t):
    entry = [{"type": "RLIMIT_NOFILE", "soft": 3, "hard": 3}]
    eq(t.ok(minimal("/bin/echo", "started", rlimits=entry)), "started\n", "stdout")


@cases(higher=500, highest=1000, same=0)
@row("PRC-13")
def the_oom_score_adjustment_is_the_configured_one(t, value):
    eq(t.report(minimal(oomScoreAdj=value))["oom_score_adj"], f"{value}\n", "oom_score_adj inside")


@test
@row("PRC-13")
def an_unconfigured_oom_score_adjustment_is_left_alone(t):
    def raised():
        with open("/proc/self/oom_score_adj", "w", encoding="ascii") as f:
            f.write("77")

    eq(t.report(minimal(), preexec_fn=raised)["oom_score_adj"], "77\n", "oom_score_adj inside")


# ---- environment, arguments, directory -----------------------------------------------------------


@test
@row("PRC-5")
def the_environment_is_the_configured_one_and_nothing_of_the_runtime(t):
    env = [PATH_OF_THE_IMAGE, "A=1", "EMPTY=", "SPACED=a b\tc", "EQUALS=a=b=c", "HOME=/else"]
    found = t.report(minimal(env=env), env=dict(os.environ, SECRET="of the host"))
    eq(sorted(found["env"]), sorted(env), "environment inside")


@test
def nothing_of_the_runtime_shows_in_an_empty_environment(t):
    config = minimal()
    del config["process"]["env"]
    found = t.report(config, env=dict(os.environ, SECRET="of the host"))
    check(not [e for e in found["env"] if not e.startswith("HOME=")],
          f"environment: {found['env']}")


@test
def arguments_arrive_byte_by_byte(t):
    args = ["", " ", "a b", "\"quoted\"", "new\nline", "$HOME", "*", "\u00e9\u4e16", "-n"]
    text = t.ok(minimal("/bin/sh", "-c", 'for a; do printf "%s|" "$a"; done', "sh", *args))
    eq(text, "".join(a + "|" for a in args), "arguments inside")


@test
@row("PRC-4")
def the_working_directory_is_the_configured_one(t):
    eq(t.report(minimal(cwd="/var/tmp"))["cwd"], "/var/tmp", "cwd inside")


@test
def a_missing_working_directory_is_made(t):
    eq(t.report(minimal(cwd="/new/deep/place"), rootfs=_writable(t))["cwd"], "/new/deep/place",
       "cwd inside")


def _writable(t):
    root = t.own_root()
    os.makedirs(os.path.join(root, "new"))
    return root


@test
def a_working_directory_that_is_a_file_is_refused(t):
    t.refused(minimal(cwd="/etc/passwd"), "/process/cwd", "/etc/passwd")


@test
def the_working_directory_may_be_unreadable_for_the_user(t):
    root = t.own_root()
    os.chmod(os.path.join(root, "root"), 0o700)
    config = minimal(cwd="/root", user={"uid": 1000, "gid": 1000}, capabilities={})
    done = t.run(config, rootfs=root)
    check(done.status in (0, 1), f"exit status {done.status}")
    if done.status:
        contains(done.error, "/process/cwd", "stderr")


@test
def the_runtime_works_in_a_deleted_directory(t):
    gone = t.path("gone")
    os.mkdir(gone)
    where = t.bundle(minimal("/bin/echo", "started"))

    def leave():
        os.chdir(gone)
        os.rmdir(gone)

    done = t.teca("run", "--bundle", where, t.new_id(), cwd=None, preexec_fn=leave, expect=0)
    eq(done.text, "started\n", "stdout")


@test
def the_bundle_is_the_current_directory_when_none_is_named(t):
    where = t.bundle(minimal("/bin/echo", "here"))
    eq(t.teca("run", t.new_id(), cwd=where, expect=0).text, "here\n", "stdout")


@test
def a_relative_bundle_and_a_relative_root_are_understood(t):
    where = t.bundle(minimal("/bin/echo", "here"))
    os.symlink(t.shared_root, os.path.join(where, "files"))
    with open(os.path.join(where, "config.json"), encoding="utf-8") as f:
        config = json.load(f)
    config["root"]["path"] = "files"
    with open(os.path.join(where, "config.json"), "w", encoding="utf-8") as f:
        json.dump(config, f)
    name = os.path.basename(where)
    eq(t.teca("run", "--bundle", f"./{name}/", t.new_id(), expect=0).text, "here\n", "stdout")


# ---- the runtime itself --------------------------------------------------------------------------


@test
def run_waits_for_init_and_leaves_nothing_running(t):
    config = minimal("/bin/sh", "-c", "sleep 1000 & sleep 1001 & exit 5")
    container = t.new_id()
    started = time.monotonic()
    eq(t.run(config, container=container).status, 5, "exit status of run")
    check(time.monotonic() - started < 20, "run waited for the children of init")
    t.nothing_of(container)


@test
def without_a_pid_namespace_run_kills_what_init_left(t):
    config = without(minimal("/bin/sh", "-c", "sleep 1000 >/dev/null 2>&1 & echo $!"), "pid")
    pid = int(t.ok(config))
    wait_until(lambda: not is_alive(pid), "the child of init is gone", 5)


@test
def a_process_without_capabilities_of_its_own_session_still_gets_kill(t):
    container, pid = t.sleeper(minimal(user={"uid": 1000, "gid": 1000}, capabilities={}))
    t.teca("kill", container, "KILL", expect=0)
    wait_until(lambda: not is_alive(pid), "init died")


@test
def a_joined_ipc_namespace_and_all_others_new_still_run(t):
    pid = t.holder("--ipc")
    found = t.report(joined(default(), "ipc", f"/proc/{pid}/ns/ipc"))
    eq(found["ns"]["ipc"], os.readlink(f"/proc/{pid}/ns/ipc"), "ipc namespace")
