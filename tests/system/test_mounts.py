# SPDX-License-Identifier: Apache-2.0
"""The file system that the container sees: mounts and their options, binds, propagation, pivot."""
import os
import time
import shutil
import socket
import stat

from harness import (MS_SHARED, cases, check, contains, default, eq, lacks, minimal, mount_at,
                     mounts_of, private_mounts, row, test, with_mount, with_user_namespace)

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


def nested_host(t):
    """host/ with a tmpfs at host/inner that holds one file."""
    os.mkdir(t.path("host"))
    t.mount("tmpfs", t.path("host/inner"), "tmpfs")
    t.file("host/inner/file", "inner\n")


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


@cases(nosuid=("rnosuid", "nosuid"), nodev=("rnodev", "nodev"), noexec=("rnoexec", "noexec"),
       ro=("rro", "ro"), noatime=("rnoatime", "noatime"))
@row("CFG-9")
def a_recursive_option_reaches_the_mounts_below(t, option, shown):
    nested_host(t)
    config = with_mount(minimal(), "/mnt/a", "bind", t.path("host"), "rbind", option)
    text = mounts_in(t, config)
    for where in ("/mnt/a", "/mnt/a/inner"):
        contains(mount_at(text, where)["options"], shown, f"options at {where}")


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


def in_shared_host(t, config, script):
    """
    A host whose mounts are shared: unshare gives one. The container runs there, with the script
    beside it.
    """
    os.makedirs(t.path("peer"), exist_ok=True)
    container, where = t.new_id(), t.bundle(config)
    run = " ".join(t.argv("run", "--bundle", where, container))
    text = (f"mount -t tmpfs peer {t.path('peer')} && mkdir {t.path('peer')}/sub && "
            f"{{ {run} & }} && {script}; wait $!")
    return t.call(["unshare", "-m", "--propagation", "shared", "sh", "-c", text])


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
