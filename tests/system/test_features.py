# SPDX-License-Identifier: Apache-2.0
"""features: the document, its types, and that what it lists can be started."""
import json
import os

from harness import check, eq, minimal, row, test, with_mount

BOOL, TEXT = bool, str
LINUX = {
    "namespaces": [TEXT], "capabilities": [TEXT],
    "cgroup": {"v1": BOOL, "v2": BOOL, "systemd": BOOL, "systemdUser": BOOL, "rdma": BOOL},
    "seccomp": {"enabled": BOOL, "actions": [TEXT], "operators": [TEXT], "archs": [TEXT],
                "knownFlags": [TEXT], "supportedFlags": [TEXT]},
    "apparmor": {"enabled": BOOL}, "selinux": {"enabled": BOOL},
    "intelRdt": {"enabled": BOOL, "schemata": BOOL, "monitoring": BOOL},
    "memoryPolicy": {"modes": [TEXT], "flags": [TEXT]},
    "mountExtensions": {"idmap": {"enabled": BOOL}}, "netDevices": {"enabled": BOOL},
}
# features-schema.json and features-linux.json of runtime-spec 1.3
SCHEMA = {
    "ociVersionMin": TEXT, "ociVersionMax": TEXT, "hooks": [TEXT], "mountOptions": [TEXT],
    "linux": LINUX, "annotations": {"": TEXT}, "potentiallyUnsafeConfigAnnotations": [TEXT],
}


def matches(value, schema, where=""):
    if isinstance(schema, dict):
        check(isinstance(value, dict), f"{where} is no object: {value!r}")
        for key, member in value.items():
            check(key in schema or "" in schema, f"{where}/{key} is not in the schema")
            matches(member, schema.get(key, schema.get("")), f"{where}/{key}")
    elif isinstance(schema, list):
        check(isinstance(value, list), f"{where} is no array: {value!r}")
        for member in value:
            matches(member, schema[0], where)
        eq(len(set(value)), len(value), f"different names in {where}")
    else:
        check(type(value) is schema, f"{where} is {value!r}, not a {schema.__name__}")


def features(t, **more):
    done = t.teca("features", expect=0, **more)
    eq(done.error, "", "stderr")
    return json.loads(done.text)


@test
@row("FT-2", "FT-6", "FT-9", "FT-11", "FT-13")
def the_document_is_of_the_schema(t):
    found = features(t)
    matches(found, SCHEMA)
    for key in ("ociVersionMin", "ociVersionMax", "linux"):
        check(key in found, f"{key} is missing")
    seccomp = found["linux"]["seccomp"]
    check(set(seccomp["supportedFlags"]) <= set(seccomp["knownFlags"]), "supportedFlags")
    check("rro" in found["mountOptions"] and "tmpcopyup" in found["mountOptions"], "mountOptions")
    eq(len(found["linux"]["namespaces"]), 8, "namespaces")
    eq(len(found["linux"]["capabilities"]), 41, "capabilities")
    version = t.teca("--version", expect=0).text.split()
    eq([found["annotations"][f"org.teca.{key}"] for key in ("version", "commit")],
       [version[2], version[4]], "what teca it is")


@test
@row("FT-1")
def nobody_may_ask_with_an_empty_environment_and_no_state_root(t):
    os.chmod(t.dir, 0o755)
    expect = features(t)
    eq(features(t, user=65534, group=65534, extra_groups=[], env={}, cwd="/"), expect,
       "features for nobody")
    check(not os.path.exists(t.state_root), "a state root was made")


@test
@row("FT-3", "FT-8")
def both_versions_and_every_namespace_start(t):
    found = features(t)
    config = minimal("/bin/true")
    config["linux"]["namespaces"] = [{"type": n} for n in found["linux"]["namespaces"]]
    for key in ("uidMappings", "gidMappings"):
        config["linux"][key] = [{"containerID": 0, "hostID": 100000, "size": 65536}]
    for key in ("ociVersionMin", "ociVersionMax"):
        t.ok(config | {"ociVersion": found[key]})


@test
@row("FT-5", "CFG-8", "CFG-9", "CFG-10")
def every_mount_option_can_be_mounted_with(t):
    """
    On binds, which have no file system to take an unknown option as its data; what a bind has not is
    for a tmpfs, and a remount for one that is there.
    """
    config = minimal("/bin/true")
    found = features(t)["mountOptions"]
    check({"idmap", "ridmap", "copy-symlink"} <= set(found), f"mountOptions lack idmap: {found}")
    for option in found:
        where = f"/mnt/{option}"
        if option in ("remount", "mand", "iversion", "tmpcopyup"):
            with_mount(config, where, "tmpfs", "tmpfs", *([] if option == "remount" else [option]))
        elif option in ("idmap", "ridmap"):
            maps = [{"containerID": 0, "hostID": 100000, "size": 65536}]
            with_mount(config, where, "bind", t.dir, "rbind", option)
            config["mounts"][-1] |= {"uidMappings": maps, "gidMappings": maps}
        else:
            with_mount(config, where, "bind", "/tmp", *{"bind", option})
        if option == "remount":
            with_mount(config, where, "tmpfs", "tmpfs", option, "ro")
    t.ok(config, rootfs=t.own_root())


@test
@row("FT-10", "SC-1", "SC-4", "SC-5")
def seccomp_takes_every_action_operator_and_architecture(t):
    seccomp = features(t)["linux"]["seccomp"]
    for action in seccomp["actions"]:
        if action == "SCMP_ACT_NOTIFY":  # wants a listener, see test_seccomp_notify.py
            continue
        config = minimal("/bin/true", noNewPrivileges=True)
        config["linux"]["seccomp"] = {
            "defaultAction": "SCMP_ACT_ALLOW", "architectures": seccomp["archs"],
            "flags": [f for f in seccomp["supportedFlags"]],
            "syscalls": [{"names": ["acct"], "action": action}] + [
                {"names": ["acct"], "action": "SCMP_ACT_ALLOW",
                 "args": [{"index": 0, "value": 1, "valueTwo": 1, "op": op}]}
                for op in seccomp["operators"]]}
        t.ok(config)
