/* SPDX-License-Identifier: Apache-2.0 */
/*
 * What a machine takes of the host's memory: the guest's own, and what monitor and file server need besides. By
 * proportional set size (smaps, proc(5)): a page that two of them map counts once.
 */
#include <fcntl.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "container/machine.h"

enum { SMAPS_MAX = 16 << 20, KIB = 1024 };

static bool line_has(const char *line, const char *what)
{
    const char *at = strstr(line, what), *end = strchr(line, '\n');

    return at && (!end || at < end);
}

/*
 * "7f00-7f10 rw-p 00000000 00:00 0   name", then lines that begin with a capital letter, the last "VmFlags:".
 * The guest's memory is QEMU's backend by its name, and our monitor's by MADV_DONTDUMP ("dd").
 */
void machine_memory_of_smaps(const char *text, uint64_t *guest, uint64_t *rest)
{
    bool is_guest = false;
    uint64_t pss = 0;

    for (const char *line = text; line && *line;) {
        const char *next = strchr(line, '\n');

        if (str_starts(line, "Pss:"))
            pss = strtoull(line + 4, NULL, 10) * KIB;
        else if (str_starts(line, "VmFlags:"))
            *(is_guest || line_has(line, " dd") ? guest : rest) += pss;
        else if (*line < 'A' || *line > 'Z')
            is_guest = line_has(line, "/memfd:memory-backend-memfd");
        line = next ? next + 1 : NULL;
    }
}

/*
 * Debian's server by its name; ours is a process of teca's that maps nothing of the guest, and the monitor's child, as what stands
 * for a process of `exec` is not. proc_pid_stat(5): "PID (NAME) STATE PPID".
 */
static bool serves_files(const char *process, pid_t monitor, uint64_t guest)
{
    char text[128] = "", path[64], *end;
    AUTO_FD int fd = -1;

    base_format(path, sizeof path, "/proc/%s/stat", process);
    fd = openat(AT_FDCWD, path, O_RDONLY | O_CLOEXEC);
    if (fd < 0 || read(fd, text, sizeof text - 1) <= 0 || !(end = strrchr(text, ')')))
        return false;
    if (strstr(text, "(virtiofsd"))
        return true;
    return guest == 0 && strstr(text, "(teca") && str_starts(end, ") ") && end[2] &&
           strtol(end + 3, NULL, 10) == monitor;
}

/* One that has gone meanwhile counts nothing. */
static void add_process(pid_t pid, pid_t monitor, struct arena *a, struct machine_memory *out)
{
    const char *process = arena_format(a, "%d", pid);
    uint64_t guest = 0, rest = 0;
    char *text;
    size_t len;

    if (file_read(a, AT_FDCWD, arena_format(a, "/proc/%s/smaps", process), SMAPS_MAX, &text, &len,
                  NULL) < 0)
        return;
    machine_memory_of_smaps(text, &guest, &rest);
    out->guest += guest;
    *(serves_files(process, monitor, guest) ? &out->share : &out->monitor) += rest;
}

int machine_memory_read(const struct state_record *rec, pid_t monitor, struct arena *a,
                        struct machine_memory *out, struct err *e)
{
    size_t n_paths, n = 0;
    const char *const *paths = container_cgroups(rec, a, &n_paths);
    pid_t *pids;
    int r = n_paths > 0 ? cgroup_pids(paths[0], a, &pids, &n, e) : 0;

    *out = (struct machine_memory){ 0 };
    for (size_t i = 0; r == 0 && i < n; i++)
        add_process(pids[i], monitor, a, out);
    return r;
}
