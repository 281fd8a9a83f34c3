# SPDX-License-Identifier: Apache-2.0
"""tests/data/mutated: configurations with one fault each; tests/mutate.py says how they are made."""
import copy
import json
import os
import re
import subprocess
import sys

from harness import (DATA, TREE, cases, cgroups_with, check, contains, eq, fail, mounts_of, show,
                     test)

WHERE = os.path.join(DATA, "mutated")


def load(name):
    with open(os.path.join(WHERE, name), encoding="utf-8") as f:
        return json.load(f)


def groups():
    """The cases by the property they begin with, and those of linux and process by the second."""
    found = {}
    for case in load("cases.json"):
        names = case[2].split("/")[1:]
        group = names[0]
        if group in ("linux", "process") and len(names) > 1:
            group += "_" + names[1]
        found.setdefault(re.sub(r"\W", "_", group), []).append(case)
    return found


def mutated(base, pointer, value):
    document = copy.deepcopy(base)
    *way, last = [n.replace("~1", "/").replace("~0", "~") for n in pointer.split("/")[1:]]
    where = document
    for name in way:
        where = where[int(name)] if isinstance(where, list) else where.setdefault(name, {})
    last = int(last) if isinstance(where, list) else last
    if not value:
        del where[last]
    elif len(value) == 2:
        where[last] = value[0] * value[1]
    else:
        where[last] = value[0]
    return document


class Mutants:
    def __init__(self, t):
        self.t = t
        self.bases = {name: load(name + ".json") for name in ("runs", "wide")}
        self.root = t.own_root()  # a mount target or a device may be made in it
        self.known = self.errors(self.bases["wide"], "the wide document")

    def write(self, config):
        where = self.t.path("mutant")
        os.makedirs(where, exist_ok=True)
        if isinstance(config.get("root"), dict) and config["root"].get("path") == "rootfs":
            config = config | {"root": config["root"] | {"path": self.root}}
        with open(os.path.join(where, "config.json"), "w", encoding="utf-8") as f:
            json.dump(config, f)
        return where

    def errors(self, config, name):
        """What check calls an error."""
        done = self.t.teca("check", "--format", "json", "--bundle", self.write(config))
        check(done.status in (0, 1), f"{name}: exit status of check {done.status} ({done.error})")
        return sorted(f["pointer"] for f in json.loads(done.text)["faults"]
                      if f["level"] == "error")

    def nothing_there(self, name):
        left = os.listdir(self.t.state_root) if os.path.isdir(self.t.state_root) else []
        check(not left, f"{name}: state left behind: {left}")

    def try_one(self, name, base, pointer, value, verdict):
        config = mutated(self.bases[base], pointer, value)
        if verdict == "valid":
            eq(self.errors(config, name), self.known, f"{name}: errors")
            return
        container = self.t.token + "-m"
        done = self.t.teca("create", "--bundle", self.write(config), container)
        if verdict == "runs":
            eq(done.status, 0, f"{name}: exit status of create ({show(done.error)})")
            self.t.teca("delete", "--force", container, expect=0)
        else:
            self.refused(name, done, verdict)
        self.nothing_there(name)

    @staticmethod
    def refused(name, done, verdict):
        eq(done.status, 1, f"{name}: exit status of create ({show(done.error)})")
        eq(done.error.rstrip("\n").count("\n"), 0, f"{name}: newlines in {show(done.error)}")
        contains(done.error, verdict, f"{name}: stderr")
        eq(done.out, b"", f"{name}: stdout")


@cases(**{name: (lines,) for name, lines in groups().items()})
def a_mutated_configuration_meets_its_verdict(t, lines):
    mutants = Mutants(t)
    wrong = []
    mounts = len(mounts_of())
    for line in lines:
        try:
            mutants.try_one(*line)
        except Exception as e:  # all of them are told at once
            wrong.append(str(e))
            t.teca("delete", "--force", t.token + "-m")
    check(not wrong, f"{len(wrong)} of {len(lines)}: " + "; ".join(wrong[:20]))
    eq(cgroups_with(t.token), [], "cgroups left behind")
    eq(len([m for m in mounts_of() if t.dir in m["at"]]), 0, f"mounts, of {mounts} before")


@test
def the_mutated_configurations_are_what_the_script_writes(t):
    del t
    done = subprocess.run([sys.executable, os.path.join(TREE, "tests", "mutate.py"), "--check"],
                          capture_output=True, check=False)
    eq((done.returncode, done.stderr), (0, b""), "tests/mutate.py --check")
    check(len(load("cases.json")) > 200, "fewer than two hundred")


@test
def every_property_that_teca_reads_is_mutated(t):
    """The rows of src/spec/fields.c against the names in the pointers of the cases."""
    del t
    with open(os.path.join(TREE, "src", "spec", "fields.c"), encoding="utf-8") as f:
        rows = set(re.findall(r'\{ [A-Z_0-9]+\("(\w+)"', f.read()))
    check(len(rows) > 150, f"only {len(rows)} rows found: has their form changed?")
    mutated_names = {name for case in load("cases.json") for name in case[2].split("/")}
    missing = sorted(rows - mutated_names)
    if missing:
        fail(f"no mutation of {missing}")
