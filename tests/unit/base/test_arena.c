/* SPDX-License-Identifier: Apache-2.0 */
#include "unit.h"

static bool inside(const void *p, const char *memory, size_t size)
{
    return (const char *)p >= memory && (const char *)p < memory + size;
}

static void what_fits_into_the_callers_memory_stays_there(void **state)
{
    char memory[4096];
    struct arena a;

    (void)state;
    arena_init(&a, memory, sizeof(memory));
    assert_true(inside(arena_alloc(&a, 1000), memory, sizeof(memory)));
    assert_true(inside(arena_strdup(&a, "text"), memory, sizeof(memory)));
    assert_true(inside(arena_format(&a, "%d", 7), memory, sizeof(memory)));
    assert_null(a.chunks);
    arena_release(&a);
}

static void memory_is_zeroed_and_aligned_whatever_it_was(void **state)
{
    char memory[512];
    struct arena a;

    (void)state;
    memset(memory, 0xff, sizeof(memory));
    arena_init(&a, memory + 1, sizeof(memory) - 1);
    for (size_t size = 0; size < 60; size++) {
        const char *p = arena_alloc(&a, size);

        assert_int_equal((uintptr_t)p % 16, 0);
        for (size_t i = 0; i < size; i++)
            assert_int_equal(p[i], 0);
        memset(arena_alloc(&a, 1), 0xff, 1);
    }
    arena_release(&a);
}

static void allocations_do_not_overlap(void **state)
{
    struct arena a;
    unsigned char *p[300];

    (void)state;
    arena_init(&a, NULL, 0);
    for (size_t i = 0; i < COUNT_OF(p); i++)
        p[i] = memset(arena_alloc(&a, i * 37), (int)i, i * 37);
    for (size_t i = 0; i < COUNT_OF(p); i++) {
        for (size_t k = 0; k < i * 37; k++)
            assert_int_equal(p[i][k], (unsigned char)i);
    }
    arena_release(&a);
}

static void one_object_may_be_larger_than_any_chunk(void **state)
{
    struct arena a;
    char *p;

    (void)state;
    arena_init(&a, NULL, 0);
    p = arena_alloc(&a, 40u << 20);
    p[0] = p[(40u << 20) - 1] = 1;
    assert_non_null(arena_alloc(&a, 40u << 20));
    arena_release(&a);
    arena_release(&a); /* a released arena is an empty one */
    assert_null(a.chunks);
}

static void strings_are_copied_up_to_their_end(void **state)
{
    struct arena *a = unit_arena();
    const char bytes[4] = { 'a', 'b', 'c', 'd' };

    (void)state;
    assert_null(arena_strdup(a, NULL));
    assert_null(arena_strndup(a, NULL, 3));
    assert_string_equal(arena_strdup(a, ""), "");
    assert_string_equal(arena_strndup(a, bytes, 4), "abcd");
    assert_string_equal(arena_strndup(a, "ab\0cd", 5), "ab");
    arena_release(a);
}

static void a_formatted_text_may_outgrow_the_chunk(void **state)
{
    char memory[64], longer[500];
    struct arena a;

    (void)state;
    memset(longer, 'x', sizeof(longer) - 1);
    longer[sizeof(longer) - 1] = '\0';
    arena_init(&a, memory, sizeof(memory));
    assert_string_equal(arena_format(&a, "%s", longer), longer);
    assert_string_equal(arena_format(&a, "%s-%d", "a", 1), "a-1");
    arena_release(&a);
}

static void a_growing_array_keeps_its_elements(void **state)
{
    struct arena *a = unit_arena();
    size_t cap = 0;
    int *list = NULL;

    (void)state;
    for (size_t n = 0; n < 1000; n++) {
        if (n == cap) {
            size_t before = cap;

            list = arena_grow(a, list, n, &cap, sizeof(*list));
            assert_true(cap >= 2 * before && cap > n);
        }
        list[n] = (int)n;
    }
    for (int i = 0; i < 1000; i++)
        assert_int_equal(list[i], i);
    arena_release(a);
}

/* Runs it in a child and returns the exit status; what it writes to stderr goes into text. */
static int run(void (*what)(void), char *text, size_t size)
{
    int pipefd[2], status;
    ssize_t n;
    pid_t child;

    assert_int_equal(pipe(pipefd), 0);
    child = fork();
    assert_true(child >= 0);
    if (child == 0) {
        dup2(pipefd[1], STDERR_FILENO);
        what();
        _exit(0);
    }
    close(pipefd[1]);
    n = read(pipefd[0], text, size - 1);
    text[n > 0 ? n : 0] = '\0';
    close(pipefd[0]);
    assert_int_equal(waitpid(child, &status, 0), child);
    return WIFEXITED(status) ? WEXITSTATUS(status) : -1;
}

static void overflow_an_array(void)
{
    arena_array(unit_arena(), SIZE_MAX / 2, 3);
}

static void ask_for_everything(void)
{
    arena_alloc(unit_arena(), SIZE_MAX - 100);
}

static void ask_for_more_than_there_is(void)
{
    arena_alloc(unit_arena(), SIZE_MAX / 2);
}

static void running_out_of_memory_is_one_line_and_exit_1(void **state)
{
    void (*const cases[])(void) = { overflow_an_array, ask_for_everything,
                                    ask_for_more_than_there_is };
    char text[128];

    (void)state;
    for (size_t i = 0; i < COUNT_OF(cases); i++) {
        assert_int_equal(run(cases[i], text, sizeof(text)), 1);
        assert_string_equal(text, "teca: out of memory\n");
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(what_fits_into_the_callers_memory_stays_there),
        cmocka_unit_test(memory_is_zeroed_and_aligned_whatever_it_was),
        cmocka_unit_test(allocations_do_not_overlap),
        cmocka_unit_test(one_object_may_be_larger_than_any_chunk),
        cmocka_unit_test(strings_are_copied_up_to_their_end),
        cmocka_unit_test(a_formatted_text_may_outgrow_the_chunk),
        cmocka_unit_test(a_growing_array_keeps_its_elements),
        cmocka_unit_test(running_out_of_memory_is_one_line_and_exit_1),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
