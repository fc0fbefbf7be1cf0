/* The delivery worker over a store and a directory in memory: whatever fails on the way, each account gets
 * one copy, in ascending order, and the entry leaves the queue. */
#include "tests/lib/cm.h"
#include "common/base/log.h"
#include "common/mime/meta.h"
#include "smtpd/delivery.h"
#include "smtpd/notice.h"
#include <stdlib.h>

enum { MEMBERS = 1000 };

/* The one queue entry, and what goes wrong. */
static struct {
    struct store_target to[8];
    size_t to_count;
    struct uuid cursor;
    uint32_t attempts;
    bool queued, leased;
    unsigned slices, fail_slice, fail_members, members_calls, defers;
    enum err_code slice_code;
    unsigned copies[MEMBERS + 10];
    /* notices */
    enum store_queued_kind kind;
    enum err_code known;
    enum dir_kind who;
    unsigned notices;
    unsigned told; /* account or group */
    bool told_group;
} q;
static struct loop *loop;
static const char *unit_notice = "";

static struct uuid id_of(unsigned n)
{
    struct uuid u = {{0}};
    u.b[14] = (unsigned char)(n >> 8);
    u.b[15] = (unsigned char)n;
    return u;
}

static unsigned number_of(const struct uuid *u)
{
    return (unsigned)(u->b[14] << 8 | u->b[15]);
}

/* -- what delivery.c calls -- */

struct loop *worker_loop(struct worker *w)
{
    (void)w;
    return loop;
}

void worker_done(struct worker *w)
{
    (void)w;
    if (loop)
        loop_stop(loop);
}

struct store *store_new_worker(struct worker *w, enum store_role role)
{
    (void)w;
    assert_int_equal(role, STORE_RELAY);
    return NULL;
}

struct directory *directory_new_worker(struct worker *w)
{
    (void)w;
    return NULL;
}

void store_queue_event(struct store *s, void (*cb)(void *arg), void *arg)
{
    (void)s;
    assert_non_null(cb);
    assert_non_null(arg);
}

void store_lease(struct store *s, uint64_t lease_ms, struct ticket *t, store_queued_cb *cb)
{
    (void)s;
    assert_true(lease_ms > 0 && !q.leased);
    if (!q.queued) {
        cb(ticket_session(t), ERR_MISSING, NULL);
        loop_stop(loop);
        return;
    }
    q.leased = true;
    struct store_queued e = {.kind = q.kind,
                             .sender = SPAN("s@x"),
                             .queue_id = 7,
                             .cursor = q.cursor,
                             .attempts = q.attempts,
                             .to_count = q.to_count};
    struct store_target *to = xcalloc(q.to_count, sizeof *to);
    memcpy(to, q.to, q.to_count * sizeof *to);
    e.to = to;
    e.trace = trace_new();
    cb(ticket_session(t), ERR_OK, &e);
    free(to);
}

void store_slice(struct store *s, const struct store_slice *slice, struct ticket *t, store_done_cb *cb)
{
    (void)s;
    assert_true(q.leased && slice->queue_id == 7 && slice->to_count <= STORE_SLICE);
    if (q.slices++ == q.fail_slice) {
        q.leased = q.slice_code == ERR_STATE ? false : q.leased;
        cb(ticket_session(t), q.slice_code);
        return;
    }
    for (size_t i = 0; i < slice->to_count; i++) {
        assert_true(uuid_cmp(&slice->to[i].id, i ? &slice->to[i - 1].id : &q.cursor) > 0);
        q.copies[number_of(&slice->to[i].id)]++;
    }
    if (slice->to_count)
        assert_int_equal(uuid_cmp(&slice->cursor, &slice->to[slice->to_count - 1].id), 0);
    q.cursor = slice->cursor;
    if (slice->finished)
        q.queued = q.leased = false;
    cb(ticket_session(t), ERR_OK);
}

void store_defer(struct store *s, uint64_t queue_id, int64_t due_us, struct span reason, struct ticket *t,
                 store_done_cb *cb)
{
    (void)s;
    assert_true(queue_id == 7 && due_us > 0 && reason.n > 0);
    q.leased = false;
    q.attempts++;
    q.defers++;
    cb(ticket_session(t), ERR_OK);
}

/* Members are the even numbers. */
void directory_members(struct directory *d, const struct uuid *ids, size_t id_count, const struct uuid *after,
                       size_t max, struct ticket *t, directory_members_cb *cb)
{
    static struct dir_member v[MEMBERS];
    size_t n = 0;
    unsigned i = (number_of(after) + 2) & ~1u;
    (void)d;
    assert_true(id_count == 2 && ids && max <= MEMBERS);
    if (q.members_calls++ == q.fail_members) {
        cb(ticket_session(t), ERR_RETRY, NULL, 0, false);
        return;
    }
    for (; i <= MEMBERS && n < max; i += 2)
        v[n++] = (struct dir_member){.id = id_of(i), .address = SPAN("m@x")};
    cb(ticket_session(t), ERR_OK, v, n, i <= MEMBERS);
}

/* -- notices -- */

const struct conf *worker_conf(const struct worker *w)
{
    static struct conf c;
    (void)w;
    c.hostname = "mail.x";
    c.quota_unit_notice = unit_notice;
    return &c;
}

enum err_code mime_meta_head(struct span record, struct arena *a, struct mime_meta *out)
{
    (void)record;
    (void)a;
    (void)out;
    return ERR_SYNTAX;
}

enum err_code notice_compose(const struct notice *n, struct content **out)
{
    assert_true(n->kind == q.kind && n->to_address.n);
    assert_int_equal(n->target_count, 1);
    *out = NULL;
    return ERR_OK;
}

void content_free(struct content **c)
{
    assert_null(*c);
}

static void answer_entry(struct ticket *t, directory_entry_cb *cb, unsigned id)
{
    const struct dir_entry e = {.kind = q.who, .id = id_of(id), .address = SPAN("a@x")};
    const enum err_code code = q.known;
    q.known = code == ERR_RETRY ? ERR_OK : code; /* the next time it answers; cb may ask at once */
    cb(ticket_session(t), code, code == ERR_OK ? &e : NULL);
}

void directory_lookup(struct directory *d, struct span address, const struct uuid *sender, struct ticket *t,
                      directory_entry_cb *cb)
{
    (void)d;
    (void)sender;
    if (q.kind == STORE_QUEUED_UNIT)
        assert_true(span_eq(address, span_str(*unit_notice ? unit_notice : "postmaster@mail.x")));
    else
        assert_true(q.kind == STORE_QUEUED_REPORT && span_eq(address, SPAN("s@x")));
    answer_entry(t, cb, 9);
}

void directory_account(struct directory *d, const struct uuid *id, struct ticket *t, directory_entry_cb *cb)
{
    (void)d;
    assert_int_equal(q.kind, STORE_QUEUED_WARNING);
    answer_entry(t, cb, number_of(id));
}

void store_notice(struct store *s, uint64_t queue_id, const struct store_target *to,
                  const struct trace_id *trace, struct content *content, struct ticket *t, store_done_cb *cb)
{
    (void)s;
    assert_true(q.leased && queue_id == 7 && trace->text[0] && !content);
    q.queued = q.leased = false;
    q.notices++;
    q.told = number_of(&to->id);
    q.told_group = to->kind == STORE_TO_GROUP;
    cb(ticket_session(t), ERR_OK);
}

static void run_notice(enum store_queued_kind kind, enum err_code known, enum dir_kind who)
{
    memset(&q, 0, sizeof q);
    q = (typeof(q)){
        .queued = true, .kind = kind, .known = known, .who = who, .fail_slice = 99, .to_count = 1};
    q.to[0] = (struct store_target){.kind = STORE_TO_ACCOUNT, .id = id_of(4), .address = SPAN("t@x")};
    loop = loop_new();
    void *d = delivery_worker_start(NULL);
    loop_run(loop);
    assert_false(q.queued);
    assert_int_equal(q.copies[4], 0);
    delivery_worker_stop(d);
    delivery_worker_free(d);
    loop_free(&loop);
}

/* -- tests -- */

static void test_notices(void **state)
{
    (void)state;
    run_notice(STORE_QUEUED_WARNING, ERR_OK, DIR_ACCOUNT);
    assert_int_equal(q.told, 4);
    run_notice(STORE_QUEUED_REPORT, ERR_OK, DIR_ACCOUNT);
    assert_int_equal(q.told, 9);
    run_notice(STORE_QUEUED_REPORT, ERR_RETRY, DIR_ACCOUNT); /* the directory is away: later */
    assert_int_equal(q.defers, 1);
    assert_int_equal(q.notices, 1);
    run_notice(STORE_QUEUED_REPORT, ERR_OK, DIR_REMOTE); /* nobody here */
    assert_int_equal(q.notices, 0);
    run_notice(STORE_QUEUED_WARNING, ERR_MISSING, DIR_ACCOUNT);
    assert_int_equal(q.notices, 0);
    run_notice(STORE_QUEUED_UNIT, ERR_OK, DIR_ACCOUNT);
    assert_int_equal(q.told, 9);
    unit_notice = "u@x";
    run_notice(STORE_QUEUED_UNIT, ERR_OK, DIR_ACCOUNT);
    assert_int_equal(q.told, 9);
    assert_false(q.told_group);
    run_notice(STORE_QUEUED_UNIT, ERR_OK, DIR_GROUP); /* its members */
    assert_int_equal(q.told, 9);
    assert_true(q.told_group);
    run_notice(STORE_QUEUED_UNIT, ERR_OK, DIR_REMOTE);
    assert_int_equal(q.notices, 0);
    run_notice(STORE_QUEUED_REPORT, ERR_OK, DIR_GROUP); /* a group sends nothing */
    assert_int_equal(q.notices, 0);
}

static void run(bool groups)
{
    static const unsigned own[] = {1003, 2, 5, 601, 5};
    q.queued = true;
    for (size_t i = 0; i < 5; i++)
        q.to[i] =
            (struct store_target){.kind = STORE_TO_ACCOUNT, .id = id_of(own[i]), .address = SPAN("o@x")};
    q.to_count = 5;
    for (unsigned i = 0; groups && i < 2; i++)
        q.to[q.to_count++] = (struct store_target){.kind = STORE_TO_GROUP, .id = id_of(5000 + i)};
    loop = loop_new();
    void *d = delivery_worker_start(NULL);
    loop_run(loop);
    for (unsigned i = 1; i <= 1003; i++) {
        bool wanted = i == 1003 || i == 2 || i == 5 || i == 601 || (groups && i % 2 == 0 && i <= MEMBERS);
        assert_int_equal(q.copies[i], wanted);
    }
    assert_false(q.queued);
    delivery_worker_stop(d);
    delivery_worker_free(d);
    loop_free(&loop);
}

static void set(unsigned fail_slice, enum err_code code, unsigned fail_members)
{
    memset(&q, 0, sizeof q);
    q.fail_slice = fail_slice;
    q.slice_code = code;
    q.fail_members = fail_members;
}

static void test_whole(void **state)
{
    (void)state;
    set(99, ERR_OK, 99);
    run(true);
    assert_int_equal(q.defers, 0);
    set(99, ERR_OK, 99);
    run(false);
}

static void test_failures(void **state)
{
    (void)state;
    for (unsigned i = 0; i < 2; i++) { /* the run takes two slices */
        set(i, ERR_RETRY, 99);
        run(true);
        assert_int_equal(q.defers, 1);
        set(i, ERR_STATE, 99);
        run(true);
        assert_int_equal(q.defers, 0);
        set(99, ERR_OK, i);
        run(true);
        assert_int_equal(q.defers, 1);
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {cmocka_unit_test(test_whole), cmocka_unit_test(test_failures),
                                       cmocka_unit_test(test_notices)};
    log_threshold(LOG_ALARM);
    return cmocka_run_group_tests(tests, NULL, NULL);
}
