# SPDX-License-Identifier: Apache-2.0
"""
Without root: from an ordinary user with and without /etc/subuid, and as root of a user namespace.
Issue 3 "Namespaces"; engine-contract 1.2 `--root`, 1.14, 5.4; checklist NS-3, UM-1.

The user is made up: a private mount namespace of the test has other files at /etc/passwd and
/etc/subuid, and the host's are not touched.
"""
import contextlib
import copy
import json
import os
import shutil
import stat

import kernel
from harness import (
    MS_PRIVATE,
    MS_SHARED,
    cases,
    check,
    contains,
    default,
    eq,
    hierarchies,
    joined,
    lacks,
    minimal,
    mount,
    mount_at,
    mounts_of,
    private_mounts,
    reap,
    test,
    wait_until,
    with_mount,
    with_user_namespace,
    without)
from test_namespaces import FILES, inode, with_maps
from test_terminal import Engine, read_all, terminal
from test_vm_prepare import prepare

UID, FIRST, COUNT = 4711, 300000, 65536
MS_BIND = 4096
OWN = [(0, UID, 1)]
RANGE = OWN + [(1, FIRST, COUNT)]
FAR = [(0, FIRST, COUNT)]


def bind_text(t, name, text, target):
    mount(t.file(name, text), target, "none", MS_BIND)


def text_of(path):
    with open(path, encoding="utf-8") as f:
        return f.read()


class User:
    """An ordinary user of a host of the test's own, and what it starts."""

    def __init__(self, t, subids=f"ordinary:{FIRST}:{COUNT}\n", groups=(), propagation=MS_PRIVATE):
        private_mounts(propagation)
        bind_text(t, "etc/passwd", text_of("/etc/passwd") + f"ordinary:x:{UID}:{UID}::/:/bin/sh\n",
                  "/etc/passwd")
        bind_text(t, "etc/group", text_of("/etc/group") + f"ordinary:x:{UID}:\n", "/etc/group")
        for name in ("subuid", "subgid"):
            bind_text(t, f"etc/{name}", subids, f"/etc/{name}")
        self.t, self.binary = t, t.binary
        self.home = self.directory("home", 0o700)
        self.env = {"XDG_RUNTIME_DIR": self.home, "PATH": os.environ["PATH"]}
        self.groups, self.before = list(groups), []
        t.state_root = os.path.join(self.home, "teca")  # where the harness looks for leftovers

    def directory(self, name, mode=0o755):
        where = self.t.path(name)
        os.mkdir(where)
        os.chmod(where, mode)
        os.chown(where, UID, UID)
        return where

    def argv(self, *args):
        return [*self.before, self.binary, *args]

    def options(self):
        return {"user": UID, "group": UID, "extra_groups": self.groups, "env": self.env, "cwd": "/"}

    def teca(self, *args, **more):
        return self.t.teca(command=self.argv(*args), **(self.options() | more))

    def ok(self, *args, **more):
        done = self.teca(*args, expect=0, **more)
        eq(done.error, "", f"stderr of {args[0]}")
        return done.text

    def refused(self, *args, parts, status=1):
        done = self.teca(*args)
        eq(done.status, status, f"exit status of {args} (stderr {done.error})")
        for part in parts:
            contains(done.error, part, "stderr")
        eq(done.error.rstrip("\n").count("\n"), 0, f"newlines inside the message {done.error!r}")

    def run(self, config, *flags, **more):
        return self.ok("run", *flags, "--bundle", self.t.bundle(config), self.t.new_id(), **more)

    def run_refused(self, config, *parts):
        container = self.t.new_id()
        self.refused("run", "--bundle", self.t.bundle(config), container, parts=parts)
        self.t.nothing_of(container)

    def report(self, config, *flags, **more):
        config = copy.deepcopy(config)
        config["process"]["args"] = ["/payload", "report"]
        return json.loads(self.run(config, *flags, **more))

    def plan(self, config):
        where = self.t.bundle(config)
        steps = json.loads(self.ok("explain", "--format", "json", "--bundle", where))["steps"]
        return [(s["operation"], s["operands"]) for s in steps]

    def sleeper(self, config, *flags):
        config["process"]["args"] = ["/payload", "catch", "15"]
        container = self.t.new_id()
        self.ok("create", *flags, "--bundle", self.t.bundle(config), container)
        self.ok("start", container)
        return container, json.loads(self.ok("state", container))["pid"]


def lists(config):
    """What every row here needs of a host: no resources, no group that is not mapped."""
    config["linux"].pop("resources", None)
    for m in config["mounts"]:
        m["options"] = [o for o in m.get("options", []) if o != "gid=5"]
    return config


def mapped(maps, *args, **process):
    return with_maps(minimal(*args, **process), maps)


# ---- who writes the maps ----------------------------------------------------------------------------


@test
def the_own_id_is_mapped_without_a_tool(t):
    user = User(t)
    steps = user.plan(mapped(OWN))
    eq([o["deny_setgroups"] for op, o in steps if op == "ns-id-maps"], [True], "deny_setgroups")
    lacks(str(steps), "ns-map-tool", "the plan")
    found = user.report(mapped(OWN))
    eq(found["uid_map"].split(), ["0", str(UID), "1"], "uid_map")
    eq(user.run(mapped(OWN, "/bin/cat", "/proc/self/setgroups")), "deny\n", "setgroups")


@test
def a_range_is_mapped_by_newuidmap_and_newgidmap(t):
    user = User(t)
    steps = user.plan(mapped(RANGE))
    for name, ids in (("newuidmap", "/etc/subuid"), ("newgidmap", "/etc/subgid")):
        tools = [o for op, o in steps if op == "ns-map-tool" and o["tool"] == shutil.which(name)]
        eq([o["args"] for o in tools], [["0", str(UID), "1", "1", str(FIRST), str(COUNT)]], name)
        eq(tools[0]["ranges"], ids, f"the file for {name}")
    lacks(str(steps), "ns-id-maps", "the plan")
    found = user.report(mapped(RANGE))
    for name in ("uid_map", "gid_map"):
        eq(found[name].split(), ["0", str(UID), "1", "1", str(FIRST), str(COUNT)], name)
    eq(user.run(mapped(RANGE, "/bin/cat", "/proc/self/setgroups")), "allow\n", "setgroups")


@test
def one_map_by_the_tool_and_one_by_hand(t):
    config = with_maps(minimal("/bin/cat", "/proc/self/uid_map", "/proc/self/gid_map"), RANGE, OWN)
    eq(User(t).run(config).split(), ["0", str(UID), "1", "1", str(FIRST), str(COUNT),
                                     "0", str(UID), "1"], "uid_map, gid_map")


@test
def many_extents_are_handed_to_the_tool(t):
    maps = OWN + [(1 + i, FIRST + 2 * i, 1) for i in range(200)]
    eq(len(User(t).report(mapped(maps))["uid_map"].splitlines()), 201, "lines of uid_map")


@cases(nothing="", too_little=f"ordinary:{FIRST}:10\n", of_another="daemon:300000:65536\n")
def a_range_that_nobody_granted_is_refused(t, subids):
    user = User(t, subids)
    user.run_refused(mapped(RANGE), "/linux/gidMappings: newgidmap refuses the map: ",
                     "not allowed", f"/etc/subgid must grant user {UID}")
    eq(user.report(mapped(OWN))["uid_map"].split(), ["0", str(UID), "1"], "uid_map without a range")


@cases(newuidmap=("newuidmap", "/linux/uidMappings", "/etc/subuid"),
       newgidmap=("newgidmap", "/linux/gidMappings", "/etc/subgid"))
def a_tool_that_is_not_installed_is_named(t, name, pointer, ranges):
    user = User(t)
    mount("/dev/null", shutil.which(name), "none", MS_BIND)
    user.run_refused(mapped(RANGE), pointer, f"{name} is not here", "package uidmap", ranges)
    user.report(mapped(OWN))


@test
def the_current_directory_holds_no_tool(t):
    """It is the bundle, and who made that is not the user."""
    user = User(t)
    where, container = t.bundle(mapped(RANGE, "/bin/true")), t.new_id()
    for name in ("newuidmap", "newgidmap"):
        os.chmod(t.file(f"{os.path.basename(where)}/{name}", "#!/bin/sh\nexit 1\n"), 0o755)
    for path in (".", "", ":", "bundle:.", "./"):
        user.env["PATH"] = path
        user.ok("run", "--bundle", where, container, cwd=where)
    del user.env["PATH"]
    user.ok("run", "--bundle", where, container, cwd=where)


@cases(word=("echo 'newgidmap: the moon is wrong'; exit 1", "the map: the moon is wrong"),
       silence=("exit 3", "exit status 3"), signal=("kill -9 $$", "killed by signal 9"))
def what_the_tool_says_is_passed_on(t, script, part):
    user = User(t)
    os.chmod(t.file("bin/newgidmap", f"#!/bin/sh\n{script}\n"), 0o755)
    user.env["PATH"] = t.path("bin")
    user.run_refused(mapped(RANGE), part, "/linux/gidMappings")


# ---- what works inside ------------------------------------------------------------------------------


def whole(maps):
    return lists(with_maps(default(), maps))


@cases(own=(OWN,), range=(RANGE,), far=(FAR,))
def the_default_configuration_runs(t, maps):
    user = User(t)
    found = user.report(whole(maps))
    eq(found["uids"], [0, 0, 0], "uids inside")
    for where in ("/proc", "/dev", "/dev/pts", "/dev/shm", "/dev/mqueue", "/sys"):
        mount_at(found["mountinfo"], where)
    config = whole(maps)
    config["process"]["args"] = ["/bin/sh", "-c", "echo x >/dev/null && head -c 3 /dev/zero | wc -c"]
    eq(user.run(config), "3\n", "bytes of /dev/zero")


@test
def devices_are_binds_of_the_hosts(t):
    found = User(t).report(whole(OWN))
    for name in ("null", "zero", "full", "random", "urandom", "tty"):
        eq(mount_at(found["mountinfo"], f"/dev/{name}")["root"], f"/{name}", f"what /dev/{name} is")


@test
def sysfs_without_a_network_namespace_is_the_hosts(t):
    config = without(whole(OWN), "network")
    found = User(t).report(config)
    eq(mount_at(found["mountinfo"], "/sys")["dev"], mount_at(None, "/sys")["dev"], "the file system")
    check("ro" in mount_at(found["mountinfo"], "/sys")["options"], "/sys can be written to")


@cases(private=(MS_PRIVATE,), shared=(MS_SHARED,))
def files_that_only_the_user_reaches_are_the_containers(t, propagation):
    """Root inside is another user of the host, and the bundle lies in a directory of mode 0700."""
    user = User(t, propagation=propagation)
    root = os.path.join(user.home, "root")
    shutil.copytree(t.shared_root, root, symlinks=True)
    t.file("home/data/file", "reached\n")
    config = mapped(FAR, "/bin/cat", "/mnt/a/file")
    config["root"]["path"] = root
    config = with_mount(config, "/mnt/a", "bind", os.path.join(user.home, "data"), "bind", "ro")
    before = len(mounts_of())
    eq(user.run(config), "reached\n", "the file")
    eq(len(mounts_of()), before, "mounts of the host")


@test
def the_user_inside_may_be_any_that_is_mapped(t):
    user = User(t)
    config = mapped(RANGE, user={"uid": 1000, "gid": 2000, "additionalGids": [3000, 4]})
    _, pid = user.sleeper(config)
    lines = dict(line.split(":\t", 1) for line in text_of(f"/proc/{pid}/status").splitlines()
                 if ":\t" in line)
    eq((lines["Uid"].split()[0], lines["Gid"].split()[0], lines["Groups"].split()),
       (str(FIRST + 999), str(FIRST + 1999), [str(FIRST + 3), str(FIRST + 2999)]), "ids on the host")
    user.run_refused(mapped(OWN, user={"uid": 7, "gid": 0}), "/process/user/uid", "7")


@test
def additional_groups_need_a_map_of_the_tool(t):
    """Where the user alone wrote gid_map, setgroups(2) is denied for ever."""
    user = User(t)
    config = mapped(OWN, "/bin/id", "-G", user={"uid": 0, "gid": 0, "additionalGids": [0]})
    user.run_refused(config, "/process/user/additionalGids", "setgroups is denied")
    eq(user.run(mapped(OWN, "/bin/id", "-G")), "0\n", "groups of a user without any")


@test
def the_callers_groups_stay_where_they_cannot_be_given_up(t):
    user = User(t, groups=[5555])
    eq(user.run(mapped(OWN, "/bin/id", "-G")), "0 65534\n", "groups with setgroups denied")
    eq(user.run(mapped(RANGE, "/bin/id", "-G")), "0\n", "groups with setgroups allowed")


# ---- the verbs --------------------------------------------------------------------------------------


@cases(own=(OWN,), range=(RANGE,), far=(FAR,))
def a_life_without_root(t, maps):
    user = User(t)
    config, container = mapped(maps, "/payload", "catch", "15"), t.new_id()
    user.ok("create", "--bundle", t.bundle(config), "--pid-file", f"{user.home}/pid", container)
    pid = int(text_of(f"{user.home}/pid"))
    eq(json.loads(user.ok("state", container))["status"], "created", "status")
    user.refused("exec", container, "/bin/true", status=255, parts=["has been started"])
    user.ok("start", container)
    state = json.loads(user.ok("state", container))
    eq((state["status"], state["pid"]), ("running", pid), "status, pid")
    contains(user.ok("list"), container, "list")
    eq(user.ok("exec", container, "/bin/id", "-u"), "0\n", "uid of exec")
    eq(json.loads(user.ok("ps", "--format", "json", container)), [pid], "ps")
    user.refused("pause", container, parts=["no cgroup that can be frozen"])
    user.refused("delete", container, parts=["not stopped"])
    user.ok("kill", container, "TERM")
    wait_until(lambda: reap() or json.loads(user.ok("state", container))["status"] == "stopped",
               "the container is stopped")
    user.ok("delete", container)
    lacks(user.ok("list"), container, "list")
    t.nothing_of(container)


@test
def exec_as_another_user_of_the_map(t):
    user = User(t)
    container, _ = user.sleeper(mapped(RANGE))
    eq(user.ok("exec", "--user", "5:6", "--additional-gids", "9", container, "/bin/id"),
       "uid=5 gid=6 groups=9\n", "id")
    user.refused("exec", "--user", "70000", container, "/bin/id", status=255,
                 parts=["/process/user/uid", "70000"])
    one, _ = user.sleeper(mapped(OWN))
    user.refused("exec", "--additional-gids", "0", one, "/bin/id", status=255,
                 parts=["/process/user/additionalGids", "setgroups is denied"])


@test
def hooks_are_run(t):
    user = User(t)
    said = user.directory("said")
    config = mapped(OWN, "/bin/true")
    kinds = ("prestart", "createRuntime", "createContainer", "poststart", "poststop")
    config["hooks"] = {kind: [{"path": "/bin/sh", "args": ["sh", "-c", f"id -u >{said}/{kind}"]}]
                       for kind in kinds}
    user.run(config)
    eq({name: text_of(f"{said}/{name}") for name in os.listdir(said)},
       {kind: "0\n" if kind == "createContainer" else f"{UID}\n" for kind in kinds},
       "who ran the hooks")


@test
def a_terminal_is_handed_over(t):
    user = User(t)
    config = with_mount(mapped(OWN, "/bin/sh", "-c", "test -t 0 && stat -c %u /dev/console"),
                        "/dev/pts", "devpts", "devpts", "newinstance", "ptmxmode=0666", "mode=0620")
    engine, container = Engine(t.path("socket")), t.new_id()
    os.chmod(engine.path, 0o777)
    user.ok("create", "--bundle", t.bundle(terminal(config)), "--console-socket", engine.path,
            container)
    _, master = engine.take()
    user.ok("start", container)
    eq(read_all(master), "0\n", "owner of the console")
    os.close(master)


@test
def exec_gets_a_terminal_too(t):
    user = User(t)
    config = with_mount(mapped(OWN, "/bin/sleep", "100"),
                        "/dev/pts", "devpts", "devpts", "newinstance", "ptmxmode=0666", "mode=0620")
    engine, container = Engine(t.path("socket")), t.new_id()
    os.chmod(engine.path, 0o777)
    user.ok("create", "--bundle", t.bundle(config), container)
    user.ok("start", container)
    user.ok("exec", "--detach", "--tty", "--console-socket", engine.path, container,
            "/bin/sh", "-c", "test -t 0 && stat -L -c %u /proc/self/fd/0")
    _, master = engine.take()
    eq(read_all(master), "0\n", "owner of the terminal")
    os.close(master)


@test
def what_spec_rootless_writes_runs(t):
    user = User(t)
    where, container = user.directory("made"), t.new_id()
    os.symlink(t.shared_root, f"{where}/rootfs")
    user.ok("spec", "--rootless", "--bundle", where)
    eq(user.ok("run", "--bundle", where, container, stdin=b"id -u; hostname\n"), "0\nteca\n",
       "what its shell says")


@test
def a_start_that_fails_leaves_nothing(t):
    user = User(t)
    user.run_refused(mapped(RANGE, "/no/such/program"), "/no/such/program")
    user.run_refused(with_mount(mapped(RANGE), "/mnt/a", "bind", "/no/such/source", "bind"),
                     "/mounts/2/source")
    eq(os.listdir(t.state_root), [], "what is in the state root")


# ---- state on disk ----------------------------------------------------------------------------------


@test
def the_state_root_is_the_users_own_and_sticky(t):
    user = User(t)
    user.sleeper(mapped(OWN))
    s = os.stat(t.state_root)
    eq((s.st_uid, s.st_mode & 0o7777), (UID, 0o1700), "owner and mode of the state root")


def set_mode(root):
    os.mkdir(root)
    os.chown(root, UID, UID)
    os.chmod(root, 0o770)


def link(root):
    os.mkdir(root + "-target")
    os.chown(root + "-target", UID, UID)
    os.symlink(root + "-target", root)


@cases(of_root=(os.mkdir,), of_a_group=(set_mode,), symlink=(link,),
       file=(lambda root: open(root, "w", encoding="ascii").close(),))
def a_state_root_that_others_may_write_is_refused(t, make):
    user = User(t)
    make(t.state_root)
    for verb in (("run", "--bundle", t.bundle(mapped(OWN, "/bin/true"))), ("state",)):
        user.refused(*verb, "x", parts=[t.state_root, "only its owner"])
    if os.path.isdir(t.state_root) and not os.path.islink(t.state_root):
        os.rmdir(t.state_root)
    else:
        os.unlink(t.state_root)


def with_run_user(t, mode, owner=UID):
    """/run/user as systemd would have it, for this test only."""
    mount("tmpfs", "/run", "tmpfs", 0, "mode=755")
    os.makedirs(f"/run/user/{UID}")
    os.chmod(f"/run/user/{UID}", mode)
    os.chown(f"/run/user/{UID}", owner, owner)


@cases(unset=(None,), empty=("",), relative=("run",))
def without_xdg_runtime_dir_the_state_lies_in_run_user(t, value):
    user = User(t)
    user.env.pop("XDG_RUNTIME_DIR")
    if value is not None:
        user.env["XDG_RUNTIME_DIR"] = value
    user.run_refused(mapped(OWN), "XDG_RUNTIME_DIR is not set", f"/run/user/{UID}", "--root")
    with_run_user(t, 0o700)
    t.state_root = f"/run/user/{UID}/teca"
    container, _ = user.sleeper(mapped(OWN))
    eq(os.listdir(t.state_root), [container], "state")


@cases(others_may_write=(0o777, UID), of_another=(0o700, 0))
def a_run_user_that_is_not_the_users_alone_is_refused(t, mode, owner):
    user = User(t)
    del user.env["XDG_RUNTIME_DIR"]
    with_run_user(t, mode, owner)
    user.refused("list", parts=["XDG_RUNTIME_DIR is not set"])


# ---- cgroups ----------------------------------------------------------------------------------------


@test
def without_a_cgroup_of_its_own_the_container_stays_in_the_callers(t):
    user = User(t)
    config = mapped(OWN, "/bin/cat", "/proc/self/cgroup")
    eq(user.run(config), text_of("/proc/self/cgroup"), "cgroups")
    config["linux"]["resources"] = {"devices": [{"allow": False, "access": "rwm"}], "memory": {}}
    eq(user.run(config), text_of("/proc/self/cgroup"), "cgroups when only devices are named")


@test
def a_limit_without_a_cgroup_is_refused(t):
    user = User(t)
    config = mapped(OWN)
    config["linux"]["resources"] = {"memory": {"limit": 1 << 26}}
    user.run_refused(config, "/linux/resources/memory", "no cgroup can be made", "Delegate")


@test
def a_cgroup_path_without_the_right_to_make_it_is_refused(t):
    user = User(t)
    config = mapped(OWN)
    config["linux"]["cgroupsPath"] = f"/{t.token}/mine"
    user.run_refused(config, "/linux/cgroupsPath", "no cgroup can be made")


@contextlib.contextmanager
def delegated(t):
    """A part of the v2 hierarchy that is the user's, with a cgroup for whoever calls."""
    top = [at for _, at, v2 in hierarchies() if v2]
    if not top:
        t.skip("no cgroup v2 hierarchy")
    where = os.path.join(top[0], f"{t.token}-delegated")
    caller = os.path.join(where, "caller")
    for made in (where, caller):
        os.mkdir(made)
        for name in ("", "cgroup.procs", "cgroup.subtree_control", "cgroup.threads"):
            os.chown(os.path.join(made, name), UID, UID)
    home = os.path.join(top[0], os.path.relpath(
        [line for line in text_of("/proc/self/cgroup").splitlines() if line.startswith("0::")][0][3:],
        "/"))
    with open(f"{caller}/cgroup.procs", "w", encoding="ascii") as f:
        f.write(str(os.getpid()))
    try:
        yield where
    finally:
        with open(f"{home}/cgroup.procs", "w", encoding="ascii") as f:
            f.write(str(os.getpid()))
        for made in (caller, where):
            os.rmdir(made)


@test
def a_delegated_cgroup_is_used(t):
    """Beside the caller's, which is where systemd gives a user room; and it can be frozen."""
    user = User(t)
    with delegated(t) as where:
        container, pid = user.sleeper(mapped(OWN))
        own = os.path.join(where, f"teca-{container}")
        eq(text_of(f"{own}/cgroup.procs").split(), [str(pid)], "processes in the cgroup")
        user.ok("pause", container)
        eq(json.loads(user.ok("state", container))["status"], "paused", "status")
        user.ok("resume", container)
        eq(user.ok("exec", container, "/bin/cat", "/proc/self/cgroup").splitlines()[-1][:3], "0::",
           "v2 in /proc/self/cgroup")
        user.ok("delete", "--force", container)
        check(not os.path.exists(own), "the cgroup is still there")
        reap()


@test
def a_cgroup_path_in_a_delegated_part_is_made(t):
    user = User(t)
    with delegated(t) as where:
        config = mapped(OWN)
        config["linux"]["cgroupsPath"] = f"/{os.path.basename(where)}/deep/leaf"
        container, pid = user.sleeper(config)
        eq(text_of(f"{where}/deep/leaf/cgroup.procs").split(), [str(pid)], "processes in the cgroup")
        user.ok("delete", "--force", container)
        eq(sorted(n for n in os.listdir(where) if os.path.isdir(f"{where}/{n}")), ["caller"],
           "cgroups afterwards")
        reap()


# ---- self-protection --------------------------------------------------------------------------------


def program_of_init(user, t):
    container = t.new_id()
    user.ok("create", "--bundle", t.bundle(mapped(OWN)), container)
    pid = json.loads(user.ok("state", container))["pid"]
    return os.readlink(f"/proc/{pid}/exe"), f"/proc/{pid}/exe"


@test
def the_users_own_binary_is_out_of_the_containers_reach(t):
    """CVE-2019-5736: the container's root is the user, who may write the file."""
    user = User(t)
    user.binary = t.path("home/program")
    shutil.copy(t.binary, user.binary)
    os.chown(user.binary, UID, UID)
    name, path = program_of_init(user, t)
    eq(name, "/memfd:teca (deleted)", "what init executes")
    try:
        with open(path, "r+b"):
            check(False, "root can write the sealed copy")
    except OSError:
        pass


@test
def a_binary_that_the_user_cannot_write_is_not_copied(t):
    user = User(t)
    eq(program_of_init(user, t)[0], os.path.realpath(t.binary), "what init executes")


# ---- root of a user namespace -----------------------------------------------------------------------


def plain(*args):
    """What an engine that made the user namespace itself asks for: none in the configuration."""
    config = lists(default(*args))
    config["process"].pop("rlimits", None)
    return config


NESTED = {"own_mounts": ("--mount",), "the_hosts_mounts": (),
          "everything": ("--mount", "--pid", "--fork", "--mount-proc", "--net", "--cgroup")}


@cases(**{name: (flags,) for name, flags in NESTED.items()})
def root_of_an_ordinary_users_namespace_runs_the_default_configuration(t, flags):
    user = User(t, groups=[5555])
    user.before = ["unshare", "--user", "--map-root-user", *flags, "--"]
    found = user.report(plain())
    eq(found["uids"], [0, 0, 0], "uids")
    eq(found["uid_map"].split(), ["0", str(UID), "1"], "uid_map")
    for name in ("null", "zero", "full", "random", "urandom", "tty"):
        eq(mount_at(found["mountinfo"], f"/dev/{name}")["root"], f"/{name}", f"what /dev/{name} is")
    for kind in ("pid", "network", "mount", "ipc", "uts"):
        check(found["ns"][FILES[kind]] != inode("self", kind), f"the host's {kind} namespace")


@test
def root_of_a_namespace_with_the_hosts_network_has_its_sysfs(t):
    user = User(t)
    user.before = ["unshare", "--user", "--map-root-user", "--mount", "--"]
    found = user.report(without(plain(), "network"))
    eq(mount_at(found["mountinfo"], "/sys")["dev"], mount_at(None, "/sys")["dev"], "the file system")


@test
def root_of_a_namespace_keeps_its_containers_in_the_users_directory(t):
    """A rootless engine calls every verb in the namespace it has made, and names no state root."""
    user = User(t)
    holder = t.popen(command=["unshare", "--user", "--map-root-user", "--mount", "--", t.payload,
                              "catch", "15"], **user.options())
    eq(t.read_line(holder), "ready", "the holder of the namespaces")
    user.before = ["nsenter", "--preserve-credentials", "--user", "--mount",
                   "--target", str(holder.pid), "--"]
    container, pid = user.sleeper(plain())
    eq(os.listdir(t.state_root), [container], "state")
    eq(user.ok("exec", container, "/bin/id", "-u"), "0\n", "uid of exec")
    eq(json.loads(user.ok("ps", "--format", "json", container)), [pid], "ps")
    user.ok("kill", container, "KILL")
    user.ok("delete", "--force", container)
    t.nothing_of(container)


@test
def root_of_a_namespace_that_root_made_has_cgroups(t):
    """uid 0 inside is uid 0 outside: the hierarchies can be written, devices cannot be made."""
    before = ["unshare", "--user", "--map-root-user", "--mount", "--"]
    config, container = plain("/bin/cat", "/proc/self/cgroup"), t.new_id()
    where = t.bundle(config)
    done = t.teca(command=[*before, *t.argv("run", "--bundle", where, container)], expect=0)
    for line in done.text.splitlines():
        contains(line, f"/teca-{container}", "a line of /proc/self/cgroup")
    t.nothing_of(container)


@test
def a_user_namespace_within_a_user_namespace(t):
    user = User(t)
    user.before = ["unshare", "--user", "--map-root-user", "--mount", "--"]
    found = user.report(lists(with_maps(default(), [(0, 0, 1)])))
    eq(found["uid_map"].split(), ["0", "0", "1"], "uid_map as it is seen from inside")
    user.run_refused(with_user_namespace(minimal()), "/linux/gidMappings", "/proc/self/gid_map")


@test
def groups_are_refused_where_the_outer_namespace_denies_setgroups(t):
    user = User(t)
    user.before = ["unshare", "--user", "--map-root-user", "--mount", "--"]
    config = plain()
    config["process"]["user"]["additionalGids"] = [0, 7]
    user.run_refused(config, "/process/user/additionalGids", "setgroups is denied")


# ---- together with other namespaces -----------------------------------------------------------------


@cases(own=(OWN,), range=(RANGE,))
def time_offsets_without_root(t, maps):
    """The time namespace has to belong to the user namespace, which a stage makes for init."""
    config = joined(mapped(maps), "time")
    config["linux"]["timeOffsets"] = {"boottime": {"secs": 1000000}}
    check(User(t).report(config)["boottime"] > 1000000, "boottime inside")


@test
def namespaces_of_another_container_are_joined_without_root(t):
    """What a rootless engine does for the second container of a pod."""
    user = User(t)
    _, pid = user.sleeper(joined(mapped(RANGE), "network"))
    config = minimal()
    for kind in ("user", "network", "ipc", "uts", "pid"):
        config = joined(config, kind, f"/proc/{pid}/ns/{FILES[kind]}")
    found = user.report(config)
    for kind in ("user", "network", "ipc", "uts", "pid"):
        eq(found["ns"][FILES[kind]], inode(pid, kind), f"the {kind} namespace")
    eq(found["uids"], [0, 0, 0], "uids inside")


@test
def a_namespace_of_the_host_cannot_be_joined_without_root(t):
    config = joined(mapped(OWN), "network", "/proc/self/ns/net")
    User(t).run_refused(config, "/linux/namespaces/5/path", "cannot join the network namespace",
                        "Operation not permitted")


# ---- explain and the kernel -------------------------------------------------------------------------


@test
def the_tools_are_executed_as_explain_says(t):
    """strace as root, which keeps the tools setuid; what it starts is the ordinary user."""
    user = User(t)
    config, trace, container = mapped(RANGE, "/bin/true"), t.path("trace"), t.new_id()
    planned = [o for op, o in user.plan(config) if op == "ns-map-tool"]
    done = t.teca(command=["strace", "-f", "-u", "ordinary", "-e", "trace=execve", "-v", "-s", "200",
                           "-o", trace, user.binary, "run", "--bundle", t.bundle(config), container],
                  env=user.env, cwd="/")
    eq((done.status, done.error), (0, ""), "status, stderr")
    calls = [line.split("execve(", 1)[1] for line in text_of(trace).splitlines()
             if "execve(" in line and ("newgidmap" in line or "newuidmap" in line)]
    eq(len(calls), len(planned), "executions of a tool")
    for call, tool in zip(calls, planned):
        args = "".join(f', "{a}"' for a in tool["args"])
        contains(call, f'"{tool["tool"]}", ["{tool["tool"]}", "', "which tool")
        contains(call, f'"{args}], ["LC_ALL=C"]) = 0', "its arguments behind the pid, and its environment")


# ---- in a machine -------------------------------------------------------------------------------


@test(seconds=300)
def root_of_a_namespace_starts_a_machine_with_its_network(t):
    """As a rootless engine calls it: the user's files are the container's root's, passt makes its connections."""
    user = User(t)
    prepare(t, *kernel.get())
    user.env["TECA_CACHE"] = t.path("cache")  # another's, which the user may read
    data = user.directory("data")
    config = with_mount(default("/bin/sh", "-c", "uname -r; id -u; ip -o -4 addr show eth0; echo hello >/mnt/file"),
                        "/mnt", "bind", data, "bind", "rw")
    config["annotations"] = {"org.teca.network": "user"}
    for ids in (["--map-auto"], []):  # nobody is mapped, or is not
        user.before = ["unshare", "--user", "--map-root-user", *ids, "--mount", "--"]
        release, uid, address = user.run(config, "--isolation", "emulated", seconds=150).splitlines()
        check(release != os.uname().release, f"the kernel is {release}")
        eq(uid, "0", "uid inside")
        contains(address, "10.0.2.15/24", "the address")
        eq(text_of(os.path.join(data, "file")), "hello\n", "the file")
        eq(os.stat(os.path.join(data, "file")).st_uid, UID, "whose it is")
        os.unlink(os.path.join(data, "file"))
