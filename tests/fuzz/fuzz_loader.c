/* SPDX-License-Identifier: Apache-2.0 */
/*
 * A hostile kernel file: the input is the image, but for two bytes that choose the size of an initrd, whether
 * the file's pages may be mapped, and whether zeroes follow. What is taken must lie in memory behind the monitor's own tables, and nothing else may have been written.
 */
#include "vmm/arch/loader.h"

#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <unistd.h>

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

#define RAM (UINT64_C(16) << 20)
#define LONG_SIZE (UINT64_C(10) << 20)
#define KERNEL_MIN (UINT64_C(1) << 20)
enum { HEAD = 2, CANARY = 0x5a, CANARY_STEP = 0x10000 };

static struct vmm_memory memory;
static int kernel_fd = -1, initrd_fd;

static void require(bool condition)
{
    if (!condition)
        abort();
}

static void prepare(const uint8_t *data, size_t size)
{
    vmm_memory_release(&memory); /* with pages of the file, which is about to be cut */
    require(vmm_memory_add(&memory, 0, RAM, NULL) == 0);
    if (kernel_fd < 0) {
        kernel_fd = memfd_create("kernel", 0);
        initrd_fd = memfd_create("initrd", 0);
    }
    for (uint64_t at = 0; at < KERNEL_MIN; at += CANARY_STEP)
        memory.regions[0].host[at] = CANARY;
    require(ftruncate(initrd_fd, (off_t)(data[0] << 16 | data[1] << 8)) == 0);
    require(ftruncate(kernel_fd, 0) == 0);
    require(pwrite(kernel_fd, data + HEAD, size - HEAD, 0) == (ssize_t)(size - HEAD));
    if (data[1] & 2) /* room for what is shared, and for what comes later */
        require(ftruncate(kernel_fd, LONG_SIZE) == 0);
}

static void check_canaries(void)
{
    for (uint64_t at = 0; at < KERNEL_MIN; at += CANARY_STEP)
        require(memory.regions[0].host[at] == CANARY);
}

static void check_initrd(struct loader *l, const struct loader_kernel *k, struct loader_words *w)
{
    if (loader_initrd(l, initrd_fd, k, &w->initrd, NULL) < 0)
        return;
    require(w->initrd.size > 0 && w->initrd.first >= k->end && w->initrd.first < RAM);
    require(w->initrd.size <= RAM - w->initrd.first);
    require(w->initrd.first + w->initrd.size <= k->initrd_end);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    struct loader_words words = { .command_line = "console=ttyS0" };
    struct copy_job job = { .next = 0 };
    struct loader loader = { &memory, &job.copy };
    struct loader_kernel k;
    struct err e = { 0 };

    if (size < HEAD)
        return 0;
    prepare(data, size);
    if (loader_kernel(&loader, &(struct loader_file){ kernel_fd, data[1] & 1 }, &k, &e) < 0) {
        require(e.text[0] != '\0');
        copy_drop(&job);
        check_canaries();
        return 0;
    }
    require(k.first >= KERNEL_MIN && k.first <= k.entry && k.entry < k.end && k.end <= RAM);
    check_initrd(&loader, &k, &words);
    copy_begin(&job);
    copy_release(&job);
    require(copy_end(&job, NULL) == 0);
    require(copy_wait(&job, NULL) == 0);
    copy_drop(&job);
    check_canaries();
    loader_zero_page(&memory, &k, &words, NULL);
    return 0;
}
