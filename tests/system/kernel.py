# SPDX-License-Identifier: Apache-2.0
"""A stock Debian kernel for machines, and a cache in which teca has prepared it.

The package is downloaded by apt, which verifies it, and unpacked, not installed. Both lie below
/var/cache/teca-tests: a test suite of a day does not fetch twice.
"""
import contextlib
import fcntl
import glob
import os
import shutil
import subprocess

from harness import Failure, allow

PLACE = "/var/cache/teca-tests/machine"
META = "linux-image-cloud-amd64"  # the smallest of Debian's


def _apt(*command, cwd=None):
    done = subprocess.run(command, cwd=cwd, stdout=subprocess.PIPE, stderr=subprocess.PIPE,
                          check=False, timeout=300)
    if done.returncode:
        raise Failure(f"{' '.join(command)}: {done.stderr.decode(errors='replace').strip()[-300:]}")
    return done.stdout.decode()


def _package():
    """The name of the newest one; on a fresh machine apt has to fetch its lists first."""
    for last in (False, True):
        with contextlib.suppress(Failure):
            found = [line.split()[-1] for line in
                     _apt("apt-cache", "depends", "--important", META).splitlines()
                     if line.strip().startswith("Depends: linux-image-")]
            if found:
                return found[0]
        if not last:
            _apt("apt-get", "-q", "-o", "Acquire::Retries=3", "update")
    raise Failure(f"apt knows no package {META}")


def _unpack(where):
    work = where + ".new"
    shutil.rmtree(work, ignore_errors=True)
    os.makedirs(work)
    _apt("apt-get", "-q", "-o", "Acquire::Retries=3", "-o", "APT::Sandbox::User=root", "download",
         _package(), cwd=work)
    (deb,) = glob.glob(os.path.join(work, "*.deb"))
    _apt("dpkg-deb", "-x", deb, work)
    os.unlink(deb)
    os.rename(work, where)


def get():
    """(bzImage, directory of its modules)"""
    os.makedirs(PLACE, exist_ok=True)
    where = os.path.join(PLACE, "kernel")
    with open(os.path.join(PLACE, "lock"), "w", encoding="ascii") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        if not os.path.isdir(where):
            _unpack(where)
    (image,) = glob.glob(os.path.join(where, "boot", "vmlinuz-*"))
    (modules,) = glob.glob(os.path.join(where, "lib", "modules", "*"))
    return image, modules


def prepared_by(binary):
    """What the environment has to have for a teca that finds the kernel prepared."""
    image, modules = get()
    more = {"TECA_CACHE": os.environ.get("TECA_CACHE", os.path.join(PLACE, "cache"))}
    done = subprocess.run([binary, "vm", "prepare", "--kernel", image, "--modules", modules],
                          env=os.environ | more, capture_output=True, check=False,
                          timeout=allow(120))
    if done.returncode:
        raise Failure(f"vm prepare: {done.stderr.decode(errors='replace').strip()}")
    return more


def prepared(t):
    """The environment of a teca that finds the kernel prepared."""
    return os.environ | prepared_by(t.binary)


def own_cache(t):
    """... in a cache of the test's own, which has that kernel, and images that nobody else sees."""
    env = prepared(t)
    shared, cache = env["TECA_CACHE"], t.path("cache")
    if not os.path.isdir(cache):
        os.mkdir(cache)
        for entry in os.listdir(shared):
            if entry.startswith("kernel-"):
                os.symlink(os.path.join(shared, entry), os.path.join(cache, entry))
        os.symlink(os.readlink(os.path.join(shared, "default")), os.path.join(cache, "default"))
    return env | {"TECA_CACHE": cache}
