/* SPDX-License-Identifier: Apache-2.0 */
/* What can be done with a machine that vmm_build made: load, start, run, stop, look. */
#include "vmm/arch/arch.h"
#include "vmm/internal.h"

#include <errno.h>
#include <signal.h>
#include <string.h>

int vmm_read(struct vmm *m, uint64_t gpa, void *data, size_t len)
{
    return vmm_memory_read(&m->memory, gpa, data, len);
}

int vmm_write(struct vmm *m, uint64_t gpa, const void *data, size_t len)
{
    return vmm_memory_write(&m->memory, gpa, data, len);
}

int vmm_start_real(struct vmm *m, uint32_t base, struct err *e)
{
    return arch_start_real(m->vcpus[0].fd, base, e);
}

int vmm_start_long(struct vmm *m, uint64_t entry, uint64_t rsi, struct err *e)
{
    return arch_start_long(m->vcpus[0].fd, &m->memory, entry, rsi, e);
}

int vmm_run(struct vmm *m, struct vmm_outcome *out, struct err *e)
{
    return dispatch_run(&m->dispatch, out, e);
}

void vmm_stop(struct vmm *m)
{
    dispatch_end(&m->dispatch, VMM_END_STOPPED, 0, "stopped");
}

const char *vmm_end_name(enum vmm_end end)
{
    static const char *const names[] = {
        [VMM_END_NONE] = "none",       [VMM_END_POWER_OFF] = "power-off",
        [VMM_END_RESET] = "reset",     [VMM_END_TRIPLE_FAULT] = "triple-fault",
        [VMM_END_PANIC] = "panic",     [VMM_END_HALT] = "halt",
        [VMM_END_STOPPED] = "stopped", [VMM_END_FAULT] = "fault",
    };

    return (size_t)end < COUNT_OF(names) ? names[end] : "unknown";
}

static unsigned rows_of(struct vmm *m, struct stats_row rows[STATS_ROWS])
{
    const struct vmm_stats *of[VMM_CPUS_MAX];

    for (unsigned i = 0; i < m->config.cpus; i++)
        of[i] = &m->vcpus[i].stats;
    return stats_rows(of, m->config.cpus, rows);
}

void vmm_stats_describe(struct vmm *m, struct strbuf *out)
{
    struct stats_row rows[STATS_ROWS];
    unsigned n = rows_of(m, rows);

    for (unsigned i = 0; i < n; i++)
        strbuf_format(out, "%s %llu\n", rows[i].name, (unsigned long long)rows[i].count);
}

void vmm_stats_json(struct vmm *m, struct json_out *j, const char *key)
{
    struct stats_row rows[STATS_ROWS];
    unsigned n = rows_of(m, rows);

    json_open_object(j, key);
    for (unsigned i = 0; i < n; i++)
        json_add_u64(j, rows[i].name, rows[i].count);
    json_close_object(j);
}

uint64_t vmm_stats_count(struct vmm *m, const char *name)
{
    struct stats_row rows[STATS_ROWS];
    unsigned n = rows_of(m, rows);

    for (unsigned i = 0; i < n; i++) {
        if (str_eq(rows[i].name, name))
            return rows[i].count;
    }
    return 0;
}

void vmm_kvm_stats_describe(struct vmm *m, struct strbuf *out)
{
    struct kvm_counters counters = { .n = 0 };

    for (unsigned i = 0; i < m->config.cpus; i++)
        kvm_counters_add(m->vcpus[i].fd, &counters);
    for (unsigned i = 0; i < counters.n; i++)
        strbuf_format(out, "kvm-%s %llu\n", counters.v[i].name,
                      (unsigned long long)counters.v[i].count);
}

void vmm_serial_text(struct vmm *m, struct strbuf *out)
{
    pthread_mutex_lock(&m->dispatch.devices);
    serial_text(&m->serial, out);
    pthread_mutex_unlock(&m->dispatch.devices);
}

uint64_t vmm_serial_take(struct vmm *m, struct strbuf *out)
{
    uint64_t lost;

    pthread_mutex_lock(&m->dispatch.devices);
    lost = serial_take(&m->serial, out);
    pthread_mutex_unlock(&m->dispatch.devices);
    return lost;
}

bool vmm_serial_panic(struct vmm *m, struct strbuf *out)
{
    static const char words[] = "Kernel panic - not syncing";
    AUTO_STRBUF struct strbuf text = { 0 };
    const char *at;

    vmm_serial_text(m, &text);
    at = text.ptr ? memmem(text.ptr, text.len, words, sizeof(words) - 1) : NULL;
    if (at)
        strbuf_add(out, at, strcspn(at, "\r\n"));
    return at;
}

uint64_t vmm_first_run_ns(struct vmm *m)
{
    return atomic_load(&m->dispatch.first_run_ns);
}

uint64_t vmm_first_run_cpu_ns(struct vmm *m)
{
    return atomic_load(&m->dispatch.first_run_cpu_ns);
}

uint64_t vmm_balloon_returned(struct vmm *m)
{
    uint64_t bytes;

    pthread_mutex_lock(&m->dispatch.devices);
    bytes = m->balloon.returned;
    pthread_mutex_unlock(&m->dispatch.devices);
    return bytes;
}

ssize_t vmm_port_input(struct vmm *m, unsigned port, const void *data, size_t len)
{
    size_t taken;

    if (port >= m->config.n_ports)
        return -ENODEV;
    pthread_mutex_lock(&m->dispatch.devices);
    taken = console_input(&m->console, port, data, len);
    pthread_mutex_unlock(&m->dispatch.devices);
    return (ssize_t)taken;
}

bool vmm_share_done(struct vmm *m, const struct vmm_share_reply *r)
{
    bool ok = false;

    if (!m->config.share)
        return false;
    pthread_mutex_lock(&m->dispatch.devices);
    ok = fs_done(&m->fs, r);
    pthread_mutex_unlock(&m->dispatch.devices);
    return ok;
}

void vmm_port_resume(struct vmm *m, unsigned port)
{
    if (port >= m->config.n_ports)
        return;
    pthread_mutex_lock(&m->dispatch.devices);
    console_resume(&m->console, port);
    pthread_mutex_unlock(&m->dispatch.devices);
}

int vmm_heed_lost_file(void (*handler)(int signal), struct err *e)
{
    struct sigaction action = { .sa_handler = handler };
    sigset_t bus;

    sigemptyset(&action.sa_mask);
    sigemptyset(&bus);
    sigaddset(&bus, SIGBUS);
    return sigaction(SIGBUS, &action, NULL) < 0 || sigprocmask(SIG_UNBLOCK, &bus, NULL) < 0
               ? err_set(e, errno, "cannot handle signal %d", SIGBUS)
               : 0;
}
