/* SPDX-License-Identifier: Apache-2.0 */
/* The MMIO transport with the rng behind it, and the console, from the driver's side. */
#include "ring.h"

enum { BROKEN = VIRTIO_STATUS_BROKEN, LIVE = 0x0f };
#define EVENT_IDX (UINT64_C(1) << VIRTIO_RING_F_EVENT_IDX)
#define MULTIPORT (UINT64_C(1) << VIRTIO_CONSOLE_F_MULTIPORT)

static unsigned edges;

static void count_edge(void *ctx, unsigned gsi)
{
    (void)ctx;
    assert_int_equal(gsi, 17);
    edges++;
}

static struct vmm_memory memory;
static struct rng rng;
static struct console console;

static int set_up(void **state)
{
    struct vmm_line line = { .raise = count_edge };

    (void)state;
    memory = fake_memory();
    edges = 0;
    rng_init(&rng, &memory, line, 17);
    return 0;
}

static int tear_down(void **state)
{
    (void)state;
    vmm_memory_release(&memory);
    return 0;
}

/* ---- transport -------------------------------------------------------------------------------------- */

static void a_driver_finds_a_device_of_version_two(void **state)
{
    struct virtio *v = &rng.virtio;

    (void)state;
    assert_int_equal(reg_read(v, VIRTIO_MMIO_MAGIC_VALUE), 0x74726976);
    assert_int_equal(reg_read(v, VIRTIO_MMIO_VERSION), 2);
    assert_int_equal(reg_read(v, VIRTIO_MMIO_DEVICE_ID), 4);
    reg_write(v, VIRTIO_MMIO_DEVICE_FEATURES_SEL, 0);
    assert_int_equal(reg_read(v, VIRTIO_MMIO_DEVICE_FEATURES), 1u << 28 | 1u << 29);
    reg_write(v, VIRTIO_MMIO_DEVICE_FEATURES_SEL, 1);
    assert_int_equal(reg_read(v, VIRTIO_MMIO_DEVICE_FEATURES), 1);
    reg_write(v, VIRTIO_MMIO_DEVICE_FEATURES_SEL, 2);
    assert_int_equal(reg_read(v, VIRTIO_MMIO_DEVICE_FEATURES), 0);
    assert_int_equal(reg_read(v, VIRTIO_MMIO_QUEUE_NUM_MAX), VIRTQ_SIZE_MAX);
    reg_write(v, VIRTIO_MMIO_QUEUE_SEL, 1);
    assert_int_equal(reg_read(v, VIRTIO_MMIO_QUEUE_NUM_MAX), 0);
    assert_int_equal(reg_read(v, 0xb0), UINT32_MAX);
}

static void features_that_were_not_offered_are_not_taken(void **state)
{
    static const uint64_t wrong[] = {
        0, /* not even VERSION_1 */
        UINT64_C(1) << VIRTIO_F_VERSION_1 | 1,
        UINT64_C(1) << VIRTIO_F_VERSION_1 | UINT64_C(1) << 63,
    };
    struct virtio *v = &rng.virtio;

    (void)state;
    for (size_t i = 0; i < COUNT_OF(wrong); i++) {
        reg_write(v, VIRTIO_MMIO_STATUS, 0);
        reg_write(v, VIRTIO_MMIO_STATUS, 3);
        reg_features(v, wrong[i]);
        reg_write(v, VIRTIO_MMIO_STATUS, 0x0b);
        assert_int_equal(reg_read(v, VIRTIO_MMIO_STATUS), 3);
        reg_write(v, VIRTIO_MMIO_STATUS, 0x0f); /* DRIVER_OK without FEATURES_OK */
        assert_int_equal(reg_read(v, VIRTIO_MMIO_STATUS), 3);
    }
}

static void registers_in_the_wrong_order_do_nothing(void **state)
{
    struct virtio *v = &rng.virtio;

    (void)state;
    reg_write(v, VIRTIO_MMIO_QUEUE_NOTIFY, 0);
    reg_queue(v, 0); /* before FEATURES_OK */
    assert_int_equal(reg_read(v, VIRTIO_MMIO_QUEUE_READY), 0);
    reg_drive(v, 0);
    assert_int_equal(reg_read(v, VIRTIO_MMIO_STATUS), LIVE);
    assert_int_equal(reg_read(v, VIRTIO_MMIO_QUEUE_READY), 1);
    reg_write(v, VIRTIO_MMIO_QUEUE_DESC_LOW, 0); /* while it is ready */
    assert_int_equal(v->queues[0].desc_gpa, FAKE_RINGS);
    reg_features(v, 0); /* after FEATURES_OK */
    assert_int_equal(v->driver_features, UINT64_C(1) << VIRTIO_F_VERSION_1);
    reg_write(v, VIRTIO_MMIO_QUEUE_NOTIFY, 1);
    reg_write(v, VIRTIO_MMIO_QUEUE_NOTIFY, UINT32_MAX);
    reg_write(v, VIRTIO_MMIO_QUEUE_SEL, UINT32_MAX);
    reg_write(v, VIRTIO_MMIO_QUEUE_READY, 1);
    reg_write(v, VIRTIO_MMIO_QUEUE_NUM, 1);
    assert_int_equal(reg_read(v, VIRTIO_MMIO_STATUS), LIVE);
    reg_write(v, VIRTIO_MMIO_STATUS, 0);
    assert_int_equal(reg_read(v, VIRTIO_MMIO_STATUS), 0);
    assert_false(v->queues[0].ready);
}

static void odd_widths_are_no_registers(void **state)
{
    struct virtio *v = &rng.virtio;
    uint64_t wide = 0;

    (void)state;
    reg_drive(v, 0);
    for (uint64_t offset = 0; offset < 0x100; offset++) {
        for (unsigned len = 1; len <= 8; len++) {
            if (len != 4 || offset % 4)
                virtio_device.write(v, offset, &wide, len);
        }
    }
    assert_int_equal(reg_read(v, VIRTIO_MMIO_STATUS), LIVE);
    wide = UINT64_MAX;
    virtio_device.read(v, VIRTIO_MMIO_MAGIC_VALUE, &wide, 8);
    assert_int_equal(wide, 0);
    wide = UINT64_MAX;
    virtio_device.read(v, 0x100, &wide, 8); /* it has no configuration */
    assert_int_equal(wide, 0);
    virtio_device.read(v, 0xffc, &wide, 4);
}

/* ---- rng ---------------------------------------------------------------------------------------------- */

static void offer_buffer(unsigned queue, uint16_t index, uint64_t gpa, uint32_t len, uint16_t flags)
{
    ring_describe(&memory, queue, index, (struct vring_desc){ gpa, len, flags, 0 });
    ring_offer(&memory, queue, index);
}

static void a_request_for_randomness_is_answered(void **state)
{
    struct virtio *v = &rng.virtio;
    uint8_t bytes[64] = { 0 }, zero[64] = { 0 };

    (void)state;
    reg_drive(v, EVENT_IDX);
    offer_buffer(0, 3, FAKE_BUFFERS, 64, VRING_DESC_F_WRITE);
    offer_buffer(0, 4, FAKE_BUFFERS + 0x1000, 0x1000, VRING_DESC_F_WRITE);
    reg_write(v, VIRTIO_MMIO_QUEUE_NOTIFY, 0);
    assert_int_equal(ring_used(&memory, 0)->idx, 2);
    assert_int_equal(ring_used(&memory, 0)->ring[0].id, 3);
    assert_int_equal(ring_used(&memory, 0)->ring[0].len, 64);
    assert_int_equal(ring_used(&memory, 0)->ring[1].len, 256); /* not all that was asked for */
    vmm_memory_read(&memory, FAKE_BUFFERS, bytes, sizeof(bytes));
    assert_memory_not_equal(bytes, zero, sizeof(bytes));
    assert_int_equal(edges, 1);
    assert_int_equal(reg_read(v, VIRTIO_MMIO_INTERRUPT_STATUS), 1);
    reg_write(v, VIRTIO_MMIO_INTERRUPT_ACK, 1);
    assert_int_equal(reg_read(v, VIRTIO_MMIO_INTERRUPT_STATUS), 0);
}

static void a_ring_that_lies_breaks_the_device_until_reset(void **state)
{
    struct virtio *v = &rng.virtio;

    (void)state;
    reg_drive(v, 0);
    offer_buffer(0, 0, UINT64_MAX - 8, 64, VRING_DESC_F_WRITE);
    reg_write(v, VIRTIO_MMIO_QUEUE_NOTIFY, 0);
    assert_int_equal(reg_read(v, VIRTIO_MMIO_STATUS), LIVE | BROKEN);
    assert_int_equal(reg_read(v, VIRTIO_MMIO_INTERRUPT_STATUS), 2);
    assert_int_equal(edges, 1);
    for (int i = 0; i < 1000; i++) /* a storm */
        reg_write(v, VIRTIO_MMIO_QUEUE_NOTIFY, 0);
    assert_int_equal(edges, 1);
    assert_int_equal(ring_used(&memory, 0)->idx, 0);
    memset(ring_at(&memory, 0, RING_AVAIL), 0, 16);
    reg_drive(v, 0);
    assert_int_equal(reg_read(v, VIRTIO_MMIO_STATUS), LIVE);
    offer_buffer(0, 0, FAKE_BUFFERS, 64, VRING_DESC_F_WRITE);
    reg_write(v, VIRTIO_MMIO_QUEUE_NOTIFY, 0);
    assert_int_equal(ring_used(&memory, 0)->idx, 1);
}

static void a_queue_outside_of_memory_breaks_the_device(void **state)
{
    struct virtio *v = &rng.virtio;

    (void)state;
    reg_write(v, VIRTIO_MMIO_STATUS, 3);
    reg_features(v, UINT64_C(1) << VIRTIO_F_VERSION_1);
    reg_write(v, VIRTIO_MMIO_STATUS, 0x0b);
    reg_write(v, VIRTIO_MMIO_QUEUE_DESC_HIGH, 0xffffffff);
    reg_queue(v, 0);
    assert_int_equal(reg_read(v, VIRTIO_MMIO_STATUS), 0x0b | BROKEN);
    assert_int_equal(reg_read(v, VIRTIO_MMIO_QUEUE_READY), 0);
    offer_buffer(0, 0, FAKE_BUFFERS, 0x10, 0);
    reg_write(v, VIRTIO_MMIO_STATUS, 0);
    reg_drive(v, 0);
    reg_write(v, VIRTIO_MMIO_QUEUE_NOTIFY, 0); /* a request without room */
    assert_int_equal(reg_read(v, VIRTIO_MMIO_STATUS), LIVE | BROKEN);
}

/* ---- console ------------------------------------------------------------------------------------------- */

static struct {
    char text[256];
    size_t len, limit;
    unsigned room;
} sink;

static size_t take(void *ctx, const void *data, size_t len)
{
    size_t part = len < sink.limit - sink.len ? len : sink.limit - sink.len;

    assert_ptr_equal(ctx, &sink);
    memcpy(sink.text + sink.len, data, part);
    sink.len += part;
    return part;
}

static void note_room(void *ctx)
{
    (void)ctx;
    sink.room++;
}

static const struct vmm_port ports[] = {
    { .console = true, .output = take, .ctx = &sink },
    { .name = "ctl", .output = take, .room = note_room, .ctx = &sink },
};
enum { CTL_IN = 4, CTL_OUT = 5 };

static void new_console(void)
{
    struct vmm_config c = { .ports = ports, .n_ports = COUNT_OF(ports) };
    struct vmm_line line = { .raise = count_edge };

    memset(&sink, 0, sizeof(sink));
    sink.limit = sizeof(sink.text);
    console_init(&console, &c, &memory, line, 17);
    reg_drive(&console.virtio, MULTIPORT);
}

static void tell(uint32_t id, uint16_t event, uint16_t value)
{
    struct virtio_console_control m = { .id = id, .event = event, .value = value };

    vmm_memory_write(&memory, FAKE_BUFFERS + 0x8000, &m, sizeof(m));
    offer_buffer(3, 0, FAKE_BUFFERS + 0x8000, sizeof(m), 0);
    reg_write(&console.virtio, VIRTIO_MMIO_QUEUE_NOTIFY, 3);
}

/* What the n-th message to the guest says: "port event value rest". */
static void check_message(unsigned n, uint32_t id, uint16_t event, const char *rest)
{
    const struct vring_used_elem *used = &ring_used(&memory, 2)->ring[n % RING_SIZE];
    struct {
        struct virtio_console_control m;
        char rest[32];
    } got = { .rest = "" };

    vmm_memory_read(&memory, FAKE_BUFFERS + 64ull * used->id, &got, used->len);
    assert_int_equal(got.m.id, id);
    assert_int_equal(got.m.event, event);
    assert_int_equal(got.m.value, 1);
    assert_string_equal(got.rest, rest);
}

static void give_control_buffers(unsigned first, unsigned n)
{
    for (unsigned i = first; i < first + n; i++)
        offer_buffer(2, (uint16_t)i, FAKE_BUFFERS + 64ull * i, 64, VRING_DESC_F_WRITE);
    reg_write(&console.virtio, VIRTIO_MMIO_QUEUE_NOTIFY, 2);
}

static void ports_are_told_as_the_guest_has_room_to_hear(void **state)
{
    uint32_t max;

    (void)state;
    new_console();
    virtio_device.read(&console.virtio, 0x104, &max, 4);
    assert_int_equal(max, 2);
    for (int i = 0; i < 100; i++) /* a storm makes no queue */
        tell(UINT32_MAX, VIRTIO_CONSOLE_DEVICE_READY, 1);
    give_control_buffers(0, 1);
    assert_int_equal(ring_used(&memory, 2)->idx, 1);
    check_message(0, 0, VIRTIO_CONSOLE_PORT_ADD, "");
    give_control_buffers(1, 3);
    assert_int_equal(ring_used(&memory, 2)->idx, 2);
    check_message(1, 1, VIRTIO_CONSOLE_PORT_ADD, "");
    tell(0, VIRTIO_CONSOLE_PORT_READY, 1);
    check_message(2, 0, VIRTIO_CONSOLE_CONSOLE_PORT, "");
    check_message(3, 0, VIRTIO_CONSOLE_PORT_OPEN, "");
    tell(1, VIRTIO_CONSOLE_PORT_READY, 1);
    tell(7, VIRTIO_CONSOLE_PORT_READY, 1); /* there is none */
    give_control_buffers(4, 4);
    assert_int_equal(ring_used(&memory, 2)->idx, 6);
    check_message(4, 1, VIRTIO_CONSOLE_PORT_OPEN, "");
    check_message(5, 1, VIRTIO_CONSOLE_PORT_NAME, "ctl");
    assert_int_equal(reg_read(&console.virtio, VIRTIO_MMIO_STATUS), LIVE);
}

static void output_waits_for_who_takes_it(void **state)
{
    (void)state;
    new_console();
    vmm_memory_write(&memory, FAKE_BUFFERS, "one two three", 13);
    sink.limit = 5;
    ring_describe(&memory, CTL_OUT, 0,
                  (struct vring_desc){ FAKE_BUFFERS, 4, VRING_DESC_F_NEXT, 1 });
    ring_describe(&memory, CTL_OUT, 1, (struct vring_desc){ FAKE_BUFFERS + 4, 4, 0, 0 });
    ring_offer(&memory, CTL_OUT, 0);
    offer_buffer(CTL_OUT, 2, FAKE_BUFFERS + 8, 5, 0);
    reg_write(&console.virtio, VIRTIO_MMIO_QUEUE_NOTIFY, CTL_OUT);
    assert_int_equal(sink.len, 5);
    assert_int_equal(ring_used(&memory, CTL_OUT)->idx, 0);
    reg_write(&console.virtio, VIRTIO_MMIO_QUEUE_NOTIFY, CTL_OUT); /* impatience changes nothing */
    assert_int_equal(sink.len, 5);
    sink.limit = 9;
    console_resume(&console, 1);
    assert_int_equal(ring_used(&memory, CTL_OUT)->idx, 1);
    sink.limit = sizeof(sink.text);
    console_resume(&console, 1);
    assert_int_equal(ring_used(&memory, CTL_OUT)->idx, 2);
    assert_string_equal(sink.text, "one two three");
}

static void input_is_taken_as_far_as_there_is_room(void **state)
{
    char got[8] = "";

    (void)state;
    new_console();
    assert_int_equal(console_input(&console, 1, "early", 5), 0); /* nobody has opened it */
    tell(1, VIRTIO_CONSOLE_PORT_OPEN, 1);
    assert_int_equal(sink.room, 1);
    offer_buffer(CTL_IN, 0, FAKE_BUFFERS, 3, VRING_DESC_F_WRITE);
    assert_int_equal(console_input(&console, 1, "abcde", 5), 3);
    vmm_memory_read(&memory, FAKE_BUFFERS, got, 3);
    assert_string_equal(got, "abc");
    assert_int_equal(ring_used(&memory, CTL_IN)->ring[0].len, 3);
    offer_buffer(CTL_IN, 1, FAKE_BUFFERS, 3, VRING_DESC_F_WRITE);
    reg_write(&console.virtio, VIRTIO_MMIO_QUEUE_NOTIFY, CTL_IN);
    assert_int_equal(sink.room, 2);
    assert_int_equal(console_input(&console, 1, "de", 2), 2);
    assert_int_equal(reg_read(&console.virtio, VIRTIO_MMIO_STATUS), LIVE);
}

static void a_console_that_is_lied_to_breaks(void **state)
{
    (void)state;
    new_console();
    tell(1, VIRTIO_CONSOLE_PORT_OPEN, 1);
    offer_buffer(CTL_IN, 0, FAKE_BUFFERS, 3, 0); /* to be written, but may only be read */
    assert_int_equal(console_input(&console, 1, "abc", 3), 0);
    assert_int_equal(reg_read(&console.virtio, VIRTIO_MMIO_STATUS), LIVE | BROKEN);
    assert_int_equal(console_input(&console, 1, "abc", 3), 0);
    console_resume(&console, 1);
    memset(vmm_memory_at(&memory, FAKE_RINGS, 0x10000), 0, 0x10000);
    new_console();
    tell(0, VIRTIO_CONSOLE_DEVICE_READY, 1);
    offer_buffer(2, 0, FAKE_BUFFERS, 7, VRING_DESC_F_WRITE); /* too small for any message */
    reg_write(&console.virtio, VIRTIO_MMIO_QUEUE_NOTIFY, 2);
    assert_int_equal(reg_read(&console.virtio, VIRTIO_MMIO_STATUS), LIVE | BROKEN);
}

static void a_reset_forgets_what_was_under_way(void **state)
{
    (void)state;
    new_console();
    sink.limit = 0;
    vmm_memory_write(&memory, FAKE_BUFFERS, "lost", 4);
    offer_buffer(CTL_OUT, 0, FAKE_BUFFERS, 4, 0);
    reg_write(&console.virtio, VIRTIO_MMIO_QUEUE_NOTIFY, CTL_OUT);
    tell(1, VIRTIO_CONSOLE_PORT_OPEN, 1);
    memset(vmm_memory_at(&memory, FAKE_RINGS, 0x10000), 0, 0x10000);
    reg_drive(&console.virtio, MULTIPORT);
    sink.limit = sizeof(sink.text);
    console_resume(&console, 1);
    assert_int_equal(sink.len, 0);
    assert_int_equal(console_input(&console, 1, "x", 1), 0);
    assert_int_equal(ring_used(&memory, CTL_OUT)->idx, 0);
}

/* ---- a driver that never ends ------------------------------------------------------------------------------ */

/* What another cpu does while a request is carried out: it offers the next one, and notifies where it is asked to. */
static struct {
    unsigned queue, offered;
    bool notifies;
} other_cpu;

static void offer_more(void)
{
    struct vring_avail *avail = ring_at(&memory, other_cpu.queue, RING_AVAIL);
    const struct vring_used *used = ring_used(&memory, other_cpu.queue);
    uint16_t event;

    if (other_cpu.offered == 100000) /* it would have been for ever */
        return;
    other_cpu.offered++;
    ring_offer(&memory, other_cpu.queue, 0);
    memcpy(&event, &used->ring[RING_SIZE], sizeof(event));
    other_cpu.notifies |= vring_need_event(event, avail->idx, (uint16_t)(avail->idx - 1));
}

static void begin_offering(unsigned queue, uint64_t gpa, uint32_t len, uint16_t flags)
{
    memset(&other_cpu, 0, sizeof(other_cpu));
    other_cpu.queue = queue;
    ring_describe(&memory, queue, 0, (struct vring_desc){ gpa, len, flags, 0 });
    offer_more();
    offer_more();
    other_cpu.notifies = false;
}

/* It has ended before the driver, who notifies of what is left; and goes on when that does. */
static void check_turn(struct virtio *v)
{
    const struct vring_avail *avail = ring_at(&memory, other_cpu.queue, RING_AVAIL);
    unsigned first = other_cpu.offered;

    assert_in_range(first, VIRTQ_TURN, 2 * VIRTQ_TURN);
    assert_true(other_cpu.notifies);
    assert_int_not_equal(avail->idx, ring_used(&memory, other_cpu.queue)->idx);
    other_cpu.notifies = false;
    reg_write(v, VIRTIO_MMIO_QUEUE_NOTIFY, other_cpu.queue);
    assert_in_range(other_cpu.offered, first + VIRTQ_TURN, first + 2 * VIRTQ_TURN);
    assert_true(other_cpu.notifies);
    assert_int_equal(reg_read(v, VIRTIO_MMIO_STATUS), LIVE);
    /* The last of them are answered, too. */
    other_cpu.offered = 100000;
    reg_write(v, VIRTIO_MMIO_QUEUE_NOTIFY, other_cpu.queue);
    assert_int_equal(avail->idx, ring_used(&memory, other_cpu.queue)->idx);
}

static int answer_and_be_offered_more(void *device, struct virtq *q, const struct virtq_chain *c)
{
    (void)device;
    offer_more();
    virtq_push(q, c->head, 0);
    return 0;
}

static int serve_endless(void *device, unsigned queue)
{
    (void)device;
    return virtio_serve(&rng.virtio, queue, answer_and_be_offered_more);
}

static void a_driver_that_never_ends_gets_its_turn_and_no_more(void **state)
{
    struct virtio_ops ops = *rng.virtio.ops;

    (void)state;
    ops.notify = serve_endless;
    rng.virtio.ops = &ops;
    reg_drive(&rng.virtio, EVENT_IDX);
    begin_offering(0, FAKE_BUFFERS, 64, VRING_DESC_F_WRITE);
    reg_write(&rng.virtio, VIRTIO_MMIO_QUEUE_NOTIFY, 0);
    check_turn(&rng.virtio);
}

static size_t take_and_be_offered_more(void *ctx, const void *data, size_t len)
{
    (void)ctx;
    (void)data;
    offer_more();
    return len;
}

/* The room that a message tells of is used at once, so the next one tells of room again. */
static void be_offered_more(void *ctx)
{
    (void)ctx;
    console_input(&console, 1, "x", 1);
    offer_more();
}

static void a_console_that_never_ends_gets_its_turn_and_no_more(void **state)
{
    static const struct vmm_port endless[] = {
        { .output = take_and_be_offered_more },
        { .output = take_and_be_offered_more, .room = be_offered_more },
    };
    const struct virtio_console_control open = { .id = 1,
                                                 .event = VIRTIO_CONSOLE_PORT_OPEN,
                                                 .value = 1 };
    const struct vmm_config c = { .ports = endless, .n_ports = COUNT_OF(endless) };
    const struct vmm_line line = { .raise = count_edge };

    (void)state;
    console_init(&console, &c, &memory, line, 17);
    reg_drive(&console.virtio, MULTIPORT | EVENT_IDX);
    begin_offering(CTL_OUT, FAKE_BUFFERS, 64, 0);
    reg_write(&console.virtio, VIRTIO_MMIO_QUEUE_NOTIFY, CTL_OUT);
    check_turn(&console.virtio);

    console_input(&console, 1, "x", 1);
    vmm_memory_write(&memory, FAKE_BUFFERS, &open, sizeof(open));
    begin_offering(3, FAKE_BUFFERS, sizeof(open), 0);
    reg_write(&console.virtio, VIRTIO_MMIO_QUEUE_NOTIFY, 3);
    check_turn(&console.virtio);
}

int main(void)
{
#define TEST(NAME) cmocka_unit_test_setup_teardown(NAME, set_up, tear_down)
    const struct CMUnitTest tests[] = {
        TEST(a_driver_finds_a_device_of_version_two),
        TEST(features_that_were_not_offered_are_not_taken),
        TEST(registers_in_the_wrong_order_do_nothing),
        TEST(odd_widths_are_no_registers),
        TEST(a_request_for_randomness_is_answered),
        TEST(a_ring_that_lies_breaks_the_device_until_reset),
        TEST(a_queue_outside_of_memory_breaks_the_device),
        TEST(ports_are_told_as_the_guest_has_room_to_hear),
        TEST(output_waits_for_who_takes_it),
        TEST(input_is_taken_as_far_as_there_is_room),
        TEST(a_console_that_is_lied_to_breaks),
        TEST(a_reset_forgets_what_was_under_way),
        TEST(a_driver_that_never_ends_gets_its_turn_and_no_more),
        TEST(a_console_that_never_ends_gets_its_turn_and_no_more),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
