/* SPDX-License-Identifier: Apache-2.0 */
#ifndef TECA_SPEC_H
#define TECA_SPEC_H
/*
 * spec: config.json becomes one typed struct. Order of calls: spec_parse (syntax and types), then
 * spec_check (rules between fields, what the kernel or the spec forbids), then read it.
 * spec_default writes what `teca spec` prints. Data only: no system call is made here.
 *
 * The struct holds the whole runtime-spec 1.3 Linux configuration and teca's own "vm" object, also
 * what no plan executes yet (spec_unsupported lists that), so that it does not change shape.
 * Everything is in the caller's arena. Absent: NULL, count 0, opt.set false. Names follow the JSON
 * keys. An empty string for an optional string is the same as none (Go's engines write both). No
 * string in here holds a NUL byte.
 */
#include "base/base.h"

/* gnu17 predefines `linux` as 1; the OCI key of that name is a field here. */
#undef linux

struct opt_bool {
    bool set, v;
};
struct opt_i64 {
    bool set;
    int64_t v;
};
struct opt_u64 {
    bool set;
    uint64_t v;
};
struct opt_u32 {
    bool set;
    uint32_t v;
};
struct opt_u16 {
    bool set;
    uint16_t v;
};

struct strs { /* array of strings; v is also NULL-terminated */
    const char *const *v;
    size_t n;
    bool set; /* the key was present, also when empty */
};
struct spec_pair {
    const char *key, *value;
};
struct spec_pairs {
    struct spec_pair *v;
    size_t n;
}; /* string map in document order */

struct spec_u32s {
    uint32_t *v;
    size_t n;
};
struct spec_box {
    bool set;
    uint64_t height, width;
}; /* characters */

struct spec_user {
    uint32_t uid, gid;
    struct opt_u32 umask;
    struct spec_u32s additional_gids;
    const char *username;
};

struct spec_capabilities {
    bool set; /* "capabilities" is present */
    struct strs bounding, effective, inheritable, permitted, ambient; /* CAP_ names as written */
};

struct spec_rlimit {
    const char *type;
    uint64_t soft, hard;
};

struct spec_scheduler {
    bool set;
    const char *policy;
    int32_t nice, priority;
    struct strs flags;
    uint64_t runtime, deadline, period; /* ns */
};
struct spec_io_priority {
    bool set;
    const char *class_;
    int32_t priority;
};
struct spec_affinity {
    bool set;
    const char *initial, *final;
};

struct spec_process {
    bool set;
    bool terminal;
    struct spec_box console_size;
    struct spec_user user;
    struct strs args;
    const char *command_line;
    struct strs env;
    const char *cwd;
    struct spec_capabilities capabilities;
    struct spec_rlimit *rlimits;
    size_t n_rlimits;
    bool no_new_privileges;
    const char *apparmor_profile;
    struct opt_i64 oom_score_adj;
    struct spec_scheduler scheduler;
    const char *selinux_label;
    struct spec_io_priority io_priority;
    struct spec_affinity exec_cpu_affinity;
};

struct spec_id_map {
    uint32_t container_id, host_id, size;
};
struct spec_id_maps {
    struct spec_id_map *v;
    size_t n;
};

struct spec_mount {
    const char *destination, *type, *source;
    struct strs options;
    struct spec_id_maps uid_mappings, gid_mappings;
};

struct spec_hook {
    const char *path;
    struct strs args, env;
    struct opt_i64 timeout; /* seconds */
};
struct spec_hook_list {
    struct spec_hook *v;
    size_t n;
};
struct spec_hooks {
    struct spec_hook_list prestart, create_runtime, create_container, start_container, poststart,
        poststop;
};

enum spec_ns {
    SPEC_NS_PID,
    SPEC_NS_NETWORK,
    SPEC_NS_MOUNT,
    SPEC_NS_IPC,
    SPEC_NS_UTS,
    SPEC_NS_USER,
    SPEC_NS_CGROUP,
    SPEC_NS_TIME,
    SPEC_NS_COUNT
};
struct spec_namespace {
    enum spec_ns type;
    const char *path;
};

enum spec_device_type {
    SPEC_DEVICE_ALL = 'a',
    SPEC_DEVICE_CHAR = 'c',
    SPEC_DEVICE_BLOCK = 'b',
    SPEC_DEVICE_FIFO = 'p',
    SPEC_DEVICE_UNBUFFERED = 'u'
};
struct spec_device {
    enum spec_device_type type;
    const char *path;
    int64_t major, minor;
    struct opt_u32 file_mode; /* permission, set-id and sticky bits only: & 07777 */
    struct opt_u32 uid, gid;
};
struct spec_net_device {
    const char *host_name, *name;
}; /* name: NULL keeps the host's */

struct spec_device_rule {
    bool allow;
    const char *type; /* NULL: "a" */
    struct opt_i64 major, minor;
    const char *access;
};
struct spec_memory {
    bool set;
    struct opt_i64 limit, reservation, swap, kernel, kernel_tcp; /* bytes, -1 unlimited */
    struct opt_u64 swappiness;
    struct opt_bool disable_oom_killer, use_hierarchy, check_before_update;
};
struct spec_cpu {
    bool set;
    struct opt_u64 shares, burst, period, realtime_period;
    struct opt_i64 quota, realtime_runtime, idle;
    const char *cpus, *mems;
};
struct spec_weight_device {
    int64_t major, minor;
    struct opt_u16 weight, leaf_weight;
};
struct spec_throttle {
    int64_t major, minor;
    uint64_t rate;
};
struct spec_throttles {
    struct spec_throttle *v;
    size_t n;
};
struct spec_block_io {
    bool set;
    struct opt_u16 weight, leaf_weight;
    struct spec_weight_device *weight_device;
    size_t n_weight_device;
    struct spec_throttles read_bps, write_bps, read_iops, write_iops;
};
struct spec_hugepage {
    const char *page_size;
    uint64_t limit;
};
struct spec_if_priority {
    const char *name;
    uint32_t priority;
};
struct spec_rdma {
    const char *device;
    struct opt_u32 hca_handles, hca_objects;
};
struct spec_resources {
    bool set;
    struct spec_device_rule *devices;
    size_t n_devices;
    struct spec_memory memory;
    struct spec_cpu cpu;
    struct {
        bool set;
        struct opt_i64 limit;
    } pids;
    struct spec_block_io block_io;
    struct spec_hugepage *hugepage_limits;
    size_t n_hugepage_limits;
    struct {
        bool set;
        struct opt_u32 class_id;
        struct spec_if_priority *priorities;
        size_t n_priorities;
    } network;
    struct spec_rdma *rdma;
    size_t n_rdma;
    struct spec_pairs unified;
};

struct spec_seccomp_arg {
    uint32_t index;
    uint64_t value, value_two;
    const char *op;
};
struct spec_syscall {
    struct strs names;
    const char *action;
    struct opt_u32 errno_ret;
    struct spec_seccomp_arg *args;
    size_t n_args;
};
struct spec_seccomp {
    bool set;
    const char *default_action;
    struct opt_u32 default_errno_ret;
    struct strs architectures, flags;
    const char *listener_path, *listener_metadata;
    struct spec_syscall *syscalls;
    size_t n_syscalls;
};

struct spec_time_offset {
    bool set;
    int64_t secs;
    uint32_t nanosecs;
};

struct spec_linux {
    bool set;
    struct spec_id_maps uid_mappings, gid_mappings;
    struct spec_pairs sysctl;
    struct spec_resources resources;
    const char *cgroups_path;
    struct spec_namespace *namespaces;
    size_t n_namespaces;
    struct spec_device *devices;
    size_t n_devices;
    struct spec_net_device *net_devices;
    size_t n_net_devices;
    struct spec_seccomp seccomp;
    const char *rootfs_propagation;
    struct strs masked_paths, readonly_paths;
    const char *mount_label;
    struct {
        bool set;
        const char *clos_id;
        struct strs schemata;
        const char *l3_cache_schema, *mem_bw_schema;
        struct opt_bool enable_monitoring;
    } intel_rdt;
    struct {
        bool set;
        const char *mode, *nodes;
        struct strs flags;
    } memory_policy;
    struct {
        bool set;
        const char *domain;
        struct strs flags;
    } personality;
    struct {
        bool set; /* "timeOffsets" is present */
        struct spec_time_offset monotonic, boottime;
    } time_offsets;
};

/* runtime-spec config-vm.md; what teca's own virtual machines take besides comes with them. */
struct spec_iomem {
    struct opt_u64 first_gfn;
    uint64_t first_mfn, nr_mfns;
};
struct spec_vm {
    bool set;
    struct {
        bool set;
        const char *path;
        struct strs parameters;
    } hypervisor;
    struct {
        bool set;
        const char *path;
        struct strs parameters;
        const char *initrd;
    } kernel;
    struct {
        bool set;
        const char *path, *format;
    } image;
    struct {
        bool set;
        const char *device_tree;
        struct opt_u32 vcpus;
        struct opt_u64 memory; /* bytes */
        struct strs dtdevs;
        struct spec_iomem *iomems;
        size_t n_iomems;
        struct spec_u32s irqs;
    } hw_config;
};

struct spec {
    const char *oci_version;
    struct {
        bool set;
        const char *path;
        bool readonly;
    } root;
    struct spec_process process;
    const char *hostname, *domainname;
    struct spec_mount *mounts;
    size_t n_mounts;
    struct spec_hooks hooks;
    struct spec_pairs annotations;
    struct spec_linux linux;
    struct spec_vm vm;
    const struct json *document; /* the tree it came from, for pointers and lines */
};

/*
 * One fault or remark. The list is in document order, as far as lines tell, after each of the
 * functions below.
 */
struct spec_fault {
    const char *pointer, *text; /* text: one sentence without the pointer */
    unsigned line;              /* 0 unknown */
    bool warning;
    struct spec_fault *next;
};
struct spec_faults {
    struct spec_fault *first, **tail;
    size_t errors, warnings;
};
void spec_faults_init(struct spec_faults *f);
void spec_fault_add(struct spec_faults *f, struct arena *a, const char *pointer, unsigned line,
                    bool warning, const char *text);
/* Is there an error at this place or above it; or below it? */
bool spec_faults_at(const struct spec_faults *f, const char *pointer);
bool spec_faults_about(const struct spec_faults *f, const char *pointer);
/* `more` moves behind what f has; by line then. */
void spec_faults_join(struct spec_faults *f, struct spec_faults *more);
/* With more errors than this it is no configuration, and only the values are told of. */
enum { SPEC_FOLLOWED_UP_ERRORS = 1000 };

/*
 * Parses config.json's text. Every fault of a single value (type, range, name, form) is collected
 * in `faults` (may be NULL); returns -EINVAL with the first one in e when there was any; then the
 * faults of spec_check and spec_unsupported are in the list too, as far as the values stood, and
 * out is what could be read, for more of the kind: NULL, 0 and "" stand for what could not, out is
 * untouched for a text that is no JSON object or without `faults`. Unknown properties are
 * ignored (runtime-spec config.md "Extensibility"), remarked as a warning in faults. Numbers are
 * 64 bit exact. A text that is no JSON is one fault, whose sentence has the line and `line` is 0.
 */
int spec_parse(struct arena *a, const char *data, size_t len, struct spec **out,
               struct spec_faults *faults, struct err *e);
/* The text of a single "process" object, which `exec --process` names: values only, no rules. */
int spec_parse_process(struct arena *a, const char *data, size_t len, struct spec_process *out,
                       struct err *e);
/* The text of a single "resources" object, which `update` is given, with its rules. */
int spec_parse_resources(struct arena *a, const char *data, size_t len, struct spec_resources *out,
                         struct err *e);
/*
 * Rules beyond single values: ociVersion, required parts of the document, namespaces that others
 * need, duplicates, id maps, rlimits, seccomp, scheduler; what can be decided without asking the
 * host. All collected; a capability that cannot be granted is a warning (PRC-11: config.md
 * "capabilities"). Same return as spec_parse.
 */
int spec_check(const struct spec *s, struct arena *a, struct spec_faults *faults, struct err *e);
/*
 * What is valid and no plan of this teca version executes, one fault each ("not supported yet"), by
 * pointer. run and create refuse when errors > 0.
 */
void spec_unsupported(const struct spec *s, struct arena *a, struct spec_faults *faults);
/*
 * The text of `teca spec`, tab-indented, a newline at the end. rootless: a user namespace that maps
 * 0 to uid and gid, the host's network and /sys, no resources. Heap, caller frees.
 */
struct spec_default_options {
    bool rootless;
    uint32_t uid, gid;     /* effective ones of the caller; used when rootless */
    bool cgroup_namespace; /* list one, as is usual on cgroup v2 */
};
char *spec_default(const struct spec_default_options *options);

/* What the schema knows of seccomp; each list ends with NULL. */
extern const char *const spec_seccomp_archs[], *const spec_seccomp_flags[];

/*
 * No other annotation is looked at; `features` lists these as potentially unsafe, docs/teca.8 says what
 * they do.
 */
enum spec_annotation {
    SPEC_ANNOTATION_LANDLOCK,
    SPEC_ANNOTATION_KEEP_GROUPS,
    SPEC_ANNOTATION_HOOKS_STDOUT,
    SPEC_ANNOTATION_HOOKS_STDERR,
    SPEC_ANNOTATION_SECCOMP_STRICT,
    SPEC_ANNOTATION_SYSTEMD_PROPERTY, /* what such keys begin with */
    SPEC_ANNOTATION_CRIU_CONFIG,
    SPEC_ANNOTATION_SYSTEMD_SUBGROUP,
    SPEC_ANNOTATION_MOUNT_CONTEXT,
    SPEC_ANNOTATION_ISOLATION,
    SPEC_ANNOTATION_ISOLATION_FALLBACK,
    SPEC_ANNOTATION_CRI_TYPE,
    SPEC_ANNOTATION_CRIO_TYPE,
    SPEC_ANNOTATION_NETWORK,
    SPEC_ANNOTATION_ROOTFS,
    SPEC_ANNOTATION_COUNT
};

bool spec_has_namespace(const struct spec *s, enum spec_ns type); /* new or joined */
/* What /proc/PID/uid_map is written with, user_namespaces(7). */
const char *spec_id_map_text(struct arena *a, const struct spec_id_maps *maps);
const struct spec_namespace *spec_namespace_of(const struct spec *s, enum spec_ns type);
const char *spec_ns_name(enum spec_ns type); /* "network": the OCI name */
uint64_t spec_ns_flag(enum spec_ns type);    /* CLONE_NEWNET */
/* capabilities(7) number of "CAP_KILL", -1 unknown. */
int spec_capability_number(const char *name);
const char *spec_capability_name(int number);
/* RLIMIT_ number of "RLIMIT_NOFILE", -1 unknown. */
int spec_rlimit_number(const char *name);
const char *spec_rlimit_name(int number); /* NULL: there is none */
/* Value of an annotation that changes what a start does, NULL: it is not there. */
const char *spec_annotation(const struct spec *s, enum spec_annotation key);
const char *spec_annotation_name(enum spec_annotation key);
/* The annotation of crun that Podman's --group-add keep-groups sets: the caller's groups stay. */
bool spec_keeps_groups(const struct spec *s);
/* crun's too: a system call that libseccomp does not know is an error instead of being left out. */
bool spec_knows_every_syscall(const struct spec *s);
/* Line of a pointer like "/mounts/3", or of the nearest value around it; 0 without a document. */
unsigned spec_line_of(const struct spec *s, const char *pointer);

#endif
