# SPDX-License-Identifier: Apache-2.0
"""What a person does with an engine of docker's command line, one behaviour a function."""
import os
import re
import time
import urllib.request

from engine import IMAGE, Differs, allow, behaviour, check, contains, eq, lacks, parse, until_size, wait_until

BOTH = "docker-like"


def sleeper(e, *flags, command=("sleep", "1000")):
    """A container in the background; gives its name."""
    name = e.fresh()
    e.ok("run", "-d", "--name", name, *flags, IMAGE, *command)
    return name


def fetch(url):
    try:
        with urllib.request.urlopen(url, timeout=2) as answer:
            return answer.read()
    except OSError:
        return b""


def gone(e, *names):
    e.ok(*e.rm_f, *names)


@behaviour("run, output and exit status", BOTH)
def run(e):
    done = e("run", "--rm", IMAGE, "sh", "-c", "echo out; echo err >&2; exit 3")
    eq((done.status, done.out), (3, "out\n"), "status and stdout")
    contains(done.err, "err\n", "stderr")


@behaviour("run -i reads standard input to its end", BOTH)
def run_i(e):
    eq(e.ok("run", "--rm", "-i", IMAGE, "wc", "-c", stdin="x" * 100000).strip(), "100000",
       "bytes counted inside")


@behaviour("run -d, logs", BOTH)
def run_d_logs(e):
    name = e.fresh()
    e.ok("run", "-d", "--name", name, IMAGE, "sh", "-c", "echo one; echo two >&2; sleep 1000")
    done = wait_until(lambda: (d := e("logs", name)).out and d.err and d, "logs")
    eq((done.out, done.err), ("one\n", "two\n"), "the logs")
    gone(e, name)


@behaviour("run -it: a terminal with job control", BOTH)
def run_it(e):
    status, seen = e.terminal("run", "--rm", "-it", IMAGE, "sh", rows=33, columns=101, script=[
        (r"[#$] ", 1.0), (r"", f"tty; {until_size(33, 101)}\n"), (r"/dev/pts/\d+[\s\S]*33 101[\s\S]*[#$] ", "sleep 1000\n"),
        (r"sleep 1000", 1.0), (r"", "\x03"), (r"[#$] ", "sleep 999 & jobs\n"),
        (r"Running[\s\S]*[#$] ", "exit 7\n")])
    eq(status, 7, f"exit status after {seen!r}")


@behaviour("exec: output, exit status, user, directory, environment", BOTH)
def exec_plain(e):
    name = sleeper(e)
    done = e("exec", name, "sh", "-c", "echo hello; exit 9")
    eq((done.status, done.out), (9, "hello\n"), "status and output")
    eq(e.ok("exec", "-u", "1000:1000", "-w", "/srv", "-e", "A=b", name, "sh", "-c",
            "id -u; pwd; echo $A"), "1000\n/srv\nb\n", "what exec was told")
    eq(e.ok("exec", "-i", name, "cat", stdin="through"), "through", "stdin of exec")
    gone(e, name)


@behaviour("exec -it: a terminal that follows its window", BOTH)
def exec_it(e):
    name = sleeper(e)
    status, seen = e.terminal("exec", "-it", name, "sh", rows=20, columns=70, script=[
        (r"[#$] ", until_size(20, 70) + "\n"), (r"20 70[\s\S]*[#$] ", (44, 111)),
        (r"", until_size(44, 111) + "\n"), (r"44 111[\s\S]*[#$] ", "exit 5\n")])
    eq(status, 5, f"exit status after {seen!r}")
    gone(e, name)


@behaviour("exec of what is not there: 127 (dockerd 20.10: 126), not executable: 126", BOTH)
def exec_failures(e):
    name = sleeper(e)
    eq(e("exec", name, "nope").status, e.exec_missing, "exec of a missing command")
    eq(e("exec", name, "/opt/plain").status, 126, "exec of a file that is no program")
    gone(e, name)


@behaviour("exec -d", BOTH)
def exec_d(e):
    name = sleeper(e)
    e.ok("exec", "-d", name, "sh", "-c", "echo there >/tmp/f; sleep 1000")
    wait_until(lambda: e("exec", name, "cat", "/tmp/f").out == "there\n", "the file of exec -d")
    gone(e, name)


@behaviour("stop: SIGTERM, then SIGKILL (exit 137)", BOTH)
def stop(e):
    name = sleeper(e)  # process 1 without a handler does not heed SIGTERM
    e.ok("stop", "-t", "1", name)
    eq(e.state_of(name, "ExitCode"), "137", "exit code of a container that was killed")
    gone(e, name)


@behaviour("stop: a program that heeds SIGTERM ends by itself (exit 143)", BOTH)
def stop_heeded(e):
    name = sleeper(e, "--init")
    began = time.monotonic()
    e.ok("stop", "-t", "30", name)
    check(time.monotonic() - began < 20, "stop waited although SIGTERM was heeded")
    eq(e.state_of(name, "ExitCode"), "143", "exit code after SIGTERM")
    gone(e, name)


@behaviour("kill --signal", BOTH)
def kill(e):
    name = e.fresh()
    e.ok("run", "-d", "--name", name, IMAGE, "sh", "-c",
         "trap 'echo got >/tmp/got' USR1; touch /tmp/ready; while :; do sleep 0.1; done")
    wait_until(lambda: e("exec", name, "ls", "/tmp/ready").status == 0, "the trap")
    e.ok("kill", "--signal", "USR1", name)
    wait_until(lambda: e("exec", name, "cat", "/tmp/got").out == "got\n", "the signal's mark")
    e.ok("kill", name)
    wait_until(lambda: e.state_of(name, "ExitCode") == "137", "exit code after kill")
    gone(e, name)


@behaviour("rm -f of a running container leaves nothing", BOTH)
def rm_f(e):
    name = sleeper(e)
    pid = int(e.state_of(name, "Pid"))
    e.ok(*e.rm_f, name)
    check(not os.path.exists(f"/proc/{pid}"), f"process {pid} still lives")
    check(e("inspect", name).status != 0, "inspect still finds it")


@behaviour("start of a stopped container, restart", BOTH)
def start_again(e):
    name = e.fresh()
    e.ok("run", "--name", name, IMAGE, "sh", "-c", "echo again")
    e.ok("start", name)
    wait_until(lambda: e("logs", name).out == "again\nagain\n", "two runs in the logs")
    gone(e, name)
    name = sleeper(e)
    before = e.state_of(name, "Pid")
    e.ok("restart", "-t", "0", name)
    check(e.state_of(name, "Pid") not in (before, "0"), "restart gave no new process")
    gone(e, name)


@behaviour("restart policy on-failure", BOTH)
def restart_policy(e):
    name = e.fresh()
    e.ok("run", "-d", "--name", name, "--restart", "on-failure:2", IMAGE, "sh", "-c",
         "echo try; exit 1")
    wait_until(lambda: e("logs", name).out == "try\n" * 3, "three tries", 40)
    gone(e, name)


@behaviour("pause, unpause", BOTH)
def pause(e):
    name = e.fresh()
    e.ok("run", "-d", "--name", name, IMAGE, "sh", "-c",
         "i=0; while :; do i=$((i+1)); echo $i >/tmp/n; sleep 0.05; done")
    wait_until(lambda: e("exec", name, "cat", "/tmp/n").out, "the counter")
    e.ok("pause", name)
    eq(e.state_of(name, "Status"), "paused", "the status")
    check(e("exec", name, "true").status != 0, "exec entered a paused container")
    e.ok("unpause", name)
    before = int(e.ok("exec", name, "cat", "/tmp/n") or 0)
    wait_until(lambda: int(e("exec", name, "cat", "/tmp/n").out or 0) > before, "the counter goes on")
    gone(e, name)


@behaviour("top", BOTH)
def top(e):
    name = sleeper(e)
    contains(e.ok("top", name), "sleep 1000", "top")
    gone(e, name)


@behaviour("stats", BOTH)
def stats(e):
    name = sleeper(e, "-m", "64m")
    text = e.ok("stats", "--no-stream", "--format", "{{.MemUsage}} {{.PIDs}}", name)
    check(re.search(r"[1-9].*B / (64MiB|67\.11MB) 1$", text.strip()), f"stats: {text!r}")
    gone(e, name)


@behaviour("cp in both directions", BOTH)
def cp(e):
    name = sleeper(e)
    source = e.place.write("to-copy", "carried\n")
    e.ok("cp", source, f"{name}:/srv/there")
    eq(e.ok("exec", name, "cat", "/srv/there"), "carried\n", "the file inside")
    e.ok("exec", name, "sh", "-c", "echo back >/srv/back")
    e.ok("cp", f"{name}:/srv/back", e.place.path("back"))
    with open(e.place.path("back"), encoding="ascii") as f:
        eq(f.read(), "back\n", "the file outside")
    gone(e, name)


@behaviour("volumes: read-write, read-only, tmpfs, named", BOTH)
def volumes(e):
    where = e.directory("volume" + e.fresh(""))
    volume = e.fresh("v")
    out = e.ok("run", "--rm", "-v", f"{where}:/rw", "-v", f"{where}:/ro:ro", "--tmpfs", "/scratch:size=1m",
               "-v", f"{volume}:/named", IMAGE, "sh", "-c",
               "echo a >/rw/a; echo b 2>/dev/null >/ro/b || echo refused; cat /ro/a; "
               "echo n >/named/n; dd if=/dev/zero of=/scratch/f bs=1k count=2000 2>/dev/null || echo full")
    eq(out, "refused\na\nfull\n", "what the volumes allow")
    eq(e.ok("run", "--rm", "-v", f"{volume}:/named", IMAGE, "cat", "/named/n"), "n\n",
       "the named volume in the next container")
    eq(os.listdir(where), ["a"], "the directory on the host")
    e.ok("volume", "rm", volume)


@behaviour("--user", BOTH)
def user(e):
    eq(e.ok("run", "--rm", "--user", "1000:1000", "--group-add", "2000", IMAGE, "sh", "-c",
            "id -u; id -g; id -G"), "1000\n1000\n1000 2000\n", "ids")
    eq(e.ok("run", "--rm", "--user", "user", IMAGE, "id", "-u"), "1000\n", "a user by name")


@behaviour("--cap-drop, --cap-add", BOTH)
def capabilities(e):
    show = ("sh", "-c", "grep CapBnd /proc/self/status")
    eq(e.ok("run", "--rm", "--cap-drop", "all", IMAGE, *show).split()[1], "0" * 16, "none")
    eq(e.ok("run", "--rm", "--cap-drop", "all", "--cap-add", "NET_ADMIN", IMAGE, *show).split()[1],
       f"{1 << 12:016x}", "one")


@behaviour("--security-opt seccomp, no-new-privileges", BOTH)
def security(e):
    profile = e.place.write("profile.json", '{"defaultAction": "SCMP_ACT_ALLOW", "syscalls": ['
                            '{"names": ["mkdir", "mkdirat"], "action": "SCMP_ACT_ERRNO"}]}')
    done = e("run", "--rm", "--security-opt", f"seccomp={profile}", IMAGE, "mkdir", "/tmp/x")
    check(done.status == 1 and "not permitted" in done.err, f"mkdir under the profile: {done}")
    eq(e.ok("run", "--rm", "--security-opt", "no-new-privileges", IMAGE, "sh", "-c",
            "grep NoNewPrivs /proc/self/status").split()[1], "1", "NoNewPrivs")
    eq(e.ok("run", "--rm", IMAGE, "sh", "-c", "grep Seccomp: /proc/self/status").split()[1], "2",
       "the engine's own profile")


@behaviour("--read-only", BOTH)
def read_only(e):
    done = e("run", "--rm", "--read-only", IMAGE, "touch", "/srv/x")
    check(done.status == 1 and "Read-only" in done.err, f"a write to a read-only root: {done}")


@behaviour("--init reaps orphans", BOTH)
def init(e):
    out = e("run", "--rm", "--init", IMAGE, "sh", "-c",
            "(sleep 0.1 &); sleep 0.6; ps -o stat | grep -c Z").out
    eq(out, "0\n", "zombies")


@behaviour("--pid=host", BOTH)
def pid_host(e):
    out = e.ok("run", "--rm", "--pid", "host", IMAGE, "readlink", "/proc/self/ns/pid")
    eq(out.strip(), os.readlink("/proc/self/ns/pid"), "the pid namespace")


@behaviour("--network=none, container:", BOTH)
def networks(e):
    eq(e.ok("run", "--rm", "--network", "none", IMAGE, "sh", "-c", "ls /sys/class/net"), "lo\n",
       "interfaces without a network")
    name = sleeper(e)
    there = os.readlink(f"/proc/{e.state_of(name, 'Pid')}/ns/net")
    eq(e.ok("run", "--rm", "--network", f"container:{name}", IMAGE, "readlink",
            "/proc/self/ns/net").strip(), there, "the network of another container")
    gone(e, name)


@behaviour("a published port on a bridge", BOTH)
def bridge(e):
    name = e.fresh()
    e.ok("run", "-d", "--name", name, "-p", "18080:80", IMAGE, "sh", "-c",
         "mkdir -p /srv/www && echo page >/srv/www/index.html && httpd -f -p 80 -h /srv/www")
    wait_until(lambda: fetch("http://127.0.0.1:18080/") == b"page\n", "the page")
    gone(e, name)


@behaviour("--privileged", BOTH)
def privileged(e):
    done = e("run", "--rm", "--privileged", IMAGE, "sh", "-c", "mount -t tmpfs t /tmp && ls -d /dev/null")
    if "operation not permitted" in done.err.lower() and "cap" in done.err.lower():
        raise Differs("the host's root lacks a capability that the engine asks for")
    eq((done.status, done.out), (0, "/dev/null\n"), f"a mount by a privileged container ({done.err})")


@behaviour("--memory: out of memory gives 137 and OOMKilled", BOTH)
def oom(e):
    name = e.fresh()
    # The shell goes on for a moment: conmon on cgroup v1 does not see the event of a cgroup that ends with it.
    done = e("run", "--name", name, "-m", "32m", "--memory-swap", "32m", IMAGE, "sh", "-c",
             f"dd if=/dev/zero of=/dev/null bs=100M count=1; s=$?; sleep {max(1, int(allow(1) / 4))}; exit $s")
    eq(done.status, 137, f"exit status ({done.err})")
    seen = e.state_of(name, "OOMKilled")
    gone(e, name)
    if seen == "false" and e.name.startswith("podman"):
        raise Differs("Debian's conmon does not tell of it, with crun neither; the exit status is 137")
    eq(seen, "true", "OOMKilled")


@behaviour("--cpus, --pids-limit, --cpu-shares hold", BOTH)
def limits(e):
    done = e("run", "--rm", "--pids-limit", "20", IMAGE, "sh", "-c",
             "for i in $(seq 60); do sleep 5 & done; jobs | wc -l")
    check("can't fork" in done.err or "Resource temporarily" in done.err,
          f"60 processes within a limit of 20: {done}")


@behaviour("update", BOTH)
def update(e):
    name = sleeper(e, "-m", "64m", "--memory-swap", "64m")
    e.ok("update", "-m", "96m", "--memory-swap", "96m", name)
    eq(e.limit(name, "memory"), 96 << 20, "the memory limit after update")
    gone(e, name)


@behaviour("exit statuses 125, 126, 127: a wrong flag, no program, a missing command", BOTH)
def exit_statuses(e):
    eq(e("run", "--rm", "--no-such-flag", IMAGE, "true").status, 125, "a wrong flag")
    eq(e("run", "--rm", IMAGE, "/opt/plain").status, 126, "a file that is no program")
    eq(e("run", "--rm", IMAGE, "/etc").status, 126, "a directory as a program")
    eq(e("run", "--rm", IMAGE, "no-such-command").status, 127, "a command not in PATH")
    eq(e("run", "--rm", IMAGE, "/no/such/file").status, 127, "a path that is not there")


@behaviour("a killed program: 128 + signal", BOTH)
def killed(e):
    eq(e("run", "--rm", "--init", IMAGE, "sh", "-c", "kill -TERM $$").status, 143, "SIGTERM")
    eq(e("run", "--rm", "--init", IMAGE, "sh", "-c", "kill -KILL $$").status, 137, "SIGKILL")


@behaviour("--workdir that does not exist", BOTH)
def workdir(e):
    done = e("run", "--rm", "-w", "/not/there", IMAGE, "pwd")
    if e.name.startswith("docker"):  # dockerd makes it
        eq((done.status, done.out), (0, "/not/there\n"), "dockerd makes the directory")
    else:
        check(done.status in (126, 127) and "/not/there" in done.err, f"a missing directory: {done}")


@behaviour("healthcheck", BOTH)
def healthcheck(e):
    name = sleeper(e, "--health-cmd", "test -e /tmp/well", "--health-interval", "1s",
                   "--health-retries", "1")
    eq(e.healthy(name), False, "health before the mark")
    e.ok("exec", name, "touch", "/tmp/well")
    eq(e.healthy(name), True, "health after the mark")
    gone(e, name)


@behaviour("build with RUN", BOTH)
def build(e):
    where = e.place.mkdir("build" + e.fresh(""))
    with open(os.path.join(where, "Dockerfile"), "w", encoding="ascii") as f:
        f.write(f"FROM {IMAGE}\nRUN echo built >/srv/mark && id -u >>/srv/mark\n"
                "USER 1000\nRUN id -u >/tmp/mark\nCMD cat /srv/mark /tmp/mark\n")
    tag = e.fresh("image")
    e.ok("build", "-t", tag, where, seconds=120)
    eq(e.ok("run", "--rm", tag), "built\n0\n1000\n", "what the image prints")
    e.ok("rmi", "-f", tag)


@behaviour("eight containers at once", BOTH)
def eight_at_once(e):
    names = [e.fresh() for _ in range(8)]
    for name in names:
        e.ok("create", "--name", name, IMAGE, "sh", "-c", "echo here; sleep 1000")
    e.ok("start", *names)
    for name in names:
        wait_until(lambda n=name: e("logs", n).out == "here\n", f"logs of {name}")
    gone(e, *names)


@behaviour("environment, hostname, sysctl, ulimit, shm size", BOTH)
def details(e):
    out = e.ok("run", "--rm", "-e", "A=x y", "--hostname", "there", "--sysctl",
               "net.ipv4.ip_default_ttl=77", "--ulimit", "nofile=123:456", *e.ulimits, "--shm-size", "2m",
               "--oom-score-adj", "500", IMAGE, "sh", "-c",
               'echo "$A"; hostname; cat /proc/sys/net/ipv4/ip_default_ttl; ulimit -n; ulimit -Hn; '
               "df -k /dev/shm | tail -1 | awk '{print $2}'; cat /proc/self/oom_score_adj")
    eq(out, "x y\nthere\n77\n123\n456\n2048\n500\n", "what the container was told")


@behaviour("--device", BOTH)
def device(e):
    eq(e.ok("run", "--rm", "--device", "/dev/fuse:/dev/file:r", IMAGE, "sh", "-c",
            "exec 3</dev/file && echo read; (exec 4>/dev/file) 2>/dev/null || echo refused"),
       "read\nrefused\n", "a device for reading")
