/* SPDX-License-Identifier: Apache-2.0 */
/* The network of a container in a machine: from config.json to the steps of src/net/machine.h. */
#include "container/machine.h"
#include "mux/mux.h"

/* "/linux/namespaces/2/path" of the network namespace; NULL: it is a new one. */
static const char *network_pointer(const struct spec *s, struct arena *a)
{
    for (size_t i = 0; i < s->linux.n_namespaces; i++)
        if (s->linux.namespaces[i].type == SPEC_NS_NETWORK && s->linux.namespaces[i].path)
            return arena_format(a, "/linux/namespaces/%zu/path", i);
    return NULL;
}

static int check_note(const char *note, const char *path, struct err *e)
{
    static const char pointer[] = "/annotations/org.teca.network";

    if (!str_eq(note, "user"))
        return err_at(e, pointer, 0, "must be user");
    return path ? err_at(e, pointer, 0,
                         "the network namespace has a path: its interfaces are the machine's")
                : 0;
}

int machine_network_gather(const struct spec *s, struct arena *a, struct machine_facts *out,
                           struct err *e)
{
    const char *note = spec_annotation(s, SPEC_ANNOTATION_NETWORK);
    const char *pointer = network_pointer(s, a);
    int r;

    out->net = (struct net_machine){ 0 };
    out->passt = NULL;
    if (note) {
        r = check_note(note, pointer, e);
        return r < 0 ? r : machine_passt_gather(a, out, e);
    }
    if (!pointer)
        return 0;
    r = net_machine_gather(spec_namespace_of(s, SPEC_NS_NETWORK)->path, a, &out->net, e);
    return r < 0 ? err_at(e, pointer, 0, "%s", arena_strdup(a, e->text)) : 0;
}

bool machine_network_by_hooks(const struct spec *s, const struct machine_facts *f)
{
    return !f->passt && !f->net.path && (s->hooks.prestart.n > 0 || s->hooks.create_runtime.n > 0);
}

/* Before the clone: so the runtime undoes it where the monitor fails. */
void machine_network_open(const struct compile_in *in, const struct machine_facts *f,
                          struct plan *p, struct machine_network *out)
{
    const char *pointer = network_pointer(in->spec, p->arena);
    struct step *st;

    *out = (struct machine_network){ SLOT_NONE, SLOT_NONE, SLOT_NONE };
    if (!pointer)
        return;
    st = plan_add(p, OP_NS_OPEN, LANE_RUNTIME, pointer);
    st->ns_open.path = f->net.path;
    st->ns_open.type = CLONE_NEWNET;
    st->ns_open.out = out->netns = plan_slot(p);
    net_machine_compile(p, &f->net, pointer, out->netns, &out->first_tap);
}

/* Whoever looks at the monitor's network, a hook or an engine, sees the container's, or an empty one. */
void machine_network_enter(const struct compile_in *in, const struct machine_facts *f,
                           struct plan *p, struct machine_network *n)
{
    const char *pointer = network_pointer(in->spec, p->arena);
    struct step *st;

    if (f->passt) { /* it stays where the monitor has come from */
        st = plan_add(p, OP_MACHINE_PASST, LANE_INIT, "/annotations/org.teca.network");
        st->machine_passt.program = f->passt;
        st->machine_passt.out = n->first_tap = plan_slot(p);
        st->machine_passt.out_pid = n->passt = plan_slot(p);
    }
    plan_add(p, OP_UNDUMPABLE, LANE_INIT, "");
    if (!pointer) {
        plan_add(p, OP_NS_UNSHARE, LANE_INIT, "/linux/namespaces")->ns_unshare.flags = CLONE_NEWNET;
        return;
    }
    st = plan_add(p, OP_NS_JOIN, LANE_INIT, pointer);
    st->ns_join.type = CLONE_NEWNET;
    st->ns_join.in = n->netns;
}

/* By the pid of their state they find the namespace, which is the monitor's. */
int machine_network_hooks(const struct compile_in *in, const struct machine_facts *f,
                          struct plan *p, int pid_slot)
{
    return machine_network_by_hooks(in->spec, f)
               ? compile_runtime_hooks(in, p, "the machine's network namespace is there", pid_slot)
               : -1;
}

/* The taps are the machine's alone: they go with it. */
void machine_network_close(const struct machine_facts *f, struct plan *p,
                           const struct machine_network *n)
{
    for (int i = 0; f->net.path && i < (int)f->net.n; i++)
        plan_add(p, OP_CLOSE, LANE_RUNTIME, "")->close.fd = n->first_tap + i;
    if (n->netns != SLOT_NONE)
        plan_add(p, OP_CLOSE, LANE_RUNTIME, "")->close.fd = n->netns;
}

/*
 * Of what hooks have filled nothing has to be undone: the namespace is the monitor's, the taps are the machine's, and a
 * redirect goes with its interface or when that leaves the namespace.
 */
static void tell_of_hooks(const struct compile_in *in, struct plan *p, struct machine_network *n)
{
    struct step *st = plan_add(p, OP_MACHINE_TAKE_NETWORK, LANE_INIT, "/linux/namespaces");

    st->machine_take_network.dir = in->state_dir;
    st->machine_take_network.taps = n->first_tap = plan_slot(p);
    for (int i = 1; i < NET_INTERFACES_MAX; i++)
        plan_slot(p);
}

void machine_network_tell(const struct compile_in *in, const struct machine_facts *f,
                          struct plan *p, struct machine_network *n)
{
    struct step *st;

    if (machine_network_by_hooks(in->spec, f)) {
        tell_of_hooks(in, p, n);
        return;
    }
    if (f->net.n == 0 && !f->net.path)
        return;
    st = plan_add(p, OP_MACHINE_NETWORK, LANE_INIT,
                  f->passt ? "/annotations/org.teca.network" : network_pointer(in->spec, p->arena));
    st->machine_network.dir = in->state_dir;
    st->machine_network.text = net_machine_text(&f->net, p->arena);
}

const char *const *machine_network_macs(const struct net_machine *m, struct arena *a)
{
    const char **out = arena_array(a, m->n + 1, sizeof *out);

    for (size_t i = 0; i < m->n; i++) {
        const uint8_t *mac = m->interfaces[i].mac;

        out[i] = arena_format(a, "%02x:%02x:%02x:%02x:%02x:%02x", mac[0], mac[1], mac[2], mac[3],
                              mac[4], mac[5]);
    }
    out[m->n] = NULL;
    return out;
}

/* ---- of hooks ------------------------------------------------------------------------------ */

int machine_take_network_step(struct execution *x, const struct op_machine_take_network *op,
                              struct err *e)
{
    struct net_machine taken = { 0 };
    int r = net_machine_take(x->plan->arena, &taken, &x->slots.value[op->taps], e);

    if (r < 0)
        return r;
    x->macs = machine_network_macs(&taken, x->plan->arena);
    return machine_tell_network(op->dir, net_machine_text(&taken, x->plan->arena), e);
}
