/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The schema as data: one row a property, one table an object, in the order of struct spec. Rows
 * follow runtime-spec 1.3 config.md, config-linux.md and config-vm.md (schema/ of the same release
 * for the ranges); where the kernel takes less than the schema says, the row says so.
 *
 * T is the struct whose members a table fills.
 */
#include "spec/internal.h"

/* What a row is: its key, and the member it fills. */
#define ROW(name, what, member) \
    .key = (name), .kind = (what), .offset = offsetof(T, member), .set_offset = SPEC_NO_OFFSET
#define STRING(name, member) ROW(name, SPEC_STRING, member)
#define CHOICE(name, member, list) ROW(name, SPEC_CHOICE, member), .choices = (list)
#define STRINGS(name, member) ROW(name, SPEC_STRINGS, member)
#define PAIRS(name, member) ROW(name, SPEC_PAIRS, member)
#define BOOL(name, member) ROW(name, SPEC_BOOL, member)
#define INT_IN(name, member, low, high) \
    ROW(name, SPEC_INT, member), .width = WIDTH(member), .min = (low), .max = (high)
#define INT(name, member) INT_IN(name, member, LEAST(member), MOST(member))
#define U32S(name, member, high) ROW(name, SPEC_U32S, member), .max = (high)
#define OBJECT(name, member, rows) ROW(name, SPEC_OBJECT, member), .table = &(rows)
#define ARRAY(name, member, count, rows) \
    ROW(name, SPEC_ARRAY, member), .count_offset = offsetof(T, count), .table = &(rows)
#define MAP(name, member, count, rows) \
    ROW(name, SPEC_MAP, member), .count_offset = offsetof(T, count), .table = &(rows)

/* struct opt_*: the value and whether it was there. */
#define OPT_ROW(name, what, member)                                 \
    .key = (name), .kind = (what), .offset = offsetof(T, member.v), \
    .set_offset = offsetof(T, member.set)
#define OPT_BOOL(name, member) OPT_ROW(name, SPEC_BOOL, member)
#define OPT_IN(name, member, low, high) \
    OPT_ROW(name, SPEC_INT, member), .width = WIDTH(member.v), .min = (low), .max = (high)
#define OPT(name, member) OPT_IN(name, member, LEAST(member.v), MOST(member.v))

#define WIDTH(member) sizeof(((T *)0)->member)
/* The least and the largest value of a member's type. */
#define IS_SIGNED(member) ((__typeof__(((T *)0)->member))-1 < 1)
#define MOST(member) (UINT64_MAX >> (64 - 8 * WIDTH(member) + IS_SIGNED(member)))
#define LEAST(member) (IS_SIGNED(member) ? -(int64_t)MOST(member) - 1 : 0)

/* What else it asks for. */
#define REQUIRED .required = true
#define NAMED(list) .names = (list)
#define ABSOLUTE .rule = spec_is_absolute, .must = "must be an absolute path"
#define CPU_LIST .rule = spec_is_cpu_list, .must = "must be numbers and ranges like \"0-3,7\""
#define ENVIRONMENT .rule = spec_is_environment, .must = "must be NAME=value"
#define FILLED .rule = spec_is_filled, .must = "must not be empty"
#define INTERFACE .rule = spec_is_interface, .must = "must be an interface name of 1 to 15 bytes"
#define ONE_LINE .rule = spec_is_one_line, .must = "must not hold a newline"
#define PAGE_SIZED .rule = spec_is_page_size, .must = "must be a size like \"2MB\" or \"1GB\""

#define ROWS(rows) .fields = (rows), .n_fields = COUNT_OF(rows), .size = sizeof(T)
#define PLAIN_TABLE(name, rows) \
    const struct spec_table name = { ROWS(rows), .set_offset = SPEC_NO_OFFSET }
#define SET_TABLE(name, rows) \
    const struct spec_table name = { ROWS(rows), .set_offset = offsetof(T, set) }

/* -1 means "unchanged" to setuid(2) and chown(2). */
#define LAST_ID (UINT32_MAX - 1)
/* st_mode: the file type and the permissions. */
enum { ANY_BITS_MODE = 0177777 };

/* ---- root, process ------------------------------------------------------------------------ */

#define T __typeof__(((struct spec *)0)->root)
static const struct spec_field root_rows[] = {
    { STRING("path", path), REQUIRED, FILLED },
    { BOOL("readonly", readonly) },
};
static SET_TABLE(root_table, root_rows);
#undef T

#define T struct spec_box
static const struct spec_field box_rows[] = {
    { INT("height", height), REQUIRED },
    { INT("width", width), REQUIRED },
};
static SET_TABLE(box_table, box_rows);
#undef T

#define T struct spec_user
static const struct spec_field user_rows[] = {
    { INT_IN("uid", uid, 0, LAST_ID), REQUIRED },
    { INT_IN("gid", gid, 0, LAST_ID), REQUIRED },
    { OPT_IN("umask", umask, 0, 0777) },
    { U32S("additionalGids", additional_gids, LAST_ID) },
    { STRING("username", username) },
};
static PLAIN_TABLE(user_table, user_rows);
#undef T

#define T struct spec_capabilities
static const struct spec_field capabilities_rows[] = {
    { STRINGS("bounding", bounding) },       { STRINGS("effective", effective) },
    { STRINGS("inheritable", inheritable) }, { STRINGS("permitted", permitted) },
    { STRINGS("ambient", ambient) },
};
static SET_TABLE(capabilities_table, capabilities_rows);
#undef T

#define T struct spec_rlimit
static const struct spec_field rlimit_rows[] = {
    { STRING("type", type), REQUIRED, NAMED(spec_rlimit_names) },
    { INT("soft", soft), REQUIRED },
    { INT("hard", hard), REQUIRED },
};
static PLAIN_TABLE(rlimit_table, rlimit_rows);
#undef T

#define T struct spec_scheduler
static const struct spec_field scheduler_rows[] = {
    { STRING("policy", policy), REQUIRED, NAMED(spec_scheduler_policies) },
    { INT_IN("nice", nice, -20, 19) },
    { INT_IN("priority", priority, 0, 99) },
    { STRINGS("flags", flags), NAMED(spec_scheduler_flags) },
    { INT("runtime", runtime) },
    { INT("deadline", deadline) },
    { INT("period", period) },
};
static SET_TABLE(scheduler_table, scheduler_rows);
#undef T

#define T struct spec_io_priority
static const struct spec_field io_priority_rows[] = {
    { STRING("class", class_), REQUIRED, NAMED(spec_io_classes) },
    { INT_IN("priority", priority, 0, 7) },
};
static SET_TABLE(io_priority_table, io_priority_rows);
#undef T

#define T struct spec_affinity
static const struct spec_field affinity_rows[] = {
    { STRING("initial", initial), CPU_LIST },
    { STRING("final", final), CPU_LIST },
};
static SET_TABLE(affinity_table, affinity_rows);
#undef T

#define T struct spec_process
static const struct spec_field process_rows[] = {
    { BOOL("terminal", terminal) },
    { OBJECT("consoleSize", console_size, box_table) },
    { OBJECT("user", user, user_table) },
    { STRINGS("args", args) },
    { STRING("commandLine", command_line) },
    { STRINGS("env", env), ENVIRONMENT },
    { STRING("cwd", cwd) },
    { OBJECT("capabilities", capabilities, capabilities_table) },
    { ARRAY("rlimits", rlimits, n_rlimits, rlimit_table) },
    { BOOL("noNewPrivileges", no_new_privileges) },
    { STRING("apparmorProfile", apparmor_profile) },
    { OPT_IN("oomScoreAdj", oom_score_adj, -1000, 1000) },
    { OBJECT("scheduler", scheduler, scheduler_table) },
    { STRING("selinuxLabel", selinux_label) },
    { OBJECT("ioPriority", io_priority, io_priority_table) },
    { OBJECT("execCPUAffinity", exec_cpu_affinity, affinity_table) },
};
static SET_TABLE(process_table, process_rows);
#undef T

/* ---- mounts, hooks ------------------------------------------------------------------------ */

#define T struct spec_id_map
static const struct spec_field id_map_rows[] = {
    { INT("containerID", container_id), REQUIRED },
    { INT("hostID", host_id), REQUIRED },
    { INT_IN("size", size, 1, UINT32_MAX), REQUIRED },
};
static PLAIN_TABLE(id_map_table, id_map_rows);
#undef T

#define T struct spec_mount
static const struct spec_field mount_rows[] = {
    { STRING("destination", destination), REQUIRED, FILLED },
    { STRING("type", type) },
    { STRING("source", source) },
    { STRINGS("options", options) }, /* buildah 1.28 sends empty ones: they say nothing */
    { ARRAY("uidMappings", uid_mappings.v, uid_mappings.n, id_map_table) },
    { ARRAY("gidMappings", gid_mappings.v, gid_mappings.n, id_map_table) },
};
static PLAIN_TABLE(mount_table, mount_rows);
#undef T

#define T struct spec_hook
static const struct spec_field hook_rows[] = {
    { STRING("path", path), REQUIRED, ABSOLUTE },
    { STRINGS("args", args) },
    { STRINGS("env", env), ENVIRONMENT },
    { OPT_IN("timeout", timeout, 1, INT64_MAX) },
};
static PLAIN_TABLE(hook_table, hook_rows);
#undef T

#define T struct spec_hooks
static const struct spec_field hooks_rows[] = {
    { ARRAY("prestart", prestart.v, prestart.n, hook_table) },
    { ARRAY("createRuntime", create_runtime.v, create_runtime.n, hook_table) },
    { ARRAY("createContainer", create_container.v, create_container.n, hook_table) },
    { ARRAY("startContainer", start_container.v, start_container.n, hook_table) },
    { ARRAY("poststart", poststart.v, poststart.n, hook_table) },
    { ARRAY("poststop", poststop.v, poststop.n, hook_table) },
};
static PLAIN_TABLE(hooks_table, hooks_rows);
#undef T

/* ---- linux.resources ---------------------------------------------------------------------- */

#define T struct spec_device_rule
static const struct spec_field device_rule_rows[] = {
    { BOOL("allow", allow), REQUIRED },
    { STRING("type", type) },
    { OPT_IN("major", major, -1, UINT32_MAX) },
    { OPT_IN("minor", minor, -1, UINT32_MAX) },
    { STRING("access", access) },
};
static PLAIN_TABLE(device_rule_table, device_rule_rows);
#undef T

#define T struct spec_memory
static const struct spec_field memory_rows[] = {
    { OPT_IN("limit", limit, -1, INT64_MAX) },
    { OPT_IN("reservation", reservation, -1, INT64_MAX) },
    { OPT_IN("swap", swap, -1, INT64_MAX) },
    { OPT_IN("kernel", kernel, -1, INT64_MAX) },
    { OPT_IN("kernelTCP", kernel_tcp, -1, INT64_MAX) },
    { OPT_IN("swappiness", swappiness, 0, 100) },
    { OPT_BOOL("disableOOMKiller", disable_oom_killer) },
    { OPT_BOOL("useHierarchy", use_hierarchy) },
    { OPT_BOOL("checkBeforeUpdate", check_before_update) },
};
static SET_TABLE(memory_table, memory_rows);
#undef T

#define T struct spec_cpu
static const struct spec_field cpu_rows[] = {
    { OPT("shares", shares) },
    { OPT("quota", quota) },
    { OPT("burst", burst) },
    { OPT("period", period) },
    { OPT("realtimeRuntime", realtime_runtime) },
    { OPT("realtimePeriod", realtime_period) },
    { STRING("cpus", cpus) }, /* the kernel's list format knows more than ranges: it judges them */
    { STRING("mems", mems) },
    { OPT_IN("idle", idle, 0, 1) },
};
static SET_TABLE(cpu_table, cpu_rows);
#undef T

#define T __typeof__(((struct spec_resources *)0)->pids)
static const struct spec_field pids_rows[] = { { OPT("limit", limit) } };
static SET_TABLE(pids_table, pids_rows);
#undef T

/* 0 stands for "not set" in what Docker has written; blkio takes 10 to 1000. */
#define T struct spec_weight_device
static const struct spec_field weight_device_rows[] = {
    { INT_IN("major", major, 0, UINT32_MAX), REQUIRED },
    { INT_IN("minor", minor, 0, UINT32_MAX), REQUIRED },
    { OPT_IN("weight", weight, 0, 1000) },
    { OPT_IN("leafWeight", leaf_weight, 0, 1000) },
};
static PLAIN_TABLE(weight_device_table, weight_device_rows);
#undef T

#define T struct spec_throttle
static const struct spec_field throttle_rows[] = {
    { INT_IN("major", major, 0, UINT32_MAX), REQUIRED },
    { INT_IN("minor", minor, 0, UINT32_MAX), REQUIRED },
    { INT("rate", rate), REQUIRED },
};
static PLAIN_TABLE(throttle_table, throttle_rows);
#undef T

#define T struct spec_block_io
static const struct spec_field block_io_rows[] = {
    { OPT_IN("weight", weight, 0, 1000) },
    { OPT_IN("leafWeight", leaf_weight, 0, 1000) },
    { ARRAY("weightDevice", weight_device, n_weight_device, weight_device_table) },
    { ARRAY("throttleReadBpsDevice", read_bps.v, read_bps.n, throttle_table) },
    { ARRAY("throttleWriteBpsDevice", write_bps.v, write_bps.n, throttle_table) },
    { ARRAY("throttleReadIOPSDevice", read_iops.v, read_iops.n, throttle_table) },
    { ARRAY("throttleWriteIOPSDevice", write_iops.v, write_iops.n, throttle_table) },
};
static SET_TABLE(block_io_table, block_io_rows);
#undef T

#define T struct spec_hugepage
static const struct spec_field hugepage_rows[] = {
    { STRING("pageSize", page_size), REQUIRED, PAGE_SIZED },
    { INT("limit", limit), REQUIRED },
};
static PLAIN_TABLE(hugepage_table, hugepage_rows);
#undef T

#define T struct spec_if_priority
static const struct spec_field if_priority_rows[] = {
    { STRING("name", name), REQUIRED, FILLED },
    { INT("priority", priority), REQUIRED },
};
static PLAIN_TABLE(if_priority_table, if_priority_rows);
#undef T

#define T __typeof__(((struct spec_resources *)0)->network)
static const struct spec_field network_rows[] = {
    { OPT("classID", class_id) },
    { ARRAY("priorities", priorities, n_priorities, if_priority_table) },
};
static SET_TABLE(network_table, network_rows);
#undef T

#define T struct spec_rdma
static const struct spec_field rdma_rows[] = {
    { OPT("hcaHandles", hca_handles) },
    { OPT("hcaObjects", hca_objects) },
};
static const struct spec_table rdma_table = { ROWS(rdma_rows), .set_offset = SPEC_NO_OFFSET,
                                              .key_offset = offsetof(T, device) };
#undef T

#define T struct spec_resources
static const struct spec_field resources_rows[] = {
    { ARRAY("devices", devices, n_devices, device_rule_table) },
    { OBJECT("memory", memory, memory_table) },
    { OBJECT("cpu", cpu, cpu_table) },
    { OBJECT("pids", pids, pids_table) },
    { OBJECT("blockIO", block_io, block_io_table) },
    { ARRAY("hugepageLimits", hugepage_limits, n_hugepage_limits, hugepage_table) },
    { OBJECT("network", network, network_table) },
    { MAP("rdma", rdma, n_rdma, rdma_table) },
    { PAIRS("unified", unified) },
};
SET_TABLE(spec_resources_table, resources_rows);
#undef T

/* ---- linux.seccomp ------------------------------------------------------------------------ */

#define T struct spec_seccomp_arg
static const struct spec_field seccomp_arg_rows[] = {
    { INT_IN("index", index, 0, 5), REQUIRED }, /* a system call has six arguments: seccomp_data */
    { INT("value", value), REQUIRED },
    { INT("valueTwo", value_two) },
    { STRING("op", op), REQUIRED, NAMED(spec_seccomp_operators) },
};
static PLAIN_TABLE(seccomp_arg_table, seccomp_arg_rows);
#undef T

#define T struct spec_syscall
static const struct spec_field syscall_rows[] = {
    { STRINGS("names", names), REQUIRED, FILLED },
    { STRING("action", action), REQUIRED, NAMED(spec_seccomp_actions) },
    { OPT("errnoRet", errno_ret) },
    { ARRAY("args", args, n_args, seccomp_arg_table) },
};
static PLAIN_TABLE(syscall_table, syscall_rows);
#undef T

#define T struct spec_seccomp
static const struct spec_field seccomp_rows[] = {
    { STRING("defaultAction", default_action), REQUIRED, NAMED(spec_seccomp_actions) },
    { OPT("defaultErrnoRet", default_errno_ret) },
    { STRINGS("architectures", architectures), NAMED(spec_seccomp_archs) },
    { STRINGS("flags", flags), NAMED(spec_seccomp_flags) },
    { STRING("listenerPath", listener_path), ABSOLUTE },
    { STRING("listenerMetadata", listener_metadata) },
    { ARRAY("syscalls", syscalls, n_syscalls, syscall_table) },
};
static SET_TABLE(seccomp_table, seccomp_rows);
#undef T

/* ---- linux -------------------------------------------------------------------------------- */

#define T struct spec_namespace
static const struct spec_field namespace_rows[] = {
    { CHOICE("type", type, spec_namespace_choices), REQUIRED },
    { STRING("path", path), ABSOLUTE },
};
static PLAIN_TABLE(namespace_table, namespace_rows);
#undef T

/* mknod(2): 12 bits of major and 20 of minor number (include/linux/kdev_t.h). */
#define T struct spec_device
static const struct spec_field device_rows[] = {
    { CHOICE("type", type, spec_device_choices), REQUIRED },
    { STRING("path", path), REQUIRED, ABSOLUTE },
    { INT_IN("major", major, 0, 0xFFF) },
    { INT_IN("minor", minor, 0, 0xFFFFF) },
    { OPT_IN("fileMode", file_mode, 0, ANY_BITS_MODE) },
    { OPT_IN("uid", uid, 0, LAST_ID) },
    { OPT_IN("gid", gid, 0, LAST_ID) },
};
#undef T

/* podman writes the file type into fileMode (8630 is 020666); mknod gets the type from "type". */
static void keep_permission_bits(void *base)
{
    struct spec_device *device = base;

    device->file_mode.v &= 07777;
}

#define T struct spec_device
static const struct spec_table device_table = { ROWS(device_rows), .set_offset = SPEC_NO_OFFSET,
                                                .finish = keep_permission_bits };
#undef T

#define T struct spec_net_device
static const struct spec_field net_device_rows[] = {
    { STRING("name", name), INTERFACE },
};
static const struct spec_table net_device_table = { ROWS(net_device_rows),
                                                    .set_offset = SPEC_NO_OFFSET,
                                                    .key_offset = offsetof(T, host_name) };
#undef T

#define T __typeof__(((struct spec_linux *)0)->intel_rdt)
static const struct spec_field intel_rdt_rows[] = {
    { STRING("closID", clos_id) },
    { STRINGS("schemata", schemata), ONE_LINE },
    { STRING("l3CacheSchema", l3_cache_schema), ONE_LINE },
    { STRING("memBwSchema", mem_bw_schema), ONE_LINE },
    { OPT_BOOL("enableMonitoring", enable_monitoring) },
};
static SET_TABLE(intel_rdt_table, intel_rdt_rows);
#undef T

#define T __typeof__(((struct spec_linux *)0)->memory_policy)
static const struct spec_field memory_policy_rows[] = {
    { STRING("mode", mode), REQUIRED, NAMED(spec_memory_modes) },
    { STRING("nodes", nodes), CPU_LIST },
    { STRINGS("flags", flags), NAMED(spec_memory_flags) },
};
static SET_TABLE(memory_policy_table, memory_policy_rows);
#undef T

#define T __typeof__(((struct spec_linux *)0)->personality)
static const struct spec_field personality_rows[] = {
    { STRING("domain", domain), REQUIRED, NAMED(spec_personality_domains) },
    { STRINGS("flags", flags) },
};
static SET_TABLE(personality_table, personality_rows);
#undef T

#define T struct spec_time_offset
static const struct spec_field time_offset_rows[] = {
    { INT("secs", secs) },
    { INT_IN("nanosecs", nanosecs, 0, 999999999) },
};
static SET_TABLE(time_offset_table, time_offset_rows);
#undef T

#define T __typeof__(((struct spec_linux *)0)->time_offsets)
static const struct spec_field time_offsets_rows[] = {
    { OBJECT("monotonic", monotonic, time_offset_table) },
    { OBJECT("boottime", boottime, time_offset_table) },
};
static SET_TABLE(time_offsets_table, time_offsets_rows);
#undef T

#define T struct spec_linux
static const struct spec_field linux_rows[] = {
    { ARRAY("uidMappings", uid_mappings.v, uid_mappings.n, id_map_table) },
    { ARRAY("gidMappings", gid_mappings.v, gid_mappings.n, id_map_table) },
    { PAIRS("sysctl", sysctl) },
    { OBJECT("resources", resources, spec_resources_table) },
    { STRING("cgroupsPath", cgroups_path) },
    { ARRAY("namespaces", namespaces, n_namespaces, namespace_table) },
    { ARRAY("devices", devices, n_devices, device_table) },
    { MAP("netDevices", net_devices, n_net_devices, net_device_table) },
    { OBJECT("seccomp", seccomp, seccomp_table) },
    { STRING("rootfsPropagation", rootfs_propagation), NAMED(spec_propagations) },
    { STRINGS("maskedPaths", masked_paths), ABSOLUTE },
    { STRINGS("readonlyPaths", readonly_paths), ABSOLUTE },
    { STRING("mountLabel", mount_label) },
    { OBJECT("intelRdt", intel_rdt, intel_rdt_table) },
    { OBJECT("memoryPolicy", memory_policy, memory_policy_table) },
    { OBJECT("personality", personality, personality_table) },
    { OBJECT("timeOffsets", time_offsets, time_offsets_table) },
};
static SET_TABLE(linux_table, linux_rows);
#undef T

/* ---- vm ----------------------------------------------------------------------------------- */

#define T __typeof__(((struct spec_vm *)0)->hypervisor)
static const struct spec_field hypervisor_rows[] = {
    { STRING("path", path), REQUIRED, ABSOLUTE },
    { STRINGS("parameters", parameters) },
};
static SET_TABLE(hypervisor_table, hypervisor_rows);
#undef T

#define T __typeof__(((struct spec_vm *)0)->kernel)
static const struct spec_field kernel_rows[] = {
    { STRING("path", path), REQUIRED, ABSOLUTE },
    { STRINGS("parameters", parameters) },
    { STRING("initrd", initrd), ABSOLUTE },
};
static SET_TABLE(kernel_table, kernel_rows);
#undef T

#define T __typeof__(((struct spec_vm *)0)->image)
static const struct spec_field image_rows[] = {
    { STRING("path", path), REQUIRED, ABSOLUTE },
    { STRING("format", format), REQUIRED, NAMED(spec_image_formats) },
};
static SET_TABLE(image_table, image_rows);
#undef T

#define T struct spec_iomem
static const struct spec_field iomem_rows[] = {
    { OPT("firstGFN", first_gfn) },
    { INT("firstMFN", first_mfn), REQUIRED },
    { INT("nrMFNs", nr_mfns), REQUIRED },
};
static PLAIN_TABLE(iomem_table, iomem_rows);
#undef T

#define T __typeof__(((struct spec_vm *)0)->hw_config)
static const struct spec_field hw_config_rows[] = {
    { STRING("deviceTree", device_tree), ABSOLUTE },
    { OPT("vcpus", vcpus) },
    { OPT("memory", memory) },
    { STRINGS("dtdevs", dtdevs) },
    { ARRAY("iomems", iomems, n_iomems, iomem_table) },
    { U32S("irqs", irqs, UINT32_MAX) },
};
static SET_TABLE(hw_config_table, hw_config_rows);
#undef T

#define T struct spec_vm
static const struct spec_field vm_rows[] = {
    { OBJECT("hypervisor", hypervisor, hypervisor_table) },
    { OBJECT("kernel", kernel, kernel_table) },
    { OBJECT("image", image, image_table) },
    { OBJECT("hwConfig", hw_config, hw_config_table) },
};
static SET_TABLE(vm_table, vm_rows);
#undef T

/* ---- the document ------------------------------------------------------------------------- */

#define T struct spec
static const struct spec_field document_rows[] = {
    { STRING("ociVersion", oci_version) },
    { OBJECT("root", root, root_table) },
    { OBJECT("process", process, process_table) },
    { STRING("hostname", hostname) },
    { STRING("domainname", domainname) },
    { ARRAY("mounts", mounts, n_mounts, mount_table) },
    { OBJECT("hooks", hooks, hooks_table) },
    { PAIRS("annotations", annotations) },
    { OBJECT("linux", linux, linux_table) },
    { OBJECT("vm", vm, vm_table) },
};
PLAIN_TABLE(spec_document_table, document_rows);
#undef T
