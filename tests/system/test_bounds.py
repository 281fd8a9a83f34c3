# SPDX-License-Identifier: Apache-2.0
"""The bounds of issue 2 on one start of the default bundle: system calls and memory.

bench/count-syscalls measures; how long a start takes is `make bench-start`'s matter.
"""
import os
import time

from harness import TREE, check, eq, test


@test(seconds=120)
def a_start_stays_within_its_system_calls_and_memory(t):
    programs = os.path.join(os.environ.get("BUILD", os.path.join(TREE, "build")), "bench")
    if not os.path.exists(os.path.join(programs, "peak")):
        t.skip(f"the programs of bench/ are not built in {programs} (make bench-programs)")
    command = [os.path.join(TREE, "bench", "count-syscalls"), "--check", "--without", "crun",
               "--without", "floor",
               "--teca", t.binary, "--programs", programs, "--dir", t.dir, "--cgroups", "host"]
    end = time.monotonic() + 90
    done = t.call(command)
    # Tests beside this one mount and unmount on the host, and a longer mountinfo takes another read;
    # what is really above the bound stays above it.
    while done.status != 0 and time.monotonic() < end:
        time.sleep(1)
        done = t.call(command)
    check("all calls" in done.text, f"nothing was measured: {done.text} {done.error}")
    eq((done.status, done.error), (0, ""), "status and stderr of count-syscalls")
