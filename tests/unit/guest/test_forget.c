/* SPDX-License-Identifier: Apache-2.0 */
/* When the guest's kernel is made to forget files. */
#include "guest/internal.h"
#include "unit.h"

static void the_word_is_a_number_of_files(void **state)
{
    static const struct {
        const char *word;
        uint64_t most;
        int result;
    } rows[] = { { NULL, 0, 0 },
                 { "19872", 19872, 0 },
                 { "0", 0, -EINVAL },
                 { "", 0, -EINVAL },
                 { "12x", 12, -EINVAL } };
    struct forget f;
    struct err e = { 0 };

    (void)state;
    for (size_t i = 0; i < COUNT_OF(rows); i++)
        unit_row(rows[i].word,
                 forget_init(&f, rows[i].word, &e) == rows[i].result && f.most == rows[i].most);
}

/* Whatever is there of other file systems, and whether it goes meanwhile. */
static void what_has_come_since_the_fewest_were_there_counts(void **state)
{
    static const struct {
        uint64_t inodes;
        bool due;
    } looks[] = { { 3000, false }, { 3500, false }, { 3501, true }, { 90000, true },
                  { 400, false },  { 900, false },  { 901, true },  { 899, false } };
    struct forget f;
    struct err e = { 0 };

    (void)state;
    assert_int_equal(forget_init(&f, "1000", &e), 0);
    for (size_t i = 0; i < COUNT_OF(looks); i++)
        unit_row(arena_format(unit_arena(), "%zu", i),
                 forget_is_due(&f, looks[i].inodes) == looks[i].due);
    arena_release(unit_arena());
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(the_word_is_a_number_of_files),
        cmocka_unit_test(what_has_come_since_the_fewest_were_there_counts),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
