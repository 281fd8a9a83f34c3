/* SPDX-License-Identifier: Apache-2.0 */
/* The interfaces of a machine as text, written on the host and read in the guest. Pure. */
#include <arpa/inet.h>
#include <ctype.h>
#include <stdlib.h>
#include <string.h>

#include "net/machine.h"

enum { ITEMS_MAX = 4096 };

/* ---- to text ------------------------------------------------------------------------------- */

static void add_ip(struct json_out *j, const char *key, uint8_t family, const uint8_t *ip)
{
    char text[INET6_ADDRSTRLEN];

    json_add_string(j, key, inet_ntop(family, ip, text, sizeof text));
}

static void add_mac(struct json_out *j, const uint8_t mac[NET_MAC_SIZE])
{
    char text[32];

    base_format(text, sizeof text, "%02x:%02x:%02x:%02x:%02x:%02x", mac[0], mac[1], mac[2], mac[3],
                mac[4], mac[5]);
    json_add_string(j, "mac", text);
}

static void add_address(struct json_out *j, const struct net_address *a)
{
    json_open_object(j, NULL);
    add_ip(j, "local", a->family, a->local);
    json_add_u64(j, "prefix", a->prefix);
    if (a->has_peer)
        add_ip(j, "peer", a->family, a->peer);
    if (a->has_broadcast)
        add_ip(j, "broadcast", a->family, a->broadcast);
    json_add_u64(j, "scope", a->scope);
    json_add_u64(j, "flags", a->flags);
    json_close_object(j);
}

static void add_route(struct json_out *j, const struct net_route *r)
{
    json_open_object(j, NULL);
    add_ip(j, "to", r->family, r->to);
    json_add_u64(j, "prefix", r->prefix);
    if (r->has_gateway)
        add_ip(j, "gateway", r->family, r->gateway);
    if (r->has_source)
        add_ip(j, "source", r->family, r->source);
    json_add_u64(j, "metric", r->metric);
    json_add_u64(j, "scope", r->scope);
    json_add_u64(j, "protocol", r->protocol);
    json_add_u64(j, "flags", r->flags);
    json_close_object(j);
}

static void add_interface(struct json_out *j, const struct net_interface *i)
{
    json_open_object(j, NULL);
    json_add_string(j, "name", i->name);
    add_mac(j, i->mac);
    json_add_u64(j, "mtu", i->mtu);
    json_add_bool(j, "noIpv6", i->no_ipv6);
    json_open_array(j, "addresses");
    for (size_t n = 0; n < i->n_addresses; n++)
        add_address(j, &i->addresses[n]);
    json_close_array(j);
    json_open_array(j, "routes");
    for (size_t n = 0; n < i->n_routes; n++)
        add_route(j, &i->routes[n]);
    json_close_array(j);
    json_open_array(j, "neighbours");
    for (size_t n = 0; n < i->n_neighbours; n++) {
        json_open_object(j, NULL);
        add_ip(j, "address", i->neighbours[n].family, i->neighbours[n].address);
        add_mac(j, i->neighbours[n].mac);
        json_close_object(j);
    }
    json_close_array(j);
    json_close_object(j);
}

const char *net_machine_text(const struct net_machine *m, struct arena *a)
{
    struct json_out *j = json_out_in(a, false);

    json_open_object(j, NULL);
    json_open_array(j, "interfaces");
    for (size_t i = 0; i < m->n; i++)
        add_interface(j, &m->interfaces[i]);
    json_close_array(j);
    json_add_bool(j, "noIpv6", m->no_ipv6);
    json_close_object(j);
    return json_out_text(j, NULL);
}

/* ---- from text ----------------------------------------------------------------------------- */

/* The family of its text, 0: it is no address. */
static uint8_t read_ip(struct json_reader *in, const char *name, uint8_t out[NET_IP_SIZE])
{
    const char *text = json_read_string(in, name);

    if (text && inet_pton(AF_INET, text, out) == 1)
        return AF_INET;
    if (text && inet_pton(AF_INET6, text, out) == 1)
        return AF_INET6;
    json_read_fault(in, name, "an IP address");
    return 0;
}

/* false: it is not there. */
static bool read_ip_of(struct json_reader *in, const char *name, uint8_t family,
                       uint8_t out[NET_IP_SIZE])
{
    if (!json_get(in->object, name))
        return false;
    if (read_ip(in, name, out) != family)
        json_read_fault(in, name, "an IP address of the same family");
    return true;
}

static void read_mac(struct json_reader *in, uint8_t out[NET_MAC_SIZE])
{
    const char *at = json_read_string(in, "mac");

    for (int i = 0; at && i < NET_MAC_SIZE; i++, at += 3) {
        if (!isxdigit(at[0]) || !isxdigit(at[1]) || at[2] != (i == NET_MAC_SIZE - 1 ? 0 : ':'))
            break;
        out[i] = (uint8_t)strtoul(at, NULL, 16);
        if (!at[2])
            return;
    }
    json_read_fault(in, "mac", "a MAC address");
}

static uint8_t read_prefix(struct json_reader *in, uint8_t family)
{
    return (uint8_t)json_read_u64(in, "prefix", family == AF_INET ? 32 : 128);
}

static void read_address(struct json_reader *in, void *item)
{
    struct net_address *out = item;

    *out = (struct net_address){ 0 };
    out->family = read_ip(in, "local", out->local);
    out->prefix = read_prefix(in, out->family);
    out->has_peer = read_ip_of(in, "peer", out->family, out->peer);
    out->has_broadcast = read_ip_of(in, "broadcast", out->family, out->broadcast);
    out->scope = (uint8_t)json_read_u64(in, "scope", UINT8_MAX);
    out->flags = (uint32_t)json_read_u64(in, "flags", UINT32_MAX);
}

static void read_route(struct json_reader *in, void *item)
{
    struct net_route *out = item;

    *out = (struct net_route){ 0 };
    out->family = read_ip(in, "to", out->to);
    out->prefix = read_prefix(in, out->family);
    out->has_gateway = read_ip_of(in, "gateway", out->family, out->gateway);
    out->has_source = read_ip_of(in, "source", out->family, out->source);
    out->metric = (uint32_t)json_read_u64(in, "metric", UINT32_MAX);
    out->scope = (uint8_t)json_read_u64(in, "scope", UINT8_MAX);
    out->protocol = (uint8_t)json_read_u64(in, "protocol", UINT8_MAX);
    out->flags = (uint32_t)json_read_u64(in, "flags", UINT8_MAX);
}

static void read_neighbour(struct json_reader *in, void *item)
{
    struct net_neighbour *out = item;

    *out = (struct net_neighbour){ 0 };
    out->family = read_ip(in, "address", out->address);
    read_mac(in, out->mac);
}

typedef void read_item(struct json_reader *in, void *out);

/* The elements of an array of the interface, `size` bytes each. */
static void *read_items(struct json_reader *in, const char *name, read_item *read, size_t size,
                        struct arena *a, size_t *n)
{
    const struct json *list = json_read_array(in, name);
    struct json_reader item = *in;
    char *out;

    *n = 0;
    if (!list)
        return NULL;
    if (list->count > ITEMS_MAX) {
        json_read_fault(in, name, "a shorter array");
        return NULL;
    }
    out = arena_array(a, list->count + 1, size);
    for (const struct json *v = list->child; v && item.r == 0; v = v->next) {
        item.object = v;
        read(&item, out + size * (*n)++);
    }
    in->r = item.r;
    return out;
}

static void read_interface(struct json_reader *in, struct arena *a, struct net_interface *out)
{
    const char *name = json_read_string(in, "name");

    *out = (struct net_interface){ .mtu = (uint32_t)json_read_u64(in, "mtu", INT32_MAX) };
    if (name && strlen(name) < sizeof out->name)
        base_format(out->name, sizeof out->name, "%s", name);
    else
        json_read_fault(in, "name", "the name of an interface");
    read_mac(in, out->mac);
    out->no_ipv6 = json_read_bool_or_false(in, "noIpv6");
    out->addresses = read_items(in, "addresses", read_address, sizeof *out->addresses, a,
                                &out->n_addresses);
    out->routes = read_items(in, "routes", read_route, sizeof *out->routes, a, &out->n_routes);
    out->neighbours = read_items(in, "neighbours", read_neighbour, sizeof *out->neighbours, a,
                                 &out->n_neighbours);
}

int net_machine_read(const char *text, size_t len, struct arena *a, struct net_machine *out,
                     struct err *e)
{
    struct json_reader in = { .what = "the network", .e = e };
    const struct json *list;
    struct json *doc;
    int r = json_parse(a, text, len, "the network", &doc, e);

    if (r < 0)
        return r;
    in.object = doc;
    list = json_read_array(&in, "interfaces");
    if (list && list->count > NET_INTERFACES_MAX)
        json_read_fault(&in, "interfaces", "an array of at most four");
    if (!list || in.r < 0)
        return in.r;
    *out = (struct net_machine){ .interfaces = arena_array(a, NET_INTERFACES_MAX,
                                                           sizeof *out->interfaces),
                                 .no_ipv6 = json_read_bool_or_false(&in, "noIpv6") };
    for (const struct json *v = list->child; v && in.r == 0; v = v->next) {
        in.object = v;
        read_interface(&in, a, &out->interfaces[out->n++]);
    }
    return in.r;
}
