# SPDX-License-Identifier: Apache-2.0
"""linux.netDevices: a veth end of the runtime's network namespace moves into the container's."""
import ctypes
import json
import os
import subprocess

from harness import cases, check, contains, eq, joined, minimal, row, test, with_user_namespace

_libc = ctypes.CDLL(None, use_errno=True)
CLONE_NEWNET = 0x40000000


def ip(*args, pid=None):
    command = ["nsenter", "-t", str(pid), "-n", "ip"] if pid else ["ip"]
    return subprocess.run([*command, *args], check=True, capture_output=True, text=True).stdout


def own_network():
    """A network namespace for the test, with the pair near (up, with addresses) and far."""
    check(_libc.unshare(CLONE_NEWNET) == 0, "unshare(CLONE_NEWNET)")
    ip("link", "add", "near", "mtu", "1400", "type", "veth", "peer", "name", "far")
    ip("link", "set", "near", "up")
    ip("link", "set", "far", "up")
    ip("addr", "add", "192.0.2.5/24", "brd", "192.0.2.255", "dev", "near")
    ip("addr", "add", "192.0.2.77", "peer", "192.0.2.78/32", "dev", "near")
    ip("addr", "add", "169.254.1.1/16", "scope", "link", "dev", "near")
    ip("addr", "add", "198.51.100.1/24", "valid_lft", "500", "preferred_lft", "400", "dev", "near")
    ip("addr", "add", "2001:db8::5/64", "nodad", "dev", "near")


def links(pid=None):
    return {link["ifname"]: link for link in json.loads(ip("-j", "addr", pid=pid))}


def addresses(link):
    """The permanent global ones."""
    return sorted((a["local"], a["prefixlen"], a.get("address"), a.get("broadcast"))
                  for a in link["addr_info"] if a["scope"] == "global" and not a.get("dynamic"))


def with_devices(config, **devices):
    config = joined(config, "network")
    config["linux"]["netDevices"] = devices
    return config


@cases(own_users=minimal, a_user_namespace=lambda: with_user_namespace(minimal()))
@row("ND-1", "ND-3", "ND-4")
def a_device_moves_with_its_permanent_global_addresses_and_is_up(t, config):
    own_network()
    before = links()["near"]
    _, pid = t.sleeper(with_devices(config(), near={"name": "eth7"}))
    check("near" not in links(), "the device is still on the host")
    after = links(pid)
    check("near" not in after and "eth7" in after, f"devices of the container: {list(after)}")
    after = after["eth7"]
    eq(addresses(after), addresses(before), "permanent global addresses")
    eq(len(addresses(after)), 3, "addresses that were there to begin with")
    local = [a["local"] for a in after["addr_info"]]
    check("169.254.1.1" not in local and "198.51.100.1" not in local,
          f"link-local and temporary addresses came along: {local}")
    eq((after["address"], after["mtu"]), (before["address"], 1400), "hardware address and MTU")
    check("UP" in after["flags"], f"the device is not up: {after['flags']}")


@test
@row("ND-2", "ND-4")
def a_device_that_was_down_is_up_in_the_container_and_keeps_its_name(t):
    own_network()
    ip("link", "set", "near", "down")
    _, pid = t.sleeper(with_devices(minimal(), near={}))
    check("UP" in links(pid)["near"]["flags"], "the device is not up")


@test
@row("ND-2")
def the_kernel_fills_in_a_pattern(t):
    own_network()
    ip("link", "add", "second", "type", "veth", "peer", "name", "other")
    _, pid = t.sleeper(with_devices(minimal(), near={"name": "net%d"}, second={"name": "net%d"}))
    names = set(links(pid))
    check({"net0", "net1"} <= names, f"devices of the container: {names}")
    check(not [n for n in names if n.startswith("teca")], f"a name of passage is left: {names}")


@test
@row("ND-5")
def a_device_moves_into_a_namespace_that_is_joined(t):
    own_network()
    holder = t.holder("--net")
    config = joined(minimal(), "network", f"/proc/{holder}/ns/net")
    config["linux"]["netDevices"] = {"near": {"name": "eth0"}}
    container, _ = t.sleeper(config)
    eq(addresses(links(holder)["eth0"])[0][0], "192.0.2.5", "address in the joined namespace")
    t.teca("delete", "--force", container, expect=0)
    # config-linux.md: the namespace's owner has it now, the runtime must not fetch it back.
    check("eth0" in links(holder), "delete took the device out of the namespace")
    check("near" not in links(), "delete moved the device back")


@test
def a_sysctl_of_the_moved_device_is_set(t):
    own_network()
    config = with_devices(minimal(), near={"name": "eth7"})
    config["linux"]["sysctl"] = {"net.ipv4.conf.eth7.forwarding": "1"}
    config["process"]["args"] = ["/bin/cat", "/proc/sys/net/ipv4/conf/eth7/forwarding"]
    eq(t.ok(config).strip(), "1", "the sysctl")


def unchanged(before):
    after = links()
    eq(set(after), set(before), "devices on the host")
    eq(addresses(after["near"]), addresses(before["near"]), "addresses on the host")
    eq("UP" in after["near"]["flags"], "UP" in before["near"]["flags"], "up on the host")


@cases(up="up", down="down")
def a_start_that_fails_gives_the_device_back(t, state):
    own_network()
    ip("link", "set", "near", state)
    before = links()
    config = with_devices(minimal("/bin/absent"), near={"name": "eth7"})
    t.refused(config, "/bin/absent")
    unchanged(before)
    t.refused(config, "/bin/absent", verb="create")
    unchanged(before)


@test
def a_second_device_that_fails_gives_the_first_one_back(t):
    own_network()
    before = links()
    t.refused(with_devices(minimal(), near={"name": "eth7"}, zero={}),
              "/linux/netDevices/zero: the host has no network device 'zero'")
    unchanged(before)


@cases(fixed="lo", pattern="a%db%d")
@row("ND-2")
def a_name_that_cannot_be_had_is_told_and_the_device_stays(t, name):
    own_network()
    before = links()
    error = t.refused(with_devices(minimal(), near={"name": name}),
                      f"/linux/netDevices/near: cannot move the network device 'near' into the "
                      f"container as '{name}'").error
    if name == "lo":
        contains(error, "the container's network namespace has a device of that name", "stderr")
    unchanged(before)


@test
def a_device_that_the_kernel_binds_to_its_namespace_is_told(t):
    own_network()
    t.refused(with_devices(minimal(), lo={"name": "lo7"}), "/linux/netDevices/lo",
              "the kernel binds this kind of device to its namespace")


@test
def the_runtimes_own_namespace_is_no_place_to_move_to(t):
    own_network()
    config = joined(minimal(), "network", f"/proc/{os.getpid()}/ns/net")
    config["linux"]["netDevices"] = {"near": {}}
    t.refused(config, "/linux/netDevices", "the runtime's own")


@test
def explain_tells_of_the_move(t):
    own_network()
    config = with_devices(minimal(), near={"name": "eth7"})
    text = t.teca("explain", "--bundle", t.bundle(config), "x", expect=0).text
    contains(text, "host_name=near name=eth7", "explain")
    contains(text, "/linux/netDevices/near", "explain")
