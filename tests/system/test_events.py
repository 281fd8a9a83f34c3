# SPDX-License-Identifier: Apache-2.0
"""events: what a container uses, its out-of-memory events, and the end of the stream."""
import json
import os
import signal
import time

from harness import (check, contains, eq, hierarchies, is_alive, minimal, only_cgroup1,
                     only_cgroup2, test, wait_until, without)

KEYS = ("cpu", "cpuset", "memory", "pids", "blkio", "hugetlb", "intel_rdt", "network_interfaces")


def numbers(t, container):
    """The data of `events --stats`, after a look at what is around them."""
    done = t.teca("events", "--stats", container, expect=0)
    eq((done.error, done.text.count("\n")), ("", 1), "stderr, and lines on stdout")
    event = json.loads(done.text)
    eq((event["type"], event["id"]), ("stats", container), "type and id")
    return event["data"]


def file_of(container, *names):
    """The first of these files that the container's cgroups have."""
    for _, top, _ in hierarchies():
        for name in names:
            path = f"{top}/teca-{container}/{name}"
            if os.path.exists(path):
                return path
    return None


def value_of(container, *names):
    with open(file_of(container, *names), encoding="ascii") as f:
        return f.read()


def write(path, text):
    with open(path, "w", encoding="ascii") as f:
        f.write(text)


def fds_of(pid):
    """What the descriptors of a process that is at work lead to, as one text."""
    found = []
    for name in os.listdir(f"/proc/{pid}/fd"):
        try:
            found.append(os.readlink(f"/proc/{pid}/fd/{name}"))
        except FileNotFoundError:
            pass
    return " ".join(found)


def next_event(t, process, kind, seconds=20):
    """Reads until an event of this type comes."""
    end = time.monotonic() + seconds
    while time.monotonic() < end:
        event = json.loads(t.read_line(process, seconds))
        if event["type"] == kind:
            return event
    raise AssertionError(f"no event of type {kind}")


def counts_what_the_kernel_counts(t):
    container = t.create(minimal("/payload", "spin"), start=True)
    data = numbers(t, container)
    for key in KEYS:
        check(key in data, f"no {key} in {sorted(data)}")
    usage = data["cpu"]["usage"]
    check(isinstance(usage["kernel"], int) and isinstance(usage["user"], int), f"{usage}")
    wait_until(lambda: numbers(t, container)["cpu"]["usage"]["total"] > usage["total"],
               "the processor's time grows")
    if "throttling" in data["cpu"]:
        eq(sorted(data["cpu"]["throttling"]), ["periods", "throttledPeriods", "throttledTime"],
           "throttling")
    return container, data


@test
def stats_are_one_line_with_what_engines_read(t):
    container, data = counts_what_the_kernel_counts(t)
    eq(data["network_interfaces"], [], "in the host's network nothing is the container's own")
    eq(data["intel_rdt"], {}, "resctrl was not asked for")
    if file_of(container, "pids.current"):
        eq(data["pids"]["current"], 1, "processes")
        write(file_of(container, "pids.max"), "7")
        eq(numbers(t, container)["pids"], {"current": 1, "limit": 7}, "pids with a limit")
    if file_of(container, "memory.limit_in_bytes"):
        write(file_of(container, "memory.limit_in_bytes"), str(64 << 20))
        memory = numbers(t, container)["memory"]
        eq(memory["usage"]["limit"], 64 << 20, "the limit of memory")
        for kind in ("usage", "swap", "kernel", "kernelTCP"):
            check({"limit", "failcnt"} <= set(memory[kind]), f"{kind}: {memory[kind]}")
        eq(sorted(memory["raw"]), sorted(line.split()[0] for line in
                                         value_of(container, "memory.stat").splitlines()), "raw")
    if file_of(container, "cpuset.cpus"):
        eq(len(data["cpuset"]["cpus"]), os.cpu_count(), "processors of the cpuset")


@test
def with_cgroup_v2_alone_too(t):
    only_cgroup2()
    counts_what_the_kernel_counts(t)


@test
def with_cgroup_v1_alone_too(t):
    only_cgroup1()
    counts_what_the_kernel_counts(t)


@test
def the_network_of_its_own_is_counted(t):
    config = minimal("/bin/sh", "-c", "ip link add d0 type bridge; "
                     "echo ready; exec sleep 1000")
    config["linux"]["namespaces"].append({"type": "network"})
    config["process"]["capabilities"] = {k: ["CAP_NET_ADMIN"] for k in
                                         ("bounding", "effective", "permitted")}
    container = t.create(config, start=True)

    def names():
        return [i["Name"] for i in numbers(t, container)["network_interfaces"]]

    wait_until(lambda: names() == ["d0"], "the interface that the container made, and no other")
    one = numbers(t, container)["network_interfaces"][0]
    eq(sorted(one), sorted(["Name"] + [d + k for d in ("Rx", "Tx") for k in
                                       ("Bytes", "Packets", "Errors", "Dropped")]), "its counters")


@test
def a_line_comes_at_every_interval_until_a_signal_ends_it(t):
    container, _ = t.sleeper()
    for number in (signal.SIGINT, signal.SIGTERM):
        process = t.popen("events", "--interval", "50ms", container)
        first = json.loads(t.read_line(process))
        eq((first["type"], first["id"]), ("stats", container), "the first line")
        for _ in range(3):
            t.read_line(process)
        process.send_signal(number)
        rest = process.stdout.read()
        eq(t.end_of(process), 0, f"exit status after {number}")
        check(rest == b"" or rest.endswith(b"\n"), f"a torn line: {rest!r}")


def ends_with_the_container(t):
    container, _ = t.sleeper()
    process = t.popen("events", "--interval=1h", container)
    wait_until(lambda: "signalfd" in fds_of(process.pid), "it watches")
    time.sleep(0.1)
    eq(process.poll(), None, "it goes on while the container does")
    t.teca("kill", container, "KILL", expect=0)
    eq(t.end_of(process), 0, "exit status")
    eq((process.stdout.read(), process.stderr.read()), (b"", b""), "output without an event")


@test
def the_stream_ends_with_the_container(t):
    ends_with_the_container(t)


@test
def with_cgroup_v2_alone_it_ends_too(t):
    only_cgroup2()
    ends_with_the_container(t)


@test
def without_a_pid_namespace_it_goes_on_until_the_last_process_has_ended(t):
    config = without(minimal("sh", "-c", "sleep 1000 & exec sleep 1000"), "pid")
    container = t.create(config, start=True)
    pid = t.pid(container)
    wait_until(lambda: len(json.loads(t.teca("ps", "-f", "json", container).text)) == 2, "two")
    process = t.popen("events", "--interval", "50ms", container)
    t.read_line(process)
    os.kill(pid, signal.SIGKILL)
    wait_until(lambda: not is_alive(pid), "the end of init")
    for _ in range(5):
        t.read_line(process)
    t.teca("kill", "--all", container, "KILL", expect=0)
    eq(t.end_of(process), 0, "exit status")


@test(seconds=120)
def every_kill_for_want_of_memory_is_an_event(t):
    config = minimal("sh", "-c", "tail /dev/zero; tail /dev/zero; exec sleep 1000")
    container = t.create(config)
    limit = file_of(container, "memory.limit_in_bytes", "memory.max")
    if not limit:
        t.skip("no memory controller can be had for a container's cgroup")
    write(limit, str(16 << 20))
    for name in ("memory.memsw.limit_in_bytes", "memory.swap.max"):
        if file_of(container, name):
            write(file_of(container, name), str(16 << 20) if "memsw" in name else "0")
    process = t.popen("events", "--interval", "1h", container)
    wait_until(lambda: "eventfd" in fds_of(process.pid) or "inotify" in fds_of(process.pid),
               "it watches")
    t.teca("start", container, expect=0)
    for _ in range(2):
        eq(json.loads(t.read_line(process, 60)), {"type": "oom", "id": container}, "the event")
    t.teca("kill", container, "KILL", expect=0)
    eq(t.end_of(process), 0, "exit status")
    rest = process.stdout.read()
    if limit.endswith("memory.max"):
        eq(rest, b"", "no third one")
    for line in rest.splitlines():  # v1 may ring twice for one kill
        eq(json.loads(line)["type"], "oom", "a further event")


@test(seconds=120)
def the_kill_that_ends_the_container_is_told_before_the_end(t):
    container = t.create(minimal("tail", "/dev/zero"))
    limit = file_of(container, "memory.limit_in_bytes", "memory.max")
    if not limit:
        t.skip("no memory controller can be had for a container's cgroup")
    write(limit, str(16 << 20))
    for name in ("memory.memsw.limit_in_bytes", "memory.swap.max"):
        if file_of(container, name):
            write(file_of(container, name), str(16 << 20) if "memsw" in name else "0")
    process = t.popen("events", "--interval", "50ms", container)
    t.read_line(process)
    t.teca("start", container)
    next_event(t, process, "oom")
    eq(t.end_of(process), 0, "exit status")


@test
def what_does_not_run_has_no_events(t):
    container, pid = t.sleeper()
    for args, text in (((), "duration interval must be greater than 0"),):
        done = t.teca("events", "--interval", "0s", container, *args, expect=1)
        contains(done.error, text, "stderr")
    contains(t.teca("events", "--interval", "soon", container, expect=1).error,
             'invalid duration "soon"', "stderr")
    t.teca("kill", container, "KILL", expect=0)
    wait_until(lambda: not is_alive(pid), "the end of init")
    for args in (("--stats",), ()):
        contains(t.teca("events", *args, container, expect=1).error,
                 f"container with id {container} is not running", "stderr")
    contains(t.teca("events", "nobody", expect=1).error, "container does not exist", "stderr")


@test
def a_created_container_has_numbers(t):
    container = t.create(minimal("/bin/true"))
    check("usage" in numbers(t, container)["cpu"], "cpu")
