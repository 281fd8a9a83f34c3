# SPDX-License-Identifier: Apache-2.0
"""
process.selinuxLabel and linux.mountLabel under a policy that the kernel enforces. A policy rules the
whole machine: only the test VM, booted with SELinux (tests/vm/suite selinux), says that one may be
loaded, tests/data/selinux.cil.
"""
import json
import os
import shutil
import subprocess

from harness import (DATA, check, contains, eq, minimal, mount, mounts_of, test, wait_until,
                     with_mount)
from test_checkpoint import count_of, counting, dump, goes_on_from, needs_criu, restore, start

FILES = "/sys/fs/selinux"
BOX, OTHER, SHARED, DATA_LABEL = (f"teca_u:host_r:{kind}"
                                  for kind in ("box_t", "other_t", "shared_t", "data_t"))


def own_label():
    with open("/proc/self/attr/current", encoding="ascii") as f:
        return f.read().rstrip("\0\n")


def enforce_policy(t):
    """Loads the policy unless a test before this one did."""
    with open("/proc/filesystems", encoding="ascii") as f:
        if "\tselinuxfs\n" not in f.read():
            t.skip("this host has no SELinux")
    if not os.environ.get("TECA_TEST_MAY_LOAD_POLICY"):
        t.skip("the host's policy is not to be replaced; tests/vm/suite selinux")
    compiler = shutil.which("secilc")
    if not compiler:
        t.skip("secilc is missing (apt: secilc)")
    if not os.path.exists(f"{FILES}/load"):
        mount("selinuxfs", FILES, "selinuxfs")
    if not own_label().startswith("teca_u:"):
        binary = t.path("policy")
        subprocess.run([compiler, "-U", "allow", "-o", binary, "-f", "/dev/null",
                        os.path.join(DATA, "selinux.cil")], check=True)
        with open(binary, "rb") as policy, open(f"{FILES}/load", "wb", buffering=0) as load:
            load.write(policy.read())
    with open(f"{FILES}/enforce", "w", encoding="ascii") as f:
        f.write("1")
    eq(own_label(), "teca_u:host_r:host_t", "the label of this process")


def labelled(label, *args, **process):
    config = minimal(*args or ("/bin/cat", "/proc/self/attr/current"), **process)
    config["process"]["selinuxLabel"] = label
    return config


def text_of(done):
    return done.out.decode().rstrip("\0\n")


@test
def a_label_is_had_by_run(t):
    enforce_policy(t)
    eq(text_of(t.run(minimal("/bin/cat", "/proc/self/attr/current"), expect=0)),
       "teca_u:host_r:host_t", "without a label")
    eq(text_of(t.run(labelled(BOX), expect=0)), BOX, "with a label")
    eq(text_of(t.run(labelled(BOX, noNewPrivileges=True), expect=0)), BOX, "with noNewPrivileges")


@test
def a_label_that_the_policy_forbids_fails_the_start(t):
    enforce_policy(t)
    done = t.run(labelled(OTHER))
    check(done.status not in (0, None), f"a forbidden transition passed: {done.text}")
    contains(done.error.lower(), "permission denied", "stderr")


@test
def a_label_that_the_policy_does_not_know_is_refused(t):
    enforce_policy(t)
    t.refused(labelled("teca_u:host_r:nobody_t"), "/process/selinuxLabel", "teca_u:host_r:nobody_t",
              "Invalid argument", "the loaded policy does not know the label")


@test
def exec_takes_the_containers_label_unless_its_process_names_another(t):
    enforce_policy(t)
    container, pid = t.sleeper(labelled(BOX))
    with open(f"/proc/{pid}/attr/current", encoding="ascii") as f:
        eq(f.read().rstrip("\0\n"), BOX, "the label of init")
    show = ["/bin/cat", "/proc/self/attr/current"]
    eq(text_of(t.teca("exec", container, *show, expect=0)), BOX, "an ordinary exec")
    process = minimal(*show)["process"] | {"selinuxLabel": "teca_u:host_r:nobody_t"}
    done = t.teca("exec", "--process", t.file("process.json", json.dumps(process)), container)
    check(done.status != 0, "a process with an unknown label ran")
    contains(done.error, "nobody_t", "stderr")
    plain, _ = t.sleeper()
    eq(text_of(t.teca("exec", "--process-label", BOX, plain, *show, expect=0)), BOX, "a label by the flag")


@test
def fresh_file_systems_have_the_mount_label(t):
    enforce_policy(t)
    config = with_mount(minimal("/payload", "catch", "15"), "/mnt/a", "tmpfs")
    config = with_mount(config, "/mnt/b", "bind", t.path(), "bind")
    config["linux"]["mountLabel"] = SHARED
    container, pid = t.sleeper(config)
    with open(f"/proc/{pid}/mountinfo", encoding="utf-8") as f:
        found = {m["at"]: m["super"] for m in mounts_of(f.read())}
    contains(found["/mnt/a"], f"context={SHARED}", "super options of the tmpfs")
    contains(found["/dev"], f"context={SHARED}", "super options of /dev")
    for where in ("/mnt/b", "/proc"):
        check("context=" not in found[where], f"{where} got the label: {found[where]}")
    t.teca("exec", container, "/bin/touch", "/mnt/a/file", expect=0)
    eq(os.getxattr(f"/proc/{pid}/root/mnt/a/file", "security.selinux").rstrip(b"\0"),
       SHARED.encode(), "the label of a new file")


@test
def the_label_may_be_that_of_the_root_of_a_mount_only(t):
    enforce_policy(t)
    config = with_mount(minimal("/payload", "catch", "15"), "/mnt/a", "tmpfs")
    config["linux"]["mountLabel"] = SHARED
    config["annotations"] = {"run.oci.mount_context_type": "rootcontext"}
    _, pid = t.sleeper(config)
    with open(f"/proc/{pid}/mountinfo", encoding="utf-8") as f:
        found = {m["at"]: m["super"] for m in mounts_of(f.read())}
    contains(found["/mnt/a"], f"rootcontext={SHARED}", "super options of the tmpfs")
    eq(os.getxattr(f"/proc/{pid}/root/mnt/a", "security.selinux").rstrip(b"\0"), SHARED.encode(), "the label of its root")


@test
def a_mount_label_that_the_policy_does_not_know_is_refused(t):
    enforce_policy(t)
    config = with_mount(minimal(), "/mnt/a", "tmpfs")
    config["linux"]["mountLabel"] = "teca_u:host_r:nobody_t"
    t.refused(config, "/mounts/", "Invalid argument")


@test(seconds=400)
def a_restored_mount_has_the_label_that_the_flag_names(t):
    enforce_policy(t)
    needs_criu(t)
    config, file = counting(t)
    config = with_mount(config, "/mnt/a", "tmpfs")
    config["linux"]["mountLabel"] = SHARED
    container, where = start(t, config)
    wait_until(lambda: count_of(file) > 2, "it counts", 20)
    for flags, label in (([], SHARED), (["--lsm-mount-context", DATA_LABEL], DATA_LABEL)):
        dump(t, container, images=label, expect=0)
        counted = count_of(file)
        t.teca("delete", "--force", container, expect=0)
        restore(t, container, where, "-d", *flags, images=label, expect=0)
        goes_on_from(file, counted, f"with {flags}")
        with open(f"/proc/{t.pid(container)}/mountinfo", encoding="utf-8") as f:
            found = {m["at"]: m["super"] for m in mounts_of(f.read())}
        contains(found["/mnt/a"], f"context={label}", f"super options of the tmpfs with {flags}")
