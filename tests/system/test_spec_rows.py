# SPDX-License-Identifier: Apache-2.0
"""Rows of tests/conformance.txt that no other topic shows, from their wording."""
import copy
import json
import os
import re
import shutil
import stat

from harness import (DATA, cases, check, contains, default, eq, lacks, minimal, mount, mounts_of,
                     private_mounts, row, shows, test, wait_until, with_mount, with_user_namespace,
                     without)


def sh(script):
    return minimal("/bin/sh", "-c", script)


def put(config, pointer, value):
    """The same with one value set, by JSON pointer; None removes it."""
    config = copy.deepcopy(config)
    where, names = config, pointer.strip("/").split("/")
    for name in names[:-1]:
        where = where[int(name)] if isinstance(where, list) else where.setdefault(name, {})
    last = int(names[-1]) if isinstance(where, list) else names[-1]
    if value is None:
        del where[last]
    else:
        where[last] = value
    return config


# ---- bundle, glossary ---------------------------------------------------------------------------


@test
@row("BUN-1", "BUN-2", "CFG-3")
def a_bundle_is_one_directory_that_may_be_moved(t):
    """config.json at its top, root.path relative to it."""
    where = t.path("bundle")
    os.mkdir(where)
    shutil.copytree(t.shared_root, os.path.join(where, "fs"), symlinks=True, copy_function=os.link)
    config = sh("cat /etc/mark")
    config["root"]["path"] = "fs"
    with open(os.path.join(where, "config.json"), "w", encoding="utf-8") as f:
        json.dump(config, f)
    done = t.teca("run", "--bundle", where, t.new_id(), expect=0)
    eq(done.text, "the shared root\n", "from the bundle")
    os.rename(where, t.path("moved"))
    done = t.teca("run", "--bundle", t.path("moved"), t.new_id(), expect=0)
    eq(done.text, "the shared root\n", "from the bundle that was moved")
    os.rename(t.path("moved", "config.json"), t.path("moved", "Config.json"))
    done = t.teca("run", "--bundle", t.path("moved"), t.new_id(), expect=1)
    contains(done.error, "config.json", "stderr without the file of that name")


@test
@row("GLO-3")
def host_paths_are_those_of_the_runtimes_mount_namespace(t):
    """root.path, a bind's source and a hook's file lie on a mount that only the runtime sees."""
    hidden = t.path("hidden")
    os.mkdir(hidden)
    where = t.bundle(sh("cat /mnt/a/told; ls /mnt/a; test -e /made && echo in its own root"))
    out = t.path("told-by-the-hook")

    def runtime_sees_more():
        private_mounts()
        mount("tmpfs", hidden, "tmpfs")
        shutil.copytree(t.shared_root, os.path.join(hidden, "fs"), symlinks=True)
        for name in ("fs/made", "told"):
            with open(os.path.join(hidden, name), "w", encoding="utf-8") as f:
                f.write("hello\n")
        hook = os.path.join(hidden, "hook")
        with open(hook, "w", encoding="utf-8") as f:
            f.write(f"#!/bin/sh\ncat {hidden}/told >{out}\n")
        os.chmod(hook, 0o755)
        with open(os.path.join(where, "config.json"), encoding="utf-8") as f:
            config = json.load(f)
        config["root"]["path"] = os.path.join(hidden, "fs")
        with_mount(config, "/mnt/a", "bind", hidden, "bind", "ro")
        config["hooks"] = {"createRuntime": [{"path": hook}]}
        with open(os.path.join(where, "config.json"), "w", encoding="utf-8") as f:
            json.dump(config, f)

    done = t.teca("run", "--bundle", where, t.new_id(), preexec_fn=runtime_sees_more, expect=0)
    eq(done.text, "hello\nfs\nhook\ntold\nin its own root\n", "what the container sees")
    with open(out, encoding="utf-8") as f:
        eq(f.read(), "hello\n", "what the hook saw")


@test
@row("SPC-1", "EXT-3")
def no_property_of_the_specification_is_unknown(t):
    """all-fields.json holds every property of the schema: tests/unit/spec/test_fields.c."""
    with open(os.path.join(DATA, "spec", "all-fields.json"), encoding="utf-8") as f:
        config = json.load(f)
    done = t.teca("check", "--bundle", t.bundle(config))
    lacks(done.text, "unknown property", "check of every property")
    config["linux"]["newProperty"] = 1
    done = t.teca("check", "--bundle", t.bundle(config))
    contains(done.text, "/linux/newProperty: unknown property", "check of one that is none")


@cases(no_utf_8=shows("GLO-1", "utf-8", "latin-1", "caf\u00e9", 1),
       utf_16=shows("GLO-1", "utf-8", "utf-16", "text", 1),
       two_of_a_name=shows("GLO-2", '"cwd"', '"cwd": "/tmp", "cwd"', "text", 1),
       another_order=shows("GLO-2", '"ociVersion": "1.0.2", ', "", "text", 0))
def the_configuration_is_json_as_the_glossary_says(t, old, new, note, status):
    """In another order: ociVersion comes last. A charset is told by its name."""
    text = json.dumps(sh("echo ran") | {"annotations": {"note": note}}, ensure_ascii=False)
    if old == "utf-8":
        raw = text.replace("rootfs", t.shared_root).encode(new)
    else:
        raw = text.replace("rootfs", t.shared_root).replace(old, new).encode()
        raw = raw if new else raw[:-1] + b', "ociVersion": "1.0.2"}'
    done = t.teca("run", "--bundle", t.bundle(raw), t.new_id(), expect=status)
    eq(done.text, "" if status else "ran\n", "stdout")
    check(bool(done.error) == bool(status), f"stderr: {done.error}")


# ---- version ------------------------------------------------------------------------------------


@cases(first="1.0.0", candidate="1.0.0-rc5", patched="1.0.2-dev", second="1.1.0", third="1.2.1",
       newest="1.3.0", build="1.0.2+teca.1", patch_to_come="1.3.99")
@row("CFG-1")
def every_version_from_1_0_to_1_3_is_taken(t, version):
    eq(t.ok(put(sh("echo ran"), "/ociVersion", version)), "ran\n", "output")


@cases(newer_major="2.0.0", older_major="0.9.0", two_numbers="1.0", leading_zero="1.02.0",
       word="latest", empty="", trailing="1.0.0x", number=1)
@row("CFG-1", "EXT-2")
def what_is_no_version_of_the_specification_is_refused(t, version):
    t.refused(put(minimal(), "/ociVersion", version), "/ociVersion")


# ---- what is required ---------------------------------------------------------------------------

USER = with_user_namespace(minimal())
MAP = {"containerID": 0, "hostID": 100000, "size": 65536}
PROFILE = {"defaultAction": "SCMP_ACT_ALLOW",
           "syscalls": [{"names": ["acct"], "action": "SCMP_ACT_LOG",
                         "args": [{"index": 0, "value": 1, "op": "SCMP_CMP_EQ"}]}]}
HOOK = {"path": "/bin/true"}
CORE = {"type": "RLIMIT_CORE", "soft": 0, "hard": 0}
SIZED = put(minimal(), "/process/consoleSize", {"height": 5, "width": 5})
LIMITED = put(minimal(), "/process/rlimits", [CORE])
RANKED = put(minimal(), "/process/ioPriority", {"class": "IOPRIO_CLASS_BE", "priority": 4})
FIFO = put(minimal(), "/linux/devices", [{"path": "/dev/x", "type": "p"}])
NODE = put(FIFO, "/linux/devices/0", {"path": "/dev/x", "type": "c", "major": 1, "minor": 3})
FILTERED = put(minimal(), "/linux/seccomp", PROFILE)
HOOKED = put(minimal(), "/hooks", {"poststop": [HOOK]})
NOTED = put(minimal(), "/annotations", {"com.example.key": ""})
# name -> (the row, a configuration that starts, what is removed from it or put in, the new value)
DEMANDS = {
    "version": shows("CFG-1", minimal(), "/ociVersion", None),
    "root": shows("CFG-2", minimal(), "/root", None),
    "root_path": shows("CFG-3", minimal(), "/root/path", None),
    "cwd": shows("PRC-4", minimal(), "/process/cwd", None),
    "args": shows("PRC-6", minimal(), "/process/args", None),
    "one_argument": shows("PRC-6", minimal(), "/process/args", []),
    "destination": shows("CFG-6", minimal(), "/mounts/0/destination", None),
    "console_height": shows("PRC-3", SIZED, "/process/consoleSize/height", None),
    "console_width": shows("PRC-3", SIZED, "/process/consoleSize/width", None),
    "rlimit_type": shows("PRC-7", LIMITED, "/process/rlimits/0/type", None),
    "rlimit_once": shows("PRC-9", LIMITED, "/process/rlimits", [CORE] * 2),
    "policy": shows("PRC-14", put(minimal(), "/process/scheduler", {"policy": "SCHED_BATCH"}),
                    "/process/scheduler/policy", None),
    "io_class": shows("PRC-16", RANKED, "/process/ioPriority/class", None),
    "namespace_type": shows("NS-1", minimal(), "/linux/namespaces/0/type", None),
    "map_container_id": shows("UM-1", USER, "/linux/uidMappings/0/containerID", None),
    "map_host_id": shows("UM-1", USER, "/linux/uidMappings/0/hostID", None),
    "map_size": shows("UM-1", USER, "/linux/gidMappings/0/size", None),
    "device_type": shows("DEV-2", FIFO, "/linux/devices/0/type", None),
    "device_path": shows("DEV-3", FIFO, "/linux/devices/0/path", None),
    "device_path_absolute": shows("DEV-3", FIFO, "/linux/devices/0/path", "dev/x"),
    "device_major": shows("DEV-4", NODE, "/linux/devices/0/major", None),
    "device_minor": shows("DEV-4", NODE, "/linux/devices/0/minor", None),
    "memory_mode": shows("MP-1", put(minimal(), "/linux/memoryPolicy", {"mode": "MPOL_LOCAL"}),
                         "/linux/memoryPolicy/mode", None),
    "domain": shows("PER-1", put(minimal(), "/linux/personality", {"domain": "LINUX"}),
                    "/linux/personality/domain", None),
    "masked_path_absolute": shows("MK-1", put(minimal(), "/linux/maskedPaths", ["/etc/mark"]),
                                  "/linux/maskedPaths/0", "etc/mark"),
    "readonly_path_absolute": shows("RO-1", put(minimal(), "/linux/readonlyPaths", ["/etc"]),
                                    "/linux/readonlyPaths/0", "etc"),
    "default_action": shows("SC-1", FILTERED, "/linux/seccomp/defaultAction", None),
    "names": shows("SC-5", FILTERED, "/linux/seccomp/syscalls/0/names", None),
    "one_name": shows("SC-5", FILTERED, "/linux/seccomp/syscalls/0/names", []),
    "action": shows("SC-5", FILTERED, "/linux/seccomp/syscalls/0/action", None),
    "index": shows("SC-5", FILTERED, "/linux/seccomp/syscalls/0/args/0/index", None),
    "value": shows("SC-5", FILTERED, "/linux/seccomp/syscalls/0/args/0/value", None),
    "operator": shows("SC-5", FILTERED, "/linux/seccomp/syscalls/0/args/0/op", None),
    "errno_beside_allow": shows("SC-2", FILTERED, "/linux/seccomp/defaultErrnoRet", 5),
    "errno_beside_log": shows("SC-2", FILTERED, "/linux/seccomp/syscalls/0/errnoRet", 5),
    "metadata_without_path": shows("SC-7", FILTERED, "/linux/seccomp/listenerMetadata", "text"),
    "hook_path": shows("HK-1", HOOKED, "/hooks/poststop/0/path", None),
    "hook_path_absolute": shows("HK-1", HOOKED, "/hooks/poststop/0/path", "bin/true"),
    "hook_timeout": shows("HK-1", put(minimal(), "/hooks", {"poststop": [HOOK | {"timeout": 5}]}),
                          "/hooks/poststop/0/timeout", 0),
    "annotation_key": shows("ANN-1", NOTED, "/annotations", {"": "text"}),
    "annotation_value": shows("ANN-1", NOTED, "/annotations/com.example.key", 7),
}


@cases(**DEMANDS)
@row("EXT-2")
def what_the_specification_demands_is_demanded(t, config, pointer, value):
    """The configuration starts; with the one change it does not, and that is what is told."""
    t.ok(config)
    t.refused(put(config, pointer, value), pointer)


# ---- start without a process --------------------------------------------------------------------


@cases(root=minimal(), user_namespace=with_user_namespace(minimal()), everything=default())
@row("PRC-1", "RT-34")
def without_a_process_a_container_is_created_and_never_started(t, config):
    """It keeps its namespaces, can be entered, and start says what is missing, without effect."""
    config = put(config, "/process", None)
    container = t.create(config)
    for _ in range(2):
        done = t.teca("start", container)
        eq(done.status, 1, "exit status of start")
        contains(done.error, "/process: process property must not be empty", "stderr of start")
        eq(t.state(container)["status"], "created", "status afterwards")
    entered = t.teca("exec", container, "/bin/cat", "/etc/mark", expect=0)
    eq(entered.text, "the shared root\n", "output of exec")
    t.teca("delete", container, expect=0)
    t.nothing_of(container)


@test
@row("PRC-1", "RT-34", "RT-19")
def without_a_process_run_and_explain_refuse(t):
    config = put(minimal(), "/process", None)
    t.refused(config, "/process: process property must not be empty")
    where = t.bundle(config)
    done = t.teca("explain", "--bundle", where, expect=1)
    contains(done.error, "/process: ", "stderr of explain")
    t.teca("explain", "--create", "--bundle", where, expect=0)
    done = t.teca("check", "--bundle", where, expect=0)
    contains(done.text, "warning: /process: ", "what check says")


# ---- hooks --------------------------------------------------------------------------------------

KINDS = ("prestart", "createRuntime", "createContainer", "startContainer", "poststart", "poststop")

# ---- annotations, extensibility -----------------------------------------------------------------


@test
@row("ANN-2", "ANN-3", "RT-5")
def annotations_mean_nothing_and_are_told_by_state(t):
    """Reserved names too: only teca's own namespace is read."""
    notes = {"org.opencontainers.image.os": "plan9",
             "org.opencontainers.image.stopSignal": "SIGUSR1", "org.opencontainers.reserved": "yes",
             "no-dots": "", "com.example/x": "\u00e9",
             "long": "v" * 20000}
    config = put(minimal("/payload", "catch", "15"), "/annotations", notes)
    container = t.create(config, start=True)
    eq(t.state(container)["annotations"], notes, "annotations in the state")
    without_notes = t.create(minimal())
    check(not t.state(without_notes).get("annotations"), "annotations of a container without any")


@cases(none_listed=put(minimal(), "/linux/namespaces", [{"type": "uts"}]),
       no_linux_object=put(minimal(), "/linux", None))
@row("NS-4", "EXT-2")
def the_runtimes_own_mount_namespace_is_refused(t, config):
    t.refused(config, "/mounts", "mount namespace in /linux/namespaces")
    bare = put(put(config, "/mounts", []), "/root/readonly", False)
    t.refused(bare, "/linux/namespaces", '{"type": "mount"}')


# ---- devices ------------------------------------------------------------------------------------


def null_at(path, **more):
    return {"path": path, "type": "c", "major": 1, "minor": 3} | more


@test
@row("DEV-3")
def a_device_may_lie_anywhere_and_its_like_may_be_there(t):
    """What matches is left; any other file is an error and stays."""
    root = t.own_root()
    config = sh("stat -c %t:%T /opt/null /srv/deep/null")
    config["root"]["readonly"] = False
    config["linux"]["devices"] = [null_at("/opt/null"), null_at("/srv/deep/null")]
    for _ in range(2):  # the second start finds the nodes of the first
        eq(t.ok(config, rootfs=root), "1:3\n1:3\n", "the nodes")
    config["linux"]["devices"] = [null_at("/etc/mark")]
    t.refused(config, "/linux/devices/0", "/etc/mark", "another file is there", rootfs=root)
    config["linux"]["devices"] = [null_at("/opt/null") | {"minor": 5}]
    t.refused(config, "/linux/devices/0", "/opt/null", "another file is there", rootfs=root)
    with open(os.path.join(root, "etc", "mark"), encoding="utf-8") as f:
        eq(f.read(), "the shared root\n", "the file in its place")


@cases(root=(lambda c: c, 0), user_namespace=(with_user_namespace, 100000))
@row("DEV-5")
def mode_and_owner_of_a_node_are_seen_from_the_container(t, change, offset):
    """A FIFO, for a user namespace cannot make any other node; on a tmpfs that the host can see."""
    config = change(minimal("/payload", "catch", "15"))
    config["linux"]["devices"] = [{"path": "/dev/x", "type": "p", "fileMode": 0o421,
                                   "uid": 7, "gid": 8}]
    container = t.create(config, start=True)
    found = os.stat(f"/proc/{t.pid(container)}/root/dev/x")
    eq((stat.S_IMODE(found.st_mode), found.st_uid - offset, found.st_gid - offset), (0o421, 7, 8),
       "mode and owner")


@test
@row("DEV-6")
def a_device_may_have_two_names(t):
    """What a configuration should not do is no reason to fail."""
    config = sh("stat -c %t:%T /dev/one /dev/two")
    config["linux"]["devices"] = [null_at("/dev/one"), null_at("/dev/two")]
    eq(t.ok(config), "1:3\n1:3\n", "the nodes")


# ---- cgroups ------------------------------------------------------------------------------------


@test
@row("CG-4")
def the_same_value_leads_to_the_same_cgroup(t):
    """Also when the runtime itself is in another one."""
    config = put(minimal("/payload", "catch", "15"), "/linux/cgroupsPath", f"{t.token}-same")
    found = []
    for _ in range(2):
        container = t.create(config, start=True)
        with open(f"/proc/{t.pid(container)}/cgroup", encoding="ascii") as f:
            found.append(f.read())
        t.teca("delete", "--force", container, expect=0)
    eq(found[1], found[0], "membership of the second container")
    contains(found[0], f"/{t.token}-same\n", "membership")


# ---- Intel RDT ----------------------------------------------------------------------------------


NAMED = {"closID": "gold"}
RDT = {"nothing": {}, "default_class": {"closID": "/", "schemata": ["L3:0=f"]}, "named": NAMED,
       "named_with_schema": NAMED | {"l3CacheSchema": "L3:0=f", "memBwSchema": "MB:0=20"},
       "monitored": {"enableMonitoring": True}}


@cases(**RDT)
@row("RDT-1", "RDT-2", "RDT-5", "RDT-6", "RDT-7", "RDT-8", "RDT-9", "RDT-10")
def without_resctrl_each_form_of_it_is_refused(t, rdt):
    config = put(minimal(), "/linux/intelRdt", rdt)
    if any(m["type"] == "resctrl" for m in mounts_of()):
        t.skip("this host has resctrl")
    for verb in ("create", "run"):
        t.refused(config, "/linux/intelRdt: no resctrl file system is mounted", verb=verb)


@test
@row("RDT-3")
def a_cache_schema_without_its_name_is_remarked(t):
    config = put(minimal(), "/linux/intelRdt", {"l3CacheSchema": "L2:0=f"})
    done = t.teca("check", "--bundle", t.bundle(config), expect=0)
    contains(done.text, "warning: /linux/intelRdt/l3CacheSchema: should start with 'L3:'", "check")
    t.refused(put(config, "/linux/intelRdt/l3CacheSchema", "L3:0=f\nL3:1=f"),
              "/linux/intelRdt/l3CacheSchema", "newline")


def steps_with_resctrl(t, rdt):
    """What explain tells of a start where this host, apart from that, has a resctrl."""
    where = t.bundle(put(minimal(), "/linux/intelRdt", rdt))
    bare = t.bundle(minimal())
    facts = json.loads(t.teca("explain", "--bundle", bare, "--write-facts", expect=0).text)
    facts["cgroups"]["resctrl"] = "/sys/fs/resctrl"
    told = t.teca("explain", "--bundle", where, "--format", "json", "--facts",
                  t.file("facts", json.dumps(facts)), expect=0)
    return [s for s in json.loads(told.text)["steps"] if s["operation"].startswith("rdt-")]


@test
@row("RDT-1", "RDT-2", "RDT-5", "RDT-6", "RDT-7", "RDT-8", "RDT-9", "RDT-10")
def with_resctrl_the_plan_is_as_the_specification_says(t):
    """By pretended facts: directories, what is written, in which order, and into which tasks."""
    def told(rdt):
        return [(s["operation"], s["operands"]["path"]) for s in steps_with_resctrl(t, rdt)]

    fs = "/sys/fs/resctrl"
    eq(told({}), [("rdt-group", f"{fs}/ID"), ("rdt-join", f"{fs}/ID")], "of its own")
    eq(told({"closID": "/"}), [("rdt-join", fs)], "the default class")
    eq(told(NAMED | {"schemata": ["L3:0=f"]}),
       [("rdt-group", f"{fs}/gold"), ("rdt-schemata", f"{fs}/gold"), ("rdt-join", f"{fs}/gold")],
       "a named one with a schema")
    eq(told(NAMED | {"enableMonitoring": True}),
       [("rdt-group", f"{fs}/gold"), ("rdt-group", f"{fs}/gold/mon_groups/ID"),
        ("rdt-join", f"{fs}/gold"), ("rdt-join", f"{fs}/gold/mon_groups/ID")], "monitored")
    every = {"l3CacheSchema": "L3:0=f", "memBwSchema": "MB:0=20", "schemata": ["L2:0=3", "L2:1=3"]}
    written = [s for s in steps_with_resctrl(t, every) if s["operation"] == "rdt-schemata"]
    eq([s["operands"]["text"] for s in written],
       ["L3:0=f\nMB:0=20\n", "L2:0=3\nL2:1=3\n"], "what is written")


@cases(no_mb=({"memBwSchema": "L3:0=f"}, "/linux/intelRdt/memBwSchema"),
       newline_in_bandwidth=({"memBwSchema": "MB:0=20\nL3:0=f"}, "/linux/intelRdt/memBwSchema"),
       newline_in_a_line=({"schemata": ["L3:0=f", "L3:0=f\nMB:0=20"]},
                          "/linux/intelRdt/schemata/1"),
       climbing=({"closID": ".."}, "/linux/intelRdt/closID"),
       deep=({"closID": "a/b"}, "/linux/intelRdt/closID"))
@row("RDT-4")
def a_wrong_schema_is_refused_before_resctrl_is_looked_for(t, rdt, pointer):
    t.refused(put(minimal(), "/linux/intelRdt", rdt), pointer)


# ---- lifecycle ----------------------------------------------------------------------------------


@cases(state="state", create="create", start="start", kill="kill", delete="delete")
@row("RT-20", "RT-21", "RT-30", "RT-35", "RT-36", "RT-37")
def an_operation_without_an_id_is_an_error(t, verb):
    """Also where the current directory is a bundle."""
    done = t.teca(verb, cwd=t.bundle(minimal()))
    check(done.status != 0, f"{verb} without an id succeeded")
    check(done.error.strip(), "nothing on stderr")
    check(not os.path.exists(t.state_root) or not os.listdir(t.state_root), "a state was made")


@test
@row("RT-15", "RT-36")
def delete_undoes_what_create_did_and_nothing_else(t):
    """What the container made through its mounts stays; a second container of the id starts."""
    shared = t.path("shared")
    os.mkdir(shared)
    config = with_mount(sh("echo kept >/mnt/a/file"), "/mnt/a", "bind", shared, "rbind", "rw")
    container = t.create(config, start=True)
    wait_until(lambda: t.state(container)["status"] == "stopped", "the container stops")
    t.teca("delete", container, expect=0)
    t.nothing_of(container)
    with open(os.path.join(shared, "file"), encoding="utf-8") as f:
        eq(f.read(), "kept\n", "the file of the host")
    t.create(config, container=container)


@cases(user=(USER, "/process/user/gid", 70000, "/process/user/gid"),
       hostname=(without(minimal(), "uts"), "/hostname", "name", "/hostname"),
       sysctl=(without(minimal(), "ipc"), "/linux/sysctl", {"kernel.shmmax": "1"},
               "/linux/sysctl/kernel.shmmax"),
       mount=(minimal(), "/mounts/1/type", "nosuchfs", "/mounts/1"),
       namespace=(minimal(), "/linux/namespaces/0/path", "/no/such/file", "/linux/namespaces/0"))
@row("RT-22", "RT-7")
def what_create_cannot_apply_is_an_error_of_create(t, config, pointer, value, told):
    t.refused(put(config, pointer, value), told, verb="create")


@test
@row("RT-7", "RT-12", "RT-22")
def what_is_written_to_config_json_after_create_means_nothing(t):
    out = t.path("out")
    os.mkdir(out)
    config = with_mount(sh("echo first >/mnt/a/told"), "/mnt/a", "bind", out, "bind")
    container = t.new_id()
    where = t.bundle(config)
    t.teca("create", "--bundle", where, container, expect=0)
    eq(os.listdir(out), [], "what the program did before start")
    with open(os.path.join(where, "config.json"), "w", encoding="utf-8") as f:
        json.dump(put(config, "/process/args/2", "echo second >/mnt/a/told"), f)
    t.teca("start", container, expect=0)
    told = wait_until(lambda: os.path.exists(os.path.join(out, "told")) and
                      open(os.path.join(out, "told"), encoding="utf-8").read(), "the program runs")
    eq(told, "first\n", "what ran")


# ---- warnings -----------------------------------------------------------------------------------


@test
@row("PRC-11", "RT-18", "ANN-3")
def what_cannot_be_granted_is_told_by_check_and_by_the_log_of_debug(t):
    """CAP_BPF is known and not permitted; the start goes on."""
    config = put(sh("grep CapEff /proc/self/status"), "/process/capabilities",
                 {"bounding": ["CAP_KILL", "CAP_COFFEE"], "effective": ["CAP_KILL", "CAP_BPF"],
                  "permitted": ["CAP_KILL"]})
    log = t.path("log")
    where = t.bundle(config)
    t.global_args = ["--debug", "--log", log]
    done = t.teca("run", "--bundle", where, t.new_id(), expect=0)
    eq((int(done.text.split()[1], 16), done.error), (1 << 5, ""), "effective set, stderr")
    with open(log, encoding="utf-8") as f:
        told = f.read()
    contains(told, "CAP_COFFEE", "the log")
    contains(told, "CAP_BPF", "the log")
    told = t.teca("check", "--bundle", where, expect=0).text
    contains(told, "warning: /process/capabilities/bounding/1: unknown capability", "check")
    contains(told, "warning: /process/capabilities/effective: CAP_BPF cannot be granted", "check")


# ---- features -----------------------------------------------------------------------------------


def features(t):
    return json.loads(t.teca("features", expect=0).text)


@test
@row("FT-4")
def every_listed_hook_is_run(t):
    found = features(t)["hooks"]
    eq(sorted(found), sorted(KINDS), "the listed hooks")
    out = t.file("order")
    config = with_mount(minimal(), "/mnt/order", "bind", out, "bind")
    config["hooks"] = {}
    for kind in found:
        at = "/mnt/order" if kind == "startContainer" else out
        config["hooks"][kind] = [{"path": "/bin/sh", "args": ["sh", "-c", f"echo {kind} >>{at}"]}]
    t.ok(config, rootfs=t.own_root())
    with open(out, encoding="utf-8") as f:
        eq(f.read().split(), list(KINDS), "hooks that ran")


@test
@row("FT-8", "PRC-11")
def every_listed_capability_is_granted(t):
    """Each by itself: what the kernel shows is the bit of that name and no other."""
    names = features(t)["linux"]["capabilities"]
    with open("/proc/sys/kernel/cap_last_cap", encoding="ascii") as f:
        last = int(f.read())
    with open("/proc/self/status", encoding="utf-8") as f:
        mine = int(re.search(r"CapPrm:\s*(\w+)", f.read())[1], 16)
    known, sets = names[:last + 1], ("bounding", "effective", "permitted")
    config = sh("grep -E '^Cap(Prm|Bnd)' /proc/self/status")
    config["process"]["capabilities"] = {k: known for k in sets}
    masks = re.findall(r"Cap\w+:\s*(\w+)", t.ok(config))
    eq([int(m, 16) for m in masks], [mine & ((1 << last + 1) - 1)] * 2,
       "all of them: what the runtime has itself")
    for index in (0, 1, 5, 21, last):
        config["process"]["capabilities"] = {k: [names[index]] for k in sets}
        masks = re.findall(r"Cap\w+:\s*(\w+)", t.ok(config))
        eq([int(m, 16) for m in masks], [mine & 1 << index] * 2, names[index])


@test
@row("FT-12", "MP-1")
def every_listed_mode_and_flag_of_a_memory_policy_is_set(t):
    """By a host with one node each mode can be had; a flag the kernel must know of the mode."""
    found, bound = features(t)["linux"]["memoryPolicy"], {"mode": "MPOL_BIND", "nodes": "0"}
    for mode in found["modes"]:
        policy = {"mode": mode}
        if mode not in ("MPOL_DEFAULT", "MPOL_LOCAL"):
            policy["nodes"] = "0"
        t.ok(put(minimal(), "/linux/memoryPolicy", policy))
    for flag in found["flags"]:
        t.ok(put(minimal(), "/linux/memoryPolicy", bound | {"flags": [flag]}))
    t.refused(put(minimal(), "/linux/memoryPolicy", {"mode": "MPOL_COFFEE"}),
              "/linux/memoryPolicy/mode")
    t.refused(put(minimal(), "/linux/memoryPolicy", bound | {"flags": ["MPOL_F_COFFEE"]}),
              "/linux/memoryPolicy/flags/0")


@test
@row("FT-14", "FT-15")
def the_switches_say_what_a_start_does(t):
    """What is off is refused as not supported; what is on is not."""
    linux = features(t)["linux"]
    mapped = with_mount(minimal(), "/mnt/a", "bind", t.dir, "bind")
    mapped["mounts"][-1] |= {"uidMappings": [MAP], "gidMappings": [MAP]}
    netdev = put(minimal(), "/linux/netDevices", {"nosuchdevice": {}})
    netdev["linux"]["namespaces"].append({"type": "network"})
    for name, switch, config in (("idmap", linux["mountExtensions"]["idmap"], mapped),
                                 ("netDevices", linux["netDevices"], netdev)):
        done = t.teca("check", "--bundle", t.bundle(config))
        eq("not supported yet" not in done.text, switch["enabled"], f"{name}: {done.text}")


@test
@row("FT-9")
def the_cgroup_versions_that_are_listed_are_used(t):
    """cgroups.py has the hosts with v1 or v2 alone; here both are there or one is."""
    cgroup = features(t)["linux"]["cgroup"]
    check(cgroup["v1"] and cgroup["v2"], f"v1 and v2: {cgroup}")
    config = put(sh("cat /proc/self/cgroup"), "/linux/cgroupsPath", f"{t.token}-both")
    for line in t.ok(config).splitlines():
        contains(line, f"{t.token}-both", "a hierarchy of the container")


@test
@row("FT-7")
def the_annotations_that_change_something_are_listed(t):
    """An engine passes on what a user wrote unless this list says that teca heeds it."""
    listed = features(t)["potentiallyUnsafeConfigAnnotations"]
    config = put(minimal(), "/annotations", {"org.teca.landlock": "{"})
    t.refused(config, "/annotations/org.teca.landlock")
    check("org.teca.landlock" in listed, f"org.teca.landlock is not in {listed}")
