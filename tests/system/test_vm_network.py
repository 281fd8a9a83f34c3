# SPDX-License-Identifier: Apache-2.0
"""
The network of a container in a machine. Every namespace is the test's own: one holds the container's interfaces, as an
engine would have made them, another one their peers.
"""
import hashlib
import json
import os
import shutil
import signal
import subprocess

import kernel
from harness import allow, capabilities, check, contains, default, eq, joined, lacks, name_of, test, wait_until
from test_vm_emulated import SECONDS, living, own_machines
from test_vm_isolation import need_kvm

SIZE = 20 << 20


def inside(pid, *command, **more):
    """
    A command of the host in a network namespace; what it says on stdout. ip(8) warns on stderr when an interface goes while
    it lists them: "Dump was interrupted and may be inconsistent."
    """
    done = subprocess.run(["nsenter", "-t", str(pid), "-n", *command], capture_output=True, check=False,
                          timeout=allow(60), **more)
    eq(done.returncode, 0, f"{' '.join(command)}: {(done.stdout + done.stderr).decode(errors='replace')}")
    return done.stdout.decode(errors="replace")


def shell_inside(pid, *lines):
    return inside(pid, "/bin/sh", "-ec", "\n".join(lines))


def links(pid):
    """By name, without lo: what `ip` says of the interfaces of a namespace."""
    found = json.loads(inside(pid, "ip", "-j", "-d", "addr", "show"))
    return {link["ifname"]: link for link in found if link["ifname"] != "lo"}


def routes(pid, *family):
    return json.loads(inside(pid, "ip", *family, "-j", "route"))


def namespaces(t):
    """(pid of one with eth0 and net7, pid of one with their peers)"""
    own, peers = t.holder("-n"), t.holder("-n")
    shell_inside(
        own, "sysctl -q net.ipv6.conf.lo.disable_ipv6=1 net.ipv6.conf.default.disable_ipv6=0", "ip link set lo up",
        f"ip link add eth0 type veth peer name peer0 netns {peers}",
        f"ip link add net7 type veth peer name peer7 netns {peers}",
        "sysctl -q net.ipv6.conf.net7.disable_ipv6=1",
        "ip addr add 10.9.0.2/24 brd + dev eth0", "ip addr add 10.9.1.2 peer 10.9.1.1/32 dev net7",
        "ip addr add fd00:9::2/64 dev eth0 nodad", "ip link set eth0 mtu 1400 up",
        "ip link set net7 up", "ip route add default via 10.9.0.1 dev eth0",
        "ip route add 10.77.0.0/16 via 10.9.1.1 metric 50 src 10.9.1.2",
        "ip -6 route add default via fd00:9::1 dev eth0",
        "ip neigh add 10.9.0.99 lladdr 02:00:00:00:00:99 dev eth0")
    shell_inside(
        peers, "ip link set lo up", "ip link set lo up", "ip addr add 10.9.0.1/24 dev peer0",
        "ip addr add 10.9.1.1 peer 10.9.1.2/32 dev peer7", "ip addr add 10.77.1.1/32 dev lo",
        "ip addr add fd00:9::1/64 dev peer0 nodad", "ip link set peer0 mtu 1400 up",
        "ip link set peer7 up")
    return own, peers


def configured(pid, text):
    config = default("/bin/sh", "-c", text)
    config["process"]["terminal"] = False
    config["process"]["capabilities"] = capabilities("CAP_NET_RAW", "CAP_NET_ADMIN",
                                                     "CAP_NET_BIND_SERVICE")
    config["linux"]["sysctl"] = {"net.ipv4.ip_default_ttl": "77"}
    return joined(config, "network", f"/proc/{pid}/ns/net")


def qdiscs(pid, device="eth0"):
    return inside(pid, "tc", "qdisc", "show", "dev", device)


def is_clean(pid):
    return ("ingress" not in qdiscs(pid) + qdiscs(pid, "net7") and
            sorted(links(pid)) == ["eth0", "net7"])


def said_of(link):
    """What must be the same on both sides."""
    addresses = {(a["local"], a.get("address"), a["prefixlen"], a.get("broadcast"))
                 for a in link["addr_info"] if a["scope"] == "global"}
    return link["address"], link["mtu"], addresses


def all_of(pid):
    return ({name: said_of(link) for name, link in links(pid).items()}, routes(pid),
            routes(pid, "-6"))


def from_busybox(text):
    """The same of the text of busybox's `ip addr`: {name: (mac, mtu, addresses)}"""
    found, name = {}, None
    for line in text.splitlines():
        words = line.split()
        if line[:1].isdigit():
            name = words[1].rstrip(":")
            found[name] = [None, int(words[words.index("mtu") + 1]), set()]
        elif words[0] == "link/ether":
            found[name][0] = words[1]
        elif words[0] in ("inet", "inet6") and "global" in words:
            peer = words[words.index("peer") + 1] if "peer" in words else None
            local, _, prefix = (peer or words[1]).partition("/")
            broadcast = words[words.index("brd") + 1] if "brd" in words else None
            found[name][2].add((words[1].partition("/")[0], local if peer else None, int(prefix or 32),
                                broadcast))
    return {key: tuple(value) for key, value in found.items()}


def with_ipv6(text):
    """Interfaces of busybox's `ip addr` that have an address of IPv6, be it the link's own."""
    found, name = [], None
    for line in text.splitlines():
        words = line.split()
        if line[:1].isdigit():
            name = words[1].rstrip(":")
        elif words[0] == "inet6" and name not in found:
            found.append(name)
    return found


SCRIPT = """
set -e
ip addr; echo --; ip route; echo --; ip -6 route; echo --; ip neigh; echo --
cat /proc/sys/net/ipv4/ip_default_ttl
ping -c 1 -W 20 10.9.0.1 >/dev/null && ping -c 1 -W 20 fd00:9::1 >/dev/null && echo pinged
ping -c 1 -W 20 127.0.0.1 >/dev/null && ping -c 1 -W 20 10.77.1.1 >/dev/null && echo "by route"
wget -q -O - http://10.9.0.1:8000/blob | sha256sum
wget -q -O - 'http://[fd00:9::1]:8000/small'
httpd -f -p 80 -h / &
until nc 127.0.0.1 80 </dev/null; do sleep 0.1; done
echo ready
while :; do sleep 1; done
"""


@test(seconds=500)
def a_machine_has_the_interfaces_of_its_network_namespace(t):
    env, (own, peers) = kernel.prepared(t), namespaces(t)
    data, out = os.urandom(SIZE), t.path("out")
    t.file("www/blob", data)
    t.file("www/small", "small\n")
    root = t.own_root()
    with open(os.path.join(root, "blob"), "wb") as f:
        f.write(data[::-1])
    t.popen(command=["nsenter", "-t", str(peers), "-n", "busybox", "httpd", "-f", "-p", "8000", "-h",
                     t.path("www")])
    container = t.new_id()
    with open(out, "wb") as stdout:
        t.teca("create", "--isolation", "emulated", "--bundle",
               t.bundle(configured(own, SCRIPT), root), container, env=env, seconds=SECONDS, expect=0,
               stdout=stdout, stderr=stdout)
    pid = t.pid(container)
    eq(os.stat(f"/proc/{pid}/ns/net").st_ino, os.stat(f"/proc/{own}/ns/net").st_ino,
       "the network namespace of the monitor")
    # One machine an interface: the next one is told, and does the first one no harm.
    done = t.run(configured(own, "exit 0"), "--isolation", "emulated", env=env)
    eq(done.status, 1, "a second machine")
    contains(done.error, "/linux/namespaces/", "its pointer")
    contains(done.error, "cannot redirect what comes in on 'eth0'", "its sentence")
    contains(done.error, "ingress qdisc already", "its hint")
    contains(qdiscs(own), "ingress", "the first one's qdisc")
    t.teca("start", container, seconds=SECONDS, expect=0)

    def said():
        with open(out, encoding="utf-8", errors="replace") as f:
            return f.read()
    wait_until(lambda: "ready\n" in said(), "the container has fetched all", 150)
    parts = said().split("--\n")
    host, guest = links(own), from_busybox(parts[0])
    for name in ("eth0", "net7"):
        eq(guest[name], said_of(host[name]), f"MAC, MTU and addresses of {name}")
    eq(host["eth0"]["mtu"], 1400, "the MTU")
    eq(with_ipv6(parts[0]), ["eth0"], "interfaces with IPv6")
    contains(parts[1], "default via 10.9.0.1 dev eth0", "routes")
    contains(parts[1], "10.77.0.0/16 via 10.9.1.1 dev net7  src 10.9.1.2  metric 50", "routes")
    eq(len(parts[1].splitlines()), len(routes(own)), "how many routes")
    contains(parts[2], "default via fd00:9::1 dev eth0", "routes of IPv6")
    contains(parts[3], "10.9.0.99 dev eth0 lladdr 02:00:00:00:00:99", "neighbours")
    lines = parts[4].splitlines()
    eq(lines[:3], ["77", "pinged", "by route"], "sysctl, ping")
    eq(lines[3].split()[0], hashlib.sha256(data).hexdigest(), "20 MiB to the container")
    eq(lines[4], "small", "by IPv6")
    back = t.path("back")
    inside(peers, "busybox", "wget", "-q", "-O", back, "http://10.9.0.2/blob")
    with open(back, "rb") as f:
        eq(hashlib.sha256(f.read()).hexdigest(), hashlib.sha256(data[::-1]).hexdigest(),
           "20 MiB from the container")

    os.kill(pid, signal.SIGKILL)
    eq(os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1]), -signal.SIGKILL, "how the monitor ended")
    wait_until(lambda: sorted(links(own)) == ["eth0", "net7"], "the taps go with the machine")
    t.teca("delete", container, expect=0)
    check(is_clean(own), f"what delete has left: {qdiscs(own)}")
    inside(own, "busybox", "ping", "-c", "1", "-W", "20", "10.9.0.1")


@test(seconds=400)
def an_interrupted_start_leaves_the_namespace_as_it_was(t):
    env, (own, _) = kernel.prepared(t), namespaces(t)
    before = all_of(own)
    where = t.bundle(configured(own, "exit 0"))
    process = t.popen("run", "--isolation", "emulated", "--bundle", where, t.new_id(), env=env)
    wait_until(own_machines, "the machine is there", 30)
    contains(qdiscs(own), "ingress", "a qdisc while it boots")
    process.send_signal(signal.SIGTERM)
    eq(t.end_of(process), 1, "status of an interrupted run")
    wait_until(lambda: is_clean(own), "all is as it was")
    eq(all_of(own), before, "addresses and routes")
    # A runtime that is killed leaves that to `delete`.
    container = t.new_id()
    process = t.popen("run", "--isolation", "emulated", "--bundle", where, container, env=env)
    wait_until(own_machines, "the machine is there", 30)
    process.kill()
    process.wait()
    wait_until(lambda: sorted(links(own)) == ["eth0", "net7"], "the taps go with the machine")
    t.teca("delete", "--force", container, expect=0)
    wait_until(lambda: is_clean(own), "all is as it was")
    eq(all_of(own), before, "addresses and routes")


OWN_SCRIPT = """
ip addr; echo --
wget -q -O - http://10.9.0.1:8000/blob | sha256sum
wget -q -O - 'http://[fd00:9::1]:8000/small'
wget -q -O - http://10.77.1.1:8000/small
wget -q -O /dev/null --post-file /blob http://10.9.0.1:8000/cgi-bin/sum && echo posted
"""


@test(seconds=100)
def a_machine_on_our_own_monitor_has_them_too(t):
    """Two interfaces of our virtio-net, with what taps offload: by Debian's kernel, 1 MiB each way."""
    env, (own, peers) = need_kvm(t), namespaces(t)
    data, sum_file, root = os.urandom(1 << 19).hex().encode(), t.path("sum"), t.own_root()
    t.file("www/blob", data)
    t.file("www/small", "small\n")
    os.chmod(t.file("www/cgi-bin/sum", "#!/bin/sh\necho Content-Type: text/plain; echo\n"
                    f"head -c $CONTENT_LENGTH | sha256sum >{sum_file}\n"), 0o755)
    with open(os.path.join(root, "blob"), "wb") as f:
        f.write(data[::-1])
    t.popen(command=["nsenter", "-t", str(peers), "-n", "busybox", "httpd", "-f", "-p", "8000", "-h",
                     t.path("www")])
    done = t.run(configured(own, OWN_SCRIPT), "--isolation", "vm", rootfs=root, env=env,
                 seconds=SECONDS)
    eq((done.status, done.error), (0, ""), "status and stderr")
    said, rest = done.text.split("--\n")
    host, guest, lines = links(own), from_busybox(said), rest.splitlines()
    for name in ("eth0", "net7"):
        eq(guest[name], said_of(host[name]), f"MAC, MTU and addresses of {name}")
    eq(lines[0].split()[0], hashlib.sha256(data).hexdigest(), "1 MiB to the container")
    eq(lines[1:], ["small", "small", "posted"], "by IPv6, by the second interface, and back")
    with open(sum_file, encoding="ascii") as f:
        eq(f.read().split()[0], hashlib.sha256(data[::-1]).hexdigest(), "1 MiB from it")
    check(is_clean(own), "what the end has left")


HOOKED_SCRIPT = """
ip addr; echo --; ip route; echo --; uname -r; ping -c 1 -W 20 127.0.0.1 >/dev/null && echo lo
wget -q -O - http://10.9.0.1:8000/small
wget -q -O - 'http://[fd00:9::1]:8000/small'
wget -q -O - http://10.77.1.1:8000/small
cat /by-hook
"""


def hooked(t, peers, text):
    """A new network namespace, which hooks fill from another one: an interface each; and a file that a hook writes."""
    def hook(*lines):
        program = t.file(f"hook{len(lines)}", "#!/bin/sh\nset -e\nexport PATH=/usr/sbin:/usr/bin:/sbin:/bin\n"
                         "pid=$(sed 's/.*\"pid\":\\([0-9]*\\).*/\\1/')\nn=\"nsenter -t $pid -n ip\"\n"
                         f"p='nsenter -t {peers} -n ip'\n" + "\n".join(lines) + "\n")
        os.chmod(program, 0o755)
        return [{"path": program}]

    config = joined(configured(peers, text), "network")
    config["root"]["readonly"] = True
    config["hooks"] = {
        "prestart": hook("$p link add peer0 type veth peer name eth0 netns $pid",
                         "$p addr add 10.9.0.1/24 dev peer0", "$p addr add fd00:9::1/64 dev peer0 nodad",
                         "$p link set peer0 up", "$n link set lo up", "$n addr add 10.9.0.2/24 brd + dev eth0",
                         "$n addr add fd00:9::2/64 dev eth0 nodad", "$n link set eth0 mtu 1400 up",
                         "$n route add default via 10.9.0.1 dev eth0"),
        "createRuntime": hook("$p link add peer7 type veth peer name net7 netns $pid",
                              "$p addr add 10.9.1.1 peer 10.9.1.2/32 dev peer7", "$p addr replace 10.77.1.1/32 dev lo",
                              "$p link set peer7 up", "$p link set lo up", "$n addr add 10.9.1.2 peer 10.9.1.1/32 dev net7",
                              "$n link set net7 up", "$n route add 10.77.0.0/16 via 10.9.1.1 src 10.9.1.2",
                              f"$n addr show >{t.path('addresses')}", f"$n -j addr >{t.path('links')}"),
        "poststop": [{"path": "/bin/sh", "args": ["sh", "-c", f"echo over >>{t.path('poststop')}"]}]}
    return config


def has_had(t, mode, env, peers):
    """What a machine of that mode has of the interfaces that its hooks make."""
    root = t.own_root()
    config = hooked(t, peers, HOOKED_SCRIPT)
    config["hooks"]["createRuntime"] += [{"path": "/bin/sh", "args": ["sh", "-c", f"echo written >{root}/by-hook"]}]
    t.file("www/small", "small\n")
    t.popen(command=["nsenter", "-t", str(peers), "-n", "busybox", "httpd", "-f", "-p", "8000", "-h", t.path("www")])
    done = t.run(config, "--isolation", mode, rootfs=root, env=env, seconds=SECONDS)
    eq((done.status, done.error), (0, ""), "status and stderr")
    addresses, routing, said = done.text.split("--\n")
    with open(t.path("links"), encoding="utf-8") as f:
        host = {link["ifname"]: link for link in json.load(f)}
    guest = from_busybox(addresses)
    for name in ("eth0", "net7"):
        eq(guest[name], said_of(host[name]), f"MAC, MTU and addresses of {name}")
    contains(routing, "default via 10.9.0.1 dev eth0", "routes")
    contains(routing, "10.77.0.0/16 via 10.9.1.1 dev net7", "routes")
    lines = said.splitlines()
    check(lines[0] != os.uname().release, "it is the host's kernel")
    eq(lines[1:], ["lo", "small", "small", "small", "written"], "by both interfaces, by IPv6, and the hook's file")
    wait_until(lambda: not links(peers), "the namespace goes with the machine, and the peers with it")


@test(seconds=400)
def hooks_fill_the_network_of_a_machine_as_they_do_that_of_a_container(t):
    """As docker's: the namespace is new, and found by the pid of the state."""
    env, peers = kernel.prepared(t), t.holder("-n")
    config = hooked(t, peers, "exit 0")
    said = t.teca("explain", "--isolation", "emulated", "--bundle", t.bundle(config), expect=0, env=env).text
    steps = [said.index(word) for word in ("ns-unshare", "hook ", "machine-take-network", "machine-boot")]
    eq(steps, sorted(steps), f"the order of {said}")
    eq(links(peers), {}, "explain runs no hook")
    has_had(t, "emulated", env, peers)
    with open(t.path("poststop"), encoding="ascii") as f:
        eq(f.read(), "over\n", "poststop hooks")


@test(seconds=400)
def what_hooks_have_made_goes_when_the_start_fails(t):
    """By a hook that fails, by what a machine cannot have, by signals while it boots."""
    env, peers = kernel.prepared(t), t.holder("-n")

    def refused(line, *parts):
        config = hooked(t, peers, "exit 0")
        config["hooks"]["createRuntime"] += [{"path": "/bin/sh", "args": ["sh", "-c", line], "env": [
            "PATH=/usr/sbin:/usr/bin:/sbin:/bin"]}]
        done = t.run(config, "--isolation", "emulated", env=env)
        eq((done.status, done.error.count("\n")), (1, 1), f"status and lines: {done.error}")
        for part in parts:
            contains(done.error, part, "the sentence")
        wait_until(lambda: not links(peers), "the namespace is gone")

    refused("echo no way; exit 3", "/hooks/createRuntime/1", "exit status 3", "no way")
    pid = "pid=$(sed 's/.*\"pid\":\\([0-9]*\\).*/\\1/')"
    refused(f"{pid}; nsenter -t $pid -n ip link add br0 type bridge; nsenter -t $pid -n ip link set eth0 master br0",
            "/linux/namespaces", "'eth0' is part of another one (a bridge or a bond)")
    with open(t.path("poststop"), encoding="ascii") as f:
        eq(f.read(), "over\n" * 2, "poststop hooks")
    # Who is killed while a hook runs takes the others along.
    config = hooked(t, peers, "exit 0")
    config["hooks"]["createRuntime"] += [{"path": "/bin/sh", "args": ["sh", "-c", f"{pid}; echo $pid >{t.path('pid')}; exec sleep 1000"]}]
    where = t.bundle(config)
    for of_monitor in (False, True):
        container = t.new_id()
        process = t.popen("run", "--isolation", "emulated", "--bundle", where, container, env=env)
        monitor = int(wait_until(lambda: os.path.exists(t.path("pid")) and open(t.path("pid"), encoding="ascii").read(),
                                 "the hook", 30))
        os.unlink(t.path("pid"))
        os.kill(monitor if of_monitor else process.pid, signal.SIGKILL)
        eq(t.end_of(process, 30), 1 if of_monitor else -signal.SIGKILL, "how the runtime ended")
        wait_until(lambda: not links(peers), "the namespace is gone")
        wait_until(lambda: not [p for p in living() if "sleep 1000" in name_of(p)], "the hook is gone")
        if not of_monitor:
            t.teca("delete", "--force", container, expect=0)
    where = t.bundle(hooked(t, peers, "exit 0"))
    for number in (signal.SIGTERM, signal.SIGKILL):
        container = t.new_id()
        process = t.popen("run", "--isolation", "emulated", "--bundle", where, container, env=env)
        wait_until(own_machines, "the machine is there", 30)
        process.send_signal(number)
        process.wait()
        wait_until(lambda: not links(peers) and not own_machines(), "all is gone")
        if number == signal.SIGKILL:
            t.teca("delete", "--force", container, expect=0)
    container = t.new_id()
    t.teca("create", "--isolation", "emulated", "--bundle", where, container, env=env, seconds=SECONDS, expect=0)
    os.kill(t.pid(container), signal.SIGKILL)
    t.teca("delete", "--force", container, expect=0)
    wait_until(lambda: not links(peers), "the namespace goes with the monitor")


@test(seconds=100)
def hooks_fill_it_on_our_own_monitor_too(t):
    env, peers = need_kvm(t), t.holder("-n")
    has_had(t, "vm", env, peers)


USER_SCRIPT = """
ip -o addr show dev eth0 | grep -c 'inet 10.0.2.15/24'; ip route | head -n 1 | sed 's, *$,,'
wget -q -O - http://10.9.0.1:8000/blob | sha256sum
nc -w 3 10.0.2.2 8001 </dev/null && echo "the host's loopback answers" || echo apart
read -r _
"""


@test(seconds=300)
def without_a_namespace_passt_makes_the_connections(t):
    """As root here: it is nobody then, in namespaces of its own, and goes with the machine."""
    env, (host, peers) = kernel.prepared(t), namespaces(t)
    data = os.urandom(SIZE // 4)
    t.file("www/blob", data)
    for pid, *rest in ((peers, "-p", "8000"), (host, "-p", "127.0.0.1:8001")):
        t.popen(command=["nsenter", "-t", str(pid), "-n", "busybox", "httpd", "-f", *rest, "-h",
                         t.path("www")])
    config = joined(configured(host, USER_SCRIPT), "network")
    config["annotations"] = {"org.teca.isolation": "emulated", "org.teca.network": "user"}
    config["process"]["rlimits"] = []
    process = t.popen(command=["nsenter", "-t", str(host), "-n", *t.argv(
        "run", "--bundle", t.bundle(config), t.new_id())], env=env, stdin=subprocess.PIPE)
    said = [t.read_line(process, SECONDS)] + [t.read_line(process, 60) for _ in range(3)]
    eq(said[:2], ["1", "default via 10.0.2.2 dev eth0"], "address and route")
    eq(said[2].split()[0], hashlib.sha256(data).hexdigest(), "5 MiB")
    eq(said[3], "apart", "the gateway is not the host's loopback")
    served = [pid for pid in living() if "10.0.2.15" in name_of(pid)]
    eq(len(served), 1, "processes of passt")
    with open(f"/proc/{served[0]}/status", encoding="ascii") as f:
        rights = dict(line.rstrip("\n").split(":\t", 1) for line in f)
    eq((rights["Uid"].split()[0], rights["CapEff"]), ("65534", "0" * 16), "the rights of passt")
    eq(os.stat(f"/proc/{served[0]}/ns/net").st_ino, os.stat(f"/proc/{host}/ns/net").st_ino,
       "its network namespace")
    os.write(process.stdin.fileno(), b"\n")
    eq(t.end_of(process, 60), 0, "status")
    wait_until(lambda: not [pid for pid in living() if "10.0.2.15" in name_of(pid)], "passt ends")
    # A host without a way out: its own words.
    nowhere = t.holder("-n")
    done = t.call(["nsenter", "-t", str(nowhere), "-n", *t.argv("run", "--bundle", t.bundle(config),
                                                              t.new_id())], env=env, seconds=60)
    eq((done.status, done.error.count("\n")), (1, 1), f"without a route: {done.error}")
    contains(done.error, "passt, the machine's network, does not start: ", "the sentence")


@test(seconds=300)
def a_machine_goes_on_without_passt_and_without_the_name_of_its_image(t):
    """What a start has found another one may remove before it is used; a passt that is killed is told, and is not the end."""
    env, (host, _) = kernel.own_cache(t), namespaces(t)
    wrapper = t.file("bin/passt", f"""#!/bin/sh
rm {t.path('cache', 'images')}/*.erofs && touch {t.path('removed')}
exec /usr/bin/passt "$@"
""")
    os.chmod(wrapper, 0o755)
    config = joined(configured(host, "echo up; read -r _; nc -w 2 10.9.0.1 8000 </dev/null 2>&1; echo there"), "network")
    config["annotations"] = {"org.teca.isolation": "emulated", "org.teca.network": "user", "org.teca.rootfs": "image"}
    with open(t.path("errors"), "wb") as errors:
        process = t.popen(command=["nsenter", "-t", str(host), "-n", *t.argv(
            "run", "--bundle", t.bundle(config, t.own_root(shutil.copy2)), t.new_id())],
            env=env | {"PATH": f"{t.path('bin')}:{os.environ['PATH']}"}, stdin=subprocess.PIPE, stderr=errors)
    eq(t.read_line(process, SECONDS), "up", "the program")
    check(os.path.exists(t.path("removed")), "the image was not removed")
    for pid in living():
        if "10.0.2.15" in name_of(pid):
            os.kill(pid, signal.SIGKILL)
    wait_until(lambda: os.path.getsize(t.path("errors")), "it is told", 30)
    os.write(process.stdin.fileno(), b"\n")
    eq([t.read_line(process, 60) for _ in range(2)], ["nc: timed out", "there"], "behind what has no way")
    eq(t.end_of(process, 60), 0, "status")
    with open(t.path("errors"), encoding="utf-8") as f:
        eq(f.read(), "teca: passt, the machine's network, has ended: the container goes on without\n", "stderr")


@test(seconds=120)
def a_network_that_cannot_be_had_is_refused_by_name(t):
    env, own = kernel.prepared(t), t.holder("-n")

    def refused(*parts, path=None):
        config = configured(own, "exit 0")
        if path:
            config = joined(config, "network", path)
        done = t.run(config, "--isolation", "emulated", env=env)
        eq((done.status, done.error.count("\n")), (1, 1), f"status and lines: {done.error}")
        for part in ("/linux/namespaces/", *parts):
            contains(done.error, part, "the sentence")

    config = configured(own, "exit 0")
    for value, part in (("user", "the network namespace has a path"), ("slirp", "must be user")):
        config["annotations"] = {"org.teca.network": value}
        contains(t.run(config, "--isolation", "emulated", env=env).error,
                 "/annotations/org.teca.network: " + part, value)
    refused("is the host's own: a machine cannot take its interfaces", path="/proc/self/ns/net")
    refused("is no network namespace", path=f"/proc/{own}/ns/uts")
    refused("cannot open the network namespace '/absent'", "No such file", path="/absent")
    shell_inside(own, "ip link add br0 type bridge", "ip link add name a type veth peer name b",
                 "ip link set dev a master br0", "ip link set dev a up")
    refused("'a' is part of another one (a bridge or a bond)")
    mac = links(own)["a"]["address"]
    shell_inside(own, "ip link set dev a nomaster", "ip link set dev b address " + mac, "ip link set dev b up")
    refused("has the MAC address of another one")
    shell_inside(own, "ip link set dev b address 02:00:00:00:00:01", "for i in 1 2 3; do ip link add e$i type veth peer name f$i; "
                 "ip link set e$i up; done")
    refused("more interfaces than four")
    shell_inside(own, "ip link del e1", "ip link del e2", "ip link del e3", "tc qdisc add dev b ingress")
    refused("cannot redirect what comes in on", "ingress qdisc already")
    contains(qdiscs(own, "b"), "ingress", "another's qdisc")
    lacks(qdiscs(own, "a"), "ingress", "the qdisc of the other interface")
    shell_inside(own, "tc qdisc del dev b ingress", "ip tuntap add dev tun9 mode tun", "ip link set tun9 up")
    refused("'tun9' is no Ethernet device")
    eq(own_machines(), [], "machines")
    eq(os.path.isdir(t.state_root) and os.listdir(t.state_root), [], "state that is left")
