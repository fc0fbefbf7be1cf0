/* The view of a mailbox: what another session does, loaded and not loaded, dropped and loaded again. */
#include "tests/lib/cm.h"
#include "imapd/view.h"

static const char *const no_keywords[] = {NULL};
static const char *const keywords[] = {"a", "b", NULL};

static struct store_row row(uint32_t uid, uint64_t modseq, uint32_t flags)
{
    return (struct store_row){.uid = uid, .modseq = modseq, .flags = flags};
}

static struct store_mailbox box(uint32_t messages, uint32_t uidnext, uint64_t modseq)
{
    return (struct store_mailbox){.id = 5,
                                  .uidvalidity = 1,
                                  .uidnext = uidnext,
                                  .messages = messages,
                                  .modseq = modseq,
                                  .keywords = no_keywords};
}

static struct view view;

/* Five messages, UIDs 1 to 5, told; modseq 10. */
static void open_five(bool load)
{
    struct store_mailbox b = box(5, 6, 10);
    struct store_row rows[5];
    view_open(&view, &b, SPAN("x"), false);
    if (!load)
        return;
    for (uint32_t i = 0; i < 5; i++)
        rows[i] = row(i + 1, 1 + i, 0);
    view_load_begin(&view);
    view_load_add(&view, rows, 2);
    view_load_add(&view, rows + 2, 3);
    struct store_changes none = {.box = b};
    assert_int_equal(view_apply(&view, &none), VIEW_OK);
}

static int close_view(void **state)
{
    (void)state;
    view_close(&view);
    return 0;
}

static void test_expunged_keeps_its_number(void **state)
{
    const uint32_t gone[] = {2, 4};
    struct store_changes c = {.box = box(3, 6, 12), .gone = gone, .gone_count = 2};
    (void)state;
    open_five(true);
    assert_int_equal(view_apply(&view, &c), VIEW_OK);
    assert_int_equal(view.told, 5);
    assert_int_equal(view.gone, 2);
    assert_int_equal(view.rows[2].uid, 3);
    assert_true(view.rows[1].state & ROW_GONE);
    assert_int_equal(view.modseq, 12);
}

static void test_flags_are_dirty_once(void **state)
{
    struct store_row r[] = {row(3, 11, STORE_SEEN), row(4, 12, 0)};
    struct store_changes c = {.box = box(5, 6, 12), .rows = r, .row_count = 2};
    (void)state;
    open_five(true);
    assert_int_equal(view_apply(&view, &c), VIEW_OK);
    assert_int_equal(view.dirty, 1); /* 4 has the flags that it had */
    assert_int_equal(view_apply(&view, &c), VIEW_OK);
    assert_int_equal(view.dirty, 1);
    assert_int_equal(view.rows[3].modseq, 12);
}

static struct store_flag_run run(uint32_t first, uint32_t count, uint64_t modseq)
{
    return (struct store_flag_run){modseq, 0, first, count, STORE_SEEN, 0};
}

static void test_own_flags_are_not_asked_for_again(void **state)
{
    /* two slices of a change, behind what the view knows */
    const struct store_flag_run own[] = {run(1, 1, 11), run(3, 1, 11), run(4, 1, 12)};
    const struct store_flag_run next[] = {run(5, 1, 13)};
    (void)state;
    open_five(true);
    view_flagged(&view, own, 3);
    assert_int_equal(view.modseq, 12);
    assert_int_equal(view.rows[0].modseq, 11);
    assert_int_equal(view.rows[1].flags, 0);
    assert_int_equal(view.rows[2].flags, STORE_SEEN);
    assert_int_equal(view.rows[3].modseq, 12);
    assert_int_equal(view.rows[4].flags, 0);
    view_flagged(&view, next, 1);
    assert_int_equal(view.modseq, 13);
    assert_int_equal(view.dirty, 0);
    assert_int_equal(view.rows[4].flags, STORE_SEEN);
}

static void test_flags_with_others_between(void **state)
{
    const struct store_flag_run before[] = {run(1, 1, 12)}; /* 11 is another's */
    const struct store_flag_run between[] = {run(2, 1, 11), run(3, 2, 13)};
    (void)state;
    open_five(true);
    view_flagged(&view, before, 1);
    assert_int_equal(view.modseq, 10);
    view_flagged(&view, between, 2);
    assert_int_equal(view.modseq, 10);
    view_flagged(&view, between, 0);
    assert_int_equal(view.modseq, 10);
    assert_int_equal(view.rows[3].flags, STORE_SEEN);
    assert_int_equal(view.rows[3].modseq, 13);
}

/* A run names UIDs: one that is gone stays so, one that this client has not been told of yet counts as well.
 */
static void test_own_flags_beside_what_is_gone(void **state)
{
    const uint32_t gone[] = {2};
    const struct store_row fresh[] = {row(6, 11, 0)};
    struct store_changes c = {
        .box = box(5, 7, 12), .rows = fresh, .row_count = 1, .gone = gone, .gone_count = 1};
    const struct store_flag_run own[] = {run(1, 1, 13), run(3, 4, 13)};
    (void)state;
    open_five(true);
    assert_int_equal(view_apply(&view, &c), VIEW_OK);
    view_flagged(&view, own, 2);
    assert_int_equal(view.modseq, 13);
    assert_int_equal(view.rows[0].flags, STORE_SEEN);
    assert_int_equal(view.rows[1].flags, 0);
    assert_int_equal(view.rows[4].flags, STORE_SEEN);
    assert_int_equal(view.rows[5].flags, STORE_SEEN);
    assert_int_equal(view.told, 5);
    assert_int_equal(view.dirty, 0);
}

static void test_new_is_not_told(void **state)
{
    struct store_row r[] = {row(6, 11, 0), row(8, 12, 0)};
    const uint32_t gone[] = {7};
    struct store_changes c = {.box = box(7, 9, 12), .rows = r, .row_count = 2, .gone = gone, .gone_count = 1};
    (void)state;
    open_five(true);
    assert_int_equal(view_apply(&view, &c), VIEW_OK);
    assert_int_equal(view.told, 5);
    assert_int_equal(view.count, 7);
    assert_int_equal(view.gone, 0);
    assert_int_equal(view_find(&view, 6), SIZE_MAX);
}

static void test_new_and_expunged_before_it_was_told(void **state)
{
    struct store_row r[] = {row(6, 11, 0)};
    const uint32_t gone[] = {6};
    struct store_changes c = {.box = box(6, 7, 11), .rows = r, .row_count = 1};
    struct store_changes d = {.box = box(5, 7, 12), .gone = gone, .gone_count = 1};
    (void)state;
    open_five(true);
    assert_int_equal(view_apply(&view, &c), VIEW_OK);
    assert_int_equal(view_apply(&view, &d), VIEW_OK);
    assert_int_equal(view.count, 5);
    assert_int_equal(view.gone, 0);
}

static void test_without_rows_nothing_is_applied(void **state)
{
    const uint32_t gone[] = {2};
    struct store_changes c = {.box = box(4, 6, 11), .gone = gone, .gone_count = 1};
    struct store_changes none = {.box = box(5, 6, 10)};
    (void)state;
    open_five(false);
    assert_int_equal(view_apply(&view, &none), VIEW_OK);
    assert_int_equal(view_apply(&view, &c), VIEW_NEEDS_ROWS);
    assert_int_equal(view.modseq, 10);
}

static void test_loaded_late(void **state)
{
    /* 2 went and 6 came after the client was told of five. */
    struct store_row r[] = {row(1, 1, 0), row(3, 3, 0), row(4, 12, STORE_SEEN), row(5, 5, 0), row(6, 13, 0)};
    struct store_row changed[] = {row(4, 12, STORE_SEEN), row(6, 13, 0)};
    const uint32_t gone[] = {2};
    struct store_changes c = {
        .box = box(5, 7, 13), .rows = changed, .row_count = 2, .gone = gone, .gone_count = 1};
    (void)state;
    open_five(false);
    view_load_begin(&view);
    view_load_add(&view, r, 5);
    assert_int_equal(view_apply(&view, &c), VIEW_OK);
    assert_int_equal(view.told, 5);
    assert_int_equal(view.count, 6);
    assert_int_equal(view.rows[1].uid, 2);
    assert_true(view.rows[1].state & ROW_GONE);
    assert_int_equal(view.gone, 1);
    assert_int_equal(view.dirty, 1);
    assert_true(view.rows[3].state & ROW_DIRTY);
}

static void test_expunged_between_the_two_answers(void **state)
{
    /* 2 was in the rows and is in the expunges: it went in between. */
    struct store_row r[] = {row(1, 1, 0), row(2, 2, 0), row(3, 3, 0), row(4, 4, 0), row(5, 5, 0)};
    const uint32_t gone[] = {2};
    struct store_changes c = {.box = box(4, 6, 11), .gone = gone, .gone_count = 1};
    (void)state;
    open_five(false);
    view_load_begin(&view);
    view_load_add(&view, r, 5);
    assert_int_equal(view_apply(&view, &c), VIEW_OK);
    assert_int_equal(view.told, 5);
    assert_int_equal(view.gone, 1);
}

static void test_numbers_that_cannot_be_kept(void **state)
{
    struct store_row r[] = {row(1, 1, 0)};
    struct store_changes c = {.box = box(1, 6, 11), .rows = r, .row_count = 1, .whole = true};
    (void)state;
    open_five(false);
    view_load_begin(&view);
    view_load_add(&view, r, 1);
    assert_int_equal(view_apply(&view, &c), VIEW_BROKEN);
}

static void test_whole_list(void **state)
{
    struct store_row r[] = {row(1, 1, 0), row(5, 20, STORE_SEEN), row(7, 21, 0)};
    struct store_changes c = {.box = box(3, 8, 21), .rows = r, .row_count = 3, .whole = true};
    (void)state;
    open_five(true);
    assert_int_equal(view_apply(&view, &c), VIEW_OK);
    assert_int_equal(view.gone, 3);
    assert_int_equal(view.dirty, 1);
    assert_int_equal(view.count, 6);
}

static void test_dropped_and_loaded_again(void **state)
{
    struct store_row r[] = {row(1, 1, 0), row(4, 15, STORE_FLAGGED), row(5, 5, 0), row(9, 16, 0)};
    struct store_row changed[] = {row(4, 15, STORE_FLAGGED), row(9, 16, 0)};
    struct store_changes c = {.box = box(4, 10, 16), .rows = changed, .row_count = 2};
    (void)state;
    open_five(true);
    view_drop(&view);
    assert_false(view.loaded);
    assert_null(view.rows);
    assert_int_equal(view.told, 5);
    assert_int_equal(view_apply(&view, &c), VIEW_NEEDS_ROWS);
    view_load_begin(&view);
    view_load_add(&view, r, 4);
    assert_int_equal(view_apply(&view, &c), VIEW_OK);
    assert_int_equal(view.told, 5);
    assert_int_equal(view.gone, 2); /* 2 and 3 */
    assert_true(view.rows[3].state & ROW_DIRTY);
    assert_int_equal(view.count, 6);
}

static void test_a_view_with_news_is_not_dropped(void **state)
{
    const uint32_t gone[] = {2};
    (void)state;
    open_five(true);
    view_gone(&view, gone, 1);
    view_drop(&view);
    assert_true(view.loaded);
}

static void test_empty_mailbox_needs_no_loading(void **state)
{
    struct store_mailbox b = box(0, 1, 1);
    struct store_row r[] = {row(1, 2, 0)};
    struct store_changes c = {.box = box(1, 2, 2), .rows = r, .row_count = 1};
    (void)state;
    view_open(&view, &b, SPAN("x"), false);
    assert_int_equal(view_apply(&view, &c), VIEW_OK);
    assert_int_equal(view.count, 1);
    assert_int_equal(view.told, 0);
}

static void test_settle(void **state)
{
    const uint32_t gone[] = {1, 5};
    (void)state;
    open_five(true);
    view_recent(&view, 4);
    view_recent(&view, 5);
    view_gone(&view, gone, 2);
    view_settle(&view);
    assert_int_equal(view.told, 3);
    assert_int_equal(view.count, 3);
    assert_int_equal(view.recent_count, 1);
}

static void test_recent_without_rows(void **state)
{
    (void)state;
    open_five(false); /* UIDs 1 to 5, the next is 6 */
    assert_false(view_recent_from(&view, 0));
    assert_false(view_recent_from(&view, 6));
    assert_true(view_recent_from(&view, 3));
    assert_int_equal(view.recent_count, 3);
    for (uint32_t uid = 1; uid <= 6; uid++)
        assert_int_equal(uidset_has(&view.recent, uid), uid >= 3 && uid <= 5);
    assert_false(view_recent_from(&view, 1)); /* some are known already */
    view_recent(&view, 6);
    assert_int_equal(view.recent_count, 4);
    assert_true(uidset_has(&view.recent, 6));
    view_close(&view);
    struct store_mailbox gap = box(4, 6, 10);
    view_open(&view, &gap, SPAN("x"), false);
    assert_false(view_recent_from(&view, 3)); /* which one is gone is not known */
    assert_int_equal(view.recent_count, 0);
}

static void test_keywords(void **state)
{
    (void)state;
    open_five(true);
    view_keywords(&view, no_keywords);
    assert_false(view.keywords_changed);
    view_keywords(&view, keywords);
    assert_true(view.keywords_changed);
    assert_int_equal(view.keyword_count, 2);
}

static void test_walk(void **state)
{
    struct range numbers[] = {{1, 2}, {4, 9}}, uids[] = {{2, 2}, {5, 4000000000U}};
    struct seqset set = {.v = numbers, .n = 2};
    struct view_walk w = {0};
    size_t i, seen = 0;
    (void)state;
    open_five(true);
    while (view_next(&view, &set, false, &w, &i))
        seen = seen * 10 + i + 1;
    assert_int_equal(seen, 1245);
    set.v = uids;
    w = (struct view_walk){0};
    seen = 0;
    while (view_next(&view, &set, true, &w, &i))
        seen = seen * 10 + view.rows[i].uid;
    assert_int_equal(seen, 25);
}

int main(void)
{
#define T(f) cmocka_unit_test_teardown(f, close_view)
    const struct CMUnitTest tests[] = {T(test_expunged_keeps_its_number),
                                       T(test_flags_are_dirty_once),
                                       T(test_own_flags_are_not_asked_for_again),
                                       T(test_flags_with_others_between),
                                       T(test_own_flags_beside_what_is_gone),
                                       T(test_new_is_not_told),
                                       T(test_new_and_expunged_before_it_was_told),
                                       T(test_without_rows_nothing_is_applied),
                                       T(test_loaded_late),
                                       T(test_expunged_between_the_two_answers),
                                       T(test_numbers_that_cannot_be_kept),
                                       T(test_whole_list),
                                       T(test_dropped_and_loaded_again),
                                       T(test_a_view_with_news_is_not_dropped),
                                       T(test_empty_mailbox_needs_no_loading),
                                       T(test_settle),
                                       T(test_recent_without_rows),
                                       T(test_keywords),
                                       T(test_walk)};
    return cmocka_run_group_tests(tests, NULL, NULL);
}
