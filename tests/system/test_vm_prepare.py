# SPDX-License-Identifier: Apache-2.0
"""vm prepare: what a machine boots, made of a stock kernel once."""
import glob
import json
import os
import shutil
import struct
import subprocess

import kernel
from harness import Failure, check, contains, eq, lacks, test, wait_until


def prepare(t, image, modules, expect=0):
    done = t.teca("vm", "prepare", "--format", "json", "--kernel", image, "--modules", modules,
                  env=os.environ | {"TECA_CACHE": t.path("cache")}, seconds=120, expect=expect,
                  preexec_fn=lambda: os.umask(0o77))
    return json.loads(done.text) if expect == 0 else done.error


def archive(path):
    """{name: (mode, content)} and the order, of a "newc" archive."""
    with open(path, "rb") as f:
        data = f.read()
    at, found = 0, {}
    while True:
        eq(data[at:at + 6], b"070701", "magic")
        fields = [int(data[at + 6 + 8 * i:at + 14 + 8 * i], 16) for i in range(13)]
        name = data[at + 110:at + 110 + fields[11] - 1].decode()
        at += (110 + fields[11] + 3) // 4 * 4
        if name == "TRAILER!!!":
            return found
        found[name] = (fields[1], data[at:at + fields[6]])
        at += (fields[6] + 3) // 4 * 4


@test(seconds=300)
def a_stock_kernel_is_made_ready_once(t):
    image, modules = kernel.get()
    first = prepare(t, image, modules)
    eq(first["release"], os.path.basename(modules), "release")
    eq((first["madeKernel"], first["madeInitramfs"]), (True, True), "what was made")
    for file in ("kernel", "initramfs"):  # whatever the caller's umask, for an emulator that is nobody
        eq(os.stat(first[file]).st_mode & 0o777, 0o644, f"mode of the {file}")
    with open(first["kernel"], "rb") as f:
        head = f.read(64)
    eq(head[:4], b"\x7fELF", "the kernel")
    eq(struct.unpack_from("<H", head, 18)[0], 62, "its machine")

    files = archive(first["initramfs"])
    mode, agent = files["teca-agent"]
    eq(mode, 0o100755, "the agent's mode")
    with open(t.binary, "rb") as f:
        program = f.read()
    # The ELF header tells of no sections, and what only they have is left out.
    check(program[:40] == agent[:40] and program[64:len(agent)] == agent[64:],
          "the agent is not this program")
    eq((agent[40:48], agent[60:64]), (b"\0" * 8, b"\0" * 4), "sections of the agent")
    copy = t.file("agent", agent)
    os.chmod(copy, 0o755)
    eq(subprocess.run([copy, "--version"], capture_output=True, check=False).stdout,
       t.teca("--version", expect=0).out, "what the agent says it is")
    disk = os.stat(first["kernel"])
    check(disk.st_blocks * 512 < disk.st_size, "the kernel's zeroes are written out")
    order = [name.split("-", 1)[1] for name in sorted(files) if name.startswith("modules/")]
    for early, late in (("virtio", "virtio_mmio"), ("virtio_ring", "virtio_mmio"),
                        ("fuse", "virtiofs"), ("virtio", "virtio_console")):
        check(order.index(early) < order.index(late), f"{early} comes behind {late}: {order}")

    again = prepare(t, image, modules)
    eq((again["madeKernel"], again["madeInitramfs"]), (False, False), "what was made again")
    eq(again["initramfs"], first["initramfs"], "initramfs")
    os.unlink(first["initramfs"])
    again = prepare(t, image, modules)
    eq((again["madeKernel"], again["madeInitramfs"]), (False, True), "after a loss")
    eq(glob.glob(t.path("cache", ".*")), [], "what lies about in the cache")


@test(seconds=120)
def a_kernel_that_cannot_be_used_is_named_and_leaves_nothing(t):
    image, modules = kernel.get()
    with open(image, "rb") as f:
        data = f.read()
    bad = t.file("cut", data[:len(data) // 2])
    contains(prepare(t, bad, modules, expect=1), "cut short", "a torn one")
    bad = t.file("text", "#!/bin/sh\n" * 100)
    said = prepare(t, bad, modules, expect=1)
    contains(said, bad, "which")
    contains(said, "neither a bzImage nor an ELF file", "a text")
    contains(prepare(t, t.path("absent"), modules, expect=1), "No such file", "an absent one")
    eq(glob.glob(t.path("cache", "kernel-*")) + glob.glob(t.path("cache", ".new*")), [], "left")


def kill_amidst(t, image, modules):
    """Whoever makes a kernel, while it lies half made: for some 30 ms, which a busy machine may be late for."""
    command = t.argv("vm", "prepare", "--kernel", image, "--modules", modules)
    for _ in range(100):
        process = subprocess.Popen(command, env=os.environ | {"TECA_CACHE": t.path("cache")}, stdout=subprocess.DEVNULL)
        wait_until(lambda: process.poll() is not None or glob.glob(t.path("cache", ".new*", "vmlinux")),
                   "a kernel is being made", 60)
        process.kill()
        process.wait()
        if glob.glob(t.path("cache", ".new*", "vmlinux")):
            return
        shutil.rmtree(t.path("cache"))
    raise Failure("nobody was met while making a kernel")


@test(seconds=120)
def who_is_killed_leaves_nothing_for_long(t):
    """... in the middle of a kernel: the next one takes its place."""
    image, modules = kernel.get()
    kill_amidst(t, image, modules)
    t.file("cache/.new/kept", "by whom?")
    made = prepare(t, image, modules)
    check(made["madeKernel"], "the kernel is said to have been there")
    entry = os.path.dirname(made["kernel"])
    eq(sorted(os.listdir(t.path("cache"))), sorted([os.path.basename(entry), "default", "lock"]), "the cache")
    eq(sorted(os.listdir(entry)), sorted([os.path.basename(made["initramfs"]), "release", "source", "vmlinux"]),
       "the kernel's directory")
    t.file(os.path.join(entry, ".new-4711"), "a piece of an initramfs")
    os.unlink(made["initramfs"])
    prepare(t, image, modules)
    check(not os.path.exists(os.path.join(entry, ".new-4711")), "what a killed one has left is still there")


@test(seconds=120)
def a_module_that_is_missing_is_named(t):
    image, modules = kernel.get()
    some = t.path("modules")
    os.mkdir(some)
    for name in ("modules.order", "modules.builtin"):
        shutil.copy(os.path.join(modules, name), some)
    contains(prepare(t, image, some, expect=1), "listed but not there", "without files")
    with open(os.path.join(some, "modules.order"), encoding="ascii") as f:
        lines = [line for line in f if "virtiofs" not in line]
    os.symlink(os.path.join(modules, "kernel"), os.path.join(some, "kernel"))
    with open(os.path.join(some, "modules.order"), "w", encoding="ascii") as f:
        f.writelines(lines)
    said = prepare(t, image, some, expect=1)
    contains(said, "no module 'virtiofs'", "without a line")
    said = prepare(t, image, t.path("nowhere"), expect=1)
    contains(said, "nowhere", "without a directory")
    lacks(said, "\n\n", "one sentence")


@test
def the_agent_is_no_verb(t):
    done = t.call([t.binary, "teca-agent"])
    eq(done.status, 1, "as a word")
    contains(done.error, "unknown verb", "stderr")
    done = t.call(["teca-agent", "run"], executable=t.binary)
    eq(done.status, 1, "as a name")
    contains(done.error, "first process", "stderr")
