# SPDX-License-Identifier: Apache-2.0
"""
vm boot: "kernels" of a few instructions on any KVM, Debian's own where KVM runs it (the test VM with
tests/vm/suite kvm: /dev/kvm of an emulated AMD processor).
"""
import contextlib
import fcntl
import hashlib
import glob
import json
import os
import re
import signal
import struct
import subprocess
import sys
from importlib.machinery import SourceFileLoader

from harness import (TREE, check, contains, eq, mapping_kib, mount, private_mounts, test,
                     wait_until)

LOAD = 2 << 20
HEADS = 0x1000
POWER_OFF = b"\x66\xba\x00\x06\xb0\x34\xee\xf4"  # mov $0x600, %dx; mov $0x34, %al; out; hlt
RESET = b"\xb0\xfe\xe6\x64\xf4"                  # mov $0xfe, %al; out %al, $0x64; hlt
PANIC = b"\x66\xba\x05\x05\xb0\x01\xee\xf4"  # mov $0x505, %dx; mov $1, %al; out; hlt
FAULT = b"\x0f\x0b"                              # ud2, and nobody handles it
SPIN = b"\xeb\xfe"


def elf(code, memory=None):
    """An x86-64 ELF file with one segment, which begins with code."""
    head = struct.pack("<4sBBB9xHHIQQQIHHHHHH", b"\x7fELF", 2, 1, 1, 2, 62, 1, LOAD, 64, 0, 0, 64,
                       56, 1, 0, 0, 0)
    segment = struct.pack("<IIQQQQQQ", 1, 5, HEADS, 0, LOAD, len(code), memory or len(code), HEADS)
    return (head + segment).ljust(HEADS, b"\0") + code


def saying(text, then):
    """cld; mov $0x3f8, %edx; lea text(%rip), %rsi; mov $length, %ecx; rep outsb; then"""
    say = b"\xfc\xba\xf8\x03\0\0\x48\x8d\x35" + struct.pack("<I", 7 + len(then))
    return say + b"\xb9" + struct.pack("<I", len(text)) + b"\xf3\x6e" + then + text


def boot(t, code, *flags, **more):
    if not os.access("/dev/kvm", os.R_OK | os.W_OK):
        t.skip("there is no /dev/kvm that can be opened here")
    return t.teca("vm", "boot", "--kernel", t.file("kernel", elf(code)), *flags, **more)


# ---- on any KVM -------------------------------------------------------------------------------

@test
def the_console_is_stdout_and_the_end_is_the_status(t):
    done = boot(t, saying(b"hello\n", POWER_OFF), expect=0)
    eq((done.out, done.error), (b"hello\n", ""), "a guest that switches off")
    done = boot(t, saying(b"again\n", RESET), expect=3)
    eq((done.out, done.error), (b"again\n", ""), "a guest that resets")
    done = boot(t, saying(b"[ 1.0] Kernel panic - not syncing: no \x1b[2J root\r\n-[ end\n", RESET),
                expect=4)
    eq(done.error, "teca: the guest ended by a panic: Kernel panic - not syncing: no ?[2J root\n",
       "a guest that panics")
    done = boot(t, saying(b"so\n", PANIC), expect=4)
    eq((done.out, done.error), (b"so\n", "teca: the guest ended by a panic: its kernel says so, and its "
       "console does not tell why\n"), "a guest that panics, and says it by pvpanic alone")
    done = boot(t, saying(b"oh\n", FAULT), expect=5)
    eq(done.out, b"oh\n", "what a guest says before a fault")
    eq(done.error, "teca: the machine ended by triple-fault: cpu 0 met a triple fault "
       "(`teca vm doctor` says what this host's KVM runs)\n", "a guest that faults")


@test
def the_exits_are_counted(t):
    done = boot(t, saying(b"x" * 100, POWER_OFF), "--stats", "--cpus", "4", expect=0)
    lines = dict(line.split() for line in done.error.splitlines())
    eq(lines["end"], "power-off", "the end")
    check(0 < int(lines["first-run-us"]) < 60_000_000, f"time to the first instruction: {lines}")
    check(0 < int(lines["first-run-cpu-us"]) < 60_000_000, f"... of the processor: {lines}")
    check(2 <= int(lines["io"]) <= 101, f"exits for 100 bytes and one: {lines}")
    check(int(lines["kvm-exits"]) >= int(lines["io"]), f"exits, as KVM counts them: {lines}")


@test
def the_monitor_needs_little_memory(t):
    """Above the guest's: 5 MiB is the bound of issue 6; bench/vm tells the number."""
    bench = SourceFileLoader("bench_vm", os.path.join(TREE, "bench", "vm")).load_module()
    boot(t, saying(b"on\n", POWER_OFF), expect=0)  # skips where there is no KVM
    with subprocess.Popen(t.argv("vm", "boot", "--kernel", t.file("kernel", elf(saying(b"on\n", SPIN))),
                                 "--memory", "300m"),
                          stdout=subprocess.PIPE, stderr=subprocess.PIPE) as process:
        eq(process.stdout.readline(), b"on\n", "the console")
        above = bench.above_guest_mib(process.pid, 300)
        process.terminate()
        process.communicate(timeout=60)
    check(0 < above <= 5, f"{above} MiB above the guest's memory")


@test
def a_signal_stops_the_guest(t):
    for number in (signal.SIGINT, signal.SIGTERM):
        boot(t, saying(b"on\n", POWER_OFF), expect=0)  # skips where there is no KVM
        with subprocess.Popen(t.argv("vm", "boot", "--kernel",
                                     t.file("kernel", elf(saying(b"on\n", SPIN)))),
                              stdout=subprocess.PIPE, stderr=subprocess.PIPE) as process:
            eq(process.stdout.readline(), b"on\n", "the console")
            process.send_signal(number)
            _, error = process.communicate(timeout=60)
            eq((process.returncode, error), (128 + number, b""), "the end by a signal")


@test
def a_file_that_is_cut_under_a_device_is_told(t):
    """Whoever reads for the guest then gets SIGBUS; here it comes from outside, even where the caller has blocked it."""
    boot(t, saying(b"on\n", POWER_OFF), expect=0)  # skips where there is no KVM
    signal.pthread_sigmask(signal.SIG_BLOCK, [signal.SIGBUS])
    try:
        with subprocess.Popen(t.argv("vm", "boot", "--kernel",
                                     t.file("kernel", elf(saying(b"on\n", SPIN)))),
                              stdout=subprocess.PIPE, stderr=subprocess.PIPE) as process:
            eq(process.stdout.readline(), b"on\n", "the console")
            process.send_signal(signal.SIGBUS)
            _, error = process.communicate(timeout=60)
    finally:
        signal.pthread_sigmask(signal.SIG_UNBLOCK, [signal.SIGBUS])
    eq((process.returncode, error), (5, b"teca: the machine ended by fault: a file that the machine has as memory was "
                                        b"cut, or cannot be read\n"), "the end")


@test
def a_reader_that_stops_does_not_stop_the_guest(t):
    """More than the pipe, the piece in hand and the ring hold: it ends all the same, and says it."""
    text = b"0123456789abcdef" * (160 * 64)
    boot(t, saying(b"", POWER_OFF), expect=0)  # skips where there is no KVM
    with subprocess.Popen(t.argv("vm", "boot", "--kernel",
                                 t.file("kernel", elf(saying(text, POWER_OFF))), "--stats"),
                          stdout=subprocess.PIPE, stderr=subprocess.PIPE) as process:
        fcntl.fcntl(process.stdout, fcntl.F_SETPIPE_SZ, 4096)
        eq(os.read(process.stdout.fileno(), 1), b"0", "the beginning")
        wait_until(lambda: threads(process.pid) == 1, "the machine's thread has ended", 60)
        out, error = process.communicate(timeout=60)
    eq(process.returncode, 0, "status")
    check(out.endswith(text[-65536:]), "the end of what was said is there")
    check(len(out) < len(text), "more was kept than there is room for")
    contains(error.decode(), "its oldest bytes are lost", "stderr")


def threads(pid):
    """Those of teca: KVM has one of its own in the process (kvm-nx-lpage-recovery, Linux 6.11)."""
    names = []
    for task in glob.glob(f"/proc/{pid}/task/*/comm"):
        with contextlib.suppress(FileNotFoundError, ProcessLookupError):  # it has ended meanwhile
            with open(task, encoding="ascii") as f:
                names.append(f.read())
    return sum(not name.startswith("kvm-") for name in names)


@test
def what_cannot_boot_is_told_in_one_sentence(t):
    def said(sentence, *flags):
        done = t.teca("vm", "boot", *flags, expect=1)
        eq((done.text, done.error), ("", f"teca: {sentence}\n"), " ".join(flags))

    good = t.file("good", elf(POWER_OFF))
    big = t.file("big", elf(POWER_OFF, 600 << 20))
    text = t.file("text", "no kernel\n" * 100)
    cut = t.file("cut", elf(POWER_OFF)[:-1])
    empty = t.file("empty", "")
    said("cannot open the kernel '/nowhere': No such file or directory", "--kernel", "/nowhere")
    said("invalid value \"some\" for --cpus", "--kernel", good, "--cpus", "some")
    said("a machine cannot have 0 cpus: Invalid argument", "--kernel", good, "--cpus", "0")
    said("invalid value \"-1\" for --memory", "--kernel", good, "--memory=-1")
    said("a machine cannot have 5 bytes of memory: Invalid argument", "--kernel", good, "--memory",
         "5")
    said("cannot open the disk '/nowhere': No such file or directory", "--kernel", good, "--disk",
         "/nowhere:ro")
    said("a machine cannot have 3 disks", "--kernel", good,
         *["--disk", empty] * 3)
    if not os.access("/dev/kvm", os.R_OK | os.W_OK):
        return
    said(f"the image '{empty}' is no regular file with contents", "--kernel", good, "--image", empty)
    said("the image '/dev/null' is no regular file with contents", "--kernel", good, "--image",
         "/dev/null")
    said("cannot open the image '/nowhere': No such file or directory", "--kernel", good, "--image",
         "/nowhere")
    said("disk 0 is smaller than a sector", "--kernel", good, "--disk", empty)
    said(f"{text}: the kernel is neither a bzImage nor an ELF file", "--kernel", text)
    said(f"{cut}: a segment of the kernel is longer than its file", "--kernel", cut)
    said(f"{big}: the kernel wants 601 MiB of memory at 2 MiB, the machine has 512 MiB "
         "(--memory gives it more)", "--kernel", big)
    said(f"{good}: the initrd is empty", "--kernel", good, "--initrd", empty)
    done = t.teca("vm", "boot", "--kernel", good, "--append", "x" * 3000, expect=1)
    check(re.fullmatch(r"teca: \S+: a command line of 3\d\d\d bytes is longer than the kernel's "
                       r"2047\n", done.error), f"a long command line: {done.error}")


@test
def without_kvm_the_doctor_is_named(t):
    def no_kvm():
        private_mounts()
        mount("tmpfs", "/dev", "tmpfs")
        os.mknod("/dev/null", 0o020666, os.makedev(1, 3))

    done = t.teca("vm", "boot", "--kernel", t.file("good", elf(POWER_OFF)), expect=1,
                  preexec_fn=no_kvm)
    eq(done.error, "teca: cannot open '/dev/kvm': No such file or directory "
       "(`teca vm doctor` says what is missing)\n", "stderr")


# ---- Debian's kernel --------------------------------------------------------------------------

INIT = """#!/bin/sh
mount -t proc proc /proc
mount -t sysfs sysfs /sys
mount -t devtmpfs dev /dev
for module in /modules/*; do insmod $module; done
echo "version: $(cat /proc/version)"
echo "cpus: $(nproc)"
echo "memory: $(grep MemTotal: /proc/meminfo)"
echo "disk: $(dd if=/dev/vda bs=4096 count=1 2>/dev/null)"
echo "read-only: $(cat /sys/block/vda/ro 2>/dev/null)"
dd if=/proc/version of=/dev/vdb bs=512 seek=3 conv=fsync 2>/dev/null
case $(cat /proc/cmdline) in
*end=panic*) exit 7 ;;
*end=image*)
    mkdir /mnt
    mount -t erofs -o ro,dax=always /dev/pmem0 /mnt
    echo "image: $(md5sum </mnt/big) $(cat /mnt/dir/small)"
    echo "options: $(grep /mnt /proc/mounts)"
    while :; do sleep 100; done ;;
*end=free*)
    dd if=/dev/zero of=/big bs=1M count=128 2>/dev/null
    echo "state: full"
    rm /big
    echo "state: free"
    while :; do sleep 100; done ;;
esac
poweroff -f
"""


def stock_kernel(t):
    """Debian's kernel (ELF) and its modules, which the test VM itself runs."""
    if not json.loads(t.teca("vm", "doctor", "--format", "json", expect=0).text)["runsKernels"]:
        t.skip("this host's KVM runs no stock kernel; vm/kvm runs it")
    cache = os.environ.get("TECA_VM_CACHE") or "/var/cache/teca-tests/vm"
    kernel = os.path.realpath(os.path.join(cache, "6.12"))
    (modules,) = glob.glob(os.path.join(kernel, "lib", "modules", "*"))
    return os.path.join(kernel, "vmlinux"), modules


def initrd(t, modules):
    sys.path.insert(0, os.path.join(TREE, "tests", "vm"))
    import image
    with open("/bin/busybox", "rb") as f:
        entries = [("bin/busybox", 0o100755, f.read())]
    names = "sh mount insmod cat nproc grep dd rm sleep mkdir md5sum poweroff".split()
    entries += [(f"bin/{name}", 0o120777, b"busybox") for name in names]
    image.MODULES = ("virtio_mmio", "virtio_blk", "virtio_balloon", "pvpanic_mmio", "virtio_pmem",
                     "nd_pmem", "crc32c_generic", "erofs")
    for number, file in enumerate(image.module_files(modules)):
        data = image.read_module(os.path.join(modules, file))
        entries.append((f"modules/{number:02}", 0o100644, data))
    entries.append(("init", 0o100755, INIT.encode()))
    folders = [(name, 0o040755, b"") for name in ("bin", "dev", "proc", "sys", "modules")]
    return t.file("initrd", image.cpio(folders + entries))


@test(seconds=15)
def debians_kernel_boots_with_two_cpus_and_disks(t):
    kernel, modules = stock_kernel(t)
    read_only = t.file("ro", b"on the disk".ljust(4096, b"\n"))
    writable = t.file("rw", b"\0" * 8192)
    done = t.teca("vm", "boot", "--kernel", kernel, "--initrd", initrd(t, modules), "--cpus", "2",
                  "--memory", "3200m", "--disk", f"{read_only}:ro", "--disk", writable, "--stats",
                  seconds=14, expect=0)
    contains(done.text, "Linux version 6.12", "the kernel's banner")
    lines = dict(line.split(": ", 1) for line in done.text.splitlines() if ": " in line)
    contains(lines["version"], os.path.basename(modules), "the guest's /proc/version")
    eq(lines["cpus"], "2", "cpus")
    check(int(lines["memory"].split()[1]) > 3 << 20, f"memory above the hole: {lines['memory']}")
    eq((lines["disk"], lines["read-only"]), ("on the disk", "1"), "the disk that may only be read")
    with open(writable, "rb") as f:
        eq(f.read()[1536:1556], lines["version"].encode()[:20], "what the guest wrote")
    contains(done.error, "end power-off\n", "the end")


@test(seconds=15)
def a_panic_of_debians_kernel_is_told(t):
    """At once: with panic=0 the kernel would stay as it is for ever."""
    kernel, modules = stock_kernel(t)
    done = t.teca("vm", "boot", "--kernel", kernel, "--initrd", initrd(t, modules), "--append",
                  "quiet end=panic panic=0", seconds=14, expect=4)
    contains(done.error, "teca: the guest ended by a panic: Kernel panic - not syncing: "
             "Attempted to kill init! exitcode=0x00000700\n", "stderr")
    contains(done.text, "exitcode=0x00000700", "the console")


def pss_mib(pid):
    with open(f"/proc/{pid}/smaps_rollup", encoding="ascii") as f:
        return next(int(line.split()[1]) for line in f if line.startswith("Pss:")) >> 10


@test(seconds=30)
def debians_kernel_gives_memory_back(t):
    """What the guest has freed the host has again: the free page reporting of the balloon."""
    kernel, modules = stock_kernel(t)
    with subprocess.Popen(t.argv("vm", "boot", "--kernel", kernel, "--initrd", initrd(t, modules),
                                 "--append", "quiet end=free", "--stats"),
                          stdout=subprocess.PIPE, stderr=subprocess.PIPE) as process:
        said, full = b"", 0
        while b"state: free" not in said:
            piece = process.stdout.readline()
            check(piece, f"the guest ended: {said}")
            said += piece
            if b"state: full" in piece:
                full = pss_mib(process.pid)
        check(full > 128, f"{full} MiB while the guest uses 128")
        wait_until(lambda: pss_mib(process.pid) < full - 100, "the memory comes back", 20)
        process.send_signal(signal.SIGTERM)
        _, error = process.communicate(timeout=100)
    eq(process.returncode, 143, f"exit status; stderr: {error}")
    lines = dict(line.split() for line in error.decode().splitlines())
    check(int(lines["balloon-kib"]) > 100 << 10, f"what the balloon says: {lines}")
    # Of accesses to devices a quiet boot has 1,300, of page faults 50, and one more for each 2 MiB that it takes again.
    check(int(lines["io"]) + int(lines["mmio"]) < 3000, f"exits for devices: {lines}")
    check(int(lines["kvm-pf_fixed"]) < 1000, f"page faults: {lines}")


@test(seconds=60)
def debians_kernel_reads_an_image_in_its_place(t):
    """erofs with DAX on pmem; that machines share its pages shows in test_vm_isolation.py."""
    kernel, modules = stock_kernel(t)
    big = os.urandom(8 << 20)
    t.file("tree/big", big)
    t.file("tree/dir/small", "as it was\n")
    image = t.path("an.erofs")
    subprocess.run(["mkfs.erofs", "--quiet", image, t.path("tree")], check=True,
                   stdout=subprocess.DEVNULL)
    command = t.argv("vm", "boot", "--kernel", kernel, "--initrd", initrd(t, modules), "--append",
                     "quiet end=image", "--memory", "256m", "--image", image)
    process = subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE)
    try:
        said = {}
        while "options" not in said:
            line = process.stdout.readline().decode()
            check(line, f"the guest ended: {said}")
            name, _, text = line.partition(": ")
            said[name] = text.strip()
        eq(said["image"], f"{hashlib.md5(big).hexdigest()}  - as it was", "what a guest read")
        contains(said["options"], "dax=always", "how it is mounted")
        rss, _ = mapping_kib(process.pid, "an.erofs")
        check(rss >= 8 << 10, f"{rss} KiB of the image are mapped")
    finally:
        process.terminate()
        process.communicate(timeout=100)
