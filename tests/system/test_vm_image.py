# SPDX-License-Identifier: Apache-2.0
"""
The root filesystem of a machine as an image: built once, kept by what the tree is, mounted under an overlay. Emulated; on
our own monitor in test_vm_isolation.py. A boot takes seconds of a processor, so a test looks at many things in one.
"""
import fcntl
import glob
import json
import os
import shutil
import socket
import subprocess

import kernel
from harness import (Failure, check, contains, default, descendants_of, eq, lacks, row, test, wait_until,
                     with_mount)

SECONDS = 150
NOTE = "org.teca.rootfs"


def shell(text, note, readonly=False):
    config = default("/bin/sh", "-c", text)
    config["root"]["readonly"] = readonly
    config["process"]["terminal"] = False
    if note:
        config["annotations"] = {NOTE: note}
    return config


def emulated(t, config, *flags, **more):
    return t.run(config, "--isolation", "emulated", *flags, seconds=SECONDS, **more)


def images(t):
    return sorted(os.path.basename(path) for path in glob.glob(t.path("cache", "images", "*"))
                  if not path.endswith("/lock"))


def prepare_command(t, root):
    image, modules = kernel.get()
    return t.argv("vm", "prepare", "--format", "json", "--kernel", image, "--modules", modules,
                  "--image", root)


def make(t, root, env, expect=0):
    """The image alone, without a machine."""
    done = t.teca(command=prepare_command(t, root), env=env, seconds=120)
    eq(done.status, expect, f"exit status of vm prepare ({done.error!r})")
    return json.loads(done.text) if expect == 0 else done.error


@test(seconds=400)
def a_writable_root_is_an_image_under_memory(t):
    """Owners, times, links; what is written is gone, binds are shared, and the same tree is not built again."""
    env, root, volume = kernel.own_cache(t), t.own_root(shutil.copy2), t.path("volume")
    os.mkdir(volume)
    t.file(root + "/data", "as it was\n")
    os.chmod(root + "/data", 0o666)
    os.chown(root + "/data", 70000, 80000)
    os.utime(root + "/data", ns=(0, 981173106789000000))
    os.link(root + "/data", root + "/linked")
    os.chmod(root, 0o751)
    config = shell("stat -c '%u:%g %h %y' /data; stat -c %a /; cat /linked; echo new >/data; cat /linked /data; "
                   "echo x >/volume/x; grep -E ' / ' /proc/self/mountinfo; rm /linked; mkdir /made; ls /", "image")
    with_mount(config, "/volume", "bind", volume, "rbind", "rw")
    done = emulated(t, config, rootfs=root, env=env)
    eq((done.status, done.error), (0, ""), "status and stderr")
    said = done.text.splitlines()
    eq(said[0], "70000:80000 2 2001-02-03 04:05:06.789000000 +0000", "the file")
    eq(said[1:5], ["751", "as it was", "as it was", "new"], "what is read and written")
    contains(said[5], " overlay ", "the root's mount")
    check("made" in said and "linked" not in said, f"the root has {said[6:]}")
    check(not os.path.exists(root + "/made") and os.path.exists(root + "/linked"), "the host's root was changed")
    with open(root + "/data", encoding="ascii") as f:
        eq(f.read(), "as it was\n", "a file of the host's root")
    eq(os.listdir(volume), ["x"], "the volume")
    built = images(t)
    eq(len(built), 2, f"the cache has {built}")
    before = os.stat(t.path("cache", "images", built[0]))
    eq(before.st_mode & 0o7777, 0o400, "mode of the image")

    config = shell("ls -d /made; cat /data; touch /x; mkdir /etc/more; id -u", "auto", readonly=True)
    with_mount(config, "/not/there/yet", "tmpfs", "tmpfs")
    done = emulated(t, config, rootfs=root, env=env)
    eq(done.text.splitlines(), ["as it was", "0"], "of another start")
    contains(done.error, "Read-only file system", "a write to the root")
    eq(os.stat(t.path("cache", "images", images(t)[0])), before, "the image")


@test(seconds=400)
def a_file_is_the_root_of_a_machine(t):
    """erofs, ext4 and squashfs; one that is torn is told by the machine that cannot mount it."""
    env, root = kernel.own_cache(t), t.own_root(shutil.copy2)
    t.file(root + "/which", "")
    for kind, command in (("ext4", ["mkfs.ext4", "-q", "-d", root, t.path("ext4"), "64m"]),
                          ("squashfs", ["mksquashfs", root, t.path("squashfs"), "-quiet", "-no-progress", "-comp", "zstd"]),
                          ("erofs", ["mkfs.erofs", "--quiet", t.path("erofs"), root])):
        t.file(root + "/which", kind + "\n")
        subprocess.run(command, check=True, stdout=subprocess.DEVNULL)
    t.file(root + "/which", "the host's\n")
    text = "cat /which; echo x >/made && cat /made"
    for kind in ("ext4", "squashfs", "erofs"):
        done = emulated(t, shell(text, t.path(kind)), rootfs=root, env=env)
        eq((done.status, done.text.split(), done.error), (0, [kind, "x"], ""), f"{kind} as a root")
    check(not os.path.exists(root + "/made"), "the host's root was changed")
    eq(images(t), [], "what was built")
    with open(t.path("erofs"), "r+b") as f:
        f.truncate(4096)
        f.seek(1024 + 16)
        f.write(b"\xff" * 64)
    done = emulated(t, shell(text, t.path("erofs")), rootfs=root, env=env)
    eq(done.status, 1, "exit status with a torn image")
    contains(done.error, "teca-agent: cannot mount the image as erofs", "stderr")
    eq(done.error.rstrip().count("\n"), 0, "newlines in it")


@test(seconds=400)
@row("VM-3")
def the_machine_boots_into_the_image_of_the_vm_object(t):
    """... which is not the container's root, and holds what verbs look for in there: ps(1)."""
    env, root, system = kernel.own_cache(t), t.own_root(shutil.copy2), t.own_root(shutil.copy2)
    for name in ("teca", "of-the-system", "dev/null"):
        t.file(os.path.join(system, name), "none")
    subprocess.run(["mkfs.ext4", "-q", "-d", system, t.path("system"), "64m"], check=True,
                   stdout=subprocess.DEVNULL)
    config = shell("ls /; exec sleep 1000", "image")
    config["vm"] = {"kernel": {"path": kernel.get()[0]},
                    "image": {"path": t.path("system"), "format": "raw"}}
    where, container, out = t.bundle(config, root), t.new_id(), t.path("out")
    with open(out, "wb") as stdout:
        t.teca("create", "--isolation", "emulated", "--bundle", where, container, env=env,
               seconds=SECONDS, expect=0, stdout=stdout, stderr=stdout)
    t.teca("start", container, seconds=SECONDS, expect=0)

    def listed():
        return t.teca("ps", container, "-o", "pid,args", seconds=60, expect=0).text.splitlines()
    wait_until(lambda: listed()[-1].endswith("sleep 1000"), "the process is listed", 60)
    eq((len(listed()), listed()[0].split()), (2, ["PID", "COMMAND"]), "the table of the image's ps")
    with open(out, encoding="utf-8") as f:
        lacks(f.read(), "of-the-system", "the container's root")
    eq(t.teca("exec", container, "cat", "/of-the-system", seconds=60).status, 1, "cat of it")
    t.teca("delete", "--force", container, seconds=60, expect=0)


def refused(t, config, env, *parts, flags=("--isolation", "emulated")):
    done = t.run(config, *flags, env=env)
    eq(done.status, 1, f"exit status ({done.error!r})")
    for part in parts:
        contains(done.error, part, "stderr")
    eq(done.error.rstrip("\n").count("\n"), 0, f"newlines in {done.error!r}")


@test(seconds=120)
def what_cannot_be_a_root_is_told(t):
    """... before anything is started, by pointer and path."""
    env, pointer = kernel.own_cache(t), "/annotations/org.teca.rootfs"
    os.mkfifo(t.path("fifo"))
    for note, *parts in (("Image", "must be one of share, image, auto"),
                         ("rootfs.img", "must be one of share, image, auto"),
                         (t.path("absent"), "No such file or directory"),
                         (t.path(), "is no regular file with contents"),
                         (t.path("fifo"), "is no regular file with contents"),
                         (t.file("empty"), "is no regular file with contents"),
                         (t.file("qcow2", b"QFI\xfb" + bytes(8192)), "an image of the wrong format",
                          "is neither erofs, ext4 nor squashfs")):
        refused(t, shell("exit 0", note), env, pointer, *parts)
    config = shell("exit 0", None)
    config["vm"] = {"kernel": {"path": kernel.get()[0]},
                    "image": {"path": t.path("qcow2"), "format": "raw"}}
    refused(t, config, env, "/vm/image/path", "an image of the wrong format")
    refused(t, shell("exit 0", t.path("qcow2")), env, pointer, "in a machine only", "--isolation",
            flags=())
    eq(t.run(shell("exit 7", "image")).status, 7, "a container on this kernel")


@test(seconds=120)
def a_tree_that_cannot_be_an_image_leaves_nothing(t):
    """Too deep, a full disk, no mkfs.erofs, a tree that is not there."""
    env, root = kernel.own_cache(t), t.path("root")
    os.mkdir(root)
    contains(make(t, t.path("absent"), env, expect=1), "cannot find the root filesystem", "absent")
    eq(os.path.exists(t.path("cache", "images")), False, "a directory for images")
    contains(make(t, t.file("file"), env, expect=1), "Not a directory", "a file")
    t.file(root + "/big", os.urandom(3 << 20))
    done = t.call(["unshare", "-m", "sh", "-c",
                   'for at in /usr/bin /bin; do mount --bind /dev/null $at/mkfs.erofs; done; exec "$@"',
                   "sh", *prepare_command(t, root)], env=env)
    eq(done.status, 1, "exit status without mkfs.erofs")
    contains(done.error, "cannot find mkfs.erofs", "stderr")
    contains(done.error, "apt install erofs-utils", "stderr")
    eq(images(t), [], "what is left")
    for flags, parts in (("-rm", []), ("-r", ["Operation not permitted", "a mount namespace of its own"])):
        done = t.call(["unshare", flags, *prepare_command(t, root)], env=env)
        eq(done.status, 1 if parts else 0, f"exit status in a user namespace: {done.error!r}")
        for part in parts:
            contains(done.error, part, "stderr")
    shutil.rmtree(t.path("cache", "images"))
    os.mkdir(t.path("cache", "images"))
    t.mount("tmpfs", t.path("cache", "images"), "tmpfs", data="size=1m")
    said = make(t, root, env, expect=1)
    for part in (root, t.path("cache", "images"), "mkfs.erofs", "No space left on device"):
        contains(said, part, "a full disk")
    eq(said.rstrip("\n").count("\n"), 0, f"newlines in {said!r}")
    eq(images(t), [], "what is left on a full disk")
    at = root
    for _ in range(300):
        at += "/d"
        os.mkdir(at)
    contains(make(t, root, env, expect=1), "deeper than 256 directories", "a deep tree")


@test(seconds=120)
def a_hostile_tree_is_what_it_is(t):
    """Links lead nowhere, what is mounted below stays out, names are bytes; a fifo, a socket, a device are themselves."""
    env, root = kernel.own_cache(t), t.path("root")
    t.file(root + "/in/file", "x")
    os.mkdir(root + "/mounted")
    os.symlink("/", root + "/up")
    os.symlink("loop", root + "/loop")
    t.file(root + "/a\nb\x1b[31m", "odd")
    os.mkfifo(root + "/fifo")
    os.mknod(root + "/null", 0o666 | 0o020000, os.makedev(1, 3))
    with socket.socket(socket.AF_UNIX) as s:
        s.bind(root + "/socket")
    os.setxattr(root + "/in/file", "user.colour", b"blue")
    first = make(t, root, env)
    check(first["madeImage"] and os.path.basename(first["image"]) in images(t), f"{first}")
    t.mount(root, root + "/mounted", "none", flags=0x1000)
    again = make(t, root, env)
    eq((again["image"], again["madeImage"]), (first["image"], False), "with a mount below the tree")
    os.mkdir(t.path("elsewhere"))
    t.mount(root, t.path("elsewhere"), "none", flags=0x1000)
    other = make(t, t.path("elsewhere"), env)
    check(other["madeImage"] and other["image"] != first["image"], "another directory may have its image")
    subprocess.run(["fsck.erofs", f"--extract={t.path('out')}", first["image"]], check=True,
                   capture_output=True)
    eq(sorted(os.listdir(t.path("out"))), sorted(os.listdir(root)), "names")
    eq(os.listdir(t.path("out", "mounted")), [], "what was mounted there")
    eq(os.readlink(t.path("out", "up")), "/", "a link")
    eq([os.stat(t.path("out", name)).st_mode for name in ("fifo", "socket", "null")],
       [os.stat(os.path.join(root, name)).st_mode for name in ("fifo", "socket", "null")], "kinds")


@test(seconds=200)
def an_image_is_built_once_and_while_it_fits(t):
    """Two at once build one; who is killed leaves nothing that counts; a changed tree has a new one, and the old goes."""
    env, root = kernel.own_cache(t), t.own_root(shutil.copy2)
    t.file(root + "/big", os.urandom(40 << 20))
    processes = [subprocess.Popen(prepare_command(t, root), env=env, stdout=subprocess.PIPE)
                 for _ in range(2)]
    said = [json.loads(process.communicate(timeout=100)[0]) for process in processes]
    eq(sorted(one["madeImage"] for one in said), [False, True], "who has built it")
    eq(said[0]["image"], said[1]["image"], "the image")
    eq(len(images(t)), 2, f"the cache has {images(t)}")
    new = t.path("cache", "images", ".new")
    process = begin_image(t, root, env)
    process.kill()
    process.communicate()
    wait_until(lambda: not [pid for pid, state in descendants_of(os.getpid()) if state not in "ZX"],
               "mkfs.erofs ends with it", 20)
    third = make(t, root, env)
    check(third["madeImage"] and third["image"] != said[0]["image"], "the image of a changed tree")
    check(not os.path.exists(new), "what the killed one has left is still there")
    eq(len(images(t)), 2, f"the cache has {images(t)}")
    writer = subprocess.Popen(["sh", "-c", f"while :; do echo >{root}/etc/mark2; done"])
    try:
        wait_until(lambda: os.path.exists(root + "/etc/mark2"), "the writer writes")
        said = make(t, root, env, expect=1)
    finally:
        writer.kill()
        writer.wait()
    contains(said, "is changed by somebody while an image is made of it", "a tree that is written to")
    check(not os.path.exists(new), "an image of no state of the tree is still there")
    shutil.rmtree(root)
    other = t.path("other")
    t.file(other + "/x", "")
    make(t, other, env)
    eq(len(images(t)), 2, f"of a tree that is no more: {images(t)}")


def begin_image(t, root, env, size=40):
    """A process whose mkfs.erofs writes now: for some 0.2 s, which a busy machine may be late for. It is given another tree then."""
    new = t.path("cache", "images", ".new")

    def has_begun():
        try:
            return os.path.getsize(new) > 0
        except FileNotFoundError:
            return False

    for _ in range(20):
        t.file(root + "/big", os.urandom(size << 20))
        process = subprocess.Popen(prepare_command(t, root), env=env, stdout=subprocess.PIPE)
        wait_until(lambda: has_begun() or process.poll() is not None, "mkfs.erofs writes", 60)
        if process.poll() is None:
            return process
        eq(process.communicate()[0] != b"" and process.returncode, 0, "exit status")
    raise Failure("nobody was met while making an image")


@test(seconds=120)
def a_tree_that_changes_while_another_start_makes_its_image_has_that(t):
    """Who has looked at the tree, and waits for the lock, looks again; so does whose own mkfs.erofs it changes under."""
    env, root = kernel.own_cache(t), t.path("root")
    t.file(root + "/file", "as it was")
    old = make(t, root, env)["image"]
    t.file(root + "/file", "as it is")
    with open(t.path("cache", "images", "lock"), "rb") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        process = subprocess.Popen(prepare_command(t, root), env=env, stdout=subprocess.PIPE)
        wait_until(lambda: f" {process.pid} " in "".join(line for line in open("/proc/locks", encoding="ascii")
                                                        if "->" in line), "it waits", 60)
        t.file(root + "/file", "as it will be")
    said = json.loads(process.communicate(timeout=100)[0])
    eq(process.returncode, 0, "exit status")
    check(said["madeImage"] and said["image"] != old, f"{said}")
    again = make(t, root, env)
    eq((again["image"], again["madeImage"]), (said["image"], False), "of the tree as it is")
    process = begin_image(t, root, env)
    t.file(root + "/file", "as it is meanwhile")
    said = json.loads(process.communicate(timeout=100)[0])
    eq((process.returncode, said["madeImage"]), (0, True), "of a tree that changes once")
    process = begin_image(t, root, env, 160)
    os.truncate(root + "/big", 0)
    said = json.loads(process.communicate(timeout=100)[0])
    eq((process.returncode, said["madeImage"]), (0, True), "of a tree with a file that is cut while mkfs.erofs reads it")


@test(seconds=60)
def a_hole_of_a_tebibyte_fills_no_cache(t):
    """mkfs.erofs writes holes; what costs the tree's maker nothing may not cost the host its disk. Ordinary ones pass."""
    env, root = kernel.own_cache(t), t.path("root")
    t.file(root + "/file", "as it was")
    os.truncate(root + "/file", 64 << 20)
    make(t, root, env)
    os.truncate(root + "/file", 1 << 40)
    error = make(t, root, env, expect=1)
    contains(error, f"cannot make an image of '{root}': with the holes of its files it would be larger than 1024 MiB", "stderr")
    contains(error, 'org.teca.rootfs "share"', "the hint")
    check(not [name for name in os.listdir(t.path("cache", "images")) if name.startswith(".new")], "a beginning is left")


@test(seconds=60)
def the_callers_umask_is_not_the_caches(t):
    """A start that gets as far as the image, in a cache that is not there yet."""
    config = shell("exit 0", "image")
    config["vm"] = {"kernel": {"path": t.path("absent")}}
    done = emulated(t, config, rootfs=t.own_root(shutil.copy2), env=os.environ | {"TECA_CACHE": t.path("cache")},
                    preexec_fn=lambda: os.umask(0o77))
    eq(done.status, 1, "exit status")
    contains(done.error, "/vm/kernel/path", "stderr")
    eq([os.stat(t.path("cache", name)).st_mode & 0o777 for name in ("", "images")], [0o755, 0o700],
       "modes of the directories")


@test(seconds=60)
def explain_and_auto_make_no_image(t):
    env, root = kernel.own_cache(t), t.own_root(shutil.copy2)
    where = t.bundle(shell("exit 0", "image"), root)
    said = t.teca("explain", "--isolation", "emulated", "--bundle", where, env=env, expect=0).text
    path = [word for word in said.split() if t.path("cache", "images") in word]
    check(len(path) == 1 and "TECA_IMAGE=teca-image:erofs" in said, f"explain says {path}")
    check(not os.path.exists(t.path("cache", "images")), "explain has made something")
    for readonly, made, shared in ((True, False, True), (True, True, False), (False, True, True)):
        if made:
            make(t, root, env)
        where = t.bundle(shell("exit 0", "auto", readonly), root)
        said = t.teca("explain", "--isolation", "emulated", "--bundle", where, env=env, expect=0).text
        eq(("machine-files" in said, "TECA_IMAGE" in said), (shared, not shared),
           f"auto: readonly {readonly}, made {made}")
