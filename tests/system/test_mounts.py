# SPDX-License-Identifier: Apache-2.0
"""The file system that the container sees: mounts and their options, binds, propagation, pivot."""
import contextlib
import json
import os
import time
import shutil
import socket
import stat
import threading

from harness import (ISOLATION, MS_SHARED, cases, check, contains, default, eq, lacks, minimal, mount, mount_at,
                     mounts_of, private_mounts, row, test, tree_print, with_mount, with_user_namespace)

SHELL = ("/bin/sh", "-c")


def sh(script):
    return minimal(*SHELL, script)


def mounts_in(t, config, **more):
    return t.report(config, **more)["mountinfo"]


# ---- the default configuration -------------------------------------------------------------------


@test
@row("LX-1")
def every_mount_of_the_default_configuration_is_there(t):
    text = mounts_in(t, default())
    for entry in default()["mounts"]:
        found = mount_at(text, entry["destination"])
        if entry["type"] != "cgroup":
            eq(found["type"], entry["type"], f"type at {entry['destination']}")


@cases(**{
    "proc": ("/proc", {"rw"}, set()),
    "dev": ("/dev", {"nosuid"}, {"mode=755", "size=65536k"}),
    "pts": ("/dev/pts", {"nosuid", "noexec"}, {"gid=5", "mode=620", "ptmxmode=666"}),
    "shm": ("/dev/shm", {"nosuid", "nodev", "noexec"}, {"size=65536k"}),
    "mqueue": ("/dev/mqueue", {"nosuid", "nodev", "noexec"}, set()),
    "sysfs": ("/sys", {"ro", "nosuid", "nodev", "noexec"}, set()),
})
def a_default_mount_has_its_options(t, where, options, data):
    found = mount_at(mounts_in(t, default()), where)
    check(options <= set(found["options"]), f"{where} has {found['options']}, expected {options}")
    check(data <= set(found["super"].split(",")), f"{where} has {found['super']}, expected {data}")


@test
def the_mounts_are_the_configured_ones_and_no_more(t):
    config = default()
    names = {m["destination"] for m in config["mounts"]} | {"/"}
    hidden = set(config["linux"]["maskedPaths"]) | set(config["linux"]["readonlyPaths"])
    for found in mounts_of(mounts_in(t, config)):
        ours = found["at"] in names | hidden or found["at"].startswith("/sys/fs/cgroup/")
        check(ours, f"an unexpected mount at {found['at']} of type {found['type']}")


@test
@row("CFG-5")
def mounts_are_made_in_the_configured_order(t):
    config = minimal()
    for where, kind in (("/mnt", "tmpfs"), ("/mnt/inner", "tmpfs"), ("/mnt/inner/deep", "tmpfs")):
        with_mount(config, where, kind, kind, "mode=700")
    text = mounts_in(t, config)
    for where in ("/mnt", "/mnt/inner", "/mnt/inner/deep"):
        eq(mount_at(text, where)["type"], "tmpfs", f"type at {where}")


@test
@row("CFG-5")
def a_later_mount_covers_an_earlier_one(t):
    t.file("host/new")
    config = with_mount(sh("ls /mnt/a"), "/mnt/a", "tmpfs", "tmpfs")
    with_mount(config, "/mnt/a", "bind", t.path("host"), "bind")
    eq(t.ok(config), "new\n", "what the upper mount holds")


# ---- options -------------------------------------------------------------------------------------

TMPFS = {
    "ro": (["ro"], {"ro"}, {"rw"}), "rw": (["rw"], {"rw"}, {"ro"}),
    "nosuid": (["nosuid"], {"nosuid"}, set()), "nodev": (["nodev"], {"nodev"}, set()),
    "noexec": (["noexec"], {"noexec"}, set()),
    "all_three": (["nosuid", "nodev", "noexec"], {"nosuid", "nodev", "noexec"}, set()),
    "noatime": (["noatime"], {"noatime"}, {"relatime"}),
    "relatime": (["relatime"], {"relatime"}, {"noatime"}),
    "strictatime": (["strictatime"], {"rw"}, {"relatime", "noatime"}),
    "nodiratime": (["nodiratime"], {"nodiratime"}, set()),
    "nosymfollow": (["nosymfollow"], {"nosymfollow"}, set()),
    "later_wins": (["ro", "noexec", "rw", "exec"], {"rw"}, {"ro", "noexec"}),
    "negated": (["nosuid", "suid", "nodev", "dev"], {"rw"}, {"nosuid", "nodev"}),
    "defaults": (["defaults"], {"rw"}, {"ro", "nosuid", "nodev", "noexec"}),
}


@cases(**TMPFS)
@row("CFG-8")
def a_tmpfs_has_the_options(t, options, present, absent):
    config = with_mount(minimal(), "/mnt/a", "tmpfs", "tmpfs", *options)
    got = set(mount_at(mounts_in(t, config), "/mnt/a")["options"])
    check(present <= got and not absent & got, f"{options} gave {sorted(got)}")


@cases(**{k: v for k, v in TMPFS.items() if k not in ("defaults", "strictatime")})
@row("CFG-8")
def a_bind_has_the_options(t, options, present, absent):
    os.mkdir(t.path("host"))
    config = with_mount(minimal(), "/mnt/a", "bind", t.path("host"), "bind", *options)
    got = set(mount_at(mounts_in(t, config), "/mnt/a")["options"])
    check(present <= got and not absent & got, f"{options} gave {sorted(got)}")


# Of the file system as a whole: behind the type in mountinfo.
@cases(sync=(["sync"], {"sync"}), async_=(["sync", "async"], set()), dirsync=(["dirsync"], {"dirsync"}),
       lazytime=(["lazytime"], {"lazytime"}), nolazytime=(["lazytime", "nolazytime"], set()),
       mand=(["mand"], {"mand"}), nomand=(["nomand"], set()), iversion=(["iversion"], set()),
       noiversion=(["noiversion"], set()), loud=(["loud"], set()), silent=(["silent"], set()))
def a_file_system_has_the_options(t, options, present):
    config = with_mount(minimal(), "/mnt/a", "tmpfs", "tmpfs", *options)
    got = set(mount_at(mounts_in(t, config), "/mnt/a")["super"].split(","))
    eq(got & {"sync", "dirsync", "lazytime", "mand"}, present, f"options {sorted(got)}")


# mountinfo does not show these.
@cases(mand=("mand", "MS_MANDLOCK"), iversion=("iversion", "MS_I_VERSION"),
       silent=("silent", "MS_SILENT"))
def a_flag_that_nobody_sees_is_given_to_the_kernel(t, option, flag):
    if not shutil.which("strace"):
        t.skip("strace is not installed")
    for options, given in (([option], True), ([option, {"silent": "loud"}.get(option, "no" + option)],
                                              False)):
        config = with_mount(minimal("/bin/true"), "/mnt/a", "tmpfs", "seen", *options)
        where = t.bundle(config)
        t.teca(command=["strace", "-f", "-e", "trace=mount", "-o", t.path("trace"),
                        *t.argv("run", "--bundle", where, t.new_id())], expect=0)
        with open(t.path("trace"), encoding="utf-8") as f:
            calls = [line for line in f if 'mount("seen"' in line]
        eq([flag in call for call in calls], [given], f"{flag} with {options}")


@cases(new=("tmpfs", ["ro"], ["remount", "rw"]), bind=("bind", ["bind"], ["remount", "bind", "ro"]))
def remount_changes_what_an_earlier_entry_mounted(t, kind, first, then):
    os.mkdir(t.path("host"))
    config = with_mount(minimal(), "/mnt/a", kind, t.path("host"), *first)
    with_mount(config, "/mnt/a", kind, t.path("host"), *then)
    contains(mount_at(mounts_in(t, config), "/mnt/a")["options"], then[-1], "options")


@test
def a_remount_where_nothing_is_mounted_is_refused(t):
    t.refused(with_mount(minimal(), "/mnt/a", "none", "none", "remount", "bind", "ro"), "/mounts/2",
              "cannot remount '/mnt/a'")


@test
def what_is_for_mount_8_alone_is_no_data(t):
    config = with_mount(minimal(), "/mnt/a", "tmpfs", "tmpfs", "defaults", "auto", "noauto",
                        "_netdev", "x-systemd.automount", "X-mount.mkdir", "comment=mine")
    eq(mount_at(mounts_in(t, config), "/mnt/a")["type"], "tmpfs", "type")


@cases(word=("size=1m",), unknown=("no_such_option",))
def data_for_a_bind_is_refused(t, option):
    t.refused(with_mount(minimal(), "/mnt/a", "bind", t.dir, "bind", option), "/mounts/2", option,
              "bind mount")


@test
def data_goes_to_the_file_system_in_order(t):
    """The later of two wins there too."""
    config = with_mount(sh("stat -c %a /mnt/a"), "/mnt/a", "tmpfs", "tmpfs", "mode=700", "nosuid",
                        "size=1m", "mode=711")
    eq(t.ok(config), "711\n", "mode")
    contains(mount_at(mounts_in(t, config), "/mnt/a")["super"], "size=1024k", "super options")


def aged(t):
    """A file on tmpfs whose last read lies ahead of its last change: relatime leaves that."""
    t.mount("tmpfs", t.path("host"), "tmpfs")
    path = t.file("host/file", "text\n")
    then = int(time.time()) + 7200
    os.utime(path, (then, then - 1))
    return path, then


@cases(strictatime=(["strictatime"], True), relatime=(["relatime"], False),
       noatime=(["noatime"], False), negated=(["strictatime", "nostrictatime"], False),
       recursive=(["rstrictatime"], True), recursively_off=(["strictatime", "rnoatime"], False))
def a_read_changes_the_access_time_as_the_option_says(t, options, changes):
    path, then = aged(t)
    t.ok(with_mount(sh("cat /mnt/a/file"), "/mnt/a", "bind", t.path("host"), "bind", *options))
    eq(int(os.stat(path).st_atime) != then, changes, f"changed with {options}")


@cases(symfollow=([], "text\n"), nosymfollow=(["nosymfollow"], ""),
       recursive=(["rnosymfollow"], ""), negated=(["nosymfollow", "symfollow"], "text\n"))
def a_nosymfollow_mount_follows_no_links(t, options, text):
    t.file("host/file", "text\n")
    os.symlink("file", t.path("host/link"))
    config = with_mount(sh("cat /mnt/a/link 2>/dev/null; readlink /mnt/a/link"), "/mnt/a", "bind",
                        t.path("host"), "bind", *options)
    eq(t.ok(config), text + "file\n", "what the link shows")


@cases(suid=([], 7), nosuid=(["nosuid"], 1000), recursive=(["rnosuid"], 1000))
def a_nosuid_mount_gives_nobody_another_id(t, options, uid):
    shutil.copy(t.payload, t.file("host/report"))
    os.chown(t.path("host/report"), 7, 7)
    os.chmod(t.path("host/report"), 0o4755)
    config = with_mount(minimal("/mnt/a/report", "report"), "/mnt/a", "bind", t.path("host"), "bind",
                        *options)
    config["process"] |= {"user": {"uid": 1000, "gid": 1000}, "noNewPrivileges": False}
    eq(json.loads(t.ok(config))["uids"][1], uid, "effective uid")


@test
def the_options_of_a_bind_do_not_touch_the_source(t):
    t.mount("tmpfs", t.path("host"), "tmpfs")
    config = with_mount(minimal(), "/mnt/a", "bind", t.path("host"), "bind", "ro", "noexec")
    t.ok(config)
    eq(set(mount_at(None, t.path("host"))["options"]) & {"ro", "noexec"}, set(), "the host's mount")


@test
def a_readonly_tmpfs_cannot_be_written(t):
    config = with_mount(sh("touch /mnt/a/x 2>&1"), "/mnt/a", "tmpfs", "tmpfs", "ro")
    contains(t.run(config).text, "Read-only file system", "output of touch")


@test
def a_noexec_mount_does_not_execute(t):
    t.file("host/tool", "#!/bin/sh\necho ran\n")
    os.chmod(t.path("host/tool"), 0o755)
    config = with_mount(sh("/mnt/a/tool 2>&1"), "/mnt/a", "bind", t.path("host"), "bind", "noexec")
    contains(t.run(config).text, "Permission denied", "output")
    config["mounts"][-1]["options"] = ["bind", "exec"]
    eq(t.ok(config), "ran\n", "output without noexec")


@test
def a_nodev_mount_does_not_open_devices(t):
    root = t.own_root()
    config = with_mount(sh("mknod /mnt/a/null c 1 3 && cat /mnt/a/null 2>&1"), "/mnt/a", "tmpfs",
                        "tmpfs", "nodev")
    config["process"]["capabilities"] = {k: ["CAP_MKNOD"]
                                         for k in ("bounding", "effective", "permitted")}
    contains(t.run(config, rootfs=root).text, "Permission denied", "output")


@test
def the_size_of_a_tmpfs_holds(t):
    config = with_mount(sh("head -c 300000 /dev/zero >/mnt/a/f 2>/dev/null; stat -c %s /mnt/a/f"),
                        "/mnt/a", "tmpfs", "tmpfs", "size=128k")
    eq(t.ok(config), "131072\n", "bytes that fit")


@test
def mode_uid_and_gid_of_a_tmpfs_hold(t):
    config = with_mount(sh("stat -c '%a %u %g' /mnt/a"), "/mnt/a", "tmpfs", "tmpfs", "mode=1711",
                        "uid=7", "gid=8")
    eq(t.ok(config), "1711 7 8\n", "mode and owner")


@test
@row("CFG-10")
def tmpcopyup_brings_the_content_along(t):
    root = t.own_root()
    os.makedirs(os.path.join(root, "data/sub"))
    for name, text in (("data/one", "1"), ("data/sub/two", "2")):
        with open(os.path.join(root, name), "w", encoding="ascii") as f:
            f.write(text)
    os.symlink("one", os.path.join(root, "data/link"))
    os.chmod(os.path.join(root, "data/one"), 0o604)
    os.chown(os.path.join(root, "data/one"), 12, 34)
    os.chmod(os.path.join(root, "data"), 0o751)
    script = ("cat /data/one /data/sub/two; readlink /data/link; stat -c '%a %u %g' /data/one; "
              "stat -c %a /data; echo new >/data/three && echo wrote")
    config = with_mount(sh(script), "/data", "tmpfs", "tmpfs", "tmpcopyup")
    eq(t.ok(config, rootfs=root), "12one\n604 12 34\n751\nwrote\n", "what the tmpfs holds")
    check(not os.path.exists(os.path.join(root, "data/three")), "the image was written")


@test
@row("CFG-11")
def unknown_options_become_data_of_the_file_system_and_its_refusal_is_told(t):
    config = with_mount(minimal(), "/mnt/a", "tmpfs", "tmpfs", "no_such_option=1")
    t.refused(config, "/mounts/2", "/mnt/a")


@test
@row("CFG-13")
def an_unknown_file_system_is_refused_with_its_pointer(t):
    t.refused(with_mount(minimal(), "/mnt/a", "nosuchfs", "x"), "/mounts/2", "nosuchfs")


@test
@row("CFG-7", "CFG-13")
def a_mount_without_type_and_with_bind_is_a_bind(t):
    t.file("host/inside")
    config = minimal(*SHELL, "ls /mnt/a")
    config["mounts"].append({"destination": "/mnt/a", "source": t.path("host"),
                             "options": ["bind"]})
    eq(t.ok(config), "inside\n", "the directory")


@test
def a_second_proc_mount_shows_the_same_processes(t):
    config = with_mount(sh("cat /mnt/a/1/comm"), "/mnt/a", "proc", "proc", "ro", "nosuid")
    eq(t.ok(config), t.ok(sh("cat /proc/1/comm")), "name of init")


# ---- binds ---------------------------------------------------------------------------------------


@test
def a_bound_directory_shows_the_hosts_files_and_is_writable(t):
    t.file("host/file", "from the host\n")
    config = with_mount(sh("cat /mnt/a/file; echo back >/mnt/a/answer"), "/mnt/a", "bind",
                        t.path("host"), "bind")
    eq(t.ok(config), "from the host\n", "the file")
    with open(t.path("host/answer"), encoding="ascii") as f:
        eq(f.read(), "back\n", "what the container wrote")


@test
def a_single_file_is_bound_over_a_file(t):
    source = t.file("host/file", "bound\n")
    config = with_mount(sh("cat /etc/mark"), "/etc/mark", "bind", source, "bind", "ro")
    eq(t.ok(config), "bound\n", "the file")


@test
def a_single_file_is_bound_to_a_missing_target(t):
    source, root = t.file("host/file", "bound\n"), t.own_root()
    config = with_mount(sh("cat /made/by/teca"), "/made/by/teca", "bind", source, "bind")
    eq(t.ok(config, rootfs=root), "bound\n", "the file")
    made = os.lstat(os.path.join(root, "made/by/teca"))
    check(stat.S_ISREG(made.st_mode) and made.st_size == 0, "the mount point is no empty file")


@test
def a_directory_is_bound_to_a_missing_target(t):
    t.file("host/file", "bound\n")
    root = t.own_root()
    config = with_mount(sh("cat /made/by/teca/file"), "/made/by/teca", "bind", t.path("host"),
                        "bind")
    eq(t.ok(config, rootfs=root), "bound\n", "the file")
    check(os.path.isdir(os.path.join(root, "made/by/teca")), "the mount point is no directory")


@test
@row("CFG-7")
def a_relative_bind_source_starts_at_the_bundle(t):
    config = with_mount(sh("cat /mnt/a/file"), "/mnt/a", "bind", "beside", "bind")
    where = t.bundle(config)
    os.mkdir(os.path.join(where, "beside"))
    with open(os.path.join(where, "beside/file"), "w", encoding="ascii") as f:
        f.write("beside config.json\n")
    eq(t.teca("run", "--bundle", where, t.new_id(), expect=0).text, "beside config.json\n",
       "the file")


@test
def a_device_node_of_the_host_can_be_bound(t):
    root = t.own_root()
    config = with_mount(sh("head -c 4 /mine | wc -c"), "/mine", "bind", "/dev/zero", "bind", "dev")
    eq(t.ok(config, rootfs=root), "4\n", "bytes read")


@test
def a_socket_of_the_host_can_be_bound(t):
    s = socket.socket(socket.AF_UNIX)
    s.bind(t.path("s"))
    root = t.own_root()
    config = with_mount(sh("stat -c %F /run/s"), "/run/s", "bind", t.path("s"), "bind")
    eq(t.ok(config, rootfs=root), "socket\n", "type of the bound file")
    s.close()


@test
def a_missing_bind_source_is_refused_with_pointer_and_path(t):
    config = with_mount(minimal(), "/mnt/a", "bind", t.path("nothing"), "bind")
    t.refused(config, "/mounts/2", t.path("nothing"), "no such file or directory")


@test
def a_file_on_a_directory_is_refused(t):
    source = t.file("host/file")
    t.refused(with_mount(minimal(), "/mnt/a", "bind", source, "bind"), "/mounts/2", "/mnt/a")


@test
def a_directory_on_a_file_is_refused(t):
    os.mkdir(t.path("host"))
    t.refused(with_mount(minimal(), "/etc/mark", "bind", t.path("host"), "bind"), "/mounts/2",
              "/etc/mark")


MS_RDONLY, MS_NOSUID, MS_NODEV, MS_NOEXEC, MS_REMOUNT, MS_NOSYMFOLLOW = 1, 2, 4, 8, 32, 256
MS_NOATIME, MS_NODIRATIME, MS_BIND, MS_STRICTATIME = 1024, 2048, 4096, 1 << 24


def nested_host(t, flags=0):
    """host/ with a tmpfs at host/inner that holds one file; flags are that tmpfs's."""
    os.mkdir(t.path("host"))
    t.mount("tmpfs", t.path("host/inner"), "tmpfs")
    t.file("host/inner/file", "inner\n")
    if flags:
        mount("none", t.path("host/inner"), "none", flags | MS_REMOUNT | MS_BIND)


@test
@row("CFG-8")
def bind_shows_no_mounts_below_and_rbind_does(t):
    nested_host(t)
    config = with_mount(sh("ls /mnt/a/inner"), "/mnt/a", "bind", t.path("host"), "bind")
    eq(t.ok(config), "", "below a plain bind")
    config["mounts"][-1]["options"] = ["rbind"]
    eq(t.ok(config), "file\n", "below an rbind")


@test
@row("CFG-9")
def ro_of_an_rbind_leaves_the_mounts_below_writable_and_rro_does_not(t):
    nested_host(t)
    script = ("(echo >/mnt/a/x) 2>/dev/null || echo top; "
              "(echo >/mnt/a/inner/x) 2>/dev/null || echo below")
    config = with_mount(sh(script), "/mnt/a", "bind", t.path("host"), "rbind", "ro")
    eq(t.ok(config), "top\n", "refused with ro")
    config["mounts"][-1]["options"] = ["rbind", "rro"]
    eq(t.ok(config), "top\nbelow\n", "refused with rro")


@cases(rro="ro", rnosuid="nosuid", rnodev="nodev", rnoexec="noexec", rnoatime="noatime",
       rnodiratime="nodiratime", rrelatime="relatime", rnosymfollow="nosymfollow")
@row("CFG-9")
def a_recursive_option_reaches_the_mounts_below(t, *shown):
    option, shown = t.name.split("[")[1].rstrip("]"), "".join(shown)
    nested_host(t, MS_STRICTATIME)
    config = with_mount(minimal(), "/mnt/a", "bind", t.path("host"), "rbind", option)
    text = mounts_in(t, config)
    for where in ("/mnt/a", "/mnt/a/inner"):
        contains(mount_at(text, where)["options"], shown, f"options at {where}")


NEGATED = {"rrw": ("ro", MS_RDONLY), "rsuid": ("nosuid", MS_NOSUID), "rdev": ("nodev", MS_NODEV),
           "rexec": ("noexec", MS_NOEXEC), "ratime": ("noatime", MS_NOATIME),
           "rdiratime": ("nodiratime", MS_NODIRATIME), "rsymfollow": ("nosymfollow", MS_NOSYMFOLLOW),
           "rstrictatime": ("noatime", MS_NOATIME)}


@cases(**{option: (option, *what) for option, what in NEGATED.items()})
def a_recursive_negation_takes_it_from_the_mounts_below(t, option, hidden, flag):
    nested_host(t, flag)
    config = with_mount(minimal(), "/mnt/a", "bind", t.path("host"), "rbind")
    contains(mount_at(mounts_in(t, config), "/mnt/a/inner")["options"], hidden, "options without")
    config["mounts"][-1]["options"].append(option)
    got = mount_at(mounts_in(t, config), "/mnt/a/inner")["options"]
    lacks(got, hidden, f"options with {option}")
    if option in ("ratime", "rstrictatime"):
        eq("relatime" in got, option == "ratime", "relatime")


@test
def rnostrictatime_takes_it_and_rnorelatime_changes_nothing(t):
    """mount(8): without relatime, strictatime and noatime the kernel's default is relatime."""
    nested_host(t, MS_STRICTATIME)
    config = with_mount(minimal(), "/mnt/a", "bind", t.path("host"), "rbind", "rnorelatime")
    lacks(mount_at(mounts_in(t, config), "/mnt/a/inner")["options"], "relatime", "options")
    config["mounts"][-1]["options"][-1] = "rnostrictatime"
    contains(mount_at(mounts_in(t, config), "/mnt/a/inner")["options"], "relatime", "options")


@test
def recursive_and_plain_options_go_together(t):
    """The plain one is of the mount itself, the recursive one of the tree, and comes last."""
    nested_host(t)
    config = with_mount(minimal(), "/mnt/a", "bind", t.path("host"), "rbind", "ro", "rnoexec",
                        "nodev", "rrw")
    text = mounts_in(t, config)
    check({"rw", "noexec", "nodev"} <= set(mount_at(text, "/mnt/a")["options"]), "options above")
    below = set(mount_at(text, "/mnt/a/inner")["options"])
    check({"rw", "noexec"} <= below and "nodev" not in below, f"options below: {sorted(below)}")


@test
def the_mounts_below_the_source_are_not_changed_on_the_host(t):
    nested_host(t)
    t.ok(with_mount(minimal(), "/mnt/a", "bind", t.path("host"), "rbind", "rro", "rnoexec"))
    eq(set(mount_at(None, t.path("host/inner"))["options"]) & {"ro", "noexec"}, set(),
       "on the host")


# ---- hostile images ------------------------------------------------------------------------------


def outside_of(t, link, target, destination):
    """A bind whose target leads through a symbolic link of the image."""
    root = t.own_root()
    os.makedirs(os.path.dirname(os.path.join(root, link)), exist_ok=True)
    os.symlink(target, os.path.join(root, link))
    t.file("host/file", "bound\n")
    config = with_mount(sh(f"cat {destination}/file"), destination, "bind", t.path("host"), "bind")
    return t.run(config, rootfs=root), root


@cases(absolute=("/outside",), parents=("../../../../../../../../outside",))
def a_symbolic_link_as_mount_point_stays_inside_the_root(t, target):
    done, root = outside_of(t, "escape", target, "/escape")
    if done.status == 0:
        eq(done.text, "bound\n", "the file")
        check(os.path.isdir(os.path.join(root, "outside")),
              "the target inside the root was not made")
    check(not os.path.exists("/outside"), "a directory was made outside of the root")


@test
def a_symbolic_link_in_the_middle_of_a_mount_point_stays_inside_the_root(t):
    name = f"/tmp/{t.token}-outside"
    done, root = outside_of(t, "way", name, "/way/below")
    check(not os.path.exists(name), "a directory was made outside of the root")
    if done.status == 0:
        eq(done.text, "bound\n", "the file")
        check(os.path.isdir(root + name + "/below"), "the target inside the root was not made")


@test
def a_mount_point_with_dots_stays_inside_the_root(t):
    t.file("host/file", "bound\n")
    root = t.own_root()
    config = with_mount(sh("cat /inside/file"), "/mnt/../../../../inside", "bind", t.path("host"),
                        "bind")
    done = t.run(config, rootfs=root)
    check(not os.path.exists("/inside"), "a directory was made outside of the root")
    if done.status == 0:
        eq(done.text, "bound\n", "the file")


@test
def a_link_to_a_file_of_the_image_is_followed_inside_it(t):
    source, root = t.file("host/file", "bound\n"), t.own_root()
    os.symlink("/etc/mark", os.path.join(root, "etc/alias"))
    config = with_mount(sh("cat /etc/mark"), "/etc/alias", "bind", source, "bind")
    eq(t.ok(config, rootfs=root), "bound\n", "what the link names")


@test
def a_symbolic_link_at_proc_is_refused(t):
    root = t.own_root()
    os.rmdir(os.path.join(root, "proc"))
    os.symlink("tmp", os.path.join(root, "proc"))
    t.refused(minimal(), "/mounts/0", "/proc", rootfs=root)


@test
def a_file_at_the_mount_point_of_a_file_system_is_refused(t):
    root = t.own_root()
    os.rmdir(os.path.join(root, "proc"))
    with open(os.path.join(root, "proc"), "w", encoding="ascii"):
        pass
    t.refused(minimal(), "/mounts/0", "/proc", rootfs=root)


@contextlib.contextmanager
def swapping(path, *targets):
    """Somebody who shares the directory: now a symlink is there, now a file, now nothing."""
    over = threading.Event()

    def swap():
        while not over.is_set():
            for target in targets:
                with contextlib.suppress(OSError):
                    os.symlink(target, path + ".new")
                    os.rename(path + ".new", path)
                time.sleep(0)
            with contextlib.suppress(OSError):
                os.unlink(path)
            with contextlib.suppress(OSError):
                os.close(os.open(path, os.O_CREAT | os.O_EXCL | os.O_WRONLY))
                os.unlink(path)

    thread = threading.Thread(target=swap)
    thread.start()
    try:
        yield
    finally:
        over.set()
        thread.join()


def file_target(t, config):
    return with_mount(config, "/etc/swapped", "bind", t.file("source", "bound\n"), "bind")


def owned_node(t, config):
    return with_device(config, "/etc/swapped", **NULL, uid=77, gid=77)


def without_dev(config):
    config["mounts"] = [m for m in config["mounts"] if m["destination"] != "/dev"]
    return config


@cases(file=(file_target, "etc/swapped"), node=(owned_node, "etc/swapped"),
       default_device=(lambda t, config: without_dev(with_user_namespace(config)), "dev/null"),
       replaced_device=(lambda t, config: without_dev(config), "dev/null"))
def a_name_that_is_swapped_meanwhile_leads_nowhere(t, change, name):
    root = t.own_root()
    victim = t.file("outside/victim", "untouched")
    before = tree_print(t.path("outside"))
    for directory in ("etc", "dev"):
        os.chmod(os.path.join(root, directory), 0o777)
        os.chown(os.path.join(root, directory), 100000, 100000)
    config = change(t, minimal("/bin/true"))
    config["root"]["readonly"] = False
    where, done = t.bundle(config, root), []
    up = "../" * 12
    with swapping(os.path.join(root, name), victim, up + victim, up + t.path("outside/new")):
        for _ in range(25 if ISOLATION == "container" else 5):  # a machine takes its time
            done.append(t.teca("run", "--bundle", where, t.new_id()))
    eq(tree_print(t.path("outside")), before, "what lies outside")
    check(all(d.status == 0 or "/" + name in d.error for d in done),
          f"errors about something else: {[d.error for d in done if d.status]}")


# ---- destinations ---------------------------------------------------------------------------------


@cases(above=("../run/systemd/resolve/stub.conf", "run/systemd/resolve/stub.conf"),
       absolute=("/run/new/file", "run/new/file"), climbing=("../../../../up/file", "up/file"),
       beside=("other", "etc/other"))
def a_file_is_bound_where_a_dangling_link_of_the_image_leads(t, text, made):
    """As /etc/resolv.conf of many images."""
    source, root = t.file("host/file", "bound\n"), t.own_root()
    os.symlink(text, os.path.join(root, "etc/resolv.conf"))
    config = with_mount(sh("cat /etc/resolv.conf"), "/etc/resolv.conf", "bind", source, "bind")
    eq(t.ok(config, rootfs=root), "bound\n", "the file")
    eq(os.stat(os.path.join(root, made)).st_size, 0, "size of the file made for it")
    check(not os.path.lexists("/" + made) or made.startswith("etc"), "made on the host")


@test
def a_link_of_the_image_that_leads_to_itself_is_refused(t):
    source, root = t.file("host/file"), t.own_root()
    os.symlink("loop", os.path.join(root, "etc/loop"))
    config = with_mount(minimal(), "/etc/loop", "bind", source, "bind")
    t.refused(config, "/mounts/2", "/etc/loop", "symbolic link", rootfs=root)


@cases(relative=("mnt/a",), dots=("/etc/../mnt/./a",), slashes=("//mnt///a/",),
       above=("/../../mnt/a",))
def a_destination_means_a_place_below_the_root(t, destination):
    t.file("host/file", "bound\n")
    config = with_mount(sh("cat /mnt/a/file"), destination, "bind", t.path("host"), "bind")
    eq(t.ok(config), "bound\n", "the file")


@cases(fifo=(os.mkfifo, "fifo"),
       device=(lambda path: os.mknod(path, 0o666 | stat.S_IFCHR, os.makedev(1, 5)),
               "character special file"))
def a_special_file_of_the_host_is_bound_to_a_missing_target(t, make, kind):
    make(t.path("special"))
    config = with_mount(sh("stat -c %F /run/new/special"), "/run/new/special", "bind",
                        t.path("special"), "bind")
    eq(t.ok(config, rootfs=t.own_root()), kind + "\n", "type of the bound file")


@test
def a_tmpfs_on_the_root_is_the_root(t):
    config = minimal("/tools/bin/busybox", "sh", "-c", "cat /tools/etc/mark; ls /")
    config["mounts"].insert(0, {"destination": "/", "type": "tmpfs", "source": "tmpfs"})
    config["mounts"].insert(1, {"destination": "/tools", "type": "bind", "source": t.shared_root,
                                "options": ["rbind", "ro"]})
    config["root"]["readonly"] = False
    found = t.ok(config).split("\n")
    eq((found[0], sorted(found[1:-1])), ("the shared root", ["dev", "proc", "tools"]),
       "mark, and what / holds")


@test
def a_bind_on_the_root_is_the_root(t):
    root = t.own_root()
    t.file("other/file", "other\n")
    for name in ("bin", "lib", "lib64", "usr"):
        if os.path.exists(os.path.join(root, name)):
            shutil.copytree(os.path.join(root, name), t.path("other", name), symlinks=True)
    config = sh("cat /file")
    config["mounts"].insert(0, {"destination": "/", "type": "bind", "source": t.path("other"),
                                "options": ["rbind"]})
    eq(t.ok(config, rootfs=root), "other\n", "a file of the new root")


# ---- copy-symlink --------------------------------------------------------------------------------


@cases(relative=("mark",), absolute=("/etc/mark",), dangling=("/no/such/place",))
def copy_symlink_gives_the_container_the_link_itself(t, text):
    os.symlink(text, t.path("link"))
    for change in (lambda config: config, with_user_namespace):
        root = t.own_root()
        config = change(with_mount(sh("readlink /etc/copied"), "/etc/copied", "bind",
                                   t.path("link"), "bind", "copy-symlink"))
        if change is with_user_namespace:
            os.chown(os.path.join(root, "etc"), 100000, 100000)
        for _ in range(2):  # the same again is no error
            eq(t.ok(config, rootfs=root), text + "\n", "text of the link")
        eq(os.readlink(os.path.join(root, "etc/copied")), text, "the link in the image")


@test
def copy_symlink_of_a_file_is_a_bind(t):
    config = with_mount(sh("cat /etc/mark"), "/etc/mark", "bind", t.file("file", "bound\n"), "bind",
                        "copy-symlink", "ro")
    eq(t.ok(config), "bound\n", "the file")
    os.symlink("file", t.path("link"))
    config["mounts"][-1] |= {"source": t.path("link"), "options": ["bind", "ro"]}
    eq(t.ok(config), "bound\n", "the file behind the link, without the option")


@test
def copy_symlink_does_not_replace_another_file(t):
    os.symlink("elsewhere", t.path("link"))
    config = with_mount(minimal(), "/etc/mark", "bind", t.path("link"), "bind", "copy-symlink")
    t.refused(config, "/mounts/2", "/etc/mark", "another file is there")
    t.refused(with_mount(minimal(), "/mnt/a", "tmpfs", "tmpfs", "copy-symlink"), "/mounts/2",
              "copy-symlink")


@test
def nothing_is_mounted_on_the_host_by_way_of_a_copied_link(t):
    """/dev is a tmpfs of the plan; what a volume's owner says must not be followed by name."""
    os.mkdir(t.path("victim"))
    os.symlink(t.path("victim"), t.path("link"))
    config = sh("echo x >/dev/vol/x; ls /dev/vol")
    with_mount(config, "/dev/vol", "bind", t.path("link"), "bind", "copy-symlink")
    with_mount(config, "/dev/vol", "tmpfs", "tmpfs")
    eq(t.ok(config, rootfs=t.own_root()), "x\n", "what was mounted inside")
    eq(os.listdir(t.path("victim")), [], "the directory on the host")


# ---- /dev, /proc and /sys of the host -------------------------------------------------------------


def own_dev(t):
    """A directory like the host's /dev: what a container makes there, would stay there."""
    t.mount("tmpfs", t.path("dev"), "tmpfs")
    for name, minor in (("null", 3), ("zero", 5), ("urandom", 9)):
        os.mknod(t.path("dev", name), 0o600 | stat.S_IFCHR, os.makedev(1, minor))
    os.symlink("/nowhere", t.path("dev/fd"))
    os.mkdir(t.path("dev/pts"))
    return t.path("dev")


@cases(bind=("bind",), rbind=("rbind",))
def a_dev_that_is_bound_is_left_as_it_is(t, option):
    dev = own_dev(t)
    before = tree_print(dev)
    config = sh("ls /dev; stat -c '%a' /dev/zero")
    config["mounts"] = [m for m in config["mounts"] if m["destination"] != "/dev"]
    with_mount(config, "/dev", "bind", dev, option)
    eq(t.ok(config).split(), ["fd", "null", "pts", "urandom", "zero", "600"], "what /dev holds")
    eq(tree_print(dev), before, "what the host's directory holds")


@test
def devices_of_the_config_must_be_in_a_dev_that_is_bound(t):
    dev = own_dev(t)
    before = tree_print(dev)
    config = with_mount(minimal("/bin/true"), "/dev", "bind", dev, "bind")
    config["linux"]["devices"] = [{"path": "/dev/zero", "type": "c", "major": 1, "minor": 5}]
    t.ok(config)
    config["linux"]["devices"][0] |= {"minor": 7}
    t.refused(config, "/linux/devices/0", "/dev/zero")
    config["linux"]["devices"][0] |= {"path": "/dev/new"}
    t.refused(config, "/linux/devices/0", "/dev/new")
    eq(tree_print(dev), before, "what the host's directory holds")


@test
def the_hosts_own_dev_can_be_bound(t):
    config = sh("echo x >/dev/null && head -c 3 /dev/zero | wc -c; readlink /dev/fd")
    config["mounts"] = [m for m in config["mounts"] if m["destination"] != "/dev"]
    before = sorted(os.listdir("/dev"))
    eq(t.ok(with_mount(config, "/dev", "bind", "/dev", "rbind", "rslave")).split()[0], "3", "bytes")
    eq(sorted(os.listdir("/dev")), before, "the host's /dev")


@test
def the_hosts_proc_and_sys_can_be_bound(t):
    config = sh("readlink /proc/self; cat /sys/kernel/notes >/dev/null && echo sys")
    config["mounts"] = [m for m in config["mounts"] if m["destination"] not in ("/proc", "/sys")]
    with_mount(config, "/proc", "bind", "/proc", "rbind", "ro")
    with_mount(config, "/sys", "bind", "/sys", "rbind", "ro")
    # The host's proc shows this process by its number there.
    text = t.ok(config, rootfs=t.own_root()).split()
    check(int(text[0]) > 1 and text[1:] == ["sys"], f"/proc/self and /sys give {text}")


# ---- the root filesystem and the way into it -----------------------------------------------------


@test
def the_hosts_files_are_not_visible(t):
    text = t.ok(sh("ls /; ls /work 2>&1; true"))
    lacks(text.split(), "work", "the container's /")
    lacks(mounts_in(t, default()), t.dir, "mount table: mount points of the host")


@test
def no_trace_of_the_old_root_is_mounted(t):
    found = mounts_of(mounts_in(t, minimal()))
    eq([m["at"] for m in found], ["/", "/proc", "/dev"], "mount points inside")


@test
def dot_dot_of_the_root_is_the_root(t):
    eq(t.ok(sh("cd ..; cat etc/mark; cd ../../..; cat etc/mark")), "the shared root\n" * 2,
       "etc/mark")


@test
def the_runtimes_directories_cannot_be_reached_through_proc(t):
    script = "for p in cwd root exe; do readlink /proc/1/$p; done; ls /proc/1/fd | wc -l"
    eq(t.ok(sh(script)).split()[:2], ["/", "/"], "cwd and root of init")


@test
@row("CFG-4")
def a_readonly_root_cannot_be_written(t):
    root = t.own_root()
    config = sh("(touch /x /etc/x; mkdir /y) 2>&1 | grep -c 'Read-only'; touch /dev/x && echo dev")
    eq(t.run(config, rootfs=root).text, "3\ndev\n", "refusals, and what is not the root")
    contains(mount_at(mounts_in(t, minimal(), rootfs=root), "/")["options"], "ro", "options of /")


@test
@row("CFG-4")
def a_writable_root_is_written(t):
    root = t.own_root()
    config = sh("echo text >/new")
    config["root"]["readonly"] = False
    t.ok(config, rootfs=root)
    with open(os.path.join(root, "new"), encoding="ascii") as f:
        eq(f.read(), "text\n", "the new file")


@test
def a_readonly_root_leaves_the_host_writable(t):
    root = t.own_root()
    t.ok(minimal(), rootfs=root)
    with open(os.path.join(root, "still"), "w", encoding="ascii"):
        pass


@test
def a_root_that_is_a_mount_point_itself_works(t):
    t.mount("tmpfs", t.path("r"), "tmpfs")
    shutil.copytree(t.shared_root, t.path("r"), symlinks=True, dirs_exist_ok=True)
    eq(t.ok(minimal("/bin/echo", "in"), rootfs=t.path("r")), "in\n", "stdout")


@test
def a_root_with_mounts_below_it_shows_them(t):
    root = t.own_root()
    t.mount("tmpfs", os.path.join(root, "opt"), "tmpfs")
    with open(os.path.join(root, "opt/file"), "w", encoding="ascii") as f:
        f.write("below\n")
    eq(t.ok(sh("cat /opt/file"), rootfs=root), "below\n", "the file in the mount below the root")


@test
@row("CFG-3")
def a_missing_root_is_refused_with_its_path(t):
    config = minimal()
    config["root"]["path"] = t.path("nowhere")
    t.refused(config, "/root", t.path("nowhere"))


@test
@row("CFG-3")
def a_root_that_is_a_file_is_refused(t):
    config = minimal()
    config["root"]["path"] = t.file("plain")
    t.refused(config, "/root", t.path("plain"))


# ---- propagation ---------------------------------------------------------------------------------


@test
def the_container_leaves_no_mount_on_a_host_with_shared_mounts(t):
    before = len(mounts_of())
    done = t.run(default("/bin/true"), preexec_fn=lambda: private_mounts(MS_SHARED))
    eq((done.status, done.error), (0, ""), "status and stderr")
    # Other tests mount on the host too, for a while; a mount that is left stays.
    end = time.monotonic() + 20
    while len(mounts_of()) > before and time.monotonic() < end:
        time.sleep(0.2)
    check(len(mounts_of()) <= before, f"mounts on the host: {before} before, {len(mounts_of())} after")


def on_shared_host(t, text):
    """A shell's text on a host whose mounts are shared, but with nobody outside, where they may be shared too."""
    return t.call(["unshare", "-m", "--propagation", "private", "sh", "-c", "mount --make-rshared / && " + text])


def in_shared_host(t, config, script):
    """The container runs there, with the script beside it."""
    os.makedirs(t.path("peer"), exist_ok=True)
    container, where = t.new_id(), t.bundle(config)
    run = " ".join(t.argv("run", "--bundle", where, container))
    text = (f"mount -t tmpfs peer {t.path('peer')} && mkdir {t.path('peer')}/sub && "
            f"{{ {run} & }} && {script}; wait $!")
    return on_shared_host(t, text)


PROPAGATION = {"slave": ("rslave", "master:"), "private": ("rprivate", ""),
               "shared": ("rshared", "shared:"),
               "unbindable": ("runbindable", "unbindable")}


@cases(**PROPAGATION)
@row("CFG-8")
def the_propagation_of_a_bind_is_as_configured(t, option, tag):
    config = with_mount(minimal("/bin/cat", "/proc/self/mountinfo"), "/mnt/a", "bind",
                        t.path("peer"),
                        "rbind", option)
    done = in_shared_host(t, config, "true")
    eq(done.error, "", "stderr")
    found = " ".join(mount_at(done.text, "/mnt/a")["propagation"])
    check(found.startswith(tag) if tag else found == "", f"{option} gave '{found}'")


@cases(**PROPAGATION)
@row("RP-1")
def the_propagation_of_the_root_is_as_configured(t, option, tag):
    config = minimal("/bin/cat", "/proc/self/mountinfo")
    config["linux"]["rootfsPropagation"] = option
    done = in_shared_host(t, config, "true")
    eq(done.error, "", "stderr")
    found = " ".join(mount_at(done.text, "/")["propagation"])
    check(tag in found if tag else "shared:" not in found, f"{option} gave '{found}'")


def until(path):
    """Shell text that waits for a file, ten seconds at most."""
    return f"i=0; until [ -e {path} ] || [ $i -ge 200 ]; do sleep 0.05; i=$((i+1)); done"


@test
def a_slave_bind_receives_the_hosts_later_mounts(t):
    wait = until("/mnt/a/sub/late") + "; ls /mnt/a/sub"
    config = with_mount(sh("echo up >/mnt/a/ready; " + wait), "/mnt/a", "bind", t.path("peer"),
                        "rbind",
                        "rslave")
    peer = t.path("peer")
    script = (f"until [ -e {peer}/ready ]; do sleep 0.05; done; mount -t tmpfs late {peer}/sub && "
              f"touch {peer}/sub/late")
    done = in_shared_host(t, config, script)
    eq((done.text, done.error), ("late\n", ""), "stdout, stderr")


@test
def a_private_bind_does_not_receive_them(t):
    wait = until("/mnt/a/done") + "; ls /mnt/a/sub"
    config = with_mount(sh("echo up >/mnt/a/ready; " + wait), "/mnt/a", "bind", t.path("peer"),
                        "rbind",
                        "rprivate")
    peer = t.path("peer")
    script = (f"until [ -e {peer}/ready ]; do sleep 0.05; done; mount -t tmpfs late {peer}/sub && "
              f"touch {peer}/sub/late {peer}/done")
    done = in_shared_host(t, config, script)
    eq((done.text, done.error), ("", ""), "stdout, stderr")


# Does a mount of the host reach the container's root? A shared root is a peer of other mounts in
# the container, not of the host's: pivot_root(2) takes none that is shared.
FORMS = {"private": False, "rprivate": False, "slave": True, "rslave": True, "shared": False,
         "rshared": False, "unbindable": False, "runbindable": False}


@cases(**{form: (form, effect) for form, effect in FORMS.items()})
def the_propagation_of_the_root_has_its_effect(t, form, comes):
    root = t.own_root()
    for name in ("late", "early"):
        os.mkdir(os.path.join(root, name))
    config = sh("mount -t tmpfs inside /early && touch /early/inside && touch /up; "
                + until("/done") + "; ls /late")
    config["root"]["readonly"] = False
    names = {k: ["CAP_SYS_ADMIN"] for k in ("bounding", "effective", "permitted")}
    config["process"]["capabilities"] = names
    config["linux"]["rootfsPropagation"] = form
    container, where = t.new_id(), t.bundle(config, root)
    run = " ".join(t.argv("run", "--bundle", where, container))
    text = (f"{{ {run} >{t.path('said')} & }} && {until(root + '/up')}; ls {root}/early; "
            f"mount -t tmpfs outside {root}/late && touch {root}/late/outside {root}/done; wait $!")
    done = on_shared_host(t, text)
    eq((done.status, done.error), (0, ""), "status and stderr")
    eq(done.text, "", "what the host sees of the container's mount")
    with open(t.path("said"), encoding="ascii") as f:
        eq(f.read(), "outside\n" if comes else "", "what the container sees of the host's mount")


@cases(shared=("shared", True), rshared=("rshared", True), slave=("slave", False),
       rslave=("rslave", False), private=("rprivate", False), none=(None, False))
def a_mount_in_a_shared_bind_reaches_the_host_where_the_root_is_shared(t, form, goes):
    config = sh("mount -t tmpfs inside /mnt/a/sub && touch /mnt/a/sub/inside /mnt/a/up; "
                + until("/mnt/a/done"))
    names = {k: ["CAP_SYS_ADMIN"] for k in ("bounding", "effective", "permitted")}
    config["process"]["capabilities"] = names
    with_mount(config, "/mnt/a", "bind", t.path("peer"), "rbind", "rshared")
    if form:
        config["linux"]["rootfsPropagation"] = form
    peer = t.path("peer")
    done = in_shared_host(t, config, f"{until(peer + '/up')}; ls {peer}/sub; touch {peer}/done")
    eq((done.text, done.error), ("inside\n" if goes else "", ""), "what the host sees, stderr")


def shown_inside(t, form):
    """Where a mount of the container on its own root shows, in a second mount namespace of it."""
    config = sh("unshare -m --propagation slave sh -c 'touch /tmp/up; "
                + until("/tmp/done") + "; [ ! -e /opt/inside ] || echo inside' & "
                + until("/tmp/up") + "; mount -t tmpfs inside /opt && touch /opt/inside; "
                "touch /tmp/done; wait $!")
    names = {k: ["CAP_SYS_ADMIN"] for k in ("bounding", "effective", "permitted")}
    config["process"]["capabilities"] = names
    config["linux"]["rootfsPropagation"] = form
    with_mount(config, "/tmp", "tmpfs", "tmpfs")
    return t.ok(config)


@cases(shared=("shared", "inside\n"), rshared=("rshared", "inside\n"), private=("private", ""),
       rslave=("rslave", ""), unbindable=("unbindable", ""))
def a_shared_root_is_shared_with_namespaces_inside(t, form, text):
    eq(shown_inside(t, form), text, "what the other namespace sees")


@cases(unbindable=("unbindable", "refused\n"), private=("private", "bound\n"))
def an_unbindable_root_cannot_be_bound(t, form, text):
    config = sh("mount -o bind /opt /mnt/a 2>/dev/null && echo bound || echo refused")
    names = {k: ["CAP_SYS_ADMIN"] for k in ("bounding", "effective", "permitted")}
    config["process"]["capabilities"] = names
    config["linux"]["rootfsPropagation"] = form
    eq(t.ok(config), text, "a bind of the root's directory")


def in_covered_host(t, config, cover):
    """A host on which something lies over a part of its /proc or /sys."""
    where = t.bundle(config)
    run = " ".join(t.argv("run", "--bundle", where, t.new_id()))
    return t.call(["unshare", "-m", "--propagation", "private", "sh", "-c",
                   f"mount -t tmpfs cover {cover} && exec {run}"])


@test
def a_user_namespace_gets_the_hosts_proc_when_its_processes_are_the_hosts(t):
    """The kernel gives out no new proc where the old one is covered, user_namespaces(7)."""
    config = with_user_namespace(sh("readlink /proc/self; ls /proc/tty"))
    config["linux"]["namespaces"] = [n for n in config["linux"]["namespaces"] if n["type"] != "pid"]
    done = in_covered_host(t, config, "/proc/tty")
    eq(done.error, "", "stderr")
    check(done.text.split()[0].isdigit() and len(done.text.split()) == 1,
          f"/proc/self, and nothing below the cover: {done.text!r}")


@test
def a_user_namespace_with_processes_of_its_own_is_told_why_proc_is_refused(t):
    done = in_covered_host(t, with_user_namespace(minimal()), "/proc/tty")
    eq(done.status, 1, "exit status")
    for part in ("/mounts/0", "cannot mount 'proc' at '/proc'", "covered"):
        contains(done.error, part, "stderr")


@cases(own=(True,), hosts=(False,))
def a_user_namespace_gets_the_hosts_sys_when_there_can_be_no_other(t, own):
    config = with_user_namespace(default(*SHELL, "cat /sys/kernel/notes >/dev/null && echo sys; "
                                         "mkdir /sys/fs/x 2>/dev/null || echo refused"))
    if not own:
        config["linux"]["namespaces"] = [n for n in config["linux"]["namespaces"]
                                         if n["type"] != "network"]
    config["mounts"] = [m for m in config["mounts"] if m["type"] != "cgroup"]
    done = in_covered_host(t, config, "/sys/module" if own else "/sys/power")
    eq((done.text, done.error), ("sys\nrefused\n", ""), "stdout and stderr")


# ---- a kernel without a call --------------------------------------------------------------------


# The first open_tree and mount_setattr of a process are those of the copy that teca runs from.
@cases(open_tree=("open_tree", 2), move_mount=("move_mount", 1), mount_setattr=("mount_setattr", 2),
       openat2=("openat2", 1))
def a_call_that_is_missing_is_told_and_nothing_stays(t, call, first):
    if not shutil.which("strace"):
        t.skip("strace is not installed")
    os.mkdir(t.path("host"))
    config = with_mount(minimal(), "/mnt/a", "bind", t.path("host"), "bind", "ro")
    where, container = t.bundle(config), t.new_id()
    done = t.teca(command=["strace", "-f", "-qq", "-e", f"inject={call}:error=ENOSYS:when={first}+", "-e",
                           f"trace={call}", "-o", t.path("trace"),
                           *t.argv("run", "--bundle", where, container)], expect=1)
    contains(done.error, "not implemented", "stderr")
    t.nothing_of(container)


# ---- masked and read-only paths ------------------------------------------------------------------


@test
@row("MK-1")
def masked_files_read_as_empty_and_masked_directories_list_nothing(t):
    config = sh("cat /proc/version | wc -c; cat /etc/mark; ls /opt; cat /proc/cpuinfo | wc -c")
    config["linux"]["maskedPaths"] = ["/proc/version", "/etc/mark", "/opt", "/proc/cpuinfo"]
    eq(t.ok(config), "0\n0\n", "what is left to read")


@test
def a_masked_directory_cannot_be_written(t):
    config = sh("touch /tmp/x 2>&1")
    config["linux"]["maskedPaths"] = ["/tmp"]
    root = t.own_root()
    config["root"]["readonly"] = False
    contains(t.run(config, rootfs=root).text, "Read-only file system", "output of touch")


@test
def a_masked_path_that_is_missing_is_no_error(t):
    config = minimal()
    config["linux"]["maskedPaths"] = ["/no/such/place"]
    config["linux"]["readonlyPaths"] = ["/no/such/place"]
    t.ok(config)


@test
def every_masked_path_of_the_default_configuration_is_masked(t):
    names = default()["linux"]["maskedPaths"]
    script = 'for p; do [ -e $p ] || continue; if [ -d $p ]; then n=$(ls $p | wc -l); ' \
             'else n=$(head -c 10 $p | wc -c); fi; [ $n = 0 ] || echo $p; done; echo looked'
    eq(t.ok(default(*SHELL, script, "sh", *names)), "looked\n", "masked paths that show something")


@test
@row("RO-1")
def read_only_paths_cannot_be_written(t):
    config = with_mount(sh("cd /proc/sys/kernel; echo 1 >hostname; echo 1 >/mnt/a/x; cat ostype"),
                        "/mnt/a", "tmpfs", "tmpfs")
    config["linux"]["readonlyPaths"] = ["/proc/sys", "/mnt/a"]
    done = t.run(config)
    eq(done.text, "Linux\n", "what can still be read")
    eq(done.error.count("Read-only file system"), 2, f"refusals in {done.error!r}")


@test
def read_only_paths_keep_the_other_flags_of_their_mount(t):
    config = with_mount(minimal(), "/mnt/a", "tmpfs", "tmpfs", "nosuid", "nodev", "noexec")
    config["linux"]["readonlyPaths"] = ["/mnt/a"]
    got = set(mount_at(mounts_in(t, config), "/mnt/a")["options"])
    check({"ro", "nosuid", "nodev", "noexec"} <= got, f"options {sorted(got)}")


@test
def masks_cannot_be_taken_off_by_the_container(t):
    config = default(*SHELL, "umount /etc/mark 2>/dev/null; head -c 1 /etc/mark | wc -c")
    config["linux"]["maskedPaths"] = ["/etc/mark"]
    eq(t.ok(config), "0\n", "bytes of the masked file")


@test
def a_mask_through_a_symbolic_link_stays_inside_the_root(t):
    root = t.own_root()
    os.symlink("/etc/mark", os.path.join(root, "pointer"))
    config = sh("cat /etc/mark")
    config["linux"]["maskedPaths"] = ["/pointer"]
    eq(t.ok(config, rootfs=root), "", "what the link names")


@cases(slash="/", dots="/etc/..")
@row("RO-1")
def the_root_may_be_a_read_only_path(t, path):
    config = sh("echo x >/etc/new || echo refused; echo x >/mnt/a/new && echo written")
    config["root"]["readonly"] = False
    with_mount(config, "/mnt/a", "tmpfs", "tmpfs")
    config["linux"]["readonlyPaths"] = [path, "/proc/sys"]
    eq(t.run(config, rootfs=t.own_root(), expect=0).text, "refused\nwritten\n", "what was written")


@test
def the_root_bound_elsewhere_can_be_masked(t):
    root = t.own_root()
    config = with_mount(sh("ls /mnt/a; cat /etc/mark"), "/mnt/a", "bind", root, "bind")
    config["linux"]["maskedPaths"] = ["/mnt/a"]
    eq(t.ok(config, rootfs=root), "the shared root\n", "what is seen")


@cases(masked=("maskedPaths",), read_only=("readonlyPaths",))
@row("MK-1", "RO-1")
def a_link_of_the_image_to_the_root_protects_nothing_and_is_refused(t, key):
    """A mount on "/" would lie beside what the program sees. The image decides where its links lead."""
    for way in ("/", "../..", "/etc/.."):
        root = t.own_root()
        os.symlink(way, os.path.join(root, "opt/link"))
        config = sh("cat /opt/link/etc/mark")
        config["linux"][key] = ["/proc/keys", "/opt/link"]
        t.refused(config, f"/linux/{key}/1", "'/opt/link' leads to the root filesystem", rootfs=root)


# ---- devices -------------------------------------------------------------------------------------

DEVICES = {"null": "1:3", "zero": "1:5", "full": "1:7", "random": "1:8", "urandom": "1:9",
           "tty": "5:0"}


@test
@row("DEV-8")
def the_default_devices_have_type_numbers_mode_and_owner(t):
    script = f"stat -c '%n %F %t:%T %a %u %g' {' '.join('/dev/' + n for n in DEVICES)}"
    expected = "".join(f"/dev/{n} character special file {number} 666 0 0\n"
                       for n, number in DEVICES.items())
    eq(t.ok(sh(script)), expected, "the device nodes")


@test
@row("DEV-8")
def the_default_devices_work(t):
    script = ("echo x >/dev/null && head -c 5 /dev/zero | wc -c; head -c 5 /dev/urandom | wc -c; "
              "echo x 2>/dev/null >/dev/full || echo full")
    eq(t.ok(sh(script)), "5\n5\nfull\n", "what the devices do")


@test
@row("RL-2")
def the_default_links_are_there(t):
    script = "for n in fd stdin stdout stderr ptmx; do echo $n $(readlink /dev/$n); done"
    links = dict(line.split(" ", 1) for line in t.ok(default(*SHELL, script)).splitlines())
    eq({n: links[n] for n in ("fd", "stdin", "stdout", "stderr")},
       {"fd": "/proc/self/fd", "stdin": "/proc/self/fd/0", "stdout": "/proc/self/fd/1",
        "stderr": "/proc/self/fd/2"}, "links in /dev")
    check(links["ptmx"] in ("pts/ptmx", "/dev/pts/ptmx"), f"/dev/ptmx names {links['ptmx']}")


@test
def the_devices_have_their_mode_whatever_the_umask(t):
    eq(t.ok(sh("stat -c %a /dev/null"), preexec_fn=lambda: os.umask(0o077)), "666\n",
       "mode of /dev/null")


@cases(character=("c", "character special file"), unbuffered=("u", "character special file"),
       block=("b", "block special file"))
@row("DEV-1", "DEV-2")
def an_extra_device_is_made(t, kind, shown):
    config = sh("stat -c '%F %t:%T %a %u %g' /dev/extra")
    config["linux"]["devices"] = [{"path": "/dev/extra", "type": kind, "major": 10, "minor": 229,
                                   "fileMode": 0o640, "uid": 11, "gid": 12}]
    eq(t.ok(config), f"{shown} a:e5 640 11 12\n", "the node")


@test
@row("DEV-2", "DEV-4")
def a_fifo_is_made(t):
    config = sh("stat -c '%F %a' /dev/pipe")
    config["linux"]["devices"] = [{"path": "/dev/pipe", "type": "p", "fileMode": 0o600}]
    eq(t.ok(config), "fifo 600\n", "the node")


def with_device(config, path, **more):
    config["linux"].setdefault("devices", []).append({"path": path} | more)
    return config


NULL = {"type": "c", "major": 1, "minor": 3}


def image_with(t, owner=0):
    """A root filesystem whose /opt holds a file, a link, a directory, and the device 1:3."""
    root = t.own_root()
    opt = os.path.join(root, "opt")
    with open(os.path.join(opt, "file"), "w", encoding="ascii") as f:
        f.write("text")
    os.symlink("/etc/mark", os.path.join(opt, "link"))
    os.mkdir(os.path.join(opt, "directory"))
    os.mknod(os.path.join(opt, "null"), 0o640 | stat.S_IFCHR, os.makedev(1, 3))
    os.mkfifo(os.path.join(opt, "pipe"))
    os.chown(opt, owner, owner)
    return root


@cases(file=("/opt/file", NULL), link=("/opt/link", NULL), directory=("/opt/directory", NULL),
       minor=("/opt/null", NULL | {"minor": 5}), block=("/opt/null", NULL | {"type": "b"}),
       pipe=("/opt/null", {"type": "p"}))
def a_file_of_the_image_that_is_not_the_device_is_refused(t, path, what):
    root = image_with(t)
    before = tree_print(os.path.join(root, "opt"))
    t.refused(with_device(minimal(), path, **what), "/linux/devices/0", path, rootfs=root)
    eq(tree_print(os.path.join(root, "opt")), before, "what the image holds")


@cases(device=("/opt/null", NULL, "character special file"), pipe=("/opt/pipe", {"type": "p"}, "fifo"))
def a_file_of_the_image_that_is_the_device_stays(t, path, what, shown):
    root = image_with(t)
    eq(t.ok(with_device(sh(f"stat -c %F {path}"), path, **what), rootfs=root), shown + "\n", "the node")


@test
def a_device_outside_of_dev_is_made_where_it_is_said(t):
    config = with_device(sh("stat -c '%F %t:%T %a %u %g' /opt/a/b; echo x >/opt/a/b && echo wrote"),
                         "/opt/a/b", **NULL, fileMode=0o622, uid=3, gid=4)
    eq(t.ok(config, rootfs=t.own_root()), "character special file 1:3 622 3 4\nwrote\n", "the node")


@cases(file=("/dev/null", NULL), fifo=("/dev/p", {"type": "p", "fileMode": 0o600}))
def a_user_namespace_gets_a_device_of_the_config(t, path, what):
    config = with_device(with_user_namespace(sh(f"stat -c '%F %t:%T' {path}")), path, **what)
    shown = "fifo 0:0" if what["type"] == "p" else "character special file 1:3"
    eq(t.ok(config), shown + "\n", "the node")


@cases(other=("/dev/null", NULL | {"minor": 5}, "1:5"), missing=("/dev/no-such", NULL, "/dev/no-such"))
def a_user_namespace_gets_no_device_that_the_host_does_not_have_there(t, path, what, part):
    t.refused(with_device(with_user_namespace(minimal()), path, **what), "/linux/devices/0", path, part)


@test
def in_a_user_namespace_a_link_of_the_image_does_not_carry_a_device_away(t):
    """Without a /dev of the config's the image has its say there."""
    root = t.own_root()
    os.chown(os.path.join(root, "dev"), 100000, 100000)
    os.symlink("/etc/mark", os.path.join(root, "dev/zero"))
    config = with_user_namespace(sh("head -c 2 /dev/zero | wc -c; cat /etc/mark"))
    config["mounts"] = [m for m in config["mounts"] if m["destination"] != "/dev"]
    eq(t.ok(config, rootfs=root), "2\nthe shared root\n", "the device, and what the link named")
    os.symlink("/etc/mark", os.path.join(root, "dev/kmsg"))
    t.refused(with_device(config, "/dev/kmsg", type="c", major=1, minor=11), "/linux/devices/0",
              "another file", rootfs=root)


@cases(type_a=({"type": "a", "major": 1, "minor": 3}, "type"), no_type=({"major": 1, "minor": 3}, "type"),
       no_major=({"type": "c", "minor": 3}, "major"), no_minor=({"type": "b", "major": 1}, "minor"),
       word=({"type": "char", "major": 1, "minor": 3}, "type"))
def a_device_without_what_it_needs_is_refused(t, what, part):
    t.refused(with_device(minimal(), "/dev/x", **what), "/linux/devices/0", part)


@test
def a_device_without_a_path_is_refused(t):
    config = minimal()
    config["linux"]["devices"] = [dict(NULL)]
    t.refused(config, "/linux/devices/0", "path")


@test
@row("DEV-3")
def a_device_in_a_new_directory_is_made(t):
    config = sh("stat -c %F /dev/a/b/null; echo x >/dev/a/b/null && echo wrote")
    config["linux"]["devices"] = [{"path": "/dev/a/b/null", "type": "c", "major": 1, "minor": 3,
                                   "fileMode": 0o666, "uid": 0, "gid": 0}]
    eq(t.ok(config), "character special file\nwrote\n", "the node")


@test
def a_configured_device_replaces_a_default_one(t):
    config = sh("stat -c '%t:%T %a' /dev/zero")
    config["linux"]["devices"] = [{"path": "/dev/zero", "type": "c", "major": 1, "minor": 5,
                                   "fileMode": 0o600, "uid": 0, "gid": 0}]
    eq(t.ok(config), "1:5 600\n", "the node")


@cases(absolute=("/tmp",), parents=("../../../../../../../../../tmp",))
def a_device_at_a_path_that_leads_outside_stays_inside(t, target):
    name = f"{t.token}-device"
    root = t.own_root()
    os.symlink(target, os.path.join(root, "way"))
    config = minimal()
    config["root"]["readonly"] = False
    config["linux"]["devices"] = [{"path": f"/way/{name}", "type": "c", "major": 1, "minor": 3}]
    done = t.run(config, rootfs=root)
    check(not os.path.lexists(f"/tmp/{name}"), "a node was made outside of the root")
    if done.status == 0:
        made = os.stat(os.path.join(root, "tmp", name))
        eq((stat.S_ISCHR(made.st_mode), made.st_rdev), (True, os.makedev(1, 3)),
           "the node inside the root")
    else:
        contains(done.error, "/linux/devices/0", "stderr")


@test
def a_new_pseudo_terminal_is_the_containers_own(t):
    text = t.ok(default(*SHELL, "exec 3<>/dev/ptmx; ls /dev/pts"))
    check("0" in text.split(), f"/dev/pts holds {text.split()}")


@test
def devices_work_in_a_user_namespace(t):
    config = with_user_namespace(sh("echo x >/dev/null && head -c 3 /dev/zero | wc -c"))
    eq(t.ok(config), "3\n", "bytes of /dev/zero")


# ---- cgroup mounts -------------------------------------------------------------------------------


@test
def the_cgroup_mount_is_read_only_and_shows_the_own_cgroup(t):
    """Without a cgroup namespace too: nothing of the host's other cgroups is visible."""
    config = default(*SHELL,
                     "find /sys/fs/cgroup -name cgroup.procs | while read f; do cat $f; done | "
                     "sort -u | tr '\\n' ' '; find /sys/fs/cgroup -type d | grep -c teca-system")
    text = t.run(config).text
    pids = [int(p) for p in text.split()[:-1]]
    check(pids and 1 in pids and 0 not in pids, f"processes in the visible cgroups: {pids}")
    config = default(*SHELL,
                     "for d in /sys/fs/cgroup /sys/fs/cgroup/*; do mkdir $d/x 2>/dev/null && "
                     "echo $d; done; echo tried")
    eq(t.ok(config), "tried\n", "places below /sys/fs/cgroup that can be written")
