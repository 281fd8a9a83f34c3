# SPDX-License-Identifier: Apache-2.0
"""What KVM is good for is tried once and kept in /run/teca-kvm. Each test sees a /run of its own."""
import os
import re

from harness import check, contains, eq, minimal, mount, private_mounts, test

KEPT = "/run/teca-kvm"


def own_run(t):
    if not os.access("/dev/kvm", os.R_OK | os.W_OK):
        t.skip("there is no /dev/kvm that can be opened here")
    private_mounts()
    mount("tmpfs", "/run", "tmpfs", 0, "mode=755")


def ask(t, verb="run"):
    """The sentence, and whether a guest was tried. Where KVM would do, NOTIFY_SOCKET is refused behind it."""
    config = minimal("/bin/true")
    config["annotations"] = {"org.teca.isolation": "vm"}
    where, trace = t.bundle(config), t.path("trace")
    words = (verb, "--bundle", where) + ((t.new_id(),) if verb == "run" else ())
    done = t.call(["strace", "-f", "-o", trace, "-e", "trace=ioctl", *t.argv(*words)],
                  env=os.environ | {"NOTIFY_SOCKET": "/nobody"})
    eq(done.status, 1, f"exit status ({done.error})")
    with open(trace, encoding="utf-8", errors="replace") as f:
        return done.error, "KVM_CREATE_VM" in f.read()


def read():
    with open(KEPT, encoding="utf-8") as f:
        return f.read()


def write(text):
    with open(KEPT, "w", encoding="utf-8") as f:
        f.write(text)


@test
def a_host_is_asked_once(t):
    own_run(t)
    sentence, tried = ask(t)
    eq((tried, ask(t)), (True, (sentence, False)), "the first, and the second")
    status = os.stat(KEPT)
    eq((status.st_mode, status.st_uid), (0o100600, 0), "the file")
    with open("/proc/sys/kernel/random/boot_id", encoding="ascii") as f:
        contains(read(), f"1 {f.read().strip()} ", "its first line")
    key = read().splitlines()[0] + "\n"
    write(key)
    contains(ask(t)[0], "NOTIFY_SOCKET", "the sentence where kernels run")
    write(key + "the moon is full")
    contains(ask(t)[0], "the moon is full", "the sentence of a reason that was kept")


@test
def what_is_not_of_this_boot_or_not_roots_alone_is_not_believed(t):
    own_run(t)
    first = ask(t)
    good = read()
    key = good.splitlines()[0] + "\n"
    lies = {"another boot": re.sub("^1 [0-9a-f]{4}", "1 zzzz", good), "nothing": "",
            "garbage": "\0" * 4096, "another form": "2" + good[1:], "a NUL": key + "x\0y",
            "half a key": key[:-9]}
    for name, text in lies.items():
        write(text)
        eq(ask(t), first, name)
        eq(read(), good, f"what is kept after {name}")
    os.chmod(KEPT, 0o620)
    eq(ask(t), first, "a file that others write to")
    os.chown(KEPT, 1, 0)
    eq(ask(t), first, "a file of another's")
    os.rename(KEPT, KEPT + "-other")
    os.symlink(KEPT + "-other", KEPT)
    eq(ask(t), first, "a link")
    check(os.path.islink(KEPT) or read() == good, "what the link became")


@test
def explain_keeps_nothing(t):
    own_run(t)
    eq(ask(t, "explain")[1], True, "a guest was tried")
    check(not os.path.exists(KEPT), "explain has written")
