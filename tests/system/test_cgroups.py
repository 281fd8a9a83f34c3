# SPDX-License-Identifier: Apache-2.0
"""The container's own cgroup in every hierarchy: made, joined, removed."""
import os
import subprocess

from harness import (CGROUP_ROOT, cases, cgroups_with, check, default, eq, hierarchies, joined,
                     minimal,
                     mount_at, only_cgroup1, only_cgroup2, ready_hierarchies, row, test,
                     wait_until, with_user_namespace, without)


def memberships(text):
    """/proc/PID/cgroup as {controllers: path}; "" is the v2 hierarchy."""
    found = {}
    for line in text.splitlines():
        _, controllers, path = line.split(":", 2)
        found[controllers] = path
    return found


def of_process(pid):
    with open(f"/proc/{pid}/cgroup", encoding="utf-8") as f:
        return memberships(f.read())


def mounted():
    """{controllers as /proc/PID/cgroup names them: mount point} of what is mounted on this host."""
    named = {}
    with open("/proc/self/cgroup", encoding="ascii") as f:
        known = memberships(f.read())
    for controllers, where, v2 in hierarchies():
        if v2:
            named[""] = where
            continue
        words = set(controllers.split(","))
        for name in known:
            if name and set(name.split(",")) <= words:
                named[name] = where
    check(named, "no cgroup hierarchy is mounted")
    return named


def own_directories(pid):
    return {name: where + of_process(pid)[name] for name, where in mounted().items()}


@test
@row("CG-6")
def the_container_has_a_cgroup_of_its_own_in_every_hierarchy(t):
    container, pid = t.sleeper()
    inside, host = of_process(pid), of_process("self")
    for name in mounted():
        check(inside[name] != host[name] and inside[name] != "/",
              f"{name or 'v2'}: init is in {inside[name]}")
        check(t.token in inside[name], f"{name or 'v2'}: {inside[name]} does not name {container}")


@test
def the_process_sees_its_cgroups_without_a_cgroup_namespace(t):
    found = memberships(t.report(minimal())["cgroup"])
    for name in mounted():
        check(t.token in found[name], f"{name or 'v2'}: {found[name]}")


@test
def in_a_cgroup_namespace_every_own_cgroup_is_the_root(t):
    found = memberships(t.report(joined(minimal(), "cgroup"))["cgroup"])
    eq({name: found[name] for name in mounted()}, dict.fromkeys(mounted(), "/"),
       "/proc/self/cgroup")


@test
def the_cgroup_holds_init_and_its_children_and_nobody_else(t):
    config = minimal("/bin/sh", "-c", "sleep 1000 & sleep 1000 & wait")
    container = t.create(config, start=True)
    pid = t.pid(container)
    for name, where in own_directories(pid).items():
        def members(where=where):
            with open(os.path.join(where, "cgroup.procs"), encoding="ascii") as f:
                return f.read().split()
        wait_until(lambda: len(members()) == 3, f"three processes in {name or 'v2'}")
        check(str(pid) in members(), f"init is not in {where}")


@test
def init_is_in_its_cgroups_when_create_returns(t):
    container = t.create(minimal("/bin/true"))
    found = of_process(t.pid(container))
    for name in mounted():
        check(t.token in found[name], f"{name or 'v2'}: {found[name]}")


@test
def the_cgroups_are_removed_after_run(t):
    container = t.new_id()
    t.ok(default(), container=container)
    eq(cgroups_with(container), [], "cgroups left")


@test
@row("RT-15")
def the_cgroups_stay_until_delete(t):
    container = t.create(minimal("/bin/true"), start=True)
    wait_until(lambda: t.state(container)["status"] == "stopped", "init ended")
    check(len(cgroups_with(container)) >= len(mounted()), "cgroups of a stopped container")
    t.teca("delete", container, expect=0)
    eq(cgroups_with(container), [], "cgroups left")


@test
@row("CG-5")
def the_default_path_names_the_container(t):
    container, pid = t.sleeper()
    for name, path in of_process(pid).items():
        if name in mounted():
            eq(path.endswith(f"teca-{container}"), True,
               f"{name or 'v2'}: {path} ends in teca-{container}")


@cases(absolute="/{token}", nested="/{token}-a/b/c", relative="{token}-r",
       dots="/{token}-d/../{token}-e",
       trailing="/{token}-t/")
@row("CG-2", "CG-3")
def the_cgroup_is_where_cgroups_path_says(t, pattern):
    path = pattern.format(token=t.token)
    config = minimal()
    config["linux"]["cgroupsPath"] = path
    _, pid = t.sleeper(config)
    expected = os.path.normpath("/" + path.strip("/"))
    found = of_process(pid)
    for name in mounted():
        check(found[name].endswith(expected),
              f"{name or 'v2'}: {found[name]} instead of {expected}")


@test
@row("CG-2")
def an_absolute_path_starts_at_the_root_of_the_hierarchy(t):
    config = minimal()
    config["linux"]["cgroupsPath"] = f"/{t.token}-abs"
    _, pid = t.sleeper(config)
    found = of_process(pid)
    eq({n: found[n] for n in mounted()}, dict.fromkeys(mounted(), f"/{t.token}-abs"),
       "cgroups of init")


@test
@row("CG-5")
def a_path_with_dots_does_not_leave_the_hierarchy(t):
    config = minimal()
    config["linux"]["cgroupsPath"] = f"../../../../{t.token}-up"
    _, pid = t.sleeper(config)
    for name in mounted():
        check(of_process(pid)[name].endswith(f"/{t.token}-up"),
              f"{name or 'v2'}: {of_process(pid)[name]}")
    check(not os.path.exists(f"/{t.token}-up"), "a directory was made outside of the hierarchy")


@test
@row("CG-6", "RT-36")
def parents_that_were_there_before_stay_and_new_ones_go(t):
    parents = make_parents(f"{t.token}-parent")
    try:
        config = minimal()
        config["linux"]["cgroupsPath"] = f"/{t.token}-parent/made/leaf"
        t.ok(config)
        for parent in parents:
            check(os.path.isdir(parent), f"{parent} was removed")
            eq([n for n in os.listdir(parent) if os.path.isdir(os.path.join(parent, n))], [],
               f"left below {parent}")
    finally:
        remove(parents)


def make_parents(name, fill=True):
    """As an engine makes a pod's cgroup, before any container. fill: give it processors."""
    made = []
    for controllers, top in mounted().items():
        where = os.path.join(top, name)
        os.mkdir(where)
        made.append(where)
        for file in ("cpuset.cpus", "cpuset.mems") if fill and "cpuset" in controllers else ():
            with open(os.path.join(top, file), encoding="ascii") as a, \
                    open(os.path.join(where, file), "w", encoding="ascii") as b:
                b.write(a.read())
    return made


def remove(parents):
    for parent in parents:
        for where, _, _ in os.walk(parent, topdown=False):
            os.rmdir(where)


@test
def an_empty_cpuset_of_a_parent_that_was_there_is_no_obstacle(t):
    """v1: nobody can join a cpuset below an empty one, and a plain mkdir makes an empty one."""
    parents = make_parents(f"{t.token}-empty", fill=False)
    try:
        config = minimal()
        config["linux"]["cgroupsPath"] = f"/{t.token}-empty/leaf"
        t.ok(config)
    finally:
        remove(parents)


def with_path(path):
    config = minimal()
    config["linux"]["cgroupsPath"] = path
    return config


@test
@row("CG-1")
def a_cgroup_with_somebody_elses_processes_below_is_refused(t):
    """v1 tells nobody of them: the end of a container there would be theirs."""
    sleeper = subprocess.Popen(["sleep", "60"])
    parents = make_parents(f"{t.token}-busy")
    child = os.path.join(ready_hierarchies()[0][1], f"{t.token}-busy", "child")
    try:
        os.mkdir(child)
        with open(os.path.join(child, "cgroup.procs"), "w", encoding="ascii") as file:
            file.write(str(sleeper.pid))
        t.refused(with_path(f"/{t.token}-busy"), "/linux/cgroupsPath", "container's cgroup is not empty")
        check(sleeper.poll() is None, "the process of the other cgroup was killed")
    finally:
        sleeper.kill()
        sleeper.wait()
        os.rmdir(child)
        remove(parents)


@test
def two_containers_may_share_a_parent_of_their_engine(t):
    parents = make_parents(f"{t.token}-pod")
    try:
        first, _ = t.sleeper(with_path(f"/{t.token}-pod/one"))
        second, pid = t.sleeper(with_path(f"/{t.token}-pod/two"))
        t.teca("delete", "--force", first, expect=0)
        for name in mounted():
            eq(of_process(pid)[name], f"/{t.token}-pod/two",
               f"{name or 'v2'} of the other container")
        t.teca("delete", "--force", second, expect=0)
        for parent in parents:
            check(os.path.isdir(parent), f"{parent} was removed")
    finally:
        remove(parents)


@test
def a_parent_that_the_first_container_made_goes_with_it_when_it_goes_last(t):
    first, _ = t.sleeper(with_path(f"/{t.token}-pod/one"))
    second, _ = t.sleeper(with_path(f"/{t.token}-pod/two"))
    t.teca("delete", "--force", second, expect=0)
    t.teca("delete", "--force", first, expect=0)
    eq(cgroups_with(f"{t.token}-pod"), [], "cgroups left")


@test
def delete_works_while_the_parent_it_made_is_used_by_another_container(t):
    first, _ = t.sleeper(with_path(f"/{t.token}-pod/one"))
    second, pid = t.sleeper(with_path(f"/{t.token}-pod/two"))
    t.teca("delete", "--force", first, expect=0)
    for name in mounted():
        eq(of_process(pid)[name], f"/{t.token}-pod/two", f"{name or 'v2'} of the other container")
    t.teca("delete", "--force", second, expect=0)
    eq(cgroups_with(f"{t.token}-pod"), [], "parents left by the last one in them")


@test
def the_parents_of_an_engine_stay_whoever_goes_last(t):
    parents = make_parents(f"{t.token}-pod")
    try:
        first, _ = t.sleeper(with_path(f"/{t.token}-pod/deep/one"))
        second, _ = t.sleeper(with_path(f"/{t.token}-pod/deep/two"))
        t.teca("delete", "--force", first, expect=0)
        t.teca("delete", "--force", second, expect=0)
        eq(sorted(cgroups_with(f"{t.token}-pod")), sorted(parents), "the engine's parents")
        for parent in parents:
            check(not os.path.exists(f"{parent}/deep"), f"teca's own cgroup in {parent} was left")
    finally:
        remove(parents)


@test
def starts_and_ends_below_one_parent_do_not_disturb_each_other(t):
    """Whoever ends last removes the parent, while another one is on its way into it."""
    config = with_path("")
    commands = []
    for worker in range(4):
        config["linux"]["cgroupsPath"] = f"/{t.token}-pod/deep/c{worker}"
        commands.append((t.bundle(config), t.new_id()))
    script = 'for i in 1 2 3 4 5 6 7 8 9 10; do "$0" "$@" || exit 1; done'
    processes = [t.popen(command=["sh", "-c", script, *t.argv("run", "--bundle", bundle, container)])
                 for bundle, container in commands]
    for process in processes:
        eq((t.end_of(process, 50), process.stderr.read()), (0, b""), "ten runs")
    eq(cgroups_with(f"{t.token}-pod"), [], "cgroups left")


@test
@row("CG-1")
def a_cgroup_that_holds_processes_already_is_refused(t):
    config = minimal()
    config["linux"]["cgroupsPath"] = f"/{t.token}-busy"
    _, pid = t.sleeper(config)
    t.refused(config, "cgroup")
    check(os.path.exists(f"/proc/{pid}"), "the process that was there was killed")


@test
def cgroups_that_the_container_made_go_too(t):
    """Below the own cgroup, by the host here: delete walks down."""
    container, pid = t.sleeper()
    for where in own_directories(pid).values():
        os.makedirs(os.path.join(where, "inner", "deep"), exist_ok=True)
    t.teca("delete", "--force", container, expect=0)
    eq(cgroups_with(container), [], "cgroups left")


@test
def threaded_cgroups_below_the_containers_are_listed_and_go_too(t):
    """cgroups(7) "Threaded mode": no list of processes, no cgroup.kill there."""
    container, pid = t.sleeper()
    where = own_directories(pid)[""]
    for name in ("a", "b"):
        where = os.path.join(where, name)
        os.mkdir(where)
        with open(os.path.join(where, "cgroup.type"), "w", encoding="ascii") as f:
            f.write("threaded")
    with open(os.path.join(where, "cgroup.threads"), "w", encoding="ascii") as f:
        f.write(str(pid))
    eq(t.teca("ps", "--format", "json", container, expect=0).text, f"[{pid}]\n", "ps")
    t.teca("delete", "--force", container, expect=0)
    eq(cgroups_with(container), [], "cgroups left")


@test
def a_process_in_the_cgroup_that_is_not_of_the_namespace_is_killed_by_delete_force(t):
    container, pid = t.sleeper()
    stranger = t.popen(command=[t.payload, "spin"])
    for where in own_directories(pid).values():
        with open(os.path.join(where, "cgroup.procs"), "w", encoding="ascii") as f:
            f.write(str(stranger.pid))
    t.teca("delete", "--force", container, expect=0)
    eq(cgroups_with(container), [], "cgroups left")
    eq(t.end_of(stranger), -9, "end of the process that was moved into the cgroup")


@test
def without_a_pid_namespace_delete_force_kills_every_process(t):
    config = without(minimal("/bin/sh", "-c",
                             "setsid sleep 1000 & setsid sleep 1000 & exec sleep 1000"), "pid")
    container = t.create(config, start=True)
    pid = t.pid(container)
    where = next(iter(own_directories(pid).values()))

    def members():
        with open(os.path.join(where, "cgroup.procs"), encoding="ascii") as f:
            return [int(p) for p in f.read().split()]

    wait_until(lambda: len(members()) == 3, "three processes")
    pids = members()
    t.teca("delete", "--force", container, expect=0)
    for one in pids:
        wait_until(lambda one=one: not os.path.exists(f"/proc/{one}") or
                   open(f"/proc/{one}/stat",
                        encoding="ascii").read().rsplit(")", 1)[1].split()[0] in "ZX",
                   f"process {one} is gone")


@test
def a_cgroup_removed_under_us_is_no_error(t):
    container = t.create(minimal("/bin/true"), start=True)
    wait_until(lambda: t.state(container)["status"] == "stopped", "init ended")
    for where in cgroups_with(container):
        os.rmdir(where)
    eq(t.state(container)["status"], "stopped", "status")
    t.teca("delete", container, expect=0)


@test
def a_cpuset_cgroup_has_its_parents_processors(t):
    if "cpuset" not in mounted():
        t.skip("no v1 cpuset hierarchy is mounted")
    config = minimal()
    config["linux"]["cgroupsPath"] = f"/{t.token}-set/leaf"
    _, pid = t.sleeper(config)
    leaf, root = own_directories(pid)["cpuset"], mounted()["cpuset"]
    for name in ("cpuset.cpus", "cpuset.mems"):
        with open(os.path.join(leaf, name), encoding="ascii") as a, \
                open(os.path.join(root, name), encoding="ascii") as b:
            eq(a.read(), b.read(), name)


# ---- other hosts: a mount namespace shows this machine as one ------------------------------------


@test
def on_a_host_with_cgroup2_alone_the_container_has_its_cgroup(t):
    only_cgroup2()
    eq(list(mounted()), [""], "hierarchies")
    container, pid = t.sleeper(default())
    eq(of_process(pid)[""], f"/teca-{container}", "the cgroup of init")
    t.teca("delete", "--force", container, expect=0)
    eq(cgroups_with(container), [], "cgroups left")


@cases(own_namespace=True, hosts_namespace=False)
def on_a_host_with_cgroup2_alone_the_mount_shows_the_own_cgroup(t, own):
    only_cgroup2()
    config = default("/bin/sh", "-c",
                     "cd /sys/fs/cgroup; head -n 1 cgroup.procs; grep -c . cgroup.controllers; "
                     "grep '^0::' /proc/self/cgroup; mkdir x 2>/dev/null || echo kept")
    done = t.run(joined(config, "cgroup") if own else config)
    lines = done.text.splitlines()
    eq((lines[0], lines[-1]), ("1", "kept"), f"first process, attempt to write ({done.error})")
    check((lines[-2] == "0::/") == own, f"own cgroup seen inside: {lines[-2]}")


@test
def on_a_host_with_cgroup2_alone_mounts_and_paths_work(t):
    only_cgroup2()
    config = joined(minimal(), "cgroup")
    config["linux"]["cgroupsPath"] = f"/{t.token}-a/b"
    config["mounts"].append({"destination": "/sys", "type": "sysfs", "source": "sysfs"})
    config["mounts"].append({"destination": "/sys/fs/cgroup", "type": "cgroup", "source": "cgroup",
                             "options": ["ro", "nosuid"]})
    found = mount_at(t.report(config)["mountinfo"], "/sys/fs/cgroup")
    eq((found["type"], found["root"]), ("cgroup2", "/"), "what is mounted at /sys/fs/cgroup")
    check({"ro", "nosuid"} <= set(found["options"]), f"options {found['options']}")


@test
def on_a_host_with_cgroup2_alone_the_default_bundle_runs_in_a_user_namespace(t):
    only_cgroup2()
    eq(t.ok(with_user_namespace(joined(default("/bin/id", "-u"), "cgroup"))), "0\n", "stdout")


@test
def on_a_host_with_v1_alone_the_container_has_its_cgroups(t):
    only_cgroup1()
    check("" not in mounted(), "v2 is still mounted")
    container, pid = t.sleeper(joined(default(), "cgroup"))
    for name in mounted():
        check(t.token in of_process(pid)[name], f"{name}: {of_process(pid)[name]}")
    t.teca("delete", "--force", container, expect=0)
    eq(cgroups_with(container), [], "cgroups left")


@test
def a_host_without_cgroups_still_runs_containers(t):
    """Nothing is mounted at /sys/fs/cgroup in this namespace."""
    where, container = t.bundle(minimal("/bin/echo", "ran")), t.new_id()
    run = " ".join(t.argv("run", "--bundle", where, container))
    done = t.call(["unshare", "-m", "sh", "-c", f"umount -R {CGROUP_ROOT} && {run}"])
    eq((done.status, done.text, done.error), (0, "ran\n", ""), "status, stdout, stderr")
