# SPDX-License-Identifier: Apache-2.0
"""The session keyring: a new one for each container and each process of exec. engine-contract 1.3.1."""
import ctypes
import errno
import os

from harness import cases, check, contains, eq, lacks, minimal, test, with_user_namespace, without

SYS_ADD_KEY, SYS_KEYCTL = 248, 250  # x86-64, where the suite runs
SESSION, PROCESS = -3, -2
_libc = ctypes.CDLL(None, use_errno=True)

OWN = ("/payload", "call", "keyctl", "0", "-3", "0")  # KEYCTL_GET_KEYRING_ID of the session's


def own_serial():
    return _libc.syscall(SYS_KEYCTL, 0, SESSION, 0)


def serial_of(text):
    number, word = text.split()
    eq(word, "OK", f"the payload's question for its session keyring ({text!r})")
    return int(number)


def with_keys(t):
    if own_serial() < 0:
        t.skip("this kernel has no keys (CONFIG_KEYS)")


@cases(ordinary=minimal(*OWN), no_new_privs=minimal(*OWN, noNewPrivileges=True),
       without_pid=without(minimal(*OWN), "pid"), user=with_user_namespace(minimal(*OWN)))
def each_container_has_a_new_one(t, config):
    with_keys(t)
    serials = [serial_of(t.ok(config)) for _ in range(2)]
    check(own_serial() not in serials, "the container has the caller's session keyring")
    check(serials[0] != serials[1], "two containers have the same one")


@test
def keys_of_the_caller_are_not_found_in_the_container(t):
    with_keys(t)
    _libc.syscall(SYS_KEYCTL, 1, None)  # a keyring of this test's own
    key = _libc.syscall(SYS_ADD_KEY, b"user", t.token.encode(), b"x", 1, SESSION)
    check(key > 0, "the test cannot make a key")
    ask = ("/payload", "call", "keyctl", "10", "-3", "s:user", f"s:{t.token}", "0")  # KEYCTL_SEARCH
    eq(t.ok(minimal(*ask)), "-1 ENOKEY\n", "a search in the container")
    eq(t.ok(minimal(*ask), "--no-new-keyring"), f"{key} OK\n", "the same with the caller's keyring")


@test
def no_new_keyring_keeps_the_callers(t):
    with_keys(t)
    eq(serial_of(t.ok(minimal(*OWN), "--no-new-keyring")), own_serial(), "the session keyring")


@test
def create_makes_one_too(t):
    with_keys(t)
    out = t.path("out")
    container, where = t.new_id(), t.bundle(minimal(*OWN))
    with open(out, "wb") as f:
        t.teca("create", "--bundle", where, container, stdout=f, expect=0)
        t.teca("start", container, expect=0)
    os.waitpid(-1, 0)
    with open(out, encoding="ascii") as f:
        check(serial_of(f.read()) != own_serial(), "the container has the caller's session keyring")


@test
def a_process_of_exec_has_a_new_one(t):
    with_keys(t)
    container, _ = t.sleeper(minimal())
    serials = [serial_of(t.teca("exec", container, *OWN, expect=0).text) for _ in range(2)]
    check(own_serial() not in serials and serials[0] != serials[1], f"{serials}, the caller has {own_serial()}")


@cases(missing="ENOSYS", forbidden="EPERM")
def where_there_are_no_keyrings_the_container_starts(t, error):
    done = t.call(["strace", "-f", "-o", t.path("trace"), "-e", f"inject=keyctl:error={error}",
                   *t.argv("run", "--bundle", t.bundle(minimal("/bin/echo", "ran")), t.new_id())])
    eq((done.status, done.text, done.error), (0, "ran\n", ""), "the run")
    with open(t.path("trace"), encoding="utf-8") as f:
        contains(f.read(), "keyctl(KEYCTL_JOIN_SESSION_KEYRING", "what was refused")


def fill_quota(uid):
    """A child that has all the keys its user may have; gives its pid and the pipe that ends it."""
    ready, done = os.pipe(), os.pipe()
    pid = os.fork()
    if pid == 0:
        os.close(done[1])
        os.setresuid(uid, uid, uid)
        for i in range(100000):
            key = _libc.syscall(SYS_ADD_KEY, b"user", str(i).encode(), b"x", 1, PROCESS)
            if key < 0:
                break
        os.write(ready[1], b"q" if ctypes.get_errno() == errno.EDQUOT else b"?")
        os.read(done[0], 1)
        os._exit(0)
    os.close(done[0])
    return pid, os.read(ready[0], 1), done[1]


@test
def a_user_who_may_have_no_more_keys_is_told(t):
    with_keys(t)
    user = 57000 + os.getpid() % 1000
    pid, word, end = fill_quota(user)
    try:
        eq(word, b"q", "how the making of keys ended")
        config = with_user_namespace(minimal("/bin/echo", "ran"), host=user)
        done = t.refused(config, "session keyring", "quota exceeded", "--no-new-keyring")
        lacks(done.error, "permission denied", "stderr")
        eq(t.ok(config, "--no-new-keyring"), "ran\n", "stdout")
    finally:
        os.close(end)
        os.waitpid(pid, 0)
