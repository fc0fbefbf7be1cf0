/* The client of the store against a real stored in a temporary folder: every call of store.h once at least,
 * and what a restart of stored looks like from here. */
#include "tests/lib/cm.h"
#include "tests/lib/store_env.h"
#include "common/base/clock.h"
#include <stdio.h>
#include <stdlib.h>
#include <unistd.h>

static struct store_env env;
static struct store *deliver, *session, *admin, *relay;

/* What the last answer said. */
static struct got {
    bool done;
    enum err_code code;
    struct store_row rows[5000];
    size_t row_count;
    uint32_t uids[5000], to[5000];
    size_t uid_count;
    uint64_t modseq;
    uint32_t uidvalidity, uid;
    struct store_mailbox box;
    char text[4096];
    bool flag;
    enum err_code outcomes[16];
    uint64_t queue_id, content;
    size_t count;
    char trace[TRACE_TEXT], traces[4][TRACE_TEXT];
    unsigned char receipt[512];
    size_t receipt_n;
    struct buf bytes;
} got;

static struct ticket *begin(void)
{
    buf_free(&got.bytes);
    memset(&got, 0, sizeof got);
    buf_init(&got.bytes, 64 << 20);
    return ticket_new(&got);
}

static enum err_code finish(struct ticket *t)
{
    env_wait(&env, &got.done);
    ticket_void(&t);
    return got.code;
}

static void on_done(void *s, enum err_code code)
{
    struct got *g = s;
    g->done = true;
    g->code = code;
}

static void on_box(void *s, enum err_code code, const struct store_mailbox *box)
{
    struct got *g = s;
    g->done = true;
    g->code = code;
    if (code != ERR_OK)
        return;
    g->box = *box;
    snprintf(g->text, sizeof g->text, "%.*s|%s", SPAN_ARG(box->name),
             box->keywords[0] ? box->keywords[0] : "");
}

static void on_list(void *s, enum err_code code, const struct store_mailbox *v, size_t count)
{
    struct got *g = s;
    size_t at = 0;
    g->done = true;
    g->code = code;
    g->count = count;
    for (size_t i = 0; i < count; i++)
        at += (size_t)snprintf(g->text + at, sizeof g->text - at, "%.*s%s%s ", SPAN_ARG(v[i].name),
                               v[i].subscribed ? "+" : "", v[i].no_select ? "!" : "");
}

static void on_rows(void *s, enum err_code code, const struct store_row *rows, size_t count, bool more)
{
    struct got *g = s;
    g->code = code;
    g->done = !more;
    for (size_t i = 0; i < count && g->row_count < 5000; i++)
        g->rows[g->row_count++] = rows[i];
}

static void on_meta(void *s, enum err_code code, const struct store_meta *v, size_t count, bool more)
{
    struct got *g = s;
    g->code = code;
    g->done = !more;
    for (size_t i = 0; i < count; i++) {
        g->uids[g->uid_count++] = v[i].uid;
        snprintf(g->text, sizeof g->text, "%.*s", SPAN_ARG(v[i].record));
    }
}

static void on_read(void *s, enum err_code code, struct span bytes)
{
    struct got *g = s;
    g->done = true;
    g->code = code;
    assert_true(buf_add_span(&g->bytes, bytes));
}

static void on_changes(void *s, enum err_code code, const struct store_changes *c)
{
    struct got *g = s;
    g->done = true;
    g->code = code;
    if (code != ERR_OK)
        return;
    g->box = c->box;
    g->flag = c->whole;
    g->row_count = c->row_count;
    if (c->row_count)
        memcpy(g->rows, c->rows, c->row_count * sizeof *c->rows);
    g->uid_count = c->gone_count;
    memcpy(g->uids, c->gone, c->gone_count * sizeof *c->gone);
}

static void on_flagged(void *s, enum err_code code, const struct store_flagged *f)
{
    struct got *g = s;
    g->done = true;
    g->code = code;
    if (code != ERR_OK)
        return;
    g->row_count = 0;
    for (size_t i = 0; i < f->run_count; i++)
        for (uint32_t k = 0; k < f->runs[i].count; k++)
            g->rows[g->row_count++] = (struct store_row){.uid = f->runs[i].first + k,
                                                         .modseq = f->runs[i].modseq,
                                                         .flags = f->runs[i].flags,
                                                         .keywords = f->runs[i].keywords};
    g->uid_count = f->modified_count;
    g->modseq = f->modseq;
    for (size_t i = 0; f->keywords[i]; i++)
        snprintf(g->text + strlen(g->text), sizeof g->text - strlen(g->text), "%s ", f->keywords[i]);
}

static void on_copied(void *s, enum err_code code, const struct store_copied *c)
{
    struct got *g = s;
    g->done = true;
    g->code = code;
    if (code != ERR_OK)
        return;
    g->uid_count = c->count;
    memcpy(g->uids, c->from, c->count * 4);
    memcpy(g->to, c->to, c->count * 4);
    g->modseq = c->source_modseq;
    g->uidvalidity = c->uidvalidity;
}

static void on_expunged(void *s, enum err_code code, const uint32_t *gone, size_t count, uint64_t modseq)
{
    struct got *g = s;
    g->done = true;
    g->code = code;
    g->uid_count = count;
    if (count)
        memcpy(g->uids, gone, count * 4);
    g->modseq = modseq;
}

static void on_appended(void *s, enum err_code code, const struct store_appended *a)
{
    struct got *g = s;
    g->done = true;
    g->code = code;
    if (code == ERR_OK) {
        g->uid = a->uid;
        g->uidvalidity = a->uidvalidity;
    }
}

static void on_delivered(void *s, enum err_code code, const struct store_delivered *d)
{
    struct got *g = s;
    g->done = true;
    g->code = code;
    if (code != ERR_OK)
        return;
    g->flag = d->repeated;
    g->count = d->count;
    for (size_t i = 0; i < d->count && i < 16; i++)
        g->outcomes[i] = d->outcome[i];
    memcpy(g->trace, d->trace.text, TRACE_TEXT);
    for (size_t i = 0; i < d->count && i < 4; i++)
        memcpy(g->traces[i], d->traces[i].text, TRACE_TEXT);
    assert_true(d->receipt.n <= sizeof g->receipt);
    g->receipt_n = d->receipt.n;
    if (d->receipt.n)
        memcpy(g->receipt, d->receipt.p, d->receipt.n);
}

static void on_queued(void *s, enum err_code code, const struct store_queued *q)
{
    struct got *g = s;
    g->done = true;
    g->code = code;
    if (code != ERR_OK)
        return;
    g->queue_id = q->queue_id;
    g->count = q->to_count;
    g->uid = q->attempts;
    snprintf(g->text, sizeof g->text, "%.*s|%.*s|%02x", SPAN_ARG(q->sender), SPAN_ARG(q->to[0].address),
             q->cursor.b[15]);
}

static void on_trace(void *s, enum err_code code, const struct store_trace_line *v, size_t count, bool more)
{
    struct got *g = s;
    g->done = !more;
    g->code = code;
    for (size_t i = 0; i < count; i++)
        snprintf(g->text + strlen(g->text), sizeof g->text - strlen(g->text), "%.*s ", SPAN_ARG(v[i].event));
}

static void on_text(void *s, enum err_code code, struct span text)
{
    struct got *g = s;
    g->done = true;
    g->code = code;
    snprintf(g->text, sizeof g->text, "%.*s", SPAN_ARG(text));
}

static void on_accounts(void *s, enum err_code code, const struct store_account_info *v, size_t count,
                        bool more)
{
    struct got *g = s;
    (void)v;
    g->done = !more;
    g->code = code;
    g->count += count;
}

/* -- shorthand -- */

static enum err_code append(struct store_account *a, const char *box, struct span text, uint32_t flags)
{
    struct ticket *t = begin();
    struct content *c = env_content(text, SPAN("m"));
    const struct span keyword = SPAN("$Work");
    const struct store_append m = {.mailbox = span_str(box),
                                   .content = c,
                                   .flags = flags,
                                   .keywords = &keyword,
                                   .keyword_count = 1,
                                   .internal_s = 1700000000,
                                   .zone_min = 420,
                                   .trace = trace_new()};
    store_append(a, &m, t, on_appended);
    enum err_code code = finish(t);
    content_free(&c);
    return code;
}

static enum err_code append_once(struct store_account *a, const char *box, const struct trace_id *trace)
{
    struct ticket *t = begin();
    struct content *c = env_content(SPAN("once\r\n"), SPAN("m"));
    const struct store_append m = {
        .mailbox = span_str(box), .content = c, .internal_s = 1, .trace = *trace, .once = true};
    store_append(a, &m, t, on_appended);
    enum err_code code = finish(t);
    content_free(&c);
    return code;
}

static enum err_code rows(struct store_account *a, uint64_t box)
{
    struct ticket *t = begin();
    store_rows(a, box, 1, 0, t, on_rows);
    return finish(t);
}

static enum err_code flags(struct store_account *a, uint64_t box, const uint32_t *uids, size_t n,
                           enum store_flags_op op, uint32_t f)
{
    struct ticket *t = begin();
    const struct store_flag_change change = {.op = op, .flags = f};
    store_flags(a, box, uids, n, &change, t, on_flagged);
    return finish(t);
}

static enum err_code copy(struct store_account *a, uint64_t box, const uint32_t *uids, size_t n,
                          const char *to, bool move)
{
    struct ticket *t = begin();
    store_copy(a, box, uids, n, span_str(to), move, t, on_copied);
    return finish(t);
}

static enum err_code create(struct store_account *a, const char *name)
{
    struct ticket *t = begin();
    store_create(a, span_str(name), STORE_USE_NONE, t, on_box);
    return finish(t);
}

static enum err_code rename_box(struct store_account *a, const char *from, const char *to)
{
    struct ticket *t = begin();
    store_rename(a, span_str(from), span_str(to), t, on_done);
    return finish(t);
}

static enum err_code delete_box(struct store_account *a, const char *name)
{
    struct ticket *t = begin();
    store_delete(a, span_str(name), t, on_done);
    return finish(t);
}

static const char *list(struct store_account *a)
{
    struct ticket *t = begin();
    store_list(a, t, on_list);
    assert_int_equal(finish(t), ERR_OK);
    return got.text;
}

static enum err_code changes(struct store_account *a, uint64_t box, uint64_t since)
{
    struct ticket *t = begin();
    store_changes(a, box, since, t, on_changes);
    return finish(t);
}

static uint64_t box_id(struct store_account *a, const char *name)
{
    struct store_mailbox box;
    assert_int_equal(env_status(&env, a, name, &box), ERR_OK);
    return box.id;
}

/* -- tests -- */

static void test_deliver_and_read(void **state)
{
    (void)state;
    struct store_mailbox box;
    assert_int_equal(env_deliver(&env, deliver, 1, "Subject: a\r\n\r\none\r\n"), ERR_OK);
    assert_int_equal(env_deliver(&env, deliver, 1, "Subject: b\r\n\r\ntwo\r\n"), ERR_OK);
    struct store_account *a = env_login(&env, session, 1, NULL);
    assert_non_null(a);
    assert_int_equal(env_status(&env, a, "inbox", &box), ERR_OK);
    assert_int_equal(box.messages, 2);
    assert_int_equal(box.unseen, 2);
    assert_int_equal(box.uidnext, 3);
    assert_int_equal(box.recent_from, 1);
    assert_int_equal(rows(a, box.id), ERR_OK);
    assert_int_equal(got.row_count, 2);
    assert_int_equal(got.rows[1].uid, 2);
    assert_int_equal(got.rows[1].size, 19);
    struct ticket *t = begin();
    store_read(a, box.id, 2, 12, 1000, t, on_read);
    assert_int_equal(finish(t), ERR_OK);
    assert_true(span_eq(buf_span(&got.bytes), SPAN("\r\ntwo\r\n")));
    t = begin();
    store_read(a, box.id, 2, 19, 5, t, on_read);
    assert_int_equal(finish(t), ERR_OK);
    assert_int_equal(got.bytes.n, 0);
    t = begin();
    store_read(a, box.id, 3, 0, 5, t, on_read);
    assert_int_equal(finish(t), ERR_MISSING);
    t = begin();
    const uint32_t uids[] = {1, 2, 9};
    store_meta(a, box.id, uids, 3, t, on_meta);
    assert_int_equal(finish(t), ERR_OK);
    assert_int_equal(got.uid_count, 2);
    assert_string_equal(got.text, "meta");
    assert_string_equal(list(a), "INBOX+ Archive+ Drafts+ Junk+ Sent+ Trash+ ");
    store_logout(&a);
}

static uint32_t recent_from(struct store_account *a, bool claim)
{
    struct ticket *t = begin();
    store_status(a, SPAN("INBOX"), claim, t, on_box);
    assert_int_equal(finish(t), ERR_OK);
    return got.box.recent_from;
}

/* What is recent is told once, whether or not the record has followed; it does in the end. */
static void test_claim_recent(void **state)
{
    (void)state;
    struct store_account *a = NULL;
    for (uint32_t uid = 1; uid <= 2; uid++) {
        assert_int_equal(env_deliver(&env, deliver, 2, uid == 1 ? "x\r\n" : "y\r\n"), ERR_OK);
        if (!a)
            a = env_login(&env, session, 2, NULL);
        for (int i = 0; i < 3; i++)
            assert_int_equal(recent_from(a, true), i == 0 ? uid : uid + 1);
    }
    for (int i = 0; i < 5000 && recent_from(a, false) != 3; i++)
        usleep(1000);
    assert_int_equal(got.box.recent_from, 3);
    store_logout(&a);
}

static void test_large_message(void **state)
{
    (void)state;
    struct store_account *a = env_login(&env, session, 3, NULL);
    struct buf text;
    buf_init(&text, 16 << 20);
    uint32_t x = 1;
    while (text.n < (5 << 20) + 77) { /* bytes that do not pack: over CONTENT_MEMORY, so in a memory file */
        x = x * 1664525 + 1013904223;
        assert_true(buf_add_u32(&text, x));
    }
    assert_int_equal(append(a, "INBOX", buf_span(&text), STORE_SEEN), ERR_OK);
    uint64_t id = box_id(a, "INBOX");
    struct buf back;
    buf_init(&back, 16 << 20);
    for (;;) {
        struct ticket *t = begin();
        store_read(a, id, 1, back.n, STORE_READ_LIMIT, t, on_read);
        assert_int_equal(finish(t), ERR_OK);
        if (got.bytes.n == 0)
            break;
        assert_true(buf_add_span(&back, buf_span(&got.bytes)));
    }
    assert_true(span_eq(buf_span(&text), buf_span(&back)));
    struct ticket *t = begin();
    store_read(a, id, 1, FRAME_RAW - 3, 10, t, on_read);
    assert_int_equal(finish(t), ERR_OK);
    assert_true(span_eq(buf_span(&got.bytes), span_of(text.p + FRAME_RAW - 3, 10)));
    buf_free(&text);
    buf_free(&back);
    store_logout(&a);
}

/* A message that an import names comes in once, also when it has been expunged meanwhile. */
static void test_append_once(void **state)
{
    (void)state;
    struct store_account *a = env_login(&env, session, 50, NULL);
    const struct trace_id first = trace_new(), second = trace_new();
    const uint32_t one = 1;
    assert_int_equal(append_once(a, "INBOX", &first), ERR_OK);
    assert_int_equal(got.uid, 1);
    assert_int_equal(append_once(a, "INBOX", &first), ERR_STATE);
    assert_int_equal(append_once(a, "Archive", &first), ERR_STATE);
    uint64_t id = box_id(a, "INBOX");
    assert_int_equal(flags(a, id, &one, 1, STORE_FLAGS_ADD, STORE_DELETED), ERR_OK);
    struct ticket *t = begin();
    store_expunge(a, id, NULL, 0, t, on_expunged);
    assert_int_equal(finish(t), ERR_OK);
    assert_int_equal(append_once(a, "INBOX", &first), ERR_STATE);
    /* refused, it took no UID and no storage */
    assert_int_equal(append_once(a, "INBOX", &second), ERR_OK);
    assert_int_equal(got.uid, 2);
    struct store_mailbox box;
    env_status(&env, a, "INBOX", &box);
    assert_int_equal(box.messages, 1);
    assert_int_equal(box.bytes, 6);
    store_logout(&a);
}

static void test_flags(void **state)
{
    (void)state;
    struct store_account *a = env_login(&env, session, 4, NULL);
    for (int i = 0; i < 3; i++)
        assert_int_equal(append(a, "INBOX", SPAN("hello\r\n"), 0), ERR_OK);
    uint64_t id = box_id(a, "INBOX");
    const uint32_t uids[] = {1, 2, 7};
    assert_int_equal(flags(a, id, uids, 3, STORE_FLAGS_ADD, STORE_SEEN | STORE_DELETED), ERR_OK);
    assert_int_equal(got.row_count, 2);
    assert_int_equal(got.rows[0].flags, STORE_SEEN | STORE_DELETED);
    assert_string_equal(got.text, "$Work ");
    uint64_t modseq = got.modseq;
    assert_int_equal(got.rows[1].modseq, modseq);
    assert_int_equal(flags(a, id, uids, 2, STORE_FLAGS_ADD, STORE_SEEN), ERR_OK); /* nothing changes */
    assert_int_equal(got.row_count, 0);
    assert_int_equal(got.modseq, modseq);
    struct store_mailbox box;
    env_status(&env, a, "INBOX", &box);
    assert_int_equal(box.unseen, 1);
    assert_int_equal(box.deleted, 2);
    /* unchanged_since */
    struct ticket *t = begin();
    const struct span keyword[] = {SPAN("$work"), SPAN("$Later")};
    const struct store_flag_change change = {.op = STORE_FLAGS_ADD,
                                             .keywords = keyword,
                                             .keyword_count = 2,
                                             .unchanged_since_given = true,
                                             .unchanged_since = modseq - 1};
    const uint32_t all[] = {1, 2, 3};
    store_flags(a, id, all, 3, &change, t, on_flagged);
    assert_int_equal(finish(t), ERR_OK);
    assert_int_equal(got.uid_count, 2);
    assert_int_equal(got.row_count, 1);
    assert_int_equal(got.rows[0].keywords, 3);
    assert_string_equal(got.text, "$Work $Later ");
    /* expunge of listed, then of all */
    t = begin();
    store_expunge(a, id, uids, 1, t, on_expunged);
    assert_int_equal(finish(t), ERR_OK);
    assert_int_equal(got.uid_count, 1);
    t = begin();
    store_expunge(a, id, NULL, 0, t, on_expunged);
    assert_int_equal(finish(t), ERR_OK);
    assert_int_equal(got.uid_count, 1);
    assert_int_equal(got.uids[0], 2);
    env_status(&env, a, "INBOX", &box);
    assert_int_equal(box.messages, 1);
    assert_int_equal(box.deleted, 0);
    /* what changed since */
    assert_int_equal(changes(a, id, modseq), ERR_OK);
    assert_false(got.flag);
    assert_int_equal(got.row_count, 1);
    assert_int_equal(got.rows[0].uid, 3);
    assert_int_equal(got.uid_count, 2);
    assert_int_equal(got.uids[0], 1);
    assert_int_equal(changes(a, id, 0), ERR_OK);
    assert_true(got.flag);
    assert_int_equal(got.row_count, 1);
    store_logout(&a);
}

static void test_copy_move(void **state)
{
    (void)state;
    struct store_account *a = env_login(&env, session, 5, NULL);
    uint32_t uids[700];
    for (uint32_t i = 0; i < 700; i++) {
        uids[i] = i + 1;
        assert_int_equal(append(a, "INBOX", SPAN("hello\r\n"), i % 2 ? STORE_SEEN : 0), ERR_OK);
    }
    uint64_t id = box_id(a, "INBOX");
    assert_int_equal(copy(a, id, uids, 700, "Nowhere", false), ERR_MISSING);
    assert_int_equal(copy(a, id, uids, 700, "Archive", false), ERR_OK);
    assert_int_equal(got.uid_count, 700);
    assert_int_equal(got.to[699], 700);
    struct store_mailbox box;
    env_status(&env, a, "Archive", &box);
    assert_int_equal(box.messages, 700);
    assert_int_equal(box.unseen, 350);
    assert_int_equal(box.uidvalidity, got.uidvalidity);
    assert_int_equal(copy(a, id, uids + 100, 600, "Trash", true), ERR_OK);
    assert_int_equal(got.uid_count, 600);
    env_status(&env, a, "INBOX", &box);
    assert_int_equal(box.messages, 100);
    assert_int_equal(box.modseq, got.modseq);
    env_status(&env, a, "Trash", &box);
    assert_int_equal(box.messages, 600);
    assert_int_equal(copy(a, id, uids, 10, "INBOX", true), ERR_OK); /* to itself */
    env_status(&env, a, "INBOX", &box);
    assert_int_equal(box.messages, 100);
    assert_int_equal(box.uidnext, 711);
    assert_int_equal(rename_box(a, "INBOX", "Old/2026"), ERR_OK);
    env_status(&env, a, "INBOX", &box);
    assert_int_equal(box.messages, 0);
    assert_int_equal(box.id, id);
    env_status(&env, a, "Old/2026", &box);
    assert_int_equal(box.messages, 100);
    /* the keyword came along */
    assert_int_equal(rows(a, box.id), ERR_OK);
    assert_int_equal(got.rows[0].keywords, 1);
    store_logout(&a);
}

static void test_names(void **state)
{
    (void)state;
    struct store_account *a = env_login(&env, session, 6, NULL);
    static const char *const bad[] = {"",     "/a", "a/", "a//b", "a\x01", "\xff", "\xc3", "a/\xed\xa0\x80",
                                      "a\x7f"};
    for (size_t i = 0; i < sizeof bad / sizeof *bad; i++)
        assert_int_equal(create(a, bad[i]), ERR_SYNTAX);
    assert_int_equal(create(a, "inbox"), ERR_STATE);
    assert_int_equal(create(a, "Việc/Tháng 1/Tuần"), ERR_OK);
    assert_int_equal(create(a, "Việc/Tháng 1"), ERR_STATE);
    assert_int_equal(delete_box(a, "INBOX"), ERR_DENIED);
    assert_int_equal(delete_box(a, "Không"), ERR_MISSING);
    assert_int_equal(delete_box(a, "Việc"), ERR_OK);
    assert_non_null(strstr(list(a), "Việc! Việc/Tháng 1 Việc/Tháng 1/Tuần"));
    assert_int_equal(delete_box(a, "Việc"), ERR_STATE);
    assert_int_equal(rename_box(a, "Việc", "Cũ/Hết"), ERR_OK);
    assert_non_null(strstr(list(a), "Cũ Cũ/Hết! Cũ/Hết/Tháng 1 Cũ/Hết/Tháng 1/Tuần"));
    assert_int_equal(rename_box(a, "Cũ", "Cũ/Con"), ERR_STATE);
    assert_int_equal(rename_box(a, "Cũ", "Trash"), ERR_STATE);
    assert_int_equal(rename_box(a, "Thiếu", "X"), ERR_MISSING);
    struct ticket *t = begin();
    store_subscribe(a, SPAN("Cũ/Hết/Tháng 1"), true, t, on_done);
    assert_int_equal(finish(t), ERR_OK);
    t = begin();
    store_subscribe(a, SPAN("Chưa có"), true, t, on_done);
    assert_int_equal(finish(t), ERR_OK);
    assert_non_null(strstr(list(a), "Chưa có+!"));
    t = begin();
    store_subscribe(a, SPAN("Chưa có"), false, t, on_done);
    assert_int_equal(finish(t), ERR_OK);
    assert_null(strstr(list(a), "Chưa có"));
    struct store_mailbox old, fresh;
    env_status(&env, a, "Cũ/Hết/Tháng 1/Tuần", &old);
    assert_int_equal(delete_box(a, "Cũ/Hết/Tháng 1/Tuần"), ERR_OK);
    assert_int_equal(create(a, "Cũ/Hết/Tháng 1/Tuần"), ERR_OK);
    env_status(&env, a, "Cũ/Hết/Tháng 1/Tuần", &fresh);
    assert_true(fresh.uidvalidity > old.uidvalidity);
    t = begin();
    store_status_id(a, old.id, t, on_box);
    assert_int_equal(finish(t), ERR_MISSING);
    store_logout(&a);
}

struct watcher {
    bool done;
    enum err_code code;
    uint64_t mailbox, modseq;
    unsigned lists;
};

static void on_event(void *arg, enum err_code code, uint64_t mailbox, uint64_t modseq)
{
    struct watcher *w = arg;
    if (mailbox == 0) {
        w->lists++;
        w->code = code;
        w->done = w->done || code != ERR_OK;
        return;
    }
    w->mailbox = mailbox;
    w->done = modseq > w->modseq;
    w->modseq = modseq;
}

static void test_events_and_restart(void **state)
{
    (void)state;
    struct watcher w = {.done = false};
    struct store_account *a = env_login(&env, session, 7, NULL);
    store_events(a, on_event, &w);
    uint64_t id = box_id(a, "INBOX");
    store_watch(a, id, true);
    env_wait(&env, &w.done);
    uint64_t start = w.modseq;
    w.done = false;
    assert_int_equal(env_deliver(&env, deliver, 7, "x\r\n"), ERR_OK);
    env_wait(&env, &w.done);
    assert_true(w.modseq > start);
    assert_int_equal(create(a, "Neu"), ERR_OK);
    assert_true(w.lists > 0);
    /* stored dies; what is asked meanwhile is answered when it is back, and watches go on */
    env_kill(&env);
    struct ticket *t = begin();
    struct content *c = env_content(SPAN("while away\r\n"), SPAN("m"));
    const struct store_append m = {
        .mailbox = SPAN("INBOX"), .content = c, .internal_s = 1, .trace = trace_new()};
    store_append(a, &m, t, on_appended);
    content_free(&c);
    env_restart(&env);
    uint64_t before = w.modseq;
    assert_int_equal(finish(t), ERR_OK);
    assert_int_equal(got.uid, 2);
    assert_int_equal(rows(a, id), ERR_OK);
    assert_int_equal(got.row_count, 2);
    assert_true(w.modseq > before); /* the event came along with the answer, or before */
    /* a revocation reaches the session */
    w.done = false;
    t = begin();
    const struct uuid account = env_account(7);
    store_admin_revoke(admin, &account, clock_wall_us() + 1000000, t, on_done);
    assert_int_equal(finish(t), ERR_OK);
    env_wait(&env, &w.done);
    assert_int_equal(w.code, ERR_DENIED);
    assert_int_equal(rows(a, id), ERR_DENIED);
    store_logout(&a);
    enum err_code code;
    a = env_login(&env, session, 7, &code);
    assert_null(a);
    assert_int_equal(code, ERR_DENIED);
}

static void test_other_account(void **state)
{
    (void)state;
    struct store_account *a = env_login(&env, session, 8, NULL), *b = env_login(&env, session, 9, NULL);
    uint64_t id = box_id(a, "INBOX");
    assert_int_equal(rows(b, id), ERR_DENIED);
    const uint32_t one = 1;
    assert_int_equal(flags(b, id, &one, 1, STORE_FLAGS_ADD, STORE_SEEN), ERR_DENIED);
    assert_int_equal(copy(b, id, &one, 1, "Trash", false), ERR_DENIED);
    store_logout(&a);
    store_logout(&b);
}

static struct span receipt_of(const struct got *g)
{
    return span_of(g->receipt, g->receipt_n);
}

static enum err_code deliver_to(const struct store_target *to, size_t n, struct span text, bool queue,
                                bool repeat)
{
    struct ticket *t = begin();
    struct content *c = env_content(text, SPAN("m"));
    const struct store_delivery d = {.trace = trace_new(),
                                     .sender = SPAN("s@example.net"),
                                     .peer = SPAN("192.0.2.1"),
                                     .login = SPAN(""),
                                     .received_us = clock_wall_us(),
                                     .content = c,
                                     .to = to,
                                     .to_count = n,
                                     .queue = queue,
                                     .find_repeat = repeat};
    store_deliver(deliver, &d, t, on_delivered);
    enum err_code code = finish(t);
    content_free(&c);
    return code;
}

static void test_delivery_outcomes(void **state)
{
    (void)state;
    const struct store_target to[] = {
        {STORE_TO_ACCOUNT, env_account(21), SPAN("b@x"), 0},
        {STORE_TO_ACCOUNT, env_account(20), SPAN("a@x"), 4},     /* full */
        {STORE_TO_ACCOUNT, env_account(21), SPAN("alias@x"), 0}, /* the same person */
    };
    assert_int_equal(deliver_to(to, 3, SPAN("12345\r\n"), false, true), ERR_OK);
    assert_int_equal(got.count, 3);
    assert_int_equal(got.outcomes[0], ERR_OK);
    assert_int_equal(got.outcomes[1], ERR_LIMIT);
    assert_int_equal(got.outcomes[2], ERR_OK);
    assert_false(got.flag);
    const struct got first = got;
    char trace[TRACE_TEXT];
    memcpy(trace, got.trace, sizeof trace);
    /* again, as if the 250 was lost; also in another order */
    const struct store_target turned[] = {to[1], to[2], to[0]};
    assert_int_equal(deliver_to(turned, 3, SPAN("12345\r\n"), false, true), ERR_OK);
    assert_false(got.flag); /* one is not settled yet */
    assert_string_equal(got.traces[1], trace);
    assert_string_equal(got.traces[2], trace);
    assert_int_equal(got.outcomes[1], ERR_OK);
    assert_int_equal(got.outcomes[0], ERR_LIMIT); /* not served before: tried again, and still full */
    struct store_account *a = env_login(&env, session, 21, NULL);
    struct store_mailbox box;
    env_status(&env, a, "INBOX", &box);
    assert_int_equal(box.messages, 1);
    /* other bytes are another message; and after the confirmation the same bytes are, too */
    assert_int_equal(deliver_to(to, 3, SPAN("12346\r\n"), false, true), ERR_OK);
    assert_false(got.flag);
    store_delivered_confirm(deliver, receipt_of(&first));
    /* at once, although confirmations are put on record when nobody waits; the late one leaves the new key
     * alone */
    assert_int_equal(deliver_to(to, 3, SPAN("12345\r\n"), false, true), ERR_OK);
    assert_false(got.flag);
    char second[TRACE_TEXT];
    memcpy(second, got.trace, sizeof second);
    usleep(700000);
    assert_int_equal(deliver_to(to, 1, SPAN("12345\r\n"), false, true), ERR_OK);
    assert_true(got.flag);
    assert_string_equal(got.trace, second);
    struct ticket *t = begin();
    store_admin_trace(admin, span_str(trace), t, on_trace);
    assert_int_equal(finish(t), ERR_OK);
    assert_string_equal(got.text, "received filed present ");
    store_logout(&a);
}

static uint32_t inbox_of(unsigned n)
{
    struct store_account *a = env_login(&env, session, n, NULL);
    struct store_mailbox box;
    env_status(&env, a, "INBOX", &box);
    store_logout(&a);
    return box.messages;
}

/* Each recipient is found again for itself: a peer may come back with some of them, with others beside them,
 * in another order; only what was told to be taken is a new message the next time. */
static void test_repeats_of_some(void **state)
{
    (void)state;
    const struct store_target a = {STORE_TO_ACCOUNT, env_account(61), SPAN("a@x"), 0},
                              b = {STORE_TO_ACCOUNT, env_account(62), SPAN("b@x"), 0},
                              c = {STORE_TO_ACCOUNT, env_account(63), SPAN("c@x"), 0};
    const struct store_target ab[] = {a, b}, cb[] = {c, b}, all[] = {c, a, b}, twice[] = {b, b};
    const struct span text = SPAN("some of them\r\n");
    assert_int_equal(deliver_to(ab, 2, text, false, true), ERR_OK);
    const struct got first = got;
    assert_int_equal(deliver_to(cb, 2, text, false, true), ERR_OK);
    const struct got second = got;
    assert_false(second.flag);
    assert_string_not_equal(second.trace, first.trace);
    assert_string_equal(second.traces[0], second.trace);
    assert_string_equal(second.traces[1], first.trace);
    assert_int_equal(inbox_of(61) + inbox_of(62) + inbox_of(63), 3);
    assert_int_equal(deliver_to(all, 3, text, false, true), ERR_OK);
    assert_true(got.flag);
    assert_string_equal(got.traces[0], second.trace);
    assert_string_equal(got.traces[1], first.trace);
    assert_int_equal(deliver_to(twice, 2, text, false, true), ERR_OK);
    assert_true(got.flag);
    assert_int_equal(inbox_of(61) + inbox_of(62) + inbox_of(63), 3);
    /* c and b were told: the next time they get another copy, a does not */
    store_delivered_confirm(deliver, receipt_of(&second));
    assert_int_equal(deliver_to(all, 3, text, false, true), ERR_OK);
    assert_false(got.flag);
    assert_string_equal(got.traces[1], first.trace);
    assert_int_equal(inbox_of(61), 1);
    assert_int_equal(inbox_of(62), 2);
    assert_int_equal(inbox_of(63), 2);
    /* another peer, another sender, other bytes: not asked for here, since the key names them; but without
     * find_repeat everything is new */
    assert_int_equal(deliver_to(all, 3, text, false, false), ERR_OK);
    assert_int_equal(got.receipt_n, 0);
    assert_int_equal(inbox_of(61), 2);
}

/* A group that comes back beside an account that was served before passes it over. */
static void test_repeat_with_group(void **state)
{
    (void)state;
    const struct store_target account = {STORE_TO_ACCOUNT, env_account(64), SPAN("a@x"), 0};
    const struct store_target both[] = {account, {STORE_TO_GROUP, env_account(2000), SPAN("g@x"), 0}};
    const struct span text = SPAN("also to a group\r\n");
    assert_int_equal(deliver_to(&account, 1, text, false, true), ERR_OK);
    assert_int_equal(deliver_to(both, 2, text, false, true), ERR_OK);
    assert_false(got.flag);
    struct ticket *t = begin();
    store_lease(relay, 5000, t, on_queued);
    assert_int_equal(finish(t), ERR_OK);
    assert_string_equal(got.text, "s@example.net|g@x|00");
    const struct store_target members[] = {account, {STORE_TO_ACCOUNT, env_account(65), SPAN("m@x"), 0}};
    const struct store_slice slice = {
        .queue_id = got.queue_id, .to = members, .to_count = 2, .cursor = members[1].id, .finished = true};
    t = begin();
    store_slice(relay, &slice, t, on_done);
    assert_int_equal(finish(t), ERR_OK);
    assert_int_equal(inbox_of(64), 1);
    assert_int_equal(inbox_of(65), 1);
    /* the whole once more, after the group was served: nothing */
    assert_int_equal(deliver_to(both, 2, text, false, true), ERR_OK);
    assert_true(got.flag);
    t = begin();
    store_lease(relay, 5000, t, on_queued);
    assert_int_equal(finish(t), ERR_MISSING);
}

static void test_queue(void **state)
{
    (void)state;
    const struct store_target to[] = {
        {STORE_TO_ACCOUNT, env_account(31), SPAN("direct@x"), 0},
        {STORE_TO_GROUP, env_account(1000), SPAN("all@x"), 0},
    };
    struct ticket *t = begin();
    store_lease(relay, 5000, t, on_queued);
    assert_int_equal(finish(t), ERR_MISSING);
    assert_int_equal(deliver_to(to, 2, SPAN("circular\r\n"), false, false), ERR_OK);
    t = begin();
    store_lease(relay, 5000, t, on_queued);
    assert_int_equal(finish(t), ERR_OK);
    assert_int_equal(got.count, 1);
    assert_string_equal(got.text, "s@example.net|all@x|00");
    uint64_t id = got.queue_id;
    t = begin();
    store_lease(relay, 5000, t, on_queued);
    assert_int_equal(finish(t), ERR_MISSING); /* it is leased */
    /* two slices; 31 has it already and is passed over */
    struct store_target members[STORE_SLICE];
    for (unsigned i = 0; i < 5; i++)
        members[i] = (struct store_target){STORE_TO_ACCOUNT, env_account(30 + i), SPAN("m@x"), 0};
    struct store_slice s = {.queue_id = id, .to = members, .to_count = 3, .cursor = env_account(32)};
    t = begin();
    store_slice(relay, &s, t, on_done);
    assert_int_equal(finish(t), ERR_OK);
    t = begin();
    store_slice(relay, &s, t, on_done);
    assert_int_equal(finish(t), ERR_STATE); /* behind the cursor */
    /* another slice, before anything writes the entry itself anew */
    s = (struct store_slice){.queue_id = id, .to = members + 3, .to_count = 1, .cursor = env_account(33)};
    t = begin();
    store_slice(relay, &s, t, on_done);
    assert_int_equal(finish(t), ERR_OK);
    t = begin();
    store_slice(relay, &s, t, on_done);
    assert_int_equal(finish(t), ERR_STATE);
    t = begin();
    store_defer(relay, id, clock_wall_us() - 1, SPAN("a break"), t, on_done);
    assert_int_equal(finish(t), ERR_OK);
    t = begin();
    store_lease(relay, 5000, t, on_queued);
    assert_int_equal(finish(t), ERR_OK);
    assert_int_equal(got.uid, 1); /* attempts */
    assert_string_equal(got.text, "s@example.net|all@x|21");
    s = (struct store_slice){
        .queue_id = id, .to = members + 4, .to_count = 1, .cursor = env_account(34), .finished = true};
    t = begin();
    store_slice(relay, &s, t, on_done);
    assert_int_equal(finish(t), ERR_OK);
    t = begin();
    store_slice(relay, &s, t, on_done);
    assert_int_equal(finish(t), ERR_STATE);
    for (unsigned i = 0; i < 5; i++) {
        struct store_mailbox box;
        struct store_account *a = env_login(&env, session, 30 + i, NULL);
        assert_int_equal(env_status(&env, a, "INBOX", &box), ERR_OK);
        assert_int_equal(box.messages, 1);
        store_logout(&a);
    }
}

static void test_admin(void **state)
{
    (void)state;
    struct ticket *t = begin();
    store_admin_stats(admin, t, on_text);
    assert_int_equal(finish(t), ERR_OK);
    assert_non_null(strstr(got.text, "deadlocks=0\n"));
    t = begin();
    store_admin_accounts(admin, t, on_accounts);
    assert_int_equal(finish(t), ERR_OK);
    assert_true(got.count >= 10);
    t = begin();
    const struct uuid id = env_account(1);
    store_admin_mailboxes(admin, &id, t, on_list);
    assert_int_equal(finish(t), ERR_OK);
    assert_int_equal(got.count, 6);
}

static int set_up(void **state)
{
    (void)state;
    env_start(&env, "store_segment_size = 1M\n");
    deliver = env_client(&env, "deliver");
    session = env_client(&env, "session");
    admin = env_client(&env, "admin");
    relay = env_client(&env, "relay");
    return 0;
}

static int tear_down(void **state)
{
    (void)state;
    store_free(&deliver);
    store_free(&session);
    store_free(&admin);
    store_free(&relay);
    buf_free(&got.bytes);
    int status = env_stop(&env);
    env_end(&env);
    return status;
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_deliver_and_read),
        cmocka_unit_test(test_claim_recent),
        cmocka_unit_test(test_large_message),
        cmocka_unit_test(test_append_once),
        cmocka_unit_test(test_flags),
        cmocka_unit_test(test_copy_move),
        cmocka_unit_test(test_names),
        cmocka_unit_test(test_events_and_restart),
        cmocka_unit_test(test_other_account),
        cmocka_unit_test(test_delivery_outcomes),
        cmocka_unit_test(test_repeats_of_some),
        cmocka_unit_test(test_repeat_with_group),
        cmocka_unit_test(test_queue),
        cmocka_unit_test(test_admin),
    };
    return cmocka_run_group_tests(tests, set_up, tear_down);
}
