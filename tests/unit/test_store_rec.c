/* Names and records of the store as they lie in its tables: what is written is read again, cut or broken ones
 * are refused. */
#include "tests/lib/cm.h"
#include "common/store/crc.h"
#include "common/store/engine_int.h"
#include <stdio.h>

static void test_crc(void **state)
{
    (void)state;
    assert_int_equal(crc32c(0, SPAN("123456789")), 0xe3069283);
    assert_int_equal(crc32c(crc32c(0, SPAN("1234")), SPAN("56789")), 0xe3069283);
    assert_int_equal(crc32c(0, SPAN_NONE), 0);
}

static void test_names(void **state)
{
    (void)state;
    static const struct {
        const char *in, *out; /* NULL: not a name */
    } rows[] = {{"INBOX", "INBOX"},
                {"inbox", "INBOX"},
                {"Inbox/Con", "INBOX/Con"},
                {"inboxes", "inboxes"},
                {"a/b/c", "a/b/c"},
                {"Công văn", "Công văn"},
                {"Co\u0302ng va\u0306n \u0111e\u0302\u0301n", "Công văn đến"},
                {"", NULL},
                {"/", NULL},
                {"/a", NULL},
                {"a/", NULL},
                {"a//b", NULL},
                {"a\nb", NULL},
                {"\x80", NULL},
                {"\xc0\x80", NULL},
                {"\xf5\x80\x80\x80", NULL},
                {"\xe0\x80\x80", NULL},
                {"\xed\xa0\x80", NULL},
                {"a\xc3", NULL},
                {"\xc2\x85", NULL},
                {"a b", "a b"}};
    for (size_t i = 0; i < sizeof rows / sizeof *rows; i++) {
        struct name n;
        bool ok = name_normal(span_str(rows[i].in), &n);
        if (ok != (rows[i].out != NULL) || (ok && !span_eq(span_of(n.p, n.n), span_str(rows[i].out))))
            fail_msg("row %zu: %s", i, rows[i].in);
    }
    char longest[STORE_NAME_LIMIT + 1];
    struct name n;
    memset(longest, 'a', sizeof longest);
    assert_true(name_normal(span_of(longest, STORE_NAME_LIMIT), &n));
    assert_false(name_normal(span_of(longest, STORE_NAME_LIMIT + 1), &n));
}

/* Rows as they lie in the table: packed where they fit, at each limit; both forms come back as they were. */
static void test_packed_rows(void **state)
{
    (void)state;
    static const struct {
        struct store_row row;
        size_t size;
    } rows[] = {
        {{.modseq = 1}, REC_ROW_PACKED},
        {{.modseq = 0xffffffffffff, .content = 0xffffffffffff, .internal_s = 0xffffffffff, .flags = 31},
         REC_ROW_PACKED},
        {{.size = UINT32_MAX, .saved_s_low = -3, .zone_min = -720, .flags = 1, .modseq = 0x0102030405},
         REC_ROW_PACKED},
        {{.saved_s_low = INT32_MIN, .zone_min = 840, .content = 0x010203040506}, REC_ROW_PACKED},
        {{.keywords = 1}, REC_ROW},
        {{.keywords = 1ULL << 63, .modseq = 7}, REC_ROW},
        {{.modseq = 0x1000000000000}, REC_ROW},
        {{.content = 0x1000000000000}, REC_ROW},
        {{.internal_s = 0x10000000000}, REC_ROW},
        {{.internal_s = -1}, REC_ROW}};
    for (size_t i = 0; i < sizeof rows / sizeof *rows; i++) {
        struct store_row back = {.keywords = 99, .pad = {1}};
        unsigned char v[REC_ROW];
        const size_t n = rec_row_pack(&rows[i].row, v);
        assert_int_equal(n, rows[i].size);
        assert_true(rec_row_get(span_of(v, n), &back));
        assert_memory_equal(&rows[i].row, &back, sizeof back);
        for (size_t less = 0; less < n; less++)
            assert_false(rec_row_get(span_of(v, less), &back));
    }
}

static void test_records(void **state)
{
    (void)state;
    const struct store_row row = {.modseq = 0x1122334455667788,
                                  .keywords = 1ULL << 63,
                                  .content = 77,
                                  .internal_s = -5,
                                  .uid = 9,
                                  .flags = 31,
                                  .size = 0xfffffffe,
                                  .saved_s_low = -3,
                                  .zone_min = -720};
    struct store_row back = {.uid = 9};
    unsigned char v[REC_ROW];
    rec_row_put(&row, v);
    assert_true(rec_row_get(span_of(v, sizeof v), &back));
    assert_memory_equal(&row, &back, sizeof row);
    assert_false(rec_row_get(span_of(v, sizeof v - 1), &back));
    v[0] = 9;
    assert_false(rec_row_get(span_of(v, sizeof v), &back));
    struct rec_queue q = {.trace = "abcdefghijklmnopqrst",
                          .due_us = 5,
                          .sender = SPAN("x@y"),
                          .target_count = 0,
                          .skip_count = 1,
                          .skip = SPAN("0123456789abcdef")},
                     q2;
    struct buf b;
    buf_init(&b, 1000);
    assert_true(rec_queue_put(&q, &b));
    assert_true(rec_queue_get(buf_span(&b), &q2));
    assert_string_equal(q2.trace, q.trace);
    assert_true(span_eq(q2.skip, q.skip));
    for (size_t n = 0; n < b.n; n++)
        assert_false(rec_queue_get(span_of(b.p, n), &q2));
    buf_free(&b);
}

/* Changes of flags: as they are written now, and one message an item, as version 1 had them. */
static void test_flag_changes(void **state)
{
    static const char old[] = "\1\0\0\0\0\0\0\0\5"         /* version, time */
                              "\4\0\0\0\0\0\0\0\0\0\0\0\2" /* CHANGE_FLAGS, other, count */
                              "\0\0\0\7\1\3\0\0\0\0\0\0\0\x10\0\0\0\0\0\0\0\x20"
                              "\0\0\0\x9\0\1\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0";
    const struct rec_flags wrote[] = {{1ULL << 63, 2, 7, 4096, 31, 0}, {0, 0, 4103, 1, 0, 1}};
    struct rec_change r;
    struct rec_flags f;
    struct buf b;
    int64_t at_us = 0;
    (void)state;
    assert_true(rec_change_get(span_of(old, sizeof old - 1), &r));
    assert_int_equal(r.count, 2);
    f = rec_flags_at(&r, 0);
    assert_true(f.uid == 7 && f.count == 1 && f.old_flags == 1 && f.new_flags == 3);
    assert_true(f.old_keywords == 16 && f.new_keywords == 32);
    f = rec_flags_at(&r, 1);
    assert_true(f.uid == 9 && f.count == 1 && f.old_flags == 0 && f.new_flags == 1);
    assert_true(rec_change_time(span_of(old, REC_CHANGE_HEAD), &at_us));
    assert_int_equal(at_us, 5);

    buf_init(&b, 1000);
    assert_true(rec_change_head(&b, CHANGE_FLAGS, 99, 0, 2));
    for (int i = 0; i < 2; i++)
        assert_true(rec_flags_put(&wrote[i], &b));
    assert_true(rec_change_get(buf_span(&b), &r));
    assert_int_equal(r.count, 2);
    for (uint32_t i = 0; i < 2; i++) {
        f = rec_flags_at(&r, i);
        assert_true(f.uid == wrote[i].uid && f.count == wrote[i].count && f.old_flags == wrote[i].old_flags &&
                    f.new_flags == wrote[i].new_flags && f.old_keywords == wrote[i].old_keywords &&
                    f.new_keywords == wrote[i].new_keywords);
    }
    assert_true(rec_change_time(span_of(b.p, REC_CHANGE_HEAD), &at_us));
    assert_int_equal(at_us, 99);
    for (size_t n = 0; n < b.n; n++)
        assert_false(rec_change_get(span_of(b.p, n), &r));
    for (char version = 3; version <= 4; version++) { /* 3 is not for flags, 4 for nothing */
        b.p[0] = version;
        assert_false(rec_change_get(buf_span(&b), &r));
        assert_true(rec_change_time(buf_span(&b), &at_us) == (version == 3));
    }
    buf_free(&b);
}

/* What was added: one message from nowhere else is brief; others, and all before version 3, have a whole
 * head.
 */
static void test_added_changes(void **state)
{
    static const struct {
        uint64_t other;
        uint32_t uid, count;
        size_t size;
    } rows[] = {{0, 7, 1, REC_CHANGE_BRIEF},
                {0, UINT32_MAX, 1, REC_CHANGE_BRIEF},
                {0, 7, 2, REC_CHANGE_HEAD + ITEM_ADD},
                {5, 7, 1, REC_CHANGE_HEAD + ITEM_ADD}};
    static const char old[] = "\2\0\0\0\0\0\0\0\5\2\0\0\0\0\0\0\0\0\0\0\0\1\0\0\0\7\0\0\0\1";
    struct rec_change r;
    struct buf b;
    int64_t at_us;
    (void)state;
    buf_init(&b, 100);
    for (size_t i = 0; i < sizeof rows / sizeof *rows; i++) {
        buf_reset(&b);
        assert_true(rec_change_added(&b, CHANGE_APPEND, 99, rows[i].other, rows[i].uid, rows[i].count));
        assert_int_equal(b.n, rows[i].size);
        assert_true(rec_change_get(buf_span(&b), &r) && rec_change_time(buf_span(&b), &at_us));
        assert_true(r.op == CHANGE_APPEND && r.count == 1 && r.other == rows[i].other && r.at_us == 99);
        assert_true(at_us == 99);
        assert_int_equal(rec_added_at(&r, 0).uid, rows[i].uid);
        assert_int_equal(rec_added_at(&r, 0).count, rows[i].count);
        for (size_t n = 0; n < b.n; n++)
            assert_false(rec_change_get(span_of(b.p, n), &r));
    }
    assert_true(rec_change_get(span_of(old, sizeof old - 1), &r));
    assert_true(r.op == CHANGE_APPEND && rec_added_at(&r, 0).uid == 7 && rec_added_at(&r, 0).count == 1);
    buf_free(&b);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_crc),          cmocka_unit_test(test_names),
        cmocka_unit_test(test_packed_rows),  cmocka_unit_test(test_records),
        cmocka_unit_test(test_flag_changes), cmocka_unit_test(test_added_changes),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
