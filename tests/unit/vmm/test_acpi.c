/* SPDX-License-Identifier: Apache-2.0 */
/* The ACPI tables: whether a kernel that follows the addresses finds what it needs, and iasl too. */
#include "unit.h"
#include "vmm/arch/acpi.h"
#include "vmm/arch/aml.h"

enum { GPA = 0xe0000, ROOM = 0x20000 };

static const struct acpi_machine minimal = {
    .cpus = 1,
    .ioapic = 0xfec00000,
    .lapic = 0xfee00000,
    .serial_port = 0x3f8,
    .serial_ports = 8,
    .serial_gsi = 4,
    .panic_port = 0x505,
    .power_port = 0x600,
    .power_off_type = 5,
    .reset_value = 1,
};

static uint8_t tables[ROOM];

static uint64_t get(const uint8_t *at, unsigned bytes)
{
    uint64_t value = 0;

    for (unsigned i = bytes; i-- > 0;)
        value = value << 8 | at[i];
    return value;
}

static uint8_t sum(const uint8_t *at, size_t len)
{
    uint8_t total = 0;

    for (size_t i = 0; i < len; i++)
        total = (uint8_t)(total + at[i]);
    return total;
}

static size_t write_tables(const struct acpi_machine *m)
{
    size_t len = acpi_write(m, GPA, tables, sizeof(tables));

    assert_int_not_equal(len, 0);
    return len;
}

/* The table with this signature that the XSDT or the FADT leads to; its checksum is right. */
static const uint8_t *table(uint64_t gpa, const char *signature, size_t *len)
{
    const uint8_t *at = tables + (gpa - GPA);

    assert_in_range(gpa, GPA, GPA + ROOM - 36);
    assert_memory_equal(at, signature, 4);
    *len = get(at + 4, 4);
    assert_in_range(*len, 36, ROOM - (gpa - GPA));
    assert_int_equal(sum(at, *len), 0);
    return at;
}

static const uint8_t *listed(unsigned index, const char *signature, size_t *len)
{
    const uint8_t *xsdt = table(get(tables + 24, 8), "XSDT", len);

    assert_int_equal(*len, 36 + 2 * 8);
    return table(get(xsdt + 36 + 8 * index, 8), signature, len);
}

static void a_kernel_finds_every_table_with_its_checksum(void **state)
{
    size_t len, total = write_tables(&minimal), dsdt_len;
    const uint8_t *fadt, *dsdt;

    (void)state;
    assert_memory_equal(tables, "RSD PTR ", 8);
    assert_int_equal(tables[15], 2);
    assert_int_equal(sum(tables, 20), 0);
    assert_int_equal(sum(tables, 36), 0);
    fadt = listed(0, "FACP", &len);
    listed(1, "APIC", &len);
    dsdt = table(get(fadt + 140, 8), "DSDT", &dsdt_len);
    assert_ptr_equal(dsdt + dsdt_len, tables + total); /* nothing behind it, nothing lost */
}

static void the_fadt_says_what_is_not_there(void **state)
{
    const uint8_t *fadt;
    size_t len;

    (void)state;
    write_tables(&minimal);
    fadt = listed(0, "FACP", &len);
    assert_int_equal(len, 276);
    assert_int_equal(get(fadt + 109, 2), 0x24);       /* neither keyboard controller nor clock */
    assert_true(get(fadt + 112, 4) & 1 << 20);        /* hardware-reduced */
    assert_true(get(fadt + 112, 4) & 1 << 10);        /* the reset register is there: */
    assert_int_equal(get(fadt + 116, 4), 0x01000801); /* a byte in the port space */
    assert_int_equal(get(fadt + 120, 8), 0x602);
    assert_int_equal(fadt[128], 1);
    assert_int_equal(get(fadt + 248, 8), 0x600);
    assert_int_equal(get(fadt + 260, 8), 0x601);
}

static void each_cpu_has_an_entry_in_the_madt(void **state)
{
    struct acpi_machine m = minimal;
    const uint8_t *madt;
    size_t len;

    (void)state;
    m.cpus = VMM_CPUS_MAX;
    write_tables(&m);
    madt = listed(1, "APIC", &len);
    assert_int_equal(len, 36 + 8 + 8 * VMM_CPUS_MAX + 12);
    assert_int_equal(get(madt + 36, 4), 0xfee00000);
    for (unsigned i = 0; i < VMM_CPUS_MAX; i++) {
        const uint8_t *entry = madt + 44 + 8 * (size_t)i;
        const uint8_t expected[] = { 0, 8, (uint8_t)i, (uint8_t)i, 1, 0, 0, 0 };

        assert_memory_equal(entry, expected, sizeof(expected));
    }
    assert_int_equal(get(madt + len - 12, 2), 0x0c01);
    assert_int_equal(get(madt + len - 8, 4), 0xfec00000);
}

static void tables_that_do_not_fit_are_not_written(void **state)
{
    uint8_t *room = malloc(ROOM);
    size_t len = write_tables(&minimal);

    (void)state;
    for (size_t size = 0; size < len; size++) {
        memset(room, 0xaa, ROOM);
        assert_int_equal(acpi_write(&minimal, GPA, room, size), 0);
        assert_int_equal(room[size], 0xaa);
    }
    assert_int_equal(acpi_write(&minimal, GPA, room, len), len);
    free(room);
}

static void a_package_longer_than_its_length_can_say_is_refused(void **state)
{
    struct aml a = { .bytes = tables, .size = sizeof(tables) };
    size_t at = aml_open_scope(&a, "_SB_");

    (void)state;
    aml_zeroes(&a, AML_PACKAGE_MAX - (a.len - at));
    aml_close(&a, at);
    assert_false(a.full);
    aml_u8(&a, 0);
    aml_close(&a, at);
    assert_true(a.full);
}

/* ---- ACPICA's own disassembler ------------------------------------------------------------------------- */

/* The DSDT as source text, through `iasl -d`. */
static char *disassemble(const char *dir, const uint8_t *dsdt, size_t len)
{
    char input[UNIT_PATH_SIZE + 16], output[UNIT_PATH_SIZE + 16], *text;
    size_t text_len;
    int status;
    pid_t pid;

    snprintf(input, sizeof(input), "%s/t.dat", dir);
    snprintf(output, sizeof(output), "%s/t.dsl", dir);
    assert_int_equal(file_replace(input, (const char *)dsdt, len, 0600, NULL), 0);
    pid = fork();
    if (pid == 0) {
        int null = open("/dev/null", O_WRONLY);

        dup2(null, 1);
        dup2(null, 2);
        execlp("iasl", "iasl", "-d", input, NULL);
        _exit(127);
    }
    assert_int_equal(waitpid(pid, &status, 0), pid);
    if (WIFEXITED(status) && WEXITSTATUS(status) == 127)
        return NULL;
    assert_int_equal(status, 0);
    assert_int_equal(file_read(unit_arena(), AT_FDCWD, output, ROOM, &text, &text_len, NULL), 0);
    return text;
}

/* What must stand in the source, in this order. */
static void check_source(const char *text)
{
    static const char *const parts[] = {
        "DefinitionBlock (\"\", \"DSDT\", 2,",
        "Scope (\\_SB)",
        "Device (COM1)",
        "EisaId (\"PNP0501\")",
        "0x03F8,             // Range Minimum",
        "0x08,               // Length",
        "Interrupt (ResourceConsumer, Edge, ActiveHigh, Exclusive, ,, )",
        "0x00000004,",
        "Device (PEVT)",
        "\"QEMU0001\"",
        "0x0505,             // Range Minimum",
        "0x01,               // Length",
        "Device (VR00)",
        "\"LNRO0005\"",
        "Name (_UID, Zero)",
        "0xD0000000,         // Address Base",
        "0x00001000,         // Address Length",
        "0x00000010,",
        "Device (VR01)",
        "Name (_UID, One)",
        "0xD0007000,         // Address Base",
        "0x00000017,",
        "Name (_S5, Package (0x04)",
        "0x05,"
    };

    for (size_t i = 0; i < COUNT_OF(parts); i++) {
        const char *at = strstr(text, parts[i]);

        if (!at)
            fail_msg("'%s' is missing, or in another place, in\n%s", parts[i], text);
        text = at;
    }
}

static void iasl_reads_the_devices_out_of_the_dsdt(void **state)
{
    struct acpi_machine m = minimal;
    char dir[UNIT_PATH_SIZE];
    const uint8_t *fadt, *dsdt;
    char *text;
    size_t len;

    (void)state;
    m.slots[0] = (struct acpi_slot){ 0xd0000000, 0x1000, 16 };
    m.slots[1] = (struct acpi_slot){ 0xd0007000, 0x1000, 23 };
    m.n_slots = 2;
    write_tables(&m);
    fadt = listed(0, "FACP", &len);
    dsdt = table(get(fadt + 140, 8), "DSDT", &len);
    text = disassemble(unit_dir(dir), dsdt, len);
    unit_remove(dir);
    if (!text)
        unit_skip("there is no iasl (acpica-tools)");
    check_source(text);
    arena_release(unit_arena());
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(a_kernel_finds_every_table_with_its_checksum),
        cmocka_unit_test(the_fadt_says_what_is_not_there),
        cmocka_unit_test(each_cpu_has_an_entry_in_the_madt),
        cmocka_unit_test(tables_that_do_not_fit_are_not_written),
        cmocka_unit_test(a_package_longer_than_its_length_can_say_is_refused),
        cmocka_unit_test(iasl_reads_the_devices_out_of_the_dsdt),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
