# SPDX-License-Identifier: Apache-2.0
"""Broken and huge configurations, `check`, messages and the log."""
import json
import os
import re

from harness import (cases, check, contains, default, eq, joined, lacks, minimal, mounts_of, row,
                     test, wait_until, with_mount)


def text_of(config):
    return json.dumps(config, indent=2)


def changed(path, value):
    """The default configuration with one value replaced, by JSON pointer; None removes it."""
    config = default()
    where, names = config, path.strip("/").split("/")
    for name in names[:-1]:
        where = where[int(name)] if isinstance(where, list) else where.setdefault(name, {})
    last = int(names[-1]) if isinstance(where, list) else names[-1]
    if value is None:
        del where[last]
    else:
        where[last] = value
    return config


DEEP = "[" * 10000 + "]" * 10000

# name -> (config, what the message must hold). Syntax faults have a line, all others a pointer.
BROKEN = {
    "empty_file": ("", "config.json"),
    "truncated": (text_of(default())[:700], "line"),
    "trailing_garbage": (text_of(default()) + "\n{}", "line"),
    "trailing_comma": (text_of(default())[:-2] + ",}", "line"),
    "comment": ("// hello\n" + text_of(default()), "line"),
    "not_utf_8": (text_of(default()).encode().replace(b"PATH=", b"P\xff\xfeTH="), "line"),
    "an_array": ("[]", "config.json"),
    "deep_nesting": (text_of(default())[:-1] + ', "x": ' + DEEP + "}", "nest"),
    "duplicate_key": ('{"ociVersion": "1.0.2", "ociVersion": "1.0.2", "root": {"path": "r"}}',
                      "ociVersion"),
    "duplicate_key_inside": (text_of(default()).replace('"cwd": "/"', '"cwd": "/", "cwd": "/tmp"'),
                             "cwd"),
    "no_version": (changed("/ociVersion", None), "/ociVersion"),
    "foreign_version": (changed("/ociVersion", "2.0.0"), "/ociVersion"),
    "no_root": (changed("/root", None), "/root"),
    "no_arguments": (changed("/process/args", None), "/process/args"),
    "empty_arguments": (changed("/process/args", []), "/process/args"),
    "number_as_argument": (changed("/process/args", ["sh", 5]), "/process/args/1"),
    "relative_cwd": (changed("/process/cwd", "tmp"), "/process/cwd"),
    "no_cwd": (changed("/process/cwd", None), "/process/cwd"),
    "wrong_type": (changed("/process/noNewPrivileges", "yes"), "/process/noNewPrivileges"),
    "string_as_number": (changed("/process/user/uid", "0"), "/process/user/uid"),
    "negative_uid": (changed("/process/user/uid", -1), "/process/user/uid"),
    "uid_above_32_bits": (changed("/process/user/uid", 1 << 32), "/process/user/uid"),
    "fraction": (changed("/process/user/gid", 1.5), "/process/user/gid"),
    "rlimit_above_64_bits": (changed("/process/rlimits/0/hard", 1 << 64),
                             "/process/rlimits/0/hard"),
    "oom_score_out_of_range": (changed("/process/oomScoreAdj", 5000), "/process/oomScoreAdj"),
    "umask_out_of_range": (changed("/process/user/umask", 1 << 33), "/process/user/umask"),
    "environment_without_equals": (changed("/process/env", ["PATH"]), "/process/env/0"),
    "mount_without_destination": (changed("/mounts/1/destination", None), "/mounts/1"),
    "mount_options_as_text": (changed("/mounts/1/options", "ro"), "/mounts/1/options"),
    "unknown_namespace": (changed("/linux/namespaces/0/type", "coffee"), "/linux/namespaces/0"),
    "namespace_without_type": (changed("/linux/namespaces/0/type", None), "/linux/namespaces/0"),
    "unknown_device_type": (changed("/linux/devices", [{"path": "/dev/x", "type": "q"}]),
                            "/linux/devices/0"),
    "device_without_numbers": (changed("/linux/devices", [{"path": "/dev/x", "type": "c"}]),
                               "/linux/devices/0"),
    "relative_masked_path": (changed("/linux/maskedPaths/0", "proc/acpi"), "/linux/maskedPaths/0"),
    "unknown_propagation": (changed("/linux/rootfsPropagation", "sideways"),
                            "/linux/rootfsPropagation"),
    "map_without_user_namespace": (changed("/linux/uidMappings",
                                           [{"containerID": 0, "hostID": 1, "size": 1}]),
                                   "/linux/uidMappings"),
    "annotation_that_is_no_text": (changed("/annotations", {"a": 5}), "/annotations/a"),
    "pointer_with_slash": (changed("/annotations", {"a/b~c": 5}), "/annotations/a~1b~0c"),
}


@cases(**BROKEN)
@row("EXT-2", "RT-19")
def a_broken_configuration_is_refused(t, config, part):
    t.refused(config, part)


@cases(**BROKEN)
@row("RT-23")
def check_reports_a_broken_configuration(t, config, part):
    done = t.teca("check", "--bundle", t.bundle(config))
    eq(done.status, 1, "exit status of check")
    contains((done.text + done.error).lower(), part.lower(), "what check says")


@cases(missing_file="", missing_bundle="x")
@row("BUN-1")
def a_bundle_that_is_not_there_is_refused_by_name(t, name):
    where = t.path(name) if name else t.dir
    for verb in ("run", "create", "check", "explain"):
        done = t.teca(verb, "--bundle", where, *([t.token] if verb in ("run", "create") else []))
        eq(done.status, 1, f"exit status of {verb}")
        contains(done.error, where, f"stderr of {verb}")


# ---- valid, but not executed yet -----------------------------------------------------------------

RELATIVE_HOOK = [{"path": "relative"}]
NOT_YET = {
    "vm": ("/vm", {"kernel": {"path": "/k"}}),
}


@cases(**NOT_YET)
def what_is_not_executed_yet_is_refused_and_never_ignored(t, pointer, value):
    config = changed(pointer, value)
    for verb in ("run", "create"):  # of a machine: also where there is no KVM for one
        t.refused(config, pointer, "isolation \"vm\"", "--isolation emulated", verb=verb)
    done = t.teca("check", "--bundle", t.bundle(config))
    eq(done.status, 1, "exit status of check")
    contains(done.text + done.error, pointer, "what check says")
    contains(done.text + done.error, "not supported yet", "what check says")


# ---- check ---------------------------------------------------------------------------------------


@test
def check_finds_no_fault_in_the_default_configuration(t):
    """Remarks: the ambient set that runc writes without an inheritable one."""
    done = t.teca("check", "--bundle", t.bundle(default()), expect=0)
    eq(done.error, "", "stderr")
    for line in done.text.splitlines():
        contains(line, "warning: ", "a line of check")
        contains(line, "/process/capabilities/ambient", "what check says")


@test
def check_prints_every_fault_with_pointer_and_line(t):
    config = default()
    config["process"]["cwd"] = "relative"
    config["process"]["user"]["uid"] = -5
    config["process"]["rlimits"][0]["type"] = "RLIMIT_COFFEE"
    config["mounts"][2]["destination"] = "relative"
    config["linux"]["namespaces"].append({"type": "tea"})
    config["hooks"] = {"poststop": RELATIVE_HOOK}
    text = json.dumps(config, indent=2)
    done = t.teca("check", "--bundle", t.bundle(text))
    eq(done.status, 1, "exit status")
    for pointer in ("/process/user/uid", "/mounts/2/destination", "/process/cwd",
                    "/process/rlimits/0",
                    f"/linux/namespaces/{len(config['linux']['namespaces']) - 1}",
                    "/hooks/poststop"):
        contains(done.text + done.error, pointer, "what check says")
    found = re.search(r"config\.json:(\d+): /process/cwd", done.text)
    check(found, f"no line for /process/cwd in {done.text!r}")
    line = text.splitlines()[int(found.group(1)) - 1]
    contains(line, '"cwd"', f"line {found.group(1)} of config.json")


@test
def a_wrong_type_hides_no_other_fault_and_makes_none(t):
    """What only the rooms know (mount options, sysctl, seccomp names, Landlock) is told too."""
    config = default()
    config["process"]["terminal"] = "yes"
    config["mounts"] += [
        {"destination": "/a", "type": 5, "source": "tmpfs", "options": ["size=1m"]},
        {"destination": "/b", "type": "bind", "source": [], "options": ["bind"]},
        {"destination": 7, "type": "bind", "source": "/", "options": ["bind", "size=5"]},
        {"destination": "/c", "type": "bind", "source": "/", "options": [3, "mode=0"]},
        "no mount",
    ]
    n = len(config["mounts"]) - 5
    config["linux"]["sysctl"] = {"kernel.panic": "1", "net.ipv4.ip_forward": 1,
                                 "net.ipv6.conf.all.forwarding": "1"}
    config["linux"]["namespaces"] = "all"
    config["linux"]["seccomp"] = {"defaultAction": "SCMP_ACT_ALLOW", "syscalls": [
        {"names": ["fly_to_the_moon", 5], "action": "SCMP_ACT_ERRNO"}]}
    last = 0
    config["annotations"] = {"org.teca.landlock": "{\"coffee\": 1}"}
    done = t.teca("check", "--format", "json", "--bundle", t.bundle(config))
    eq(done.status, 1, "exit status")
    found = {(f["level"], f["pointer"]) for f in json.loads(done.text)["faults"]}
    expected = {("error", p) for p in (
        "/process/terminal", f"/mounts/{n}/type", f"/mounts/{n + 1}/source",
        f"/mounts/{n + 2}/destination", f"/mounts/{n + 2}", f"/mounts/{n + 3}/options/0",
        f"/mounts/{n + 3}", f"/mounts/{n + 4}", "/linux/sysctl/kernel.panic",
        "/linux/sysctl/net.ipv4.ip_forward", "/linux/namespaces",
        f"/linux/seccomp/syscalls/{last}/names/1", "/annotations/org.teca.landlock/coffee")}
    expected.add(("warning", f"/linux/seccomp/syscalls/{last}/names/0"))
    eq(sorted({f for f in found if "capabilities" not in f[1] and "resources" not in f[1]}),
       sorted(expected), "faults")


@test
def check_prints_json(t):
    done = t.teca("check", "--format", "json", "--bundle",
                  t.bundle(changed("/process/cwd", "relative")))
    eq(done.status, 1, "exit status")
    document = json.loads(done.text)
    eq(document["errors"], 1, "errors")
    fault = [f for f in document["faults"] if f["level"] == "error"][0]
    eq(fault["pointer"], "/process/cwd", "pointer")
    check(fault["line"] > 0 and fault["text"], f"fault {fault}")


@test
@row("CFG-6")
def a_relative_mount_destination_starts_at_the_root_and_is_remarked(t):
    """runtime-spec config.md "mounts": deprecated, and to be taken relative to "/"."""
    config = changed("/mounts/0/destination", "proc")
    config["process"]["args"] = ["/bin/cat", "/proc/1/comm"]
    eq(t.ok(config), "cat\n", "stdout")
    done = t.teca("check", "--bundle", t.bundle(config), expect=0)
    contains(done.text, "/mounts/0/destination", "what check says")


@test
def an_empty_program_name_is_refused(t):
    t.refused(changed("/process/args", [""]), "/process/args")


@test
@row("EXT-1")
def unknown_properties_are_remarked_and_ignored(t):
    config = default("/bin/echo", "ran")
    config["x-vendor"] = {"deep": [1, 2, {"three": None}]}
    config["process"]["futureField"] = True
    eq(t.ok(config), "ran\n", "stdout")
    done = t.teca("check", "--bundle", t.bundle(config), expect=0)
    for name in ("/x-vendor", "/process/futureField"):
        contains(done.text, name, "what check says")


@test
def check_changes_nothing_and_needs_no_root(t):
    where = t.bundle(default())
    done = t.teca("check", "--bundle", where, preexec_fn=lambda: os.setresuid(65534, 65534, 65534),
                  cwd="/")
    eq(done.status, 0, f"exit status as nobody ({done.error})")
    check(not os.path.exists(t.state_root), "check made the state directory")
    eq(os.listdir(where), ["config.json"], "files in the bundle")


# ---- messages and log ----------------------------------------------------------------------------


def failing(t, *global_flags, verb="create"):
    t.global_args = list(global_flags)
    done = t.teca(verb, "--bundle", t.bundle(minimal("nope")), t.new_id())
    eq(done.status, 1, "exit status")
    t.global_args = []
    return done


@cases(create="create", run="run")
@row("RT-17")
def the_json_log_of_a_failure_is_exactly_one_object(t, verb):
    log = t.path("log.json")
    done = failing(t, "--log", log, "--log-format", "json", verb=verb)
    with open(log, encoding="utf-8") as f:
        text = f.read()
    check(text.endswith("\n") and text.count("\n") == 1, f"lines in the log: {text!r}")
    entry = json.loads(text)
    eq(entry["level"], "error", "level")
    check(re.fullmatch(r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d(\.\d+)?(Z|[+-]\d\d:\d\d)", entry["time"]),
          entry["time"])
    contains(entry["msg"], 'exec: "nope": executable file not found in $PATH', "msg")
    contains(done.error, entry["msg"], "stderr")


@test
def every_kind_of_failure_logs_one_line(t):
    log = t.path("log.json")
    t.global_args = ["--log=" + log, "--log-format=json"]
    calls = [["create", "--bundle", t.path("nowhere"), t.token], ["state", "nobody"],
             ["delete", "nobody"],
             ["kill", "nobody", "9"], ["start", "nobody"], ["create", "--no-such-flag", "x"],
             ["no-such-verb"],
             ["create", "--bundle", t.bundle("{"), t.token],
             ["create", "--bundle", t.bundle(changed("/process/cwd", "x")), t.token],
             ["run", "--bundle", t.bundle(with_mount(minimal(), "/mnt/a", "nofs", "x")), t.token],
             ["run", "--bundle", t.bundle(joined(minimal(), "network", "/nowhere")), t.token]]
    for call in calls:
        if os.path.exists(log):
            os.unlink(log)
        done = t.teca(*call)
        check(done.status != 0, f"{call} succeeded")
        with open(log, encoding="utf-8") as f:
            lines = f.read().splitlines()
        eq(len(lines), 1, f"lines in the log of {call}")
        contains(done.error, json.loads(lines[0])["msg"], f"stderr of {call}")
        eq(done.out, b"", f"stdout of {call}")


@test
@row("RT-18")
def a_success_logs_nothing_even_with_warnings(t):
    log = t.path("log.json")
    config = default("/bin/true")
    config["linux"]["resources"] = {"memory": {"limit": 1 << 28}}
    config["x-unknown"] = 1
    config["process"]["capabilities"]["bounding"].append("CAP_TO_FLY")
    t.global_args = ["--log", log, "--log-format", "json"]
    t.ok(config)
    container = t.create(config)
    t.teca("start", container, expect=0)
    eq(os.path.getsize(log) if os.path.exists(log) else 0, 0, "bytes in the log")


@test
def the_log_is_appended_to(t):
    log = t.file("log", "before\n")
    failing(t, "--log", log, "--log-format", "text")
    with open(log, encoding="utf-8") as f:
        lines = f.read().splitlines()
    eq((len(lines), lines[0]), (2, "before"), "lines of the log")
    contains(lines[1], "executable file not found in $PATH", "the new line")


@test
def debug_writes_to_the_text_log_only(t):
    log = t.path("log")
    t.global_args = ["--debug", "--log", log]
    t.ok(default("/bin/true"))
    check(os.path.getsize(log) > 0, "no debug line")
    t.global_args = ["--debug", "--log", t.path("json"), "--log-format", "json"]
    t.ok(default("/bin/true"))
    eq(os.path.getsize(t.path("json")) if os.path.exists(t.path("json")) else 0, 0,
       "bytes in the JSON log")


@test
def a_wrong_log_format_is_refused(t):
    t.global_args = ["--log-format", "xml"]
    done = t.teca("list")
    eq(done.status, 1, "exit status")
    contains(done.error, "invalid log-format: xml", "stderr")


@test
def a_log_that_cannot_be_opened_is_an_error(t):
    t.global_args = ["--log", t.path("no/such/log")]
    done = t.teca("list")
    eq(done.status, 1, "exit status")
    contains(done.error, t.path("no/such/log"), "stderr")


@test
def control_characters_of_a_configuration_do_not_reach_the_terminal(t):
    config = with_mount(minimal(), "/mnt/\x1b[31m\u009b", "nofs", "x")
    done = t.refused(config, "/mounts/2", rootfs=t.own_root())
    for bad in ("\x1b", "\u009b", "\r"):
        lacks(done.error, bad, "stderr")


# ---- huge ones -----------------------------------------------------------------------------------


@test
def a_configuration_of_ten_mebibytes_works(t):
    config = minimal("/bin/echo", "ran")
    config["annotations"] = {f"key.{i}": "v" * 1000 for i in range(10400)}
    check(len(json.dumps(config)) > 10 << 20, "the configuration is smaller than it should be")
    eq(t.ok(config), "ran\n", "stdout")
    container = t.create(config)
    eq(len(t.state(container)["annotations"]), 10400, "annotations in state")


@test
def a_string_of_ten_mebibytes_is_read(t):
    config = minimal("/bin/echo", "ran")
    config["annotations"] = {"big": "x" * (10 << 20)}
    eq(t.ok(config), "ran\n", "stdout")


@test(seconds=120)
def five_thousand_mounts_work(t):
    config = with_mount(minimal("/bin/sh", "-c",
                                "grep -c ' /mnt/a/' /proc/self/mountinfo; echo x >/mnt/a/4999/f; "
                                "ls /mnt/a | wc -l"), "/mnt/a", "tmpfs", "tmpfs")
    for i in range(5000):
        config["mounts"].append({"destination": f"/mnt/a/{i}", "type": "tmpfs", "source": "tmpfs",
                                 "options": ["size=4k"] if i % 2 else ["ro"] if i != 4998 else []})
    eq(t.ok(config, seconds=100), "5000\n5000\n", "mounts seen inside")


@test(seconds=120)
def five_thousand_binds_work(t):
    t.file("host/file", "bound\n")
    config = with_mount(minimal("/bin/sh", "-c",
                                "grep -c ' /mnt/a/' /proc/self/mountinfo; cat /mnt/a/4999/file"),
                        "/mnt/a", "tmpfs", "tmpfs")
    for i in range(5000):
        with_mount(config, f"/mnt/a/{i}", "bind", t.path("host"), "bind", "ro")
    eq(t.ok(config, seconds=100), "5000\nbound\n", "mounts seen inside")


@test
def ten_thousand_environment_entries_work(t):
    config = minimal("/bin/sh", "-c", "env | grep -c ^N; echo $N9999",
                     env=[f"N{i}=value {i}" for i in range(10000)])
    config["process"]["args"][0] = "/bin/sh"
    config["process"]["env"].append("PATH=/bin")
    eq(t.ok(config), "10000\nvalue 9999\n", "environment inside")


@test
def an_environment_too_large_for_the_kernel_is_refused_by_name(t):
    config = minimal(env=["BIG=" + "x" * (1 << 18)])
    done = t.refused(config, "/process")
    contains(done.error.lower(), "argument list too long", "stderr")


@test
def a_thousand_masked_paths_and_devices_work(t):
    config = minimal("/bin/sh", "-c", "ls /dev/many | wc -l; cat /mnt/a/f* | wc -c")
    os.makedirs(t.path("host"))
    for i in range(1000):
        t.file(f"host/f{i}", "text")
    with_mount(config, "/mnt/a", "bind", t.path("host"), "bind")
    config["linux"]["maskedPaths"] = [f"/mnt/a/f{i}" for i in range(1000)]
    config["linux"]["devices"] = [{"path": f"/dev/many/n{i}", "type": "c", "major": 1, "minor": 3}
                                  for i in range(1000)]
    eq(t.ok(config), "1000\n0\n", "devices, and bytes that are not masked")


@test
def a_pipe_that_is_named_as_configuration_is_waited_for(t):
    os.mkdir(t.path("b"))
    os.mkfifo(t.path("b/pipe"))
    p = t.popen("check", "--bundle", t.path("b"), "--config", t.path("b/pipe"))
    fd = wait_until(lambda: open_writer(t.path("b/pipe")), "check opened its configuration")
    with os.fdopen(fd, "w", encoding="ascii") as f:
        os.set_blocking(fd, True)
        f.write(text_of(default()))
    eq(t.end_of(p), 0, "exit status of check")


@cases(nobody=(False,), silent=(True,))
def a_configuration_that_is_a_fifo_is_refused(t, written):
    """The bundle's author made it one: nobody writes to it, or somebody does and says nothing."""
    os.mkdir(t.path("b"))
    os.mkfifo(t.path("b/config.json"))
    reader = os.open(t.path("b/config.json"), os.O_RDONLY | os.O_NONBLOCK)
    writer = os.open(t.path("b/config.json"), os.O_WRONLY)
    if not written:
        os.close(writer)
    for verb in ("create", "run"):
        done = t.teca(verb, "--bundle", t.path("b"), t.new_id(), seconds=5)
        eq(done.status, 1, f"exit status of {verb}")
        contains(done.error, "config.json in bundle", "stderr")
        contains(done.error, "is no regular file", "stderr")
    os.close(reader)


@test
def a_fifo_as_log_is_written_to_or_refused(t):
    """Whoever has the names of the files that engines pass could hold every start up."""
    os.mkfifo(t.path("log"))
    t.global_args = ["--log", t.path("log"), "--log-format", "json"]
    done = t.teca("state", "nothing", seconds=5)
    eq((done.status, done.error), (1, f"teca: cannot open the log '{t.path('log')}': "
                                      "nobody reads this FIFO\n"), "a log that nobody reads")
    reader = os.open(t.path("log"), os.O_RDONLY | os.O_NONBLOCK)
    done = t.teca("state", "nothing", seconds=5)
    contains(done.error, "does not exist", "stderr")
    contains(json.loads(os.read(reader, 4096))["msg"], "does not exist", "the log")
    os.close(reader)


def open_writer(fifo):
    """Only when somebody reads; else None."""
    try:
        return os.open(fifo, os.O_WRONLY | os.O_NONBLOCK)
    except OSError:
        return None


@test
@row("RT-19")
def a_failed_start_leaves_the_hosts_mounts_alone(t):
    before = len(mounts_of())
    t.refused(with_mount(default(), "/mnt/a", "nofs", "x"), "/mounts")
    eq(len(mounts_of()), before, "mounts of the host")
