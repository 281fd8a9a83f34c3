/* SPDX-License-Identifier: Apache-2.0 */
/* Accesses that KVM could not carry out itself and hands on, of memory and of what is none. */
#include "unit.h"
#include "vmm/alloc/alloc.h"
#include "vmm/dispatch/dispatch.h"

#include <sys/mman.h>

#define RAM UINT64_C(0x10000)
#define IMAGE UINT64_C(0x40000000)

struct fixture {
    struct vmm_memory mem;
    struct dispatch d;
    struct vmm_vcpu v;
    struct kvm_run run;
};

static struct fixture *make(void)
{
    struct vmm_memory_file image = { memfd_create("image", MFD_CLOEXEC), 4096 };
    struct fixture *f = calloc(1, sizeof(*f));

    assert_non_null(f);
    assert_int_equal(ftruncate(image.fd, 4096), 0);
    assert_int_equal(vmm_memory_add(&f->mem, 0, RAM, NULL), 0);
    assert_int_equal(vmm_memory_add_file(&f->mem, IMAGE, UINT64_C(2) << 20, &image, NULL), 0);
    close(image.fd);
    dispatch_init(&f->d, &f->v, 1);
    f->d.memory = &f->mem;
    f->v = (struct vmm_vcpu){ .dispatch = &f->d, .run = &f->run, .run_size = sizeof(f->run) };
    return f;
}

static void done(struct fixture *f)
{
    dispatch_release(&f->d);
    vmm_memory_release(&f->mem);
    free(f);
}

/* What run->mmio.data holds then. */
static const uint8_t *access_memory(struct fixture *f, bool is_early, uint64_t gpa,
                                    const char *write)
{
    f->v.is_early = is_early;
    f->run.exit_reason = KVM_EXIT_MMIO;
    f->run.mmio.phys_addr = gpa;
    f->run.mmio.len = 4;
    f->run.mmio.is_write = write != NULL;
    memset(f->run.mmio.data, 0, sizeof(f->run.mmio.data));
    if (write)
        memcpy(f->run.mmio.data, write, 4);
    exits_handle(&f->v);
    return f->run.mmio.data;
}

static void an_early_access_of_memory_is_made_up_for(void **state)
{
    struct fixture *f = make();
    char *at = vmm_memory_at(&f->mem, 0x8000, 4);

    (void)state;
    memcpy(at, "here", 4);
    assert_memory_equal(access_memory(f, true, 0x8000, NULL), "here", 4);
    access_memory(f, true, 0x8000, "come");
    assert_memory_equal(at, "come", 4);
    assert_false(atomic_load(&f->d.ended));
    done(f);
}

/* Neither what is no memory, nor what is only read, nor the half of an access. */
static void an_early_access_elsewhere_is_the_same_as_a_late_one(void **state)
{
    static const uint64_t rows[] = { RAM - 2, RAM, UINT64_C(1) << 31, UINT64_MAX - 1 };
    static const uint8_t ones[] = { 0xff, 0xff, 0xff, 0xff };
    struct fixture *f = make();

    (void)state;
    for (unsigned i = 0; i < COUNT_OF(rows); i++) {
        assert_memory_equal(access_memory(f, true, rows[i], NULL), ones, 4);
        access_memory(f, true, rows[i], "abcd");
    }
    assert_memory_equal(vmm_memory_at(&f->mem, RAM - 2, 2), "\0\0", 2);
    access_memory(f, true, IMAGE, "abcd");
    assert_memory_equal(vmm_memory_readable_at(&f->mem, IMAGE, 4), "\0\0\0\0", 4);
    assert_false(atomic_load(&f->d.ended));
    done(f);
}

static void a_late_read_of_memory_is_its_loss(void **state)
{
    struct fixture *f = make();

    (void)state;
    access_memory(f, false, 0x8000, "late"); /* as of an image, where nobody may write */
    assert_memory_equal(vmm_memory_at(&f->mem, 0x8000, 4), "\0\0\0\0", 4);
    assert_false(atomic_load(&f->d.ended));
    access_memory(f, false, 0x8000, NULL);
    assert_true(atomic_load(&f->d.ended));
    assert_int_equal(f->d.outcome.end, VMM_END_FAULT);
    assert_string_equal(f->d.outcome.text, VMM_LOST_FILE);
    done(f);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(an_early_access_of_memory_is_made_up_for),
        cmocka_unit_test(an_early_access_elsewhere_is_the_same_as_a_late_one),
        cmocka_unit_test(a_late_read_of_memory_is_its_loss),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
