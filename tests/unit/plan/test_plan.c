/* SPDX-License-Identifier: Apache-2.0 */
#include "unit.h"

#include "plan/plan.h"

static struct plan p;

static int set_up(void **state)
{
    (void)state;
    arena_release(unit_arena());
    plan_init(&p, unit_arena(), "run");
    return 0;
}

/* A step of `lane` that waits for step `after` (-1: nothing). Returns its number. */
static int add_after(enum plan_lane lane, int after)
{
    struct step *s = plan_add(&p, OP_BARRIER, lane, "");

    s->after = after;
    return plan_last(&p, lane);
}

static int add(enum plan_lane lane)
{
    return add_after(lane, -1);
}

static int add_clone(enum plan_lane lane)
{
    plan_add(&p, OP_CLONE, lane, "");
    return plan_last(&p, lane);
}

static void finish(void)
{
    struct err e = { 0 };

    if (plan_finish(&p, &e) != 0)
        fail_msg("plan_finish: %s", e.text);
}

static bool waits(int step)
{
    return p.steps[step].waits;
}

static bool hands_over(int step)
{
    return p.steps[step].hand_over;
}

/* ---- the list ------------------------------------------------------------------------------ */

static void a_new_step_names_nothing(void **state)
{
    struct step *s = plan_add(&p, OP_CLONE, LANE_RUNTIME, "/linux/namespaces");

    (void)state;
    assert_int_equal(s->op, OP_CLONE);
    assert_int_equal(s->lane, LANE_RUNTIME);
    assert_int_equal(s->after, -1);
    assert_false(s->waits);
    assert_false(s->hand_over);
    assert_string_equal(s->pointer, "/linux/namespaces");
    assert_int_equal(s->clone.flags, 0);
    assert_int_equal(s->clone.cgroup, SLOT_NONE);
    assert_int_equal(s->clone.out_pid, SLOT_NONE);
    assert_int_equal(s->clone.out_pidfd, SLOT_NONE);
    assert_false(s->clone.sibling);
}

/* Written by hand nowhere: every SLOT of every operation, whatever ops.def holds. */
static void every_slot_of_every_operation_starts_empty(void **state)
{
    size_t slots = 0;

    (void)state;
    for (int op = 0; op < OP_COUNT; op++) {
        struct step *s = plan_add(&p, (enum plan_op)op, LANE_RUNTIME, "");

        switch ((enum plan_op)op) {
#define STR(n) assert_null(operands->n);
#define STRV(n) assert_null(operands->n);
#define INT(n) assert_int_equal(operands->n, 0);
#define UINT(n) assert_int_equal(operands->n, 0);
#define OCT(n) assert_int_equal(operands->n, 0);
#define BOOL(n) assert_false(operands->n);
#define SLOT(n)                               \
    assert_int_equal(operands->n, SLOT_NONE); \
    slots++;
#define MNT(n) assert_int_equal(operands->n, 0);
#define ATTR(n) assert_int_equal(operands->n, 0);
#define NS(n) assert_int_equal(operands->n, 0);
#define CAPS(n) assert_int_equal(operands->n, 0);
#define DATA(n) assert_null(operands->n);
#define PLAN_OP(NAME, name, fields)                  \
    case OP_##NAME: {                                \
        const struct op_##name *operands = &s->name; \
                                                     \
        (void)operands;                              \
        fields break;                                \
    }
#include "plan/ops.def"
#undef PLAN_OP
        case OP_COUNT:
            break;
        }
    }
    assert_true(slots > 10);
}

static void steps_keep_their_order_and_their_lanes(void **state)
{
    (void)state;
    assert_int_equal(plan_last(&p, LANE_INIT), -1);
    for (int i = 0; i < 5000; i++)
        add(i % 2 == 0 ? LANE_RUNTIME : LANE_INIT);
    assert_int_equal(p.n, 5000);
    assert_int_equal(plan_last(&p, LANE_RUNTIME), 4998);
    assert_int_equal(plan_last(&p, LANE_INIT), 4999);
    assert_int_equal(plan_last(&p, LANE_STAGE), -1);
    for (size_t i = 0; i < 5000; i++)
        assert_int_equal(p.steps[i].lane, i % 2 == 0 ? LANE_RUNTIME : LANE_INIT);
}

static void a_step_is_found_from_where_one_looks(void **state)
{
    (void)state;
    add(LANE_RUNTIME);
    add_clone(LANE_RUNTIME);
    add(LANE_RUNTIME);
    assert_int_equal(plan_find(&p, OP_BARRIER, 0), 0);
    assert_int_equal(plan_find(&p, OP_BARRIER, 1), 2);
    assert_int_equal(plan_find(&p, OP_CLONE, 2), -1);
    assert_int_equal(plan_find(&p, OP_PIVOT, 0), -1);
    assert_int_equal(plan_find(&p, OP_BARRIER, 99), -1);
}

static void pointers_and_slots_are_the_plans_own(void **state)
{
    const char *first = plan_pointer(&p, "/mounts/%zu", (size_t)3);

    (void)state;
    assert_string_equal(plan_pointer(&p, "/%s/%d", "hooks", 12), "/hooks/12");
    assert_string_equal(first, "/mounts/3");
    assert_int_equal(plan_slot(&p), 0);
    assert_int_equal(plan_slot(&p), 1);
    assert_int_equal(p.slots, 2);
}

static void names_have_dashes(void **state)
{
    (void)state;
    assert_string_equal(plan_op_name(OP_MOUNT), "mount");
    assert_string_equal(plan_op_name(OP_NS_ID_MAPS), "ns-id-maps");
    assert_string_equal(plan_op_name(OP_NS_ID_MAPS), "ns-id-maps");
    assert_string_equal(plan_lane_name(LANE_RUNTIME), "runtime");
    assert_string_equal(plan_lane_name(LANE_STAGE), "stage");
    assert_string_equal(plan_lane_name(LANE_INIT), "init");
    for (int op = 0; op < OP_COUNT; op++)
        assert_null(strpbrk(plan_op_name((enum plan_op)op), "_ABCDEFGHIJKLMNOPQRSTUVWXYZ"));
}

/* ---- what is refused ----------------------------------------------------------------------- */

static void refuses(const char *because)
{
    struct err e = { 0 };

    assert_int_equal(plan_finish(&p, &e), -EINVAL);
    if (strstr(e.text, because) == NULL)
        fail_msg("'%s' does not say '%s'", e.text, because);
}

static void a_wait_for_a_later_step_is_refused(void **state)
{
    (void)state;
    add_clone(LANE_RUNTIME);
    add_after(LANE_INIT, 2);
    add(LANE_RUNTIME);
    refuses("step 1 (barrier) waits for step 2, which is no earlier one");
}

static void a_wait_for_itself_or_for_no_step_is_refused(void **state)
{
    (void)state;
    add_clone(LANE_RUNTIME);
    add_after(LANE_INIT, 1);
    refuses("waits for step 1");
    p.steps[1].after = -2;
    refuses("waits for step -2");
}

static void a_wait_within_a_lane_is_refused(void **state)
{
    (void)state;
    add(LANE_RUNTIME);
    add_after(LANE_RUNTIME, 0);
    refuses("step 1 (barrier) waits for step 0 of its own lane");
}

static void a_step_before_the_clone_of_its_lane_is_refused(void **state)
{
    (void)state;
    add(LANE_INIT);
    add_clone(LANE_RUNTIME);
    refuses("step 0 (barrier) stands before the clone of its lane, step 1");
}

static void a_refusal_names_the_field(void **state)
{
    struct err e = { 0 };

    (void)state;
    plan_add(&p, OP_BARRIER, LANE_RUNTIME, "/hooks/prestart/0")->after = 7;
    assert_int_equal(plan_finish(&p, &e), -EINVAL);
    assert_string_equal(e.pointer, "/hooks/prestart/0");
}

static void too_many_slots_are_refused(void **state)
{
    struct err e = { 0 };

    (void)state;
    while (plan_slot(&p) < PLAN_MAX_SLOTS - 1)
        ;
    finish();
    plan_slot(&p);
    assert_int_equal(plan_finish(&p, &e), -E2BIG);
    assert_non_null(strstr(e.text, "8192"));
}

static void an_empty_plan_is_a_plan(void **state)
{
    (void)state;
    finish();
    assert_int_equal(plan_waits(&p), 0);
}

/* ---- waits --------------------------------------------------------------------------------- */

static void an_edge_costs_one_wait_and_one_hand_over(void **state)
{
    int maps, enter, last;

    (void)state;
    add_clone(LANE_RUNTIME);
    maps = add(LANE_RUNTIME);
    enter = add_after(LANE_INIT, maps);
    last = add_after(LANE_RUNTIME, enter);
    finish();
    assert_true(waits(enter) && hands_over(maps));
    assert_true(waits(last) && hands_over(enter));
    assert_false(waits(maps) || hands_over(last));
    assert_int_equal(plan_waits(&p), 2);
    finish(); /* twice is as good as once */
    assert_int_equal(plan_waits(&p), 2);
}

static void a_step_before_the_clone_costs_no_wait(void **state)
{
    int opened, first, second;

    (void)state;
    opened = add(LANE_RUNTIME);
    add_clone(LANE_RUNTIME);
    first = add_after(LANE_INIT, opened);
    second = add_after(LANE_INIT, opened);
    finish();
    assert_false(waits(first) || waits(second) || hands_over(opened));
    assert_int_equal(plan_waits(&p), 0);
}

static void the_clone_itself_is_not_done_when_the_child_starts(void **state)
{
    int clone, first;

    (void)state;
    clone = add_clone(LANE_RUNTIME);
    first = add_after(LANE_INIT, clone);
    finish();
    assert_true(waits(first) && hands_over(clone));
}

static void a_second_edge_to_the_same_step_costs_no_wait(void **state)
{
    int maps, first, second;

    (void)state;
    add_clone(LANE_RUNTIME);
    maps = add(LANE_RUNTIME);
    first = add_after(LANE_INIT, maps);
    second = add_after(LANE_INIT, maps);
    finish();
    assert_true(waits(first));
    assert_false(waits(second));
}

static void a_second_edge_to_an_earlier_step_costs_no_wait(void **state)
{
    int early, late, first, second;

    (void)state;
    add_clone(LANE_RUNTIME);
    early = add(LANE_RUNTIME);
    late = add(LANE_RUNTIME);
    first = add_after(LANE_INIT, late);
    second = add_after(LANE_INIT, early);
    finish();
    assert_true(waits(first) && hands_over(late));
    assert_false(waits(second) || hands_over(early));
}

static void a_second_edge_to_a_later_step_costs_another_wait(void **state)
{
    int early, late, first, second;

    (void)state;
    add_clone(LANE_RUNTIME);
    early = add(LANE_RUNTIME);
    late = add(LANE_RUNTIME);
    first = add_after(LANE_INIT, early);
    second = add_after(LANE_INIT, late);
    finish();
    assert_true(waits(first) && waits(second));
    assert_true(hands_over(early) && hands_over(late));
}

static void an_answer_implies_the_question(void **state)
{
    int asked, answered, back, again;

    (void)state;
    add_clone(LANE_RUNTIME);
    asked = add(LANE_RUNTIME);
    answered = add_after(LANE_INIT, asked);
    back = add_after(LANE_RUNTIME, answered);
    again = add_after(LANE_INIT, asked);
    finish();
    assert_true(waits(answered) && waits(back));
    assert_false(waits(again));
}

static void what_a_lane_knows_travels_through_another(void **state)
{
    int in_runtime, in_stage, init;

    (void)state;
    add_clone(LANE_RUNTIME);
    add_clone(LANE_STAGE);
    in_runtime = add(LANE_RUNTIME);
    in_stage = add_after(LANE_STAGE, in_runtime);
    add_after(LANE_INIT, in_stage);
    init = add_after(LANE_INIT, in_runtime);
    finish();
    assert_false(waits(init));
    assert_int_equal(plan_waits(&p), 2);
}

static void init_knows_what_the_stage_did_before_it_cloned(void **state)
{
    int opened, joined, init, again;

    (void)state;
    opened = add(LANE_RUNTIME);
    add_clone(LANE_RUNTIME);
    joined = add_after(LANE_STAGE, opened);
    add_clone(LANE_STAGE);
    init = add_after(LANE_INIT, joined);
    again = add_after(LANE_INIT, opened);
    finish();
    assert_int_equal(plan_waits(&p), 0);
    assert_false(waits(init) || waits(again));
}

static void init_knows_what_the_stage_waited_for_before_it_cloned(void **state)
{
    int maps, stage, init;

    (void)state;
    add_clone(LANE_RUNTIME);
    maps = add(LANE_RUNTIME);
    stage = add_after(LANE_STAGE, maps);
    add_clone(LANE_STAGE);
    init = add_after(LANE_INIT, maps);
    finish();
    assert_true(waits(stage));
    assert_false(waits(init));
}

static void a_wait_of_the_clone_itself_counts_for_the_child(void **state)
{
    int maps, clone, init;

    (void)state;
    add_clone(LANE_RUNTIME);
    maps = add(LANE_RUNTIME);
    add(LANE_STAGE);
    clone = add_clone(LANE_STAGE);
    p.steps[clone].after = maps;
    init = add_after(LANE_INIT, maps);
    finish();
    assert_true(waits(clone));
    assert_false(waits(init));
}

static void with_a_stage_the_runtimes_clone_is_not_inits(void **state)
{
    int between, init;

    (void)state;
    add_clone(LANE_RUNTIME);
    between = add(LANE_RUNTIME);
    add(LANE_STAGE);
    add_clone(LANE_STAGE);
    init = add_after(LANE_INIT, between); /* the runtime runs on beside the stage */
    finish();
    assert_true(waits(init));
}

static void the_runtime_runs_on_while_init_runs(void **state)
{
    int joined, release;

    (void)state;
    add_clone(LANE_RUNTIME);
    for (int i = 0; i < 3000; i++)
        add(LANE_INIT); /* mounts: their number never changes the number of waits */
    joined = add(LANE_RUNTIME);
    release = add_after(LANE_INIT, joined);
    finish();
    assert_int_equal(plan_waits(&p), 1);
    assert_true(waits(release));
    assert_false(plan_happens_before(&p, 5, (size_t)joined));
    assert_true(plan_happens_before(&p, 5, (size_t)release));
}

static void parts_of_a_plan_need_no_clone(void **state)
{
    int stray;

    (void)state;
    add(LANE_RUNTIME);
    stray = add_after(LANE_INIT, 0);
    finish();
    assert_true(waits(stray));
}

/* ---- happens-before against a brute force that knows nothing of clocks --------------------- */

enum { RANDOM_STEPS = 40, RANDOM_PLANS = 3000 };

static uint32_t seed;

static uint32_t pick(uint32_t below)
{
    seed = seed * 1664525u + 1013904223u;
    return (seed >> 8) % below;
}

struct relation {
    bool before[RANDOM_STEPS][RANDOM_STEPS];
};

/* waits_only: only edges that plan_finish kept, to see that the ones it dropped were implied. */
static void brute_force(struct relation *r, bool waits_only)
{
    int first[LANE_COUNT] = { -1, -1, -1 };

    memset(r, 0, sizeof(*r));
    for (size_t i = 0; i < p.n; i++) {
        const struct step *s = &p.steps[i];

        if (first[s->lane] < 0)
            first[s->lane] = (int)i;
        for (size_t k = i + 1; k < p.n; k++)
            r->before[i][k] |= p.steps[k].lane == s->lane;
        if (s->after >= 0 && (s->waits || !waits_only))
            r->before[s->after][i] = true;
    }
    for (size_t c = 0; c < p.n; c++) {
        bool by_stage = p.steps[c].lane == LANE_STAGE;
        int child = first[by_stage || first[LANE_STAGE] < 0 ? LANE_INIT : LANE_STAGE];

        if (p.steps[c].op != OP_CLONE || child < 0)
            continue;
        for (size_t i = 0; i < c; i++)
            r->before[i][child] |= p.steps[i].lane == p.steps[c].lane;
        if (p.steps[c].after >= 0 && (p.steps[c].waits || !waits_only))
            r->before[p.steps[c].after][child] = true;
    }
    for (size_t k = 0; k < p.n; k++)
        for (size_t i = 0; i < p.n; i++)
            for (size_t j = 0; j < p.n; j++)
                r->before[i][j] |= r->before[i][k] && r->before[k][j];
}

static void add_randomly(enum plan_lane highest)
{
    enum plan_lane lane = (enum plan_lane)pick(highest + 1u);
    int after = -1;

    if (highest == LANE_INIT && pick(3) == 0)
        lane = LANE_INIT;
    if (p.n > 0 && pick(3) == 0) {
        after = (int)pick((uint32_t)p.n);
        if (p.steps[after].lane == lane)
            after = -1;
    }
    add_after(lane, after);
}

static void random_plan(void)
{
    bool stage = pick(2) == 0;

    arena_release(unit_arena());
    plan_init(&p, unit_arena(), "random");
    for (uint32_t n = pick(6); n > 0; n--)
        add_randomly(LANE_RUNTIME);
    add_clone(LANE_RUNTIME);
    if (stage) {
        add(LANE_STAGE);
        for (uint32_t n = pick(8); n > 0; n--)
            add_randomly(LANE_STAGE);
        add_clone(LANE_STAGE);
        if (pick(3) == 0 && plan_find(&p, OP_BARRIER, 0) == 0)
            p.steps[p.n - 1].after = 0;
    }
    while (p.n < RANDOM_STEPS) {
        size_t before = p.n;

        add_randomly(LANE_INIT);
        if (!stage && p.steps[before].lane == LANE_STAGE)
            p.steps[before].lane = LANE_RUNTIME;
        if (p.steps[before].after >= 0 &&
            p.steps[p.steps[before].after].lane == p.steps[before].lane)
            p.steps[before].after = -1;
    }
}

static void happens_before_is_the_transitive_closure(void **state)
{
    static struct relation all, kept;
    size_t dropped = 0;

    (void)state;
    for (seed = 1; seed <= RANDOM_PLANS; seed++) {
        uint32_t this_seed = seed;

        random_plan();
        finish();
        brute_force(&all, false);
        brute_force(&kept, true);
        for (size_t a = 0; a < p.n; a++) {
            for (size_t b = 0; b < p.n; b++) {
                if (plan_happens_before(&p, a, b) != all.before[a][b])
                    fail_msg("seed %u: %zu before %zu: expected %d", this_seed, a, b,
                             all.before[a][b]);
                if (all.before[a][b] != kept.before[a][b])
                    fail_msg("seed %u: the waits lost %zu before %zu", this_seed, a, b);
            }
        }
        for (size_t i = 0; i < p.n; i++)
            dropped += p.steps[i].after >= 0 && !p.steps[i].waits;
        seed = this_seed;
    }
    assert_true(dropped > RANDOM_PLANS); /* else the sample would prove nothing */
}

/* No wait can be taken away: without it something would happen too early. */
static void every_wait_is_needed(void **state)
{
    static struct relation kept;

    (void)state;
    for (seed = 1; seed <= 300; seed++) {
        uint32_t this_seed = seed;

        random_plan();
        finish();
        for (size_t i = 0; i < p.n; i++) {
            if (!p.steps[i].waits)
                continue;
            p.steps[i].waits = false;
            brute_force(&kept, true);
            p.steps[i].waits = true;
            if (kept.before[p.steps[i].after][i])
                fail_msg("seed %u: step %zu need not wait", this_seed, i);
        }
        seed = this_seed;
    }
}

#define PLAN_TEST(test) cmocka_unit_test_setup(test, set_up)

int main(void)
{
    const struct CMUnitTest tests[] = {
        PLAN_TEST(a_new_step_names_nothing),
        PLAN_TEST(every_slot_of_every_operation_starts_empty),
        PLAN_TEST(steps_keep_their_order_and_their_lanes),
        PLAN_TEST(a_step_is_found_from_where_one_looks),
        PLAN_TEST(pointers_and_slots_are_the_plans_own),
        PLAN_TEST(names_have_dashes),
        PLAN_TEST(a_wait_for_a_later_step_is_refused),
        PLAN_TEST(a_wait_for_itself_or_for_no_step_is_refused),
        PLAN_TEST(a_wait_within_a_lane_is_refused),
        PLAN_TEST(a_step_before_the_clone_of_its_lane_is_refused),
        PLAN_TEST(a_refusal_names_the_field),
        PLAN_TEST(too_many_slots_are_refused),
        PLAN_TEST(an_empty_plan_is_a_plan),
        PLAN_TEST(an_edge_costs_one_wait_and_one_hand_over),
        PLAN_TEST(a_step_before_the_clone_costs_no_wait),
        PLAN_TEST(the_clone_itself_is_not_done_when_the_child_starts),
        PLAN_TEST(a_second_edge_to_the_same_step_costs_no_wait),
        PLAN_TEST(a_second_edge_to_an_earlier_step_costs_no_wait),
        PLAN_TEST(a_second_edge_to_a_later_step_costs_another_wait),
        PLAN_TEST(an_answer_implies_the_question),
        PLAN_TEST(what_a_lane_knows_travels_through_another),
        PLAN_TEST(init_knows_what_the_stage_did_before_it_cloned),
        PLAN_TEST(init_knows_what_the_stage_waited_for_before_it_cloned),
        PLAN_TEST(a_wait_of_the_clone_itself_counts_for_the_child),
        PLAN_TEST(with_a_stage_the_runtimes_clone_is_not_inits),
        PLAN_TEST(the_runtime_runs_on_while_init_runs),
        PLAN_TEST(parts_of_a_plan_need_no_clone),
        cmocka_unit_test(happens_before_is_the_transitive_closure),
        cmocka_unit_test(every_wait_is_needed),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
