# SPDX-License-Identifier: Apache-2.0
"""
`explain` tells what a start does: the plan is laid beside what strace saw, in both directions.

Each lane is one process, so each has one trace (strace -ff). Along the plan every step claims its
system calls from its lane's trace, in order. STRICT calls must all be claimed: what happens is
listed. Every step must find what it claims: what is listed happens.
"""
import glob
import json
import os
import re
import shutil

from harness import (CGROUP_ROOT, capabilities, cases, check, contains, default, eq, fail,
                     hierarchies, joined, lacks, minimal, only_cgroup1, only_cgroup2, test,
                     wait_until,
                     with_mount, with_user_namespace)
from test_netdevices import own_network

TRACED = ",".join((
    "mount umount2 move_mount open_tree mount_setattr fsopen fsconfig fsmount fspick "
    "setns unshare clone clone3 fork vfork mknod mknodat symlink symlinkat pivot_root "
    "mkdir mkdirat rmdir unlink unlinkat write pwrite64 writev open openat openat2 "
    "sethostname setdomainname setsid prctl prlimit64 setrlimit umask setgroups "
    "setresuid setresgid capset seccomp close_range rt_sigaction rt_sigprocmask chdir "
    "fchdir execve execveat faccessat faccessat2 access newfstatat stat rename renameat "
    "renameat2 sched_setattr ioprio_set set_mempolicy personality sched_setaffinity "
    "sendto sendmsg memfd_create read linkat link "
    "ioctl fchown fchownat dup2 connect close chroot fstat bpf keyctl"
).split())
ALWAYS_STRICT = {"mount", "umount2", "move_mount", "mount_setattr", "fsopen", "fsconfig", "fsmount",
                 "fspick", "setns", "unshare", "clone", "clone3", "fork", "vfork", "mknod",
                 "mknodat", "symlink", "symlinkat", "pivot_root", "chroot", "bpf"}


# ---- what strace saw -----------------------------------------------------------------------------


class Event:
    LINE = re.compile(r"^(\w+)\((.*)\)\s+= (-?\d+|\?|0x[0-9a-f]+)(.*)$")

    def __init__(self, name, arguments, result, tail):
        self.name, self.args = name, split(arguments)
        self.result, self.error = result, tail.strip()

    @property
    def failed(self):
        return self.result.startswith("-1")

    def text(self, i):
        """A string argument without its quotes."""
        value = self.args[i] if i < len(self.args) else ""
        return value[1:-1] if value.startswith('"') and value.endswith('"') else value

    def fd_path(self, i):
        """What strace -y shows behind an fd."""
        found = re.match(r"^(?:AT_FDCWD|-?\d+)<(.*)>$", self.args[i])
        return found.group(1) if found else ""

    def flags(self, i):
        return {f for f in self.args[i].split("|") if f != "0"} if i < len(self.args) else set()

    @property
    def in_cgroups(self):
        if self.name in ("mkdir", "rmdir"):
            return self.text(0).startswith(CGROUP_ROOT)
        if self.name in ("mkdirat", "unlinkat"):
            return self.text(1).startswith(CGROUP_ROOT) or (
                not self.text(1).startswith("/") and self.fd_path(0).startswith(CGROUP_ROOT))
        writes = self.name in ("write", "pwrite64", "writev")
        return writes and self.fd_path(0).startswith(CGROUP_ROOT)

    @property
    def strict(self):
        if self.name == "open_tree":
            return "OPEN_TREE_CLONE" in self.args[2]
        if self.name == "fchownat":
            return self.fd_path(0).startswith(CGROUP_ROOT)
        return self.name in ALWAYS_STRICT or (self.in_cgroups
                                              and self.name not in ("rmdir", "unlinkat"))

    def __str__(self):
        return f"{self.name}({', '.join(self.args)}) = {self.result} {self.error}".strip()


def split(text):
    """Arguments at the top level of brackets and quotes."""
    parts, depth, quoted, start, i = [], 0, False, 0, 0
    while i < len(text):
        c = text[i]
        if quoted:
            if c == "\\":
                i += 1
            elif c == '"':
                quoted = False
        elif c == '"':
            quoted = True
        elif c in "{[(<":
            depth += 1
        elif c in "}])" or (c == ">" and text[i - 1] != "-" and depth > 0):
            depth -= 1
        elif c == "," and depth == 0:
            parts.append(text[start:i].strip())
            start = i + 1
        i += 1
    return [*parts, text[start:].strip()] if text else []


def traces(prefix):
    """{pid: [Event]}"""
    found = {}
    for name in glob.glob(prefix + ".*"):
        with open(name, encoding="utf-8", errors="replace") as f:
            matched = [Event.LINE.match(line.rstrip("\n")) for line in f]
        found[int(name.rsplit(".", 1)[1])] = [Event(*m.groups()) for m in matched if m]
    return found


def lanes(traced):
    """The traces of runtime, stage and init, each cut to where the plan is at work."""
    by = {}
    init = [pid for pid, events in traced.items() if any(e.name in ("pivot_root", "chroot") for e in events)]
    check(len(init) == 1, f"{len(init)} processes called pivot_root or chroot")
    runtime = min(traced)
    for pid, events in traced.items():
        if pid == init[0]:
            by["init"] = up_to_exec(events)
        elif pid == runtime:
            by["runtime"] = before_delete(after_seal(events))
        elif any(e.strict for e in events):
            check("stage" not in by, "more than three processes made calls of a plan")
            by["stage"] = events
    return by


def up_to_exec(events):
    ends = [i for i, e in enumerate(events) if e.name in ("execve", "execveat") and not e.failed]
    check(ends, "init executed nothing")
    return events[:ends[0] + 1]


def after_seal(events):
    """The binary first re-executes itself from a sealed copy: that is no part of any plan."""
    starts = [i for i, e in enumerate(events) if e.name in ("execve", "execveat") and not e.failed]
    return events[starts[-1] + 1:]


def before_delete(events):
    """`run` deletes in the end: that is the plan of delete."""
    for i, e in enumerate(events):
        if e.in_cgroups and (e.name in ("rmdir", "unlinkat") or "cgroup.kill" in e.args[0]):
            return events[:i]
    return events


# ---- what a step claims --------------------------------------------------------------------------


class Lane:
    """The trace of one lane, and how far the plan has come in it."""

    def __init__(self, name, events):
        self.name, self.events, self.at = name, events, 0

    def next_strict(self):
        i = self.at
        while i < len(self.events) and not self.events[i].strict:
            i += 1
        return i

    def take(self, *names):
        """The next strict call, which must be one of these."""
        i = self.next_strict()
        if i == len(self.events) or self.events[i].name not in names:
            seen = self.events[i] if i < len(self.events) else "the end of the trace"
            fail(f"expected {' or '.join(names)}, saw {seen}")
        self.at = i + 1
        return self.events[i]

    def maybe(self, name, truth=lambda e: True):
        i = self.next_strict()
        if i < len(self.events) and self.events[i].name == name and truth(self.events[i]):
            self.at = i + 1
            return self.events[i]
        return None

    def opened(self, path):
        """The last attempt to open this path between here and the next strict call."""
        found = [e for e in self.events[self.at:self.next_strict()]
                 if e.name in ("openat2", "openat", "open")
                 and path in e.args[0 if e.name == "open" else 1]]
        return found[-1] if found else None

    def some(self, truth, what):
        """A call that need not be claimed by anybody else."""
        check(any(truth(e) for e in self.events), f"not seen: {what}")


def option_flags(names):
    """Names of explain, "rbind", "nosuid", to strace's MS_ names."""
    flags = set()
    for name in names:
        if name in ("rbind", "rprivate", "rslave", "rshared", "runbindable"):
            flags |= {"MS_REC", "MS_" + name[1:].upper()}
        else:
            flags.add("MS_" + {"ro": "RDONLY", "sync": "SYNCHRONOUS", "rec": "REC",
                               "mand": "MANDLOCK"}
                      .get(name, name.upper()))
    return flags


def unescaped(text):
    return text.encode().decode("unicode_escape").encode("latin-1").decode("utf-8", "replace")


def claim_attributes(lane, o):
    """One mount_setattr for the mount itself, one for the tree, each where it says something."""
    whole = [p for p in o["propagation"] if p.startswith("r")]
    if o["set"] or o["clear"] or (o["propagation"] and not whole):
        lacks(lane.take("mount_setattr").args[2], "AT_RECURSIVE", "flags of mount_setattr")
    if o["rec_set"] or o["rec_clear"] or whole:
        contains(lane.take("mount_setattr").args[2], "AT_RECURSIVE", "flags of mount_setattr")


def claim_tree(lane, o, source=None):
    """A detached tree: cloned (unless the runtime has done so), its attributes, its place."""
    if source:
        eq(unescaped(lane.take("open_tree").text(1)), source, "source of the tree")
    claim_attributes(lane, o)
    lane.take("move_mount")


def claim_mount(lane, o):
    flags = option_flags(o["flags"])
    if o["make"] and o.get("below"):
        lane.maybe("mknodat" if o["file"] else "mkdirat", lambda e: e.text(1) == o["below"])
    if "tree" in o:
        claim_tree(lane, o)
        return
    i = lane.next_strict()
    is_tree = i < len(lane.events) and lane.events[i].name == "open_tree"
    if is_tree and "MS_BIND" in flags and "MS_REMOUNT" not in flags:
        claim_tree(lane, o, o["source"])
        return
    e = lane.take("mount")
    if o.get("type") and "MS_BIND" not in flags:
        eq(e.text(2), o["type"], "file system")
    if o.get("source"):
        eq(unescaped(e.text(0)), o["source"], "source")
    eq(e.flags(3), flags, "flags of mount")
    if o.get("data"):
        said = unescaped(e.text(4))
        check(said == o["data"]
              or (o["keep_mode"] and re.fullmatch("mode=[0-7]+," + re.escape(o["data"]), said)),
              f"data of mount: expected {o['data']}, got {said}")
    if o.get("below"):
        check(unescaped(e.text(1)).endswith("/" + o["below"]),
              f"target {e.text(1)} is not {o['below']}")
    if e.failed:
        check(o.get("or_bind"), f"the mount failed: {e}")
        claim_tree(lane, o | {"rec_set": o["rec_set"] or o["flags"]}, o["or_bind"])
        return
    claim_attributes(lane, o)


def claim_device(lane, o):
    name = os.path.basename(o["path"])
    if o["only"]:
        called("newfstatat|fstatat", name)(lane, o)
        return
    e = None if o["bind"] else lane.take("mknodat", "mknod")
    if not e or "EPERM" in e.error:
        eq(unescaped(lane.take("open_tree").text(1)), o["path"], "the host's node")
        contains(lane.take("mknodat").args[1], name, "name of the place")
        lane.take("move_mount")
        return
    contains(e.args[1], name, "name of the node")
    if "EEXIST" in e.error and o["replace"]:
        lane.maybe("mknodat", lambda again: name in again.args[1])
    if not e.failed:
        major, minor = map(int, o["dev"].split(":"))
        if "S_IFIFO" not in e.args[2]:
            eq([int(n, 0) for n in re.findall(r"\b0[x\da-f]*|\d+", e.args[-1])], [major, minor],
               "numbers of the node")


def claim_mask(lane, o):
    if not o.get("below"):
        opened = lane.opened(o["path"])
        check(opened, f"nobody looked for {o['path']}")
        if opened.failed:
            return
    i = lane.next_strict()
    if lane.events[i].name == "open_tree":
        lane.take("open_tree")
        lane.take("mount_setattr")
        lane.take("move_mount")
        return
    e = lane.take("mount")
    if o.get("below"):
        check(e.text(1).endswith("/" + o["below"]), f"{e} does not mask {o['path']}")
    if "ENOTDIR" in e.error:
        lane.take("mount")


def claim_readonly(lane, o):
    if not o.get("below"):
        opened = lane.opened(o["path"])
        check(opened, f"nobody looked for {o['path']}")
        if opened.failed:
            return
    if o["inherits"]:
        contains(lane.take("mount").args[3], "MS_BIND", "flags")
        return
    if not lane.take("open_tree").failed:
        lane.take("mount_setattr")
        lane.take("move_mount")


def claim_root_open(lane, o):
    eq(unescaped(lane.take("open_tree").text(1)).rstrip("/"), o["path"].rstrip("/"),
       "path of the tree")
    if o["propagation"]:
        lane.take("mount_setattr")


def claim_idmap_ns(lane, o):
    if "pid" in o:
        called("openat", "/ns/user", "O_RDONLY")(lane, o)
        return
    contains(" ".join(lane.take("clone3").args), "CLONE_NEWUSER", "how the namespace is made")
    for name in ("uid_map", "gid_map"):
        written(lane, "/" + name, o[name])


def claim_mount_idmap(lane, o):
    e = lane.take("mount_setattr")
    contains(e.args[3], "MOUNT_ATTR_IDMAP", "what is set")
    eq("AT_RECURSIVE" in e.args[2], o["recursive"], "AT_RECURSIVE")


def claim_root_attach(lane, o):
    if o.get("path"):
        eq(unescaped(lane.take("mount").text(0)), o["path"], "the root filesystem")
    else:
        eq(lane.take("move_mount").text(3), o["at"], "where the root is attached")


def claim_pivot(lane, o):
    lane.take("pivot_root")
    if o["old_shared"]:
        lane.take("mount_setattr")
    eq(lane.take("umount2").args[1], "MNT_DETACH", "flags of umount2")
    if o["propagation"]:
        eq(lane.take("mount").flags(3), option_flags(o["propagation"]), "propagation of the root")


def claim_move_root(lane, o):
    if o["old_shared"]:
        eq(lane.take("mount").flags(3), {"MS_PRIVATE"}, "propagation of the host's root")
    if o["move"]:
        eq(lane.take("mount").flags(3), {"MS_MOVE"}, "flags of the move")
    for path in o["hide"]:
        e = lane.take("mount" if o["old_shared"] else "umount2")
        eq(unescaped(e.text(1 if o["old_shared"] else 0)), path, "the host's mount")
        if o["old_shared"] or e.failed:
            lane.take("mount")
    lane.take("chroot")
    if o["propagation"]:
        eq(lane.take("mount").flags(3), option_flags(o["propagation"]), "propagation of the root")


def claim_terminal_open(lane, o):
    lane.some(lambda e: e.name == "openat2" and e.text(1) == "ptmx", "openat2 of ptmx")
    for name in ("TIOCSPTLCK", "TIOCGPTPEER"):
        called("ioctl", name)(lane, o)
    if o["rows"] or o["columns"]:
        called("ioctl", "TIOCSWINSZ", f"ws_row={o['rows']}, ws_col={o['columns']}")(lane, o)
    lane.some(lambda e: e.name == "fchown" and int(e.args[1]) == o["uid"], "fchown of the terminal")


def claim_terminal_console(lane, o):
    eq(lane.take("mknodat").text(1), os.path.basename(o["path"]), "the file at the console's place")
    eq(lane.take("mount").flags(3), {"MS_BIND"}, "flags of the console's mount")


def claim_clone(lane, o):
    e = lane.take("clone3", "clone")
    found = set(re.findall(r"CLONE_\w+", " ".join(e.args)))
    eq({f for f in found if f.startswith("CLONE_NEW")}, set(o["flags"]), "namespaces of the clone")
    eq("CLONE_INTO_CGROUP" in found, "cgroup" in o, "CLONE_INTO_CGROUP")
    eq("CLONE_PARENT" in found, o["sibling"], "CLONE_PARENT")


def claim_cgroup_make(lane, o):
    e = lane.take("mkdir", "mkdirat")
    made = e.text(0) if e.name == "mkdir" else os.path.join(e.fd_path(0), e.text(1))
    eq(made, o["path"], "the cgroup made")
    while lane.maybe("write", lambda w: w.fd_path(0).startswith(o["path"] + "/cpuset.")):
        pass


def claim_cgroup_join(lane, o):
    eq(os.path.dirname(lane.take("write").fd_path(0)), o["path"], "the cgroup joined")


def claim_cgroup_write(file, key):
    def claim(lane, o):
        e = lane.take("write")
        eq((e.fd_path(0), unescaped(e.text(1))), (os.path.join(o["path"], o.get(file, file)), o[key]),
           "what is written, and where")
    return claim


def claim_cgroup_own(lane, o):
    eq(int(lane.take("fchownat").args[2]), o["uid"], "owner of the cgroup")
    for name in o["files"]:
        eq(lane.take("fchownat").text(1), name, "the file given away")


def claim_device_filter(lane, o):
    e = lane.take("bpf")
    contains(", ".join(e.args), "BPF_PROG_TYPE_CGROUP_DEVICE", "kind of the program")
    contains(", ".join(e.args), f"insn_cnt={int(o['program_size']) // 8}", "instructions")


def claim_device_rules(lane, o):
    """On a host with v2 the filter has done it; the tests run on no kernel that refuses that."""
    for rule in [] if "unless" in o else o["rules"] + o["presets"]:
        verb, text = rule.split(" ", 1)
        if rule != "allow a":
            e = lane.take("write")
            eq((os.path.basename(e.fd_path(0)), unescaped(e.text(1))), (f"devices.{verb}", text),
               "a rule")


def claim_state_create(lane, o):
    lane.some(lambda e: e.name in ("mkdir", "mkdirat") and e.args[-2].strip('"') == o["dir"],
              f"mkdir of {o['dir']}")
    if o["start_fifos"]:
        for _ in range(2):
            contains(", ".join(lane.take("mknodat", "mknod").args), f'"{o["dir"]}/',
                     "where the fifo goes")


def claim_hook(lane, o):
    contains(" ".join(lane.take("clone").args), "CLONE_PIDFD", "how a hook's process is made")
    lane.some(lambda e: e.name == "write" and "memfd:hook-state" in e.args[0]
              and unescaped(e.text(1)) == o["state"][:-1], "the state for the hook")


def written(lane, suffix, text):
    lane.some(lambda e: e.name == "write" and e.fd_path(0).endswith(suffix)
              and unescaped(e.text(1)) == text,
              f"write of {text!r} to {suffix}")


def called(name, *parts):
    return lambda lane, o: lane.some(
        lambda e: e.name in name.split("|") and all(p in ", ".join(e.args) for p in parts),
        f"{name}({', '.join(parts)})")


def claim_net_device(lane, o):
    """Into the container's network namespace and back, for a socket there; then messages."""
    for _ in range(2):
        contains(lane.take("setns").args[1], "CLONE_NEWNET", "kind of the namespace")
    called("sendto", o["host_name"])(lane, o)


CLAIMS = {
    "state-create": claim_state_create,
    "state-init": lambda lane, o: contains(lane.take("symlink", "symlinkat").args[-1], o["dir"],
                                           "where init's pid goes"),
    "pid-file": lambda lane,
    o: called("rename|renameat|renameat2", os.path.basename(o["path"]))(lane, o),
    "clone": claim_clone,
    "barrier": lambda lane, o: None,
    "start-wait": called("read"),
    "exec-lookup": lambda lane,
    o: lane.some(lambda e: e.name in ("faccessat", "faccessat2", "access", "newfstatat", "stat",
                                                                 "openat", "openat2") and
                                             any(c in " ".join(e.args) for c in o["candidates"]),
                 "a look for the program"),
    "exec": lambda lane,
    o: lane.some(lambda e: e.name == "execve" and not e.failed and e.text(0) in o["candidates"],
                                      f"execve of one of {o['candidates']}"),
    "hook-output": lambda lane, o: called("openat|open", o["path"], "O_APPEND")(lane, o),
    "hook-open": lambda lane, o: called("openat|open", o["path"], "O_PATH")(lane, o),
    "hook": claim_hook,
    "ns-open": lambda lane, o: called("openat|open", o["path"])(lane, o),
    "ns-join": lambda lane, o: eq(lane.take("setns").flags(1), set(o["type"]), "type of setns"),
    "ns-unshare": lambda lane, o: eq(lane.take("unshare").flags(0), set(o["flags"]),
                                     "flags of unshare"),
    "ns-id-maps": lambda lane,
    o: (written(lane, "/uid_map", o["uid_map"]), written(lane, "/gid_map", o["gid_map"])),
    "ns-become-root": called("setresuid", "0, 0, 0"),
    "ns-time-offsets": lambda lane, o: written(lane, "/timens_offsets", o["offsets"]),
    "ns-hostname": lambda lane, o: called("sethostname", o["name"])(lane, o),
    "ns-domainname": lambda lane, o: called("setdomainname", o["name"])(lane, o),
    "ns-sysctl": lambda lane, o: written(lane, "/proc/sys/" + o["path"], o["value"]),
    "cgroup-make": claim_cgroup_make,
    "cgroup-open": lambda lane, o: called("openat|open", o["path"], "O_PATH")(lane, o),
    "cgroup-join": claim_cgroup_join,
    "cgroup-enable": claim_cgroup_write("cgroup.subtree_control", "controllers"),
    "cgroup-set": claim_cgroup_write("file", "value"),
    "cgroup-own": claim_cgroup_own,
    "device-filter": claim_device_filter,
    "device-attach": lambda lane, o: contains(", ".join(lane.take("bpf").args), "BPF_CGROUP_DEVICE",
                                              "what is attached"),
    "device-rules": claim_device_rules,
    "root-open": claim_root_open,
    "root-propagation": lambda lane, o: eq(lane.take("mount").flags(3), option_flags(o["flags"]),
                                           "propagation"),
    "idmap-ns": claim_idmap_ns,
    "mount-idmap": claim_mount_idmap,
    "root-attach": claim_root_attach,
    "mount": claim_mount,
    "mount-attr": lambda lane, o: lane.take("mount_setattr"),
    "directory": lambda lane,
    o: called("openat2|openat|mkdirat", os.path.basename(o["path"]))(lane, o),
    "device": claim_device,
    "symlink": lambda lane, o: eq(lane.take("symlinkat", "symlink").text(0), o["target"],
                                  "target of the symlink"),
    "mask": claim_mask,
    "readonly": claim_readonly,
    "root-readonly": lambda lane, o: lane.take("mount_setattr"),
    "pivot": claim_pivot,
    "move-root": claim_move_root,
    "socket-connect": lambda lane, o: called("connect", o["path"])(lane, o),
    "socket-send": called("sendmsg", "SCM_RIGHTS"),
    "close": called("close"),
    "terminal-open": claim_terminal_open,
    "terminal-console": claim_terminal_console,
    "terminal-attach": called("ioctl", "TIOCSCTTY"),
    "terminal-relay": called("ioctl", "TCGETS"),
    "stdio-owner": called("fstat|newfstatat", "2<"),
    "chdir": called("chdir|fchdir"),
    "keyring": called("keyctl", "KEYCTL_JOIN_SESSION_KEYRING"),
    "loopback-up": called("ioctl", "SIOCSIFFLAGS"),
    "undumpable": called("prctl", "PR_SET_DUMPABLE"),
    "setsid": called("setsid"),
    "rlimit": lambda lane, o: called("prlimit64|setrlimit", o["resource"])(lane, o),
    "oom-score-adj": lambda lane, o: written(lane, "/oom_score_adj", str(o["value"])),
    "umask": lambda lane, o: called("umask", o["mask"].lstrip("0") or "0")(lane, o),
    "bounding-drop": called("prctl", "PR_CAPBSET_DROP"),
    "groups": called("setgroups"),
    "ids": called("setresuid|setresgid"),
    "capabilities": called("capset"),
    "ambient": called("prctl", "PR_CAP_AMBIENT"),
    "no-new-privs": called("prctl", "PR_SET_NO_NEW_PRIVS"),
    "seccomp-compile": lambda lane, o: called("openat", o["cache"])(lane, o),
    "seccomp-load": called("seccomp|prctl", "FILTER"),
    "home": called("openat2", "/etc/passwd"),
    "scheduler": lambda lane, o: called("sched_setattr", o["policy"])(lane, o),
    "io-priority": lambda lane, o: called("ioprio_set", "IOPRIO_WHO_PGRP")(lane, o),
    "affinity": called("sched_setaffinity"),
    "memory-policy": lambda lane, o: called("set_mempolicy", o["mode"])(lane, o),
    "personality": lambda lane, o: called("personality", "PER_" + o["domain"])(lane, o),
    "net-device-move": claim_net_device,
    "close-fds": lambda lane, o: called("close_range", str(o["first"]))(lane, o),
    "signals": called("rt_sigaction|rt_sigprocmask"),
}


def compare(steps, traced):
    found = {name: Lane(name, events) for name, events in lanes(traced).items()}
    eq(set(found), {s["lane"] for s in steps}, "lanes of the plan and processes seen")
    for s in steps:
        check(s["operation"] in CLAIMS, f"no test knows the operation {s['operation']}")
        try:
            CLAIMS[s["operation"]](found[s["lane"]], s["operands"])
        except Exception as e:
            what = f"{s['lane']} {s['operation']} {json.dumps(s['operands'])}"
            fail(f"step {s['step']} ({what}): {e}")
    for lane in found.values():
        i = lane.next_strict()
        check(i == len(lane.events),
              f"not in the plan: {lane.name} called {lane.events[min(i, len(lane.events) - 1)]}")


# ---- the comparisons -----------------------------------------------------------------------------


def plan_of(t, where, container, *flags):
    text = t.teca("explain", *flags, "--format", "json", "--bundle", where, container,
                  expect=0).text
    return json.loads(text)


def strace(t, *args):
    if not shutil.which("strace"):
        t.skip("strace is not installed")
    prefix = t.path("trace")
    return ["strace", "-ff", "-y", "-s", "65536", "-e", f"trace={TRACED}", "-o", prefix,
            *t.argv(*args)], prefix


def compare_run(t, config, rootfs=None, flags=()):
    container, where = t.new_id(), t.bundle(config, rootfs)
    plan = plan_of(t, where, container, *flags)
    command, prefix = strace(t, "run", *flags, "--bundle", where, container)
    done = t.call(command)
    eq((done.status, done.error), (0, ""), "status and stderr of run under strace")
    compare(plan["steps"], traces(prefix))
    return plan


def filtered(config, no_new):
    config["process"]["noNewPrivileges"] = no_new
    config["linux"]["seccomp"] = {"defaultAction": "SCMP_ACT_ALLOW",
                                  "syscalls": [{"names": ["reboot"], "action": "SCMP_ACT_ERRNO"}]}
    return config


def with_attributes(config):
    config["process"] |= {"scheduler": {"policy": "SCHED_BATCH", "nice": 3},
                          "ioPriority": {"class": "IOPRIO_CLASS_BE", "priority": 6}}
    config["linux"] |= {"memoryPolicy": {"mode": "MPOL_BIND", "nodes": "0"},
                        "personality": {"domain": "LINUX32"}}
    return config


def with_everything():
    config = filtered(default(), False)
    config |= {"domainname": "example.org"}
    config["process"] |= {"user": {"uid": 1000, "gid": 1000, "umask": 0o27, "additionalGids": [5]},
                          "cwd": "/tmp",
                          "oomScoreAdj": 500,
                          "capabilities": capabilities("CAP_KILL", "CAP_CHOWN")}
    with_attributes(config)
    config["linux"]["sysctl"] = {"net.ipv4.ip_forward": "1"}
    config["linux"]["devices"] = [{"path": "/dev/extra", "type": "c", "major": 1, "minor": 3,
                                   "uid": 5, "gid": 6},
                                  {"path": "/dev/deep/pipe", "type": "p"}]
    config["linux"]["maskedPaths"] += ["/etc/mark", "/no/such", "/opt"]
    config["linux"]["readonlyPaths"] += ["/etc", "/no/such"]
    return with_mount(config, "/mnt/a", "tmpfs", "tmpfs", "nosuid", "size=1m", "tmpcopyup")


def with_binds(t):
    t.file("host/sub/file")
    config = default()
    for i, options in enumerate((["bind"], ["rbind"], ["bind", "ro"], ["rbind", "rro"],
                                 ["rbind", "rslave", "noexec"])):
        with_mount(config, f"/mnt/b/{i}", "bind", t.path("host"), *options)
    return with_mount(config, "/etc/mark", "bind", t.path("host/sub/file"), "bind", "ro")


@test
def the_plan_of_the_default_bundle_is_what_strace_sees(t):
    compare_run(t, default())


@test
def the_plan_of_the_minimal_bundle_is_what_strace_sees(t):
    compare_run(t, minimal())


@test
def the_plan_of_a_bundle_with_everything_is_what_strace_sees(t):
    compare_run(t, with_everything())


@test
def the_plan_of_attributes_in_a_user_namespace_is_what_strace_sees(t):
    plan = compare_run(t, with_attributes(with_user_namespace(default())))
    eq([s["lane"] for s in plan["steps"] if s["operation"] == "scheduler"], ["runtime"],
       "who sets the scheduler of a process in a user namespace")


def with_mapped_binds(t, config):
    """The container's own ids where it has a user namespace, two others, one of them twice."""
    t.mount("tmpfs", t.path("mapped"), "tmpfs")
    with_mount(config, "/mnt", "tmpfs", "tmpfs")
    for i, (option, first) in enumerate((("idmap", 7), ("ridmap", 7), ("idmap", 8), ("idmap", 0))):
        if first or "uidMappings" in config["linux"]:
            with_mount(config, f"/mnt/{i}", "bind", t.path("mapped"), "rbind", option)
        for kind in ("uidMappings", "gidMappings") if first else ():
            config["mounts"][-1][kind] = [{"containerID": 0, "hostID": first, "size": 1}]
    return config


@cases(host=(lambda config: config,), user_namespace=(with_user_namespace,))
def the_plan_of_idmapped_mounts_is_what_strace_sees(t, change):
    plan = compare_run(t, with_mapped_binds(t, change(minimal())))
    mapped = [s for s in plan["steps"] if s["operation"] == "mount-idmap"]
    eq(len(mapped), 3 + (change is with_user_namespace), "mounts whose ids are mapped")


@test
def the_plan_of_a_pinned_caller_is_what_strace_sees(t):
    every = os.sched_getaffinity(0)
    if len(every) < 2:
        t.skip("one CPU: nothing can be kept from the caller")
    os.sched_setaffinity(0, {max(every)})
    plan = compare_run(t, default())
    check("affinity" in {s["operation"] for s in plan["steps"]}, "the affinity is not in the plan")


@test
def the_plan_of_a_moved_device_is_what_strace_sees(t):
    own_network()
    config = default()
    config["linux"]["netDevices"] = {"near": {"name": "eth7"}}
    compare_run(t, config)


def with_limits(config):
    config["linux"]["resources"] = {
        "devices": [{"allow": False}, {"allow": True, "type": "c", "major": 10, "access": "rw"}],
        "memory": {"limit": 64 << 20}, "pids": {"limit": 20},
        "cpu": {"shares": 512, "quota": 50000, "period": 100000, "cpus": "0"}}
    if any(v2 for _, _, v2 in hierarchies()):
        config["linux"]["resources"]["unified"] = {"cgroup.max.depth": "5"}
    return config


@cases(here=(None, default()), v1=(only_cgroup1, default()),
       user=(None, with_user_namespace(default())))
def the_plan_of_limits_is_what_strace_sees(t, host, config):
    if host:
        host()
    compare_run(t, with_limits(config))


@test
def the_plan_of_an_owned_cgroup_is_what_strace_sees(t):
    only_cgroup2()
    config = joined(default(), "cgroup")
    config["mounts"][-1]["options"] = ["nosuid", "rw"]
    config["process"]["user"]["uid"] = 1000
    plan = compare_run(t, config)
    check("cgroup-own" in {s["operation"] for s in plan["steps"]}, "nobody owns the cgroup")


@test
def the_plan_with_a_late_filter_is_what_strace_sees(t):
    compare_run(t, filtered(default(), True))


@test
def the_plan_with_binds_is_what_strace_sees(t):
    root = t.own_root()
    for i in range(5):
        os.makedirs(os.path.join(root, f"mnt/b/{i}"))
    compare_run(t, with_binds(t), rootfs=root)


@test
def the_plan_in_a_user_namespace_is_what_strace_sees(t):
    compare_run(t, with_user_namespace(default()))


@test
def the_plan_with_a_cgroup_namespace_is_what_strace_sees(t):
    compare_run(t, joined(default(), "cgroup"))


@test
def the_plan_with_a_time_namespace_is_what_strace_sees(t):
    config = joined(default(), "time")
    config["linux"]["timeOffsets"] = {"monotonic": {"secs": 1000}}
    plan = compare_run(t, config)
    check("stage" in {s["lane"] for s in plan["steps"]}, "time offsets need a stage")


@test
def the_plan_that_joins_network_ipc_and_uts_is_what_strace_sees(t):
    _, pid = t.sleeper(default())
    config = default()
    for kind, file in (("network", "net"), ("ipc", "ipc"), ("uts", "uts")):
        config = joined(config, kind, f"/proc/{pid}/ns/{file}")
    del config["hostname"]
    compare_run(t, config)


@test
def the_plan_that_joins_a_pid_namespace_is_what_strace_sees(t):
    _, pid = t.sleeper()
    compare_run(t, joined(default(), "pid", f"/proc/{pid}/ns/pid"))


@test
def the_plan_that_joins_a_user_namespace_is_what_strace_sees(t):
    _, pid = t.sleeper(with_user_namespace(minimal()))
    compare_run(t, joined(minimal(), "user", f"/proc/{pid}/ns/user"))


@cases(host=False, own_namespace=True)
def the_plan_on_a_host_with_cgroup2_alone_is_what_strace_sees(t, own):
    only_cgroup2()
    compare_run(t, joined(default(), "cgroup") if own else default())


@test
def the_plan_of_create_is_what_strace_sees(t):
    container, where = t.new_id(), t.bundle(default("/bin/true"))
    plan = plan_of(t, where, container, "--create")
    command, prefix = strace(t, "create", "--bundle", where, "--pid-file", t.path("pid"), container)
    plan = plan_of(t, where, container, "--create")
    p = t.popen(command=command)
    # The pid file is there a moment before the container is created.
    wait_until(lambda: os.path.exists(t.path("pid")) and t.state(container)["status"] == "created"
               or p.poll() is not None, "the container is created", 30)
    t.teca("start", container, expect=0)
    eq(t.end_of(p), 0, "exit status of create under strace")
    compare([s for s in plan["steps"] if s["operation"] != "pid-file"], traces(prefix))


@test
def a_lane_that_did_something_else_is_noticed(t):
    """The comparison itself: a plan with a step too few or too many must not pass."""
    container, where = t.new_id(), t.bundle(default())
    steps = plan_of(t, where, container)["steps"]
    command, prefix = strace(t, "run", "--bundle", where, container)
    eq(t.call(command).status, 0, "exit status")
    traced = traces(prefix)
    compare(steps, traced)
    # The cgroup of v2 is entered by the clone.
    v1_only = [] if all(v2 for _, _, v2 in hierarchies()) else ["cgroup-join"]
    for operation in ("mount", "device", "symlink", "mask", "readonly", "pivot", "root-open",
                      "clone", "cgroup-make", *v1_only):
        index = next(i for i, s in enumerate(steps) if s["operation"] == operation)
        for changed in (steps[:index] + steps[index + 1:], steps[:index + 1] + steps[index:]):
            try:
                compare(changed, traced)
            except Exception:
                continue
            fail(f"a plan with {len(changed) - len(steps):+d} step {operation} passed")


# ---- explain itself ------------------------------------------------------------------------------


@cases(text=[], json=["--format", "json"], create=["--create"])
def explain_needs_no_root_and_changes_nothing(t, flags):
    where = t.bundle(default())
    done = t.teca("explain", *flags, "--bundle", where,
                  preexec_fn=lambda: os.setresuid(65534, 65534, 65534), cwd="/",
                  env={})
    eq((done.status, done.error), (0, ""), "status and stderr as nobody")
    check(not os.path.exists(t.state_root), "explain made the state directory")
    eq(os.listdir(where), ["config.json"], "files in the bundle")


@test
def explain_prints_a_table(t):
    lines = t.teca("explain", "--bundle", t.bundle(default()), expect=0).text.splitlines()
    eq(lines[0].split(), ["step", "lane", "operation", "waits", "field"], "heading")
    contains("\n".join(lines), "/mounts/0", "pointers")
    contains("\n".join(lines), "pivot", "operations")
    eq([int(line.split()[0]) for line in lines[1:]], list(range(len(lines) - 1)),
       "numbers of the steps")


@test
def explain_says_what_waits_for_what(t):
    plan = plan_of(t, t.bundle(with_user_namespace(default())), t.new_id())
    waiting = [s for s in plan["steps"] if s["waits"]]
    eq(len(waiting), plan["waits"], "number of waits")
    for s in waiting:
        check(s["after"] < s["step"] and plan["steps"][s["after"]]["lane"] != s["lane"],
              f"step {s} waits for its own lane")


@test
def the_number_of_waits_does_not_grow_with_the_number_of_mounts(t):
    few = plan_of(t, t.bundle(default()), t.new_id())["waits"]
    config = default()
    for i in range(100):
        with_mount(config, f"/mnt/{i}", "bind", t.dir, "bind")
    eq(plan_of(t, t.bundle(config), t.new_id())["waits"], few, "waits with 100 mounts more")


@test
def the_hooks_of_a_plan_are_what_run_does(t):
    config = default()
    config["hooks"] = {k: [{"path": "/bin/true"}] * 2 for k in (
        "prestart", "createRuntime", "createContainer", "startContainer", "poststart")}
    text = t.teca("explain", "--bundle", t.bundle(config), expect=0).text
    contains(text, "/hooks/createContainer/1", "explain")
    container, where = t.new_id(), t.bundle(config)
    plan = plan_of(t, where, container)
    command, prefix = strace(t, "run", "--bundle", where, container)
    done = t.call(command)
    eq((done.status, done.error), (0, ""), "status and stderr of run under strace")
    traced = traces(prefix)
    compare(plan["steps"], traced)
    ran = sum(e.name == "execve" and e.text(0) == "/bin/true" and not e.failed
              for events in traced.values() for e in events)
    eq(ran, 11 if config["process"]["args"][0] == "/bin/true" else 10, "hooks and programs executed")


@test
def explain_replays_the_facts_of_a_host(t):
    where, container = t.bundle(with_user_namespace(default())), t.new_id()
    facts = t.teca("explain", "--write-facts", "--bundle", where, container, expect=0).text
    json.loads(facts)
    plan = plan_of(t, where, container)
    eq(plan_of(t, where, container, "--facts", t.file("facts.json", facts)), plan,
       "the plan from the facts")
    done = t.teca("explain", "--format", "json", "--facts", t.path("facts.json"), "--bundle", where,
                  container,
                  preexec_fn=lambda: os.setresuid(65534, 65534, 65534), cwd="/", env={})
    eq(json.loads(done.text), plan, "the same plan, made by nobody")


@test
def every_step_that_a_field_asked_for_names_it(t):
    config = with_everything()
    plan = plan_of(t, t.bundle(config), t.new_id())
    for s in plan["steps"]:
        where = config
        for name in [n.replace("~1", "/").replace("~0", "~") for n in s["pointer"].split("/")[1:]]:
            try:
                where = where[int(name)] if isinstance(where, list) else where[name]
            except (KeyError, IndexError, ValueError):
                check(s["pointer"] in ("/linux/cgroupsPath", "/linux/namespaces", "/linux/devices",
                                       "/root/readonly"),
                      f"step {s['step']}: {s['pointer']} is not in the configuration")
                break


@test
def explain_refuses_what_run_refuses(t):
    config = default()
    config["process"]["selinuxLabel"] = "x"
    done = t.teca("explain", "--bundle", t.bundle(config))
    eq(done.status, 1, "exit status")
    contains(done.error, "/process/selinuxLabel", "stderr")
