/* SPDX-License-Identifier: Apache-2.0 */
/* The loopback device: when it is raised, and that it is up afterwards. */
#include "unit.h"

#include <fcntl.h>
#include <linux/if.h>
#include <sched.h>
#include <signal.h>
#include <sys/ioctl.h>
#include <sys/socket.h>

#include "net/net.h"

static struct plan plan_for(const char *namespaces)
{
    struct arena *a = unit_arena();
    const char *text = arena_format(a, "{\"ociVersion\":\"1.3.0\",\"linux\":{\"namespaces\":[%s]}}",
                                    namespaces);
    struct err e = { 0 };
    struct spec *s;
    struct plan p;

    if (spec_parse(a, text, strlen(text), &s, NULL, &e) < 0)
        fail_msg("%s: %s", e.pointer, e.text);
    plan_init(&p, a, "run");
    assert_int_equal(net_compile_loopback(&p, s, &e), 0);
    return p;
}

static void only_a_new_network_namespace_has_its_loopback_raised(void **state)
{
    (void)state;
    assert_int_equal(plan_for("{\"type\":\"network\"}").n, 1);
    assert_int_equal(plan_for("{\"type\":\"network\",\"path\":\"/n\"}").n, 0);
    assert_int_equal(plan_for("{\"type\":\"pid\"}").n, 0);
}

static bool is_up(void)
{
    AUTO_FD int fd = socket(AF_INET, SOCK_DGRAM | SOCK_CLOEXEC, 0);
    struct ifreq request = { .ifr_name = "lo" };

    return fd >= 0 && ioctl(fd, SIOCGIFFLAGS, &request) == 0 && request.ifr_flags & IFF_UP;
}

/* Runs `body` where the test may make a network namespace; returns its exit status. */
static int in_new_network(int (*body)(struct plan *p))
{
    struct plan p = plan_for("{\"type\":\"network\"}");
    int status;
    pid_t pid;

    if (!unit_has_clone3())
        unit_skip("namespaces cannot be made here (qemu-user)");
    pid = fork();
    if (pid == 0)
        _exit(unshare(CLONE_NEWUSER | CLONE_NEWNET) < 0 ? 99 : body(&p));
    assert_int_equal(waitpid(pid, &status, 0), pid);
    assert_true(WIFEXITED(status));
    return WEXITSTATUS(status);
}

static int raise_it(struct plan *p)
{
    struct err e = { 0 };

    if (is_up())
        return 1;
    if (net_step(&p->steps[0], NULL, &e) < 0) {
        dprintf(2, "%s\n", e.text);
        return 2;
    }
    return is_up() ? 0 : 3;
}

static void the_loopback_device_is_up_afterwards(void **state)
{
    (void)state;
    assert_int_equal(in_new_network(raise_it), 0);
}

static int raise_what_is_not_there(struct plan *p)
{
    struct err e = { 0 };

    p->steps[0].loopback_up.name = "lo4711";
    if (net_step(&p->steps[0], NULL, &e) != -ENODEV)
        return 1;
    return str_eq(e.text, "cannot bring the loopback device up: No such device") ? 0 : 2;
}

static void the_kernels_refusal_is_told(void **state)
{
    (void)state;
    assert_int_equal(in_new_network(raise_what_is_not_there), 0);
}

/* A process with a network namespace of its own, which it tells by a byte. */
static pid_t other_network(void)
{
    int ready[2];
    char byte;
    pid_t pid;

    if (pipe2(ready, O_CLOEXEC) < 0)
        _exit(98);
    pid = fork();
    if (pid == 0) {
        if (unshare(CLONE_NEWNET) < 0 || write(ready[1], "", 1) != 1)
            _exit(98);
        pause();
    }
    close(ready[1]);
    return read(ready[0], &byte, 1) == 1 ? pid : -1;
}

static bool is_up_there(pid_t pid)
{
    char path[64];
    AUTO_FD int fd = -1;

    base_format(path, sizeof path, "/proc/%d/ns/net", pid);
    fd = openat(AT_FDCWD, path, O_RDONLY | O_CLOEXEC);
    return setns(fd, CLONE_NEWNET) == 0 && is_up();
}

static int raise_that_of_another(struct plan *p)
{
    int pid = other_network(), r;
    struct slots slots = { &pid, 1 };
    struct err e = { 0 };

    plan_init(p, unit_arena(), "restore");
    p->slots = 1;
    net_compile_loopback_of(p, 0);
    r = pid < 0 || p->steps[0].lane != LANE_RUNTIME || net_step(&p->steps[0], &slots, &e) < 0;
    if (r)
        dprintf(2, "%s\n", e.text);
    else
        r = is_up() ? 2 : is_up_there(pid) ? 0 : 3;
    kill(pid, SIGKILL);
    return r;
}

static void that_of_another_process_is_raised_and_the_own_stays_down(void **state)
{
    (void)state;
    assert_int_equal(in_new_network(raise_that_of_another), 0);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(only_a_new_network_namespace_has_its_loopback_raised),
        cmocka_unit_test(the_loopback_device_is_up_afterwards),
        cmocka_unit_test(the_kernels_refusal_is_told),
        cmocka_unit_test(that_of_another_process_is_raised_and_the_own_stays_down),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
