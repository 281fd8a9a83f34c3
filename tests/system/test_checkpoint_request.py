# SPDX-License-Identifier: Apache-2.0
"""
What CRIU is asked for, read by CRIU's own code (pycriu of Debian's package criu): every flag of checkpoint and
restore, on any kernel. What CRIU then does is in test_checkpoint_flags.py; a label of mounts for restore
(--lsm-mount-context) can only be tested here, for it wants a host whose SELinux policy labels mounts.
"""
import json
import os
import subprocess

from harness import cases, contains, eq, joined, lacks, minimal, test
from test_checkpoint import FILLS_NETWORK

# Stands in for criu: notes the request in CRIU's own names, and refuses.
STAND_IN = """#!/usr/bin/python3
import json, socket, sys
from google.protobuf.json_format import MessageToDict
from pycriu import rpc_pb2 as rpc
with socket.socket(fileno=int(sys.argv[2])) as s:
    asked = rpc.criu_req()
    asked.ParseFromString(s.recv(1 << 16))
    with open("{told}", "w") as f:
        json.dump(MessageToDict(asked, preserving_proto_field_name=True), f)
    s.send(rpc.criu_resp(type=asked.type, success=False, cr_errmsg="the stand-in refuses").SerializeToString())
"""
BOTH = {("--tcp-established",): {"tcp_established": True}, ("--tcp-close",): {"tcp_close": True},
        ("--ext-unix-sk",): {"ext_unix_sk": True}, ("--shell-job",): {"shell_job": True},
        ("--file-locks",): {"file_locks": True}, ("--link-remap",): {"link_remap": True},
        ("--auto-dedup",): {"auto_dedup": True}, ("--lazy-pages",): {"lazy_pages": True},
        ("--empty-ns", "network"): {"empty_ns": 0x40000000},
        ("--network-lock", "nftables"): {"network_lock": "NFTABLES"},
        ("--manage-cgroups-mode", "strict"): {"manage_cgroups_mode": "STRICT"}}
FLAGS = {"checkpoint": {("--leave-running",): {"leave_running": True},
                        ("--parent-path", "../before"): {"parent_img": "../before", "track_mem": True},
                        ("--page-server", "10.0.0.1:27"): {"ps": {"address": "10.0.0.1", "port": 27}},
                        ("--status-fd", "0"): {"status_fd": 0},
                        ("--tcp-skip-in-flight",): {"tcp_skip_in_flight": True}},
         "restore": {("--lsm-profile", "selinux:a_u:b_r:c_t"): {"lsm_profile": "selinux:a_u:b_r:c_t"},
                     ("--lsm-mount-context", "system_u:object_r:container_file_t:s0:c1,c2"):
                         {"lsm_mount_context": "system_u:object_r:container_file_t:s0:c1,c2"}}}


def asked(t, verb, *args):
    """The request, which has failed."""
    told = t.path("told")
    if subprocess.run(["/usr/bin/python3", "-c", "import pycriu.rpc_pb2"], check=False, capture_output=True).returncode:
        t.skip("there is no pycriu (Debian's package criu)")
    criu = t.file("criu", STAND_IN.format(told=told))
    os.chmod(criu, 0o755)
    done = t.teca("--criu", criu, verb, *args, seconds=60)
    eq(done.status, 1, f"exit status of {verb} ({done.error})")
    contains(done.error, "the stand-in refuses", "stderr")
    with open(told, encoding="utf-8") as f:
        return json.load(f)


@cases(checkpoint="checkpoint", restore="restore")
def criu_reads_every_flag_as_it_was_meant(t, verb):
    container, _ = t.sleeper()
    os.mkdir(t.path("images"))
    places = ("--image-path", t.path("images"))
    ids = (container,) if verb == "checkpoint" else ("--bundle", t.bundle(minimal()), "--detach", t.new_id())
    plain = asked(t, verb, *places, *ids)
    eq(plain["type"], "DUMP" if verb == "checkpoint" else "RESTORE", "the type")
    flags = BOTH | FLAGS[verb]
    with_all = asked(t, verb, *places, *(word for flag in flags for word in flag), *ids)["opts"]
    for flag, members in flags.items():
        for name, value in members.items():
            eq(with_all[name], value, f"{name} of the request with {flag}")
            eq(plain["opts"].get(name), "SOFT" if name == "manage_cgroups_mode" else None,
               f"{name} of the request without {flag}")
    eq(t.state(container)["status"], "running", "status of the container that CRIU did not dump")


@test
def a_pre_dump_is_one_of_its_own_kind(t):
    container, pid = t.sleeper()
    request = asked(t, "checkpoint", "--pre-dump", "--image-path", t.path("images"), container)
    eq(request["type"], "PRE_DUMP", "the type")
    eq((request["opts"]["pid"], request["opts"]["track_mem"]), (pid, True), "whom, and whether changes are tracked")


@test
def a_network_that_hooks_have_filled_is_theirs_at_the_restore_too(t):
    """As dockerd's; a network namespace of which they made nothing is CRIU's."""
    idle = {"path": "/bin/sh", "args": ["sh", "-c", "cat >/dev/null"]}
    for hooks, empty in (([FILLS_NETWORK], 0x40000000), ([idle], None)):
        config = joined(minimal(), "network")
        config["hooks"] = {"createRuntime": hooks}
        where = t.bundle(config)
        container, _ = t.sleeper(config)
        images = t.path(f"images{len(hooks[0]['args'][2])}")
        request = asked(t, "checkpoint", "--image-path", images, container)
        eq(request["opts"].get("empty_ns"), empty, f"empty_ns of the dump with {hooks}")
        request = asked(t, "restore", "--image-path", images, "--bundle", where, "--detach", t.new_id())
        eq(request["opts"].get("empty_ns"), empty, f"empty_ns of the restore with {hooks}")
        with open(os.path.join(images, "teca.json"), encoding="utf-8") as f:
            (contains if empty else lacks)(json.load(f), "network", "the notes")
