/* SPDX-License-Identifier: Apache-2.0 */
/* Which files get which values, on pretended hosts: v1, hybrid, v2. */
#include "minimal.h"

#include "cgroups/internal.h"

static const char *const nothing[] = { "", "", NULL };

enum host { V1, HYBRID, V2 };

static struct cgroup_facts host_facts(enum host host)
{
    static struct cgroup_hierarchy v1[] = {
        { .controllers = "cpu,cpuacct", .mountpoint = "/cg/cpu", .root = "/", .path = "/cg/cpu/c" },
        { .controllers = "memory",
          .mountpoint = "/cg/memory",
          .root = "/",
          .path = "/cg/memory/c" },
        { .controllers = "cpuset",
          .mountpoint = "/cg/cpuset",
          .root = "/",
          .path = "/cg/cpuset/c",
          .cpuset = true,
          .cpus = "0-3",
          .mems = "0" },
        { .controllers = "pids", .mountpoint = "/cg/pids", .root = "/", .path = "/cg/pids/c" },
        { .controllers = "blkio", .mountpoint = "/cg/blkio", .root = "/", .path = "/cg/blkio/c" },
        { .controllers = "net_cls,net_prio",
          .mountpoint = "/cg/net",
          .root = "/",
          .path = "/cg/net/c" },
        { .controllers = "devices",
          .mountpoint = "/cg/devices",
          .root = "/",
          .path = "/cg/devices/c" },
        { .v2 = true,
          .controllers = "",
          .mountpoint = "/cg/unified",
          .root = "/",
          .path = "/cg/unified/c",
          .available = "hugetlb rdma",
          .subtree = nothing,
          .n_subtree = 1 },
    };
    static struct cgroup_hierarchy v2 = {
        .v2 = true,
        .controllers = "",
        .mountpoint = "/cg",
        .root = "/",
        .path = "/cg/c",
        .available = "cpuset cpu io memory hugetlb pids rdma misc",
        .subtree = nothing,
        .n_subtree = 1
    };

    if (host == V2)
        return (struct cgroup_facts){ .v = &v2, .n = 1, .mount_root = "/cg", .unified = true };
    return (struct cgroup_facts){ .v = v1, .n = COUNT_OF(v1) - (host == V1), .mount_root = "/cg" };
}

static struct spec_resources resources_of(const char *json)
{
    const char *patch = arena_format(unit_arena(), "{'linux': {'resources': {%s}}}", json);

    return minimal_spec(unit_arena(), patch)->linux.resources;
}

/* "FILE=VALUE;FILE=VALUE", with "late:" and "?" as they are; or "! POINTER: SENTENCE". */
static const char *written(enum host host, const char *asked, const char *earlier)
{
    struct cgroup_facts f = host_facts(host);
    struct spec_resources a = resources_of(asked), all = a;
    struct cgroup_writes w;
    struct err e = { 0 };
    const char *text = "";
    int r;

    if (earlier)
        all = resources_of(earlier);
    r = cgroup_compile_writes(earlier ? &all : &a, &a, &f, unit_arena(), &w, &e);
    if (r < 0)
        return arena_format(unit_arena(), "! %s: %s", e.pointer, e.text);
    for (size_t i = 0; i < w.n; i++) {
        const struct cgroup_write *one = &w.v[i];

        text = arena_format(unit_arena(), "%s%s%s%s=%s%s", text, i ? ";" : "",
                            one->late ? "late:" : "", one->file, one->value,
                            one->optional ? "?" : "");
        if (one->or_file)
            text = arena_format(unit_arena(), "%s|%s=%s", text, one->or_file, one->or_value);
    }
    return text;
}

struct row {
    enum host host;
    const char *asked, *written; /* "! ..." : refused, and the sentence begins so */
};

static void check_rows(const struct row *rows, size_t n)
{
    for (size_t i = 0; i < n; i++) {
        const char *found = written(rows[i].host, rows[i].asked, NULL);
        bool same = rows[i].written[0] == '!' ? str_starts(found, rows[i].written)
                                              : str_eq(found, rows[i].written);

        if (!same)
            fail_msg("%d %s:\nexpected %s\n     got %s", rows[i].host, rows[i].asked,
                     rows[i].written, found);
        arena_release(unit_arena());
    }
}

static void memory_has_every_special_case_of_swap(void **state)
{
    static const struct row rows[] = {
        { V1, "'memory': {'limit': 1000, 'swap': 3000}",
          "memory.limit_in_bytes=1000;memory.memsw.limit_in_bytes=3000" },
        { V1, "'memory': {'limit': 1000}", "memory.limit_in_bytes=1000" },
        { V1, "'memory': {'limit': 1000, 'swap': 0}", "memory.limit_in_bytes=1000" },
        { V1, "'memory': {'limit': -1}",
          "memory.limit_in_bytes=-1;memory.memsw.limit_in_bytes=-1?" },
        { V1, "'memory': {'limit': 1000, 'swap': -1}",
          "memory.limit_in_bytes=1000;memory.memsw.limit_in_bytes=-1?" },
        { V1, "'memory': {'limit': 0, 'swap': 0}", "" },
        { V1, "'memory': {'swap': 10}",
          "! /linux/resources/memory/swap: unable to set swap limit without memory limit" },
        { V1, "'memory': {'limit': 1000, 'swap': 999}",
          "! /linux/resources/memory/swap: memory+swap" },
        { V2, "'memory': {'limit': 1000, 'swap': 3000}", "memory.swap.max=2000;memory.max=1000" },
        { V2, "'memory': {'limit': 1000, 'swap': 1000}", "memory.swap.max=0?;memory.max=1000" },
        { V2, "'memory': {'limit': 1000}", "memory.max=1000" },
        { V2, "'memory': {'limit': 1000, 'swap': 0}", "memory.max=1000" },
        { V2, "'memory': {'limit': -1}", "memory.swap.max=max?;memory.max=max" },
        { V2, "'memory': {'limit': -1, 'swap': 500}", "memory.swap.max=500;memory.max=max" },
        { V2, "'memory': {'limit': 1000, 'swap': -1}", "memory.swap.max=max?;memory.max=1000" },
        { V2, "'memory': {'swap': -1}", "memory.swap.max=max?" },
        { V2, "'memory': {'swap': 10}",
          "! /linux/resources/memory/swap: unable to set swap limit without memory limit" },
        { V2, "'memory': {'limit': 1000, 'swap': 999}",
          "! /linux/resources/memory/swap: memory+swap" },
    };

    (void)state;
    check_rows(rows, COUNT_OF(rows));
}

static void the_rest_of_memory_is_written_or_refused(void **state)
{
    static const struct row rows[] = {
        { V1, "'memory': {'reservation': 7, 'kernel': 8, 'kernelTCP': 9, 'swappiness': 0}",
          "memory.soft_limit_in_bytes=7;memory.kmem.limit_in_bytes=8;"
          "memory.kmem.tcp.limit_in_bytes=9;memory.swappiness=0" },
        { V1, "'memory': {'reservation': -1, 'disableOOMKiller': true, 'useHierarchy': false}",
          "memory.soft_limit_in_bytes=-1;memory.oom_control=1;memory.use_hierarchy=0" },
        { V1, "'memory': {'disableOOMKiller': false, 'checkBeforeUpdate': true}", "" },
        { V2, "'memory': {'reservation': 7}", "memory.low=7" },
        { V2, "'memory': {'reservation': -1}", "memory.low=max" },
        { V2,
          "'memory': {'kernel': -1, 'kernelTCP': 0, 'disableOOMKiller': false, "
          "'useHierarchy': true}",
          "" },
        { V2, "'memory': {'swappiness': 60}",
          "! /linux/resources/memory/swappiness: cgroup v2 has nothing like 'memory.swappiness'" },
        { V2, "'memory': {'kernel': 5}", "! /linux/resources/memory/kernel: cgroup v2" },
        { V2, "'memory': {'kernelTCP': 5}", "! /linux/resources/memory/kernelTCP: cgroup v2" },
        { V2, "'memory': {'disableOOMKiller': true}",
          "! /linux/resources/memory/disableOOMKiller: cgroup v2" },
        { V2, "'memory': {'useHierarchy': false}",
          "! /linux/resources/memory/useHierarchy: cgroup v2" },
    };

    (void)state;
    check_rows(rows, COUNT_OF(rows));
}

static void shares_become_a_weight(void **state)
{
    /* The check points of engine-contract 5.2. */
    static const uint64_t points[][2] = {
        { 0, 1 },          { 2, 1 },       { 3, 2 },        { 10, 4 },         { 50, 10 },
        { 100, 17 },       { 102, 17 },    { 128, 21 },     { 205, 29 },       { 256, 35 },
        { 512, 59 },       { 1000, 99 },   { 1024, 100 },   { 1025, 101 },     { 2048, 174 },
        { 4096, 303 },     { 10240, 639 }, { 65536, 3023 }, { 262143, 10000 }, { 262144, 10000 },
        { 300000, 10000 },
    };

    (void)state;
    for (size_t i = 0; i < COUNT_OF(points); i++)
        assert_int_equal(cgroup_cpu_weight(points[i][0]), points[i][1]);
}

static void cpu_time_and_places(void **state)
{
    static const struct row rows[] = {
        { V1, "'cpu': {'shares': 512}", "cpu.shares=512" },
        { V1, "'cpu': {'shares': 1}",
          "! /linux/resources/cpu/shares: the minimum allowed cpu-shares is 2" },
        { V1, "'cpu': {'shares': 300000}",
          "! /linux/resources/cpu/shares: the maximum allowed cpu-shares is 262144" },
        { V1, "'cpu': {'shares': 0, 'quota': 0, 'period': 0}", "" },
        { V1, "'cpu': {'quota': 20000, 'period': 50000, 'burst': 10000}",
          "cpu.cfs_period_us=50000;cpu.cfs_quota_us=20000;cpu.cfs_burst_us=10000" },
        { V1, "'cpu': {'quota': -5}", "cpu.cfs_quota_us=-1" },
        { V1, "'cpu': {'idle': 1, 'shares': 100}", "cpu.idle=1" },
        { V1, "'cpu': {'realtimePeriod': 9, 'realtimeRuntime': 4}",
          "cpu.rt_period_us=9;cpu.rt_runtime_us=4" },
        { V1, "'cpu': {'cpus': '0-1', 'mems': '0'}", "cpuset.cpus=0-1;cpuset.mems=0" },
        { V2, "'cpu': {'shares': 1024}", "cpu.weight=100" },
        { V2, "'cpu': {'shares': 1}", "cpu.weight=1" },
        { V2, "'cpu': {'quota': 20000}", "cpu.max=20000 100000" },
        { V2, "'cpu': {'quota': -1, 'period': 50000}", "cpu.max=max 50000" },
        { V2, "'cpu': {'period': 50000}", "cpu.max=max 50000" },
        { V2, "'cpu': {'quota': 20000, 'period': 50000, 'burst': 100}",
          "cpu.max=20000 50000;cpu.max.burst=100" },
        { V2, "'cpu': {'idle': 1, 'shares': 100}", "cpu.idle=1" },
        { V2, "'cpu': {'idle': 0, 'shares': 1024}", "cpu.weight=100" },
        { V2, "'cpu': {'cpus': '2', 'mems': '0'}", "cpuset.cpus=2;cpuset.mems=0" },
        { V2, "'cpu': {'realtimeRuntime': 4}",
          "! /linux/resources/cpu/realtimeRuntime: cgroup v2" },
        { V2, "'cpu': {'realtimePeriod': 4}", "! /linux/resources/cpu/realtimePeriod: cgroup v2" },
    };

    (void)state;
    check_rows(rows, COUNT_OF(rows));
}

static void no_process_is_a_limit_that_the_clone_must_not_meet(void **state)
{
    static const struct row rows[] = {
        { V1, "'pids': {'limit': 0}", "pids.max=0" },
        { V1, "'pids': {'limit': -1}", "pids.max=max" },
        { V2, "'pids': {'limit': 0}", "late:pids.max=0" },
        { V2, "'pids': {'limit': -7}", "late:pids.max=max" },
        { V2, "'pids': {'limit': 50}", "late:pids.max=50" },
    };

    (void)state;
    check_rows(rows, COUNT_OF(rows));
}

static void block_io(void **state)
{
    static const struct row rows[] = {
        { V1, "'blockIO': {'weight': 500}", "blkio.weight=500|blkio.bfq.weight=500" },
        { V1, "'blockIO': {'weight': 0, 'leafWeight': 0}", "" },
        { V1, "'blockIO': {'leafWeight': 20}", "blkio.leaf_weight=20" },
        { V1,
          "'blockIO': {'weightDevice': [{'major': 8, 'minor': 0, 'weight': 300, "
          "'leafWeight': 40}]}",
          "blkio.weight_device=8:0 300|blkio.bfq.weight_device=8:0 300;"
          "blkio.leaf_weight_device=8:0 40" },
        { V1,
          "'blockIO': {'throttleReadBpsDevice': [{'major': 8, 'minor': 1, 'rate': 5}], "
          "'throttleWriteIOPSDevice': [{'major': 8, 'minor': 1, 'rate': 0}]}",
          "blkio.throttle.read_bps_device=8:1 5;blkio.throttle.write_iops_device=8:1 0" },
        { V2, "'blockIO': {'weight': 10}", "io.bfq.weight=10|io.weight=1" },
        { V2, "'blockIO': {'weight': 500}", "io.bfq.weight=500|io.weight=4950" },
        { V2, "'blockIO': {'weight': 1000}", "io.bfq.weight=1000|io.weight=10000" },
        { V2, "'blockIO': {'weightDevice': [{'major': 8, 'minor': 0, 'weight': 10}]}",
          "io.bfq.weight=8:0 10|io.weight=8:0 1" },
        { V2,
          "'blockIO': {'throttleReadBpsDevice': [{'major': 8, 'minor': 1, 'rate': 5}], "
          "'throttleWriteBpsDevice': [{'major': 8, 'minor': 1, 'rate': 6}], "
          "'throttleReadIOPSDevice': [{'major': 8, 'minor': 1, 'rate': 7}], "
          "'throttleWriteIOPSDevice': [{'major': 8, 'minor': 1, 'rate': 0}]}",
          "io.max=8:1 rbps=5;io.max=8:1 wbps=6;io.max=8:1 riops=7;io.max=8:1 wiops=max" },
        { V2, "'blockIO': {'leafWeight': 20}", "! /linux/resources/blockIO/leafWeight: cgroup v2" },
    };

    (void)state;
    check_rows(rows, COUNT_OF(rows));
}

static void huge_pages_network_and_rdma(void **state)
{
    static const struct row rows[] = {
        { HYBRID, "'hugepageLimits': [{'pageSize': '2MB', 'limit': 4194304}]",
          "hugetlb.2MB.max=4194304;hugetlb.2MB.rsvd.max=4194304?" },
        { V1, "'hugepageLimits': [{'pageSize': '2MB', 'limit': 4194304}]",
          "! /linux/resources/hugepageLimits/0/limit: cannot set 'hugetlb.2MB.limit_in_bytes': no "
          "cgroup hierarchy that the container can have has the controller 'hugetlb'" },
        { V1, "'network': {'classID': 1048577, 'priorities': [{'name': 'lo', 'priority': 3}]}",
          "net_cls.classid=1048577;net_prio.ifpriomap=lo 3" },
        { V2, "'network': {'classID': 1}", "! /linux/resources/network/classID: cannot set" },
        { V2, "'rdma': {'mlx5_0': {'hcaHandles': 3, 'hcaObjects': 4}, 'x': {'hcaObjects': 5}}",
          "rdma.max=mlx5_0 hca_handle=3 hca_object=4;rdma.max=x hca_object=5" },
    };

    (void)state;
    check_rows(rows, COUNT_OF(rows));
}

static void unified_is_written_as_it_stands_and_last(void **state)
{
    static const struct row rows[] = {
        { V2,
          "'unified': {'memory.high': '5', 'io.max': '8:0 rbps=1\\n8:1 wbps=2\\n', "
          "'cgroup.max.depth': '3'}, 'pids': {'limit': 4}",
          "late:pids.max=4;memory.high=5;io.max=8:0 rbps=1;io.max=8:1 wbps=2;cgroup.max.depth=3" },
        { V2, "'unified': {'perf_event.x': '1'}",
          "! /linux/resources/unified/perf_event.x: cannot set 'perf_event.x': the cgroup v2 "
          "hierarchy at '/cg' does not have the controller 'perf_event'" },
        { HYBRID, "'unified': {'hugetlb.2MB.max': '0'}", "hugetlb.2MB.max=0" },
        { HYBRID, "'unified': {'memory.max': '0'}",
          "! /linux/resources/unified/memory.max: cannot set 'memory.max': the cgroup v2" },
        { V1, "'unified': {'memory.max': '0'}",
          "! /linux/resources/unified/memory.max: cannot set 'memory.max': the container has no v2" },
    };

    (void)state;
    check_rows(rows, COUNT_OF(rows));
}

static void an_update_takes_what_belongs_together_from_before(void **state)
{
    static const struct {
        enum host host;
        const char *asked, *all, *written;
    } rows[] = {
        { V2, "'cpu': {'quota': 10}", "'cpu': {'quota': 10, 'period': 5000}", "cpu.max=10 5000" },
        { V2, "'cpu': {'period': 5000}", "'cpu': {'quota': 10, 'period': 5000}",
          "cpu.max=10 5000" },
        { V1, "'cpu': {'quota': 10}", "'cpu': {'quota': 10, 'period': 5000}",
          "cpu.cfs_quota_us=10" },
        { V2, "'memory': {'swap': 300}", "'memory': {'limit': 100, 'swap': 300}",
          "memory.swap.max=200" },
        { V2, "'memory': {'limit': 100}", "'memory': {'limit': 100, 'swap': 300}",
          "memory.swap.max=200;memory.max=100" },
        { V1, "'memory': {'limit': 100}", "'memory': {'limit': 100, 'swap': 300}",
          "memory.limit_in_bytes=100" },
        { V1, "'memory': {'disableOOMKiller': false}", "'memory': {'disableOOMKiller': false}",
          "memory.oom_control=0" },
        { V2, "'cpu': {'idle': 0}", "'cpu': {'idle': 0}", "cpu.idle=0" },
    };

    (void)state;
    for (size_t i = 0; i < COUNT_OF(rows); i++)
        assert_string_equal(written(rows[i].host, rows[i].asked, rows[i].all), rows[i].written);
}

static void without_a_cgroup_a_limit_is_refused_and_the_hint_says_why(void **state)
{
    struct cgroup_facts disabled = { .disabled = true }, rootless = { .unprivileged = true };
    struct spec_resources r = resources_of("'pids': {'limit': 5}");
    struct cgroup_writes w;
    struct err e = { 0 };

    (void)state;
    assert_int_equal(cgroup_compile_writes(&r, &r, &disabled, unit_arena(), &w, &e), -EINVAL);
    assert_string_equal(e.pointer, "/linux/resources/pids/limit");
    assert_non_null(strstr(e.text, "--cgroup-manager disabled"));
    e = (struct err){ 0 };
    assert_int_equal(cgroup_compile_writes(&r, &r, &rootless, unit_arena(), &w, &e), -EINVAL);
    assert_non_null(strstr(e.text, "rootless needs no limits"));
}

/* ---- steps ----------------------------------------------------------------------------------- */

static size_t count(const struct plan *p, enum plan_op op)
{
    size_t n = 0;

    for (size_t i = 0; i < p->n; i++)
        n += p->steps[i].op == op;
    return n;
}

static struct plan plan_of(const struct cgroup_facts *f, const char *resources)
{
    const char *patch = arena_format(unit_arena(), "{'linux': {'resources': {%s}}}", resources);
    const struct spec *s = minimal_spec(unit_arena(), patch);
    struct err e = { 0 };
    struct plan p;
    int slot, filter;

    plan_init(&p, unit_arena(), "run");
    if (cgroup_compile_make(&p, s, f, &slot, &e) < 0 || cgroup_compile_limits(&p, s, f, &e) < 0 ||
        cgroup_compile_filter(&p, s, f, &filter, &e) < 0)
        fail_msg("%s: %s", e.pointer, e.text);
    plan_add(&p, OP_CLONE, LANE_RUNTIME, "");
    if (cgroup_compile_make_v1(&p, f, &e) < 0 || cgroup_compile_late(&p, s, f, filter, &e) < 0 ||
        cgroup_compile_join(&p, f, LANE_INIT, &e) < 0)
        fail_msg("%s: %s", e.pointer, e.text);
    cgroup_compile_attach(&p, LANE_INIT, filter, slot);
    return p;
}

static void controllers_are_switched_on_from_the_top_as_needed(void **state)
{
    static const char *const subtree[] = { "cpuset cpu memory", "memory", NULL };
    struct cgroup_facts f = host_facts(V2);
    struct cgroup_hierarchy h = f.v[0];
    struct plan p;
    int i;

    (void)state;
    h.path = "/cg/a/b/c";
    h.existing = 1;
    h.subtree = subtree;
    h.n_subtree = 2;
    f.v = &h;
    p = plan_of(&f,
                "'memory': {'limit': 5}, 'cpu': {'shares': 5, 'quota': 6}, 'pids': {'limit': 1}");
    assert_int_equal(count(&p, OP_CGROUP_ENABLE), 3);
    i = plan_find(&p, OP_CGROUP_ENABLE, 0);
    assert_true(i > plan_find(&p, OP_CGROUP_OPEN, 0));
    assert_string_equal(p.steps[i].cgroup_enable.path, "/cg");
    assert_string_equal(p.steps[i].cgroup_enable.controllers, "+pids");
    assert_string_equal(p.steps[i + 1].cgroup_enable.path, "/cg/a");
    assert_string_equal(p.steps[i + 1].cgroup_enable.controllers, "+cpu +pids");
    assert_string_equal(p.steps[i + 2].cgroup_enable.path, "/cg/a/b");
    assert_string_equal(p.steps[i + 2].cgroup_enable.controllers, "+memory +cpu +pids");
    assert_int_equal(p.steps[i + 3].op, OP_CGROUP_SET);
    assert_string_equal(p.steps[i + 3].cgroup_set.path, "/cg/a/b/c");
}

static void v2_is_limited_before_the_clone_and_v1_before_the_join(void **state)
{
    struct cgroup_facts f = host_facts(HYBRID);
    struct plan p = plan_of(&f, "'memory': {'limit': 5}, 'hugepageLimits': [{'pageSize': '2MB', "
                                "'limit': 0}], 'pids': {'limit': 1}");
    int clone = plan_find(&p, OP_CLONE, 0), join = plan_find(&p, OP_CGROUP_JOIN, 0);
    struct err e = { 0 };

    (void)state;
    assert_int_equal(plan_finish(&p, &e), 0);
    assert_int_equal(plan_waits(&p), 1);
    for (int i = plan_find(&p, OP_CGROUP_SET, 0); i >= 0;
         i = plan_find(&p, OP_CGROUP_SET, (size_t)i + 1)) {
        bool v2 = str_starts(p.steps[i].cgroup_set.path, "/cg/unified");

        assert_true(v2 ? i < clone : i > clone);
        assert_true(plan_happens_before(&p, (size_t)i, (size_t)join));
    }
    assert_int_equal(count(&p, OP_CGROUP_SET), 4);
}

static void without_limits_nothing_is_switched_on_or_written(void **state)
{
    struct cgroup_facts f = host_facts(V2);
    struct plan p = plan_of(&f, "'memory': {}, 'devices': []");

    (void)state;
    assert_int_equal(count(&p, OP_CGROUP_ENABLE) + count(&p, OP_CGROUP_SET), 0);
    assert_int_equal(count(&p, OP_DEVICE_FILTER), 1); /* as runc: nothing but the presets */
}

static void devices_are_filtered_on_v2_and_ruled_on_v1(void **state)
{
    static const struct {
        enum host host;
        const char *devices;
        size_t filters, rules, attached;
        bool or_rules;
    } rows[] = {
        { V2, "'devices': [{'allow': false}]", 1, 0, 1, false },
        { HYBRID, "'devices': [{'allow': false}]", 1, 1, 1, true },
        { V1, "'devices': [{'allow': false}]", 0, 1, 0, false },
        { V2, "'devices': [{'allow': true}]", 0, 0, 0, false },
        { V1, "'devices': [{'allow': true}]", 0, 0, 0, false },
        { V1, "", 0, 1, 0, false },
        { HYBRID,
          "'devices': [{'allow': true, 'type': 'c', 'major': 9, 'access': 'rw'}, "
          "{'allow': false, 'type': 'c', 'major': 9, 'minor': 1, 'access': 'w'}]",
          1, 0, 1, false },
    };

    (void)state;
    for (size_t i = 0; i < COUNT_OF(rows); i++) {
        struct cgroup_facts f = host_facts(rows[i].host);
        struct plan p = plan_of(&f, rows[i].devices);

        unit_row(rows[i].devices, count(&p, OP_DEVICE_FILTER) == rows[i].filters);
        unit_row(rows[i].devices, count(&p, OP_DEVICE_RULES) == rows[i].rules);
        unit_row(rows[i].devices, count(&p, OP_DEVICE_ATTACH) == rows[i].attached);
        if (rows[i].filters)
            unit_row(rows[i].devices,
                     p.steps[plan_find(&p, OP_DEVICE_FILTER, 0)].device_filter.or_rules ==
                         rows[i].or_rules);
    }
}

static void rules_that_nobody_can_keep_are_refused(void **state)
{
    static const char conflict[] =
        "{'linux': {'resources': {'devices': [{'allow': true, 'type': 'c', 'major': 9, "
        "'access': 'rw'}, {'allow': false, 'type': 'c', 'major': 9, 'minor': 1, 'access': 'w'}]}}}";
    struct cgroup_facts v1 = host_facts(V1), none = { 0 }, rootless = { .unprivileged = true };
    const struct spec *s = minimal_spec(unit_arena(), conflict);
    struct err e = { 0 };
    struct plan p;
    int filter;

    (void)state;
    plan_init(&p, unit_arena(), "run");
    assert_int_equal(cgroup_compile_filter(&p, s, &v1, &filter, &e), -EINVAL);
    assert_string_equal(e.pointer, "/linux/resources/devices/1");
    e = (struct err){ 0 };
    assert_int_equal(cgroup_compile_filter(&p, s, &none, &filter, &e), -EINVAL);
    assert_string_equal(e.pointer, "/linux/resources/devices");
    assert_int_equal(cgroup_compile_filter(&p, s, &rootless, &filter, &e), 0);
    assert_int_equal(
        cgroup_compile_filter(&p, minimal_spec(unit_arena(), NULL), &none, &filter, &e), 0);
    assert_int_equal(filter, SLOT_NONE);
}

static void the_payloads_user_owns_what_it_may_write_to(void **state)
{
    static const char *const files[] = { "cgroup.procs", NULL };
    static const struct {
        const char *patch;
        int64_t uid; /* -1: no step */
    } rows[] = {
        { "{'process': {'user': {'uid': 7}}}", 7 },
        { "{'process': {'user': {'uid': 0}}}", -1 },
        { "{'process': {'user': {'uid': 7}}, 'linux': {'namespaces': [{'type': 'user'}], "
          "'uidMappings': [{'containerID': 5, 'hostID': 1000, 'size': 10}]}}",
          1002 },
        { "{'process': {'user': {'uid': 4}}, 'linux': {'namespaces': [{'type': 'user'}], "
          "'uidMappings': [{'containerID': 5, 'hostID': 1000, 'size': 10}]}}",
          -1 },
    };

    (void)state;
    for (size_t i = 0; i < COUNT_OF(rows); i++) {
        struct cgroup_facts f = host_facts(V2);
        const struct spec *s = minimal_spec(unit_arena(), rows[i].patch);
        struct plan p;

        plan_init(&p, unit_arena(), "run");
        cgroup_compile_owner(&p, s, &f);
        unit_row(rows[i].patch, p.n == 0); /* nothing is delegated */
        f.delegate = files;
        cgroup_compile_owner(&p, s, &f);
        unit_row(rows[i].patch, p.n == (rows[i].uid >= 0));
        unit_row(rows[i].patch, p.n == 0 || (p.steps[0].cgroup_own.uid == rows[i].uid &&
                                             str_eq(p.steps[0].cgroup_own.path, "/cg/c")));
    }
}

static int tear_down(void **state)
{
    (void)state;
    arena_release(unit_arena());
    return 0;
}

int main(void)
{
#define ROW(name) cmocka_unit_test_teardown(name, tear_down)
    const struct CMUnitTest tests[] = {
        ROW(memory_has_every_special_case_of_swap),
        ROW(the_rest_of_memory_is_written_or_refused),
        ROW(shares_become_a_weight),
        ROW(cpu_time_and_places),
        ROW(no_process_is_a_limit_that_the_clone_must_not_meet),
        ROW(block_io),
        ROW(huge_pages_network_and_rdma),
        ROW(unified_is_written_as_it_stands_and_last),
        ROW(an_update_takes_what_belongs_together_from_before),
        ROW(without_a_cgroup_a_limit_is_refused_and_the_hint_says_why),
        ROW(controllers_are_switched_on_from_the_top_as_needed),
        ROW(v2_is_limited_before_the_clone_and_v1_before_the_join),
        ROW(without_limits_nothing_is_switched_on_or_written),
        ROW(devices_are_filtered_on_v2_and_ruled_on_v1),
        ROW(rules_that_nobody_can_keep_are_refused),
        ROW(the_payloads_user_owns_what_it_may_write_to),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
