/* SPDX-License-Identifier: Apache-2.0 */
#include "minimal.h"

#include <time.h>

/* ---- faults of single values ------------------------------------------------------------------- */

/* patch: to the minimal document. pointer and says: the first error's. */
static const struct {
    const char *name, *patch, *pointer, *says;
} faults[] = {
    /* types */
    { "string for an object", "{'root': 'rootfs'}", "/root", "must be an object, not a string" },
    { "array for an object", "{'linux': []}", "/linux", "must be an object, not an array" },
    { "object for an array", "{'mounts': {}}", "/mounts",
      "must be an array of objects, not an object" },
    { "number in an array of objects", "{'mounts': [1]}", "/mounts/0",
      "must be an object, not a number" },
    { "number for a string", "{'hostname': 5}", "/hostname", "must be a string, not a number" },
    { "null for a string", "{'mounts': [{'destination': '/a', 'type': null}]}", "/mounts/0/type",
      "must be a string, not null" },
    { "string for a bool", "{'process': {'noNewPrivileges': 'true'}}", "/process/noNewPrivileges",
      "must be true or false, not a string" },
    { "number for a bool", "{'root': {'readonly': 1}}", "/root/readonly", "not a number" },
    { "string for a number", "{'process': {'user': {'uid': '0'}}}", "/process/user/uid",
      "must be an integer, not a string" },
    { "bool for a number", "{'process': {'oomScoreAdj': false}}", "/process/oomScoreAdj",
      "must be an integer, not false" },
    { "number in strings", "{'process': {'args': ['a', 1]}}", "/process/args/1",
      "must be a string, not a number" },
    { "string for strings", "{'process': {'args': 'sh'}}", "/process/args",
      "must be an array of strings, not a string" },
    { "string in numbers", "{'process': {'user': {'additionalGids': [1, 'two']}}}",
      "/process/user/additionalGids/1", "must be an integer" },
    { "number for numbers", "{'process': {'user': {'additionalGids': 1}}}",
      "/process/user/additionalGids", "must be an array of integers" },
    { "number in a map", "{'annotations': {'a': 'b', 'c': 1}}", "/annotations/c",
      "must be a string" },
    { "array for a map", "{'annotations': []}", "/annotations", "must be an object of strings" },
    { "array for a map of objects", "{'linux': {'netDevices': []}}", "/linux/netDevices",
      "must be an object of objects" },
    { "string in a map of objects", "{'linux': {'netDevices': {'eth0': 'x'}}}",
      "/linux/netDevices/eth0", "must be an object" },
    { "number for a choice", "{'linux': {'namespaces': [{'type': 3}]}}", "/linux/namespaces/0/type",
      "must be a string" },
    { "escaped pointer", "{'annotations': {'a/b~c': 1}}", "/annotations/a~1b~0c",
      "must be a string" },
    /* ranges */
    { "fraction", "{'process': {'user': {'uid': 1.0}}}", "/process/user/uid",
      "must be an integer, not 1.0" },
    { "exponent", "{'process': {'user': {'uid': 1e3}}}", "/process/user/uid",
      "must be an integer, not 1e3" },
    { "negative uid", "{'process': {'user': {'uid': -1}}}", "/process/user/uid",
      "-1 is out of range, must be 0 to 4294967294" },
    { "uid that means unchanged", "{'process': {'user': {'gid': 4294967295}}}", "/process/user/gid",
      "4294967295 is out of range, must be 0 to 4294967294" },
    { "2^64",
      "{'process': {'rlimits': [{'type': 'RLIMIT_CPU', 'soft': 0, 'hard': 18446744073709551616}]}}",
      "/process/rlimits/0/hard",
      "18446744073709551616 is out of range, must be 0 to 18446744073709551615" },
    { "2^63", "{'linux': {'resources': {'memory': {'limit': 9223372036854775808}}}}",
      "/linux/resources/memory/limit", "must be -1 to 9223372036854775807" },
    { "a hundred digits",
      "{'process': {'user': {'umask': 1000000000000000000000000000000000000000"
      "000000000000000000000000000000000000000000000000000000000000}}}",
      "/process/user/umask", "000... is out of range, must be 0 to 511" },
    { "oom score", "{'process': {'oomScoreAdj': 1001}}", "/process/oomScoreAdj",
      "must be -1000 to 1000" },
    { "umask", "{'process': {'user': {'umask': 512}}}", "/process/user/umask", "must be 0 to 511" },
    { "nice", "{'process': {'scheduler': {'policy': 'SCHED_OTHER', 'nice': 20}}}",
      "/process/scheduler/nice", "must be -20 to 19" },
    { "io priority", "{'process': {'ioPriority': {'class': 'IOPRIO_CLASS_BE', 'priority': 8}}}",
      "/process/ioPriority/priority", "must be 0 to 7" },
    { "hook timeout", "{'hooks': {'poststop': [{'path': '/a', 'timeout': 0}]}}",
      "/hooks/poststop/0/timeout", "0 is out of range, must be 1 to" },
    { "16 bit weight", "{'linux': {'resources': {'blockIO': {'weight': 65536}}}}",
      "/linux/resources/blockIO/weight", "must be 0 to 1000" },
    { "swappiness", "{'linux': {'resources': {'memory': {'swappiness': 101}}}}",
      "/linux/resources/memory/swappiness", "must be 0 to 100" },
    { "id map of nothing",
      "{'linux': {'uidMappings': [{'containerID': 0, 'hostID': 0, 'size': 0}]}}",
      "/linux/uidMappings/0/size", "must be 1 to 4294967295" },
    { "major number",
      "{'linux': {'devices': [{'type': 'c', 'path': '/dev/x', 'major': 4096, 'minor': 0}]}}",
      "/linux/devices/0/major", "must be 0 to 4095" },
    { "nanoseconds", "{'linux': {'timeOffsets': {'boottime': {'nanosecs': 1000000000}}}}",
      "/linux/timeOffsets/boottime/nanosecs", "must be 0 to 999999999" },
    { "seventh argument",
      "{'linux': {'seccomp': {'defaultAction': 'SCMP_ACT_ALLOW', 'syscalls': [{'names': ['a'], "
      "'action': 'SCMP_ACT_LOG', 'args': [{'index': 6, 'value': 0, 'op': 'SCMP_CMP_EQ'}]}]}}}",
      "/linux/seccomp/syscalls/0/args/0/index", "must be 0 to 5" },
    /* names */
    { "namespace", "{'linux': {'namespaces': [{'type': 'net'}]}}", "/linux/namespaces/0/type",
      "'net' is unknown, must be one of pid, network, mount, ipc, uts, user, cgroup, time" },
    { "namespace with a NUL", "{'linux': {'namespaces': [{'type': 'pid\\u0000x'}]}}",
      "/linux/namespaces/0/type", "is unknown" },
    { "device type", "{'linux': {'devices': [{'type': 'a', 'path': '/dev/x'}]}}",
      "/linux/devices/0/type", "'a' is unknown, must be one of c, b, p, u" },
    { "rlimit", "{'process': {'rlimits': [{'type': 'RLIMIT_FILES', 'soft': 0, 'hard': 0}]}}",
      "/process/rlimits/0/type", "'RLIMIT_FILES' is unknown, must be one of RLIMIT_CPU," },
    { "scheduler policy", "{'process': {'scheduler': {'policy': 'SCHED_EXT'}}}",
      "/process/scheduler/policy", "'SCHED_EXT' is unknown" },
    { "scheduler flag",
      "{'process': {'scheduler': {'policy': 'SCHED_RR', 'priority': 1, 'flags': ['X']}}}",
      "/process/scheduler/flags/0", "'X' is unknown" },
    { "io class", "{'process': {'ioPriority': {'class': 'IOPRIO_CLASS_NONE'}}}",
      "/process/ioPriority/class", "is unknown" },
    { "default action", "{'linux': {'seccomp': {'defaultAction': 'SCMP_ACT_DENY'}}}",
      "/linux/seccomp/defaultAction", "'SCMP_ACT_DENY' is unknown" },
    { "architecture",
      "{'linux': {'seccomp': {'defaultAction': 'SCMP_ACT_LOG', 'architectures': ['x86']}}}",
      "/linux/seccomp/architectures/0", "'x86' is unknown" },
    { "filter flag",
      "{'linux': {'seccomp': {'defaultAction': 'SCMP_ACT_LOG', 'flags': ['TSYNC']}}}",
      "/linux/seccomp/flags/0", "'TSYNC' is unknown" },
    { "operator",
      "{'linux': {'seccomp': {'defaultAction': 'SCMP_ACT_ALLOW', 'syscalls': [{'names': ['a'], "
      "'action': 'SCMP_ACT_LOG', 'args': [{'index': 0, 'value': 0, 'op': '=='}]}]}}}",
      "/linux/seccomp/syscalls/0/args/0/op", "'==' is unknown" },
    { "propagation", "{'linux': {'rootfsPropagation': 'secret'}}", "/linux/rootfsPropagation",
      "'secret' is unknown" },
    { "personality", "{'linux': {'personality': {'domain': 'BSD'}}}", "/linux/personality/domain",
      "must be one of LINUX, LINUX32" },
    { "memory mode", "{'linux': {'memoryPolicy': {'mode': 'MPOL_X'}}}", "/linux/memoryPolicy/mode",
      "is unknown" },
    { "memory flag", "{'linux': {'memoryPolicy': {'mode': 'MPOL_LOCAL', 'flags': ['F']}}}",
      "/linux/memoryPolicy/flags/0", "is unknown" },
    { "image format",
      "{'vm': {'kernel': {'path': '/k'}, 'image': {'path': '/i', 'format': 'zip'}}}",
      "/vm/image/format", "must be one of raw, qcow2, vdi, vmdk, vhd" },
    /* forms */
    { "environment without =", "{'process': {'env': ['A=b', 'PATH']}}", "/process/env/1",
      "'PATH' must be NAME=value" },
    { "environment without a name", "{'process': {'env': ['=b']}}", "/process/env/0",
      "must be NAME=value" },
    { "relative hook", "{'hooks': {'prestart': [{'path': 'bin/x'}]}}", "/hooks/prestart/0/path",
      "'bin/x' must be an absolute path" },
    { "empty hook", "{'hooks': {'prestart': [{'path': ''}]}}", "/hooks/prestart/0/path",
      "must be an absolute path" },
    { "relative namespace", "{'linux': {'namespaces': [{'type': 'pid', 'path': 'ns/pid'}]}}",
      "/linux/namespaces/0/path", "must be an absolute path" },
    { "relative mask", "{'linux': {'maskedPaths': ['/proc/kcore', 'proc/keys']}}",
      "/linux/maskedPaths/1", "must be an absolute path" },
    { "relative readonly path", "{'linux': {'readonlyPaths': ['']}}", "/linux/readonlyPaths/0",
      "must be an absolute path" },
    { "relative device", "{'linux': {'devices': [{'type': 'p', 'path': 'dev/x'}]}}",
      "/linux/devices/0/path", "must be an absolute path" },
    { "relative listener",
      "{'linux': {'seccomp': {'defaultAction': 'SCMP_ACT_LOG', 'listenerPath': 'l'}}}",
      "/linux/seccomp/listenerPath", "must be an absolute path" },
    { "relative kernel", "{'vm': {'kernel': {'path': 'vmlinuz'}}}", "/vm/kernel/path", "absolute" },
    { "empty root", "{'root': {'path': ''}}", "/root/path", "'' must not be empty" },
    { "empty destination", "{'mounts': [{'destination': ''}]}", "/mounts/0/destination",
      "must not be empty" },
    { "empty annotation key", "{'annotations': {'': 'x'}}", "/annotations/",
      "the key must not be empty" },
    { "empty sysctl key", "{'linux': {'sysctl': {'': 'x'}}}", "/linux/sysctl/",
      "the key must not be empty" },
    { "CPU list", "{'process': {'execCPUAffinity': {'initial': '0-'}}}",
      "/process/execCPUAffinity/initial", "must be numbers and ranges" },
    { "CPU range backwards", "{'process': {'execCPUAffinity': {'final': '3-1'}}}",
      "/process/execCPUAffinity/final", "must be numbers and ranges" },
    { "CPU words", "{'process': {'execCPUAffinity': {'final': 'all'}}}",
      "/process/execCPUAffinity/final", "must be numbers and ranges" },
    { "page size", "{'linux': {'resources': {'hugepageLimits': [{'pageSize': '2M', 'limit': 0}]}}}",
      "/linux/resources/hugepageLimits/0/pageSize", "must be a size" },
    { "page size of 0",
      "{'linux': {'resources': {'hugepageLimits': [{'pageSize': '0MB', 'limit': 0}]}}}",
      "/linux/resources/hugepageLimits/0/pageSize", "must be a size" },
    { "newline in a schema", "{'linux': {'intelRdt': {'l3CacheSchema': 'L3:0=f\\n'}}}",
      "/linux/intelRdt/l3CacheSchema", "must not hold a newline" },
    { "interface name", "{'linux': {'netDevices': {'eth0': {'name': 'a/b'}}}}",
      "/linux/netDevices/eth0/name", "must be an interface name" },
    { "long interface name", "{'linux': {'netDevices': {'eth0': {'name': '0123456789abcdef'}}}}",
      "/linux/netDevices/eth0/name", "must be an interface name" },
    /* NUL bytes */
    { "NUL in an argument", "{'process': {'args': ['a\\u0000b']}}", "/process/args/0", "NUL byte" },
    { "NUL in the environment", "{'process': {'env': ['A=\\u0000']}}", "/process/env/0",
      "NUL byte" },
    { "NUL in a path", "{'root': {'path': 'rootfs\\u0000/../..'}}", "/root/path", "NUL byte" },
    { "only a NUL", "{'hostname': '\\u0000'}", "/hostname", "NUL byte" },
    { "NUL in an annotation", "{'annotations': {'a': '\\u0000'}}", "/annotations/a", "NUL byte" },
    /* missing */
    { "destination", "{'mounts': [{'type': 'proc'}]}", "/mounts/0/destination",
      "is required but missing" },
    { "gid", "{'process': {'user': {'gid': null}}}", "/process/user/gid",
      "is required but missing" },
    { "root path", "{'root': {'path': null}}", "/root/path", "is required but missing" },
    { "rlimit hard", "{'process': {'rlimits': [{'type': 'RLIMIT_CPU', 'soft': 1}]}}",
      "/process/rlimits/0/hard", "is required but missing" },
    { "console width", "{'process': {'consoleSize': {'height': 1}}}", "/process/consoleSize/width",
      "is required but missing" },
    { "namespace type", "{'linux': {'namespaces': [{}]}}", "/linux/namespaces/0/type",
      "is required but missing" },
    { "seccomp action", "{'linux': {'seccomp': {}}}", "/linux/seccomp/defaultAction",
      "is required but missing" },
    { "rule's allow", "{'linux': {'resources': {'devices': [{'access': 'r'}]}}}",
      "/linux/resources/devices/0/allow", "is required but missing" },
    { "map size", "{'linux': {'gidMappings': [{'containerID': 0, 'hostID': 0}]}}",
      "/linux/gidMappings/0/size", "is required but missing" },
};

static int parse(struct arena *a, const char *text, struct spec **s, struct spec_faults *f,
                 struct err *e)
{
    *e = (struct err){ 0 };
    if (f)
        spec_faults_init(f);
    return spec_parse(a, text, strlen(text), s, f, e);
}

static const struct spec_fault *first_error(const struct spec_faults *f)
{
    const struct spec_fault *fault = f->first;

    while (fault && fault->warning)
        fault = fault->next;
    return fault;
}

static void a_bad_value_is_refused_at_its_pointer(void **state)
{
    (void)state;
    for (size_t i = 0; i < COUNT_OF(faults); i++) {
        struct arena *a = unit_arena();
        const char *text = minimal_config(a, faults[i].patch);
        const struct spec_fault *fault;
        struct spec *s = NULL;
        struct spec_faults f;
        struct err e;

        unit_row(faults[i].name, parse(a, text, &s, &f, &e) == -EINVAL);
        /* What could be read is given for the checks of other rooms, not of a non-object. */
        unit_row(faults[i].name, s != NULL);
        fault = first_error(&f);
        unit_row(faults[i].name, fault != NULL);
        if (strcmp(fault->pointer, faults[i].pointer) || !strstr(fault->text, faults[i].says))
            fail_msg("row '%s': %s: %s", faults[i].name, fault->pointer, fault->text);
        unit_row(faults[i].name, fault->line == 1);
        /* Without a list the first one is in the record all the same. */
        unit_row(faults[i].name, parse(a, text, &s, NULL, &e) == -EINVAL);
        unit_row(faults[i].name, str_eq(e.pointer, faults[i].pointer));
        unit_row(faults[i].name, strstr(e.text, "(config.json line 1)") != NULL);
    }
}

/* ---- what is accepted -------------------------------------------------------------------------- */

static void an_unknown_property_is_a_remark(void **state)
{
    static const char *const pointers[] = { "/solaris", "/process/user/name", "/linux/new~1er" };
    struct arena *a = unit_arena();
    const char *text = minimal_config(
        a, "{'process': {'user': {'name': {'deep': [1]}}}, 'solaris': {},"
           " 'linux': {'new/er': '\\u0000'}}");
    struct spec_faults f;
    struct spec *s;
    struct err e;
    size_t found = 0;

    (void)state;
    assert_int_equal(parse(a, text, &s, &f, &e), 0);
    assert_int_equal(f.errors, 0);
    assert_int_equal(f.warnings, COUNT_OF(pointers));
    for (const struct spec_fault *w = f.first; w; w = w->next) {
        assert_true(w->warning);
        assert_string_equal(w->text, "unknown property, ignored");
        for (size_t i = 0; i < COUNT_OF(pointers); i++)
            found += str_eq(w->pointer, pointers[i]);
    }
    assert_int_equal(found, COUNT_OF(pointers));
    assert_int_equal(parse(a, text, &s, NULL, &e), 0);
}

static void an_empty_optional_string_is_none(void **state)
{
    struct arena *a = unit_arena();
    const struct spec *s = minimal_spec(
        a, "{'hostname': '', 'process': {'apparmorProfile': '', 'selinuxLabel': '', 'args': ['']},"
           " 'mounts': [{'destination': '/a', 'source': '', 'type': ''}],"
           " 'linux': {'rootfsPropagation': '', 'cgroupsPath': '',"
           " 'namespaces': [{'type': 'pid', 'path': ''}]}, 'annotations': {'a': ''}}");

    (void)state;
    assert_null(s->hostname);
    assert_null(s->process.apparmor_profile);
    assert_null(s->process.selinux_label);
    assert_string_equal(s->process.args.v[0], "");
    assert_null(s->mounts[0].source);
    assert_null(s->mounts[0].type);
    assert_null(s->linux.rootfs_propagation);
    assert_null(s->linux.cgroups_path);
    assert_null(s->linux.namespaces[0].path);
    assert_string_equal(s->annotations.v[0].value, "");
}

static void the_order_of_keys_does_not_matter(void **state)
{
    struct arena *a = unit_arena();
    struct spec *s;
    struct err e;

    (void)state;
    assert_int_equal(
        parse(a,
              "{\"linux\": {\"namespaces\": [{\"path\": \"/ns\", \"type\": \"time\"}]},"
              "\"process\": {\"cwd\": \"/\", \"user\": {\"gid\": 2, \"uid\": 1}},"
              "\"ociVersion\": \"1.0.0\"}",
              &s, NULL, &e),
        0);
    assert_int_equal(s->linux.namespaces[0].type, SPEC_NS_TIME);
    assert_string_equal(s->linux.namespaces[0].path, "/ns");
    assert_int_equal(s->process.user.uid, 1);
    assert_int_equal(s->process.user.gid, 2);
    assert_string_equal(s->oci_version, "1.0.0");
}

/* ---- documents --------------------------------------------------------------------------------- */

static void what_is_no_document_is_a_fault_without_a_line_of_its_own(void **state)
{
    static const struct {
        const char *text, *pointer, *says;
    } rows[] = {
        { "", "", "config.json line 1: premature EOF" },
        { "{\"process\": {\n\"cwd\": }}", "/process", "config.json line 2: " },
        { "{}\n{}", "", "config.json line 2: trailing garbage" },
        { "{\"root\": {},\n\"root\": {}}", "/root", "config.json line 2: the name occurs twice" },
        { "\xEF\xBB\xBF{}", "", "byte order mark" },
    };
    struct spec_faults f;
    struct spec *s = NULL;
    struct err e;

    (void)state;
    for (size_t i = 0; i < COUNT_OF(rows); i++) {
        unit_row(rows[i].says, parse(unit_arena(), rows[i].text, &s, &f, &e) == -EINVAL);
        unit_row(rows[i].says, f.errors == 1 && f.first->line == 0);
        unit_row(rows[i].says, strstr(f.first->text, rows[i].says) != NULL);
        unit_row(rows[i].says, str_eq(f.first->pointer, rows[i].pointer));
        unit_row(rows[i].says, str_eq(e.pointer, rows[i].pointer));
        unit_row(rows[i].says, str_eq(e.text, f.first->text));
        assert_null(s);
    }
    assert_int_equal(parse(unit_arena(), "[]", &s, &f, &e), -EINVAL);
    assert_string_equal(f.first->text, "must be an object, not an array");
}

/* Bad values and broken rules come in one list, by line, each place once. */
static void all_faults_are_told_at_once_in_document_order(void **state)
{
    static const char text[] = "{\n"
                               "  \"ociVersion\": \"2.0.0\",\n"
                               "  \"process\": {\n"
                               "    \"args\": \"sh\",\n"
                               "    \"rlimits\": [\n"
                               "      { \"type\": \"RLIMIT_X\", \"soft\": 2, \"hard\": 1 },\n"
                               "      { \"type\": \"RLIMIT_CPU\", \"soft\": 2, \"hard\": 1 }\n"
                               "    ],\n"
                               "    \"cwd\": \"here\"\n"
                               "  },\n"
                               "  \"root\": { \"path\": 1 },\n"
                               "  \"linux\": {\n"
                               "    \"namespaces\": [ {\"type\": \"pid\"},\n"
                               "      5,\n"
                               "      {\"type\": \"pid\"} ]\n"
                               "  }\n"
                               "}\n";
    static const struct {
        const char *pointer;
        unsigned line;
    } wanted[] = {
        { "/ociVersion", 2 },
        { "/process/args", 4 },
        { "/process/rlimits/0/type", 6 },
        { "/process/rlimits/1/soft", 7 },
        { "/process/cwd", 9 },
        { "/root/path", 11 },
        { "/linux/namespaces/1", 14 },
        { "/linux/namespaces/2", 15 },
    };
    struct arena *a = unit_arena();
    const struct spec_fault *fault;
    struct spec_faults f;
    struct spec *s;
    struct err e;
    size_t i = 0;

    (void)state;
    assert_int_equal(parse(a, text, &s, &f, &e), -EINVAL);
    for (fault = f.first; fault && i < COUNT_OF(wanted); fault = fault->next, i++) {
        assert_string_equal(fault->pointer, wanted[i].pointer);
        assert_int_equal(fault->line, wanted[i].line);
        assert_false(fault->warning);
    }
    assert_null(fault);
    assert_int_equal(i, COUNT_OF(wanted));
    assert_int_equal(f.errors, COUNT_OF(wanted));
    /* The list goes on behind what was sorted. */
    spec_fault_add(&f, a, "/x", 1, true, "more");
    assert_int_equal(f.warnings, 1);
}

/* ---- size -------------------------------------------------------------------------------------- */

#if defined(__SANITIZE_ADDRESS__) || !defined(__x86_64__)
enum { TIME_LIMIT_MS = 10000 }; /* sanitizers, and qemu for other machines */
#else
enum { TIME_LIMIT_MS = 300 };
#endif

static long long milliseconds(void)
{
    struct timespec t;

    clock_gettime(CLOCK_PROCESS_CPUTIME_ID, &t);
    return (long long)t.tv_sec * 1000 + t.tv_nsec / 1000000;
}

/* The host may be slow for a moment, also in what counts as the process's own time: the best of a few. */
enum { TRIES = 5 };

static struct spec *parse_once(const char *name, const struct strbuf *text, long long *took)
{
    long long start = milliseconds();
    struct arena *a = unit_arena();
    struct spec_faults f;
    struct spec *s = NULL;
    struct err e = { 0 };

    spec_faults_init(&f);
    if (spec_parse(a, text->ptr, text->len, &s, &f, &e) < 0 || spec_check(s, a, &f, &e) < 0)
        fail_msg("%s: %s: %s", name, e.pointer, e.text);
    spec_unsupported(s, a, &f);
    *took = milliseconds() - start;
    return s;
}

static struct spec *parse_in_time(const char *name, const struct strbuf *text)
{
    struct spec *s = NULL;
    long long took = TIME_LIMIT_MS + 1;

    for (int i = 0; i < TRIES && took > TIME_LIMIT_MS; i++)
        s = parse_once(name, text, &took);
    if (took > TIME_LIMIT_MS)
        fail_msg("%s: %lld ms for %zu bytes", name, took, text->len);
    return s;
}

/* The minimal document up to a list of its own, which the caller fills and closes. */
static void begin(struct strbuf *b, const char *list)
{
    strbuf_format(b,
                  "{\"ociVersion\": \"1.2.0\", \"root\": {\"path\": \"r\"}, \"linux\": "
                  "{\"namespaces\": [{\"type\": \"mount\"}]}, \"process\": {\"cwd\": \"/\", "
                  "\"args\": [\"a\"]%s",
                  list);
}

static void ten_thousand_variables_are_read(void **state)
{
    AUTO_STRBUF struct strbuf b = { 0 };
    const struct spec *s;

    (void)state;
    begin(&b, ", \"env\": [\"A=1\"");
    for (int i = 0; i < 10000; i++)
        strbuf_format(&b, ",\n\"VARIABLE_%d=%d\"", i, i);
    strbuf_str(&b, "]}}");
    s = parse_in_time("variables", &b);
    assert_int_equal(s->process.env.n, 10001);
    assert_string_equal(s->process.env.v[10000], "VARIABLE_9999=9999");
}

static void five_thousand_mounts_are_read(void **state)
{
    AUTO_STRBUF struct strbuf b = { 0 };
    const struct spec *s;

    (void)state;
    begin(&b, "}, \"mounts\": [");
    for (int i = 0; i < 5000; i++) {
        strbuf_format(&b,
                      "%s{\"destination\": \"/m/%d\", \"type\": \"tmpfs\", \"source\": \"t\",\n"
                      "\"options\": [\"nosuid\", \"size=1k\", \"mode=700\"]}",
                      i ? "," : "", i);
    }
    strbuf_str(&b, "]}");
    s = parse_in_time("mounts", &b);
    assert_int_equal(s->n_mounts, 5000);
    assert_string_equal(s->mounts[4999].destination, "/m/4999");
}

static void ten_mebibytes_are_read(void **state)
{
    AUTO_STRBUF struct strbuf b = { 0 };
    const struct spec *s;
    size_t n = 0;

    (void)state;
    begin(&b, "}, \"annotations\": {");
    for (; b.len < (10 << 20); n++) {
        strbuf_format(&b, "%s\"org.example.annotation.%zu\": \"%0200zu caf\xC3\xA9 \\u00e9\"\n",
                      n ? "," : "", n, n);
    }
    strbuf_str(&b, "}}");
    s = parse_in_time("10 MiB", &b);
    assert_int_equal(s->annotations.n, n);
}

/* The costs that grow with the square would show in these. */
static void many_faults_take_no_longer(void **state)
{
    AUTO_STRBUF struct strbuf b = { 0 };
    long long took = TIME_LIMIT_MS + 1;
    struct spec_faults f;
    struct spec *s;
    struct err e;

    (void)state;
    begin(&b, ", \"env\": [\"A=1\"");
    for (int i = 0; i < 20000; i++)
        strbuf_format(&b, ",\n%d", i);
    strbuf_str(&b, "]}, \"mounts\": [{\"destination\": \"/\"}");
    for (int i = 0; i < 2000; i++)
        strbuf_str(&b, ",\n{\"destination\": \"m\", \"x\": 0}");
    strbuf_str(&b, "]}");
    for (int i = 0; i < TRIES && took > TIME_LIMIT_MS; i++) {
        took = milliseconds();
        assert_int_equal(parse(unit_arena(), b.ptr, &s, &f, &e), -EINVAL);
        took = milliseconds() - took;
    }
    assert_true(took <= TIME_LIMIT_MS);
    assert_int_equal(f.errors, 20000);
    assert_int_equal(f.warnings, 2000);
    assert_string_equal(e.pointer, "/process/env/1");
}

static void deep_nesting_is_a_clear_error(void **state)
{
    AUTO_STRBUF struct strbuf b = { 0 };
    struct spec *s;
    struct err e;

    (void)state;
    begin(&b, "}, \"unknown\": ");
    for (int i = 0; i < 10000; i++)
        strbuf_str(&b, "[");
    assert_int_equal(parse(unit_arena(), b.ptr, &s, NULL, &e), -EINVAL);
    assert_non_null(strstr(e.text, "nested deeper than 256 levels"));
    assert_true(str_starts(e.pointer, "/unknown/0/0"));
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(a_bad_value_is_refused_at_its_pointer),
        cmocka_unit_test(an_unknown_property_is_a_remark),
        cmocka_unit_test(an_empty_optional_string_is_none),
        cmocka_unit_test(the_order_of_keys_does_not_matter),
        cmocka_unit_test(what_is_no_document_is_a_fault_without_a_line_of_its_own),
        cmocka_unit_test(all_faults_are_told_at_once_in_document_order),
        cmocka_unit_test(ten_thousand_variables_are_read),
        cmocka_unit_test(five_thousand_mounts_are_read),
        cmocka_unit_test(ten_mebibytes_are_read),
        cmocka_unit_test(many_faults_take_no_longer),
        cmocka_unit_test(deep_nesting_is_a_clear_error),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
