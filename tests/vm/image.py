# SPDX-License-Identifier: Apache-2.0
"""The parts of the test VM that are made once: a stock Debian kernel and an initramfs.

The kernel package is downloaded by apt, which verifies it, and unpacked, not installed. Everything
lies in a cache (TECA_VM_CACHE, default /var/cache/teca-tests/vm):

  kernel-PACKAGE_VERSION_ARCH/vmlinux             the bzImage's payload: QEMU enters it by PVH
  kernel-PACKAGE_VERSION_ARCH/lib/modules/RELEASE with depmod's indexes
  initramfs-HASH.cpio                           HASH: of the init program, its source, the modules

A part is made in a directory of its own beside them and renamed when it is complete, under a lock:
an interrupted build leaves nothing that counts, and two builds at once do not meet.
"""
import contextlib
import fcntl
import glob
import gzip
import hashlib
import lzma
import os
import shutil
import struct
import subprocess
import tempfile
import time

HERE = os.path.dirname(os.path.abspath(__file__))
CACHE = os.environ.get("TECA_VM_CACHE") or "/var/cache/teca-tests/vm"
SERIES = ("6.12", "6.1")
# What it takes to reach the host's files and to talk; the rest is loaded from there.
MODULES = ("virtio_pci", "virtio_console", "virtiofs", "9p", "9pnet_virtio", "overlay")
ASK_SECONDS = 24 * 3600
KEEP_SECONDS = 7 * 24 * 3600


class Trouble(Exception):
    """What went wrong, in one sentence."""


def call(*command, cwd=None, data=None):
    """stdout of a program that must succeed."""
    try:
        done = subprocess.run(command, cwd=cwd, input=data, stdout=subprocess.PIPE,
                              stderr=subprocess.PIPE, check=False)
    except OSError as e:
        raise Trouble(f"cannot start {command[0]}: {e.strerror}; "
                      "scripts/install-deps.sh vm installs what the VM needs")
    if done.returncode:
        said = done.stderr.decode(errors="replace").strip().splitlines()
        errors = [line for line in said if "error" in line.lower() or line.startswith("E: ")]
        raise Trouble(f"{' '.join(command[:4])}: exit status {done.returncode}"
                      + "".join(f": {line}" for line in (errors or said[-1:])[:1]))
    return done.stdout


# ---- which package ------------------------------------------------------------------------------

def meta_package(series):
    return "linux-image-amd64" if series == "6.1" else f"linux-image-{series}-amd64"


def ask_apt(series):
    """(package, file name) of the series' newest kernel as apt's lists say, or None."""
    depends = call("apt-cache", "depends", "--important", meta_package(series)).decode()
    names = [line.split()[-1] for line in depends.splitlines()
             if line.strip().startswith("Depends: linux-image-")]
    if not names:
        return None
    uris = call("apt-get", "download", "--print-uris", names[0]).decode().split()
    return names[0], uris[1]


def find_package(series):
    """The same; without lists, as on a fresh machine, apt is told to fetch them."""
    for last in (False, True):
        try:
            found = ask_apt(series)
        except Trouble:
            if last:
                raise
            found = None
        if found:
            return found
        if not last:
            call("apt-get", "-q", "-o", "Acquire::Retries=3", "update")
    raise Trouble(f"apt knows no package {meta_package(series)}")


# ---- the kernel ---------------------------------------------------------------------------------

def payload_of(image):
    """The ELF file inside a bzImage (Documentation/arch/x86/boot.rst, "payload_offset")."""
    if image[0x202:0x206] != b"HdrS":
        raise Trouble("the kernel package holds no bzImage")
    start = (image[0x1f1] + 1) * 512
    offset, length = struct.unpack_from("<II", image, 0x248)
    packed = image[start + offset:start + offset + length]
    if packed.startswith(b"\x28\xb5\x2f\xfd"):
        # The size that the kernel's build appends is no frame: zstd would complain.
        return call("zstd", "-dcq", data=packed[:-4])
    if packed.startswith(b"\xfd7zXZ"):
        return lzma.LZMADecompressor().decompress(packed)
    if packed.startswith(b"\x1f\x8b"):
        return gzip.decompress(packed)
    raise Trouble("the kernel's payload is packed in a way that is not known here")


def write(where, data, mode=0o644):
    with open(where, "wb") as f:
        f.write(data)
    os.chmod(where, mode)


def unpack_kernel(package, where):
    call("apt-get", "-q", "-o", "Acquire::Retries=3", "-o", "APT::Sandbox::User=root", "download",
         package, cwd=where)
    (deb,) = glob.glob(os.path.join(where, "*.deb"))
    call("dpkg-deb", "-x", deb, where)
    os.unlink(deb)
    (boot,) = glob.glob(os.path.join(where, "boot", "vmlinuz-*"))
    with open(boot, "rb") as f:
        write(os.path.join(where, "vmlinux"), payload_of(f.read()))
    shutil.rmtree(os.path.join(where, "usr"), ignore_errors=True)
    shutil.rmtree(os.path.join(where, "boot"))
    call("depmod", "-b", where, os.path.basename(modules_of(where)))


def modules_of(kernel):
    (found,) = glob.glob(os.path.join(kernel, "lib", "modules", "*"))
    return found


# ---- the initramfs ------------------------------------------------------------------------------

def module_files(modules):
    """The files of MODULES and of what they need, in the order in which they must be loaded."""
    needs = {}
    with open(os.path.join(modules, "modules.dep"), encoding="ascii") as f:
        for line in f:
            file, _, rest = line.partition(":")
            needs[file] = rest.split()
    by_name = {os.path.basename(f).split(".ko")[0].replace("-", "_"): f for f in needs}
    order = []
    for name in MODULES:  # what is not in modules.dep is built in
        file = by_name.get(name)
        for wanted in reversed(needs[file]) if file else ():
            if wanted not in order:
                order.append(wanted)
        if file and file not in order:
            order.append(file)
    return order


def read_module(where):
    with open(where, "rb") as f:
        data = f.read()
    return lzma.decompress(data) if where.endswith(".xz") else data


def cpio(entries):
    """A cpio archive, "newc": (name, mode, content). Times and owners are 0: always the same."""
    out = bytearray()
    for number, (name, mode, data) in enumerate([*entries, ("TRAILER!!!", 0, b"")], 1):
        fields = (number, mode, 0, 0, 1, 0, len(data), 0, 0, 0, 0, len(name) + 1, 0)
        out += b"070701" + b"".join(b"%08X" % field for field in fields)
        out += name.encode() + b"\0"
        out += b"\0" * (-len(out) % 4)
        out += data
        out += b"\0" * (-len(out) % 4)
    return bytes(out)


def build_init(where):
    call("cc", "-std=gnu17", "-D_GNU_SOURCE", "-O2", "-static", "-Wall", "-Wextra", "-Werror", "-s",
         "-o", where, os.path.join(HERE, "init.c"))


def initramfs_of(work, modules):
    init = os.path.join(work, "init")
    build_init(init)
    entries = [(name, 0o040755, b"") for name in
               ("dev", "proc", "sys", "host", "rw", "new", "modules")]
    with open(init, "rb") as f:
        entries.append(("init", 0o100755, f.read()))
    for number, file in enumerate(module_files(modules)):
        data = read_module(os.path.join(modules, file))
        entries.append((f"modules/{number:02}", 0o100644, data))
    return cpio(entries)


# ---- the cache ----------------------------------------------------------------------------------

@contextlib.contextmanager
def locked():
    os.makedirs(CACHE, exist_ok=True)
    with open(os.path.join(CACHE, "lock"), "w", encoding="ascii") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        for old in glob.glob(os.path.join(CACHE, ".new-*")):
            if os.path.islink(old):
                os.unlink(old)
            else:
                shutil.rmtree(old, ignore_errors=True)
        yield


def prune():
    """What no VM has used for a while: kernels with a successor, initramfs of other sources."""
    linked = {os.path.realpath(os.path.join(CACHE, series)) for series in SERIES}
    for part in glob.glob(os.path.join(CACHE, "kernel-*")) + \
            glob.glob(os.path.join(CACHE, "initramfs-*")):
        if part in linked or time.time() - os.stat(part).st_mtime < KEEP_SECONDS:
            continue
        if os.path.isdir(part):
            shutil.rmtree(part, ignore_errors=True)
        else:
            os.unlink(part)


def make_kernel(series):
    """
    Asks apt once a day: the link to the series' newest kernel is as old as the last answer. Where
    apt cannot answer any more (no network), the kernel of the last answer serves.
    """
    link = os.path.join(CACHE, series)
    known = os.path.exists(link)
    if known and time.time() - os.lstat(link).st_mtime < ASK_SECONDS:
        return os.path.realpath(link)
    try:
        package, deb = find_package(series)
    except Trouble:
        if known:
            return os.path.realpath(link)
        raise
    name = "kernel-" + deb.removesuffix(".deb")
    kernel = os.path.join(CACHE, name)
    if not os.path.isdir(kernel):
        work = tempfile.mkdtemp(prefix=".new-", dir=CACHE)
        os.chmod(work, 0o755)
        unpack_kernel(package, work)
        os.rename(work, kernel)
    new = os.path.join(CACHE, ".new-link")
    os.symlink(name, new)
    os.rename(new, link)
    return kernel


def make_initramfs(modules):
    work = tempfile.mkdtemp(prefix=".new-", dir=CACHE)
    source = hashlib.sha256(modules.encode())
    for name in ("init.c", "image.py"):
        with open(os.path.join(HERE, name), "rb") as f:
            source.update(hashlib.sha256(f.read()).digest())
    where = os.path.join(CACHE, f"initramfs-{source.hexdigest()[:24]}.cpio")
    if not os.path.exists(where):
        new = os.path.join(work, "cpio")
        write(new, initramfs_of(work, modules))
        os.rename(new, where)
    shutil.rmtree(work)
    return where


def get(series):
    """(vmlinux, initramfs, directory of the modules) of a kernel; made if need be."""
    with locked():
        kernel = make_kernel(series)
        modules = modules_of(kernel)
        initramfs = make_initramfs(modules)
        os.utime(kernel)
        os.utime(initramfs)
        prune()
        return os.path.join(kernel, "vmlinux"), initramfs, modules
