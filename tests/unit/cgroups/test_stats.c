/* SPDX-License-Identifier: Apache-2.0 */
/* What the files of a cgroup count, on directories that pretend to be one. */
#include "../unit.h"

#include "cgroups/internal.h"

static char top[UNIT_PATH_SIZE];

static const char *in_top(const char *name)
{
    return arena_format(unit_arena(), "%s/%s", top, name);
}

static void put(const char *dir, const char *file, const char *text)
{
    for (const char *slash = strchr(dir, '/'); slash; slash = strchr(slash + 1, '/'))
        mkdir(in_top(arena_strndup(unit_arena(), dir, (size_t)(slash - dir))), 0755);
    mkdir(in_top(dir), 0755);
    assert_int_equal(file_replace(arena_format(unit_arena(), "%s/%s", in_top(dir), file), text,
                                  strlen(text), 0644, NULL),
                     0);
}

static struct cgroup_stats read_of(const char *first, const char *second)
{
    const char *const paths[] = { in_top(first), in_top(second ? second : "") };
    struct cgroup_stats s;

    cgroup_stats_read(paths, second ? 2 : 1, unit_arena(), &s);
    return s;
}

static const char *json_of(const struct cgroup_stats *s)
{
    struct json_out *j = json_out_in(unit_arena(), false);

    json_open_object(j, NULL);
    cgroup_stats_write(s, j);
    json_close_object(j);
    return json_out_text(j, NULL);
}

static void nothing_there_counts_nothing(void **state)
{
    struct cgroup_stats s = read_of("gone", NULL);
    struct json *doc;
    const char *text = json_of(&s);

    (void)state;
    assert_int_equal(s.memory.usage.usage + s.cpu.total + s.pids.current + s.n_hugetlb, 0);
    assert_int_equal(json_parse(unit_arena(), text, strlen(text), "it", &doc, NULL), 0);
    for (const char *const *key =
             (const char *const[]){ "cpu", "cpuset", "memory", "pids", "blkio", "hugetlb", NULL };
         *key; key++)
        unit_row(*key, json_get(doc, *key) && json_get(doc, *key)->type == JSON_OBJECT);
}

static void v1_counts_processor_time_in_three_files(void **state)
{
    struct cgroup_stats s;

    (void)state;
    put("cpu", "cpuacct.usage", "1234567890\n");
    put("cpu", "cpuacct.usage_percpu", "1000000000 234567890 \n");
    put("cpu", "cpuacct.usage_all", "cpu user system\n0 11 22\n1 33 44\n");
    put("cpu", "cpuacct.stat", "user 70\nsystem 3\nnr_other 9\n");
    put("cpu", "cpu.stat", "nr_periods 5\nnr_throttled 2\nthrottled_time 999\nnr_bursts 1\n");
    s = read_of("cpu", NULL);
    assert_int_equal(s.cpu.total, 1234567890);
    assert_int_equal(s.cpu.user, 700000000);
    assert_int_equal(s.cpu.kernel, 30000000);
    assert_true(s.cpu.percpu.n == 2 && s.cpu.percpu.v[1] == 234567890);
    assert_true(s.cpu.percpu_user.n == 2 && s.cpu.percpu_user.v[1] == 33);
    assert_true(s.cpu.percpu_kernel.n == 2 && s.cpu.percpu_kernel.v[1] == 44);
    assert_true(s.cpu.periods == 5 && s.cpu.throttled_periods == 2 && s.cpu.throttled_time == 999);
}

static void v1_counts_memory_swap_kernel_and_tcp(void **state)
{
    struct cgroup_stats s;

    (void)state;
    put("mem", "memory.stat", "cache 4096\nrss 8192\ntotal_inactive_file 1024\nbroken\n");
    put("mem", "memory.usage_in_bytes", "12288\n");
    put("mem", "memory.max_usage_in_bytes", "20480\n");
    put("mem", "memory.limit_in_bytes", "9223372036854771712\n");
    put("mem", "memory.failcnt", "3\n");
    put("mem", "memory.memsw.limit_in_bytes", "1048576\n");
    put("mem", "memory.kmem.usage_in_bytes", "77\n");
    put("mem", "memory.kmem.tcp.failcnt", "8\n");
    s = read_of("mem", NULL);
    assert_int_equal(s.memory.cache, 4096);
    assert_true(s.memory.usage.usage == 12288 && s.memory.usage.max == 20480);
    assert_true(s.memory.usage.limit == 9223372036854771712U && s.memory.usage.failcnt == 3);
    assert_int_equal(s.memory.swap.limit, 1048576);
    assert_int_equal(s.memory.kernel.usage, 77);
    assert_int_equal(s.memory.kernel_tcp.failcnt, 8);
    assert_int_equal(s.memory.n_raw, 3);
    assert_string_equal(s.memory.raw[2].name, "total_inactive_file");
    assert_int_equal(s.memory.raw[2].value, 1024);
}

static void v1_cpusets_and_their_switches(void **state)
{
    struct cgroup_stats s;

    (void)state;
    put("set", "cpuset.cpus", "0-2,7\n");
    put("set", "cpuset.mems", "0\n");
    put("set", "cpuset.mem_hardwall", "1\n");
    put("set", "cpuset.sched_relax_domain_level", "-1\n");
    s = read_of("set", NULL);
    assert_true(s.cpuset.cpus.n == 4 && s.cpuset.cpus.v[2] == 2 && s.cpuset.cpus.v[3] == 7);
    assert_true(s.cpuset.mems.n == 1 && s.cpuset.mems.v[0] == 0);
    assert_true(s.cpuset.mem_hardwall == 1 && s.cpuset.sched_relax_domain_level == -1);
}

static void v1_io_is_that_of_the_scheduler_that_counts(void **state)
{
    struct cgroup_stats s;

    (void)state;
    put("io", "blkio.bfq.io_service_bytes_recursive", "Total 0\n");
    put("io", "blkio.throttle.io_service_bytes_recursive",
        "8:0 Read 4096\n8:0 Write 512\n253:1 Discard 1\nTotal 4609\n");
    put("io", "blkio.throttle.io_serviced_recursive", "8:0 Read 2\nTotal 2\n");
    s = read_of("io", NULL);
    assert_int_equal(s.io.kinds[IO_BYTES].n, 3);
    assert_true(s.io.kinds[IO_BYTES].v[2].major == 253 && s.io.kinds[IO_BYTES].v[2].minor == 1);
    assert_string_equal(s.io.kinds[IO_BYTES].v[1].op, "Write");
    assert_int_equal(s.io.kinds[IO_BYTES].v[1].value, 512);
    assert_int_equal(s.io.kinds[IO_SERVICED].n, 1);
    put("io", "blkio.bfq.io_service_bytes_recursive", "8:16 Read 7\nTotal 7\n");
    put("io", "blkio.time_recursive", "8:16 99\n");
    put("io", "blkio.bfq.time_recursive", "8:16 12\n");
    s = read_of("io", NULL);
    assert_true(s.io.kinds[IO_BYTES].n == 1 && s.io.kinds[IO_BYTES].v[0].value == 7);
    assert_int_equal(s.io.kinds[IO_SERVICED].n, 0);
    assert_true(s.io.kinds[IO_TIME].n == 1 && s.io.kinds[IO_TIME].v[0].value == 12);
    assert_string_equal(s.io.kinds[IO_TIME].v[0].op, "");
}

static void v1_pids_huge_pages_and_rdma(void **state)
{
    struct cgroup_stats s;

    (void)state;
    put("rest", "pids.current", "4\n");
    put("rest", "pids.max", "max\n");
    put("rest", "hugetlb.2MB.usage_in_bytes", "2097152\n");
    put("rest", "hugetlb.2MB.rsvd.usage_in_bytes", "1\n");
    put("rest", "hugetlb.2MB.max_usage_in_bytes", "4194304\n");
    put("rest", "hugetlb.2MB.failcnt", "6\n");
    put("rest", "rdma.current", "mlx4_0 hca_handle=2 hca_object=2000\n");
    put("rest", "rdma.max", "mlx4_0 hca_handle=3 hca_object=max\nocrdma1 odd\n");
    s = read_of("rest", NULL);
    assert_true(s.pids.current == 4 && s.pids.limit == 0);
    assert_int_equal(s.n_hugetlb, 1);
    assert_string_equal(s.hugetlb[0].size, "2MB");
    assert_true(s.hugetlb[0].usage == 2097152 && s.hugetlb[0].max == 4194304 &&
                s.hugetlb[0].failcnt == 6);
    assert_true(s.n_rdma_current == 1 && s.n_rdma_limit == 1);
    assert_true(s.rdma_current[0].objects == 2000 && s.rdma_limit[0].objects == UINT64_MAX);
    assert_non_null(strstr(json_of(&s), "\"rdma\":{\"current\":[{\"device\":\"mlx4_0\""));
    put("rest", "pids.max", "32\n");
    assert_int_equal(read_of("rest", NULL).pids.limit, 32);
}

static void put_v2(const char *dir)
{
    put(dir, "cgroup.controllers", "cpu io memory pids hugetlb\n");
    put(dir, "cpu.stat",
        "usage_usec 1000\nuser_usec 600\nsystem_usec 400\nnr_periods 7\nnr_throttled 3\n"
        "throttled_usec 50\n");
    put(dir, "cpu.pressure", "some avg10=0.12 avg60=1.00 avg300=0.01 total=1234\n");
    put(dir, "memory.current", "1000\n");
    put(dir, "memory.peak", "3000\n");
    put(dir, "memory.max", "5000\n");
    put(dir, "memory.stat", "anon 600\nfile 300\nkernel 100\ninactive_file 50\n");
    put(dir, "memory.events", "low 0\nhigh 0\nmax 9\noom 2\noom_kill 1\n");
    put(dir, "memory.swap.current", "11\n");
    put(dir, "memory.swap.max", "max\n");
    put(dir, "memory.pressure",
        "some avg10=0.00 avg60=0.00 avg300=0.00 total=5\nfull avg10=3.10 avg60=0.00 avg300=0.00 "
        "total=4\n");
    put(dir, "pids.current", "2\n");
    put(dir, "pids.max", "10\n");
    put(dir, "cpuset.cpus.effective", "1,3\n");
    put(dir, "io.stat", "8:0 rbytes=1 wbytes=2 rios=3 wios=4 dbytes=5 dios=6\n7:0 \n");
    put(dir, "hugetlb.1GB.current", "0\n");
    put(dir, "hugetlb.1GB.rsvd.current", "7\n");
    put(dir, "hugetlb.1GB.events", "max 4\n");
}

static void v2_counts_the_same_by_other_names(void **state)
{
    struct cgroup_stats s;

    (void)state;
    put_v2("v2");
    s = read_of("v2", NULL);
    assert_true(s.cpu.total == 1000000 && s.cpu.user == 600000 && s.cpu.kernel == 400000);
    assert_true(s.cpu.periods == 7 && s.cpu.throttled_periods == 3 &&
                s.cpu.throttled_time == 50000);
    assert_true(s.memory.usage.usage == 1000 && s.memory.usage.max == 3000);
    assert_true(s.memory.usage.limit == 5000 && s.memory.usage.failcnt == 9);
    assert_true(s.memory.swap.usage == 1011 && s.memory.swap.limit == UINT64_MAX);
    assert_true(s.memory.cache == 300 && s.memory.kernel.usage == 100);
    assert_true(s.pids.current == 2 && s.pids.limit == 10);
    assert_true(s.cpuset.cpus.n == 2 && s.cpuset.cpus.v[1] == 3);
    assert_true(s.io.kinds[IO_BYTES].n == 3 && s.io.kinds[IO_SERVICED].n == 3);
    assert_int_equal(s.io.kinds[IO_SERVICED].v[1].value, 4);
    assert_true(s.n_hugetlb == 1 && s.hugetlb[0].failcnt == 4);
}

static void swap_of_v2_is_told_with_the_memory_as_v1_does(void **state)
{
    (void)state;
    put_v2("v2");
    put("v2", "memory.swap.max", "2000\n");
    assert_int_equal(read_of("v2", NULL).memory.swap.limit, 7000);
    put("v2", "memory.max", "max\n");
    assert_int_equal(read_of("v2", NULL).memory.swap.limit, UINT64_MAX);
}

static void pressure_is_told_in_the_kernels_own_decimals(void **state)
{
    struct cgroup_stats s;

    (void)state;
    put_v2("v2");
    s = read_of("v2", NULL);
    assert_non_null(strstr(json_of(&s), "\"psi\":{\"some\":{\"avg10\":0.12,\"avg60\":1.00,"
                                        "\"avg300\":0.01,\"total\":1234}}"));
    assert_non_null(strstr(json_of(&s), "\"full\":{\"avg10\":3.10,"));
}

static void on_a_hybrid_host_v1_counts_first_and_v2_adds_what_it_lacks(void **state)
{
    struct cgroup_stats s;

    (void)state;
    put_v2("v2");
    put("v1", "cpuacct.usage", "5\n");
    put("v1", "memory.stat", "cache 1\n");
    put("v1", "memory.usage_in_bytes", "2\n");
    s = read_of("v2", "v1");
    assert_int_equal(s.cpu.total, 5);
    assert_int_equal(s.memory.usage.usage, 2);
    assert_int_equal(s.memory.cache, 1);
    assert_int_equal(s.pids.current, 2);
    assert_int_equal(s.n_hugetlb, 1);
}

static void numbers_that_are_none_are_left_out(void **state)
{
    struct cgroup_stats s;

    (void)state;
    put("odd", "cpuacct.usage", "99999999999999999999\n");
    put("odd", "pids.current", "-1\n");
    put("odd", "cpuset.cpus", "0-\n");
    put("odd", "cpuset.mems", "0-99999999999\n");
    s = read_of("odd", NULL);
    assert_int_equal(s.cpu.total, 0);
    assert_int_equal(s.pids.current, 0);
    assert_int_equal(s.cpuset.cpus.n, 0);
    assert_int_equal(s.cpuset.mems.n, 1 << 16); /* and no more memory than that */
}

static void resctrl_is_told_for_the_class_and_its_monitors(void **state)
{
    struct rdt_place at = { in_top("rdt"), in_top("rdt/gold"), in_top("rdt/gold/mon_groups/x") };
    struct json_out *j = json_out_in(unit_arena(), false);

    (void)state;
    put("rdt/info/L3", "cbm_mask", "fffff\n");
    put("rdt/info/L3", "min_cbm_bits", "1\n");
    put("rdt/info/L3", "num_closids", "16\n");
    put("rdt/info/MB", "min_bandwidth", "10\n");
    put("rdt", "schemata", "    MB:0=100\n    L3:0=fffff\n");
    put("rdt/gold", "schemata", "    MB:0=20\n    L3:0=f\n");
    put("rdt/gold/mon_groups/x/mon_data/mon_L3_00", "llc_occupancy", "4096\n");
    put("rdt/gold/mon_groups/x/mon_data/mon_L3_00", "mbm_total_bytes", "7\n");
    put("rdt/gold/mon_groups/x/mon_data/mon_L3_00", "mbm_local_bytes", "5\n");
    json_open_object(j, NULL);
    rdt_stats_write(j, "intel_rdt", &at, unit_arena());
    json_close_object(j);
    assert_string_equal(
        json_out_text(j, NULL),
        "{\"intel_rdt\":{\"l3_cache_info\":{\"cbm_mask\":\"fffff\",\"min_cbm_bits\":1,"
        "\"num_closids\":16},\"mem_bw_info\":{\"min_bandwidth\":10},"
        "\"l3_cache_schema_root\":\"L3:0=fffff\",\"l3_cache_schema\":\"L3:0=f\","
        "\"mem_bw_schema_root\":\"MB:0=100\",\"mem_bw_schema\":\"MB:0=20\","
        "\"schemata\":[\"MB:0=20\",\"L3:0=f\"],"
        "\"mbm_stats\":[{\"mbm_total_bytes\":7,\"mbm_local_bytes\":5}],"
        "\"cmt_stats\":[{\"llc_occupancy\":4096}]}}");
}

static void oom_kills_are_those_since_the_last_question(void **state)
{
    const char *const paths[] = { in_top("none"), in_top("oom") };
    struct cgroup_oom o;

    (void)state;
    put("none", "cpu.stat", "");
    put("oom", "memory.oom_control", "oom_kill_disable 0\nunder_oom 0\noom_kill 2\n");
    cgroup_oom_open(paths, 2, &o); /* no cgroup.event_control: it is asked */
    assert_true(o.count >= 0 && o.wake == -1 && !o.v2);
    assert_int_equal(cgroup_oom_take(&o), 0);
    assert_int_equal(truncate(in_top("oom/memory.oom_control"), 0), 0);
    cgroup_oom_close(&o);
    put("oom2", "memory.events", "oom 9\noom_kill 1\n");
    cgroup_oom_open((const char *const[]){ in_top("oom2") }, 1, &o);
    assert_true(o.v2 && o.wake >= 0);
    assert_int_equal(
        file_write_once(AT_FDCWD, in_top("oom2/memory.events"), "oom 9\noom_kill 4\n", 17), 0);
    assert_int_equal(cgroup_oom_take(&o), 3);
    assert_int_equal(cgroup_oom_take(&o), 0);
    cgroup_oom_close(&o);
    cgroup_oom_open(paths, 1, &o);
    assert_int_equal(o.count, -1);
    assert_int_equal(cgroup_oom_take(&o), 0);
    cgroup_oom_close(&o);
}

static int setup(void **state)
{
    (void)state;
    unit_dir(top);
    return 0;
}

static int teardown(void **state)
{
    (void)state;
    unit_remove(top);
    arena_release(unit_arena());
    return 0;
}

#define TEST(f) cmocka_unit_test_setup_teardown(f, setup, teardown)

int main(void)
{
    const struct CMUnitTest tests[] = {
        TEST(nothing_there_counts_nothing),
        TEST(v1_counts_processor_time_in_three_files),
        TEST(v1_counts_memory_swap_kernel_and_tcp),
        TEST(v1_cpusets_and_their_switches),
        TEST(v1_io_is_that_of_the_scheduler_that_counts),
        TEST(v1_pids_huge_pages_and_rdma),
        TEST(v2_counts_the_same_by_other_names),
        TEST(swap_of_v2_is_told_with_the_memory_as_v1_does),
        TEST(pressure_is_told_in_the_kernels_own_decimals),
        TEST(on_a_hybrid_host_v1_counts_first_and_v2_adds_what_it_lacks),
        TEST(numbers_that_are_none_are_left_out),
        TEST(resctrl_is_told_for_the_class_and_its_monitors),
        TEST(oom_kills_are_those_since_the_last_question),
    };

    return cmocka_run_group_tests_name("stats", tests, NULL, NULL);
}
