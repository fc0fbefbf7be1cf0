/* How things were: random operations on two mailboxes, each state remembered by what ROWS said then; every
 * one of them must be told again from the history, by modseq and by time. Then restores: references, quota,
 * keywords, deleted mailboxes, and the folders of an account at an instant. */
#include "tests/lib/cm.h"
#include "tests/lib/engine_drive.h"
#include "common/base/clock.h"
#include "common/base/crypto.h"
#include <stdio.h>
#include <stdlib.h>

static char dir[DRIVE_DIR], store[300];
static struct engine *e;
enum { ME = 1 };
static const struct uuid me = {{ME}};
static const int64_t begin_us = (int64_t)1800000000 * 1000000;
static int64_t now_us;

static void tick(void)
{
    now_us += 1000000;
    clock_fake((uint64_t)(now_us - begin_us) / 1000 + 1, now_us);
}

static int start(void **state)
{
    (void)state;
    assert_true(drive_folder("past", dir));
    snprintf(store, sizeof store, "%s/mail", dir);
    now_us = begin_us;
    tick();
    struct engine_options o = drive_options(store);
    o.undelete_us = (int64_t)86400 * 1000000;
    e = drive_open(&o);
    return 0;
}

static int end(void **state)
{
    (void)state;
    engine_close(&e);
    clock_fake(0, 0);
    return drive_folder_remove(dir);
}

/* -- requests -- */

static void deliver(const char *text)
{
    drive_deliver(e, ME, text);
}

static struct job *job_of(uint16_t type, uint64_t mailbox)
{
    return drive_session_job(type, ME, mailbox);
}

static struct wire_box box_named(const char *name)
{
    return drive_status(e, ME, name);
}

static enum err_code name_op(uint16_t type, const char *a, const char *b)
{
    struct job *j = job_of(type, 0);
    const struct wire_create w = {0, 0};
    if (type == WIRE_CREATE)
        assert_true(buf_add(&j->body, &w, sizeof w));
    assert_true(wire_put_text(&j->body, span_str(a)) && (!b || wire_put_text(&j->body, span_str(b))));
    return drive_call(e, j)->code;
}

static void set_flags(uint64_t box, uint32_t op, uint32_t flags, const char *keyword, const uint32_t *uids,
                      uint32_t n)
{
    struct job *j = job_of(WIRE_FLAGS, box);
    const struct wire_flags w = {.op = op, .flags = flags, .keyword_count = keyword != NULL, .uid_count = n};
    assert_true(buf_add(&j->body, &w, sizeof w) && (!keyword || wire_put_text(&j->body, span_str(keyword))) &&
                buf_add(&j->body, uids, n * sizeof *uids));
    assert_int_equal(drive_call(e, j)->code, ERR_OK);
}

static void copy(uint64_t box, const char *to, bool move, const uint32_t *uids, uint32_t n)
{
    struct job *j = job_of(WIRE_COPY, box);
    const struct wire_copy w = {move, n};
    assert_true(buf_add(&j->body, &w, sizeof w) && wire_put_text(&j->body, span_str(to)) &&
                buf_add(&j->body, uids, n * sizeof *uids));
    assert_int_equal(drive_call(e, j)->code, ERR_OK);
}

static void expunge(uint64_t box)
{
    drive_expunge(e, ME, box);
}

struct rows {
    struct store_row v[4096];
    size_t n;
};

static void rows_of(uint64_t box, struct rows *out)
{
    const struct wire_rows w = {1, 0};
    struct query q = {
        .type = WIRE_ROWS, .account = me, .mailbox = box, .body = span_of(&w, sizeof w), .budget = 4096};
    assert_int_equal(engine_query(e, &q), ERR_OK);
    assert_false(q.more);
    struct wire_rows_part head;
    memcpy(&head, q.answer.v[0].p, sizeof head);
    out->n = head.count;
    memcpy(out->v, q.answer.v[0].p + sizeof head, head.count * sizeof *out->v);
    parts_free(&q.answer);
}

static enum err_code view(uint64_t box, int64_t at_us, uint64_t modseq, bool gone, struct rows *out)
{
    const struct wire_view w = {.account = me, .at_us = at_us, .modseq = modseq, .gone = gone};
    struct query q = {.type = WIRE_VIEW,
                      .account = me,
                      .mailbox = box,
                      .body = span_of(&w, sizeof w),
                      .budget = UINT32_MAX};
    enum err_code code = engine_query(e, &q);
    out->n = 0;
    if (code == ERR_OK) {
        struct wire_in in = {buf_span(&q.answer.v[0]), false};
        struct wire_view_part head;
        struct wire_box b;
        assert_int_equal(q.answer.n, 1);
        wire_get(&in, &head, sizeof head);
        wire_get(&in, &b, sizeof b);
        wire_text(&in);
        for (uint32_t i = 0; i < b.keyword_count; i++)
            wire_text(&in);
        for (; out->n < head.count; out->n++) {
            struct store_past p;
            wire_get(&in, &p, sizeof p);
            out->v[out->n] = p.row;
        }
        assert_true(wire_whole(&in));
        if (head.flags & WIRE_PAST_TOO_OLD)
            code = ERR_LIMIT;
    }
    parts_free(&q.answer);
    return code;
}

static void same_rows(const struct rows *a, const struct rows *b, const char *what, size_t step)
{
    if (a->n != b->n)
        fail_msg("%s, step %zu: %zu rows, not %zu", what, step, a->n, b->n);
    for (size_t i = 0; i < a->n; i++) {
        const struct store_row *x = &a->v[i], *y = &b->v[i];
        if (x->uid != y->uid || x->flags != y->flags || x->keywords != y->keywords ||
            x->content != y->content || x->internal_s != y->internal_s || x->size != y->size)
            fail_msg("%s, step %zu: uid %u is not as it was (flags %x, %x)", what, step, x->uid, x->flags,
                     y->flags);
    }
}

static struct wire_restored restore(uint32_t kind, uint64_t from, uint64_t to, const struct rows *rows,
                                    enum err_code *code)
{
    struct wire_restored out = {.done = 0};
    struct job *j = job_of(WIRE_RESTORE, to);
    const struct wire_restore w = {.account = me, .from = from, .kind = kind, .count = (uint32_t)rows->n};
    j->account = (struct uuid){{0}};
    assert_true(buf_add(&j->body, &w, sizeof w) && buf_add(&j->body, rows->v, rows->n * sizeof *rows->v));
    j = drive_call(e, j);
    *code = j->code;
    if (j->code == ERR_OK)
        memcpy(&out, j->answer.v[0].p, sizeof out);
    if (drive_verify(e, true, false) != 0) /* each slice leaves a store that is whole */
        fail_msg("after a slice of a restore:\n%s", drive_told);
    return out;
}

/* -- random operations against what was seen -- */

enum { STEPS = 250 };
struct moment {
    int64_t at_us;
    uint64_t modseq[2];
    struct rows *rows[2];
};

static size_t pick(const struct rows *r, uint32_t *uids, size_t most)
{
    size_t n = 0;
    for (size_t i = 0; i < r->n && n < most; i++)
        if (rand() % 3 == 0)
            uids[n++] = r->v[i].uid;
    return n;
}

static void random_step(const char *const names[2], const uint64_t boxes[2])
{
    static const char *const words[] = {"$Forwarded", "khẩn", "viec", NULL};
    static struct rows r;
    uint32_t uids[20];
    char text[40];
    int b = rand() % 2;
    rows_of(boxes[b], &r);
    uint32_t n = (uint32_t)pick(&r, uids, 20);
    switch (rand() % 8) {
    case 0:
    case 1:
        snprintf(text, sizeof text, "message %d", rand());
        deliver(text);
        break;
    case 2:
        if (n)
            copy(boxes[b], names[rand() % 2], false, uids, n > 5 ? 5 : n);
        break;
    case 3:
        if (n)
            copy(boxes[b], names[1 - b], true, uids, n > 5 ? 5 : n);
        break;
    case 4:
        if (n)
            set_flags(boxes[b], STORE_FLAGS_ADD, STORE_DELETED, NULL, uids, n > 4 ? 4 : n);
        expunge(boxes[b]);
        break;
    default:
        if (n)
            set_flags(boxes[b], (uint32_t)(rand() % 3), (uint32_t)rand() & (0x1f & ~(uint32_t)STORE_DELETED),
                      words[rand() % 4], uids, n);
    }
}

static void test_every_moment(void **state)
{
    (void)state;
    static struct moment m[STEPS];
    static struct rows got;
    const char *const names[2] = {"INBOX", "Sổ/2026"};
    srand(20261127);
    deliver("first");
    assert_int_equal(name_op(WIRE_CREATE, names[1], NULL), ERR_OK);
    const uint64_t boxes[2] = {box_named(names[0]).id, box_named(names[1]).id};
    for (size_t i = 0; i < STEPS; i++) {
        tick();
        random_step(names, boxes);
        m[i].at_us = now_us;
        for (int b = 0; b < 2; b++) {
            m[i].modseq[b] = box_named(names[b]).modseq;
            m[i].rows[b] = malloc(sizeof *m[i].rows[b]);
            rows_of(boxes[b], m[i].rows[b]);
        }
    }
    for (size_t i = 0; i < STEPS; i++)
        for (int b = 0; b < 2; b++) {
            assert_int_equal(view(boxes[b], 0, m[i].modseq[b], false, &got), ERR_OK);
            same_rows(&got, m[i].rows[b], "by modseq", i);
            assert_int_equal(view(boxes[b], m[i].at_us, 0, false, &got), ERR_OK);
            same_rows(&got, m[i].rows[b], "by time", i);
            assert_int_equal(view(boxes[b], m[i].at_us + 999999, 0, false, &got), ERR_OK);
            same_rows(&got, m[i].rows[b], "before the next", i);
        }
    assert_int_equal(view(boxes[0], STORE_NOW, 0, false, &got), ERR_OK);
    same_rows(&got, m[STEPS - 1].rows[0], "now", STEPS);
    assert_int_equal(view(boxes[0], begin_us, 0, false, &got), ERR_OK);
    assert_int_equal(got.n, 0);
    /* A clock that was set back does not bend the order of things. */
    now_us -= 100 * 1000000LL;
    tick();
    deliver("later, says the order; earlier, says the clock");
    assert_int_equal(view(boxes[0], now_us, 0, false, &got), ERR_OK);
    assert_int_equal(got.n, box_named(names[0]).messages);
    for (size_t i = 0; i < STEPS; i++)
        for (int b = 0; b < 2; b++)
            free(m[i].rows[b]);
}

/* -- bringing back -- */

static void test_restore(void **state)
{
    (void)state;
    static struct rows was, got;
    enum err_code code;
    const uint32_t uids[] = {1, 2, 3};
    for (int i = 0; i < 3; i++)
        deliver("a message");
    const uint64_t inbox = box_named("INBOX").id;
    set_flags(inbox, STORE_FLAGS_ADD, STORE_FLAGGED, "khẩn", uids, 2);
    tick();
    const int64_t before_us = now_us;
    rows_of(inbox, &was);
    tick();
    set_flags(inbox, STORE_FLAGS_SET, STORE_DELETED, NULL, uids, 2);
    expunge(inbox);
    struct wire_box box = box_named("INBOX");
    assert_int_equal(view(inbox, before_us, 0, true, &got), ERR_OK);
    assert_int_equal(got.n, 2); /* the expunged ones */
    assert_int_equal(view(inbox, before_us, 0, false, &got), ERR_OK);
    same_rows(&got, &was, "as it was", 0);
    const long refs_before = drive_refs(e, got.v[0].content);
    got.n = 2;
    const struct wire_restored done = restore(RESTORE_ADD, inbox, inbox, &got, &code);
    assert_int_equal(code, ERR_OK);
    assert_int_equal(done.done, 2);
    assert_true(done.modseq > box.modseq);
    assert_int_equal(drive_refs(e, was.v[0].content), refs_before + 1);
    rows_of(inbox, &got);
    assert_int_equal(got.n, 3);
    for (size_t i = 0; i < 2; i++) {
        const struct store_row *r = &got.v[1 + i];
        assert_int_equal(r->uid, 4 + i);
        assert_int_equal(r->flags, STORE_FLAGGED);
        assert_int_equal(r->keywords, was.v[i].keywords);
        assert_int_equal(r->internal_s, was.v[i].internal_s);
        assert_int_equal(r->content, was.v[i].content);
    }
    assert_int_equal(box_named("INBOX").uidvalidity, box.uidvalidity);
    assert_int_equal(box_named("INBOX").messages, 3);
    /* Into another mailbox the keyword gets that one's bit. */
    assert_int_equal(name_op(WIRE_CREATE, "Khác", NULL), ERR_OK);
    const uint64_t other = box_named("Khác").id;
    was.n = 1;
    restore(RESTORE_ADD, inbox, other, &was, &code);
    assert_int_equal(code, ERR_OK);
    const uint32_t one = 1;
    set_flags(other, STORE_FLAGS_REMOVE, 0, "khẩn", &one, 1);
    rows_of(other, &got);
    assert_int_equal(got.v[0].keywords, 0);
    assert_int_equal(got.v[0].flags, STORE_FLAGGED);
    /* Flags back, and back again: nothing to do. */
    rows_of(inbox, &got);
    was = got;
    was.v[0].flags = STORE_SEEN | STORE_ANSWERED;
    assert_int_equal(restore(RESTORE_FLAGS, inbox, inbox, &was, &code).done, 1);
    box = box_named("INBOX");
    assert_int_equal(restore(RESTORE_FLAGS, inbox, inbox, &was, &code).done, 0);
    assert_int_equal(box_named("INBOX").modseq, box.modseq);
    assert_int_equal(restore(RESTORE_EXPUNGE, inbox, inbox, &was, &code).done, 3);
    assert_int_equal(restore(RESTORE_EXPUNGE, inbox, inbox, &was, &code).missing, 3);
    assert_int_equal(box_named("INBOX").messages, 0);
    /* A content that is on no record is passed over. */
    was.v[0].content = 999999;
    was.n = 1;
    assert_int_equal(restore(RESTORE_ADD, inbox, inbox, &was, &code).missing, 1);
    assert_int_equal(code, ERR_OK);
    /* Rows of a mailbox that is not there, or too many. */
    restore(RESTORE_ADD, 12345, inbox, &was, &code);
    assert_int_equal(code, ERR_MISSING);
    was.n = SLICE + 1;
    restore(RESTORE_ADD, inbox, inbox, &was, &code);
    assert_int_equal(code, ERR_SYNTAX);
}

/* -- folders -- */

static size_t names_at(int64_t at_us, bool deleted, char text[4000], uint64_t *first)
{
    const struct wire_past_names w = {.account = me, .at_us = at_us, .deleted = deleted};
    struct query q = {.type = WIRE_PAST_NAMES, .body = span_of(&w, sizeof w), .budget = UINT32_MAX};
    struct wire_past_names_part head;
    text[0] = '\0';
    assert_int_equal(engine_query(e, &q), ERR_OK);
    struct wire_in in = {buf_span(&q.answer.v[0]), false};
    wire_get(&in, &head, sizeof head);
    for (uint32_t i = 0; i < head.count; i++) {
        struct wire_past_name n;
        wire_get(&in, &n, sizeof n);
        struct span then = wire_text(&in), now = wire_text(&in);
        if (i == 0 && first)
            *first = n.mailbox;
        snprintf(text + strlen(text), 4000 - strlen(text), "%.*s=%.*s;", SPAN_ARG(then), SPAN_ARG(now));
    }
    assert_true(wire_whole(&in));
    size_t count = head.count;
    parts_free(&q.answer);
    return count;
}

static enum err_code folder(uint32_t action, uint64_t mailbox, const char *name)
{
    struct job *j = job_of(WIRE_FOLDER, mailbox);
    const struct wire_folder w = {.account = me, .action = action};
    assert_true(buf_add(&j->body, &w, sizeof w) && wire_put_text(&j->body, span_str(name)));
    return drive_call(e, j)->code;
}

static void test_folders(void **state)
{
    (void)state;
    char text[4000];
    uint64_t deleted;
    deliver("hello");
    assert_int_equal(name_op(WIRE_CREATE, "a/b", NULL), ERR_OK);
    const uint64_t a = box_named("a").id;
    tick();
    const int64_t first_us = now_us;
    const uint32_t one = 1;
    copy(box_named("INBOX").id, "a/b", false, &one, 1);
    tick();
    assert_int_equal(name_op(WIRE_RENAME, "a", "z"), ERR_OK);
    tick();
    const int64_t second_us = now_us;
    tick();
    assert_int_equal(name_op(WIRE_DELETE, "z/b", NULL), ERR_OK);
    tick();
    assert_int_equal(name_op(WIRE_CREATE, "a", NULL), ERR_OK);
    names_at(begin_us, false, text, NULL);
    assert_string_equal(text, "");
    names_at(first_us, false, text, NULL);
    assert_string_equal(text, "INBOX=INBOX;a=z;a/b=;");
    names_at(second_us, false, text, NULL);
    assert_string_equal(text, "INBOX=INBOX;z=z;z/b=;");
    names_at(STORE_NOW, false, text, NULL);
    assert_string_equal(text, "INBOX=INBOX;a=a;z=z;");
    assert_int_equal(names_at(first_us, true, text, &deleted), 1);
    assert_string_equal(text, "z/b=;");
    /* It comes back with its message, counted again; a name that is taken is refused. */
    assert_int_equal(folder(FOLDER_REVIVE, deleted, "a"), ERR_STATE);
    assert_int_equal(folder(FOLDER_REVIVE, deleted, "z/b"), ERR_OK);
    assert_int_equal(folder(FOLDER_REVIVE, deleted, "z/c"), ERR_STATE); /* it lives */
    assert_int_equal(box_named("z/b").messages, 1);
    assert_int_equal(names_at(first_us, true, text, NULL), 0);
    assert_int_equal(drive_quota(e, ME).messages, 2);
    assert_int_equal(folder(FOLDER_RENAME, a, "a"), ERR_STATE);
    assert_int_equal(folder(FOLDER_RENAME, a, "y"), ERR_OK);
    assert_int_equal(box_named("y").id, a);
    assert_int_equal(box_named("y/b").id, deleted);
    assert_int_equal(folder(FOLDER_NEED, 0, "y/b"), ERR_OK);
    assert_int_equal(folder(FOLDER_NEED, 0, "mới/lại"), ERR_OK);
    assert_int_equal(box_named("mới").messages, 0);
}

static void test_purge_of_folders(void **state)
{
    (void)state;
    char text[4000];
    struct tx t;
    bool more = true;
    deliver("hello");
    for (int i = 0; i < 300; i++) {
        snprintf(text, sizeof text, "f%d", i);
        assert_int_equal(name_op(WIRE_CREATE, text, NULL), ERR_OK);
        assert_int_equal(name_op(WIRE_DELETE, text, NULL), ERR_OK);
    }
    tick();
    for (int rounds = 0; more; rounds++) {
        assert_true(rounds < 10);
        assert_int_equal(tx_begin(e, false, &t), ERR_OK);
        assert_int_equal(history_purge(&t, &me, now_us, &more), ERR_OK);
        assert_int_equal(tx_commit(&t), ERR_OK);
        tx_free(&t);
    }
    /* The newest record stays: what comes later has a serial of its own, and old instants are refused. */
    now_us += 2 * (int64_t)86400 * 1000000;
    tick();
    assert_int_equal(name_op(WIRE_CREATE, "new", NULL), ERR_OK);
    const struct wire_past_names w = {.account = me, .at_us = begin_us};
    struct query q = {.type = WIRE_PAST_NAMES, .body = span_of(&w, sizeof w), .budget = UINT32_MAX};
    struct wire_past_names_part head;
    assert_int_equal(engine_query(e, &q), ERR_OK);
    memcpy(&head, q.answer.v[0].p, sizeof head);
    parts_free(&q.answer);
    assert_int_equal(head.flags, WIRE_PAST_TOO_OLD);
    assert_true(head.oldest_us > begin_us);
    names_at(now_us - 1, false, text, NULL);
    assert_string_equal(text, "INBOX=INBOX;");
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test_setup_teardown(test_every_moment, start, end),
        cmocka_unit_test_setup_teardown(test_restore, start, end),
        cmocka_unit_test_setup_teardown(test_folders, start, end),
        cmocka_unit_test_setup_teardown(test_purge_of_folders, start, end),
    };
    crypto_start();
    return cmocka_run_group_tests(tests, NULL, NULL);
}
