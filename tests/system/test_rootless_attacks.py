# SPDX-License-Identifier: Apache-2.0
"""
The attacks of test_hardening on an ordinary user's runtime: it has no CAP_SYS_ADMIN, so that it clones
no mount of its binary, opens the root and the sources of binds inside of the user namespace, and writes
some files of /proc by another lane. The user's own id is root of the container, so that whatever leads
outside leads to the user's files.
"""
import contextlib
import os
import shutil
import subprocess

import test_hardening as attacks
from harness import cases, check, eq, test
from test_namespaces import with_maps
from test_rootless import OWN, UID, User


def give(root):
    """Its directories, so that the user's container can make mount points; the files are shared."""
    for where, _, _ in os.walk(root):
        os.chown(where, UID, UID)


def as_user(t):
    """The test's calls, and the bundles and roots it makes, become those of an ordinary user."""
    user = User(t)
    teca, bundle = t.teca, t.bundle

    def users_bundle(config, rootfs=None):
        if rootfs:
            give(rootfs)
        return bundle(with_maps(config, OWN), rootfs)

    t.teca = lambda *args, **more: teca(*args, **(user.options() | more))
    t.bundle = users_bundle
    return user


def overwritten(t, user, binary, enter):
    """Whose binary the user may write to, and so may the container's root; gives what it achieved."""
    t.binary = shutil.copy(binary, os.path.join(user.home, "own"))
    os.chown(t.binary, UID, UID)
    container, pid, words = attacks.attack(
        t, attacks.hostile("/attacker", "overwrite", "/attacker"),
        attacks.root_with(t, attacks.SCRIPT))
    for _ in range(40):
        enter(container, pid)
    got = attacks.achieved(t, container, words)
    check(got["seen"] > 0, f"the attacker saw no process come in: nothing was tested: {got}")
    return got


@test(seconds=120)
def the_users_own_binary_is_out_of_reach_of_the_container(t):
    """CVE-2019-5736: what enters is a sealed copy in memory, for the user clones no mount."""
    user, binary = as_user(t), t.binary

    def enter(container, _):
        t.teca("exec", container, "/evil")
        t.teca("exec", container, "/proc/self/exe")

    got = overwritten(t, user, binary, enter)
    check(got["refused"] > 0, f"it was never tried: {got}")
    eq(got["written"], 0, "times the runtime's binary was written to")
    with open(t.binary, "rb") as own, open(binary, "rb") as original:
        check(own.read() == original.read(), "the binary has changed")


@test
def the_users_own_careless_runtime_is_overwritten(t):
    user, binary = as_user(t), t.binary
    careless = shutil.copy(attacks.attacker(t), os.path.join(user.home, "careless"))
    os.chown(careless, UID, UID)

    def enter(_, pid):
        with contextlib.suppress(OSError):  # ETXTBSY: it is being overwritten
            subprocess.run([careless, "enter", str(pid), "/evil"], check=False, user=UID, group=UID,
                           extra_groups=[], stderr=subprocess.DEVNULL)

    check(overwritten(t, user, binary, enter)["written"] > 0, "the attack does not work at all")


def peeks(t):
    attacks.nobody_takes_hold_of_a_process_that_joins(t, "exec")


def fds(verb):
    return lambda t: attacks.no_fd_of_the_caller_reaches_the_program(t, verb)


def directories(verb):
    return lambda t: attacks.no_working_directory_lies_outside(t, verb)


@cases(peek=peeks, fds_run=fds("run"), fds_exec=fds("exec"), cwd_run=directories("run"),
       cwd_exec=directories("exec"), console=attacks.a_swapped_console_leads_nowhere,
       root=attacks.a_root_that_is_exchanged_for_another_is_never_half_of_each)
def an_attack_fails_on_an_ordinary_users_runtime_too(t, attack):
    as_user(t)
    attack(t)


# One of each step. A device is none of them: it is the host's, bound from the same path there.
RACES = {name: attacks.RACES[name] for name in (
    "mount_target", "mount_target_by_magic_link", "bind_target", "masked_path", "readonly_path",
    "null", "cwd", "proc")}


@cases(**RACES)
def a_swapped_root_leads_nowhere(t, honest, directory, way, change):
    as_user(t)
    attacks.a_swapped_root_leads_nowhere(t, honest, directory, way, change)
