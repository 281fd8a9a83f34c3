# SPDX-License-Identifier: Apache-2.0
"""
Containers that are dumped and restored by Debian's CRIU: engine-contract 1.3.13, 1.3.14. They skip on
a kernel that is too new for it.
"""
import os
import select
import socket
import subprocess
import termios

from harness import allow, capabilities, check, contains, eq, joined, lacks, minimal, mount_at, test, wait_until
from test_checkpoint import (LONG, count_of, counting, dump, goes_on_from, in_a_redirection, limits_of, needs_criu,
                             restore, root_of, start)
from test_terminal import Engine, bare, terminal

ANSWER = 'i=0; while read line; do i=$((i+1)); echo "$i $line"; done; exit 7'


# /dev/loop-control may be read; /dev/loop0, which the VM has too, may be made (c and b *:* m is in every list).
DEVICE_RULES = [{"allow": False, "access": "rwm"},
                {"allow": True, "type": "c", "major": 10, "minor": 237, "access": "r"}]
DEVICES_AS_RULED = "read\n/bin/sh: can't open /tmp/refused: Operation not permitted\n"


def tried_devices(t, container):
    """What a process with CAP_MKNOD can open; the host itself can open both."""
    for name in ("loop-control", "loop0"):
        os.close(os.open(f"/dev/{name}", os.O_RDONLY))
    return t.teca("exec", container, "/bin/sh", "-c",
                  "rm -f /tmp/read /tmp/refused; mknod /tmp/read c 10 237; mknod /tmp/refused b 7 0; "
                  "exec 2>&1; (: </tmp/read) && echo read; (: </tmp/refused) && echo read; true", expect=0).text


@test(seconds=400)
def what_was_counted_goes_on_being_counted(t):
    """With an external mount, limits, stdio of the host's, a pid file; and the same as it ran before."""
    needs_criu(t)
    config, file = counting(t)
    config = joined(config, "cgroup")
    config["linux"]["resources"] = {"pids": {"limit": 50}, "devices": DEVICE_RULES}
    config["process"]["capabilities"] = capabilities("CAP_MKNOD")
    container, where = start(t, config)
    goes_on_from(file, 3, "before")
    eq(tried_devices(t, container), DEVICES_AS_RULED, "its devices before")
    eq(dump(t, container, expect=0).error, "", "stderr")
    at = count_of(file)
    t.nothing_of(container)
    contains(t.teca("state", container).error, "does not exist", "it is gone")
    check(os.path.exists(t.path("images", "dump.log")), "CRIU's log")
    check(os.path.exists(t.path("images", "stats-dump")), "CRIU's statistics")
    eq(restore(t, container, where, "--detach", "-no-subreaper", "--no-pivot", "--pid-file", t.path("pid"),
               expect=0).error, "", "stderr")
    goes_on_from(file, at, "after the restore")
    state = t.state(container)
    eq(state["status"], "running", "status")
    with open(t.path("pid"), encoding="ascii") as f:
        eq(int(f.read()), state["pid"], "the pid file")
    with open(f"/proc/{state['pid']}/mountinfo", encoding="utf-8") as f:
        mount_at(f.read(), "/data")
    limits = limits_of(state["pid"])
    eq(limits["pids.max"], "50", "the limit of processes")
    eq(t.teca("exec", container, "/bin/cat", "/proc/1/comm", expect=0).text, "sh\n", "exec in it")
    eq(tried_devices(t, container), DEVICES_AS_RULED, "its devices after the restore")
    t.teca("kill", container, "KILL", expect=0)
    wait_until(lambda: t.state(container)["status"] == "stopped", "it can be killed")
    t.teca("delete", container, expect=0)
    t.nothing_of(container)


@test(seconds=400)
def it_may_run_on_and_be_restored_under_another_name(t):
    """--leave-running after two of --pre-dump; the new one has its own cgroup."""
    needs_criu(t)
    config, file = counting(t)
    container, where = start(t, config)
    pid = t.pid(container)
    goes_on_from(file, 3, "before")
    dump(t, container, "--pre-dump", images="first", expect=0)
    dump(t, container, "--pre-dump", "--parent-path", "../first", images="second", expect=0)
    eq(t.state(container)["pid"], pid, "its pid after pre-dumps")
    dump(t, container, "--leave-running", "--leave-running", "--parent-path", "../second", expect=0)
    at = count_of(file)
    goes_on_from(file, at, "after the dump")
    eq((t.state(container)["status"], t.state(container)["pid"]), ("running", pid), "status and pid")
    check(os.path.islink(t.path("images", "parent")), "the dump stands on the pre-dump")
    t.teca("delete", "--force", container, expect=0)
    other = t.new_id()
    restore(t, other, where, "--detach", expect=0)
    goes_on_from(file, count_of(file), "the other one")
    paths = limits_of(t.pid(other))["paths"]
    check(any(p.endswith(other) for p in paths), f"its cgroups: {paths}")
    check(not any(p.endswith(container) for p in paths), f"its cgroups: {paths}")


@test(seconds=400)
def in_the_foreground_its_exit_status_is_restores(t):
    """And its fds 0, 1 and 2, which were pipes, are restore's."""
    needs_criu(t)
    config = minimal("/bin/sh", "-c", ANSWER)
    container, where = t.new_id(), t.bundle(config, rootfs=t.own_root())
    first = t.popen("run", "--bundle", where, container, stdin=subprocess.PIPE)
    first.stdin.write(b"one\n")
    first.stdin.flush()
    eq(t.read_line(first), "1 one", "the first answer")
    dump(t, container, expect=0)
    eq(t.end_of(first), 137, "exit status of `run`: killed by CRIU")
    second = t.popen("restore", "--image-path", t.path("images"), "--bundle", where, container,
                     stdin=subprocess.PIPE)
    second.stdin.write(b"two\n")
    second.stdin.flush()
    eq(t.read_line(second, LONG), "2 two", "the second answer")
    second.stdin.close()
    eq(t.end_of(second), 7, "exit status of `restore`")
    eq(second.stderr.read(), b"", "stderr")
    t.nothing_of(container)


def say(master, text):
    os.write(master, text)
    got = b""
    while b"\r\n" not in got.replace(text.replace(b"\n", b"\r\n"), b"", 1):
        check(select.select([master], [], [], allow(10))[0], f"no answer, so far {got!r}")
        got += os.read(master, 4096)
    return got.replace(text.replace(b"\n", b"\r\n"), b"", 1).decode().strip()


@test(seconds=400)
def a_terminal_comes_to_the_console_socket_again(t):
    needs_criu(t)
    config = terminal(bare("/bin/sh", "-c", ANSWER), 33, 55)
    container, where = t.new_id(), t.bundle(config, rootfs=t.own_root())
    engine = Engine(t.path("console1"))
    engine.socket.settimeout(allow(10))
    t.teca("run", "-d", "--console-socket", engine.path, "--bundle", where, container, expect=0)
    _, master = engine.take()
    eq(say(master, b"one\n"), "1 one", "the first answer")
    dump(t, container, "--shell-job", expect=0)
    os.close(master)
    engine = Engine(t.path("console2"))
    engine.socket.settimeout(allow(10))
    restore(t, container, where, "--detach", "--shell-job", "--console-socket", engine.path, expect=0)
    name, master = engine.take()
    contains(name, "/dev/pts/", "what the message says")
    eq(say(master, b"two\n"), "2 two", "the second answer")
    eq(termios.tcgetwinsize(master), (33, 55), "its size")


@test(seconds=400)
def a_joined_network_namespace_is_left_to_the_engine(t):
    """The dump leaves it out, and the restore joins the one that the configuration names then."""
    needs_criu(t)
    config, file = counting(t)
    nets = [t.holder("--net"), t.holder("--net")]
    container, where = start(t, joined(config, "network", f"/proc/{nets[0]}/ns/net"))
    goes_on_from(file, 3, "before")
    dump(t, container, expect=0)
    at = count_of(file)
    other = t.bundle(joined(config, "network", f"/proc/{nets[1]}/ns/net"), rootfs=root_of(where))
    restore(t, container, other, "--detach", expect=0)
    goes_on_from(file, at, "after the restore")
    eq(os.readlink(f"/proc/{t.pid(container)}/ns/net"), os.readlink(f"/proc/{nets[1]}/ns/net"),
       "its network namespace")


@test(seconds=400)
def an_open_tcp_connection_is_kept(t):
    needs_criu(t)
    config = minimal("/payload", "serve", "4711")
    container, where = t.new_id(), t.bundle(config, rootfs=t.own_root())
    first = t.popen("run", "--bundle", where, container)
    eq(t.read_line(first), "listening", "the server")
    client = socket.create_connection(("127.0.0.1", 4711), allow(10))
    lines = client.makefile("rw")

    def ask(text):
        lines.write(text + "\n")
        lines.flush()
        return lines.readline()

    eq(ask("one"), "1 one\n", "the first answer")
    done = dump(t, container)
    eq(done.status, 1, "exit status without --tcp-established")
    contains(done.error, "tcp-established", "stderr")
    eq(ask("still"), "2 still\n", "after a dump that failed")
    dump(t, container, "--tcp-established", expect=0)
    t.end_of(first)
    second = t.popen("restore", "--tcp-established", "--image-path", t.path("images"), "--bundle", where,
                     container)
    eq(ask("two"), "3 two\n", "the answer of the restored server, by the same connection")
    client.close()
    lines.close()
    eq(t.end_of(second), 0, "exit status of `restore`")


@test(seconds=400)
def hooks_of_a_restore_are_those_before_its_processes_run(t):
    needs_criu(t)
    config, file = counting(t)
    told = t.path("told")
    hook = {"path": "/bin/sh", "args": ["sh", "-c", f"echo $0 >>{told}; cat >>{told}"]}
    config["hooks"] = {kind: [hook | {"args": [*hook["args"], kind]}]
                       for kind in ("createRuntime", "poststart", "poststop")}
    container, where = start(t, config)
    goes_on_from(file, 3, "before")
    dump(t, container, expect=0)
    with open(told, encoding="utf-8") as f:
        contains(f.read(), "poststop", "hooks of the dump, which ends the container")
    os.truncate(told, 0)
    at = count_of(file)
    restore(t, container, where, "--detach", expect=0)
    goes_on_from(file, at, "after the restore")
    with open(told, encoding="utf-8") as f:
        text = f.read()
    contains(text, "createRuntime\n", "hooks of the restore")
    contains(text, f'"pid":{t.pid(container)}', "what the hook is told")
    lacks(text, "poststart", "hooks of the restore")


@test(seconds=400)
def a_restore_that_fails_leaves_nothing(t):
    """By CRIU's own failure, and by one of a hook while CRIU waits."""
    needs_criu(t)
    config, file = counting(t)
    container, where = start(t, config)
    goes_on_from(file, 3, "before")
    dump(t, container, expect=0)
    at = count_of(file)
    failing = dict(config, hooks={"createRuntime": [{"path": "/bin/false"}]})
    done = restore(t, container, t.bundle(failing, rootfs=root_of(where)), "--detach", "--pid-file",
                   t.path("pid"))
    eq(done.status, 1, "exit status with a hook that fails")
    contains(done.error, "/hooks/createRuntime/0", "stderr")
    t.nothing_of(container)
    os.remove(t.path("images", "core-1.img"))
    done = restore(t, container, where, "--detach", "--pid-file", t.path("pid"))
    eq(done.status, 1, "exit status without an image")
    contains(done.error, "CRIU failed: ", "stderr")
    contains(done.error, "Unexpected EOF", "stderr")
    contains(done.error, t.path("images", "restore.log"), "stderr")
    t.nothing_of(container)
    eq(count_of(file), at, "nothing has run")
    check(not os.path.exists(t.path("pid")), "no pid file")


@test(seconds=400)
def a_shell_in_the_middle_of_a_redirection_goes_on(t):
    needs_criu(t)
    container, where, file = in_a_redirection(t)
    dump(t, container, expect=0)
    at = count_of(file)
    restore(t, container, where, "--detach", expect=0)
    goes_on_from(file, at, "after the restore")
