# SPDX-License-Identifier: Apache-2.0
"""New namespaces, joined ones, id maps, time offsets, names, sysctl, loopback, rootless."""
import os
import subprocess
import time

from harness import (ISOLATION, allow, cases, check, children_of, contains, default, eq, is_alive, joined, minimal,
                     mount_at, name_of, row, test,
                     wait_until, with_mount, with_user_namespace, without)

# OCI name -> file in /proc/PID/ns
FILES = {"pid": "pid", "network": "net", "mount": "mnt", "ipc": "ipc", "uts": "uts", "user": "user",
         "cgroup": "cgroup", "time": "time"}
UNSHARE = {"network": "--net", "ipc": "--ipc", "uts": "--uts", "cgroup": "--cgroup",
           "mount": "--mount",
           "time": "--time"}


def inode(pid, kind):
    return os.readlink(f"/proc/{pid}/ns/{FILES[kind]}")


# ---- new and absent ones -------------------------------------------------------------------------


@cases(**{k: k for k in FILES if k not in ("user", "mount", "pid")})
@row("NS-1", "NS-3", "NS-4")
def a_new_namespace_differs_from_the_hosts_and_an_absent_one_is_the_hosts(t, kind):
    host = inode("self", kind)
    file = FILES[kind]
    found = t.report(joined(minimal(), kind))["ns"][file]
    check(found.startswith(file + ":[") and found != host,
          f"new {kind} namespace is {found}, host's {host}")
    eq(t.report(without(minimal(), kind))["ns"][file], host, f"absent {kind} namespace")


@test
@row("NS-1", "NS-3")
def a_new_user_namespace_differs_from_the_hosts(t):
    found = t.report(with_user_namespace(minimal()))["ns"]["user"]
    check(found.startswith("user:[") and found != inode("self", "user"),
          f"user namespace is {found}")
    eq(t.report(minimal())["ns"]["user"], inode("self", "user"), "absent user namespace")


@test
@row("NS-1", "NS-3", "NS-4")
def a_new_pid_namespace_differs_and_an_absent_one_is_the_hosts(t):
    container, pid = t.sleeper()
    check(inode(pid, "pid") != inode("self", "pid"), f"{container} is in the host's pid namespace")
    container, pid = t.sleeper(without(minimal(), "pid"))
    eq(inode(pid, "pid"), inode("self", "pid"), "absent pid namespace")
    check(pid != 1, "init of the host's namespace")


@test
def two_containers_share_no_namespace(t):
    config = joined(joined(default(), "time"), "cgroup")
    (_, one), (_, two) = t.sleeper(config), t.sleeper(config)
    for kind in FILES:
        same = inode(one, kind) == inode(two, kind)
        eq(same, kind == "user", f"both in the same {kind} namespace")


@test
def every_process_of_the_host_is_invisible_in_a_pid_namespace(t):
    eq(t.ok(minimal("/bin/sh", "-c", "echo /proc/[0-9]*")), "/proc/1\n", "processes in /proc")


# ---- joined ones ---------------------------------------------------------------------------------


@cases(network="network", ipc="ipc", uts="uts", cgroup="cgroup", time="time")
@row("NS-2")
def a_namespace_is_joined_by_path(t, kind):
    pid = t.holder(*(["--time", "--kill-child"] if kind == "time" else [UNSHARE[kind]]))
    if kind == "time":  # a process enters its new time namespace only with the next fork
        pid = children_of(pid)[0][0]
    target = f"/proc/{pid}/ns/{FILES[kind]}"
    found = t.report(joined(default(), kind, target))["ns"]
    eq(found[FILES[kind]], os.readlink(target), f"the {kind} namespace")


@test
@row("NS-2")
def a_pid_namespace_is_joined_by_path(t):
    _, pid = t.sleeper()
    config = joined(minimal(), "pid", f"/proc/{pid}/ns/pid")
    container, own = t.sleeper(config)
    eq(inode(own, "pid"), inode(pid, "pid"), f"the pid namespace of {container}")
    with open(f"/proc/{own}/status", encoding="ascii") as f:
        inner = [line.split() for line in f if line.startswith("NSpid:")][0]
    check(len(inner) == 3 and inner[2] != "1", f"NSpid of a process that joined: {inner}")


@test
def a_joined_pid_namespace_shows_its_processes_in_proc(t):
    _, pid = t.sleeper()
    config = joined(minimal("/bin/cat", "/proc/1/cmdline"), "pid", f"/proc/{pid}/ns/pid")
    contains(t.ok(config), "/payload", "command line of process 1")


@test
def the_network_of_another_container_is_shared(t):
    _, pid = t.sleeper(default())
    config = joined(default("/payload", "loopback"), "network", f"/proc/{pid}/ns/net")
    eq(t.ok(config), "hello\n", "a datagram over the other container's loopback")


@test
def a_whole_pod_of_namespaces_is_joined(t):
    """What an engine does for the second container of a pod."""
    _, pid = t.sleeper(default())
    config = default()
    for kind in ("network", "ipc", "uts"):
        config = joined(config, kind, f"/proc/{pid}/ns/{FILES[kind]}")
    del config["hostname"]
    found = t.report(config)
    for kind in ("network", "ipc", "uts"):
        eq(found["ns"][FILES[kind]], inode(pid, kind), f"the {kind} namespace")
    eq(found["hostname"], default()["hostname"], "hostname")


@test
@row("NS-2")
def a_user_namespace_is_joined_by_path(t):
    _, pid = t.sleeper(with_user_namespace(minimal()))
    config = joined(minimal(), "user", f"/proc/{pid}/ns/user")
    found = t.report(config)
    eq(found["ns"]["user"], inode(pid, "user"), "the user namespace")
    eq(found["uid_map"].split(), ["0", "100000", "65536"], "uid_map")
    eq(found["uids"], [0, 0, 0], "uids inside")


@test
def user_network_and_ipc_namespaces_of_one_container_are_joined_together(t):
    _, pid = t.sleeper(with_user_namespace(default()))
    config = joined(default(), "user", f"/proc/{pid}/ns/user")
    for kind in ("network", "ipc"):
        config = joined(config, kind, f"/proc/{pid}/ns/{FILES[kind]}")
    found = t.report(config)["ns"]
    for kind in ("user", "network", "ipc"):
        eq(found[FILES[kind]], inode(pid, kind), f"the {kind} namespace")


@test
def a_namespace_bound_to_a_file_is_joined(t):
    bound = t.file("netns")
    made = subprocess.run(["unshare", f"--net={bound}", "readlink", "/proc/self/ns/net"],
                          check=True,
                          capture_output=True, text=True)
    t.mounts.append(bound)
    found = t.report(joined(default(), "network", bound))["ns"]["net"]
    eq(found, made.stdout.strip(), "the network namespace")


@cases(network=("network", "uts"), ipc=("ipc", "net"), uts=("uts", "pid"), pid=("pid", "mnt"),
       user=("user", "ipc"), time=("time", "cgroup"), cgroup=("cgroup", "time"))
@row("NS-2")
def a_namespace_of_another_type_is_refused(t, kind, file):
    path = f"/proc/self/ns/{file}"
    config = joined(minimal(), kind, path)
    index = len(config["linux"]["namespaces"]) - 1
    t.refused(config, f"/linux/namespaces/{index}", path, kind)


@test
def a_path_that_is_no_namespace_is_refused(t):
    config = joined(minimal(), "network", t.file("plain"))
    t.refused(config, "/linux/namespaces/4", t.path("plain"))


@test
def a_missing_namespace_file_is_refused(t):
    config = joined(minimal(), "network", "/proc/2147483647/ns/net")
    t.refused(config, "/linux/namespaces/4", "/proc/2147483647/ns/net", "no such file or directory")


@test
@row("NS-2")
def a_relative_namespace_path_is_refused(t):
    t.refused(joined(minimal(), "network", "proc/self/ns/net"), "/linux/namespaces/4")


@test
@row("NS-5")
def a_namespace_named_twice_is_refused(t):
    config = minimal()
    index = len(config["linux"]["namespaces"])
    config["linux"]["namespaces"].append({"type": "ipc"})
    t.refused(config, f"/linux/namespaces/{index}", "ipc")


@test
@row("NS-1")
def an_unknown_namespace_is_refused(t):
    config = minimal()
    index = len(config["linux"]["namespaces"])
    config["linux"]["namespaces"].append({"type": "coffee"})
    t.refused(config, f"/linux/namespaces/{index}", "coffee")


# ---- names ---------------------------------------------------------------------------------------


@test
@row("MSC-1")
def hostname_and_domainname_are_the_configured_ones(t):
    config = minimal() | {"hostname": "a.teca-host", "domainname": "a.teca-domain"}
    found = t.report(config)
    eq((found["hostname"], found["domainname"]), ("a.teca-host", "a.teca-domain"), "names")


@test
def the_host_keeps_its_names(t):
    before = os.uname().nodename
    t.ok(minimal() | {"hostname": "changed"})
    eq(os.uname().nodename, before, "the host's name")


@test
@row("MSC-1")
def a_hostname_without_a_uts_namespace_is_refused(t):
    t.refused(without(minimal(), "uts") | {"hostname": "mine"}, "/hostname")


@test
def a_hostname_of_65_bytes_is_refused(t):
    t.refused(minimal() | {"hostname": "h" * 65}, "/hostname")


# ---- loopback ------------------------------------------------------------------------------------


@test
def the_loopback_device_of_a_new_network_namespace_is_up(t):
    check(t.report(default())["lo_up"], "lo is down")
    eq(t.ok(default("/payload", "loopback")), "hello\n", "a datagram over 127.0.0.1")


@test
def the_loopback_device_is_the_only_one(t):
    eq(t.ok(default("/payload", "list", "/sys/class/net")).split(), ["lo"], "network devices")


@test
def a_joined_network_namespace_is_left_as_it_is(t):
    pid = t.holder("--net")
    found = t.report(joined(default(), "network", f"/proc/{pid}/ns/net"))
    check(not found["lo_up"], "lo of a namespace that is not teca's own was brought up")


@test
def loopback_works_in_a_user_namespace(t):
    eq(t.ok(with_user_namespace(default("/payload", "loopback"))), "hello\n", "a datagram")


# ---- sysctl --------------------------------------------------------------------------------------


@cases(network=("net.ipv4.ip_forward", "1", "network"), ipc=("kernel.shmmax", "123456", "ipc"),
       port=("net.ipv4.ip_unprivileged_port_start", "80", "network"),
       mqueue=("fs.mqueue.msg_max", "7", "ipc"), slashes=("net/ipv4/ip_forward", "1", "network"),
       domain=("kernel.domainname", "by.sysctl", "uts"))
@row("SYS-1")
def a_namespaced_sysctl_is_set_inside_only(t, name, value, kind):
    path = "/proc/sys/" + name.replace(".", "/")
    with open(path, encoding="ascii") as f:
        before = f.read()
    config = joined(minimal("/bin/cat", path), kind)
    config["linux"]["sysctl"] = {name: value}
    eq(t.ok(config).strip(), value, f"{name} inside")
    with open(path, encoding="ascii") as f:
        eq(f.read(), before, f"{name} of the host")


@cases(foreign=("vm.swappiness", "1", ()), kernel=("kernel.panic", "1", ()),
       without_network=("net.ipv4.ip_forward", "1", ("network",)),
       without_ipc=("kernel.shmmax", "1", ("ipc",)), climbing=("net/../kernel/panic", "1", ()),
       climbing_dots=("net.....kernel.panic", "1", ()))
@row("SYS-1")
def a_sysctl_of_the_host_is_refused(t, name, value, absent):
    config = without(default(), *absent)
    config["linux"]["sysctl"] = {name: value}
    done = t.refused(config, "/linux/sysctl")
    contains(done.error, name.split("/")[-1] if "/" in name else name, "stderr")


@test
def an_unknown_sysctl_is_refused_with_its_name(t):
    config = default()
    config["linux"]["sysctl"] = {"net.ipv4.no_such_knob": "1"}
    t.refused(config, "/linux/sysctl", "no_such_knob")


# ---- time ----------------------------------------------------------------------------------------


@test
@row("TM-1")
def time_offsets_are_visible(t):
    plain = t.report(joined(minimal(), "time"))
    config = joined(minimal(), "time")
    config["linux"]["timeOffsets"] = {"monotonic": {"secs": 86400, "nanosecs": 5},
                                      "boottime": {"secs": 2 * 86400}}
    found = t.report(config)
    early = 0 if ISOLATION == "container" else allow(10)  # each machine's clocks begin when it boots
    for clock, offset in (("monotonic", 86400), ("boottime", 172800)):
        check(offset - early <= found[clock] - plain[clock] < offset + allow(30), f"{clock}: {found[clock]}")


@test
def time_offsets_without_a_new_time_namespace_are_refused(t):
    config = minimal()
    config["linux"]["timeOffsets"] = {"monotonic": {"secs": 1}}
    t.refused(config, "/linux/timeOffsets")


@test
def time_offsets_work_in_a_user_namespace(t):
    config = with_user_namespace(joined(minimal(), "time"))
    config["linux"]["timeOffsets"] = {"boottime": {"secs": 1000000}}
    found = t.report(config)
    since = time.clock_gettime(time.CLOCK_BOOTTIME)
    least = since - allow(30) if ISOLATION == "container" else 0  # a machine's clock begins when it boots
    check(least <= found["boottime"] - 1000000 <= since, f"boottime inside {found['boottime']}, outside {since}")


# ---- user namespaces -----------------------------------------------------------------------------


@test
@row("UM-1")
def the_id_maps_are_the_configured_ones(t):
    config = joined(minimal(), "user")
    maps = [{"containerID": 0, "hostID": 100000, "size": 10},
            {"containerID": 10, "hostID": 300000, "size": 5}]
    config["linux"]["uidMappings"] = maps
    config["linux"]["gidMappings"] = list(reversed(maps))
    found = t.report(config)
    eq(sorted(found["uid_map"].split()), sorted("0 100000 10 10 300000 5".split()), "uid_map")
    eq(sorted(found["gid_map"].split()), sorted("0 100000 10 10 300000 5".split()), "gid_map")


@test
def three_hundred_map_lines_work(t):
    config = joined(minimal(), "user")
    maps = [{"containerID": i, "hostID": 100000 + 2 * i, "size": 1} for i in range(300)]
    config["linux"]["uidMappings"] = maps
    config["linux"]["gidMappings"] = maps
    eq(len(t.report(config)["uid_map"].splitlines()), 300, "lines of uid_map")


@test
def root_inside_is_the_mapped_user_outside(t):
    container, pid = t.sleeper(with_user_namespace(minimal()))
    eq(os.stat(f"/proc/{pid}").st_uid, 100000, f"owner of init of {container} on the host")


@test
def a_user_inside_is_mapped_too(t):
    config = with_user_namespace(minimal(user={"uid": 1000, "gid": 2000, "additionalGids": [3000]}))
    _, pid = t.sleeper(config)
    with open(f"/proc/{pid}/status", encoding="ascii") as f:
        lines = dict(line.rstrip("\n").split(":\t", 1) for line in f if ":\t" in line)
    eq((lines["Uid"].split()[0], lines["Gid"].split()[0], lines["Groups"].split()),
       ("101000", "102000", ["103000"]), "ids on the host")


@test
def files_made_inside_belong_to_the_mapped_user(t):
    os.mkdir(t.path("host"))
    os.chmod(t.path("host"), 0o777)
    config = with_mount(minimal("/bin/sh", "-c", "touch /mnt/a/f; stat -c '%u %g' /mnt/a/f"),
                        "/mnt/a",
                        "bind", t.path("host"), "bind")
    eq(t.ok(with_user_namespace(config)), "0 0\n", "owner seen inside")
    s = os.stat(t.path("host/f"))
    eq((s.st_uid, s.st_gid), (100000, 100000), "owner on the host")


@test
@row("UM-1")
def a_file_of_an_unmapped_user_belongs_to_nobody_inside(t):
    source = t.file("host/file")
    os.chown(source, 5, 5)
    config = with_mount(minimal("/bin/stat", "-c", "%u %g", "/mnt/a/file"), "/mnt/a", "bind",
                        t.path("host"),
                        "bind")
    eq(t.ok(with_user_namespace(config)), "65534 65534\n", "owner seen inside")


@test
def the_whole_default_configuration_runs_in_a_user_namespace(t):
    config = with_user_namespace(default())
    found = t.report(config)
    eq(found["uids"], [0, 0, 0], "uids inside")
    for where in ("/proc", "/dev", "/dev/pts", "/dev/shm", "/dev/mqueue", "/sys"):
        mount_at(found["mountinfo"], where)


@test
def a_bind_of_a_directory_only_root_can_reach_works_in_a_user_namespace(t):
    """The runtime opens bind sources before it gives up the host's ids."""
    t.file("closed/inner/file", "reached\n")
    os.chmod(t.path("closed"), 0o700)
    config = with_mount(minimal("/bin/cat", "/mnt/a/file"), "/mnt/a", "bind",
                        t.path("closed/inner"), "bind")
    eq(t.ok(with_user_namespace(config)), "reached\n", "the file")


@cases(overlap=([(0, 100000, 10), (5, 200000, 10)],),
       host_overlap=([(0, 100000, 10), (10, 100005, 10)],),
       zero_size=([(0, 100000, 0)],), too_large=([(0, 4294967295, 10)],))
@row("UM-1")
def an_impossible_id_map_is_refused(t, entries):
    config = joined(minimal(), "user")
    maps = [{"containerID": c, "hostID": h, "size": s} for c, h, s in entries]
    config["linux"]["uidMappings"] = maps
    config["linux"]["gidMappings"] = [{"containerID": 0, "hostID": 100000, "size": 65536}]
    t.refused(config, "uidMappings")


@test
def a_user_namespace_without_maps_is_refused(t):
    t.refused(joined(minimal(), "user"), "user")


@test
def a_user_that_is_not_mapped_is_refused(t):
    config = with_user_namespace(minimal(user={"uid": 70000, "gid": 0}))
    t.refused(config, "/process/user")


# ---- rootless ------------------------------------------------------------------------------------


def rootless(config, uid=1000):
    """What `teca spec --rootless` says: one user, no network, no resources."""
    config = with_user_namespace(without(config, "network"), uid, 1)
    config["linux"].pop("resources", None)
    config["mounts"] = [m for m in config["mounts"]
                        if m["destination"] not in ("/dev/pts", "/sys", "/sys/fs/cgroup")]
    return config


def as_user(uid=1000):
    def become():
        os.setgroups([])
        os.setresgid(uid, uid, uid)
        os.setresuid(uid, uid, uid)
    return become


def run_rootless(t, config, *flags):
    home = t.path("xdg")
    os.mkdir(home, 0o700)
    os.chown(home, 1000, 1000)
    where, container = t.bundle(config), t.new_id()
    command = [t.binary, "run", *flags, "--bundle", where, container]
    done = t.teca(command=command, preexec_fn=as_user(), cwd="/",
                  env=dict(os.environ, XDG_RUNTIME_DIR=home))
    for _, _, names in os.walk(home):
        check(not names, f"files left in XDG_RUNTIME_DIR: {names}")
    return done


@test
def an_ordinary_user_runs_a_container(t):
    done = run_rootless(t, rootless(minimal("/bin/id", "-u")))
    eq((done.status, done.text, done.error), (0, "0\n", ""), "status, stdout, stderr")


@test
def an_ordinary_user_runs_the_default_mounts(t):
    config = rootless(default("/bin/sh", "-c",
                              "cat /proc/self/uid_map; echo x >/dev/null && echo dev"))
    done = run_rootless(t, config)
    eq((done.status, done.error), (0, ""), "status, stderr")
    eq(done.text.split(), ["0", "1000", "1", "dev"], "uid_map and a device")


@test
def the_state_of_an_ordinary_user_lies_in_its_runtime_directory(t):
    home = t.path("xdg")
    os.mkdir(home, 0o700)
    os.chown(home, 1000, 1000)
    where, container = t.bundle(rootless(minimal("/payload", "catch", "15"))), t.new_id()
    more = {"preexec_fn": as_user(), "cwd": "/", "env": dict(os.environ, XDG_RUNTIME_DIR=home)}
    t.teca(command=[t.binary, "create", "--bundle", where, container], expect=0, **more)
    check(any(container in names for _, names, _ in os.walk(home)),
          "no state directory below XDG_RUNTIME_DIR")
    t.teca(command=[t.binary, "start", container], expect=0, **more)
    contains(t.teca(command=[t.binary, "state", container], expect=0, **more).text, '"running"',
             "state")
    t.teca(command=[t.binary, "kill", container, "KILL"], expect=0, **more)
    t.teca(command=[t.binary, "delete", "--force", container], expect=0, **more)
    check(not any(container in names for _, names, _ in os.walk(home)),
          "the state directory is still there")


@test
def init_of_a_joined_pid_namespace_dies_by_kill_and_its_target_lives(t):
    _, target = t.sleeper()
    container, pid = t.sleeper(joined(minimal(), "pid", f"/proc/{target}/ns/pid"))
    t.teca("kill", container, "KILL", expect=0)
    wait_until(lambda: t.state(container)["status"] == "stopped", "the container is stopped")
    check(is_alive(target) and not is_alive(pid),
          f"init of the joined namespace died with {name_of(pid)}")


# ---- every combination of new, joined and absent ones ---------------------------------------------


def everything(t, user=False):
    """A process in new namespaces of every kind; with a user namespace they belong to that."""
    flags = ["--mount", "--uts", "--ipc", "--net", "--cgroup", "--time", "--pid"]
    parent = t.holder(*flags, *(["--user"] if user else []), "--fork", "--kill-child")
    pid = children_of(parent)[0][0]
    for name in ("uid_map", "gid_map") if user else ():
        with open(f"/proc/{pid}/{name}", "w", encoding="ascii") as f:
            f.write("0 100000 65536")
    return pid


def combinations():
    """
    Rows of a covering array: every pair of namespaces stands in every pair of states somewhere. Greedy
    and without chance, so that a row's name means the same on every machine.
    """
    states = {k: ("new", "joined", "absent") for k in FILES}
    states["mount"] = ("new", "joined")  # without one there is no container
    kinds = sorted(states)
    left = {(a, x, b, y) for i, a in enumerate(kinds) for b in kinds[i + 1:]
            for x in states[a] for y in states[b]}
    rows = []
    while left:
        row = {}
        for kind in kinds:
            def gain(state, row=row, kind=kind):
                pairs = {(a, row[a], kind, state) for a in row}
                open_ends = sum(1 for p in left if p[:2] == (kind, state) or p[2:] == (kind, state))
                return len(pairs & left), open_ends
            row[kind] = max(states[kind], key=gain)
        covered = {(a, row[a], b, row[b]) for i, a in enumerate(kinds) for b in kinds[i + 1:]}
        if not covered & left:  # the greedy row gains nothing: take one missing pair by force
            a, x, b, y = min(left)
            row[a], row[b] = x, y
            covered = {(k, row[k], m, row[m]) for i, k in enumerate(kinds) for m in kinds[i + 1:]}
        left -= covered
        rows.append(row)
    return rows


def combined(row, holder):
    """The minimal configuration with these namespaces, and where a process of it must be."""
    config, expected = minimal(), {}
    config["linux"]["namespaces"] = []
    for kind, state in row.items():
        path = f"/proc/{holder}/ns/{FILES[kind]}"
        if state != "absent":
            config["linux"]["namespaces"].append(
                {"type": kind} | ({"path": path} if state == "joined" else {}))
        expected[kind] = {"new": None, "joined": os.readlink(path),
                          "absent": inode("self", kind)}[state]
    if row["user"] == "new":
        for key in ("uidMappings", "gidMappings"):
            config["linux"][key] = [{"containerID": 0, "hostID": 100000, "size": 65536}]
    return config, expected


def check_places(found, expected, holder):
    for kind, where in expected.items():
        if where:
            eq(found[FILES[kind]], where, f"the {kind} namespace")
        else:
            check(found[FILES[kind]] not in (inode("self", kind), inode(holder, kind)),
                  f"the {kind} namespace is not new: {found[FILES[kind]]}")


def name_of_row(row):
    return "-".join(f"{kind[:3]}.{state[0]}" for kind, state in row.items())


@cases(**{name_of_row(row): row for row in combinations()})
def a_combination_of_namespaces(t, row):
    holder = everything(t, user=row["user"] == "joined")
    config, expected = combined(row, holder)
    if row["user"] == "new" and row["mount"] == "joined":
        index = [n["type"] for n in config["linux"]["namespaces"]].index("mount")
        t.refused(config, f"/linux/namespaces/{index}/path", "new user namespace")
    else:
        check_places(t.report(config)["ns"], expected, holder)


@cases(**{f"{user}_{state}": (user, state) for user in ("new", "joined", "absent")
          for state in ("new", "joined")})
def all_namespaces_alike_but_the_user_namespace(t, user, state):
    """What belongs to the host, joined together with every state of the user namespace."""
    holder, owner = everything(t), everything(t, user=True)
    config, expected = combined({kind: state for kind in FILES} | {"user": user}, holder)
    if user != "absent" and state == "joined":  # nobody of that user namespace may mount there
        config = joined(config, "mount")
        expected["mount"] = None
    if user == "joined":
        config = joined(config, "user", f"/proc/{owner}/ns/user")
        expected["user"] = inode(owner, "user")
    check_places(t.report(config)["ns"], expected, holder)


@test
def a_mount_namespace_that_the_joined_user_namespace_does_not_own_is_refused(t):
    config = joined(minimal(), "user", f"/proc/{everything(t, user=True)}/ns/user")
    config = joined(config, "mount", f"/proc/{everything(t)}/ns/mnt")
    t.refused(config, "/linux/namespaces/4/path", "mount namespace", "does not belong")


@cases(by_init=(), by_a_stage=("pid",))
def init_is_in_its_cgroups_though_the_joined_mount_namespace_has_none(t, *more):
    """v1 is joined by path, and behind the join of the mount namespace the path leads nowhere."""
    parent = t.holder("--mount", "--pid", "--fork", "--kill-child", "/bin/sh", "-c",
                      'umount -l /sys/fs/cgroup && test -z "$(ls /sys/fs/cgroup)" && exec "$0" "$@"')
    holder = children_of(parent)[0][0]
    config, container = minimal("/bin/cat", "/proc/self/cgroup"), t.new_id()
    for kind in ("mount", *more):
        config = joined(config, kind, f"/proc/{holder}/ns/{FILES[kind]}")
    for line in t.ok(config, container=container).splitlines():
        contains(line, f"/teca-{container}", "a line of /proc/self/cgroup")


# ---- maps and offsets at their limits ---------------------------------------------------------------


def with_maps(config, uids, gids=None):
    config = joined(config, "user")
    for key, rows in (("uidMappings", uids), ("gidMappings", gids or uids)):
        config["linux"][key] = [dict(zip(("containerID", "hostID", "size"), r)) for r in rows]
    return config


@test
def as_many_extents_as_the_kernel_takes_are_mapped(t):
    maps = [(i, 1000 + 2 * i, 1) for i in range(340)]
    eq(len(t.report(with_maps(minimal(), maps))["uid_map"].splitlines()), 340, "lines of uid_map")
    t.refused(with_maps(minimal(), maps + [(340, 2000000, 1)]), "/linux/uidMappings", "340")


@test
def a_map_that_is_longer_than_a_page_is_refused(t):
    maps = [(0, 1, 1)] + [(1000000000 + 2 * i, 2000000000 + 2 * i, 1) for i in range(200)]
    t.refused(with_maps(minimal(), maps), "/linux/uidMappings", "fewer than 4096")


@cases(container_id=((4294967296, 0, 1), "containerID"), host_id=((0, 4294967296, 1), "hostID"),
       size=((0, 0, 4294967296), "size"), negative=((-1, 0, 1), "containerID"),
       fraction=((0, 0.5, 1), "hostID"), end=((0, 4294967290, 6), ""))
def a_number_beyond_32_bits_in_a_map_is_refused(t, row, key):
    good = [(0, 100000, 65536)]
    t.refused(with_maps(minimal(), [row], good), f"/linux/uidMappings/0/{key}".rstrip("/"))
    t.refused(with_maps(minimal(), good, [row]), f"/linux/gidMappings/0/{key}".rstrip("/"))


@cases(gid=({"uid": 0, "gid": 70000}, "/process/user/gid"),
       group=({"uid": 0, "gid": 0, "additionalGids": [1, 70000]}, "/process/user/additionalGids/1"))
def a_group_that_is_not_mapped_is_refused(t, user, pointer):
    t.refused(with_user_namespace(minimal(user=user)), pointer, "70000")


@test
def root_that_is_mapped_to_nothing_is_refused(t):
    t.refused(with_maps(minimal(user={"uid": 5, "gid": 5}), [(5, 100000, 10)]),
              "/linux/uidMappings", "uid 0")


@test
def a_host_id_that_an_outer_user_namespace_lacks_is_refused(t):
    where, container = t.bundle(with_user_namespace(minimal())), t.new_id()
    done = t.teca(command=["unshare", "--user", "--map-root-user", "--mount",
                           *t.argv("run", "--bundle", where, container)])
    eq(done.status, 1, "exit status")
    contains(done.error, "/linux/gidMappings", "stderr")
    contains(done.error, "/proc/self/gid_map", "stderr")
    t.nothing_of(container)


@test
def clocks_may_be_set_back(t):
    config = joined(minimal(), "time")
    config["linux"]["timeOffsets"] = {"monotonic": {"secs": -2, "nanosecs": 999999999},
                                      "boottime": {"secs": -1}}
    before = time.clock_gettime(time.CLOCK_BOOTTIME)
    found = t.report(config)
    after = time.clock_gettime(time.CLOCK_BOOTTIME)
    check(int(before - 1) <= found["boottime"] <= after - 1, f"boottime {found['boottime']}")
    with open(f"/proc/{t.sleeper(config)[1]}/timens_offsets", encoding="ascii") as f:
        eq([line.split() for line in f],
           [["monotonic", "-2", "999999999"], ["boottime", "-1", "0"]], "timens_offsets")


@cases(back=({"monotonic": {"secs": -10000000000}}, "/linux/timeOffsets", "negative"),
       forward=({"boottime": {"secs": 9000000000000000000}}, "/linux/timeOffsets", "beyond"),
       nanosecs=({"boottime": {"secs": 1, "nanosecs": 1000000000}},
                 "/linux/timeOffsets/boottime/nanosecs", "999999999"),
       wide=({"monotonic": {"secs": 9223372036854775808}}, "/linux/timeOffsets/monotonic/secs", ""),
       unsigned=({"monotonic": {"nanosecs": 4294967296}},
                 "/linux/timeOffsets/monotonic/nanosecs", ""),
       clock=({"realtime": {"secs": 1}}, "/linux/timeOffsets/realtime", "monotonic"))
def an_offset_that_no_clock_can_have_is_refused(t, offsets, pointer, part):
    config = joined(minimal(), "time")
    config["linux"]["timeOffsets"] = offsets
    t.refused(config, pointer, part)
