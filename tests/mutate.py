#!/usr/bin/env python3
# SPDX-License-Identifier: Apache-2.0
"""Writes tests/data/mutated: configurations with one fault each, and what teca must make of them.

    tests/mutate.py            writes the files
    tests/mutate.py --check    ends with 1 when they are not what it would write

The schema below is written down from the runtime specification (config.md, config-linux.md,
config-vm.md and schema/ of release 1.3), not taken from teca. It is walked beside a document that
has every property once ("wide.json"), and every property is mutated: dropped, of another type, out
of its range, a hostile string. "runs.json" is a document that any host with cgroups can create; of
it every property is dropped. Interplay of properties is a list by hand.

One line of cases.json: [name, base, pointer, [value], verdict], where [] is "dropped" and ["x", N]
is N times x. The verdict is the pointer at which it must be refused, "valid" (as good as the base)
or "runs".
"""
import copy
import json
import os
import sys

HERE = os.path.dirname(os.path.abspath(__file__))
WHERE = os.path.join(HERE, "data", "mutated")

U32, U64 = (1 << 32) - 1, (1 << 64) - 1
I64 = (1 << 63) - 1
LAST_ID = U32 - 1  # -1 means "unchanged" to the kernel

# ---- the schema ---------------------------------------------------------------------------------


def text(rule="free"):
    return {"kind": "text", "rule": rule}


def number(low, high):
    return {"kind": "number", "low": low, "high": high}


def flag():
    return {"kind": "flag"}


def record(*required, **fields):
    return {"kind": "record", "required": required, "fields": fields}


def array(of):
    return {"kind": "array", "of": of}


def table(of):
    return {"kind": "table", "of": of}


def optional_id():
    return number(0, LAST_ID)


ID_MAP = record("containerID", "hostID", "size", containerID=number(0, U32), hostID=number(0, U32),
                size=number(1, U32))
HOOK = record("path", path=text("absolute"), args=array(text()), env=array(text("environment")),
              timeout=number(1, I64))
DEVICE_NUMBERS = {"major": number(0, U32), "minor": number(0, U32)}
THROTTLE = record("major", "minor", "rate", **DEVICE_NUMBERS, rate=number(0, U64))
OFFSET = record(secs=number(-I64 - 1, I64), nanosecs=number(0, 999999999))

RESOURCES = record(
    devices=array(record("allow", allow=flag(), type=text("choice"), major=number(-1, U32),
                         minor=number(-1, U32), access=text("access"))),
    memory=record(**{k: number(-1, I64) for k in
                     ("limit", "reservation", "swap", "kernel", "kernelTCP")},
                  swappiness=number(0, 100), disableOOMKiller=flag(), useHierarchy=flag(),
                  checkBeforeUpdate=flag()),
    cpu=record(shares=number(0, U64), quota=number(-I64 - 1, I64), burst=number(0, U64),
               period=number(0, U64), realtimeRuntime=number(-I64 - 1, I64),
               realtimePeriod=number(0, U64), cpus=text(), mems=text(), idle=number(0, 1)),
    pids=record(limit=number(-I64 - 1, I64)),
    blockIO=record(
        weight=number(0, 1000), leafWeight=number(0, 1000),
        weightDevice=array(record("major", "minor", **DEVICE_NUMBERS, weight=number(0, 1000),
                                  leafWeight=number(0, 1000))),
        throttleReadBpsDevice=array(THROTTLE), throttleWriteBpsDevice=array(THROTTLE),
        throttleReadIOPSDevice=array(THROTTLE), throttleWriteIOPSDevice=array(THROTTLE)),
    hugepageLimits=array(record("pageSize", "limit", pageSize=text("page size"),
                                limit=number(0, U64))),
    network=record(classID=number(0, U32),
                   priorities=array(record("name", "priority", name=text("filled"),
                                           priority=number(0, U32)))),
    rdma=table(record(hcaHandles=number(0, U32), hcaObjects=number(0, U32))),
    unified=table(text()))

SECCOMP = record(
    "defaultAction", defaultAction=text("choice"), defaultErrnoRet=number(0, U32),
    architectures=array(text("choice")), flags=array(text("choice")),
    listenerPath=text("absolute"), listenerMetadata=text(),
    syscalls=array(record(
        "names", "action", names=array(text("filled")), action=text("choice"),
        errnoRet=number(0, U32),
        args=array(record("index", "value", "op", index=number(0, 5), value=number(0, U64),
                          valueTwo=number(0, U64), op=text("choice"))))))

LINUX = record(
    uidMappings=array(ID_MAP), gidMappings=array(ID_MAP), sysctl=table(text()),
    resources=RESOURCES, cgroupsPath=text(),
    namespaces=array(record("type", type=text("choice"), path=text("absolute"))),
    devices=array(record("type", "path", "major", "minor", type=text("choice"),
                         path=text("absolute"), major=number(0, 0xFFF), minor=number(0, 0xFFFFF),
                         fileMode=number(0, 0o177777), uid=optional_id(), gid=optional_id())),
    netDevices=table(record(name=text("interface"))), seccomp=SECCOMP,
    rootfsPropagation=text("choice"), maskedPaths=array(text("absolute")),
    readonlyPaths=array(text("absolute")), mountLabel=text(),
    intelRdt=record(closID=text("name"), schemata=array(text("line")), l3CacheSchema=text("line"),
                    memBwSchema=text("MB:"), enableMonitoring=flag()),
    memoryPolicy=record("mode", mode=text("choice"), nodes=text("CPU list"),
                        flags=array(text("choice"))),
    personality=record("domain", domain=text("choice")),
    timeOffsets=record(monotonic=OFFSET, boottime=OFFSET))

PROCESS = record(
    "cwd", "args", terminal=flag(),
    consoleSize=record("height", "width", height=number(0, U64), width=number(0, U64)),
    user=record("uid", "gid", uid=optional_id(), gid=optional_id(), umask=number(0, 0o777),
                additionalGids=array(optional_id()), username=text()),
    args=array(text()), env=array(text("environment")), cwd=text("absolute"),
    capabilities=record(**{k: array(text()) for k in
                           ("bounding", "effective", "inheritable", "permitted", "ambient")}),
    rlimits=array(record("type", "soft", "hard", type=text("choice"), soft=number(0, U64),
                         hard=number(0, U64))),
    noNewPrivileges=flag(), apparmorProfile=text(), oomScoreAdj=number(-1000, 1000),
    scheduler=record("policy", policy=text("choice"), nice=number(-20, 19),
                     priority=number(0, 99), flags=array(text("choice")), runtime=number(0, U64),
                     deadline=number(0, U64), period=number(0, U64)),
    selinuxLabel=text(), commandLine=text(),
    ioPriority=record("class", **{"class": text("choice"), "priority": number(0, 7)}),
    execCPUAffinity=record(initial=text("CPU list"), final=text("CPU list")))

VM = record(
    "kernel",
    hypervisor=record("path", path=text("absolute"), parameters=array(text())),
    kernel=record("path", path=text("absolute"), parameters=array(text()),
                  initrd=text("absolute")),
    image=record("path", "format", path=text("absolute"), format=text("choice")),
    hwConfig=record(deviceTree=text("absolute"), vcpus=number(0, U32), memory=number(0, U64),
                    dtdevs=array(text()), irqs=array(number(0, U32)),
                    iomems=array(record("firstMFN", "nrMFNs", firstGFN=number(0, U64),
                                        firstMFN=number(0, U64), nrMFNs=number(0, U64)))))

SCHEMA = record(
    "ociVersion", "root", ociVersion=text("version"),
    root=record("path", path=text("filled"), readonly=flag()), process=PROCESS,
    hostname=text("64 bytes"), domainname=text("64 bytes"),
    mounts=array(record("destination", destination=text("filled"), type=text(), source=text(),
                        options=array(text("option")), uidMappings=array(ID_MAP),
                        gidMappings=array(ID_MAP))),
    hooks=record(**{k: array(HOOK) for k in ("prestart", "createRuntime", "createContainer",
                                             "startContainer", "poststart", "poststop")}),
    annotations=table(text()), linux=LINUX, vm=VM)

# ---- the documents ------------------------------------------------------------------------------

A_HOOK = {"path": "/bin/true", "args": ["true"], "env": ["A=b"], "timeout": 30}
A_MAP = [{"containerID": 0, "hostID": 100000, "size": 65536}]
A_THROTTLE = [{"major": 8, "minor": 0, "rate": 1048576}]
HOOK_KINDS = ("prestart", "createRuntime", "createContainer", "startContainer", "poststart",
              "poststop")

RUNS = {
    "ociVersion": "1.0.2",
    "root": {"path": "rootfs", "readonly": True},
    "process": {
        "terminal": False, "consoleSize": {"height": 24, "width": 80},
        "user": {"uid": 0, "gid": 0, "umask": 18, "additionalGids": [7], "username": "root"},
        "args": ["/bin/true"], "env": ["PATH=/bin"], "cwd": "/",
        "capabilities": {k: ["CAP_KILL"] for k in
                         ("bounding", "effective", "inheritable", "permitted", "ambient")},
        "rlimits": [{"type": "RLIMIT_NOFILE", "soft": 64, "hard": 64}],
        "noNewPrivileges": True, "oomScoreAdj": 100,
        "scheduler": {"policy": "SCHED_OTHER", "nice": 3},
        "ioPriority": {"class": "IOPRIO_CLASS_BE", "priority": 4},
        "execCPUAffinity": {"initial": "0", "final": "0"}},
    "hostname": "mutant", "domainname": "example",
    "mounts": [
        {"destination": "/proc", "type": "proc", "source": "proc", "options": ["nosuid"]},
        {"destination": "/dev", "type": "tmpfs", "source": "tmpfs", "options": ["mode=755"]}],
    "hooks": {k: [A_HOOK] for k in HOOK_KINDS if k != "startContainer"},
    "annotations": {"org.example.key": "value"},
    "linux": {
        "namespaces": [{"type": k} for k in ("pid", "mount", "ipc", "uts", "network")],
        "sysctl": {"net.ipv4.ip_forward": "0"},
        "devices": [{"path": "/dev/mutant", "type": "c", "major": 1, "minor": 3, "fileMode": 438,
                     "uid": 0, "gid": 0}],
        "resources": {"pids": {"limit": 100}},
        "seccomp": {"defaultAction": "SCMP_ACT_ALLOW", "architectures": ["SCMP_ARCH_X86_64"],
                    "syscalls": [{"names": ["reboot"], "action": "SCMP_ACT_ERRNO", "errnoRet": 1,
                                  "args": [{"index": 0, "value": 5, "valueTwo": 0,
                                            "op": "SCMP_CMP_EQ"}]}]},
        "rootfsPropagation": "private", "maskedPaths": ["/proc/keys"],
        "readonlyPaths": ["/proc/sys"], "personality": {"domain": "LINUX"}},
}


def wide():
    """Every property once, and valid; no host has all of it."""
    d = copy.deepcopy(RUNS)
    d["process"] |= {"apparmorProfile": "profile", "selinuxLabel": "a:b:c:s0",
                     "commandLine": "for windows"}
    d["process"]["scheduler"] = {"policy": "SCHED_DEADLINE", "nice": 0, "priority": 0,
                                 "flags": ["SCHED_FLAG_RECLAIM"], "runtime": 10, "deadline": 20,
                                 "period": 30}
    d["mounts"].append({"destination": "/mnt", "type": "bind", "source": "/", "uidMappings": A_MAP,
                        "options": ["bind", "ro"], "gidMappings": A_MAP})
    d["hooks"]["startContainer"] = [A_HOOK]
    linux = d["linux"]
    linux["namespaces"] += [{"type": "user"}, {"type": "time"},
                            {"type": "cgroup", "path": "/proc/1/ns/cgroup"}]
    linux |= {
        "uidMappings": A_MAP, "gidMappings": A_MAP, "cgroupsPath": "/mutant",
        "netDevices": {"mutant0": {"name": "eth7"}}, "mountLabel": "a:b:c:s0",
        "intelRdt": {"closID": "mutant", "schemata": ["L3:0=ff"], "l3CacheSchema": "L3:0=ff",
                     "memBwSchema": "MB:0=50", "enableMonitoring": True},
        "memoryPolicy": {"mode": "MPOL_BIND", "nodes": "0", "flags": ["MPOL_F_STATIC_NODES"]},
        "timeOffsets": {"monotonic": {"secs": 1, "nanosecs": 2},
                        "boottime": {"secs": 3, "nanosecs": 4}}}
    linux["seccomp"] |= {"defaultAction": "SCMP_ACT_ERRNO", "defaultErrnoRet": 38,
                         "flags": ["SECCOMP_FILTER_FLAG_LOG"], "listenerPath": "/run/listener",
                         "listenerMetadata": "data"}
    linux["resources"] = {
        "devices": [{"allow": False, "type": "c", "major": 1, "minor": 3, "access": "rwm"}],
        "memory": {"limit": 1 << 28, "reservation": 1 << 27, "swap": 1 << 29, "kernel": -1,
                   "kernelTCP": -1, "swappiness": 60, "disableOOMKiller": False,
                   "useHierarchy": False, "checkBeforeUpdate": False},
        "cpu": {"shares": 512, "quota": 50000, "burst": 10000, "period": 100000,
                "realtimeRuntime": 0, "realtimePeriod": 1000000, "cpus": "0", "mems": "0",
                "idle": 0},
        "pids": {"limit": 100},
        "blockIO": {"weight": 100, "leafWeight": 100,
                    "weightDevice": [{"major": 8, "minor": 0, "weight": 100, "leafWeight": 100}],
                    "throttleReadBpsDevice": A_THROTTLE, "throttleWriteBpsDevice": A_THROTTLE,
                    "throttleReadIOPSDevice": A_THROTTLE, "throttleWriteIOPSDevice": A_THROTTLE},
        "hugepageLimits": [{"pageSize": "2MB", "limit": 2097152}],
        "network": {"classID": 1048577, "priorities": [{"name": "lo", "priority": 1}]},
        "rdma": {"mlx5_1": {"hcaHandles": 3, "hcaObjects": 1000}},
        "unified": {"memory.high": "1048576"}}
    d["vm"] = {
        "hypervisor": {"path": "/usr/bin/vmm", "parameters": ["-x"]},
        "kernel": {"path": "/boot/vmlinuz", "parameters": ["quiet"], "initrd": "/boot/initrd"},
        "image": {"path": "/var/image", "format": "raw"},
        "hwConfig": {"deviceTree": "/dtb", "vcpus": 1, "memory": 1 << 28, "dtdevs": ["x"],
                     "iomems": [{"firstGFN": 1, "firstMFN": 2, "nrMFNs": 3}], "irqs": [1]}}
    return d


# ---- single properties --------------------------------------------------------------------------

OF_ANOTHER_TYPE = {"text": [5, ["x"]], "number": ["7", True], "flag": ["true", 1],
                   "record": [[], "x"], "array": [{}, "x"], "table": [[], 5]}
LONG = "x" * 4096
# Refused for every string of this rule; "free" is refused for none of them.
HOSTILE = {
    "free": [],
    "filled": [""],
    "option": [],  # what is long is refused by the list by hand, an empty one says nothing
    "absolute": ["relative/path", "../../../etc/passwd", "proc/self/exe"],
    "choice": ["no such thing", "SCMP_ACT_ALLOW\n", "type", "../type", "%n%s"],
    "environment": ["NOTHING", "=value", LONG],
    "version": ["1", "1.0", "v1.0.0", "1.0.0.0", "01.0.0", "1.0.0-", "0.9.0", "2.0.0", "-1.0.0",
                "1.0x0.0", " 1.0.0"],
    "CPU list": ["a", "0-", "-1", "1,,2", "0x1", "1 2", "3-1-2", "99999999999999999999999",
                 "0\n1"],
    "interface": ["a/b", "..", ".", "sixteen-bytes-xx", "a b", "a:b"],
    "line": ["L3:0=f\nMB:0=1"],
    "MB:": ["L3:0=f", "MB:0=1\nL3:0=f"],
    "page size": ["MB", "2XB", "-2MB", "2MB/../x", "0x2MB", "2 MB"],
    "name": ["..", ".", "a/b", "/etc"],
    "access": ["x", "rwmx", "r w"],
    "64 bytes": ["x" * 65],
}
# Taken by every string of these rules: hostile, but what it means is the program's business.
HARMLESS = {"option": [""],
            "free": ["../../../../etc/passwd", "%s%n$(reboot)`id`;", "\u001b[31m\u009b", LONG]}
# What a string that is free by itself says together with others.
NOT_FREE = ("/linux/resources/cpu/cpus", "/linux/resources/cpu/mems")


def escaped(key):
    return key.replace("~", "~0").replace("/", "~1")


class Cases:
    def __init__(self):
        self.lines = []

    def add(self, what, base, pointer, verdict, *value):
        name = f"{pointer} {what}"
        assert name not in (line[0] for line in self.lines), name
        if value == (LONG,):
            value = (LONG[0], len(LONG))
        self.lines.append([name, base, pointer, list(value), verdict])

    def string(self, rule, pointer):
        self.add("NUL", "wide", pointer, pointer, "a\0b")
        for i, value in enumerate(HOSTILE[rule]):
            self.add(f"hostile {i + 1}", "wide", pointer, pointer, value)
        if pointer in NOT_FREE:
            return
        for i, value in enumerate(HARMLESS.get(rule, [])):
            self.add(f"harmless {i + 1}", "wide", pointer, "valid", value)

    def number(self, schema, pointer):
        low, high = schema["low"], schema["high"]
        for what, value in (("below", low - 1), ("above", high + 1), ("fraction", 1.5),
                            ("huge", 10 ** 30), ("hugely negative", -10 ** 30)):
            self.add(what, "wide", pointer, pointer, value)

    def value(self, schema, document, pointer):
        kind = schema["kind"]
        if pointer:
            for i, value in enumerate(OF_ANOTHER_TYPE[kind]):
                self.add(f"type {i + 1}", "wide", pointer, pointer, value)
            self.add("null", "wide", pointer, pointer, None)
        if kind == "text":
            self.string(schema["rule"], pointer)
        elif kind == "number":
            self.number(schema, pointer)
        elif kind == "array":
            self.value(schema["of"], document[0], pointer + "/0")
        elif kind == "table":
            key = next(iter(document))
            self.value(schema["of"], document[key], f"{pointer}/{escaped(key)}")
        elif kind == "record":
            self.record(schema, document, pointer)

    def record(self, schema, document, pointer):
        for key, field in schema["fields"].items():
            below = f"{pointer}/{escaped(key)}"
            place = document if key in document else self.other(pointer, key)
            if place is not document:
                below = self.elsewhere(pointer, key)
            if key in schema["required"]:
                self.add("dropped", "wide", below, below)
            self.value(field, place[key], below)

    # The first element of an array need not have every property: then another one has it.
    ELSEWHERE = {("/mounts/0", "uidMappings"): 2, ("/mounts/0", "gidMappings"): 2,
                 ("/linux/namespaces/0", "path"): 7}

    def elsewhere(self, pointer, key):
        return f"{pointer[:-1]}{self.ELSEWHERE[pointer, key]}/{key}"

    def other(self, pointer, key):
        where = self.wide
        for name in pointer.split("/")[1:-1]:
            where = where[name]
        return where[self.ELSEWHERE[pointer, key]]

    # -- what is dropped from the document that runs

    # Refused elsewhere than where it was dropped, or for what needs it.
    NEEDED = {
        "/linux/namespaces/1": "/mounts", "/linux/namespaces/3": "/hostname",
        "/linux/namespaces": "/hostname", "/linux": "/hostname",
        "/linux/namespaces/4": "/linux/sysctl/net.ipv4.ip_forward",
        "/mounts/0/type": "/mounts/0/type", "/mounts/1/type": "/mounts/1/type",
        "/process/args/0": "/process/args", "/process/scheduler/policy": None,
        "/linux/seccomp/syscalls/0/names/0": "/linux/seccomp/syscalls/0/names",
    }

    def dropped(self, schema, document, pointer=""):
        kind = schema["kind"]
        if kind == "record":
            keys = [(k, schema["fields"][k]) for k in document]
        elif kind == "table":
            keys = [(k, schema["of"]) for k in document]
        elif kind == "array":
            keys = [(i, schema["of"]) for i in range(len(document))]
        else:
            return
        for key, below in keys:
            where = f"{pointer}/{escaped(str(key))}"
            verdict = self.NEEDED.get(where) or (
                where if key in schema.get("required", ()) else "runs")
            self.add("dropped from what runs", "runs", where, verdict)
            self.dropped(below, document[key], where)


# ---- properties together ------------------------------------------------------------------------

TOGETHER = [
    ("relative", "/process/cwd", "/process/cwd", "tmp"),
    ("climbs", "/process/cwd", "runs", "/../../.."),
    ("empty", "/process/args", "/process/args", []),
    ("empty program", "/process/args", "/process/args", [""]),
    ("two of one type", "/process/rlimits", "/process/rlimits/1/type",
     [{"type": "RLIMIT_CORE", "soft": 0, "hard": 0}] * 2),
    ("soft above hard", "/process/rlimits/0/soft", "/process/rlimits/0/soft", 65),
    ("priority of a policy without", "/process/scheduler/priority", "/process/scheduler/priority",
     5),
    ("none for a policy that needs it", "/process/scheduler/policy",
     "/process/scheduler/priority", "SCHED_FIFO"),
    ("deadline without runtime", "/process/scheduler/policy", "/process/scheduler",
     "SCHED_DEADLINE"),
    ("unknown", "/process/capabilities/bounding/0", "runs", "CAP_TO_FLY"),
    ("hostile", "/process/capabilities/bounding/0", "runs", "../../CAP_KILL\n"),
    ("hostile", "/process/env/0", "runs", "LD_PRELOAD=/tmp/evil.so"),
    ("hostile", "/process/user/username", "runs", "root\n0:0"),
    ("hostile", "/annotations/org.example.key", "runs", "\u001b]0;x\u0007" + LONG),
    ("hostile", "/hostname", "runs", "../%n \u001b[31m"),
    ("climbs", "/mounts/0/destination", "runs", "/../../../proc"),
    ("relative", "/mounts/0/destination", "runs", "proc"),
    ("unknown file system", "/mounts/0/type", "/mounts/0", "../../etc"),
    ("unknown option", "/mounts/1/options", "/mounts/1", ["no_such_option=1"]),
    ("too long", "/mounts/1/options", "/mounts/1", [LONG]),
    ("bind without source", "/mounts/1", "/mounts/1/source",
     {"destination": "/dev", "options": ["bind"]}),
    ("bind of nothing", "/mounts/1", "/mounts/1",
     {"destination": "/dev", "source": "/no/such/source", "options": ["bind"]}),
    ("maps of users alone", "/mounts/1/uidMappings", "/mounts/1", A_MAP),
    ("missing program", "/hooks/createRuntime/0/path", "/hooks/createRuntime/0",
     "/no/such/program"),
    ("fails", "/hooks/createRuntime/0/path", "/hooks/createRuntime/0", "/bin/false"),
    ("directory", "/hooks/createContainer/0/path", "/hooks/createContainer/0", "/etc"),
    ("maps without user namespace", "/linux/uidMappings", "/linux/uidMappings", A_MAP),
    ("user namespace without maps", "/linux/namespaces/0/type", "/linux/namespaces", "user"),
    ("twice", "/linux/namespaces/0/type", "/linux/namespaces/1", "mount"),
    ("no namespace", "/linux/namespaces/0/path", "/linux/namespaces/0", "/dev/null"),
    ("of another kind", "/linux/namespaces/0/path", "/linux/namespaces/0", "/proc/self/ns/uts"),
    ("missing", "/linux/namespaces/0/path", "/linux/namespaces/0", "/no/such/namespace"),
    ("of no namespace", "/linux/sysctl", "/linux/sysctl/kernel.panic", {"kernel.panic": "1"}),
    ("climbs", "/linux/sysctl", "/linux/sysctl/net...~1kernel~1panic",
     {"net.../kernel/panic": "1"}),
    ("climbs with slashes", "/linux/sysctl", "/linux/sysctl/net~1..~1kernel~1panic",
     {"net/../kernel/panic": "1"}),
    ("empty key", "/linux/sysctl", "/linux/sysctl/", {"": "1"}),
    ("unknown", "/linux/sysctl", "/linux/sysctl/net.no.such", {"net.no.such": "1"}),
    ("hostile value", "/linux/sysctl", "/linux/sysctl/net.ipv4.ip_forward",
     {"net.ipv4.ip_forward": "%n; reboot"}),
    ("offsets without time namespace", "/linux/timeOffsets", "/linux/timeOffsets",
     {"monotonic": {"secs": 1}}),
    ("unknown clock", "/linux/timeOffsets", "/linux/timeOffsets/real~1time",
     {"real/time": {"secs": 1}}),
    ("place of a directory", "/linux/devices/0/path", "/linux/devices/0", "/"),
    ("climbs to the root", "/linux/devices/0/path", "/linux/devices/0", "/dev/../.."),
    ("climbs", "/linux/devices/0/path", "runs", "/dev/../../dev/mutant"),
    ("what is no interface", "/linux/netDevices", "/linux/netDevices/a~1b", {"a/b": {}}),
    ("missing", "/linux/netDevices", "/linux/netDevices", {"no-such-dev": {}}),
    ("errno of an action without", "/linux/seccomp/defaultErrnoRet",
     "/linux/seccomp/defaultErrnoRet", 5),
    ("errno above 4095", "/linux/seccomp/syscalls/0/errnoRet",
     "/linux/seccomp/syscalls/0/errnoRet", 4096),
    ("names nobody", "/linux/seccomp/syscalls/0/names", "/linux/seccomp/syscalls/0/names", []),
    ("unknown call", "/linux/seccomp/syscalls/0/names/0", "runs", "no_such_call"),
    ("hostile call", "/linux/seccomp/syscalls/0/names/0", "runs", "../read\n"),
    ("notify without listener", "/linux/seccomp/syscalls/0/action", "/linux/seccomp",
     "SCMP_ACT_NOTIFY"),
    ("as default", "/linux/seccomp/defaultAction", "/linux/seccomp/defaultAction",
     "SCMP_ACT_NOTIFY"),
    ("without listener", "/linux/seccomp/listenerMetadata", "/linux/seccomp/listenerMetadata",
     "x"),
    ("without nodes", "/linux/memoryPolicy", "/linux/memoryPolicy/nodes", {"mode": "MPOL_BIND"}),
    ("nodes of no use", "/linux/memoryPolicy", "/linux/memoryPolicy/nodes",
     {"mode": "MPOL_LOCAL", "nodes": "0"}),
    ("flags", "/linux/personality/flags", "/linux/personality/flags", ["x"]),
    ("climbs", "/linux/maskedPaths/0", "runs", "/../../../proc/keys"),
    ("missing", "/linux/maskedPaths/0", "runs", "/no/such/path"),
    ("magic link", "/linux/maskedPaths/0", "/linux/maskedPaths/0", "/proc/self/cwd/no"),
    ("missing", "/linux/readonlyPaths/0", "runs", "/no/such/path"),
    ("device type", "/linux/resources/devices", "/linux/resources/devices/0/type",
     [{"allow": True, "type": "x"}]),
    ("slash in the key", "/linux/resources/unified", "/linux/resources/unified/..~1x",
     {"../x": "1"}),
    ("missing", "/root/path", "/root", "/no/such/root"),
    ("file", "/root/path", "/root", "/etc/passwd"),
    ("newer minor", "/ociVersion", "runs", "1.99.0"),
    ("asked for", "/vm", "/vm", {"kernel": {"path": "/k"}}),
]


def make():
    cases = Cases()
    cases.wide = wide()
    cases.value(SCHEMA, cases.wide, "")
    cases.dropped(SCHEMA, RUNS)
    for what, pointer, verdict, value in TOGETHER:
        cases.add(what, "runs", pointer, verdict, value)
    lines = ",\n".join(json.dumps(line) for line in cases.lines)
    return {"runs.json": json.dumps(RUNS, indent=1) + "\n",
            "wide.json": json.dumps(cases.wide, indent=1) + "\n",
            "cases.json": f"[\n{lines}\n]\n"}


def main():
    os.makedirs(WHERE, exist_ok=True)
    for name, content in make().items():
        path = os.path.join(WHERE, name)
        if "--check" not in sys.argv:
            with open(path, "w", encoding="utf-8") as f:
                f.write(content)
            continue
        with open(path, encoding="utf-8") as f:
            if f.read() != content:
                sys.exit(f"{path} is not what tests/mutate.py writes")


if __name__ == "__main__":
    main()
