/* SPDX-License-Identifier: Apache-2.0 */
/* Pretended hosts: which hierarchies are found, and where the container's cgroup goes. */
#include "minimal.h"

#include <sys/stat.h>

#include "cgroups/internal.h"

static int release(void **state)
{
    (void)state;
    arena_release(unit_arena());
    return 0;
}

static const char hybrid[] =
    "23 27 0:22 / /sys rw,relatime - sysfs sysfs rw\n"
    "31 23 0:28 / /sys/fs/cgroup ro,nosuid - tmpfs tmpfs ro,mode=755\n"
    "32 31 0:29 / /sys/fs/cgroup/cpu,cpuacct rw,relatime shared:9 - cgroup cgroup rw,cpu,cpuacct\n"
    "33 31 0:30 / /sys/fs/cgroup/memory rw,relatime shared:7 master:2 - cgroup cgroup rw,memory\n"
    "34 31 0:31 / /sys/fs/cgroup/systemd rw - cgroup none "
    "rw,xattr,release_agent=/lib/systemd/agent,name=systemd\n"
    "35 31 0:32 / /sys/fs/cgroup/unified rw - cgroup2 cgroup2 rw,nsdelegate\n"
    "36 27 0:30 / /mnt/again rw - cgroup cgroup rw,memory\n"
    "37 27 0:40 / /mnt/cgroup rw - ext4 /dev/cgroup rw\n";

static struct spec *spec_with_path(const char *path)
{
    return minimal_spec(unit_arena(),
                        arena_format(unit_arena(), "{'linux': {'cgroupsPath': '%s'}}", path));
}

/* As /proc/self/status; the first line is the process's own to choose. */
static const char status[] = "Name:\tMems_allowed_list:\\t9\nCpus_allowed_list:\t1\n"
                             "Mems_allowed_list:\t0-1,4\nvoluntary_ctxt_switches:\t1\n";

static int try_gather(const struct spec *s, const char *mountinfo, struct cgroup_facts *f,
                      struct err *e)
{
    struct cgroup_query q = { .id = "id1", .mountinfo = mountinfo, .status = status };

    return cgroup_gather(s, &q, unit_arena(), f, e);
}

static struct cgroup_facts gather(const struct spec *s, const char *mountinfo)
{
    struct cgroup_facts f = { 0 };
    struct err e = { 0 };

    if (try_gather(s, mountinfo, &f, &e) < 0)
        fail_msg("%s: %s", e.pointer, e.text);
    return f;
}

static void every_mounted_hierarchy_counts_once(void **state)
{
    struct cgroup_facts f = gather(spec_with_path("/c"), hybrid);

    (void)state;
    assert_int_equal(f.n, 4);
    assert_false(f.unified);
    assert_string_equal(f.mount_root, "/sys/fs/cgroup");
    assert_string_equal(f.v[0].controllers, "cpu,cpuacct");
    assert_string_equal(f.v[0].path, "/sys/fs/cgroup/cpu,cpuacct/c");
    assert_string_equal(f.v[1].mountpoint, "/sys/fs/cgroup/memory");
    assert_string_equal(f.v[2].controllers, "name=systemd");
    assert_true(f.v[3].v2);
    assert_string_equal(f.v[3].controllers, "");
    for (size_t i = 0; i < f.n; i++)
        assert_false(f.v[i].cpuset);
}

static void mounts_that_are_covered_are_passed_over(void **state)
{
    static const char top[] = "23 27 0:22 / /sys rw - sysfs sysfs rw\n"
                              "27 1 8:1 / / rw - ext4 /dev/sda rw\n"
                              "31 23 0:28 / /sys/fs/cgroup ro - tmpfs tmpfs ro\n"
                              "33 31 0:30 /pod /sys/fs/cgroup/memory rw - cgroup cgroup rw,memory\n"
                              "34 31 0:31 / /sys/fs/cgroup/pids rw - cgroup cgroup rw,pids\n";
    static const struct {
        const char *name, *lines;
        size_t n;
        const char *first; /* field 4 of the memory hierarchy that counts */
    } rows[] = {
        { "nothing", "", 2, "/pod" },
        { "a neighbour", "40 31 0:50 / /sys/fs/cgroup/mem rw - tmpfs t rw\n", 2, "/pod" },
        { "below it", "40 33 0:50 / /sys/fs/cgroup/memory/x rw - tmpfs t rw\n", 2, "/pod" },
        { "itself", "40 33 0:50 / /sys/fs/cgroup/memory rw - tmpfs t rw\n", 1, NULL },
        { "all of them", "40 31 0:50 / /sys/fs/cgroup rw - tmpfs t rw\n", 0, NULL },
        { "further up", "40 23 0:50 / /sys/fs rw - tmpfs t rw\n", 0, NULL },
        { "the root", "40 27 0:50 / / rw - tmpfs t rw\n", 0, NULL },
        { "itself, and mounted again",
          "40 33 0:50 / /sys/fs/cgroup/memory rw - tmpfs t rw\n"
          "41 40 0:30 / /sys/fs/cgroup/memory rw - cgroup cgroup rw,memory\n",
          2, "/" },
    };

    (void)state;
    for (size_t i = 0; i < COUNT_OF(rows); i++) {
        const char *text = arena_format(unit_arena(), "%s%s", top, rows[i].lines);
        struct cgroup_facts f = gather(spec_with_path("/c"), text);
        const char *root = NULL;

        for (size_t k = 0; k < f.n; k++)
            if (str_eq(f.v[k].controllers, "memory"))
                root = f.v[k].root;
        unit_row(rows[i].name, f.n == rows[i].n);
        unit_row(rows[i].name, rows[i].first ? root && str_eq(root, rows[i].first) : !root);
    }
}

/* What the kernel would never write must not hold a start up either. */
static void a_circle_of_mounts_ends(void **state)
{
    struct cgroup_facts f = gather(spec_with_path("/c"), "1 2 0:9 / /x/cg rw - cgroup2 c rw\n"
                                                         "2 3 0:8 / /x rw - tmpfs t rw\n"
                                                         "3 2 0:7 / / rw - tmpfs t rw\n4\n5 4\n");

    (void)state;
    assert_int_equal(f.n, 0);
}

static void a_v2_host_is_unified(void **state)
{
    struct cgroup_facts f = gather(spec_with_path("/c"),
                                   "1 2 0:9 / /sys/fs/cgroup rw shared:1 - cgroup2 c rw\n");

    (void)state;
    assert_int_equal(f.n, 1);
    assert_true(f.unified);
    assert_string_equal(f.mount_root, "/sys/fs/cgroup");
    assert_string_equal(f.v[0].path, "/sys/fs/cgroup/c");
}

static void a_host_without_cgroups_has_none(void **state)
{
    struct cgroup_facts f = gather(spec_with_path("/c"), "1 2 0:9 / / rw - ext4 /dev/vda rw\n");

    (void)state;
    assert_int_equal(f.n, 0);
    assert_null(f.mount_root);
}

static void escaped_mount_points_and_broken_lines_are_read_right(void **state)
{
    struct cgroup_facts f = gather(spec_with_path("/c"),
                                   "1 2 0:9 /a\\134b /cg\\040x/m\\011y rw - cgroup c rw,memory\n"
                                   "1 2 0:8 / - cgroup\n"
                                   "1 2 0:7 / /short rw - cgroup\n"
                                   "1 2 0:6 / / - cgroup - ext4 x y");

    (void)state;
    assert_int_equal(f.n, 1);
    assert_string_equal(f.v[0].mountpoint, "/cg x/m\ty");
    assert_string_equal(f.v[0].root, "/a\\b");
    assert_string_equal(f.mount_root, "/cg x");
}

static void more_hierarchies_than_there_can_be_are_refused(void **state)
{
    AUTO_STRBUF struct strbuf text = { 0 };
    struct cgroup_facts f;
    struct err e = { 0 };

    (void)state;
    for (int i = 0; i <= CGROUP_MAX_HIERARCHIES; i++)
        strbuf_format(&text, "1 2 0:%d / /cg/%d rw - cgroup c rw,name=n%d\n", i, i, i);
    assert_int_equal(try_gather(spec_with_path("/c"), text.ptr, &f, &e), -E2BIG);
}

static void the_path_is_the_same_wherever_it_is_asked_from(void **state)
{
    static const struct {
        const char *wanted, *path; /* NULL: refused */
    } rows[] = {
        { "/a/b", "/cg/a/b" },
        { "a/b", "/cg/a/b" },
        { "/a//./b/", "/cg/a/b" },
        { "../../etc", "/cg/etc" },
        { "/a/../../b", "/cg/b" },
        { "/with:colons:in", "/cg/with:colons:in" },
        { "system.slice:docker:x", NULL },
        { ":runc:x", NULL },
        { "/", NULL },
        { "..", NULL },
    };

    (void)state;
    for (size_t i = 0; i < COUNT_OF(rows); i++) {
        struct spec *s = spec_with_path(rows[i].wanted);
        struct cgroup_facts f;
        struct err e = { 0 };
        int r = try_gather(s, "1 2 0:9 / /cg rw - cgroup2 c rw\n", &f, &e);

        unit_row(rows[i].wanted, (r == 0) == (rows[i].path != NULL));
        unit_row(rows[i].wanted, r < 0 ? str_eq(e.pointer, "/linux/cgroupsPath")
                                       : str_eq(f.v[0].path, rows[i].path));
    }
}

static void without_a_path_the_cgroup_is_named_after_the_container(void **state)
{
    char dir[UNIT_PATH_SIZE];
    struct cgroup_facts f;

    (void)state;
    unit_dir(dir);
    f = gather(minimal_spec(unit_arena(), NULL),
               arena_format(unit_arena(), "1 2 0:9 / %s rw - cgroup c rw,name=pretended\n", dir));
    assert_string_equal(f.v[0].path, arena_format(unit_arena(), "%s/teca-id1", dir));
    assert_int_equal(f.v[0].existing, 0);
    unit_remove(dir);
}

static void write_value(const char *dir, const char *name, const char *text)
{
    int fd = open(arena_format(unit_arena(), "%s/%s", dir, name), O_WRONLY | O_CREAT, 0644);

    assert_true(fd >= 0);
    assert_int_equal(write(fd, text, strlen(text)), strlen(text));
    close(fd);
}

static void make_cpuset(const char *dir, const char *cpus, const char *mems)
{
    if (access(dir, F_OK) < 0)
        assert_int_equal(mkdir(dir, 0755), 0);
    write_value(dir, "cpuset.effective_cpus", cpus);
    write_value(dir, "cpuset.effective_mems", mems);
}

static void a_cpuset_takes_its_values_from_the_deepest_parent_that_has_some(void **state)
{
    char dir[UNIT_PATH_SIZE];
    struct cgroup_facts f;
    const char *mountinfo;

    (void)state;
    unit_dir(dir);
    mountinfo = arena_format(unit_arena(), "1 2 0:9 / %s rw - cgroup c rw,cpuset,noprefix\n", dir);
    make_cpuset(dir, "0-7\n", "0-5\n");
    make_cpuset(arena_format(unit_arena(), "%s/a", dir), "3\n", "1\n");
    f = gather(spec_with_path("/a/x/y"), mountinfo);
    assert_true(f.v[0].cpuset);
    assert_int_equal(f.v[0].existing, 1);
    assert_string_equal(f.v[0].cpus, "3");
    assert_string_equal(f.v[0].mems, "1");
    assert_int_equal(f.v[0].cpus_depth, 1);
    /* As an engine's plain mkdir(2) makes them. */
    make_cpuset(arena_format(unit_arena(), "%s/a/b", dir), "2\n", "\n");
    make_cpuset(arena_format(unit_arena(), "%s/a/b/c", dir), "\n", "\n");
    f = gather(spec_with_path("/a/b/c/d"), mountinfo);
    assert_int_equal(f.v[0].existing, 3);
    assert_string_equal(f.v[0].cpus, "2");
    assert_string_equal(f.v[0].mems, "1");
    assert_int_equal(f.v[0].cpus_depth, 2);
    assert_int_equal(f.v[0].mems_depth, 1);
    make_cpuset(arena_format(unit_arena(), "%s/e", dir), "\n", "\n");
    f = gather(spec_with_path("/e/f"), mountinfo);
    assert_string_equal(f.v[0].mems, "0-5");
    assert_int_equal(f.v[0].mems_depth, 0);
    unit_remove(dir);
}

static void directly_below_the_root_the_runtimes_own_memory_nodes_serve(void **state)
{
    static const struct {
        const char *root, *mems;
    } rows[] = { { "/", "0-1,4" }, { "/docker/of-somebody-else", "0-5" } };
    char dir[UNIT_PATH_SIZE];
    const char *mountinfo;

    (void)state;
    unit_dir(dir);
    make_cpuset(dir, "0-7\n", "0-5\n");
    for (size_t i = 0; i < COUNT_OF(rows); i++) {
        struct cgroup_facts f;

        mountinfo = arena_format(unit_arena(), "1 2 0:9 %s %s rw - cgroup c rw,cpuset\n",
                                 rows[i].root, dir);
        f = gather(spec_with_path("/c"), mountinfo);
        unit_row(rows[i].root, str_eq(f.v[0].cpus, "0-7"));
        unit_row(rows[i].root, str_eq(f.v[0].mems, rows[i].mems));
    }
    unit_remove(dir);
}

/* ---- without root -------------------------------------------------------------------------- */

static int gather_limited(const char *linux_, const char *mountinfo, struct cgroup_facts *f,
                          struct err *e)
{
    struct spec *s = minimal_spec(unit_arena(),
                                  arena_format(unit_arena(), "{'linux': {%s}}", linux_));
    struct cgroup_query q = {
        .id = "id1", .mountinfo = mountinfo, .status = status, .limited = true
    };

    return cgroup_gather(s, &q, unit_arena(), f, e);
}

/* Directories that are not there can be written by nobody, not even by root. */
static const char closed[] = "32 31 0:29 / /no/such/memory rw - cgroup cgroup rw,memory\n"
                             "35 31 0:32 / /no/such/unified rw - cgroup2 cgroup2 rw\n";

static void without_a_cgroup_of_its_own_only_what_is_asked_for_is_missed(void **state)
{
    static const struct {
        const char *linux_, *pointer; /* NULL: no error */
    } rows[] = {
        { "'namespaces': [{'type': 'mount'}]", NULL },
        { "'resources': {}", NULL },
        { "'resources': {'memory': {}, 'hugepageLimits': []}", NULL },
        { "'resources': {'devices': [{'allow': false, 'access': 'rwm'}]}", NULL },
        { "'cgroupsPath': ''", NULL },
        { "'resources': {'memory': {'limit': 7000000}}", "/linux/resources/memory" },
        { "'resources': {'devices': [{'allow': false}], 'pids': {'limit': 7}}",
          "/linux/resources/pids" },
        { "'cgroupsPath': '/mine'", "/linux/cgroupsPath" },
    };

    (void)state;
    for (size_t i = 0; i < COUNT_OF(rows); i++) {
        struct cgroup_facts f = { .n = 77 };
        struct err e = { 0 };
        int r = gather_limited(rows[i].linux_, closed, &f, &e);

        unit_row(rows[i].linux_, r == (rows[i].pointer ? -EACCES : 0));
        unit_row(rows[i].linux_, f.n == (rows[i].pointer ? 77 : 0));
        unit_row(rows[i].linux_, str_eq(e.pointer, rows[i].pointer ? rows[i].pointer : ""));
    }
}

static const char *make_dir(const char *parent, const char *name)
{
    const char *path = arena_format(unit_arena(), "%s/%s", parent, name);

    assert_int_equal(mkdir(path, 0755), 0);
    return path;
}

/* A v2 directory is given away together with its cgroup.procs (cgroups(7) "Delegation"). */
static void a_hierarchy_with_a_delegated_part_is_kept(void **state)
{
    char top[] = "/tmp/teca-unit-XXXXXX";
    const char *mine, *procs, *deep, *mountinfo;
    struct cgroup_facts f = { 0 };
    struct err e = { 0 };
    int fd;

    (void)state;
    assert_non_null(mkdtemp(top));
    mine = make_dir(top, "mine");
    procs = arena_format(unit_arena(), "%s/cgroup.procs", mine);
    deep = make_dir(mine, "deep");
    mountinfo = arena_format(unit_arena(), "35 31 0:32 / %s rw - cgroup2 cgroup2 rw\n%s", top,
                             closed);
    assert_true(gather_limited("'cgroupsPath': '/mine/c'", mountinfo, &f, &e) < 0);
    fd = openat(AT_FDCWD, procs, O_CREAT | O_WRONLY | O_CLOEXEC, 0600);
    assert_true(fd >= 0);
    close(fd);
    e = (struct err){ 0 };
    assert_int_equal(gather_limited("'cgroupsPath': '/mine/c'", mountinfo, &f, &e), 0);
    assert_int_equal(f.n, 1);
    assert_true(f.v[0].v2);
    assert_int_equal(f.v[0].existing, 1);
    assert_string_equal(f.v[0].path, arena_format(unit_arena(), "%s/c", mine));
    /* What is there already of the path counts, and `deep` is not given away. */
    assert_true(gather_limited("'cgroupsPath': '/mine/deep/c'", mountinfo, &f, &e) < 0);
    unlink(procs);
    rmdir(deep);
    rmdir(mine);
    rmdir(top);
}

static void facts_survive_their_json(void **state)
{
    struct cgroup_facts f = gather(spec_with_path("/a/b"), hybrid), again;
    struct json_out *j = json_out_new(true);
    struct json *tree;
    struct err e = { 0 };
    const char *text;
    size_t len;

    (void)state;
    f.v[1].cpuset = true;
    f.v[1].cpus = "0-3";
    f.v[1].mems = "0";
    f.v[1].cpus_depth = 2;
    f.v[1].mems_depth = 1;
    f.v[2].existing = 1;
    cgroup_facts_write(&f, j, NULL);
    text = json_out_text(j, &len);
    assert_int_equal(json_parse(unit_arena(), text, len, "facts", &tree, &e), 0);
    assert_int_equal(cgroup_facts_read(tree, unit_arena(), &again, &e), 0);
    json_out_free(j);
    assert_int_equal(again.n, f.n);
    assert_int_equal(again.unified, f.unified);
    assert_string_equal(again.mount_root, f.mount_root);
    for (size_t i = 0; i < f.n; i++) {
        assert_int_equal(again.v[i].v2, f.v[i].v2);
        assert_int_equal(again.v[i].cpuset, f.v[i].cpuset);
        assert_int_equal(again.v[i].existing, f.v[i].existing);
        assert_string_equal(again.v[i].controllers, f.v[i].controllers);
        assert_string_equal(again.v[i].mountpoint, f.v[i].mountpoint);
        assert_string_equal(again.v[i].root, f.v[i].root);
        assert_string_equal(again.v[i].path, f.v[i].path);
        assert_true(str_eq(again.v[i].cpus, f.v[i].cpus));
        assert_true(str_eq(again.v[i].mems, f.v[i].mems));
        assert_int_equal(again.v[i].cpus_depth, f.v[i].cpus_depth);
        assert_int_equal(again.v[i].mems_depth, f.v[i].mems_depth);
    }
}

static void facts_that_lack_something_are_refused(void **state)
{
    static const struct {
        const char *text, *pointer;
    } rows[] = {
        { "{}", "/hierarchies" },
        { "{'unified': true, 'hierarchies': {}}", "/hierarchies" },
        { "{'unified': 1, 'hierarchies': []}", "/unified" },
        { "{'unified': true, 'hierarchies': [{'v2': true}]}", "/hierarchies/0/controllers" },
        { "{'unified': true, 'hierarchies': [{'v2': true, 'controllers': '', 'mountpoint': '/m',"
          " 'root': '/', 'path': '/other', 'existing': 0, 'cpuset': false, 'cpusDepth': 0,"
          " 'memsDepth': 0}]}",
          "/hierarchies/0/path" },
        { "{'unified': true, 'hierarchies': [{'v2': true, 'controllers': '', 'mountpoint': '/m',"
          " 'root': '/', 'path': '/m/c', 'existing': 0, 'cpuset': false, 'cpusDepth': '0',"
          " 'memsDepth': 0}]}",
          "/hierarchies/0/cpusDepth" },
        { "{'unified': true, 'hierarchies': [{'v2': false, 'controllers': '', 'mountpoint': '/m',"
          " 'root': '/', 'path': '/m/c', 'existing': 0, 'cpuset': true, 'cpus': null,"
          " 'cpusDepth': 0, 'memsDepth': 0}]}",
          "/hierarchies/0/cpus" },
        { "{'unified': true, 'hierarchies': [{'v2': false, 'controllers': '', 'mountpoint': '/m',"
          " 'root': '/', 'path': '/m/c', 'existing': -1, 'cpuset': false}]}",
          "/hierarchies/0/existing" },
    };

    (void)state;
    for (size_t i = 0; i < COUNT_OF(rows); i++) {
        struct cgroup_facts f;
        struct err e = { 0 };

        unit_row(rows[i].text, cgroup_facts_read(minimal_tree(unit_arena(), rows[i].text),
                                                 unit_arena(), &f, &e) == -EINVAL);
        unit_row(rows[i].text, str_eq(e.pointer, rows[i].pointer));
    }
    assert_int_equal(cgroup_facts_read(NULL, unit_arena(), &(struct cgroup_facts){ 0 }, NULL),
                     -EINVAL);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(every_mounted_hierarchy_counts_once),
        cmocka_unit_test(mounts_that_are_covered_are_passed_over),
        cmocka_unit_test(a_circle_of_mounts_ends),
        cmocka_unit_test(a_v2_host_is_unified),
        cmocka_unit_test(a_host_without_cgroups_has_none),
        cmocka_unit_test(escaped_mount_points_and_broken_lines_are_read_right),
        cmocka_unit_test(more_hierarchies_than_there_can_be_are_refused),
        cmocka_unit_test(the_path_is_the_same_wherever_it_is_asked_from),
        cmocka_unit_test(without_a_path_the_cgroup_is_named_after_the_container),
        cmocka_unit_test(a_cpuset_takes_its_values_from_the_deepest_parent_that_has_some),
        cmocka_unit_test(directly_below_the_root_the_runtimes_own_memory_nodes_serve),
        cmocka_unit_test(without_a_cgroup_of_its_own_only_what_is_asked_for_is_missed),
        cmocka_unit_test(a_hierarchy_with_a_delegated_part_is_kept),
        cmocka_unit_test(facts_survive_their_json),
        cmocka_unit_test(facts_that_lack_something_are_refused),
    };

    return cmocka_run_group_tests(tests, NULL, release);
}
