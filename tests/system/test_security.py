# SPDX-License-Identifier: Apache-2.0
"""Capabilities, no_new_privs and seccomp as the process finds them."""
import platform

from harness import (capabilities, cases, check, default, eq, minimal, row, test,
                     with_user_namespace, without)

NUMBERS = {name: number for number, name in enumerate(
    "CHOWN DAC_OVERRIDE DAC_READ_SEARCH FOWNER FSETID KILL SETGID SETUID SETPCAP LINUX_IMMUTABLE "
    "NET_BIND_SERVICE NET_BROADCAST NET_ADMIN NET_RAW IPC_LOCK IPC_OWNER SYS_MODULE SYS_RAWIO "
    "SYS_CHROOT SYS_PTRACE SYS_PACCT SYS_ADMIN SYS_BOOT SYS_NICE SYS_RESOURCE SYS_TIME "
    "SYS_TTY_CONFIG MKNOD LEASE AUDIT_WRITE AUDIT_CONTROL SETFCAP MAC_OVERRIDE MAC_ADMIN SYSLOG "
    "WAKE_ALARM BLOCK_SUSPEND AUDIT_READ PERFMON BPF CHECKPOINT_RESTORE".split())}
FIELDS = {"bounding": "CapBnd", "effective": "CapEff", "inheritable": "CapInh",
          "permitted": "CapPrm", "ambient": "CapAmb"}
ARCHITECTURE = {"x86_64": "SCMP_ARCH_X86_64",
                "aarch64": "SCMP_ARCH_AARCH64"}.get(platform.machine())
NEW = "SCMP_ACT_ALLOW"


def mask(names):
    return sum(1 << NUMBERS[n.removeprefix("CAP_")] for n in names)


def sets_of(t, config, **more):
    status = t.report(config, **more)["status"]
    return {kind: int(status[field], 16) for kind, field in FIELDS.items()}


def expected(**sets):
    return {kind: mask(sets.get(kind, ())) for kind in FIELDS}


# ---- capabilities --------------------------------------------------------------------------------

PODMAN = ["CAP_" + n
          for n in ("CHOWN DAC_OVERRIDE FOWNER FSETID KILL NET_BIND_SERVICE SETFCAP SETGID "
                               "SETPCAP SETUID SYS_CHROOT").split()]


@cases(engine_list=(PODMAN,), one=(["CAP_KILL"],), none=([],),
       high_numbers=(["CAP_BPF", "CAP_CHECKPOINT_RESTORE"],))
def root_gets_the_configured_bounding_and_effective_sets(t, names):
    config = minimal(capabilities=capabilities(*names, inheritable=[], ambient=[]))
    eq(sets_of(t, config), expected(bounding=names, effective=names, permitted=names),
       "sets of root")


@test
@row("PRC-11")
def all_five_sets_may_be_given_alike(t):
    names = ["CAP_KILL", "CAP_AUDIT_WRITE", "CAP_NET_BIND_SERVICE"]
    config = minimal(capabilities=capabilities(*names))
    eq(sets_of(t, config), {k: mask(names) for k in FIELDS}, "sets of root")


@test
def without_the_capabilities_object_nobody_has_any(t):
    """The spec says nothing; runc and crun agree, and what they drop an engine counts on."""
    eq(sets_of(t, minimal()), expected(), "sets of root")


@test
def a_user_has_no_capabilities_without_ambient_ones(t):
    config = minimal(user={"uid": 1000, "gid": 1000},
                     capabilities=capabilities(*PODMAN, inheritable=[], ambient=[]))
    eq(sets_of(t, config), expected(bounding=PODMAN), "sets of uid 1000")


@test
@row("PRC-11")
def ambient_capabilities_survive_the_exec_of_a_user(t):
    kept = ["CAP_NET_BIND_SERVICE", "CAP_KILL"]
    config = minimal(user={"uid": 1000, "gid": 1000},
                     capabilities=capabilities(*PODMAN, inheritable=kept, ambient=kept))
    eq(sets_of(t, config), expected(bounding=PODMAN, effective=kept, permitted=kept,
                                    inheritable=kept,
                                    ambient=kept), "sets of uid 1000")


@test
def the_inheritable_set_is_kept_without_effect_on_a_user(t):
    config = minimal(user={"uid": 1000, "gid": 1000},
                     capabilities=capabilities(*PODMAN, inheritable=["CAP_CHOWN"], ambient=[]))
    eq(sets_of(t, config), expected(bounding=PODMAN, inheritable=["CAP_CHOWN"]), "sets of uid 1000")


@test
def no_new_privileges_does_not_change_the_sets(t):
    config = minimal(noNewPrivileges=True,
                     capabilities=capabilities(*PODMAN, inheritable=[], ambient=[]))
    eq(sets_of(t, config), expected(bounding=PODMAN, effective=PODMAN, permitted=PODMAN),
       "sets of root")


@test
def the_default_configuration_has_its_sets(t):
    config = default()
    given = config["process"]["capabilities"]
    eq(sets_of(t, config),
       {k: mask(given.get(k, [])) if k != "ambient" or "inheritable" in given else 0
                            for k in FIELDS}, "sets of the default configuration")


@test
def a_user_namespace_has_the_configured_sets(t):
    sets = capabilities(*PODMAN, inheritable=[], ambient=[])
    config = with_user_namespace(minimal(capabilities=sets))
    eq(sets_of(t, config), expected(bounding=PODMAN, effective=PODMAN, permitted=PODMAN),
       "sets of root")


@test
def a_dropped_capability_is_really_gone(t):
    root = t.own_root()
    config = minimal("/payload", "call", "chroot", "s:/", capabilities=capabilities("CAP_KILL"))
    eq(t.ok(config, rootfs=root), "-1 EPERM\n", "chroot without CAP_SYS_CHROOT")
    config["process"]["capabilities"] = capabilities("CAP_SYS_CHROOT")
    eq(t.ok(config, rootfs=root), "0 OK\n", "chroot with CAP_SYS_CHROOT")


@test
def an_ambient_capability_really_works_for_a_user(t):
    config = minimal("/payload", "call", "chroot", "s:/", user={"uid": 1000, "gid": 1000},
                     capabilities=capabilities("CAP_SYS_CHROOT"))
    eq(t.ok(config), "0 OK\n", "chroot with ambient CAP_SYS_CHROOT")
    config["process"]["capabilities"]["ambient"] = []
    eq(t.ok(config), "-1 EPERM\n", "chroot without it")


@test
@row("PRC-11")
def a_capability_that_the_kernel_does_not_know_is_no_reason_to_fail(t):
    config = minimal(capabilities=capabilities("CAP_KILL", "CAP_TO_FLY"))
    eq(sets_of(t, config)["bounding"], mask(["CAP_KILL"]), "bounding set")


# ---- no_new_privs --------------------------------------------------------------------------------


@cases(on=(True, "1"), off=(False, "0"))
@row("PRC-12")
def no_new_privs_is_as_configured(t, value, shown):
    eq(t.report(minimal(noNewPrivileges=value))["status"]["NoNewPrivs"], shown, "NoNewPrivs")


# ---- seccomp -------------------------------------------------------------------------------------


def profile(default_action="SCMP_ACT_ALLOW", *rules, **more):
    return {"defaultAction": default_action, "architectures": [ARCHITECTURE],
            "syscalls": list(rules)} | more


def rule(action, *names, errno=None, args=None):
    made = {"names": list(names), "action": action}
    if errno is not None:
        made["errnoRet"] = errno
    if args:
        made["args"] = args
    return made


def filtered(seccomp, *args, no_new=False, **process):
    config = minimal("/payload", *args, noNewPrivileges=no_new, **process)
    config["linux"]["seccomp"] = seccomp
    return config


def both(function):
    """With and without noNewPrivileges: the two load the filter at different places of the plan."""
    return cases(with_no_new_privs=True, without_no_new_privs=False)(function)


@both
def the_seccomp_mode_is_filter(t, no_new):
    config = filtered(profile(), no_new=no_new)
    status = t.report(config)["status"]
    eq((status["Seccomp"], status["Seccomp_filters"]), ("2", "1"), "Seccomp and Seccomp_filters")
    eq(status["NoNewPrivs"], "1" if no_new else "0", "NoNewPrivs")


@test
def without_a_profile_there_is_no_filter(t):
    eq(t.report(minimal())["status"]["Seccomp"], "0", "Seccomp")


@both
@row("SC-2")
def an_errno_rule_answers_with_its_number(t, no_new):
    config = filtered(profile(NEW, rule("SCMP_ACT_ERRNO", "getpgid", errno=18)),
                      "call", "getpgid", "0", no_new=no_new)
    eq(t.ok(config), "-1 EXDEV\n", "getpgid")


@both
@row("SC-2")
def an_errno_rule_without_a_number_answers_eperm(t, no_new):
    config = filtered(profile(NEW, rule("SCMP_ACT_ERRNO", "getpgid")), "call", "getpgid", "0",
                      no_new=no_new)
    eq(t.ok(config), "-1 EPERM\n", "getpgid")


@both
def a_kill_rule_kills_by_sigsys(t, no_new):
    config = filtered(profile(NEW, rule("SCMP_ACT_KILL_PROCESS", "getpgid")), "call", "getpgid",
                      "0",
                      no_new=no_new)
    eq(t.run(config).status, 128 + 31, "exit status of run")


@test
def a_trap_rule_sends_sigsys(t):
    config = filtered(profile(NEW, rule("SCMP_ACT_TRAP", "getpgid")), "call", "getpgid", "0")
    eq(t.run(without(config, "pid")).status, 128 + 31, "exit status of run")


@cases(thread="SCMP_ACT_KILL_THREAD", old_name="SCMP_ACT_KILL")
def a_kill_of_the_thread_ends_the_process(t, action):
    config = filtered(profile(NEW, rule(action, "getpgid")), "call", "getpgid", "0")
    eq(t.run(config).status, 128 + 31, "exit status of run")


@test
@row("SC-5")
def a_rule_for_one_call_leaves_the_others(t):
    config = filtered(profile(NEW, rule("SCMP_ACT_ERRNO", "getpgid", errno=1)), "call", "getppid")
    eq(t.ok(config), "0 OK\n", "getppid")


@test
def a_log_rule_lets_the_call_through(t):
    config = filtered(profile(NEW, rule("SCMP_ACT_LOG", "getppid")), "call", "getppid")
    eq(t.ok(config), "0 OK\n", "getppid")


def argument(index, value, op, second=None):
    made = {"index": index, "value": value, "op": op}
    return made | ({"valueTwo": second} if second is not None else {})


HIT, PASSED = "-1 EXDEV\n", "-1 EINVAL\n"
# getpriority(2) of 77 is EINVAL for every second argument, so only the filter makes a difference.
OPERATORS = {
    "equal_hit": (argument(1, 7, "SCMP_CMP_EQ"), 7, HIT),
    "equal_passed": (argument(1, 7, "SCMP_CMP_EQ"), 8, PASSED),
    "not_equal_hit": (argument(1, 7, "SCMP_CMP_NE"), 8, HIT),
    "not_equal_passed": (argument(1, 7, "SCMP_CMP_NE"), 7, PASSED),
    "less_hit": (argument(1, 7, "SCMP_CMP_LT"), 6, HIT),
    "less_passed": (argument(1, 7, "SCMP_CMP_LT"), 7, PASSED),
    "less_or_equal_hit": (argument(1, 7, "SCMP_CMP_LE"), 7, HIT),
    "less_or_equal_passed": (argument(1, 7, "SCMP_CMP_LE"), 8, PASSED),
    "greater_hit": (argument(1, 7, "SCMP_CMP_GT"), 8, HIT),
    "greater_passed": (argument(1, 7, "SCMP_CMP_GT"), 7, PASSED),
    "greater_or_equal_hit": (argument(1, 7, "SCMP_CMP_GE"), 7, HIT),
    "greater_or_equal_passed": (argument(1, 7, "SCMP_CMP_GE"), 6, PASSED),
    "masked_hit": (argument(1, 0xF0, "SCMP_CMP_MASKED_EQ", 0x50), 0x5A, HIT),
    "masked_passed": (argument(1, 0xF0, "SCMP_CMP_MASKED_EQ", 0x50), 0x6A, PASSED),
    "high_word_hit": (argument(1, 0x700000001, "SCMP_CMP_EQ"), 0x700000001, HIT),
    "high_word_passed": (argument(1, 0x700000001, "SCMP_CMP_EQ"), 1, PASSED),
}


@cases(**OPERATORS)
@row("SC-5")
def an_argument_is_compared(t, condition, value, expected_text):
    config = filtered(profile(NEW,
                              rule("SCMP_ACT_ERRNO", "getpriority", errno=18, args=[condition])),
                      "call", "getpriority", "77", str(value))
    eq(t.ok(config), expected_text, f"getpriority(77, {value})")


@test
def several_arguments_of_a_rule_must_all_match(t):
    conditions = [argument(0, 77, "SCMP_CMP_EQ"), argument(1, 5, "SCMP_CMP_EQ")]
    seccomp = profile(NEW, rule("SCMP_ACT_ERRNO", "getpriority", errno=18, args=conditions))
    eq(t.ok(filtered(seccomp, "call", "getpriority", "77", "5")), HIT, "both match")
    eq(t.ok(filtered(seccomp, "call", "getpriority", "77", "6")), PASSED, "one matches")


@test
def two_conditions_on_one_argument_are_alternatives(t):
    """libseccomp cannot hold both in one rule; runc makes two, so a profile may rely on it."""
    conditions = [argument(1, 5, "SCMP_CMP_EQ"), argument(1, 6, "SCMP_CMP_EQ")]
    seccomp = profile(NEW, rule("SCMP_ACT_ERRNO", "getpriority", errno=18, args=conditions))
    for value, text in ((5, HIT), (6, HIT), (7, PASSED)):
        eq(t.ok(filtered(seccomp, "call", "getpriority", "77", str(value))), text, f"value {value}")


@both
def an_allow_list_denies_everything_else_with_its_default(t, no_new):
    needed = ("execve brk arch_prctl set_tid_address set_robust_list rseq prlimit64 mprotect "
              "readlinkat readlink getrandom newfstatat fstat write exit_group exit mmap "
              "munmap futex ioctl read close sched_yield rt_sigaction rt_sigprocmask "
              "rt_sigreturn openat fcntl uname close_range capset capget prctl setuid setgid "
              "setgroups setresuid setresgid chdir fchdir getuid getgid umask getpid gettid "
              "epoll_pwait epoll_wait poll ppoll sendmsg recvmsg recvfrom sendto getcwd "
              "clone seccomp execveat statx openat2 faccessat2 setsid dup3 getdents64 lseek "
              "nanosleep clock_nanosleep tgkill madvise sigaltstack stat lstat faccessat "
              "access pselect6 waitid getppid").split()
    seccomp = profile("SCMP_ACT_ERRNO", rule(NEW, *needed), defaultErrnoRet=38)
    config = filtered(seccomp, "call", "getpriority", "0", "0", no_new=no_new)
    eq(t.ok(config), "-1 ENOSYS\n", "getpriority, which is not in the list")


@both
def a_user_without_capabilities_is_filtered_too(t, no_new):
    config = filtered(profile(NEW, rule("SCMP_ACT_ERRNO", "getpgid", errno=18)), "call", "getpgid",
                      "0",
                      no_new=no_new, user={"uid": 1000, "gid": 1000},
                      capabilities=capabilities("CAP_KILL", inheritable=[], ambient=[]))
    eq(t.ok(config), HIT, "getpgid")


@test
def a_profile_that_forbids_the_runtimes_own_calls_still_starts_with_no_new_privs(t):
    """The filter is the last thing before exec, so nothing but execve must be allowed."""
    calls = ("setuid setgid setresuid setresgid setgroups capset mount umount2 pivot_root "
             "sethostname unshare setns clone clone3 chdir fchdir umask setsid prlimit64 "
             "openat2 mknodat").split()
    config = filtered(profile(NEW, rule("SCMP_ACT_ERRNO", *calls, errno=18)), "call", "umask", "18",
                      no_new=True, user={"uid": 1000, "gid": 1000})
    eq(t.ok(config), HIT, "umask")


@test
def an_unknown_name_of_a_system_call_is_passed_over(t):
    """Engines write one list for all kernels; libseccomp's may be older than it."""
    config = filtered(profile(NEW, rule("SCMP_ACT_ERRNO", "no_such_call", "getpgid", errno=18)),
                      "call", "getpgid", "0")
    eq(t.ok(config), HIT, "getpgid")


@cases(action=(profile("SCMP_ACT_DANCE"), "/linux/seccomp/defaultAction"),
       rule_action=(profile(NEW, rule("SCMP_ACT_DANCE", "getpgid")),
                    "/linux/seccomp/syscalls/0/action"),
       operator=(profile(NEW,
                         rule("SCMP_ACT_ERRNO", "getpgid", args=[argument(0, 1, "SCMP_CMP_ODD")])),
                 "/linux/seccomp/syscalls/0/args/0/op"),
       architecture=(profile() | {"architectures": ["SCMP_ARCH_ABACUS"]},
                     "/linux/seccomp/architectures/0"),
       flag=(profile(flags=["SECCOMP_FILTER_FLAG_NOT"]), "/linux/seccomp/flags/0"),
       index=(profile(NEW, rule("SCMP_ACT_ERRNO", "getpgid", args=[argument(6, 1, "SCMP_CMP_EQ")])),
              "/linux/seccomp/syscalls/0/args/0"))
@row("SC-1", "SC-5")
def a_wrong_word_in_a_profile_is_refused(t, seccomp, pointer):
    t.refused(filtered(seccomp, "call", "getppid"), pointer)


@test
@row("SC-4")
def a_filter_with_the_log_flag_is_loaded(t):
    config = filtered(profile(flags=["SECCOMP_FILTER_FLAG_LOG"]))
    eq(t.report(config)["status"]["Seccomp"], "2", "Seccomp")


@test
def a_filter_that_allows_everything_is_still_loaded(t):
    config = filtered({"defaultAction": "SCMP_ACT_ALLOW"})
    eq(t.report(config)["status"]["Seccomp"], "2", "Seccomp")


@test
def a_filter_holds_in_a_user_namespace(t):
    config = filtered(profile(NEW, rule("SCMP_ACT_ERRNO", "getpgid", errno=18)), "call", "getpgid",
                      "0")
    eq(t.ok(with_user_namespace(config)), HIT, "getpgid")


@test
def a_filter_holds_after_create_and_start(t):
    config = filtered(profile(NEW, rule("SCMP_ACT_ERRNO", "getpgid", errno=18)), "catch", "15")
    container, pid = t.sleeper(config)
    with open(f"/proc/{pid}/status", encoding="ascii") as f:
        check("Seccomp:\t2\n" in f.read(), f"{container} has no filter")


@test
@row("SC-3")
def a_filter_of_every_architecture_of_the_machine_is_loaded(t):
    if platform.machine() != "x86_64":
        t.skip("this machine has one architecture")
    seccomp = profile(NEW, rule("SCMP_ACT_ERRNO", "getpgid", errno=18))
    seccomp["architectures"] += ["SCMP_ARCH_X86", "SCMP_ARCH_X32"]
    config = filtered(seccomp, "call", "getpgid", "0")
    eq(t.ok(config), HIT, "getpgid")
