/* SPDX-License-Identifier: Apache-2.0 */
/* The network of a machine as text: what is written is read, and nothing else is. */
#include "net/machine.h"
#include "unit.h"

#include <fcntl.h>
#include <linux/nsfs.h>
#include <sys/ioctl.h>
#include <sys/socket.h>

static struct net_address addresses[] = {
    { .family = AF_INET,
      .prefix = 24,
      .flags = 0x200,
      .has_broadcast = true,
      .local = { 10, 9, 0, 2 },
      .broadcast = { 10, 9, 0, 255 } },
    { .family = AF_INET, .prefix = 32, .has_peer = true, .local = { 1, 2, 3, 4 }, .peer = { 5 } },
    { .family = AF_INET6, .prefix = 64, .scope = 200, .local = { 0xfd, [15] = 2 } },
};
static struct net_route routes[] = {
    { .family = AF_INET, .protocol = 3, .has_gateway = true, .gateway = { 10, 9, 0, 1 } },
    { .family = AF_INET6,
      .prefix = 48,
      .scope = 253,
      .protocol = 4,
      .metric = UINT32_MAX,
      .flags = 4,
      .has_source = true,
      .to = { 0xfd, 1 },
      .source = { 0xfd, [15] = 2 } },
};
static struct net_neighbour neighbours[] = {
    { .family = AF_INET, .address = { 10, 9, 0, 99 }, .mac = { 2, 0, 0, 0, 0, 0x99 } },
};
static struct net_interface interfaces[] = {
    { .name = "fifteen-letters",
      .mtu = 1400,
      .mac = { 0xfe, 1, 2, 3, 4, 5 },
      .addresses = addresses,
      .routes = routes,
      .neighbours = neighbours,
      .n_addresses = COUNT_OF(addresses),
      .n_routes = COUNT_OF(routes),
      .n_neighbours = COUNT_OF(neighbours) },
    { .name = "net1", .mtu = 65535, .no_ipv6 = true },
};
static const struct net_machine machine = { .interfaces = interfaces,
                                            .n = COUNT_OF(interfaces),
                                            .no_ipv6 = true };

static void what_is_written_is_read(void **state)
{
    const char *text = net_machine_text(&machine, unit_arena());
    struct net_machine got;
    struct err e = { 0 };

    (void)state;
    if (net_machine_read(text, strlen(text), unit_arena(), &got, &e) < 0)
        fail_msg("%s", e.text);
    assert_int_equal(got.n, 2);
    assert_string_equal(got.interfaces[0].name, "fifteen-letters");
    assert_int_equal(got.interfaces[0].mtu, 1400);
    assert_memory_equal(got.interfaces[0].mac, interfaces[0].mac, NET_MAC_SIZE);
    assert_int_equal(got.interfaces[0].n_addresses, 3);
    assert_int_equal(got.interfaces[0].n_routes, 2);
    assert_int_equal(got.interfaces[0].n_neighbours, 1);
    assert_int_equal(got.interfaces[1].n_addresses, 0);
    assert_true(got.no_ipv6 && got.interfaces[1].no_ipv6 && !got.interfaces[0].no_ipv6);
    assert_string_equal(net_machine_text(&got, unit_arena()), text);
    arena_release(unit_arena());
}

#define INTERFACE(REST) \
    "{\"interfaces\":[{\"name\":\"e\",\"mac\":\"02:00:00:00:00:01\",\"mtu\":1" REST
#define LISTS ",\"addresses\":[],\"routes\":[],\"neighbours\":[]}]}"

static void nothing_else_is_read(void **state)
{
    static const char *const rows[] = {
        "",
        "[]",
        "{}",
        "{\"interfaces\":[{}]}",
        "{\"interfaces\":[{},{},{},{},{}]}",
        "{\"interfaces\":[{\"name\":\"sixteen-letters-\",\"mac\":\"02:00:00:00:00:01\",\"mtu\":1" LISTS,
        "{\"interfaces\":[{\"name\":\"e\",\"mac\":\"02:00:00:00:00\",\"mtu\":1" LISTS,
        "{\"interfaces\":[{\"name\":\"e\",\"mac\":\"02:00:00:00:00:01:02\",\"mtu\":1" LISTS,
        "{\"interfaces\":[{\"name\":\"e\",\"mac\":\"02:00:00:00:00:+1\",\"mtu\":1" LISTS,
        INTERFACE(""
                  "}]}"),
        INTERFACE(",\"addresses\":{},\"routes\":[],\"neighbours\":[]}]}"),
        INTERFACE(",\"addresses\":[{\"local\":\"1.2.3\",\"prefix\":1,\"scope\":0,\"flags\":0}],"
                  "\"routes\":[],\"neighbours\":[]}]}"),
        INTERFACE(",\"addresses\":[{\"local\":\"1.2.3.4\",\"prefix\":33,\"scope\":0,\"flags\":0}],"
                  "\"routes\":[],\"neighbours\":[]}]}"),
        INTERFACE(
            ",\"addresses\":[{\"local\":\"1.2.3.4\",\"peer\":\"::1\",\"prefix\":3,\"scope\":0,"
            "\"flags\":0}],\"routes\":[],\"neighbours\":[]}]}"),
        INTERFACE(",\"addresses\":[],\"neighbours\":[],\"routes\":[{\"to\":\"::\",\"prefix\":129,"
                  "\"metric\":0,\"scope\":0,\"protocol\":0,\"flags\":0}]}]}"),
        INTERFACE(",\"addresses\":[],\"routes\":[],\"neighbours\":[{\"address\":\"1.2.3.4\"}]}]}"),
    };

    (void)state;
    for (size_t i = 0; i < COUNT_OF(rows); i++) {
        struct net_machine got;
        struct err e = { 0 };

        unit_row(rows[i], net_machine_read(rows[i], strlen(rows[i]), unit_arena(), &got, &e) < 0);
        unit_row(rows[i], e.text[0]);
    }
    arena_release(unit_arena());
}

static void no_machine_gets_the_hosts_own_network(void **state)
{
    struct net_machine got;
    struct err e = { 0 };
    AUTO_FD int own = openat(AT_FDCWD, "/proc/self/ns/net", O_RDONLY | O_CLOEXEC);

    (void)state;
    if (ioctl(own, NS_GET_NSTYPE) < 0)
        unit_skip("no ioctl of namespaces here (qemu-user)");
    assert_true(net_machine_gather("/proc/self/ns/net", unit_arena(), &got, &e) < 0);
    assert_non_null(strstr(e.text, "is the host's own: a machine cannot take its interfaces"));
    assert_true(net_machine_gather("/proc/self/ns/uts", unit_arena(), &got, &e) < 0);
    assert_non_null(strstr(e.text, "is no network namespace"));
    assert_true(net_machine_gather("/dev/null", unit_arena(), &got, &e) < 0);
    assert_non_null(strstr(e.text, "is no network namespace"));
    arena_release(unit_arena());
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(what_is_written_is_read),
        cmocka_unit_test(nothing_else_is_read),
        cmocka_unit_test(no_machine_gets_the_hosts_own_network),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
