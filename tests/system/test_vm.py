# SPDX-License-Identifier: Apache-2.0
"""vm doctor: what it says of this host, and of hosts made up around it."""
import json
import os

from harness import check, contains, default, eq, mount, private_mounts, test

CAPS = ["split-irqchip", "signal-msi", "immediate-exit", "tsc-deadline", "ioeventfd", "irqfd",
        "max-vcpus"]


def doctor(t, **more):
    done = t.teca("vm", "doctor", "--format", "json", expect=0, **more)
    eq(done.error, "", "stderr")
    return json.loads(done.text)


MS_NODEV, MS_REMOUNT, MS_BIND = 4, 32, 4096  # linux/mount.h


def with_kvm_of(t, kind):
    """A mount namespace whose /dev/kvm is something else."""
    other = os.path.join(t.dir, "kvm")

    def prepare():
        private_mounts()
        if kind == "absent":
            mount("tmpfs", "/dev", "tmpfs")
            os.mknod("/dev/null", 0o020666, os.makedev(1, 3))
        else:
            mount(other, "/dev/kvm", "none", MS_BIND)
        if kind == "denied":
            mount("none", "/dev/kvm", "none", MS_BIND | MS_REMOUNT | MS_NODEV)
    if kind == "denied":
        other = "/dev/kvm"
    elif kind != "absent":
        with open(other, "w", encoding="utf-8") as file:
            file.write("no device")
    return prepare


@test
def the_guest_of_the_doctor_runs_on_this_host(t):
    if not os.access("/dev/kvm", os.R_OK | os.W_OK):
        t.skip("there is no /dev/kvm that can be opened here")
    found = doctor(t)
    eq(found["kvm"]["usable"], True, "kvm")
    eq(found["kvm"]["version"], 12, "version")
    eq(sorted(found["kvm"]["capabilities"]), sorted(CAPS), "capabilities")
    eq(found["runsPayloads"], True, "a payload")
    if found["runsKernels"]:
        eq(found["reason"], None, "a reason without a fault")
    else:
        contains(found["reason"], " fails: ", "the reason")
    if found["kvm"]["kind"] == "pvm":
        eq(found["runsKernels"], False, "a kernel on emulated instructions")
        contains(found["advice"], "vmx or svm", "the advice")


@test
def a_host_without_kvm_is_told_what_to_do(t):
    found = doctor(t, preexec_fn=with_kvm_of(t, "absent"))
    eq((found["kvm"]["usable"], found["runsPayloads"], found["runsKernels"]), (False,) * 3, "use")
    contains(found["reason"], "cannot open '/dev/kvm': No such file", "the reason")
    check(found["advice"], "no advice")
    done = t.teca("vm", "doctor", expect=0, preexec_fn=with_kvm_of(t, "absent"))
    contains(done.text, "runs         nothing", "the text")
    contains(done.text, found["advice"], "the text")


@test
def a_file_that_is_no_kvm_is_seen_through(t):
    if not os.path.exists("/dev/kvm"):
        t.skip("there is no /dev/kvm to cover")
    found = doctor(t, preexec_fn=with_kvm_of(t, "file"))
    eq((found["runsPayloads"], found["runsKernels"]), (False, False), "use")
    eq((found["kvm"]["usable"], found["kvm"]["version"]), (False, 0), "kvm")
    contains(found["reason"], "'/dev/kvm' is not KVM", "the reason")


@test
def a_machine_on_a_kvm_that_cannot_be_had_is_one_sentence(t):
    for kind, reason in (("absent", "cannot open '/dev/kvm': No such file"),
                         ("denied", "cannot open '/dev/kvm': Permission denied"),
                         ("file", "'/dev/kvm' is not KVM")):
        if kind != "absent" and not os.path.exists("/dev/kvm"):
            continue
        done = t.run(default("true"), "--isolation", "vm", preexec_fn=with_kvm_of(t, kind))
        eq((done.status, done.error.count("\n")), (1, 1), f"{kind}: status and lines")
        for part in (reason, "teca vm doctor", "--isolation emulated"):
            contains(done.error, part, kind)
        check(not os.path.isdir(t.state_root) or not os.listdir(t.state_root), f"{kind}: state is left")


@test
def qemu_and_kernels_are_looked_for(t):
    found = doctor(t, env=dict(os.environ, PATH="/nowhere"))
    eq(found["qemu"], None, "qemu in an empty PATH")
    program = os.path.join(t.dir, "qemu-system-x86_64")
    with open(program, "w", encoding="utf-8") as file:
        file.write("")
    os.chmod(program, 0o755)
    eq(doctor(t, env=dict(os.environ, PATH=f"/nowhere:{t.dir}"))["qemu"], program, "qemu")
    done = t.teca("vm", "doctor", expect=0, env=dict(os.environ, PATH="/nowhere"))
    contains(done.text, "apt install qemu-system-x86", "the text")

    def boot():
        private_mounts()
        for place in ("/boot", "/lib/modules"):
            mount("tmpfs", place, "tmpfs")
        for version in ("6.1.0-9", "6.12.0-1"):
            os.close(os.open(f"/boot/vmlinuz-{version}", os.O_CREAT | os.O_WRONLY))
        os.mkdir("/lib/modules/6.1.0-9")
    if os.path.isdir("/boot") and os.path.isdir("/lib/modules"):
        found = doctor(t, preexec_fn=boot)
        eq(found["kernel"], "/boot/vmlinuz-6.1.0-9", "the kernel that has modules")
        eq(found["modules"], "/lib/modules/6.1.0-9", "its modules")


@test
def an_unknown_word_is_refused(t):
    done = t.teca("vm", "surgeon", expect=1)
    contains(done.error, 'unknown word "surgeon" after vm', "stderr")
