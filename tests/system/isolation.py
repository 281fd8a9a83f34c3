# SPDX-License-Identifier: Apache-2.0
"""The suite in a mode of --isolation: which tests are run, and which of them have to end otherwise.

The rules are tests/isolation.txt, whose head describes it. A test that no rule names must pass in a
machine as it does in a container. One that is said to differ must not, and for the reason that is
written there: a rule that is out of date is a failure.
"""
import contextlib
import csv
import fnmatch
import os

import harness
import kernel

RULES = os.path.join(harness.TREE, "tests", "isolation.txt")
KINDS = ("apart", "differs")
MODES = ("emulated", "vm")
# A boot of an emulated processor beside an ordinary container of milliseconds.
SLOWNESS = {"emulated": 8.0, "vm": 2.0}


class Rule:
    """One reason, and the tests that it is the reason of."""

    def __init__(self, kind, key, sentence):
        self.kind, self.key, self.sentence = kind, key, sentence
        self.patterns = []  # (wildcard, modes, text)

    def covers(self, name, mode):
        """What the failure has to say, or None when this rule does not speak of the test."""
        for pattern, modes, text in self.patterns:
            if mode in modes and matches(pattern, name):
                return text
        return None


def matches(pattern, name):
    """'*' stands for anything, and no other sign means anything: names have brackets."""
    return fnmatch.fnmatchcase(name, pattern.replace("[", "[[]"))


def _pattern(words):
    modes = tuple(w[1:] for w in words[1:] if w.startswith("@"))
    if not set(modes) <= set(MODES):
        raise ValueError(f"no such mode: {' '.join(words)}")
    return words[0], modes or MODES


def read_rules():
    rules = []
    with open(RULES, encoding="utf-8") as file:
        for number, line in enumerate(file, 1):
            line = line.strip()
            if not line or line[0] == "#":
                continue
            if line[0] == "=":
                kind, key, sentence = line[1:].split(None, 2)
                if kind not in KINDS or any(r.key == key for r in rules):
                    raise ValueError(f"{RULES}:{number}: not understood: {line}")
                rules.append(Rule(kind, key, sentence))
                continue
            left, _, text = line.partition(" | ")
            rules[-1].patterns.append((*_pattern(left.split()), text.strip()))
    return rules


def rule_of(rules, name, mode):
    """(rule, what the failure has to say) of the first rule that speaks of the test."""
    for rule in rules:
        text = rule.covers(name, mode)
        if text is not None:
            return rule, text
    return None, None


def expected_to_differ(function, rule, text):
    """
    The same test turned round. What it leaves behind is looked for all the same. A test that is skipped for
    want of something else on this host says nothing of the mode, and is skipped.
    """

    def turned(t):
        try:
            function(t)
        except (harness.Failure, harness.Skip, OSError, ValueError, LookupError, TypeError) as e:
            if text in f"{type(e).__name__}: {e}":
                return
            if isinstance(e, harness.Skip):
                raise
            raise harness.Failure(f"differs, but not as tests/isolation.txt says ({text!r}): {e}")
        raise harness.Failure(f"passes, and tests/isolation.txt lists it ({rule.key})")

    return turned


def apply(tests, mode):
    """The tests for this mode, and how many stand apart."""
    rules, kept, apart = read_rules(), [], 0
    for name, function, seconds in tests:
        rule, text = rule_of(rules, name, mode)
        if rule and rule.kind == "apart":
            apart += 1
        elif rule:
            kept.append((name, expected_to_differ(function, rule, text), seconds))
        else:
            kept.append((name, function, seconds))
    return kept, apart


def write_result(path, outcome, name, reason):
    """A line as scripts/run-tests writes them."""
    with open(path, "a", encoding="utf-8") as file:
        file.write("\t".join(("system", "system/run", outcome, name, reason)) + "\n")


def read_results(*paths):
    """{test: (outcome, reason)}, the last of each. A run that was cut may have left half a line."""
    found = {}
    for path in paths:
        with contextlib.suppress(FileNotFoundError), open(path, encoding="utf-8", newline="") as file:
            for row in csv.reader(file, delimiter="\t", quoting=csv.QUOTE_NONE):
                if len(row) == 5:
                    found[row[3].removeprefix("kvm-isolation.")] = (row[2], row[4])
    return found


def begin(mode, binary):
    """Time limits and kernel for that mode; harness.ISOLATION says it before the tests are read."""
    if "TECA_TEST_SLOWNESS" not in os.environ:
        harness.SLOWNESS = SLOWNESS[mode]
    os.environ.update(kernel.prepared_by(binary))
    # The terminal that engines get is of the host's devpts: its number must not happen to be that of the container's own.
    os.openpty()
