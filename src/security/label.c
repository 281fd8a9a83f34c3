/* SPDX-License-Identifier: Apache-2.0 */
/*
 * process.apparmorProfile, process.selinuxLabel: what the kernel gives the process at its next
 * exec. Written while /proc is the host's: before the pivot, by exec before it joins anything. Who
 * shares the mount namespace of another container would get its /proc, which may be anything
 * (CVE-2025-52881): hence proc_write().
 */
#include <errno.h>
#include <fcntl.h>
#include <string.h>
#include <unistd.h>

#include "security/internal.h"

enum { FLAG_FILE_SIZE = 4096 };

/* ---- gather -------------------------------------------------------------------------------- */

/* A short file, NUL-terminated; what is absent is empty. */
static void read_short(const char *path, char text[FLAG_FILE_SIZE])
{
    AUTO_FD int fd = openat(AT_FDCWD, path, O_RDONLY | O_CLOEXEC);
    ssize_t n = fd < 0 ? 0 : read(fd, text, FLAG_FILE_SIZE - 1);

    text[n > 0 ? n : 0] = '\0';
}

/* SELinux registers its file system only when it was not switched off at boot. */
void sec_gather_labels(const struct spec *s, struct sec_facts *f)
{
    char text[FLAG_FILE_SIZE];

    if (s->process.apparmor_profile) {
        read_short("/sys/module/apparmor/parameters/enabled", text);
        f->apparmor = text[0] == 'Y';
    }
    if (s->process.selinux_label || s->linux.mount_label) {
        read_short("/proc/filesystems", text);
        f->selinux = strstr(text, "\tselinuxfs\n") != NULL;
    }
}

/* ---- compile ------------------------------------------------------------------------------- */

static void add_label(struct plan *p, enum plan_lane lane, const char *pointer, const char *file,
                      const char *label)
{
    struct step *st = plan_add(p, OP_EXEC_LABEL, lane, pointer);

    st->exec_label.file = file;
    st->exec_label.label = label;
}

int sec_compile_labels(struct plan *p, const struct spec *s, const struct sec_facts *f,
                       enum plan_lane lane, struct err *e)
{
    const struct spec_process *pr = &s->process;

    if (s->linux.mount_label && !f->selinux)
        return err_at(e, "/linux/mountLabel", 0,
                      "SELinux is not enabled on this host: no mount can have the label '%s'",
                      s->linux.mount_label);
    if (pr->selinux_label && !f->selinux)
        return err_at(e, "/process/selinuxLabel", 0,
                      "SELinux is not enabled on this host: the process cannot have the label '%s'",
                      pr->selinux_label);
    if (pr->apparmor_profile && !f->apparmor)
        return err_at(
            e, "/process/apparmorProfile", 0,
            "AppArmor is not enabled on this host: the process cannot have the profile '%s'",
            pr->apparmor_profile);
    if (pr->selinux_label) {
        add_label(p, lane, "/process/selinuxLabel", "exec", pr->selinux_label);
        add_label(p, lane, "/process/selinuxLabel", "keycreate", pr->selinux_label);
    }
    /* A directory of its own since Linux 5.8: attr/exec may belong to another security module. */
    if (pr->apparmor_profile)
        add_label(p, lane, "/process/apparmorProfile", "apparmor/exec",
                  arena_format(p->arena, "exec %s", pr->apparmor_profile));
    return 0;
}

/* ---- execute ------------------------------------------------------------------------------- */

int step_exec_label(const struct step *st, struct slots *slots, struct err *e)
{
    const struct op_exec_label *op = &st->exec_label;
    char path[64];
    int error;

    (void)slots;
    base_format(path, sizeof path, "thread-self/attr/%s", op->file);
    error = -proc_write(path, op->label, strlen(op->label));
    if (error == 0)
        return 0;
    err_set(e, error, "cannot write '%s' to /proc/thread-self/attr/%s", op->label, op->file);
    if (error == EXDEV)
        err_hint(e, "/proc is no proc file system");
    else if (error == ENOENT && str_eq(op->file, "apparmor/exec"))
        err_hint(e, "the profile is not loaded: apparmor_parser(8)");
    else if (error == EINVAL && str_eq(op->file, "exec"))
        err_hint(e, "the loaded policy does not know the label");
    return -error;
}
