/* SPDX-License-Identifier: Apache-2.0 */
#include "minimal.h"

#define USER "{'type': 'mount'}, {'type': 'user'}"
#define MAPS(entries) "'uidMappings': [" entries "], 'gidMappings': [" entries "]"
#define UID_MAPS(entries) "'uidMappings': [" entries "], 'gidMappings': [" MAP0 "]"
#define MAP0 "{'containerID': 0, 'hostID': 1000, 'size': 10}"
#define LINUX(members) "{'linux': {" members "}}"
#define RULE(members)                                                             \
    LINUX("'seccomp': {'defaultAction': 'SCMP_ACT_ALLOW', 'listenerPath': '/l', " \
          "'syscalls': [{'names': ['getcwd'], " members "}]}")

enum expected { FINE, REMARK, ERROR };

static const struct {
    const char *name;
    enum expected expected;
    const char *patch, *pointer, *says;
} rows[] = {
    { "the minimal document", FINE, NULL, NULL, NULL },
    /* ociVersion */
    { "no version", ERROR, "{'ociVersion': null}", "/ociVersion", "is required but missing" },
    { "version 1.0.0", FINE, "{'ociVersion': '1.0.0'}", NULL, NULL },
    { "version 1.0.2-dev", FINE, "{'ociVersion': '1.0.2-dev'}", NULL, NULL },
    { "version 1.0.0-rc.5+build.7", FINE, "{'ociVersion': '1.0.0-rc.5+build.7'}", NULL, NULL },
    { "version 1.4.0", REMARK, "{'ociVersion': '1.4.0'}", "/ociVersion", "is newer than 1.3" },
    { "version 2.0.0", ERROR, "{'ociVersion': '2.0.0'}", "/ociVersion", "is not supported" },
    { "version 0.9.0", ERROR, "{'ociVersion': '0.9.0'}", "/ociVersion", "is not supported" },
    { "version 1.2", ERROR, "{'ociVersion': '1.2'}", "/ociVersion", "is no version" },
    { "version 1.02.3", ERROR, "{'ociVersion': '1.02.3'}", "/ociVersion", "is no version" },
    { "version 1.2.3-", ERROR, "{'ociVersion': '1.2.3-'}", "/ociVersion", "is no version" },
    { "version 1.2.3+a..b", ERROR, "{'ociVersion': '1.2.3+a..b'}", "/ociVersion", "is no version" },
    { "version 1.2.3 and more", ERROR, "{'ociVersion': '1.2.3 '}", "/ociVersion", "is no version" },
    { "version 1.99999999999.0", ERROR, "{'ociVersion': '1.99999999999.0'}", "/ociVersion",
      "is no version" },
    /* root, process */
    { "no root", ERROR, "{'root': null}", "/root", "is required but missing" },
    { "no process", REMARK, "{'process': null}", "/process", "but not started" },
    { "no cwd", ERROR, "{'process': {'cwd': null}}", "/process/cwd",
      "Cwd property must not be empty" },
    { "empty cwd", ERROR, "{'process': {'cwd': ''}}", "/process/cwd",
      "Cwd property must not be empty" },
    { "relative cwd", ERROR, "{'process': {'cwd': 'work'}}", "/process/cwd",
      "Cwd must be an absolute path" },
    { "no args", ERROR, "{'process': {'args': null}}", "/process/args", "args must not be empty" },
    { "empty args", ERROR, "{'process': {'args': []}}", "/process/args", "args must not be empty" },
    { "no user", FINE, "{'process': {'user': null}}", NULL, NULL },
    { "console too high", ERROR,
      "{'process': {'terminal': true, 'consoleSize': {'height': 65536, 'width': 1}}}",
      "/process/consoleSize/height", "is larger than 65535" },
    { "console too wide", ERROR,
      "{'process': {'terminal': true, 'consoleSize': {'height': 1, 'width': 65536}}}",
      "/process/consoleSize/width", "is larger than 65535" },
    { "console without terminal", FINE,
      "{'process': {'consoleSize': {'height': 65536, 'width': 1}}}", NULL, NULL },
    { "rlimit twice", ERROR,
      "{'process': {'rlimits': [{'type': 'RLIMIT_CPU', 'soft': 0, 'hard': 0}, "
      "{'type': 'RLIMIT_AS', 'soft': 0, 'hard': 0}, {'type': 'RLIMIT_CPU', 'soft': 0, 'hard': 0}]}}",
      "/process/rlimits/2/type", "RLIMIT_CPU occurs twice" },
    { "soft above hard", ERROR,
      "{'process': {'rlimits': [{'type': 'RLIMIT_CPU', 'soft': 18446744073709551615, 'hard': 7}]}}",
      "/process/rlimits/0/soft", "18446744073709551615 is above the hard limit 7" },
    { "unknown capability", REMARK,
      "{'process': {'capabilities': {'bounding': ['CAP_KILL', 'KILL']}}}",
      "/process/capabilities/bounding/1", "unknown capability" },
    { "effective, not permitted", REMARK,
      "{'process': {'capabilities': {'effective': ['CAP_BPF']}}}",
      "/process/capabilities/effective", "CAP_BPF cannot be granted: it is not permitted" },
    { "ambient, not inheritable", REMARK,
      "{'process': {'capabilities': {'permitted': ['CAP_KILL'], 'ambient': ['CAP_KILL']}}}",
      "/process/capabilities/ambient", "CAP_KILL cannot be granted" },
    { "ambient as it should be", FINE,
      "{'process': {'capabilities': {'permitted': ['CAP_KILL'], 'inheritable': ['CAP_KILL'], "
      "'ambient': ['CAP_KILL']}}}",
      NULL, NULL },
    { "real-time without priority", ERROR, "{'process': {'scheduler': {'policy': 'SCHED_FIFO'}}}",
      "/process/scheduler/priority", "must be 1 to 99" },
    { "batch with priority", ERROR,
      "{'process': {'scheduler': {'policy': 'SCHED_BATCH', 'priority': 1}}}",
      "/process/scheduler/priority", "is for SCHED_FIFO and SCHED_RR only" },
    { "deadline without runtime", ERROR,
      "{'process': {'scheduler': {'policy': 'SCHED_DEADLINE', 'deadline': 5, 'period': 5}}}",
      "/process/scheduler", "needs 0 < runtime" },
    { "deadline behind the period", ERROR,
      "{'process': {'scheduler': {'policy': 'SCHED_DEADLINE', 'runtime': 1, 'deadline': 5, 'period': 4}}}",
      "/process/scheduler", "needs 0 < runtime" },
    { "a deadline without period", FINE,
      "{'process': {'scheduler': {'policy': 'SCHED_DEADLINE', 'runtime': 1, 'deadline': 5}}}", NULL,
      NULL },
    { "runtime of a batch", ERROR,
      "{'process': {'scheduler': {'policy': 'SCHED_BATCH', 'runtime': 1}}}", "/process/scheduler",
      "for SCHED_DEADLINE only" },
    /* names of the host */
    { "hostname of the host", ERROR, "{'hostname': 'h'}", "/hostname",
      "unable to set hostname without a private UTS namespace" },
    { "domainname of the host", ERROR, "{'domainname': 'd'}", "/domainname",
      "unable to set domainname without a private UTS namespace" },
    { "hostname of a joined namespace", FINE,
      "{'hostname': 'h', 'linux': {'namespaces': [{'type': 'uts', 'path': '/ns'}]}}", NULL, NULL },
    { "hostname of 65 bytes", ERROR,
      "{'hostname': '01234567890123456789012345678901234567890123456789012345678901234',"
      " 'linux': {'namespaces': [{'type': 'uts'}]}}",
      "/hostname", "longer than the kernel's 64 bytes" },
    /* mounts */
    { "relative destination", REMARK, "{'mounts': [{'destination': 'a', 'type': 'tmpfs'}]}",
      "/mounts/0/destination", "deprecated" },
    { "bind without source", ERROR, "{'mounts': [{'destination': '/a', 'options': ['rbind']}]}",
      "/mounts/0/source", "a bind mount needs a source" },
    { "mount without type", ERROR, "{'mounts': [{'destination': '/a', 'source': '/b'}]}",
      "/mounts/0/type", "is required unless the mount is a bind" },
    { "remount without type", FINE,
      "{'mounts': [{'destination': '/a', 'options': ['remount', 'ro']}]}", NULL, NULL },
    { "mount with one map", ERROR,
      "{'mounts': [{'destination': '/a', 'type': 'tmpfs', 'uidMappings': [" MAP0 "]}]}",
      "/mounts/0", "must be given together" },
    { "overlap in a mount's map", ERROR,
      "{'mounts': [{'destination': '/a', 'type': 'tmpfs', 'uidMappings': [" MAP0
      "], 'gidMappings': [" MAP0 ", " MAP0 "]}]}",
      "/mounts/0/gidMappings/1", "overlaps entry 0 in containerID" },
    { "idmap of nothing", ERROR,
      "{'mounts': [{'destination': '/a', 'source': '/b', 'options': ['bind', 'ridmap']}]}",
      "/mounts/0/options", "idmap needs mappings" },
    { "mounts on the host", ERROR,
      "{'mounts': [{'destination': '/a', 'type': 'tmpfs'}], 'linux': {'namespaces': []}}",
      "/mounts", "mounts must not be without a mount namespace" },
    { "masks on the host", ERROR, LINUX("'maskedPaths': ['/proc'], 'namespaces': []"),
      "/linux/maskedPaths", "unable to restrict sys entries without a private MNT namespace" },
    { "read-only paths on the host", ERROR, LINUX("'readonlyPaths': ['/proc'], 'namespaces': []"),
      "/linux/readonlyPaths", "unable to restrict sys entries" },
    { "a mask of everything", ERROR, LINUX("'maskedPaths': ['/proc/keys', '/sys/../']"),
      "/linux/maskedPaths/1", "the root filesystem itself cannot be masked" },
    { "read-only root on the host", ERROR, "{'root': {'readonly': true}, 'linux': null}",
      "/root/readonly", "must not be without a mount namespace" },
    { "devices on the host", ERROR,
      LINUX("'devices': [{'type': 'p', 'path': '/p'}], 'namespaces': []"), "/linux/devices",
      "must not be without a mount namespace" },
    { "no namespaces at all", FINE, "{'linux': null}", NULL, NULL },
    /* namespaces and maps */
    { "namespace twice", ERROR,
      LINUX("'namespaces': [{'type': 'ipc'}, {'type': 'uts'}, {'type': 'ipc', 'path': '/ns'}]"),
      "/linux/namespaces/2", "the ipc namespace is listed twice" },
    { "user namespace of nobody", ERROR, LINUX("'namespaces': [" USER "]"), "/linux/namespaces",
      "user namespaces enabled, but no namespace path to join nor mappings to apply specified" },
    { "user namespace with maps", FINE, LINUX("'namespaces': [" USER "], " MAPS(MAP0)), NULL,
      NULL },
    { "user namespace without gidMappings", ERROR,
      LINUX("'namespaces': [" USER "], 'uidMappings': [" MAP0 "]"), "/linux/gidMappings",
      "must be given together" },
    { "user namespace without uidMappings", ERROR,
      LINUX("'namespaces': [" USER "], 'gidMappings': [" MAP0 "]"), "/linux/uidMappings",
      "must be given together" },
    { "joined user namespace", FINE, LINUX("'namespaces': [{'type': 'user', 'path': '/ns'}]"), NULL,
      NULL },
    { "maps without user namespace", ERROR, LINUX(MAPS(MAP0)), "/linux/uidMappings",
      "there is no user namespace" },
    { "gid maps without user namespace", ERROR, LINUX("'gidMappings': [" MAP0 "]"),
      "/linux/gidMappings", "there is no user namespace" },
    { "overlap in hostID", ERROR,
      LINUX("'namespaces': [" USER "], " UID_MAPS("{'containerID': 0, 'hostID': 0, 'size': 10},"
                                                  "{'containerID': 10, 'hostID': 9, 'size': 1}")),
      "/linux/uidMappings/1", "overlaps entry 0 in hostID" },
    { "neighbours", FINE,
      LINUX("'namespaces': [" USER "], " UID_MAPS("{'containerID': 0, 'hostID': 0, 'size': 10},"
                                                  "{'containerID': 10, 'hostID': 10, 'size': 1}")),
      NULL, NULL },
    { "map that wraps", ERROR,
      LINUX("'namespaces': [" USER
            "], " UID_MAPS("{'containerID': 0, 'hostID': 4294967290, 'size': 6}")),
      "/linux/uidMappings/0", "ends behind the last ID" },
    { "map up to the last ID", FINE,
      LINUX("'namespaces': [" USER
            "], " UID_MAPS("{'containerID': 0, 'hostID': 4294967290, 'size': 5}")),
      NULL, NULL },
    { "unmapped uid", ERROR,
      "{'process': {'user': {'uid': 10}}, 'linux': {'namespaces': [" USER "], " MAPS(MAP0) "}}",
      "/process/user/uid", "10 is not in /linux/uidMappings" },
    { "unmapped gid", ERROR,
      "{'process': {'user': {'gid': 11}}, 'linux': {'namespaces': [" USER "], " MAPS(MAP0) "}}",
      "/process/user/gid", "11 is not in /linux/gidMappings" },
    { "unmapped additional gid", ERROR,
      "{'process': {'user': {'additionalGids': [9, 12]}}, 'linux': {'namespaces': [" USER
      "], " MAPS(MAP0) "}}",
      "/process/user/additionalGids/1", "12 is not in /linux/gidMappings" },
    /* time */
    { "offsets without time namespace", ERROR, LINUX("'timeOffsets': {'boottime': {'secs': 1}}"),
      "/linux/timeOffsets", "need a time namespace" },
    { "offsets of a joined namespace", ERROR,
      LINUX("'namespaces': [{'type': 'time', 'path': '/ns'}], 'timeOffsets': {'boottime': {}}"),
      "/linux/timeOffsets", "cannot be changed" },
    { "empty offsets", FINE, LINUX("'timeOffsets': {}"), NULL, NULL },
    { "unknown clock", ERROR, LINUX("'timeOffsets': {'real/time': {'secs': 1}}"),
      "/linux/timeOffsets/real~1time", "unknown clock" },
    /* devices */
    { "no major", ERROR,
      LINUX("'devices': [{'type': 'p', 'path': '/p'},"
            " {'type': 'c', 'path': '/c', 'minor': 0}]"),
      "/linux/devices/1/major", "is required but missing" },
    { "no minor", ERROR, LINUX("'devices': [{'type': 'b', 'path': '/c', 'major': 0}]"),
      "/linux/devices/0/minor", "is required but missing" },
    { "network devices of the host", ERROR, LINUX("'netDevices': {'eth0': {}}"),
      "/linux/netDevices", "need a network namespace" },
    { "network device's name", ERROR,
      LINUX("'namespaces': [{'type': 'network'}], 'netDevices': {'a b': {}}"),
      "/linux/netDevices/a b", "must be an interface name" },
    { "numbered network device", FINE,
      LINUX("'namespaces': [{'type': 'network'}], 'netDevices': {'eth0': {'name': 'eth%d'}}"), NULL,
      NULL },
    /* resources */
    { "rule's type", ERROR, LINUX("'resources': {'devices': [{'allow': true, 'type': 'd'}]}"),
      "/linux/resources/devices/0/type", "must be a, b or c" },
    { "rule's access", ERROR, LINUX("'resources': {'devices': [{'allow': true, 'access': 'rx'}]}"),
      "/linux/resources/devices/0/access", "must be made of r, w and m" },
    { "burst above quota", ERROR, LINUX("'resources': {'cpu': {'quota': 10, 'burst': 11}}"),
      "/linux/resources/cpu/burst", "must not be above the quota" },
    { "burst, no quota", FINE, LINUX("'resources': {'cpu': {'quota': -1, 'burst': 11}}"), NULL,
      NULL },
    { "weight 9", ERROR, LINUX("'resources': {'blockIO': {'weight': 9}}"),
      "/linux/resources/blockIO/weight", "must be 10 to 1000" },
    { "weight 0", FINE, LINUX("'resources': {'blockIO': {'weight': 0}}"), NULL, NULL },
    { "weightless device", ERROR,
      LINUX("'resources': {'blockIO': {'weightDevice': [{'major': 8, 'minor': 0}]}}"),
      "/linux/resources/blockIO/weightDevice/0", "needs a weight or a leafWeight" },
    { "device's leaf weight", ERROR,
      LINUX(
          "'resources': {'blockIO': {'weightDevice': [{'major': 8, 'minor': 0, 'leafWeight': 1}]}}"),
      "/linux/resources/blockIO/weightDevice/0/leafWeight", "must be 10 to 1000" },
    { "rdma of nothing", ERROR, LINUX("'resources': {'rdma': {'mlx': {}}}"),
      "/linux/resources/rdma/mlx", "needs hcaHandles or hcaObjects" },
    { "unified elsewhere", ERROR, LINUX("'resources': {'unified': {'../x': '1'}}"),
      "/linux/resources/unified/..~1x", "must be a file name" },
    { "unified above", ERROR, LINUX("'resources': {'unified': {'..': '1'}}"),
      "/linux/resources/unified/..", "must be a file name" },
    /* seccomp */
    { "errno of allow", ERROR,
      LINUX("'seccomp': {'defaultAction': 'SCMP_ACT_ALLOW', 'defaultErrnoRet': 1}"),
      "/linux/seccomp/defaultErrnoRet", "SCMP_ACT_ALLOW does not take an errno" },
    { "errno of kill", ERROR, RULE("'action': 'SCMP_ACT_KILL', 'errnoRet': 1"),
      "/linux/seccomp/syscalls/0/errnoRet", "SCMP_ACT_KILL does not take an errno" },
    { "errno 4096", ERROR, RULE("'action': 'SCMP_ACT_ERRNO', 'errnoRet': 4096"),
      "/linux/seccomp/syscalls/0/errnoRet", "must be 0 to 4095" },
    { "trace data", FINE, RULE("'action': 'SCMP_ACT_TRACE', 'errnoRet': 65535"), NULL, NULL },
    { "too much trace data", ERROR, RULE("'action': 'SCMP_ACT_TRACE', 'errnoRet': 65536"),
      "/linux/seccomp/syscalls/0/errnoRet", "must be 0 to 65535" },
    { "no names", ERROR, RULE("'action': 'SCMP_ACT_LOG'}, {'names': [], 'action': 'SCMP_ACT_LOG'"),
      "/linux/seccomp/syscalls/1/names", "at least one entry" },
    { "second value of EQ", REMARK,
      RULE("'action': 'SCMP_ACT_LOG', 'args': [{'index': 0, 'value': 1,"
           " 'valueTwo': 2, 'op': 'SCMP_CMP_EQ'}]"),
      "/linux/seccomp/syscalls/0/args/0/valueTwo", "SCMP_CMP_EQ does not use it" },
    { "notify", FINE, RULE("'action': 'SCMP_ACT_NOTIFY'"), NULL, NULL },
    { "notify of write", ERROR,
      RULE(
          "'action': 'SCMP_ACT_NOTIFY'}, {'names': ['read', 'write'], 'action': 'SCMP_ACT_NOTIFY'"),
      "/linux/seccomp/syscalls/1/names/1", "cannot be used for write" },
    { "notify by default", ERROR,
      LINUX("'seccomp': {'defaultAction': 'SCMP_ACT_NOTIFY', 'listenerPath': '/l'}"),
      "/linux/seccomp/defaultAction", "cannot be the default action" },
    { "notify nobody", ERROR,
      LINUX("'seccomp': {'defaultAction': 'SCMP_ACT_ALLOW', 'syscalls': "
            "[{'names': ['a'], 'action': 'SCMP_ACT_NOTIFY'}]}"),
      "/linux/seccomp/listenerPath", "is required with SCMP_ACT_NOTIFY" },
    { "metadata for nobody", ERROR,
      LINUX("'seccomp': {'defaultAction': 'SCMP_ACT_ALLOW', 'listenerMetadata': 'm'}"),
      "/linux/seccomp/listenerMetadata", "must not be set without listenerPath" },
    /* the rest */
    { "class elsewhere", ERROR, LINUX("'intelRdt': {'closID': 'a/b'}"), "/linux/intelRdt/closID",
      "is no name of a directory" },
    { "class above", ERROR, LINUX("'intelRdt': {'closID': '..'}"), "/linux/intelRdt/closID",
      "is no name of a directory" },
    { "default class", FINE, LINUX("'intelRdt': {'closID': '/'}"), NULL, NULL },
    { "bandwidth", ERROR, LINUX("'intelRdt': {'memBwSchema': '0=20'}"),
      "/linux/intelRdt/memBwSchema", "must start with 'MB:'" },
    { "cache", REMARK, LINUX("'intelRdt': {'l3CacheSchema': 'L2:0=f'}"),
      "/linux/intelRdt/l3CacheSchema", "should start with 'L3:'" },
    { "nodes of local", ERROR, LINUX("'memoryPolicy': {'mode': 'MPOL_LOCAL', 'nodes': '0'}"),
      "/linux/memoryPolicy/nodes", "MPOL_LOCAL takes no nodes" },
    { "bind to no node", ERROR, LINUX("'memoryPolicy': {'mode': 'MPOL_BIND'}"),
      "/linux/memoryPolicy/nodes", "MPOL_BIND needs nodes" },
    { "prefer no node", FINE, LINUX("'memoryPolicy': {'mode': 'MPOL_PREFERRED'}"), NULL, NULL },
    { "personality flag", ERROR, LINUX("'personality': {'domain': 'LINUX', 'flags': ['X']}"),
      "/linux/personality/flags", "knows no flags yet" },
    { "machine without kernel", ERROR, "{'vm': {}}", "/vm/kernel", "is required but missing" },
    { "machine", FINE, "{'vm': {'kernel': {'path': '/k'}}}", NULL, NULL },
};

static void a_rule_is_told_at_its_pointer(void **state)
{
    (void)state;
    for (size_t i = 0; i < COUNT_OF(rows); i++) {
        struct arena *a = unit_arena();
        const struct spec *s = minimal_spec(a, rows[i].patch);
        struct spec_faults f;
        struct err e = { 0 };

        spec_faults_init(&f);
        unit_row(rows[i].name,
                 spec_check(s, a, &f, &e) == (rows[i].expected == ERROR ? -EINVAL : 0));
        if (f.first && !rows[i].pointer)
            fail_msg("row '%s': %s: %s", rows[i].name, f.first->pointer, f.first->text);
        unit_row(rows[i].name, f.errors == (rows[i].expected == ERROR));
        unit_row(rows[i].name, f.warnings == (rows[i].expected == REMARK));
        if (f.first &&
            (strcmp(f.first->pointer, rows[i].pointer) || !strstr(f.first->text, rows[i].says)))
            fail_msg("row '%s': %s: %s", rows[i].name, f.first->pointer, f.first->text);
        unit_row(rows[i].name, str_eq(e.pointer, rows[i].expected == ERROR ? rows[i].pointer : ""));
        unit_row(rows[i].name,
                 spec_check(s, a, NULL, NULL) == (rows[i].expected == ERROR ? -EINVAL : 0));
    }
}

static void the_kernel_takes_340_extents(void **state)
{
    struct arena *a = unit_arena();
    struct spec *s = minimal_spec(a, LINUX("'namespaces': [" USER "], " MAPS(MAP0)));
    struct spec_id_maps maps = { .v = arena_array(a, 341, sizeof(*maps.v)), .n = 340 };
    struct spec_faults f;
    struct err e = { 0 };

    (void)state;
    for (uint32_t i = 0; i < 341; i++)
        maps.v[i] = (struct spec_id_map){ i, i, 1 };
    s->linux.uid_mappings = maps;
    assert_int_equal(spec_check(s, a, NULL, &e), 0);
    s->linux.uid_mappings.n = 341;
    spec_faults_init(&f);
    assert_int_equal(spec_check(s, a, &f, &e), -EINVAL);
    assert_string_equal(f.first->pointer, "/linux/uidMappings");
    assert_non_null(strstr(f.first->text, "the kernel takes 340"));
}

/* The list may hold remarks of spec_parse already: only what is new decides. */
static void earlier_faults_do_not_decide(void **state)
{
    struct arena *a = unit_arena();
    const struct spec *s = minimal_spec(a, NULL);
    struct spec_faults f;
    struct err e = { 0 };

    (void)state;
    spec_faults_init(&f);
    spec_fault_add(&f, a, "/x", 1, false, "bad");
    spec_fault_add(&f, a, "/y", 1, true, "odd");
    assert_int_equal(spec_check(s, a, &f, &e), 0);
    assert_int_equal(e.code, 0);
    assert_int_equal(f.errors, 1);
    assert_int_equal(f.warnings, 1);
}

static void lines_are_found_by_pointer(void **state)
{
    static const char text[] =
        "{\n\"mounts\": [\n{\"destination\": \"/\"},\n{\"destination\":\n\"/a\"}],\n"
        "\"annotations\": {\n\"a/b~c\": \"\",\n\"a\": \"\",\n\"10\": \"\"}}";
    static const struct {
        const char *pointer;
        unsigned line;
    } lines[] = {
        { "", 1 },
        { "/mounts", 2 },
        { "/mounts/0", 3 },
        { "/mounts/1", 4 },
        { "/mounts/1/destination", 5 },
        { "/mounts/1/type", 4 },
        { "/mounts/2/type", 2 },
        { "/mounts/01", 2 },
        { "/annotations/a~1b~0c", 7 },
        { "/annotations/a~1b~0", 6 },
        { "/annotations/a~1b", 6 },
        { "/annotations/a", 8 },
        { "/annotations/10", 9 },
        { "/annotations/1", 6 },
        { "/nothing/there", 1 },
        { "mounts", 1 },
    };
    struct spec without = { 0 };
    struct spec *s;

    (void)state;
    assert_int_equal(spec_parse(unit_arena(), text, sizeof(text) - 1, &s, NULL, NULL), 0);
    for (size_t i = 0; i < COUNT_OF(lines); i++)
        unit_row(lines[i].pointer, spec_line_of(s, lines[i].pointer) == lines[i].line);
    assert_int_equal(spec_line_of(&without, "/mounts"), 0);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(a_rule_is_told_at_its_pointer),
        cmocka_unit_test(the_kernel_takes_340_extents),
        cmocka_unit_test(earlier_faults_do_not_decide),
        cmocka_unit_test(lines_are_found_by_pointer),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
