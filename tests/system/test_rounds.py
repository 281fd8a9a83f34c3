# SPDX-License-Identifier: Apache-2.0
"""
Many rounds of create, start and delete, one after the other and eight at a time: nothing stays.
200 is what counts; a VM without KVM, which is twenty times slower, does 24. TECA_ROUNDS says otherwise.
"""
import json
import os

from harness import (SLOWNESS, cgroups_with, default, descendants_of, eq, mounts_of, only_cgroup1,
                     only_cgroup2, reap, test)

ROUNDS = int(os.environ.get("TECA_ROUNDS", "200" if SLOWNESS == 1 else "24"))
AT_A_TIME = 8
# The program has ended, or has not yet: delete must cope with both.
WORKER = """
first=$1; last=$2; bundle=$3; token=$4; shift 4
for i in $(seq "$first" "$last"); do
    id=$token-r$i
    "$@" create --bundle "$bundle" "$id" && "$@" start "$id" && "$@" delete --force "$id" || exit 1
done
"""


def worker(t, bundle, first, last):
    command = ["sh", "-c", WORKER, "worker", str(first), str(last), bundle, t.token, *t.argv()]
    # Its containers' stdio must not hold up the pipe of a worker that has ended.
    return t.popen(command=command, stdout=open(os.devnull, "wb"), stderr=open(
        t.path(f"errors{first}"), "wb"))


def rounds(t, at_a_time, config=None, count=ROUNDS):
    bundle = t.bundle(config or default("/bin/true"))
    mounts = len(mounts_of())
    share = count // at_a_time
    workers = [worker(t, bundle, 1 + n * share, (n + 1) * share) for n in range(at_a_time)]
    for n, process in enumerate(workers):
        status = t.end_of(process, 240)
        with open(t.path(f"errors{1 + n * share}"), encoding="utf-8", errors="replace") as f:
            eq((status, f.read()), (0, ""), f"worker {n}")
    reap()
    eq([d for d in descendants_of(os.getpid()) if d[1] not in "ZX"], [], "processes left")
    eq(cgroups_with(t.token), [], "cgroups left")
    eq(len(mounts_of()), mounts, "mounts")
    eq(os.listdir(t.state_root), [], "state left")
    eq(json.loads(t.teca("list", "--format", "json", expect=0).text), [], "the list")


@test(seconds=300)
def one_after_the_other_nothing_stays(t):
    rounds(t, 1)


@test(seconds=300)
def eight_at_a_time_nothing_stays(t):
    rounds(t, AT_A_TIME)


@test(seconds=300)
def eight_at_a_time_below_one_parent_nothing_stays(t):
    """Each makes the parents that another one may be removing, for paths differ in the last part."""
    bundles = []
    for n in range(AT_A_TIME):
        config = default("/bin/true")
        config["linux"]["cgroupsPath"] = f"/{t.token}-pod/deep/c{n}"
        bundles.append(t.bundle(config))
    share = max(1, ROUNDS // AT_A_TIME // 2)
    workers = [worker(t, b, 1 + n * share, (n + 1) * share) for n, b in enumerate(bundles)]
    for n, process in enumerate(workers):
        status = t.end_of(process, 240)
        with open(t.path(f"errors{1 + n * share}"), encoding="utf-8", errors="replace") as f:
            eq((status, f.read()), (0, ""), f"worker {n}")
    reap()
    eq(cgroups_with(t.token), [], "cgroups left")


@test(seconds=300)
def on_cgroup_v2_alone_nothing_stays(t):
    only_cgroup2()
    rounds(t, AT_A_TIME)


@test(seconds=300)
def on_cgroup_v1_alone_nothing_stays(t):
    only_cgroup1()
    rounds(t, AT_A_TIME)
