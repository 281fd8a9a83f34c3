# SPDX-License-Identifier: Apache-2.0
"""The command line: spec, version, help, spelling of flags."""
import json
import os
import stat
import time

from harness import allow, cases, check, contains, default, eq, minimal, test, without

VERBS = ("run", "create", "start", "state", "kill", "delete", "list", "spec", "explain", "check")


@test
def spec_writes_the_default_configuration(t):
    os.mkdir(t.path("b"))
    done = t.teca("spec", cwd=t.path("b"), expect=0, preexec_fn=lambda: os.umask(0o027))
    eq((done.out, done.err), (b"", b""), "what spec printed")
    eq(stat.S_IMODE(os.stat(t.path("b/config.json")).st_mode), 0o640, "mode of config.json")
    with open(t.path("b/config.json"), encoding="utf-8") as f:
        text = f.read()
    contains(text, '\n\t"', "tab-indented text")
    config = json.loads(text)
    eq([m["destination"] for m in config["mounts"]],
       [m["destination"] for m in default()["mounts"]], "mounts")
    check(config["process"]["args"] and config["root"]["path"] == "rootfs", "process and root")


@test
def spec_refuses_to_overwrite(t):
    os.mkdir(t.path("b"))
    t.file("b/config.json", "mine")
    done = t.teca("spec", "--bundle", t.path("b"))
    eq(done.status, 1, "exit status")
    contains(done.error, "exists", "stderr")
    with open(t.path("b/config.json"), encoding="ascii") as f:
        eq(f.read(), "mine", "the file that was there")


@cases(plain=[], rootless=["--rootless"])
def what_spec_writes_passes_check(t, flags):
    os.mkdir(t.path("b"))
    t.teca("spec", *flags, "--bundle", t.path("b"), expect=0)
    done = t.teca("check", "--bundle", t.path("b"))
    for line in done.text.splitlines():
        check("/process/terminal" in line, f"check says {line}")


@test
def what_spec_writes_runs(t):
    os.mkdir(t.path("b"))
    t.teca("spec", "--bundle", t.path("b"), expect=0)
    with open(t.path("b/config.json"), encoding="utf-8") as f:
        config = json.load(f)
    config["process"]["terminal"] = False
    config["process"]["args"] = ["/bin/echo", "ran"]
    eq(t.ok(config), "ran\n", "stdout")


@test
def version_has_the_lines_that_engines_read(t):
    done = t.call([t.binary, "--version"], env={},
                  preexec_fn=lambda: os.setresuid(65534, 65534, 65534), cwd="/")
    eq((done.status, done.error), (0, ""), "status and stderr without root and environment")
    lines = done.text.splitlines()
    contains(lines[0], " version ", "first line")
    eq([line for line in lines[1:] if "version" in line], [], "other lines with the word version")
    check(any(line.startswith("spec: 1.") for line in lines), f"no spec line in {lines}")
    check(any(line.startswith("commit:") for line in lines), f"no commit line in {lines}")


def as_dockerd_reads(text):
    """engine-contract 1.3.16: NAME and VERSION around the word, of the last line that has it; the commit."""
    found = {}
    for line in text.splitlines():
        if "version" in line:
            found["name"], found["version"] = (part.strip() for part in line.split("version", 1))
        elif line.startswith("commit:"):
            found["commit"] = line.removeprefix("commit:").strip()
    return found


def as_go_runc_reads(text):
    """The same for containerd: the name must be runc there, or it knows no number, which is no error."""
    lines = text.splitlines()
    found = {"version": lines[0].removeprefix("runc version ") if lines[0].startswith("runc version ") else ""}
    for line in lines:
        for key in ("commit: ", "spec: "):
            if line.startswith(key):
                found[key.rstrip(": ")] = line.removeprefix(key)
    return found


@test
def every_engine_finds_what_it_looks_for_in_the_version(t):
    text = t.teca("--version", expect=0).text
    made = json.loads(t.teca("features", expect=0).text)["annotations"]
    version, commit = made["org.teca.version"], made["org.teca.commit"]
    eq(as_dockerd_reads(text), {"name": "teca", "version": version, "commit": commit}, "dockerd")
    # teca says its own name: that is no runc, and nothing of containerd depends on the number.
    eq(as_go_runc_reads(text), {"version": "", "commit": commit, "spec": "1.3.0"}, "go-runc")


@cases(short="-v", long="--version", capital="-V")
def version_has_several_spellings(t, flag):
    eq(t.call([t.binary, flag]).status, 0, "exit status")


@test
def help_lists_every_verb(t):
    for flag in ("--help", "-h"):
        done = t.call([t.binary, flag])
        eq((done.status, done.error), (0, ""), "status and stderr")
        for verb in VERBS:
            contains(done.text, f"  {verb} ", "help")


@cases(**{v: v for v in VERBS})
def every_verb_has_help(t, verb):
    done = t.call([t.binary, verb, "--help"])
    eq((done.status, done.error), (0, ""), "status and stderr")
    contains(done.text, verb, "help")


@cases(global_flag=["--no-such-flag", "list"], verb_flag=["list", "--no-such-flag"],
       verb=["coffee"], nothing=[],
       missing_value=["--root"], missing_id=["state"], two_ids=["state", "a", "b"],
       extra=["list", "x"],
       three_for_kill=["kill", "a", "9", "b"])
def wrong_usage_fails_with_a_sentence(t, arguments):
    done = t.call([t.binary, *arguments])
    check(done.status != 0, "success")
    check(done.error.strip(), "nothing on stderr")
    eq(done.out, b"", "stdout")


@test
def a_missing_argument_is_told_in_the_words_podman_looks_for(t):
    text = t.call([t.binary, "create", "--bundle"]).error
    check("flag needs an argument" in text or "requires an argument" in text, f"stderr is {text!r}")


@cases(one_dash=["-bundle", "{}"], equals=["--bundle={}"], short=["-b", "{}"],
       twice=["-b", "/nowhere", "--bundle", "{}"],
       ignored=["--no-subreaper", "--no-new-keyring", "--bundle={}"],
       false=["--keep=false", "-b={}"])
def flags_are_spelled_as_engines_spell_them(t, flags):
    where = t.bundle(minimal("/bin/echo", "ran"))
    eq(t.teca("run", *[f.format(where) for f in flags], t.new_id(), expect=0).text, "ran\n",
       "stdout")


@test
def another_configuration_file_can_be_named(t):
    where = t.bundle(minimal("/bin/false"))
    other = t.bundle(minimal("/bin/echo", "the other one"))
    done = t.teca("run", "--bundle", where, "--config", os.path.join(other, "config.json"),
                  t.new_id(), expect=0)
    eq(done.text, "the other one\n", "stdout")


@cases(run=((), True), left_to_the_caller=(("--no-subreaper",), False), as_go_runc_writes_it=(("-no-subreaper",), False))
def orphans_of_the_container_are_reaped_by_run(t, flags, by_run):
    """Without a pid namespace: who is the parent of a process whose own parent has ended?"""
    script = "(sh -c 'sleep 0.5; grep PPid: /proc/$$/status' &); sleep 1.5"
    config = without(minimal("/bin/sh", "-c", script), "pid")
    process = t.popen("run", *flags, "--bundle", t.bundle(config), t.new_id())
    out, error = process.communicate(timeout=allow(20))
    eq((process.returncode, error), (0, b""), "status and stderr")
    eq(int(out.split()[1]), process.pid if by_run else os.getpid(), "the parent of an orphan")


def config_by_pipe(t, *pieces):
    """`run --config` of a pipe that is written to in pieces."""
    where = t.bundle("{}")
    read, write = os.pipe()
    process = t.popen("run", "--bundle", where, "--config", "/dev/stdin", t.new_id(), stdin=read)
    os.close(read)
    for piece in pieces:
        os.write(write, piece.encode())
        time.sleep(0.2)
    os.close(write)
    out, error = process.communicate(timeout=allow(20))
    return process.returncode, out.decode(), error.decode()


@cases(whole=None, in_the_middle=100, after_a_brace=0)
def a_configuration_may_come_in_pieces(t, at):
    config = minimal("/bin/echo", "ran")
    config["root"]["path"] = t.shared_root
    text = json.dumps(config)
    at = text.index("}") + 1 if at == 0 else at
    eq(config_by_pipe(t, *([text[:at], text[at:]] if at else [text])), (0, "ran\n", ""), "the run")


@test
def what_follows_a_configuration_is_refused(t):
    config = minimal("/bin/echo", "ran")
    where = t.bundle(config)
    with open(os.path.join(where, "config.json"), "a", encoding="ascii") as f:
        f.write("x")
    done = t.teca("run", "--bundle", where, t.new_id(), expect=1)
    contains(done.error, "line 1", "stderr")


@test
def everything_works_without_any_environment(t):
    where, container = t.bundle(minimal("/payload", "catch", "15")), t.new_id()
    for call in (["create", "--bundle", where, container], ["start", container],
                 ["state", container],
                 ["kill", container, "KILL"], ["list"], ["delete", "--force", container]):
        t.teca(*call, env={}, expect=0)


@test
def the_waiting_init_does_not_offer_the_binary_for_writing(t):
    """CVE-2019-5736: what its /proc/PID/exe names cannot be written."""
    container = t.create(minimal())
    pid = t.pid(container)
    try:
        with open(f"/proc/{pid}/exe", "r+b"):
            check(False, "the runtime's binary was opened for writing through /proc/PID/exe")
    except OSError as e:
        check(e.errno in (30, 26, 13), f"opening /proc/{pid}/exe for writing: {e}")
