# SPDX-License-Identifier: Apache-2.0
"""The annotation org.teca.landlock: what the policy does not allow is denied, from inside.

The programs are python scripts under the host's python, bound read-only into the container."""
import ctypes
import json
import os

from harness import (cases, check, contains, eq, joined, lacks, minimal, test, wait_until, with_mount,
                     with_user_namespace)

NOTE = "/annotations/org.teca.landlock"
LANDLOCK_CREATE_RULESET = 444
PYTHON = "/usr/bin/python3"
SYSTEM = {"path": "/usr", "access": ["read", "execute"]}


def abi():
    return ctypes.CDLL(None).syscall(LANDLOCK_CREATE_RULESET, None, 0, 1)


def needs(t, number):
    if abi() < number:
        t.skip(f"the kernel has Landlock ABI {abi()}, the test needs {number}")


def both(function):
    return cases(with_no_new_privs=True, without_no_new_privs=False)(function)


def confined(t, policy, script, no_new=True, **process):
    """A container with the host's /usr and a tmpfs /data, whose python runs the script."""
    root = t.own_root()
    for name in ("usr", "data"):
        os.makedirs(os.path.join(root, name), exist_ok=True)
    for name in ("lib", "lib64"):
        where = os.path.join(root, name)
        if os.path.islink("/" + name) and not os.path.lexists(where):
            os.symlink(os.readlink("/" + name), where)
    prelude = "import os, socket, errno\n" \
              "def tried(f, *a):\n" \
              "    try:\n        f(*a); return 'OK'\n" \
              "    except OSError as e:\n        return errno.errorcode[e.errno]\n"
    config = minimal(PYTHON, "-S", "-c", prelude + script, noNewPrivileges=no_new, **process)
    config["root"]["path"] = root
    with_mount(config, "/usr", "bind", "/usr", "rbind", "ro")
    with_mount(config, "/data", "tmpfs", "tmpfs")
    if policy is not None:
        config["annotations"] = {
            "org.teca.landlock": policy if isinstance(policy, str) else json.dumps(policy)}
    return config


def says(t, policy, script, **more):
    return t.ok(confined(t, policy, script, **more)).split()


TRY_FILES = """
print(tried(os.mkdir, '/data/d'), tried(os.listdir, '/proc'), tried(os.listdir, '/usr'),
      tried(open, '/data/f', 'w'))
"""


@test
def without_a_policy_all_of_it_works(t):
    eq(says(t, None, TRY_FILES), ["OK"] * 4, "mkdir, list /proc, list /usr, create")


@both
def what_no_path_allows_is_denied(t, no_new):
    needs(t, 3)
    eq(says(t, {"paths": [SYSTEM]}, TRY_FILES, no_new=no_new),
       ["EACCES", "EACCES", "OK", "EACCES"], "mkdir, list /proc, list /usr, create")


@both
def what_a_path_allows_works(t, no_new):
    needs(t, 3)
    policy = {"paths": [SYSTEM, {"path": "/data", "access": ["make_dir"]}]}
    eq(says(t, policy, TRY_FILES, no_new=no_new),
       ["OK", "EACCES", "OK", "EACCES"], "mkdir, list /proc, list /usr, create")


@test
def read_and_write_are_short_for_many(t):
    needs(t, 3)
    policy = {"paths": [SYSTEM, {"path": "/data", "access": ["read", "write"]}]}
    script = ("open('/data/a', 'w').write('abc')\n"
              "print(tried(os.truncate, '/data/a', 1), tried(os.rename, '/data/a', '/data/b'),"
              "tried(os.mkfifo, '/data/p'), tried(os.unlink, '/data/b'), tried(os.listdir, '/data'),"
              "tried(os.mknod, '/data/n', 0o20666, os.makedev(1, 3)))")
    eq(says(t, policy, script), ["OK"] * 5 + ["EACCES"], "what changes files, then a device node")


@test
def a_single_file_may_be_named(t):
    needs(t, 3)
    policy = {"paths": [SYSTEM, {"path": "/proc/version", "access": ["read"]}]}
    eq(says(t, policy, "print(tried(open, '/proc/version'), tried(open, '/proc/uptime'))"),
       ["OK", "EACCES"], "the named file, its neighbour")


@test
def the_program_itself_needs_a_right(t):
    needs(t, 3)
    t.refused(confined(t, {"paths": []}, "print('never')"), "permission denied", "exec")


@test
def a_user_without_capabilities_is_confined(t):
    needs(t, 3)
    script = "print(tried(os.listdir, '/proc'), os.getuid())"
    eq(says(t, {"paths": [SYSTEM]}, script, user={"uid": 4711, "gid": 4711}), ["EACCES", "4711"],
       "list /proc, uid")


@test
def in_a_user_namespace_it_holds_too(t):
    needs(t, 3)
    config = with_user_namespace(confined(t, {"paths": [SYSTEM]}, TRY_FILES, no_new=False))
    eq(t.ok(config).split()[1:3], ["EACCES", "OK"], "list /proc, list /usr")


TRY_TCP = """
def bind(port):
    s = socket.socket(); s.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1); s.bind(('127.0.0.1', port))
def connect(port):
    socket.socket().connect(('127.0.0.1', port))
print(tried(bind, 8080), tried(bind, 8081), tried(connect, 8443), tried(connect, 8444))
"""


@cases(both=({"bind": [8080], "connect": [8443]}, ["OK", "EACCES", "ECONNREFUSED", "EACCES"]),
       only_bind=({"bind": [8080]}, ["OK", "EACCES", "ECONNREFUSED", "ECONNREFUSED"]),
       nothing=({"bind": [], "connect": []}, ["EACCES"] * 4))
def only_the_listed_ports_can_be_used(t, ports, expected):
    needs(t, 4)
    config = joined(confined(t, {"tcp": ports}, TRY_TCP), "network")
    eq(t.ok(config).split(), expected, "bind 8080, bind 8081, connect 8443, connect 8444")


@both
def create_finds_a_missing_path_and_start_enforces(t, no_new):
    needs(t, 3)
    missing = confined(t, {"paths": [SYSTEM, {"path": "/not/there", "access": ["read"]}]}, "",
                       no_new=no_new)
    t.refused(missing, NOTE + "/paths/1", "'/not/there'", "No such file", verb="create")
    out = t.path("out")
    where, container = t.bundle(confined(t, {"paths": [SYSTEM]}, TRY_FILES, no_new=no_new)), t.new_id()
    with open(out, "wb") as f:
        t.teca("create", "--bundle", where, container, stdout=f, expect=0)
    t.teca("start", container, expect=0)
    wait_until(lambda: os.path.getsize(out), "the program's word")
    with open(out, encoding="ascii") as f:
        eq(f.read().split(), ["EACCES", "EACCES", "OK", "EACCES"], "what it could do")


@test
def a_path_is_resolved_in_the_container(t):
    """A symlink of the image cannot name the host's files: the rule would be for the container's."""
    needs(t, 3)
    config = confined(t, {"paths": [SYSTEM, {"path": "/away", "access": ["read"]}]},
                      "print(tried(os.listdir, '/away'), tried(os.listdir, '/proc'))")
    os.symlink("../../../../../data", os.path.join(config["root"]["path"], "away"))
    eq(t.ok(config).split(), ["OK", "EACCES"], "/away, which is /data, and /proc")


@test
def a_magic_link_is_refused(t):
    needs(t, 3)
    config = confined(t, {"paths": [{"path": "/proc/self/root", "access": ["read"]}]}, "")
    t.refused(config, NOTE + "/paths/0", "/proc/self/root")


@test
def directory_rights_on_a_file_are_refused(t):
    needs(t, 3)
    config = confined(t, {"paths": [{"path": "/proc/version", "access": ["read_dir"]}]}, "")
    t.refused(config, NOTE + "/paths/0", "none of the Landlock rights read_dir")


@cases(not_json=("{", ""), empty=("{}", ""), key=('{"path": []}', "/path"),
       right=('{"paths": [{"path": "/", "access": ["fly"]}]}', "/paths/0/access/0"),
       port=('{"tcp": {"bind": [70000]}}', "/tcp/bind/0"))
def a_bad_policy_is_refused_by_run_and_named_by_check(t, policy, below):
    config = confined(t, policy, "")
    t.refused(config, NOTE + below)
    done = t.teca("check", "--bundle", t.bundle(config))
    check(done.status != 0, "check finds nothing")
    contains(done.text + done.error, NOTE + below, "what check says")


@test
def a_kernel_that_lacks_it_is_named(t):
    config = confined(t, {"paths": [SYSTEM], "tcp": {"bind": []}}, "")
    where, facts = t.bundle(config), t.path("facts")
    text = t.teca("explain", "--bundle", where, "--write-facts", expect=0).text
    known = json.loads(text)
    eq(known["security"].get("landlockAbi", 0), max(abi(), 0), "the fact")
    for number, words in ((3, "this kernel has ABI 3"), (0, "not in this kernel")):
        known["security"]["landlockAbi"] = number
        with open(facts, "w", encoding="ascii") as f:
            json.dump(known, f)
        done = t.teca("explain", "--bundle", where, "--facts", facts)
        eq(done.status, 1, "exit status of explain")
        for part in (NOTE + "/tcp", "Landlock ABI 4 (Linux 6.7)", words):
            contains(done.error, part, "stderr")


@test
def explain_names_the_calls_that_are_made(t):
    needs(t, 4)
    config = confined(t, {"paths": [SYSTEM], "tcp": {"bind": [1, 2]}}, "")
    where, trace = t.bundle(config), t.path("trace")
    plan = json.loads(t.teca("explain", "--format", "json", "--bundle", where, expect=0).text)
    planned = [s["operation"] for s in plan["steps"] if s["operation"].startswith("landlock-")]
    eq(planned, ["landlock-ruleset", "landlock-path", "landlock-port", "landlock-port",
                 "landlock-restrict"], "steps")
    t.call(["strace", "-f", "-o", trace, "-e", "trace=/landlock_.*",
            *t.argv("run", "--bundle", where, t.new_id())])
    with open(trace, encoding="utf-8", errors="replace") as f:
        made = [line.split(None, 1)[1].split("(")[0] for line in f if "landlock_" in line]
    # the first one is the question for the ABI
    eq(made, ["landlock_create_ruleset"] * 2 + ["landlock_add_rule"] * 3 + ["landlock_restrict_self"],
       "calls")


@test
def without_the_annotation_nothing_is_asked(t):
    trace = t.path("trace")
    where = t.bundle(minimal())
    t.call(["strace", "-f", "-o", trace, *t.argv("run", "--bundle", where, t.new_id())])
    with open(trace, encoding="utf-8", errors="replace") as f:
        text = f.read()
    contains(text, "execve", "the trace")
    lacks(text, "landlock", "the trace")
