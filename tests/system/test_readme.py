# SPDX-License-Identifier: Apache-2.0
"""What README.md and examples/ tell a reader to type does what they say."""
import json
import os
import re

from harness import TREE, check, contains, eq, test, wait_until

LIVING = {"exec", "ps", "pause", "resume", "update", "events"}  # these want a container that runs
ELSEWHERE = {"checkpoint", "restore"}  # CRIU knows not every kernel: test_checkpoint.py, in the test VM
MACHINES = {"prepare", "--isolation"}  # these want a kernel in /boot: test_vm_prepare.py, test_vm_emulated.py


def commands():
    """The indented lines of "Using it" that call teca, without their remarks."""
    with open(os.path.join(TREE, "README.md"), encoding="utf-8") as file:
        text = file.read().split("## Using it")[1].split("A fault is one sentence")[0]
    return [line.split("#")[0].split()[1:] for line in text.splitlines() if line.startswith("    teca ")]


def words(command, container):
    """Without what is optional; ID and COMMAND are places for something real."""
    text = re.sub(r"\[[^]]*\] ?", "", " ".join(command))
    return text.replace("ID", container).replace("COMMAND...", "/bin/true").split()


@test
def every_command_of_the_readme_works_in_its_order(t):
    done = []
    where = t.path("bundle")
    os.mkdir(where)
    os.symlink(t.own_root(), os.path.join(where, "rootfs"))
    container, living = t.new_id(), None
    for command in commands():
        verb = command[0]
        if verb in ELSEWHERE or MACHINES & set(command):
            continue
        if verb in LIVING and not living:
            living, _ = t.sleeper()
        called = t.teca(*words(command, living if verb in LIVING else container), cwd=where)
        eq((called.status, called.error), (0, ""), f"status and stderr of {' '.join(command)}")
        if verb == "spec":
            with open(os.path.join(where, "config.json"), encoding="utf-8") as file:
                config = json.load(file)
            eq(config["process"]["args"], ["sh"], "what the default config runs")
        if verb == "run":  # a program that waits for the signal
            config["process"]["args"] = ["sleep", "1000"]
            config["linux"]["namespaces"] = [n for n in config["linux"]["namespaces"] if n["type"] != "pid"]
            with open(os.path.join(where, "config.json"), "w", encoding="utf-8") as file:
                json.dump(config, file)
        if verb == "kill":
            wait_until(lambda: t.state(container)["status"] == "stopped", "the container has stopped")
        done.append(verb)
    check(len(done) >= 15, f"only {done} were found in README.md")


@test
def the_example_greets_from_inside(t):
    env = dict(os.environ, TECA=t.binary)
    done = t.call([os.path.join(TREE, "examples", "hello", "run.sh")], env=env)
    eq((done.status, done.error), (0, ""), "status and stderr")
    for line in ("Hello from inside a container.", "host name      hello", "seccomp mode   2"):
        contains(done.text, line, "what the example prints")
