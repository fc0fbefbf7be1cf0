/* Quotas at the engine: limits of bytes and messages, the sums of units across deliveries, copies, moves,
 * expunges, deleted mailboxes, transfers, units that move, and restarts; who is told to be full; what of a
 * delivery waits in the queue; notices, once. The sums are compared with the accounts after each step. */
#include "tests/lib/cm.h"
#include "tests/lib/engine_drive.h"
#include "common/base/crypto.h"
#include <stdio.h>
#include <stdlib.h>
#include <unistd.h>

enum { ACCOUNTS = 9, SIZE = 100 };
static char dir[DRIVE_DIR], store[300];
static bool full[256]; /* as the news tell it */
static struct engine *e;
static uint64_t lifetime_ms;

static void see_full(const struct news *n)
{
    for (size_t i = 0; i < n->full_count; i++)
        full[n->fulls[i].account.b[0]] = n->fulls[i].full;
}

static void open_engine(void)
{
    struct engine_options o = drive_options(store);
    o.quota_grace = 10;
    o.quota_warning = 80;
    o.queue_retry_ms = 1;
    o.queue_lifetime_ms = lifetime_ms;
    drive_watch(see_full);
    e = drive_open(&o);
}

static struct uuid uuid_of(unsigned n)
{
    return drive_account((unsigned char)n);
}
#define UNIT(n) uuid_of(100 + (n))

/* n bytes of nothing much. */
static struct span text_of(uint32_t n)
{
    static char text[8192];
    assert_in_range(n, 0, sizeof text);
    memset(text, 'x', sizeof text);
    return span_of(text, n);
}

/* Deliver n bytes to the accounts; their outcomes. */
static const char *deliver(uint32_t n, unsigned flags, const char *sender, unsigned count, ...)
{
    static char outcome[16];
    struct wire_target targets[15] = {{.address_n = 0}};
    va_list v;
    assert_in_range(count, 1, 15);
    va_start(v, count);
    for (unsigned i = 0; i < count; i++)
        targets[i] = (struct wire_target){.id = uuid_of(va_arg(v, unsigned)), .address_n = 1};
    va_end(v);
    const struct job *j = drive_call(e, drive_delivery_to(targets, count, flags, sender, text_of(n)));
    assert_int_equal(j->code, ERR_OK);
    for (unsigned i = 0; i < count; i++)
        outcome[i] = j->answer.v[0].p[sizeof(struct wire_delivered) + i] == ERR_OK ? '+' : '-';
    outcome[count] = 0;
    return outcome;
}

static void limits(unsigned first, unsigned last, uint64_t bytes, uint64_t messages, unsigned unit)
{
    struct job *j = job_new(WIRE_LIMITS);
    struct wire_limits w = {.after = uuid_of(first - 1), .last = uuid_of(last), .count = last - first + 1};
    memset(w.after.b + 1, 0xff, 15);
    assert_true(buf_add(&j->body, &w, sizeof w));
    for (unsigned i = first; i <= last; i++) {
        struct wire_limit l = {.account = uuid_of(i), .limit_bytes = bytes, .limit_messages = messages};
        if (unit)
            l.unit = UNIT(unit);
        assert_true(buf_add(&j->body, &l, sizeof l));
    }
    assert_int_equal(drive_call(e, j)->code, ERR_OK);
}

/* Units 1 .. n; the parent of i is parents[i - 1] (0: none), unit 1 has the limits. */
static void units(unsigned n, const unsigned *parents, uint64_t bytes, uint64_t messages)
{
    struct job *j = job_new(WIRE_UNITS);
    struct wire_units w = {.count = n};
    assert_true(buf_add(&j->body, &w, sizeof w));
    for (unsigned i = 1; i <= n; i++) {
        struct wire_unit u = {
            .id = UNIT(i), .limit_bytes = i == 1 ? bytes : 0, .limit_messages = i == 1 ? messages : 0};
        if (parents[i - 1])
            u.parent = UNIT(parents[i - 1]);
        assert_true(buf_add(&j->body, &u, sizeof u) && wire_put_text(&j->body, SPAN("c")) &&
                    wire_put_text(&j->body, SPAN("Name")));
    }
    assert_int_equal(drive_call(e, j)->code, ERR_OK);
}

static struct rec_quota use(unsigned n)
{
    return drive_quota(e, (unsigned char)n);
}

static bool below(const struct unit_use *all, size_t n, struct uuid at, const struct uuid *top)
{
    for (unsigned depth = 0; depth < UNIT_DEPTH && !uuid_is_none(&at); depth++) {
        if (uuid_cmp(&at, top) == 0)
            return true;
        struct uuid up = {{0}};
        for (size_t i = 0; i < n; i++)
            if (uuid_cmp(&all[i].id, &at) == 0)
                up = all[i].parent;
        at = up;
    }
    return false;
}

/* What each unit is said to use is what its accounts use; the full are those that are. */
static void check(void)
{
    struct unit_use *all;
    size_t n = units_all(e, &all);
    for (size_t i = 0; i < n; i++) {
        uint64_t bytes = 0, messages = 0, accounts = 0;
        for (unsigned a = 1; a <= ACCOUNTS; a++) {
            struct rec_quota q = use(a);
            accounts += uuid_cmp(&q.unit, &all[i].id) == 0;
            if (below(all, n, q.unit, &all[i].id)) {
                bytes += q.bytes;
                messages += q.messages;
            }
        }
        assert_int_equal(all[i].bytes, bytes);
        assert_int_equal(all[i].messages, messages);
        assert_int_equal(all[i].accounts, accounts);
    }
    free(all);
    for (unsigned a = 1; a <= ACCOUNTS; a++) {
        struct rec_quota q = use(a);
        assert_int_equal(full[a], quota_is_full(&q));
    }
}

static uint64_t box(unsigned char n, const char *name)
{
    uint64_t id = drive_status(e, n, name).id;
    assert_int_not_equal(id, 0);
    return id;
}

static enum err_code append(unsigned char n, uint32_t size)
{
    struct job *j = drive_session_job(WIRE_APPEND, n, 0);
    const struct wire_append w = {.internal_s = 1};
    assert_true(buf_add(&j->body, &w, sizeof w) && wire_put_text(&j->body, SPAN("INBOX")));
    drive_put_content(&j->body, text_of(size));
    return drive_call(e, j)->code;
}

static enum err_code copy(unsigned char n, const char *from, const char *to, bool move, uint32_t first,
                          uint32_t last)
{
    return drive_call(e, drive_copy_job(n, box(n, from), first, last, to, move))->code;
}

static void expunge(unsigned char n, const char *name, uint32_t first, uint32_t last)
{
    uint64_t id = box(n, name);
    drive_flags(e, n, id, first, last, STORE_DELETED);
    drive_expunge(e, n, id);
}

/* -- the queue -- */

static struct wire_queued leased;
static unsigned char leased_first[KEY_UUID];
static char leased_name[64]; /* what stands as the first target's address */

static bool lease(void)
{
    struct job *j = job_new(WIRE_LEASE);
    const struct wire_lease w = {60000};
    usleep(20000); /* retries are a few milliseconds away */
    j->asker = 7;
    assert_true(buf_add(&j->body, &w, sizeof w));
    j = drive_call(e, j);
    if (j->code == ERR_MISSING)
        return false;
    assert_int_equal(j->code, ERR_OK);
    struct wire_in in = {buf_span(&j->answer.v[0]), false};
    wire_get(&in, &leased, sizeof leased);
    wire_text(&in);
    struct wire_target first = {.address_n = 0};
    assert_true(!leased.target_count || wire_get(&in, &first, sizeof first));
    struct span name = wire_take(&in, first.address_n);
    assert_true(!in.bad && name.n < sizeof leased_name);
    memcpy(leased_first, first.id.b, KEY_UUID);
    snprintf(leased_name, sizeof leased_name, "%.*s", SPAN_ARG(name));
    return true;
}

static enum err_code slice(unsigned count, const unsigned *accounts, bool end)
{
    struct job *j = job_new(WIRE_SLICE);
    struct wire_slice w = {.queue_id = leased.queue_id, .finished = end, .target_count = count};
    j->asker = 7;
    j->id = request_new();
    if (count)
        w.cursor = uuid_of(accounts[count - 1]);
    assert_true(buf_add(&j->body, &w, sizeof w));
    for (unsigned i = 0; i < count; i++) {
        const struct wire_target t = {.id = uuid_of(accounts[i]), .address_n = 1};
        assert_true(buf_add(&j->body, &t, sizeof t) && buf_add_str(&j->body, "a"));
    }
    const enum err_code code = drive_call(e, j)->code;
    if (drive_verify(e, true, false) != 0) /* each slice leaves a store that is whole */
        fail_msg("after a slice of a delivery:\n%s", drive_told);
    return code;
}

static enum err_code notice_to(uint32_t kind, unsigned to)
{
    struct job *j = job_new(WIRE_NOTICE);
    const struct trace_id trace = trace_new();
    struct wire_notice w = {.queue_id = leased.queue_id, .to = uuid_of(to), .kind = kind};
    memcpy(w.trace, trace.text, TRACE_TEXT);
    j->asker = 7;
    j->id = request_new();
    assert_true(buf_add(&j->body, &w, sizeof w));
    drive_put_content(&j->body, text_of(SIZE));
    return drive_call(e, j)->code;
}

static enum err_code notice(unsigned account)
{
    return notice_to(STORE_TO_ACCOUNT, account);
}

/* Notices that are not the subject. */
static void drain(void)
{
    while (lease()) {
        assert_int_not_equal(leased.kind, QUEUE_MESSAGE);
        assert_int_equal(slice(0, NULL, true), ERR_OK);
    }
}

/* -- tests -- */

static void test_account(void **state)
{
    (void)state;
    limits(1, 1, 1000, 0, 0);
    limits(2, 2, 0, 3, 0);
    assert_string_equal(deliver(900, 0, "s", 1, 1), "+");
    assert_string_equal(deliver(300, 0, "s", 1, 1), "-"); /* over the grace of 10 % */
    assert_string_equal(deliver(190, 0, "s", 1, 1), "+"); /* within it: 1090 */
    assert_true(full[1]);
    assert_string_equal(deliver(1, 0, "s", 1, 1), "-");
    assert_int_equal(use(1).bytes, 1090);
    expunge(1, "INBOX", 2, 2);
    assert_false(full[1]);
    assert_int_equal(append(1, 150), ERR_LIMIT); /* its user's own: no grace */
    assert_int_equal(append(1, 100), ERR_OK);
    assert_true(full[1]);
    for (unsigned i = 0; i < 3; i++)
        assert_string_equal(deliver(10, 0, "s", 1, 2), "+");
    assert_string_equal(deliver(10, 0, "s", 2, 2, 3), "-+");
    assert_int_equal(append(2, 1), ERR_LIMIT);
    assert_int_equal(use(2).messages, 3);
    check();
    limits(2, 2, 0, 5, 0);
    assert_false(full[2]);
    assert_string_equal(deliver(10, 0, "s", 1, 2), "+");
    drain();
    check();
}

static void test_units(void **state)
{
    static const unsigned tree[] = {0, 1, 2, 0}, other[] = {0, 4, 2, 0}, ring[] = {3, 1, 2, 0};
    (void)state;
    units(4, tree, 5000, 0);
    limits(1, 3, 0, 0, 3); /* at the bottom of 1 > 2 > 3 */
    limits(4, 6, 0, 0, 2);
    limits(7, 9, 0, 0, 4);
    check();
    assert_string_equal(deliver(1000, 0, "s", 4, 1, 2, 4, 7), "++++");
    check();
    assert_string_equal(deliver(900, 0, "s", 4, 3, 5, 6, 8),
                        "+--+"); /* one fits, with the others of the same transaction */
    check();
    /* a message within one transaction counts for the next account */
    struct unit_use chain[UNIT_DEPTH];
    const struct uuid bottom = UNIT(3);
    assert_int_equal(units_chain(e, &bottom, chain), 3);
    assert_true(chain[2].bytes <= 5500);
    assert_int_equal(append(1, 5000), ERR_LIMIT);
    assert_int_equal(copy(8, "INBOX", "INBOX", false, 1, 1), ERR_OK); /* no limit there */
    check();
    drive_create(e, 1, "Old");
    assert_int_equal(copy(1, "INBOX", "Old", true, 1, 1), ERR_OK);
    check();
    uint64_t before = chain[2].bytes;
    limits(1, 1, 0, 0, 4); /* a transfer */
    check();
    units_chain(e, &bottom, chain);
    assert_int_equal(chain[2].bytes, before - use(1).bytes);
    drive_delete(e, 1, "Old");
    check();
    expunge(4, "INBOX", 1, 1);
    check();
    units(4, other, 5000, 0); /* 2 and all below it go under 4 */
    check();
    units(4, ring, 5000, 0);
    check();
    units(3, tree, 5000, 2); /* 4 is gone; its accounts still name it */
    check();
    limits(7, 9, 0, 0, 2);
    assert_string_equal(deliver(10, 0, "s", 1, 9), "-"); /* messages */
    check();
    engine_close(&e);
    open_engine();
    check();
    limits(1, 9, 0, 0, 0);
    units(0, tree, 0, 0);
    struct unit_use *all;
    assert_int_equal(units_all(e, &all), 0);
    free(all);
    check();
    drain();
}

/* Accounts that a page of the directory does not name have left it: no limit, no unit. */
static void test_gone(void **state)
{
    static const unsigned tree[] = {0};
    (void)state;
    units(1, tree, 0, 0);
    limits(1, 9, 50, 0, 1);
    assert_true(full[1]);
    check();
    struct job *j = job_new(WIRE_LIMITS);
    struct wire_limits w = {.count = 0};
    memset(w.last.b, 0xff, sizeof w.last.b);
    assert_true(buf_add(&j->body, &w, sizeof w));
    assert_int_equal(drive_call(e, j)->code, ERR_OK);
    assert_false(full[1]);
    assert_int_equal(use(5).flags, 0);
    check();
}

static void test_queue(void **state)
{
    static const unsigned two[] = {2, 3}, three[] = {3};
    (void)state;
    limits(1, 9, 0, 0, 0);
    limits(2, 3, 50, 0, 0);
    assert_string_equal(deliver(SIZE, WIRE_DELIVER_QUEUE_FULL, "s", 2, 2, 3), "--"); /* nobody: say so */
    assert_false(lease());
    uint64_t had = use(2).messages;
    assert_string_equal(deliver(SIZE, WIRE_DELIVER_QUEUE_FULL, "s", 3, 1, 2, 3), "+++");
    assert_true(lease());
    assert_int_equal(leased.target_count, 2);
    assert_int_equal(leased.kind, QUEUE_MESSAGE);
    assert_int_equal(slice(2, two, true), ERR_OK); /* still full: it stays */
    assert_true(lease());
    assert_int_equal(leased.target_count, 2);
    limits(2, 2, 0, 0, 0);
    assert_int_equal(slice(2, two, true), ERR_OK);
    assert_int_equal(use(2).messages, had + 1);
    engine_close(&e);
    lifetime_ms = 0; /* from now on it is too old */
    open_engine();
    assert_true(lease());
    assert_int_equal(leased.target_count, 1);
    assert_memory_equal(leased_first, uuid_of(3).b, KEY_UUID);
    assert_int_equal(slice(1, three, true), ERR_OK);
    assert_true(lease());
    assert_int_equal(leased.kind, QUEUE_REPORT);
    assert_memory_equal(leased_first, uuid_of(3).b, KEY_UUID);
    assert_int_equal(leased.target_count, 1);
    assert_int_equal(notice_to(STORE_TO_GROUP, 1), ERR_SYNTAX); /* a sender is a person */
    uint64_t mine = use(1).messages;
    assert_int_equal(notice(1), ERR_OK);
    assert_int_equal(notice(1), ERR_STATE);
    assert_int_equal(use(1).messages, mine + 1);
    assert_false(lease());
    check();
    engine_close(&e);
    lifetime_ms = 3600 * 1000;
    open_engine();
}

/* Full recipients in several slices, of one run or of two: their sender hears once, of all of them. */
static void test_one_report(void **state)
{
    static const unsigned first[] = {1, 2}, second[] = {3, 4}, third[] = {5};
    (void)state;
    limits(1, 9, 0, 0, 0);
    assert_string_equal(deliver(10, 0, "s", 3, 2, 3, 5), "+++");
    for (int late = 0; late < 2; late++) {
        limits(2, 3, 1, 0, 0);
        limits(5, 5, 1, 0, 0);
        lifetime_ms = late ? 3600 * 1000 : 0;
        engine_close(&e);
        open_engine();
        drive_call(e, drive_delivery(9, "for a group", true));
        const uint64_t had[] = {use(1).messages, use(4).messages};
        assert_true(lease());
        assert_int_equal(slice(2, first, false), ERR_OK);
        if (late) { /* its time passes between two slices */
            lifetime_ms = 0;
            engine_close(&e);
            open_engine();
            assert_true(lease());
        }
        assert_int_equal(slice(2, second, false), ERR_OK);
        assert_int_equal(slice(1, third, true), ERR_OK);
        assert_true(use(1).messages == had[0] + 1 && use(4).messages == had[1] + 1);
        assert_true(lease());
        assert_int_equal(leased.kind, QUEUE_REPORT);
        assert_int_equal(leased.target_count, 3);
        assert_memory_equal(leased_first, uuid_of(2).b, KEY_UUID);
        assert_int_equal(notice(1), ERR_OK);
        assert_false(lease());
        if (drive_verify(e, true, false) != 0)
            fail_msg("%s", drive_told);
    }
    engine_close(&e);
    lifetime_ms = 3600 * 1000;
    open_engine();
    limits(1, 9, 0, 0, 0);
}

static void test_warning(void **state)
{
    (void)state;
    limits(1, 9, 0, 0, 0);
    expunge(7, "INBOX", 1, 100);
    assert_int_equal(use(7).bytes, 0);
    limits(7, 7, 1000, 0, 0);
    assert_string_equal(deliver(700, 0, "s", 1, 7), "+");
    assert_false(lease());
    assert_string_equal(deliver(SIZE, 0, "s", 1, 7), "+");
    assert_string_equal(deliver(SIZE, 0, "s", 1, 7), "+"); /* passed already */
    assert_true(lease());
    assert_int_equal(leased.kind, QUEUE_WARNING);
    assert_int_equal(leased.note[0], 800);
    assert_int_equal(leased.note[1], 1000);
    assert_memory_equal(leased_first, uuid_of(7).b, KEY_UUID);
    assert_int_equal(notice(8), ERR_SYNTAX); /* not another one's */
    assert_string_equal(deliver(SIZE, 0, "s", 1, 7), "+");
    assert_true(full[7]);
    assert_int_equal(notice(7), ERR_OK); /* full: it comes all the same */
    assert_int_equal(use(7).bytes, 1100);
    assert_false(lease());
    uint64_t id = box(7, "INBOX");
    assert_true(id);
    expunge(7, "INBOX", 100, 104); /* 700 bytes are left or fewer */
    expunge(7, "INBOX", 2, 5);
    assert_false(lease());
    while (use(7).bytes < 800)
        assert_string_equal(deliver(SIZE, 0, "s", 1, 7), "+");
    assert_true(lease()); /* again: it was well below */
    assert_int_equal(leased.kind, QUEUE_WARNING);
    assert_int_equal(slice(0, NULL, true), ERR_OK);
    assert_false(lease());
    check();
}

static void lease_unit_notice(uint64_t bytes, uint64_t limit)
{
    assert_true(lease());
    assert_int_equal(leased.kind, QUEUE_UNIT);
    assert_int_equal(leased.note[0], bytes);
    assert_int_equal(leased.note[1], limit);
    assert_memory_equal(leased_first, UNIT(1).b, KEY_UUID);
    assert_string_equal(leased_name, "Name (c)");
}

static void assert_unit_notice(uint64_t bytes, uint64_t limit)
{
    lease_unit_notice(bytes, limit);
    assert_int_equal(notice(8), ERR_OK); /* in no unit */
    assert_false(lease());
}

/* A unit is warned of once, when what its people and those below it add first passes the threshold. */
static void test_unit_warning(void **state)
{
    static const unsigned tree[] = {0, 1};
    (void)state;
    limits(1, 9, 0, 0, 0);
    for (unsigned char i = 1; i <= 9; i++)
        if (use(i).messages)
            expunge(i, "INBOX", 1, 1000);
    units(2, tree, 1000, 0);
    limits(1, 1, 0, 0, 2);
    limits(2, 2, 0, 0, 1);
    assert_string_equal(deliver(700, 0, "s", 1, 1), "+");
    assert_false(lease());
    assert_string_equal(deliver(50, 0, "s", 2, 1, 2), "++"); /* together */
    assert_unit_notice(800, 1000);
    assert_string_equal(deliver(10, 0, "s", 1, 2), "+");
    assert_false(lease());
    engine_close(&e);
    open_engine();
    assert_string_equal(deliver(10, 0, "s", 1, 2), "+"); /* the mark is on record */
    units(2, tree, 1010, 0); /* and stays when the directory tells something else */
    assert_string_equal(deliver(10, 0, "s", 1, 1), "+");
    assert_false(lease());
    units(2, tree, 100000, 0); /* far below; what is added next takes the mark away */
    assert_string_equal(deliver(10, 0, "s", 1, 1), "+");
    units(2, tree, 1010, 0);
    assert_false(lease());
    assert_string_equal(deliver(10, 0, "s", 1, 2), "+");
    assert_unit_notice(850, 1010);
    expunge(1, "INBOX", 1, 1000);
    assert_string_equal(deliver(720, 0, "s", 1, 3), "+");
    limits(3, 3, 0, 0, 2); /* a transfer brings it back over the threshold: the next message tells */
    assert_false(lease());
    assert_string_equal(deliver(10, 0, "s", 1, 2), "+");
    /* A group hears of it: queued for its members, in the place of the entry. */
    static const unsigned members[] = {7, 8};
    const uint64_t had[] = {use(7).messages, use(8).messages};
    lease_unit_notice(810, 1010);
    assert_int_equal(notice_to(STORE_TO_GROUP, 200), ERR_OK);
    assert_int_equal(notice_to(STORE_TO_GROUP, 200), ERR_STATE);
    assert_true(lease());
    assert_int_equal(leased.kind, QUEUE_MESSAGE);
    assert_int_equal(leased.target_count, 1);
    assert_memory_equal(leased_first, uuid_of(200).b, KEY_UUID);
    assert_int_equal(slice(2, members, true), ERR_OK);
    assert_true(use(7).messages == had[0] + 1 && use(8).messages == had[1] + 1);
    assert_false(lease());
    check();
    limits(1, 9, 0, 0, 0);
    units(0, tree, 0, 0);
}

/* Records of the first version are read. */
static void test_version_1(void **state)
{
    static const unsigned char old[REC_QUOTA_1] = {1, 0, 0, 0, 0, 0, 0, 0, 9, 0, 0, 0, 0, 0, 0, 0, 2};
    static const unsigned char old_unit[38] = {1, [24] = 7, [32] = 8, [34] = 1, [35] = 'c', [37] = 0};
    struct rec_quota q;
    struct rec_unit u;
    (void)state;
    assert_true(rec_unit_get(span_of(old_unit, sizeof old_unit), &u));
    assert_int_equal(u.limit_bytes, 7);
    assert_int_equal(u.limit_messages, 8);
    assert_true(span_eq(u.code, SPAN("c")) && u.name.n == 0 && u.flags == 0);
    assert_false(rec_unit_get(span_of(old_unit, sizeof old_unit - 1), &u));
    assert_true(rec_quota_get(span_of(old, sizeof old), &q));
    assert_int_equal(q.bytes, 9);
    assert_int_equal(q.messages, 2);
    assert_int_equal(q.limit_bytes, 0);
    assert_int_equal(q.flags, 0);
    assert_false(rec_quota_get(span_of(old, sizeof old - 1), &q));
}

int main(void)
{
    const struct CMUnitTest tests[] = {cmocka_unit_test(test_account),      cmocka_unit_test(test_units),
                                       cmocka_unit_test(test_gone),         cmocka_unit_test(test_queue),
                                       cmocka_unit_test(test_one_report),   cmocka_unit_test(test_warning),
                                       cmocka_unit_test(test_unit_warning), cmocka_unit_test(test_version_1)};
    crypto_start();
    log_threshold(LOG_ALARM);
    if (!drive_folder("provmail-quota", dir))
        return 99;
    snprintf(store, sizeof store, "%s/mail", dir);
    lifetime_ms = 3600 * 1000;
    open_engine();
    int failed = cmocka_run_group_tests(tests, NULL, NULL);
    engine_close(&e);
    return drive_folder_remove(dir) == 0 ? failed : 99;
}
