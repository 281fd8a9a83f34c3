# SPDX-License-Identifier: Apache-2.0
"""Idmapped mounts: the options idmap and ridmap, uidMappings and gidMappings of a mount."""
import json
import os

from harness import (cases, check, contains, eq, joined, lacks, minimal, mount_at, mounts_of, row, test,
                     with_mount, with_user_namespace)

SHELL = ("/bin/sh", "-c")


def sh(script):
    return minimal(*SHELL, script)


def maps(container, host, size=1):
    return [{"containerID": container, "hostID": host, "size": size}]


def mapped(config, source, *options, uid=None, gid=None, where="/mnt/a"):
    """A bind with mappings; uid (container, host, size)."""
    with_mount(config, where, "bind", source, *options)
    if uid:
        config["mounts"][-1]["uidMappings"] = maps(*uid)
        config["mounts"][-1]["gidMappings"] = maps(*(gid or uid))
    return config


def owned(t, name, uid, gid=None):
    path = t.file(name, "text\n")
    os.chown(path, uid, uid if gid is None else gid)
    return path


def on_file_system(t, kind):
    """A directory of the test on this file system, with a file of 0:0 and one of 1:2."""
    if kind == "ext4":
        os.mkdir(t.path("host"))
    elif kind == "overlay":
        t.mount("tmpfs", t.path("layers"), "tmpfs")
        for name in ("lower", "upper", "work"):
            os.mkdir(t.path("layers", name))
        layers = ",".join(f"{n}dir={t.path('layers', n)}" for n in ("lower", "upper", "work"))
        t.mount("overlay", t.path("host"), "overlay", 0, layers)
    else:
        t.mount(kind, t.path("host"), kind)
    if kind not in ("proc", "sysfs"):
        owned(t, "host/root", 0)
        owned(t, "host/user", 1, 2)
    return t.path("host")


OWNERS = "cd /mnt/a; stat -c '%n %u %g' root user"


# ---- explicit mappings ---------------------------------------------------------------------------


@cases(ext4=("ext4",), tmpfs=("tmpfs",))
@row("CFG-12", "CFG-14")
def files_show_the_mapped_owners_and_new_ones_get_the_mapped_back(t, kind):
    host = on_file_system(t, kind)
    script = OWNERS + "; echo x >new && stat -c '%n %u %g' new"
    config = mapped(sh(script), host, "bind", "idmap", uid=(0, 0, 1))
    config["mounts"][-1]["uidMappings"] = maps(0, 0) + maps(1, 1000, 10)
    config["mounts"][-1]["gidMappings"] = maps(0, 0) + maps(2, 2000, 10)
    eq(t.ok(config), "root 0 0\nuser 1000 2000\nnew 0 0\n", "owners inside")
    config = mapped(sh("cd /mnt/a; echo x >mine; stat -c '%u %g' mine"), host, "bind", "idmap",
                    uid=(5, 1000, 1), gid=(6, 2000, 1))
    for kind in ("uidMappings", "gidMappings"):  # of the directory; else nobody may write to it
        config["mounts"][-1][kind] += maps(0, 0)
    config["process"]["user"] = {"uid": 1000, "gid": 2000}
    os.chmod(host, 0o777)
    eq(t.ok(config), "1000 2000\n", "owner of a new file inside")
    made = os.stat(os.path.join(host, "mine"))
    eq((made.st_uid, made.st_gid), (5, 6), "owner of it on the host")


@test
def an_id_without_a_mapping_is_the_overflow_id_and_cannot_be_written_to(t):
    host = on_file_system(t, "tmpfs")
    config = mapped(sh(OWNERS + "; echo x >>user || true"), host, "bind", "idmap", uid=(0, 0, 1))
    done = t.run(config, expect=0)
    eq(done.text, "root 0 0\nuser 65534 65534\n", "owners inside")
    contains(done.error, "user", "what writing to it gives")


@test
def the_mount_table_says_idmapped_and_the_hosts_mount_is_not(t):
    host = on_file_system(t, "tmpfs")
    config = mapped(minimal(), host, "bind", "idmap", "ro", uid=(0, 1000, 1))
    found = mount_at(t.report(config)["mountinfo"], "/mnt/a")
    check({"idmapped", "ro"} <= set(found["options"]), f"options {found['options']}")
    lacks(mount_at(None, host)["options"], "idmapped", "options on the host")
    eq(os.stat(os.path.join(host, "root")).st_uid, 0, "owner on the host")


@test
def mappings_alone_map_too_and_without_them_nothing_is_mapped(t):
    """runtime-spec: the options SHOULD contain idmap when mappings are there; they need not."""
    host = on_file_system(t, "tmpfs")
    eq(t.ok(mapped(sh(OWNERS), host, "bind", uid=(0, 7, 9))), "root 7 7\nuser 8 9\n",
       "owners with mappings")
    eq(t.ok(mapped(sh(OWNERS), host, "bind")), "root 0 0\nuser 1 2\n", "owners without")


def nested(t):
    """host/ on tmpfs, with another tmpfs at host/inner."""
    host = on_file_system(t, "tmpfs")
    t.mount("tmpfs", t.path("host/inner"), "tmpfs")
    owned(t, "host/inner/deep", 0)
    return host


@cases(idmap=("idmap", "5 0"), ridmap=("ridmap", "5 5"))
@row("CFG-12")
def idmap_is_of_the_mount_and_ridmap_of_those_below_it_too(t, option, owners):
    config = mapped(sh("cd /mnt/a; echo $(stat -c %u root inner/deep)"), nested(t), "rbind", option,
                    uid=(0, 5, 1))
    eq(t.ok(config), owners + "\n", f"owners with {option}")


@test
def a_single_file_can_be_mapped(t):
    config = mapped(sh("stat -c '%u %g' /etc/mark"), owned(t, "file", 3, 4), "bind", "idmap",
                    uid=(3, 30, 1), gid=(4, 40, 1), where="/etc/mark")
    eq(t.ok(config), "30 40\n", "owner")


def plan_of(t, config):
    text = t.teca("explain", "--format", "json", "--bundle", t.bundle(config), t.new_id(),
                  expect=0).text
    return json.loads(text)


@test
def equal_mappings_share_one_namespace_and_others_have_their_own(t):
    host = on_file_system(t, "tmpfs")
    config = sh("for d in a b c; do echo $(stat -c %u /mnt/$d/root); done")
    with_mount(config, "/mnt", "tmpfs", "tmpfs")
    for where, uid in (("/mnt/a", (0, 5, 1)), ("/mnt/b", (0, 5, 1)), ("/mnt/c", (0, 6, 1))):
        mapped(config, host, "bind", "idmap", uid=uid, where=where)
    made = [s for s in plan_of(t, config)["steps"] if s["operation"] == "idmap-ns"]
    eq([s["lane"] for s in made], ["runtime"] * 2, "lanes of the steps that make a namespace")
    eq(t.ok(config), "5\n5\n6\n", "owners")


@test
def create_and_start_map_too(t):
    config = mapped(sh("stat -c %u /mnt/a/root >/mnt/a/said"), on_file_system(t, "tmpfs"), "bind",
                    "idmap")
    config["mounts"][-1]["uidMappings"] = maps(0, 0) + maps(1, 77)
    config["mounts"][-1]["gidMappings"] = maps(0, 0)
    container = t.create(config, start=True)
    t.teca("delete", "--force", container, expect=0)


# ---- a container in a user namespace -------------------------------------------------------------


@cases(ext4=("ext4",), tmpfs=("tmpfs",))
@row("CFG-12")
def in_a_user_namespace_its_own_ids_are_taken(t, kind):
    host = on_file_system(t, kind)
    script = OWNERS + "; echo x >new; stat -c '%u %g' new"
    eq(t.ok(mapped(with_user_namespace(sh(script)), host, "bind", "idmap")),
       "root 0 0\nuser 1 2\n0 0\n", "owners with idmap")
    made = os.stat(os.path.join(host, "new"))
    eq((made.st_uid, made.st_gid), (0, 0), "owner of a new file on the host")
    eq(t.ok(mapped(with_user_namespace(sh(OWNERS)), host, "bind")),
       "root 65534 65534\nuser 65534 65534\n", "owners without")


@test
def in_a_user_namespace_the_mappings_of_the_mount_count(t):
    """Host ids of the mapping, seen through the container's: 100000 there is 0 here."""
    config = mapped(with_user_namespace(sh(OWNERS)), on_file_system(t, "tmpfs"), "bind", "idmap",
                    uid=(0, 100020, 5))
    eq(t.ok(config), "root 20 20\nuser 21 22\n", "owners")


@test
def mappings_that_are_the_containers_own_need_no_namespace_of_their_own(t):
    config = mapped(with_user_namespace(sh(OWNERS)), on_file_system(t, "tmpfs"), "bind", "idmap",
                    uid=(0, 100000, 65536))
    made = [s["operands"] for s in plan_of(t, config)["steps"]
            if s["operation"] == "idmap-ns"]
    eq(len(made), 1, "steps that open a namespace")
    check("pid" in made[0], f"a namespace of its own is made: {made}")
    eq(t.ok(config), "root 0 0\nuser 1 2\n", "owners")


@test
def the_wait_for_the_maps_is_the_only_one_however_many_mounts_there_are(t):
    host = on_file_system(t, "tmpfs")
    plain = with_user_namespace(minimal())
    config = with_mount(with_user_namespace(minimal()), "/mnt", "tmpfs", "tmpfs")
    for i in range(5):
        mapped(config, host, "bind", "idmap", where=f"/mnt/{i}")

    eq(plan_of(t, config)["waits"], plan_of(t, plain)["waits"], "waits")


@test
def the_ids_of_a_user_namespace_that_is_joined_are_taken(t):
    pid = t.holder("--user")
    for name in ("uid_map", "gid_map"):
        with open(f"/proc/{pid}/{name}", "w", encoding="ascii") as f:
            f.write("0 100000 65536\n")
    config = joined(mapped(sh(OWNERS), on_file_system(t, "tmpfs"), "bind", "idmap"), "user",
                    f"/proc/{pid}/ns/user")
    eq(t.ok(config), "root 0 0\nuser 1 2\n", "owners")


# ---- refusals ------------------------------------------------------------------------------------


@test
@row("CFG-12")
def idmap_without_mappings_and_without_a_user_namespace_is_refused(t):
    for option in ("idmap", "ridmap"):
        t.refused(mapped(minimal(), t.dir, "bind", option), "/mounts/2/options",
                  "idmap needs mappings")


@test
def idmap_with_the_runtimes_own_user_namespace_is_refused(t):
    config = joined(mapped(minimal(), t.dir, "bind", "idmap"), "user", "/proc/self/ns/user")
    t.refused(config, "/mounts/2", "runtime's own")


@cases(uid=("uidMappings",), gid=("gidMappings",))
@row("CFG-14")
def one_kind_of_mappings_without_the_other_is_refused(t, kind):
    config = mapped(minimal(), t.dir, "bind", "idmap")
    config["mounts"][-1][kind] = maps(0, 1000)
    t.refused(config, "/mounts/2", "must be given together")


@cases(tmpfs=("tmpfs", ["idmap"]), remount=("none", ["remount", "bind", "idmap"]))
def only_a_bind_can_be_mapped(t, kind, options):
    config = with_mount(minimal(), "/mnt/a", kind, kind, *options)
    config["mounts"][-1] |= {"uidMappings": maps(0, 1000), "gidMappings": maps(0, 1000)}
    t.refused(config, "/mounts/2", "bind mount")


@cases(proc=("proc",), sysfs=("sysfs",), ramfs=("ramfs",), overlay=("overlay",))
def a_file_system_that_cannot_be_mapped_is_refused_by_name(t, kind):
    host = on_file_system(t, kind)
    t.refused(mapped(minimal(), host, "bind", "idmap", uid=(0, 1000, 1)), "/mounts/2", host,
              f"the file system {kind}")


@test
def ridmap_over_a_file_system_that_cannot_be_mapped_is_refused(t):
    host = on_file_system(t, "tmpfs")
    t.mount("proc", t.path("host/proc"), "proc")
    t.refused(mapped(minimal(), host, "rbind", "ridmap", uid=(0, 1000, 1)), "/mounts/2",
              "mounted below it")
    t.ok(mapped(minimal("/bin/true"), host, "rbind", "idmap", uid=(0, 1000, 1)))


@test
def a_source_that_is_mapped_already_is_refused(t):
    """The kernel maps a mount once; a container's own mount is the source here."""
    host = on_file_system(t, "tmpfs")
    container, pid = t.sleeper(mapped(minimal(), host, "bind", "idmap", uid=(0, 1000, 1)))
    source = f"/proc/{pid}/root/mnt/a"
    t.refused(mapped(minimal(), source, "bind", "idmap", uid=(0, 1000, 1)), "/mounts/2", source)
    t.teca("delete", "--force", container, expect=0)


@test
def nothing_stays_when_a_later_step_fails(t):
    config = mapped(minimal(), on_file_system(t, "tmpfs"), "bind", "idmap", uid=(0, 1000, 1))
    t.refused(with_mount(config, "/mnt/b", "nosuchfs"), "/mounts/3", "nosuchfs")
    eq([m["at"] for m in mounts_of() if t.dir in m["at"]], t.mounts, "mounts on the host")
