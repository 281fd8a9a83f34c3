# SPDX-License-Identifier: Apache-2.0
"""A start that is killed at any moment: whatever died, `delete --force` succeeds and nothing stays."""
import os
import random
import signal
import subprocess
import time

from harness import (cases, cgroups_with, check, children_of, default, descendants_of, eq, is_alive, reap,
                     show, test, wait_until)

# Of each of two ways to start, so that every run of the suite kills 500 starts; TECA_CHAOS_ROUNDS=500 makes it 1000.
ROUNDS = int(os.environ.get("TECA_CHAOS_ROUNDS", "250"))


class Victims:
    """Containers of one bundle, one after the other, and what is left of one."""

    def __init__(self, t):
        self.t = t
        self.where = t.bundle(default("/bin/sleep", "1000"))

    def spawn(self, verb, container):
        return subprocess.Popen(self.t.argv(verb, "--bundle", self.where, container), cwd=self.t.dir,
                                stdin=subprocess.DEVNULL, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)

    def end(self, process, container, what):
        """The runtime is dead; delete --force has to find and end the rest."""
        process.wait()
        done = self.t.teca("delete", "--force", container)
        eq(done.status, 0, f"delete --force after {what} ({show(done.error)})")
        reap()
        check(not os.path.lexists(os.path.join(self.t.state_root, container)), f"the state stays after {what}")
        wait_until(lambda: reap() or not self.living(), f"every process ends after {what}")
        left = [c for c in cgroups_with(container) if os.path.basename(c).endswith(container)]
        check(not left, f"cgroups stay after {what}: {left}")

    @staticmethod
    def living():
        return [pid for pid, _ in descendants_of(os.getpid()) if is_alive(pid)]


def moment(dice, longest):
    """More often early than late: that is where a start does its work."""
    time.sleep(longest * dice.random() ** 2)


@test(seconds=ROUNDS)
def a_run_whose_runtime_is_killed_at_any_moment_leaves_nothing(t):
    seed = random.randrange(1 << 32)
    dice, victims = random.Random(seed), Victims(t)
    for n in range(ROUNDS):
        container = t.new_id()
        process = victims.spawn("run", container)
        moment(dice, 0.02)
        process.kill()
        victims.end(process, container, f"round {n} of seed {seed}")


@test(seconds=ROUNDS)
def a_create_and_start_killed_at_any_moment_leave_nothing(t):
    seed = random.randrange(1 << 32)
    dice, victims = random.Random(seed), Victims(t)
    for n in range(ROUNDS):
        container = t.new_id()
        process = victims.spawn("create", container)
        if n % 2:
            process.wait()
            process = subprocess.Popen(t.argv("start", container), stderr=subprocess.DEVNULL)
        moment(dice, 0.012)
        process.kill()
        victims.end(process, container, f"round {n} of seed {seed}")


@cases(init=("init",), all=("all",))
def a_container_whose_processes_are_killed_at_any_moment_is_deleted(t, who):
    seed = random.randrange(1 << 32)
    dice, victims = random.Random(seed), Victims(t)
    for n in range(ROUNDS // 5):
        container = t.new_id()
        process = victims.spawn("run", container)
        wait_until(lambda p=process.pid: children_of(p), "a process of the container")
        moment(dice, 0.02)
        for pid, _ in children_of(process.pid) if who == "init" else descendants_of(process.pid):
            try:
                os.kill(pid, signal.SIGKILL)
            except ProcessLookupError:
                pass
        if who == "all":
            process.kill()
        process.wait(30)
        victims.end(process, container, f"round {n} of seed {seed}")
