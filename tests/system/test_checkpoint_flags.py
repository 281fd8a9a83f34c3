# SPDX-License-Identifier: Apache-2.0
"""
The flags of checkpoint and restore, each with what happens without it: engine-contract 1.3.13, 1.3.14.
They skip on a kernel that is too new for CRIU.
"""
import contextlib
import fcntl
import glob
import os
import pty
import select
import shutil
import socket
import subprocess

from harness import allow, cases, check, contains, eq, joined, lacks, minimal, test, wait_until, with_mount
from test_apparmor import profiles
from test_checkpoint import FILLS_NETWORK, LONG, count_of, counting, dump, goes_on_from, limits_of, needs_criu, restore, start
from test_systemd import systemd, units

# A megabyte that must come back, and a count that must go on. To measure it is to copy it.
WITH_MEMORY = ('x=$(head -c 1000000 /dev/zero | tr "\\0" x); i=0; while :; do i=$((i+1)); echo $i >/data/n; sleep 0.05; '
               'if test -e /data/measure; then echo ${#x} >/data/length; fi; done')


def refused(t, container, *flags, part, **more):
    """A dump that CRIU refuses for want of a flag; the container runs on."""
    done = dump(t, container, *flags, **more)
    eq(done.status, 1, "exit status of the dump without the flag")
    contains(done.error, part, "stderr of the dump without the flag")
    eq(t.state(container)["status"], "running", "status after it")


def running(t, *args, **more):
    """A container with /data of the host's; (id, bundle, /data's path, where it counts)."""
    config, file = counting(t, **more)
    if args:
        config["process"]["args"] = list(args)
    container, where = start(t, config)
    return container, where, os.path.dirname(file), file


def shell(script):
    return ("/bin/sh", "-c", script)


def memory_is_whole(t, data):
    t.file(os.path.join(data, "measure"))
    wait_until(lambda: count_of(os.path.join(data, "length")) == 1000000, "its memory is as it was", 20)


def pages_in(*names):
    return sum(os.stat(f).st_blocks for f in glob.glob(os.path.join(*names, "pages-*.img")))


def free_port():
    with socket.socket() as s:
        s.bind(("127.0.0.1", 0))
        return s.getsockname()[1]


@contextlib.contextmanager
def criu(t, ready_fd, verb, *args):
    """`criu VERB` beside; it is ready when it has written a byte."""
    reads, writes = os.pipe()
    flags = ("--status-fd", str(writes)) if ready_fd else ()
    process = t.popen(command=["criu", verb, *args, *flags, "-o", t.path(f"{verb}.log"), "-v4"],
                      pass_fds=(writes,))
    os.close(writes)
    try:
        if ready_fd:
            check(select.select([reads], [], [], allow(20))[0] and os.read(reads, 1) == b"\0",
                  f"criu {verb} is ready")
        yield process
    finally:
        os.close(reads)


# ---- where things go ----------------------------------------------------------------------------

@test(seconds=400)
def logs_go_to_the_work_path_and_images_to_theirs(t):
    needs_criu(t)
    container, where, _, file = running(t)
    goes_on_from(file, 3, "before")
    t.teca("checkpoint", "--image-path", t.path("i"), "--work-path", t.path("w"), container, expect=0,
           seconds=LONG)
    eq(sorted(os.listdir(t.path("w"))), ["dump.log", "stats-dump"], "the work path after the dump")
    check(os.path.exists(t.path("i", "core-1.img")), "an image in the image path")
    at = count_of(file)
    # Relative ones, and the default, are the caller's.
    os.rename(t.path("i"), t.path("checkpoint"))
    t.teca("restore", "--work-path", "w", "--bundle", where, "--detach", container, expect=0, seconds=LONG)
    goes_on_from(file, at, "after the restore")
    check(os.path.exists(t.path("w", "restore.log")), "CRIU's log of the restore")
    lacks(os.listdir(t.path("checkpoint")), "restore.log", "the image path")


@test(seconds=400)
def auto_dedup_frees_in_the_pre_dump_what_the_dump_has_again(t):
    needs_criu(t)
    container, where, data, file = running(t, *shell(WITH_MEMORY))
    goes_on_from(file, 3, "before")
    dump(t, container, "--pre-dump", images="first", expect=0)
    whole = pages_in(t.path("first"))
    dump(t, container, "--leave-running", "--parent-path", "../first", images="second", expect=0)
    eq(pages_in(t.path("first")), whole, "the pre-dump after a dump without --auto-dedup")
    check(pages_in(t.path("second")) < whole / 2, "the dump holds what has changed only")
    dump(t, container, "--auto-dedup", "--parent-path", "../first", expect=0)
    check(pages_in(t.path("first")) < whole, "the pre-dump has holes")
    at = count_of(file)
    restore(t, container, where, "--detach", expect=0)
    goes_on_from(file, at, "after the restore")
    memory_is_whole(t, data)


@test(seconds=400)
def memory_goes_to_a_page_server(t):
    needs_criu(t)
    container, where, data, file = running(t, *shell(WITH_MEMORY))
    goes_on_from(file, 3, "before")
    os.mkdir(t.path("there"))
    port = free_port()
    with criu(t, True, "page-server", "--images-dir", t.path("there"), "--address", "127.0.0.1", "--port",
              str(port)) as server:
        dump(t, container, "--page-server", f"127.0.0.1:{port}", expect=0)
        eq(t.end_of(server), 0, "exit status of the page server")
    eq(pages_in(t.path("images")), 0, "memory beside the other images")
    check(pages_in(t.path("there")) * 512 > 1000000, "memory at the page server")
    at = count_of(file)
    for name in os.listdir(t.path("there")):
        shutil.copy(t.path("there", name), t.path("images"))
    restore(t, container, where, "--detach", expect=0)
    goes_on_from(file, at, "after the restore")
    memory_is_whole(t, data)


@test(seconds=400)
def lazy_pages_are_fetched_when_they_are_used(t):
    """The dump serves them until all were fetched; --status-fd says when it can."""
    needs_criu(t)
    container, where, data, file = running(t, *shell(WITH_MEMORY))
    goes_on_from(file, 3, "before")
    port = free_port()
    reads, writes = os.pipe()
    first = t.popen("checkpoint", "--image-path", t.path("images"), "--lazy-pages", "--page-server",
                    f"127.0.0.1:{port}", "--status-fd", str(writes), container, pass_fds=(writes,))
    os.close(writes)
    check(select.select([reads], [], [], allow(LONG))[0], "the dump says that pages can be fetched")
    eq(os.read(reads, 2), b"\0", "what it says")
    os.close(reads)
    eq(first.poll(), None, "it waits for who fetches them")
    at = count_of(file)
    check(pages_in(t.path("images")) * 512 < 900000, "memory in the images")
    other = t.new_id()
    with criu(t, False, "lazy-pages", "--page-server", "--address", "127.0.0.1", "--port", str(port),
              "--images-dir", t.path("images"), "--work-dir", t.path("images")) as daemon:
        wait_until(lambda: os.path.exists(t.path("images", "lazy-pages.socket")), "the daemon is ready", 20)
        restore(t, other, where, "--lazy-pages", "--detach", expect=0)
        goes_on_from(file, at, "after the restore")
        eq(t.end_of(daemon, LONG), 0, "exit status of the daemon")
    eq(t.end_of(first, LONG), 0, "exit status of the dump")
    t.nothing_of(container)
    with open(t.path("lazy-pages.log"), encoding="utf-8", errors="replace") as f:
        contains(f.read(), "uffd", "what the daemon has done")
    memory_is_whole(t, data)


# ---- what must be allowed -----------------------------------------------------------------------

@test(seconds=400)
def a_lock_of_a_file_is_held_again(t):
    needs_criu(t)
    container, where, data, _ = running(t, "/payload", "lock", "/data/lock")
    lock = os.path.join(data, "lock")

    def is_locked():
        if not os.path.exists(lock):
            return False
        with open(lock, "rb") as f:
            try:
                fcntl.flock(f, fcntl.LOCK_EX | fcntl.LOCK_NB)
            except BlockingIOError:
                return True
        return False

    wait_until(is_locked, "the container holds the lock", 20)
    refused(t, container, part="file locks")
    dump(t, container, "--file-locks", expect=0)
    check(not is_locked(), "the lock is free when the container is gone")
    restore(t, container, where, "--detach", "--file-locks", expect=0)
    check(is_locked(), "the lock is held again")


@test(seconds=400)
def an_unlinked_file_with_another_name_is_open_again(t):
    needs_criu(t)
    script = ('echo kept >/tmp/a; ln /tmp/a /tmp/b; exec 3</tmp/a; rm /tmp/a; echo 1 >/data/n; '
              'until test -e /data/go; do sleep 0.05; done; cat <&3 >/data/read; sleep 1000')
    container, where, data, file = running(t, *shell(script))
    goes_on_from(file, 0, "before")
    refused(t, container, part="link-remap")
    dump(t, container, "--link-remap", expect=0)
    restore(t, container, where, "--link-remap", "--detach", expect=0)
    t.file("data/go")
    wait_until(lambda: os.path.exists(os.path.join(data, "read")), "it goes on", 20)

    def read():
        with open(os.path.join(data, "read"), encoding="ascii") as f:
            return f.read()

    wait_until(lambda: read() == "kept\n", "what is read through the fd", 20)


@test(seconds=400)
def a_unix_socket_outside_is_connected_again(t):
    """A datagram socket, by its name, which must be the same inside (criu(8))."""
    needs_criu(t)
    outside = socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM)
    outside.settimeout(allow(20))
    where_it_is = t.path("d")
    os.mkdir(where_it_is)
    name = os.path.join(where_it_is, "s")
    outside.bind(name)
    config = with_mount(minimal("/payload", "tick", name), where_it_is, "bind", where_it_is, "bind", "rw")
    config["root"]["readonly"] = False
    container, where = start(t, config)
    eq(outside.recv(10), b"1", "the first word")
    refused(t, container, part="ext-unix-sk")
    dump(t, container, "--ext-unix-sk", expect=0)
    outside.setblocking(False)
    said = []
    with contextlib.suppress(BlockingIOError):
        while True:
            said.append(int(outside.recv(10)))
    outside.settimeout(allow(20))
    restore(t, container, where, "--ext-unix-sk", "--detach", expect=0)
    eq(int(outside.recv(10)), said[-1] + 1, "the next word")


@test(seconds=400)
def the_callers_terminal_is_that_of_the_restore(t):
    """fds 0, 1 and 2 of a container without process.terminal are the terminal where `run` was called."""
    needs_criu(t)
    config, file = counting(t)
    container, where = t.new_id(), t.bundle(config, rootfs=t.own_root())
    ends = [pty.openpty(), pty.openpty()]
    first = t.popen("run", "--bundle", where, container, stdin=ends[0][1], stdout=ends[0][1], stderr=ends[0][1])
    goes_on_from(file, 3, "before")
    dump(t, container, expect=0)
    eq(t.end_of(first), 137, "exit status of `run`")
    at = count_of(file)
    second = t.popen("restore", "--image-path", t.path("images"), "--bundle", where, container,
                     stdin=ends[1][1], stdout=ends[1][1], stderr=ends[1][1])
    goes_on_from(file, at, "after the restore")
    eq(os.readlink(f"/proc/{t.pid(container)}/fd/1"), os.ttyname(ends[1][1]), "its terminal")
    t.teca("kill", container, "KILL", expect=0)
    eq(t.end_of(second), 137, "exit status of `restore`")
    for fd in (*ends[0], *ends[1]):
        os.close(fd)


# ---- TCP ----------------------------------------------------------------------------------------

def serving(t, port):
    """(id, bundle, the process of `run`, a client with an answer)"""
    container, where = t.new_id(), t.bundle(minimal("/payload", "serve", str(port)), rootfs=t.own_root())
    first = t.popen("run", "--bundle", where, container)
    eq(t.read_line(first), "listening", "the server")
    client = socket.create_connection(("127.0.0.1", port), allow(10))
    client.sendall(b"one\n")
    eq(client.recv(100), b"1 one\n", "the first answer")
    return container, where, first, client


@test(seconds=400)
def tcp_close_restores_without_the_connections(t):
    needs_criu(t)
    container, where, first, client = serving(t, free_port())
    dump(t, container, "--tcp-established", expect=0)
    t.end_of(first)
    client.close()
    ask = ("restore", "--image-path", t.path("images"), "--bundle", where, container)
    without = t.popen(*ask)
    eq(t.end_of(without, LONG), 1, "exit status of the restore without the flag")
    contains(without.stderr.read().decode(), "Connected TCP socket in image", "stderr")
    t.nothing_of(container)
    # The server finds its connection closed, and ends.
    eq(t.end_of(t.popen(*ask, "--tcp-close"), LONG), 0, "exit status of the restored server")
    t.nothing_of(container)


@test(seconds=400)
def a_connection_that_nobody_has_accepted_can_be_left_out(t):
    needs_criu(t)
    port = free_port()
    container, where, first, client = serving(t, port)
    waiting = socket.create_connection(("127.0.0.1", port), allow(10))
    refused(t, container, "--tcp-established", part="In-flight")
    dump(t, container, "--tcp-established", "--tcp-skip-in-flight", expect=0)
    t.end_of(first)
    second = t.popen("restore", "--tcp-established", "--image-path", t.path("images"), "--bundle", where,
                     container)
    client.settimeout(allow(LONG))
    client.sendall(b"two\n")
    eq(client.recv(100), b"2 two\n", "the answer of the restored server")
    client.close()
    waiting.close()
    eq(t.end_of(second), 0, "exit status of `restore`")


@cases(iptables="iptables", nftables="nftables")
def packets_are_held_back_by(t, which):
    """And let go of again: the connection goes on. (At a restore CRIU 3.17 seeks nftables' under another name.)"""
    needs_criu(t)
    container, _, first, client = serving(t, free_port())
    dump(t, container, "--tcp-established", "--leave-running", "--network-lock", which, expect=0)
    with open(t.path("images", "dump.log"), encoding="utf-8", errors="replace") as f:
        text = f.read()
    for name in ("iptables", "nftables"):
        eq(f"Running {name} [" in text, name == which, f"whether CRIU has used {name}")
    client.settimeout(allow(20))
    client.sendall(b"two\n")
    eq(client.recv(100), b"2 two\n", "the answer after the dump")
    client.close()
    eq(t.end_of(first), 0, "exit status of `run`")


@test(seconds=400)
def a_way_that_crius_version_does_not_know_is_its_refusal(t):
    """CRIU 3.17 has no "skip" yet; it does not take another way in silence."""
    needs_criu(t)
    container, where, _, file = running(t)
    goes_on_from(file, 3, "before")
    done = dump(t, container, "--network-lock", "skip")
    if done.status:
        contains(done.error, "CRIU failed", "stderr")
        eq(t.state(container)["status"], "running", "status after it")


@test(seconds=400)
def what_hooks_put_into_the_network_namespace_they_put_there_again(t):
    """dockerd's hook does so, and dockerd asks for no --empty-ns."""
    needs_criu(t)
    config, file = counting(t)
    config["hooks"] = {"createRuntime": [FILLS_NETWORK]}
    container, where = start(t, joined(config, "network"))

    def devices():
        done = subprocess.run(["nsenter", "-t", str(t.pid(container)), "-n", "ip", "-o", "link"], check=True,
                              capture_output=True, text=True)
        return {line.split()[1].split("@")[0].rstrip(":"): "UP" in line.split("<")[1].split(">")[0].split(",")
                for line in done.stdout.splitlines()}

    goes_on_from(file, 3, "before")
    before = devices()
    eq((before["lo"], before["eth0"]), (True, False), "devices before")
    dump(t, container, expect=0)
    check(not glob.glob(t.path("images", "netdev-*")), "no dump of the devices")
    at = count_of(file)
    restore(t, container, where, "--detach", expect=0)
    goes_on_from(file, at, "after the restore")
    eq(devices(), before, "devices after the restore")


@test(seconds=400)
def an_empty_network_namespace_stays_for_who_fills_it(t):
    """The container's own loopback device is up; with --empty-ns nobody restores that."""
    needs_criu(t)
    config, file = counting(t)
    container, where = start(t, joined(config, "network"))
    goes_on_from(file, 3, "before")
    def loopback():
        pid = t.pid(container)
        done = subprocess.run(["nsenter", "-t", str(pid), "-n", "ip", "-o", "link", "show", "lo"], check=True,
                              capture_output=True, text=True)
        return "UP" in done.stdout.split("<")[1].split(">")[0].split(",")

    check(loopback(), "the loopback device is up")
    dump(t, container, "--leave-running", images="full", expect=0)
    dump(t, container, "--empty-ns", "network", images="empty", expect=0)
    check(glob.glob(t.path("full", "netdev-*")), "a dump of the network namespace")
    check(not glob.glob(t.path("empty", "netdev-*")), "none with --empty-ns")
    at = count_of(file)
    restore(t, container, where, "--detach", "--empty-ns", "network", images="empty", expect=0)
    goes_on_from(file, at, "after the restore")
    check(not loopback(), "the loopback device was not restored")
    t.teca("delete", "--force", container, expect=0)
    restore(t, container, where, "--detach", images="full", expect=0)
    check(loopback(), "the loopback device was restored")


# ---- cgroups, labels ----------------------------------------------------------------------------

@cases(ignore=("ignore", False), soft=("soft", True), full=("full", True))
def cgroups_below_the_containers_are_made_again(t, mode, below):
    needs_criu(t)
    if os.path.exists("/sys/fs/cgroup/memory"):
        t.skip("cgroup v2 is not alone here")
    config, file = counting(t)
    config["process"]["args"][2] = ("mkdir /sys/fs/cgroup/below; echo $$ >/sys/fs/cgroup/below/cgroup.procs; "
                                    + config["process"]["args"][2])
    config = with_mount(joined(config, "cgroup"), "/sys/fs/cgroup", "cgroup", "cgroup", "rw")
    container, where = start(t, config)
    goes_on_from(file, 3, "before")
    dump(t, container, "--manage-cgroups-mode", mode, expect=0)
    at = count_of(file)
    restore(t, container, where, "--detach", "--manage-cgroups-mode", mode, expect=0)
    goes_on_from(file, at, "after the restore")
    with open(f"/proc/{t.pid(container)}/cgroup", encoding="ascii") as f:
        path = f.read().strip()
    check(path.endswith("/below" if below else container), f"the cgroup of its processes: {path}")


@test(seconds=400)
def strict_refuses_a_cgroup_that_is_there(t):
    """criu(8): and the container's own is there, for it is made first, as runc makes it."""
    needs_criu(t)
    container, where, _, file = running(t)
    goes_on_from(file, 3, "before")
    dump(t, container, "--manage-cgroups-mode", "strict", expect=0)
    done = restore(t, container, where, "--detach", "--manage-cgroups-mode", "strict")
    eq(done.status, 1, "exit status")
    contains(done.error, "Abort restore of existing cgroups", "stderr")
    t.nothing_of(container)


@test(seconds=400)
def another_apparmor_profile_may_be_had(t):
    needs_criu(t)
    with profiles(t) as names:
        config, file = counting(t)
        config["process"]["apparmorProfile"] = names["a"]
        container, where = start(t, config)
        goes_on_from(file, 3, "before")
        dump(t, container, expect=0)
        at = count_of(file)
        restore(t, container, where, "--detach", "--lsm-profile", f"apparmor:{names['b']}", expect=0)
        goes_on_from(file, at, "after the restore")
        with open(f"/proc/{t.pid(container)}/attr/current", encoding="ascii") as f:
            eq(f.read().split()[0], names["b"], "its profile")
        t.teca("delete", "--force", container, expect=0)


@cases(soft="soft", full="full")
def limits_on_v1_are_those_of_the_bundle(t, mode):
    """And not those that were changed before the dump."""
    needs_criu(t)
    if not os.path.exists("/sys/fs/cgroup/memory"):
        t.skip("no v1 hierarchy of memory")
    config, file = counting(t)
    config["linux"]["resources"] = {"memory": {"limit": 64 << 20}}
    container, where = start(t, config)
    goes_on_from(file, 3, "before")
    t.teca("update", "--memory", str(48 << 20), container, expect=0)
    before = limits_of(t.pid(container))
    eq(before["memory.limit_in_bytes"], str(48 << 20), "its limit before the dump")
    dump(t, container, "--manage-cgroups-mode", mode, expect=0)
    at = count_of(file)
    restore(t, container, where, "--detach", "--manage-cgroups-mode", mode, expect=0)
    goes_on_from(file, at, "after the restore")
    limits = limits_of(t.pid(container))
    eq(limits["memory.limit_in_bytes"], str(64 << 20), "its limit")
    eq(limits["paths"], before["paths"], "its cgroups")
    check(any(p.endswith(container) for p in limits["paths"]), f"its cgroups: {limits['paths']}")


@test(seconds=400)
def a_scope_of_systemds_is_made_again(t):
    needs_criu(t)
    systemd(t)
    config, file = counting(t)
    config["linux"]["cgroupsPath"] = f"system.slice:{t.token}:c"
    config["linux"]["resources"] = {"pids": {"limit": 50}}
    container, where = start(t, config)
    goes_on_from(file, 3, "before")
    dump(t, container, expect=0)
    wait_until(lambda: not units(t.token), "the scope is gone", 20)
    at = count_of(file)
    restore(t, container, where, "--detach", expect=0)
    goes_on_from(file, at, "after the restore")
    eq(units(t.token), [f"{t.token}-c.scope"], "the scope")
    eq(limits_of(t.pid(container))["pids.max"], "50", "its limit")
    t.teca("delete", "--force", container, expect=0)
    wait_until(lambda: not units(t.token), "the scope is gone again", 20)
