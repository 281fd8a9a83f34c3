/* SPDX-License-Identifier: Apache-2.0 */
/*
 * What KVM itself has counted of a cpu (api.rst 4.133 KVM_GET_STATS_FD, Linux 5.14): exits that never came to this
 * process among them. The file is the kernel's word; its sizes are checked all the same.
 */
#include "vmm/dispatch/dispatch.h"

#include <string.h>
#include <sys/ioctl.h>
#include <unistd.h>

enum { NAME_MAX_LEN = 128, COUNTERS_MAX = 256 };
struct described {
    struct kvm_stats_desc head;
    char name[NAME_MAX_LEN];
};

static bool read_at(int fd, void *data, size_t len, uint64_t offset)
{
    return pread(fd, data, len, (off_t)offset) == (ssize_t)len;
}

/* Counters that only grow, of one value each: no histograms, nothing of the moment. */
static bool is_counter(const struct kvm_stats_desc *d)
{
    return (d->flags & KVM_STATS_TYPE_MASK) == KVM_STATS_TYPE_CUMULATIVE && d->size == 1 &&
           (d->flags & KVM_STATS_UNIT_MASK) == KVM_STATS_UNIT_NONE;
}

static void add(struct kvm_counters *out, const char *name, uint64_t value)
{
    unsigned i = 0;

    while (i < out->n && !str_eq(out->v[i].name, name))
        i++;
    if (i == KVM_COUNTERS_MAX)
        return;
    if (i == out->n) {
        base_format(out->v[i].name, sizeof(out->v[i].name), "%s", name);
        out->n++;
    }
    out->v[i].count += value;
}

static void read_counter(int fd, const struct kvm_stats_header *h, uint64_t at,
                         struct kvm_counters *out)
{
    struct described d = { .name = "" };
    uint64_t value;

    if (read_at(fd, &d, sizeof(d.head) + h->name_size, at) && is_counter(&d.head) &&
        read_at(fd, &value, sizeof(value), h->data_offset + (uint64_t)d.head.offset) && value > 0)
        add(out, d.name, value);
}

void kvm_counters_add(int vcpu_fd, struct kvm_counters *out)
{
    AUTO_FD int fd = ioctl(vcpu_fd, KVM_GET_STATS_FD, NULL);
    struct kvm_stats_header h;

    if (fd < 0 || !read_at(fd, &h, sizeof(h), 0) || h.name_size >= NAME_MAX_LEN)
        return;
    for (uint64_t i = 0; i < h.num_desc && i < COUNTERS_MAX; i++)
        read_counter(fd, &h, h.desc_offset + i * (sizeof(struct kvm_stats_desc) + h.name_size),
                     out);
}
