# SPDX-License-Identifier: Apache-2.0
"""stats: the table of what containers use, on a terminal and elsewhere."""
import json
import os
import pty
import select
import signal
import struct
import termios
import fcntl
import time

from harness import (check, contains, eq, hierarchies, is_alive, lacks, minimal, only_cgroup1,
                     only_cgroup2, test, wait_until)


def once(t, *args):
    done = t.teca("stats", "--no-stream", "--format", "json", *args, expect=0)
    eq((done.error, done.text.count("\n")), ("", 1), "stderr, and lines on stdout")
    return {row["id"]: row for row in json.loads(done.text)}


def spinner(t):
    return t.create(minimal("/payload", "spin"), start=True)


def shares_are_told(t):
    busy, idle = spinner(t), t.sleeper()[0]
    rows = once(t)
    eq(sorted(rows), sorted((busy, idle)), "every container")
    check(rows[busy]["cpu"]["percent"] > 10, f"a busy one: {rows[busy]}")
    check(rows[busy]["cpu"]["percent"] < 150, f"with one thread: {rows[busy]}")
    check(rows[idle]["cpu"]["percent"] < 10, f"an idle one: {rows[idle]}")
    eq(rows[busy]["pid"], t.pid(busy), "pid")
    return busy, idle


@test
def a_busy_container_is_told_from_an_idle_one(t):
    shares_are_told(t)


@test
def with_cgroup_v2_alone_too(t):
    only_cgroup2()
    shares_are_told(t)


@test
def with_cgroup_v1_alone_too(t):
    only_cgroup1()
    shares_are_told(t)


@test
def only_those_that_are_named_are_shown(t):
    first, second, _ = t.sleeper()[0], t.sleeper()[0], t.sleeper()[0]
    eq(sorted(once(t, first, second)), sorted((first, second)), "rows")
    contains(t.teca("stats", first, "nobody", expect=1).error, "container does not exist", "stderr")
    pid = t.pid(second)
    t.teca("kill", second, "KILL", expect=0)
    wait_until(lambda: not is_alive(pid), "the end of init")
    contains(t.teca("stats", second, expect=1).error,
             f"container with id {second} is not running", "stderr")
    check(second not in once(t), "one that has stopped is in the table of all")


@test
def limits_are_shown_where_there_are_any(t):
    container, _ = t.sleeper()
    tops = {names: at for names, at, _ in hierarchies()}
    if "memory" not in tops or "pids" not in tops:
        t.skip("memory and pids are not v1 hierarchies of their own here")
    row = once(t, container)[container]
    check("limit" not in row["memory"] and "limit" not in row["pids"], f"no limits: {row}")
    for controller, file, value in (("memory", "memory.limit_in_bytes", 8 << 20),
                                    ("pids", "pids.max", 9)):
        with open(f"{tops[controller]}/teca-{container}/{file}", "w", encoding="ascii") as f:
            f.write(str(value))
    row = once(t, container)[container]
    eq((row["memory"]["limit"], row["pids"]), (8 << 20, {"current": 1, "limit": 9}), "limits")
    share = row["memory"]["usage"] / (8 << 20) * 100
    check(abs(row["memory"]["percent"] - share) < 0.02, f"percent of {share}: {row['memory']}")
    line = t.teca("stats", "--no-stream", container, expect=0).text.splitlines()[1]
    contains(line, "/ 8.0MiB", "the table")
    contains(line, "1 / 9", "the table")


@test
def without_a_terminal_tables_follow_each_other(t):
    container, _ = t.sleeper()
    process = t.popen("stats", "--interval", "50ms", container)
    header = t.read_line(process)
    check(header.split()[:2] == ["ID", "CPU"], f"header {header!r}")
    for _ in range(3):
        line = t.read_line(process)
        check(line.startswith(container), f"line {line!r}")
        lacks(line, "\033", "line")
        eq(t.read_line(process).split()[:2], ["ID", "CPU"], "the next table")
    process.send_signal(signal.SIGTERM)
    eq(t.end_of(process), 0, "exit status after SIGTERM")


@test
def it_ends_with_the_last_of_the_named_containers(t):
    first, second = t.sleeper()[0], t.sleeper()[0]
    process = t.popen("stats", "--interval", "50ms", "-f", "json", first, second)
    eq(len(json.loads(t.read_line(process))), 2, "rows")
    t.teca("kill", first, "KILL", expect=0)
    wait_until(lambda: len(json.loads(t.read_line(process))) == 1, "one row less")
    t.teca("delete", "--force", second, expect=0)
    eq(t.end_of(process), 0, "exit status")


@test
def on_a_terminal_the_table_is_redrawn_and_fits(t):
    container, _ = t.sleeper()
    for _ in range(4):
        t.sleeper()
    master, terminal = pty.openpty()
    try:
        fcntl.ioctl(terminal, termios.TIOCSWINSZ, struct.pack("HHHH", 4, 76, 0, 0))
        process = t.popen("stats", "--interval", "50ms", stdout=terminal)
        os.close(terminal)
        text, end = b"", time.monotonic() + 20
        while text.count(b"\033[H") < 3 and time.monotonic() < end:
            if select.select([master], [], [], 1)[0]:
                text += os.read(master, 65536)
        process.send_signal(signal.SIGINT)
        eq(t.end_of(process), 0, "exit status after SIGINT")
    finally:
        os.close(master)
    screens = text.decode().split("\033[H")
    check(screens[0] == "\033[2J", f"before the first table: {screens[0]!r}")
    lines = screens[1].removesuffix("\033[J").split("\r\n")
    eq((len(lines), lines[-1]), (4, ""), "lines of a table on four lines of a terminal")
    for line in lines[:-1]:
        check(line.endswith("\033[K"), f"the rest of the line is not cleared: {line!r}")
        check(len(line.removesuffix("\033[K")) <= 76, f"wider than the terminal: {line!r}")
    check(lines[1].startswith(container[:12]), f"the first row: {lines[1]!r}")


@test
def with_no_container_the_table_is_empty(t):
    eq(t.teca("stats", "--no-stream", "--interval", "1ms", "-f", "json", expect=0).text, "[]\n",
       "JSON")
    eq(len(t.teca("stats", "--no-stream", "--interval", "1ms", expect=0).text.splitlines()), 1,
       "lines of the table")
