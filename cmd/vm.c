/* SPDX-License-Identifier: Apache-2.0 */
/* teca vm doctor: looks, runs a guest of a page, tells what is missing for machines. */
#include "boot/boot.h"
#include "cmd.h"
#include "vmm/vmm.h"

#include <errno.h>
#include <fcntl.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

enum { PATH_SIZE = 512, CPUINFO_MAX = 4 << 20 };

struct doctor {
    struct vmm_probe probe;
    const char *kind; /* of KVM, by its module */
    bool virtual;     /* this host is a machine of another monitor itself */
    char kernel[PATH_SIZE], modules[PATH_SIZE], qemu[PATH_SIZE]; /* "": none */
};

/* ---- looking ------------------------------------------------------------------------------------ */

static const char *kvm_kind(void)
{
    static const struct {
        const char *module, *kind;
    } kinds[] = {
        { "/sys/module/kvm_intel", "vmx" },
        { "/sys/module/kvm_amd", "svm" },
        { "/sys/module/kvm_pvm", "pvm" },
    };

    for (size_t i = 0; i < COUNT_OF(kinds); i++) {
        if (access(kinds[i].module, F_OK) == 0)
            return kinds[i].kind;
    }
    return "unknown";
}

static bool is_virtual(struct arena *a)
{
    char *text;
    size_t len;

    return file_read(a, AT_FDCWD, "/proc/cpuinfo", CPUINFO_MAX, &text, &len, NULL) == 0 &&
           strstr(text, " hypervisor");
}

static void find_kernel(struct doctor *d, struct arena *a)
{
    const char *kernel = boot_find_kernel("/boot", "/lib/modules", a);

    if (!kernel)
        return;
    base_format(d->kernel, sizeof(d->kernel), "%s", kernel);
    base_format(d->modules, sizeof(d->modules), "/lib/modules/%s",
                kernel + sizeof("/boot/vmlinuz-") - 1);
    if (access(d->modules, R_OK | X_OK) < 0)
        d->modules[0] = '\0';
}

static void find_qemu(struct doctor *d)
{
    const char *path = getenv("PATH");
    size_t len;

    for (const char *at = path ? path : "/usr/bin:/bin"; *at; at += len + (at[len] == ':')) {
        len = strcspn(at, ":");
        base_format(d->qemu, sizeof(d->qemu), "%.*s/qemu-system-x86_64", (int)len, at);
        if (access(d->qemu, X_OK) == 0)
            return;
    }
    d->qemu[0] = '\0';
}

static void look(struct doctor *d, struct arena *a)
{
    vmm_probe(&d->probe);
    d->kind = kvm_kind();
    d->virtual = is_virtual(a);
    find_kernel(d, a);
    find_qemu(d);
}

/* ---- telling ------------------------------------------------------------------------------------ */

/* What to do about KVM, or NULL. */
static const char *kvm_advice(const struct doctor *d)
{
    if (d->probe.error == ENOENT)
        return d->virtual ? "let the machine around this one pass virtualization on (nested)"
                          : "switch virtualization on in the firmware; load kvm_intel or kvm_amd";
    if (d->probe.error == EACCES || d->probe.error == EPERM)
        return "become root, or a member of the group that /dev/kvm belongs to (kvm)";
    if (!d->probe.runs_kernels && str_eq(d->kind, "pvm"))
        return "this kind of KVM emulates a kernel's instructions; boot kernels on a host with vmx "
               "or svm";
    return NULL;
}

static const char *verdict(const struct doctor *d)
{
    if (d->probe.runs_kernels)
        return "stock kernels";
    return d->probe.runs_payloads ? "payload tests only" : "nothing";
}

static void add_line(struct strbuf *out, const char *name, const char *value, const char *advice)
{
    strbuf_format(out, "%-12s %s\n", name, value);
    if (advice)
        strbuf_format(out, "%-12s -> %s\n", "", advice);
}

static void write_text(const struct doctor *d, struct strbuf *out)
{
    const struct vmm_probe *p = &d->probe;

    if (p->error)
        add_line(out, "kvm", p->reason, kvm_advice(d));
    else
        strbuf_format(out, "%-12s version %d, kind %s%s\n", "kvm", p->api, d->kind,
                      d->virtual ? ", on a virtual machine" : "");
    for (size_t i = 0; i < VMM_PROBE_CAPS && !p->error; i++)
        strbuf_format(out, "%-12s %s %u\n", "", p->caps[i].name, p->caps[i].value);
    add_line(out, "runs", verdict(d), NULL);
    if (!p->error && !p->runs_kernels)
        add_line(out, "", p->reason, kvm_advice(d));
    add_line(out, "kernel", d->kernel[0] ? d->kernel : "none in /boot",
             d->kernel[0] ? NULL : "apt install linux-image-cloud-amd64");
    add_line(out, "modules", d->modules[0] ? d->modules : "none of that kernel",
             d->modules[0] || !d->kernel[0] ? NULL : "reinstall the package of that kernel");
    add_line(out, "qemu", d->qemu[0] ? d->qemu : "no qemu-system-x86_64 in PATH",
             d->qemu[0] ? NULL : "apt install qemu-system-x86");
}

static const char *or_null(const char *text)
{
    return text[0] ? text : NULL;
}

static void write_json(const struct doctor *d, struct json_out *j)
{
    const struct vmm_probe *p = &d->probe;

    json_open_object(j, NULL);
    json_open_object(j, "kvm");
    json_add_bool(j, "usable", p->error == 0);
    json_add_string(j, "kind", p->error ? NULL : d->kind);
    json_add_bool(j, "onVirtualMachine", d->virtual);
    json_add_u64(j, "version", p->error ? 0 : (uint64_t)p->api);
    json_open_object(j, "capabilities");
    for (size_t i = 0; i < VMM_PROBE_CAPS && !p->error; i++)
        json_add_u64(j, p->caps[i].name, p->caps[i].value);
    json_close_object(j);
    json_close_object(j);
    json_add_bool(j, "runsPayloads", p->runs_payloads);
    json_add_bool(j, "runsKernels", p->runs_kernels);
    json_add_string(j, "reason", or_null(p->reason));
    json_add_string(j, "advice", kvm_advice(d));
    json_add_string(j, "kernel", or_null(d->kernel));
    json_add_string(j, "modules", or_null(d->modules));
    json_add_string(j, "qemu", or_null(d->qemu));
    json_close_object(j);
}

static int print_report(const struct cmd *c, const struct doctor *d, struct err *e)
{
    AUTO_STRBUF struct strbuf out = { 0 };
    struct json_out *j;
    int r;

    if (!str_eq(c->o.format, "json")) {
        write_text(d, &out);
        return cmd_print(out.ptr, out.len, e);
    }
    j = json_out_new(true);
    write_json(d, j);
    r = cmd_print_json(j, e);
    json_out_free(j);
    return r;
}

int cmd_vm(const struct cmd *c, int *status, struct err *e)
{
    struct doctor d = { .kernel = "" };

    if (str_eq(c->args[0], "prepare"))
        return cmd_vm_prepare(c, e);
    if (str_eq(c->args[0], "boot"))
        return cmd_vm_boot(c, status, e);
    if (!str_eq(c->args[0], "doctor"))
        return err_set(e, 0, "unknown word \"%s\" after vm (doctor, prepare, boot)", c->args[0]);
    look(&d, c->arena);
    return print_report(c, &d, e);
}
